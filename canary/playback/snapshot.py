"""The user's stores, read once, which then answer as they would have at an earlier moment.

A canary that runs at that moment can see nothing that came later: a row is there from its
`inserted_at` on, an entry of a document and the flag from the times that they carry, a line from
when it was left. What carries no time is answered as of today; canary/playback/backtest.py says of
which dates that is true.

Nothing is written but what the canary itself remembers, and that in memory only: what a live canary
remembers is neither read nor written.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Generic, TypeVar, cast

from msgspec.structs import replace

from canary.domain.clocks import believed_runs
from canary.domain.remembered import MEMORY
from canary.sources import EARLIER
from orchestrator_resilience.checkpoints import Checkpoint, deliveries
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import instant, one_line
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import (
    Changes,
    DeadLetter,
    Document,
    DocumentRef,
    Flag,
    Lines,
    ProcessorRun,
    ProcessorSummary,
    Request,
    ServiceErrors,
    Stores,
    Write,
)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_A_DAY = timedelta(days=1)
Clock = Callable[[], datetime]


class Snapshot:
    """Stores of `phases` as they were at the clock's time, for the game dates of the `window`.

    Each source is read once, as it is at `read_at`; what the platform and the deliveries have left
    is read only for the dates that are asked about. A source that could not be read is in
    `failures`, and is unreadable at all times.
    """

    def __init__(
        self,
        stores: Stores,
        phases: Mapping[str, Phase],
        window: tuple[date, date],
        clock: Clock,
        read_at: datetime,
    ) -> None:
        past = _Past(stores, phases, window, clock, read_at)
        self._past, self.read_at = past, read_at
        self.documents = _Documents(past)
        self.completion_log = _CompletionLog(past)
        self.checkpoints = _Checkpoints(past)
        self.message_logs = _MessageLogs(past) if stores.message_logs is not None else None
        self.flag_tables = _FlagTables(past) if stores.flag_tables is not None else None
        self.requests = (
            _Requests(past, stores.requests.phase) if stores.requests is not None else None
        )
        errors = stores.service_errors
        self.service_errors = _ServiceErrors(past, errors.phase) if errors is not None else None
        self.changes = _ChangeLog(past) if stores.changes is not None else None
        self.dead_letters = (
            _DeadLetters(past, stores.dead_letters.phase)
            if stores.dead_letters is not None
            else None
        )
        self.counts = _Counts(past) if stores.counts is not None else None

    @property
    def failures(self) -> Mapping[str, str]:
        """Why a source could not be read, by the source."""
        return {
            key[0]: str(error)
            for key, error in self._past.answers.items()
            if isinstance(error, StoreError)
        }

    def close(self) -> None:
        """Leave the stores to those who opened them."""


class _Past:
    """What has been read, by the question.

    A store that could not answer a question is not asked it again.
    """

    def __init__(
        self,
        stores: Stores,
        phases: Mapping[str, Phase],
        window: tuple[date, date],
        clock: Clock,
        read_at: datetime,
    ) -> None:
        self.stores, self.phases, self.window, self.clock, self.read_at = (
            stores,
            phases,
            window,
            clock,
            read_at,
        )
        self.answers: dict[tuple[str, ...], Any] = {}

    def once(self, read: Callable[[], T], what: str, *of: object) -> T:
        """Return what a store answers to the question `what`, `of` something.

        Raises StoreError where it could not answer, each time anew.
        """
        key = (what, *map(str, of))
        if key not in self.answers:
            try:
                self.answers[key] = read()
            except StoreError as error:
                self.answers[key] = error
            except Exception as error:  # noqa: BLE001 (whatever a driver comes up with, the others still count)
                self.answers[key] = StoreError(one_line(f"{type(error).__name__}: {error}"))
        answer = self.answers[key]
        if isinstance(answer, StoreError):
            raise StoreError(str(answer))
        return cast("T", answer)

    def rows(self, phases: Iterable[str]) -> "_Rows":
        """Return the rows of the table that these phases share, by phase and date."""
        names, (first, last) = sorted(phases), self.window

        def read() -> _Rows:
            return _by_date(self.stores.completion_log.summarise(names, first - EARLIER, last))

        return self.once(read, f"completion log {self.phases[names[0]].bigquery_table}", *names)


class _Changing(Generic[T]):
    """A value that changes at each of `times`; it is made once for the time between two of them."""

    def __init__(self, times: Iterable[datetime], make: Callable[[datetime], T]) -> None:
        self._times, self._make = sorted({*times}), make
        self._made: tuple[int, T] | None = None

    def at(self, now: datetime) -> T:
        number = bisect_right(self._times, now)
        if self._made is None or self._made[0] != number:
            self._made = number, self._make(now)
        return self._made[1]


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _days(since: date, until: date) -> list[date]:
    return [since + number * _A_DAY for number in range((until - since).days + 1)]


# Documents


class _Documents:
    def __init__(self, past: _Past) -> None:
        self._past = past
        self._memory: dict[DocumentRef, Document] = {}

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        wanted_refs, now = [*refs], self._past.clock()
        histories = self._past.once(self._read, "progress documents")
        documents = {ref: self._memory.get(ref) for ref in wanted_refs if ref.collection == MEMORY}
        documents |= {ref: histories[ref].at(now) for ref in wanted_refs if ref in histories}
        return {ref: document for ref, document in documents.items() if document is not None}

    def _read(self) -> "dict[DocumentRef, _Changing[Document | None]]":
        past, days = self._past, _days(*self._past.window)
        refs = {
            DocumentRef(phase.firestore_collection, day.isoformat()): phase
            for phase in past.phases.values()
            for day in days
        }
        documents = past.stores.documents.get_all(refs)
        return {
            ref: _history(document, refs[ref], self._arrived(refs[ref], ref.id))
            for ref, document in documents.items()
        }

    def _arrived(self, phase: Phase, day: str) -> Mapping[str, datetime]:
        """Return when each processor had its first row of a date."""
        past, first_rows = self._past, dict[str, datetime]()
        try:
            rows = past.rows(
                name
                for name, neighbour in past.phases.items()
                if neighbour.bigquery_table == phase.bigquery_table
            )
        except StoreError:
            return {}
        date_rows = rows.get((phase.name, date.fromisoformat(day)))
        for row in date_rows.at(past.read_at) if date_rows else ():
            name, at = phase.canonical(row.processor_name), _first_seen(row)
            if name is not None and at is not None and phase.completes(row.status):
                first_rows[name] = min(at, first_rows.get(name, at))
        return first_rows

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        raise _read_only(ref, fields)

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        raise _read_only(ref, fields, version)

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace what the canary remembers, in memory."""
        if foreign := [ref for ref, _, _ in writes if ref.collection != MEMORY]:
            raise _read_only(*foreign)
        versions = {ref: document.version for ref, document in self._memory.items()}
        if any(versions.get(ref) != version for ref, _, version in writes):
            return False
        for ref, fields, version in writes:
            self._memory[ref] = Document(fields, str(int(version or 0) + 1))
        return True


def _read_only(*what: object) -> StoreError:
    return StoreError(f"nothing is written into the past: {what}")


def _history(
    document: Document, phase: Phase, arrived: Mapping[str, datetime]
) -> "_Changing[Document | None]":
    times = [at for at in _times(document.fields, phase, arrived) if at is not None]

    def make(now: datetime) -> Document | None:
        fields = fields_by(document.fields, phase, now, arrived)
        return None if fields is None else Document(fields, str(now))

    return _Changing(times, make)


# The maps of a document that hold an entry for each processor.
_ENTRIES = ("_unexpected", "_reports")
# What is written anew with each entry.
_SUMS = ("_expected", "_completed_count", "_first_completion_at")


def fields_by(
    fields: Mapping[str, Any], phase: Phase, now: datetime, arrived: Mapping[str, datetime]
) -> Mapping[str, Any] | None:
    """Return what of a document was there at `now`, as far as that is known; None for nothing.

    An entry without a time was written when its processor's row had `arrived`. A later writer may
    have changed what is expected, and the counts: these are left out where an entry is.
    """

    def is_there(at: datetime | None) -> bool:
        return at is None or at <= now

    then = {
        name: value
        for name, value in fields.items()
        if is_there(_time(name, value, fields, phase, arrived))
    }
    for name in _ENTRIES:
        if isinstance(entries := then.get(name), Mapping):
            entries_then = {
                key: entry
                for key, entry in entries.items()
                if is_there(_time_of_entry(entry, None))
            }
            then = {**then, name: entries_then}
    if then == fields:
        return fields
    then = {name: value for name, value in then.items() if name not in _SUMS and value != {}}
    own_fields = {*_ENTRIES, "_triggered", phase.pending_field}
    return then if any(not name.startswith("_") or name in own_fields for name in then) else None


def _times(
    fields: Mapping[str, Any], phase: Phase, arrived: Mapping[str, datetime]
) -> Iterable[datetime | None]:
    for name, value in fields.items():
        yield _time(name, value, fields, phase, arrived)
        if name in _ENTRIES and isinstance(value, Mapping):
            yield from (_time_of_entry(entry, None) for entry in value.values())


def _time(
    name: str,
    value: object,
    fields: Mapping[str, Any],
    phase: Phase,
    arrived: Mapping[str, datetime],
) -> datetime | None:
    """Return when a field of a document was written, None where nothing says so."""
    if name in {"_triggered", phase.pending_field}:
        return instant(fields.get(f"{name}_at"))
    return (
        None
        if name.startswith("_")
        else _time_of_entry(value, arrived.get(phase.canonical(name) or ""))
    )


def _time_of_entry(entry: object, arrived: datetime | None) -> datetime | None:
    """Return when an entry was written; an entry may be a time alone.

    It was not written before the time that it reports, nor before its row.
    """
    if isinstance(entry, Mapping) and (registered_at := instant(entry.get("registered_at"))):
        return registered_at
    time_text = (
        (entry.get("reported_at", entry.get("completed_at")))
        if isinstance(entry, Mapping)
        else entry
    )
    return max((at for at in (instant(time_text), arrived) if at is not None), default=None)


# Tables


def rows_by(rows: Sequence[ProcessorSummary], now: datetime) -> list[ProcessorSummary]:
    """Return the summaries of what was in a table at `now`.

    A summary of several rows, not all of which were there, is reduced to the first of them.
    """
    there = [row for row in rows if (first_seen := _first_seen(row)) is None or first_seen <= now]
    return [
        replace(row, last_completed_at=row.first_completed_at) if _is_later(row, now) else row
        for row in there
    ]


def _first_seen(row: ProcessorSummary) -> datetime | None:
    return row.first_visible_at or row.first_completed_at or row.last_completed_at


def _is_later(row: ProcessorSummary, now: datetime) -> bool:
    return row.last_completed_at is not None and row.last_completed_at > now


def _changing_rows(rows: Sequence[ProcessorSummary]) -> _Changing[list[ProcessorSummary]]:
    times = (
        at for row in rows for at in (_first_seen(row), row.last_completed_at) if at is not None
    )
    return _Changing(times, lambda now: rows_by(rows, now))


_Rows = Mapping[tuple[str, date | None], _Changing[list[ProcessorSummary]]]


def _by_date(rows: Iterable[ProcessorSummary]) -> _Rows:
    groups = _grouped(rows, lambda row: (row.phase, row.game_date))
    return {key: _changing_rows(group) for key, group in groups.items()}


def _rows_of(
    rows: _Rows, phases: Iterable[str], days: Iterable[date | None], now: datetime
) -> list[ProcessorSummary]:
    dates = [*days]
    return [
        row
        for name in phases
        for day in dates
        if (name, day) in rows
        for row in rows[name, day].at(now)
    ]


class _CompletionLog:
    def __init__(self, past: _Past) -> None:
        self._past = past

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        names = sorted(phases)
        return _rows_of(self._past.rows(names), names, _days(since, until), self._past.clock())

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        raise _read_only(rows, now)

    def setup(self) -> list[str]:
        raise _read_only("setup")

    def missing_columns(self) -> dict[str, list[str]]:
        return self._past.stores.completion_log.missing_columns()

    def view(self, phase: str) -> str:
        return self._past.stores.completion_log.view(phase)


class _MessageLogs:
    def __init__(self, past: _Past) -> None:
        self._past = past

    def summarise(self, phase: str, since: date, until: date) -> list[ProcessorSummary]:
        past, logs = self._past, self._past.stores.message_logs
        assert logs is not None
        rows = past.once(
            lambda: _by_date(logs.summarise(phase, *past.window)), f"message log {phase}"
        )
        now = past.clock()
        published_from = datetime.combine(since - _A_DAY, time(), UTC)
        undated = _rows_of(rows, [phase], [None], now)
        recent = [
            row
            for row in undated
            if row.last_completed_at is None or row.last_completed_at >= published_from
        ]
        return [*_rows_of(rows, [phase], _days(since, until), now), *recent]


class _FlagTables:
    def __init__(self, past: _Past) -> None:
        self._past = past

    def completion_table(self, phase: str) -> str:
        assert self._past.stores.flag_tables is not None
        return self._past.stores.flag_tables.completion_table(phase)

    def find(self, phase: str) -> list[str]:
        assert self._past.stores.flag_tables is not None
        return self._past.stores.flag_tables.find(phase)

    def read(self, table: str, phase: str, since: date, until: date) -> dict[date, Flag]:
        past, tables = self._past, self._past.stores.flag_tables
        assert tables is not None
        flags = past.once(
            lambda: tables.read(table, phase, *past.window), f"flag table {phase}", table
        )
        now = past.clock()
        return {day: _flag_by(flags[day], now) for day in _days(since, until) if day in flags}


def _flag_by(flag: Flag, now: datetime) -> Flag:
    return Flag(is_set=False) if flag.at is not None and flag.at > now else flag


class _Counts:
    """The phases' own queries: counts have no time, runs have."""

    def __init__(self, past: _Past) -> None:
        self._past = past

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        past, counts = self._past, self._past.stores.counts
        assert counts is not None
        numbers = past.once(
            lambda: counts.count(query, *past.window), _name_of(query, past.phases), query
        )
        return {day: numbers[day] for day in _days(since, until) if day in numbers}

    def runs(self, query: str, since: date, until: date) -> list[ProcessorRun]:
        past, counts, (first, last) = self._past, self._past.stores.counts, self._past.window
        assert counts is not None

        def read() -> dict[date, list[ProcessorRun]]:
            return _grouped(counts.runs(query, first, last + _A_DAY), lambda run: run.game_date)

        runs_by_date = past.once(read, _name_of(query, past.phases), query)
        runs = [run for day in _days(since, until) for run in runs_by_date.get(day, ())]
        return believed_runs(runs, past.clock(), past.read_at)


def _name_of(query: str, phases: Mapping[str, Phase]) -> str:
    """Return the name that messages have for a query, as canary/sources.py has it."""
    names = {
        phase_query: f"{what} {name}"
        for name, phase in phases.items()
        for what, phase_query in (
            ("outcome", phase.outcome_query),
            ("work", phase.work_query),
            ("runs", phase.runs_query),
        )
    }
    return names.get(query, "query")


# What deliveries, the service and the platform have left


class _Checkpoints:
    def __init__(self, past: _Past) -> None:
        self._past = past

    def read(self, game_dates: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Put together the lines of the dates, each of which is read in a search of its own."""
        game_dates = {name: days for name, days in game_dates.items() if days}
        each = {
            (name, day): self._read(name, day)
            for name, days in game_dates.items()
            for day in sorted(days)
        }
        lines = {
            _id(line): line
            for date_lines in each.values()
            for line in date_lines.checkpoints
            if line.at <= until
        }
        cuts = [date_lines.cut_at for date_lines in each.values() if date_lines.cut_at is not None]
        before = {name: each[name, min(days)].before.get(name) for name, days in game_dates.items()}
        there = {
            name: line for name, line in before.items() if line is not None and line.at <= until
        }
        return Lines(deliveries(lines.values(), game_dates), max(cuts, default=None), there)

    def _read(self, phase: str, day: date) -> Lines:
        past = self._past
        return past.once(
            lambda: past.stores.checkpoints.read({phase: [day]}, past.read_at),
            "checkpoints",
            phase,
            day,
        )


def _id(line: Checkpoint) -> Hashable:
    return (
        line.at,
        line.kind,
        line.text,
        str(line.fields.get("delivery")),
        str(line.fields.get("sequence")),
    )


def _each_day(since: datetime, until: datetime) -> Iterable[tuple[datetime, datetime]]:
    """Yield the days (UTC) of a time, each with its end.

    What is read of a day is kept for every question about it.
    """
    for day in _days(since.astimezone(UTC).date(), until.astimezone(UTC).date()):
        yield datetime.combine(day, time(), UTC), datetime.combine(day + _A_DAY, time(), UTC)


class _Requests:
    def __init__(self, past: _Past, phase: str) -> None:
        self._past, self.phase = past, phase

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        return [
            request
            for day in _each_day(since, until)
            for request in self._of(*day)
            if since <= request.at < until
        ]

    def _of(self, begin: datetime, end: datetime) -> list[Request]:
        log = self._past.stores.requests
        assert log is not None
        return self._past.once(
            lambda: log.requests(begin, end), "requests to the orchestrator", begin
        )

    def last_answer(self, before: datetime) -> datetime | None:
        log = self._past.stores.requests
        assert log is not None
        return self._past.once(
            lambda: log.last_answer(before), "last answers of the orchestrator", before
        )


class _ServiceErrors:
    def __init__(self, past: _Past, phase: str) -> None:
        self._past, self.phase = past, phase

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        pages = [self._of(*day) for day in _each_day(since, until)]
        cuts = [page.cut_at for page in pages if page.cut_at is not None]
        errors = [error for page in pages for error in page.errors if since <= error.at < until]
        return ServiceErrors(errors, max(cuts, default=None))

    def _of(self, begin: datetime, end: datetime) -> ServiceErrors:
        log = self._past.stores.service_errors
        assert log is not None
        return self._past.once(lambda: log.errors(begin, end), "errors of the orchestrator", begin)


class _ChangeLog:
    def __init__(self, past: _Past) -> None:
        self._past = past

    def changes(self, begun: Mapping[str, datetime], until: datetime) -> dict[str, Changes]:
        return {name: _changes_by(self._of(name, at), until) for name, at in begun.items()}

    def _of(self, phase: str, begun: datetime) -> Changes:
        past, log = self._past, self._past.stores.changes
        assert log is not None
        changes = past.once(
            lambda: log.changes({phase: begun}, past.read_at), "audit log", phase, begun
        )
        return changes.get(phase, Changes())


def _changes_by(phase_changes: Changes, until: datetime) -> Changes:
    changes = [change for change in phase_changes.changes if change.at < until]
    return phase_changes._replace(
        changes=changes,
        attempts=[attempt for attempt in phase_changes.attempts if attempt.at < until],
    )


class _DeadLetters:
    def __init__(self, past: _Past, phase: str) -> None:
        self._past, self.phase = past, phase

    def read(self) -> list[DeadLetter]:
        past, letters = self._past, self._past.stores.dead_letters
        assert letters is not None
        return [
            letter
            for letter in past.once(letters.read, "dead letters")
            if letter.at <= past.clock()
        ]
