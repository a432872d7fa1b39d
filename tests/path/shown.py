"""What the sources show of a world at a moment: all, a part, nothing, or an error.

A `View` says of each source how it is collected. Evidence and traces are put together as
canary/sources.py does it. The worlds that are looked at are drawn here, too.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.evidence import (
    Absent,
    Evidence,
    Logged,
    Seen,
    Source,
    Traces,
    Unreadable,
    mapped,
    read_completion_log,
    value_or,
)
from orchestrator_resilience import Phase
from orchestrator_resilience.checkpoints import (
    UNDATED_DAYS,
    Checkpoint,
    Severity,
    concerns,
    deliveries,
)
from orchestrator_resilience.progress import Progress, read_progress
from orchestrator_resilience.stores.base import (
    Attempt,
    Change,
    Changes,
    Component,
    Flag,
    ProcessorRun,
    ProcessorSummary,
    ServiceError,
    ServiceErrors,
)
from tests.path.worlds import (
    BUNDLED,
    DATES,
    DAY,
    FIVE,
    HOUR,
    MINUTE,
    ONE_DAY,
    SECOND,
    Code,
    DateEnding,
    Ending,
    Happened,
    Outage,
    Plan,
    Run,
    Truth,
    phase_of,
    play,
)

T = TypeVar("T")

# So many errors are kept where they are cut off; and what errors say that have nothing to do with a
# request.
_KEPT, UNRELATED = 3, "KeyError: 'unrelated'"
NO_ANSWER = Unreadable("drawn as unreadable")


class Lines(StrEnum):
    """How the lines are collected."""

    COLLECTED = "all lines"
    SINCE_THE_DATE = "lines since this date"
    NEVER = "no lines ever"
    ERRORS = "only ERROR lines"
    SAMPLED = "sampled lines"
    OFF_BEFORE = "lines off since before the date"
    OFF_WITHIN = "lines off within the date"
    CUT = "lines cut"
    UNREADABLE = "lines unreadable"


class Messages(StrEnum):
    """How the message log is collected."""

    COLLECTED = "message log"
    SINCE_THE_DATE = "message log since this date"
    EMPTY = "message log empty"
    ABSENT = "no message log"
    UNREADABLE = "message log unreadable"


class Requests(StrEnum):
    """How the request log is collected."""

    WHOLE = "request log"
    SINCE_THE_DATE = "request log since this date"
    WITHOUT_2XX = "request log without 2xx"
    EMPTY = "request log empty"
    ABSENT = "no request log"
    UNREADABLE = "request log unreadable"


class Errors(StrEnum):
    """How the errors of the service are collected."""

    WHOLE = "errors"
    UNTRACED = "errors without traces"
    CUT = "errors cut"
    UNRELATED = "errors, and unrelated ones"
    EMPTY = "no errors"
    ABSENT = "no log of errors"
    UNREADABLE = "errors unreadable"


class Runs(StrEnum):
    """What the query of the processors' runs shows."""

    WHOLE = "runs"
    WITHOUT_END = "runs without their end"
    ENDED = "runs that have ended"
    SINCE_THE_DATE = "runs since this date"
    OFF_BEFORE = "runs off since before the date"
    EMPTY = "runs empty"
    ABSENT = "no runs query"
    UNREADABLE = "runs unreadable"


class Jobs(StrEnum):
    """What is shown of the scheduler's jobs, of which each starts one processor."""

    WHOLE = "jobs"
    WAITING = "jobs that wait for their processors"
    WITHOUT_ATTEMPTS = "jobs without their attempts"
    CUT = "jobs cut"
    ABSENT = "no jobs"
    UNREADABLE = "jobs unreadable"


class Documents(StrEnum):
    """What has become of the progress documents."""

    THERE = "documents"
    REMOVED = "document removed"
    ELSEWHERE = "documents elsewhere"
    UNREADABLE = "document unreadable"


class Rows(StrEnum):
    """What the completion log is."""

    WITH_FLAG = "rows with the flag"
    WITHOUT_FLAG = "rows without its columns"
    NONE = "no rows"
    UNREADABLE = "rows unreadable"


class Side(StrEnum):
    """A source that is whole, absent or unreadable."""

    THERE = "there"
    ABSENT = "absent"
    UNREADABLE = "unreadable"


class Moment(StrEnum):
    """When the date is judged."""

    DURING = "while they arrive"
    RIGHT_AFTER = "right after"
    HALF_AN_HOUR = "half an hour after"
    BEFORE_DEADLINE = "before the deadline"
    AFTER_DEADLINE = "after the deadline"
    DAYS_LATER = "days later"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How each source is collected, and when the date is judged."""

    lines: Lines = Lines.COLLECTED
    messages: Messages = Messages.COLLECTED
    requests: Requests = Requests.WHOLE
    errors: Errors = Errors.WHOLE
    runs: Runs = Runs.WHOLE
    jobs: Jobs = Jobs.WHOLE
    documents: Documents = Documents.THERE
    rows: Rows = Rows.WITH_FLAG
    dead_letters: Side = Side.THERE
    flag_table: Side = Side.ABSENT
    outcome: Side = Side.THERE
    work: Side = Side.THERE
    moment: Moment = Moment.AFTER_DEADLINE
    minutes: int = 3
    sample: int = 0
    since: int = 0

    def __str__(self) -> str:
        """Say what each source is, shortly, where it is not whole."""
        default = View()
        named = [
            name
            for name in ("dead_letters", "flag_table", "outcome", "work")
            if getattr(self, name) != "there"
        ]
        states = [
            self.lines,
            self.messages,
            self.requests,
            self.errors,
            self.runs,
            self.jobs,
            self.documents,
            self.rows,
        ]
        odd = [str(value) for value in states if value not in msgspec.structs.astuple(default)]
        return "; ".join(
            [
                f"{self.moment} (+{self.minutes} min)",
                *odd,
                *(f"{n} {getattr(self, n)}" for n in named),
            ]
        )


class World(msgspec.Struct, frozen=True, dict=True):
    """What happened, and what is shown of it."""

    plan: Plan
    view: View

    def __str__(self) -> str:
        """Say both, shortly."""
        return f"{self.plan} | {self.view} | now {self.now:%m-%d %H:%M}"

    @cached_property
    def happened(self) -> Happened:
        """Everything that happened, also after it is judged."""
        return play(self.plan)

    @cached_property
    def phase(self) -> Phase:
        """The phase, with the sources that there are."""
        view = self.view
        return replace(
            phase_of(self.plan),
            message_table=None
            if view.messages is Messages.ABSENT
            else "nba_orchestration.phase_messages",
            flag_table=None
            if view.flag_table is Side.ABSENT
            else "nba_orchestration.phase_completion_status",
            outcome_query=None if view.outcome is Side.ABSENT else "@since @until",
            work_query=None if view.work is Side.ABSENT else "@since @until",
            scheduler_jobs={}
            if view.jobs is Jobs.ABSENT
            else {f"job-{name}": (name,) for name in FIVE},
        )

    @cached_property
    def now(self) -> datetime:
        """When the date is judged."""
        times = sorted(
            message.at
            for message in self.happened.messages
            if message.day == DAY and not message.rerun
        )
        first, last, deadline = (
            times[0] if times else _begin(),
            times[-1] if times else _begin(),
            BUNDLED.deadline(DAY),
        )
        extra = self.view.minutes * MINUTE
        match self.view.moment:
            case Moment.DURING:
                return first + (last - first) * (self.view.minutes % 10) / 10 + extra / 10
            case Moment.RIGHT_AFTER:
                return last + extra
            case Moment.HALF_AN_HOUR:
                return last + 31 * MINUTE + extra
            case Moment.BEFORE_DEADLINE:
                return max(last, deadline - 60 * MINUTE) + extra
            case Moment.AFTER_DEADLINE:
                return max(last, deadline) + extra
            case Moment.DAYS_LATER:
                return deadline + 2 * ONE_DAY + extra

    def truth(self, subject: str) -> Truth:
        """Return what is true of a processor, or of the date, when it is judged."""
        return self.happened.truth(subject, self.now)

    # What is read

    @cached_property
    def evidence(self) -> Evidence:
        """The evidence of DAY."""
        return next(evidence for evidence in self.history if evidence.game_date == DAY)

    @cached_property
    def history(self) -> tuple[Evidence, ...]:
        """The evidence of all dates that have begun."""
        return tuple(self._evidence(day) for day in DATES if self.phase.begins(day) <= self.now)

    @cached_property
    def traces(self) -> Traces:
        """What the deliveries of DAY have left."""
        fields = {
            "checkpoints": self._checkpoints,
            "requests": self._requests,
            "dead_letters": self._dead_letters,
            "cut_at": self._cut_at,
            "last_line": self._last_line,
            "last_answer": self._last_answer,
            "errors": self._errors,
            "runs": self._runs,
            "changes": self._changes,
        }
        return Traces(
            **{name: value for name, value in fields.items() if name in Traces.__struct_fields__}  # type: ignore[arg-type]
        )

    def _evidence(self, day: date) -> Evidence:
        outcome, work = self.happened.output.get(day), 7
        has_output = outcome is not None and outcome <= self.now
        return Evidence(
            phase=self.phase.name,
            game_date=day,
            completion_log=self._completion_log(day),
            progress=self._progress(day),
            messages=self._messages(day),
            flag_table=self._flag_table(day),
            outcome=_side(self.view.outcome, work if has_output else 0),
            work=_side(self.view.work, work),
        )

    def _completion_log(self, day: date) -> Source[Logged]:
        if self.view.rows is Rows.UNREADABLE:
            return NO_ANSWER
        rows = [row for row in self.happened.rows if row.day == day and row.visible_at <= self.now]
        if self.view.rows is Rows.NONE:
            rows = []
        has_flag = self.view.rows is Rows.WITH_FLAG and self.plan.code is Code.OURS
        summaries = [
            ProcessorSummary(
                phase=self.phase.name,
                game_date=day,
                processor_name=row.name,
                status="success",
                last_completed_at=row.completed_at,
                first_completed_at=row.completed_at,
                first_visible_at=row.visible_at,
                is_triggered=row.is_flag if has_flag else None,
                trigger_reason="all_complete" if row.is_flag else None,
            )
            for row in rows
            if has_flag or not row.is_flag
        ]
        return read_completion_log(summaries, self.phase)

    def _messages(self, day: date) -> Source[Logged]:
        """Return what the message log says, as messages.sql reads it.

        It lacks the messages of another phase, and those that are no JSON.
        """
        if self.view.messages is Messages.UNREADABLE:
            return NO_ANSWER
        shown = [
            message
            for message in self.happened.messages
            if self.view.messages in {Messages.COLLECTED, Messages.SINCE_THE_DATE}
            and message.at <= self.now
            and (self.view.messages is Messages.COLLECTED or message.at >= self.phase.begins(DAY))
            and message.phase == self.phase.message_phase
            and message.ending is not Ending.REJECTED_WHOLE
            and (
                message.dated == day
                or (message.dated is None and 0 <= (message.at.date() - day).days < UNDATED_DAYS)
            )
        ]
        summaries = [
            ProcessorSummary(
                phase=self.phase.name,
                game_date=message.dated,
                processor_name=message.name,
                status=message.status,
                last_completed_at=message.at,
                first_completed_at=message.at,
                first_visible_at=message.at,
                is_triggered=None,
            )
            for message in shown
        ]
        return read_completion_log(summaries, self.phase)

    def _progress(self, day: date) -> Source[Progress]:
        if self.view.documents is Documents.UNREADABLE:
            return NO_ANSWER
        fields = self.happened.document(day, self.now)
        is_gone = self.view.documents is Documents.REMOVED and day <= DAY
        if fields is None or is_gone or self.view.documents is Documents.ELSEWHERE:
            return Absent()
        return Seen(read_progress(fields, self.phase))

    def _flag_table(self, day: date) -> Source[Flag]:
        flagged = [
            at
            for at, fields in self.happened.snapshots[day]
            if "_triggered" in fields and at <= self.now
        ]
        answer = _side(self.view.flag_table, Flag(is_set=True, at=flagged[0] if flagged else None))
        return answer if flagged or not isinstance(answer, Seen) else Absent()

    @cached_property
    def _collected(self) -> list[Checkpoint]:
        """The lines of all dates that can be read at all."""
        begun, lines = (
            self.phase.begins(DAY),
            [line for line in self.happened.lines if line.at <= self.now],
        )
        within = (
            begun
            + timedelta(hours=18 if self.plan.evening else 24)
            + self.view.since * self.plan.gap * MINUTE
        )
        match self.view.lines:
            case Lines.NEVER | Lines.UNREADABLE:
                return []
            case Lines.SINCE_THE_DATE:
                return [
                    line for line in lines if line.at >= (begun if self.view.since % 2 else within)
                ]
            case Lines.ERRORS:
                return [line for line in lines if line.severity is Severity.ERROR]
            case Lines.SAMPLED:
                return [
                    line
                    for number, line in enumerate(lines)
                    if (self.view.sample >> number % 16) & 1
                ]
            case Lines.OFF_BEFORE:
                return [line for line in lines if line.at < begun]
            case Lines.OFF_WITHIN:
                return [line for line in lines if line.at < within]
            case Lines.COLLECTED | Lines.CUT:
                return lines

    @cached_property
    def _read(self) -> list[Checkpoint]:
        delivered = deliveries(self._collected, {self.phase.name: [DAY]})
        return [line for line in delivered if concerns(line, self.phase.name, DAY)]

    @cached_property
    def without_a_line(self) -> set[str]:
        """The processors that a readable store has, and that left no closing line."""
        log, progress = self.evidence.completion_log, self.evidence.progress
        stored = {
            *value_or(log, Logged()).completed,
            *value_or(progress, Progress(frozenset())).registered,
        }
        return stored - {str(line.fields.get("processor")) for line in self._read if line.closes}

    def has_line_of(self, subject: str) -> bool:
        """Whether a line can be read that may be of a processor.

        Such a line names the processor, or is a rejection that names nobody.
        """
        lines, begun = value_or(self._checkpoints, []), self.phase.begins(DAY)
        names = [line.fields.get("raw_processor") for line in lines if line.at >= begun]
        return any(name is None or self.phase.canonical(name) == subject for name in names)

    @property
    def has_nameless(self) -> bool:
        """Whether there are messages of which nobody can say whose, or of which date, they are."""
        nameless = {Ending.REJECTED_NAME, Ending.REJECTED_DATE, Ending.REJECTED_WHOLE}
        return self.plan.nameless or not nameless.isdisjoint(self.plan.endings)

    @property
    def is_whole(self) -> bool:
        """Whether every source that says where something stopped is there, and shows everything."""
        view, rows = self.view, {Rows.WITH_FLAG, Rows.WITHOUT_FLAG}
        is_told = (
            view.lines is Lines.COLLECTED
            and self.plan.code is not Code.SILENT
            and view.rows in rows
        )
        is_stored = view.documents is Documents.THERE and view.messages is Messages.COLLECTED
        return is_told and is_stored and view.requests is Requests.WHOLE and view.runs is Runs.WHOLE

    @property
    def _cut_at(self) -> datetime | None:
        last_lines = self._read[3 + self.view.since :]
        return last_lines[0].at if self.view.lines is Lines.CUT and last_lines else None

    @property
    def _checkpoints(self) -> Source[list[Checkpoint]]:
        if self.view.lines is Lines.UNREADABLE:
            return NO_ANSWER
        cut_at = self._cut_at
        return Seen([line for line in self._read if cut_at is None or line.at >= cut_at])

    @property
    def _last_line(self) -> Source[Checkpoint]:
        if self.view.lines is Lines.UNREADABLE:
            return NO_ANSWER
        begun = self.phase.begins(DAY)
        before = [line for line in self._collected if line.at < begun]
        return Seen(before[-1]) if before else Absent()

    @property
    def _requests(self) -> Source[list[object]]:
        match self.view.requests:
            case Requests.ABSENT:
                return Absent()
            case Requests.UNREADABLE:
                return NO_ANSWER
            case Requests.EMPTY:
                return Seen([])
            case _:
                begun, only_odd = self.phase.begins(DAY), self.view.requests is Requests.WITHOUT_2XX
                requests = sorted(
                    request for request in self.happened.requests if begun <= request.at < self.now
                )
                return Seen(
                    [
                        request
                        for request in requests
                        if not (only_odd and 200 <= request.status < 300)
                    ]
                )

    @property
    def _last_answer(self) -> Source[datetime]:
        if self.view.requests is Requests.UNREADABLE:
            return NO_ANSWER
        begun = self.phase.begins(DAY)
        before = [
            request.at
            for request in self.happened.requests
            if request.at < begun and 200 <= request.status < 300
        ]
        return Seen(max(before)) if before and self.view.requests is Requests.WHOLE else Absent()

    @property
    def _errors(self) -> Source[ServiceErrors]:
        begun, view = self.phase.begins(DAY), self.view.errors
        if view is Errors.ABSENT:
            return Absent()
        if view is Errors.UNREADABLE:
            return NO_ANSWER
        if view is Errors.EMPTY:
            return Seen(ServiceErrors())
        errors = self.happened.errors + (self._unrelated if view is Errors.UNRELATED else [])
        collected = sorted(error for error in errors if begun <= error.at < self.now)
        if view is Errors.UNTRACED:
            collected = [error._replace(trace="") for error in collected]
        is_cut = view is Errors.CUT and len(collected) > _KEPT
        return Seen(
            ServiceErrors(collected[-_KEPT:], collected[-_KEPT].at)
            if is_cut
            else ServiceErrors(collected)
        )

    @property
    def _unrelated(self) -> list[ServiceError]:
        """Errors all the time, but for that of requests that were not answered."""
        bad = [request.at for request in self.happened.requests if not 200 <= request.status < 300]
        begun, unrelated = self.phase.begins(DAY), list[ServiceError]()
        for number in range(600):
            at = begun + (7 * number + self.view.minutes % 7) * MINUTE + 2 * SECOND
            if all(abs(at - moment) > 10 * SECOND for moment in bad):
                unrelated += [
                    ServiceError(at, UNRELATED),
                    ServiceError(at, f"{UNRELATED}: not started", "", True, True),
                ]
        return unrelated

    @property
    def _dead_letters(self) -> Source[list[object]]:
        letters = [
            letter
            for letter in self.happened.dead_letters
            if letter.game_date == DAY and letter.at <= self.now
        ]
        return mapped(_side(self.view.dead_letters, letters), list)

    @property
    def _runs(self) -> Source[list[ProcessorRun]]:
        """Return the runs as the canary believes them.

        Every second one is under another name of its processor.
        """
        view, begun = self.view.runs, self.phase.begins(DAY)
        if view in {Runs.ABSENT, Runs.UNREADABLE}:
            return Absent() if view is Runs.ABSENT else NO_ANSWER
        keeps: dict[Runs, Callable[[Run], bool]] = {
            Runs.EMPTY: lambda _: False,
            Runs.SINCE_THE_DATE: lambda run: run.began >= begun,
            Runs.OFF_BEFORE: lambda run: run.began < begun,
            Runs.ENDED: lambda run: run.ended is not None and run.ended <= self.now,
        }
        is_shown = keeps.get(view)
        return Seen(
            [
                _as_seen(
                    run,
                    self.phase,
                    self.now,
                    with_end=view is not Runs.WITHOUT_END,
                    aliased=number % 2 == 0,
                )
                for number, run in enumerate(self.happened.runs)
                if run.began <= self.now
                and run.day <= DAY + ONE_DAY
                and (is_shown is None or is_shown(run))
            ]
        )

    @property
    def _changes(self) -> Source[Changes]:
        """Return what became of the jobs, and their attempts.

        The job of a processor that never ran was paused or refused; others were paused since.
        """
        view, changes, attempts = self.view, list[Change](), list[Attempt]()
        if view.jobs in {Jobs.ABSENT, Jobs.UNREADABLE}:
            return Absent() if view.jobs is Jobs.ABSENT else NO_ANSWER
        for number, start in enumerate(self.happened.starts):
            job, chance = f"job-{start.processor}", view.sample >> number % 16
            ended = start.ended if view.jobs is Jobs.WAITING else start.at + SECOND
            if not start.never:
                attempts.append(Attempt(ended, job))
                if chance & 1 and start.day == DAY:
                    changes.append(
                        Change(ended + (chance & 6) * HOUR, Component.JOB, job, "paused")
                    )
            elif chance & 1:
                attempts += [
                    Attempt(ended + n * MINUTE, job, "PERMISSION_DENIED (403)")
                    for n in range(1 + chance & 2)
                ]
            else:
                changes.append(
                    Change(start.at - (1 + chance & 6) * HOUR, Component.JOB, job, "paused")
                )
                if chance & 8:
                    changes.append(Change(start.at + 9 * HOUR, Component.JOB, job, "resumed"))
        attempts = (
            []
            if view.jobs is Jobs.WITHOUT_ATTEMPTS
            else sorted(attempt for attempt in attempts if attempt.at <= self.now)
        )
        changes = sorted(change for change in changes if change.at <= self.now)
        cut_at = (
            self.phase.begins(DAY) + self.view.minutes * 20 * MINUTE
            if view.jobs is Jobs.CUT
            else None
        )
        shown = [change for change in changes if cut_at is None or change.at >= cut_at]
        return Seen(
            Changes(
                shown,
                [attempt for attempt in attempts if cut_at is None or attempt.at >= cut_at],
                cut_at,
            )
        )

    @property
    def has_completion(self) -> bool:
        """Whether somebody's completion of the date can be read."""
        progress = value_or(self.evidence.progress, Progress(frozenset()))
        logs = [
            value_or(log, Logged()).completed
            for log in (self.evidence.completion_log, self.evidence.messages)
        ]
        return bool(progress.registered) or any(logs)


def _as_seen(
    run: Run, phase: Phase, now: datetime, *, with_end: bool, aliased: bool
) -> ProcessorRun:
    has_ended = run.ended is not None and run.ended <= now
    names = phase.processors.get(run.name)
    return ProcessorRun(
        processor=names[0] if names and aliased else run.name,
        game_date=run.day,
        started_at=run.began,
        finished_at=run.ended if has_ended and with_end else None,
        status=run.status if has_ended else "running",
    )


def _begin() -> datetime:
    return BUNDLED.begins(DAY) + timedelta(hours=24)


def _side(side: Side, value: object) -> Source:  # type: ignore[type-arg]
    match side:
        case Side.THERE:
            return Seen(value)
        case Side.ABSENT:
            return Absent()
        case Side.UNREADABLE:
            return NO_ANSWER


# Which sources can be taken away as a whole, and how a view says so.
TAKEN = {
    "lines": ("lines", Lines.UNREADABLE),
    "messages": ("messages", Messages.UNREADABLE),
    "requests": ("requests", Requests.UNREADABLE),
    "errors": ("errors", Errors.UNREADABLE),
    "runs": ("runs", Runs.UNREADABLE),
    "jobs": ("jobs", Jobs.UNREADABLE),
    "documents": ("documents", Documents.UNREADABLE),
    "rows": ("rows", Rows.UNREADABLE),
    "dead_letters": ("dead_letters", Side.UNREADABLE),
    "flag_table": ("flag_table", Side.UNREADABLE),
}


def without(world: World, source: str) -> World:
    """Return a world in which a source cannot be read."""
    field, value = TAKEN[source]
    less = World(world.plan, replace(world.view, **{field: value}))
    vars(less)["happened"] = world.happened  # which is the same
    return less


# What is drawn. What is healthy, and whole, comes more often than each of the other cases.


class Choose(Protocol):
    """Chooses one of some values.

    It does so at random, or as Hypothesis wants it, which then makes what it has found simpler.
    """

    def __call__(self, values: Sequence[T], /) -> T:
        """Return one of them."""


_TROUBLES = ("none", "one", "one", "two", "many", "all", "date", "date", "outage", "outage and one")
_ODD = [ending for ending in Ending if ending is not Ending.HEALTHY]
_BOTH = (False, True)


def plan_of(choose: Choose) -> Plan:
    """Choose what happens: nothing odd, completions that stop, a date that stops, an outage."""
    endings, trouble = [Ending.HEALTHY] * 5, choose(_TROUBLES)
    numbers = {"one": 1, "two": 2, "outage and one": 1}.get(trouble, 0)
    for _ in range(numbers):
        endings[choose(range(5))] = choose(_ODD)
    if trouble == "all":
        endings = [choose(_ODD)] * 5
    elif trouble == "many":
        endings = [choose(_mostly(Ending.HEALTHY, Ending, 30)) for _ in FIVE]
    date_ending = (
        choose(_mostly(DateEnding.HEALTHY, DateEnding)) if trouble == "date" else DateEnding.HEALTHY
    )
    is_theirs = date_ending not in {
        DateEnding.HEALTHY,
        DateEnding.WAITS_FOR_OTHER,
        DateEnding.NO_OUTPUT,
    }
    codes = (
        [Code.THEIRS, Code.THEIRS, Code.OURS, Code.SILENT]
        if is_theirs
        else [Code.OURS, Code.OURS, *Code]
    )
    order: list[int] = []
    while len(order) < len(FIVE):
        order.append(choose([number for number in range(5) if number not in order]))
    return Plan(
        endings=tuple(endings),
        order=tuple(order),
        date_ending=date_ending,
        outage=Outage(choose(_STATUSES), choose(range(5))) if "outage" in trouble else None,
        code=choose(codes),
        old=choose(_BOTH),
        flag_starts=choose(_BOTH),
        names_pending=choose(_BOTH),
        attempts=choose((2, 1, 5)),
        reruns=choose(_RERUNS),
        others=choose(_BOTH),
        nameless=choose((False, False, True)),
        gap=choose((20, 1, 90)),
        evening=choose(_BOTH),
    )


_STATUSES = (403, 403, 404, 429, 401, 503, 503, 0)
_RERUNS: tuple[tuple[int, ...], ...] = ((), (), (0,), (1, 3))


def view_of(choose: Choose) -> View:
    """Choose what is shown of it: in one of five worlds every source is whole."""
    view = View(
        dead_letters=choose(_mostly(Side.THERE, Side)),
        flag_table=choose(_mostly(Side.ABSENT, Side)),
        moment=choose(_mostly(Moment.AFTER_DEADLINE, Moment, 3)),
        minutes=choose((1, 0, 3, 9, 12, 20, 40, 75)),
        errors=choose(_mostly(Errors.WHOLE, Errors, 2)),
        sample=choose(range(65536)),
        since=choose(range(5)),
    )
    if choose(range(5)) == 0:
        return view
    return replace(
        view,
        lines=choose(_mostly(Lines.COLLECTED, Lines, 3)),
        messages=choose(_mostly(Messages.COLLECTED, Messages, 2)),
        requests=choose(_mostly(Requests.WHOLE, Requests, 2)),
        runs=choose(_mostly(Runs.WHOLE, [*Runs, Runs.ABSENT, Runs.ABSENT], 3)),
        jobs=choose(_mostly(Jobs.WHOLE, [*Jobs, Jobs.ABSENT, Jobs.ABSENT], 3)),
        documents=choose(_mostly(Documents.THERE, Documents, 12)),
        rows=choose(_mostly(Rows.WITH_FLAG, Rows, 12)),
        outcome=choose(_mostly(Side.THERE, Side, 4)),
        work=choose(_mostly(Side.THERE, Side, 4)),
    )


def _mostly(first: T, values: Iterable[T], weight: int = 1) -> list[T]:
    return [*[first] * weight, *values]


def world_of(choose: Choose) -> World:
    """Choose a world."""
    return World(plan_of(choose), view_of(choose))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world."""
    return world_of(lambda values: draw(st.sampled_from(values)))
