"""The timeline of one date for a person: what happened when, in the words of whoever saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from canary.domain.evidence import Evidence, Seen, Source, Unreadable
from canary.domain.verdict import Verdict
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline: when (UTC), seen by whom, and what."""

    at: datetime
    seen_by: str
    what: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A date's verdict, its moments in their order, and the sources that could not be read."""

    verdict: Verdict
    moments: tuple[Moment, ...]
    unreadable: tuple[str, ...]


def timeline_of(
    verdict: Verdict, evidence: Evidence, checkpoints: Source[Sequence[Checkpoint]], phase: Phase
) -> Timeline:
    """Put the moments of all sources in one order."""
    sources = (evidence.completion_log, evidence.progress, checkpoints)
    moments = [
        Moment(phase.deadline(evidence.game_date), "phases.toml", "the deadline by which all should be complete")
    ]
    moments += _from_completion_log(evidence)
    moments += _documented(evidence)
    if isinstance(checkpoints, Seen):
        moments += [Moment(line.at, "checkpoint", line.message) for line in checkpoints.value]
    return Timeline(
        verdict=verdict,
        moments=tuple(sorted(moments, key=lambda moment: moment.at)),  # stable: of one moment, as they came
        unreadable=tuple(source.reason for source in sources if isinstance(source, Unreadable)),
    )


def _from_completion_log(evidence: Evidence) -> list[Moment]:
    if not isinstance(evidence.completion_log, Seen):
        return []
    completion_log, who = evidence.completion_log.value, "completion log"
    moments = []
    for processor, arrival in completion_log.completed.items():
        moments.append(Moment(arrival.completed_at, who, f"{processor} completed: its message was published"))
        moments.append(Moment(arrival.visible_at, who, f"{processor} has its row"))
    if completion_log.triggered_at is not None:
        moments.append(Moment(completion_log.triggered_at, who, "the trigger has its row"))
    return moments


def _documented(evidence: Evidence) -> list[Moment]:
    if not isinstance(evidence.progress, Seen):
        return []
    progress, who = evidence.progress.value, "document"
    moments = [
        Moment(entry.registered_at, who, f"{processor} is registered by message {entry.event_id}")
        for processor, entry in progress.registered.items()
        if entry.registered_at is not None
    ]
    trigger = progress.trigger
    if trigger is not None and trigger.at is not None:
        moments.append(Moment(trigger.at, who, f"`_triggered` is set by message {trigger.event_id}: {trigger.reason}"))
    return moments
