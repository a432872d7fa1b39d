"""The short form of `make outages`."""

import random

import pytest

from orchestrator_resilience import Phase
from orchestrator_resilience.stores.bigquery import BigQuery
from tests.proof.gate import Failure
from tests.proof.outages import Outage, outages, play, servers

SOME: list[Outage] = [
    {"firestore": Failure.HANGS},
    {"bigquery": Failure.DRIPS},
    {"slack": Failure.RESETS, "heartbeat": Failure.DRIPS},
]


@pytest.mark.parametrize("outage", SOME, ids=" and ".join)
def test_an_outage(
    emulated: dict[str, str], cloud: str, dataset: BigQuery, phase: Phase, outage: Outage
) -> None:
    """The run ends in time and says nothing that it has not read; nothing is lost or told twice."""
    del dataset
    with servers(emulated, cloud, phase) as world:
        assert play(world, outage) == []


def test_every_failure_of_every_server_is_played() -> None:
    """Alone, and then in pairs, the same ones of the same seed."""
    drawn = [list(outages(random.Random(7), 100)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert ([len(one) for one in drawn[0]].count(1), len(drawn[0])) == (
        6 * len(Failure),
        6 * len(Failure) + 100,
    )
