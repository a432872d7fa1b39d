"""The stores on Google Cloud; their clients are made at the first use and kept afterwards."""

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cached_property
from typing import TypeVar

from orchestrator_resilience.phase import Phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import (
    ChangeLog,
    CheckpointArchive,
    Component,
    DeadLetters,
    DocumentStore,
    ErrorLog,
    RequestLog,
    Stores,
)
from orchestrator_resilience.stores.bigquery import (
    BigQuery,
    BigQueryCompletionLog,
    BigQueryCounts,
    BigQueryFlagTables,
    BigQueryMessageLogs,
    DryRun,
)
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.stores.two_databases import TwoDatabases

B = TypeVar("B", bound=BigQuery)


class CloudStores:
    """Firestore, BigQuery, Cloud Logging and Pub/Sub of `project`.

    Nothing is called before it is used. A module that only dates with a problem need is imported at
    its first use.
    """

    def __init__(
        self,
        project: str,
        settings: Settings,
        phases: Mapping[str, Phase],
        bigquery: BigQuery | None = None,
    ) -> None:
        self._project, self._settings, self._phases = project, settings, phases
        self._bigquery = bigquery or self._access(BigQuery)
        self._databases = [FirestoreDocuments(project, settings.firestore_database)]
        self.documents: DocumentStore = self._databases[0]
        if settings.memory_database is not None:
            self._databases.append(FirestoreDocuments(project, settings.memory_database))
            self.documents = TwoDatabases(*self._databases)
        self.completion_log = BigQueryCompletionLog(self._bigquery, phases)
        self.message_logs = BigQueryMessageLogs(self._bigquery, phases)
        self.flag_tables = BigQueryFlagTables(self._bigquery, phases)
        self.counts = BigQueryCounts(self._bigquery)

    def _access(self, kind: type[B]) -> B:
        settings = self._settings
        return kind(
            self._project,
            location=settings.bigquery_location,
            emulated=settings.bigquery_emulated,
            maximum_bytes_billed=settings.maximum_bytes_billed,
        )

    @cached_property
    def checkpoints(self) -> CheckpointArchive:
        """The archive."""
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive  # noqa: PLC0415

        return CloudLoggingArchive(self._project)

    @cached_property
    def requests(self) -> RequestLog | None:
        """The requests to the orchestrator, where the settings name its service."""
        service, phase = self._settings.orchestrator_service, self._settings.phase
        if service is None:
            return None
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingRequests  # noqa: PLC0415

        return CloudLoggingRequests(self._project, service, phase)

    @cached_property
    def service_errors(self) -> ErrorLog | None:
        """The errors of the orchestrator's service, where the settings name it."""
        service, phase = self._settings.orchestrator_service, self._settings.phase
        if service is None:
            return None
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingErrors  # noqa: PLC0415

        return CloudLoggingErrors(self._project, service, phase)

    @cached_property
    def changes(self) -> ChangeLog | None:
        """What was changed of the phases' components.

        They are its table, topic, subscription and jobs, and its service where the settings name
        it.
        """
        from orchestrator_resilience.stores.cloud_changes import CloudLoggingChanges  # noqa: PLC0415

        return CloudLoggingChanges(
            self._project, {name: self._parts(phase) for name, phase in self._phases.items()}
        )

    def _parts(self, phase: Phase) -> list[tuple[Component, str]]:
        """Return what a phase is deployed as in this project."""
        parts = [(Component.JOB, job) for job in phase.scheduler_jobs]
        *project, dataset, table = phase.bigquery_table.rsplit(".", 2)
        parts += (
            [(Component.TABLE, f"{dataset}.{table}")] if project in ([], [self._project]) else []
        )
        service = (
            self._settings.orchestrator_service if phase.name == self._settings.phase else None
        )
        named = {
            Component.TOPIC: phase.topic,
            Component.SUBSCRIPTION: phase.subscription,
            Component.SERVICE: service,
        }
        return parts + [(component, name) for component, name in named.items() if name]

    @cached_property
    def dead_letters(self) -> DeadLetters | None:
        """What could not be delivered to the orchestrator, where the settings name its place."""
        subscription, phase = self._settings.dead_letters, self._phases.get(self._settings.phase)
        if subscription is None or phase is None:
            return None
        from orchestrator_resilience.stores.dead_letters import PubSubDeadLetters  # noqa: PLC0415

        return PubSubDeadLetters(
            self._project, subscription, phase, emulator=self._settings.pubsub_emulator
        )

    def bytes_to_read(self, ask: Callable[[Stores], object]) -> int:
        """Return how many bytes the queries of `ask` would read; none of them is run."""
        dry = self._access(DryRun)
        with closing(CloudStores(self._project, self._settings, self._phases, dry)) as weighed:
            ask(weighed)
        return dry.bytes_to_read

    def close(self) -> None:
        """Close the connections."""
        self._bigquery.close()
        for database in self._databases:
            database.close()
