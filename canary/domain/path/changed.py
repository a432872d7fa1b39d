"""What was changed before something stopped.

A change counts if it was made between the time when its stage was last reached and its first
refusal. First the orchestrator's own lines are compared, the first bad one with the last good one;
then the platform's log of who changed what is read. A change is shown beside a cause, with the
number of good dates that had one like it, and is never the cause itself. What was changed after the
stop, or belongs to another stage, is not named.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from canary.domain.evidence import Seen
from canary.domain.facts import Facts
from canary.domain.path.dossier import ANSWERED, LINES, Dossier, Fact, moment_of
from canary.domain.stages import Cause, CauseKind, Stage, Standing, StandingKind, State, moment_text
from canary.domain.verdict import duration_text
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Change, Component, Part

_NAME = 100
# What each stage consists of, as far as somebody may change it; of a processor's own run it is what
# starts it.
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
    """The times (UTC) between which a stage may have stopped: after `good`, and by `bad`.

    When it stopped is known, or `is_guessed` from when it was due. `jobs` are the scheduler's jobs
    that the stage consists of, `good_dates` the dates before on which it was reached.
    """

    stage: Stage
    good: datetime
    bad: datetime
    is_guessed: bool
    jobs: frozenset[str]
    good_dates: Sequence[Facts]

    def is_of_it(self, part: Part) -> bool:
        """Whether the stage consists of a component, among others."""
        component, name = part
        return component in _COMPONENTS[self.stage] and (
            component is not Component.JOB or name in self.jobs
        )

    def holds(self, change: Change) -> bool:
        """Whether a change may have to do with the stop."""
        is_between = (change.began or change.at) <= self.bad and change.at >= self.good
        return is_between and self.is_of_it((change.component, change.name))


def changed(
    dossier: Dossier, causes: Collection[Cause], path: Collection[Fact]
) -> Iterator[Standing]:
    """Yield what was changed before the stops of a date, the nearest first.

    Where nothing was, yield that, as far as the log of changes can show it.
    """
    yield from _by_lines(dossier, causes)
    if not isinstance(dossier.traces.changes, Seen):
        return
    states = {(step.stage, step.subject): step.state for step in path}
    windows = _first([window for cause in causes for window in _windows(dossier, cause, states)])
    window_of = {
        change: window
        for window in windows
        for change in dossier.changes.changes
        if window.holds(change)
    }
    nearest = sorted(window_of, key=lambda change: change.at, reverse=True)
    cut_at, good = (
        dossier.changes.cut_at,
        min((window.good for window in windows), default=dossier.now),
    )
    unread = (
        f"before {moment_text(cut_at)} there were too many to be read"
        if cut_at and cut_at > good
        else ""
    )
    for place, change in enumerate(nearest[:_NEAREST], 1):
        more = (
            f"and {len(nearest) - _NEAREST} more before it"
            if place == _NEAREST < len(nearest)
            else ""
        )
        words = "; ".join(filter(None, (_beside(dossier, change, window_of[change]), more, unread)))
        revisions = [one_line(change.made, _NAME)] if change.made else []
        subjects = (change.component, one_line(change.name, _NAME), change.what, *revisions)
        yield Standing(StandingKind.CHANGED, subjects, words, change.at, change.who)
    if not nearest:
        yield from _unchanged(dossier, windows, unread)


def _unchanged(dossier: Dossier, windows: Collection[_Window], unread: str) -> Iterator[Standing]:
    """Yield between which times nothing was changed of the components that were looked at.

    Only where these times are known, and the same for all stages that may have stopped.
    """
    sure = {(window.good, window.bad) for window in windows if not window.is_guessed}
    parts = [
        part
        for part in dossier.changes.looked_at
        if any(window.is_of_it(part) for window in windows)
    ]
    if len(sure) == 1 and all((window.good, window.bad) in sure for window in windows) and parts:
        ((good, bad),) = sure
        since = max(good, dossier.changes.cut_at or good)
        words = f"from {moment_text(since)} to {moment_text(bad)}" if since <= bad else ""
        names = sorted(f"{component} {one_line(name, _NAME)}" for component, name in parts)
        if words:
            yield Standing(
                StandingKind.UNCHANGED, tuple(names), "; ".join(filter(None, (words, unread)))
            )


def _beside(dossier: Dossier, change: Change, window: _Window) -> str:
    """Say how long before the stop a change was, and how many good dates had one like it."""
    before = max(window.bad - change.at, timedelta(0))
    words = f"{duration_text(before)} before it stopped" + (
        " or was due" if window.is_guessed else ""
    )
    cut_at = dossier.changes.cut_at
    days = [
        facts
        for facts in window.good_dates
        if not cut_at or facts.phase.begins(facts.game_date) >= cut_at
    ]
    alike = [
        earlier.at
        for earlier in dossier.changes.changes
        if earlier.deed == change.deed and earlier.at < window.good
    ]
    spans = [
        (facts.phase.begins(facts.game_date), facts.phase.begins(facts.game_date + _ONE_DAY))
        for facts in days
    ]
    many = sum(any(begun <= at < ended for at in alike) for begun, ended in spans)
    if len(days) == 1:
        return f"{words}; {change.what} {'on' if many else 'not on'} the one good date before"
    return (
        f"{words}; {change.what} on {many} of the {len(days)} good dates before" if days else words
    )


def _windows(
    dossier: Dossier, cause: Cause, states: Mapping[tuple[Stage, str], State]
) -> Iterator[_Window]:
    """Yield, for each stage at which it may have stopped, the times between which it did.

    A stage that was never reached has none, and neither has a state that was reached and is undone.
    """

    def are(stage: Stage | None, state: State) -> bool:
        return all(stage and states.get((stage, name)) is state for name in cause.subjects or ("",))

    if cause.until is None or are(cause.until, State.UNDONE):
        return
    first = next((facts for facts in dossier.history if facts.game_date == cause.since), dossier)
    bounds = [_first_bad(dossier, first, cause, name) for name in cause.subjects or ("",)]
    earliest, bad = min(at for at, _ in bounds), min(at for _, at in bounds)
    after = cause.after.rank if cause.after else -1
    for stage in (
        candidate
        for candidate in _COMPONENTS
        if after < candidate.rank <= cause.until.rank and not are(candidate, State.REACHED)
    ):
        subjects = frozenset(cause.subjects) if stage in _OF_ITS_OWN else dossier.phase.expected
        times = {facts.game_date: [*_reached(facts, stage, subjects)] for facts in dossier.history}
        moments = [
            *(at for reached in times.values() for at in reached),
            *_reached_by_traces(dossier, stage, subjects),
        ]
        good = max((at for at in moments if at < earliest), default=None)
        if good is not None:
            good_dates = [
                facts for facts in dossier.dates_before(first.game_date) if times[facts.game_date]
            ]
            started = dossier.phase.scheduler_jobs.items()
            jobs = frozenset(
                job for job, names in started if not names or not subjects.isdisjoint(names)
            )
            yield _Window(stage, good, bad, earliest != bad, jobs, good_dates)


def _first(windows: Sequence[_Window]) -> list[_Window]:
    """Return the windows, without later ones of a stage that works for all or for none.

    Such a stage stopped with the first of them.
    """
    shared = [window for window in windows if window.stage not in _OF_ITS_OWN]
    first = {
        stage: min(window.bad for window in shared if window.stage is stage)
        for stage in {window.stage for window in shared}
    }
    return [window for window in windows if window.bad == first.get(window.stage, window.bad)]


def _first_bad(
    dossier: Dossier, first: Facts, cause: Cause, subject: str
) -> tuple[datetime, datetime]:
    """Return between which times a subject first did not come as far as it should have.

    Often both are the same moment.
    """
    arrival, refused_at = first.completion_log.completed.get(subject), _refused_at(dossier, cause)
    times = [
        *([arrival.visible_at] if arrival else []),
        *([refused_at] if refused_at and first is dossier else []),
    ]
    if not subject:
        trigger, due = first.progress.trigger, [first.complete_at] if first.is_complete else []
        times += due or [(trigger and trigger.at) or first.deadline]
    if times:
        return min(times), min(times)
    begins, deadline = (
        first.phase.begins(first.game_date),
        first.phase.deadline(first.game_date, subject),
    )
    before = dossier.dates_before(first.game_date)
    usual = [
        at - facts.phase.begins(facts.game_date)
        for facts in before
        if (at := facts.completed_at.get(subject))
    ]
    return (
        (begins + min(usual), min(deadline, begins + max(usual) + _LATER))
        if usual
        else (begins, deadline)
    )


def _refused_at(dossier: Dossier, cause: Cause) -> datetime | None:
    """Return when somebody first said that it stopped; None where nobody says when."""
    if cause.source == LINES and cause.at:
        _, bad = _around(dossier, cause)
        return bad.at if bad else cause.at
    if cause.statuses and dossier.bad_requests:
        return dossier.bad_requests[0].at
    return cause.at


def _reached(facts: Facts, stage: Stage, subjects: Collection[str]) -> Iterator[datetime]:
    """Yield when a stage was reached by the subjects, or the date, as the stores have it."""
    if stage.rank > Stage.REGISTERED.rank:
        trigger, due = facts.progress.trigger, facts.complete_at if facts.is_complete else None
        is_through = trigger is not None and (
            stage.rank <= Stage.FLAGGED.rank or bool(facts.output)
        )
        at = (trigger.at or due) if trigger and is_through else None
        # a flag that was set later was set by hand
        if at and (due is None or at < due + facts.phase.untriggered_after):
            yield at
        return
    by_stage: dict[Stage, Mapping[str, datetime | None]] = {
        Stage.RAN: facts.completed_at,
        Stage.PUBLISHED: facts.completed_at,
        Stage.RECORDED: {
            name: arrival.visible_at for name, arrival in facts.rows.completed.items()
        },
        Stage.REGISTERED: facts.registered_at,
    }
    times = by_stage.get(stage, facts.handled_at)
    # what was completed after the deadline was completed by hand
    yield from (at for name, at in times.items() if at and name in subjects and at < facts.deadline)


def _reached_by_traces(
    dossier: Dossier, stage: Stage, subjects: Collection[str]
) -> Iterator[datetime]:
    """Yield when a stage of deliveries was reached, by what they have left.

    That is everything since the date began, and the last answer before it.
    """
    if stage.rank not in {Stage.DELIVERED.rank, Stage.ACCEPTED.rank, Stage.REGISTERED.rank}:
        return
    is_any = stage is Stage.DELIVERED
    yield from (
        line.at
        for line in dossier.lines
        if is_any
        or (_is_good(line) and (stage not in _OF_ITS_OWN or dossier.processor_of(line) in subjects))
    )
    if is_any:
        yield from (request.at for request in dossier.requests if request.status in ANSWERED)
        yield from (
            source.value for source in (dossier.traces.last_answer,) if isinstance(source, Seen)
        )


def _by_lines(dossier: Dossier, causes: Collection[Cause]) -> Iterator[Standing]:
    """Yield how the first bad line of a stop differs from the last good one before it.

    A stop that began on an earlier date is left out.
    """
    stops = (cause for cause in causes if cause.source == LINES and cause.at and not cause.since)
    stop = min(stops, key=moment_of, default=None)
    good, bad = _around(dossier, stop) if stop else (None, None)
    for kind, field in (
        (StandingKind.CHANGED_REVISION, "revision"),
        (StandingKind.CHANGED_LIST, "expected_hash"),
    ):
        was, became = (str(line.fields.get(field) or "") if line else "" for line in (good, bad))
        if good and bad and was and became and was != became:
            words = f"last good {moment_text(good.at)}, first bad {moment_text(bad.at)}"
            yield Standing(kind, (one_line(was, _NAME), one_line(became, _NAME)), words)


def _around(dossier: Dossier, stop: Cause) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Return the last good line before a stop, and the first bad one.

    An orchestrator that waits for another list comes to no bad end until the set is complete. There
    every line with that list is bad.
    """
    last = dossier.traces.last_line
    lines = [*([last.value] if isinstance(last, Seen) else []), *dossier.lines]
    stop_line = next((line for line in lines if line.at == stop.at), None)
    if stop.kind is CauseKind.EXPECTATION_DRIFT:
        hashed = [
            line
            for line in lines
            if stop_line and line.at <= stop_line.at and line.fields.get("expected_hash")
        ]
        expected_hash = stop_line.fields.get("expected_hash") if stop_line else None
        good = [line for line in hashed if line.fields["expected_hash"] != expected_hash]
        return (
            (good[-1], next(line for line in hashed if line.at > good[-1].at))
            if good and expected_hash
            else (None, None)
        )
    if stop.subjects:  # each attempt of theirs since the last that came to a good end
        theirs = [line for line in dossier.lines if dossier.processor_of(line) in stop.subjects]
        ends = [
            number
            for number, line in enumerate(theirs)
            if _is_good(line) and stop_line and line.at < stop_line.at
        ]
        bad = next(iter(theirs[ends[-1] + 1 if ends else 0 :]), None)
    else:
        until = [line for line in lines if stop_line and line.at <= stop_line.at]
        ends = [
            number for number, line in enumerate(until) if _is_good(line) and line is not stop_line
        ]
        bad = next(
            (
                line
                for line in until[ends[-1] + 1 if ends else 0 :]
                if line is stop_line or _is_bad(line)
            ),
            None,
        )
    before = [line for line in lines if bad and line.at < bad.at and _is_good(line)]
    return (before[-1] if before else None), bad


def _is_bad(line: Checkpoint) -> bool:
    """Whether a delivery came to a bad end.

    A rejected or unexpected message is not the code's fault.
    """
    is_nobodys = line.kind in {CheckpointKind.REJECTED, CheckpointKind.UNEXPECTED}
    return line.closes and not _is_good(line) and not is_nobodys


def _is_good(line: Checkpoint) -> bool:
    return line.closes and line.severity in {Severity.INFO, Severity.NOTICE}
