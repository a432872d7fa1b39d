"""What those get who install the project without a checkout."""

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environments import fetch, make_environment

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
ONLY_FOR_THE_CLOUD = ("google", "functions_framework")
NEVER = ("bqemulator", "hypothesis", "local", "mypy", "pytest", "setuptools")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what is of the project, because building leaves files behind."""
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "*.egg-info", "resilience-data"
    )
    return Path(
        shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "project", ignore=left_out)
    )


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    build = "import setuptools.build_meta as b; print(b.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_two_packages_whole(wheel: Path) -> None:
    """All that the two have in the checkout, and no other name that would be importable."""
    found = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    packages = ("canary", "orchestrator_resilience")
    files = {
        p.relative_to(ROOT) for name in packages for p in (ROOT / name).rglob("*") if p.is_file()
    }
    assert {path for path in found if ".dist-info" not in path.parts[0]} == {
        path for path in files if "__pycache__" not in path.parts
    }


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Its version is the newest of CHANGELOG, README describes it, and the licence is in it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    (newest, *_) = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    archive = zipfile.ZipFile(wheel)
    info = f"orchestrator_resilience-{version}.dist-info"
    metadata = email.message_from_string(archive.read(f"{info}/METADATA").decode())
    assert (metadata["Version"], newest) == (version, version)
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    kinds = {Path(name).suffix for name in archive.namelist() if not name.startswith(info)}
    assert kinds == {".py", ".typed", ".toml", ".sql", ".html", ".css"}


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return what runs a command of uv with the pinned versions, in an empty environment."""
    folder = tmp_path_factory.mktemp("uv")
    # Each its own, because uv locks all of a folder: with one for two it would wait for itself.
    own = {name: str(folder / name) for name in ("UV_CACHE_DIR", "UV_TOOL_DIR", "TMPDIR")}
    (folder / "TMPDIR").mkdir()
    environment = {**os.environ, **own}
    pins = ("--constraints", ROOT / "requirements-dev.txt")

    def run_uv(*command: str | Path) -> str:
        return fetch([UV, *command[:2], *pins, *command[2:]], environment)

    return run_uv


def run(
    python: Path, *command: str | Path, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of an environment's commands, in a folder that is no checkout."""
    program = [python.with_name(str(command[0])), *command[1:]]
    return subprocess.run(
        list(map(str, program)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def importable(python: Path, *names: str) -> set[str]:
    """Return which of the modules can be found there."""
    program = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    found = run(python, "python", "-c", program, *names, folder=python.parent)
    assert found.returncode == 0, found.stderr
    return set(found.stdout.split())


def test_the_library_alone(uv: Callable[..., str], wheel: Path, tmp_path: Path) -> None:
    """`pip install .`: the core runs, and the command says what it lacks."""
    python = make_environment(tmp_path / "environment")
    uv("pip", "install", "--python", python, wheel)
    program = "import orchestrator_resilience as o; print(o.load_phase('phase2').name)"
    assert run(python, "python", "-c", program, folder=tmp_path).stdout == "phase2\n"
    done = run(python, "canary", "demo", folder=tmp_path)
    assert (done.returncode, "pip install 'orchestrator-resilience[cli]'" in done.stderr) == (
        2,
        True,
    )
    assert not importable(python, "rich", *ONLY_FOR_THE_CLOUD, *NEVER)


def test_the_command(uv: Callable[..., str], wheel: Path, tmp_path: Path) -> None:
    """`pip install '.[cli]'`: it tells its version and plays February, without a cloud client."""
    python = make_environment(tmp_path / "environment")
    uv("pip", "install", "--python", python, f"{wheel}[cli]")
    version = wheel.name.split("-")[1]
    assert run(python, "canary", "--version", folder=tmp_path).stdout == f"canary {version}\n"
    done = run(python, "canary", "demo", "--out", tmp_path / "out", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not importable(python, *ONLY_FOR_THE_CLOUD, *NEVER)


def test_the_cloud_then_the_command(uv: Callable[..., str], wheel: Path, tmp_path: Path) -> None:
    """`pip install '.[cloud]'` is the functions; with `cli`, it names what a probe needs."""
    python = make_environment(tmp_path / "environment")
    uv("pip", "install", "--python", python, f"{wheel}[cloud]")
    program = (
        "import canary.function, orchestrator_resilience.function, "
        "orchestrator_resilience.stores.cloud"
    )
    done = run(python, "python", "-c", program, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not importable(python, "rich", "google.cloud.pubsub_v1", *NEVER)
    uv("pip", "install", "--python", python, f"{wheel}[cloud,cli]")
    done = run(python, "canary", "demo", "--out", tmp_path / "out", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    project = {"GOOGLE_CLOUD_PROJECT": "proj"}
    done = run(
        python,
        "canary",
        "probe",
        "--topic",
        "t",
        "--phase",
        "phase2",
        folder=tmp_path,
        environment=project,
    )
    assert done.stderr == (
        "canary: google.cloud.pubsub_v1 is not installed: pip install "
        "'orchestrator-resilience[cloud,cli,probe]'\n"
    )
    assert done.returncode == 2


def test_the_command_without_an_installation(
    uv: Callable[..., str], source: Path, tmp_path: Path
) -> None:
    """`uvx --from '.[cli]' canary demo` plays February, and the commands it prints need no uvx."""
    command = ("canary", "demo", "--out", tmp_path / "out")
    printed = uv("tool", "run", "--python", sys.executable, "--from", f"{source}[cli]", *command)
    (status,) = (
        line for line in printed.splitlines() if line.endswith(f" status --data {tmp_path / 'out'}")
    )
    done = subprocess.run(["sh", "-c", status], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")


def test_an_index_would_take_it(uv: Callable[..., str], wheel: Path) -> None:
    """By twine's own rules, all of which it has to hold."""
    assert "PASSED" in uv("tool", "run", "twine", "check", "--strict", wheel)
