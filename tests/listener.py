"""An HTTP server on this machine, for what the code calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that does not print its requests."""

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def listening(handler: type[QuietHandler]) -> Iterator[str]:
    """Serve until the block ends; yields the address, "http://127.0.0.1:PORT"."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # It looks that often whether it should end; left to itself it would be half a second late.
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
