"""What grows with the pipeline: dates and phases that are judged, and the history behind the dates that are read.

- judging: `check` over sources that answer at once, with 3 to 1,000 pairs of a phase and a date; a pair should cost the
  same, however many there are.
- summaries: `summarise` over the last week, with 10,000 to 1,000,000 rows of history in the table; the week's own rows
  are the same each time. bqemulator has real SQL over a real table, and no partitions, so it reads all of them, which
  BigQuery would not.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cost import phases_of
from benchmarks.measure import Bench, in_turns, summary
from canary.run import check
from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase
from orchestrator_resilience.progress import document_id
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import CompletionLog, Document, DocumentRef, ProcessorSummary
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.embedded import EmbeddedStores
from tools.emulators import PROJECT, emulators

_PHASE = load_phase("phase2", BUNDLED_PHASES)
_NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
_PAIRS = ((1, 3), (1, 30), (10, 10), (10, 100))
_ROWS = (10_000, 100_000, 1_000_000)
_ROWS_A_DATE = 50
_SECONDS = 240.0
_TABLE = "nba_orchestration.phase_completions"


class _NoCheckpoints:
    def read(self, phase: str, game_dates: Sequence[date]) -> list[Any]:
        del phase, game_dates
        return []


@dataclass(frozen=True)
class _Answers:
    """The stores of a run, which have their answers ready."""

    documents_: Mapping[DocumentRef, Document]
    summaries: Sequence[ProcessorSummary]
    checkpoints: Any = field(default_factory=_NoCheckpoints)
    counts: None = None
    flag_tables: None = None
    requests: None = None
    dead_letters: None = None

    @property
    def documents(self) -> Any:
        return self

    @property
    def completion_log(self) -> Any:
        return self

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        return {ref: self.documents_[ref] for ref in refs if ref in self.documents_}

    def summarise(self, phases: Iterable[str], since: date, until: date) -> Sequence[ProcessorSummary]:
        del phases, since, until
        return self.summaries


def growth(rounds: int) -> list[Bench]:
    """Measure a pair of a run by how many there are, and a summary by the rows behind it."""
    return [_judging(rounds, stuck=False), _judging(rounds, stuck=True), *_summaries(rounds)]


def _judging(rounds: int, *, stuck: bool) -> Bench:
    variants, pairs = {}, {}
    for phases, dates in _PAIRS:
        name = f"{phases * dates:,} pairs"
        pairs[name] = phases * dates
        variants[name] = run_over(phases, dates, stuck=stuck)
    seconds = in_turns(variants, rounds)
    a_pair = {name: [second / pairs[name] for second in found] for name, found in seconds.items()}
    words = "all stuck and diagnosed" if stuck else "all well"
    return summary(f"A run, for each of its pairs of a phase and a date, {words}", "µs", "3 pairs", a_pair)


def run_over(phases: int, dates: int, *, stuck: bool) -> Any:
    """Return a run over so many phases and dates, each with five completions."""
    own = {name: msgspec.structs.replace(one, history_dates=3) for name, one in phases_of(phases).items()}
    days = [_NOW.date() - timedelta(days=n) for n in range(dates)]
    documents = {
        DocumentRef(phase.firestore_collection, document_id(day)): Document(_fields(phase, stuck=stuck), "1")
        for phase in own.values()
        for day in days
    }
    summaries = [_summary(name, day, processor) for name in own for day in days for processor in _PHASE.expected]
    stores: Any = _Answers(documents, summaries)
    wanted = dict.fromkeys(own, days)

    def run() -> None:
        report = check(stores, own, _NOW, wanted)
        assert {verdict.kind.is_problem for verdict in report.verdicts} == {stuck}
        assert len(report.verdicts) == phases * dates

    return run


def _fields(phase: Phase, *, stuck: bool) -> dict[str, Any]:
    at = _NOW - timedelta(hours=6)
    fields: dict[str, Any] = {name: {"registered_at": at, "status": "success"} for name in phase.expected}
    return fields if stuck else {**fields, "_triggered": True, "_triggered_at": at}


def _summary(phase: str, day: date, processor: str) -> ProcessorSummary:
    at = _NOW - timedelta(hours=6)
    return ProcessorSummary(
        phase=phase,
        game_date=day,
        processor_name=processor,
        last_status="success",
        last_completed_at=at,
        first_completed_at=at,
        first_visible_at=at,
        is_triggered=None,
    )


def _summaries(rounds: int) -> Iterator[Bench]:
    for title, opened in (("SQLite", _sqlite), ("bqemulator", _bqemulator)):
        with opened() as (log, grow):
            yield _growing(f"A summary of the last {_PHASE.history_dates} dates, in {title}", log, grow, rounds)


# Adds the rows of this many dates, the first of which is so many days old.
_Grow = Callable[[int, int], None]


def _growing(title: str, log: CompletionLog, grow: _Grow, rounds: int) -> Bench:
    """Let the table grow, and summarise the same dates at each size; the sizes cannot take turns."""
    until = _NOW.date()
    since = until - timedelta(days=_PHASE.history_dates - 1)
    seconds: dict[str, list[float]] = {}
    dates = 0
    for rows in _ROWS:
        grow(dates, rows // _ROWS_A_DATE - dates)
        dates = rows // _ROWS_A_DATE
        name = f"{rows:,} rows"
        seconds |= in_turns({name: lambda: _summarise(log, since, until)}, rounds)
    return summary(title, "ms", f"{_ROWS[0]:,} rows", seconds)


def _summarise(log: CompletionLog, since: date, until: date) -> None:
    found = log.summarise([_PHASE.name], since, until)
    assert len(found) == _PHASE.history_dates * len(_PHASE.expected)


@contextmanager
def _sqlite() -> Iterator[tuple[CompletionLog, _Grow]]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedStores(Path(folder), durable=False) as stores:
        log = stores.completion_log

        def grow(first: int, dates: int) -> None:
            for number in range(first, first + dates):
                day = _NOW.date() - timedelta(days=number)
                names = sorted(_PHASE.expected) * (_ROWS_A_DATE // len(_PHASE.expected))
                log.append([_row(day, name, number) for number, name in enumerate(names)], now=_NOW)

        yield log, grow


def _row(day: date, name: str, number: int) -> CompletionRow:
    own = f"{day}-{number}"
    return CompletionRow(
        row_id=own,
        phase=_PHASE.name,
        game_date=day,
        processor_name=name,
        status="success",
        completed_at=datetime(day.year, day.month, day.day, 12, number, tzinfo=UTC),
        event_id=own,
    )


@contextmanager
def _bqemulator() -> Iterator[tuple[CompletionLog, _Grow]]:
    with emulators(["bigquery"]) as variables:
        os.environ.update(variables)
        bigquery = BigQuery(PROJECT, emulated=True, seconds=_SECONDS)
        bigquery.client.create_dataset(_TABLE.partition(".")[0])
        log = BigQueryCompletionLog(bigquery, {_PHASE.name: _PHASE})
        log.setup()

        def grow(first: int, dates: int) -> None:
            names = ", ".join(f"'{name}'" for name in sorted(_PHASE.expected))
            bigquery.query(
                f"""
                INSERT INTO `{PROJECT}.{_TABLE}` (phase, game_date, processor_name, status, completed_at, inserted_at)
                SELECT
                  'phase2', DATE_SUB(DATE '{_NOW.date()}', INTERVAL day DAY), name, 'success',
                  TIMESTAMP '2026-02-10 06:00:00', TIMESTAMP '2026-02-10 06:00:00'
                FROM UNNEST(GENERATE_ARRAY({first}, {first + dates - 1})) AS day,
                  UNNEST([{names}]) AS name,
                  UNNEST(GENERATE_ARRAY(1, {_ROWS_A_DATE // len(_PHASE.expected)})) AS again
                """,  # noqa: S608 (of values that are ours)
                [],
            )

        yield log, grow
        bigquery.close()
