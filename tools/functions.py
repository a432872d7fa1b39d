"""Runs the two functions as Google Cloud does: each staged as it is deployed, in a functions-framework server."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools.emulators import Server, free_port, server

ROOT = Path(__file__).parents[1]
TARGETS = {"orchestrator": "orchestrate", "canary": "canary"}


def stage(name: str, folder: Path, phases_file: str = "") -> Path:
    """Make of an empty folder what is deployed as "orchestrator" or "canary"; returns it."""
    subprocess.run(["bash", ROOT / "deploy" / "stage.sh", name, folder, phases_file], check=True)  # noqa: S603, S607
    return folder


@contextmanager
def orchestrator_function(environment: Mapping[str, str]) -> Iterator[Server]:
    """Serve the orchestrator."""
    with _function("orchestrator", environment) as running:
        yield running


@contextmanager
def canary_function(environment: Mapping[str, str]) -> Iterator[Server]:
    """Serve the canary."""
    with _function("canary", environment) as running:
        yield running


@contextmanager
def _function(name: str, environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix=f"staged-{name}-") as folder:
        source = stage(name, Path(folder)) / "main.py"
        command = [
            *(str(Path(sys.executable).with_name("functions-framework")), "--host", "127.0.0.1", "--port", str(port)),
            *("--source", str(source), "--target", TARGETS[name]),
        ]
        settings = {"PYTHONPATH": folder, "PYTHONUNBUFFERED": "1", **environment}
        # On SIGTERM gunicorn waits for connections that others keep open, and for calls that hang: from 2 s to 10.
        with server(TARGETS[name], port, command, settings, stop=signal.SIGKILL) as running:
            running.wait_until_it_answers()
            yield running
