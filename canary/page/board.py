"""What the board shows: open incidents, a lane for each of the last dates, and the last month."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Unreadable
from canary.domain.facts import Facts
from canary.domain.incident import Incident, NotificationKind
from canary.domain.remembered import Runs
from canary.domain.verdict import Impact, Level, Verdict, VerdictKind, count_text, duration_text
from canary.notify.message import CommandLine, Message, alert, by_fault, output_text
from canary.page.axis import Axis, Mark, Span, Tick, merged_marks, span
from canary.page.clock import both
from canary.page.remembered import IncidentHistory, Remembered
from canary.run import Overview, Report
from orchestrator_resilience.completion import Status
from orchestrator_resilience.phase import Phase

BOARD_DATES, MONTH_DATES = 14, 30
# A page of more phases than these shows only the lanes of problems, of so many phases, the worst
# first.
MOST_WHOLE = 5
_NOON, _STEP = time(12), timedelta(hours=6)
# After the deadline the axis goes on for a while, so that what is late can be seen.
_AFTER_THE_DEADLINE = timedelta(hours=3)

DateLink = Callable[[str, date], str | None]


class Badge(msgspec.Struct, frozen=True):
    """A state as a word and as a colour: `tone` is good, warn, bad, unknown or quiet."""

    word: str
    tone: str


class FaultDate(msgspec.Struct, frozen=True, kw_only=True):
    """One date of an open problem: its page, its badge, and the `history` of its open incident.

    `history` is None where there is no open incident.
    """

    date: date
    href: str | None
    badge: Badge
    games: Badge
    silenced: bool
    history: IncidentHistory | None


class FaultCard(msgspec.Struct, frozen=True, kw_only=True):
    """An open problem of a `phase`: its message, how bad it is, and its dates.

    `tone` is that of its worst date. `unseen` is true where the problem is a source that could not
    be read.
    """

    phase: Phase
    message: Message
    tone: str
    unseen: bool
    dates: tuple[FaultDate, ...]
    silenced: bool


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One date: `words` say what the picture shows; positions are percent of its width.

    `arrivals` is from the first completion to the last, `pending` from the last to the flag, or to
    `now` where it is unset.
    """

    date: date
    href: str | None
    badge: Badge
    games: Badge
    words: str
    silenced: bool
    marks: tuple[Mark, ...] = ()
    arrivals: Span | None = None
    pending: Span | None = None
    grace: Span | None = None
    complete: float | None = None
    deadline: float | None = None
    flag: Mark | None = None
    now: float | None = None


class PastIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident of the month: how long until it was `detected`, and how long it `lasted`.

    An incident that is watched no longer, though it may go on, has `expired_at` (UTC) instead.
    `history` says who was notified of it.
    """

    date: date
    href: str | None
    badge: Badge
    why: str
    opened: datetime
    history: IncidentHistory
    detected: timedelta | None
    lasted: timedelta | None
    expired_at: datetime | None = None


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """The last 30 dates: a badge for each, the incidents, and the figures.

    A figure is None where it cannot be computed. `unseen` is how many dates could not be judged;
    `blind` is the time in which the canary did not see.
    """

    days: tuple[tuple[date, Badge], ...]
    incidents: tuple[PastIncident, ...]
    detected: timedelta | None
    recovered: timedelta | None
    without_work: int
    unseen: int
    blind: timedelta

    @property
    def words(self) -> str:
        """The dates in words: how many are in which state."""
        counts = Counter(state.word.partition(",")[0] for _, state in self.days)
        return ", ".join(f"{count} {word}" for word, count in counts.items())


class PhaseBoard(msgspec.Struct, frozen=True, kw_only=True):
    """The dates of one phase, the newest first, and its month.

    `state` is that of the worst date that needs somebody; where none does, that of the newest date
    whose flag was set. `needs` says how many dates need somebody, or are silenced. Where the whole
    phase is shown on another page, at `href`, the lanes are those of its problems alone.
    """

    phase: Phase
    zone: str
    ticks: tuple[Tick, ...]
    state: Badge
    needs: str
    lanes: tuple[Lane, ...]
    month: Month
    href: str | None = None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page of a `report`.

    `state` is what to read first; `unreadable` is why the incidents and silences could not be read.
    `away` is for how long the canary has not run although it should have. Times that are of no
    phase are shown in the zone of the first phase. `only` is the name of the phase where the page
    shows one of several.
    """

    report: Report
    timezone: str
    state: Badge
    away: timedelta | None
    faults: tuple[FaultCard, ...]
    phases: tuple[PhaseBoard, ...]
    unreadable: Unreadable | None
    runs: Runs
    empty: bool
    only: str


def board(
    overview: Overview,
    phases: Mapping[str, Phase],
    ran_at: datetime | None,
    command: CommandLine,
    link: DateLink,
    *,
    dates: int = BOARD_DATES,
    page_of_phase: Callable[[str], str] | None = None,
) -> Board:
    """Put together what is shown of an overview, the newest `dates` of it as lanes.

    `ran_at` is when the canary last ran, for where it does not remember it itself. `link` returns
    the address of a date's page, None where it has none. `page_of_phase` returns the address of a
    page of one phase alone; with it, of many phases only the problems are shown.
    """
    report = overview.report
    remembered = Remembered(overview.remembered, overview.canary, report.now, ran_at)
    newest = {name: phase.recent_dates(report.now, dates) for name, phase in phases.items()}
    recent = [verdict for verdict in report.verdicts if verdict.game_date in newest[verdict.phase]]
    groups = by_fault([verdict for verdict in recent if not verdict.kind.is_quiet])
    faults = [
        _fault(group, overview, phases[group[0].phase], command, link, remembered=remembered)
        for group in groups
    ]
    loud = [
        badge(verdict).tone
        for group in groups
        for verdict in group
        if not _is_silenced(overview, verdict)
    ]
    is_empty = (
        not any(facts is None or _has_anything(facts) for facts in overview.facts)
        and not remembered.unreadable
    )
    state = _state(sorted(loud, key=_TONES.index), is_empty=is_empty, silenced=bool(faults))
    boards = [_phase_board(overview, phase, link, dates, remembered) for phase in phases.values()]
    if page_of_phase is not None and len(phases) > MOST_WHOLE:
        worst = sorted(boards, key=lambda shown: _TONES.index(shown.state.tone))[:MOST_WHOLE]
        boards = [
            _in_short(shown, page_of_phase(shown.phase.name), has_lanes=shown in worst)
            for shown in boards
        ]
    return Board(
        report=report,
        timezone=next(iter(phases.values())).timezone,
        state=state if remembered.away is None else _unwatched(remembered.away, state),
        away=remembered.away,
        faults=tuple(sorted(faults, key=lambda fault: (fault.silenced, _TONES.index(fault.tone)))),
        phases=tuple(boards),
        unreadable=remembered.unreadable,
        runs=remembered.runs,
        empty=is_empty,
        only=next(iter(phases)) if command.several and len(phases) == 1 else "",
    )


def badge(verdict: Verdict) -> Badge:
    """Return a verdict as a word and a colour; a problem without harm has its own colour."""
    match verdict.kind:
        case VerdictKind.TRIGGERED:
            return Badge(verdict.kind, "good")
        case VerdictKind.UNKNOWN:
            return Badge(verdict.kind, "unknown")
        case VerdictKind.IDLE | VerdictKind.WAITING | VerdictKind.SETTLING:
            return Badge(verdict.kind, "quiet")
        case _:
            return Badge(verdict.kind, "warn" if verdict.impact is Impact.NONE else "bad")


_TONES = ("bad", "unknown", "warn", "quiet", "good")
_LOUD = _TONES[:3]
_OF_LEVEL = {Level.CRITICAL: "bad", Level.ERROR: "bad", Level.WARNING: "warn"}


def _fault(
    group: Sequence[Verdict],
    overview: Overview,
    phase: Phase,
    command: CommandLine,
    link: DateLink,
    *,
    remembered: Remembered,
) -> FaultCard:
    dates = tuple(_fault_date(verdict, overview, phase, link, remembered) for verdict in group)
    return FaultCard(
        phase=phase,
        message=alert(group, phase, command, overview.report.now),
        tone=min((fault_date.badge.tone for fault_date in dates), key=_TONES.index),
        unseen=group[0].unreadable,
        dates=dates,
        silenced=all(fault_date.silenced for fault_date in dates),
    )


def _fault_date(
    verdict: Verdict, overview: Overview, phase: Phase, link: DateLink, remembered: Remembered
) -> FaultDate:
    histories = remembered.histories(phase.name, verdict.game_date)
    return FaultDate(
        date=verdict.game_date,
        href=link(phase.name, verdict.game_date),
        badge=badge(verdict),
        games=_games(verdict, phase),
        silenced=_is_silenced(overview, verdict),
        history=histories[-1] if histories and histories[-1].over_at is None else None,
    )


def _is_silenced(overview: Overview, verdict: Verdict) -> bool:
    return any(silence.covers(verdict, overview.report.now) for silence in overview.report.silences)


def _state(tones: Sequence[str], *, is_empty: bool, silenced: bool) -> Badge:
    """Say what to read first; `tones` are of the dates that need somebody, the worst first."""
    if is_empty:
        return Badge("Nothing has arrived yet", "quiet")
    if not tones:
        return (
            Badge("What is wrong is silenced", "quiet")
            if silenced
            else Badge("Nothing needs you", "good")
        )
    count, waiting = tones.count(tones[0]), tones.count("warn")
    dates = count_text(count, "date")
    if tones[0] == "warn":
        return Badge(f"{dates} can wait for the day", "warn")
    headline = (
        f"Could not tell about {dates}"
        if tones[0] == "unknown"
        else f"{dates} need{'s' * (count == 1)} somebody"
    )
    return Badge(headline + (f", {waiting} can wait" if waiting else ""), tones[0])


def _unwatched(away: timedelta, state: Badge) -> Badge:
    """Say first that nobody is watching, and then what needs somebody."""
    also = (
        f"; {state.word[0].lower()}{state.word[1:]}"
        if state.tone in {"bad", "unknown", "warn"}
        else ""
    )
    return Badge(f"The canary has not run for {duration_text(away)}{also}", "bad")


def _has_anything(facts: Facts) -> bool:
    return bool(
        facts.completed_at
        or facts.last_status
        or facts.unexpected
        or facts.progress.trigger
        or facts.work
    )


# The lanes


def _phase_board(
    overview: Overview, phase: Phase, link: DateLink, dates: int, remembered: Remembered
) -> PhaseBoard:
    judged = [
        (v, f)
        for v, f in zip(overview.report.verdicts, overview.facts, strict=True)
        if v.phase == phase.name
    ]
    newest = judged[-dates:]
    lanes = tuple(
        _lane(verdict, facts, overview, phase, link) for verdict, facts in reversed(newest)
    )
    loud = [lane for lane in lanes if lane.badge.tone in _LOUD]
    silenced = f"{len(loud)} silenced" if loud else ""
    need = [lane.badge for lane in loud if not lane.silenced]
    calm = [lane.badge for lane in lanes if lane.badge.tone == "good"] or [lanes[0].badge]
    return PhaseBoard(
        phase=phase,
        zone=overview.report.now.astimezone(ZoneInfo(phase.timezone)).tzname() or phase.timezone,
        ticks=_axis(phase, newest[-1][0].game_date).ticks(_STEP) if newest else (),
        state=min(need or calm[:1], key=lambda state: _TONES.index(state.tone)),
        needs=f"{len(need)} of {len(lanes)} dates" if need else silenced,
        lanes=lanes,
        month=_month(judged, overview.report.now, phase, link, remembered),
    )


def _in_short(shown: PhaseBoard, href: str, *, has_lanes: bool) -> PhaseBoard:
    """Keep the lanes of problems, if the phase `has_lanes` at all.

    Of a date that could not be read there is nothing to see.
    """
    lanes = tuple(lane for lane in shown.lanes if has_lanes and lane.badge.tone in {"bad", "warn"})
    return replace(shown, lanes=lanes, href=href)


def _axis(phase: Phase, day: date) -> Axis:
    """Return the axis of a date: from its noon, or its midnight, to some time after the deadline.

    It begins at midnight where the deadline is too soon after noon.
    """
    zone = ZoneInfo(phase.timezone)
    end = phase.deadline(day).astimezone(zone).replace(tzinfo=None) + _AFTER_THE_DEADLINE
    noon = datetime.combine(day, _NOON)
    start = noon if end - noon > _STEP else datetime.combine(day, time())
    return Axis(start, start + -(-(end - start) // _STEP) * _STEP, zone)


def _lane(
    verdict: Verdict, facts: Facts | None, overview: Overview, phase: Phase, link: DateLink
) -> Lane:
    day, now = verdict.game_date, overview.report.now
    axis = _axis(phase, day)
    lane = Lane(
        date=day,
        href=link(phase.name, day),
        badge=badge(verdict),
        games=_games(verdict, phase),
        words=_in_words(verdict, phase),
        silenced=_is_silenced(overview, verdict),
        deadline=axis.x(phase.deadline(day)),
        now=axis.x(now) if axis.holds(now) else None,
    )
    return lane if facts is None else _drawn(lane, verdict, facts, axis)


def _drawn(lane: Lane, verdict: Verdict, facts: Facts, axis: Axis) -> Lane:
    """Add what happened to a lane."""
    times = [at for at in facts.completed_at.values() if at is not None]
    first, last = min(times, default=None), max(times, default=None)
    is_complete = bool(times) and facts.is_complete
    trigger = facts.progress.trigger
    flag_at = trigger.at if trigger else None
    until = flag_at or facts.now
    is_over = (
        verdict.kind is VerdictKind.IDLE
        or verdict.triggered is None
        or (trigger and flag_at is None)
    )
    pending = span(axis.x, last, until) if last and until > last and not is_over else None
    grace = (
        span(axis.x, facts.complete_at, facts.complete_at + facts.phase.untriggered_after)
        if is_complete
        else None
    )
    return replace(
        lane,
        marks=merged_marks(completions(facts, axis.x)),
        arrivals=span(axis.x, first, last) if first and last else None,
        pending=pending,
        grace=grace,
        complete=axis.x(facts.complete_at) if is_complete else None,
        flag=_flag(facts, axis, is_complete=is_complete) if verdict.triggered is not None else None,
    )


def completions(facts: Facts, x: Callable[[datetime], float]) -> Iterator[Mark]:
    """Yield a mark for each completion and each failure; unknown where its time is not known."""
    zone = ZoneInfo(facts.phase.timezone)
    for processor, at in facts.completed_at.items():
        if at is None:
            yield Mark(
                x(_timeless(facts)), "unknown", f"{processor} completed, and nobody wrote down when"
            )
        else:
            yield Mark(x(at), "ok", f"{processor} completed {both(at, zone)}")
    for processor in facts.missing:
        report = facts.progress.reports.get(processor) or facts.completion_log.reports.get(
            processor
        )
        if report is not None and report.at is not None and report.status == Status.FAILED:
            yield Mark(x(report.at), "failed", f"{processor} failed {both(report.at, zone)}")


def _timeless(facts: Facts) -> datetime:
    """Return where to draw what has no time: at the deadline, or now where that is earlier."""
    return min(facts.deadline, facts.now)


def _flag(facts: Facts, axis: Axis, *, is_complete: bool) -> Mark | None:
    """Return a mark where the flag was set, or where it is unset although all have completed."""
    trigger = facts.progress.trigger
    if trigger is None:
        return Mark(axis.x(facts.now), "failed", "the flag is unset") if is_complete else None
    if trigger.at is None:
        return Mark(
            axis.x(_timeless(facts)), "unknown", "the flag is set, and nobody wrote down when"
        )
    return Mark(axis.x(trigger.at), "ok", f"the flag was set {both(trigger.at, axis.zone)}")


def _games(verdict: Verdict, phase: Phase) -> Badge:
    """Say what the next phase has of the date."""
    work = verdict.work
    tone = {Impact.NONE: "good", Impact.PARTIAL: "bad", Impact.BLOCKED: "bad"}.get(
        verdict.impact or Impact.UNKNOWN, "quiet"
    )
    if work == 0:
        return Badge("no games", "quiet")
    if verdict.output is None:
        return Badge(
            f"{work} games, output not known" if work is not None else "not known", "quiet"
        )
    return Badge(output_text(verdict, phase), tone)


def _in_words(verdict: Verdict, phase: Phase) -> str:
    flag = {
        True: "the flag is set",
        False: "the flag is unset",
        None: "the flag could not be read",
    }[verdict.triggered]
    everybody = len(verdict.completed) + len(verdict.missing) + len(verdict.not_yet)
    complete = f"{len(verdict.completed)} of {everybody} complete, " if everybody else ""
    return (
        f"{verdict.game_date}: {verdict.kind}; {complete}{flag}; {phase.next_phase}: "
        f"{_games(verdict, phase).word}"
    )


# The month


def _month(
    judged: Sequence[tuple[Verdict, Facts | None]],
    now: datetime,
    phase: Phase,
    link: DateLink,
    remembered: Remembered,
) -> Month:
    past = [
        _past(verdict.game_date, history, facts, link(phase.name, verdict.game_date))
        for verdict, facts in judged
        for history in remembered.histories(phase.name, verdict.game_date)
    ]
    broken = {incident.date: incident for incident in past}
    return Month(
        days=tuple((v.game_date, _day(v, broken.get(v.game_date))) for v, _ in judged),
        incidents=tuple(reversed(past)),
        detected=_median(incident.detected for incident in past),
        recovered=_median(incident.lasted for incident in past),
        without_work=sum(verdict.kind is VerdictKind.IDLE for verdict, _ in judged),
        unseen=sum(verdict.kind is VerdictKind.UNKNOWN for verdict, _ in judged),
        blind=remembered.runs.unseen_since(now - timedelta(days=len(judged))),
    )


def _median(durations: Iterable[timedelta | None]) -> timedelta | None:
    """Return the median of those that are known."""
    seconds = [duration.total_seconds() for duration in durations if duration is not None]
    return timedelta(seconds=median(seconds)) if seconds else None


def _past(
    day: date, history: IncidentHistory, facts: Facts | None, href: str | None
) -> PastIncident:
    incident, over = history.incident, history.over_at
    is_expired = incident.expired or incident.ended is NotificationKind.EXPIRED
    begun = _begun(incident, facts)
    return PastIncident(
        date=day,
        href=href,
        badge=Badge(
            incident.kind, "quiet" if over and not is_expired else _OF_LEVEL[incident.level]
        ),
        why=", ".join(sorted(incident.causes)) or "not known",
        opened=incident.opened_at,
        history=history,
        detected=incident.opened_at - begun if begun and begun <= incident.opened_at else None,
        lasted=over - incident.opened_at if over and not is_expired else None,
        expired_at=over if is_expired else None,
    )


def _begun(incident: Incident, facts: Facts | None) -> datetime | None:
    """Return when the problem began: with the last completion, or with the deadline."""
    match incident.kind:
        case VerdictKind.UNTRIGGERED if facts is not None and facts.is_complete:
            return facts.complete_at
        case VerdictKind.INCOMPLETE | VerdictKind.SILENT if facts is not None:
            return facts.deadline
        case _:
            return None


def _day(verdict: Verdict, incident: PastIncident | None) -> Badge:
    """Return the badge of a date in the month: its verdict, or the incident that is over."""
    if incident is None or not verdict.kind.is_quiet:
        return badge(verdict)
    lasted = f", {duration_text(incident.lasted)}" if incident.lasted is not None else ""
    return Badge(f"was {incident.badge.word}{lasted}", "warn")
