"""Fixtures that every test may use."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator_resilience import CheckpointLogger, Orchestrator, Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("CHECKPOINTS_ENABLED", "CANARY_ENABLED", "PHASES_FILE", "RESILIENCE_DATA_DIR"),
        *("GOOGLE_CLOUD_PROJECT", "K_SERVICE", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"),
    ):
        monkeypatch.delenv(name, raising=False)


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
def orchestrator(phase: Phase, stores: EmbeddedStores, sink: RecordingSink, clock: SimulatedClock) -> Orchestrator:
    return Orchestrator(
        phase, stores.documents, stores.completion_log, CheckpointLogger(phase, sink, clock=clock), clock
    )
