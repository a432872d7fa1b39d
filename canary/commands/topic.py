"""A Pub/Sub topic: publishing to it, and whom it reaches."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ConfigurationError, StoreError, store_errors

_pubsub_errors = partial(store_errors, "Pub/Sub", GoogleAPIError, GoogleAuthError, TimeoutError)


class Topic:
    """The topic `name` of `project`, or of that full name.

    Each call takes up to `seconds`, and raises StoreError.
    """

    def __init__(self, project: str, name: str, *, seconds: float = 10.0) -> None:
        self.name = name if "/" in name else f"projects/{project}/topics/{name}"
        self._seconds = seconds

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        """Publish one message; raises ConfigurationError where there is no such topic."""
        limits = _limits(Deadline(self._seconds))
        with _pubsub_errors(), PublisherClient() as publisher:
            try:
                publisher.publish(self.name, data, **limits, **attributes).result(
                    timeout=self._seconds
                )
            except NotFound as error:
                raise ConfigurationError(f"there is no topic {self.name}") from error

    def subscriptions(self) -> dict[str, str]:
        """Return the names of its subscriptions, and where each pushes to, "" where nowhere."""
        deadline = Deadline(self._seconds)
        with _pubsub_errors(), PublisherClient() as publisher, SubscriberClient() as subscriber:
            names = list(publisher.list_topic_subscriptions(topic=self.name, **_limits(deadline)))
            subscriptions = [
                subscriber.get_subscription(subscription=name, **_limits(deadline))
                for name in names
            ]
            return {
                subscription.name: subscription.push_config.push_endpoint
                for subscription in subscriptions
            }


def _limits(deadline: Deadline) -> dict[str, Any]:
    """Return the bounds of one call that has to end by the `deadline`.

    Half of the time is for retries, and half for the last of them.
    """
    if deadline.is_over:
        raise StoreError(f"Pub/Sub: it took more than {deadline.seconds:g} s")
    return {"timeout": deadline.left() / 2, "retry": Retry(timeout=deadline.left() / 2)}
