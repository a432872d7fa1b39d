"""What the scenarios have found, and that their truth and their score can tell."""

import pytest

import canary.sources
from canary.simulation.play import play_fault
from orchestrator_resilience import Phase
from orchestrator_resilience.background import AtOnce


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in test_simulation.py.
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@pytest.mark.parametrize(
    ("scenario", "world"),
    [
        ("disabled", "test/disabled/0"),  # on the first date of its silence
        ("delivery_lost + rejected", "t/delivery_lost + rejected/4"),  # of another processor than the verdict is about
    ],
)
def test_what_may_still_be_is_not_ruled_out(phase: Phase, scenario: str, world: str) -> None:
    """Nor is a cause of which the date has a proof, whichever processor it is about."""
    scores = [score for score in play_fault(phase, scenario, world) if not score.healthy]
    assert [(score.wrongly_ruled_out, score.flaws) for score in scores] == [((), ())] * len(scores)
