"""One canary run: gather the evidence, judge each date, diagnose the problems, report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import IntEnum
from typing import Any

import msgspec

from canary.domain.diagnosis import early_warnings, explain
from canary.domain.evidence import Evidence, Source, Unreadable
from canary.domain.incident import Incidents, known_incident
from canary.domain.timeline import Timeline, timeline_of
from canary.domain.verdict import Verdict, judge
from canary.notify.channel import Channel
from canary.notify.incidents import notify
from canary.sources import gather, read_checkpoints
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Stores


class Outcome(IntEnum):
    """How a run ended; the number is the command's exit code."""

    QUIET = 0
    PROBLEM = 1
    COULD_NOT_TELL = 2
    UNDECIDED = 3


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of one run at `now`, by phase and then by date, oldest first.

    `warnings` are early warnings: of unexpected processors, and of processors that report nothing any more.
    """

    now: datetime
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """A problem outweighs what could not be told, and no verdict at all tells nothing.

        UNDECIDED: everything could be read, and nothing says whether there was work.
        """
        if any(v.kind.is_problem for v in self.verdicts):
            return Outcome.PROBLEM
        if not self.verdicts or any(v.unreadable for v in self.verdicts):
            return Outcome.COULD_NOT_TELL
        return Outcome.QUIET if all(v.kind.is_quiet for v in self.verdicts) else Outcome.UNDECIDED

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the verdicts whole, with ISO times in UTC."""
        return {
            "run": "CANARY_RUN",
            "now": self.now.isoformat(),
            "outcome": self.outcome.name,
            "verdicts": msgspec.to_builtins(self.verdicts),
            "warnings": list(self.warnings),
        }

    def run_line(self) -> dict[str, Any]:
        """Return the line that proves that the canary is alive: one word a date."""
        dates = [{"phase": v.phase, "game_date": v.game_date.isoformat(), "verdict": v.kind} for v in self.verdicts]
        return {"run": "CANARY_RUN", "now": self.now.isoformat(), "outcome": self.outcome.name, "dates": dates}


def check(
    stores: Stores, phases: Mapping[str, Phase], now: datetime, wanted: Mapping[str, Sequence[date]] | None = None
) -> Report:
    """Judge `wanted`, game dates by phase, at `now`: by default each phase's look-back window. Tells nobody."""
    return _run(stores, phases, now, wanted)[0]


def watch(
    stores: Stores,
    phases: Mapping[str, Phase],
    channel: Channel,
    now: datetime,
    wanted: Mapping[str, Sequence[date]] | None = None,
) -> Report:
    """Check, and tell people what they do not know yet: the run that the scheduler starts.

    An incident that was opened is followed beyond the look-back window, as far as the history
    reaches. Raises what the stores and the channel raise when somebody could not be told.
    """
    report, incidents = _run(stores, phases, now, wanted)
    if not isinstance(incidents, Unreadable):
        notify(stores.documents, report.verdicts, incidents, channel, now)
    return report


def _run(
    stores: Stores, phases: Mapping[str, Phase], now: datetime, wanted: Mapping[str, Sequence[date]] | None
) -> tuple[Report, Incidents | Unreadable]:
    """Gather further back than is judged, because some causes show only over several dates."""
    history = {name: phase.recent_dates(now, phase.history_dates) for name, phase in phases.items()}
    if wanted is None:
        window = {name: phase.recent_dates(now, phase.lookback_dates) for name, phase in phases.items()}
    else:
        window = {name: tuple(days) for name, days in wanted.items()}
    gathered = gather(stores, {name: sorted({*history[name], *window[name]}) for name in window}, phases)
    evidence, incidents = gathered.evidence, gathered.incidents

    def is_judged(one: Evidence) -> bool:
        if one.game_date in window[one.phase]:
            return True
        incident = None if isinstance(incidents, Unreadable) else known_incident(incidents, one.phase, one.game_date)
        return wanted is None and incident is not None and not incident.resolved

    verdicts = [judge(e, phases[e.phase], now) for e in evidence if is_judged(e)]
    warnings = tuple(
        f"{name}: {warning}"
        for name, phase in phases.items()
        for warning in early_warnings(
            [e for e in evidence if e.phase == name and e.game_date in history[name]], phase, now
        )
    )
    # Only for dates with a problem are checkpoints read.
    checkpoints = read_checkpoints(stores, [(v.phase, v.game_date) for v in verdicts if v.kind.is_problem])
    diagnosed = tuple(
        _diagnosed(v, checkpoints[v.phase, v.game_date], evidence, phases[v.phase], now) if v.kind.is_problem else v
        for v in verdicts
    )
    return Report(now, diagnosed, warnings), incidents


def timeline(stores: Stores, phase: Phase, day: date, now: datetime) -> Timeline:
    """Judge one date, diagnose it if it has a problem, and put together what every source saw of it."""
    phases = {phase.name: phase}
    wanted = {phase.name: sorted({day, *phase.recent_dates(now, phase.history_dates)})}
    evidence = gather(stores, wanted, phases).evidence
    (own,) = (e for e in evidence if e.game_date == day)
    (checkpoints,) = read_checkpoints(stores, [(phase.name, day)]).values()
    verdict = judge(own, phase, now)
    if verdict.kind.is_problem:
        verdict = _diagnosed(verdict, checkpoints, evidence, phase, now)
    return timeline_of(verdict, own, checkpoints, phase)


def _diagnosed(
    verdict: Verdict,
    checkpoints: Source[Sequence[Checkpoint]],
    evidence: Sequence[Evidence],
    phase: Phase,
    now: datetime,
) -> Verdict:
    """Add the cause to a problem."""
    history = [e for e in evidence if e.phase == phase.name]
    (own,) = (e for e in history if e.game_date == verdict.game_date)
    return replace(verdict, cause=explain(verdict, own, checkpoints, history=history, phase=phase, now=now))
