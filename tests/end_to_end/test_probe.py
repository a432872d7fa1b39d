"""`canary probe` against a real topic and a real function: alive, stopped, crashing, misplaced."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient  # type: ignore[import-untyped]

from canary import cli
from canary.probe import what_is_wrong, why_silent
from canary.topic import Subscription
from local.emulators import EmulatorError, Server, free_port
from local.functions import orchestrator_function
from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog

PushingTopic = Callable[[str, str], AbstractContextManager[Callable[..., None]]]
TOPIC = "nba-phase2-raw-complete"


@pytest.fixture
def table(dataset: BigQuery, phase: Phase) -> BigQuery:
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    return dataset


@contextmanager
def served(project: str, pushing_topic: PushingTopic, **environment: str) -> Iterator[Server]:
    known = {name: os.environ[name] for name in ("FIRESTORE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")}
    settings = {**known, "GOOGLE_CLOUD_PROJECT": project, "K_SERVICE": "under-test", **environment}
    with orchestrator_function(settings) as running, pushing_topic(project, f"http://{running.address}/"):
        yield running


def run_probe(capsys: pytest.CaptureFixture[str], topic: str = TOPIC, seconds: int = 3) -> tuple[int, str]:
    code = cli.main(["probe", "--topic", topic, "--timeout", str(seconds)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def collections(project: str) -> dict[str, int]:
    client = firestore.Client(project=project)
    found = {one.id: len(list(one.stream())) for one in client.collections()}
    client.close()  # type: ignore[no-untyped-call]
    return found


def test_alive(cloud: str, table: BigQuery, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is a document beside the real ones, and two checkpoints; no date and no row is touched."""
    with served(cloud, pushing_topic) as function:
        code, printed = run_probe(capsys, seconds=30)
        log = function.log.read_text()
    assert (code, printed.partition(", which answered")[0]) == (
        0,
        f"alive: projects/{cloud}/topics/{TOPIC} reaches the orchestrator of phase2",
    )
    assert collections(cloud) == {"orchestrator_probes": 1}
    query = "SELECT COUNT(*) AS n FROM nba_orchestration.phase_completions WHERE game_date IS NOT NULL"
    assert [row["n"] for row in table.query(query, [])] == [0]
    assert log.count("CHECKPOINT_RECEIVED: probe") == log.count("CHECKPOINT_PROBED: alive") == 1


@pytest.mark.usefixtures("table")
def test_stopped(cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing listens where the subscription pushes to."""
    with pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        code, printed = run_probe(capsys)
    assert code == 1
    assert "not alive after 3 s: no answer: " in printed
    assert "where nothing listens: the function is stopped, or ended as it started; read its log" in printed
    assert collections(cloud) == {}


@pytest.mark.usefixtures("table")
def test_crash_at_import(cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """A function whose settings are wrong ends as it starts, and says why in its log."""
    with (
        pytest.raises(EmulatorError, match=r"no-such-file\.toml"),
        served(cloud, pushing_topic, PHASES_FILE="/no-such-file.toml"),
    ):
        pass
    with pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        code, printed = run_probe(capsys)
    assert (code, "ended as it started" in printed) == (1, True)


@pytest.mark.usefixtures("table")
def test_crash_at_each_message(cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """It listens, and its Firestore does not answer."""
    with served(cloud, pushing_topic, FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{free_port()}"):
        code, printed = run_probe(capsys)
    assert code == 1
    assert "which listens and has not answered: it fails, or is no orchestrator that knows probes" in printed


def test_no_such_topic(cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A topic that does not exist is named, at once."""
    assert run_probe(capsys, "nba-phase2-raw-complet") == (
        2,
        f"canary: there is no topic projects/{cloud}/topics/nba-phase2-raw-complet\n",
    )


def test_another_topic(cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A topic that exists, and that no function is subscribed to."""
    publisher = PublisherClient()
    publisher.create_topic(name=publisher.topic_path(cloud, "elsewhere"))
    code, printed = run_probe(capsys, "elsewhere")
    publisher.stop()
    publisher.transport.close()
    assert code == 1
    assert "the topic has no push subscription: no function is called. Is it the trigger's topic?" in printed


@pytest.mark.usefixtures("table")
def test_another_list(
    cloud: str, pushing_topic: PushingTopic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The orchestrator was deployed with a processor that this list does not have."""
    more = BUNDLED_PHASES.read_text("utf-8") + '\np2_bdl_box_scores = ["BdlBoxScoresProcessor"]\n'
    (tmp_path / "phases.toml").write_text(more, "utf-8")
    with served(cloud, pushing_topic, PHASES_FILE=str(tmp_path / "phases.toml")):
        code, printed = run_probe(capsys, seconds=30)
    assert (code, "the orchestrator also waits for p2_bdl_box_scores: it was deployed" in printed) == (1, True)


def test_no_table(cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """The function answers, and could not write what it is there for."""
    with served(cloud, pushing_topic):
        code, printed = run_probe(capsys, seconds=30)
    assert (code, "the orchestrator is alive, but BigQuery: NotFound" in printed) == (1, True)


def test_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded stores have no topic."""
    assert run_probe(capsys) == (
        2,
        "canary: GOOGLE_CLOUD_PROJECT is not set: without a project there is no topic to probe\n",
    )


URL = "https://orchestrator-x-uc.a.run.app/?__GCP_CloudEventsMode=CUSTOM"
PUSHES = Subscription("eventarc-orchestrator", URL)


@pytest.mark.parametrize(
    ("subscriptions", "deaf", "statuses", "words"),
    [
        ([], [], {}, "the topic has no push subscription: no function is called"),
        ([Subscription("to-bigquery", None)], [], {}, "only to-bigquery, which pushes nowhere"),
        ([PUSHES], [URL], None, "where nothing listens"),
        ([PUSHES], [], None, "which listens and has not answered"),
        ([PUSHES], [], {URL: []}, "which has had no request since: look at the subscription"),
        ([PUSHES], [], {URL: [403, 500]}, "which refuses (403): the trigger's service account lacks roles/run.invoker"),
        ([PUSHES], [], {URL: [204, 503]}, "which answers 503: it crashes as it starts or at each message"),
        ([PUSHES], [], {URL: [204]}, "which took the message and left no answer: other code, or another project's"),
    ],
)
def test_why_nobody_answered(
    subscriptions: list[Subscription], deaf: list[str], statuses: dict[str, list[int]] | None, words: str
) -> None:
    """Each thing that can be seen from outside has its sentence."""
    assert words in why_silent(subscriptions, deaf, statuses)


def test_what_an_answer_may_have_wrong(phase: Phase) -> None:
    """Another phase, another list, a table that is not there; else nothing."""
    right = {"phase": "phase2", "expected": sorted(phase.expected), "completion_log": None}
    five = sorted(phase.expected)
    assert what_is_wrong(right, phase) is None
    assert what_is_wrong({**right, "phase": "phase3"}, phase) == (
        "it was 'phase3' that answered, not phase2: the topic, or the function's PHASE"
    )
    assert what_is_wrong({**right, "expected": [*five[1:], "x"]}, phase) == (
        f"the orchestrator also waits for x and does not wait for {five[0]}: it was deployed with another list"
    )
    assert what_is_wrong({**right, "completion_log": "no table"}, phase) == "the orchestrator is alive, but no table"
