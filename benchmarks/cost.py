"""What a month costs on Google Cloud: a run, a page and a delivery, counted and priced.

    python -m benchmarks.cost

The phases are those of examples/phases_of_a_pipeline.toml, each with an outcome, a work and a runs
query of a table of its own. The prices are Google's list prices in US dollars for a region of the
first tier (for Firestore: of more than one region, which is the dearer kind), before and after what
is free each month. Not in it: what the pipeline costs anyway (its topic, its own jobs). Reading
logs is free.
"""

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from canary.notify.channel import Channels
from canary.page.board import BOARD_DATES, MONTH_DATES
from canary.run import overview, watch
from orchestrator_resilience import CheckpointLogger
from orchestrator_resilience.checkpoints import json_line
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase, load_phases
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope

DAYS, RUNS = 30, 30 * 24 * 4
_NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
_ROOT = Path(__file__).parents[1]
_EXAMPLE = _ROOT / "examples" / "phases_of_a_pipeline.toml"

# What is assumed: pages a day, deployments a month, and the share of the runs that see a problem.
PAGES, DEPLOYMENTS, TROUBLED = 50, 4, 0.1
# Of one processor and half a gibibyte, as deploy/ asks for: a run starts from nothing, a delivery
# does not.
_RUN_SECONDS, _PAGE_SECONDS, _DELIVERY_SECONDS, _GIBIBYTES = 3.0, 3.0, 0.3, 0.5
# BigQuery counts at least this much for each table of a query, and for each row that is streamed.
_LEAST_SCANNED, _LEAST_STREAMED = 10 * 1024**2, 1024
# The columns that the composed query reads of a row, in BigQuery's own sizes: texts of some 25
# letters, times, a date.
_ROW_READ = 6 * (2 + 25) + 2 * 8 + 8 + 1
# What the platform writes down: a request; of a run the beginning and end of the scheduler's
# attempt too.
_ENTRY, _ENTRIES_A_RUN = 1024, 3
# Slack's address, the heartbeat's and the phases file, which every new instance reads.
_SECRETS = 3
# Of a deployment: the minutes of its builds, its own and one a service, and the images that stay,
# with room to spare: all libraries have 24 MB packed.
_BUILD_MINUTES, _IMAGES, _IMAGE_GIGABYTES, _KEPT_DEPLOYMENTS = 20, 3, 0.1, 10
# A condition is evaluated twice a minute, on one time series; a log-based metric has a point a
# minute for each kind of checkpoint and phase, and for each outcome of a run, at most.
_EVALUATIONS, _POINTS, _POINT_BYTES, _KINDS, _OUTCOMES = DAYS * 24 * 120, DAYS * 24 * 60, 8, 9, 4


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` of a unit cost in dollars, and how many of them are free each month."""

    dollars: float
    per: float
    free: float


# Read in November 2026 in stored copies of these pages, whose own dates are older. Of alert
# policies only a quotation could be read, in another project's code; an older copy has 1.50 a
# condition.
PRICES = {
    # cloud.google.com/run/pricing
    "Cloud Run, vCPU seconds": Price(0.000024, 1, 180_000),
    "Cloud Run, GiB seconds": Price(0.0000025, 1, 360_000),
    "Cloud Run, requests": Price(0.40, 1e6, 2e6),
    # cloud.google.com/firestore/pricing
    "Firestore, reads": Price(0.06, 1e5, 50_000 * DAYS),
    "Firestore, writes": Price(0.18, 1e5, 20_000 * DAYS),
    # cloud.google.com/bigquery/pricing
    "BigQuery, bytes scanned": Price(6.25, 1024**4, 1024**4),
    "BigQuery, bytes streamed": Price(0.01, 200 * 1024**2, 0),
    # cloud.google.com/products/observability/pricing; what is kept for 30 days costs nothing more
    "Logging, bytes": Price(0.50, 1024**3, 50 * 1024**3),
    "Monitoring, bytes": Price(0.2580, 1024**2, 150 * 1024**2),
    "Monitoring, conditions": Price(0.10, 1, 0),
    "Monitoring, time series returned": Price(0.35, 1e6, 0),
    # cloud.google.com/pubsub/pricing, cloud.google.com/scheduler/pricing
    "Pub/Sub, bytes": Price(40, 1024**4, 10 * 1024**3),
    "Scheduler, jobs": Price(0.10, 1, 3),
    # cloud.google.com/secret-manager/pricing
    "Secrets, versions": Price(0.06, 1, 6),
    "Secrets, accesses": Price(0.03, 1e4, 1e4),
    # cloud.google.com/build/pricing, cloud.google.com/artifact-registry/pricing
    "Builds, minutes": Price(0.006, 1, 2_500),
    "Images, gigabytes": Price(0.10, 1, 0.5),
}


_QUERY = "SELECT game_date, n FROM {} WHERE game_date BETWEEN @since AND @until"
# A table that such a query reads.
_TABLE = re.compile(r"(?:FROM|JOIN)\s+([\w.`-]+)", re.IGNORECASE)


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
                    self._used["tables"] += 1
                case "count" | "runs":
                    self._used["tables"] += len(set(_TABLE.findall(args[0])))
                case _:
                    raise AttributeError(name)
            return operation(*args, **how)

        return counted


class _Counts:
    """Answers the phases' own queries: there is work, and output."""

    def count(self, query: str, since: date, until: date) -> dict[date, int]:  # noqa: ARG002 (as the protocol has it)
        return {since + timedelta(days=n): 1 for n in range((until - since).days + 1)}

    def runs(self, query: str, since: date, until: date) -> list[Any]:  # noqa: ARG002 (as above)
        return []


def phases_of(count: int) -> dict[str, Phase]:
    """Return so many phases: those of the example, repeated, over one table of all rows."""
    example = list(load_phases(_EXAMPLE).values())
    return {
        (name := f"{phase.name}_{number}"): msgspec.structs.replace(
            phase,
            name=name,
            firestore_collection=f"{name}_completion",
            outcome_query=_QUERY.format(f"{name}.output"),
            work_query=_QUERY.format(f"{name}.schedule"),
            runs_query=_QUERY.format(f"{name}.runs"),
        )
        for number, phase in zip(range(count), cycle(example), strict=False)
    }


def a_date(stores: EmbeddedStores, phase: Phase, at: datetime) -> Counter[str]:
    """Deliver what completes the date of `at`, and return what a delivery used."""
    used: Counter[str] = Counter()
    sink, names = RecordingSink(), sorted(phase.expected)
    documents: Any = _Counting(stores.documents, used)
    log: Any = _Counting(stores.completion_log, used)
    orchestrator = Orchestrator(
        phase, documents, log, CheckpointLogger(phase, sink), clock=lambda: at
    )
    for name in names:
        own = {"message_id": f"{phase.name}-{at}-{name}", "phase": phase.message_phase}
        orchestrator.deliver(push_envelope(name, str(at.date()), at, **own))
    used["Logging, bytes"] = sum(len(json_line(one).encode()) + 1 for one in sink.checkpoints)
    return Counter({unit: round(number / len(names)) for unit, number in used.items()})


def recent_dates(stores: EmbeddedStores, phases: Mapping[str, Phase]) -> Counter[str]:
    """Deliver what completes the dates that the page shows, and return what a delivery used."""
    used: Counter[str] = Counter()
    for phase in phases.values():
        for days in range(MONTH_DATES):
            used = a_date(stores, phase, _NOW - timedelta(days=days, hours=6))
    return used


def leave_stuck(stores: EmbeddedStores, phase: Phase) -> None:
    """Take the flag of the newest date away, as if it had never been set."""
    ref = DocumentRef(phase.firestore_collection, str(_NOW.date()))
    document = stores.documents.get_all([ref])[ref]
    fields = {
        name: value for name, value in document.fields.items() if not name.startswith("_trigger")
    }
    stores.documents.commit([(ref, fields, document.version)])


def a_run(stores: EmbeddedStores, phases: Mapping[str, Phase]) -> Counter[str]:
    """Run the canary, and return what it used."""
    used: Counter[str] = Counter()
    counted: Any = _Stores(stores, used)
    report = watch(counted, phases, Channels(), _NOW)
    assert not any(verdict.unreadable for verdict in report.verdicts)
    used["problems"] = sum(verdict.kind.is_problem for verdict in report.verdicts)
    used["Logging, bytes"] = len(msgspec.json.encode(report.run_line()))
    return used


def a_page(stores: EmbeddedStores, phases: Mapping[str, Phase]) -> Counter[str]:
    """Read what the page shows, and return what that used."""
    used: Counter[str] = Counter()
    counted: Any = _Stores(stores, used)
    overview(counted, phases, _NOW, MONTH_DATES, explained=BOARD_DATES)
    return used


class _Stores:
    """The stores of a run, which count."""

    message_logs = flag_tables = requests = service_errors = changes = dead_letters = None

    def __init__(self, stores: EmbeddedStores, used: Counter[str]) -> None:
        self.documents, self.completion_log = (
            _Counting(stores.documents, used),
            _Counting(stores.completion_log, used),
        )
        self.checkpoints, self.counts = stores.checkpoints, _Counting(_Counts(), used)


def conditions() -> list[str]:
    """Return the kind of each condition of the alert policies, such as conditionThreshold."""
    files = (_ROOT / "deploy" / "monitoring" / "policies").glob("*.json")
    policies = [json.loads(file.read_text("utf-8"))["conditions"] for file in files]
    return [kind for own in policies for one in own for kind in one if kind.startswith("condition")]


def a_month(phases: int, deliveries: int) -> dict[str, float]:
    """Return what a month of so many phases, and deliveries a day in all, uses."""
    own = phases_of(phases)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedStores(Path(folder), durable=False) as stores,
    ):
        delivery = recent_dates(stores, own)
        a_run(stores, own)  # the first one writes that there is nothing open
        healthy, page = a_run(stores, own), a_page(stores, own)
        leave_stuck(stores, next(iter(own.values())))
        a_run(stores, own)  # nor is the next one like the others: it notifies
        stuck = a_run(stores, own)
    return month_of(healthy, stuck, page, delivery, phases=phases, deliveries=deliveries)


def month_of(
    healthy: Counter[str],
    stuck: Counter[str],
    page: Counter[str],
    delivery: Counter[str],
    *,
    phases: int,
    deliveries: int,
) -> dict[str, float]:
    """Return what a month uses, from what one run, one page and one delivery used.

    The runs are a healthy one and one with a problem.
    """
    pages, delivered = PAGES * DAYS, deliveries * DAYS
    used: defaultdict[str, float] = defaultdict(float)
    for counter, times in (
        (healthy, RUNS * (1 - TROUBLED)),
        (stuck, RUNS * TROUBLED),
        (page, pages),
        (delivery, delivered),
    ):
        for unit, number in counter.items():
            used[unit] += number * times
    rows_in_the_window = deliveries * DAYS
    scanned = max(_LEAST_SCANNED, rows_in_the_window * _ROW_READ)
    seconds = RUNS * _RUN_SECONDS + pages * _PAGE_SECONDS + delivered * _DELIVERY_SECONDS
    series = _KINDS * phases + _OUTCOMES
    thresholds = conditions().count("conditionThreshold")
    month = {
        "Cloud Run, vCPU seconds": seconds,
        "Cloud Run, GiB seconds": seconds * _GIBIBYTES,
        "Cloud Run, requests": RUNS + pages + delivered,
        "BigQuery, bytes scanned": used["tables"] * scanned,
        "BigQuery, bytes streamed": used["rows"] * _LEAST_STREAMED,
        "Logging, bytes": used["Logging, bytes"]
        + (RUNS * _ENTRIES_A_RUN + pages + delivered) * _ENTRY,
        "Monitoring, bytes": series * _POINTS * _POINT_BYTES,
        "Monitoring, conditions": len(conditions()),
        "Monitoring, time series returned": thresholds * _EVALUATIONS,
        # one subscription more; it counts a KiB for each message at least
        "Pub/Sub, bytes": delivered * 1024,
        "Scheduler, jobs": 1,
        # each with another phases file, and none destroyed
        "Secrets, versions": _SECRETS + DEPLOYMENTS,
        "Secrets, accesses": RUNS * _SECRETS,
        "Builds, minutes": DEPLOYMENTS * _BUILD_MINUTES,
        "Images, gigabytes": _KEPT_DEPLOYMENTS * _IMAGES * _IMAGE_GIGABYTES,
    }
    return {unit: month.get(unit, used[unit]) for unit in PRICES}


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
    """Print what three phases use, and what each number of phases costs."""
    console = Console(width=140)
    console.print(f"The three phases of the example, 15 deliveries a day, {RUNS:,} runs a month:")
    for unit, amount in a_month(3, 15).items():
        price = PRICES[unit]
        listed, paid = (
            max(amount - free, 0) / price.per * price.dollars for free in (0, price.free)
        )
        console.print(f"  {unit:34} {amount:>18,.1f}  {listed:8.3f}  {paid:8.3f}")
    console.print(
        table([(phases, deliveries) for phases in (1, 3, 30) for deliveries in (5 * phases, 1_000)])
    )


if __name__ == "__main__":
    main()
