"""Reading the sources: at once, and in time whatever hangs."""

import threading
import time
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from canary.domain.evidence import Absent, Seen, Unreadable
from canary.sources import gather, read_traces
from orchestrator_resilience import CheckpointLogger, Phase
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.stores.embedded import EmbeddedStores

DAY = date(2026, 2, 9)
WANTED = {"phase2": [DAY]}


class _Hanging:
    def __init__(self) -> None:
        self.released = threading.Event()

    def get_all(self, _: Iterable[object]) -> dict[Any, Any]:
        self.released.wait(30)
        return {}


def test_what_hangs_is_unreadable_in_time(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other source still answers, and the run ends."""
    hanging = _Hanging()
    monkeypatch.setattr(stores, "documents", hanging)
    began = time.monotonic()
    (evidence,) = gather(stores, WANTED, {"phase2": phase}, seconds=0.2).evidence
    hanging.released.set()
    assert time.monotonic() - began < 10
    assert evidence.progress == Unreadable("the progress documents: no answer within 0.2 s")
    assert evidence.completion_log == Absent()


def test_any_error_makes_its_source_unreadable(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a driver comes up with; on one line."""
    monkeypatch.setattr(stores, "documents", None)
    (evidence,) = gather(stores, WANTED, {"phase2": phase}).evidence
    assert evidence.progress == Unreadable("AttributeError: 'NoneType' object has no attribute 'get_all'")
    assert evidence.completion_log == Absent()


def test_a_phases_own_queries_are_counted(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date that the query does not mention has none; a query that fails is unreadable."""

    class Counts:
        def count(self, query: str, since: date, until: date) -> dict[date, int]:
            assert (since, until) == (DAY, DAY)
            return {DAY: 363} if query.startswith("outcome") else {}

    monkeypatch.setattr(stores, "counts", Counts())
    asked = msgspec.structs.replace(phase, outcome_query="outcome @since @until", work_query="work @since @until")
    (evidence,) = gather(stores, WANTED, {"phase2": asked}).evidence
    assert (evidence.outcome, evidence.work) == (Seen(363), Seen(0))
    assert gather(stores, WANTED, {"phase2": phase}).evidence[0].outcome == Absent()


def test_no_more_than_eight_questions_at_once(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many phases there are; all are answered."""

    class Counts:
        def __init__(self) -> None:
            self.now = self.most = 0
            self._lock = threading.Lock()

        def count(self, query: str, since: date, until: date) -> dict[date, int]:
            del query, until
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(0.01)
            with self._lock:
                self.now -= 1
            return {since: 7}

    counts = Counts()
    monkeypatch.setattr(stores, "counts", counts)
    phases = {
        name: msgspec.structs.replace(phase, name=name, outcome_query="@since @until", work_query="@since @until")
        for name in (f"phase{number}" for number in range(30))
    }
    found = gather(stores, {name: [DAY] for name in phases}, phases).evidence
    assert {(one.outcome, one.work) for one in found} == {(Seen(7), Seen(7))}
    assert 1 < counts.most <= 8


def test_all_dates_of_a_phase_are_one_search(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each date is given its own lines."""
    asked = []
    read = stores.checkpoints.read

    def counted(name: str, days: Collection[date]) -> list[Checkpoint]:
        asked.append((name, len(days)))
        return read(name, days)

    monkeypatch.setattr(stores.checkpoints, "read", counted)
    days = [DAY - timedelta(days=n) for n in range(100)]
    checkpoints = CheckpointLogger(phase, stores.checkpoints)
    for day in days[:2]:
        with checkpoints.delivery(processor="p2_odds_game_lines", game_date=str(day), event_id=str(day)):
            pass
    found = read_traces(stores, [(phase.name, day) for day in days], {phase.name: phase}, datetime.now(UTC))
    assert asked == [("phase2", 100)]
    lines = [len(found[phase.name, day].checkpoints.value) for day in days]  # type: ignore[union-attr]
    assert lines == [2, 2, *[0] * 98]
