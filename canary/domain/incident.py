"""The life of an incident: what is wrong with a date, and what each channel is sent of it.

Everything here is a function of what is remembered of one date, its verdict and the time. `follow`
takes a verdict in, `expire` a date that nobody looks at any more, `due` says what a channel has to
be sent, `sending` notes that before it is sent, and `answered` what came of it.
canary/notify/incidents.py stores the result of each in that order.

    event                    never notified    notified, open  acknowledged       silenced
    a problem                OPENED            -               -                  kept to its end
    worse than was heard     OPENED            CHANGED         CHANGED            kept to its end
    UNKNOWN                  OPENED (twice)    nothing         nothing            nothing
    goes on                  -                 REMINDER        none for 24 hours  none
    quiet twice              nothing           RESOLVED        RESOLVED           RESOLVED
    not looked at any more   nothing           EXPIRED         EXPIRED            EXPIRED at its end

tests/canary/test_incidents.py has a test for each cell. A message whose answer is not known may
have been heard: it counts, it is sent again, and every channel that may have heard of the beginning
hears of the end.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import believed
from canary.domain.silence import LONGEST, Acknowledgement
from canary.domain.stages import CauseKind
from canary.domain.verdict import Level, Verdict, VerdictKind, badness, level
from orchestrator_resilience.phase import Phase

REMIND_EVERY = timedelta(hours=4)
# A channel whose address is refused is tried so often, in case that it is taken again.
REFUSED_AGAIN_AFTER = timedelta(hours=4)
# A WARNING can wait for the day: in the hour of the deadline, when somebody is at work.
WARN_EVERY = timedelta(hours=12)
# A run ends within 95 seconds: a message without an answer that is older is of a run that died.
RUN_IS_OVER_AFTER = timedelta(minutes=4)
# What one run saw may be a passing fault; the next run is 15 minutes later. (Counted in time rather
# than in runs, because the scheduler may start a run twice, and repeats one that could not tell
# within a minute or so.)
PASSES_WITHIN = timedelta(minutes=10)
# What has come back within a day has to be quiet for longer.
QUIET_AFTER_RETURN = timedelta(hours=8)
ACKNOWLEDGED_FOR = timedelta(hours=24)
RUN_EVERY = timedelta(minutes=15)
MOST_INCIDENTS, MOST_EVENTS = 4, 12
_NOTED_CAUSES = 3

_A_DAY = timedelta(days=1)
# An end that a channel does not take is tried for so long.
_ENDS_FOR = timedelta(days=7)
# The messages of 24 hours, ends not counted, up to which each kind is sent: what is worse than all
# before goes last.
_REMINDERS_UP_TO, _CHANGES_UP_TO, _MESSAGES_A_DAY = 6, 7, 8
# Further changes are sent when a reminder would be.
_CHANGES_AT_ONCE = 2
# What gets no answer is sent so often, and then taken for heard: nothing is pending for ever.
_TRIES = 3
# A stretch of days of which no source says whether there was work is one matter for so long.
_ONE_STRETCH = timedelta(days=7)


class NotificationKind(StrEnum):
    """What people are notified of.

    An incident has begun, has got worse, goes on, is over, or is looked at no longer.
    """

    OPENED = "OPENED"
    """A problem is seen for the first time, with all dates of its group; `UNKNOWN`, and output that
    was there before, when the next run sees the same.
    """
    CHANGED = "CHANGED"
    """A verdict or a severity is worse than the channel has heard; after 2 in 24 hours, 4 hours
    after the last message.
    """
    REMINDER = "REMINDER"
    """Every 4 hours; of a `WARNING` in the hour of the deadline, at least 12 hours after the last.
    """
    RESOLVED = "RESOLVED"
    """Two runs in a row found it quiet; what has come back within a day has to be quiet for 8
    hours.
    """
    EXPIRED = "EXPIRED"
    """Its date is looked at no longer (older than `history_dates`, or its phase was removed): **no
    all-clear**.
    """

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self in {NotificationKind.RESOLVED, NotificationKind.EXPIRED}


class PostOutcome(StrEnum):
    """What became of a message: heard, certainly not posted, or nobody knows."""

    HEARD = "HEARD"
    NOT_POSTED = "NOT_POSTED"
    NOT_KNOWN = "NOT_KNOWN"


class Sent(msgspec.Struct, frozen=True):
    """One message to one channel, at `at` (UTC)."""

    kind: NotificationKind
    at: datetime


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one channel was sent of an open incident.

    `sent` is the message, sent at `at` (UTC), `heard` whether it was heard. `run` is the run that
    sends it, empty once the answer is noted; `tries` counts how often it was sent without one.
    `began` means that something of the incident was certainly heard, `changed_at` (UTC) is when it
    was last said to be worse. `verdicts` are the problems that the channel may have heard of,
    `level` is the last one's. `address` is the one that it had then.
    """

    address: str = ""
    verdicts: frozenset[VerdictKind]
    level: Level
    sent: NotificationKind
    at: datetime
    run: str = ""
    tries: int = 1
    heard: bool = False
    began: bool = False
    changed_at: datetime | None = None


ACKNOWLEDGED = "ACKNOWLEDGED"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to an incident, for its history; reminders are counted instead.

    `what` is a NotificationKind, or ACKNOWLEDGED, then with `by` and its note as `why`. `to` are
    the channels that heard it, and `unanswered` those of which nobody knows. `verdict`, `causes`
    and `why` are as they were then.
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

    `kind`, `level` and `causes` (those proven so far) are what is wrong now; `unreadable`, that a
    source could not be read as it began. `quiet_since` is when the first of the last verdicts was
    given that are all quiet, `quiet_twice` that there was another one. `silenced`: it was, so that
    it has expired is news to everybody. `returned`: the one before it had ended within a day.
    `expired`: its date is looked at no longer. `ended` and `over_at` are its end. `reminders`
    counts those of each channel.
    """

    kind: VerdictKind
    level: Level
    opened_at: datetime
    causes: frozenset[CauseKind] = frozenset()
    unreadable: bool = False
    quiet_since: datetime | None = None
    quiet_twice: bool = False
    silenced: bool = False
    returned: bool = False
    expired: bool = False
    reminders: Mapping[str, int] = msgspec.field(default_factory=dict)
    reminded_at: datetime | None = None
    ended: NotificationKind | None = None
    over_at: datetime | None = None
    events: tuple[Event, ...] = ()
    receipts: Mapping[str, Receipt] = msgspec.field(default_factory=dict)


class DateMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one date: its last verdict, what was first seen there, its incidents.

    `since` (UTC) is since when the last verdict has been the same. `complete_at`, `flag_at` and
    `output_at` (UTC) are when this canary first saw the set complete, the flag set, and output;
    `away_since` is since when there is none, although there was. `forgotten` counts incidents over
    the cap of four. `sent` are the messages of the last 24 hours, by channel: a new incident does
    not start that limit anew.
    """

    verdict: VerdictKind | None = None
    since: datetime | None = None
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
        """Return the same with this incident as the open one; with None, nothing is open."""
        closed = self.incidents[:-1] if self.open else self.incidents
        incidents = closed if incident is None else (*closed, incident)
        more = max(0, len(incidents) - MOST_INCIDENTS)
        return replace(self, incidents=incidents[more:], forgotten=self.forgotten + more)

    def within_a_day(self, channel: str, now: datetime, *kinds: NotificationKind) -> int:
        """Count a channel's messages of the last 24 hours.

        It counts those of `kinds`; without any, all that are no end.
        """
        messages = (message for message in self.sent.get(channel, ()) if now - message.at < _A_DAY)
        return sum(
            message.kind in kinds if kinds else not message.kind.is_end for message in messages
        )


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What one run at `now` (aware) goes by for one date; `run` is its id.

    `phase` is None where it was removed. `addresses` are those of the channels by name, `down` are
    the channels that are not tried now. `silenced` and `acknowledgements` are what people said of
    the date; `gone` means that nobody looks at it any more. `group_at` is when each channel was
    last sent something of the date's group, `stretch` are the channels that know of a stretch of
    days without an answer.
    """

    now: datetime
    run: str
    addresses: Mapping[str, str]
    down: Collection[str] = ()
    phase: Phase | None = None
    silenced: bool = False
    acknowledgements: tuple[Acknowledgement, ...] = ()
    gone: bool = False
    group_at: Mapping[str, datetime] = {}
    stretch: Collection[str] = ()


def group_of(verdict: Verdict) -> Hashable:
    """Return what two dates have in common if they have the same problem for the same reason.

    They stopped alike, for the same proven causes.
    """
    if verdict.unreadable:
        return verdict.phase, verdict.reason
    if verdict.kind is VerdictKind.UNKNOWN:
        return verdict.phase, verdict.kind, verdict.work
    why = {
        (cause.kind, cause.until, cause.subjects)
        for cause in verdict.causes
        if cause.kind in verdict.proven
    }
    # What nobody can explain may have several reasons.
    return verdict.phase, verdict.kind, frozenset(why) or verdict.game_date, verdict.missing


def believed_memory(memory: DateMemory, now: datetime) -> DateMemory:
    """Leave out what cannot be: a message of the future was not sent.

    A clock that was up to an hour ahead is no future. Only the open incident is looked at: the
    others are history.
    """
    sent = {
        name: tuple(
            replace(message, at=at) for message in messages if (at := believed(message.at, now))
        )
        for name, messages in memory.sent.items()
    }
    memory, incident = replace(memory, sent=sent), memory.open
    if incident is None:
        return memory
    receipts = {
        name: _believed_receipt(receipt, at, now)
        for name, receipt in incident.receipts.items()
        if (at := believed(receipt.at, now)) is not None
    }
    quiet_since = incident.quiet_since and min(incident.quiet_since, now)
    opened_at = min(incident.opened_at, now)
    return memory.with_open(
        replace(incident, receipts=receipts, quiet_since=quiet_since, opened_at=opened_at)
    )


def _believed_receipt(receipt: Receipt, at: datetime, now: datetime) -> Receipt:
    """Believe the time of a receipt.

    Nobody knows whether a run whose clock is far ahead still goes on: it is taken for over.
    """
    is_running = receipt.at - now < RUN_IS_OVER_AFTER
    return replace(receipt, at=at, run=receipt.run if is_running else "")


def follow(
    memory: DateMemory, verdict: Verdict, situation: Situation, *, is_complete: bool = False
) -> DateMemory:
    """Take a verdict in, before anybody is notified; `is_complete` says that the set is."""
    now, kind = situation.now, verdict.kind
    memory = _first_seen(believed_memory(memory, now), verdict, now, is_complete=is_complete)
    incident = memory.open
    if incident is not None:
        incident = with_acknowledgements(incident, situation.acknowledgements)
        if incident.expired:  # it is looked at again
            incident = replace(incident, expired=False, quiet_since=None)
        memory = memory.with_open(incident)
    # A rebuilt output is away for a moment: neither quiet nor worse. What is wrong besides is wrong
    # all the same.
    is_passing = memory.away_since is not None and now - memory.away_since < PASSES_WITHIN
    if is_passing and (incident is not None or kind.is_of_the_output):
        return memory
    if incident is None:
        return memory if kind.is_quiet else memory.with_open(_opened(memory, verdict, situation))
    return _gone_on(memory, incident, verdict, situation)


def _gone_on(
    memory: DateMemory, incident: Incident, verdict: Verdict, situation: Situation
) -> DateMemory:
    """Take a verdict into the incident that goes on."""
    now, kind = situation.now, verdict.kind
    if kind.is_quiet:
        # A complete set is not over yet: the incident ends when the flag is set.
        if kind is VerdictKind.SETTLING and incident.kind is not VerdictKind.UNKNOWN:
            return memory.with_open(replace(incident, quiet_since=None, quiet_twice=False))
        if not incident.receipts:
            return memory.with_open(None)  # nobody may have heard of it
        since = incident.quiet_since or now
        return memory.with_open(
            replace(incident, quiet_since=since, quiet_twice=now - since >= PASSES_WITHIN)
        )
    incident = replace(incident, silenced=incident.silenced or situation.silenced)
    if kind is VerdictKind.UNKNOWN:
        return memory.with_open(incident)  # not knowing neither ends a problem nor makes it worse
    if incident.kind is VerdictKind.UNKNOWN and not incident.receipts:
        return memory.with_open(_opened(memory, verdict, situation))
    if any(receipt.sent.is_end for receipt in incident.receipts.values()):
        return _begun_again(memory, incident, verdict, situation)
    causes = verdict.proven | (incident.causes if incident.kind is kind else frozenset())
    return memory.with_open(
        replace(
            incident,
            kind=kind,
            level=level(verdict),
            causes=causes,
            quiet_since=None,
            quiet_twice=False,
        )
    )


def _begun_again(
    memory: DateMemory, incident: Incident, verdict: Verdict, situation: Situation
) -> DateMemory:
    """End an incident whose end was sent to a channel, and begin another.

    A channel that was not sent the end knows of a problem, and keeps its receipt.
    """
    over = _over(incident, incident.quiet_since or situation.now)
    left = {name: receipt for name, receipt in incident.receipts.items() if not receipt.sent.is_end}
    memory = memory.with_open(over)
    return memory.with_open(replace(_opened(memory, verdict, situation), receipts=left))


def _over(incident: Incident, at: datetime) -> Incident:
    has_expired = incident.expired or any(
        r.sent is NotificationKind.EXPIRED for r in incident.receipts.values()
    )
    ended = NotificationKind.EXPIRED if has_expired else NotificationKind.RESOLVED
    return replace(incident, receipts={}, ended=ended, over_at=at)


def expire(memory: DateMemory, situation: Situation) -> DateMemory:
    """Take in that nobody looks at a date any more.

    An incident that was quiet twice ends as it is. One that no channel was sent is forgotten, but
    one that was silenced is not: that it expired is news.
    """
    memory = believed_memory(memory, situation.now)
    incident = memory.open
    if incident is None or incident.expired or incident.quiet_twice:
        return memory
    silenced = incident.silenced or situation.silenced
    if not incident.receipts and not silenced:
        return memory.with_open(None)
    return memory.with_open(
        replace(incident, expired=True, silenced=silenced, quiet_since=situation.now)
    )


def last_seen(memory: DateMemory, ran_at: datetime | None) -> str:
    """Say when a date that is not looked at any more was last seen to be wrong.

    `ran_at` (UTC) is when the canary ran before.
    """
    incident = memory.open
    if incident is None or ran_at is None:
        return ""
    until = min(ran_at, incident.quiet_since or ran_at)
    if memory.verdict is not incident.kind and memory.since is not None:
        before = f"{memory.since:%Y-%m-%d %H:%M}Z"
        return f"; last seen {incident.kind} before {before}, {memory.verdict} since then"
    return f"; last seen {incident.kind} at {until:%Y-%m-%d %H:%M}Z"


def _first_seen(
    memory: DateMemory, verdict: Verdict, now: datetime, *, is_complete: bool
) -> DateMemory:
    has_output = bool(verdict.output)
    is_away = memory.output_at is not None and verdict.output == 0 and verdict.kind.is_problem
    return replace(
        memory,
        verdict=verdict.kind,
        since=memory.since if memory.verdict is verdict.kind else now,
        complete_at=memory.complete_at or (now if is_complete else None),
        flag_at=memory.flag_at or (now if verdict.triggered else None),
        output_at=memory.output_at or (now if has_output else None),
        away_since=(memory.away_since or now) if is_away else None,
    )


def _opened(memory: DateMemory, verdict: Verdict, situation: Situation) -> Incident:
    closed = [incident for incident in memory.incidents if incident.over_at]
    returned = (
        bool(closed)
        and closed[-1].over_at is not None
        and situation.now - closed[-1].over_at < _A_DAY
    )
    return Incident(
        kind=verdict.kind,
        level=level(verdict),
        causes=verdict.proven,
        opened_at=situation.now,
        unreadable=verdict.unreadable,
        returned=returned,
        silenced=situation.silenced,
    )


def with_acknowledgements(
    incident: Incident, acknowledgements: Iterable[Acknowledgement]
) -> Incident:
    """Note the acknowledgements that are later than those noted: the cap may have dropped some."""
    noted = max((event.at for event in incident.events if event.what == ACKNOWLEDGED), default=None)
    events = [
        Event(what=ACKNOWLEDGED, at=ack.at, by=ack.by, why=ack.note)
        for ack in acknowledgements
        if ack.opened_at == incident.opened_at and (noted is None or ack.at > noted)
    ]
    return replace(incident, events=_capped((*incident.events, *events))) if events else incident


def _capped(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Keep the first and the last ones."""
    return events if len(events) <= MOST_EVENTS else (events[0], *events[1 - MOST_EVENTS :])


# What is due


def held(memory: DateMemory, channel: str, situation: Situation) -> bool:
    """Whether another run is sending something to the channel at this moment."""
    receipt = _receipt(memory, channel, situation)
    is_running = receipt is not None and abs(situation.now - receipt.at) < RUN_IS_OVER_AFTER
    return is_running and receipt is not None and receipt.run not in {"", situation.run}


def is_unheard(memory: DateMemory, verdict: Verdict, situation: Situation) -> bool:
    """Whether there is a problem that a channel has to hear of, and none is known to have."""
    incident = memory.open
    if incident is None or situation.silenced or situation.gone or verdict.kind.is_quiet:
        return False
    receipts = [_receipt(memory, name, situation) for name in situation.addresses]
    if any(receipt and receipt.began and not receipt.sent.is_end for receipt in receipts):
        return False
    return any(_begins(incident, name, verdict, situation) for name in situation.addresses)


def _receipt(memory: DateMemory, channel: str, situation: Situation) -> Receipt | None:
    """Return what was sent to the channel at the address that it has now."""
    receipt = memory.open.receipts.get(channel) if memory.open else None
    return receipt if receipt and receipt.address == situation.addresses[channel] else None


def due(
    memory: DateMemory, channel: str, verdict: Verdict, situation: Situation
) -> NotificationKind | None:
    """Return what the channel has to be sent now of the date, if anything."""
    incident = memory.open
    if incident is None or channel in situation.down or held(memory, channel, situation):
        return None
    if incident.quiet_since is not None:
        is_seen = verdict.kind.is_quiet or situation.gone  # not knowing is not quiet
        return _due_at_the_end(memory, incident, channel, situation) if is_seen else None
    if situation.silenced or verdict.kind.is_quiet:
        return None
    kind, up_to = _due_while_it_lasts(memory, incident, channel, verdict, situation)
    return kind if memory.within_a_day(channel, situation.now) < up_to else None


def _due_while_it_lasts(
    memory: DateMemory, incident: Incident, channel: str, verdict: Verdict, situation: Situation
) -> tuple[NotificationKind | None, int]:
    """Return what is due, and up to how many messages of the last 24 hours it is sent."""
    receipt, now = _receipt(memory, channel, situation), situation.now
    if receipt is None or receipt.sent.is_end:
        begins = _begins(incident, channel, verdict, situation)
        return (NotificationKind.OPENED if begins else None), _MESSAGES_A_DAY
    if (
        not receipt.heard
        and receipt.sent is not NotificationKind.REMINDER
        and receipt.tries < _TRIES
    ):
        return receipt.sent, _MESSAGES_A_DAY
    if verdict.kind.is_problem and _is_worse(incident, receipt):
        changed = memory.within_a_day(channel, now, NotificationKind.CHANGED)
        at_once = changed < _CHANGES_AT_ONCE or now - receipt.at >= REMIND_EVERY
        up_to = (
            _MESSAGES_A_DAY if badness(incident.level) > badness(receipt.level) else _CHANGES_UP_TO
        )
        return (NotificationKind.CHANGED if at_once else None), up_to
    is_due = _reminder_is_due(incident, receipt, channel, verdict, situation)
    return (NotificationKind.REMINDER if is_due else None), _REMINDERS_UP_TO


def _due_at_the_end(
    memory: DateMemory, incident: Incident, channel: str, situation: Situation
) -> NotificationKind | None:
    receipt, now = _receipt(memory, channel, situation), situation.now
    assert incident.quiet_since is not None
    if not _has_to_hear_the_end(incident, receipt):
        return None
    if incident.expired:
        return None if situation.silenced else NotificationKind.EXPIRED
    wait = QUIET_AFTER_RETURN if incident.returned else PASSES_WITHIN
    return (
        NotificationKind.RESOLVED
        if incident.quiet_twice and now - incident.quiet_since >= wait
        else None
    )


def _has_to_hear_the_end(incident: Incident, receipt: Receipt | None) -> bool:
    """Whether a channel may have heard of the beginning and not of the end.

    Every channel hears that a silenced incident has expired.
    """
    if receipt is None:
        return incident.expired and incident.silenced
    return not receipt.sent.is_end or not (
        receipt.heard or (not receipt.run and receipt.tries >= _TRIES)
    )


def _begins(incident: Incident, channel: str, verdict: Verdict, situation: Situation) -> bool:
    """Whether a problem that the channel does not know of is one by now.

    UNKNOWN is one when it lasts.
    """
    if verdict.kind is not VerdictKind.UNKNOWN:
        return True
    if not verdict.unreadable and channel in situation.stretch:
        return False
    return situation.now - incident.opened_at >= PASSES_WITHIN


def _is_worse(incident: Incident, receipt: Receipt) -> bool:
    """Whether the problem is new to the channel, or does more harm than the channel has heard."""
    is_other = incident.kind.is_problem and incident.kind not in receipt.verdicts
    return is_other or badness(incident.level) > badness(receipt.level)


def _reminder_is_due(
    incident: Incident, receipt: Receipt, channel: str, verdict: Verdict, situation: Situation
) -> bool:
    # Where nothing is broken, that no source knows of any work needs no reminder.
    goes_on = verdict.kind.is_problem or (
        incident.kind is VerdictKind.UNKNOWN and verdict.unreadable
    )
    if not goes_on or acknowledged(incident, channel, situation) is not None:
        return False
    if incident.level is not Level.WARNING or situation.phase is None:
        return situation.now - situation.group_at.get(channel, receipt.at) >= REMIND_EVERY
    zone, deadline = ZoneInfo(situation.phase.timezone), situation.phase.deadline(verdict.game_date)
    is_the_hour = situation.now.astimezone(zone).hour == deadline.astimezone(zone).hour
    return is_the_hour and situation.now - receipt.at >= WARN_EVERY


def acknowledged(incident: Incident, channel: str, situation: Situation) -> Acknowledgement | None:
    """Return the acknowledgement that holds reminders back.

    It is of this incident, which has become no worse since, and holds for 24 hours.
    """
    receipt = incident.receipts.get(channel)
    changed_at = receipt.changed_at if receipt else None
    fits = [
        ack
        for ack in situation.acknowledgements
        if ack.opened_at == incident.opened_at
        and badness(incident.level) <= badness(ack.level)
        and situation.now - ack.at < ACKNOWLEDGED_FOR
        and (changed_at is None or changed_at <= ack.at)
    ]
    return fits[-1] if fits else None


# What is sent, and what came of it


def sending(
    memory: DateMemory,
    kinds: Mapping[str, NotificationKind],
    verdict: Verdict,
    why: str,
    situation: Situation,
) -> DateMemory:
    """Note what is about to be sent, by channel; `why` is the path in words, for the history."""
    incident, now = memory.open, situation.now
    assert incident is not None
    receipts, sent, events = dict(incident.receipts), dict(memory.sent), list(incident.events)
    for channel, kind in kinds.items():
        before = _receipt(memory, channel, situation)
        goes_on = (
            before is not None and not before.sent.is_end and kind is not NotificationKind.OPENED
        )
        receipts[channel] = Receipt(
            address=situation.addresses[channel],
            verdicts=(before.verdicts if before and goes_on else frozenset()) | {incident.kind},
            level=incident.level,
            sent=kind,
            at=now,
            run=situation.run,
            tries=before.tries + 1 if before and before.sent is kind and not before.heard else 1,
            began=before is not None and before.began,
            changed_at=now
            if kind is NotificationKind.CHANGED
            else before.changed_at
            if before and goes_on
            else None,
        )
        recent = [message for message in sent.get(channel, ()) if now - message.at < _A_DAY]
        sent[channel] = (*recent, Sent(kind, now))
    for kind in sorted({*kinds.values()} - {NotificationKind.REMINDER}):
        to = tuple(sorted(channel for channel, sent_kind in kinds.items() if sent_kind is kind))
        causes = tuple(sorted(verdict.proven))[:_NOTED_CAUSES]
        event = Event(
            what=kind, at=now, unanswered=to, verdict=incident.kind, causes=causes, why=why
        )
        events.append(event)
    reminded = [channel for channel, kind in kinds.items() if kind is NotificationKind.REMINDER]
    counted = {channel: incident.reminders.get(channel, 0) + 1 for channel in reminded}
    after = replace(
        incident,
        receipts=receipts,
        events=_capped(tuple(events)),
        reminders={**incident.reminders, **counted},
        reminded_at=now if reminded else incident.reminded_at,
    )
    return replace(memory.with_open(after), sent=sent)


def answered(
    memory: DateMemory,
    outcomes: Mapping[str, PostOutcome],
    before: DateMemory,
    situation: Situation,
) -> DateMemory:
    """Note what came of the messages of this run, by channel.

    `before` is what was remembered before they were sent. What was certainly not posted is taken
    back. An incident ends once no channel is left that has to hear of its end.
    """
    incident = memory.open
    if incident is None:
        return memory
    previous = before.open or Incident(
        kind=incident.kind, level=incident.level, opened_at=incident.opened_at
    )
    receipts, sent, events = dict(incident.receipts), dict(memory.sent), incident.events
    reminders = dict(incident.reminders)
    mine = {
        name: outcome
        for name, outcome in outcomes.items()
        if name in receipts and receipts[name].run == situation.run
    }
    for name, outcome in mine.items():
        receipt, heard = receipts[name], outcome is PostOutcome.HEARD
        receipts[name] = replace(receipt, run="", heard=heard, began=receipt.began or heard)
        if outcome is PostOutcome.NOT_POSTED:
            sent[name] = tuple(
                message
                for message in sent.get(name, ())
                if message != Sent(receipt.sent, receipt.at)
            )
            receipts.pop(name)
            receipts |= {name: previous.receipts[name]} if name in previous.receipts else {}
            if receipt.sent is NotificationKind.REMINDER:
                reminders[name] -= 1
        events = tuple(
            event
            for event in (_noted(event, name, outcome, receipt) for event in events)
            if event is not None
        )
    reminded_at = incident.reminded_at if reminders != previous.reminders else previous.reminded_at
    after = replace(
        incident, receipts=receipts, events=events, reminders=reminders, reminded_at=reminded_at
    )
    return closed(replace(memory.with_open(after), sent=sent), situation)


def _noted(event: Event, channel: str, outcome: PostOutcome, receipt: Receipt) -> Event | None:
    """Note in an event that one channel heard it, or was not sent it.

    None where no channel was sent it.
    """
    if (event.what, event.at) != (receipt.sent, receipt.at) or channel not in event.unanswered:
        return event
    left = tuple(name for name in event.unanswered if name != channel)
    match outcome:
        case PostOutcome.HEARD:
            return replace(event, unanswered=left, to=tuple(sorted((*event.to, channel))))
        case PostOutcome.NOT_POSTED:
            return replace(event, unanswered=left) if left or event.to else None
        case PostOutcome.NOT_KNOWN:
            return event


def closed(memory: DateMemory, situation: Situation) -> DateMemory:
    """Close an incident whose end every channel has heard that has to.

    A channel that is no longer configured is not waited for.
    """
    incident, now = memory.open, situation.now
    if (
        incident is None
        or incident.quiet_since is None
        or not (incident.expired or incident.quiet_twice)
    ):
        return memory
    receipts = [_receipt(memory, name, situation) for name in situation.addresses]
    is_waited_for = any(_has_to_hear_the_end(incident, receipt) for receipt in receipts)
    longest = _ENDS_FOR + (LONGEST if incident.silenced else timedelta())
    if is_waited_for and now - incident.quiet_since < longest:
        return memory
    return memory.with_open(_over(incident, incident.quiet_since))


def is_stretch(incident: Incident, channel: str, now: datetime) -> bool:
    """Whether a channel heard within a week that no source says whether there was work.

    The stretch may be over since.
    """
    sent = [event for event in incident.events if channel in (*event.to, *event.unanswered)]
    is_undecided = incident.kind is VerdictKind.UNKNOWN and not incident.unreadable
    return is_undecided and any(now - event.at < _ONE_STRETCH for event in sent)
