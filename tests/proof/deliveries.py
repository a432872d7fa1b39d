"""A few deliveries through the real `deliver`, in every order: the subject and its invariants.

A scenario is written `ab/aab`: the processors that the phase expects, then one letter a delivery.
`a` is the completion of processor a, `A` its re-run (another message, published later), `n` says
that the first processor had no data, `u` is an unexpected processor. The same letter twice is one
message that is delivered twice. What raised or died comes again, at any later time. A further step
is a fault:

    1x   the process dies before it, and the message does not come again: Pub/Sub need not repeat
         a delivery where another one of the same message is acknowledged

The invariants look at the stored fields themselves, not through `read_progress`, which belongs to
what is checked.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from orchestrator_resilience import CheckpointLogger, Completion, StoreError
from orchestrator_resilience.background import AtOnce, Beside
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import parse_phases
from orchestrator_resilience.progress import Trigger, read_progress, trigger_fields
from orchestrator_resilience.rows import completion_row, trigger_row
from orchestrator_resilience.stores.base import Document, DocumentRef
from orchestrator_resilience.testing import push_envelope
from tests.proof.doubles import Operation, PlainStores, Value, Watched
from tests.proof.explorer import DIED, Ask, Move, Run, State, Subject

PUBLISHED = datetime(2026, 2, 10, 6, 0, tzinfo=UTC)
REF = DocumentRef("progress", "2026-02-09")
AGAIN, ACKNOWLEDGED = "again", "acknowledged"
REPLACED = "the registration is replaced by a later one"
STUCK = "all messages are acknowledged, the set is complete, and the flag is unset"
_PHASE = """
[small]
next_phase = "the next one"
next_phase_started_by = "nobody"
message_phase = "phase_2_raw"
firestore_collection = "progress"
bigquery_table = "nba_orchestration.phase_completions"
[small.processors]
"""
Deliver = Callable[[object], None]


class Message(NamedTuple):
    """A message, and the expected processor that it `completes`, if any."""

    id: str
    completes: str | None
    event: dict[str, Any]


class Deliveries(Subject):
    """The deliveries of a scenario; with `forgets`, Pub/Sub forgets as it may."""

    def __init__(self, scenario: str, *, forgets: bool = False) -> None:
        self.expected, _, letters = scenario.partition("/")
        self.phase = parse_phases(
            _PHASE + "".join(f"{name} = []\n" for name in self.expected), scenario
        )["small"]
        self.messages = [self._message(letter) for letter in letters]
        self.first = [Run(number) for number in range(len(letters))]
        self._forgets = forgets

    def _message(self, letter: str) -> Message:
        name = {"n": self.expected[0], "u": "unexpected"}.get(letter, letter.lower())
        status = "no_data" if letter == "n" else "success"
        published = PUBLISHED + timedelta(minutes=60 * letter.isupper() + ord(letter) - ord("A"))
        event = push_envelope(name, REF.id, published, message_id=letter, status=status)
        return Message(
            letter, name if name in self.expected and status == "success" else None, event
        )

    def deliver(self, stores: Any, now: datetime) -> Deliver:
        """Return the orchestrator's own method, on these stores."""
        return self.orchestrator(stores, now, AtOnce).deliver

    def orchestrator(self, documents: Any, now: datetime, beside: Beside) -> Orchestrator:
        """Return the orchestrator as it is."""
        checkpoints = CheckpointLogger(self.phase, lambda _: None, enabled=True, clock=lambda: now)
        return Orchestrator(
            self.phase, documents, documents, checkpoints, lambda: now, beside=beside
        )

    def take(self, run: Run, ask: Ask) -> None:
        """Deliver, each delivery and redelivery at a time of its own, which what it stores has."""
        now = PUBLISHED + timedelta(days=1, hours=run.kind == AGAIN, minutes=run.number)
        stores = Watched(PlainStores(), lambda operation, _: ask(operation))
        self.deliver(stores, now)(self.messages[run.number].event)

    def after(self, run: Run, outcome: Any) -> Run:
        """What raised or died comes again."""
        failed = outcome is DIED or isinstance(outcome, Exception)
        return Run(run.number, AGAIN) if failed else Run(run.number, ACKNOWLEDGED, is_over=True)

    def moves(self, state: State) -> Iterator[Move]:
        """Let Pub/Sub forget a delivery of which another one is acknowledged."""
        done = {
            self.messages[course.run.number].id for course in state.courses if course.run.is_over
        }
        for course in state.courses if self._forgets else ():
            if not course.run.is_over and self.messages[course.run.number].id in done:
                yield Move(
                    f"{course.name}x",
                    [Run(course.run.number, ACKNOWLEDGED, is_over=True)],
                    is_fault=True,
                )

    def view(self, state: State) -> Any:
        """Return of each delivery whether it has begun, and whether it is acknowledged."""
        return tuple(
            (bool(one.run.kind or one.answers), one.run.kind == ACKNOWLEDGED)
            for one in state.courses
        )

    def violations_of_step(self, before: Value, after: Value) -> Iterator[str]:
        """Say what was lost or replaced by a later one, and what the flag no longer says."""
        old, new = before.fields(REF), after.fields(REF)
        for processor in sorted(_keys(old)):
            if processor not in new:
                yield f"the registration of {processor} is lost"
            elif _moment(new[processor]) > _moment(old[processor]):
                yield REPLACED
        if old.get("_triggered") is True and _flag(old) != _flag(new):
            yield "the flag is changed or unset"

    def violations_of_state(self, value: Value, view: Any) -> Iterator[str]:
        """What the stores say is true at any time, and whole for what was acknowledged.

        A message that is delivered twice may be both acknowledged and not.
        """
        fields, deliveries = value.fields(REF), list(zip(self.messages, view, strict=True))
        begun = [message for message, (has_begun, _) in deliveries if has_begun]
        acknowledged = [message for message, (_, is_acknowledged) in deliveries if is_acknowledged]
        waiting = {
            message.id for message, (_, is_acknowledged) in deliveries if not is_acknowledged
        }
        completed = {message.completes for message in begun if message.completes}
        if too_many := _keys(fields) - completed:
            yield f"whoever counts the keys counts {sorted(too_many)}, which did not complete"
        if fields.get("_completed_count", 0) > len(completed):
            yield "_completed_count is more than have completed"
        if fields.get("_triggered") is True:
            yield from self._violations_of_flag(fields, begun)
        yield from _violations_of_rows(value)
        for message in acknowledged:
            yield from _violations_of_acknowledgement(
                value, message, last=message.id not in waiting
            )
        is_settled = waiting <= {message.id for message in acknowledged} and completed >= set(
            self.expected
        )
        if is_settled and fields.get("_triggered") is not True:
            yield STUCK

    def _violations_of_flag(self, fields: Mapping[str, Any], begun: list[Message]) -> Iterator[str]:
        if missing := set(self.expected) - fields.keys():
            yield f"the flag is set while {sorted(missing)} is missing"
        if fields["_completed_count"] != len(self.expected):
            yield "the flag is set with another _completed_count than that of the set"
        if fields["_trigger_event_id"] not in {
            message.id for message in begun if message.completes
        }:
            yield "the flag is set by nobody who completed"
        if fields["_trigger_reason"] != "all_complete":
            yield "the flag has another reason"

    def shown(self, value: Value) -> str:
        """Return who is registered, by whom the flag is set, and which rows there are."""
        fields = value.fields(REF)
        rows = [f"{row.processor_name}:{row.event_id}" for row in value.rows]
        return (
            f"registered {sorted(_keys(fields))}  "
            f"flag {fields.get('_trigger_event_id', 'unset')}  rows {rows}"
        )


def _violations_of_rows(value: Value) -> Iterator[str]:
    fields = value.fields(REF)
    flag = (
        fields.get("_trigger_event_id"),
        fields.get("_trigger_reason"),
        fields.get("_triggered_at"),
    )
    if len({row.row_id for row in value.rows}) < len(value.rows):
        yield "a redelivery appended another row under the same id"
    for row in value.rows:
        if row.is_triggered and (row.event_id, row.trigger_reason, row.completed_at) != flag:
            yield "the flag's row and the document disagree"


def _violations_of_acknowledgement(value: Value, message: Message, *, last: bool) -> Iterator[str]:
    """Say who should have acknowledged and did not.

    Of a message that is delivered twice, the second may set the flag after the first. It then owes
    the row (`last`).
    """
    fields = value.fields(REF)
    own = [row for row in value.rows if row.event_id == message.id]
    if message.completes and all(row.is_triggered for row in own):
        yield f"{message.id} is acknowledged without its row"
    if message.completes and message.completes not in fields:
        yield f"{message.id} is acknowledged without its registration"
    if (
        last
        and fields.get("_trigger_event_id") == message.id
        and not any(row.is_triggered for row in own)
    ):
        yield f"{message.id} is acknowledged without the row of its flag"


def _keys(fields: Mapping[str, Any]) -> set[str]:
    return {name for name in fields if not name.startswith("_")}


def _flag(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name.startswith("_trigger")}


def _moment(registration: Mapping[str, Any]) -> tuple[Any, Any]:
    return registration["completed_at"], registration["event_id"]


class WithRowsLast(Deliveries):
    """The orchestrator, with rows as late as the thread beside it can make them."""

    def deliver(self, stores: Any, now: datetime) -> Deliver:
        """Return the orchestrator's own method."""
        return self.orchestrator(stores, now, _Last).deliver


class _Last:
    """An action beside the others that gets its turn only when it is waited for."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action

    def answer(self, _: Deadline) -> Any:
        """Do it."""
        return self._action()


class Overwriting(Deliveries):
    """Wrong: a textbook read-modify-write of the document, which no version guards."""

    def deliver(self, stores: Any, now: datetime) -> Deliver:
        """Return the orchestrator on documents that it writes back as it read them, and changed."""
        read: dict[DocumentRef, Document] = {}

        def watch(operation: Operation, do: Callable[[], Any]) -> Any:
            if operation.name == "update_if_unchanged":
                ref, fields, _ = operation.arguments
                stores.overwrite(ref, {**(read[ref].fields if ref in read else {}), **fields})
                return True
            answer = do()
            read.update(answer if operation.name == "get_all" else {})
            return answer

        return super().deliver(Watched(stores, watch), now)


class AsInFebruary(Deliveries):
    """Wrong in four ways, as the orchestrator of February 2026 was.

    It takes its own registration for that of an earlier message, counts whoever reports instead of
    comparing sets, acknowledges what could not be stored, and gives the flag's row a time of its
    own.
    """

    def deliver(self, stores: Any, now: datetime) -> Deliver:
        """Return what it did with a message."""

        def deliver(event: object) -> None:
            completion = Completion.from_event(event, self.phase)
            name = completion.processor or completion.raw_processor
            with contextlib.suppress(StoreError):
                if completion.processor:
                    stores.append([completion_row(completion)])
                stores.merge(
                    REF,
                    {
                        name: {
                            "completed_at": completion.completed_at,
                            "event_id": completion.event_id,
                        }
                    },
                )
                fields = stores.get_all([REF])[REF].fields
                is_duplicate = completion.processor in fields
                if not is_duplicate and len(_keys(fields)) >= len(self.expected):
                    progress = read_progress(fields, self.phase)
                    stores.merge(
                        REF, trigger_fields(progress, event_id=completion.event_id, now=now)
                    )
                    stores.append(
                        [
                            trigger_row(
                                completion,
                                Trigger(completion.completed_at, "x", completion.event_id),
                            )
                        ]
                    )

        return deliver
