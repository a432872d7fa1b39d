"""The progress of one (phase, game date), and the decision that follows from it.

The document's layout is the one that other programs read already (`phase2_completion/{date}`): a
map per processor, and fields of our own that start with an underscore. Everything here is a
function of values; the stores only carry the documents.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator_resilience.completion import Completion
from orchestrator_resilience.phase import ENOUGH_COMPLETE, Phase
from orchestrator_resilience.plain import instant, shown

Fields = Mapping[str, Any]

ALL_COMPLETE = "all_complete"
# Nobody looks at more names, and a document's size is limited.
MAX_UNEXPECTED = 200
# Firestore keeps names of this form for itself.
_RESERVED = re.compile(r"__.*__\Z")


class Registration(msgspec.Struct, frozen=True):
    """What a document says of one processor; old code left any of it out, hence the Nones."""

    completed_at: datetime | None = None
    event_id: str | None = None
    registered_at: datetime | None = None


class ProcessorReport(msgspec.Struct, frozen=True):
    """What a processor last reported of a run that did not complete.

    `event_id` is that of the message.
    """

    status: str
    at: datetime | None = None
    event_id: str | None = None


class Trigger(msgspec.Struct, frozen=True):
    """The flag `_triggered`, by whom and why it was set."""

    at: datetime | None
    reason: str | None
    event_id: str | None = None
    deliberately_partial: bool = False


class Pending(msgspec.Struct, frozen=True):
    """What the code itself says of its decision to start the next phase.

    It decided `at` that time, for a `reason`, and says whether the start `succeeded`.
    """

    at: datetime | None
    reason: str | None
    succeeded: bool = False


class Progress(msgspec.Struct, frozen=True):
    """What one document says.

    `registered` maps expected processors to their registrations, `reports` maps others of them to
    what they last said: that they did not complete, or that they did, to an orchestrator that does
    not expect them. `unexpected` are other names that have reported. `expected` is what the phase
    waits for, in the `mode` that the document names; `orchestrator_expected` is what the
    orchestrator that wrote the document waited for (None where old code wrote it). `pending` is
    what the code says of a start of the next phase that it has decided on.
    """

    expected: frozenset[str]
    registered: Mapping[str, Registration] = msgspec.field(default_factory=dict)
    reports: Mapping[str, ProcessorReport] = msgspec.field(default_factory=dict)
    unexpected: frozenset[str] = frozenset()
    trigger: Trigger | None = None
    orchestrator_expected: frozenset[str] | None = None
    mode: str | None = None
    pending: Pending | None = None

    @property
    def completed(self) -> frozenset[str]:
        """The expected processors that are registered."""
        return self.expected & self.registered.keys()

    @property
    def missing(self) -> frozenset[str]:
        """The expected processors that are not registered."""
        return self.expected - self.registered.keys()

    def holds(self, completion: Completion) -> bool:
        """Whether the document needs no write for `completion`.

        The first success of a processor is kept: a redelivery and a later re-run find the
        registration in place; an earlier success that was overtaken on its way replaces it. (Of two
        that are delivered in the same moment either may stay; the completion log keeps both.)
        """
        registration = self.registered.get(completion.processor or "")
        if registration is None:
            return False
        if registration.completed_at is None:
            return True
        return (registration.completed_at, registration.event_id or "") <= (
            completion.completed_at,
            completion.event_id,
        )


def decide(progress: Progress, phase: Phase) -> bool:
    """Whether to set the flag: it is unset, and the expected set is complete.

    Sets are compared, not counts: unexpected processors never count. A processor that was
    registered before counts.
    """
    return progress.trigger is None and phase.in_mode(progress.mode).is_complete(progress.completed)


def document_id(game_date: date) -> str:
    """The id of a game date's document in the phase's collection."""
    return game_date.isoformat()


def read_progress(fields: Fields, phase: Phase) -> Progress:
    """Read a document, those of old code included; never raises on what it does not understand."""
    registered: dict[str, Registration] = {}
    unexpected, mode = set(_map(fields, "_unexpected")), _text(fields.get("_mode"))
    phase = phase.in_mode(mode)
    for name in completed_names(fields, phase):
        processor = phase.canonical(name)
        if processor is not None:
            registered[processor] = _first(registered.get(processor), _registration(fields[name]))
        else:
            unexpected.add(name)
    return Progress(
        expected=phase.expected,
        registered=registered,
        reports=_reports(fields, phase, registered),
        unexpected=frozenset(
            sorted(name for name in unexpected if not phase.is_known(name))[:MAX_UNEXPECTED]
        ),
        trigger=_trigger(fields, phase),
        orchestrator_expected=_names(fields.get("_expected")),
        mode=mode,
        pending=_pending(fields, phase),
    )


def completed_names(fields: Fields, phase: Phase) -> list[str]:
    """Return the names under which a document holds completions, expected or not."""
    return [
        key
        for key, value in fields.items()
        if not key.startswith("_") and _is_completion(key, value, phase)
    ]


def completion_fields(
    progress: Progress, completion: Completion, phase: Phase, now: datetime
) -> tuple[dict[str, Any], Progress]:
    """What one commit has to write at `now`, and the progress after it.

    The document still has this `progress`. The fields are the registration, and the flag where the
    registration completes the set; there are none where the document says all that already.
    """
    fields = registration_fields(progress, completion, now)
    after = replace(progress, orchestrator_expected=progress.expected)
    if completion.processor is not None and completion.processor in fields:
        entry = Registration(completion.completed_at, completion.event_id, now)
        after = replace(after, registered={**progress.registered, completion.processor: entry})
        fields["_completed_count"] = len(after.completed)
        fields["_first_completion_at"] = _first_completion_at(after, now)
    if decide(after, phase):
        fields |= trigger_fields(after, event_id=completion.event_id, now=now)
        after = replace(after, trigger=_trigger(fields, phase.in_mode(progress.mode)))
    return fields, after


def registration_fields(
    progress: Progress, completion: Completion, now: datetime
) -> dict[str, Any]:
    """What a delivery has to write at `now` into a document with this `progress`.

    There are no fields where the document says all that already. They may be merged into a document
    that has changed meanwhile, because they hold for any. Raises ValueError for an unexpected
    processor: other readers count the keys.
    """
    if completion.processor is None:
        raise ValueError(
            f"{completion.raw_processor!r} is not expected: it is never a key of a document"
        )
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


def report_fields(progress: Progress, completion: Completion) -> dict[str, Any]:
    """What has to be merged for a message that completes no expected processor.

    There are no fields where nothing is new. Of an expected processor the last report is kept,
    unless the processor is registered: a registration outranks it. Of unexpected ones the first
    MAX_UNEXPECTED names are kept.
    """
    report = {
        "status": completion.status.value,
        "reported_at": completion.completed_at,
        "event_id": completion.event_id,
    }
    if completion.processor is None:
        name = completion.raw_processor
        name = repr(name) if _RESERVED.match(name) else name
        is_new = name not in progress.unexpected and len(progress.unexpected) < MAX_UNEXPECTED
        return {"_unexpected": {name: report}} if is_new else {}
    last_report = progress.reports.get(completion.processor)
    is_late = (
        last_report is not None
        and last_report.at is not None
        and last_report.at >= completion.completed_at
    )
    if is_late or completion.processor in progress.registered:
        return {}
    return {"_reports": {completion.processor: report}}


def trigger_fields(progress: Progress, *, event_id: str, now: datetime) -> dict[str, Any]:
    """What sets the flag on a document whose `progress` is complete."""
    return {
        "_triggered": True,
        "_triggered_at": now,
        "_trigger_reason": ENOUGH_COMPLETE if progress.missing else ALL_COMPLETE,
        "_trigger_event_id": event_id,
        "_completed_count": len(progress.completed),
        "_first_completion_at": _first_completion_at(progress, now),
    }


def _first_completion_at(progress: Progress, now: datetime) -> datetime:
    return min(
        (entry.completed_at for entry in progress.registered.values() if entry.completed_at),
        default=now,
    )


def _registration(value: object) -> Registration:
    if not isinstance(value, Mapping):
        return Registration(instant(value))
    return Registration(
        completed_at=instant(value.get("completed_at")),
        event_id=_text(value.get("event_id")),
        registered_at=instant(value.get("registered_at")),
    )


def _reports(
    fields: Fields, phase: Phase, registered: Mapping[str, Registration]
) -> dict[str, ProcessorReport]:
    """Return the last report of each expected processor that is not registered.

    Old code kept it under the processor's name; an orchestrator that does not expect the processor
    keeps it among the unexpected.
    """
    reports: dict[str, ProcessorReport] = {}
    old = {name: value for name, value in fields.items() if not name.startswith("_")}
    for name, value in [
        *old.items(),
        *_map(fields, "_unexpected").items(),
        *_map(fields, "_reports").items(),
    ]:
        processor, report = phase.canonical(name), _report(value)
        if processor is not None and processor not in registered and report is not None:
            reports[processor] = report
    return reports


def _report(value: object) -> ProcessorReport | None:
    status = value.get("status") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or status is None:
        return None
    return ProcessorReport(
        status=status.strip().lower() if isinstance(status, str) else shown(status),
        at=instant(value.get("reported_at", value.get("completed_at"))),
        event_id=_text(value.get("event_id")),
    )


def _map(fields: Fields, name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _first(held: Registration | None, candidate: Registration) -> Registration:
    """Of two registrations under names of one processor, the earlier; a known time beats none."""
    if held is None or held.completed_at is None:
        return candidate
    if candidate.completed_at is None or held.completed_at <= candidate.completed_at:
        return held
    return candidate


def _is_completion(name: str, value: object, phase: Phase) -> bool:
    """Whether an entry of a document is a completion.

    Old code registered only what completed, so an entry is one unless it has another status. Fields
    of somebody's own are none: they are no map, or a map without a status and a time of completion.
    A time alone counts for a known name.
    """
    if not isinstance(value, Mapping):
        return phase.is_known(name) and instant(value) is not None
    if value and phase.canonical(name) is None and not value.keys() & {"status", "completed_at"}:
        return False
    return value.get("status") is None or phase.completes(value["status"])


def _trigger(fields: Fields, phase: Phase) -> Trigger | None:
    if fields.get("_triggered") is not True:
        return None
    # Old code wrote `_triggered_reason` and `_partial_completion` when it gave up waiting.
    reason = _text(fields.get("_trigger_reason", fields.get("_triggered_reason")))
    return Trigger(
        at=instant(fields.get("_triggered_at")),
        reason=reason,
        event_id=_text(fields.get("_trigger_event_id")),
        deliberately_partial=fields.get("_partial_completion") is True or phase.is_partial(reason),
    )


def _pending(fields: Fields, phase: Phase) -> Pending | None:
    if fields.get(phase.pending_field) is not True:
        return None
    at = instant(fields.get(f"{phase.pending_field}_at"))
    reason = _text(fields.get("_trigger_reason"))
    # The live code leaves the pending field behind also when the start succeeds.
    return Pending(at, reason, succeeded=fields.get(phase.succeeded_field) is True)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _names(value: object) -> frozenset[str] | None:
    if not isinstance(value, (list, tuple)):
        return None
    return frozenset(name for name in value if isinstance(name, str))
