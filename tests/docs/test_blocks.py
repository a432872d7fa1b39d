"""What the pages print to be typed is run, or is listed here with the reason why not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Shell
from tests.docs.markdown import PAGES, ROOT, blocks, inline_code, shell_commands

# How a command begins → why it is not run here.
NOT_RUN = {
    "pip install ": (
        "tests/installation/ installs from the checkout; this one would change the tests' own "
        "environment"
    ),
    "pip wheel ": "tests/installation/test_function.py does it, and installs what comes of it",
    "rm -": "as above",
    "(cd my-function && ": "as above",
    "cp ": "as above",
    "uvx ": "it fetches packages",
    "settings=": "tests/deploy/ deploys with them",
    "bash deploy/": "tests/deploy/ runs it, against a program in place of gcloud",
    "gcloud ": "tests/deploy/test_gcloud.py gives it to gcloud's own linter",
    "python3 -m venv ": (
        "tests/end_to_end/test_other_pipeline.py runs what follows, in an environment that is there"
    ),
    "export ": "it does it in an empty folder, with the emulators",
    "cat > ": "as above",
    ".venv/bin/": "as above",
    "canary probe ": "there is no topic; tests/end_to_end/test_probe.py runs it",
}
COMMANDS = sorted({command for _, command in shell_commands()})
RUN = [command for command in COMMANDS if not command.startswith(tuple(NOT_RUN))]
_MAKE = re.compile(r"(?:[A-Z_]+=\S+ )?make [a-z-]+(?: [A-Z]+=\S+)*")
MAKE = sorted(
    {
        code
        for code in (*COMMANDS, *(c for p in PAGES for c in inline_code(p)))
        if _MAKE.fullmatch(code)
    }
)


def test_each_reason_is_needed() -> None:
    """An entry that no command needs any more is to be taken away."""
    assert [
        start for start in NOT_RUN if not any(command.startswith(start) for command in COMMANDS)
    ] == []


@pytest.mark.parametrize("command", [command for command in RUN if command.startswith("canary ")])
@pytest.mark.usefixtures("demo")
def test_a_command_of_canary_runs(shell: Shell, command: str) -> None:
    """On the demo's files: quiet, a problem, or undecided, but never "could not run"."""
    done = shell(command)
    assert done.returncode in {0, 1, 3}, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [command for command in RUN if not command.startswith("canary ")]
)
def test_every_other_command_is_of_make(command: str) -> None:
    """Whose targets are looked at below."""
    assert command in MAKE


@pytest.mark.parametrize("command", MAKE)
def test_every_target_of_make_is_there(command: str) -> None:
    """That `make -n` takes; in a block or in the prose."""
    done = subprocess.run(
        ["make", "-n", *re.findall(r"make ([\w-]+)", command)],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# What the snippets take for granted: a message, and the code that is already there.
PRELUDE = """
from datetime import UTC, datetime
from orchestrator_resilience.testing import push_envelope
name, date = "OddsApiGameLinesProcessor", "2026-02-09"
now = datetime(2026, 2, 10, tzinfo=UTC)
event = {"id": "m-1", **push_envelope(name, date, now, message_id="m-1")}
EXPECTED_PROCESSORS = ["p2_bigdataball_pbp", "p2_odds_game_lines"]
def update_completion_atomic(_):
    return False, False
class doc_ref:
    get = classmethod(lambda cls: cls)
    fields = {"p2_odds_game_lines": {"status": "success"}, "_triggered": False}
    to_dict = classmethod(lambda cls: cls.fields)
"""
EPILOGUE = """
import sys
print("LOADED", sorted({"firestore", "bigquery", "logging"} & {m.split(".")[2] for m in sys.modules
                                                               if m.startswith("google.cloud.")}))
"""


@pytest.mark.parametrize("page", ["README.md", "docs/integrate.md"])
def test_the_snippets_run(page: str, tmp_path: Path) -> None:
    """One after the other, in a process of their own, which loads no cloud client."""
    code = [block.text for block in blocks(page, "python")]
    assert code
    script = tmp_path / "snippets.py"
    script.write_text("\n".join([PRELUDE, *code, "orchestrate(event)", EPILOGUE]), "utf-8")
    env = {"PYTHONPATH": str(ROOT), "RESILIENCE_DATA_DIR": str(tmp_path / "stores")}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (
        "CHECKPOINT_WAITING: missing=['p2_bigdataball_pbp'] 1/2 complete (p2_odds_game_lines "
        "2026-02-09)"
    ) in done.stdout
    assert done.stdout.endswith("LOADED []\n")
    if page == "docs/integrate.md":
        assert (
            "CHECKPOINT_WAITING: missing=['p2_bdl_box_scores'] 1/2 complete "
            "(p2_odds_game_lines 2026-02-09)"
        ) in done.stdout
        assert (tmp_path / "stores" / "resilience.sqlite3").exists()


def test_the_readme_and_integrate_have_the_same_snippet() -> None:
    """The shortest form of the integration stands in both."""
    (short,) = blocks("README.md", "python")
    assert short.text == blocks("docs/integrate.md", "python")[0].text
