"""A phase's own queries over SQLite files: the embedded counterpart of BigQuery's."""

import sqlite3
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import StoreError
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.sqlite import SqliteCounts
from tests.proof.inputs import few, fuzzed, mutated_text

# As the bundled phases.toml has it.
QUERY = """
SELECT game_date, COUNT(*) AS n FROM nba_analytics.player_game_summary
WHERE game_date BETWEEN @since AND @until GROUP BY game_date"""
MONDAY, TUESDAY = date(2026, 2, 9), date(2026, 2, 10)


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a folder" / "datasets"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "nba_analytics.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE player_game_summary (game_date TEXT)")
        rows = [("2026-02-08",), ("2026-02-09",), ("2026-02-09",)]
        connection.executemany("INSERT INTO player_game_summary VALUES (?)", rows)
    return folder


def test_a_file_is_a_dataset(datasets: Path) -> None:
    """Only the dates that are asked for, and only those that have something."""
    assert SqliteCounts(datasets).count(QUERY, MONDAY, TUESDAY) == {MONDAY: 2}


def test_rows_of_one_date_are_added_up(datasets: Path) -> None:
    """A query without GROUP BY means what it says, as it does in BigQuery."""
    query = (
        "SELECT game_date, 1 AS n FROM nba_analytics.player_game_summary WHERE game_date BETWEEN "
        "@since AND @until"
    )
    assert SqliteCounts(datasets).count(query, MONDAY, TUESDAY) == {MONDAY: 2}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (QUERY.replace("player", "team"), "no such table: nba_analytics.team_game_summary"),
        ("SELECT @since, @until, 3", "unpack"),
        ("SELECT 'monday', 1 WHERE @since < @until", "monday"),
        (
            "SELECT NULL, 1 WHERE @since < @until",
            "has to return game_date DATE and n INT64, not .*None",
        ),
        (
            "SELECT @since, 0.5 WHERE @since < @until",
            "has to return game_date DATE and n INT64, not .*0.5",
        ),
        ("DELETE FROM nba_analytics.player_game_summary WHERE @since < @until", "readonly"),
    ],
)
def test_a_query_that_cannot_be_answered_is_an_error(
    datasets: Path, query: str, reason: str
) -> None:
    """With SQLite's reason; nothing is ever written."""
    with pytest.raises(StoreError, match=reason):
        SqliteCounts(datasets).count(query, MONDAY, TUESDAY)
    assert SqliteCounts(datasets).count(QUERY, MONDAY, TUESDAY) == {MONDAY: 2}


def test_a_damaged_file_is_an_error(datasets: Path) -> None:
    """That names the folder."""
    (datasets / "nba_raw.sqlite3").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match=r"datasets: .*not a database"):
        SqliteCounts(datasets).count(QUERY.replace("nba_analytics", "nba_raw"), MONDAY, TUESDAY)


def test_without_datasets_nothing_is_asked(stores: EmbeddedStores, datasets: Path) -> None:
    """The phase's queries then have no source; with them, they have."""
    assert stores.counts is None
    assert EmbeddedStores(datasets.parent).counts is not None


@fuzzed(25)
@given(
    mutated_text(
        (
            "SELECT game_date, COUNT(*) FROM nba_raw.odd WHERE game_date BETWEEN @since AND @until "
            "GROUP BY 1"
        ),
        "SELECT game_date, n FROM nba_raw.odd WHERE game_date = @since",
        "SELECT game_date, n FROM odd",
        "SELECT 1; SELECT @since, @until",
    )
)
@example("SELECT @since, SUM(n) FROM nba_raw.odd")  # infinite
@example(
    "SELECT 'p2' AS processor, @since AS game_date, n AS started_at, n AS finished_at, n AS "
    "status FROM nba_raw.odd"
)
def test_a_query_gives_counts_or_runs_or_an_error(datasets: Path, query: str) -> None:
    """Whatever it says, and whatever is in the tables."""
    with closing(sqlite3.connect(datasets / "nba_raw.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS odd (game_date TEXT, n)")
        days = [("2026-02-09", 7), ("2026-02-10", 9e999), ("yesterday", None)]
        connection.executemany("INSERT INTO odd VALUES (?, ?)", days)
    with suppress(StoreError):
        assert all(
            type(n) is int for n in SqliteCounts(datasets).count(query, MONDAY, TUESDAY).values()
        )
    with suppress(StoreError):
        assert all(
            type(run.game_date) is date
            for run in SqliteCounts(datasets).runs(query, MONDAY, TUESDAY)
        )


_stems = st.text(
    st.characters(codec="ascii", exclude_characters="/\0"), min_size=1, max_size=6
).filter(lambda stem: stem.strip(".") and stem.upper() not in {"MAIN", "TEMP"})


@few(25)
@given(st.lists(_stems, min_size=11, max_size=15, unique_by=str.lower), st.integers(1, 10))
@example([f"d{n}" for n in range(1, 13)], 1)
def test_only_the_files_that_a_query_names_are_attached(stems: list[str], count: int) -> None:
    """SQLite takes ten files; of more, each query has those that it names, by any name."""
    with TemporaryDirectory() as folder:
        for number, stem in enumerate(stems):
            with (
                closing(sqlite3.connect(Path(folder) / f"{stem}.sqlite3")) as connection,
                connection,
            ):
                connection.execute("CREATE TABLE rows (game_date TEXT, n)")
                connection.execute("INSERT INTO rows VALUES ('2026-02-09', ?)", (1 << number,))
        names = [stem.replace('"', '""') for stem in stems[:count]]
        union = " UNION ALL ".join(f'SELECT game_date, n FROM "{name}".rows' for name in names)  # noqa: S608 (made above)
        query = (
            f"SELECT game_date, SUM(n) FROM ({union}) "  # noqa: S608 (made above)
            "WHERE game_date BETWEEN @since AND @until GROUP BY 1"
        )
        assert SqliteCounts(Path(folder)).count(query, MONDAY, TUESDAY) == {
            MONDAY: (1 << count) - 1
        }


def test_a_file_that_no_query_names_may_be_anything(datasets: Path) -> None:
    """It is not even opened."""
    (datasets / "nba_raw.sqlite3").write_bytes(b"x" * 5000)
    assert SqliteCounts(datasets).count(QUERY, MONDAY, TUESDAY) == {MONDAY: 2}
