"""The benches measure what they say; no test judges how long anything takes."""

import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cost, lines, load, measure
from orchestrator_resilience.stores.embedded import EmbeddedStores

STEADY = load.Slice(
    second=15,
    rate=99,
    p50=69,
    p99=280,
    longest=400,
    failed=0,
    processor=7,
    memory=89,
    threads=33,
    files=34,
)


def test_all_libraries_write_the_same() -> None:
    """Else one that writes less would be the quicker one."""
    lines.check()


def test_in_turns_with_another_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tree measures itself, both are compared, and the worktree is gone afterwards."""
    monkeypatch.setattr(measure, "_TURNS", 1)
    worktrees = ["git", "-C", str(measure.ROOT), "worktree", "list"]
    there = subprocess.check_output(worktrees)
    file = tmp_path / "figures.json"
    assert measure.before_and_after("HEAD", "benchmarks", {"--rounds": 2}, file, "lines") == 0
    before, after = (turns[0] for turns in json.loads(file.read_text("utf-8"))["medians"].values())
    assert before.keys() == after.keys()
    assert min(*before.values(), *after.values()) > 0
    assert subprocess.check_output(worktrees) == there


def test_what_a_run_and_a_page_ask_for(tmp_path: Path) -> None:
    """One table for all phases, two for each, and a third where there is a problem.

    Of documents a run reads those of seven dates and a month a phase, and two of the canary's own.
    """
    phases = cost.phases_of(3)
    with EmbeddedStores(tmp_path) as stores:
        cost.recent_dates(stores, phases)
        cost.a_run(stores, phases)
        healthy, page = cost.a_run(stores, phases), cost.a_page(stores, phases)
        cost.leave_stuck(stores, next(iter(phases.values())))
        cost.a_run(stores, phases)
        stuck = cost.a_run(stores, phases)
    asked = [
        (used["problems"], used["tables"], used["Firestore, reads"], used["Firestore, writes"])
        for used in (healthy, stuck, page)
    ]
    assert asked == [
        (0, 1 + 3 * 2, 3 * 8 + 2, 1),
        (1, 1 + 3 * 2 + 1, 3 * 8 + 2, 1),
        (0, 1 + 3 * 2, 3 * 32 + 2, 0),
    ]


def test_a_month_by_hand() -> None:
    """2,592 runs with 7 tables, 288 with 8, 1,500 pages with 7, and 450 deliveries."""
    healthy = Counter(
        {"tables": 7, "Firestore, reads": 26, "Firestore, writes": 1, "Logging, bytes": 700}
    )
    page = Counter({"tables": 7, "Firestore, reads": 98})
    delivery = Counter(
        {"rows": 1, "Firestore, reads": 1, "Firestore, writes": 1, "Logging, bytes": 3000}
    )
    stuck = healthy + Counter({"tables": 1})
    used = cost.month_of(healthy, stuck, page, delivery, phases=3, deliveries=15)
    hand = {
        "Cloud Run, vCPU seconds": 8640 + 4500 + 135,
        "Firestore, reads": 74_880 + 147_000 + 450,
        "Firestore, writes": 2_880 + 450,
        "BigQuery, bytes scanned": (18_144 + 2_304 + 10_500) * 10_485_760,
        "Logging, bytes": 2_016_000 + 1_350_000 + 10_590 * 1024,
        "Monitoring, bytes": 31 * 43_200 * 8,
        "Secrets, versions": 7,
    }
    assert {unit: round(used[unit]) for unit in hand} == hand
    listed, paid = cost.dollars(used, free=False), cost.dollars(used, free=True)
    assert round(listed["BigQuery"], 3) == 1.845  # 0.2951 TiB, at 6.25
    assert (round(listed["Secrets"], 3), round(paid["Secrets"], 3)) == (0.446, 0.06)
    assert {service for service, amount in paid.items() if round(amount, 2)} == {
        "Monitoring",
        "Secrets",
        "Images",
    }


@pytest.mark.usefixtures("emulated")
def test_a_load_is_borne() -> None:
    """Each delivery of four seconds is acknowledged, and waits for a slow read and commit."""
    slices = load.measure(4.0, added=0.1, slice_seconds=2.0)
    assert [one.failed for one in slices] == [0, 0]
    assert slices[-1].p50 > 200  # the first slice may see no delivery: connections are made


@pytest.mark.parametrize(
    ("field", "value"), [("failed", 1), ("memory", 120.0), ("threads", 90), ("files", 90)]
)
def test_a_load_that_is_not_borne_is_found(field: str, value: float) -> None:
    """An unacknowledged delivery is found, and anything that grows from one half to the other."""
    assert load.wrong([STEADY] * 6) == []
    assert load.wrong([STEADY] * 3 + [replace(STEADY, **{field: value})] * 3) != []  # type: ignore[arg-type]
