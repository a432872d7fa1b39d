"""What was changed before something stopped: between the time when its stage was last reached, and its first refusal.

First by the lines of the orchestrator itself, in what the first bad one differs from the last good one; then by the
platform's log of who changed what. A change stands beside a cause, with how often there was one like it on good dates,
and is never the cause itself. What was changed after the stop, or of what another stage consists of, is not named.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from canary.domain.evidence import Seen
from canary.domain.facts import Facts
from canary.domain.path.known import ANSWERED, LINES, Fact, Known, moment_of
from canary.domain.stages import Cause, CauseKind, Stage, Standing, StandingKind, State, moment_text
from canary.domain.verdict import duration_text
from orchestrator_resilience.checkpoints import Checkpoint, Severity
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Change, Component

_NAME = 100
# What each stage consists of, as far as somebody may change it; of a processor's own run it is what starts it.
_COMPONENTS: Mapping[Stage, frozenset[Component]] = {
    Stage.RAN: frozenset({Component.JOB}),
    Stage.PUBLISHED: frozenset({Component.TOPIC}),
    Stage.DELIVERED: frozenset({Component.SUBSCRIPTION, Component.TOPIC, Component.SERVICE}),
    Stage.RECORDED: frozenset({Component.SERVICE, Component.TABLE}),
    **dict.fromkeys(
        (Stage.ACCEPTED, Stage.REGISTERED, Stage.DECIDED, Stage.FLAGGED, Stage.STARTED),
        frozenset({Component.SERVICE}),
    ),
}
# These say something of one processor; each of the others works for all, or for none.
_OF_ITS_OWN = (Stage.RAN, Stage.PUBLISHED, Stage.ACCEPTED)
_NEAREST = 3
# So much later than usual somebody may come who has not stopped.
_LATER = timedelta(hours=1)
_ONE_DAY = timedelta(days=1)


class _Window(NamedTuple):
    """Between which times (UTC) something stopped, what may have been changed for it, and the dates that were good."""

    good: datetime
    bad: datetime
    components: frozenset[Component]
    jobs: frozenset[str]
    good_dates: Sequence[Facts]

    def holds(self, change: Change) -> bool:
        """Whether a change may have to do with it."""
        is_its_job = change.component is not Component.JOB or change.name in self.jobs
        return change.component in self.components and is_its_job and self.good <= change.at <= self.bad


def changed(known: Known, causes: Collection[Cause], path: Collection[Fact]) -> Iterator[Standing]:
    """Yield what was changed before the stops of a date, the nearest first; or that nothing was, where one can look."""
    yield from _by_lines(known, causes)
    if not isinstance(known.traces.changes, Seen):
        return
    undone = {(step.stage, step.subject) for step in path if step.state is State.UNDONE}
    stopped = [cause for cause in causes if not undone & {(cause.until, name) for name in cause.subjects or ("",)}]
    windows = [window for cause in stopped if (window := _window(known, cause))]
    if not windows:
        return
    found = {change: window for window in windows for change in known.changes.changes if window.holds(change)}
    nearest = sorted(found, key=lambda change: change.at, reverse=True)
    cut_at, good = known.changes.cut_at, min(window.good for window in windows)
    unread = (
        f"of changes before {moment_text(cut_at)} there were too many to be read" if cut_at and cut_at > good else ""
    )
    for place, change in enumerate(nearest[:_NEAREST], 1):
        more = f"and {len(nearest) - _NEAREST} more before it" if place == _NEAREST < len(nearest) else ""
        words = "; ".join(filter(None, (_beside(known, change, found[change]), more, unread)))
        yield Standing(StandingKind.CHANGED, (*_named(change), change.what), words, change.at, change.who)
    if not nearest:
        bad = max(window.bad for window in windows)
        parts = sorted({part for window in windows for part in window.components})
        since = f"from {moment_text(good)} to {moment_text(bad)}"
        yield Standing(StandingKind.UNCHANGED, tuple(parts), "; ".join(filter(None, (since, unread))))


def _named(change: Change) -> tuple[str, str]:
    made = f" ({one_line(change.made, _NAME)})" if change.made else ""
    return change.component, f"{one_line(change.name, _NAME)}{made}"


def _beside(known: Known, change: Change, window: _Window) -> str:
    """Say how long before the stop a change was, and on how many of the good dates there was one like it."""
    words = f"{duration_text(window.bad - change.at)} before it stopped"
    cut_at = known.changes.cut_at
    days = [begun for one in window.good_dates if (begun := one.phase.begins(one.game_date)) >= (cut_at or begun)]
    alike = [one.at for one in known.changes.changes if one[1:4] == change[1:4] and one.at < window.good]
    many = sum(any(begun <= at < begun + _ONE_DAY for at in alike) for begun in days)
    return f"{words}; {change.what} also on {many or 'none'} of the last {len(days)} good dates" if days else words


def _window(known: Known, cause: Cause) -> _Window | None:
    """Return between which times a cause began; None where nobody knows of the stage that it was ever reached."""
    stage = cause.until
    if stage is None or stage not in _COMPONENTS:
        return None
    stages = (*cause.between, stage)
    first = next((one for one in known.history if one.game_date == cause.since), known)
    bad = min(_first_bad(known, first, cause, name) for name in cause.subjects or ("",))
    subjects = frozenset(cause.subjects) if stage in _OF_ITS_OWN else known.phase.expected
    times = {one.game_date: [*_reached(one, stage, subjects)] for one in known.history}
    every = [*(at for own in times.values() for at in own), *_reached_by_traces(known, stage, subjects)]
    good = max((at for at in every if at < bad), default=None)
    if good is None:
        return None
    good_dates = [one for one in known.history if one.game_date < first.game_date and times[one.game_date]]
    components = frozenset[Component]().union(*(_COMPONENTS[one] for one in stages if one in _COMPONENTS))
    own = known.phase.scheduler_jobs.items()
    jobs = frozenset(job for job, names in own if not names or not subjects.isdisjoint(names))
    return _Window(good, bad, components, jobs, good_dates)


def _first_bad(known: Known, first: Facts, cause: Cause, subject: str) -> datetime:
    """Return when it is first known that a subject stopped, or should have been further than it was."""
    if first is known and cause.source == LINES and cause.at:
        _, bad = _around(known, cause)
        return bad.at if bad else cause.at
    if first is known and cause.statuses and known.bad_requests:
        return known.bad_requests[0].at
    if first is known and cause.at and cause.kind is not CauseKind.NOT_RUN:
        return cause.at
    if not subject:
        trigger = first.progress.trigger
        due = first.complete_at if first.is_complete else first.deadline
        return (trigger and trigger.at) or due
    arrival = first.completion_log.completed.get(subject)
    if arrival:
        return arrival.visible_at
    usual = [at - one.phase.begins(one.game_date) for one in known.history if (at := one.completed_at.get(subject))]
    deadline = first.phase.deadline(first.game_date, subject)
    return min(deadline, first.phase.begins(first.game_date) + max(usual) + _LATER) if usual else deadline


def _reached(one: Facts, stage: Stage, subjects: Collection[str]) -> Iterator[datetime]:
    """Yield when a stage was reached by the subjects, or the date, as the stores have it."""
    if stage.rank > Stage.REGISTERED.rank:
        trigger = one.progress.trigger
        is_through = trigger is not None and (stage.rank <= Stage.FLAGGED.rank or bool(one.output))
        if trigger and is_through and (at := trigger.at or (one.complete_at if one.is_complete else None)):
            yield at
        return
    by_stage: dict[Stage, Mapping[str, datetime | None]] = {
        Stage.RAN: one.completed_at,
        Stage.PUBLISHED: one.completed_at,
        Stage.RECORDED: {name: arrival.visible_at for name, arrival in one.rows.completed.items()},
        Stage.REGISTERED: one.registered_at,
    }
    times = by_stage.get(stage, one.handled_at)
    yield from (at for name, at in times.items() if at and name in subjects)


def _reached_by_traces(known: Known, stage: Stage, subjects: Collection[str]) -> Iterator[datetime]:
    """Yield when a stage of deliveries was reached, by what they have left since the date began, and just before."""
    if stage.rank not in {Stage.DELIVERED.rank, Stage.ACCEPTED.rank, Stage.REGISTERED.rank}:
        return
    is_any = stage is Stage.DELIVERED
    yield from (
        line.at
        for line in known.lines
        if is_any or (_is_good(line) and (stage not in _OF_ITS_OWN or known.processor_of(line) in subjects))
    )
    if is_any:
        yield from (request.at for request in known.requests if request.status in ANSWERED)
        yield from (source.value for source in (known.traces.last_answer,) if isinstance(source, Seen))


def _by_lines(known: Known, causes: Collection[Cause]) -> Iterator[Standing]:
    """Yield in what the first bad line of a stop differs from the last good one before it.

    What has stopped alike on earlier dates began there.
    """
    stops = (cause for cause in causes if cause.source == LINES and cause.at and not cause.since)
    stop = min(stops, key=moment_of, default=None)
    good, bad = _around(known, stop) if stop else (None, None)
    for kind, field in ((StandingKind.CHANGED_REVISION, "revision"), (StandingKind.CHANGED_LIST, "expected_hash")):
        was, became = (str(line.fields.get(field) or "") if line else "" for line in (good, bad))
        if good and bad and was and became and was != became:
            words = f"last good {moment_text(good.at)}, first bad {moment_text(bad.at)}"
            yield Standing(kind, (one_line(was, _NAME), one_line(became, _NAME)), words)


def _around(known: Known, stop: Cause) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Return the last good line before a stop, and the first bad one.

    Who waits for another list is not bad until the set is complete: there every line with that list is.
    """
    last = known.traces.last_line
    lines = [*([last.value] if isinstance(last, Seen) else []), *known.lines]
    own = next((line for line in lines if line.at == stop.at), None)
    if stop.kind is CauseKind.EXPECTATION_DRIFT:
        hashed = [line for line in lines if own and line.at <= own.at and line.fields.get("expected_hash")]
        new = own.fields.get("expected_hash") if own else None
        good = [line for line in hashed if line.fields["expected_hash"] != new]
        return (good[-1], next(line for line in hashed if line.at > good[-1].at)) if good and new else (None, None)
    bad = next((line for line in lines if line is own or (line.closes and not _is_good(line))), None)
    before = [line for line in lines if bad and line.at < bad.at and _is_good(line)]
    return (before[-1] if before else None), bad


def _is_good(line: Checkpoint) -> bool:
    return line.closes and line.severity in {Severity.INFO, Severity.NOTICE}
