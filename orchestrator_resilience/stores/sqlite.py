"""Documents and the completion log's table in one SQLite file: the embedded default.

Safe with many threads and processes at once: every write is one IMMEDIATE transaction, and waits
for its turn up to `BUSY_SECONDS`.
"""

import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import calendar_date, instant
from orchestrator_resilience.rows import OPTIONAL_COLUMNS, CompletionRow
from orchestrator_resilience.stores.base import (
    Document,
    DocumentRef,
    ProcessorRun,
    ProcessorSummary,
    Write,
)
from orchestrator_resilience.stores.completion_rows import add_up, summaries
from orchestrator_resilience.stores.run_rows import processor_runs
from orchestrator_resilience.stores.table_sql import REQUIRED_COLUMNS, Table, completions_sql

BUSY_SECONDS = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, id TEXT NOT NULL, fields TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (collection, id)
) STRICT;
CREATE TABLE IF NOT EXISTS phase_completions (
    row_id TEXT NOT NULL PRIMARY KEY, phase TEXT NOT NULL, game_date TEXT NOT NULL,
    processor_name TEXT NOT NULL, status TEXT NOT NULL, record_count INTEGER,
    correlation_id TEXT, execution_id TEXT, completed_at TEXT NOT NULL,
    is_incremental INTEGER, entities_changed TEXT NOT NULL, metadata TEXT NOT NULL, event_id TEXT,
    is_triggered INTEGER NOT NULL, trigger_reason TEXT, inserted_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS phase_completions_by_date
    ON phase_completions (game_date, phase, processor_name);
PRAGMA user_version = 1;
"""

# The table of the schema as the queries see it.
_TABLE = Table("phase_completions", REQUIRED_COLUMNS | OPTIONAL_COLUMNS)


class SqliteFile:
    """One database file; the threads of a process share one connection and take turns.

    With `must_exist`, a file that is not there is an error, and none is made. Without `durable`,
    commits do not wait for the disk: a power cut may lose the last ones, a crash of the process
    does not.
    """

    def __init__(self, path: Path, *, must_exist: bool = False, durable: bool = True) -> None:
        self.path = path
        self._must_exist = must_exist
        self._synchronous = "FULL" if durable else "OFF"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; every failure comes out as a StoreError that names the file."""
        with self._lock:
            try:
                if self._opened != self._identity():  # somebody has put another file in its place
                    self._close()
                self._connection = self._connection or self._open()
                yield self._connection
            except (
                sqlite3.Error,
                OSError,
                ValueError,
                RecursionError,
            ) as error:  # the last two: damaged content
                raise StoreError(f"{self.path}: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection inside a transaction: committed at the end, or rolled back."""
        with self.reading() as connection:
            # IMMEDIATE waits for its turn here; a transaction that begins by reading could only
            # fail later.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself when the disk is full
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _identity(self) -> tuple[int, int] | None:
        """Return what distinguishes the file from another of its name; None where there is none."""
        status = self.path.stat() if self.path.exists() else None
        return status and (status.st_dev, status.st_ino)

    def _open(self) -> sqlite3.Connection:
        if not self._must_exist:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        self._opened = self._identity()
        if self._opened is None:
            raise FileNotFoundError("there is no such file: nothing has been delivered here yet")
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            if not self._must_exist and connection.execute("PRAGMA user_version").fetchone() == (
                0,
            ):
                # The first to open a new file switches its journal, for which SQLite does not
                # wait its turn.
                _insist(lambda: connection.execute("PRAGMA journal_mode = WAL"))
                _insist(lambda: connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;"))
        except BaseException:
            connection.close()
            raise
        return connection


def _insist(action: Callable[[], object]) -> None:
    """Repeat `action` while the database is locked, up to BUSY_SECONDS."""
    deadline = Deadline(BUSY_SECONDS)
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or deadline.is_over:
                raise
            time.sleep(0.01)
        else:
            return


class SqliteDocuments:
    """A DocumentStore: each document is one row of JSON."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents."""
        with self._file.reading() as connection:
            documents = ((ref, *self._get(connection, ref)) for ref in refs)
            return {
                ref: Document(fields, version)
                for ref, fields, version in documents
                if version is not None
            }

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        with self._file.writing() as connection:
            current, version = self._get(connection, ref)
            self._put(connection, ref, _merged(current, fields), version)

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Set top-level `fields` if the document still has `version`."""
        with self._file.writing() as connection:
            current, _ = self._get(connection, ref)
            return self._replace(connection, [(ref, {**current, **fields}, version)])

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace whole documents if each still has its version."""
        with self._file.writing() as connection:
            return self._replace(connection, writes)

    def _replace(self, connection: sqlite3.Connection, writes: Sequence[Write]) -> bool:
        if any(self._get(connection, ref)[1] != version for ref, _, version in writes):
            return False
        for write in writes:
            self._put(connection, *write)
        return True

    def _get(
        self, connection: sqlite3.Connection, ref: DocumentRef
    ) -> tuple[dict[str, Any], str | None]:
        """Return a document's fields and its version; None where there is no document."""
        row = connection.execute(
            "SELECT fields, version FROM documents WHERE collection = ? AND id = ?", ref
        ).fetchone()
        if row is None:
            return {}, None
        fields = json.loads(row[0], object_hook=_restored)
        if not isinstance(fields, dict):
            raise ValueError(f"document {ref.collection}/{ref.id} is no map")  # noqa: TRY004 (damaged content)
        return fields, str(row[1])

    def _put(
        self,
        connection: sqlite3.Connection,
        ref: DocumentRef,
        fields: Mapping[str, Any],
        version: str | None,
    ) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
            (*ref, json.dumps(fields, default=_stored), int(version or 0) + 1),
        )


class SqliteCompletionLog:
    """A CompletionLog: a table with the columns of the one in BigQuery."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Store `rows`; one that is there already stays as it is."""
        with self._file.writing() as connection:
            connection.executemany(
                (
                    "INSERT OR IGNORE INTO phase_completions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                    "?, ?, ?, ?, ?, ?)"
                ),
                [_row_values(row, now) for row in rows],
            )

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise the rows of game dates `since` to `until`."""
        parameters = {"since": since.isoformat(), "until": until.isoformat()}
        with self._file.reading() as connection:
            lines = connection.execute(completions_sql(_TABLE, phases), parameters)
            names = [column for column, *_ in lines.description]
            rows = [dict(zip(names, line, strict=True)) for line in lines]
        dated = [
            line | {"game_date": day} for line in rows if (day := calendar_date(line["game_date"]))
        ]
        return summaries(line | {"is_triggered": bool(line["is_triggered"])} for line in dated)

    def setup(self) -> list[str]:
        """Make the file."""
        with self._file.reading():
            return [f"{self._file.path}: has every column"]

    def missing_columns(self) -> dict[str, list[str]]:
        """A file is made with all columns."""
        return {str(self._file.path): []}

    def view(self, _: str) -> str:
        """A file needs none."""
        return ""


class SqliteCounts:
    """A CountSource: runs a phase's own queries over SQLite files, each file a dataset.

    `nba_analytics.sqlite3` in `folder` is what a query calls `nba_analytics`, so that one written
    for BigQuery runs as it is if it is plain SQL. Up to ten files can be named in one query.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Return `n` by `game_date`."""
        with self._answer(query, since, until) as rows:
            return add_up({"game_date": calendar_date(day) or day, "n": n} for day, n in rows)

    def runs(self, query: str, since: date, until: date) -> list[ProcessorRun]:
        """Return the runs; times are ISO texts with their zone, or in UTC."""
        with self._answer(query, since, until) as rows:
            columns = [column for column, *_ in rows.description]
            return processor_runs(
                columns, (_typed(dict(zip(columns, row, strict=True))) for row in rows)
            )

    @contextmanager
    def _answer(self, query: str, since: date, until: date) -> Iterator[sqlite3.Cursor]:
        """Lend the rows of a query; every failure is a StoreError that names the folder."""
        named = query.replace('""', '"')
        try:
            with closing(sqlite3.connect("file:?mode=memory", uri=True)) as connection:
                for file in sorted(self._folder.glob("*.sqlite3")):
                    # only files that the query names, because SQLite takes ten
                    if re.search(rf"(?<!\w){re.escape(file.stem)}(?!\w)", named, re.IGNORECASE):
                        name = file.stem.replace('"', '""')
                        connection.execute(
                            f'ATTACH ? AS "{name}"', (f"{file.absolute().as_uri()}?mode=ro",)
                        )
                yield connection.execute(
                    query, {"since": since.isoformat(), "until": until.isoformat()}
                )
        except (sqlite3.Error, OverflowError, TypeError, ValueError) as error:
            raise StoreError(f"{self._folder}: {error}") from error


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of runs with its date and times, which SQLite holds as texts, as such.

    A text that is none stays as it is.
    """
    times = {
        name: instant(row.get(name)) or row.get(name) for name in ("started_at", "finished_at")
    }
    return {
        **row,
        **times,
        "game_date": calendar_date(row.get("game_date")) or row.get("game_date"),
    }


def _row_values(row: CompletionRow, now: datetime) -> tuple[object, ...]:
    return (
        row.row_id,
        row.phase,
        row.game_date.isoformat(),
        row.processor_name,
        row.status,
        row.record_count,
        row.correlation_id,
        row.execution_id,
        _text(row.completed_at),
        row.is_incremental,
        json.dumps(row.entities_changed),
        json.dumps(row.metadata),
        row.event_id,
        row.is_triggered,
        row.trigger_reason,
        _text(now),
    )


def _moment(text: object) -> datetime | None:
    """Read a time; None for what somebody else has written there instead of one."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _text(moment: datetime) -> str:
    """Write a time in UTC with a fixed width, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _merged(current: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Merge map by map, as Firestore's `set(merge=True)` does."""
    result = dict(current)
    for name, value in fields.items():
        before = result.get(name)
        result[name] = (
            _merged(before, value)
            if isinstance(before, dict) and isinstance(value, dict)
            else value
        )
    return result


def _stored(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"$time": _text(value)}
    raise TypeError(f"a document cannot hold {value!r}")


def _restored(value: dict[str, Any]) -> Any:
    return (_moment(value["$time"]) or value) if value.keys() == {"$time"} else value
