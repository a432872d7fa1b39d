"""The progress of one (phase, game date), and the decision that follows from it.

The document's layout is the one that other programs read already (`phase2_completion/{date}`): a
map per processor, and fields of our own that start with an underscore. Everything here is a
function of values; the stores only carry the documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from orchestrator_resilience.completion import Completion, Status
from orchestrator_resilience.phase import Phase

Fields = Mapping[str, Any]

_NOT_COMPLETING = frozenset(status.value for status in Status if not status.completes)


@dataclass(frozen=True, slots=True)
class Registration:
    """What a document says of one processor; old code left any of it out, hence the Nones."""

    completed_at: datetime | None = None
    event_id: str | None = None
    registered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """The flag `_triggered`, by whom and why it was set."""

    at: datetime | None
    reason: str | None
    event_id: str | None = None
    deliberately_partial: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What one document says.

    `registered` maps expected processors to their registrations, `unexpected` are other keys that
    old code counted, `expected` is what the phase waits for, `orchestrator_expected` is what the orchestrator
    that wrote the document waited for (None where old code wrote it).
    """

    expected: frozenset[str]
    registered: Mapping[str, Registration] = field(default_factory=dict)
    unexpected: frozenset[str] = frozenset()
    trigger: Trigger | None = None
    orchestrator_expected: frozenset[str] | None = None

    @property
    def completed(self) -> frozenset[str]:
        """The expected processors that are registered."""
        return self.expected & self.registered.keys()

    @property
    def missing(self) -> frozenset[str]:
        """The expected processors that are not registered."""
        return self.expected - self.registered.keys()

    def holds(self, completion: Completion) -> bool:
        """Whether the document needs no write for `completion`: its processor's first success stands.

        A redelivery and a later re-run find the registration in place; an earlier success that
        was overtaken on its way replaces it. (Of two that are delivered in the same moment either
        may stay; the completion log keeps both.)
        """
        known = self.registered.get(completion.processor or "")
        if known is None:
            return False
        if known.completed_at is None:
            return True
        return (known.completed_at, known.event_id or "") <= (completion.completed_at, completion.event_id)


class Decision(Enum):
    """What has to be done about `_triggered`."""

    WAIT = "wait"
    TRIGGER = "trigger"
    ALREADY_TRIGGERED = "already triggered"


def decide(progress: Progress) -> Decision:
    """Compare the sets: unexpected processors never count, and a registration that was there before does."""
    if progress.trigger is not None:
        return Decision.ALREADY_TRIGGERED
    return Decision.WAIT if progress.missing else Decision.TRIGGER


def document_id(game_date: date) -> str:
    """The id of a game date's document in the phase's collection."""
    return game_date.isoformat()


def read_progress(fields: Fields, phase: Phase) -> Progress:
    """Read a document, those of old code included; never raises on what it does not understand."""
    registered: dict[str, Registration] = {}
    unexpected = set()
    for name in completed_names(fields):
        processor = phase.canonical(name)
        if processor is not None:
            registered[processor] = _first(registered.get(processor), _registration(fields[name]))
        elif not phase.is_known(name):
            unexpected.add(name)
    return Progress(
        expected=phase.expected,
        registered=registered,
        unexpected=frozenset(unexpected),
        trigger=_trigger(fields, phase),
        orchestrator_expected=_names(fields.get("_expected")),
    )


def completed_names(fields: Fields) -> list[str]:
    """Return the names under which a document holds completions, whoever they are of."""
    return [key for key, value in fields.items() if not key.startswith("_") and _completes(value)]


def registration_fields(progress: Progress, completion: Completion, now: datetime) -> dict[str, Any]:
    """What a delivery has to merge at `now` into a document with this `progress`; empty where it says it all.

    Raises ValueError for an unexpected one: other readers count the keys.
    """
    if completion.processor is None:
        raise ValueError(f"{completion.raw_processor!r} is not expected: it is never written into a document")
    fields: dict[str, Any] = {}
    if not progress.holds(completion):
        fields[completion.processor] = {
            "completed_at": completion.completed_at,
            "status": completion.status.value,
            "record_count": completion.record_count,
            "correlation_id": completion.correlation_id,
            "execution_id": completion.execution_id,
            "event_id": completion.event_id,
            "registered_at": now,
        }
    if progress.orchestrator_expected != progress.expected:
        fields["_expected"] = sorted(progress.expected)
    return fields


def trigger_fields(progress: Progress, *, event_id: str, now: datetime) -> dict[str, Any]:
    """What sets the flag on a document whose `progress` is complete."""
    return {
        "_triggered": True,
        "_triggered_at": now,
        "_trigger_reason": "all_complete",
        "_trigger_event_id": event_id,
        "_completed_count": len(progress.completed),
        "_first_completion_at": min(
            (r.completed_at for r in progress.registered.values() if r.completed_at), default=now
        ),
    }


def instant(value: object) -> datetime | None:
    """Read a time as stores and old documents hold it: aware, naive (taken as UTC), or ISO text."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(at, datetime):
            return None
        at = datetime.combine(at.date(), at.timetz())  # Firestore's times are of a class of its own
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _registration(value: object) -> Registration:
    if not isinstance(value, Mapping):
        return Registration()
    event_id = value.get("event_id")
    return Registration(
        completed_at=instant(value.get("completed_at")),
        event_id=event_id if isinstance(event_id, str) else None,
        registered_at=instant(value.get("registered_at")),
    )


def _first(known: Registration | None, other: Registration) -> Registration:
    """Of two registrations under names of one processor, the earlier; a known time beats none."""
    if known is None or known.completed_at is None:
        return other
    if other.completed_at is None or known.completed_at <= other.completed_at:
        return known
    return other


def _completes(value: object) -> bool:
    """Old code registered only what completed; an entry that says otherwise in as many words does not count."""
    if not isinstance(value, Mapping):
        return bool(value)
    status = value.get("status")
    return not (isinstance(status, str) and status in _NOT_COMPLETING)


def _trigger(fields: Fields, phase: Phase) -> Trigger | None:
    if fields.get("_triggered") is not True:
        return None
    # Old code wrote `_triggered_reason` and `_partial_completion` when it gave up waiting.
    given = fields.get("_trigger_reason", fields.get("_triggered_reason"))
    reason = given if isinstance(given, str) else None
    event_id = fields.get("_trigger_event_id")
    return Trigger(
        at=instant(fields.get("_triggered_at")),
        reason=reason,
        event_id=event_id if isinstance(event_id, str) else None,
        deliberately_partial=fields.get("_partial_completion") is True or phase.is_partial(reason),
    )


def _names(value: object) -> frozenset[str] | None:
    if not isinstance(value, (list, tuple)):
        return None
    return frozenset(name for name in value if isinstance(name, str))
