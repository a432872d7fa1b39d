"""What every CheckpointArchive does."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from orchestrator_resilience import CheckpointLogger, InvalidMessageError, Phase
from orchestrator_resilience.stores.base import CheckpointArchive
from orchestrator_resilience.testing import SimulatedClock

DAY = date(2026, 2, 9)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 2, 10, 6, 41, tzinfo=UTC))


@pytest.fixture
def leave(archive: CheckpointArchive, phase: Phase, clock: SimulatedClock) -> Callable[[str], None]:
    """Leave the two checkpoints of one delivery."""
    assert callable(archive)
    checkpoints = CheckpointLogger(phase, archive, clock=clock)

    def deliver(game_date: str) -> None:
        with checkpoints.delivery(processor="p2_odds_game_lines", game_date=game_date, event_id="1") as delivery:
            clock.now += timedelta(seconds=1)
            delivery.ignored("a\nb")
        checkpoints.rejected(InvalidMessageError("game_date", "no date"))

    return deliver


def test_a_dates_checkpoints_in_their_order(archive: CheckpointArchive, leave: Callable[[str], None]) -> None:
    """Only that date's, oldest first, whole."""
    leave("2026-02-09")
    leave("2026-02-10")
    leave("2026-02-09")
    found = archive.read("phase2", DAY)
    assert [c.message for c in found] == [
        "CHECKPOINT_RECEIVED: p2_odds_game_lines 2026-02-09",
        "CHECKPOINT_IGNORED: a\\nb",
    ] * 2
    assert [c.closes for c in found] == [False, True] * 2
    assert [c.at.minute * 60 + c.at.second for c in found] == [2460, 2461, 2462, 2463]
    assert found[0].fields["event_id"] == "1"


def test_nothing_was_left(archive: CheckpointArchive) -> None:
    """An archive without a line is empty, not broken."""
    assert archive.read("phase2", DAY) == []
