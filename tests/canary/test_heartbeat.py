"""The heartbeat against a real HTTP server on this machine, alone and in the function."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from canary.notify.heartbeat import Heartbeat
from orchestrator_resilience import CheckpointLogger, ConfigurationError, Phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.listener import OK, FakeWebhook, fake_webhook
from tools.emulators import free_port
from tools.functions import canary_function


@pytest.fixture
def switch() -> Iterator[FakeWebhook]:
    """Serve a dead-man's switch."""
    with fake_webhook("/ping/secret") as switch:
        yield switch


def test_a_beat_is_one_request(switch: FakeWebhook) -> None:
    """The line break that a piped secret ends with is none of the address."""
    assert Heartbeat(f"{switch.url}\n").beat() is None
    assert switch.paths == ["/ping/secret"]


@pytest.mark.parametrize("status", [201, 202, 204])
def test_every_success_is_heard(switch: FakeWebhook, status: int) -> None:
    """Services of this kind differ in how they say yes."""
    switch.script = [(status, {}, "")]
    assert Heartbeat(switch.url).beat() is None
    assert switch.paths == ["/ping/secret"]


@pytest.mark.parametrize("status", [302, 304, 404, 410, 500, 503])
def test_another_answer_is_not_heard(switch: FakeWebhook, status: int) -> None:
    """The failure has the status and not the address."""
    switch.script = [(status, {"Location": "/ping/other"}, ""), OK]
    assert Heartbeat(switch.url).beat() == f"the heartbeat was not heard: HTTP {status}"
    assert switch.paths == ["/ping/secret"]


def test_nobody_listens() -> None:
    """As above, with the kind of the failure."""
    heartbeat = Heartbeat(f"http://127.0.0.1:{free_port()}/ping/secret")
    assert heartbeat.beat() == "the heartbeat was not heard: ConnectionRefusedError"


def test_a_switch_that_hangs_does_not_hold_up_the_run(switch: FakeWebhook) -> None:
    """It is not heard in time."""
    switch.hangs = True
    began = time.monotonic()
    assert Heartbeat(switch.url, seconds=0.2).beat() == "the heartbeat was not heard: TimeoutError"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "url", ["http://example.com/secret", "https://", "secret", "file:///etc/secret", "https://h"]
)
def test_what_is_no_address(url: str) -> None:
    """Refused by the name of the variable, and not shown."""
    with pytest.raises(ConfigurationError, match="HEARTBEAT_URL: expected https") as caught:
        Heartbeat(url)
    assert "secret;" not in str(caught.value)


def test_the_function_beats_when_it_could_tell(
    switch: FakeWebhook, phase: Phase, tmp_path: Path
) -> None:
    """Not after a run that could not; and whether it is heard does not change the run."""
    environment = {"RESILIENCE_DATA_DIR": str(tmp_path / "stores"), "HEARTBEAT_URL": switch.url}

    def run() -> int:
        return requests.post(f"http://{canary.address}/", timeout=60).status_code

    with canary_function(environment) as canary:
        assert (run(), switch.paths) == (503, [])  # there are no stores to read
        with EmbeddedStores(tmp_path / "stores") as stores:
            checkpoints = CheckpointLogger(phase, RecordingSink())
            orchestrator = Orchestrator(phase, stores.documents, stores.completion_log, checkpoints)
            now = datetime.now(UTC)
            orchestrator.deliver(
                push_envelope(min(phase.expected), str(phase.today(now)), now, message_id="1")
            )
        second = run()
        switch.script = [(500, {}, "")]
        third = run()
        log = [
            json.loads(line) for line in canary.log.read_text().splitlines() if line.startswith("{")
        ]
    assert (second, third, switch.paths) == (200, 200, ["/ping/secret"] * 2)
    warnings = [line["message"] for line in log if "HEARTBEAT" in line["message"]]
    assert warnings == ["CANARY_HEARTBEAT: the heartbeat was not heard: HTTP 500"]
