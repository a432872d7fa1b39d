"""Every implementation of every Protocol, for the contract suites."""

import pytest

from orchestrator_resilience.stores.base import CheckpointArchive, CompletionLog, DocumentStore
from orchestrator_resilience.stores.embedded import EmbeddedStores


@pytest.fixture(params=["sqlite"])
def documents(stores: EmbeddedStores) -> DocumentStore:
    return stores.documents


@pytest.fixture(params=["sqlite"])
def completion_log(stores: EmbeddedStores) -> CompletionLog:
    return stores.completion_log


@pytest.fixture(params=["jsonl"])
def archive(stores: EmbeddedStores) -> CheckpointArchive:
    return stores.checkpoints
