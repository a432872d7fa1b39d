"""The orchestrator as a Cloud Run function: what Pub/Sub calls for each message.

It takes a push of a subscription's, or a CloudEvent of Eventarc's: one message about one processor
and one game date. The completion is appended to the completion log and registered in the progress
document, and the flag is set when nobody is missing; checkpoints on stdout say how far that went.
The answer is empty: a return acknowledges the message, and what is raised is answered with 500, so
that the message comes again. A request that is too large to hold a completion is acknowledged
unread, and one that was cut off is answered with 400, so that it comes again.
"""

import io
from collections.abc import Callable
from http import HTTPStatus

import flask
import functions_framework
from flask.typing import ResponseReturnValue

from orchestrator_resilience.errors import InvalidMessageError
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import load_phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores

# Longer than any accepted completion, in base64 and with all attributes that Pub/Sub allows.
MAX_REQUEST_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


def start() -> Callable[[flask.Request], ResponseReturnValue]:
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

    # Not functions_framework.cloud_event: it drops the delivery attempt of a push, answers 400 to a
    # message that has no data, and decodes a request of any size. An Eventarc trigger's request has
    # the same body.
    @functions_framework.http
    def orchestrate(request: flask.Request) -> ResponseReturnValue:
        if request.method != "POST":
            return "", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"}
        if (reason := _too_large(request)) is not None:
            checkpoints.rejected(
                InvalidMessageError("request", reason, event_id=request.headers.get("ce-id"))
            )
            # At any other answer Pub/Sub would send the request again, for as long as it keeps it.
            return "", HTTPStatus.NO_CONTENT
        if len(request.get_data()) < (request.content_length or 0):
            return "", HTTPStatus.BAD_REQUEST
        orchestrator.deliver(_event(request), traceparent=request.headers.get("traceparent"))
        return "", HTTPStatus.NO_CONTENT

    return orchestrate


def _event(request: flask.Request) -> object:
    """Read the body; None where it is no JSON, or is nested too deeply to be read."""
    try:
        return request.get_json(force=True, silent=True)
    except RecursionError:
        return None


def _too_large(request: flask.Request) -> str | None:
    """Say that a request is too large to hold a completion, before anything decodes it.

    Returns None where it is not too large.
    """
    length, environ = request.content_length, request.environ
    if length is None:  # it comes in chunks
        request.max_content_length = MAX_REQUEST_BYTES
    if (len(request.get_data()) if length is None else length) < MAX_REQUEST_BYTES:
        return None
    while environ["wsgi.input"].read(_CHUNK_BYTES):  # a client that is still sending sees no answer
        pass
    # functions-framework reads what is left
    environ.update({"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"})
    size = f"{length} bytes, and completions" if length else "completions"
    return f"{size} have under {MAX_REQUEST_BYTES}: not read"
