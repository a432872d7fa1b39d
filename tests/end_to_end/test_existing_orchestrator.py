"""examples/existing_orchestrator: a function of February 2026, and what its checkpoints lead to."""

import base64
import difflib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import firestore

from canary.domain.verdict import Verdict
from canary.run import check_dates
from orchestrator_resilience import Phase
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.stores.base import (
    CheckpointArchive,
    CompletionLog,
    CountSource,
    DocumentStore,
    FlagTables,
)
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.jsonl import JsonLinesArchive
from tests.tables import make_real_table
from tools.emulators import Server
from tools.functions import existing_function

EXAMPLE = Path(__file__).parents[2] / "examples" / "existing_orchestrator"
NAMES = (
    "BigDataBallPbpProcessor",
    "OddsApiGameLinesProcessor",
    "OddsApiPropsProcessor",
    "NbacGamebookProcessor",
    "NbacPlayerBoxscoreProcessor",
)
LAST = "p2_nbacom_boxscores"
HEALTHY = {"EXPECT_BDL": "false", "TRACKER_WRITES_DOCUMENT": "false"}


@dataclass(frozen=True)
class Stores:
    """The function's own Firestore and BigQuery, and its stdout."""

    documents: DocumentStore
    completion_log: CompletionLog
    checkpoints: CheckpointArchive
    counts: CountSource | None = None
    message_logs: None = None
    flag_tables: FlagTables | None = None
    requests: None = None
    dead_letters: None = None
    service_errors: None = None
    changes: None = None

    def close(self) -> None:
        """Leave what belongs to the fixtures open."""


@dataclass
class Function:
    """A running function, and the canary's view of it."""

    server: Server
    stores: Stores
    phase: Phase
    day: date
    sent: int = 0

    def deliver(self, *names: str, status: str = "success", day: str | None = None) -> list[int]:
        """Post an event for each; returns the statuses of the answers."""
        return [
            self._post({"processor_name": n, "game_date": day or str(self.day), "status": status})
            for n in names
        ]

    def _post(self, payload: dict[str, Any]) -> int:
        self.sent += 1
        message = {
            "data": base64.b64encode(json.dumps(payload).encode()).decode(),
            "messageId": str(self.sent),
            "publishTime": datetime.now(UTC).isoformat(),
        }
        event = {
            "specversion": "1.0",
            "id": str(self.sent),
            "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "source": "//pubsub.googleapis.com/projects/test/topics/nba-phase2-raw-complete",
            "data": {
                "message": message,
                "subscription": "projects/test/subscriptions/orchestrator",
            },
        }
        headers = {"Content-Type": "application/cloudevents+json"}
        return requests.post(
            f"http://{self.server.address}/", json.dumps(event), headers=headers, timeout=60
        ).status_code

    def lines(self) -> list[Checkpoint]:
        """Return the checkpoints of the date."""
        return list(
            self.stores.checkpoints.read({"phase2": [self.day]}, datetime.now(UTC)).checkpoints
        )

    def verdict(self) -> Verdict:
        """Let the canary judge the date, an hour from now."""
        now = datetime.now(UTC) + timedelta(hours=1)
        (verdict,) = check_dates(
            self.stores, {"phase2": self.phase}, now, {"phase2": [self.day]}
        ).verdicts
        return verdict


Serve = Callable[..., Any]


@pytest.fixture
def serve(cloud: str, dataset: BigQuery, phase: Phase) -> Iterator[Serve]:
    """Return what serves a version of the example, on tables as they really are."""
    make_real_table(dataset)
    documents = FirestoreDocuments(cloud)

    @contextmanager
    def serving(version: str, environment: dict[str, str]) -> Iterator[Function]:
        with existing_function({"K_REVISION": "existing-00001", **environment}, version) as running:
            log = BigQueryCompletionLog(dataset, {"phase2": phase})
            stores = Stores(documents, log, JsonLinesArchive(running.log))
            yield Function(running, stores, phase, phase.today(datetime.now(UTC)))

    yield serving
    documents.close()


def test_a_healthy_date(serve: Serve) -> None:
    """The flag is set, and the closing line says by whom and how."""
    with serve("after", HEALTHY) as function:
        assert function.deliver(*NAMES) == [200] * 5
        last = function.lines()[-1]
        assert (
            last.message
            == f"CHECKPOINT_TRIGGERED: 5/5 complete, _triggered is set ({LAST} {function.day})"
        )
        assert (last.fields["outcome"], last.fields["revision"]) == ("triggered", "existing-00001")
        verdict = function.verdict()
    assert (verdict.kind, verdict.causes) == ("TRIGGERED", ())


def test_the_short_circuit(serve: Serve) -> None:
    """The tracker's write ends the transaction early: complete, nothing missing, no flag."""
    with serve("after", {"EXPECT_BDL": "false"}) as function:
        assert function.deliver(*NAMES) == [200] * 5
        last = function.lines()[-1]
        assert last.message.startswith(
            "CHECKPOINT_POST_TRANSACTION: should_trigger=False triggered=False"
        )
        assert (last.severity, last.fields["missing"], last.fields["outcome"]) == (
            "ERROR",
            [],
            "stuck",
        )
        assert function.deliver(*NAMES, status="no_data") == [200] * 5
        assert function.deliver("p2_nbacom_schedule", status="failed") == [200]
        verdict = function.verdict()
    assert (verdict.kind, verdict.causes[0].kind) == ("UNTRIGGERED", "SHORT_CIRCUIT")
    assert verdict.causes[0].words == "the delivery found nothing missing: should_trigger=False"


@pytest.mark.parametrize(
    "environment", [{"TRACKER_WRITES_DOCUMENT": "false"}, {}], ids=["alone", "with the tracker"]
)
def test_the_drift(serve: Serve, environment: dict[str, str]) -> None:
    """It waits for a processor that was switched off, whatever else is wrong with it."""
    with serve("after", environment) as function:
        assert function.deliver(*NAMES) == [200] * 5
        last = function.lines()[-1]
        assert last.message == (
            f"CHECKPOINT_WAITING: missing=['p2_bdl_box_scores'] 5/6 complete ({LAST} "
            f"{function.day})"
        )
        verdict = function.verdict()
    assert (verdict.kind, verdict.causes[0].kind) == ("UNTRIGGERED", "EXPECTATION_DRIFT")
    assert verdict.causes[0].words == "waits for p2_bdl_box_scores"


def test_the_contention_that_is_swallowed(serve: Serve) -> None:
    """The error of a lost contention goes no further, but is in the checkpoint and in the alert."""

    @contextmanager
    def held(day: str) -> Iterator[None]:
        """Hold the document of a date in a transaction, as many others at once do."""
        client = firestore.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])
        transaction = client.transaction()
        transaction._begin()  # what the decorator does, without its end
        client.collection("phase2_completion").document(day).get(transaction=transaction)
        yield
        transaction._rollback()
        client.close()  # type: ignore[no-untyped-call]

    with serve("after", HEALTHY) as function:
        assert function.deliver(*NAMES[:4]) == [200] * 4
        with held(str(function.day)):
            assert function.deliver(NAMES[4]) == [200], (
                "acknowledged, so that it does not come again"
            )
        last = function.lines()[-1]
        assert last.message == (
            "CHECKPOINT_FAILED: ValueError: Failed to commit transaction in 5 attempts. "
            f"({LAST} {function.day})"
        )
        assert (last.fields["outcome"], last.fields["error_class"]) == ("failed", "ValueError")
        verdict = function.verdict()
    assert (verdict.kind, verdict.causes[0].kind) == ("UNTRIGGERED", "WRITE_FAILED")
    assert verdict.causes[0].words.endswith("Aborted: 409 Transaction lock timeout.")


def test_the_deadline(serve: Serve) -> None:
    """A flag that is set on purpose without everybody causes neither a WARNING nor an alert."""
    with serve("after", {**HEALTHY, "DEADLINE_MINUTES": "0"}) as function:
        assert function.deliver(NAMES[0]) == [200]
        last = function.lines()[-1]
        assert (last.severity, last.fields["outcome"]) == ("INFO", "partial")
        assert ": _triggered is set on purpose, deadline_exceeded (" in last.message
        verdict = function.verdict()
    assert verdict.kind == "TRIGGERED"
    assert verdict.summary.endswith(": deadline_exceeded")


def test_the_early_returns(serve: Serve) -> None:
    """What lacks a field is an ERROR; what completes nothing is not."""
    with serve("after", HEALTHY) as function:
        assert function.deliver("", NAMES[0], status="no_data") == [200] * 2
        rejected, ignored = (line for line in function.lines() if line.closes)
    assert (rejected.severity, rejected.text) == (
        "ERROR",
        f"message: no processor_name or no game_date ({function.day})",
    )
    assert (ignored.severity, ignored.text) == (
        "INFO",
        f"no_data completes nothing (p2_bigdataball_pbp {function.day})",
    )


def test_before_it_leaves_nothing(serve: Serve) -> None:
    """Its own lines are lost at INFO, and the canary says that nothing is proven."""
    with serve("before", {"EXPECT_BDL": "false"}) as function:
        assert function.deliver(*NAMES) == [200] * 5
        assert function.lines() == []
        verdict = function.verdict()
    assert (verdict.kind, verdict.causes[0].kind) == ("UNTRIGGERED", "UNDETERMINED")


def test_few_lines_are_changed() -> None:
    """Fewer than 10 in all, as the README says."""

    def changed_lines(name: str) -> int:
        """Count what is new, gone, or indented anew: a line that is changed counts twice."""
        before, after = (
            (EXAMPLE / version / name).read_text("utf-8").splitlines()
            for version in ("before", "after")
        )
        found = difflib.unified_diff(before, after, n=0, lineterm="")
        return sum(
            line.startswith(("+", "-")) and not line.startswith(("+++", "---")) for line in found
        )

    assert (changed_lines("main.py"), changed_lines("requirements.txt")) == (8, 1)
    assert "8 changed lines, and one of `requirements.txt`" in (EXAMPLE / "README.md").read_text(
        "utf-8"
    )
