"""What is remembered of whom was told: in the documents of the incidents, and by the process itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from canary.domain.documents import to_fields
from canary.domain.evidence import Unreadable
from canary.domain.incident import OPEN_INCIDENTS, Incident, Incidents, open_refs, read_incident
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore

# For all that a run writes; what takes longer is done without memory.
_SECONDS = 20.0
_ATTEMPTS = 3


@dataclass
class OwnMemory:
    """What a process remembers by itself between its runs, for when the documents cannot be read or written.

    `told_at`: when it last told a channel of a date. `problems`: those of its last run, and when that was.
    `unconfirmed`: what it sent and could not write down, with the run's id. `warned_of`: the refused channels that it
    has told of.
    """

    told_at: dict[tuple[str, str, date], datetime] = field(default_factory=dict)
    problems: tuple[datetime, frozenset[tuple[str, date]]] | None = None
    unconfirmed: dict[DocumentRef, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    warned_of: set[str] = field(default_factory=set)


class Memory:
    """The documents as a run has read them, and its writes, within its own time and that of the `run`.

    `failure` is why one failed, empty where none has.
    """

    def __init__(self, documents: DocumentStore, incidents: Incidents | Unreadable, run: Deadline) -> None:
        self._store = documents
        self.run = run
        self._deadline = Deadline(min(_SECONDS, run.left()))
        self.is_readable = not isinstance(incidents, Unreadable)
        self.incidents: Incidents = {} if isinstance(incidents, Unreadable) else incidents
        self.failure = incidents.reason if isinstance(incidents, Unreadable) else ""
        self.unread: set[DocumentRef] = set()

    def known(self, ref: DocumentRef) -> Incident | None:
        """Return an incident as the run has read it; None where there was none, or it cannot be understood."""
        return read_incident(self.incidents.get(ref))

    def fetch(self, refs: list[DocumentRef]) -> None:
        """Read further incidents; those that cannot be read are `unread`."""
        if refs and not self.attempt(lambda: self._add(refs)):
            self.unread |= {*refs}

    def remember(self, ref: DocumentRef, incident: Incident) -> bool:
        """Write an incident down unless another run was first; an answer that was lost is read back.

        Returns whether it stands there. Raises StoreError where nobody could write.
        """
        failure: StoreError | None = None
        for _ in range(_ATTEMPTS):
            try:
                if self._replace(ref, to_fields(incident)):
                    return True
                failure = None
            except StoreError as error:
                failure = error
            found = self._read_back(ref)
            known = read_incident(found)
            if known is not None and known.claim is not None and known.claim == incident.claim:
                return True
            if failure is None or (found.version if found else None) != self._version(ref):
                return False  # another run was first
        raise failure or StoreError(f"{ref.id} could not be written")

    def confirm(self, ref: DocumentRef, fields: Mapping[str, Any]) -> bool:
        """Write down what was sent, or that it was not; tried more than once, because else it is sent again."""
        before = self.failure
        for _ in range(_ATTEMPTS):
            if self.attempt(lambda: self._documents.merge(ref, fields)):
                self.failure = before
                return True
        return False

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge into a document, once."""
        self.attempt(lambda: self._documents.merge(ref, fields))

    def replace(self, ref: DocumentRef, fields: Mapping[str, Any]) -> bool | None:
        """Set fields of another document; returns whether this run did it, None where nobody could."""
        if not self.is_readable:
            return None
        try:
            return self._replace(ref, fields)
        except StoreError as error:
            self.failure = one_line(str(error))
            return None

    def revise(self, ref: DocumentRef, changed: Callable[[], Mapping[str, Any]]) -> None:
        """Set what `changed` makes of another document as it is known, if anything.

        Tried more than once, each time with what stands there by then: another run may be first, an answer may be lost.
        """
        before = self.failure
        for _ in range(_ATTEMPTS if self.is_readable else 0):
            fields = changed()
            if not fields or self.replace(ref, fields):
                self.failure = before
                return
            self.attempt(lambda: self._add([ref]))

    def attempt(self, act: Callable[[], object]) -> bool:
        """Do something without which the run goes on; returns whether it was done."""
        try:
            act()
        except StoreError as error:
            self.failure = one_line(str(error))
            return False
        return True

    def open_incidents(self, canary: str) -> list[DocumentRef]:
        """Return the incidents that are listed as open by this canary."""
        return open_refs(self.incidents.get(OPEN_INCIDENTS), canary)

    def _read_back(self, ref: DocumentRef) -> Document | None:
        """Read an incident again; as it was read before where that fails."""
        try:
            return self._documents.get_all([ref]).get(ref)
        except StoreError:
            return self.incidents.get(ref)

    def _add(self, refs: list[DocumentRef]) -> None:
        self.incidents = {**self.incidents, **self._documents.get_all(refs)}

    def _replace(self, ref: DocumentRef, fields: Mapping[str, Any]) -> bool:
        return self._documents.update_if_unchanged(ref, fields, self._version(ref))

    def _version(self, ref: DocumentRef) -> str | None:
        return self.incidents[ref].version if ref in self.incidents else None

    @property
    def _documents(self) -> DocumentStore:
        """The store, as long as there is time."""
        if self._deadline.is_over:
            raise StoreError(f"the incidents could not be written within {self._deadline.seconds:g} s")
        return self._store
