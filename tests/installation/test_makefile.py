"""`make demo` and `make test` install on any day and with any pip: the real Makefile."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.environments import make_environment

ROOT = Path(__file__).parents[2]
# The first two start on no later Python. The empty one is the newest.
PIPS = [*(["22.3.1", "23.0.1"] if sys.version_info < (3, 12) else []), "23.2.1", ""]
# Hands over the wheel beside it, so that nothing that builds has to be installed.
BACKEND = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("project-1.0-py3-none-any.whl", folder).rpartition("/")[2]
"""


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    metadata: str = "",
    files: Mapping[str, str] | None = None,
) -> Path:
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    content = {
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{file},,\n" for file in (*content, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**content, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


class Checkout:
    """A tiny project with the real Makefile, and an index with a release newer than its pin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a project"
        self._index = folder / "the index"
        self.folder.mkdir()
        alpha = self._publish("alpha", metadata="Requires-Dist: beta[more]>=1\n")
        beta = self._publish("beta", metadata="Provides-Extra: more\n")
        self._publish("beta", version="2.0", metadata="Provides-Extra: more\n")
        pytest_ = self._publish("pytest", files={"pytest.py": "print('the tests run')"})
        self.pins = {"alpha": alpha, "beta": beta}
        self.pin("requirements-cli.txt", "alpha", "beta")
        self.pins["pytest"] = pytest_
        self.pin("requirements-dev.txt", "alpha", "beta", "pytest")
        shutil.copy(ROOT / "Makefile", self.folder)
        (self.folder / "backend.py").write_text(BACKEND, "utf-8")
        (self.folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "utf-8",
        )
        entry_points = {
            "project-1.0.dist-info/entry_points.txt": "[console_scripts]\ncanary = project:main\n"
        }
        program = {"project.py": "def main():\n    print('the demo runs')\n"}
        make_wheel(
            self.folder,
            "project",
            metadata="Requires-Dist: alpha\n",
            files={**program, **entry_points},
        )

    def _publish(self, name: str, version: str = "1.0", **content: object) -> str:
        page = self._index / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        wheel = make_wheel(page.parent, name, version, **content)  # type: ignore[arg-type]
        with page.open("a", encoding="utf-8") as file:
            file.write(f'<a href="{wheel.name}">{wheel.name}</a>\n')
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"

    def pin(self, file: str, *names: str) -> None:
        """Write a list of these, each with its hash."""
        (self.folder / file).write_text("".join(f"{self.pins[name]}\n" for name in names), "utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with nothing of this machine's but its programs."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self._index.as_uri(),
            "PIP_NO_CACHE_DIR": "1",
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make there."""
        return self.run("make", f"PYTHON={sys.executable}", *arguments)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("version", PIPS)
def test_both_install_with_the_pip_that_is_there(
    checkout: Checkout, pip_wheel: Callable[[str], Path], version: str
) -> None:
    """What is pinned is installed once, though the index has newer, and pip stays as it is."""
    python = make_environment(checkout.folder / ".venv", pip_wheel(version))
    before = checkout.run(str(python), "-m", "pip", "--version").stdout
    for target, expected in {"demo": "the demo runs", "test": "the tests run"}.items():
        done = checkout.make(target)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("installing what requirements-")
        assert expected in done.stdout
        assert "installing" not in checkout.make(target).stdout
    listed = checkout.run(
        str(python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"
    ).stdout
    assert {"alpha==1.0", "beta==1.0", "pytest==1.0", "project==1.0"} <= set(listed.split())
    assert checkout.run(str(python), "-m", "pip", "--version").stdout == before
    assert "installing" not in checkout.make("demo").stdout


def test_an_old_pip_refuses_what_it_resolves_itself(
    checkout: Checkout, pip_wheel: Callable[[str], Path]
) -> None:
    """So the index of these tests is one on which an installation can fail."""
    python = make_environment(checkout.folder / ".venv", pip_wheel("23.2.1"))
    done = checkout.run(
        str(python), "-m", "pip", "install", "--require-hashes", "-r", "requirements-cli.txt"
    )
    assert "all requirements must have their versions pinned with ==" in done.stderr


def test_a_fresh_checkout_whose_list_lacks_one(checkout: Checkout) -> None:
    """The build fails and names what is missing, until it is listed."""
    checkout.pin("requirements-cli.txt", "alpha")
    for _ in range(2):
        done = checkout.make("demo")
        assert done.returncode == 2
        assert "alpha 1.0 requires beta, which is not installed." in done.stderr
    checkout.pin("requirements-cli.txt", "alpha", "beta")
    assert checkout.make("demo").stdout.endswith("the demo runs\n")


def test_what_a_hash_does_not_match_is_not_installed(
    checkout: Checkout, pip_wheel: Callable[[str], Path]
) -> None:
    """The error that pip prints is shown."""
    make_environment(checkout.folder / ".venv", pip_wheel(""))
    checkout.pins["beta"] = checkout.pins["beta"].replace("1.0", "2.0")
    checkout.pin("requirements-cli.txt", "alpha", "beta")
    done = checkout.make("demo")
    assert done.returncode == 2
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.parametrize("place", ["python", ".venv/bin/python"])
def test_a_python_that_is_too_old(checkout: Checkout, place: str) -> None:
    """One line says which it is, whether it would make the environment or is in it already."""
    old = checkout.folder / place
    old.parent.mkdir(parents=True, exist_ok=True)
    pretend = "import sys; sys.version_info = (3, 10, 2); "
    old.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{pretend}$2"\n', "utf-8")
    old.chmod(0o755)
    done = checkout.make("demo", f"PYTHON={old}")
    assert done.returncode == 2
    assert (
        "is Python 3.10, and this needs 3.11 or later: name one with make PYTHON=..." in done.stderr
    )
    assert len(done.stderr.splitlines()) == 2
    assert not (checkout.folder / ".venv" / "pyvenv.cfg").exists()


def test_an_environment_whose_python_is_gone(checkout: Checkout) -> None:
    """One line says so, and nothing is thrown away unasked."""
    kept = checkout.folder / ".venv" / "kept"
    kept.parent.mkdir()
    kept.touch()
    done = checkout.make("demo")
    assert done.stderr.startswith(
        "there is a .venv, and no Python in it that starts; make clean removes it\n"
    )
    assert kept.exists()
