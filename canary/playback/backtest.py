"""What a canary would have sent, had it run every 15 minutes over dates of the past.

Each run is that of the scheduler, with the real judgement and the real memory, and sees what was
there at its time (canary/playback/snapshot.py). Where nobody can know what was there, the date is
judged as of today, and the backtest says so.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import without_a_time
from canary.domain.evidence import Absent, Evidence, Logged, Seen, Unreadable, mapped, value_or
from canary.domain.incident import NotificationKind
from canary.domain.path.text import cause_text, path_text
from canary.domain.verdict import Level, Verdict, VerdictKind, badness, level
from canary.notify.channel import Channels, Notification, Warned
from canary.playback.schedule import ticks
from canary.playback.snapshot import Snapshot
from canary.run import watch
from canary.sources import gather
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.progress import Progress
from orchestrator_resilience.stores.base import Lines, Stores
from orchestrator_resilience.testing import SimulatedClock

_A_DAY = timedelta(days=1)
# A row, its registration and the flag are written within this time; what is further apart was
# written at another time.
_TOGETHER = timedelta(minutes=5)
_TIMELESS, _NOT_READABLE = "no time says when it came", "not readable"
_WRITTEN_AGAIN = "it may have been written, undone and written again"
PhaseDate = tuple[str, date]


class BacktestSpan(NamedTuple):
    """Which game `dates` of each phase are looked at, and the time in which the canary runs."""

    dates: Mapping[str, Sequence[date]]
    begin: datetime
    end: datetime


def span_of(
    phases: Mapping[str, Phase], days: int, now: datetime, until: date | None = None
) -> BacktestSpan:
    """Return the last `days` dates up to `until`, by default today, and the time of their runs.

    The runs end when no canary would look at these dates any more.
    """
    dates = {
        name: _last(days, min(until or phase.today(now), phase.today(now)))
        for name, phase in phases.items()
    }
    begin = min(_begin(phase, dates[name][0]) for name, phase in phases.items())
    end = max(
        phase.begins(dates[name][-1] + (phase.history_dates + 1) * _A_DAY)
        for name, phase in phases.items()
    )
    return BacktestSpan(dates, begin, min(end, now))


def _last(days: int, until: date) -> list[date]:
    return [until - number * _A_DAY for number in reversed(range(days))]


class SentMessage(msgspec.Struct, frozen=True):
    """A message that would have been sent of an incident: when (UTC), of which kind, and what.

    `causes` are the proven causes, in short.
    """

    at: datetime
    kind: NotificationKind
    verdict: VerdictKind
    level: Level
    causes: tuple[str, ...] = ()


class PlayedIncident(msgspec.Struct, frozen=True):
    """What would have been sent of an incident, in order.

    `since` (UTC) is when the problem began, None where that is not known. `path` and `causes` are
    those of the last message while it was open.
    """

    phase: str
    game_date: date
    messages: tuple[SentMessage, ...]
    since: datetime | None = None
    path: str = ""
    causes: tuple[str, ...] = ()

    @property
    def opened_at(self) -> datetime:
        """When people would have been notified."""
        return self.messages[0].at

    @property
    def end(self) -> SentMessage | None:
        """The message that it is over; None where it is not."""
        return self.messages[-1] if self.messages[-1].kind.is_end else None

    @property
    def problems(self) -> tuple[SentMessage, ...]:
        """The messages up to the end."""
        return self.messages if self.end is None else self.messages[:-1] or self.messages

    @property
    def verdict(self) -> VerdictKind:
        """The last verdict."""
        return self.problems[-1].verdict

    @property
    def level(self) -> Level:
        """How bad it was, at worst."""
        return max((message.level for message in self.problems), key=badness)

    @property
    def causes_in_short(self) -> tuple[str, ...]:
        """The causes that were proven last."""
        return self.problems[-1].causes

    def count(self, kind: NotificationKind) -> int:
        """Count the messages of a kind."""
        return sum(message.kind is kind for message in self.messages)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        end = self.end
        of_all = {"opened_at": self.opened_at, "level": self.level, "verdict": self.verdict}
        over = {"over_at": end and end.at, "ended": end and end.kind}
        fields: dict[str, Any] = msgspec.to_builtins(
            {**msgspec.structs.asdict(self), **of_all, **over}
        )
        return fields


class PlayedDate(msgspec.Struct, frozen=True):
    """What would have been sent of one date.

    `as_of_today` are the reasons why it cannot be known what was there then; empty where it can.
    """

    phase: str
    game_date: date
    incidents: tuple[PlayedIncident, ...] = ()
    as_of_today: tuple[str, ...] = ()


class Backtest(msgspec.Struct, frozen=True):
    """What a canary would have sent in `runs` runs from `begin` to `end` (UTC).

    `failures` are by source why it cannot be read today. `messages` counts those of one channel,
    each about one fault on one or several dates.
    """

    begin: datetime
    end: datetime
    runs: int
    dates: tuple[PlayedDate, ...]
    messages: int = 0
    failures: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def notified(self) -> list[PlayedDate]:
        """The dates of which somebody would have been notified."""
        return [played_date for played_date in self.dates if played_date.incidents]

    @property
    def as_of_today(self) -> dict[str, int]:
        """How many dates are judged as of today, by the reason.

        Reasons that differ only after their first colon are counted together.
        """
        dates: dict[str, list[str]] = defaultdict(list)
        for played_date in self.dates:
            for what, reason in {
                why.partition(":")[0]: why for why in played_date.as_of_today
            }.items():
                dates[what].append(reason)
        return {
            reasons[0] if len({*reasons}) == 1 else what: len(reasons)
            for what, reasons in dates.items()
        }

    @property
    def incidents(self) -> list[PlayedIncident]:
        """All incidents, by phase and date."""
        return [incident for played_date in self.dates for incident in played_date.incidents]

    @property
    def minutes_to_notify(self) -> float | None:
        """How long after a problem began people would have been notified: the median."""
        return _median(
            incident.opened_at - incident.since
            for incident in self.incidents
            if incident.since is not None
        )

    @property
    def minutes_to_recover(self) -> float | None:
        """How long an incident went on: the median of those that are over."""
        return _median(
            incident.end.at - incident.opened_at
            for incident in self.incidents
            if incident.end is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the sums, and each date with its incidents."""
        sums = {
            "begin": self.begin.isoformat(),
            "end": self.end.isoformat(),
            "runs": self.runs,
            "healthy": len(self.dates) - len(self.notified),
            "notified": len(self.notified),
            "as_of_today": sum(bool(played_date.as_of_today) for played_date in self.dates),
            "messages": self.messages,
            "minutes_to_notify": self.minutes_to_notify,
            "minutes_to_recover": self.minutes_to_recover,
            "not_readable": dict(self.failures),
        }
        dates = [
            {
                "phase": played_date.phase,
                "game_date": played_date.game_date.isoformat(),
                "as_of_today": list(played_date.as_of_today),
                "incidents": [incident.to_json() for incident in played_date.incidents],
            }
            for played_date in self.dates
        ]
        return {**sums, "dates": dates}


def _median(lengths: Iterable[timedelta]) -> float | None:
    minutes = [length / timedelta(minutes=1) for length in lengths]
    return round(median(minutes), 1) if minutes else None


class Recorder:
    """A channel that keeps what it is sent, and when."""

    name, address = "backtest", ""

    def __init__(self) -> None:
        self.sent: list[tuple[datetime, Sequence[Notification]]] = []

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep them."""
        self.sent.append((now, notifications))

    def warn(self, what: Warned, text: str, now: datetime) -> None:
        """Ignore a warning of the canary itself: here it is never refused, and never away."""


def play_backtest(
    stores: Stores,
    phases: Mapping[str, Phase],
    time: BacktestSpan,
    read_at: datetime,
    ran: Callable[[float], object] = lambda _: None,
) -> Backtest:
    """Run the canary every 15 minutes of the past.

    `ran` is called after each run with the share of the time that is over. The dates begin with the
    first one of which there is anything. Raises StoreError where the documents or a completion log
    cannot be read: nothing could be judged then.
    """
    clock, recorder = SimulatedClock(read_at), Recorder()
    (snapshot, all_evidence), channels = read(stores, phases, time, clock), Channels(recorder)
    evidence = _with_something(all_evidence)
    for source in ("progress documents", "completion log"):
        if reason := next(
            (why for what, why in snapshot.failures.items() if what.startswith(source)), ""
        ):
            raise StoreError(reason)
    firsts = [
        _begin(phases[date_evidence.phase], date_evidence.game_date) for date_evidence in evidence
    ]
    begin, runs = max(time.begin, min(firsts, default=time.end)), 0
    for runs, clock.now in enumerate(ticks(begin, time.end), 1):  # noqa: B007 (their number)
        watch(snapshot, phases, channels, clock.now, beside=AtOnce)
        ran((clock.now - begin) / (time.end - begin))
    clock.now = read_at
    played_dates = {(date_evidence.phase, date_evidence.game_date) for date_evidence in evidence}
    sent = [
        (at, [notification for notification in message if _day(notification) in played_dates])
        for at, message in recorder.sent
    ]
    incidents = _incidents((at, notification) for at, message in sent for notification in message)
    dates = tuple(_played_dates(evidence, phases, incidents, _lines(snapshot, incidents)))
    return Backtest(
        begin, time.end, runs, dates, sum(bool(message) for _, message in sent), snapshot.failures
    )


def read(
    stores: Stores, phases: Mapping[str, Phase], time: BacktestSpan, clock: SimulatedClock
) -> tuple[Snapshot, Sequence[Evidence]]:
    """Read what the runs ask of tables and documents.

    Returns the snapshot, and the evidence of each date as it is now.
    """
    snapshot = Snapshot(stores, phases, _window(phases, time), clock, clock.now)
    return snapshot, gather(snapshot, time.dates, phases, beside=AtOnce).evidence


def _day(notification: Notification) -> PhaseDate:
    return notification.verdict.phase, notification.verdict.game_date


def _begin(phase: Phase, first: date) -> datetime:
    """Return when the runs begin.

    That is a few dates early, because a canary that has just begun reports the state of each date.
    """
    return phase.begins(first - phase.lookback_dates * _A_DAY)


def _with_something(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Return the dates of each phase, from the first one of which there is anything."""
    firsts: dict[str, date] = {}
    for date_evidence in evidence:
        if _has_come(date_evidence):
            firsts.setdefault(date_evidence.phase, date_evidence.game_date)
    return [
        date_evidence
        for date_evidence in evidence
        if date_evidence.game_date >= firsts.get(date_evidence.phase, date.max)
    ]


def _window(phases: Mapping[str, Phase], time: BacktestSpan) -> tuple[date, date]:
    """Return the first and the last date at which a run looks."""
    first = min(phase.recent_dates(time.begin, phase.history_dates)[0] for phase in phases.values())
    dates = [day for days in time.dates.values() for day in days]
    return min([first, *dates]), max(
        [*dates, *(phase.today(time.end) for phase in phases.values())]
    )


def _incidents(
    sent: Iterable[tuple[datetime, Notification]],
) -> dict[PhaseDate, tuple[PlayedIncident, ...]]:
    """Put together what was sent of each date, from what opens to what ends."""
    by_date: dict[PhaseDate, list[list[tuple[datetime, Notification]]]] = defaultdict(list)
    for at, notification in sent:
        date_incidents = by_date[_day(notification)]
        if notification.kind is NotificationKind.OPENED or not date_incidents:
            date_incidents.append([])
        date_incidents[-1].append((at, notification))
    return {
        key: tuple(_incident(messages) for messages in date_incidents)
        for key, date_incidents in by_date.items()
    }


def _incident(sent: Sequence[tuple[datetime, Notification]]) -> PlayedIncident:
    problems = [
        notification.verdict for _, notification in sent if not notification.kind.is_end
    ] or [sent[0][1].verdict]
    first, last = problems[0], problems[-1]
    return PlayedIncident(
        phase=first.phase,
        game_date=first.game_date,
        messages=tuple(_message(at, notification) for at, notification in sent),
        since=first.since,
        path=path_text(last) or last.summary,
        causes=tuple(one_line(cause_text(cause)) for cause in last.causes),
    )


def _message(at: datetime, notification: Notification) -> SentMessage:
    verdict: Verdict = notification.verdict
    return SentMessage(
        at, notification.kind, verdict.kind, level(verdict), tuple(sorted(verdict.proven))
    )


# What cannot be known of the past


def _lines(
    snapshot: Snapshot, incidents: Iterable[PhaseDate]
) -> dict[PhaseDate, Lines | Unreadable]:
    """Return what is still there of the lines that deliveries left, on dates with incidents."""

    def read(phase: str, day: date) -> Lines | Unreadable:
        try:
            return snapshot.checkpoints.read({phase: [day]}, snapshot.read_at)
        except StoreError as error:
            return Unreadable(str(error))

    return {(phase, day): read(phase, day) for phase, day in incidents}


def _played_dates(
    evidence: Iterable[Evidence],
    phases: Mapping[str, Phase],
    incidents: Mapping[PhaseDate, tuple[PlayedIncident, ...]],
    lines: Mapping[PhaseDate, Lines | Unreadable],
) -> Iterator[PlayedDate]:
    with_lines = [
        key
        for key, date_lines in lines.items()
        if isinstance(date_lines, Lines) and date_lines.checkpoints
    ]
    for date_evidence in evidence:
        key = date_evidence.phase, date_evidence.game_date
        reasons = [
            *_not_known(
                date_evidence,
                phases[date_evidence.phase].on(date_evidence.game_date, date_evidence.mode),
            )
        ]
        if key in lines and _has_come(date_evidence):
            since = min(
                (day for name, day in with_lines if name == date_evidence.phase), default=None
            )
            reasons += _lines_not_known(lines[key], date_evidence.game_date, since)
        yield PlayedDate(*key, incidents.get(key, ()), tuple(reasons))


def _has_come(evidence: Evidence) -> bool:
    """Whether anything of a date has arrived."""
    progress, log = (
        value_or(evidence.progress, Progress(frozenset())),
        value_or(evidence.completion_log, Logged()),
    )
    return bool(progress.registered or progress.reports or log.completed or log.reports)


def _not_known(evidence: Evidence, phase: Phase) -> Iterator[str]:
    """Say what of a date is known as of today, and may have been otherwise then."""
    sources = evidence.completion_log, evidence.progress, evidence.messages, evidence.flag_table
    for source in (*sources, evidence.outcome, evidence.work):
        if isinstance(source, Unreadable):
            yield f"{_NOT_READABLE}: {source.reason}"
    if value_or(evidence.outcome, 0):
        yield f"{_TIMELESS}: the output of {phase.next_phase}"
    progress, log = (
        value_or(evidence.progress, Progress(frozenset())),
        value_or(evidence.completion_log, Logged()),
    )
    # Where a processor has a row, the row says when the entry was written.
    alone = {
        name: entry for name, entry in progress.registered.items() if name not in log.completed
    }
    timeless = replace(
        evidence,
        outcome=Absent(),
        progress=mapped(evidence.progress, lambda p: replace(p, registered=alone)),
    )
    yield from (f"{_TIMELESS}: {what}" for what in without_a_time(timeless, phase))
    flag_at = progress.trigger.at if progress.trigger else None
    rows_say = min(
        (flag.at for flag in evidence.flags.values() if flag.is_set and flag.at), default=None
    )
    if (
        rows_say
        and isinstance(evidence.progress, Seen)
        and (flag_at is None or flag_at - rows_say > _TOGETHER)
    ):
        has_it = (
            f"the document has it since {flag_at:%Y-%m-%d %H:%M}Z"
            if flag_at
            else "the document has none"
        )
        yield f"{_WRITTEN_AGAIN}: the flag, by a table of {rows_say:%Y-%m-%d %H:%M}Z, and {has_it}"
    for name, entry in progress.registered.items():
        row = log.completed.get(name)
        if row and entry.completed_at and entry.completed_at - row.completed_at > _TOGETHER:
            yield (
                f"{_WRITTEN_AGAIN}: "
                f"the registration of {name} is of another message than its first row"
            )


def _lines_not_known(lines: Lines | Unreadable, day: date, since: date | None) -> Iterator[str]:
    if isinstance(lines, Unreadable):
        yield f"{_NOT_READABLE}: {lines.reason}"
    elif lines.cut_at is not None:
        yield f"too many lines: those before {lines.cut_at:%Y-%m-%d %H:%M}Z are left out"
    elif not lines.checkpoints and since is not None and day < since:
        yield f"its lines are not there any more: the first are of {since}"
