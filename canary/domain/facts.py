"""The facts of one date: what follows from its evidence, for the verdict and for the path alike."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import cached_property

import msgspec
from msgspec.structs import force_setattr

from canary.domain.clocks import believed_log, believed_progress
from canary.domain.evidence import Evidence, Logged, Seen, merged, value_or
from orchestrator_resilience.completion import Status
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress

# So long a completion that one place has may take to reach the next: the function, the other store.
TAKEN_UP_AFTER = timedelta(minutes=30)
_NO_REPORTS = Progress(frozenset())
_NO_WORK = {Status.NO_DATA, Status.SKIPPED}


class Heard(msgspec.Struct, frozen=True):
    """What the lines of a date's deliveries say that a verdict depends on.

    `processors` are those of which there is one, whatever the stores have of it. `not_started` is
    why the next phase was not started, in the words of the code; empty where no line says so, or a
    later one that it was.
    """

    processors: frozenset[str] = frozenset()
    not_started: str = ""


NOTHING_HEARD = Heard()


class Facts(msgspec.Struct, frozen=True, dict=True):
    """The evidence of one date as it is at `now` (aware), and what follows from it.

    `phase` is the phase as it is on that date. Times are those that can be believed (clocks.py). A
    source that has nothing, or that could not be read, is empty here: whether that matters is for
    each rule to say. `heard` is what the lines of its deliveries say.
    """

    evidence: Evidence
    phase: Phase
    now: datetime
    heard: Heard = NOTHING_HEARD

    def __post_init__(self) -> None:
        """Take the phase as it is on the date, in its mode."""
        force_setattr(self, "phase", self.phase.on(self.game_date, self.evidence.mode))

    @property
    def game_date(self) -> date:
        """The date that the facts are about."""
        return self.evidence.game_date

    @cached_property
    def completion_log(self) -> Logged:
        """What the completion log and the message log say together.

        A completion that either of them has is proven.
        """
        return merged(self.rows, self.messages)

    @cached_property
    def rows(self) -> Logged:
        """What the orchestrator's own rows say."""
        return believed_log(
            value_or(self.evidence.completion_log, Logged()), self.now, self.deadline
        )

    @cached_property
    def messages(self) -> Logged:
        """What the messages say that Pub/Sub wrote down."""
        return believed_log(value_or(self.evidence.messages, Logged()), self.now, self.deadline)

    @cached_property
    def progress(self) -> Progress:
        """What the progress document says."""
        return believed_progress(
            value_or(self.evidence.progress, Progress(expected=self.phase.expected)), self.now
        )

    @property
    def waits_for(self) -> frozenset[str]:
        """What the orchestrator waits for.

        An orchestrator that does not say so is taken to expect what the phase expects.
        """
        return (
            self.phase.expected
            if self.progress.orchestrator_expected is None
            else self.progress.orchestrator_expected
        )

    # What has completed

    @cached_property
    def completed_at(self) -> dict[str, datetime | None]:
        """The first success of each processor that has completed in either store.

        None where old code noted no time.
        """
        sources = (
            {name: arrival.completed_at for name, arrival in self.completion_log.completed.items()},
            {name: entry.completed_at for name, entry in self.progress.registered.items()},
            {name: self.progress.reports[name].at for name in self.taken_for_unexpected},
        )
        return {
            name: min((at for times in sources if (at := times.get(name))), default=None)
            for name in sorted({*sources[0], *self.progress.completed, *sources[2]})
        }

    @cached_property
    def taken_for_unexpected(self) -> list[str]:
        """Expected processors that completed, and that the orchestrator took for unexpected."""
        return sorted(
            name
            for name, report in self.progress.reports.items()
            if self.phase.completes(report.status)
        )

    @cached_property
    def missing(self) -> list[str]:
        """Expected processors that have completed in neither store."""
        return sorted(self.phase.expected - self.completed_at.keys())

    @property
    def is_complete(self) -> bool:
        """Whether as many have completed as the phase's own rule asks for."""
        return self.phase.is_complete(self.completed_at)

    @cached_property
    def overdue(self) -> list[str]:
        """Those of the missing whose own deadline has passed."""
        return [name for name in self.missing if self.is_late(name)]

    def is_late(self, name: str) -> bool:
        """Whether a processor should have completed by now."""
        return self.now >= self.phase.deadline(self.game_date, name)

    def may_have_completed(self, processor: str) -> bool:
        """Whether a processor may have completed before the flag was set without a trace of it.

        The document shows only a run after the flag, and the log is younger than the date.
        """
        report, trigger, since = (
            self.progress.reports.get(processor),
            self.progress.trigger,
            self.evidence.log_since,
        )
        is_rerun = report and trigger and report.at and trigger.at and report.at > trigger.at
        return bool(is_rerun) and (since is None or since > self.phase.begins(self.game_date))

    @cached_property
    def last_status(self) -> dict[str, str]:
        """What each expected processor last reported, to whichever store heard of it last."""
        reports = dict(self.progress.reports)
        for processor, report in self.completion_log.reports.items():
            last = reports.get(processor)
            if last is None or last.at is None or (report.at is not None and report.at > last.at):
                reports[processor] = report
        return {processor: report.status for processor, report in reports.items()}

    @cached_property
    def failed(self) -> list[str]:
        """Missing processors whose last report is a failure."""
        return [p for p in self.missing if self.last_status.get(p) == Status.FAILED]

    def has_reported(self, processor: str) -> bool:
        """Whether either store has heard of an expected processor, whatever it said."""
        return processor in self.last_status or processor in self.completed_at

    @cached_property
    def unregistered(self) -> frozenset[str]:
        """Expected processors that the progress document lacks."""
        return self.phase.expected - self.progress.completed

    @cached_property
    def unexpected(self) -> list[str]:
        """Unexpected processors that either store knows of."""
        return sorted(self.completion_log.unexpected | self.progress.unexpected)

    # When

    @cached_property
    def deadline(self) -> datetime:
        """The moment (UTC) by which all should have completed."""
        return self.phase.deadline(self.game_date)

    def had_time(self, at: datetime) -> bool:
        """Whether what happened at `at` should have been taken up by now."""
        return self.now - at >= TAKEN_UP_AFTER

    @cached_property
    def complete_at(self) -> datetime:
        """When the set became complete: the last of the first successes that it needs.

        A re-run changes nothing. Where old documents give no time, the deadline is taken for it,
        here and below: rather too late than too early, because an alert follows from it.
        """
        times = {name: at or self.deadline for name, at in self.completed_at.items()}
        critical = [times[name] for name in self.phase.critical if name in times]
        complete_at = max([sorted(times.values())[self.phase.needed - 1], *critical])
        # A tracker may renew its times at each report: it was complete when the canary saw that.
        # Not with modes, of which each counts another set.
        seen_at = None if self.phase.modes else self.evidence.complete_seen_at
        return min(complete_at, seen_at or complete_at)

    @cached_property
    def handled_at(self) -> dict[str, datetime]:
        """When a delivery of each processor wrote into the stores, where a time is known."""
        rows = {name: arrival.visible_at for name, arrival in self.rows.completed.items()}
        return rows | self.registered_at

    @cached_property
    def registered_at(self) -> dict[str, datetime]:
        """When each processor was registered, where a time is known.

        Old code noted when it had completed.
        """
        times = {
            n: entry.registered_at or entry.completed_at
            for n, entry in self.progress.registered.items()
        }
        return {name: at for name, at in times.items() if at is not None}

    @property
    def has_settled(self) -> bool:
        """Whether the rows have been in the completion log long enough to have been worked on."""
        rows = self.completion_log.completed.values()
        visible_at = max((arrival.visible_at for arrival in rows), default=self.complete_at)
        return self.now - visible_at >= self.phase.settle

    @property
    def output_is_due(self) -> bool:
        """Whether the next phase has had the time to write something.

        The time counts from the trigger. Without one it counts from when the set was complete, and
        from the deadline at the latest, whichever processors are missing.
        """
        due = min(self.deadline, self.complete_at) if self.is_complete else self.deadline
        trigger = self.progress.trigger
        return (
            self.now - (due if trigger is None else trigger.at or self.deadline)
            >= self.phase.downstream_after
        )

    @property
    def start_was_refused(self) -> bool:
        """Whether the code says that it did not start the next phase, which nothing else starts."""
        return self.phase.flag_starts_next_phase and bool(self.heard.not_started)

    @property
    def awaits_output(self) -> bool:
        """Whether what the flag starts should have been started, and has written nothing yet."""
        is_decided = self.progress.trigger is not None or self.is_complete
        return self.phase.flag_starts_next_phase and is_decided and not self.output

    @property
    def output(self) -> int | None:
        """What the next phase wrote, as its outcome query counts it."""
        return self.evidence.outcome.value if isinstance(self.evidence.outcome, Seen) else None

    @property
    def work(self) -> int | None:
        """How many games there were."""
        return self.evidence.work.value if isinstance(self.evidence.work, Seen) else None

    @property
    def output_is_partial(self) -> bool:
        """Whether the next phase has some of the games, and lacks others.

        That can be said only where both are counted in games.
        """
        return self.phase.outcome_counts_games and 0 < (self.output or 0) < (self.work or 0)

    @property
    def had_no_work(self) -> bool:
        """Whether there was no work to do.

        There were no games; or no source counts them, and every processor says that it had none.
        """
        return self.work == 0 or (not self.work and self.report_no_work(self.phase.expected))

    def report_no_work(self, processors: Iterable[str]) -> bool:
        """Whether each of them says that it had nothing to do, and nobody has completed."""
        return not self.completed_at and all(
            self.last_status.get(name) in _NO_WORK for name in processors
        )

    @property
    def set_in_another_mode(self) -> bool:
        """Whether the flag was set by a mode with fewer processors, and by that mode's deadline.

        It says nothing of this mode's set then.
        """
        at = self.progress.trigger.at if self.progress.trigger else None
        completed = [
            name
            for name, completed_at in self.completed_at.items()
            if at and (completed_at or at) <= at
        ]
        smaller = (
            mode
            for mode in map(self.phase.in_mode, self.phase.modes)
            if mode.expected < self.phase.expected
        )
        return any(
            at and at <= mode.deadline(self.game_date) and mode.is_complete(completed)
            for mode in smaller
        )


def newcomers(evidence: Evidence, phase: Phase, history: Iterable[Evidence]) -> frozenset[str]:
    """Return the processors that are expected of a date now, and that nobody knew of then.

    The orchestrator says what it waited for, on this date and on another one, and they are not in
    it; and no date of the `history` up to this one has a report of them. A processor that had
    reported before, and is left out, is a mistake of the orchestrator's instead, and so is a list
    that it gives on one date only.
    """
    orchestrator_expected = value_or(evidence.progress, _NO_REPORTS).orchestrator_expected
    expected = phase.on(evidence.game_date, evidence.mode).expected
    # A list of other names altogether is none that grew.
    if not orchestrator_expected or orchestrator_expected.isdisjoint(expected):
        return frozenset()
    neighbours = [
        neighbour
        for neighbour in history
        if neighbour.phase == evidence.phase and neighbour.game_date != evidence.game_date
    ]
    if not any(
        value_or(neighbour.progress, _NO_REPORTS).orchestrator_expected for neighbour in neighbours
    ):
        return frozenset()
    before = [neighbour for neighbour in neighbours if neighbour.game_date < evidence.game_date]
    return expected.difference(
        orchestrator_expected, *(_known_names(neighbour) for neighbour in (evidence, *before))
    )


def _known_names(evidence: Evidence) -> frozenset[str]:
    """Return the processors that have reported of a date, or that the orchestrator waited for."""
    rows, messages = (
        value_or(source, Logged()).reports
        for source in (evidence.completion_log, evidence.messages)
    )
    progress = value_or(evidence.progress, _NO_REPORTS)
    reported = rows.keys() | messages.keys() | progress.reports.keys() | progress.registered.keys()
    return frozenset(reported).union(progress.orchestrator_expected or ())
