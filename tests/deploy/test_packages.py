"""Both functions, made of exactly what is uploaded, in an environment of exactly what is pinned."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from canary.run import Outcome
from orchestrator_resilience import Phase
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import push_envelope
from tests.deploy.conftest import ROOT, Call
from tests.environments import fetch, make_environment
from tools.emulators import Server, free_port, server

# How Google's buildpack installs: InstallRequirements in pkg/python/python.go of GoogleCloudPlatform/buildpacks,
# less --user, which pip refuses in a virtual environment. The pip is the one that the runtime's Python brings: the
# last 3.11 has 24.0, and later Pythons have later ones.
BUILDPACKS_PIP = "24.0"
BUILDPACKS_FLAGS = (
    *("--upgrade", "--upgrade-strategy", "only-if-needed", "--no-warn-script-location", "--no-warn-conflicts"),
    *("--force-reinstall", "--no-compile", "--disable-pip-version-check", "--no-cache-dir"),
)


@pytest.fixture(scope="module")
def uploaded(gcloud: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what gcloud would upload of a work tree in which there is more than that."""
    tree, upload = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("upload")
    left_out = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=left_out, dirs_exist_ok=True)
    for stray in (".env", "service-account.json", "main.py", "canary/__pycache__/run.pyc", ".venv/bin/python"):
        (tree / stray).parent.mkdir(parents=True, exist_ok=True)
        (tree / stray).touch()
    shutil.copy(tree / "deploy" / "functions.gcloudignore", tree / ".gcloudignore")
    done = subprocess.run([gcloud, "meta", "list-files-for-upload", tree], capture_output=True, text=True, check=True)
    for name in done.stdout.split():
        (upload / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / name, upload / name)
    return upload


def test_nothing_else_is_uploaded(uploaded: Path) -> None:
    """The two packages whole, and their requirements."""
    found = {str(path.relative_to(uploaded)) for path in uploaded.rglob("*") if path.is_file()}
    packages = ("canary", "orchestrator_resilience")
    sources = {p for name in packages for p in (ROOT / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert found == {"requirements.txt", *(str(path.relative_to(ROOT)) for path in sources)}


@pytest.fixture(scope="module")
def clean_python(uploaded: Path, pip_wheel: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that holds what requirements.txt pins, and nothing else."""
    python = make_environment(tmp_path_factory.mktemp("clean"), pip_wheel(BUILDPACKS_PIP))
    fetch([python, "-m", "pip", "install", "--requirement", uploaded / "requirements.txt", *BUILDPACKS_FLAGS])
    return python


def test_the_environment_is_what_is_pinned(clean_python: Path, uploaded: Path) -> None:
    """So nothing that is for development only can be imported."""
    listed = subprocess.run([clean_python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
    pinned = re.findall(r"^([\w.-]+==[\w.]+)", (uploaded / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    normal = [{one.lower().replace("_", "-") for one in names} for names in (listed.stdout.split(), pinned)]
    assert normal[0] <= normal[1]


@pytest.fixture
def functions(uploaded: Path, clean_python: Path, deployed: list[Call], cloud: str) -> Iterator[dict[str, Server]]:
    """Start both as the buildpack does, by what `gcloud functions deploy` was told."""
    with ExitStack() as stack:
        running = {}
        for call in (c for c in deployed if c.arguments[:2] == ("functions", "deploy")):
            port = free_port()
            source = (call.flag("set-build-env-vars") or "").removeprefix("GOOGLE_FUNCTION_SOURCE=")
            environment = {
                "FUNCTION_SOURCE": str(uploaded / source),
                "FUNCTION_TARGET": call.flag("entry-point") or "",
                "FUNCTION_SIGNATURE_TYPE": "http" if "--trigger-http" in call.arguments else "cloudevent",
                "GOOGLE_CLOUD_PROJECT": cloud,
                "K_SERVICE": call.arguments[2],
                "PORT": str(port),
                "PYTHONPATH": "",
            }
            command = [str(clean_python.with_name("functions-framework"))]
            running[call.arguments[2]] = stack.enter_context(server("function", port, command, environment))
        for one in running.values():
            one.wait_until_it_answers()
        yield running


def test_both_functions_start_and_answer(functions: dict[str, Server], dataset: BigQuery, phase: Phase) -> None:
    """Five events set the flag, and the canary sees it."""
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    now = datetime.now(UTC)
    today = str(phase.today(now))
    for number, name in enumerate(sorted(phase.expected)):
        headers = {
            "ce-id": f"m{number}",
            "ce-source": "//pubsub.googleapis.com/projects/proj/topics/nba-phase2-raw-complete",
            "ce-specversion": "1.0",
            "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        }
        url = f"http://{functions['phase2-orchestrator'].address}/"
        body = push_envelope(name, today, now, message_id=f"m{number}")
        answer = requests.post(url, json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, functions["phase2-orchestrator"].log.read_text()[-3000:]
    documents = FirestoreDocuments(dataset.project)
    ref = DocumentRef("phase2_completion", today)
    assert documents.get_all([ref])[ref].fields["_triggered"] is True
    documents.close()
    seen = requests.post(f"http://{functions['phase2-canary'].address}/", timeout=70).json()
    assert (seen["verdicts"][-1]["game_date"], seen["verdicts"][-1]["kind"]) == (today, "TRIGGERED")
    # What deploy/verify.sh reads.
    (line,) = (json.loads(x) for x in functions["phase2-canary"].log.read_text().splitlines() if "_RUN" in x)
    assert line["outcome"] == Outcome.UNDECIDED.name  # of the dates before nothing is known
    assert re.fullmatch(rf"CANARY_RUN: (phase2 [\d-]+ [A-Z]+, )+phase2 {today} TRIGGERED", line["message"])
