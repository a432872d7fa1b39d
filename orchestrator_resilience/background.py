"""Actions whose answer is waited for later, and for no longer than one is willing to."""

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Generic, NoReturn, Protocol, TypeVar

from orchestrator_resilience.deadline import Deadline

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Answer(Protocol[T_co]):
    """What an action that was begun will have answered."""

    def answer(self, deadline: Deadline) -> T_co:
        """Return what the action returns, or raise what it raises; TimeoutError where it does neither in time."""


class Beside(Protocol):
    """Begins an action beside what goes on, as Background and AtOnce do."""

    def __call__(self, action: Callable[[], T], /) -> Answer[T]:
        """Begin it."""


class Background(Generic[T]):
    """Runs an action in a thread of its own, from now on; `answer` may be asked for once.

    Threads cannot be stopped: one that hangs is left behind as a daemon, and ends when its action does. As long as
    MAX_LEFT_BEHIND of them have not ended, no more are begun: what is asked for then has no answer, at once.
    """

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._done: SimpleQueue[Callable[[], T]] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)
        if _left_behind.is_full:
            error = TimeoutError(f"{MAX_LEFT_BEHIND} others have not answered, long after their time")
            self._done.put(partial(_raise, error))
        else:
            self._thread.start()

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
            _left_behind.add(self._thread)
            raise TimeoutError(f"no answer within {deadline.seconds:g} s") from None
        return outcome()


class _LeftBehind:
    """The threads that nobody waits for any more, and that have not ended."""

    def __init__(self) -> None:
        self._threads: set[Thread] = set()
        self._lock = Lock()

    def add(self, thread: Thread) -> None:
        with self._lock:
            self._threads.add(thread)

    @property
    def is_full(self) -> bool:
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            return len(self._threads) >= MAX_LEFT_BEHIND


MAX_LEFT_BEHIND = 8
_left_behind = _LeftBehind()


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
