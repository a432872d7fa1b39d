"""Whatever a server does, a call over HTTP ends in its time, and nothing is left of it."""

import logging
import random
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import ClassVar

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, DeliveryError, Phase, StoreError
from orchestrator_resilience.background import MAX_LEFT_BEHIND, Background
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.http_calls import Answer, NoAnswer, call, end_calls_in_time
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.bad_servers import KINDS, Kind, Manner, bad_server, call_all, threads, trusted
from tests.proof.listener import QuietHandler, listening
from tools.emulators import free_port

NOW = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
MESSAGE = push_envelope("p2_nbacom_boxscores", "2026-02-09", NOW, message_id="1")
DRIPPING = Kind("http", "a body with a length", Manner.DRIPS)
LATE_SECONDS = 2.0  # on a machine that has other things to do
POST = {"text": "t"}


@pytest.fixture(scope="module")
def ssl_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """Return what a server needs to be believed."""
    with trusted(tmp_path_factory.mktemp("certificate")) as context:
        yield context


def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up, threading.enumerate()
        time.sleep(0.02)


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(KINDS), posts=st.booleans(), by_session=st.booleans())
def test_a_call_ends_in_its_time(
    ssl_context: ssl.SSLContext,
    kind: Kind,
    posts: bool,  # noqa: FBT001
    by_session: bool,  # noqa: FBT001
) -> None:
    """Whatever the server does and wherever it begins to, in 50 ms.

    Its connection is closed, and no thread is left.
    """
    before = threads()
    body = {"text": "x" * (10 if kind.reads else 5_000_000)} if posts else None
    with bad_server(kind, ssl_context) as address:
        began = time.monotonic()
        if by_session:
            with requests.Session() as session, suppress(requests.RequestException):
                end_calls_in_time(session, 0.05)
                session.request("POST" if posts else "GET", address, json=body)
        else:
            answer = call(f"{address}/secret", Deadline(0.05), body)
            # As much as there is of it: an answer that is cut short is none to a post.
            assert isinstance(answer, NoAnswer) or not posts or answer.text != "ok"
        assert time.monotonic() - began < 0.05 + LATE_SECONDS
        eventually(lambda: threads() <= before)  # that of the look-up may be about to end
    eventually(lambda: threads(servers=True) == 0)


def test_nothing_grows(ssl_context: ssl.SSLContext) -> None:
    """Neither threads nor memory, call after call."""
    rng, before = random.Random(1), threads()
    call_all(KINDS[::7], ssl_context)
    figures = call_all(rng.sample(KINDS, 100), ssl_context)
    assert figures.threads <= before + 1  # as above
    assert figures.megabytes < 30


# Too many headers end a call by themselves, and so does what is no TLS.
DRIPS = [
    kind
    for kind in KINDS
    if kind.manner is Manner.DRIPS and kind.point not in {"the headers", "no TLS"}
]


@pytest.mark.parametrize("kind", [kind for kind in DRIPS if kind.reads], ids=str)
def test_a_session_says_that_the_time_was_over(ssl_context: ssl.SSLContext, kind: Kind) -> None:
    """Wherever the answer begins to drip."""
    with bad_server(kind, ssl_context) as address, requests.Session() as session:
        end_calls_in_time(session, 0.3)
        with pytest.raises(requests.ReadTimeout, match=r"no whole answer within 0\.3 s"):
            session.get(address, timeout=30)


def test_an_endless_answer_is_not_read(ssl_context: ssl.SSLContext) -> None:
    """Some KB of it, however fast it comes and however much time there is."""
    with bad_server(Kind("http", "a body without one", Manner.NEVER_ENDS), ssl_context) as address:
        tracemalloc.start()
        answer = call(f"{address}/secret", Deadline(30), POST)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert answer == Answer(200, "x" * 4097, 0.0)
    assert peak < 4_000_000


class Redirecting(QuietHandler):
    """Redirects, and says ok where it redirects to."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # noqa: D102, N802 (the name that the server calls)
        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code = int(self.path.rpartition("/")[2]) if self.path != "/ok" else 200
        self.send_response(code)
        self.send_header("Location", "/ok")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}" if body or code != 200 else b"ok")

    do_POST = do_GET  # noqa: N815 (as above)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [None, POST])
def test_no_redirect_is_followed(status: int, body: dict[str, str] | None) -> None:
    """It is the answer to a call, and an error of a session's."""
    Redirecting.asked = []
    with listening(Redirecting) as address, requests.Session() as session:
        assert call(f"{address}/{status}", Deadline(10), body) == Answer(
            status, "{}" if body else "", 0.0
        )
        end_calls_in_time(session, 10)
        with pytest.raises(requests.TooManyRedirects):
            session.request("POST" if body else "GET", f"{address}/{status}", json=body)
    assert Redirecting.asked == [f"/{status}"] * 2


def test_who_answers_in_time_is_heard() -> None:
    """Call after call, whatever became of others."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 (the name that the server calls)
            time.sleep(0.6 * (self.path == "/slow"))
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            with suppress(OSError):  # nobody waits for the slow one any more
                self.wfile.write(b"all")

    with listening(Handler) as address, requests.Session() as session:
        end_calls_in_time(session, 0.3)
        for _ in range(3):
            with pytest.raises(requests.ReadTimeout):
                session.get(f"{address}/slow", timeout=30)
            assert [session.get(address, timeout=30).text for _ in range(3)] == ["all"] * 3


def test_a_bigquery_that_drips(
    stores: EmbeddedStores,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
    ssl_context: ssl.SSLContext,
) -> None:
    """Each of its calls ends in its time.

    A delivery is registered, fails, and leaves no thread behind.
    """
    before = threads()
    row = completion_row(Completion.from_event(MESSAGE, phase))
    with bad_server(DRIPPING, ssl_context) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        bigquery, sink = BigQuery("p", emulated=True, seconds=1), RecordingSink()
        log, day = BigQueryCompletionLog(bigquery, {"phase2": phase}), date(2026, 2, 9)
        for ask in (
            lambda: log.append([row], now=NOW),
            lambda: log.summarise(["phase2"], day, day),
            log.missing_columns,
            log.setup,
        ):
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"BigQuery: .*no whole answer within 0\.25 s"):
                ask()
            assert time.monotonic() - began < 3
        orchestrator = Orchestrator(phase, stores.documents, log, CheckpointLogger(phase, sink))
        for _ in range(5):
            with pytest.raises(DeliveryError, match="append_completion: StoreError"):
                orchestrator.deliver(MESSAGE)
        bigquery.close()
        eventually(lambda: threads() <= before)  # a thread of another test may have ended as well
    eventually(lambda: threads(servers=True) == 0)
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "WAITING", "FAILED"] * 5


def test_what_was_certainly_not_posted(ssl_context: ssl.SSLContext) -> None:
    """Where nobody listens or a name is none; where somebody was connected to, nobody knows."""
    refused = call(f"http://127.0.0.1:{free_port()}/secret", Deadline(10), POST)
    assert refused == NoAnswer("ConnectionRefusedError", may_be_posted=False)
    assert call("https://name.invalid/secret", Deadline(10), POST) == NoAnswer(
        "gaierror", may_be_posted=False
    )
    with bad_server(Kind("http", "the answer", Manner.CLOSES), ssl_context) as address:
        assert call(f"{address}/secret", Deadline(10), POST) == NoAnswer(
            "RemoteDisconnected", may_be_posted=True
        )


def test_a_server_that_takes_no_connections() -> None:
    """Its queue is full, and no more is answered: the call and its thread end in its time."""
    before = threads()
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        began = time.monotonic()
        answer = call(f"http://127.0.0.1:{listener.getsockname()[1]}/secret", Deadline(0.3), POST)
        assert time.monotonic() - began < 0.3 + LATE_SECONDS
        assert answer == NoAnswer("TimeoutError", may_be_posted=False)
        eventually(lambda: threads() == before)


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few threads are left behind for its host.

    Other hosts are called, and other threads begun, as before.
    """
    over, look_up, before = threading.Event(), socket.getaddrinfo, threads()

    def hanging(host: str, *args: object, **how: object) -> object:
        if host != "localhost":
            return look_up(host, *args, **how)  # type: ignore[arg-type]
        over.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hanging)  # no resolver here can be made to hang
    began = time.monotonic()
    for _ in range(MAX_LEFT_BEHIND + 4):
        answer = call("https://localhost/secret", Deadline(0.1), POST)
        assert answer == NoAnswer("TimeoutError", may_be_posted=False)
    assert time.monotonic() - began < 12 * 0.1 + LATE_SECONDS
    assert before < threads() <= before + MAX_LEFT_BEHIND
    with listening(Redirecting) as address:
        assert call(f"{address}/ok", Deadline(10)) == Answer(200, "", 0.0)
    assert Background(lambda: 7).answer(Deadline(10)) == 7
    over.set()
    eventually(lambda: threads() == before)


def test_no_log_has_the_address(
    ssl_context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the libraries write down of other calls, and of headers that are none."""
    caplog.set_level(logging.DEBUG)

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 (as above)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nnot a header\r\nContent-Length: 2\r\n\r\nok")

    with listening(Handler) as address, requests.Session() as session:
        end_calls_in_time(session, 10)
        session.post(f"{address}/open")
        assert "Failed to parse headers" in caplog.text
        assert '"POST /open HTTP/1.1" 200' in caplog.text
        caplog.clear()
        assert call(f"{address}/services/secret?key=secret", Deadline(10), POST) == Answer(
            200, "ok", 0.0
        )
    for kind in KINDS[::9]:
        with bad_server(kind, ssl_context) as address:
            call(f"{address}/services/secret?key=secret", Deadline(0.1), POST)
    assert caplog.text == ""


def test_who_is_not_believed_gets_no_secret(
    ssl_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody knows ends the call."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with bad_server(Kind("https", "the answer", Manner.IS_SILENT), ssl_context) as address:
        answer = call(f"{address}/secret", Deadline(10), POST)
    assert answer == NoAnswer("SSLCertVerificationError", may_be_posted=True)


class Proxy(QuietHandler):
    """Connects to whom it is asked for, and keeps what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_CONNECT(self) -> None:  # noqa: D102, N802 (as above)
        self.asked.append(self.requestline)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as behind:
            self.send_response(200)
            self.end_headers()
            threading.Thread(
                target=self._carry, args=(behind, self.connection), daemon=True
            ).start()
            self._carry(self.connection, behind)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def test_the_proxy_of_the_environment(
    ssl_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used, does not see the path, and does not hold a call either.

    NO_PROXY is listened to.
    """
    Redirecting.asked, Proxy.asked = [], []
    with listening(Redirecting, ssl_context) as address, listening(Proxy) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        assert call(f"{address}/ok", Deadline(10)) == Answer(200, "", 0.0)
        assert (Proxy.asked, Redirecting.asked) == ([f"CONNECT {address[8:]} HTTP/1.0"], ["/ok"])
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert call(f"{address}/ok", Deadline(10)) == Answer(200, "", 0.0)
        assert (len(Proxy.asked), len(Redirecting.asked)) == (1, 2)
    monkeypatch.delenv("NO_PROXY")
    for point in ("the answer", "a header", "the headers"):
        for manner in (Manner.IS_SILENT, Manner.DRIPS):
            with bad_server(Kind("http", point, manner), ssl_context) as proxy:
                monkeypatch.setenv("HTTPS_PROXY", proxy)
                began = time.monotonic()
                assert isinstance(call("https://127.0.0.1:1/secret", Deadline(0.1), POST), NoAnswer)
                assert time.monotonic() - began < 0.1 + LATE_SECONDS


def test_the_call_for_a_token_ends_as_well(ssl_context: ssl.SSLContext) -> None:
    """Google's sessions make it with another one of theirs."""
    session = AuthorizedSession(AnonymousCredentials())  # type: ignore[no-untyped-call]
    end_calls_in_time(session, 0.3)
    with bad_server(DRIPPING, ssl_context) as address, pytest.raises(requests.ReadTimeout):
        # which no call can be made to use without credentials
        session._auth_request_session.get(address, timeout=30)
