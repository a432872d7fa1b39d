"""What the two layers ask of their stores; one contract suite tests every implementation.

All times are aware datetimes in UTC. Every method raises StoreError when the store cannot answer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.rows import CompletionRow


class DocumentRef(NamedTuple):
    """The address of a document."""

    collection: str
    id: str


class Document(msgspec.Struct, frozen=True):
    """A document's fields, and an opaque version that differs after every change."""

    fields: Mapping[str, Any]
    version: str


# A whole document to be stored, and the version that was read of it (None: it did not exist).
Write = tuple[DocumentRef, Mapping[str, Any], str | None]


class DocumentStore(Protocol):
    """Documents with writes that cannot lose an update: merge, and compare-and-set of one or many.

    Field values are what Firestore holds: None, bool, int, float, str, aware datetime, list or
    tuple, dict.
    """

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents in one call; those that do not exist are absent from the answer."""

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document, map by map; create it where it does not exist."""

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Set top-level `fields` if the document still has `version` (None: if it does not exist).

        Returns False, having written nothing, when it has changed.
        """

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace whole documents, each named once: all if each still has its version, else none.

        Returns False, having written nothing, when somebody else has changed one. An answer that
        was lost is a StoreError: all may have been written, at once or a little later, or none. A
        document that is replaced by its equal may keep its version, so that two who write the same
        may both get True.
        """


class ProcessorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one (phase, game date, processor name, status), in one.

    It does not say whether the status completes. `first_completed_at` and `last_completed_at` are
    the first and the last `completed_at`, `first_visible_at` is the first `inserted_at`. Rows of
    the flag, with `is_triggered` TRUE, have a summary of their own, which is no completion.

    `is_triggered` is None where the rows say nothing of the flag, as in a table without its
    columns. Of messages, `processor_name` is empty, and `game_date` and `status` are None, where
    they could not be read.
    """

    phase: str
    game_date: date | None
    processor_name: str
    status: str | None
    last_completed_at: datetime | None
    first_completed_at: datetime | None
    first_visible_at: datetime | None
    is_triggered: bool | None
    trigger_reason: str | None = None


class CompletionLog(Protocol):
    """The completion log: an append-only table of what was delivered."""

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Store `rows`, with `now` as their `inserted_at`; appending a row again does no harm."""

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise the rows of game dates `since` to `until`, both included; one query a table."""

    def setup(self) -> list[str]:
        """Make the tables that are missing, add the columns that they lack, and say what was done.

        Doing it again changes nothing. Raises ConfigurationError for a column of another type.
        """

    def missing_columns(self) -> dict[str, list[str]]:
        """Return the columns that each table lacks."""

    def view(self, phase: str) -> str:
        """Return a view by which a phase's table can be read as its completion log.

        It is empty where the table needs none.
        """


class MessageLogs(Protocol):
    """Tables into which Pub/Sub writes every message by itself, whatever became of its delivery."""

    def summarise(self, phase: str, since: date, until: date) -> list[ProcessorSummary]:
        """Summarise, in one query, a phase's messages about game dates `since` to `until`.

        Messages about no date that can be read are summarised as well, from those that were
        published on the day before `since` on.
        """


class Flag(msgspec.Struct, frozen=True):
    """What a table says of the flag: whether it is set, since when (UTC), and why it was set."""

    is_set: bool
    at: datetime | None = None
    reason: str | None = None


class FlagTables(Protocol):
    """Tables with one row for each phase and date that says whether the flag is set.

    Older trackers wrote them.
    """

    def completion_table(self, phase: str) -> str:
        """Return the full name of the table that holds a phase's completion log."""

    def find(self, phase: str) -> list[str]:
        """Return the flag tables in the dataset of the phase's completion log.

        They are known by their columns, and named as the phases file would name them; the phase's
        own `flag_table` is not among them.
        """

    def read(self, table: str, phase: str, since: date, until: date) -> dict[date, Flag]:
        """Return by date what `table` says of game dates `since` to `until`.

        A date of which it says nothing is left out.
        """


class Lines(msgspec.Struct, frozen=True):
    """The lines that deliveries have left, oldest first.

    They are the line that closed each delivery, and RECEIVED of a delivery that nothing closed.
    Where there were too many of a date or in all, the newest are kept, and `cut_at` is the time of
    the oldest of them. `before` has for each phase the last line of level INFO from before midnight
    UTC of its first date, if there is one: an orchestrator that leaves such a line does so for
    every delivery.
    """

    checkpoints: Sequence[Checkpoint] = ()
    cut_at: datetime | None = None
    before: Mapping[str, Checkpoint] = msgspec.field(default_factory=dict)


class CheckpointArchive(Protocol):
    """Where checkpoints can be read back from."""

    def read(self, game_dates: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Return the lines that concern `game_dates`, by phase, and were left by `until`.

        It takes one search, however many dates and phases there are, and one for what was `before`.
        """


class Request(NamedTuple):
    """One request that the platform brought to the orchestrator's service.

    `at` is when (UTC), `status` the HTTP status of the answer, `took` how long it took. `trace` is
    the id of its trace, empty where the platform did not write one down.
    """

    at: datetime
    status: int
    took: timedelta = timedelta(0)
    trace: str = ""


class RequestLog(Protocol):
    """Where the platform writes down, without any code of ours, which requests a service got."""

    @property
    def phase(self) -> str:
        """The phase whose orchestrator the service is."""

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return the requests from `since` to before `until`, oldest first."""

    def last_answer(self, before: datetime) -> datetime | None:
        """Return when a request before this was last answered with 2xx; None if not known."""


class ServiceError(NamedTuple):
    """One error that the orchestrator's service, or the platform that runs it, wrote down.

    `at` is when (UTC), and `words` are one line. `trace` is the id of the trace in which it was
    written, empty where it names none. `is_platform` is true of the platform's own words; they say
    of some that an instance `failed_to_start`.
    """

    at: datetime
    words: str
    trace: str = ""
    is_platform: bool = False
    failed_to_start: bool = False


class ServiceErrors(NamedTuple):
    """Such errors, oldest first; where there were too many, those before `cut_at` are left out."""

    errors: Sequence[ServiceError] = ()
    cut_at: datetime | None = None


class ErrorLog(Protocol):
    """Where a service's own errors, and the platform's words on its instances, are written down."""

    @property
    def phase(self) -> str:
        """The phase whose orchestrator the service is."""

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        """Return the errors from `since` to before `until` that are no checkpoints.

        Where there are many, the newest are returned.
        """


class Component(StrEnum):
    """What a phase is deployed as, and what somebody may change of it."""

    SERVICE = "service"
    SUBSCRIPTION = "subscription"
    TOPIC = "topic"
    TABLE = "table"
    JOB = "scheduler job"


# A component of a phase, by its name.
Part = tuple[Component, str]


class Change(NamedTuple):
    """What somebody did to a component, by its name.

    `at` is when it was done (UTC), and `who` did it is an account up to its @. `what` is deployed,
    deleted, paused, resumed, or what the platform calls it; `made` is the revision that came of it.
    `began` is when it began, None where it took no time: it took effect between the two.
    """

    at: datetime
    component: Component
    name: str
    what: str
    who: str = ""
    made: str = ""
    began: datetime | None = None

    @property
    def deed(self) -> tuple[Component, str, str]:
        """What was done to which component, without the person and the time."""
        return self.component, self.name, self.what


class Attempt(NamedTuple):
    """An attempt of a scheduler job.

    `at` is when it ended (UTC), and `failure` is why it failed, in the scheduler's words; empty
    where it did not.
    """

    at: datetime
    job: str
    failure: str = ""


class Changes(NamedTuple):
    """The changes of a phase's components, and the attempts of its jobs, oldest first.

    `looked_at` are the components whose changes were looked for. Where there were too many changes,
    those before `cut_at` are left out.
    """

    changes: Sequence[Change] = ()
    attempts: Sequence[Attempt] = ()
    cut_at: datetime | None = None
    looked_at: Collection[Part] = ()


class ChangeLog(Protocol):
    """Where the platform writes down who changed what, and how its scheduler's jobs went."""

    def changes(self, begun: Mapping[str, datetime], until: datetime) -> dict[str, Changes]:
        """Return by phase what happened to its components before `until`, in one search.

        `begun` says from when on each phase is of interest: its changes are looked for from a month
        before, its attempts from two days before.
        """


class DeadLetter(NamedTuple):
    """A message that Pub/Sub has given up delivering.

    It is of a processor, about a game date, was published `at` (UTC), and has a status.
    """

    processor: str
    game_date: date
    at: datetime
    status: str = "success"


class DeadLetters(Protocol):
    """Where Pub/Sub puts the messages of a phase that it has given up delivering."""

    @property
    def phase(self) -> str:
        """The phase whose messages they are."""

    def read(self) -> list[DeadLetter]:
        """Return those that are there, oldest first; they stay."""


class ProcessorRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a processor, as the pipeline's own table has it.

    `processor` is the name in that table, `status` the table's word. A field is None where the
    table does not say when the run started or finished (UTC), or how it ended.
    """

    processor: str
    game_date: date
    started_at: datetime | None = None
    finished_at: datetime | None = None
    status: str | None = None


class CountSource(Protocol):
    """Answers a phase's own queries: how much output and work there is, and who has run."""

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Return `n` by `game_date` for game dates `since` to `until`, in one query."""

    def runs(self, query: str, since: date, until: date) -> list[ProcessorRun]:
        """Return the runs of processors for game dates `since` to `until`, in one query.

        The query has the columns processor, game_date, started_at, finished_at and status;
        StoreError names the one that is missing, or holds something else.
        """


class Stores(Protocol):
    """Everything behind one deployment."""

    @property
    def documents(self) -> DocumentStore:
        """Where progress is kept."""

    @property
    def completion_log(self) -> CompletionLog:
        """The completion log."""

    @property
    def message_logs(self) -> MessageLogs | None:
        """The phases' message logs, where there can be any."""

    @property
    def flag_tables(self) -> FlagTables | None:
        """Tables beside the completion log that hold the flag, where there can be any."""

    @property
    def checkpoints(self) -> CheckpointArchive:
        """The checkpoints."""

    @property
    def requests(self) -> RequestLog | None:
        """The requests to the orchestrator, where its service is known and has a log."""

    @property
    def service_errors(self) -> ErrorLog | None:
        """The errors of the orchestrator's service, where it is known and has a log."""

    @property
    def changes(self) -> ChangeLog | None:
        """What was changed of the deployment, where that is written down."""

    @property
    def dead_letters(self) -> DeadLetters | None:
        """The messages that could not be delivered, where it is known where they are."""

    @property
    def counts(self) -> CountSource | None:
        """The phases' own queries, where something can answer them."""

    def close(self) -> None:
        """Close what is open; the next use opens it again."""


@runtime_checkable
class Weighable(Protocol):
    """Stores that can say what reading costs before anything is read."""

    def bytes_to_read(self, ask: Callable[[Stores], object]) -> int:
        """Return how many bytes the queries of `ask` would read; none of them is run.

        `ask` is called with the stores to send its queries to.
        """
