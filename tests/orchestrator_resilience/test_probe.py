"""A probe is answered beside the dates; everything else is no probe."""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canary.commands.sent_probe import what_is_wrong, who_else
from orchestrator_resilience import (
    CheckpointLogger,
    Completion,
    ConfigurationError,
    InvalidMessageError,
    Phase,
    StoreError,
)
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.probe import ATTRIBUTE, DATA, MAX_AGE, Probe, probe_of, probe_ref
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock
from tests.proof.inputs import FIVE, PHASE, check_text, fuzzed, odd, texts, values

NOW = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
ID = "0123456789abcdef" * 2


def message(probe_id: object = ID, **more: Any) -> dict[str, Any]:
    envelope = {
        "data": "",
        "messageId": "1",
        "publishTime": NOW.isoformat(),
        "attributes": {ATTRIBUTE: probe_id},
    }
    return {"message": {**envelope, **more}}


EVENT = {"id": "1", "type": "messagePublished", "time": "2026-02-10T06:41:00.000000123Z"}


@pytest.mark.parametrize(
    ("event", "published_at"),
    [
        (message(), NOW),
        ({"data": message(), **EVENT}, NOW),
        ({"data": message(publishTime=None), **EVENT}, NOW),
        *((message(publishTime=odd), None) for odd in (None, "", "soon", 7, "2026-02-10T06:41:00")),
    ],
)
def test_a_probe_is_found_in_every_shape(
    event: dict[str, Any], published_at: datetime | None
) -> None:
    """A push envelope and a CloudEvent around it; one without a time is young.

    The time only ends redeliveries.
    """
    assert probe_of(event) == Probe(ID, published_at)
    assert not Probe(ID, published_at).is_stale(NOW)


@pytest.mark.parametrize("mark", [None, 7, "", "x" * 32, ID.upper(), f"{ID}\n", f"../{ID}", ["a"]])
def test_another_mark_is_no_probe(mark: object) -> None:
    """What names a document has one form only."""
    assert probe_of(message(mark)) is None


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)
    )
)
def test_whatever_comes_is_no_probe(event: object) -> None:
    """It never raises: the orchestrator decides what is wrong with it."""
    assert probe_of(event) is None
    assert probe_of({"message": event}) is None


def test_others_turn_a_probe_away(phase: Phase) -> None:
    """Its body is of no date that can be, and of another phase: either would do."""
    body, of_it = json.loads(DATA), {"messageId": "1", "publishTime": NOW}
    with pytest.raises(
        InvalidMessageError, match=r"game_date: the year of 1970-01-01 is not in 2000\.\.2099"
    ):
        Completion.from_event({"message": {**of_it, "data": body}}, phase)
    with pytest.raises(InvalidMessageError, match="phase: expected 'phase_2_raw', got 'probe'"):
        Completion.from_event(
            {"message": {**of_it, "data": {**body, "game_date": "2026-02-09"}}}, phase
        )


class Odd:
    """A store whose every call raises `found`, or returns it."""

    def __init__(self, found: object) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return lambda: self._found


SERVICE, REVISION = "phase2-orchestrator", "phase2-orchestrator-00007-abc"
REFUSED = StoreError("BigQuery: NotFound: 404")


def deliver(
    phase: Phase,
    sink: RecordingSink,
    documents: Any,
    log: Any,
    event: object,
    *,
    now: datetime = NOW,
) -> None:
    clock = SimulatedClock(now)
    checkpoints = CheckpointLogger(phase, sink, clock=clock)
    Orchestrator(
        phase, documents, log, checkpoints, clock, service=SERVICE, revision=REVISION
    ).deliver(event)


def test_an_orchestrator_without_probes_writes_nothing(phase: Phase, sink: RecordingSink) -> None:
    """It sees a message without the mark: rejected, and acknowledged."""
    untouchable = Odd(AssertionError("it was used"))
    deliver(
        phase,
        sink,
        untouchable,
        untouchable,
        message(data=base64.b64encode(DATA).decode(), attributes={}),
    )
    assert sink.kinds() == ["REJECTED"]


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"t": [], "u": []}, None),
        (REFUSED, "BigQuery: NotFound: 404"),
        (ConfigurationError("p.d.t: game_date is a STRING"), "p.d.t: game_date is a STRING"),
        (
            {"t": ["event_id", "status"], "u": ["event_id"]},
            "the completion log lacks columns: {'t': ['status']}",
        ),
        ({"t": ["event_id", "is_triggered", "trigger_reason"]}, None),
    ],
)
def test_the_answer(
    phase: Phase, sink: RecordingSink, stores: EmbeddedStores, found: object, wrong: str | None
) -> None:
    """Who is alive, what it waits for, and whether it can write; two checkpoints without a date."""
    deliver(phase, sink, stores.documents, Odd(found), message())
    answer = {
        "phase": "phase2",
        "service": SERVICE,
        "revision": REVISION,
        "expected": sorted(phase.expected),
        "answered_at": NOW,
    }
    assert stores.documents.get_all([probe_ref(ID)])[probe_ref(ID)].fields == {
        **answer,
        "completion_log": wrong,
    }
    assert [(c.message, c.severity, c.closes) for c in sink.checkpoints] == [
        ("CHECKPOINT_RECEIVED: probe", "INFO", False),
        (f"CHECKPOINT_PROBED: {wrong or 'alive'} (probe)", "WARNING" if wrong else "INFO", True),
    ]
    assert all("game_date" not in c.fields for c in sink.checkpoints)


def test_a_completion_log_that_hangs_is_part_of_the_answer(
    phase: Phase, sink: RecordingSink, stores: EmbeddedStores
) -> None:
    """The answer is that the orchestrator is alive, and that its log is not."""
    over = threading.Event()
    hanging: Any = Odd(None)
    hanging.missing_columns = lambda: over.wait(30)
    checkpoints = CheckpointLogger(phase, sink)
    Orchestrator(
        phase, stores.documents, hanging, checkpoints, lambda: NOW, append_seconds=0.05
    ).deliver(message())
    over.set()
    answer = stores.documents.get_all([probe_ref(ID)])[probe_ref(ID)].fields
    assert answer["completion_log"] == "no answer within 0.05 s"


def test_an_answer_that_cannot_be_written_is_raised_while_somebody_waits(
    phase: Phase, sink: RecordingSink
) -> None:
    """Pub/Sub sends the probe again, and the checkpoints say why.

    After ten minutes it is let go without a try.
    """
    with pytest.raises(StoreError):
        deliver(phase, sink, Odd(REFUSED), Odd({}), message(), now=NOW + MAX_AGE)
    assert sink.kinds() == ["RECEIVED", "FAILED"]
    deliver(phase, sink, Odd(REFUSED), Odd({}), message(), now=NOW + MAX_AGE + timedelta(seconds=1))
    assert sink.kinds()[2:] == ["RECEIVED", "PROBED"]
    last = sink.checkpoints[-1]
    words = "not answered: published more than 10 min ago, so nobody waits any more (probe)"
    assert (last.severity, last.text, last.closes) == ("WARNING", words, True)


_ANSWER = {"service": "orchestrator", "phase": "phase2", "expected": FIVE, "completion_log": None}


@fuzzed(50)
@given(odd(_ANSWER, values), st.dictionaries(texts, texts, max_size=2))
@example({**_ANSWER, "expected": 1}, {})
@example({"service": "\x1b[31m", "phase": "a\nb", "expected": ["x"], "completion_log": "\x1b"}, {})
def test_what_is_wrong_with_an_answer_is_one_line(
    answer: dict[str, Any], subscriptions: dict[str, str]
) -> None:
    """Whatever is in it is compared."""
    for service in (None, "orchestrator"):
        wrong = what_is_wrong(answer, PHASE, service)
        check_text(wrong or "")
        assert "\n" not in (wrong or "")
        check_text(who_else(subscriptions, service) or "")
