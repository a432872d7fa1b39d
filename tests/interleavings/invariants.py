"""What must hold whatever the order and whatever fails: each violation is one sentence.

They look at the stored fields themselves, not through `read_progress`, which belongs to what is checked.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tests.interleavings.messages import REF, Message
from tests.interleavings.values import Value

REPLACED = "the registration is replaced by a later one"


def violations_of_step(before: Value, after: Value) -> Iterator[str]:
    """Nothing that was registered is lost or replaced by a later one; nothing that the flag says is changed."""
    old, new = _fields(before), _fields(after)
    for processor in sorted(_keys(old)):
        if processor not in new:
            yield f"the registration of {processor} is lost"
        elif _moment(new[processor]) > _moment(old[processor]):
            yield REPLACED
    if old.get("_triggered") is True and _flag(old) != _flag(new):
        yield "the flag is changed or unset"


def violations_of_state(
    value: Value,
    expected: str,
    begun: Collection[Message],
    acknowledged: Collection[Message],
    unacknowledged: Collection[Message],
) -> Iterator[str]:
    """What the stores say is true at any time, and whole for what was acknowledged.

    `begun` are the messages that were delivered at all. A message that is delivered twice may be in both of the others.
    """
    fields = _fields(value)
    completed = {message.completes for message in begun if message.completes}
    count = fields.get("_completed_count", 0)
    if too_many := _keys(fields) - completed:
        yield f"whoever counts the keys counts {sorted(too_many)}, which did not complete"
    if count > len(completed):
        yield f"_completed_count is {count} of {len(completed)}"
    if fields.get("_triggered") is True:
        yield from _violations_of_flag(fields, expected, begun)
    yield from _violations_of_rows(value)
    waiting = {message.id for message in unacknowledged}
    known = {message.id for message in acknowledged}
    for message in acknowledged:
        yield from _violations_of_acknowledgement(value, message, last=message.id not in waiting)
    if waiting <= known and completed >= set(expected) and fields.get("_triggered") is not True:
        yield "all messages are acknowledged, the set is complete, and the flag is unset"


def _violations_of_flag(fields: Mapping[str, Any], expected: str, begun: Collection[Message]) -> Iterator[str]:
    if missing := set(expected) - fields.keys():
        yield f"the flag is set while {sorted(missing)} is missing"
    if fields["_completed_count"] != len(expected):
        yield "the flag is set with another _completed_count than that of the set"
    if fields["_trigger_event_id"] not in {message.id for message in begun if message.completes}:
        yield "the flag is set by nobody who completed"
    if fields["_trigger_reason"] != "all_complete":
        yield "the flag has another reason"


def _violations_of_rows(value: Value) -> Iterator[str]:
    fields = _fields(value)
    flag = (fields.get("_trigger_event_id"), fields.get("_trigger_reason"), fields.get("_triggered_at"))
    if len({row.row_id for row in value.rows}) < len(value.rows):
        yield "a redelivery appended another row under the same id"
    for row in value.rows:
        if row.is_triggered and (row.event_id, row.trigger_reason, row.completed_at) != flag:
            yield "the flag's row and the document disagree"


def _violations_of_acknowledgement(value: Value, message: Message, *, last: bool) -> Iterator[str]:
    """Of one that is delivered twice, the second may set the flag after the first: it then owes the row (`last`)."""
    fields = _fields(value)
    own = [row for row in value.rows if row.event_id == message.id]
    if message.completes and all(row.is_triggered for row in own):
        yield f"{message.id} is acknowledged without its row"
    if message.completes and message.completes not in fields:
        yield f"{message.id} is acknowledged without its registration"
    if last and fields.get("_trigger_event_id") == message.id and not any(row.is_triggered for row in own):
        yield f"{message.id} is acknowledged without the row of its flag"


def _fields(value: Value) -> Mapping[str, Any]:
    document = value.documents.get(REF)
    return document.fields if document else {}


def _keys(fields: Mapping[str, Any]) -> set[str]:
    return {name for name in fields if not name.startswith("_")}


def _flag(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name.startswith("_trigger")}


def _moment(registration: Mapping[str, Any]) -> tuple[Any, Any]:
    return registration["completed_at"], registration["event_id"]
