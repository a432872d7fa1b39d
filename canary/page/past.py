"""The page of a backtest, as values: a row for each date, the incidents, and the sums."""

from datetime import date

import msgspec

from canary.page.axis import Span, Tick


class Bar(Span, frozen=True):
    """For how long a date had a verdict, and how bad that was."""

    tone: str = ""


class PastDate(msgspec.Struct, frozen=True):
    """A date: its verdict or `healthy`, and when people would have been notified of a problem."""

    date: date
    word: str
    tone: str
    bars: tuple[Bar, ...] = ()
    as_of_today: tuple[str, ...] = ()


class IncidentText(msgspec.Struct, frozen=True):
    """An incident in two lines."""

    what: str
    tone: str
    path: str


class PastPhase(msgspec.Struct, frozen=True):
    """The dates of a phase, the newest first; `zone` is whose midnight a row begins at."""

    name: str
    zone: str
    ticks: tuple[Tick, ...]
    dates: tuple[PastDate, ...]


class Past(msgspec.Struct, frozen=True):
    """Everything that the page shows."""

    title: str
    sums: tuple[str, ...]
    phases: tuple[PastPhase, ...]
    incidents: tuple[IncidentText, ...]
