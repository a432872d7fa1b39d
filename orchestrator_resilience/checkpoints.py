"""A checkpoint: the closed set of kinds, and its form as one line of JSON for Cloud Logging."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator_resilience.plain import TEXT_CHARACTERS, YEARS, one_line, printable

SCHEMA = 1
_LABELS = ("phase", "game_date", "processor")
PRODUCER = "orchestrator_resilience"
_LINE_CHARACTERS = 200_000
_encode = msgspec.json.Encoder().encode  # one for all: making it takes longer than using it


class CheckpointKind(StrEnum):
    """Every kind there is."""

    RECEIVED = "CHECKPOINT_RECEIVED"
    """A delivery begins. Fields: `odd_fields`, what of the message was read as something else, or
    left out.
    """
    REJECTED = "CHECKPOINT_REJECTED"
    """A message cannot be accepted, or is over 1 MiB and was not read; it is answered 2xx. Fields:
    `field`, `reason`, `raw`.
    """
    UNEXPECTED = "CHECKPOINT_UNEXPECTED"
    """The processor is none of the phase's; its name is kept in the document's `_unexpected`.
    Fields: `nearest`.
    """
    IGNORED = "CHECKPOINT_IGNORED"
    """The status (`no_data`, `failed`, `skipped`) completes nothing, the processor is optional or
    one of the others, or an existing orchestrator says so; WARNING when a delivery ended without a
    word about its transaction.
    """
    WAITING = "CHECKPOINT_WAITING"
    """A processor is missing. Fields: those of `CHECKPOINT_POST_TRANSACTION`."""
    POST_TRANSACTION = "CHECKPOINT_POST_TRANSACTION"
    """After the transaction; **ERROR** when all are complete and `_triggered` is still unset,
    WARNING when it is set although a processor is missing. Fields: `should_trigger`, `triggered`,
    `duplicate`, `expected`, `completed`, `missing`, `unexpected`, `attempts`.
    """
    TRIGGERED = "CHECKPOINT_TRIGGERED"
    """This delivery set the flag. Fields: those of `CHECKPOINT_POST_TRANSACTION`."""
    STARTED = "CHECKPOINT_STARTED"
    """This delivery started the next phase. Fields: the same, and `message_id`."""
    NOT_STARTED = "CHECKPOINT_NOT_STARTED"
    """It was decided, and the next phase was not started. Fields: the same, and `reason`."""
    FAILED = "CHECKPOINT_FAILED"
    """A write failed, the block raised, or `delivery.failed` says so; where retries are on and
    nothing swallows it, the message comes again. Fields: `steps`, `error`, `error_class`, `causes`.
    """
    PROBED = "CHECKPOINT_PROBED"
    """A probe was answered; WARNING when the completion log is not as it should be, or the probe
    came too late. It is about no date.
    """


class DeliveryOutcome(StrEnum):
    """How a delivery ended, by the line that closes it."""

    WAITING = "waiting"
    """A processor is missing."""
    TRIGGERED = "triggered"
    """This delivery set the flag."""
    ALREADY_TRIGGERED = "already_triggered"
    """The flag was set before."""
    STUCK = "stuck"
    """Complete, and the flag is unset."""
    PREMATURE = "premature"
    """The flag is set, and a processor is missing."""
    PARTIAL = "partial"
    """The same, on purpose."""
    STARTED = "started"
    """The next phase was started."""
    NOT_STARTED = "not_started"
    """The next phase was not started."""
    IGNORED = "ignored"
    """It completes nothing, as `CHECKPOINT_IGNORED` says."""
    UNEXPECTED = "unexpected"
    """The processor is none of the phase's."""
    REJECTED = "rejected"
    """The message cannot be accepted."""
    FAILED = "failed"
    """A write failed, or the block raised."""
    RETURNED_EARLY = "returned_early"
    """It ended without a word about its transaction."""
    PROBED = "probed"
    """A probe was answered."""


class Severity(StrEnum):
    """The levels of Cloud Logging that are used."""

    INFO = "INFO"
    NOTICE = "NOTICE"
    WARNING = "WARNING"
    ERROR = "ERROR"


DEFAULT_SEVERITY = {
    CheckpointKind.RECEIVED: Severity.INFO,
    CheckpointKind.REJECTED: Severity.ERROR,
    CheckpointKind.UNEXPECTED: Severity.WARNING,
    CheckpointKind.IGNORED: Severity.INFO,
    CheckpointKind.WAITING: Severity.INFO,
    CheckpointKind.POST_TRANSACTION: Severity.INFO,
    CheckpointKind.TRIGGERED: Severity.NOTICE,
    CheckpointKind.STARTED: Severity.INFO,
    CheckpointKind.NOT_STARTED: Severity.ERROR,
    CheckpointKind.FAILED: Severity.ERROR,
    CheckpointKind.PROBED: Severity.INFO,
}


class Checkpoint(msgspec.Struct, frozen=True):
    """One line that a delivery leaves.

    `text` follows the kind's name in the message. `fields` hold plain JSON values. `closes` is true
    for the line with which a delivery has come to its end: a RECEIVED whose `delivery` field has no
    closing line belongs to a process that died. Of several closing lines of a delivery the last one
    counts.
    """

    kind: CheckpointKind
    severity: Severity
    at: datetime
    text: str
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    closes: bool = False

    @property
    def message(self) -> str:
        """The line for people, such as "CHECKPOINT_IGNORED: no data (p2_odds 2026-02-09)"."""
        return f"{self.kind}: {self.text}"

    def to_json(self, project: str | None = None) -> dict[str, Any]:
        """Return one Cloud Logging entry: the special fields of structured logging, then our own.

        `project` is the Google Cloud project that the trace belongs to.
        """
        fields = self.fields
        delivery = fields.get("delivery")
        sequence = fields.get("sequence")
        trace = fields.get("trace")
        entry = {
            "severity": self.severity,
            "message": self.message,
            "time": self.at.isoformat(),
            "checkpoint": self.kind,
            "schema": SCHEMA,
            "closes": self.closes,
            **fields,
            "logging.googleapis.com/insertId": f"{delivery}-{sequence}",
            "logging.googleapis.com/labels": {
                name: str(value) for name in _LABELS if (value := fields.get(name))
            },
        }
        if delivery:
            entry["logging.googleapis.com/operation"] = {
                "id": str(delivery),
                "producer": PRODUCER,
                "first": sequence == 1,
                "last": self.closes,
            }
        if trace:
            entry["logging.googleapis.com/trace"] = (
                f"projects/{project}/traces/{trace}" if project else trace
            )
            entry["logging.googleapis.com/spanId"] = fields.get("span")
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Checkpoint":
        """Rebuild what `to_json` returned.

        Raises KeyError, TypeError or ValueError for anything else. A field that is read again, and
        is of another type than it is written with, is left out and named in `unreadable_fields`:
        the delivery was there, but nothing follows from what its line does not say.
        """
        special = {"severity", "message", "time", "checkpoint", "schema", "closes"}
        kind, at = CheckpointKind(entry["checkpoint"]), datetime.fromisoformat(entry["time"])
        if at.tzinfo is None or at.year not in YEARS:
            raise ValueError(f"not a time that can be: {entry['time']}")
        fields = {
            k: v
            for k, v in entry.items()
            if k not in special and not k.startswith("logging.googleapis.com/")
        }
        odd = sorted(k for k, v in fields.items() if not _is_readable(k, v))
        return cls(
            kind=kind,
            severity=Severity(entry["severity"]),
            at=at.astimezone(UTC),
            text=one_line(str(entry["message"]).removeprefix(f"{kind}: "), 2 * TEXT_CHARACTERS),
            fields=printable({k: v for k, v in fields.items() if k not in odd})
            | ({"unreadable_fields": printable(odd)} if odd else {}),
            closes=entry["closes"] is not False,  # without the field nothing proves a death
        )


# The fields that are read again, by their types.
_LISTS = {"completed", "missing", "expected", "unexpected", "steps", "causes"}
_TEXTS = (
    "phase",
    "game_date",
    "processor",
    "raw_processor",
    "event_id",
    "delivery",
    "field",
    "reason",
    "raw",
)
_TYPES = {
    "should_trigger": bool,
    "triggered": bool,
    "duplicate": bool,
    **dict.fromkeys(_TEXTS, str | int),
}


def _is_readable(name: str, value: object) -> bool:
    if name in _LISTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, _TYPES.get(name, object))


# A date's messages come within so many days after it, except those of re-runs.
UNDATED_DAYS = 3


def concerns(checkpoint: Checkpoint, phase: str, game_date: date) -> bool:
    """Whether a line is of this date, or is a rejection that may be of it.

    Of a rejection nobody could read the date; one left in the days in which this date's messages
    come may be of it.
    """
    fields = checkpoint.fields
    if fields.get("phase") != phase:
        return False
    if fields.get("game_date") is None and checkpoint.kind is CheckpointKind.REJECTED:
        return 0 <= (checkpoint.at.astimezone(UTC).date() - game_date).days < UNDATED_DAYS
    return bool(fields.get("game_date") == game_date.isoformat())


def whole_list(checkpoint: Checkpoint, field: str) -> frozenset[str] | None:
    """Return the names in a list of a line; None where the line has not all of them."""
    fields = checkpoint.fields
    return None if field not in fields or f"{field}_count" in fields else frozenset(fields[field])


def deliveries(
    lines: Iterable[Checkpoint], game_dates: Mapping[str, Collection[date]]
) -> list[Checkpoint]:
    """Return the lines that concern one of a phase's dates, in the order in which they were left.

    `game_dates` are the dates by phase. Left out are RECEIVED of a delivery that came to an end,
    because its closing line says the same, and lines that name no delivery, because nobody can know
    whether that one came to an end.
    """
    concerned = (
        c
        for c in lines
        if any(concerns(c, phase, day) for phase, days in game_dates.items() for day in days)
    )
    keyed = [
        (c, tuple(map(c.fields.get, ("phase", "game_date", "delivery"))))
        for c in sorted(concerned, key=_left)
    ]
    closed = {delivery for c, delivery in keyed if c.closes}
    return [c for c, delivery in keyed if c.closes or (delivery[-1] and delivery not in closed)]


def _left(line: Checkpoint) -> tuple[Any, ...]:
    sequence = line.fields.get("sequence")
    return line.at, str(line.fields.get("delivery")), sequence if isinstance(sequence, int) else 0


Sink = Callable[[Checkpoint], None]


def hash_of_names(names: Iterable[str]) -> str:
    """Return 12 hexadecimal digits, the same for the same names in any order, on any machine."""
    return hashlib.sha256(json.dumps(sorted({*names})).encode()).hexdigest()[:12]


def json_line(checkpoint: Checkpoint, project: str | None = None) -> str:
    """Render a checkpoint as one JSON object and a line break.

    A line that a log entry could not hold (256 KB) is left without its large fields, which
    `left_out` names.
    """
    entry = checkpoint.to_json(project)
    line = _encode(entry).decode()
    if not line.isascii():  # a stream may not be able to encode it
        line = json.dumps(entry)
    if len(line) <= _LINE_CHARACTERS:
        return f"{line}\n"
    small = {k: v for k, v in checkpoint.fields.items() if len(json.dumps(v)) <= TEXT_CHARACTERS}
    left_out = sorted(checkpoint.fields.keys() - small.keys())
    text = one_line(checkpoint.text)
    return json_line(
        replace(checkpoint, text=text, fields={**small, "left_out": left_out}), project
    )
