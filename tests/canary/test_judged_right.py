"""Whatever a phase can say and a status can mean, there is no false alarm and none is missed."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.evidence import Absent, Evidence, Seen, read_completion_log
from canary.domain.verdict import Impact, Verdict, VerdictKind, judge
from canary.notify.message import CommandLine, alert
from canary.run import check_dates
from orchestrator_resilience import CheckpointLogger, Phase, load_phases
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES, Mode, Period, load_phase
from orchestrator_resilience.progress import read_progress
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope
from tests.proof.inputs import few

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)
PHASE_3 = load_phases(Path(__file__).parents[2] / "examples" / "phases_of_a_pipeline.toml")[
    "phase3"
]
UPCOMING = "upcoming_player_game_context"
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)  # 01:41 in New York
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
K = VerdictKind

COMPLETING = st.sampled_from(
    ["success", "SUCCESS", " Partial ", "partial", "finished", "Finished", None]
)
NOT_COMPLETING = st.sampled_from(
    ["failed", "FAILED", "error", "running", "no_data", "SKIPPED", "", 7, [], {"a": 1}]
)
# Fields of somebody's own: neither maps nor times, maps that say nothing of a completion, and names
# with an underscore.
FIELDS = st.dictionaries(
    st.sampled_from(
        ["games", "p2_games", "odds", "boxscores", "updated", "_tier_name", "_last_update", "total"]
    ),
    st.sampled_from([7, 0, "x", True, False, None, 1.5, [1], {"n": 7}]),
    max_size=4,
)


class Written:
    """What a date left in both stores.

    Each processor of `who` completed, minute after minute, the last at DONE.
    """

    def __init__(self, phase: Phase, who: list[str], statuses: list[Any], mode: str | None) -> None:
        self.phase = replace(phase, completed_statuses=("finished",))
        self.fields: dict[str, Any] = {"_mode": mode} if mode else {}
        self.rows: list[ProcessorSummary] = []
        for n, (name, status) in enumerate(zip(reversed(who), statuses, strict=False)):
            self.says(name, status, DONE - n * MINUTE)

    def says(self, name: str, status: Any, at: datetime) -> None:
        """Leave an entry, over an older one, and a row; one without an entry has completed."""
        entry = {"completed_at": at, **({} if status is None else {"status": status})}
        self.fields[name] = {**self.fields.get(name, {}), **entry}
        row = ProcessorSummary(
            phase=self.phase.name,
            game_date=DAY,
            processor_name=name,
            status="success" if status is None else str(status),
            last_completed_at=at,
            first_completed_at=at,
            first_visible_at=at + timedelta(seconds=2),
            is_triggered=None,
        )
        self.rows.append(row)

    def verdict(
        self, now: datetime, log_since: datetime | None = DONE - 7 * 24 * HOUR, **others: Any
    ) -> Verdict:
        """Judge it; the log has only the rows from its first one on."""
        rows = [
            row
            for row in self.rows
            if log_since and row.first_visible_at and row.first_visible_at >= log_since
        ]
        evidence = Evidence(
            phase=self.phase.name,
            game_date=DAY,
            completion_log=read_completion_log(rows, self.phase.on(DAY, self.fields.get("_mode"))),
            progress=Seen(read_progress(self.fields, self.phase.on(DAY)))
            if self.fields
            else Absent(),
            log_since=log_since,
            **others,
        )
        return judge(evidence, self.phase, now)


@st.composite
def dates(draw: Callable[..., Any]) -> Written:
    """Return a date on which all completed that its phase waits for in its mode.

    Drawn beside it: what else may be written there.
    """
    phase, mode = draw(
        st.sampled_from([(PHASE, None), *((PHASE_3, mode) for mode in (None, "overnight", "x"))])
    )
    who = draw(st.permutations(sorted(phase.in_mode(mode).expected)))
    written = Written(phase, who, [draw(COMPLETING) for _ in who], mode)
    # runs again, and completes nothing
    for name in draw(st.lists(st.sampled_from(who), unique=True, max_size=3)):
        written.says(name, draw(NOT_COMPLETING), DONE + draw(st.integers(1, 20)) * MINUTE)
    written.fields = {**draw(FIELDS), **written.fields}
    return written


BEGINNINGS = st.sampled_from(
    [None, DONE - 7 * 24 * HOUR, DONE - 2 * MINUTE, DONE + 10 * MINUTE, DONE + 9 * HOUR]
)


@few(150)
@given(dates(), st.integers(0, 3000), BEGINNINGS)
def test_no_false_alarm(written: Written, minutes: int, log_since: datetime | None) -> None:
    """A complete date whose flag was set a moment later is quiet at any time after."""
    written.fields |= {
        "_triggered": True,
        "_triggered_at": DONE + timedelta(seconds=5),
        "_trigger_reason": "all_complete",
    }
    assert written.verdict(DONE + (minutes + 21) * MINUTE, log_since).kind is K.TRIGGERED


@few(100)
@given(dates(), st.integers(-3, 3000))
def test_none_missed(written: Written, minutes: int) -> None:
    """Complete, and the flag unset: told from half an hour on, and not before."""
    kind = written.verdict(DONE + (30 + minutes) * MINUTE).kind
    assert kind is (K.UNTRIGGERED if minutes >= 0 else K.SETTLING)


@few(100)
@given(
    st.lists(COMPLETING, min_size=5, max_size=5),
    st.none() | st.integers(-100, 100).map(lambda minutes: DONE + minutes * MINUTE),
    st.integers(1, 3000),
    st.booleans(),
)
def test_a_log_that_is_new_says_nothing_of_what_was_before(
    statuses: list[Any],
    log_since: datetime | None,
    minutes: int,
    flag: bool,  # noqa: FBT001 (drawn)
) -> None:
    """Where the log begins later, or its older rows have expired, the document alone is judged."""
    written = Written(PHASE, FIVE, statuses, None)
    written.fields |= {"_triggered": flag, "_triggered_at": DONE + timedelta(seconds=5)}
    kind = written.verdict(DONE + minutes * MINUTE, log_since).kind
    assert kind is (K.TRIGGERED if flag else K.UNTRIGGERED if minutes >= 30 else K.SETTLING)


@few(50)
@given(st.lists(NOT_COMPLETING, min_size=1, max_size=5))
def test_other_statuses_complete_nothing_and_are_shown(statuses: list[Any]) -> None:
    """In the document and in a row alike."""
    written = Written(PHASE, FIVE, ["success"] * (5 - len(statuses)), None)
    for name, status in zip(FIVE, statuses, strict=False):
        written.says(name, status, DONE)
    verdict = written.verdict(PHASE.deadline(DAY), work=Seen(8))
    assert (verdict.kind, verdict.missing) == (K.INCOMPLETE, tuple(FIVE[: len(statuses)]))
    assert all(str(status).lower() in verdict.summary for status in statuses)


BLOCKED, UNKNOWN, NONE = Impact.BLOCKED, Impact.UNKNOWN, Impact.NONE


@pytest.mark.parametrize(
    ("done", "work", "hours", "impact"),
    [
        (0, 8, 12, BLOCKED),
        (0, 8, 1, BLOCKED),
        (0, 8, 0.9, UNKNOWN),
        (4, 8, 12, BLOCKED),
        (5, 8, 12, BLOCKED),
        (5, 0, 12, NONE),
    ],
)
def test_the_next_phase_is_due_whoever_is_missing(
    done: int, work: int, hours: float, impact: Impact
) -> None:
    """It is due from its deadline and time on, and without games there is no harm."""
    written = Written(PHASE, FIVE[:done], ["success"] * done, None)
    now = PHASE.deadline(DAY) + timedelta(hours=hours)
    verdict = written.verdict(now, outcome=Seen(0), work=Seen(work))
    assert verdict.impact is impact
    text = alert([verdict], PHASE, CommandLine(), now).text
    assert (
        "there were no games" in text
        if impact is NONE
        else f"Phase 3 has 0 of {work} games" in text
    )


def test_each_date_of_a_group_has_its_own_impact() -> None:
    """The alert of several dates lists it beside each."""
    now = PHASE.deadline(DAY) + 12 * HOUR
    written = Written(PHASE, FIVE[:4], ["success"] * 4, None)
    blocked = written.verdict(now, outcome=Seen(0), work=Seen(8))
    fine = replace(
        written.verdict(now, outcome=Seen(9), work=Seen(8)), game_date=DAY - timedelta(days=1)
    )
    text = alert([fine, blocked], PHASE, CommandLine(), now).text
    assert f"{blocked.game_date} INCOMPLETE: Phase 3 has 0 of 8 games" in text
    assert f"{fine.game_date} INCOMPLETE: Phase 3 has its output" in text


def test_a_flag_that_starts_the_next_phase_blocks_it_at_the_deadline_too() -> None:
    """Without an outcome query: unset, and somebody missing."""
    written = Written(PHASE_3, ["player_game_summary"], ["success"], "overnight")
    deadline = PHASE_3.deadline(DAY)
    impacts = [written.verdict(deadline + hours * HOUR, work=Seen(8)).impact for hours in (0, 1)]
    assert impacts == [UNKNOWN, BLOCKED]


def test_a_season_is_the_phases_own() -> None:
    """Outside nobody is expected; the orchestrator has nothing to wait for either."""
    season = replace(PHASE, since=DAY + timedelta(days=1), until=DAY + timedelta(days=2))
    written = Written(season, [], [], None)
    verdict = written.verdict(PHASE.deadline(DAY), work=Seen(8))
    assert (verdict.kind, season.on(DAY).expected) == (K.IDLE, frozenset())
    assert season.on(DAY + timedelta(days=1)).expected == PHASE.expected


def test_a_completion_without_work_is_quiet_and_said() -> None:
    """Three go on reporting in the play-offs; one that fails contradicts the query."""
    written = Written(PHASE, FIVE[:3], ["success"] * 3, None)
    verdict = written.verdict(PHASE.deadline(DAY), work=Seen(0))
    assert (verdict.kind, verdict.summary) == (
        K.IDLE,
        f"there was no work to do; completed all the same: {', '.join(FIVE[:3])}",
    )
    written.says(FIVE[3], "failed", DONE)
    assert written.verdict(PHASE.deadline(DAY), work=Seen(0)).kind is K.UNKNOWN


def test_no_data_on_a_day_with_games_is_a_contradiction() -> None:
    """And a flag over it is premature."""
    written = Written(PHASE, [], [], None)
    for name in FIVE:
        written.says(name, "no_data", DONE)
    verdict = written.verdict(PHASE.deadline(DAY), work=Seen(11))
    assert verdict.kind is K.INCOMPLETE
    assert (
        "every processor reports that it had no work, and the work query counts 11" in verdict.notes
    )
    assert written.verdict(PHASE.deadline(DAY)).kind is K.IDLE
    written.fields |= {"_triggered": True, "_triggered_at": DONE}
    assert written.verdict(DONE + HOUR, work=Seen(11)).kind is K.PREMATURE


def test_who_ran_again_in_vain_is_said() -> None:
    """Beside a problem, and for what it is."""
    written = Written(PHASE, FIVE, ["success"] * 5, None)
    written.says(FIVE[0], "failed", DONE + MINUTE)
    assert (
        f"ran again after it had completed: {FIVE[0]} (failed)"
        in written.verdict(DONE + HOUR).notes
    )


def test_odds_without_data_wait_for_the_others() -> None:
    """Without a work query their no_data before the games may mean that there are none."""
    phase = replace(
        PHASE, periods={name: Period(incomplete_by="+0d 11:00") for name in FIVE if "odds" in name}
    )
    written = Written(phase, [], [], None)
    early = phase.deadline(DAY, FIVE[-1]) + HOUR
    for name in FIVE[3:]:
        written.says(name, "no_data", early - 2 * HOUR)
    kinds = {
        work: written.verdict(early, work=Absent() if work is None else Seen(work)).kind
        for work in (None, 0, 8)
    }
    assert kinds == {None: K.WAITING, 0: K.IDLE, 8: K.INCOMPLETE}


def test_the_majority_counts_from_the_last_one_that_it_needed() -> None:
    """Who comes after it starts no clock anew, and the summary says how many were enough."""
    names = ["player_game_summary", "upcoming_player_game_context", "team_offense_game_summary"]
    written = Written(PHASE_3, names, ["success"] * 3, "overnight")
    written.says("team_defense_game_summary", "success", DONE + 20 * MINUTE)
    verdict = written.verdict(DONE + 30 * MINUTE)
    assert (verdict.kind, verdict.since) == (K.UNTRIGGERED, DONE)
    assert verdict.summary.startswith("4 of 5 processors, which is enough, completed 30 min ago")
    without = Written(
        PHASE_3,
        ["player_game_summary", *names[2:], "team_defense_game_summary"],
        ["success"] * 3,
        None,
    )
    assert without.verdict(DONE + 30 * MINUTE).kind is K.INCOMPLETE, (
        "one of the critical, which was needed at noon"
    )


class Pipeline:
    """The real orchestrator and the real canary on the embedded stores."""

    def __init__(self, stores: EmbeddedStores, phase: Phase = PHASE) -> None:
        self.stores, self.phase, self.clock, self.sink = (
            stores,
            phase,
            SimulatedClock(DONE),
            RecordingSink(),
        )
        logger = CheckpointLogger(phase, stores.checkpoints, clock=self.clock)
        self.orchestrator = Orchestrator(
            phase, stores.documents, stores.completion_log, logger, self.clock
        )

    def deliver(self, name: str, day: date, at: datetime, **payload: Any) -> None:
        """Deliver one message."""
        self.clock.now = at
        sent = {"game_date": str(day), **payload}
        self.orchestrator.deliver(
            push_envelope(name, sent.pop("game_date"), at, message_id=f"{name}{day}{at}", **sent)
        )

    def row(self, name: str, day: date, at: datetime) -> None:
        """Leave a row, and nothing else."""
        row = CompletionRow(
            row_id=f"{name}{day}",
            phase=self.phase.name,
            game_date=day,
            processor_name=name,
            status="success",
            completed_at=at,
            event_id=None,
        )
        self.stores.completion_log.append([row], now=at)

    def document(self, day: date, **fields: Any) -> None:
        """Merge fields into a document."""
        self.stores.documents.merge(DocumentRef(self.phase.firestore_collection, str(day)), fields)

    def check(self, now: datetime, *days: date) -> Any:
        """Judge these dates."""
        return check_dates(
            self.stores, {self.phase.name: self.phase}, now, {self.phase.name: list(days)}
        )


def past(days: int) -> list[tuple[date, datetime]]:
    """Return that many dates up to DAY, oldest first, and when the last of each completed."""
    return [(DAY - timedelta(days=k), DONE - timedelta(days=k)) for k in reversed(range(days))]


def test_where_the_log_begins_is_said_once(stores: EmbeddedStores) -> None:
    """In a warning of the run, and of no date."""
    pipeline = Pipeline(stores)
    for day, done in past(6):
        for name in FIVE:
            pipeline.document(day, **{name: {"completed_at": done, "status": "success"}})
            if day == DAY:
                pipeline.row(name, day, done)
        pipeline.document(day, _triggered=True, _triggered_at=done)
    report = pipeline.check(DONE + 12 * HOUR, *(day for day, _ in past(6)))
    assert {verdict.kind for verdict in report.verdicts} == {K.TRIGGERED}
    alone = "dates before are judged by their documents alone"
    assert report.warnings == (
        f"phase2: {PHASE.bigquery_table} has its first row from 2026-02-10 06:41Z: {alone}",
    )


def test_a_log_that_cannot_be_read_does_not_begin_anywhere(
    stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is UNKNOWN, and no warning."""
    pipeline = Pipeline(stores)
    for day, done in past(2):
        pipeline.document(
            day, **{name: {"completed_at": done, "status": "success"} for name in FIVE}
        )

    def refuse(*_: Any) -> None:
        raise StoreError("denied")

    monkeypatch.setattr(stores.completion_log, "summarise", refuse)
    report = pipeline.check(DONE + 12 * HOUR, DAY)
    assert ([verdict.kind for verdict in report.verdicts], report.warnings) == ([K.UNKNOWN], ())


def test_a_row_that_is_missing_between_others_is_still_told(stores: EmbeddedStores) -> None:
    """A missing row is reported on the oldest date, too: rows of a week before show the log."""
    pipeline = Pipeline(stores)
    for day, done in past(9):
        for name in FIVE:
            pipeline.deliver(name, day, done)
    last = DAY - timedelta(days=6)
    phase = replace(PHASE, processors={**PHASE.processors, "p2_new": ()})
    pipeline.document(last, p2_new={"completed_at": DONE - 6 * 24 * HOUR, "status": "success"})
    (verdict,) = check_dates(
        stores, {"phase2": phase}, DONE + 12 * HOUR, {"phase2": [last]}
    ).verdicts
    assert (verdict.kind, verdict.summary) == (
        K.STORES_DISAGREE,
        "in the progress document, but not in the completion log: p2_new",
    )


def test_a_collection_without_documents_is_named_on_every_date(stores: EmbeddedStores) -> None:
    """Mistyped or in another database, it is named, and nobody is said to have reset the flag."""
    pipeline = Pipeline(stores)
    for day, done in past(3):
        for name in FIVE:
            pipeline.deliver(name, day, done)
    pipeline.phase = replace(PHASE, firestore_collection="phase2_completions")
    verdicts = pipeline.check(DONE + 2 * HOUR, *(day for day, _ in past(3))).verdicts
    assert [(verdict.kind, verdict.unreadable, verdict.causes) for verdict in verdicts] == [
        (K.UNKNOWN, True, ())
    ] * 3
    assert all(
        "phase2_completions has no document of any date" in verdict.summary for verdict in verdicts
    )


def test_a_document_that_is_gone_is_named(stores: EmbeddedStores) -> None:
    """Where other dates have a document and the trigger's row is there, nobody is accused."""
    pipeline = Pipeline(stores)
    for day, done in past(3):
        for name in FIVE:
            pipeline.deliver(name, day, done)
    with stores.documents._file.writing() as database:
        database.execute("DELETE FROM documents WHERE id = ?", (str(DAY),))
    (verdict,) = pipeline.check(DONE + 2 * HOUR, DAY).verdicts
    assert verdict.kind is K.TRIGGERED
    assert f"there is no phase2_completion/{DAY}: the flag is BigQuery's" in verdict.notes


def test_a_failed_rerun_takes_nothing_back(stores: EmbeddedStores) -> None:
    """A failure that the tracker writes over the registration is quiet, retried or not."""
    pipeline = Pipeline(stores)
    for name in FIVE:
        pipeline.deliver(name, DAY, DONE)
    kinds = []
    for minutes, status in ((170, "failed"), (182, "success")):
        pipeline.document(
            DAY, **{FIVE[0]: {"completed_at": DONE + minutes * MINUTE, "status": status}}
        )
        kinds += [
            pipeline.check(DONE + (minutes + later) * MINUTE, DAY).verdicts[0].kind
            for later in (3, 40)
        ]
    assert set(kinds) == {K.TRIGGERED}


def test_a_break_without_a_work_query_names_the_query(stores: EmbeddedStores) -> None:
    """In the line of the check, and in the alert."""
    (verdict,) = Pipeline(stores).check(PHASE.deadline(DAY) + HOUR, DAY).verdicts
    assert (verdict.kind, verdict.unreadable) == (K.UNKNOWN, False)
    assert "`work_query`" in verdict.summary
    message = alert([verdict], PHASE, CommandLine(), PHASE.deadline(DAY) + HOUR)
    assert "`work_query`" in message.headline
    assert "`work_query`" in message.actions[0]


def test_a_warning_knows_of_rejected_messages(stores: EmbeddedStores) -> None:
    """A processor rejected each day is not silent, even without a date and with the flag set."""
    pipeline, silent = Pipeline(stores), FIVE[-1]
    for n, (day, done) in enumerate(past(7)):
        for name in FIVE:
            odd = {"game_date": f"{day}T00:00:00-05:00"} if n > 2 and name == silent else {}
            pipeline.deliver(name, day, done, **odd)
        pipeline.document(
            day, _triggered=True, _triggered_at=done, _trigger_reason="deadline_exceeded"
        )
    warnings = pipeline.check(DONE + 12 * HOUR, DAY).warnings
    why = "game_date: Invalid RFC3339 encoded date"
    assert warnings == (
        (
            f"phase2: {silent} has completed nothing since 2026-02-06: its messages are rejected, "
            f"{why}"
        ),
    )


def test_this_projects_own_orchestrator_goes_by_the_same_rule(stores: EmbeddedStores) -> None:
    """It sets the flag with enough and all critical ones, and the canary calls that deliberate."""
    phase = replace(PHASE, critical=tuple(FIVE[:2]), enough=3)
    pipeline = Pipeline(stores, phase)
    for n, name in enumerate([FIVE[0], FIVE[2], FIVE[3], FIVE[1], FIVE[4]]):
        pipeline.deliver(name, DAY, DONE + n * MINUTE)
        (verdict,) = pipeline.check(DONE + n * MINUTE + 31 * MINUTE, DAY).verdicts
        assert verdict.triggered is (n >= 3)
        assert verdict.kind is (K.TRIGGERED if n >= 3 else K.WAITING)
        if n == 3:
            assert (
                verdict.summary
                == f"4 of 5 complete, `_triggered` is set without {FIVE[4]}: enough_complete"
            )
    lines = stores.checkpoints.read({"phase2": [DAY]}, DONE + HOUR).checkpoints
    assert [line.fields["outcome"] for line in lines if line.closes] == [
        *["waiting"] * 3,
        "partial",
        "already_triggered",
    ]


def test_rows_are_read_in_the_mode_of_the_document(stores: EmbeddedStores) -> None:
    """Who is optional in the phase and expected in the mode, and the other way round."""
    mode = Mode(processors=("p2_extra", FIVE[0]))
    pipeline = Pipeline(
        stores, replace(PHASE, optional={"p2_extra": ("Extra",)}, modes={"morning": mode})
    )
    for name in ("p2_extra", *FIVE[:3]):
        pipeline.row(name, DAY, DONE)
        pipeline.document(DAY, **{name: {"completed_at": DONE, "status": "success"}})
    pipeline.document(DAY, _mode="morning")
    (verdict,) = pipeline.check(DONE + 40 * MINUTE, DAY).verdicts
    assert (verdict.kind, verdict.completed, verdict.unexpected) == (
        K.UNTRIGGERED,
        (FIVE[0], "p2_extra"),
        (),
    )
    pipeline.document(DAY, _triggered=True, _triggered_at=DONE)
    (verdict,) = pipeline.check(DONE + 40 * MINUTE, DAY).verdicts
    assert (verdict.kind, verdict.summary) == (K.TRIGGERED, "2 of 2 complete, `_triggered` is set")


def test_a_line_of_an_existing_orchestrator_is_about_its_mode(sink: RecordingSink) -> None:
    """The document says in which mode it is, and so who is missing."""
    logger = CheckpointLogger(PHASE_3, sink, clock=SimulatedClock(DONE))
    document = {UPCOMING: {"status": "success"}, "_mode": "same_day", "_triggered": True}
    with logger.delivery(
        processor=UPCOMING, game_date=DAY, status="success", event_id="1"
    ) as delivery:
        delivery.post_transaction(should_trigger=True, document=document)
    last = sink.checkpoints[-1].fields
    assert (last["outcome"], last["missing"], last["completed"]) == ("triggered", [], [UPCOMING])
