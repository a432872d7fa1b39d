"""A connection to Firestore that died silently: nothing arrives, and new ones work."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator_resilience import StoreError
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.proof.gate import Gate, gate

REF = DocumentRef("phase2_completion", "2026-02-09")


@pytest.fixture
def between(
    emulated: dict[str, str], cloud: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gate]:
    """Put a server that is slow to answer at first before Firestore's emulator."""
    warm = FirestoreDocuments(cloud, seconds=30)
    warm.merge(REF, {"number": 0})
    warm.close()
    with gate(emulated["FIRESTORE_EMULATOR_HOST"]) as one:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", one.address)
        yield one


def test_the_next_call_has_a_new_connection(between: Gate, cloud: str) -> None:
    """The call that finds it dead fails in its time; the next one is answered, again and again."""
    documents = FirestoreDocuments(cloud, seconds=4)
    for number in range(2):
        documents.merge(REF, {"number": number})
        between.silence()
        began = time.monotonic()
        with pytest.raises(StoreError, match="Firestore: "):
            documents.get_all([REF])
        assert time.monotonic() - began < 8
        assert documents.get_all([REF])[REF].fields == {"number": number}
    documents.close()
    assert between.connections == 3


def test_no_client_is_lent_the_connection_of_another(between: Gate, cloud: str) -> None:
    """A client that is given up for its dead connection would leave it to its successor in gRPC."""
    clients = [FirestoreDocuments(cloud, seconds=10) for _ in range(3)]
    for one in clients:
        one.get_all([REF])
    assert between.connections == 3
    for one in clients:
        one.close()


def test_calls_at_once_find_it_dead(between: Gate, cloud: str) -> None:
    """Each call is answered or fails with a StoreError, and after that all are answered."""
    documents = FirestoreDocuments(cloud, seconds=3)
    documents.merge(REF, {"number": 1})

    def read(number: int) -> bool:
        time.sleep(number / 20)
        try:
            return REF in documents.get_all([REF])
        except StoreError:
            return False

    between.silence()
    with ThreadPoolExecutor(40) as threads:
        answered = list(threads.map(read, range(40)))
        assert not answered[0]
        assert all(threads.map(read, [0] * 40))
    documents.close()
