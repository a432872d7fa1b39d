"""Documents in Firestore.

Writes are merges and compare-and-set; there is no read-modify-write transaction, because the
client retries an aborted commit five times without a pause, and loses to contention.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InternalServerError,
    NotFound,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport

from orchestrator_resilience.stores.base import Document, DocumentRef, Write
from orchestrator_resilience.stores.grpc_client import CHANNEL_OPTIONS, GrpcClient

_TRANSIENT = (DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable)
# Somebody else has written, is writing, or has deleted it. (Without a database, reading the version
# has failed.)
_CHANGED = (Aborted, AlreadyExists, FailedPrecondition, NotFound)


class FirestoreDocuments:
    """A DocumentStore; the version of a document is its update time.

    `seconds` bounds each call, its retries included.
    """

    def __init__(self, project: str, database: str = "(default)", *, seconds: float = 10.0) -> None:
        # The last try of a call begins when its retries end.
        self._timeout = seconds / 2
        self._retrying = partial(Retry, initial=0.05, maximum=1.0, timeout=seconds / 2)
        self._retry = self._retrying(if_exception_type(Aborted, *_TRANSIENT))
        self._grpc = GrpcClient(
            "Firestore", lambda: _Client(project=project, database=database), _close
        )

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        self._grpc.close()

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read many documents in one call."""
        with self._grpc.asking() as client:
            refs_by_path = {_document(client, ref).path: ref for ref in refs}
            snapshots = client.get_all(
                [client.document(path) for path in refs_by_path],
                retry=self._retry,
                timeout=self._timeout,
            )
            return {
                refs_by_path[snapshot.reference.path]: Document(
                    snapshot.to_dict() or {}, snapshot.update_time.rfc3339()
                )
                for snapshot in snapshots
                if snapshot.exists
            }

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge `fields` into the document."""
        with self._grpc.asking() as client:
            _document(client, ref).set(
                dict(fields), merge=True, retry=self._retry, timeout=self._timeout
            )

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Set top-level `fields` if the document still has `version`.

        A retry after an answer that was lost finds the document changed, by itself: it returns
        False, and a caller who reads again sees what was written.
        """
        with self._grpc.asking() as client:
            try:
                if version is None:
                    _document(client, ref).create(
                        dict(fields), retry=self._retry, timeout=self._timeout
                    )
                else:
                    _document(client, ref).update(
                        {FieldPath(name).to_api_repr(): value for name, value in fields.items()},
                        option=_unchanged_since(client, version),
                        retry=self._retry,
                        timeout=self._timeout,
                    )
            except (AlreadyExists, FailedPrecondition):
                return False
            return True

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace whole documents if each still has its version.

        A retry may find them changed by a try whose answer was lost: then nobody knows whose write
        that is, and it is a StoreError.
        """
        failed: list[Exception] = []
        retry = self._retrying(if_exception_type(*_TRANSIENT), on_error=failed.append)
        with self._grpc.asking() as client:
            batch = client.batch()
            for ref, fields, version in writes:
                if version is None:
                    batch.create(_document(client, ref), dict(fields))
                else:
                    batch.set(_document(client, ref), dict(fields))
                    # `set` takes no option, and `update` keeps the fields that it does not name.
                    _unchanged_since(client, version).modify_write(batch._write_pbs[-1])  # noqa: SLF001
            try:
                batch.commit(retry=retry, timeout=self._timeout)
            except _CHANGED as error:
                if failed:
                    raise failed[-1] from error
                return False
            return True


class _Transport(FirestoreGrpcTransport):
    @classmethod
    def create_channel(cls, *args: Any, **kwargs: Any) -> grpc.Channel:
        return super().create_channel(*args, **{**kwargs, "options": CHANNEL_OPTIONS})


class _Client(firestore.Client):
    """A client with a connection of its own."""

    def _firestore_api_helper(
        self, transport: object, client_class: Any, client_module: Any
    ) -> Any:
        del transport
        return super()._firestore_api_helper(_Transport, client_class, client_module)

    def _emulator_channel(self, transport: object) -> grpc.Channel:
        del transport
        return grpc.insecure_channel(self._emulator_host, options=CHANNEL_OPTIONS)


def _close(client: firestore.Client) -> None:
    client._firestore_api.transport.close()  # noqa: SLF001 (its own `close` leaves the connection open)


def _unchanged_since(client: firestore.Client, version: str) -> Any:
    updated_at = DatetimeWithNanoseconds.from_rfc3339(version)  # type: ignore[no-untyped-call]
    return client.write_option(last_update_time=updated_at)


def _document(client: firestore.Client, ref: DocumentRef) -> firestore.DocumentReference:
    return client.collection(ref.collection).document(ref.id)
