"""The evaluation and its score: a sample of it here, all of it with `make bench-truth`."""

import json
import random
from collections.abc import Sequence
from datetime import date, timedelta
from inspect import getclosurevars
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

import canary.domain.incident
import canary.run
import canary.sources
from canary.commands import cli
from canary.domain.stages import Cause, CauseKind, Stage
from canary.domain.verdict import Verdict
from canary.notify.incidents import Notified
from evaluation.__main__ import run
from evaluation.faults import FAULTS, TOGETHER
from evaluation.healthy import HEALTHY
from evaluation.play import _season, play_fault, play_season, several, worlds
from evaluation.results import add_up
from evaluation.score import Score
from evaluation.world import World
from orchestrator_resilience import Phase
from orchestrator_resilience.background import AtOnce, Background
from orchestrator_resilience.stores.base import Write
from orchestrator_resilience.stores.sqlite import SqliteDocuments


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A third of the time of a world goes into threads: each of its runs starts four, and a season
    # has 2,000 runs.
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(phase: Phase, fault: str) -> None:
    """People are notified of each fault in its time, with its cause, once, and of its end."""
    scores = play_fault(phase, fault, f"test/{fault}/1")
    assert [score.flaws for score in scores if score.flaws] == []
    assert [(score.named, score.causes) for score in scores if score.named != score.causes] == []
    assert all(score.detected for score in scores if not score.healthy)


@pytest.mark.parametrize("number", range(6))
def test_several_faults_of_one_date(phase: Phase, number: int) -> None:
    """The causes of all are named, as far as they left a proof."""
    scenario = several(random.Random(number))
    (score,) = (
        s for s in play_fault(phase, scenario, f"test/{scenario}/{number}") if not s.healthy
    )
    assert (score.flaws, score.named) == ((), score.causes)


@pytest.mark.parametrize("number", range(3))
def test_a_season(phase: Phase, number: int) -> None:
    """No alarm on any healthy date, whatever its kind."""
    assert [
        (s.scenario, s.flaws)
        for s in play_season(phase, f"test/season/{number}", dates=8)
        if s.flaws
    ] == []


def test_every_kind_is_drawn() -> None:
    """No scenario is left out of a run of the default size."""
    names = [name.split("/")[1] for name in worlds(1, 1000, 200)]
    assert {name for name in names if " + " not in name} == {"season", *FAULTS}
    assert {part for name in names if " + " in name for part in name.split(" + ")} == {*TOGETHER}
    assert (names.count("season"), len(names)) == (50, 250)
    dates = [date(2026, 2, 20) + timedelta(days=n) for n in range(400)]
    # as drawn, because playing takes long
    assert set(_season(dates, random.Random(1))) == {*HEALTHY, "clock_change"}


def test_a_world_is_the_same_again(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed makes the same world again, also where one source is read after another."""
    in_turn = play_fault(phase, "crashed", "7/crashed/3")
    monkeypatch.setattr(canary.sources, "Background", Background)
    assert [play_fault(phase, "crashed", "7/crashed/3") for _ in range(2)] == [in_turn] * 2


@pytest.mark.no_cover  # test_a_fault reaches the same lines, and counting them doubles the time
@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if not fault.one_of][::6])
def test_the_canary_does_not_know_the_name_of_the_fault(
    phase: Phase, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The same fault under another name is the same to the canary, word for word."""
    monkeypatch.setitem(FAULTS, "gremlins", FAULTS[fault])
    scores = play_fault(phase, fault, "7/any/1")
    renamed = [
        replace(score, scenario=score.scenario.replace("gremlins", fault))
        for score in play_fault(phase, "gremlins", "7/any/1")
    ]
    assert renamed == scores


def silent(*_: object, **__: object) -> Notified:
    return Notified()


def always_won(self: SqliteDocuments, writes: Sequence[Write]) -> bool:
    for ref, fields, _ in writes:
        self.merge(ref, fields)
    return True


def always_not_delivered(verdict: Verdict, *_: object, **__: object) -> Verdict:
    return replace(verdict, causes=(Cause(kind=CauseKind.NOT_DELIVERED),))


def always_before_it_ran(verdict: Verdict, *_: object, **__: object) -> Verdict:
    return replace(verdict, causes=(Cause(kind=CauseKind.UNDETERMINED, until=Stage.RAN),))


@pytest.mark.parametrize(
    ("owner", "worse", "unmet"),
    [
        (canary.run, {"notify_channels": silent}, {"every fault is detected", "one opening"}),
        (canary.run, {"where_it_stopped": always_not_delivered}, {"no cause is ever", "on 99 %"}),
        (canary.run, {"where_it_stopped": always_before_it_ran}, {"where it stopped", "on 99 %"}),
        (canary.domain.incident, {"REMIND_EVERY": timedelta(minutes=15)}, {"one opening"}),
        (
            canary.domain.incident,
            {"REMIND_EVERY": timedelta(minutes=1), "_MESSAGES_A_DAY": 999, "_REMINDERS_UP_TO": 999},
            {"no channel gets"},
        ),
        (canary.domain.incident, {"PASSES_WITHIN": timedelta(days=99)}, {"one opening"}),
        (canary.domain.incident, {"_is_worse": lambda *_: True}, {"one opening"}),
        (canary.domain.incident, {"_is_worse": lambda *_: False}, {"every fault is detected"}),
        (SqliteDocuments, {"commit": always_won}, {"one opening"}),
    ],
    ids=[
        *(
            "a silent canary",
            "a canary that guesses",
            "a canary that knows too well where",
            "a canary that nags",
        ),
        *("a canary that floods a channel", "a canary that never says it is over"),
        *(
            "a canary to which everything is news",
            "a canary to which nothing is",
            "two canaries that both tell",
        ),
    ],
)
def test_the_score_finds_a_worse_canary(
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    worse: dict[str, object],
    unmet: set[str],
) -> None:
    """A target that cannot be missed would prove nothing."""
    for name, value in worse.items():
        monkeypatch.setattr(owner, name, value)
    missed = _missed(_sample(phase))
    assert all(any(target.startswith(word) for target in missed) for word in unmet), missed


def test_the_score_is_content_with_this_canary(phase: Phase) -> None:
    """On the same sample."""
    assert _missed(_sample(phase)) == set()


def test_the_score_finds_a_hasty_canary(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not wait for half an hour accuses healthy dates."""
    for name in HEALTHY:
        monkeypatch.setitem(HEALTHY, name, HEALTHY["flag_29_minutes_late"])
    hasty = msgspec.structs.replace(phase, untriggered_after_minutes=5)
    scores = [
        score
        for number in range(4)
        for score in play_season(hasty, f"test/season/{number}", dates=2)
    ]
    assert "no false alarm on a healthy date" in _missed(scores)


def _sample(phase: Phase) -> list[Score]:
    scenarios = [
        "short_circuit",
        "crashed",
        "failed",
        "crashed + renamed",
        "checkpoints_unreadable_at_first",
    ]
    return [score for name in scenarios for score in play_fault(phase, name, f"3/{name}/3")]


def _missed(scores: list[Score]) -> set[str]:
    return {target.what for target in add_up(scores).targets if target.met is False}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints every table and the targets, and writes them down; one has no date in so few."""
    file = tmp_path / "result.json"
    command = ["--healthy-days", "20", "--faulty-days", "8", "--jobs", "2", "--json", str(file)]
    assert run(command) == 2
    printed = capsys.readouterr().out
    assert "20 healthy dates, 8 faulty ones" in printed
    assert (printed.count("\nmet "), printed.count("\nnot measured of the changes ")) == (8, 1)
    result = json.loads(file.read_text())
    assert (result["healthy_days"], result["faulty_days"], result["flaws"]) == (20, 8, {})
    assert [target["what"] for target in result["targets"] if not target["met"]] == [
        "of the changes that a failure came of, 95 % are named"
    ]


def test_nothing_measured_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A target without a date is not met."""
    assert run(["--healthy-days", "0", "--faulty-days", "0"]) == 2
    assert capsys.readouterr().out.count("\nnot measured ") == 9


def test_one_world_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are kept, so that the other commands can look at it; this one has two canaries."""
    # as it is where nobody has changed it
    monkeypatch.setattr(canary.sources, "Background", Background)
    folder = tmp_path / "world"
    assert run(["--again", "1/short_circuit/8", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "short_circuit: SHORT_CIRCUIT, sent 1 OPENED" in printed
    day = printed.split()[0]
    assert cli.main(["explain", day, "--data", str(folder), "--now", f"{day}T23:59:00Z"]) == 0
    assert (folder / "resilience.sqlite3").exists()


@pytest.mark.parametrize("world", ["1/gremlins/3", "crashed", "1/crashed + gremlins/3", ""])
def test_no_such_world(world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names that there are."""
    assert run(["--again", world or "/", "--out", str(tmp_path / "world")]) == 2
    assert (
        "is no world: SEED/season/NUMBER or SEED/FAULT/NUMBER, FAULT of ['never_invoked'"
        in capsys.readouterr().err
    )


def test_only_what_reached_a_store_is_expected(
    phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death of which no line was kept is no cause that could be named."""
    (with_lines,) = (
        score for score in play_fault(phase, "crashed", "7/crashed/3") if not score.healthy
    )
    monkeypatch.setattr(World, "_leave", lambda *_: None)
    (without,) = (
        score for score in play_fault(phase, "crashed", "7/crashed/3") if not score.healthy
    )
    assert (with_lines.causes, with_lines.named) == ((CauseKind.CRASHED,), (CauseKind.CRASHED,))
    assert (without.causes, without.named) == ((), ())


def test_a_cause_that_rests_on_what_is_gone_is_found(
    phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary that names its cause whatever is left of the evidence."""
    name, world = "evidence_taken_away", "1/evidence_taken_away/3"
    assert [score.flaws for score in play_fault(phase, name, world) if score.flaws] == []
    stubborn = (Cause(kind=CauseKind.NAME_DRIFT),)
    monkeypatch.setattr(
        canary.run, "where_it_stopped", lambda verdict, *_, **__: replace(verdict, causes=stubborn)
    )
    (score,) = (score for score in play_fault(phase, name, world) if not score.healthy)
    assert score.taken == 15  # five of them are whole sources
    assert any(
        flaw.startswith("without ") and flaw.endswith("NAME_DRIFT was named")
        for flaw in score.flaws
    )


def test_the_bound_of_a_share() -> None:
    """Of 33 right ones out of 33, no more is known than that the share is 89.6 % or more."""
    right = Score(
        scenario="any", seed="1", game_date=date(2026, 2, 9), healthy=False, flaws=(), alarmed=True
    )
    kind = add_up([right] * 33).faults["any"]
    assert (kind.dates, kind.explained, kind.at_least, kind.undetermined) == (33, 1.0, 0.896, 1.0)


def test_every_cause_is_injected() -> None:
    """A new cause has a fault that has it; what stops a date is a closure over its cause."""
    causes = {getclosurevars(fault.stops).nonlocals.get("cause") for fault in FAULTS.values()}
    assert {*CauseKind} <= causes
