"""What the scenarios have found, and that their truth and their score can tell."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import canary.sources
from canary.domain.incident import incident_ref
from canary.notify.channel import Channels
from canary.notify.incidents import confirm_what_is_left
from canary.simulation.play import play_fault
from orchestrator_resilience import Phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores


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


class AnotherRunIsFaster:
    """Documents that another run of the process confirms while this one reads them."""

    def __init__(self, stores: EmbeddedStores, channels: Channels) -> None:
        self._documents, self._channels = stores.documents, channels
        self.merge = stores.documents.merge
        self.update_if_unchanged = stores.documents.update_if_unchanged

    def get_all(self, refs: Any) -> dict[DocumentRef, Document]:
        found = self._documents.get_all(refs)
        self._channels.memory.unconfirmed.clear()
        return found


def test_two_runs_of_one_process_confirm_at_once(tmp_path: Path) -> None:
    """Whoever comes second finds nothing left to do, and no error."""
    channels, ref = Channels(), incident_ref("phase2", datetime(2026, 2, 9, tzinfo=UTC).date())
    with EmbeddedStores(tmp_path) as stores:
        stores.documents.merge(ref, {"kind": "UNTRIGGERED"})
        channels.memory.unconfirmed[ref] = ("run", {"claim": None})
        confirm_what_is_left(AnotherRunIsFaster(stores, channels), channels)
    assert channels.memory.unconfirmed == {}
