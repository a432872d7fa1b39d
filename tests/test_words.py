"""Words that docs/glossary.md has replaced do not come back into code and configuration."""

from pathlib import Path

import pytest

from tests.words import RETIRED, retired_in

ROOT = Path(__file__).parents[1]
_ROOMS = ("benchmarks", "canary", "deploy", "examples", "orchestrator_resilience", "tests", "tools")
_SAY_THEM = {Path(__file__), ROOT / "tests" / "words.py"}


def _files() -> list[Path]:
    """List the project's own files, except the pages, which tests/docs looks at."""
    inside = [
        path
        for room in _ROOMS
        for path in (ROOT / room).rglob("*")
        if "__pycache__" not in path.parts
    ]
    beside = [
        path
        for path in ROOT.iterdir()
        if path.suffix in {".toml", ".yaml"} or path.name == "Makefile"
    ]
    return [path for path in [*inside, *beside] if path.is_file() and path not in _SAY_THEM]


def test_retired_words_are_in_no_name_and_no_text() -> None:
    """Neither in a file's name nor in what it says."""
    found = {
        str(path.relative_to(ROOT)): words
        for path in _files()
        if (words := retired_in(f"{path.relative_to(ROOT)}\n{path.read_text('utf-8')}"))
    }
    assert found == {}, f"the words that took their place: {RETIRED}"


@pytest.mark.parametrize(
    "spelling", ["witness", "_WITNESS_TABLE", "readWitnesses", "Strangers", "waited_for", "_told("]
)
def test_a_retired_word_would_be_found(spelling: str) -> None:
    """In every spelling that names have."""
    assert retired_in(spelling)


def test_other_words_are_left_alone() -> None:
    """Those of which a retired one is only a part."""
    assert (
        retired_in(
            "arrival trailing Storytelling eyewitness banking plots the story of a delivery is_told"
        )
        == set()
    )
