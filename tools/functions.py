"""Runs the two functions, and the example, as Google Cloud does, in functions-framework."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.emulators import Server, free_port, server

ROOT = Path(__file__).parents[1]
TARGETS = {"orchestrator": "orchestrate", "canary": "canary"}
# What deploy/ gives an instance: so many requests at once, each in a thread of gunicorn's.
THREADS = 8


def stage(name: str, folder: Path) -> Path:
    """Make of an empty folder what is deployed as "orchestrator" or "canary"; returns it."""
    subprocess.run(["bash", ROOT / "deploy" / "stage.sh", name, folder], check=True)  # noqa: S603, S607
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
def existing_function(environment: Mapping[str, str], version: str = "after") -> Iterator[Server]:
    """Serve examples/existing_orchestrator/ as it is "before" or "after" it had checkpoints."""
    source = ROOT / "examples" / "existing_orchestrator" / version / "main.py"
    with _served(
        "existing", source, "orchestrate", {"PYTHONUNBUFFERED": "1", **environment}
    ) as running:
        yield running


@contextmanager
def _function(name: str, environment: Mapping[str, str]) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix=f"staged-{name}-") as folder:
        source = stage(name, Path(folder)) / "main.py"
        settings = {
            "PYTHONPATH": folder,
            "PYTHONUNBUFFERED": "1",
            "THREADS": str(THREADS),
            **environment,
        }
        with _served(TARGETS[name], source, TARGETS[name], settings, [folder]) as running:
            yield running


@contextmanager
def _served(
    name: str, source: Path, target: str, settings: Mapping[str, str], folders: Sequence[str] = ()
) -> Iterator[Server]:
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("functions-framework")),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *("--source", str(source), "--target", target),
    ]
    # On SIGTERM gunicorn waits for connections that others keep open, and for calls that hang: from
    # 2 s to 10.
    with server(name, port, command, settings, stop=signal.SIGKILL, folders=folders) as running:
        running.wait_until_it_answers()
        yield running
