"""The long form: `make fuzz`, with SEED=… for the same inputs again and MINUTES=… for another time than 10.

    python -m tests.fuzz [--minutes 10] [--seed N] [--target NAME]

First the corpus, then inputs as Hypothesis makes them up, in rounds over all targets until the time is over. What fails
is made small, printed, and kept in the corpus. Exit code: 0, or 1 where a promise did not hold.
"""

import argparse
import random
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack

from tests.fuzz.findings import Finding, keep, kept, search
from tests.fuzz.inputs import Check, Target
from tests.fuzz.targets import TARGETS

_ROUNDS, _CHUNK = 5, 50


def main() -> int:
    """Feed the targets, print what happened, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--target", choices=sorted(one.name for one in TARGETS), metavar="NAME")
    options = parser.parse_args()
    print(f"seed {options.seed}: make fuzz SEED={options.seed}", flush=True)
    targets = [one for one in TARGETS if options.target in {None, one.name}]
    with ExitStack() as stack:
        checks = {one.name: stack.enter_context(one.opened()) for one in targets}
        findings = [found for one in targets for found in _replay(one, checks[one.name])]
        findings += _search(targets, checks, options.seed, 60 * options.minutes)
    return 1 if findings else 0


def _replay(target: Target, check: Check) -> list[Finding]:
    """Feed what once failed."""
    findings = []
    for file, value in kept(target.name):
        try:
            check(value)
        except Exception as error:  # noqa: BLE001 (it is shown)
            findings.append(Finding(value, error))
            _show(target, findings[-1], str(file))
    return findings


def _search(targets: Sequence[Target], checks: dict[str, Check], seed: int, seconds: float) -> list[Finding]:
    """Feed all targets in turns; one that has failed is left alone from then on."""
    tried, findings = dict.fromkeys(checks, 0), dict[str, Finding]()
    began = time.monotonic()
    for target in _ROUNDS * list(targets):
        end = time.monotonic() + seconds / _ROUNDS / len(targets)  # to make a finding small takes what it takes
        while target.name not in findings and time.monotonic() < end:
            own = f"{seed}/{target.name}/{tried[target.name]}"
            examples, finding = search(target, checks[target.name], own, _CHUNK)
            tried[target.name] += examples
            if finding is not None:
                findings[target.name] = finding
                _show(target, finding, str(keep(target.name, finding)))
    for name, examples in tried.items():
        print(f"{name:30} {examples:9,} inputs  {'FAILED' if name in findings else 'as promised'}")
    print(f"{sum(tried.values()):,} inputs in {time.monotonic() - began:.0f} s; {len(findings)} findings; seed {seed}")
    return [*findings.values()]


def _show(target: Target, finding: Finding, file: str) -> None:
    print(f"\n{target.name}: {file}")
    traceback.print_exception(finding.error, limit=-8, file=sys.stdout)
    print(f"again: python -m tests.fuzz --target '{target.name}' --minutes 0\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
