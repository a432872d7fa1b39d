"""The embedded default: all stores in one folder, for everywhere but the cloud."""

import os.path
from pathlib import Path
from typing import Self

from orchestrator_resilience.stores.base import (
    ChangeLog,
    CountSource,
    DeadLetters,
    ErrorLog,
    FlagTables,
    MessageLogs,
    RequestLog,
)
from orchestrator_resilience.stores.jsonl import JsonLinesArchive
from orchestrator_resilience.stores.sqlite import (
    SqliteCompletionLog,
    SqliteCounts,
    SqliteDocuments,
    SqliteFile,
)

DATASETS = "datasets"
_DATABASE = "resilience.sqlite3"


class EmbeddedStores:
    """Documents and completion log in `resilience.sqlite3`, checkpoints in `checkpoints.jsonl`.

    Where there is a folder `datasets`, a phase's own queries run over the SQLite files in it.
    With `must_exist`, a folder without them is an error at the first read, and nothing is made.
    Without `durable`, a power cut may lose the last writes; a crash of the process never does.
    """

    def __init__(self, folder: Path, *, must_exist: bool = False, durable: bool = True) -> None:
        self.folder = folder
        self._file = SqliteFile(folder / _DATABASE, must_exist=must_exist, durable=durable)
        self.documents = SqliteDocuments(self._file)
        self.completion_log = SqliteCompletionLog(self._file)
        self.checkpoints = JsonLinesArchive(folder / "checkpoints.jsonl")
        self.message_logs: MessageLogs | None = None
        self.flag_tables: FlagTables | None = None
        self.requests: RequestLog | None = None
        self.service_errors: ErrorLog | None = None
        self.changes: ChangeLog | None = None
        self.dead_letters: DeadLetters | None = None
        datasets = folder / DATASETS
        is_there = os.path.isdir(datasets)  # noqa: PTH112 (unlike Path's, it never raises)
        self.counts: CountSource | None = SqliteCounts(datasets) if is_there else None
        self.runs_path = folder / "canary_runs.jsonl"

    @property
    def are_there(self) -> bool:
        """Whether somebody has made them; a folder that cannot be looked into is an OSError."""
        try:
            (self.folder / _DATABASE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        self._file.close()
