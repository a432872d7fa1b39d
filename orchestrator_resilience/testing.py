"""Helpers for tests and simulations, this project's and yours: messages, a sink, a clock."""

import base64
import json
from datetime import datetime
from typing import Any

from orchestrator_resilience.checkpoints import Checkpoint


def push_envelope(
    processor_name: str,
    game_date: str,
    published_at: datetime,
    /,
    *,
    message_id: str,
    status: str = "success",
    **payload: object,
) -> dict[str, Any]:
    """Return a completion message as Pub/Sub delivers it; `payload` adds or replaces its fields."""
    body = {
        "processor_name": processor_name,
        "phase": "phase_2_raw",
        "game_date": game_date,
        "status": status,
        "execution_id": f"exec-{message_id}",
        "correlation_id": f"corr-{game_date}",
        "record_count": 100,
        "timestamp": published_at.isoformat(),
        **payload,
    }
    return {
        "message": {
            "data": base64.b64encode(json.dumps(body).encode()).decode("ascii"),
            "messageId": message_id,
            "publishTime": published_at.isoformat(),
            "attributes": {},
        },
        "subscription": "projects/local/subscriptions/nba-phase2-raw-complete",
    }


class RecordingSink:
    """A sink that keeps its checkpoints in the list `checkpoints`."""

    def __init__(self) -> None:
        self.checkpoints: list[Checkpoint] = []

    def __call__(self, checkpoint: Checkpoint) -> None:
        """Keep one checkpoint."""
        self.checkpoints.append(checkpoint)

    def kinds(self) -> list[str]:
        """Return the kinds in order, without their common prefix."""
        return [c.kind.value.removeprefix("CHECKPOINT_") for c in self.checkpoints]


class SimulatedClock:
    """A clock that does not move until it is set; call it for the time."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the simulated time."""
        return self.now
