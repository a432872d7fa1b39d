"""What people are told, and a way to reach them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from canary.domain.incident import Incident, NotificationKind
from canary.domain.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Notification:
    """What people are told of an incident: its kind, the incident once this was delivered, the verdict behind it."""

    kind: NotificationKind
    incident: Incident
    verdict: Verdict


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Send all of `notifications`, in one message where there is one; raises when they could not be sent."""


class Channels:
    """Several channels as one."""

    def __init__(self, *channels: Channel) -> None:
        self._channels = channels

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Try each channel; the first failure is raised after the last."""
        failures = []
        for channel in self._channels:
            try:
                channel.send(notifications, now)
            except Exception as error:  # noqa: BLE001 (raised below, once the others have been tried)
                failures.append(error)
        if failures:
            raise failures[0]
