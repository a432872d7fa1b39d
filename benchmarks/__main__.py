"""`make bench`: what is measured here, as tables, and as JSON where a file is named.

    python -m benchmarks [lines] [deliveries] [cold] [--rounds N] [--json FILE] [--before COMMIT]

Nothing is judged: the figures are those of one machine, which is named beside them. The variants of
a bench run in turns, so that what else the machine does meets all of them.
"""

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import cold, deliveries, lines
from benchmarks.measure import before_and_after, machine, versions

_BENCHES = {"lines": lines.lines, "deliveries": deliveries.deliveries, "cold": cold.cold}


def main() -> int:
    """Measure what is asked for, everything by default; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(_BENCHES)}; all by default"
    )
    parser.add_argument(
        "--rounds", type=int, default=21, metavar="N", help="turns of each variant (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--before", metavar="COMMIT", help="in turns with this commit")
    options = parser.parse_args()
    if unknown := set(options.names) - _BENCHES.keys():
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    if options.before:
        amounts = {"--rounds": options.rounds}
        return before_and_after(options.before, "benchmarks", amounts, options.json, *options.names)
    console = Console(width=None if sys.stdout.isatty() else 100)
    about = {"machine": machine(), "versions": versions(*lines.PACKAGES, *deliveries.PACKAGES)}
    console.print(about)
    found = []
    for name in options.names or _BENCHES:
        for bench in _BENCHES[name](options.rounds):
            console.print(bench.table(), "")
            found.append(bench)
    if options.json:
        options.json.write_bytes(
            msgspec.json.format(msgspec.json.encode({**about, "benches": found}))
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
