"""Reading the sources: at once, and in time whatever hangs."""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any

import msgspec
import pytest

from canary.domain.evidence import Absent, Seen, Unreadable
from canary.domain.verdict import VerdictKind, judge
from canary.sources import gather, read_traces
from orchestrator_resilience import CheckpointLogger, Phase, StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phases
from orchestrator_resilience.stores.base import (
    Document,
    DocumentRef,
    Flag,
    Lines,
    ProcessorRun,
    ProcessorSummary,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores

DAY = date(2026, 2, 9)
WANTED = {"phase2": [DAY]}
DONE = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
PHASES = load_phases(BUNDLED_PHASES)


def test_what_hangs_is_unreadable_in_time(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other source still answers, and the run ends."""

    class Hanging:
        def __init__(self) -> None:
            self.released = threading.Event()

        def get_all(self, _: Iterable[object]) -> dict[Any, Any]:
            self.released.wait(30)
            return {}

    hanging = Hanging()
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
    assert evidence.progress == Unreadable(
        "AttributeError: 'NoneType' object has no attribute 'get_all'"
    )
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
    asked = msgspec.structs.replace(
        phase, outcome_query="outcome @since @until", work_query="work @since @until"
    )
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
        name: msgspec.structs.replace(
            phase, name=name, outcome_query="@since @until", work_query="@since @until"
        )
        for name in (f"phase{number}" for number in range(30))
    }
    found = gather(stores, {name: [DAY] for name in phases}, phases).evidence
    assert {(one.outcome, one.work) for one in found} == {(Seen(7), Seen(7))}
    assert 1 < counts.most <= 8


def test_whose_turn_never_came_keeps_nobody_from_reading(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 slow questions most are not asked in time; the documents and the next reader are."""

    class Counts:
        def count(self, query: str, since: date, until: date) -> dict[date, int]:
            del query, since, until
            time.sleep(0.5)
            return {}

    monkeypatch.setattr(stores, "counts", Counts())
    phases = {
        name: msgspec.structs.replace(
            phase, name=name, outcome_query="@since @until", work_query="@since @until"
        )
        for name in (f"phase{number}" for number in range(30))
    }
    slow = gather(stores, {name: [DAY] for name in phases}, phases, seconds=0.6).evidence
    assert {one.progress for one in slow} == {Absent()}
    assert any(isinstance(one.work, Unreadable) for one in slow)
    time.sleep(0.6)  # those that were asked end
    (evidence,) = gather(stores, WANTED, {"phase2": phase}).evidence
    assert (evidence.completion_log, evidence.progress) == (Absent(), Absent())


def test_all_dates_of_a_phase_are_one_search(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever number of dates and phases there is; each date is given its own lines."""
    asked = []
    read = stores.checkpoints.read

    def counted(wanted: Mapping[str, Collection[date]], until: datetime) -> Lines:
        asked.append({name: len(days) for name, days in wanted.items()})
        return read(wanted, until)

    monkeypatch.setattr(stores.checkpoints, "read", counted)
    days = [DAY - timedelta(days=n) for n in range(100)]
    checkpoints = CheckpointLogger(phase, stores.checkpoints)
    for day in days[:2]:
        with checkpoints.delivery(
            processor="p2_odds_game_lines", game_date=str(day), event_id=str(day)
        ):
            pass
    found = read_traces(
        stores, [(phase.name, day) for day in days], {phase.name: phase}, datetime.now(UTC)
    )
    assert asked == [{"phase2": 100}]
    lines = [len(found[phase.name, day].checkpoints.value) for day in days]  # type: ignore[union-attr]
    assert lines == [1, 1, *[0] * 98]


def test_the_runs_of_all_dates_are_one_query(
    stores: EmbeddedStores, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query covers the history and the next date, and each date is given its own runs."""

    class OneQuery:
        """Answers with runs of every date of three, and keeps what it was asked."""

        def __init__(self) -> None:
            self.asked: list[tuple[str, date, date]] = []

        def runs(self, query: str, since: date, until: date) -> list[ProcessorRun]:
            """A run of each date, under a name that would break a line."""
            self.asked.append((query, since, until))
            days = (since + timedelta(days=n) for n in range((until - since).days + 1))
            return [
                ProcessorRun(processor="p2\n", game_date=day, status="\x1b[31m") for day in days
            ]

    counts = OneQuery()
    monkeypatch.setattr(stores, "counts", counts)
    phases = {"phase2": msgspec.structs.replace(phase, runs_query="@since @until"), "other": phase}
    before = DAY - timedelta(days=20)
    found = read_traces(
        stores, [("phase2", DAY), ("phase2", before), ("other", DAY)], phases, datetime.now(UTC)
    )
    next_day = DAY + timedelta(days=1)
    assert counts.asked == [
        ("@since @until", before - timedelta(days=phase.history_dates), next_day)
    ]
    assert found["other", DAY].runs == Absent()
    runs = found["phase2", DAY].runs
    assert isinstance(runs, Seen)
    assert [run.game_date for run in runs.value] == [
        next_day - timedelta(days=n) for n in range(8, -1, -1)
    ]
    assert {(run.processor, run.status) for run in runs.value} == {("p2\\n", "\\x1b[31m")}


FIVE = sorted(PHASES["phase2"].expected)
REQUIRED = {
    "the completion log of phase2": {"phase2"},
    "the completion log of phase3": {"phase3"},
    "the progress documents": {"phase2", "phase3"},
    "the message log": set[str](),
    "the flag table": set[str](),
    "the outcome of phase2": set[str](),
    "the work of phase2": set[str](),
}


class Answers:
    """Two phases, each complete in a table of its own, whose `broken` sources refuse, or hang."""

    checkpoints: Any = None
    requests = dead_letters = service_errors = changes = None

    def __init__(self, broken: Collection[str], *, hang: bool) -> None:
        self.documents = self.completion_log = self.message_logs = self.flag_tables = (
            self.counts
        ) = self
        self._broken, self._hang = broken, hang
        self.released = threading.Event()

    def _answer(self, source: str) -> None:
        if source in self._broken:
            if self._hang:
                self.released.wait(30)
            raise StoreError(f"{source}: 403 it refuses")

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Five registrations, and no flag."""
        self._answer("the progress documents")
        fields = {name: {"completed_at": DONE, "registered_at": DONE} for name in FIVE}
        return {ref: Document(fields, "1") for ref in refs if ref.id == str(DAY)}

    def summarise(self, phases: Sequence[str], since: date, until: date) -> list[ProcessorSummary]:
        """The rows of a completion log, or no message."""
        del since, until
        if isinstance(phases, str):
            self._answer("the message log")
            return []
        (phase,) = phases
        self._answer(f"the completion log of {phase}")
        times: dict[str, Any] = dict.fromkeys(
            ("last_completed_at", "first_completed_at", "first_visible_at"), DONE
        )
        return [
            ProcessorSummary(
                phase=phase,
                game_date=DAY,
                processor_name=name,
                status="success",
                is_triggered=None,
                **times,
            )
            for name in FIVE
        ]

    def read(self, *_: object) -> dict[date, Flag]:
        """The flag table's word."""
        self._answer("the flag table")
        return {DAY: Flag(is_set=False)}

    def count(self, query: str, *_: object) -> dict[date, int]:
        """Output and games."""
        self._answer(f"the {query.split(maxsplit=1)[0]} of phase2")
        return {DAY: 5}

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("hang", [False, True], ids=["refusing", "hanging"])
def test_each_source_stands_alone(hang: bool) -> None:  # noqa: FBT001
    """Sources that cannot be read, alone or in pairs, make those dates unknown that need them."""
    own = {"message_table": "d.messages", "flag_table": "d.flags"}
    asked = {"outcome_query": "outcome @since @until", "work_query": "work @since @until"}
    phases = {
        "phase2": msgspec.structs.replace(PHASES["phase2"], **own, **asked),
        "phase3": msgspec.structs.replace(
            PHASES["phase2"], name="phase3", bigquery_table="d.other"
        ),
    }
    for broken in [*combinations(REQUIRED, 1), *combinations(REQUIRED, 2)]:
        stores: Any = Answers(broken, hang=hang)
        seconds = 0.1 if hang else 10
        found = gather(stores, {name: [DAY] for name in phases}, phases, seconds=seconds).evidence
        stores.released.set()
        verdicts = {
            one.phase: judge(one, phases[one.phase], DONE + timedelta(hours=1)) for one in found
        }
        unknown = {
            name for name, verdict in verdicts.items() if verdict.kind is VerdictKind.UNKNOWN
        }
        assert unknown == set().union(*(REQUIRED[source] for source in broken)), broken
        assert {verdict.kind for name, verdict in verdicts.items() if name not in unknown} <= {
            VerdictKind.UNTRIGGERED
        }
        for source in {"the message log", "the flag table"} & {*broken}:
            assert any(
                note.startswith(f"judged without {source}: ") for note in verdicts["phase2"].notes
            ), broken
