"""What is left of 5, 20 and 100 completions of one game date that arrive at once.

Three ways of registering them meet the same burst on Google's Firestore emulator, in turns and in
one run:

- ours: `Orchestrator.deliver` with `FirestoreDocuments`: one read and one conditional commit, and a
  merge for who loses that race. Its completion log keeps nothing, so that Firestore is what is
  measured.
- merges: the bare writes, one merge a completion, of the fields that ours registers. It reads
  nothing and decides nothing; it is the floor.
- textbook: one read-modify-write transaction a completion with the client's own five attempts,
  which is what lost completions in February 2026. It takes long to lose many, hence
  `--textbook-max`.

    python -m benchmarks.contention [--rounds N] [--textbook-max N] [--json]

Exit code: 0, 1 when ours lost a completion, raised, or triggered other than exactly once, 2 when
the emulator did not start. The seconds are reported and never judged: they are this machine's.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from statistics import median
from threading import Barrier
from time import perf_counter, sleep
from typing import Any

import msgspec
from google.cloud import firestore
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from orchestrator_resilience import CheckpointLogger, Completion, Phase, load_phase
from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tools.emulators import PROJECT, EmulatorError, emulators

SIZES = (5, 20, 100)
# The locks of transactions that were given up live on in the emulator for a while, at the cost of
# whoever comes next.
_PAUSE_SECONDS = 3.0
# The emulator is a Java program that has just started; Firestore has not.
_WARM_UP_BURSTS = 5
DATE = "2026-02-10"
# How many seconds it took, what was raised, and how many deliveries set the flag.
Result = tuple[float, list[str], int]


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of `size` completions at once; `raised` says what each failed delivery raised.

    `calls` is how often Firestore was called for one of them, None where the client does that by
    itself.
    """

    variant: str
    size: int
    seconds: float
    registered: int
    raised: list[str]
    triggers: int
    calls: float | None
    triggered: bool

    @property
    def wrong(self) -> list[str]:
        """What did not go as it has to."""
        findings = {
            f"registered {self.registered} of {self.size}": self.registered != self.size,
            f"{len(self.raised)} raised, such as {self.raised[:1]}": bool(self.raised),
            f"triggered {self.triggers} times": self.triggers != 1,
            "_triggered is unset": not self.triggered,
        }
        return [finding for finding, holds in findings.items() if holds]


class _NoLog:
    """A CompletionLog that keeps nothing."""

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Forget the rows."""

    def summarise(  # the Protocol's parameters
        self,
        phases: Iterable[str],  # noqa: ARG002
        since: date,  # noqa: ARG002
        until: date,  # noqa: ARG002
    ) -> list[ProcessorSummary]:
        """Have nothing to tell."""
        return []

    def setup(self) -> list[str]:
        """Need nothing."""
        return []

    def missing_columns(self) -> dict[str, list[str]]:
        """Lack nothing."""
        return {}

    def view(self, _: str) -> str:
        """Need nothing."""
        return ""


class _Counted:
    """A store whose calls are counted."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.names.append(name)
        return getattr(self._store, name)


class Bench:
    """The variants, each with one client that all its threads share."""

    def __init__(self) -> None:
        self._documents = FirestoreDocuments(PROJECT)
        self._client = firestore.Client(project=PROJECT)
        self._variants = {"ours": self._ours, "merges": self._merges, "textbook": self._textbook}

    def close(self) -> None:
        """Close what was opened."""
        self._documents.close()
        self._client.close()  # type: ignore[no-untyped-call]

    def run(self, variant: str, size: int, turn: int) -> Burst:
        """Let `size` completions arrive at once at a document that nobody has used before."""
        ref = DocumentRef(f"bench_{variant}_{size}_{turn}", DATE)
        processors = [f"p2_bench_{n:03}" for n in range(size)]
        documents = _Counted(self._documents)
        seconds, raised, triggers = self._variants[variant](documents, ref, processors)
        document = self._documents.get_all([ref]).get(ref)
        fields = document.fields if document else {}
        registered = len(fields.keys() & set(processors))
        calls, triggered = len(documents.names) / size or None, fields.get("_triggered") is True
        return Burst(variant, size, seconds, registered, raised, triggers, calls, triggered)

    def _ours(self, documents: Any, ref: DocumentRef, processors: Sequence[str]) -> Result:
        phase, sink = _phase(ref, processors), RecordingSink()
        checkpoints = CheckpointLogger(phase, sink, enabled=True)
        orchestrator = Orchestrator(phase, documents, _NoLog(), checkpoints)
        events = _events(ref, processors)
        seconds, raised, _ = _at_once([partial(orchestrator.deliver, event) for event in events])
        return seconds, raised, sum(c.kind is CheckpointKind.TRIGGERED for c in sink.checkpoints)

    def _merges(self, documents: Any, ref: DocumentRef, processors: Sequence[str]) -> Result:
        phase, events = _phase(ref, processors), _events(ref, processors)

        def merge(event: dict[str, Any]) -> None:
            completion, nothing = Completion.from_event(event, phase), read_progress({}, phase)
            documents.merge(ref, registration_fields(nothing, completion, datetime.now(UTC)))

        seconds, raised, _ = _at_once([partial(merge, event) for event in events])
        return seconds, raised, 0

    def _textbook(self, _: Any, ref: DocumentRef, processors: Sequence[str]) -> Result:
        document = self._client.collection(ref.collection).document(ref.id)

        def register(name: str) -> bool:
            # Decorated for each call: what `transactional` returns keeps the state of one
            # transaction.
            return bool(
                firestore.transactional(_register)(
                    self._client.transaction(), document, name, len(processors)
                )
            )

        seconds, raised, returned = _at_once([partial(register, name) for name in processors])
        return seconds, raised, returned.count(True)


def _phase(ref: DocumentRef, processors: Sequence[str]) -> Phase:
    return msgspec.structs.replace(
        load_phase("phase2", BUNDLED_PHASES),
        firestore_collection=ref.collection,
        processors=dict.fromkeys(processors, ()),
    )


def _events(ref: DocumentRef, processors: Sequence[str]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    ids = {name: f"{ref.collection}-{name}" for name in processors}
    return [push_envelope(name, ref.id, now, message_id=ids[name]) for name in processors]


def _register(
    transaction: firestore.Transaction,
    document: firestore.DocumentReference,
    name: str,
    expected: int,
) -> bool:
    fields = document.get(transaction=transaction).to_dict() or {}
    if name in fields:
        return False
    fields[name] = {"status": "success", "completed_at": datetime.now(UTC)}
    complete = (
        sum(not key.startswith("_") for key in fields) >= expected and "_triggered" not in fields
    )
    if complete:
        fields["_triggered"] = True
    transaction.set(document, fields)
    return complete


def _at_once(calls: Sequence[Callable[[], object]]) -> tuple[float, list[str], list[object]]:
    """Make all calls at the same moment, a thread each.

    Returns the seconds until the last is done, the errors, and the results.
    """
    begun: list[float] = []
    barrier = Barrier(len(calls), action=lambda: begun.append(perf_counter()), timeout=60)

    def call_one(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (how many raise, and what, is what is measured)
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        results = list(threads.map(call_one, calls))
        seconds = perf_counter() - begun[0]
    return (
        seconds,
        [f"{type(r).__name__}: {r}" for r in results if isinstance(r, Exception)],
        results,
    )


def measure(rounds: int, textbook_max: int, console: Console) -> list[Burst]:
    """Run the variants in turns, on an emulator of their own."""
    most = {"ours": max(SIZES), "merges": max(SIZES), "textbook": textbook_max}
    plan = [
        (v, size, turn) for turn in range(rounds) for size in SIZES for v in most if size <= most[v]
    ]
    bursts = []
    with ExitStack() as stack:
        os.environ.update(stack.enter_context(emulators(["firestore"])))
        bench = stack.enter_context(closing(Bench()))
        progress = Progress(
            *Progress.get_default_columns(), TimeElapsedColumn(), console=console, transient=True
        )
        stack.enter_context(progress)
        task = progress.add_task("starting", total=len(plan))
        for turn in range(_WARM_UP_BURSTS):
            bench.run("ours", max(SIZES), rounds + turn)
            bench.run("merges", max(SIZES), rounds + turn)
        bench.run("textbook", 1, rounds)
        for variant, size, turn in plan:
            progress.update(task, description=f"{variant}, {size} at once")
            bursts.append(bench.run(variant, size, turn))
            progress.advance(task)
            if variant == "textbook":
                sleep(_PAUSE_SECONDS)
    return bursts


def grouped(bursts: Sequence[Burst]) -> dict[tuple[int, str], list[Burst]]:
    """The bursts of each size and variant."""
    keys = sorted({(b.size, b.variant) for b in bursts})
    return {key: [b for b in bursts if (b.size, b.variant) == key] for key in keys}


def ratios(bursts: Sequence[Burst]) -> dict[tuple[int, str], float]:
    """Return how many times as long as the bare merges each variant takes, by size."""
    medians = {key: median(b.seconds for b in group) for key, group in grouped(bursts).items()}
    return {
        (size, v): seconds / medians[size, "merges"]
        for (size, v), seconds in medians.items()
        if v != "merges"
    }


def table(bursts: Sequence[Burst]) -> Table:
    """Medians, with the least and the most where they differ; `ratio` is to the bare merges."""
    result = Table(
        box=None, pad_edge=False, title="Completions of one game date, all arriving at once"
    )
    result.add_column("at once", no_wrap=True)
    result.add_column("variant", no_wrap=True)
    for column in ("ms", "registered", "raised", "triggers", "calls each", "ratio"):
        result.add_column(column, justify="right", no_wrap=True)
    ratio = ratios(bursts)
    for (size, variant), group in grouped(bursts).items():
        result.add_row(
            str(size),
            variant,
            _spread([round(b.seconds * 1000, 1) for b in group]),
            _spread([b.registered for b in group]),
            _spread([len(b.raised) for b in group]),
            _spread([b.triggers for b in group]),
            _spread([b.calls for b in group if b.calls]),
            f"{ratio[size, variant]:.1f}" if (size, variant) in ratio else "",
        )
    return result


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, middle, high = (
        f"{round(value, 2):g}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def main() -> int:
    """Measure, report, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.contention", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="repetitions (%(default)s)"
    )
    parser.add_argument(
        "--textbook-max", type=int, default=20, metavar="N", help="its largest burst (%(default)s)"
    )
    parser.add_argument(
        "--json", action="store_true", help="every burst as JSON instead of the table"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    console = Console(stderr=True)
    try:
        bursts = measure(options.rounds, options.textbook_max, console)
    except EmulatorError as error:
        console.print(str(error), markup=False, style="red", soft_wrap=True)
        return 2
    if options.json:
        report = msgspec.json.encode(
            {
                "over_merges": [(*key, ratio) for key, ratio in ratios(bursts).items()],
                "bursts": bursts,
            }
        )
        sys.stdout.write(msgspec.json.format(report).decode() + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 100).print(table(bursts))
    wrong = [
        f"ours, {b.size} at once: {finding}"
        for b in bursts
        if b.variant == "ours"
        for finding in b.wrong
    ]
    for line in wrong:
        console.print(line, markup=False, style="red", soft_wrap=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
