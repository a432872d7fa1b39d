"""A sample of what `make hostile` tries."""

import pytest
from hypothesis import HealthCheck, given, settings

import canary.sources
from orchestrator_resilience.background import AtOnce
from tests.hostile_runs import Evidence, evidences, survives


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(evidences)
def test_whatever_others_have_written(evidence: Evidence) -> None:
    """No error in check, watch, explain or status, and the date beside it is told once, on each channel."""
    survives(evidence)
