"""`canary backtest` on a project, whose Firestore and twelve-column table it never writes."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from google.cloud import bigquery

from canary.commands import cli
from canary.domain.verdict import VerdictKind
from canary.playback.backtest import play_backtest, span_of
from canary.playback.demo import track
from orchestrator_resilience import CheckpointLogger, Completion, Orchestrator, Phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.doubles import StoresOf
from tests.tables import make_real_table, refuse_writes

DAYS = [date(2026, 2, 1) + timedelta(days=number) for number in range(6)]
NOW = datetime(2026, 2, 10, 18, tzinfo=UTC)
# The old code: it registers, and never decides.
OLD = DAYS[2:4]
LACKS_ONE = DAYS[4]
MINUTE = timedelta(minutes=1)


class Kept:
    """A completion log that keeps what it is given, with the time."""

    def __init__(self, stores: EmbeddedStores) -> None:
        self._log, self.appended = (
            stores.completion_log,
            list[tuple[Sequence[CompletionRow], datetime]](),
        )

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Keep the rows."""
        self.appended.append((rows, now))
        self._log.append(rows, now=now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.fixture
def pipeline(stores: EmbeddedStores, phase: Phase) -> Kept:
    """Play six dates of the pipeline; returns their rows."""
    log, clock = Kept(stores), SimulatedClock(NOW)
    logger = CheckpointLogger(phase, stores.checkpoints, clock=clock)
    orchestrator = Orchestrator(phase, stores.documents, log, logger, clock, beside=AtOnce)
    for day in DAYS:
        for number, processor in enumerate(sorted(phase.expected)):
            if day == LACKS_ONE and number == 0:
                continue
            clock.now = datetime.combine(day + timedelta(days=1), time(6, 30 + number), UTC)
            sent = push_envelope(
                processor, str(day), clock.now - MINUTE, message_id=f"{day}/{number}"
            )
            if day in OLD:
                completion = Completion.from_event(sent, phase)
                with logger.delivery_of(completion):
                    track(completion, phase, stores.documents, log, clock.now)
            else:
                orchestrator.deliver(sent)
    return log


@pytest.fixture
def project(
    dataset: BigQuery,
    stores: EmbeddedStores,
    phase: Phase,
    pipeline: Kept,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StoresOf]:
    """Put the same documents and rows into a project, in which nobody writes from then on."""
    make_real_table(dataset)
    completion_log = BigQueryCompletionLog(dataset, {phase.name: phase})
    for rows, now in pipeline.appended:
        completion_log.append(rows, now=now)
    documents = FirestoreDocuments(dataset.project)
    for ref, document in stores.documents.get_all(refs(phase)).items():
        documents.merge(ref, document.fields)
    refuse_writes(monkeypatch)
    yield StoresOf(documents, completion_log, checkpoints=stores.checkpoints)
    documents.close()


def refs(phase: Phase) -> list[DocumentRef]:
    return [DocumentRef(phase.firestore_collection, str(day)) for day in DAYS]


def test_a_project_is_told_as_a_folder_is(
    project: StoresOf, stores: EmbeddedStores, phase: Phase
) -> None:
    """The same messages give the same text, on the old code's dates and where one is missing."""
    phases = {phase.name: phase}
    time_ = span_of(phases, len(DAYS), NOW, DAYS[-1])
    of_project = play_backtest(project, phases, time_, NOW)
    of_folder = play_backtest(stores, phases, time_, NOW)
    assert of_project == of_folder
    told = {
        one.game_date: {incident.verdict for incident in one.incidents}
        for one in of_project.notified
    }
    assert told == {LACKS_ONE: {VerdictKind.INCOMPLETE}} | {
        day: {VerdictKind.UNTRIGGERED} for day in OLD
    }
    assert [one.as_of_today for one in of_project.dates] == [()] * len(DAYS)


@pytest.mark.usefixtures("project")
def test_the_command_on_a_project(
    dataset: BigQuery, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What BigQuery would read is said first, and each query is weighed before any is run."""
    asked = list[tuple[str, str]]()
    weigh, run = bigquery.Client.query, bigquery.Client.query_and_wait

    def weighed(client: bigquery.Client, sql: str, **options: Any) -> Any:
        job = weigh(client, sql, **options)
        assert options["job_config"].dry_run
        asked.append(("weighed", sql))
        # of which the emulator knows nothing
        job._properties["statistics"]["query"]["totalBytesProcessed"] = "1500000"
        return job

    def ran(client: bigquery.Client, sql: str, **options: Any) -> Any:
        asked.append(("run", sql))
        return run(client, sql, **options)

    # Cloud Logging has no emulator, and is refused at once
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(bigquery.Client, "query", weighed)
    monkeypatch.setattr(bigquery.Client, "query_and_wait", ran)
    assert cli.main(["backtest", "--json", "--until", str(DAYS[-1]), "--days", str(len(DAYS))]) in {
        0,
        2,
    }
    said = capsys.readouterr()
    assert said.err.startswith("BigQuery reads 1.5 MB for this\n")
    assert [what for what, _ in asked] == ["weighed", "run"]
    assert asked[0][1] == asked[1][1]
    assert "completion" in asked[0][1]
    assert json.loads(said.out)["notified"] == len(OLD) + 1
    assert dataset.project in said.out
