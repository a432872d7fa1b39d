"""Reads the sources of one canary run, all at once, and ends in time whatever hangs.

One query and one batch read, however many dates and phases there are, and one query more for each
outcome or work query of a phase.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from threading import Semaphore
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Absent, Evidence, Logged, Seen, Source, Traces, Unreadable, read_completion_log
from canary.domain.incident import OPEN_INCIDENTS, REFUSALS, Incidents, incident_ref, open_refs
from canary.domain.silence import SILENCES
from orchestrator_resilience.background import Background
from orchestrator_resilience.checkpoints import concerns
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line, printable
from orchestrator_resilience.progress import Progress, document_id, read_progress
from orchestrator_resilience.stores.base import (
    CountSource,
    DeadLetter,
    Document,
    DocumentRef,
    ProcessorSummary,
    Request,
    Stores,
)

T = TypeVar("T")
_Documents = dict[DocumentRef, Document]

# Of what a run may take, which deploy/common.sh adds up; what is left is for notifying people.
READ_SECONDS = 35.0
CHECKPOINTS_SECONDS = 15.0


class Gathered(msgspec.Struct, frozen=True):
    """The evidence by phase and then by date, and the incidents of the same dates."""

    evidence: tuple[Evidence, ...] = ()
    incidents: Incidents | Unreadable = msgspec.field(default_factory=dict)


def gather(
    stores: Stores,
    wanted: Mapping[str, Sequence[date]],
    phases: Mapping[str, Phase],
    *,
    also: Sequence[DocumentRef] = (),
    seconds: float = READ_SECONDS,
) -> Gathered:
    """Read the evidence for `wanted`, game dates by phase; a source that fails is Unreadable.

    `also` are further documents, which are then among the incidents.
    """
    dates = [(name, day) for name, days in wanted.items() for day in days]
    if not dates:
        return Gathered()
    since, until = min(day for _, day in dates), max(day for _, day in dates)
    refs = [*(_ref(phases[name], day) for name, day in dates), SILENCES, REFUSALS, OPEN_INCIDENTS, *also]
    gate = _gate()
    log = _Reading(
        "the completion log", lambda: _by_date(stores.completion_log.summarise(wanted, since, until), phases), gate
    )
    documents = _Reading("the progress documents", lambda: _documents(stores, refs, dates), gate)
    count = None if stores.counts is None else partial(_counted, stores.counts, since, until)
    outcomes = _counting("outcome", {name: phases[name].outcome_query for name in wanted}, count, gate)
    works = _counting("work", {name: phases[name].work_query for name in wanted}, count, gate)
    deadline = Deadline(seconds)
    logged, found = log.answer(deadline), documents.answer(deadline)
    outcome = {name: reading.answer(deadline) for name, reading in outcomes.items()}
    work = {name: reading.answer(deadline) for name, reading in works.items()}
    evidence = tuple(
        Evidence(
            phase=name,
            game_date=day,
            completion_log=_completion_log(logged, name, day),
            progress=_progress(found, phases[name], day),
            outcome=_count(outcome.get(name), day),
            work=_count(work.get(name), day),
        )
        for name, day in dates
    )
    return Gathered(evidence, found if isinstance(found, Unreadable) else found.value)


def _documents(stores: Stores, refs: Sequence[DocumentRef], dates: Sequence[tuple[str, date]]) -> _Documents:
    """Read documents, and of the incidents of `dates` those that are listed as open; without a list all of them."""
    found, own = stores.documents.get_all(refs), [incident_ref(*one) for one in dates]
    listed = open_refs(found[OPEN_INCIDENTS]) if OPEN_INCIDENTS in found else own
    further = [ref for ref in own if ref in listed]
    return {**found, **(stores.documents.get_all(further) if further else {})}


def read_traces(
    stores: Stores,
    problems: Sequence[tuple[str, date]],
    phases: Mapping[str, Phase],
    now: datetime,
    *,
    seconds: float = CHECKPOINTS_SECONDS,
) -> dict[tuple[str, date], Traces]:
    """Read what the deliveries of dates with a problem have left, all at once; what fails is Unreadable."""
    days: dict[str, list[date]] = defaultdict(list)
    for name, day in problems:
        days[name].append(day)
    gate = _gate()
    lines = {
        name: _Reading(f"the checkpoints of {name}", partial(stores.checkpoints.read, name, own), gate)
        for name, own in days.items()
    }
    requests = _reading_requests(stores, days, phases, now, gate)
    letters = _reading_dead_letters(stores, days, gate)
    deadline = Deadline(seconds)
    checkpoints = {name: reading.answer(deadline) for name, reading in lines.items()}
    requested = {name: reading.answer(deadline) for name, reading in requests.items()}
    given_up = {name: reading.answer(deadline) for name, reading in letters.items()}

    def traces(name: str, day: date) -> Traces:
        begun = phases[name].begins(day)
        return Traces(
            _those(checkpoints.get(name), lambda line: concerns(line, name, day)),
            _those(requested.get(name), lambda one: one.at >= begun),
            _those(given_up.get(name), lambda one: one.game_date == day and one.at <= now),
        )

    return {problem: traces(*problem) for problem in problems}


def _reading_requests(
    stores: Stores, days: Mapping[str, Sequence[date]], phases: Mapping[str, Phase], now: datetime, gate: "_Gate"
) -> "dict[str, _Reading[list[Request]]]":
    """Begin to read the requests since the first date began that is of the orchestrator's phase, if one is."""
    log = stores.requests if days else None
    if log is None or log.phase not in days:
        return {}
    since = phases[log.phase].begins(min(days[log.phase]))
    return {log.phase: _Reading("the requests to the orchestrator", partial(log.requests, since, now), gate)}


def _reading_dead_letters(
    stores: Stores, days: Mapping[str, Sequence[date]], gate: "_Gate"
) -> "dict[str, _Reading[list[DeadLetter]]]":
    letters = stores.dead_letters if days else None
    if letters is None or letters.phase not in days:
        return {}
    return {letters.phase: _Reading("the dead letters", letters.read, gate)}


def _those(source: Seen[list[T]] | Unreadable | None, wanted: Callable[[T], bool]) -> Source[Sequence[T]]:
    """Return what of a source is `wanted`; None is Absent."""
    if isinstance(source, Seen):
        return Seen([one for one in source.value if wanted(one)])
    return Absent() if source is None else source


# So many questions are asked at once; the others wait for their turn, within the time of all.
_AT_ONCE = 8
_Gate = Semaphore


def _gate() -> _Gate:
    return Semaphore(_AT_ONCE)


class _Reading(Generic[T]):
    """Reads one source from the beginning on; `name` is how people are told of it."""

    def __init__(self, name: str, read: Callable[[], T], gate: _Gate) -> None:
        self._name = name
        self._reading = Background(lambda: _read(read, gate))

    def answer(self, deadline: Deadline) -> Seen[T] | Unreadable:
        """Return the answer, once; what has not answered by then is Unreadable."""
        try:
            return self._reading.answer(deadline)
        except TimeoutError as error:
            return Unreadable(f"{self._name}: {error}")


def _read(read: Callable[[], T], gate: _Gate) -> Seen[T] | Unreadable:
    try:
        with gate:
            return Seen(read())
    except StoreError as error:
        return Unreadable(one_line(str(error)))
    except Exception as error:  # noqa: BLE001 (whatever a driver comes up with, the other sources still count)
        return Unreadable(one_line(f"{type(error).__name__}: {error}"))


_Count = Callable[[str], dict[date, int]]


def _counting(
    what: str, queries: Mapping[str, str | None], count: _Count | None, gate: _Gate
) -> dict[str, _Reading[dict[date, int]]]:
    """Begin the queries, by phase; left out where a phase has none, or nothing can answer it."""
    if count is None:
        return {}
    asked = {name: query for name, query in queries.items() if query is not None}
    return {name: _Reading(f"{what} of {name}", partial(count, query), gate) for name, query in asked.items()}


def _counted(counts: CountSource, since: date, until: date, query: str) -> dict[date, int]:
    return counts.count(query, since, until)


_ByDate = Mapping[tuple[str, date], Source[Logged]]


def _by_date(summaries: Sequence[ProcessorSummary], phases: Mapping[str, Phase]) -> _ByDate:
    rows: dict[tuple[str, date], list[ProcessorSummary]] = defaultdict(list)
    for row in summaries:
        rows[row.phase, row.game_date].append(_harmless(row))
    return {
        (name, day): _understood(
            f"the completion log of {day}", partial(read_completion_log, own, phases[name].on(day))
        )
        for (name, day), own in rows.items()
    }


def _harmless(row: ProcessorSummary) -> ProcessorSummary:
    """Return a row whose texts can be shown as they are."""
    return replace(
        row,
        processor_name=printable(row.processor_name),
        last_status=row.last_status and printable(row.last_status),
        trigger_reason=row.trigger_reason and printable(row.trigger_reason),
    )


def _completion_log(answer: Seen[_ByDate] | Unreadable, phase: str, day: date) -> Source[Logged]:
    return answer if isinstance(answer, Unreadable) else answer.value.get((phase, day), Absent())


def _progress(answer: Seen[_Documents] | Unreadable, phase: Phase, day: date) -> Source[Progress]:
    if isinstance(answer, Unreadable):
        return answer
    document = answer.value.get(_ref(phase, day))
    if document is None:
        return Absent()

    def read() -> Seen[Progress]:
        return Seen(read_progress(printable(document.fields), phase.on(day)))

    return _understood(f"the progress document of {day}", read)


def _understood(what: str, read: Callable[[], Source[T]]) -> Source[T]:
    """Return what a source says of one date; what nobody has foreseen is that date's alone."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 (whatever somebody has written there, the other dates still count)
        return Unreadable(one_line(f"{what} cannot be understood: {type(error).__name__}: {error}"))


def _count(answer: Seen[dict[date, int]] | Unreadable | None, day: date) -> Source[int]:
    """Return the number of one date: 0 where the query does not mention it, Absent where there is no query."""
    if answer is None:
        return Absent()
    return answer if isinstance(answer, Unreadable) else Seen(answer.value.get(day, 0))


def _ref(phase: Phase, day: date) -> DocumentRef:
    return DocumentRef(phase.firestore_collection, document_id(day))
