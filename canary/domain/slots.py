"""Notifying where nothing can be remembered: once in each SLOT of a problem's own age.

With runs 15 minutes apart one run of each slot sends. What this very process knows from its runs
before counts all the same.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from canary.domain.incident import PASSES_WITHIN, RUN_EVERY, NotificationKind
from canary.domain.verdict import Level, Verdict, VerdictKind, badness, level
from orchestrator_resilience.phase import Phase

# One run in so long sends.
SLOT = timedelta(hours=4)


@dataclass
class OwnMemory:
    """What a process itself remembers between its runs, for when the documents cannot be used.

    `told` is when it last sent a channel something of a date, and how bad that was. `first_seen` is
    when it first saw each date that was not quiet in its last run, None where it had not run just
    before; `ran_at` is when that run was. `warned_of` are the refused channels of which it has
    warned.
    """

    told: dict[tuple[str, str, date], tuple[datetime, Level]] = field(default_factory=dict)
    first_seen: dict[tuple[str, date], datetime | None] = field(default_factory=dict)
    ran_at: datetime | None = None
    warned_of: set[str] = field(default_factory=set)

    def saw_before(self, now: datetime) -> bool:
        """Whether it saw how things were a run before."""
        return self.ran_at is not None and now - self.ran_at < RUN_EVERY * 1.5

    def seen_since(self, phase: str, day: date, now: datetime) -> datetime | None:
        """Return when it first saw that a date is not quiet.

        What is new to it is seen since `now` if it also saw how things were a run before, else
        since nobody knows when (None).
        """
        return self.first_seen.get((phase, day), now if self.saw_before(now) else None)

    def end_of_run(self, loud: list[tuple[str, date]], now: datetime) -> None:
        """Keep what a run has seen: the dates that were not quiet."""
        self.first_seen = {key: self.seen_since(*key, now) for key in loud}
        recent = {key: message for key, message in self.told.items() if now - message[0] < SLOT}
        self.told = {
            key: message for key, message in self.told.items() if key[1:] in self.first_seen
        } | recent
        self.ran_at = now


def due_without_memory(
    verdict: Verdict,
    channel: str,
    phase: Phase,
    now: datetime,
    memory: OwnMemory,
    *,
    said: NotificationKind | None,
) -> NotificationKind | None:
    """Return what a channel has to be sent of a date.

    `said` is what memory says is due, while it can be read and not written; None where it cannot be
    read either.
    """
    key = (phase.name, verdict.game_date)
    message, first = memory.told.get((channel, *key)), memory.seen_since(*key, now)
    if message is not None:
        last, how_bad = message
        if verdict.kind.is_problem and badness(level(verdict)) > badness(how_bad):
            return NotificationKind.CHANGED
        is_due = _minute(now) - _minute(last) >= SLOT
    else:
        is_due = (said is not None and memory.saw_before(now)) or slot_is_due(
            verdict, phase, now, first
        )
    if not is_due:
        return None
    if said not in {None, NotificationKind.OPENED}:
        return said
    is_old = verdict.since is not None and now - became_a_problem_at(verdict, phase) >= SLOT
    return (
        NotificationKind.REMINDER
        if message is not None or (first is None and is_old)
        else NotificationKind.OPENED
    )


def slot_is_due(verdict: Verdict, phase: Phase, now: datetime, first: datetime | None) -> bool:
    """Whether a problem of which this process has sent nothing is sent now.

    It is when its age enters a SLOT: with runs 15 minutes apart, one run of each
    slot sends. `first` is when this process saw it first, None where it had not run just before.
    What is new to it is sent at once, UNKNOWN only when it lasts.
    """
    if first is not None:
        return verdict.kind.is_problem or now - first >= PASSES_WITHIN
    return (_minute(now) - became_a_problem_at(verdict, phase)) % SLOT < RUN_EVERY


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
