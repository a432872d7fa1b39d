"""Real processes on one folder: racing each other, and killed between any two steps."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from canary.run import check_dates
from orchestrator_resilience import Phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.progress import read_progress
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope

DELIVER = Path(__file__).with_name("deliver.py")
REF = DocumentRef("phase2_completion", "2026-02-09")
DAY = date(2026, 2, 9)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(DELIVER.parents[2])}
    return subprocess.Popen(
        [sys.executable, str(DELIVER), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def lines(stores: EmbeddedStores) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (stores.folder / "checkpoints.jsonl").read_text().splitlines()
    ]


def test_eight_processes_at_once(
    stores: EmbeddedStores, phase: Phase, clock: SimulatedClock
) -> None:
    """Each delivers all five four times: nothing lost, one trigger, and no database is locked."""
    stores.folder.mkdir()
    processes = [start(stores.folder, "race", str(n)) for n in range(8)]
    give_up = time.monotonic() + 60
    while len(list(stores.folder.glob("ready-*"))) < 8:
        assert time.monotonic() < give_up, "the processes did not get ready"
        time.sleep(0.01)
    (stores.folder / "go").touch()
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "")
    checkpoints = lines(stores)
    kinds = Counter(line["checkpoint"].removeprefix("CHECKPOINT_") for line in checkpoints)
    assert kinds["RECEIVED"] == kinds["POST_TRANSACTION"] == 8 * 20
    # One message set the flag; each of its redeliveries says so again.
    assert (
        len(
            {
                line["event_id"]
                for line in checkpoints
                if line["checkpoint"] == "CHECKPOINT_TRIGGERED"
            }
        )
        == 1
    )
    assert kinds.keys() == {"RECEIVED", "POST_TRANSACTION", "WAITING", "TRIGGERED"}
    progress = read_progress(stores.documents.get_all([REF])[REF].fields, phase)
    assert (progress.missing, progress.trigger is not None) == (frozenset(), True)
    rows = stores.completion_log.summarise(["phase2"], DAY, DAY)
    assert sorted(row.processor_name for row in rows if not row.is_triggered) == sorted(
        phase.expected
    )
    assert sum(row.is_triggered is True for row in rows) == 1
    report = check_dates(stores, {"phase2": phase}, clock.now, {"phase2": [DAY]})
    assert [v.kind.value for v in report.verdicts] == ["TRIGGERED"]


# Three operations a delivery with two points each; the last delivery has one operation more.
STEPS = 5 * 2 * 3 + 2


@pytest.mark.parametrize("step", [*range(1, 9), *range(STEPS - 11, STEPS + 1)])
def test_a_process_killed_between_two_steps(
    step: int,
    stores: EmbeddedStores,
    phase: Phase,
    orchestrator: Orchestrator,
    clock: SimulatedClock,
) -> None:
    """Pub/Sub sends again what was not acknowledged, and one event triggers the date once."""
    process = start(stores.folder, "die", str(step))
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (-signal.SIGKILL, "")
    checkpoints = lines(stores)
    received = [
        line["event_id"] for line in checkpoints if line["checkpoint"] == "CHECKPOINT_RECEIVED"
    ]
    closed = {line["delivery"] for line in checkpoints if line["closes"]}
    died_open = [
        line["event_id"]
        for line in checkpoints
        if line["sequence"] == 1 and line["delivery"] not in closed
    ]
    assert died_open == [received[-1]], "a delivery closes after its last write, not before"
    unacknowledged = int(received[-1][1:])
    for number, processor in list(enumerate(sorted(phase.expected)))[unacknowledged:]:
        at = clock.now.replace(hour=6, minute=41 + number)
        orchestrator.deliver(push_envelope(processor, "2026-02-09", at, message_id=f"m{number}"))
    progress = read_progress(stores.documents.get_all([REF])[REF].fields, phase)
    assert progress.missing == frozenset()
    assert progress.trigger is not None
    assert progress.trigger.event_id == "m4"
    rows = stores.completion_log.summarise(["phase2"], DAY, DAY)
    assert sorted(row.processor_name for row in rows if not row.is_triggered) == sorted(
        phase.expected
    )
    assert [row.first_completed_at for row in rows if row.is_triggered] == [progress.trigger.at]
