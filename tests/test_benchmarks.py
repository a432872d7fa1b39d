"""The benches measure what they say; how long it takes is theirs to tell, and no test's to judge."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cost, lines, load
from orchestrator_resilience.stores.embedded import EmbeddedStores

STEADY = load.Slice(
    second=15, rate=99, p50=69, p99=280, longest=400, failed=0, processor=7, memory=89, threads=33, files=34
)


def test_all_libraries_write_the_same() -> None:
    """Else one that writes less would be the quicker one."""
    lines.check()


def test_a_healthy_run_and_what_is_charged_for_it(tmp_path: Path) -> None:
    """One query, the documents of seven dates a phase and four of the canary's own, and one that it writes."""
    phases = cost.phases_of(3)
    with EmbeddedStores(tmp_path) as stores:
        cost.recent_dates(stores, phases)
        cost.a_run(stores, phases)
        used = cost.a_run(stores, phases)
    assert (used["queries"], used["Firestore, reads"], used["Firestore, writes"]) == (1, 3 * (7 + 1) + 2, 1)


def test_more_phases_and_deliveries_cost_more_and_history_nothing() -> None:
    """What is free covers a small pipeline; what BigQuery bills is the least that it counts."""
    small, large = cost.a_month(1, 10), cost.a_month(3, 1_000)
    assert sum(cost.dollars(small, free=True).values()) < 0.01
    assert sum(cost.dollars(small, free=False).values()) < sum(cost.dollars(large, free=False).values())
    assert small["BigQuery, bytes scanned"] == large["BigQuery, bytes scanned"] == cost.RUNS * 10 * 1024**2


@pytest.mark.usefixtures("emulated")
def test_a_load_is_borne() -> None:
    """For four seconds: each delivery is acknowledged, and waits for a read and a commit that take so much longer."""
    slices = load.measure(4.0, added=0.1, slice_seconds=2.0)
    assert [one.failed for one in slices] == [0, 0]
    assert slices[-1].p50 > 200  # the first slice may see no delivery: connections are made


@pytest.mark.parametrize(("field", "value"), [("failed", 1), ("memory", 120.0), ("threads", 90), ("files", 90)])
def test_a_load_that_is_not_borne_is_found(field: str, value: float) -> None:
    """A delivery that was not acknowledged, and whatever grows from the first half to the second."""
    assert load.wrong([STEADY] * 6) == []
    assert load.wrong([STEADY] * 3 + [replace(STEADY, **{field: value})] * 3) != []  # type: ignore[arg-type]
