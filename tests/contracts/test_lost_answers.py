"""Whether a commit to Firestore was mine, another's, or unknown, whatever became of its answer.

The server is the emulator; between it and the client's own retries, an answer is put in the place
of the real one.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.gapic_v1.method import wrap_method

from orchestrator_resilience import StoreError
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.proof.gate import Failure, gate

REF = DocumentRef("canary", "phase2")
OTHER = DocumentRef("canary", "phase3")
TRANSIENT = [DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable]
Answering = Callable[..., None]


@pytest.fixture
def documents(cloud: str) -> Iterator[FirestoreDocuments]:
    with closing(FirestoreDocuments(cloud)) as one:
        one.merge(REF, {"n": 0})
        yield one


@pytest.fixture
def answering(documents: FirestoreDocuments) -> Answering:
    """Return what answers the next commits with `error`, each of them `written` or not."""
    transport = documents._grpc.client._firestore_api.transport
    real = transport.commit

    def answer_with(
        error: type[GoogleAPICallError], times: int = 1, *, written: bool = False
    ) -> None:
        left = [error("injected")] * times

        def commit(*args: Any, **named: Any) -> Any:
            answer = real(*args, **named) if written or not left else None
            if left:
                raise left.pop()
            return answer

        transport._wrapped_methods[real] = wrap_method(commit)  # type: ignore[no-untyped-call]

    return answer_with


def commit(documents: FirestoreDocuments) -> bool:
    seen = documents.get_all([REF])[REF].version
    return documents.commit([(REF, {"n": 1}, seen), (OTHER, {"n": 1}, None)])


def stored(documents: FirestoreDocuments) -> list[Any]:
    found = documents.get_all([REF, OTHER])
    return [found[ref].fields["n"] if ref in found else None for ref in (REF, OTHER)]


@pytest.mark.parametrize("error", TRANSIENT)
def test_what_was_not_taken_is_sent_again(
    documents: FirestoreDocuments, answering: Answering, error: type[GoogleAPICallError]
) -> None:
    """It holds at the second try."""
    answering(error)
    assert commit(documents)
    assert stored(documents) == [1, 1]


@pytest.mark.parametrize("error", TRANSIENT)
def test_its_own_write_is_nobody_elses(
    documents: FirestoreDocuments, answering: Answering, error: type[GoogleAPICallError]
) -> None:
    """Where a retry meets its own write, the outcome is unknown, and not False."""
    answering(error, written=True)
    with pytest.raises(StoreError, match=f"Firestore: {error.__name__}: "):
        commit(documents)
    assert stored(documents) == [1, 1]


@pytest.mark.parametrize("error", [Aborted, NotFound])
def test_who_is_in_the_way_has_written(
    documents: FirestoreDocuments, answering: Answering, error: type[GoogleAPICallError]
) -> None:
    """Another one's commit that is not over, or the document is gone: read again."""
    answering(error)
    assert not commit(documents)
    assert stored(documents) == [0, None]


def test_a_refusal_is_an_error(documents: FirestoreDocuments, answering: Answering) -> None:
    """Nobody has changed anything."""
    answering(PermissionDenied)
    with pytest.raises(StoreError, match="Firestore: PermissionDenied: "):
        commit(documents)
    assert stored(documents) == [0, None]


def test_what_no_document_holds_is_refused(documents: FirestoreDocuments) -> None:
    """The programming error comes out as one, and nothing is written."""
    with pytest.raises(TypeError):
        documents.commit(
            [(OTHER, {"n": 1}, None), (DocumentRef("canary", "odd"), {"n": object()}, None)]
        )
    assert stored(documents) == [0, None]


@pytest.mark.parametrize("failure", [Failure.REFUSES, Failure.HANGS, Failure.RESETS])
def test_no_commit_where_nobody_answers(
    emulated: dict[str, str],
    cloud: str,
    documents: FirestoreDocuments,
    monkeypatch: pytest.MonkeyPatch,
    failure: Failure,
) -> None:
    """A StoreError in its time; once there is a server again, what was read before still holds."""
    seen = documents.get_all([REF])[REF].version
    with gate(emulated["FIRESTORE_EMULATOR_HOST"]) as between:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", between.address)
        with closing(FirestoreDocuments(cloud, seconds=2)) as cut_off:
            between.failure = failure
            with pytest.raises(StoreError, match="Firestore: "):
                cut_off.commit([(REF, {"n": 1}, seen)])
            between.failure = None
    assert stored(documents) == [0, None]
    assert commit(documents)
