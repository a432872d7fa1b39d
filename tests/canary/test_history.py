"""What stays of the past: incidents that are over, the times that nobody saw, and what it costs to read them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canary.domain.documents import to_fields
from canary.domain.history import KEPT_FOR, RUNS, Runs, Unseen, after_a_run, history_ref, read_runs
from canary.domain.incident import OPEN_INCIDENTS, NotificationKind
from canary.domain.stages import CauseKind
from canary.domain.verdict import VerdictKind
from canary.notify.channel import Channels
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine
from canary.notify.refusals import read_refusals, refusal_text
from canary.page.board import board
from canary.run import overview, watch
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import Document, DocumentRef
from tests.page.situations import DAY, NOW, World, other_documents
from tests.proof.doubles import RecordingChannel
from tests.proof.inputs import AT, fuzzed, odd, texts, values

TICK = timedelta(minutes=15)


class Counting:
    """Documents that count what is read of them, by collection."""

    def __init__(self, world: World) -> None:
        self._documents: Any = world.stores.documents
        self.read: list[str] = []
        self.stores = other_documents(world.stores, self)

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read them, and count them."""
        asked = list(refs)
        self.read += [ref.collection for ref in asked]
        found: dict[DocumentRef, Document] = self._documents.get_all(asked)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "stores")


def mended(world: World, heard: RecordingChannel) -> None:
    """Break a date, have it told, mend it, and have that told."""
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW, NOW + TICK)
    world.play(DAY)
    world.watch(heard, *(NOW + number * TICK for number in range(2, 5)))


def test_a_healthy_run_reads_seven_documents_a_phase(world: World) -> None:
    """Those of its dates; and four of the canary's own, however many phases there are."""
    world.healthy(days=7)
    world.watch(RecordingChannel(), NOW)
    counting = Counting(world)
    watch(counting.stores, world.situation.phases, Channels(RecordingChannel()), NOW + TICK)
    read = {name: counting.read.count(name) for name in sorted(set(counting.read))}
    assert read == {
        "canary_channels": 1,
        "canary_history": 1,
        "canary_incidents": 1,
        "canary_silences": 1,
        "phase2_completion": 7,
    }


def test_an_incident_that_is_over_is_read_with_its_month(world: World) -> None:
    """With what it was, why, and how long; 30 dates cost two documents, and 90 days later it may go."""
    heard = RecordingChannel()
    mended(world, heard)
    assert heard.told == [(NotificationKind.OPENED, DAY), (NotificationKind.RESOLVED, DAY)]
    counting, later = Counting(world), NOW + timedelta(days=20)
    found = overview(counting.stores, world.situation.phases, later, 30)
    assert (counting.read.count("canary_history"), counting.read.count("canary_incidents")) == (3, 1)
    shown = board(found, world.situation.phases, None, CommandLine(), lambda *_: None)
    (past,) = shown.phases[0].month.incidents
    assert (past.date, past.badge.word, past.why) == (DAY, VerdictKind.UNTRIGGERED, CauseKind.EXPECTATION_DRIFT)
    assert (past.opened, past.detected, past.lasted) == (NOW, timedelta(minutes=64), 2 * TICK)
    (month,) = world.stores.documents.get_all([history_ref("phase2", DAY)]).values()
    assert month.fields["expires_at"] == datetime(2026, 3, 1, tzinfo=UTC) + KEPT_FOR


def test_a_list_that_was_lost_loses_no_incident(world: World) -> None:
    """While the problem lasts it is known by its own document, told once, and listed again."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW)
    world.stores.documents.merge(OPEN_INCIDENTS, {"canary": []})
    world.watch(heard, NOW + TICK)
    world.play(DAY)
    world.watch(heard, *(NOW + number * TICK for number in range(2, 5)))
    assert heard.told == [(NotificationKind.OPENED, DAY), (NotificationKind.RESOLVED, DAY)]


def test_without_a_list_all_incidents_are_read(world: World) -> None:
    """As an earlier version left them."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW)
    counting = Counting(world)
    absent = counting._documents.get_all

    def without_a_list(refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        return {ref: found for ref, found in absent(refs).items() if ref != OPEN_INCIDENTS}

    counting._documents = SimpleNamespace(get_all=without_a_list, merge=lambda *_: None)
    found = overview(counting.stores, world.situation.phases, NOW, 7)
    assert counting.read.count("canary_incidents") == 8
    assert (
        len(board(found, world.situation.phases, None, CommandLine(), lambda *_: None).phases[0].month.incidents) == 1
    )


def test_what_cannot_be_read_a_second_time_is_told_without_memory(world: World) -> None:
    """The incident of a problem is read once its date is judged; that it does not come keeps nobody from being told."""
    heard, counting = RecordingChannel(), Counting(world)
    world.watch(heard, NOW - 2 * TICK)
    world.play(DAY, drifted=True, output=False)
    real = counting._documents

    def not_the_incidents(refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        if all(ref.collection == "canary_incidents" for ref in refs):
            raise StoreError("ServiceUnavailable: 503")
        found: dict[DocumentRef, Document] = real.get_all(refs)
        return found

    counting._documents = SimpleNamespace(
        get_all=not_the_incidents, merge=real.merge, update_if_unchanged=real.update_if_unchanged
    )
    report = watch(counting.stores, world.situation.phases, Channels(heard), NOW - 2 * TICK)
    assert report.notified.without_memory == "ServiceUnavailable: 503"
    assert heard.told == [(NotificationKind.OPENED, DAY)]


# The time that nobody saw


def test_runs_that_did_not_come_leave_a_time_unseen() -> None:
    """From the last run to the next one, where that is two runs late; what cannot be is none."""
    runs = after_a_run(Runs(), NOW, "")
    runs = after_a_run(runs, NOW + TICK, "")
    assert runs == Runs(NOW + TICK)
    runs = after_a_run(runs, NOW + 5 * TICK, "")
    assert runs.unseen == (Unseen(NOW + TICK, NOW + 5 * TICK, "no run"),)
    assert runs.unseen_since(NOW + 3 * TICK) == 2 * TICK
    assert after_a_run(Runs(NOW + TICK), NOW, "") == Runs(NOW)


def test_runs_that_could_not_tell_are_one_time() -> None:
    """Until the first that could; after 30 days it is forgotten."""
    runs = Runs()
    for number, reason in enumerate(["", "503", "503", ""]):
        runs = after_a_run(runs, NOW + number * TICK, reason)
    assert runs.unseen == (Unseen(NOW + TICK, NOW + 3 * TICK, "503"),)
    later = after_a_run(Runs(NOW + timedelta(days=40), "", runs.unseen), NOW + timedelta(days=40, minutes=15), "")
    assert later.unseen == ()


@pytest.mark.parametrize("odd", [None, 7, [], {"at": "soon"}, {"at": NOW, "unseen": [7, {"since": NOW}, {}]}])
def test_an_odd_record_of_runs_does_no_harm(odd: object) -> None:
    """What can be read of it counts."""
    found = read_runs(Document({"odd": odd, "canary": to_fields(Runs(NOW, "503"))}, "1"))
    assert (found.at, found.unseen) == (NOW, ())


def test_the_page_says_when_the_canary_ran_and_did_not_see(world: World) -> None:
    """A run after two hours of none."""
    world.healthy(days=2)
    world.watch(RecordingChannel(), NOW - timedelta(hours=2), NOW)
    found = overview(world.stores, world.situation.phases, NOW + TICK, 30)
    shown = board(found, world.situation.phases, None, CommandLine(), lambda *_: None)
    assert shown.runs.at == NOW
    assert shown.phases[0].month.blind == timedelta(hours=2)
    assert RUNS.id == "runs"


_unseen = odd({"since": AT, "until": AT + timedelta(hours=1), "why": "no run"}, values)
_run = odd({"at": AT, "reason": "", "unseen": []}, values | st.lists(_unseen, max_size=3))


@fuzzed(50)
@given(st.dictionaries(texts, _run | values, max_size=3))
def test_whatever_is_noted_of_runs_is_read(fields: dict[str, Any]) -> None:
    """After another run they are read as they were written."""
    runs = read_runs(Document(fields, "1"))
    assert runs.unseen_since(datetime(2026, 1, 1, tzinfo=UTC)) >= timedelta()
    later = after_a_run(runs, AT, "a reason")
    assert read_runs(Document({"canary": to_fields(later)}, "1"), "canary") == later


_REFUSAL = {"address": "", "at": AT, "reason": "x"}


@fuzzed(50)
@given(st.dictionaries(st.sampled_from(["log", "slack"]), odd(_REFUSAL, values) | values))
@example({"log": {**_REFUSAL, "reason": "a\x1b[31m\nb"}})
def test_whatever_is_noted_of_a_refused_channel_is_one_line(fields: dict[str, Any]) -> None:
    """It is what other channels are told of it, and is read again as the same."""
    channels = {"log": LogChannel({}), "slack": LogChannel({})}
    for name, refusal in read_refusals(Document(fields, "1"), channels).items():
        assert refusal_text(name, refusal).isprintable()
        assert read_refusals(Document({name: to_fields(refusal)}, "1"), channels) == {name: refusal}
