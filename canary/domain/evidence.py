"""What the sources say of one (phase, game date): each is Seen, Absent or Unreadable.

Nothing here reads anything: canary/sources.py does, and hands over what it found as values.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Generic, TypeVar

import msgspec

from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import ProcessorReport, Progress
from orchestrator_resilience.stores.base import (
    Changes,
    DeadLetter,
    Flag,
    ProcessorRun,
    ProcessorSummary,
    Request,
    ServiceErrors,
)

T = TypeVar("T")
U = TypeVar("U")


class Seen(msgspec.Struct, Generic[T], frozen=True):
    """The source answered, with this."""

    value: T


class Absent(msgspec.Struct, frozen=True):
    """The source answered that it has nothing, or the phase has no such source."""


class Unreadable(msgspec.Struct, frozen=True):
    """The source did not answer, and why: nothing may be concluded from it."""

    reason: str


Source = Seen[T] | Absent | Unreadable


def value_or(source: Source[T], default: T) -> T:
    """Return what the source says, or `default` where it says nothing or could not be read."""
    return source.value if isinstance(source, Seen) else default


def mapped(source: Source[T], read: Callable[[T], U]) -> Source[U]:
    """Return what `read` makes of what the source says."""
    return Seen(read(source.value)) if isinstance(source, Seen) else source


class Arrival(msgspec.Struct, frozen=True):
    """A processor's first success: when it completed, and when the log had the row (UTC)."""

    completed_at: datetime
    visible_at: datetime


class Logged(msgspec.Struct, frozen=True):
    """What the rows of the orchestrator, or the messages on the topic, say of one date.

    `completed` maps expected processors to their first success, `reports` maps them to what they
    last reported. `unexpected` are the names of other processors, as they came. `flag` is what the
    rows say of the flag, None where they say nothing of it, as in a table without its columns.
    `unattributed` are the times (UTC) of messages that may be of this date, and of which nobody can
    read the processor or the date.
    """

    completed: Mapping[str, Arrival] = msgspec.field(default_factory=dict)
    reports: Mapping[str, ProcessorReport] = msgspec.field(default_factory=dict)
    unexpected: frozenset[str] = frozenset()
    flag: Flag | None = None
    unattributed: tuple[datetime, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What each source says of one (phase, game date): everything that a verdict rests on.

    `completion_log` are the rows of the orchestrator, `messages` what Pub/Sub wrote down by itself,
    `progress` the progress document with the flag `_triggered`, `flag_table` what an older
    tracker's table says of the flag, `outcome` the number of rows that the next phase has written,
    `work` the number of games that there were to process. `log_since` (UTC) is when the completion
    log had its first row, of any date that was read: of what was registered before, it says
    nothing. None where it has no row. `complete_seen_at` and `flag_seen_at` (UTC) are when the
    canary itself first saw the set complete, and the flag set; None where it has not, or does not
    remember.
    """

    phase: str
    game_date: date
    completion_log: Source[Logged]
    progress: Source[Progress]
    messages: Source[Logged] = Absent()
    flag_table: Source[Flag] = Absent()
    outcome: Source[int] = Absent()
    work: Source[int] = Absent()
    log_since: datetime | None = None
    complete_seen_at: datetime | None = None
    flag_seen_at: datetime | None = None

    @property
    def mode(self) -> str | None:
        """The mode that the progress document names."""
        return value_or(self.progress, Progress(frozenset())).mode

    @property
    def flags(self) -> dict[str, Flag]:
        """What BigQuery says of the flag, by the table that says it."""
        flags = [("the completion log", value_or(self.completion_log, Logged()).flag)]
        flags += (
            [("the flag table", self.flag_table.value)] if isinstance(self.flag_table, Seen) else []
        )
        return {table: flag for table, flag in flags if flag is not None}

    @property
    def left_out(self) -> list[str]:
        """Say without which of the optional sources a date is judged, and why."""
        optional = {"the message log": self.messages, "the flag table": self.flag_table}
        return [
            f"judged without {name}: {source.reason}"
            for name, source in optional.items()
            if isinstance(source, Unreadable)
        ]


class Traces(msgspec.Struct, frozen=True):
    """What the deliveries of one date have left, oldest first.

    It is read only where there is a problem to explain.

    `checkpoints` are the lines of the orchestrator, `requests` what the platform wrote down of the
    requests to it since the date began, of whatever date they were, `dead_letters` the messages of
    the date that it has given up delivering. Where there were too many lines, those before `cut_at`
    are left out; it is None where all are there. `last_line` is the last line of the phase before
    the date, `last_answer` when a request was last answered with 2xx before it (UTC): they show
    that such things are collected. `errors` are those of the service and of the platform since the
    date began. `runs` are those of processors for this date, for the dates of its history, and for
    the next one, under whatever name. `changes` is what was changed of the phase's components up to
    now, and how its scheduler's jobs went.
    """

    checkpoints: Source[Sequence[Checkpoint]] = Absent()
    requests: Source[Sequence[Request]] = Absent()
    dead_letters: Source[Sequence[DeadLetter]] = Absent()
    cut_at: datetime | None = None
    last_line: Source[Checkpoint] = Absent()
    last_answer: Source[datetime] = Absent()
    errors: Source[ServiceErrors] = Absent()
    runs: Source[Sequence[ProcessorRun]] = Absent()
    changes: Source[Changes] = Absent()

    @property
    def left_out(self) -> list[str]:
        """Say of what it could not be read, and why, once for each reason."""
        sources = {
            "the checkpoints": self.checkpoints,
            "the requests to the service": self.requests,
            "the service's errors": self.errors,
            "the dead letters": self.dead_letters,
            "the runs": self.runs,
            "what was changed": self.changes,
        }
        reasons = defaultdict[str, list[str]](list)
        for name, source in sources.items():
            if isinstance(source, Unreadable):
                reasons[source.reason].append(name)
        return [
            f"explained without {' and '.join(names)}: {reason}"
            for reason, names in reasons.items()
        ]


def read_completion_log(rows: Iterable[ProcessorSummary], phase: Phase) -> Source[Logged]:
    """Put the rows, or messages, of one date together; the aliases of a processor become one."""
    summaries = list(rows)
    if not summaries:
        return Absent()
    reports: dict[str, list[ProcessorSummary]] = defaultdict(list)
    for row in summaries:
        if row.last_completed_at is not None and row.game_date is not None and not row.is_triggered:
            reports[phase.canonical(row.processor_name) or row.processor_name].append(row)
    expected = {name: its_rows for name, its_rows in reports.items() if name in phase.expected}
    return Seen(
        Logged(
            completed={
                name: first
                for name, its_rows in expected.items()
                if (first := _first_success(its_rows, phase))
            },
            reports={
                name: report
                for name, its_rows in expected.items()
                if (report := _last_report(its_rows))
            },
            unexpected=frozenset(
                name for name in reports.keys() - {""} if not phase.is_known(name)
            ),
            flag=_flag(summaries),
            unattributed=tuple(
                row.last_completed_at
                for row in summaries
                if row.last_completed_at and not (row.processor_name and row.game_date)
            ),
        )
    )


def merged(rows: Logged, messages: Logged) -> Logged:
    """Return what both say together.

    That is the first success of each processor, its last report, and the flag of the rows.
    """
    completed = dict(rows.completed)
    for name, arrival in messages.completed.items():
        recorded = completed.get(name, arrival)
        first, visible = (
            min(arrival.completed_at, recorded.completed_at),
            min(arrival.visible_at, recorded.visible_at),
        )
        completed[name] = Arrival(first, visible)
    reports = {
        name: max(
            (report for log in (rows, messages) if (report := log.reports.get(name))), key=_order
        )
        for name in rows.reports.keys() | messages.reports.keys()
    }
    unexpected = rows.unexpected | messages.unexpected
    return Logged(
        completed, reports, unexpected, rows.flag, (*rows.unattributed, *messages.unattributed)
    )


def _flag(rows: Iterable[ProcessorSummary]) -> Flag | None:
    """Return what the rows of a date say of the flag; None where they say nothing.

    One row that has it set is enough, and the first of these has the time.
    """
    statements = [row for row in rows if row.is_triggered is not None]
    flags = sorted(
        (row for row in statements if row.is_triggered),
        key=lambda row: (row.first_completed_at is None, row.first_completed_at),
    )
    if flags:
        return Flag(is_set=True, at=flags[0].first_completed_at, reason=flags[0].trigger_reason)
    return Flag(is_set=False) if statements else None


def _first_success(rows: Iterable[ProcessorSummary], phase: Phase) -> Arrival | None:
    successes = (row for row in rows if phase.completes(row.status))
    times = [
        (r.first_completed_at, r.first_visible_at)
        for r in successes
        if r.first_completed_at and r.first_visible_at
    ]
    return Arrival(min(at for at, _ in times), min(at for _, at in times)) if times else None


def _last_report(rows: Iterable[ProcessorSummary]) -> ProcessorReport | None:
    reports = [ProcessorReport(row.status, row.last_completed_at) for row in rows if row.status]
    return max(reports, key=_order, default=None)


def _order(report: ProcessorReport) -> tuple[object, ...]:
    return report.at is not None, report.at, report.status
