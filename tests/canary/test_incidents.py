"""The life of an incident: what each channel is told, and what is remembered of it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.documents import from_fields, to_fields
from canary.domain.incident import (
    CLAIM_EXPIRES_AFTER,
    INCIDENTS,
    REMIND_EVERY,
    Claim,
    Incident,
    Level,
    NotificationKind,
    Receipt,
    Run,
    Sent,
    advance,
    became_a_problem_at,
    delivered,
    kind_without_memory,
    open_refs,
)
from canary.domain.stages import Cause, CauseKind
from canary.domain.verdict import Impact, Verdict, VerdictKind
from orchestrator_resilience import Phase
from orchestrator_resilience.stores.base import Document
from tests.proof.inputs import fuzzed, incidents, texts, values

DAY = date(2026, 2, 9)
START = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
TICK = timedelta(minutes=15)
K, N = VerdictKind, NotificationKind


def verdict(kind: VerdictKind, *causes: CauseKind, impact: Impact | None = None) -> Verdict:
    return Verdict(
        kind=kind,
        phase="phase2",
        game_date=DAY,
        summary="a summary",
        impact=impact or (Impact.UNKNOWN if kind.is_problem else None),
        unreadable=kind is K.UNKNOWN,
        causes=tuple(Cause(kind=cause) for cause in causes),
    )


CHANNELS = ("log", "slack")
Heard = list[tuple[datetime, NotificationKind]]


def lives(
    verdicts: Sequence[tuple[datetime, Verdict]], down: Mapping[str, Collection[int]] | None = None
) -> dict[str, Heard]:
    """Let a canary run at these times; return what each channel heard. One that is `down` in a run hears nothing."""
    known: Incident | None = None
    heard: dict[str, Heard] = {name: [] for name in CHANNELS}
    for number, (now, one) in enumerate(verdicts):
        run = Run(now=now, id=str(number), channels=CHANNELS)
        step = advance(known, one, run)
        known, told = step.incident, {n: k for n, k in step.due.items() if number not in (down or {}).get(n, ())}
        if step.due and known is not None:
            known = delivered(known, one, told, run)
        for name, kind in told.items():
            heard[name].append((now, kind))
    return heard


def ticks(verdicts: Sequence[Verdict]) -> list[tuple[datetime, Verdict]]:
    return [(START + number * TICK, one) for number, one in enumerate(verdicts)]


def live(verdicts: Sequence[Verdict], *, fails: Collection[int] = ()) -> list[NotificationKind | None]:
    """Let a canary run every 15 minutes; return what each run told. Runs in `fails` can send nothing."""
    heard = lives(ticks(verdicts), dict.fromkeys(CHANNELS, fails))
    assert heard["log"] == heard["slack"]
    told = dict(heard["log"])
    return [told.get(START + number * TICK) for number in range(len(verdicts))]


BAD, GOOD, DARK = verdict(K.UNTRIGGERED), verdict(K.TRIGGERED), verdict(K.UNKNOWN)
SETTLING, UNDECIDED = verdict(K.SETTLING), replace(DARK, unreadable=False)
HARMLESS, BLOCKED = verdict(K.UNTRIGGERED, impact=Impact.NONE), verdict(K.UNTRIGGERED, impact=Impact.BLOCKED)
CRASHED, LOST = verdict(K.UNTRIGGERED, CauseKind.CRASHED), verdict(K.UNTRIGGERED, CauseKind.NOT_DELIVERED)
BOTH = verdict(K.UNTRIGGERED, CauseKind.CRASHED, CauseKind.NOT_DELIVERED)


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([GOOD, verdict(K.WAITING), verdict(K.IDLE)], [None] * 3),
        ([BAD, BAD, GOOD, GOOD, GOOD], [N.OPENED, None, None, N.RESOLVED, None]),
        ([BAD] * 34, [N.OPENED, *[None] * 15, N.REMINDER, *[None] * 15, N.REMINDER, None]),
        ([BAD, GOOD, BAD, GOOD, GOOD], [N.OPENED, None, None, None, N.RESOLVED]),
        ([BAD, *[GOOD] * 3, BAD, *[GOOD] * 33], [N.OPENED, None, N.RESOLVED, None, N.OPENED, *[None] * 32, N.RESOLVED]),
        ([BAD, DARK, DARK, BAD, GOOD, GOOD], [N.OPENED, *[None] * 4, N.RESOLVED]),
        ([BAD, GOOD, DARK, GOOD, DARK, GOOD, GOOD], [N.OPENED, *[None] * 5, N.RESOLVED]),
        ([DARK, GOOD], [None, None]),
        ([DARK, GOOD, DARK, GOOD], [None] * 4),
        ([DARK, DARK, DARK, GOOD, GOOD], [None, N.OPENED, None, None, N.RESOLVED]),
        ([DARK, BAD, GOOD, GOOD], [None, N.OPENED, None, N.RESOLVED]),
        ([DARK, DARK, BAD, GOOD, GOOD], [None, N.OPENED, N.CHANGED, None, N.RESOLVED]),
        ([verdict(K.STORES_DISAGREE), verdict(K.INCOMPLETE)], [N.OPENED, N.CHANGED]),
        (
            [verdict(K.INCOMPLETE), SETTLING, SETTLING, BAD, GOOD, GOOD],
            [N.OPENED, None, None, N.CHANGED, None, N.RESOLVED],
        ),
        ([BAD, SETTLING, BAD, SETTLING, GOOD, GOOD], [N.OPENED, *[None] * 4, N.RESOLVED]),
        ([DARK, DARK, SETTLING, SETTLING, BAD], [None, N.OPENED, None, N.RESOLVED, N.OPENED]),
        ([SETTLING, GOOD], [None, None]),
        ([UNDECIDED] * 34, [None, N.OPENED, *[None] * 32]),
        ([HARMLESS, BLOCKED], [N.OPENED, N.CHANGED]),
        ([BLOCKED, HARMLESS], [N.OPENED, None]),
        ([HARMLESS, BLOCKED] * 4, [N.OPENED, N.CHANGED, *[None] * 6]),
        # What explains a problem is no news of its own, and leaves a day's messages to what is.
        ([BAD, CRASHED, BOTH, LOST, CRASHED, BAD, BLOCKED], [N.OPENED, *[None] * 5, N.CHANGED]),
        ([BAD, verdict(K.UNTRIGGERED, CauseKind.UNDETERMINED)], [N.OPENED, None]),
        ([*[BAD] * 120, BLOCKED], [*[N.OPENED, *[None] * 15, *[N.REMINDER, *[None] * 15] * 7][:120], N.CHANGED]),
    ],
)
def test_what_is_told(verdicts: list[Verdict], told: list[NotificationKind | None]) -> None:
    """Once when it opens, when it gets worse, every four hours, and once when it is and stays over."""
    assert live(verdicts) == told


@pytest.mark.parametrize(
    ("verdicts", "fails", "told"),
    [
        ([BAD, BAD, GOOD, GOOD], [0], [None, N.OPENED, None, N.RESOLVED]),
        ([BAD, GOOD, GOOD, GOOD], [2], [N.OPENED, None, None, N.RESOLVED]),
        ([BAD, GOOD, GOOD], [0], [None, None, None]),
        ([BAD, BLOCKED, GOOD, GOOD], [0], [None, N.OPENED, None, N.RESOLVED]),
        ([verdict(K.STORES_DISAGREE), BAD, BAD], [1], [N.OPENED, None, N.CHANGED]),
        ([BAD, BLOCKED, BLOCKED], [1], [N.OPENED, None, N.CHANGED]),
        ([DARK, DARK, DARK], [1], [None, None, N.OPENED]),
    ],
)
def test_what_could_not_be_sent_is_sent_by_the_next_run(
    verdicts: list[Verdict], fails: list[int], told: list[NotificationKind | None]
) -> None:
    """Nothing is lost, and nobody hears of the end of what they never heard of."""
    assert live(verdicts, fails=fails) == told


@pytest.mark.parametrize(
    ("verdicts", "down", "told"),
    [
        ([BAD] * 4, range(3), [N.OPENED]),  # it was down when it began
        ([BAD, CRASHED, *[BLOCKED] * 3], range(1, 4), [N.OPENED, N.CHANGED]),  # how things stand, and no history
        ([BAD] * 50, range(1, 40), [N.OPENED, N.REMINDER]),
        ([BAD, GOOD, GOOD, GOOD], range(3), []),
        ([BAD, BAD, *[GOOD] * 4], range(2, 5), [N.OPENED, N.RESOLVED]),
        ([BAD, *[GOOD] * 3, *[BAD] * 3], range(1, 6), [N.OPENED]),  # it knows of a problem, and there is one
        ([BAD, *[GOOD] * 3, *[BLOCKED] * 3], range(1, 6), [N.OPENED, N.CHANGED]),
    ],
)
def test_a_channel_that_comes_back_is_told_how_things_stand(
    verdicts: list[Verdict], down: range, told: list[NotificationKind]
) -> None:
    """Once, without what it missed; and its silence repeats nothing on the other channel."""
    heard = lives(ticks(verdicts), {"slack": down})
    assert [kind for _, kind in heard["slack"]] == told
    assert heard["log"] == lives(ticks(verdicts))["log"]


# By names, which Hypothesis shows.
VERDICTS = {
    **{kind.value: verdict(kind) for kind in K},
    **{f"UNTRIGGERED by {cause}": verdict(K.UNTRIGGERED, cause) for cause in CauseKind},
    "harmless": HARMLESS,
    "blocked": BLOCKED,
    "undecided": UNDECIDED,
}
LOUD = sorted(name for name, one in VERDICTS.items() if not one.kind.is_quiet)
SPELLS = st.lists(st.sampled_from(sorted(VERDICTS)), min_size=2, max_size=4).flatmap(
    lambda few: st.lists(st.tuples(st.sampled_from(few), st.integers(1, 12)), min_size=10, max_size=60)
)


@settings(deadline=None)
@given(SPELLS, st.sets(st.integers(0, 200), max_size=30), st.sets(st.integers(0, 200)))
def test_whatever_flips_nobody_is_flooded(spells: list[tuple[str, int]], twice: set[int], down: set[int]) -> None:
    """In any 24 hours 8 messages to a channel at the most; OPENED and RESOLVED alternate; in the end it is RESOLVED.

    Some runs are started twice, and see something else; in some of them Slack is down.
    """
    runs = ticks([VERDICTS[name] for name, count in spells for _ in range(count)])
    again = [
        (now + timedelta(seconds=7), runs[number - 1][1]) for number, (now, _) in enumerate(runs) if number in twice
    ]
    runs = sorted([*runs, *again], key=lambda run: run[0])
    last = runs[-1][0]
    quiet = [(last + number * TICK, GOOD) for number in range(1, 4 * 24 + 2)]
    for heard in lives([*runs, *quiet], {"slack": down}).values():
        for now, _ in heard:
            assert sum(now - timedelta(days=1) < at <= now for at, _ in heard) <= 8
        is_open = False
        for _, kind in heard:
            assert (kind is N.OPENED) != is_open
            is_open = kind is not N.RESOLVED
        assert not is_open
        assert [kind for at, kind in heard if at > last] in ([], [N.RESOLVED])


@settings(deadline=None)
@given(st.lists(st.sampled_from(LOUD), min_size=1, max_size=3), st.integers(100, 300))
def test_nobody_hears_that_it_is_over_while_it_flips(others: list[str], count: int) -> None:
    """Quiet in every second run is not over; a problem in the first run was told in the first run."""
    several = [BAD, *(VERDICTS[name] for name in others)]
    heard = lives(ticks([GOOD if n % 2 else several[n // 2 % len(several)] for n in range(count)]))["log"]
    assert heard[0] == (START, N.OPENED)
    assert N.RESOLVED not in [kind for _, kind in heard]


@settings(deadline=None)
@given(st.sampled_from([name for name in LOUD if VERDICTS[name].kind.is_problem]), st.integers(1, 300))
def test_a_steady_problem_is_reminded_of_every_four_hours(problem: str, count: int) -> None:
    """For as long as it lasts."""
    heard = lives(ticks([VERDICTS[problem]] * count))["log"]
    reminders = [(START + n * REMIND_EVERY, N.REMINDER) for n in range(1, (count - 1) // 16 + 1)]
    assert heard == [(START, N.OPENED), *reminders]


def test_a_claim_holds_off_others_until_it_expires() -> None:
    """While somebody is sending nobody else does; one that died is taken over. One from the future is none."""
    known = advance(None, BAD, Run(now=START, id="dead", channels=CHANNELS)).incident
    assert known is not None

    def due(after: timedelta) -> tuple[bool, set[NotificationKind]]:
        step = advance(known, BAD, Run(now=START + after, id="other", channels=CHANNELS))
        return step.held, set(step.due.values())

    assert due(CLAIM_EXPIRES_AFTER - timedelta(seconds=1)) == (True, set())
    assert due(-timedelta(seconds=5)) == (True, set())
    assert due(CLAIM_EXPIRES_AFTER) == (False, {N.OPENED})
    assert due(-timedelta(days=365)) == (False, {N.OPENED})


def test_a_receipt_from_the_future_is_none() -> None:
    """Else nobody would be told until then."""
    run = Run(now=START + timedelta(days=365), id="1", channels=CHANNELS)
    step = advance(None, BAD, run)
    assert step.incident is not None
    ahead = delivered(step.incident, BAD, step.due, run)
    assert advance(ahead, BAD, Run(now=START, id="2", channels=CHANNELS)).due == dict.fromkeys(CHANNELS, N.OPENED)


STATE = {"kind": "UNTRIGGERED", "causes": [], "level": "ERROR", "opened_at": START - TICK, "resolved": False}


@pytest.mark.parametrize(
    ("kind", "since", "first"),
    [
        (K.UNTRIGGERED, timedelta(minutes=-31), timedelta(minutes=30)),
        (K.INCOMPLETE, timedelta(minutes=-14), timedelta(0)),
        (K.DOWNSTREAM_MISSING, timedelta(minutes=-60), timedelta(minutes=60)),
    ],
)
def test_without_memory_a_problem_is_told_once_in_each_slot(
    kind: VerdictKind, since: timedelta, first: timedelta, phase: Phase
) -> None:
    """By runs that know nothing of each other: at the first of the problem, and every four hours of its age."""
    one = replace(verdict(kind), since=START + since)
    assert became_a_problem_at(one, phase) == START + since + first
    for late in (0, 59):  # the scheduler is not punctual to the second
        told = {
            number: told
            for number in range(96)
            if (told := without_memory(one, phase, START + number * TICK + timedelta(seconds=late * (number % 2))))
        }
        assert told == {0: N.OPENED, **dict.fromkeys(range(16, 96, 16), N.REMINDER)}


def without_memory(
    one: Verdict, phase: Phase, now: datetime, last: datetime | None = None, *, is_new: bool = False
) -> NotificationKind | None:
    return kind_without_memory(one, phase, now, last, is_new=is_new)


def test_what_a_process_remembers_itself_counts(phase: Phase) -> None:
    """A run that comes twice tells once, a problem that is seen late is told late, and no slot is left out."""
    one = replace(verdict(K.INCOMPLETE), since=START - timedelta(hours=2))
    assert without_memory(one, phase, START) is None
    assert without_memory(one, phase, START, is_new=True) is N.OPENED
    assert without_memory(one, phase, START + TICK, START) is None
    assert without_memory(one, phase, START + timedelta(hours=3), START) is N.REMINDER


def test_a_problem_without_an_age_has_the_slots_of_the_clock(phase: Phase) -> None:
    """At 0, 4, 8, 12, 16 and 20 o'clock UTC."""
    midnight = datetime(2026, 2, 10, tzinfo=UTC)
    told = [n for n in range(96) if without_memory(verdict(K.STORES_DISAGREE), phase, midnight + n * TICK)]
    assert told == list(range(0, 96, 16))


def receipts() -> st.SearchStrategy[Receipt]:
    sent = st.builds(Sent, st.sampled_from(N), st.just(START + TICK))
    return st.builds(
        Receipt,
        kind=st.sampled_from(K),
        causes=st.frozensets(st.sampled_from([kind for kind in CauseKind if kind is not CauseKind.UNDETERMINED])),
        level=st.sampled_from(Level),
        sent=st.lists(sent, min_size=1, max_size=8).map(tuple),
    )


@given(
    st.builds(
        Incident,
        kind=st.sampled_from(K),
        causes=st.frozensets(st.sampled_from([kind for kind in CauseKind if kind is not CauseKind.UNDETERMINED])),
        level=st.sampled_from(Level),
        opened_at=st.just(START),
        quiet_since=st.none() | st.just(START + TICK),
        receipts=st.dictionaries(st.sampled_from(CHANNELS), receipts()),
        claim=st.none() | st.builds(Claim, st.text(), st.just(START)),
        resolved=st.booleans(),
    )
)
def test_an_incident_survives_its_document(incident: Incident) -> None:
    """Written and read again."""
    assert from_fields(Incident, to_fields(incident)) == incident


@pytest.mark.parametrize("damage", [{"kind": "NEW"}, {"level": 7}, {"opened_at": "soon"}])
def test_a_damaged_entry_is_begun_anew(damage: dict[str, object]) -> None:
    """Better told twice than never."""
    assert from_fields(Incident, {**STATE, **damage}) is None


@pytest.mark.parametrize("damage", [{"cause": "GREMLINS"}, {"causes": ["GREMLINS"]}, {"causes": 7}, {"causes": [7]}])
def test_a_cause_that_is_none_is_left_out(damage: dict[str, object]) -> None:
    """It is told again where it is proven."""
    known = from_fields(Incident, {**STATE, **damage})
    assert known is not None
    assert known.causes == frozenset()


DOCUMENT: dict[str, object] = {**STATE, "quiet_since": None, "receipts": {}, "claim": None}


@fuzzed(25)
@given(incidents | incidents.map(lambda fields: {**DOCUMENT, **fields}))
def test_hostile_fields_are_read_or_left_out(fields: dict[str, object]) -> None:
    """What is read of an incident is read again as the same, and nobody is left untold by it."""
    known = from_fields(Incident, fields)
    assert known is None or from_fields(Incident, to_fields(known)) == known
    step = advance(known, BAD, Run(now=START, id="1", channels=CHANNELS))
    assert step.incident is not None
    assert from_fields(Incident, to_fields(step.incident)) == step.incident


@fuzzed(50)
@given(
    st.dictionaries(
        texts,
        values | st.lists(texts | st.sampled_from(["phase2:2026-02-09", "x:y:2026-02-09", "2026-02-09"]), max_size=4),
        max_size=3,
    )
)
def test_the_list_of_what_is_open_holds_incidents_only(fields: dict[str, object]) -> None:
    """Whatever anybody has written there."""
    assert {ref.collection for ref in open_refs(Document(fields, "1"))} <= {INCIDENTS}
