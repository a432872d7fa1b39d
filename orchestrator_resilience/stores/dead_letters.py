"""Messages that Pub/Sub has given up delivering, read and left where they are."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from google.auth import default
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from orchestrator_resilience.completion import Completion
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ODD_ANSWER, InvalidMessageError, StoreError, store_errors
from orchestrator_resilience.http_calls import CallError, end_calls_in_time
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import DeadLetter

_SCOPES = ["https://www.googleapis.com/auth/pubsub"]
_AT_ONCE, _MOST = 100, 1_000


class PubSubDeadLetters:
    """The DeadLetters of `phase`: what a pull subscription to the dead-letter topic holds.

    `subscription` is its name in `project`, or its full name. All that is pulled is given back at
    once, and stays. All calls together take up to `seconds`. `emulator` is the address of Pub/Sub's
    emulator, None for Google's own.
    """

    def __init__(
        self,
        project: str,
        subscription: str,
        phase: Phase,
        *,
        seconds: float = 10.0,
        emulator: str | None = None,
    ) -> None:
        name = (
            subscription
            if "/" in subscription
            else f"projects/{project}/subscriptions/{subscription}"
        )
        server = f"http://{emulator}" if emulator else "https://pubsub.googleapis.com"
        self._address = f"{server}/v1/{name}"
        self._phase, self._seconds, self._is_emulated = phase, seconds, emulator is not None

    @property
    def phase(self) -> str:
        """The phase whose messages they were."""
        return self._phase.name

    @cached_property
    def _session(self) -> AuthorizedSession:
        credentials = AnonymousCredentials() if self._is_emulated else default(scopes=_SCOPES)[0]  # type: ignore[no-untyped-call]
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        end_calls_in_time(session, self._seconds)
        return session

    def read(self) -> list[DeadLetter]:
        """Return the messages with a processor and a date of the phase, oldest first."""
        deadline, held = Deadline(self._seconds), list[str]()
        with store_errors("the dead letters", CallError, GoogleAuthError, *ODD_ANSWER):
            try:
                letters = [
                    letter
                    for message in self._pulled(held, deadline)
                    if (letter := self._letter(message)) is not None
                ]
            finally:
                for first in range(0, len(held), _AT_ONCE):
                    ids = held[first : first + _AT_ONCE]
                    self._call(
                        "modifyAckDeadline", {"ackIds": ids, "ackDeadlineSeconds": 0}, deadline
                    )
        return sorted(letters, key=lambda letter: letter.at)

    def _pulled(self, held: list[str], deadline: Deadline) -> Iterator[Mapping[str, Any]]:
        """Yield the messages, and note in `held` what has to be given back."""
        pull = {"maxMessages": _AT_ONCE, "returnImmediately": True}
        while len(held) < _MOST and (
            received := self._call("pull", pull, deadline).get("receivedMessages")
        ):
            held += [entry["ackId"] for entry in received]
            yield from (entry["message"] for entry in received)

    def _letter(self, message: Mapping[str, Any]) -> DeadLetter | None:
        try:
            completion = Completion.from_event({"message": message}, self._phase)
        except InvalidMessageError:
            return None
        name = completion.processor or completion.raw_processor
        return DeadLetter(name, completion.game_date, completion.completed_at, completion.status)

    def _call(self, method: str, body: Mapping[str, Any], deadline: Deadline) -> Mapping[str, Any]:
        if deadline.is_over:
            raise StoreError(f"the dead letters: no answer within {deadline.seconds:g} s")
        answer = self._session.post(f"{self._address}:{method}", json=body, timeout=deadline.left())
        answer.raise_for_status()
        content: Mapping[str, Any] = answer.json()
        return content
