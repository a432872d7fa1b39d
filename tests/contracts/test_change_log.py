"""What Google's logs say of a phase's components and jobs, through the real client."""

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgspec
import pytest
from google.cloud.audit.audit_log_pb2 import AuditLog  # type: ignore[import-untyped]
from google.cloud.logging_v2.services.logging_service_v2.transports import (
    LoggingServiceV2GrpcTransport,
)
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from hypothesis import given

from canary.commands.verify import compare_flags
from orchestrator_resilience import Phase, StoreError
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores import cloud_changes
from orchestrator_resilience.stores.base import Attempt, Change, Changes, Component, Part
from orchestrator_resilience.stores.cloud import CloudStores
from orchestrator_resilience.stores.cloud_changes import (
    CloudLoggingChanges,
    _attempt,
    _changes_of,
    change_filter,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores
from tests.contracts.logging_server import LoggingServer, condition_of
from tests.proof.inputs import fuzzed, mutated, or_error

AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UNTIL = AT + timedelta(hours=12)
ANNA, BOB = "anna@example.com", "bob@example.com"
ROBOT = "service-17@gcf-admin-robot.iam.gserviceaccount.com"
SERVICE: Part = (Component.SERVICE, "orchestrator")
TABLE: Part = (Component.TABLE, "nba.completions")
TOPIC: Part = (Component.TOPIC, "complete")
SUBSCRIPTION: Part = (Component.SUBSCRIPTION, "to-orchestrator")
JOB: Part = (Component.JOB, "box-scores")
PARTS = (SERVICE, TABLE, TOPIC, SUBSCRIPTION, JOB)

RUN_1 = "google.cloud.run.v1.Services.ReplaceService"
RUN_2 = "google.cloud.run.v2.Services.UpdateService"
FUNCTION = "google.cloud.functions.v2.FunctionService.UpdateFunction"
FUNCTION_1 = "google.cloud.functions.v1.CloudFunctionsService.UpdateFunction"
IAM = "google.iam.v1.IAMPolicy.SetIamPolicy"
SUBSCRIBER, PUBLISHER = "google.pubsub.v1.Subscriber", "google.pubsub.v1.Publisher"
TABLES = "google.cloud.bigquery.v2.TableService"
QUERY = "google.cloud.bigquery.v2.JobService.InsertJob"
SCHEDULER = "google.cloud.scheduler.v1.CloudScheduler"

IN_V1 = "namespaces/project/services/orchestrator"
IN_V2 = "projects/project/locations/l/services/orchestrator"
THE_FUNCTION = "projects/project/locations/l/functions/orchestrator"
THE_TABLE = "projects/project/datasets/nba/tables/completions"
THE_SUBSCRIPTION = "projects/project/subscriptions/to-orchestrator"
THE_TOPIC = "projects/project/topics/complete"
THE_JOB = "projects/project/locations/l/jobs/box-scores"
MADE = {"status": {"latestCreatedRevisionName": "orchestrator-00007-abc"}}
FIRST, LAST = ({"id": "operations/1", "producer": "an-api", end: True} for end in ("first", "last"))


@pytest.fixture
def server() -> Iterator[LoggingServer]:
    with LoggingServer("project") as server:
        yield server


def read(server: LoggingServer, parts: Collection[Part] = PARTS) -> Changes:
    """Return what is found of one phase that has begun at AT."""
    log = CloudLoggingChanges("project", {"phase2": parts}, connect=server.transport)
    return log.changes({"phase2": AT}, UNTIL)["phase2"]


def only(
    *changes: Change,
    parts: Collection[Part] = PARTS,
    attempts: Iterable[Attempt] = (),
    cut_at: datetime | None = None,
) -> Changes:
    """Return what was found of these parts, where that is all."""
    return Changes([*changes], [*attempts], cut_at, frozenset(parts))


def found(server: LoggingServer, *parts: Part) -> list[tuple[str, ...]]:
    """Return of each change what it was of, and what it was."""
    return [(change.component, *change[2:6]) for change in read(server, parts or PARTS).changes]


RUN = "google.cloud.run.v1.Services"
REVISION = {"latestCreatedRevision": f"{IN_V2}/revisions/orchestrator-00008-xyz"}
OF_FUNCTION = {"response": {"serviceConfig": {"revision": "orchestrator-00009-fun"}}}
RESOURCES = {TABLE: THE_TABLE, TOPIC: THE_TOPIC, SUBSCRIPTION: THE_SUBSCRIPTION, JOB: THE_JOB}
# The method and the resource of each call, what else its entry has, what it did and made.
OF_A_SERVICE: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "version 1": (RUN_1, IN_V1, {"response": MADE}, "deployed", "orchestrator-00007-abc"),
    "version 2": (RUN_2, IN_V2, {"response": REVISION}, "deployed", "orchestrator-00008-xyz"),
    "a new one": (f"{RUN}.CreateService", IN_V1, {}, "deployed", ""),
    "a deleted one": (f"{RUN}.DeleteService", IN_V1, {}, "deleted", ""),
    "who may call it": (f"{RUN}.SetIamPolicy", IN_V1, {}, "permissions changed", ""),
    "a function": (FUNCTION, THE_FUNCTION, OF_FUNCTION, "deployed", "orchestrator-00009-fun"),
    "its old form": (FUNCTION_1, THE_FUNCTION, {"response": {"versionId": "7"}}, "deployed", ""),
}


@pytest.mark.parametrize("case", OF_A_SERVICE)
def test_what_was_done_to_a_service(server: LoggingServer, case: str) -> None:
    """In a word, when, by whom, and the revision; a call that was refused did nothing."""
    method, resource, more, what, made = OF_A_SERVICE[case]
    server.log_activity(AT, method, resource, ANNA, **more)
    server.log_activity(AT + MINUTE, method, resource, BOB, code=7, **more)
    assert read(server) == only(Change(AT, *SERVICE, what, "anna", made))


def by_query(event: str) -> dict[str, Any]:
    return {"metadata": {event: {"reason": "QUERY"}}}


@pytest.mark.parametrize(
    ("part", "method", "more", "what"),
    [
        (SUBSCRIPTION, f"{SUBSCRIBER}.UpdateSubscription", {}, "changed"),
        (SUBSCRIPTION, f"{SUBSCRIBER}.DeleteSubscription", {}, "deleted"),
        (SUBSCRIPTION, f"{SUBSCRIBER}.ModifyPushConfig", {}, "its endpoint changed"),
        (SUBSCRIPTION, f"{SUBSCRIBER}.Seek", {}, "Seek"),
        (TOPIC, f"{PUBLISHER}.DeleteTopic", {}, "deleted"),
        (TOPIC, IAM, {"api": "pubsub.googleapis.com"}, "permissions changed"),
        (TABLE, f"{TABLES}.PatchTable", {}, "changed"),
        (TABLE, f"{TABLES}.DeleteTable", {}, "deleted"),
        (TABLE, f"{TABLES}.InsertTable", {}, "created"),
        (TABLE, QUERY, by_query("tableDeletion"), "deleted"),
        (TABLE, QUERY, by_query("tableChange"), "changed"),
        (TABLE, QUERY, by_query("tableCreation"), "created"),
        (TABLE, QUERY, {}, "InsertJob"),
        (JOB, f"{SCHEDULER}.UpdateJob", {}, "changed"),
        (JOB, f"{SCHEDULER}.PauseJob", {}, "paused"),
        (JOB, f"{SCHEDULER}.ResumeJob", {}, "resumed"),
        (JOB, f"{SCHEDULER}.DeleteJob", {}, "deleted"),
        (JOB, f"{SCHEDULER}.CreateJob", {}, "created"),
    ],
)
def test_what_was_done_to_a_component(
    server: LoggingServer, part: Part, method: str, more: dict[str, Any], what: str
) -> None:
    """In a word, when and by whom; a call that was refused did nothing."""
    server.log_activity(AT, method, RESOURCES[part], ANNA, **more)
    server.log_activity(AT + MINUTE, method, RESOURCES[part], BOB, code=7, **more)
    assert read(server) == only(Change(AT, *part, what, "anna", ""))


NOTHING = {
    "a job that was run": (f"{SCHEDULER}.RunJob", THE_JOB, {}),
    "a service whose name begins so": (RUN_1, f"{IN_V1}-v2", {}),
    "a service whose name ends so": (RUN_1, "namespaces/project/services/my-orchestrator", {}),
    "a function whose name begins so": (FUNCTION, f"{THE_FUNCTION}_v2", {}),
    "a function whose name ends so": (
        FUNCTION,
        "projects/project/locations/l/functions/my_orchestrator",
        {},
    ),
    "a revision": (
        "google.cloud.run.v1.Revisions.DeleteRevision",
        f"{IN_V1}/revisions/orchestrator-1",
        {},
    ),
    "a table of another dataset": (f"{TABLES}.DeleteTable", THE_TABLE.replace("nba", "my_nba"), {}),
    "a table whose name begins so": (f"{TABLES}.DeleteTable", f"{THE_TABLE}_old", {}),
    "a name in other capitals": (
        f"{TABLES}.DeleteTable",
        THE_TABLE.replace("completions", "Completions"),
        {},
    ),
    "a job of Cloud Run": ("google.cloud.run.v2.Jobs.DeleteJob", THE_JOB, {}),
    "a job of BigQuery": (QUERY, "projects/project/jobs/box-scores", {}),
    "a service of another kind": (RUN_2, IN_V2, {"api": "metastore.googleapis.com"}),
    "nobody's": (RUN_2, IN_V2, {"api": ""}),
    "no method": ("", IN_V2, {"api": "run.googleapis.com"}),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_is_no_change_of_a_component(server: LoggingServer, case: str) -> None:
    """Of what is only named alike, or changes nothing."""
    method, resource, more = NOTHING[case]
    server.log_activity(AT, method, resource, ANNA, **more)
    assert read(server) == only()


@pytest.mark.parametrize("name", ["my-orchestrator", "my_orchestrator", "myOrchestrator"])
def test_how_a_function_is_named(server: LoggingServer, name: str) -> None:
    """Its service has neither its capitals nor its underscores."""
    service = (Component.SERVICE, name.lower().replace("_", "-"))
    server.log_activity(AT, FUNCTION, f"projects/project/locations/l/functions/{name}", ANNA)
    assert found(server, service) == [(*service, "deployed", "anna", "")]
    server.log_activity(AT, FUNCTION, f"projects/project/locations/l/functions/{name}-v2", ANNA)
    assert len(found(server, service)) == 1
    assert len(found(server, (Component.SERVICE, name))) == 1


@pytest.mark.parametrize("who", ["anna@example.com", "", "anna"])
def test_who_changed_it(server: LoggingServer, who: str) -> None:
    """An account up to its @, and nobody where the platform names none."""
    server.log_activity(AT, RUN_1, IN_V1, who)
    assert [change.who for change in read(server).changes] == [who and "anna"]


def test_an_operation_has_two_entries(server: LoggingServer) -> None:
    """It is one change, which took effect at the last of them, by whom the first names."""
    server.log_activity(AT, RUN_2, IN_V2, ANNA, operation=FIRST)
    made = {"latestCreatedRevision": "orchestrator-00008-xyz"}
    server.log_activity(AT + 3 * MINUTE, RUN_2, IN_V2, operation=LAST, response=made)
    revision = "orchestrator-00008-xyz"
    assert read(server).changes == [
        Change(AT + 3 * MINUTE, *SERVICE, "deployed", "anna", revision, AT)
    ]


def test_an_operation_of_which_there_is_only_the_first(server: LoggingServer) -> None:
    """It goes on, or nobody has written down how it ended: something was changed."""
    server.log_activity(AT, RUN_2, IN_V2, ANNA, operation=FIRST)
    assert read(server).changes == [Change(AT, *SERVICE, "deployed", "anna")]


def test_an_operation_that_failed(server: LoggingServer) -> None:
    """Nothing came of it; another one, and what has no operation, is left alone."""
    server.log_activity(AT, RUN_2, IN_V2, ANNA, operation=FIRST)
    server.log_activity(AT + 3 * MINUTE, RUN_2, IN_V2, ANNA, operation=LAST, code=3)
    assert read(server) == only()
    server.log_activity(AT + 20 * MINUTE, RUN_2, IN_V2, BOB, operation={"id": "0"})
    server.log_activity(AT + 40 * MINUTE, RUN_2, IN_V2, ANNA)
    assert [change.who for change in read(server).changes] == ["bob", "anna"]


def test_a_query_that_does_two_things(server: LoggingServer) -> None:
    """Each of them is one change, though it is one operation."""
    for minutes, event in ((0, "tableDeletion"), (1, "tableCreation")):
        server.log_activity(
            AT + minutes * MINUTE, QUERY, THE_TABLE, operation=FIRST, metadata={event: {}}
        )
    assert [change.what for change in read(server).changes] == ["deleted", "created"]


@pytest.mark.parametrize("of_the_service", [ROBOT, ANNA])
@pytest.mark.parametrize("minutes", [1, 3, 5])
def test_a_function_is_deployed_as_its_service(
    server: LoggingServer, minutes: int, of_the_service: str
) -> None:
    """The entries of both, in any order, are one change by whoever deployed the function."""
    made = {"serviceConfig": {"revision": "orchestrator-00007-abc"}}
    server.log_activity(AT, FUNCTION, THE_FUNCTION, ANNA, operation=FIRST)
    server.log_activity(AT + minutes * MINUTE, RUN_1, IN_V1, of_the_service, response=MADE)
    server.log_activity(
        AT + 4 * MINUTE, FUNCTION, THE_FUNCTION, ANNA, operation=LAST, response=made
    )
    at = AT + max(minutes, 4) * MINUTE
    assert read(server).changes == [
        Change(at, *SERVICE, "deployed", "anna", "orchestrator-00007-abc", AT)
    ]


def test_the_revision_of_a_function_may_be_known_of_its_service_only(server: LoggingServer) -> None:
    """The answer to a deployment of a function need not have it."""
    server.log_activity(AT, FUNCTION, THE_FUNCTION, ANNA)
    server.log_activity(AT + MINUTE, RUN_1, IN_V1, ROBOT, response=MADE)
    made = "orchestrator-00007-abc"
    assert read(server).changes == [Change(AT + MINUTE, *SERVICE, "deployed", "anna", made, AT)]


def test_two_deployments_within_minutes_are_two(server: LoggingServer) -> None:
    """A second deployment does not hide the first, whatever they are of and whoever made them."""
    for minutes, (method, resource, who) in enumerate(
        (
            (RUN_1, IN_V1, ANNA),
            (RUN_1, IN_V1, ANNA),
            (FUNCTION, THE_FUNCTION, ANNA),
            (RUN_1, IN_V1, BOB),
        )
    ):
        revision = f"orchestrator-{minutes}"
        made = {
            "status": {"latestCreatedRevisionName": revision},
            "serviceConfig": {"revision": revision},
        }
        server.log_activity(AT + minutes * MINUTE, method, resource, who, response=made)
    server.log_activity(AT + 4 * MINUTE, FUNCTION, THE_FUNCTION, "carl@example.com")
    assert [(change.who, change.made) for change in read(server).changes] == [
        *(("anna", "orchestrator-0"), ("anna", "orchestrator-1"), ("anna", "orchestrator-2")),
        *(("bob", "orchestrator-3"), ("carl", "")),
    ]


def test_a_job_that_was_paused_twice(server: LoggingServer) -> None:
    """Each time is told, so that the last word on it is known."""
    for minutes, method in enumerate(("PauseJob", "ResumeJob", "PauseJob", "ResumeJob")):
        server.log_activity(AT + minutes * MINUTE, f"{SCHEDULER}.{method}", THE_JOB, ANNA)
    assert [change.what for change in read(server).changes] == [
        "paused",
        "resumed",
        "paused",
        "resumed",
    ]


def test_what_the_platform_did_of_itself(server: LoggingServer) -> None:
    """Without a deployment of the function beside it, it is told as it stands."""
    server.log_activity(AT, RUN_1, IN_V1, ROBOT)
    server.log_activity(AT + 11 * MINUTE, FUNCTION, THE_FUNCTION, ANNA)
    assert [change.who for change in read(server).changes] == ["service-17", "anna"]


def test_how_attempts_of_jobs_ended(server: LoggingServer) -> None:
    """One that began is none; a failure has its status, and what the scheduler says of it."""
    server.log_attempt(AT, "box-scores", "Started", scheduledTime="2026-02-10T06:41:00Z")
    server.log_attempt(AT, "box-scores", "Started")
    server.log_attempt(
        AT + 1 * MINUTE,
        "box-scores",
        debugInfo="URL_CRAWLED. Original HTTP response code number = 200",
    )
    failed = "URL_ERROR-ERROR_AUTHENTICATION. Original HTTP response code number = 403"
    server.log_attempt(
        AT + 2 * MINUTE,
        "box-scores",
        severity="ERROR",
        status="PERMISSION_DENIED",
        debugInfo=failed,
    )
    server.log_attempt(AT + 3 * MINUTE, "box-scores", severity="ERROR", status="DEADLINE_EXCEEDED")
    server.log_attempt(AT + 4 * MINUTE, "box-scores", severity="ERROR", debugInfo="nobody knows")
    server.log_attempt(AT + 5 * MINUTE, "box-scores", severity="ERROR")
    server.log_attempt(AT + 6 * MINUTE, "box-scores-v2")
    failures = [
        "",
        f"PERMISSION_DENIED ({failed})",
        "DEADLINE_EXCEEDED",
        "failed (nobody knows)",
        "failed",
    ]
    attempts = [
        Attempt(AT + n * MINUTE, "box-scores", failure) for n, failure in enumerate(failures, 1)
    ]
    assert read(server) == only(attempts=attempts)


def test_several_phases_are_one_search(server: LoggingServer) -> None:
    """Each gets what happened to its own parts, both what happened to a table that they share."""
    parts: dict[str, list[Part]] = {
        "phase2": [SERVICE, TABLE, JOB],
        "phase3": [TABLE, (Component.JOB, "late")],
        "phase4": [],
        "phase5": [TOPIC],
    }
    server.log_activity(AT, RUN_1, IN_V1, ANNA)
    server.log_activity(AT + MINUTE, f"{TABLES}.PatchTable", THE_TABLE, ANNA)
    server.log_activity(AT + 2 * MINUTE, f"{PUBLISHER}.DeleteTopic", THE_TOPIC, ANNA)
    for job in ("late", "box-scores"):
        server.log_attempt(AT, job)
    log = CloudLoggingChanges("project", parts, connect=server.transport)
    begun = dict.fromkeys(("phase2", "phase3", "phase4", "phase6"), AT)
    service = Change(AT, *SERVICE, "deployed", "anna")
    table = Change(AT + MINUTE, *TABLE, "changed", "anna")
    assert log.changes(begun, UNTIL) == {
        "phase2": only(service, table, parts=parts["phase2"], attempts=[Attempt(AT, "box-scores")]),
        "phase3": only(table, parts=parts["phase3"], attempts=[Attempt(AT, "late")]),
        "phase4": only(parts=[]),
        "phase6": only(parts=[]),
    }
    assert [request.page_token for request in server.requests] == ["", "3"]


def test_from_when_on_changes_are_looked_for(server: LoggingServer) -> None:
    """Changes are looked for a month before the first phase, and attempts two days before."""
    month, days = AT - timedelta(days=31), AT - timedelta(days=2)
    for at in (month - MINUTE, month, days - MINUTE, days, UNTIL - MINUTE, UNTIL):
        server.log_activity(at, RUN_1, IN_V1, ANNA)
        server.log_attempt(at, "box-scores")
    log = CloudLoggingChanges("project", {"phase2": PARTS}, connect=server.transport)
    changes = log.changes({"phase2": AT, "phase3": AT + timedelta(days=1)}, UNTIL)["phase2"]
    assert [change.at for change in changes.changes] == [month, days - MINUTE, days, UNTIL - MINUTE]
    assert [attempt.at for attempt in changes.attempts] == [days, UNTIL - MINUTE]


def test_too_many_of_them_to_read(monkeypatch: pytest.MonkeyPatch, server: LoggingServer) -> None:
    """One search of two pages reads the newest changes, and says from when on they are known."""
    monkeypatch.setattr(cloud_changes, "_MAXIMUM_CHANGES", 6)
    for hours in range(5):
        server.log_activity(AT + hours * 60 * MINUTE, RUN_1, IN_V1, ANNA)
        server.log_attempt(AT + hours * 60 * MINUTE + MINUTE, "box-scores")
    changes = read(server)
    assert [(change.at - AT) / (60 * MINUTE) for change in changes.changes] == [2, 3, 4]
    assert [attempt.at for attempt in changes.attempts] == [
        change.at + MINUTE for change in changes.changes
    ]
    assert changes.cut_at == AT + 120 * MINUTE
    assert [request.page_token for request in server.requests] == ["", "3"]
    (size,) = {request.page_size for request in server.requests}
    assert size == 6


def test_a_page_is_no_larger_than_a_page(server: LoggingServer) -> None:
    """Two of Cloud Logging's largest are read at the most."""
    read(server)
    assert [request.page_size for request in server.requests] == [1000]
    assert cloud_changes._MAXIMUM_CHANGES == 2000


def test_a_project_that_has_no_parts_asks_nothing(server: LoggingServer) -> None:
    """Nor do phases of which nothing is known."""
    assert read(server, []) == Changes()
    log = CloudLoggingChanges("project", {"phase2": PARTS}, connect=server.transport)
    assert log.changes({"phase3": AT}, UNTIL) == {"phase3": Changes()}
    assert log.changes({}, UNTIL) == {}
    assert server.requests == []


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE, None]
)
def test_the_changes_cannot_be_read(server: LoggingServer, status: grpc.StatusCode | None) -> None:
    """Without the right to, or in time: the store is named, and a passing fault is tried again."""
    server.fail_with, server.delay_seconds = status, 0.0 if status else 60.0
    log = CloudLoggingChanges("project", {"phase2": PARTS}, seconds=1, connect=server.transport)
    began = time.monotonic()
    with pytest.raises(StoreError, match="Cloud Logging: "):
        log.changes({"phase2": AT}, UNTIL)
    assert time.monotonic() - began < 3
    assert (len(server.requests) > 1) == (status is grpc.StatusCode.UNAVAILABLE)


def test_the_filter_for_changes() -> None:
    """From indexed fields but for the names; what is quoted cannot end the quotation."""
    assert change_filter("p", [SERVICE, JOB], AT, UNTIL) == (
        '((logName="projects/p/logs/cloudaudit.googleapis.com%2Factivity" AND '
        'timestamp>="2026-01-10T06:41:00+00:00" '
        'AND (protoPayload.resourceName:"/functions/orchestrator" OR '
        'protoPayload.resourceName:"/jobs/box-scores" OR '
        'protoPayload.resourceName:"/services/orchestrator")) OR '
        '(logName="projects/p/logs/cloudscheduler.googleapis.com%2Fexecutions" AND '
        'timestamp>="2026-02-08T06:41:00+00:00" AND (resource.labels.job_id="box-scores") AND '
        'NOT jsonPayload.scheduledTime:*)) AND timestamp<"2026-02-10T18:41:00+00:00"'
    )
    odd = change_filter("p", [(Component.TOPIC, 'a" OR "')], AT, UNTIL)
    assert 'protoPayload.resourceName:"/topics/a\\" OR \\"")' in odd
    assert "executions" not in odd
    condition_of(odd)


@pytest.mark.parametrize(
    "text",
    [
        *('protoPayload.methodName:"a"', 'protoPayload.resourceName="a"'),
        *('resource.labels.job_id:"a"', 'operation.id="a"', 'jsonPayload.a.b:"c"'),
    ],
)
def test_the_server_refuses_what_it_does_not_know(text: str) -> None:
    """A filter that nobody has taught it matches nothing by accident."""
    with pytest.raises(ValueError, match="filter"):
        condition_of(text)


def audit(resource: str = IN_V1, **fields: Any) -> AnyMessage:
    """Return an entry's payload, of a deployment by Anna."""
    known = {"serviceName": "run.googleapis.com", "methodName": RUN_1, "resourceName": resource}
    payload = AnyMessage()
    payload.Pack(
        ParseDict({**known, "authenticationInfo": {"principalEmail": ANNA}, **fields}, AuditLog())
    )
    return payload


def packed(message: Any) -> AnyMessage:
    """Return a message of another kind as a payload."""
    payload = AnyMessage()
    payload.Pack(message)
    return payload


ACTIVITY = "projects/project/logs/cloudaudit.googleapis.com%2Factivity"
EXECUTIONS = "projects/project/logs/cloudscheduler.googleapis.com%2Fexecutions"
OF_THE_JOB = {"type": "cloud_scheduler_job", "labels": {"job_id": "box-scores"}}
JUNK = AnyMessage(type_url="type.googleapis.com/google.cloud.audit.AuditLog", value=b"\xff\xff\xff")
BENIGN: dict[str, dict[str, Any]] = {
    "no payload": {"log_name": ACTIVITY},
    "a text": {"log_name": ACTIVITY, "text_payload": "deployed"},
    "another message": {"log_name": ACTIVITY, "proto_payload": packed(Duration(seconds=7))},
    "an audit log that is called another": {
        "log_name": ACTIVITY,
        "proto_payload": AnyMessage(
            type_url="type.googleapis.com/google.protobuf.Duration", value=audit().value
        ),
    },
    "no message at all": {"log_name": ACTIVITY, "proto_payload": JUNK},
    "another log": {
        "log_name": ACTIVITY.replace("activity", "data_access"),
        "proto_payload": audit(),
    },
    "no log": {"log_name": "", "proto_payload": audit()},
    "no fields": {"log_name": EXECUTIONS, "resource": OF_THE_JOB},
    "a text of a job": {"log_name": EXECUTIONS, "resource": OF_THE_JOB, "text_payload": "ERROR"},
    "no labels": {"log_name": EXECUTIONS, "json_payload": {"status": "INTERNAL"}},
    "another job's": {
        "log_name": EXECUTIONS,
        "json_payload": {"status": "INTERNAL"},
        "resource": {"type": "cloud_scheduler_job", "labels": {"job_id": "\x1b[31m"}},
    },
}


@pytest.mark.parametrize("case", BENIGN)
def test_an_entry_that_says_nothing(server: LoggingServer, case: str) -> None:
    """It is left out alone."""
    server.log_activity(AT, RUN_1, IN_V1, ANNA)
    server.damaged.append(LogEntry(timestamp=AT, severity="ERROR", **BENIGN[case]))
    assert read(server) == only(Change(AT, *SERVICE, "deployed", "anna"))


LONG, ODD = "x" * 100_000, "\x1b[31m\n\u202e" * 100
TEXTS: dict[str, dict[str, Any]] = {
    "a long account": {"authenticationInfo": {"principalEmail": LONG}},
    "an odd account": {"authenticationInfo": {"principalEmail": ODD}},
    "a long method": {"methodName": LONG},
    "an odd method": {"methodName": ODD},
    "a long revision": {"response": {"status": {"latestCreatedRevisionName": LONG}}},
    "an odd revision": {"response": {"status": {"latestCreatedRevisionName": ODD}}},
    "a number for a revision": {
        "response": {"status": {"latestCreatedRevisionName": 7}, "latestCreatedRevision": []}
    },
    "a list for a status": {
        "response": {"status": ["latestCreatedRevisionName"], "serviceConfig": "revision"}
    },
    "a number that is none": {"response": {"status": "NaN", "x": float("inf"), "y": float("nan")}},
}


def check_change(change: Change) -> None:
    """Hold a change to what can be shown in a line."""
    assert all(text.isprintable() and len(text) <= 200 for text in change[2:6])


@pytest.mark.parametrize("case", TEXTS)
def test_odd_texts_of_a_change(server: LoggingServer, case: str) -> None:
    """They are harmless and short, and the change is told."""
    payload = audit(**{name: value for name, value in TEXTS[case].items() if name != "response"})
    payload_log = AuditLog.FromString(payload.value)
    payload_log.response.update(TEXTS[case].get("response", {}))
    server.damaged.append(
        LogEntry(log_name=ACTIVITY, timestamp=AT, proto_payload=packed(payload_log))
    )
    (change,) = read(server).changes
    check_change(change)


@pytest.mark.parametrize(
    "said", [LONG, ODD, 7, None, True, [LONG, {"a": []}], {"a": {"b": LONG}}, float("inf")]
)
@pytest.mark.parametrize("field", ["status", "debugInfo", "@type"])
def test_odd_fields_of_an_attempt(server: LoggingServer, field: str, said: Any) -> None:
    """They are harmless and short, and it counts as the failure that it is."""
    fields = {"log_name": EXECUTIONS, "resource": OF_THE_JOB, "severity": 600, "timestamp": AT}
    server.damaged.append(LogEntry(json_payload={field: said}, **fields))
    (attempt,) = read(server).attempts
    assert 0 < len(attempt.failure) <= 200
    assert attempt.failure.isprintable()


def test_times_that_cannot_be(monkeypatch: pytest.MonkeyPatch, server: LoggingServer) -> None:
    """Their entries are left out, and a list that was cut tells since when it has the others."""
    year_1 = datetime(1, 1, 1, tzinfo=UTC)  # what Go writes for no time
    monkeypatch.setattr(cloud_changes, "_MAXIMUM_CHANGES", 3)
    # beyond year 9999
    late = LogEntry.deserialize(b"J\x0d\x08\xff\xa2\xd1\xff\xaf\x07\x10\xff\x93\xeb\xdc\x03")
    late.log_name, late.proto_payload = ACTIVITY, audit()
    never, long_ago = (
        LogEntry(log_name=ACTIVITY, timestamp=at, proto_payload=audit()) for at in (None, year_1)
    )
    server.damaged += [late, never, long_ago]
    assert read(server) == only(cut_at=UNTIL)
    server.log_activity(AT, RUN_1, IN_V1, ANNA)
    assert read(server) == only(Change(AT, *SERVICE, "deployed", "anna"), cut_at=AT)


_ENTRIES = [
    LogEntry.serialize(entry)
    for entry in (
        LogEntry(
            log_name=ACTIVITY, timestamp=AT, proto_payload=audit(response=MADE), operation=FIRST
        ),
        LogEntry(
            log_name=ACTIVITY,
            timestamp=AT,
            proto_payload=audit(THE_TABLE, metadata={"tableDeletion": {}}),
        ),
        LogEntry(
            log_name=EXECUTIONS,
            timestamp=AT,
            resource=OF_THE_JOB,
            severity=500,
            json_payload={"status": "X"},
        ),
    )
]


@fuzzed(50)
@given(mutated(*_ENTRIES))
def test_a_log_entry_is_a_change_an_attempt_or_nothing(data: bytes) -> None:
    """What is no entry at all is the client's to refuse."""
    entry = or_error(DecodeError, lambda: LogEntry.deserialize(data))
    if isinstance(entry, DecodeError):
        return
    for change in _changes_of([entry, entry], PARTS):
        assert change.at.tzinfo is not None
        check_change(change)
    attempt = _attempt(entry)
    if attempt is not None:
        assert attempt.at.tzinfo is not None
        assert attempt.failure.isprintable()
        assert len(attempt.failure) <= 200


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, server: LoggingServer) -> LoggingServer:
    """Return the server that answers where Google's does."""
    monkeypatch.setattr(
        LoggingServiceV2GrpcTransport,
        "create_channel",
        lambda **_: grpc.insecure_channel(server.address),
    )
    return server


TABLE_NAMES = {
    "nba.completions": True,
    "project.nba.completions": True,
    "another.nba.completions": False,
    "example.com:project.nba.completions": False,
}


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_the_parts_of_a_deployment(phase: Phase, reached: LoggingServer, table: str) -> None:
    """What the phases file and the settings name; a table of another project has its log there."""
    jobs = {"box-scores": (), "late": ()}
    named = msgspec.structs.replace(
        phase,
        bigquery_table=table,
        topic="complete",
        subscription="to-orchestrator",
        scheduler_jobs=jobs,
    )
    other = msgspec.structs.replace(phase, name="phase3", bigquery_table="nba.completions")
    settings = Settings.from_env({"ORCHESTRATOR_SERVICE": "orchestrator"})
    stores = CloudStores("project", settings, {"phase2": named, "phase3": other})
    for method, resource in (
        (RUN_1, IN_V1),
        (f"{PUBLISHER}.UpdateTopic", THE_TOPIC),
        (f"{TABLES}.PatchTable", THE_TABLE),
        (f"{SUBSCRIBER}.UpdateSubscription", THE_SUBSCRIPTION),
        (f"{SCHEDULER}.PauseJob", THE_JOB),
    ):
        reached.log_activity(AT, method, resource, ANNA)
    for job in jobs:
        reached.log_attempt(AT, job)
    assert stores.changes is not None
    changes = stores.changes.changes({"phase2": AT, "phase3": AT}, UNTIL)
    of_table = {TABLE} if TABLE_NAMES[table] else set()
    assert {one[1:3] for one in changes["phase2"].changes} == {
        SERVICE,
        TOPIC,
        SUBSCRIPTION,
        JOB,
        *of_table,
    }
    assert {one.job for one in changes["phase2"].attempts} == {*jobs}
    assert {one[1:3] for one in changes["phase3"].changes} == {TABLE}, (
        "the service is the other phase's"
    )
    stores.close()


def test_a_deployment_of_which_nothing_is_named(phase: Phase, reached: LoggingServer) -> None:
    """Its table is known at least; where that is another project's, nothing is asked."""
    for table, asked in (("nba.completions", 1), ("another.nba.completions", 0)):
        reached.requests.clear()
        of_table = msgspec.structs.replace(phase, bigquery_table=table)
        stores = CloudStores("project", Settings.from_env({}), {"phase2": of_table})
        assert stores.changes is not None
        assert stores.changes.changes({"phase2": AT}, UNTIL)["phase2"].changes in ([], ())
        assert len(reached.requests) == asked
        stores.close()


@pytest.mark.parametrize(
    ("status", "errors"),
    [(None, 0), (grpc.StatusCode.PERMISSION_DENIED, 1), (grpc.StatusCode.INVALID_ARGUMENT, 0)],
)
def test_verify_names_the_right_to_read_logs(
    server: LoggingServer,
    stores: EmbeddedStores,
    phase: Phase,
    status: grpc.StatusCode | None,
    errors: int,
) -> None:
    """Where it is missing, by its role; another failure is none of the set-up."""
    server.fail_with = status
    stores.changes = CloudLoggingChanges("project", {phase.name: PARTS}, connect=server.transport)
    found = compare_flags(stores, {phase.name: phase}, {phase.name: [AT.date()]}).setup_errors
    assert len(found) == errors
    assert all("roles/logging.viewer" in error and "PermissionDenied" in error for error in found)


def test_verify_says_what_is_looked_at(
    server: LoggingServer, stores: EmbeddedStores, phase: Phase
) -> None:
    """It names the components, and for each scheduler job how its last attempt ended, if any."""
    jobs = {"box-scores": (), "odds": (), "unheard-of": ()}
    phase = msgspec.structs.replace(phase, scheduler_jobs=jobs)
    parts = [SERVICE, TABLE, *((Component.JOB, job) for job in jobs)]
    server.log_attempt(AT, "box-scores")
    server.log_attempt(AT - MINUTE, "odds")
    server.log_attempt(AT, "odds", severity="ERROR", status="PERMISSION_DENIED")
    stores.changes = CloudLoggingChanges("project", {phase.name: parts}, connect=server.transport)
    answers = compare_flags(stores, {phase.name: phase}, {phase.name: [AT.date()]}).answers
    assert answers[-4:] == [
        (
            "phase2: changes are looked for of scheduler job box-scores, scheduler job odds, "
            "scheduler job unheard-of, "
            "service orchestrator, table nba.completions"
        ),
        "phase2: scheduler job box-scores: the last attempt, 2026-02-10 06:41Z, succeeded",
        "phase2: scheduler job odds: the last attempt, 2026-02-10 06:41Z, PERMISSION_DENIED",
        (
            "phase2: scheduler job unheard-of: no attempt in the last days; it is paused, or has "
            "another name"
        ),
    ]
