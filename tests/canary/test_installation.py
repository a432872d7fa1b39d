"""`canary verify` as the check of an installation, and `canary notify --test`."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from canary.commands import cli
from canary.run import Outcome
from orchestrator_resilience import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.table_sql import Table, completions_sql, view_sql
from tests.proof.listener import FakeWebhook, fake_webhook
from tests.tables import TABLE, make_real_table

NOW = datetime(2026, 2, 11, 12, tzinfo=UTC)
DAY = date(2026, 2, 9)
ARGUMENTS = ["verify", "--days", "4", "--now", NOW.isoformat(), "--json"]


def verify(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and the state of each point by its text."""
    code = cli.main([*ARGUMENTS, *more])
    points = json.loads(capsys.readouterr().out)["points"]
    return code, {point["text"]: point["state"] for point in points}


def state_of(points: dict[str, str], start: str) -> str:
    """Return the state of the only point that starts so."""
    (state,) = (state for text, state in points.items() if text.startswith(start))
    return state


def test_an_installation_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there holds, and what a phase may name and does not is absent: neither is wrong."""
    with EmbeddedStores(tmp_path) as stores:
        stores.completion_log.setup()
    code, points = verify(capsys, "--data", str(tmp_path))
    assert code == Outcome.COULD_NOT_TELL  # of the flag
    assert state_of(points, "phases file: ") == "HOLDS"
    assert points[f"stores: in folder {tmp_path}"] == "HOLDS"
    assert points["phase2: collection phase2_completion: documents of 0 of 4 dates"] == "ABSENT"
    assert state_of(points, "phase2: message_table: none, ") == "ABSENT"
    assert (
        state_of(points, "phase2: requests and errors of the service: ORCHESTRATOR_SERVICE")
        == "ABSENT"
    )
    assert state_of(points, "SLACK_WEBHOOK_URL is not set here") == "ABSENT"
    assert "WRONG" not in points.values()


def test_each_point_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a sign for whether it holds."""
    with EmbeddedStores(tmp_path) as stores:
        stores.completion_log.setup()
    cli.main([*ARGUMENTS[:-1], "--data", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert f"✓ stores: in folder {tmp_path}" in printed
    assert "- phase2: work_query: none, so a day without games is not known" in printed


@pytest.mark.parametrize("of", ["documents", "completion log", "both"])
def test_what_cannot_be_read(
    dataset: BigQuery, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    """Is said of each source; where nothing can be, nothing can be told."""
    make_real_table(dataset)

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("it is down")

    if of != "completion log":
        monkeypatch.setattr(FirestoreDocuments, "get_all", refuse)
    if of != "documents":
        monkeypatch.setattr(BigQueryCompletionLog, "summarise", refuse)
    code, points = verify(capsys)
    assert code == Outcome.COULD_NOT_TELL
    table, documents = f"phase2: completion log {TABLE}: ", "phase2: collection phase2_completion: "
    assert (state_of(points, table) == "UNKNOWN") == (of != "documents")
    assert (state_of(points, documents) == "UNKNOWN") == (of != "completion log")


def test_it_accepts_what_a_run_accepts(
    dataset: BigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column that nobody reads may be of another type."""
    schema = [
        ("phase", "STRING"),
        ("game_date", "DATE"),
        ("processor_name", "STRING"),
        ("status", "STRING"),
    ]
    schema += [("completed_at", "TIMESTAMP"), ("inserted_at", "TIMESTAMP"), ("metadata", "STRING")]
    fields = [bigquery.SchemaField(name, kind) for name, kind in schema]
    dataset.client.create_table(bigquery.Table(f"{dataset.project}.{TABLE}", fields))
    _, points = verify(capsys)
    assert points[f"phase2: completion log {TABLE}: rows of 0 of 4 dates"] == "ABSENT"
    assert "WRONG" not in points.values()


def test_a_table_of_another_schema(
    dataset: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that it lacks is said at once, with a view that can be read in its place."""
    name, elsewhere = f"{dataset.project}.{TABLE}", "nba_orchestration.runs_for_canary"
    fields = [
        ("run_date", "DATE"),
        ("processor", "STRING"),
        ("state", "STRING"),
        ("finished_at", "STRING"),
    ]
    table = bigquery.Table(name, [bigquery.SchemaField(*field) for field in fields])
    dataset.client.create_table(table)
    row = {"run_date": str(DAY), "processor": "p2_odds_game_lines", "state": "success"}
    assert (
        dataset.client.insert_rows_json(name, [{**row, "finished_at": "2026-02-10T01:00:00Z"}])
        == []
    )
    code, points = verify(capsys)
    (text,) = (text for text, state in points.items() if state == "WRONG")
    assert (code, text.splitlines()[0]) == (
        Outcome.PROBLEM,
        f"phase2: completion log {TABLE} lacks columns. This view would do:",
    )
    view = "\n".join(text.splitlines()[1:]).replace(
        f"{name}_for_canary", f"{dataset.project}.{elsewhere}"
    )
    dataset.client.query(view).result()
    file = tmp_path / "phases.toml"
    file.write_text(
        BUNDLED_PHASES.read_text("utf-8").replace(f'"{TABLE}"', f'"{elsewhere}"', 1), "utf-8"
    )
    monkeypatch.setenv("PHASES_FILE", str(file))
    documents = FirestoreDocuments(dataset.project)
    documents.merge(DocumentRef("phase2_completion", str(DAY)), {"_triggered": True})
    documents.close()
    _, points = verify(capsys)
    assert points[f"phase2: completion log {elsewhere}: rows of 1 of 4 dates"] == "HOLDS"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ({}, ["CAST(NULL AS DATE) AS game_date,  -- which column?", "'phase2' AS phase,"]),
        ({"game_date": "TIMESTAMP"}, ["DATE(game_date) AS game_date,"]),
        (
            {"day": "STRING", "name": "STRING"},
            ["SAFE_CAST(day AS DATE) AS game_date,", "name AS processor_name,"],
        ),
        (
            {"updated_at": "DATETIME"},
            ["TIMESTAMP(updated_at) AS completed_at,", "TIMESTAMP(updated_at) AS inserted_at"],
        ),
        ({"completed_at": "TIMESTAMP"}, ["completed_at,", "completed_at AS inserted_at"]),
        ({"is_triggered": "BOOL"}, ["is_triggered"]),
        ({"is_triggered": "STRING"}, ["CAST(NULL AS TIMESTAMP) AS inserted_at  -- which column?"]),
    ],
)
def test_a_view_of_the_columns_that_are_there(columns: dict[str, str], lines: list[str]) -> None:
    """What none is like is marked; a table that has them all needs none."""
    text = view_sql(Table("p.d.t", columns), "phase2")
    assert all(f"  {line}" in text.splitlines() for line in lines), text
    assert text.startswith("CREATE VIEW `p.d.t_for_canary` AS SELECT\n")
    whole = {"phase": "STRING", "game_date": "DATE", "processor_name": "STRING", "status": "STRING"}
    table = Table("p.d.t", {**whole, "completed_at": "TIMESTAMP", "inserted_at": "TIMESTAMP"})
    assert view_sql(table, "phase2") == ""
    assert completions_sql(table, ["phase2"])


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (BUNDLED_PHASES.read_text("utf-8"), 0, "phases.toml: phase2"),
        ("[phase2]\n", 2, "phases.toml"),
        ("not toml", 2, "phases.toml"),
        (None, 2, "phases.toml"),
    ],
    ids=["good", "a field is missing", "no TOML", "no file"],
)
def test_a_phases_file_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    code: int,
    said: str,
) -> None:
    """For CI: without a project or a folder, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "phases.toml"
    if text is not None:
        file.write_text(text, "utf-8")
    assert cli.main(["verify", "--phases", str(file)]) == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert [path.name for path in tmp_path.iterdir()] == (
        ["phases.toml"] if text is not None else []
    )


@pytest.mark.parametrize(
    ("url", "state"),
    [("https://hooks.slack.com/services/T/B/x", "HOLDS"), ("hooks.slack", "WRONG")],
)
def test_the_form_of_the_webhook(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    capsys: pytest.CaptureFixture[str],
    url: str,
    state: str,
) -> None:
    """It is looked at, not shown, and nothing is sent."""
    with EmbeddedStores(tmp_path) as stores:
        stores.completion_log.setup()
    monkeypatch.setenv("SLACK_WEBHOOK_URL", url)
    code, points = verify(capsys, "--data", str(tmp_path))
    assert state_of(points, "SLACK_WEBHOOK_URL") == state
    assert (code == Outcome.PROBLEM) == (state == "WRONG")
    assert url not in "".join(points)


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Any:
    with fake_webhook("/services/x") as webhook:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", webhook.url)
        yield webhook


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ((200, {}, "ok"), 0, "slack: sent"),
        ((404, {}, "no_service"), 1, "slack: Slack answered 404 no_service"),
    ],
)
def test_a_test_of_the_channels(
    slack: FakeWebhook, capsys: pytest.CaptureFixture[str], answer: Any, code: int, said: str
) -> None:
    """Each channel gets one marked message; the log entry is one that the alert policy matches."""
    slack.script = [answer]
    assert cli.main(["notify", "--test"]) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["log: sent", said]
    assert json.loads(printed.err)["canary_alert"] == "TEST"
    assert [post["text"].startswith("TEST · ") for post in slack.posts] == [True]


def test_a_test_as_json(slack: FakeWebhook, capsys: pytest.CaptureFixture[str]) -> None:
    """By channel: empty where it was sent, else why not."""
    slack.script = [(403, {}, "invalid_token")]
    assert cli.main(["notify", "--test", "--json"]) == Outcome.PROBLEM
    assert json.loads(capsys.readouterr().out) == {
        "channels": {"log": "", "slack": "Slack answered 403 invalid_token"}
    }


def test_nothing_is_sent_unasked(slack: FakeWebhook, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--test` it says what it would take."""
    assert cli.main(["notify"]) == Outcome.COULD_NOT_TELL
    assert "--test is needed" in capsys.readouterr().err
    assert slack.posts == []
