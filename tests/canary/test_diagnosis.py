"""Each cause, brought about with the real orchestrator on real stores, and found by the real canary."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from canary.domain.verdict import Cause, CauseKind, VerdictKind
from canary.run import Report, check
from orchestrator_resilience import CheckpointLogger, Completion, DeliveryError, Orchestrator, Phase, StoreError
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope

DAY = date(2026, 2, 9)
REF = DocumentRef("phase2_completion", "2026-02-09")
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
LATER = DONE + timedelta(minutes=34)
LATE = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)


class DeathError(BaseException):
    """The process is gone."""


class World:
    """A phase, its stores, and an orchestrator that can be broken."""

    def __init__(self, phase: Phase, stores: EmbeddedStores) -> None:
        self.phase = phase
        self.stores = stores
        self.five = sorted(phase.expected)
        self.clock = SimulatedClock(DONE)
        self._alive = True

    def orchestrator(self, phase: Phase | None = None, **broken: Any) -> Orchestrator:
        """Return an orchestrator; `documents` or `completion_log` may be a broken store."""
        phase = phase or self.phase
        documents = broken.get("documents", self.stores.documents)
        log = broken.get("completion_log", self.stores.completion_log)
        return Orchestrator(phase, documents, log, CheckpointLogger(phase, self._leave, clock=self.clock), self.clock)

    def _leave(self, checkpoint: Checkpoint) -> None:
        if self._alive:
            self.stores.checkpoints(checkpoint)

    def deliver(self, orchestrator: Orchestrator, names: list[str], day: date = DAY, **payload: Any) -> None:
        """Deliver a message of each, the last one at DONE on the night after `day`."""
        for number, name in enumerate(names):
            self.clock.now = DONE + (day - DAY) - timedelta(minutes=len(names) - 1 - number)
            message_id = f"{day}-{name}"
            orchestrator.deliver(push_envelope(name, str(day), self.clock.now, message_id=message_id, **payload))

    def die(self, orchestrator: Orchestrator, name: str) -> None:
        """Deliver a message to an orchestrator whose store kills it: a dead process leaves no line."""
        with pytest.raises(DeathError):
            self.deliver(orchestrator, [name])
        self.revive()

    def revive(self) -> None:
        """Be a new process."""
        self._alive = True

    def kill(self, *_: object, **__: object) -> Any:
        """Be the store operation at which the process dies."""
        self._alive = False
        raise DeathError

    def completion_log(self, names: list[str]) -> None:
        """Let the completion log hear of completions by another way than the orchestrator."""
        for name in names:
            message = push_envelope(name, str(DAY), DONE, message_id=f"{DAY}-{name}")
            self.stores.completion_log.append([completion_row(Completion.from_event(message, self.phase))], now=DONE)

    def register(self, names: list[str], *, announce: bool) -> None:
        """Leave what the old tracker left."""
        for name in names:
            message = push_envelope(name, str(DAY), DONE, message_id=f"{DAY}-{name}")
            completion = Completion.from_event(message, self.phase)
            fields = registration_fields(read_progress({}, self.phase), completion, DONE)
            if not announce:
                del fields["_expected"]
            self.stores.documents.merge(REF, fields)

    def report(self, now: datetime) -> Report:
        """Run the canary."""
        return check(self.stores, {"phase2": self.phase}, now, {"phase2": [DAY]})

    def cause(self, now: datetime, kind: VerdictKind) -> Cause:
        """Return the cause that the canary finds for DAY, whose verdict is `kind`."""
        (verdict,) = self.report(now).verdicts
        assert verdict.kind is kind
        assert verdict.cause is not None
        return verdict.cause


@pytest.fixture
def world(phase: Phase, stores: EmbeddedStores) -> World:
    return World(phase, stores)


@pytest.fixture
def with_message_log(phase: Phase, stores: EmbeddedStores) -> World:
    """A world with a message log, whose rows are part of the completion log."""
    return World(msgspec.structs.replace(phase, message_table="nba_orchestration.phase_messages"), stores)


class Breaking:
    """A store of which some operations do something else."""

    def __init__(self, store: object, **operations: Callable[..., Any]) -> None:
        self._store = store
        self.__dict__.update(operations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def refuse(*_: object, **__: object) -> Any:
    raise StoreError("Firestore: ServiceUnavailable: 503 try again later")


def test_flag_overwritten(world: World) -> None:
    """The checkpoints says that the flag was set, the document that it is not."""
    world.deliver(world.orchestrator(), world.five)
    world.stores.documents.merge(REF, {"_triggered": False})
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.FLAG_OVERWRITTEN, "CHECKPOINT_TRIGGERED was left at 2026-02-10 06:41:00Z, and the flag is gone"
    )


def test_flag_overwritten_without_a_checkpoints(world: World) -> None:
    """The trigger's own row in the completion log proves it as well."""
    world.deliver(world.orchestrator(), world.five)
    world.stores.documents.merge(REF, {"_triggered": False})
    world.stores.checkpoints.path.unlink()
    assert world.cause(LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.FLAG_OVERWRITTEN


def test_expectation_drift(world: World) -> None:
    """The orchestrator waits for a processor that was switched off: its document says so."""
    drifted = msgspec.structs.replace(world.phase, processors={**world.phase.processors, "p2_bdl_box_scores": ()})
    world.deliver(world.orchestrator(drifted), world.five)
    assert world.cause(LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.EXPECTATION_DRIFT,
        "the orchestrator also waits for p2_bdl_box_scores, which phase2 does not expect",
    )


def test_expectation_drift_of_an_existing_orchestrator(world: World) -> None:
    """One that only leaves checkpoints shows its list there."""
    world.completion_log(world.five)
    world.register(world.five, announce=False)
    checkpoints = CheckpointLogger(world.phase, world.stores.checkpoints, clock=world.clock)
    with checkpoints.delivery(processor=world.five[0], game_date=DAY, event_id="1") as delivery:
        expected = [*world.five, "p2_bdl_box_scores"]
        delivery.post_transaction(should_trigger=False, completed=world.five, triggered=False, expected=expected)
    assert world.cause(LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.EXPECTATION_DRIFT


def test_expectation_drift_that_triggers_too_early(world: World) -> None:
    """An orchestrator that does not wait for somebody sets the flag without it."""
    fewer = dict(list(world.phase.processors.items())[1:])
    missing = next(iter(world.phase.processors))
    world.deliver(world.orchestrator(msgspec.structs.replace(world.phase, processors=fewer)), sorted(fewer))
    assert world.cause(LATER, VerdictKind.PREMATURE) == Cause(
        CauseKind.EXPECTATION_DRIFT, f"the orchestrator does not wait for {missing}, which phase2 expects"
    )


def test_expectation_drift_after_the_last_one_has_come(world: World) -> None:
    """The one for whom nobody waits arrives after the flag: an unexpected one to the orchestrator, never registered."""
    fewer = dict(list(world.phase.processors.items())[1:])
    left_out, *aliases = [next(iter(world.phase.processors)), *next(iter(world.phase.processors.values()))]
    drifted = world.orchestrator(msgspec.structs.replace(world.phase, processors=fewer))
    world.deliver(drifted, sorted(fewer))
    world.deliver(drifted, aliases[:1])
    assert world.cause(LATER, VerdictKind.STORES_DISAGREE) == Cause(
        CauseKind.EXPECTATION_DRIFT, f"the orchestrator does not wait for {left_out}, which phase2 expects"
    )


@pytest.mark.parametrize("operation", ["get_all", "merge", "update_if_unchanged"])
def test_crashed(world: World, operation: str) -> None:
    """The last delivery left RECEIVED and nothing more, wherever it died."""
    world.deliver(world.orchestrator(), world.five[:4])
    broken = Breaking(world.stores.documents, **{operation: world.kill})
    world.die(world.orchestrator(documents=broken), world.five[4])
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.CRASHED
    assert cause.proof.startswith(f"the delivery of {world.five[4]} died after CHECKPOINT_RECEIVED at 2026-02-10 06:41")


def test_crashed_at_each_redelivery(world: World) -> None:
    """A message that kills the process each time comes again every ten minutes: the first death is old enough."""
    world.deliver(world.orchestrator(), world.five[:4])
    broken = world.orchestrator(documents=Breaking(world.stores.documents, merge=world.kill))
    for minutes in (0, 10, 20, 30):
        envelope = push_envelope(world.five[4], str(DAY), DONE, message_id="poison")
        world.clock.now = DONE + timedelta(minutes=minutes)
        with pytest.raises(DeathError):
            broken.deliver(envelope)
        world.revive()
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.CRASHED,
        f"the delivery of {world.five[4]} died after CHECKPOINT_RECEIVED at 2026-02-10 06:41:00Z: "
        "no later line of it, 4 deliveries have begun, none has ended",
    )


def test_a_delivery_under_way_has_not_crashed(world: World) -> None:
    """For ten minutes it may still be working."""
    world.deliver(world.orchestrator(), world.five[:4])
    world.die(world.orchestrator(documents=Breaking(world.stores.documents, merge=world.kill)), world.five[4])
    world.stores.documents.merge(REF, {"_triggered": True, "_triggered_at": DONE})
    assert world.report(DONE + timedelta(minutes=9)).verdicts[0].kind is VerdictKind.TRIGGERED


def test_a_crash_that_a_redelivery_mended_is_no_cause(world: World) -> None:
    """The same message came again and got through."""
    world.deliver(world.orchestrator(), world.five[:3])
    world.die(world.orchestrator(documents=Breaking(world.stores.documents, merge=world.kill)), world.five[3])
    world.deliver(world.orchestrator(), [world.five[3]])
    assert world.cause(LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


@pytest.mark.parametrize(("operation", "step"), [("merge", "register"), ("update_if_unchanged", "trigger")])
def test_write_failed(world: World, operation: str, step: str) -> None:
    """FAILED names the step and the store's own words."""
    world.deliver(world.orchestrator(), world.five[:4])
    broken = Breaking(world.stores.documents, **{operation: refuse})
    with pytest.raises(DeliveryError):
        world.deliver(world.orchestrator(documents=broken), world.five[4:])
    assert world.cause(LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.WRITE_FAILED,
        f"the delivery of {world.five[4]} failed in {step} at 2026-02-10 06:41:00Z: "
        "StoreError: Firestore: ServiceUnavailable: 503 try again later",
    )


def test_write_failed_leaves_a_gap(world: World) -> None:
    """The completion_log refused: the date is triggered, and the two stores disagree."""
    broken = Breaking(world.stores.completion_log, append=refuse)
    world.deliver(world.orchestrator(), world.five[:4])
    with pytest.raises(DeliveryError):
        world.deliver(world.orchestrator(completion_log=broken), world.five[4:])
    cause = world.cause(LATER, VerdictKind.STORES_DISAGREE)
    assert cause.kind is CauseKind.WRITE_FAILED
    assert "append_completion" in cause.proof


@pytest.mark.parametrize("before", [0, 1])
def test_name_drift(world: World, before: int) -> None:
    """A renamed class reports in place of the missing processor, which was alone before; else nothing is proven."""
    for back in range(1, before + 1):
        world.deliver(world.orchestrator(), world.five, DAY - timedelta(days=back))
    world.deliver(world.orchestrator(), [p for p in world.five if p != "p2_nbacom_boxscores"])
    world.deliver(world.orchestrator(), ["NbacPlayerBoxscoresProcessor"])
    cause = world.cause(LATE, VerdictKind.INCOMPLETE)
    if not before:
        assert cause.kind is CauseKind.UNDETERMINED
        return
    assert cause == Cause(
        CauseKind.NAME_DRIFT,
        "NbacPlayerBoxscoresProcessor is not expected; the nearest expected name is p2_nbacom_boxscores, "
        "which is missing",
    )


def test_two_that_report_on_one_date_are_no_rename(world: World) -> None:
    """A unexpected that was there before, beside the processor whose name it resembles, explains nothing."""
    world.deliver(world.orchestrator(), [*world.five, "OddsApiSpreadsProcessor"], DAY - timedelta(days=2))
    world.deliver(world.orchestrator(), [p for p in world.five if p != "p2_odds_player_props"])
    world.deliver(world.orchestrator(), ["OddsApiSpreadsProcessor"])
    assert world.cause(LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


def test_processor_failed(world: World) -> None:
    """The missing processor says itself that it failed."""
    world.deliver(world.orchestrator(), world.five[:4])
    world.deliver(world.orchestrator(), world.five[4:], status="failed")
    cause = world.cause(LATE, VerdictKind.INCOMPLETE)
    assert (cause.kind, cause.proof) == (CauseKind.PROCESSOR_FAILED, f"reported failure: {world.five[4]}")


@pytest.mark.parametrize("dates", [2, 3, 5])
def test_processor_disabled(world: World, dates: int) -> None:
    """Silent on three dates in a row while its peers reported; two may be chance."""
    for back in range(dates):
        world.deliver(world.orchestrator(), world.five[:4], DAY - timedelta(days=back))
    cause = world.cause(LATE, VerdictKind.INCOMPLETE)
    if dates < 3:
        assert cause.kind is CauseKind.UNDETERMINED
    else:
        since = DAY - timedelta(days=dates - 1)
        expected = f"{world.five[4]} has reported nothing since {since}, while its peers have"
        assert (cause.kind, cause.proof) == (CauseKind.PROCESSOR_DISABLED, expected)


def test_never_invoked(with_message_log: World) -> None:
    """Completions that only the message log has, and no sign of life."""
    with_message_log.completion_log(with_message_log.five)
    cause = with_message_log.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.NEVER_INVOKED,
        "5 completions since 2026-02-10 06:41:00Z, and no delivery has left a line or a registration",
    )


def test_what_the_function_may_have_written_itself_proves_no_absence(world: World) -> None:
    """Without a message log a row is a sign that the function was invoked, if anything."""
    world.completion_log(world.five)
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof.startswith("without a message_table it cannot be told whether the function was invoked for p2_")
    assert not {CauseKind.NEVER_INVOKED, CauseKind.DELIVERY_LOST} & set(cause.ruled_out)


def test_one_that_left_nothing_may_have_been_lost(with_message_log: World) -> None:
    """A single completion without a delivery, and nothing after it, proves neither cause."""
    with_message_log.completion_log(with_message_log.five[:1])
    cause = with_message_log.cause(LATER, VerdictKind.STORES_DISAGREE)
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof.startswith(
        f"no line of {with_message_log.five[0]}, and nothing has come since: it was lost, or the"
    )


def test_never_invoked_any_more(with_message_log: World) -> None:
    """The permission was lost between two deliveries."""
    with_message_log.deliver(with_message_log.orchestrator(), with_message_log.five[:3])
    with_message_log.clock.now = DONE
    with_message_log.completion_log(with_message_log.five[3:])
    cause = with_message_log.cause(LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.partition(" since")[0]) == (CauseKind.NEVER_INVOKED, "2 completions")


def test_a_sign_of_life_of_another_date(with_message_log: World) -> None:
    """A function that registers something elsewhere is invoked: these messages were lost."""
    with_message_log.completion_log(with_message_log.five)
    with_message_log.clock.now = DONE + timedelta(minutes=10)
    late = push_envelope(
        with_message_log.five[0], str(DAY - timedelta(days=1)), with_message_log.clock.now, message_id="elsewhere"
    )
    with_message_log.orchestrator().deliver(late)
    cause = with_message_log.cause(LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.split(": ")[-1]) == (CauseKind.DELIVERY_LOST, ", ".join(with_message_log.five))


def test_never_invoked_while_the_backlog_is_delivered(with_message_log: World) -> None:
    """Deliveries that begin at last do not make the others lost."""
    with_message_log.completion_log(with_message_log.five)
    at = DONE + timedelta(minutes=40)
    with_message_log.clock.now = at
    first = with_message_log.five[0]
    with_message_log.orchestrator().deliver(push_envelope(first, str(DAY), DONE, message_id=f"{DAY}-{first}"))
    cause = with_message_log.cause(at + timedelta(minutes=1), VerdictKind.UNTRIGGERED)
    assert cause == Cause(
        CauseKind.NEVER_INVOKED,
        "5 completions since 2026-02-10 06:41:00Z, and no delivery has left a line or a registration "
        "until 2026-02-10 07:21:00Z",
    )


def test_delivery_lost(with_message_log: World) -> None:
    """One message of five never reached the function, and a later one did."""
    with_message_log.deliver(with_message_log.orchestrator(), with_message_log.five[:3])
    with_message_log.completion_log(with_message_log.five[3:4])
    with_message_log.clock.now = DONE + timedelta(minutes=1)
    with_message_log.orchestrator().deliver(
        push_envelope(with_message_log.five[4], str(DAY), DONE, message_id="the last one")
    )
    cause = with_message_log.cause(LATER, VerdictKind.UNTRIGGERED)
    assert (cause.kind, cause.proof.split(": ")[-1]) == (CauseKind.DELIVERY_LOST, with_message_log.five[3])


def test_delivery_lost_after_a_failure_was_delivered(with_message_log: World) -> None:
    """The processor failed, which was delivered; that it succeeded later was not."""
    failing = push_envelope(
        with_message_log.five[3], str(DAY), DONE - timedelta(hours=1), message_id="f", status="failed"
    )
    with_message_log.clock.now = DONE - timedelta(hours=1)
    with_message_log.orchestrator().deliver(failing)
    with_message_log.deliver(with_message_log.orchestrator(), with_message_log.five[:3])
    with_message_log.completion_log(with_message_log.five[3:4])
    with_message_log.clock.now = DONE + timedelta(minutes=1)
    with_message_log.orchestrator().deliver(
        push_envelope(with_message_log.five[4], str(DAY), DONE, message_id="the last one")
    )
    assert with_message_log.cause(LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.DELIVERY_LOST


@pytest.mark.parametrize("with_completion_log", [False, True])
def test_message_rejected(phase: Phase, stores: EmbeddedStores, with_completion_log: bool) -> None:  # noqa: FBT001
    """The orchestrator could not accept it, and acknowledged it: its line says whose it was and what is wrong."""
    table = "nba_orchestration.phase_messages" if with_completion_log else None
    world = World(msgspec.structs.replace(phase, message_table=table), stores)
    world.deliver(world.orchestrator(), world.five[:4])
    world.deliver(world.orchestrator(), world.five[4:], record_count="12")
    if with_completion_log:
        world.completion_log(world.five[4:])
    cause = world.cause(LATE, VerdictKind.UNTRIGGERED if with_completion_log else VerdictKind.INCOMPLETE)
    assert cause == Cause(
        CauseKind.MESSAGE_REJECTED,
        f"the message of {world.five[4]} was rejected at 2026-02-10 06:41:00Z: "
        "record_count: Expected `int | null`, got `str`",
    )


def test_what_was_repaired_explains_nothing(world: World) -> None:
    """A delivery died, and the processor was run again; later the flag could not be written."""
    early = DONE - timedelta(hours=1)
    world.clock.now = early
    dying = world.orchestrator(documents=Breaking(world.stores.documents, merge=world.kill))
    with pytest.raises(DeathError):
        dying.deliver(push_envelope(world.five[0], str(DAY), early, message_id="dies"))
    world.revive()
    world.orchestrator().deliver(push_envelope(world.five[0], str(DAY), early, message_id="again"))
    world.deliver(world.orchestrator(), world.five[1:4])
    broken = world.orchestrator(documents=Breaking(world.stores.documents, update_if_unchanged=refuse))
    with pytest.raises(DeliveryError):
        world.deliver(broken, world.five[4:])
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.WRITE_FAILED
    assert cause.proof.startswith(f"the delivery of {world.five[4]} failed in trigger")


def test_one_that_is_there_holds_nothing_up(world: World) -> None:
    """The orchestrator waits for a sixth, which has reported: the refused flag is the cause."""
    six = msgspec.structs.replace(world.phase, processors={**world.phase.processors, "p2_new": ()})
    world.deliver(world.orchestrator(six), ["p2_new", *world.five[:4]])
    broken = Breaking(world.stores.documents, update_if_unchanged=refuse)
    with pytest.raises(DeliveryError):
        world.deliver(world.orchestrator(six, documents=broken), world.five[4:])
    assert world.cause(LATER, VerdictKind.UNTRIGGERED).kind is CauseKind.WRITE_FAILED


def test_short_circuit_of_code_without_a_line(world: World) -> None:
    """All registered and no flag: three things may have been, and none is proven."""
    world.completion_log(world.five)
    world.register(world.five, announce=False)
    cause = world.cause(LATER, VerdictKind.UNTRIGGERED)
    assert cause.kind is CauseKind.UNDETERMINED
    assert cause.proof == (
        "all 5 are registered, by code that leaves no checkpoints: it took the last one for a duplicate, waits for "
        "somebody else, or the flag was taken away"
    )


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        ({"duplicate": True}, CauseKind.SHORT_CIRCUIT),
        ({"expected": True}, CauseKind.SHORT_CIRCUIT),
        ({}, CauseKind.UNDETERMINED),
        (None, CauseKind.SHORT_CIRCUIT),
    ],
    ids=["a duplicate", "what it waits for", "neither", "nothing"],
)
def test_short_circuit_with_checkpoints(world: World, says: dict[str, bool] | None, cause: CauseKind) -> None:
    """The existing function with the six lines in it: it decides wrongly and says why, or returns without deciding."""
    world.completion_log(world.five)
    world.register(world.five, announce=False)
    checkpoints = CheckpointLogger(world.phase, world.stores.checkpoints, clock=world.clock)
    with checkpoints.delivery(processor=world.five[4], game_date=DAY, event_id="1") as delivery:
        if says is not None:
            told: dict[str, Any] = {**says, **({"expected": world.five} if "expected" in says else {})}
            delivery.post_transaction(should_trigger=False, completed=world.five, triggered=False, **told)
    assert world.cause(LATER, VerdictKind.UNTRIGGERED).kind is cause


def test_what_cannot_be_proven_is_undetermined(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checkpoints unreadable nothing that rests on it is named, and nothing of it is ruled out."""
    world.deliver(world.orchestrator(), world.five[:4])
    world.die(world.orchestrator(documents=Breaking(world.stores.documents, merge=world.kill)), world.five[4])
    monkeypatch.setattr(world.stores, "checkpoints", Breaking(None, read=refuse))
    assert world.cause(LATER, VerdictKind.UNTRIGGERED) == Cause(
        CauseKind.UNDETERMINED,
        "the checkpoints could not be read: Firestore: ServiceUnavailable: 503 try again later",
    )


def test_nothing_found_says_what_was_looked_for(world: World) -> None:
    """A processor that just has not reported, on one date: no cause, and what it is not."""
    world.deliver(world.orchestrator(), world.five[:4])
    cause = world.cause(LATE, VerdictKind.INCOMPLETE)
    assert (cause.kind, cause.proof) == (CauseKind.UNDETERMINED, "nothing that was looked for was found")
    assert {CauseKind.NAME_DRIFT, CauseKind.PROCESSOR_FAILED, CauseKind.CRASHED} <= set(cause.ruled_out)


def test_quiet_dates_are_not_diagnosed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are read only for dates with a problem."""
    world.deliver(world.orchestrator(), world.five)
    monkeypatch.setattr(world.stores, "checkpoints", None)
    (verdict,) = world.report(LATER).verdicts
    assert (verdict.kind, verdict.cause) == (VerdictKind.TRIGGERED, None)


def test_drift_is_told_before_it_bites(world: World) -> None:
    """A unexpected on its first date, and a processor that has been silent for three."""
    for back in range(3):
        world.deliver(world.orchestrator(), world.five[:4], DAY - timedelta(days=back))
    renamed, nearest = "NbacPlayerBoxscoresProcessor", "the nearest expected name is p2_nbacom_boxscores"
    world.deliver(world.orchestrator(), [renamed, "weather"])
    at_night = f"phase2: {world.five[4]} has reported nothing"
    assert not any(warning.startswith(at_night) for warning in world.report(DONE).warnings)  # the date is not over
    assert world.report(LATE).warnings == (
        f"phase2: {renamed} has been reporting since 2026-02-09, and is not expected; {nearest}",
        "phase2: weather has been reporting since 2026-02-09, and is not expected",
        f"phase2: {world.five[4]} has reported nothing since 2026-02-07, while its peers have",
    )


def test_dates_without_work_are_no_silence(world: World) -> None:
    """On two dates some said that they had nothing to do; on the third one is silent, for the first time."""
    for back in (2, 1):
        world.deliver(world.orchestrator(), world.five[:2], DAY - timedelta(days=back), status="no_data")
    world.deliver(world.orchestrator(), world.five[:4])
    assert world.report(LATE).warnings == ()
    assert world.cause(LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


def test_a_registration_is_no_silence(world: World) -> None:
    """Rows that BigQuery refused were still heard of: the document has them."""
    broken = Breaking(world.stores.completion_log, append=refuse)
    for back in (2, 1):
        world.deliver(world.orchestrator(), world.five[:4], DAY - timedelta(days=back))
        with pytest.raises(DeliveryError):
            world.deliver(world.orchestrator(completion_log=broken), world.five[4:], DAY - timedelta(days=back))
    world.deliver(world.orchestrator(), world.five[:4])
    assert world.cause(LATE, VerdictKind.INCOMPLETE).kind is CauseKind.UNDETERMINED


def test_healthy_dates_have_no_drift(world: World) -> None:
    """Nothing is warned of, a day without games in between included."""
    for back in range(4):
        status = "no_data" if back == 1 else "success"
        world.deliver(world.orchestrator(), world.five, DAY - timedelta(days=back), status=status)
    assert world.report(LATER).warnings == ()
