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
    """One line of the timeline: when (UTC), the source that has seen it, and what happened."""

    at: datetime
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
    """Put what all sources have seen of a date in one order; what has no time that can be has no place in it."""
    sources = (evidence.completion_log, evidence.progress, checkpoints)
    deadline = phase.deadline(evidence.game_date)
    entries = [TimelineEntry(deadline, "phases.toml", "the deadline by which all should be complete")]
    if isinstance(evidence.completion_log, Seen):
        entries += _of_completion_log(evidence.completion_log.value)
    if isinstance(evidence.progress, Seen):
        entries += _of_document(evidence.progress.value)
    if isinstance(checkpoints, Seen):
        entries += [TimelineEntry(line.at, "checkpoint", line.message) for line in checkpoints.value]
    dated = [replace(entry, at=at) for entry in entries if (at := instant(entry.at)) is not None]
    return Timeline(
        verdict=verdict,
        entries=tuple(sorted(dated, key=lambda entry: entry.at)),  # stable: entries of one time stay as they came
        unreadable=tuple(source.reason for source in sources if isinstance(source, Unreadable)),
    )


def _of_completion_log(logged: Logged) -> Iterator[TimelineEntry]:
    source = "completion log"
    for processor, arrival in logged.completed.items():
        yield TimelineEntry(arrival.completed_at, source, f"{processor} completed: its message was published")
        yield TimelineEntry(arrival.visible_at, source, f"{processor} has its row")
    if logged.triggered_at is not None:
        yield TimelineEntry(logged.triggered_at, source, "the trigger has its row")


def _of_document(progress: Progress) -> Iterator[TimelineEntry]:
    source, trigger = "document", progress.trigger
    for processor, entry in progress.registered.items():
        if entry.registered_at is not None:
            text = f"{processor} is registered by message {entry.event_id}"
            yield TimelineEntry(entry.registered_at, source, text)
    if trigger is not None and trigger.at is not None:
        text = f"`_triggered` is set by message {trigger.event_id}: {trigger.reason}"
        yield TimelineEntry(trigger.at, source, text)
