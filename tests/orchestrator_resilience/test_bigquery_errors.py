"""What BigQuery says in a page, as it is told: one sentence with what to do. The texts are BigQuery's own."""

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPICallError, NotFound
from google.cloud import bigquery

from orchestrator_resilience import StoreError
from orchestrator_resilience.stores.bigquery import BigQuery

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
