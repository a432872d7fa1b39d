"""Puts together what completions.sql and a phase's own queries select, for every store alike."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import instant
from orchestrator_resilience.progress import COMPLETING_STATUSES
from orchestrator_resilience.stores.base import ProcessorSummary

_Line = Mapping[str, Any]


def add_up(rows: Iterable[_Line]) -> dict[date, int]:
    """Return `n` by `game_date`, of what a phase's own query gives; raises StoreError for anything else."""
    counts: dict[date, int] = defaultdict(int)
    for row in rows:
        day, count = row.get("game_date"), row.get("n")
        # Anything else would match no date, and be taken for none: an all-clear that nobody gave.
        if type(day) is not date or type(count) is not int:
            raise StoreError(f"the query has to return game_date DATE and n INT64, not {dict(row.items())}")
        counts[day] += count
    return dict(counts)


def fold(lines: Iterable[_Line], **of_all: Any) -> list[ProcessorSummary]:
    """Return a summary for each phase, date and processor; `of_all` are columns that the lines do not have."""
    groups: dict[tuple[Any, ...], list[_Line]] = defaultdict(list)
    for line in lines:
        columns = {"is_triggered": None, "trigger_reason": None, **of_all, **line}
        times = {name: instant(columns[name]) for name in ("first_at", "last_at", "first_visible_at")}
        # What may be of several dates stays apart, by when it came.
        came_at = times["last_at"] if columns["game_date"] is None else None
        key = (columns["phase"], columns["game_date"], columns["processor_name"], came_at)
        groups[key].append({**columns, **times})
    return [_summary(key, groups[key]) for key in sorted(groups, key=str)]


def _summary(key: tuple[Any, ...], lines: Sequence[_Line]) -> ProcessorSummary:
    """A row of the flag enters no status and no time of the processor."""
    flags = [line for line in lines if line["is_triggered"]]
    reports = [line for line in lines if not line["is_triggered"]]
    successes = [line for line in reports if line["status"] in COMPLETING_STATUSES]
    last: _Line = max(reports, key=lambda line: (str(line["last_at"] or ""), str(line["status"])), default={})
    phase, game_date, processor_name, *_ = key
    return ProcessorSummary(
        phase=phase,
        game_date=game_date,
        processor_name=processor_name,
        last_status=last.get("status"),
        last_completed_at=last.get("last_at") or last.get("first_visible_at"),
        first_completed_at=_first(successes, "first_at") or _first(successes, "first_visible_at"),
        first_visible_at=_first(successes, "first_visible_at") or _first(successes, "first_at"),
        is_triggered=True if flags else False if any(line["is_triggered"] is not None for line in lines) else None,
        triggered_at=_first(flags, "first_at"),
        trigger_reason=max((line["trigger_reason"] for line in lines if line["trigger_reason"]), default=None),
    )


def _first(lines: Sequence[_Line], name: str) -> Any:
    return min((line[name] for line in lines if line[name] is not None), default=None)
