"""The orchestrator as a Cloud Function: what Pub/Sub's trigger calls for each message.

In comes a CloudEvent with one message about one processor and one game date.
The completion is appended to the completion log and registered in the progress document, and the
flag is set when nobody is missing; checkpoints on stdout say how far that went.
Out goes nothing: a return acknowledges the message, and what is raised is answered with 500, so that it comes again.
A request that is too large to hold a completion is acknowledged unread.
"""

from collections.abc import Callable
from http import HTTPStatus

import flask
import functions_framework
from cloudevents.http import CloudEvent

from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import load_phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores

# A completion that is accepted, in base64 and with all the attributes that Pub/Sub allows, is shorter.
MAX_REQUEST_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


def start() -> Callable[[CloudEvent], None]:
    """Read the environment, and return the handler that functions-framework serves.

    Raises ConfigurationError, which names the variable or the field, so that an instance with a
    missing variable, a bad switch or a bad phases file does not start. The stores' clients are made
    at the first delivery and kept.
    """
    settings = Settings.from_env()
    phase = load_phase(settings.phase)
    stores = open_stores(settings, {phase.name: phase})
    checkpoints = CheckpointLogger(phase)
    orchestrator = Orchestrator(
        phase,
        stores.documents,
        stores.completion_log,
        checkpoints,
        service=settings.service,
        revision=settings.revision,
    )

    _acknowledge_what_is_too_large(checkpoints)

    @functions_framework.cloud_event
    def orchestrate(event: CloudEvent) -> None:
        orchestrator.deliver(event, traceparent=flask.request.headers.get("traceparent"))

    return orchestrate


def _acknowledge_what_is_too_large(checkpoints: CheckpointLogger) -> None:
    """Have the server answer a request that is too large before anything decodes it.

    With 200: whatever else it answered, Pub/Sub would send the request again, for as long as it keeps it.
    """
    flask.current_app.config["MAX_CONTENT_LENGTH"] = (
        MAX_REQUEST_BYTES  # where the length is not told, reading ends there
    )

    @flask.current_app.before_request
    def acknowledge() -> tuple[str, HTTPStatus] | None:
        length = flask.request.content_length
        if (length or len(flask.request.get_data())) < MAX_REQUEST_BYTES:
            return None
        told = f"{length} bytes, and completions" if length else "completions"
        reason, event_id = f"{told} have under {MAX_REQUEST_BYTES}: not read", flask.request.headers.get("ce-id")
        checkpoints.rejected(InvalidMessageError("request", reason, event_id=event_id))
        body = flask.request.environ["wsgi.input"]
        while body.read(_CHUNK_BYTES):  # who is still sending would not see the answer
            pass
        return "", HTTPStatus.OK
