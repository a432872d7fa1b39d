"""The library in a Cloud Function of one's own, as a wheel beside main.py or from a tag."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from orchestrator_resilience.stores.bigquery import BigQuery
from orchestrator_resilience.testing import push_envelope
from tests.docs.markdown import blocks
from tests.environments import fetch, make_environment
from tests.tables import make_real_table
from tools.emulators import free_port, server

ROOT = Path(__file__).parents[2]
AFTER = ROOT / "examples" / "existing_orchestrator" / "after"
BUNDLED = ROOT / "orchestrator_resilience" / "phases.toml"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Copy what is of the project, because building leaves files behind."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "resilience-data")
    return Path(shutil.copytree(ROOT, tmp_path / "project", ignore=left_out))


@pytest.fixture
def python(tmp_path: Path, pip_wheel: Callable[[str], Path]) -> Path:
    """Return the Python of an environment with nothing but pip."""
    return make_environment(tmp_path / "environment", pip_wheel(""))


def pinned(folder: Path) -> Path:
    """Write what the functions are tested with, without hashes: a wheel of one's own has none."""
    text = (ROOT / "requirements.txt").read_text("utf-8")
    pins = [
        line.split(" \\")[0].split(" --hash")[0]
        for line in text.splitlines()
        if re.match(r"[a-z0-9]", line)
    ]
    file = folder / "constraints.txt"
    file.write_text("\n".join(pins), "utf-8")
    return file


@pytest.fixture
def folder(dataset: BigQuery, source: Path) -> Path:
    """Return a folder with the function alone, as somebody has it."""
    make_real_table(dataset)
    made = source / "my-function"
    made.mkdir()
    shutil.copy(AFTER / "main.py", made)
    asked = (AFTER / "requirements.txt").read_text("utf-8").splitlines()
    (made / "requirements.txt").write_text(
        "\n".join(line for line in asked if line[0] != ".") + "\n", "utf-8"
    )
    return made


def follow(commands: str, python: Path, source: Path) -> None:
    """Do what the documentation says, with this Python's pip."""
    environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    pip = f'pip() {{ "{python}" -m pip "$@"; }}; '
    fetch(["bash", "-ec", f"cd '{source}'; {pip}{commands}"], environment)


def recipe(command: str) -> str:
    """Return the block of docs/integrate.md that has this command."""
    (found,) = (block.text for block in blocks("docs/integrate.md", "sh") if command in block.text)
    return found


def test_the_package_or_a_wheel_beside_the_function(
    folder: Path, python: Path, source: Path, tmp_path: Path
) -> None:
    """The commands of docs/integrate.md make a folder that pip installs and the server serves.

    First for a build that copies folders by their names and nothing else, then with the wheel, in
    one environment.
    """

    def serve_one_message(folder: Path, python: Path, tmp_path: Path) -> None:
        """Install what the folder asks for, and serve it: a message leaves its checkpoints."""
        install = f'"{python}" -m pip install --quiet --constraint "{pinned(tmp_path)}"'
        fetch(["bash", "-ec", f'cd "{folder}"; {install} -r requirements.txt'])
        port = free_port()
        program = "import sys; from functions_framework._cli import _cli; sys.exit(_cli())"
        command = [
            *(str(python), "-c", program, "--host", "127.0.0.1", "--port", str(port)),
            "--target",
            "orchestrate",
        ]
        with server(
            "installed", port, ["bash", "-c", f'cd "{folder}"; exec "$@"', "bash", *command]
        ) as running:
            running.wait_until_it_answers()
            event = push_envelope(
                "OddsApiPropsProcessor", "2026-02-09", datetime.now(UTC), message_id="17"
            )
            answer = requests.post(f"http://{running.address}/", json=event, timeout=60)
            lines = [
                json.loads(x) for x in running.log.read_text().splitlines() if x.startswith("{")
            ]
            assert (answer.status_code, [x["checkpoint"] for x in lines]) == (
                200,
                ["CHECKPOINT_RECEIVED", "CHECKPOINT_POST_TRANSACTION", "CHECKPOINT_WAITING"],
            ), running.log.read_text()[-3000:]

    built = Path(shutil.copytree(folder, source / "built"))
    shutil.copy(BUNDLED, source / "my-phases.toml")
    follow(recipe("cp -R").replace("my-function", "built"), python, source)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {*project["dependencies"]} <= {
        *(built / "requirements.txt").read_text("utf-8").splitlines()
    }
    serve_one_message(built, python, tmp_path)

    follow(recipe("pip wheel"), python, source)
    (line,) = (
        x for x in (folder / "requirements.txt").read_text("utf-8").splitlines() if x[0] == "."
    )
    assert re.fullmatch(r"\./orchestrator_resilience-[\w.]+-py3-none-any\.whl", line)
    serve_one_message(folder, python, tmp_path)


@pytest.mark.parametrize(
    "asked", ["flask", "flask\n", ""], ids=["no end of line", "a line", "nothing"]
)
def test_the_recipes_may_be_followed_again(asked: str, tmp_path: Path) -> None:
    """For a newer version each new line is there once, the rest stays, nothing older is left."""
    function, package = tmp_path / "my-function", tmp_path / "orchestrator_resilience"
    for made in (function, package):
        made.mkdir()
    (function / "requirements.txt").write_text(asked, "utf-8")
    (tmp_path / "my-phases.toml").write_text("# mine", "utf-8")
    for version in ("1", "2"):
        for old in package.iterdir():
            old.unlink()
        for name in ("phases.toml", f"module_{version}.py"):
            (package / name).write_text(f"# of version {version}", "utf-8")
        pip = f"pip() {{ touch my-function/orchestrator_resilience-{version}-py3-none-any.whl; }}\n"
        for commands in (pip + recipe("pip wheel"), recipe("cp -R")):
            subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True)  # noqa: S607
    lines = (function / "requirements.txt").read_text("utf-8").splitlines()
    own = ["./orchestrator_resilience-2-py3-none-any.whl", "msgspec>=0.20", "tzdata"]
    assert lines == [*asked.split(), *own]
    assert sorted(path.name for path in function.iterdir()) == [
        "orchestrator_resilience",
        own[0].removeprefix("./"),
        "requirements.txt",
    ]
    copied = function / "orchestrator_resilience"
    assert sorted(path.name for path in copied.iterdir()) == ["module_2.py", "phases.toml"]
    assert (copied / "phases.toml").read_text("utf-8") == "# mine"


def test_a_tag_of_the_repository(python: Path, source: Path) -> None:
    """What pip makes of the line with an address of this machine."""
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    for command in (
        ["init", "-q"],
        ["add", "."],
        [*who, "commit", "-qm", "all"],
        ["tag", "v0.2.0"],
    ):
        subprocess.run(["git", "-C", source, *command], check=True)  # noqa: S607
    (line,) = (
        block.text.strip() for block in blocks("docs/integrate.md", "") if "git+https" in block.text
    )
    asked = line.replace("git+https://HOST/OWNER/REPOSITORY", f"git+file://{source}")
    assert asked.endswith("@v0.2.0")
    fetch([python, "-m", "pip", "install", "--quiet", asked])
    program = (
        "import orchestrator_resilience as o; "
        "print(o.CheckpointLogger(o.load_phase('phase2')).phase.name)"
    )
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True, cwd=python.parent
    )
    assert done.stdout == "phase2\n"
