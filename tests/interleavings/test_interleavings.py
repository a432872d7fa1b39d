"""Every interleaving of a few deliveries through the real `deliver`; the long form is `make interleavings`."""

from collections.abc import Callable
from datetime import datetime

import pytest

from orchestrator_resilience.phase import Phase
from tests.interleavings.__main__ import explore, main
from tests.interleavings.explorer import Deliver, Explorer
from tests.interleavings.invariants import REPLACED
from tests.interleavings.messages import REF, Scenario
from tests.interleavings.subjects import SUBJECTS, today
from tests.interleavings.values import Stores

# Each with the number of faults.
SHORT = (("ab/ab", 2), ("abc/abc", 0), ("ab/abb", 0), ("ab/abu", 0), ("ab/abn", 0), ("ab/aAb", 0))
STUCK = "all messages are acknowledged, the set is complete, and the flag is unset"


@pytest.mark.parametrize("case", SHORT, ids=lambda case: f"{case[0]}, {case[1]} faults")
def test_no_interleaving_violates_an_invariant(case: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Of any deliveries, redeliveries and deaths at each step; the sizes of the graphs are printed."""
    assert explore([case]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "scenario", "violation"),
    [
        ("overwrites", "ab/ab", "the registration of a is lost"),
        ("sets-unguarded", "ab/ab", "the flag is changed or unset"),
        ("decides-on-the-first-read", "ab/ab", STUCK),
        ("counts", "ab/au", "the flag is set while ['b'] is missing"),
        ("swallows", "ab/ab", "a is acknowledged without its registration"),
        ("short-circuits", "ab/ab", STUCK),
        ("dates-its-row-anew", "a/a", "the flag's row and the document disagree"),
    ],
)
def test_an_orchestrator_that_is_wrong_is_found(
    subject: str, scenario: str, violation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the shortest steps that lead there, and one line that takes them again."""
    found = Explorer(SUBJECTS[subject], Scenario.parse(scenario)).explore(2)
    assert found.violation == violation
    assert main(f"{subject} {scenario} {' '.join(found.steps)}") == 1
    assert capsys.readouterr().out.splitlines()[-1] == violation


@pytest.mark.parametrize(
    ("scenario", "faults", "violation"),
    [
        # Of two completions of one processor in the same moment either may stay; the completion log keeps both.
        ("ab/aA", 0, REPLACED),
        # A message that is delivered twice, and whose second delivery dies unrepeated between the flag and its row.
        ("ab/abb", 1, "b is acknowledged without the row of its flag"),
    ],
)
def test_what_the_orchestrator_does_not_promise(scenario: str, faults: int, violation: str) -> None:
    """Once one of these is mended, this test says so."""
    found = Explorer(SUBJECTS["today"], Scenario.parse(scenario), forgets=True).explore(faults)
    assert found.violation == violation
    assert main(f"today {scenario} {' '.join(found.steps)}") == 1


def test_a_rerun_that_comes_afterwards_replaces_nothing() -> None:
    """One delivery, and then the other."""
    explorer = Explorer(SUBJECTS["today"], Scenario.parse("ab/aA"))
    state = explorer.start(faults=0)
    for delivery in ("1", "2"):
        while step := next((one for one in explorer.steps(state) if one.label == delivery), None):
            assert step.violation is None
            state = step.state
    assert all(course.acknowledged for course in state.courses)


def test_a_step_that_is_impossible() -> None:
    """A line that does not fit the code any more names what fits."""
    with pytest.raises(ValueError, match=r"2\? is impossible here; possible are 1 1- 1! "):
        main("today a/a 1 1 2?")


def _reads_twice(_: Phase, stores: Stores, __: Callable[[], datetime]) -> Deliver:
    def deliver(_: object) -> None:
        for _ in range(2):
            stores.get_all([REF])

    return deliver


def test_the_graph_is_whole() -> None:
    """Three deliveries of two steps that touch nothing: each in one of three places, and one end."""
    found = Explorer(_reads_twice, Scenario.parse("abc/uuu"), tolerated="u is acknowledged without its row").explore(0)
    assert (found.states, found.ends) == (3**3, 1)


def test_deliveries_that_depend_on_more_than_their_answers_are_refused() -> None:
    """Taking the recorded steps again would not lead to the same place."""
    calls = 0

    def moody(_: Phase, stores: Stores, __: Callable[[], datetime]) -> Deliver:
        def deliver(_: object) -> None:
            nonlocal calls
            calls += 1
            stores.merge(REF, {"_calls": calls})

        return deliver

    with pytest.raises(AssertionError, match="another way"):
        Explorer(moody, Scenario.parse("a/a")).explore(0)


def test_an_error_that_nothing_caused_is_not_taken_for_a_redelivery() -> None:
    """Else a delivery that always raises would come again for ever."""
    with pytest.raises(AssertionError, match="nothing had failed"):
        Explorer(lambda *_: "no function", Scenario.parse("a/a")).explore(0)  # type: ignore[arg-type]


def test_the_orchestrator_that_is_explored_is_the_real_one() -> None:
    """What is called is its own method."""
    deliver = today(Scenario.parse("a/a").phase, Stores(lambda _: None), datetime.now)
    assert deliver.__module__ == "orchestrator_resilience.orchestrator"
