"""A server of TCP before a real one, which fails in the ways that networks and servers do."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

_SLOW_SECONDS, _DRIP_SECONDS = 0.2, 0.05


class Failure(StrEnum):
    """How a server fails; each also befalls the connections that are open already."""

    REFUSES = "refuses"
    HANGS = "hangs"
    RESETS = "resets"
    IS_SLOW = "is slow"
    DRIPS = "drips"
    CUTS = "cuts its answers"
    TALKS_GARBAGE = "talks garbage"


class Gate:
    """Passes bytes on to `target`, "HOST:PORT", but for what `failure` does to them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        # of every open socket, whether its connection is
        self._dead: dict[socket.socket, threading.Event] = {}
        self._lock = threading.Lock()
        self.failure: Failure | None = None
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def silence(self) -> None:
        """Let every open connection stay open and carry nothing any more; new ones work."""
        with self._lock:
            for dead in self._dead.values():
                dead.set()

    def close(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._dead):
            _reset(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                if self.failure is Failure.REFUSES:
                    _reset(here)
                    continue
                there = socket.create_connection(self._target)
                dead = threading.Event()
                with self._lock:
                    self._dead |= {here: dead, there: dead}
                    self.connections += 1
                for source, target, is_answer in ((here, there, False), (there, here, True)):
                    threading.Thread(
                        target=self._carry, args=(source, target, is_answer, dead), daemon=True
                    ).start()

    def _carry(
        self,
        source: socket.socket,
        target: socket.socket,
        is_answer: bool,  # noqa: FBT001
        dead: threading.Event,
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._pass(data, source, target, is_answer=is_answer, dead=dead)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._dead.pop(source, None)
        source.close()

    def _pass(
        self,
        data: bytes,
        source: socket.socket,
        target: socket.socket,
        *,
        is_answer: bool,
        dead: threading.Event,
    ) -> None:
        if dead.is_set():  # what was swallowed once is missed for ever
            return
        match self.failure:
            case Failure.HANGS:
                dead.set()
            case Failure.REFUSES | Failure.RESETS:
                _reset(source)
                _reset(target)
            case Failure.IS_SLOW if is_answer:
                time.sleep(_SLOW_SECONDS)
                target.sendall(data)
            case Failure.DRIPS if is_answer:
                self._drip(data, target)
            case Failure.CUTS if is_answer:
                target.sendall(data[: len(data) // 2])
                _reset(target)
            case Failure.TALKS_GARBAGE if is_answer:
                target.sendall(os.urandom(len(data)))
            case _:
                target.sendall(data)

    def _drip(self, data: bytes, target: socket.socket) -> None:
        for number in range(len(data)):
            if self.failure is not Failure.DRIPS:
                target.sendall(data[number:])
                return
            target.sendall(data[number : number + 1])
            time.sleep(_DRIP_SECONDS)


def _reset(one: socket.socket) -> None:
    """Close without a word of goodbye."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def gate(target: str) -> Iterator[Gate]:
    """Stand in front of `target` until the block ends."""
    one = Gate(target)
    yield one
    one.close()
