"""Actions whose answer is waited for later, and for no longer than one is willing to."""

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, NoReturn, Protocol, TypeVar

from orchestrator_resilience.deadline import Deadline

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Answer(Protocol[T_co]):
    """What an action that was begun will have answered."""

    def answer(self, deadline: Deadline) -> T_co:
        """Return what the action returns, or raise what it raises; TimeoutError where it does neither in time."""


class Background(Generic[T]):
    """Runs an action in a thread of its own, from now on; `answer` may be asked for once.

    Threads cannot be stopped: one that hangs is left behind as a daemon, and ends when its action does.
    """

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._done: SimpleQueue[Callable[[], T]] = SimpleQueue()
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            value = self._action()
        except BaseException as raised:  # noqa: BLE001 (raised to whoever asks for the answer)
            self._done.put(partial(_raise, raised))
        else:
            self._done.put(lambda: value)

    def answer(self, deadline: Deadline) -> T:
        """Wait for what the action returns or raises; TimeoutError when the deadline is over first."""
        try:
            outcome = self._done.get(timeout=deadline.left())
        except Empty:
            raise TimeoutError(f"no answer within {deadline.seconds:g} s") from None
        return outcome()


class AtOnce(Generic[T]):
    """Runs an action before anything else happens: for simulated time and tests, which do not wait."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._error: Exception | None = None
        try:
            self._value = action()
        except Exception as error:  # noqa: BLE001 (raised to whoever asks for the answer)
            self._error = error

    def answer(self, deadline: Deadline) -> T:
        """Return what the action returned, or raise what it raised."""
        del deadline
        if self._error is not None:
            raise self._error
        return self._value


def _raise(error: BaseException) -> NoReturn:
    raise error
