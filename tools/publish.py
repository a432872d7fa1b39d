"""Publishes completions to the local Pub/Sub: `python -m tools.publish [PROCESSOR] [DATE]`."""

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from google.cloud.pubsub_v1 import PublisherClient  # type: ignore[import-untyped]

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.phase import load_phase
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.stores.firestore import FirestoreDocuments

TOPIC = "nba-phase2-raw-complete"


def main() -> None:
    """Publish, print each message's id, and wait until the orchestrator has registered them."""
    phase = load_phase("phase2")
    defaults = ("all", str(phase.today(datetime.now(UTC))), "success")
    processor, day, status = (*sys.argv[1:], *defaults[len(sys.argv) - 1 :])
    if missing := {"PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"} - os.environ.keys():
        sys.exit(
            f"tools.publish: {' and '.join(sorted(missing))} is not set; `make local` prints it"
        )
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    publisher = PublisherClient()
    wanted = sorted(phase.expected) if processor == "all" else [processor]
    for name in wanted:
        body = {"processor_name": name, "game_date": day, "status": status, "phase": "phase_2_raw"}
        sent = publisher.publish(publisher.topic_path(project, TOPIC), json.dumps(body).encode())
        print(name, day, "is message", sent.result(timeout=20))
    print(
        "registered:",
        ", ".join(_registered(project, DocumentRef(phase.firestore_collection, day), wanted))
        or "none",
    )


def _registered(project: str, ref: DocumentRef, wanted: Sequence[str]) -> list[str]:
    """Return who is in the progress document, as soon as all are, or after 10 seconds."""
    documents, deadline, found = FirestoreDocuments(project), Deadline(10), Document({}, "")
    while not (found.fields.keys() >= set(wanted) or deadline.is_over):
        time.sleep(0.2)
        found = documents.get_all([ref]).get(ref, found)
    documents.close()
    return [name for name in wanted if name in found.fields]


if __name__ == "__main__":
    main()
