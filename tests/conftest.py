"""Fixtures that every test may use."""

import fcntl
import functools
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import settings

from orchestrator_resilience import CheckpointLogger, Phase, load_phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import BigQuery
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock
from tests.environments import fetch_pip
from tests.proof.listener import RawAnswers, raw_answers
from tests.tables import refusals
from tools.emulators import EmulatorError, emulators

# A round of `make fuzz`, and of `make hostile`: twenty times as many inputs as in `make test`,
# whose profile has 100.
settings.register_profile("long", max_examples=2_000)


@pytest.fixture
def raw() -> Iterator[RawAnswers]:
    """Serve what a test says, byte for byte."""
    with raw_answers() as raw:
        yield raw


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        *("CHECKPOINTS_ENABLED", "CANARY_ENABLED", "PHASES_FILE", "RESILIENCE_DATA_DIR", "PHASE"),
        "GOOGLE_CLOUD_PROJECT",
        "BIGQUERY_LOCATION",
        "FIRESTORE_DATABASE",
        "ORCHESTRATOR_SERVICE",
        "DEAD_LETTERS",
        "FORCE_COLOR",
        "NO_COLOR",
        "TTY_COMPATIBLE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "K_SERVICE",
        "K_REVISION",
        *("SLACK_WEBHOOK_URL", "HEARTBEAT_URL", "PAGE_URL", "PAGE_OF", "COLUMNS"),
        *("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"),
    ):
        monkeypatch.delenv(name, raising=False)
    # what a command makes goes with the test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run the emulators; skip, or with REQUIRE_EMULATORS fail, where one is missing."""
    with ExitStack() as stack:
        try:
            if "PYTEST_XDIST_WORKER" in os.environ:
                environment = stack.enter_context(
                    _shared_emulators(tmp_path_factory.getbasetemp().parent)
                )
            else:
                environment = stack.enter_context(emulators())
        except EmulatorError as error:
            if os.environ.get("REQUIRE_EMULATORS"):
                raise
            pytest.skip(str(error))
        yield environment


@contextmanager
def _shared_emulators(folder: Path) -> Iterator[dict[str, str]]:
    """Run the emulators, or use another worker's; their owner waits until nobody uses them.

    The locks are the system's, so that a worker that is killed holds up nobody.
    """
    told = folder / "emulators.json"
    with (
        (folder / "emulators.lock").open("w") as door,
        (folder / "emulators.users").open("w") as users,
    ):
        fcntl.flock(door, fcntl.LOCK_EX)
        if told.exists():
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)
            yield json.loads(told.read_text("utf-8"))
            return
        with emulators() as environment:
            told.write_text(json.dumps(environment), "utf-8")
            fcntl.flock(door, fcntl.LOCK_UN)
            yield environment
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_EX)
            told.unlink()


@pytest.fixture
def cloud(emulated: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the clients at the emulators; returns a project of the test's own."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    for name, value in {**emulated, "GOOGLE_CLOUD_PROJECT": project}.items():
        monkeypatch.setenv(name, value)
    _refuse_what_bigquery_refuses(monkeypatch)
    return project


def _refuse_what_bigquery_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold each row that is sent to the table's schema, which the emulator does not check."""
    insert = bigquery.Client.insert_rows_json

    def checked(client: bigquery.Client, table: str, json_rows: Any, **options: Any) -> Any:
        return refusals(client.get_table(table).schema, json_rows) or insert(
            client, table, json_rows, **options
        )

    monkeypatch.setattr(bigquery.Client, "insert_rows_json", checked)


@pytest.fixture
def dataset(cloud: str) -> Iterator[BigQuery]:
    """Make the dataset of the bundled phases; returns the access to it."""
    bigquery = BigQuery(cloud, emulated=True)
    bigquery.client.create_dataset("nba_orchestration")
    yield bigquery
    bigquery.close()


@pytest.fixture(scope="session")
def pip_wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what fetches the wheel of a pip, by its version, once."""
    return functools.cache(lambda version: fetch_pip(version, tmp_path_factory.mktemp("pip")))


@pytest.fixture
def phase() -> Phase:
    return load_phase("phase2", BUNDLED_PHASES)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 2, 10, 7, 0, tzinfo=UTC))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[EmbeddedStores]:
    opened = EmbeddedStores(tmp_path / "stores", durable=False)
    yield opened
    opened.close()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def orchestrator(
    phase: Phase, stores: EmbeddedStores, sink: RecordingSink, clock: SimulatedClock
) -> Orchestrator:
    return Orchestrator(
        phase,
        stores.documents,
        stores.completion_log,
        CheckpointLogger(phase, sink, clock=clock),
        clock,
        beside=AtOnce,
    )
