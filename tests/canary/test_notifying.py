"""Notifications reach each channel once, whatever fails: a store, a channel, or a run."""

import copy
import io
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from canary.domain.advance import Judged
from canary.domain.evidence import Unreadable
from canary.domain.incident import DateMemory, Incident, NotificationKind
from canary.domain.remembered import (
    DEFAULT_CANARY,
    canary_ref,
    month_ref,
    older_refs,
    read_date,
    read_runs,
)
from canary.domain.silence import people_ref
from canary.domain.verdict import Level, Verdict, VerdictKind
from canary.function import Canary, _failure
from canary.notify.channel import Channels, Notification, NotifyError, Warned
from canary.notify.incidents import Notified, notify_channels
from canary.notify.log_entry import LogChannel
from canary.notify.message import logs_link
from canary.run import watch
from orchestrator_resilience import Phase
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.doubles import Operation, Watched

PEOPLE = people_ref(DEFAULT_CANARY)
DAY = date(2026, 2, 9)
BEFORE = DAY - timedelta(days=1)
NOON = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
TICK = timedelta(minutes=15)
K, N = VerdictKind, NotificationKind
OPENED, RESOLVED = N.OPENED, N.RESOLVED


class Recorder:
    """A channel that keeps what it was given; it raises `error` where there is one."""

    def __init__(self, name: str = "recorder", address: str = "") -> None:
        self.name, self.address = name, address
        self.messages: list[list[tuple[NotificationKind, date]]] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.attempts = 0
        self.error: Exception | None = None
        self.odd: set[date] = set()

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep one message."""
        assert now.tzinfo is not None
        self.attempts += 1
        if self.error:
            raise self.error
        if self.odd & {n.verdict.game_date for n in notifications}:
            raise OverflowError("date value out of range")
        self.messages.append([(n.kind, n.verdict.game_date) for n in notifications])
        self.notes += [n.note for n in notifications]

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (the text has it)
        """Keep the word."""
        assert now.tzinfo is not None
        self.warnings.append(text)

    @property
    def heard(self) -> list[tuple[NotificationKind, date]]:
        """What it was told, in order."""
        return [one for message in self.messages for one in message]


def faulty(documents: object, fault: Callable[[str, DocumentRef | None], str | None]) -> Any:
    """Return documents that fail where `fault` says, "before" or "after" an operation is done."""

    def watch(operation: Operation, act: Callable[[], Any]) -> Any:
        ref = operation.arguments[0][0][0] if operation.name == "commit" else None
        when = fault(operation.name, ref)
        if when == "before":
            raise StoreError("Firestore: ServiceUnavailable: 503")
        answer = act()
        if when == "after":
            raise StoreError("Firestore: DeadlineExceeded: 504")
        return answer

    return Watched(documents, watch)


def verdict(kind: VerdictKind, day: date = DAY, since: datetime | None = None) -> Verdict:
    return Verdict(kind=kind, phase="phase2", game_date=day, summary="a summary", since=since)


BAD, GOOD = verdict(K.UNTRIGGERED, since=NOON - timedelta(minutes=40)), verdict(K.TRIGGERED)
BAD_BEFORE, OF_PHASE9 = replace(BAD, game_date=BEFORE), replace(GOOD, phase="phase9")


def run(
    stores: EmbeddedStores,
    phase: Phase,
    channels: Channels,
    now: datetime = NOON,
    *verdicts: Verdict,
) -> Notified:
    """Notify of `verdicts`, or of BAD, as a run does."""
    return run_on(stores.documents, phase, channels, now, *verdicts)


def run_on(
    documents: DocumentStore,
    phase: Phase,
    channels: Channels,
    now: datetime = NOON,
    *verdicts: Verdict,
    deadline: Deadline | None = None,
) -> Notified:
    """Do the same with other documents."""
    told = verdicts or (BAD,)
    remembered: dict[DocumentRef, Document] | Unreadable
    own = canary_ref(channels.canary)
    try:
        refs = {month_ref(channels.canary, v.phase, f"{v.game_date:%Y-%m}") for v in told}
        remembered = documents.get_all([own, PEOPLE, *refs])
        older = older_refs(read_runs(remembered.get(own)), channels.canary, now, [phase.name])
        remembered |= documents.get_all(older)
    except StoreError as error:
        remembered = Unreadable(str(error))
    deadline = deadline or Deadline(60)
    phases = {phase.name: phase}
    return notify_channels(
        documents, remembered, Judged(told), channels, phases=phases, now=now, deadline=deadline
    )


REF, CANARY = month_ref(DEFAULT_CANARY, "phase2", "2026-02"), canary_ref(DEFAULT_CANARY)


def remembered(stores: EmbeddedStores, day: date = DAY) -> DateMemory:
    return read_date(stores.documents.get_all([REF]).get(REF), day, NOON + timedelta(days=99))


# Whole runs


@pytest.fixture
def late(orchestrator: Orchestrator, phase: Phase, clock: SimulatedClock) -> list[date]:
    """Two dates whose fifth processor never reported; returns them."""
    days = [BEFORE, DAY]
    for day in days:
        for number, name in enumerate(sorted(phase.expected)[:4]):
            clock.now = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
            orchestrator.deliver(
                push_envelope(name, str(day), clock.now, message_id=f"{day}{number}")
            )
    return days


def test_several_dates_are_one_message(
    stores: EmbeddedStores, phase: Phase, late: list[date]
) -> None:
    """Opened together, told once, recalled together."""
    recorder = Recorder()
    for number in range(18):
        watch(stores, {"phase2": phase}, Channels(recorder), NOON + number * TICK)
    assert recorder.messages == [
        [(OPENED, day) for day in late],
        [(N.REMINDER, day) for day in late],
    ]


def test_two_canaries_at_once_send_one_message(
    stores: EmbeddedStores, phase: Phase, late: list[date]
) -> None:
    """The scheduler starts a run at least once, which may be twice."""
    recorder, together = Recorder(), Barrier(4)

    def one_run(_: int) -> None:
        together.wait(10)
        watch(stores, {"phase2": phase}, Channels(recorder), NOON)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one_run, range(4)))
    assert sorted(recorder.heard) == [(OPENED, day) for day in late]


def test_an_incident_is_followed_beyond_the_look_back_window(
    stores: EmbeddedStores,
    phase: Phase,
    late: list[date],
    orchestrator: Orchestrator,
    clock: SimulatedClock,
) -> None:
    """A date that left the window is still resolved, and opens nothing that was never sent."""
    recorder = Recorder()
    watch(stores, {"phase2": phase}, Channels(recorder), NOON, {"phase2": [DAY]})
    later = NOON + timedelta(days=3)
    clock.now = later
    for day in late:
        orchestrator.deliver(
            push_envelope(sorted(phase.expected)[4], str(day), later, message_id=f"{day}-last")
        )
    for number in (1, 2):
        watch(stores, {"phase2": phase}, Channels(recorder), later + number * TICK)
    assert [(kind, day) for kind, day in recorder.heard if day in late] == [
        (OPENED, DAY),
        (RESOLVED, DAY),
    ]


def test_the_log_entry_of_a_notification(
    stores: EmbeddedStores, phase: Phase, late: list[date]
) -> None:
    """One line of JSON each, at the level of the harm, with everything that the alert says."""
    stream = io.StringIO()
    log = LogChannel({"phase2": phase}, project="nba", stream=stream)
    watch(stores, {"phase2": phase}, Channels(log), NOON)
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(e["game_date"], e["canary_alert"], e["severity"]) for e in entries] == [
        (str(day), "OPENED", "ERROR") for day in late
    ]
    headline = entries[1]["headline"]
    first, action, look, *_, logs = entries[1]["message"].splitlines()
    assert headline.startswith(
        "▲ ERROR · 2026-02-09 · INCOMPLETE without p2_odds_player_props · impact unknown · "
    )
    assert first == f"CANARY_ALERT OPENED: {headline}"
    assert action.startswith("Do now:   look at the log of p2_odds_player_props for 2026-02-09")
    assert look == "Look:     GOOGLE_CLOUD_PROJECT=nba canary explain 2026-02-09"
    assert logs == f"Logs Explorer: {logs_link('nba', 'phase2', DAY)}"
    assert entries[1]["game_dates"] == ["2026-02-09"]
    assert entries[1]["logs"] == logs_link("nba", "phase2", DAY)
    assert remembered(stores).open is not None


# Channels


def test_a_failed_send_is_repeated(stores: EmbeddedStores, phase: Phase) -> None:
    """The run says that nobody was notified, and the next sends without waiting for the claim."""
    recorder = Recorder()
    recorder.error = NotifyError("Slack answered 503")
    said = run(stores, phase, Channels(recorder))
    assert said == Notified(
        {"recorder": "Slack answered 503"},
        ("phase2 2026-02-09: no channel is known to have taken it",),
    )
    recorder.error = None
    assert run(stores, phase, Channels(recorder), NOON + timedelta(seconds=30)) == Notified()
    assert run(stores, phase, Channels(recorder), NOON + TICK) == Notified()
    assert recorder.heard == [(OPENED, DAY)]


def test_a_channel_that_is_down_repeats_nothing_on_the_others(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """The run says which channel was not reached, which is sent everything once it is back."""
    slack, log = Recorder("slack"), Recorder("log")
    slack.error = OSError("no route to host")
    for number in range(4):
        said = run(stores, phase, Channels(slack, log), NOON + number * TICK)
        assert said == Notified({"slack": "OSError: no route to host"})
    slack.error = None
    for number in range(4, 8):
        assert run(stores, phase, Channels(slack, log), NOON + number * TICK) == Notified()
    assert (slack.heard, log.heard) == ([(OPENED, DAY)], [(OPENED, DAY)])


def test_what_never_heard_of_the_beginning_hears_nothing_of_the_end(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """The others hear of it."""
    slack, log = Recorder("slack"), Recorder("log")
    slack.error = NotifyError("Slack answered 503")
    run(stores, phase, Channels(slack, log))
    slack.error = None
    for number in range(1, 5):
        run(stores, phase, Channels(slack, log), NOON + number * TICK, GOOD)
    assert (slack.heard, log.heard) == ([], [(OPENED, DAY), (RESOLVED, DAY)])


def test_an_odd_date_does_not_keep_the_others_from_being_told(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """What cannot be put into words is left out, and said."""
    recorder = Recorder()
    recorder.odd = {BEFORE}
    said = run(stores, phase, Channels(recorder), NOON, BAD_BEFORE, BAD)
    assert recorder.heard == [(OPENED, DAY)]
    assert said == Notified(
        {"recorder": "OverflowError: date value out of range"},
        ("phase2 2026-02-08: no channel is known to have taken it",),
    )


def test_a_refusal_for_good_is_told_once(stores: EmbeddedStores, phase: Phase) -> None:
    """The other channels hear once of a refusal; the refused one is tried every four hours."""
    slack, log = Recorder("slack", "old"), Recorder("log")
    slack.error = NotifyError("Slack answered 404 no_service", gone=True)
    days = [DAY - timedelta(days=n) for n in range(3)]
    problems = [replace(BAD, game_date=day) for day in days]
    for number in range(96):
        said = run(stores, phase, Channels(slack, log), NOON + number * TICK, *problems)
        assert said == Notified({"slack": "Slack answered 404 no_service"})
    assert slack.attempts == 6
    assert log.heard == [
        (kind, day) for kind in (OPENED, *[N.REMINDER] * 5) for day in sorted(days)
    ]
    (word,) = log.warnings
    assert word == (
        "nobody is notified through the channel slack any more: Slack answered 404 no_service. "
        "Give it an address that "
        "is taken; it is then sent all that is open"
    )
    mended = Recorder("slack", "new")
    for number in range(96, 100):
        said = run(stores, phase, Channels(mended, log), NOON + number * TICK, *problems)
        assert said == Notified()
    assert mended.messages == [[(OPENED, day) for day in sorted(days)]]


def test_of_two_runs_at_once_one_says_that_a_channel_is_refused(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """The other one finds it said when it writes down the same."""
    slack, log, met = Recorder("slack"), Recorder("log"), list[DocumentRef]()
    slack.error = NotifyError("Slack answered 404", gone=True)

    def meet(operation: str, ref: DocumentRef | None) -> None:
        if operation == "commit" and ref == canary_ref(DEFAULT_CANARY) and not met:
            met.append(ref)
            run(stores, phase, Channels(slack, log), NOON, BAD_BEFORE, BAD)

    run_on(faulty(stores.documents, meet), phase, Channels(slack, log), NOON, BAD)
    assert (len(met), len(log.warnings)) == (1, 1)


def test_an_address_that_is_taken_again_is_used_again(stores: EmbeddedStores, phase: Phase) -> None:
    """And refused once more, that is told once more."""
    slack, log = Recorder("slack"), Recorder("log")
    gone = NotifyError("Slack answered 410", gone=True)
    for number, error in enumerate([gone, None, gone]):
        slack.error = error
        for repeat in range(2):
            now = NOON + number * timedelta(hours=5) + repeat * TICK
            run(stores, phase, Channels(slack, log), now)
    assert slack.heard == [(OPENED, DAY)]
    assert len(log.warnings) == 2


# Documents


@pytest.mark.parametrize(
    ("when", "times"), [("before", 1), ("after", 1), ("before", 2), ("after", 2), ("before", 9)]
)
def test_a_commit_that_fails_is_tried_again(
    stores: EmbeddedStores, phase: Phase, when: str, times: int
) -> None:
    """A lost answer is read back, and without any memory people are notified all the same."""
    recorder, left = Recorder(), [times]

    def fault(operation: str, ref: DocumentRef | None) -> str | None:
        if (operation, ref) != ("commit", REF) or not left[0]:
            return None
        left[0] -= 1
        return when

    documents = faulty(stores.documents, fault)
    said = run_on(documents, phase, Channels(recorder), NOON, BAD_BEFORE, BAD)
    assert recorder.messages == [[(OPENED, BEFORE), (OPENED, DAY)]]
    assert said == Notified(
        without_memory="Firestore: ServiceUnavailable: 503" if times == 9 else ""
    )
    for number in range(1, 4):
        assert (
            run(stores, phase, Channels(recorder), NOON + number * TICK, BAD_BEFORE, BAD)
            == Notified()
        )
    assert len(recorder.messages) == 1 + (times == 9)  # nobody knows of what could not be written


def test_what_came_of_it_is_noted_though_that_fails_twice(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """What was sent is not sent again because the word that it was got lost."""
    recorder, count = Recorder(), [0]

    def fault(operation: str, ref: DocumentRef | None) -> str | None:
        count[0] += (operation, ref) == ("commit", REF)
        return "before" if (operation, ref) == ("commit", REF) and count[0] in {2, 3} else None

    run_on(faulty(stores.documents, fault), phase, Channels(recorder))
    run(stores, phase, Channels(recorder), NOON + TICK)
    assert recorder.heard == [(OPENED, DAY)]


def test_what_could_not_be_noted_may_have_been_heard(stores: EmbeddedStores, phase: Phase) -> None:
    """It is sent once more, and its end is."""
    recorder, count = Recorder(), [0]

    def fault(operation: str, ref: DocumentRef | None) -> str | None:
        count[0] += (operation, ref) == ("commit", REF)
        return "before" if (operation, ref) == ("commit", REF) and count[0] > 1 else None

    said = run_on(faulty(stores.documents, fault), phase, Channels(recorder))
    assert said.without_memory == "Firestore: ServiceUnavailable: 503"
    for number, one in enumerate([BAD, BAD, GOOD, GOOD, GOOD], 1):
        assert run(stores, phase, Channels(recorder), NOON + number * TICK, one) == Notified()
    assert recorder.heard == [(OPENED, DAY), (OPENED, DAY), (RESOLVED, DAY)]


def test_a_date_that_is_well_again_before_it_was_sent(stores: EmbeddedStores, phase: Phase) -> None:
    """Neither its beginning nor its end is sent, and nothing is remembered of it."""
    recorder = Recorder()
    recorder.error = NotifyError("Slack answered 503")
    run(stores, phase, Channels(recorder))
    recorder.error = None
    for number in range(1, 4):
        assert run(stores, phase, Channels(recorder), NOON + number * TICK, GOOD) == Notified()
    assert (recorder.heard, remembered(stores).incidents) == ([], ())


def test_a_receipt_of_a_run_that_died_is_not_taken_for_heard(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """Who comes while it holds says that nobody was notified; who comes later sends it."""
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        run(stores, phase, Channels(Dying()))
    held = run(stores, phase, Channels(recorder), NOON + timedelta(seconds=10))
    assert held == Notified(untold=("phase2 2026-02-09: another run was about to send it",))
    assert run(stores, phase, Channels(recorder), NOON + TICK) == Notified()
    assert recorder.heard == [(OPENED, DAY)]


def test_an_end_without_a_beginning_says_so(stores: EmbeddedStores, phase: Phase) -> None:
    """The run that opened it died, and it was well by the next one."""
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        run(stores, phase, Channels(Dying()))
    for number in range(1, 4):
        run(stores, phase, Channels(recorder), NOON + number * TICK, GOOD)
    assert recorder.heard == [(RESOLVED, DAY)]
    assert recorder.notes == [
        "began 2026-02-10 17:00Z; the message that it began may not have reached you"
    ]


def test_what_may_have_been_posted_is_not_taken_back(stores: EmbeddedStores, phase: Phase) -> None:
    """No answer is no refusal: it is sent again, and its end is sent."""
    recorder = Recorder()
    recorder.error = NotifyError("no answer within 10 s", may_be_posted=True)
    run(stores, phase, Channels(recorder))
    recorder.error = None
    for number, one in enumerate([BAD, BAD, GOOD, GOOD], 1):
        run(stores, phase, Channels(recorder), NOON + number * TICK, one)
    assert recorder.heard == [(OPENED, DAY), (RESOLVED, DAY)]


def test_who_is_never_first_says_so(stores: EmbeddedStores, phase: Phase) -> None:
    """It reads and computes again, three times at most."""
    recorder, changing = Recorder(), [0]

    def fault(operation: str, ref: DocumentRef | None) -> None:
        if (operation, ref) == ("commit", REF):
            changing[0] += 1
            stores.documents.merge(REF, {"2026-02-01": str(changing[0])})

    said = run_on(faulty(stores.documents, fault), phase, Channels(recorder))
    assert (recorder.heard, changing) == ([], [3])
    assert said.untold == ("phase2 2026-02-09: other runs were first, each time",)
    assert run(stores, phase, Channels(recorder), NOON + TICK) == Notified()
    assert recorder.heard == [(OPENED, DAY)]


class Dying(Recorder):
    """A channel with which the process dies."""

    def send(self, *_: object) -> None:
        """Die."""
        raise KeyboardInterrupt


def test_every_meeting_of_two_runs(phase: Phase, tmp_path: Path) -> None:
    """Each channel hears once, wherever a second run meets a first one that may fail."""
    for number, (point, failing, when) in enumerate(
        product(range(9), range(2, 9), ("", "before", "after"))
    ):
        with EmbeddedStores(tmp_path / str(number), durable=False) as stores:
            recorder, steps = Recorder(), [0]

            def fault(
                _: str,
                __: DocumentRef | None,
                steps: list[int] = steps,
                at: tuple[int, int, str] = (point, failing, when),
                stores: EmbeddedStores = stores,
                recorder: Recorder = recorder,
            ) -> str | None:
                steps[0] += 1
                if steps[0] - 1 == at[0]:
                    run(
                        stores,
                        phase,
                        Channels(recorder),
                        NOON + timedelta(seconds=3),
                        BAD_BEFORE,
                        BAD,
                    )
                return at[2] if steps[0] - 1 == at[1] else None

            run_on(
                faulty(stores.documents, fault), phase, Channels(recorder), NOON, BAD_BEFORE, BAD
            )
            for later in range(1, 4):
                run(stores, phase, Channels(recorder), NOON + later * TICK, BAD_BEFORE, BAD)
            for later in range(4, 7):
                run(
                    stores,
                    phase,
                    Channels(recorder),
                    NOON + later * TICK,
                    GOOD,
                    replace(GOOD, game_date=BEFORE),
                )
            for day in (BEFORE, DAY):
                own = [kind for kind, of in recorder.heard if of == day]
                assert own in (
                    [OPENED, RESOLVED],
                    [OPENED, *([OPENED] if when else []), RESOLVED],
                ), (
                    point,
                    failing,
                    when,
                )


# Without memory


def unreadable(stores: EmbeddedStores) -> Any:
    """Return documents that nobody can read."""
    return faulty(stores.documents, lambda *_: "before")


def read_only(stores: EmbeddedStores) -> Any:
    """Return documents that nobody can write."""
    return faulty(
        stores.documents, lambda operation, _: None if operation == "get_all" else "before"
    )


@pytest.mark.parametrize("broken", [unreadable, read_only])
def test_without_memory_people_are_told_by_the_age_of_the_problem(
    stores: EmbeddedStores, phase: Phase, broken: Callable[[EmbeddedStores], Any]
) -> None:
    """Runs that know nothing of each other notify at first and every four hours, and say so."""
    recorder = Recorder()
    said = {}
    for number in range(40):
        said[number] = run_on(broken(stores), phase, Channels(recorder), NOON + number * TICK)
    assert recorder.messages == [[(OPENED, DAY)], [(N.REMINDER, DAY)], [(N.REMINDER, DAY)]]
    assert set(recorder.notes) == {
        (
            "sent without memory, once in 4 hours, and not when it is over: Firestore: "
            "ServiceUnavailable: 503"
        )
    }
    assert {number for number, one in said.items() if not one.untold} == {0, 16, 32}
    assert {one.without_memory for one in said.values()} == {"Firestore: ServiceUnavailable: 503"}


@pytest.mark.parametrize("broken", [unreadable, read_only])
def test_a_process_knows_what_it_told_without_memory(
    stores: EmbeddedStores, phase: Phase, broken: Callable[[EmbeddedStores], Any]
) -> None:
    """A repeated run notifies once, the runs between know it, and a late problem is sent late."""
    recorder = Recorder()
    channels = Channels(recorder)
    late = replace(BAD, game_date=BEFORE, since=NOON - timedelta(hours=3))
    for number in range(17):
        for _ in range(2):
            some = (BAD,) if number < 2 else (BAD, late)
            said = run_on(broken(stores), phase, channels, NOON + number * TICK, *some)
            assert said.untold == ()
    assert recorder.messages == [
        *([(OPENED, DAY)], [(OPENED, BEFORE)], [(N.REMINDER, DAY)]),
    ]


def test_what_cannot_be_written_is_sent_as_memory_says(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """An incident in memory goes on where nothing can be written, and sends only what is due."""
    run(stores, phase, Channels(first := Recorder()), NOON, BAD)
    assert first.heard == [(OPENED, DAY)]
    for hours, sent in ((2, []), (5, [(N.REMINDER, DAY)])):
        channels, later = Channels(recorder := Recorder()), NOON + timedelta(hours=hours)
        run_on(
            unreadable(stores),
            phase,
            channels,
            later - TICK,
            replace(BAD, kind=K.UNKNOWN, unreadable=True),
        )
        said = run_on(read_only(stores), phase, channels, later, BAD)
        assert (recorder.heard, said.untold) == (sent, ())


@pytest.mark.usefixtures("late")
def test_a_canary_that_may_only_read_answers_200_when_people_were_told(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """A process answers 200 once it knows that people were notified, and 503 before that."""
    own = copy.copy(stores)
    own.documents = read_only(stores)
    recorder = Recorder()

    def answers(start: datetime) -> list[int]:
        canary = Canary(own, {"phase2": phase}, Channels(recorder), None)
        return [canary._route("POST", "/", start + number * TICK)[1] for number in range(3)]

    assert answers(NOON) == [200] * 3
    # the first for as long as a whole day
    assert recorder.messages == [[(N.REMINDER, BEFORE), (OPENED, DAY)]]
    assert answers(NOON + timedelta(hours=1)) == [503, 200, 200]


def test_a_stream_is_used_whether_it_is_true_or_not(
    stores: EmbeddedStores, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not stdout."""

    class Empty(io.StringIO):
        """A stream that is empty as a collection."""

        def __len__(self) -> int:
            return 0

    run(
        stores,
        phase,
        Channels(LogChannel({"phase2": phase}, stream=(stream := Empty()))),
        NOON,
        BAD,
    )
    assert "CANARY_ALERT OPENED" in stream.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("operation", ["write", "flush"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "no space"),
        BrokenPipeError(),
        OSError(5, "I/O error"),
        ValueError("closed file"),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("late")
def test_a_run_that_can_print_nothing_ends_in_json(
    operation: str, error: Exception, stores: EmbeddedStores, phase: Phase
) -> None:
    """People hear on the other channels, once; the log has it when there is room again."""

    class Broken(io.StringIO):
        """A stdout that does not take what is written, or not beyond its buffer."""

        def __init__(self, operation: str, error: Exception) -> None:
            super().__init__()
            self.operation, self.failure = operation, error

        def write(self, text: str) -> int:
            """Take a text."""
            self._take("write")
            return super().write(text)

        def flush(self) -> None:
            """Pass it on."""
            self._take("flush")

        def _take(self, operation: str) -> None:
            if operation == self.operation:
                raise self.failure

    recorder, log = Recorder(), LogChannel({"phase2": phase})
    canary = Canary(stores, {"phase2": phase}, Channels(log, recorder), None)

    def run_now(number: int) -> Any:
        """Answer a run as the function does, at a time of the test's own."""
        try:
            return canary._route("POST", "/", NOON + number * TICK)
        except Exception as failure:  # noqa: BLE001 (as the function has it)
            return _failure(failure)

    with redirect_stdout(Broken(operation, error)):
        answers = [run_now(number) for number in range(3)]
    assert [answer[1] for answer in answers] == [503] * 3
    assert all(type(error).__name__ in json.dumps(answer[0]) for answer in answers)
    with redirect_stdout(io.StringIO()) as printed:
        assert run_now(3)[1] == 200
    assert "CANARY_ALERT OPENED" in printed.getvalue()
    assert len(recorder.messages) == 1


def test_without_memory_not_knowing_is_sent_when_it_lasts(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """UNKNOWN is sent when the next run cannot tell either, and every four hours; no all-clear."""
    recorder = Recorder()
    channels, unknown = Channels(recorder), replace(verdict(K.UNKNOWN), unreadable=True)
    start = NOON + 2 * TICK
    run(stores, phase, channels, start - TICK, GOOD)
    for number in range(20):
        said = run_on(
            unreadable(stores),
            phase,
            channels,
            start + number * TICK,
            unknown,
            replace(GOOD, game_date=BEFORE),
        )
        assert said.untold == ()
    assert recorder.heard == [(OPENED, DAY), (N.REMINDER, DAY)]


@pytest.mark.parametrize("state", ["notified", "acknowledged", "silenced"])
def test_where_memory_cannot_be_written_it_says_which_kind_it_is(
    stores: EmbeddedStores, phase: Phase, state: str
) -> None:
    """It is a REMINDER of what is known; acknowledged and silenced incidents send nothing."""
    recorder = Recorder()
    run(stores, phase, Channels(recorder))
    opened_at = {
        "opened_at": NOON,
        "level": "ERROR",
        "at": NOON,
        "phase": "phase2",
        "game_date": str(DAY),
    }
    silence = {
        "phase": "phase2",
        "first": str(DAY),
        "last": str(DAY),
        "reason": "x",
        "expires_at": NOON + 8 * 4 * TICK,
    }
    said: dict[str, Any] = {
        "acknowledged": {"acknowledgements": [opened_at]},
        "silenced": {"silences": {"1": silence}},
    }
    stores.documents.merge(PEOPLE, said.get(state, {}))
    for number in range(1, 18):
        run_on(read_only(stores), phase, Channels(recorder), NOON + number * TICK)
    assert recorder.heard[1:] == ([(N.REMINDER, DAY)] if state == "notified" else [])


def test_memory_of_another_format_is_not_read(stores: EmbeddedStores, phase: Phase) -> None:
    """Nor overwritten: people are notified without it."""
    stores.documents.merge(CANARY, {"format": 2})
    watch(stores, {"phase2": phase}, Channels(Recorder()), NOON)
    assert stores.documents.get_all([CANARY])[CANARY].fields == {"format": 2}


# Dates that are no longer watched


def test_an_incident_of_a_phase_that_is_removed_expires(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """Each channel that was notified hears it once, in the first run without the phase."""
    recorder, silent, stream = Recorder(), Recorder("silent"), io.StringIO()
    log = LogChannel({"phase9": phase}, stream=stream)
    silent.error = NotifyError("Slack answered 503")
    run(stores, phase, Channels(recorder, silent, log), NOON, BAD_BEFORE, BAD)
    silent.error = None
    for number in range(1, 4):
        run(
            stores,
            named(phase, "phase9"),
            Channels(recorder, silent, log),
            NOON + number * TICK,
            OF_PHASE9,
        )
    assert recorder.messages == [
        [(OPENED, BEFORE), (OPENED, DAY)],
        [(N.EXPIRED, BEFORE), (N.EXPIRED, DAY)],
    ]
    assert (silent.heard, remembered(stores).open) == ([], None)
    told = json.loads(stream.getvalue().splitlines()[-1])
    assert (
        told["message"]
        .splitlines()[0]
        .startswith(
            "CANARY_ALERT EXPIRED: … EXPIRED · 2 dates, 2026-02-08 to 02-09 · still "
            "UNTRIGGERED when last seen · "
            "15 min after the alert · no longer watched: phase2 is not in the phases"
        )
    )
    assert told["game_dates"] == ["2026-02-08", "2026-02-09"]


def test_an_incident_that_is_too_old_to_be_followed_expires(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """It has left the dates that are read, also those of its month."""
    recorder, slack = Recorder(), Recorder("slack")
    run(stores, phase, Channels(recorder, slack))
    slack.error = NotifyError("Slack answered 404", gone=True)
    later, other = NOON + timedelta(days=30), replace(GOOD, game_date=DAY + timedelta(days=29))
    for number in range(4):
        run(stores, phase, Channels(recorder, slack), later + number * TICK, other)
    assert recorder.heard == [(OPENED, DAY), (N.EXPIRED, DAY)]
    run(stores, phase, Channels(recorder, slack), later + timedelta(days=7), other)
    assert remembered(stores).open is None


def test_two_canaries_on_one_database_know_nothing_of_each_other(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """One for staging silences nothing in production."""
    heard = {name: Recorder() for name in ("staging", "production")}
    for number, one in enumerate([BAD, BAD, GOOD, GOOD]):
        for name, recorder in heard.items():
            run(stores, phase, Channels(recorder, canary=name), NOON + number * TICK, one)
    assert [recorder.heard for recorder in heard.values()] == [[(OPENED, DAY), (RESOLVED, DAY)]] * 2


def test_what_a_whole_run_no_longer_watches(
    stores: EmbeddedStores, phase: Phase, late: list[date]
) -> None:
    """The scheduled run closes it; a run over some dates leaves the others alone."""
    recorder = Recorder()
    watch(stores, {"phase2": phase}, Channels(recorder), NOON)
    other = msgspec.structs.replace(
        named(phase, "phase9"), firestore_collection="phase9_completion"
    )
    watch(stores, {"phase9": other}, Channels(recorder), NOON + TICK, {"phase9": [DAY]})
    watch(stores, {"phase9": other}, Channels(recorder), NOON + TICK)
    assert recorder.messages == [
        [(OPENED, day) for day in late],
        [(N.EXPIRED, day) for day in late],
    ]


@pytest.mark.parametrize("odd", [None, 7, {"phase2": 7}, {"phase2": "soon"}, {7: None}, "2026-02"])
def test_an_odd_document_of_the_canary_does_no_harm(
    stores: EmbeddedStores, phase: Phase, odd: object
) -> None:
    """What is open is known by the incidents themselves."""
    recorder = Recorder()
    run(stores, phase, Channels(recorder))
    for number in range(1, 4):
        stores.documents.merge(
            CANARY, {"open": odd, "judged_from": odd, "refusals": odd, "unseen": odd}
        )
        assert run(stores, phase, Channels(recorder), NOON + number * TICK, GOOD) == Notified()
    assert recorder.heard == [(OPENED, DAY), (RESOLVED, DAY)]


def test_a_date_that_joins_a_group_is_listed_with_it(stores: EmbeddedStores, phase: Phase) -> None:
    """OPENED names all dates that are stuck alike, and the reminders of the group begin anew."""
    recorder, stream = Recorder(), io.StringIO()
    log = LogChannel({"phase2": phase}, stream=stream)
    unknown, before = (replace(verdict(K.UNKNOWN, day), unreadable=True) for day in (DAY, BEFORE))
    for number in range(2):
        run(stores, phase, Channels(recorder, log), NOON + number * TICK, before)
    for number in range(12, 31):
        run(stores, phase, Channels(recorder, log), NOON + number * TICK, before, unknown)
    assert recorder.messages == [
        [(OPENED, BEFORE)],
        [(OPENED, DAY)],
        [(N.REMINDER, BEFORE), (N.REMINDER, DAY)],
    ]
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "2 dates, 2026-02-08 to 02-09" in entries[1]["headline"]
    assert entries[1]["game_dates"] == ["2026-02-08", "2026-02-09"]


def named(phase: Phase, name: str) -> Phase:
    return msgspec.structs.replace(phase, name=name)


# The entry


@pytest.mark.parametrize(
    "name", ["EspnScoreboardProcessor", "\U0001f600" * 100, "\x1b\u202e\n" * 30]
)
def test_an_entry_is_never_too_large(phase: Phase, name: str) -> None:
    """An entry holds 256 KB; what was left out is said, and how it ends is kept."""
    notes = tuple(f"{name}{number} is not expected" for number in range(4_000))
    one = Notification(
        OPENED,
        Incident(kind=K.INCOMPLETE, level=Level.ERROR, opened_at=NOON),
        replace(verdict(K.INCOMPLETE), notes=notes, unexpected=notes),
    )
    stream = io.StringIO()
    LogChannel({"phase2": phase}, stream=stream).send([one], NOON)
    assert len(stream.getvalue()) < 100_000
    message = json.loads(stream.getvalue())["message"]
    assert "characters left out here" in message
    assert message.splitlines()[2] == "Look:     canary explain 2026-02-09"


def test_an_open_incident_keeps_its_receipts(stores: EmbeddedStores, phase: Phase) -> None:
    """By the name of the channel; once it is over its events say who heard what."""
    channels = Channels(Recorder("slack"), Recorder("log"))
    run(stores, phase, channels)
    incident = remembered(stores).open
    assert incident is not None
    assert {(name, one.sent, one.heard, one.run) for name, one in incident.receipts.items()} == {
        ("slack", OPENED, True, ""),
        ("log", OPENED, True, ""),
    }
    for number in (1, 2):
        run(stores, phase, channels, NOON + number * TICK, GOOD)
    (incident,) = remembered(stores).incidents
    assert (incident.receipts, incident.ended, incident.over_at) == ({}, RESOLVED, NOON + TICK)
    assert [(event.what, event.to) for event in incident.events] == [
        ("OPENED", ("log", "slack")),
        ("RESOLVED", ("log", "slack")),
    ]


def test_many_dates_are_sent_as_many_at_once_as_a_message_holds(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """All of them are written down before the first is sent."""
    recorder = Recorder()
    many = [verdict(K.UNTRIGGERED, DAY - timedelta(days=n)) for n in range(100)]
    assert run(stores, phase, Channels(recorder), NOON, *many).untold == ()
    assert sorted(recorder.heard) == sorted((OPENED, one.game_date) for one in many)
    assert [len(message) for message in recorder.messages] == [24, 24, 24, 24, 4]


def test_a_channel_that_has_failed_is_not_waited_for_again(
    stores: EmbeddedStores, phase: Phase
) -> None:
    """In the same run; the next one tells it everything, and the other channel nothing again."""
    down, up = Recorder("down"), Recorder("up")
    down.error = NotifyError("no answer within 10 s")
    many = [verdict(K.UNTRIGGERED, DAY - timedelta(days=n)) for n in range(60)]
    said = run_on(stores.documents, phase, Channels(down, up), NOON, *many)
    assert (down.attempts, said.untold, dict(said.channels_failed)) == (
        1,
        (),
        {"down": "no answer within 10 s"},
    )
    assert len(up.heard) == 60
    down.error = None
    run_on(stores.documents, phase, Channels(down, up), NOON + TICK, *many)
    assert (len(down.heard), len(up.heard)) == (60, 60)


@pytest.mark.parametrize("frozen_at", ["reading", "committing"])
def test_a_run_past_its_own_time_sends_nothing(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch, frozen_at: str
) -> None:
    """A run that thaws too late sends nothing and says so; the next run sends."""
    heard, late = Recorder("slack"), Deadline(60)

    def freeze(operation: str, ref: DocumentRef | None) -> None:
        if (operation, ref) == ("commit", REF):
            monkeypatch.setattr(late, "_at", time.monotonic())

    if frozen_at == "reading":
        monkeypatch.setattr(late, "_at", time.monotonic())
    notified = run_on(
        faulty(stores.documents, freeze), phase, Channels(heard), NOON, BAD, deadline=late
    )
    assert (heard.heard, len(notified.untold)) == ([], 1)
    run_on(stores.documents, phase, Channels(heard), NOON + timedelta(minutes=15))
    assert [kind for kind, _ in heard.heard] == [OPENED]
