"""What was changed before a stop is named, and nothing else is; the long form is `make path`."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from canary.domain.evidence import Absent, Seen, Traces, Unreadable
from canary.domain.path import where_it_stopped
from canary.domain.path.text import standing_text
from canary.domain.verdict import Verdict, judge
from canary.notify.message import CommandLine, alert
from orchestrator_resilience.stores.base import Change, Changes, Component
from tests.path.changing import try_changes
from tests.path.shown import Moment, View, World
from tests.path.worlds import DAY, FIVE, HOUR, MINUTE, ONE_DAY, DateEnding, Ending, Outage, Plan

# All requests from the third completion on are turned away; they come every 20 minutes.
FORBIDDEN = Plan(outage=Outage(403, 2))
# What is looked at: no topic.
LOOKED_AT = (
    (Component.SERVICE, "orchestrator"),
    (Component.SUBSCRIPTION, "phase2-sub"),
    (Component.TABLE, "nba_orchestration.phase_completions"),
)


def changed(
    what: str, at: datetime, name: str = "orchestrator", who: str = "alice", revision: str = ""
) -> Change:
    """Return what somebody did to the service."""
    return Change(at, Component.SERVICE, name, what, who, revision)


def explained(world: World, changes: Sequence[Change], cut_at: datetime | None = None) -> Verdict:
    """Return the verdict of a world in which somebody has changed something."""
    log = Changes(sorted(changes), (), cut_at, LOOKED_AT)
    traces = replace(world.traces, changes=Seen(log))
    verdict = judge(world.evidence, world.phase, world.now)
    return where_it_stopped(
        verdict, world.evidence, traces, history=world.history, phase=world.phase, now=world.now
    )


def texts(verdict: Verdict, *, with_who: bool = False) -> list[str]:
    """Return what is said of changes."""
    sentences = (
        standing_text(standing, "phase2", with_who=with_who) for standing in verdict.standing
    )
    return [text for text in sentences if "change" in text]


def first_refusal(world: World) -> datetime:
    """When the first request was turned away; the stage was reached by all before it."""
    return next(request.at for request in world.happened.requests if request.status == 403)


def test_the_guilty_one_is_named_and_no_innocent_one() -> None:
    """In generated worlds."""
    tried = try_changes(400, 1)
    assert tried.holds, tried.text()
    assert (tried.worlds, tried.guilty > 100) == (400, True)


def test_what_was_changed_in_words() -> None:
    """They say when, what, how long before the stop, and on how many good dates as well.

    They say who did it only where that is asked.
    """
    world = World(FORBIDDEN, View())
    stopped = first_refusal(world)
    usual = changed("permissions changed", stopped - ONE_DAY - 3 * HOUR)
    (text,) = texts(
        explained(world, [usual, changed("permissions changed", stopped - 12 * MINUTE)])
    )
    at = f"{stopped - 12 * MINUTE:%Y-%m-%d %H:%M:%S}Z"
    assert text.startswith(f"changed before: {at} service `orchestrator` permissions changed, ")
    assert text.endswith(
        "11 min before it stopped; permissions changed on 1 of the 2 good dates before"
    )
    verdict = explained(
        world, [changed("deployed", stopped - 12 * MINUTE, revision="orchestrator-00012-abc")]
    )
    (text,) = texts(verdict, with_who=True)
    assert "service `orchestrator` deployed as `orchestrator-00012-abc` by alice, " in text
    assert text.endswith("deployed on 0 of the 2 good dates before")


@pytest.mark.parametrize(("again", "words"), [(True, "on"), (False, "not on")])
def test_one_good_date_is_not_several(*, again: bool, words: str) -> None:
    """Where the log of changes goes back no further."""
    world = World(FORBIDDEN, View())
    stopped = first_refusal(world)
    changes = [
        changed("deployed", stopped - 12 * MINUTE),
        changed("deployed", stopped - ONE_DAY - 3 * HOUR),
    ]
    (text,) = texts(explained(world, changes[: 1 + again], world.phase.begins(DAY - ONE_DAY)))
    assert text.endswith(f"deployed {words} the one good date before")


def test_who_did_it_is_in_no_message() -> None:
    """People are notified of what was changed; the page and `explain` say by whom."""
    world = World(FORBIDDEN, View())
    verdict = explained(world, [changed("deployed", first_refusal(world) - 12 * MINUTE)])
    message, page = (
        alert([verdict], world.phase, CommandLine(), world.now, with_who=with_who).text
        for with_who in (False, True)
    )
    assert ("`orchestrator` deployed, " in message, "alice" in message) == (True, False)
    assert "`orchestrator` deployed by alice, " in page


def test_the_nearest_three() -> None:
    """And how many more there are."""
    world = World(FORBIDDEN, View())
    stopped = first_refusal(world)
    sentences = texts(
        explained(world, [changed(f"what {n}", stopped - n * MINUTE) for n in (1, 2, 3, 5, 8)])
    )
    assert [text.partition("`orchestrator` ")[2][:6] for text in sentences] == [
        "what 1",
        "what 2",
        "what 3",
    ]
    assert ["and 2 more before it" in text for text in sentences] == [False, False, True]


@pytest.mark.parametrize(
    ("part", "after"),
    [
        ((Component.SERVICE, "orchestrator"), timedelta(minutes=1)),  # the stop
        ((Component.SERVICE, "orchestrator"), -30 * MINUTE),  # and the stage was reached since
        ((Component.TABLE, "nba_orchestration.phase_completions"), -2 * MINUTE),
        ((Component.JOB, "phase2-night"), -2 * MINUTE),
    ],
    ids=["after the stop", "before it worked", "a table", "a job"],
)
def test_an_innocent_change_is_not_named(part: tuple[Component, str], after: timedelta) -> None:
    """It is said between which times nothing was changed of what the stage consists of."""
    world = World(FORBIDDEN, View())
    (text,) = texts(explained(world, [Change(first_refusal(world) + after, *part, "deployed")]))
    assert text.startswith(
        "no change to service orchestrator, subscription phase2-sub from 2026-02-10 05:50:"
    )


def test_who_could_not_look_says_so() -> None:
    """Once, and by the reason; where there is no such log nothing is said."""
    assert Traces(changes=Unreadable("403")).left_out == ["explained without what was changed: 403"]
    world = World(FORBIDDEN, View())
    verdict = judge(world.evidence, world.phase, world.now)
    for changes in (Absent(), Unreadable("403")):
        traces = replace(world.traces, changes=changes)
        explanation = where_it_stopped(
            verdict, world.evidence, traces, history=world.history, phase=world.phase, now=world.now
        )
        assert texts(explanation) == []
        assert explanation.causes == explained(world, []).causes


def test_too_many_changes_to_read() -> None:
    """That is said, with or without one that was read."""
    world = World(FORBIDDEN, View())
    cut_at = first_refusal(world) - 2 * MINUTE
    for changes in ([], [changed("deployed", cut_at)]):
        (text,) = texts(explained(world, changes, cut_at))
        assert "before 2026-02-10 06:0" in text
        assert "there were too many to be read" in text


def test_a_flag_that_is_gone_was_not_stopped_by_a_deployment() -> None:
    """It had been set; and for a processor that never came that far, no change is looked for."""
    for plan in (
        Plan(date_ending=DateEnding.FLAG_OVERWRITTEN),
        Plan(endings=(Ending.REPORTS_FAILED,) * 5, old=True),
    ):
        world = World(plan, View(moment=Moment.AFTER_DEADLINE))
        assert (
            texts(
                explained(world, [changed("deployed", world.now - n * HOUR) for n in range(1, 40)])
            )
            == []
        )


def test_the_list_that_drops_somebody_is_looked_for_since_it_had_it() -> None:
    """Others are accepted all the time: what counts is when this one was."""
    world = World(
        Plan(endings=(Ending.NOT_WAITED_FOR, *(Ending.HEALTHY,) * 4), order=(4, 3, 2, 1, 0)), View()
    )
    begun = world.phase.begins(DAY)
    (text,) = texts(explained(world, [changed("deployed", begun + 4 * HOUR)]))
    assert "`orchestrator` deployed" in text
    assert explained(world, []).causes[0].subjects == FIVE[:1]
