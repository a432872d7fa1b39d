"""What the rows of the completion log say of a date."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.domain.evidence import Absent, Arrival, Flag, Logged, Seen, read_completion_log
from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
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
        is_triggered=False,
    )


def flag(name: str, at: datetime | None = AT, reason: str | None = "all_complete") -> ProcessorSummary:
    """Return what rows of the flag alone come to; without a name, what the flag table says."""
    empty = {"last_status": None, "last_completed_at": None, "first_completed_at": None, "first_visible_at": None}
    said = {"is_triggered": True, "triggered_at": at, "trigger_reason": reason}
    return msgspec.structs.replace(row(name), **empty, **said)


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
        flag("p2_odds_game_lines"),
        flag("_trigger"),
    ]
    expected = Logged(
        completed={"p2_nbacom_boxscores": Arrival(AT, AT + MINUTE)},
        reports={"p2_nbacom_boxscores": Report("failed", AT + 5 * MINUTE)},
        unexpected=frozenset({"p2_bdl_box_scores"}),
        flag=Flag(is_set=True, at=AT, reason="all_complete"),
    )
    assert read_completion_log(rows, phase) == Seen(expected)
    assert read_completion_log(reversed(rows), phase) == Seen(expected)


@pytest.mark.parametrize(
    ("said", "triggered"), [([None, None], None), ([None, False], False), ([None, True, False], True)]
)
def test_what_no_row_says_is_not_said(phase: Phase, said: list[bool | None], triggered: bool | None) -> None:  # noqa: FBT001
    """A column that is not there says nothing of the flag; one row that does is enough."""
    rows = [msgspec.structs.replace(row(f"p{n}"), is_triggered=one) for n, one in enumerate(said)]
    found = read_completion_log(rows, phase)
    assert isinstance(found, Seen)
    assert found.value.triggered is triggered


NAMES = ["p2_odds_game_lines", "NbacTeamBoxscoreProcessor", "p2_bdl_box_scores", "_trigger", "p2_new"]
TIMES = st.none() | st.integers(-9, 9).map(lambda n: AT + n * MINUTE)
FLAGS = st.lists(st.builds(flag, st.sampled_from(NAMES), TIMES), max_size=5)
ROWS = st.lists(st.builds(row, st.sampled_from(NAMES), TIMES), max_size=5)


@given(rows=ROWS, flags=FLAGS, said=st.sampled_from([[], [False], [True], [False, True]]))
def test_the_flag_completes_nobody(
    rows: list[ProcessorSummary], flags: list[ProcessorSummary], said: list[bool]
) -> None:
    """Rows of the flag, and what the flag table says, leave who has completed, who reported and who is unexpected."""
    phase = load_phase("phase2", BUNDLED_PHASES)
    table = [msgspec.structs.replace(flag(""), is_triggered=one, triggered_at=AT if one else None) for one in said]
    with_them, without = read_completion_log([*flags, *table, *rows], phase), read_completion_log(rows, phase)
    assert isinstance(with_them, Seen) or not (rows or flags or said)
    for name in ("completed", "reports", "unexpected"):
        assert _field(with_them, name) == _field(without, name)
    assert _field(with_them, "triggered") == (True if flags else _field(without, "triggered"))
    assert _field(with_them, "flag_table") == _flag_of(said)


def _field(found: object, name: str) -> object:
    return getattr(found.value if isinstance(found, Seen) else Logged(), name)


def _flag_of(said: Sequence[bool]) -> Flag | None:
    if not said:
        return None
    return Flag(is_set=True, at=AT, reason="all_complete") if any(said) else Flag(is_set=False)
