"""What both functions, run as they are deployed, answer to requests nobody should send."""

import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from canary.page.headers import HEADERS
from orchestrator_resilience.testing import push_envelope
from tools.emulators import Server
from tools.functions import canary_function, orchestrator_function

COMMON = {name: text for name, text in HEADERS.items() if name != "Content-Type"}
DATE = "/dates/2026-02-09"
THERE_IS = (
    "there are /, /status, /notify-test and /dates/2026-02-09, with ?phase= and one of phase2"
)
NO_METHOD = [
    *(
        (method, "/", "GET, POST, HEAD")
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
    ),
    *(
        (method, path, "GET, HEAD")
        for method in ("POST", "PUT", "OPTIONS")
        for path in ("/status", DATE)
    ),
]
NO_PATH = [
    "/x",
    "/dates",
    "/dates/",
    "/dates/soon",
    "/dates/0001-01-01",
    f"{DATE}/x",
    "/%00%1b[2J",
    "/<script>",
]
NO_HTTP = {
    "no request": b"nonsense\r\n\r\n",
    "a header of 70,000 characters": b"GET / HTTP/1.1\r\nHost: h\r\nX: "
    + b"x" * 70_000
    + b"\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
    "an expectation": b"POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the canary where nothing has been delivered yet."""
    with canary_function(
        {"RESILIENCE_DATA_DIR": str(tmp_path_factory.mktemp("canary") / "stores")}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the orchestrator where nothing can be stored."""
    occupied = tmp_path_factory.mktemp("orchestrator") / "stores"
    occupied.touch()
    with orchestrator_function({"RESILIENCE_DATA_DIR": str(occupied)}) as running:
        yield running


def asked(server: Server, method: str, path: str) -> requests.Response:
    return requests.request(method, f"http://{server.address}{path}", timeout=60)


@pytest.mark.parametrize(("method", "path", "allowed"), NO_METHOD)
def test_another_method(canary: Server, method: str, path: str, allowed: str) -> None:
    """It is told which there are, as JSON, with the headers of every answer."""
    answer = asked(canary, method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json() == {"reason": f"{method} is not what {path} takes"}
    assert answer.headers["Content-Type"] == "application/json"
    assert {name: answer.headers[name] for name in COMMON} == COMMON


@pytest.mark.parametrize("path", NO_PATH)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_path(canary: Server, method: str, path: str) -> None:
    """It is told which there are, as JSON; a browser takes it for nothing else."""
    answer = asked(canary, method, path)
    assert answer.status_code == 404
    assert re.fullmatch(rf"there is no /[ -~]*; {re.escape(THERE_IS)}", answer.json()["reason"])
    assert answer.headers["Content-Type"] == "application/json"
    assert {name: answer.headers[name] for name in COMMON} == COMMON


def test_a_phase_that_there_is_not_is_no_fault_of_the_canary(canary: Server) -> None:
    """Nor is a path of any length: told to who asked, and not to those who watch the log."""
    before = canary.log.read_text()
    assert asked(canary, "GET", f"{DATE}?phase=x").json() == {
        "reason": f"there is no {DATE}; {THERE_IS}"
    }
    assert len(asked(canary, "GET", "/" + "x" * 60_000).content) < 300
    assert canary.log.read_text() == before


@pytest.mark.parametrize("path", ["/", "/status", DATE])
def test_head_is_get_without_its_body(canary: Server, path: str) -> None:
    """As what looks whether a page is there asks for it."""
    head, get = asked(canary, "HEAD", path), asked(canary, "GET", path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert {name: head.headers[name] for name in COMMON} == COMMON


def test_a_test_of_the_channels(canary: Server) -> None:
    """Each channel's answer, and the line that the deployment reads; it is no run."""
    runs = canary.log.read_text().count("CANARY_RUN")
    answer = asked(canary, "POST", "/notify-test")
    assert (answer.status_code, answer.json()) == (200, {"channels": {"log": ""}, "reason": ""})
    assert '"message": "CANARY_NOTIFY_TEST: log: sent"' in canary.log.read_text()
    assert canary.log.read_text().count("CANARY_RUN") == runs
    assert asked(canary, "GET", "/notify-test").headers["Allow"] == "POST"


def test_what_is_asked_is_not_run(canary: Server) -> None:
    """Only POST is a run; whoever only looks leaves no line of one."""
    runs = canary.log.read_text().count("CANARY_RUN")
    for path in ("/", "/status", DATE):
        asked(canary, "GET", path)
        asked(canary, "HEAD", path)
    assert canary.log.read_text().count("CANARY_RUN") == runs


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "BREW"])
def test_the_orchestrator_takes_pushes_only(orchestrator: Server, method: str) -> None:
    """Whatever the path: it has one, and Pub/Sub posts there."""
    answer = asked(orchestrator, method, "/status")
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, "POST", b"")


def test_a_delivery_that_could_not_be_stored_is_answered_without_its_stack_trace(
    orchestrator: Server,
) -> None:
    """That stands in the log, beside the checkpoint."""
    push = push_envelope("p2_nbacom_boxscores", "2026-02-09", datetime.now(UTC), message_id="1")
    answer = requests.post(f"http://{orchestrator.address}/", json=push, timeout=60)
    assert answer.status_code == 500
    assert not _traces(answer.text)
    log = orchestrator.log.read_text()
    assert _traces(log)
    assert "CHECKPOINT_FAILED" in {
        json.loads(line)["checkpoint"] for line in log.splitlines() if line.startswith("{")
    }


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_refused_before_it_comes_here(canary: Server, sent: bytes) -> None:
    """By gunicorn, in a few words; nothing of ours is in them."""
    with socket.create_connection(("127.0.0.1", canary.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert re.match(r"HTTP/1.1 4\d\d ", answer)
    assert len(answer) < 1_000
    assert not _traces(answer)


def _traces(text: str) -> Any:
    return re.search(r"Traceback|\.py\b|site-packages|orchestrator_resilience", text)
