"""Reads the sources of one canary run, all at once, and ends in time whatever hangs.

One query and one batch read, however many dates and phases there are, and one query more for each
outcome or work query of a phase.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from canary.domain.evidence import Absent, Evidence, Logged, Seen, Source, Unreadable, read_completion_log
from canary.domain.incident import Incidents, incident_ref
from canary.domain.silence import SILENCES
from orchestrator_resilience.checkpoints import Checkpoint, one_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress, document_id, read_progress
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary, Stores

# Of the 60 s that a run may take; what is left is for notifying people.
READ_SECONDS = 35.0
CHECKPOINTS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """The evidence by phase and then by date, and the incidents of the same dates."""

    evidence: tuple[Evidence, ...] = ()
    incidents: Incidents | Unreadable = field(default_factory=dict)


def gather(
    stores: Stores,
    wanted: Mapping[str, Sequence[date]],
    phases: Mapping[str, Phase],
    *,
    seconds: float = READ_SECONDS,
) -> Gathered:
    """Read the evidence for `wanted`, game dates by phase; a source that fails is Unreadable."""
    dates = {day for days in wanted.values() for day in days}
    if not dates:
        return Gathered()
    since, until = min(dates), max(dates)
    refs = [_ref(phases[name], day) for name, days in wanted.items() for day in days]
    refs += [SILENCES, *(incident_ref(name, day) for name, days in wanted.items() for day in days)]
    reads: dict[str, Callable[[], Any]] = {
        "the completion log": lambda: _logged(stores.completion_log.summarise(wanted, since, until), phases),
        "the progress documents": lambda: stores.documents.get_all(refs),
    }
    counts = stores.counts
    if counts is not None:
        for name in wanted:
            for what, query in _queries(phases[name]).items():
                reads[f"{what} of {name}"] = lambda query=query: counts.count(query, since, until)  # type: ignore[misc]
    answers = _read_all(reads, seconds)
    documents = answers["the progress documents"]
    evidence = tuple(
        Evidence(
            phase=name,
            game_date=day,
            completion_log=_completion_log(answers["the completion log"], phases[name], day),
            progress=_progress(documents, phases[name], day),
            outcome=_count(answers.get(f"outcome of {name}"), day),
            work=_count(answers.get(f"work of {name}"), day),
        )
        for name, days in wanted.items()
        for day in days
    )
    return Gathered(evidence, documents if isinstance(documents, Unreadable) else documents.value)


def read_checkpoints(
    stores: Stores, problems: Sequence[tuple[str, date]], *, seconds: float = CHECKPOINTS_SECONDS
) -> dict[tuple[str, date], Source[Sequence[Checkpoint]]]:
    """Read the checkpoints of dates with a problem, all at once; what fails is Unreadable."""
    reads = {
        f"the checkpoints of {name} {day}": lambda name=name, day=day: stores.checkpoints.read(name, day)
        for name, day in problems
    }
    answers = _read_all(reads, seconds)
    return dict(zip(problems, answers.values(), strict=True))


def _queries(phase: Phase) -> dict[str, str]:
    queries = {"outcome": phase.outcome_query, "work": phase.work_query}
    return {what: query for what, query in queries.items() if query is not None}


def _read_all(reads: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Seen[Any] | Unreadable]:
    """Run all `reads` at once; what has not answered after `seconds` is Unreadable.

    Threads cannot be stopped: one that hangs is left behind as a daemon, and ends with its own deadline.
    """
    done: SimpleQueue[tuple[str, Seen[Any] | Unreadable]] = SimpleQueue()
    for name, read in reads.items():
        Thread(target=lambda name=name, read=read: done.put((name, _read(read))), daemon=True).start()
    answers: dict[str, Seen[Any] | Unreadable] = {
        name: Unreadable(f"{name}: no answer within {seconds:g} s") for name in reads
    }
    give_up = time.monotonic() + seconds
    for _ in reads:
        try:
            name, answer = done.get(timeout=max(0.0, give_up - time.monotonic()))
        except Empty:
            break
        answers[name] = answer
    return answers


def _read(read: Callable[[], Any]) -> Seen[Any] | Unreadable:
    try:
        return Seen(read())
    except StoreError as error:
        return Unreadable(one_line(str(error)))
    except Exception as error:  # noqa: BLE001 (whatever a driver comes up with, the other sources still count)
        return Unreadable(one_line(f"{type(error).__name__}: {error}"))


def _logged(
    summaries: Sequence[ProcessorSummary], phases: Mapping[str, Phase]
) -> dict[tuple[str, date], Source[Logged]]:
    rows: dict[tuple[str, date], list[ProcessorSummary]] = defaultdict(list)
    for row in summaries:
        rows[row.phase, row.game_date].append(row)
    return {key: read_completion_log(own, phases[key[0]]) for key, own in rows.items()}


def _completion_log(answer: Seen[Any] | Unreadable, phase: Phase, day: date) -> Source[Logged]:
    if isinstance(answer, Unreadable):
        return answer
    found: Source[Logged] = answer.value.get((phase.name, day), Absent())
    return found


def _progress(answer: Seen[Any] | Unreadable, phase: Phase, day: date) -> Source[Progress]:
    if isinstance(answer, Unreadable):
        return answer
    document = answer.value.get(_ref(phase, day))
    return Absent() if document is None else Seen(read_progress(document.fields, phase))


def _count(answer: Seen[Any] | Unreadable | None, day: date) -> Source[int]:
    """A date that the query does not mention has none."""
    if answer is None:
        return Absent()
    return answer if isinstance(answer, Unreadable) else Seen(answer.value.get(day, 0))


def _ref(phase: Phase, day: date) -> DocumentRef:
    return DocumentRef(phase.firestore_collection, document_id(day))
