"""The flag where an older tracker kept it: read by itself, and found by its columns."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from google.cloud import bigquery

from orchestrator_resilience import CheckpointLogger, Phase, StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import Flag
from orchestrator_resilience.stores.bigquery import (
    BigQuery,
    BigQueryCompletionLog,
    BigQueryFlagTables,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.tables import ADDED_COLUMNS, STATUS_TABLE, TABLE, make_real_table, make_status_table

DAY = date(2026, 2, 9)
NEXT = DAY + timedelta(days=1)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)


@pytest.fixture
def named(phase: Phase) -> Phase:
    return msgspec.structs.replace(phase, flag_table=STATUS_TABLE)


def flag(day: date = DAY, **more: object) -> dict[str, object]:
    return {"game_date": str(day), "is_triggered": True, **more}


SET = flag(triggered_at=AT.isoformat(), trigger_reason="all_complete")


def row(number: int, name: str, status: str = "success", **more: Any) -> CompletionRow:
    at = AT + timedelta(minutes=number)
    return CompletionRow(
        **{"phase": "phase2", **more},
        row_id=str(number),
        game_date=DAY,
        processor_name=name,
        status=status,
        completed_at=at,
        event_id=str(number),
    )


ONCE = Flag(is_set=True, at=AT, reason="all_complete")


@pytest.mark.parametrize(
    ("flags", "without", "said"),
    [
        ([SET], [], ONCE),
        ([SET], ["triggered_at", "trigger_reason", "mode"], Flag(is_set=True)),
        ([flag()], [], Flag(is_set=True)),
        ([flag(is_triggered=False, triggered_at=AT.isoformat())], [], Flag(is_set=False)),
        ([flag(is_triggered=None)], [], None),
        ([flag(is_triggered=False), flag(is_triggered=None), SET] * 2, [], ONCE),
        ([flag(NEXT), flag(DAY - timedelta(days=1)), flag(phase="phase3")], [], None),
        ([], [], None),
    ],
)
def test_what_the_flag_table_says(
    dataset: BigQuery,
    phase: Phase,
    flags: list[dict[str, object]],
    without: list[str],
    said: Flag | None,
) -> None:
    """TRUE, FALSE or nothing of each date; rows that are there twice are one."""
    make_status_table(dataset, flags, without=without)
    flag_tables = BigQueryFlagTables(dataset, {"phase2": phase})
    assert flag_tables.read(STATUS_TABLE, "phase2", DAY, DAY) == (
        {} if said is None else {DAY: said}
    )


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"is_triggered": "STRING"}, "is_triggered BOOL"),
        ({"game_date": "STRING", "phase": "INTEGER"}, "phase STRING, game_date DATE"),
        ({"without": ["is_triggered"]}, "is_triggered BOOL"),
    ],
)
def test_a_table_of_something_else_is_an_error(
    dataset: BigQuery, named: Phase, changes: dict[str, Any], needs: str
) -> None:
    """It names the table, and what it needs."""
    make_status_table(dataset, **changes)
    with pytest.raises(StoreError, match=f"{STATUS_TABLE} needs the columns {needs}$"):
        BigQueryFlagTables(dataset, {"phase2": named}).read(STATUS_TABLE, "phase2", DAY, DAY)


def make(dataset: BigQuery, name: str, *columns: tuple[str, str]) -> None:
    schema = [bigquery.SchemaField(column, kind) for column, kind in columns]
    dataset.client.create_table(
        bigquery.Table(f"{dataset.project}.nba_orchestration.{name}", schema)
    )


def test_flag_tables_are_found_by_their_columns(
    dataset: BigQuery, phase: Phase, named: Phase
) -> None:
    """Any name will do, but not a completion log, nor what phases.toml names or cannot name."""
    make_real_table(dataset, added=ADDED_COLUMNS)
    make_real_table(dataset, "nba_orchestration.older_completions", added=ADDED_COLUMNS)
    make_status_table(dataset)
    flags = (("phase", "STRING"), ("game_date", "DATE"))
    make(dataset, "smallest", *flags, ("Is_Triggered", "BOOLEAN"))
    make(dataset, "no_flag", *flags)
    make(dataset, "a_text", *flags, ("is_triggered", "STRING"))
    make(dataset, "with-a-dash", *flags, ("is_triggered", "BOOLEAN"))
    elsewhere = f"{dataset.project}.{TABLE}"
    phases = {
        "phase2": phase,
        "named": named,
        "full": msgspec.structs.replace(phase, bigquery_table=elsewhere),
    }
    tables = BigQueryFlagTables(dataset, phases)
    smallest = "nba_orchestration.smallest"
    assert tables.find("phase2") == [STATUS_TABLE, smallest]
    assert tables.find("named") == [smallest]
    assert tables.find("full") == [
        f"{dataset.project}.{STATUS_TABLE}",
        f"{dataset.project}.{smallest}",
    ]
    assert {tables.completion_table(name) for name in phases} == {elsewhere}


FIVE = [
    *("p2_bigdataball_pbp", "p2_nbacom_boxscores", "p2_nbacom_gamebook_pdf"),
    *("p2_odds_game_lines", "p2_odds_player_props"),
]


def test_a_reader_that_counts_names_counts_completions(
    dataset: BigQuery, phase: Phase, stores: EmbeddedStores
) -> None:
    """COUNT(DISTINCT processor_name) counts completions in what the orchestrator writes."""
    count = (
        "SELECT COUNT(DISTINCT processor_name) FROM {} WHERE game_date = '2026-02-09' AND phase = "
        "'phase2'"
    )
    log = BigQueryCompletionLog(dataset, {"phase2": phase})
    log.setup()

    def deliver(number: int, name: str, status: str = "success") -> None:
        sent = push_envelope(
            name, str(DAY), AT + timedelta(minutes=number), message_id=str(number), status=status
        )
        for one in (log, stores.completion_log):
            documents = EmbeddedStores(stores.folder / type(one).__name__, durable=False).documents
            Orchestrator(phase, documents, one, CheckpointLogger(phase, RecordingSink())).deliver(
                sent
            )

    def counted() -> tuple[int, int]:
        (in_bigquery,) = dataset.query(count.format(f"`{dataset.project}.{TABLE}`"), [])
        with closing(sqlite3.connect(stores.folder / "resilience.sqlite3")) as file:
            (embedded,) = file.execute(count.format("phase_completions")).fetchone()
        return next(iter(in_bigquery.values())), embedded

    for number, name in enumerate(FIVE[:3]):
        deliver(number, name)
    deliver(3, FIVE[3], "no_data")
    deliver(4, FIVE[4], "failed")
    deliver(5, "p2_other")
    assert counted() == (3, 3)
    deliver(6, FIVE[3])
    deliver(7, FIVE[4], "partial")
    assert counted() == (5, 5)
    assert [one.is_triggered for one in log.summarise(["phase2"], DAY, DAY)].count(True) == 1
