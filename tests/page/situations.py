"""What somebody who is woken at 7 may see, made by the real orchestrator and canary on simulated time."""

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
from canary.domain.remembered import DEFAULT_CANARY
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
from orchestrator_resilience.stores.base import DocumentRef, Stores
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


@dataclass(frozen=True)
class Situation:
    """Stores as they are at NOW, and the phases by which they are judged."""

    stores: Stores
    phases: Mapping[str, Phase]

    def canary(self, *channels: Channel) -> Canary:
        """Return the function over these stores."""
        return Canary(self.stores, self.phases, Channels(*channels), None, CommandLine())


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
    """Embedded stores in a folder, with the tables that tell of the games and of what Phase 3 wrote."""

    def __init__(self, folder: Path) -> None:
        self.phase = demo_phase()
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

    def play(self, day: date, *, drifted: bool = False, output: bool = True, skipped: str = "") -> None:
        """Deliver the five of a date, to an orchestrator that waits for one more where it has `drifted`."""
        also = {"p2_bdl_box_scores": ()} if drifted else {}
        waits_for = msgspec.structs.replace(self.phase, processors={**self.phase.processors, **also})
        checkpoints = CheckpointLogger(waits_for, self.stores.checkpoints, clock=self._clock)
        documents, log = self.stores.documents, self.stores.completion_log
        orchestrator = Orchestrator(waits_for, documents, log, checkpoints, self._clock, beside=AtOnce)
        for number, (processor, minute) in enumerate(MINUTES.items()):
            at = at_minute(day, minute)
            self._clock.now = at + timedelta(seconds=1)
            if processor != skipped:
                orchestrator.deliver(push_envelope(processor, str(day), at, message_id=f"{day:%m%d}{number}"))
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

    def write(self, day: date, fields: Mapping[str, Any]) -> None:
        """Write into a date's progress document, as somebody else might."""
        self.stores.documents.merge(DocumentRef(self.phase.firestore_collection, str(day)), fields)

    def _add(self, name: str, day: date, count: int) -> None:
        dataset, table = name.split(".")
        with closing(sqlite3.connect(self._datasets / f"{dataset}.sqlite3")) as connection, connection:
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
    """The flag of one date is unset, and Phase 3 has nothing of 14 games."""
    return _stuck(folder, output=False).situation


def unreadable(folder: Path) -> Situation:
    """Firestore does not answer; the completion log does."""
    world = World(folder)
    world.healthy()

    def refused(*_: Any, **__: Any) -> Any:
        raise StoreError("PermissionDenied: 403 Missing or insufficient permissions; roles/datastore.viewer helps")

    documents = SimpleNamespace(get_all=refused, merge=refused, update_if_unchanged=refused, commit=refused)
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
    expires_at = NOW + timedelta(hours=12)
    why = "the Phase 3 team mends it by noon"
    wanted = {"phase": "phase2", "first": DAY, "last": DAY, "reason": why, "expires_at": expires_at}
    add_silence(world.stores.documents, DEFAULT_CANARY, now=NOW, **wanted)
    return world.situation


def empty(folder: Path) -> Situation:
    """Nothing has ever arrived, and no query tells of games."""
    return Situation(EmbeddedStores(folder, durable=False), {"phase2": load_phase("phase2", BUNDLED_PHASES)})


def _stuck(folder: Path, *, output: bool) -> World:
    world = World(folder)
    world.healthy(until=DAY - timedelta(days=1), days=12)
    world.play(DAY, drifted=True, output=output)
    world.watch(RecordingChannel())
    return world


SITUATIONS: Mapping[str, Callable[[Path], Situation]] = {
    made.__name__: made for made in (all_well, untriggered, blocked, unreadable, several_dates, silenced, empty)
}
