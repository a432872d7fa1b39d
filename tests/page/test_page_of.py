"""The page as a service of its own.

It shows what another canary remembers, and can neither write nor notify anybody.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import flask
import pytest

from canary.function import start
from canary.notify.channel import Channels
from canary.run import watch
from orchestrator_resilience import CheckpointLogger, ConfigurationError, Phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.bigquery import BigQuery
from orchestrator_resilience.stores.opening import open_stores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.doubles import RecordingChannel
from tests.tables import refuse_writes

CANARY = "other-canary"
LACKS = "p2_bigdataball_pbp"
Ask = Callable[..., flask.Response]


@pytest.fixture
def missing(dataset: BigQuery, phase: Phase, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let a canary of another name notify of a date that lacks a processor; yields the date."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # nobody is asked who we are, which takes seconds
    stores = open_stores(Settings.from_env(), {phase.name: phase})
    assert stores.completion_log.setup() != []
    assert dataset.project == Settings.from_env().project
    logger = CheckpointLogger(phase, RecordingSink())
    orchestrator = Orchestrator(phase, stores.documents, stores.completion_log, logger)
    now = datetime.now(UTC)
    day = phase.recent_dates(now, 3)[0]
    for number, processor in enumerate(sorted(phase.expected - {LACKS})):
        at = now - timedelta(days=2, minutes=number)
        orchestrator.deliver(push_envelope(processor, str(day), at, message_id=str(number)))
    for minutes in (30, 15, 0):
        channels = Channels(RecordingChannel("recorder"), canary=CANARY)
        watch(stores, {phase.name: phase}, channels, now - timedelta(minutes=minutes))
    yield str(day)
    stores.close()


def page() -> Ask:
    """Start what the environment says, and return what asks it."""
    handler = start()

    def asked(method: str, path: str) -> flask.Response:
        with flask.Flask("page").test_request_context(path, method=method):
            return cast("flask.Response", handler(flask.request))

    return asked


def test_it_shows_what_the_other_canary_remembers_and_writes_nothing(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On every path, against the emulators, of which nothing is asked that writes.

    It leaves no line of a run.
    """
    monkeypatch.setenv("PAGE_OF", CANARY)
    monkeypatch.setenv("K_SERVICE", "phase2-page")
    refuse_writes(monkeypatch)
    ask = page()
    pages = [ask("GET", path) for path in ("/", f"/dates/{missing}")]
    assert [page.status_code for page in pages] == [200, 200]
    board, date = (page.get_data(as_text=True) for page in pages)
    assert "you may only look" not in board + date
    assert "sent to recorder" in board
    assert "sent to recorder" in date
    assert f"--canary {CANARY}" in date
    status = ask("GET", "/status")
    assert missing in {
        verdict["game_date"] for verdict in json.loads(status.get_data())["verdicts"]
    }
    assert ask("HEAD", "/").status_code == 200
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("path", "allowed"), [("/", "GET, HEAD"), ("/notify-test", ""), ("/status", "GET, HEAD")]
)
@pytest.mark.usefixtures("stores")
def test_nothing_can_be_run_over_it(
    path: str, allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says which methods there are, and why."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(tmp_path / "stores"))
    monkeypatch.setenv("PAGE_OF", CANARY)
    ask = page()
    answer = ask("POST", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    reason = f"POST is not what {path} takes: this is a page of {CANARY}, which only reads"
    assert json.loads(answer.get_data()) == {"reason": reason}
    there_is = json.loads(ask("GET", "/x").get_data())["reason"]
    assert "there are /, /status and /dates/2026-02-09, with" in there_is


@pytest.mark.parametrize("variable", ["SLACK_WEBHOOK_URL", "HEARTBEAT_URL"])
def test_it_does_not_start_with_somebody_to_tell(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page beside which somebody expects messages would be silent.

    Both variables are named, no value is.
    """
    monkeypatch.setenv("PAGE_OF", CANARY)
    monkeypatch.setenv(variable, "https://example.com/secret")
    with pytest.raises(ConfigurationError, match=rf"^{variable}: PAGE_OF is set") as caught:
        start()
    assert "secret" not in str(caught.value)
