"""A small Cloud Logging on the wire, because there is no emulator.

It ingests stdout lines and lists entries. What it does not know it refuses: a filter that it cannot
evaluate must not match by accident.
"""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import ge, lt
from typing import Any, Self

import grpc  # type: ignore[import-untyped]
from google.cloud.audit.audit_log_pb2 import AuditLog  # type: ignore[import-untyped]
from google.cloud.logging_v2.services.logging_service_v2.transports import (
    LoggingServiceV2GrpcTransport,
)
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from google.logging.type.log_severity_pb2 import LogSeverity  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]

_SPECIAL = "logging.googleapis.com/"
# Whose activity a method of these packages is.
_APIS = {
    "google.cloud.run": "run.googleapis.com",
    "google.cloud.functions": "cloudfunctions.googleapis.com",
    "google.pubsub": "pubsub.googleapis.com",
    "google.cloud.bigquery": "bigquery.googleapis.com",
    "google.cloud.scheduler": "cloudscheduler.googleapis.com",
}
_TERM = re.compile(
    r"((?:resource\.)?labels\.\w+|logName|jsonPayload\.\w+|protoPayload\.resourceName|textPayload|"
    r"httpRequest\.(?:requestUrl|status)|severity|timestamp)"
    r'(=|:|>=|<)("(?:[^"\\]|\\.)*"|\*|true|\d+)',
    re.DOTALL,
)
_JOIN = re.compile(r" (AND|OR) ")

Condition = Callable[[LogEntry], bool]


class LoggingServer:
    """The entries of one project, listed over gRPC on 127.0.0.1; used as a context manager.

    `fail_with` is the status that every call ends with, `delay_seconds` how long each call hangs,
    `page_limit` the most entries that a page has, whatever was asked for. `requests` has the calls.
    What is `damaged` is found by every search.
    """

    def __init__(self, project: str, *, page_limit: int = 3) -> None:
        self.fail_with: grpc.StatusCode | None = None
        self.delay_seconds = 0.0
        self.requests: list[ListLogEntriesRequest] = []
        self.damaged: list[LogEntry] = []
        self._project = project
        self._page_limit = page_limit
        self._entries: dict[tuple[datetime, str], LogEntry] = {}
        self._found: dict[str, list[LogEntry]] = {}
        self._transports: list[LoggingServiceV2GrpcTransport] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        method = grpc.unary_unary_rpc_method_handler(
            self._list, ListLogEntriesRequest.deserialize, ListLogEntriesResponse.serialize
        )
        service = "google.logging.v2.LoggingServiceV2"
        handler = grpc.method_handlers_generic_handler(service, {"ListLogEntries": method})
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for transport in self._transports:
            transport.close()  # type: ignore[no-untyped-call]
        self._server.stop(grace=1).wait()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._port}"

    def transport(self, address: str = "") -> LoggingServiceV2GrpcTransport:
        """Return a transport to this server, or to what is before it, closed with the server."""
        transport = LoggingServiceV2GrpcTransport(
            channel=grpc.insecure_channel(address or self.address)
        )
        self._transports.append(transport)
        return transport

    def ingest(self, line: str) -> None:
        """Store one line of stdout the way Cloud Logging does: special fields leave the payload.

        Source:
        https://docs.cloud.google.com/logging/docs/agent/logging/configuration#special-fields. An
        entry with the time and the insertId of another one is dropped.
        """
        payload = json.loads(line)
        time = payload.pop("time", None)
        entry = LogEntry(
            log_name=f"projects/{self._project}/logs/run.googleapis.com%2Fstdout",
            timestamp=datetime.fromisoformat(time) if time else datetime.now(UTC),
            severity=payload.pop("severity", "DEFAULT"),
            insert_id=payload.pop(f"{_SPECIAL}insertId", None) or f"made-{len(self._entries)}",
            labels=payload.pop(f"{_SPECIAL}labels", {}),
            trace=payload.pop(f"{_SPECIAL}trace", ""),
            span_id=payload.pop(f"{_SPECIAL}spanId", ""),
            json_payload=payload,
        )
        self._entries.setdefault((entry.timestamp, entry.insert_id), entry)

    def log_request(
        self, url: str, status: int, at: datetime, service: str = "", **fields: Any
    ) -> None:
        """Store the entry that Cloud Run leaves of one request, with its `latency`."""
        request = {"request_method": "POST", "request_url": url, "status": status}
        request["latency"] = fields.pop("latency", timedelta(0))
        self.log("run.googleapis.com%2Frequests", at, service, http_request=request, **fields)

    def log(
        self, log: str, at: datetime, service: str = "", severity: str = "DEFAULT", **fields: Any
    ) -> None:
        """Store an entry in one of a service's logs, with its `text_payload` or `json_payload`."""
        fields.setdefault(
            "resource", {"type": "cloud_run_revision", "labels": {"service_name": service}}
        )
        entry = LogEntry(
            log_name=f"projects/{self._project}/logs/{log}",
            timestamp=at,
            severity=severity,
            insert_id=f"entry-{len(self._entries)}",
            **fields,
        )
        self._entries[entry.timestamp, entry.insert_id] = entry

    def log_activity(
        self, at: datetime, method: str, resource: str, who: str = "", **fields: Any
    ) -> None:
        """Store the entry that the audit log has of a call, with its result and its `operation`.

        `api` is the service that was called, which the name of most methods tells.
        """
        known = next(
            (api for package, api in _APIS.items() if method.startswith(f"{package}.")), ""
        )
        log = {
            "serviceName": fields.pop("api", known),
            "methodName": method,
            "resourceName": resource,
            "authenticationInfo": {"principalEmail": who},
            "status": {"code": fields.pop("code", 0)},
            "response": fields.pop("response", {}),
            "metadata": fields.pop("metadata", {}),
        }
        payload = AnyMessage()
        payload.Pack(ParseDict(log, AuditLog()))
        operation = fields.pop("operation", {})
        resource_type = {"type": "audited_resource"}
        entry = {
            "proto_payload": payload,
            "operation": operation,
            "resource": resource_type,
            **fields,
        }
        self.log("cloudaudit.googleapis.com%2Factivity", at, severity="NOTICE", **entry)

    def log_attempt(
        self, at: datetime, job: str, kind: str = "Finished", severity: str = "INFO", **said: str
    ) -> None:
        """Store Cloud Scheduler's entry of an attempt that `Started` or `Finished`."""
        payload = {
            "@type": f"type.googleapis.com/google.cloud.scheduler.logging.Attempt{kind}",
            "jobName": job,
            **said,
        }
        resource = {"type": "cloud_scheduler_job", "labels": {"job_id": job}}
        log = "cloudscheduler.googleapis.com%2Fexecutions"
        self.log(log, at, severity=severity, json_payload=payload, resource=resource)

    def _list(
        self, request: ListLogEntriesRequest, context: grpc.ServicerContext
    ) -> ListLogEntriesResponse:
        self.requests.append(request)
        self._closing.wait(self.delay_seconds)
        if self.fail_with is not None:
            context.abort(self.fail_with, "told to fail")
        if list(request.resource_names) != [f"projects/{self._project}"]:
            context.abort(grpc.StatusCode.NOT_FOUND, f"resource_names: {request.resource_names}")
        try:
            return self._page(request)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    def _page(self, request: ListLogEntriesRequest) -> ListLogEntriesResponse:
        if request.order_by != "timestamp desc" or request.page_size < 0:
            raise ValueError(f"order_by {request.order_by!r}, page_size {request.page_size}")
        if not request.page_token:  # the pages that follow are of this answer
            holds = condition_of(request.filter)
            entries = sorted(self._entries.items(), key=lambda item: item[0], reverse=True)
            self._found[request.filter] = [
                *(entry for _, entry in entries if holds(entry)),
                *self.damaged,
            ]
        found = self._found[request.filter]
        start = int(request.page_token or 0)
        end = start + min(request.page_size or self._page_limit, self._page_limit)
        return ListLogEntriesResponse(
            entries=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )


def condition_of(text: str) -> Condition:
    """Parse a filter of terms, NOT, and groups joined by AND or OR.

    A group that mixes the two is refused: there, OR binds closer than AND, which nobody expects.
    Raises ValueError for it and everything else.
    """
    condition, rest = _group(text)
    if rest:
        raise ValueError(f"filter: {rest!r}")
    return condition


def _group(text: str) -> tuple[Condition, str]:
    first, rest = _one(text)
    conditions, operators = [first], set()
    while (join := _JOIN.match(rest)) is not None:
        operators.add(join[1])
        condition, rest = _one(rest[join.end() :])
        conditions.append(condition)
    if len(operators) > 1:
        raise ValueError(f"filter: AND and OR in one group: {text!r}")
    combine = any if operators == {"OR"} else all
    return (lambda entry: combine(holds(entry) for holds in conditions)), rest


def _one(text: str) -> tuple[Condition, str]:
    if text.startswith("NOT "):
        negated, rest = _one(text.removeprefix("NOT "))
        return (lambda entry: not negated(entry)), rest
    if text.startswith("("):
        grouped, rest = _group(text[1:])
        if not rest.startswith(")"):
            raise ValueError(f"filter: {text!r}")
        return grouped, rest[1:]
    term = _TERM.match(text)
    if term is None:
        raise ValueError(f"filter: {text!r}")
    return _condition(term[1], term[2], "*" if term[3] == "*" else json.loads(term[3])), text[
        term.end() :
    ]


def _condition(path: str, operator: str, value: Any) -> Condition:
    match path.split("."), operator:
        case ["jsonPayload", name], "=" if value is True:
            return lambda entry: (entry.json_payload or {}).get(name) is True
        case ["timestamp"] | ["httpRequest", "status"], ">=" | "<":
            return _compared(path, operator, value)
        case ["labels" | "jsonPayload" as part, name], ":" if value == "*":
            return lambda entry: name in _fields(entry, part)
        case ["labels" | "jsonPayload" as part, name], "=":
            return lambda entry: _text(entry, part, name) == value.casefold()
        case ["labels" | "jsonPayload" as part, name], ":":
            return lambda entry: value.casefold() in (_text(entry, part, name) or "")
        case ["resource", "labels", name], "=":
            return lambda entry: entry.resource.labels.get(name, "").casefold() == value.casefold()
        case ["logName"], "=":
            return lambda entry: entry.log_name.casefold() == value.casefold()
        case ["severity"], "=" | ">=":
            level = LogSeverity.Value(value)
            return lambda entry: (
                (entry.severity == level) if operator == "=" else (entry.severity >= level)
            )
        case ["httpRequest", "requestUrl"] | ["protoPayload", "resourceName"] | [
            "textPayload"
        ], ":":
            wanted = "" if value == "*" else value.casefold()
            return lambda entry: bool(body := _body(entry, path)) and wanted in body.casefold()
        case _:
            raise ValueError(f"filter: {path}{operator}")


def _compared(path: str, operator: str, value: Any) -> Condition:
    """Compare the time of an entry, or its status, which only that of a request has."""
    compare = ge if operator == ">=" else lt
    if path == "timestamp":
        moment = datetime.fromisoformat(value)
        return lambda entry: compare(entry.timestamp, moment)
    return lambda entry: (
        entry.http_request.status != 0 and compare(entry.http_request.status, value)
    )


def _body(entry: LogEntry, path: str) -> str:
    if path == "protoPayload.resourceName":
        activity = AuditLog()
        return activity.resource_name if entry.proto_payload.Unpack(activity) else ""
    return entry.text_payload if path == "textPayload" else entry.http_request.request_url


def _fields(entry: LogEntry, part: str) -> Any:
    return entry.labels if part == "labels" else entry.json_payload or {}


def _text(entry: LogEntry, part: str, name: str) -> str | None:
    """Return a field without its case, because Cloud Logging compares texts that way."""
    value = _fields(entry, part).get(name)
    return value.casefold() if isinstance(value, str) else None
