"""Reads the sources of one canary run: one query and one batch read, however many dates there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from canary.evidence import Absent, Evidence, Seen, Source, Unreadable, Witness, read_witness
from orchestrator_resilience.checkpoints import one_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress, document_id, read_progress
from orchestrator_resilience.stores.base import CompletionLog, Document, DocumentRef, DocumentStore, ProcessorSummary

T = TypeVar("T")

Documents = dict[DocumentRef, Document]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a run reads."""

    documents: DocumentStore
    completion_log: CompletionLog


def gather(sources: Sources, wanted: Mapping[str, Sequence[date]], phases: Mapping[str, Phase]) -> list[Evidence]:
    """Read the evidence for `wanted`, game dates by phase; a source that fails is Unreadable."""
    dates = {day for days in wanted.values() for day in days}
    if not dates:
        return []
    summaries = _read(lambda: sources.completion_log.summarise(wanted, min(dates), max(dates)))
    refs = [_ref(phases[name], day) for name, days in wanted.items() for day in days]
    documents = _read(lambda: sources.documents.get_all(refs))
    return [
        Evidence(
            phase=name,
            game_date=day,
            witness=_witness(summaries, phases[name], day),
            progress=_progress(documents, phases[name], day),
        )
        for name, days in wanted.items()
        for day in days
    ]


def _witness(summaries: Seen[list[ProcessorSummary]] | Unreadable, phase: Phase, day: date) -> Source[Witness]:
    if isinstance(summaries, Unreadable):
        return summaries
    return read_witness((row for row in summaries.value if (row.phase, row.game_date) == (phase.name, day)), phase)


def _progress(documents: Seen[Documents] | Unreadable, phase: Phase, day: date) -> Source[Progress]:
    if isinstance(documents, Unreadable):
        return documents
    document = documents.value.get(_ref(phase, day))
    return Absent() if document is None else Seen(read_progress(document.fields, phase))


def _ref(phase: Phase, day: date) -> DocumentRef:
    return DocumentRef(phase.firestore_collection, document_id(day))


def _read(read: Callable[[], T]) -> Seen[T] | Unreadable:
    try:
        return Seen(read())
    except StoreError as error:
        return Unreadable(one_line(str(error)))
    except Exception as error:  # noqa: BLE001 (whatever a driver comes up with, the other sources still count)
        return Unreadable(one_line(f"{type(error).__name__}: {error}"))
