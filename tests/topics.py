"""A topic of the Pub/Sub emulator that pushes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]


@contextmanager
def pushing_topic(project: str, endpoint: str) -> Iterator[Callable[..., None]]:
    """Make the topic of a project, pushing to an endpoint; lends what publishes a completion."""
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic = publisher.topic_path(project, "nba-phase2-raw-complete")
    subscription = subscriber.subscription_path(project, "orchestrator")
    publisher.create_topic(name=topic, retry=Retry(timeout=20))
    subscriber.create_subscription(
        request={
            "name": subscription,
            "topic": topic,
            "push_config": {"push_endpoint": endpoint},
            "retry_policy": {
                "minimum_backoff": timedelta(milliseconds=200),
                "maximum_backoff": timedelta(seconds=1),
            },
        }
    )

    def publish(**payload: object) -> None:
        body = {"status": "success", "phase": "phase_2_raw", "record_count": 100, **payload}
        publisher.publish(topic, json.dumps(body).encode()).result(timeout=20)

    with subscriber:
        yield publish
        subscriber.delete_subscription(subscription=subscription)
        publisher.delete_topic(topic=topic)
    publisher.stop()
    publisher.transport.close()
