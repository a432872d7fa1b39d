"""One delivery, from the message to its acknowledgement: `Orchestrator.deliver`.

In this order: RECEIVED; the completion's row; the registration; the decision; `_triggered`, if it has
to be set, and its own row; POST_TRANSACTION; then WAITING or TRIGGERED. The row comes first, so that
a crash leaves evidence. Each write is attempted even when another failed; if any failed, the delivery
raises and Pub/Sub sends the message again. Every step may run any number of times.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from orchestrator_resilience.completion import Completion
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
    Decision,
    Progress,
    decide,
    document_id,
    read_progress,
    registration_fields,
    trigger_fields,
)
from orchestrator_resilience.rows import CompletionRow, completion_row, trigger_row
from orchestrator_resilience.stores.base import CompletionLog, Document, DocumentRef, DocumentStore
from orchestrator_resilience.stores.summary_sql import OPTIONAL_COLUMNS

T = TypeVar("T")

# Each lost attempt means that another delivery got its write through.
MAX_ATTEMPTS = 20


class Orchestrator:
    """Registers completions and sets `_triggered` when the expected set is complete.

    `service` and `revision` are Cloud Run's names of what runs; a probe is told them.
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
    ) -> None:
        self._phase = phase
        self._documents = documents
        self._completion_log = completion_log
        self._checkpoints = checkpoints
        self._clock = clock
        self._service = service
        self._revision = revision

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
            writes = _Writes()
            writes.attempt("append_completion", lambda: self._append(completion_row(completion)))
            if completion.processor is None and self._phase.is_known(completion.raw_processor):
                delivery.ignored(f"{completion.raw_processor} is known, and {self._phase.name} does not wait for it")
            elif completion.processor is None:
                delivery.unexpected()
            elif not completion.status.completes:
                delivery.ignored(f"{completion.processor} reports {completion.status}, which completes nothing")
            else:
                self._register_and_decide(completion, delivery, writes)
            writes.raise_if_any_failed()

    def _register_and_decide(self, completion: Completion, delivery: Delivery, writes: "_Writes") -> None:
        ref = DocumentRef(self._phase.firestore_collection, document_id(completion.game_date))
        before = writes.attempt("register", lambda: self._register(ref, completion))
        if before is None:
            return
        outcome = writes.attempt("trigger", lambda: self._trigger_when_complete(ref, completion.event_id))
        if outcome is None:
            return
        progress, attempts = outcome
        trigger = progress.trigger
        # By the document, not by what this attempt did: a redelivery may find that it set the flag before it died.
        own = trigger if trigger is not None and trigger.event_id == completion.event_id else None
        if own is not None:
            row = trigger_row(self._phase, completion.game_date, own, self._clock())
            writes.attempt("append_trigger", lambda: self._append(row))
        delivery.post_transaction(
            should_trigger=own is not None,
            triggered=trigger is not None,
            duplicate=completion.processor in before.registered,
            completed=progress.completed,
            attempts=attempts,
        )

    def _answer(self, probe: Probe) -> None:
        """Answer a probe in a document of its own; what is wrong with the completion log is part of the answer.

        A stale one is acknowledged without an answer, so that one that fails does not come back for hours.
        """
        with self._checkpoints.probe(probe.id) as delivery:
            if probe.is_stale(self._clock()):
                minutes = MAX_AGE.total_seconds() / 60
                delivery.probed(f"not answered: published more than {minutes:g} min ago, so nobody waits any more")
                return
            try:
                lacking = {
                    table: needed
                    for table, columns in self._completion_log.missing_columns().items()
                    if (needed := [name for name in columns if name not in OPTIONAL_COLUMNS])
                }
                wrong = f"the completion log lacks columns: {lacking}" if lacking else None
            except (ConfigurationError, StoreError) as error:
                wrong = str(error)
            who = {"phase": self._phase.name, "service": self._service, "revision": self._revision}
            found = {"expected": sorted(self._phase.expected), "completion_log": wrong, "answered_at": self._clock()}
            self._documents.merge(probe_ref(probe.id), {**who, **found})
            delivery.probed(wrong)

    def _append(self, row: CompletionRow) -> None:
        self._completion_log.append([row], now=self._clock())

    def _register(self, ref: DocumentRef, completion: Completion) -> Progress:
        """Merge what the document lacks of the registration; return the progress before it."""
        before, _ = self._read(ref)
        if fields := registration_fields(before, completion, self._clock()):
            self._documents.merge(ref, fields)
        return before

    def _trigger_when_complete(self, ref: DocumentRef, event_id: str) -> tuple[Progress, int]:
        """Set the flag if the set is complete and nobody else has; return the progress then, and the attempts."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            progress, document = self._read(ref)
            if decide(progress) is not Decision.TRIGGER:
                return progress, attempt
            fields = trigger_fields(progress, event_id=event_id, now=self._clock())
            if self._documents.update_if_unchanged(ref, fields, document.version if document else None):
                return read_progress({**(document.fields if document else {}), **fields}, self._phase), attempt
        raise ContentionError(f"{ref.collection}/{ref.id} changed under each of {MAX_ATTEMPTS} attempts to trigger")

    def _read(self, ref: DocumentRef) -> tuple[Progress, Document | None]:
        document = self._documents.get_all([ref]).get(ref)
        return read_progress(document.fields if document else {}, self._phase), document


class _Writes:
    """Collects the failures of a delivery's writes, so that one does not keep the others from being tried."""

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
