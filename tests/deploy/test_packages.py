"""The functions, of exactly the files that are staged, in an environment of what is pinned."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests

from canary.run import Outcome
from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.deploy.transcripts import ANSWERS, EVERYTHING, PACKAGES, ROOT, perform, recorded
from tests.environments import fetch, find_python, make_environment
from tests.topics import pushing_topic
from tools.emulators import Server, free_port, server

# How Google's buildpack installs: InstallRequirements in pkg/python/python.go of
# GoogleCloudPlatform/buildpacks, less --user, which pip refuses in a virtual environment. The pip
# is the one that the first 3.13 brings; the later ones have later ones.
BUILDPACKS_PIP = "24.2"
BUILDPACKS_FLAGS = (
    *(
        "--upgrade",
        "--upgrade-strategy",
        "only-if-needed",
        "--no-warn-script-location",
        "--no-warn-conflicts",
    ),
    *("--force-reinstall", "--no-compile", "--disable-pip-version-check", "--no-cache-dir"),
)
# Modules that are staged for a function and that it never loads, each with its reason.
NEVER_LOADED: dict[str, dict[str, str]] = {"orchestrator": {}, "canary": {}}
# The page is the canary's code, deployed once more.
STAGED_AS = {"page": "canary"}
DEPLOYED = {
    call.words[3].removeprefix("phase2-"): call
    for call in recorded("empty_project")
    if call.words[1:3] == ("run", "deploy")
}


def files_of(folder: Path) -> set[str]:
    """Return the paths of a folder's files, from the folder on."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_staged(staged: Mapping[str, Path]) -> None:
    """Files of the repository, the requirements and a main.py.

    Nothing that only a command runs, and no stray file.
    """
    for folder in staged.values():
        kept = files_of(folder) - {"main.py"}
        assert all((ROOT / name).read_bytes() == (folder / name).read_bytes() for name in kept)
        assert {name.partition("/")[0] for name in kept} <= {"requirements.txt", *PACKAGES}
        assert not [
            name
            for name in kept
            if re.match(r"canary/(commands|playback)/|.*/testing\.py|.*\.pyc", name)
        ]
    assert not (staged["orchestrator"] / "canary").exists()
    assert (staged["canary"] / "main.py").read_text(
        "utf-8"
    ) == "from canary.function import start\n\ncanary = start()\n"


def test_gcloud_uploads_what_is_staged(gcloud: str, staged: Mapping[str, Path]) -> None:
    """All of it, without an ignore file."""
    for folder in staged.values():
        command: list[str | Path] = [gcloud, "meta", "list-files-for-upload", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert {*done.stdout.split()} == files_of(folder)


def test_what_is_deployed_is_what_is_staged(staged: Mapping[str, Path]) -> None:
    """And nothing of the phases file of one's own, which is mounted."""
    steps = perform(EVERYTHING, ANSWERS["first"], steps=["orchestrator", "canary"])
    uploaded = {
        step.name: {*call.file.split()}
        for step in steps
        for call in step.calls
        if call.flag("source")
    }
    assert uploaded == {name: files_of(folder) for name, folder in staged.items()}


def run_stage(checkout: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = checkout / "deploy" / "stage.sh"
    return subprocess.run(["bash", script, *arguments], capture_output=True, text=True, check=False)  # noqa: S607


def test_what_cannot_be_staged_is_refused(tmp_path: Path) -> None:
    """An unknown function, a folder that is not empty."""
    assert "there is no function canari" in run_stage(ROOT, "canari", tmp_path).stderr
    assert f"{tmp_path} is not empty" in run_stage(ROOT, "canary", tmp_path).stderr


@pytest.fixture(scope="module")
def clean_python(
    staged: Mapping[str, Path],
    pip_wheel: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the functions' Python, if it is here, with what requirements.txt pins and no more."""
    (base,) = {call.flag("base-image") for call in DEPLOYED.values()}
    found = find_python(base.replace("python3", "3."))
    python = make_environment(tmp_path_factory.mktemp("clean"), pip_wheel(BUILDPACKS_PIP), found)
    fetch(
        [
            python,
            "-m",
            "pip",
            "install",
            "--requirement",
            staged["canary"] / "requirements.txt",
            *BUILDPACKS_FLAGS,
        ]
    )
    return python


def test_the_environment_is_what_is_pinned(clean_python: Path) -> None:
    """So nothing that is for development only can be imported."""
    listed = subprocess.run(
        [clean_python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    )
    pinned = re.findall(
        r"^([\w.-]+==[\w.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE
    )
    normal = [
        {one.lower().replace("_", "-") for one in names}
        for names in (listed.stdout.split(), pinned)
    ]
    assert normal[0] <= normal[1]


MISTAKES = [
    ({"K_SERVICE": "x"}, "GOOGLE_CLOUD_PROJECT is not set"),
    ({"PHASES_FILE": "/missing.toml"}, "/missing.toml: cannot be read"),
    ({"CHECKPOINTS_ENABLED": "flase"}, "CHECKPOINTS_ENABLED: expected true or false, got 'flase'"),
    ({"CANARY_ENABLED": "flase"}, "CANARY_ENABLED: expected true or false, got 'flase'"),
]


@pytest.mark.parametrize(
    ("name", "package"), [("orchestrator", "orchestrator_resilience"), ("canary", "canary")]
)
def test_an_import_does_not_read_the_environment(
    name: str, package: str, staged: Mapping[str, Path], clean_python: Path
) -> None:
    """Only start() refuses a mistake in it, by name, and none in the other function's switch."""
    program = (
        "import json, os, sys\n"
        "os.environ.update(json.loads(sys.argv[1])[0][0])\n"
        f"from {package}.function import start\n"
        "for wrong, _ in json.loads(sys.argv[1]):\n"
        "    os.environ.clear(); os.environ.update(wrong)\n"
        "    try: start(); print('started')\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [str(clean_python), "-c", program, json.dumps(MISTAKES)]
    done = subprocess.run(command, cwd=staged[name], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    other = "CANARY_ENABLED" if name == "orchestrator" else "CHECKPOINTS_ENABLED"
    for said, (wrong, expected) in zip(done.stdout.splitlines(), MISTAKES, strict=True):
        assert said.startswith("started" if other in wrong else f"ConfigurationError {expected}")


@pytest.fixture
def functions(
    staged: Mapping[str, Path], clean_python: Path, cloud: str, tmp_path: Path
) -> Iterator[dict[str, Server]]:
    """Start both as the buildpack does, by what `gcloud run deploy` was told.

    Each import is in their logs.
    """
    mounted = tmp_path / "phases.toml"
    mounted.write_text(BUNDLED_PHASES.read_text("utf-8"), "utf-8")
    with ExitStack() as stack:
        running = {}
        for name, call in DEPLOYED.items():
            port = free_port()
            environment = {
                **dict(one.split("=", 1) for one in call.flag("set-env-vars").split(",")),
                "FUNCTION_SOURCE": str(staged[STAGED_AS.get(name, name)] / "main.py"),
                "FUNCTION_TARGET": call.flag("function"),
                "GOOGLE_CLOUD_PROJECT": cloud,
                "PHASES_FILE": str(mounted),
                "K_SERVICE": call.words[3],
                "PORT": str(port),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": "",
                "PYTHONPROFILEIMPORTTIME": "1",
            }
            command = [str(clean_python.with_name("functions-framework"))]
            running[name] = stack.enter_context(server("function", port, command, environment))
        for one in running.values():
            one.wait_until_it_answers()
        yield running


def acknowledged(orchestrator: Server, count: int) -> None:
    """Wait until so many deliveries have closed."""
    give_up = time.monotonic() + 60
    while orchestrator.log.read_text().count('"closes":true') < count:
        assert time.monotonic() < give_up, orchestrator.log.read_text()[-3000:]
        time.sleep(0.1)


def run_canary(canary: Server) -> list[dict[str, Any]]:
    """Return the verdicts of a run."""
    answer: dict[str, list[dict[str, Any]]] = requests.post(
        f"http://{canary.address}/", timeout=70
    ).json()
    return answer["verdicts"]


def never_loaded(folder: Path, function: Server) -> set[str]:
    """Return the modules that a function has not loaded so far, but for its main.py."""
    loaded = set(
        re.findall(r"^import time:.*\| +([\w.]+)$", function.log.read_text(), re.MULTILINE)
    )
    modules = {
        file.removesuffix(".py").replace("/", ".")
        for file in files_of(folder)
        if file.endswith(".py")
    }
    return {module.removesuffix(".__init__") for module in modules} - loaded - {"main"}


def test_both_functions_start_and_answer(
    functions: dict[str, Server], staged: Mapping[str, Path], dataset: BigQuery, phase: Phase
) -> None:
    """Five pushes set the flag, the canary sees it, and a problem.

    Each has then loaded all that is staged for it.
    """
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    today = phase.today(datetime.now(UTC))
    with pushing_topic(dataset.project, f"http://{functions['orchestrator'].address}/") as publish:
        for name in phase.expected:
            publish(processor_name=name, game_date=str(today))
        acknowledged(functions["orchestrator"], 5)
    documents = FirestoreDocuments(dataset.project, "scores")
    ref = DocumentRef("phase2_completion", str(today))
    assert documents.get_all([ref])[ref].fields["_triggered"] is True
    seen = run_canary(functions["canary"])
    assert (seen[-1]["game_date"], seen[-1]["kind"]) == (str(today), "TRIGGERED")
    # What deploy/verify.sh reads.
    (line,) = (
        json.loads(x) for x in functions["canary"].log.read_text().splitlines() if "_RUN" in x
    )
    assert line["outcome"] == Outcome.UNDECIDED.name  # of the dates before nothing is known
    assert re.fullmatch(
        rf"CANARY_RUN: (phase2 [\d-]+ [A-Z]+, )+phase2 {today} TRIGGERED", line["message"]
    )
    # A problem, over which the checkpoints are read.
    yesterday = today - timedelta(days=1)
    documents.merge(DocumentRef("phase2_completion", str(yesterday)), {"_triggered": True})
    documents.close()
    assert run_canary(functions["canary"])[-2]["kind"] == "PREMATURE"
    for name in ("page", "canary"):
        for path in ("", f"dates/{yesterday}"):
            answer = requests.get(f"http://{functions[name].address}/{path}", timeout=70)
            assert (answer.status_code, "PREMATURE" in answer.text) == (200, True)
    assert (
        requests.post(f"http://{functions['page'].address}/", timeout=70).status_code
        == HTTPStatus.METHOD_NOT_ALLOWED
    )
    for name, never in NEVER_LOADED.items():
        assert never_loaded(staged[name], functions[name]) == never.keys()
