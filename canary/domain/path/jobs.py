"""The scheduler's jobs as the path reads them: who was not started, and why.

A processor is not started if its job is paused, gone or refused. Nobody writes down for which date
an attempt was made. So an attempt that succeeded since the processor last completed, and since the
date began, may have started it, whatever was paused then.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from canary.domain.path.dossier import Dossier, Fact
from canary.domain.stages import CauseKind, Stage, State, moment_text
from orchestrator_resilience.stores.base import Attempt, Change, Component

_RAN = Fact(stage=Stage.RAN, state=State.NOT_KNOWN, source="scheduler")
# What takes a job away, and what brings it back.
_STOPPED, _STARTED = {"paused", "deleted"}, {"resumed", "created"}
# How the scheduler says that it may not start it; any other failure may be the processor's own,
# which has run.
_TURNED_AWAY = ("PERMISSION_DENIED", "UNAUTHENTICATED")
# A job that waits for its processor ends its attempt after the processor has completed: within half
# an hour, the longest that an attempt may take.
_ENDS_WITHIN = timedelta(hours=1)


def jobs(dossier: Dossier) -> Iterator[Fact]:
    """Yield RAN of each processor that is late and in no store, by the jobs that start it.

    It is missed or refused where none of them can have started it.
    """
    begun = dossier.phase.begins(dossier.game_date)
    for name in dossier.missing:
        job_names = [
            job
            for job, names in dossier.phase.scheduler_jobs.items()
            if name in (names or dossier.phase.expected)
        ]
        if (
            job_names
            and dossier.is_late(name)
            and dossier.is_nowhere(name)
            and not dossier.has_reported(name)
        ):
            findings = [_of_job(dossier, name, job) for job in job_names]
            facts = [fact for fact in findings if fact]
            is_certain = facts and all(
                fact and fact.state is not State.NOT_KNOWN for fact in findings
            )
            if (
                is_certain
                and not dossier.may_be_nobodys(name, begun)
                and not _completed_later(dossier, name)
            ):
                yield replace(facts[0], subject=name)
            elif facts:
                unknown = {
                    "state": State.NOT_KNOWN,
                    "cause": CauseKind.UNDETERMINED,
                    "subject": name,
                }
                yield replace(facts[0], **unknown)


def _completed_later(dossier: Dossier, name: str) -> bool:
    """Whether a processor has completed a later date.

    Its run for this date may have named that one by mistake.
    """
    return any(
        name in facts.completed_at
        for facts in dossier.history
        if facts.game_date > dossier.game_date
    )


def _of_job(dossier: Dossier, name: str, job: str) -> Fact | None:
    """Return what is known of a job since it should have started a processor; None for nothing."""
    begun, deadline = (
        dossier.phase.begins(dossier.game_date),
        dossier.phase.deadline(dossier.game_date, name),
    )
    before = dossier.dates_before(dossier.game_date)
    last_completion = max(
        (at for facts in before if (at := facts.completed_at.get(name))), default=None
    )
    since = max(begun, last_completion + _ENDS_WITHIN) if last_completion else begun
    tried = [attempt for attempt in dossier.changes.attempts if attempt.job == job]
    if attempts := [attempt for attempt in tried if attempt.at >= since]:
        return _of_attempts(job, attempts)
    stopped, started = _stopped(dossier, job, deadline)
    if stopped is None or (last_completion and last_completion > stopped.at + _ENDS_WITHIN):
        return None
    since_when = moment_text(stopped.at)
    when = f"from {since_when} to {moment_text(started.at)}" if started else f"at {since_when}"
    words = f"its scheduler job {job} was {stopped.what} {when}"
    fact = replace(_RAN, at=stopped.at, words=words)
    cut_at = dossier.changes.cut_at
    are_kept = bool(tried) and (cut_at is None or cut_at <= since)
    is_proven = stopped.at <= since or are_kept
    return replace(fact, state=State.MISSED, cause=CauseKind.NOT_RUN) if is_proven else fact


def _of_attempts(job: str, attempts: Sequence[Attempt]) -> Fact:
    """Return what came of those attempts of a job that may be for the date.

    RAN is refused only where each of them was turned away.
    """
    last = attempts[-1]
    end = f"failed: {last.failure}" if last.failure else "succeeded"
    words = f"the last attempt of its scheduler job {job}, at {moment_text(last.at)}, {end}"
    if all(attempt.failure.startswith(_TURNED_AWAY) for attempt in attempts):
        return replace(
            _RAN, at=attempts[0].at, words=words, state=State.REFUSED, cause=CauseKind.NOT_RUN
        )
    return replace(_RAN, at=last.at, words=words)


def _stopped(dossier: Dossier, job: str, before: datetime) -> tuple[Change | None, Change | None]:
    """Return what last took a job away before a time, and what brought it back.

    None where nothing did.
    """
    changes = [
        change
        for change in dossier.changes.changes
        if (change.component, change.name) == (Component.JOB, job)
    ]
    switches = [change for change in changes if change.what in _STOPPED | _STARTED]
    stopped = next(
        (change for change in reversed(switches) if change.what in _STOPPED and change.at < before),
        None,
    )
    after = (
        change
        for change in switches
        if stopped and change.at > stopped.at and change.what in _STARTED
    )
    return stopped, next(after, None)
