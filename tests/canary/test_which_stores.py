"""Whose stores a command reads or writes: it names them, and makes none by accident."""

import json
import os
from pathlib import Path

import pytest

from canary.commands import cli
from canary.commands.options import subject
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.embedded import EmbeddedStores
from tests.page.situations import DAY, NOW, SITUATIONS

NO_STORES = "canary: no stores here: set GOOGLE_CLOUD_PROJECT or give --data\n"
ADD = ["silence", "add", "today", "--for", "1h", "--reason", "x"]
COMMANDS = [
    ["check"],
    ["check", "--json"],
    ["status"],
    ["status", "--html", "page.html"],
    ["explain", "today"],
    ["history"],
    ["ack", "today"],
    ADD,
    ["silence", "list"],
    ["silence", "end", "1"],
    ["verify"],
    ["backtest"],
]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder in which nothing is."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_no_command_is_forgotten() -> None:
    """Each of them is below, makes its own folder, needs a project, or opens no stores."""
    assert {words[0] for words in COMMANDS} | {
        "setup",
        "demo",
        "replay",
        "probe",
        "notify",
    } == cli.canary.commands.keys()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"GOOGLE_CLOUD_PROJECT": ""},
        {"RESILIENCE_DATA_DIR": "elsewhere"},
        {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "BIGQUERY_EMULATOR_HOST": "127.0.0.1:1"},
    ],
    ids=["nothing", "empty", "folder", "emulators"],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_stores_nothing_is_answered_and_nothing_made(
    command: list[str],
    environment: dict[str, str],
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, and what to do."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main(command) == 2
    assert capsys.readouterr() == ("", NO_STORES)
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize("command", [ADD, ["setup"]], ids=" ".join)
def test_an_empty_folder_has_no_stores(
    command: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is there, `canary setup` makes them; nothing else does."""
    (nowhere / "resilience-data").mkdir()
    is_setup = command == ["setup"]
    assert cli.main(command) == (0 if is_setup else 2)
    assert capsys.readouterr().err == ("" if is_setup else NO_STORES)
    assert EmbeddedStores(nowhere / "resilience-data").are_there == is_setup


def test_setup_makes_stores_where_their_place_is_named(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `--data`, or by the environment; the answer says where."""
    assert cli.main(["setup"]) == 2
    assert capsys.readouterr().err == NO_STORES
    assert list(nowhere.iterdir()) == []
    assert cli.main(["setup", "--data", "mine"]) == 0
    assert capsys.readouterr().out == "mine/resilience.sqlite3: has every column\n"
    monkeypatch.setenv("RESILIENCE_DATA_DIR", "resilience-data")
    assert cli.main(["setup"]) == 0
    assert capsys.readouterr().out == "resilience-data/resilience.sqlite3: has every column\n"
    monkeypatch.delenv("RESILIENCE_DATA_DIR")
    assert cli.main(ADD) == 0
    assert " in folder resilience-data; end it with " in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_folder_that_is_named_wrongly_is_not_made(
    command: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is one that is a file; the answer names it."""
    (nowhere / "file").write_text("x")
    for folder in ("typo", "file"):
        assert cli.main([*command, "--data", folder]) == 2
        printed = capsys.readouterr()
        page = nowhere / "page.html"
        told = page.read_text("utf-8") if "--html" in command else printed.out + printed.err
        assert f"{folder}/resilience.sqlite3" in " ".join(told.split())
        page.unlink(missing_ok=True)
    assert [path.name for path in nowhere.iterdir()] == ["file"]


def test_setup_into_a_file_is_refused(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    (nowhere / "file").write_text("x")
    assert cli.main(["setup", "--data", "file"]) == 2
    assert capsys.readouterr().err.startswith("canary: file/resilience.sqlite3: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_folder_that_cannot_be_looked_into(
    command: list[str],
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Is not one without stores; root may look into each, so that it is refused here."""
    refused = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "resilience.sqlite3":
            raise PermissionError(13, "Permission denied", str(path))
        return refused(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert cli.main(command) == 2
    assert capsys.readouterr() == (
        "",
        "canary: [Errno 13] Permission denied: 'resilience-data/resilience.sqlite3'\n",
    )
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({}, "in folder resilience-data"),
        ({"RESILIENCE_DATA_DIR": "a\x1bb"}, "in folder a\\x1bb"),
        ({"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}, "in folder resilience-data"),
        ({"GOOGLE_CLOUD_PROJECT": "my-project"}, "in project my-project"),
        (
            {"GOOGLE_CLOUD_PROJECT": "my-project", "RESILIENCE_DATA_DIR": "data"},
            "in project my-project",
        ),
        ({"GOOGLE_CLOUD_PROJECT": "p", "FIRESTORE_DATABASE": "(default)"}, "in project p"),
        (
            {"GOOGLE_CLOUD_PROJECT": "p", "FIRESTORE_DATABASE": "scores"},
            "in project p, database scores",
        ),
    ],
)
def test_where_the_stores_are(
    environment: dict[str, str], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an answer says it, and with `--data` whatever the environment says."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert subject(None).where == where
    assert subject(Path("simulated/demo")).where == "in folder simulated/demo"


def test_data_outweighs_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is typed outweighs what is set, for reads and writes, and answers name the folder."""
    folder = tmp_path / "stores"
    SITUATIONS["blocked"](folder)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "nobodys")
    data = ["--data", str(folder), "--now", NOW.isoformat()]
    for command in (
        ["check", "--dry-run"],
        ["status"],
        ["explain", str(DAY)],
        ["history"],
        ["silence", "list"],
    ):
        assert cli.main([*command, *data, "--json"]) in {0, 1}
        assert json.loads(capsys.readouterr().out)["store"] == {"folder": str(folder)}
    assert cli.main([*ADD, *data]) == 0
    assert f" in folder {folder}; " in capsys.readouterr().out
    assert cli.main(["ack", "yesterday", *data, "--by", "ada"]) == 0
    assert (
        f"phase2 {DAY} UNTRIGGERED in folder {folder}: acknowledged by ada at "
        in capsys.readouterr().out
    )
    assert cli.main(["ack", "yesterday", *data, "--by", "ada", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["acknowledgement"]["game_date"]) == ("UNTRIGGERED", str(DAY))
    assert cli.main(["status", *data]) == 1
    assert f"as of 2026-02-12 07:45Z, in folder {folder}" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_settings_say_whether_the_folder_is_named() -> None:
    """By the name that it has anyway as well."""
    named = [
        Settings.from_env({"RESILIENCE_DATA_DIR": name}).data_dir_is_named
        for name in ("", "resilience-data")
    ]
    assert named == [False, True]
