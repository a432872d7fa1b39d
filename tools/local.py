"""`python -m tools.local`: the whole path on this machine, both ways, until Ctrl-C.

One project has the orchestrator of this repository, the other one that was there before, of
`examples/existing_orchestrator/`, on a table that nobody has set up. Each has a topic that pushes,
and a canary.
"""

import os
import signal
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from canary.commands.cli import main as canary
from orchestrator_resilience.stores.bigquery import BigQuery
from tools.emulators import EmulatorError, Server, emulators
from tools.functions import canary_function, existing_function, orchestrator_function
from tools.publish import TOPIC

EXAMPLE = Path(__file__).parents[1] / "examples" / "existing_orchestrator"
WAYS = {"with-ours": orchestrator_function, "beside": existing_function}


def main() -> int:
    """Run everything; returns 2 when an emulator is missing or something does not start."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        # so that what was started is stopped, also when the terminal is closed
        signal.signal(sign, _end)
    started_by = os.getppid()
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(emulators())
            os.environ.update(environment)
            running = {
                way: _start(stack, way, {**environment, "GOOGLE_CLOUD_PROJECT": way})
                for way in WAYS
            }
        except EmulatorError as error:
            print(f"local: {error}", file=sys.stderr)
            return 2
        print("\nEverything runs. In another terminal:\n")
        for name, value in environment.items():
            if name != "GOOGLE_CLOUD_PROJECT":
                print(f"export {name}={value}")
        for way, (orchestrator, watching) in running.items():
            _explain(way, orchestrator, watching)
        print("\nCtrl-C stops all of it.", flush=True)
        try:
            while os.getppid() == started_by and all(
                one.process.poll() is None for pair in running.values() for one in pair
            ):
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopping")
    return 0


def _end(*_: object) -> None:
    sys.exit("local: ended by a signal")


def _start(stack: ExitStack, way: str, environment: dict[str, str]) -> tuple[Server, Server]:
    """Make the tables and the topic of one way, and serve its orchestrator and its canary."""
    os.environ["GOOGLE_CLOUD_PROJECT"] = way
    bigquery = BigQuery(way, emulated=True)
    bigquery.client.create_dataset("nba_orchestration")
    if way == "beside":
        bigquery.query((EXAMPLE / "phase_completions.sql").read_text("utf-8"), [])
    elif canary(["setup"]) != 0:
        raise EmulatorError("the completion log could not be made")
    bigquery.close()
    orchestrator = stack.enter_context(WAYS[way](environment))
    watching = stack.enter_context(canary_function(environment))
    _subscribe(way, f"http://{orchestrator.address}/")
    return orchestrator, watching


def _explain(way: str, orchestrator: Server, watching: Server) -> None:
    """Print commands of which each shows what the one before has done."""
    what = {
        "with-ours": "the orchestrator of this repository sets the flag",
        "beside": "an orchestrator that was there before waits for a sixth processor",
    }
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    seen = f"check --now {later}" if way == "beside" else "status --days 2"
    print(f"\n# {way}: {what[way]}\nexport GOOGLE_CLOUD_PROJECT={way}")
    print(f"{sys.executable} -m tools.publish         # all five have completed today")
    print(f"{sys.executable} -m canary {seen}   # and this is what the canary sees")
    print(f"curl -X POST http://{watching.address}/   # a run, as the scheduler starts it")
    if way == "with-ours":
        print(f"{sys.executable} -m canary probe --topic {TOPIC}   # is the orchestrator alive?")
    print(f"grep -o 'CHECKPOINT_[A-Z_]*: [^\"]*' {orchestrator.log}")


def _subscribe(project: str, endpoint: str) -> None:
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic = publisher.topic_path(project, TOPIC)
    subscription = subscriber.subscription_path(project, "orchestrator")
    publisher.create_topic(name=topic)
    push = {"push_endpoint": endpoint}
    with subscriber:
        subscriber.create_subscription(
            request={"name": subscription, "topic": topic, "push_config": push}
        )


if __name__ == "__main__":
    sys.exit(main())
