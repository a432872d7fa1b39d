"""The one way out over HTTP: calls that end when their time is over, whatever has come by then.

The timeouts of `requests`, and of what it is made of, begin anew with each byte that arrives, and
none of them covers the look-up of a name: a server that drips holds a call, and the thread that
makes it, for as long as it likes. Here each operation on a socket, a TLS handshake included, has
what is left of its call's time; so the caller comes back in time, and nothing is left of the call.
Only the look-up of a name cannot be interrupted: it has a thread, and those that are left behind
are counted host by host, so that one host does not delay another.

No redirect is followed.
"""

import logging
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import local
from typing import Any

import requests
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import create_connection
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from orchestrator_resilience.background import Background
from orchestrator_resilience.deadline import Deadline

# What a session raises, and what of it may be gone at another try.
CallError, BrokenConnectionError = requests.RequestException, requests.ConnectionError

# So much of an answer to `call` is read.
_MAXIMUM_BYTES = 4096
# There is no second request on the same connection, and nothing has to be unpacked.
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, a redirect included.

    `text` is how it begins, and empty where nothing was posted; it may quote the address.
    `retry_after` is in seconds, 0.0 where the answer does not say.
    """

    status: int
    text: str = field(repr=False)
    retry_after: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A call without an answer; `kind` is the name of the error's class.

    `may_be_posted` is false where no connection was made.
    """

    kind: str
    may_be_posted: bool


def call(url: str, deadline: Deadline, body: Mapping[str, Any] | None = None) -> Answer | NoAnswer:
    """Post `body` as JSON, or get the page where `body` is None.

    The path of `url` is a secret, because anyone who has it can post there. It is in no error, and
    in no log of a library: it is added only where the request is written. The host is not logged
    either.
    """
    _this_thread.is_connected = False
    *server, _this_thread.secret = url.partition("#")[0].split("/", 3)
    try:
        with Session() as session:
            end_calls_in_time(session, deadline.left())
            send = session.get if body is None else session.post
            response = send("/".join([*server, ""]), headers=_HEADERS, json=body, stream=True)
            # The second read raises where the body is cut short.
            data = b"" if body is None else response.raw.read(_MAXIMUM_BYTES) + response.raw.read(1)
        text, after = data.decode(errors="replace").strip(), response.headers.get("Retry-After", "")
        return Answer(response.status_code, text, float(after) if after.isdecimal() else 0.0)
    except Exception as error:  # noqa: BLE001 (whatever it is, there was no answer)
        kind = TimeoutError if deadline.is_over else type(_root(error))
        return NoAnswer(kind.__name__, may_be_posted=_this_thread.is_connected)
    finally:
        _this_thread.secret = ""


def _root(error: BaseException) -> BaseException:
    behind = error.__cause__ or error.__context__
    return error if behind is None else _root(behind)


def end_calls_in_time(session: Session, seconds: float) -> None:
    """Let each call of a session end after its timeout, and after `seconds` at the latest.

    So do its calls for a token. A redirect is an error.
    """
    for part in filter(None, (session, getattr(session, "_auth_request_session", None))):
        part.max_redirects = 0
        for scheme in ("http://", "https://"):
            part.mount(scheme, _WholeCalls(seconds))


# The call that a thread makes: its `deadline`, its `secret` if it has one, and whether it
# `is_connected`.
_this_thread = local()

for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(lambda _: not getattr(_this_thread, "secret", ""))


class _WholeCalls(HTTPAdapter):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _SecureConnection if pool.scheme == "https" else _Connection
        return pool  # type: ignore[no-any-return]

    def send(self, request: PreparedRequest, **how: Any) -> Response:  # type: ignore[override]  # a session names them
        timeout = how.get("timeout")
        seconds = (
            min(timeout, self._seconds) if isinstance(timeout, (int, float)) else self._seconds
        )
        deadline = _this_thread.deadline = Deadline(seconds)
        try:
            response = super().send(request, **{**how, "timeout": seconds})
            if how.get("stream"):
                # with it the session would read all of a redirect
                response.headers.pop("Location", None)
            else:
                _ = response.content  # the response keeps it
        except Exception as error:
            if not deadline.is_over:
                raise
            raise requests.ReadTimeout(f"no whole answer within {seconds:g} s") from error
        return response


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        look_up = partial(socket.getaddrinfo, self._dns_host, self.port, type=socket.SOCK_STREAM)
        addresses: list[Any] = Background(look_up, self._dns_host).answer(_this_thread.deadline)
        while True:
            share = _this_thread.deadline.left() / len(addresses)
            try:
                connected = create_connection(
                    addresses.pop(0)[4][:2], share, socket_options=self.socket_options
                )
            except OSError as error:
                if not addresses:
                    raise NewConnectionError(self, str(error)) from error
            else:
                _this_thread.is_connected = True
                return _Socket(fileno=connected.detach())

    def putrequest(self, method: str, url: str, *args: Any, **how: Any) -> None:
        super().putrequest(method, url + getattr(_this_thread, "secret", ""), *args, **how)


class _SecureConnection(_Connection, HTTPSConnection):
    def connect(self) -> None:
        self.ssl_context = self.ssl_context or create_urllib3_context(
            cert_reqs=resolve_cert_reqs(self.cert_reqs)
        )
        self.ssl_context.sslsocket_class = _SecureSocket
        super().connect()


def _timed(operation: Any) -> Any:
    """Let an operation on a socket take what is left of the call's time."""

    def timed(self: socket.socket, *args: Any) -> Any:
        # 0 would be no timeout, but a socket that does not block
        if not (left := _this_thread.deadline.left()):
            raise TimeoutError
        self.settimeout(left)
        return operation(self, *args)

    return timed


class _Socket(socket.socket):
    recv_into, sendall = _timed(socket.socket.recv_into), _timed(socket.socket.sendall)


class _SecureSocket(ssl.SSLSocket):
    # `recv_into` and `sendall` use these.
    read, send = _timed(ssl.SSLSocket.read), _timed(ssl.SSLSocket.send)
    do_handshake = _timed(ssl.SSLSocket.do_handshake)
