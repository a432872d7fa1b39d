"""The life of an incident: what each channel is sent, and what is remembered."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.incident import (
    ACKNOWLEDGED_FOR,
    MOST_EVENTS,
    REMIND_EVERY,
    RUN_IS_OVER_AFTER,
    DateMemory,
    Incident,
    NotificationKind,
    PostOutcome,
    Situation,
    answered,
    follow,
    held,
    sending,
)
from canary.domain.remembered import FORMAT, month_fields, read_date, read_month, read_runs
from canary.domain.silence import Acknowledgement
from canary.domain.slots import OwnMemory, became_a_problem_at, due_without_memory, slot_is_due
from canary.domain.stages import Cause, CauseKind
from canary.domain.verdict import Impact, Level, Verdict, VerdictKind
from orchestrator_resilience import Phase
from orchestrator_resilience.stores.base import Document
from tests.proof.inputs import date_memories, fuzzed
from tests.proof.steps import AT, CHANNELS, START, step

DAY = date(2026, 2, 9)
TICK, HOUR = timedelta(minutes=15), timedelta(hours=1)
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


Heard = list[tuple[datetime, NotificationKind]]


def lives(
    verdicts: Sequence[tuple[datetime, Verdict]], down: Mapping[str, Collection[int]] | None = None
) -> dict[str, Heard]:
    """Let a canary run at these times; return what each channel heard, if it was not `down`."""
    memory = DateMemory()
    heard = {name: list[tuple[datetime, NotificationKind]]() for name in CHANNELS}
    for number, (now, one) in enumerate(verdicts):
        refused = {
            name: PostOutcome.NOT_POSTED for name, runs in (down or {}).items() if number in runs
        }
        memory, told = step(memory, one, replace(AT, now=now, run=str(number)), refused)
        for name, kind in told.items():
            heard[name].append((now, kind))
    return heard


def ticks(verdicts: Sequence[Verdict]) -> list[tuple[datetime, Verdict]]:
    return [(START + number * TICK, one) for number, one in enumerate(verdicts)]


def live(
    verdicts: Sequence[Verdict], *, fails: Collection[int] = ()
) -> list[NotificationKind | None]:
    """Let a canary run every 15 minutes; return what each run sent, nothing in runs in `fails`."""
    heard = lives(ticks(verdicts), dict.fromkeys(CHANNELS, fails))
    assert heard["log"] == heard["slack"]
    told = dict(heard["log"])
    return [told.get(START + number * TICK) for number in range(len(verdicts))]


BAD, GOOD, DARK = verdict(K.UNTRIGGERED), verdict(K.TRIGGERED), verdict(K.UNKNOWN)
SETTLING, UNDECIDED = verdict(K.SETTLING), replace(DARK, unreadable=False)
HARMLESS = verdict(K.UNTRIGGERED, impact=Impact.NONE)
BLOCKED = verdict(K.UNTRIGGERED, impact=Impact.BLOCKED)
CRASHED = verdict(K.UNTRIGGERED, CauseKind.CRASHED)
LOST = verdict(K.UNTRIGGERED, CauseKind.NOT_DELIVERED)
BOTH = verdict(K.UNTRIGGERED, CauseKind.CRASHED, CauseKind.NOT_DELIVERED)


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([GOOD, verdict(K.WAITING), verdict(K.IDLE)], [None] * 3),
        ([BAD, BAD, GOOD, GOOD, GOOD], [N.OPENED, None, None, N.RESOLVED, None]),
        ([BAD] * 34, [N.OPENED, *[None] * 15, N.REMINDER, *[None] * 15, N.REMINDER, None]),
        ([BAD, GOOD, BAD, GOOD, GOOD], [N.OPENED, None, None, None, N.RESOLVED]),
        (
            [BAD, *[GOOD] * 3, BAD, *[GOOD] * 33],
            [N.OPENED, None, N.RESOLVED, None, N.OPENED, *[None] * 32, N.RESOLVED],
        ),
        ([BAD, DARK, DARK, BAD, GOOD, GOOD], [N.OPENED, *[None] * 4, N.RESOLVED]),
        ([BAD, GOOD, DARK, GOOD, GOOD], [N.OPENED, None, None, N.RESOLVED, None]),
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
        # A warning can wait for the hour of the deadline, noon in New York, and for twelve hours.
        ([HARMLESS] * 44, [N.OPENED, *[None] * 43]),
        ([HARMLESS] * 140, [N.OPENED, *[None] * 134, N.REMINDER, *[None] * 4]),
        # It had done harm, and does none any more: critical no longer.
        ([BLOCKED, *[HARMLESS] * 60], [N.OPENED, *[None] * 60]),
        (
            [*[BAD] * 120, BLOCKED],
            [*[N.OPENED, *[None] * 15, *[N.REMINDER, *[None] * 15] * 7][:120], N.CHANGED],
        ),
    ],
)
def test_what_is_sent(verdicts: list[Verdict], told: list[NotificationKind | None]) -> None:
    """It is sent when it opens, when it gets worse, every four hours, and when it stays over."""
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
        # what is open, and no history
        ([BAD, CRASHED, *[BLOCKED] * 3], range(1, 4), [N.OPENED, N.CHANGED]),
        ([BAD] * 50, range(1, 40), [N.OPENED, N.REMINDER]),
        ([BAD, GOOD, GOOD, GOOD], range(3), []),
        ([BAD, BAD, *[GOOD] * 4], range(2, 5), [N.OPENED, N.RESOLVED]),
        # it knows of a problem, and there is one
        ([BAD, *[GOOD] * 3, *[BAD] * 3], range(1, 6), [N.OPENED]),
        ([BAD, *[GOOD] * 3, *[BLOCKED] * 3], range(1, 6), [N.OPENED, N.CHANGED]),
    ],
)
def test_a_channel_that_comes_back_is_sent_how_things_stand(
    verdicts: list[Verdict], down: range, told: list[NotificationKind]
) -> None:
    """Once, without what it missed; and its silence repeats nothing on the other channel."""
    heard = lives(ticks(verdicts), {"slack": down})
    assert [kind for _, kind in heard["slack"]] == told
    assert heard["log"] == lives(ticks(verdicts))["log"]


# The table of event and state


def opened(first: Verdict = BAD, now: datetime = START) -> DateMemory:
    """Return what is remembered after both channels have heard of it."""
    if first.kind is K.UNKNOWN:
        return step(
            follow(DateMemory(), first, replace(AT, now=now - TICK)), first, replace(AT, now=now)
        )[0]
    return step(DateMemory(), first, replace(AT, now=now))[0]


def heard_by_both(
    memory: DateMemory, seen: Verdict | None, situation: Situation
) -> NotificationKind | None:
    """Return what both channels hear of one more run."""
    _, heard = step(memory, seen, situation)
    (kind,) = {heard.get(name) for name in CHANNELS}
    return kind


def acknowledgement(memory: DateMemory, at: datetime) -> Acknowledgement:
    assert memory.open is not None
    incident = memory.open
    return Acknowledgement(
        phase="phase2", game_date=DAY, at=at, opened_at=incident.opened_at, level=incident.level
    )


LATER = START + 5 * HOUR
_EXPIRED = (None, N.EXPIRED, N.EXPIRED, None)


@pytest.mark.parametrize(
    ("event", "first", "then", "after", "told"),
    [
        ("a problem", None, BAD, 5 * HOUR, (N.OPENED, None, None, None)),
        (
            "another problem",
            BAD,
            verdict(K.INCOMPLETE),
            HOUR,
            (N.OPENED, N.CHANGED, N.CHANGED, None),
        ),
        ("more harm", HARMLESS, BLOCKED, HOUR, (N.OPENED, N.CHANGED, N.CHANGED, None)),
        ("UNKNOWN", BAD, DARK, HOUR, (None, None, None, None)),
        ("one more cause", BAD, CRASHED, HOUR, (N.OPENED, None, None, None)),
        ("less harm", BLOCKED, HARMLESS, HOUR, (N.OPENED, None, None, None)),
        ("CRITICAL goes on", BLOCKED, BLOCKED, 5 * HOUR, (N.OPENED, N.REMINDER, None, None)),
        ("ERROR goes on", BAD, BAD, 5 * HOUR, (N.OPENED, N.REMINDER, None, None)),
        (
            "WARNING goes on",
            HARMLESS,
            HARMLESS,
            34 * HOUR,
            (N.OPENED, N.REMINDER, N.REMINDER, None),
        ),
        ("WARNING at another hour", HARMLESS, HARMLESS, 36 * HOUR, (N.OPENED, None, None, None)),
        ("quiet", BAD, GOOD, HOUR, (None, N.RESOLVED, N.RESOLVED, N.RESOLVED)),
        ("not looked at any more", BAD, None, HOUR, _EXPIRED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_table_of_event_and_state(
    event: str,
    first: Verdict | None,
    then: Verdict | None,
    after: timedelta,
    told: tuple[NotificationKind | None, ...],
) -> None:
    """Each cell, on each channel."""
    states = ("never notified", "notified", "acknowledged", "silenced")
    now = START + after
    for state, expected in zip(states, told, strict=True):
        memory = DateMemory() if state == "never notified" or first is None else opened(first)
        situation = replace(AT, now=now, run="2", silenced=state == "silenced")
        if state == "acknowledged" and first is not None:
            situation = replace(
                situation, acknowledgements=(acknowledgement(memory, START + TICK),)
            )
        if first is None and state in {"notified", "acknowledged"}:
            continue
        if then is not None and then.kind.is_quiet:  # quiet twice
            memory = follow(memory, then, replace(situation, now=now - TICK))
        assert heard_by_both(memory, then, situation) is expected, (event, state)


def test_what_is_silenced_before_it_begins_is_kept() -> None:
    """It is OPENED when the silence ends, and EXPIRED if nobody looks at it any more by then."""
    silenced = replace(AT, silenced=True)
    memory, heard = step(DateMemory(), BAD, silenced)
    assert heard == {}
    assert heard_by_both(memory, BAD, replace(AT, now=LATER)) is N.OPENED
    waiting, heard = step(memory, None, replace(silenced, now=LATER))
    assert (heard, waiting.open is not None) == ({}, True)
    assert heard_by_both(waiting, None, replace(AT, now=LATER + TICK)) is N.EXPIRED
    after, _ = step(waiting, None, replace(AT, now=LATER + TICK))
    assert after.open is None
    assert step(memory, GOOD, replace(silenced, now=LATER)) == (
        replace(after, verdict=K.TRIGGERED, since=LATER, incidents=(), sent={}),
        {},
    )


def test_where_silenced_and_acknowledged_silenced_wins() -> None:
    """Not even that it is worse is sent."""
    memory = opened(HARMLESS)
    situation = replace(
        AT, now=LATER, silenced=True, acknowledgements=(acknowledgement(memory, START),)
    )
    assert heard_by_both(memory, BLOCKED, situation) is None


def test_an_acknowledgement_holds_reminders_for_a_day() -> None:
    """It holds for the incident as it was seen until it gets worse, and names its author."""
    memory = opened()
    said = replace(acknowledgement(memory, START), by="ada", note="on it")
    situation = replace(AT, acknowledgements=(said,))
    last = START + ACKNOWLEDGED_FOR - timedelta(seconds=1)
    assert heard_by_both(memory, BAD, replace(situation, now=last)) is None
    assert (
        heard_by_both(memory, BAD, replace(situation, now=START + ACKNOWLEDGED_FOR)) is N.REMINDER
    )
    for other in (replace(said, opened_at=START - TICK), replace(said, level=Level.WARNING)):
        assert (
            heard_by_both(memory, BAD, replace(situation, now=LATER, acknowledgements=(other,)))
            is N.REMINDER
        )
    worse, heard = step(memory, BLOCKED, replace(situation, now=START + HOUR, run="2"))
    assert set(heard.values()) == {N.CHANGED}
    assert heard_by_both(worse, BAD, replace(situation, now=START + 6 * HOUR)) is N.REMINDER
    assert worse.open is not None
    assert [(event.what, event.by) for event in worse.open.events] == [
        ("OPENED", ""),
        ("ACKNOWLEDGED", "ada"),
        ("CHANGED", ""),
    ]


def test_a_new_address_is_sent_what_is_open() -> None:
    """At once, as OPENED; the old one's receipts are nothing to it."""
    memory = opened()
    moved = replace(AT, now=START + TICK, run="2", addresses={"log": "", "slack": "new"})
    assert step(memory, BAD, moved)[1] == {"slack": N.OPENED}
    assert step(memory, GOOD, moved)[1] == {}
    acknowledgements = (acknowledgement(memory, START),)
    assert step(memory, BAD, replace(moved, acknowledgements=acknowledgements))[1] == {
        "slack": N.OPENED
    }
    assert step(memory, BAD, replace(moved, silenced=True))[1] == {}


def test_output_that_was_there_is_missed_twice() -> None:
    """A table that is made anew is empty for a moment."""
    there = replace(GOOD, output=300)
    missing = replace(verdict(K.DOWNSTREAM_MISSING, impact=Impact.BLOCKED), output=0)
    memory, _ = step(DateMemory(), there, AT)
    memory, heard = step(memory, missing, replace(AT, now=START + TICK))
    assert heard == {}
    assert heard_by_both(memory, missing, replace(AT, now=START + 2 * TICK)) is N.OPENED
    memory, _ = step(memory, there, replace(AT, now=START + 2 * TICK))
    assert step(memory, missing, replace(AT, now=START + 3 * TICK))[1] == {}
    assert heard_by_both(DateMemory(), missing, AT) is N.OPENED
    harmless = opened(replace(HARMLESS, output=300))
    assert (
        heard_by_both(harmless, replace(BLOCKED, output=0), replace(AT, now=START + TICK)) is None
    )


def test_a_stretch_of_days_that_nobody_can_decide_is_one_matter() -> None:
    """Who was sent the first of them is not sent the others."""
    memory = follow(DateMemory(), UNDECIDED, AT)
    assert heard_by_both(memory, UNDECIDED, replace(AT, now=START + TICK, stretch=CHANNELS)) is None
    assert heard_by_both(memory, UNDECIDED, replace(AT, now=START + TICK)) is N.OPENED


# What may have been heard


@pytest.mark.parametrize("outcome", [None, PostOutcome.NOT_KNOWN])
def test_what_may_have_been_heard_counts_and_is_sent_again(outcome: PostOutcome | None) -> None:
    """A run that died, or an answer that was lost: OPENED again, or that it is over."""
    followed = follow(DateMemory(), BAD, AT)
    memory = sending(followed, dict.fromkeys(CHANNELS, N.OPENED), BAD, "", AT)
    if outcome is not None:
        memory = answered(memory, dict.fromkeys(CHANNELS, outcome), followed, AT)
    later = replace(AT, now=START + TICK, run="2")
    assert heard_by_both(memory, BAD, later) is N.OPENED
    quiet = follow(memory, GOOD, later)
    assert heard_by_both(quiet, GOOD, replace(later, now=START + 2 * TICK)) is N.RESOLVED


def test_a_receipt_holds_off_others_until_its_run_is_over() -> None:
    """While somebody is sending nobody else does. One from the future is none."""
    memory = sending(follow(DateMemory(), BAD, AT), dict.fromkeys(CHANNELS, N.OPENED), BAD, "", AT)

    def is_held(after: timedelta) -> bool:
        return held(memory, "log", replace(AT, now=START + after, run="2"))

    assert is_held(RUN_IS_OVER_AFTER - timedelta(seconds=1))
    assert is_held(-timedelta(seconds=5))
    assert not is_held(RUN_IS_OVER_AFTER)
    text = month_fields(None, {DAY: memory})
    long_before = START - timedelta(days=365)
    assert (
        heard_by_both(
            read_date(Document(text, "1"), DAY, long_before), BAD, replace(AT, now=long_before)
        )
        is N.OPENED
    )


def test_an_end_without_an_answer_is_given_up() -> None:
    """After three times it is taken for heard: nothing is pending for ever."""
    memory = follow(opened(), GOOD, replace(AT, now=START + TICK))
    count = 0
    for number in range(2, 9):
        lost = dict.fromkeys(CHANNELS, PostOutcome.NOT_KNOWN)
        before = memory.sent
        memory, _ = step(
            memory, GOOD, replace(AT, now=START + number * TICK, run=str(number)), lost
        )
        count += memory.sent != before
    assert (count, memory.open) == (3, None)


def test_nobody_waits_for_a_channel_that_is_gone() -> None:
    """The incident ends for the others; one that is down, or refused, is waited for a week."""
    memory = follow(opened(), GOOD, replace(AT, now=START + TICK))
    situation = replace(AT, now=START + 2 * TICK, run="3", down=["slack"])
    waiting, heard = step(memory, GOOD, situation)
    assert (heard, waiting.open is not None) == ({"log": N.RESOLVED}, True)
    assert step(waiting, GOOD, replace(situation, now=LATER, run="4", down=[]))[1] == {
        "slack": N.RESOLVED
    }
    assert (
        step(waiting, GOOD, replace(situation, now=LATER + timedelta(days=7), run="4"))[0].open
        is None
    )
    assert step(memory, GOOD, replace(situation, addresses={"log": ""}, down=[]))[0].open is None


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
    lambda few: st.lists(
        st.tuples(st.sampled_from(few), st.integers(1, 12)), min_size=10, max_size=60
    )
)


@settings(deadline=None)
@given(SPELLS, st.sets(st.integers(0, 200), max_size=30), st.sets(st.integers(0, 200)))
def test_whatever_flips_nobody_is_flooded(
    spells: list[tuple[str, int]], twice: set[int], down: set[int]
) -> None:
    """In 24 hours a channel gets at most 8 messages that are no ends, and RESOLVED in the end.

    Some runs are started twice, and see something else; in some of them Slack is down.
    """
    runs = ticks([VERDICTS[name] for name, count in spells for _ in range(count)])
    again = [
        (now + timedelta(seconds=7), runs[number - 1][1])
        for number, (now, _) in enumerate(runs)
        if number in twice
    ]
    runs = sorted([*runs, *again], key=lambda run: run[0])
    last = runs[-1][0]
    quiet = [(last + number * TICK, GOOD) for number in range(1, 4 * 24 + 2)]
    for heard in lives([*runs, *quiet], {"slack": down}).values():
        for now, _ in heard:
            assert (
                sum(now - timedelta(days=1) < at <= now and not kind.is_end for at, kind in heard)
                <= 8
            )
        is_open = False
        for _, kind in heard:
            assert (kind is N.OPENED) != is_open
            is_open = not kind.is_end
        assert not is_open
        assert [kind for at, kind in heard if at > last] in ([], [N.RESOLVED])


@settings(deadline=None)
@given(st.lists(st.sampled_from(LOUD), min_size=1, max_size=3), st.integers(100, 300))
def test_nobody_hears_that_it_is_over_while_it_flips(others: list[str], count: int) -> None:
    """A problem is sent in the first run, and quiet in every second run is not its end."""
    several = [BAD, *(VERDICTS[name] for name in others if VERDICTS[name].kind.is_problem)]
    heard = lives(ticks([GOOD if n % 2 else several[n // 2 % len(several)] for n in range(count)]))[
        "log"
    ]
    assert heard[0] == (START, N.OPENED)
    assert N.RESOLVED not in [kind for _, kind in heard]


@settings(deadline=None)
@given(
    st.sampled_from([name for name in LOUD if VERDICTS[name].impact is Impact.UNKNOWN]),
    st.integers(1, 300),
)
def test_a_steady_problem_is_reminded_of_every_four_hours(problem: str, count: int) -> None:
    """For as long as it lasts."""
    heard = lives(ticks([VERDICTS[problem]] * count))["log"]
    reminders = [(START + n * REMIND_EVERY, N.REMINDER) for n in range(1, (count - 1) // 16 + 1)]
    assert heard == [(START, N.OPENED), *reminders]


# Without memory


@pytest.mark.parametrize(
    ("kind", "since", "first"),
    [
        (K.UNTRIGGERED, timedelta(minutes=-31), timedelta(minutes=30)),
        (K.INCOMPLETE, timedelta(minutes=-14), timedelta(0)),
        (K.DOWNSTREAM_MISSING, timedelta(minutes=-60), timedelta(minutes=60)),
    ],
)
def test_without_memory_a_problem_is_sent_once_in_each_slot(
    kind: VerdictKind, since: timedelta, first: timedelta, phase: Phase
) -> None:
    """Runs that know nothing of each other send it at first and every four hours of its age."""
    one = replace(verdict(kind), since=START + since)
    assert became_a_problem_at(one, phase) == START + since + first
    for late in (0, 59):  # the scheduler is not punctual to the second
        sent = [
            number
            for number in range(96)
            if slot_is_due(
                one, phase, START + number * TICK + timedelta(seconds=late * (number % 2)), None
            )
        ]
        assert sent == list(range(0, 96, 16))


def test_what_a_process_remembers_itself_counts(phase: Phase) -> None:
    """A repeated run sends once, a problem seen late is sent late, and a worse one at once."""
    one = replace(verdict(K.INCOMPLETE), since=START - timedelta(hours=2))
    own = OwnMemory()
    ran = OwnMemory()
    ran.end_of_run([], START - TICK)

    def due(now: datetime, own: OwnMemory, seen: Verdict = one) -> NotificationKind | None:
        return due_without_memory(seen, "log", phase, now, own, said=None)

    assert (due(START, own), due(START, ran)) == (None, N.OPENED)
    ran.told["log", "phase2", DAY] = START, Level.ERROR
    ran.end_of_run([("phase2", DAY)], START)
    worse = replace(one, impact=Impact.BLOCKED)
    assert (due(START + TICK, ran), due(START + TICK, ran, worse)) == (None, N.CHANGED)
    ran.told["log", "phase2", DAY] = START, Level.WARNING
    assert due(START + TICK, ran, DARK) is None  # not knowing is no worse
    ran.told["log", "phase2", DAY] = START, Level.ERROR
    assert [due(START + REMIND_EVERY - late, ran) for late in (TICK, timedelta(0))] == [
        None,
        N.REMINDER,
    ]


def test_not_knowing_has_the_slots_of_the_clock(phase: Phase) -> None:
    """At 0, 4, 8, 12, 16 and 20 o'clock UTC; and when it lasts, by a process that saw it begin."""
    midnight = datetime(2026, 2, 10, tzinfo=UTC)
    sent = [n for n in range(96) if slot_is_due(DARK, phase, midnight + n * TICK, None)]
    assert sent == list(range(0, 96, 16))
    assert not slot_is_due(DARK, phase, midnight, midnight)
    assert slot_is_due(DARK, phase, START + TICK, START)


# Documents


def full() -> DateMemory:
    """Return what is remembered of a date on which something changes all day, for days."""
    memory = DateMemory()
    for number in range(96 * 14):
        seen = (GOOD, BOTH, BLOCKED, HARMLESS, verdict(K.INCOMPLETE), GOOD)[number // 40 % 6]
        memory = replace(
            step(memory, seen, replace(AT, now=START + number * TICK, run="0" * 16))[0]
        )
    return memory


def test_a_month_at_its_caps_is_small() -> None:
    """31 dates with as many incidents, events and paths as possible take less than 256 KB."""
    memory = full()
    assert memory.forgotten
    event = memory.incidents[0].events[0]
    events = (replace(event, why="p" * 200, causes=tuple(CauseKind)[:3]),) * MOST_EVENTS
    memory = replace(
        memory, incidents=tuple(replace(one, events=events) for one in memory.incidents)
    )
    fields = month_fields(None, {date(2026, 1, day): memory for day in range(1, 32)})
    assert sum(len(name) + len(text) for name, text in fields.items()) < 256_000


def test_what_is_remembered_survives_its_document() -> None:
    """Written and read again; the other dates of the month stay as they are."""
    memory, later = full(), START + timedelta(days=15)
    month = Document(month_fields(Document({"2026-02-10": "{"}, "1"), {DAY: memory}), "2")
    assert read_month(month, later) == {DAY: memory, date(2026, 2, 10): DateMemory()}
    assert month.fields["2026-02-10"] == "{"


def test_a_stored_copy_of_format_1_is_read() -> None:
    """As the first version has written it, and wherever this code is by then."""
    stored = (
        '{"verdict": "UNTRIGGERED", "complete_at": "2026-02-10T07:15:00Z", '
        '"incidents": [{"kind": "UNTRIGGERED", "level": "ERROR", '
        '"opened_at": "2026-02-10T07:15:00Z", "reminders": {"log": 2}, '
        '"events": [{"what": "OPENED", "at": "2026-02-10T07:15:00Z", '
        '"to": ["log"], "verdict": "UNTRIGGERED", "causes": ["CRASHED"], "why": "it stopped"}], '
        '"receipts": {"log": {"verdicts": ["UNTRIGGERED"], "level": "ERROR", "sent": "OPENED", '
        '"at": "2026-02-10T07:15:00Z", "heard": true, "began": true}}}], '
        '"sent": {"log": [{"kind": "OPENED", "at": "2026-02-10T07:15:00Z"}]}}'
    )
    memory = read_date(Document({str(DAY): stored}, "1"), DAY, LATER)
    assert FORMAT == 1
    assert (memory.verdict, memory.complete_at) == (K.UNTRIGGERED, START)
    assert memory.open is not None
    assert (memory.open.reminders, memory.open.events[0].to, memory.open.receipts["log"].heard) == (
        {"log": 2},
        ("log",),
        True,
    )
    assert json.loads(str(month_fields(None, {DAY: memory})[str(DAY)])) == json.loads(stored)
    assert read_runs(
        Document({"format": 1, "at": START, "open": {"phase2": "2026-02"}}, "1")
    ).open == {"phase2": "2026-02"}


@pytest.mark.parametrize(
    "damage", ['{"incidents": [{"kind": "NEW"}]}', "{", "[]", "7", 7, None, "[" * 10_000]
)
def test_a_damaged_date_is_begun_anew(damage: object) -> None:
    """Better sent twice than never."""
    assert read_date(Document({str(DAY): damage}, "1"), DAY, START) == DateMemory()


@fuzzed(50)
@given(date_memories)
def test_hostile_memory_is_read_or_left_out(text: object) -> None:
    """What is read is read again as the same, and nobody is left without a message by it."""
    memory = read_date(Document({str(DAY): text}, "1"), DAY, START)
    again = Document(month_fields(None, {DAY: memory}), "1")
    assert read_date(again, DAY, START) == memory
    after, _ = step(memory, BAD, AT)
    assert after.open is None or isinstance(after.open, Incident)
