"""Tells people through Cloud Logging: a log entry that an alert policy matches."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from canary.domain.incident import NotificationKind
from canary.notify.channel import Notification
from canary.notify.message import CommandLine, logs_link, notification_text
from orchestrator_resilience.phase import Phase


class LogChannel:
    """One structured log entry a notification, which a log-based alert policy can match by `canary_alert`.

    `project` is linked to for the date's checkpoints.
    """

    def __init__(
        self, phases: Mapping[str, Phase], *, project: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._phases, self._project, self._stream = phases, project, stream
        self._command = CommandLine(project=project, several=len(phases) > 1)

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Write the entries, each with a single `write`, by default to stdout."""
        stream = self._stream or sys.stdout  # looked up each time: functions-framework replaces it
        for notification in notifications:
            verdict = notification.verdict
            over = notification.kind is NotificationKind.RESOLVED
            entry = {
                "severity": "NOTICE" if over else notification.incident.level.value,
                "message": f"CANARY_ALERT {notification.kind}: "
                + notification_text(notification, self._phases[verdict.phase], self._command, now),
                "canary_alert": notification.kind.value,
                "phase": verdict.phase,
                "game_date": verdict.game_date.isoformat(),
                "verdict": verdict.kind.value,
                "cause": verdict.cause.kind.value if verdict.cause else None,
                "impact": verdict.impact.value if verdict.impact else None,
                "logs": logs_link(self._project, verdict.phase, verdict.game_date) if self._project else None,
                "opened_at": notification.incident.opened_at.isoformat(),
            }
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
