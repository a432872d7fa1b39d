"""What every DocumentStore does."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from orchestrator_resilience.stores.base import DocumentRef, DocumentStore

REF = DocumentRef("phase2_completion", "2026-02-09")
OTHER = DocumentRef("phase2_completion", "2026-02-10")
THIRD = DocumentRef("canary", "phase2")
ELSEWHERE = DocumentRef("canary", "phase3")
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


@pytest.mark.parametrize(
    "odd", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
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
    """The write happens when nothing has changed, and is refused without a trace otherwise."""
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
        won = list(
            pool.map(
                lambda n: documents.update_if_unchanged(REF, {"winner": n}, document.version),
                range(20),
            )
        )
    assert won.count(True) == 1
    assert documents.get_all([REF])[REF].fields["winner"] == won.index(True)


# Many documents at once


def fields_of(documents: DocumentStore, *refs: DocumentRef) -> list[Mapping[str, Any] | None]:
    found = documents.get_all(refs)
    return [found[ref].fields if ref in found else None for ref in refs]


def versions_of(
    documents: DocumentStore, refs: Iterable[DocumentRef]
) -> dict[DocumentRef, str | None]:
    asked = [*refs]
    found = documents.get_all(asked)
    return {ref: found[ref].version if ref in found else None for ref in asked}


def test_a_commit_replaces_whole_documents(documents: DocumentStore) -> None:
    """What it does not name is gone, any name is one field, and new documents are made with it."""
    documents.merge(REF, {"a": {"x": 1}, "b": 1})
    new = {"a": {"y": 2}, "c.d": [1, {"e": None}], "2026-02-09": "{}", "`": True}
    seen = versions_of(documents, [REF])[REF]
    assert documents.commit([(REF, new, seen), (OTHER, FIELDS, None), (THIRD, new, None)])
    assert fields_of(documents, REF, OTHER, THIRD) == [new, FIELDS, new]
    assert documents.commit([(THIRD, {}, versions_of(documents, [THIRD])[THIRD])])
    assert fields_of(documents, REF, OTHER, THIRD) == [new, FIELDS, {}]


def test_a_commit_of_nothing_holds(documents: DocumentStore) -> None:
    """There is nothing that could have changed."""
    assert documents.commit([])


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("since", ["changed", "made", "gone"])
def test_a_commit_is_all_or_none(documents: DocumentStore, place: int, since: str) -> None:
    """None is written where any of its documents has changed or a new one is there already."""
    refs = [REF, OTHER, THIRD]
    for ref in (refs[place - 1], refs[place] if since == "changed" else ELSEWHERE):
        documents.merge(ref, {"old": True})
    seen = versions_of(documents, refs)
    if since == "gone":
        seen[refs[place]] = versions_of(documents, [ELSEWHERE])[ELSEWHERE]
    else:
        documents.merge(refs[place], {"others": True})
    before = documents.get_all(refs)
    assert not documents.commit([(ref, {"new": True}, version) for ref, version in seen.items()])
    assert documents.get_all(refs) == before
    assert documents.commit(
        [(ref, {"new": True}, version) for ref, version in versions_of(documents, refs).items()]
    )
    assert fields_of(documents, *refs) == [{"new": True}] * 3


def test_a_commit_changes_the_versions(documents: DocumentStore) -> None:
    """So that nothing else holds that was read before: no commit, no update."""
    documents.merge(REF, {"n": 0})
    seen = versions_of(documents, [REF, OTHER])
    assert documents.commit([(ref, {"n": 1}, version) for ref, version in seen.items()])
    now = versions_of(documents, [REF, OTHER])
    for ref, version in seen.items():
        assert now[ref] != version
        assert not documents.commit([(ref, {"n": 2}, version)])
        assert not documents.update_if_unchanged(ref, {"n": 2}, version)
        assert documents.update_if_unchanged(ref, {"m": 3}, now[ref])
        assert not documents.commit([(ref, {"n": 2}, now[ref])])
    assert fields_of(documents, REF, OTHER) == [{"n": 1, "m": 3}] * 2


def test_a_commit_of_what_is_stored_holds(documents: DocumentStore) -> None:
    """Firestore keeps the version of equal fields, so a commit has to write something new."""
    documents.merge(REF, {"a": {"x": 1}})
    seen = versions_of(documents, [REF])[REF]
    assert documents.commit([(REF, {"a": {"x": 1}}, seen)])
    assert documents.commit([(REF, {"a": {"x": 2}}, versions_of(documents, [REF])[REF])])
    assert not documents.commit([(REF, {"a": {"x": 2}}, seen)])
    assert fields_of(documents, REF) == [{"a": {"x": 2}}]


def test_a_commit_holds_a_large_month(documents: DocumentStore) -> None:
    """256 KB, one field a date, each a text of JSON with what no alphabet has."""
    days = [date(2026, 3, 1) + timedelta(days=n) for n in range(31)]
    text = json.dumps({"words": 'é\u2028\U0001f3c0 "quoted" ' * 335}, ensure_ascii=False)
    month = {day.isoformat(): text for day in days}
    assert 250_000 < len(json.dumps(month, ensure_ascii=False).encode()) < 256 * 1024
    for number in range(2):
        written = {**month, "n": number}
        seen = versions_of(documents, [REF, OTHER])
        assert documents.commit([(ref, written, version) for ref, version in seen.items()])
        assert fields_of(documents, REF, OTHER) == [written] * 2


def test_of_racing_commits_one_holds(both: tuple[DocumentStore, DocumentStore]) -> None:
    """The documents are all from one commit, whoever reads first and in whichever order."""
    for made in (False, True):
        seen = versions_of(both[0], [REF, OTHER, THIRD])
        assert (None in seen.values()) != made

        def race(
            number: int,
            made: bool = made,  # noqa: FBT001
            seen: dict[DocumentRef, str | None] = seen,
        ) -> bool:
            writes = [
                (ref, {"winner": number, "made": made}, version) for ref, version in seen.items()
            ]
            return both[number % 2].commit(writes[:: 1 if number % 3 else -1])

        with ThreadPoolExecutor(12) as pool:
            won = [*pool.map(race, range(1, 13))]
        assert won.count(True) == 1
        assert fields_of(both[1], *seen) == [{"winner": won.index(True) + 1, "made": made}] * 3


def test_commits_that_overlap_lose_nothing(both: tuple[DocumentStore, DocumentStore]) -> None:
    """Losers read again, and every two of three documents counted up together end up right."""
    pairs = [(REF, OTHER), (THIRD, OTHER), (THIRD, REF)]

    def count(number: int) -> None:
        documents, pair = both[number % 2], pairs[number % 3]
        while True:
            found = documents.get_all(pair)
            counts = {ref: found[ref].fields["n"] if ref in found else 0 for ref in pair}
            versions = {ref: found[ref].version if ref in found else None for ref in pair}
            if documents.commit([(ref, {"n": counts[ref] + 1}, versions[ref]) for ref in pair]):
                return

    with ThreadPoolExecutor(6) as pool:
        [*pool.map(count, range(18))]
    assert fields_of(both[0], REF, OTHER, THIRD) == [{"n": 12}] * 3
