"""The completion log's table in BigQuery, and the counts that a phase's own queries give.

The table is appended to with streaming inserts, and rows are never changed: rows of the last 30
minutes cannot be.
"""

import concurrent.futures
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from google.api_core.exceptions import (
    BadGateway,
    BadRequest,
    GatewayTimeout,
    GoogleAPICallError,
    GoogleAPIError,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ODD_ANSWER, ConfigurationError, StoreError
from orchestrator_resilience.http_calls import BrokenConnectionError, CallError, end_calls_in_time
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.rows import FLAG_COLUMN, OPTIONAL_COLUMNS, CompletionRow
from orchestrator_resilience.settings import MAXIMUM_BYTES_BILLED
from orchestrator_resilience.stores.base import Flag, ProcessorRun, ProcessorSummary
from orchestrator_resilience.stores.completion_rows import add_up, summaries
from orchestrator_resilience.stores.run_rows import processor_runs
from orchestrator_resilience.stores.table_sql import (
    FLAG_TABLE_COLUMNS,
    Table,
    completions_sql,
    flag_table_sql,
    flag_tables_sql,
    messages_sql,
    view_sql,
)

_TRANSIENT = (
    BadGateway,
    BrokenConnectionError,
    GatewayTimeout,
    InternalServerError,
    ServiceUnavailable,
    TooManyRequests,
)
# For so long the columns of a table are remembered: what `canary setup` adds is used after that.
_DESCRIBED_SECONDS = 600.0

# The types that the API and GoogleSQL name differently.
_STANDARD = {"BOOLEAN": "BOOL", "INTEGER": "INT64", "FLOAT": "FLOAT64"}

_SCHEMA = (
    bigquery.SchemaField("phase", "STRING", "REQUIRED"),
    bigquery.SchemaField("game_date", "DATE", "REQUIRED"),
    bigquery.SchemaField("processor_name", "STRING", "REQUIRED"),
    bigquery.SchemaField("status", "STRING"),
    bigquery.SchemaField("record_count", "INTEGER"),
    bigquery.SchemaField("correlation_id", "STRING"),
    bigquery.SchemaField("execution_id", "STRING"),
    bigquery.SchemaField("completed_at", "TIMESTAMP"),
    bigquery.SchemaField("is_incremental", "BOOLEAN"),
    bigquery.SchemaField("entities_changed", "STRING", "REPEATED"),
    bigquery.SchemaField("metadata", "JSON"),
    bigquery.SchemaField("inserted_at", "TIMESTAMP"),
    bigquery.SchemaField("event_id", "STRING"),
    bigquery.SchemaField("is_triggered", "BOOLEAN"),
    bigquery.SchemaField("trigger_reason", "STRING"),
)

_READER = "roles/bigquery.dataViewer on the dataset and roles/bigquery.jobUser on the project"
_WRITER = "roles/bigquery.dataEditor on the table"
_OWNER = "roles/bigquery.dataOwner on the dataset"


@contextmanager
def _bigquery_errors(role: str = _READER) -> Iterator[None]:
    """Turn what the client raises into a StoreError of one sentence.

    `role` is the role that the calls inside need.
    """
    try:
        yield
    except (GoogleAPIError, GoogleAuthError, CallError, *ODD_ANSWER) as error:
        raise StoreError(f"BigQuery: {_sentence(error, role)}") from error


def _sentence(error: Exception, role: str) -> str:
    """Say in one sentence what BigQuery says in a page, and what to do about it."""
    text = error.message if isinstance(error, GoogleAPICallError) else str(error)
    text = re.sub(r"^((GET|POST|PUT|PATCH|DELETE) \S+ )?(Not found: )?", "", text)
    text = one_line(re.split(r"; reason: |\n", text)[0], 200).rstrip(".")
    advice = _advice(error, text, role)
    return f"{type(error).__name__}: {text}" + (f": {advice}" if advice else "")


_PERIMETER = "ask who keeps the perimeter to let this account in"
# What helps where BigQuery refuses, by its own `reason`. Other reasons have no advice.
_ADVICE = {
    "accessDenied": "grant {role}",
    "accessNotConfigured": "enable the API: gcloud services enable bigquery.googleapis.com",
    "billingNotEnabled": "link the project to a billing account",
    "bytesBilledLimitExceeded": "let the query read less, or raise MAXIMUM_BYTES_BILLED",
    "notFound": (
        "make it (`canary setup` makes the completion log), or name another in the phases file"
    ),
    "policyViolation": _PERIMETER,
    "quotaExceeded": "wait until the quota is renewed, or raise it",
    "rateLimitExceeded": "let fewer queries run at once in the project",
    "vpcServiceControls": _PERIMETER,
}
_OTHER_LOCATION = "set BIGQUERY_LOCATION to where the dataset is"


def _advice(error: Exception, text: str, role: str) -> str:
    errors = error.errors if isinstance(error, GoogleAPICallError) else ()
    reason = next((detail.get("reason") for detail in errors if isinstance(detail, Mapping)), None)
    if reason == "notFound" and re.search(r"\bnot found in location\b", text):
        return _OTHER_LOCATION
    if isinstance(error, BadRequest) and text.startswith("Unrecognized name"):
        return "mend the query of the phases file, or the table that it names"
    return _ADVICE.get(str(reason), "").format(role=role)


class BigQuery:
    """One lazily made client, shared by what follows.

    `seconds` bounds each query, append and the like, retries included: left to itself the client
    goes on for 600 s, longer than a function lives. To cancel a query that does not end may take
    half as long again. `seconds` also bounds each call over HTTP, however slowly that is answered.
    """

    def __init__(
        self,
        project: str,
        *,
        location: str | None = None,
        emulated: bool = False,
        seconds: float = 20.0,
        maximum_bytes_billed: int = MAXIMUM_BYTES_BILLED,
    ) -> None:
        self.project = project
        self._maximum_bytes_billed = maximum_bytes_billed
        # A query is two calls, and the last try of a call begins when its retries end.
        self.timeout = seconds / 4
        self.retry = Retry(
            if_exception_type(*_TRANSIENT), initial=0.2, maximum=2.0, timeout=seconds / 4
        )
        self._seconds = seconds
        self._location = location
        self._lock = threading.Lock()
        self._client: bigquery.Client | None = None
        self._emulated = emulated
        self._described: dict[str, tuple[Table, Deadline]] = {}

    @property
    def client(self) -> bigquery.Client:
        """The client; the library reads BIGQUERY_EMULATOR_HOST, and then needs no credentials."""
        with self._lock:
            if self._client is None:
                credentials = AnonymousCredentials() if self._emulated else None  # type: ignore[no-untyped-call]
                self._client = bigquery.Client(
                    project=self.project, location=self._location, credentials=credentials
                )
                end_calls_in_time(self._client._http, self._seconds)  # noqa: SLF001 (its session, with the credentials)
            return self._client

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        with self._lock:
            if self._client is not None:
                self._client.close()  # type: ignore[no-untyped-call]
                self._client = None

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Return the rows of a query; raises StoreError."""
        return self.query_with_columns(sql, parameters)[1]

    def query_with_columns(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Return the columns and the rows of a query, in one call where it ends within that.

        Raises StoreError where it fails, or has not ended in time.
        """
        config = bigquery.QueryJobConfig(
            query_parameters=parameters, maximum_bytes_billed=self._maximum_bytes_billed
        )
        with _bigquery_errors():
            try:
                rows = self.client.query_and_wait(
                    sql,
                    job_config=config,
                    api_timeout=self.timeout,
                    wait_timeout=2 * self.timeout,
                    retry=self.retry,
                    job_retry=None,  # type: ignore[arg-type]  # which its own code takes, as `query` does
                )
            except concurrent.futures.TimeoutError as error:
                raise StoreError(
                    f"BigQuery: the query has not ended after {2 * self.timeout:g} s"
                ) from error
            if not rows.schema and rows.job_id:  # a failed query may have such an answer
                job = self.client.get_job(rows.job_id, retry=self.retry, timeout=self.timeout)
                failure = job.exception(timeout=self.timeout)  # type: ignore[no-untyped-call]
                if failure is not None:
                    raise failure
            return [field.name for field in rows.schema or ()], list(rows)

    def table(self, name: str) -> bigquery.Table:
        """Ask for a table by its full name; raises what the client raises."""
        return self.client.get_table(name, retry=self.retry, timeout=self.timeout)

    def read(
        self, name: str, select: Callable[[Table], str], parameters: Sequence[Any]
    ) -> list[Mapping[str, Any]]:
        """Return the rows of what `select` asks of a table, given what the table looks like.

        Raises StoreError, which names the table.
        """
        table = self.full_name(name)
        try:
            return self.query(select(self.describe(table)), parameters)
        except StoreError as error:
            self.forget()
            raise StoreError(
                f"{table}: {error}" if table not in str(error) else str(error)
            ) from error

    def describe(self, name: str) -> Table:
        """Return what a table looks like, or looked like a few minutes ago; raises StoreError."""
        described = self._described.get(name)
        if described is not None and not described[1].is_over:
            return described[0]
        with _bigquery_errors():
            resource = self.table(name)
        by_column = resource.time_partitioning is not None and resource.time_partitioning.field
        table = Table(
            name,
            {field.name.lower(): _standard_type(field) for field in resource.schema},
            by_ingestion=resource.time_partitioning is not None and not by_column,
        )
        self._described[name] = table, Deadline(_DESCRIBED_SECONDS)
        return table

    def forget(self) -> None:
        """Ask again what the tables look like, because one has perhaps changed."""
        self._described.clear()

    def full_name(self, table: str) -> str:
        """Return a table's name with its project, as the phases file may leave it out."""
        return table if table.count(".") > 1 else f"{self.project}.{table}"


class DryRun(BigQuery):
    """Has each query weighed and not run; the answers are empty.

    `bytes_to_read` is what all of them would read.
    """

    bytes_to_read = 0

    def query_with_columns(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Weigh a query, for nothing; raises StoreError."""
        config = bigquery.QueryJobConfig(
            query_parameters=parameters, dry_run=True, use_query_cache=False
        )
        with _bigquery_errors():
            job = self.client.query(
                sql, job_config=config, retry=self.retry, timeout=self.timeout, job_retry=None
            )
        self.bytes_to_read += job.total_bytes_processed or 0
        return [field.name for field in job.schema or ()], []


class _OfPhases:
    """Reads the tables of `phases`; `_tables` are the full names of their completion logs."""

    def __init__(self, bigquery_: BigQuery, phases: Mapping[str, Phase]) -> None:
        self._bigquery = bigquery_
        self._phases = phases
        self._tables = {
            name: bigquery_.full_name(phase.bigquery_table) for name, phase in phases.items()
        }


class BigQueryCompletionLog(_OfPhases):
    """A CompletionLog; each phase's rows are in the table that the phase names.

    The tables may be somebody else's, without our own columns: what they look like is asked for,
    and remembered for ten minutes.
    """

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Stream `rows`; their ids let BigQuery drop what it was sent a minute ago.

        A table without our columns gets the rows without them, and no row of the flag: nobody could
        distinguish it from a completion there.
        """
        for name in dict.fromkeys(self._tables[row.phase] for row in rows):
            table = self._bigquery.describe(name)
            rows_of_table = [
                r
                for r in rows
                if self._tables[r.phase] == name
                and (FLAG_COLUMN in table.columns or not r.is_triggered)
            ]
            if rows_of_table:
                self._insert(table, rows_of_table, now)

    def _insert(self, table: Table, rows: Sequence[CompletionRow], now: datetime) -> None:
        lacking = OPTIONAL_COLUMNS.keys() - table.columns.keys()
        with _bigquery_errors(_WRITER):
            errors = self._bigquery.client.insert_rows_json(
                table.name,
                [
                    {
                        name: value
                        for name, value in _json_row(row, now).items()
                        if name not in lacking
                    }
                    for row in rows
                ],
                row_ids=[row.row_id for row in rows],
                retry=self._bigquery.retry,
                timeout=self._bigquery.timeout,
            )
        if errors:
            self._bigquery.forget()
            raise StoreError(f"BigQuery: {table.name} refused rows: {errors}")

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise the rows of game dates `since` to `until`, in one query a table."""
        by_table: dict[str, list[str]] = defaultdict(list)
        for phase in sorted(phases):
            by_table[self._tables[phase]].append(phase)
        rows = [
            row
            for table, names in by_table.items()
            for row in self._bigquery.read(
                table, partial(completions_sql, phases=names), _window(since, until)
            )
        ]
        return summaries(rows)

    def missing_columns(self) -> dict[str, list[str]]:
        """Return the columns that each table lacks; raises StoreError where there is no table."""
        names = dict.fromkeys(self._tables.values())
        there = {name: self._bigquery.describe(name).columns for name in names}
        return {
            name: [field.name for field in _SCHEMA if field.name not in there[name]]
            for name in names
        }

    def view(self, phase: str) -> str:
        """Return a view of a phase's table that has the columns which it lacks."""
        return view_sql(self._bigquery.describe(self._tables[phase]), phase)

    def setup(self) -> list[str]:
        """Make each table, or add the columns that it lacks; return what was done.

        Nothing else is changed. Raises ConfigurationError for a column of another type, StoreError
        when BigQuery refuses.
        """
        changes = [self._set_up(table) for table in dict.fromkeys(self._tables.values())]
        self._bigquery.forget()
        return changes

    def _set_up(self, name: str) -> str:
        calls: dict[str, Any] = {"retry": self._bigquery.retry, "timeout": self._bigquery.timeout}
        with _bigquery_errors(_OWNER):
            client = self._bigquery.client
            try:
                table = self._bigquery.table(name)
            except NotFound:
                table = bigquery.Table(name, schema=_SCHEMA)
                table.time_partitioning = bigquery.TimePartitioning(field="game_date")
                table.clustering_fields = ["phase", "processor_name"]
                client.create_table(table, **calls)
                return (
                    f"{name}: made, partitioned by game_date, clustered by phase and processor_name"
                )
            lacking = _lacking(table)
            if not lacking:
                return f"{name}: has every column; nothing changed"
            table.schema = [*table.schema, *lacking]
            client.update_table(table, ["schema"], **calls)
            return f"{name}: added {', '.join(field.name for field in lacking)}"


class BigQueryMessageLogs(_OfPhases):
    """The MessageLogs that the phases name."""

    def summarise(self, phase: str, since: date, until: date) -> list[ProcessorSummary]:
        """Summarise a phase's messages; none where the phase names no message log."""
        table, message_phase = self._phases[phase].message_table, self._phases[phase].message_phase
        if table is None:
            return []
        phase_parameter = bigquery.ScalarQueryParameter("message_phase", "STRING", message_phase)
        rows = self._bigquery.read(table, messages_sql, [phase_parameter, *_window(since, until)])
        return summaries(rows, phase=phase)


class BigQueryFlagTables(_OfPhases):
    """The FlagTables of the datasets in which the phases' completion logs are."""

    def completion_table(self, phase: str) -> str:
        """Return the full name of the table that holds a phase's completion log."""
        return self._tables[phase]

    def find(self, phase: str) -> list[str]:
        """Return the flag tables in the dataset of the phase's completion log.

        They are named as the phases file would name them.
        """
        dataset, _, _ = self.completion_table(phase).rpartition(".")
        columns: dict[str, dict[str, str]] = defaultdict(dict)
        for row in self._bigquery.query(flag_tables_sql(dataset), []):
            columns[row["table_name"]][row["column_name"]] = row["data_type"]
        phase_ = self._phases[phase]
        named = self._bigquery.full_name(phase_.flag_table or "")
        as_written, _, _ = phase_.bigquery_table.rpartition(".")
        return [
            f"{as_written}.{name}"
            for name, types in columns.items()
            # A name that the phases file could not hold is of no use.
            if types == FLAG_TABLE_COLUMNS
            and f"{dataset}.{name}" != named
            and re.fullmatch(r"[A-Za-z0-9_]+", name)
        ]

    def read(self, table: str, phase: str, since: date, until: date) -> dict[date, Flag]:
        """Return what `table` says of game dates `since` to `until`."""
        phase_parameter = bigquery.ScalarQueryParameter("phase", "STRING", phase)
        rows = self._bigquery.read(table, flag_table_sql, [phase_parameter, *_window(since, until)])
        return {row["game_date"]: Flag(row["is_set"], row["set_at"], row["reason"]) for row in rows}


class BigQueryCounts:
    """A CountSource: runs the phases' own queries."""

    def __init__(self, bigquery_: BigQuery) -> None:
        self._bigquery = bigquery_

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Return `n` by `game_date`, as the query gives them."""
        return add_up(self._bigquery.query(query, _window(since, until)))

    def runs(self, query: str, since: date, until: date) -> list[ProcessorRun]:
        """Return the runs, as the query gives them."""
        return processor_runs(*self._bigquery.query_with_columns(query, _window(since, until)))


def _lacking(table: bigquery.Table) -> list[bigquery.SchemaField]:
    """Return the columns that a table lacks; raises ConfigurationError for one of another type."""
    there = {field.name.lower(): field for field in table.schema}
    for field in _SCHEMA:
        column = there.get(field.name)
        if column is not None and (column.field_type, column.mode == "REPEATED") != (
            field.field_type,
            field.mode == "REPEATED",
        ):
            actual = f"{column.mode} {column.field_type}"
            raise ConfigurationError(
                f"{table.reference}: column {field.name} is {actual}, expected {field.field_type}"
            )
    # A column can only be added to a table if rows need not have it.
    return [
        bigquery.SchemaField(
            field.name, field.field_type, "REPEATED" if field.mode == "REPEATED" else "NULLABLE"
        )
        for field in _SCHEMA
        if field.name not in there
    ]


def _window(since: date, until: date) -> list[Any]:
    return [
        bigquery.ScalarQueryParameter("since", "DATE", since),
        bigquery.ScalarQueryParameter("until", "DATE", until),
    ]


def _standard_type(field: bigquery.SchemaField) -> str:
    kind = _STANDARD.get(field.field_type, field.field_type)
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def _json_row(row: CompletionRow, now: datetime) -> dict[str, Any]:
    return {
        "phase": row.phase,
        "game_date": row.game_date.isoformat(),
        "processor_name": row.processor_name,
        "status": row.status,
        # a JSON number would be a double
        "record_count": None if row.record_count is None else str(row.record_count),
        "correlation_id": row.correlation_id,
        "execution_id": row.execution_id,
        "completed_at": row.completed_at.astimezone(UTC).isoformat(),
        "is_incremental": row.is_incremental,
        "entities_changed": list(row.entities_changed),
        "metadata": json.dumps(row.metadata),
        "inserted_at": now.astimezone(UTC).isoformat(),
        "event_id": row.event_id,
        "is_triggered": row.is_triggered,
        "trigger_reason": row.trigger_reason,
    }
