"""Documents in two databases: the pipeline's own in one, what the canary keeps in another.

So the canary may have the right to write in a database of its own, and to read the pipeline's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore, Write

# The names of the canary's collections begin so.
_CANARYS = "canary_"


class TwoDatabases:
    """A DocumentStore: collections `canary_…` are in `canary`, and all others in `pipeline`.

    A call that concerns one of the databases asks only that one, so that the other may be down.
    """

    def __init__(self, pipeline: DocumentStore, canary: DocumentStore) -> None:
        self._pipeline, self._canary = pipeline, canary

    def _store(self, ref: DocumentRef) -> DocumentStore:
        return self._canary if ref.collection.startswith(_CANARYS) else self._pipeline

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents, in one call of each database that is asked."""
        documents: dict[DocumentRef, Document] = {}
        refs = [*refs]
        for store in (self._pipeline, self._canary):
            if refs_of_store := [ref for ref in refs if self._store(ref) is store]:
                documents |= store.get_all(refs_of_store)
        return documents

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document, where it is kept."""
        self._store(ref).merge(ref, fields)

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Set top-level `fields` if the document still has `version`, where it is kept."""
        return self._store(ref).update_if_unchanged(ref, fields, version)

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace whole documents of one database.

        Raises ValueError for documents of two, which cannot be written at once.
        """
        stores = {id(store): store for store in (self._store(ref) for ref, *_ in writes)}
        if len(stores) > 1:
            raise ValueError("these documents are in two databases, and cannot be written at once")
        return all(store.commit(writes) for store in stores.values())
