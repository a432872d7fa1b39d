"""The picture of the page in a terminal: the same lanes, in characters."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from canary.commands.terminal import wrapped
from canary.page.axis import Tick
from canary.page.board import Board, Lane, PhaseBoard

STYLES = {
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "unknown": "magenta",
    "quiet": "dim",
}
_NARROWEST, _SHORTEST_LANE = 64, 12  # with less room it is a list
_KEY = "━ completions  ▒ grace  ⚑ flag set  ⚐ unset  ╌ waiting  ┊ deadline  ┃ now"
_MARKS = {"ok": "●", "failed": "✗", "unknown": "?"}
_FLAGS = {"ok": "⚑", "failed": "⚐", "unknown": "?"}


def print_board(console: Console, board: Board) -> None:
    """Print a row for each date, oldest first, with its lane where there is room for it."""
    widths = [console.width - _beside_the_lane(phase) for phase in board.phases]
    if console.width < _NARROWEST or min(widths) < _SHORTEST_LANE:
        for phase in board.phases:
            _print_list(console, phase)
        return
    for phase, width in zip(board.phases, widths, strict=True):
        name, games = _name_width(phase), _games_width(phase)
        heading = (
            f"{phase.zone:>{name}} {_axis(phase.ticks, width)} {phase.phase.next_phase:{games}}"
        )
        console.print(Text(heading, style="bold"), soft_wrap=True)
        for lane in reversed(phase.lanes):
            row = Text(f"{f'{phase.phase.name} {lane.date}':{name}} ")
            row.append(
                text_lane(lane, width), style=STYLES["quiet"] if lane.badge.word == "IDLE" else ""
            )
            row.append(
                f" {lane.games.word:{games}} ",
                style=STYLES["bad"] if lane.games.tone == "bad" else "",
            )
            console.print(
                row.append(lane.badge.word, style=STYLES[lane.badge.tone]), soft_wrap=True
            )
    console.print(Text(wrapped(_KEY, console.width), style="dim"), soft_wrap=True)


def _print_list(console: Console, phase: PhaseBoard) -> None:
    """Print a row for each date without its lane, in as many lines as it takes."""
    for lane in reversed(phase.lanes):
        games = f"{phase.phase.next_phase}: {lane.games.word}"
        line = wrapped(f"{phase.phase.name} {lane.date} {lane.badge.word}, {games}", console.width)
        console.print(Text(line, style=STYLES[lane.badge.tone]), soft_wrap=True)


def _beside_the_lane(phase: PhaseBoard) -> int:
    return (
        _name_width(phase)
        + _games_width(phase)
        + max((len(lane.badge.word) for lane in phase.lanes), default=0)
        + 3
    )


def _name_width(phase: PhaseBoard) -> int:
    return len(phase.phase.name) + len(" 2026-02-11")


def _games_width(phase: PhaseBoard) -> int:
    return max([len(phase.phase.next_phase), *(len(lane.games.word) for lane in phase.lanes)])


def text_lane(lane: Lane, width: int) -> str:
    """Return a lane in `width` characters; of two marks at one place the later one is shown."""
    cells = ["·"] * width
    for span, character in ((lane.pending, "╌"), (lane.arrivals, "━"), (lane.grace, "▒")):
        if span is not None:
            start, end = _place(span.x, width), _place(span.x + span.width, width) + 1
            cells[start:end] = character * (end - start)
    for at, character in ((lane.deadline, "┊"), (lane.now, "┃")):
        if at is not None:
            cells[_place(at, width)] = character
    for mark in lane.marks:
        several = mark.kind == "ok" and 1 < mark.count <= 9  # noqa: PLR2004 (what is one character)
        cells[_place(mark.x, width)] = str(mark.count) if several else _MARKS[mark.kind]
    if lane.flag is not None:
        taken, place = {_place(mark.x, width) for mark in lane.marks}, _place(lane.flag.x, width)
        beside = [*range(place, width), *reversed(range(place))]
        cells[next((free for free in beside if free not in taken), place)] = _FLAGS[lane.flag.kind]
    return "".join(cells)


def _place(x: float, width: int) -> int:
    return min(width - 1, int(x * width / 100))


def _axis(ticks: Sequence[Tick], width: int) -> str:
    cells = [" "] * width
    for tick in ticks:
        place = min(width - 2, int(tick.x * width / 100))
        if "".join(cells[max(0, place - 1) : place + 2]).isspace():
            cells[place : place + 2] = tick.label[:2]
    return "".join(cells)
