"""A delivery beside the bare writes: on the emulators, and with 100 ms added to each call.

- bare writes: what any orchestrator has to write, both at the same time: a row, and a merge into
  the document. It reads nothing, decides nothing and says nothing; it is the floor.
- ours: `Orchestrator.deliver`, whose commit waits for a read. Many at once are
  `benchmarks/contention.py`'s.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from time import sleep
from typing import Any

import msgspec

from benchmarks.measure import Bench, in_turns, summary
from orchestrator_resilience import CheckpointLogger, Completion, load_phase
from orchestrator_resilience.background import Background
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.sinks import json_lines
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import push_envelope
from tools.emulators import PROJECT, emulators

PACKAGES = ("google-cloud-bigquery", "google-cloud-firestore", "grpcio", "requests", "bqemulator")
_CALL_SECONDS = 0.1
_SECONDS = 60.0  # what an emulator may take on a busy machine
_PHASE = load_phase("phase2", BUNDLED_PHASES)
_DAY = "2026-02-09"

Deliver = Callable[[str, dict[str, Any]], None]


class _Slow:
    """A store each call of which takes longer, as over a distance."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def slowed(*args: Any, **kwargs: Any) -> Any:
            sleep(_CALL_SECONDS)
            return operation(*args, **kwargs)

        return slowed


def deliveries(rounds: int) -> list[Bench]:
    """Measure a delivery, on the emulators as they are and with slower calls."""
    found = []
    with _stores() as (documents, log):
        for words, slowly in (("", lambda store: store), (", 100 ms added to each call", _Slow)):
            variants = {
                "ours": _ours(slowly(documents), slowly(log)),
                "bare writes": _bare(slowly(documents), slowly(log)),
            }
            turns = {name: partial(_once, deliver) for name, deliver in variants.items()}
            for run in turns.values():
                run()  # the first call of each kind makes connections
            seconds = in_turns(turns, rounds)
            found.append(summary(f"A delivery{words}", "ms", "bare writes", seconds))
    return found


@contextmanager
def _stores() -> Iterator[tuple[FirestoreDocuments, BigQueryCompletionLog]]:
    with ExitStack() as stack:
        os.environ.update(stack.enter_context(emulators(["firestore", "bigquery"])))
        bigquery = BigQuery(PROJECT, emulated=True, seconds=_SECONDS)
        documents = FirestoreDocuments(PROJECT, seconds=_SECONDS)
        stack.callback(documents.close)
        stack.callback(bigquery.close)
        bigquery.client.create_dataset("nba_orchestration")
        log = BigQueryCompletionLog(bigquery, {_PHASE.name: _PHASE})
        log.setup()
        yield documents, log


def _once(deliver: Deliver) -> None:
    """Deliver a completion into a document that is new."""
    collection = f"bench_{os.urandom(6).hex()}"
    name = min(_PHASE.expected)
    deliver(collection, push_envelope(name, _DAY, datetime.now(UTC), message_id=collection))


def _ours(documents: Any, log: Any) -> Deliver:
    quiet = json_lines(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (as stdout is: until the end)

    def deliver(collection: str, event: dict[str, Any]) -> None:
        phase = msgspec.structs.replace(_PHASE, firestore_collection=collection)
        checkpoints = CheckpointLogger(phase, quiet, enabled=True)
        Orchestrator(phase, documents, log, checkpoints, append_seconds=_SECONDS).deliver(event)

    return deliver


def _bare(documents: Any, log: Any) -> Deliver:
    def deliver(collection: str, event: dict[str, Any]) -> None:
        completion, now = Completion.from_event(event, _PHASE), datetime.now(UTC)
        row = Background(lambda: log.append([completion_row(completion)], now=now))
        fields = registration_fields(read_progress({}, _PHASE), completion, now)
        documents.merge(DocumentRef(collection, _DAY), fields)
        row.answer(Deadline(_SECONDS))

    return deliver
