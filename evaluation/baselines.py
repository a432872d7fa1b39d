"""Three simpler policies, judged in the same runs on the same data; none remembers what it said before."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime

import msgspec

from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import document_id, read_progress
from orchestrator_resilience.stores.base import Document, DocumentRef, ProcessorSummary


class View(msgspec.Struct, frozen=True):
    """What one canary run has read of the completion log and of the progress documents."""

    phase: Phase
    rows: Sequence[ProcessorSummary]
    documents: Mapping[DocumentRef, Document]

    def fields(self, day: date) -> Mapping[str, object]:
        """The fields of a date's progress document."""
        document = self.documents.get(DocumentRef(self.phase.firestore_collection, document_id(day)))
        return document.fields if document else {}


def first_completion(view: View, day: date, now: datetime) -> bool:
    """Tell whether all have completed and the flag is unset 30 minutes after the *first* completion."""
    first: dict[str, datetime] = {}
    for row in view.rows:
        processor = view.phase.canonical(row.processor_name)
        if row.game_date == day and processor is not None and row.first_completed_at is not None:
            first[processor] = min(row.first_completed_at, first.get(processor, row.first_completed_at))
    complete = first.keys() >= view.phase.expected
    unset = view.fields(day).get("_triggered") is not True
    return complete and unset and now - min(first.values()) >= view.phase.untriggered_after


def counting_keys(view: View, day: date, now: datetime) -> bool:
    """Tell whether the document has as many keys as are expected, whoever they are, and no flag after 30 minutes."""
    fields = view.fields(day)
    if fields.get("_triggered") is True or sum(not key.startswith("_") for key in fields) < len(view.phase.expected):
        return False
    registered = read_progress(fields, view.phase).registered.values()
    times = [registration.completed_at for registration in registered if registration.completed_at]
    return bool(times) and now - max(times) >= view.phase.untriggered_after


def dead_mans_switch(view: View, day: date, now: datetime) -> bool:
    """Tell whether the flag is unset at the date's deadline."""
    return now >= view.phase.deadline(day) and view.fields(day).get("_triggered") is not True


BASELINES: Mapping[str, Callable[[View, date, datetime], bool]] = {
    "30 min from the first completion": first_completion,
    "5 keys or more": counting_keys,
    "dead man's switch": dead_mans_switch,
}
