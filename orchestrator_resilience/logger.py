"""CheckpointLogger: the CHECKPOINT_* lines that each delivery leaves.

A checkpoint never raises into its caller, never waits for the network, and counts what it had to
drop. Nothing here imports a cloud library: an orchestrator that exists already can use just this.
"""

import functools
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from orchestrator_resilience.checkpoints import (
    DEFAULT_SEVERITY,
    Checkpoint,
    CheckpointKind,
    Severity,
    Sink,
    one_line,
    plain,
)
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import DeliveryError, InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import completed_names, read_progress
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.sinks import default_sink

_CAUSES = 20

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

    `sink` takes each checkpoint (by default JSON lines on stdout, or text for people where stdout is
    a terminal). `enabled` is the rollback switch, by default the environment's CHECKPOINTS_ENABLED.
    `clock` returns the current time (aware). One logger serves many threads. `dropped` counts the
    checkpoints that could not be made or written; the next one that is written carries it.
    """

    def __init__(
        self,
        phase: Phase,
        sink: Sink | None = None,
        *,
        enabled: bool | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.phase = phase
        self.enabled = Settings.from_env().checkpoints_enabled if enabled is None else enabled
        self.dropped = 0
        self._dropped_because = ""
        self._lock = threading.RLock()  # a signal handler may deliver while its own thread is in here
        self._sink = sink or default_sink()
        self._clock = clock

    def delivery(
        self,
        *,
        processor: str,
        game_date: date | str,
        event_id: str,
        correlation_id: str | None = None,
        delivery_attempt: int | None = None,
        traceparent: str | None = None,
        status: str | None = None,
    ) -> "Delivery":
        """Begin a delivery: RECEIVED on entering the `with` block, a closing checkpoint by its end.

        `processor` is the name in the message; the phase's aliases are applied. `traceparent` is
        W3C trace context. Only what the block itself raises leaves the block.
        """
        trace = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", str(traceparent))
        return Delivery(
            self,
            {
                "phase": self.phase.name,
                "game_date": plain(game_date.date() if isinstance(game_date, datetime) else game_date),
                "processor": self.phase.canonical(processor) if isinstance(processor, str) else None,
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
        """Begin the delivery of a parsed completion, in the trace of the request rather than the message's own."""
        return self.delivery(
            processor=completion.raw_processor,
            game_date=completion.game_date,
            event_id=completion.event_id,
            correlation_id=completion.correlation_id,
            delivery_attempt=completion.delivery_attempt,
            traceparent=traceparent or completion.traceparent,
            status=completion.status.value,
        )

    def probe(self, probe_id: str) -> "Delivery":
        """Begin the delivery of a probe, which is about no game date."""
        return Delivery(self, {"phase": self.phase.name, "raw_processor": "probe", "event_id": probe_id})

    def rejected(self, error: InvalidMessageError) -> None:
        """Leave REJECTED for a message that could not be parsed; the message's text is kept in `raw`."""
        known = {
            "phase": self.phase.name,
            "game_date": plain(error.game_date),
            "processor": self.phase.canonical(error.processor) if error.processor else None,
            "raw_processor": error.processor,
            "event_id": error.event_id,
        }
        Delivery(self, known).rejected(error)

    def write(self, checkpoint: Checkpoint) -> None:
        """Hand one checkpoint to the sink, unless the switch is off."""
        if not self.enabled:
            return
        with self._lock:
            dropped, self.dropped = self.dropped, 0
        if dropped:
            told = {"dropped": dropped, "dropped_because": self._dropped_because}
            checkpoint = replace(checkpoint, fields={**checkpoint.fields, **told})
        try:
            self._sink(checkpoint)
        except BaseException as error:
            self.count_dropped(dropped, error)
            raise

    def count_dropped(self, count: int, error: BaseException) -> None:
        """Add to the number of checkpoints lost; `error` is why the last of them was."""
        with self._lock:
            self.dropped += count
            self._dropped_because = one_line(_described(error))

    def now(self) -> datetime:
        """Return the logger's time."""
        return self._clock()


class Delivery:
    """The checkpoints of one delivery, made by CheckpointLogger.delivery; used as a context manager."""

    def __init__(self, logger: CheckpointLogger, known: dict[str, Any]) -> None:
        self.logger = logger
        self._known = {name: value for name, value in known.items() if value is not None}
        # Tells two attempts at one message apart, so that a death can be seen in each.
        self._id = uuid.uuid4().hex[:16]
        self._sequence = 0
        self._started = time.monotonic()
        self._closed = False

    def __enter__(self) -> Self:
        self._closed = False
        self._received()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._failed(error)
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
    ) -> None:
        """Leave POST_TRANSACTION, then WAITING with the missing list or TRIGGERED.

        `should_trigger`: this message was the one to set the flag. `document`: the progress document
        as it is now, which says who has completed and whether the flag is set; else `completed` are
        the processors that the store holds, under any of their names, and `triggered` says that the
        flag is set. `expected`: what the orchestrator waits for, where that is another list than the
        phase's. A date that is complete and still untriggered is an ERROR at once, one that is triggered
        although somebody is missing a WARNING, unless the document says that this was on purpose. What is
        given twice, not at all, or as one text instead of names is a TypeError: no line, and it is counted.
        """
        completed, triggered, on_purpose = self._state(completed=completed, triggered=triggered, document=document)
        waits_for = self._canonical("expected", self.logger.phase.expected if expected is None else expected)
        held = self._canonical("completed", completed)
        done, missing = sorted(waits_for & held), sorted(waits_for - held)
        unexpected = sorted(name for name in held - waits_for if not self._is_known_besides(name))
        stuck, premature = not missing and not triggered, bool(missing) and triggered and on_purpose is None
        text = f"should_trigger={should_trigger} triggered={triggered}"
        text += "" if duplicate is None else f" duplicate={duplicate}"
        text += f" completed={done} missing={missing}"
        if stuck:
            text += ": all are complete and _triggered is still unset"
        if premature:
            text += ": _triggered is set although somebody is missing"
        if missing and on_purpose is not None:
            text += f": _triggered is set on purpose, {on_purpose}"
        waits, sets = bool(missing) and not triggered, should_trigger and triggered
        self._leave(
            CheckpointKind.POST_TRANSACTION,
            text,
            severity=Severity.ERROR if stuck else Severity.WARNING if premature else None,
            closes=not waits and not sets,
            should_trigger=should_trigger,
            triggered=triggered,
            duplicate=duplicate,
            expected=None if expected is None else sorted(waits_for),
            completed=done,
            missing=missing,
            unexpected=unexpected or None,
            attempts=attempts,
        )
        count = f"{self._known['game_date']} {len(done)}/{len(waits_for)} complete"
        if sets:
            self._leave(CheckpointKind.TRIGGERED, f"{count}, _triggered is set", closes=True, completed=done)
        elif waits:
            self._leave(CheckpointKind.WAITING, f"missing={missing}: {count}", closes=True, missing=missing)

    @_never_raises
    def unexpected(self) -> None:
        """Leave UNEXPECTED: the processor is none of the phase's; the nearest expected name is given."""
        raw = str(self._known["raw_processor"])
        nearest = self.logger.phase.nearest(raw)
        hint = f"the nearest expected name is {nearest}" if nearest else "no expected name resembles it"
        self._leave(
            CheckpointKind.UNEXPECTED,
            f"{raw} is not a processor of {self.logger.phase.name}; {hint}",
            closes=True,
            nearest=nearest,
        )

    @_never_raises
    def probed(self, wrong: str | None) -> None:
        """Leave PROBED: a probe was answered, or came too late; WARNING with what was found `wrong`."""
        severity = Severity.WARNING if wrong else None
        self._leave(CheckpointKind.PROBED, wrong or "alive", severity=severity, closes=True)

    @_never_raises
    def ignored(self, reason: str) -> None:
        """Leave IGNORED: the delivery changes nothing, and why."""
        self._leave(CheckpointKind.IGNORED, reason, closes=True)

    @_never_raises
    def rejected(self, error: InvalidMessageError) -> None:
        """Leave REJECTED with the field that is wrong, and what was sent: nobody will send it again."""
        self._leave(
            CheckpointKind.REJECTED,
            f"{error} in {error.raw}" if error.raw else str(error),
            closes=True,
            field=error.field,
            reason=error.reason,
            raw=error.raw,
        )

    def _state(
        self, *, completed: Iterable[str] | None, triggered: bool | None, document: Mapping[str, Any] | None
    ) -> tuple[Iterable[str], bool, str | None]:
        """Return who has completed, whether the flag is set, and why it was set without everybody, if on purpose."""
        if document is None and completed is not None and triggered is not None:
            return completed, triggered, None
        if document is None or completed is not None or triggered is not None:
            raise TypeError("post_transaction takes either document, or completed and triggered")
        trigger = read_progress(document, self.logger.phase).trigger
        on_purpose = None
        if trigger is not None and trigger.deliberately_partial:
            on_purpose = trigger.reason or "without a reason"
        return completed_names(document), trigger is not None, on_purpose

    def _is_known_besides(self, name: str) -> bool:
        """Whether a name is optional or one of the others: an expected one that nobody waits for is a surprise."""
        return self.logger.phase.is_known(name) and name not in self.logger.phase.expected

    def _canonical(self, argument: str, names: Iterable[str]) -> set[str]:
        if isinstance(names, str):  # which is a collection, of its letters
            raise TypeError(f"{argument} takes a collection of names, not the text {names!r}")
        return {self.logger.phase.canonical(name) or name for name in names}

    @_never_raises
    def _received(self) -> None:
        known = self._known
        words = (known.get("processor") or known.get("raw_processor"), known.get("game_date"), known.get("status"))
        self._leave(CheckpointKind.RECEIVED, " ".join(str(word) for word in words if word is not None))

    @_never_raises
    def _failed(self, error: BaseException) -> None:
        steps = list(error.failures) if isinstance(error, DeliveryError) else None
        self._leave(
            CheckpointKind.FAILED,
            _described(error),
            closes=True,
            steps=steps,
            error_class=type(error).__name__,
            causes=causes(error),
        )

    @_never_raises
    def _returned_early(self) -> None:
        self._leave(
            CheckpointKind.IGNORED,
            "the delivery ended without a word about its transaction",
            severity=Severity.WARNING,
            closes=True,
        )

    @_never_raises
    def _leave(
        self,
        kind: CheckpointKind,
        text: str,
        *,
        closes: bool = False,
        severity: Severity | None = None,
        **extra: object,
    ) -> None:
        self._sequence += 1
        self._closed = self._closed or closes
        fields = {
            **self._known,
            **{name: value for name, value in extra.items() if value is not None},
            "delivery": self._id,
            "sequence": self._sequence,
            "elapsed_ms": round((time.monotonic() - self._started) * 1000, 1),
        }
        self.logger.write(
            Checkpoint(
                kind=kind,
                severity=severity or DEFAULT_SEVERITY[kind],
                at=self.logger.now(),
                text=one_line(text),
                fields={name: plain(value) for name, value in fields.items()},
                closes=closes,
            )
        )


def causes(error: BaseException) -> list[str]:
    """Name what led to `error`: a DeliveryError's failures, and every `__cause__` and `__context__`.

    Google's clients put the real error in either of the two chains, so both are followed.
    """
    found: list[BaseException] = []

    def follow(current: BaseException) -> None:
        inner: Iterable[BaseException] = ()
        if isinstance(current, DeliveryError):
            inner = current.failures.values()
        elif isinstance(current, BaseExceptionGroup):
            inner = current.exceptions
        for cause in (*inner, current.__cause__, current.__context__):
            known = any(cause is other for other in (error, *found))
            if cause is not None and not known and len(found) < _CAUSES:
                found.append(cause)
                follow(cause)

    follow(error)
    return [_described(cause) for cause in found]


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (an exception whose text cannot be had is still to be named)
        return type(error).__name__
