"""The progress document as the path reads it.

It shows REGISTERED, what the code waits for, the flag, and the code's own "pending".
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path.dossier import LIFETIME, Dossier, Fact
from canary.domain.path.tables import cause_of, refused_run
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.progress import Progress

DOCUMENT = "document"
_DELIVERED = Fact(stage=Stage.DELIVERED, state=State.REACHED, source=DOCUMENT)


def document(dossier: Dossier) -> Iterator[Fact]:
    """Yield what the document says; one that is not there says nothing.

    It may have been removed, or be in another database.
    """
    if not isinstance(dossier.evidence.progress, Seen):
        return
    progress = dossier.progress
    for name, entry in progress.registered.items():
        at = entry.registered_at or entry.completed_at
        yield replace(
            _DELIVERED, stage=Stage.REGISTERED, subject=name, at=at, entry=entry.event_id or ""
        )
    for name in dossier.unregistered:
        report = progress.reports.get(name)
        if report is not None and dossier.phase.completes(report.status):
            came = replace(_DELIVERED, subject=name, at=report.at, entry=report.event_id or "")
            cause, words = dossier.why_unexpected(name)
            yield came
            yield replace(came, stage=Stage.ACCEPTED, state=State.REFUSED, cause=cause, words=words)
        elif report is not None and (no_result := cause_of(report.status)):
            yield refused_run(name, DOCUMENT, report, no_result)
        if not dossier.is_early(name):
            words = f"its last report is {report.status}" if report is not None else ""
            yield replace(
                _DELIVERED, stage=Stage.REGISTERED, state=State.MISSED, subject=name, words=words
            )
    for name in sorted(progress.unexpected):
        yield replace(_DELIVERED, subject=name, words="not expected")
    yield from _of_the_date(dossier, progress)


def _of_the_date(dossier: Dossier, progress: Progress) -> Iterator[Fact]:
    trigger, pending = progress.trigger, progress.pending
    if dossier.is_registered and (surplus := dossier.surplus(progress.orchestrator_expected)):
        yield replace(
            _DELIVERED,
            stage=Stage.DECIDED,
            state=State.REFUSED,
            words=f"waits for {', '.join(surplus)}",
            names=surplus,
            cause=CauseKind.EXPECTATION_DRIFT,
        )
    if trigger is not None:
        at, entry, words = trigger.at, trigger.event_id or "", trigger.reason or ""
        yield replace(_DELIVERED, stage=Stage.FLAGGED, at=at, entry=entry, words=words)
    elif dossier.is_complete or any(flag.is_set for flag in dossier.evidence.flags.values()):
        yield replace(_DELIVERED, stage=Stage.FLAGGED, state=State.MISSED)
    if pending is not None:
        yield replace(_DELIVERED, stage=Stage.DECIDED, at=pending.at, words="pending")
        if pending.succeeded:  # which the live code says of a failed call as well
            words = "the code says that it succeeded"
            yield replace(
                _DELIVERED, stage=Stage.STARTED, state=State.NOT_KNOWN, at=pending.at, words=words
            )
        elif pending.at is None or dossier.now - pending.at >= LIFETIME:
            reason = pending.reason or "no reason given"
            words = f"`{dossier.phase.pending_field}` was left behind: {reason}"
            yield replace(
                _DELIVERED,
                stage=Stage.FLAGGED if trigger is None else Stage.STARTED,
                state=State.REFUSED,
                at=pending.at,
                words=words,
                cause=CauseKind.NOT_STARTED,
            )
