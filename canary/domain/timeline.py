"""The timeline of one date for a person: what happened when, and which source says so."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from canary.domain.evidence import Evidence, Logged, Seen, Source, Unreadable
from canary.domain.silence import Silence
from canary.domain.verdict import Verdict
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress, instant


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the timeline: when (UTC; None where nobody wrote it down), who has seen it, and what happened."""

    at: datetime | None
    seen_by: str
    what: str


@dataclass(frozen=True, slots=True)
class Timeline:
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
    sources = (evidence.completion_log, evidence.progress, checkpoints)
    deadline = phase.deadline(evidence.game_date)
    entries = [TimelineEntry(deadline, "phases.toml", "the deadline by which all should be complete")]
    if isinstance(evidence.completion_log, Seen):
        entries += _of_completion_log(evidence.completion_log.value)
    if isinstance(evidence.progress, Seen):
        entries += _of_document(evidence.progress.value)
    if isinstance(checkpoints, Seen):
        entries += [TimelineEntry(line.at, "checkpoint", line.message) for line in checkpoints.value]
    believed = [replace(entry, at=instant(entry.at)) for entry in entries]
    return Timeline(
        verdict=verdict,
        # Stable: entries of one time stay as they came. Those without a time come first.
        entries=tuple(sorted(believed, key=lambda entry: (entry.at is not None, entry.at or deadline))),
        unreadable=tuple(source.reason for source in sources if isinstance(source, Unreadable)),
    )


def _of_completion_log(logged: Logged) -> Iterator[TimelineEntry]:
    source = "completion log"
    for processor, arrival in logged.completed.items():
        yield TimelineEntry(arrival.completed_at, source, f"{processor} completed")
        yield TimelineEntry(arrival.visible_at, source, f"{processor} has its row")
    for name in sorted(logged.unexpected):
        yield TimelineEntry(None, source, f"{name}, which is not expected, has a row")
    if logged.triggered_at is not None:
        yield TimelineEntry(logged.triggered_at, source, "the trigger has its row")


def _of_document(progress: Progress) -> Iterator[TimelineEntry]:
    source, trigger = "document", progress.trigger
    for processor, entry in progress.registered.items():
        by = _by(entry.event_id)
        if entry.registered_at is None and entry.completed_at is not None:  # the clock of old code
            yield TimelineEntry(entry.completed_at, source, f"{processor} is registered as completed{by}")
        else:
            yield TimelineEntry(entry.registered_at, source, f"{processor} is registered{by}")
    for processor, report in progress.reports.items():
        yield TimelineEntry(report.at, source, f"{processor} reports {report.status}{_by(report.event_id)}")
    for name in sorted(progress.unexpected):
        yield TimelineEntry(None, source, f"{name}, which is not expected, has reported")
    if trigger is not None:
        reason = trigger.reason or "no reason given"
        yield TimelineEntry(trigger.at, source, f"`_triggered` is set{_by(trigger.event_id)}: {reason}")


def _by(event_id: str | None) -> str:
    return f" by message {event_id}" if event_id else ""
