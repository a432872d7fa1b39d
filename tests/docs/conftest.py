"""The `canary` command as the pages have it typed, and a folder with a demo that was played."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.docs.markdown import ROOT

Shell = Callable[[str], subprocess.CompletedProcess[str]]
_CANARY = 'canary() { "$PYTHON" -m canary "$@"; }; '


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return what runs a line of bash in a folder with `examples/` and this checkout's `canary`."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "80",
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "-c", _CANARY + command]
        return subprocess.run(
            line, cwd=folder, env=env, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def demo(shell: Shell) -> str:
    """Play the demo, whose files stay in `simulated/demo` of that folder.

    Return what it printed.
    """
    done = shell("canary demo")
    assert done.returncode == 0, done.stderr
    return done.stdout
