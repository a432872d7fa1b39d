"""`canary verify` where the flag is in an older tracker's table, beside twelve columns."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from canary.commands import cli
from orchestrator_resilience import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryFlagTables
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.tables import STATUS_TABLE, TABLE, make_real_table, make_status_table

NOW = datetime(2026, 2, 11, 12, tzinfo=UTC)
DAYS = [date(2026, 2, day) for day in (8, 9, 10, 11)]
LINE = f'flag_table = "{STATUS_TABLE}"'
ONE = f"in the phases file, under [phase2]: {LINE}"
BOTH = f"{ONE} and bigquery_carries_flag = true"


@pytest.fixture
def documents(dataset: BigQuery) -> Iterator[FirestoreDocuments]:
    """Return Firestore with the flag of the first three dates, beside a real completion log."""
    make_real_table(dataset)
    store = FirestoreDocuments(dataset.project)
    for day in DAYS[:3]:
        store.merge(DocumentRef("phase2_completion", str(day)), {"_triggered": True})
    yield store
    store.close()


def flags(*said: bool | None) -> list[dict[str, object]]:
    """Return the status table's rows, one for each date of which something is said."""
    return [
        {"game_date": str(day), "is_triggered": one}
        for day, one in zip(DAYS, said, strict=True)
        if one is not None
    ]


def verify(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = cli.main(["verify", "--days", "4", "--now", NOW.isoformat(), "--json"])
    return code, json.loads(capsys.readouterr().out)


AGREES = f"phase2: the flag is in {STATUS_TABLE}: it agrees with Firestore on {{}} of 4 dates"
DIFFERS = "2026-02-09 (set in Firestore, unset there), 2026-02-11 (unset in Firestore, set there)"


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize(
    ("said", "answers"),
    [
        ((True, True, True, False), [AGREES.format(4), BOTH]),
        ((True, True, True, None), [f"{AGREES.format(3)}, says nothing of 2026-02-11", BOTH]),
        ((True, False, True, True), [f"{AGREES.format(2)}, differs on {DIFFERS}", ONE]),
        (
            (True, None, None, False),
            [f"{AGREES.format(2)}, says nothing of 2026-02-09 to 2026-02-10", ONE],
        ),
        (
            (None, None, None, None),
            [f"phase2: {STATUS_TABLE} says nothing of 2026-02-08 to 2026-02-11"],
        ),
    ],
    ids=["agrees", "agrees where it says something", "differs", "partly silent", "silent"],
)
def test_where_the_flag_is(
    dataset: BigQuery,
    capsys: pytest.CaptureFixture[str],
    said: tuple[bool | None, ...],
    answers: list[str],
) -> None:
    """It is found by its columns, and the answer has what to put into the phases file."""
    make_status_table(dataset, flags(*said))
    code, answer = verify(capsys)
    (table,) = answer["flag_tables"]
    carries = answers[-1] == BOTH
    assert answer["answers"] == answers
    assert (code, answer["bigquery_carries_the_flag"], table["carries_the_flag"]) == (
        int(not carries),
        carries,
        carries,
    )
    assert (table["table"], [day["bigquery"] for day in table["dates"]]) == (
        STATUS_TABLE,
        list(said),
    )
    assert {day["agreement"] for day in answer["dates"]} == {"no statement"}


@pytest.mark.usefixtures("documents")
def test_the_screen_says_the_same(dataset: BigQuery, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of dates for each table of BigQuery, and the lines to copy."""
    make_status_table(dataset, flags(True, True, True, False))
    assert cli.main(["verify", "--days", "4", "--now", NOW.isoformat()]) == 0
    printed = capsys.readouterr().out
    assert [len(re.findall(rf" {word} *\n", printed)) for word in ("agree", "no statement")] == [
        4,
        4,
    ]
    assert f"{dataset.project}.{TABLE}" in printed
    assert printed.splitlines()[-3:] == [
        "use Firestore; BigQuery may stand in for it, as follows",
        AGREES.format(4),
        BOTH,
    ]


@pytest.mark.usefixtures("documents")
def test_there_is_no_such_table(dataset: BigQuery, capsys: pytest.CaptureFixture[str]) -> None:
    """That is an answer too."""
    code, answer = verify(capsys)
    sentence = f"phase2: no other table beside {dataset.project}.{TABLE} has the flag"
    assert (code, answer["answers"], answer["flag_tables"]) == (1, [sentence], [])


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("call", ["find", "read"])
def test_what_may_not_be_searched_or_read(
    dataset: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: str,
) -> None:
    """A table that may not be searched or read is one sentence, and the rest is reported."""
    make_status_table(dataset, flags(True, True, True, False))
    allowed = verify(capsys)[1]

    def refuse(*_: object) -> None:
        raise StoreError(
            "BigQuery: Forbidden: Access Denied: grant roles/bigquery.dataViewer on the dataset"
        )

    monkeypatch.setattr(BigQueryFlagTables, call, refuse)
    code, answer = verify(capsys)
    table = f"{dataset.project}.{TABLE}"
    what = f"look for other tables beside {table}" if call == "find" else f"read {STATUS_TABLE}"
    reason = "BigQuery: Forbidden: Access Denied: grant roles/bigquery.dataViewer on the dataset"
    assert (code, answer["answers"]) == (1, [f"phase2: could not {what}: {reason}"])
    assert answer["dates"] == allowed["dates"]
    assert answer["missing_columns"] == allowed["missing_columns"]


@pytest.mark.usefixtures("documents")
def test_a_flag_table_that_the_phases_file_names(
    dataset: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only what the entry lacks is proposed, and the table stands in for Firestore."""
    make_status_table(dataset, flags(True, True, True, False))
    text = BUNDLED_PHASES.read_text("utf-8")
    commented = f"# {LINE}"
    assert commented in text
    file = tmp_path / "phases.toml"
    file.write_text(text.replace(commented, LINE), "utf-8")
    monkeypatch.setenv("PHASES_FILE", str(file))
    answers = verify(capsys)[1]["answers"]
    assert answers[-1] == "in the phases file, under [phase2]: bigquery_carries_flag = true"
    file.write_text(
        file.read_text("utf-8").replace(
            "bigquery_carries_flag = false", "bigquery_carries_flag = true"
        )
    )

    def refuse(*_: object) -> None:
        raise StoreError("Firestore: Unavailable")

    monkeypatch.setattr(FirestoreDocuments, "get_all", refuse)
    cli.main(["status", "--days", "4", "--now", NOW.isoformat(), "--json"])
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert [one["triggered"] for one in verdicts] == [True, True, True, False]


def test_the_completion_log_of_another_phase_is_not_mixed_up(
    dataset: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two tables whose names end alike, each phase is compared by its own columns."""
    other = BigQuery(f"{dataset.project}-other", emulated=True)
    other.client.create_dataset("nba_orchestration")
    make_real_table(dataset)
    make_real_table(
        dataset, f"{other.project}.{TABLE}", added=[("is_triggered", "BOOLEAN", "NULLABLE")]
    )
    text = BUNDLED_PHASES.read_text("utf-8")
    third = text.replace("[phase2", "[phase3").replace("phase2_completion", "phase3_completion")
    file = tmp_path / "phases.toml"
    # The other project's table comes first.
    file.write_text(third.replace(f'"{TABLE}"', f'"{other.project}.{TABLE}"') + text, "utf-8")
    monkeypatch.setenv("PHASES_FILE", str(file))
    _, answer = verify(capsys)
    other.close()
    assert [(day["phase"], day["bigquery"]) for day in answer["dates"]] == [
        *[("phase3", False)] * 4,
        *[("phase2", None)] * 4,
    ]


RUNS = """runs_query = '''
SELECT name AS processor, day AS game_date, NULL AS started_at, NULL AS finished_at, NULL AS status
FROM nba.runs WHERE day BETWEEN @since AND @until'''
"""
FIVE = sorted(load_phase("phase2", BUNDLED_PHASES).expected)
HAS_RUNS = "phase2: runs_query has {} runs of 2026-02-08 to 2026-02-11"


@pytest.mark.parametrize(
    ("query", "names", "said"),
    [
        (RUNS, [*FIVE, FIVE[0], "p1_other"], f"{HAS_RUNS.format(7)}, of each expected processor"),
        (RUNS, FIVE[:3], f"{HAS_RUNS.format(3)}; it has none of {', '.join(FIVE[3:])}"),
        (RUNS, [], f"{HAS_RUNS.format(0)}; it has none of {', '.join(FIVE)}"),
        (
            RUNS.replace("AS processor", "AS who"),
            FIVE,
            "phase2: runs_query cannot be read: the query of runs has no column",
        ),
        (RUNS.replace("nba.runs", "nba.none"), FIVE, "no such table: nba.none"),
        ("", FIVE, ""),
    ],
    ids=["all", "some", "none", "a column is missing", "no such table", "no query"],
)
def test_whether_the_query_of_runs_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    capsys: pytest.CaptureFixture[str],
    query: str,
    names: list[str],
    said: str,
) -> None:
    """How many runs it has, and of whom none; or what is wrong with it."""
    (tmp_path / "datasets").mkdir()
    with closing(sqlite3.connect(tmp_path / "datasets" / "nba.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE runs (name TEXT, day TEXT)")
        connection.executemany(
            "INSERT INTO runs VALUES (?, '2026-02-09')", [(name,) for name in names]
        )
    with EmbeddedStores(tmp_path) as stores:
        stores.completion_log.setup()
    file = tmp_path / "phases.toml"
    file.write_text(
        BUNDLED_PHASES.read_text("utf-8").replace("[phase2]\n", f"[phase2]\n{query}", 1), "utf-8"
    )
    monkeypatch.setenv("PHASES_FILE", str(file))
    cli.main(["verify", "--days", "4", "--now", NOW.isoformat(), "--json", "--data", str(tmp_path)])
    answers = json.loads(capsys.readouterr().out)["answers"]
    about_runs = [answer for answer in answers if "runs_query" in answer]
    assert len(about_runs) == bool(said)
    assert said in "".join(about_runs)
