"""What stays of the past: incidents that are over, times that nobody saw, and what reads cost."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.commands import cli
from canary.commands.history import _lines
from canary.domain.incident import DateMemory, NotificationKind
from canary.domain.remembered import (
    DEFAULT_CANARY,
    MOST_UNSEEN,
    Runs,
    Unseen,
    after_a_run,
    canary_ref,
    month_ref,
    read_date,
    read_runs,
    runs_fields,
)
from canary.domain.stages import CauseKind
from canary.domain.verdict import VerdictKind
from canary.notify.channel import Channels
from canary.notify.incidents import refusal_text
from canary.notify.message import CommandLine
from canary.page.board import board
from canary.run import overview, watch
from orchestrator_resilience.stores.base import Document, DocumentRef, Write
from tests.page.situations import DAY, NOW, World, other_documents
from tests.proof.doubles import RecordingChannel
from tests.proof.inputs import AT, fuzzed, odd, texts, values

TICK = timedelta(minutes=15)


class Counting:
    """Documents that count what is read of them, by collection."""

    def __init__(self, world: World) -> None:
        self._documents: Any = world.stores.documents
        self.read: list[str] = []
        self.written: list[DocumentRef] = []
        self.stores = other_documents(world.stores, self)

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read them, and count them."""
        asked = list(refs)
        self.read += [ref.collection for ref in asked]
        found: dict[DocumentRef, Document] = self._documents.get_all(asked)
        return found

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace them, and count them."""
        self.written += [ref for ref, _, _ in writes]
        done: bool = self._documents.commit(writes)
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "stores")


def test_a_run_in_which_nothing_changed_reads_ten_documents_and_writes_one(world: World) -> None:
    """Those of its dates, their months, what people said and the canary's own, which it writes."""
    world.healthy(days=7)
    world.watch(RecordingChannel(), NOW)
    counting = Counting(world)
    watch(counting.stores, world.situation.phases, Channels(RecordingChannel()), NOW + TICK)
    read = {name: counting.read.count(name) for name in sorted(set(counting.read))}
    assert read == {"canary_memory": 2, "canary_people": 1, "phase2_completion": 7}
    assert counting.written == [canary_ref(DEFAULT_CANARY)]


def test_an_incident_that_is_over_is_read_with_its_month(world: World) -> None:
    """With what it was, why, and how long; 30 dates cost two documents."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW, NOW + TICK)
    world.play(DAY)
    world.watch(heard, *(NOW + number * TICK for number in range(2, 5)))
    assert heard.told == [(NotificationKind.OPENED, DAY), (NotificationKind.RESOLVED, DAY)]
    counting, later = Counting(world), NOW + timedelta(days=20)
    found = overview(counting.stores, world.situation.phases, later, 30)
    assert counting.read.count("canary_memory") == 3
    shown = board(found, world.situation.phases, None, CommandLine(), lambda *_: None)
    (past,) = shown.phases[0].month.incidents
    assert (past.date, past.badge.word, past.why) == (
        DAY,
        VerdictKind.UNTRIGGERED,
        CauseKind.EXPECTATION_DRIFT,
    )
    assert (past.opened, past.detected, past.lasted) == (NOW, timedelta(minutes=64), 2 * TICK)


def test_an_incident_that_expired_did_not_recover(world: World) -> None:
    """The page says so, and counts it into no median."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW, NOW + timedelta(days=8), NOW + timedelta(days=8, minutes=15))
    assert heard.kinds == [NotificationKind.OPENED, NotificationKind.EXPIRED]
    found = overview(world.stores, world.situation.phases, NOW + timedelta(days=9), 30)
    month = (
        board(found, world.situation.phases, None, CommandLine(), lambda *_: None).phases[0].month
    )
    (past,) = month.incidents
    assert (past.lasted, past.expired_at, month.recovered) == (None, NOW + timedelta(days=8), None)


def test_the_history_says_what_was_sent(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """When, to whom, and why as it was known then; and who had it in hand."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW)
    data = ["--data", str(world.stores.folder), "--now"]
    acknowledge = [
        "ack",
        str(DAY),
        "--by",
        "ada",
        "--note",
        "on it",
        *data,
        f"{NOW + TICK:%Y-%m-%dT%H:%M:%SZ}",
    ]
    assert cli.main(acknowledge) == 0
    assert f"acknowledged by ada at {NOW + TICK:%Y-%m-%d} 08:00Z: on it" in capsys.readouterr().out
    world.watch(heard, *(NOW + number * TICK for number in range(2, 40)))
    assert heard.kinds == [NotificationKind.OPENED]
    world.play(DAY)
    world.watch(heard, *(NOW + number * TICK for number in range(40, 43)))
    later = f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert cli.main(["history", str(DAY), *data, later]) == 0
    first, opened, acknowledged, resolved = capsys.readouterr().out.splitlines()
    assert first == f"phase2 {DAY} UNTRIGGERED, RESOLVED {NOW:%Y-%m-%d} 17:45Z"
    assert opened.startswith(
        f"  {NOW:%Y-%m-%d} 07:45Z OPENED UNTRIGGERED EXPECTATION_DRIFT to log: "
    )
    assert acknowledged == f"  {NOW:%Y-%m-%d} 08:00Z ACKNOWLEDGED by ada: on it"
    assert resolved.startswith(f"  {NOW:%Y-%m-%d} 18:00Z RESOLVED UNTRIGGERED to log: ")
    assert cli.main(["history", "--json", *data, later]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["dates"]
    assert [event["what"] for event in entry["incidents"][0]["events"]] == [
        "OPENED",
        "ACKNOWLEDGED",
        "RESOLVED",
    ]
    assert cli.main(["history", "2026-02-01", *data, later]) == 0
    assert capsys.readouterr().out == f"no incident is remembered in folder {world.stores.folder}\n"
    assert cli.main([*acknowledge[:-1], later]) == 2
    assert "the canary phase2-canary has no open incident of phase2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("many", "words"),
    [(1, "an earlier incident is not kept"), (2, "2 earlier incidents are not kept")],
)
def test_the_history_says_what_it_has_not(many: int, words: str) -> None:
    """However many."""
    assert list(_lines("phase2", DAY, DateMemory(forgotten=many))) == [f"phase2 {DAY}: {words}"]


def test_a_date_that_got_stuck_while_the_canary_was_away(world: World) -> None:
    """Each date from the last run's window on is judged as far as it is read, or listed."""
    heard = RecordingChannel()
    world.healthy(until=DAY - timedelta(days=1), days=7)
    world.watch(heard, NOW - timedelta(days=1))
    world.play(DAY, drifted=True, output=False)
    world.watch(heard, NOW + timedelta(days=5))
    assert heard.told == [(NotificationKind.OPENED, DAY)]
    world.watch(heard, NOW + timedelta(days=40), NOW + timedelta(days=40, minutes=15))
    assert heard.kinds == [NotificationKind.OPENED, NotificationKind.EXPIRED]
    said = "the canary was away, and does not look at these dates any more: phase2"
    assert heard.warnings == [
        f"{said} 2026-02-09 to 2026-02-10",
        f"{said} 2026-02-15 to 2026-03-17",
    ]


def test_what_the_canary_saw_first_is_remembered(world: World) -> None:
    """The set complete, the flag, and output; a quiet date, too."""
    world.healthy(days=1)
    world.watch(RecordingChannel(), NOW, NOW + TICK)
    ref = month_ref(DEFAULT_CANARY, "phase2", f"{DAY:%Y-%m}")
    memory = read_date(world.stores.documents.get_all([ref]).get(ref), DAY, NOW + TICK)
    assert (memory.verdict, memory.complete_at, memory.flag_at, memory.output_at) == (
        VerdictKind.TRIGGERED,
        NOW,
        NOW,
        NOW,
    )


def test_a_tracker_that_renews_its_times_hides_nothing(world: World) -> None:
    """The set was complete when the canary saw that, whatever is written over it at each report."""
    heard = RecordingChannel()
    world.play(DAY, drifted=True)
    names, before = sorted(world.situation.phases["phase2"].expected), NOW - timedelta(hours=1)
    for number in range(4):
        at = before + number * TICK
        world.write(DAY, {name: {"completed_at": at, "registered_at": at} for name in names})
        world.watch(heard, at)
    assert (NotificationKind.OPENED, DAY) in heard.told


def test_a_document_that_a_ttl_took_away_is_no_unset_flag(world: World) -> None:
    """The canary has seen the flag set."""
    heard = RecordingChannel()
    world.healthy(days=2)
    world.watch(heard, NOW)
    counting = Counting(world)
    real, gone = counting._documents, DocumentRef("phase2_completion", str(DAY))
    counting.get_all = lambda refs: real.get_all([ref for ref in refs if ref != gone])  # type: ignore[method-assign]
    report = watch(counting.stores, world.situation.phases, Channels(heard), NOW + TICK)
    (verdict,) = (one for one in report.verdicts if one.game_date == DAY)
    assert (verdict.kind, heard.told) == (VerdictKind.TRIGGERED, [])
    assert any("there is no phase2_completion" in note for note in verdict.notes)


# The time that nobody saw


def test_runs_that_did_not_come_leave_a_time_unseen() -> None:
    """From the last run to the next one, where that is two runs late; what cannot be is none."""
    runs = after_a_run(Runs(), NOW, "")
    runs = after_a_run(runs, NOW + TICK, "")
    assert runs == Runs(at=NOW + TICK)
    runs = after_a_run(runs, NOW + 5 * TICK, "")
    assert runs.unseen == (Unseen(NOW + TICK, NOW + 5 * TICK, "no run"),)
    assert runs.unseen_since(NOW + 3 * TICK) == 2 * TICK
    assert after_a_run(Runs(at=NOW + TICK), NOW, "") == Runs(at=NOW)


def test_runs_that_could_not_tell_are_one_time() -> None:
    """Until the first that could; after 30 days it is forgotten."""
    runs = Runs()
    for number, reason in enumerate(["", "503", "503", ""]):
        runs = after_a_run(runs, NOW + number * TICK, reason)
    assert runs.unseen == (Unseen(NOW + TICK, NOW + 3 * TICK, "503"),)
    later = after_a_run(
        Runs(at=NOW + timedelta(days=40), unseen=runs.unseen),
        NOW + timedelta(days=40, minutes=15),
        "",
    )
    assert later.unseen == ()


def test_a_month_of_passing_faults_stays_small() -> None:
    """With other words each time: the last 200 times, each in a few words."""
    runs = Runs()
    for number in range(30 * 96):
        runs = after_a_run(
            runs, NOW + number * TICK, f"{number} " + "x" * 2_000 if number % 2 else ""
        )
    assert len(runs.unseen) == MOST_UNSEEN
    assert len(str(runs_fields(runs))) < 100_000


@pytest.mark.parametrize("odd", [None, 7, [], {"at": NOW}, [7, {"since": NOW}, {}]])
def test_an_odd_record_of_runs_does_no_harm(odd: object) -> None:
    """What can be read of it counts."""
    fields = {
        **runs_fields(Runs(at=NOW, reason="503")),
        "unseen": odd,
        "open": odd,
        "judged_from": odd,
    }
    found = read_runs(Document(fields, "1"))
    assert (found.at, found.reason, found.unseen) == (NOW, "503", ())


def test_the_page_says_when_the_canary_ran_and_did_not_see(world: World) -> None:
    """A run after two hours of none."""
    world.healthy(days=2)
    world.watch(RecordingChannel(), NOW - timedelta(hours=2), NOW)
    found = overview(world.stores, world.situation.phases, NOW + TICK, 30)
    shown = board(found, world.situation.phases, None, CommandLine(), lambda *_: None)
    assert shown.runs.at == NOW
    assert shown.phases[0].month.blind == timedelta(hours=2)


_unseen = odd({"since": AT, "until": AT + timedelta(hours=1), "why": "no run"}, values)
_run = odd({"at": AT, "reason": "", "unseen": []}, values | st.lists(_unseen, max_size=3))


_REFUSAL = odd({"address": "", "at": AT, "reason": "a\x1b[31m\nb"}, values)
_fields = st.builds(
    lambda run, refusals: {**run, "refusals": refusals},
    _run,
    values | st.dictionaries(st.sampled_from(["log", "slack"]), _REFUSAL | values),
)


@fuzzed(50)
@given(_fields | st.dictionaries(texts, values, max_size=3))
def test_whatever_is_noted_of_runs_is_read(fields: dict[str, Any]) -> None:
    """What is noted of runs is read as it was written, and a channel's refusal is one line."""
    runs = read_runs(Document(fields, "1"))
    assert runs.unseen_since(datetime(2026, 1, 1, tzinfo=UTC)) >= timedelta()
    assert all(refusal_text(name, refusal).isprintable() for name, refusal in runs.refusals.items())
    later = after_a_run(runs, AT, "a reason")
    assert read_runs(Document(runs_fields(later), "1")) == later
