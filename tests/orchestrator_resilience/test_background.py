"""Actions beside the rest: their answers have a deadline, and what hangs has a limit."""

import threading
import time

import pytest

from orchestrator_resilience.background import MAX_LEFT_BEHIND, Background
from orchestrator_resilience.deadline import Deadline


def test_what_an_action_returns_or_raises_is_its_answer() -> None:
    """Whatever it is, and however late it is asked for."""

    def fail() -> None:
        raise ZeroDivisionError

    good, bad = Background(lambda: 7), Background(fail)
    time.sleep(0.05)
    assert good.answer(Deadline(0)) == 7
    with pytest.raises(ZeroDivisionError):
        bad.answer(Deadline(0))


def test_threads_that_are_left_behind_are_few_and_go_when_they_can() -> None:
    """After eight of a group that hang no more of it are begun, and who asks hears it at once.

    Later they are.
    """
    over = threading.Event()
    before = threading.active_count()
    for _ in range(MAX_LEFT_BEHIND):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            Background(lambda: over.wait(30)).answer(Deadline(0.01))
    for _ in range(20):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="8 others have not answered"):
            Background(lambda: 7).answer(Deadline(30))
        assert time.monotonic() - began < 5
    assert threading.active_count() == before + MAX_LEFT_BEHIND
    assert Background(lambda: 7, "another group").answer(Deadline(10)) == 7
    over.set()
    give_up = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert Background(lambda: 7).answer(Deadline(10)) == 7
