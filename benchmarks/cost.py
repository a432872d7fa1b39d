"""What a month costs on Google Cloud, counted: a run and a delivery are done here, and what they ask for is priced.

    python -m benchmarks.cost

The prices are Google's list prices in US dollars for a region of the first tier (for Firestore: of more than one
region, which is the dearer kind), as they stood in 2025, before and after what is free each month. Not in it: what the
pipeline costs anyway (its topic, its own jobs), and alert policies, whose price is not settled.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from canary.notify.channel import Channels
from canary.run import watch
from orchestrator_resilience import CheckpointLogger, load_phase
from orchestrator_resilience.checkpoints import json_line
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope

DAYS, RUNS = 30, 30 * 24 * 4
_NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
_PHASE = load_phase("phase2", BUNDLED_PHASES)

# Of one processor and half a gibibyte, as deploy/ asks for: a run starts from nothing, a delivery does not.
_RUN_SECONDS, _DELIVERY_SECONDS, _GIBIBYTES = 3.0, 0.3, 0.5
# BigQuery counts at least this much for each table of a query, and for each row that is streamed.
_LEAST_SCANNED, _LEAST_STREAMED = 10 * 1024**2, 1024
# The columns that the composed query reads of a row, in BigQuery's own sizes: texts of some 25 letters, times, a date.
_ROW_READ = 6 * (2 + 25) + 2 * 8 + 8 + 1


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` of a unit cost in dollars, and how many of them are free each month."""

    dollars: float
    per: float
    free: float


PRICES = {
    "Cloud Run, vCPU seconds": Price(0.000024, 1, 180_000),
    "Cloud Run, GiB seconds": Price(0.0000025, 1, 360_000),
    "Cloud Run, requests": Price(0.40, 1e6, 2e6),
    "Firestore, reads": Price(0.06, 1e5, 50_000 * DAYS),
    "Firestore, writes": Price(0.18, 1e5, 20_000 * DAYS),
    "BigQuery, bytes scanned": Price(6.25, 1024**4, 1024**4),
    "BigQuery, bytes streamed": Price(0.01, 200 * 1024**2, 0),
    "Cloud Logging, bytes": Price(0.50, 1024**3, 50 * 1024**3),
    "Pub/Sub, bytes": Price(40, 1024**4, 10 * 1024**3),
    "Cloud Scheduler, jobs": Price(0.10, 1, 3),
}


class _Counting:
    """A store that counts what is asked of it in the units of the bill."""

    def __init__(self, store: Any, used: Counter[str]) -> None:
        self._store, self._used = store, used

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)

        def counted(*args: Any, **how: Any) -> Any:
            match name:
                case "get_all":
                    refs = [*args[0]]
                    self._used["Firestore, reads"] += len(refs)
                    return operation(refs)
                case "merge" | "update_if_unchanged":
                    self._used["Firestore, writes"] += 1
                case "commit":
                    self._used["Firestore, writes"] += len(args[0])
                case "append":
                    self._used["rows"] += len(args[0])
                case "summarise":
                    self._used["queries"] += 1
                case _:
                    raise AttributeError(name)
            return operation(*args, **how)

        return counted


def phases_of(count: int) -> dict[str, Phase]:
    """Return so many phases, each with documents of its own, and one table for all."""
    names = [f"phase{number}" for number in range(count)]
    return {
        name: msgspec.structs.replace(_PHASE, name=name, firestore_collection=f"{name}_completion") for name in names
    }


def a_date(stores: EmbeddedStores, phase: Phase, at: datetime) -> Counter[str]:
    """Deliver what completes the date of `at`, and return what a delivery used."""
    used: Counter[str] = Counter()
    sink, names = RecordingSink(), sorted(phase.expected)
    documents: Any = _Counting(stores.documents, used)
    log: Any = _Counting(stores.completion_log, used)
    orchestrator = Orchestrator(phase, documents, log, CheckpointLogger(phase, sink), clock=lambda: at)
    for name in names:
        orchestrator.deliver(push_envelope(name, str(at.date()), at, message_id=f"{phase.name}-{at}-{name}"))
    used["Cloud Logging, bytes"] = sum(len(json_line(one).encode()) + 1 for one in sink.checkpoints)
    return Counter({unit: round(number / len(names)) for unit, number in used.items()})


def recent_dates(stores: EmbeddedStores, phases: Mapping[str, Phase]) -> Counter[str]:
    """Deliver what completes the dates that a run looks at, and return what a delivery used."""
    used: Counter[str] = Counter()
    for phase in phases.values():
        for days in range(phase.history_dates):
            used = a_date(stores, phase, _NOW - timedelta(days=days, hours=6))
    return used


def a_run(stores: EmbeddedStores, phases: Mapping[str, Phase]) -> Counter[str]:
    """Run the canary over dates that are well, and return what it used."""
    used: Counter[str] = Counter()
    counted: Any = _Stores(stores, used)
    report = watch(counted, phases, Channels(), _NOW)
    assert all(verdict.kind.is_quiet for verdict in report.verdicts)
    used["Cloud Logging, bytes"] = len(msgspec.json.encode(report.run_line()))
    return used


class _Stores:
    """The stores of a run, which count."""

    counts = message_logs = flag_tables = requests = service_errors = changes = dead_letters = None

    def __init__(self, stores: EmbeddedStores, used: Counter[str]) -> None:
        self.documents, self.completion_log = _Counting(stores.documents, used), _Counting(stores.completion_log, used)
        self.checkpoints = stores.checkpoints


def a_month(phases: int, deliveries: int) -> Counter[str]:
    """Return what a month of so many phases, and deliveries a day in all, uses."""
    own = phases_of(phases)
    with tempfile.TemporaryDirectory() as folder, EmbeddedStores(Path(folder), durable=False) as stores:
        delivery = recent_dates(stores, own)
        a_run(stores, own)  # the first one makes the list of the open incidents
        run = a_run(stores, own)
    delivered = deliveries * DAYS
    rows_in_the_window = deliveries * _PHASE.history_dates
    used = Counter({unit: number * RUNS for unit, number in run.items() if unit in PRICES})
    used += Counter({unit: number * delivered for unit, number in delivery.items() if unit in PRICES})
    used["BigQuery, bytes scanned"] = run["queries"] * RUNS * max(_LEAST_SCANNED, rows_in_the_window * _ROW_READ)
    used["BigQuery, bytes streamed"] = delivery["rows"] * delivered * _LEAST_STREAMED
    seconds = RUNS * _RUN_SECONDS + delivered * _DELIVERY_SECONDS
    used["Cloud Run, vCPU seconds"] = round(seconds)
    used["Cloud Run, GiB seconds"] = round(seconds * _GIBIBYTES)
    used["Cloud Run, requests"] = RUNS + delivered
    used["Pub/Sub, bytes"] = delivered * 1024  # one subscription more; it counts a KiB for each message at least
    used["Cloud Scheduler, jobs"] = 1
    return used


def dollars(used: Mapping[str, float], *, free: bool) -> dict[str, float]:
    """Return what each service costs, with or without what is `free` each month."""
    cost: dict[str, float] = defaultdict(float)
    for unit, amount in used.items():
        price = PRICES[unit]
        paid = max(amount - price.free, 0) if free else amount
        cost[unit.partition(",")[0]] += paid / price.per * price.dollars
    return cost


def table(months: Iterable[tuple[int, int]]) -> Table:
    """Return the table of a month for each number of phases and of deliveries a day."""
    services = list(dict.fromkeys(unit.partition(",")[0] for unit in PRICES))
    result = Table(box=None, pad_edge=False, title="A month, US dollars", title_justify="left")
    for column in ("phases", "deliveries a day", *services, "list price", "after what is free"):
        result.add_column(column, justify="right")
    for phases, deliveries in months:
        used = a_month(phases, deliveries)
        listed, paid = dollars(used, free=False), dollars(used, free=True)
        cells = [f"{listed[service]:.2f}" for service in services]
        total = [f"{sum(one.values()):.2f}" for one in (listed, paid)]
        result.add_row(str(phases), f"{deliveries:,}", *cells, *total)
    return result


def main() -> None:
    """Print what one phase uses, and what each number of phases costs."""
    console = Console(width=120)
    used = a_month(1, 10)
    console.print(f"One phase, 10 deliveries a day, {RUNS:,} runs a month:")
    for unit, amount in used.items():
        console.print(f"  {unit:28} {amount:>16,.0f}")
    console.print(table([(phases, deliveries) for phases in (1, 3, 30) for deliveries in (10, 1_000)]))


if __name__ == "__main__":
    main()
