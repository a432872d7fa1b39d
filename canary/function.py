"""The canary over HTTP: `POST /` is a run, as Cloud Scheduler starts it; `GET /status` answers JSON.

200 when the run could tell, whatever it told; 503, with the reason, when it could not.
"""

import json
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

# functions-framework puts only the folder of this file on the path, and the packages are beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flask
import functions_framework

from canary.notify.heartbeat import Heartbeat, HeartbeatError
from canary.notify.incidents import Channels
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from canary.run import Outcome, Report, check, watch
from canary.settings import CanarySettings
from orchestrator_resilience.phase import load_phases
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores

_settings = Settings.from_env()
_own = CanarySettings.from_env()
_enabled = _own.enabled
_phases = load_phases()
_stores = open_stores(_settings, _phases, must_exist=True)

_slack = _own.slack_webhook_url
_channel = Channels(
    LogChannel(_phases, project=_settings.project),
    *([SlackChannel(_slack, _phases, project=_settings.project)] if _slack and _enabled else []),
)
_heartbeat = Heartbeat(_own.heartbeat_url) if _own.heartbeat_url and _enabled else None

Answer = tuple[dict[str, Any], int]


@functions_framework.http
def canary(request: flask.Request) -> Answer:
    """Answer one request."""
    if not _enabled:
        return {"outcome": "SWITCHED_OFF", "reason": "CANARY_ENABLED"}, 200
    now = datetime.now(UTC)
    match request.method, request.path:
        case "POST", "/":
            return _told(lambda: _run(now))
        case "GET", "/status":
            wanted = {name: phase.recent_dates(now, phase.history_dates) for name, phase in _phases.items()}
            return _told(lambda: _answer(check(_stores, _phases, now, wanted)))
        case _, "/" | "/status":
            return {"reason": f"{request.method} is not what {request.path} takes"}, 405
        case _:
            return {"reason": f"there is no {request.path}; there are POST / and GET /status"}, 404


def _told(answer: Callable[[], Answer]) -> Answer:
    """Answer 503 with the reason, whatever went wrong: the scheduler then tries again."""
    try:
        return answer()
    except Exception as error:  # noqa: BLE001 (nothing may end as a page of HTML that nobody reads)
        reason = f"{type(error).__name__}: {error}"
        told = {"run": "CANARY_RUN", "outcome": "COULD_NOT_TELL", "reason": reason}
        entry = {"severity": "ERROR", "message": f"CANARY_RUN failed: {reason}", **told}
        print(json.dumps({**entry, "stack_trace": traceback.format_exc()}), flush=True)
        return told, 503


def _run(now: datetime) -> Answer:
    report = watch(_stores, _phases, _channel, now)
    _log(report)
    answer = _answer(report)
    if _heartbeat is not None and answer[1] == HTTPStatus.OK:
        _beat(_heartbeat)
    return answer


def _answer(report: Report) -> Answer:
    reasons = sorted({v.summary for v in report.verdicts if v.unreadable})
    return {**report.to_json(), "reason": "; ".join(reasons)}, 503 if reasons else 200


def _beat(heartbeat: Heartbeat) -> None:
    """Tell the outside that the canary is alive; whether it was heard does not change the run."""
    try:
        heartbeat.beat()
    except HeartbeatError as error:
        print(json.dumps({"severity": "WARNING", "message": f"CANARY_HEARTBEAT: {error}"}), flush=True)


def _log(report: Report) -> None:
    """Leave one JSON line on stdout, for Cloud Logging: the proof that the canary is alive."""
    line = report.run_line()
    words = ", ".join(f"{one['phase']} {one['game_date']} {one['verdict']}" for one in line["dates"])
    # Not an error when there is a problem: the alert is an entry of its own, once, and this line comes each run.
    severity = "WARNING" if report.outcome is Outcome.COULD_NOT_TELL else "INFO"
    print(json.dumps({"severity": severity, "message": f"CANARY_RUN: {words}", **line}), flush=True)
