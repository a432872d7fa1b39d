"""`canary backtest` sees nothing that came later, says what the canary said, writes nothing."""

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from msgspec.structs import replace

import canary.sources
from canary.commands import cli
from canary.domain.incident import NotificationKind
from canary.domain.remembered import (
    MEMORY,
    Runs,
    Unseen,
    canary_ref,
    date_memory,
    month_refs,
    read_runs,
)
from canary.domain.verdict import Level, VerdictKind
from canary.notify.channel import Channels
from canary.playback.backtest import (
    Backtest,
    BacktestSpan,
    PlayedDate,
    PlayedIncident,
    SentMessage,
    play_backtest,
    span_of,
)
from canary.playback.compared import Checked, Reported, checked, differences, read_reported
from canary.playback.demo import at_minute, track
from canary.playback.schedule import ticks
from canary.playback.snapshot import Snapshot
from canary.run import watch
from evaluation import play
from evaluation.world import World
from orchestrator_resilience import Phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import ConfigurationError, StoreError
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.doubles import RecordingChannel, StoresOf, Watched

DAYS = [date(2026, 2, day) for day in (9, 10, 11)]
BEGIN, END = datetime(2026, 2, 9, 12, tzinfo=UTC), datetime(2026, 2, 13, 18, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# Something that happened at a time.
Event = tuple[datetime, Callable[[EmbeddedStores, SimulatedClock, Phase], None]]


def messages(found: Backtest, until: datetime = END) -> list[tuple[date, SentMessage]]:
    """Return what would have been sent by a time."""
    sent = [(incident.game_date, one) for incident in found.incidents for one in incident.messages]
    return [(day, one) for day, one in sent if one.at <= until]


# No look-ahead


def events(seed: int, phase: Phase) -> list[Event]:
    """Draw deliveries of some dates, to this orchestrator or to an older one that never decides."""
    rng = random.Random(f"{seed}/backtest")
    found = list[Event]()
    for day in DAYS:
        is_old = rng.random() < 0.4
        for number, processor in enumerate([*sorted(phase.expected), "p2_somebody_else"]):
            at = at_minute(day, 18 * 60) + rng.random() * 26 * HOUR
            reports = [("failed", at - HOUR)] if rng.random() < 0.3 else []
            reports += [("success", at)] if rng.random() < 0.85 else []
            for status, moment in reports:
                envelope = push_envelope(
                    processor, str(day), moment, message_id=f"{day}{number}{status}", status=status
                )
                found.append(
                    (moment + MINUTE, _delivery(envelope, is_old=is_old and status == "success"))
                )
    return sorted(found, key=lambda event: event[0])


def _delivery(
    envelope: dict[str, Any], *, is_old: bool
) -> Callable[[EmbeddedStores, SimulatedClock, Phase], None]:
    def deliver(stores: EmbeddedStores, clock: SimulatedClock, phase: Phase) -> None:
        logger = CheckpointLogger(phase, stores.checkpoints, clock=clock)
        if is_old:
            completion = Completion.from_event(envelope, phase)
            with logger.delivery_of(completion):
                track(completion, phase, stores.documents, stores.completion_log, clock.now)
        else:
            Orchestrator(
                phase, stores.documents, stores.completion_log, logger, clock, beside=AtOnce
            ).deliver(envelope)

    return deliver


def stores_by(folder: Path, seed: int, phase: Phase, now: datetime) -> EmbeddedStores:
    """Return stores in which is what happened by a time."""
    stores, clock = EmbeddedStores(folder, durable=False), SimulatedClock(now)
    for clock.now, happens in events(seed, phase):
        if clock.now <= now:
            happens(stores, clock, phase)
    return stores


@pytest.mark.parametrize("seed", range(4))
def test_it_sees_nothing_that_came_later(phase: Phase, tmp_path: Path, seed: int) -> None:
    """On all that there is, a run tells what it tells on what there was at its time."""
    now = BEGIN + random.Random(seed).random() * (END - BEGIN)
    with (
        stores_by(tmp_path / "all", seed, phase, END) as every,
        stores_by(tmp_path / "then", seed, phase, now) as then,
    ):
        told = play_backtest(
            every, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, END), END
        )
        told_then = play_backtest(
            then, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, now), now
        )
    assert messages(told, now) == messages(told_then, now)


def test_something_is_told_of_these(phase: Phase, tmp_path: Path) -> None:
    """So that the test above has something to compare, of each kind."""
    told = []
    for seed in range(2):
        with stores_by(tmp_path / str(seed), seed, phase, END) as stores:
            told += messages(
                play_backtest(
                    stores, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, END), END
                )
            )
    assert {VerdictKind.INCOMPLETE, VerdictKind.UNTRIGGERED} <= {one.verdict for _, one in told}
    assert {NotificationKind.OPENED, NotificationKind.RESOLVED} <= {one.kind for _, one in told}


# Fidelity


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


# What befalls the pipeline; of what befalls the canary itself, such as a source that did not
# answer, nothing tells.
FAULTS = (
    "crashed_at_the_flag",
    "write_failed_at_the_flag",
    "short_circuit",
    "waits_for_too_many",
    "flag_overwritten",
    "rejected",
    "renamed",
    "failed",
    "dead_pipeline",
    "repaired_before",
    "clock_behind",
    "slack_away",
    "delivery_lost",
    "row_write_failed",
    "counted_an_unexpected_one",
    "package_is_missing",
    "gate_refuses",
)

UNTRIGGERED = (
    "crashed_at_the_flag",
    "short_circuit",
    "clock_ahead",
    "waits_for_too_many",
    "flag_overwritten",
    *("clock_behind", "repaired_before"),
)


def played(
    phase: Phase, fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[World, Backtest]:
    """Let a world with the real canary play, and then run it over what that has left."""
    worlds = list[World]()
    first = list[datetime]()

    class Kept(World):
        """A world that is looked at when it is over."""

        def run_every_quarter_hour(self, begin: datetime, until: datetime) -> None:
            worlds.append(self)
            first.append(begin)
            super().run_every_quarter_hour(begin, until)

    monkeypatch.setattr(play, "World", Kept)
    play.play_fault(phase, fault, f"backtest/{fault}/1", folder)
    world = worlds[0]
    now = world.schedule.clock.now
    time = BacktestSpan({world.phase.name: sorted(world.judged)}, first[0], now)
    try:
        return world, play_backtest(world._seen, {world.phase.name: world.phase}, time, now)
    finally:
        world.stores.close()


def is_alike(world: World, one: PlayedDate) -> bool:
    """Whether it tells of a date what the real canary told."""
    told = [
        (t.at, t.notification, t.verdict, t.level, t.causes)
        for t in world.heard("log", one.game_date)
    ]
    sent = [m for incident in one.incidents for m in incident.messages]
    return [(m.at, m.kind, m.verdict, m.level, frozenset(m.causes)) for m in sent] == told


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(
    ("asks", "fault"),
    [
        *(("rows and documents", fault) for fault in FAULTS),
        # of which hardly a date is known
        *(("output and work as well", fault) for fault in FAULTS[::6]),
    ],
)
def test_it_tells_what_the_real_canary_told(
    phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, asks: str
) -> None:
    """Each alert has its time, date, severity and reason, unless these cannot be known."""
    if asks == "rows and documents":
        monkeypatch.setattr(play, "OUTCOME_QUERY", None)
        monkeypatch.setattr(play, "WORK_QUERY", None)
    world, found = played(phase, fault, tmp_path, monkeypatch)
    known = [one for one in found.dates if not one.as_of_today]
    assert [one.game_date for one in known if not is_alike(world, one)] == []
    assert asks != "rows and documents" or known


@pytest.mark.usefixtures("_one_thread")
def test_most_of_what_is_untriggered_can_be_known(
    phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 80 % of those dates, with rows and documents alone."""
    monkeypatch.setattr(play, "OUTCOME_QUERY", None)
    monkeypatch.setattr(play, "WORK_QUERY", None)
    dates = list[PlayedDate]()
    for fault in UNTRIGGERED:
        dates += played(phase, fault, tmp_path / fault, monkeypatch)[1].dates
    untriggered = [
        one
        for one in dates
        if VerdictKind.UNTRIGGERED in {incident.verdict for incident in one.incidents}
    ]
    assert len(untriggered) >= 6
    assert sum(not one.as_of_today for one in untriggered) >= 0.8 * len(untriggered)


def test_a_flag_that_was_undone_is_not_taken_for_known(phase: Phase, tmp_path: Path) -> None:
    """A flag whose row is hours older than the document's may have been undone in between."""
    ref = DocumentRef(phase.firestore_collection, str(DAYS[0]))
    with stores_by(tmp_path, 1, phase, BEGIN) as stores:
        clock = SimulatedClock(at_minute(DAYS[0], 25 * 60))
        for number, processor in enumerate(sorted(phase.expected)):
            envelope = push_envelope(processor, str(DAYS[0]), clock.now, message_id=str(number))
            _delivery(envelope, is_old=False)(stores, clock, phase)
        stores.documents.merge(ref, {"_triggered_at": clock.now + 5 * HOUR})
        (one, *_) = play_backtest(
            stores, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, END), END
        ).dates
    assert any("undone" in reason and "the flag" in reason for reason in one.as_of_today)


# Read-only, and what cannot be read


def test_it_writes_nothing_and_leaves_the_memory_alone(phase: Phase, tmp_path: Path) -> None:
    """Not even a live canary's memory is read: what it has sent does not change what is played."""
    asked: list[Any] = []

    def watched(operation: Any, act: Callable[[], Any]) -> Any:
        assert not operation.writes, operation
        asked.extend(operation.arguments[0])
        return act()

    with stores_by(tmp_path, 2, phase, END) as stores:
        time = BacktestSpan({phase.name: DAYS}, BEGIN, END)
        before = play_backtest(stores, {phase.name: phase}, time, END)
        watch(stores, {phase.name: phase}, Channels(RecordingChannel()), END)
        read_only = StoresOf(
            documents=Watched(stores.documents, watched),
            completion_log=Watched(stores.completion_log, watched),
            checkpoints=stores.checkpoints,
        )
        assert play_backtest(read_only, {phase.name: phase}, time, END) == before
    assert asked
    assert MEMORY not in {ref.collection for ref in asked}


class _Down:
    """A source that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_: object) -> NoReturn:
            raise StoreError(f"{name}: 403 you may not")

        return refuse


def test_a_source_that_cannot_be_read_is_said(phase: Phase, tmp_path: Path) -> None:
    """A source that cannot be read is named once on each date that it could have changed."""
    with stores_by(tmp_path, 1, phase, END) as stores:
        double = StoresOf(stores.documents, stores.completion_log, checkpoints=_Down())
        found = play_backtest(
            double, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, END), END
        )
    assert found.failures == {"checkpoints": "read: 403 you may not"}
    assert all(
        one.as_of_today == ("not readable: read: 403 you may not",) for one in found.notified
    )


@pytest.mark.parametrize("source", ["documents", "completion_log"])
def test_nothing_is_told_without_what_every_verdict_needs(
    phase: Phase, tmp_path: Path, source: str
) -> None:
    """Rather than dates that are all unknown."""
    with stores_by(tmp_path, 1, phase, END) as stores:
        sources: dict[str, Any] = {
            "documents": stores.documents,
            "completion_log": stores.completion_log,
            source: _Down(),
        }
        with pytest.raises(StoreError, match="403 you may not"):
            play_backtest(
                StoresOf(**sources, checkpoints=stores.checkpoints),
                {phase.name: phase},
                BacktestSpan({phase.name: DAYS}, BEGIN, END),
                END,
            )


def test_a_snapshot_takes_no_writes(phase: Phase, tmp_path: Path) -> None:
    """But those of what the canary remembers."""
    with stores_by(tmp_path, 1, phase, BEGIN) as stores:
        snapshot = Snapshot(
            stores, {phase.name: phase}, (DAYS[0], DAYS[-1]), SimulatedClock(END), END
        )
        ref = DocumentRef(phase.firestore_collection, "2026-02-09")
        remembered = DocumentRef(MEMORY, "phase2-canary")
        for write in (
            lambda: snapshot.documents.merge(ref, {}),
            lambda: snapshot.documents.update_if_unchanged(ref, {}, None),
            lambda: snapshot.documents.commit([(ref, {}, None)]),
            lambda: snapshot.completion_log.append([], now=END),
            snapshot.completion_log.setup,
        ):
            with pytest.raises(StoreError, match="nothing is written into the past"):
                write()
        assert snapshot.documents.commit([(remembered, {"a": 1}, None)])
        assert not snapshot.documents.commit([(remembered, {"a": 2}, None)])
        assert snapshot.documents.get_all([remembered])[remembered].fields == {"a": 1}
        assert stores.documents.get_all([remembered]) == {}


# The command


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play the demo, and return its folder."""
    folder = tmp_path_factory.mktemp("backtest") / "demo"
    assert cli.main(["demo", "--out", str(folder)]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Return what the command prints, and its exit code."""
    capsys.readouterr()
    code = cli.main(["backtest", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_the_demo_is_told_again(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each date from the first one on, its incidents, and the sums."""
    code, text = told(capsys, "--data", demo)
    assert code == 0
    rows = [line for line in text.splitlines() if line.startswith("phase2 2026-02-")]
    assert [row.split()[1] for row in rows][:2] == ["2026-02-08", "2026-02-09"]
    assert "UNTRIGGERED" in rows[1]
    assert (
        "△ WARNING · 2026-02-09 · UNTRIGGERED, SHORT_CIRCUIT · notified 2026-02-10 07:15Z, "
        "RESOLVED after"
    ) in text
    assert "3 notified" in text
    assert "counted, not judged" in text


def test_the_demo_as_json(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, with each message; --until and --days say which dates."""
    code, text = told(capsys, "--data", demo, "--json", "--until", "2026-02-10", "--days", 2)
    found = json.loads(text)
    assert code == 0
    assert [one["game_date"] for one in found["dates"]] == ["2026-02-09", "2026-02-10"]
    assert [[m["kind"] for m in i["messages"]] for i in found["dates"][0]["incidents"]] == [
        ["OPENED", "REMINDER", "RESOLVED"]
    ]
    assert found["dates"][0]["as_of_today"] == ["no time says when it came: the output of Phase 3"]


def test_the_demo_as_a_page(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row with a bar for each date with an incident, in one file that loads nothing."""
    page = tmp_path / "page.html"
    assert told(capsys, "--data", demo, "--html", page) == (0, f"wrote {page}\n")
    text = page.read_text("utf-8")
    assert text.count('class="sent warn"') == 3
    assert "2026-02-11 · UNTRIGGERED, EXPECTATION_DRIFT" in text
    assert "http://" not in text


def test_dates_of_which_there_is_nothing(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and accuses nobody."""
    assert told(capsys, "--data", demo, "--until", "2025-02-10") == (
        0,
        f"nothing is there of these dates in folder {demo}\n",
    )


def test_what_cannot_be_read_ends_with_2(
    demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a source that every verdict needs does not answer, and where another does not."""
    found = Backtest(
        BEGIN, END, 1, (PlayedDate("phase2", DAYS[0]),), failures={"dead letters": "403"}
    )
    monkeypatch.setattr("canary.commands.backtest.play_backtest", lambda *_: found)
    code, text = told(capsys, "--data", demo)
    assert code == 2
    assert "not readable: the dead letters: 403" in text


def test_the_period(phase: Phase) -> None:
    """It ends when nobody looks at the last date any more, and not after now."""
    time = span_of({phase.name: phase}, 3, END, DAYS[-1])
    assert time.dates == {phase.name: DAYS}
    assert time.begin == phase.begins(DAYS[0]) - phase.lookback_dates * timedelta(days=1)
    assert time.end == END


# Held against something


def test_another_phases_file(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would come later, what would be gone, and what would be another cause."""
    text = (demo / "phases.toml").read_text("utf-8")
    (later := tmp_path / "later.toml").write_text(
        text.replace("untriggered_after_minutes = 30", "untriggered_after_minutes = 120"), "utf-8"
    )
    assert later.read_text("utf-8") != text
    code, printed = told(capsys, "--data", demo, "--against", later)
    assert code == 0
    assert "the other phases file: 3 differences" in printed
    assert "phase2 2026-02-11: notified 1 h 30 min later" in printed


def test_how_two_backtests_differ() -> None:
    """Each kind of difference, in words."""

    def found(*incidents: PlayedIncident) -> Backtest:
        return Backtest(BEGIN, END, 1, (PlayedDate("phase2", DAYS[0], incidents),))

    def incident(
        at: datetime, *causes: str, over: datetime | None = None, bad: Level = Level.ERROR
    ) -> PlayedIncident:
        sent = [SentMessage(at, NotificationKind.OPENED, VerdictKind.UNTRIGGERED, bad, causes)]
        ends = (
            [SentMessage(over, NotificationKind.RESOLVED, VerdictKind.TRIGGERED, bad)]
            if over
            else []
        )
        return PlayedIncident("phase2", DAYS[0], (*sent, *ends))

    def whats(before: Backtest, after: Backtest) -> list[str]:
        return [one.what for one in differences(before, after)]

    one = incident(BEGIN, "CRASHED", over=BEGIN + HOUR)
    assert whats(found(one), found(one)) == []
    assert whats(found(), found(one)) == ["new: ERROR UNTRIGGERED, notified 2026-02-09 12:00Z"]
    assert whats(found(one), found()) == ["gone: ERROR UNTRIGGERED, notified 2026-02-09 12:00Z"]
    other = incident(BEGIN - HOUR, over=BEGIN + 3 * HOUR, bad=Level.CRITICAL)
    assert whats(found(one), found(other)) == [
        "another verdict: CRITICAL UNTRIGGERED, not ERROR UNTRIGGERED",
        "another cause: none that is proven, not CRASHED",
        "notified 1 h 00 min earlier",
        "over 2 h 00 min later",
    ]
    assert whats(found(one), found(incident(BEGIN, "CRASHED"))) == ["not over"]
    assert whats(found(incident(BEGIN, "CRASHED")), found(one)) == [
        "over 2026-02-09 13:00Z, which it was not"
    ]


REPORTED = [
    Reported("phase2", date(2026, 2, 11), "no Phase 3", datetime(2026, 2, 12, 6, 41, tzinfo=UTC)),
    Reported("phase2", date(2026, 2, 8)),
    Reported("phase2", date(2020, 1, 1)),
]


CSV = (
    "date,phase,started,ended,what\n2026-02-11,phase2,2026-02-12T06:41:00Z,,no Phase 3\n"
    "2026-02-08,phase2,,,\n2020-01-01,,,,\n"
)
JSON = (
    '{"date": "2026-02-11", "phase": "phase2", "started": "2026-02-12T06:41:00Z", '
    '"what": "no Phase 3"}\n\n'
    '{"date": "2026-02-08"}\n{"date": "2020-01-01"}\n'
)


def test_what_was_wrong(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was wrong is listed with when it would have been notified of, and what would not."""
    assert (
        read_reported(CSV, "file", ["phase2"])
        == read_reported(JSON, "file", ["phase2"])
        == REPORTED
    )
    (file := tmp_path / "incidents").write_text(CSV, "utf-8")
    _, printed = told(capsys, "--data", demo, "--incidents", file)
    assert "1 of 2 that were reported would have been notified of" in printed
    assert (
        "2026-02-11, no Phase 3: UNTRIGGERED, notified 2026-02-12 07:15Z, 34 min after it started"
        in printed
    )
    assert "2026-02-08: nothing would have been sent" in printed
    assert "2020-01-01: not one of these dates" in printed
    assert "besides: 2026-02-09 UNTRIGGERED, 2026-02-10 UNTRIGGERED" in printed
    found = json.loads(told(capsys, "--data", demo, "--incidents", file, "--json")[1])[
        "incidents_file"
    ]
    assert [one["notified_at"] for one in found["reported"]] == ["2026-02-12T07:15:00+00:00", None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("date\n2026-02-11\n09/02\n", "file:3: date: not a date such as 2026-02-09: '09/02'"),
        ("day\n2026-02-11\n", "file:2: date: not a date such as 2026-02-09: None"),
        ("date,phase\n2026-02-11,phase9\n", "file:2: phase: not one of ['phase2']: 'phase9'"),
        ("date,started\n2026-02-11,noon\n", "file:2: started: not a time with its zone, such as"),
        (
            "date,ended\n2026-02-11,2026-02-12T00:00:00\n",
            "file:2: ended: not a time with its zone, such as",
        ),
        ('{"date": "2026-02-11"}\n{"date"\n', "file:2: not JSON"),
        ('{"date": "2026-02-11"}\n[]\n', "file:2: not an object"),
        (
            '{"date": "2026-02-11", "started": 5}',
            "file:1: started: not a time with its zone, such as",
        ),
        ('{"date": "2026-02-11", "phase": 5}', "file:1: phase: not one of"),
        (
            "date,what\n2026-02-11," + 200_000 * "x",
            "file:1: not CSV: field larger than field limit",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_line(text: str, said: str) -> None:
    """Of what was wrong."""
    with pytest.raises(ConfigurationError) as error:
        read_reported(text, "file", ["phase2"])
    assert said in str(error.value)


def test_bad_files_end_with_2(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is played."""
    (bad := tmp_path / "bad.csv").write_text("date\nnever\n", "utf-8")
    (phases := tmp_path / "bad.toml").write_text("[phase2]\nnobody = 1\n", "utf-8")
    for arguments in (
        ["--incidents", bad],
        ["--incidents", tmp_path / "none"],
        ["--against", phases],
    ):
        assert cli.main(["backtest", "--data", str(demo), *map(str, arguments)]) == 2
        assert str(arguments[1]) in capsys.readouterr().err


def test_beside_a_live_canary(phase: Phase, tmp_path: Path) -> None:
    """Both agree wherever both know the same; what cannot be known or was silenced is a reason."""
    live = Channels(RecordingChannel())
    with stores_by(tmp_path, 2, phase, BEGIN) as stores:
        clock = SimulatedClock(BEGIN)
        left = [event for event in events(2, phase) if event[0] > BEGIN]
        for tick in ticks(BEGIN, END):
            while left and left[0][0] <= tick:
                clock.now, happens = left.pop(0)
                happens(stores, clock, phase)
            watch(stores, {phase.name: phase}, live, tick + 3 * MINUTE, beside=AtOnce)
        found = play_backtest(
            stores, {phase.name: phase}, BacktestSpan({phase.name: DAYS}, BEGIN, END), END
        )
        documents = stores.documents.get_all(
            [canary_ref(live.canary), *month_refs(live.canary, phase.name, DAYS)]
        )
    memories = {
        (phase.name, day): date_memory(documents, live.canary, phase.name, day) for day in DAYS
    }
    runs = read_runs(documents.get(canary_ref(live.canary)))
    assert found.notified
    assert checked(found, memories, runs) == Checked(len(DAYS))
    day = found.notified[0].game_date
    of_day = memories[phase.name, day]
    silenced = replace(
        of_day, incidents=tuple(replace(i, silenced=True, events=()) for i in of_day.incidents)
    )
    for memory, ran, why in (
        (silenced, Runs(), "it was silenced"),
        (replace(of_day, incidents=()), Runs(), "nothing that is known"),
        (
            replace(of_day, incidents=()),
            Runs(unseen=(Unseen(BEGIN, END, "no run"),)),
            "the canary did not see from",
        ),
    ):
        live_check = checked(found, {**memories, (phase.name, day): memory}, ran)
        assert [(one.game_date, one.why.startswith(why)) for one in live_check.differences] == [
            (day, True)
        ]
        assert live_check.percent == 66
    assert checked(found, {}, runs).percent is None


def test_check_on_the_demo(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The share on top, and the one date whose change came of an output that has no time."""
    code, printed = told(capsys, "--data", demo, "--check")
    assert code == 0
    assert printed.startswith("83 % alike: 6 dates that the live canary has judged\n")
    assert (
        "phase2 2026-02-11: it sent CHANGED UNTRIGGERED 2026-02-12 07:45Z, here it is RESOLVED"
        in printed
    )
    assert "no time says when it came: the output of Phase 3" in " ".join(printed.split())
    assert (
        json.loads(told(capsys, "--data", demo, "--check", "--json")[1])["check"]["percent_alike"]
        == 83
    )
