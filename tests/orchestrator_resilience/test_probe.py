"""A probe is answered beside the dates; everything else is no probe."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator_resilience import (
    CheckpointLogger,
    Completion,
    ConfigurationError,
    InvalidMessageError,
    Orchestrator,
    Phase,
    StoreError,
)
from orchestrator_resilience.probe import ATTRIBUTE, MAX_AGE, Probe, probe_data, probe_of, probe_ref
from orchestrator_resilience.stores.base import Document
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock

NOW = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
ID = "0123456789abcdef" * 2


def message(probe_id: object = ID, **more: Any) -> dict[str, Any]:
    envelope = {"data": "", "messageId": "1", "publishTime": NOW.isoformat(), "attributes": {ATTRIBUTE: probe_id}}
    return {"message": {**envelope, **more}}


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"data": m, "id": "1", "type": "messagePublished"}])
def test_a_probe_is_found_in_every_shape(wrap: Any) -> None:
    """A push envelope and a CloudEvent around it."""
    assert probe_of(wrap(message())) == Probe(ID, NOW)


@pytest.mark.parametrize("published", [None, "", "soon", 7, "2026-02-10T06:41:00"])
def test_a_probe_without_a_time_is_young(published: object) -> None:
    """It is answered: the time only ends redeliveries."""
    found = probe_of(message(publishTime=published))
    assert found == Probe(ID, None)
    assert not Probe(ID, None).is_stale(NOW)


def test_the_time_of_the_event_stands_in() -> None:
    """The envelope has the publication time, the CloudEvent around it as well."""
    event = {"data": message(publishTime=None), "id": "1", "time": "2026-02-10T06:41:00.000000123Z"}
    assert probe_of(event) == Probe(ID, NOW)


@pytest.mark.parametrize("mark", [None, 7, "", "x" * 32, ID.upper(), f"{ID}\n", f"../{ID}", ["a"]])
def test_another_mark_is_no_probe(mark: object) -> None:
    """What names a document has one form only."""
    assert probe_of(message(mark)) is None


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)))
def test_whatever_comes_is_no_probe(event: object) -> None:
    """It never raises: the orchestrator decides what is wrong with it."""
    assert probe_of(event) is None
    assert probe_of({"message": event}) is None


def test_others_turn_a_probe_away(phase: Phase) -> None:
    """Its body is of no date that can be, and of another phase: either would do."""
    body = json.loads(probe_data())
    with pytest.raises(InvalidMessageError, match=r"game_date: the year of 1970-01-01 is not in 2000\.\.2099"):
        Completion.from_dict(body, phase, event_id="1", published_at=NOW)
    with pytest.raises(InvalidMessageError, match="phase: expected 'phase_2_raw', got 'probe'"):
        Completion.from_dict({**body, "game_date": "2026-02-09"}, phase, event_id="1", published_at=NOW)


class Untouchable:
    """A store that nobody may use."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


def test_an_orchestrator_without_probes_writes_nothing(phase: Phase) -> None:
    """It sees a message without the mark: rejected, and acknowledged."""
    sink = RecordingSink()
    untouchable: Any = Untouchable()
    orchestrator = Orchestrator(phase, untouchable, untouchable, CheckpointLogger(phase, sink))
    orchestrator.deliver(message(data=base64.b64encode(probe_data()).decode(), attributes={}))
    assert sink.kinds() == ["REJECTED"]


def answered(stores: EmbeddedStores) -> Document:
    ref = probe_ref(ID)
    return stores.documents.get_all([ref])[ref]


def test_the_answer(phase: Phase, stores: EmbeddedStores) -> None:
    """Who is alive and what it waits for; two checkpoints without a date."""
    sink = RecordingSink()
    clock = SimulatedClock(NOW)
    checkpoints = CheckpointLogger(phase, sink, clock=clock)
    names = {"service": "phase2-orchestrator", "revision": "phase2-orchestrator-00007-abc"}
    Orchestrator(phase, stores.documents, stores.completion_log, checkpoints, clock, **names).deliver(message())
    assert answered(stores).fields == {
        "phase": "phase2",
        **names,
        "expected": sorted(phase.expected),
        "answered_at": NOW,
        "completion_log": None,
    }
    assert [c.message for c in sink.checkpoints] == ["CHECKPOINT_RECEIVED: probe", "CHECKPOINT_PROBED: alive"]
    assert [c.closes for c in sink.checkpoints] == [False, True]
    assert all("game_date" not in c.fields for c in sink.checkpoints)


class Refusing:
    """A store that refuses, or a table that is not as it should be."""

    def __init__(self, lacking: dict[str, list[str]] | Exception | None = None) -> None:
        self._lacking = StoreError("BigQuery: NotFound: 404") if lacking is None else lacking

    def missing_columns(self) -> dict[str, list[str]]:
        """Refuse, or say what is lacking."""
        if isinstance(self._lacking, Exception):
            raise self._lacking
        return self._lacking

    def merge(self, *_: object) -> None:
        """Refuse."""
        raise StoreError("Firestore: PermissionDenied: 403")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (Refusing(), "BigQuery: NotFound: 404"),
        (Refusing(ConfigurationError("p.d.t: game_date is a STRING")), "p.d.t: game_date is a STRING"),
        (Refusing({"t": ["event_id"], "u": []}), "the completion log lacks columns: {'t': ['event_id']}"),
    ],
)
def test_an_answer_tells_what_is_wrong(phase: Phase, stores: EmbeddedStores, log: Any, words: str) -> None:
    """The function is alive and could not write what it is there for."""
    sink = RecordingSink()
    checkpoints = CheckpointLogger(phase, sink)
    Orchestrator(phase, stores.documents, log, checkpoints, SimulatedClock(NOW)).deliver(message())
    assert answered(stores).fields["completion_log"] == words
    assert (sink.checkpoints[-1].severity, sink.checkpoints[-1].text) == ("WARNING", words)


def test_an_answer_that_cannot_be_written_is_raised_while_somebody_waits(phase: Phase, stores: EmbeddedStores) -> None:
    """Pub/Sub sends the probe again, and the checkpoints says why; after ten minutes it is let go without a try."""
    sink = RecordingSink()
    documents: Any = Refusing()
    clock = SimulatedClock(NOW + MAX_AGE)
    orchestrator = Orchestrator(phase, documents, stores.completion_log, CheckpointLogger(phase, sink), clock)
    with pytest.raises(StoreError):
        orchestrator.deliver(message())
    assert sink.kinds() == ["RECEIVED", "FAILED"]
    clock.now += timedelta(seconds=1)
    orchestrator.deliver(message())
    assert sink.kinds()[2:] == ["RECEIVED", "PROBED"]
    last = sink.checkpoints[-1]
    assert (last.severity, last.text) == (
        "WARNING",
        "not answered: published more than 10 min ago, so nobody waits any more",
    )
    assert last.closes
