"""What stands in for the Protocols' implementations in proofs, one for each.

`Watched` stands in front of any of them: each call goes through a function, which may do it, count
it, refuse it, or answer it from a record. `PlainStores` holds documents and rows as one plain
value, and `RecordingChannel` keeps what it was sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import Any, NamedTuple

import msgspec

from canary.domain.incident import NotificationKind
from canary.notify.channel import Notification, Warned
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import Document, DocumentRef, Write

STORE_OPERATIONS = ("get_all", "merge", "update_if_unchanged", "commit", "overwrite", "append")


class Operation(NamedTuple):
    """One call of a double."""

    name: str
    arguments: tuple[Any, ...]

    @property
    def writes(self) -> bool:
        """Whether it may change what is stored."""
        return self.name != "get_all"


Watch = Callable[[Operation, Callable[[], Any]], Any]


class Watched:
    """A double before `inner`: calls of `operations` go through `watch`, with what does them."""

    def __init__(
        self, inner: object, watch: Watch, operations: Sequence[str] = STORE_OPERATIONS
    ) -> None:
        self._inner, self._watch, self._operations = inner, watch, operations

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._operations:
            return method
        return lambda *given, **named: self._watch(
            Operation(name, given), lambda: method(*given, **named)
        )


class Value(msgspec.Struct, frozen=True):
    """What is stored: documents, and the rows of the completion log, equal ones once."""

    documents: Mapping[DocumentRef, Document] = msgspec.field(default_factory=dict)
    rows: tuple[CompletionRow, ...] = ()

    def fields(self, ref: DocumentRef) -> Mapping[str, Any]:
        """Return a document's fields; none where there is no document."""
        return self.documents[ref].fields if ref in self.documents else {}


class PlainStores:
    """A DocumentStore, and the writing half of a CompletionLog: each operation replaces `value`."""

    def __init__(self, value: Value | None = None) -> None:
        self.value = value or Value()

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents."""
        return {ref: self.value.documents[ref] for ref in refs if ref in self.value.documents}

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        self.overwrite(ref, _merged(self.value.fields(ref), fields))

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Set top-level `fields` if the document still has `version`."""
        return self.commit([(ref, {**self.value.fields(ref), **fields}, version)])

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace documents that have their version; equal fields keep it, as in Firestore."""
        stored = self.value.documents
        if any(
            (stored[ref].version if ref in stored else None) != version
            for ref, _, version in writes
        ):
            return False
        for ref, fields, _ in writes:
            if ref not in stored or fields != stored[ref].fields:
                self.overwrite(ref, fields)
        return True

    def overwrite(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Replace the document, whatever it is: what no DocumentStore offers."""
        stored = self.value.documents.get(ref)
        document = Document(fields, str(int(stored.version) + 1 if stored else 1))
        self.value = Value({**self.value.documents, ref: document}, self.value.rows)

    def append(self, rows: Sequence[CompletionRow], *, now: datetime | None = None) -> None:
        """Store `rows`; when is nothing that is looked at here."""
        del now
        added = [row for row in rows if row not in self.value.rows]
        self.value = Value(
            self.value.documents, tuple(sorted((*self.value.rows, *added), key=repr))
        )

    def hear(self, ref: DocumentRef, sent: object) -> None:
        """Let a channel, which is a document as well, hear something."""
        self.overwrite(ref, {"heard": (*self.value.fields(ref).get("heard", ()), sent)})


def _merged(stored: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(stored)
    for name, value in fields.items():
        inner = merged.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def plain_documents() -> Any:
    """Return documents as a plain value, which several threads may write."""
    lock = Lock()

    def locked(_: Operation, do: Callable[[], Any]) -> Any:
        with lock:
            return do()

    return Watched(PlainStores(), locked)


class RecordingChannel:
    """A channel that keeps what it was sent, and the words about the canary itself."""

    address = ""

    def __init__(self, name: str = "log") -> None:
        self.name = name
        self.sent: list[Notification] = []
        self.warnings: list[str] = []

    @property
    def kinds(self) -> list[NotificationKind]:
        """The kinds of what it was sent."""
        return [one.kind for one in self.sent]

    @property
    def told(self) -> list[tuple[NotificationKind, date]]:
        """What it was sent: of which kind, and of which date."""
        return [(one.kind, one.verdict.game_date) for one in self.sent]

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep them."""
        assert now.tzinfo is not None
        self.sent += notifications

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (the text has it)
        """Keep it."""
        assert now.tzinfo is not None
        self.warnings.append(text)


@dataclass
class StoresOf:
    """The stores of one deployment, of which a proof gives those that it needs."""

    documents: Any
    completion_log: Any
    checkpoints: Any = None
    requests: Any = None
    counts: Any = None
    message_logs: Any = None
    flag_tables: None = None
    dead_letters: None = None
    service_errors: Any = None
    changes: Any = None
    closing: Sequence[Any] = field(default=())

    def close(self) -> None:
        """Close what has connections."""
        for store in self.closing:
            store.close()
