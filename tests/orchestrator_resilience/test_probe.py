"""A probe is answered beside the dates; everything else is no probe."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, Completion, InvalidMessageError, Orchestrator, Phase, StoreError
from orchestrator_resilience.probe import ATTRIBUTE, probe_data, probe_id_of, probe_ref
from orchestrator_resilience.stores.base import Document
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock

NOW = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
ID = "0123456789abcdef" * 2


def message(probe_id: object = ID, **more: Any) -> dict[str, Any]:
    envelope = {"data": "", "messageId": "1", "publishTime": NOW.isoformat(), "attributes": {ATTRIBUTE: probe_id}}
    return {"message": {**envelope, **more}}


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"data": m, "id": "1", "type": "messagePublished"}])
def test_the_id_is_found_in_every_shape(wrap: Any) -> None:
    """A push envelope and a CloudEvent around it."""
    assert probe_id_of(wrap(message())) == ID


@pytest.mark.parametrize("mark", [None, 7, "", "x" * 32, ID.upper(), f"{ID}\n", f"../{ID}", ["a"]])
def test_another_mark_is_no_probe(mark: object) -> None:
    """What names a document has one form only."""
    assert probe_id_of(message(mark)) is None


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)))
def test_whatever_comes_is_no_probe(event: object) -> None:
    """It never raises: the orchestrator decides what is wrong with it."""
    assert probe_id_of(event) is None
    assert probe_id_of({"message": event}) is None


def test_others_turn_a_probe_away(phase: Phase) -> None:
    """Its body is of another phase: an orchestrator that knows no probes rejects it and writes nothing."""
    body = probe_data(NOW).decode()
    with pytest.raises(InvalidMessageError, match="phase: expected 'phase_2_raw', got 'probe'"):
        Completion.from_event({"message": {"data": _base64(body), "messageId": "1", "publishTime": NOW}}, phase)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def answered(stores: EmbeddedStores) -> Document:
    ref = probe_ref(ID)
    return stores.documents.get_all([ref])[ref]


def test_the_answer(phase: Phase, stores: EmbeddedStores) -> None:
    """Who is alive and what it waits for; two checkpoints without a date."""
    sink = RecordingSink()
    clock = SimulatedClock(NOW)
    checkpoints = CheckpointLogger(phase, sink, clock=clock)
    Orchestrator(phase, stores.documents, stores.completion_log, checkpoints, clock).deliver(message())
    assert answered(stores).fields == {
        "phase": "phase2",
        "expected": sorted(phase.expected),
        "answered_at": NOW,
        "completion_log": None,
    }
    assert [c.message for c in sink.checkpoints] == ["CHECKPOINT_RECEIVED: probe", "CHECKPOINT_PROBED: alive"]
    assert [c.closes for c in sink.checkpoints] == [False, True]
    assert all("game_date" not in c.fields for c in sink.checkpoints)


class Refusing:
    """A store that refuses, or a table that lacks a column."""

    def __init__(self, lacking: dict[str, list[str]] | None = None) -> None:
        self._lacking = lacking

    def missing_columns(self) -> dict[str, list[str]]:
        """Refuse, or say what is lacking."""
        if self._lacking is None:
            raise StoreError("BigQuery: NotFound: 404")
        return self._lacking

    def merge(self, *_: object) -> None:
        """Refuse."""
        raise StoreError("Firestore: PermissionDenied: 403")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (Refusing(), "BigQuery: NotFound: 404"),
        (Refusing({"t": ["event_id"], "u": []}), "the completion log lacks columns: {'t': ['event_id']}"),
    ],
)
def test_an_answer_tells_what_is_wrong(phase: Phase, stores: EmbeddedStores, log: Any, words: str) -> None:
    """The function is alive and could not write what it is there for."""
    sink = RecordingSink()
    Orchestrator(phase, stores.documents, log, CheckpointLogger(phase, sink)).deliver(message())
    assert answered(stores).fields["completion_log"] == words
    assert (sink.checkpoints[-1].severity, sink.checkpoints[-1].text) == ("WARNING", words)


def test_an_answer_that_cannot_be_written_is_raised(phase: Phase, stores: EmbeddedStores) -> None:
    """Pub/Sub sends the probe again, and the trail says why."""
    sink = RecordingSink()
    documents: Any = Refusing()
    orchestrator = Orchestrator(phase, documents, stores.completion_log, CheckpointLogger(phase, sink))
    with pytest.raises(StoreError):
        orchestrator.deliver(message())
    assert sink.kinds() == ["RECEIVED", "FAILED"]
