"""Every implementation of every Protocol, for the contract suites."""

from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from orchestrator_resilience import Phase
from orchestrator_resilience.checkpoints import Sink, json_line
from orchestrator_resilience.stores.base import CheckpointArchive, CompletionLog, DocumentStore
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.two_databases import TwoDatabases
from tests.contracts.logging_server import LoggingServer
from tests.proof.doubles import plain_documents
from tests.tables import make_real_table

THEIRS = "bigquery, 12 columns"
NAMED = "firestore, a named database"
TWO = "firestore, two databases"


@pytest.fixture(params=["plain", "sqlite", "firestore", NAMED, TWO])
def documents(request: pytest.FixtureRequest) -> Iterator[DocumentStore]:
    if request.param == "plain":
        yield plain_documents()
        return
    if request.param == "sqlite":
        stores: EmbeddedStores = request.getfixturevalue("stores")
        yield stores.documents
        return
    project = request.getfixturevalue("cloud")
    databases = ["scores"] if request.param == NAMED else ["(default)", "memory"]
    firestores = [FirestoreDocuments(project, database) for database in databases]
    yield TwoDatabases(*firestores) if request.param == TWO else firestores[0]
    for firestore in firestores:
        firestore.close()


@pytest.fixture(params=["sqlite", "firestore"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[DocumentStore, DocumentStore]]:
    """Return the same documents as two processes have them, each with a connection of its own."""
    if request.param == "sqlite":
        stores: EmbeddedStores = request.getfixturevalue("stores")
        with EmbeddedStores(stores.folder, durable=False) as others:
            yield stores.documents, others.documents
        return
    project = request.getfixturevalue("cloud")
    with closing(FirestoreDocuments(project)) as one, closing(FirestoreDocuments(project)) as other:
        yield one, other


@pytest.fixture(params=["sqlite", "bigquery", THEIRS])
def completion_log(request: pytest.FixtureRequest, phase: Phase) -> CompletionLog:
    if request.param == "sqlite":
        stores: EmbeddedStores = request.getfixturevalue("stores")
        return stores.completion_log
    phases = {
        name: msgspec.structs.replace(phase, name=name) for name in ("phase2", "phase3", "phase4")
    }
    dataset: BigQuery = request.getfixturevalue("dataset")
    log = BigQueryCompletionLog(dataset, phases)
    if request.param == THEIRS:
        make_real_table(dataset)
    else:
        log.setup()
    return log


@pytest.fixture
def unset(request: pytest.FixtureRequest) -> bool | None:
    """Return what a completion log says of an unset flag: nothing without a column for it."""
    return None if request.node.callspec.params["completion_log"] == THEIRS else False


@pytest.fixture(params=["jsonl", "cloud_logging"])
def archive(request: pytest.FixtureRequest) -> Iterator[tuple[Sink, CheckpointArchive]]:
    """Return where checkpoints go in, and where they are read back."""
    if request.param == "jsonl":
        stores: EmbeddedStores = request.getfixturevalue("stores")
        yield stores.checkpoints, stores.checkpoints
        return
    with LoggingServer("project") as server:
        yield (
            lambda c: server.ingest(json_line(c)),
            CloudLoggingArchive("project", connect=server.transport),
        )
