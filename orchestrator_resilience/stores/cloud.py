"""The stores on Google Cloud; their clients are made at the first use and kept between invocations."""

from collections.abc import Mapping
from functools import cached_property

from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import CheckpointArchive, RequestLog
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryCounts, BigQueryFlagTables
from orchestrator_resilience.stores.firestore import FirestoreDocuments


class CloudStores:
    """Firestore, BigQuery and Cloud Logging of one project; nothing is called before it is used.

    `orchestrator` is the Cloud Run service of the orchestrator and its phase, where that is known.
    """

    def __init__(
        self,
        project: str,
        phases: Mapping[str, Phase],
        *,
        bigquery_location: str | None,
        bigquery_emulated: bool,
        firestore_database: str,
        orchestrator: tuple[str, str] | None = None,
    ) -> None:
        self._bigquery = BigQuery(project, location=bigquery_location, emulated=bigquery_emulated)
        self.documents = FirestoreDocuments(project, firestore_database)
        self.completion_log = BigQueryCompletionLog(self._bigquery, phases)
        self.flag_tables = BigQueryFlagTables(self._bigquery, phases)
        self._project = project
        self._orchestrator = orchestrator
        self.counts = BigQueryCounts(self._bigquery)

    @cached_property
    def checkpoints(self) -> CheckpointArchive:
        """The archive; its client is imported only by those who read checkpoints, which healthy runs do not."""
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive  # noqa: PLC0415

        return CloudLoggingArchive(self._project)

    @cached_property
    def requests(self) -> RequestLog | None:
        """The requests to the orchestrator, read for dates with a problem only."""
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingRequests  # noqa: PLC0415

        return CloudLoggingRequests(self._project, *self._orchestrator) if self._orchestrator is not None else None

    def close(self) -> None:
        """Close the connections."""
        self._bigquery.close()
        self.documents.close()
