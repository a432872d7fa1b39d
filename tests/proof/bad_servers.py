"""Servers that fail in each manner, at each point at which an answer can."""

import gc
import ipaddress
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product
from pathlib import Path
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.http_calls import call

_SERVER = "bad server"
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Manner(StrEnum):
    """What a server does from some point on, for ever."""

    IS_SILENT = "is silent"
    DRIPS = "drips"
    NEVER_ENDS = "never ends"
    RESETS = "resets"
    CLOSES = "closes"


# Up to which point a server behaves: what it has sent by then, and of what it then sends more.
POINTS = {
    "the answer": (b"", b"H"),
    "interim answers": (_INTERIM, _INTERIM),
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (_HEAD + b"X-Long: ", b"x"),
    "the headers": (_HEAD, b"X-More: x\r\n"),
    "a body with a length": (_HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x"),
    "a body without one": (_HEAD + b"\r\n", b"x"),
    "a body in chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a chunk": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"x"),
    "the body of a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 1000000000000\r\n\r\n",
        b"x",
    ),
}
# In plain bytes, before there is TLS: the beginning of a record, and of one that is none.
HANDSHAKES = {"a TLS handshake": (b"\x16\x03\x03\x3f\xff", b"\x02"), "no TLS": (b"", b"x")}


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that goes wrong at `point` in its `manner`, and reads a request if it `reads`."""

    scheme: str
    point: str
    manner: Manner
    reads: bool = True

    def __str__(self) -> str:
        return f"{self.scheme}: {self.point} {self.manner}" + ", nothing read" * (not self.reads)


KINDS = [
    *(Kind(*kind) for kind in product(("http", "https"), POINTS, Manner, (True, False))),
    *(Kind("https", *kind) for kind in product(HANDSHAKES, Manner)),
]


@contextmanager
def bad_server(kind: Kind, context: ssl.SSLContext) -> Iterator[str]:
    """Serve until the block ends; yields the address, "SCHEME://127.0.0.1:PORT"."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_accept, args=(listener, kind, context, over), name=_SERVER, daemon=True
        ).start()
        yield f"{kind.scheme}://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def _accept(
    listener: socket.socket, kind: Kind, context: ssl.SSLContext, over: threading.Event
) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=_serve, args=(connection, kind, context, over), name=_SERVER, daemon=True
            ).start()


def _serve(
    connection: socket.socket, kind: Kind, context: ssl.SSLContext, over: threading.Event
) -> None:
    if not kind.reads:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with suppress(OSError), connection:
        if kind.scheme == "http" or kind.point in HANDSHAKES:
            _misbehave(connection, kind, over)
        else:
            with context.wrap_socket(connection, server_side=True) as secure:
                _misbehave(secure, kind, over)


def _misbehave(connection: socket.socket, kind: Kind, over: threading.Event) -> None:
    beginning, more = {**POINTS, **HANDSHAKES}[kind.point]
    if kind.reads:
        connection.recv(65536)
    connection.sendall(beginning)
    match kind.manner:
        case Manner.IS_SILENT:
            while not over.is_set() and (not kind.reads or connection.recv(65536)):
                time.sleep(0.01)  # who reads nothing does not see that it is closed
        case Manner.DRIPS:
            while True:
                connection.sendall(more)
                time.sleep(0.01)
        case Manner.NEVER_ENDS:
            while True:
                connection.sendall(more * (65536 // len(more)))
        case Manner.RESETS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case Manner.CLOSES:
            pass


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server of 127.0.0.1 needs, and the file that has to be believed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file


@contextmanager
def trusted(folder: Path) -> Iterator[ssl.SSLContext]:
    """Make a certificate that is believed until the block ends."""
    context, file = certificate(folder)
    with patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": str(file)}):
        yield context


def threads(*, servers: bool = False) -> int:
    """Count the threads of the bad servers, or all the others."""
    return sum((thread.name == _SERVER) is servers for thread in threading.enumerate())


def megabytes() -> float:
    """Return how much memory this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Figures:
    """The longest call in seconds, the most threads after one, and the growth of memory in MB."""

    longest: float
    threads: int
    megabytes: float


def call_all(kinds: Sequence[Kind], context: ssl.SSLContext, seconds: float = 0.05) -> Figures:
    """Call bad servers with a deadline: posts, large where nothing is read, and gets in turn."""
    longest, most_threads, before = 0.0, threads(), megabytes()
    for number, kind in enumerate(kinds):
        body = {"text": "x" * (10 if kind.reads else 5_000_000)} if number % 2 else None
        with bad_server(kind, context) as address:
            began = time.monotonic()
            call(f"{address}/secret", Deadline(seconds), body)
            longest = max(longest, time.monotonic() - began)
            most_threads = max(most_threads, threads())
    return Figures(longest, most_threads, megabytes() - before)
