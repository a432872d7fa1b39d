"""What every bench needs: its variants in turns, median and spread, the machine and the versions, a table and JSON."""

import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import TypeVar

from rich.table import Table

T = TypeVar("T")

_A_SECOND = {"µs": 1e6, "ms": 1e3, "s": 1.0}


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
        result = Table(box=None, pad_edge=False, title=f"{self.title}, {self.unit}", title_justify="left")
        result.add_column("variant", no_wrap=True)
        for column in ("median", "quartiles", "to the floor"):
            result.add_column(column, justify="right", no_wrap=True)
        for row in self.rows:
            spread = f"{row.low:.3g} to {row.high:.3g}"
            result.add_row(row.variant, f"{row.median:.3g}", spread, f"{self.ratios[row.variant]:.2f}")
        return result


def turns(variants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run each variant, then the next, and all of that `rounds` times; return what each round gave.

    A machine that grows slower is so for all of them; which one begins a round changes with the rounds.
    """
    found: dict[str, list[T]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(variants[name]())
    return found


def in_turns(variants: Mapping[str, Callable[[], object]], rounds: int, *, repeats: int = 1) -> dict[str, list[float]]:
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
    """Run a command to its end; what it prints is thrown away. Raises CalledProcessError where it fails."""
    began = perf_counter()
    with subprocess.Popen([*map(str, command)], env=environment, stdout=subprocess.DEVNULL) as running:
        _, status, used = os.wait4(running.pid, 0)
        wall = perf_counter() - began
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, running.args)
    return Used(wall, used.ru_utime + used.ru_stime)


def summary(title: str, unit: str, floor: str, values: Mapping[str, Sequence[float]]) -> Bench:
    """Summarise the rounds of each variant, given in seconds."""
    scaled = {name: [second * _A_SECOND[unit] for second in found] for name, found in values.items()}
    return Bench(title, unit, floor, [Row(name, *quantiles(found, n=4)) for name, found in scaled.items()])


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
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
