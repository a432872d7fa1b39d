"""HTTP calls that end when their time is over, whatever has come by then.

The timeout of `requests` begins anew with each byte that arrives: a server that drips one now and then holds a call,
and the thread that makes it, for as long as it likes. Here the connection of a call that is over is shut, at which
whoever reads from it stops. (Not in the middle of a TLS handshake: the socket is in nobody's hands there.)
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, local
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ReadTimeout
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

# A connection that was not there yet when its call was over is shut as soon as it is.
_AGAIN_SECONDS = 0.2

_this_thread = local()


class WholeCalls(HTTPAdapter):
    """Mounted on a session, ends each call after its timeout, and after `seconds` at the latest."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, of connections that tell a call which socket it has."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def send(self, request: PreparedRequest, **how: Any) -> Response:  # type: ignore[override]  # a session names them
        """Send `request` and read the answer, unless it is to be a stream; ReadTimeout when the time is over."""
        timeout = how.get("timeout")
        with _ended_after(min(timeout, self._seconds) if isinstance(timeout, (int, float)) else self._seconds):
            response = super().send(request, **how)
            if not how.get("stream"):
                _ = response.content  # which the response keeps
        return response


def end_calls_in_time(session: Session, seconds: float) -> None:
    """Let each call of a session end after its timeout, and after `seconds` at the latest."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, WholeCalls(seconds))


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    call = _this_thread.call = _Call(seconds)
    try:
        yield
    except Exception:
        if not call.is_over:
            raise
    finally:
        call.ended.set()
    if call.is_over:  # also where what had come looked like all of it
        raise ReadTimeout(f"no whole answer within {seconds:g} s")


class _Call:
    """One call, watched by a thread until it has ended."""

    def __init__(self, seconds: float) -> None:
        self.socket: socket.socket | None = None
        self.ended = Event()
        self.is_over = False
        Thread(target=self._watch, args=(seconds,), daemon=True).start()

    def _watch(self, seconds: float) -> None:
        while not self.ended.wait(_AGAIN_SECONDS if self.is_over else seconds):
            self.is_over = True
            if self.socket is not None:
                with suppress(OSError):  # it is gone
                    self.socket.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        super().request(*args, **kwargs)
        _this_thread.call.socket = self.sock


class _SecureConnection(HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        super().request(*args, **kwargs)
        _this_thread.call.socket = self.sock


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
