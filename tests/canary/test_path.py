"""Where a date stopped and why: the real orchestrator on real stores, and the real canary."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest

from canary.domain.incident import NotificationKind
from canary.domain.path.text import path_text, standing_text
from canary.domain.stages import CauseKind, Stage, Standing, StandingKind, State
from canary.domain.verdict import Impact, Verdict, VerdictKind
from canary.notify.channel import Channels
from canary.notify.message import CommandLine, alert
from canary.playback.schedule import Schedule
from canary.run import Report, check_dates, watch
from evaluation.old_code import OldCode
from evaluation.world import (
    OUTCOME_QUERY,
    WORK_QUERY,
    Deliver,
    InjectedFault,
    Outage,
    Requests,
    World,
)
from orchestrator_resilience import CheckpointLogger, Phase, StoreError, load_phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores import jsonl
from orchestrator_resilience.stores.base import (
    DeadLetter,
    ProcessorRun,
    Request,
    ServiceError,
    ServiceErrors,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope
from tests.proof.doubles import RecordingChannel

FIVE = tuple(sorted(load_phase("phase2", BUNDLED_PHASES).expected))
LAST = FIVE[4:]
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
LATER = DONE + timedelta(minutes=34)
LATE = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
MINUTE, HOUR, ONE_DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MESSAGE_TABLE = "nba_orchestration.phase_messages"

Stop = tuple[CauseKind, tuple[str, ...], Stage | None, Stage | None]
NOWHERE: Stop = (CauseKind.UNDETERMINED, (), None, None)

with_message_log = pytest.mark.parametrize(
    "world", [MESSAGE_TABLE], indirect=True, ids=["with a message log"]
)


@pytest.fixture
def world(request: pytest.FixtureRequest, phase: Phase, stores: EmbeddedStores) -> World:
    """The simulated pipeline, by default without a message log."""
    table = getattr(request, "param", None)
    return World(msgspec.structs.replace(phase, message_table=table), stores, Schedule(DONE))


def message(name: str, at: datetime = DONE, day: date = DAY, **payload: Any) -> dict[str, Any]:
    return push_envelope(name, str(day), at, **{"message_id": f"{day}-{name}", **payload})


def deliver(
    world: World,
    envelope: dict[str, Any],
    at: datetime = DONE,
    *,
    fault: InjectedFault | None = None,
    to: Deliver | None = None,
) -> None:
    """Deliver a message at `at`, by default to the phase's own orchestrator."""
    world.publish(at, envelope, delays=[timedelta(0)], fault=fault, deliver=to)
    world.schedule.play(at)


def deliver_all(
    world: World,
    names: Sequence[str],
    day: date = DAY,
    *,
    fault: InjectedFault | None = None,
    to: Deliver | None = None,
    **payload: Any,
) -> None:
    """Deliver a message of each, a minute apart, the last one at DONE on the night after `day`."""
    for number, name in enumerate(names, 1 - len(names)):
        at = DONE + (day - DAY) + number * MINUTE
        deliver(world, message(name, at, day, **payload), at, fault=fault, to=to)


def healthy_before(world: World, dates: int = 3) -> None:
    """Let the dates before DAY be healthy, which shows that lines and messages are written down."""
    for back in range(dates, 0, -1):
        deliver_all(world, FIVE, DAY - back * ONE_DAY)
        if world.has_message_log:
            log_messages(world, FIVE, DAY - back * ONE_DAY)


def waiting_for(world: World, names: Sequence[str]) -> Deliver:
    """Return an orchestrator that waits for others than the phase does."""
    processors = {name: world.phase.processors.get(name, ()) for name in names}
    return world.orchestrator_of(
        msgspec.structs.replace(world.phase, processors=processors)
    ).deliver


def refusing(world: World) -> Deliver:
    """Return an orchestrator whose stores have taken its rights away."""

    class Refuses:
        def __getattr__(self, name: str) -> Any:
            def refuse(*_: object, **__: object) -> None:
                raise StoreError("PermissionDenied: 403 Missing or insufficient permissions.")

            return refuse

    stores: Any = Refuses()
    lines = world.checkpoints_of(world.phase)
    return Orchestrator(
        world.phase, stores, stores, lines, world.schedule.clock, beside=AtOnce
    ).deliver


def dies_at(operation: str) -> InjectedFault:
    """The process dies at an operation of a store, and the message is not delivered again."""
    return InjectedFault(dies_at=operation, retried=False)


def refused_at(operation: str) -> InjectedFault:
    """A store refuses an operation, and the message is not delivered again."""
    return InjectedFault(refused_at=operation, retried=False)


def dies_at_the_flag() -> InjectedFault:
    """Let the process lose the race for its commit, merge its registration, and then die."""
    return InjectedFault(dies_at="update_if_unchanged", retried=False, loses_race=True)


def refused_at_the_flag() -> InjectedFault:
    """As above, and the store refuses the flag."""
    return InjectedFault(refused_at="update_if_unchanged", retried=False, loses_race=True)


def log_messages(
    world: World, names: Sequence[str], day: date = DAY, at: datetime | None = None
) -> None:
    """Let the message log have rows, by default written at DONE on the night after `day`.

    Without a message log they are the completion log's: then the function itself may have written
    them.
    """
    log, at = (
        world.messages if world.has_message_log else world.stores.completion_log,
        at or DONE + (day - DAY),
    )
    rows = [
        completion_row(Completion.from_event(message(name, at, day), world.phase)) for name in names
    ]
    log.append(rows, now=at)
    world.schedule.play(max(at, world.schedule.clock.now))


def deliver_to_old_code(world: World, names: Sequence[str] = FIVE) -> None:
    """Let the old tracker register them; it leaves no checkpoints."""
    old = OldCode(world.phase, world.stores.documents, world.stores.completion_log)
    deliver_all(world, names, to=old.deliver)


def leave_line(
    world: World, name: str, *, event_id: str = "1", says: Mapping[str, Any] | None = None
) -> None:
    """Leave the lines of a delivery by other code that `says` what it decided, or just returns."""
    with world.checkpoints_of(world.phase).delivery(
        processor=name, game_date=DAY, event_id=event_id
    ) as delivery:
        if says is not None:
            delivery.post_transaction(
                **{"should_trigger": False, "completed": FIVE, "triggered": False, **says}
            )


def change_document(world: World, **fields: Any) -> None:
    """Let somebody else write into the document of DAY."""
    world.stores.documents.merge(world.ref(DAY), fields)


def starts_the_next_phase(world: World) -> None:
    """Let the flag start the next phase, which has no output of seven games."""
    queries = {"outcome_query": OUTCOME_QUERY, "work_query": WORK_QUERY}
    world.phase = msgspec.structs.replace(world.phase, flag_starts_next_phase=True, **queries)
    world.work[DAY] = 7


def report(world: World, now: datetime) -> Report:
    """Let the canary judge DAY at `now`."""
    world.schedule.play(now)
    return world.check(DAY)


def judged(
    world: World,
    now: datetime,
    kind: VerdictKind,
    *stopped: Stop,
    words: str = "",
    beside: Collection[Standing] | None = None,
) -> Verdict:
    """Return the verdict on DAY at `now`, where it stopped, and `words` of why.

    `beside` is what stands beside the path, where that is of any interest.
    """
    (verdict,) = report(world, now).verdicts
    assert verdict.kind is kind
    assert [(one.kind, one.subjects, one.after, one.until) for one in verdict.causes] == [*stopped]
    assert words in " | ".join(one.words for one in verdict.causes)
    assert beside is None or list(verdict.standing) == [*beside]
    return verdict


def state_of(verdict: Verdict, stage: Stage, subject: str = "") -> State:
    """Return what is known of a stage."""
    return next(
        step.state for step in verdict.path if step.stage is stage and step.subject == subject
    )


# The flag


@pytest.mark.parametrize("with_lines", [True, False])
def test_flag_overwritten(world: World, *, with_lines: bool) -> None:
    """A line and the trigger's row say that the flag was set, and the document that it is not."""
    deliver_all(world, FIVE)
    change_document(world, _triggered=False)
    if not with_lines:
        world.stores.checkpoints.path.unlink()
    after = Stage.DECIDED if with_lines else Stage.REGISTERED
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.FLAG_OVERWRITTEN, (), after, Stage.FLAGGED),
    )


def test_registration_and_flag_are_undone(world: World) -> None:
    """Somebody has written the document anew: both are said."""
    deliver_all(world, FIVE)
    change_document(world, _triggered=False, **{FIVE[4]: None})
    lost = (CauseKind.UNDETERMINED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    overwritten = (CauseKind.FLAG_OVERWRITTEN, (), Stage.DECIDED, Stage.FLAGGED)
    verdict = judged(world, LATER, VerdictKind.UNTRIGGERED, overwritten, lost)
    assert (
        state_of(verdict, Stage.REGISTERED, FIVE[4])
        is state_of(verdict, Stage.FLAGGED)
        is State.UNDONE
    )


@pytest.mark.parametrize("with_lines", [True, False])
@pytest.mark.parametrize("with_row", [True, False])
def test_a_document_that_is_gone_was_not_overwritten(
    world: World, *, with_lines: bool, with_row: bool
) -> None:
    """A document that expired or is elsewhere is missing; the trigger's row says it was set."""
    deliver_all(world, FIVE)
    world.phase = msgspec.structs.replace(world.phase, firestore_collection="of_another_database")
    if not with_lines:
        world.stores.checkpoints.path.unlink()
    if not with_row:
        with world.stores.documents._file.writing() as database:
            database.execute("DELETE FROM phase_completions WHERE is_triggered")
    (verdict,) = report(world, LATER).verdicts
    assert verdict.kind is (VerdictKind.TRIGGERED if with_row else VerdictKind.UNTRIGGERED)
    assert {cause.kind for cause in verdict.causes} == (
        set() if with_row else {CauseKind.UNDETERMINED}
    )
    assert State.UNDONE not in {step.state for step in verdict.path}


# What the orchestrator waits for


def test_expectation_drift(world: World) -> None:
    """The orchestrator waits for a processor that was switched off: its document says so."""
    deliver_all(world, FIVE, to=waiting_for(world, [*FIVE, "p2_bdl_box_scores"]))
    stop = (CauseKind.EXPECTATION_DRIFT, (), Stage.REGISTERED, Stage.DECIDED)
    judged(
        world, LATER, VerdictKind.UNTRIGGERED, stop, words="waits for p2_bdl_box_scores", beside=[]
    )


def test_expectation_drift_of_an_existing_orchestrator(world: World) -> None:
    """Its list is read from its lines, and a later delivery called a duplicate does not hide it."""
    deliver_to_old_code(world)
    leave_line(world, FIVE[4], event_id="deciding", says={"expected": [*FIVE, "p2_bdl"]})
    stop = (CauseKind.EXPECTATION_DRIFT, (), Stage.REGISTERED, Stage.DECIDED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words="waits for p2_bdl")
    for number in range(3):
        world.schedule.play(LATER + number * MINUTE)
        leave_line(world, FIVE[number], event_id=f"again {number}", says={"duplicate": True})
    verdict = judged(
        world, LATER + 3 * MINUTE, VerdictKind.UNTRIGGERED, stop, words="waits for p2_bdl"
    )
    assert verdict.causes[0].later == 3


@pytest.mark.parametrize(
    ("count", "length", "is_whole"),
    [(59, 20, True), (900, 20, True), (1500, 20, False), (300, 900, False)],
)
@pytest.mark.parametrize("come", [False, True])
def test_nothing_follows_from_a_list_that_is_not_whole(
    world: World, count: int, length: int, *, is_whole: bool, come: bool
) -> None:
    """The list is read where a line has all of it, and nothing follows from a list that was cut."""
    deliver_to_old_code(world)
    others = [f"p2_{n:04}".ljust(length, "x") for n in range(count)]
    leave_line(
        world,
        FIVE[0],
        says={"completed": [*FIVE, *(others if come else ())], "expected": [*FIVE, *others]},
    )
    (verdict,) = report(world, LATER).verdicts
    drifts = CauseKind.EXPECTATION_DRIFT in [cause.kind for cause in verdict.causes]
    assert (verdict.kind, drifts) == (VerdictKind.UNTRIGGERED, is_whole and not come)


def test_expectation_drift_that_triggers_too_early(world: World) -> None:
    """An orchestrator that does not wait for a processor sets the flag without it for good."""
    drifted = waiting_for(world, FIVE[1:])
    deliver_all(world, FIVE[1:], to=drifted)
    too_few = Standing(StandingKind.WAITS_FOR_TOO_FEW, FIVE[:1])
    set_without = Standing(StandingKind.SET_WITHOUT, FIVE[:1], "all_complete")
    judged(world, LATER, VerdictKind.PREMATURE, NOWHERE, beside=[too_few, set_without])
    deliver_all(world, world.phase.processors[FIVE[0]][:1], to=drifted)
    stop = (CauseKind.EXPECTATION_DRIFT, FIVE[:1], Stage.DELIVERED, Stage.ACCEPTED)
    judged(world, LATER, VerdictKind.STORES_DISAGREE, stop, beside=[too_few])


def test_one_that_is_there_holds_nothing_up(world: World) -> None:
    """The orchestrator waits for a sixth, which has reported: the refused flag is the cause."""
    six = waiting_for(world, [*FIVE, "p2_new"])
    deliver_all(world, ["p2_new", *FIVE[:4]], to=six)
    deliver_all(world, LAST, to=six, fault=refused_at_the_flag())
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.WRITE_FAILED, (), Stage.REGISTERED, Stage.DECIDED),
    )


def test_a_list_that_is_wrong_and_a_process_that_died(world: World) -> None:
    """Either alone would have kept the flag unset: one is the cause, the other is beside it."""
    six = waiting_for(world, [*FIVE, "p2_bdl_box_scores"])
    deliver_all(world, FIVE[:4], to=six)
    deliver_all(world, LAST, to=six, fault=dies_at("update_if_unchanged"))
    stop = (CauseKind.CRASHED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    too_many = Standing(StandingKind.WAITS_FOR_TOO_MANY, ("p2_bdl_box_scores",))
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, beside=[too_many])


# What became of a delivery


@pytest.mark.parametrize("operation", ["get_all", "update_if_unchanged"])
def test_crashed(world: World, operation: str) -> None:
    """The last delivery left RECEIVED and nothing more."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=dies_at(operation))
    stop = (CauseKind.CRASHED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        stop,
        words="begun and not ended, no line after RECEIVED",
    )


def test_crashed_at_the_flag(world: World) -> None:
    """The line is the same as for any crash, and the stores say that it had registered."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=dies_at_the_flag())
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.CRASHED, (), Stage.REGISTERED, Stage.DECIDED),
    )


def test_crashed_at_each_redelivery(world: World) -> None:
    """A message that kills the process comes again every ten minutes; the first death counts."""
    deliver_all(world, FIVE[:4])
    for minutes in (0, 10, 20, 30):
        deliver(
            world, message(FIVE[4]), DONE + minutes * MINUTE, fault=dies_at("update_if_unchanged")
        )
    stop = (CauseKind.CRASHED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


def test_a_crash_before_the_lines_that_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many lines the newest are read: that the fifth has none of these proves nothing."""
    healthy_before(world)
    monkeypatch.setattr(jsonl, "_MOST_OF_A_DATE", 4)
    deliver(world, message(FIVE[4], DONE - HOUR), DONE - HOUR, fault=dies_at("get_all"))
    deliver_all(world, FIVE[:4])
    stop = (CauseKind.UNDETERMINED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


def test_a_delivery_under_way_has_not_crashed(world: World) -> None:
    """For ten minutes it may still be working."""
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], LATE - 9 * MINUTE), LATE - 9 * MINUTE, fault=dies_at("append"))
    there = (LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, *there))
    judged(world, LATE + MINUTE, VerdictKind.INCOMPLETE, (CauseKind.CRASHED, *there))


def test_a_crash_that_a_redelivery_mended_is_no_cause(world: World) -> None:
    """The same message came again and got through; nobody knows of the fifth."""
    deliver_all(world, FIVE[:3])
    deliver_all(world, FIVE[3:4], fault=dies_at("append"))
    unknown = (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    dead = (CauseKind.CRASHED, FIVE[3:4], Stage.ACCEPTED, Stage.REGISTERED)
    judged(world, LATE, VerdictKind.INCOMPLETE, dead, unknown)
    deliver_all(world, FIVE[3:4])
    judged(world, LATE, VerdictKind.INCOMPLETE, unknown)


def test_a_write_failed(world: World) -> None:
    """FAILED names the step and the store's own words; the row was written."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=refused_at("update_if_unchanged"))
    stop = (CauseKind.WRITE_FAILED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    words = (
        "failed in register: StoreError: update_if_unchanged: ServiceUnavailable: 503 try again "
        "later"
    )
    verdict = judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words=words)
    assert (verdict.causes[0].source, verdict.causes[0].at) == ("checkpoint", DONE)


def test_the_write_of_the_flag_failed(world: World) -> None:
    """The registration is there, so that it is the date that stopped."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=refused_at_the_flag())
    stop = (CauseKind.WRITE_FAILED, (), Stage.REGISTERED, Stage.DECIDED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words="failed in register: StoreError")


def test_a_write_failed_that_leaves_a_gap(world: World) -> None:
    """The completion log refused a row: the date is triggered, and the two stores disagree."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=refused_at("append"))
    stop = (CauseKind.WRITE_FAILED, LAST, Stage.ACCEPTED, Stage.RECORDED)
    judged(world, LATER, VerdictKind.STORES_DISAGREE, stop, words="append_completion")


@pytest.mark.parametrize("late", [False, True])
def test_what_failed_is_still_known_at_the_deadline(world: World, *, late: bool) -> None:
    """The delivery of the last one was refused everywhere: it has left no more than its line."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, to=refusing(world))
    stops = [(CauseKind.WRITE_FAILED, LAST, Stage.ACCEPTED, Stage.REGISTERED)] if late else []
    judged(
        world,
        LATE if late else LATER,
        VerdictKind.INCOMPLETE if late else VerdictKind.WAITING,
        *stops,
    )


@pytest.mark.parametrize("games", [None, 7])
@pytest.mark.parametrize("how", ["failed", "died", "rejected"])
def test_what_came_to_nothing_is_not_nothing(world: World, how: str, games: int | None) -> None:
    """That all five came to nothing is said with and without a count of the games."""
    healthy_before(world)
    if games:
        world.phase = msgspec.structs.replace(world.phase, work_query=WORK_QUERY)
        world.work |= {DAY - back * ONE_DAY: games for back in range(4)}
    for _ in range(4):
        if how == "rejected":
            deliver_all(world, FIVE, status="completed")
        else:
            fails = {"to": refusing(world)} if how == "failed" else {"fault": dies_at("append")}
            deliver_all(world, FIVE, **fails)
    stop = {
        "failed": (CauseKind.WRITE_FAILED, FIVE, Stage.ACCEPTED, Stage.RECORDED),
        "died": (CauseKind.CRASHED, FIVE, Stage.ACCEPTED, Stage.RECORDED),
        "rejected": (CauseKind.MESSAGE_REJECTED, FIVE, Stage.DELIVERED, Stage.ACCEPTED),
    }[how]
    verdict = judged(world, LATE, VerdictKind.INCOMPLETE, stop)
    assert "nothing has arrived" not in verdict.summary


def test_what_was_repaired_explains_nothing(world: World) -> None:
    """A delivery died, and the processor was run again; later the flag could not be written."""
    early = DONE - HOUR
    deliver(
        world,
        message(FIVE[0], early, message_id="dies"),
        early,
        fault=dies_at("update_if_unchanged"),
    )
    mended = early + 35 * MINUTE
    # there is no document yet, which says nothing
    dead = (CauseKind.CRASHED, FIVE[:1], Stage.ACCEPTED, None)
    judged(world, mended, VerdictKind.STORES_DISAGREE, dead)
    deliver(world, message(FIVE[0], early, message_id="again"), mended)
    deliver_all(world, FIVE[1:4])
    deliver_all(world, LAST, fault=refused_at_the_flag())
    stop = (CauseKind.WRITE_FAILED, (), Stage.REGISTERED, Stage.DECIDED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words="failed in register")


def test_set_too_early_and_the_missing_one_failed(world: World) -> None:
    """What became of the missing one's own delivery is said though the flag is set."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, to=refusing(world))
    change_document(world, _triggered=True, _triggered_at=DONE, _trigger_reason="4 of 5")
    stop = (CauseKind.WRITE_FAILED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(
        world,
        LATER,
        VerdictKind.PREMATURE,
        stop,
        beside=[Standing(StandingKind.SET_WITHOUT, LAST, "4 of 5")],
    )


def test_each_processor_has_its_own_cause(world: World) -> None:
    """One failed, one crashed, one was rejected, and of the fourth nothing is known."""
    deliver_all(world, FIVE[:1])
    deliver_all(world, FIVE[1:2], status="failed")
    deliver_all(world, FIVE[2:3], fault=dies_at("append"))
    deliver_all(world, FIVE[3:4], status="finished")
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.PROCESSOR_FAILED, FIVE[1:2], None, Stage.RAN),
        (CauseKind.CRASHED, FIVE[2:3], Stage.ACCEPTED, Stage.REGISTERED),
        (CauseKind.MESSAGE_REJECTED, FIVE[3:4], Stage.DELIVERED, Stage.ACCEPTED),
        (CauseKind.UNDETERMINED, FIVE[4:], None, Stage.REGISTERED),
    )


# What was decided


def test_code_that_leaves_no_line_does_not_say_why(world: World) -> None:
    """All registered and no flag: it may have been decided or not."""
    deliver_to_old_code(world)
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.UNDETERMINED, (), Stage.REGISTERED, Stage.FLAGGED),
    )


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"duplicate": True}, "took itself for a duplicate"),
        ({"expected": FIVE}, "found nothing missing"),
        (None, "returned without a decision"),
        ({}, None),
    ],
    ids=["a duplicate", "what it waits for", "nothing", "neither"],
)
def test_short_circuit(world: World, says: dict[str, Any] | None, words: str | None) -> None:
    """The existing function decides wrongly and says why, or returns without deciding."""
    deliver_to_old_code(world)
    leave_line(world, FIVE[4], says=says)
    proven = (CauseKind.SHORT_CIRCUIT, (), Stage.REGISTERED, Stage.DECIDED)
    stop = proven if words else (CauseKind.UNDETERMINED, (), Stage.REGISTERED, Stage.FLAGGED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words=words or "")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(dies_at_the_flag(), CauseKind.CRASHED), (refused_at_the_flag(), CauseKind.WRITE_FAILED)],
    ids=["died", "refused"],
)
def test_duplicates_do_not_hide_how_the_deciding_delivery_ended(
    world: World, fault: InjectedFault, cause: CauseKind
) -> None:
    """All were registered by then, so that each later one is a duplicate."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=fault)
    for number in range(3):
        world.schedule.play(DONE + (number + 1) * MINUTE)
        leave_line(world, FIVE[number], event_id=f"again {number}", says={"duplicate": True})
    judged(world, LATER, VerdictKind.UNTRIGGERED, (cause, (), Stage.REGISTERED, Stage.DECIDED))


def test_first_deliveries_that_say_duplicate_while_one_is_missing(world: World) -> None:
    """That the orchestrator will not set the flag is reported, though it is not the cause."""
    deliver_to_old_code(world, FIVE[:4])
    for number in range(4):
        world.schedule.play(DONE + number * MINUTE)
        says = {"completed": FIVE[: number + 1], "duplicate": True}
        leave_line(world, FIVE[number], event_id=str(number), says=says)
    unknown = (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        unknown,
        beside=[Standing(StandingKind.DUPLICATES, FIVE[:4])],
    )


@pytest.mark.parametrize("again", ["the same", "a re-run"])
def test_what_says_duplicate_later_is_as_it_should_be(world: World, again: str) -> None:
    """Only the first delivery of a processor is none."""
    deliver_to_old_code(world, FIVE[:4])
    leave_line(world, FIVE[0], event_id="the same", says={"completed": FIVE[:4]})
    world.schedule.play(DONE + MINUTE)
    leave_line(world, FIVE[0], event_id=again, says={"completed": FIVE[:4], "duplicate": True})
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED),
        beside=[],
    )


@pytest.mark.parametrize(
    ("processor", "status"),
    [
        (FIVE[4], "no_data"),
        (FIVE[4], "failed"),
        ("p2_nbacom_schedule", "success"),
        ("p2_nbacom_schedule", None),
    ],
)
def test_a_delivery_without_anything_to_decide_is_no_short_circuit(
    world: World, processor: str, status: str | None
) -> None:
    """That it was ignored, as it had to be, says nothing of those that should have set the flag."""
    deliver_to_old_code(world)
    with world.checkpoints_of(world.phase).delivery(
        processor=processor, game_date=DAY, event_id="1", status=status
    ) as delivery:
        delivery.ignored("nothing to do")
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.UNDETERMINED, (), Stage.REGISTERED, Stage.FLAGGED),
    )


# What follows the flag


@pytest.mark.parametrize("has_decided", [True, False])
def test_a_gate_refused_behind_the_flag(world: World, *, has_decided: bool) -> None:
    """The delivery that set the flag failed at what starts the next phase, as its line says."""
    starts_the_next_phase(world)
    deliver_to_old_code(world, FIVE[:4])
    deliver_to_old_code(world, LAST)
    change_document(world, _triggered=True, _triggered_at=DONE, _trigger_reason="all_complete")
    with world.checkpoints_of(world.phase).delivery(
        processor=FIVE[4], game_date=DAY, event_id="1"
    ) as delivery:
        if has_decided:
            delivery.post_transaction(should_trigger=True, completed=FIVE, triggered=True)
        delivery.failed(ValueError("data incomplete for 2026-02-09, cannot start"))
    after = Stage.FLAGGED
    stop = (CauseKind.NOT_STARTED, (), after, Stage.STARTED)
    judged(
        world,
        LATE,
        VerdictKind.DOWNSTREAM_MISSING,
        stop,
        words="data incomplete for 2026-02-09, cannot start",
    )


def start(world: World, at: datetime, why: str = "", *, is_set: bool = True) -> None:
    """Let the delivery that completed the set start the next phase, or say why it does not."""
    world.schedule.play(at)
    if is_set:
        change_document(world, _triggered=True, _triggered_at=DONE, _trigger_reason="all_complete")
    with world.checkpoints_of(world.phase).delivery(
        processor=FIVE[4], game_date=DAY, event_id="1"
    ) as delivery:
        delivery.post_transaction(should_trigger=True, completed=FIVE, triggered=is_set)
        delivery.not_started(why) if why else delivery.started(message_id="17")


@pytest.mark.parametrize(
    ("is_set", "kind", "stop"),
    [
        (
            True,
            VerdictKind.DOWNSTREAM_MISSING,
            (CauseKind.NOT_STARTED, (), Stage.FLAGGED, Stage.STARTED),
        ),
        (False, VerdictKind.UNTRIGGERED, (CauseKind.NOT_STARTED, (), Stage.DECIDED, Stage.FLAGGED)),
    ],
)
def test_a_start_that_was_refused_is_known_at_once(
    world: World, *, is_set: bool, kind: VerdictKind, stop: Stop
) -> None:
    """Its line says so long before the output is due, whether or not the flag was set before."""
    starts_the_next_phase(world)
    deliver_to_old_code(world)
    start(world, DONE + MINUTE, "Phase 2 data incomplete", is_set=is_set)
    verdict = judged(world, DONE + 3 * MINUTE, kind, stop, words="Phase 2 data incomplete")
    assert "was not started: Phase 2 data incomplete" in verdict.summary
    assert verdict.impact is Impact.BLOCKED


def test_a_start_that_came_later_is_no_refusal(world: World) -> None:
    """Once it was started it was, whatever is refused before or after."""
    starts_the_next_phase(world)
    deliver_to_old_code(world)
    start(world, DONE + MINUTE, "the gate is closed")
    start(world, DONE + 10 * MINUTE)
    start(world, DONE + 11 * MINUTE, "it is started already")
    (verdict,) = report(world, DONE + 12 * MINUTE).verdicts
    assert (verdict.kind, state_of(verdict, Stage.STARTED)) == (
        VerdictKind.TRIGGERED,
        State.REACHED,
    )
    (late,) = report(world, LATE).verdicts
    assert [(one.kind, one.after, one.until) for one in late.causes] == [
        (CauseKind.UNDETERMINED, Stage.STARTED, Stage.OUTPUT)
    ]


def test_people_hear_of_a_refused_start_until_it_is_started(world: World) -> None:
    """In the next run, and that it is over once a line says so: no query counts any output."""
    world.phase = msgspec.structs.replace(
        world.phase, flag_starts_next_phase=True, outcome_query=None
    )
    deliver_to_old_code(world)
    start(world, DONE + MINUTE, "the gate is closed")
    channel = RecordingChannel()
    channels, phases = Channels(channel), {world.phase.name: world.phase}

    def run_until(end: datetime, now: datetime) -> None:
        while now < end:
            watch(world.stores, phases, channels, now)
            now += timedelta(minutes=15)

    run_until(DONE + 3 * HOUR, DONE + 2 * MINUTE)
    assert [kind for kind, day in channel.told if day == DAY][:1] == [NotificationKind.OPENED]
    assert NotificationKind.RESOLVED not in [kind for kind, day in channel.told if day == DAY]
    start(world, DONE + 3 * HOUR)
    run_until(DONE + 4 * HOUR, DONE + 3 * HOUR + MINUTE)
    assert [kind for kind, day in channel.told if day == DAY][-1:] == [NotificationKind.RESOLVED]


def test_a_refused_start_whose_output_is_there_is_over(world: World) -> None:
    """Output shows that somebody started it by hand, and where no flag does, nobody asks."""
    for starts, has_output in ((True, True), (False, False)):
        starts_the_next_phase(world)
        world.phase = msgspec.structs.replace(world.phase, flag_starts_next_phase=starts)
        deliver_to_old_code(world)
        start(world, DONE + MINUTE, "the gate is closed")
        world.output |= {DAY} if has_output else set()
        (verdict,) = report(world, DONE + 12 * MINUTE).verdicts
        assert verdict.kind is VerdictKind.TRIGGERED
        world.output.clear()


@pytest.mark.parametrize("starts", [True, False])
def test_no_output_and_nobody_says_why(world: World, *, starts: bool) -> None:
    """Behind the flag it is the next phase's affair; where no flag starts it, nothing stopped."""
    starts_the_next_phase(world)
    world.phase = msgspec.structs.replace(world.phase, flag_starts_next_phase=starts)
    deliver_all(world, FIVE)
    stop = (CauseKind.UNDETERMINED, (), Stage.FLAGGED, Stage.OUTPUT) if starts else NOWHERE
    judged(world, LATE, VerdictKind.DOWNSTREAM_MISSING, stop)


PENDING = {
    "_trigger_pending": True,
    "_trigger_pending_at": DONE,
    "_trigger_reason": "critical_plus_majority_80pct",
}


def test_the_start_was_pending_and_the_flag_is_unset(world: World) -> None:
    """The code's own record that it had decided, and that the start did not succeed."""
    deliver_to_old_code(world)
    change_document(world, **PENDING)
    stop = (CauseKind.NOT_STARTED, (), Stage.DECIDED, Stage.FLAGGED)
    words = "`_trigger_pending` was left behind: critical_plus_majority_80pct"
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words=words)


def test_the_start_was_pending_and_the_flag_is_set(world: World) -> None:
    """Then it is the start of the next phase that is missing."""
    starts_the_next_phase(world)
    deliver_to_old_code(world)
    change_document(world, **PENDING, _triggered=True, _triggered_at=DONE)
    stop = (CauseKind.NOT_STARTED, (), Stage.FLAGGED, Stage.STARTED)
    judged(world, LATE, VerdictKind.DOWNSTREAM_MISSING, stop, words="critical_plus_majority_80pct")


def test_what_is_pending_since_a_minute_ago_is_not_refused(world: World) -> None:
    """It may yet be started."""
    deliver_to_old_code(world)
    change_document(world, **{**PENDING, "_trigger_pending_at": LATER - MINUTE})
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        (CauseKind.UNDETERMINED, (), Stage.DECIDED, Stage.FLAGGED),
    )


# What changed


@pytest.mark.parametrize("revisions", [*map("".join, product("AB", repeat=len(FIVE)))])
def test_a_revision_between_the_last_good_line_and_the_first_bad(
    world: World, monkeypatch: pytest.MonkeyPatch, revisions: str
) -> None:
    """It is named beside the cause with both times; one before the last good delivery is not."""
    deliver_to_old_code(world)
    for number, (name, revision) in enumerate(zip(FIVE, revisions, strict=True), 1):
        monkeypatch.setenv("K_REVISION", revision)
        says = {"completed": FIVE[:number], "duplicate": number == len(FIVE)}
        leave_line(world, name, event_id=str(number), says=says)
        world.schedule.play(world.schedule.clock.now + MINUTE)
    (verdict,) = report(world, LATER).verdicts
    assert [cause.kind for cause in verdict.causes] == [CauseKind.SHORT_CIRCUIT]
    found = [one for one in verdict.standing if one.kind is StandingKind.CHANGED_REVISION]
    good, bad = revisions[-2], revisions[-1]
    assert [one.subjects for one in found] == ([(good, bad)] if good != bad else [])
    for one in found:
        said = f"changed before: the revision, from {good} to {bad} (last good 2026-02-10 "
        assert said in standing_text(one, "Phase 2")


@pytest.mark.parametrize(
    ("lists", "is_changed"), [((5, 5, 5, 5, 6), True), ((5, 6, 6, 6, 6), True), ((6,) * 5, False)]
)
def test_the_list_changed_before_it_stopped(
    world: World, lists: Sequence[int], *, is_changed: bool
) -> None:
    """The hash in each line shows a changed list, though the date looks healthy until the fifth."""
    six = (*FIVE, "p2_bdl_box_scores")
    deliver_to_old_code(world)
    for number, (name, count) in enumerate(zip(FIVE, lists, strict=True), 1):
        leave_line(
            world,
            name,
            event_id=str(number),
            says={"completed": FIVE[:number], "expected": six[:count]},
        )
        world.schedule.play(world.schedule.clock.now + MINUTE)
    (verdict,) = report(world, LATER).verdicts
    assert [cause.kind for cause in verdict.causes] == [CauseKind.EXPECTATION_DRIFT]
    found = [
        standing_text(one, "Phase 2")
        for one in verdict.standing
        if one.kind is StandingKind.CHANGED_LIST
    ]
    assert [text.partition(" (")[0] for text in found] == [
        "changed before: the list that it waits for"
    ] * is_changed


# Names and runs


@pytest.mark.parametrize("before", [0, 1])
def test_name_drift(world: World, before: int) -> None:
    """A renamed class that reports for the missing processor is a cause, else it is a hint."""
    healthy_before(world, before)
    deliver_all(world, [p for p in FIVE if p != "p2_nbacom_boxscores"])
    deliver_all(world, ["NbacPlayerBoxscoresProcessor"])
    boxscores = ("p2_nbacom_boxscores",)
    stop = (
        (CauseKind.NAME_DRIFT, boxscores, Stage.DELIVERED, Stage.ACCEPTED)
        if before
        else (CauseKind.UNDETERMINED, boxscores, None, Stage.REGISTERED)
    )
    hint = Standing(StandingKind.RESEMBLES, ("NbacPlayerBoxscoresProcessor", *boxscores))
    words = "NbacPlayerBoxscoresProcessor is not expected, and resembles it" if before else ""
    judged(world, LATE, VerdictKind.INCOMPLETE, stop, words=words, beside=[] if before else [hint])


@pytest.mark.parametrize("both_on", [1, 2], ids=["the date before", "a date before that"])
def test_two_that_report_on_one_date_are_no_rename(world: World, both_on: int) -> None:
    """A similar name that was there beside the missing one is a hint, and proves nothing."""
    healthy_before(world, 3)
    deliver_all(world, ["OddsPlayerPointsProcessor"], DAY - both_on * ONE_DAY)
    props = ("p2_odds_player_props",)
    deliver_all(world, [p for p in FIVE if p not in props])
    deliver_all(world, ["OddsPlayerPointsProcessor"])
    stop = (CauseKind.UNDETERMINED, props, None, Stage.DELIVERED)
    hint = Standing(StandingKind.RESEMBLES, ("OddsPlayerPointsProcessor", *props))
    judged(world, LATE, VerdictKind.INCOMPLETE, stop, beside=[hint])


def test_a_name_that_the_orchestrator_does_not_know(world: World) -> None:
    """Where only the phases file was corrected, the orchestrator has it among the unexpected."""
    without = dict.fromkeys(FIVE, ())
    old = world.orchestrator_of(msgspec.structs.replace(world.phase, processors=without)).deliver
    deliver_all(world, [*FIVE[:4], world.phase.processors[FIVE[4]][0]], to=old)
    stop = (CauseKind.NAME_DRIFT, LAST, Stage.DELIVERED, Stage.ACCEPTED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words="taken for unexpected, by its name")


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("failed", CauseKind.PROCESSOR_FAILED),
        ("no_data", CauseKind.NO_DATA),
        ("skipped", CauseKind.NO_DATA),
    ],
)
@pytest.mark.parametrize("requests", ["absent", "unreadable"])
def test_the_processor_says_it_itself(
    world: World, status: str, cause: CauseKind, requests: str
) -> None:
    """The missing one reported that it has nothing to give, whether or not requests can be read."""
    if requests == "unreadable":
        world.requests = Requests(world)
        world.outages.append(Outage("requests", DONE, LATE + MINUTE))
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, status=status)
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (cause, LAST, None, Stage.RAN),
        words=f"reported {status}",
    )


@pytest.mark.parametrize("dates", [1, 2, 5])
def test_stopped_alike_since(world: World, dates: int) -> None:
    """Nothing of the fifth on these dates, while its peers have completed."""
    for back in range(6, -1, -1):
        deliver_all(world, FIVE if back >= dates else FIVE[:4], DAY - back * ONE_DAY)
    verdict = judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.DELIVERED)
    )
    assert verdict.causes[0].since == (DAY - (dates - 1) * ONE_DAY if dates > 1 else None)


# Who has run

RAN = datetime(2026, 2, 10, 6, 10, tzinfo=UTC)
SUCCESS = "ran 06:10 to 06:14Z, success"
FIFTH, OTHER = FIVE[4], "p1_schedule_scraper"


def run(
    name: str = FIFTH,
    status: str | None = "success",
    *,
    day: date = DAY,
    after: int = 0,
    lasted: int | None = 4,
) -> ProcessorRun:
    """Return a run on the night after `day`, so many minutes later than usual, ended or not."""
    began = RAN + (day - DAY) + after * MINUTE
    ended = None if lasted is None else began + lasted * MINUTE
    return ProcessorRun(
        processor=name, game_date=day, started_at=began, finished_at=ended, status=status
    )


def with_runs(world: World, *runs: ProcessorRun, come: Sequence[str] = FIVE[:4]) -> None:
    """Let some `come`, and these `runs` be known, with everybody's on the three dates before."""
    healthy_before(world)
    deliver_all(world, come)
    log_messages(world, come)
    ask_for_runs(world)
    days = [DAY - back * ONE_DAY for back in (1, 2, 3)]
    world.runs += [run(name, day=day) for day in days for name in (*FIVE, OTHER)]
    world.runs += [*(run(name) for name in come), *runs]


def ask_for_runs(world: World) -> None:
    world.phase = msgspec.structs.replace(world.phase, runs_query="SELECT @since, @until")


RAN_AND_NOTHING: Stop = (CauseKind.UNDETERMINED, LAST, Stage.RAN, Stage.PUBLISHED)


@with_message_log
def test_it_has_not_run(world: World) -> None:
    """A processor whose runs are known for earlier dates is late, and its last date is named."""
    not_run: Stop = (CauseKind.NOT_RUN, LAST, None, Stage.RAN)
    with_runs(world)
    world.runs = [
        one for one in world.runs if one.processor != FIFTH or one.game_date < DAY - ONE_DAY
    ]
    verdict = judged(
        world, LATE, VerdictKind.INCOMPLETE, not_run, words="has not run since 2026-02-07"
    )
    assert state_of(verdict, Stage.RAN, FIFTH) is State.MISSED
    assert "run 4 of 5" in path_text(verdict)
    assert "a processor has not run" in alert([verdict], world.phase, CommandLine(), LATE).headline


@with_message_log
@pytest.mark.parametrize(
    ("runs", "dropped"),
    [
        ([], {FIFTH}),
        ([run("p2_a_new_name")], set()),
        ([run(day=DAY + ONE_DAY, after=-24 * 60)], set()),
        ([run(day=DAY - ONE_DAY, after=24 * 60)], set()),
        ([ProcessorRun(processor=FIFTH, game_date=DAY)], set()),
        ([], {FIVE[0]}),
    ],
    ids=[
        "never seen",
        "a strange name",
        "for the next date",
        "for the date before",
        "planned",
        "runs are lost",
    ],
)
def test_that_it_has_not_run_does_not_count(
    world: World, runs: list[ProcessorRun], dropped: set[str]
) -> None:
    """It is no cause where it never ran, may have another name or date, or others lack runs."""
    nothing_published: Stop = (CauseKind.UNDETERMINED, LAST, None, Stage.PUBLISHED)
    with_runs(world)
    world.runs = [one for one in world.runs if one.processor not in dropped] + runs
    judged(world, LATE, VerdictKind.INCOMPLETE, nothing_published)


def test_a_table_that_may_be_written_no_longer_names_no_cause(world: World) -> None:
    """Where nobody has run since, the cause is unknown; any run shows that the table is written."""
    healthy_before(world)
    ask_for_runs(world)
    world.runs += [run(name, day=DAY - ONE_DAY) for name in (*FIVE, OTHER)]
    (verdict,) = report(world, LATE).verdicts
    assert [(one.kind, one.until, one.words) for one in verdict.causes] == [
        (CauseKind.UNDETERMINED, Stage.RAN, "has not run since 2026-02-08")
    ]
    world.runs.append(run(OTHER))
    (verdict,) = report(world, LATE).verdicts
    assert [(one.kind, one.subjects) for one in verdict.causes] == [(CauseKind.NOT_RUN, FIVE)]


def test_those_that_have_not_run_are_told_apart_by_since_when(world: World) -> None:
    """What is said of one is not said of the others."""
    with_runs(world, come=FIVE[:2])
    world.runs = [
        one for one in world.runs if one.processor != FIVE[2] or one.game_date < DAY - ONE_DAY
    ]
    (verdict,) = report(world, LATE).verdicts
    assert [(one.kind, one.subjects, one.words) for one in verdict.causes] == [
        (CauseKind.NOT_RUN, FIVE[2:3], "has not run since 2026-02-07"),
        (CauseKind.NOT_RUN, FIVE[3:], "has not run since 2026-02-08"),
    ]


def test_it_is_not_late_yet(world: World) -> None:
    """Before its deadline it may still run."""
    with_runs(world)
    (verdict,) = report(world, LATER).verdicts
    assert verdict.causes == ()


@with_message_log
def test_it_ran_and_published_nothing(world: World) -> None:
    """Its run succeeded, and neither the message log nor a line has its message."""
    with_runs(world, run(world.phase.processors[FIFTH][0]))
    words = f"{SUCCESS}, and the message log has nothing of it"
    stop = (CauseKind.NOT_PUBLISHED, LAST, Stage.RAN, Stage.PUBLISHED)
    verdict = judged(world, LATE, VerdictKind.INCOMPLETE, stop, words=words)
    assert state_of(verdict, Stage.RAN, FIFTH) is State.REACHED


@with_message_log
@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([run(status=None, lasted=None)], "ran from 06:10Z, and nothing says that it ended"),
        ([run(status="running", lasted=None)], "ran from 06:10Z, running"),
        ([run(after=10 * 60 + 46)], "ran 16:56 to 17:00Z, success"),
        (
            [run(status="failed"), run(status="running", after=30, lasted=None)],
            "ran from 06:40Z, running",
        ),
    ],
    ids=["no word", "running", "just now", "again"],
)
def test_a_run_that_has_not_ended_names_no_cause(
    world: World, runs: list[ProcessorRun], words: str
) -> None:
    """Or has ended just now: it has run, and why there is no message, nobody says."""
    with_runs(world, *runs)
    judged(world, LATE, VerdictKind.INCOMPLETE, RAN_AND_NOTHING, words=words)


@with_message_log
def test_a_message_under_the_next_date_may_be_its(world: World) -> None:
    """So it is not said that it published nothing."""
    with_runs(world, run())
    log_messages(world, LAST, DAY + ONE_DAY, RAN + 4 * MINUTE)
    judged(world, LATE, VerdictKind.INCOMPLETE, RAN_AND_NOTHING)


def test_without_a_message_log_it_has_run_and_no_more_is_known(world: World) -> None:
    """It stopped after RAN; that no delivery left a line is no word of why."""
    with_runs(world, run())
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.UNDETERMINED, LAST, Stage.RAN, Stage.DELIVERED),
    )


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [
        (["failed"], CauseKind.PROCESSOR_FAILED),
        (["no_data"], CauseKind.NO_DATA),
        (["failed", "no_data"], CauseKind.NO_DATA),
        (["FAILED"], CauseKind.PROCESSOR_FAILED),
    ],
)
def test_its_last_run_says_that_it_has_nothing(
    world: World, statuses: list[str], cause: CauseKind
) -> None:
    """In the word of the table."""
    with_runs(
        world, *(run(status=status, after=10 * number) for number, status in enumerate(statuses))
    )
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (cause, LAST, None, Stage.RAN),
        words=f"Z, {statuses[-1]}",
    )


@pytest.mark.parametrize("statuses", [["failed", "success"], ["success", "failed"]])
def test_a_run_that_succeeded_says_more_than_one_that_failed(
    world: World, statuses: list[str]
) -> None:
    """Before it or after it."""
    with_runs(
        world, *(run(status=status, after=10 * number) for number, status in enumerate(statuses))
    )
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.UNDETERMINED, LAST, Stage.RAN, Stage.DELIVERED),
    )


def test_its_own_report_says_more_than_its_run(world: World) -> None:
    """A run may end well, and have nothing to give."""
    with_runs(world, run())
    deliver(world, message(FIFTH, status="no_data"))
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.NO_DATA, LAST, None, Stage.RAN),
        words="reported no_data",
    )


def test_a_completion_says_more_than_a_run(world: World) -> None:
    """A rejected message was published, whatever the run of its processor says."""
    with_runs(world, run(status="failed"), run(OTHER, "failed"))
    deliver(world, message(FIFTH, status="finished"))
    stop = (CauseKind.MESSAGE_REJECTED, LAST, Stage.DELIVERED, Stage.ACCEPTED)
    judged(world, LATE, VerdictKind.INCOMPLETE, stop)


def test_runs_that_cannot_be_read(world: World) -> None:
    """Nothing is claimed, and it is said; without a query nothing is said either."""
    with_runs(world)
    world.outages.append(Outage("runs", DONE, LATE + MINUTE))
    stop = (CauseKind.UNDETERMINED, LAST, None, Stage.DELIVERED)
    verdict = judged(world, LATE, VerdictKind.INCOMPLETE, stop)
    assert verdict.notes == ("explained without the runs: BigQuery: DeadlineExceeded: 504",)
    world.phase = msgspec.structs.replace(world.phase, runs_query=None)
    assert judged(world, LATE, VerdictKind.INCOMPLETE, stop).notes == ()


# What was published, and whether it was delivered


@with_message_log
@pytest.mark.parametrize("logged", [True, False])
def test_nothing_was_delivered(
    world: World, requested: Callable[..., None], *, logged: bool
) -> None:
    """Only the message log has them: the function was not started, or died as it started."""
    healthy_before(world)
    log_messages(world, FIVE)
    if logged:
        requested(before=True)
    cause = CauseKind.NOT_DELIVERED if logged else CauseKind.UNDETERMINED
    stop = (cause, FIVE, Stage.PUBLISHED, Stage.DELIVERED)
    judged(
        world,
        LATER,
        VerdictKind.UNTRIGGERED,
        stop,
        words="no delivery has left a line, and others have",
    )


@pytest.mark.parametrize(
    "world", [None, MESSAGE_TABLE], indirect=True, ids=["no message log", "a message log"]
)
def test_code_of_which_nothing_is_known_may_just_leave_nothing(world: World) -> None:
    """Without lines on any date a missing line proves nothing; a row is a sign of a delivery."""
    log_messages(world, FIVE)
    after = Stage.PUBLISHED if world.has_message_log else Stage.ACCEPTED
    judged(world, LATER, VerdictKind.UNTRIGGERED, (CauseKind.UNDETERMINED, FIVE, after, None))


@with_message_log
def test_some_were_not_delivered(world: World) -> None:
    """Three messages of five came, among them one that was published after those that did not."""
    world.requests = Requests(world)
    healthy_before(world)
    deliver_all(world, FIVE[:2])
    log_messages(world, FIVE[2:4])
    deliver(world, message(FIVE[4]), DONE + MINUTE)
    stop = (CauseKind.NOT_DELIVERED, FIVE[2:4], Stage.PUBLISHED, Stage.DELIVERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


@with_message_log
def test_the_backlog_is_delivered(world: World) -> None:
    """Deliveries that begin at last: those that have not come are still those that stopped."""
    world.requests = Requests(world)
    healthy_before(world)
    log_messages(world, FIVE)
    at = DONE + 40 * MINUTE
    deliver(world, message(FIVE[0]), at)
    stop = (CauseKind.NOT_DELIVERED, FIVE[1:], Stage.PUBLISHED, Stage.DELIVERED)
    judged(world, at + MINUTE, VerdictKind.UNTRIGGERED, stop)


@with_message_log
def test_not_delivered_after_a_failure_was_delivered(world: World) -> None:
    """The processor failed, which was delivered; that it succeeded later was not."""
    world.requests = Requests(world)
    healthy_before(world)
    early = DONE - HOUR
    deliver(world, message(FIVE[3], early, status="failed", message_id="a failure"), early)
    deliver_all(world, FIVE[:3])
    log_messages(world, FIVE[3:4])
    deliver(world, message(FIVE[4]), DONE + MINUTE)
    stop = (CauseKind.NOT_DELIVERED, FIVE[3:4], Stage.PUBLISHED, Stage.DELIVERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


@with_message_log
def test_what_leaves_no_lines_any_more_proves_nothing(world: World) -> None:
    """The lines were switched off: those that got through have none either."""
    healthy_before(world)
    stores, clock = world.stores, world.schedule.clock
    quiet = CheckpointLogger(world.phase, stores.checkpoints, enabled=False, clock=clock)
    orchestrator = Orchestrator(
        world.phase, stores.documents, stores.completion_log, quiet, clock, beside=AtOnce
    )
    deliver_all(world, FIVE[:4], to=orchestrator.deliver)
    log_messages(world, FIVE)
    stop = (CauseKind.UNDETERMINED, LAST, Stage.PUBLISHED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


@with_message_log
def test_a_line_that_names_nobody_beside_two_that_are_published(world: World) -> None:
    """It may be of either: of neither it is said that nothing was delivered."""
    healthy_before(world)
    deliver_all(world, FIVE[:3])
    log_messages(world, FIVE)
    deliver(world, message(FIVE[4], processor_name=7))
    stop = (CauseKind.UNDETERMINED, FIVE[3:], Stage.PUBLISHED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


@with_message_log
def test_a_message_that_names_nobody_beside_two_that_are_published(world: World) -> None:
    """The log has it without a name or a date: that it is not of this one, nobody can say."""
    healthy_before(world)
    log_messages(world, FIVE)
    deliver_all(world, FIVE[:3])
    world.message_log(DONE, message(FIVE[4]), {}, unreadable=True)
    stop = (CauseKind.UNDETERMINED, FIVE[3:], Stage.PUBLISHED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)
    deliver(world, message(FIVE[3]))
    deliver_all(world, LAST, fault=refused_at_the_flag())
    refused = (CauseKind.WRITE_FAILED, (), Stage.REGISTERED, Stage.DECIDED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, refused)


@with_message_log
def test_what_was_published_under_the_next_date(world: World) -> None:
    """One of five has a wrong date in its message; for its own date it was not published."""
    healthy_before(world)
    deliver_all(world, FIVE[:4])
    log_messages(world, FIVE[:4])
    deliver(world, message(FIVE[4], DONE, DAY + ONE_DAY))
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.PUBLISHED)
    )


@pytest.mark.parametrize(
    ("kept", "cause", "until"),
    [
        ("requests", CauseKind.NOT_DELIVERED, Stage.DELIVERED),
        ("lines", CauseKind.UNDETERMINED, Stage.DELIVERED),
        ("nothing", CauseKind.UNDETERMINED, Stage.REGISTERED),
    ],
)
def test_a_message_lies_in_the_dead_letters(
    world: World, kept: str, cause: CauseKind, until: Stage
) -> None:
    """A dead letter says that its date's message was given up, and nothing of another date."""
    world.requests = Requests(world) if kept == "requests" else None
    if kept != "nothing":
        healthy_before(world)
    (deliver_to_old_code if kept == "nothing" else deliver_all)(world, FIVE[:3])
    world.dead_letters = Letters(
        [DeadLetter(FIVE[3], DAY, DONE), DeadLetter(FIVE[4], DAY - ONE_DAY, DONE)]
    )
    given_up = (cause, FIVE[3:4], Stage.PUBLISHED, until)
    unknown = (CauseKind.UNDETERMINED, LAST, None, until)
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        given_up,
        unknown,
        words="Pub/Sub has given up delivering it",
    )


def test_a_dead_letter_that_was_sent_again(world: World) -> None:
    """What has been registered since is not missing."""
    deliver_all(world, FIVE)
    world.dead_letters = Letters([DeadLetter(FIVE[3], DAY, DONE)])
    judged(world, LATE, VerdictKind.TRIGGERED)


@dataclass
class Letters:
    """What could not be delivered to the orchestrator of phase2."""

    found: list[DeadLetter]
    phase: str = "phase2"

    def read(self) -> list[DeadLetter]:
        """Return all of it."""
        return self.found


# What was rejected


@pytest.mark.parametrize(
    "world", [None, MESSAGE_TABLE], indirect=True, ids=["no message log", "a message log"]
)
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (
            {"status": "finished"},
            "status: 'finished' is none of success, partial, no_data, failed, skipped",
        ),
        ({"phase": "phase_3_raw"}, "phase: expected 'phase_2_raw', got 'phase_3_raw'"),
        ({"phase": "phase_2"}, "phase: expected 'phase_2_raw', got 'phase_2'"),
        *(
            ({"game_date": odd}, "game_date: ")
            for odd in (None, "03/10/2026", "9 Feb", 20260209, ["2026-02-09"])
        ),
    ],
)
def test_message_rejected(world: World, odd: dict[str, Any], words: str) -> None:
    """It was acknowledged: its line says whose it was and what is wrong.

    One without a date is of the only date that lacks its processor, and whose messages come then.
    """
    healthy_before(world, 1)
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], **odd))
    if world.has_message_log:
        log_messages(world, LAST)
    kind = VerdictKind.UNTRIGGERED if world.has_message_log else VerdictKind.INCOMPLETE
    judged(
        world,
        LATE,
        kind,
        (CauseKind.MESSAGE_REJECTED, LAST, Stage.DELIVERED, Stage.ACCEPTED),
        words=words,
    )


def test_who_is_rejected_is_not_silent(world: World) -> None:
    """A warning says that a processor's messages are rejected on one date after the other."""
    for back in (2, 1, 0):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
        deliver_all(world, LAST, DAY - back * ONE_DAY, phase="phase_2")
    (warning,) = report(world, LATE).warnings
    assert warning.startswith(
        f"phase2: {FIVE[4]} has completed nothing since 2026-02-07: its messages are rejected"
    )


def test_a_rejection_that_may_be_of_another_date(world: World) -> None:
    """Two dates lack its processor: neither may name it."""
    deliver_all(world, FIVE[:4], DAY - ONE_DAY)
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], game_date=None))
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    )


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("PlayerGameSummaryProcessor", {"phase": "phase_3_analytics"}),
        (FIVE[4], {"processor_name": 7}),
    ],
)
def test_a_rejection_that_is_not_of_the_missing_one(
    world: World, name: str, odd: dict[str, Any]
) -> None:
    """A rejection of a processor that is not expected, or without a name, proves nothing."""
    deliver_all(world, FIVE[:4])
    deliver(world, message(name, **odd))
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    )


# What the platform says of the requests


@pytest.fixture
def requested(world: World) -> Callable[..., None]:
    """Let the platform have answered requests with these statuses, a minute apart from DONE on.

    With `before` one more was answered the week before.
    """

    def answered(*statuses: int, before: bool = False) -> None:
        seen = [Request(DONE - 7 * ONE_DAY, 204)] if before else []
        world.requests = Requests(
            world, [*seen, *(Request(DONE + n * MINUTE, one) for n, one in enumerate(statuses))]
        )

    return answered


THREE = "for all 3 requests from 2026-02-10 06:42:00Z to 2026-02-10 06:44:00Z"


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_the_platform_turns_requests_away(
    world: World, requested: Callable[..., None], status: int
) -> None:
    """Without a message log and without a line it is proven that the function is not invoked."""
    deliver_to_old_code(world, FIVE[:4])
    requested(204, status, status, status)
    stop = (CauseKind.NOT_DELIVERED, LAST, None, Stage.DELIVERED)
    judged(world, LATE, VerdictKind.INCOMPLETE, stop, words=f"HTTP {status} {THREE}")


def test_one_request_is_not_several(world: World, requested: Callable[..., None]) -> None:
    """And it came at one time."""
    deliver_to_old_code(world, FIVE[:4])
    requested(204, 403)
    stop = (CauseKind.NOT_DELIVERED, LAST, None, Stage.DELIVERED)
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        stop,
        words="HTTP 403 for the one request at 2026-02-10 06:42:00Z",
    )


@pytest.mark.parametrize("before", [True, False])
def test_the_platform_turns_every_request_away(
    world: World, requested: Callable[..., None], *, before: bool
) -> None:
    """Nothing arrived although there was work, and a log without a 2xx may lack requests."""
    requested(403, 403, 403, before=before)
    world.phase = msgspec.structs.replace(world.phase, work_query=WORK_QUERY)
    world.work[DAY] = 7
    there = (CauseKind.NOT_DELIVERED, FIVE, None, Stage.DELIVERED)
    judged(
        world,
        LATE,
        VerdictKind.SILENT,
        there if before else (CauseKind.UNDETERMINED, FIVE, None, None),
    )


def test_requests_that_came_through_in_the_end(
    world: World, requested: Callable[..., None]
) -> None:
    """What was turned away for a while came again."""
    deliver_all(world, FIVE[:4])
    requested(403, 403, 204)
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    )


@pytest.mark.parametrize("status", [403, 503])
def test_passing_refusals_in_a_log_without_what_went_well(
    world: World, requested: Callable[..., None], status: int
) -> None:
    """Many people exclude the 2xx; what has been registered since was delivered."""
    for number, name in enumerate(FIVE[:4]):
        at = DONE + (3 + number) * MINUTE
        deliver(world, message(name, at), at)
    requested(status, status, before=True)
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    )


@with_message_log
@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ((204, 429, 429, 204), "2 of 4 requests from 2026-02-10 06:42:00Z to 2026-02-10 06:43:00Z"),
        ((204, 429, 204), "1 of 3 requests at 2026-02-10 06:42:00Z"),
    ],
)
def test_refusals_of_nobody_support_what_is_missed(
    world: World, requested: Callable[..., None], statuses: tuple[int, ...], words: str
) -> None:
    """Requests that were turned away and the one message without a line are reported together."""
    healthy_before(world)
    log_messages(world, FIVE)
    deliver_all(world, FIVE[:3])
    deliver(world, message(FIVE[3]), DONE + 3 * MINUTE)
    requested(*statuses, before=True)
    stop = (CauseKind.NOT_DELIVERED, LAST, Stage.PUBLISHED, Stage.DELIVERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words=f"HTTP 429 for {words}")


@with_message_log
@pytest.mark.parametrize("before", [True, False])
def test_no_request_has_come(world: World, requested: Callable[..., None], *, before: bool) -> None:
    """An empty log is no absence of requests, unless it has shown one."""
    deliver_to_old_code(world, FIVE[:4])
    log_messages(world, LAST, at=DONE + MINUTE)
    requested(before=before)
    lost = (CauseKind.NOT_DELIVERED, LAST, Stage.PUBLISHED, Stage.DELIVERED)
    unknown = (CauseKind.UNDETERMINED, LAST, Stage.PUBLISHED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, lost if before else unknown)


@with_message_log
def test_one_of_the_published_dies_as_the_function_starts(
    world: World, requested: Callable[..., None]
) -> None:
    """Each request since its message came has ended in an error, and it has left no line."""
    healthy_before(world)
    deliver_all(world, FIVE[:4])
    log_messages(world, LAST, at=DONE + MINUTE)
    requested(204, 500, 503, 500)
    stop = (CauseKind.CRASHED, LAST, Stage.PUBLISHED, Stage.DELIVERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop, words=f"HTTP 500, 503 {THREE}")


@pytest.mark.parametrize("lines", [True, False])
def test_every_request_fails(world: World, requested: Callable[..., None], *, lines: bool) -> None:
    """Where lines are collected and missing, it dies as it starts; else it may die anywhere."""
    if lines:
        healthy_before(world)
    requested(503, 503, 503, before=True)
    world.phase = msgspec.structs.replace(world.phase, work_query=WORK_QUERY)
    world.work |= {DAY - back * ONE_DAY: 7 for back in range(4)}
    stop = (
        (CauseKind.CRASHED, FIVE, None, Stage.DELIVERED)
        if lines
        else (CauseKind.UNDETERMINED, FIVE, None, None)
    )
    words = "HTTP 503 for all 3 requests from 2026-02-10 06:41:00Z to 2026-02-10 06:43:00Z"
    verdict = judged(world, LATE, VerdictKind.SILENT, stop, words=words)
    assert lines or "no line says how far they came" in verdict.causes[0].words


@pytest.mark.parametrize("is_readable", [True, False])
def test_why_every_request_fails(
    world: World, requested: Callable[..., None], *, is_readable: bool
) -> None:
    """The service's own words say why; that they cannot be read is said once."""
    healthy_before(world)
    requested(503, 503, 503, before=True)
    world.phase = msgspec.structs.replace(world.phase, work_query=WORK_QUERY)
    world.work |= {DAY - back * ONE_DAY: 7 for back in range(4)}
    world.service_errors = Errors(
        [ServiceError(DONE + 2 * MINUTE, "OSError: read-only")], is_readable=is_readable
    )
    verdict = judged(
        world, LATE, VerdictKind.SILENT, (CauseKind.CRASHED, FIVE, None, Stage.DELIVERED)
    )
    assert verdict.causes[0].words.endswith(": OSError: read-only" if is_readable else "06:43:00Z")
    said = [note for note in verdict.notes if note.startswith("explained without")]
    assert said == (
        []
        if is_readable
        else ["explained without the service's errors: Cloud Logging: PermissionDenied"]
    )


@dataclass
class Errors:
    """What the service of phase2 wrote of its errors."""

    found: list[ServiceError]
    is_readable: bool
    phase: str = "phase2"

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        """Return those of this time."""
        if not self.is_readable:
            raise StoreError("Cloud Logging: PermissionDenied")
        return ServiceErrors([error for error in self.found if since <= error.at < until])


# Where not enough is known


def test_what_cannot_be_read_widens_the_interval(world: World) -> None:
    """With the lines unreadable nothing that rests on them is named."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, LAST, fault=dies_at("update_if_unchanged"))
    world.outages.append(Outage("checkpoints", DONE, LATE))
    stop = (CauseKind.UNDETERMINED, LAST, Stage.ACCEPTED, Stage.REGISTERED)
    judged(world, LATER, VerdictKind.UNTRIGGERED, stop)


def test_one_that_has_left_nothing(world: World) -> None:
    """It did not run, did not publish, or was not delivered, as far as the lines can show."""
    deliver_all(world, FIVE[:4])
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.REGISTERED)
    )
    healthy_before(world)
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.DELIVERED)
    )


def test_of_quiet_dates_nothing_more_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are read only for dates with a problem."""
    deliver_all(world, FIVE)
    monkeypatch.setattr(world.stores.checkpoints, "read", None)
    verdict = judged(world, LATER, VerdictKind.TRIGGERED)
    assert verdict.path == ()


# Early warnings


def test_early_warnings(world: World) -> None:
    """A new unexpected processor and one that has been silent on three dates are warned of."""
    for back in range(3):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
    deliver_all(world, ["weather", "NbacPlayerBoxscoresProcessor"])
    at_night = f"phase2: {FIVE[4]} has reported nothing"
    # the date is not over
    assert not any(warning.startswith(at_night) for warning in report(world, DONE).warnings)
    assert report(world, LATE).warnings == (
        (
            "phase2: not expected, since 2026-02-09: NbacPlayerBoxscoresProcessor (resembles "
            "p2_nbacom_boxscores), weather"
        ),
        f"phase2: {FIVE[4]} has reported nothing since 2026-02-07, while its peers have",
    )


def test_dates_without_work_are_no_silence(world: World) -> None:
    """Dates on which processors had nothing to do do not count as their silence."""
    deliver_all(world, FIVE, DAY - 3 * ONE_DAY)
    for back in (2, 1):
        deliver_all(world, FIVE[:2], DAY - back * ONE_DAY, status="no_data")
    deliver_all(world, FIVE[:4])
    assert report(world, LATE).warnings == ()
    judged(
        world, LATE, VerdictKind.INCOMPLETE, (CauseKind.UNDETERMINED, LAST, None, Stage.DELIVERED)
    )


def test_a_registration_is_no_silence(world: World) -> None:
    """Rows that BigQuery refused were still heard of: the document has them."""
    for back in (2, 1):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
        deliver_all(world, LAST, DAY - back * ONE_DAY, fault=refused_at("append"))
    deliver_all(world, FIVE[:4])
    assert report(world, LATE).warnings == ()
    before = world.check(DAY - 2 * ONE_DAY, DAY - ONE_DAY).verdicts
    assert [verdict.kind for verdict in before] == [VerdictKind.STORES_DISAGREE] * 2


def test_healthy_dates_have_no_warnings(world: World) -> None:
    """Nothing is warned of, a day without games in between included."""
    for back in range(4):
        status = "no_data" if back == 1 else "success"
        deliver_all(world, FIVE, DAY - back * ONE_DAY, status=status)
    assert report(world, LATER).warnings == ()


# What was judged wrong in other people's hands


def deliver_to_their_code(world: World, names: Sequence[str] = FIVE, **fields: Any) -> None:
    """Let code of theirs register them, note `fields` with the last one, and leave its lines."""
    for number, name in enumerate(names, 1 - len(names)):
        world.schedule.play(DONE + number * MINUTE)
        entry = {"completed_at": DONE + number * MINUTE, "status": "success"}
        is_last = name == names[-1]
        change_document(world, **{name: entry}, **(fields if is_last else {}))
        says = {
            "completed": names[: names.index(name) + 1],
            "should_trigger": is_last,
            "triggered": is_last,
        }
        leave_line(world, name, event_id=name, says=says if "_triggered" in fields else None)
    log_messages(world, names)


def fail(world: World, name: str, words: str) -> None:
    """Leave the lines of a delivery by code of theirs that fails with these words."""
    delivery = world.checkpoints_of(world.phase).delivery(
        processor=name, game_date=DAY, event_id=words
    )
    with pytest.raises(ValueError, match=words), delivery:
        raise ValueError(words)


SET: dict[str, Any] = {"_triggered": True, "_triggered_at": DONE, "_trigger_reason": "all_complete"}


def test_a_failed_rerun_is_not_why_the_next_phase_did_not_start(world: World) -> None:
    """Old code does not say which delivery set the flag; the lines of the one that did say so."""
    starts_the_next_phase(world)
    deliver_to_their_code(world, **SET)
    fail(world, FIVE[1], "another failure")
    stop = (CauseKind.UNDETERMINED, (), Stage.FLAGGED, Stage.OUTPUT)
    judged(world, DONE + 90 * MINUTE, VerdictKind.DOWNSTREAM_MISSING, stop)


def test_dates_with_their_output_did_not_stop_alike(world: World) -> None:
    """That a flag was set as well is no stop."""
    starts_the_next_phase(world)
    healthy_before(world)
    for back in range(1, 4):
        world.work[DAY - back * ONE_DAY] = 7
        world.output.add(DAY - back * ONE_DAY)
    deliver_to_their_code(world, **SET)
    stop = (CauseKind.UNDETERMINED, (), Stage.FLAGGED, Stage.OUTPUT)
    verdict = judged(world, DONE + 90 * MINUTE, VerdictKind.DOWNSTREAM_MISSING, stop)
    assert verdict.causes[0].since is None


def test_what_the_code_says_of_its_success_is_shown(world: World) -> None:
    """It proves nothing, and is no stage of which nothing is known."""
    starts_the_next_phase(world)
    deliver_to_their_code(world, **SET, _trigger_pending=True, _trigger_succeeded=True)
    stop = (CauseKind.UNDETERMINED, (), Stage.FLAGGED, Stage.OUTPUT)
    verdict = judged(world, DONE + 90 * MINUTE, VerdictKind.DOWNSTREAM_MISSING, stop)
    assert "next phase started: not known, the code says that it succeeded" in path_text(verdict)
    assert verdict.causes[0].between == ()


@pytest.mark.parametrize("seconds", [0, 2])
def test_the_words_of_the_gate_count_before_what_was_left_behind(
    world: World, seconds: int
) -> None:
    """Whichever of the two was noted later."""
    starts_the_next_phase(world)
    pending = {
        "_trigger_pending": True,
        "_trigger_pending_at": DONE,
        "_trigger_reason": "all_complete",
    }
    deliver_to_their_code(world, FIVE[:4])
    world.schedule.play(DONE)
    change_document(world, **{FIVE[4]: {"completed_at": DONE, "status": "success"}}, **pending)
    world.schedule.play(DONE + timedelta(seconds=seconds))
    fail(world, FIVE[4], "coverage 40% below gate")
    stop = (CauseKind.NOT_STARTED, (), Stage.DECIDED, Stage.FLAGGED)
    judged(world, DONE + 2 * HOUR, VerdictKind.UNTRIGGERED, stop, words="coverage 40% below gate")


def test_pending_is_known_from_its_time_on(world: World) -> None:
    """Judged as of an earlier time, nobody had decided yet."""
    deliver_to_their_code(world, _trigger_pending=True, _trigger_pending_at=DONE + 90 * MINUTE)
    then, now = DONE + 40 * MINUTE, DONE + 3 * HOUR
    days = {world.phase.name: [DAY]}
    (verdict,) = check_dates(
        world.stores, {world.phase.name: world.phase}, then, days, now
    ).verdicts
    assert state_of(verdict, Stage.DECIDED) is not State.REACHED


def test_a_majority_that_is_registered_has_a_decision(world: World) -> None:
    """A fifth that is in the log alone does not hide why the flag is unset."""
    world.phase = msgspec.structs.replace(world.phase, enough=3)
    for name in FIVE[:4]:
        change_document(world, **{name: {"completed_at": DONE, "status": "success"}})
    leave_line(world, FIVE[3], says={"completed": FIVE[:4], "duplicate": True})
    log_messages(world, FIVE)
    verdict = report(world, DONE + 2 * HOUR).verdicts[0]
    assert (CauseKind.SHORT_CIRCUIT, ()) in [
        (cause.kind, cause.subjects) for cause in verdict.causes
    ]


def test_a_report_over_a_registration_is_said(world: World) -> None:
    """A re-run's tracker wrote it there before anybody set the flag."""
    deliver_to_old_code(world)
    change_document(world, **{FIVE[0]: {"completed_at": LATER, "status": "failed"}})
    verdict = report(world, LATER + HOUR).verdicts[0]
    assert "failed" in " ".join(cause.words for cause in verdict.causes)


def test_what_is_undone_is_counted_as_that(world: World) -> None:
    """Neither as registered nor as never there."""
    deliver_all(world, FIVE)
    change_document(world, **{FIVE[4]: None})
    assert "registered 4 of 5, 1 undone" in path_text(report(world, LATER + HOUR).verdicts[0])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "sign its requests"),
        (403, "roles/run.invoker"),
        (404, "address"),
        (429, "no instance was free"),
    ],
)
def test_the_advice_is_that_for_the_status(world: World, status: int, advice: str) -> None:
    """A service without an instance lacks no role."""
    healthy_before(world)
    deliver_to_old_code(world, FIVE[:4])
    world.requests = Requests(
        world,
        [Request(DONE - HOUR, 204), *(Request(DONE + n * MINUTE, status) for n in range(1, 4))],
    )
    verdict = report(world, LATE).verdicts[0]
    assert CauseKind.NOT_DELIVERED in verdict.proven
    assert advice in " ".join(alert([verdict], world.phase, CommandLine(), LATE).actions)


def test_what_dies_among_others_may_be_anybodys(world: World) -> None:
    """Of the fifth nothing is known where four were handled and other requests fail since."""
    healthy_before(world)
    deliver_all(world, FIVE[:4])
    world.requests = Requests(
        world, [Request(DONE - HOUR, 204), *(Request(DONE + n * MINUTE, 503) for n in range(1, 9))]
    )
    judged(
        world,
        LATE,
        VerdictKind.INCOMPLETE,
        (CauseKind.UNDETERMINED, LAST, None, Stage.DELIVERED),
        words="503",
    )


def test_deliveries_that_fail_each_day_are_no_silence(world: World) -> None:
    """The early warning says that they come to nothing."""
    for back in range(3, -1, -1):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
        deliver_all(world, LAST, DAY - back * ONE_DAY, to=refusing(world))
    (warning,) = report(world, LATE).warnings
    assert warning.endswith(": its deliveries come to nothing")
