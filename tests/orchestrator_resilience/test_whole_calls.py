"""A server that sends a byte now and then holds nobody beyond the time of a call."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator_resilience import CheckpointLogger, DeliveryError, Phase, StoreError
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.whole_calls import WholeCalls
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.listener import QuietHandler, listening

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
# What comes at once, before the rest comes byte by byte, in which the answer never ends.
BEGINNINGS = {
    "nothing": b"",
    "status": HEAD,
    "length": HEAD + b"Content-Length: 100000\r\n\r\n{",
    "no length": HEAD + b"\r\n{",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n{",
}
NOW = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
MESSAGE = push_envelope("p2_nbacom_boxscores", "2026-02-09", NOW, message_id="1")


@contextmanager
def dripping(beginning: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve at an address, "127.0.0.1:PORT": `beginning`, and then a byte each 50 ms, for ever."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with (
            suppress(OSError),
            connection if context is None else context.wrap_socket(connection, server_side=True) as one,
        ):
            one.recv(65536)
            one.sendall(beginning)
            while not over.wait(0.05):
                one.sendall(b"x")

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return what a server needs that nobody has to believe."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    signed = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=36500)).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def eventually_no_more_threads_than(count: int) -> None:
    give_up = time.monotonic() + 10
    while threading.active_count() > count:
        assert time.monotonic() < give_up, threading.enumerate()
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_call_ends_in_its_time(beginning: str, scheme: str, certificate: ssl.SSLContext) -> None:
    """Wherever the answer begins to drip, also under TLS; and an answer that comes whole is whole."""
    context = certificate if scheme == "https" else None
    with dripping(BEGINNINGS[beginning], context) as address, requests.Session() as session:
        session.mount(f"{scheme}://", WholeCalls(0.4))
        began = time.monotonic()
        with pytest.raises(requests.ReadTimeout, match=r"no whole answer within 0\.4 s"):
            session.get(f"{scheme}://{address}/", timeout=30, verify=False)
        assert 0.3 < time.monotonic() - began < 3


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
        session.mount("http://", WholeCalls(0.3))
        for _ in range(3):
            with pytest.raises(requests.ReadTimeout):
                session.get(f"{address}/slow", timeout=30)
            assert [session.get(address, timeout=30).text for _ in range(3)] == ["all"] * 3


def test_a_bigquery_that_drips(stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its calls ends in its time; a delivery is registered, fails, and leaves no thread behind."""
    before = threading.active_count()
    row = completion_row(Completion.from_event(MESSAGE, phase))
    with dripping(BEGINNINGS["length"]) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://{address}")
        bigquery, sink = BigQuery("p", emulated=True, seconds=1), RecordingSink()
        log, day = BigQueryCompletionLog(bigquery, {"phase2": phase}), date(2026, 2, 9)
        for call in (
            lambda: log.append([row], now=NOW),
            lambda: log.summarise(["phase2"], day, day),
            log.missing_columns,
            log.setup,
        ):
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"BigQuery: .*no whole answer within 0\.25 s"):
                call()
            assert time.monotonic() - began < 3
        orchestrator = Orchestrator(phase, stores.documents, log, CheckpointLogger(phase, sink))
        for _ in range(5):
            with pytest.raises(DeliveryError, match="append_completion: StoreError"):
                orchestrator.deliver(MESSAGE)
        eventually_no_more_threads_than(before + 6)  # the server's own: one that listens, and one a connection
        bigquery.close()
    eventually_no_more_threads_than(before)
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "WAITING", "FAILED"] * 5
