"""The canary function as it is deployed, in a process that dies at a step of a run where the run's request says so.

The request says in X-Now when the run takes place, so that hours pass at once, and in X-Dies the number of the step: a
step is before or after an operation on a store, or before or after a channel is told. Deadlines are scaled down.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, tzinfo
from pathlib import Path
from threading import Lock
from typing import Any

import flask

from canary import function
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.jsonl import JsonLinesArchive
from orchestrator_resilience.stores.opening import open_stores
from tests.chaos.served import Mortal
from tests.outages.harness import SCALE, scaled


class Death:
    """The step of the present run at which this process dies, if it does; it is noted in `folder` before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, Lock()
        self._left = self._number = 0

    def sentence(self, number: int) -> None:
        """Die at the step of this number from now on; at none where it is 0."""
        with self._lock:
            self._left = self._number = number

    def reach(self, step: str) -> None:
        """Die, or go on."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                (self.folder / f"death-{os.getpid()}").write_text(f"{self._number} {step}", "utf-8")
                os.kill(os.getpid(), signal.SIGKILL)


class _Clock(datetime):
    """The time of the request."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """Return it."""
        return datetime.fromisoformat(flask.request.headers["X-Now"]).astimezone(tz)


def _start(death: Death) -> Callable[..., Any]:
    def opened(*args: Any, **kwargs: Any) -> Stores:
        stores: Any = open_stores(*args, **kwargs)
        documents = FirestoreDocuments(os.environ["GOOGLE_CLOUD_PROJECT"], seconds=10 * SCALE)
        stores.documents = Mortal(documents, death.reach)
        stores.completion_log = Mortal(stores.completion_log, death.reach, ("summarise",))
        stores.checkpoints = JsonLinesArchive(death.folder / "checkpoints.jsonl")  # Cloud Logging is not here
        found: Stores = stores
        return found

    def log_channel(*args: Any, **kwargs: Any) -> Any:
        return Mortal(LogChannel(*args, **kwargs), lambda step: death.reach(f"{step} to the log"), ("send",))

    def slack_channel(*args: Any, **kwargs: Any) -> Any:
        slack = SlackChannel(*args, **kwargs, seconds=10 * SCALE)
        return Mortal(slack, lambda step: death.reach(f"{step} to Slack"), ("send",))

    own = {"open_stores": opened, "LogChannel": log_channel, "SlackChannel": slack_channel, "datetime": _Clock}
    vars(function).update(own)
    ExitStack().enter_context(scaled())  # for as long as the process lives
    handle = function.start()

    def canary(request: flask.Request) -> Any:
        number = int(request.headers.get("X-Dies", 0))
        if not number:
            return handle(request)
        death.sentence(number)
        try:
            return handle(request)
        finally:
            death.sentence(0)  # it had fewer steps than that

    return canary


if "CANARY_DEATHS" in os.environ:
    canary = _start(Death(Path(os.environ["CANARY_DEATHS"])))
