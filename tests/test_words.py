"""The project's words: what docs/glossary.md has replaced does not come back."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Each with the word of the glossary that took its place; as parts of identifiers, and in any text.
RETIRED = {
    "witness": "completion log, message log",
    "witnesses": "completion log, message log",
    "witnessed": "completion log, message log",
    "stranger": "unexpected processor",
    "strangers": "unexpected processor",
    "rehearsal": "simulation, playback",
    "rehearsals": "simulation, playback",
    "rehearse": "simulation, playback",
    "rival": "baseline",
    "rivals": "baseline",
    "telling": "notification",
    "trail": "the checkpoints of a date",
    "trails": "the checkpoints of a date",
    "spoken": "duration_text",
    "announced": "orchestrator_expected",
    "awaited": "orchestrator_expected",
    "ledger": "incident",
}
# Innocent as parts of a sentence, retired as names.
RETIRED_NAMES = {"waited_for": "orchestrator_expected", "story": "timeline", "tell_story": "timeline"}
_PHRASE = re.compile(r"stor(y|ies) of (a|one|the) (game )?date", re.IGNORECASE)


def _files() -> list[Path]:
    """List what is the project's own, in a checkout or in what was uploaded of one."""
    rooms = ("benchmarks", "canary", "deploy", "docs", "examples", "orchestrator_resilience", "tests", "tools")
    inside = [path for room in rooms for path in (ROOT / room).rglob("*") if "__pycache__" not in path.parts]
    beside = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".yaml"} or path.name == "Makefile"]
    return [path for path in [*inside, *beside] if path.is_file() and path != Path(__file__)]


def _parts(text: str) -> set[str]:
    """Return the words of a text in lower case, those inside snake_case and CamelCase included."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)}


def test_retired_words_are_in_no_name_and_no_text() -> None:
    """Neither in a file's name nor in what it says."""
    found = {}
    for path in _files():
        text = f"{path.relative_to(ROOT)}\n{path.read_text('utf-8')}"
        words = (RETIRED.keys() & _parts(text)) | {m[0] for m in _PHRASE.finditer(text)}
        words |= RETIRED_NAMES.keys() & set(re.findall(r"\w+", text)) if path.suffix == ".py" else set()
        if words:
            found[str(path.relative_to(ROOT))] = sorted(words)
    assert found == {}, "docs/glossary.md has the words that took their place"


def test_a_retired_word_would_be_found() -> None:
    """In every spelling that names have, and not as a part of another word."""
    for spelling in ("witness", "_WITNESS_TABLE", "readWitness", "Witness", "has_witness"):
        assert "witness" in _parts(spelling), spelling
    assert RETIRED.keys() & _parts("arrival trailing Storytelling eyewitness") == set()
