"""What the scenarios have found, and that their truth and their score can tell."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import canary.domain.incident
import canary.run
import canary.sources
from canary.domain.incident import incident_ref
from canary.domain.verdict import Cause, CauseKind, Verdict
from canary.notify.channel import Channels
from canary.notify.incidents import confirm_what_is_left
from evaluation.evaluate import add_up
from evaluation.play import play_fault
from evaluation.score import Score
from evaluation.world import World
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


def test_only_what_reached_a_store_is_expected(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death of which no line was kept is no cause that could be named."""
    (known,) = (score for score in play_fault(phase, "crashed", "7/crashed/3") if not score.healthy)
    monkeypatch.setattr(World, "_leave", lambda *_: None)
    (unknown,) = (score for score in play_fault(phase, "crashed", "7/crashed/3") if not score.healthy)
    assert (known.causes, known.named) == ((CauseKind.CRASHED,), (CauseKind.CRASHED,))
    assert (unknown.causes, unknown.named) == ((), ())


def test_a_cause_that_rests_on_what_is_gone_is_found(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that names its cause whatever is left of the evidence."""
    name, world = "evidence_taken_away", "1/evidence_taken_away/3"
    assert [score.flaws for score in play_fault(phase, name, world) if score.flaws] == []
    stubborn = (Cause(CauseKind.NAME_DRIFT, "as ever"),)
    monkeypatch.setattr(canary.run, "explain", lambda verdict, *_, **__: replace(verdict, causes=stubborn))
    (score,) = (score for score in play_fault(phase, name, world) if not score.healthy)
    assert score.taken == 12
    assert any(flaw.startswith("without ") and flaw.endswith("NAME_DRIFT was named") for flaw in score.flaws)


def _all_ruled_out(verdict: Verdict, *_: object, **__: object) -> Verdict:
    return replace(verdict, causes=(Cause(CauseKind.UNDETERMINED, ""),), ruled_out=tuple(CauseKind))


def test_a_canary_that_rules_out_too_much_is_found(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The score has a target for it."""
    monkeypatch.setattr(canary.run, "explain", _all_ruled_out)
    assert "no cause is ruled out that there is" in _unmet(phase, "short_circuit")


def test_a_canary_that_floods_a_channel_is_found(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The score counts the messages of each channel and date."""
    monkeypatch.setattr(canary.domain.incident, "_MESSAGES_A_DAY", 999)
    monkeypatch.setattr(canary.domain.incident, "REMIND_EVERY", timedelta(minutes=1))
    assert "no channel gets more than 8 messages of a date in 24 hours" in _unmet(phase, "disabled")


def _unmet(phase: Phase, scenario: str) -> set[str]:
    return {target.what for target in add_up(play_fault(phase, scenario, f"1/{scenario}/1")).targets if not target.met}


def test_the_bound_of_a_share() -> None:
    """Of 33 right ones out of 33, no more is known than that the share is 89.6 % or more."""
    right = Score(
        scenario="any",
        seed="1",
        game_date=date(2026, 2, 9),
        healthy=False,
        flaws=(),
        alarmed=True,
    )
    found = add_up([right] * 33).faults["any"]
    assert (found.dates, found.causes_right, found.at_least, found.undetermined) == (33, 1.0, 0.896, 1.0)


class _AnotherRunIsFaster:
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
        confirm_what_is_left(_AnotherRunIsFaster(stores, channels), channels)
    assert channels.memory.unconfirmed == {}
