"""`canary backtest`: what a canary would have sent over past dates, by the user's own stores."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from canary.commands.check import write_page
from canary.commands.options import (
    Day,
    Subject,
    a_date,
    a_file,
    a_path,
    a_word_for_a_date,
    days_option,
    options,
)
from canary.commands.terminal import make_console, progress, size_text, wrapped
from canary.domain.incident import NotificationKind
from canary.domain.remembered import canary_ref, date_memory, month_refs, read_runs
from canary.domain.verdict import Level, badness, count_text, duration_text
from canary.notify.message import SIGNS
from canary.page.axis import Tick
from canary.page.past import Bar, IncidentText, Past, PastDate, PastPhase
from canary.page.render import as_html
from canary.playback.backtest import (
    Backtest,
    PlayedDate,
    PlayedIncident,
    play_backtest,
    read,
    span_of,
)
from canary.playback.compared import (
    Checked,
    Compared,
    Difference,
    Reported,
    checked,
    compared,
    differences,
    read_reported,
)
from canary.run import Outcome
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase, load_phases
from orchestrator_resilience.stores.base import Weighable
from orchestrator_resilience.testing import SimulatedClock

_DAYS = 90
# What the picture shows of a date: so many days from when it begins, by its phase's time zone.
_SHOWN = timedelta(days=4)
_LEAST_CELLS = 16
_NOT_JUDGED = "counted, not judged: --incidents FILE has what really was wrong"


@click.command()
@options("data", "phase", "json", "ascii", "html", "canary")
@days_option(_DAYS)
@click.option(
    "--until",
    type=a_date,
    metavar="DATE",
    shell_complete=a_word_for_a_date,
    help="The last of them; by default today.",
)
@click.option(
    "--against",
    type=a_path,
    metavar="FILE",
    shell_complete=a_file,
    help="Another phases file: what it would have sent differently.",
)
@click.option(
    "--incidents",
    type=a_path,
    metavar="FILE",
    shell_complete=a_file,
    help="What really was wrong, CSV or JSON lines: date, phase, started, ended, what.",
)
@click.option(
    "--check", is_flag=True, help="Compare with what the live canary remembers that it has sent."
)
def backtest(
    about: Subject,
    *,
    as_json: bool,
    ascii_only: bool,
    html: Path | None,
    days: int,
    until: Day | None,
    against: Path | None,
    incidents: Path | None,
    check: bool,
) -> Outcome:
    """Show what the canary would have sent over the last dates: when, and why.

    It plays the real runs, one every 15 minutes, over your own stores. It writes nothing and
    notifies nobody. Exit code 0, or 2 where a source could not be read.
    """
    reported = None if incidents is None else _read_reported(incidents, about)
    played = _play(about, days, until)
    beside = None if reported is None else compared(played, reported)
    changed = (
        None
        if against is None
        else differences(played, _play(_with_phases(about, against), days, until))
    )
    live = _checked(played, about) if check else None
    if html is not None:
        write_page(html, as_html(_page(played, about), home=None))
    elif as_json:
        more = {
            "incidents_file": beside and beside.to_json(),
            "against": None if changed is None else msgspec.to_builtins(changed),
            "check": live and {"percent_alike": live.percent, **msgspec.to_builtins(live)},
        }
        click.echo(
            about.to_json(
                {
                    **played.to_json(),
                    **{name: value for name, value in more.items() if value is not None},
                }
            )
        )
    else:
        console = make_console(ascii_only=ascii_only)
        lines = [
            *([] if live is None else _check_lines(live)),
            *_text(played, about, console.width),
        ]
        lines += _judged_lines(beside) if beside else [_NOT_JUDGED] if played.incidents else []
        lines += [] if changed is None else _against_lines(changed)
        for line in lines:
            console.print(wrapped(line, console.width), soft_wrap=True)
    return Outcome.COULD_NOT_TELL if played.failures else Outcome.QUIET


def _read_reported(file: Path, about: Subject) -> list[Reported]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--incidents: {file}: {error}") from error
    return read_reported(text, str(file), [*about.phases])


def _with_phases(about: Subject, file: Path) -> Subject:
    """Return the same subject with the phases of another file."""
    all_phases = load_phases(file)
    is_one = about.several and len(about.phases) == 1
    return replace(
        about,
        phases={
            name: phase for name, phase in all_phases.items() if not is_one or name in about.phases
        },
    )


def _checked(played: Backtest, about: Subject) -> Checked:
    """Read what the live canary remembers of these dates, and compare."""
    keys = [(played_date.phase, played_date.game_date) for played_date in played.dates]
    refs = {ref for name, day in keys for ref in month_refs(about.canary, name, [day])}
    with about.stores() as stores:
        documents = stores.documents.get_all([canary_ref(about.canary), *sorted(refs)])
    memories = {key: date_memory(documents, about.canary, *key, about.now) for key in keys}
    return checked(played, memories, read_runs(documents.get(canary_ref(about.canary))))


def _play(about: Subject, days: int, until: Day | None) -> Backtest:
    """Read the stores, and play the runs, with a bar on a terminal that shows the progress."""
    last = (
        None
        if until is None
        else max(about.game_date(until, phase) for phase in about.phases.values())
    )
    time = span_of(about.phases, days, about.now, last)
    with about.stores() as stores:
        if isinstance(stores, Weighable):
            weight = stores.bytes_to_read(
                lambda dry: read(dry, about.phases, time, SimulatedClock(about.read_at))
            )
            click.echo(f"BigQuery reads {size_text(weight)} for this", err=True)
        with progress("playing the runs") as ran:
            return play_backtest(stores, about.phases, time, about.read_at, ran)


# As a page

_TONES = {Level.WARNING: "warn", Level.ERROR: "bad", Level.CRITICAL: "bad"}


def _page(played: Backtest, about: Subject) -> Past:
    """Return what the text says, as values of a page."""
    incidents = (
        IncidentText(
            _incident_text(incident, several=about.several), _TONES[incident.level], incident.path
        )
        for incident in played.incidents
    )
    phases = (
        _past_phase(
            phase, [played_date for played_date in played.dates if played_date.phase == name]
        )
        for name, phase in about.phases.items()
    )
    return Past(
        title="What the canary would have sent",
        sums=tuple(_sums(played, about)) if played.dates else ("Nothing is there of these dates.",),
        phases=tuple(phase for phase in phases if phase.dates),
        incidents=tuple(incidents),
    )


def _past_phase(phase: Phase, dates: Sequence[PlayedDate]) -> PastPhase:
    ticks = tuple(Tick(100 * n / _SHOWN.days, f"+{n} d", "") for n in range(_SHOWN.days))
    rows = (
        PastDate(
            played_date.game_date,
            _verdicts(played_date) or "healthy",
            _TONES[max((incident.level for incident in played_date.incidents), key=badness)]
            if played_date.incidents
            else "good",
            tuple(_bar(incident, phase) for incident in played_date.incidents),
            played_date.as_of_today,
        )
        for played_date in reversed(dates)
    )
    return PastPhase(phase.name, phase.timezone, ticks, tuple(rows))


def _bar(incident: PlayedIncident, phase: Phase) -> Bar:
    begin = phase.begins(incident.game_date)

    def x(at: datetime) -> float:
        return round(100 * min(1.0, max(0.0, (at - begin) / _SHOWN)), 2)

    first, last = x(incident.opened_at), x(incident.end.at) if incident.end else 100.0
    return Bar(
        first,
        max(0.5, last - first),
        _incident_text(incident, several=True),
        _TONES[incident.level],
    )


# In words


def _text(played: Backtest, about: Subject, width: int) -> Iterator[str]:
    """Yield a picture with a row for each date, the incidents, and the sums."""
    if not played.dates:
        yield f"nothing is there of these dates {about.where}"
        return
    for name, phase in about.phases.items():
        yield from _picture(
            [played_date for played_date in played.dates if played_date.phase == name], phase, width
        )
    for incident in played.incidents:
        yield _incident_text(incident, several=about.several)
        yield f"  {incident.path}"
    yield from _sums(played, about)


def _picture(dates: Sequence[PlayedDate], phase: Phase, width: int) -> Iterator[str]:
    """Yield a row for each date: when somebody would have been notified, and how bad it was."""
    words = {played_date.game_date: _words(played_date) for played_date in dates}
    label = len(phase.name) + len(" 2026-02-11 ")
    cells = max(_LEAST_CELLS, min(72, width - label - 1 - max(map(len, words.values()), default=0)))
    marks = "".join(f"{f'+{number}d':<{cells // _SHOWN.days}}" for number in range(_SHOWN.days))
    yield f"{phase.timezone[-label + 1 :]:<{label}}{marks}".rstrip()
    for played_date in dates:
        day, lane = played_date.game_date, _lane(played_date, phase, cells)
        yield f"{phase.name} {day} {lane} {words[day]}".rstrip()
    yield (
        f"{SIGNS['WARNING']} warning  {SIGNS['ERROR']} error  "
        f"{SIGNS['CRITICAL']} critical  {SIGNS['RESOLVED']} over"
    )


def _lane(played_date: PlayedDate, phase: Phase, cells: int) -> str:
    lane, begin = ["·"] * cells, phase.begins(played_date.game_date)

    def cell(at: datetime) -> int:
        return min(cells - 1, max(0, int((at - begin) / _SHOWN * cells)))

    for incident in played_date.incidents:
        for message, following in zip(
            incident.messages, [*incident.messages[1:], None], strict=True
        ):
            sign = SIGNS[message.kind if message.kind.is_end else message.level]
            until = cells if following is None else cell(following.at)
            first = cell(message.at)
            last = first + 1 if message.kind.is_end else max(first + 1, until)
            lane[first:last] = sign * (last - first)
    return "".join(lane)


def _words(played_date: PlayedDate) -> str:
    doubt = " (as of today)" if played_date.as_of_today else ""
    return f"{_verdicts(played_date) or 'healthy'}{doubt}"


def _verdicts(played_date: PlayedDate) -> str:
    return ", ".join(dict.fromkeys(str(incident.verdict) for incident in played_date.incidents))


def _incident_text(incident: PlayedIncident, *, several: bool) -> str:
    whose = f"{incident.phase} {incident.game_date}" if several else f"{incident.game_date}"
    end, reminders = incident.end, incident.count(NotificationKind.REMINDER)
    after = f"{end.kind} after {duration_text(end.at - incident.opened_at)}" if end else "not over"
    more = f", {count_text(reminders, 'reminder')}" if reminders else ""
    what = ", ".join([incident.verdict, *incident.causes_in_short])
    notified = f"notified {incident.opened_at:%Y-%m-%d %H:%M}Z"
    return (
        f"{SIGNS[incident.level]} {incident.level} · {whose} · {what} · {notified}, {after}{more}"
    )


def _sums(played: Backtest, about: Subject) -> Iterator[str]:
    healthy = len(played.dates) - len(played.notified)
    days = sorted(played_date.game_date for played_date in played.dates)
    dates = f"{count_text(len(days), 'date')}, {days[0]} to {days[-1]}"
    yield f"{dates}, {count_text(played.runs, 'run')}, {about.where}: nothing was written"
    messages = f"{count_text(played.messages, 'message')} to a channel"
    counts = f"{healthy} healthy, {len(played.notified)} notified, {messages}"
    notify, recover = played.minutes_to_notify, played.minutes_to_recover
    counts += f"; notified {_minutes(notify)} after it was due" if notify is not None else ""
    yield counts + (f", over {_minutes(recover)} later (medians)" if recover is not None else "")
    as_they_were = sum(not played_date.as_of_today for played_date in played.dates)
    yield f"{as_they_were} dates as they were then, {len(played.dates) - as_they_were} as of today"
    for reason, count in played.as_of_today.items():
        yield f"  {count} of them: {reason}"
    for what, reason in played.failures.items():
        yield f"not readable: the {what}: {reason}"


def _judged_lines(beside: Compared) -> Iterator[str]:
    """Yield whether somebody would have been notified of what people have reported.

    The last line has what else would have been sent.
    """
    total = len(beside.notified) + len(beside.missed)
    yield f"{len(beside.notified)} of {total} that were reported would have been notified of"
    for report, incident in beside.notified:
        notified = f"notified {incident.opened_at:%Y-%m-%d %H:%M}Z{_after(report, incident)}"
        yield f"  {_whose(report)}: {incident.verdict}, {notified}"
    yield from (f"  {_whose(report)}: nothing would have been sent" for report in beside.missed)
    yield from (f"  {_whose(report)}: not one of these dates" for report in beside.elsewhere)
    besides = ", ".join(f"{incident.game_date} {incident.verdict}" for incident in beside.besides)
    yield f"besides: {besides or 'nothing'}"


def _whose(report: Reported) -> str:
    return f"{report.phase} {report.game_date}" + (f", {report.what}" if report.what else "")


def _after(report: Reported, incident: PlayedIncident) -> str:
    if report.started is None:
        return ""
    late = incident.opened_at - report.started
    return f", {duration_text(abs(late))} {'after' if late >= timedelta() else 'before'} it started"


def _against_lines(changed: Sequence[Difference]) -> Iterator[str]:
    yield f"the other phases file: {count_text(len(changed), 'difference')}"
    yield from (
        f"  {difference.phase} {difference.game_date}: {difference.what}" for difference in changed
    )


def _check_lines(live: Checked) -> Iterator[str]:
    alike = "no date to compare" if live.percent is None else f"{live.percent} % alike"
    yield f"{alike}: {count_text(live.compared, 'date')} that the live canary has judged"
    yield from (
        f"  {difference.phase} {difference.game_date}: {difference.what}. Why: {difference.why}"
        for difference in live.differences
    )


def _minutes(minutes: float) -> str:
    return duration_text(timedelta(minutes=minutes))
