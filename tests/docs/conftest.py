"""The `canary` command as the pages describe it.

Its help, and a folder in which the demo has been played.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.docs.markdown import ROOT

Shell = Callable[[str], subprocess.CompletedProcess[str]]
_CANARY = 'canary() { "$PYTHON" -m canary "$@"; }; '
_COMMANDS = re.compile(r"^\W*(?:positional arguments|commands):?\W*$", re.IGNORECASE)


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return what runs a line of bash in a folder with `examples/`, where `canary` is this checkout's command."""
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


@pytest.fixture(scope="session")
def command_help(shell: Shell) -> dict[str, set[str]]:
    """Return the options of each command, "canary silence add" among them, by what `--help` says."""
    found: dict[str, set[str]] = {}
    waiting = ["canary"]
    while waiting:
        command = waiting.pop()
        text = _help(shell, command)
        found[command] = {option for _, option in _defined(text)} - {"--help"}
        waiting += [f"{command} {name}" for name in _subcommands(text)]
    return found


def _help(shell: Shell, command: str) -> str:
    done = shell(f"{command} --help")
    assert done.returncode == 0, done.stderr
    return re.sub(r"[│╭╮╰╯─]", " ", done.stdout)  # what draws a frame around it


def _defined(text: str) -> list[tuple[str, str]]:
    """Return the options that begin a line, a short form of theirs before them or not."""
    return re.findall(r"^ {1,6}(-\w(?: \w+)?, +)?(--[a-z][a-z-]*)", text, re.MULTILINE)


def _subcommands(text: str) -> list[str]:
    """Return the names below "Commands:" (or argparse's "positional arguments:"), placeholders left out."""
    lines = iter(text.splitlines())
    listed = []
    for line in lines:
        if _COMMANDS.match(line):
            for entry in lines:
                if not entry.strip():
                    break
                listed.append(entry)
    names = [re.match(r" {1,6}([a-z][a-z-]*)(?: {2,}\S.*)?\s*$", entry) for entry in listed]
    return [name[1] for name in names if name]
