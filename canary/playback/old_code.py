"""The orchestrator of February 2026, as far as its writes go: what went wrong then, to be found again.

It called a completion tracker, which merged the processor into the progress document, and then its
own transaction, which found the processor there and took the message for a duplicate: no flag, no
line.
"""

from datetime import datetime
from typing import Any

from orchestrator_resilience.completion import Completion
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import document_id
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import CompletionLog, DocumentRef, DocumentStore


def track(
    completion: Completion, phase: Phase, documents: DocumentStore, log: CompletionLog, now: datetime
) -> DocumentRef:
    """Write what the tracker wrote, whoever has completed: the row, and a key of the document; returns its address."""
    log.append([completion_row(completion)], now=now)
    entry: dict[str, Any] = {"completed_at": completion.completed_at, "status": completion.status.value}
    if completion.processor is not None:
        for name in ("record_count", "correlation_id", "execution_id"):
            entry[name] = getattr(completion, name)
    ref = DocumentRef(phase.firestore_collection, document_id(completion.game_date))
    documents.merge(ref, {completion.processor or completion.raw_processor: entry})
    return ref
