"""Composes the query of a canary run from what the tables look like: text from values, without a client."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from orchestrator_resilience.errors import StoreError

# Ours, which `canary setup` adds, by their types. The table may be somebody else's, and lack them.
OPTIONAL_COLUMNS = {"event_id": "STRING", "is_triggered": "BOOL", "trigger_reason": "STRING"}
FLAG_COLUMN = "is_triggered"

# What Pub/Sub writes is there in one of these types, as the table's owner has chosen.
_BODIES = {
    # Rounded, because a number of more than 17 digits would make NULL of the whole message.
    "BYTES": "SAFE.PARSE_JSON(SAFE_CONVERT_BYTES_TO_STRING(data), wide_number_mode=>'round')",
    "STRING": "SAFE.PARSE_JSON(data, wide_number_mode=>'round')",
    "JSON": "data",
}
# A day earlier, because a report may come before its date begins in UTC; rows that were streamed a moment ago
# are in no partition yet.
_INGESTED = "\n    AND (_PARTITIONTIME >= TIMESTAMP_SUB(TIMESTAMP(@since), INTERVAL 1 DAY) OR _PARTITIONTIME IS NULL)"


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view as far as a query depends on it.

    `name` is its full name, `columns` are the types of its columns as the API names them, by name in lower case.
    `by_ingestion` says whether its partitions go by the time at which rows came in, and not by a column.
    """

    name: str
    columns: Mapping[str, str]
    by_ingestion: bool = False

    @property
    def has_flag(self) -> bool:
        """Whether the table can say anything of the flag."""
        return FLAG_COLUMN in self.columns

    @property
    def partitions(self) -> str:
        """The condition without which a table may refuse to be read; empty where a column's is enough."""
        return _INGESTED if self.by_ingestion else ""


def completions_sql(table: Table) -> str:
    """Select the rows of a completion log; a column that it lacks is NULL."""
    optional = {
        name: name if name in table.columns else f"CAST(NULL AS {kind})" for name, kind in OPTIONAL_COLUMNS.items()
    }
    return _text("completions.sql").format(table=table.name, partitions=table.partitions, **optional)


def messages_sql(table: Table, phase: str, number: int) -> str:
    """Select the rows of a message log that are of `phase`, whose `message_phase` is a parameter with `number`.

    Raises StoreError where the table has no messages.
    """
    kind = table.columns.get("data", "none")
    if kind not in _BODIES:
        raise StoreError(f"BigQuery: message_table {table.name} needs a column data of {_kinds()}, and has {kind}")
    return _text("messages.sql").format(
        table=table.name, partitions=table.partitions, phase=phase, number=number, body=_BODIES[kind]
    )


def summary_sql(sources: Iterable[str]) -> str:
    """Summarise what `sources` select."""
    return _text("phase_status.sql").format(source=f"({' UNION ALL '.join(sources)})")


def _kinds() -> str:
    *others, last = _BODIES
    return f"{', '.join(others)} or {last}"


def _text(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text("utf-8")
