"""The embedded stores: what only files can suffer."""

import json
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator_resilience import CheckpointLogger, Phase, StoreError
from orchestrator_resilience.progress import read_progress
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.jsonl import JsonLinesArchive, append_line, last_line
from orchestrator_resilience.stores.sqlite import SqliteDocuments
from tests.proof.inputs import fuzzed, mutated_text, or_error

REF = DocumentRef("phase2_completion", "2026-02-09")
DAY = date(2026, 2, 9)
HOUR = timedelta(hours=1)


def test_reading_makes_no_files(tmp_path: Path) -> None:
    """A canary that looks in the wrong folder says so, and leaves it as it was."""
    stores = EmbeddedStores(tmp_path / "nowhere", must_exist=True)
    with pytest.raises(StoreError, match=r"nowhere/resilience\.sqlite3: there is no such file"):
        stores.documents.get_all([REF])
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where the folder should be is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/resilience\.sqlite3: "):
        EmbeddedStores(tmp_path / "file").documents.merge(REF, {"a": 1})


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be read as a header", b"SQLite format 3\0"]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    """No crash, no new file over it."""
    path = tmp_path / "resilience.sqlite3"
    path.write_bytes(content * 100)
    with pytest.raises(StoreError, match=r"resilience\.sqlite3: "):
        EmbeddedStores(tmp_path).completion_log.summarise(["phase2"], DAY, DAY)
    assert path.read_bytes() == content * 100


def test_a_damaged_document_is_an_error(stores: EmbeddedStores) -> None:
    """What cannot be read is not empty."""
    stores.documents.merge(REF, {"a": 1})
    with sqlite3.connect(stores.folder / "resilience.sqlite3") as connection:
        connection.execute("UPDATE documents SET fields = '{'")
    connection.close()
    with pytest.raises(StoreError, match=r"resilience\.sqlite3: "):
        stores.documents.get_all([REF])


@pytest.mark.parametrize("fields", ["[1]", "7", "[" * 100_000])
def test_content_that_is_no_document_is_an_error(stores: EmbeddedStores, fields: str) -> None:
    """Whatever got into the row."""
    stores.documents.merge(REF, {"a": 1})
    connection = sqlite3.connect(stores.folder / "resilience.sqlite3")
    connection.execute("UPDATE documents SET fields = ?", (fields,))
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"resilience\.sqlite3: "):
        stores.documents.get_all([REF])


def test_a_value_that_no_document_holds_is_refused(stores: EmbeddedStores) -> None:
    """The programming error comes out as one, and the document stays as it was."""
    stores.documents.merge(REF, {"a": 1})
    with pytest.raises(TypeError):
        stores.documents.merge(REF, {"a": object()})
    stores.documents.merge(REF, {"b": 2})
    assert stores.documents.get_all([REF])[REF].fields == {"a": 1, "b": 2}


def test_a_commit_that_fails_half_way_writes_nothing(stores: EmbeddedStores) -> None:
    """Whether by what it is given, or by the disk at its second document."""
    good, odd = (REF, {"a": 1}, None), DocumentRef("phase2_completion", "odd")
    with pytest.raises(TypeError):
        stores.documents.commit([good, (odd, {"a": object()}, None)])
    write(
        stores,
        (
            "CREATE TRIGGER full BEFORE INSERT ON documents WHEN NEW.id = 'odd' BEGIN SELECT "
            "RAISE(FAIL, 'disk'); END"
        ),
    )
    with pytest.raises(StoreError, match=r"resilience\.sqlite3: disk"):
        stores.documents.commit([good, (odd, {"a": 1}, None)])
    assert stores.documents.get_all([REF, odd]) == {}
    assert stores.documents.commit([good])


def test_a_transaction_that_cannot_end_is_over(stores: EmbeddedStores) -> None:
    """What fails at its very end is undone, and the next one begins."""
    stores.documents.merge(REF, {"n": 0})
    with stores._file.reading() as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(
            "CREATE TABLE odd (id INTEGER PRIMARY KEY, n REFERENCES odd DEFERRABLE INITIALLY "
            "DEFERRED)"
        )
        connection.execute(
            "CREATE TRIGGER late AFTER INSERT ON documents BEGIN INSERT INTO odd (n) VALUES "
            "(7); END"
        )
    with pytest.raises(StoreError, match=r"resilience\.sqlite3: "):
        stores.documents.merge(REF, {"n": 1})
    write(stores, "DROP TRIGGER late")
    assert stores.documents.get_all([REF])[REF].fields == {"n": 0}
    stores.documents.merge(REF, {"n": 2})
    assert stores.documents.get_all([REF])[REF].fields == {"n": 2}


def test_a_commit_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Not an answer: nobody knows what is stored, where the file cannot be opened."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/resilience\.sqlite3: "):
        EmbeddedStores(tmp_path / "file").documents.commit([(REF, {"a": 1}, None)])


def test_closed_stores_open_again(stores: EmbeddedStores) -> None:
    """Closing is no end."""
    stores.documents.merge(REF, {"a": 1})
    stores.close()
    assert stores.documents.get_all([REF])[REF].fields == {"a": 1}


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path, phase: Phase) -> None:
    """A crash cuts a line short; what was whole is still read."""
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    checkpoints = CheckpointLogger(phase, archive)
    with checkpoints.delivery(processor="p2_odds_game_lines", game_date=DAY, event_id="1"):
        pass
    whole = archive.path.read_bytes()
    with archive.path.open("ab") as file:
        file.write(b"\xff\n[]\nnull\n" + b'{"checkpoint": "CHECKPOINT_NEW"}\n' + whole[:50])
    with checkpoints.delivery(processor="p2_odds_game_lines", game_date=DAY, event_id="2"):
        pass
    assert [
        c.fields["event_id"] for c in archive.read({"phase2": [DAY]}, datetime.now(UTC)).checkpoints
    ] == ["1", "2"]


def test_a_file_of_other_dates_costs_no_memory(phase: Phase, tmp_path: Path) -> None:
    """However long it grows, what is kept of it is what names the date."""
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    with CheckpointLogger(phase, archive).delivery(
        processor="p2_odds_game_lines", game_date=DAY, event_id="1"
    ):
        pass
    other = archive.path.read_bytes().replace(DAY.isoformat().encode(), b"2025-12-25")
    with archive.path.open("ab") as file:
        file.write(other * 20_000)
    tracemalloc.start()
    found = archive.read({"phase2": [DAY]}, datetime.now(UTC)).checkpoints
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found), peak < 1_000_000) == (1, True)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A folder in its place is an error, not taken for an empty archive."""
    (tmp_path / "checkpoints.jsonl").mkdir()
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    with pytest.raises(StoreError, match=r"checkpoints\.jsonl"):
        archive.read({"phase2": [DAY]}, datetime.now(UTC))
    with pytest.raises(StoreError, match=r"checkpoints\.jsonl"):
        append_line(archive.path, "{}\n")


def test_the_last_whole_line(tmp_path: Path) -> None:
    """Torn, foreign and no lines at all."""
    path = tmp_path / "runs.jsonl"
    assert last_line(path) is None
    append_line(path, '{"n": 1}\n')
    append_line(path, '[]\n{"n": ')
    assert last_line(path) == {"n": 1}
    path.write_text("")
    assert last_line(path) is None


def test_times_are_kept_in_utc(stores: EmbeddedStores) -> None:
    """Text order is time order, whatever the zone that they were given in."""
    at = datetime.fromisoformat("2026-02-10T01:41:00-05:00")
    stores.documents.merge(REF, {"at": at})
    assert stores.documents.get_all([REF])[REF].fields["at"] == datetime(
        2026, 2, 10, 6, 41, tzinfo=UTC
    )


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 0)])
def test_durable_stores_wait_for_the_disk(tmp_path: Path, durable: bool, level: int) -> None:  # noqa: FBT001
    """FULL by default; playbacks do without."""
    with (
        EmbeddedStores(tmp_path, durable=durable) as stores,
        stores._file.reading() as connection,
    ):
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


def row(name: str, day: date = DAY) -> CompletionRow:
    return CompletionRow(
        row_id=name,
        phase="phase2",
        game_date=day,
        processor_name=name,
        status="success",
        completed_at=datetime(2026, 2, 10, 6, 41, tzinfo=UTC),
        event_id=name,
    )


def write(stores: EmbeddedStores, *statement: object) -> None:
    """Let somebody else write into the file of these stores."""
    with closing(sqlite3.connect(stores.folder / "resilience.sqlite3")) as connection, connection:
        connection.execute(*statement)  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", ["", "soon", "2026-02-10T99:00:00Z"])
def test_a_time_that_is_none_is_that_rows_alone(
    stores: EmbeddedStores, phase: Phase, odd: str
) -> None:
    """The row counts by the time that it still has, and the others are read.

    The same in a document.
    """
    stores.completion_log.append(
        [row("p2_odd"), row("p2_other")], now=row("p2_odd").completed_at + HOUR
    )
    name = min(phase.expected)
    stores.documents.merge(REF, {name: {"completed_at": row(name).completed_at}})
    write(stores, "UPDATE phase_completions SET completed_at = ? WHERE row_id = 'p2_odd'", (odd,))
    write(
        stores,
        "UPDATE documents SET fields = ?",
        (json.dumps({name: {"completed_at": {"$time": odd}}}),),
    )
    first = {
        one.processor_name: one.first_completed_at
        for one in stores.completion_log.summarise(["phase2"], DAY, DAY)
    }
    assert first == {
        "p2_odd": row("p2_odd").completed_at + HOUR,
        "p2_other": row("p2_other").completed_at,
    }
    progress = read_progress(stores.documents.get_all([REF])[REF].fields, phase)
    assert [entry.completed_at for entry in progress.registered.values()] == [None]


def test_a_row_of_no_date_is_left_out(stores: EmbeddedStores) -> None:
    """The others are read."""
    stores.completion_log.append(
        [row("p2_odd"), row("p2_other", DAY + 24 * HOUR)], now=row("p2_odd").completed_at
    )
    write(stores, "UPDATE phase_completions SET game_date = '2026-02-09x' WHERE row_id = 'p2_odd'")
    found = stores.completion_log.summarise(["phase2"], DAY, DAY + 24 * HOUR)
    assert [one.game_date for one in found] == [DAY + 24 * HOUR]


@fuzzed(25)
@given(mutated_text('{"a": {"$time": "2026-02-10T07:00:00+00:00"}, "b": [1.5]}'))
def test_a_row_that_is_read_can_be_written(stores: EmbeddedStores, text: str) -> None:
    """A damaged one is an error that names the file."""
    documents = stores.documents
    assert isinstance(documents, SqliteDocuments)
    # no file holds a lone surrogate
    with documents._file.writing() as connection, suppress(UnicodeEncodeError):
        connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, 1)", (*REF, text))
    read = or_error(StoreError, lambda: documents.get_all([REF]))
    if isinstance(read, StoreError):
        assert str(documents._file.path) in str(read)
    else:
        assert all(
            documents.update_if_unchanged(REF, one.fields, one.version) for one in read.values()
        )


def _copy_of(stores: EmbeddedStores, path: Path) -> Path:
    """Return a copy as a backup has it: one file."""
    database = stores.folder / "resilience.sqlite3"
    with closing(sqlite3.connect(database)) as connection, closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    return path


def _remove(stores: EmbeddedStores) -> Path:
    for file in stores.folder.glob("resilience.sqlite3*"):
        file.unlink()
    return stores.folder / "resilience.sqlite3"


def _move_away(stores: EmbeddedStores, copy: Path) -> Path:
    stores.folder.rename(copy.parent / "old")
    stores.folder.mkdir()
    return stores.folder / "resilience.sqlite3"


REPLACED: dict[str, Callable[[EmbeddedStores, Path], object]] = {
    "deleted": lambda stores, _: _remove(stores),
    "deleted with its folder": lambda stores, _: shutil.rmtree(stores.folder),
    "restored": lambda stores, copy: shutil.copy(copy, _remove(stores)),
    "moved in": lambda stores, copy: copy.rename(_remove(stores)),
    "its folder moved in": lambda stores, copy: copy.rename(_move_away(stores, copy)),
}


@pytest.mark.parametrize("way", REPLACED)
@pytest.mark.parametrize("first", ["reads", "writes"])
def test_a_file_that_was_replaced_is_opened_again(tmp_path: Path, way: str, first: str) -> None:
    """By each process that has it open, whichever comes first, and as often as it happens."""
    with (
        EmbeddedStores(tmp_path / "s") as stores,
        EmbeddedStores(tmp_path / "s", must_exist=True) as reader,
    ):
        for number in range(3):
            stores.documents.merge(REF, {"number": number})
            copy = _copy_of(stores, tmp_path / f"copy-{number}")
            stores.documents.merge(REF, {"later": True})
            assert reader.documents.get_all([REF])[REF].fields == {"number": number, "later": True}
            REPLACED[way](stores, copy)
            if first == "writes":
                stores.documents.merge(REF, {"new": number})
            kept = {} if "deleted" in way else {"number": number}
            kept |= {"new": number} if first == "writes" else {}
            if kept:
                assert [one.documents.get_all([REF])[REF].fields for one in (reader, stores)] == [
                    kept
                ] * 2
            else:
                with pytest.raises(StoreError, match=r"resilience\.sqlite3: there is no such file"):
                    reader.documents.get_all([REF])
                assert stores.documents.get_all([REF]) == reader.documents.get_all([REF]) == {}
            stores.documents.update_if_unchanged(
                REF, dict.fromkeys(["later", "new"]), _version(stores)
            )
            _remove(stores)
            shutil.rmtree(tmp_path / "old", ignore_errors=True)


def _version(stores: EmbeddedStores) -> str | None:
    document = stores.documents.get_all([REF]).get(REF)
    return document.version if document else None
