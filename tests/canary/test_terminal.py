"""What a terminal shows at 80 and at 100 columns, of which nothing breaks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from canary.commands import cli
from canary.commands.lanes import text_lane
from canary.page.axis import Mark, Span
from canary.page.board import Badge, Lane
from canary.playback.demo import PHASES
from tests.docs.markdown import ROOT
from tests.page.situations import DAY, NOW, SITUATIONS

COMMANDS = [["status"], ["status", "--days", "14"], ["check"], ["explain", str(DAY)]]


def printed(folder: Path, *arguments: str, columns: int = 80, **environment: str) -> str:
    command = [
        sys.executable,
        "-m",
        "canary",
        *arguments,
        "--data",
        str(folder),
        "--now",
        NOW.isoformat(),
    ]
    phases = folder.with_name("phases.toml")
    phases.write_text(PHASES)
    variables = {**os.environ, "COLUMNS": str(columns), "PHASES_FILE": str(phases), **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module", params=["several_dates", "silenced", "empty"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stores = tmp_path_factory.mktemp(request.param) / "stores"
    SITUATIONS[request.param](stores)
    return stores


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("arguments", COMMANDS)
def test_everything_fits_the_width(folder: Path, columns: int, arguments: list[str]) -> None:
    """Every line fits, except for a command to be pasted and a silence's reason, kept whole."""
    lines = printed(folder, *arguments, columns=columns).splitlines()
    whole = ("Look: ", "Ack: ", "Silence: ", "silenced: ")
    assert [line for line in lines if len(line) > columns and not line.startswith(whole)] == []


@pytest.mark.parametrize("arguments", COMMANDS)
def test_ascii_where_it_is_asked_for(folder: Path, arguments: list[str]) -> None:
    """And no colour; a terminal that has no other characters gets none without being asked."""
    asked = printed(folder, *arguments, "--ascii", FORCE_COLOR="1")
    assert asked.isascii()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", asked)
    assert printed(folder, *arguments, PYTHONIOENCODING="ascii") == printed(
        folder, *arguments, "--ascii"
    )
    assert "?" not in asked.replace("?\n", "")


@pytest.mark.parametrize("phases", ["one", "three"])
def test_status_fits_whatever_the_width(
    phases: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a picture or as a list; but for a path, which is left whole."""
    SITUATIONS["several_dates"](tmp_path)
    (tmp_path / "phases.toml").write_text(PHASES, "utf-8")
    files = {
        "one": tmp_path / "phases.toml",
        "three": ROOT / "examples" / "phases_of_a_pipeline.toml",
    }
    monkeypatch.setenv("PHASES_FILE", str(files[phases]))
    for width in (1, 2, *range(20, 201, 3 if phases == "one" else 12)):
        monkeypatch.setenv("COLUMNS", str(width))
        for more in ([], ["--ascii"]):
            assert (
                cli.main(["status", "--data", str(tmp_path), "--now", NOW.isoformat(), *more]) == 1
            )
            said = capsys.readouterr()
            assert said.err == ""
            lines = said.out.splitlines()
            assert (
                width < 20 or [x for x in lines if len(x) > width and str(tmp_path) not in x] == []
            )
            assert said.out.isascii() or not more


def test_a_label_keeps_its_text_beside_it(tmp_path: Path) -> None:
    """Whatever the label: what goes on stands below the text, not below the label."""
    SITUATIONS["blocked"](tmp_path / "stores")
    inside = [
        line[2:-2].rstrip()
        for line in printed(tmp_path / "stores", "check").splitlines()
        if line[:1] == "│"
    ]
    assert [
        line for line in inside[2:] if not re.match(r"[A-Z][\w ]{0,7}: +\S| {10}\S", line)
    ] == []


def test_explain_has_a_line_for_each_delivery(tmp_path: Path) -> None:
    """Five, the deadline, and nothing else; what matters stands first."""
    SITUATIONS["blocked"](tmp_path / "stores")
    out = printed(tmp_path / "stores", "explain", str(DAY), columns=100)
    assert re.search(
        r"CRITICAL · 2026-02-11 · UNTRIGGERED · Phase 3 has 0 of 14 games", out.splitlines()[1]
    )
    moments = [
        line for line in out.splitlines() if re.match(r"02-1[12] \d\d:\d\d:\d\d  \d\d:\d\d  ", line)
    ]
    assert [line[23:].split()[0] for line in moments] == [
        *("p2_odds_game_lines", "p2_odds_player_props", "p2_bigdataball_pbp"),
        *("p2_nbacom_gamebook_pdf", "p2_nbacom_boxscores", "the"),
    ]


def a_lane(*marks: Mark) -> Lane:
    return Lane(
        date=DAY,
        href=None,
        badge=Badge("UNTRIGGERED", "bad"),
        games=Badge("0 of 14 games", "bad"),
        words="",
        silenced=False,
        marks=marks,
        arrivals=Span(20.0, 25.0),
        pending=Span(45.0, 50.0),
        grace=Span(45.0, 2.0),
        deadline=80.0,
        now=95.0,
        flag=Mark(45.0, "ok", ""),
    )


def test_a_lane_in_characters() -> None:
    """The same places as on the page; a flag that lies on a completion stands beside it."""
    lane = a_lane(Mark(20.0, "ok", "", 2), Mark(45.0, "ok", ""))
    assert text_lane(lane, 20) == "····2━━━━●⚑╌╌╌╌╌┊╌╌┃"


def test_a_lane_that_is_full_of_marks() -> None:
    """The flag takes the place of one."""
    lane = a_lane(*(Mark(float(5 * number), "ok", "") for number in range(20)))
    assert text_lane(lane, 20) == "●" * 9 + "⚑" + "●" * 10
