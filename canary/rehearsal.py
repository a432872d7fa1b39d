"""The real orchestrator and the real canary on simulated time, with embedded stores in a folder.

`canary demo` and `canary replay` are rehearsals; they differ in where their deliveries come from, and
in how much of what happens they show.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from rich.console import Console
from rich.progress import Progress as ProgressBar

from canary.message import CommandLine
from canary.run import Report, check, watch
from canary.telling import Notice
from canary.terminal import TerminalNotifier, print_line
from canary.timeline import Timeline, ticks
from canary.verdict import Verdict, VerdictKind
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


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show: a headline, a checkpoint, a notice, or a date's new verdict that is no problem."""

    at: datetime
    what: str | Checkpoint | Notice | Verdict


Show = Callable[[Event], None]


class Rehearsal:
    """The orchestrators and the canary of one rehearsal, on `stores` of its own; `show` is given all that happens."""

    def __init__(self, phase: Phase, stores: EmbeddedStores, show: Show) -> None:
        self.phase = phase
        self.stores = stores
        self._timeline = Timeline(datetime.min.replace(tzinfo=UTC))
        self._show = show
        self._last_kinds: dict[date, VerdictKind] = {}

    def orchestrator(self, phase: Phase) -> Orchestrator:
        """Return a real orchestrator that waits for `phase`, on the rehearsal's stores and clock."""
        clock, checkpoints = self._timeline.clock, self.checkpoints(phase)
        return Orchestrator(phase, self.stores.documents, self.stores.completion_log, checkpoints, clock)

    def checkpoints(self, phase: Phase) -> CheckpointLogger:
        """Return a logger that shows its lines and keeps them in the rehearsal's stores."""
        return CheckpointLogger(phase, self._leave, clock=self._timeline.clock)

    def headline(self, text: str) -> None:
        """Say what comes."""
        self._show(Event(self._timeline.clock.now, text))

    def run(self, steps: Sequence[Step], dates: Collection[date], until: datetime, console: Console) -> Report:
        """Play `steps` in the order of their times, with a canary run every 15 minutes, up to `until`.

        Each run judges those of the game `dates` that are in its look-back window. A terminal gets a
        progress bar meanwhile. Returns a last report, over all of them.
        """
        for step in steps:
            self._timeline.at(step.at, step.act)
        quarter_hours = list(ticks(min(step.at for step in steps), until))
        with ProgressBar(console=console, transient=True, disable=not console.is_terminal) as bar:
            for tick in bar.track(quarter_hours, description="simulated time"):
                self._timeline.play(until=tick)
                self._tick(dates, tick)
            self._timeline.play(until)
        return check(self.stores, {self.phase.name: self.phase}, until, {self.phase.name: sorted(dates)})

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """Be the canary's notifier."""
        for notice in notices:
            self._show(Event(now, notice))

    def _leave(self, checkpoint: Checkpoint) -> None:
        self.stores.checkpoints(checkpoint)
        self._show(Event(checkpoint.at, checkpoint))

    def _tick(self, dates: Collection[date], now: datetime) -> None:
        """Run the canary over what it looks at by itself: the look-back window, and the problems before it."""
        window = self.phase.recent_dates(now, self.phase.lookback_dates)
        problems = {day for day, kind in self._last_kinds.items() if kind.is_problem}
        history = {day for day in self.phase.recent_dates(now, self.phase.history_dates) if day in problems}
        wanted = [day for day in dates if day in history.union(window)]
        if not wanted:
            return
        report = watch(self.stores, {self.phase.name: self.phase}, self, now, {self.phase.name: sorted(wanted)})
        for verdict in report.verdicts:
            if not verdict.kind.is_problem and self._last_kinds.get(verdict.game_date) is not verdict.kind:
                self._show(Event(now, verdict))
            self._last_kinds[verdict.game_date] = verdict.kind


def show_everything(console: Console, phase: Phase, command: CommandLine) -> Show:
    """Return what prints each event as it happens."""
    line, notifier = terminal_lines(), TerminalNotifier(console, {phase.name: phase}, command)

    def show(event: Event) -> None:
        match event.what:
            case str() as headline:
                console.rule(headline, align="left")
            case Checkpoint() as checkpoint:
                line(checkpoint)
            case Notice() as notice:
                notifier.send([notice], event.at)
            case Verdict() as verdict:
                print_line(console, verdict, event.at)

    return show
