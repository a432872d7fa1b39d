"""Puts together what completions.sql and a phase's own queries select, for every store alike."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import instant
from orchestrator_resilience.stores.base import ProcessorSummary

_Line = Mapping[str, Any]


def add_up(rows: Iterable[_Line]) -> dict[date, int]:
    """Return `n` by `game_date`, of what a phase's own query gives.

    Raises StoreError where a row has other types.
    """
    counts: dict[date, int] = defaultdict(int)
    for row in rows:
        day, count = row.get("game_date"), row.get("n")
        # Anything else would match no date and count as nothing: an all-clear that nobody gave.
        if type(day) is not date or type(count) is not int:
            raise StoreError(
                f"the query has to return game_date DATE and n INT64, not {dict(row.items())}"
            )
        counts[day] += count
    return dict(counts)


def summaries(lines: Iterable[_Line], **of_all: Any) -> list[ProcessorSummary]:
    """Return a summary for each line, sorted; `of_all` are columns that the lines do not have."""
    summarised = [
        _summary({"is_triggered": None, "trigger_reason": None, **of_all, **line}) for line in lines
    ]
    return sorted(summarised, key=str)


def _summary(line: _Line) -> ProcessorSummary:
    """Return the summary of a line.

    Where a table gives no time of completion, the time at which the row was there is taken for it,
    and the other way round.
    """
    first, last, visible = (
        instant(line[name]) for name in ("first_at", "last_at", "first_visible_at")
    )
    return ProcessorSummary(
        phase=line["phase"],
        game_date=line["game_date"],
        processor_name=line["processor_name"],
        status=line["status"],
        last_completed_at=last or visible,
        first_completed_at=first or visible,
        first_visible_at=visible or first,
        is_triggered=line["is_triggered"],
        trigger_reason=line["trigger_reason"],
    )
