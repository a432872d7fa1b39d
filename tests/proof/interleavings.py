"""The graphs that are explored, and the replay of a counterexample.

A line is `SUBJECT SCENARIO STEP…`, such as `today ab/aA 1 1 2 2 1 2` or `canaries bgg 1 1 2+ 1`.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tests.proof.canaries import Canaries, Unnoted, Unversioned
from tests.proof.deliveries import REPLACED, AsInFebruary, Deliveries, Overwriting, WithRowsLast
from tests.proof.explorer import Explorer, Subject

# Today's code first; the last four are wrong, and have to be found.
SUBJECTS: dict[str, Callable[[str], Subject]] = {
    "today": Deliveries,
    "with-rows-last": WithRowsLast,
    "canaries": Canaries,
    "overwriting": Overwriting,
    "as-in-february": AsInFebruary,
    "unversioned": Unversioned,
    "unnoted": Unnoted,
}
# The same orchestrator, with the rows before everything else and after it: a thread beside it makes
# them in between.
_RIGHT = ("today", "with-rows-last")
# Each with the number of faults; first those of `make test`.
_DELIVERIES = (
    ("ab/ab", 2),
    ("abc/abc", 0),
    ("ab/abb", 0),
    ("ab/abu", 0),
    ("ab/abn", 0),
    ("ab/aAb", 0),
)
_MORE_DELIVERIES = (
    ("ab/ab", 3),
    ("ab/abb", 1),
    ("ab/aAb", 1),
    ("ab/abu", 2),
    ("ab/abn", 2),
    ("ab/aabb", 0),
    ("abc/abcc", 0),
    *(("abc/abcu", 1), ("abcd/abcd", 0), ("abc/abc", 2)),
)
_LIVES = (("bgg", 0), ("bg", 1), ("bwg", 0), ("bgb", 0), ("bg+", 0), ("bg-", 0))
_MORE_LIVES = (("bg", 2), ("bg+", 1), ("bbg-", 1), ("bwg", 1), ("bgb", 1), ("3bg", 1))
Case = tuple[str, str, int]
SHORT: list[Case] = [
    *((name, *case) for name in _RIGHT for case in _DELIVERIES),
    *(("canaries", *case) for case in _LIVES),
]
LONG: list[Case] = [
    *((name, *case) for name in _RIGHT for case in _MORE_DELIVERIES),
    *(("canaries", *case) for case in _MORE_LIVES),
]


def explore(cases: Iterable[Case]) -> int:
    """Explore, print what was visited, and return 1 where an invariant is violated, else 0."""
    for name, scenario, faults in cases:
        started = time.perf_counter()
        # Which registration stays of a processor's run and re-run in one moment is not promised.
        tolerated = () if scenario.islower() else (REPLACED,)
        with without_collection():
            graph = Explorer(SUBJECTS[name](scenario), faults).explore(tolerated=tolerated)
        size = (
            f"states: {graph.states:>9,}  ends: {graph.ends:>4}  "
            f"{time.perf_counter() - started:6.1f} s"
        )
        print(f"{name:<14} {scenario:<8} faults: {faults}  {size}", flush=True)
        for violation, steps in graph.violations.items():
            print(f"{violation}: make interleavings REPLAY='{name} {scenario} {' '.join(steps)}'")
            return 1
    return 0


def replay(line: str) -> int:
    """Take a line's steps and print each, with what is stored after it; return the exit code."""
    name, scenario, *labels = line.split()
    kind = SUBJECTS[name]
    subject = Deliveries(scenario, forgets=True) if kind is Deliveries else kind(scenario)
    violations = list[str]()
    for label, (operation, state, wrong) in zip(
        labels, Explorer(subject, len(labels)).replay(labels), strict=True
    ):
        print(f"{label:<4} {operation:<20} {subject.shown(state.stored.value)}")
        violations += wrong
    print(*violations or ["no violation"], sep="\n")
    return 1 if violations else 0


@contextmanager
def without_collection() -> Iterator[None]:
    """Do without garbage collection, which takes a third of the time and finds nothing here."""
    gc.collect()  # the graph before
    gc.disable()
    yield
    gc.enable()
