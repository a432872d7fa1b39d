"""Documents in Firestore.

Writes are merges and compare-and-set; there is no read-modify-write transaction, because the
client retries an aborted commit five times without a pause, and loses to contention.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
    RetryError,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore
from google.cloud.firestore_v1.field_path import FieldPath

from orchestrator_resilience.errors import StoreError, store_errors
from orchestrator_resilience.stores.base import Document, DocumentRef

_TRANSIENT = (Aborted, DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable)

_UNANSWERED = (DeadlineExceeded, RetryError, ServiceUnavailable)

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

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        with self._lock:
            if self._opened is not None:
                _close(self._opened)
                self._opened = None

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents in one call."""
        with self._asking() as client:
            wanted = {_document(client, ref).path: ref for ref in refs}
            snapshots = client.get_all(
                [client.document(path) for path in wanted], retry=self._retry, timeout=self._timeout
            )
            return {
                wanted[snapshot.reference.path]: Document(snapshot.to_dict() or {}, snapshot.update_time.rfc3339())
                for snapshot in snapshots
                if snapshot.exists
            }

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        with self._asking() as client:
            _document(client, ref).set(dict(fields), merge=True, retry=self._retry, timeout=self._timeout)

    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Set top-level `fields` if the document still has `version`.

        A retry after an answer that was lost finds the document changed, by itself: False then,
        and whoever reads again sees what was written.
        """
        with self._asking() as client:
            try:
                if version is None:
                    _document(client, ref).create(dict(fields), retry=self._retry, timeout=self._timeout)
                else:
                    seen = DatetimeWithNanoseconds.from_rfc3339(version)  # type: ignore[no-untyped-call]
                    _document(client, ref).update(
                        {FieldPath(name).to_api_repr(): value for name, value in fields.items()},
                        option=client.write_option(last_update_time=seen),
                        retry=self._retry,
                        timeout=self._timeout,
                    )
            except (AlreadyExists, FailedPrecondition):
                return False
            return True

    @property
    def _client(self) -> firestore.Client:
        with self._lock:
            if self._opened is None:
                self._opened = firestore.Client(project=self._project, database=self._database)
            return self._opened

    @contextmanager
    def _asking(self) -> Iterator[firestore.Client]:
        """Lend the client; one that got no answer is given up, because its connection may be dead and not know it."""
        with _firestore_errors():
            client = self._client
        try:
            with _firestore_errors():
                yield client
        except StoreError as error:
            if isinstance(error.__cause__, _UNANSWERED):
                self._give_up(client)
            raise
        except ValueError as error:
            if self._opened is client:
                raise
            raise StoreError("Firestore: another call got no answer on the same connection") from error

    def _give_up(self, client: firestore.Client) -> None:
        with self._lock:
            if self._opened is client:
                self._opened = None
        _close(client)


def _close(client: firestore.Client) -> None:
    client._firestore_api.transport.close()  # noqa: SLF001 (its own `close` leaves the connection open)


def _document(client: firestore.Client, ref: DocumentRef) -> firestore.DocumentReference:
    return client.collection(ref.collection).document(ref.id)
