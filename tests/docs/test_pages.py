"""The pages' links, files and names exist, and what README promises is true."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from evaluation.faults import FAULTS
from tests.docs.markdown import (
    DOCS,
    PAGES,
    ROOT,
    anchors,
    blocks,
    first_cells,
    inline_code,
    links,
    name_of,
    prose_of,
    sections,
    text_of,
)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_every_link_resolves(page: Path) -> None:
    """Its file is there, and the heading in it."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_page_can_be_reached() -> None:
    """From README, by links."""
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = {
            (page.parent / link.partition("#")[0]).resolve()
            for link in links(page)
            if "://" not in link
        }
        waiting += [file for file in targets if file.suffix == ".md" and file not in reached]
    assert reached >= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_mentioned_is_there(page: Path) -> None:
    """By its path from the root, or by its name where it has no folder."""
    # Made by a run, a deployment or a measurement.
    made = {"main.py", "checkpoints.jsonl", "datasets/", "messages.jsonl", "truth.json"}
    # The command's folders, which `canary demo` and its kin make.
    made_below = "simulated"

    def named(name: str) -> list[Path]:
        folders = [
            ROOT / folder.strip("/")
            for folder in first_cells(sections("docs/architecture.md")["The rooms"])
        ]
        return [path for folder in folders for path in folder.rglob(name)]

    suffixes = r"(?:py|sh|toml|sql|ya?ml|txt|jsonl?|md)"
    for code in inline_code(page):
        if (
            code in made
            or code.startswith(made_below)
            or not re.fullmatch(rf"[\w./-]+(?:\.{suffixes}|/)", code)
        ):
            continue
        places = [ROOT / code] if "/" in code else [ROOT / code, *named(code)]
        assert any(place.exists() for place in places), code


def test_the_walks_name_what_is_there() -> None:
    """Each `file`: `name` of the architecture is a function or a class in that file."""
    named = re.findall(r"`([\w/]+\.py)`: `(\w+)`", prose_of("docs/architecture.md"))
    assert len(named) >= 20
    for file, name in named:
        tree = ast.parse(text_of(file))
        kinds = (ast.FunctionDef, ast.ClassDef)
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, (
            file,
            name,
        )


def test_every_room_is_in_the_architecture() -> None:
    """The packages that are built, and the folders whose types are checked."""
    tools = tomllib.loads(text_of("pyproject.toml"))["tool"]
    folders = {
        name.replace(".", "/") + "/"
        for name in (*tools["setuptools"]["packages"], *tools["mypy"]["files"])
    }
    rooms = first_cells(sections("docs/architecture.md")["The rooms"])
    assert folders <= {*rooms}
    assert all((ROOT / room).is_dir() for room in rooms)


def test_the_readme_is_short() -> None:
    """150 lines at the most; what is longer has its own page."""
    assert len(text_of("README.md").splitlines()) <= 150


def test_the_alert_of_the_readme_is_the_demos(demo: str) -> None:
    """Line by line, as it is printed."""
    (alert,) = (block.text for block in blocks("README.md", "") if "╭" in block.text)
    assert alert in demo


def test_decisions_are_numbered_and_listed() -> None:
    """Without a gap, in three parts, on half a page to a page."""
    records = sorted(DOCS.glob("decisions/0*.md"))
    assert [record.name[:4] for record in records] == [
        f"{n:04}" for n in range(1, len(records) + 1)
    ]
    assert links(DOCS / "decisions" / "README.md") == [record.name for record in records]
    for record in records:
        text = text_of(record)
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ], record.name
        assert 15 <= len(text.splitlines()) <= 30, record.name


def test_the_deployment_page_has_every_step_and_substitution() -> None:
    """Those of cloudbuild.yaml, the steps in their order."""
    build = yaml.safe_load(text_of("cloudbuild.yaml"))
    table = first_cells(sections("docs/deploy.md")["In order"])
    steps = [step["id"].replace("_", "-") for step in build["steps"]]
    assert [name for name in table if name[0] != "_"] == steps
    assert {name for name in table if name[0] == "_"} == build["substitutions"].keys()
    assert len(text_of("docs/deploy.md").splitlines()) < 200, "what an engineer needs on the day"


def test_the_evaluation_counts_the_faults() -> None:
    """As many kinds as the simulation has."""
    assert f"Faults of {len(FAULTS)} kinds" in text_of("docs/evaluation.md")
