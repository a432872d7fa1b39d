"""What has to hold of the path in every world; the long form is `make path`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.path.shown import TAKEN, World, worlds
from tests.path.survey import Flaw, explained, miscited, narrower, survey, unsound, untimely
from tests.proof.inputs import few


def check(world: World, flaws: list[Flaw]) -> None:
    """Fail with what does not hold, and the world, but for what nobody could tell."""
    texts = [flaw.text for flaw in flaws if flaw.undecidable is None]
    if texts:
        pytest.fail("\n".join([*texts, str(world)]))


@few(60)
@given(worlds())
def test_sound(world: World) -> None:
    """The interval has the true stage; what was reached is shown so; no other error is cited."""
    verdict = explained(world)
    check(world, [*unsound(world, verdict), *miscited(world, verdict)])


@few(60)
@given(worlds())
def test_on_time(world: World) -> None:
    """What is healthy, or whose time is not up, has no cause."""
    check(world, [*untimely(world, explained(world))])


@few(60)
@given(worlds(), st.sampled_from(list(TAKEN)))
def test_monotone(world: World, source: str) -> None:
    """Without a source the interval is as wide or wider, and no cause is named that was not."""
    check(world, [*narrower(world, explained(world), source)])


def test_right() -> None:
    """Hardly a cause that is named is wrong, and each of these is one that nobody can know.

    `make path` counts more.
    """
    tally = survey(400, 1, monotone=False)
    assert "right" not in tally.flaws, tally.text()
    assert tally.wrong <= max(2, tally.named / 100), tally.text()
