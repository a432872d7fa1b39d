"""The short form of `make fuzz`: what once failed, and a few inputs of each target."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import findings
from tests.fuzz.findings import FOLDER, Finding, keep, kept, search
from tests.fuzz.inputs import Target, from_json, pure, stored_values, to_json
from tests.fuzz.targets import TARGETS


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target(target: Target) -> None:
    """Its promise holds for what once failed, and for a few more inputs."""
    with target.opened() as check:
        for _, value in kept(target.name):
            check(value)
        _, finding = search(target, check, "short", 12)
    if finding is not None:
        raise finding.error


def test_every_kept_input_is_some_targets() -> None:
    """No folder of the corpus is left over when a target gets another name."""
    assert {folder.name for folder in FOLDER.iterdir()} <= {target.name.replace(" ", "_") for target in TARGETS}


def test_a_finding_is_made_small_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is fed again the next time."""
    monkeypatch.setattr(findings, "FOLDER", tmp_path)

    def check(value: int) -> None:
        assert value < 100

    target = pure("small numbers", st.integers(), check)
    _, finding = search(target, check, "1", 1000)
    assert isinstance(finding, Finding)
    file = keep(target.name, finding)
    assert list(kept(target.name)) == [(file, 100)]


@given(stored_values)
def test_the_corpus_gives_back_what_it_was_given(value: Any) -> None:
    """Bytes, times and lone surrogates included."""
    assert repr(from_json(to_json(value))) == repr(value)
