"""Puts together what a phase's own query of runs selects, for every store alike."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Any

from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import instant, shown
from orchestrator_resilience.stores.base import ProcessorRun

# For each column its type in GoogleSQL, and whether it may be NULL.
_COLUMNS = {
    "processor": ("STRING", False),
    "game_date": ("DATE", False),
    "started_at": ("TIMESTAMP", True),
    "finished_at": ("TIMESTAMP", True),
    "status": ("STRING", True),
}


def processor_runs(
    columns: Collection[str], rows: Iterable[Mapping[str, Any]]
) -> list[ProcessorRun]:
    """Return the run of each row.

    Raises StoreError, which names the column that is missing or has another type.
    """
    lacking = [name for name in _COLUMNS if name not in columns]
    if lacking:
        raise StoreError(
            f"the query of runs has no column {', '.join(lacking)}; it has {', '.join(columns)}"
        )
    return [_run(row) for row in rows]


def _run(row: Mapping[str, Any]) -> ProcessorRun:
    for column, (kind, may_be_null) in _COLUMNS.items():
        value = row[column]
        if not (may_be_null if value is None else _is_of(kind, value)):
            raise StoreError(f"the query of runs has to return {column} {kind}, not {shown(value)}")
    return ProcessorRun(
        processor=row["processor"],
        game_date=row["game_date"],
        started_at=instant(row["started_at"]),
        finished_at=instant(row["finished_at"]),
        status=row["status"],
    )


def _is_of(kind: str, value: object) -> bool:
    """Whether a value is of a type; a time without a zone, as of a DATETIME, may be of any."""
    match kind:
        case "DATE":
            return type(value) is date
        case "TIMESTAMP":
            return isinstance(value, datetime) and value.tzinfo is not None
        case _:
            return isinstance(value, str)
