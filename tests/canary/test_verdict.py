"""judge over a table of evidence, and over every combination of it."""

import itertools
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from canary.domain.evidence import Absent, Arrival, Evidence, Logged, Seen, Source, Unreadable
from canary.domain.verdict import Impact, Verdict, VerdictKind, duration_text, judge
from canary.notify.message import CommandLine, alert
from orchestrator_resilience import Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import ProcessorReport, Progress, Registration, Trigger
from orchestrator_resilience.stores.base import Flag

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)  # when the last of the five completes
DEADLINE = PHASE.deadline(DAY)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
REFUSED: Source[Any] = Unreadable("connection refused")
NOTHING: Source[Any] = Absent()


def logged(names: list[str], visible_after: timedelta = SECOND, **more: Any) -> Source[Logged]:
    """Return a completion log in which `names` complete minute by minute, the last at DONE."""
    arrivals = {
        name: Arrival(DONE - timedelta(minutes=n), DONE - timedelta(minutes=n) + visible_after)
        for n, name in enumerate(reversed(names))
    }
    statuses = {**dict.fromkeys(names, "success"), **more.pop("statuses", {})}
    return Seen(
        Logged(
            arrivals, {name: ProcessorReport(status) for name, status in statuses.items()}, **more
        )
    )


def registered(names: list[str], trigger: Trigger | None = None, **more: Any) -> Source[Progress]:
    """Return a document that holds `names` with the same times."""
    at = more.pop("registered_at", None)
    entries = {
        name: Registration(DONE - timedelta(minutes=n), name, at)
        for n, name in enumerate(reversed(names))
    }
    return Seen(Progress(expected=PHASE.expected, registered=entries, trigger=trigger, **more))


SET, UNSET = Flag(is_set=True, at=DONE + SECOND, reason="all_complete"), Flag(is_set=False)
TRIGGER = Trigger(DONE + SECOND, "all_complete", "5")
PARTIAL = Trigger(DONE, "deadline_exceeded", deliberately_partial=True)
ALL, FOUR = logged(FIVE), logged(FIVE[:4])
DOC_ALL, DOC_FOUR, DOC_SET = registered(FIVE), registered(FIVE[:4]), registered(FIVE, TRIGGER)
NO_WORK = Seen(Logged({}, dict.fromkeys(FIVE, ProcessorReport("no_data"))))
FOUR_IDLE = Seen(Logged({}, dict.fromkeys(FIVE[:4], ProcessorReport("skipped"))))

K = VerdictKind


def verdict_of(
    completion_log: Source[Logged],
    progress: Source[Progress],
    now: datetime = DONE + HOUR,
    **others: Any,
) -> Verdict:
    others.setdefault("log_since", DONE - timedelta(days=7))
    evidence = Evidence(
        phase="phase2", game_date=DAY, completion_log=completion_log, progress=progress, **others
    )
    return judge(evidence, PHASE, now)


def test_one_processor_is_not_several() -> None:
    """A phase may have one alone."""
    alone = msgspec.structs.replace(PHASE, processors={FIVE[0]: ()})
    evidence = Evidence(
        phase="phase2",
        game_date=DAY,
        completion_log=logged(FIVE[:1]),
        progress=registered(FIVE[:1]),
    )
    summary = judge(evidence, alone, DONE + HOUR).summary
    assert summary == "the only processor completed 1 h 00 min ago, `_triggered` is still unset"


@dataclass(frozen=True)
class Row:
    """Evidence and its verdict; by default all five completed an hour ago and the flag is unset."""

    kind: VerdictKind
    words: str  # of the summary
    _: KW_ONLY
    now: datetime = DONE + HOUR
    completion_log: Source[Logged] = ALL
    progress: Source[Progress] = DOC_ALL
    outcome: Source[int] = NOTHING
    work: Source[int] = NOTHING

    def verdict(self, now: datetime) -> Verdict:
        """Judge the evidence."""
        return verdict_of(
            self.completion_log, self.progress, now, outcome=self.outcome, work=self.work
        )


TABLE = {
    "healthy": Row(K.TRIGGERED, "5 of 5 complete, `_triggered` is set", progress=DOC_SET),
    "healthy, with output": Row(
        K.TRIGGERED, "5 of 5", now=DONE + 2 * HOUR, progress=DOC_SET, outcome=Seen(363)
    ),
    "29:59": Row(K.SETTLING, "completed 29 min ago", now=DONE + timedelta(minutes=29, seconds=59)),
    "30:00": Row(
        K.UNTRIGGERED, "completed 30 min ago, `_triggered` is", now=DONE + timedelta(minutes=30)
    ),
    "no document": Row(K.UNTRIGGERED, "all 5", progress=NOTHING),
    "a document of four": Row(K.UNTRIGGERED, "all 5", progress=DOC_FOUR),
    "only the document is complete": Row(K.UNTRIGGERED, "all 5", completion_log=FOUR),
    "nothing in the completion log": Row(K.UNTRIGGERED, "all 5", completion_log=NOTHING),
    "days later": Row(K.UNTRIGGERED, "completed 2 d 00 h ago", now=DONE + timedelta(days=2)),
    "clock behind": Row(K.SETTLING, "completed 0 min ago", now=DONE - HOUR),
    "rows came late, 1:59": Row(
        K.SETTLING,
        "completed 1 h 01 min ago",
        now=DONE + HOUR + timedelta(seconds=119),
        completion_log=logged(FIVE, HOUR),
    ),
    "rows came late, 2:00": Row(
        K.UNTRIGGERED,
        "completed 1 h 02 min ago",
        now=DONE + HOUR + timedelta(seconds=120),
        completion_log=logged(FIVE, HOUR),
    ),
    "four of five": Row(
        K.WAITING,
        "4 of 5 complete, waiting for p2_odds_player_props",
        completion_log=FOUR,
        progress=DOC_FOUR,
    ),
    "four and an unexpected one": Row(
        K.WAITING,
        "4 of 5",
        completion_log=logged(FIVE[:4], unexpected=frozenset({"p2_nbacom_schedule"})),
        progress=registered(FIVE[:4], unexpected=frozenset({"p2_nbacom_schedule"})),
    ),
    "nothing yet": Row(
        K.WAITING, "0 of 5 complete", now=DONE, completion_log=NOTHING, progress=NOTHING
    ),
    "before the deadline": Row(
        K.WAITING, "4 of 5", now=DEADLINE - SECOND, completion_log=FOUR, progress=DOC_FOUR
    ),
    "at the deadline": Row(
        K.INCOMPLETE,
        "not completed, 0 min past the deadline: p2_odds_p",
        now=DEADLINE,
        completion_log=FOUR,
        progress=DOC_FOUR,
    ),
    "a failure only": Row(
        K.INCOMPLETE,
        "1 h 00 min past",
        now=DEADLINE + HOUR,
        completion_log=Seen(Logged({}, {FIVE[0]: ProcessorReport("failed")})),
        progress=NOTHING,
    ),
    "only an unexpected one": Row(
        K.INCOMPLETE,
        "past the deadline",
        now=DEADLINE,
        completion_log=Seen(Logged(unexpected=frozenset({"x"}))),
        progress=NOTHING,
    ),
    "everybody without data": Row(
        K.IDLE, "had no work", now=DONE, completion_log=NO_WORK, progress=NOTHING
    ),
    "everybody without data, late": Row(
        K.IDLE, "had no work", now=DEADLINE + HOUR, completion_log=NO_WORK, progress=NOTHING
    ),
    "four without data": Row(
        K.WAITING, "0 of 5", now=DONE, completion_log=FOUR_IDLE, progress=NOTHING
    ),
    "four without data, late": Row(
        K.INCOMPLETE, "past the deadline", now=DEADLINE, completion_log=FOUR_IDLE, progress=NOTHING
    ),
    "no games": Row(
        K.IDLE,
        "no work to do",
        now=DEADLINE + HOUR,
        completion_log=NOTHING,
        progress=NOTHING,
        work=Seen(0),
    ),
    "no games, some odds": Row(
        K.IDLE,
        "there was no work to do; completed all the same: p2_",
        now=DEADLINE + HOUR,
        completion_log=FOUR,
        progress=DOC_FOUR,
        work=Seen(0),
    ),
    "games, nothing yet": Row(
        K.WAITING,
        "0 of 5",
        now=DEADLINE - SECOND,
        completion_log=NOTHING,
        progress=NOTHING,
        work=Seen(9),
    ),
    "games, nothing": Row(
        K.SILENT,
        "there was work to do (9)",
        now=DEADLINE,
        completion_log=NOTHING,
        progress=NOTHING,
        work=Seen(9),
    ),
    "no games, and a failure": Row(
        K.UNKNOWN,
        "the work query says that there was no work, but failed: p2_bigdataball_pbp",
        now=DEADLINE + HOUR,
        completion_log=Seen(Logged({}, {FIVE[0]: ProcessorReport("failed")})),
        progress=NOTHING,
        work=Seen(0),
    ),
    "everybody without data on a day with games": Row(
        K.WAITING, "0 of 5", now=DONE, completion_log=NO_WORK, progress=NOTHING, work=Seen(11)
    ),
    "everybody without data on a day with games, late": Row(
        K.INCOMPLETE,
        "p2_bigdataball_pbp (no_data), p2_nbacom_boxscores (no_data)",
        now=DEADLINE,
        completion_log=NO_WORK,
        progress=NOTHING,
        work=Seen(11),
    ),
    "nothing, who knows": Row(
        K.UNKNOWN,
        "without a `work_query` nothing says whether there was work",
        now=DEADLINE,
        completion_log=NOTHING,
        progress=NOTHING,
    ),
    "nothing, games unreadable": Row(
        K.UNKNOWN,
        "connection refused",
        now=DEADLINE,
        completion_log=NOTHING,
        progress=NOTHING,
        work=REFUSED,
    ),
    "late, games unreadable": Row(
        K.UNKNOWN,
        "connection refused",
        now=DEADLINE,
        completion_log=FOUR,
        progress=DOC_FOUR,
        work=REFUSED,
    ),
    "waiting, games unreadable": Row(
        K.WAITING, "4 of 5", now=DONE, completion_log=FOUR, progress=DOC_FOUR, work=REFUSED
    ),
    "premature": Row(
        K.PREMATURE,
        "these have not completed: p2_odds_player_props",
        completion_log=FOUR,
        progress=registered(FIVE[:4], TRIGGER),
    ),
    "premature, made up for": Row(
        K.TRIGGERED, "5 of 5", now=DONE, progress=registered(FIVE, Trigger(DONE - HOUR, "x"))
    ),
    "partial on purpose": Row(
        K.TRIGGERED,
        "4 of 5 complete, `_triggered` is set without p2_odds_player_props: deadline_exceeded",
        now=DEADLINE + HOUR,
        completion_log=FOUR,
        progress=registered(FIVE[:4], PARTIAL),
    ),
    "no output after 59:59": Row(
        K.TRIGGERED,
        "5 of 5",
        now=DONE + SECOND + timedelta(minutes=59, seconds=59),
        progress=DOC_SET,
        outcome=Seen(0),
    ),
    "no output after 60:00": Row(
        K.DOWNSTREAM_MISSING,
        "Phase 3 has written nothing",
        now=DONE + SECOND + HOUR,
        progress=DOC_SET,
        outcome=Seen(0),
    ),
    "no output, no time of the trigger": Row(
        K.TRIGGERED,
        "5 of 5",
        now=DEADLINE + timedelta(minutes=59),
        progress=registered(FIVE, Trigger(None, None)),
        outcome=Seen(0),
    ),
    "no output, no time of the trigger, later": Row(
        K.DOWNSTREAM_MISSING,
        "Phase 3 has written nothing",
        now=DEADLINE + HOUR,
        progress=registered(FIVE, Trigger(None, None)),
        outcome=Seen(0),
    ),
    "no output, games unreadable": Row(
        K.UNKNOWN,
        "how much work there was: connection refused",
        now=DONE + 2 * HOUR,
        progress=DOC_SET,
        outcome=Seen(0),
        work=REFUSED,
    ),
    "triggered without work": Row(
        K.TRIGGERED, "0 of 5 complete", completion_log=NO_WORK, progress=registered([], TRIGGER)
    ),
    "no output because no games": Row(
        K.TRIGGERED, "5 of 5", now=DONE + 2 * HOUR, progress=DOC_SET, outcome=Seen(0), work=Seen(0)
    ),
    "output unreadable": Row(
        K.UNKNOWN,
        "the output of Phase 3: conn",
        now=DONE + 2 * HOUR,
        progress=DOC_SET,
        outcome=REFUSED,
    ),
    "output unreadable, not due": Row(
        K.TRIGGERED, "5 of 5", now=DONE + SECOND, progress=DOC_SET, outcome=REFUSED
    ),
    "untriggered, output unreadable": Row(K.UNTRIGGERED, "all 5", outcome=REFUSED),
    "a row missing": Row(
        K.STORES_DISAGREE,
        "in the progress document, but not in the completion log: p2_odds_player_props",
        now=DONE + timedelta(minutes=30),
        completion_log=FOUR,
        progress=DOC_SET,
    ),
    "a row missing, 29:59": Row(
        K.TRIGGERED,
        "5 of 5",
        now=DONE + timedelta(minutes=29, seconds=59),
        completion_log=FOUR,
        progress=DOC_SET,
    ),
    "a registration missing": Row(
        K.STORES_DISAGREE,
        "in the completion log, but not in the progress document: p2_odds_game_lines",
        now=DONE + SECOND + timedelta(minutes=30),
        completion_log=FOUR,
        progress=registered(FIVE[:3]),
    ),
    "a registration missing, 29:59 after its row": Row(
        K.WAITING,
        "4 of 5",
        now=DONE + timedelta(minutes=30),
        completion_log=FOUR,
        progress=registered(FIVE[:3]),
    ),
    "a late burst in the completion log": Row(
        K.WAITING,
        "4 of 5",
        now=DONE + HOUR + timedelta(minutes=26, seconds=59),
        completion_log=logged(FIVE[:4], HOUR),
        progress=NOTHING,
    ),
    "a late burst in the document": Row(
        K.WAITING,
        "4 of 5",
        now=DONE + HOUR + timedelta(minutes=29),
        completion_log=NOTHING,
        progress=registered(FIVE[:4], registered_at=DONE + HOUR),
    ),
    "a registration missing, late": Row(
        K.INCOMPLETE,
        "not completed",
        now=DEADLINE,
        completion_log=FOUR,
        progress=registered(FIVE[:3]),
    ),
    "no times in the document": Row(
        K.SETTLING,
        "completed at a time that nobody wrote down",
        now=DEADLINE + timedelta(minutes=29),
        completion_log=NOTHING,
        progress=Seen(Progress(PHASE.expected, dict.fromkeys(FIVE, Registration()))),
    ),
    "no times in the document, later": Row(
        K.UNTRIGGERED,
        "completed at a time that nobody wrote down",
        now=DEADLINE + timedelta(minutes=30),
        completion_log=NOTHING,
        progress=Seen(Progress(PHASE.expected, dict.fromkeys(FIVE, Registration()))),
    ),
    "no completion log to ask": Row(
        K.UNKNOWN, "could not tell: connection refused", completion_log=REFUSED
    ),
    "no document to ask": Row(K.UNKNOWN, "could not tell: connection refused", progress=REFUSED),
    "nobody to ask": Row(
        K.UNKNOWN,
        "connection refused; denied",
        completion_log=REFUSED,
        progress=Unreadable("denied"),
    ),
    "healthy, nobody to ask": Row(
        K.UNKNOWN, "connection refused", completion_log=REFUSED, progress=DOC_SET
    ),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_table(row: Row) -> None:
    """Each kind of evidence leads to its verdict, and the summary says why."""
    verdict = row.verdict(row.now)
    assert verdict.kind is row.kind
    assert row.words in verdict.summary


def test_the_table_reaches_every_verdict() -> None:
    """No verdict is left untested but the one that needs a phase that counts games, below."""
    assert {row.kind for row in TABLE.values()} == set(VerdictKind) - {K.DOWNSTREAM_PARTIAL}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_time_zone_of_now_does_not_matter(row: Row) -> None:
    """The same moment in another zone is the same verdict, word for word."""
    elsewhere = row.now.astimezone(timezone(timedelta(hours=9, minutes=30)))
    assert row.verdict(elsewhere) == row.verdict(row.now)


def test_the_verdict_in_full(phase: Phase) -> None:
    """Everything that an alert is made of is in the value."""
    progress = registered(FIVE, orchestrator_expected=phase.expected | {"p2_bdl_box_scores"})
    completion_log = logged(FIVE, unexpected=frozenset({"NbacBoxscoresProcessor"}))
    assert verdict_of(
        completion_log, progress, DONE + timedelta(minutes=34), outcome=Seen(363)
    ) == Verdict(
        kind=K.UNTRIGGERED,
        phase="phase2",
        game_date=DAY,
        evaluates_anew=True,
        summary="all 5 processors completed 34 min ago, `_triggered` is still unset",
        since=DONE,
        completed=tuple(FIVE),
        missing=(),
        unexpected=("NbacBoxscoresProcessor",),
        triggered=False,
        impact=Impact.NONE,
        notes=("not expected: NbacBoxscoresProcessor (resembles p2_nbacom_boxscores)",),
        output=363,
    )


def test_a_rerun_after_completion_does_not_restart_the_clock(phase: Phase) -> None:
    """The first success counts; the document may hold a later one."""
    later = Progress(
        expected=phase.expected,
        registered={name: Registration(DONE + timedelta(hours=3), "again") for name in FIVE},
    )
    verdict = verdict_of(ALL, Seen(later), DONE + timedelta(hours=3, minutes=1))
    assert (verdict.kind, verdict.since) == (K.UNTRIGGERED, DONE)


def test_one_time_that_nobody_wrote_down_accuses_late(phase: Phase) -> None:
    """The deadline stands in for it, and no time in the future is shown."""
    entries = {name: Registration(DONE) for name in FIVE[1:]} | {FIVE[0]: Registration()}
    progress = Seen(Progress(phase.expected, entries))
    early = verdict_of(logged(FIVE[1:]), progress)
    assert (early.kind, early.since) == (K.SETTLING, None)
    assert verdict_of(logged(FIVE[1:]), progress, DEADLINE + HOUR).kind is K.UNTRIGGERED


def test_a_gap_does_not_end_by_the_set_becoming_complete() -> None:
    """Two stores that disagree are not settling: the incident stays one."""
    early = DONE - timedelta(hours=6)
    arrivals = {name: Arrival(DONE, DONE) for name in FIVE[1:]} | {FIVE[0]: Arrival(early, early)}
    before = Seen(Logged({name: arrivals[name] for name in FIVE[:4]}))
    verdicts = [
        verdict_of(completion_log, registered(names), now)
        for completion_log, names, now in (
            (before, FIVE[1:4], DONE + SECOND),
            (Seen(Logged(arrivals)), FIVE[1:], DONE + timedelta(minutes=29)),
            (Seen(Logged(arrivals)), FIVE[1:], DONE + timedelta(minutes=30)),
        )
    ]
    assert [v.kind for v in verdicts] == [K.STORES_DISAGREE, K.STORES_DISAGREE, K.UNTRIGGERED]
    assert (
        verdicts[1].summary == f"in the completion log, but not in the progress document: {FIVE[0]}"
    )


def test_one_for_whom_nobody_waits_is_a_gap_at_once(phase: Phase) -> None:
    """An orchestrator with a shorter list set the flag, and will never register the last one."""
    progress = registered(FIVE[:4], TRIGGER, orchestrator_expected=phase.expected - {FIVE[4]})
    assert verdict_of(ALL, progress, DONE + 2 * SECOND).kind is K.STORES_DISAGREE
    assert verdict_of(ALL, registered(FIVE[:4], TRIGGER), DONE + 2 * SECOND).kind is K.TRIGGERED


def test_bigquery_stands_in_for_firestore_where_it_was_verified(phase: Phase) -> None:
    """With bigquery_carries_flag the log's row is the flag, and without it nobody is accused."""
    carries = msgspec.structs.replace(phase, bigquery_carries_flag=True)
    flagged = logged(FIVE, flag=SET)
    for completion_log, kind in (
        (logged(FIVE, flag=UNSET), K.UNTRIGGERED),
        (flagged, K.TRIGGERED),
        (logged(FIVE[:4], flag=UNSET), K.WAITING),
        (Absent(), K.UNKNOWN),
    ):
        evidence = Evidence(
            phase="phase2", game_date=DAY, completion_log=completion_log, progress=REFUSED
        )
        verdict = judge(evidence, carries, DONE + HOUR)
        assert verdict.kind is kind
        if kind is not K.UNKNOWN:
            assert (
                verdict.notes[-1]
                == "Firestore could not be read (connection refused): the flag is BigQuery's"
            )
        assert judge(evidence, phase, DONE + HOUR).kind is K.UNKNOWN


@pytest.mark.parametrize(
    ("flag", "flag_table", "kind", "note"),
    [
        (None, SET, K.TRIGGERED, ""),
        (None, UNSET, K.UNTRIGGERED, ""),
        (SET, SET, K.TRIGGERED, ""),
        (UNSET, UNSET, K.UNTRIGGERED, ""),
        (
            UNSET,
            SET,
            K.TRIGGERED,
            "; the flag table has it set, the completion log unset: it is taken as set",
        ),
        (
            SET,
            UNSET,
            K.TRIGGERED,
            "; the completion log has it set, the flag table unset: it is taken as set",
        ),
    ],
)
def test_the_flag_table_stands_in_as_well(
    phase: Phase,
    flag: Flag | None,
    flag_table: Flag,
    kind: K,
    note: str,
) -> None:
    """Set in one table it was set; where they contradict each other, the verdict says so."""
    carries = msgspec.structs.replace(phase, bigquery_carries_flag=True)
    sources: dict[str, Any] = {
        "completion_log": logged(FIVE, flag=flag),
        "flag_table": Seen(flag_table),
    }
    evidence = Evidence(phase="phase2", game_date=DAY, progress=REFUSED, **sources)
    verdict = judge(evidence, carries, DONE + HOUR)
    assert verdict.kind is kind
    assert (
        verdict.notes[-1]
        == f"Firestore could not be read (connection refused): the flag is BigQuery's{note}"
    )


def test_a_flag_that_was_partial_on_purpose_stands_in_as_such(phase: Phase) -> None:
    """Its reason comes with it."""
    carries = msgspec.structs.replace(phase, bigquery_carries_flag=True)
    for reason, kind in (("deadline_exceeded", K.TRIGGERED), ("all_complete", K.PREMATURE)):
        table = Seen(Flag(is_set=True, at=DONE, reason=reason))
        evidence = Evidence(
            phase="phase2",
            game_date=DAY,
            completion_log=logged(FIVE[:4]),
            progress=REFUSED,
            flag_table=table,
        )
        assert judge(evidence, carries, DONE + HOUR).kind is kind


def test_the_flag_table_never_overrules_firestore(phase: Phase) -> None:
    """Where Firestore can be read its flag counts."""
    named = msgspec.structs.replace(phase, bigquery_carries_flag=True, flag_table="d.status")
    evidence = Evidence(
        phase="phase2", game_date=DAY, completion_log=ALL, progress=DOC_ALL, flag_table=Seen(SET)
    )
    assert judge(evidence, named, DONE + HOUR).kind is K.UNTRIGGERED


def test_a_table_without_the_flag_cannot_stand_in(phase: Phase) -> None:
    """That no row says anything is no statement that the flag is unset."""
    carries = msgspec.structs.replace(phase, bigquery_carries_flag=True)
    evidence = Evidence(phase="phase2", game_date=DAY, completion_log=ALL, progress=REFUSED)
    verdict = judge(evidence, carries, DONE + HOUR)
    assert (verdict.kind, verdict.unreadable, verdict.triggered) == (K.UNKNOWN, True, None)
    assert verdict.summary == (
        "could not tell: connection refused; "
        "BigQuery cannot stand in for it: no row of the date says anything of the flag"
    )


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
def test_the_impact(
    progress: Source[Progress], outcome: Source[int], now: datetime, impact: Impact | None
) -> None:
    """None is harm only when there was time for output, and a quiet date has no impact."""
    assert verdict_of(ALL, progress, now, outcome=outcome).impact is impact


@pytest.mark.parametrize(
    ("progress", "output", "work", "minutes", "kind", "impact"),
    [
        (DOC_SET, 7, 11, 61, K.DOWNSTREAM_PARTIAL, Impact.PARTIAL),
        (DOC_SET, 7, 11, 59, K.TRIGGERED, None),
        (DOC_SET, 11, 11, 61, K.TRIGGERED, None),
        (DOC_SET, 12, 11, 61, K.TRIGGERED, None),
        (DOC_SET, 0, 11, 61, K.DOWNSTREAM_MISSING, Impact.BLOCKED),
        (DOC_SET, 0, 0, 61, K.TRIGGERED, None),
        (DOC_SET, 7, None, 61, K.TRIGGERED, None),
        (DOC_ALL, 7, 11, 59, K.UNTRIGGERED, Impact.UNKNOWN),
        (DOC_ALL, 7, 11, 61, K.UNTRIGGERED, Impact.PARTIAL),
        (DOC_ALL, 11, 11, 61, K.UNTRIGGERED, Impact.NONE),
        (DOC_ALL, 0, 11, 61, K.UNTRIGGERED, Impact.BLOCKED),
    ],
)
def test_games_are_compared_where_both_are_counted(  # noqa: PLR0917 (the columns above)
    progress: Source[Progress],
    output: int,
    work: int | None,
    minutes: int,
    kind: K,
    impact: Impact | None,
) -> None:
    """A part of the games is a gap after the next phase's time; rows are no games."""
    in_games = msgspec.structs.replace(PHASE, outcome_counts_games=True)
    games: Source[int] = Absent() if work is None else Seen(work)
    evidence = Evidence(
        phase="phase2",
        game_date=DAY,
        completion_log=ALL,
        progress=progress,
        outcome=Seen(output),
        work=games,
    )
    now = DONE + SECOND + timedelta(minutes=minutes)
    verdict = judge(evidence, in_games, now)
    assert (verdict.kind, verdict.impact) == (kind, impact)
    assert judge(evidence, PHASE, now).kind is not K.DOWNSTREAM_PARTIAL
    if impact is not None:
        assert (
            f"has {output} of {work} games" in alert([verdict], in_games, CommandLine(), now).text
        )


COUNTS: list[Source[int]] = [Absent(), REFUSED, Seen(0), Seen(9)]
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
MOMENTS = [
    DONE - HOUR,
    DONE,
    DONE + timedelta(minutes=30),
    DONE + 2 * HOUR,
    DEADLINE,
    DEADLINE + timedelta(days=3),
]


def test_every_combination_keeps_the_promises() -> None:
    """Unreadable evidence is UNKNOWN, and the accusation is made exactly by the mission's rule."""
    kinds = set()
    for completion_log, progress, outcome, work, now in itertools.product(
        LOGS, DOCUMENTS, COUNTS, COUNTS, MOMENTS
    ):
        verdict = verdict_of(completion_log, progress, now, outcome=outcome, work=work)
        kinds.add(verdict.kind)
        if isinstance(completion_log, Unreadable) or isinstance(progress, Unreadable):
            assert (verdict.kind, verdict.triggered) == (K.UNKNOWN, None)
            continue
        arrivals = completion_log.value.completed if isinstance(completion_log, Seen) else {}
        document = progress.value if isinstance(progress, Seen) else Progress(PHASE.expected)
        complete = arrivals.keys() | document.registered.keys() >= PHASE.expected
        visible = all(
            now - arrival.visible_at >= timedelta(minutes=2) for arrival in arrivals.values()
        )
        accused = (
            complete
            and document.trigger is None
            and now - DONE >= timedelta(minutes=30)
            and visible
        )
        assert (verdict.kind is K.UNTRIGGERED) == accused
        assert verdict.triggered == (document.trigger is not None)
        assert (verdict.impact is not None) == verdict.kind.is_problem
        assert set(verdict.completed) | set(verdict.missing) == PHASE.expected
        if verdict.kind in {K.TRIGGERED, K.PREMATURE, K.DOWNSTREAM_MISSING}:
            assert document.trigger is not None
        if verdict.kind in {K.WAITING, K.SETTLING, K.UNTRIGGERED, K.INCOMPLETE, K.SILENT, K.IDLE}:
            assert document.trigger is None
    assert kinds == set(VerdictKind) - {K.DOWNSTREAM_PARTIAL}, (
        "which needs a phase that counts games"
    )


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


# Without the work query the processors' own reports, and what else is there, decide: with it, 0 or
# 9 games would have made the second of the first.
BY_OTHER_EVIDENCE = {
    (K.IDLE, K.INCOMPLETE),
    (K.TRIGGERED, K.PREMATURE),
    (K.PREMATURE, K.TRIGGERED),
    (K.STORES_DISAGREE, K.IDLE),
}


def test_what_cannot_be_read_is_neither_an_all_clear_nor_an_accusation() -> None:
    """Quiet, or a problem, only where it would be so whatever the source had said; else UNKNOWN."""
    otherwise: dict[str, set[tuple[K, K]]] = {"outcome": set(), "work": set()}
    for log, progress, known, now in itertools.product(LOGS, DOCUMENTS, COUNTS, MOMENTS):
        for unreadable, other in (("outcome", "work"), ("work", "outcome")):
            kinds = [
                verdict_of(log, progress, now, **{unreadable: count, other: known}).kind
                for count in (REFUSED, *(count for count in COUNTS if count is not REFUSED))
            ]
            said, *would_be = kinds
            if said is not K.UNKNOWN:
                changed = {(said, kind) for kind in would_be if kind.is_quiet != said.is_quiet}
                otherwise[unreadable] |= changed
            if REFUSED in (log, progress):
                assert said is K.UNKNOWN
    assert otherwise == {"outcome": set(), "work": BY_OTHER_EVIDENCE}
