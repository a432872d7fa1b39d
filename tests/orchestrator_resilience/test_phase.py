"""phases.toml: what it says, and how it is refused."""

import os
import threading
import tracemalloc
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from orchestrator_resilience import ConfigurationError, Phase, load_phase, load_phases
from orchestrator_resilience.phase import BUNDLED_PHASES, parse_phases
from tests.proof.inputs import fuzzed, mutated, or_error

TEXT = BUNDLED_PHASES.read_text("utf-8")


def test_phase_2_expects_exactly_the_five(phase: Phase) -> None:
    """The bundled list is the reviewed plan's."""
    assert phase.expected == {
        "p2_bigdataball_pbp",
        "p2_odds_game_lines",
        "p2_odds_player_props",
        "p2_nbacom_gamebook_pdf",
        "p2_nbacom_boxscores",
    }
    assert (phase.untriggered_after_minutes, phase.settle_minutes) == (30, 2)


@pytest.mark.parametrize(
    ("raw", "processor"),
    [
        ("p2_odds_game_lines", "p2_odds_game_lines"),
        ("OddsApiGameLinesBatchProcessor", "p2_odds_game_lines"),
        ("OddsApiPropsBatchProcessor", "p2_odds_player_props"),
        ("NbacPlayerBoxscoreProcessor", "p2_nbacom_boxscores"),
        ("NbacTeamBoxscoreProcessor", "p2_nbacom_boxscores"),
        ("nbac_gamebook_player_stats", "p2_nbacom_gamebook_pdf"),
        ("BigdataballPbpProcessor", "p2_bigdataball_pbp"),
        ("p2_nbacom_schedule", None),
        ("p2_bdl_box_scores", None),
        ("", None),
    ],
)
def test_an_alias_stands_for_its_processor_and_another_name_for_none(
    phase: Phase, raw: str, processor: str | None
) -> None:
    """Names are compared exactly."""
    assert phase.canonical(raw) == processor


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        ("NbacPlayerBoxscoresProcessor", "p2_nbacom_boxscores"),
        ("NBACTeamBoxscoreProcessor", "p2_nbacom_boxscores"),
        ("nbac_team_boxscore_v2", "p2_nbacom_boxscores"),
        ("p2nbacomboxscores", "p2_nbacom_boxscores"),
        ("NbacGamebookPdfProcessor", "p2_nbacom_gamebook_pdf"),
        ("BigDataBallPlayByPlayV2Processor", "p2_bigdataball_pbp"),
        ("OddsPlayerPropsProcessor", "p2_odds_player_props"),
        # Of the same source, and about something else; about the same, and of another source; of
        # another phase.
        ("NbacPlayerListProcessor", None),
        ("p2_nbacom_schedule", None),
        ("NbacPlayByPlayProcessor", None),
        ("OddsApiSpreads", None),
        ("BdlPlayerBoxscoresProcessor", None),
        ("EspnTeamBoxscoreProcessor", None),
        ("BdlBoxScoresProcessor", None),
        ("p3_nbacom_boxscores", None),
        ("OddsApiProcessor", None),
        ("NbacPlayerProcessor", None),
        ("Processor", None),
        ("x", None),
        ("", None),
    ],
)
def test_what_an_unknown_name_may_be_another_name_of(
    phase: Phase, name: str, processor: str | None
) -> None:
    """Only what has no word that is foreign to the processor, and one that is its own."""
    assert phase.nearest(name) == processor


@pytest.mark.parametrize(
    ("game_date", "deadline"),
    [
        (date(2026, 2, 9), datetime(2026, 2, 10, 17, 0, tzinfo=UTC)),
        # the clocks go forward that night
        (date(2026, 3, 7), datetime(2026, 3, 8, 16, 0, tzinfo=UTC)),
        (date(2026, 10, 31), datetime(2026, 11, 1, 17, 0, tzinfo=UTC)),  # and back that night
    ],
)
def test_the_deadline_is_noon_eastern_whatever_the_clocks_do(
    phase: Phase, game_date: date, deadline: datetime
) -> None:
    """A date is late by the wall clock of the phase's time zone."""
    assert phase.deadline(game_date) == deadline


def test_today_is_the_time_zones_today(phase: Phase) -> None:
    """At 04:59Z it is still the evening before in New York."""
    assert phase.recent_dates(datetime(2026, 2, 10, 4, 59, tzinfo=UTC), 3) == (
        date(2026, 2, 7),
        date(2026, 2, 8),
        date(2026, 2, 9),
    )
    assert phase.today(datetime(2026, 2, 10, 5, 0, tzinfo=UTC)) == date(2026, 2, 10)


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        (
            'next_phase = "Phase 3"',
            "next_phase = 3",
            "[phase2]: next_phase: Expected `str`, got `int`",
        ),
        (
            'next_phase = "Phase 3"',
            "",
            "[phase2]: next_phase: Object missing required field `next_phase`",
        ),
        (
            "settle_minutes = 2",
            "settle_minute = 2",
            "[phase2]: settle_minute: unknown field; did you mean 'settle_minutes'?",
        ),
        ("settle_minutes = 2", "zzz = 2", "[phase2]: zzz: unknown field"),
        (
            "settle_minutes = 2",
            "outcome_qurey = ''",
            "outcome_qurey: unknown field; did you mean 'outcome_query'?",
        ),
        (
            "America/New_York",
            "America/New_Yrok",
            "is not a time zone; did you mean 'America/New_York'?",
        ),
        (
            "settle_minutes = 2",
            "settle_minutes = -1",
            "[phase2]: settle_minutes: Expected `int` >= 0",
        ),
        (
            "settle_minutes = 2",
            "settle_minutes = true",
            "[phase2]: settle_minutes: Expected `int`, got `bool`",
        ),
        (
            "after_minutes = 30",
            "after_minutes = 0",
            "[phase2]: untriggered_after_minutes: Expected `int` >= 1",
        ),
        (
            "+1d 12:00",
            "tomorrow noon",
            "[phase2]: incomplete_by: Expected `str` such as '+1d 12:00'",
        ),
        ("+1d 12:00", "+1d 24:00", "[phase2]: incomplete_by: Expected `str` such as '+1d 12:00'"),
        (
            "America/New_York",
            "America/Gotham",
            "[phase2]: timezone: 'America/Gotham' is not a time zone",
        ),
        ("America/New_York", "America", "[phase2]: timezone: 'America' is not a time zone"),
        ("America/New_York", "../etc", "[phase2]: timezone: '../etc' is not a time zone"),
        (
            "history_dates = 7",
            "history_dates = 2",
            "[phase2]: history_dates: 2 is less than lookback_dates = 3",
        ),
        (
            "+1d 12:00",
            "+1d 12:00\\n",
            "[phase2]: incomplete_by: Expected `str` such as '+1d 12:00'",
        ),
        (
            "+1d 12:00",
            "+2d 12:00",
            "[phase2]: incomplete_by: '+2d 12:00' is when a date leaves the window",
        ),
        (
            "phase2_completion",
            "phase2_completion\\n",
            "[phase2]: firestore_collection: Expected `str` such as 'phase2_completion'",
        ),
        ("[phase2]", "x = " + "9" * 5000 + "\n[phase2]", "own.toml: "),
        ("[phase2]", "x = " + "[" * 5000 + "\n[phase2]", "own.toml: "),
        (
            "lookback_dates = 3",
            "lookback_dates = 0",
            "[phase2]: lookback_dates: Expected `int` >= 1",
        ),
        (
            '"odds_api_game_lines"',
            "7",
            "[phase2]: processors.p2_odds_game_lines: [3]: Expected `str`, got `int`",
        ),
        (
            '"odds_api_game_lines"',
            '"BigDataBallPbpProcessor"',
            "processors: 'BigDataBallPbpProcessor' is a name of both",
        ),
        (
            "p2_odds_game_lines = [",
            '"a b" = [',
            "processors: 'a b': Expected `str` such as 'p2_odds_game_lines'",
        ),
        (
            "phase2_completion",
            "phase2/completion",
            "[phase2]: firestore_collection: Expected `str` such as 'phase2_completion'",
        ),
        *(
            (
                "phase2_completion",
                name,
                "[phase2]: firestore_collection: Expected `str` such as 'phase2_completion'",
            )
            for name in (".", "..", "____", "__x__", "__a/b__", "/", "a/", "x" * 201, "a b")
        ),
        (
            "nba_orchestration.phase",
            "phase",
            "[phase2]: bigquery_table: Expected `str` such as 'dataset.table'",
        ),
        ("[phase2]", "[Phase-2]\n[phase2]", "[Phase-2]: "),
        ("[phase2]", 'name = "x"\n[phase2]', "[name]: expected a table, got 'x'"),
        ("[phase2]", '[phase2]\nname = "x"', "[phase2]: name: unknown field"),
        ("[phase2]", "[phase2", "own.toml: "),
        *(
            (
                "[phase2]",
                f'[phase2]\n{query}_query = "{text}"',
                f"[phase2]: {query}_query: has to use {parameter}",
            )
            for query in ("outcome", "work", "runs")
            for text, parameter in (("SELECT @until", "@since"), ("SELECT @since", "@until"))
        ),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, culprit: str) -> None:
    """Every field is validated, and the error names file, phase and field."""
    assert old in TEXT
    with pytest.raises(ConfigurationError) as caught:
        parse_phases(TEXT.replace(old, new, 1), "own.toml")
    assert str(caught.value).startswith("own.toml: ")
    assert culprit in str(caught.value)


@pytest.mark.parametrize("field", ["peroids", "nme"])
def test_a_field_that_the_file_says_in_another_way_is_not_proposed(field: str) -> None:
    """It would be refused as well."""
    with pytest.raises(ConfigurationError, match=rf"\[phase2\]: {field}: unknown field$"):
        parse_phases(TEXT.replace("settle_minutes = 2", f"{field} = 2"), "own.toml")


FIVE_NAMES = sorted(load_phase("phase2", BUNDLED_PHASES).expected)
HEAD, FIVE = TEXT.split("[phase2.processors]\n")
ADDED = """[phase2.processors]
p2_new = {aliases = ["NewProcessor"], since = 2026-03-01, until = 2026-06-30}
p2_late = {since = 2026-03-02}
"""


def test_a_processor_is_expected_from_its_since_to_its_until() -> None:
    """Both included; on other dates it is known, under all its names, and the rest is as ever."""
    phase = parse_phases(HEAD + ADDED + FIVE, "own.toml")["phase2"]
    five = load_phase("phase2", BUNDLED_PHASES).expected
    found = {
        day: phase.on(date.fromisoformat(f"2026-{day}"))
        for day in ("02-28", "03-01", "03-02", "06-30", "07-01")
    }
    assert {day: sorted(on.expected - five) for day, on in found.items()} == {
        "02-28": [],
        "03-01": ["p2_new"],
        "03-02": ["p2_late", "p2_new"],
        "06-30": ["p2_late", "p2_new"],
        "07-01": ["p2_late"],
    }
    assert all(on.expected >= five and on.is_known("NewProcessor") for on in found.values())
    assert [found[day].canonical("NewProcessor") for day in ("02-28", "03-01")] == [None, "p2_new"]
    assert phase.on(date(2026, 7, 1)) is found["07-01"].on(date(2026, 7, 1))


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        (
            "p2_new = {since = 2026-03-02, until = 2026-03-01}",
            "p2_new: until, 2026-03-01, is before since, 2026-03-02",
        ),
        (
            "p2_new = {since = 2026-03-01T00:00:00}",
            "processors.p2_new: since: Expected `date | null`, got `datetime`",
        ),
        ("p2_new = {from = 2026-03-01}", "processors.p2_new: from: unknown field"),
        ("p2_new = {aliases = [7]}", "processors.p2_new: aliases[0]: Expected `str`, got `int`"),
        (
            "[phase2.optional]\np2_new = {since = 2026-03-01}",
            "optional.p2_new: Expected `array`, got `object`",
        ),
        (
            "p2_new = {incomplete_by = 'noon'}",
            "p2_new: incomplete_by: Expected `str` such as '+1d 12:00'",
        ),
        (
            "p2_new = {incomplete_by = '+2d 12:00'}",
            "[phase2]: processors.p2_new: incomplete_by: '+2d 12:00' is when",
        ),
        ("p2_new = {untill = 2026-03-01}", "untill: unknown field; did you mean 'until'?"),
        ("[phase2.periods]\np2_new = {since = 2026-03-01}", "[phase2]: periods: unknown field"),
        ("[x]\nn = 0x" + "f" * 5000, "[x]: "),
    ],
)
def test_a_period_that_is_none_is_named(added: str, complaint: str) -> None:
    """With the processor and the field."""
    with pytest.raises(ConfigurationError) as caught:
        parse_phases(f"{TEXT}\n{added}\n", "own.toml")
    assert complaint in str(caught.value)


def phase_with(top: str = "", tables: str = "") -> Phase:
    """Return the bundled phase with more fields, and with more tables."""
    return parse_phases(TEXT.replace("[phase2]\n", f"[phase2]\n{top}\n", 1) + tables, "own.toml")[
        "phase2"
    ]


def test_a_phase_has_a_season() -> None:
    """Of other dates nobody is expected, and everybody known."""
    phase = phase_with("since = 2026-03-01\nuntil = 2026-06-30")
    for day, holds in (
        ("2026-02-28", False),
        ("2026-03-01", True),
        ("2026-06-30", True),
        ("2026-07-01", False),
    ):
        on = phase.on(date.fromisoformat(day))
        assert on.expected == (phase.expected if holds else frozenset())
        assert on.is_known("OddsApiPropsProcessor")


def test_a_processor_has_a_deadline_of_its_own() -> None:
    """By the phase's time zone; the others keep the phase's."""
    phase = phase_with(tables='\np2_early = {aliases = ["Early"], incomplete_by = "+0d 11:00"}\n')
    day = date(2026, 2, 9)
    assert phase.deadline(day, "p2_early") == datetime(2026, 2, 9, 16, tzinfo=UTC)
    assert (
        phase.deadline(day, "p2_odds_game_lines")
        == phase.deadline(day)
        == datetime(2026, 2, 10, 17, tzinfo=UTC)
    )
    assert phase.canonical("Early") == "p2_early"


MODES = """
[phase2.optional]
p2_extra = ["Extra"]
[phase2.modes.morning]
processors = ["p2_odds_game_lines", "p2_extra"]
incomplete_by = "+0d 11:00"
partial_reasons = ["tier*"]
critical = ["p2_odds_game_lines"]
enough = 1
[phase2.modes.night]
"""


def test_a_mode_waits_for_its_own() -> None:
    """What it leaves out is as in the phase.

    Others are known, and a name that is no mode changes nothing.
    """
    phase, day = (
        phase_with("critical = ['p2_bigdataball_pbp']\nenough = 0.6", MODES),
        date(2026, 2, 9),
    )
    morning, night = phase.on(day, "morning"), phase.on(day, "night")
    assert (sorted(morning.expected), morning.needed) == (["p2_extra", "p2_odds_game_lines"], 1)
    assert (morning.canonical("Extra"), morning.canonical("NbacGamebookProcessor")) == (
        "p2_extra",
        None,
    )
    assert morning.is_known("NbacGamebookProcessor")
    assert morning.deadline(day) == datetime(2026, 2, 9, 16, tzinfo=UTC)
    assert (morning.is_partial("tier2"), morning.is_partial("deadline_exceeded")) == (True, False)
    assert (night.expected, night.needed, night.incomplete_by) == (
        phase.expected,
        5,
        phase.incomplete_by,
    )
    assert phase.on(day, "noon") is phase.on(day) is phase
    assert phase.without(["p2_odds_game_lines"]).on(day, "morning").expected == {"p2_extra"}


@pytest.mark.parametrize(
    ("rule", "few", "enough"),
    [
        ("", FIVE_NAMES[:4], FIVE_NAMES),
        ("enough = 3", FIVE_NAMES[:2], FIVE_NAMES[:3]),
        ("enough = 0.6", FIVE_NAMES[:2], FIVE_NAMES[2:]),
        ("enough = 0.61", FIVE_NAMES[:3], FIVE_NAMES[1:]),
        ("enough = 1.0", FIVE_NAMES[:4], FIVE_NAMES),
        (f"enough = 2\ncritical = ['{FIVE_NAMES[4]}']", FIVE_NAMES[:4], FIVE_NAMES[3:]),
    ],
)
def test_how_many_are_enough(rule: str, few: list[str], enough: list[str]) -> None:
    """A number, or a share of all of them, and the critical ones in any case.

    Others never count.
    """
    phase = phase_with(rule)
    assert not phase.is_complete([*few, "p2_x", "p2_y", "p2_z"])
    assert phase.is_complete(enough)


@pytest.mark.parametrize(
    ("top", "tables", "complaint"),
    [
        (
            "critical = ['p2_odds_game_line']\nenough = 2",
            "",
            "critical: 'p2_odds_game_line' is none of the phase's; did",
        ),
        (
            "critical = ['p2_odds_game_lines']",
            "",
            "[phase2]: critical: says nothing without `enough`",
        ),
        ("enough = 6", "", "[phase2]: enough: 6 is more than 5, the number of processors"),
        ("enough = 0", "", "[phase2]: enough: Expected `int` >= 1"),
        ("enough = 1.5", "", "[phase2]: enough: Expected `float` <= 1.0"),
        ("enough = 'most'", "", "[phase2]: enough: Expected `int | float | null`, got `str`"),
        (
            "since = 2026-03-02\nuntil = 2026-03-01",
            "",
            "[phase2]: until, 2026-03-01, is before since, 2026-03-02",
        ),
        (
            "completed_statuses = 'done'",
            "",
            "[phase2]: completed_statuses: Expected `array`, got `str`",
        ),
        ("", "[phase2.modes]\nnight = 7", "[phase2]: modes.night: Expected `object`, got `int`"),
        ("modes = 7", "", "[phase2]: modes: Expected `object`, got `int`"),
        (
            "",
            "[phase2.modes.night]\nprocessors = []",
            "modes.night: processors: Expected `array` of length >= 1",
        ),
        (
            "",
            "[phase2.modes.night]\nprocessor = ['x']",
            "processor: unknown field; did you mean 'processors'?",
        ),
        (
            "",
            "[phase2.modes.night]\nprocessors = ['p2_bigdatabal_pbp']",
            "did you mean 'p2_bigdataball_pbp'?",
        ),
        (
            "",
            "[phase2.modes.night]\nincomplete_by = 'noon'",
            "incomplete_by: Expected `str` such as '+1d 12:00'",
        ),
        (
            "",
            "[phase2.modes.night]\nincomplete_by = '+3d 12:00'",
            "modes.night: incomplete_by: '+3d 12:00' is when a",
        ),
        (
            "",
            "[phase2.modes.night]\nenough = 6",
            "[phase2]: modes.night: enough: 6 is more than 5, the number of processors",
        ),
    ],
)
def test_a_rule_or_a_mode_that_makes_no_sense_is_named(
    top: str, tables: str, complaint: str
) -> None:
    """With the mode and the field, and what may have been meant."""
    with pytest.raises(ConfigurationError) as caught:
        phase_with(top, f"\n{tables}\n")
    assert complaint in str(caught.value)


def test_a_number_of_any_length_is_refused_by_name() -> None:
    """Also one that Python does not write out."""
    with pytest.raises(
        ConfigurationError, match=r"own\.toml: \[x\]: expected a table, got a value of type int"
    ):
        parse_phases("x = 0x" + "f" * 5000, "own.toml")


def test_two_phases_do_not_share_a_collection() -> None:
    """One would take the other's flag for its own."""
    second = TEXT.replace("[phase2", "[phase3")
    with pytest.raises(
        ConfigurationError,
        match=r"\[phase3\]: firestore_collection: 'phase2_completion' is that of",
    ):
        parse_phases(TEXT + second, "own.toml")


def test_no_processors_are_refused() -> None:
    """A phase that waits for nobody would be complete at once."""
    head = TEXT.split("[phase2.processors]")[0]
    with pytest.raises(ConfigurationError, match="processors"):
        parse_phases(head, "own.toml")
    with pytest.raises(ConfigurationError, match="processors"):
        parse_phases(head + "[phase2.processors]\n", "own.toml")


def test_an_empty_file_has_no_phase() -> None:
    """Nothing to watch is a mistake, not a quiet canary."""
    with pytest.raises(ConfigurationError, match="has no phase"):
        parse_phases("", "own.toml")


def test_phases_file_names_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding a phase is adding a table."""
    own = tmp_path / "own.toml"
    own.write_text(TEXT + TEXT.replace("phase2", "phase3"), "utf-8")
    monkeypatch.setenv("PHASES_FILE", str(own))
    assert sorted(load_phases()) == ["phase2", "phase3"]
    with pytest.raises(
        ConfigurationError, match=r"no phase 'phase4'; there are \['phase2', 'phase3'\]"
    ):
        load_phase("phase4")


def test_a_phases_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing and not UTF-8."""
    own = tmp_path / "own.toml"
    monkeypatch.setenv("PHASES_FILE", str(own))
    with pytest.raises(ConfigurationError, match=r"own\.toml: cannot be read"):
        load_phases()
    own.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"own\.toml: cannot be read"):
        load_phases()


@pytest.mark.parametrize(
    "name", ["...", ".x", "..x", "__x", "x__", "_x_", "___", "phase2_completion", "é" * 200]
)
def test_a_name_that_firestore_takes_is_taken(name: str) -> None:
    """What is not reserved, however like that it looks."""
    phases = parse_phases(TEXT.replace("phase2_completion", name, 1), "own.toml")
    assert phases["phase2"].firestore_collection == name


@pytest.mark.parametrize("kind", ["a device", "a large file", "a pipe"])
def test_a_file_without_end_is_refused_by_its_size(kind: str, tmp_path: Path) -> None:
    """Without being read: in a moment, and in little memory."""
    file = Path("/dev/zero") if kind == "a device" else tmp_path / "phases.toml"
    if kind == "a large file":
        with file.open("wb") as large:
            large.truncate(2**31)
    elif kind == "a pipe":
        os.mkfifo(file)
        threading.Thread(target=_write_for_ever, args=(file,), daemon=True).start()
    tracemalloc.start()
    with pytest.raises(ConfigurationError, match=rf"{file}: is over 1048576 bytes"):
        load_phases(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def _write_for_ever(file: Path) -> None:
    with suppress(BrokenPipeError), file.open("wb") as pipe:
        while True:
            pipe.write(b"#" * 65_536)


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    """One with as many comments as it can have."""
    file = tmp_path / "phases.toml"
    file.write_text(TEXT.ljust(1024 * 1024, "#"), "utf-8")
    assert sorted(load_phases(file)) == ["phase2"]


class _Emptied:
    """A file inside a package that is empty as a collection."""

    def __len__(self) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(BUNDLED_PHASES, name)


def test_a_source_is_used_whether_it_is_true_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the environment's."""
    monkeypatch.setenv("PHASES_FILE", "/nowhere")
    source: Any = _Emptied()
    assert sorted(load_phases(source)) == ["phase2"]


_LONG = b"""
[phase2]
next_phase = "Phase 3"
next_phase_started_by = "x"
message_phase = "phase_2_raw"
firestore_collection = "phase2_completion"
bigquery_table = "p.nba_orchestration.phase_completions"
incomplete_by = "+1d 12:00"
timezone = "America/New_York"
partial_reasons = ["critical_plus_majority_*"]
others = ["p2_x_*"]
outcome_query = "SELECT @since, @until"
[phase2.processors]
p2_a = ["A"]
p2_b = { aliases = ["B"], since = 2026-02-01, until = 2026-03-01, incomplete_by = "+0d 11:00" }
[phase2.optional]
p2_c = []
[phase2.modes.night]
processors = ["p2_a", "p2_c"]
critical = ["p2_a"]
enough = 0.5
"""


@fuzzed(25)
@given(mutated(BUNDLED_PHASES.read_bytes(), _LONG))
@example(b"[[phase2]]\n" + b"x." * 2000 + b"x = 1\n")
def test_a_file_can_be_used_or_is_refused_with_its_name(tmp_path: Path, data: bytes) -> None:
    """Whatever is in it."""
    file, day, now = (
        tmp_path / "phases.toml",
        date(2026, 2, 9),
        datetime(2026, 2, 11, 7, 21, tzinfo=UTC),
    )
    file.write_bytes(data)
    phases = or_error(ConfigurationError, lambda: load_phases(file))
    if isinstance(phases, ConfigurationError):
        assert str(phases).startswith(f"{file}: ")
        return
    for phase in phases.values():
        assert phase.on(day).expected <= phase.expected
        assert phase.begins(day) < phase.deadline(day)
        assert phase.recent_dates(now, phase.history_dates)[-1] == phase.today(now)
        assert all(
            phase.canonical(name) == name and phase.is_known(name) for name in phase.expected
        )
        assert phase.nearest("P2Odd\x1b") in {None, *phase.expected}
