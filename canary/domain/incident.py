"""The life of an incident: what was wrong with a date, what each channel was sent of it, and what it is due next.

Everything here is a function of what is remembered of one date, its verdict and the time. `follow` takes a verdict in,
`expire` a date that nobody looks at any more, `due` says what a channel has to be sent, `sending` notes that before it
is sent, and `answered` what came of it. canary/notify/incidents.py stores the result of each in that order.

    event                      never notified      notified, open         acknowledged          silenced
    a problem                  OPENED              -                      -                     kept until it ends
    worse than it has heard    OPENED              CHANGED                CHANGED               kept until it ends
    UNKNOWN                    OPENED (twice)      nothing                nothing               nothing
    goes on                    -                   REMINDER               none for 24 hours     none
    quiet twice                nothing             RESOLVED               RESOLVED              RESOLVED
    not looked at any more     nothing             EXPIRED                EXPIRED               EXPIRED when it ends

tests/canary/test_incidents.py has a test for each cell. A message whose answer is not known may have been heard: it
counts, it is sent again, and whoever may have heard of the beginning hears of the end.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import believed
from canary.domain.silence import Acknowledgement
from canary.domain.stages import CauseKind
from canary.domain.verdict import Level, Verdict, VerdictKind, badness, level
from orchestrator_resilience.phase import Phase

REMIND_EVERY = timedelta(hours=4)
# A WARNING can wait for the day: in the hour of the deadline, when somebody is at work.
WARN_EVERY = timedelta(hours=12)
# A run ends within 95 seconds: a message without an answer that is older is of a run that died.
RUN_IS_OVER_AFTER = timedelta(minutes=4)
# What one run saw may be a passing fault; the next run is 15 minutes later. (Counted in time rather than in runs,
# because the scheduler may start a run twice, and repeats one that could not tell within a minute or so.)
PASSES_WITHIN = timedelta(minutes=10)
# What has come back within a day has to be quiet for longer.
QUIET_AFTER_RETURN = timedelta(hours=8)
ACKNOWLEDGED_FOR = timedelta(hours=24)
RUN_EVERY = timedelta(minutes=15)
MOST_INCIDENTS, MOST_EVENTS = 4, 12
_NOTED_CAUSES = 3

_A_DAY = timedelta(days=1)
_CLOCKS_DIFFER = timedelta(hours=1)
# An end that a channel does not take is tried for so long.
_ENDS_FOR = timedelta(days=7)
# Of 8 in 24 hours one is left for what is sent where nothing can be remembered.
_MESSAGES_A_DAY = 7
# Reminders leave the rest to what is news.
_REMINDERS_UP_TO = 6
# Further changes are sent when a reminder would be.
_CHANGES_AT_ONCE = 2
# An end that gets no answer is sent so often, and then taken for heard: nothing is pending for ever.
_ENDS_WITHOUT_ANSWER = 3
# A stretch of days of which no source says whether there was work is one matter for so long.
_ONE_STRETCH = timedelta(days=7)


class NotificationKind(StrEnum):
    """What people are notified of: an incident has begun, got worse, goes on, is over, or is looked at no longer."""

    OPENED = "OPENED"
    CHANGED = "CHANGED"
    REMINDER = "REMINDER"
    RESOLVED = "RESOLVED"
    EXPIRED = "EXPIRED"

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self in {NotificationKind.RESOLVED, NotificationKind.EXPIRED}


class Outcome(StrEnum):
    """What became of a message: heard, certainly not posted, or nobody knows."""

    HEARD = "HEARD"
    NOT_POSTED = "NOT_POSTED"
    NOT_KNOWN = "NOT_KNOWN"


class Sent(msgspec.Struct, frozen=True):
    """One message to one channel, at `at` (UTC)."""

    kind: NotificationKind
    at: datetime


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one channel was sent of an open incident: the message `sent` at `at` (UTC), and whether it was `heard`.

    `run` is the run that sends it, empty once the answer is noted. `began` tells that a beginning was certainly heard.
    `verdicts` are the problems that the channel may have heard of, `level` is the last one. `address` is that of then.
    """

    address: str = ""
    verdicts: frozenset[VerdictKind]
    level: Level
    sent: NotificationKind
    at: datetime
    run: str = ""
    heard: bool = False
    began: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to an incident, for its history; reminders are counted instead.

    `what` is a NotificationKind, or "ACKNOWLEDGED", then with `by` and its note as `why`. `to` are the channels that
    heard it, and `unanswered` those of which nobody knows. `verdict`, `causes` and `why` are as they were then.
    """

    what: str
    at: datetime
    to: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    verdict: VerdictKind | None = None
    causes: tuple[CauseKind, ...] = ()
    why: str = ""
    by: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One incident of a date; all times are UTC.

    `kind`, `level` and `causes` (those proven so far) are what is wrong now. `quiet_since` is when the first of the
    last verdicts was given that are all quiet. `silenced`: it was, so its end is news to everybody. `returned`:
    the one before it had ended within a day. `expired`: its date is looked at no longer. `ended` and `over_at` are
    its end.
    """

    kind: VerdictKind
    level: Level
    opened_at: datetime
    causes: frozenset[CauseKind] = frozenset()
    quiet_since: datetime | None = None
    silenced: bool = False
    returned: bool = False
    expired: bool = False
    reminders: int = 0
    reminded_at: datetime | None = None
    ended: NotificationKind | None = None
    over_at: datetime | None = None
    events: tuple[Event, ...] = ()
    receipts: Mapping[str, Receipt] = msgspec.field(default_factory=dict)


class DateMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one date: its last verdict, what the canary saw there first, and its incidents.

    `complete_at`, `flag_at` and `output_at` (UTC) are when this canary first saw the set complete, the flag set, and
    output; `away_since` is since when there is none, although there was. `forgotten` counts incidents over the cap of
    4. `sent` are the messages of the last 24 hours, by channel: a limit that a new incident does not begin anew.
    """

    verdict: VerdictKind | None = None
    complete_at: datetime | None = None
    flag_at: datetime | None = None
    output_at: datetime | None = None
    away_since: datetime | None = None
    incidents: tuple[Incident, ...] = ()
    forgotten: int = 0
    sent: Mapping[str, tuple[Sent, ...]] = msgspec.field(default_factory=dict)

    @property
    def open(self) -> Incident | None:
        """The incident that goes on, if any."""
        return self.incidents[-1] if self.incidents and self.incidents[-1].over_at is None else None

    def with_open(self, incident: Incident | None) -> "DateMemory":
        """Return the same with this incident in place of the one that goes on; None: there is none any more."""
        closed = self.incidents[:-1] if self.open else self.incidents
        every = closed if incident is None else (*closed, incident)
        more = max(0, len(every) - MOST_INCIDENTS)
        return replace(self, incidents=every[more:], forgotten=self.forgotten + more)

    def within_a_day(self, channel: str, now: datetime, *kinds: NotificationKind) -> int:
        """Count a channel's messages of the last 24 hours: those of `kinds`, by default all that are no end."""
        messages = (one for one in self.sent.get(channel, ()) if now - one.at < _A_DAY)
        return sum(one.kind in kinds if kinds else not one.kind.is_end for one in messages)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What one run at `now` (aware) goes by, by its id `run`, for one date of `phase` (None: it was removed).

    `addresses` are those of the channels by name. `down` are the channels that are not tried now, `refused` those of
    them that are refused for good. `silenced` and `acknowledgements` are what people said of the date, `gone` tells
    that nobody looks at it any more. `group_at` is when each channel was last sent something of the date's group,
    `stretch` are the channels that know of a stretch of days without an answer.
    """

    now: datetime
    run: str
    addresses: Mapping[str, str]
    down: Collection[str] = ()
    refused: Collection[str] = ()
    phase: Phase | None = None
    silenced: bool = False
    acknowledgements: tuple[Acknowledgement, ...] = ()
    gone: bool = False
    group_at: Mapping[str, datetime] = {}
    stretch: Collection[str] = ()


def group_of(verdict: Verdict) -> Hashable:
    """Return what two dates have in common that have the same problem, stopped alike for the same proven reason."""
    if verdict.unreadable:
        return verdict.phase, verdict.reason
    if verdict.kind is VerdictKind.UNKNOWN:
        return verdict.phase, verdict.kind, verdict.work
    why = {(cause.kind, cause.until, cause.subjects) for cause in verdict.causes if cause.kind in verdict.proven}
    # What nobody can explain may have several reasons.
    return verdict.phase, verdict.kind, frozenset(why) or verdict.game_date, verdict.missing


def believed_memory(memory: DateMemory, now: datetime) -> DateMemory:
    """Leave out what cannot be: what was sent in the future was not. A clock that was up to an hour ahead is no future.

    Only the incident that goes on is looked at: the others are history.
    """
    sent = {
        name: tuple(replace(one, at=at) for one in messages if (at := believed(one.at, now)))
        for name, messages in memory.sent.items()
    }
    memory, incident = replace(memory, sent=sent), memory.open
    if incident is None:
        return memory
    receipts = {
        name: replace(receipt, at=at)
        for name, receipt in incident.receipts.items()
        if (at := believed(receipt.at, now)) is not None
    }
    quiet_since = incident.quiet_since and min(incident.quiet_since, now)
    opened_at = min(incident.opened_at, now)
    return memory.with_open(replace(incident, receipts=receipts, quiet_since=quiet_since, opened_at=opened_at))


def follow(memory: DateMemory, verdict: Verdict, situation: Situation, *, is_complete: bool = False) -> DateMemory:
    """Take a verdict in, before anybody is notified; `is_complete` tells that the set is."""
    now = situation.now
    memory = _first_seen(believed_memory(memory, now), verdict, now, is_complete=is_complete)
    incident, kind = memory.open, verdict.kind
    if incident is not None and situation.acknowledgements:
        incident = _with_acknowledgements(incident, situation.acknowledgements)
        memory = memory.with_open(incident)
    if memory.away_since is not None and now - memory.away_since < PASSES_WITHIN:
        return memory  # a rebuilt output is away for a moment: neither quiet nor worse
    if incident is None:
        return memory if kind.is_quiet else memory.with_open(_opened(memory, verdict, situation))
    if kind.is_quiet:
        # A complete set is not over yet: the incident ends when the flag is set.
        if kind is VerdictKind.SETTLING and incident.kind is not VerdictKind.UNKNOWN:
            return memory.with_open(replace(incident, quiet_since=None))
        if not incident.receipts:
            return memory.with_open(None)  # nobody may have heard of it
        return memory.with_open(replace(incident, quiet_since=incident.quiet_since or now))
    incident = replace(incident, silenced=incident.silenced or situation.silenced)
    if kind is VerdictKind.UNKNOWN:
        return memory.with_open(incident)  # not knowing neither ends a problem nor makes it worse
    if incident.kind is VerdictKind.UNKNOWN and not incident.receipts:
        return memory.with_open(_opened(memory, verdict, situation))
    causes = verdict.proven | (incident.causes if incident.kind is kind else frozenset())
    return memory.with_open(replace(incident, kind=kind, level=level(verdict), causes=causes, quiet_since=None))


def expire(memory: DateMemory, situation: Situation) -> DateMemory:
    """Take in that nobody looks at a date any more, whose silence ends first; what was quiet when last seen is over."""
    memory = believed_memory(memory, situation.now)
    incident = memory.open
    if incident is None or situation.silenced or incident.quiet_since is not None:
        return memory
    if not incident.receipts and not incident.silenced:
        return memory.with_open(None)
    return memory.with_open(replace(incident, expired=True, quiet_since=situation.now))


def _first_seen(memory: DateMemory, verdict: Verdict, now: datetime, *, is_complete: bool) -> DateMemory:
    has_output = bool(verdict.output)
    is_away = memory.output_at is not None and verdict.output == 0 and verdict.kind.is_problem
    return replace(
        memory,
        verdict=verdict.kind,
        complete_at=memory.complete_at or (now if is_complete else None),
        flag_at=memory.flag_at or (now if verdict.triggered else None),
        output_at=memory.output_at or (now if has_output else None),
        away_since=(memory.away_since or now) if is_away else None,
    )


def _opened(memory: DateMemory, verdict: Verdict, situation: Situation) -> Incident:
    closed = [one for one in memory.incidents if one.over_at]
    returned = bool(closed) and closed[-1].over_at is not None and situation.now - closed[-1].over_at < _A_DAY
    return Incident(
        kind=verdict.kind,
        level=level(verdict),
        causes=verdict.proven,
        opened_at=situation.now,
        returned=returned,
        silenced=situation.silenced,
    )


def _with_acknowledgements(incident: Incident, acknowledgements: Iterable[Acknowledgement]) -> Incident:
    noted = {(event.at, event.by) for event in incident.events}
    events = [
        Event(what="ACKNOWLEDGED", at=one.at, by=one.by, why=one.note)
        for one in acknowledgements
        if one.opened_at == incident.opened_at and (one.at, one.by) not in noted
    ]
    return replace(incident, events=_capped((*incident.events, *events)))


def _capped(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Keep the first and the last ones."""
    return events if len(events) <= MOST_EVENTS else (events[0], *events[1 - MOST_EVENTS :])


# What is due


def held(memory: DateMemory, channel: str, situation: Situation) -> bool:
    """Whether another run is sending something to the channel at this moment."""
    receipt = _receipt(memory, channel, situation)
    is_running = receipt is not None and abs(situation.now - receipt.at) < RUN_IS_OVER_AFTER
    return is_running and receipt is not None and receipt.run not in {"", situation.run}


def knows(memory: DateMemory, channel: str, situation: Situation) -> bool:
    """Whether the channel may have heard of the incident that goes on, and not of its end."""
    receipt = _receipt(memory, channel, situation)
    return receipt is not None and not receipt.sent.is_end


def _receipt(memory: DateMemory, channel: str, situation: Situation) -> Receipt | None:
    """Return what was sent to the channel at the address that it has now."""
    receipt = memory.open.receipts.get(channel) if memory.open else None
    return receipt if receipt and receipt.address == situation.addresses[channel] else None


def due(memory: DateMemory, channel: str, verdict: Verdict, situation: Situation) -> NotificationKind | None:
    """Return what the channel has to be sent now of the date, if anything."""
    incident, receipt, now = memory.open, _receipt(memory, channel, situation), situation.now
    if incident is None or channel in situation.down or held(memory, channel, situation):
        return None
    if incident.quiet_since is not None:
        is_seen = verdict.kind.is_quiet or situation.gone  # not knowing is not quiet
        return _due_at_the_end(memory, incident, channel, situation) if is_seen else None
    if situation.silenced or verdict.kind.is_quiet:
        return None
    count = memory.within_a_day(channel, now)
    if receipt is None or receipt.sent.is_end:
        kind = NotificationKind.OPENED if _begins(incident, channel, verdict, situation) else None
    elif not receipt.heard and receipt.sent is not NotificationKind.REMINDER:
        kind = receipt.sent
    elif verdict.kind.is_problem and _is_worse(incident, receipt):
        changed = memory.within_a_day(channel, now, NotificationKind.CHANGED)
        at_once = changed < _CHANGES_AT_ONCE or now - receipt.at >= REMIND_EVERY
        kind = NotificationKind.CHANGED if at_once else None
    else:
        is_due = count < _REMINDERS_UP_TO and _reminder_is_due(incident, channel, verdict, situation)
        kind = NotificationKind.REMINDER if is_due else None
    return kind if count < _MESSAGES_A_DAY else None


def _due_at_the_end(
    memory: DateMemory, incident: Incident, channel: str, situation: Situation
) -> NotificationKind | None:
    receipt, now = _receipt(memory, channel, situation), situation.now
    assert incident.quiet_since is not None
    if incident.expired:
        is_news = receipt is not None or not incident.receipts
        return NotificationKind.EXPIRED if is_news and not _has_ended(memory, channel, receipt, now) else None
    wait = QUIET_AFTER_RETURN if incident.returned else PASSES_WITHIN
    if receipt is None or _has_ended(memory, channel, receipt, now) or now - incident.quiet_since < wait:
        return None
    return NotificationKind.RESOLVED


def _has_ended(memory: DateMemory, channel: str, receipt: Receipt | None, now: datetime) -> bool:
    if receipt is None or not receipt.sent.is_end:
        return False
    ends = memory.within_a_day(channel, now, NotificationKind.RESOLVED, NotificationKind.EXPIRED)
    return receipt.heard or (not receipt.run and ends >= _ENDS_WITHOUT_ANSWER)


def _begins(incident: Incident, channel: str, verdict: Verdict, situation: Situation) -> bool:
    """Whether a problem that the channel does not know of is one by now; not knowing is one when it lasts."""
    if verdict.kind is not VerdictKind.UNKNOWN:
        return True
    if not verdict.unreadable and channel in situation.stretch:
        return False
    return situation.now - incident.opened_at >= PASSES_WITHIN


def _is_worse(incident: Incident, receipt: Receipt) -> bool:
    """Whether it is a problem that the channel has not heard of, or does more harm than it heard."""
    is_other = incident.kind.is_problem and incident.kind not in receipt.verdicts
    return is_other or badness(incident.level) > badness(receipt.level)


def _reminder_is_due(incident: Incident, channel: str, verdict: Verdict, situation: Situation) -> bool:
    # Where nothing is broken, that no source knows of any work needs no reminder.
    goes_on = verdict.kind.is_problem or (incident.kind is VerdictKind.UNKNOWN and verdict.unreadable)
    if not goes_on or acknowledged(incident, channel, situation) is not None:
        return False
    last = situation.group_at.get(channel, incident.opened_at)
    if incident.level is not Level.WARNING or situation.phase is None:
        return situation.now - last >= REMIND_EVERY
    zone, deadline = ZoneInfo(situation.phase.timezone), situation.phase.deadline(verdict.game_date)
    is_the_hour = situation.now.astimezone(zone).hour == deadline.astimezone(zone).hour
    return is_the_hour and situation.now - last >= WARN_EVERY


def acknowledged(incident: Incident, channel: str, situation: Situation) -> Acknowledgement | None:
    """Return the acknowledgement that holds reminders: of this incident, no worse than it was, for 24 hours."""
    receipt = incident.receipts.get(channel)
    changed_at = receipt.at if receipt and receipt.sent is NotificationKind.CHANGED else None
    fits = [
        one
        for one in situation.acknowledgements
        if one.opened_at == incident.opened_at
        and badness(incident.level) <= badness(one.level)
        and -_CLOCKS_DIFFER <= situation.now - one.at < ACKNOWLEDGED_FOR
        and (changed_at is None or changed_at <= one.at)
    ]
    return fits[-1] if fits else None


# What is sent, and what came of it


def sending(
    memory: DateMemory, kinds: Mapping[str, NotificationKind], verdict: Verdict, why: str, situation: Situation
) -> DateMemory:
    """Note what is about to be sent, by channel; `why` is the path in words, for the history."""
    incident, now = memory.open, situation.now
    assert incident is not None
    receipts, sent, events = dict(incident.receipts), dict(memory.sent), list(incident.events)
    for channel, kind in kinds.items():
        before = _receipt(memory, channel, situation)
        goes_on = before is not None and not before.sent.is_end and kind is not NotificationKind.OPENED
        receipts[channel] = Receipt(
            address=situation.addresses[channel],
            verdicts=(before.verdicts if before and goes_on else frozenset()) | {incident.kind},
            level=incident.level,
            sent=kind,
            at=now,
            run=situation.run,
            began=before is not None and before.began,
        )
        recent = [one for one in sent.get(channel, ()) if now - one.at < _A_DAY]
        sent[channel] = (*recent, Sent(kind, now))
    for kind in sorted({*kinds.values()} - {NotificationKind.REMINDER}):
        to = tuple(sorted(channel for channel, other in kinds.items() if other is kind))
        causes = tuple(sorted(verdict.proven))[:_NOTED_CAUSES]
        event = Event(what=kind, at=now, unanswered=to, verdict=incident.kind, causes=causes, why=why)
        events.append(event)
    is_reminder = NotificationKind.REMINDER in kinds.values()
    after = replace(
        incident,
        receipts=receipts,
        events=_capped(tuple(events)),
        reminders=incident.reminders + is_reminder,
        reminded_at=now if is_reminder else incident.reminded_at,
    )
    return replace(memory.with_open(after), sent=sent)


def answered(
    memory: DateMemory, outcomes: Mapping[str, Outcome], before: DateMemory, situation: Situation
) -> DateMemory:
    """Note what came of the messages of this run, by channel; `before` is what was remembered before they were sent.

    What was certainly not posted is taken back. An incident ends once nobody is left who has to hear of its end.
    """
    incident = memory.open
    if incident is None:
        return memory
    known = before.open.receipts if before.open else {}
    receipts, sent, events, reminders = dict(incident.receipts), dict(memory.sent), incident.events, incident.reminders
    mine = {
        name: outcome for name, outcome in outcomes.items() if name in receipts and receipts[name].run == situation.run
    }
    for name, outcome in mine.items():
        receipt, heard = receipts[name], outcome is Outcome.HEARD
        receipts[name] = replace(receipt, run="", heard=heard, began=receipt.began or heard)
        if outcome is Outcome.NOT_POSTED:
            sent[name] = tuple(one for one in sent.get(name, ()) if one != Sent(receipt.sent, receipt.at))
            receipts.pop(name)
            receipts |= {name: known[name]} if name in known else {}
        events = tuple(event for event in (_noted(one, name, outcome, receipt) for one in events) if event is not None)
    reminded = [name for name in mine if incident.receipts[name].sent is NotificationKind.REMINDER]
    if reminded and all(mine[name] is Outcome.NOT_POSTED for name in reminded):
        reminders -= 1
    after = replace(incident, receipts=receipts, events=events, reminders=reminders)
    return closed(replace(memory.with_open(after), sent=sent), situation)


def _noted(event: Event, channel: str, outcome: Outcome, receipt: Receipt) -> Event | None:
    """Note in an event that one channel heard it, or was not sent it; None where it was sent nobody."""
    if (event.what, event.at) != (receipt.sent, receipt.at) or channel not in event.unanswered:
        return event
    left = tuple(name for name in event.unanswered if name != channel)
    match outcome:
        case Outcome.HEARD:
            return replace(event, unanswered=left, to=tuple(sorted((*event.to, channel))))
        case Outcome.NOT_POSTED:
            return replace(event, unanswered=left) if left or event.to else None
        case Outcome.NOT_KNOWN:
            return event


def closed(memory: DateMemory, situation: Situation) -> DateMemory:
    """Close an incident whose end every channel has heard that has to; nobody waits for one that is no more."""
    incident, now = memory.open, situation.now
    if incident is None or incident.quiet_since is None:
        return memory
    receipts = {name: _receipt(memory, name, situation) for name in situation.addresses if name in incident.receipts}
    waiting = {name for name, one in receipts.items() if one and not _has_ended(memory, name, one, now)}
    lasted = now - incident.quiet_since
    if not incident.expired and lasted < PASSES_WITHIN:
        return memory
    if waiting.difference(situation.refused) and lasted < _ENDS_FOR:
        return memory
    if incident.expired and not incident.receipts:
        return memory  # silenced to its end: everybody has yet to hear of it
    ended = NotificationKind.EXPIRED if incident.expired else NotificationKind.RESOLVED
    return memory.with_open(replace(incident, receipts={}, ended=ended, over_at=incident.quiet_since))


def is_stretch(incident: Incident, channel: str, now: datetime) -> bool:
    """Whether a channel was sent within a week that no source says whether there was work; it may be over since."""
    sent = [event for event in incident.events if channel in (*event.to, *event.unanswered)]
    return incident.kind is VerdictKind.UNKNOWN and any(now - event.at < _ONE_STRETCH for event in sent)
