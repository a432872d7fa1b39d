"""One run over the dates of a phase.

It finds what is remembered afterwards, and what each channel has to be sent.
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import CLOCKS_DIFFER
from canary.domain.incident import (
    RUN_EVERY,
    DateMemory,
    NotificationKind,
    Situation,
    closed,
    due,
    expire,
    follow,
    group_of,
    held,
    is_stretch,
    is_unheard,
    last_seen,
    sending,
)
from canary.domain.path.text import path_text
from canary.domain.silence import People
from canary.domain.verdict import Verdict, VerdictKind
from orchestrator_resilience.plain import one_line

_PATH_CHARACTERS = 200


class Judged(msgspec.Struct, frozen=True):
    """What a run has judged: the verdicts, and the dates whose set is complete.

    `everything`: it looked at all that it follows, so that what is missing is looked at no longer.
    `left_out` are the dates that nobody judged while the canary was away, in words for people;
    empty where there are none.
    """

    verdicts: Sequence[Verdict]
    complete: frozenset[tuple[str, date]] = frozenset()
    everything: bool = True
    left_out: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a run makes of one phase.

    `known` is what was remembered, `followed` the same with the verdicts, and `after` with what
    will be sent. `due` are the messages by date and channel. Each date of `followed` has a verdict
    and a situation, also one that nobody looks at any more.
    """

    known: Mapping[date, DateMemory]
    followed: Mapping[date, DateMemory]
    after: Mapping[date, DateMemory]
    due: Mapping[date, Mapping[str, NotificationKind]]
    verdicts: Mapping[date, Verdict]
    situations: Mapping[date, Situation]

    @property
    def changes(self) -> dict[date, DateMemory]:
        """What has to be written."""
        return {day: memory for day, memory in self.after.items() if memory != self.known[day]}

    def is_unheard(self, day: date, memory: DateMemory) -> bool:
        """Whether there is a problem that nobody is known to have heard of.

        `memory` is what is remembered of the date now.
        """
        return is_unheard(memory, self.verdicts[day], self.situations[day])

    def is_held(self, day: date, memory: DateMemory) -> bool:
        """Whether another run that has not died is sending something of the date at this moment."""
        situation = self.situations[day]
        return any(held(memory, name, situation) for name in situation.addresses)


def advance(
    phase: str,
    remembered: Mapping[date, DateMemory],
    judged: Judged,
    situation: Situation,
    people: People,
    *,
    ran_at: datetime | None,
) -> Plan:
    """Take the verdicts of a phase into what is `remembered` of it.

    `ran_at` is when the canary ran before.
    """
    verdicts = {verdict.game_date: verdict for verdict in judged.verdicts if verdict.phase == phase}
    memories = {**dict.fromkeys(verdicts, DateMemory()), **remembered}
    gone = [
        day
        for day, memory in memories.items()
        if memory.open and day not in verdicts and judged.everything
    ]
    situations = {
        day: _of(phase, day, situation, people, gone=day in gone) for day in (*verdicts, *gone)
    }
    followed = {
        day: follow(
            memories[day], verdict, situations[day], is_complete=(phase, day) in judged.complete
        )
        for day, verdict in verdicts.items()
    }
    followed |= {day: expire(memories[day], situations[day]) for day in gone}
    verdicts |= {
        day: _no_longer_watched(phase, day, followed[day], situations[day], ran_at) for day in gone
    }
    groups = _last_sent(followed, verdicts)
    all_memories = {**memories, **followed}
    stretch = [
        name for name in situation.addresses if _knows_a_stretch(all_memories, name, situation.now)
    ]
    situations = {
        day: replace(
            date_situation, group_at=groups.get(group_of(verdicts[day]), {}), stretch=stretch
        )
        for day, date_situation in situations.items()
    }
    messages = _messages(followed, verdicts, situations)
    after = {}
    for day, memory in sorted(followed.items()):
        if day in messages:
            why = one_line(path_text(verdicts[day]) or verdicts[day].summary, _PATH_CHARACTERS)
            after[day] = sending(memory, messages[day], verdicts[day], why, situations[day])
        else:
            after[day] = closed(memory, situations[day])
    return Plan(memories, followed, after, messages, verdicts, situations)


def _messages(
    followed: Mapping[date, DateMemory],
    verdicts: Mapping[date, Verdict],
    situations: Mapping[date, Situation],
) -> dict[date, dict[str, NotificationKind]]:
    """Return what is due, by date and channel.

    A message that opens an incident lists all dates of its group, which need no reminders then.
    """
    messages: dict[date, dict[str, NotificationKind]] = {}
    for day, memory in sorted(followed.items()):
        situation = situations[day]
        kinds = {
            name: kind
            for name in situation.addresses
            if (kind := due(memory, name, verdicts[day], situation))
        }
        messages |= {day: kinds} if kinds else {}
    opening = {
        (group_of(verdicts[day]), name)
        for day, kinds in messages.items()
        for name, kind in kinds.items()
        if kind is NotificationKind.OPENED
    }
    left = {
        day: {
            name: kind
            for name, kind in kinds.items()
            if kind is not NotificationKind.REMINDER
            or (group_of(verdicts[day]), name) not in opening
        }
        for day, kinds in messages.items()
    }
    return {day: kinds for day, kinds in left.items() if kinds}


def unsettled(plan: Plan) -> date | None:
    """Return the oldest date with nothing wrong that is not over, and has to be judged again.

    None without one. A date with an incident is followed for that anyway.
    """
    return min((day for day in plan.verdicts if _may_change(plan, day)), default=None)


def _may_change(plan: Plan, day: date) -> bool:
    verdict, situation = plan.verdicts[day], plan.situations[day]
    phase, now = situation.phase, situation.now
    if plan.after[day].open is not None or situation.gone or verdict.kind is VerdictKind.IDLE:
        return False
    if verdict.kind is not VerdictKind.TRIGGERED:
        return True
    is_due = (
        phase is None
        or verdict.since is None
        or now >= verdict.since + phase.downstream_after + RUN_EVERY
    )
    return verdict.output == 0 and not is_due


def oldest_open(dates: Mapping[date, DateMemory]) -> str:
    """Return the oldest month in which something is open, such as 2026-02; empty without any."""
    return min((f"{day:%Y-%m}" for day, memory in dates.items() if memory.open), default="")


def _of(phase: str, day: date, situation: Situation, people: People, *, gone: bool) -> Situation:
    """Return what holds for one date, with what people said of it."""
    return replace(
        situation,
        silenced=any(silence.is_of(phase, day, situation.now) for silence in people.silences),
        acknowledgements=tuple(
            ack
            for ack in people.acknowledgements
            if (ack.phase, ack.game_date) == (phase, day)
            and ack.at - situation.now <= CLOCKS_DIFFER
        ),
        gone=gone,
    )


def _last_sent(
    followed: Mapping[date, DateMemory], verdicts: Mapping[date, Verdict]
) -> dict[Hashable, dict[str, datetime]]:
    """Return when each channel was last sent something of each group of dates."""
    groups: dict[Hashable, dict[str, datetime]] = {}
    for day, memory in followed.items():
        for name, receipt in (memory.open.receipts if memory.open else {}).items():
            last = groups.setdefault(group_of(verdicts[day]), {})
            last[name] = max(receipt.at, last.get(name, receipt.at))
    return groups


def _knows_a_stretch(dates: Mapping[date, DateMemory], channel: str, now: datetime) -> bool:
    return any(
        is_stretch(incident, channel, now)
        for memory in dates.values()
        for incident in memory.incidents
    )


def _no_longer_watched(
    phase: str, day: date, memory: DateMemory, situation: Situation, ran_at: datetime | None
) -> Verdict:
    """Return the verdict of a date that no run looks at any more: as it was seen last."""
    is_configured = situation.phase is not None
    why = (
        "it is older than the dates that are read"
        if is_configured
        else f"{phase} is not in the phases file any more"
    )
    summary = f"no longer watched: {why}{last_seen(memory, ran_at)}"
    return Verdict(kind=VerdictKind.UNKNOWN, phase=phase, game_date=day, summary=summary)
