"""The long form: `make chaos`, with SEED='…' for the same messages, orders and deaths again.

    python -m tests.chaos [--seed N] [--dates N] [--messages N]

The draws are the seed's; which processes meet where is the machine's. Exit code: 0, or 1 where something was lost,
a flag is missing, there twice or unfounded, or a verdict is wrong.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from tests.chaos.harness import Chaos, deaths, run, wrong
from tests.chaos.plan import plan_of
from tools.emulators import PROJECT, emulators


def main() -> int:
    """Deliver, print what happened, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--dates", type=int, default=500, metavar="N")
    parser.add_argument("--messages", type=int, default=10_000, metavar="N")
    options = parser.parse_args()
    phase = load_phase("phase2", BUNDLED_PHASES)
    print(f"seed {options.seed}: make chaos SEED={options.seed}", flush=True)
    plan = plan_of(random.Random(options.seed), phase, options.dates, options.messages)
    chaos = Chaos(options.seed, instances=3, deaths=200, seconds_between_kills=4.0)
    began = time.monotonic()
    with emulators() as environment, tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        os.environ.update(environment)
        bigquery = BigQuery(PROJECT, emulated=True)
        bigquery.client.create_dataset("nba_orchestration")
        BigQueryCompletionLog(bigquery, {phase.name: phase}).setup()
        run(chaos, plan, PROJECT, Path(folder))
        found = wrong(plan, phase)
        died = deaths(Path(folder))
    complete = sum(plan.is_complete(day, phase) for day in plan.completing)
    print(f"{len(plan.messages)} messages, {chaos.deliveries} deliveries, {time.monotonic() - began:.0f} s")
    print(f"answers: {dict(chaos.answers)}")
    print(f"deaths at a step: {sum(died.values())}, at random: {chaos.kills}; {dict(sorted(died.items()))}")
    print(f"{complete} complete dates of {len(plan.completing)}; wrong: {len(found)}", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
