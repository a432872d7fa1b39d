"""The progress document as the path reads it.

REGISTERED, what the code waits for, the flag, and its own "pending".
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path.known import LIFETIME, Fact, Known
from canary.domain.path.tables import cause_of, refused_run
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.progress import Progress

DOCUMENT = "document"
_SAID = Fact(stage=Stage.DELIVERED, state=State.REACHED, source=DOCUMENT)


def document(known: Known) -> Iterator[Fact]:
    """A document that is not there says nothing.

    It may have been removed, or be in another database.
    """
    if not isinstance(known.evidence.progress, Seen):
        return
    progress = known.progress
    for name, entry in progress.registered.items():
        at = entry.registered_at or entry.completed_at
        yield replace(
            _SAID, stage=Stage.REGISTERED, subject=name, at=at, entry=entry.event_id or ""
        )
    for name in known.unregistered:
        report = progress.reports.get(name)
        if report is not None and known.phase.completes(report.status):
            came = replace(_SAID, subject=name, at=report.at, entry=report.event_id or "")
            cause, words = known.why_unexpected(name)
            yield came
            yield replace(came, stage=Stage.ACCEPTED, state=State.REFUSED, cause=cause, words=words)
        elif report is not None and (said := cause_of(report.status)):
            yield refused_run(name, DOCUMENT, report, said)
        if not known.is_early(name):
            words = f"its last report is {report.status}" if report is not None else ""
            yield replace(
                _SAID, stage=Stage.REGISTERED, state=State.MISSED, subject=name, words=words
            )
    for name in sorted(progress.unexpected):
        yield replace(_SAID, subject=name, words="not expected")
    yield from _of_the_date(known, progress)


def _of_the_date(known: Known, progress: Progress) -> Iterator[Fact]:
    trigger, pending = progress.trigger, progress.pending
    if known.is_registered and (surplus := known.surplus(progress.orchestrator_expected)):
        yield replace(
            _SAID,
            stage=Stage.DECIDED,
            state=State.REFUSED,
            words=f"waits for {', '.join(surplus)}",
            names=surplus,
            cause=CauseKind.EXPECTATION_DRIFT,
        )
    if trigger is not None:
        at, entry, words = trigger.at, trigger.event_id or "", trigger.reason or ""
        yield replace(_SAID, stage=Stage.FLAGGED, at=at, entry=entry, words=words)
    elif known.is_complete or any(flag.is_set for flag in known.evidence.flags.values()):
        yield replace(_SAID, stage=Stage.FLAGGED, state=State.MISSED)
    if pending is not None:
        yield replace(_SAID, stage=Stage.DECIDED, at=pending.at, words="pending")
        if pending.succeeded:  # which the live code says of a failed call as well
            words = "the code says that it succeeded"
            yield replace(
                _SAID, stage=Stage.STARTED, state=State.NOT_KNOWN, at=pending.at, words=words
            )
        elif pending.at is None or known.now - pending.at >= LIFETIME:
            words = f"`{known.phase.pending_field}` was left behind: {pending.reason or 'no reason given'}"
            yield replace(
                _SAID,
                stage=Stage.FLAGGED if trigger is None else Stage.STARTED,
                state=State.REFUSED,
                at=pending.at,
                words=words,
                cause=CauseKind.NOT_STARTED,
            )
