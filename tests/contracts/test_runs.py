"""The runs of the processors, as a phase's own query gives them: the same from every store."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud import bigquery

from orchestrator_resilience import StoreError
from orchestrator_resilience.stores.base import CountSource, ProcessorRun
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCounts
from orchestrator_resilience.stores.sqlite import SqliteCounts

DAY = date(2026, 2, 9)
AT = datetime(2026, 2, 10, 6, 10, tzinfo=UTC)
COLUMNS = {
    "processor_name": "STRING",
    "data_date": "DATE",
    "started_at": "TIMESTAMP",
    "ended_at": "TIMESTAMP",
    "status": "STRING",
    "attempt": "INTEGER",
}
SELECT = (
    "processor_name AS processor, data_date AS game_date, started_at, ended_at AS finished_at, "
    "status"
)
QUERY = "SELECT {} FROM nba_orchestration.processor_runs WHERE data_date BETWEEN @since AND @until"
ROWS: list[tuple[object, ...]] = [
    (
        "OddsApiGameLinesBatchProcessor",
        str(DAY),
        AT.isoformat(),
        (AT + timedelta(minutes=4)).isoformat(),
        "success",
        1,
    ),
    ("p2_odds_game_lines", str(DAY), AT.isoformat(), None, None, 2),
    ("p1_schedule_scraper", str(DAY), None, None, "skipped", 1),
    ("p2_odds_game_lines", str(DAY - timedelta(days=1)), AT.isoformat(), None, "failed", 1),
    ("p2_odds_game_lines", str(DAY + timedelta(days=1)), AT.isoformat(), None, "failed", 1),
]
RUNS = [
    ProcessorRun(
        processor="OddsApiGameLinesBatchProcessor",
        game_date=DAY,
        started_at=AT,
        finished_at=AT + timedelta(minutes=4),
        status="success",
    ),
    ProcessorRun(processor="p2_odds_game_lines", game_date=DAY, started_at=AT),
    ProcessorRun(processor="p1_schedule_scraper", game_date=DAY, status="skipped"),
]


def in_sqlite(folder: Path) -> CountSource:
    with closing(sqlite3.connect(folder / "nba_orchestration.sqlite3")) as connection, connection:
        connection.execute(f"CREATE TABLE processor_runs ({', '.join(COLUMNS)})")
        connection.executemany("INSERT INTO processor_runs VALUES (?, ?, ?, ?, ?, ?)", ROWS)
    return SqliteCounts(folder)


def in_bigquery(dataset: BigQuery) -> CountSource:
    name = f"{dataset.project}.nba_orchestration.processor_runs"
    schema = [bigquery.SchemaField(column, kind) for column, kind in COLUMNS.items()]
    dataset.client.create_table(bigquery.Table(name, schema))
    assert (
        dataset.client.insert_rows_json(
            name, [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
        )
        == []
    )
    return BigQueryCounts(dataset)


@pytest.fixture(params=["sqlite", "bigquery"])
def counts(request: pytest.FixtureRequest) -> CountSource:
    make: Callable[[], CountSource] = {
        "sqlite": lambda: in_sqlite(request.getfixturevalue("tmp_path")),
        "bigquery": lambda: in_bigquery(request.getfixturevalue("dataset")),
    }[request.param]
    return make()


def test_the_runs_of_the_dates(counts: CountSource) -> None:
    """One of each row, as it is there: what nobody wrote down is None."""
    found = counts.runs(QUERY.format(SELECT), DAY, DAY)
    assert sorted(found, key=str) == sorted(RUNS, key=str)


def test_columns_that_nobody_needs_may_be_there(counts: CountSource) -> None:
    """In any order."""
    found = counts.runs(QUERY.format(f"attempt, status AS word, {SELECT}"), DAY, DAY)
    assert sorted(found, key=str) == sorted(RUNS, key=str)


def test_no_run_is_no_error(counts: CountSource) -> None:
    """The query was answered: there was none."""
    before = DAY - timedelta(days=9)
    assert counts.runs(QUERY.format(SELECT), before, before) == []


@pytest.mark.parametrize("day", [DAY, DAY - timedelta(days=9)], ids=["with rows", "without"])
def test_a_column_that_is_missing_is_named(counts: CountSource, day: date) -> None:
    """Also where there is no row."""
    reason = (
        "the query of runs has no column processor, finished_at; it has processor_name, "
        "game_date, started_at"
    )
    with pytest.raises(StoreError, match=reason):
        counts.runs(
            QUERY.format("processor_name, data_date AS game_date, started_at, status"), day, day
        )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("processor_name AS", "attempt AS", "processor STRING, not [12]"),
        ("processor_name AS", "NULL AS", "processor STRING, not None"),
        ("data_date AS", "processor_name AS", "game_date DATE, not '.*'"),
        ("data_date AS", "NULL AS", "game_date DATE, not None"),
        ("started_at,", "status AS started_at,", "started_at TIMESTAMP, not '(success|skipped)'"),
        ("ended_at AS", "attempt AS", "finished_at TIMESTAMP, not [12]"),
        ("finished_at, status", "finished_at, attempt AS status", "status STRING, not [12]"),
    ],
)
def test_a_column_of_something_else_is_named(
    counts: CountSource, before: str, after: str, reason: str
) -> None:
    """With its type, and what it holds instead."""
    with pytest.raises(StoreError, match=f"the query of runs has to return {reason}"):
        counts.runs(QUERY.format(SELECT.replace(before, after)), DAY, DAY)


def test_a_time_without_a_zone_is_refused(dataset: BigQuery) -> None:
    """A DATETIME may be of any zone."""
    counts = in_bigquery(dataset)
    select = SELECT.replace("started_at,", "DATETIME(started_at) AS started_at,")
    with pytest.raises(
        StoreError, match=r"has to return started_at TIMESTAMP, not datetime.datetime\(2026"
    ):
        counts.runs(QUERY.format(select), DAY, DAY)


def test_a_query_that_is_refused_is_an_error(counts: CountSource) -> None:
    """It says why."""
    with pytest.raises(StoreError, match="nobody"):
        counts.runs(QUERY.format("nobody"), DAY, DAY)
