"""`python -m tools.local`: the whole path on this machine, until Ctrl-C.

Starts the emulators and both functions, makes the topic, its push subscription and the completion
log's table, and prints what to do with them.
"""

import os
import signal
import sys
from contextlib import ExitStack

from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from canary.commands.cli import main as canary
from orchestrator_resilience.stores.bigquery import BigQuery
from tools.emulators import PROJECT, EmulatorError, emulators
from tools.functions import canary_function, orchestrator_function

TOPIC = "nba-phase2-raw-complete"


def main() -> int:
    """Run everything; returns 2 when an emulator is missing or something does not start."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _end)  # so that what was started is stopped, also when the terminal is closed
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(emulators())
            os.environ.update(environment)
            BigQuery(PROJECT, emulated=True).client.create_dataset("nba_orchestration")
            if canary(["setup"]) != 0:
                return 2
            orchestrator = stack.enter_context(orchestrator_function(environment))
            watching = stack.enter_context(canary_function(environment))
        except EmulatorError as error:
            print(f"local: {error}", file=sys.stderr)
            return 2
        _subscribe(f"http://{orchestrator.address}/")
        print("\nEverything runs. In another terminal:\n")
        for name, value in environment.items():
            print(f"  export {name}={value}")
        print(f"  {sys.executable} -m tools.publish p2_odds_game_lines 2026-02-09   # a completion, by Pub/Sub")
        print(f"  curl -X POST http://{watching.address}/                           # a canary run")
        print(f"  curl http://{watching.address}/status")
        print(f"  {sys.executable} -m canary status")
        print(f"  {sys.executable} -m canary probe --topic {TOPIC}   # is the orchestrator alive?")
        print(f"  tail -f {orchestrator.log}   # the checkpoints\n\nCtrl-C stops all of it.")
        try:
            orchestrator.process.wait()
        except KeyboardInterrupt:
            print("stopping")
    return 0


def _end(*_: object) -> None:
    sys.exit("local: ended by a signal")


def _subscribe(endpoint: str) -> None:
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic = publisher.topic_path(PROJECT, TOPIC)
    subscription = subscriber.subscription_path(PROJECT, "orchestrator")
    publisher.create_topic(name=topic)
    push = {"push_endpoint": endpoint}
    with subscriber:
        subscriber.create_subscription(request={"name": subscription, "topic": topic, "push_config": push})


if __name__ == "__main__":
    sys.exit(main())
