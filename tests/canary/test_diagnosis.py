"""Each cause, brought about with the real orchestrator on real stores, and found by the real canary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from canary.domain.verdict import Cause, CauseKind, Verdict, VerdictKind
from canary.playback.schedule import Schedule
from canary.run import Report
from evaluation.old_code import OldCode
from evaluation.world import WORK_QUERY, Deliver, InjectedFault, Outage, World
from orchestrator_resilience import Phase, StoreError, load_phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores import jsonl
from orchestrator_resilience.stores.base import DeadLetter, Request
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope

FIVE = sorted(load_phase("phase2", BUNDLED_PHASES).expected)
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
LATER = DONE + timedelta(minutes=34)
LATE = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
MINUTE, HOUR, ONE_DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MESSAGE_TABLE = "nba_orchestration.phase_messages"

with_message_log = pytest.mark.parametrize("world", [MESSAGE_TABLE], indirect=True, ids=["with a message log"])


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


def waiting_for(world: World, names: Sequence[str]) -> Deliver:
    """Return an orchestrator that waits for others than the phase does."""
    processors = {name: world.phase.processors.get(name, ()) for name in names}
    return world.orchestrator_of(msgspec.structs.replace(world.phase, processors=processors)).deliver


def dies_at(operation: str) -> InjectedFault:
    """The process dies at an operation of a store, and the message is not delivered again."""
    return InjectedFault(dies_at=operation, retried=False)


def refused_at(operation: str) -> InjectedFault:
    """A store refuses an operation, and the message is not delivered again."""
    return InjectedFault(refused_at=operation, retried=False)


def dies_at_the_flag() -> InjectedFault:
    """The process has lost the race for its commit, merges its registration, and dies before the flag."""
    return InjectedFault(dies_at="update_if_unchanged", retried=False, loses_race=True)


def refused_at_the_flag() -> InjectedFault:
    """As above, and the store refuses the flag."""
    return InjectedFault(refused_at="update_if_unchanged", retried=False, loses_race=True)


def log_messages(world: World, names: Sequence[str]) -> None:
    """Let the message log have rows, written at DONE, of messages that were not delivered.

    Without a message log they are the completion log's: then the function itself may have written them.
    """
    log = world.messages if world.has_message_log else world.stores.completion_log
    rows = [completion_row(Completion.from_event(message(name), world.phase)) for name in names]
    log.append(rows, now=DONE)
    world.schedule.play(DONE)


def deliver_to_old_code(world: World, names: Sequence[str] = FIVE) -> None:
    """Let the old tracker register them; it leaves no checkpoints."""
    old = OldCode(world.phase, world.stores.documents, world.stores.completion_log)
    deliver_all(world, names, to=old.deliver)


def report(world: World, now: datetime) -> Report:
    """Let the canary judge DAY at `now`."""
    world.schedule.play(now)
    return world.check(DAY)


def verdict_of(world: World, now: datetime, kind: VerdictKind) -> Verdict:
    """Return what the canary says at `now` of DAY, whose verdict is `kind`."""
    (verdict,) = report(world, now).verdicts
    assert verdict.kind is kind
    return verdict


def cause_of(world: World, now: datetime, kind: VerdictKind) -> Cause:
    """Return the only cause that it finds."""
    (cause,) = verdict_of(world, now, kind).causes
    return cause


def test_flag_overwritten(world: World) -> None:
    """A checkpoint says that the flag was set, the document says that it is not."""
    deliver_all(world, FIVE)
    world.stores.documents.merge(world.ref(DAY), {"_triggered": False})
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.FLAG_OVERWRITTEN, "CHECKPOINT_TRIGGERED was left at 2026-02-10 06:41:00Z, and the flag is gone"
    )


def test_flag_overwritten_without_checkpoints(world: World) -> None:
    """The trigger's own row in the completion log proves it as well."""
    deliver_all(world, FIVE)
    world.stores.documents.merge(world.ref(DAY), {"_triggered": False})
    world.stores.checkpoints.path.unlink()
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.FLAG_OVERWRITTEN


def test_expectation_drift(world: World) -> None:
    """The orchestrator waits for a processor that was switched off: its document says so."""
    deliver_all(world, FIVE, to=waiting_for(world, [*FIVE, "p2_bdl_box_scores"]))
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.EXPECTATION_DRIFT,
        "the orchestrator also waits for p2_bdl_box_scores, which phase2 does not expect",
    )


def test_expectation_drift_of_an_existing_orchestrator(world: World) -> None:
    """One that only leaves checkpoints shows its list there."""
    deliver_to_old_code(world)
    checkpoints = world.checkpoints_of(world.phase)
    with checkpoints.delivery(processor=FIVE[0], game_date=DAY, event_id="1") as delivery:
        expected = [*FIVE, "p2_bdl_box_scores"]
        delivery.post_transaction(should_trigger=False, completed=FIVE, triggered=False, expected=expected)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.EXPECTATION_DRIFT


@pytest.mark.parametrize(
    ("count", "length", "is_whole"), [(59, 20, True), (900, 20, True), (1500, 20, False), (300, 900, False)]
)
@pytest.mark.parametrize("come", [False, True])
def test_nothing_follows_from_a_list_that_is_not_whole(
    world: World, count: int, length: int, *, is_whole: bool, come: bool
) -> None:
    """What the orchestrator waits for is read where its line has all of it; of a cut list nothing is said."""
    deliver_to_old_code(world)
    others = [f"p2_{n:04}".ljust(length, "x") for n in range(count)]
    with world.checkpoints_of(world.phase).delivery(processor=FIVE[0], game_date=DAY, event_id="1") as delivery:
        completed = [*FIVE, *(others if come else ())]
        delivery.post_transaction(should_trigger=False, completed=completed, triggered=False, expected=[*FIVE, *others])
    verdict = verdict_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert "in all" not in verdict.causes[0].proof
    drifts = CauseKind.EXPECTATION_DRIFT in [cause.kind for cause in verdict.causes]
    assert drifts == (is_whole and not come)
    if not is_whole:
        assert CauseKind.EXPECTATION_DRIFT not in verdict.ruled_out


def test_expectation_drift_that_triggers_too_early(world: World) -> None:
    """An orchestrator that does not wait for somebody sets the flag without it."""
    deliver_all(world, FIVE[1:], to=waiting_for(world, FIVE[1:]))
    assert cause_of(world, LATER, VerdictKind.PREMATURE) == Cause(
        CauseKind.EXPECTATION_DRIFT, f"the orchestrator does not wait for {FIVE[0]}, which phase2 expects"
    )


def test_expectation_drift_after_the_last_one_has_come(world: World) -> None:
    """A processor that the orchestrator does not wait for arrives after the flag, and is never registered."""
    drifted = waiting_for(world, FIVE[1:])
    deliver_all(world, FIVE[1:], to=drifted)
    deliver_all(world, world.phase.processors[FIVE[0]][:1], to=drifted)
    assert cause_of(world, LATER, VerdictKind.STORES_DISAGREE) == Cause(
        CauseKind.EXPECTATION_DRIFT, f"the orchestrator does not wait for {FIVE[0]}, which phase2 expects"
    )


@pytest.mark.parametrize("fault", [dies_at("get_all"), dies_at("update_if_unchanged"), dies_at_the_flag()])
def test_crashed(world: World, fault: InjectedFault) -> None:
    """The last delivery left RECEIVED and nothing more, wherever it died."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], fault=fault)
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.CRASHED
    assert cause.proof.startswith(f"the delivery of {FIVE[4]} died after CHECKPOINT_RECEIVED at 2026-02-10 06:41")


def test_crashed_at_each_redelivery(world: World) -> None:
    """A message that kills the process each time comes again every ten minutes: the first death is old enough."""
    deliver_all(world, FIVE[:4])
    for minutes in (0, 10, 20, 30):
        deliver(world, message(FIVE[4]), DONE + minutes * MINUTE, fault=dies_at("update_if_unchanged"))
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.CRASHED,
        f"the delivery of {FIVE[4]} died after CHECKPOINT_RECEIVED at 2026-02-10 06:41:00Z: "
        "no later line of it, 4 deliveries have begun, none has ended",
    )


def test_a_crash_before_the_lines_that_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many lines the newest are read: what the others could have told is neither said nor ruled out."""
    monkeypatch.setattr(jsonl, "_MOST_OF_A_DATE", 4)
    deliver(world, message(FIVE[4], DONE - HOUR), DONE - HOUR, fault=dies_at("get_all"))
    deliver_all(world, FIVE[:4])
    verdict = verdict_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.UNDETERMINED]
    assert "the lines since 2026-02-10 06:38" in verdict.causes[0].proof
    assert CauseKind.CRASHED not in verdict.ruled_out


def test_a_delivery_under_way_has_not_crashed(world: World) -> None:
    """For ten minutes it may still be working."""
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], LATE - 9 * MINUTE), LATE - 9 * MINUTE, fault=dies_at("append"))
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED
    assert cause_of(world, LATE + MINUTE, VerdictKind.INCOMPLETE).kind is CauseKind.CRASHED


def test_a_crash_that_a_redelivery_mended_is_no_cause(world: World) -> None:
    """The same message came again and got through."""
    deliver_all(world, FIVE[:3])
    deliver_all(world, FIVE[3:4], fault=dies_at("append"))
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.CRASHED
    deliver_all(world, FIVE[3:4])
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


@pytest.mark.parametrize("fault", [refused_at("update_if_unchanged"), refused_at_the_flag()])
def test_write_failed(world: World, fault: InjectedFault) -> None:
    """FAILED names the step and the store's own words."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], fault=fault)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.WRITE_FAILED,
        f"the delivery of {FIVE[4]} failed in register at 2026-02-10 06:41:00Z: "
        f"StoreError: update_if_unchanged: ServiceUnavailable: 503 try again later",
    )


def test_write_failed_leaves_a_gap(world: World) -> None:
    """The completion log refused a row: the date is triggered, and the two stores disagree."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], fault=refused_at("append"))
    cause = cause_of(world, LATER, VerdictKind.STORES_DISAGREE)
    assert cause.kind is CauseKind.WRITE_FAILED
    assert "append_completion" in cause.proof


@pytest.mark.parametrize("before", [0, 1])
def test_name_drift(world: World, before: int) -> None:
    """A renamed class reports in place of the missing processor, which was alone before; else nothing is proven."""
    for back in range(1, before + 1):
        deliver_all(world, FIVE, DAY - back * ONE_DAY)
    deliver_all(world, [p for p in FIVE if p != "p2_nbacom_boxscores"])
    deliver_all(world, ["NbacPlayerBoxscoresProcessor"])
    cause = cause_of(world, LATE, VerdictKind.INCOMPLETE)
    if not before:
        assert cause.kind is CauseKind.UNDETERMINED
        return
    assert cause == Cause(
        CauseKind.NAME_DRIFT,
        "NbacPlayerBoxscoresProcessor is not expected, and resembles p2_nbacom_boxscores, which is missing",
    )


def test_two_that_report_on_one_date_are_no_rename(world: World) -> None:
    """An unexpected processor that was there before, beside the processor whose name it resembles, explains nothing."""
    deliver_all(world, [*FIVE, "OddsPlayerPointsProcessor"], DAY - 2 * ONE_DAY)
    deliver_all(world, [p for p in FIVE if p != "p2_odds_player_props"])
    deliver_all(world, ["OddsPlayerPointsProcessor"])
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


def test_processor_failed(world: World) -> None:
    """The missing processor says itself that it failed."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], status="failed")
    cause = cause_of(world, LATE, VerdictKind.INCOMPLETE)
    assert (cause.kind, cause.proof) == (CauseKind.PROCESSOR_FAILED, f"reported failure: {FIVE[4]}")


@pytest.mark.parametrize("dates", [2, 3, 5])
def test_processor_disabled(world: World, dates: int) -> None:
    """Silent on three dates in a row while its peers reported; two may be chance."""
    for back in range(dates):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
    cause = cause_of(world, LATE, VerdictKind.INCOMPLETE)
    if dates < 3:
        assert cause.kind is CauseKind.UNDETERMINED
    else:
        since = DAY - (dates - 1) * ONE_DAY
        expected = f"{FIVE[4]} has reported nothing since {since}, while its peers have"
        assert (cause.kind, cause.proof) == (CauseKind.PROCESSOR_DISABLED, expected)


@with_message_log
def test_never_invoked(world: World) -> None:
    """Completions that only the message log has, and no sign of life."""
    deliver_all(world, FIVE, DAY - ONE_DAY)
    log_messages(world, FIVE)
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.NEVER_INVOKED,
        "5 completions since 2026-02-10 06:41:00Z, and no delivery has left a line or a registration",
    )


@with_message_log
def test_code_of_which_nothing_is_known_may_just_leave_nothing(world: World) -> None:
    """No line and no document of ours on any date: that there is none of this one proves nothing, nor rules it out."""
    log_messages(world, FIVE)
    verdict = verdict_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.UNDETERMINED]
    assert verdict.ruled_out == ()


def test_what_the_function_may_have_written_itself_proves_no_absence(world: World) -> None:
    """Without a message log a row is a sign that the function was invoked, if anything."""
    log_messages(world, FIVE)
    verdict = verdict_of(world, LATER, VerdictKind.UNTRIGGERED)
    (cause,) = verdict.causes
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof.startswith("without a message_table it cannot be told whether the function was invoked for p2_")
    assert not {CauseKind.NEVER_INVOKED, CauseKind.DELIVERY_LOST} & set(verdict.ruled_out)


@with_message_log
def test_one_that_left_nothing_may_have_been_lost(world: World) -> None:
    """A single completion without a delivery, and nothing after it, proves neither cause."""
    log_messages(world, FIVE[:1])
    cause = cause_of(world, LATER, VerdictKind.STORES_DISAGREE)
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof.startswith(f"no line of {FIVE[0]}, and nothing has come since: it was lost, or the")


@with_message_log
def test_never_invoked_any_more(world: World) -> None:
    """The permission was lost between two deliveries."""
    deliver_all(world, FIVE[:3])
    log_messages(world, FIVE[3:])
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.partition(" since")[0]) == (CauseKind.NEVER_INVOKED, "2 completions")


@with_message_log
def test_a_sign_of_life_of_another_date(world: World) -> None:
    """A function that registers something elsewhere is invoked: these messages were lost."""
    log_messages(world, FIVE)
    at = DONE + 10 * MINUTE
    deliver(world, message(FIVE[0], at, DAY - ONE_DAY), at)
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.split(": ")[-1]) == (CauseKind.DELIVERY_LOST, ", ".join(FIVE))


@with_message_log
def test_never_invoked_while_the_backlog_is_delivered(world: World) -> None:
    """Deliveries that begin at last do not make the others lost."""
    log_messages(world, FIVE)
    at = DONE + 40 * MINUTE
    deliver(world, message(FIVE[0]), at)
    cause = cause_of(world, at + MINUTE, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.NEVER_INVOKED,
        "5 completions since 2026-02-10 06:41:00Z, and no delivery has left a line or a registration "
        "until 2026-02-10 07:21:00Z",
    )


@with_message_log
def test_delivery_lost(world: World) -> None:
    """One message of five never reached the function, and a later one did."""
    deliver_all(world, FIVE[:3])
    log_messages(world, FIVE[3:4])
    deliver(world, message(FIVE[4]), DONE + MINUTE)
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.split(": ")[-1]) == (CauseKind.DELIVERY_LOST, FIVE[3])


@with_message_log
def test_delivery_lost_after_a_failure_was_delivered(world: World) -> None:
    """The processor failed, which was delivered; that it succeeded later was not."""
    early = DONE - HOUR
    deliver(world, message(FIVE[3], early, status="failed", message_id="a failure"), early)
    deliver_all(world, FIVE[:3])
    log_messages(world, FIVE[3:4])
    deliver(world, message(FIVE[4]), DONE + MINUTE)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.DELIVERY_LOST


@pytest.mark.parametrize("world", [None, MESSAGE_TABLE], indirect=True, ids=["no message log", "a message log"])
def test_message_rejected(world: World) -> None:
    """The orchestrator could not accept it, and acknowledged it: its line says whose it was and what is wrong."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], status="finished")
    if world.has_message_log:
        log_messages(world, FIVE[4:])
    cause = cause_of(world, LATE, VerdictKind.UNTRIGGERED if world.has_message_log else VerdictKind.INCOMPLETE)
    assert cause == Cause(
        CauseKind.MESSAGE_REJECTED,
        f"the message of {FIVE[4]} was rejected at 2026-02-10 06:41:00Z: "
        "status: 'finished' is none of success, partial, no_data, failed, skipped",
    )


def test_what_was_repaired_explains_nothing(world: World) -> None:
    """A delivery died, and the processor was run again; later the flag could not be written."""
    early = DONE - HOUR
    deliver(world, message(FIVE[0], early, message_id="dies"), early, fault=dies_at("update_if_unchanged"))
    mended = early + 35 * MINUTE
    assert cause_of(world, mended, VerdictKind.STORES_DISAGREE).kind is CauseKind.CRASHED
    deliver(world, message(FIVE[0], early, message_id="again"), mended)
    deliver_all(world, FIVE[1:4])
    deliver_all(world, FIVE[4:], fault=refused_at_the_flag())
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.WRITE_FAILED
    assert cause.proof.startswith(f"the delivery of {FIVE[4]} failed in register")


def test_one_that_is_there_holds_nothing_up(world: World) -> None:
    """The orchestrator waits for a sixth, which has reported: the refused flag is the cause."""
    six = waiting_for(world, [*FIVE, "p2_new"])
    deliver_all(world, ["p2_new", *FIVE[:4]], to=six)
    deliver_all(world, FIVE[4:], to=six, fault=refused_at_the_flag())
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.WRITE_FAILED


def test_short_circuit_of_code_without_a_line(world: World) -> None:
    """All registered and no flag: three things may have been, and none is proven."""
    deliver_to_old_code(world)
    cause = cause_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof == (
        "all 5 are registered, by code that leaves no checkpoints: it took the last one for a duplicate, waits for "
        "somebody else, or the flag was taken away"
    )


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        ({"duplicate": True}, CauseKind.SHORT_CIRCUIT),
        ({"expected": FIVE}, CauseKind.SHORT_CIRCUIT),
        ({}, CauseKind.UNDETERMINED),
        (None, CauseKind.SHORT_CIRCUIT),
    ],
    ids=["a duplicate", "what it waits for", "neither", "nothing"],
)
def test_short_circuit_with_checkpoints(world: World, says: dict[str, Any] | None, cause: CauseKind) -> None:
    """The existing function with the six lines in it: it decides wrongly and says why, or returns without deciding."""
    deliver_to_old_code(world)
    checkpoints = world.checkpoints_of(world.phase)
    with checkpoints.delivery(processor=FIVE[4], game_date=DAY, event_id="1") as delivery:
        if says is not None:
            delivery.post_transaction(should_trigger=False, completed=FIVE, triggered=False, **says)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is cause


@pytest.mark.parametrize(
    ("processor", "status"),
    [(FIVE[4], "no_data"), (FIVE[4], "failed"), ("p2_nbacom_schedule", "success"), ("p2_nbacom_schedule", None)],
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
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.UNDETERMINED


def test_what_cannot_be_proven_is_undetermined(world: World) -> None:
    """With the checkpoints unreadable nothing that rests on them is named, and nothing of it is ruled out."""
    deliver_all(world, FIVE[:4])
    deliver_all(world, FIVE[4:], fault=dies_at("update_if_unchanged"))
    world.outages.append(Outage("checkpoints", DONE, LATE))
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.UNDETERMINED, "the checkpoints could not be read: checkpoints: DeadlineExceeded: 504"
    )


def test_nothing_found_says_what_was_looked_for(world: World) -> None:
    """A processor that just has not reported, on one date: no cause, and what it is not."""
    deliver_all(world, FIVE[:4])
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert verdict.causes == (Cause(CauseKind.UNDETERMINED, "nothing that was looked for was found"),)
    assert {CauseKind.NAME_DRIFT, CauseKind.PROCESSOR_FAILED, CauseKind.CRASHED} <= set(verdict.ruled_out)


def test_nothing_is_ruled_out_where_nobody_looked(world: World) -> None:
    """A date of code without checkpoints: what happened to its deliveries nobody has written down."""
    deliver_to_old_code(world)
    assert verdict_of(world, LATER, VerdictKind.UNTRIGGERED).ruled_out == ()


def test_each_processor_has_its_own_cause(world: World) -> None:
    """One failed, one crashed, one was rejected, and of the fourth nothing is known: three causes and a word."""
    deliver_all(world, FIVE[:1])
    deliver_all(world, FIVE[1:2], status="failed")
    deliver_all(world, FIVE[2:3], fault=dies_at("append"))
    deliver_all(world, FIVE[3:4], status="finished")
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    kinds = {CauseKind.PROCESSOR_FAILED, CauseKind.CRASHED, CauseKind.MESSAGE_REJECTED}
    assert {cause.kind for cause in verdict.causes} == kinds
    assert verdict.notes[-1] == f"nothing was found that explains {FIVE[4]}"


def test_a_list_that_is_wrong_and_a_process_that_died(world: World) -> None:
    """Either alone would have kept the flag unset: both are told."""
    six = waiting_for(world, [*FIVE, "p2_bdl_box_scores"])
    deliver_all(world, FIVE[:4], to=six)
    deliver_all(world, FIVE[4:], to=six, fault=dies_at("update_if_unchanged"))
    with_row = verdict_of(world, LATER, VerdictKind.UNTRIGGERED)
    assert {cause.kind for cause in with_row.causes} == {CauseKind.EXPECTATION_DRIFT, CauseKind.CRASHED}


@pytest.mark.parametrize("odd", [None, "03/10/2026", "9 Feb", 20260209, ["2026-02-09"]])
def test_a_rejection_without_a_date(world: World, odd: object) -> None:
    """It is of the only date that lacks its processor, and whose messages come then."""
    deliver_all(world, FIVE, DAY - ONE_DAY)
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], game_date=odd))
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    (cause,) = verdict.causes
    assert cause.kind is CauseKind.MESSAGE_REJECTED
    assert cause.proof.startswith(
        f"the message of {FIVE[4]}, whose date nobody can read, was rejected at 2026-02-10 06:41:00Z: game_date: "
    )


def test_a_rejection_that_may_be_of_another_date(world: World) -> None:
    """Two dates lack its processor: neither may name it, and neither may rule it out."""
    deliver_all(world, FIVE[:4], DAY - ONE_DAY)
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], game_date=None))
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.UNDETERMINED]
    assert "of which date" in verdict.causes[0].proof
    assert CauseKind.MESSAGE_REJECTED not in verdict.ruled_out


def test_a_rejection_of_another_phase(world: World) -> None:
    """A message that says so of itself, and is of nobody whom this phase expects, is none of its own."""
    deliver_all(world, FIVE[:4])
    deliver(world, message("PlayerGameSummaryProcessor", phase="phase_3_analytics"))
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert CauseKind.MESSAGE_REJECTED in verdict.ruled_out


def test_a_rejection_of_an_expected_one_with_another_phase(world: World) -> None:
    """The missing one sent its message, and wrote a wrong phase into it."""
    deliver_all(world, FIVE[:4])
    deliver(world, message(FIVE[4], phase="phase_3_raw"))
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.MESSAGE_REJECTED]
    assert "phase: expected 'phase_2_raw', got 'phase_3_raw'" in verdict.causes[0].proof


def test_a_rejection_that_may_be_anybodys(world: World) -> None:
    """It proves nothing of the missing one, which may be neither ruled out nor called switched off."""
    for back in (2, 1, 0):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
    deliver(world, message(FIVE[4], processor_name=7))
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.UNDETERMINED]
    assert "of which nobody can say whose, or of which date, it was" in verdict.causes[0].proof
    assert not {CauseKind.MESSAGE_REJECTED, CauseKind.PROCESSOR_DISABLED} & set(verdict.ruled_out)


def test_a_name_that_the_orchestrator_does_not_know(world: World) -> None:
    """The phases file was mended, the orchestrator was not: it has the processor among the unexpected."""
    without = dict.fromkeys(FIVE, ())
    old = world.orchestrator_of(msgspec.structs.replace(world.phase, processors=without)).deliver
    deliver_all(world, [*FIVE[:4], world.phase.processors[FIVE[4]][0]], to=old)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.NAME_DRIFT, f"{FIVE[4]} completed under a name that is unexpected to the orchestrator"
    )


@dataclass
class Requests:
    """The requests to the orchestrator of phase2, as the platform has written them down."""

    statuses: Mapping[datetime, int] = field(default_factory=dict)
    phase: str = "phase2"

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return those in between."""
        return [Request(at, status) for at, status in sorted(self.statuses.items()) if since <= at < until]


@pytest.fixture
def requested(world: World) -> Callable[..., None]:
    """Let the platform have answered requests with these statuses, a minute apart from DONE on."""

    def answered(*statuses: int) -> None:
        world.requests = Requests({DONE + n * MINUTE: status for n, status in enumerate(statuses)})

    return answered


TURNED_AWAY = "the function was not started for 3 requests from 2026-02-10 06:42:00Z to 2026-02-10 06:44:00Z: HTTP 403"


def test_the_platform_turns_requests_away(world: World, requested: Callable[..., None]) -> None:
    """Without a message log and without a line it is proven that the function is not invoked."""
    deliver_to_old_code(world, FIVE[:4])
    requested(204, 403, 403, 403)
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE) == Cause(CauseKind.NEVER_INVOKED, TURNED_AWAY)


def test_the_platform_turns_every_request_away(
    phase: Phase, stores: EmbeddedStores, requested: Callable[..., None], world: World
) -> None:
    """Nothing at all has arrived, although there was work."""
    requested(204, 403, 403, 403)
    asking = msgspec.structs.replace(phase, work_query=WORK_QUERY)
    silent = World(asking, stores, Schedule(DONE), work={DAY: 7}, requests=world.requests)
    assert cause_of(silent, LATE, VerdictKind.SILENT) == Cause(CauseKind.NEVER_INVOKED, TURNED_AWAY)


@pytest.mark.parametrize("statuses", [(403, 403, 204), (204, 204), ()])
def test_requests_that_are_let_through_prove_nothing(
    world: World, requested: Callable[..., None], statuses: tuple[int, ...]
) -> None:
    """What was turned away for a while came again; the text says what there was."""
    deliver_all(world, FIVE[:4])
    requested(*statuses)
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    assert [cause.kind for cause in verdict.causes] == [CauseKind.UNDETERMINED]
    seen = f"{len(statuses)} requests from" if statuses else "no request"
    assert f"since the date began the function has had {seen}" in verdict.causes[0].proof


@with_message_log
def test_no_request_has_come(world: World, requested: Callable[..., None]) -> None:
    """One message is enough, and no code has to leave lines."""
    deliver_to_old_code(world, FIVE[:4])
    log_messages(world, FIVE[4:])
    requested()
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.NEVER_INVOKED, "1 completions since 2026-02-10 06:41:00Z, and the function has had no request"
    )


@with_message_log
def test_the_function_dies_as_it_starts(world: World, requested: Callable[..., None]) -> None:
    """Each request since its message came has ended in an error, and it has left no line."""
    deliver_all(world, FIVE[:4])
    log_messages(world, FIVE[4:])
    requested(204, 500, 503, 500)
    assert cause_of(world, LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.CRASHED,
        "no delivery has left a line, and the function failed at 3 requests from 2026-02-10 06:42:00Z to "
        "2026-02-10 06:44:00Z: HTTP 500, 503",
    )


@dataclass
class Letters:
    """What could not be delivered to the orchestrator of phase2."""

    found: list[DeadLetter]
    phase: str = "phase2"

    def read(self) -> list[DeadLetter]:
        """Return all of it."""
        return self.found


def test_a_message_lies_in_the_dead_letters(world: World) -> None:
    """Without a message log and without a line it is proven which message was given up; another date's says nothing."""
    deliver_to_old_code(world, FIVE[:3])
    world.dead_letters = Letters([DeadLetter(FIVE[3], DAY, DONE), DeadLetter(FIVE[4], DAY - ONE_DAY, DONE)])
    verdict = verdict_of(world, LATE, VerdictKind.INCOMPLETE)
    text = f"the message of {FIVE[3]} lies in the dead letters since 2026-02-10 06:41:00Z"
    assert verdict.causes == (Cause(CauseKind.DELIVERY_LOST, text),)
    assert verdict.notes[-1] == f"nothing was found that explains {FIVE[4]}"


def test_a_dead_letter_that_was_sent_again(world: World) -> None:
    """What has been registered since is not missing."""
    deliver_all(world, FIVE)
    world.dead_letters = Letters([DeadLetter(FIVE[3], DAY, DONE)])
    assert verdict_of(world, LATE, VerdictKind.TRIGGERED).causes == ()


def test_requests_that_cannot_be_read(world: World) -> None:
    """They only help: without the right to read them, the other rules decide."""

    class Refused(Requests):
        def requests(self, since: datetime, until: datetime) -> list[Request]:
            raise StoreError(f"Cloud Logging: 403, {since} to {until}")

    deliver_all(world, FIVE[:4], status="success")
    deliver_all(world, FIVE[4:], status="failed")
    world.requests = Refused()
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.PROCESSOR_FAILED


def test_quiet_dates_are_not_diagnosed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are read only for dates with a problem."""
    deliver_all(world, FIVE)
    monkeypatch.setattr(world.stores.checkpoints, "read", None)
    (verdict,) = report(world, LATER).verdicts
    assert (verdict.kind, verdict.causes) == (VerdictKind.TRIGGERED, ())


def test_early_warnings(world: World) -> None:
    """An unexpected processor on its first date, and a processor that has been silent for three, are warned of."""
    for back in range(3):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
    deliver_all(world, ["weather", "NbacPlayerBoxscoresProcessor"])
    at_night = f"phase2: {FIVE[4]} has reported nothing"
    assert not any(warning.startswith(at_night) for warning in report(world, DONE).warnings)  # the date is not over
    assert report(world, LATE).warnings == (
        "phase2: not expected, since 2026-02-09: NbacPlayerBoxscoresProcessor (resembles p2_nbacom_boxscores), weather",
        f"phase2: {FIVE[4]} has reported nothing since 2026-02-07, while its peers have",
    )


def test_dates_without_work_are_no_silence(world: World) -> None:
    """On two dates some said that they had nothing to do; on the third one is silent, for the first time."""
    for back in (2, 1):
        deliver_all(world, FIVE[:2], DAY - back * ONE_DAY, status="no_data")
    deliver_all(world, FIVE[:4])
    assert report(world, LATE).warnings == ()
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


def test_a_registration_is_no_silence(world: World) -> None:
    """Rows that BigQuery refused were still heard of: the document has them."""
    for back in (2, 1):
        deliver_all(world, FIVE[:4], DAY - back * ONE_DAY)
        deliver_all(world, FIVE[4:], DAY - back * ONE_DAY, fault=refused_at("append"))
    deliver_all(world, FIVE[:4])
    assert cause_of(world, LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED
    before = world.check(DAY - 2 * ONE_DAY, DAY - ONE_DAY).verdicts
    assert [verdict.kind for verdict in before] == [VerdictKind.STORES_DISAGREE] * 2


def test_healthy_dates_have_no_warnings(world: World) -> None:
    """Nothing is warned of, a day without games in between included."""
    for back in range(4):
        status = "no_data" if back == 1 else "success"
        deliver_all(world, FIVE, DAY - back * ONE_DAY, status=status)
    assert report(world, LATER).warnings == ()
