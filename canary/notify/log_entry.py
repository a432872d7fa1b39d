"""Notifies people through Cloud Logging: one log entry a fault, which an alert policy matches."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from canary.domain.verdict import badness, level
from canary.notify.channel import Notification, Warned
from canary.notify.message import (
    CommandLine,
    Message,
    logs_link,
    messages_by_fault,
    severity,
    shortened,
    verdicts_of,
)
from orchestrator_resilience.phase import Phase

# An entry holds 256 KB; as JSON a character takes 12 bytes at the most.
_MAXIMUM_MESSAGE = 8_000


def write_entry(entry: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Write a log entry in one piece, by default to stdout.

    `print` writes its newline apart, and another thread's line may come between.
    """
    # Looked up each time: functions-framework replaces it.
    target = sys.stdout if stream is None else stream
    target.write(json.dumps(entry) + "\n")
    target.flush()


class LogChannel:
    """One structured log entry a fault, which a log-based alert policy can match by `canary_alert`.

    `project` is the project of the links to the logs, `page` and `runbook` are the addresses at
    which people reach them, and `canary` is the canary's own name, where it is not the usual one.
    """

    name = "log"
    address = ""

    def __init__(
        self,
        phases: Mapping[str, Phase],
        *,
        project: str | None = None,
        page: str | None = None,
        runbook: str | None = None,
        canary: str | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._phases, self._stream = phases, stream
        self._command = CommandLine(
            project=project, several=len(phases) > 1, page=page, runbook=runbook, canary=canary
        )

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Write the entries, each with a single `write`, by default to stdout."""
        faults = messages_by_fault(notifications, self._phases, self._command, now)
        # all are made before any is written
        for entry in [self._entry(group, message) for group, message in faults]:
            write_entry(entry, self._stream)

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (the log has the time)
        """Write a warning about the canary itself."""
        matched: dict[Warned, dict[str, str]] = {
            Warned.CHANNEL: {"canary_channel": "REFUSED"},
            Warned.TEST: {"severity": "NOTICE", "canary_alert": what, "headline": text},
        }
        entry = {"severity": "ERROR", "message": f"CANARY_{what}: {text}", **matched.get(what, {})}
        write_entry(entry, self._stream)

    def _entry(self, group: Sequence[Notification], message: Message) -> dict[str, Any]:
        """Return the entry of one group: the fields of its worst date, and all its `game_dates`."""
        kind, verdicts, project = group[0].kind, verdicts_of(group), self._command.project
        verdict = max(verdicts, key=lambda verdict: (badness(level(verdict)), verdict.game_date))
        return {
            "severity": "NOTICE" if kind.is_end else severity(group).value,
            "message": f"CANARY_ALERT {kind}: {shortened(message.text, _MAXIMUM_MESSAGE)}",
            "headline": message.headline,
            "canary_alert": kind.value,
            "phase": verdict.phase,
            "game_date": verdict.game_date.isoformat(),
            "game_dates": sorted(verdict.game_date.isoformat() for verdict in verdicts),
            "verdict": verdict.kind.value,
            "cause": ", ".join(cause.kind for cause in verdict.causes) or None,
            "impact": verdict.impact.value if verdict.impact else None,
            "logs": logs_link(project, verdict.phase, verdict.game_date) if project else None,
            "opened_at": min(notification.incident.opened_at for notification in group).isoformat(),
        }
