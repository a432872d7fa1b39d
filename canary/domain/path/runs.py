"""The runs of the processors as the path reads them, where the phase has a query of them.

RAN, and what came of it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from canary.domain.evidence import value_or
from canary.domain.path.known import Fact, Known
from canary.domain.path.lines import are_collected
from canary.domain.path.tables import cause_of, unpublished
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import ProcessorRun

_SAID = Fact(stage=Stage.RAN, state=State.REACHED, source="runs query")
_STATUS = 100


def runs(known: Known) -> Iterator[Fact]:
    """RAN by the runs of the date, what is missed without any, and PUBLISHED, where a run has left no message.

    Where nobody at all has run since, the table may be written no longer: then no cause follows
    from it.
    """
    every = value_or(known.traces.runs, ())
    is_written = any(_began(run) and run.game_date >= known.game_date for run in every)
    of_date = [run for run in every if run.game_date == known.game_date]
    for name in known.phase.expected:
        own = [run for run in of_date if known.phase.canonical(run.processor) == name]
        if begun := sorted((run for run in own if _began(run)), key=_moment):
            yield from _of_runs(known, name, begun)
        elif not own and (last := _last_before(known, name, every)) and _counts(known, name, every):
            words = f"has not run since {last}"
            cause = CauseKind.NOT_RUN if is_written else _SAID.cause
            yield replace(_SAID, state=State.MISSED, subject=name, words=words, cause=cause)


def _of_runs(known: Known, name: str, begun: Sequence[ProcessorRun]) -> Iterator[Fact]:
    """Yield what the runs of a processor, oldest first, say.

    One that succeeded says more than a later one.
    """
    succeeded = [run for run in begun if known.phase.completes(run.status)]
    run = (succeeded or begun)[-1]
    said = replace(_SAID, subject=name, at=_began(run), words=_words(run))
    if not succeeded and (cause := cause_of(run.status)):
        if name in known.missing:
            yield replace(said, state=State.REFUSED, cause=cause)
    elif not _reports_no_result(known, name, _moment(run)):
        yield said
        if name in unpublished(known):
            cause = (
                CauseKind.NOT_PUBLISHED
                if succeeded and _left_nothing(known, name, run)
                else said.cause
            )
            words = f"{said.words}, and the message log has nothing of it"
            yield replace(said, stage=Stage.PUBLISHED, state=State.MISSED, words=words, cause=cause)


def _reports_no_result(known: Known, name: str, since: datetime) -> bool:
    """Whether a processor itself says since then that it has nothing to give, whatever the status of its run."""
    logs = (known.rows.reports, known.messages.reports, known.progress.reports)
    reports = [(report.status, report.at) for log in logs if (report := log.get(name))]
    ends = [lines[-1] for lines in known.deliveries if known.processor_of(lines[-1]) == name]
    reports += [(str(line.fields.get("status")), line.at) for line in ends]
    return any(cause_of(status) and (at is None or at >= since) for status, at in reports)


def _left_nothing(known: Known, name: str, run: ProcessorRun) -> bool:
    """Whether the message of a run should have come by now, and none has that may be its.

    That may be one under a later date; and one that the message log leaves out, which only lines
    could tell.
    """
    others = (
        one.messages.completed.get(name) for one in known.history if one.game_date > known.game_date
    )
    is_elsewhere = any(one and _moment(run) <= one.visible_at < known.deadline for one in others)
    is_due = known.had_time(run.finished_at or max(_moment(run), known.deadline))
    return is_due and not is_elsewhere and are_collected(known, _moment(run))


def _last_before(known: Known, name: str, every: Sequence[ProcessorRun]) -> date | None:
    """Return the last date before this one for which a processor ran."""
    own = (run for run in every if known.phase.canonical(run.processor) == name and _began(run))
    return max((run.game_date for run in own if run.game_date < known.game_date), default=None)


def _counts(known: Known, name: str, every: Sequence[ProcessorRun]) -> bool:
    """Whether it counts that a processor has no run.

    It is late, runs are written down, and none may be its.
    """
    ran = {
        known.phase.canonical(run.processor) for run in every if run.game_date == known.game_date
    }
    are_kept = all(other in ran for other in known.phase.expected if known.has_reported(other))
    is_due = name in known.missing and known.is_late(name)
    return is_due and are_kept and not _may_be_anothers(known, name, every)


def _may_be_anothers(known: Known, name: str, every: Sequence[ProcessorRun]) -> bool:
    """Whether a processor may have run under another name, or for another date, when this one's turn was."""
    own = [run for run in every if known.phase.canonical(run.processor) == name]
    beside = {run.processor for run in every if run.game_date in {one.game_date for one in own}}
    strange = {
        run.processor
        for run in every
        if run.game_date == known.game_date and not known.phase.is_known(run.processor)
    }
    since = known.phase.deadline(known.game_date - timedelta(days=1), name)
    until = known.phase.deadline(known.game_date, name)
    return not strange <= beside or any(since <= _moment(run) < until for run in own if _began(run))


def _began(run: ProcessorRun) -> datetime | None:
    """Return when a run began, or at the latest; None for one that has only been planned."""
    return run.started_at or run.finished_at


def _moment(run: ProcessorRun) -> datetime:
    """Return when a run began that has begun."""
    began = _began(run)
    assert began is not None
    return began


def _words(run: ProcessorRun) -> str:
    """Say when it ran (UTC), and how it ended in the table's own word."""
    times = [f"from {run.started_at:%H:%M}Z"] if run.started_at else []
    if run.finished_at:
        times = [
            f"{run.started_at:%H:%M} to" if run.started_at else "until",
            f"{run.finished_at:%H:%M}Z",
        ]
    unended = "" if run.finished_at else "and nothing says that it ended"
    return ", ".join(
        filter(None, (f"ran {' '.join(times)}", one_line(run.status or "", _STATUS) or unended))
    )
