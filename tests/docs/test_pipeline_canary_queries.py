"""examples/pipeline_canary_queries.py: the canary as one check in the list of a pipeline's own."""

import runpy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator_resilience import CheckpointLogger, Phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope
from tests.docs.markdown import ROOT

EXAMPLE = ROOT / "examples" / "pipeline_canary_queries.py"


def health() -> tuple[bool, dict[str, str], str]:
    """Run every check of the list; return what the only one says."""
    ((passed, metrics, message),) = (check() for check in runpy.run_path(str(EXAMPLE))["CHECKS"])
    return passed, metrics, message


@pytest.fixture
def days(phase: Phase) -> list[date]:
    return [*phase.recent_dates(datetime.now(UTC), phase.lookback_dates)]


@pytest.fixture
def healthy(
    stores: EmbeddedStores, phase: Phase, days: list[date], monkeypatch: pytest.MonkeyPatch
) -> EmbeddedStores:
    """Let everybody complete on every recent date, an hour ago."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(stores.folder))
    clock = SimulatedClock(datetime.now(UTC) - timedelta(hours=1))
    checkpoints = CheckpointLogger(phase, RecordingSink(), clock=clock)
    orchestrator = Orchestrator(phase, stores.documents, stores.completion_log, checkpoints, clock)
    for day in days:
        for name in phase.expected:
            orchestrator.deliver(push_envelope(name, str(day), clock(), message_id=f"{day}-{name}"))
    return stores


@pytest.mark.usefixtures("healthy")
def test_healthy_dates_pass(days: list[date]) -> None:
    """With a verdict for each, and nothing to say."""
    assert health() == (True, {f"phase2 {day}": "TRIGGERED" for day in days}, "")


def test_a_stuck_date_does_not_pass(healthy: EmbeddedStores, days: list[date]) -> None:
    """The message is about that date alone, and says what is wrong with it."""
    flag: dict[str, Any] = {"_triggered": False}
    healthy.documents.merge(DocumentRef("phase2_completion", str(days[1])), flag)
    passed, metrics, message = health()
    assert (passed, list(metrics.values())) == (False, ["TRIGGERED", "UNTRIGGERED", "TRIGGERED"])
    assert message.startswith(f"phase2 {days[1]} UNTRIGGERED: all 5 processors completed 1 h ")
    assert message.endswith(" min ago, `_triggered` is still unset")


def test_an_unreadable_store_does_not_pass(
    days: list[date], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is made where there is none; the message says what could not be read."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(tmp_path / "nowhere"))
    passed, metrics, message = health()
    assert (passed, metrics) == (False, {f"phase2 {day}": "UNKNOWN" for day in days})
    assert message.startswith(f"phase2 {days[0]} UNKNOWN: could not tell: ")
    assert "there is no such file" in message
    assert not (tmp_path / "nowhere").exists()


def test_it_is_short() -> None:
    """At most 24 lines."""
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 24
