"""Requests of a size that no completion has, sent to the function's own process."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator_resilience.function import MAX_REQUEST_BYTES
from orchestrator_resilience.testing import push_envelope
from tools.emulators import Server
from tools.functions import orchestrator_function

CLOUD_EVENT = {
    "ce-id": "17",
    "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
    "ce-specversion": "1.0",
    "ce-source": "//pubsub.googleapis.com/projects/p/topics/t",
    "Content-Type": "application/json",
}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    """Serve the orchestrator on stores in a folder."""
    with orchestrator_function({"RESILIENCE_DATA_DIR": str(tmp_path / "stores")}) as server:
        yield server


def push(running: Server, body: Any, headers: dict[str, str] | None = None) -> int:
    return requests.post(
        f"http://{running.address}/", data=body, headers=headers, timeout=60
    ).status_code


def checkpoints(running: Server) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")
    ]


def test_what_is_too_large_is_acknowledged_unread(running: Server) -> None:
    """Four pushes of 30 MB at once are acknowledged with a line that says so, and use no memory."""
    megabyte = 1024 * 1024

    def peak_megabytes() -> float:
        """Return the most memory that the server's processes have had."""
        parent = running.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        peaks = [
            Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]
            for pid in children
        ]
        return max(int(peak) for peak in peaks) / 1024

    completion = json.dumps(
        push_envelope("p2_nbacom_boxscores", "2026-02-09", datetime.now(UTC), message_id="1")
    )
    assert push(running, completion, CLOUD_EVENT) == 204
    before = peak_megabytes()
    with ThreadPoolExecutor(4) as threads:
        told = threads.map(lambda _: push(running, b"{" * (30 * megabyte), CLOUD_EVENT), range(2))
        untold = threads.map(
            lambda _: push(
                running, (b"{" * megabyte for _ in range(30)), {"Content-Type": "application/json"}
            ),
            range(2),
        )
        assert [*told, *untold] == [204] * 4
    assert peak_megabytes() - before < 30
    lines = [line for line in checkpoints(running) if line["checkpoint"] == "CHECKPOINT_REJECTED"]
    assert sorted((line["message"], line.get("event_id")) for line in lines) == [
        (
            (
                "CHECKPOINT_REJECTED: request: 31457280 bytes, and completions have under "
                "1048576: not read (message 17)"
            ),
            "17",
        ),
        (
            (
                "CHECKPOINT_REJECTED: request: 31457280 bytes, and completions have under "
                "1048576: not read (message 17)"
            ),
            "17",
        ),
        (
            (
                "CHECKPOINT_REJECTED: request: completions have under 1048576: not read (an "
                "unreadable message)"
            ),
            None,
        ),
        (
            (
                "CHECKPOINT_REJECTED: request: completions have under 1048576: not read (an "
                "unreadable message)"
            ),
            None,
        ),
    ]
    assert push(running, completion, CLOUD_EVENT) == 204
    assert checkpoints(running)[-1]["checkpoint"] == "CHECKPOINT_WAITING"


def test_the_largest_that_can_be_a_completion_is_taken(running: Server) -> None:
    """Nearly as long as the limit, and with all the attributes that Pub/Sub allows."""
    event = push_envelope(
        "p2_nbacom_boxscores",
        "2026-02-09",
        datetime.now(UTC),
        message_id="1",
        padding="x" * 261_500,
    )
    event["message"]["attributes"] = {f"attribute-{n}": "é" * 512 for n in range(100)}
    body = json.dumps(event)
    assert push(running, body.ljust(MAX_REQUEST_BYTES - 1), CLOUD_EVENT) == 204
    assert checkpoints(running)[-1]["checkpoint"] == "CHECKPOINT_WAITING"


_PUSH = json.dumps(
    push_envelope("p2_nbacom_boxscores", "2026-02-09", datetime.now(UTC), message_id="1")
).encode()
_CHUNKED = b"%x\r\n%s\r\n" % (len(_PUSH), _PUSH)


def test_what_was_cut_off_comes_again(running: Server) -> None:
    """A push that ends before its length or its last chunk is answered 400, and not rejected."""
    head = (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"%s\r\n\r\n"
    )

    def sent(running: Server, request: bytes) -> int:
        """Send bytes and no more; returns the status of the answer."""
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return int(b"".join(iter(lambda: connection.recv(65536), b"")).split()[1])

    length, chunks = head % b"Content-Length: %d", head % b"Transfer-Encoding: chunked"
    ends = sorted({0, 1, len(_PUSH) // 2, len(_PUSH) - 1, *range(7, len(_PUSH), 67)})
    assert {sent(running, length % len(_PUSH) + _PUSH[:end]) for end in ends} == {400}
    assert sent(running, length % (len(_PUSH) + 1) + _PUSH) == 400
    assert {sent(running, chunks + _CHUNKED[:end]) for end in ends if end} == {400}
    assert [line["checkpoint"] for line in checkpoints(running)] == []
    assert sent(running, length % len(_PUSH) + _PUSH) == 204
    assert sent(running, chunks + _CHUNKED + b"0\r\n\r\n") == 204
    assert checkpoints(running)[-1]["checkpoint"] == "CHECKPOINT_WAITING"
