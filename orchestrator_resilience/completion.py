"""A Pub/Sub message becomes a Completion, or an InvalidMessageError that names the field.

Three shapes are taken: the CloudEvent that functions-framework hands over, the same as a plain
dict, and the push envelope `{"message": {...}, "subscription": ...}` that is inside both.
"""

import base64
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
from msgspec import Meta, Struct

from orchestrator_resilience.errors import InvalidMessageError, culprit
from orchestrator_resilience.phase import Phase

# A completion has under 2 kB. What is larger is no completion, and parsing it would only cost memory.
MAX_MESSAGE_BYTES = 256 * 1024
# Dates and times outside these years are mistakes, and arithmetic on the last ones overflows.
YEARS = range(2000, 2100)
_OLDEST, _NEWEST = timedelta(days=1800), timedelta(days=360)
_RAW_CHARACTERS = 500
# Unlike repr, it is bounded and never raises.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200

_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Id = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # BigQuery's INT64
_Instant = Annotated[datetime, Meta(tz=True)]


class Status(StrEnum):
    """What a processor says of its run."""

    SUCCESS = "success"
    PARTIAL = "partial"
    NO_DATA = "no_data"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def completes(self) -> bool:
        """Whether a processor with this status has done its work for the date."""
        return self in (Status.SUCCESS, Status.PARTIAL)


@runtime_checkable
class CloudEventLike(Protocol):
    """The two things read of a `cloudevents` CloudEvent."""

    data: Any

    def get(self, key: str, default: Any = None) -> Any:
        """Return one attribute of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One processor's report on one game date.

    `processor` is the expected name, or None for an unexpected one; `raw_processor` is what the message
    said. `completed_at` is the Pub/Sub publish time (UTC): the server's clock, the same at every
    redelivery. `event_id` is the Pub/Sub message id. `traceparent` is W3C trace context.
    """

    phase: str
    game_date: date
    processor: str | None
    raw_processor: str
    status: Status
    completed_at: datetime
    event_id: str
    correlation_id: str | None = None
    execution_id: str | None = None
    record_count: int | None = None
    is_incremental: bool | None = None
    entities_changed: tuple[str, ...] = ()
    delivery_attempt: int | None = None
    traceparent: str | None = None

    @classmethod
    def from_event(cls, event: object, phase: Phase) -> "Completion":
        """Parse a CloudEvent, its plain-dict form, or a push envelope.

        Raises InvalidMessageError, with the message's id and text as far as they could be read.
        """
        event_id, body = None, None
        try:
            envelope = _envelope(event)
            event_id = envelope.message.message_id
            body = _body(envelope.message)
            return _completion(_decode(body), envelope, phase)
        except InvalidMessageError as error:
            error.event_id = event_id
            error.raw = (body if isinstance(body, str) else _REPR.repr(body or event))[:_RAW_CHARACTERS]
            if error.field != "phase":  # else it says so of another phase
                error.processor, error.game_date = _whose(body)
            raise

    @classmethod
    def from_dict(
        cls, payload: Mapping[str, object], phase: Phase, *, event_id: str, published_at: datetime
    ) -> "Completion":
        """Parse the decoded JSON of a message; raises InvalidMessageError."""
        message = {"data": dict(payload), "messageId": event_id, "publishTime": published_at}
        return cls.from_event({"message": message}, phase)


class _PubsubMessage(Struct, frozen=True, rename="camel"):
    """The part of a PubsubMessage that is read; `data` may be an object that is decoded already."""

    publish_time: _Instant
    message_id: _Id = ""
    data: str | dict[str, Any] = ""
    attributes: dict[str, str] | None = None


class _Envelope(Struct, frozen=True, rename="camel"):
    message: _PubsubMessage
    delivery_attempt: _Count | None = None
    traceparent: str | None = None


class _Payload(Struct, frozen=True):
    """The fields of a completion message that are read; others are tolerated."""

    processor_name: _Name
    game_date: date
    status: Status
    phase: str | None = None
    execution_id: _Id | None = None
    correlation_id: _Id | None = None
    record_count: _Count | None = None
    is_incremental: bool | None = None
    entities_changed: tuple[str, ...] | None = None


def push_envelope_of(event: object) -> tuple[Mapping[str, Any], Any]:
    """Find the push envelope in whichever of the three shapes arrived; return it and the CloudEvent's attributes.

    Raises InvalidMessageError where there is none.
    """
    if isinstance(event, Mapping):
        inner = event if "message" in event else event.get("data")
        attributes: Any = {} if "message" in event else event
    elif isinstance(event, CloudEventLike):
        inner, attributes = event.data, event
    else:
        raise InvalidMessageError("event", f"expected a CloudEvent or a dict, got {type(event).__name__}")
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), Mapping):
        raise InvalidMessageError("message", "missing: expected a Pub/Sub envelope with a message")
    return inner, attributes


def _envelope(event: object) -> _Envelope:
    inner, attributes = push_envelope_of(event)
    message = dict(inner["message"])
    message.setdefault("messageId", message.get("message_id") or attributes.get("id") or "")
    message.setdefault("publishTime", message.get("publish_time") or attributes.get("time"))
    traceparent = attributes.get("traceparent")
    found = {**inner, "message": message, "traceparent": traceparent if isinstance(traceparent, str) else None}
    try:
        envelope = msgspec.convert(found, _Envelope)
    except msgspec.ValidationError as error:
        field, reason = culprit(error)
        raise InvalidMessageError(field or "message", reason) from error
    except RecursionError as error:
        raise InvalidMessageError("message", "nested too deeply") from error
    if not envelope.message.message_id:
        raise InvalidMessageError("message.messageId", "missing: a redelivery could not be recognised without it")
    _require_printable("message.messageId", envelope.message.message_id)
    _require_year("message.publishTime", envelope.message.publish_time)
    return envelope


def _body(message: _PubsubMessage) -> str | dict[str, Any]:
    """Undo base64 and UTF-8."""
    if isinstance(message.data, dict):
        return message.data
    if len(message.data) > MAX_MESSAGE_BYTES * 4 / 3:
        raise InvalidMessageError(
            "message.data", f"{len(message.data)} characters of base64 hold more than {MAX_MESSAGE_BYTES} bytes"
        )
    try:
        return base64.b64decode(message.data, validate=True).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidMessageError("message.data", f"not UTF-8: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise InvalidMessageError("message.data", f"not base64: {error}") from error


def _whose(body: str | dict[str, Any] | None) -> tuple[str | None, date | None]:
    """Read the processor and the date of a message that is wrong elsewhere; None for what cannot be read."""
    try:
        fields = msgspec.json.decode(body) if isinstance(body, str) else body
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, None
    if not isinstance(fields, dict):
        return None, None
    found: list[Any] = []
    for name, type_ in (("processor_name", _Name), ("game_date", date)):
        try:
            found.append(msgspec.convert(fields.get(name), type_))
        except (msgspec.ValidationError, RecursionError):
            found.append(None)
    name, day = found
    return (name if name and name.isprintable() else None), (day if day and day.year in YEARS else None)


def _decode(body: str | dict[str, Any]) -> _Payload:
    try:
        if isinstance(body, str):
            return msgspec.json.decode(body, type=_Payload)
        return msgspec.convert(body, _Payload)
    except msgspec.ValidationError as error:
        field, reason = culprit(error)
        raise InvalidMessageError(field or "message.data", reason) from error
    except RecursionError as error:
        raise InvalidMessageError("message.data", "not JSON that can be read: nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidMessageError("message.data", f"not JSON: {error}") from error


def _completion(payload: _Payload, envelope: _Envelope, phase: Phase) -> Completion:
    for field in ("processor_name", "execution_id", "correlation_id"):
        _require_printable(field, getattr(payload, field))
    _require_year("game_date", payload.game_date)
    message = envelope.message
    # BigQuery takes no streamed rows outside these bounds: the message would come back for ever.
    if not -_OLDEST <= payload.game_date - message.publish_time.date() <= _NEWEST:
        raise InvalidMessageError(
            "game_date",
            f"{payload.game_date} is more than {_OLDEST.days} days before or {_NEWEST.days} after its publication",
        )
    if payload.phase is not None and payload.phase != phase.message_phase:
        raise InvalidMessageError("phase", f"expected {phase.message_phase!r}, got {payload.phase[:64]!r}")
    return Completion(
        phase=phase.name,
        game_date=payload.game_date,
        processor=phase.canonical(payload.processor_name),
        raw_processor=payload.processor_name,
        status=payload.status,
        completed_at=message.publish_time.astimezone(UTC),
        event_id=message.message_id,
        correlation_id=payload.correlation_id,
        execution_id=payload.execution_id,
        record_count=payload.record_count,
        is_incremental=payload.is_incremental,
        entities_changed=payload.entities_changed or (),
        delivery_attempt=envelope.delivery_attempt,
        traceparent=envelope.traceparent or (message.attributes or {}).get("googclient_traceparent"),
    )


def _require_printable(field: str, value: str | None) -> None:
    """Refuse control characters, line breaks, lone surrogates and the like: names end up in logs."""
    if value is not None and not value.isprintable():
        raise InvalidMessageError(field, f"has characters that cannot be printed: {value[:64]!a}")


def _require_year(field: str, value: date) -> None:
    if value.year not in YEARS:
        raise InvalidMessageError(field, f"the year of {value.isoformat()} is not in {YEARS.start}..{YEARS.stop - 1}")
