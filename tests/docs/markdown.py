"""Reads the Markdown pages as far as the tests need it: blocks of code, tables, links, anchors."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of code; `language` is "" where the fence names none."""

    page: str
    language: str
    text: str


def name_of(page: Path) -> str:
    """Return the page's path from the root."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path | str) -> str:
    return (ROOT / page).read_text("utf-8")


def prose_of(page: Path | str) -> str:
    """Return the page without its blocks of code."""
    return _FENCE.sub("", text_of(page))


def blocks(page: Path | str, language: str | None = None) -> list[Block]:
    """Return the page's blocks, those of one language where it is given."""
    found = [Block(name_of(ROOT / page), *match) for match in _FENCE.findall(text_of(page))]
    return [block for block in found if language in {None, block.language}]


def commands_of(text: str) -> list[str]:
    """Return the commands of a block of shell, whole where they continue over several lines."""
    found: list[str] = []
    for line in text.splitlines():
        if found and not _is_whole(found[-1]):
            found[-1] += f"\n{line}"
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line.strip())
    return found


def _is_whole(command: str) -> bool:
    here = re.match(r".*<<'(\w+)'$", command, re.MULTILINE)
    if here:
        return command.endswith(f"\n{here[1]}")
    return not command.endswith("\\") and command.count("'") % 2 == 0


def shell_commands() -> Iterator[tuple[str, str]]:
    """Yield each command of each block of shell, with its page; continued lines are one."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for command in commands_of(block.text):
                yield block.page, re.sub(r"\s+# .*$", "", command.replace("\\\n", " "))


def inline_code(page: Path | str) -> list[str]:
    """Return what stands between backticks in the prose."""
    return re.findall(r"`([^`\n]+)`", prose_of(page))


def sections(page: Path | str) -> dict[str, str]:
    """Return the text below each heading by the heading without its backticks."""
    _, *parts = re.split(r"^#+ (.+)$", prose_of(page), flags=re.MULTILINE)
    return {
        heading.replace("`", ""): text
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, heads and rulers left out."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        lines = table.strip().splitlines()
        found += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def first_cells(text: str) -> list[str]:
    """Return what stands between backticks in the first cell of each row."""
    return [name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])]


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", prose_of(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
