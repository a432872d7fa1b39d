"""The life of an incident: opened once, changed when it gets worse, reminded of, resolved once.

Pure: what has to be told, and what has to be remembered, follows from what was remembered, the
verdict and the time. run.py claims each notification in the incidents before it is sent and confirms it
after, so that of two canaries at once one sends it, and one that could not be sent is sent by the
next run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from canary.domain.verdict import CauseKind, Impact, Verdict, VerdictKind
from orchestrator_resilience.progress import instant
from orchestrator_resilience.stores.base import Document, DocumentRef

INCIDENTS = "canary_incidents"
Incidents = Mapping[DocumentRef, Document]

REMIND_EVERY = timedelta(hours=4)
# A run ends within a minute: a claim that is older belongs to one that died before it had sent.
CLAIM_EXPIRES_AFTER = timedelta(minutes=5)
# What one run could not tell may be a passing fault; the next run is 15 minutes later. (Counted in time rather than
# runs, because the scheduler repeats a run that could not tell a minute later.)
UNKNOWN_PASSES_WITHIN = timedelta(minutes=10)


class NotificationKind(StrEnum):
    """What is told of an incident."""

    OPENED = "OPENED"
    CHANGED = "CHANGED"
    REMINDER = "REMINDER"
    RESOLVED = "RESOLVED"


class Level(StrEnum):
    """How bad it is, as Cloud Logging names it."""

    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


_LEVELS = [Level.WARNING, Level.ERROR, Level.CRITICAL]


def level(verdict: Verdict) -> Level:
    """No harm is a warning, harm is critical, and not knowing lies between them."""
    match verdict.impact:
        case Impact.NONE:
            return Level.WARNING
        case Impact.BLOCKED:
            return Level.CRITICAL
        case Impact.UNKNOWN | None:
            return Level.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What is remembered of one (phase, game date).

    `notified_at` is when the last notification was delivered, None before OPENED was. `claimed_at` is when a
    run took it upon itself to send one.
    """

    kind: VerdictKind
    cause: CauseKind | None
    level: Level
    opened_at: datetime
    notified_at: datetime | None = None
    claimed_at: datetime | None = None
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a run has to remember and, with a `notification` to send, what is remembered once it was delivered."""

    incident: Incident | None
    notification: NotificationKind | None = None
    delivered: Incident | None = None


def advance(known: Incident | None, verdict: Verdict, now: datetime) -> Step:
    """Take one verdict into account."""
    current = None if known is None or known.resolved else known
    if current is not None and current.claimed_at is not None and now - current.claimed_at < CLAIM_EXPIRES_AFTER:
        return Step(known)  # another run is notifying people at this moment
    if verdict.kind.is_quiet:
        return _quiet(known, current, verdict, now)
    if verdict.kind is VerdictKind.UNKNOWN:
        return _unknown(current, verdict, now)
    return _problem(current, verdict, now)


def _quiet(known: Incident | None, current: Incident | None, verdict: Verdict, now: datetime) -> Step:
    if current is None:
        return Step(known)
    if verdict.kind is VerdictKind.SETTLING and current.kind is not VerdictKind.UNKNOWN:
        return Step(current)  # somebody is at work; whether that ends it, the flag will tell
    if current.notified_at is None:
        return Step(replace(current, resolved=True, claimed_at=None))  # nobody was told that it began
    return _claimed(current, NotificationKind.RESOLVED, replace(current, resolved=True), now)


def _unknown(current: Incident | None, verdict: Verdict, now: datetime) -> Step:
    if current is None:
        return Step(_opened(verdict, now))
    if current.kind is not VerdictKind.UNKNOWN:
        return Step(current)  # not knowing neither ends a problem nor makes it worse
    if current.notified_at is None and now - current.opened_at < UNKNOWN_PASSES_WITHIN:
        return Step(current)
    if current.notified_at is not None and not verdict.unreadable:
        return Step(current)  # nothing is broken: that nobody knows of any work is told once
    return _due(current, now)


def _problem(current: Incident | None, verdict: Verdict, now: datetime) -> Step:
    if current is None or (current.kind is VerdictKind.UNKNOWN and current.notified_at is None):
        new = _opened(verdict, now)
        return _claimed(new, NotificationKind.OPENED, new, now)
    updated = _updated(current, verdict)
    if current.notified_at is None:
        return _claimed(current, NotificationKind.OPENED, updated, now)
    if _is_worse(current, verdict):
        return _claimed(current, NotificationKind.CHANGED, updated, now)
    return _due(current, now)


def _due(current: Incident, now: datetime) -> Step:
    if current.notified_at is None:
        return _claimed(current, NotificationKind.OPENED, current, now)
    if now - current.notified_at >= REMIND_EVERY:
        return _claimed(current, NotificationKind.REMINDER, current, now)
    return Step(current)


def _claimed(current: Incident, notification: NotificationKind, then: Incident, now: datetime) -> Step:
    """Claim a notification: nothing else is remembered before it was delivered, so that what was lost is news again."""
    return Step(replace(current, claimed_at=now), notification, replace(then, notified_at=now, claimed_at=None))


def _is_worse(current: Incident, verdict: Verdict) -> bool:
    """Another problem, another proven cause, or more harm; knowing less than before is no news."""
    cause = verdict.cause.kind if verdict.cause else None
    news = cause is not None and cause is not CauseKind.UNDETERMINED and cause is not current.cause
    return current.kind is not verdict.kind or news or _LEVELS.index(level(verdict)) > _LEVELS.index(current.level)


def _opened(verdict: Verdict, now: datetime) -> Incident:
    cause = verdict.cause.kind if verdict.cause else None
    return Incident(kind=verdict.kind, cause=cause, level=level(verdict), opened_at=now)


def _updated(current: Incident, verdict: Verdict) -> Incident:
    cause = verdict.cause.kind if verdict.cause else None
    return replace(current, kind=verdict.kind, cause=cause, level=level(verdict))


def to_fields(incident: Incident) -> dict[str, Any]:
    """Return the incident's document."""
    return {
        "kind": incident.kind.value,
        "cause": incident.cause.value if incident.cause else None,
        "level": incident.level.value,
        "opened_at": incident.opened_at,
        "notified_at": incident.notified_at,
        "claimed_at": incident.claimed_at,
        "resolved": incident.resolved,
    }


def from_fields(fields: Mapping[str, Any]) -> Incident | None:
    """Read the incident's document; None for one that says nothing of use, which is then begun anew."""
    opened_at = instant(fields.get("opened_at"))
    try:
        kind, how_bad = VerdictKind(str(fields.get("kind"))), Level(str(fields.get("level")))
        cause = CauseKind(fields["cause"]) if fields.get("cause") else None
    except ValueError:
        return None
    if opened_at is None:
        return None
    return Incident(
        kind=kind,
        cause=cause,
        level=how_bad,
        opened_at=opened_at,
        notified_at=instant(fields.get("notified_at")),
        claimed_at=instant(fields.get("claimed_at")),
        resolved=fields.get("resolved") is True,
    )


def incident_ref(phase: str, game_date: date) -> DocumentRef:
    """The address of the document of an incident."""
    return DocumentRef(INCIDENTS, f"{phase}:{game_date.isoformat()}")


def known_incident(incidents: Incidents, phase: str, game_date: date) -> Incident | None:
    """What is remembered of a date."""
    document = incidents.get(incident_ref(phase, game_date))
    return from_fields(document.fields) if document else None
