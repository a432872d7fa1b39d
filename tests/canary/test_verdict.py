"""judge over a table of evidence, and over every combination of it."""

import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from canary.domain.evidence import Absent, Arrival, Evidence, Logged, Seen, Source, Unreadable
from canary.domain.verdict import Impact, Verdict, VerdictKind, duration_text, judge
from orchestrator_resilience import Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import Progress, Registration, Trigger

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)  # when the last of the five completes
DEADLINE = PHASE.deadline(DAY)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
REFUSED: Source[Any] = Unreadable("connection refused")


def logged(names: list[str], visible_after: timedelta = SECOND, **more: Any) -> Source[Logged]:
    """Return a completion_log in which `names` complete in the minutes before DONE, the last one at DONE."""
    arrivals = {
        name: Arrival(DONE - timedelta(minutes=n), DONE - timedelta(minutes=n) + visible_after)
        for n, name in enumerate(reversed(names))
    }
    return Seen(Logged(arrivals, {**dict.fromkeys(names, "success"), **more.pop("statuses", {})}, **more))


def registered(names: list[str], trigger: Trigger | None = None, **more: Any) -> Source[Progress]:
    """Return a document that holds `names` with the same times."""
    at = more.pop("registered_at", None)
    entries = {name: Registration(DONE - timedelta(minutes=n), name, at) for n, name in enumerate(reversed(names))}
    return Seen(Progress(expected=PHASE.expected, registered=entries, trigger=trigger, **more))


TRIGGER = Trigger(DONE + SECOND, "all_complete", "5")
PARTIAL = Trigger(DONE, "deadline_exceeded", deliberately_partial=True)
ALL, FOUR = logged(FIVE), logged(FIVE[:4])
DOC_ALL, DOC_FOUR, DOC_SET = registered(FIVE), registered(FIVE[:4]), registered(FIVE, TRIGGER)
NO_WORK = Seen(Logged({}, dict.fromkeys(FIVE, "no_data")))
FOUR_IDLE = Seen(Logged({}, dict.fromkeys(FIVE[:4], "skipped")))

K = VerdictKind
# name: (completion_log, progress, other sources, now, verdict, words of the summary)
TABLE: dict[str, tuple[Source[Logged], Source[Progress], Mapping[str, Source[int]], datetime, VerdictKind, str]] = {
    "healthy": (ALL, DOC_SET, {}, DONE + HOUR, K.TRIGGERED, "5 of 5 complete, `_triggered` is set"),
    "healthy, with output": (ALL, DOC_SET, {"outcome": Seen(363)}, DONE + 2 * HOUR, K.TRIGGERED, "5 of 5"),
    "29:59": (ALL, DOC_ALL, {}, DONE + timedelta(minutes=29, seconds=59), K.SETTLING, "completed 29 min ago"),
    "30:00": (ALL, DOC_ALL, {}, DONE + timedelta(minutes=30), K.UNTRIGGERED, "completed 30 min ago, `_triggered` is"),
    "no document": (ALL, Absent(), {}, DONE + HOUR, K.UNTRIGGERED, "all 5"),
    "a document of four": (ALL, DOC_FOUR, {}, DONE + HOUR, K.UNTRIGGERED, "all 5"),
    "only the document is complete": (FOUR, DOC_ALL, {}, DONE + HOUR, K.UNTRIGGERED, "all 5"),
    "nothing in the completion_log": (Absent(), DOC_ALL, {}, DONE + HOUR, K.UNTRIGGERED, "all 5"),
    "days later": (ALL, DOC_ALL, {}, DONE + timedelta(days=2), K.UNTRIGGERED, "completed 2 d 00 h ago"),
    "clock behind": (ALL, DOC_ALL, {}, DONE - HOUR, K.SETTLING, "completed 0 min ago"),
    "rows came late, 1:59": (
        logged(FIVE, HOUR),
        DOC_ALL,
        {},
        DONE + HOUR + timedelta(seconds=119),
        K.SETTLING,
        "completed 1 h 01 min ago",
    ),
    "rows came late, 2:00": (
        logged(FIVE, HOUR),
        DOC_ALL,
        {},
        DONE + HOUR + timedelta(seconds=120),
        K.UNTRIGGERED,
        "completed 1 h 02 min ago",
    ),
    "four of five": (FOUR, DOC_FOUR, {}, DONE + HOUR, K.WAITING, "4 of 5 complete, waiting for p2_odds_player_props"),
    "four and an unexpected one": (
        logged(FIVE[:4], unexpected=frozenset({"p2_nbacom_schedule"})),
        registered(FIVE[:4], unexpected=frozenset({"p2_nbacom_schedule"})),
        {},
        DONE + HOUR,
        K.WAITING,
        "4 of 5",
    ),
    "nothing yet": (Absent(), Absent(), {}, DONE, K.WAITING, "0 of 5 complete"),
    "before the deadline": (FOUR, DOC_FOUR, {}, DEADLINE - SECOND, K.WAITING, "4 of 5"),
    "at the deadline": (
        FOUR,
        DOC_FOUR,
        {},
        DEADLINE,
        K.INCOMPLETE,
        "not completed, 0 min past the deadline: p2_odds_p",
    ),
    "a failure only": (
        Seen(Logged({}, {FIVE[0]: "failed"})),
        Absent(),
        {},
        DEADLINE + HOUR,
        K.INCOMPLETE,
        "1 h 00 min past",
    ),
    "only an unexpected one": (
        Seen(Logged(unexpected=frozenset({"x"}))),
        Absent(),
        {},
        DEADLINE,
        K.INCOMPLETE,
        "past the deadline",
    ),
    "everybody without data": (NO_WORK, Absent(), {}, DONE, K.IDLE, "had no work"),
    "everybody without data, late": (NO_WORK, Absent(), {}, DEADLINE + HOUR, K.IDLE, "had no work"),
    "four without data": (FOUR_IDLE, Absent(), {}, DONE, K.WAITING, "0 of 5"),
    "four without data, late": (FOUR_IDLE, Absent(), {}, DEADLINE, K.INCOMPLETE, "past the deadline"),
    "no games": (Absent(), Absent(), {"work": Seen(0)}, DEADLINE + HOUR, K.IDLE, "no work to do"),
    "no games, some odds": (FOUR, DOC_FOUR, {"work": Seen(0)}, DEADLINE + HOUR, K.IDLE, "no work to do"),
    "games, nothing yet": (Absent(), Absent(), {"work": Seen(9)}, DEADLINE - SECOND, K.WAITING, "0 of 5"),
    "games, nothing": (Absent(), Absent(), {"work": Seen(9)}, DEADLINE, K.SILENT, "there was work to do (9)"),
    "nothing, who knows": (Absent(), Absent(), {}, DEADLINE, K.UNKNOWN, "no source says whether there was work"),
    "nothing, games unreadable": (Absent(), Absent(), {"work": REFUSED}, DEADLINE, K.UNKNOWN, "connection refused"),
    "late, games unreadable": (FOUR, DOC_FOUR, {"work": REFUSED}, DEADLINE, K.UNKNOWN, "connection refused"),
    "waiting, games unreadable": (FOUR, DOC_FOUR, {"work": REFUSED}, DONE, K.WAITING, "4 of 5"),
    "premature": (
        FOUR,
        registered(FIVE[:4], TRIGGER),
        {},
        DONE + HOUR,
        K.PREMATURE,
        "these have not completed: p2_odds_player_props",
    ),
    "premature, made up for": (ALL, registered(FIVE, Trigger(DONE - HOUR, "x")), {}, DONE, K.TRIGGERED, "5 of 5"),
    "partial on purpose": (
        FOUR,
        registered(FIVE[:4], PARTIAL),
        {},
        DEADLINE + HOUR,
        K.TRIGGERED,
        "4 of 5 complete, `_triggered` is set without p2_odds_player_props: deadline_exceeded",
    ),
    "no output after 59:59": (
        ALL,
        DOC_SET,
        {"outcome": Seen(0)},
        DONE + SECOND + timedelta(minutes=59, seconds=59),
        K.TRIGGERED,
        "5 of 5",
    ),
    "no output after 60:00": (
        ALL,
        DOC_SET,
        {"outcome": Seen(0)},
        DONE + SECOND + HOUR,
        K.DOWNSTREAM_MISSING,
        "Phase 3 has written nothing",
    ),
    "no output, no time of the trigger": (
        ALL,
        registered(FIVE, Trigger(None, None)),
        {"outcome": Seen(0)},
        DEADLINE + timedelta(minutes=59),
        K.TRIGGERED,
        "5 of 5",
    ),
    "no output, no time of the trigger, later": (
        ALL,
        registered(FIVE, Trigger(None, None)),
        {"outcome": Seen(0)},
        DEADLINE + HOUR,
        K.DOWNSTREAM_MISSING,
        "Phase 3 has written nothing",
    ),
    "no output, games unreadable": (
        ALL,
        DOC_SET,
        {"outcome": Seen(0), "work": REFUSED},
        DONE + 2 * HOUR,
        K.UNKNOWN,
        "how much work there was: connection refused",
    ),
    "triggered without work": (NO_WORK, registered([], TRIGGER), {}, DONE + HOUR, K.TRIGGERED, "0 of 5 complete"),
    "no output because no games": (
        ALL,
        DOC_SET,
        {"outcome": Seen(0), "work": Seen(0)},
        DONE + 2 * HOUR,
        K.TRIGGERED,
        "5 of 5",
    ),
    "output unreadable": (
        ALL,
        DOC_SET,
        {"outcome": REFUSED},
        DONE + 2 * HOUR,
        K.UNKNOWN,
        "the output of Phase 3: conn",
    ),
    "output unreadable, not due": (ALL, DOC_SET, {"outcome": REFUSED}, DONE + SECOND, K.TRIGGERED, "5 of 5"),
    "untriggered, output unreadable": (ALL, DOC_ALL, {"outcome": REFUSED}, DONE + HOUR, K.UNTRIGGERED, "all 5"),
    "a row missing": (
        FOUR,
        DOC_SET,
        {},
        DONE + timedelta(minutes=30),
        K.STORES_DISAGREE,
        "in the progress document, but not in the completion log: p2_odds_player_props",
    ),
    "a row missing, 29:59": (FOUR, DOC_SET, {}, DONE + timedelta(minutes=29, seconds=59), K.TRIGGERED, "5 of 5"),
    "a registration missing": (
        FOUR,
        registered(FIVE[:3]),
        {},
        DONE + SECOND + timedelta(minutes=30),
        K.STORES_DISAGREE,
        "in the completion log, but not in the progress document: p2_odds_game_lines",
    ),
    "a registration missing, 29:59 after its row": (
        FOUR,
        registered(FIVE[:3]),
        {},
        DONE + timedelta(minutes=30),
        K.WAITING,
        "4 of 5",
    ),
    "a late burst in the completion_log": (
        logged(FIVE[:4], HOUR),
        Absent(),
        {},
        DONE + HOUR + timedelta(minutes=26, seconds=59),
        K.WAITING,
        "4 of 5",
    ),
    "a late burst in the document": (
        Absent(),
        registered(FIVE[:4], registered_at=DONE + HOUR),
        {},
        DONE + HOUR + timedelta(minutes=29),
        K.WAITING,
        "4 of 5",
    ),
    "a registration missing, late": (FOUR, registered(FIVE[:3]), {}, DEADLINE, K.INCOMPLETE, "not completed"),
    "no times in the document": (
        Absent(),
        Seen(Progress(PHASE.expected, dict.fromkeys(FIVE, Registration()))),
        {},
        DEADLINE + timedelta(minutes=29),
        K.SETTLING,
        "completed at a time that nobody wrote down",
    ),
    "no times in the document, later": (
        Absent(),
        Seen(Progress(PHASE.expected, dict.fromkeys(FIVE, Registration()))),
        {},
        DEADLINE + timedelta(minutes=30),
        K.UNTRIGGERED,
        "completed at a time that nobody wrote down",
    ),
    "no completion_log to ask": (REFUSED, DOC_ALL, {}, DONE + HOUR, K.UNKNOWN, "could not tell: connection refused"),
    "no document to ask": (ALL, REFUSED, {}, DONE + HOUR, K.UNKNOWN, "could not tell: connection refused"),
    "nobody to ask": (REFUSED, Unreadable("denied"), {}, DONE + HOUR, K.UNKNOWN, "connection refused; denied"),
    "healthy, nobody to ask": (REFUSED, DOC_SET, {}, DONE + HOUR, K.UNKNOWN, "connection refused"),
}


def verdict_of(
    completion_log: Source[Logged], progress: Source[Progress], others: Mapping[str, Source[int]], now: datetime
) -> Verdict:
    return judge(
        Evidence(phase="phase2", game_date=DAY, completion_log=completion_log, progress=progress, **others), PHASE, now
    )


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_table(row: tuple[Any, ...]) -> None:
    """Each kind of evidence leads to its verdict, and the summary says why."""
    completion_log, progress, others, now, kind, words = row
    verdict = verdict_of(completion_log, progress, others, now)
    assert verdict.kind is kind
    assert words in verdict.summary


def test_the_table_reaches_every_verdict() -> None:
    """No verdict is left untested."""
    assert {row[4] for row in TABLE.values()} == set(VerdictKind)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_time_zone_of_now_does_not_matter(row: tuple[Any, ...]) -> None:
    """The same moment in another zone is the same verdict, word for word."""
    completion_log, progress, others, now, *_ = row
    elsewhere = now.astimezone(timezone(timedelta(hours=9, minutes=30)))
    assert verdict_of(completion_log, progress, others, elsewhere) == verdict_of(completion_log, progress, others, now)


def test_the_verdict_in_full(phase: Phase) -> None:
    """Everything that an alert is made of is in the value."""
    progress = registered(FIVE, orchestrator_expected=phase.expected | {"p2_bdl_box_scores"})
    completion_log = logged(FIVE, unexpected=frozenset({"NbacBoxscoresProcessor"}))
    assert verdict_of(completion_log, progress, {"outcome": Seen(363)}, DONE + timedelta(minutes=34)) == Verdict(
        kind=K.UNTRIGGERED,
        phase="phase2",
        game_date=DAY,
        summary="all 5 processors completed 34 min ago, `_triggered` is still unset",
        since=DONE,
        completed=tuple(FIVE),
        missing=(),
        unexpected=("NbacBoxscoresProcessor",),
        triggered=False,
        impact=Impact.NONE,
        notes=(
            "all 5 are registered in the progress document",
            "the orchestrator also waits for p2_bdl_box_scores, which phase2 does not expect",
            "NbacBoxscoresProcessor is not expected; the nearest expected name is p2_nbacom_boxscores",
        ),
        output=363,
    )


def test_a_rerun_after_completion_does_not_restart_the_clock(phase: Phase) -> None:
    """The first success counts; the document may hold a later one."""
    later = Progress(
        expected=phase.expected,
        registered={name: Registration(DONE + timedelta(hours=3), "again") for name in FIVE},
    )
    verdict = verdict_of(ALL, Seen(later), {}, DONE + timedelta(hours=3, minutes=1))
    assert (verdict.kind, verdict.since) == (K.UNTRIGGERED, DONE)


def test_one_time_that_nobody_wrote_down_accuses_late(phase: Phase) -> None:
    """The deadline stands in for it, and no time in the future is shown."""
    entries = {name: Registration(DONE) for name in FIVE[1:]} | {FIVE[0]: Registration()}
    progress = Seen(Progress(phase.expected, entries))
    early = verdict_of(logged(FIVE[1:]), progress, {}, DONE + HOUR)
    assert (early.kind, early.since) == (K.SETTLING, None)
    assert verdict_of(logged(FIVE[1:]), progress, {}, DEADLINE + HOUR).kind is K.UNTRIGGERED


def test_a_gap_does_not_end_by_the_set_becoming_complete() -> None:
    """Two stores that disagree are not settling: the incident stays one."""
    early = DONE - timedelta(hours=6)
    arrivals = {name: Arrival(DONE, DONE) for name in FIVE[1:]} | {FIVE[0]: Arrival(early, early)}
    before = Seen(Logged({name: arrivals[name] for name in FIVE[:4]}))
    verdicts = [
        verdict_of(completion_log, registered(names), {}, now)
        for completion_log, names, now in (
            (before, FIVE[1:4], DONE + SECOND),
            (Seen(Logged(arrivals)), FIVE[1:], DONE + timedelta(minutes=29)),
            (Seen(Logged(arrivals)), FIVE[1:], DONE + timedelta(minutes=30)),
        )
    ]
    assert [v.kind for v in verdicts] == [K.STORES_DISAGREE, K.STORES_DISAGREE, K.UNTRIGGERED]
    assert verdicts[1].summary == f"in the completion log, but not in the progress document: {FIVE[0]}"


def test_one_for_whom_nobody_waits_is_a_gap_at_once(phase: Phase) -> None:
    """An orchestrator with a shorter list set the flag, and will never register the last one."""
    progress = registered(FIVE[:4], TRIGGER, orchestrator_expected=phase.expected - {FIVE[4]})
    assert verdict_of(ALL, progress, {}, DONE + 2 * SECOND).kind is K.STORES_DISAGREE
    assert verdict_of(ALL, registered(FIVE[:4], TRIGGER), {}, DONE + 2 * SECOND).kind is K.TRIGGERED


def test_notes_tell_what_the_evidence_says(phase: Phase) -> None:
    """Failures, a flag that was there once, a list that lacks somebody, registrations that are not there."""
    completion_log = Seen(Logged({}, {FIVE[0]: "failed", FIVE[1]: "success"}, triggered=True))
    progress = registered([], orchestrator_expected=phase.expected - {FIVE[4]})
    assert verdict_of(completion_log, progress, {}, DEADLINE).notes == (
        "the orchestrator does not wait for p2_odds_player_props, which phase2 expects",
        "reported failure: p2_bigdataball_pbp",
        "the completion log says that `_triggered` was set once",
    )
    assert verdict_of(ALL, DOC_FOUR, {}, DONE + HOUR).notes == (
        "not registered in the progress document: p2_odds_player_props",
    )


def test_bigquery_stands_in_for_firestore_where_it_was_verified(phase: Phase) -> None:
    """With bigquery_carries_flag the completion_log's own row is the flag; without it nobody is accused."""
    carries = msgspec.structs.replace(phase, bigquery_carries_flag=True)
    flagged = logged(FIVE, triggered=True, triggered_at=DONE + SECOND)
    for completion_log, kind in (
        (ALL, K.UNTRIGGERED),
        (flagged, K.TRIGGERED),
        (FOUR, K.WAITING),
        (Absent(), K.UNKNOWN),
    ):
        evidence = Evidence(phase="phase2", game_date=DAY, completion_log=completion_log, progress=REFUSED)
        verdict = judge(evidence, carries, DONE + HOUR)
        assert verdict.kind is kind
        if kind is not K.UNKNOWN:
            assert verdict.notes[-1] == "Firestore could not be read (connection refused): the flag is BigQuery's"
        assert judge(evidence, phase, DONE + HOUR).kind is K.UNKNOWN


@pytest.mark.parametrize(
    ("progress", "outcome", "now", "impact"),
    [
        (DOC_ALL, Absent(), DONE + HOUR, Impact.UNKNOWN),
        (DOC_ALL, REFUSED, DONE + HOUR, Impact.UNKNOWN),
        (DOC_ALL, Seen(1), DONE + HOUR, Impact.NONE),
        (DOC_ALL, Seen(0), DONE + timedelta(minutes=59), Impact.UNKNOWN),
        (DOC_ALL, Seen(0), DONE + HOUR, Impact.BLOCKED),
        (DOC_SET, Seen(0), DONE + SECOND + HOUR, Impact.BLOCKED),
        (DOC_SET, Absent(), DONE + HOUR, None),
    ],
)
def test_the_impact(progress: Source[Progress], outcome: Source[int], now: datetime, impact: Impact | None) -> None:
    """Output there is no harm; none is harm only when there was time for it; quiet has no impact."""
    assert verdict_of(ALL, progress, {"outcome": outcome}, now).impact is impact


LOGS = [Absent(), REFUSED, ALL, FOUR, NO_WORK, FOUR_IDLE, logged(FIVE, HOUR), Seen(Logged())]
DOCUMENTS = [
    Absent(),
    REFUSED,
    DOC_ALL,
    DOC_FOUR,
    DOC_SET,
    registered(FIVE[:4], TRIGGER),
    registered([], TRIGGER),
    registered(FIVE[:4], PARTIAL),
    registered([]),
]
COUNTS: list[Source[int]] = [Absent(), REFUSED, Seen(0), Seen(9)]
MOMENTS = [DONE - HOUR, DONE, DONE + timedelta(minutes=30), DONE + 2 * HOUR, DEADLINE, DEADLINE + timedelta(days=3)]


def test_every_combination_keeps_the_promises() -> None:
    """Over all evidence: unreadable is UNKNOWN, and the accusation is made exactly by the mission's rule."""
    kinds = set()
    for completion_log, progress, outcome, work, now in itertools.product(LOGS, DOCUMENTS, COUNTS, COUNTS, MOMENTS):
        verdict = verdict_of(completion_log, progress, {"outcome": outcome, "work": work}, now)
        kinds.add(verdict.kind)
        if isinstance(completion_log, Unreadable) or isinstance(progress, Unreadable):
            assert (verdict.kind, verdict.triggered) == (K.UNKNOWN, None)
            continue
        arrivals = completion_log.value.completed if isinstance(completion_log, Seen) else {}
        document = progress.value if isinstance(progress, Seen) else Progress(PHASE.expected)
        complete = arrivals.keys() | document.registered.keys() >= PHASE.expected
        visible = all(now - arrival.visible_at >= timedelta(minutes=2) for arrival in arrivals.values())
        accused = complete and document.trigger is None and now - DONE >= timedelta(minutes=30) and visible
        assert (verdict.kind is K.UNTRIGGERED) == accused
        assert verdict.triggered == (document.trigger is not None)
        assert (verdict.impact is not None) == verdict.kind.is_problem
        assert set(verdict.completed) | set(verdict.missing) == PHASE.expected
        if verdict.kind in {K.TRIGGERED, K.PREMATURE, K.DOWNSTREAM_MISSING}:
            assert document.trigger is not None
        if verdict.kind in {K.WAITING, K.SETTLING, K.UNTRIGGERED, K.INCOMPLETE, K.SILENT, K.IDLE}:
            assert document.trigger is None
    assert kinds == set(VerdictKind)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=-5), "0 min"),
        (timedelta(seconds=59), "0 min"),
        (timedelta(minutes=34, seconds=59), "34 min"),
        (timedelta(hours=5, minutes=2), "5 h 02 min"),
        (timedelta(days=3, hours=4, minutes=59), "3 d 04 h"),
    ],
)
def test_durations_as_people_say_them(duration: timedelta, text: str) -> None:
    """Coarser as they get longer."""
    assert duration_text(duration) == text
