"""The Cloud Function of the orchestrator: a CloudEvent for each Pub/Sub message.

Settings and phases are read when the instance starts, so that a missing variable is an error then,
by name; the clients are made at the first delivery and kept.
"""

import sys
from pathlib import Path

# functions-framework puts only the folder of this file on the path, and the packages are beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flask
import functions_framework
from cloudevents.http import CloudEvent

from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import load_phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores

_settings = Settings.from_env()
_phase = load_phase(_settings.phase)
_stores = open_stores(_settings, {_phase.name: _phase})
_orchestrator = Orchestrator(
    _phase,
    _stores.documents,
    _stores.completion_log,
    CheckpointLogger(_phase),
    service=_settings.service,
    revision=_settings.revision,
)


@functions_framework.cloud_event
def orchestrate(event: CloudEvent) -> None:
    """Handle one message; what is raised is answered with 500, and Pub/Sub sends the message again."""
    _orchestrator.deliver(event, traceparent=flask.request.headers.get("traceparent"))
