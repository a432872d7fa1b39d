"""Runs the two functions as Google Cloud does: functions-framework, one server process each."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools.emulators import Server, free_port, server

ROOT = Path(__file__).parents[1]


@contextmanager
def orchestrator_function(environment: Mapping[str, str]) -> Iterator[Server]:
    """Serve `orchestrator_resilience/function.py`."""
    with _function("orchestrator_resilience/function.py", "orchestrate", "cloudevent", environment) as running:
        yield running


@contextmanager
def canary_function(environment: Mapping[str, str]) -> Iterator[Server]:
    """Serve `canary/function.py`."""
    with _function("canary/function.py", "canary", "http", environment) as running:
        yield running


@contextmanager
def _function(source: str, target: str, signature: str, environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "functions_framework", "--host", "127.0.0.1", "--port", str(port)),
        *("--source", str(ROOT / source), "--target", target, "--signature-type", signature),
    ]
    settings = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    # On SIGTERM gunicorn waits for connections that others keep open, and for calls that hang: from 2 s to 10.
    with server(target, port, command, settings, stop=signal.SIGKILL) as running:
        running.wait_until_it_answers()
        yield running
