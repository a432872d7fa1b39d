"""The function as its server calls it, on stores in a folder."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import flask
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.function import start
from orchestrator_resilience.probe import ATTRIBUTE
from tests.proof.inputs import AT, ENVELOPE, asked, check_lines, fuzzed, mutated

_PROBE = {**ENVELOPE, "message": {**ENVELOPE["message"], "attributes": {ATTRIBUTE: "0" * 32}}}
_requests = st.builds(
    asked,
    st.sampled_from(["POST", "POST", "POST", "POST", "GET", "PUT"]),
    mutated(
        json.dumps(ENVELOPE).encode(),
        json.dumps({"id": "1", "time": AT.isoformat(), "data": ENVELOPE}).encode(),
        json.dumps(_PROBE).encode(),
    ),
    headers=st.dictionaries(
        st.sampled_from(["traceparent", "ce-id", "content-type", "content-encoding"]),
        mutated(b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01", b"application/json", b"gzip"),
    ),
)


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[flask.Request], Any]:
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(tmp_path))
    return start()


@fuzzed(12)
@given(_requests)
@example(asked("POST", b"[" * 100_000))
def test_whatever_is_posted_is_acknowledged(
    handler: Callable[[flask.Request], Any], request_: flask.Request
) -> None:
    """With lines of JSON, because it would be the same if it were sent again."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        _, status, *_ = handler(request_)
    assert status == (204 if request_.method == "POST" else 405)
    kinds = [entry["checkpoint"] for entry in check_lines(printed.getvalue())]
    assert CheckpointKind.FAILED not in kinds, printed.getvalue()
    assert bool(kinds) == (request_.method == "POST"), kinds
