"""The long form, and the replay of a counterexample.

    python -m tests.interleavings
    python -m tests.interleavings 'today ab/aA 1 1 2 2 1 2'
    python -m tests.interleavings 'canaries bgg/1 1 1 2+ 1'

Prints the size of each graph. Exit code: 0, or 1 where an invariant is violated.
"""

import gc
import sys
import time
from collections.abc import Iterable, Sequence

from tests.interleavings.canaries import CANARIES, CHANNELS, Canaries, heard
from tests.interleavings.explorer import Explorer, Step
from tests.interleavings.invariants import REPLACED
from tests.interleavings.messages import REF, Scenario
from tests.interleavings.subjects import SUBJECTS

# The same orchestrator, with the rows before everything else and after it: a thread beside it makes them in between.
RIGHT = ("today", "with-rows-last")
# Each with the number of faults.
LONG = (
    ("ab/ab", 3),
    ("ab/abb", 1),
    ("ab/aAb", 1),
    ("ab/abu", 2),
    ("ab/abn", 2),
    ("ab/aabb", 0),
    ("abc/abcc", 0),
    ("abc/abcu", 1),
    ("abcd/abcd", 0),
    ("abc/abc", 2),
)
# Two canaries over an incident's life, with the number of faults.
LIVES = (("bg", 3), ("bgg", 2), ("bbg", 2), ("bwg", 2), ("bwgg", 1), ("bgb", 1))


def main(line: str = "") -> int:
    """Explore everything, or replay one line; return the exit code."""
    if line:
        return replay(line)
    gc.disable()  # nothing here is garbage, and looking for it takes a third of the time
    return explore(LONG) or explore_canaries(LIVES)


def explore(cases: Iterable[tuple[str, int]]) -> int:
    """Explore the orchestrator in these scenarios, print what was visited, and return the exit code."""
    for subject, scenario, faults in ((subject, *case) for subject in RIGHT for case in cases):
        started = time.perf_counter()
        # Which registration stays of a processor's run and re-run in one moment is not promised.
        tolerated = None if scenario.islower() else REPLACED
        found = Explorer(SUBJECTS[subject], Scenario.parse(scenario), tolerated=tolerated).explore(faults)
        seconds = time.perf_counter() - started
        print(
            f"{subject:<14} {scenario:<8} faults: {faults}  states: {found.states:>9,}  ends: {found.ends:>4}  "
            f"{seconds:6.1f} s",
            flush=True,
        )
        if found.violation:
            print(f"{found.violation}: make interleavings REPLAY='{subject} {scenario} {' '.join(found.steps)}'")
            return 1
    return 0


def explore_canaries(lives: Iterable[tuple[str, int]]) -> int:
    """Explore two canaries over these lives, print what was visited, and return the exit code."""
    for life, faults in lives:
        gc.collect()  # the graph before
        started = time.perf_counter()
        found = Canaries(life, faults).explore()
        seconds = time.perf_counter() - started
        print(
            f"{'canaries':<14} {life:<8} faults: {faults}  states: {found.states:>9,}  ends: {found.ends:>4}  "
            f"{seconds:6.1f} s",
            flush=True,
        )
        if found.violation:
            print(f"{found.violation}: make interleavings REPLAY='canaries {life}/{faults} {' '.join(found.steps)}'")
            return 1
    return 0


def replay(line: str) -> int:
    """Take the steps of a line and print each, with what is stored after it."""
    subject, scenario, *labels = line.split()
    if subject in CANARIES:
        return _replay_canaries(subject, scenario, labels)
    explorer = Explorer(SUBJECTS[subject], Scenario.parse(scenario), forgets=True)
    violations = []
    for operation, step in explorer.replay(labels):
        print(f"{step.label:<4} {operation:<20} {_stored(step)}")
        violations += [step.violation] if step.violation else []
    print(*violations or ["no violation"], sep="\n")
    return 1 if violations else 0


def _replay_canaries(subject: str, scenario: str, labels: Sequence[str]) -> int:
    life, _, faults = scenario.partition("/")
    violations: list[str] = []
    for label, operation, state, found in Canaries(life, int(faults), CANARIES[subject]).replay(labels):
        told = {name: " ".join(kind for kind, _ in heard(state.stored.value, name)) for name in CHANNELS}
        print(f"{label:<4} {operation:<20} {told}")
        violations += found
    print(*violations or ["no violation"], sep="\n")
    return 1 if violations else 0


def _stored(step: Step) -> str:
    value = step.state.stored.value
    document = value.documents.get(REF)
    keys = sorted(key for key in document.fields if key[0] != "_") if document else []
    flag = document.fields.get("_trigger_event_id", "unset") if document else "unset"
    rows = [f"{row.processor_name}:{row.event_id}" for row in value.rows]
    finished = [str(course.number + 1) for course in step.state.courses if course.acknowledged]
    return f"registered {keys}  flag {flag}  rows {rows}  acknowledged {finished}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
