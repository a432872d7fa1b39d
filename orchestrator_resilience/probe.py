"""The probe: a marked message that asks the orchestrator whether it is alive, and touches no game date.

The orchestrator answers in a document beside the real ones. The message goes to everybody who
subscribes to the topic: its body is a completion of another phase, by nobody, that was skipped, so
that others (an orchestrator without probes among them) turn it away.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator_resilience.completion import push_envelope_of
from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import DocumentRef

PROBES = "orchestrator_probes"
ATTRIBUTE = "orchestrator_probe"


def probe_ref(probe_id: str) -> DocumentRef:
    """The address of the answer."""
    return DocumentRef(PROBES, probe_id)


def probe_data(now: datetime) -> bytes:
    """Return the body of a probe; its mark is the attribute ATTRIBUTE with an id of 32 hexadecimal digits."""
    body = {"processor_name": ATTRIBUTE, "phase": "probe", "game_date": now.date().isoformat(), "status": "skipped"}
    return json.dumps(body).encode()


def probe_id_of(event: object) -> str | None:
    """Return the id of a probe, None for every other message, whatever it is."""
    try:
        envelope, _ = push_envelope_of(event)
    except InvalidMessageError:
        return None
    attributes = envelope["message"].get("attributes")
    value = attributes.get(ATTRIBUTE) if isinstance(attributes, Mapping) else None
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value) else None


def answer_fields(phase: Phase, now: datetime, *, completion_log: str | None) -> dict[str, Any]:
    """Return the answer: who is alive, what it waits for, and what is wrong with the completion log, if anything."""
    return {
        "phase": phase.name,
        "expected": sorted(phase.expected),
        "answered_at": now,
        "completion_log": completion_log,
    }
