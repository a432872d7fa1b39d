"""What a canary remembers, as a run has read it, and how it is written: only over what was read."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, TypeVar

from canary.domain.evidence import Unreadable
from canary.domain.incident import DateMemory
from canary.domain.remembered import (
    Documents,
    Runs,
    canary_ref,
    month_fields,
    month_ref,
    months_of,
    read_month,
    read_runs,
    runs_fields,
)
from canary.domain.silence import People, people_ref, read_people
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore

T = TypeVar("T")
# For all that a run reads again and writes; a run that needs longer goes on without memory.
MEMORY_SECONDS = 20.0


class Memory:
    """The documents of one canary in one run.

    `failure` is why something could not be read or written, empty where all could. The calls of
    the store may take 20 seconds together, and end by the `deadline` of the run: a later call is a
    StoreError, as is one that the store does not answer.
    """

    def __init__(
        self,
        store: DocumentStore,
        documents: Documents | Unreadable,
        canary: str,
        now: datetime,
        deadline: Deadline,
    ) -> None:
        self._store, self._canary, self._now, self._deadline = store, canary, now, deadline
        self._seconds_left = MEMORY_SECONDS
        self.is_readable = not isinstance(documents, Unreadable)
        self.failure = documents.reason if isinstance(documents, Unreadable) else ""
        self._documents: dict[DocumentRef, Document] = (
            {} if isinstance(documents, Unreadable) else {**documents}
        )

    @property
    def runs(self) -> Runs:
        """What is remembered of the canary itself."""
        return read_runs(self._documents.get(canary_ref(self._canary)))

    @property
    def people(self) -> People:
        """What people said."""
        return read_people(self._documents.get(people_ref(self._canary)))

    def dates(self, phase: str) -> dict[date, DateMemory]:
        """Return what is remembered of the dates of a phase, in the months that were read."""
        return {
            day: memory
            for ref in months_of(self._documents, self._canary, phase)
            for day, memory in read_month(self._documents[ref], self._now).items()
            if ref == month_ref(self._canary, phase, f"{day:%Y-%m}")
        }

    def commit(self, phase: str, changes: Mapping[date, DateMemory]) -> bool:
        """Write what has changed in a phase, unless another run has written meanwhile.

        Where it was not written, or that is not known, the phase is read again, and False returned.
        """
        months: dict[DocumentRef, dict[date, DateMemory]] = {}
        for day, memory in changes.items():
            months.setdefault(month_ref(self._canary, phase, f"{day:%Y-%m}"), {})[day] = memory
        fields = {
            ref: month_fields(self._documents.get(ref), dates) for ref, dates in months.items()
        }
        return self._commit(fields, {*months_of(self._documents, self._canary, phase), *months})

    def commit_runs(self, runs: Runs) -> bool:
        """Write what is remembered of the canary itself, as `commit` does."""
        ref = canary_ref(self._canary)
        return self._commit({ref: runs_fields(runs)}, [ref])

    def read_again(self, phase: str, changes: Iterable[date]) -> None:
        """Read a phase again, with the months of `changes`."""
        months = {month_ref(self._canary, phase, f"{day:%Y-%m}") for day in changes}
        self._read({*months_of(self._documents, self._canary, phase), *months})

    def _commit(
        self, changes: Mapping[DocumentRef, Mapping[str, Any]], refs: Iterable[DocumentRef]
    ) -> bool:
        self.failure = ""
        if not changes:
            return True
        versions = {ref: document.version for ref, document in self._documents.items()}
        writes = [(ref, fields, versions.get(ref)) for ref, fields in changes.items()]
        try:
            if self._asked(lambda store: store.commit(writes)):
                return True
        except StoreError as error:
            self.failure = str(error)
        self._read(refs)
        return False

    def _read(self, refs: Iterable[DocumentRef]) -> None:
        refs = [*refs]
        documents = self._asked(lambda store: store.get_all(refs))
        self._documents = {
            ref: document for ref, document in self._documents.items() if ref not in refs
        } | documents

    def _asked(self, ask: Callable[[DocumentStore], T]) -> T:
        """Return what the store answers; only its own time counts, not that of the channels."""
        deadline = Deadline(self._seconds_left)
        if deadline.is_over or self._deadline.is_over:
            raise StoreError(f"memory could not be read and written within {MEMORY_SECONDS:g} s")
        try:
            return ask(self._store)
        finally:
            self._seconds_left = deadline.left()
