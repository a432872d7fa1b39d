"""`python -m tools.publish PROCESSOR DATE [STATUS]`: one completion message to the local Pub/Sub."""

import json
import os
import sys

from google.cloud.pubsub_v1 import PublisherClient  # type: ignore[import-untyped]

from tools.emulators import PROJECT

_USAGE = "usage: python -m tools.publish PROCESSOR DATE [STATUS]"


def main() -> None:
    """Publish and print the message's id."""
    match sys.argv[1:]:
        case [processor, day]:
            status = "success"
        case [processor, day, status]:
            pass
        case _:
            sys.exit(_USAGE)
    if "PUBSUB_EMULATOR_HOST" not in os.environ:
        sys.exit("tools.publish: PUBSUB_EMULATOR_HOST is not set; `make local` prints it")
    body = {"processor_name": processor, "game_date": day, "status": status, "phase": "phase_2_raw"}
    publisher = PublisherClient()
    topic = publisher.topic_path(PROJECT, "nba-phase2-raw-complete")
    print("published", publisher.publish(topic, json.dumps(body).encode()).result(timeout=20))


if __name__ == "__main__":
    main()
