"""The runs of the processors as the path reads them, where the phase has a query of them.

They show RAN, and what came of it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from canary.domain.evidence import value_or
from canary.domain.path.dossier import Dossier, Fact
from canary.domain.path.lines import are_collected
from canary.domain.path.tables import cause_of, unpublished
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import ProcessorRun

_RAN = Fact(stage=Stage.RAN, state=State.REACHED, source="runs query")
_STATUS = 100


def runs(dossier: Dossier) -> Iterator[Fact]:
    """Yield RAN by the runs of the date, and that PUBLISHED is missed where a run left no message.

    RAN is missed without any run. Where nobody at all has run since, the table may be written no
    longer: then no cause follows from it.
    """
    all_runs = value_or(dossier.traces.runs, ())
    is_written = any(_began(run) and run.game_date >= dossier.game_date for run in all_runs)
    of_date = [run for run in all_runs if run.game_date == dossier.game_date]
    for name in dossier.phase.expected:
        its_runs = [run for run in of_date if dossier.phase.canonical(run.processor) == name]
        if begun := sorted((run for run in its_runs if _began(run)), key=_moment):
            yield from _of_runs(dossier, name, begun)
        elif (
            not its_runs
            and (last := _last_before(dossier, name, all_runs))
            and _counts(dossier, name, all_runs)
        ):
            words = f"has not run since {last}"
            cause = CauseKind.NOT_RUN if is_written else _RAN.cause
            yield replace(_RAN, state=State.MISSED, subject=name, words=words, cause=cause)


def _of_runs(dossier: Dossier, name: str, begun: Sequence[ProcessorRun]) -> Iterator[Fact]:
    """Yield what the runs of a processor, oldest first, say.

    A run that succeeded says more than a later one that did not.
    """
    succeeded = [run for run in begun if dossier.phase.completes(run.status)]
    run = (succeeded or begun)[-1]
    fact = replace(_RAN, subject=name, at=_began(run), words=_words(run))
    if not succeeded and (cause := cause_of(run.status)):
        if name in dossier.missing:
            yield replace(fact, state=State.REFUSED, cause=cause)
    elif not _reports_no_result(dossier, name, _moment(run)):
        yield fact
        if name in unpublished(dossier):
            cause = (
                CauseKind.NOT_PUBLISHED
                if succeeded and _left_nothing(dossier, name, run)
                else fact.cause
            )
            words = f"{fact.words}, and the message log has nothing of it"
            yield replace(fact, stage=Stage.PUBLISHED, state=State.MISSED, words=words, cause=cause)


def _reports_no_result(dossier: Dossier, name: str, since: datetime) -> bool:
    """Whether a processor itself says since then that it has nothing to give.

    That counts whatever the status of its run is.
    """
    logs = (dossier.rows.reports, dossier.messages.reports, dossier.progress.reports)
    reports = [(report.status, report.at) for log in logs if (report := log.get(name))]
    ends = [lines[-1] for lines in dossier.deliveries if dossier.processor_of(lines[-1]) == name]
    reports += [(str(line.fields.get("status")), line.at) for line in ends]
    return any(cause_of(status) and (at is None or at >= since) for status, at in reports)


def _left_nothing(dossier: Dossier, name: str, run: ProcessorRun) -> bool:
    """Whether the message of a run should have come by now, and no message may be that one.

    A message under a later date may be, and so may one that the message log leaves out, which only
    lines could show.
    """
    arrivals = (
        facts.messages.completed.get(name)
        for facts in dossier.history
        if facts.game_date > dossier.game_date
    )
    is_elsewhere = any(
        arrival and _moment(run) <= arrival.visible_at < dossier.deadline for arrival in arrivals
    )
    is_due = dossier.had_time(run.finished_at or max(_moment(run), dossier.deadline))
    return is_due and not is_elsewhere and are_collected(dossier, _moment(run))


def _last_before(dossier: Dossier, name: str, all_runs: Sequence[ProcessorRun]) -> date | None:
    """Return the last date before this one for which a processor ran."""
    its_runs = (
        run for run in all_runs if dossier.phase.canonical(run.processor) == name and _began(run)
    )
    return max(
        (run.game_date for run in its_runs if run.game_date < dossier.game_date), default=None
    )


def _counts(dossier: Dossier, name: str, all_runs: Sequence[ProcessorRun]) -> bool:
    """Whether it counts that a processor has no run.

    It does if the processor is late, runs are written down, and none of them may be its own.
    """
    ran = {
        dossier.phase.canonical(run.processor)
        for run in all_runs
        if run.game_date == dossier.game_date
    }
    are_kept = all(
        processor in ran for processor in dossier.phase.expected if dossier.has_reported(processor)
    )
    is_due = name in dossier.missing and dossier.is_late(name)
    return is_due and are_kept and not _may_be_anothers(dossier, name, all_runs)


def _may_be_anothers(dossier: Dossier, name: str, all_runs: Sequence[ProcessorRun]) -> bool:
    """Whether a processor may have run under another name, or in its time for another date."""
    its_runs = [run for run in all_runs if dossier.phase.canonical(run.processor) == name]
    beside = {
        run.processor
        for run in all_runs
        if run.game_date in {its_run.game_date for its_run in its_runs}
    }
    strange = {
        run.processor
        for run in all_runs
        if run.game_date == dossier.game_date and not dossier.phase.is_known(run.processor)
    }
    since = dossier.phase.deadline(dossier.game_date - timedelta(days=1), name)
    until = dossier.phase.deadline(dossier.game_date, name)
    return not strange <= beside or any(
        since <= _moment(run) < until for run in its_runs if _began(run)
    )


def _began(run: ProcessorRun) -> datetime | None:
    """Return when a run began, or at the latest; None for one that has only been planned."""
    return run.started_at or run.finished_at


def _moment(run: ProcessorRun) -> datetime:
    """Return when a run began that has begun."""
    began = _began(run)
    assert began is not None
    return began


def _words(run: ProcessorRun) -> str:
    """Say when a run was (UTC), and how it ended in the table's own word."""
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
