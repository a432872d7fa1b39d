"""One delivery, from the message to its acknowledgement: `Orchestrator.deliver`.

In this order: RECEIVED; the completion's row is begun; one read of the progress document, and one
commit with the registration and, where that completes the set, `_triggered`; then the flag's own
row; POST_TRANSACTION; and WAITING or TRIGGERED. The row is begun first, so that a crash leaves
evidence, and waited for last, so that a slow BigQuery holds up neither the registration nor the
flag. Each write is attempted even when another failed; if any failed, the delivery raises and
Pub/Sub sends the message again. Every step may run any number of times.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from orchestrator_resilience.background import Background, Beside, Promise
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import (
    ConfigurationError,
    ContentionError,
    DeliveryError,
    InvalidMessageError,
    StoreError,
)
from orchestrator_resilience.logger import CheckpointLogger, Delivery
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.probe import MAX_AGE, Probe, probe_of, probe_ref
from orchestrator_resilience.progress import (
    Progress,
    completion_fields,
    document_id,
    read_progress,
    registration_fields,
    report_fields,
)
from orchestrator_resilience.rows import (
    OPTIONAL_COLUMNS,
    CompletionRow,
    completion_row,
    trigger_row,
)
from orchestrator_resilience.stores.base import CompletionLog, Document, DocumentRef, DocumentStore

T = TypeVar("T")

# Each lost attempt means that another delivery got its write through.
MAX_ATTEMPTS = 20
# Counted from the commit. BigQuery's own retries end by then; an answer that drips does not.
APPEND_SECONDS = 20.0


class Orchestrator:
    """Registers completions and sets `_triggered` when the expected set is complete.

    `service` and `revision` are Cloud Run's names of what runs, for the answer to a probe. `beside`
    begins what is asked of the completion log and returns its answer, which is waited for up to
    `append_seconds`.
    """

    def __init__(
        self,
        phase: Phase,
        documents: DocumentStore,
        completion_log: CompletionLog,
        checkpoints: CheckpointLogger,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        service: str | None = None,
        revision: str | None = None,
        beside: Beside = Background,
        append_seconds: float = APPEND_SECONDS,
    ) -> None:
        self._phase = phase
        self._documents = documents
        self._completion_log = completion_log
        self._checkpoints = checkpoints
        self._clock = clock
        self._service = service
        self._revision = revision
        self._beside = beside
        self._append_seconds = append_seconds

    def deliver(self, event: object, *, traceparent: str | None = None) -> None:
        """Handle one Pub/Sub message; returning acknowledges it.

        `traceparent` is the trace context of the request that brought it. Raises DeliveryError when
        a write failed, so that the message comes again.
        """
        if (probe := probe_of(event)) is not None:
            self._answer(probe)
            return
        try:
            completion = Completion.from_event(event, self._phase)
        except InvalidMessageError as error:
            self._checkpoints.rejected(error)
            return
        with self._checkpoints.delivery_of(completion, traceparent) as delivery:
            phase = self._phase.on(completion.game_date)
            if completion.processor not in phase.expected and phase.is_known(
                completion.raw_processor
            ):
                delivery.ignored(
                    f"{completion.raw_processor} is known, and {phase.name} does not wait for it"
                )
            elif completion.processor is None or not phase.completes(completion.status):
                self._report(completion, delivery)
            else:
                self._complete(completion, delivery)

    def _report(self, completion: Completion, delivery: Delivery) -> None:
        """Note a message that completes nothing in the document, and not in the completion log."""
        writes = _Writes()
        writes.attempt("report", _timed(delivery, "report", lambda: self._merge_report(completion)))
        if completion.processor is None:
            delivery.unexpected()
        else:
            delivery.ignored(
                f"{completion.processor} reports {completion.status}, which completes nothing"
            )
        writes.raise_if_any_failed()

    def _complete(self, completion: Completion, delivery: Delivery) -> None:
        """Append the row of a completion, and beside it register, decide and set the flag."""
        writes = _Writes()
        rows = {
            "append_completion": self._append(
                delivery, "append_completion", completion_row(completion)
            )
        }
        committed = writes.attempt(
            "register", _timed(delivery, "register", lambda: self._commit(completion))
        )
        trigger = committed[1].trigger if committed else None
        # By the document, not by what this attempt did: a redelivery may find that it set the flag
        # before it died.
        own_trigger = (
            trigger if trigger is not None and trigger.event_id == completion.event_id else None
        )
        if own_trigger is not None:
            rows["append_trigger"] = self._append(
                delivery, "append_trigger", trigger_row(completion, own_trigger)
            )
        deadline = Deadline(self._append_seconds)
        for step, row in rows.items():
            writes.attempt(step, partial(row.answer, deadline))
        if committed is not None:
            before, after, attempts = committed
            delivery.post_transaction(
                should_trigger=own_trigger is not None,
                triggered=trigger is not None,
                duplicate=completion.processor in before.registered,
                completed=after.completed,
                expected=after.expected if self._phase.periods or self._phase.modes else None,
                attempts=attempts,
                on_purpose=trigger.reason
                if trigger is not None and trigger.deliberately_partial
                else None,
            )
        writes.raise_if_any_failed()

    def _answer(self, probe: Probe) -> None:
        """Answer a probe in a document of its own, with what is wrong with the completion log.

        A stale probe is acknowledged without an answer, so that a probe that fails does not come
        back for hours.
        """
        with self._checkpoints.probe(probe.id) as delivery:
            if probe.is_stale(self._clock()):
                minutes = MAX_AGE.total_seconds() / 60
                delivery.probed(
                    f"not answered: published more than {minutes:g} min ago, so nobody waits any "
                    "more"
                )
                return
            wrong = self._wrong_with_the_log()
            answer = {
                "phase": self._phase.name,
                "service": self._service,
                "revision": self._revision,
                "expected": sorted(self._phase.expected),
                "completion_log": wrong,
                "answered_at": self._clock(),
            }
            self._documents.merge(probe_ref(probe.id), answer)
            delivery.probed(wrong)

    def _wrong_with_the_log(self) -> str | None:
        try:
            tables = self._beside(self._completion_log.missing_columns).answer(
                Deadline(self._append_seconds)
            )
        except (ConfigurationError, StoreError, TimeoutError) as error:
            return str(error)
        needed = {
            table: [name for name in names if name not in OPTIONAL_COLUMNS]
            for table, names in tables.items()
        }
        lacking = {table: names for table, names in needed.items() if names}
        return f"the completion log lacks columns: {lacking}" if lacking else None

    def _append(self, delivery: Delivery, step: str, row: CompletionRow) -> Promise[None]:
        return self._beside(
            _timed(delivery, step, lambda: self._completion_log.append([row], now=self._clock()))
        )

    def _merge_report(self, completion: Completion) -> None:
        ref = self._ref(completion)
        _, progress = self._read(ref, completion)
        if fields := report_fields(progress, completion):
            self._documents.merge(ref, fields)

    def _commit(self, completion: Completion) -> tuple[Progress, Progress, int]:
        """Register the completion and, where it completes the set, set the flag, in one commit.

        The commit holds only if the document is still as it was read. A delivery that loses this
        race merges its registration, which cannot be lost, and reads again. By then the set may be
        complete; or the delivery lost against its own first try, whose answer was lost, and finds
        its own event. Returns the progress before and after, and how many attempts it took.
        """
        ref, before = self._ref(completion), None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            document, progress = self._read(ref, completion)
            before, phase = before or progress, self._phase.on(completion.game_date)
            fields, after = completion_fields(progress, completion, phase, self._clock())
            if not fields:
                return before, progress, attempt
            if self._documents.update_if_unchanged(
                ref, fields, document.version if document else None
            ):
                return before, after, attempt
            if registration := registration_fields(progress, completion, self._clock()):
                self._documents.merge(ref, registration)
        raise ContentionError(
            f"{ref.collection}/{ref.id} changed under each of {MAX_ATTEMPTS} attempts to write it"
        )

    def _ref(self, completion: Completion) -> DocumentRef:
        return DocumentRef(self._phase.firestore_collection, document_id(completion.game_date))

    def _read(self, ref: DocumentRef, completion: Completion) -> tuple[Document | None, Progress]:
        document = self._documents.get_all([ref]).get(ref)
        return document, read_progress(
            document.fields if document else {}, self._phase.on(completion.game_date)
        )


def _timed(delivery: Delivery, step: str, action: Callable[[], T]) -> Callable[[], T]:
    """Return the action so that the delivery learns how long it took, whatever comes of it."""

    def timed() -> T:
        started = time.monotonic()
        try:
            return action()
        finally:
            delivery.took(step, time.monotonic() - started)

    return timed


class _Writes:
    """Collects the failures of a delivery's writes, so that each write is tried."""

    def __init__(self) -> None:
        self._failures: dict[str, Exception] = {}

    def attempt(self, step: str, write: Callable[[], T]) -> T | None:
        """Return what `write` returns, or None after noting what it raised under `step`."""
        try:
            return write()
        except Exception as error:  # noqa: BLE001 (nothing is swallowed: the delivery ends in DeliveryError)
            self._failures[step] = error
            return None

    def raise_if_any_failed(self) -> None:
        """Raise DeliveryError with all failures, if there are any."""
        if self._failures:
            raise DeliveryError(self._failures) from next(iter(self._failures.values()))
