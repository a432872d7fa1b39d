"""Every interleaving of two canaries over an incident's life; the long form is `make interleavings`."""

import gc
from collections.abc import Iterator

import pytest

from tests.interleavings.__main__ import explore_canaries, main
from tests.interleavings.canaries import CANARIES, Canaries

# Each with the number of faults.
SHORT = (("bgg", 1), ("bwg", 0), ("bgb", 0))


@pytest.fixture(autouse=True)
def _without_collection() -> Iterator[None]:
    """Nothing here is garbage, and looking for it takes a third of the time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("case", SHORT, ids=lambda case: f"{case[0]}, {case[1]} faults")
def test_no_interleaving_violates_an_invariant(case: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Each channel hears each thing once, and once more for a fault; the sizes of the graphs are printed."""
    assert explore_canaries([case]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "violation"),
    [
        ("unclaimed", "log was told 1 times again, after 0 faults"),
        ("unconfirmed", "log was told 1 times again, after 0 faults"),
        ("unlisted", "log was not told RESOLVED"),
    ],
)
def test_a_canary_that_is_wrong_is_found(subject: str, violation: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the shortest steps that lead there, and one line that takes them again."""
    found = Canaries("bg", 0, CANARIES[subject]).explore()
    assert found.violation == violation
    assert main(f"{subject} bg/0 {' '.join(found.steps)}") == 1
    assert violation in capsys.readouterr().out.splitlines()[len(found.steps) :]


def test_what_the_canary_does_not_promise() -> None:
    """Told by a run that died, and well before the next one: nobody knows that anybody was told. Mended, this fails."""
    assert Canaries("bg", 1, strict=True).explore().violation == "log was not told RESOLVED"


def test_a_step_that_is_impossible() -> None:
    """A line that does not fit the code any more names what fits."""
    with pytest.raises(ValueError, match="tick is impossible here; possible are 1 1- 1! 2 2- 2!"):
        main("canaries bg/1 tick")
