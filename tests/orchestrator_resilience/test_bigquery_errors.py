"""What BigQuery says in a page, as it is said: one sentence with what to do.

The texts are BigQuery's own.
"""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import ConfigurationError, StoreError
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog, BigQueryCounts
from tests.proof.inputs import DAY, PHASE, fuzzed, json_values, mutated, odd
from tests.proof.listener import RawAnswers, http_answer

END = ", location: query\n\nLocation: US\nJob ID: 3b1c\n"


MAKE_IT = "make it (`canary setup` makes the completion log), or name another in the phases file"
READ_IT = "grant roles/bigquery.dataViewer on the dataset and roles/bigquery.jobUser on the project"
DENIED = (
    "Access Denied: Table p:d.t: User does not have permission to query table p:d.t, or perhaps it "
    "does not exist"
)
PERIMETER = (
    "VPC Service Controls: Request is prohibited by organization's policy. Identifier: abc-123"
)
QUOTA = "Custom quota exceeded: Your usage exceeded the custom quota for QueryUsagePerDay"
RATE = "Exceeded rate limits: too many concurrent queries for this project"
API = "BigQuery API has not been used in project 123456 before or it is disabled"
BYTES = "Query exceeded limit for bytes billed: 1073741824. 2214592512 or higher required"
ELSEWHERE = "Not found: Dataset p:d was not found in location US"
LET_IN = "ask who keeps the perimeter to let this account in"
UNKNOWN_NAME = "Unrecognized name: status at [5:3]"
# As documented at https://docs.cloud.google.com/bigquery/docs/error-messages: HTTP status, reason,
# message; then what is said of it. No role is advised for anything else than a missing role.
REFUSALS = [
    (404, "notFound", "Not found: Table p:d.t", f"NotFound: Table p:d.t: {MAKE_IT}"),
    (
        404,
        "notFound",
        ELSEWHERE,
        f"NotFound: {ELSEWHERE[11:]}: set BIGQUERY_LOCATION to where the dataset is",
    ),
    (403, "accessDenied", f"{DENIED}.", f"Forbidden: {DENIED}: {READ_IT}"),
    (403, "vpcServiceControls", PERIMETER, f"Forbidden: {PERIMETER}: {LET_IN}"),
    (403, "policyViolation", PERIMETER, f"Forbidden: {PERIMETER}: {LET_IN}"),
    (
        403,
        "quotaExceeded",
        QUOTA,
        f"Forbidden: {QUOTA}: wait until the quota is renewed, or raise it",
    ),
    (
        403,
        "rateLimitExceeded",
        RATE,
        f"Forbidden: {RATE}: let fewer queries run at once in the project",
    ),
    (
        403,
        "accessNotConfigured",
        API,
        f"Forbidden: {API}: enable the API: gcloud services enable bigquery.googleapis.com",
    ),
    (
        403,
        "billingNotEnabled",
        "Billing off",
        "Forbidden: Billing off: link the project to a billing account",
    ),
    (403, "somethingNew", "No", "Forbidden: No"),
    (
        400,
        "bytesBilledLimitExceeded",
        BYTES,
        f"BadRequest: {BYTES}: let the query read less, or raise MAXIMUM_BYTES_BILLED",
    ),
    (
        400,
        "invalidQuery",
        f"{UNKNOWN_NAME}; reason: invalidQuery, message: {UNKNOWN_NAME}{END}",
        (
            f"BadRequest: {UNKNOWN_NAME}: mend the query of the phases file, or the table that it "
            "names"
        ),
    ),
    (400, "invalidQuery", f"Syntax error{END}", "BadRequest: Syntax error, location: query"),
    (400, "invalidQuery", "x" * 5000, f"BadRequest: {'x' * 200}… (5000 characters)"),
]


@pytest.mark.parametrize(
    ("status", "reason", "message", "sentence"),
    REFUSALS,
    ids=[f"{r[1]} {r[2][:9]}" for r in REFUSALS],
)
def test_a_refusal_is_one_sentence_with_what_helps(
    raw: RawAnswers, status: int, reason: str, message: str, sentence: str
) -> None:
    """The class and the words that matter, by BigQuery's own reason; no addresses, no job ids."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    raw.answers = [http_answer(json.dumps({"error": error}), f"{status} No")]
    store = BigQuery("p", emulated=True, seconds=1)
    with pytest.raises(StoreError) as raised:
        store.query("SELECT 1", [])
    store.close()
    assert str(raised.value) == f"BigQuery: {sentence}"


_TABLE = {"projectId": "project", "datasetId": "nba_orchestration", "tableId": "phase_completions"}
_JOB: dict[str, Any] = {
    "kind": "bigquery#queryResponse",
    "jobReference": {"projectId": "project", "jobId": "j", "location": "US"},
    "configuration": {"query": {"query": "SELECT", "destinationTable": _TABLE}, "jobType": "QUERY"},
    "status": {"state": "DONE"},
    "statistics": {"query": {"statementType": "SELECT"}},
    "jobComplete": True,
    "schema": {
        "fields": [
            {"name": "game_date", "type": "DATE", "mode": "NULLABLE"},
            {"name": "n", "type": "INTEGER"},
        ]
    },
    "totalRows": "1",
    "rows": [{"f": [{"v": "2026-02-09"}, {"v": "7"}]}],
    "tableReference": _TABLE,
    "errors": [],
}
_FAILED = {
    "error": {
        "code": 400,
        "message": "Unrecognized name: x at [1:2]",
        "errors": [{"reason": "invalidQuery"}],
    }
}
_row = st.fixed_dictionaries({"f": st.lists(odd({"v": "1"}, json_values), max_size=2)})
_bodies = st.one_of(
    odd(_JOB, json_values | st.lists(_row, max_size=2)),
    odd(_FAILED, json_values),
    st.fixed_dictionaries({"error": odd(_FAILED["error"], json_values)}),
    json_values,
)
_status = st.sampled_from(
    ["200 OK", "400 Bad Request", "403 Forbidden", "404 Not Found", "409 Conflict"]
)


@pytest.fixture
def raw(raw: RawAnswers, monkeypatch: pytest.MonkeyPatch) -> RawAnswers:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://{raw.host}")
    return raw


@fuzzed(4)
@given(
    mutated(http_answer(json.dumps(_JOB)), http_answer(json.dumps(_FAILED), "400 Bad Request"))
    | st.builds(lambda body, status: http_answer(json.dumps(body), status), _bodies, _status)
)
@example(b"HTTP/1.1 200")
def test_whatever_is_answered_are_counts_and_columns_or_an_error_of_ours(
    raw: RawAnswers, answer: bytes
) -> None:
    """A count is a whole number."""
    raw.answers = [answer]
    access = BigQuery("project", emulated=True, seconds=0.8)
    with suppress(StoreError):
        counts = BigQueryCounts(access).count("SELECT @since, @until", DAY, DAY + timedelta(days=1))
        assert all(type(n) is int for n in counts.values())
    with suppress(StoreError, ConfigurationError):
        BigQueryCompletionLog(access, {PHASE.name: PHASE}).missing_columns()
    access.close()
