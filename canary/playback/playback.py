"""The real orchestrator and the real canary on simulated time, with embedded stores in a folder.

`canary demo` and `canary replay` play deliveries back; they differ in where these come from, and in
how much of what happens is shown.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime

from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels, Notification, Warned
from canary.playback.schedule import Schedule, ticks
from canary.run import Report, check_dates, watch
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.embedded import EmbeddedStores

# Something that happens at a moment of simulated time (UTC).
PlannedStep = tuple[datetime, Callable[[], None]]
# Something to show, and when: a headline, a checkpoint, a notification, or a date's new verdict
# that is no problem.
Happening = tuple[datetime, str | Checkpoint | Notification | Verdict]
Show = Callable[[Happening], None]


class Playback:
    """The orchestrators and the canary, on `stores` of their own.

    `show` is called with everything that happens.
    """

    def __init__(self, phase: Phase, stores: EmbeddedStores, show: Show) -> None:
        self.phase = phase
        self.stores = stores
        self._schedule = Schedule(datetime.min.replace(tzinfo=UTC))
        self._show = show
        self._last_kinds: dict[date, VerdictKind] = {}
        self._problems: set[date] = set()
        self._channels = Channels(self)

    def orchestrator(self, phase: Phase) -> Orchestrator:
        """Return a real orchestrator that waits for `phase`, on the playback's stores and clock."""
        clock, checkpoints = self._schedule.clock, self.checkpoints(phase)
        return Orchestrator(
            phase,
            self.stores.documents,
            self.stores.completion_log,
            checkpoints,
            clock,
            beside=AtOnce,
        )

    def checkpoints(self, phase: Phase) -> CheckpointLogger:
        """Return a logger that shows its lines and keeps them in the playback's stores."""
        return CheckpointLogger(phase, self._leave, clock=self._schedule.clock)

    def run(self, steps: Sequence[PlannedStep], dates: Collection[date], until: datetime) -> Report:
        """Play `steps` at their times up to `until`, with a canary run every 15 minutes.

        Each run judges those of the game `dates` that are in its look-back window. Returns a last
        report, over all of them.
        """
        for at, act in steps:
            self._schedule.at(at, act)
        for tick in ticks(min(at for at, _ in steps), until):
            self._schedule.play(until=tick)
            self._tick(dates, tick)
        self._schedule.play(until)
        return check_dates(
            self.stores, {self.phase.name: self.phase}, until, {self.phase.name: sorted(dates)}
        )

    name = "playback"
    address = ""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Be the canary's channel."""
        for notification in notifications:
            self._show((now, notification))

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (the text has it)
        """Show the text as a headline."""
        self._show((now, text))

    def _leave(self, checkpoint: Checkpoint) -> None:
        self.stores.checkpoints(checkpoint)
        self._show((checkpoint.at, checkpoint))

    def _tick(self, dates: Collection[date], now: datetime) -> None:
        """Run the canary over the look-back window, and over the problems before it."""
        window = self.phase.recent_dates(now, self.phase.lookback_dates)
        history = self._problems.intersection(
            self.phase.recent_dates(now, self.phase.history_dates)
        )
        due_dates = [day for day in dates if day in history.union(window)]
        if not due_dates:
            return
        report = watch(
            self.stores,
            {self.phase.name: self.phase},
            self._channels,
            now,
            {self.phase.name: sorted(due_dates)},
        )
        for verdict in report.verdicts:
            if (
                not verdict.kind.is_problem
                and self._last_kinds.get(verdict.game_date) is not verdict.kind
            ):
                self._show((now, verdict))
            self._last_kinds[verdict.game_date] = verdict.kind
            self._problems |= {verdict.game_date} if verdict.kind.is_problem else set()
