"""The whole path with real servers: Pub/Sub pushes, and the canary is called over HTTP."""

import base64
import itertools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import bigquery, firestore

from canary.domain.incident import NotificationKind
from canary.domain.remembered import canary_ref, month_ref, read_date
from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import read_progress
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.table_sql import REQUIRED_COLUMNS
from tests.proof.listener import OK, FakeWebhook, QuietHandler, fake_webhook, listening
from tests.topics import pushing_topic
from tools.emulators import EmulatorError, Server, free_port
from tools.functions import THREADS, canary_function, orchestrator_function

CLASS_NAMES = {
    "p2_bigdataball_pbp": "BigDataBallPbpProcessor",
    "p2_odds_game_lines": "OddsApiGameLinesBatchProcessor",
    "p2_odds_player_props": "OddsApiPropsBatchProcessor",
    "p2_nbacom_gamebook_pdf": "NbacGamebookProcessor",
    "p2_nbacom_boxscores": "NbacPlayerBoxscoreProcessor",
}
QUERIES = """
outcome_query = '''
SELECT game_date, n FROM nba_orchestration.output
WHERE game_date BETWEEN @since AND @until'''
work_query = '''
SELECT game_date, n FROM nba_orchestration.games
WHERE game_date BETWEEN @since AND @until'''
bigquery_carries_flag = false"""


def eventually(condition: Callable[[], bool], complaint: str, seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, complaint
        time.sleep(0.05)


@dataclass
class Pipeline:
    """Both functions, a topic that pushes to the orchestrator, and direct access to the stores."""

    phase: Phase
    today: date
    bigquery: BigQuery
    documents: FirestoreDocuments
    publish: Callable[..., None]
    orchestrator: Server
    canary: Server
    slack: FakeWebhook

    def checkpoints(self) -> list[dict[str, Any]]:
        """Return what the orchestrator's process has left on stdout."""
        lines = self.orchestrator.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def kinds(self) -> list[str]:
        """Return the checkpoints' kinds."""
        return [line["checkpoint"].removeprefix("CHECKPOINT_") for line in self.checkpoints()]

    def run_canary(self) -> tuple[int, dict[str, Any]]:
        """Return the answer to `POST /`."""
        answer = requests.post(f"http://{self.canary.address}/", timeout=70)
        assert answer.headers["Content-Type"] == "application/json", self.canary.log.read_text()[
            -3000:
        ]
        return answer.status_code, answer.json()

    def verdict(self, day: date) -> dict[str, Any]:
        """Return the canary's verdict of one date."""
        status, answer = self.run_canary()
        assert status == 200, answer["reason"]
        (found,) = (v for v in answer["verdicts"] if v["game_date"] == str(day))
        return dict(found)


@pytest.fixture
def pipeline(cloud: str, dataset: BigQuery, phase: Phase, tmp_path: Path) -> Iterator[Pipeline]:
    (tmp_path / "phases.toml").write_text(
        BUNDLED_PHASES.read_text("utf-8").replace("bigquery_carries_flag = false", QUERIES), "utf-8"
    )
    client = dataset.client
    today = phase.today(datetime.now(UTC))
    for table in ("output", "games"):
        schema = [bigquery.SchemaField("game_date", "DATE"), bigquery.SchemaField("n", "INTEGER")]
        client.create_table(bigquery.Table(f"{cloud}.nba_orchestration.{table}", schema=schema))
    client.insert_rows_json(f"{cloud}.nba_orchestration.games", [{"game_date": str(today), "n": 9}])
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    environment = {
        **{
            name: os.environ[name] for name in ("FIRESTORE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
        },
        "GOOGLE_CLOUD_PROJECT": cloud,
        "PHASES_FILE": str(tmp_path / "phases.toml"),
        "K_SERVICE": "under-test",
    }
    documents = FirestoreDocuments(cloud)
    with (
        fake_webhook("/services/T0/B0/secret") as slack,
        orchestrator_function(environment) as orchestrator,
        canary_function({**environment, "SLACK_WEBHOOK_URL": slack.url}) as canary,
        pushing_topic(cloud, f"http://{orchestrator.address}/") as publish,
    ):
        yield Pipeline(phase, today, dataset, documents, publish, orchestrator, canary, slack)
    documents.close()


def test_a_healthy_date(pipeline: Pipeline) -> None:
    """Five messages are pushed: document, rows, checkpoints and the canary's answer agree."""
    for name in CLASS_NAMES.values():
        pipeline.publish(processor_name=name, game_date=str(pipeline.today))
    pipeline.publish(processor_name="p2_nbacom_schedule", game_date=str(pipeline.today))
    pipeline.publish(processor_name=7)
    eventually(
        lambda: (
            pipeline.kinds().count("RECEIVED") == 6
            and {"TRIGGERED", "REJECTED", "UNEXPECTED"} <= {*pipeline.kinds()}
        ),
        "the messages did not get through",
    )
    ref = DocumentRef("phase2_completion", str(pipeline.today))
    fields = pipeline.documents.get_all([ref])[ref].fields
    assert sorted(key for key in fields if not key.startswith("_")) == sorted(CLASS_NAMES)
    assert (fields["_triggered"], fields["_completed_count"]) == (True, 5)
    progress = read_progress(fields, pipeline.phase)
    assert progress.trigger is not None
    assert progress.trigger.event_id in {entry.event_id for entry in progress.registered.values()}

    rows = pipeline.bigquery.query(
        "SELECT processor_name, status, event_id, is_triggered, JSON_VALUE(metadata, "
        "'$.raw_processor') AS raw "
        "FROM nba_orchestration.phase_completions WHERE game_date IS NOT NULL",
        [],
    )
    # Another reader counts DISTINCT processor_name: nobody else is there, and the flag row is one
    # of them.
    assert {(row["processor_name"], row["raw"], row["status"]) for row in rows} == {
        (*name, "success") for name in CLASS_NAMES.items()
    }
    assert fields["_unexpected"].keys() == {"p2_nbacom_schedule"}
    (flag,) = (row for row in rows if row["is_triggered"])
    assert (flag["event_id"], progress.registered[flag["processor_name"]].event_id) == (
        progress.trigger.event_id,
    ) * 2

    checkpoints = pipeline.checkpoints()
    assert {line["phase"] for line in checkpoints} == {"phase2"}
    assert [
        line["field"] for line in checkpoints if line["checkpoint"] == "CHECKPOINT_REJECTED"
    ] == ["processor_name"]
    closed = {line["delivery"] for line in checkpoints if line["closes"]}
    assert closed == {line["delivery"] for line in checkpoints}
    assert pipeline.verdict(pipeline.today)["kind"] == "TRIGGERED"


def test_a_push_that_can_never_be_parsed(pipeline: Pipeline) -> None:
    """It is rejected and acknowledged, and keeps the attempt that Pub/Sub counts."""
    message = {
        "messageId": "7",
        "publishTime": datetime.now(UTC).isoformat(),
        "attributes": {"a": "b"},
    }
    push = {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 3}
    address = f"http://{pipeline.orchestrator.address}/"
    answers = [
        requests.post(address, data=body, timeout=20).status_code
        for body in (json.dumps(push), "{")
    ]
    assert [*answers, requests.get(address, timeout=20).status_code] == [204, 204, 405]
    eventually(lambda: pipeline.kinds().count("REJECTED") == 2, "the messages were not rejected")
    rejected = [
        line for line in pipeline.checkpoints() if line["checkpoint"] == "CHECKPOINT_REJECTED"
    ]
    assert [line.get("event_id") for line in rejected] == ["7", None]
    data = base64.b64encode(
        b'{"processor_name": "p2_odds_game_lines", "game_date": "2026-02-09", "status": "success"}'
    )
    push["message"] = {**message, "data": data.decode()}
    assert requests.post(address, json=push, timeout=20).status_code == 204
    assert [
        line["delivery_attempt"] for line in pipeline.checkpoints() if line.get("delivery_attempt")
    ][-1] == 3


def test_the_plans_query(pipeline: Pipeline) -> None:
    """It runs literally as the plan has it, and returns the flag."""
    plans_query = (
        "SELECT game_date, phase, is_triggered, trigger_reason "
        "FROM nba_orchestration.phase_completions "
        "WHERE game_date >= CURRENT_DATE() - 3 AND phase = 'phase2' ORDER BY game_date DESC"
    )
    for name in CLASS_NAMES.values():
        pipeline.publish(processor_name=name, game_date=str(pipeline.today))
    eventually(lambda: "TRIGGERED" in pipeline.kinds(), "the messages did not get through")
    rows = [tuple(row.values()) for row in pipeline.bigquery.query(plans_query, [])]
    assert (pipeline.today, "phase2", True, "all_complete") in rows
    assert len(rows) == 6


def leave_untriggered(pipeline: Pipeline, done: datetime) -> None:
    """Leave today as the old code did: all five in the document and in the table, and no flag."""
    client = firestore.Client(project=pipeline.bigquery.project)
    document = client.collection("phase2_completion").document(str(pipeline.today))
    document.set({name: {"completed_at": done, "status": "success"} for name in CLASS_NAMES})
    client.close()  # type: ignore[no-untyped-call]
    old = [
        {
            "phase": "phase2",
            "game_date": str(pipeline.today),
            "processor_name": class_name,
            "status": "success",
            "completed_at": done.isoformat(),
            "inserted_at": done.isoformat(),
        }
        for class_name in CLASS_NAMES.values()
    ]
    table = f"{pipeline.bigquery.project}.nba_orchestration.phase_completions"
    assert pipeline.bigquery.client.insert_rows_json(table, old) == []


def test_the_incident(pipeline: Pipeline) -> None:
    """The canary says what the old code left 40 minutes ago, since when, and its impact."""
    done = datetime.now(UTC) - timedelta(minutes=40)
    leave_untriggered(pipeline, done)
    verdict = pipeline.verdict(pipeline.today)
    assert (verdict["kind"], verdict["impact"]) == ("UNTRIGGERED", "UNKNOWN")
    assert (
        verdict["summary"] == "all 5 processors completed 40 min ago, `_triggered` is still unset"
    )
    output = [{"game_date": str(pipeline.today), "n": 363}]
    pipeline.bigquery.client.insert_rows_json(
        f"{pipeline.bigquery.project}.nba_orchestration.output", output
    )
    assert pipeline.verdict(pipeline.today)["impact"] == "NONE"

    pipeline.publish(processor_name="NbacGamebookProcessor", game_date=str(pipeline.today))
    eventually(lambda: "TRIGGERED" in pipeline.kinds(), "the re-run did not get through")
    assert pipeline.verdict(pipeline.today)["kind"] == "TRIGGERED"
    ref = month_ref("under-test", "phase2", f"{pipeline.today:%Y-%m}")  # a quarter of an hour later
    kept = json.loads(pipeline.documents.get_all([ref])[ref].fields[str(pipeline.today)])
    kept["incidents"][0]["quiet_since"] = done.isoformat()
    pipeline.documents.merge(ref, {str(pipeline.today): json.dumps(kept)})
    assert pipeline.verdict(pipeline.today)["kind"] == "TRIGGERED"
    lines = [
        json.loads(x) for x in pipeline.canary.log.read_text().splitlines() if x.startswith("{")
    ]
    alerts = [line for line in lines if "canary_alert" in line]
    assert [(a["canary_alert"], a["severity"], a["verdict"]) for a in alerts] == [
        ("OPENED", "ERROR", "UNTRIGGERED"),
        ("RESOLVED", "NOTICE", "TRIGGERED"),
    ]
    assert "all 5 processors completed 40 min ago" in alerts[0]["message"]
    runs = [line for line in lines if line.get("run") == "CANARY_RUN"]
    assert [line["severity"] for line in runs] == ["INFO"] * 4
    assert f"phase2 {pipeline.today} UNTRIGGERED" in runs[0]["message"]
    assert len(pipeline.slack.accepted) == 2
    assert all("nba-phase3-analytics-sub" in json.dumps(post) for post in pipeline.slack.accepted)
    assert "all 5 processors completed 40 min ago" in json.dumps(pipeline.slack.accepted[0])
    assert "no longer UNTRIGGERED" in json.dumps(pipeline.slack.accepted[1])


def test_pages_are_open_while_runs_go_on(pipeline: Pipeline) -> None:
    """In one process with a thread each, both are answered, and people are notified once."""
    leave_untriggered(pipeline, datetime.now(UTC) - timedelta(minutes=40))
    paths = itertools.cycle(["/", f"/dates/{pipeline.today}", "/status"])
    are_over = threading.Event()

    def look() -> Iterator[tuple[int, bool]]:
        while not are_over.is_set():
            answer = requests.get(f"http://{pipeline.canary.address}{next(paths)}", timeout=70)
            yield answer.status_code, "UNTRIGGERED" in answer.text

    with ThreadPoolExecutor(THREADS) as threads:
        looking = [threads.submit(lambda: [*look()]) for _ in range(THREADS - 1)]
        runs = [pipeline.run_canary() for _ in range(3)]
        are_over.set()
        seen = [answer for one in looking for answer in one.result()]
    assert [(status, run["outcome"], run["reason"]) for status, run in runs] == [
        (200, "PROBLEM", "")
    ] * 3
    assert len(seen) >= THREADS - 1
    assert {*seen} == {(200, True)}
    lines = [json.loads(line) for line in pipeline.canary.log.read_text().splitlines()]
    assert [line["canary_alert"] for line in lines if "canary_alert" in line] == ["OPENED"]
    assert len(pipeline.slack.posts) == 1
    ref = month_ref("under-test", "phase2", f"{pipeline.today:%Y-%m}")
    memory = read_date(pipeline.documents.get_all([ref])[ref], pipeline.today, datetime.now(UTC))
    assert memory.open is not None
    heard = {name: (one.sent, one.heard, one.run) for name, one in memory.open.receipts.items()}
    assert heard == dict.fromkeys(["log", "slack"], (NotificationKind.OPENED, True, ""))


def test_a_webhook_that_is_revoked(pipeline: Pipeline) -> None:
    """The log entry notifies people once, and says once that Slack refuses, without its address."""
    pipeline.documents.merge(
        DocumentRef("phase2_completion", str(pipeline.today)), {"_triggered": True}
    )
    pipeline.slack.script = [(404, {}, "no_service")]
    for _ in range(2):
        status, answer = pipeline.run_canary()
        assert (status, answer["outcome"]) == (200, "PROBLEM")
        assert answer["channels_failed"] == {"slack": "Slack answered 404 no_service"}
        assert "secret" not in json.dumps(answer)
    lines = [
        json.loads(line)
        for line in pipeline.canary.log.read_text().splitlines()
        if line.startswith("{")
    ]
    assert [line["canary_alert"] for line in lines if "canary_alert" in line] == ["OPENED"]
    assert [line["canary_channel"] for line in lines if "canary_channel" in line] == ["REFUSED"]
    assert [line["severity"] for line in lines if "run" in line] == ["WARNING"] * 2
    assert len(pipeline.slack.posts) == 1
    assert "secret" not in pipeline.canary.log.read_text()
    own = canary_ref("under-test")
    refused = pipeline.documents.get_all([own])[own].fields["refusals"]["slack"]
    pipeline.slack.script = [OK]
    pipeline.documents.merge(own, {"refusals": {"slack": {**refused, "address": "another"}}})
    for _ in range(2):
        assert "channels_failed" not in pipeline.run_canary()[1]
    assert [post["text"].startswith("▲ ERROR · ") for post in pipeline.slack.accepted] == [True]


def test_firestore_is_out_of_reach_and_bigquery_has_the_flag(
    cloud: str, dataset: BigQuery, tmp_path: Path
) -> None:
    """40 minutes after the fifth completion people are notified once, without memory."""
    phases = BUNDLED_PHASES.read_text("utf-8").replace(
        "bigquery_carries_flag = false", "bigquery_carries_flag = true"
    )
    (tmp_path / "phases.toml").write_text(phases, "utf-8")
    BigQueryCompletionLog(dataset, {"phase2": _bundled()}).setup()
    now = datetime.now(UTC)
    row = {
        "phase": "phase2",
        "game_date": str(_bundled().today(now)),
        "status": "success",
        "is_triggered": False,
    }
    times = dict.fromkeys(
        ["completed_at", "inserted_at"], (now - timedelta(minutes=40)).isoformat()
    )
    rows = [{**row, **times, "processor_name": name} for name in CLASS_NAMES.values()]
    assert (
        dataset.client.insert_rows_json(f"{cloud}.nba_orchestration.phase_completions", rows) == []
    )
    environment = {
        "BIGQUERY_EMULATOR_HOST": os.environ["BIGQUERY_EMULATOR_HOST"],
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{free_port()}",
        "GOOGLE_CLOUD_PROJECT": cloud,
        "PHASES_FILE": str(tmp_path / "phases.toml"),
        "K_SERVICE": "under-test",
    }
    with canary_function(environment) as canary:
        answers = [requests.post(f"http://{canary.address}/", timeout=90).json() for _ in range(2)]
        lines = [
            json.loads(line) for line in canary.log.read_text().splitlines() if line.startswith("{")
        ]
    own = [next(v for v in a["verdicts"] if v["game_date"] == row["game_date"]) for a in answers]
    assert [(one["kind"], "untold" in a) for one, a in zip(own, answers, strict=True)] == [
        ("UNTRIGGERED", False)
    ] * 2
    assert not any("in the progress document" in note for note in own[0]["notes"])
    (alert,) = (line["message"] for line in lines if line.get("game_date") == row["game_date"])
    assert "all 5 processors completed 40 min ago" in alert
    assert (
        "\nNote:     sent without memory, once in 4 hours, and not when it is over: Firestore: "
        in alert
    )


def test_a_message_that_fails_once_is_stored_once(pipeline: Pipeline) -> None:
    """BigQuery refuses, the function answers 500, Pub/Sub sends again, each row is there once."""
    client = pipeline.bigquery.client
    table = f"{pipeline.bigquery.project}.nba_orchestration.phase_completions"
    schema = client.get_table(table).schema
    client.delete_table(table)
    pipeline.publish(processor_name="NbacGamebookProcessor", game_date=str(pipeline.today))
    eventually(lambda: "FAILED" in pipeline.kinds(), "the failure was not told")
    failed = next(
        line for line in pipeline.checkpoints() if line["checkpoint"] == "CHECKPOINT_FAILED"
    )
    assert failed["steps"] == ["append_completion"]
    assert "NotFound" in failed["causes"][0]
    remade = bigquery.Table(table, schema=schema)
    client.create_table(remade)

    def stored() -> list[Mapping[str, Any]]:
        return pipeline.bigquery.query(
            f"SELECT DISTINCT processor_name, event_id FROM `{table}`",  # noqa: S608 (as above)
            [],
        )

    eventually(lambda: len(stored()) == 1, "the redelivery did not get through")
    ref = DocumentRef("phase2_completion", str(pipeline.today))
    registered = read_progress(
        pipeline.documents.get_all([ref])[ref].fields, pipeline.phase
    ).registered
    assert [(name, entry.event_id) for name, entry in registered.items()] == [
        (row["processor_name"], row["event_id"]) for row in stored()
    ]


def test_what_else_the_canary_answers(pipeline: Pipeline) -> None:
    """GET /status is JSON, / and /dates are the page, and any other path lists these."""
    url = f"http://{pipeline.canary.address}"
    status = requests.get(f"{url}/status", timeout=70)
    assert status.status_code == 200
    assert len(status.json()["verdicts"]) == 7
    assert {v["kind"] for v in status.json()["verdicts"][:-1]} == {"IDLE"}
    for path in ("/", f"/dates/{pipeline.today}"):
        page = requests.get(f"{url}{path}", timeout=70)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; style-src 'sha256-"
        )
    assert requests.put(url, timeout=70).status_code == 405
    assert requests.get(f"{url}/dates/soon", timeout=70).status_code == 404
    assert requests.post(f"{url}/status", timeout=70).status_code == 405
    assert requests.get(f"{url}/health", timeout=70).status_code == 404


@pytest.mark.parametrize("serve", [orchestrator_function, canary_function])
def test_inside_cloud_run_a_missing_project_is_an_error_at_start(serve: Any) -> None:
    """It names the variable; nothing falls back to a local file."""
    with (
        pytest.raises(EmulatorError, match="GOOGLE_CLOUD_PROJECT is not set"),
        serve({"K_SERVICE": "x"}),
    ):
        pass


def test_the_switch_silences_the_function(tmp_path: Path) -> None:
    """CANARY_ENABLED=false: 200, so that the scheduler is content, nothing read and no line."""
    environment = {"CANARY_ENABLED": "false", "RESILIENCE_DATA_DIR": str(tmp_path / "none")}
    with canary_function(environment) as canary:
        answer = requests.post(f"http://{canary.address}/", timeout=70)
        assert (answer.status_code, answer.json()["outcome"]) == (200, "SWITCHED_OFF")
        assert "CANARY" not in canary.log.read_text()


@contextmanager
def _deaf_server() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def _scripted_bigquery(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """Answer every call in BigQuery's own words, where the emulator does not know how to refuse."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 (the name that the server calls)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:  # noqa: N802 (as above)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with listening(Handler) as address:
        yield address


ELSEWHERE = "Not found: Dataset broken-whole:nba_orchestration was not found in location EU"
NOT_FOUND = {
    "error": {
        "code": 404,
        "message": ELSEWHERE,
        "errors": [{"reason": "notFound", "message": ELSEWHERE}],
    }
}
RUNNING = {
    "kind": "bigquery#job",
    "jobReference": {"projectId": "broken-whole", "jobId": "slow", "location": "US"},
    "configuration": {"query": {"query": "SELECT 1"}},
    "status": {"state": "RUNNING"},
    "jobComplete": False,
    # And the table, which is asked for first.
    "tableReference": {
        "projectId": "broken-whole",
        "datasetId": "nba_orchestration",
        "tableId": "phase_completions",
    },
    "schema": {"fields": [{"name": name, "type": kind} for name, kind in REQUIRED_COLUMNS.items()]},
}


@pytest.fixture(scope="module")
def broken_runs(emulated: dict[str, str]) -> dict[str, tuple[int, dict[str, Any], float]]:
    """Run a canary in each broken environment; return status, answer and seconds of `POST /`."""
    with ExitStack() as stack:
        deaf = stack.enter_context(_deaf_server())
        elsewhere = stack.enter_context(_scripted_bigquery(404, NOT_FOUND))
        slow = stack.enter_context(_scripted_bigquery(200, RUNNING))
        refusing = f"127.0.0.1:{free_port()}"
        tables = {
            name: _project(emulated, name)
            for name in ("whole", "no-table", "no-column", "no-dataset")
        }
        whole = {**emulated, "GOOGLE_CLOUD_PROJECT": tables["whole"]}
        environments = {
            "BigQuery refuses": {**whole, "BIGQUERY_EMULATOR_HOST": f"http://{refusing}"},
            "Firestore refuses": {**whole, "FIRESTORE_EMULATOR_HOST": refusing},
            "both hang": {
                **whole,
                "BIGQUERY_EMULATOR_HOST": f"http://{deaf}",
                "FIRESTORE_EMULATOR_HOST": deaf,
            },
            "dataset elsewhere": {
                **whole,
                "BIGQUERY_EMULATOR_HOST": elsewhere,
                "BIGQUERY_LOCATION": "EU",
            },
            "a query that does not end": {**whole, "BIGQUERY_EMULATOR_HOST": slow},
            "no credentials": {
                "GOOGLE_CLOUD_PROJECT": tables["whole"],
                "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key.json",
            },
            "no table": {**whole, "GOOGLE_CLOUD_PROJECT": tables["no-table"]},
            "no column": {**whole, "GOOGLE_CLOUD_PROJECT": tables["no-column"]},
            "no dataset": {**whole, "GOOGLE_CLOUD_PROJECT": tables["no-dataset"]},
        }

        def run(environment: dict[str, str]) -> tuple[int, dict[str, Any], float]:
            with canary_function({"K_SERVICE": "under-test", **environment}) as canary:
                began = time.monotonic()
                answer = requests.post(f"http://{canary.address}/", timeout=90)
                return answer.status_code, answer.json(), time.monotonic() - began

        with ThreadPoolExecutor(len(environments)) as pool:
            return dict(zip(environments, pool.map(run, environments.values()), strict=True))


def _project(emulated: Mapping[str, str], name: str) -> str:
    """Make a project whose completion log is whole, or lacks what its name says."""
    # another worker of xdist may have these as well
    project = f"broken-{name}-{uuid.uuid4().hex[:12]}"
    os.environ["BIGQUERY_EMULATOR_HOST"] = emulated["BIGQUERY_EMULATOR_HOST"]
    access = BigQuery(project, emulated=True)
    if name != "no-dataset":
        access.client.create_dataset("nba_orchestration")
    log = BigQueryCompletionLog(access, {"phase2": _bundled()})
    if name == "whole":
        log.setup()
    if name == "no-column":
        schema = [
            bigquery.SchemaField("phase", "STRING"),
            bigquery.SchemaField("game_date", "DATE"),
            bigquery.SchemaField("processor_name", "STRING"),
            bigquery.SchemaField("status", "STRING"),
            bigquery.SchemaField("completed_at", "TIMESTAMP"),
        ]
        access.client.create_table(
            bigquery.Table(f"{project}.nba_orchestration.phase_completions", schema=schema)
        )
    access.close()
    del os.environ["BIGQUERY_EMULATOR_HOST"]
    return project


def _bundled() -> Phase:
    from orchestrator_resilience import load_phase  # noqa: PLC0415 (used by this helper alone)

    return load_phase("phase2", BUNDLED_PHASES)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("BigQuery refuses", "BigQuery: "),
        ("Firestore refuses", "Firestore: "),
        ("both hang", "BigQuery: "),
        ("both hang", "Firestore: "),
        ("dataset elsewhere", "was not found in location EU"),
        ("a query that does not end", "the query has not ended after 10 s"),
        ("no credentials", "/nonexistent/key.json"),
        ("no table", "phase_completions"),
        ("no column", "column"),
        ("no dataset", "nba_orchestration"),
    ],
)
def test_what_cannot_be_read_is_503_in_time(
    broken: str, reason: str, broken_runs: dict[str, tuple[int, dict[str, Any], float]]
) -> None:
    """UNKNOWN for every date, with the reason, within the deadline; nothing is reported healthy."""
    status, answer, seconds = broken_runs[broken]
    assert status == 503
    assert seconds < 60
    assert {v["kind"] for v in answer["verdicts"]} == {"UNKNOWN"}
    assert {v["triggered"] for v in answer["verdicts"]} == {None}
    assert answer["outcome"] == "COULD_NOT_TELL"
    assert reason in answer["reason"]
