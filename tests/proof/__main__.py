"""The long forms, each a `make` target.

    python -m tests.proof interleavings ['today ab/aA 1 1 2 2 1 2']
    python -m tests.proof chaos [--only orchestrator|canary] [--dates N] [--messages N] [--lives N]
    python -m tests.proof outages [--pairs N]
    python -m tests.proof hostile [--runs 60000]
    python -m tests.proof fuzz [--minutes 10]
    python -m tests.proof path [--worlds 20000]
    python -m tests.proof years

All but the first take `--seed N`.
`fuzz` and `hostile` are tests of pytest, in rounds of other inputs: with the same seed they are the
same again. Exit code: 0, or another one where something was not as promised.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.path.changing import try_changes
from tests.path.survey import walk
from tests.proof.interleavings import LONG, explore, replay
from tests.proof.killed_canaries import watch
from tests.proof.killed_orchestrators import deliver
from tests.proof.outages import play_all
from tests.proof.years import live

_FUZZED = (
    "-m",
    "fuzz",
    "-n",
    "auto",
    "tests/canary",
    "tests/contracts",
    "tests/orchestrator_resilience",
    "tests/page",
)
_HOSTILE = ("tests/proof/test_hostile.py",)
_HOSTILE_RUNS = 3_000  # a round


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="tests.proof", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "proof", choices=["interleavings", "chaos", "outages", "hostile", "fuzz", "path", "years"]
    )
    parser.add_argument(
        "line", nargs="?", default="", help="steps of an interleaving to take again"
    )
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N"
    )
    parser.add_argument("--runs", type=int, default=60_000, metavar="N")
    parser.add_argument("--worlds", type=int, default=20_000, metavar="N")
    parser.add_argument("--minutes", type=float, default=10, metavar="N")
    parser.add_argument("--pairs", type=int, default=100, metavar="N")
    parser.add_argument("--only", choices=["orchestrator", "canary"])
    parser.add_argument("--dates", type=int, default=500, metavar="N")
    parser.add_argument("--messages", type=int, default=10_000, metavar="N")
    parser.add_argument("--lives", type=int, default=40, metavar="N")
    options = parser.parse_args()
    if options.proof == "interleavings":
        return replay(options.line) if options.line else explore(LONG)
    print(f"seed {options.seed}: make {options.proof} SEED={options.seed}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    match options.proof:
        case "chaos":
            flaws = (
                []
                if options.only == "canary"
                else deliver(options.seed, options.dates, options.messages)
            )
            flaws += [] if options.only == "orchestrator" else watch(options.seed, options.lives)
            return int(bool(flaws))
        case "outages":
            return int(bool(play_all(options.seed, options.pairs)))
        case "path":
            tried = try_changes(min(options.worlds, 2_000), options.seed)
            print(tried.text(), flush=True)
            return walk(options.seed, options.worlds) or int(not tried.holds)
        case "years":
            return live(options.seed)
        case "fuzz":
            return _rounds(
                _FUZZED, options.seed, lambda number: not number or time.monotonic() < end
            )
        case _:
            return _rounds(
                _HOSTILE, options.seed, lambda number: number * _HOSTILE_RUNS < options.runs
            )


def _rounds(tests: Sequence[str], seed: int, goes_on: Callable[[int], bool]) -> int:
    """Run the tests again with more inputs; return the first exit code that is not 0."""
    code = number = 0
    while not code and goes_on(number):
        options = (
            "--hypothesis-profile=long",
            f"--hypothesis-seed={seed + number}",
            "--timeout=0",
            "-q",
        )
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests], check=False
        ).returncode
        number += 1
    return code


if __name__ == "__main__":
    sys.exit(main())
