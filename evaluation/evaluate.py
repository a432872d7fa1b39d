"""Plays the scenarios on all cores and adds up the scores."""

import math
import os
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

from msgspec import Struct

from canary import sources
from evaluation.faults import FAULTS
from evaluation.play import LEAD_IN, SEASON_DATES, play_fault, play_season, several
from evaluation.score import MESSAGES_A_DAY, Score
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase

# Of the faulty dates every so many has two faults or three.
_SEVERAL_EVERY = 4
_RIGHT_CAUSES = 0.95
_Z = 1.96  # of 95 %
_TOGETHER = ("", "two faults", "three faults")


def worlds(seed: int, healthy_days: int, faulty_days: int) -> Iterator[str]:
    """Name the worlds: "SEED/season/NUMBER" has 20 healthy dates, "SEED/FAULT/NUMBER" one faulty date."""
    for number in range(-(-healthy_days // SEASON_DATES)):
        yield f"{seed}/season/{number}"
    rng = random.Random(seed)  # noqa: S311 (a simulation wants to be repeatable)
    single = cycle(FAULTS)
    for number in range(faulty_days):
        fault = several(rng) if number % _SEVERAL_EVERY == _SEVERAL_EVERY - 1 else next(single)
        yield f"{seed}/{fault}/{number}"


def play(phase: Phase, world: str, folder: Path | None = None) -> list[Score]:
    """Play one world, and keep its stores in `folder`, if there is one; raises ConfigurationError for no such world."""
    match world.split("/"):
        case _, "season", _:
            return play_season(phase, world, folder=folder)
        case _, faults, _ if set(faults.split(" + ")) <= FAULTS.keys():
            return play_fault(phase, faults, world, folder)
    raise ConfigurationError(f"{world!r} is no world: SEED/season/NUMBER or SEED/FAULT/NUMBER, FAULT of {[*FAULTS]}")


def play_all(phase: Phase, names: Sequence[str], jobs: int | None = None) -> Iterator[list[Score]]:
    """Play the worlds `names` in `jobs` processes (by default one a core); yield the scores of each as it ends."""
    with ProcessPoolExecutor(jobs or os.cpu_count(), get_context("spawn"), initializer=_read_in_turn) as pool:
        try:
            for future in as_completed([pool.submit(play, phase, world) for world in names]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _read_in_turn() -> None:
    """Let this process read one source after another: nothing hangs here, and threads cost most of the time."""
    setattr(sources, "Background", AtOnce)  # noqa: B010 (mypy takes no other class in its place)


class Spread(Struct, frozen=True):
    """Delays in minutes; None where there are none."""

    median: float | None = None
    longest: float | None = None


class FaultScore(Struct, frozen=True):
    """One kind of fault.

    `causes_right` is the share of dates whose causes were all named, and no other; `at_least` is the lower end of its
    95 % interval (Wilson's). `undetermined` is the share of dates of which no cause was named.
    """

    dates: int
    detected: int
    delay_minutes: Spread
    causes_right: float
    at_least: float
    undetermined: float
    messages_per_incident: float


class Attributes(Struct, frozen=True):
    """The four attributes of an alert.

    The shares of alarms that were due, and of faults that were detected; minutes from when a verdict was due to its
    alarm, and from the repair to RESOLVED.
    """

    precision: float
    recall: float
    minutes_to_detect: Spread
    minutes_to_reset: Spread


class Taken(Struct, frozen=True):
    """How many pieces of evidence were taken away, and in how many a line that was gone looked like another cause."""

    pieces: int
    misled: int


class Target(Struct, frozen=True):
    """Something that the simulation has to show, and what it showed; `met` is None where nothing showed it."""

    what: str
    met: bool | None
    seen: str


class Result(Struct, frozen=True):
    """Everything that a simulation shows; `confusion` counts true causes by named ones, single faults only."""

    healthy_days: int
    faulty_days: int
    targets: tuple[Target, ...]
    attributes: Attributes
    taken: Taken
    faults: dict[str, FaultScore]
    healthy: dict[str, int]
    confusion: dict[str, dict[str, int]]
    flaws: dict[str, tuple[str, ...]]


def add_up(scores: Iterable[Score]) -> Result:
    """Add up the scores of all dates."""
    everything = list(scores)
    healthy = [s for s in everything if s.healthy and s.scenario != LEAD_IN]
    faulty = [s for s in everything if not s.healthy]
    single = [s for s in faulty if " + " not in s.scenario]
    return Result(
        healthy_days=len(healthy),
        faulty_days=len(faulty),
        targets=tuple(_targets(everything, faulty)),
        attributes=_attributes(everything, faulty),
        taken=Taken(sum(s.taken for s in faulty), sum(s.misled for s in faulty)),
        faults={name: _fault(own) for name, own in sorted(_grouped(faulty).items())},
        healthy={name: len(own) for name, own in sorted(_grouped(healthy).items())},
        confusion=_confusion(single),
        flaws={f"{s.seed} {s.game_date}": s.flaws for s in everything if s.flaws},
    )


def _targets(everything: list[Score], faulty: list[Score]) -> Iterator[Target]:
    def share(what: str, answers: Iterable[bool], least: float = 1.0) -> Target:
        given = list(answers)
        met = sum(given) >= least * len(given) if given else None
        return Target(what, met, f"{sum(given)} of {len(given)}")

    def none(what: str, bad: Iterable[bool]) -> Target:
        given = list(bad)
        return Target(what, not any(given) if given else None, f"{sum(given)} of {len(given)} dates")

    yield none("no false alarm on a healthy date", (s.alarmed for s in everything if s.healthy))
    yield share("every fault is detected in its time", (s.detected for s in faulty))
    delays = [s.completion_delay / 60 for s in faulty if s.completion_delay is not None]
    in_time = all(30 <= delay <= 45 for delay in delays) if delays else None  # noqa: PLR2004
    seen = f"{min(delays):.1f} to {max(delays):.1f} min on {len(delays)} dates" if delays else ""
    yield Target("UNTRIGGERED 30 to 45 min after the fifth completion", in_time, seen)
    right = (s.causes_are_right for s in faulty)
    yield share("on 95 % of the dates all causes are named, and no other", right, _RIGHT_CAUSES)
    yield none("no cause is ever named that is none", (not set(s.named) <= set(s.causes) for s in faulty))
    yield none("no cause is ruled out that there is", (bool(s.wrongly_ruled_out) for s in faulty))
    most = (s.most_in_a_day > MESSAGES_A_DAY for s in faulty)
    yield none(f"no channel gets more than {MESSAGES_A_DAY} messages of a date in 24 hours", most)
    yield none(
        "one opening, one resolution, reminders at their interval, nothing else", (bool(s.flaws) for s in everything)
    )


def _attributes(everything: list[Score], faulty: list[Score]) -> Attributes:
    alarms = [s for s in everything if s.alarmed]
    return Attributes(
        precision=_share(not s.healthy for s in alarms),
        recall=_share(s.detected for s in faulty),
        minutes_to_detect=_spread(s.delay for s in faulty),
        minutes_to_reset=_spread(s.reset for s in faulty),
    )


def _fault(own: list[Score]) -> FaultScore:
    return FaultScore(
        dates=len(own),
        detected=sum(s.detected for s in own),
        delay_minutes=_spread(s.delay for s in own),
        causes_right=_share(s.causes_are_right for s in own),
        at_least=round(_at_least(sum(s.causes_are_right for s in own), len(own)), 3),
        undetermined=_share(not s.named for s in own),
        messages_per_incident=_mean(sum(s.notifications.values()) for s in own),
    )


def _confusion(single: list[Score]) -> dict[str, dict[str, int]]:
    """Count the sets of causes that were named by the true one."""
    counted: dict[str, Counter[str]] = {}
    for score in single:
        counted.setdefault(_and(score.causes), Counter())[_and(score.named)] += 1
    return {cause: dict(named) for cause, named in sorted(counted.items())}


def _and(causes: Sequence[str]) -> str:
    return " and ".join(causes) or "UNDETERMINED"


def _grouped(scores: Iterable[Score]) -> dict[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(_TOGETHER[score.scenario.count(" + ")] or score.scenario, []).append(score)
    return found


def _minutes(seconds: Iterable[float | None]) -> list[float]:
    return [round(second / 60, 1) for second in seconds if second is not None]


def _spread(seconds: Iterable[float | None]) -> Spread:
    delays = _minutes(seconds)
    return Spread(round(statistics.median(delays), 1), max(delays)) if delays else Spread()


def _at_least(right: int, of: int) -> float:
    """Return the lower end of Wilson's 95 % interval of a share."""
    if not of:
        return 0.0
    z, share = _Z, right / of
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (share + z * z / (2 * of) - half) / (1 + z * z / of))


def _share(answers: Iterable[bool]) -> float:
    given = list(answers)
    return sum(given) / len(given) if given else 1.0


def _mean(counts: Iterable[int]) -> float:
    given = list(counts)
    return round(statistics.mean(given), 1) if given else 0.0
