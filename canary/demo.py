"""`canary demo`: February 2026 as it happened, through the real orchestrator and the real canary.

Until February 11 old code was in service, and went wrong in two ways:

- February 9: before its own transaction the old function called a tracker, which merged the
  processor into the same document. The transaction then took each message for a duplicate. All
  five complete, `_triggered` unset, for days. Phase 3 has its own subscription, and ran.
- February 10 and 11: a restarted instance waited for `p2_bdl_box_scores`, which had been switched
  off. On February 11 it was real: there were 14 games, and Phase 3 wrote nothing.

From February 12 on the new orchestrator serves; a re-run of one processor mends a date, because a
registration that is there already is evaluated again.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console
from rich.text import Text

from canary.incidents import NoticeKind
from canary.message import CommandLine
from canary.old_code import OldCode
from canary.rehearsal import Event, Rehearsal, Step, show_everything
from canary.run import Report
from canary.telling import Notice
from canary.terminal import TerminalNotifier, print_table
from canary.verdict import Impact
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase, parse_phases
from orchestrator_resilience.stores.embedded import DATASETS, EmbeddedStores
from orchestrator_resilience.testing import push_envelope

WIDTH = 80
_EASTERN = ZoneInfo("America/New_York")
_HEALTHY, _SHORT_CIRCUITED, _DRIFTED, _BLOCKED, _NEW_CODE, _NO_GAMES = (date(2026, 2, d) for d in range(8, 14))
_DATES = (_HEALTHY, _SHORT_CIRCUITED, _DRIFTED, _BLOCKED, _NEW_CODE, _NO_GAMES)
_GAMES = dict(zip(_DATES, (4, 10, 4, 14, 3, 0), strict=True))
_ROWS_A_GAME = 26
_WHAT_HAPPENED = {
    _HEALTHY: "a healthy date",
    _SHORT_CIRCUITED: "the old code takes every message for a duplicate",
    _DRIFTED: "it waits for p2_bdl_box_scores, which was switched off",
    _BLOCKED: "it still waits, and Phase 3 does not run",
    _NEW_CODE: "the new orchestrator serves",
    _NO_GAMES: "no games: every processor reports no_data",
}

# When each processor reports, as minutes after midnight Eastern time of the game date: odds in the
# evening, play-by-play, game books and box scores after the last game, which is past midnight.
_USUAL = {
    "OddsApiGameLinesBatchProcessor": 18 * 60 + 4,
    "OddsApiPropsBatchProcessor": 18 * 60 + 11,
    "BigDataBallPbpProcessor": 25 * 60 + 17,
    "NbacGamebookProcessor": 25 * 60 + 33,
    "NbacPlayerBoxscoreProcessor": 25 * 60 + 41,
}
_NEXT_PHASE_WRITES = 25 * 60 + 58
# Whether there were games, and whether Phase 3 has written its rows: asked of the demo's own tables.
_QUERIES = '''
outcome_query = """
SELECT game_date, COUNT(*) AS n FROM nba_analytics.player_game_summary
WHERE game_date BETWEEN @since AND @until GROUP BY game_date"""
work_query = """
SELECT game_date, COUNT(*) AS n FROM nba_raw.schedule
WHERE game_date BETWEEN @since AND @until GROUP BY game_date"""
'''
PHASES = BUNDLED_PHASES.read_text("utf-8").replace("[phase2]\n", f"[phase2]{_QUERIES}", 1)


def demo(folder: Path, console: Console, command: CommandLine, *, verbose: bool) -> Report:
    """Replay the week in `folder`: one screen of it, or everything; the report is about all its dates."""
    (phase,) = parse_phases(PHASES, "the demo").values()
    events: list[Event] = []
    show = show_everything(console, phase, command) if verbose else events.append
    tables = _Tables(folder / DATASETS)
    with EmbeddedStores(folder, durable=False) as stores:
        rehearsal = Rehearsal(phase, stores, show)
        report = rehearsal.run(list(_steps(rehearsal, phase, tables)), _DATES, _at(_NO_GAMES, 36 * 60), console)
    if not verbose:
        _print_screen(console, events, phase, command)
    print_table(console, report.verdicts, {phase.name: phase})
    return report


def _steps(rehearsal: Rehearsal, phase: Phase, tables: "_Tables") -> Iterator[Step]:
    drifted = msgspec.structs.replace(phase, processors={**phase.processors, "p2_bdl_box_scores": ()})
    old_code = OldCode(phase, rehearsal.stores.documents, rehearsal.stores.completion_log)
    waiting_in_vain = rehearsal.orchestrator(drifted).deliver
    in_service: dict[date, Callable[[object], None]] = {
        _SHORT_CIRCUITED: partial(
            old_code.deliver_with_checkpoints, checkpoints=rehearsal.checkpoints(phase), decides=False
        ),
        _DRIFTED: waiting_in_vain,
        _BLOCKED: waiting_in_vain,
    }
    new_code = rehearsal.orchestrator(phase).deliver
    for day in _DATES:
        yield Step(_at(day, 18 * 60), partial(rehearsal.headline, f"{day:%B} {day.day}: {_WHAT_HAPPENED[day]}"))
        deliver = in_service.get(day, new_code)
        status = "success" if _GAMES[day] else "no_data"
        yield Step(_at(day, 18 * 60), partial(tables.add, "nba_raw.schedule", day, _GAMES[day]))
        for number, (processor, minute) in enumerate(_USUAL.items(), 1):
            at = _at(day, minute)
            envelope = push_envelope(processor, str(day), at, message_id=f"{day:%m%d}0{number}", status=status)
            yield Step(at + timedelta(seconds=1), partial(deliver, envelope))
            if number == 3:  # noqa: PLR2004 (Pub/Sub delivers at least once: one message a day comes twice)
                yield Step(at + timedelta(seconds=20), partial(deliver, envelope))
        if day != _BLOCKED:
            yield Step(_at(day, _NEXT_PHASE_WRITES), partial(tables.add_output, day))
    again = _at(_NEW_CODE, 10 * 60)
    yield Step(again, partial(rehearsal.headline, "the game books of February 9 to 11 are run again"))
    for day in (_SHORT_CIRCUITED, _DRIFTED, _BLOCKED):
        envelope = push_envelope("NbacGamebookProcessor", str(day), again, message_id=f"{day:%m%d}-re-run")
        yield Step(again, partial(new_code, envelope))
    yield Step(again, partial(tables.add_output, _BLOCKED))


class _Tables:
    """The tables that Phase 3 and the schedule are kept in, each dataset a SQLite file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        for name in ("nba_analytics.player_game_summary", "nba_raw.schedule"):
            self._run(name, "CREATE TABLE {} (game_date TEXT NOT NULL) STRICT", [()])

    def add(self, name: str, day: date, count: int) -> None:
        self._run(name, "INSERT INTO {} VALUES (?)", [(day.isoformat(),)] * count)

    def add_output(self, day: date) -> None:
        """Write what Phase 3 writes: so many rows a game."""
        self.add("nba_analytics.player_game_summary", day, _GAMES[day] * _ROWS_A_GAME)

    def _run(self, name: str, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
        dataset, table = name.split(".")
        with closing(sqlite3.connect(self._folder / f"{dataset}.sqlite3")) as connection, connection:
            connection.executemany(statement.format(table), rows)


def _print_screen(console: Console, events: Sequence[Event], phase: Phase, command: CommandLine) -> None:
    """Print the one screen: a healthy date in short, what went wrong with its alerts, and the end of it."""
    notifier = TerminalNotifier(console, {phase.name: phase}, command)

    def show(day: date, impact: Impact | None = None) -> None:
        console.rule(f"{day:%B} {day.day}: {_WHAT_HAPPENED[day]}", align="left")
        for line in _checkpoints_of_the_last(events, day):
            text = f"{line.at:%H:%M:%S}Z {line.message}"
            console.print(Text(text, style="dim"), no_wrap=True, overflow="ellipsis")
        told = [(notice, at) for notice, at in _notices(events, day) if impact and notice.verdict.impact is impact]
        for notice, at in told[:1]:
            notifier.send([notice], at)

    console.print(
        "February 2026 on simulated time, through the real orchestrator and canary. Each\n"
        "night five processors report done; then the orchestrator sets `_triggered`."
    )
    show(_HEALTHY)
    show(_SHORT_CIRCUITED, Impact.NONE)
    show(_BLOCKED, Impact.BLOCKED)
    console.rule(
        f"{_NEW_CODE:%B} {_NEW_CODE.day}: {_WHAT_HAPPENED[_NEW_CODE]}, and one re-run mends a date", align="left"
    )
    resolved = [(n, at) for day in _DATES for n, at in _notices(events, day) if n.kind is NoticeKind.RESOLVED]
    for notice, at in resolved:
        console.print(f"{at:%H:%M:%S}Z RESOLVED {notice.verdict.game_date}: {notice.verdict.summary}", style="green")


def _checkpoints_of_the_last(events: Sequence[Event], day: date) -> list[Checkpoint]:
    """Return the lines of the delivery with which the date was complete."""
    lines = [event.what for event in events if isinstance(event.what, Checkpoint)]
    own = [line for line in lines if line.fields["game_date"] == str(day) and line.at < _at(day, _NEXT_PHASE_WRITES)]
    return [line for line in own if line.fields["delivery"] == own[-1].fields["delivery"]]


def _notices(events: Sequence[Event], day: date) -> list[tuple[Notice, datetime]]:
    return [(e.what, e.at) for e in events if isinstance(e.what, Notice) and e.what.verdict.game_date == day]


def _at(day: date, minute: int) -> datetime:
    midnight = datetime(day.year, day.month, day.day, tzinfo=_EASTERN)
    return (midnight + timedelta(minutes=minute)).astimezone(UTC)
