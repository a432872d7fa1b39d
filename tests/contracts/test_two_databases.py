"""Beside the contract of documents: what is where, and that one database does without the other."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from canary.domain.evidence import Unreadable
from canary.domain.remembered import canary_ref, month_ref
from canary.domain.silence import people_ref
from canary.sources import gather
from orchestrator_resilience import Phase
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.cloud import CloudStores
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.two_databases import TwoDatabases

PROGRESS = DocumentRef("phase2_completion", "2026-02-10")
NOW = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)


@pytest.fixture
def opened(cloud: str, phase: Phase) -> Iterator[CloudStores]:
    env = {"GOOGLE_CLOUD_PROJECT": cloud, "MEMORY_DATABASE": "memory"}
    with closing(CloudStores(cloud, Settings.from_env(env), {"phase2": phase})) as stores:
        yield stores


def test_memory_and_progress_are_apart(cloud: str, opened: CloudStores) -> None:
    """What the canary keeps is in its own database and nowhere else; one call may read both."""
    own = [canary_ref("canary"), month_ref("canary", "phase2", "2026-02"), people_ref("canary")]
    for ref in (PROGRESS, *own):
        opened.documents.merge(ref, {"kept": ref.collection})
    assert opened.documents.get_all([PROGRESS, *own]).keys() == {PROGRESS, *own}
    for database, kept in (("(default)", {PROGRESS}), ("memory", {*own})):
        with closing(FirestoreDocuments(cloud, database)) as alone:
            assert alone.get_all([PROGRESS, *own]).keys() == kept


def test_no_commit_is_of_both(opened: CloudStores) -> None:
    """Two databases cannot be written at once, so nothing pretends to."""
    with pytest.raises(ValueError, match="two databases"):
        opened.documents.commit([(PROGRESS, {}, None), (canary_ref("canary"), {}, None)])
    assert opened.documents.get_all([PROGRESS, canary_ref("canary")]) == {}


@pytest.mark.parametrize("down", ["pipeline", "canary"])
def test_one_that_is_down_leaves_the_other(stores: EmbeddedStores, phase: Phase, down: str) -> None:
    """The flag is known without the canary's memory, and its memory without the flag."""

    def refused(*_: Any) -> Any:
        raise StoreError("Firestore: NotFound: 404 there is no such database")

    databases: dict[str, Any] = {"pipeline": stores.documents, "canary": stores.documents}
    databases |= {down: SimpleNamespace(get_all=refused)}
    asked: Any = SimpleNamespace(
        documents=TwoDatabases(**databases),
        completion_log=stores.completion_log,
        message_logs=None,
        flag_tables=None,
        counts=None,
    )
    gathered = gather(asked, {"phase2": [date(2026, 2, 10)]}, {"phase2": phase}, now=NOW)
    (evidence,) = gathered.evidence
    unreadable = [isinstance(seen, Unreadable) for seen in (evidence.progress, gathered.remembered)]
    assert unreadable == [down == "pipeline", down == "canary"]
