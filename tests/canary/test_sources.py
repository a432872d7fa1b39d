"""Reading the sources: at once, and in time whatever hangs."""

import threading
import time
from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from canary.domain.evidence import Absent, Seen, Unreadable
from canary.sources import gather
from orchestrator_resilience import Phase
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
    import msgspec  # noqa: PLC0415 (used by this test alone)

    class Counts:
        def count(self, query: str, since: date, until: date) -> dict[date, int]:
            assert (since, until) == (DAY, DAY)
            return {DAY: 363} if query.startswith("outcome") else {}

    monkeypatch.setattr(stores, "counts", Counts())
    asked = msgspec.structs.replace(phase, outcome_query="outcome @since @until", work_query="work @since @until")
    (evidence,) = gather(stores, WANTED, {"phase2": asked}).evidence
    assert (evidence.outcome, evidence.work) == (Seen(363), Seen(0))
    assert gather(stores, WANTED, {"phase2": phase}).evidence[0].outcome == Absent()
