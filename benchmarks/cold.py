"""What starting from nothing costs: imports, `canary check`, and the functions.

Everything runs in an environment of the pinned requirements alone, made for this: the development
environment has libraries that Google's clients import as soon as they are there.

- bare reads: a batch read from Firestore and a query to BigQuery at the same time with Google's
  clients, of the same documents and with the same query, and nothing said of them; the floor of
  `canary check`.
- whose modules: what `python -X importtime` says of those that the canary's function imports
  where Google's clients already are, in its process and of each by itself.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks.measure import Bench, Used, process, summary, turns
from orchestrator_resilience import Completion, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import (
    Progress,
    document_id,
    read_progress,
    registration_fields,
    trigger_fields,
)
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.table_sql import completions_sql
from orchestrator_resilience.testing import push_envelope
from tools.emulators import PROJECT, emulators

ROOT = Path(__file__).parents[1]
_PHASE = load_phase("phase2", BUNDLED_PHASES)
_FLOOR, _CANARY = "Google's clients and functions-framework", "the canary's function"
_IMPORTS = {
    "nothing: Python itself": "",
    "checkpoint logging": "import orchestrator_resilience",
    _FLOOR: "import functions_framework; from google.cloud import bigquery, firestore",
    "the orchestrator's function": (
        "import orchestrator_resilience.function, orchestrator_resilience.stores.cloud"
    ),
    _CANARY: "import canary.function, orchestrator_resilience.stores.cloud",
}
# The first that a module's name begins with.
_WHOSE = {
    "canary.domain": "the canary's domain",
    "canary": "the rest of the canary",
    "orchestrator_resilience.stores": "the library's stores",
    "orchestrator_resilience": "the rest of the library",
    "msgspec": "msgspec",
    "": "Python's own",
}
_ALL = "all of them"
_ROWS = [*_WHOSE.values(), _ALL]


def cold(rounds: int) -> list[Bench]:
    """Measure imports, and `canary check` beside the bare reads: wall and processor time."""
    with ExitStack() as stack:
        python = stack.enter_context(_environment())
        bare = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }
        whose = [_by_whose(python, bare) for _ in range(rounds)]
        imports = _turns(
            {name: [python, "-c", code] for name, code in _IMPORTS.items()}, bare, rounds
        )
        here = {**bare, **stack.enter_context(emulators(["firestore", "bigquery"]))}
        dates = _PHASE.recent_dates(datetime.now(UTC), _PHASE.history_dates)
        here["QUERY"] = _fill(here, dates)
        floor, ours = "bare reads", "canary check"
        commands: dict[str, Sequence[str | Path]] = {
            ours: [python, "-m", "canary", "check"],
            floor: [python, "-m", "benchmarks.bare_reads", str(dates[0]), str(dates[-1])],
        }
        reads = _turns(commands, here, rounds)
    return [
        *_benches("Imports", _FLOOR, imports),
        summary(
            "Whose modules", "ms", _ALL, {name: [used[name] for used in whose] for name in _ROWS}
        ),
        *_benches("A cold canary check", floor, reads),
    ]


def _turns(
    commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str], rounds: int
) -> dict[str, list[Used]]:
    variants = {name: partial(process, command, environment) for name, command in commands.items()}
    for run in variants.values():
        run()  # the first one compiles
    return turns(variants, rounds)


def _benches(title: str, floor: str, found: Mapping[str, Sequence[Used]]) -> Iterator[Bench]:
    wall = {name: [one.wall for one in used] for name, used in found.items()}
    cpu = {name: [one.cpu for one in used] for name, used in found.items()}
    yield summary(title, "ms", floor, wall)
    yield summary(f"{title}, time of processors", "ms", floor, cpu)


def _by_whose(python: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds that modules beyond Google's clients take by themselves, by whose."""
    mark = "beyond"
    said = f"import sys; print({mark!r}, file=sys.stderr)"
    program = "; ".join([_IMPORTS[_FLOOR], said, _IMPORTS[_CANARY]])
    command = [str(python), "-X", "importtime", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds = dict.fromkeys(_ROWS, 0.0)
    lines = done.stderr.partition(f"{mark}\n")[2].splitlines()
    for _, itself, _, module in (re.split("[:|]", line) for line in lines):
        whose = next(name for start, name in _WHOSE.items() if module.strip().startswith(start))
        seconds[whose] += float(itself) / 1e6
        seconds[_ALL] += float(itself) / 1e6
    return seconds


@contextmanager
def _environment() -> Iterator[Path]:
    """Make an environment of what the functions and the command need, and yield its Python."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        lists = [
            f"--requirement={ROOT / name}" for name in ("requirements.txt", "requirements-cli.txt")
        ]
        install = [
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ]
        subprocess.run([python, *install, *lists], check=True)
        yield python


def _fill(environment: Mapping[str, str], dates: Sequence[date]) -> str:
    """Put healthy dates into the stores: five completions each, registered, and the flag.

    Returns the query for them.
    """
    os.environ.update(environment)
    bigquery, documents = BigQuery(PROJECT, emulated=True), FirestoreDocuments(PROJECT)
    bigquery.client.create_dataset("nba_orchestration")
    log = BigQueryCompletionLog(bigquery, {_PHASE.name: _PHASE})
    log.setup()
    at = datetime.now(UTC) - timedelta(hours=1)
    for day in dates:
        found = [
            Completion.from_event(
                push_envelope(name, str(day), at, message_id=f"{day}-{name}"), _PHASE
            )
            for name in sorted(_PHASE.expected)
        ]
        log.append([completion_row(one) for one in found], now=at)
        fields: dict[str, object] = {}
        for one in found:
            fields |= registration_fields(Progress(_PHASE.expected), one, at)
        fields |= trigger_fields(read_progress(fields, _PHASE), event_id="x", now=at)
        documents.merge(DocumentRef(_PHASE.firestore_collection, document_id(day)), fields)
    table = bigquery.describe(bigquery.full_name(_PHASE.bigquery_table))
    documents.close()
    bigquery.close()
    return completions_sql(table, [_PHASE.name])
