"""The completion log's table in BigQuery, and the counts that a phase's own queries give.

Appended to with streaming inserts and never changed: rows of the last 30 minutes cannot be.
"""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from google.api_core.exceptions import (
    BadGateway,
    BadRequest,
    Forbidden,
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
from orchestrator_resilience.progress import COMPLETING_STATUSES
from orchestrator_resilience.rows import OPTIONAL_COLUMNS, CompletionRow
from orchestrator_resilience.stores.base import ProcessorSummary
from orchestrator_resilience.stores.summary_sql import (
    FLAG_TABLE_COLUMNS,
    Table,
    completions_sql,
    flag_table_sql,
    flag_tables_sql,
    messages_sql,
    summary_sql,
)

_TRANSIENT = (
    BadGateway,
    BrokenConnectionError,
    GatewayTimeout,
    InternalServerError,
    ServiceUnavailable,
    TooManyRequests,
)
# A query over seven partitions reads megabytes; this only stops one that was written wrongly.
_MAXIMUM_BYTES_BILLED = 1024**3

# For how long a table is taken to look as it did: what `canary setup` adds is used after that at the latest.
_DESCRIBED_SECONDS = 600.0

# What the API calls by another name than GoogleSQL.
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
    """Turn what the client raises into a StoreError of one sentence; `role` is what the calls inside need."""
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


def _advice(error: Exception, text: str, role: str) -> str:
    if isinstance(error, NotFound):
        return "make it (`canary setup` makes the completion log), or name another in the phases file"
    if isinstance(error, Forbidden):
        return f"grant {role}"
    if isinstance(error, BadRequest) and text.startswith("Unrecognized name"):
        return "mend the query of the phases file, or the table that it names"
    return ""


class BigQuery:
    """One lazily made client, shared by what follows.

    `seconds` bounds each of query, append and the like, retries included: left to itself the client
    goes on for 600 s, longer than a function lives; to cancel a query that does not end may take half as long again.
    It bounds each call over HTTP as well, however slowly that is answered.
    """

    def __init__(
        self, project: str, *, location: str | None = None, emulated: bool = False, seconds: float = 20.0
    ) -> None:
        self.project = project
        # A query is two calls, and the last try of a call begins when its retries end.
        self.timeout = seconds / 4
        self.retry = Retry(if_exception_type(*_TRANSIENT), initial=0.2, maximum=2.0, timeout=seconds / 4)
        self._seconds = seconds
        self._location = location
        self._lock = threading.Lock()
        self._client: bigquery.Client | None = None
        self._emulated = emulated
        self._described: dict[str, tuple[Table, Deadline]] = {}

    @property
    def client(self) -> bigquery.Client:
        """The client; BIGQUERY_EMULATOR_HOST is read by the library, which wants no credentials then."""
        with self._lock:
            if self._client is None:
                credentials = AnonymousCredentials() if self._emulated else None  # type: ignore[no-untyped-call]
                self._client = bigquery.Client(project=self.project, location=self._location, credentials=credentials)
                end_calls_in_time(self._client._http, self._seconds)  # noqa: SLF001 (its session, with the credentials)
            return self._client

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        with self._lock:
            if self._client is not None:
                self._client.close()  # type: ignore[no-untyped-call]
                self._client = None

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Return the rows of a query, in one call where it ends within that; raises StoreError."""
        config = bigquery.QueryJobConfig(query_parameters=parameters, maximum_bytes_billed=_MAXIMUM_BYTES_BILLED)
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
            except FutureTimeoutError as error:
                raise StoreError(f"BigQuery: the query has not ended after {2 * self.timeout:g} s") from error
            if not rows.schema and rows.job_id:  # so may the answer look to a query that has failed
                job = self.client.get_job(rows.job_id, retry=self.retry, timeout=self.timeout)
                failure = job.exception(timeout=self.timeout)  # type: ignore[no-untyped-call]
                if failure is not None:
                    raise failure
            return list(rows)

    def table(self, name: str) -> bigquery.Table:
        """Ask for a table by its full name; raises what the client raises."""
        return self.client.get_table(name, retry=self.retry, timeout=self.timeout)

    def describe(self, name: str) -> Table:
        """Return what a table looks like, or looked like a few minutes ago; raises StoreError."""
        known = self._described.get(name)
        if known is not None and not known[1].is_over:
            return known[0]
        with _bigquery_errors():
            found = self.table(name)
        by_column = found.time_partitioning is not None and found.time_partitioning.field
        table = Table(
            name,
            {field.name.lower(): _standard_type(field) for field in found.schema},
            by_ingestion=found.time_partitioning is not None and not by_column,
        )
        self._described[name] = table, Deadline(_DESCRIBED_SECONDS)
        return table

    def forget(self) -> None:
        """Ask again what the tables look like, because one has perhaps changed."""
        self._described.clear()

    def full_name(self, table: str) -> str:
        """Return a table's name with its project, as the phases file may leave it out."""
        return table if table.count(".") > 1 else f"{self.project}.{table}"


class BigQueryCompletionLog:
    """A CompletionLog; each phase's rows are in the table that the phase names, and in its message and flag tables.

    The tables may be somebody else's, without our own columns: what they look like is asked for, and remembered for
    ten minutes.
    """

    def __init__(self, bigquery_: BigQuery, phases: Mapping[str, Phase]) -> None:
        self._bigquery = bigquery_
        self._phases = phases
        self._tables = {name: bigquery_.full_name(phase.bigquery_table) for name, phase in phases.items()}

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Stream `rows`; their ids let BigQuery drop what it was sent a minute ago.

        A table without our columns gets the rows without them, and no row of the flag: nobody could tell it from a
        completion there.
        """
        for name in dict.fromkeys(self._tables[row.phase] for row in rows):
            table = self._bigquery.describe(name)
            own = [r for r in rows if self._tables[r.phase] == name and (table.has_flag or not r.is_triggered)]
            if own:
                self._insert(table, own, now)

    def _insert(self, table: Table, rows: Sequence[CompletionRow], now: datetime) -> None:
        lacking = OPTIONAL_COLUMNS.keys() - table.columns.keys()
        with _bigquery_errors(_WRITER):
            errors = self._bigquery.client.insert_rows_json(
                table.name,
                [{name: value for name, value in _json_row(row, now).items() if name not in lacking} for row in rows],
                row_ids=[row.row_id for row in rows],
                retry=self._bigquery.retry,
                timeout=self._bigquery.timeout,
            )
        if errors:
            self._bigquery.forget()
            raise StoreError(f"BigQuery: {table.name} refused rows: {errors}")

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise the rows of game dates `since` to `until`, in one query."""
        names = sorted(phases)
        if not names:
            return []
        tables = dict.fromkeys(self._tables[name] for name in names)
        sources = [completions_sql(self._bigquery.describe(table)) for table in tables]
        parameters = _summary_parameters(names, since, until)
        for number, phase in enumerate(self._phases[name] for name in names):
            if phase.message_table is not None:
                sources.append(messages_sql(self._named(phase.message_table), phase.name, number))
                own = bigquery.ScalarQueryParameter(f"message_phase_{number}", "STRING", phase.message_phase)
                parameters.append(own)
            if phase.flag_table is not None:
                sources.append(flag_table_sql(self._named(phase.flag_table), phase.name))
        return _summaries(self._bigquery, sources, parameters)

    def _named(self, table: str) -> Table:
        return self._bigquery.describe(self._bigquery.full_name(table))

    def missing_columns(self) -> dict[str, list[str]]:
        """Return the columns that each table lacks; raises StoreError where there is no table."""
        with _bigquery_errors():
            return {
                name: [field.name for field in _lacking(self._bigquery.table(name))]
                for name in dict.fromkeys(self._tables.values())
            }

    def setup(self) -> list[str]:
        """Make each table, or add the columns it lacks; changes nothing else. Returns what was done.

        Raises ConfigurationError for a column of another type, StoreError when BigQuery refuses.
        """
        done = [self._set_up(table) for table in dict.fromkeys(self._tables.values())]
        self._bigquery.forget()
        return done

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
                return f"{name}: made, partitioned by game_date, clustered by phase and processor_name"
            lacking = _lacking(table)
            if not lacking:
                return f"{name}: has every column; nothing changed"
            table.schema = [*table.schema, *lacking]
            client.update_table(table, ["schema"], **calls)
            return f"{name}: added {', '.join(field.name for field in lacking)}"


class BigQueryFlagTables:
    """The FlagTables of the datasets in which the phases' completion logs are."""

    def __init__(self, bigquery_: BigQuery, phases: Mapping[str, Phase]) -> None:
        self._bigquery = bigquery_
        self._phases = phases

    def completion_table(self, phase: str) -> str:
        """Return the full name of the table that holds a phase's completion log."""
        return self._bigquery.full_name(self._phases[phase].bigquery_table)

    def find(self, phase: str) -> list[str]:
        """Return the flag tables in the dataset of the phase's completion log, named as the phases file would."""
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
            # What the phases file could not name is of no use.
            if types == FLAG_TABLE_COLUMNS and f"{dataset}.{name}" != named and re.fullmatch(r"[A-Za-z0-9_]+", name)
        ]

    def read(self, table: str, phase: str, since: date, until: date) -> dict[date, bool]:
        """Return what `table` says of game dates `since` to `until`."""
        source = flag_table_sql(self._bigquery.describe(self._bigquery.full_name(table)), phase)
        rows = _summaries(self._bigquery, [source], _summary_parameters([phase], since, until))
        return {row.game_date: row.is_triggered for row in rows if row.is_triggered is not None}


class BigQueryCounts:
    """A CountSource: runs the phases' own queries."""

    def __init__(self, bigquery_: BigQuery) -> None:
        self._bigquery = bigquery_

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Return `n` by `game_date`, as the query gives them."""
        rows = self._bigquery.query(query, _window(since, until))
        counts: dict[date, int] = defaultdict(int)
        for row in rows:
            day, count = row.get("game_date"), row.get("n")
            # Anything else would match no date, and be taken for none: an all-clear that nobody gave.
            if type(day) is not date or type(count) is not int:
                raise StoreError(
                    f"BigQuery: the query has to return game_date DATE and n INT64, not {dict(row.items())}"
                )
            counts[day] += count
        return dict(counts)


def _lacking(table: bigquery.Table) -> list[bigquery.SchemaField]:
    """Return the columns that a table lacks; raises ConfigurationError for one of another type."""
    there = {field.name: field for field in table.schema}
    for field in _SCHEMA:
        known = there.get(field.name)
        if known is not None and (known.field_type, known.mode == "REPEATED") != (
            field.field_type,
            field.mode == "REPEATED",
        ):
            found = f"{known.mode} {known.field_type}"
            raise ConfigurationError(f"{table.reference}: column {field.name} is {found}, expected {field.field_type}")
    # A column can only be added to a table if rows need not have it.
    return [
        bigquery.SchemaField(field.name, field.field_type, "REPEATED" if field.mode == "REPEATED" else "NULLABLE")
        for field in _SCHEMA
        if field.name not in there
    ]


def _window(since: date, until: date) -> list[Any]:
    return [
        bigquery.ScalarQueryParameter("since", "DATE", since),
        bigquery.ScalarQueryParameter("until", "DATE", until),
    ]


def _summary_parameters(phases: Sequence[str], since: date, until: date) -> list[Any]:
    return [
        bigquery.ArrayQueryParameter("phases", "STRING", phases),
        bigquery.ArrayQueryParameter("completing", "STRING", COMPLETING_STATUSES),
        *_window(since, until),
    ]


def _summaries(bigquery_: BigQuery, sources: Iterable[str], parameters: Sequence[Any]) -> list[ProcessorSummary]:
    try:
        rows = bigquery_.query(summary_sql(sources), parameters)
    except StoreError:
        bigquery_.forget()
        raise
    return [ProcessorSummary(**dict(row.items())) for row in rows]


def _standard_type(field: bigquery.SchemaField) -> str:
    kind = _STANDARD.get(field.field_type, field.field_type)
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def _json_row(row: CompletionRow, now: datetime) -> dict[str, Any]:
    return {
        "phase": row.phase,
        "game_date": row.game_date.isoformat(),
        "processor_name": row.processor_name,
        "status": row.status,
        "record_count": None if row.record_count is None else str(row.record_count),  # a JSON number would be a double
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
