"""Both stores as one plain value, and every operation on it as a function: one atomic step.

`Stores` is what a delivery is given. It hands each operation to a function, which does it at once (`doing`, to which
the contract suite is applied) or answers it from a record (the explorer).
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import Document, DocumentRef, ProcessorSummary


class Value(msgspec.Struct, frozen=True):
    """What is stored: documents, and the rows of the completion log, equal ones once."""

    documents: Mapping[DocumentRef, Document] = msgspec.field(default_factory=dict)
    rows: tuple[CompletionRow, ...] = ()


class Operation(NamedTuple):
    """One call of a store."""

    name: str
    arguments: tuple[Any, ...]

    @property
    def writes(self) -> bool:
        """Whether it may change what is stored."""
        return self.name != "get_all"

    def apply(self, value: Value) -> tuple[Value, Any]:
        """Return what is stored after it, and its answer."""
        return _OPERATIONS[self.name](value, *self.arguments)


def _get_all(value: Value, refs: Sequence[DocumentRef]) -> tuple[Value, Any]:
    return value, {ref: value.documents[ref] for ref in refs if ref in value.documents}


def _merge(value: Value, ref: DocumentRef, new: Mapping[str, Any]) -> tuple[Value, None]:
    known = value.documents.get(ref)
    return _put(value, ref, _merged(known.fields if known else {}, new)), None


def _update_if_unchanged(
    value: Value, ref: DocumentRef, new: Mapping[str, Any], version: str | None
) -> tuple[Value, bool]:
    known = value.documents.get(ref)
    if (known.version if known else None) != version:
        return value, False
    return _put(value, ref, {**(known.fields if known else {}), **new}), True


def _overwrite(value: Value, ref: DocumentRef, new: Mapping[str, Any]) -> tuple[Value, None]:
    return _put(value, ref, new), None


def _append(value: Value, rows: Sequence[CompletionRow]) -> tuple[Value, None]:
    added = tuple(row for row in rows if row not in value.rows)
    return Value(value.documents, tuple(sorted((*value.rows, *added), key=repr))), None


_OPERATIONS: dict[str, Callable[..., tuple[Value, Any]]] = {
    "get_all": _get_all,
    "merge": _merge,
    "update_if_unchanged": _update_if_unchanged,
    "overwrite": _overwrite,
    "append": _append,
}


def _put(value: Value, ref: DocumentRef, new: Mapping[str, Any]) -> Value:
    known = value.documents.get(ref)
    document = Document(new, str(int(known.version) + 1 if known else 1))
    return Value({**value.documents, ref: document}, value.rows)


def _merged(known: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(known)
    for name, value in new.items():
        inner = merged.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


class Stores:
    """A DocumentStore and a CompletionLog whose every operation `ask` answers."""

    def __init__(self, ask: Callable[[Operation], Any]) -> None:
        self.ask = ask

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents."""
        found: dict[DocumentRef, Document] = self.ask(Operation("get_all", (tuple(refs),)))
        return dict(found)

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        self.ask(Operation("merge", (ref, fields)))

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Set top-level `fields` if the document still has `version`."""
        return bool(self.ask(Operation("update_if_unchanged", (ref, fields, version))))

    def overwrite(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Replace the document whatever it is: what no DocumentStore offers, for orchestrators that are wrong."""
        self.ask(Operation("overwrite", (ref, fields)))

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Store `rows`; when is nothing that is looked at here."""
        del now
        self.ask(Operation("append", (tuple(rows),)))

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Nothing that a delivery asks for."""
        raise NotImplementedError

    def setup(self) -> list[str]:
        """Nothing that a delivery asks for."""
        raise NotImplementedError

    def missing_columns(self) -> dict[str, list[str]]:
        """Nothing that a delivery of a completion asks for."""
        raise NotImplementedError


def doing() -> Stores:
    """Return stores that do each operation at once, and start empty."""
    value, lock = Value(), threading.Lock()

    def ask(operation: Operation) -> Any:
        nonlocal value
        with lock:
            value, answer = operation.apply(value)
        return answer

    return Stores(ask)


def frozen(value: Any) -> Any:
    """Return a hashable equal of a value, the same for equal values."""
    if isinstance(value, Mapping):
        return frozenset((key, frozen(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(frozen(inner) for inner in value)
    if isinstance(value, msgspec.Struct):
        return tuple(frozen(getattr(value, name)) for name in value.__struct_fields__)
    return value
