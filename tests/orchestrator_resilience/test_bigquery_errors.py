"""What BigQuery says in a page, as it is told: one sentence with what to do. The texts are BigQuery's own."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPICallError, NotFound
from google.cloud import bigquery
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import ConfigurationError, StoreError
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryCounts
from tests.proof.inputs import DAY, PHASE, fuzzed, json_values, mutated, odd
from tests.proof.listener import RawAnswers, http_answer, raw_answers

REST = "https://bigquery.googleapis.com/bigquery/v2/projects/p"
END = ", location: query\n\nLocation: US\nJob ID: 3b1c\n"


MAKE_IT = "make it (`canary setup` makes the completion log), or name another in the phases file"
READ_IT = "grant roles/bigquery.dataViewer on the dataset and roles/bigquery.jobUser on the project"
DENIED = "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p"
UNKNOWN_NAME = "Unrecognized name: status at [5:3]"


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (NotFound, f"GET {REST}/datasets/d/tables/t: Not found: Table p:d.t", f"NotFound: Table p:d.t: {MAKE_IT}"),
        (NotFound, f"Not found: Table p:d.t; reason: notFound, message: x{END}", f"NotFound: Table p:d.t: {MAKE_IT}"),
        (Forbidden, f"POST {REST}/jobs?prettyPrint=false: {DENIED}.", f"Forbidden: {DENIED}: {READ_IT}"),
        (
            BadRequest,
            f"{UNKNOWN_NAME}; reason: invalidQuery, message: {UNKNOWN_NAME}{END}",
            f"BadRequest: {UNKNOWN_NAME}: mend the query of the phases file, or the table that it names",
        ),
        (BadRequest, f"Syntax error{END}", "BadRequest: Syntax error, location: query"),
        (BadRequest, "x" * 5000, f"BadRequest: {'x' * 200}… (5000 characters)"),
    ],
)
def test_an_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, kind: type[GoogleAPICallError], text: str, told: str
) -> None:
    """The class and the words that matter, without addresses, job ids, or page after page."""
    store = BigQuery("p", emulated=True)

    def refuse(*_: object, **__: object) -> None:
        raise kind(text)

    monkeypatch.setattr(
        bigquery.Client, "query_and_wait", refuse
    )  # the emulator has other words, and no access to deny
    with pytest.raises(StoreError) as raised:
        store.query("SELECT 1", [])
    store.close()
    assert str(raised.value) == f"BigQuery: {told}"


_TABLE = {"projectId": "project", "datasetId": "nba_orchestration", "tableId": "phase_completions"}
_JOB: dict[str, Any] = {
    "kind": "bigquery#queryResponse",
    "jobReference": {"projectId": "project", "jobId": "j", "location": "US"},
    "configuration": {"query": {"query": "SELECT", "destinationTable": _TABLE}, "jobType": "QUERY"},
    "status": {"state": "DONE"},
    "statistics": {"query": {"statementType": "SELECT"}},
    "jobComplete": True,
    "schema": {"fields": [{"name": "game_date", "type": "DATE", "mode": "NULLABLE"}, {"name": "n", "type": "INTEGER"}]},
    "totalRows": "1",
    "rows": [{"f": [{"v": "2026-02-09"}, {"v": "7"}]}],
    "tableReference": _TABLE,
    "errors": [],
}
_FAILED = {"error": {"code": 400, "message": "Unrecognized name: x at [1:2]", "errors": [{"reason": "invalidQuery"}]}}
_row = st.fixed_dictionaries({"f": st.lists(odd({"v": "1"}, json_values), max_size=2)})
_bodies = st.one_of(
    odd(_JOB, json_values | st.lists(_row, max_size=2)),
    odd(_FAILED, json_values),
    st.fixed_dictionaries({"error": odd(_FAILED["error"], json_values)}),
    json_values,
)
_status = st.sampled_from(["200 OK", "400 Bad Request", "403 Forbidden", "404 Not Found", "409 Conflict"])


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawAnswers]:
    with raw_answers() as raw:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://{raw.host}")
        yield raw


@fuzzed(4)
@given(
    mutated(http_answer(json.dumps(_JOB)), http_answer(json.dumps(_FAILED), "400 Bad Request"))
    | st.builds(lambda body, status: http_answer(json.dumps(body), status), _bodies, _status)
)
@example(b"HTTP/1.1 200")
def test_whatever_is_answered_are_counts_and_columns_or_an_error_of_ours(raw: RawAnswers, answer: bytes) -> None:
    """A count is a whole number."""
    raw.answers = [answer]
    access = BigQuery("project", emulated=True, seconds=0.8)
    with suppress(StoreError):
        counts = BigQueryCounts(access).count("SELECT @since, @until", DAY, DAY + timedelta(days=1))
        assert all(type(n) is int for n in counts.values())
    with suppress(StoreError, ConfigurationError):
        BigQueryCompletionLog(access, {PHASE.name: PHASE}).missing_columns()
    access.close()
