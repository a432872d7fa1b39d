"""What every DocumentStore does."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from orchestrator_resilience.stores.base import DocumentRef, DocumentStore

REF = DocumentRef("phase2_completion", "2026-02-09")
OTHER = DocumentRef("phase2_completion", "2026-02-10")
FIELDS = {
    "p2_odds_game_lines": {
        "completed_at": datetime(2026, 2, 10, 6, 41, 0, 123456, tzinfo=UTC),
        "status": "success",
        "record_count": 2**62,
        "correlation_id": None,
    },
    "_expected": ["a", "b"],
    "_triggered": False,
    "_ratio": 0.5,
    "_text": "é\n\u2028",
}


def test_what_is_merged_is_read(documents: DocumentStore) -> None:
    """Every type of value comes back as it was."""
    documents.merge(REF, FIELDS)
    assert documents.get_all([REF, OTHER])[REF].fields == FIELDS


@pytest.mark.parametrize("odd", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_any_time_is_read(documents: DocumentStore, odd: datetime) -> None:
    """Also one that cannot be: what follows from it is for the readers to say."""
    documents.merge(REF, {"_triggered_at": odd})
    assert documents.get_all([REF])[REF].fields == {"_triggered_at": odd}


def test_a_document_that_is_not_there_is_absent(documents: DocumentStore) -> None:
    """Absent, not empty."""
    assert documents.get_all([REF, OTHER]) == {}
    assert documents.get_all([]) == {}


def test_a_merge_keeps_what_it_does_not_name(documents: DocumentStore) -> None:
    """Map by map: a nested field is replaced, its siblings stay; lists are replaced whole."""
    documents.merge(REF, {"a": {"x": 1, "y": {"z": 1}}, "list": [1, 2], "kept": True})
    documents.merge(REF, {"a": {"y": {"w": 2}, "x": None}, "list": [3]})
    assert documents.get_all([REF])[REF].fields == {
        "a": {"x": None, "y": {"z": 1, "w": 2}},
        "list": [3],
        "kept": True,
    }


def test_a_version_changes_with_every_write(documents: DocumentStore) -> None:
    """Merges and updates alike."""
    versions = set()
    for number in range(3):
        documents.merge(REF, {"n": number})
        versions.add(documents.get_all([REF])[REF].version)
    assert documents.update_if_unchanged(REF, {"n": 3}, documents.get_all([REF])[REF].version)
    versions.add(documents.get_all([REF])[REF].version)
    assert len(versions) == 4


def test_compare_and_set(documents: DocumentStore) -> None:
    """The write happens when nothing has changed, and is refused without a trace when something has."""
    documents.merge(REF, {"a": {"x": 1}, "b": 1})
    seen = documents.get_all([REF])[REF].version
    assert documents.update_if_unchanged(REF, {"a": {"y": 2}, "c": True}, seen)
    assert documents.get_all([REF])[REF].fields == {"a": {"y": 2}, "b": 1, "c": True}
    assert not documents.update_if_unchanged(REF, {"b": 9}, seen)
    assert documents.get_all([REF])[REF].fields["b"] == 1


def test_creating_once(documents: DocumentStore) -> None:
    """Version None creates, and only where there is nothing."""
    assert documents.update_if_unchanged(REF, {"a": 1}, None)
    assert not documents.update_if_unchanged(REF, {"a": 2}, None)
    assert documents.get_all([REF])[REF].fields == {"a": 1}
    assert not documents.update_if_unchanged(OTHER, {"a": 1}, documents.get_all([REF])[REF].version)
    assert documents.get_all([OTHER]) == {}


def test_racing_threads_lose_nothing_and_one_wins(documents: DocumentStore) -> None:
    """Twenty merges of different fields all stay; of twenty updates of one version one succeeds."""
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: documents.merge(REF, {f"p{n}": {"n": n}}), range(20)))
        document = documents.get_all([REF])[REF]
        assert document.fields == {f"p{n}": {"n": n} for n in range(20)}
        won = list(pool.map(lambda n: documents.update_if_unchanged(REF, {"winner": n}, document.version), range(20)))
    assert won.count(True) == 1
    assert documents.get_all([REF])[REF].fields["winner"] == won.index(True)
