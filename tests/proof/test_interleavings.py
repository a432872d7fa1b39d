"""Every interleaving of a few deliveries, and of two canaries; see `make interleavings`."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.proof.deliveries import PUBLISHED, REF, REPLACED, STUCK, Deliveries
from tests.proof.doubles import PlainStores, Watched
from tests.proof.explorer import Ask, Explorer, Run, Subject
from tests.proof.interleavings import SHORT, SUBJECTS, explore, replay


@pytest.mark.parametrize("case", SHORT, ids=lambda case: f"{case[0]} {case[1]}, {case[2]} faults")
def test_no_interleaving_violates_an_invariant(
    case: tuple[str, str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is refused, lost, late or dies at each step; the sizes of the graphs are printed."""
    assert explore([case]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "scenario", "faults", "violations"),
    [
        (
            "overwriting",
            "ab/ab",
            1,
            {"the registration of a is lost", "the flag is changed or unset", STUCK},
        ),
        (
            "as-in-february",
            "ab/ab",
            1,
            {
                STUCK,
                "a is acknowledged without its row",
                "a is acknowledged without its registration",
            },
        ),
        (
            "as-in-february",
            "ab/au",
            0,
            {
                "whoever counts the keys counts ['unexpected'], which did not complete",
                "the flag is set while ['b'] is missing",
                "the flag is set with another _completed_count than that of the set",
                "the flag is set by nobody who completed",
                "the flag's row and the document disagree",
            },
        ),
        ("unversioned", "bg", 0, {"log was told 1 times again, after 0 faults"}),
        ("unnoted", "bg", 0, {"log was told 1 times again, after 0 faults"}),
    ],
)
def test_what_is_wrong_is_found(
    subject: str,
    scenario: str,
    faults: int,
    violations: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each with the shortest steps that lead there, and one line that takes them again."""
    graph = Explorer(SUBJECTS[subject](scenario), faults).explore(to_the_end=True)
    assert graph.violations.keys() >= violations
    for violation in violations:
        assert replay(f"{subject} {scenario} {' '.join(graph.violations[violation])}") == 1
        assert violation in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("subject", "faults", "violation"),
    [
        # Of two completions of one processor in the same moment either may stay; the completion log
        # keeps both.
        (Deliveries("ab/aA"), 0, REPLACED),
        # A message that is delivered twice, and whose second delivery dies unrepeated between the
        # flag and its row.
        (Deliveries("ab/abb", forgets=True), 1, "b is acknowledged without the row of its flag"),
    ],
)
def test_what_is_not_promised(subject: Subject, faults: int, violation: str) -> None:
    """Once one of these is mended, this test says so."""
    assert violation in Explorer(subject, faults).explore().violations


def test_a_rerun_that_comes_afterwards_replaces_nothing() -> None:
    """One delivery, and then the other."""
    steps = list(Explorer(Deliveries("ab/aA"), 0).replay(["1"] * 3 + ["2"] * 2))
    assert [wrong for _, _, wrong in steps] == [[]] * 5
    assert all(course.run.is_over for course in steps[-1][1].courses)


def test_a_step_that_is_impossible() -> None:
    """A line that does not fit the code any more names what fits."""
    with pytest.raises(ValueError, match=r"2\? is impossible here; possible are 1 1- 1! "):
        replay("today a/a 1 1 2?")
    with pytest.raises(ValueError, match="tick is impossible here; possible are 1 1- 1! 2 2- 2!"):
        replay("canaries bg tick")


class Simple(Subject):
    """So many processes that do the same."""

    def __init__(self, count: int, act: Callable[[Any], object]) -> None:
        self.first = [Run(number) for number in range(count)]
        self._act = act

    def take(self, run: Run, ask: Ask) -> Any:
        """Act on what asks."""
        del run
        self._act(Watched(PlainStores(), lambda operation, _: ask(operation)))

    def after(self, run: Run, outcome: Any) -> Run:
        """Do nothing more."""
        del outcome
        return run._replace(is_over=True)


def test_the_graph_is_whole() -> None:
    """Three processes of two steps that touch nothing: each in one of three places, and one end."""
    graph = Explorer(
        Simple(3, lambda stores: [stores.get_all([REF]) for _ in range(2)]), 0
    ).explore()
    assert (graph.states, graph.ends) == (3**3, 1)


def test_runs_that_depend_on_more_than_their_answers_are_refused() -> None:
    """Taking the recorded steps again would not lead to the same place."""
    calls = iter(range(100))
    with pytest.raises(AssertionError, match="another way"):
        Explorer(Simple(1, lambda stores: stores.merge(REF, {"_calls": next(calls)})), 0).explore()


def test_an_error_that_nothing_caused_is_not_taken_for_a_redelivery() -> None:
    """Else a delivery that always raises would come again for ever."""
    with pytest.raises(AssertionError, match="nothing had failed"):
        Explorer(Simple(1, lambda _: 1 / 0), 0).explore()


def test_the_orchestrator_that_is_explored_is_the_real_one() -> None:
    """What is called is its own method."""
    assert (
        Deliveries("a/a").deliver(PlainStores(), PUBLISHED).__module__
        == "orchestrator_resilience.orchestrator"
    )
