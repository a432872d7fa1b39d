"""Inputs that once failed, a file each in corpus/TARGET/, and the search for others."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis

from tests.fuzz.inputs import Check, Target, from_json, to_json

FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Finding:
    """An input, as small as it could be made, and what it ended in."""

    value: Any
    error: Exception


def kept(target: str) -> Iterator[tuple[Path, Any]]:
    """Yield what once failed, and where it is kept."""
    for file in sorted(_folder(target).glob("*.json")):
        yield file, from_json(json.loads(file.read_text("utf-8"))["input"])


def keep(target: str, finding: Finding) -> Path:
    """Write a finding into the corpus."""
    text = json.dumps({"was": repr(finding.error)[:200], "input": to_json(finding.value)}, indent=1) + "\n"
    file = _folder(target) / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def search(target: Target, check: Check, seed: str, examples: int) -> tuple[int, Finding | None]:
    """Feed a target so many inputs; returns how many it was, and the first that failed."""
    tried, last = 0, None

    def feed(value: Any) -> None:
        nonlocal tried, last
        tried, last = tried + 1, value
        check(value)

    run = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )(hypothesis.given(target.inputs)(feed))
    try:
        hypothesis.seed(seed)(run)()
    except Exception as error:  # noqa: BLE001 (it is what is looked for)
        return tried, Finding(last, error)
    return tried, None


def _folder(target: str) -> Path:
    return FOLDER / target.replace(" ", "_")
