"""Runs the build's real steps under bash, with a fake gcloud, in a copy of the files."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.fake_gcloud import PROGRAM, answering

ROOT = Path(__file__).parents[2]
CHANNEL = "projects/proj/notificationChannels/7"
OURS = {"_ORCHESTRATOR": "phase2-orchestrator"}
BESIDE = {"_ORCHESTRATOR": "none"}
# Everything that is off by default is on.
EVERYTHING = {
    **OURS,
    "_NOTIFICATION_CHANNELS": f"{CHANNEL} projects/proj/notificationChannels/8",
    "_SLACK_SECRET": "slack-webhook",
    "_HEARTBEAT_SECRET": "heartbeat",
    "_PAGE_URL": "https://canary.example.com",
    "_PHASES_FILE": "own.toml",
    "_BIGQUERY_LOCATION": "US",
    "_FIRESTORE_DATABASE": "scores",
    "_DATASETS": "games",
}
# What bootstrap.sh does not make of it: the secrets' text and the games are nobody's but the owner's.
OF_THE_OWNER = ("secrets slack-webhook", "secrets heartbeat", "bq games")
# What there is where an orchestrator is there already.
THEIRS = ("firestore databases (default)", "bq nba_orchestration", "bq nba_orchestration.phase_completions")
# The names that owner and build have to agree on, for the project in which nothing else is.
BARE = {**OURS, "_NOTIFICATION_CHANNELS": CHANNEL}
PACKAGES = ("canary", "orchestrator_resilience")
FUNCTIONS = ("orchestrator", "canary")
InsideGcloud = Callable[..., subprocess.CompletedProcess[str]]
_GIVEN_BY_CLOUD_BUILD = {"PROJECT_ID": "proj", "PROJECT_NUMBER": "123456"}


@dataclass(frozen=True)
class Call:
    """One command of a step; `files` is what it was given --…-from-file, by flag, `uploaded` the files of --source."""

    program: str
    arguments: tuple[str, ...]
    files: Mapping[str, str]
    stdin: str
    step: str
    uploaded: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.program, *self.arguments])

    def flag(self, name: str) -> str | None:
        """Return the value of a flag, None where it is not given."""
        return next((a.partition("=")[2] for a in self.arguments if a.partition("=")[0] == f"--{name}"), None)


@dataclass
class Deployment:
    """A project, a copy of the files that deploy to it, and all that was called."""

    folder: Path
    output: str = ""
    failed: str | None = None
    answers: dict[str, str | None] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)

    def run(self, substitutions: Mapping[str, str], first: str = "preflight") -> list[Call]:
        """Run the build as Cloud Build does, from one step to the first that fails; returns what this run called."""
        self.output, self.failed = "", None
        before = len(self.calls())
        (self.folder / "answers.json").write_text(json.dumps(self.answers), "utf-8")
        all_steps = steps(self.folder / "cloudbuild.yaml", substitutions)
        with answering(self.folder) as port:
            for step in all_steps[[step["id"] for step in all_steps].index(first) :]:
                if step["entrypoint"] == "bash" and not self._runs(step["id"], step["args"], step["env"], port):
                    self.failed = step["id"]
                    break
        return self.calls()[before:]

    def _runs(self, step: str, arguments: Sequence[str], env: Sequence[str], port: int) -> bool:
        environment = {
            **dict(one.partition("=")[::2] for one in env),
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "FAKE_GCLOUD": str(port),
            "STEP": step,
        }
        done = subprocess.run(
            ["bash", *arguments],  # noqa: S607 (as in the build)
            cwd=self.folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        self.output += done.stdout
        self.said.setdefault(step, []).append(done.stdout)
        return done.returncode == 0

    def bootstrap(self, substitutions: Mapping[str, str]) -> list[Call]:
        """Run what the owner runs, for the same substitutions."""
        before = len(self.calls())
        (self.folder / "answers.json").write_text(json.dumps(self.answers), "utf-8")
        given = ",".join(f"{name}={value}" for name, value in substitutions.items())
        with answering(self.folder) as port:
            assert self._runs("bootstrap", ["deploy/bootstrap.sh", "proj", given], [], port), self.output
        return self.calls()[before:]

    def calls(self) -> list[Call]:
        """Return all calls of all runs."""
        lines = (self.folder / "calls.jsonl").read_text("utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [Call(**{**c, **{name: tuple(c[name]) for name in ("arguments", "uploaded")}}) for c in found]

    @contextmanager
    def made(self) -> Iterator[dict[str, Any]]:
        """Give what there is by now, to be changed behind the deployment's back."""
        path = self.folder / "made.json"
        made = json.loads(path.read_text("utf-8"))
        yield made
        path.write_text(json.dumps(made), "utf-8")

    def state(self) -> dict[str, Any]:
        """Return what there is by now, and which rights; not in which order they were given."""
        made: dict[str, Any] = json.loads((self.folder / "made.json").read_text("utf-8"))
        return {**made, "bindings": sorted(made["bindings"])}

    def change(self, file: str, old: str, new: str) -> None:
        """Change a file of the copy."""
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), "utf-8")


def new_deployment(folder: Path, substitutions: Mapping[str, str] | None, there: Sequence[str] = ()) -> Deployment:
    """Make a project in which there is nothing but what is named, and what its owner has made for a deployment."""
    copy_checkout(folder)
    own = (
        (ROOT / "orchestrator_resilience" / "phases.toml")
        .read_text("utf-8")
        .replace("# message_table", "message_table")
    )
    (folder / EVERYTHING["_PHASES_FILE"]).write_text(own, "utf-8")
    scripts = {"bin/gcloud": PROGRAM, "bin/bq": PROGRAM, "bin/sleep": "#!/bin/sh\n", ".venv/bin/canary": PROGRAM}
    for name, script in scripts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(script, "utf-8")
        (folder / name).chmod(0o755)
    (folder / "calls.jsonl").touch()
    before = {name: {"type": "firestore-native", "location": "US"} for name in there}
    (folder / "made.json").write_text(json.dumps(before), "utf-8")
    new = Deployment(folder)
    if substitutions is not None:
        new.bootstrap(substitutions)
    return new


def copy_checkout(folder: Path) -> None:
    """Copy what the deployment reads."""
    for name in ("deploy", *PACKAGES):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cloudbuild.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)


def steps(path: Path, substitutions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the steps with everything substituted; an unknown or unused substitution is an error, as it is there."""
    config = yaml.safe_load(path.read_text("utf-8"))
    unknown = substitutions.keys() - config["substitutions"].keys()
    assert not unknown, f"not in the template: {unknown}"
    values = {**_GIVEN_BY_CLOUD_BUILD, **config["substitutions"], **substitutions}
    used = set()

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        used.add(name)
        return str(values[name])

    def expand(value: Any) -> Any:
        match value:
            case str():
                return re.sub(r"\$\$|\$\{(\w+)\}|\$(\w+)", one, value)
            case list():
                return [expand(item) for item in value]
            case dict():
                return {name: expand(item) for name, item in value.items()}
            case _:
                return value

    expanded: list[dict[str, Any]] = [{"env": [], **step} for step in expand(config["steps"])]
    unused = {name for name in config["substitutions"] if name not in used}
    assert not unused, f"not used by the template: {unused}"
    return expanded


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage each function, from a work tree in which there is more than that; returns the folders by its name."""
    tree = tmp_path_factory.mktemp("tree")
    copy_checkout(tree)
    for stray in (".env", "service-account.json", "main.py", "canary/domain/__pycache__/verdict.pyc"):
        (tree / stray).parent.mkdir(exist_ok=True)
        (tree / stray).touch()
    folders = {name: tmp_path_factory.mktemp(f"staged-{name}") for name in FUNCTIONS}
    for name, folder in folders.items():
        subprocess.run(["bash", tree / "deploy" / "stage.sh", name, folder], check=True)  # noqa: S607 (as in the build)
    return folders


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A project before its first deployment, without options; not to be changed."""
    return new_deployment(tmp_path_factory.mktemp("bare"), BARE)


@pytest.fixture
def deployment(bare: Deployment, tmp_path: Path) -> Deployment:
    """Return a copy of that project, to be deployed to."""
    return Deployment(Path(shutil.copytree(bare.folder, tmp_path / "project")))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A project after a first deployment with everything; not to be changed."""
    first = new_deployment(tmp_path_factory.mktemp("deployed"), EVERYTHING, OF_THE_OWNER)
    first.run(EVERYTHING)
    assert first.failed is None, first.output
    return first


@pytest.fixture(scope="session")
def deployed(made: Deployment) -> list[Call]:
    """Return what that deployment called, in order."""
    return [call for call in made.calls() if call.step != "bootstrap"]


@pytest.fixture(scope="session")
def bootstrapped(made: Deployment) -> list[Call]:
    """Return what the project's owner called before."""
    return [call for call in made.calls() if call.step == "bootstrap"]


@pytest.fixture
def running(made: Deployment, tmp_path: Path) -> Deployment:
    """Return a copy of that project, to be changed."""
    return Deployment(Path(shutil.copytree(made.folder, tmp_path / "running")))


@pytest.fixture(scope="session")
def gcloud() -> str:
    """Return the real gcloud; where there is none, skip, or fail if REQUIRE_EMULATORS is set."""
    found = shutil.which("gcloud")
    if found is None:
        if os.environ.get("REQUIRE_EMULATORS"):
            pytest.fail("there is no gcloud on the PATH")
        pytest.skip("commands are checked by the Google Cloud CLI, and there is no gcloud on the PATH")
    return found


@pytest.fixture(scope="session")
def inside_gcloud(gcloud: str) -> InsideGcloud:
    """Return what runs Python code with gcloud's own libraries: code, then its arguments."""
    info = [gcloud, "info", "--format=value(installation.sdk_root,basic.python_location)"]
    root, python = subprocess.run(info, capture_output=True, text=True, check=True).stdout.strip().split("\t")

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{root}/lib:{root}/lib/third_party"
        command = [python, "-c", code, *arguments]
        return subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)

    return run
