"""What the two layers ask of their stores; one contract suite tests every implementation.

All times are aware datetimes in UTC. Every method raises StoreError when the store cannot answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.rows import CompletionRow


class DocumentRef(NamedTuple):
    """The address of a document."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document's fields, and an opaque version that differs after every change."""

    fields: Mapping[str, Any]
    version: str


class DocumentStore(Protocol):
    """Documents with the two writes that cannot lose an update: a merge, and compare-and-set.

    Field values are what Firestore holds: None, bool, int, float, str, aware datetime, list, dict.
    """

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents in one call; those that do not exist are absent from the answer."""

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document, map by map; create it where it does not exist."""

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Set top-level `fields` if the document still has `version` (None: if it does not exist).

        Returns False, having written nothing, when it has changed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSummary:
    """All rows of one (phase, game date, processor name), summarised.

    `first_completed_at` and `first_visible_at` are the first `completed_at` and the first
    `inserted_at` among rows whose status completes, None when there is no such row. `is_triggered` is None where no
    row says anything of the flag, as in a table without its columns.
    """

    phase: str
    game_date: date
    processor_name: str
    last_status: str
    last_completed_at: datetime
    first_completed_at: datetime | None
    first_visible_at: datetime | None
    is_triggered: bool | None
    trigger_reason: str | None


class CompletionLog(Protocol):
    """The completion log: an append-only table of what was delivered."""

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Store `rows`, with `now` as their `inserted_at`; appending a row again does no harm."""

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise the rows of game dates `since` to `until` (both included), in one query."""

    def setup(self) -> list[str]:
        """Make the tables that are missing, add the columns that they lack, and say what was done.

        Doing it again changes nothing. Raises ConfigurationError for a column of another type.
        """

    def missing_columns(self) -> dict[str, list[str]]:
        """Return the columns that each table lacks."""


class CheckpointArchive(Protocol):
    """Where checkpoints can be read back from."""

    def read(self, phase: str, game_date: date) -> list[Checkpoint]:
        """Return the checkpoints of one date in the order in which they were left."""


class CountSource(Protocol):
    """Answers a phase's own queries: how much output there is, how much work there was."""

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Return `n` by `game_date` for game dates `since` to `until`, in one query."""


class Stores(Protocol):
    """Everything behind one deployment."""

    @property
    def documents(self) -> DocumentStore:
        """Where progress is kept."""

    @property
    def completion_log(self) -> CompletionLog:
        """The completion log."""

    @property
    def checkpoints(self) -> CheckpointArchive:
        """The checkpoints."""

    @property
    def counts(self) -> CountSource | None:
        """The phases' own queries, where something can answer them."""

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
