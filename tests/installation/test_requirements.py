"""The three lists of pinned versions, which `make requirements` writes from pyproject.toml."""

import re
import tomllib
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: Mapping[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GROUPS: Mapping[str, list[Any]] = PROJECT["dependency-groups"]
ASKED = {
    "requirements.txt": EXTRAS["cloud"],
    "requirements-cli.txt": [*EXTRAS["cli"], *GROUPS["build"]],
    "requirements-dev.txt": [
        *(one for extra in EXTRAS.values() for one in extra),
        *(one for group in GROUPS.values() for one in group if isinstance(one, str)),
    ],
}


def blocks(file: str) -> list[str]:
    """Return each requirement of a file with its hashes."""
    text = (ROOT / file).read_text("utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if not line.startswith("#")]


def closure(asked: Collection[str]) -> dict[str, Requirement]:
    """Return what is needed here by name, by installed packages; each fits what is installed."""
    needed: dict[str, Requirement] = {}
    todo, seen = [(Requirement(one), "") for one in asked], set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if (requirement.marker and not requirement.marker.evaluate({"extra": extra})) or (
            str(requirement),
            extra,
        ) in seen:
            continue
        seen.add((str(requirement), extra))
        needed[name] = requirement
        assert requirement.specifier.contains(metadata.version(name), prereleases=True), requirement
        further = [Requirement(one) for one in metadata.requires(name) or ()]
        todo += [(one, extra) for one in further for extra in ("", *requirement.extras)]
    return needed


@pytest.mark.parametrize("file", ASKED)
def test_each_list_is_whole(file: str) -> None:
    """It holds what this Python needs, in the versions that the tests run with, and no more."""

    def pinned(file: str) -> list[Requirement]:
        return [Requirement(line.partition(" --hash=")[0]) for line in blocks(file)]

    here = [one for one in pinned(file) if one.marker is None or one.marker.evaluate()]
    assert {one.name for one in here} == closure(
        [*PROJECT["project"]["dependencies"], *ASKED[file]]
    ).keys()
    assert {f"{one.name}{one.specifier}" for one in here} == {
        f"{o.name}=={metadata.version(o.name)}" for o in here
    }


@pytest.mark.parametrize("file", ASKED)
def test_each_pin_has_hashes_and_no_address(file: str) -> None:
    """So what is installed is what was tested, from whichever index."""
    for block in blocks(file):
        assert re.fullmatch(
            r"[a-z0-9-]+==[\w.]+( ; [^:]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", block
        ), block


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-cli.txt"])
def test_the_lists_agree(file: str) -> None:
    """The functions and the command get what the tests ran with, on every Python."""
    assert set(blocks(file)) <= set(blocks("requirements-dev.txt"))
