"""Tells people of incidents, each notification once: claimed in its document before it is sent, confirmed after.

The incidents is a collection of documents beside the progress documents, one for each (phase, game date).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from canary.domain.incident import (
    Incident,
    Incidents,
    NotificationKind,
    advance,
    incident_ref,
    known_incident,
    to_fields,
)
from canary.domain.silence import SILENCES, read_silences
from canary.domain.verdict import Verdict
from orchestrator_resilience.stores.base import DocumentRef, DocumentStore


@dataclass(frozen=True, slots=True)
class Notification:
    """Something to tell: what of the incident, how it stands once this was told, and the verdict behind it."""

    kind: NotificationKind
    incident: Incident
    verdict: Verdict


class Channels:
    """Several ways to reach people: each is tried, and the first failure is raised after the last."""

    def __init__(self, *channels: "Channel") -> None:
        self._channels = channels

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Send by every way."""
        failures = []
        for channel in self._channels:
            try:
                channel.send(notifications, now)
            except Exception as error:  # noqa: BLE001 (raised below, once the others have been tried)
                failures.append(error)
        if failures:
            raise failures[0]


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Tell all of `notifications`, in one message where there is one; raises when they could not be told."""


def tell(
    documents: DocumentStore, verdicts: Sequence[Verdict], incidents: Incidents, channel: Channel, now: datetime
) -> list[Notification]:
    """Take `verdicts` into the incidents as they were read, and send what follows; returns what was sent.

    A silenced date is left as it is, unless it is well again. A date that another run has changed
    meanwhile is left to that run. Raises what the stores or the channel raise; what was claimed and
    not sent is sent by a later run.
    """
    notifications = []
    silences = read_silences(incidents.get(SILENCES))
    for verdict in verdicts:
        if not verdict.kind.is_quiet and any(silence.covers(verdict, now) for silence in silences):
            continue
        known = known_incident(incidents, verdict.phase, verdict.game_date)
        step = advance(known, verdict, now)
        if step.incident is None or step.incident == known:
            continue
        ref = incident_ref(verdict.phase, verdict.game_date)
        document = incidents.get(ref)
        won = documents.update_if_unchanged(ref, to_fields(step.incident), document.version if document else None)
        if won and step.notification is not None and step.delivered is not None:
            notifications.append(Notification(step.notification, step.delivered, verdict))
    if not notifications:
        return []
    try:
        channel.send(notifications, now)
    except Exception:
        for (
            notification
        ) in notifications:  # give the claims back, so that the next attempt need not wait until they expire
            documents.merge(_ref(notification), {"claimed_at": None})
        raise
    for notification in notifications:
        documents.merge(_ref(notification), to_fields(notification.incident))
    return notifications


def _ref(notification: Notification) -> DocumentRef:
    return incident_ref(notification.verdict.phase, notification.verdict.game_date)
