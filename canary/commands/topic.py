"""A Pub/Sub topic: publishing to it, and whom it reaches."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from orchestrator_resilience.errors import ConfigurationError, StoreError, store_errors

_told = partial(store_errors, "Pub/Sub", GoogleAPIError, GoogleAuthError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription; `endpoint` is where it pushes to, None where it does not push."""

    name: str
    endpoint: str | None


class Topic:
    """The topic `name` of `project`, or the one whose full name it is.

    Publishing takes up to `seconds`, and so does listing the subscriptions, however many there are.
    """

    def __init__(self, project: str, name: str, *, seconds: float = 10.0) -> None:
        self.name = name if "/" in name else f"projects/{project}/topics/{name}"
        self._seconds = seconds

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> str:
        """Return the id of the message; raises ConfigurationError where there is no such topic, else StoreError."""
        give_up = time.monotonic() + self._seconds
        with _told():
            publisher = PublisherClient()
            try:
                sent = publisher.publish(self.name, data, **self._limits(give_up), **attributes)
                return str(sent.result(timeout=self._seconds))
            except NotFound as error:
                raise ConfigurationError(f"there is no topic {self.name}") from error
            finally:
                publisher.stop()
                publisher.transport.close()

    def subscriptions(self) -> Sequence[Subscription]:
        """Return who gets its messages; raises ConfigurationError where there is no such topic, else StoreError."""
        give_up = time.monotonic() + self._seconds
        with _told(), PublisherClient() as publisher, SubscriberClient() as subscriber:
            try:
                names = list(publisher.list_topic_subscriptions(topic=self.name, **self._limits(give_up)))
            except NotFound as error:
                raise ConfigurationError(f"there is no topic {self.name}") from error
            found = [subscriber.get_subscription(subscription=name, **self._limits(give_up)) for name in names]
            return [Subscription(one.name, one.push_config.push_endpoint or None) for one in found]

    def _limits(self, give_up: float) -> dict[str, Any]:
        """Return the bounds of one call that has to end by then; its last try begins when its retries end."""
        left = (give_up - time.monotonic()) / 2
        if left <= 0:
            raise StoreError(f"Pub/Sub: it took more than {self._seconds:g} s")
        return {"timeout": left, "retry": Retry(timeout=left)}
