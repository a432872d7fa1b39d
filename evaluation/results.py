"""What the scores of all dates add up to: the targets, and the figures of each kind of fault."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from evaluation.faults import FAULTS
from evaluation.score import LEAD_IN, MESSAGES_A_DAY, Score

_EXPLAINED, _NAMED_CHANGES = 0.99, 0.95
_Z = 1.96  # of 95 %
_TOGETHER = ("", "two faults", "three faults")

# The median and the longest of delays, in minutes; None where there are none.
Spread = tuple[float, float] | None


class FaultScore(Struct, frozen=True):
    """One kind of fault.

    `explained` is the share of dates whose stages and causes were all right, and no other named;
    `at_least` is the lower end of its 95 % interval (Wilson's). `exact` is the share of the
    intervals that hold a single stage, None where there were none. `undetermined` is the share of
    dates of which no cause was named.
    """

    dates: int
    detected: int
    minutes_to_detect: Spread
    explained: float
    at_least: float
    exact: float | None
    undetermined: float


class GroupScore(Struct, frozen=True):
    """What was said of one group of the pipeline's own write-ups.

    `minutes_to_detect` counts from when a verdict was due; `stages` and `words` are those that were
    sent most often. `changed` is the share of the dates with a change behind the failure on which
    that change was named, None without such dates.
    """

    dates: int
    minutes_to_detect: Spread
    stages: str
    exact: float | None
    words: str
    changed: float | None


class Target(Struct, frozen=True):
    """Something that the simulation has to show, and on how many dates it did.

    `met` is None where there were none.
    """

    what: str
    met: bool | None
    seen: str


class Result(Struct, frozen=True):
    """Everything that a simulation shows.

    `precision` is the share of alarms that were due, `recall` that of faults that were detected.
    `minutes_to_detect` counts from when a verdict was due, `minutes_to_reset` from the repair to
    RESOLVED. `exact` is the share of the intervals that hold a single stage, None where there were
    none; `wrong_causes` is the number of dates with one. `taken` is how many pieces of evidence
    were taken away.
    """

    healthy_days: int
    faulty_days: int
    targets: tuple[Target, ...]
    precision: float
    recall: float
    minutes_to_detect: Spread
    minutes_to_reset: Spread
    exact: float | None
    wrong_causes: int
    taken: int
    healthy: dict[str, int]
    faults: dict[str, FaultScore]
    groups: dict[str, GroupScore]
    flaws: dict[str, tuple[str, ...]]


def add_up(scores: Iterable[Score]) -> Result:
    """Add up the scores of all dates."""
    everything = list(scores)
    healthy = [s for s in everything if s.healthy and s.scenario != LEAD_IN]
    faulty = [s for s in everything if not s.healthy]
    kinds: dict[str, list[Score]] = {}
    for score in faulty:
        kinds.setdefault(_TOGETHER[score.scenario.count(" + ")] or score.scenario, []).append(score)
    return Result(
        healthy_days=len(healthy),
        faulty_days=len(faulty),
        targets=tuple(_targets(everything, faulty)),
        precision=_share(not s.healthy for s in everything if s.alarmed),
        recall=_share(s.detected for s in faulty),
        minutes_to_detect=_spread(s.delay for s in faulty),
        minutes_to_reset=_spread(s.reset for s in faulty),
        exact=_exact(faulty),
        wrong_causes=sum(not _names_no_other(s) for s in faulty),
        taken=sum(s.taken for s in faulty),
        healthy=dict(sorted(Counter(s.scenario for s in healthy).items())),
        faults={kind: _fault(dates) for kind, dates in sorted(kinds.items())},
        groups=_groups(faulty),
        flaws={f"{s.seed} {s.game_date}": s.flaws for s in everything if s.flaws},
    )


def _targets(everything: Sequence[Score], faulty: Sequence[Score]) -> Iterator[Target]:
    healthy = [s for s in everything if s.healthy]
    untriggered = [s for s in faulty if s.completion_delay is not None]
    most = f"no channel gets more than {MESSAGES_A_DAY} messages of a date in 24 hours"
    # What has to hold, on which dates, and on which share of them at least.
    table: Sequence[tuple[str, Sequence[Score], Callable[[Score], bool], float]] = (
        ("no false alarm on a healthy date", healthy, lambda s: not s.alarmed, 1),
        ("every fault is detected in its time", faulty, lambda s: s.detected, 1),
        ("UNTRIGGERED 30 to 45 min after the fifth completion", untriggered, _is_in_time, 1),
        (
            "on 99 % of the dates all stages and causes are right, and no other named",
            faulty,
            lambda s: s.is_explained,
            _EXPLAINED,
        ),
        ("no cause is ever named that is none", faulty, _names_no_other, 1),
        (
            "where it stopped is said, and is in every interval",
            faulty,
            lambda s: not s.misplaced,
            1,
        ),
        (
            "of the changes that a failure came of, 95 % are named",
            [s for s in faulty if s.changed is not None],
            lambda s: bool(s.changed),
            _NAMED_CHANGES,
        ),
        (most, faulty, lambda s: s.most_in_a_day <= MESSAGES_A_DAY, 1),
        (
            "one opening, one resolution, reminders at their interval, nothing else",
            everything,
            lambda s: not s.flaws,
            1,
        ),
    )
    for what, dates, holds, least in table:
        right = sum(map(holds, dates))
        yield Target(
            what, right >= least * len(dates) if dates else None, f"{right} of {len(dates)} dates"
        )


def _names_no_other(score: Score) -> bool:
    return {*score.named} <= {*score.causes}


def _is_in_time(score: Score) -> bool:
    return 30 <= (score.completion_delay or 0) / 60 <= 45  # noqa: PLR2004 (minutes)


def _fault(dates: Sequence[Score]) -> FaultScore:
    return FaultScore(
        dates=len(dates),
        detected=sum(s.detected for s in dates),
        minutes_to_detect=_spread(s.delay for s in dates),
        explained=_share(s.is_explained for s in dates),
        at_least=round(_at_least(sum(s.is_explained for s in dates), len(dates)), 3),
        exact=_exact(dates),
        undetermined=_share(not s.named for s in dates),
    )


def _groups(faulty: Sequence[Score]) -> dict[str, GroupScore]:
    """Put the dates of each group together, in the order of the table of faults."""
    by_group: dict[str, list[Score]] = {fault.group: [] for fault in FAULTS.values() if fault.group}
    for score in faulty:
        if (fault := FAULTS.get(score.scenario)) and fault.group:
            by_group[fault.group].append(score)
    return {group: _group(dates) for group, dates in by_group.items() if dates}


def _group(dates: Sequence[Score]) -> GroupScore:
    changed = [s.changed for s in dates if s.changed is not None]
    return GroupScore(
        dates=len(dates),
        minutes_to_detect=_spread(s.delay for s in dates),
        stages=_most_often(", ".join(s.stages) for s in dates),
        exact=_exact(dates),
        words=_most_often(s.words for s in dates),
        changed=_share(changed) if changed else None,
    )


def _most_often(texts: Iterable[str]) -> str:
    """Return the text that is there most often, without the times and names in it."""
    counted = Counter(re.sub(r"[\d:.TZ-]*\d[\d:.TZ-]*", "…", text) for text in texts if text)
    return counted.most_common(1)[0][0] if counted else ""


def _exact(dates: Sequence[Score]) -> float | None:
    intervals = sum(s.intervals for s in dates)
    return sum(s.exact for s in dates) / intervals if intervals else None


def _spread(seconds: Iterable[float | None]) -> Spread:
    minutes = [second / 60 for second in seconds if second is not None]
    return (round(statistics.median(minutes), 1), round(max(minutes), 1)) if minutes else None


def _at_least(right: int, of: int) -> float:
    """Return the lower end of Wilson's 95 % interval of a share."""
    z, share = _Z, right / of
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (share + z * z / (2 * of) - half) / (1 + z * z / of))


def _share(answers: Iterable[bool]) -> float:
    values = list(answers)
    return sum(values) / len(values) if values else 1.0
