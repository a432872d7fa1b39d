"""The real orchestrator and the real canary on simulated time, with embedded stores in a folder.

`canary demo` and `canary replay` are rehearsals; they differ in where their deliveries come from.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as ProgressBar

from canary.gather import Sources
from canary.run import Report, check
from canary.terminal import print_alert, print_line, print_over, print_table
from canary.verdict import Verdict
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.sinks import terminal_lines
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock

TICK = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment of simulated time (UTC)."""

    at: datetime
    act: Callable[[], None]


class Rehearsal:
    """The stores, orchestrators and canary of one rehearsal; its files are in `folder`."""

    def __init__(self, phase: Phase, folder: Path, console: Console) -> None:
        self.phase = phase
        self.stores = EmbeddedStores(folder, durable=False)
        self._clock = SimulatedClock(datetime.min.replace(tzinfo=UTC))
        self._console = console
        self._show = terminal_lines()
        self._verdicts: dict[date, Verdict] = {}
        self._alerted: dict[date, tuple[Verdict, datetime]] = {}

    def orchestrator(self, phase: Phase) -> Orchestrator:
        """Return a real orchestrator that waits for `phase`, on the rehearsal's stores and clock."""
        checkpoints = CheckpointLogger(phase, self._leave, clock=self._clock)
        return Orchestrator(phase, self.stores.documents, self.stores.completion_log, checkpoints, self._clock)

    def headline(self, text: str) -> None:
        """Print a line that says what comes."""
        self._console.rule(text, align="left")

    def run(self, steps: Sequence[Step], first: date, last: date, until: datetime) -> Report:
        """Play `steps` in the order of their times, with a canary run every 15 minutes up to `until`.

        The game dates `first` to `last` are judged. Returns a last report, over all of them that were.
        """
        waiting = sorted(steps, key=lambda step: step.at, reverse=True)
        ticks = list(_ticks(waiting[-1].at, until)) if waiting else []
        with ProgressBar(console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            for tick in bar.track(ticks, description="simulated time"):
                while waiting and waiting[-1].at <= tick:
                    step = waiting.pop()
                    self._clock.now = step.at
                    step.act()
                self._clock.now = tick
                self._tick(first, last, tick)
        report = self._check(sorted(self._verdicts), until)
        print_table(self._console, report.verdicts, {self.phase.name: self.phase})
        self.stores.close()
        return report

    def _leave(self, checkpoint: Checkpoint) -> None:
        self.stores.checkpoints(checkpoint)
        self._show(checkpoint)

    def _check(self, dates: Sequence[date], now: datetime) -> Report:
        sources = Sources(self.stores.documents, self.stores.completion_log)
        return check(sources, {self.phase.name: self.phase}, now, {self.phase.name: dates})

    def _tick(self, first: date, last: date, now: datetime) -> None:
        dates = [day for day in self.phase.recent_dates(now, self.phase.lookback_dates) if first <= day <= last]
        if dates:
            for verdict in self._check(dates, now).verdicts:
                self._tell(verdict, now)

    def _tell(self, verdict: Verdict, now: datetime) -> None:
        """Show a verdict when it is another than at the last tick."""
        before = self._verdicts.get(verdict.game_date)
        self._verdicts[verdict.game_date] = verdict
        if before is not None and before.kind is verdict.kind:
            return
        if verdict.kind.is_problem:
            self._alerted.setdefault(verdict.game_date, (verdict, now))
            print_alert(self._console, verdict, self.phase, now)
        elif verdict.kind.is_quiet and verdict.game_date in self._alerted:
            print_over(self._console, *self._alerted.pop(verdict.game_date), verdict, now)
        else:
            print_line(self._console, verdict, now)


def _ticks(first: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the quarter hours from the one after `first` up to the one at or after `until`."""
    tick = first.replace(minute=first.minute // 15 * 15, second=0, microsecond=0)
    while tick < until:
        tick += TICK
        yield tick
