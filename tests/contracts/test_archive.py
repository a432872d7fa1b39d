"""What every CheckpointArchive does, and what Cloud Logging's does when it cannot."""

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgspec
import pytest
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from canary.domain.evidence import Seen
from canary.sources import read_traces
from orchestrator_resilience import CheckpointLogger, InvalidMessageError, Phase, StoreError
from orchestrator_resilience.checkpoints import (
    Checkpoint,
    CheckpointKind,
    Severity,
    Sink,
    json_line,
)
from orchestrator_resilience.plain import printable
from orchestrator_resilience.stores import cloud_logging, jsonl
from orchestrator_resilience.stores.base import (
    CheckpointArchive,
    Component,
    Request,
    ServiceError,
    ServiceErrors,
)
from orchestrator_resilience.stores.cloud_changes import CloudLoggingChanges
from orchestrator_resilience.stores.cloud_logging import (
    CloudLoggingArchive,
    CloudLoggingErrors,
    CloudLoggingRequests,
    _checkpoint,
    _service_error,
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
LATER = datetime(2026, 4, 1, tzinfo=UTC)
Archive = tuple[Sink, CheckpointArchive]


def read(
    archive: CheckpointArchive, *days: date, phase: str = "phase2", until: datetime = LATER
) -> list[Checkpoint]:
    return list(archive.read({phase: days}, until).checkpoints)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 2, 10, 6, 41, tzinfo=UTC))


@pytest.fixture
def left() -> list[Checkpoint]:
    return []


@pytest.fixture
def deliver(
    archive: Archive, phase: Phase, clock: SimulatedClock, left: list[Checkpoint]
) -> Callable[[str], None]:
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
                should_trigger=False,
                completed=["p2_odds_player_props"],
                triggered=False,
                duplicate=True,
                attempts=2,
            )
        clock.now += timedelta(microseconds=1500)
        checkpoints.rejected(InvalidMessageError("game_date", "no date", raw="{}"))
        clock.now += timedelta(microseconds=1500)

    return one


def test_a_dates_checkpoints_are_read_as_they_were_left(
    archive: Archive, deliver: Callable[[str], None], left: list[Checkpoint]
) -> None:
    """Lines of the date and those without one are read, oldest first, to the microsecond."""
    for day in ("2026-02-09", "2026-02-10", "2026-02-09", "2026-02-09"):
        deliver(day)
    lines = read(archive[1], DAY)
    assert lines == [
        c for c in left if c.closes and c.fields.get("game_date") in {"2026-02-09", None}
    ]
    own = ["WAITING", "REJECTED"]
    assert [c.kind.name for c in lines] == [*own, "REJECTED", *own, *own]
    assert lines[0].fields["should_trigger"] is False, "what closes a delivery says all of it"


def test_a_delivery_that_never_ended_is_read(
    archive: Archive, phase: Phase, clock: SimulatedClock
) -> None:
    """RECEIVED of a delivery that nothing closed stays, and later lines are not known yet."""
    died = CheckpointLogger(phase, archive[0], clock=clock).delivery(
        processor="x", game_date=DAY, event_id="died"
    )
    died.__enter__()
    clock.now += timedelta(minutes=1)
    with CheckpointLogger(phase, archive[0], clock=clock).delivery(
        processor="x", game_date=DAY, event_id="ended"
    ):
        clock.now += timedelta(minutes=1)
    assert [(c.kind.name, c.fields["event_id"]) for c in read(archive[1], DAY)] == [
        ("RECEIVED", "died"),
        ("IGNORED", "ended"),
    ]
    assert [
        c.fields["event_id"] for c in read(archive[1], DAY, until=clock.now - timedelta(seconds=1))
    ] == ["died"] + (["ended"] if isinstance(archive[1], CloudLoggingArchive) else [])


_OPEN = {"checkpoint": CheckpointKind.RECEIVED}
_CLOSED = {"checkpoint": CheckpointKind.IGNORED, "sequence": 2}
DEATHS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "closed before it was received": ([_CLOSED, _OPEN], ["IGNORED"]),
    "something after its end": (
        [_OPEN, _CLOSED, {"checkpoint": CheckpointKind.POST_TRANSACTION, "sequence": 3}],
        ["IGNORED"],
    ),
    "another phase's": ([_OPEN, {**_CLOSED, "phase": "phase3"}], ["RECEIVED"]),
    "another date's": ([_OPEN, {**_CLOSED, "game_date": "2026-02-08"}], ["RECEIVED"]),
    "without a delivery": (
        [_OPEN | {"delivery": None}, _OPEN | {"delivery": ""}, _OPEN | {"delivery": {}}],
        [],
    ),
    "a delivery that is a number": ([{**_OPEN, "delivery": 5}], ["RECEIVED"]),
    "a nested one's": (
        [{"note": {"game_date": "1", "delivery": "2", "closes": True, "phase": 3}, **_OPEN}],
        ["RECEIVED"],
    ),
}


@pytest.mark.parametrize("case", DEATHS)
def test_which_deliveries_died(archive: Archive, case: str) -> None:
    """The same ones in every archive, in whatever order the lines came there."""
    entries, kinds = DEATHS[case]
    for entry in entries:
        known = {
            "note": None,
            "phase": "phase2",
            "game_date": "2026-02-09",
            "delivery": "d",
            "sequence": 1,
            **entry,
        }
        kind = known.pop("checkpoint")
        closes = kind is CheckpointKind.IGNORED
        archive[0](
            Checkpoint(
                kind, Severity.INFO, AT + timedelta(seconds=known["sequence"]), "x", known, closes
            )
        )
    assert [line.kind.name for line in read(archive[1], DAY)] == kinds


@pytest.mark.parametrize(("days", "found"), [(-1, 0), (0, 1), (2, 1), (3, 0)])
def test_a_rejection_without_a_date_may_be_of_the_days_before(
    archive: Archive, phase: Phase, clock: SimulatedClock, days: int, found: int
) -> None:
    """As long as a date's messages come; another phase's is nobody's."""
    clock.now = datetime(2026, 2, 9, 12, tzinfo=UTC) + timedelta(days=days)
    CheckpointLogger(phase, archive[0], clock=clock).rejected(
        InvalidMessageError("game_date", "no date", raw="{}")
    )
    assert len(read(archive[1], DAY)) == found
    assert read(archive[1], DAY, phase="phase3") == []


def test_several_dates_are_one_reading(
    archive: Archive, deliver: Callable[[str], None], left: list[Checkpoint]
) -> None:
    """All of theirs, and none of a date between them."""
    days = ("2026-02-09", "2026-02-08", "2026-02-07")
    for day in days:
        deliver(day)
    lines = read(archive[1], date.fromisoformat(days[0]), date.fromisoformat(days[2]))
    assert lines == [c for c in left if c.closes and c.fields.get("game_date") != days[1]]
    assert read(archive[1]) == []


def test_several_phases_are_one_reading(
    archive: Archive, phase: Phase, clock: SimulatedClock
) -> None:
    """Each has its own dates."""
    for name in ("phase2", "phase3", "phase4"):
        checkpoints = CheckpointLogger(
            msgspec.structs.replace(phase, name=name), archive[0], clock=clock
        )
        for day in (DAY, DAY - timedelta(days=1)):
            with checkpoints.delivery(processor="x", game_date=day, event_id=f"{name} {day}"):
                clock.now += timedelta(seconds=1)
    lines = (
        archive[1].read({"phase2": [DAY], "phase3": [DAY - timedelta(days=1)]}, LATER).checkpoints
    )
    assert [c.fields["event_id"] for c in lines] == ["phase2 2026-02-09", "phase3 2026-02-08"]


def test_what_was_left_before_the_dates(
    archive: Archive, phase: Phase, clock: SimulatedClock
) -> None:
    """The last ordinary line of each phase, which shows that such lines are kept at all."""
    wanted = {"phase2": [DAY + timedelta(days=1), DAY], "phase3": [DAY], "phase4": [DAY]}
    assert archive[1].read(wanted, LATER).before == {}
    for name, hours in (
        ("phase2", -50),
        ("phase3", -40),
        ("phase2", -30),
        ("phase2", 1),
        ("phase4", 1),
    ):
        clock.now = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(hours=hours)
        checkpoints = CheckpointLogger(
            msgspec.structs.replace(phase, name=name), archive[0], clock=clock
        )
        with checkpoints.delivery(
            processor=FIVE[0], game_date="2026-02-07", event_id=f"{name} {hours}"
        ):
            pass
        # an error may be all that is kept
        checkpoints.rejected(InvalidMessageError("game_date", "no date", raw="{}"))
    before = archive[1].read(wanted, LATER).before
    found = {name: (line.fields["event_id"], line.severity) for name, line in before.items()}
    assert found == {
        "phase2": ("phase2 -30", Severity.INFO),
        "phase3": ("phase3 -40", Severity.INFO),
    }
    assert archive[1].read({"phase2": []}, LATER).before == {}


def test_more_lines_than_one_search_can_have(
    monkeypatch: pytest.MonkeyPatch, phase: Phase, clock: SimulatedClock
) -> None:
    """The newest are kept, and it is said since when they are."""
    # of deliveries, each of which has two
    monkeypatch.setattr(cloud_logging, "_MAXIMUM_ENTRIES", 6)
    with LoggingServer("project") as server:
        checkpoints = CheckpointLogger(phase, lambda c: server.ingest(json_line(c)), clock=clock)
        for number in range(5):
            clock.now += timedelta(minutes=1)
            with checkpoints.delivery(processor="x", game_date="2026-02-09", event_id=str(number)):
                pass
        lines = CloudLoggingArchive("project", connect=server.transport).read(
            {"phase2": [DAY]}, LATER
        )
    assert [c.fields["event_id"] for c in lines.checkpoints] == ["2", "3", "4"]
    assert lines.cut_at == lines.checkpoints[0].at


def test_more_lines_of_a_date_than_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phase: Phase, clock: SimulatedClock
) -> None:
    """Of each date the newest; another date keeps all of its own."""
    monkeypatch.setattr(jsonl, "_MOST_OF_A_DATE", 3)
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    for number in range(5):
        clock.now += timedelta(minutes=1)
        day = DAY if number else DAY - timedelta(days=1)
        with CheckpointLogger(phase, archive, clock=clock).delivery(
            processor="x", game_date=day, event_id=str(number)
        ):
            pass
    lines = archive.read({"phase2": [DAY, DAY - timedelta(days=1)]}, LATER)
    assert [c.fields["event_id"] for c in lines.checkpoints] == ["0", "2", "3", "4"]
    assert lines.cut_at == lines.checkpoints[1].at


def test_another_phase_has_other_checkpoints(
    archive: Archive, deliver: Callable[[str], None]
) -> None:
    """Phases are kept apart."""
    deliver("2026-02-09")
    assert read(archive[1], DAY, phase="phase3") == []


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
    known = {
        "phase": "phase2",
        "game_date": "2026-02-09",
        "duplicate": True,
        "note": [{"any": None}],
    }
    at = datetime(2026, 2, 10, 9, tzinfo=UTC)
    kind = CheckpointKind.POST_TRANSACTION
    archive[0](
        Checkpoint(kind, Severity.INFO, at, "x", {**known, **odd, "sequence": 1}, closes=True)
    )
    said = {**known, "sequence": 1, "unreadable_fields": sorted(odd)}
    expected = Checkpoint(kind, Severity.INFO, at, "x", said, closes=True)
    assert read(archive[1], DAY) == [*(c for c in left if c.closes), expected]


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
    "too deep to be made harmless": json.dumps({**GOOD, "x": "DEEP"}).replace(
        '"DEEP"', "[" * 700 + "]" * 700
    ),
    "too deep to be read": json.dumps({**GOOD, "x": "DEEP"}).replace('"DEEP"', "[" * 100_000),
    "nothing about its end": json.dumps(
        {name: value for name, value in GOOD.items() if name != "closes"}
    ),
}


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES)
def test_a_line_that_is_no_checkpoint_is_left_out_alone(tmp_path: Path, line: str) -> None:
    """The lines before and after it are read."""
    file = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    for one in (json.dumps(GOOD), line, json.dumps({**GOOD, "event_id": "2", "delivery": "d2"})):
        append_line(file.path, one + "\n")
    assert [c.fields["event_id"] for c in read(file, DAY)] == ["1", "2"]


def test_a_half_line_takes_nothing_with_it(tmp_path: Path) -> None:
    """RECEIVED stays where the closing line cannot be read, and a byte order mark does no harm."""
    file = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    received = json.dumps(
        {**GOOD, "checkpoint": "CHECKPOINT_RECEIVED", "closes": False, "delivery": "d"}
    ).encode()
    closing = json.dumps(
        {**GOOD, "closes": True, "message": "\u00e4", "delivery": "d"}, ensure_ascii=False
    )
    for end in (closing.encode()[:-5], closing.encode("latin-1"), b"\0\0" + closing.encode()):
        file.path.write_bytes(b"\xef\xbb\xbf" + received + b"\r\n" + end)
        assert [line.kind.name for line in read(file, DAY)] == ["RECEIVED"]


def test_since_when_odd_lines_are_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that jumped back does not move it, and where none can be read nothing is."""
    monkeypatch.setattr(jsonl, "_MOST_OF_A_DATE", 3)
    for times, since in (
        (("06", "07", "08", "01", "10"), "2026-02-10T08:00:00+00:00"),
        ("xxxxx", LATER.isoformat()),
    ):
        file = JsonLinesArchive(tmp_path / f"{times[0]}.jsonl")
        for number, hour in enumerate(times):
            entry = {
                **GOOD,
                "time": f"2026-02-10T{hour}:00:00+00:00",
                "delivery": str(number),
                "closes": True,
            }
            append_line(file.path, json.dumps(entry) + "\n")
        cut_at = file.read({"phase2": [DAY]}, LATER).cut_at
        assert cut_at is not None
        assert cut_at.isoformat() == since


def test_nothing_was_left(archive: Archive) -> None:
    """An archive without a line is empty, not broken."""
    assert read(archive[1], DAY) == []


def test_cloud_loggings_filter() -> None:
    """Built in one place, from indexed fields; what is quoted cannot end the quotation."""
    assert checkpoint_filter({"phase2": [DAY], "phase3": []}, LATER) == (
        '((labels.phase="phase2" AND (labels.game_date="2026-02-09" OR (NOT labels.game_date:* AND '
        'jsonPayload.checkpoint="CHECKPOINT_REJECTED" AND '
        'timestamp>="2026-02-09T00:00:00+00:00" AND '
        'timestamp<"2026-02-12T00:00:00+00:00")))) AND '
        '(jsonPayload.closes=true OR jsonPayload.checkpoint="CHECKPOINT_RECEIVED") AND '
        'timestamp>="2026-02-07T00:00:00+00:00" AND timestamp<"2026-04-01T00:00:00+00:00"'
    )
    assert 'labels.phase="a\\" OR \\"" AND' in checkpoint_filter({'a" OR "': [DAY]}, LATER)


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
def test_cloud_logging_refuses(status: grpc.StatusCode) -> None:
    """A passing fault is tried again within the deadline, a lasting one is told at once."""
    with LoggingServer("project") as server:
        server.fail_with = status
        archive = CloudLoggingArchive("project", seconds=1, connect=server.transport)
        began = time.monotonic()
        with pytest.raises(StoreError, match="Cloud Logging: "):
            read(archive, DAY)
        assert time.monotonic() - began < 3
        assert (len(server.requests) > 1) == (status is grpc.StatusCode.UNAVAILABLE)


def test_cloud_logging_hangs() -> None:
    """The search ends by its own deadline."""
    with LoggingServer("project") as server:
        server.delay_seconds = 60
        archive = CloudLoggingArchive("project", seconds=0.5, connect=server.transport)
        searches: list[Callable[[], object]] = [
            lambda: read(archive, DAY),
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
            server.log_request(
                "https://orchestrator-x-uc.a.run.app/", 204, at + timedelta(minutes=minutes)
            )
        server.delay_seconds = 0.1
        archive = CloudLoggingArchive("project", connect=server.transport)
        began = time.monotonic()
        with pytest.raises(StoreError, match="Cloud Logging: "):
            archive.statuses("orchestrator-x-uc.a.run.app", at, 1)
        assert time.monotonic() - began < 3
        assert len(server.requests) > 1


def test_cloud_loggings_requests() -> None:
    """Each status of one function's requests since a moment is read once."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        archive = CloudLoggingArchive("project", connect=server.transport)
        for minutes, status in ((-1, 500), (0, 403), (1, 403), (2, 204), (3, 204), (4, 204)):
            server.log_request(
                "https://orchestrator-x-uc.a.run.app/?mode=1",
                status,
                at + timedelta(minutes=minutes),
            )
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
            server.log_request(
                "https://x/", status, at + timedelta(minutes=minutes), "orchestrator"
            )
        server.log_request("https://x/", 503, at, "canary")
        server.log_request("https://x/", 503, at, "another-orchestrator")
        found = log.requests(at, at + timedelta(minutes=4))
        assert found == [
            Request(at + timedelta(minutes=n), status)
            for n, status in ((0, 403), (1, 403), (3, 204))
        ]


def test_too_many_requests_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept, because the last ones count most; in one search."""
    monkeypatch.setattr(cloud_logging, "_MAXIMUM_ENTRIES", 3)
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        for minutes in range(5):
            server.log_request("https://x/", 403, at + timedelta(minutes=minutes), "orchestrator")
        log = CloudLoggingRequests("project", "orchestrator", "phase2", connect=server.transport)
        assert log.requests(at, at + timedelta(hours=1)) == [
            Request(at + timedelta(minutes=n), 403) for n in (2, 3, 4)
        ]
        assert len(server.requests) == 1


def test_the_last_answer_before_a_moment() -> None:
    """With 2xx, of that service, and not longer ago than anybody needs to know."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        log = CloudLoggingRequests("project", "orchestrator", "phase2", connect=server.transport)
        server.log_request("https://x/", 204, at - timedelta(days=32), "orchestrator")
        assert log.last_answer(at) is None
        for minutes, status in (
            (-9, 200),
            (-7, 204),
            (-5, 199),
            (-4, 302),
            (-3, 403),
            (-2, 503),
            (0, 204),
        ):
            server.log_request(
                "https://x/", status, at + timedelta(minutes=minutes), "orchestrator"
            )
        server.log_request("https://x/", 204, at - timedelta(minutes=1), "canary")
        assert log.last_answer(at) == at - timedelta(minutes=7)
        server.fail_with = grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(StoreError, match="Cloud Logging: "):
            log.last_answer(at)


STDERR, STDOUT, SYSTEM = (
    "run.googleapis.com%2F" + log for log in ("stderr", "stdout", "varlog%2Fsystem")
)
NO_MODULE = "ModuleNotFoundError: No module named 'yaml'"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\n    import yaml\n'
    f"{NO_MODULE}\n"
)
NO_START = (
    'Default STARTUP TCP probe failed 1 time for container "worker" on port 8080. The instance '
    "was not started."
)
READINESS = "The request failed because the instance failed the readiness check."
TRACE = "projects/project/traces/" + "a" * 32


def test_the_errors_of_a_service() -> None:
    """Its output from ERROR on and the platform's from WARNING on are read, oldest first."""
    requests = "run.googleapis.com%2Frequests"
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:

        def left(
            minutes: int, log: str, severity: str, service: str = "orchestrator", **fields: Any
        ) -> None:
            server.log(log, at + timedelta(minutes=minutes), service, severity, **fields)

        left(0, STDERR, "ERROR", text_payload=TRACEBACK, trace=TRACE)
        left(1, STDOUT, "CRITICAL", json_payload={"message": "quota", "stack_trace": TRACEBACK})
        left(2, SYSTEM, "ERROR", text_payload=NO_START)
        left(3, SYSTEM, "WARNING", text_payload="Container called exit(1).")
        left(4, requests, "ERROR", text_payload=READINESS, trace=TRACE)
        left(5, STDERR, "ALERT", text_payload="CHECKPOINT_FAILED: register")
        left(
            5,
            STDOUT,
            "ERROR",
            json_payload={
                "checkpoint": "CHECKPOINT_FAILED",
                "message": "CHECKPOINT_FAILED: register",
            },
        )
        left(5, STDERR, "WARNING", text_payload="slow")
        left(5, SYSTEM, "INFO", text_payload="Starting new instance.")
        left(5, STDERR, "ERROR", json_payload={"code": 7})
        left(5, STDERR, "ERROR", "canary", text_payload=TRACEBACK)
        left(-1, STDERR, "ERROR", text_payload=TRACEBACK)
        left(9, STDERR, "ERROR", text_payload=TRACEBACK)
        server.log_request("https://x/", 503, at, "orchestrator", severity="ERROR")
        log = CloudLoggingErrors("project", "orchestrator", "phase2", connect=server.transport)
        assert log.errors(at, at + timedelta(minutes=9)) == ServiceErrors(
            [
                ServiceError(at, NO_MODULE, "a" * 32),
                ServiceError(at + timedelta(minutes=1), NO_MODULE),
                ServiceError(at + timedelta(minutes=2), NO_START, "", True, True),
                ServiceError(at + timedelta(minutes=3), "Container called exit(1).", "", True),
                ServiceError(at + timedelta(minutes=4), READINESS, "a" * 32, True, True),
            ]
        )


def test_too_many_errors_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One search of two pages reads the newest errors, and says from when on they are known."""
    monkeypatch.setattr(cloud_logging, "_MAXIMUM_ERRORS", 6)
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        for minutes in range(9):
            server.log(
                STDERR,
                at + timedelta(minutes=minutes),
                "orchestrator",
                "ERROR",
                text_payload=f"E: {minutes}",
            )
        log = CloudLoggingErrors("project", "orchestrator", "phase2", connect=server.transport)
        found = log.errors(at, at + timedelta(hours=1))
        assert [error.words for error in found.errors] == [
            f"E: {minutes}" for minutes in range(3, 9)
        ]
        assert found.cut_at == at + timedelta(minutes=3)
        assert [request.page_token for request in server.requests] == ["", "3"]


@pytest.mark.parametrize("status", [grpc.StatusCode.PERMISSION_DENIED, None])
def test_the_errors_cannot_be_read(status: grpc.StatusCode | None) -> None:
    """Without the right to, or in time: the store is named."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        server.fail_with, server.delay_seconds = status, 0.0 if status else 60.0
        log = CloudLoggingErrors(
            "project", "orchestrator", "phase2", seconds=0.5, connect=server.transport
        )
        with pytest.raises(StoreError, match="Cloud Logging: "):
            log.errors(at, at + timedelta(hours=1))


def test_the_time_and_the_trace_of_a_request() -> None:
    """How long it took tells which errors may be of it."""
    at = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
    with LoggingServer("project") as server:
        took = timedelta(seconds=241.5)
        server.log_request("https://x/", 503, at, "orchestrator", latency=took, trace=TRACE)
        log = CloudLoggingRequests("project", "orchestrator", "phase2", connect=server.transport)
        assert log.requests(at, at + timedelta(minutes=4)) == [Request(at, 503, took, "a" * 32)]


def check_read(checkpoint: Checkpoint) -> None:
    """Hold what was read to its types, to harmless texts, and to itself when read again."""
    lists = [
        checkpoint.fields.get(name, [])
        for name in ("completed", "missing", "expected", "steps", "causes")
    ]
    assert all(isinstance(item, str) for items in lists for item in items)
    assert all(
        isinstance(checkpoint.fields.get(name, ""), (str, int))
        for name in ("delivery", "event_id", "processor")
    )
    assert checkpoint.at.tzinfo is not None
    assert checkpoint.message.isprintable()
    assert json.dumps(printable(checkpoint.fields)) == json.dumps(checkpoint.fields)
    line = json_line(checkpoint)
    assert line.count("\n") == 1
    assert Checkpoint.from_json(json.loads(line)).at == checkpoint.at


_GOOD, _LAST = (
    json.dumps(checkpoint_entry(event_id="good", delivery=name)).encode() for name in ("0a", "0b")
)
_lines = st.lists(
    checkpoint_entries | odd(checkpoint_entry(), json_values) | json_values, max_size=3
).map(lambda entries: b"\n".join(json.dumps(entry).encode() for entry in entries))


@fuzzed(25)
@given(mutated(_GOOD) | _lines)
def test_the_lines_around_an_odd_one_are_read(tmp_path: Path, data: bytes) -> None:
    """Whatever is in between, and the last one is found from the end."""
    archive = JsonLinesArchive(tmp_path / "checkpoints.jsonl")
    archive.path.write_bytes(b"\n".join([_GOOD, data, _LAST, b""]))
    lines = read(archive, DAY)
    assert [line.fields.get("event_id") for line in lines].count("good") >= 2
    for line in lines:
        check_read(line)
    assert last_line(archive.path) == json.loads(_LAST)


_PAYLOAD = {
    name: value for name, value in checkpoint_entry().items() if name not in {"severity", "time"}
}
_ENTRY = {
    "timestamp": AT.isoformat(),
    "severity": "ERROR",
    "jsonPayload": _PAYLOAD,
    "labels": {"phase": "phase2"},
}
_ENTRIES = [
    ParseDict(entry, LogEntry.pb(LogEntry())).SerializeToString()
    for entry in (
        _ENTRY,
        {
            **_ENTRY,
            "jsonPayload": {**_PAYLOAD, "completed": FIVE, "sequence": 2.5, "raw": [{"a": None}]},
        },
        {"timestamp": "9999-12-31T23:59:59.999999999Z", "textPayload": "CHECKPOINT_RECEIVED"},
        {**_ENTRY, "httpRequest": {"status": 503, "requestUrl": "https://x.example/"}},
    )
]


@fuzzed(50)
@given(mutated(*_ENTRIES))
# beyond year 9999
@example(b"\x1a\x13CHECKPOINT_RECEIVEDJ\r\x08\xff\xa2\xd1\xff\xaf\x07\x10\xff\x93\xeb\xdc\x03")
def test_a_log_entry_is_a_checkpoint_or_none(data: bytes) -> None:
    """What is no entry at all is the client's to refuse."""
    entry = or_error(DecodeError, lambda: LogEntry.deserialize(data))
    checkpoint = None if isinstance(entry, DecodeError) else _checkpoint(entry)
    if checkpoint is not None:
        check_read(checkpoint)


@fuzzed(50)
@given(mutated(*_ENTRIES))
def test_a_log_entry_is_an_error_or_none(data: bytes) -> None:
    """In one line that can be shown, and of a time that can be."""
    entry = or_error(DecodeError, lambda: LogEntry.deserialize(data))
    error = None if isinstance(entry, DecodeError) else _service_error(entry)
    if error is not None:
        assert 0 < len(error.words) <= 200
        assert error.words.isprintable()
        assert error.trace.isprintable()
        assert error.at.tzinfo is not None


def test_a_thousand_deliveries_a_day(phase: Phase, clock: SimulatedClock) -> None:
    """Three stuck dates are one search each for lines, requests, errors and changes.

    Two more find what was there before the first two. That logs may not be read is said once.
    """
    days = [DAY + timedelta(days=number) for number in range(3)]
    with LoggingServer("project", page_limit=1_000) as server:
        checkpoints = CheckpointLogger(phase, lambda c: server.ingest(json_line(c)), clock=clock)
        for day in days:
            clock.now = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
            died = checkpoints.delivery(
                processor="p2_odds_game_lines", game_date=day, event_id=f"died {day}"
            )
            died.__enter__()
            name = f"failed {day}"
            with checkpoints.delivery(
                processor="p2_odds_player_props", game_date=day, event_id=name
            ) as failed:
                failed.failed(StoreError("409"))
            server.log(
                STDERR, clock.now, "orchestrator", "ERROR", text_payload=f"StoreError: {day}"
            )
            server.log_activity(
                clock.now, "google.cloud.run.v1.Services.ReplaceService", "x/services/orchestrator"
            )
            server.log_attempt(clock.now, "box-scores")
            for number in range(1_000):
                clock.now += timedelta(seconds=5)
                server.log_request("https://x/", 204, clock.now, "orchestrator")
                with checkpoints.delivery(
                    processor="another", game_date=day, event_id=f"{day} {number}"
                ) as other:
                    other.unexpected()
        named: Any = {"seconds": 60, "connect": server.transport}
        parts = [(Component.SERVICE, "orchestrator"), (Component.JOB, "box-scores")]
        stores: Any = SimpleNamespace(
            checkpoints=CloudLoggingArchive("project", **named),
            requests=CloudLoggingRequests("project", "orchestrator", phase.name, **named),
            dead_letters=None,
            service_errors=CloudLoggingErrors("project", "orchestrator", phase.name, **named),
            changes=CloudLoggingChanges("project", {phase.name: parts}, **named),
        )
        problems = [(phase.name, day) for day in days]
        traces = read_traces(
            stores, problems, {phase.name: phase}, clock.now + timedelta(hours=1), seconds=60
        )
        assert [request.page_token for request in server.requests].count("") == 6
        server.fail_with = grpc.StatusCode.PERMISSION_DENIED
        (refused, *_) = read_traces(
            stores, problems, {phase.name: phase}, clock.now, seconds=60
        ).values()
    all_of_them = (
        "the checkpoints and the requests to the service and the service's errors and what was "
        "changed"
    )
    assert refused.left_out == [
        f"explained without {all_of_them}: Cloud Logging: PermissionDenied: 403 told to fail"
    ]
    for day in days:
        lines, requests = traces[phase.name, day].checkpoints, traces[phase.name, day].requests
        errors = traces[phase.name, day].errors
        changes = traces[phase.name, day].changes
        assert isinstance(changes, Seen)
        assert (len(changes.value.changes), len(changes.value.attempts), changes.value.cut_at) == (
            3,
            3,
            None,
        )
        assert isinstance(errors, Seen)
        assert [error.words for error in errors.value.errors] == [
            f"StoreError: {one}" for one in days if one >= day
        ]
        assert isinstance(lines, Seen)
        assert isinstance(requests, Seen)
        assert {line.fields["event_id"] for line in lines.value[:2]} == {
            f"died {day}",
            f"failed {day}",
        }
        assert (len(lines.value), traces[phase.name, day].cut_at) == (1_002, None)
        assert len(requests.value) == 1_000 * (3 - days.index(day))
