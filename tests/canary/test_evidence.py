"""What the rows of the completion log say of a date."""

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from canary.domain.evidence import Absent, Arrival, Logged, Seen, read_completion_log
from orchestrator_resilience import Phase
from orchestrator_resilience.progress import Report
from orchestrator_resilience.stores.base import ProcessorSummary

AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def row(name: str, first: datetime | None = AT, *, last: datetime = AT, status: str = "success") -> ProcessorSummary:
    return ProcessorSummary(
        phase="phase2",
        game_date=date(2026, 2, 9),
        processor_name=name,
        last_status=status,
        last_completed_at=last,
        first_completed_at=first,
        first_visible_at=first and first + MINUTE,
        is_triggered=name == "_trigger",
        trigger_reason=None,
    )


def test_no_rows_are_absent(phase: Phase) -> None:
    """The source answered, and has nothing."""
    assert read_completion_log([], phase) == Absent()


def test_aliases_are_one_processor(phase: Phase) -> None:
    """The earlier success and the later status, whatever name they came under."""
    rows = [
        row("NbacPlayerBoxscoreProcessor", AT + MINUTE, last=AT + 5 * MINUTE, status="failed"),
        row("NbacTeamBoxscoreProcessor", AT),
        row("p2_nbacom_boxscores", None, last=AT + 2 * MINUTE, status="no_data"),
        row("p2_bdl_box_scores"),
        row("_trigger", None, status="triggered"),
    ]
    expected = Logged(
        completed={"p2_nbacom_boxscores": Arrival(AT, AT + MINUTE)},
        reports={"p2_nbacom_boxscores": Report("failed", AT + 5 * MINUTE)},
        unexpected=frozenset({"p2_bdl_box_scores"}),
        triggered=True,
        triggered_at=AT,
    )
    assert read_completion_log(rows, phase) == Seen(expected)
    assert read_completion_log(reversed(rows), phase) == Seen(expected)


@pytest.mark.parametrize(
    ("said", "triggered"), [([None, None], None), ([None, False], False), ([None, True, False], True)]
)
def test_what_no_row_says_is_not_said(phase: Phase, said: list[bool | None], triggered: bool | None) -> None:  # noqa: FBT001
    """A column that is not there says nothing of the flag; one row that does is enough."""
    rows = [dataclasses.replace(row(f"p{n}"), is_triggered=one) for n, one in enumerate(said)]
    found = read_completion_log(rows, phase)
    assert isinstance(found, Seen)
    assert found.value.triggered is triggered
