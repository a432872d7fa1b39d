"""Processes of the functions that die, and the emulators of the long forms."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from orchestrator_resilience.stores.bigquery import BigQuery
from tools.emulators import PROJECT, Server, emulators, free_port, server
from tools.functions import THREADS

_SERVED = Path(__file__).with_name("mortal.py")


@contextmanager
def process(
    service: str, project: str, folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve "orchestrator" or "canary" until the block ends; `folder` is where deaths are noted."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("functions-framework")),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *("--source", str(_SERVED), "--target", "serve"),
    ]
    environment = {
        "GOOGLE_CLOUD_PROJECT": project,
        "K_SERVICE": service,
        "PYTHONPATH": str(_SERVED.parents[2]),
        "CHAOS_FOLDER": str(folder),
        "THREADS": str(THREADS),
        **(variables or {}),
    }
    with server(service, port, command, environment, stop=signal.SIGKILL) as running:
        yield running


def deaths(folder: Path) -> list[str]:
    """Return how each process was told to die, and the step at which it did."""
    return [path.read_text("utf-8") for path in folder.glob("death-*")]


@contextmanager
def emulated() -> Iterator[BigQuery]:
    """Run the emulators, with a dataset, and let the clients find them."""
    with emulators() as environment, patch.dict(os.environ, environment):
        bigquery = BigQuery(PROJECT, emulated=True)
        bigquery.client.create_dataset("nba_orchestration")
        yield bigquery
