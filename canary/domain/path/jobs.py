"""The scheduler's jobs as the path reads them.

Who was not started, because its job is paused, gone or refused.

For which date an attempt was made, nobody writes down. So an attempt that succeeded since the
processor last completed, and since the date began, may have started it, whatever was paused then.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from canary.domain.path.known import Fact, Known
from canary.domain.stages import CauseKind, Stage, State, moment_text
from orchestrator_resilience.stores.base import Attempt, Change, Component

_SAID = Fact(stage=Stage.RAN, state=State.NOT_KNOWN, source="scheduler")
# What takes a job away, and what brings it back.
_STOPPED, _STARTED = {"paused", "deleted"}, {"resumed", "created"}
# How the scheduler says that it may not start it; any other failure may be the processor's own,
# which has run.
_TURNED_AWAY = ("PERMISSION_DENIED", "UNAUTHENTICATED")
# A job that waits for its processor ends its attempt after that has completed: within half an hour,
# its longest.
_ENDS_WITHIN = timedelta(hours=1)


def jobs(known: Known) -> Iterator[Fact]:
    """RAN of who is late and nowhere, by the jobs that start it.

    Missed or refused where none of them can have.
    """
    begun = known.phase.begins(known.game_date)
    for name in known.missing:
        own = [
            job
            for job, names in known.phase.scheduler_jobs.items()
            if name in (names or known.phase.expected)
        ]
        if own and known.is_late(name) and known.is_nowhere(name) and not known.has_reported(name):
            found = [_of_job(known, name, job) for job in own]
            facts = [fact for fact in found if fact]
            is_certain = facts and all(fact and fact.state is not State.NOT_KNOWN for fact in found)
            if (
                is_certain
                and not known.may_be_nobodys(name, begun)
                and not _completed_later(known, name)
            ):
                yield replace(facts[0], subject=name)
            elif facts:
                unknown = {
                    "state": State.NOT_KNOWN,
                    "cause": CauseKind.UNDETERMINED,
                    "subject": name,
                }
                yield replace(facts[0], **unknown)


def _completed_later(known: Known, name: str) -> bool:
    """Whether a processor has completed a later date.

    This may be the one that it says, by mistake.
    """
    return any(name in one.completed_at for one in known.history if one.game_date > known.game_date)


def _of_job(known: Known, name: str, job: str) -> Fact | None:
    """Return what is known of a job since it should have started a processor.

    None where that is nothing.
    """
    begun, deadline = (
        known.phase.begins(known.game_date),
        known.phase.deadline(known.game_date, name),
    )
    before = known.dates_before(known.game_date)
    done = max((at for one in before if (at := one.completed_at.get(name))), default=None)
    since = max(begun, done + _ENDS_WITHIN) if done else begun
    tried = [attempt for attempt in known.changes.attempts if attempt.job == job]
    if own := [attempt for attempt in tried if attempt.at >= since]:
        return _of_attempts(job, own)
    stopped, started = _stopped(known, job, deadline)
    if stopped is None or (done and done > stopped.at + _ENDS_WITHIN):
        return None
    until = f" to {moment_text(started.at)}" if started else ""
    words = f"its scheduler job {job} was {stopped.what} {'from' if started else 'at'} {moment_text(stopped.at)}{until}"
    said = replace(_SAID, at=stopped.at, words=words)
    cut_at = known.changes.cut_at
    are_kept = bool(tried) and (cut_at is None or cut_at <= since)
    is_proven = stopped.at <= since or are_kept
    return replace(said, state=State.MISSED, cause=CauseKind.NOT_RUN) if is_proven else said


def _of_attempts(job: str, own: Sequence[Attempt]) -> Fact:
    """Return what a job's attempts that may be for the date came to.

    Refused is only who was turned away each time.
    """
    last = own[-1]
    end = f"failed: {last.failure}" if last.failure else "succeeded"
    words = f"the last attempt of its scheduler job {job}, at {moment_text(last.at)}, {end}"
    if all(attempt.failure.startswith(_TURNED_AWAY) for attempt in own):
        return replace(
            _SAID, at=own[0].at, words=words, state=State.REFUSED, cause=CauseKind.NOT_RUN
        )
    return replace(_SAID, at=last.at, words=words)


def _stopped(known: Known, job: str, before: datetime) -> tuple[Change | None, Change | None]:
    """Return what last took a job away before then, and what brought it back.

    None where nothing did.
    """
    every = [
        change
        for change in known.changes.changes
        if (change.component, change.name) == (Component.JOB, job)
    ]
    own = [change for change in every if change.what in _STOPPED | _STARTED]
    stopped = next(
        (change for change in reversed(own) if change.what in _STOPPED and change.at < before), None
    )
    after = (
        change for change in own if stopped and change.at > stopped.at and change.what in _STARTED
    )
    return stopped, next(after, None)
