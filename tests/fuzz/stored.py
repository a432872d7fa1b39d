"""What is read back from the stores: lines, log entries, rows, documents of the canary's own, counts."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.cloud.logging_v2.types import LogEntry
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from hypothesis import strategies as st

from canary.domain.documents import from_fields, to_fields
from canary.domain.history import Runs, after_a_run, read_runs
from canary.domain.incident import INCIDENTS, Incident, open_refs
from canary.domain.silence import read_silences, silence_fields
from canary.notify.log_entry import LogChannel
from canary.notify.refusals import read_refusals, refusal_text
from canary.playback.folder import read_simulated_folder
from orchestrator_resilience.checkpoints import Checkpoint, json_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.plain import printable
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.stores.cloud_logging import _checkpoint
from orchestrator_resilience.stores.jsonl import JsonLinesArchive, last_line
from orchestrator_resilience.stores.sqlite import SqliteCounts, SqliteDocuments, SqliteFile
from tests.fuzz.inputs import (
    Check,
    Target,
    json_values,
    mutated,
    mutated_text,
    odd,
    or_error,
    pure,
    stored_values,
    texts,
)
from tests.hostile import AT, DAY, FIVE, checkpoint_entries, checkpoint_entry
from tests.hostile_runs import incidents, silences


def _line(checkpoint: Checkpoint) -> None:
    """What was read is harmless, and is read again as the same."""
    assert checkpoint.message.isprintable()
    assert json.dumps(printable(checkpoint.fields)) == json.dumps(checkpoint.fields)
    line = json_line(checkpoint)
    assert line.count("\n") == 1
    assert Checkpoint.from_json(json.loads(line)).at == checkpoint.at


# Checkpoints in a file, and in Cloud Logging

_GOOD = json.dumps(checkpoint_entry(event_id="good")).encode()


@contextmanager
def _archive() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        archive = JsonLinesArchive(Path(folder) / "checkpoints.jsonl")
        yield lambda data: _lines(archive, data)


def _lines(archive: JsonLinesArchive, data: bytes) -> None:
    """The lines before and after are read, whatever stands between them."""
    archive.path.write_bytes(b"\n".join([_GOOD, data, _GOOD, b""]))
    found = archive.read("phase2", [DAY])
    assert [line.fields.get("event_id") for line in found].count("good") >= 2
    for line in found:
        _line(line)
    last = last_line(archive.path)
    assert last == json.loads(_GOOD)


_lines_of_json = st.lists(checkpoint_entries | odd(checkpoint_entry(), json_values), max_size=3).map(
    lambda entries: b"\n".join(json.dumps(entry).encode() for entry in entries)
)

_PAYLOAD = {name: value for name, value in checkpoint_entry().items() if name not in {"severity", "time"}}
_ENTRY = {"timestamp": AT.isoformat(), "severity": "ERROR", "jsonPayload": _PAYLOAD, "labels": {"phase": "phase2"}}
_ENTRIES = [
    ParseDict(entry, LogEntry.pb(LogEntry())).SerializeToString()
    for entry in (
        _ENTRY,
        {**_ENTRY, "jsonPayload": {**_PAYLOAD, "completed": FIVE, "sequence": 2.5, "raw": [{"a": None}]}},
        {"timestamp": "9999-12-31T23:59:59.999999999Z", "textPayload": "CHECKPOINT_RECEIVED"},
        {**_ENTRY, "httpRequest": {"status": 503, "requestUrl": "https://x.example/"}},
    )
]


def _entry(data: bytes) -> None:
    """A log entry is a checkpoint, or none."""
    try:
        entry = LogEntry.deserialize(data)
    except DecodeError:  # what is no entry at all is the client's to refuse
        return
    found = _checkpoint(entry)
    if found is not None:
        _line(found)


# The embedded stores


@contextmanager
def _database() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        file = SqliteFile(Path(folder) / "resilience.sqlite3", durable=False)
        yield lambda text: _row(file, text)
        file.close()


def _row(file: SqliteFile, text: str) -> None:
    """A damaged row is an error that names the file; one that is read can be written."""
    documents, ref = SqliteDocuments(file), DocumentRef("c", "id")
    with file.writing() as connection, suppress(UnicodeEncodeError):  # no file holds a lone surrogate
        connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, 1)", (*ref, text))
    found = or_error(StoreError, lambda: documents.get_all([ref]))
    if isinstance(found, StoreError):
        assert str(file.path) in str(found)
    else:
        assert all(documents.update_if_unchanged(ref, one.fields, one.version) for one in found.values())


@contextmanager
def _counts() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        with closing(sqlite3.connect(Path(folder) / "analytics.sqlite3")) as connection:
            connection.execute("CREATE TABLE games (game_date TEXT, n)")
            days = [("2026-02-09", 7), ("2026-02-10", 9e999), ("yesterday", None)]
            connection.executemany("INSERT INTO games VALUES (?, ?)", days)
            connection.commit()
        counts = SqliteCounts(Path(folder))
        yield lambda query: _count(counts, query)


def _count(counts: SqliteCounts, query: str) -> None:
    """A query gives counts by date, or a StoreError."""
    with suppress(StoreError):
        found = counts.count(query, DAY, DAY + timedelta(days=1))
        assert all(type(n) is int for n in found.values())


_queries = mutated_text(
    [
        "SELECT game_date, COUNT(*) FROM analytics.games WHERE game_date BETWEEN @since AND @until GROUP BY 1",
        "SELECT game_date, n FROM analytics.games WHERE game_date = @since",
        "SELECT @since, SUM(n) FROM analytics.games",
        "SELECT game_date, n FROM games",
        "SELECT 1; SELECT @since, @until",
    ]
)


@contextmanager
def _folder() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        yield lambda data: _mark(Path(folder), data)


def _mark(folder: Path, data: bytes) -> None:
    """A folder is a simulated run's, or is not."""
    (folder / "simulation.json").write_bytes(data)
    found = read_simulated_folder(folder)
    assert found is None or found.phases_file == folder / "phases.toml"
    assert found is None or found.now is None or found.now.tzinfo is not None


_MARK = '{"made_by": "canary, on simulated time; the next run of the same command empties this folder", "now": "%s"}'

# The canary's own documents


def _incident(fields: dict[str, Any]) -> None:
    """What is read of an incident is read again as the same."""
    found = from_fields(Incident, fields)
    assert found is None or _written(found) == found


def _written(incident: Incident) -> Incident | None:
    return from_fields(Incident, to_fields(incident))


def _silences(fields: dict[str, Any]) -> None:
    """What people see of silences is one line each, and those that are kept are the same."""
    document = Document(fields, "1")
    found = read_silences(document)
    for one in found:
        assert f"{one.id} {one.text}".isprintable(), ascii(one)
    written = {**fields, **silence_fields(document, {one.id: one for one in found})}
    assert {one.id: one for one in read_silences(Document(written, "2"))} == {one.id: one for one in found}


def _runs(fields: dict[str, Any]) -> None:
    """The runs of the past are read; after another one they are read as they were written."""
    known = read_runs(Document(fields, "1"))
    assert known.unseen_since(datetime(2026, 1, 1, tzinfo=UTC)) >= timedelta()
    later = after_a_run(known, AT, "a reason")
    assert read_runs(Document({"canary": to_fields(later)}, "1"), "canary") == later
    assert isinstance(later, Runs)


def _open(fields: dict[str, Any]) -> None:
    """The list of what is open holds addresses of incidents only."""
    assert {ref.collection for ref in open_refs(Document(fields, "1"))} <= {INCIDENTS}


def _refused(fields: dict[str, Any]) -> None:
    """What other channels are told of one that is refused is one line."""
    channels = {"log": LogChannel({}), "slack": LogChannel({})}
    for name, refusal in read_refusals(Document(fields, "1"), channels).items():
        assert refusal_text(name, refusal).isprintable()
        assert read_refusals(Document({name: to_fields(refusal)}, "1"), channels) == {name: refusal}


_unseen = {"since": AT, "until": AT + timedelta(hours=1), "why": "no run"}
_run = odd({"at": AT, "reason": "", "unseen": []}, stored_values | st.lists(odd(_unseen, stored_values), max_size=3))
_refusal = odd({"address": "", "at": AT, "reason": "x"}, stored_values)
_listed = st.lists(texts | st.sampled_from(["phase2:2026-02-09", "x:y:2026-02-09", "2026-02-09"]), max_size=4)

TARGETS = [
    Target("checkpoint lines", mutated([_GOOD]) | _lines_of_json, _archive),
    pure("log entry", mutated(_ENTRIES), _entry),
    Target("row of a document", mutated_text(['{"a": {"$time": "2026-02-10T07:00:00+00:00"}, "b": [1.5]}']), _database),
    Target("count", _queries, _counts),
    Target("mark of a simulated folder", mutated([(_MARK % AT.isoformat()).encode()]), _folder),
    pure("incident", incidents, _incident),
    pure(
        "silences",
        silences
        | st.dictionaries(
            texts,
            odd(
                {"first": "2026-02-09", "last": "2026-02-09", "phase": "phase2", "reason": "x", "expires_at": AT},
                stored_values,
            ),
            max_size=3,
        ),
        _silences,
    ),
    pure("runs", st.dictionaries(texts, _run | stored_values, max_size=3), _runs),
    pure("refused channels", st.dictionaries(st.sampled_from(["log", "slack"]), _refusal | stored_values), _refused),
    pure("open incidents", st.dictionaries(texts, _listed | stored_values, max_size=3), _open),
]
