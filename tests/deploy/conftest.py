"""What several of these tests look at: the staged folders, and the real gcloud."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.transcripts import copy_checkout

FUNCTIONS = ("orchestrator", "canary")


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage each function, from a work tree in which there is more than that.

    Returns the folders by its name.
    """
    tree = tmp_path_factory.mktemp("tree")
    copy_checkout(tree)
    for stray in (
        ".env",
        "service-account.json",
        "main.py",
        "canary/domain/__pycache__/verdict.pyc",
    ):
        (tree / stray).parent.mkdir(exist_ok=True)
        (tree / stray).touch()
    folders = {name: tmp_path_factory.mktemp(f"staged-{name}") for name in FUNCTIONS}
    for name, folder in folders.items():
        subprocess.run(["bash", tree / "deploy" / "stage.sh", name, folder], check=True)  # noqa: S607 (as in the build)
    return folders


@pytest.fixture(scope="session")
def gcloud() -> str:
    """Return the real gcloud; where there is none, skip, or fail if REQUIRE_EMULATORS is set."""
    found = shutil.which("gcloud")
    if found is None:
        if os.environ.get("REQUIRE_EMULATORS"):
            pytest.fail("there is no gcloud on the PATH")
        pytest.skip(
            "commands are checked by the Google Cloud CLI, and there is no gcloud on the PATH"
        )
    return found
