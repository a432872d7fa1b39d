"""What reaches the orchestrator: messages, requests, documents, and what foreign code gives to its checkpoints."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import flask
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, Completion, InvalidMessageError
from orchestrator_resilience.checkpoints import CheckpointKind, json_line
from orchestrator_resilience.function import start
from orchestrator_resilience.plain import printable
from orchestrator_resilience.probe import ATTRIBUTE, probe_of
from orchestrator_resilience.progress import Progress, completion_fields, read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.bigquery import _json_row
from orchestrator_resilience.testing import RecordingSink, push_envelope
from orchestrator_resilience.transaction import transaction_of
from tests.fuzz.inputs import (
    Check,
    Target,
    check_lines,
    check_text,
    json_values,
    mutated,
    odd,
    pure,
    stored_values,
    texts,
)
from tests.hostile import AT, DAY, FIVE, PHASE, documents

ENVELOPE = push_envelope(FIVE[0], str(DAY), AT, message_id="17", entities_changed=["a"], is_incremental=True)
BODY = base64.b64decode(ENVELOPE["message"]["data"])
_BODIES = [
    BODY,
    b"\xef\xbb\xbf" + BODY,
    json.dumps(BODY.decode()).encode(),
    base64.b64encode(BODY),
    b'{"processor_name": "x", "game_date": "2026-02-09T00:00:00Z", "status": "no_data"}',
]
_FIELDS = {"processor_name", "game_date", "status", "phase", "event", "message"}
_FIELDS |= {"message.messageId", "message.publishTime", "message.data"}


def _rejected(error: InvalidMessageError) -> None:
    """The field is named, and the line of it is one line."""
    assert error.field in _FIELDS, error
    assert len(error.raw) <= 500
    sink = RecordingSink()
    logger = CheckpointLogger(PHASE, sink, enabled=True)
    logger.rejected(error)
    assert (sink.kinds(), logger.dropped) == (["REJECTED"], 0)
    check_lines("".join(json_line(one) for one in sink.checkpoints))


def _accepted(completion: Completion, event: object) -> None:
    """It is registered, has a row that JSON can hold, and is the same when it comes again."""
    assert completion.processor is None or completion.processor in PHASE.expected
    for text in (completion.raw_processor, completion.event_id, *completion.odd_fields):
        check_text(text)
    json.dumps(_json_row(completion_row(completion), AT), allow_nan=False)
    if completion.processor is not None:
        fields = registration_fields(Progress(PHASE.expected), completion, AT)
        assert read_progress(fields, PHASE).holds(completion)
    assert Completion.from_event(event, PHASE) == completion


def event(value: object) -> None:
    """Whatever is delivered: a probe, a completion or an InvalidMessageError."""
    if (probe := probe_of(value)) is not None:
        assert probe.is_stale(AT) in {False, True}
        return
    try:
        completion = Completion.from_event(value, PHASE)
    except InvalidMessageError as error:
        _rejected(error)
    else:
        _accepted(completion, value)


def _body(given: dict[str, Any]) -> None:
    data = given["data"]
    text = base64.b64encode(data).decode() if given["base64"] else data.decode("utf-8", "surrogateescape")
    event({"message": {**ENVELOPE["message"], "data": text}})


_message = odd({**ENVELOPE["message"], "message_id": "17", "publish_time": AT.isoformat()}, json_values)
_probe = st.builds(lambda message, mark: {**message, "attributes": {ATTRIBUTE: mark}}, _message, st.just("0" * 32))
_envelopes = odd({"message": {}, "subscription": "s", "deliveryAttempt": 2}, json_values)
_push = st.builds(lambda around, message: {**around, "message": message}, _envelopes, _message | _probe | json_values)
_events = _push | st.builds(lambda inner, others: {**others, "data": inner}, _push, odd({"id": "1"}, json_values))


# The function


@contextmanager
def _function() -> Iterator[Check]:
    """Serve the function, without a server in front of it, on stores in a folder."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, {"RESILIENCE_DATA_DIR": folder}):
        handler = start()
        yield lambda given: _request(handler, given)


def _request(handler: Callable[[flask.Request], Any], given: dict[str, Any]) -> None:
    """Whatever is posted is acknowledged, with lines of JSON: sent again it would be the same."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        _, status, *_ = handler(flask.Request(environ_of(given)))
    assert status == (204 if given["method"] == "POST" else 405)
    kinds = [entry["checkpoint"] for entry in check_lines(printed.getvalue())]
    assert CheckpointKind.FAILED not in kinds, printed.getvalue()
    assert bool(kinds) == (given["method"] == "POST"), kinds


def environ_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return a request as a WSGI server hands it over: its texts are bytes in Latin-1, without a line break."""
    body = given["body"]
    length = {"wsgi.input_terminated": True} if given.get("chunked") else {"CONTENT_LENGTH": str(len(body))}
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": value.translate(None, b"\r\n\0").decode("latin-1")
        for name, value in given.get("headers", {}).items()
    }
    return {
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "REQUEST_METHOD": given["method"],
        "PATH_INFO": given.get("path", b"/").decode("latin-1"),
        "QUERY_STRING": given.get("query", b"").decode("latin-1"),
        "wsgi.input": io.BytesIO(body),
        **headers,
        **length,
    }


_pushes = mutated(
    [
        json.dumps(ENVELOPE).encode(),
        json.dumps({"id": "1", "time": AT.isoformat(), "data": ENVELOPE}).encode(),
        json.dumps({**ENVELOPE, "message": {**ENVELOPE["message"], "attributes": {ATTRIBUTE: "0" * 32}}}).encode(),
    ]
)
_requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "POST", "POST", "POST", "GET", "PUT"]),
        "body": _pushes,
        "chunked": st.booleans(),
        "headers": st.dictionaries(
            st.sampled_from(["traceparent", "ce-id", "content-type", "content-encoding"]),
            mutated([b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01", b"application/json", b"gzip"]),
        ),
    }
)


# Documents


def _document(fields: dict[str, Any]) -> None:
    """Every document is read; what completes it sets the flag, and a line says what it holds."""
    progress = read_progress(fields, PHASE)
    assert progress.completed | progress.missing == PHASE.expected
    read_progress(printable(fields), PHASE)
    completion = Completion.from_event(ENVELOPE, PHASE)
    written, after = completion_fields(progress, completion, AT + timedelta(minutes=1))
    again = read_progress({**fields, **written}, PHASE)
    assert (again.completed, again.trigger is None) == (after.completed, after.trigger is None)
    found = transaction_of(
        PHASE,
        document=fields,
        should_trigger=False,
        completed=None,
        triggered=None,
        duplicate=None,
        expected=None,
        on_purpose=None,
    )
    assert (found.missing, found.triggered) == (sorted(progress.missing), progress.trigger is not None)


# Foreign code


class _Refuses:
    """An object that refuses whatever is asked of it."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("refused")

    __str__ = __repr__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getitem__ = __format__ = _refuse


class _RefusingText(str):
    __slots__ = ()
    __str__ = __repr__ = __len__ = __hash__ = __eq__ = isprintable = _Refuses._refuse


class _RefusingError(Exception):
    __str__ = _Refuses._refuse


class _RefusingMap(Mapping[str, Any]):
    __getitem__ = __iter__ = __len__ = _Refuses._refuse


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _chain() -> Exception:
    first, second = ValueError("first"), _RefusingError("second")
    first.__cause__, second.__context__ = second, first
    return first


FOREIGN: dict[str, Callable[[], Any]] = {
    "an object that refuses": _Refuses,
    "a text that refuses": lambda: _RefusingText("x"),
    "an error that refuses": _RefusingError,
    "a map that refuses": _RefusingMap,
    "a circle": _circle,
    "errors in a circle": _chain,
    "a generator that raises": lambda: (1 // number for number in (1, 0)),
    "a complex number": lambda: 1j,
    "a set": lambda: {1, "x"},
    "a class": lambda: int,
}
_foreign = st.sampled_from(sorted(FOREIGN)).map(lambda name: {"foreign": name}) | stored_values
_names = st.lists(st.sampled_from([*FIVE, "x"]))
_calls = st.one_of(
    st.tuples(
        st.just("post_transaction"),
        odd({"should_trigger": False, "triggered": True, "completed": FIVE}, _foreign | _names | st.just(True)),
    ),
    st.tuples(st.just("took"), st.fixed_dictionaries({"step": _foreign, "seconds": _foreign | st.just(0.1)})),
    st.tuples(st.just("ignored"), st.fixed_dictionaries({"reason": _foreign})),
    st.tuples(st.just("rejected"), st.fixed_dictionaries({"error": _foreign})),
    st.tuples(st.just("failed"), st.fixed_dictionaries({"error": _foreign})),
    st.tuples(st.just("unexpected"), st.just({})),
)
_arguments = {"should_trigger", "completed", "triggered", "document", "duplicate", "attempts", "expected", "on_purpose"}
_delivered = {"processor": FIVE[0], "game_date": str(DAY), "event_id": "17", "correlation_id": "c", "status": "success"}
_needed = ("processor", "game_date", "event_id")
_optional = ("correlation_id", "delivery_attempt", "traceparent", "status")


def _built(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"foreign"}:
        return FOREIGN[value["foreign"]]() if value["foreign"] in FOREIGN else value
    return value


def _foreign_code(given: dict[str, Any]) -> None:
    """Nothing is raised; what is left are lines of JSON, and what is not left is counted."""
    sink = RecordingSink()
    logger = CheckpointLogger(PHASE, sink, enabled=True)
    known = {name: _built(given["known"].get(name, "x")) for name in _needed}
    known |= {name: _built(given["known"][name]) for name in _optional if name in given["known"]}
    with logger.delivery(**known) as delivery:
        for method, arguments in given["calls"]:
            known = {name: _built(value) for name, value in arguments.items()}
            names = _arguments if method == "post_transaction" else known
            getattr(delivery, method)(**{name: value for name, value in known.items() if name in names})
    logger.each_delivery(lambda *_: None)(_built(given["known"].get("event_id")))
    lines = check_lines("".join(json_line(one) for one in sink.checkpoints))
    dropped = logger.dropped + sum(line.get("dropped", 0) for line in lines)
    assert dropped or sink.kinds()[0] == "RECEIVED"
    assert dropped or any(line["closes"] for line in lines)


TARGETS = [
    pure("message body", st.fixed_dictionaries({"data": mutated(_BODIES), "base64": st.booleans()}), _body),
    pure("envelope", _events | json_values, event),
    Target("request to the orchestrator", _requests, _function),
    pure("progress document", documents | st.dictionaries(st.sampled_from(FIVE) | texts, stored_values), _document),
    pure(
        "foreign code",
        st.fixed_dictionaries({"known": odd(_delivered, _foreign), "calls": st.lists(_calls, max_size=4)}),
        _foreign_code,
    ),
]
