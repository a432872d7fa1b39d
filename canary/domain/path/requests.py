"""The platform's own words on requests, and on messages that it gave up.

It writes down the requests that it turned away, and those that failed. A log can lack its 2xx,
which many people exclude. So what all requests have in common since a time counts only where one
was answered before, and where nothing known from elsewhere was handled since.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from canary.domain.evidence import value_or
from canary.domain.path.dossier import FAILED, Dossier, Fact
from canary.domain.path.errors import failed_to_start, why_failed
from canary.domain.path.lines import are_collected
from canary.domain.path.tables import cause_of, refused_run
from canary.domain.stages import CauseKind, Stage, State, moment_text
from orchestrator_resilience.progress import ProcessorReport
from orchestrator_resilience.stores.base import Request

_LETTERS = "dead letters"
_NOT_DELIVERED = Fact(stage=Stage.DELIVERED, state=State.REFUSED, source="request log")
# Statuses with which Cloud Run answers in place of the function: no right, no service, no instance.
_TURNED_AWAY = frozenset({401, 403, 404, 429})


def dead_letters(dossier: Dossier) -> Iterator[Fact]:
    """Yield how far the messages came that Pub/Sub has given up.

    It gives up what was not delivered, and also what failed each time. So it stopped at DELIVERED
    at the latest if a delivery would have left a line, or if no request failed, which only the log
    of requests can show. Without either nobody can tell.
    """
    begun = dossier.phase.begins(dossier.game_date)
    none_failed, is_collected = dossier.none_failed_since(begun), are_collected(dossier, begun)
    for letter in value_or(dossier.traces.dead_letters, ()):
        if cause := cause_of(letter.status):
            yield refused_run(
                letter.processor, _LETTERS, ProcessorReport(letter.status, letter.at), cause
            )
            continue
        fact = Fact(
            stage=Stage.PUBLISHED, state=State.REACHED, subject=letter.processor, source=_LETTERS
        )
        yield fact
        fact = replace(fact, at=letter.at, words="Pub/Sub has given up delivering it")
        if none_failed or is_collected:
            cause = CauseKind.NOT_DELIVERED if none_failed else CauseKind.UNDETERMINED
            yield replace(fact, stage=Stage.DELIVERED, state=State.REFUSED, cause=cause)
        else:
            yield replace(fact, stage=Stage.REGISTERED, state=State.NOT_KNOWN)


def requests(dossier: Dossier) -> Iterator[Fact]:
    """Yield DELIVERED as the service's log of requests has it.

    The log names nobody, so that it is said of every processor that has left nothing.
    """
    bad = dossier.bad_requests
    nowhere = [name for name in dossier.phase.expected if dossier.is_nowhere(name)]
    if bad and not dossier.was_handled(bad[0].at) and (refusal := _refused(dossier, bad)):
        for name in nowhere:
            if dossier.came_since(name, bad[0].at):
                # Where others were handled, what died may be of anybody on the topic.
                is_its_own = (
                    refusal.cause is not CauseKind.CRASHED or name in dossier.messages.completed
                )
                is_proven = is_its_own or len(nowhere) == len(dossier.phase.expected)
                yield replace(
                    refusal,
                    subject=name,
                    cause=refusal.cause if is_proven else CauseKind.UNDETERMINED,
                )
    elif turned_away := [request for request in dossier.requests if request.status in _TURNED_AWAY]:
        # Somebody's: they prove nobody's, and support that a message is missed.
        words = _words(dossier, turned_away, len(dossier.requests))
        yield from (
            replace(_NOT_DELIVERED, state=State.NOT_KNOWN, subject=name, words=words)
            for name in nowhere
        )
    for name, arrival in dossier.messages.completed.items():
        since = arrival.visible_at
        has_come = any(request.at >= since for request in dossier.requests) or dossier.was_handled(
            since
        )
        if dossier.shows_answers(since) and not has_come and dossier.had_time(since):
            words = f"no request since {moment_text(since)}"
            yield replace(
                _NOT_DELIVERED,
                state=State.MISSED,
                subject=name,
                words=words,
                cause=CauseKind.NOT_DELIVERED,
            )


def _words(dossier: Dossier, bad: Sequence[Request], of: int) -> str:
    """Say how many requests of a number were bad, when, and why."""
    many = f"all {of} requests" if len(bad) == of else f"{len(bad)} of {of} requests"
    many = "the one request" if of == 1 else many
    begin, end = moment_text(bad[0].at), moment_text(bad[-1].at)
    when = f"at {begin}" if len(bad) == 1 else f"from {begin} to {end}"
    listed = ", ".join(str(status) for status in sorted({request.status for request in bad}))
    return ": ".join(filter(None, (f"HTTP {listed} for {many} {when}", why_failed(dossier, bad))))


def _refused(dossier: Dossier, bad: Sequence[Request]) -> Fact | None:
    """Return what all requests since the first of `bad` prove.

    Either none was delivered, or each has killed the function.
    """
    statuses, since = {request.status for request in bad}, bad[0].at
    refusal = replace(
        _NOT_DELIVERED,
        at=bad[-1].at,
        words=_words(dossier, bad, len(bad)),
        statuses=tuple(sorted(statuses)),
    )
    if statuses <= _TURNED_AWAY:
        return (
            replace(refusal, cause=CauseKind.NOT_DELIVERED)
            if dossier.shows_answers(since)
            else None
        )
    if are_collected(dossier, since) and not any(line.at >= since for line in dossier.lines):
        return replace(refusal, cause=CauseKind.CRASHED) if statuses <= {*FAILED} else refusal
    if dossier.shows_answers(since):
        is_silent = not any(line.at >= since for line in dossier.lines)
        if is_silent and statuses <= {*FAILED} and failed_to_start(dossier, bad):
            return replace(refusal, cause=CauseKind.CRASHED)
        words = f"{refusal.words}; no line says how far they came"
        return replace(refusal, stage=Stage.REGISTERED, state=State.NOT_KNOWN, words=words)
    return None
