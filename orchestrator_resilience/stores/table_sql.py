"""Composes what a table is asked from what it looks like: text from values, without a client."""

from collections.abc import Iterable, Mapping
from importlib import resources

import msgspec

from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.rows import FLAG_COLUMN, OPTIONAL_COLUMNS

# Without these a table is no completion log.
REQUIRED_COLUMNS = {
    "phase": "STRING",
    "game_date": "DATE",
    "processor_name": "STRING",
    "status": "STRING",
    "completed_at": "TIMESTAMP",
    "inserted_at": "TIMESTAMP",
}
# By these columns a flag table is known, and these it may have besides.
FLAG_TABLE_COLUMNS = {"phase": "STRING", "game_date": "DATE", FLAG_COLUMN: "BOOL"}
_MORE_OF_A_FLAG_TABLE = {"triggered_at": "TIMESTAMP", "trigger_reason": "STRING"}

# The column `data` has one of these types, as the table's owner has chosen.
_BODIES = {
    # Rounded, because a number of more than 17 digits would make NULL of the whole message.
    "BYTES": "SAFE.PARSE_JSON(SAFE_CONVERT_BYTES_TO_STRING(data), wide_number_mode=>'round')",
    "STRING": "SAFE.PARSE_JSON(data, wide_number_mode=>'round')",
    "JSON": "data",
}
# From a day earlier on, because a report may come before its date begins in UTC. Rows that were
# streamed a moment ago are in no partition yet.
_INGESTED = (
    "\n    AND (_PARTITIONTIME >= TIMESTAMP_SUB(TIMESTAMP(@since), INTERVAL 1 DAY) OR "
    "_PARTITIONTIME IS NULL)"
)


class Table(msgspec.Struct, frozen=True):
    """A table or view as far as a query depends on it.

    `name` is its full name, `columns` are the types of its columns as GoogleSQL names them, by name
    in lower case. `by_ingestion` says whether its partitions go by the time at which rows came in,
    and not by a column.
    """

    name: str
    columns: Mapping[str, str]
    by_ingestion: bool = False

    @property
    def partitions(self) -> str:
        """The condition without which the table may refuse to be read; may be empty."""
        return _INGESTED if self.by_ingestion else ""


def completions_sql(table: Table, phases: Iterable[str]) -> str:
    """Select the rows of a completion log; an optional column that it lacks is NULL.

    Raises StoreError for a required column that is missing or has another type.
    """
    _require(table, REQUIRED_COLUMNS)
    optional = _columns(
        table, {name: OPTIONAL_COLUMNS[name] for name in (FLAG_COLUMN, "trigger_reason")}
    )
    return _text("completions.sql").format(
        table=table.name, phases=_literals(phases), partitions=table.partitions, **optional
    )


def messages_sql(table: Table) -> str:
    """Select what a message log says of the phase whose `message_phase` is a parameter.

    Raises StoreError where the table has no messages.
    """
    _require(table, {"publish_time": "TIMESTAMP"})
    kind = table.columns.get("data", "none")
    if kind not in _BODIES:
        *first_types, last = _BODIES
        raise StoreError(
            f"{table.name} needs a column data of {', '.join(first_types)} or {last}, and has "
            f"{kind}"
        )
    return _text("messages.sql").format(
        table=table.name, partitions=table.partitions, body=_BODIES[kind]
    )


def flag_table_sql(table: Table) -> str:
    """Select what a flag table says of a phase; raises StoreError where it is no such table."""
    _require(table, FLAG_TABLE_COLUMNS)
    more = _columns(table, _MORE_OF_A_FLAG_TABLE)
    return _text("flag_table.sql").format(table=table.name, partitions=table.partitions, **more)


def flag_tables_sql(dataset: str) -> str:
    """Select the columns of `dataset` (its full name) by which a flag table is known.

    A flag table has no column that names a processor.
    """
    return _text("find_flag_tables.sql").format(
        dataset=dataset, names=_literals((*FLAG_TABLE_COLUMNS, "processor_name"))
    )


def _require(table: Table, columns: Mapping[str, str]) -> None:
    """Raise a StoreError that names those of `columns` (types by name) that a table lacks."""
    if wrong := [
        f"{name} {kind}" for name, kind in columns.items() if table.columns.get(name) != kind
    ]:
        raise StoreError(f"{table.name} needs the columns {', '.join(wrong)}")


def _columns(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Return SQL for each of `columns` (types by name): the column, or NULL where there is none.

    A column of another type counts as none.
    """
    return {
        name: name if table.columns.get(name) == kind else f"CAST(NULL AS {kind})"
        for name, kind in columns.items()
    }


def _literals(texts: Iterable[str]) -> str:
    """Write texts without a quote in them, such as names of phases, for GoogleSQL and SQLite."""
    return ", ".join(f"'{text}'" for text in texts)


def _text(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text("utf-8")


# Other names of a needed column, the clearest first.
_OTHER_NAMES = {
    "game_date": ("date", "data_date", "run_date", "day", "event_date"),
    "processor_name": ("processor", "processor_id", "name", "job_name", "task_id", "source"),
    "status": ("state", "outcome", "result"),
    "completed_at": (
        "finished_at",
        "ended_at",
        "end_time",
        "processed_at",
        "updated_at",
        "created_at",
    ),
    "inserted_at": ("loaded_at", "ingested_at", "created_at", "updated_at"),
}
# How to convert a column, by the type that is needed and the type that it has.
_CONVERSIONS = {
    ("DATE", "TIMESTAMP"): "DATE({})",
    ("DATE", "DATETIME"): "DATE({})",
    ("TIMESTAMP", "DATETIME"): "TIMESTAMP({})",
    ("TIMESTAMP", "DATE"): "TIMESTAMP({})",
}


def view_sql(table: Table, phase: str) -> str:
    """Return a view that is a completion log, made of the columns that a table has.

    It is empty where the table is a completion log itself. A column for which the table has nothing
    alike is NULL and marked: somebody has to say which one it is.
    """
    if all(table.columns.get(name) == kind for name, kind in REQUIRED_COLUMNS.items()):
        return ""
    chosen: dict[str, str] = {}
    for name, kind in REQUIRED_COLUMNS.items():
        names = [
            column for column in (name, *_OTHER_NAMES.get(name, ())) if column in table.columns
        ]
        if names:
            chosen[name] = _converted(names[0], table.columns[names[0]], kind)
        elif name == "phase":
            chosen[name] = _literals([phase])
        elif name == "inserted_at" and not chosen["completed_at"].startswith("CAST(NULL"):
            chosen[name] = chosen["completed_at"]
        else:
            chosen[name] = f"CAST(NULL AS {kind})"
    optional = {
        name: name for name, kind in OPTIONAL_COLUMNS.items() if table.columns.get(name) == kind
    }
    lines = [
        f"  {value if value == name else f'{value} AS {name}'}"
        for name, value in {**chosen, **optional}.items()
    ]
    marked = [
        f"{line}  -- which column?" if "CAST(NULL" in line else line for line in _with_commas(lines)
    ]
    return "\n".join(
        [f"CREATE VIEW `{table.name}_for_canary` AS SELECT", *marked, f"FROM `{table.name}`"]
    )


def _converted(name: str, kind: str, expected: str) -> str:
    if kind == expected:
        return name
    return _CONVERSIONS.get((expected, kind), f"SAFE_CAST({{}} AS {expected})").format(name)


def _with_commas(lines: list[str]) -> list[str]:
    return [*(f"{line}," for line in lines[:-1]), lines[-1]]
