"""Virtual environments of a test's own, and what they get from the package index."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# What pip and uv say where there is no way to the index.
_NO_WAY = re.compile(
    "NewConnectionError|NameResolutionError|dns error|error sending request|Failed to fetch",
    re.IGNORECASE,
)


def fetch(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> str:
    """Run what needs the package index, and return what it printed.

    Where the index cannot be reached, skip, or fail if REQUIRE_EMULATORS is set.
    """
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode and _NO_WAY.search(done.stderr) and not os.environ.get("REQUIRE_EMULATORS"):
        pytest.skip("there is no way to the package index")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fetch_pip(version: str, folder: Path) -> Path:
    """Return the wheel of a pip, the newest where no version is said."""
    wanted = f"pip=={version}" if version else "pip"
    fetch(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wanted]
    )
    (wheel,) = folder.glob("pip-*.whl")
    return wheel


def find_python(version: str) -> str:
    """Return a Python of this version, such as 3.13, where one starts; else the tests' own."""
    command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    try:
        # pyenv's command of that name starts what this variable says.
        environment = {**os.environ, "PYENV_VERSION": version}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return sys.executable


def make_environment(folder: Path, pip: Path | None = None, python: str = sys.executable) -> Path:
    """Make an empty environment, with a pip or with none; returns its Python."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    if pip is not None:
        (packages,) = folder.glob("lib/python*/site-packages")
        with zipfile.ZipFile(pip) as wheel:
            wheel.extractall(packages)
    return folder / "bin" / "python"
