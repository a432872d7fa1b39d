"""The orchestrator function as it is deployed, in a process that dies when its turn has come.

Each process that starts dies at the next step of STEPS, at one of its first occurrences, as long as CHAOS_DEATHS
allows further ones; it notes its step in the folder CHAOS_FOLDER before it does.
"""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from orchestrator_resilience import function
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.opening import open_stores

OPERATIONS = ("get_all", "merge", "update_if_unchanged", "append")
STEPS = tuple(f"{when} {operation}" for operation in OPERATIONS for when in ("before", "after"))
# A step that comes this often at the latest; `merge` comes only where two lose a race.
_OCCURRENCES = 12


class Mortal:
    """A store whose steps are counted."""

    def __init__(self, store: object, reach: Callable[[str], None]) -> None:
        self._store = store
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        if name not in OPERATIONS:
            return operation

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._reach(f"before {name}")
            result = operation(*args, **kwargs)
            self._reach(f"after {name}")
            return result

        return watched


class Death:
    """The step at which this process dies, if it does."""

    def __init__(self, folder: Path, deaths: int, seed: str) -> None:
        number = _next(folder, deaths)
        self._step = STEPS[number % len(STEPS)] if number is not None else None
        self._left = random.Random(f"{seed}/{number}").randint(1, 2 if "merge" in str(self._step) else _OCCURRENCES)
        self._note = folder / f"death-{number}"
        self._lock = Lock()

    def reach(self, step: str) -> None:
        """Die, or go on."""
        with self._lock:
            self._left -= step == self._step
            if self._step == step and self._left == 0:
                self._note.write_text(step, "utf-8")
                os.kill(os.getpid(), signal.SIGKILL)


def _next(folder: Path, deaths: int) -> int | None:
    """Take the next number of a death; None where there have been enough."""
    for number in range(deaths):
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
