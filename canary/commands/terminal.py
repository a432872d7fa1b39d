"""Verdicts for a person at a terminal: a line, an alert, the notice that it is over."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import groupby
from typing import TextIO, cast
from zoneinfo import ZoneInfo

from msgspec.structs import replace
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from canary.commands.verify import FLAG_WORDS, Agreement, Verification
from canary.domain.silence import Silence
from canary.domain.stages import Step
from canary.domain.timeline import Timeline, by_delivery, delivery_text
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Notification
from canary.notify.message import CommandLine, Message, alert, messages_by_fault
from orchestrator_resilience.phase import Phase

_PLAIN_WIDTH, _WIDE = 140, 100
_BORDERS = 4
_INDENT = " " * 10  # of what goes on below a label such as "Impact:   "


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command decide; rich would exit with 1, which here accuses somebody."""
        raise BrokenPipeError


# One character for each, so that columns stay aligned.
_IN_ASCII = str.maketrans("·…╌━▒⚑⚐┊┃●✗─│╭╮╰╯█✖▲△✓", "-.~=#Ff:|ox-|++++#X!~+")


class _Ascii:
    """A stream to which only ASCII is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.translate(_IN_ASCII).encode("ascii", "replace").decode())

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def make_console(width: int | None = None, *, ascii_only: bool = False) -> Console:
    """Return a console for stdout, of `width` columns.

    By default it is as wide as the terminal or COLUMNS say, and in a pipe or a file wide enough for
    most lines. `ascii_only`: no other characters, and no colours; a stdout that has no others gets
    none either.
    """
    if width is None and not (sys.stdout is not None and sys.stdout.isatty()):
        width = shutil.get_terminal_size((_PLAIN_WIDTH, 25)).columns
    encoding = str(getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    stream = (
        _Ascii(sys.stdout)
        if sys.stdout is not None and (ascii_only or "utf" not in encoding)
        else None
    )
    return _Console(
        file=cast("TextIO | None", stream),
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        no_color=ascii_only or None,
    )


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Show a bar, where stderr is a terminal; the function that it yields takes the share done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def print_silences(console: Console, silences: Iterable[Silence]) -> None:
    """Print which dates are silenced, one line a silence."""
    for silence in silences:
        console.print(f"silenced: {silence.text}", style="yellow", soft_wrap=True)


def print_alert(
    console: Console,
    verdicts: Sequence[Verdict],
    phase: Phase,
    command: CommandLine,
    now: datetime,
    *,
    with_who: bool = False,
) -> None:
    """Print the alert of one fault, for its dates."""
    kind = verdicts[0].kind
    message = alert(verdicts, phase, command, now, with_who=with_who)
    _print_panel(console, kind, message, kind, now)
    for label, commands in message.in_hand:
        for line in commands.split("\n"):
            console.print(f"{label}: {line}", soft_wrap=True)


def print_notifications(
    console: Console,
    notifications: Sequence[Notification],
    phases: Mapping[str, Phase],
    command: CommandLine,
    now: datetime,
) -> None:
    """Print a panel for each fault, or for its end."""
    for group, message in messages_by_fault(notifications, phases, command, now):
        _print_panel(console, group[0].kind, message, group[0].verdict.kind, now)


def print_line(
    console: Console, verdict: Verdict, now: datetime | None = None, until: date | None = None
) -> None:
    """Print a verdict in one line, with the time of the run where it is given.

    `until` is the last date like it.
    """
    time = f"{now:%m-%d %H:%M:%S}Z canary " if now else ""
    dates = f"{verdict.game_date} to {until}" if until else verdict.game_date
    line = f"{time}{verdict.phase} {dates} {verdict.kind}: {verdict.summary}"
    console.print(Text(wrapped(line, console.width), style=_style(verdict.kind)), soft_wrap=True)


def print_lines(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print verdicts in one line each.

    Dates in a row that are unreadable for one reason share a line.
    """
    for _, group in groupby(
        verdicts, lambda v: (v.phase, v.reason if v.unreadable else v.game_date)
    ):
        first, *more = group
        print_line(console, first, until=more[-1].game_date if more else None)


def wrapped(line: str, width: int, indent: str = "  ") -> str:
    """Wrap one line, further ones indented; a path or a name is left whole, to be copied."""
    return textwrap.fill(
        line,
        max(1, width),
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def print_timeline(
    console: Console, timeline: Timeline, phase: Phase, command: CommandLine, now: datetime
) -> None:
    """Print the verdict, what to do, what is known of its cause, and the deliveries before it."""
    zone = ZoneInfo(phase.timezone)
    if timeline.verdict.kind.is_problem:
        print_alert(console, [timeline.verdict], phase, command, now, with_who=True)
    else:
        print_line(console, timeline.verdict)
    print_silences(console, timeline.silences)
    for reason in timeline.unreadable:
        console.print(
            wrapped(f"not readable: {reason}", console.width), style="yellow", soft_wrap=True
        )
    console.print(
        f"{'UTC':14}  {now.astimezone(zone).tzname() or phase.timezone:5}  one line a delivery",
        style="bold",
    )
    for group in by_delivery(timeline.entries):
        _print_moment(console, group, zone)


def _print_moment(console: Console, group: Sequence[Step], zone: ZoneInfo) -> None:
    """Print what belongs to one delivery, its times before it."""
    at = group[0].at
    times = f"{at:%m-%d %H:%M:%S}  {at.astimezone(zone):%H:%M}  " if at else f"{'not noted':23}"
    indent = " " * len(times)
    lines = textwrap.fill(
        delivery_text(group), console.width, initial_indent=times, subsequent_indent=indent
    )
    console.print(Text(lines), soft_wrap=True)


def print_flags(console: Console, verification: Verification) -> None:
    """Print the flag in Firestore and in each table, one row a date, and what follows from it."""
    for point in verification.points:
        console.print(point.line, soft_wrap=True)
    for comparison in verification.comparisons:
        table = Table(box=box.SIMPLE_HEAD, title=comparison.table, title_justify="left")
        for heading in ("phase", "game date", "Firestore", "BigQuery", ""):
            table.add_column(heading)
        for flag in comparison.flags:
            style = "green" if flag.agreement is Agreement.AGREE else "bold red"
            cells = (
                comparison.phase,
                flag.game_date.isoformat(),
                FLAG_WORDS[flag.firestore],
                FLAG_WORDS[flag.bigquery],
            )
            table.add_row(*cells, Text(flag.agreement, style=style))
        console.print(table)
    for line in [verification.advice, *verification.answers, *verification.setup_errors]:
        console.print(line, soft_wrap=True)


def _print_panel(
    console: Console, title: str, message: Message, kind: VerdictKind, now: datetime
) -> None:
    """Print an alert, and below it the command with which to look further, to be copied whole."""
    heading, width = f"{title} {now:%Y-%m-%d %H:%M}Z", console.width - _BORDERS
    text = replace(message, command="", in_hand=()).text
    lines = "\n".join(
        wrapped(line, width, _INDENT if _has_label(line) else "") for line in text.split("\n")
    )
    console.print(Panel(Text(lines), title=heading, title_align="left", border_style=_style(kind)))
    console.print(f"Look: {message.command}", soft_wrap=True)


def _has_label(line: str) -> bool:
    """Whether a line of an alert begins with a label, or continues a text that does."""
    return line[:9].rstrip().endswith(":") or line[:10].isspace()


def _style(kind: VerdictKind) -> str:
    if kind.is_problem:
        return "bold red"
    return "green" if kind.is_quiet else "yellow"


def size_text(size: int) -> str:
    """Return a size in bytes in words: 1.5 MB."""
    return decimal(size)
