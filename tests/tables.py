"""The completion log as in the user's project, and BigQuery's refusals that emulators lack."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pytest
from google.cloud import bigquery, firestore

from orchestrator_resilience.stores.bigquery import BigQuery

TABLE = "nba_orchestration.phase_completions"
# The twelve columns of `phase_completions`; those of `canary setup` are not among them.
REAL_COLUMNS = (
    ("phase", "STRING", "REQUIRED"),
    ("game_date", "DATE", "REQUIRED"),
    ("processor_name", "STRING", "REQUIRED"),
    ("status", "STRING", "REQUIRED"),
    ("record_count", "INTEGER", "NULLABLE"),
    ("correlation_id", "STRING", "NULLABLE"),
    ("execution_id", "STRING", "NULLABLE"),
    ("completed_at", "TIMESTAMP", "REQUIRED"),
    ("is_incremental", "BOOLEAN", "NULLABLE"),
    ("entities_changed", "STRING", "REPEATED"),
    ("metadata", "JSON", "NULLABLE"),
    ("inserted_at", "TIMESTAMP", "REQUIRED"),
)
# What `canary setup` adds.
ADDED_COLUMNS = (
    ("event_id", "STRING", "NULLABLE"),
    ("is_triggered", "BOOLEAN", "NULLABLE"),
    ("trigger_reason", "STRING", "NULLABLE"),
)
# The table in which the old tracker kept one row for each phase and date.
STATUS_TABLE = "nba_orchestration.phase_completion_status"
STATUS_COLUMNS = (
    ("phase", "STRING", "REQUIRED"),
    ("game_date", "DATE", "REQUIRED"),
    ("completed_count", "INTEGER", "NULLABLE"),
    ("expected_count", "INTEGER", "NULLABLE"),
    ("completed_processors", "STRING", "REPEATED"),
    ("missing_processors", "STRING", "REPEATED"),
    ("is_triggered", "BOOLEAN", "NULLABLE"),
    ("triggered_at", "TIMESTAMP", "NULLABLE"),
    ("trigger_reason", "STRING", "NULLABLE"),
    ("mode", "STRING", "NULLABLE"),
    ("updated_at", "TIMESTAMP", "NULLABLE"),
)


def make_status_table(
    dataset: BigQuery,
    flags: Iterable[Mapping[str, Any]] = (),
    *,
    without: Iterable[str] = (),
    **changed: str,
) -> None:
    """Make the old tracker's table `without` some columns, with a row for each of `flags`."""
    left_out = set(without)
    columns = [column for column in STATUS_COLUMNS if column[0] not in left_out]
    schema = [
        bigquery.SchemaField(column, changed.get(column, kind), mode)
        for column, kind, mode in columns
    ]
    name = f"{dataset.project}.{STATUS_TABLE}"
    dataset.client.create_table(bigquery.Table(name, schema))
    arrays: dict[str, Any] = {
        "phase": "phase2",
        "completed_processors": [],
        "missing_processors": [],
    }
    rows = [
        {key: value for key, value in {**arrays, **flag}.items() if key not in left_out}
        for flag in flags
    ]
    assert not rows or dataset.client.insert_rows_json(name, rows) == []


def make_real_table(
    dataset: BigQuery, name: str = TABLE, added: Iterable[tuple[str, str, str]] = (), **changed: str
) -> None:
    """Make the table of twelve columns and those `added`, some with types that are `changed`."""
    columns = [*REAL_COLUMNS, *added]
    schema = [
        bigquery.SchemaField(column, changed.get(column, kind), mode)
        for column, kind, mode in columns
    ]
    table = bigquery.Table(
        name if name.count(".") > 1 else f"{dataset.project}.{name}", schema=schema
    )
    table.time_partitioning = bigquery.TimePartitioning(field="game_date")
    table.clustering_fields = ["phase", "processor_name"]
    dataset.client.create_table(table)


def refusals(
    schema: Sequence[bigquery.SchemaField], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return BigQuery's answers to rows that do not fit the table, which the emulator takes."""
    found = ((index, list(_misfits(schema, row))) for index, row in enumerate(rows))
    return [
        {
            "index": index,
            "errors": [
                {"reason": "invalid", "location": field, "message": text} for field, text in own
            ],
        }
        for index, own in found
        if own
    ]


def _misfits(
    schema: Sequence[bigquery.SchemaField], row: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    known = {field.name: field for field in schema}
    for name, value in row.items():
        if name not in known:
            yield name, f"no such field: {name}."
        elif (known[name].mode == "REPEATED") != isinstance(value, list):
            yield name, f"{name} is {known[name].mode}"
    for field in schema:
        if field.mode == "REQUIRED" and row.get(field.name) is None:
            yield field.name, f"Missing required field: {field.name}."


def refuse_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse writes to BigQuery and Firestore, as a project does to an account that may read."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("403: you may only look")

    for name in (
        "insert_rows_json",
        "create_table",
        "update_table",
        "create_dataset",
        "load_table_from_json",
    ):
        monkeypatch.setattr(bigquery.Client, name, refuse)
    for name in ("batch", "transaction", "bulk_writer"):
        monkeypatch.setattr(firestore.Client, name, refuse)
    for name in ("set", "update", "create", "delete"):
        monkeypatch.setattr(firestore.DocumentReference, name, refuse)
