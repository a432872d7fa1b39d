"""Checkpoints read back from Cloud Logging, and the platform's own logs of a service.

Checkpoints arrive there as JSON lines on stdout. The platform's logs are the requests that a
service got, and the errors that it, or its platform, wrote down.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from google.api_core.exceptions import (
    DeadlineExceeded,
    InternalServerError,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.services.logging_service_v2.transports import (
    LoggingServiceV2GrpcTransport,
    LoggingServiceV2Transport,
)
from google.cloud.logging_v2.types import ListLogEntriesRequest, LogEntry

from orchestrator_resilience.checkpoints import (
    UNDATED_DAYS,
    Checkpoint,
    CheckpointKind,
    Severity,
    deliveries,
)
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ODD_ANSWER, StoreError, store_errors
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Lines, Request, ServiceError, ServiceErrors
from orchestrator_resilience.stores.error_words import error_words
from orchestrator_resilience.stores.grpc_client import CHANNEL_OPTIONS, GrpcClient

_TRANSIENT = (DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable)
# Cloud Logging's numbers of the levels in use, the highest first; it has others between them.
_LEVELS = ((500, Severity.ERROR), (400, Severity.WARNING), (300, Severity.NOTICE))
PAGE_SIZE = 1000
# Ten pages, because a project may make 60 calls a minute, and others need some of them. The newest
# entries are kept.
_MAXIMUM_ENTRIES = 10 * PAGE_SIZE
_BEFORE = timedelta(days=2)  # odds may come before their game
# entries from so long before a date show that such entries are collected at all
_SHOWN_WITHIN = timedelta(days=31)
_REQUESTS = "run.googleapis.com%2Frequests"
_OUTPUT = ("run.googleapis.com%2Fstderr", "run.googleapis.com%2Fstdout")
_SYSTEM = "run.googleapis.com%2Fvarlog%2Fsystem"
_MAXIMUM_ERRORS = 2 * PAGE_SIZE
# How Cloud Run says that no instance was started: on the instance, and on the request that waited
# for it.
_FAILED_TO_START = (
    "failed to start",
    "the instance was not started",
    "could not start successfully",
    "failed the readiness check",
)

Connect = Callable[[], LoggingServiceV2Transport]


def connect_to_google() -> LoggingServiceV2Transport:
    """Return a transport of its own to Google's server."""
    channel = LoggingServiceV2GrpcTransport.create_channel(options=CHANNEL_OPTIONS)
    return LoggingServiceV2GrpcTransport(channel=channel)


class CloudLogging:
    """The entries of a project.

    `seconds` bounds each search, its pages and retries included. `connect` is for another server
    than Google's.
    """

    def __init__(
        self, project: str, *, seconds: float = 15.0, connect: Connect = connect_to_google
    ) -> None:
        self._project = project
        self._seconds = seconds
        self._grpc = GrpcClient(
            "Cloud Logging", lambda: LoggingServiceV2Client(transport=connect()), _close
        )

    def close(self) -> None:
        """Close the client, where there is one; the next use makes another."""
        self._grpc.close()

    def _entries(self, filter_: str, seconds: float, at_most: int = 0) -> list[LogEntry]:
        """Return the newest entries first, ten pages of them at the most, or `at_most`."""
        at_most = at_most or _MAXIMUM_ENTRIES
        request = ListLogEntriesRequest(
            resource_names=[f"projects/{self._project}"],
            filter=filter_,
            order_by="timestamp desc",
            page_size=min(PAGE_SIZE, at_most),
        )
        deadline, entries = Deadline(seconds), list[LogEntry]()
        with self._grpc.asking() as client:
            # A slow search answers with empty pages, any number of them.
            while left := deadline.left():
                half = left / 2  # the last try of a page begins when its retries end
                retry = Retry(
                    if_exception_type(*_TRANSIENT), initial=0.2, maximum=2.0, timeout=half
                )
                page = next(client.list_log_entries(request, retry=retry, timeout=half).pages)
                entries += page.entries
                if not page.next_page_token or len(entries) >= at_most:
                    return entries
                request.page_token = page.next_page_token
        raise StoreError(f"Cloud Logging: the search has not ended after {seconds:g} s")


class CloudLoggingArchive(CloudLogging):
    """A CheckpointArchive."""

    def read(self, game_dates: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Return the lines that concern one of these dates, oldest first."""
        game_dates = {name: days for name, days in game_dates.items() if days}
        if not game_dates:
            return Lines()
        deadline = Deadline(self._seconds)
        entries = self._entries(checkpoint_filter(game_dates, until), deadline.left())
        parsed = [line for entry in entries if (line := _checkpoint(entry)) is not None]
        oldest = parsed[-1].at if parsed else until
        before = self._before({name: min(days) for name, days in game_dates.items()}, deadline)
        return Lines(
            deliveries(parsed, game_dates),
            oldest if len(entries) >= _MAXIMUM_ENTRIES else None,
            before,
        )

    def _before(self, firsts: Mapping[str, date], deadline: Deadline) -> dict[str, Checkpoint]:
        """Return the last ordinary line of each phase before its first date, if it can be read."""
        midnights = {name: datetime.combine(day, time(), UTC) for name, day in firsts.items()}
        phases = " OR ".join(
            (
                f"(labels.phase={quoted(name)} AND "
                f"{' AND '.join(within(midnight - _SHOWN_WITHIN, midnight))})"
            )
            for name, midnight in midnights.items()
        )
        try:
            filter_ = (
                f'({phases}) AND severity="{Severity.INFO}" AND '
                'jsonPayload.checkpoint:"CHECKPOINT_"'
            )
            entries = self._entries(filter_, deadline.left(), at_most=PAGE_SIZE)
        except StoreError:
            return {}
        lines = [line for entry in reversed(entries) if (line := _checkpoint(entry)) is not None]
        return {str(line.fields.get("phase")): line for line in lines}

    def statuses(self, host: str, since: datetime, seconds: float) -> set[int]:
        """Return the HTTP statuses of the requests to `host` from `since` on, within `seconds`.

        Raises StoreError where they cannot be read in that time.
        """
        # With `://` before it, because a service's host may be the end of another's.
        address = quoted(f"://{host}")
        filter_ = (
            f'httpRequest.requestUrl:{address} AND timestamp>="{since.astimezone(UTC).isoformat()}"'
        )
        return {entry.http_request.status for entry in self._entries(filter_, seconds)}


class _ServiceLog(CloudLogging):
    """What is written down of `service`, the orchestrator of `phase`."""

    def __init__(
        self,
        project: str,
        service: str,
        phase: str,
        *,
        seconds: float = 15.0,
        connect: Connect = connect_to_google,
    ) -> None:
        super().__init__(project, seconds=seconds, connect=connect)
        self._service = service
        self.phase = phase


class CloudLoggingRequests(_ServiceLog):
    """A RequestLog: what Cloud Run writes down of the requests to the service."""

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return the requests from `since` to before `until`, oldest first."""
        return self._requests(within(since, until))

    def last_answer(self, before: datetime) -> datetime | None:
        """Return when a request before this was last answered with 2xx; None if not known."""
        answered = ("httpRequest.status>=200", "httpRequest.status<300")
        answers = self._requests((*answered, *within(before - _SHOWN_WITHIN, before)), at_most=1)
        return answers[-1].at if answers else None

    def _requests(self, conditions: Sequence[str], at_most: int = 0) -> list[Request]:
        log = in_log(self._project, _REQUESTS)
        entries = self._entries(
            " AND ".join((log, _of_service(self._service), *conditions)), self._seconds, at_most
        )
        with store_errors("Cloud Logging", *ODD_ANSWER):  # an impossible time
            return [_request(entry) for entry in reversed(entries)]


class CloudLoggingErrors(_ServiceLog):
    """An ErrorLog: what the service, and Cloud Run itself, write down of its errors."""

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        """Return the newest two pages of errors from `since` to before `until`, oldest first."""
        filter_ = " AND ".join(
            (_of_service(self._service), *within(since, until), error_filter(self._project))
        )
        entries = self._entries(filter_, self._seconds, at_most=_MAXIMUM_ERRORS)
        errors = [
            error for entry in reversed(entries) if (error := _service_error(entry)) is not None
        ]
        is_cut = bool(errors) and len(entries) >= _MAXIMUM_ERRORS
        return ServiceErrors(errors, errors[0].at if is_cut else None)


def _close(client: LoggingServiceV2Client) -> None:
    client.transport.close()  # type: ignore[no-untyped-call]


def checkpoint_filter(game_dates: Mapping[str, Collection[date]], until: datetime) -> str:
    """Return the filter, in Cloud Logging's query language, for the lines of dates by phase.

    It also finds the rejections whose date nobody could read. Labels and timestamp are indexed, the
    payload is not.
    """
    first = min(day for days in game_dates.values() for day in days)
    phases = (f"({_of_phase(name, days)})" for name, days in game_dates.items() if days)
    return " AND ".join(
        (
            f"({' OR '.join(phases)})",
            f'(jsonPayload.closes=true OR jsonPayload.checkpoint="{CheckpointKind.RECEIVED}")',
            *within(datetime.combine(first - _BEFORE, time(), UTC), until),
        )
    )


def error_filter(project: str) -> str:
    """Return the filter for a service's output from ERROR on, and the platform's from WARNING on.

    The platform's words are about an instance, or about one request. Checkpoints are left out,
    because they are read as such.
    """
    no_checkpoint = 'NOT jsonPayload.checkpoint:"CHECKPOINT_" AND NOT textPayload:"CHECKPOINT_"'
    output = " OR ".join(in_log(project, log) for log in _OUTPUT)
    system, requests = in_log(project, _SYSTEM), f"({in_log(project, _REQUESTS)} AND textPayload:*)"
    return (
        f'((({output}) AND severity>="ERROR" AND {no_checkpoint}) OR '
        f'(({system} OR {requests}) AND severity>="WARNING"))'
    )


def in_log(project: str, log: str) -> str:
    """Return the condition that an entry is in a log."""
    return f"logName={quoted(f'projects/{project}/logs/{log}')}"


def _of_service(service: str) -> str:
    return f"resource.labels.service_name={quoted(service)}"


def _of_phase(phase: str, game_dates: Collection[date]) -> str:
    first, last = min(game_dates), max(game_dates) + timedelta(days=UNDATED_DAYS)
    undated = (
        "NOT labels.game_date:*",
        f'jsonPayload.checkpoint="{CheckpointKind.REJECTED}"',
        *within(datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC)),
    )
    dates = [f"labels.game_date={quoted(day.isoformat())}" for day in sorted(game_dates)]
    return f"labels.phase={quoted(phase)} AND ({' OR '.join(dates)} OR ({' AND '.join(undated)}))"


def within(since: datetime, until: datetime) -> tuple[str, str]:
    """Return the conditions that an entry is from `since` on, and from before `until`."""
    return (
        f'timestamp>="{since.astimezone(UTC).isoformat()}"',
        f'timestamp<"{until.astimezone(UTC).isoformat()}"',
    )


def moment(entry: LogEntry) -> datetime:
    """Return the time of an entry as one of Python's, without the nanoseconds."""
    return datetime.fromisoformat(entry.timestamp.isoformat()).astimezone(UTC)


def quoted(value: str) -> str:
    """Return a text as the query language has it."""
    # the query language escapes with a backslash, as JSON does
    return json.dumps(value, ensure_ascii=False)


def _trace(entry: LogEntry) -> str:
    """Return the id of an entry's trace, of which it has the whole name."""
    return one_line(entry.trace.rpartition("/")[2])


def _request(entry: LogEntry) -> Request:
    took = entry.http_request.latency.ToTimedelta()
    return Request(moment(entry), entry.http_request.status, took, _trace(entry))


def _service_error(entry: LogEntry) -> ServiceError | None:
    """Return what an entry says of an error; None where it says nothing."""
    try:
        words = error_words(entry.text_payload or entry.json_payload)
        is_platform = not entry.log_name.endswith(_OUTPUT)
        no_start = is_platform and any(sign in words.casefold() for sign in _FAILED_TO_START)
        return (
            ServiceError(moment(entry), words, _trace(entry), is_platform, no_start)
            if words
            else None
        )
    except ODD_ANSWER:
        return None


def _checkpoint(entry: LogEntry) -> Checkpoint | None:
    """Put the fields that Cloud Logging has moved back into the payload.

    Returns None where the entry is no checkpoint.
    """
    try:
        severity = next(
            (severity for least, severity in _LEVELS if entry.severity >= least), Severity.INFO
        )
        moved = {"severity": severity, "time": entry.timestamp.isoformat()}
        return Checkpoint.from_json({**_with_integers(entry.json_payload), **moved})
    except ODD_ANSWER:
        return None


def _with_integers(value: Any) -> Any:
    """Copy a protobuf Struct, which has no integers, with its whole numbers as int."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case Mapping():
            return {name: _with_integers(item) for name, item in value.items()}
        case Sequence() if not isinstance(value, str):
            return [_with_integers(item) for item in value]
        case _:
            return value
