"""The orchestrator of February 2026 in its forms.

It leaves no line, or the README's six. Its earlier form counted the document's keys, whatever they
were.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec.structs import replace

from canary.playback.demo import track
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.logger import CheckpointLogger, Delivery
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import CompletionLog, DocumentRef, DocumentStore


class OldCode:
    """Both writes of the tracker, by a `clock` of its own.

    It sets the flag only where it `counts` the keys.
    """

    def __init__(
        self,
        phase: Phase,
        documents: DocumentStore,
        log: CompletionLog,
        *,
        counts: bool = False,
        clock: Callable[[Completion], datetime] = lambda completion: completion.completed_at,
    ) -> None:
        self._phase = phase
        self._documents = documents
        self._log = log
        self._counts = counts
        self._clock = clock

    def deliver(self, event: object) -> None:
        """Handle one message as the old code did."""
        self._track(Completion.from_event(event, self._phase))

    def deliver_with_checkpoints(
        self,
        event: object,
        checkpoints: CheckpointLogger,
        *,
        decides: bool = True,
        duplicate: bool | None = None,
    ) -> None:
        """Handle one message as the old code with the six lines of the README does.

        Without `decides` it returns from inside its block, as it did for a duplicate; with
        `duplicate` it says so.
        """
        completion = Completion.from_event(event, self._phase)
        with checkpoints.delivery_of(completion) as delivery:
            names = self._track(completion)
            if decides:
                delivery.post_transaction(
                    should_trigger=False, completed=names, triggered=False, duplicate=duplicate
                )

    def deliver_and_start(
        self,
        event: object,
        checkpoints: CheckpointLogger,
        start: Callable[[Delivery], None] = lambda _: None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Handle one message as code does whose flag starts the next phase.

        When the set is complete, it sets the flag with `fields`, and calls `start`.
        """
        completion = Completion.from_event(event, self._phase)
        with checkpoints.delivery_of(completion) as delivery:
            names, now = self._track(completion), completion.completed_at
            is_complete = self._phase.is_complete(names)
            delivery.post_transaction(
                should_trigger=is_complete, completed=names, triggered=is_complete
            )
            if is_complete:
                flag = {"_triggered": True, "_triggered_at": now, **(fields or {})}
                flag |= {"_trigger_pending_at": now} if fields else {}
                self._documents.merge(
                    DocumentRef(self._phase.firestore_collection, str(completion.game_date)), flag
                )
                start(delivery)

    def _track(self, completion: Completion) -> list[str]:
        """Write the row and the registration as the old code did.

        Return the document's processors.
        """
        now = completion.completed_at
        clocked = replace(completion, completed_at=self._clock(completion))
        ref = track(clocked, self._phase, self._documents, self._log, now)
        names = [
            name for name in self._documents.get_all([ref])[ref].fields if not name.startswith("_")
        ]
        if self._counts and len(names) >= len(self._phase.expected):
            self._documents.merge(ref, {"_triggered": True, "_triggered_at": now})
        return names
