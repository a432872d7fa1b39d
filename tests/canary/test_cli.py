"""The `canary` command, as a user runs it."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import canary.sources
from canary.commands import cli
from orchestrator_resilience import Completion, Phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.jsonl import append_line
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.inputs import ENVELOPE, check_text, fuzzed, mutated_text

DONE = datetime.fromisoformat("2026-02-10T06:41:00Z")


def messages(phase: Phase, day: str) -> list[dict[str, Any]]:
    return [
        push_envelope(p, day, DONE, message_id=f"{day}-{n}")
        for n, p in enumerate(sorted(phase.expected))
    ]


@pytest.fixture
def stuck(
    stores: EmbeddedStores, phase: Phase, orchestrator: Orchestrator, clock: SimulatedClock
) -> Path:
    """A folder in which February 8 is healthy and February 9 is what the old code left."""
    clock.now = DONE
    for message in messages(phase, "2026-02-08"):
        orchestrator.deliver(message)
    for message in messages(phase, "2026-02-09"):
        completion = Completion.from_event(message, phase)
        stores.completion_log.append([completion_row(completion)], now=DONE)
        fields = registration_fields(read_progress({}, phase), completion, DONE)
        del fields["_expected"]
        stores.documents.merge(DocumentRef("phase2_completion", "2026-02-09"), fields)
    return stores.folder


def run(*arguments: str | Path) -> int:
    return cli.main([str(a) for a in arguments])


def test_check_finds_the_problem(stuck: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the alert says what, since when, and what starts Phase 3."""
    assert run("check", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 1
    printed = " ".join(word for word in capsys.readouterr().out.split() if word != "│")
    assert "phase2 2026-02-08 TRIGGERED: 5 of 5 complete" in printed
    assert "all 5 processors completed 34 min ago, `_triggered` is still unset" in printed
    assert "2026-02-10 06:41:00Z (01:41 EST), 34 min ago" in printed
    assert (
        "The Pub/Sub subscription nba-phase3-analytics-sub starts it, not `_triggered`" in printed
    )


def test_check_is_quiet_before_the_half_hour(stuck: Path) -> None:
    """At 29:59 nobody is accused, at 30:00 somebody is."""
    assert run("check", "--data", stuck, "--now", "2026-02-10T07:10:59Z") == 0
    assert run("check", "--data", stuck, "--now", "2026-02-10T02:11:00-05:00") == 1


def test_check_answers_json(stuck: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdicts whole, for one date and one phase."""
    arguments = ("2026-02-09", "--phase", "phase2", "--now", "2026-02-10T07:15:00Z", "--json")
    assert run("check", "--data", stuck, *arguments) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["outcome"], answer["now"]) == ("PROBLEM", "2026-02-10T07:15:00+00:00")
    (verdict,) = answer["verdicts"]
    assert (verdict["kind"], verdict["game_date"], verdict["since"]) == (
        "UNTRIGGERED",
        "2026-02-09",
        "2026-02-10T06:41:00Z",
    )


def test_each_run_leaves_a_line_but_a_dry_one(
    stuck: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`canary status` says when the canary last ran; a run that judged the past is not counted."""

    class At(datetime):
        """The present, as the commands ask for it."""

        def __new__(cls, now: str) -> Any:
            """Return what stands for the class."""
            moment = datetime.fromisoformat(now)
            return type("_Now", (datetime,), {"now": staticmethod(lambda _: moment)})

    assert run("check", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 1
    monkeypatch.setattr("canary.commands.options.datetime", At("2026-02-10T07:15:00Z"))
    assert run("check", "--data", stuck, "--dry-run") == 1
    assert run("status", "--data", stuck) == 1
    assert "last canary run: none recorded here" in capsys.readouterr().out
    assert run("check", "--data", stuck) == 1
    monkeypatch.setattr("canary.commands.options.datetime", At("2026-02-10T07:20:00Z"))
    append_line(stuck / "canary_runs.jsonl", "[" * 10_000 + "\n")
    append_line(stuck / "canary_runs.jsonl", '{"now": "9999-12-31T00:00:00"}\n')
    assert run("status", "--data", stuck) == 1
    assert "last canary run: 2026-02-10T07:15:00+00:00, 5 min ago" in capsys.readouterr().out
    assert run("status", "--data", stuck, "--now", "2026-02-10T07:10:00Z") == 3
    assert "last canary run: none recorded here" in capsys.readouterr().out
    line, *_ = (stuck / "canary_runs.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "run": "CANARY_RUN",
        "now": "2026-02-10T07:15:00+00:00",
        "outcome": "PROBLEM",
        "dates": [
            {"phase": "phase2", "game_date": "2026-02-08", "verdict": "TRIGGERED"},
            {"phase": "phase2", "game_date": "2026-02-09", "verdict": "UNTRIGGERED"},
            {"phase": "phase2", "game_date": "2026-02-10", "verdict": "WAITING"},
        ],
    }


def test_status_is_a_picture(stuck: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row a date: what arrived and when, the flag, what the next phase has, the verdict."""
    run("status", "--data", stuck, "--now", "2026-02-10T07:15:00Z", "--days", "3")
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if re.match(r"phase2 2026-02-\d\d [^A-Z]* ", line)]
    assert [(row[1], re.sub("[·┊┃]", "", row[2]), row[-1]) for row in rows] == [
        ("2026-02-08", "⚑5", "TRIGGERED"),  # so late that both stand at the edge
        ("2026-02-09", "5▒⚐", "UNTRIGGERED"),
        ("2026-02-10", "", "WAITING"),
    ]


@pytest.mark.parametrize("columns", [1, 40, 63, 64])
def test_status_in_a_narrow_terminal(
    stuck: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list below 64 columns."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run("status", "--data", stuck, "--now", "2026-02-10T07:15:00Z", "--days", "3") == 1
    printed = capsys.readouterr().out
    assert ("⚐" in printed) == (columns >= 64)
    assert (
        "phase2 2026-02-09 UNTRIGGERED, Phase 3: not known" in " ".join(printed.split())
        or columns >= 64
    )


def test_status_answers_json(stuck: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many dates as were asked for."""
    run("status", "--data", stuck, "--now", "2026-02-10T07:15:00Z", "--days", "2", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert [v["game_date"] for v in answer["verdicts"]] == ["2026-02-09", "2026-02-10"]


def test_explain_tells_the_timeline_of_a_date(
    stuck: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alert, what to do, and every source's moments in one order, in UTC and local time."""
    assert run("explain", "2026-02-09", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 1
    printed = capsys.readouterr().out
    assert "Cause:    UNDETERMINED after REGISTERED, at FLAGGED at the latest" in printed
    assert "nothing is known of DECIDED" in printed
    assert (
        "Do now:   see what the code that writes `phase2_completion/2026-02-09` does with a "
        "processor"
    ) in printed
    rows = [
        line
        for line in printed.splitlines()
        if re.match(r"02-10 \d\d:\d\d:\d\d  \d\d:\d\d  ", line)
    ]
    assert rows == sorted(rows)
    assert sum("in the completion log, registered" in line for line in rows) == 5
    assert rows[0].startswith("02-10 06:41:00  01:41  p2_")
    assert rows[-1].startswith("02-10 17:00:00  12:00  the deadline")


def test_explain_of_a_healthy_date(stuck: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet, with the checkpoints and the trigger; the JSON has the same."""
    arguments = ("explain", "2026-02-08", "--data", stuck, "--now", "2026-02-10T07:15:00Z")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "registered, `_triggered`; all_complete" in " ".join(printed.split())
    assert run(*arguments, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"]["kind"] == "TRIGGERED"
    flag = [step for step in answer["entries"] if step["source"] == "document"][-1]
    assert (flag["stage"], flag["entry"]) == ("FLAGGED", "2026-02-08-4")


def test_explain_says_what_it_could_not_read(
    stuck: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest of the timeline is told all the same."""
    (stuck / "checkpoints.jsonl").mkdir()
    assert run("explain", "2026-02-09", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 1
    printed = capsys.readouterr().out
    assert "UNDETERMINED after REGISTERED" in printed
    assert "not readable: " in printed
    assert "in the completion log, registered" in printed


def test_without_data_nothing_is_told_and_nothing_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong folder is exit code 2 with its name, not an all-clear."""
    assert run("check", "--data", tmp_path / "nowhere") == 2
    assert "nowhere/resilience.sqlite3: there is no such file" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_switch_silences_the_canary(
    stuck: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CANARY_ENABLED=false: quiet, nothing read, nothing recorded, and one line that says so."""
    monkeypatch.setenv("CANARY_ENABLED", "false")
    assert run("check", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "canary: switched off by CANARY_ENABLED\n")
    assert not (stuck / "canary_runs.jsonl").exists()


def test_the_environment_names_the_folder(
    stuck: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RESILIENCE_DATA_DIR, and its refusal inside Cloud Run."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(stuck))
    assert run("check", "--now", "2026-02-10T07:00:00Z") == 0
    monkeypatch.setenv("K_SERVICE", "canary")
    assert run("check", "--now", "2026-02-10T07:00:00Z") == 2
    assert "K_SERVICE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["check", "--now", "2026-02-10T07:00:00"], "'2026-02-10T07:00:00' has no time zone"),
        (["check", "--now", "soon"], "'soon' is not a time"),
        (["check", "--now", "0001-01-01T00:00:00+14:00"], "is in no year that can be"),
        (["check", "2026-02-30"], "'2026-02-30' is not a date"),
        (["check", "9999-12-31"], "'9999-12-31' is not a date"),
        (["status", "--days", "0"], "'0' is not a number of days"),
        (["status", "--days", "many"], "'many' is not a number of days"),
        (["look"], "No such command 'look'"),
        ([], "Usage: canary [OPTIONS] COMMAND"),
        (
            ["explain", "tomorrow"],
            "'tomorrow' is not a date such as 2026-02-09, today or yesterday",
        ),
        (["ack", ""], "'' is not a date"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 2: nothing could be told."""
    assert cli.main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_an_unknown_phase_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With the phases that there are, and the nearest of them."""
    assert run("check", "--phase", "phase9") == 2
    assert (
        "canary: there is no phase 'phase9'; there are ['phase2']; did you mean 'phase2'?"
        in capsys.readouterr().err
    )


def test_an_alert_survives_that_the_run_cannot_be_recorded(
    stuck: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report comes first, and keeps its exit code."""
    (stuck / "canary_runs.jsonl").mkdir()
    assert run("check", "--data", stuck, "2026-02-09") == 1
    captured = capsys.readouterr()
    assert "`_triggered` is still unset" in captured.out
    assert "canary: the run could not be recorded" in captured.err


def test_a_crash_is_not_an_accusation(
    stuck: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error shows its traceback and exits with 2, not with Python's 1."""
    monkeypatch.setattr("canary.commands.check.check_dates", lambda *_: 1 / 0)
    assert run("check", "--data", stuck) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_both_ways_of_starting_it() -> None:
    """`canary` and `python -m canary` are one program."""
    script = Path(sys.executable).parent / "canary"
    for command in ([sys.executable, "-m", "canary"], [str(script)]):
        done = subprocess.run(
            [*command, "--help"], capture_output=True, text=True, check=True, env=os.environ
        )
        assert "0 quiet, 1 a problem, 2 could not tell" in done.stdout


@pytest.mark.parametrize(
    "command", [[], *([name] for name in cli.canary.commands), ["silence", "add"]]
)
def test_help_has_a_short_name(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Everywhere."""
    assert run(*command, "-h") == 0
    short = capsys.readouterr().out
    assert run(*command, "--help") == 0
    assert capsys.readouterr().out == short


@pytest.mark.parametrize(
    ("now", "word", "day"),
    [
        ("2026-02-10T04:59:59Z", "today", "2026-02-09"),  # it is still the day before in New York
        ("2026-02-10T05:00:00Z", "today", "2026-02-10"),
        ("2026-02-10T05:00:00Z", "yesterday", "2026-02-09"),
    ],
)
def test_today_and_yesterday_are_dates(
    stuck: Path, now: str, word: str, day: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the phase's time zone, and the time by which the command judges; wherever a date is."""
    options = ("--data", stuck, "--now", now)
    run("check", word, *options, "--json")
    assert [
        verdict["game_date"] for verdict in json.loads(capsys.readouterr().out)["verdicts"]
    ] == [day]
    run("explain", word, *options, "--json")
    assert json.loads(capsys.readouterr().out)["verdict"]["game_date"] == day
    run("silence", "add", word, "--to", "today", *options, "--for", "1h", "--reason", "x", "--json")
    added = json.loads(capsys.readouterr().out)["silence"]
    assert added["first"] == day
    assert added["last"] >= day
    assert run("ack", word, *options) == 2
    assert f"no open incident of phase2 {day} in folder {stuck}; " in capsys.readouterr().err
    assert run("history", word, *options) == 0
    assert capsys.readouterr().out == f"no incident is remembered in folder {stuck}\n"


def test_today_is_each_phase_s_own(
    stuck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its time zone has it."""
    text = BUNDLED_PHASES.read_text("utf-8")
    other = (
        text.replace("[phase2", "[far")
        .replace('"phase2_completion"', '"far"')
        .replace("New_York", "Los_Angeles")
    )
    phases = tmp_path / "phases.toml"
    phases.write_text(text + other, "utf-8")
    monkeypatch.setenv("PHASES_FILE", str(phases))
    run("check", "today", "--data", stuck, "--now", "2026-02-10T06:00:00Z", "--json")
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert {v["phase"]: v["game_date"] for v in verdicts} == {
        "phase2": "2026-02-10",
        "far": "2026-02-09",
    }


def test_a_reader_that_goes_away_is_no_traceback(stuck: Path) -> None:
    """`canary status | head -1` stays silent, and accuses nobody."""
    pipeline = (
        f"'{sys.executable}' -m canary status --days 366 --data '{stuck}' | head -0; "
        "exit ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (2, "")


def test_names_from_outside_cannot_forge_a_line(
    stuck: Path, stores: EmbeddedStores, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key of a document is shown with its control characters escaped."""
    evil = "evil\x1b[2J\nEvidence: all is fine"
    stores.documents.merge(
        DocumentRef("phase2_completion", "2026-02-09"), {evil: {"status": "success"}}
    )
    assert run("check", "--data", stuck, "--now", "2026-02-10T07:15:00Z") == 1
    printed = capsys.readouterr().out
    assert "not expected: evil\\x1b[2J\\nEvidence: all is fine" in printed
    assert "\x1b[2J" not in printed


_COMMANDS = [
    ["check", "--data", "data", "--now", "2026-02-10T07:15:00Z", "2026-02-09"],
    ["check", "--data", "data", "--json", "--dry-run"],
    ["status", "--data", "data", "--days", "9", "--ascii"],
    ["status", "--data", "data", "--html", "page.html"],
    ["explain", "2026-02-11", "--data", "data", "--phase", "phase2"],
    [
        "silence",
        "add",
        "2026-02-11",
        "--data",
        "data",
        "--for",
        "12h",
        "--reason",
        "x",
        "--to",
        "2026-02-12",
    ],
    ["silence", "list", "--data", "data"],
    ["silence", "end", "0", "--data", "data"],
    ["verify", "--data", "data", "--days", "5"],
    ["replay", "messages.jsonl", "--out", "replayed", "--until", "2026-02-10T09:00:00Z"],
    ["--version"],
]
_WORDS = {
    word: st.just(word) | mutated_text(word).map(lambda text: text.replace("\0", ""))
    for line in _COMMANDS
    for word in line
}
_typed = st.sampled_from(_COMMANDS).flatmap(
    lambda line: st.tuples(st.just(line[0]), *(_WORDS[word] for word in line[1:])).map(list)
)


@pytest.fixture
def _replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what a replay has left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(canary.sources, "Background", AtOnce)
    monkeypatch.setenv("COLUMNS", "100")
    Path("messages.jsonl").write_text(json.dumps(ENVELOPE) + "\n", "utf-8")
    assert run("replay", "messages.jsonl", "--out", "data") in {0, 1, 3}


@pytest.mark.usefixtures("_replayed")
@fuzzed(6)
@given(_typed)
@example(["status", "--data", "\udc80data", "--html", "page.html"])
@example(["silence", "list", "--data", "\x1b[31mdata"])
@example(["check", "--now", "2026-02-10\x1b07:15:00"])
def test_whatever_is_typed_ends_in_an_exit_code_and_a_text(words: list[str]) -> None:
    """Without a traceback, and without what breaks a terminal."""
    printed, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(errors):
        code = cli.main(words)
    assert code in {0, 1, 2, 3}
    assert "Traceback" not in errors.getvalue(), errors.getvalue()
    check_text(errors.getvalue())
    # a path is shown as it was typed, to be typed again
    if all(word.isprintable() for word in words):
        check_text(printed.getvalue())


@pytest.mark.parametrize("size", [0, 100, 1_000, 5_000, 20_000, 60_000])
@pytest.mark.parametrize(
    "arguments", [["demo"], ["replay", "examples/messages.jsonl"]], ids=["demo", "replay"]
)
def test_a_full_disk_is_one_sentence(arguments: list[str], size: int, tmp_path: Path) -> None:
    """Wherever it is full, and no traceback; with room again the same folder is taken."""

    def limit_files() -> None:
        """Let no file grow beyond the size, as on a full disk or at the end of a quota."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "canary", *arguments, "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit_files,
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"canary: [^\n]+\n", done.stderr), done.stderr
    if size == 0:
        assert subprocess.run(command, capture_output=True, check=False).returncode in {0, 1}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["silence", "list"], ["status"], ["check", "--json"]]
)
@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_what_cannot_be_printed_accuses_nobody(
    arguments: list[str], streams: tuple[str, ...], stuck: Path
) -> None:
    """Exit code 2 where the answer is lost, and that of the answer where only the rest is."""
    data = [] if arguments == ["--help"] else ["--data", str(stuck)]
    command = [sys.executable, "-m", "canary", *arguments, *data]
    expected = subprocess.run(command, capture_output=True, check=False).returncode
    with Path("/dev/full").open("wb") as full:
        others: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(
            command, text=True, check=False, **{**others, **dict.fromkeys(streams, full)}
        )
    assert done.returncode == (2 if "stdout" in streams else expected)
    assert done.stderr in (None, "", "canary: [Errno 28] No space left on device\n")
