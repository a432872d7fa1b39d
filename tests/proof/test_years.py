"""Long stretches of runs with faults; the long form is a year with five seeds, `make years`."""

import pytest

from tests.proof.years import Year


@pytest.mark.parametrize("seed", range(2))
def test_a_stretch_with_faults(seed: int) -> None:
    """Every stuck date and every end is notified of, nobody is flooded, and history agrees."""
    year = Year(seed, days=24, faults=0.02)
    year.play()
    assert (len(year.deaths) > 0, len(year.troubles) > 0) == (True, True)
    assert list(year.flaws()) == []


def test_a_healthy_stretch_sends_nothing() -> None:
    """Nor is anything remembered but how each date was."""
    year = Year(1, days=24, faults=0, troubles=0)
    year.play()
    assert [channel.heard for channel in year.people] == [[], []]


def test_without_faults_each_thing_is_sent_once() -> None:
    """And the history has each of them."""
    year = Year(3, days=24, faults=0)
    year.play()
    assert list(year.flaws()) == []
    for channel in year.people:
        once = [(kind, day) for _, kind, day in channel.heard if kind != "REMINDER"]
        assert len(once) == len({*once})
        counted = sum(
            one.reminders.get(channel.name, 0)
            for day in year.troubles
            for one in year.remembered(day).incidents
        )
        assert counted == sum(kind == "REMINDER" for _, kind, _ in channel.heard) > 0
