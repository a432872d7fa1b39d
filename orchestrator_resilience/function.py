"""The orchestrator as a Cloud Function: what Pub/Sub's trigger calls for each message.

In comes a CloudEvent with one message about one processor and one game date.
The completion is appended to the completion log and registered in the progress document, and the
flag is set when nobody is missing; checkpoints on stdout say how far that went.
Out goes nothing: a return acknowledges the message, and what is raised is answered with 500, so that it comes again.
"""

from collections.abc import Callable

import flask
import functions_framework
from cloudevents.http import CloudEvent

from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import load_phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores


def start() -> Callable[[CloudEvent], None]:
    """Read the environment, and return the handler that functions-framework serves.

    Raises ConfigurationError, which names the variable or the field, so that an instance with a
    missing variable, a bad switch or a bad phases file does not start. The stores' clients are made
    at the first delivery and kept.
    """
    settings = Settings.from_env()
    phase = load_phase(settings.phase)
    stores = open_stores(settings, {phase.name: phase})
    orchestrator = Orchestrator(
        phase,
        stores.documents,
        stores.completion_log,
        CheckpointLogger(phase),
        service=settings.service,
        revision=settings.revision,
    )

    @functions_framework.cloud_event
    def orchestrate(event: CloudEvent) -> None:
        orchestrator.deliver(event, traceparent=flask.request.headers.get("traceparent"))

    return orchestrate
