"""`canary probe` against a real topic and a real function: alive, stopped, crashing, misplaced."""

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from canary.commands import cli
from canary.commands.sent_probe import Probed, meaning, send_probe, what_is_wrong, who_else
from canary.commands.topic import Topic
from orchestrator_resilience import Phase, StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.contracts.logging_server import LoggingServer
from tests.proof.listener import QuietHandler, listening
from tests.topics import pushing_topic
from tools.emulators import EmulatorError, Server, free_port
from tools.functions import orchestrator_function

TOPIC = "nba-phase2-raw-complete"


@pytest.fixture
def table(dataset: BigQuery, phase: Phase) -> BigQuery:
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    return dataset


@contextmanager
def served(project: str, **environment: str) -> Iterator[Server]:
    known = {
        name: os.environ[name] for name in ("FIRESTORE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
    }
    named = {"K_SERVICE": "under-test", "K_REVISION": "under-test-00007-abc"}
    settings = {**known, "GOOGLE_CLOUD_PROJECT": project, **named, **environment}
    with (
        orchestrator_function(settings) as running,
        pushing_topic(project, f"http://{running.address}/"),
    ):
        yield running


def run_probe(
    capsys: pytest.CaptureFixture[str],
    topic: str = TOPIC,
    seconds: int = 1,
    service: str | None = None,
) -> tuple[int, str]:
    named = ["--service", service] if service else []
    code = cli.main(["probe", "--topic", topic, "--timeout", str(seconds), *named])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_alive(cloud: str, table: BigQuery, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is a document and two checkpoints, and other subscribers are named before."""
    with served(cloud) as function, SubscriberClient() as subscriber:
        other = subscriber.subscription_path(cloud, "starts-phase-3")
        subscriber.create_subscription(name=other, topic=f"projects/{cloud}/topics/{TOPIC}")
        code, printed = run_probe(capsys, seconds=30)
        named = run_probe(capsys, seconds=30, service="under-test")
        elsewhere = run_probe(capsys, seconds=30, service="phase2-orchestrator")
        log = function.log.read_text()
    alive = (
        f"alive: projects/{cloud}/topics/{TOPIC} reaches the orchestrator of phase2 "
        "(under-test-00007-abc), which"
    )
    assert (code, alive in printed, named[0], elsewhere[0]) == (0, True, 0, 1)
    assert (
        f"note: the probe goes to projects/{cloud}/subscriptions/orchestrator, {other}\n" in printed
    )
    said = (
        "it was the service under-test that answered, not phase2-orchestrator: the topic reaches "
        "another deployment"
    )
    assert said in elsewhere[1]
    client = firestore.Client(project=cloud)
    assert {one.id: len(list(one.stream())) for one in client.collections()} == {
        "orchestrator_probes": 3
    }
    client.close()  # type: ignore[no-untyped-call]
    query = (
        "SELECT COUNT(*) AS n FROM nba_orchestration.phase_completions WHERE game_date IS NOT NULL"
    )
    assert [row["n"] for row in table.query(query, [])] == [0]
    assert log.count("CHECKPOINT_RECEIVED: probe") == log.count("CHECKPOINT_PROBED: alive") == 3


@pytest.mark.usefixtures("dataset")
def test_another_list_and_no_table(
    cloud: str,
    phase: Phase,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A function that could not write, or was deployed with another list, is reported as such."""
    with served(cloud):
        without_table = run_probe(capsys, seconds=30)
    BigQueryCompletionLog(BigQuery(cloud, emulated=True), {"phase2": phase}).setup()
    more = BUNDLED_PHASES.read_text("utf-8") + '\np2_bdl_box_scores = ["BdlBoxScoresProcessor"]\n'
    (tmp_path / "phases.toml").write_text(more, "utf-8")
    with served(cloud, PHASES_FILE=str(tmp_path / "phases.toml")):
        another_list = run_probe(capsys, seconds=30)
    assert (without_table[0], another_list[0]) == (1, 1)
    assert "the orchestrator is alive, but BigQuery: NotFound" in without_table[1]
    assert "the orchestrator also waits for p2_bdl_box_scores: it was deployed" in another_list[1]


@pytest.mark.usefixtures("table")
def test_a_function_that_is_not_there_or_fails(
    cloud: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function with wrong settings left its port deaf, or its Firestore does not answer."""
    port = free_port()
    with monkeypatch.context() as patch:
        patch.setattr("tools.functions.free_port", lambda: port)
        starting = served(cloud, PHASES_FILE="/no-such-file.toml")
        with pytest.raises(EmulatorError, match=r"no-such-file\.toml"):
            starting.__enter__()
    with pushing_topic(cloud, f"http://127.0.0.1:{port}/"):
        stopped = run_probe(capsys)
    with served(cloud, FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{free_port()}"):
        failing = run_probe(capsys)
    assert (stopped[0], failing[0]) == (1, 1)
    assert re.search(r"not alive after [12] s: no answer: ", stopped[1])
    assert (
        f":{port}/, where nothing listens: the function is stopped, or ended as it started; read"
        in stopped[1]
    )
    assert (
        "which listens and has not answered: it fails, or is no orchestrator that knows probes"
        in failing[1]
    )


def test_the_wrong_topic(cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A topic that does not exist is named at once; one without a function is waited for."""
    with PublisherClient() as publisher:
        publisher.create_topic(name=publisher.topic_path(cloud, "elsewhere"))
    missing = f"canary: there is no topic projects/{cloud}/topics/nba-phase2-raw-complet\n"
    assert run_probe(capsys, "nba-phase2-raw-complet") == (2, missing)
    code, printed = run_probe(capsys, "elsewhere")
    assert code == 1
    assert (
        "the topic has no push subscription: no function is called. Is it the trigger's topic?"
        in printed
    )


def probe_with(log: LoggingServer, documents: FirestoreDocuments, phase: Phase) -> Probed:
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    requests = CloudLoggingArchive(project, connect=log.transport)
    with closing(documents):
        return send_probe(
            Topic(project, TOPIC), documents, requests, phase, seconds=0.5, note=pytest.fail
        )


WORDS = {
    503: "answers 503: it crashes as it starts or at each message; read its log",
    403: "refuses (403): the trigger's service account lacks roles/run.invoker on it",
    404: "answers 404: there is no such service any more, or its ingress keeps Pub/Sub out",
    429: "answers 429: no instance was available; look at its maximum of instances, and at its log",
    400: "answers 400: nothing that acknowledges a message; is it the orchestrator? Read its log",
    204: "took the message and left no answer: other code, or another project's Firestore",
}


@pytest.mark.parametrize("status", WORDS)
def test_what_the_front_end_answers(cloud: str, phase: Phase, status: int) -> None:
    """On Cloud Run a function that crashes at import is a 503 in the request log."""

    @contextmanager
    def front_end(log: LoggingServer, status: int) -> Iterator[tuple[str, Event]]:
        """Answer and log each request as Cloud Run's front end does; yield its address and log."""
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
        """A Firestore that answers after an event, so that a short probe waits for just that."""

        def __init__(self, project: str, happened: Event) -> None:
            super().__init__(project)
            self._happened = happened

        def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
            """Wait, then read."""
            assert self._happened.wait(15), "Pub/Sub has pushed nothing"
            return super().get_all(refs)

    with (
        LoggingServer(cloud) as log,
        front_end(log, status) as (address, asked),
        pushing_topic(cloud, address),
    ):
        probed = probe_with(log, Awaiting(cloud, asked), phase)
    where = f"projects/{cloud}/subscriptions/orchestrator pushes to {address}"
    assert probed.problem == f"no answer: {where}, which {WORDS[status]}"
    assert 0.5 <= probed.seconds < 10


def test_of_several_statuses_the_worst_counts() -> None:
    """A message that is refused comes again, so a probe leaves several requests."""
    found = [
        meaning(several)
        for several in ([403, 500], [204, 503, 504, 404], [204, 429, 404], [204, 429, 302])
    ]
    assert found == [WORDS[403], WORDS[503], WORDS[404], WORDS[429]]
    assert meaning([204, 409, 302]) == WORDS[400].replace("400", "302")
    assert meaning([0, 204]) == WORDS[400].replace("400", "0")
    assert meaning([]).startswith(
        "has had no request since that has ended: the service is gone, one request takes"
    )


def test_the_log_is_believed_in_bounded_time(
    cloud: str, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks a log without entries twice, and one that hangs costs only the time granted."""
    with LoggingServer(cloud) as log, pushing_topic(cloud, f"http://127.0.0.1:{free_port()}/"):
        believed = probe_with(log, FirestoreDocuments(cloud), phase)
        log.delay_seconds = 60
        monkeypatch.setattr("canary.commands.sent_probe.REASON_SECONDS", 4)
        began = time.monotonic()
        hung = probe_with(log, FirestoreDocuments(cloud), phase)
        took = time.monotonic() - began
        monkeypatch.setattr("canary.commands.sent_probe.REASON_SECONDS", -1)
        late = probe_with(log, FirestoreDocuments(cloud), phase)
    assert "which has had no request since that has ended: " in str(believed.problem)
    assert "(roles/iam.serviceAccountTokenCreator, or roles/pubsub.serviceAgent)" in str(
        believed.problem
    )
    assert str(hung.problem).startswith(
        "no answer, and why could not be found out: Cloud Logging: "
    )
    assert 2.5 <= hung.seconds <= took < 10  # half of what was granted is kept for a last try
    unknown = (
        "no answer, and why could not be found out: Cloud Logging: the search has not ended after "
        "0 s"
    )
    assert late.problem == unknown


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


@pytest.mark.parametrize("seconds", ["0", "601", "1000", "-1", "1.5", "soon"])
def test_nobody_waits_longer_than_probes_are_answered(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From one second to ten minutes."""
    assert cli.main(["probe", "--topic", TOPIC, "--timeout", seconds]) == 2
    assert "is not a number of seconds from 1 to 600" in capsys.readouterr().err


def test_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded stores have no topic."""
    assert run_probe(capsys) == (
        2,
        "canary: GOOGLE_CLOUD_PROJECT is not set: without a project there is no topic to probe\n",
    )


PUSHES = {"eventarc": "https://orchestrator-x-uc.a.run.app/?__GCP_CloudEventsMode=CUSTOM"}
PHASE3 = {"to-phase-3": "https://phase3-123456789012.us-central1.run.app/"}


@pytest.mark.parametrize(
    ("subscriptions", "service", "said"),
    [
        ({}, None, None),
        (PUSHES, None, None),
        (PUSHES | PHASE3, None, "the probe goes to eventarc, to-phase-3"),
        (PUSHES, "orchestrator", None),
        (PHASE3, "phase3", None),
        (
            PUSHES | PHASE3 | {"messages": ""},
            "orchestrator",
            "the probe also goes to messages, to-phase-3, not",
        ),
        (
            PUSHES,
            "orchestrator-x",
            "the probe also goes to eventarc, not known to push to orchestrator-x",
        ),
        ({"odd": "http://[::1"}, "orchestrator", "the probe also goes to odd, not known"),
        (
            {"evil": "https://orchestrator-x-uc.a.run.app.evil/"},
            "orchestrator",
            "the probe also goes to evil, not",
        ),
        (
            StoreError("Pub/Sub: 403"),
            "orchestrator",
            "who gets the probe could not be listed: Pub/Sub: 403",
        ),
    ],
)
def test_who_else_gets_it(
    subscriptions: dict[str, str] | StoreError, service: str | None, said: str | None
) -> None:
    """All of them where the service is not named; else those whose address is none of its two."""
    told = who_else(subscriptions, service)
    assert told == said if said is None else str(told).startswith(said)


@pytest.mark.parametrize(
    ("subscriptions", "words"),
    [
        (StoreError("Pub/Sub: 403"), "no answer, and why could not be found out: Pub/Sub: 403"),
        (
            {},
            (
                "no answer: the topic has no push subscription: no function is called. Is it the "
                "trigger's topic?"
            ),
        ),
        (
            {"to-bigquery": ""},
            (
                "no answer: the topic has no push subscription (only to-bigquery, which pushes "
                "nowhere)"
            ),
        ),
        (
            {"a": "http://x:99999/", "b": "http://a..b/"},
            (
                "no answer: a pushes to http://x:99999/, which is no address; b pushes to "
                "http://a..b/, where nothing"
            ),
        ),
        (
            {"a": "http://[::1", "b": "http://a..b/"},
            "; b pushes to http://a..b/, where nothing listens: ",
        ),
    ],
)
def test_what_cannot_be_looked_at(
    phase: Phase, subscriptions: dict[str, str] | StoreError, words: str
) -> None:
    """A refused listing and an impossible address do not end the probe; each has its sentence."""

    class Silent:
        """A topic that takes a message and lists `subscriptions`, or raises them.

        It is also a Firestore without an answer.
        """

        def __init__(self, subscriptions: dict[str, str] | StoreError) -> None:
            self._subscriptions = subscriptions

        def publish(self, *_: object) -> None:
            """Take it."""

        def subscriptions(self) -> dict[str, str]:
            """Refuse, or list."""
            if isinstance(self._subscriptions, StoreError):
                raise self._subscriptions
            return self._subscriptions

        def get_all(self, _: object) -> dict[object, object]:
            """Find nothing."""
            return {}

    silent: Any = Silent(subscriptions)
    notes: list[str] = []
    assert words in str(
        send_probe(silent, silent, None, phase, seconds=0.1, note=notes.append).problem
    )
    assert len(notes) == (isinstance(subscriptions, StoreError) or len(subscriptions) > 1)


def test_what_an_answer_may_have_wrong(phase: Phase) -> None:
    """Another phase, another list, a table that is not there; else nothing."""
    five = sorted(phase.expected)
    right = {"phase": "phase2", "expected": five, "completion_log": None}
    lacks = (
        f"the orchestrator also waits for x and does not wait for {five[0]}: it was deployed with "
        "another list"
    )
    elsewhere = "it was 'phase3' that answered, not phase2: the topic, or the function's PHASE"
    for answer, service, wrong in (
        (right, None, None),
        ({**right, "service": "s"}, "s", None),
        (right, "s", "what answered names no service, as s would: older code, or not on Cloud Run"),
        (
            {**right, "phase": "phase3"},
            None,
            elsewhere,
        ),
        ({**right, "expected": [*five[1:], "x"]}, None, lacks),
        ({**right, "completion_log": "no table"}, None, "the orchestrator is alive, but no table"),
    ):
        assert what_is_wrong(answer, phase, service) == wrong
