"""What is sent, and what has to come of it: values, drawn from a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from orchestrator_resilience import Phase
from orchestrator_resilience.progress import COMPLETING_STATUSES

_LAST_DATE = date(2026, 2, 9)
_COMPLETE = 0.8  # of the dates
_UNEXPECTED = ("p2_bdl_box_scores", "P2Unheard", "p3_player_game_summary")
_NOT_COMPLETING = ("no_data", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class Message:
    """One message that is published."""

    processor: str
    game_date: date
    status: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The messages in the order in which they are published, and the expected processors of each date that complete."""

    messages: tuple[Message, ...]
    completing: Mapping[date, frozenset[str]]

    def is_complete(self, day: date, phase: Phase) -> bool:
        """Whether the flag has to be set."""
        return self.completing[day] == phase.expected


def plan_of(rng: random.Random, phase: Phase, dates: int, messages: int) -> Plan:
    """Draw a plan: four of five dates are complete, the rest of the messages are re-runs and what completes nothing."""
    days = [_LAST_DATE - timedelta(days=n) for n in range(dates)]
    completing = {day: _drawn(rng, sorted(phase.expected)) for day in days}
    needed = [Message(_name(rng, phase, p), day, "success") for day in days for p in sorted(completing[day])]
    others = [_other(rng, phase, day, sorted(completing[day])) for day in rng.choices(days, k=messages - len(needed))]
    sent = [*needed, *others]
    rng.shuffle(sent)
    return Plan(tuple(sent), completing)


def _drawn(rng: random.Random, five: Sequence[str]) -> frozenset[str]:
    return frozenset(five if rng.random() < _COMPLETE else rng.sample(five, rng.randint(1, len(five) - 1)))


def _name(rng: random.Random, phase: Phase, processor: str) -> str:
    return rng.choice([processor, *phase.processors[processor]])


def _other(rng: random.Random, phase: Phase, day: date, completing: Sequence[str]) -> Message:
    kind = rng.random()
    if kind < 0.6:  # a re-run
        return Message(_name(rng, phase, rng.choice(completing)), day, rng.choice(COMPLETING_STATUSES))
    if kind < 0.9:  # anybody may report that it did not complete
        return Message(_name(rng, phase, rng.choice(sorted(phase.expected))), day, rng.choice(_NOT_COMPLETING))
    return Message(rng.choice(_UNEXPECTED), day, "success")
