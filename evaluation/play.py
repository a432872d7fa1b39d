"""Plays the worlds: seasons of healthy dates, and dates with a fault or two; each from its seed."""

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import msgspec
from msgspec.structs import replace

from canary import sources
from canary.domain.verdict import VerdictKind
from canary.playback.schedule import TICK, Schedule, ticks
from evaluation.day import HOUR, MINUTE, Day
from evaluation.faults import FAULTS, TOGETHER, inject
from evaluation.healthy import HEALTHY
from evaluation.reported import INNOCENT, JOB, SERVICE
from evaluation.score import LEAD_IN, Repair, Score, score_fault, score_healthy
from evaluation.taken import Taken, take_away
from evaluation.truth import THE_DATE, Stop, Stored, Truth
from evaluation.world import OUTCOME_QUERY, WORK_QUERY, Requests, World
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Change, Component
from orchestrator_resilience.stores.embedded import EmbeddedStores

SEASON_DATES = 20
# Of the faulty dates every so many has two faults or three.
_SEVERAL_EVERY = 4
_ONE_DAY = timedelta(days=1)
# On these the clocks of the United States change.
_CLOCK_CHANGES = (date(2025, 11, 2), date(2026, 3, 8), date(2026, 11, 1))
_WEEK = 7
_PARTS = (
    (Component.SERVICE, SERVICE),
    (Component.TABLE, "nba_orchestration.phase_completions"),
    (Component.JOB, JOB),
)


def worlds(seed: int, healthy_days: int, faulty_days: int) -> Iterator[str]:
    """Name the worlds: SEED/season/NUMBER has 20 healthy dates, SEED/FAULT/NUMBER one faulty."""
    for number in range(-(-healthy_days // SEASON_DATES)):
        yield f"{seed}/season/{number}"
    rng = random.Random(seed)  # noqa: S311 (a simulation wants to be repeatable)
    single = cycle(FAULTS)
    for number in range(faulty_days):
        fault = several(rng) if number % _SEVERAL_EVERY == _SEVERAL_EVERY - 1 else next(single)
        yield f"{seed}/{fault}/{number}"


def play(phase: Phase, world: str, folder: Path | None = None) -> list[Score]:
    """Play one world, and keep its stores in `folder`, if there is one.

    Raises ConfigurationError for no such world.
    """
    match world.split("/"):
        case _, "season", _:
            return play_season(phase, world, folder=folder)
        case _, faults, _ if set(faults.split(" + ")) <= FAULTS.keys():
            return play_fault(phase, faults, world, folder)
    raise ConfigurationError(
        f"{world!r} is no world: SEED/season/NUMBER or SEED/FAULT/NUMBER, FAULT of {[*FAULTS]}"
    )


def play_all(phase: Phase, names: Sequence[str], jobs: int | None = None) -> Iterator[list[Score]]:
    """Play the worlds `names` in `jobs` processes (by default one a core).

    Yields the scores of each world as it ends.
    """
    with ProcessPoolExecutor(
        jobs or os.cpu_count(), get_context("spawn"), initializer=read_in_turn
    ) as pool:
        try:
            for future in as_completed([pool.submit(play, phase, world) for world in names]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_in_turn() -> None:
    """Let this process read one source after another.

    Nothing hangs here, and threads would cost most of the time. Two canaries at once wait for each
    other in the thread that each of them runs in.
    """
    setattr(sources, "Background", AtOnce)  # noqa: B010 (mypy takes no other class in its place)


def play_season(
    phase: Phase, seed: str, dates: int = SEASON_DATES, folder: Path | None = None
) -> list[Score]:
    """Play healthy `dates` on end, a canary run each quarter hour.

    The stores are kept in `folder`, if there is one.
    """
    rng = random.Random(seed)  # noqa: S311 (a simulation wants to be repeatable)
    first = _any_date(rng)
    if _chance(rng, 0.3):
        first = rng.choice(_CLOCK_CHANGES) - timedelta(days=rng.randint(0, dates - 1))
    days = _dates(first, dates)
    with _world(phase, first, folder, message_log=_chance(rng, 0.5)) as world:
        scenarios = dict(zip(days, _season(days, rng), strict=True))
        for number, (day, scenario) in enumerate(scenarios.items()):
            simulated = Day(world, day, rng, base_id=str(number))
            HEALTHY.get(scenario, HEALTHY["normal"])(simulated)
            simulated.play()
        world.run_every_quarter_hour(_noon(first), _noon(days[-1]) + 2 * _ONE_DAY)
        return [score_healthy(world, day, scenario, seed) for day, scenario in scenarios.items()]


def play_fault(phase: Phase, scenario: str, seed: str, folder: Path | None = None) -> list[Score]:
    """Play a date with one fault, or with all of "one + other", until it is mended and over.

    The stores are kept in `folder`, if there is one.
    """
    rng = random.Random(seed)  # noqa: S311 (as above)
    first = _any_date(rng)
    lead_in = _dates(first, rng.randint(2, 4))
    subject = lead_in[-1] + _ONE_DAY
    names = scenario.split(" + ")
    message_logs = {FAULTS[name].message_log for name in names} - {None}
    message_log = message_logs == {True} if message_logs else _chance(rng, 0.5)
    with _world(phase, first, folder, message_log=message_log) as world:
        _keep_logs(world, seed)
        days = {day: Day(world, day, rng, base_id=f"{day}") for day in (*lead_in, subject)}
        days[subject].before = [days[day] for day in lead_in]
        injected = [inject(name, days[subject]) for name in names]
        _change_something(
            world, [days[day] for day in lead_in], days[subject], FAULTS[names[0]].dates
        )
        truths = {subject: _together([dates[subject] for dates in injected])}
        noon = _noon(subject)  # nobody looks at the dates before until then
        truths |= {
            day: replace(truth, due={kind: max(at, noon) for kind, at in truth.due.items()})
            for day, truth in injected[0].items()
            if day != subject
        }
        for simulated in days.values():
            simulated.play()
        if scenario != "slack_down" and _chance(rng, 0.2):
            world.twice |= days.keys()
        mended_at = _plan_repair(
            world,
            max(truths[subject].due.values()) + truths[subject].slack_late,
            [days[day] for day in truths],
            rng,
        )
        repairs: dict[date, Repair] = {}
        world.schedule.at(
            mended_at - timedelta(seconds=1),
            lambda: repairs.update(
                {day: _repair(days[day], truth, mended_at) for day, truth in truths.items()}
            ),
        )
        over = (
            max([mended_at, *(o.until for o in world.outages if o.source != "checkpoints")]) + HOUR
        )
        world.run_every_quarter_hour(_noon(subject) - MINUTE, over)
        # After many messages in a day the last one waits, for a day at the most.
        for hour in range(24):
            if world.has_heard_the_end:
                break
            world.run_every_quarter_hour(over + hour * HOUR, over + (hour + 1) * HOUR)
        scores = [
            score_fault(world, day, scenario, seed, truth, repair=repairs[day])
            for day, truth in truths.items()
        ]
        unreadable = any(
            o.source in {"documents", "completion_log", "outcome"} and not o.operation
            for o in world.outages
        )
        healthy = [day for day in lead_in if day not in truths and not unreadable]
        return scores + [score_healthy(world, day, LEAD_IN, seed) for day in healthy]


def _repair(day: Day, truth: Truth, at: datetime) -> Repair:
    """Look into the stores, just before the repair, for what can be proven of a date."""
    world = day.world
    requests = world.requests.received if world.requests else None
    # Those that come and go have been read in another run.
    away = [
        outage for outage in world.outages if outage.source == "checkpoints" and not outage.flaps
    ]
    are_readable, shows_changes = (
        not any(outage.is_on(at) for outage in away),
        world.changes is not None,
    )
    stored = Stored(
        world.stores.folder, world.phase, day.date, are_readable, requests, shows_changes
    )
    taken = take_away(world, stored, truth, day.rng) if truth.take_away else Taken()
    return Repair(at, truth.causes(stored), taken)


def _keep_logs(world: World, seed: str) -> None:
    """Let the platform keep what it writes down, or not, each log by itself."""
    rng = random.Random(f"requests {seed}")  # noqa: S311 (as above)
    world.requests = Requests(world) if _chance(rng, 0.5) else None
    world.service_errors = world.platform if _chance(rng, 0.7) else None
    world.changes = world.platform if _chance(rng, 0.7) else None


def _change_something(world: World, before: Sequence[Day], day: Day, dates: int) -> None:
    """Let somebody change what has nothing to do with a fault.

    That is before it last worked, and after it had stopped working.
    """
    changes = world.platform.changes_made
    if dates == 1 and len(before[-1].reports) == len(world.phase.expected):
        early = min(report.at for report in before[-1].reports.values())
        changes += [
            Change(early - n * HOUR, part, name, "deployed", INNOCENT)
            for n, (part, name) in enumerate(_PARTS, 1)
        ]
    late = day.deadline + 2 * HOUR
    changes += [
        Change(late + n * HOUR, part, name, "deployed", INNOCENT)
        for n, (part, name) in enumerate(_PARTS)
    ]


def several(rng: random.Random) -> str:
    """Draw the names of two or three faults that one world can have."""
    while True:
        names = rng.sample(TOGETHER, rng.choice([2, 2, 3]))
        if any(
            all(FAULTS[name].can_be(message_log=there) for name in names) for there in (True, False)
        ):
            return " + ".join(sorted(names))


@contextmanager
def _world(phase: Phase, first: date, folder: Path | None, *, message_log: bool) -> Iterator[World]:
    """A world on stores in a folder, by default a new one; its phase has all queries."""
    message_table = "nba_orchestration.phase_messages" if message_log else None
    asking = msgspec.structs.replace(
        phase, outcome_query=OUTCOME_QUERY, work_query=WORK_QUERY, message_table=message_table
    )
    with (
        tempfile.TemporaryDirectory(prefix="canary-simulate-") as temporary,
        EmbeddedStores(folder or Path(temporary), durable=False) as stores,
    ):
        yield World(asking, stores, Schedule(_noon(first) - _ONE_DAY))


def _chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _any_date(rng: random.Random) -> date:
    return date(2025, 9, 1) + timedelta(days=rng.randint(0, 360))


def _dates(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def _season(days: Sequence[date], rng: random.Random) -> list[str]:
    """Draw a scenario for each date.

    They are drawn one by one, but for weeks without games and the clock changes.
    """
    scenarios: list[str] = []
    while len(scenarios) < len(days):
        drawn = rng.choice([*HEALTHY, "week_without_games"])
        scenarios += ["no_games"] * _WEEK if drawn == "week_without_games" else [drawn]
    changes = {day - n * _ONE_DAY for day in _CLOCK_CHANGES for n in (0, 1)}
    return [
        "clock_change" if day in changes else scenario
        for day, scenario in zip(days, scenarios, strict=False)
    ]


def _together(truths: Sequence[Truth]) -> Truth:
    """Put the truths of all faults of one date together.

    A set that never completes is never UNTRIGGERED.
    """
    if len(truths) == 1:
        return truths[0]
    due: dict[VerdictKind, datetime] = {}
    for truth in truths:
        due |= {kind: min(at, due.get(kind, at)) for kind, at in truth.due.items()}
    completes = VerdictKind.INCOMPLETE not in due
    if not completes:
        due.pop(VerdictKind.UNTRIGGERED, None)
    gap_shows = not completes or any(
        VerdictKind.STORES_DISAGREE in t.due.keys() - t.optional for t in truths
    )
    return replace(
        truths[0],
        due=due,
        stops=tuple(_of_processors(truths) or truths[0].stops),
        optional=frozenset()
        if gap_shows
        else frozenset().union(*(truth.optional for truth in truths)),
        counts_from=next((t.counts_from for t in truths if t.counts_from), None)
        if completes
        else None,
    )


def _of_processors(truths: Sequence[Truth]) -> list[Stop]:
    """Return the stops that are of processors.

    While one of them is not registered, the date is not decided.
    """
    return [stop for truth in truths for stop in truth.stops if THE_DATE not in stop.subjects]


def _plan_repair(
    world: World, known_at: datetime, days: Sequence[Day], rng: random.Random
) -> datetime:
    """Let an engineer come an hour or so after everything is known, now and then much later.

    Returns when (UTC).
    """
    later = rng.choice([1, 1, 1, 10]) * rng.uniform(0.6, 2) * HOUR
    mended_at = _between_runs(known_at + later)
    slack_refuses = _chance(rng, 0.2) and not world.twice
    world.schedule.at(mended_at, partial(_mend, world, days, slack_refuses=slack_refuses))
    return mended_at


def _mend(world: World, days: Sequence[Day], *, slack_refuses: bool) -> None:
    """Do what an engineer does: deploy what works, run the processors again.

    The next phase then writes its output.
    """
    world.mended = world.is_invokable = True
    world.flickering.clear()
    world.games_written.clear()
    world.slack_refuses += slack_refuses
    for day in days:
        world.output.add(day.date)
        for number, processor in enumerate(sorted(world.phase.expected)):
            day.repeat(world.schedule.clock.now + number * timedelta(seconds=20), processor)


def _between_runs(moment: datetime) -> datetime:
    """Return a moment at which no run is near.

    Half a repair is a state of its own, and people would be notified of it.
    """
    return next(ticks(moment, moment + TICK)) + TICK / 3


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(17), UTC)
