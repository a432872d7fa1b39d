"""Tells people through Cloud Logging: a log entry that an alert policy matches."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from canary.domain.incident import NotificationKind
from canary.notify.channel import Notification
from canary.notify.message import CommandLine, logs_link, notification_text, shortened
from orchestrator_resilience.phase import Phase

# An entry holds 256 KB; as JSON a character is of 12 bytes at the most.
_MAXIMUM_MESSAGE = 8_000


class LogChannel:
    """One structured log entry a notification, which a log-based alert policy can match by `canary_alert`.

    `project` is linked to for the date's checkpoints.
    """

    name = "log"
    address = ""

    def __init__(
        self, phases: Mapping[str, Phase], *, project: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._phases, self._project, self._stream = phases, project, stream
        self._command = CommandLine(project=project, several=len(phases) > 1)

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Write the entries, each with a single `write`, by default to stdout."""
        entries = [self._entry(notification, now) for notification in notifications]  # before any is written
        for entry in entries:
            self._write(entry)

    def warn(self, text: str, now: datetime) -> None:  # noqa: ARG002 (the log has the time)
        """Write an entry about the canary itself."""
        self._write({"severity": "ERROR", "message": f"CANARY_CHANNEL: {text}", "canary_channel": "REFUSED"})

    def _write(self, entry: Mapping[str, Any]) -> None:
        stream = self._stream or sys.stdout  # looked up each time: functions-framework replaces it
        stream.write(json.dumps(entry) + "\n")
        stream.flush()

    def _entry(self, notification: Notification, now: datetime) -> dict[str, Any]:
        verdict = notification.verdict
        over = notification.kind is NotificationKind.RESOLVED
        text = notification_text(notification, self._phases.get(verdict.phase), self._command, now)
        return {
            "severity": "NOTICE" if over else notification.incident.level.value,
            "message": f"CANARY_ALERT {notification.kind}: {shortened(text, _MAXIMUM_MESSAGE)}",
            "canary_alert": notification.kind.value,
            "phase": verdict.phase,
            "game_date": verdict.game_date.isoformat(),
            "verdict": verdict.kind.value,
            "cause": ", ".join(cause.kind for cause in verdict.causes) or None,
            "impact": verdict.impact.value if verdict.impact else None,
            "logs": logs_link(self._project, verdict.phase, verdict.game_date) if self._project else None,
            "opened_at": notification.incident.opened_at.isoformat(),
        }
