"""The long form: `make outages`, with SEED='…' for the same pairs again.

    python -m tests.outages [--seed N] [--pairs N]

Each failure of each server alone, of an instance that runs already and of one that starts in it; then pairs of them.
Exit code: 0, or 1 where something was not as promised.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from itertools import combinations, product
from unittest.mock import patch

from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import BigQuery
from tests.gate import Failure
from tests.outages.harness import SERVERS, Outage, Servers, play, servers
from tools.emulators import PROJECT, emulators

_REPEATS = 50
_MORE_THREADS, _MORE_DESCRIPTORS = 8, 20


def outages(rng: random.Random, pairs: int) -> Iterator[Outage]:
    """Yield every single one, and then pairs of two servers' failures."""
    for name, failure in product(SERVERS, Failure):
        yield {name: failure}
    every = [
        {one: here, other: there}
        for one, other in combinations(SERVERS, 2)
        for here, there in product(Failure, Failure)
    ]
    yield from rng.sample(every, min(pairs, len(every)))


def main() -> int:
    """Play, print what happened, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.outages", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--pairs", type=int, default=100, metavar="N")
    options = parser.parse_args()
    print(f"seed {options.seed}: make outages SEED={options.seed}", flush=True)
    phase = load_phase("phase2", BUNDLED_PHASES)
    with emulators() as environment, patch.dict(os.environ, environment):
        BigQuery(PROJECT, emulated=True).client.create_dataset("nba_orchestration")
        with servers(environment, PROJECT, phase) as world:
            began, wrong = time.monotonic(), 0
            for number, outage in enumerate(outages(random.Random(options.seed), options.pairs), 1):
                wrong += _play(world, outage, number)
                if len(outage) == 1:
                    wrong += _play(world, outage, number, cold=True)
            print(f"{number} outages in {time.monotonic() - began:.0f} s; {wrong} not as promised", flush=True)
            wrong += _repeat(world)
    return 1 if wrong else 0


def _play(world: Servers, outage: Outage, number: int, *, cold: bool = False) -> int:
    flaws = play(world, outage, cold=cold)
    text = " and ".join(f"{name} {failure}" for name, failure in outage.items()) + ", cold" * cold
    print(f"{number:4} {text:50} {'; '.join(flaws) or 'as promised'}", flush=True)
    return bool(flaws)


def _repeat(world: Servers) -> int:
    """Repeat an outage of everything, and see whether anything is left behind."""
    everything = dict.fromkeys(SERVERS, Failure.HANGS)
    first = len(world.threads)
    for _ in range(_REPEATS):
        play(world, everything)
    threads, descriptors = world.threads[first:], world.descriptors[first:]
    grew = max(threads[5:]) - threads[4] > _MORE_THREADS or max(descriptors[5:]) - descriptors[4] > _MORE_DESCRIPTORS
    print(
        f"{_REPEATS} repeats: threads {threads[4]} to {threads[-1]}, descriptors {descriptors[4]} to {descriptors[-1]}"
    )
    return int(grew)


if __name__ == "__main__":
    sys.exit(main())
