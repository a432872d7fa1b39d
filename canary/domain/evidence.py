"""What is known about one (phase, game date), each source Seen, Absent or Unreadable.

Nothing here reads anything: gather.py does, and hands its findings over as values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, TypeVar

from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress
from orchestrator_resilience.rows import TRIGGER_ROW
from orchestrator_resilience.stores.base import ProcessorSummary

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """The source answered, with this."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The source answered that it has nothing, or the phase has no such source."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The source did not answer, and why: nothing may be concluded from it."""

    reason: str


Source = Seen[T] | Absent | Unreadable


def value_or(source: Source[T], default: T) -> T:
    """Return what the source says, or `default` where it says nothing or could not be read."""
    return source.value if isinstance(source, Seen) else default


@dataclass(frozen=True, slots=True)
class Arrival:
    """A processor's first success: when it completed, and when the completion log had the row (UTC)."""

    completed_at: datetime
    visible_at: datetime


@dataclass(frozen=True, slots=True)
class Logged:
    """What the completion log says of one date.

    `completed` maps expected processors to their first success, `statuses` to the last status that
    they reported. `unexpected` are names that no alias explains. `triggered` and `triggered_at` are
    from the flag's own row.
    """

    completed: Mapping[str, Arrival] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    unexpected: frozenset[str] = frozenset()
    triggered: bool = False
    triggered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a verdict rests on.

    `completion_log` is the completion log, `progress` the document with `_triggered`, `outcome` the number
    of rows that the next phase wrote, `work` the number of games that there were to process.
    """

    phase: str
    game_date: date
    completion_log: Source[Logged]
    progress: Source[Progress]
    outcome: Source[int] = Absent()
    work: Source[int] = Absent()


def read_completion_log(rows: Iterable[ProcessorSummary], phase: Phase) -> Source[Logged]:
    """Put the summaries of one date together; aliases of one processor become one."""
    completed: dict[str, Arrival] = {}
    last: dict[str, ProcessorSummary] = {}
    unexpected: set[str] = set()
    flag: ProcessorSummary | None = None
    found = False
    for row in rows:
        found = True
        flag = row if row.is_triggered else flag
        processor = phase.canonical(row.processor_name)
        if processor is None:
            unexpected |= {row.processor_name} - {TRIGGER_ROW}
            continue
        if processor not in last or last[processor].last_completed_at < row.last_completed_at:
            last[processor] = row
        if row.first_completed_at and row.first_visible_at:
            arrival = Arrival(row.first_completed_at, row.first_visible_at)
            completed[processor] = _earlier(completed.get(processor), arrival)
    if not found:
        return Absent()
    statuses = {processor: row.last_status for processor, row in last.items()}
    return Seen(
        Logged(completed, statuses, frozenset(unexpected), flag is not None, flag.last_completed_at if flag else None)
    )


def _earlier(known: Arrival | None, other: Arrival) -> Arrival:
    if known is None:
        return other
    return Arrival(min(known.completed_at, other.completed_at), min(known.visible_at, other.visible_at))
