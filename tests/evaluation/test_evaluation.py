"""The evaluation: a sample of it here, all of it with `make bench-truth`; and that its score can tell."""

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import canary.domain.incident
import canary.run
import canary.sources
from canary.commands import cli
from canary.domain.verdict import Cause, CauseKind, Verdict
from canary.notify.incidents import Notified
from evaluation.__main__ import run
from evaluation.evaluate import Result, add_up, worlds
from evaluation.faults import FAULTS, TOGETHER
from evaluation.healthy import HEALTHY
from evaluation.play import _season, play_fault, play_season, several
from evaluation.score import Score
from orchestrator_resilience import Phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.sqlite import SqliteDocuments


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A third of the time of a world goes into threads: each of its runs starts four, and a season has 2,000 runs.
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(phase: Phase, fault: str) -> None:
    """Each fault is told in its time, with its cause, once, and its end."""
    scores = play_fault(phase, fault, f"test/{fault}/1")
    assert [score.flaws for score in scores if score.flaws] == []
    assert [(score.named, score.causes) for score in scores if not score.causes_are_right] == []
    assert all(score.detected for score in scores if not score.healthy)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("number", range(6))
def test_several_faults_of_one_date(phase: Phase, number: int) -> None:
    """The causes of all are named, as far as they left a proof."""
    scenario = several(random.Random(number))
    (score,) = (s for s in play_fault(phase, scenario, f"test/{scenario}/{number}") if not s.healthy)
    assert (score.flaws, score.named) == ((), score.causes)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("number", range(3))
def test_a_season(phase: Phase, number: int) -> None:
    """No alarm on any healthy date, whatever its kind."""
    assert [(s.scenario, s.flaws) for s in play_season(phase, f"test/season/{number}", dates=8) if s.flaws] == []


def test_every_kind_is_drawn() -> None:
    """No scenario is left out of a run of the default size."""
    names = [name.split("/")[1] for name in worlds(1, 1000, 200)]
    assert {name for name in names if " + " not in name} == {"season", *FAULTS}
    assert {part for name in names if " + " in name for part in name.split(" + ")} == {*TOGETHER}
    assert (names.count("season"), len(names)) == (50, 250)
    dates = [date(2026, 2, 20) + timedelta(days=n) for n in range(400)]
    assert set(_season(dates, random.Random(1))) == {*HEALTHY, "clock_change"}  # as drawn, because playing takes long


def test_a_world_is_the_same_again(phase: Phase, request: pytest.FixtureRequest) -> None:
    """Its seed makes it, so that a flaw can be looked at, and reading one source after another makes no other."""
    at_once = [play_fault(phase, "crashed", "7/crashed/3") for _ in range(2)]
    assert at_once[0] == at_once[1]
    request.getfixturevalue("_one_thread")
    assert play_fault(phase, "crashed", "7/crashed/3") == at_once[0]


@pytest.mark.no_cover  # test_a_fault reaches the same lines, and counting them doubles the time
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.causes])
def test_the_diagnosis_does_not_know_the_name_of_the_fault(
    phase: Phase, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The same fault under another name is the same to the canary, word for word."""
    monkeypatch.setitem(FAULTS, "gremlins", FAULTS[fault])
    known, unknown = (play_fault(phase, scenario, "7/any/1") for scenario in (fault, "gremlins"))
    assert [_without_name(score) for score in known] == [_without_name(score) for score in unknown]


def _without_name(score: Score) -> dict[str, Any]:
    return {name: getattr(score, name) for name in score.__struct_fields__ if name != "scenario"}


def silent(*_: object, **__: object) -> Notified:
    return Notified()


def always_won(self: SqliteDocuments, ref: DocumentRef, fields: dict[str, Any], version: str | None) -> bool:  # noqa: ARG001
    self.merge(ref, fields)
    return True


def always_never_invoked(verdict: Verdict, *_: object, **__: object) -> Verdict:
    return replace(verdict, causes=(Cause(CauseKind.NEVER_INVOKED, "of course"),))


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(
    ("worse", "unmet"),
    [
        ((canary.run, "notify", silent), {"every fault is detected", "one opening"}),
        ((canary.run, "explain", always_never_invoked), {"no cause is ever", "on 95 %"}),
        ((canary.domain.incident, "REMIND_EVERY", timedelta(minutes=15)), {"one opening"}),
        ((canary.domain.incident, "PASSES_WITHIN", timedelta(days=99)), {"one opening"}),
        ((canary.domain.incident, "_is_worse", lambda *_: True), {"one opening"}),
        ((canary.domain.incident, "_is_worse", lambda *_: False), {"every fault is detected", "on 95 %"}),
        ((SqliteDocuments, "update_if_unchanged", always_won), {"one opening"}),
    ],
    ids=[
        *("a silent canary", "a canary that guesses", "a canary that nags", "a canary that never says it is over"),
        *("a canary to which everything is news", "a canary to which nothing is", "two canaries that both tell"),
    ],
)
def test_the_score_finds_a_worse_canary(
    phase: Phase, monkeypatch: pytest.MonkeyPatch, worse: tuple[object, str, object], unmet: set[str]
) -> None:
    """A target that cannot be missed would prove nothing."""
    monkeypatch.setattr(*worse)
    missed = _unmet(_sample(phase))
    assert all(any(target.startswith(word) for target in missed) for word in unmet), missed


@pytest.mark.usefixtures("_one_thread")
def test_the_score_is_content_with_this_canary(phase: Phase) -> None:
    """On the same sample."""
    assert _unmet(_sample(phase)) == set()


@pytest.mark.usefixtures("_one_thread")
def test_the_score_finds_a_hasty_canary(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not wait for half an hour accuses healthy dates."""
    for name in HEALTHY:
        monkeypatch.setitem(HEALTHY, name, HEALTHY["flag_29_minutes_late"])
    hasty = msgspec.structs.replace(phase, untriggered_after_minutes=5)
    scores = [score for number in range(4) for score in play_season(hasty, f"test/season/{number}", dates=2)]
    assert "no false alarm on a healthy date" in _unmet(add_up(scores))


def _sample(phase: Phase) -> Result:
    scenarios = ["short_circuit", "crashed", "failed", "crashed + renamed", "checkpoints_unreadable_at_first"]
    return add_up(score for name in scenarios for score in play_fault(phase, name, f"3/{name}/3"))


def _unmet(result: Result) -> set[str]:
    return {target.what for target in result.targets if target.met is False}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints every table and the targets, and writes them down."""
    file = tmp_path / "result.json"
    command = ["--healthy-days", "20", "--faulty-days", "8", "--jobs", "2", "--json", str(file)]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "20 healthy dates, 8 faulty ones" in printed
    assert printed.count("\nmet ") == 8
    result = json.loads(file.read_text())
    assert (result["healthy_days"], result["faulty_days"], result["flaws"]) == (20, 8, {})
    assert all(target["met"] for target in result["targets"])


def test_nothing_measured_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A target without a date is not met."""
    assert run(["--healthy-days", "0", "--faulty-days", "0"]) == 2
    assert capsys.readouterr().out.count("\nnot measured ") == 8


@pytest.mark.usefixtures("_one_thread")
def test_one_world_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files are kept, so that the other commands can look at it."""
    folder = tmp_path / "world"
    assert run(["--again", "1/short_circuit/8", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "short_circuit: SHORT_CIRCUIT, told 1 OPENED" in printed
    day = printed.split()[0]
    assert cli.main(["explain", day, "--data", str(folder), "--now", f"{day}T23:59:00Z"]) == 0
    assert (folder / "resilience.sqlite3").exists()


@pytest.mark.parametrize("world", ["1/gremlins/3", "crashed", "1/crashed + gremlins/3", ""])
def test_no_such_world(world: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The names that there are."""
    assert run(["--again", world or "/"]) == 2
    assert "is no world: SEED/season/NUMBER or SEED/FAULT/NUMBER, FAULT of ['never_invoked'" in capsys.readouterr().err
