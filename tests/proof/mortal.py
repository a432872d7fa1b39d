"""The functions as they are deployed, each in a process that dies where a request says so.

A step is before or after an operation on a store, or a message to a channel. `X-Dies: 3` is the
third step of this request; `X-Dies: before merge` the next such step, of whatever request. The
process notes its step in CHAOS_FOLDER before it dies. A canary's run takes place when X-Now says,
so that hours pass at once, and its deadlines are scaled.
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

import canary.function
import canary.notify.opening
import orchestrator_resilience.function
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.jsonl import JsonLinesArchive
from orchestrator_resilience.stores.opening import open_stores
from tests.proof.doubles import Operation, Watched
from tests.proof.outages import SCALE, scaled


class Death:
    """The step at which this process dies, if it does; it is noted in `folder` before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, Lock()
        self._left, self._step, self._sentence = 0, "", ""

    def sentence(self, text: str) -> None:
        """Die as a request says; at no step where it says nothing."""
        with self._lock:
            self._sentence, self._step = text, "" if text.isdecimal() else text
            self._left = int(text) if text.isdecimal() else int(bool(text))

    def reach(self, step: str) -> None:
        """Die, or go on."""
        with self._lock:
            self._left -= self._step in {"", step}
            if self._left == 0:
                (self.folder / f"death-{os.getpid()}").write_text(
                    f"{self._sentence}, {step}", "utf-8"
                )
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(self, inner: object, *operations: str, to: str = "") -> Any:
        """Let each of these operations be two steps."""

        def watch(operation: Operation, do: Callable[[], Any]) -> Any:
            self.reach(f"before {operation.name}{to}")
            answer = do()
            self.reach(f"after {operation.name}{to}")
            return answer

        return Watched(inner, watch, operations)


def _orchestrator(death: Death) -> Callable[[flask.Request], Any]:
    def opened(*args: Any, **named: Any) -> Any:
        stores: Any = open_stores(*args, **named)
        stores.documents = death.watched(
            stores.documents, "get_all", "merge", "update_if_unchanged", "commit"
        )
        stores.completion_log = death.watched(stores.completion_log, "append")
        return stores

    vars(orchestrator_resilience.function).update(open_stores=opened)
    return orchestrator_resilience.function.start()


class _Clock(datetime):
    """The time of the request."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """Return it."""
        return datetime.fromisoformat(flask.request.headers["X-Now"]).astimezone(tz)


def _canary(death: Death) -> Callable[[flask.Request], Any]:
    def opened(*args: Any, **named: Any) -> Any:
        stores: Any = open_stores(*args, **named)
        documents = FirestoreDocuments(os.environ["GOOGLE_CLOUD_PROJECT"], seconds=10 * SCALE)
        stores.documents = death.watched(
            documents, "get_all", "merge", "update_if_unchanged", "commit"
        )
        stores.completion_log = death.watched(stores.completion_log, "summarise")
        # Cloud Logging is not here
        stores.checkpoints = JsonLinesArchive(death.folder / "checkpoints.jsonl")
        return stores

    def log_channel(*args: Any, **named: Any) -> Any:
        return death.watched(LogChannel(*args, **named), "send", to=" to the log")

    def slack_channel(*args: Any, **named: Any) -> Any:
        return death.watched(
            SlackChannel(*args, **named, seconds=10 * SCALE), "send", to=" to Slack"
        )

    vars(canary.function).update(open_stores=opened, datetime=_Clock)
    vars(canary.notify.opening).update(LogChannel=log_channel, SlackChannel=slack_channel)
    ExitStack().enter_context(scaled())  # for as long as the process lives
    return canary.function.start()


def _serving(
    start: Callable[[Death], Callable[[flask.Request], Any]],
) -> Callable[[flask.Request], Any]:
    death = Death(Path(os.environ["CHAOS_FOLDER"]))
    handle = start(death)

    def serve(request: flask.Request) -> Any:
        if text := request.headers.get("X-Dies", ""):
            death.sentence(text)
        try:
            return handle(request)
        finally:
            if text.isdecimal():
                death.sentence("")  # it had fewer steps than that

    return serve


serve = _serving(_canary if os.environ["K_SERVICE"] == "canary" else _orchestrator)
