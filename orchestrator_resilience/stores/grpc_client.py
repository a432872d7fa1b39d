"""A client over gRPC that is kept until one of its calls gets no answer.

The connection of such a call may be dead and not know it; the next call has a new client, with a
new connection.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPIError,
    RetryError,
    ServiceUnavailable,
)
from google.auth.exceptions import GoogleAuthError

from orchestrator_resilience.errors import StoreError, store_errors

C = TypeVar("C")

# With these options a channel has a connection of its own; without them gRPC would reuse the last
# one, which may be dead.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)

_UNANSWERED = (DeadlineExceeded, RetryError, ServiceUnavailable)


class GrpcClient(Generic[C]):
    """Lends the client that `make` makes; `store` is the store's name in errors.

    `close` closes a client's connection.
    """

    def __init__(self, store: str, make: Callable[[], C], close: Callable[[C], None]) -> None:
        self._store, self._make, self._close = store, make, close
        self._errors = partial(store_errors, store, GoogleAPIError, GoogleAuthError)
        self._lock = threading.Lock()
        self._opened: C | None = None

    @property
    def client(self) -> C:
        """The client; raises what its making raises."""
        with self._lock:
            if self._opened is None:
                self._opened = self._make()
            return self._opened

    @contextmanager
    def asking(self) -> Iterator[C]:
        """Lend the client for a call; what the call raises is a StoreError."""
        with self._errors():
            client = self.client
        try:
            with self._errors():
                yield client
        except StoreError as error:
            if isinstance(error.__cause__, _UNANSWERED):
                self._give_up(client)
            raise
        except ValueError as error:
            if self._opened is client:
                raise
            raise StoreError(
                f"{self._store}: another call got no answer on the same connection"
            ) from error

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        with self._lock:
            client, self._opened = self._opened, None
        if client is not None:
            self._close(client)

    def _give_up(self, client: C) -> None:
        with self._lock:
            if self._opened is client:
                self._opened = None
        self._close(client)
