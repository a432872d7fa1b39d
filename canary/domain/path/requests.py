"""The platform's own words on requests.

Those that it turned away or that failed, and messages that it gave up.

A log can be without its 2xx, which many people exclude. So what all requests have in common since a
time counts only where one was answered before, and nothing known from elsewhere was handled since.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from canary.domain.evidence import value_or
from canary.domain.path.errors import failed_to_start, why_failed
from canary.domain.path.known import FAILED, Fact, Known
from canary.domain.path.lines import are_collected
from canary.domain.path.tables import cause_of, refused_run
from canary.domain.stages import CauseKind, Stage, State, moment_text
from orchestrator_resilience.progress import ProcessorReport
from orchestrator_resilience.stores.base import Request

_LETTERS = "dead letters"
_SAID = Fact(stage=Stage.DELIVERED, state=State.REFUSED, source="request log")
# Statuses with which Cloud Run answers in place of the function: no right, no service, no instance.
_TURNED_AWAY = frozenset({401, 403, 404, 429})


def dead_letters(known: Known) -> Iterator[Fact]:
    """Pub/Sub gives up what was not delivered, and what failed each time, too.

    So it stopped by DELIVERED where a delivery would have left a line, or a request that failed,
    and only the log of requests tells that none failed; without either nobody can tell.
    """
    begun = known.phase.begins(known.game_date)
    none_failed, is_collected = known.none_failed_since(begun), are_collected(known, begun)
    for letter in value_or(known.traces.dead_letters, ()):
        if cause := cause_of(letter.status):
            yield refused_run(
                letter.processor, _LETTERS, ProcessorReport(letter.status, letter.at), cause
            )
            continue
        said = Fact(
            stage=Stage.PUBLISHED, state=State.REACHED, subject=letter.processor, source=_LETTERS
        )
        yield said
        said = replace(said, at=letter.at, words="Pub/Sub has given up delivering it")
        if none_failed or is_collected:
            cause = CauseKind.NOT_DELIVERED if none_failed else CauseKind.UNDETERMINED
            yield replace(said, stage=Stage.DELIVERED, state=State.REFUSED, cause=cause)
        else:
            yield replace(said, stage=Stage.REGISTERED, state=State.NOT_KNOWN)


def requests(known: Known) -> Iterator[Fact]:
    """DELIVERED as the service's log of requests has it, which names nobody.

    It is said of all that left nothing.
    """
    bad = known.bad_requests
    nowhere = [name for name in known.phase.expected if known.is_nowhere(name)]
    if bad and not known.was_handled(bad[0].at) and (said := _refused(known, bad)):
        for name in nowhere:
            if known.came_since(name, bad[0].at):
                # Where others were handled, what died may be of anybody on the topic.
                is_its_own = said.cause is not CauseKind.CRASHED or name in known.messages.completed
                is_proven = is_its_own or len(nowhere) == len(known.phase.expected)
                yield replace(
                    said, subject=name, cause=said.cause if is_proven else CauseKind.UNDETERMINED
                )
    elif turned_away := [one for one in known.requests if one.status in _TURNED_AWAY]:
        # Somebody's: they prove nobody's, and support that a message is missed.
        words = _words(known, turned_away, len(known.requests))
        yield from (
            replace(_SAID, state=State.NOT_KNOWN, subject=name, words=words) for name in nowhere
        )
    for name, arrival in known.messages.completed.items():
        since = arrival.visible_at
        has_come = any(one.at >= since for one in known.requests) or known.was_handled(since)
        if known.shows_answers(since) and not has_come and known.had_time(since):
            words = f"no request since {moment_text(since)}"
            yield replace(
                _SAID, state=State.MISSED, subject=name, words=words, cause=CauseKind.NOT_DELIVERED
            )


def _words(known: Known, bad: Sequence[Request], of: int) -> str:
    """Say how many requests of a number were bad, when, and why."""
    many = f"all {of} requests" if len(bad) == of else f"{len(bad)} of {of} requests"
    many = "the one request" if of == 1 else many
    begin, end = moment_text(bad[0].at), moment_text(bad[-1].at)
    when = f"at {begin}" if len(bad) == 1 else f"from {begin} to {end}"
    listed = ", ".join(str(status) for status in sorted({one.status for one in bad}))
    return ": ".join(filter(None, (f"HTTP {listed} for {many} {when}", why_failed(known, bad))))


def _refused(known: Known, bad: Sequence[Request]) -> Fact | None:
    """Return what all requests since the first of `bad` prove.

    None was delivered, or each has killed the function.
    """
    statuses, since = {one.status for one in bad}, bad[0].at
    said = replace(
        _SAID, at=bad[-1].at, words=_words(known, bad, len(bad)), statuses=tuple(sorted(statuses))
    )
    if statuses <= _TURNED_AWAY:
        return replace(said, cause=CauseKind.NOT_DELIVERED) if known.shows_answers(since) else None
    if are_collected(known, since) and not any(line.at >= since for line in known.lines):
        return replace(said, cause=CauseKind.CRASHED) if statuses <= {*FAILED} else said
    if known.shows_answers(since):
        is_silent = not any(line.at >= since for line in known.lines)
        if is_silent and statuses <= {*FAILED} and failed_to_start(known, bad):
            return replace(said, cause=CauseKind.CRASHED)
        words = f"{said.words}; no line says how far they came"
        return replace(said, stage=Stage.REGISTERED, state=State.NOT_KNOWN, words=words)
    return None
