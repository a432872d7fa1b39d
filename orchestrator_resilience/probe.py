"""The probe: a marked message that asks whether the orchestrator is alive.

It touches no game date, and is answered in a document beside the real ones. All who subscribe to
the topic get it: its body is a completion of another phase, skipped, of a date without a game, so
that others (older orchestrators too) turn it away.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from orchestrator_resilience.completion import push_envelope_of
from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.stores.base import DocumentRef

PROBES = "orchestrator_probes"
# The mark is this attribute with an id of 32 hexadecimal digits; the body is the same for all.
ATTRIBUTE = "orchestrator_probe"
DATA = (
    b'{"processor_name": "orchestrator_probe", "phase": "probe", "game_date": "1970-01-01", '
    b'"status": "skipped"}'
)
MAX_AGE = timedelta(minutes=10)  # after that nobody waits for the answer any more


class Probe(msgspec.Struct, frozen=True):
    """A probe that arrived; `published_at` is Pub/Sub's time, None where the message has none."""

    id: str
    published_at: datetime | None

    def is_stale(self, now: datetime) -> bool:
        """Whether nobody waits any more; a probe without a time counts as young."""
        return self.published_at is not None and now - self.published_at > MAX_AGE


def probe_ref(probe_id: str) -> DocumentRef:
    """The address of the answer."""
    return DocumentRef(PROBES, probe_id)


def probe_of(event: object) -> Probe | None:
    """Return the probe that a message is, None for every other message."""
    try:
        envelope, event_attributes = push_envelope_of(event)
    except InvalidMessageError:
        return None
    message = envelope["message"]
    attributes = message.get("attributes")
    value = attributes.get(ATTRIBUTE) if isinstance(attributes, Mapping) else None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{32}", value):
        return None
    published = (
        message.get("publishTime") or message.get("publish_time") or event_attributes.get("time")
    )
    try:
        return Probe(value, msgspec.convert(published, Annotated[datetime, msgspec.Meta(tz=True)]))
    except (msgspec.ValidationError, UnicodeError):
        return Probe(value, None)
