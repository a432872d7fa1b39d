"""Changes to the deployment of a true world, and which of them may be named.

The truth is when each stage last worked. The *guilty* change is made between the last time that the
stage was reached and the first time that it was not, on a component of that stage. *Innocent*
changes are those before the stage was last reached, after the stop, and of components that the
stage has nothing to do with. Where sources are taken away, nobody can know of the last time: there,
only a change from before the first date is certainly before it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from random import Random

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path import where_it_stopped
from canary.domain.stages import Cause, Stage, StandingKind
from canary.domain.verdict import judge
from orchestrator_resilience.stores.base import Change, Changes, Component
from tests.path.shown import World, world_of
from tests.path.survey import undecidable
from tests.path.worlds import DATES, DAY, FIVE, ONE_DAY

_GUILTY, _INNOCENT = "guilty", "innocent"
_NAMES = {
    Component.SERVICE: "orchestrator",
    Component.SUBSCRIPTION: "phase2-sub",
    Component.TOPIC: "nba-phase2-raw-complete",
    Component.TABLE: "nba_orchestration.phase_completions",
    Component.JOB: "phase2-night",
}
_OWN = (Stage.RAN, Stage.PUBLISHED, Stage.ACCEPTED)
_SERVED = (Stage.ACCEPTED, Stage.REGISTERED, Stage.DECIDED, Stage.FLAGGED, Stage.STARTED)
_OF = {
    Stage.RAN: (Component.JOB,),
    Stage.PUBLISHED: (Component.TOPIC,),
    Stage.DELIVERED: (Component.SUBSCRIPTION, Component.TOPIC, Component.SERVICE),
    Stage.RECORDED: (Component.SERVICE, Component.TABLE),
    **dict.fromkeys(_SERVED, (Component.SERVICE,)),
}
_SECOND = timedelta(seconds=1)
_NAMED = 0.95


class Tried(msgspec.Struct):
    """What was tried: worlds, those whose guilty change is named, and named innocent changes."""

    worlds: int = 0
    guilty: int = 0
    named: int = 0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: list[str] = msgspec.field(default_factory=list)
    missed: list[str] = msgspec.field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether no innocent change is named, and of the guilty ones 95 % are."""
        return not self.wrong and self.named >= _NAMED * self.guilty

    def text(self) -> str:
        """Say it."""
        share = self.named / max(self.guilty, 1)
        rows = [
            (
                f"{self.worlds} worlds, "
                f"{self.named} of {self.guilty} guilty changes named ({share:.1%})"
            )
        ]
        rows += [f"  {kind}: {number}" for kind, number in sorted(self.kinds.items())]
        return "\n".join(
            [*rows, f"innocent ones named: {len(self.wrong)}", *self.wrong[:20], *self.missed[:20]]
        )


def try_changes(number: int, seed: int) -> Tried:
    """Change something in so many worlds that have a stop."""
    rng, tried = Random(seed), Tried()
    while tried.worlds < number:
        _try(world_of(rng.choice), rng, tried)
    return tried


def _try(world: World, rng: Random, tried: Tried) -> None:
    verdict = judge(world.evidence, world.phase, world.now)
    if verdict.kind.is_quiet:
        return
    # of whose attempts nothing is kept
    phase = replace(world.phase, scheduler_jobs={_NAMES[Component.JOB]: ()})

    def explained(changes: list[Change]) -> tuple[tuple[Cause, ...], list[str]]:
        traces = replace(world.traces, changes=Seen(Changes(sorted(changes))))
        explanation = where_it_stopped(
            verdict, world.evidence, traces, history=world.history, phase=phase, now=world.now
        )
        return explanation.causes, [
            standing.who
            for standing in explanation.standing
            if standing.kind is StandingKind.CHANGED
        ]

    causes, _ = explained([])
    stopped = [name for cause in causes if cause.until for name in cause.subjects or ("",)]
    if not stopped or any(
        world.truth(name).stage not in _OF or world.truth(name).undone for name in stopped
    ):
        return
    stages = {name: stage for name in stopped if (stage := world.truth(name).stage)}
    tried.worlds += 1
    name, stage = rng.choice(list(stages.items()))
    good, bad = _last_and_first(world, name, stage)
    innocent = [*_innocent(world, rng)]
    # of a date before, only its first registration is kept
    is_clear = world.is_whole and not world.plan.reruns
    if (
        is_clear
        and all(map(_is_one, causes))
        and not any(undecidable(world, name) for name in stopped)
    ):
        innocent += _nearby(world, stages, rng)
    _, who = explained(
        [Change(at, part, _NAMES[part], "deployed", _INNOCENT) for at, part in innocent]
    )
    if who:
        tried.wrong.append(f"{name or 'the date'} at {stage}, {good} to {bad}: {world}")
    is_sure = (
        not world.plan.old and undecidable(world, name) is None and _holds(causes, name, stage)
    )
    if is_sure and good is not None and bad - good > 10 * _SECOND:
        part, at = rng.choice(_OF[stage]), good + (bad - good) * rng.uniform(0.02, 0.9)
        _, who = explained([Change(at, part, _NAMES[part], "deployed", _GUILTY)])
        tried.guilty += 1
        tried.named += bool(who)
        tried.kinds[f"{stage}: {'named' if who else 'missed'}"] += 1
        if not who:
            tried.missed.append(
                f"missed: {name or 'the date'} at {stage}, {good} to {bad}, {part} at {at}: {world}"
            )


def _is_one(cause: Cause) -> bool:
    """Whether an interval is one stage."""
    return (
        cause.until is not None
        and cause.until.rank - (cause.after.rank if cause.after else -1) <= 1
    )


def _holds(causes: Collection[Cause], name: str, stage: Stage) -> bool:
    """Whether the interval of a cause has the true stage, which is for other tests to say."""
    about = [cause for cause in causes if name in (cause.subjects or ("",))]
    return any(
        cause.until and (cause.after.rank if cause.after else -1) < stage.rank <= cause.until.rank
        for cause in about
    )


def _last_and_first(world: World, name: str, stage: Stage) -> tuple[datetime | None, datetime]:
    """Return when a stage was last reached, and when it first was not.

    That is by a subject, or by all where the stage is one for all.
    """
    events, is_own = world.happened.events, stage in _OWN
    subjects = {name} if name and is_own else set(FIVE) if name else {""}
    days = DATES if world.plan.old else (DAY,)
    events_of_stage = [e for e in events if e.subject in subjects and e.stage is stage]
    stops = [e.at for e in events_of_stage if e.kinds is not None and e.day in days]
    bad = min((e.at for e in events_of_stage if e.subject == name and e.at in stops), default=None)
    reached = [e.at for e in events_of_stage if e.kinds is None]
    if stage is Stage.DELIVERED:
        reached += [
            request.at for request in world.happened.requests if 200 <= request.status < 300
        ]
    if bad is None:  # it never came: at the same hour as on the date before
        before = [e.at for e in events_of_stage if e.kinds is None and e.day < min(days)]
        return max(before, default=None), max(before, default=world.now) + ONE_DAY
    good = max((at for at in reached if at < bad), default=None)
    return good, min((at for at in stops if good is None or at > good), default=bad)


def _nearby(
    world: World, stages: Mapping[str, Stage], rng: Random
) -> Iterator[tuple[datetime, Component]]:
    """Yield changes just before the stages last worked, and of what none of them consists of."""
    ends = [_last_and_first(world, name, stage) for name, stage in stages.items()]
    goods, unrelated = (
        [good for good, _ in ends if good],
        {*Component}.difference(*(_parts(world, name, stage) for name, stage in stages.items())),
    )
    for part in Component if len(goods) == len(ends) else ():
        yield min(goods) - rng.uniform(0.02, 1) * (min(goods) - world.phase.begins(DATES[0])), part
    for good, bad in ends:
        yield from (
            ((good or bad) + (bad - (good or bad)) * rng.random(), part) for part in unrelated
        )


def _parts(world: World, name: str, stage: Stage) -> tuple[Component, ...]:
    """Return what a stage consists of, with that of equal rank where neither was reached."""
    is_both = stage is Stage.REGISTERED and Stage.RECORDED not in world.truth(name).reached
    return _OF[Stage.RECORDED if is_both else stage]


def _innocent(world: World, rng: Random) -> Iterator[tuple[datetime, Component]]:
    """Yield changes that have to do with no stop of the date, before all of them and after."""
    began = world.phase.begins(DATES[0])
    for part in Component:
        yield began - rng.uniform(0, 30) * timedelta(days=1), part
    last = max(
        (event.at for event in world.happened.events if event.kinds is not None), default=world.now
    )
    late = max(last, world.phase.deadline(DAY))
    if world.now > late + _SECOND:
        yield late + (world.now - late) * rng.uniform(0.05, 0.95), rng.choice(list(Component))
