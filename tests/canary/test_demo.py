"""`canary demo`: February 2026, tick by tick."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import date, datetime
from pathlib import Path

import pytest

from canary.commands import cli


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Play the demo once; returns where, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("demo"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [".venv/bin/canary"])
        assert cli.main(["demo"]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def folder(played: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to where the demo was played."""
    monkeypatch.chdir(played[0])
    monkeypatch.setattr(sys, "argv", [".venv/bin/canary"])
    return played[0]


@pytest.fixture
def screen(played: tuple[Path, str]) -> list[str]:
    """Return the lines that the demo prints."""
    return played[1].splitlines()


def alerts(lines: list[str]) -> list[str]:
    """Return each alert as one line, with its title and without its frame."""
    found = re.findall(r"╭─ (.*?) ─+╮\n(.*?)╰─", "\n".join(lines), re.DOTALL)
    return [
        " ".join([title, *(line.strip("│ ") for line in text.splitlines())])
        for title, text in found
    ]


def test_it_is_one_screen(screen: list[str]) -> None:
    """80 columns by 60 lines, whatever a pipe would take."""
    assert len(screen) <= 60
    assert max(map(len, screen)) <= 80


def test_it_tells_what_matters_and_what_does_not(screen: list[str]) -> None:
    """It names the cause on the date with Phase 3 output and on that of 14 games without a row."""
    harmless, real = alerts(screen)
    assert harmless.startswith(
        "OPENED 2026-02-10 07:15Z △ WARNING · 2026-02-09 · UNTRIGGERED · Phase 3 has its output"
    )
    assert "Cause: SHORT_CIRCUIT at DECIDED: " in re.sub(" +", " ", harmless)
    assert "NONE: Phase 3 has 260 rows for 10 games." in harmless
    headline = "✖ CRITICAL, changed · 2026-02-11 · UNTRIGGERED · Phase 3 has 0 of 14 games"
    assert real.startswith(
        f"CHANGED 2026-02-12 07:45Z {headline} · the orchestrator waits for p2_bdl_box_scores "
        "Do now:"
    )
    assert "registered 5 of 5 · decided: no, waits for p2_bdl_box_scores" in real
    assert "Cause: EXPECTATION_DRIFT at DECIDED: waits for p2_bdl_box_scores" in re.sub(
        " +", " ", real
    )
    assert "BLOCKED: Phase 3 has 0 of 14 games." in real


def test_it_shows_the_checkpoints_that_tell_it(screen: list[str]) -> None:
    """Of a healthy date the flag being set, of the others what the last delivery did instead."""
    lines = [line[10:] for line in screen if line.startswith("06:41:01Z CHECKPOINT_")]
    assert any(
        line.startswith("CHECKPOINT_TRIGGERED: 5/5 complete, _triggered is set") for line in lines
    )
    assert any(
        line.startswith("CHECKPOINT_POST_TRANSACTION: should_trigger=False") for line in lines
    )
    assert any(
        line.startswith("CHECKPOINT_WAITING: missing=['p2_bdl_box_scores']") for line in lines
    )


def test_it_shows_the_end_of_it(screen: list[str]) -> None:
    """Each date that was wrong is over, and the last lines have them all."""
    resolved = [line for line in screen if " RESOLVED " in line]
    assert [re.findall(r"RESOLVED (\S+):", line)[0] for line in resolved] == [
        "2026-02-09",
        "2026-02-10",
        "2026-02-11",
    ]
    last = dict(re.findall(r"^phase2 (\S+) ([A-Z_]+): ", "\n".join(screen), re.MULTILINE))
    healthy = {f"2026-02-{day:02}": "TRIGGERED" for day in range(8, 13)}
    assert last == {**healthy, "2026-02-13": "IDLE"}


def test_every_command_that_it_prints_works(screen: list[str], folder: Path) -> None:
    """Pasted where the demo was run, those inside an alert too."""
    commands = [
        line.removeprefix("Look:").strip() for line in screen if ".venv/bin/canary " in line
    ]
    assert len(commands) == 6, "two in alerts, four at the end"
    environment = {**os.environ, "PHASES_FILE": "elsewhere.toml"}
    for command in commands:
        runnable = command.replace(".venv/bin/canary", shlex.join([sys.executable, "-m", "canary"]))
        done = subprocess.run(
            ["sh", "-c", runnable],  # noqa: S607
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b""), command


@pytest.mark.usefixtures("folder")
def test_an_explained_date_knows_its_impact_and_its_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The folder brings its own phases, their tables, and the time at which the run ended."""
    arguments = ["explain", "2026-02-11", "--data", "simulated/demo", "--json"]
    assert cli.main(arguments) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["kind"], verdict["output"], verdict["work"]) == ("TRIGGERED", 14 * 26, 14)
    assert cli.main([*arguments, "--now", "2026-02-12T07:00:00Z"]) == 0, "--now is stronger"
    assert cli.main(["status", "--data", "simulated/demo"]) == 0
    assert (
        "as of 2026-02-14 17:00Z, in the simulated run of simulated/demo" in capsys.readouterr().out
    )


def test_verbose_shows_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All checkpoints are shown, and the alerts at the first tick after half an hour."""
    assert cli.main(["demo", "--verbose", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    first = alerts(printed.splitlines())
    opened = [
        re.findall(r"OPENED 2026-02-(\d+) 07:15Z \S \w+ · 2026-02-(\d+) · UNTRIGGERED", alert)
        for alert in first
    ]
    assert [days for days in opened if days] == [[(str(day + 1), f"{day:02}")] for day in (9, 10)]
    # a group
    assert (
        "OPENED 2026-02-12 07:15Z ▲ ERROR · 2 dates, 2026-02-10 to 02-11 · UNTRIGGERED"
        in " ".join(first)
    )
    over = [
        re.findall(r"RESOLVED 2026-02-12 15:15Z ✓ RESOLVED · 2026-02-(\d+) · no longer", alert)
        for alert in first
    ]
    assert [days for days in over if days] == [[f"{day:02}"] for day in (9, 10, 11)]
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "checkpoints.jsonl").read_text().splitlines()
    ]
    assert printed.count("Z CHECKPOINT_") == len(lines)
    assert {line["game_date"] for line in lines} == {str(date(2026, 2, d)) for d in range(8, 14)}
    assert datetime.fromisoformat(lines[0]["time"]) == datetime.fromisoformat(
        "2026-02-08T23:04:01Z"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_it_all_is_no_error(encoding: str, tmp_path: Path) -> None:
    """What has no character there is a question mark; the alerts are readable."""
    command = [sys.executable, "-m", "canary", "demo"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"BLOCKED: Phase 3 has 0 of 14 games." in done.stdout


def test_a_second_demo_is_the_same_in_the_same_folder(
    screen: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It empties what the first has left, and leaves nothing else behind."""
    assert cli.main(["demo"]) == 0
    assert capsys.readouterr().out.splitlines() == screen
    assert [path.name for path in folder.iterdir()] == ["simulated"]
