"""Times as positions: percent of a lane's width, so that one picture fits a phone and a desk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import accumulate, pairwise

import msgspec

from canary.domain.verdict import duration_text

# Marks that are nearer to each other than this, in percent, cover each other on a phone.
_TOO_NEAR = 1.5
# Labels are 100 px apart where a lane is 650 px wide; a phone shows every other one.
_LABEL_EVERY = 15.5
# A longer time in which nothing happened is folded to a width of so many minutes; a shorter one has
# at least the least width, so that a few seconds can be seen.
IDLE, _FOLDED_MINUTES, _LEAST_MINUTES = timedelta(minutes=45), 6.0, 1.5


class Tick(msgspec.Struct, frozen=True):
    """A label of an axis: a local time, and the same as Z."""

    x: float
    label: str
    utc: str


class Span(msgspec.Struct, frozen=True):
    """A stretch of a lane, and its text."""

    x: float
    width: float
    text: str = ""


class Mark(msgspec.Struct, frozen=True):
    """Something that happened, or `count` such things at about the same time.

    `kind` is ok, failed or unknown.
    """

    x: float
    kind: str
    text: str
    count: int = 1


class Axis(msgspec.Struct, frozen=True):
    """A stretch of time from `start` to `end`, as the clocks of `zone` show it.

    `start` and `end` have no zone of their own. So the hours of a day are always at the same place,
    also where the clocks are changed.
    """

    start: datetime
    end: datetime
    zone: tzinfo

    def x(self, at: datetime) -> float:
        """Return the position of a moment (aware); a moment outside is at the edge."""
        share = (self._shown(at) - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def holds(self, at: datetime) -> bool:
        """Whether a moment is within it."""
        return self.start <= self._shown(at) <= self.end

    def ticks(self, interval: timedelta) -> tuple[Tick, ...]:
        """Return a label for each step from the start on."""
        steps = [number * interval for number in range(int((self.end - self.start) / interval) + 1)]
        return tuple(
            _tick(
                100 * step / (self.end - self.start), (self.start + step).replace(tzinfo=self.zone)
            )
            for step in steps
        )

    def _shown(self, at: datetime) -> datetime:
        return at.astimezone(self.zone).replace(tzinfo=None)


class FoldedAxis:
    """The time from the first to the last of some moments, with long gaps between them folded."""

    def __init__(self, moments: Iterable[datetime], zone: tzinfo) -> None:
        self._zone, ordered = zone, sorted(set(moments))
        gaps = [late - early for early, late in pairwise(ordered)]
        widths = [
            _FOLDED_MINUTES if gap > IDLE else max(_LEAST_MINUTES, gap / timedelta(minutes=1))
            for gap in gaps
        ]
        scale = 96 / (sum(widths) or 1)
        places = accumulate((width * scale for width in widths), initial=2.0)
        # `places` has one even where there is no moment
        self._moments = [*zip(ordered, places, strict=False)]

    def x(self, at: datetime) -> float:
        """Return the position of a moment: between its neighbours, or at the edge."""
        for (early, left), (late, right) in pairwise(self._moments):
            if early <= at <= late:
                return round(left + (right - left) * ((at - early) / (late - early)), 2)
        return round(
            max((place for moment, place in self._moments if moment <= at), default=2.0), 2
        )

    def folds(self) -> list[Span]:
        """Return the stretches that are folded, and how long each is."""
        return [
            Span(round(left, 2), round(right - left, 2), duration_text(late - early))
            for (early, left), (late, right) in pairwise(self._moments)
            if late - early > IDLE
        ]

    def ticks(self) -> Iterator[Tick]:
        """Yield the times at which something happened, as far as their labels have room."""
        last = -_LABEL_EVERY
        for at, x in self._moments:
            if x - last >= _LABEL_EVERY:
                last = x
                yield _tick(x, at.astimezone(self._zone))


def _tick(x: float, local: datetime) -> Tick:
    return Tick(round(x, 2), f"{local:%H:%M}", f"{local.astimezone(UTC):%H:%M}Z")


def span(x: Callable[[datetime], float], start: datetime, end: datetime) -> Span:
    """Return the stretch between two moments, whose positions `x` returns."""
    left = x(start)
    return Span(left, round(max(0.0, x(end) - left), 2))


def merged_marks(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Merge marks that would cover each other; unknown shows first, then failed, then ok."""
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        if groups and mark.x - groups[-1][0].x < _TOO_NEAR:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    return tuple(_combined(group) for group in groups)


def _combined(group: Sequence[Mark]) -> Mark:
    kind = min((mark.kind for mark in group), key=("unknown", "failed", "ok").index)
    x = round(sum(mark.x for mark in group) / len(group), 2)
    return Mark(x, kind, "; ".join(mark.text for mark in group), len(group))
