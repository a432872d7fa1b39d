"""A year of quarter-hour runs with faults, deaths and absences, and what has to hold of it.

What is judged is drawn, not read: each date has a verdict at each time. What is taken is `gather`
and `notify`, on documents that are plain values.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from canary import sources
from canary.domain.advance import Judged
from canary.domain.incident import DateMemory
from canary.domain.remembered import DEFAULT_CANARY, month_ref, read_date
from canary.domain.verdict import Impact, Verdict, VerdictKind
from canary.notify.channel import Channels, Notification, NotifyError, Warned
from canary.notify.incidents import notify_channels
from canary.sources import gather
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from tests.proof.doubles import Operation, PlainStores, StoresOf, Watched

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIRST = date(2026, 1, 1)
RUN_EVERY = timedelta(minutes=15)
_A_DAY = timedelta(days=1)


class Trouble(NamedTuple):
    """A date that is stuck `since` a time `until` another, and whether that does harm."""

    since: datetime
    until: datetime
    impact: Impact


class DeadError(BaseException):
    """The process dies; nothing catches this."""


class _People:
    """A channel that keeps what it was sent, and fails or dies as the year has it."""

    address = ""

    def __init__(self, name: str, year: "Year") -> None:
        self.name, self._year = name, year
        self.heard: list[tuple[datetime, str, date]] = []

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Take it, refuse it, take it and not answer, or die before or after it."""
        fault = self._year.draw("channel")
        if fault == "dies before":
            raise DeadError
        if fault == "refused":
            raise NotifyError("503")
        self.heard += [(now, one.kind.value, one.verdict.game_date) for one in notifications]
        if fault == "dies after":
            raise DeadError
        if fault == "no answer":
            raise NotifyError("no answer", may_be_posted=True)

    def warn(self, what: Warned, text: str, now: datetime) -> None:
        """Take a word about the canary."""


def live(seed: int, years: int = 5) -> int:
    """Live some years with faults and one healthy year; print each, and return the exit code."""
    wrong = 0
    for number in range(years + 1):
        healthy = number == years
        year = Year(seed + number, days=365, faults=0.02, troubles=0 if healthy else 0.2)
        year.play()
        flaws = [*year.flaws()]
        heard = [kind for channel in year.people for _, kind, _ in channel.heard]
        print(
            f"seed {seed + number}: {len(year.ran_at):,} runs, {len(year.deaths)} deaths, "
            f"{len(year.disturbed)} faults, "
            f"{len(year.troubles)} stuck dates; sent {dict(sorted(Counter(heard).items()))}; "
            f"{len(flaws)} flaws",
            flush=True,
        )
        print(*flaws[:20], sep="\n", end="\n" if flaws else "")
        wrong += len(flaws)
    return int(bool(wrong))


class Year:
    """So many days from one seed; `faults` is how often an operation fails, 0 if healthy."""

    def __init__(self, seed: int, *, days: int, faults: float, troubles: float = 0.2) -> None:
        self._rng, self._faults = random.Random(f"{seed}/year"), faults
        self.days = [FIRST + timedelta(days=number) for number in range(days)]
        self.troubles = {
            day: trouble for day in self.days if (trouble := self._trouble(day, troubles))
        }
        self.stores = PlainStores()
        self.people = [_People(name, self) for name in ("log", "slack")]
        self.deaths: list[datetime] = []
        self.disturbed: list[datetime] = []
        self.ran_at: list[datetime] = []
        self.untold = Counter[date]()
        self._now = self._at(FIRST)
        self._channels = Channels(*self.people)

    def _trouble(self, day: date, share: float) -> Trouble | None:
        if self._rng.random() >= share:
            return None
        since = self._at(day) + timedelta(hours=30, minutes=self._rng.randrange(600))
        lasts = timedelta(minutes=self._rng.choice([20, 90, 600, 1_500, 20_000]))
        return Trouble(
            since, since + lasts, self._rng.choice([Impact.NONE, Impact.UNKNOWN, Impact.BLOCKED])
        )

    @staticmethod
    def _at(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def draw(self, what: str) -> str:
        """Draw what befalls an operation; mostly nothing."""
        if self._rng.random() >= self._faults:
            return ""
        self.disturbed.append(self._now)
        kinds = ["refused", "no answer", "dies before", "dies after"]
        return self._rng.choice(kinds if what == "channel" else [*kinds, "refused", "refused"])

    def _stored(self, _: Operation, act: Callable[[], Any]) -> Any:
        fault = self.draw("store")
        if fault in {"refused", "dies before"}:
            raise StoreError("503") if fault == "refused" else DeadError
        answer = act()
        if fault == "dies after":
            raise DeadError
        if fault == "no answer":
            raise StoreError("504")
        return answer

    def verdict(self, day: date, now: datetime) -> Verdict:
        """Return what is said of a date at a time."""
        trouble = self.troubles.get(day)
        is_stuck = trouble is not None and trouble.since <= now < trouble.until
        return Verdict(
            kind=VerdictKind.UNTRIGGERED if is_stuck else VerdictKind.TRIGGERED,
            phase=PHASE.name,
            game_date=day,
            summary="a summary",
            since=trouble.since - timedelta(minutes=30) if trouble and is_stuck else None,
            impact=trouble.impact if trouble and is_stuck else None,
        )

    def play(self) -> None:
        """Run every quarter of an hour, but for absences."""
        self._now, end = self._at(FIRST), self._at(self.days[-1]) + timedelta(days=9)
        with patch.object(sources, "Background", AtOnce):
            while self._now < end:
                if self._rng.random() < self._faults / 400:  # away for up to three days
                    self._now += RUN_EVERY * self._rng.randrange(4, 288)
                self._run()
                self._now += RUN_EVERY

    def _run(self) -> None:
        now = self._now
        documents = Watched(self.stores, self._stored, ["get_all", "commit"])
        stores: Any = StoresOf(documents, SimpleNamespace(summarise=lambda *_: []))
        window = PHASE.recent_dates(now, PHASE.history_dates)
        try:
            remembered = gather(
                stores, {PHASE.name: window}, {PHASE.name: PHASE}, now=now
            ).remembered
            judged = Judged([self.verdict(day, now) for day in window])
            phases = {PHASE.name: PHASE}
            notify_channels(
                documents,
                remembered,
                judged,
                self._channels,
                phases=phases,
                now=now,
                deadline=Deadline(60),
            )
            self.ran_at.append(now)
        except DeadError:
            self.deaths.append(now)
            self._channels = Channels(*self.people)

    def remembered(self, day: date) -> DateMemory:
        """Return what is remembered of a date at the end."""
        ref = month_ref(DEFAULT_CANARY, PHASE.name, f"{day:%Y-%m}")
        return read_date(self.stores.value.documents.get(ref), day)

    def flaws(self) -> Iterator[str]:
        """Say what was not as promised."""
        for channel in self.people:
            by_date: dict[date, list[tuple[datetime, str]]] = defaultdict(list)
            for at, kind, day in channel.heard:
                by_date[day].append((at, kind))
            for day in self.days:
                yield from (
                    f"{channel.name} {day}: {flaw}"
                    for flaw in self._flaws_of(day, by_date[day], channel.name)
                )

    def _flaws_of(self, day: date, heard: list[tuple[datetime, str]], name: str) -> Iterator[str]:
        trouble, kinds = self.troubles.get(day), [kind for _, kind in heard]
        if trouble is None:
            if heard:
                yield f"nothing was wrong, and it was sent {kinds}"
            return
        counted = [at for at, kind in heard if kind not in {"RESOLVED", "EXPIRED"}]
        if any(sum(at - _A_DAY < other <= at for other in counted) > 8 for at in counted):
            yield "more than 8 messages in 24 hours"
        seen = [at for at in self.ran_at if trouble.since <= at < trouble.until]
        calm = [at for at in seen if at not in self.disturbed]
        if calm and not any(kind == "OPENED" and at <= calm[0] for at, kind in heard):
            yield f"not opened by {calm[0]}, the first run in which nothing failed: {heard[:2]}"
        memory = self.remembered(day)
        if memory.open is not None:
            yield "it is open at the end"
        if (
            memory.incidents
            and kinds
            and kinds[-1] not in {"RESOLVED", "EXPIRED"}
            and name in str(memory.incidents)
        ):
            yield f"the end was not sent: {kinds[-3:]}"
        noted = Counter(
            event.what for one in memory.incidents for event in one.events if name in event.to
        )
        may_be = Counter(
            event.what
            for one in memory.incidents
            for event in one.events
            if name in event.unanswered
        )
        for kind in {*kinds, *noted} - {"REMINDER"}:
            count = kinds.count(kind)
            if count < noted[kind] or (not self.disturbed and count > noted[kind] + may_be[kind]):
                yield f"the history has {noted[kind]} {kind}, it was sent {count}"
