"""What every CheckpointArchive does, and what Cloud Logging's does when it cannot."""

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, InvalidMessageError, Phase, StoreError
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity, Sink, json_line
from orchestrator_resilience.plain import printable
from orchestrator_resilience.stores import cloud_logging
from orchestrator_resilience.stores.base import CheckpointArchive, Request
from orchestrator_resilience.stores.cloud_logging import (
    CloudLoggingArchive,
    CloudLoggingRequests,
    _checkpoint,
    checkpoint_filter,
)
from orchestrator_resilience.stores.jsonl import JsonLinesArchive, append_line, last_line
from orchestrator_resilience.testing import SimulatedClock
from tests.contracts.logging_server import LoggingServer
from tests.proof.inputs import (
    AT,
    FIVE,
    checkpoint_entries,
    checkpoint_entry,
    fuzzed,
    json_values,
    mutated,
    odd,
    or_error,
)

DAY = date(2026, 2, 9)
Archive = tuple[Sink, CheckpointArchive]


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 2, 10, 6, 41, tzinfo=UTC))


@pytest.fixture
def left() -> list[Checkpoint]:
    return []


@pytest.fixture
def deliver(archive: Archive, phase: Phase, clock: SimulatedClock, left: list[Checkpoint]) -> Callable[[str], None]:
    """Leave the three checkpoints of one delivery, and one that belongs to no date."""

    def both(checkpoint: Checkpoint) -> None:
        left.append(checkpoint)
        archive[0](checkpoint)

    checkpoints = CheckpointLogger(phase, both, clock=clock)

    def one(game_date: str) -> None:
        with checkpoints.delivery(
            processor="OddsApiPropsBatchProcessor", game_date=game_date, event_id="1"
        ) as delivery:
            clock.now += timedelta(microseconds=1500)
            delivery.post_transaction(
                should_trigger=False, completed=["p2_odds_player_props"], triggered=False, duplicate=True, attempts=2
            )
        clock.now += timedelta(microseconds=1500)
        checkpoints.rejected(InvalidMessageError("game_date", "no date", raw="{}"))
        clock.now += timedelta(microseconds=1500)

    return one


def test_a_dates_checkpoints_are_read_as_they_were_left(
    archive: Archive, deliver: Callable[[str], None], left: list[Checkpoint]
) -> None:
    """Only that date's and what has none, oldest first, whole, to the microsecond."""
    for day in ("2026-02-09", "2026-02-10", "2026-02-09", "2026-02-09"):
        deliver(day)
    found = archive[1].read("phase2", [DAY])
    assert found == [c for c in left if c.fields.get("game_date") in {"2026-02-09", None}]
    own = ["RECEIVED", "POST_TRANSACTION", "WAITING", "REJECTED"]
    assert [c.kind.name for c in found] == [*own, "REJECTED", *own, *own]


@pytest.mark.parametrize(("days", "found"), [(-1, 0), (0, 1), (2, 1), (3, 0)])
def test_a_rejection_without_a_date_may_be_of_the_days_before(
    archive: Archive, phase: Phase, clock: SimulatedClock, days: int, found: int
) -> None:
    """As long as a date's messages come; another phase's is nobody's."""
    clock.now = datetime(2026, 2, 9, 12, tzinfo=UTC) + timedelta(days=days)
    CheckpointLogger(phase, archive[0], clock=clock).rejected(InvalidMessageError("game_date", "no date", raw="{}"))
    assert len(archive[1].read("phase2", [DAY])) == found
    assert archive[1].read("phase3", [DAY]) == []


def test_several_dates_are_one_reading(
    archive: Archive, deliver: Callable[[str], None], left: list[Checkpoint]
) -> None:
    """All of theirs, and none of a date between them."""
    days = ("2026-02-09", "2026-02-08", "2026-02-07")
    for day in days:
        deliver(day)
    found = archive[1].read("phase2", [date.fromisoformat(days[0]), date.fromisoformat(days[2])])
    assert found == [c for c in left if c.fields.get("game_date") != days[1]]
    assert archive[1].read("phase2", []) == []


def test_more_lines_than_one_search_can_have(
    monkeypatch: pytest.MonkeyPatch, phase: Phase, clock: SimulatedClock
) -> None:
    """Of several dates nothing is concluded, because one may have taken the room of the others."""
    monkeypatch.setattr(cloud_logging, "_MAXIMUM_ENTRIES", 3)
    with LoggingServer("project") as server:
        checkpoints = CheckpointLogger(phase, lambda c: server.ingest(json_line(c)), clock=clock)
        for number in range(2):
            with checkpoints.delivery(processor="x", game_date="2026-02-09", event_id=str(number)):
                pass
        read = CloudLoggingArchive("project", connect=server.transport).read
        assert len(read("phase2", [DAY])) == 3
        with pytest.raises(StoreError, match="3 lines or more for 2 dates: ask for one"):
            read("phase2", [DAY, DAY - timedelta(days=1)])


def test_another_phase_has_other_checkpoints(archive: Archive, deliver: Callable[[str], None]) -> None:
    """Phases are kept apart."""
    deliver("2026-02-09")
    assert archive[1].read("phase3", [DAY]) == []


def test_a_field_of_another_type_is_left_out_and_named(
    archive: Archive, deliver: Callable[[str], None], left: list[Checkpoint]
) -> None:
    """The line counts as one that was left, and nothing else of the archive is touched."""
    deliver("2026-02-09")
    odd: dict[str, Any] = {
        "delivery": {},
        "completed": None,
        "missing": "p2",
        "expected": [1],
        "triggered": "no",
        "event_id": ["1"],
    }
    known = {"phase": "phase2", "game_date": "2026-02-09", "duplicate": True, "note": [{"any": None}]}
    at = datetime(2026, 2, 10, 9, tzinfo=UTC)
    kind = CheckpointKind.POST_TRANSACTION
    archive[0](Checkpoint(kind, Severity.INFO, at, "x", {**known, **odd, "sequence": 1}))
    said = {**known, "sequence": 1, "unreadable_fields": sorted(odd)}
    expected = Checkpoint(kind, Severity.INFO, at, "x", said)
    assert archive[1].read("phase2", [DAY]) == [*left, expected]


GOOD = checkpoint_entry()
ODD_LINES = {
    "nested 10,000 deep": '{"x": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "a number of 5,000 digits": '{"x": ' + "9" * 5_000 + "}",
    "no object": "[1]",
    "not JSON": "\x00",
    "cut short": json.dumps(GOOD)[:-9],
    "a time without a zone": json.dumps({**GOOD, "time": "2026-02-10T06:41:00"}),
    "year 1": json.dumps({**GOOD, "time": "0001-01-01T00:00:00Z"}),
    "year 9999": json.dumps({**GOOD, "time": "9999-12-31T23:59:59-14:00"}),
    "a time that is a number": json.dumps({**GOOD, "time": 17}),
    "a kind that there is not": json.dumps({**GOOD, "checkpoint": "CHECKPOINT_MADE_UP"}),
    "a kind that is a map": json.dumps({**GOOD, "checkpoint": {}}),
    "a severity that is a list": json.dumps({**GOOD, "severity": []}),
    "too deep to be made harmless": json.dumps({**GOOD, "x": "DEEP"}).replace('"DEEP"', "[" * 700 + "]" * 700),
    "too deep to be read": json.dumps({**GOOD, "x": "DEEP"}).replace('"DEEP"', "[" * 100_000),
    "nothing about its end": json.dumps({name: value for name, value in GOOD.items() if name != "closes"}),
}


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES)
def test_a_line_that_is_no_checkpoint_is_left_out_alone(tmp_path: Path, line: str) -> None:
    """The lines before and after it are read."""
    file = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    for one in (json.dumps(GOOD), line, json.dumps({**GOOD, "event_id": "2"})):
        append_line(file.path, one + "\n")
    assert [c.fields["event_id"] for c in file.read("phase2", [DAY])] == ["1", "2"]


def test_nothing_was_left(archive: Archive) -> None:
    """An archive without a line is empty, not broken."""
    assert archive[1].read("phase2", [DAY]) == []


def test_cloud_loggings_filter() -> None:
    """Built in one place, from indexed fields; what is quoted cannot end the quotation."""
    assert checkpoint_filter("phase2", [DAY]) == (
        'labels.phase="phase2" AND (labels.game_date="2026-02-09" OR (NOT labels.game_date:* AND '
        'jsonPayload.checkpoint="CHECKPOINT_REJECTED" AND timestamp>="2026-02-09T00:00:00Z" AND '
        'timestamp<"2026-02-12T00:00:00Z")) AND jsonPayload.checkpoint:"CHECKPOINT_" AND '
        'timestamp>="2026-02-07T00:00:00Z" AND timestamp<"2026-03-12T00:00:00Z"'
    )
    assert 'labels.phase="a\\" OR \\"" AND' in checkpoint_filter('a" OR "', [DAY])


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
def test_cloud_logging_refuses(status: grpc.StatusCode) -> None:
    """A passing fault is tried again within the deadline, a lasting one is told at once."""
    with LoggingServer("project") as server:
        server.fail_with = status
        archive = CloudLoggingArchive("project", seconds=1, connect=server.transport)
        began = time.monotonic()
        with pytest.raises(StoreError, match="Cloud Logging: "):
            archive.read("phase2", [DAY])
        assert time.monotonic() - began < 3
        assert (len(server.requests) > 1) == (status is grpc.StatusCode.UNAVAILABLE)


def test_cloud_logging_hangs() -> None:
    """The search ends by its own deadline."""
    with LoggingServer("project") as server:
        server.delay_seconds = 60
        archive = CloudLoggingArchive("project", seconds=0.5, connect=server.transport)
        searches: list[Callable[[], object]] = [
            lambda: archive.read("phase2", [DAY]),
            lambda: archive.statuses("orchestrator-x-uc.a.run.app", datetime.now(UTC), 0.5),
        ]
        for search in searches:
            began = time.monotonic()
            with pytest.raises(StoreError, match="Cloud Logging: "):
                search()
            assert time.monotonic() - began < 3


def test_cloud_logging_has_no_end_of_pages() -> None:
    """Each page comes in time, and the search as a whole does not."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project", page_limit=1) as server:
        for minutes in range(60):
            server.log_request("https://orchestrator-x-uc.a.run.app/", 204, at + timedelta(minutes=minutes))
        server.delay_seconds = 0.1
        archive = CloudLoggingArchive("project", connect=server.transport)
        began = time.monotonic()
        with pytest.raises(StoreError, match="Cloud Logging: "):
            archive.statuses("orchestrator-x-uc.a.run.app", at, 1)
        assert time.monotonic() - began < 3
        assert len(server.requests) > 1


def test_cloud_loggings_requests() -> None:
    """The statuses of one function's requests since a moment, each once; no request is no status."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        archive = CloudLoggingArchive("project", connect=server.transport)
        for minutes, status in ((-1, 500), (0, 403), (1, 403), (2, 204), (3, 204), (4, 204)):
            server.log_request("https://orchestrator-x-uc.a.run.app/?mode=1", status, at + timedelta(minutes=minutes))
        server.log_request("https://canary-x-uc.a.run.app/", 503, at)
        server.log_request("https://another-orchestrator-x-uc.a.run.app/", 503, at)
        assert archive.statuses("orchestrator-x-uc.a.run.app", at, 5) == {204, 403}
        assert archive.statuses("somebody-else.run.app", at, 5) == set()


def test_the_requests_to_a_service() -> None:
    """Those of one service from one moment to another, each with its status, oldest first."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        log = CloudLoggingRequests("project", "orchestrator", "phase2", connect=server.transport)
        for minutes, status in ((3, 204), (-1, 500), (0, 403), (1, 403), (4, 204)):
            server.log_request("https://x/", status, at + timedelta(minutes=minutes), "orchestrator")
        server.log_request("https://x/", 503, at, "canary")
        server.log_request("https://x/", 503, at, "another-orchestrator")
        found = log.requests(at, at + timedelta(minutes=4))
        assert found == [Request(at + timedelta(minutes=n), status) for n, status in ((0, 403), (1, 403), (3, 204))]


def test_too_many_requests_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones would not be among them, so nothing may be concluded."""
    monkeypatch.setattr(cloud_logging, "_MAXIMUM_ENTRIES", 3)
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        for minutes in range(4):
            server.log_request("https://x/", 403, at + timedelta(minutes=minutes), "orchestrator")
        log = CloudLoggingRequests("project", "orchestrator", "phase2", connect=server.transport)
        with pytest.raises(StoreError, match="orchestrator has had 3 requests or more since 2026-02-10 06:41"):
            log.requests(at, at + timedelta(hours=1))


def check_read(checkpoint: Checkpoint) -> None:
    """Hold what was read to the types that it is written with, what is harmless, and what is read again as the same."""
    lists = [checkpoint.fields.get(name, []) for name in ("completed", "missing", "expected", "steps", "causes")]
    assert all(isinstance(item, str) for items in lists for item in items)
    assert all(
        isinstance(checkpoint.fields.get(name, ""), (str, int)) for name in ("delivery", "event_id", "processor")
    )
    assert checkpoint.at.tzinfo is not None
    assert checkpoint.message.isprintable()
    assert json.dumps(printable(checkpoint.fields)) == json.dumps(checkpoint.fields)
    line = json_line(checkpoint)
    assert line.count("\n") == 1
    assert Checkpoint.from_json(json.loads(line)).at == checkpoint.at


_GOOD = json.dumps(checkpoint_entry(event_id="good")).encode()
_lines = st.lists(checkpoint_entries | odd(checkpoint_entry(), json_values) | json_values, max_size=3).map(
    lambda entries: b"\n".join(json.dumps(entry).encode() for entry in entries)
)


@fuzzed(25)
@given(mutated(_GOOD) | _lines)
def test_the_lines_around_an_odd_one_are_read(tmp_path: Path, data: bytes) -> None:
    """Whatever is in between, and the last one is found from the end."""
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    archive.path.write_bytes(b"\n".join([_GOOD, data, _GOOD, b""]))
    lines = archive.read("phase2", [DAY])
    assert [line.fields.get("event_id") for line in lines].count("good") >= 2
    for line in lines:
        check_read(line)
    assert last_line(archive.path) == json.loads(_GOOD)


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


@fuzzed(50)
@given(mutated(*_ENTRIES))
@example(b"\x1a\x13CHECKPOINT_RECEIVEDJ\r\x08\xff\xa2\xd1\xff\xaf\x07\x10\xff\x93\xeb\xdc\x03")  # beyond year 9999
def test_a_log_entry_is_a_checkpoint_or_none(data: bytes) -> None:
    """What is no entry at all is the client's to refuse."""
    entry = or_error(DecodeError, lambda: LogEntry.deserialize(data))
    checkpoint = None if isinstance(entry, DecodeError) else _checkpoint(entry)
    if checkpoint is not None:
        check_read(checkpoint)
