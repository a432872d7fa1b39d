"""The picture of the page in a terminal: the same lanes, in characters."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from canary.page.axis import Span, Tick
from canary.page.board import Badge, Board, Lane, PhaseBoard

STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "unknown": "magenta", "quiet": "dim"}
_LONGEST_VERDICT = len("DOWNSTREAM_MISSING")
_KEY = "━ completions  ▒ grace  ⚑ flag set  ⚐ unset  ╌ waiting  ┊ deadline  ┃ now"
_MARKS = {"ok": "●", "failed": "✗", "unknown": "?"}


def print_board(console: Console, board: Board) -> None:
    """Print a row for each date, oldest first, with its lane: as wide as the console, from 80 columns on."""
    for phase in board.phases:
        width = console.width - sum(_widths(phase)) - 3
        console.print(_heading(phase, width), soft_wrap=True)
        for lane in reversed(phase.lanes):
            console.print(_row(phase, lane, width), soft_wrap=True)
    console.print(Text(_KEY, style="dim"), soft_wrap=True)


def text_lane(lane: Lane, width: int) -> str:
    """Return a lane in `width` characters; what lies on another thing is put over it."""
    cells = ["·"] * width
    for span, character in ((lane.pending, "╌"), (lane.known, "━"), (lane.grace, "▒")):
        for place in _within(span, width):
            cells[place] = character
    for at, character in ((lane.deadline, "┊"), (lane.now, "┃")):
        if at is not None:
            cells[_place(at, width)] = character
    for mark in lane.marks:
        several = mark.kind == "ok" and 1 < mark.count <= 9  # noqa: PLR2004 (what is one character)
        cells[_place(mark.x, width)] = str(mark.count) if several else _MARKS[mark.kind]
    if lane.flag is not None:
        taken, place = {_place(mark.x, width) for mark in lane.marks}, _place(lane.flag.x, width)
        beside = [*range(place, width), *reversed(range(place))]
        cells[next(one for one in beside if one not in taken)] = {"ok": "⚑", "failed": "⚐", "unknown": "?"}[
            lane.flag.kind
        ]
    return "".join(cells)


def _place(x: float, width: int) -> int:
    return min(width - 1, int(x * width / 100))


def _within(span: Span | None, width: int) -> Iterator[int]:
    if span is not None:
        yield from range(_place(span.x, width), _place(span.x + span.width, width) + 1)


def _widths(phase: PhaseBoard) -> Sequence[int]:
    """Return how much room everything but the lane takes: the phase and its date, the verdict, the games."""
    games = max((len(lane.games.word) for lane in phase.lanes), default=0)
    return len(phase.phase.name) + 11, max(games, len(phase.phase.next_phase)), _LONGEST_VERDICT


def _heading(phase: PhaseBoard, width: int) -> Text:
    left, games, _ = _widths(phase)
    return Text(f"{phase.zone:>{left}} {_axis(phase.ticks, width)} {phase.phase.next_phase:{games}}", style="bold")


def _axis(ticks: Sequence[Tick], width: int) -> str:
    cells = [" "] * width
    for tick in ticks:
        place = min(width - 2, int(tick.x * width / 100))
        cells[place : place + 2] = tick.label[:2]
    return "".join(cells)


def _row(phase: PhaseBoard, lane: Lane, width: int) -> Text:
    left, games, _ = _widths(phase)
    name = f"{phase.phase.name} {lane.date}"
    row = Text(f"{name:{left}} ")
    row.append(text_lane(lane, width), style=STYLES["quiet"] if lane.badge.word == "IDLE" else "")
    row.append(f" {lane.games.word:{games}} ", style=_style(lane.games) if lane.games.tone == "bad" else "")
    return row.append(lane.badge.word, style=_style(lane.badge))


def _style(badge: Badge) -> str:
    return STYLES[badge.tone]
