"""The real orchestrator and the real canary on simulated time, with embedded stores in a folder.

`canary demo` and `canary replay` are rehearsals; they differ in where their deliveries come from.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from rich.console import Console
from rich.progress import Progress as ProgressBar

from canary.run import Report, check, watch
from canary.terminal import TerminalNotifier, print_line, print_table
from canary.timeline import Timeline, ticks
from canary.verdict import VerdictKind
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.sinks import terminal_lines
from orchestrator_resilience.stores.embedded import EmbeddedStores


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment of simulated time (UTC)."""

    at: datetime
    act: Callable[[], None]


class Rehearsal:
    """The orchestrators and the canary of one rehearsal, on `stores` of its own."""

    def __init__(self, phase: Phase, stores: EmbeddedStores, console: Console) -> None:
        self.phase = phase
        self.stores = stores
        self._timeline = Timeline(datetime.min.replace(tzinfo=UTC))
        self._console = console
        self._show = terminal_lines()
        self._notifier = TerminalNotifier(console, {phase.name: phase})
        self._last_kinds: dict[date, VerdictKind] = {}

    def orchestrator(self, phase: Phase) -> Orchestrator:
        """Return a real orchestrator that waits for `phase`, on the rehearsal's stores and clock."""
        clock, checkpoints = self._timeline.clock, self.checkpoints(phase)
        return Orchestrator(phase, self.stores.documents, self.stores.completion_log, checkpoints, clock)

    def checkpoints(self, phase: Phase) -> CheckpointLogger:
        """Return a logger that prints its lines and keeps them in the rehearsal's stores."""
        return CheckpointLogger(phase, self._leave, clock=self._timeline.clock)

    def headline(self, text: str) -> None:
        """Print a line that says what comes."""
        self._console.rule(text, align="left")

    def run(self, steps: Sequence[Step], dates: Collection[date], until: datetime) -> Report:
        """Play `steps` in the order of their times, with a canary run every 15 minutes, up to `until`.

        Each run judges those of the game `dates` that are in its look-back window. Returns a last
        report, over all of them.
        """
        for step in steps:
            self._timeline.at(step.at, step.act)
        quarter_hours = list(ticks(min(step.at for step in steps), until))
        with ProgressBar(console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            for tick in bar.track(quarter_hours, description="simulated time"):
                self._timeline.play(until=tick)
                self._tick(dates, tick)
            self._timeline.play(until)
        phases = {self.phase.name: self.phase}
        report = check(self.stores, phases, until, {self.phase.name: sorted(dates)})
        print_table(self._console, report.verdicts, phases)
        return report

    def _leave(self, checkpoint: Checkpoint) -> None:
        self.stores.checkpoints(checkpoint)
        self._show(checkpoint)

    def _tick(self, dates: Collection[date], now: datetime) -> None:
        recent = [day for day in self.phase.recent_dates(now, self.phase.lookback_dates) if day in dates]
        if not recent:
            return
        report = watch(self.stores, {self.phase.name: self.phase}, self._notifier, now, {self.phase.name: recent})
        for verdict in report.verdicts:
            if not verdict.kind.is_problem and self._last_kinds.get(verdict.game_date) is not verdict.kind:
                print_line(self._console, verdict, now)
            self._last_kinds[verdict.game_date] = verdict.kind
