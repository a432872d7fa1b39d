"""`canary backtest`: what a canary would have sent over dates of the past, from the user's own stores, read-only."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

import click

from canary.commands.options import Day, Subject, a_date, a_word_for_a_date, options, whole_number
from canary.commands.terminal import make_console, progress, wrapped
from canary.domain.incident import NotificationKind
from canary.domain.verdict import duration_text
from canary.notify.message import SIGNS
from canary.playback.backtest import Backtest, Incident, Judged, period
from canary.playback.backtest import backtest as play_backtest
from canary.run import Outcome
from orchestrator_resilience.phase import Phase

_DAYS = 90
# What the picture shows of a date: so many days from when it begins, by its phase's time zone.
_SHOWN = timedelta(days=4)
_LEAST_CELLS = 16


@click.command()
@options("data", "phase", "json", "ascii")
@click.option(
    "--days",
    type=whole_number(1, 366, "of days "),
    metavar="N",
    default=_DAYS,
    show_default=True,
    help="How many dates.",
)
@click.option(
    "--until",
    type=a_date,
    metavar="DATE",
    shell_complete=a_word_for_a_date,
    help="The last of them; by default today.",
)
def backtest(about: Subject, *, as_json: bool, ascii_only: bool, days: int, until: Day | None) -> Outcome:
    """Show what the canary would have sent over the last dates: who, when and why. Writes nothing, notifies nobody."""
    found = _play(about, days, until)
    if as_json:
        click.echo(about.to_json(found.to_json()))
    else:
        console = make_console(ascii_only=ascii_only)
        for line in _text(found, about, console.width):
            console.print(line, soft_wrap=True)
    return Outcome.COULD_NOT_TELL if found.failures else Outcome.QUIET


def _play(about: Subject, days: int, until: Day | None) -> Backtest:
    """Read the stores, and play the runs; a bar shows on a terminal how far that has come."""
    last = until if isinstance(until, date) or until is None else _today(about) - until
    time = period(about.phases, days, about.now, last)
    with about.stores() as stores, progress("playing the runs") as ran:
        return play_backtest(stores, about.phases, time, about.read_at, ran)


def _today(about: Subject) -> date:
    return max(phase.today(about.now) for phase in about.phases.values())


# In words


def _text(found: Backtest, about: Subject, width: int) -> Iterator[str]:
    """Yield a picture with a row for each date, the incidents, and the sums."""
    if not found.dates:
        yield f"nothing is there of these dates {about.where}"
        return
    for name, phase in about.phases.items():
        yield from _picture([one for one in found.dates if one.phase == name], phase, width)
    for incident in found.incidents:
        yield from _incident_lines(incident, width, several=about.several)
    yield from (wrapped(line, width) for line in _sums(found, about))


def _picture(dates: Sequence[Judged], phase: Phase, width: int) -> Iterator[str]:
    """Yield a row for each date: when somebody would have known that something is wrong, and how bad it is."""
    words = {one.game_date: _word(one) for one in dates}
    label = len(phase.name) + len(" 2026-02-11 ")
    cells = max(_LEAST_CELLS, min(72, width - label - 1 - max(map(len, words.values()), default=0)))
    marks = "".join(f"{f'+{number}d':<{cells // _SHOWN.days}}" for number in range(_SHOWN.days))
    yield f"{phase.timezone[-label + 1 :]:<{label}}{marks}".rstrip()
    for one in dates:
        yield f"{phase.name} {one.game_date} {_lane(one, phase, cells)} {words[one.game_date]}".rstrip()
    yield f"{SIGNS['WARNING']} warning  {SIGNS['ERROR']} error  {SIGNS['CRITICAL']} critical  {SIGNS['RESOLVED']} over"


def _lane(one: Judged, phase: Phase, cells: int) -> str:
    lane, begin = ["·"] * cells, phase.begins(one.game_date)

    def cell(at: datetime) -> int:
        return min(cells - 1, max(0, int((at - begin) / _SHOWN * cells)))

    for incident in one.incidents:
        for message, following in zip(incident.messages, [*incident.messages[1:], None], strict=True):
            sign = SIGNS[message.kind if message.kind.is_end else message.level]
            until = cells if following is None else cell(following.at)
            first = cell(message.at)
            last = first + 1 if message.kind.is_end else max(first + 1, until)
            lane[first:last] = sign * (last - first)
    return "".join(lane)


def _word(one: Judged) -> str:
    words = ", ".join(dict.fromkeys(str(incident.verdict) for incident in one.incidents))
    return f"{words or 'healthy'}{' (as of today)' if one.as_of_today else ''}"


def _incident_lines(incident: Incident, width: int, *, several: bool) -> Iterator[str]:
    whose = f"{incident.phase} {incident.game_date}" if several else f"{incident.game_date}"
    sign, reminders = SIGNS[incident.level], incident.count(NotificationKind.REMINDER)
    end = incident.end
    after = f"{end.kind} after {duration_text(end.at - incident.opened_at)}" if end else "not over"
    more = f", {_count(reminders, 'reminder')}" if reminders else ""
    what = ", ".join([incident.verdict, *incident.causes_in_short])
    notified = f"notified {incident.opened_at:%Y-%m-%d %H:%M}Z"
    yield wrapped(f"{sign} {incident.level} · {whose} · {what} · {notified}, {after}{more}", width)
    yield wrapped(f"  {incident.path}", width)


def _sums(found: Backtest, about: Subject) -> Iterator[str]:
    healthy = len(found.dates) - len(found.notified)
    days = sorted(one.game_date for one in found.dates)
    what = f"{_count(len(days), 'date')}, {days[0]} to {days[-1]}, {_count(found.runs, 'run')}"
    yield f"{what}, {about.where}: nothing was written"
    told = f"{healthy} healthy, {len(found.notified)} notified, {_count(found.messages, 'message')} to a channel"
    notify, recover = found.minutes_to_notify, found.minutes_to_recover
    told += f"; notified {_minutes(notify)} after it was due" if notify is not None else ""
    yield told + (f", over {_minutes(recover)} later (medians)" if recover is not None else "")
    known = sum(not one.as_of_today for one in found.dates)
    yield f"{known} dates as they were then, {len(found.dates) - known} as of today"
    for reason, count in found.as_of_today.items():
        yield f"  {count} of them: {reason}"
    for what, reason in found.failures.items():
        yield f"not readable: the {what}: {reason}"
    yield "counted, not judged: nobody has said here what really was wrong"


def _count(number: int, what: str) -> str:
    """Return a number of things: 1 reminder, 2 reminders."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _minutes(minutes: float) -> str:
    return duration_text(timedelta(minutes=minutes))
