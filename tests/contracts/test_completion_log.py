"""What every CompletionLog does."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import CompletionLog, ProcessorSummary

DAY = date(2026, 2, 9)
AT = datetime(2026, 2, 10, 6, 41, 0, 500, tzinfo=UTC)
NOW = AT + timedelta(seconds=5)
ROW = CompletionRow(
    row_id="phase2:1",
    phase="phase2",
    game_date=DAY,
    processor_name="p2_odds_game_lines",
    status="success",
    completed_at=AT,
    event_id="1",
    record_count=2**62 + 1,
    correlation_id="c",
    execution_id="e",
    is_incremental=True,
    entities_changed=("LAL",),
    metadata={"raw_processor": "OddsApiGameLinesBatchProcessor"},
)
SUMMARY = ProcessorSummary(
    phase="phase2",
    game_date=DAY,
    processor_name="p2_odds_game_lines",
    status="success",
    last_completed_at=AT,
    first_completed_at=AT,
    first_visible_at=NOW,
    is_triggered=False,
    trigger_reason=None,
)


@pytest.fixture
def summary(unset: bool | None) -> ProcessorSummary:  # noqa: FBT001 (a fixture)
    return msgspec.structs.replace(SUMMARY, is_triggered=unset)


def another(row_id: str, minutes: float, **changes: object) -> CompletionRow:
    return msgspec.structs.replace(
        ROW,
        row_id=row_id,
        event_id=row_id,
        completed_at=AT + timedelta(minutes=minutes),
        **changes,
    )


def test_one_row_is_its_own_summary(
    completion_log: CompletionLog, summary: ProcessorSummary
) -> None:
    """Times come back to the microsecond."""
    completion_log.append([ROW], now=NOW)
    assert completion_log.summarise(["phase2"], DAY, DAY) == [summary]


def test_nothing_is_an_empty_summary(completion_log: CompletionLog) -> None:
    """No rows, no error."""
    assert completion_log.summarise(["phase2"], DAY, DAY) == []
    completion_log.append([], now=NOW)
    assert completion_log.summarise([], DAY, DAY) == []


def test_a_row_appended_again_changes_nothing(
    completion_log: CompletionLog, summary: ProcessorSummary
) -> None:
    """A redelivery hours later does not move the time at which the row was first visible."""
    completion_log.append([ROW], now=NOW)
    completion_log.append([ROW, ROW], now=NOW + timedelta(hours=3))
    assert completion_log.summarise(["phase2"], DAY, DAY) == [summary]


def test_each_status_has_a_summary(
    completion_log: CompletionLog, summary: ProcessorSummary
) -> None:
    """Rows arrive in any order, and which of them complete is for the reader to say."""
    rows = [
        another("4", 30),
        another("3", 20, status="running"),
        another("2", 10),
        another("1", 0, status="running"),
    ]
    for number, row in enumerate(rows):
        completion_log.append([row], now=NOW + timedelta(hours=number))
    assert completion_log.summarise(["phase2"], DAY, DAY) == [
        msgspec.structs.replace(
            summary,
            status=status,
            last_completed_at=AT + timedelta(minutes=first + 20),
            first_completed_at=AT + timedelta(minutes=first),
            first_visible_at=NOW + timedelta(hours=hours),
        )
        for status, first, hours in (("running", 0, 1), ("success", 10, 0))
    ]


def flagged(summary: ProcessorSummary, first: datetime, last: datetime) -> list[ProcessorSummary]:
    """Return the summary of rows of the flag; a table that has no column for it has no such row."""
    times = {"first_completed_at": first, "last_completed_at": last}
    flag = msgspec.structs.replace(
        summary, is_triggered=True, trigger_reason="all_complete", **times
    )
    return [] if summary.is_triggered is None else [flag]


@pytest.mark.parametrize("minutes", [-1, 0, 1])
def test_the_row_of_the_flag(
    completion_log: CompletionLog, summary: ProcessorSummary, minutes: float
) -> None:
    """It is a second row of the processor that set it, and changes nothing else."""
    row = another("t", minutes, is_triggered=True, trigger_reason="all_complete")
    completion_log.append([ROW, row], now=NOW)
    found = completion_log.summarise(["phase2"], DAY, DAY)
    assert sorted(found, key=str) == sorted(
        [summary, *flagged(summary, *[row.completed_at] * 2)], key=str
    )


def test_the_row_of_the_flag_alone(
    completion_log: CompletionLog, summary: ProcessorSummary
) -> None:
    """It alone completes and reports nothing, whatever its status, and the first of two counts."""
    rows = [another(str(n), n, is_triggered=True, trigger_reason="all_complete") for n in (2, 1)]
    completion_log.append(rows, now=NOW)
    times = [AT + timedelta(minutes=n) for n in (1, 2)]
    assert completion_log.summarise(["phase2"], DAY, DAY) == flagged(summary, *times)


def test_spaces_and_capitals_mean_nothing(
    completion_log: CompletionLog, summary: ProcessorSummary
) -> None:
    """As they do in a message: whoever writes the table need not be the orchestrator."""
    odd = another("1", 0, processor_name=f" {ROW.processor_name} ", status=" SUCCESS")
    completion_log.append([odd], now=NOW)
    assert completion_log.summarise(["phase2"], DAY, DAY) == [summary]


@pytest.mark.parametrize("name", ["", "  "])
def test_a_row_without_a_name_is_nobodys(completion_log: CompletionLog, name: str) -> None:
    """An empty name is that of the flag table, which is another one."""
    completion_log.append([another("1", 0, processor_name=name)], now=NOW)
    assert completion_log.summarise(["phase2"], DAY, DAY) == []


def test_phases_dates_and_names_are_kept_apart(completion_log: CompletionLog) -> None:
    """One query answers for all; what was not asked for is not in it."""
    completion_log.append(
        [
            ROW,
            another("2", 0, phase="phase3"),
            another("3", 0, phase="phase4"),
            another("4", 0, game_date=DAY + timedelta(days=1)),
            another("5", 0, game_date=DAY + timedelta(days=2)),
            another("6", 0, game_date=DAY - timedelta(days=1)),
            another("7", 0, processor_name="it's; DROP TABLE"),
        ],
        now=NOW,
    )
    found = completion_log.summarise(["phase2", "phase3"], DAY, DAY + timedelta(days=1))
    assert sorted((row.phase, str(row.game_date), row.processor_name) for row in found) == [
        ("phase2", "2026-02-09", "it's; DROP TABLE"),
        ("phase2", "2026-02-09", "p2_odds_game_lines"),
        ("phase2", "2026-02-10", "p2_odds_game_lines"),
        ("phase3", "2026-02-09", "p2_odds_game_lines"),
    ]


def test_threads_lose_no_row(completion_log: CompletionLog) -> None:
    """Twenty at once."""
    with ThreadPoolExecutor(20) as pool:
        list(
            pool.map(
                lambda n: completion_log.append(
                    [another(str(n), 0, processor_name=f"p{n}")], now=NOW
                ),
                range(20),
            )
        )
    assert len(completion_log.summarise(["phase2"], DAY, DAY)) == 20
