"""The small phases and the messages that are delivered in every order.

A scenario is written `ab/aab`: the processors that the phase expects, then one letter a delivery. `a` is the completion
of processor a, `A` its re-run (another message, published later), `n` says that the first processor had no data, `u` is
an unexpected processor. The same letter twice is one message that is delivered twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from orchestrator_resilience.phase import Phase, parse_phases
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.testing import push_envelope

PUBLISHED = datetime(2026, 2, 10, 6, 0, tzinfo=UTC)
REF = DocumentRef("progress", "2026-02-09")
_PHASE = """
[small]
next_phase = "the next one"
next_phase_started_by = "nobody"
message_phase = "phase_2_raw"
firestore_collection = "progress"
bigquery_table = "nba_orchestration.phase_completions"
[small.processors]
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and what is true of it: `completes` names the expected processor that it completes."""

    id: str
    published: datetime
    completes: str | None
    event: dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """A phase that expects `expected`, and the message of each delivery."""

    expected: str
    deliveries: str

    @classmethod
    def parse(cls, text: str) -> "Scenario":
        """Read `ab/aab`."""
        expected, _, deliveries = text.partition("/")
        return cls(expected, deliveries)

    def __str__(self) -> str:
        """Write `ab/aab`."""
        return f"{self.expected}/{self.deliveries}"

    @cached_property
    def phase(self) -> Phase:
        """The phase."""
        return parse_phases(_PHASE + "".join(f"{name} = []\n" for name in self.expected), str(self))["small"]

    @cached_property
    def messages(self) -> list[Message]:
        """The message of each delivery."""
        return [self._message(letter) for letter in self.deliveries]

    def _message(self, letter: str) -> Message:
        name = {"n": self.expected[0], "u": "unexpected"}.get(letter, letter.lower())
        status = "no_data" if letter == "n" else "success"
        minutes = 60 * letter.isupper() + ord(letter) - ord("A")
        published = PUBLISHED + timedelta(minutes=minutes)
        event = push_envelope(name, REF.id, published, message_id=letter, status=status)
        return Message(letter, published, name if name in self.expected and status == "success" else None, event)
