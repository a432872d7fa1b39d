"""What the rows of the completion log say of a date."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.domain.evidence import (
    Absent,
    Arrival,
    Logged,
    Seen,
    Source,
    merged,
    read_completion_log,
    value_or,
)
from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.progress import ProcessorReport
from orchestrator_resilience.stores.base import Flag, ProcessorSummary

AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def row(
    name: str, first: datetime | None = AT, *, last: datetime = AT, status: str = "success"
) -> ProcessorSummary:
    return ProcessorSummary(
        phase="phase2",
        game_date=date(2026, 2, 9),
        processor_name=name,
        status=status,
        last_completed_at=last,
        first_completed_at=first,
        first_visible_at=first and first + MINUTE,
        is_triggered=False,
    )


def flag(
    name: str, at: datetime | None = AT, reason: str | None = "all_complete"
) -> ProcessorSummary:
    """Return what rows of the flag alone come to."""
    return msgspec.structs.replace(row(name, at), is_triggered=True, trigger_reason=reason)


def test_no_rows_are_absent(phase: Phase) -> None:
    """The source answered, and has nothing."""
    assert read_completion_log([], phase) == Absent()


def test_aliases_are_one_processor(phase: Phase) -> None:
    """The earlier success and the later status, whatever name they came under."""
    rows = [
        row("NbacPlayerBoxscoreProcessor", AT + MINUTE, last=AT + 5 * MINUTE, status="failed"),
        row("NbacTeamBoxscoreProcessor", AT),
        row("p2_nbacom_boxscores", AT - MINUTE, last=AT + 2 * MINUTE, status="no_data"),
        row("p2_bdl_box_scores"),
        flag("p2_odds_game_lines"),
        flag("_trigger"),
    ]
    expected = Logged(
        completed={"p2_nbacom_boxscores": Arrival(AT, AT + MINUTE)},
        reports={"p2_nbacom_boxscores": ProcessorReport("failed", AT + 5 * MINUTE)},
        unexpected=frozenset({"p2_bdl_box_scores"}),
        flag=Flag(is_set=True, at=AT, reason="all_complete"),
    )
    assert read_completion_log(rows, phase) == Seen(expected)
    assert read_completion_log(reversed(rows), phase) == Seen(expected)


@pytest.mark.parametrize(
    ("said", "triggered"),
    [([None, None], None), ([None, False], False), ([None, True, False], True)],
)
def test_what_no_row_says_is_not_said(
    phase: Phase,
    said: list[bool | None],
    triggered: bool | None,  # noqa: FBT001
) -> None:
    """A column that is not there says nothing of the flag; one row that does is enough."""
    rows = [msgspec.structs.replace(row(f"p{n}"), is_triggered=one) for n, one in enumerate(said)]
    found = read_completion_log(rows, phase)
    assert isinstance(found, Seen)
    assert found.value.flag == (
        None if triggered is None else Flag(is_set=triggered, at=AT if triggered else None)
    )


NAMES = [
    "p2_odds_game_lines",
    "NbacTeamBoxscoreProcessor",
    "p2_bdl_box_scores",
    "_trigger",
    "p2_new",
]
TIMES = st.none() | st.integers(-9, 9).map(lambda n: AT + n * MINUTE)
FLAGS = st.lists(st.builds(flag, st.sampled_from(NAMES), TIMES), max_size=5)
ROWS = st.lists(st.builds(row, st.sampled_from(NAMES), TIMES), max_size=5)


@given(rows=ROWS, flags=FLAGS)
def test_the_flag_completes_nobody(
    rows: list[ProcessorSummary], flags: list[ProcessorSummary]
) -> None:
    """Rows of the flag leave who has completed, who reported and who is unexpected."""

    def field(found: object, name: str) -> object:
        return getattr(found.value if isinstance(found, Seen) else Logged(), name)

    phase = load_phase("phase2", BUNDLED_PHASES)
    with_them = read_completion_log([*flags, *rows], phase)
    without = read_completion_log(rows, phase)
    assert isinstance(with_them, Seen) or not (rows or flags)
    for name in ("completed", "reports", "unexpected"):
        assert field(with_them, name) == field(without, name)
    said = field(with_them, "flag")
    assert (isinstance(said, Flag) and said.is_set) if flags else said == field(without, "flag")


@given(rows=ROWS, messages=ROWS)
def test_both_logs_say_what_one_with_all_rows_would(
    rows: list[ProcessorSummary], messages: list[ProcessorSummary]
) -> None:
    """The orchestrator's rows and the topic's messages, read apart, say what one log would."""
    phase = load_phase("phase2", BUNDLED_PHASES)
    silent = [msgspec.structs.replace(one, is_triggered=None) for one in messages]
    apart = merged(*(_logged(read_completion_log(one, phase)) for one in (rows, silent)))
    assert apart == _logged(read_completion_log([*rows, *silent], phase))


def test_what_cannot_be_attributed_is_kept_as_such(phase: Phase) -> None:
    """A message without a name or without a date is nobody's completion, and keeps its time."""
    nameless = row("")
    undated = msgspec.structs.replace(row("NbacTeamBoxscoreProcessor"), game_date=None)
    logged = _logged(read_completion_log([nameless, row("p2_odds_game_lines")], phase))
    assert ({*logged.completed}, logged.unexpected, len(logged.unattributed)) == (
        {"p2_odds_game_lines"},
        frozenset(),
        1,
    )
    logged = _logged(read_completion_log([undated], phase))
    assert (logged.completed, logged.unattributed) == ({}, (undated.last_completed_at,))


def _logged(source: Source[Logged]) -> Logged:
    return value_or(source, Logged())
