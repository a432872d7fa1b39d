"""What a person woken at 7 may see, made by the real orchestrator and canary."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from canary.commands.silence import add_silence
from canary.domain.incident import DateMemory, Event, Incident, NotificationKind
from canary.domain.remembered import DEFAULT_CANARY, month_fields, month_ref, read_date
from canary.domain.silence import Acknowledgement, acknowledgement_fields, people_ref
from canary.domain.verdict import Level, VerdictKind
from canary.function import Canary
from canary.notify.channel import Channel, Channels
from canary.notify.message import CommandLine
from canary.playback.demo import at_minute, demo_phase
from canary.run import watch
from orchestrator_resilience import CheckpointLogger, Phase, load_phase
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.base import Change, Changes, Component, DocumentRef, Stores
from orchestrator_resilience.stores.embedded import DATASETS, EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.doubles import RecordingChannel

DAY = date(2026, 2, 11)
NOW = datetime(2026, 2, 12, 7, 45, tzinfo=UTC)
MINUTES = {
    "OddsApiGameLinesBatchProcessor": 18 * 60 + 4,
    "OddsApiPropsBatchProcessor": 18 * 60 + 11,
    "BigDataBallPbpProcessor": 25 * 60 + 17,
    "NbacGamebookProcessor": 25 * 60 + 33,
    "NbacPlayerBoxscoreProcessor": 25 * 60 + 41,
}
GAMES = 14
_OPENED = datetime(2026, 1, 27, 17, 1, tzinfo=UTC)
EXPIRED = DateMemory(
    verdict=VerdictKind.INCOMPLETE,
    incidents=(
        Incident(
            kind=VerdictKind.INCOMPLETE,
            level=Level.CRITICAL,
            opened_at=_OPENED,
            ended=NotificationKind.EXPIRED,
            over_at=_OPENED + timedelta(days=7),
            reminders={"slack": 12},
            reminded_at=_OPENED + timedelta(days=6),
            events=(
                Event(
                    what="OPENED",
                    at=_OPENED,
                    to=("slack",),
                    unanswered=("log",),
                    verdict=VerdictKind.INCOMPLETE,
                ),
                Event(
                    what="ACKNOWLEDGED", at=_OPENED + timedelta(hours=1), by="bob", why="tomorrow"
                ),
                Event(
                    what="EXPIRED",
                    at=_OPENED + timedelta(days=7),
                    to=("slack",),
                    verdict=VerdictKind.INCOMPLETE,
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Situation:
    """Stores as they are at NOW, and the phases by which they are judged."""

    stores: Stores
    phases: Mapping[str, Phase]

    def canary(self, *channels: Channel) -> Canary:
        """Return the function over these stores."""
        return Canary(
            self.stores,
            self.phases,
            Channels(*channels),
            None,
            CommandLine(several=len(self.phases) > 1),
        )


class _Other:
    """The same stores, with other documents."""

    def __init__(self, stores: Stores, documents: Any) -> None:
        self.documents, self._stores = documents, stores

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stores, name)


def other_documents(stores: Stores, documents: Any) -> Any:
    """Return the same stores with other documents."""
    return _Other(stores, documents)


class World:
    """Embedded stores in a folder, with the tables of the games and of what Phase 3 wrote."""

    def __init__(self, folder: Path) -> None:
        self.phase = demo_phase()
        self.counts = True  # whether what is played has games and output
        self._datasets = folder / DATASETS
        self._datasets.mkdir(parents=True)
        self.stores = EmbeddedStores(folder, durable=False)
        self._clock = SimulatedClock(NOW)
        for table in ("nba_analytics.player_game_summary", "nba_raw.schedule"):
            self._add(table, DAY, 0)

    @property
    def situation(self) -> Situation:
        """What the canary finds."""
        return Situation(self.stores, {self.phase.name: self.phase})

    def play(
        self,
        day: date,
        *,
        drifted: bool = False,
        output: bool = True,
        skipped: str = "",
        again: str = "",
    ) -> None:
        """Deliver the five of a date; a `drifted` orchestrator waits for one more.

        With `again` only that one is delivered, to a date that had the others.
        """
        also = {"p2_bdl_box_scores": ()} if drifted else {}
        waits_for = msgspec.structs.replace(
            self.phase, processors={**self.phase.processors, **also}
        )
        checkpoints = CheckpointLogger(waits_for, self.stores.checkpoints, clock=self._clock)
        documents, log = self.stores.documents, self.stores.completion_log
        orchestrator = Orchestrator(
            waits_for, documents, log, checkpoints, self._clock, beside=AtOnce
        )
        for number, (processor, minute) in enumerate(MINUTES.items()):
            at = at_minute(day, minute)
            self._clock.now = at + timedelta(seconds=1)
            if processor != skipped and again in {"", processor}:
                orchestrator.deliver(
                    push_envelope(processor, str(day), at, message_id=f"{day:%m%d}{number}")
                )
        if not again and self.counts:
            self._add("nba_raw.schedule", day, GAMES)
            self._add("nba_analytics.player_game_summary", day, 26 * GAMES * output)

    def healthy(self, *, days: int = 13, until: date = DAY) -> None:
        """Play healthy dates up to one, that one included."""
        for number in reversed(range(days)):
            self.play(until - timedelta(days=number))

    def watch(self, channel: Channel, *times: datetime) -> None:
        """Run the canary at these times."""
        for now in times or (NOW - timedelta(minutes=30), NOW - timedelta(minutes=15), NOW):
            watch(self.stores, {self.phase.name: self.phase}, Channels(channel), now)

    def silence(self, day: date) -> None:
        """Silence a date until the evening."""
        why = "the Phase 3 team mends it by noon"
        wanted = {
            "phase": "phase2",
            "first": day,
            "last": day,
            "reason": why,
            "expires_at": NOW + timedelta(hours=12),
        }
        add_silence(self.stores.documents, DEFAULT_CANARY, now=NOW, **wanted)

    def acknowledge(self, day: date, at: datetime, by: str = "alice") -> None:
        """Say that somebody has the incident of a date in hand."""
        phase = self.phase.name
        ref, people = month_ref(DEFAULT_CANARY, phase, f"{day:%Y-%m}"), people_ref(DEFAULT_CANARY)
        found = self.stores.documents.get_all([ref, people])
        incident = read_date(found.get(ref), day).incidents[-1]
        opened_at, note = incident.opened_at, "I am at it"
        added = Acknowledgement(
            phase=phase,
            game_date=day,
            at=at,
            opened_at=opened_at,
            level=incident.level,
            by=by,
            note=note,
        )
        self.stores.documents.merge(people, acknowledgement_fields(found.get(people), added))

    def remember(self, day: date, memory: DateMemory) -> None:
        """Let the canary remember this of a date."""
        ref = month_ref(DEFAULT_CANARY, self.phase.name, f"{day:%Y-%m}")
        self.stores.documents.merge(ref, month_fields(None, {day: memory}))

    def write(self, day: date, fields: Mapping[str, Any]) -> None:
        """Write into a date's progress document, as somebody else might."""
        self.stores.documents.merge(DocumentRef(self.phase.firestore_collection, str(day)), fields)

    def _add(self, name: str, day: date, count: int) -> None:
        dataset, table = name.split(".")
        with (
            closing(sqlite3.connect(self._datasets / f"{dataset}.sqlite3")) as connection,
            connection,
        ):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (game_date TEXT NOT NULL)")
            connection.executemany(f"INSERT INTO {table} VALUES (?)", [(day.isoformat(),)] * count)  # noqa: S608


def all_well(folder: Path) -> Situation:
    """Each date is triggered."""
    world = World(folder)
    world.healthy()
    world.watch(RecordingChannel())
    return world.situation


def untriggered(folder: Path) -> Situation:
    """The flag of one date is unset, and Phase 3 has its output."""
    return _stuck(folder, output=True).situation


def blocked(folder: Path) -> Situation:
    """The flag of one date is unset since a deployment, and Phase 3 has nothing of 14 games."""
    world, at = _stuck(folder, output=False), NOW - timedelta(hours=10)
    deployed = Change(
        at, Component.SERVICE, "orchestrator", "deployed", "alice", "orchestrator-00042"
    )
    looked_at = [(Component.SERVICE, "orchestrator"), (Component.SUBSCRIPTION, "phase2-sub")]
    world.stores.changes = SimpleNamespace(
        changes=lambda *_: {"phase2": Changes([deployed], looked_at=looked_at)}
    )
    return world.situation


def unreadable(folder: Path) -> Situation:
    """Firestore does not answer; the completion log does."""
    world = World(folder)
    world.healthy()

    def refused(*_: Any, **__: Any) -> Any:
        raise StoreError(
            "PermissionDenied: 403 Missing or insufficient permissions; roles/datastore.viewer "
            "helps"
        )

    documents = SimpleNamespace(
        get_all=refused, merge=refused, update_if_unchanged=refused, commit=refused
    )
    return replace(world.situation, stores=other_documents(world.stores, documents))


def several_dates(folder: Path) -> Situation:
    """Three dates have one fault, and the last of them lacks Phase 3's output."""
    world = World(folder)
    world.healthy(until=DAY - timedelta(days=3), days=10)
    for number in (2, 1, 0):
        day = DAY - timedelta(days=number)
        world.play(day, drifted=True, output=number > 0)
        at = datetime(day.year, day.month, day.day, 7, 15, tzinfo=UTC) + timedelta(days=1)
        world.watch(RecordingChannel(), at, at + timedelta(minutes=15))
    world.watch(RecordingChannel())
    return world.situation


def silenced(folder: Path) -> Situation:
    """The blocked date is silenced, with a reason."""
    world = _stuck(folder, output=False)
    world.silence(DAY)
    return world.situation


def not_running(folder: Path) -> Situation:
    """Each date is triggered, and nothing has run the canary for three days."""
    world, ran_at = World(folder), NOW - timedelta(days=3)
    world.healthy(until=DAY - timedelta(days=3), days=10)
    world.watch(RecordingChannel(), ran_at - timedelta(minutes=15), ran_at)
    world.healthy(days=3)
    return world.situation


def many(folder: Path) -> Situation:
    """Dates with a fault of their own.

    One is acknowledged, one silenced, one over, and one looked at no longer.
    """
    world = World(folder)
    world.healthy(until=DAY - timedelta(days=5), days=7)
    world.remember(DAY - timedelta(days=16), EXPIRED)
    world.healthy(days=1, until=DAY - timedelta(days=16))
    odd = {"_unexpected": {"p2_new": {"status": "success", "reported_at": NOW - timedelta(days=2)}}}
    faults: dict[int, Mapping[str, Any]] = {
        4: {"output": False},
        3: {"skipped": "BigDataBallPbpProcessor"},
        2: {"skipped": "NbacPlayerBoxscoreProcessor"},
        1: {"skipped": "NbacGamebookProcessor", "output": False},
    }
    for number, fault in faults.items():
        day = DAY - timedelta(days=number)
        world.play(day, **fault)
        at = world.phase.deadline(day)
        world.watch(
            RecordingChannel(), *(at + timedelta(minutes=minutes) for minutes in (1, 16, 300))
        )
    world.acknowledge(DAY - timedelta(days=1), NOW - timedelta(hours=8))
    world.silence(DAY - timedelta(days=4))
    world.write(DAY - timedelta(days=1), odd)
    world.play(DAY - timedelta(days=2), again="NbacPlayerBoxscoreProcessor")
    world.play(DAY, drifted=True, output=False)
    world.watch(RecordingChannel())
    return world.situation


def empty(folder: Path) -> Situation:
    """Nothing has ever arrived, and no query knows of games."""
    return Situation(
        EmbeddedStores(folder, durable=False), {"phase2": load_phase("phase2", BUNDLED_PHASES)}
    )


def _stuck(folder: Path, *, output: bool) -> World:
    world = World(folder)
    world.healthy(until=DAY - timedelta(days=1), days=12)
    world.play(DAY, drifted=True, output=output)
    world.watch(RecordingChannel())
    return world


def of_phases(folder: Path, count: int, faulty: int, *, days: int = 30) -> Situation:
    """Dates of so many phases, of one schedule; the last ones of the `faulty` lack their flag."""
    world, phases = World(folder), dict[str, Phase]()
    for number in range(count):
        name = f"phase{number:02}"
        phase = msgspec.structs.replace(demo_phase(), name=name, firestore_collection=name)
        world.phase, world.counts, phases[name] = phase, number == 0, phase
        for back in reversed(range(days)):
            stuck = number >= count - faulty and back < 2
            world.play(DAY - timedelta(days=back), drifted=stuck)
    watch(world.stores, phases, Channels(RecordingChannel()), NOW)
    return Situation(world.stores, phases)


def many_phases(folder: Path) -> Situation:
    """Two of seven phases wait in vain for two dates each."""
    return of_phases(folder, 7, 2, days=14)


SITUATIONS: Mapping[str, Callable[[Path], Situation]] = {
    made.__name__: made
    for made in (
        all_well,
        untriggered,
        blocked,
        unreadable,
        several_dates,
        silenced,
        empty,
        not_running,
        many,
        many_phases,
    )
}
