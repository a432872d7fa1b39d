"""The flag where an older tracker kept it: read with the completion log, found by its columns, offered as a view."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from google.cloud import bigquery

from orchestrator_resilience import CheckpointLogger, ConfigurationError, Phase, StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Period
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import ProcessorSummary
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryFlagTables
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.tables import ADDED_COLUMNS, STATUS_TABLE, TABLE, make_real_table, make_status_table

DAY = date(2026, 2, 9)
NEXT = DAY + timedelta(days=1)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
VIEW = "nba_orchestration.status_view"


@pytest.fixture
def named(phase: Phase) -> Phase:
    return msgspec.structs.replace(phase, flag_table=STATUS_TABLE)


def flag(day: date = DAY, **more: object) -> dict[str, object]:
    return {"game_date": str(day), "is_triggered": True, **more}


SET = flag(triggered_at=AT.isoformat(), trigger_reason="all_complete")


def statement(*, is_triggered: bool, at: datetime | None = None, reason: str | None = None) -> ProcessorSummary:
    return ProcessorSummary(
        phase="phase2",
        game_date=DAY,
        processor_name="",
        last_status=None,
        last_completed_at=None,
        first_completed_at=None,
        first_visible_at=None,
        is_triggered=is_triggered,
        triggered_at=at,
        trigger_reason=reason,
    )


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


ONCE = [statement(is_triggered=True, at=AT, reason="all_complete")]


@pytest.mark.parametrize(
    ("flags", "without", "said"),
    [
        ([SET], [], ONCE),
        ([SET], ["triggered_at", "trigger_reason", "mode"], [statement(is_triggered=True)]),
        ([flag()], [], [statement(is_triggered=True)]),
        ([flag(is_triggered=False, triggered_at=AT.isoformat())], [], [statement(is_triggered=False)]),
        ([flag(is_triggered=None)], [], []),
        ([flag(is_triggered=False), flag(is_triggered=None), SET] * 2, [], ONCE),
        ([flag(NEXT), flag(DAY - timedelta(days=1)), flag(phase="phase3")], [], []),
        ([], [], []),
    ],
)
def test_what_the_flag_table_says(
    dataset: BigQuery,
    named: Phase,
    flags: list[dict[str, object]],
    without: list[str],
    said: list[ProcessorSummary],
) -> None:
    """TRUE, FALSE or nothing of each date, and of no processor; rows that are there twice are one."""
    make_real_table(dataset)
    make_status_table(dataset, flags, without=without)
    assert BigQueryCompletionLog(dataset, {"phase2": named}).summarise(["phase2"], DAY, DAY) == said
    found = BigQueryFlagTables(dataset, {"phase2": named}).read(STATUS_TABLE, "phase2", DAY, DAY)
    assert found == {one.game_date: one.is_triggered for one in said}


def test_both_tables_are_one_query(dataset: BigQuery, named: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The completion log keeps its own word; the phase that does not name the flag table is told nothing of it."""
    make_real_table(dataset, added=ADDED_COLUMNS)
    make_status_table(dataset, [SET, flag(phase="phase3")])
    other = msgspec.structs.replace(named, name="phase3", flag_table=None)
    log = BigQueryCompletionLog(dataset, {"phase2": named, "phase3": other})
    log.append([row(1, "p2_odds_game_lines")], now=AT)
    queries, query = [], dataset.query

    def counted(sql: str, parameters: Any) -> Any:
        queries.append(sql)
        return query(sql, parameters)

    monkeypatch.setattr(dataset, "query", counted)
    found = log.summarise(["phase2", "phase3"], DAY, DAY)
    assert [(one.phase, one.processor_name, one.is_triggered) for one in found] == [
        ("phase2", "", True),
        ("phase2", "p2_odds_game_lines", False),
    ]
    assert len(queries) == 1


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
    make_real_table(dataset)
    make_status_table(dataset, **changes)
    with pytest.raises(StoreError, match=f"flag_table .*{STATUS_TABLE} needs the columns {needs}$"):
        BigQueryCompletionLog(dataset, {"phase2": named}).summarise(["phase2"], DAY, DAY)


def make(dataset: BigQuery, name: str, *columns: tuple[str, str]) -> None:
    schema = [bigquery.SchemaField(column, kind) for column, kind in columns]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.nba_orchestration.{name}", schema))


def test_flag_tables_are_found_by_their_columns(dataset: BigQuery, phase: Phase, named: Phase) -> None:
    """Whatever they are called; no completion log is one, nor what the phases file could not name, or names already."""
    make_real_table(dataset, added=ADDED_COLUMNS)
    make_real_table(dataset, "nba_orchestration.older_completions", added=ADDED_COLUMNS)
    make_status_table(dataset)
    flags = (("phase", "STRING"), ("game_date", "DATE"))
    make(dataset, "smallest", *flags, ("Is_Triggered", "BOOLEAN"))
    make(dataset, "no_flag", *flags)
    make(dataset, "a_text", *flags, ("is_triggered", "STRING"))
    make(dataset, "with-a-dash", *flags, ("is_triggered", "BOOLEAN"))
    elsewhere = f"{dataset.project}.{TABLE}"
    phases = {"phase2": phase, "named": named, "full": msgspec.structs.replace(phase, bigquery_table=elsewhere)}
    tables = BigQueryFlagTables(dataset, phases)
    smallest = "nba_orchestration.smallest"
    assert tables.find("phase2") == [STATUS_TABLE, smallest]
    assert tables.find("named") == [smallest]
    assert tables.find("full") == [f"{dataset.project}.{STATUS_TABLE}", f"{dataset.project}.{smallest}"]
    assert {tables.completion_table(name) for name in phases} == {elsewhere}


FIVE = [
    *("p2_bigdataball_pbp", "p2_nbacom_boxscores", "p2_nbacom_gamebook_pdf"),
    *("p2_odds_game_lines", "p2_odds_player_props"),
]
COMPLETE = [row(number, name) for number, name in enumerate(FIVE)]
FLAG = row(9, FIVE[4], is_triggered=True, trigger_reason="all_complete")


def everything(dataset: BigQuery, table: str) -> list[dict[str, Any]]:
    return [dict(one.items()) for one in dataset.query(f"SELECT * FROM `{dataset.project}.{table}`", [])]  # noqa: S608


def test_a_reader_that_counts_names_counts_completions(dataset: BigQuery, phase: Phase, stores: EmbeddedStores) -> None:
    """COUNT(DISTINCT processor_name), without a look at anything else, over what the orchestrator writes."""
    count = "SELECT COUNT(DISTINCT processor_name) FROM {} WHERE game_date = '2026-02-09' AND phase = 'phase2'"
    log = BigQueryCompletionLog(dataset, {"phase2": phase})
    log.setup()

    def deliver(number: int, name: str, status: str = "success") -> None:
        sent = push_envelope(name, str(DAY), AT + timedelta(minutes=number), message_id=str(number), status=status)
        for one in (log, stores.completion_log):
            documents = EmbeddedStores(stores.folder / type(one).__name__, durable=False).documents
            Orchestrator(phase, documents, one, CheckpointLogger(phase, RecordingSink())).deliver(sent)

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


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([], None),
        (COMPLETE[:3], (False, None, None, FIVE[:3])),
        ([*COMPLETE[:3], row(7, FIVE[3], "no_data"), row(8, FIVE[4], "failed"), row(6, "p2_other")], "the same"),
        ([*COMPLETE[1:], row(7, "BigDataBallPbpProcessor", "partial"), COMPLETE[1]], (False, None, None, FIVE)),
        ([*COMPLETE, FLAG], (True, FLAG.completed_at, "all_complete", FIVE)),
        ([FLAG], (True, FLAG.completed_at, "all_complete", [])),
    ],
)
def test_the_status_view(dataset: BigQuery, phase: Phase, rows: list[CompletionRow], status: Any) -> None:
    """It has the columns of the older tracker's table, and counts expected processors that completed."""
    log = BigQueryCompletionLog(dataset, {"phase2": phase, "phase3": phase})
    log.setup()
    log.append([*rows, row(5, "p2_odds_game_lines", phase="phase3")], now=AT)
    made = BigQueryFlagTables(dataset, {"phase2": phase}).make_view(VIEW)
    assert made == f"{dataset.project}.{VIEW}: made, a view of phase2"
    is_triggered, at, reason, completed = (
        (False, None, None, FIVE[:3]) if status == "the same" else status or [None] * 4
    )
    expected = {
        "phase": "phase2",
        "game_date": DAY,
        "is_triggered": is_triggered,
        "triggered_at": at,
        "trigger_reason": reason,
        "completed_count": len(completed or ()),
        "expected_count": 5,
        "completed_processors": completed,
        "missing_processors": [name for name in FIVE if name not in (completed or ())],
        "mode": None,
    }
    assert everything(dataset, VIEW) == ([] if status is None else [expected])


def test_todays_list_does_not_judge_yesterday_in_the_view(dataset: BigQuery, phase: Phase) -> None:
    """A processor counts, and is missing, on the dates from its `since` to its `until` only."""
    periods = {"p2_left": Period(until=DAY), "p2_came": Period(since=NEXT)}
    changing = msgspec.structs.replace(
        phase, processors={"p2_left": ("Left",), "p2_came": (), "p2_stays": ()}, periods=periods
    )
    log = BigQueryCompletionLog(dataset, {"phase2": changing})
    log.setup()
    names = ["Left", "p2_came"]
    rows = [
        msgspec.structs.replace(row(2 * n + later, name), game_date=DAY + timedelta(days=later))
        for n, name in enumerate(names)
        for later in (0, 1)
    ]
    log.append(rows, now=AT)
    BigQueryFlagTables(dataset, {"phase2": changing}).make_view(VIEW)
    columns = ("completed_count", "expected_count", "completed_processors", "missing_processors")
    assert {one["game_date"]: [one[column] for column in columns] for one in everything(dataset, VIEW)} == {
        DAY: [1, 2, ["p2_left"], ["p2_stays"]],
        NEXT: [1, 2, ["p2_came"], ["p2_stays"]],
    }


def test_old_rows_say_nothing_of_the_flag_in_the_view(dataset: BigQuery, phase: Phase) -> None:
    """They were there before the column was."""
    make_real_table(dataset, added=ADDED_COLUMNS)
    old = {"phase": "phase2", "game_date": str(DAY), "processor_name": "nbac_team_boxscore", "status": "success"}
    times = {"completed_at": AT.isoformat(), "inserted_at": AT.isoformat(), "entities_changed": []}
    assert dataset.client.insert_rows_json(f"{dataset.project}.{TABLE}", [{**old, **times}]) == []
    BigQueryFlagTables(dataset, {"phase2": phase}).make_view(VIEW)
    (status,) = everything(dataset, VIEW)
    assert (status["is_triggered"], status["completed_processors"]) == (None, ["p2_nbacom_boxscores"])


def test_a_view_is_brought_up_to_date(dataset: BigQuery, phase: Phase) -> None:
    """Of all phases, in one view; one that was made before has today's list afterwards."""
    log = BigQueryCompletionLog(dataset, {"phase2": phase, "phase3": phase})
    log.setup()
    log.append([*COMPLETE, row(7, "a", phase="phase3")], now=AT)
    BigQueryFlagTables(dataset, {"phase2": phase}).make_view(VIEW)
    fewer = msgspec.structs.replace(phase, processors={"p2_new": ('it\'s "new" \\ é 🏀',)})
    third = msgspec.structs.replace(phase, name="phase3", processors={"a": (), "b": ()})
    done = BigQueryFlagTables(dataset, {"phase2": fewer, "phase3": third}).make_view(VIEW)
    assert done == f"{dataset.project}.{VIEW}: brought up to date, a view of phase2, phase3"
    found = {
        one["phase"]: (one["completed_processors"], one["missing_processors"]) for one in everything(dataset, VIEW)
    }
    assert found == {"phase2": ([], ["p2_new"]), "phase3": (["a"], ["b"])}


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_what_has_the_views_name_is_left_alone(dataset: BigQuery, phase: Phase, kind: str) -> None:
    """A table, or somebody else's view: it is named, and stays as it is."""
    if kind == "TABLE":
        make_status_table(dataset, [flag()])
    else:
        dataset.query(f"CREATE VIEW `{dataset.project}.{STATUS_TABLE}` AS SELECT 1 AS phase", [])
    before = everything(dataset, STATUS_TABLE)
    text = rf"{dataset.project}.{STATUS_TABLE}: there is a {kind} of that name already, which is not replaced"
    with pytest.raises(ConfigurationError, match=text):
        BigQueryFlagTables(dataset, {"phase2": phase}).make_view(STATUS_TABLE)
    assert everything(dataset, STATUS_TABLE) == before
