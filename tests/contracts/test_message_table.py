"""The message log: what a Pub/Sub BigQuery subscription wrote, beside the completion log."""

import base64
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from google.cloud import bigquery

from canary.domain.stages import CauseKind, Stage
from canary.domain.verdict import VerdictKind
from canary.run import check_dates
from orchestrator_resilience import Completion, Phase, StoreError
from orchestrator_resilience.probe import DATA
from orchestrator_resilience.stores.base import ProcessorSummary, Request
from orchestrator_resilience.stores.bigquery import (
    BigQuery,
    BigQueryCompletionLog,
    BigQueryMessageLogs,
)
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.jsonl import JsonLinesArchive
from tests.proof.doubles import StoresOf

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
def log(dataset: BigQuery, with_messages: Phase, data_type: str) -> BigQueryMessageLogs:
    columns = {"subscription_name": "STRING", "message_id": "STRING", "publish_time": "TIMESTAMP"}
    schema = [
        bigquery.SchemaField(*one)
        for one in {**columns, "data": data_type, "attributes": "JSON"}.items()
    ]
    table = bigquery.Table(f"{dataset.project}.{TABLE}", schema)
    table.time_partitioning = bigquery.TimePartitioning(field="publish_time")
    dataset.client.create_table(table)
    return BigQueryMessageLogs(dataset, {"phase2": with_messages, "phase3": _other(with_messages)})


def _other(phase: Phase) -> Phase:
    return msgspec.structs.replace(
        phase, name="phase3", message_phase="phase_3", message_table=None
    )


def arrive(dataset: BigQuery, *bodies: bytes, data_type: str = "BYTES", at: datetime = AT) -> None:
    """Write what Pub/Sub would; it puts into a column what fits its type, and nothing else."""
    data = [
        base64.b64encode(body).decode() if data_type == "BYTES" else body.decode()
        for body in bodies
    ]
    rows = [
        {"message_id": f"m{n}", "publish_time": at.isoformat(), "data": one}
        for n, one in enumerate(data)
    ]
    assert dataset.client.insert_rows_json(f"{dataset.project}.{TABLE}", rows, timeout=20) == []


def message(name: object, **changes: object) -> bytes:
    body = {
        "processor_name": name,
        "game_date": str(DAY),
        "status": "success",
        "phase": "phase_2_raw",
        **changes,
    }
    return json.dumps(body).encode()


def test_a_message_is_a_row(dataset: BigQuery, log: BigQueryMessageLogs, data_type: str) -> None:
    """A message completes its raw name and is visible from its publication on."""
    wide = message(
        CLASS_NAMES[0], record_count=12345678901234567890123, share=0.12345678901234567890123
    )
    arrive(dataset, wide, message(CLASS_NAMES[1], status="failed", phase=None), data_type=data_type)
    assert log.summarise("phase2", DAY, DAY) == [
        summary(CLASS_NAMES[0], "success"),
        summary(CLASS_NAMES[1], "failed"),
    ]
    assert log.summarise("phase3", DAY, DAY) == []


def summary(name: str, status: str | None, day: date | None = DAY) -> ProcessorSummary:
    return ProcessorSummary(
        phase="phase2",
        game_date=day,
        processor_name=name,
        status=status,
        last_completed_at=AT,
        first_completed_at=AT,
        first_visible_at=AT,
        is_triggered=None,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"status": " Success "},
        {"phase": "PHASE_2_RAW "},
        {"phase": ""},
        {"processor_name": f" {CLASS_NAMES[0]} "},
        *(
            {"game_date": f"{DAY}{midnight}"}
            for midnight in ("T00:00:00Z", " 00:00", "T00:00:00.000+00:00", " ")
        ),
    ],
)
@pytest.mark.parametrize("data_type", ["BYTES"])
def test_what_the_orchestrator_reads_is_a_row(
    dataset: BigQuery, log: BigQueryMessageLogs, with_messages: Phase, changes: dict[str, str]
) -> None:
    """Spaces, capitals and a midnight behind the date mean here what they mean there."""
    body = message(**{"name": CLASS_NAMES[0], **changes})
    event = {
        "message": {
            "data": base64.b64encode(body).decode(),
            "messageId": "1",
            "publishTime": AT.isoformat(),
        }
    }
    completion = Completion.from_event(event, with_messages)
    arrive(dataset, body)
    (row,) = log.summarise("phase2", DAY, DAY)
    assert (row.processor_name, row.status, row.game_date) == (
        completion.raw_processor,
        completion.status,
        completion.game_date,
    )


def test_what_is_no_message_of_the_phase_is_not_seen(
    dataset: BigQuery, log: BigQueryMessageLogs, data_type: str
) -> None:
    """Bytes, text, another phase, a probe: all of it is in the table, none of it counts."""
    others = {"BYTES": [b"\xff\xfe", b"not json", b""], "STRING": [b"not json", b""]}
    bodies = [b"[1]", b'"x"', DATA, message("x", phase="phase_3"), *others.get(data_type, [])]
    arrive(dataset, *bodies, data_type=data_type)
    assert log.summarise("phase2", DAY - timedelta(days=3), DAY) == []


def test_what_nobody_can_attribute_is_kept_as_such(
    dataset: BigQuery, log: BigQueryMessageLogs, data_type: str
) -> None:
    """A message without a name or without a date was published, by nobody knows whom."""
    bodies = (
        message(None),
        message("x", game_date=None),
        message("y", game_date="soon"),
        message("z", game_date="2020-01-01"),
    )
    arrive(dataset, *bodies, data_type=data_type)
    assert log.summarise("phase2", DAY, DAY) == [
        summary("x", "success", None),
        summary("y", "success", None),
        summary("", "success"),
    ]


@pytest.mark.parametrize("data_type", ["BYTES"])
def test_messages_without_a_date_are_told_apart_by_the_day_they_came(
    dataset: BigQuery, log: BigQueryMessageLogs
) -> None:
    """Each may be of the dates before it alone: the later one takes the place of none."""
    days = [AT - timedelta(days=4), AT]
    for day in days:
        arrive(dataset, message("x", game_date=None), at=day)
    found = log.summarise("phase2", DAY - timedelta(days=6), DAY)
    assert {row.last_completed_at for row in found} == {*days}


@pytest.mark.parametrize("columns", [{}, {"publish_time": "STRING"}])
def test_a_table_without_times_is_an_error(
    dataset: BigQuery, with_messages: Phase, columns: dict[str, str]
) -> None:
    """It names the table, and the column."""
    schema = [bigquery.SchemaField(*one) for one in {"data": "BYTES", **columns}.items()]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.{TABLE}", schema))
    with pytest.raises(
        StoreError, match=r"phase_messages needs the columns publish_time TIMESTAMP$"
    ):
        BigQueryMessageLogs(dataset, {"phase2": with_messages}).summarise("phase2", DAY, DAY)


@pytest.mark.parametrize("data_type", ["INTEGER"])
def test_a_table_of_something_else_is_an_error(log: BigQueryMessageLogs) -> None:
    """It names the table, and what is wrong with it."""
    with pytest.raises(
        StoreError,
        match=r"phase_messages needs a column data of BYTES, STRING or JSON, and has INT",
    ):
        log.summarise("phase2", DAY, DAY)


def test_a_table_that_is_not_there_is_named(dataset: BigQuery, with_messages: Phase) -> None:
    """Nothing else is concluded from it."""
    with pytest.raises(StoreError, match="phase_messages"):
        BigQueryMessageLogs(dataset, {"phase2": with_messages}).summarise("phase2", DAY, DAY)


@pytest.mark.parametrize("data_type", ["BYTES"])
def test_a_function_that_was_never_invoked(
    dataset: BigQuery, log: BigQueryMessageLogs, with_messages: Phase, tmp_path: Path
) -> None:
    """Nobody wrote anything but Pub/Sub, and no request has come since: proven, not guessed."""

    class Unasked:
        """A log in which no request is, and which had one the day before."""

        phase = "phase2"

        def requests(self, since: datetime, until: datetime) -> list[Request]:  # noqa: ARG002 (a log's method)
            """Return none."""
            return []

        def last_answer(self, before: datetime) -> datetime:
            """Return when there was one."""
            return before - timedelta(days=1)

    arrive(dataset, *(message(name) for name in CLASS_NAMES))
    rows = BigQueryCompletionLog(dataset, {"phase2": with_messages})
    rows.setup()
    documents = FirestoreDocuments(dataset.project)
    lines = JsonLinesArchive(tmp_path / "none.jsonl")
    stores = StoresOf(documents, rows, lines, message_logs=log, requests=Unasked())
    (verdict,) = check_dates(
        stores, {"phase2": with_messages}, AT + timedelta(minutes=34), {"phase2": [DAY]}
    ).verdicts
    documents.close()
    assert verdict.kind is VerdictKind.UNTRIGGERED
    (cause,) = verdict.causes
    assert (cause.kind, cause.after, cause.until) == (
        CauseKind.NOT_DELIVERED,
        Stage.PUBLISHED,
        Stage.DELIVERED,
    )
    assert cause.subjects == tuple(sorted(with_messages.expected))
    assert cause.words == "no request since 2026-02-10 06:41:00Z"
