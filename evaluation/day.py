"""One simulated game date: who reports when, and what becomes of it.

Scenarios change it before it is played.
"""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from evaluation.world import DELIVERED, Deliver, InjectedFault, Outage, World
from orchestrator_resilience.testing import push_envelope

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# The message log has a message a second after it is delivered.
IN_MESSAGE_LOG_AFTER = DELIVERED + timedelta(seconds=1)

# When each processor usually reports, as minutes after midnight Eastern time of the game date: odds
# in the evening, the others after the last game, which is past midnight.
_EVENING = ("p2_odds_game_lines", "p2_odds_player_props")
_EVENING_MINUTES, _NIGHT_MINUTES = (17 * 60, 21 * 60), (24 * 60 + 30, 27 * 60)

# The processor that is silent, or rejected, for days.
BOX_SCORES = "p2_nbacom_boxscores"
# Unexpected processors: names unlike any expected one, and such as resemble one, by the one that
# each resembles.
UNLIKE = (
    "p2_nbacom_schedule",
    "EspnScoreboardProcessor",
    "BdlBoxScoresProcessor",
    "NbacRefereeProcessor",
)
ALIKE = {
    "p2_odds_player_props": "OddsPlayerPointsProcessor",
    "p2_nbacom_gamebook_pdf": "NbacGamebookPdfProcessor",
}


@dataclass
class ProcessorReport:
    """One message, under one of the names of an expected `processor`, or of another."""

    name: str
    at: datetime
    status: str = "success"
    processor: str = ""
    delays: list[timedelta] = field(default_factory=lambda: [DELIVERED])
    fault: InjectedFault = field(default_factory=InjectedFault)
    odd: dict[str, object] = field(default_factory=dict)  # fields that nobody needs
    # fields that the orchestrator cannot accept
    wrong: dict[str, object] = field(default_factory=dict)
    written: Callable[[str], bytes] | None = None  # how the publisher writes a body of JSON
    message_id: str = ""  # once it is sent


class Day:
    """A healthy date, to begin with; `before` are those before it, oldest first."""

    def __init__(self, world: World, day: date, rng: random.Random, *, base_id: str) -> None:
        self.world = world
        self.date = day
        self.rng = rng
        self.games = rng.randint(1, 14)
        self.output_after: timedelta | None = rng.randint(5, 40) * MINUTE
        self.deliver: Deliver | None = None
        self.reports = {
            processor: self._report(processor) for processor in sorted(world.phase.expected)
        }
        self.unexpected: list[ProcessorReport] = []
        self.before: list[Day] = []
        self._ids = (f"{base_id}-{number}" for number in count(1))
        self._untouched = list(self.reports)
        rng.shuffle(self._untouched)

    @property
    def complete_at(self) -> datetime:
        """When the last processor reports."""
        return max((report.at for report in self.reports.values()), default=self.at(0))

    @property
    def last(self) -> str:
        """The processor that reports last."""
        return max(self.reports, key=lambda processor: self.reports[processor].at)

    @property
    def deadline(self) -> datetime:
        """When the date is late."""
        return self.world.phase.deadline(self.date)

    def at(self, minutes: float) -> datetime:
        """A time of the date's clock, as minutes after its midnight Eastern time."""
        zone = ZoneInfo(self.world.phase.timezone)
        midnight = datetime(self.date.year, self.date.month, self.date.day, tzinfo=zone)
        return (midnight + timedelta(minutes=minutes)).astimezone(UTC)

    @property
    def limit(self) -> timedelta:
        """How long the date may stay untriggered once it is complete."""
        return self.world.phase.untriggered_after

    def complete_without(self, report: ProcessorReport) -> datetime:
        """When code that does not wait for one processor sets the flag."""
        return max(peer.at for peer in self.reports.values() if peer is not report) + DELIVERED

    def victim(self, processor: str | None = None) -> ProcessorReport:
        """Take the message of a processor that no other fault of the date has taken."""
        chosen = processor or self._untouched[0]
        self._untouched.remove(chosen)
        return self.reports[chosen]

    def silence(self, processor: str | None = None) -> ProcessorReport:
        """Take the message away; return it."""
        return self.reports.pop(self.victim(processor).processor)

    def down(
        self,
        source: str,
        since: datetime,
        until: datetime,
        operation: str | None = None,
        *,
        flaps: bool = False,
    ) -> None:
        """Take a source of the canary down, or an operation of it."""
        self.world.outages.append(Outage(source, since, until, operation, flaps))

    def play(self) -> None:
        """Plan everything in the world."""
        self.world.work[self.date] = self.games
        for report in [*self.reports.values(), *self.unexpected]:
            self._send(report)
        if self.output_after is not None and self.reports:
            self.world.schedule.at(
                self.complete_at + self.output_after, lambda: self.world.output.add(self.date)
            )

    def repeat(self, at: datetime, processor: str, status: str = "success") -> ProcessorReport:
        """Plan a re-run of a processor; return its message."""
        report = ProcessorReport(self.any_name(processor), at, status, processor)
        self._send(report)
        return report

    def _send(self, report: ProcessorReport) -> None:
        report.message_id = message_id = next(self._ids)
        if self.world.has_message_log:
            plain = push_envelope(
                report.name, str(self.date), report.at, message_id=message_id, status=report.status
            )
            unreadable = bool(report.wrong and report.written)
            self.world.message_log(
                report.at + IN_MESSAGE_LOG_AFTER, plain, report.wrong, unreadable=unreadable
            )
        fields: dict[str, Any] = {
            "message_id": message_id,
            "status": report.status,
            **report.odd,
            **report.wrong,
        }
        envelope = push_envelope(report.name, str(self.date), report.at, **fields)
        if report.written:
            body = base64.b64decode(envelope["message"]["data"]).decode("utf-8")
            envelope["message"]["data"] = base64.b64encode(report.written(body)).decode("ascii")
        self.world.publish(
            report.at, envelope, delays=report.delays, fault=report.fault, deliver=self.deliver
        )

    def chance(self, share: float) -> bool:
        """Decide at random, where there is anything to decide."""
        return share >= 1 or (share > 0 and self.rng.random() < share)

    def any_name(self, processor: str) -> str:
        """Return one of the names under which a processor reports."""
        return self.rng.choice([processor, *self.world.phase.processors[processor]])

    def _report(self, processor: str) -> ProcessorReport:
        first, last = _EVENING_MINUTES if processor in _EVENING else _NIGHT_MINUTES
        return ProcessorReport(
            self.any_name(processor), self.at(self.rng.uniform(first, last)), processor=processor
        )


# What changes a date: it returns the message that it hits, if it is one.
Scenario = Callable[[Day], ProcessorReport | None]
