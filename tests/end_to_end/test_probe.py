"""`canary probe` against a real topic and a real function: alive, stopped, crashing, misplaced."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from canary.commands import cli
from canary.commands.probe import Probed, RequestLog, probe, what_is_wrong, who_else, why_silent
from canary.commands.topic import Subscription, Topic
from orchestrator_resilience import Phase, StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.contracts.logging_server import LoggingServer
from tests.listener import QuietHandler, listening
from tools.emulators import EmulatorError, Server, free_port
from tools.functions import orchestrator_function

PushingTopic = Callable[[str, str], AbstractContextManager[Callable[..., None]]]
TOPIC = "nba-phase2-raw-complete"


@pytest.fixture
def table(dataset: BigQuery, phase: Phase) -> BigQuery:
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    return dataset


@contextmanager
def served(project: str, pushing_topic: PushingTopic, **environment: str) -> Iterator[Server]:
    known = {name: os.environ[name] for name in ("FIRESTORE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")}
    named = {"K_SERVICE": "under-test", "K_REVISION": "under-test-00007-abc"}
    settings = {**known, "GOOGLE_CLOUD_PROJECT": project, **named, **environment}
    with orchestrator_function(settings) as running, pushing_topic(project, f"http://{running.address}/"):
        yield running


def run_probe(
    capsys: pytest.CaptureFixture[str], topic: str = TOPIC, seconds: int = 1, service: str | None = None
) -> tuple[int, str]:
    named = ["--service", service] if service else []
    code = cli.main(["probe", "--topic", topic, "--timeout", str(seconds), *named])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def subscribe(project: str, name: str) -> str:
    """Let somebody else pull from the topic; returns the whole name of the subscription."""
    with SubscriberClient() as subscriber:
        path: str = subscriber.subscription_path(project, name)
        subscriber.create_subscription(name=path, topic=f"projects/{project}/topics/{TOPIC}")
    return path


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
        f"alive: projects/{cloud}/topics/{TOPIC} reaches the orchestrator of phase2 (under-test-00007-abc)",
    )
    assert collections(cloud) == {"orchestrator_probes": 1}
    query = "SELECT COUNT(*) AS n FROM nba_orchestration.phase_completions WHERE game_date IS NOT NULL"
    assert [row["n"] for row in table.query(query, [])] == [0]
    assert log.count("CHECKPOINT_RECEIVED: probe") == log.count("CHECKPOINT_PROBED: alive") == 1


@pytest.mark.usefixtures("table")
def test_others_get_the_probe_as_well(
    cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are named before it is published, and do not keep it from being published."""
    with served(cloud, pushing_topic):
        other = subscribe(cloud, "starts-phase-3")
        code, printed = run_probe(capsys, seconds=30)
    mine = f"projects/{cloud}/subscriptions/orchestrator"
    assert (code, f"note: the probe goes to {mine}, {other}\n" in printed) == (0, True)


@pytest.mark.usefixtures("table")
def test_the_service_that_should_answer(
    cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another one than was named is no success, whatever it answers."""
    with served(cloud, pushing_topic):
        right = run_probe(capsys, seconds=30, service="under-test")
        wrong = run_probe(capsys, seconds=30, service="phase2-orchestrator")
    assert right[0] == 0
    said = "it was the service under-test that answered, not phase2-orchestrator: the topic reaches another deployment"
    assert (wrong[0], said in wrong[1]) == (1, True)


@pytest.mark.usefixtures("table")
def test_stopped(cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing listens where the subscription pushes to."""
    with pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        code, printed = run_probe(capsys)
    assert code == 1
    assert re.search(r"not alive after [12] s: no answer: ", printed)
    assert "where nothing listens: the function is stopped, or ended as it started; read its log" in printed
    assert collections(cloud) == {}


@pytest.mark.usefixtures("table")
def test_crash_at_import(
    cloud: str, pushing_topic: PushingTopic, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function whose settings are wrong ends as it starts, says why in its log, and leaves its port deaf."""
    port = free_port()
    monkeypatch.setattr("tools.functions.free_port", lambda: port)
    with (
        pytest.raises(EmulatorError, match=r"no-such-file\.toml"),
        served(cloud, pushing_topic, PHASES_FILE="/no-such-file.toml"),
    ):
        pass
    with pushing_topic(cloud, f"http://127.0.0.1:{port}/"):
        code, printed = run_probe(capsys)
    assert (code, f":{port}/, where nothing listens: the function is stopped, or ended as" in printed) == (1, True)


@contextmanager
def front_end(log: LoggingServer, status: int) -> Iterator[tuple[str, Event]]:
    """Answer each request as Cloud Run's front end does, and log it; yields the address, and what is set by then."""
    asked = Event()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 (the name that the server calls)
            at = datetime.now(UTC)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            log.log_request(address, status, at)
            asked.set()

    with listening(Handler) as listener:
        address = f"{listener}/"
        yield address, asked


class Awaiting(FirestoreDocuments):
    """A Firestore that answers when something has happened, so that a probe of half a second waits for that."""

    def __init__(self, project: str, happened: Event) -> None:
        super().__init__(project)
        self._happened = happened

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Wait, then read."""
        assert self._happened.wait(15), "Pub/Sub has pushed nothing"
        return super().get_all(refs)


def probe_with(log: RequestLog, documents: FirestoreDocuments, phase: Phase, **more: Any) -> Probed:
    try:
        return probe(
            Topic(os.environ["GOOGLE_CLOUD_PROJECT"], TOPIC),
            documents,
            log,
            phase,
            seconds=0.5,
            note=pytest.fail,
            **more,
        )
    finally:
        documents.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (503, "which answers 503: it crashes as it starts or at each message; read its log"),
        (403, "which refuses (403): the trigger's service account lacks roles/run.invoker on it"),
        (404, "which answers 404: there is no such service any more, or its ingress keeps Pub/Sub out"),
        (429, "which answers 429: no instance was available"),
        (400, "which answers 400: nothing that acknowledges a message"),
        (204, "which took the message and left no answer: other code, or another project's Firestore"),
    ],
)
def test_what_the_front_end_answers(
    cloud: str, phase: Phase, pushing_topic: PushingTopic, status: int, words: str
) -> None:
    """On Cloud Run something always listens; a function that crashes at import is a 503 in the request log."""
    with LoggingServer(cloud) as log, front_end(log, status) as (address, asked), pushing_topic(cloud, address):
        probed = probe_with(CloudLoggingArchive(cloud, transport=log.transport()), Awaiting(cloud, asked), phase)
    subscription = f"projects/{cloud}/subscriptions/orchestrator"
    assert str(probed.problem).startswith(f"no answer: {subscription} pushes to {address}, {words}")
    assert 0.5 <= probed.seconds < 10


def test_the_log_is_believed_and_not_the_knock(cloud: str, phase: Phase, pushing_topic: PushingTopic) -> None:
    """Nothing listens, and nothing was logged: a request that did not come may have several reasons."""
    with LoggingServer(cloud) as log, pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        probed = probe_with(CloudLoggingArchive(cloud, transport=log.transport()), FirestoreDocuments(cloud), phase)
    assert "which has had no request since that has ended: " in str(probed.problem)
    assert "(roles/iam.serviceAccountTokenCreator, or roles/pubsub.serviceAgent)" in str(probed.problem)


def test_the_reason_is_looked_for_in_bounded_time(cloud: str, phase: Phase, pushing_topic: PushingTopic) -> None:
    """A log that hangs costs what was granted, and the seconds that are told have it."""
    with LoggingServer(cloud) as log, pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        log.delay_seconds = 60
        archive = CloudLoggingArchive(cloud, transport=log.transport())
        began = time.monotonic()
        probed = probe_with(archive, FirestoreDocuments(cloud), phase, reason_seconds=4)
        took = time.monotonic() - began
        late = probe_with(archive, FirestoreDocuments(cloud), phase, reason_seconds=-1)
    assert str(probed.problem).startswith("no answer, and why could not be found out: Cloud Logging: ")
    assert 2.5 <= probed.seconds <= took < 10  # half of what was granted is kept for a last try
    assert late.problem == "no answer, and why could not be found out in time"


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


def test_a_pubsub_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the wait ends in time, too."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{deaf.getsockname()[1]}")
        topic = Topic("project", TOPIC, seconds=1)
        for call in (topic.subscriptions, lambda: topic.publish(b"", {})):
            began = time.monotonic()
            with pytest.raises(StoreError, match="Pub/Sub: "):
                call()
            assert time.monotonic() - began < 4


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


@pytest.mark.parametrize("seconds", ["0", "601", "1000", "-1", "1.5", "soon"])
def test_nobody_waits_longer_than_probes_are_answered(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From one second to ten minutes."""
    assert cli.main(["probe", "--topic", TOPIC, "--timeout", seconds]) == 2
    assert "is not a number of seconds from 1 to 600" in capsys.readouterr().err


def test_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded stores have no topic."""
    assert run_probe(capsys) == (
        2,
        "canary: GOOGLE_CLOUD_PROJECT is not set: without a project there is no topic to probe\n",
    )


URL = "https://orchestrator-x-uc.a.run.app/?__GCP_CloudEventsMode=CUSTOM"
PUSHES = Subscription("eventarc", URL)
OTHER_URL = "https://phase3-123456789012.us-central1.run.app/"
OTHER = Subscription("to-phase-3", OTHER_URL)


@pytest.mark.parametrize(
    ("subscriptions", "deaf", "statuses", "words"),
    [
        ([], [], {}, "the topic has no push subscription: no function is called"),
        ([Subscription("to-bigquery", None)], [], {}, "only to-bigquery, which pushes nowhere"),
        ([PUSHES], [URL], None, "where nothing listens"),
        ([PUSHES], [], None, "which listens and has not answered"),
        ([PUSHES], [URL], {URL: []}, "which has had no request since that has ended: the service is gone"),
        ([PUSHES], [], {URL: [403, 500]}, "which refuses (403): the trigger's service account lacks roles/run.invoker"),
        ([PUSHES], [], {URL: [204, 503]}, "which answers 503: it crashes as it starts or at each message"),
        ([PUSHES], [], {URL: [204, 429, 404]}, "which answers 404: there is no such service any more, or its ingress"),
        ([PUSHES], [], {URL: [204, 429]}, "which answers 429: no instance was available"),
        ([PUSHES], [], {URL: [204, 302]}, "which answers 302: nothing that acknowledges a message"),
        ([PUSHES], [], {URL: [204]}, "which took the message and left no answer: other code, or another project's"),
        ([PUSHES, OTHER], [OTHER_URL], None, f"; to-phase-3 pushes to {OTHER_URL}, where nothing listens"),
        ([OTHER, PUSHES], [], {URL: [403], OTHER_URL: [204]}, f"Firestore; eventarc pushes to {URL}, which refuses"),
        ([Subscription("odd", "http://[::1")], [], None, "odd pushes to http://[::1, which is no address"),
        ([Subscription("odd", "https:///x"), PUSHES], [], {URL: [503]}, "which is no address; eventarc pushes to"),
    ],
)
def test_why_nobody_answered(
    subscriptions: list[Subscription], deaf: list[str], statuses: dict[str, list[int]] | None, words: str
) -> None:
    """Each thing that can be seen from outside has its sentence."""
    assert words in why_silent(subscriptions, deaf, statuses)


MESSAGE_LOG = Subscription("messages", None)


@pytest.mark.parametrize(
    ("subscriptions", "service", "said"),
    [
        ([], None, None),
        ([PUSHES], None, None),
        ([PUSHES, OTHER], None, "the probe goes to eventarc, to-phase-3"),
        ([PUSHES], "orchestrator", None),
        ([OTHER], "phase3", None),
        (
            [PUSHES, OTHER, MESSAGE_LOG],
            "orchestrator",
            "the probe also goes to messages, to-phase-3, not known to push to",
        ),
        ([PUSHES], "orchestrator-x", "the probe also goes to eventarc, not known to push to orchestrator-x"),
        ([Subscription("odd", "http://[::1")], "orchestrator", "the probe also goes to odd, not known"),
        (StoreError("Pub/Sub: 403"), "orchestrator", "who gets the probe could not be listed: Pub/Sub: 403"),
    ],
)
def test_who_else_gets_it(
    subscriptions: list[Subscription] | StoreError, service: str | None, said: str | None
) -> None:
    """All of them where the service is not named; else those whose address is none of its two."""
    told = who_else(subscriptions, service)
    assert told == said if said is None else str(told).startswith(said)


class Unlisted:
    """A topic to which one may publish, and no more."""

    def __init__(self, subscriptions: list[Subscription] | None = None) -> None:
        self._subscriptions = subscriptions

    def publish(self, *_: object) -> None:
        """Take it."""

    def subscriptions(self) -> list[Subscription]:
        """Refuse, or list."""
        if self._subscriptions is None:
            raise StoreError("Pub/Sub: 403")
        return self._subscriptions


class Empty:
    """A Firestore without an answer."""

    def get_all(self, _: object) -> dict[object, object]:
        """Find nothing."""
        return {}


@pytest.mark.parametrize(
    ("subscriptions", "words"),
    [
        (None, "no answer, and why could not be found out: Pub/Sub: 403"),
        (
            [Subscription("a", "http://[::1"), Subscription("b", "http://x:99999/"), Subscription("c", "http://a..b/")],
            (
                "no answer: a pushes to http://[::1, which is no address; b pushes to http://x:99999/, "
                "which is no address; c pushes to http://a..b/, where nothing listens"
            ),
        ),
    ],
)
def test_what_cannot_be_looked_at(phase: Phase, subscriptions: list[Subscription] | None, words: str) -> None:
    """Neither a listing that is refused nor an address that is none ends the probe."""
    topic: Any = Unlisted(subscriptions)
    documents: Any = Empty()
    notes: list[str] = []
    probed = probe(topic, documents, None, phase, seconds=0.1, note=notes.append)
    assert str(probed.problem).startswith(words)
    assert len(notes) == 1


def test_what_an_answer_may_have_wrong(phase: Phase) -> None:
    """Another phase, another list, a table that is not there; else nothing."""
    right = {"phase": "phase2", "expected": sorted(phase.expected), "completion_log": None}
    five = sorted(phase.expected)
    assert what_is_wrong(right, phase) is None
    assert what_is_wrong({**right, "service": "s"}, phase, "s") is None
    assert what_is_wrong(right, phase, "s") == (
        "what answered names no service, as s would: older code, or not on Cloud Run"
    )
    assert what_is_wrong({**right, "phase": "phase3"}, phase) == (
        "it was 'phase3' that answered, not phase2: the topic, or the function's PHASE"
    )
    assert what_is_wrong({**right, "expected": [*five[1:], "x"]}, phase) == (
        f"the orchestrator also waits for x and does not wait for {five[0]}: it was deployed with another list"
    )
    assert what_is_wrong({**right, "completion_log": "no table"}, phase) == "the orchestrator is alive, but no table"
