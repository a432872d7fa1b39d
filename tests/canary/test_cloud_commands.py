"""`canary setup`, `verify`, `check` against BigQuery's and Firestore's emulators."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from google.cloud import bigquery

from canary.commands import cli
from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.silence import people_ref
from canary.function import Canary
from canary.notify.channel import Channels
from canary.run import check_dates
from orchestrator_resilience import CheckpointLogger, Completion, Phase, StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryCounts
from orchestrator_resilience.stores.cloud import CloudStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.opening import open_stores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.tables import ADDED_COLUMNS, REAL_COLUMNS, TABLE, make_real_table
from tools.emulators import free_port

ADDED = [name for name, _, _ in ADDED_COLUMNS]


@pytest.fixture
def cloud_stores(dataset: BigQuery, phase: Phase) -> Iterator[CloudStores]:
    assert dataset.project == Settings.from_env().project
    stores = open_stores(Settings.from_env(), {"phase2": phase})
    assert isinstance(stores, CloudStores)
    yield stores
    stores.close()


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    # What does not answer is asked again for five seconds, a fraction of these.
    for store in (BigQuery, FirestoreDocuments):
        defaults = store.__init__.__kwdefaults__ or {}
        assert defaults["seconds"] >= 10
        monkeypatch.setitem(defaults, "seconds", 2.0)


def columns(dataset: BigQuery) -> list[str]:
    return [field.name for field in dataset.client.get_table(f"{dataset.project}.{TABLE}").schema]


def test_setup_makes_the_table_once(dataset: BigQuery, capsys: pytest.CaptureFixture[str]) -> None:
    """Partitioned and clustered; the second time nothing is done."""
    assert cli.main(["setup"]) == 0
    made = dataset.client.get_table(f"{dataset.project}.{TABLE}")
    assert made.time_partitioning.field == "game_date"
    assert made.clustering_fields == ["phase", "processor_name"]
    assert [f.name for f in made.schema] == [*(name for name, _, _ in REAL_COLUMNS), *ADDED]
    assert cli.main(["setup"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        (
            f"{dataset.project}.{TABLE}: made, partitioned by game_date, clustered by phase and "
            "processor_name"
        ),
        f"{dataset.project}.{TABLE}: has every column; nothing changed",
    ]


def test_setup_adds_what_an_old_table_lacks(
    dataset: BigQuery, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the three columns; rows of old code stay, are read, and new ones get in."""
    make_real_table(dataset)
    old_row = {
        "phase": "phase2",
        "game_date": "2026-02-09",
        "processor_name": "NbacTeamBoxscoreProcessor",
        "status": "success",
        "completed_at": "2026-02-10T06:41:00Z",
        "inserted_at": "2026-02-10T06:41:05Z",
        "entities_changed": [],
    }
    assert dataset.client.insert_rows_json(f"{dataset.project}.{TABLE}", [old_row]) == []
    assert cli.main(["setup"]) == 0
    assert cli.main(["setup"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{dataset.project}.{TABLE}: added event_id, is_triggered, trigger_reason",
        f"{dataset.project}.{TABLE}: has every column; nothing changed",
    ]
    assert columns(dataset) == [*(name for name, _, _ in REAL_COLUMNS), *ADDED]
    # The emulator keeps two catalogues, and an update of the schema reaches only one of them.
    for name, kind in zip(ADDED, ("STRING", "BOOL", "STRING"), strict=True):
        dataset.query(f"ALTER TABLE `{dataset.project}.{TABLE}` ADD COLUMN {name} {kind}", [])
    log = BigQueryCompletionLog(dataset, {"phase2": phase})
    at = datetime(2026, 2, 10, 7, tzinfo=UTC)
    sent = push_envelope("p2_odds_game_lines", "2026-02-09", at, message_id="1")
    log.append([completion_row(Completion.from_event(sent, phase))], now=at)
    found = log.summarise(["phase2"], date(2026, 2, 9), date(2026, 2, 9))
    assert [(row.processor_name, row.status, row.first_visible_at) for row in found] == [
        ("NbacTeamBoxscoreProcessor", "success", datetime(2026, 2, 10, 6, 41, 5, tzinfo=UTC)),
        ("p2_odds_game_lines", "success", at),
    ]


def test_setup_refuses_a_column_of_another_type(
    dataset: BigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the column, and changes nothing."""
    make_real_table(dataset, completed_at="STRING")
    assert cli.main(["setup"]) == 2
    assert "column completed_at is REQUIRED STRING, expected TIMESTAMP" in capsys.readouterr().err
    assert "event_id" not in columns(dataset)


@pytest.mark.usefixtures("_short_patience")
def test_setup_without_a_dataset_says_so(cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The dataset is the user's; it is not made here."""
    assert cli.main(["setup"]) == 2
    assert f"{cloud}" in capsys.readouterr().err


def deliver_five(stores: CloudStores, phase: Phase) -> date:
    now = datetime.now(UTC)
    today = phase.today(now)
    checkpoints = CheckpointLogger(phase, RecordingSink())
    orchestrator = Orchestrator(phase, stores.documents, stores.completion_log, checkpoints)
    for number, name in enumerate(sorted(phase.expected)):
        orchestrator.deliver(
            push_envelope(name, str(today), now - timedelta(minutes=5), message_id=str(number))
        )
    return today


def verify(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = cli.main(["verify", "--days", "3", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_verify_proves_agreement(
    cloud_stores: CloudStores, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag is in both, on every date the same: BigQuery may stand in."""
    cloud_stores.completion_log.setup()
    today = deliver_five(cloud_stores, phase)
    code, answer = verify(capsys)
    assert (code, answer["bigquery_carries_the_flag"]) == (0, True)
    assert answer["dates"][-1] == {
        "phase": "phase2",
        "game_date": str(today),
        "firestore": True,
        "bigquery": True,
        "agreement": "agree",
    }
    assert cli.main(["verify", "--days", "3"]) == 0
    assert "set bigquery_carries_flag = true" in capsys.readouterr().out


def test_the_right_to_write_is_missed_by_verify_alone(
    dataset: BigQuery,
    cloud_stores: CloudStores,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the right to write, `verify` reports a set-up error and `check` only reads."""
    make_real_table(dataset)
    today = deliver_five(cloud_stores, phase)
    assert verify(capsys)[1]["setup_errors"] == []
    nowhere = DocumentRef("canary_memory", "verify")
    assert cloud_stores.documents.get_all([nowhere]) == {}

    def refuse(*_: object) -> None:
        raise StoreError("Firestore: PermissionDenied: 403 Missing or insufficient permissions.")

    for write in ("merge", "update_if_unchanged", "commit"):  # the emulator asks nobody for rights
        monkeypatch.setattr(FirestoreDocuments, write, refuse)
    (error,) = verify(capsys)[1]["setup_errors"]
    assert error.startswith("set-up: this account may not write Firestore")
    assert cli.main(["check", str(today)]) == 0
    assert "set-up" not in capsys.readouterr().out


def test_verify_finds_a_difference(
    cloud_stores: CloudStores, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag is in Firestore alone, as the old code left it."""
    cloud_stores.completion_log.setup()
    today = phase.today(datetime.now(UTC))
    cloud_stores.documents.merge(DocumentRef("phase2_completion", str(today)), {"_triggered": True})
    code, answer = verify(capsys)
    assert (code, answer["bigquery_carries_the_flag"]) == (1, False)
    assert answer["advice"] == f"use Firestore: BigQuery says otherwise of phase2 {today}"


def test_verify_of_a_table_without_the_flag(
    dataset: BigQuery, cloud_stores: CloudStores, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column that BigQuery does not have is no difference: Firestore is the source."""
    make_real_table(dataset)
    today = deliver_five(cloud_stores, phase)
    code, answer = verify(capsys)
    table = f"{dataset.project}.{TABLE}"
    assert (code, answer["missing_columns"]) == (1, {table: ADDED})
    assert answer["advice"] == (
        f"the completion log has no column for the flag: use Firestore ({table} lacks is_triggered)"
    )
    assert answer["answers"] == [f"phase2: no other table beside {table} has the flag"]
    assert answer["dates"][-1] == {
        "phase": "phase2",
        "game_date": str(today),
        "firestore": True,
        "bigquery": None,
        "agreement": "no statement",
    }
    assert {one["agreement"] for one in answer["dates"]} == {"no statement"}


def test_verify_finds_other_missing_columns(
    dataset: BigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """And names the command that adds them."""
    make_real_table(dataset, added=ADDED_COLUMNS[1:])
    code, answer = verify(capsys)
    assert (code, answer["missing_columns"]) == (1, {f"{dataset.project}.{TABLE}": ["event_id"]})
    assert answer["advice"].endswith("lacks event_id; `canary setup` adds the columns")


def test_the_twelve_columns_are_enough(
    dataset: BigQuery, cloud_stores: CloudStores, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """check, status, explain and the function judge by the table as it is, and do not change it."""
    make_real_table(dataset)
    today = deliver_five(cloud_stores, phase)
    for command in (["check", str(today)], ["status", "--days", "1"], ["explain", str(today)]):
        cli.main(command)
        printed = capsys.readouterr().out
        assert "TRIGGERED" in printed
        assert "UNKNOWN" not in printed
    answer, status = Canary(cloud_stores, {"phase2": phase}, Channels(), None)._status(
        datetime.now(UTC)
    )
    assert (status, answer["reason"], answer["verdicts"][-1]["kind"]) == (200, "", "TRIGGERED")
    assert columns(dataset) == [name for name, _, _ in REAL_COLUMNS]


def test_the_function_says_once_what_is_not_there(cloud_stores: CloudStores, phase: Phase) -> None:
    """One reason for all dates."""
    canary = Canary(cloud_stores, {"phase2": phase}, Channels(), None)
    answer, status = canary._status(datetime.now(UTC))
    assert (status, len(answer["verdicts"]), answer["reason"].count("NotFound")) == (503, 7, 1)


def test_verify_does_not_take_silence_for_proof(
    cloud_stores: CloudStores, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the flag is set nowhere, nothing has been shown."""
    cloud_stores.completion_log.setup()
    code, answer = verify(capsys)
    assert (code, answer["bigquery_carries_the_flag"]) == (2, False)
    assert "proves nothing" in answer["advice"]


@pytest.mark.usefixtures("_short_patience")
def test_verify_of_what_cannot_be_read(
    cloud: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No table, and no Firestore: both reasons are told."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    code, answer = verify(capsys)
    assert (code, {d["agreement"] for d in answer["dates"]}) == (2, {"unreadable"})
    assert "Firestore: " in answer["advice"]
    assert "BigQuery: " in answer["advice"]
    assert cloud in answer["advice"]


@pytest.mark.usefixtures("dataset")
def test_a_table_that_is_not_there_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """For all dates in one line, with what to do."""
    now = ["--now", "2026-02-11T07:00:00Z"]
    assert cli.main(["check", *now]) == 2
    line = " ".join(capsys.readouterr().out.split())
    assert line.startswith(
        "phase2 2026-02-09 to 2026-02-11 UNKNOWN: could not tell: BigQuery: NotFound: "
    )
    assert line.endswith(
        ": make it (`canary setup` makes the completion log), or name another in the phases file"
    )
    assert TABLE in line
    assert cli.main(["status", *now]) == 2
    assert capsys.readouterr().out.count("NotFound") == 1


def test_a_table_that_lacks_columns_is_unknown(
    dataset: BigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that lacks columns is named with all of them, and not taken for an empty one."""
    schema = [
        bigquery.SchemaField(name, kind)
        for name, kind, _ in REAL_COLUMNS
        if name not in {"status", "inserted_at"}
    ]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.{TABLE}", schema=schema))
    assert cli.main(["check", "2026-02-09", "--now", "2026-02-10T12:00Z"]) == 2
    said = " ".join(capsys.readouterr().out.split())
    lacks = f"{dataset.project}.{TABLE} needs the columns status STRING, inserted_at TIMESTAMP"
    assert said == f"phase2 2026-02-09 UNKNOWN: could not tell: {lacks}"


@pytest.mark.parametrize(
    ("column", "kind", "needed"),
    [
        ("status", "INTEGER", "STRING"),
        ("game_date", "TIMESTAMP", "DATE"),
        ("inserted_at", "DATETIME", "TIMESTAMP"),
    ],
)
def test_a_column_of_another_type_is_unknown(
    dataset: BigQuery, column: str, kind: str, needed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column of another type is named with the right one, and not taken for no completion."""
    make_real_table(dataset, TABLE, (), **{column: kind})
    assert cli.main(["check", "2026-02-09", "--now", "2026-02-10T12:00Z"]) == 2
    said = " ".join(capsys.readouterr().out.split())
    needs = f"{dataset.project}.{TABLE} needs the columns {column} {needed}"
    assert said == f"phase2 2026-02-09 UNKNOWN: could not tell: {needs}"


def test_capitals_in_the_names_of_columns_mean_nothing(dataset: BigQuery, phase: Phase) -> None:
    """To BigQuery they are the same columns, and a second one of the name cannot be added."""
    schema = [bigquery.SchemaField(name.upper(), kind, mode) for name, kind, mode in REAL_COLUMNS]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.{TABLE}", schema=schema))
    log = BigQueryCompletionLog(dataset, {"phase2": phase})
    assert log.missing_columns() == {f"{dataset.project}.{TABLE}": ADDED}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 / 0 AS n",
        "SELECT CAST('x' AS INT64) AS n",
        "SELEC 1",
        "SELECT unknown_function(1) AS n",
        "SELECT n FROM nowhere.there",
        "SELECT ERROR('x') AS n FROM UNNEST([1, 2])",
    ],
)
def test_every_query_that_fails_raises(dataset: BigQuery, sql: str) -> None:
    """Whether it cannot be understood, names what is not there, or ends in the middle."""
    with pytest.raises(StoreError, match=r"^BigQuery: (BadRequest|NotFound): "):
        dataset.query(sql, [])


def test_many_rows_are_all_returned(dataset: BigQuery) -> None:
    """Also those that are on a later page."""
    rows = dataset.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 25000)) AS n", [])
    assert sum(row["n"] for row in rows) == 25_000 * 25_001 // 2


def test_a_table_of_another_project_is_read_and_written(dataset: BigQuery, phase: Phase) -> None:
    """`project.dataset.table` in the phases file; the queries are this project's."""
    other = BigQuery(f"{dataset.project}-other", emulated=True)
    other.client.create_dataset("shared")
    table = f"{other.project}.shared.phase_completions"
    make_real_table(dataset, table)
    log = BigQueryCompletionLog(
        dataset, {"phase2": msgspec.structs.replace(phase, bigquery_table=table)}
    )
    at = datetime(2026, 2, 10, 7, tzinfo=UTC)
    sent = push_envelope("p2_odds_game_lines", "2026-02-09", at, message_id="1")
    log.append([completion_row(Completion.from_event(sent, phase))], now=at)
    (found,) = log.summarise(["phase2"], *[date(2026, 2, 9)] * 2)
    other.close()
    assert (found.processor_name, found.is_triggered) == ("p2_odds_game_lines", None)
    assert log.missing_columns() == {table: ADDED}


@pytest.mark.parametrize(
    "rows",
    [
        "SELECT '2026-02-09' AS game_date, 9 AS n",
        "SELECT DATETIME '2026-02-09 00:00:00' AS game_date, 9 AS n",
        "SELECT CAST(NULL AS DATE) AS game_date, 9 AS n",
        "SELECT DATE '2026-02-09' AS game_date, 9.5 AS n",
        "SELECT DATE '2026-02-09' AS day, 9 AS n",
    ],
)
def test_a_query_of_another_form_is_unreadable(dataset: BigQuery, rows: str) -> None:
    """Rows that match no date must not be taken for a date without games."""
    with pytest.raises(StoreError, match="has to return game_date DATE and n INT64"):
        BigQueryCounts(dataset).count(
            f"{rows} FROM UNNEST([1]) WHERE @since <= @until", *[date(2026, 2, 9)] * 2
        )


def test_rows_of_one_date_are_added_up(dataset: BigQuery) -> None:
    """A query without GROUP BY means what it says."""
    day = date(2026, 2, 9)
    query = (
        "SELECT DATE '2026-02-09' AS game_date, n FROM UNNEST([9, 0]) AS n WHERE @since <= @until"
    )
    assert BigQueryCounts(dataset).count(query, day, day) == {day: 9}


def test_rows_that_nobody_can_place_are_left_out(dataset: BigQuery, phase: Phase) -> None:
    """Without a processor; without `completed_at` the time of insertion stands in."""
    schema = [
        bigquery.SchemaField(name, kind, "NULLABLE")
        for name, kind, _ in REAL_COLUMNS
        if kind != "JSON"
    ]
    schema += [
        bigquery.SchemaField(n, k)
        for n, k in zip(ADDED, ("STRING", "BOOLEAN", "STRING"), strict=True)
    ]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.{TABLE}", schema=schema))
    row = {
        "phase": "phase2",
        "game_date": "2026-02-09",
        "status": "success",
        "inserted_at": "2026-02-10T06:41:00Z",
    }
    rows = [row, {**row, "processor_name": "p2_odds_game_lines"}]
    assert dataset.client.insert_rows_json(f"{dataset.project}.{TABLE}", rows) == []
    (found,) = BigQueryCompletionLog(dataset, {"phase2": phase}).summarise(
        ["phase2"], *[date(2026, 2, 9)] * 2
    )
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    assert (found.processor_name, found.first_completed_at, found.last_completed_at) == (
        "p2_odds_game_lines",
        at,
        at,
    )


@pytest.mark.parametrize("queries", [False, True])
def test_a_run_costs_one_query_and_two_batch_reads(
    dataset: BigQuery,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
    queries: bool,  # noqa: FBT001
) -> None:
    """A run costs the same however many phases and dates; a phase's own query is one more."""
    one = "SELECT DATE '2026-02-09' AS game_date, 1 AS n FROM UNNEST([1]) WHERE @since <= @until"
    changes = {"outcome_query": one, "work_query": one} if queries else {}
    phases = {
        name: msgspec.structs.replace(phase, name=name, firestore_collection=name, **changes)
        for name in ("phase2", "phase3", "phase4")
    }
    stores = open_stores(Settings.from_env(), phases)
    assert isinstance(stores, CloudStores)
    stores.completion_log.setup()
    stores.documents.merge(people_ref(DEFAULT_CANARY), {"silences": {}})
    calls: list[str] = []
    client, firestore = stores._bigquery.client, stores._databases[0]._grpc.client
    call_api, get_all = client._call_api, firestore.get_all

    def counted_call(*args: Any, **kwargs: Any) -> Any:
        calls.append(f"{kwargs['method']} {kwargs['path'].rpartition('/')[2]}")
        return call_api(*args, **kwargs)

    def counted_get_all(*args: Any, **kwargs: Any) -> Any:
        calls.append("get_all")
        return get_all(*args, **kwargs)

    monkeypatch.setattr(client, "_call_api", counted_call)
    monkeypatch.setattr(firestore, "get_all", counted_get_all)
    now = datetime(2026, 2, 10, 7, tzinfo=UTC)
    wanted = {name: [date(2026, 2, d) for d in range(3, 11)] for name in phases}
    report = check_dates(stores, phases, now, wanted)
    stores.close()
    assert dataset.project == Settings.from_env().project
    assert len(report.verdicts) == 3 * 8
    described = ["GET phase_completions"]  # as it is for the next ten minutes
    assert sorted(calls) == sorted(
        described + ["POST queries"] * (7 if queries else 1) + ["get_all"] * 2
    )


def test_setup_without_credentials_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the reason, like every other failure."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    assert cli.main(["setup"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("canary: BigQuery: DefaultCredentialsError: ")
    assert "Traceback" not in printed
