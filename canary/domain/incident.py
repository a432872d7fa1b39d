"""The life of an incident: opened once, changed when it gets worse, reminded of, resolved once.

What people have to be notified of, and what has to be remembered, follows from the incident as it was
remembered, the verdict and the time. canary/notify/incidents.py writes a claim into the incident before it
sends a notification, and the delivery after: of two canaries that run at once only one sends it, and a
notification that could not be sent is sent by the next run.
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
# A run ends within a minute: an older claim is that of a run that died before it had sent.
CLAIM_EXPIRES_AFTER = timedelta(minutes=5)
# That one run could not read its sources may be a passing fault; the next run is 15 minutes later. (Counted in time
# rather than in runs, because the scheduler repeats a run that could not tell within a minute or so.)
UNKNOWN_PASSES_WITHIN = timedelta(minutes=10)


class NotificationKind(StrEnum):
    """What people are notified of: that an incident has begun, got worse, goes on, or is over."""

    OPENED = "OPENED"
    CHANGED = "CHANGED"
    REMINDER = "REMINDER"
    RESOLVED = "RESOLVED"


class Level(StrEnum):
    """How bad an incident is, in the words of Cloud Logging."""

    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


_LEVELS = [Level.WARNING, Level.ERROR, Level.CRITICAL]


def level(verdict: Verdict) -> Level:
    """Return how bad it is: a warning without harm, critical with it, an error where nobody knows."""
    match verdict.impact:
        case Impact.NONE:
            return Level.WARNING
        case Impact.PARTIAL | Impact.BLOCKED:
            return Level.CRITICAL
        case Impact.UNKNOWN | None:
            return Level.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What is remembered of one (phase, game date); all times are UTC.

    `kind`, `cause` and `level` are what people were last told. `notified_at` is when the last notification was
    delivered, None before OPENED was. `claimed_at` is when a run claimed the next one, which it then sends.
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
    """What a run has to do about an incident.

    `incident` is what it has to remember at once, None where there is nothing to remember. `notification` is what
    it has to send, if anything, and `delivered` what it has to remember after that was delivered.
    """

    incident: Incident | None
    notification: NotificationKind | None = None
    delivered: Incident | None = None


def advance(known: Incident | None, verdict: Verdict, now: datetime) -> Step:
    """Decide what one verdict means for the incident that is remembered of its date, if any, at `now` (aware)."""
    current = None if known is None or known.resolved else known
    if current is not None and current.claimed_at is not None and now - current.claimed_at < CLAIM_EXPIRES_AFTER:
        return Step(known)  # another run is sending a notification at this moment
    if verdict.kind.is_quiet:
        return _quiet(known, current, verdict, now)
    if verdict.kind is VerdictKind.UNKNOWN:
        return _unknown(current, verdict, now)
    return _problem(current, verdict, now)


def _quiet(known: Incident | None, current: Incident | None, verdict: Verdict, now: datetime) -> Step:
    if current is None:
        return Step(known)
    if verdict.kind is VerdictKind.SETTLING and current.kind is not VerdictKind.UNKNOWN:
        return Step(current)  # the set has just become complete; the incident ends when the flag is set
    if current.notified_at is None:
        return Step(replace(current, resolved=True, claimed_at=None))  # nobody was notified that it began
    return _claimed(current, NotificationKind.RESOLVED, replace(current, resolved=True), now)


def _unknown(current: Incident | None, verdict: Verdict, now: datetime) -> Step:
    if current is None:
        return Step(_opened(verdict, now))
    if current.kind is not VerdictKind.UNKNOWN:
        return Step(current)  # not knowing neither ends a problem nor makes it worse
    if current.notified_at is None and now - current.opened_at < UNKNOWN_PASSES_WITHIN:
        return Step(current)
    if current.notified_at is not None and not verdict.unreadable:
        return Step(current)  # nothing is broken: that no source knows of any work needs no reminder
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
    """Claim a notification; `then` is remembered only after its delivery, so that one that was lost is sent again."""
    return Step(replace(current, claimed_at=now), notification, replace(then, notified_at=now, claimed_at=None))


def _is_worse(current: Incident, verdict: Verdict) -> bool:
    """Whether it is another problem, has another proven cause, or does more harm; to know less is not worse."""
    cause = _cause(verdict)
    other_cause = cause is not None and cause is not CauseKind.UNDETERMINED and cause is not current.cause
    more_harm = _LEVELS.index(level(verdict)) > _LEVELS.index(current.level)
    return current.kind is not verdict.kind or other_cause or more_harm


def _opened(verdict: Verdict, now: datetime) -> Incident:
    return Incident(kind=verdict.kind, cause=_cause(verdict), level=level(verdict), opened_at=now)


def _updated(current: Incident, verdict: Verdict) -> Incident:
    return replace(current, kind=verdict.kind, cause=_cause(verdict), level=level(verdict))


def _cause(verdict: Verdict) -> CauseKind | None:
    return verdict.cause.kind if verdict.cause else None


def to_fields(incident: Incident) -> dict[str, Any]:
    """Return the fields of the incident's document."""
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
    """Read the fields of an incident's document; None where they make no incident, which is then begun anew."""
    opened_at = instant(fields.get("opened_at"))
    try:
        kind, severity = VerdictKind(str(fields.get("kind"))), Level(str(fields.get("level")))
        cause = CauseKind(fields["cause"]) if fields.get("cause") else None
    except ValueError:
        return None
    if opened_at is None:
        return None
    return Incident(
        kind=kind,
        cause=cause,
        level=severity,
        opened_at=opened_at,
        notified_at=instant(fields.get("notified_at")),
        claimed_at=instant(fields.get("claimed_at")),
        resolved=fields.get("resolved") is True,
    )


def incident_ref(phase: str, game_date: date) -> DocumentRef:
    """Return the address of an incident's document."""
    return DocumentRef(INCIDENTS, f"{phase}:{game_date.isoformat()}")


def known_incident(incidents: Incidents, phase: str, game_date: date) -> Incident | None:
    """Return what is remembered of a date; None where there was no incident, or its document cannot be understood."""
    document = incidents.get(incident_ref(phase, game_date))
    return from_fields(document.fields) if document else None
