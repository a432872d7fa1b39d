"""The message log: what a Pub/Sub BigQuery subscription wrote, read beside the completion log."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from google.cloud import bigquery

from canary.domain.verdict import Cause, CauseKind, VerdictKind
from canary.run import check
from orchestrator_resilience import Completion, Phase, StoreError
from orchestrator_resilience.probe import DATA
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.jsonl import JsonLinesArchive

DAY = date(2026, 2, 9)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
TABLE = "nba_orchestration.phase_messages"
CLASS_NAMES = [
    *("BigDataBallPbpProcessor", "OddsApiGameLinesBatchProcessor", "OddsApiPropsBatchProcessor"),
    *("NbacGamebookProcessor", "NbacPlayerBoxscoreProcessor"),
]


@pytest.fixture
def with_messages(phase: Phase) -> Phase:
    return msgspec.structs.replace(phase, message_table=TABLE)


@pytest.fixture(params=["BYTES", "STRING", "JSON"])
def data_type(request: pytest.FixtureRequest) -> str:
    """Return the type of `data`: the table's owner chooses."""
    return str(request.param)


@pytest.fixture
def log(dataset: BigQuery, with_messages: Phase, data_type: str) -> BigQueryCompletionLog:
    columns = {"subscription_name": "STRING", "message_id": "STRING", "publish_time": "TIMESTAMP"}
    schema = [bigquery.SchemaField(*one) for one in {**columns, "data": data_type, "attributes": "JSON"}.items()]
    table = bigquery.Table(f"{dataset.project}.{TABLE}", schema)
    table.time_partitioning = bigquery.TimePartitioning(field="publish_time")
    dataset.client.create_table(table)
    found = BigQueryCompletionLog(dataset, {"phase2": with_messages, "phase3": _other(with_messages)})
    found.setup()
    return found


def _other(phase: Phase) -> Phase:
    return msgspec.structs.replace(phase, name="phase3", message_phase="phase_3", message_table=None)


def arrive(dataset: BigQuery, *bodies: bytes, data_type: str = "BYTES") -> None:
    """Write what Pub/Sub would; it puts into a column what fits its type, and nothing else."""
    data = [base64.b64encode(body).decode() if data_type == "BYTES" else body.decode() for body in bodies]
    rows = [{"message_id": f"m{n}", "publish_time": AT.isoformat(), "data": one} for n, one in enumerate(data)]
    assert dataset.client.insert_rows_json(f"{dataset.project}.{TABLE}", rows, timeout=20) == []


def message(name: object, **changes: object) -> bytes:
    body = {"processor_name": name, "game_date": str(DAY), "status": "success", "phase": "phase_2_raw", **changes}
    return json.dumps(body).encode()


def test_a_message_is_a_row(dataset: BigQuery, log: BigQueryCompletionLog, data_type: str) -> None:
    """Under its raw name, completed and visible from its publication on; a number of any length does no harm."""
    wide = message(CLASS_NAMES[0], record_count=12345678901234567890123, share=0.12345678901234567890123)
    arrive(dataset, wide, message(CLASS_NAMES[1], status="failed", phase=None), data_type=data_type)
    assert log.summarise(["phase2", "phase3"], DAY, DAY) == [
        ProcessorSummary(
            phase="phase2",
            game_date=DAY,
            processor_name=name,
            last_status=status,
            last_completed_at=AT,
            first_completed_at=AT if status == "success" else None,
            first_visible_at=AT if status == "success" else None,
            is_triggered=None,
            trigger_reason=None,
        )
        for name, status in ((CLASS_NAMES[0], "success"), (CLASS_NAMES[1], "failed"))
    ]


@pytest.mark.parametrize(
    "changes",
    [
        *({"status": " Success "}, {"phase": "PHASE_2_RAW "}, {"phase": ""}, {"processor_name": f" {CLASS_NAMES[0]} "}),
        *({"game_date": f"{DAY}{midnight}"} for midnight in ("T00:00:00Z", " 00:00", "T00:00:00.000+00:00", " ")),
    ],
)
@pytest.mark.parametrize("data_type", ["BYTES"])
def test_what_the_orchestrator_reads_is_a_row(
    dataset: BigQuery, log: BigQueryCompletionLog, with_messages: Phase, changes: dict[str, str]
) -> None:
    """Spaces, capitals and a midnight behind the date mean here what they mean there."""
    body = message(**{"name": CLASS_NAMES[0], **changes})
    event = {"message": {"data": base64.b64encode(body).decode(), "messageId": "1", "publishTime": AT.isoformat()}}
    completion = Completion.from_event(event, with_messages)
    arrive(dataset, body)
    (row,) = log.summarise(["phase2"], DAY, DAY)
    assert (row.processor_name, row.last_status, row.game_date) == (
        completion.raw_processor,
        completion.status,
        completion.game_date,
    )


def test_what_is_no_completion_is_not_seen(dataset: BigQuery, log: BigQueryCompletionLog, data_type: str) -> None:
    """Bytes, text, another phase, no date, no name, a probe: all of it is in the table, none of it counts."""
    some = [b"[1]", b'"x"', DATA, message("x", phase="phase_3"), message("x", game_date="soon")]
    others = {"BYTES": [b"\xff\xfe", b"not json", b""], "STRING": [b"not json", b""]}
    bodies = [*some, message("x", game_date=None), message(None), *others.get(data_type, [])]
    arrive(dataset, *bodies, data_type=data_type)
    assert log.summarise(["phase2"], DAY - timedelta(days=3), DAY) == []


@pytest.mark.parametrize("data_type", ["BYTES"])
def test_both_sources_are_one_summary(dataset: BigQuery, log: BigQueryCompletionLog, phase: Phase) -> None:
    """The orchestrator's row has the expected name, the message log's the class's; each is a row of its own."""
    name = "p2_bigdataball_pbp"
    row = CompletionRow(
        row_id="phase2:m0",
        phase="phase2",
        game_date=DAY,
        processor_name=name,
        status="success",
        completed_at=AT,
        event_id="m0",
    )
    log.append([row], now=AT + timedelta(seconds=5))
    arrive(dataset, message(CLASS_NAMES[0]))
    found = log.summarise(["phase2"], DAY, DAY)
    assert [(s.processor_name, s.first_visible_at) for s in found] == [
        (CLASS_NAMES[0], AT),
        (name, AT + timedelta(seconds=5)),
    ]
    assert {phase.canonical(s.processor_name) for s in found} == {name}


@pytest.mark.parametrize("data_type", ["INTEGER"])
def test_a_table_of_something_else_is_an_error(log: BigQueryCompletionLog) -> None:
    """It names the table, and what is wrong with it."""
    with pytest.raises(StoreError, match=r"phase_messages needs a column data of BYTES, STRING or JSON, and has INT"):
        log.summarise(["phase2"], DAY, DAY)


def test_a_completion_log_without_a_table_is_an_error(dataset: BigQuery, with_messages: Phase) -> None:
    """Nothing is concluded from half of the sources."""
    log = BigQueryCompletionLog(dataset, {"phase2": with_messages})
    log.setup()
    with pytest.raises(StoreError, match="phase_messages"):
        log.summarise(["phase2"], DAY, DAY)


@dataclass
class Mixed:
    """Google's stores, but for the checkpoints."""

    documents: FirestoreDocuments
    completion_log: BigQueryCompletionLog
    checkpoints: JsonLinesArchive
    counts: None = None
    flag_tables: None = None
    requests: None = None
    dead_letters: None = None

    def close(self) -> None:
        """Close Firestore's client."""
        self.documents.close()


@pytest.mark.parametrize("data_type", ["BYTES"])
def test_a_function_that_was_never_invoked(
    dataset: BigQuery, log: BigQueryCompletionLog, with_messages: Phase, tmp_path: Path
) -> None:
    """Nobody wrote anything but Pub/Sub, and the code is known to leave lines: proven, not guessed."""
    arrive(dataset, *(message(name) for name in CLASS_NAMES))
    stores = Mixed(FirestoreDocuments(dataset.project), log, JsonLinesArchive(tmp_path / "none.jsonl"))
    ref = DocumentRef(with_messages.firestore_collection, str(DAY - timedelta(days=1)))
    stores.documents.merge(ref, {"_expected": sorted(with_messages.expected)})
    (verdict,) = check(stores, {"phase2": with_messages}, AT + timedelta(minutes=34), {"phase2": [DAY]}).verdicts
    stores.close()
    assert verdict.kind is VerdictKind.UNTRIGGERED
    proof = "5 completions since 2026-02-10 06:41:00Z, and no delivery has left a line or a registration"
    assert verdict.causes == (Cause(CauseKind.NEVER_INVOKED, proof),)
