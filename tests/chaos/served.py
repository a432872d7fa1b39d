"""The orchestrator function as it is deployed, in a process that dies when its turn has come.

Each process that starts dies at the next step of STEPS, at one of its first occurrences, as long as CHAOS_DEATHS
allows further ones; it notes its step in the folder CHAOS_FOLDER before it does.
"""

import os
import random
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock
from typing import Any

from orchestrator_resilience import function
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.opening import open_stores

OPERATIONS = ("get_all", "merge", "update_if_unchanged", "append")
STEPS = tuple(f"{when} {operation}" for operation in OPERATIONS for when in ("before", "after"))
# At one of so many occurrences; `merge` is rarer than the others.
_OCCURRENCES = 6


class Mortal:
    """A store, or a channel, the steps of whose `operations` are counted."""

    def __init__(self, store: object, reach: Callable[[str], None], operations: Collection[str] = OPERATIONS) -> None:
        self._store = store
        self._reach = reach
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        if name not in self._operations:
            return operation

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._reach(f"before {name}")
            result = operation(*args, **kwargs)
            self._reach(f"after {name}")
            return result

        return watched


class Death:
    """The step at which this process dies, if it does; drawn anew in each, as all are forked from one."""

    def __init__(self, folder: Path, most: int, seed: str) -> None:
        self._folder, self._most, self._seed = folder, most, seed
        self._lock = Lock()
        self._pid = -1

    def reach(self, step: str) -> None:
        """Die, or go on."""
        with self._lock:
            if self._pid != os.getpid():
                self._draw()
            self._left -= step == self._step
            if step == self._step and self._left == 0:
                self._note.write_text(step, "utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def _draw(self) -> None:
        self._pid = os.getpid()
        number = _next(self._folder, self._most)
        self._step = None if number is None else STEPS[number % len(STEPS)]
        self._left = random.Random(f"{self._seed}/{number}").randint(1, _OCCURRENCES)
        self._note = self._folder / f"death-{number}"


def _next(folder: Path, most: int) -> int | None:
    """Take the next number of a death; None where there are enough."""
    for number in range(most):
        try:
            (folder / f"taken-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    return None


def _start(death: Death) -> Callable[..., Any]:
    def opened(*args: Any, **kwargs: Any) -> Stores:
        stores: Any = open_stores(*args, **kwargs)
        stores.documents = Mortal(stores.documents, death.reach)
        stores.completion_log = Mortal(stores.completion_log, death.reach)
        found: Stores = stores
        return found

    vars(function)["open_stores"] = opened
    return function.start()


if "CHAOS_FOLDER" in os.environ:  # not where a test merely reads the steps
    folder, deaths, seed = (os.environ[f"CHAOS_{name}"] for name in ("FOLDER", "DEATHS", "SEED"))
    orchestrate = _start(Death(Path(folder), int(deaths), seed))
