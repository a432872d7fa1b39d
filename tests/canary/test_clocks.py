"""Other people's clocks are not believed, and `--now` judges by what was known then."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.commands import cli
from canary.domain.clocks import believed_runs, known_by, without_a_time
from canary.domain.evidence import Absent, Arrival, Logged, Seen, Source
from canary.domain.stages import Standing, StandingKind
from canary.domain.verdict import VerdictKind, judge
from canary.playback.demo import demo_phase, play_demo
from canary.run import check_dates
from orchestrator_resilience import CheckpointLogger, Phase
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Period
from orchestrator_resilience.progress import ProcessorReport, Progress, Registration, Trigger
from orchestrator_resilience.stores.base import DocumentRef, Flag, ProcessorRun
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.inputs import AT, DAY, FIVE, PHASE, evidence_of, odd_times

MINUTE, HOUR, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=365)
DEADLINE = PHASE.deadline(DAY)
ALL = Logged(
    {name: Arrival(AT, AT + timedelta(seconds=1)) for name in FIVE},
    dict.fromkeys(FIVE, ProcessorReport("success", AT)),
)
DAYS = [date(2026, 2, day) for day in (9, 10, 11)]
AHEAD = [30 * MINUTE, 5 * HOUR, YEAR]


def kind(
    log: Source[Logged], progress: Source[Progress], now: datetime, **others: Source[int]
) -> VerdictKind:
    return judge(evidence_of(log, progress=progress, **others), PHASE, now).kind


def log_with(arrival: Arrival) -> Source[Logged]:
    """Return a log of all five, the first of which is `arrival`."""
    return Seen(msgspec.structs.replace(ALL, completed={**ALL.completed, FIVE[0]: arrival}))


def document_with(entry: Registration, trigger: Trigger | None = None) -> Source[Progress]:
    """Return a document of all five, the first of which is `entry`."""
    good = dict.fromkeys(FIVE, Registration(AT, "1", AT))
    return Seen(Progress(PHASE.expected, {**good, FIVE[0]: entry}, trigger=trigger))


@pytest.mark.parametrize("ahead", AHEAD, ids=str)
def test_a_completion_did_not_happen_after_it_was_seen(ahead: timedelta) -> None:
    """One of five is ahead of its row, or of its registration: accused in time, and not before."""
    evidence: list[tuple[Source[Logged], Source[Progress]]] = [
        (log_with(Arrival(AT + ahead, AT)), Absent()),
        (Absent(), document_with(Registration(AT + ahead, "1", AT))),
        (log_with(Arrival(AT + ahead, AT)), document_with(Registration(AT + ahead, "1", AT))),
    ]
    for log, document in evidence:
        assert kind(log, document, AT + 29 * MINUTE) is VerdictKind.SETTLING
        assert kind(log, document, AT + 30 * MINUTE) is VerdictKind.UNTRIGGERED


@pytest.mark.parametrize("ahead", [YEAR, 2 * HOUR], ids=str)
def test_a_row_that_was_seen_in_the_future_was_seen_when_it_completed(ahead: timedelta) -> None:
    """What its own clock says does not hold the accusation up."""
    now = AT + 31 * MINUTE
    assert kind(log_with(Arrival(AT, now + ahead)), Absent(), now) is VerdictKind.UNTRIGGERED


@pytest.mark.parametrize(
    "odd", [AT + YEAR, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)], ids=str
)
def test_without_any_time_the_deadline_is_taken(odd: datetime) -> None:
    """No time of one that can be believed accuses nobody early, and not never."""
    log, document = log_with(Arrival(odd, odd)), document_with(Registration(odd, "1", odd))
    assert kind(log, document, DEADLINE - MINUTE) is VerdictKind.SETTLING
    assert kind(log, document, DEADLINE + 31 * MINUTE) is VerdictKind.UNTRIGGERED


@pytest.mark.parametrize("odd", [AT + YEAR, datetime(1, 1, 1, tzinfo=UTC)], ids=str)
def test_a_flag_of_the_future_is_set_by_the_deadline(odd: datetime) -> None:
    """The next phase gets its hour from then, and no year."""
    document = document_with(Registration(AT, "1", AT), Trigger(odd, "all_complete"))
    assert kind(Seen(ALL), document, AT + 2 * HOUR, outcome=Seen(0)) is VerdictKind.TRIGGERED
    assert (
        kind(Seen(ALL), document, DEADLINE + HOUR, outcome=Seen(0))
        is VerdictKind.DOWNSTREAM_MISSING
    )


@given(
    st.lists(st.tuples(odd_times, odd_times), min_size=5, max_size=5), st.integers(0, 60 * 24 * 3)
)
def test_whatever_the_clocks_say_the_deadline_is_the_end(
    times: list[tuple[datetime, datetime]], minutes: int
) -> None:
    """Half an hour after the deadline a complete date without a flag is accused, and stays so."""
    log = Seen(Logged({name: Arrival(*pair) for name, pair in zip(FIVE, times, strict=True)}))
    now = DEADLINE + 30 * MINUTE + minutes * MINUTE
    assert kind(log, Absent(), now) is VerdictKind.UNTRIGGERED


@pytest.mark.parametrize(
    ("started", "finished", "known"),
    [
        (-60, -30, (-60, -30, "success")),
        (-60, 30, (-60, None, None)),
        (-60, None, (-60, None, None)),
        (None, -30, (None, -30, "success")),
        (30, 60, None),
        (None, 30, None),
        (None, None, None),
    ],
)
def test_a_run_is_known_as_far_as_it_had_come(
    started: int | None,
    finished: int | None,
    known: tuple[int | None, int | None, str | None] | None,
) -> None:
    """A run that ended later has no status at an earlier time, and without times it is unknown."""
    run = _run(started, finished, "success")
    assert believed_runs([run], AT, AT + timedelta(days=1)) == ([_run(*known)] if known else [])


def test_a_run_of_the_future_has_no_time() -> None:
    """A run that is hours in the future has no time but keeps its status; minutes are tolerated."""
    runs = [_run(20, 30, "success"), _run(-60, 120, "success"), _run(None, None, "success")]
    assert believed_runs(runs, AT, AT) == [
        _run(0, 0, "success"),
        _run(-60, None, "success"),
        _run(None, None, "success"),
    ]


def _run(started: int | None, finished: int | None, status: str | None) -> ProcessorRun:
    began, ended = (
        None if minutes is None else AT + timedelta(minutes=minutes)
        for minutes in (started, finished)
    )
    return ProcessorRun(
        processor="p2", game_date=DAY, started_at=began, finished_at=ended, status=status
    )


def test_a_report_of_the_future_is_not_the_last_one() -> None:
    """A failure whose clock is a year ahead does not outdate what is known since."""
    log = Seen(Logged({}, {FIVE[0]: ProcessorReport("failed", AT + YEAR)}))
    document = Seen(Progress(PHASE.expected, reports={FIVE[0]: ProcessorReport("no_data", AT)}))
    assert (
        "(failed)" not in judge(evidence_of(log, progress=document), PHASE, DEADLINE + HOUR).summary
    )


# What was known at a time before the stores were read


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """The demo, as `canary demo` leaves it."""
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    return tmp_path / "demo"


def test_an_earlier_time_knows_nothing_of_what_came_later(
    played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first message of February 11 it waits for everybody, and notes no run."""
    assert (
        cli.main(["check", "--data", str(played), "2026-02-11", "--now", "2026-02-11T07:20Z"]) == 0
    )
    assert "phase2 2026-02-11 WAITING: 0 of 5 complete" in capsys.readouterr().out
    assert not (played / "canary_runs.jsonl").exists()


def test_every_time_of_the_demo_is_judged_as_it_was_then(tmp_path: Path) -> None:
    """The stores as they are in the end give each date the verdict that the canary had then."""
    phase, live = demo_phase(), dict[datetime, list[VerdictKind]]()
    end = play_demo(tmp_path, lambda _: None).now
    stores = EmbeddedStores(tmp_path)
    bare = msgspec.structs.replace(phase, outcome_query=None)  # whose rows carry no time
    for hours in (0, 15, 24, 48):
        moment = datetime(2026, 2, 10, 7, 15, tzinfo=UTC) + hours * HOUR
        report = check_dates(stores, {phase.name: bare}, moment, {phase.name: DAYS}, end)
        live[moment] = [verdict.kind for verdict in report.verdicts]
    stores.close()
    k = VerdictKind
    assert [*live.values()] == [
        [k.UNTRIGGERED, k.WAITING, k.WAITING],
        [k.UNTRIGGERED, k.WAITING, k.WAITING],
        [k.UNTRIGGERED, k.UNTRIGGERED, k.WAITING],
        [k.UNTRIGGERED, k.UNTRIGGERED, k.UNTRIGGERED],
    ]


def test_what_carries_no_time_is_named(stores: EmbeddedStores) -> None:
    """It may not have been known then; what was left or written later does not count."""
    ref = DocumentRef(PHASE.firestore_collection, str(DAY))
    later = AT + 5 * HOUR
    timed = {
        name: {"completed_at": AT, "registered_at": AT if name in FIVE[1:4] else later}
        for name in FIVE[1:]
    }
    stores.documents.merge(ref, {FIVE[0]: {}, **timed, "_triggered": True, "_expected": ["x"]})
    line = Checkpoint(
        CheckpointKind.TRIGGERED,
        Severity.INFO,
        later,
        "x",
        {"phase": "phase2", "game_date": str(DAY)},
        True,
    )
    stores.checkpoints(line)
    (verdict,) = check_dates(
        stores, {"phase2": PHASE}, AT + HOUR, {"phase2": [DAY]}, later + HOUR
    ).verdicts
    assert (verdict.kind, verdict.missing) == (VerdictKind.PREMATURE, (FIVE[4],))
    assert verdict.notes[-1] == (
        "judged as of 2026-02-10 07:41Z, and no time says whether this was known then: "
        f"the registration of {FIVE[0]}, `_triggered`"
    )
    (now,) = check_dates(stores, {"phase2": PHASE}, later + HOUR, {"phase2": [DAY]}).verdicts
    assert (now.missing, [note for note in now.notes if "judged as of" in note]) == ((), [])


def test_the_flag_of_a_table_is_known_from_its_time_on() -> None:
    """Before it the table says unset; one without a time is named."""
    then, now = Flag(is_set=True, at=AT, reason="all_complete"), Flag(is_set=True)
    said = [
        msgspec.structs.replace(evidence_of(Seen(ALL)), flag_table=Seen(flag))
        for flag in (then, now)
    ]
    moments = (AT - MINUTE, AT)
    assert [known_by(said[0], moment).flag_table for moment in moments] == [
        Seen(Flag(is_set=False)),
        Seen(then),
    ]
    assert [list(without_a_time(one, PHASE)) for one in said] == [[], ["the flag table's flag"]]


# What was expected then

SIX = msgspec.structs.replace(PHASE, processors={**PHASE.processors, "p2_sixth": ()})
NEXT = DAY + timedelta(days=1)


def deliver(stores: EmbeddedStores, phase: Phase, day: date, names: Iterable[str]) -> None:
    """Let the orchestrator of `phase` take a success of each, in the night after the date."""
    at = AT + (day - DAY)
    clock = SimulatedClock(at)
    checkpoints = CheckpointLogger(phase, stores.checkpoints, clock=clock)
    orchestrator = Orchestrator(phase, stores.documents, stores.completion_log, checkpoints, clock)
    for name in names:
        orchestrator.deliver(push_envelope(name, str(day), at, message_id=f"{day}-{name}"))


def report_of(
    stores: EmbeddedStores, phase: Phase, days: int = 1
) -> tuple[list[VerdictKind], tuple[str, ...]]:
    """Return the verdicts of both dates and the early warnings, `days` after the second night."""
    report = check_dates(
        stores, {phase.name: phase}, AT + timedelta(days=days, hours=1), {phase.name: [DAY, NEXT]}
    )
    return [verdict.kind for verdict in report.verdicts], report.warnings


def test_a_processor_that_is_added_today_was_not_missing_yesterday(stores: EmbeddedStores) -> None:
    """Dates complete without the new one stay TRIGGERED; that it is silent is a warning."""
    for day in (DAY, NEXT):
        deliver(stores, PHASE, day, FIVE)
    kinds, warnings = report_of(stores, SIX)
    assert kinds == [VerdictKind.TRIGGERED] * 2
    waits = (
        "p2_sixth has not reported, and the orchestrator does not wait for it: give its `since`, "
        "or deploy the list"
    )
    assert warnings == (f"phase2: {waits}",)
    (verdict, _) = check_dates(
        stores, {"phase2": SIX}, AT + timedelta(days=4), {"phase2": [DAY, NEXT]}
    ).verdicts
    assert (verdict.missing, verdict.notes) == (
        (),
        ("nobody waited for p2_sixth then: expected now, and without a report up to this date",),
    )


def test_one_that_had_reported_before_is_left_out_by_mistake(stores: EmbeddedStores) -> None:
    """An orchestrator that leaves out a processor that reported sets the flag too early."""
    deliver(stores, SIX, DAY, SIX.expected)
    deliver(stores, PHASE, NEXT, FIVE)
    (_, verdict) = check_dates(
        stores, {"phase2": SIX}, AT + timedelta(days=1, hours=1), {"phase2": [DAY, NEXT]}
    ).verdicts
    assert verdict.kind is VerdictKind.PREMATURE
    assert Standing(StandingKind.WAITS_FOR_TOO_FEW, ("p2_sixth",)) in verdict.standing


def test_one_that_came_later_was_not_missing_before(stores: EmbeddedStores) -> None:
    """The date on which it was first waited for is the first of which it is expected."""
    deliver(stores, PHASE, DAY, FIVE)
    deliver(stores, SIX, NEXT, SIX.expected)
    assert report_of(stores, SIX) == ([VerdictKind.TRIGGERED] * 2, ())


def test_a_list_of_other_names_does_not_make_everybody_new(stores: EmbeddedStores) -> None:
    """Documents that wait for unknown names do not turn a dead pipeline into an idle one."""
    for day in (DAY, NEXT):
        stores.documents.merge(
            DocumentRef(PHASE.firestore_collection, str(day)), {"_expected": ["x"]}
        )
    report = check_dates(stores, {"phase2": PHASE}, DEADLINE + HOUR, {"phase2": [DAY]})
    assert [(v.kind, v.missing) for v in report.verdicts] == [(VerdictKind.UNKNOWN, tuple(FIVE))]


def test_a_stuck_date_of_the_old_list_is_still_stuck(stores: EmbeddedStores) -> None:
    """That today's list is longer does not turn a missing flag into waiting."""
    deliver(stores, PHASE, DAY, FIVE)
    deliver(stores, PHASE, NEXT, FIVE)
    ref = DocumentRef(PHASE.firestore_collection, str(DAY))
    stores.documents.merge(ref, {"_triggered": False})
    assert report_of(stores, SIX)[0] == [VerdictKind.UNTRIGGERED, VerdictKind.TRIGGERED]


@pytest.mark.parametrize("days", range(1, 6))
def test_nobody_is_called_silent_for_dates_before_it_was_there(
    stores: EmbeddedStores, days: int
) -> None:
    """However many dates there are of before, none of them counts."""
    for number in range(days):
        deliver(stores, PHASE, DAY - timedelta(days=number), FIVE)
    report = check_dates(stores, {"phase2": SIX}, DEADLINE + HOUR)
    assert "has reported nothing" not in "".join(report.warnings)


def test_since_and_until_hold_in_every_source(stores: EmbeddedStores) -> None:
    """A processor is expected from `since` to `until`, and no surprise on the other date."""
    periods = {FIVE[0]: Period(until=DAY), "p2_sixth": Period(since=NEXT)}
    phase = msgspec.structs.replace(SIX, periods=periods)
    deliver(stores, phase.on(DAY), DAY, FIVE)
    deliver(stores, phase.on(NEXT), NEXT, [*FIVE[1:], "p2_sixth"])
    deliver(stores, phase.on(NEXT), NEXT, FIVE[:1])
    report = check_dates(
        stores, {"phase2": phase}, AT + timedelta(days=1, hours=1), {"phase2": [DAY, NEXT]}
    )
    assert [(v.kind, v.completed, v.missing, v.unexpected) for v in report.verdicts] == [
        (VerdictKind.TRIGGERED, tuple(FIVE), (), ()),
        (VerdictKind.TRIGGERED, (*FIVE[1:], "p2_sixth"), (), ()),
    ]
    assert report.warnings == ()


def test_a_date_of_which_nobody_is_expected_is_idle(stores: EmbeddedStores) -> None:
    """Before the first processor there was nothing to wait for."""
    phase = msgspec.structs.replace(PHASE, periods=dict.fromkeys(FIVE, Period(since=NEXT)))
    (verdict,) = check_dates(stores, {"phase2": phase}, DEADLINE + HOUR, {"phase2": [DAY]}).verdicts
    assert (verdict.kind, verdict.summary) == (
        VerdictKind.IDLE,
        "no processor is expected on this date",
    )
