"""The dead letters, read from Pub/Sub's emulator over its REST interface."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import Phase, StoreError
from orchestrator_resilience.stores.base import DeadLetter
from orchestrator_resilience.stores.dead_letters import PubSubDeadLetters
from orchestrator_resilience.testing import push_envelope
from tests.proof.inputs import ENVELOPE, fuzzed, json_values, mutated, odd
from tests.proof.listener import RawAnswers, http_answer

DAY, AT = date(2026, 2, 9), datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
PROJECT, TOPIC, SUBSCRIPTION = "local-project", "some-dead-letters", "some-dead-letters"


@pytest.fixture
def address(emulated: dict[str, str]) -> Iterator[str]:
    """Make a topic for dead letters with a subscription, and remove both."""
    host = emulated["PUBSUB_EMULATOR_HOST"]
    project = f"http://{host}/v1/projects/{PROJECT}"
    names = (f"{project}/topics/{TOPIC}", f"{project}/subscriptions/{SUBSCRIPTION}")
    for name, body in zip(
        names, ({}, {"topic": f"projects/{PROJECT}/topics/{TOPIC}"}), strict=True
    ):
        requests.put(name, json=body, timeout=20).raise_for_status()
    yield host
    for name in names:
        requests.delete(name, timeout=20).raise_for_status()


@pytest.fixture
def give_up(address: str) -> Callable[..., None]:
    """Put messages where those lie that could not be delivered."""

    def publish(*messages: dict[str, Any]) -> None:
        url = f"http://{address}/v1/projects/{PROJECT}/topics/{TOPIC}:publish"
        requests.post(url, json={"messages": messages}, timeout=20).raise_for_status()

    return publish


def message(name: str, day: date = DAY, **payload: Any) -> dict[str, Any]:
    found = push_envelope(name, str(day), AT, message_id="1", **payload)["message"]
    return {
        "data": found["data"],
        "attributes": {"CloudPubSubDeadLetterSourceDeliveryCount": "100"},
    }


def test_what_lies_there_is_read_and_stays(
    address: str, phase: Phase, give_up: Callable[..., None]
) -> None:
    """What is there is read by either name, unreadable messages are left out, and all remain."""
    letters = PubSubDeadLetters(PROJECT, SUBSCRIPTION, phase, emulator=address)
    assert letters.read() == []
    give_up(
        message("NbacGamebookProcessor"),
        message("Weather"),
        {"data": "bm8ganNvbg=="},
        message("x", phase="phase_9"),
    )
    for _ in range(3):
        found = letters.read()
        assert sorted((one.processor, one.game_date) for one in found) == [
            ("Weather", DAY),
            ("p2_nbacom_gamebook_pdf", DAY),
        ]
        assert all(isinstance(one, DeadLetter) and one.at.tzinfo is not None for one in found)


def test_a_subscription_that_there_is_not(address: str, phase: Phase) -> None:
    """It is named."""
    letters = PubSubDeadLetters(PROJECT, "another-one", phase, emulator=address)
    with pytest.raises(StoreError, match=r"the dead letters: HTTPError: 404 .*another-one:pull"):
        letters.read()


_LETTERS = {"receivedMessages": [{"ackId": "a", "message": ENVELOPE["message"]}]}
_letter = st.builds(
    lambda received, message: (
        {**received, "message": message} if "message" in received else received
    ),
    odd({"ackId": "a", "message": 1}, json_values),
    odd(ENVELOPE["message"], json_values),
)
_pulled = (
    odd({"receivedMessages": []}, json_values | st.lists(_letter | json_values, max_size=3))
    | json_values
)


@fuzzed(12)
@given(
    _pulled.map(lambda pulled: http_answer(json.dumps(pulled)))
    | mutated(http_answer(json.dumps(_LETTERS)), http_answer('{"error": {}}', "404 Not Found"))
)
@example(http_answer('{"receivedMessages": [{"ackId": "a"}]}'))
@example(http_answer("null"))
def test_whatever_is_answered_are_letters_or_an_error(
    raw: RawAnswers, phase: Phase, answer: bytes
) -> None:
    """Each letter has a time, and a name that can be shown."""
    raw.answers = [answer, http_answer("{}")]
    letters = PubSubDeadLetters("p", "s", phase, seconds=0.5, emulator=raw.host)
    with suppress(StoreError):
        assert all(
            one.at.tzinfo is not None and one.processor.isprintable() for one in letters.read()
        )
