"""Simulated time: what happens at which moment, played in order."""

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count

from orchestrator_resilience.testing import SimulatedClock

# How often Cloud Scheduler starts the canary.
TICK = timedelta(minutes=15)


class Schedule:
    """Plays what was planned, in the order of its moments.

    `clock` has the moment that is played.
    """

    def __init__(self, start: datetime) -> None:
        self.clock = SimulatedClock(start)
        # of two things at one moment, the one that was planned first comes first
        self._number = count()
        self._planned: list[tuple[datetime, int, Callable[[], None]]] = []

    def at(self, moment: datetime, act: Callable[[], None]) -> None:
        """Plan `act` for `moment` (aware, UTC)."""
        heapq.heappush(self._planned, (moment, next(self._number), act))

    def play(self, until: datetime) -> None:
        """Play everything up to `until`, what is planned on the way included."""
        while self._planned and self._planned[0][0] <= until:
            self.clock.now, _, act = heapq.heappop(self._planned)
            act()
        self.clock.now = until


def ticks(first: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the quarter hours after `first` up to `until`, when the scheduler starts the canary."""
    tick = first.replace(minute=first.minute // 15 * 15, second=0, microsecond=0) + TICK
    while tick <= until:
        yield tick
        tick += TICK
