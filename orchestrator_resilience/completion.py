"""A Pub/Sub message becomes a Completion, or an InvalidMessageError that names the field.

Three shapes are taken: the CloudEvent that functions-framework hands over, the same as a plain
dict, and the push envelope `{"message": {...}, "subscription": ...}` that is inside both.

The processor's name, the date, the status, the message's id and its time are needed. Any other
field that is odd is read as what it plainly means, or left out, and the completion says so: nobody
needs that field, and no completion is lost for it.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec.structs import replace

from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.phase import COMPLETING_STATUSES, Phase
from orchestrator_resilience.plain import YEARS, shown

# A completion has under 2 kB. A larger message is none, and to parse it would only cost memory.
MAX_MESSAGE_BYTES = 256 * 1024
_OLDEST, _NEWEST = timedelta(days=1800), timedelta(days=360)
_RAW_CHARACTERS = 500
_NAME_CHARACTERS, _ID_CHARACTERS = 128, 256
# A publisher in front of another one may encode the body once more, or twice.
_LAYERS = 3
_INT64 = 2**63
_WHOLE_FIELD = re.compile(r'"(processor_name|game_date|phase)"\s*:\s*"([^"\\]*)"')
_DIGITS = 40  # of a whole number; a longer one is read as a float, which has no limit of digits

T = TypeVar("T")


class Status(StrEnum):
    """What a processor says of its run."""

    SUCCESS = "success"
    PARTIAL = "partial"
    NO_DATA = "no_data"
    FAILED = "failed"
    SKIPPED = "skipped"


@runtime_checkable
class CloudEventLike(Protocol):
    """The two things read of a `cloudevents` CloudEvent."""

    data: Any

    def get(self, key: str, default: Any = None) -> Any:
        """Return one attribute of the event."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One processor's report on one game date.

    `processor` is the expected name, or None for an unexpected one; `raw_processor` is what the
    message said. `completed_at` is the Pub/Sub publish time (UTC): the server's clock, the same at
    every redelivery. `event_id` is the Pub/Sub message id. `traceparent` is W3C trace context.
    `odd_fields` says, one sentence each, what of the message was not as it should be, and what
    became of it.
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
    odd_fields: tuple[str, ...] = ()

    @classmethod
    def from_event(cls, event: object, phase: Phase) -> "Completion":
        """Parse a CloudEvent, its plain-dict form, or a push envelope.

        Raises InvalidMessageError, with the message's id and text as far as they could be read.
        """
        event_id, body = None, None
        try:
            envelope, attributes = push_envelope_of(event)
            message = envelope["message"]
            event_id = _message_id(
                message.get("messageId") or message.get("message_id") or attributes.get("id")
            )
            body = _body(message.get("data", ""))
            fields = _fields(body)
            published_at = _published_at(
                message.get("publishTime") or message.get("publish_time") or attributes.get("time")
            )
            return replace(
                _completion(fields, event_id, published_at, phase),
                delivery_attempt=_count(envelope.get("deliveryAttempt")),
                traceparent=_traceparent(message, attributes),
            )
        except InvalidMessageError as error:
            error.event_id = event_id
            error.raw = (body if isinstance(body, str) else shown(body or event))[:_RAW_CHARACTERS]
            error.processor, error.game_date = _whose(body)
            raise


def push_envelope_of(event: object) -> tuple[Mapping[str, Any], Any]:
    """Return the push envelope and the CloudEvent's attributes, whichever shape arrived.

    Raises InvalidMessageError where there is no envelope.
    """
    if isinstance(event, Mapping):
        inner = event if "message" in event else event.get("data")
        attributes: Any = {} if "message" in event else event
    elif isinstance(event, CloudEventLike):
        inner, attributes = event.data, event
    else:
        raise InvalidMessageError(
            "event", f"expected a CloudEvent or a dict, got {type(event).__name__}"
        )
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), Mapping):
        raise InvalidMessageError("message", "missing: expected a Pub/Sub envelope with a message")
    return inner, attributes


def _traceparent(message: Mapping[str, Any], attributes: Any) -> str | None:
    """Return the trace of the request, or else the message's own."""
    message_attributes = message.get("attributes")
    traces = (
        attributes.get("traceparent"),
        isinstance(message_attributes, Mapping)
        and message_attributes.get("googclient_traceparent"),
    )
    return next((trace for trace in traces if trace and isinstance(trace, str)), None)


def _message_id(value: object) -> str:
    text = _id(value)
    if text is None:
        what = f"not an id: {shown(value)}" if value else "missing"
        raise InvalidMessageError(
            "message.messageId", f"{what}: a redelivery could not be recognised without it"
        )
    return text


def _published_at(value: object) -> datetime:
    """Read a time with its zone, and return it in UTC.

    Its year is checked first, because arithmetic on the last years overflows.
    """
    try:
        at: datetime = msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    except (msgspec.ValidationError, UnicodeError) as error:
        raise InvalidMessageError("message.publishTime", f"{error}: {shown(value)}") from error
    if at.year not in YEARS:
        raise InvalidMessageError("message.publishTime", _not_a_year(at))
    return at.astimezone(UTC)


def _body(data: object) -> str | Mapping[str, Any]:
    """Undo base64 and UTF-8, with or without a byte order mark.

    A body that is decoded already is returned as it is.
    """
    if isinstance(data, Mapping):
        return data
    if not isinstance(data, str):
        raise InvalidMessageError("message.data", f"expected base64, got {type(data).__name__}")
    if len(data) > MAX_MESSAGE_BYTES * 4 / 3:
        raise InvalidMessageError(
            "message.data",
            f"{len(data)} characters of base64 hold more than {MAX_MESSAGE_BYTES} bytes",
        )
    try:
        return _from_base64(data)
    except UnicodeDecodeError as error:
        raise InvalidMessageError(
            "message.data", f"not UTF-8: {error.reason} at byte {error.start}"
        ) from error
    except ValueError as error:
        # it is the JSON itself: no base64 begins with a brace
        if data.lstrip("\ufeff \t\r\n").startswith("{"):
            return data
        raise InvalidMessageError("message.data", f"not base64: {error}") from error


def _fields(body: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object that a body holds, also one that was encoded again."""
    content: object = body
    for _ in range(_LAYERS):
        if isinstance(content, str):
            content = _decoded(content)
    if not isinstance(content, Mapping):
        raise InvalidMessageError(
            "message.data", f"expected an object of JSON, got {type(content).__name__}"
        )
    return content


def _decoded(text: str) -> object:
    """Read JSON, or base64 in which there is text; NaN and numbers of any length are taken."""
    try:
        return json.loads(text.lstrip("\ufeff"), parse_int=_whole_number)
    except RecursionError as error:
        raise InvalidMessageError(
            "message.data", "not JSON that can be read: nested too deeply"
        ) from error
    except ValueError as error:
        try:
            return _from_base64(text)
        except ValueError:
            raise InvalidMessageError("message.data", f"not JSON: {error}") from error


def _whole_number(digits: str) -> float:
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _from_base64(text: str) -> str:
    """Decode base64, which some tools break into lines, and UTF-8 with or without its mark.

    Raises ValueError where it is neither.
    """
    return base64.b64decode("".join(text.split()), validate=True).decode("utf-8-sig")


def _whose(body: str | Mapping[str, Any] | None) -> tuple[str | None, date | None]:
    """Read the processor and the date of a message that is wrong elsewhere.

    Returns None in place of what cannot be read.
    """
    try:
        fields = _fields(body or "")
    except InvalidMessageError:  # not JSON; the two fields may be readable
        fields = dict(_WHOLE_FIELD.findall(body)) if isinstance(body, str) else {}
    return _readable(_name, fields), _readable(_game_date, fields)


def _readable(read: Callable[[Mapping[str, Any]], T], fields: Mapping[str, Any]) -> T | None:
    try:
        return read(fields)
    except InvalidMessageError:
        return None


def _completion(
    fields: Mapping[str, Any], event_id: str, published_at: datetime, phase: Phase
) -> Completion:
    name, game_date, status = _name(fields), _game_date(fields), _status(fields, phase)
    # BigQuery takes no streamed rows outside these bounds: the message would come back for ever.
    if not -_OLDEST <= game_date - published_at.date() <= _NEWEST:
        raise InvalidMessageError(
            "game_date",
            (
                f"{game_date} is more than {_OLDEST.days} days before or {_NEWEST.days} after its "
                "publication"
            ),
        )
    if _is_of_another(fields, phase):
        raise InvalidMessageError(
            "phase", f"expected {phase.message_phase!r}, got {shown(fields['phase'])}"
        )
    optional = {field: read(fields.get(field)) for field, read in _NOT_NEEDED.items()}
    return Completion(
        phase=phase.name,
        game_date=game_date,
        processor=phase.canonical(name),
        raw_processor=name,
        status=status,
        completed_at=published_at,
        event_id=event_id,
        correlation_id=optional["correlation_id"],
        execution_id=optional["execution_id"],
        record_count=optional["record_count"],
        is_incremental=optional["is_incremental"],
        entities_changed=optional["entities_changed"] or (),
        odd_fields=tuple(_odd_fields(fields, optional)),
    )


# Readers of fields that are needed: each raises InvalidMessageError, with the field's name.


def _name(fields: Mapping[str, Any]) -> str:
    name = _needed(fields, "processor_name").strip()
    if not 0 < len(name) <= _NAME_CHARACTERS:
        raise InvalidMessageError(
            "processor_name", f"has {len(name)} characters, not 1 to {_NAME_CHARACTERS}"
        )
    # it ends up in logs: control characters, line breaks, lone surrogates and the like
    if not name.isprintable():
        raise InvalidMessageError(
            "processor_name", f"has characters that cannot be printed: {name[:64]!a}"
        )
    return name


def _game_date(fields: Mapping[str, Any]) -> date:
    """Read a date, also one written with midnight, as a date in a datetime is."""
    value = fields.get("game_date")
    text = str(value) if isinstance(value, date) else _needed(fields, "game_date").strip()
    day = re.sub(r"[T ]00:00(:00(\.0+)?)?(Z|\+00:?00)?\Z", "", text)
    try:
        game_date: date = msgspec.convert(day, date)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise InvalidMessageError("game_date", str(error)) from error
    if game_date.year not in YEARS:
        raise InvalidMessageError("game_date", _not_a_year(game_date))
    return game_date


def _status(fields: Mapping[str, Any], phase: Phase) -> Status:
    """Read a status; a word of the phase's own that completes a processor is a success."""
    text = _needed(fields, "status")
    word = text.strip().lower()
    try:
        return (
            Status.SUCCESS
            if phase.completes(word) and word not in COMPLETING_STATUSES
            else Status(word)
        )
    except ValueError as error:
        raise InvalidMessageError(
            "status", f"{shown(text)} is none of {', '.join(Status)}"
        ) from error


def _is_of_another(fields: Mapping[str, Any], phase: Phase) -> bool:
    """Whether it is another phase's message.

    A message whose phase is missing, or is no text, counts as this phase's.
    """
    value = fields.get("phase")
    word = value.strip().lower() if isinstance(value, str) else ""
    return bool(word) and word != phase.message_phase.lower()


def _needed(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidMessageError(
            name, "missing" if value is None else f"expected text, got {shown(value)}"
        )
    return value


# Readers of fields that are not needed: each returns None for what has no plain meaning.


def _id(value: object) -> str | None:
    text = str(value) if type(value) is int else value
    return (
        text
        if isinstance(text, str) and 0 < len(text) <= _ID_CHARACTERS and text.isprintable()
        else None
    )


def _count(value: object) -> int | None:
    """Read a whole number that BigQuery's INT64 holds, also as text, or with a fraction of zero."""
    is_whole = isinstance(value, float) and value.is_integer()
    is_digits = isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value)
    number: Any = int(value) if is_whole or is_digits else value  # type: ignore[call-overload]
    return number if type(number) is int and 0 <= number < _INT64 else None


def _flag(value: object) -> bool | None:
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, (bool, int, float)):
        return bool(word) if word in (0, 1) else None
    return {"true": True, "false": False}.get(word) if isinstance(word, str) else None


def _entities(value: object) -> tuple[str, ...] | None:
    """Read a list of names, some of which may be numbers; a single one is a list of one."""
    items = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(text for item in items if (text := _id(item))) or None


_NOT_NEEDED: dict[str, Callable[[object], Any]] = {
    "execution_id": _id,
    "correlation_id": _id,
    "record_count": _count,
    "is_incremental": _flag,
    "entities_changed": _entities,
}


def _odd_fields(fields: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each odd field: left out, or read as something else."""
    if not isinstance(fields.get("phase"), (str, type(None))):
        yield f"phase: {shown(fields['phase'])} left out"
    for name, value in read.items():
        sent = fields.get(name)
        sent = tuple(sent) if isinstance(sent, list) else sent
        if sent in (None, "", ()) or (type(sent) is type(value) and sent == value):
            continue
        yield (
            f"{name}: {shown(fields[name])} "
            f"{'left out' if value is None else f'read as {shown(value)}'}"
        )


def _not_a_year(value: date) -> str:
    return f"the year of {value.isoformat()} is not in {YEARS.start}..{YEARS.stop - 1}"
