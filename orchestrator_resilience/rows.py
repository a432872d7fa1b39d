"""The rows of the completion log, made from what was delivered: functions of values."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import Trigger

# Our own columns, by their types: `canary setup` adds them, and somebody else's table lacks them.
OPTIONAL_COLUMNS = {"event_id": "STRING", "is_triggered": "BOOL", "trigger_reason": "STRING"}
FLAG_COLUMN = "is_triggered"


class CompletionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the completion log's table: a completion, or the setting of the flag by it.

    `row_id` is the same at every redelivery; readers tolerate that a row is there twice. The flag's
    row is a second one of the processor that set it, so that a count of a date's names is right;
    `is_triggered` distinguishes it.
    """

    row_id: str
    phase: str
    game_date: date
    processor_name: str
    status: str
    completed_at: datetime
    event_id: str | None
    record_count: int | None = None
    correlation_id: str | None = None
    execution_id: str | None = None
    is_incremental: bool | None = None
    entities_changed: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    is_triggered: bool = False
    trigger_reason: str | None = None


def completion_row(completion: Completion) -> CompletionRow:
    """Return the row of one delivery."""
    return CompletionRow(
        row_id=f"{completion.phase}:{completion.event_id}",
        phase=completion.phase,
        game_date=completion.game_date,
        processor_name=completion.processor or completion.raw_processor,
        status=completion.status.value,
        completed_at=completion.completed_at,
        event_id=completion.event_id,
        record_count=completion.record_count,
        correlation_id=completion.correlation_id,
        execution_id=completion.execution_id,
        is_incremental=completion.is_incremental,
        entities_changed=completion.entities_changed,
        metadata={"raw_processor": completion.raw_processor},
    )


def trigger_row(completion: Completion, trigger: Trigger) -> CompletionRow:
    """Return the row of the flag that `completion` set.

    It is made from the document, so that a redelivery makes the same one.
    """
    return replace(
        completion_row(completion),
        row_id=f"{completion.phase}:{completion.game_date.isoformat()}:trigger",
        completed_at=trigger.at or completion.completed_at,
        is_triggered=True,
        trigger_reason=trigger.reason,
    )
