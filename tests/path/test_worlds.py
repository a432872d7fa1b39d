"""The worlds on which the path is tried: they are many, and each is one that can be."""

import random
from collections import Counter
from datetime import timedelta

import pytest

from canary.domain.evidence import Absent
from canary.domain.stages import Stage
from canary.domain.verdict import VerdictKind, judge
from tests.path.shown import (
    Documents,
    Errors,
    Jobs,
    Lines,
    Messages,
    Moment,
    Requests,
    Rows,
    Runs,
    Side,
    View,
    World,
    world_of,
)
from tests.path.worlds import BUNDLED, DAY, FIVE, Code, DateEnding, Ending, Outage, Plan, play

KINDS = (
    Ending,
    DateEnding,
    Code,
    Lines,
    Messages,
    Requests,
    Errors,
    Runs,
    Jobs,
    Documents,
    Rows,
    Moment,
)
JUDGED = 400
VERDICTS = {
    VerdictKind.UNTRIGGERED,
    VerdictKind.INCOMPLETE,
    VerdictKind.SILENT,
    VerdictKind.STORES_DISAGREE,
}
SIDES = ("dead_letters", "flag_table", "outcome", "work")
LATER = BUNDLED.deadline(DAY) + timedelta(days=1)
# Of each ending of one completion, the stage at which it stops a day after the deadline.
STOPS = {
    Stage.RAN: {
        *(Ending.REPORTS_FAILED, Ending.REPORTS_NO_DATA, Ending.REPORTS_SKIPPED),
        *(Ending.FAILS_SILENTLY, Ending.NEVER_RAN),
    },
    Stage.PUBLISHED: {Ending.NOT_PUBLISHED, Ending.DIES_RUNNING, Ending.OTHER_DATE},
    Stage.DELIVERED: {
        Ending.FORBIDDEN,
        Ending.NOT_FOUND,
        Ending.TOO_MANY,
        Ending.UNAUTHORISED,
        Ending.DIES_AT_START,
    },
    Stage.ACCEPTED: {
        *(
            Ending.REJECTED_STATUS,
            Ending.REJECTED_PHASE,
            Ending.REJECTED_NAME,
            Ending.REJECTED_DATE,
            Ending.REJECTED_WHOLE,
        ),
        *(Ending.RENAMED, Ending.RESEMBLING, Ending.NOT_WAITED_FOR),
    },
    Stage.RECORDED: {Ending.ROW_FAILS, Ending.BOTH_FAIL, Ending.DIES_REGISTERED},
    Stage.REGISTERED: {
        Ending.DIES,
        Ending.DIES_RECORDED,
        Ending.REGISTER_FAILS,
        Ending.REGISTRATION_LOST,
    },
}
DATE_STOPS = {
    DateEnding.DUPLICATE: Stage.DECIDED,
    DateEnding.RETURNS_EARLY: Stage.DECIDED,
    DateEnding.STUCK: Stage.DECIDED,
    DateEnding.WAITS_FOR_OTHER: Stage.DECIDED,
    DateEnding.DECISION_FAILS: Stage.DECIDED,
    DateEnding.DIES: Stage.DECIDED,
    DateEnding.FLAG_FAILS: Stage.FLAGGED,
    DateEnding.FLAG_OVERWRITTEN: Stage.FLAGGED,
    DateEnding.DOCUMENT_REWRITTEN: Stage.FLAGGED,
    DateEnding.PENDING: Stage.FLAGGED,
    DateEnding.FLAG_THEN_FAILS: Stage.STARTED,
    DateEnding.PENDING_FLAGGED: Stage.STARTED,
    DateEnding.REFUSED: Stage.STARTED,
    DateEnding.NO_OUTPUT: Stage.OUTPUT,
}


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("place", [0, 4], ids=["first", "last"])
def test_where_a_completion_stops(ending: Ending, place: int) -> None:
    """Each ending stops one completion, at its own stage, and no other one."""
    endings = [Ending.HEALTHY] * 5
    endings[place] = ending
    happened = play(Plan(endings=tuple(endings)))
    stages = {name: happened.truth(name, LATER).stage for name in FIVE}
    stop = next((stage for stage, those in STOPS.items() if ending in those), None)
    if ending is Ending.REGISTRATION_LOST and place == 4:
        stop = None  # by then the flag is set
    assert stages == {name: stop if name == FIVE[place] else None for name in FIVE}


@pytest.mark.parametrize("code", [Code.THEIRS, Code.SILENT])
@pytest.mark.parametrize("ending", DateEnding)
def test_where_a_date_stops(ending: DateEnding, code: Code) -> None:
    """Each ending stops the date at its own stage, once all five are registered."""
    happened = play(Plan(date_ending=ending, code=code, flag_starts=True))
    assert happened.truth("", LATER).stage == DATE_STOPS.get(ending)
    assert all(Stage.REGISTERED in happened.truth(name, LATER).reached for name in FIVE)


def test_a_healthy_world() -> None:
    """With every source whole and nothing odd, the date is triggered and everything reached."""
    world = World(Plan(flag_starts=True), View(moment=Moment.DAYS_LATER))
    assert judge(world.evidence, world.phase, world.now).kind is VerdictKind.TRIGGERED
    truths = [world.truth(subject) for subject in ("", *FIVE)]
    assert [truth.stage for truth in truths] == [None] * 6
    assert {stage for truth in truths for stage in truth.reached} == set(Stage)


def test_an_outage_turns_all_away_from_one_on() -> None:
    """Those before it are registered, those after it are not, and each request has its status."""
    world = World(Plan(outage=Outage(403, 3)), View())
    stages = [world.truth(FIVE[number]).stage for number in world.plan.order]
    assert stages == [None, None, None, Stage.DELIVERED, Stage.DELIVERED]
    assert Counter(request.status for request in world.happened.requests)[403] >= 4


def test_the_worlds_are_broad() -> None:
    """Every ending, source and moment is drawn, and each stage is one at which something stops."""
    drawn: Counter[object] = Counter()
    choose = random.Random(4).choice
    for number in range(1_500):
        world = world_of(choose)
        plan, view = world.plan, world.view
        drawn.update(
            [
                *((Ending, ending) for ending in set(plan.endings)),
                (DateEnding, plan.date_ending),
                (Code, plan.code),
            ]
        )
        named = [
            view.lines,
            view.messages,
            view.requests,
            view.errors,
            view.runs,
            view.jobs,
            view.documents,
            view.rows,
            view.moment,
        ]
        drawn.update((type(value), value) for value in named)
        drawn.update((name, getattr(view, name)) for name in SIDES)
        if number < JUDGED:
            drawn.update({world.truth(subject).stage for subject in ("", *FIVE)})
            drawn.update([judge(world.evidence, world.phase, world.now).kind])
            assert world.traces.checkpoints != Absent()
            assert str(world)
    drawable = [(kind, value) for kind in KINDS for value in kind] + [
        (name, side) for name in SIDES for side in Side
    ]
    assert [
        drawn_value for drawn_value in [*drawable, *Stage, *VERDICTS] if not drawn[drawn_value]
    ] == []
