"""The timeline of one date for a person: what happened when, and which source says so."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Evidence, Logged, Source, Unreadable, value_or
from canary.domain.silence import Silence
from canary.domain.verdict import Verdict
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import instant
from orchestrator_resilience.progress import Progress

_CHECKPOINT = "checkpoint"
# What ends each message of a checkpoint, and is said already where the lines of a delivery are one.
_NAMED = re.compile(r" \(\S+ \d{4}-\d\d-\d\d\)\Z")


class TimelineEntry(msgspec.Struct, frozen=True):
    """One line of the timeline: when (UTC; None where nobody wrote it down), who has seen it, and what happened.

    `processor` is whose report it is about, if anybody's. What belongs to one delivery has the same `delivery`; it is
    empty where that is none.
    """

    at: datetime | None
    seen_by: str
    what: str
    processor: str = ""
    delivery: str = ""


class Timeline(msgspec.Struct, frozen=True):
    """A date's verdict, its entries in the order of their times, and why sources could not be read.

    `silences` are those that cover the date.
    """

    verdict: Verdict
    entries: tuple[TimelineEntry, ...]
    unreadable: tuple[str, ...]
    silences: tuple[Silence, ...] = ()


def timeline_of(
    verdict: Verdict, evidence: Evidence, checkpoints: Source[Sequence[Checkpoint]], phase: Phase
) -> Timeline:
    """Put what all sources have seen of a date in one order; a time that cannot be is none."""
    sources = (evidence.completion_log, evidence.messages, evidence.flag_table, evidence.progress, checkpoints)
    deadline = phase.deadline(evidence.game_date)
    entries = [TimelineEntry(deadline, "phases.toml", "the deadline by which all should be complete")]
    lines = value_or(checkpoints, ())
    progress = value_or(evidence.progress, Progress(phase.expected))
    deliveries = _Deliveries(lines, progress, phase)
    for source, log in (("completion log", evidence.completion_log), ("message log", evidence.messages)):
        entries += _of_log(source, value_or(log, Logged()), deliveries)
    entries += _of_document(progress, deliveries)
    entries += [
        TimelineEntry(line.at, _CHECKPOINT, line.message, _processor(line, phase), deliveries.of_line(line))
        for line in lines
    ]
    believed = [replace(entry, at=instant(entry.at)) for entry in entries]
    return Timeline(
        verdict=verdict,
        # Stable: entries of one time stay as they came. Those without a time come first.
        entries=tuple(sorted(believed, key=lambda entry: (entry.at is not None, entry.at or deadline))),
        unreadable=tuple(source.reason for source in sources if isinstance(source, Unreadable)),
    )


def by_delivery(entries: Sequence[TimelineEntry]) -> list[tuple[TimelineEntry, ...]]:
    """Put what belongs to one delivery together, where its first line stands; what belongs to none stays alone."""
    found: dict[object, list[TimelineEntry]] = {}
    for number, entry in enumerate(entries):
        found.setdefault(entry.delivery or number, []).append(entry)
    return [tuple(group) for group in found.values()]


def delivery_text(entries: Sequence[TimelineEntry]) -> str:
    """Say in a line what came of a delivery: who, where it was noted, and how it ended."""
    lines = [entry.what for entry in entries if entry.seen_by == _CHECKPOINT]
    noted = [entry.what.removeprefix(entry.processor).strip() for entry in entries if entry.seen_by != _CHECKPOINT]
    if len(entries) == 1 or not entries[0].processor:
        return "; ".join([*(entry.what for entry in entries if entry.seen_by != _CHECKPOINT), *lines])
    steps = [line.partition(":")[0].removeprefix("CHECKPOINT_") for line in lines[:-1]]
    ended = [_NAMED.sub("", line) for line in lines[-1:]]
    parts = [", ".join(noted), ", ".join(steps), *ended]
    return f"{entries[0].processor} " + "; ".join(part for part in parts if part)


class _Deliveries:
    """Which delivery a line, a registration or a row belongs to: the first of its message, or of its processor."""

    def __init__(self, lines: Sequence[Checkpoint], progress: Progress, phase: Phase) -> None:
        self._of_message: dict[str, str] = {}
        self._of_processor: dict[str, str] = {}
        for line in lines:
            self._of_message.setdefault(str(line.fields.get("event_id")), self.of_line(line))
            self._of_processor.setdefault(_processor(line, phase), self.of_line(line))
        known = {name: self.of_message(entry.event_id) for name, entry in progress.registered.items()}
        self._of_processor |= {name: delivery for name, delivery in known.items() if delivery}

    @staticmethod
    def of_line(line: Checkpoint) -> str:
        return str(line.fields.get("delivery") or line.fields.get("event_id") or "")

    def of_message(self, event_id: str | None) -> str:
        return self._of_message.get(event_id, event_id) if event_id else ""

    def of_processor(self, processor: str) -> str:
        return self._of_processor.get(processor) or processor


def _processor(line: Checkpoint, phase: Phase) -> str:
    raw = str(line.fields.get("processor") or line.fields.get("raw_processor") or "")
    return phase.canonical(raw) or raw


def _of_log(source: str, logged: Logged, deliveries: _Deliveries) -> Iterator[TimelineEntry]:
    for processor, arrival in logged.completed.items():
        delivery = deliveries.of_processor(processor)
        yield TimelineEntry(arrival.completed_at, source, f"{processor} completed", processor, delivery)
        yield TimelineEntry(arrival.visible_at, source, f"{processor} has its row", processor, delivery)
    for name in sorted(logged.unexpected):
        yield TimelineEntry(None, source, f"{name}, which is not expected, has a row")
    if logged.flag is not None and logged.flag.at is not None:
        yield TimelineEntry(logged.flag.at, source, "the trigger has its row")
    for at in logged.unattributed:
        yield TimelineEntry(at, source, "a message came whose processor or date cannot be read")


def _of_document(progress: Progress, deliveries: _Deliveries) -> Iterator[TimelineEntry]:
    source, trigger = "document", progress.trigger
    for processor, entry in progress.registered.items():
        by, delivery = _by(entry.event_id), deliveries.of_processor(processor)
        is_of_old_code = entry.registered_at is None and entry.completed_at is not None
        at, how = (entry.completed_at, " as completed") if is_of_old_code else (entry.registered_at, "")
        yield TimelineEntry(at, source, f"{processor} is registered{how}{by}", processor, delivery)
    for processor, report in progress.reports.items():
        what, delivery = (
            f"{processor} reports {report.status}{_by(report.event_id)}",
            deliveries.of_message(report.event_id),
        )
        yield TimelineEntry(report.at, source, what, processor, delivery)
    for name in sorted(progress.unexpected):
        yield TimelineEntry(None, source, f"{name}, which is not expected, has reported")
    if trigger is not None:
        reason = trigger.reason or "no reason given"
        yield TimelineEntry(trigger.at, source, f"`_triggered` is set{_by(trigger.event_id)}: {reason}")


def _by(event_id: str | None) -> str:
    return f" by message {event_id}" if event_id else ""
