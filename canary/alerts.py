"""The ways to reach people; each is a Notifier."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from canary.incidents import NoticeKind
from canary.message import CommandLine, logs_link, notice_text
from canary.telling import Notice
from orchestrator_resilience.phase import Phase


class LogNotifier:
    """One structured log entry a notice, which a log-based alert policy can match by `canary_alert`.

    `project` is linked to for the date's checkpoints.
    """

    def __init__(
        self, phases: Mapping[str, Phase], *, project: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._phases, self._project, self._stream = phases, project, stream
        self._command = CommandLine(project=project, several=len(phases) > 1)

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """Write the entries, each with a single `write`, by default to stdout."""
        stream = self._stream or sys.stdout  # looked up each time: functions-framework replaces it
        for notice in notices:
            verdict = notice.verdict
            over = notice.kind is NoticeKind.RESOLVED
            entry = {
                "severity": "NOTICE" if over else notice.incident.level.value,
                "message": f"CANARY_ALERT {notice.kind}: "
                + notice_text(notice, self._phases[verdict.phase], self._command, now),
                "canary_alert": notice.kind.value,
                "phase": verdict.phase,
                "game_date": verdict.game_date.isoformat(),
                "verdict": verdict.kind.value,
                "cause": verdict.cause.kind.value if verdict.cause else None,
                "impact": verdict.impact.value if verdict.impact else None,
                "logs": logs_link(self._project, verdict.phase, verdict.game_date) if self._project else None,
                "opened_at": notice.incident.opened_at.isoformat(),
            }
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
