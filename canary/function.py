"""The canary over HTTP: `POST /` is a run, as Cloud Scheduler starts it; `GET /status` answers JSON.

200 when the run could tell, whatever it told; 503, with the reason, when it could not.
"""

import json
from datetime import UTC, datetime
from typing import Any

import flask
import functions_framework

from canary.run import Report, check
from canary.verdict import VerdictKind
from orchestrator_resilience.phase import load_phases
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores

_settings = Settings.from_env()
_enabled = _settings.canary_enabled
_phases = load_phases()
_stores = open_stores(_settings, _phases, must_exist=True)

Answer = tuple[dict[str, Any], int]


@functions_framework.http
def canary(request: flask.Request) -> Answer:
    """Answer one request."""
    if not _enabled:
        return {"outcome": "SWITCHED_OFF", "reason": "CANARY_ENABLED"}, 200
    now = datetime.now(UTC)
    match request.method, request.path:
        case "POST", "/":
            report = check(_stores, _phases, now)
            _log(report)
            return _answer(report)
        case "GET", "/status":
            wanted = {name: phase.recent_dates(now, phase.history_dates) for name, phase in _phases.items()}
            return _answer(check(_stores, _phases, now, wanted))
        case _, "/" | "/status":
            return {"reason": f"{request.method} is not what {request.path} takes"}, 405
        case _:
            return {"reason": f"there is no {request.path}; there are POST / and GET /status"}, 404


def _answer(report: Report) -> Answer:
    unknown = [v for v in report.verdicts if v.kind is VerdictKind.UNKNOWN]
    reasons = sorted({v.summary for v in unknown})
    return {**report.to_json(), "reason": "; ".join(reasons)}, 503 if reasons else 200


def _log(report: Report) -> None:
    """Leave one JSON line on stdout, for Cloud Logging: the proof that the canary is alive."""
    line = report.run_line()
    words = ", ".join(f"{one['phase']} {one['game_date']} {one['verdict']}" for one in line["dates"])
    severity = {"QUIET": "INFO", "PROBLEM": "ERROR", "COULD_NOT_TELL": "WARNING"}[report.outcome.name]
    print(json.dumps({"severity": severity, "message": f"CANARY_RUN: {words}", **line}), flush=True)
