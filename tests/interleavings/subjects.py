"""What is explored: today's orchestrator as it is, and orchestrators that are wrong, which have to be found.

The wrong ones are today's with something around it: around its stores, or around `deliver`. So they stay wrong
whatever its inside becomes.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from orchestrator_resilience import CheckpointLogger, Completion
from orchestrator_resilience.background import AtOnce, Beside
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import DeliveryError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import read_progress, registration_fields, trigger_fields
from orchestrator_resilience.rows import CompletionRow, completion_row
from orchestrator_resilience.stores.base import CompletionLog, Document, DocumentRef, DocumentStore
from tests.interleavings.explorer import Deliver, Subject
from tests.interleavings.messages import REF
from tests.interleavings.values import Stores

Clock = Callable[[], datetime]
T = TypeVar("T")


def today(
    phase: Phase,
    stores: Stores,
    clock: Clock,
    *,
    documents: DocumentStore | None = None,
    completion_log: CompletionLog | None = None,
    beside: Beside = AtOnce,
) -> Deliver:
    """Return the orchestrator's `deliver` as it is; on other stores where they are given."""
    checkpoints = CheckpointLogger(phase, lambda _: None, enabled=True, clock=clock)
    return Orchestrator(phase, documents or stores, completion_log or stores, checkpoints, clock, beside=beside).deliver


class _Last(Generic[T]):
    """An action beside the others that gets its turn only when it is waited for."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action

    def answer(self, _: Deadline) -> T:
        """Do it."""
        return self._action()


def with_rows_last(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Return the orchestrator, with rows as late as the thread beside it can make them."""
    return today(phase, stores, clock, beside=_Last)


class _Documents:
    """Documents of which a wrong orchestrator changes one operation."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read."""
        return self.stores.get_all(refs)

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge."""
        self.stores.merge(ref, fields)

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Compare and set."""
        return self.stores.update_if_unchanged(ref, fields, version)


class _Overwriting(_Documents):
    def __init__(self, stores: Stores) -> None:
        super().__init__(stores)
        self._known: dict[DocumentRef, Document] = {}

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read, and remember it."""
        self._known = super().get_all(refs)
        return self._known

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Write the whole document back as it was read, and changed."""
        del version
        known = self._known.get(ref)
        self.stores.overwrite(ref, {**(known.fields if known else {}), **fields})
        return True


def overwrites(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Registers with a textbook read-modify-write of the document, which no version guards."""
    return today(phase, stores, clock, documents=_Overwriting(stores))


class _Unguarded(_Documents):
    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Set the flag, whatever the version; the rest as it should be."""
        if "_triggered" not in fields:
            return super().update_if_unchanged(ref, fields, version)
        self.stores.merge(ref, fields)
        return True


def sets_unguarded(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Sets the flag without comparing the version."""
    return today(phase, stores, clock, documents=_Unguarded(stores))


class _Merging(_Documents):
    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Merge what should hold only for the document as it was read."""
        if "_triggered" in fields:
            return super().update_if_unchanged(ref, fields, version)
        self.stores.merge(ref, fields)
        return True


def decides_on_the_first_read(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Decides to wait on what it read before it registered."""
    return today(phase, stores, clock, documents=_Merging(stores))


def counts(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Keeps who is unexpected as well, and counts instead of comparing sets."""
    inner = today(phase, stores, clock)

    def deliver(event: object) -> None:
        inner(event)
        completion = Completion.from_event(event, phase)
        if completion.processor is None:
            stores.merge(REF, {"_unexpected": {completion.raw_processor: True}})
            document = stores.get_all([REF])[REF]
            count = sum(key[0] != "_" for key in document.fields) + len(document.fields["_unexpected"])
            if count >= len(phase.expected) and "_triggered" not in document.fields:
                progress = read_progress(document.fields, phase)
                fields = trigger_fields(progress, event_id=completion.event_id, now=clock())
                stores.update_if_unchanged(REF, fields, document.version)

    return deliver


def swallows(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Acknowledges what could not be stored."""
    inner = today(phase, stores, clock)

    def deliver(event: object) -> None:
        with contextlib.suppress(DeliveryError):
            inner(event)

    return deliver


def short_circuits(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Takes its own registration for that of an earlier message, as in February 2026."""
    inner = today(phase, stores, clock)

    def deliver(event: object) -> None:
        completion = Completion.from_event(event, phase)
        stores.append([completion_row(completion)], now=clock())
        stores.merge(REF, registration_fields(read_progress({}, phase), completion, clock()))
        document = stores.get_all([REF]).get(REF)
        if document is None or completion.processor not in document.fields:
            inner(event)

    return deliver


class _DatingAnew(Stores):
    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Append what says that it happened now."""
        super().append([replace(row, completed_at=now) if row.is_triggered else row for row in rows], now=now)


def dates_its_row_anew(phase: Phase, stores: Stores, clock: Clock) -> Deliver:
    """Writes into the flag's row when the row was made, not what the document says."""
    return today(phase, stores, clock, completion_log=_DatingAnew(stores.ask))


SUBJECTS: dict[str, Subject] = {
    "today": today,
    "with-rows-last": with_rows_last,
    "overwrites": overwrites,
    "sets-unguarded": sets_unguarded,
    "decides-on-the-first-read": decides_on_the_first_read,
    "counts": counts,
    "swallows": swallows,
    "short-circuits": short_circuits,
    "dates-its-row-anew": dates_its_row_anew,
}
