"""The errors that the service and the platform wrote down: why requests failed, each in one line.

They name no processor, and are no stop by themselves: they are the words of requests that failed,
and of deliveries that died. An error that belongs to neither is left out, so that none is from
before the stop, or from after it was over.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from canary.domain.path.dossier import FAILED, Dossier, Fact
from canary.domain.stages import Stage, State, moment_text
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.stores.base import Request, ServiceError

_SOURCE = "service errors"
# A request has the time at which it came; what it wrote comes later, by another clock. What a
# process writes as it dies comes up to some seconds after its request has ended, and a retry at the
# earliest ten seconds after that.
_CLOCKS, _DYING = timedelta(seconds=1), timedelta(seconds=5)
# Cloud Run lets an instance take four minutes to start, and a request an hour.
_STARTING, _LONGEST = timedelta(minutes=5), timedelta(hours=1)


def errors(dossier: Dossier) -> Iterator[Fact]:
    """Yield that an instance failed to start when a message came, if nothing ran since.

    It supports that the message was not delivered. Only a request would show whose message it was:
    where requests are kept, those that failed say so, and not this.
    """
    failed = [
        error
        for error in dossier.errors.errors
        if error.failed_to_start and not _ran(dossier, error.at)
    ]
    if not failed or dossier.requests or dossier.shows_answers(failed[0].at):
        return
    for name, arrival in dossier.messages.completed.items():
        came = arrival.completed_at
        startup_errors = [error for error in failed if -_CLOCKS <= error.at - came <= _STARTING]
        if startup_errors and dossier.is_nowhere(name):
            first = startup_errors[0]
            words = f"at {moment_text(first.at)} the platform said: {first.words}"
            yield Fact(
                stage=Stage.DELIVERED,
                state=State.NOT_KNOWN,
                subject=name,
                source=_SOURCE,
                words=words,
            )


def why_failed(dossier: Dossier, bad: Sequence[Request]) -> str:
    """Return why requests failed: the reason of the last of them for which one is known.

    Else return that the errors could not be read, or nothing.
    """
    reason = next(
        (words for request in reversed(bad) if (words := _words(_errors_of(dossier, request)))), ""
    )
    cut_at = dossier.errors.cut_at
    if reason or cut_at is None or cut_at <= bad[0].at:
        return reason
    return f"the service's errors before {moment_text(cut_at)} were too many to be read"


def failed_to_start(dossier: Dossier, bad: Sequence[Request]) -> bool:
    """Whether the platform says of each of these requests that no instance was started for it.

    One error is about one request only.
    """
    taken = set[int]()
    for request in bad:
        candidates = (
            error
            for error in _errors_of(dossier, request)
            if error.failed_to_start and id(error) not in taken
        )
        if (error := next(candidates, None)) is None:
            return False
        taken.add(id(error))
    return True


def why_died(dossier: Dossier, line: Checkpoint) -> str:
    """Return why a delivery died, as its trace or its request says; else nothing."""
    trace = line.fields.get("trace")
    if not trace:
        return ""
    written = [
        error
        for error in dossier.errors.errors
        if error.trace == trace and error.at - line.at >= -_CLOCKS
    ]
    failed = [
        request
        for request in dossier.requests
        if request.trace == trace and request.status in FAILED
    ]
    return _words(
        [*written, *(error for request in failed for error in _errors_of(dossier, request))]
    )


def _errors_of(dossier: Dossier, request: Request) -> list[ServiceError]:
    """Return the errors of a request that was not answered.

    They are those of its time, without those of another trace. What the platform turned away has
    reached no code, so that only the platform's own words are about it.
    """

    def since_it_came(error: ServiceError) -> timedelta:
        return error.at - request.at

    written, ended = dossier.errors.errors, min(request.took, _LONGEST)
    first = bisect_left(written, -_CLOCKS, key=since_it_came)
    last = bisect_right(written, ended + _DYING, key=since_it_came)
    is_alike = {"", request.trace}
    related = [
        error for error in written[first:last] if not request.trace or error.trace in is_alike
    ]
    return [error for error in related if error.is_platform or request.status in FAILED]


def _words(related: Sequence[ServiceError]) -> str:
    """Return the last words of the service; if it left none, the last of the platform.

    The platform says less of an end than the service itself.
    """
    return (
        max(related, key=lambda error: (not error.is_platform, error.at)).words if related else ""
    )


def _ran(dossier: Dossier, since: datetime) -> bool:
    """Whether an instance has run since: a delivery has left something."""
    return dossier.was_handled(since) or any(line.at >= since for line in dossier.lines)
