"""A deadline is counted from when it was made, and never leaves less than nothing."""

import time

import pytest

from orchestrator_resilience.deadline import Deadline


@pytest.mark.parametrize(("later", "left"), [(0.0, 2.5), (2.0, 0.5), (2.5, 0.0), (9.0, 0.0)])
def test_what_is_left_runs_out(monkeypatch: pytest.MonkeyPatch, later: float, left: float) -> None:
    """To zero, at the moment itself, and not below."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    deadline = Deadline(2.5)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + later)
    assert (deadline.left(), deadline.is_over, deadline.seconds) == (left, left == 0, 2.5)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_at_all_is_over_at_once(seconds: float) -> None:
    """Also where more was spent beforehand than there was."""
    assert Deadline(seconds).is_over
