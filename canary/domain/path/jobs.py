"""The scheduler's jobs as the path reads them: who was not started, because its job is paused, gone or refused."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from canary.domain.path.known import Fact, Known
from canary.domain.stages import CauseKind, Stage, State, moment_text
from orchestrator_resilience.stores.base import Attempt, Change, Component

_SAID = Fact(stage=Stage.RAN, state=State.NOT_KNOWN, source="scheduler")
# What takes a job away, and what brings it back.
_STOPPED, _STARTED = {"paused", "deleted"}, {"resumed", "created"}
_EARLIER = timedelta(minutes=30)
# How the scheduler says that its request was turned away; after any other failure the processor may have run.
_TURNED_AWAY = ("PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "RESOURCE_EXHAUSTED")


def jobs(known: Known) -> Iterator[Fact]:
    """RAN of who is late, by the jobs that start it: missed where none of them did, else what is known of the last."""
    for name in known.missing:
        own = [job for job, names in known.phase.scheduler_jobs.items() if name in (names or known.phase.expected)]
        facts = [fact for job in own if known.is_late(name) and (fact := _of_job(known, name, job))]
        if facts:
            did_not = all(fact.state is not State.NOT_KNOWN for fact in facts) and len(facts) == len(own)
            unproven = (fact for fact in facts if fact.state is State.NOT_KNOWN)
            yield replace(facts[0] if did_not else next(unproven, facts[0]), subject=name)


def _of_job(known: Known, name: str, job: str) -> Fact | None:
    """Return what is known of a job since it should have started a processor; None where that is nothing."""
    deadline = known.phase.deadline(known.game_date, name)
    tried = [attempt for attempt in known.changes.attempts if attempt.job == job and attempt.at < deadline]
    since = _due(known, name, tried)
    own = [attempt for attempt in tried if attempt.at >= since]
    is_whole = known.changes.cut_at is None or known.changes.cut_at <= since
    stopped = _stopped(known, job)
    if stopped and stopped.at < deadline and not own and (stopped.at <= since or (tried and is_whole)):
        words = f"its scheduler job {job} is {stopped.what} since {moment_text(stopped.at)}"
        return replace(_SAID, state=State.MISSED, at=stopped.at, words=words, cause=CauseKind.NOT_RUN)
    if own:
        return _of_attempts(job, own)
    if tried and is_whole:
        words = f"the last attempt of its scheduler job {job} was at {moment_text(tried[-1].at)}"
        return replace(_SAID, at=tried[-1].at, words=words)
    return None


def _due(known: Known, name: str, tried: Sequence[Attempt]) -> datetime:
    """Return from when on an attempt may be for this date: the hour of those that were for dates before it.

    Nobody says for which date an attempt is; the last before a processor completed was for that one.
    """
    before = [one for one in known.history if one.game_date < known.game_date]
    ends = [(one.phase.begins(one.game_date), at) for one in before if (at := one.completed_at.get(name))]
    attempts = ((begun, max((one.at for one in tried if one.at <= end), default=None)) for begun, end in ends)
    hours = [at - begun for begun, at in attempts if at and at >= begun]
    begins = known.phase.begins(known.game_date)
    return begins + min(hours) - _EARLIER if hours else max((end for _, end in ends), default=begins)


def _of_attempts(job: str, own: list[Attempt]) -> Fact:
    """Return what a job's attempts for the date have come to; refused is only who was turned away each time."""
    last = own[-1]
    words = f"the last attempt of its scheduler job {job}: {last.failure or 'it succeeded'}"
    said = replace(_SAID, at=last.at, words=words)
    if all(attempt.failure.startswith(_TURNED_AWAY) for attempt in own):
        return replace(said, state=State.REFUSED, cause=CauseKind.NOT_RUN)
    return said


def _stopped(known: Known, job: str) -> Change | None:
    """Return what took a job away and was not taken back."""
    own = [change for change in known.changes.changes if (change.component, change.name) == (Component.JOB, job)]
    last = next((change for change in reversed(own) if change.what in _STOPPED | _STARTED), None)
    return last if last and last.what in _STOPPED else None
