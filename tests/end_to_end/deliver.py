"""A process that delivers the five completions of February 9 to one folder.

deliver.py FOLDER race SEED      waits for FOLDER/go, then delivers each several times, shuffled
deliver.py FOLDER die STEP       dies by SIGKILL at the given store operation
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator_resilience import CheckpointLogger, load_phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope

AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
PHASE = load_phase("phase2")
MESSAGES = [
    push_envelope(name, "2026-02-09", AT + timedelta(minutes=n), message_id=f"m{n}")
    for n, name in enumerate(sorted(PHASE.expected))
]


class Mortal:
    """A store that kills its process before or after its nth operation."""

    def __init__(self, store: object, count: Callable[[], None]) -> None:
        self._store = store
        self._count = count

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._count()
            result = operation(*args, **kwargs)
            self._count()
            return result

        return counted


def main(folder: Path, mode: str, number: int) -> None:
    """Deliver."""
    stores = EmbeddedStores(folder)
    documents: Any = stores.documents
    completion_log: Any = stores.completion_log
    sent = MESSAGES
    if mode == "die":
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1
            if steps == number:
                os.kill(os.getpid(), signal.SIGKILL)

        documents, completion_log = Mortal(documents, count), Mortal(completion_log, count)
    else:
        sent = MESSAGES * 4
        random.Random(number).shuffle(sent)
        (folder / f"ready-{number}").touch()
        while not (folder / "go").exists():
            time.sleep(0.001)
    orchestrator = Orchestrator(
        PHASE, documents, completion_log, CheckpointLogger(PHASE, stores.checkpoints)
    )
    for message in sent:
        orchestrator.deliver(message)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
