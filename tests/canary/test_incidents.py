"""The life of an incident, and that each notification of it reaches people once."""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.domain.incident import (
    CLAIM_EXPIRES_AFTER,
    REMIND_EVERY,
    Incident,
    Level,
    NotificationKind,
    advance,
    from_fields,
    incident_ref,
    to_fields,
)
from canary.domain.verdict import Cause, CauseKind, Impact, Verdict, VerdictKind
from canary.notify.channel import Channels, Notification
from canary.notify.log_entry import LogChannel
from canary.notify.message import logs_link
from canary.run import watch
from orchestrator_resilience import Orchestrator, Phase
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope

DAY = date(2026, 2, 9)
START = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
TICK = timedelta(minutes=15)
K, N = VerdictKind, NotificationKind


def verdict(kind: VerdictKind, impact: Impact | None = None, cause: CauseKind | None = None) -> Verdict:
    return Verdict(
        kind=kind,
        phase="phase2",
        game_date=DAY,
        summary="a summary",
        impact=impact or (Impact.UNKNOWN if kind.is_problem else None),
        unreadable=kind is K.UNKNOWN,
        cause=Cause(cause, "proof") if cause else None,
    )


def live(verdicts: Sequence[Verdict], *, fails: Sequence[int] = ()) -> list[NotificationKind | None]:
    """Let one canary run every 15 minutes; return what each run told. Runs in `fails` cannot send."""
    known: Incident | None = None
    told: list[NotificationKind | None] = []
    for number, one in enumerate(verdicts):
        now = START + number * TICK
        step = advance(known, one, now)
        known = step.incident
        if step.notification is None or number in fails:
            told.append(None)
            continue
        known = step.delivered
        told.append(step.notification)
    return told


BAD, GOOD, DARK = verdict(K.UNTRIGGERED), verdict(K.TRIGGERED), verdict(K.UNKNOWN)
SETTLING, UNDECIDED = verdict(K.SETTLING), replace(DARK, unreadable=False)


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([GOOD, verdict(K.WAITING), verdict(K.IDLE)], [None] * 3),
        ([BAD, BAD, GOOD, GOOD], [N.OPENED, None, N.RESOLVED, None]),
        ([BAD] * 34, [N.OPENED, *[None] * 15, N.REMINDER, *[None] * 15, N.REMINDER, None]),
        ([BAD, GOOD, BAD, GOOD], [N.OPENED, N.RESOLVED, N.OPENED, N.RESOLVED]),
        ([BAD, DARK, DARK, BAD, GOOD], [N.OPENED, None, None, None, N.RESOLVED]),
        ([DARK, GOOD], [None, None]),
        ([DARK, GOOD, DARK, GOOD], [None] * 4),
        ([DARK, DARK, DARK, GOOD], [None, N.OPENED, None, N.RESOLVED]),
        ([DARK, BAD, GOOD], [None, N.OPENED, N.RESOLVED]),
        ([DARK, DARK, BAD, GOOD], [None, N.OPENED, N.CHANGED, N.RESOLVED]),
        ([verdict(K.STORES_DISAGREE), verdict(K.INCOMPLETE)], [N.OPENED, N.CHANGED]),
        ([verdict(K.INCOMPLETE), SETTLING, SETTLING, BAD, GOOD], [N.OPENED, None, None, N.CHANGED, N.RESOLVED]),
        ([BAD, SETTLING, BAD, SETTLING, GOOD], [N.OPENED, None, None, None, N.RESOLVED]),
        ([DARK, DARK, SETTLING, BAD], [None, N.OPENED, N.RESOLVED, N.OPENED]),
        ([SETTLING, GOOD], [None, None]),
        ([UNDECIDED] * 34, [None, N.OPENED, *[None] * 32]),
        ([verdict(K.UNTRIGGERED, Impact.NONE), verdict(K.UNTRIGGERED, Impact.BLOCKED)], [N.OPENED, N.CHANGED]),
        ([verdict(K.UNTRIGGERED, Impact.BLOCKED), verdict(K.UNTRIGGERED, Impact.NONE)], [N.OPENED, None]),
        ([BAD, verdict(K.UNTRIGGERED, cause=CauseKind.CRASHED)], [N.OPENED, N.CHANGED]),
        ([verdict(K.UNTRIGGERED, cause=CauseKind.CRASHED), BAD], [N.OPENED, None]),
        ([BAD, verdict(K.UNTRIGGERED, cause=CauseKind.UNDETERMINED)], [N.OPENED, None]),
    ],
)
def test_what_is_told(verdicts: list[Verdict], told: list[NotificationKind | None]) -> None:
    """Once when it opens, when it gets worse, every four hours, and once when it is over."""
    assert live(verdicts) == told


@pytest.mark.parametrize(
    ("verdicts", "fails", "told"),
    [
        ([BAD, BAD, GOOD], [0], [None, N.OPENED, N.RESOLVED]),
        ([BAD, GOOD, GOOD], [1], [N.OPENED, None, N.RESOLVED]),
        ([BAD, GOOD, GOOD], [0], [None, None, None]),
        ([BAD, verdict(K.UNTRIGGERED, Impact.BLOCKED), GOOD], [0], [None, N.OPENED, N.RESOLVED]),
        ([verdict(K.STORES_DISAGREE), BAD, BAD, GOOD], [1], [N.OPENED, None, N.CHANGED, N.RESOLVED]),
        ([BAD, *[verdict(K.UNTRIGGERED, cause=CauseKind.CRASHED)] * 2], [1], [N.OPENED, None, N.CHANGED]),
        ([DARK, DARK, DARK, GOOD], [1], [None, None, N.OPENED, N.RESOLVED]),
    ],
)
def test_what_could_not_be_sent_is_sent_by_the_next_run(
    verdicts: list[Verdict], fails: list[int], told: list[NotificationKind | None]
) -> None:
    """Nothing is lost, and nobody hears of the end of what they never heard of."""
    assert live(verdicts, fails=fails) == told


@given(st.lists(st.tuples(st.sampled_from([BAD, GOOD, DARK, verdict(K.INCOMPLETE)]), st.booleans()), max_size=60))
def test_openings_and_resolutions_alternate(life: list[tuple[Verdict, bool]]) -> None:
    """Whatever happens and whichever sends fail: opened before anything else, resolved at most once each."""
    told = live([v for v, _ in life], fails=[n for n, (_, fails) in enumerate(life) if fails])
    is_open = False
    for notification in filter(None, told):
        assert (notification is N.OPENED) != is_open
        is_open = notification is not N.RESOLVED
    if life and life[-1][0] is GOOD and not life[-1][1]:
        assert not is_open


def test_a_claim_holds_off_others_until_it_expires() -> None:
    """While somebody is sending nobody else does; one that died is taken over."""
    claimed = advance(None, BAD, START).incident
    assert claimed is not None
    assert advance(claimed, BAD, START + CLAIM_EXPIRES_AFTER - timedelta(seconds=1)).notification is None
    assert advance(claimed, BAD, START + CLAIM_EXPIRES_AFTER).notification is N.OPENED
    assert timedelta(hours=4) == REMIND_EVERY


@given(
    st.builds(
        Incident,
        kind=st.sampled_from(K),
        cause=st.none() | st.sampled_from(CauseKind),
        level=st.sampled_from(Level),
        opened_at=st.just(START),
        notified_at=st.none() | st.just(START + TICK),
        claimed_at=st.none() | st.just(START),
        resolved=st.booleans(),
    )
)
def test_an_incident_survives_its_document(incident: Incident) -> None:
    """Written and read again."""
    assert from_fields(to_fields(incident)) == incident


@pytest.mark.parametrize("damage", [{"kind": "NEW"}, {"level": 7}, {"opened_at": "soon"}, {"cause": "GREMLINS"}])
def test_a_damaged_entry_is_begun_anew(damage: dict[str, object]) -> None:
    """Better told twice than never."""
    step = advance(None, BAD, START)
    assert step.incident is not None
    assert from_fields({**to_fields(step.incident), **damage}) is None


class Recorder:
    """A channel that keeps what it was given, and fails when told to."""

    def __init__(self) -> None:
        self.messages: list[list[tuple[NotificationKind, date]]] = []
        self.broken = False

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep one message."""
        assert now.tzinfo is not None
        if self.broken:
            raise ConnectionError("no route to Slack")
        self.messages.append([(n.kind, n.verdict.game_date) for n in notifications])


@pytest.fixture
def late(orchestrator: Orchestrator, phase: Phase, clock: SimulatedClock) -> list[date]:
    """Two dates whose fifth processor never reported; returns them."""
    days = [DAY - timedelta(days=1), DAY]
    for day in days:
        for number, name in enumerate(sorted(phase.expected)[:4]):
            clock.now = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
            orchestrator.deliver(push_envelope(name, str(day), clock.now, message_id=f"{day}{number}"))
    return days


NOON = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)


def test_several_dates_are_one_message(stores: EmbeddedStores, phase: Phase, late: list[date]) -> None:
    """Opened together, told once, recalled together."""
    recorder = Recorder()
    for number in range(18):
        watch(stores, {"phase2": phase}, recorder, NOON + number * TICK)
    assert recorder.messages == [[(N.OPENED, day) for day in late], [(N.REMINDER, day) for day in late]]


def test_two_canaries_at_once_send_one_message(stores: EmbeddedStores, phase: Phase, late: list[date]) -> None:
    """The scheduler starts a run at least once, which may be twice."""
    recorder, together = Recorder(), Barrier(4)

    def run(_: int) -> None:
        together.wait(10)
        watch(stores, {"phase2": phase}, recorder, NOON)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert sorted(notification for message in recorder.messages for notification in message) == [
        (N.OPENED, day) for day in late
    ]


def test_a_failed_send_is_repeated(stores: EmbeddedStores, phase: Phase, late: list[date]) -> None:
    """The run says that it failed, and the next attempt sends, without waiting for a claim to expire."""
    recorder = Recorder()
    recorder.broken = True
    with pytest.raises(ConnectionError):
        watch(stores, {"phase2": phase}, recorder, NOON)
    recorder.broken = False
    watch(stores, {"phase2": phase}, recorder, NOON + timedelta(seconds=30))
    watch(stores, {"phase2": phase}, recorder, NOON + TICK)
    assert recorder.messages == [[(N.OPENED, day) for day in late]]


def test_a_channel_that_fails_does_not_keep_the_others_from_being_tried(
    stores: EmbeddedStores, phase: Phase, late: list[date]
) -> None:
    """The log entry goes out though the other channel is broken, and the failure is not hidden."""
    broken, stream = Recorder(), io.StringIO()
    broken.broken = True
    with pytest.raises(ConnectionError):
        watch(stores, {"phase2": phase}, Channels(broken, LogChannel({"phase2": phase}, stream=stream)), NOON)
    assert len(stream.getvalue().splitlines()) == len(late)


def test_an_incident_is_followed_beyond_the_look_back_window(
    stores: EmbeddedStores, phase: Phase, late: list[date], orchestrator: Orchestrator, clock: SimulatedClock
) -> None:
    """A date that left the window unresolved is still resolved; one that was never told of opens no more."""
    recorder = Recorder()
    watch(stores, {"phase2": phase}, recorder, NOON, {"phase2": [DAY]})
    later = NOON + timedelta(days=3)
    clock.now = later
    for day in late:
        orchestrator.deliver(push_envelope(sorted(phase.expected)[4], str(day), later, message_id=f"{day}-last"))
    watch(stores, {"phase2": phase}, recorder, later + TICK)
    assert recorder.messages == [[(N.OPENED, DAY)], [(N.RESOLVED, DAY)]]


def test_the_log_entry_of_a_notification(stores: EmbeddedStores, phase: Phase, late: list[date]) -> None:
    """One line of JSON each, at the level of the harm, with everything that the alert says."""
    stream = io.StringIO()
    watch(stores, {"phase2": phase}, LogChannel({"phase2": phase}, project="nba", stream=stream), NOON)
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(e["game_date"], e["canary_alert"], e["severity"]) for e in entries] == [
        (str(day), "OPENED", "ERROR") for day in late
    ]
    assert entries[1]["message"].startswith("CANARY_ALERT OPENED: phase2 2026-02-09: not completed, 0 min past")
    assert entries[1]["message"].endswith("\nLook:     GOOGLE_CLOUD_PROJECT=nba canary explain 2026-02-09")
    assert entries[1]["logs"] == logs_link("nba", "phase2", DAY)
    assert stores.documents.get_all([incident_ref("phase2", DAY)])
