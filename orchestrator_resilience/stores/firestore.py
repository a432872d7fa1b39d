"""Documents in Firestore.

Writes are merges and compare-and-set; there is no read-modify-write transaction, because the
client retries an aborted commit five times without a pause, and loses to contention.
"""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    GoogleAPIError,
    InternalServerError,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore
from google.cloud.firestore_v1.field_path import FieldPath

from orchestrator_resilience.errors import store_errors
from orchestrator_resilience.stores.base import Document, DocumentRef

_TRANSIENT = (Aborted, DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable)

_firestore_errors = partial(store_errors, "Firestore", GoogleAPIError, GoogleAuthError)


class FirestoreDocuments:
    """A DocumentStore; the version of a document is its update time.

    The client is made at the first call and kept. `seconds` bounds each call, its retries included.
    """

    def __init__(self, project: str, database: str = "(default)", *, seconds: float = 10.0) -> None:
        self._project, self._database = project, database
        # The last try of a call begins when its retries end.
        self._timeout = seconds / 2
        self._retry = Retry(if_exception_type(*_TRANSIENT), initial=0.05, maximum=1.0, timeout=seconds / 2)
        self._lock = threading.Lock()
        self._opened: firestore.Client | None = None

    @property
    def _client(self) -> firestore.Client:
        with self._lock:
            if self._opened is None:
                self._opened = firestore.Client(project=self._project, database=self._database)
            return self._opened

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()  # type: ignore[no-untyped-call]
                self._opened = None

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents in one call."""
        with _firestore_errors():
            wanted = {self._document(ref).path: ref for ref in refs}
            snapshots = self._client.get_all(
                [self._client.document(path) for path in wanted], retry=self._retry, timeout=self._timeout
            )
            return {
                wanted[snapshot.reference.path]: Document(snapshot.to_dict() or {}, snapshot.update_time.rfc3339())
                for snapshot in snapshots
                if snapshot.exists
            }

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        with _firestore_errors():
            self._document(ref).set(dict(fields), merge=True, retry=self._retry, timeout=self._timeout)

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Set top-level `fields` if the document still has `version`.

        A retry after an answer that was lost finds the document changed, by itself: False then,
        and whoever reads again sees what was written.
        """
        with _firestore_errors():
            try:
                if version is None:
                    self._document(ref).create(dict(fields), retry=self._retry, timeout=self._timeout)
                else:
                    seen = DatetimeWithNanoseconds.from_rfc3339(version)  # type: ignore[no-untyped-call]
                    self._document(ref).update(
                        {FieldPath(name).to_api_repr(): value for name, value in fields.items()},
                        option=self._client.write_option(last_update_time=seen),
                        retry=self._retry,
                        timeout=self._timeout,
                    )
            except (AlreadyExists, FailedPrecondition):
                return False
            return True

    def _document(self, ref: DocumentRef) -> firestore.DocumentReference:
        return self._client.collection(ref.collection).document(ref.id)
