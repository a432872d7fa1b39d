"""The probe: a marked message that asks the orchestrator whether it is alive, and touches no game date.

The orchestrator answers in a document beside the real ones. The message goes to everybody who
subscribes to the topic: its body is a completion of another phase, by nobody, that was skipped, of a
date on which there was no game, so that others (an orchestrator without probes among them) turn it away.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from orchestrator_resilience.completion import push_envelope_of
from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import DocumentRef

PROBES = "orchestrator_probes"
ATTRIBUTE = "orchestrator_probe"
# After that nobody waits for the answer any more.
MAX_AGE = timedelta(minutes=10)
_NO_DATE = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that arrived; `published_at` is Pub/Sub's time, None where the message does not say."""

    id: str
    published_at: datetime | None

    def is_stale(self, now: datetime) -> bool:
        """Whether nobody waits any more; a probe without a time counts as young."""
        return self.published_at is not None and now - self.published_at > MAX_AGE


def probe_ref(probe_id: str) -> DocumentRef:
    """The address of the answer."""
    return DocumentRef(PROBES, probe_id)


def probe_data() -> bytes:
    """Return the body of a probe; its mark is the attribute ATTRIBUTE with an id of 32 hexadecimal digits."""
    body = {"processor_name": ATTRIBUTE, "phase": "probe", "game_date": _NO_DATE.isoformat(), "status": "skipped"}
    return json.dumps(body).encode()


def probe_of(event: object) -> Probe | None:
    """Return the probe that a message is, None for every other message, whatever it is."""
    try:
        envelope, event_attributes = push_envelope_of(event)
    except InvalidMessageError:
        return None
    message = envelope["message"]
    attributes = message.get("attributes")
    value = attributes.get(ATTRIBUTE) if isinstance(attributes, Mapping) else None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{32}", value):
        return None
    published_at = message.get("publishTime") or message.get("publish_time") or event_attributes.get("time")
    return Probe(value, _instant(published_at))


def answer_fields(
    phase: Phase, now: datetime, *, completion_log: str | None, service: str | None, revision: str | None
) -> dict[str, Any]:
    """Return the answer: who is alive, what it waits for, and what is wrong with the completion log, if anything."""
    return {
        "phase": phase.name,
        "service": service,
        "revision": revision,
        "expected": sorted(phase.expected),
        "answered_at": now,
        "completion_log": completion_log,
    }


def _instant(value: object) -> datetime | None:
    try:
        instant: datetime = msgspec.convert(value, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError:
        return None
    return instant
