"""The life of an incident: opened once, changed when it gets worse, reminded of, resolved once.

What has to be sent and what has to be remembered follow from the incident as it was remembered, the verdict and the
time. Each channel has a receipt of its own in the incident: what it was last told, and when. So one that was down is
told how things stand when it is back, and not what it has missed; one that never heard OPENED hears no RESOLVED.
canary/notify/incidents.py writes a claim into the incident before it sends, and the receipts after: of two runs at
once only one sends, and what could not be sent is sent by the next run.

A source that flips from run to run must not flood people. OPENED is told at once, and the date has to stay quiet for a
while before it is RESOLVED. In any 24 hours a channel gets no more than 8 messages of one date; the last of them is
kept for OPENED, so that nothing is told to be over whose return could not be told.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import believed
from canary.domain.documents import from_fields
from canary.domain.stages import CauseKind
from canary.domain.verdict import Impact, Verdict, VerdictKind
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import calendar_date
from orchestrator_resilience.stores.base import Document, DocumentRef

INCIDENTS = "canary_incidents"
# Which incidents are open, by the name of the canary that follows them: also those that no phases file leads to.
OPEN_INCIDENTS = DocumentRef(INCIDENTS, "open")
# Which channels have an address that is refused for good.
REFUSALS = DocumentRef("canary_channels", "all")
Incidents = Mapping[DocumentRef, Document]

REMIND_EVERY = timedelta(hours=4)
# A run ends within two minutes: an older claim is that of a run that died. A little of it allows for other clocks.
CLAIM_EXPIRES_AFTER = timedelta(minutes=5)
# What one run saw may be a passing fault; the next run is 15 minutes later. (Counted in time rather than in runs,
# because the scheduler may start a run twice, and repeats one that could not tell within a minute or so.)
PASSES_WITHIN = timedelta(minutes=10)
# What has come back within a day has to be quiet for longer.
QUIET_AFTER_RETURN = timedelta(hours=8)
RUN_EVERY = timedelta(minutes=15)

_A_DAY = timedelta(days=1)
_MESSAGES_A_DAY = 8
_KEPT_FOR_OPENED = 1
# Further changes are told when a reminder would be.
_CHANGES_AT_ONCE = 3


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


def badness(one: Level) -> int:
    """Return a number that is higher for what is worse."""
    return list(Level).index(one)


def level(verdict: Verdict) -> Level:
    """Return how bad it is: a warning without harm, critical with it, an error where nobody knows."""
    match verdict.impact:
        case Impact.NONE:
            return Level.WARNING
        case Impact.PARTIAL | Impact.BLOCKED:
            return Level.CRITICAL
        case Impact.UNKNOWN | None:
            return Level.ERROR


class Sent(msgspec.Struct, frozen=True):
    """One message of an incident to one channel, at `at` (UTC)."""

    kind: NotificationKind
    at: datetime


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel was told of an incident.

    `kind`, `causes` and `level` are what it was told to be wrong. `sent` are its messages of the last 24 hours, oldest
    first, and the last one in any case.
    """

    kind: VerdictKind
    causes: frozenset[CauseKind]
    level: Level
    sent: tuple[Sent, ...]

    def __post_init__(self) -> None:
        """Refuse one of nothing."""
        if not self.sent:
            raise ValueError("a receipt is of at least one message")

    @property
    def is_open(self) -> bool:
        """Whether the channel has not heard yet that it is over."""
        return self.sent[-1].kind is not NotificationKind.RESOLVED

    def within_a_day(self, now: datetime, *kinds: NotificationKind) -> int:
        """Count its messages of the 24 hours before `now`, those of `kinds` if any are named."""
        return sum(now - one.at < _A_DAY and (not kinds or one.kind in kinds) for one in self.sent)


class Claim(msgspec.Struct, frozen=True):
    """The mark of a run, by its id, that since `at` (UTC) it is sending what is due."""

    run: str
    at: datetime


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one (phase, game date); all times are UTC.

    `kind`, `causes` (those that were proven so far) and `level` are what is wrong. `quiet_since` is when the first of
    the last verdicts was given that are all quiet. `receipts` are by the name of the channel.
    """

    kind: VerdictKind
    causes: frozenset[CauseKind]
    level: Level
    opened_at: datetime
    quiet_since: datetime | None = None
    receipts: Mapping[str, Receipt] = msgspec.field(default_factory=dict)
    claim: Claim | None = None
    resolved: bool = False

    def is_known_to(self, channels: Collection[str]) -> bool:
        """Whether one of these channels was told of it, and not yet that it is over."""
        return any(name in channels and receipt.is_open for name, receipt in self.receipts.items())


class Step(msgspec.Struct, frozen=True):
    """What a run has to do about an incident.

    `incident` is what it has to remember at once, None where there is nothing to remember. `due` is what it then has
    to send, by the channel's name. `held`: another run is sending at this moment.
    """

    incident: Incident | None
    due: Mapping[str, NotificationKind] = msgspec.field(default_factory=dict)
    held: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run at `now` (aware), by its `id`: the names of all `channels`, and of those that are `down` for now."""

    now: datetime
    id: str
    channels: Collection[str]
    down: Collection[str] = ()


def advance(known: Incident | None, verdict: Verdict, run: Run) -> Step:
    """Decide what one verdict means for the incident that is remembered of its date, if any."""
    known = None if known is None else _believed(known, run.now)
    if known is not None and known.claim is not None:
        return Step(known, held=True)
    incident = _after(known, verdict, run.now)
    return Step(None) if incident is None else _step(incident, verdict, run)


def dismiss(known: Incident, verdict: Verdict, run: Run) -> Step:
    """Decide how an incident ends whose date is no longer watched: at once; `verdict` says so."""
    known = _believed(known, run.now)
    over = replace(known, quiet_since=run.now - QUIET_AFTER_RETURN)
    return Step(known, held=True) if known.claim else _step(over, verdict, run)


def delivered(incident: Incident, verdict: Verdict, told: Mapping[str, NotificationKind], run: Run) -> Incident:
    """Return what has to be remembered once the channels in `told` were; without any, the claim is given back."""
    receipts = {name: _receipt(incident.receipts.get(name), kind, verdict, run.now) for name, kind in told.items()}
    return _closed(replace(incident, claim=None, receipts={**incident.receipts, **receipts}), run)


def _believed(known: Incident, now: datetime) -> Incident:
    """Leave out what cannot be: claims that expired, and claims and receipts from the future.

    A clock that has jumped back by up to an hour is no future: what was told is told, and at the latest now.
    """
    claim = known.claim
    receipts = {
        name: replace(receipt, sent=tuple(replace(one, at=min(one.at, now)) for one in receipt.sent))
        for name, receipt in known.receipts.items()
        if believed(receipt.sent[-1].at, now) is not None
    }
    return replace(
        known,
        claim=claim if claim and abs(now - claim.at) < CLAIM_EXPIRES_AFTER else None,
        receipts=receipts,
        quiet_since=known.quiet_since and min(known.quiet_since, now),
        opened_at=min(known.opened_at, now),
    )


def _after(known: Incident | None, verdict: Verdict, now: datetime) -> Incident | None:
    """Return the incident as the verdict leaves it, before anybody is told."""
    current = known if known is not None and not known.resolved else None
    if verdict.kind.is_quiet and current is None:
        return known
    if current is None:
        return _opened(verdict, known.receipts if known else {}, now)
    if verdict.kind.is_quiet:
        # A complete set is not over yet: the incident ends when the flag is set.
        goes_on = verdict.kind is VerdictKind.SETTLING and current.kind is not VerdictKind.UNKNOWN
        return replace(current, quiet_since=None if goes_on else current.quiet_since or now)
    current = replace(current, quiet_since=None)
    if verdict.kind is VerdictKind.UNKNOWN:
        return current  # not knowing neither ends a problem nor makes it worse
    if current.kind is VerdictKind.UNKNOWN and not current.is_known_to(current.receipts):
        return _opened(verdict, current.receipts, now)
    if _is_worse(current, verdict):
        return replace(current, kind=verdict.kind, causes=_causes(verdict, current), level=level(verdict))
    return current


def _step(incident: Incident, verdict: Verdict, run: Run) -> Step:
    up = [name for name in run.channels if name not in run.down]
    kinds = {name: _due(incident, incident.receipts.get(name), verdict, run.now) for name in up}
    due = {name: kind for name, kind in kinds.items() if kind is not None}
    return Step(replace(incident, claim=Claim(run.id, run.now)), due) if due else Step(_closed(incident, run))


def _closed(incident: Incident, run: Run) -> Incident:
    """Close what is quiet, once each channel that was told of it has heard that it is over."""
    over = incident.quiet_since is not None and not incident.is_known_to(run.channels)
    return replace(incident, resolved=over)


def _due(incident: Incident, receipt: Receipt | None, verdict: Verdict, now: datetime) -> NotificationKind | None:
    """Return what a channel has to be told now, if anything."""
    if receipt is None or not receipt.is_open:
        return NotificationKind.OPENED if _begins(incident, verdict, now) else None
    left = _MESSAGES_A_DAY - receipt.within_a_day(now)
    if left <= _KEPT_FOR_OPENED:
        return None
    if incident.quiet_since is not None:
        returned = receipt.within_a_day(now, NotificationKind.RESOLVED)
        is_over = now - incident.quiet_since >= (QUIET_AFTER_RETURN if returned else PASSES_WITHIN)
        return NotificationKind.RESOLVED if is_over else None
    pause_is_over = now - receipt.sent[-1].at >= REMIND_EVERY
    if verdict.kind.is_problem and _is_worse(receipt, verdict):
        at_once = receipt.within_a_day(now, NotificationKind.CHANGED) < _CHANGES_AT_ONCE
        return NotificationKind.CHANGED if at_once or pause_is_over else None
    # Where nothing is broken, that no source knows of any work needs no reminder.
    goes_on = verdict.kind.is_problem or (incident.kind is VerdictKind.UNKNOWN and verdict.unreadable)
    return NotificationKind.REMINDER if goes_on and pause_is_over else None


def _begins(incident: Incident, verdict: Verdict, now: datetime) -> bool:
    """Whether it is time to tell of it: a problem at once, not knowing when it does not pass."""
    if incident.kind is VerdictKind.UNKNOWN:
        return incident.quiet_since is None and now - incident.opened_at >= PASSES_WITHIN
    return verdict.kind.is_problem


def _receipt(before: Receipt | None, kind: NotificationKind, verdict: Verdict, now: datetime) -> Receipt:
    sent = (*(one for one in before.sent if now - one.at < _A_DAY), Sent(kind, now)) if before else (Sent(kind, now),)
    if before is not None and kind in {NotificationKind.REMINDER, NotificationKind.RESOLVED}:
        return replace(before, sent=sent)
    return Receipt(kind=verdict.kind, causes=_causes(verdict, before), level=level(verdict), sent=sent)


def _is_worse(known: Incident | Receipt, verdict: Verdict) -> bool:
    """Whether it is another problem, or does more harm; to know more of its causes is not worse, nor to know less."""
    return known.kind is not verdict.kind or badness(level(verdict)) > badness(known.level)


def _opened(verdict: Verdict, receipts: Mapping[str, Receipt], now: datetime) -> Incident:
    return Incident(
        kind=verdict.kind, causes=verdict.proven, level=level(verdict), opened_at=now, receipts=dict(receipts)
    )


def _causes(verdict: Verdict, known: Incident | Receipt | None) -> frozenset[CauseKind]:
    """Return the causes that are proven, or were before, while the problem is the same."""
    before = known.causes if known is not None and known.kind is verdict.kind else frozenset()
    return before | verdict.proven


# Where nothing can be remembered


def kind_without_memory(
    verdict: Verdict, phase: Phase, now: datetime, last: datetime | None, *, is_new: bool
) -> NotificationKind | None:
    """Return what has to be told of a problem where incidents cannot be read or written; None where nothing has.

    That is when its age enters a new slot of REMIND_EVERY: with runs 15 minutes apart one run of each slot tells. What
    this very process knows from its runs before counts all the same: `last` is when it told of the problem, and
    `is_new` that it did not see it in the run before.
    """
    begun = became_a_problem_at(verdict, phase)
    slot, within = divmod(_minute(now) - begun, REMIND_EVERY)
    if last is not None:
        return NotificationKind.REMINDER if slot > (_minute(last) - begun) // REMIND_EVERY else None
    if within >= RUN_EVERY and not is_new:
        return None
    is_first = is_new or slot <= 0 or verdict.since is None
    return NotificationKind.OPENED if is_first else NotificationKind.REMINDER


def became_a_problem_at(verdict: Verdict, phase: Phase) -> datetime:
    """Return the minute (UTC) from which the slots count: since when the verdict is what it is.

    A verdict without `since` has no age: its slots are those of the clock, from midnight UTC on.
    """
    if verdict.since is None:
        return datetime(1970, 1, 1, tzinfo=UTC)
    match verdict.kind:
        case VerdictKind.UNTRIGGERED:
            return _minute(verdict.since + phase.untriggered_after)
        case VerdictKind.DOWNSTREAM_MISSING | VerdictKind.DOWNSTREAM_PARTIAL:
            return _minute(verdict.since + phase.downstream_after)
        case _:
            return _minute(verdict.since)


def _minute(at: datetime) -> datetime:
    """Drop the seconds, by which the scheduler's runs are more or less late."""
    return at.replace(second=0, microsecond=0)


# Documents


def incident_ref(phase: str, game_date: date) -> DocumentRef:
    """Return the address of an incident's document."""
    return DocumentRef(INCIDENTS, f"{phase}:{game_date.isoformat()}")


def open_refs(document: Document | None, canary: str | None = None) -> list[DocumentRef]:
    """Return the incidents that are listed as open, by default those of every canary; an odd entry is left out."""
    fields = document.fields if document else {}
    lists = [
        listed for name, listed in fields.items() if (canary is None or name == canary) and isinstance(listed, list)
    ]
    return [
        DocumentRef(INCIDENTS, one) for listed in lists for one in listed if isinstance(one, str) and _is_incident(one)
    ]


def _is_incident(name: str) -> bool:
    phase, _, day = name.rpartition(":")
    return bool(phase) and calendar_date(day) is not None


def read_incident(document: Document | None) -> Incident | None:
    """Return what is remembered of a date; None where there is no document, or it cannot be understood."""
    return from_fields(Incident, document.fields) if document else None
