"""One concept, one word: the glossary is in order and in use, and retired words are gone."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, name_of, rows, text_of
from tests.words import retired_in

GLOSSARY = "docs/glossary.md"


def test_the_glossary_is_alphabetical() -> None:
    """Each word once, in bold, on one line, with a meaning."""
    words = [row[0] for row in rows(text_of(GLOSSARY))]
    assert all(re.fullmatch(r"\*\*[\w -]+\*\*", word) for word in words)
    assert words == sorted(set(words), key=lambda word: word.strip("*").lower())
    assert all(meaning for _, meaning, _ in rows(text_of(GLOSSARY)))


def test_each_word_is_in_use() -> None:
    """In the code, its settings or another page; there a word of two may be one name."""
    folders = [ROOT / name for name in ("canary", "orchestrator_resilience", "deploy")]
    files = [path for folder in folders for path in folder.rglob("*")]
    code = [path for path in files if path.suffix in {".py", ".sh", ".toml", ".sql"}]
    pages = [page for page in PAGES if name_of(page) != GLOSSARY]
    used = " ".join(path.read_text("utf-8") for path in (*code, *pages))
    patterns = {
        row[0].strip("*"): re.sub(r"[ _-]", r"[\\s_-]*", row[0].strip("*"))
        for row in rows(text_of(GLOSSARY))
    }
    assert [
        word
        for word, pattern in patterns.items()
        if not re.search(rf"\b{pattern}", used, re.IGNORECASE)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_has_a_retired_word(page: Path) -> None:
    """Except where the glossary says which word to read instead."""
    text = text_of(page)
    if name_of(page) == GLOSSARY:
        text = "\n".join(" ".join(row[:-1]) for row in rows(text))
    assert retired_in(text) == set()


def test_the_changelog_has_retired_words_only_as_names() -> None:
    """Of what was renamed, between backticks."""
    assert retired_in(re.sub(r"`[^`]+`", "", text_of("CHANGELOG.md"))) == set()
