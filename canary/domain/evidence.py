"""What the sources say of one (phase, game date): each is Seen, Absent or Unreadable.

Nothing here reads anything: canary/sources.py does, and hands over what it found as values.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Generic, TypeVar

import msgspec

from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress, Report
from orchestrator_resilience.stores.base import DeadLetter, ProcessorSummary, Request

T = TypeVar("T")


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


class Arrival(msgspec.Struct, frozen=True):
    """A processor's first success: when it completed, and when the completion log had the row (UTC)."""

    completed_at: datetime
    visible_at: datetime


class Flag(msgspec.Struct, frozen=True):
    """What a table of BigQuery says of the flag: whether it is set, since when (UTC), and why it was set."""

    is_set: bool
    at: datetime | None = None
    reason: str | None = None


class Logged(msgspec.Struct, frozen=True):
    """What the completion log says of one date.

    `completed` maps expected processors to their first success, `reports` maps them to what they last
    reported. `unexpected` are the names of other processors, as they came. `flag` is what the rows say of the
    flag, None where no row says anything of it, as in a table without its columns. `flag_table` is what the phase's
    flag table says, None where it says nothing: it is no completion log, and proves no completion.
    """

    completed: Mapping[str, Arrival] = msgspec.field(default_factory=dict)
    reports: Mapping[str, Report] = msgspec.field(default_factory=dict)
    unexpected: frozenset[str] = frozenset()
    flag: Flag | None = None
    flag_table: Flag | None = None

    @property
    def triggered(self) -> bool | None:
        """Whether there is a row of the flag."""
        return None if self.flag is None else self.flag.is_set

    @property
    def flags(self) -> dict[str, Flag]:
        """What is said of the flag, by the table that says it."""
        said = {"the completion log": self.flag, "the flag table": self.flag_table}
        return {table: flag for table, flag in said.items() if flag is not None}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What each source says of one (phase, game date): everything that a verdict rests on.

    `progress` is the progress document with the flag `_triggered`, `outcome` the number of rows that the
    next phase has written, `work` the number of games that there were to process.
    """

    phase: str
    game_date: date
    completion_log: Source[Logged]
    progress: Source[Progress]
    outcome: Source[int] = Absent()
    work: Source[int] = Absent()


class Traces(msgspec.Struct, frozen=True):
    """What the deliveries of one date have left, oldest first: read only where there is a problem to explain.

    `checkpoints` are the lines of the orchestrator, `requests` what the platform wrote down of the requests to it since
    the date began, of whatever date they were, `dead_letters` the messages of the date that it has given up delivering.
    """

    checkpoints: Source[Sequence[Checkpoint]] = Absent()
    requests: Source[Sequence[Request]] = Absent()
    dead_letters: Source[Sequence[DeadLetter]] = Absent()


def read_completion_log(rows: Iterable[ProcessorSummary], phase: Phase) -> Source[Logged]:
    """Put the rows of one date together, in whatever order they come; the aliases of a processor become one."""
    summaries = list(rows)
    if not summaries:
        return Absent()
    own: dict[str, list[ProcessorSummary]] = defaultdict(list)
    unexpected: set[str] = set()
    for row in summaries:
        if row.last_completed_at is None:
            continue  # it speaks of the flag only
        processor = phase.canonical(row.processor_name)
        if processor is not None:
            own[processor].append(row)
        elif not phase.is_known(row.processor_name):
            unexpected.add(row.processor_name)
    return Seen(
        Logged(
            completed={processor: first for processor, of_it in own.items() if (first := _first_success(of_it))},
            reports={name: report for name, of_it in own.items() if (report := _last_report(of_it))},
            unexpected=frozenset(unexpected),
            flag=_flag(row for row in summaries if row.processor_name),
            flag_table=_flag(row for row in summaries if not row.processor_name),
        )
    )


def _flag(rows: Iterable[ProcessorSummary]) -> Flag | None:
    """Return what rows of one table say together: one that says so is enough, and the first of these has the time."""
    said = [row for row in rows if row.is_triggered is not None]
    flags = sorted(
        (row for row in said if row.is_triggered), key=lambda row: (row.triggered_at is None, row.triggered_at)
    )
    if flags:
        return Flag(is_set=True, at=flags[0].triggered_at, reason=flags[0].trigger_reason)
    return Flag(is_set=False) if said else None


def _first_success(rows: Iterable[ProcessorSummary]) -> Arrival | None:
    times = [(r.first_completed_at, r.first_visible_at) for r in rows if r.first_completed_at and r.first_visible_at]
    return Arrival(min(at for at, _ in times), min(at for _, at in times)) if times else None


def _last_report(rows: Iterable[ProcessorSummary]) -> Report | None:
    reports = [Report(row.last_status, row.last_completed_at) for row in rows if row.last_status]
    return max(reports, key=lambda report: (report.at is not None, report.at, report.status), default=None)
