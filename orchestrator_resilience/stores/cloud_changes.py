"""Who changed what of a phase's components, from the platform's audit log, and how its scheduler's jobs went.

Admin activity is always written down, costs nothing, is kept for 400 days, and needs no right beyond reading logs:
https://cloud.google.com/logging/docs/audit#admin-activity.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from google.cloud.audit.audit_log_pb2 import AuditLog  # type: ignore[import-untyped]
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from orchestrator_resilience.errors import ODD_ANSWER
from orchestrator_resilience.plain import one_line
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
# A deployment of a function is one of its service as well, and each writes its own entries.
_SAME = timedelta(minutes=10)
# What the last word of a method's name means; the others say it themselves.
_WHAT = {
    "PauseJob": "paused",
    "ResumeJob": "resumed",
    "SetIamPolicy": "permissions changed",
    "ModifyPushConfig": "its endpoint changed",
}
_BY_VERB = {"Create": "created", "Insert": "created", "Delete": "deleted", "Update": "changed", "Patch": "changed"}
_DEPLOYED = ("Create", "Replace", "Update")
# Admin activity that changes nothing.
_NO_CHANGE = frozenset({"RunJob"})


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
        """Return what was changed of these phases, and their jobs' attempts, the newest two pages of both."""
        parts = {part for name in begun for part in self._parts.get(name, ())}
        if not parts:
            return dict.fromkeys(begun, Changes())
        wanted = change_filter(self._project, parts, min(begun.values()), until)
        entries = self._entries(wanted, self._seconds, at_most=_MAXIMUM_CHANGES)
        cut_at = moment(entries[-1]) if len(entries) >= _MAXIMUM_CHANGES else None
        entries.reverse()
        made, attempts = _made(entries, parts), [one for entry in entries if (one := _attempt(entry))]
        return {name: _of_phase(self._parts.get(name, ()), made, attempts, cut_at) for name in begun}


def change_filter(project: str, parts: Collection[Part], begun: datetime, until: datetime) -> str:
    """Return the filter for admin activity on the parts in the month before `begun`, and attempts of jobs since then.

    A name may be found in that of another part: of what is found, the whole name is looked at.
    """
    names = " OR ".join(
        f"protoPayload.resourceName:{quoted(path)}" for path in sorted(path for part in parts for path in _paths(*part))
    )
    since, until_ = within(begun - _LONG_BEFORE, until)
    activity = f"({in_log(project, _ACTIVITY)} AND {since} AND ({names}))"
    jobs = sorted(f"resource.labels.job_id={quoted(name)}" for part, name in parts if part is Component.JOB)
    if not jobs:
        return f"{activity} AND {until_}"
    recent, _ = within(begun - _BEFORE, until)
    is_end = "NOT jsonPayload.scheduledTime:*"  # which the entry of an attempt's beginning has
    attempts = f"({in_log(project, _EXECUTIONS)} AND {recent} AND ({' OR '.join(jobs)}) AND {is_end})"
    return f"({activity} OR {attempts}) AND {until_}"


def _paths(part: Component, name: str) -> list[str]:
    """Return how the names of resources that are a part end."""
    if part is Component.SERVICE:  # a function is deployed as a service, whose name has no underscores
        return [f"/services/{name}", *(f"/functions/{one}" for one in {name, name.replace("-", "_")})]
    if part is Component.TABLE:
        dataset, table = name.rsplit(".", 2)[-2:]
        return [f"/datasets/{dataset}/tables/{table}"]
    return [
        f"/{ {Component.SUBSCRIPTION: 'subscriptions', Component.TOPIC: 'topics', Component.JOB: 'jobs'}[part] }/{name}"
    ]


def _of_phase(
    parts: Collection[Part], made: Iterable[Change], attempts: Iterable[Attempt], cut_at: datetime | None
) -> Changes:
    jobs = {name for part, name in parts if part is Component.JOB}
    own = [change for change in made if (change.component, change.name) in {*parts}]
    return Changes(own, [attempt for attempt in attempts if attempt.job in jobs], cut_at, frozenset(parts))


def _made(entries: Iterable[LogEntry], parts: Collection[Part]) -> list[Change]:
    """Return the changes that came about, oldest first: one of each operation, and of each deployment."""
    operations: dict[str, Change | None] = {}
    for number, entry in enumerate(entries):
        key, change = entry.operation.id or str(number), _change(entry, parts)
        first = operations.get(key)
        operations[key] = change._replace(began=first.began or first.at) if change and first else change
    found: dict[tuple[object, ...], list[Change]] = {}
    for change in sorted((one for one in operations.values() if one), key=lambda one: one.began or one.at):
        own = found.setdefault(change[1:4], [])
        if own and _is_one_deployment(own[-1], change):
            first = own[-1]
            own[-1] = first._replace(
                at=max(first.at, change.at), began=first.began or first.at, made=first.made or change.made
            )
        else:
            own.append(change)
    return sorted((change for own in found.values() for change in own), key=lambda one: one.at)


def _is_one_deployment(first: Change, then: Change) -> bool:
    """Whether both are of one deployment: a function's, and within it that of its service."""
    is_other = bool(first.made and then.made) and first.made != then.made
    return then.what == "deployed" and not is_other and (then.began or then.at) - (first.began or first.at) < _SAME


def _change(entry: LogEntry, parts: Collection[Part]) -> Change | None:
    """Return what an entry says was changed; None where it failed, or is about something else."""
    try:
        if not entry.proto_payload or not entry.log_name.endswith(_ACTIVITY):
            return None
        log = AuditLog.FromString(entry.proto_payload.value)
        part = next((part for part in parts if f"/{log.resource_name}".endswith((*_paths(*part),))), None)
        method = log.method_name.rpartition(".")[2]
        if part is None or log.status.code or method in _NO_CHANGE:
            return None
        what = "deployed" if part[0] is Component.SERVICE and method.startswith(_DEPLOYED) else _what(method)
        who = log.authentication_info.principal_email.partition("@")[0]
        return Change(moment(entry), *part, what, one_line(who, _TEXT), one_line(_revision(log), _TEXT))
    except (*ODD_ANSWER, DecodeError):
        return None


def _what(method: str) -> str:
    verbs: Iterator[str] = (what for verb, what in _BY_VERB.items() if method.startswith(verb))
    return _WHAT.get(method) or next(verbs, one_line(method, _TEXT))


def _revision(log: AuditLog) -> str:
    """Return the name of the revision that a deployment made, where its answer has that."""
    answer: Any = MessageToDict(log.response)
    for path in (("status", "latestCreatedRevisionName"), ("latestCreatedRevision",), ("serviceConfig", "revision")):
        found = answer
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found.rpartition("/")[2]
    return ""


def _attempt(entry: LogEntry) -> Attempt | None:
    """Return how an attempt of a job ended; None where the entry is about none, or says that it began."""
    try:
        fields = entry.json_payload
        if not entry.log_name.endswith(_EXECUTIONS) or "AttemptStarted" in str(fields.get("@type", "")):
            return None
        status, more = str(fields.get("status") or ""), str(fields.get("debugInfo") or "")
        said = f"{status or 'failed'} ({more})" if more else status or "failed"
        is_failure = entry.severity >= _ERROR
        return Attempt(moment(entry), entry.resource.labels["job_id"], one_line(said, _TEXT) if is_failure else "")
    except ODD_ANSWER:
        return None
