"""`canary demo`: February 2026, tick by tick."""

import json
import re
from datetime import date, datetime
from pathlib import Path

import pytest

from canary import cli
from canary.demo import demo
from canary.run import Report
from canary.terminal import make_console
from orchestrator_resilience import Phase


@pytest.fixture
def run(phase: Phase, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Report, str]:
    """Return the demo's report and what it printed."""
    return demo(phase, tmp_path / "run", make_console()), capsys.readouterr().out


def test_the_verdicts_at_the_end(run: tuple[Report, str]) -> None:
    """Six healthy or idle dates, one mended among them, and the one that waits for a switched-off processor."""
    assert {v.game_date.day: str(v.kind) for v in run[0].verdicts} == {
        7: "TRIGGERED",
        8: "TRIGGERED",
        9: "TRIGGERED",
        10: "UNTRIGGERED",
        11: "TRIGGERED",
        12: "TRIGGERED",
        13: "IDLE",
    }


def test_the_alerts_come_at_the_first_tick_after_half_an_hour(run: tuple[Report, str]) -> None:
    """Completion at 06:41Z, alert at 07:15Z, for the two broken dates and no other; one word when it is over."""
    printed = run[1]
    assert re.findall(r"─ (\w+) (.{17}) ─+╮\n│ phase2 (\S+): (.*?) {3,}", printed) == [
        (
            "UNTRIGGERED",
            "2026-02-10 07:15Z",
            "2026-02-09",
            "all 5 processors completed 34 min ago, `_triggered` is still unset",
        ),
        (
            "UNTRIGGERED",
            "2026-02-11 07:15Z",
            "2026-02-10",
            "all 5 processors completed 34 min ago, `_triggered` is still unset",
        ),
        (
            "RESOLVED",
            "2026-02-11 15:00Z",
            "2026-02-09",
            "no longer UNTRIGGERED, 1 d 07 h after the alert: 5 of 5 complete, `_triggered` is set",
        ),
    ]
    assert "CHECKPOINT_WAITING: 2026-02-10 5/6 complete missing=['p2_bdl_box_scores']" in printed
    assert "the orchestrator also waits for p2_bdl_box_scores, which phase2 does not expect" in printed
    assert printed.count("CHECKPOINT_TRIGGERED") == 5


def test_its_files_can_be_looked_at_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is named, holds the checkpoints, and answers `canary status`."""
    folder = tmp_path / "run"
    assert cli.main(["demo", "--out", str(folder)]) == 0
    command = re.search(r" (status --data \S+ --now \S+)", capsys.readouterr().out)
    assert command is not None
    assert cli.main(command[1].split()) == 1
    assert "UNTRIGGERED" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "checkpoints.jsonl").read_text().splitlines()]
    assert {line["game_date"] for line in lines} == {str(date(2026, 2, d)) for d in range(7, 14)}
    assert datetime.fromisoformat(lines[0]["time"]) == datetime.fromisoformat("2026-02-07T23:04:01Z")


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run does not mix with the first."""
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "--out: " in capsys.readouterr().err
