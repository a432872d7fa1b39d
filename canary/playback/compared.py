"""What a backtest is compared with.

That is another phases file, what people say was wrong, and what a live canary has sent.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import zip_longest
from typing import Any

import msgspec

from canary.domain.incident import RUN_EVERY, DateMemory, NotificationKind
from canary.domain.remembered import Runs
from canary.domain.verdict import VerdictKind, duration_text
from canary.playback.backtest import Backtest, PhaseDate, PlayedDate, PlayedIncident
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.plain import calendar_date, instant, one_line, printable, shown

# The runs of a live canary are at other minutes than those that are played, and may come late.
_LATE = 2 * RUN_EVERY


class Difference(msgspec.Struct, frozen=True):
    """In `what` a date differs, and why, as far as that is known."""

    phase: str
    game_date: date
    what: str
    why: str = ""


# Another phases file


def differences(before: Backtest, after: Backtest) -> list[Difference]:
    """Return what would have been sent differently.

    An incident is new or gone, has another verdict or cause, or a message is earlier or later.
    """
    mine, theirs = _by_date(before), _by_date(after)
    return [
        Difference(*key, what)
        for key in sorted(mine.keys() | theirs.keys())
        for incident, changed in zip_longest(mine.get(key, ()), theirs.get(key, ()))
        for what in _differing(incident, changed)
    ]


def _by_date(played: Backtest) -> dict[PhaseDate, tuple[PlayedIncident, ...]]:
    return {
        (played_date.phase, played_date.game_date): played_date.incidents
        for played_date in played.dates
    }


def _differing(before: PlayedIncident | None, after: PlayedIncident | None) -> Iterator[str]:
    if before is None or after is None:
        only = before or after
        yield f"{'gone' if before else 'new'}: {_words(only)}" if only else ""
        return
    if (before.verdict, before.level) != (after.verdict, after.level):
        yield f"another verdict: {after.level} {after.verdict}, not {before.level} {before.verdict}"
    if before.causes_in_short != after.causes_in_short:
        yield f"another cause: {_causes(after)}, not {_causes(before)}"
    yield from _moved("notified", before.opened_at, after.opened_at)
    ends = before.end and before.end.at, after.end and after.end.at
    if ends[0] and ends[1]:
        yield from _moved("over", ends[0], ends[1])
    elif ends[0] or ends[1]:
        yield "not over" if ends[0] else f"over {ends[1]:%Y-%m-%d %H:%M}Z, which it was not"


def _words(incident: PlayedIncident) -> str:
    return f"{incident.level} {incident.verdict}, notified {incident.opened_at:%Y-%m-%d %H:%M}Z"


def _causes(incident: PlayedIncident) -> str:
    return ", ".join(incident.causes_in_short) or "none that is proven"


def _moved(what: str, before: datetime, after: datetime) -> Iterator[str]:
    if before != after:
        direction = "later" if after > before else "earlier"
        yield f"{what} {duration_text(abs(after - before))} {direction}"


# What people say was wrong


class Reported(msgspec.Struct, frozen=True):
    """What people say was wrong with a date: `what`, from when to when (UTC), where they say so."""

    phase: str
    game_date: date
    what: str = ""
    started: datetime | None = None
    ended: datetime | None = None


def read_reported(text: str, file: str, phases: Sequence[str]) -> list[Reported]:
    """Read a file of CSV with a heading, or of JSON, an object a line.

    Raises ConfigurationError naming the line.
    """
    is_json = text.lstrip().startswith("{")
    return [
        _reported(entry, f"{file}:{line}", phases)
        for line, entry in (_json if is_json else _csv)(text, file)
    ]


def _json(text: str, file: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        try:
            entry = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{file}:{number}: not JSON: {error}") from error
        if entry is not None and not isinstance(entry, dict):
            raise ConfigurationError(
                f"{file}:{number}: not an object such as {{'date': '2026-02-09'}}"
            )
        if entry is not None:
            yield number, entry


def _csv(text: str, file: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    try:
        for entry in reader:
            yield reader.line_num, {str(name).strip(): value for name, value in entry.items()}
    except csv.Error as error:
        raise ConfigurationError(f"{file}:{reader.line_num}: not CSV: {error}") from error


def _reported(entry: Mapping[str, Any], where: str, phases: Sequence[str]) -> Reported:
    if (day := calendar_date(entry.get("date"))) is None:
        raise ConfigurationError(
            f"{where}: date: not a date such as 2026-02-09: {shown(entry.get('date'))}"
        )
    phase = entry.get("phase") or (phases[0] if len(phases) == 1 else None)
    if not isinstance(phase, str) or phase not in phases:
        raise ConfigurationError(f"{where}: phase: not one of {sorted(phases)}: {shown(phase)}")
    times = {name: _moment(entry.get(name), f"{where}: {name}") for name in ("started", "ended")}
    return Reported(phase, day, one_line(str(entry.get("what") or "")), **times)


def _moment(value: object, where: str) -> datetime | None:
    """Read a time with its zone; it may be left out."""
    try:
        at = datetime.fromisoformat(value) if value and isinstance(value, str) else None
    except ValueError:
        at = None
    if value and (at is None or at.tzinfo is None):
        raise ConfigurationError(
            f"{where}: not a time with its zone, such as 2026-02-10T07:15:00Z: {shown(value)}"
        )
    return instant(at)


class Compared(msgspec.Struct, frozen=True):
    """What people say was wrong, each `notified` with the incident that would have been sent.

    `missed` are the dates of which nothing would have been sent, `besides` the incidents that
    nobody has reported, and `elsewhere` what people report of dates outside the backtest.
    """

    notified: tuple[tuple[Reported, PlayedIncident], ...] = ()
    missed: tuple[Reported, ...] = ()
    besides: tuple[PlayedIncident, ...] = ()
    elsewhere: tuple[Reported, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values: of each report, when somebody would have been notified."""
        reported = [
            {
                **msgspec.to_builtins(report),
                "notified_at": incident.opened_at.isoformat(),
                "verdict": incident.verdict,
            }
            for report, incident in self.notified
        ]
        return {
            "reported": reported
            + [{**msgspec.to_builtins(report), "notified_at": None} for report in self.missed],
            "not_looked_at": msgspec.to_builtins(self.elsewhere),
            "besides": [incident.to_json() for incident in self.besides],
        }


def compared(played: Backtest, reported: Iterable[Reported]) -> Compared:
    """Put what people say was wrong beside what would have been sent of the same dates."""
    by_date, reports = _by_date(played), [*reported]
    looked_at = [report for report in reports if (report.phase, report.game_date) in by_date]
    notified = [(report, by_date[report.phase, report.game_date]) for report in looked_at]
    reported_dates = {(report.phase, report.game_date) for report in looked_at}
    return Compared(
        notified=tuple((report, incidents[0]) for report, incidents in notified if incidents),
        missed=tuple(report for report, incidents in notified if not incidents),
        besides=tuple(
            incident
            for incident in played.incidents
            if (incident.phase, incident.game_date) not in reported_dates
        ),
        elsewhere=tuple(report for report in reports if report not in looked_at),
    )


# What a live canary has sent


class Checked(msgspec.Struct, frozen=True):
    """How many dates were `compared` with what a live canary remembers, and the differences."""

    compared: int
    differences: tuple[Difference, ...] = ()

    @property
    def percent(self) -> int | None:
        """How many of 100 dates are alike, rounded down; None where none was compared."""
        return (
            (self.compared - len(self.differences)) * 100 // self.compared
            if self.compared
            else None
        )


def checked(played: Backtest, memories: Mapping[PhaseDate, DateMemory], runs: Runs) -> Checked:
    """Compare what would have been sent with what a live canary has sent.

    Only dates that the live canary has judged are compared.
    """
    judged = [
        (played_date, memories[key])
        for played_date in played.dates
        if _is_kept(memories.get(key := (played_date.phase, played_date.game_date)))
    ]
    differing = [
        Difference(played_date.phase, played_date.game_date, what, _why(played_date, memory, runs))
        for played_date, memory in judged
        if (what := _otherwise(_sent(played_date), _was_sent(memory)))
    ]
    return Checked(len(judged), tuple(differing))


def _is_kept(memory: DateMemory | None) -> bool:
    """Whether a live canary has judged a date, and remembers all of it."""
    return memory is not None and memory.verdict is not None and not memory.forgotten


_Said = tuple[str, VerdictKind | None, datetime]


def _sent(played_date: PlayedDate) -> list[_Said]:
    messages = [message for incident in played_date.incidents for message in incident.messages]
    return [
        _what(m.kind, m.verdict, m.at) for m in messages if m.kind is not NotificationKind.REMINDER
    ]


def _was_sent(memory: DateMemory) -> list[_Said]:
    events = [
        event
        for incident in memory.incidents
        for event in incident.events
        if event.to or event.unanswered
    ]
    return [_what(event.what, event.verdict, event.at) for event in events]


def _what(kind: str, verdict: VerdictKind | None, at: datetime) -> _Said:
    """Return what was sent; the end of an incident is the same whatever its verdict was."""
    is_end = kind in {NotificationKind.RESOLVED, NotificationKind.EXPIRED}
    return kind, None if is_end else verdict, at


def _otherwise(sent: Sequence[_Said], was_sent: Sequence[_Said]) -> str:
    """Say which message is the first that differs; empty where none does."""
    for played, live in zip_longest(sent, was_sent):
        if (
            played is None
            or live is None
            or played[:2] != live[:2]
            or abs(played[2] - live[2]) > _LATE
        ):
            return f"it sent {_said(live)}, here it is {_said(played)}"
    return ""


def _said(message: _Said | None) -> str:
    if message is None:
        return "nothing more"
    kind, verdict, at = message
    return f"{kind} {verdict or ''} ".replace("  ", " ") + f"{at:%Y-%m-%d %H:%M}Z"


def _why(played_date: PlayedDate, memory: DateMemory, runs: Runs) -> str:
    if played_date.as_of_today:
        return "; ".join(played_date.as_of_today)
    if any(incident.silenced for incident in memory.incidents):
        return "it was silenced"
    moments = [at for _, _, at in (*_sent(played_date), *_was_sent(memory))]
    outages = (
        outage
        for outage in runs.unseen
        for at in moments
        if outage.since - timedelta(days=1) <= at <= outage.until + _LATE
    )
    outage = next(outages, None)
    if outage is not None:
        span = f"from {outage.since:%Y-%m-%d %H:%M}Z to {outage.until:%Y-%m-%d %H:%M}Z"
        return f"the canary did not see {span}: {printable(outage.why)}"
    return "nothing that is known"
