"""One canary run: gather the evidence, judge each date, report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import Any

import msgspec

from canary.gather import gather
from canary.verdict import Verdict, judge
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Stores


class Outcome(IntEnum):
    """How a run ended; the number is the command's exit code."""

    QUIET = 0
    PROBLEM = 1
    COULD_NOT_TELL = 2


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of one run at `now`, by phase and then by date, oldest first."""

    now: datetime
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> Outcome:
        """A problem outweighs what could not be told, and no verdict at all tells nothing."""
        if any(v.kind.is_problem for v in self.verdicts):
            return Outcome.PROBLEM
        quiet = bool(self.verdicts) and all(v.kind.is_quiet for v in self.verdicts)
        return Outcome.QUIET if quiet else Outcome.COULD_NOT_TELL

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the verdicts whole, with ISO times in UTC."""
        return {
            "run": "CANARY_RUN",
            "now": self.now.isoformat(),
            "outcome": self.outcome.name,
            "verdicts": msgspec.to_builtins(self.verdicts),
        }

    def run_line(self) -> dict[str, Any]:
        """Return the line that proves that the canary is alive: one word a date."""
        dates = [{"phase": v.phase, "game_date": v.game_date.isoformat(), "verdict": v.kind} for v in self.verdicts]
        return {"run": "CANARY_RUN", "now": self.now.isoformat(), "outcome": self.outcome.name, "dates": dates}


def check(
    stores: Stores, phases: Mapping[str, Phase], now: datetime, wanted: Mapping[str, Sequence[date]] | None = None
) -> Report:
    """Judge `wanted`, game dates by phase, at `now`: by default each phase's look-back window."""
    if wanted is None:
        wanted = {name: phase.recent_dates(now, phase.lookback_dates) for name, phase in phases.items()}
    evidence = gather(stores, wanted, phases)
    return Report(now, tuple(judge(one, phases[one.phase], now) for one in evidence))
