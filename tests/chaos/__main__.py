"""The long form: `make chaos`, with SEED='…' for the same messages, orders and deaths again.

    python -m tests.chaos [--seed N] [--only orchestrator|canary] [--dates N] [--messages N] [--lives N]

The draws are the seed's; which processes meet where is the machine's. Exit code: 0, or 1 where something was lost, a
flag is missing, there twice or unfounded, a verdict is wrong, or people were told something too late or too often.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from tests.chaos import canaries
from tests.chaos.harness import Chaos, deaths, run, wrong
from tests.chaos.plan import plan_of
from tools.emulators import PROJECT, emulators


def main() -> int:
    """Let the orchestrator deliver, and then the canary run; print what happened, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--only", choices=["orchestrator", "canary"])
    parser.add_argument("--dates", type=int, default=500, metavar="N")
    parser.add_argument("--messages", type=int, default=10_000, metavar="N")
    parser.add_argument("--lives", type=int, default=40, metavar="N")
    options = parser.parse_args()
    print(f"seed {options.seed}: make chaos SEED={options.seed}", flush=True)
    found = [] if options.only == "canary" else deliver(options.seed, options.dates, options.messages)
    found += [] if options.only == "orchestrator" else watch(options.seed, options.lives)
    return 1 if found else 0


def deliver(seed: int, dates: int, messages: int) -> list[str]:
    """Deliver a plan's messages; return what is wrong at the end."""
    phase = load_phase("phase2", BUNDLED_PHASES)
    plan = plan_of(random.Random(seed), phase, dates, messages)
    chaos = Chaos(seed, instances=3, deaths=200, seconds_between_kills=4.0)
    began = time.monotonic()
    with _emulated() as bigquery, tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        BigQueryCompletionLog(bigquery, {phase.name: phase}).setup()
        run(chaos, plan, PROJECT, Path(folder))
        found = wrong(plan, phase)
        died = deaths(Path(folder))
    complete = sum(plan.is_complete(day, phase) for day in plan.completing)
    print(f"{len(plan.messages)} messages, {chaos.deliveries} deliveries, {time.monotonic() - began:.0f} s")
    print(f"answers: {dict(chaos.answers)}")
    print(f"deaths at a step: {sum(died.values())}, at random: {chaos.kills}; {dict(sorted(died.items()))}")
    print(f"{complete} complete dates of {len(plan.completing)}; wrong: {len(found)}", *found, sep="\n", flush=True)
    return found


def watch(seed: int, lives: int) -> list[str]:
    """Let canaries die at each of their steps, and run two and five at once; return what was not as promised."""
    phase, rng, began = load_phase("phase2", BUNDLED_PHASES), random.Random(f"{seed}/canaries"), time.monotonic()
    found, last = list[str](), 0
    most = canaries.MOST_AT_ONCE
    with (
        _emulated(),
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        canaries.canaries(most, PROJECT, phase, Path(folder), seed) as world,
    ):
        for deadly in canaries.DEADLY:
            died, step = True, 0
            while died:
                step += 1
                died, flaws = canaries.dies_at(world, step, deadly)
                found += flaws
            last = max(last, step - 1)
        print(f"{len(world.deaths())} deaths, at each of up to {last} steps of a run; {world.summary()}", flush=True)
        for number in range(lives):
            found += canaries.at_once(world, canaries.plan_of(rng, (2, most)[number % 2], last), rng)
        print(f"{lives} times two or five at once: now {len(world.deaths())} deaths, {world.gate.late} late answers")
        print(world.summary())
    print(f"{time.monotonic() - began:.0f} s; not as promised: {len(found)}", *found, sep="\n", flush=True)
    return found


@contextmanager
def _emulated() -> Iterator[BigQuery]:
    """Run the emulators, with a dataset, and let the clients find them."""
    with emulators() as environment, patch.dict(os.environ, environment):
        bigquery = BigQuery(PROJECT, emulated=True)
        bigquery.client.create_dataset("nba_orchestration")
        yield bigquery


if __name__ == "__main__":
    sys.exit(main())
