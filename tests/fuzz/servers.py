"""What servers answer, as bytes on the wire: Slack, the heartbeat, Pub/Sub, BigQuery; and the answer to a probe."""

import json
import os
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Thread
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st

from canary.commands.probe import what_is_wrong, who_else
from canary.notify.channel import NotifyError
from canary.notify.heartbeat import Heartbeat, HeartbeatError
from canary.notify.slack import SlackChannel, escaped
from orchestrator_resilience.errors import ConfigurationError, StoreError
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryCounts
from orchestrator_resilience.stores.dead_letters import PubSubDeadLetters
from tests.fuzz.deliveries import ENVELOPE
from tests.fuzz.inputs import Check, Target, check_text, json_values, mutated, odd, pure, stored_values, texts
from tests.hostile import AT, DAY, FIVE, PHASE

_SECRET = "T0SECRET/B0SECRET"  # noqa: S105 (that it goes nowhere is what is tested)


class _Server:
    """Answers each connection with the next of `answers`, with the last one for ever, and closes it."""

    def __init__(self) -> None:
        self.answers: Sequence[bytes] = [b""]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(1)
                _read_request(connection)
                answer, *others = self.answers
                self.answers = others or [answer]
                connection.sendall(answer)


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
    while left > 0 and (more := connection.recv(left)):
        left -= len(more)


@contextmanager
def _server() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.close()


def _http(text: str, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(text)}", *headers, "", text]
    return "\r\n".join(lines).encode()


# Slack and the heartbeat


@contextmanager
def _slack() -> Iterator[Check]:
    with _server() as server:
        url = f"http://{server.address}/services/{_SECRET}"
        slack = SlackChannel(url, {PHASE.name: PHASE}, seconds=0.2)
        heartbeat = Heartbeat(url, seconds=0.2)

        def check(answer: bytes) -> None:
            """Whatever is answered, a failure is one line without the address."""
            server.answers = [answer]
            try:
                slack.warn("a word", AT)
            except NotifyError as error:
                _check_failure(error, server.address)
            else:
                assert b"ok" in answer
            with suppress(HeartbeatError):
                heartbeat.beat()
                assert b"2" in answer

        yield check


def _check_failure(error: Exception, address: str) -> None:
    told = "".join(traceback.format_exception(error))
    assert str(error).isprintable(), ascii(str(error))
    assert _SECRET.lower() not in told.lower()
    assert address not in str(error)


_SLACK = [
    _http("ok"),
    _http("invalid_token", "403 Forbidden"),
    _http("rate_limited", "429 Too Many Requests", "Retry-After: 30"),
    _http(f"no_service {_SECRET}", "404 Not Found"),
    _http("", "302 Found", f"Location: /services/{_SECRET}x"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html;charset=x\r\n\r\n2\r\nok\r\n0\r\n\r\n",
]


def _shown_in_slack(text: str) -> None:
    """No link, mention or end of a code block, cut at the limit and in the middle of no entity."""
    shown = escaped(text, 40)
    assert len(shown) <= 40
    assert not any(piece in shown for piece in ("<", ">", "```", "@channel", "@here", "@everyone")), ascii(shown)
    assert all(part.startswith(("amp;", "lt;", "gt;")) for part in shown.split("&")[1:]), ascii(shown)


_slack_texts = st.lists(st.sampled_from(["&", "<", ">", "`", "```", "@", "@channel", "HERE", "x" * 9]) | texts).map(
    "".join
)

# Pub/Sub's dead letters


@contextmanager
def _dead_letters() -> Iterator[Check]:
    with _server() as server:

        def check(answer: bytes) -> None:
            """Letters of the phase, or a StoreError."""
            server.answers = [answer, _http("{}")]
            letters = PubSubDeadLetters("p", "s", PHASE, seconds=0.5, emulator=server.address)
            with suppress(StoreError):
                assert all(one.at.tzinfo is not None and one.processor.isprintable() for one in letters.read())

        yield check


_letter = st.builds(
    lambda received, message: {**received, "message": message} if "message" in received else received,
    odd({"ackId": "a", "message": 1}, json_values),
    odd(ENVELOPE["message"], json_values),
)
_pulled = odd({"receivedMessages": []}, json_values | st.lists(_letter | json_values, max_size=3))
_PULLED = json.dumps({"receivedMessages": [{"ackId": "a", "message": ENVELOPE["message"]}]})
_letters = mutated([_http(_PULLED), _http('{"error": {}}', "404 Not Found")]) | (_pulled | json_values).map(
    lambda found: _http(json.dumps(found))
)

# BigQuery


@contextmanager
def _bigquery() -> Iterator[Check]:
    with _server() as server, patch.dict(os.environ, {"BIGQUERY_EMULATOR_HOST": f"http://{server.address}"}):
        access = BigQuery("project", emulated=True, seconds=0.8)
        log, counts = BigQueryCompletionLog(access, {PHASE.name: PHASE}), BigQueryCounts(access)

        def check(answer: bytes) -> None:
            """Counts by date and the columns that are lacking, or an error of ours."""
            server.answers = [answer]
            with suppress(StoreError):
                found = counts.count("SELECT @since, @until", DAY, DAY + timedelta(days=1))
                assert all(type(n) is int for n in found.values())
            with suppress(StoreError, ConfigurationError):
                log.missing_columns()

        yield check
        access.close()


_COLUMNS = [{"name": "game_date", "type": "DATE", "mode": "NULLABLE"}, {"name": "n", "type": "INTEGER"}]
_TABLE = {"projectId": "project", "datasetId": "nba_orchestration", "tableId": "phase_completions"}
_JOB: dict[str, Any] = {
    "kind": "bigquery#queryResponse",
    "jobReference": {"projectId": "project", "jobId": "j", "location": "US"},
    "configuration": {"query": {"query": "SELECT", "destinationTable": _TABLE}, "jobType": "QUERY"},
    "status": {"state": "DONE"},
    "statistics": {"query": {"statementType": "SELECT"}},
    "jobComplete": True,
    "schema": {"fields": _COLUMNS},
    "totalRows": "1",
    "rows": [{"f": [{"v": "2026-02-09"}, {"v": "7"}]}],
    "tableReference": _TABLE,
    "errors": [],
}
_FAILED = {"error": {"code": 400, "message": "Unrecognized name: x at [1:2]", "errors": [{"reason": "invalidQuery"}]}}
_cells = odd({"v": "1"}, json_values)
_job = odd(_JOB, json_values | st.lists(st.fixed_dictionaries({"f": st.lists(_cells, max_size=2)}), max_size=2))
_status = st.sampled_from(["200 OK", "400 Bad Request", "403 Forbidden", "404 Not Found", "409 Conflict"])
_failed = odd(_FAILED, json_values) | st.fixed_dictionaries({"error": odd(_FAILED["error"], json_values)}) | json_values
_jobs = mutated([_http(json.dumps(_JOB)), _http(json.dumps(_FAILED), "400 Bad Request")]) | st.builds(
    lambda found, status: _http(json.dumps(found), status), _job | _failed, _status
)

# A probe's answer


def _probed(given: dict[str, Any]) -> None:
    """Whatever stands there is compared, and what is wrong with it is one line."""
    for service in (None, "orchestrator"):
        wrong = what_is_wrong(given["answer"], PHASE, service)
        check_text(wrong or "")
        assert "\n" not in (wrong or "")
        check_text(who_else(given["subscriptions"], service) or "")


_answer = odd({"service": "orchestrator", "phase": PHASE.name, "expected": FIVE, "completion_log": None}, stored_values)
_probes = st.fixed_dictionaries({"answer": _answer, "subscriptions": st.dictionaries(texts, texts, max_size=2)})

TARGETS = [
    Target("answer of Slack and the heartbeat", mutated(_SLACK), _slack),
    pure("text for Slack", _slack_texts, _shown_in_slack),
    Target("dead letters", _letters, _dead_letters),
    Target("answer of BigQuery", _jobs, _bigquery),
    pure("answer to a probe", _probes, _probed),
]
