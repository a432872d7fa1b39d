"""HTTP servers on this machine, for what the code calls."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from ssl import SSLContext
from threading import Event, Thread
from typing import Any

Answer = tuple[int, Mapping[str, str], str]
OK: Answer = (200, {}, "ok")


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that does not print its requests."""

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def listening(
    handler: type[BaseHTTPRequestHandler], context: SSLContext | None = None
) -> Iterator[str]:
    """Serve until the block ends, with TLS where there is a `context`; yield the base address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        # It looks that often whether it should end; left to itself it would be half a second late.
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http{'s' * (context is not None)}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass
class FakeWebhook:
    """Answers from `script`, with its last answer for ever, and keeps what it was asked, and when.

    `posts` has the bodies, `accepted` those that were answered 200, `times` are in seconds. One
    that `hangs` says nothing; one that `drips` never comes to an end.
    """

    url: str = ""
    script: list[Answer] = field(default_factory=lambda: [OK])
    paths: list[str] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    hangs: bool = False
    drips: bool = False
    over: Event = field(default_factory=Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Keep one request and answer it."""
        self.times.append(time.monotonic())
        self.paths.append(request.path)
        sent = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        body = [json.loads(sent)] if sent else []
        self.posts += body
        if self.hangs:
            self.over.wait(30)
            return
        status, headers, text = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.accepted += body * (status == OK[0])
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text) + 100 * self.drips)}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text.encode())
        while self.drips and not self.over.wait(0.1):
            request.wfile.write(b".")


@contextmanager
def fake_webhook(path: str) -> Iterator[FakeWebhook]:
    """Serve a webhook at `path` until the block ends."""
    webhook = FakeWebhook()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            webhook.answer(self)

        do_POST = do_GET  # noqa: N815 (as above)

    with listening(Handler) as address:
        webhook.url = f"{address}{path}"
        yield webhook
        webhook.over.set()


class RawAnswers:
    """Where a server of bytes listens, and what it answers, the last one from then on."""

    def __init__(self, host: str) -> None:
        self.host, self.answers = host, [b""]


@contextmanager
def raw_answers() -> Iterator[RawAnswers]:
    """Serve any bytes until the block ends; each connection is closed after its answer."""

    class Handler(StreamRequestHandler):
        timeout = 1

        def handle(self) -> None:
            with suppress(OSError):
                length = 0
                while (line := self.rfile.readline().lower()) not in {b"\r\n", b""}:
                    length = (
                        int(line.partition(b":")[2])
                        if line.startswith(b"content-length:")
                        else length
                    )
                self.rfile.read(length)
                self.wfile.write(raw.answers.pop(0) if len(raw.answers) > 1 else raw.answers[0])

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        raw = RawAnswers(f"127.0.0.1:{server.server_address[1]}")
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield raw
        server.shutdown()


def http_answer(text: str, status: str = "200 OK", *headers: str) -> bytes:
    """Return an answer as bytes."""
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        *headers,
        "",
        text,
    ]
    return "\r\n".join(lines).encode()
