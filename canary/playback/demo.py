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

from canary.playback.playback import PlannedStep, Playback, Show
from canary.run import Report
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase, parse_phases
from orchestrator_resilience.progress import document_id
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import CompletionLog, DocumentRef, DocumentStore
from orchestrator_resilience.stores.embedded import DATASETS, EmbeddedStores
from orchestrator_resilience.testing import push_envelope

_EASTERN = ZoneInfo("America/New_York")
HEALTHY, SHORT_CIRCUITED, DRIFTED, BLOCKED, NEW_CODE, NO_GAMES = (
    date(2026, 2, d) for d in range(8, 14)
)
DATES = (HEALTHY, SHORT_CIRCUITED, DRIFTED, BLOCKED, NEW_CODE, NO_GAMES)
_GAMES = dict(zip(DATES, (4, 10, 4, 14, 3, 0), strict=True))
_ROWS_A_GAME = 26
WHAT_HAPPENED = {
    HEALTHY: "a healthy date",
    SHORT_CIRCUITED: "the old code takes every message for a duplicate",
    DRIFTED: "it waits for p2_bdl_box_scores, which was switched off",
    BLOCKED: "it still waits, and Phase 3 does not run",
    NEW_CODE: "the new orchestrator serves",
    NO_GAMES: "no games: every processor reports no_data",
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
NEXT_PHASE_WRITES = 25 * 60 + 58  # as above, for Phase 3
# Whether there were games, and whether Phase 3 has written its rows: asked of the demo's own
# tables.
_QUERIES = '''
outcome_query = """
SELECT game_date, COUNT(*) AS n FROM nba_analytics.player_game_summary
WHERE game_date BETWEEN @since AND @until GROUP BY game_date"""
work_query = """
SELECT game_date, COUNT(*) AS n FROM nba_raw.schedule
WHERE game_date BETWEEN @since AND @until GROUP BY game_date"""
'''
PHASES = BUNDLED_PHASES.read_text("utf-8").replace("[phase2]\n", f"[phase2]{_QUERIES}", 1)


def play_demo(folder: Path, show: Show) -> Report:
    """Replay the week in `folder`; the report is about all its dates.

    `show` is called with everything that happens.
    """
    phase = demo_phase()
    tables = _Tables(folder / DATASETS)
    with EmbeddedStores(folder, durable=False) as stores:
        playback = Playback(phase, stores, show)
        return playback.run(
            list(_steps(playback, phase, tables, show)), DATES, at_minute(NO_GAMES, 36 * 60)
        )


def demo_phase() -> Phase:
    """Return the phase of the demo."""
    (phase,) = parse_phases(PHASES, "the demo").values()
    return phase


def _steps(
    playback: Playback, phase: Phase, tables: "_Tables", show: Show
) -> Iterator[PlannedStep]:
    drifted = msgspec.structs.replace(
        phase, processors={**phase.processors, "p2_bdl_box_scores": ()}
    )
    waiting_in_vain = playback.orchestrator(drifted).deliver
    in_service: dict[date, Callable[[object], None]] = {
        SHORT_CIRCUITED: partial(
            _take_for_a_duplicate, playback, phase, playback.checkpoints(phase)
        ),
        DRIFTED: waiting_in_vain,
        BLOCKED: waiting_in_vain,
    }
    new_code = playback.orchestrator(phase).deliver
    for day in DATES:
        begin = at_minute(day, 18 * 60)
        yield (begin, partial(show, (begin, f"{day:%B} {day.day}: {WHAT_HAPPENED[day]}")))
        deliver = in_service.get(day, new_code)
        status = "success" if _GAMES[day] else "no_data"
        yield (begin, partial(tables.add, "nba_raw.schedule", day, _GAMES[day]))
        for number, (processor, minute) in enumerate(_USUAL.items(), 1):
            at = at_minute(day, minute)
            envelope = push_envelope(
                processor, str(day), at, message_id=f"{day:%m%d}0{number}", status=status
            )
            yield (at + timedelta(seconds=1), partial(deliver, envelope))
            if number == 3:  # noqa: PLR2004 (Pub/Sub delivers at least once: one message a day comes twice)
                yield (at + timedelta(seconds=20), partial(deliver, envelope))
        if day != BLOCKED:
            yield (at_minute(day, NEXT_PHASE_WRITES), partial(tables.add_output, day))
    again = at_minute(NEW_CODE, 10 * 60)
    yield (again, partial(show, (again, "the game books of February 9 to 11 are run again")))
    for day in (SHORT_CIRCUITED, DRIFTED, BLOCKED):
        envelope = push_envelope(
            "NbacGamebookProcessor", str(day), again, message_id=f"{day:%m%d}-re-run"
        )
        yield (again, partial(new_code, envelope))
    yield (again, partial(tables.add_output, BLOCKED))


def _take_for_a_duplicate(
    playback: Playback, phase: Phase, checkpoints: CheckpointLogger, event: object
) -> None:
    """Deliver as the old code did, with the README's six lines around it.

    It returned from inside their block.
    """
    completion = Completion.from_event(event, phase)
    with checkpoints.delivery_of(completion):
        stores = playback.stores
        track(completion, phase, stores.documents, stores.completion_log, completion.completed_at)


def track(
    completion: Completion,
    phase: Phase,
    documents: DocumentStore,
    log: CompletionLog,
    now: datetime,
) -> DocumentRef:
    """Write what the old tracker wrote of any processor: a row, and a key of the document.

    Returns the address of the document.
    """
    log.append([completion_row(completion)], now=now)
    entry = {
        "completed_at": completion.completed_at,
        "status": completion.status.value,
        "record_count": completion.record_count,
        "correlation_id": completion.correlation_id,
        "execution_id": completion.execution_id,
    }
    ref = DocumentRef(phase.firestore_collection, document_id(completion.game_date))
    documents.merge(ref, {completion.processor or completion.raw_processor: entry})
    return ref


class _Tables:
    """The tables that Phase 3 and the schedule are kept in, each dataset a SQLite file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        for name in ("nba_analytics.player_game_summary", "nba_raw.schedule"):
            self._execute(name, "CREATE TABLE {} (game_date TEXT NOT NULL) STRICT", [()])

    def add(self, name: str, day: date, count: int) -> None:
        self._execute(name, "INSERT INTO {} VALUES (?)", [(day.isoformat(),)] * count)

    def add_output(self, day: date) -> None:
        """Write what Phase 3 writes: so many rows a game."""
        self.add("nba_analytics.player_game_summary", day, _GAMES[day] * _ROWS_A_GAME)

    def _execute(self, name: str, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
        dataset, table = name.split(".")
        with (
            closing(sqlite3.connect(self._folder / f"{dataset}.sqlite3")) as connection,
            connection,
        ):
            connection.executemany(statement.format(table), rows)


def at_minute(day: date, minute: int) -> datetime:
    """Return the moment (UTC) so many minutes after midnight Eastern time of a game date."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=_EASTERN)
    return (midnight + timedelta(minutes=minute)).astimezone(UTC)
