"""What a shell is told of how a command may go on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from canary.commands import cli
from tests.docs.markdown import ROOT

SHELLS = ["bash", "zsh", "fish"]


def asked(shell: str, words: list[str]) -> dict[str, str]:
    """Return how a shell says what is typed, the last word unfinished."""
    where = words[-1] if shell == "fish" else str(len(words) - 1)
    return {
        "_CANARY_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": where,
    }


def ask(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], shell: str, *words: str
) -> str:
    for name, value in asked(shell, ["canary", *words]).items():
        monkeypatch.setenv(name, value)
    assert cli.main([]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_gets_its_script(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Which it can read."""
    monkeypatch.setenv("_CANARY_COMPLETE", f"{shell}_source")
    assert cli.main([]) == 0
    script = tmp_path / "script"
    script.write_text(capfd.readouterr().out)
    assert f"_CANARY_COMPLETE={shell}_complete" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_and_options_are_proposed(
    shell: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those that begin as it was typed, at each depth; nothing runs."""

    def words_of(answer: str) -> list[str]:
        return answer.replace(",", " ").split()

    assert {"silence", "setup", "status"} <= set(words_of(ask(monkeypatch, capfd, shell, "s")))
    assert "add" in words_of(ask(monkeypatch, capfd, shell, "silence", ""))
    assert "--data" in words_of(ask(monkeypatch, capfd, shell, "check", "--d"))
    assert "--reason" in words_of(ask(monkeypatch, capfd, shell, "silence", "add", "--re"))
    assert "today" in words_of(ask(monkeypatch, capfd, shell, "explain", "to"))
    assert "--version" in words_of(ask(monkeypatch, capfd, shell, "--v"))
    assert "setup" in words_of(ask(monkeypatch, capfd, shell, "--version", "se"))


def test_a_folder_is_completed_as_a_folder(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the shell, and a file as a file."""
    assert ask(monkeypatch, capfd, "bash", "check", "--data", "si") == "dir,si\n"
    assert ask(monkeypatch, capfd, "bash", "status", "--html", "pa") == "file,pa\n"


@pytest.mark.parametrize("nonsense", ["bash", "csh_source", "bash_dance"])
def test_what_no_shell_asks_is_refused(
    nonsense: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what there is."""
    monkeypatch.setenv("_CANARY_COMPLETE", nonsense)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr() == (
        "",
        (
            "canary: _CANARY_COMPLETE: expected bash_source, zsh_source or fish_source, got "
            f"{nonsense!r}\n"
        ),
    )


def test_bash_proposes_what_there_is(tmp_path: Path) -> None:
    """As a user sees it who presses the key."""
    command = tmp_path / "canary"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m canary "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(_CANARY_COMPLETE=bash_source canary)"\n'
        "COMP_WORDS=(canary silence e) COMP_CWORD=2\n"
        '_canary_completion canary\necho "${COMPREPLY[@]}"\n'
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    assert (done.stdout, done.stderr) == ("end\n", "")
