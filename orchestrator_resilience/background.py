"""Actions whose answer is waited for later, and for no longer than one is willing to."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, Protocol, TypeVar

from orchestrator_resilience.deadline import Deadline

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Promise(Protocol[T_co]):
    """What an action that was begun will have answered."""

    def answer(self, deadline: Deadline) -> T_co:
        """Return what the action returns, or raise what it raises.

        Raises TimeoutError where it does neither in time.
        """


# Begins an action, and returns the promise of its answer, as Background and AtOnce do.
Beside = Callable[[Callable[[], Any]], Promise[Any]]


class Background(Generic[T]):
    """Runs an action in a thread of its own, from now on.

    Threads cannot be stopped: one that hangs is left behind as a daemon, and ends when its action
    does. While MAX_LEFT_BEHIND actions of a `group` have not ended, no more of the group are begun:
    such an action raises TimeoutError at once.
    """

    def __init__(self, action: Callable[[], T], group: str = "") -> None:
        # the name that a thread gets when nobody waits for it any more
        self._left_behind = f"left behind {group}"
        self._future: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, args=(action,), daemon=True)
        if (
            sum(thread.name == self._left_behind for thread in threading.enumerate())
            < MAX_LEFT_BEHIND
        ):
            self._thread.start()
        else:
            self._future.set_exception(
                TimeoutError(f"{MAX_LEFT_BEHIND} others have not answered, long after their time")
            )

    def _run(self, action: Callable[[], T]) -> None:
        try:
            self._future.set_result(action())
        except BaseException as error:  # noqa: BLE001 (raised where the answer is asked for)
            self._future.set_exception(error)

    def answer(self, deadline: Deadline) -> T:
        """Wait for what the action returns or raises.

        Raises TimeoutError when the deadline is over first.
        """
        if not wait([self._future], deadline.left()).done:
            self._thread.name = self._left_behind
            raise TimeoutError(f"no answer within {deadline.seconds:g} s")
        return self._future.result()


MAX_LEFT_BEHIND = 8


class AtOnce(Background[T]):
    """Runs an action before anything else happens: for simulated time and for tests."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._future = Future()
        try:
            self._future.set_result(action())
        except Exception as error:  # noqa: BLE001 (raised where the answer is asked for)
            self._future.set_exception(error)
