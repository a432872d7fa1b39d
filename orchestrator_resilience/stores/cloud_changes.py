"""Who changed what of a phase's components, and how its scheduler's jobs went.

The platform's audit log has the changes. Admin activity is always written down, costs nothing, is
kept for 400 days, and needs no right beyond reading logs:
https://cloud.google.com/logging/docs/audit#admin-activity.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from google.cloud.audit.audit_log_pb2 import AuditLog  # type: ignore[import-untyped]
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Value  # type: ignore[import-untyped]

from orchestrator_resilience.errors import ODD_ANSWER
from orchestrator_resilience.plain import cut_line
from orchestrator_resilience.stores.base import Attempt, Change, Changes, Component, Part
from orchestrator_resilience.stores.cloud_logging import (
    PAGE_SIZE,
    CloudLogging,
    Connect,
    connect_to_google,
    in_log,
    moment,
    quoted,
    within,
)

_ACTIVITY = "cloudaudit.googleapis.com%2Factivity"
_EXECUTIONS = "cloudscheduler.googleapis.com%2Fexecutions"
_MAXIMUM_CHANGES = 2 * PAGE_SIZE
_LONG_BEFORE, _BEFORE = timedelta(days=31), timedelta(days=2)
_ERROR = 500
_TEXT = 200
_FUNCTIONS = "cloudfunctions.googleapis.com"
# Whose activity is about a component: resources of others are named alike, such as the jobs of
# Cloud Run.
_APIS = {
    Component.SERVICE: {"run.googleapis.com", _FUNCTIONS},
    Component.SUBSCRIPTION: {"pubsub.googleapis.com"},
    Component.TOPIC: {"pubsub.googleapis.com"},
    Component.TABLE: {"bigquery.googleapis.com"},
    Component.JOB: {"cloudscheduler.googleapis.com"},
}
# The entries of a function and of its service may be so far apart. The platform's own account may
# have written the one of the service.
_SAME = timedelta(minutes=10)
_PLATFORM = "@gcf-admin-robot.iam.gserviceaccount.com"
# What the last word of a method's name means, where it does not say so itself.
_WHAT = {
    "PauseJob": "paused",
    "ResumeJob": "resumed",
    "SetIamPolicy": "permissions changed",
    "ModifyPushConfig": "its endpoint changed",
}
_BY_VERB = {
    "Create": "created",
    "Insert": "created",
    "Delete": "deleted",
    "Update": "changed",
    "Patch": "changed",
}
_DEPLOYED = ("Create", "Replace", "Update")
# All queries have one of these methods: what they did to a table is in the entry's metadata.
_QUERIED = ("InsertJob", "Query")
_BY_EVENT = {"tableCreation": "created", "tableChange": "changed", "tableDeletion": "deleted"}
# Admin activity that changes nothing, or does not say what.
_NO_CHANGE = frozenset({"RunJob", ""})
# Where the answer to a deployment has the revision that it made.
_REVISIONS = (
    ("status", "latestCreatedRevisionName"),
    ("latestCreatedRevision",),
    ("serviceConfig", "revision"),
)


class _Activity(NamedTuple):
    """A change as an entry has it, with the whole account in `who`.

    `api` is the API that did it, or refused it where `is_refused`.
    """

    change: Change
    api: str
    is_refused: bool


class CloudLoggingChanges(CloudLogging):
    """A ChangeLog; `parts` are the components of each phase."""

    def __init__(
        self,
        project: str,
        parts: Mapping[str, Collection[Part]],
        *,
        seconds: float = 15.0,
        connect: Connect = connect_to_google,
    ) -> None:
        super().__init__(project, seconds=seconds, connect=connect)
        self._parts = parts

    def changes(self, begun: Mapping[str, datetime], until: datetime) -> dict[str, Changes]:
        """Return the changes of these phases and their jobs' attempts: the newest two pages."""
        parts = {part for name in begun for part in self._parts.get(name, ())}
        if not parts:
            return dict.fromkeys(begun, Changes())
        begins = min(begun.values())
        filter_ = change_filter(self._project, parts, begins, until)
        newest = self._entries(filter_, self._seconds, at_most=_MAXIMUM_CHANGES)
        entries = [
            entry for entry in reversed(newest) if _is_from(entry, begins - _LONG_BEFORE, until)
        ]
        oldest = moment(entries[0]) if entries else until
        cut_at = oldest if len(newest) >= _MAXIMUM_CHANGES else None
        changes = _changes_of(entries, parts)
        attempts = [attempt for entry in entries if (attempt := _attempt(entry))]
        return {
            name: _of_phase(self._parts.get(name, ()), changes, attempts, cut_at) for name in begun
        }


def change_filter(project: str, parts: Collection[Part], begun: datetime, until: datetime) -> str:
    """Return the filter for admin activity on the parts, and for the attempts of jobs.

    Activity is from a month before `begun` on, attempts are from two days before. A part's name may
    be found inside that of another part: the whole name is looked at afterwards.
    """
    names = " OR ".join(
        f"protoPayload.resourceName:{quoted(path)}"
        for path in sorted(path for part in parts for path in _paths(*part))
    )
    since, until_ = within(begun - _LONG_BEFORE, until)
    activity = f"({in_log(project, _ACTIVITY)} AND {since} AND ({names}))"
    jobs = sorted(
        f"resource.labels.job_id={quoted(name)}" for part, name in parts if part is Component.JOB
    )
    if not jobs:
        return f"{activity} AND {until_}"
    recent, _ = within(begun - _BEFORE, until)
    is_end = "NOT jsonPayload.scheduledTime:*"  # an attempt's beginning has it
    attempts = (
        f"({in_log(project, _EXECUTIONS)} AND {recent} AND ({' OR '.join(jobs)}) AND {is_end})"
    )
    return f"({activity} OR {attempts}) AND {until_}"


def _paths(part: Component, name: str) -> list[str]:
    """Return how the names of resources that are a part end."""
    # a function is deployed as a service, whose name has no underscores
    if part is Component.SERVICE:
        return [
            f"/services/{name}",
            *(f"/functions/{spelling}" for spelling in {name, name.replace("-", "_")}),
        ]
    if part is Component.TABLE:
        dataset, table = name.rsplit(".", 2)[-2:]
        return [f"/datasets/{dataset}/tables/{table}"]
    collections = {
        Component.SUBSCRIPTION: "subscriptions",
        Component.TOPIC: "topics",
        Component.JOB: "jobs",
    }
    return [f"/{collections[part]}/{name}"]


def _of_phase(
    parts: Collection[Part],
    changes: Iterable[Change],
    attempts: Iterable[Attempt],
    cut_at: datetime | None,
) -> Changes:
    jobs, of_phase = {name for part, name in parts if part is Component.JOB}, {*parts}
    of_parts = [change for change in changes if (change.component, change.name) in of_phase]
    return Changes(
        of_parts,
        [attempt for attempt in attempts if attempt.job in jobs],
        cut_at,
        frozenset(of_phase),
    )


def _changes_of(entries: Iterable[LogEntry], parts: Collection[Part]) -> list[Change]:
    """Return the changes that came about, oldest first: one for each operation and each deployment.

    An operation may leave several entries, the last when it has ended. A deployment of a function
    is also one of its service, and both leave entries: they are one change, by the account that
    deployed the function.
    """
    operations = defaultdict[tuple[object, ...], list[_Activity]](list)
    for number, entry in enumerate(entries):
        if activity := _activity(entry, parts):
            operations[entry.operation.id or number, *activity.change.deed].append(activity)
    completed = [
        _operation(activities)
        for activities in operations.values()
        if not any(activity.is_refused for activity in activities)
    ]
    functions = [activity for activity in completed if activity.api == _FUNCTIONS]
    deployments = defaultdict[_Activity, list[Change]](list)
    for activity in completed:
        alike = (function for function in functions if _is_of_function(activity, function))
        deployments[min(alike, key=partial(_apart, activity), default=activity)].append(
            activity.change
        )
    return sorted(
        (_deployment(activity.change, changes) for activity, changes in deployments.items()),
        key=lambda change: change.at,
    )


def _operation(activities: Sequence[_Activity]) -> _Activity:
    """Return an operation's entries, oldest first, as one: it was done at the last."""
    who = next((activity.change.who for activity in activities if activity.change.who), "")
    revision = next(
        (activity.change.made for activity in reversed(activities) if activity.change.made), ""
    )
    began = activities[0].change.at if len(activities) > 1 else None
    return activities[-1]._replace(
        change=activities[-1].change._replace(who=who, made=revision, began=began)
    )


def _is_of_function(activity: _Activity, function: _Activity) -> bool:
    """Whether a service's change is that of a function.

    Then both are made at about the same time, by the same account or the platform's own.
    """
    change, function_change = activity.change, function.change
    is_same_deed = (
        activity.api != _FUNCTIONS
        and change.deed == function_change.deed
        and _apart(activity, function) < _SAME
    )
    is_same_revision = change.made == function_change.made or not (
        change.made and function_change.made
    )
    return (
        is_same_deed
        and is_same_revision
        and (change.who == function_change.who or change.who.endswith(_PLATFORM))
    )


def _apart(activity: _Activity, function: _Activity) -> timedelta:
    return abs(activity.change.at - function.change.at)


def _deployment(change: Change, changes: Collection[Change]) -> Change:
    revision = change.made or next((entry.made for entry in changes if entry.made), "")
    who = cut_line(change.who.partition("@")[0], _TEXT)
    at = max(entry.at for entry in changes)
    began = min(entry.began or entry.at for entry in changes)
    return change._replace(
        at=at, who=who, made=cut_line(revision, _TEXT), began=began if began < at else None
    )


def _activity(entry: LogEntry, parts: Collection[Part]) -> _Activity | None:
    """Return what an entry says was changed, or refused; None where it is about something else."""
    try:
        if not entry.log_name.endswith(_ACTIVITY) or not entry.proto_payload.Is(
            AuditLog.DESCRIPTOR
        ):
            return None
        log = AuditLog.FromString(entry.proto_payload.value)
        part = next((part for part in parts if _is_about(part, log)), None)
        if part is None or (what := _what(part, log)) in _NO_CHANGE:
            return None
        change = Change(
            moment(entry), *part, what, log.authentication_info.principal_email, _revision(log)
        )
        return _Activity(change, log.service_name, bool(log.status.code))
    except (*ODD_ANSWER, DecodeError):
        return None


def _is_about(part: Part, log: Any) -> bool:
    """Whether an entry is about a part.

    A service's name has the function's name without its capitals and underscores.
    """
    resource, paths = f"/{log.resource_name}", _paths(*part)
    if log.service_name == _FUNCTIONS:
        resource, *paths = (path.lower().replace("_", "-") for path in (resource, *paths))
    return log.service_name in _APIS[part[0]] and resource.endswith((*paths,))


def _what(part: Part, log: Any) -> str:
    """Return what was done, in a word for all that do the same."""
    method = log.method_name.rpartition(".")[2]
    if method in _WHAT:
        return _WHAT[method]
    if part[0] is Component.SERVICE and method.startswith(_DEPLOYED):
        return "deployed"
    by_verb = (what for verb, what in _BY_VERB.items() if method.startswith(verb))
    by_event = (what for event, what in _BY_EVENT.items() if event in log.metadata.fields)
    return next(by_event if method in _QUERIED else by_verb, cut_line(method, _TEXT))


def _revision(log: Any) -> str:
    """Return the name of the revision that a deployment made, where its answer has that."""
    for *within_, name in _REVISIONS:
        fields = log.response.fields
        for parent in within_:
            fields = fields.get(parent, Value()).struct_value.fields
        if revision := fields.get(name, Value()).string_value:
            return str(revision.rpartition("/")[2])
    return ""


def _attempt(entry: LogEntry) -> Attempt | None:
    """Return how an attempt of a job ended; None where the entry does not say the end of one."""
    try:
        fields = entry.json_payload
        if not entry.log_name.endswith(_EXECUTIONS) or "AttemptStarted" in str(
            fields.get("@type", "")
        ):
            return None
        status, more = str(fields.get("status") or ""), str(fields.get("debugInfo") or "")
        words = f"{status or 'failed'} ({more})" if more else status or "failed"
        is_failure = entry.severity >= _ERROR
        return Attempt(
            moment(entry),
            entry.resource.labels["job_id"],
            cut_line(words, _TEXT) if is_failure else "",
        )
    except ODD_ANSWER:
        return None


def _is_from(entry: LogEntry, since: datetime, until: datetime) -> bool:
    """Whether an entry has a time, and it is one that was asked for."""
    try:
        return since <= moment(entry) < until
    except ODD_ANSWER:
        return False
