"""CheckpointLogger: the CHECKPOINT_* lines that each delivery leaves.

A checkpoint never raises into its caller, never waits for the network, and counts what it had to
drop. Nothing here imports a cloud library: an orchestrator that exists already can use just this.
"""

import functools
import inspect
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from msgspec.structs import replace

from orchestrator_resilience.checkpoints import (
    DEFAULT_SEVERITY,
    Checkpoint,
    CheckpointKind,
    DeliveryOutcome,
    Severity,
    Sink,
    hash_of_names,
)
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import DeliveryError, InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import (
    LIST_ITEMS,
    TEXT_CHARACTERS,
    calendar_date,
    one_line,
    plain,
    shown,
)
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.sinks import default_sink
from orchestrator_resilience.transaction import SEVERITY, transaction_of

_CAUSES = 20
_SUBJECT_CHARACTERS = 200
_LIST_CHARACTERS = 50_000  # of the lines that say who is missing, by name
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., None])


def _never_raises(method: F) -> F:
    """Count a checkpoint that could not be made as dropped; the delivery itself matters more."""

    @functools.wraps(method)
    def guarded(self: "Delivery", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 (whatever went wrong in the logging must not end the delivery)
            self.logger.count_dropped(1, error)

    return cast("F", guarded)


class CheckpointLogger:
    """Leaves the checkpoints of one phase's orchestrator.

    `sink` takes each checkpoint (by default JSON lines on stdout, or text for people where stdout
    is a terminal). `enabled` is the rollback switch, by default the environment's
    CHECKPOINTS_ENABLED; the environment's K_REVISION is on each line as `revision`. `clock` returns
    the current time (aware). One logger serves many threads. `dropped` counts the checkpoints that
    could not be made or written; the next one that is written carries it.
    """

    def __init__(
        self,
        phase: Phase,
        sink: Sink | None = None,
        *,
        enabled: bool | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        settings = Settings.from_env()
        self.phase = phase
        self.revision = settings.revision
        self.enabled = settings.checkpoints_enabled if enabled is None else enabled
        self.dropped = 0
        self._dropped_because = ""
        # a signal handler may deliver while its own thread is in here
        self._lock = threading.RLock()
        self._sink = default_sink() if sink is None else sink
        self.clock = clock

    def delivery(
        self,
        *,
        processor: str | None,
        game_date: date | str | None,
        event_id: str | None,
        correlation_id: str | None = None,
        delivery_attempt: int | None = None,
        traceparent: str | None = None,
        status: str | None = None,
    ) -> "Delivery":
        """Begin a delivery: RECEIVED on entering the `with` block, a closing checkpoint by its end.

        `processor` is the name in the message, None where it has none; the phase's aliases are
        applied. `traceparent` is W3C trace context. Only what the block itself raises leaves the
        block.
        """
        # Made plain first, so that no value, whatever it is, can end a delivery.
        name = plain(processor)
        day = plain(game_date)
        trace = _TRACEPARENT.fullmatch(str(plain(traceparent)))
        return Delivery(
            self,
            {
                "phase": self.phase.name,
                "game_date": day[:10] if issubclass(type(game_date), datetime) else day,
                "processor": self.phase.canonical(name) if isinstance(name, str) else None,
                "raw_processor": processor,
                "event_id": event_id,
                "correlation_id": correlation_id,
                "delivery_attempt": delivery_attempt,
                "status": status,
                "trace": trace[1] if trace else None,
                "span": trace[2] if trace else None,
            },
        )

    def delivery_of(self, completion: Completion, traceparent: str | None = None) -> "Delivery":
        """Begin the delivery of a parsed completion, in the trace `traceparent` of the request.

        Without one it is in the message's own trace.
        """
        delivery = self.delivery(
            processor=completion.raw_processor,
            game_date=completion.game_date,
            event_id=completion.event_id,
            correlation_id=completion.correlation_id,
            delivery_attempt=completion.delivery_attempt,
            traceparent=traceparent or completion.traceparent,
            status=completion.status.value,
        )
        delivery.odd_fields = completion.odd_fields
        return delivery

    def probe(self, probe_id: str) -> "Delivery":
        """Begin the delivery of a probe, which is about no game date."""
        return Delivery(
            self, {"phase": self.phase.name, "raw_processor": "probe", "event_id": probe_id}
        )

    def each_delivery(self, function: Callable[..., R]) -> Callable[..., R]:
        """Decorate a function of an event, which then gets its `delivery` as its last argument.

        RECEIVED is left before the function begins, with what can be read of the event (a
        CloudEvent, its plain-dict form, or a push envelope), and a closing checkpoint by its end,
        wherever it returns or raises. The event is the first argument, after `self` or `cls`; all
        others are passed on. A coroutine runs inside the delivery. Raises TypeError for what cannot
        be decorated, such as a generator function.
        """
        signature, place = _seen_by_callers(function)
        name = [*signature.parameters][place]

        def deliver(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                event = args[place] if len(args) > place else kwargs.get(name)
                delivery = stack.enter_context(self._delivery_from(event))
                result = function(*args, **{**kwargs, "delivery": delivery})
                return (
                    _run_within(result, stack.pop_all()) if inspect.iscoroutine(result) else result
                )

        async def deliver_coroutine(*args: Any, **kwargs: Any) -> Any:
            return await deliver(*args, **kwargs)

        decorated = functools.wraps(function)(
            deliver_coroutine if inspect.iscoroutinefunction(function) else deliver
        )
        vars(decorated)["__signature__"] = signature
        return decorated

    def rejected(self, error: InvalidMessageError | str) -> None:
        """Leave REJECTED for a message that could not be parsed.

        The message's text is kept in `raw`.
        """
        self._delivery_of_invalid(error).rejected(error)

    def _delivery_from(self, event: object) -> "Delivery":
        """Begin the delivery of an event as it came; nothing is decided here about accepting it."""
        try:
            return self.delivery_of(Completion.from_event(event, self.phase))
        except Exception as error:  # noqa: BLE001 (an event that cannot even be looked at is still delivered)
            delivery = self._delivery_of_invalid(error)
            # Why it could not be read, or not all of it: its fields may have names of another kind.
            delivery.odd_fields = (one_line(str(_invalid(error)), _SUBJECT_CHARACTERS),)
            return delivery

    def _delivery_of_invalid(self, error: object) -> "Delivery":
        invalid = _invalid(error)
        return self.delivery(
            processor=invalid.processor, game_date=invalid.game_date, event_id=invalid.event_id
        )

    def write(self, checkpoint: Checkpoint) -> None:
        """Hand one checkpoint to the sink, unless the switch is off.

        A checkpoint that the sink does not take is counted.
        """
        if not self.enabled:
            return
        with self._lock:
            dropped, self.dropped = self.dropped, 0
        if dropped:
            fields = {
                **checkpoint.fields,
                "dropped": dropped,
                "dropped_because": self._dropped_because,
            }
            checkpoint = replace(checkpoint, fields=fields)
        try:
            self._sink(checkpoint)
        except BaseException as error:
            self.count_dropped(dropped + 1, error)
            if not isinstance(error, Exception):
                raise

    def count_dropped(self, count: int, error: BaseException) -> None:
        """Add to the number of checkpoints lost; `error` is why the last of them was."""
        with self._lock:
            self.dropped += count
            self._dropped_because = one_line(_described(error))


class Delivery:
    """The checkpoints of one delivery, made by CheckpointLogger.delivery; a context manager."""

    def __init__(self, logger: CheckpointLogger, fields: dict[str, Any]) -> None:
        self.logger = logger
        self._fields = _plain({**fields, "revision": logger.revision})
        self._subject = one_line(self._whose(), _SUBJECT_CHARACTERS)
        self.odd_fields: tuple[str, ...] = ()
        self._begin()

    def _begin(self) -> None:
        # It distinguishes two attempts at one message, so that a death can be seen in each.
        self._id = os.urandom(8).hex()
        self._sequence = 0
        self._started = time.monotonic()
        self._closed = False
        self._failure: BaseException | None = None
        self._expected_hash: str | None = None
        self._transaction: dict[str, Any] = {}
        self._step_seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._sequence:  # entered again
            self._begin()
        self._received()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and error is not self._failure:
            self.failed(error)
        elif not self._closed:
            self._returned_early()

    @_never_raises
    def post_transaction(
        self,
        *,
        should_trigger: bool,
        completed: Iterable[str] | None = None,
        triggered: bool | None = None,
        document: Mapping[str, Any] | None = None,
        duplicate: bool | None = None,
        attempts: int | None = None,
        expected: Iterable[str] | None = None,
        on_purpose: str | None = None,
    ) -> None:
        """Leave POST_TRANSACTION, then WAITING with the missing list or TRIGGERED.

        `should_trigger`: this message was the one to set the flag. `document`: the progress
        document as it is now, which says who has completed and whether the flag is set; else
        `completed` are the processors that the store holds, under any of their names, and
        `triggered` says that the flag is set. `expected`: what the orchestrator waits for, where
        that is another list than the phase's. `on_purpose`: the reason for which the flag was set
        without everybody, where the document does not say it. A date that is complete and still
        untriggered is an ERROR at once, one that is triggered although somebody is missing a
        WARNING, unless that was on purpose. May be called again where the flag is set after the
        transaction. What is given twice, not at all, as one text instead of names, or as something
        else than True or False is a TypeError: no line, and it is counted.
        """
        transaction = transaction_of(
            self._phase,
            should_trigger=should_trigger,
            completed=completed,
            triggered=triggered,
            document=document,
            duplicate=duplicate,
            expected=expected,
            on_purpose=on_purpose,
        )
        outcome = transaction.outcome
        self._expected_hash = hash_of_names(transaction.expected)
        sets, waits = should_trigger and transaction.triggered, outcome is DeliveryOutcome.WAITING
        orchestrator_expected = None if expected is None else sorted(transaction.expected)
        fields = {**transaction.fields, "expected": orchestrator_expected, "attempts": attempts}
        cut = {
            f"{k}_count": len(v)
            for k, v in fields.items()
            if isinstance(v, list) and len(v) > LIST_ITEMS
        }
        self._transaction = _plain(fields | cut)
        self._leave(
            CheckpointKind.POST_TRANSACTION,
            transaction.text,
            self._transaction,
            severity=SEVERITY.get(outcome),
            outcome=None if waits or sets else outcome,
        )
        # Each line that closes a delivery says all of it, so that readers need no other line.
        if sets:
            text = f"{transaction.count}, _triggered is set{transaction.purpose}"
            self._leave(CheckpointKind.TRIGGERED, text, self._transaction, outcome=outcome)
        elif waits:
            text = f"{transaction.missing_text} {transaction.count}"
            self._leave(CheckpointKind.WAITING, text, self._transaction, outcome=outcome)

    @_never_raises
    def started(self, *, message_id: str | None = None) -> None:
        """Leave STARTED: the next phase was started, by the message of this id where there is one.

        It is for code whose flag starts the next phase, and comes after `post_transaction`, whose
        fields the line repeats.
        """
        text = one_line(
            f"the next phase was started{f' by message {message_id}' if message_id else ''}"
        )
        outcome = DeliveryOutcome.STARTED
        self._leave(
            CheckpointKind.STARTED, text, self._transaction, outcome=outcome, message_id=message_id
        )

    @_never_raises
    def not_started(self, reason: str | BaseException) -> None:
        """Leave NOT_STARTED: the next phase should start and was not started.

        `reason` is why: a gate refused, or a call failed.
        """
        if isinstance(reason, BaseException):
            self._failure = reason  # the same failure if it leaves the block, too
        why = one_line(_described(reason) if isinstance(reason, BaseException) else str(reason))
        outcome = DeliveryOutcome.NOT_STARTED
        self._leave(CheckpointKind.NOT_STARTED, why, self._transaction, outcome=outcome, reason=why)

    @property
    def _phase(self) -> Phase:
        """The phase as it is on the delivery's date, where it has one that can be read."""
        day = calendar_date(str(self._fields.get("game_date")))
        return self.logger.phase if day is None else self.logger.phase.on(day)

    @_never_raises
    def took(self, step: str, seconds: float) -> None:
        """Add `seconds` to the time of a step, such as "register".

        The closing line has them all in `step_ms`.
        """
        self._step_seconds[step] = self._step_seconds.get(step, 0.0) + float(seconds)

    @_never_raises
    def unexpected(self) -> None:
        """Leave UNEXPECTED: the processor is none of the phase's.

        The line has the nearest expected name.
        """
        raw = str(self._fields.get("raw_processor"))
        nearest = self._phase.nearest(raw)
        hint = (
            f"the nearest expected name is {nearest}"
            if nearest
            else "no expected name resembles it"
        )
        self._leave(
            CheckpointKind.UNEXPECTED,
            f"it is not a processor of {self.logger.phase.name}; {hint}",
            outcome=DeliveryOutcome.UNEXPECTED,
            nearest=nearest,
        )

    @_never_raises
    def probed(self, wrong: str | None) -> None:
        """Leave PROBED: a probe was answered, or came too late.

        The line is a WARNING where something is `wrong`.
        """
        severity = Severity.WARNING if wrong else None
        self._leave(
            CheckpointKind.PROBED,
            wrong or "alive",
            severity=severity,
            outcome=DeliveryOutcome.PROBED,
        )

    @_never_raises
    def ignored(self, reason: str) -> None:
        """Leave IGNORED: the delivery changes nothing, and why."""
        self._leave(CheckpointKind.IGNORED, reason, outcome=DeliveryOutcome.IGNORED)

    @_never_raises
    def rejected(self, error: InvalidMessageError | str) -> None:
        """Leave REJECTED with the field that is wrong and what was sent, or with a reason in words.

        The message is acknowledged, and nobody will send it again.
        """
        error = _invalid(error)
        self._leave(
            CheckpointKind.REJECTED,
            f"{error} in {error.raw}" if error.raw else str(error),
            outcome=DeliveryOutcome.REJECTED,
            field=error.field,
            reason=error.reason,
            raw=error.raw,
        )

    @_never_raises
    def failed(self, error: BaseException) -> None:
        """Leave FAILED with the whole chain of causes.

        It is for code of your own that catches the error; for an error that leaves the block or the
        function, FAILED is left without it. Whether the message comes again is not known here.
        """
        self._failure = error
        self._leave(
            CheckpointKind.FAILED,
            _described(error),
            outcome=DeliveryOutcome.FAILED,
            error=_described(error),
            steps=list(error.failures) if isinstance(error, DeliveryError) else None,
            error_class=type(error).__name__,
            causes=causes(error),
        )

    @_never_raises
    def _received(self) -> None:
        text = "; ".join(filter(None, (str(self._fields.get("status", "")), *self.odd_fields)))
        self._leave(CheckpointKind.RECEIVED, text, odd_fields=list(self.odd_fields) or None)

    @_never_raises
    def _returned_early(self) -> None:
        status = self._fields.get("status")
        # of such a delivery nobody has to say anything
        if isinstance(status, str) and not self._phase.completes(status):
            self.ignored(f"{status} completes nothing")
        else:
            self._leave(
                CheckpointKind.IGNORED,
                "the delivery ended without a word about its transaction",
                severity=Severity.WARNING,
                outcome=DeliveryOutcome.RETURNED_EARLY,
            )

    def _leave(
        self,
        kind: CheckpointKind,
        text: object,
        transaction: Mapping[str, Any] | None = None,
        *,
        outcome: DeliveryOutcome | None = None,
        severity: Severity | None = None,
        **extra: object,
    ) -> None:
        """Leave one line; with an `outcome` it is one that closes the delivery."""
        self._sequence += 1
        # On RECEIVED processor and date come first; on other lines they come after the words that
        # people search for.
        words = one_line(
            text if isinstance(text, str) else str(plain(text)),
            TEXT_CHARACTERS if transaction is None else _LIST_CHARACTERS,
        )
        text = (
            f"{self._subject} {words}".rstrip()
            if kind is CheckpointKind.RECEIVED
            else f"{words} ({self._subject})"
        )
        if outcome is not None:
            self._closed = True
            # A copy, because actions that still run may add to it.
            steps = {step: _milliseconds(took) for step, took in self._step_seconds.copy().items()}
            extra |= {
                "outcome": outcome.value,
                "expected_hash": self._expected_hash,
                "step_ms": steps or None,
            }
        self.logger.write(
            Checkpoint(
                kind=kind,
                severity=severity or DEFAULT_SEVERITY[kind],
                at=self.logger.clock(),
                text=text,
                fields={
                    **self._fields,
                    **(transaction or {}),
                    **_plain(extra),
                    "delivery": self._id,
                    "sequence": self._sequence,
                    "elapsed_ms": _milliseconds(time.monotonic() - self._started),
                },
                closes=outcome is not None,
            )
        )

    def _whose(self) -> str:
        fields = self._fields
        words = [fields.get("processor") or fields.get("raw_processor"), fields.get("game_date")]
        unnamed = (
            f"message {fields['event_id']}" if "event_id" in fields else "an unreadable message"
        )
        return " ".join(str(word) for word in words if word is not None) or unnamed


def _seen_by_callers(function: Callable[..., object]) -> tuple[inspect.Signature, int]:
    """Return a function's signature without its delivery, and the place of the event in it.

    Raises TypeError, with what to use instead, for what cannot be called with an event and a
    delivery.
    """
    instead = "; a block does it everywhere: with checkpoints.delivery(...) as delivery"
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise TypeError(
            "each_delivery takes a function, below all other decorators, not "
            f"{shown(function)}{instead}"
        )
    inner = inspect.unwrap(function)
    name = function.__qualname__
    signature = inspect.signature(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(
            f"each_delivery: {name} is a generator function, whose body runs after its "
            f"call{instead}"
        )
    kinds = {p.name: p.kind for p in signature.parameters.values()}
    places = [place for place, kind in kinds.items() if kind <= inspect.Parameter.VAR_POSITIONAL]
    place = int(places[:1] in (["self"], ["cls"]))
    event = [*places, "delivery"][place]
    is_last = kinds.get("delivery") in _BY_NAME and "delivery" not in places[:-1]
    if not is_last or event == "delivery" or kinds[event] is inspect.Parameter.VAR_POSITIONAL:
        raise TypeError(
            f"each_delivery: {name} has to take an event first, and `delivery` last{instead}"
        )
    # A function in the body of a class may be a static method, which cannot be seen here.
    in_a_class = re.search(r"[^>]\.[^.]+\Z", name) and not inspect.ismethod(function)
    if in_a_class and not place and places[1:2] not in ([], ["delivery"]):
        raise TypeError(
            f"each_delivery: whether {places[0]} of {name} is the event is not known{instead}"
        )
    parameters = [
        parameter for parameter in signature.parameters.values() if parameter.name != "delivery"
    ]
    return signature.replace(parameters=parameters), place


def _invalid(error: object) -> InvalidMessageError:
    return (
        error
        if isinstance(error, InvalidMessageError)
        else InvalidMessageError("message", str(plain(error)))
    )


async def _run_within(result: Awaitable[R], delivery: AbstractContextManager[object]) -> R:
    with delivery:
        return await result


def _plain(fields: Mapping[str, object]) -> dict[str, Any]:
    return {name: plain(value) for name, value in fields.items() if value is not None}


def causes(error: BaseException) -> list[str]:
    """Name what led to `error`: a DeliveryError's failures, and each `__cause__` and `__context__`.

    Google's clients put the real error in either of the two chains, so both are followed.
    """
    chain: list[BaseException] = []

    def follow(current: BaseException) -> None:
        failures = current.failures.values() if isinstance(current, DeliveryError) else ()
        grouped = current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        for cause in (*failures, *grouped, current.__cause__, current.__context__):
            is_listed = any(cause is listed for listed in (error, *chain))
            if cause is not None and not is_listed and len(chain) < _CAUSES:
                chain.append(cause)
                follow(cause)

    follow(error)
    return [_described(cause) for cause in chain]


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (an exception whose text cannot be had is still to be named)
        return type(error).__name__


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
