"""Other people's clocks are not believed.

Nothing happened after it was seen, and nothing was seen later than now. A time that is later
than now may have been any time, so it counts as not noted. What is done without a time is said
where the time is asked for (facts.py): rather too late than too early, because an alert follows
from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from canary.domain.evidence import Arrival, Evidence, Logged, Seen, mapped, value_or
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import instant
from orchestrator_resilience.progress import ProcessorReport, Progress, Registration
from orchestrator_resilience.stores.base import Flag, ProcessorRun

# A clock that is ahead by less is only badly set: what it says is taken for now. What is ahead by
# more is no time.
CLOCKS_DIFFER = timedelta(hours=1)


def believed(at: datetime | None, now: datetime) -> datetime | None:
    """Return a time (UTC) as it can be believed at `now`.

    None where it cannot be one, or has not come yet.
    """
    moment = instant(at)
    if moment is None or moment - now > CLOCKS_DIFFER:
        return None
    return min(moment, now)


def believed_log(logged: Logged, now: datetime, deadline: datetime) -> Logged:
    """Return a completion log with times that can be believed.

    A completion without any is taken to be of the deadline, or of now, where that is earlier.
    """
    return replace(
        logged,
        completed={
            name: _arrival(arrival, now, min(now, deadline))
            for name, arrival in logged.completed.items()
        },
        reports=_reports(logged.reports, now),
        flag=logged.flag and replace(logged.flag, at=believed(logged.flag.at, now)),
        unattributed=tuple(moment for at in logged.unattributed if (moment := believed(at, now))),
    )


def _reports(reports: Mapping[str, ProcessorReport], now: datetime) -> dict[str, ProcessorReport]:
    return {name: replace(report, at=believed(report.at, now)) for name, report in reports.items()}


def _arrival(arrival: Arrival, now: datetime, otherwise: datetime) -> Arrival:
    completed_at, visible_at = (
        believed(arrival.completed_at, now),
        believed(arrival.visible_at, now),
    )
    times = [at for at in (completed_at, visible_at) if at is not None]
    return Arrival(min(times, default=otherwise), visible_at or completed_at or otherwise)


def believed_progress(progress: Progress, now: datetime) -> Progress:
    """Return a progress document with times that can be believed; None for the others."""
    return replace(
        progress,
        registered={name: _registration(entry, now) for name, entry in progress.registered.items()},
        reports=_reports(progress.reports, now),
        trigger=progress.trigger
        and replace(progress.trigger, at=believed(progress.trigger.at, now)),
        pending=progress.pending
        and replace(progress.pending, at=believed(progress.pending.at, now)),
    )


def _registration(entry: Registration, now: datetime) -> Registration:
    completed_at, registered_at = (
        believed(entry.completed_at, now),
        believed(entry.registered_at, now),
    )
    times = [at for at in (completed_at, registered_at) if at is not None]
    return replace(entry, completed_at=min(times, default=None), registered_at=registered_at)


def believed_checkpoints(
    lines: Sequence[Checkpoint], now: datetime, read_at: datetime
) -> list[Checkpoint]:
    """Return the lines that were there at `now`, in their order.

    `read_at` is when they were read.
    """
    return [replace(line, at=min(line.at, now)) for line in lines if min(line.at, read_at) <= now]


def believed_runs(
    runs: Sequence[ProcessorRun], now: datetime, read_at: datetime
) -> list[ProcessorRun]:
    """Return the runs as far as they had come at `now`, with times that can be believed.

    `read_at` is when they were read.
    """
    then = runs if now >= read_at else [run for each in runs if (run := _run_by(each, now))]
    return [
        replace(
            run,
            started_at=believed(run.started_at, now),
            finished_at=believed(run.finished_at, now),
        )
        for run in then
    ]


def _run_by(run: ProcessorRun, now: datetime) -> ProcessorRun | None:
    """Return what was known of a run at `now`; its status is known from its end on.

    None where it had not begun, or nobody says when.
    """
    began, finished_at = (
        instant(run.started_at) or instant(run.finished_at),
        instant(run.finished_at),
    )
    if began is None or began > now:
        return None
    return (
        run if finished_at and finished_at <= now else replace(run, finished_at=None, status=None)
    )


def known_by(evidence: Evidence, now: datetime) -> Evidence:
    """Return what of a date's evidence was known at `now`, a time before it was read.

    What carries no time of its own stays as it is.
    """
    return replace(
        evidence,
        completion_log=mapped(evidence.completion_log, lambda log: _log_by(log, now)),
        messages=mapped(evidence.messages, lambda log: _log_by(log, now)),
        flag_table=mapped(evidence.flag_table, lambda flag: _flag_by(flag, now)),
        progress=mapped(evidence.progress, lambda progress: _progress_by(progress, now)),
        log_since=None if _is_later(evidence.log_since, now) else evidence.log_since,
    )


def _log_by(logged: Logged, now: datetime) -> Logged:
    return replace(
        logged,
        completed={
            n: arrival
            for n, arrival in logged.completed.items()
            if not _is_later(arrival.visible_at, now)
        },
        reports=_reports_by(logged.reports, now),
        flag=logged.flag and _flag_by(logged.flag, now),
        unattributed=tuple(at for at in logged.unattributed if not _is_later(at, now)),
    )


def _flag_by(flag: Flag, now: datetime) -> Flag:
    return Flag(is_set=False) if _is_later(flag.at, now) else flag


def _progress_by(progress: Progress, now: datetime) -> Progress:
    registered = {
        name: entry
        for name, entry in progress.registered.items()
        if not _is_later(entry.registered_at or entry.completed_at, now)
    }
    trigger = (
        None
        if progress.trigger is not None and _is_later(progress.trigger.at, now)
        else progress.trigger
    )
    pending = (
        None
        if progress.pending is not None and _is_later(progress.pending.at, now)
        else progress.pending
    )
    reports = _reports_by(progress.reports, now)
    then = replace(
        progress, registered=registered, reports=reports, trigger=trigger, pending=pending
    )
    # What was written into it later may include what the orchestrator waits for.
    return then if then == progress else replace(then, orchestrator_expected=None)


def _reports_by(
    reports: Mapping[str, ProcessorReport], now: datetime
) -> dict[str, ProcessorReport]:
    return {name: report for name, report in reports.items() if not _is_later(report.at, now)}


def _is_later(at: datetime | None, now: datetime) -> bool:
    moment = instant(at)
    return moment is not None and moment > now


def without_a_time(evidence: Evidence, phase: Phase) -> Iterator[str]:
    """Name what of a date's evidence has no time of its own: it may not have been known then."""
    progress, table = (
        value_or(evidence.progress, Progress(frozenset())),
        evidence.flags.get("the flag table"),
    )
    registered, reports, trigger = progress.registered, progress.reports, progress.trigger
    times = [
        *(
            (f"the registration of {n}", instant(e.registered_at) or instant(e.completed_at))
            for n, e in registered.items()
        ),
        *((f"the report of {n}", instant(report.at)) for n, report in reports.items()),
        *([("`_triggered`", instant(trigger.at))] if trigger else []),
        *([(f"`{phase.pending_field}`", instant(progress.pending.at))] if progress.pending else []),
        *([("the flag table's flag", instant(table.at))] if table and table.is_set else []),
    ]
    yield from (what for what, at in times if at is None)
    if isinstance(evidence.outcome, Seen):
        yield f"the output of {phase.next_phase}"
