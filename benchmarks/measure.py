"""What every bench needs: turns, median and spread, machine, versions, tables.

`before_and_after` runs a bench in turns with another commit.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
_A_SECOND = {"µs": 1e6, "ms": 1e3, "s": 1.0}
# How often two commits take their turn; all of them together measure as much as one bench.
_TURNS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """How long one variant took: the median and the quartiles of its rounds, in `unit`."""

    variant: str
    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Bench:
    """One comparison. `floor` names the row that the others are divided by."""

    title: str
    unit: str
    floor: str
    rows: list[Row]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long as the floor each variant takes."""
        floor = next(row.median for row in self.rows if row.variant == self.floor)
        return {row.variant: row.median / floor for row in self.rows}

    def table(self) -> Table:
        """Return it for people."""
        result = Table(
            box=None, pad_edge=False, title=f"{self.title}, {self.unit}", title_justify="left"
        )
        result.add_column("variant", no_wrap=True)
        for column in ("median", "quartiles", "to the floor"):
            result.add_column(column, justify="right", no_wrap=True)
        for row in self.rows:
            spread = f"{row.low:.3g} to {row.high:.3g}"
            result.add_row(
                row.variant, f"{row.median:.3g}", spread, f"{self.ratios[row.variant]:.2f}"
            )
        return result


def turns(variants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run each variant, then the next, and all of that `rounds` times; return what each round gave.

    A machine that grows slower is so for all of them; which one begins a round changes with the
    rounds.
    """
    found: dict[str, list[T]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(variants[name]())
    return found


def in_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int, *, repeats: int = 1
) -> dict[str, list[float]]:
    """Run each variant `repeats` times in its turn: seconds a run, for each round."""

    def seconds(run: Callable[[], object]) -> float:
        began = perf_counter()
        for _ in range(repeats):
            run()
        return (perf_counter() - began) / repeats

    return turns({name: partial(seconds, run) for name, run in variants.items()}, rounds)


@dataclass(frozen=True, slots=True)
class Used:
    """What a process used, in seconds: `wall` from its start to its end, `cpu` of all cores."""

    wall: float
    cpu: float


def process(command: Sequence[str | Path], environment: Mapping[str, str]) -> Used:
    """Run a command to its end; what it prints is thrown away.

    Raises CalledProcessError where it fails.
    """
    began = perf_counter()
    with subprocess.Popen(
        [*map(str, command)], env=environment, stdout=subprocess.DEVNULL
    ) as running:
        _, status, used = os.wait4(running.pid, 0)
        wall = perf_counter() - began
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, running.args)
    return Used(wall, used.ru_utime + used.ru_stime)


def summary(title: str, unit: str, floor: str, values: Mapping[str, Sequence[float]]) -> Bench:
    """Summarise the rounds of each variant, given in seconds."""
    scaled = {
        name: [second * _A_SECOND[unit] for second in found] for name, found in values.items()
    }
    return Bench(
        title, unit, floor, [Row(name, *quantiles(found, n=4)) for name, found in scaled.items()]
    )


def before_and_after(
    commit: str, module: str, amounts: Mapping[str, float], file: Path | None, *names: str
) -> int:
    """Let the benches of `module` run in turns with those of a commit, each tree with its own code.

    `amounts` are the options that say how much is measured, `names` which benches. Prints the least
    and the median of the turns' medians, and writes the medians to a `file`, as JSON. Returns the
    exit code: 1 where no figure is in both.
    """
    arguments = [*names, *(f"{option}={amount / _TURNS:.0f}" for option, amount in amounts.items())]
    with _worktree(commit) as before:
        trees = {"before": before, "after": ROOT}
        runs = {name: partial(_medians, tree, module, arguments) for name, tree in trees.items()}
        medians = turns(runs, _TURNS)
    common = [name for name in medians["after"][0] if name in medians["before"][0]]
    table = Table(box=None, pad_edge=False, title=f"in {_TURNS} turns", title_justify="left")
    table.add_column("")
    for column in (f"{commit}: least", "median", "now: least", "median", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in common:
        before_, after = ([turn[name] for turn in own] for own in medians.values())
        values = min(before_), median(before_), min(after), median(after)
        ratio = f"{median(after) / median(before_):.2f}"
        table.add_row(name, *(f"{value:.3g}" for value in values), ratio)
    words = table if common else f"no figure is in both: {commit} leaves others"
    Console(width=None if sys.stdout.isatty() else 120).print(words)
    if file:
        about = {"machine": machine(), "before": commit, "medians": medians}
        file.write_bytes(msgspec.json.format(msgspec.json.encode(about)))
    return int(not common)


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """Check a commit out beside this tree until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        git = ("git", "-C", ROOT, "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", folder, commit], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)


def _medians(tree: Path, module: str, arguments: Sequence[str]) -> dict[str, float]:
    """Let a tree measure itself, and return the median of each row of its benches."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", module, *arguments, "--json", str(file)]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        # What is not as promised ends with 1, and has its figures all the same.
        subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=False)
        benches = msgspec.json.decode(file.read_bytes()).get("benches", [])
    return {
        f"{bench['title']}, {bench['unit']}: {row['variant']}": row["median"]
        for bench in benches
        for row in bench["rows"]
    }


def machine() -> dict[str, object]:
    """Return what the figures are of."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions."""
    return {name: metadata.version(name) for name in packages}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")),
        platform.machine(),
    )
