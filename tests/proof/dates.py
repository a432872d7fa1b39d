"""A game date whose expected processors have all completed and whose flag is unset."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from orchestrator_resilience import Phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import Progress, registration_fields
from orchestrator_resilience.testing import push_envelope


def completions(phase: Phase, day: date, at: datetime) -> list[Completion]:
    """Return a completion of each expected processor, all published `at` one moment."""
    return [
        Completion.from_event(
            push_envelope(name, str(day), at, message_id=f"{day}-{number}"), phase
        )
        for number, name in enumerate(sorted(phase.expected))
    ]


def registered(sent: Iterable[Completion]) -> dict[str, Any]:
    """Return the progress document that they leave, without the flag."""
    fields: dict[str, Any] = {}
    expected = frozenset(completion.processor for completion in sent if completion.processor)
    for completion in sent:
        fields |= registration_fields(Progress(expected), completion, completion.completed_at)
    return fields
