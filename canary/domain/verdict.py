"""judge(evidence, phase, now): what has to be said about one (phase, game date).

A verdict is reached from sources that could be read; where one that matters could not, it is
UNKNOWN, which is neither an all-clear nor an accusation.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property

from canary.domain.evidence import Absent, Evidence, Logged, Seen, Source, Unreadable, value_or
from orchestrator_resilience.checkpoints import one_line
from orchestrator_resilience.completion import Status
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress, Registration, Trigger


class VerdictKind(StrEnum):
    """Every verdict there is."""

    IDLE = "IDLE"
    WAITING = "WAITING"
    SETTLING = "SETTLING"
    TRIGGERED = "TRIGGERED"
    UNTRIGGERED = "UNTRIGGERED"
    PREMATURE = "PREMATURE"
    INCOMPLETE = "INCOMPLETE"
    SILENT = "SILENT"
    DOWNSTREAM_MISSING = "DOWNSTREAM_MISSING"
    STORES_DISAGREE = "STORES_DISAGREE"
    UNKNOWN = "UNKNOWN"

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has to do anything."""
        return self in _QUIET

    @property
    def is_problem(self) -> bool:
        """Whether something is wrong, as opposed to quiet or unknown."""
        return not self.is_quiet and self is not VerdictKind.UNKNOWN


_QUIET = {VerdictKind.IDLE, VerdictKind.WAITING, VerdictKind.SETTLING, VerdictKind.TRIGGERED}
_NO_WORK = {Status.NO_DATA, Status.SKIPPED}


class Impact(StrEnum):
    """Whether the next phase has its output in spite of the problem."""

    NONE = "NONE"
    BLOCKED = "BLOCKED"
    UNKNOWN = "UNKNOWN"


class CauseKind(StrEnum):
    """Every cause there is."""

    NEVER_INVOKED = "NEVER_INVOKED"
    MESSAGE_REJECTED = "MESSAGE_REJECTED"
    DELIVERY_LOST = "DELIVERY_LOST"
    CRASHED = "CRASHED"
    WRITE_FAILED = "WRITE_FAILED"
    SHORT_CIRCUIT = "SHORT_CIRCUIT"
    EXPECTATION_DRIFT = "EXPECTATION_DRIFT"
    NAME_DRIFT = "NAME_DRIFT"
    PROCESSOR_DISABLED = "PROCESSOR_DISABLED"
    PROCESSOR_FAILED = "PROCESSOR_FAILED"
    FLAG_OVERWRITTEN = "FLAG_OVERWRITTEN"
    UNDETERMINED = "UNDETERMINED"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why: the kind, the facts that prove it in one sentence, and what was looked for and not found."""

    kind: CauseKind
    proof: str
    ruled_out: tuple[CauseKind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said about one (phase, game date).

    `summary` is one sentence. `since` (UTC) is when the state began, where that is known: the moment
    of completion for SETTLING and UNTRIGGERED, the deadline for what is late. `completed` and
    `missing` are expected processors, `unexpected` are other names. `triggered` is None where the
    flag could not be read, `impact` is None unless there is a problem. `notes` are further facts.
    `cause` is what the diagnosis adds to a problem. An UNKNOWN is `unreadable` where a source could not be
    read; else everything could be, and nothing says whether there was work. `output` is the number of
    rows that the next phase wrote, `work` that of the games; each is None where nothing says so.
    """

    kind: VerdictKind
    phase: str
    game_date: date
    summary: str
    since: datetime | None = None
    completed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    triggered: bool | None = None
    impact: Impact | None = None
    notes: tuple[str, ...] = ()
    cause: Cause | None = None
    unreadable: bool = False
    output: int | None = None
    work: int | None = None


def judge(evidence: Evidence, phase: Phase, now: datetime) -> Verdict:
    """Judge one (phase, game date) at `now` (aware); the rules are in the README's verdict table."""
    if (
        phase.bigquery_carries_flag
        and isinstance(evidence.completion_log, Seen)
        and isinstance(evidence.progress, Unreadable)
    ):
        reason = evidence.progress.reason
        verdict = judge(replace(evidence, progress=_progress_from(evidence.completion_log.value, phase)), phase, now)
        note = f"Firestore could not be read ({reason}): the flag is BigQuery's"
        return replace(verdict, notes=(*verdict.notes, note))
    unreadable = [s.reason for s in (evidence.completion_log, evidence.progress) if isinstance(s, Unreadable)]
    if unreadable:
        return Verdict(
            kind=VerdictKind.UNKNOWN,
            phase=phase.name,
            game_date=evidence.game_date,
            summary=f"could not tell: {'; '.join(unreadable)}",
            unreadable=True,
        )
    case = _Case(evidence, phase, now)
    if case.progress.trigger is not None:
        return _judge_triggered(case, case.progress.trigger)
    return _judge_incomplete(case) if case.missing else _judge_complete(case)


def _progress_from(completion_log: Logged, phase: Phase) -> Seen[Progress]:
    """Take the completion log's word for what the progress document would say."""
    trigger = Trigger(at=completion_log.triggered_at, reason=None) if completion_log.triggered else None
    registered = {name: Registration(arrival.completed_at) for name, arrival in completion_log.completed.items()}
    return Seen(Progress(phase.expected, registered, trigger=trigger))


@dataclass(frozen=True)
class _Case:
    """One date's readable evidence; a processor has completed when either store says so."""

    evidence: Evidence
    phase: Phase
    now: datetime

    @cached_property
    def completion_log(self) -> Logged:
        return value_or(self.evidence.completion_log, Logged())

    @cached_property
    def progress(self) -> Progress:
        return value_or(self.evidence.progress, Progress(expected=self.phase.expected))

    @cached_property
    def completed_at(self) -> dict[str, datetime | None]:
        """The first success of each processor that has one; None where old code noted no time."""
        found: dict[str, datetime | None] = {}
        for processor in sorted(self.completion_log.completed.keys() | self.progress.completed):
            arrival = self.completion_log.completed.get(processor)
            registration = self.progress.registered.get(processor)
            times = (arrival and arrival.completed_at, registration and registration.completed_at)
            found[processor] = min((at for at in times if at), default=None)
        return found

    @cached_property
    def missing(self) -> list[str]:
        return sorted(self.phase.expected - self.completed_at.keys())

    @cached_property
    def unexpected(self) -> list[str]:
        # These names come from outside, and end up in terminals and messages.
        return sorted({one_line(name, 128) for name in self.completion_log.unexpected | self.progress.unexpected})

    @cached_property
    def deadline(self) -> datetime:
        return self.phase.deadline(self.evidence.game_date)

    @cached_property
    def complete_at(self) -> datetime:
        """When the set became complete: the last of the first successes, so a re-run changes nothing.

        Where old documents give no time, the deadline stands in for it here and below: too late
        rather than too early, because the time accuses.
        """
        return max(at or self.deadline for at in self.completed_at.values())

    @property
    def has_settled(self) -> bool:
        """Whether the completion log had all its rows for long enough to have been worked on."""
        visible_at = max(
            (arrival.visible_at for arrival in self.completion_log.completed.values()), default=self.complete_at
        )
        return self.now - visible_at >= self.phase.settle

    @property
    def output_is_due(self) -> bool:
        """Whether the next phase has had the time to write something, since the trigger or the completion."""
        trigger = self.progress.trigger
        if trigger is not None:
            return self.now - (trigger.at or self.deadline) >= self.phase.downstream_after
        return not self.missing and self.now - self.complete_at >= self.phase.downstream_after

    @property
    def had_no_work(self) -> bool:
        """Whether there were no games, or every processor says that it had nothing to do."""
        silent = all(self.completion_log.statuses.get(processor) in _NO_WORK for processor in self.phase.expected)
        return self.evidence.work == Seen(0) or (silent and not self.completed_at)

    def verdict(self, kind: VerdictKind, summary: str, since: datetime | None = None) -> Verdict:
        return Verdict(
            kind=kind,
            phase=self.phase.name,
            game_date=self.evidence.game_date,
            summary=summary,
            since=since if since is None or since <= self.now else None,
            completed=tuple(self.completed_at),
            missing=tuple(self.missing),
            unexpected=tuple(self.unexpected),
            triggered=self.progress.trigger is not None,
            impact=_impact(self) if kind.is_problem else None,
            notes=_notes(self),
            output=_counted(self.evidence.outcome),
            work=_counted(self.evidence.work),
        )

    def unknown(self, reason: str, *, unreadable: bool = True) -> Verdict:
        return replace(self.verdict(VerdictKind.UNKNOWN, f"could not tell: {reason}"), unreadable=unreadable)


def _counted(source: Source[int]) -> int | None:
    return source.value if isinstance(source, Seen) else None


def _judge_triggered(case: _Case, trigger: Trigger) -> Verdict:
    phase, missing = case.phase, names(case.missing)
    if missing and not trigger.deliberately_partial and not case.had_no_work:
        return case.verdict(
            VerdictKind.PREMATURE, f"`_triggered` is set, but these have not completed: {missing}", trigger.at
        )
    if case.output_is_due and isinstance(case.evidence.outcome, Unreadable):
        return case.unknown(f"the output of {phase.next_phase}: {case.evidence.outcome.reason}")
    if case.output_is_due and case.evidence.outcome == Seen(0) and not case.had_no_work:
        if isinstance(case.evidence.work, Unreadable):
            return case.unknown(f"how much work there was: {case.evidence.work.reason}")
        summary = f"`_triggered` is set, but {phase.next_phase} has written nothing"
        return case.verdict(VerdictKind.DOWNSTREAM_MISSING, summary, trigger.at)
    if gap := _gap(case):
        return case.verdict(VerdictKind.STORES_DISAGREE, gap)
    summary = f"{len(case.completed_at)} of {len(phase.expected)} complete, `_triggered` is set"
    if missing:
        summary += f" without {missing}: {trigger.reason or 'no reason given'}"
    return case.verdict(VerdictKind.TRIGGERED, summary, trigger.at)


def _judge_complete(case: _Case) -> Verdict:
    """Apply the rule of the mission: the set complete, the flag unset, 30 minutes later."""
    age = case.now - case.complete_at
    when = "at a time that nobody wrote down" if None in case.completed_at.values() else f"{duration_text(age)} ago"
    summary = f"all {len(case.phase.expected)} processors completed {when}, `_triggered` is still unset"
    if age >= case.phase.untriggered_after and case.has_settled:
        return case.verdict(VerdictKind.UNTRIGGERED, summary, case.complete_at)
    if gap := _gap(case):  # one that is open already does not end by the set becoming complete
        return case.verdict(VerdictKind.STORES_DISAGREE, gap)
    return case.verdict(VerdictKind.SETTLING, summary, case.complete_at)


def _judge_incomplete(case: _Case) -> Verdict:
    work, missing = case.evidence.work, names(case.missing)
    if case.had_no_work:
        who = "there was" if work == Seen(0) else "every processor reports that it had"
        return case.verdict(VerdictKind.IDLE, f"{who} no work to do")
    if case.now < case.deadline:
        if gap := _gap(case):
            return case.verdict(VerdictKind.STORES_DISAGREE, gap)
        first = min((at for at in case.completed_at.values() if at), default=None)
        done = f"{len(case.completed_at)} of {len(case.phase.expected)} complete"
        return case.verdict(VerdictKind.WAITING, f"{done}, waiting for {missing}" if case.completed_at else done, first)
    late = f"{duration_text(case.now - case.deadline)} past the deadline"
    if isinstance(work, Unreadable):
        return case.unknown(f"how much work there was: {work.reason}")
    if case.completion_log.statuses or case.unexpected or case.completed_at:
        return case.verdict(VerdictKind.INCOMPLETE, f"not completed, {late}: {missing}", case.deadline)
    if isinstance(work, Absent):
        return case.unknown(
            f"nothing has arrived, {late}, and no source says whether there was work to do", unreadable=False
        )
    summary = f"nothing has arrived, {late}, although there was work to do ({work.value})"
    return case.verdict(VerdictKind.SILENT, summary, case.deadline)


def _gap(case: _Case) -> str | None:
    """Say where the two stores disagree on a completion that the other has had time to take up.

    Counted from when a store took it up itself, not from when it was published: messages may come late.
    A processor for which the orchestrator does not wait needs no time: it will never be registered.
    """
    recorded, registered = case.completion_log.completed, case.progress.registered
    waits_for = (
        case.phase.expected if case.progress.orchestrator_expected is None else case.progress.orchestrator_expected
    )

    def old(at: datetime | None) -> bool:
        return case.now - (at or case.deadline) >= case.phase.untriggered_after

    unregistered = names(
        p for p, row in recorded.items() if p not in registered and (p not in waits_for or old(row.visible_at))
    )
    unrecorded = names(
        p for p, entry in registered.items() if p not in recorded and old(entry.registered_at or entry.completed_at)
    )
    parts = []
    if unregistered:
        parts.append(f"in the completion log, but not in the progress document: {unregistered}")
    if unrecorded:
        parts.append(f"in the progress document, but not in the completion log: {unrecorded}")
    return "; ".join(parts) or None


def _impact(case: _Case) -> Impact:
    """Say whether the next phase ran; that it wrote nothing counts only once it has had the time to."""
    match case.evidence.outcome:
        case Seen(0):
            return Impact.BLOCKED if case.output_is_due else Impact.UNKNOWN
        case Seen():
            return Impact.NONE
        case Absent() | Unreadable():
            return Impact.UNKNOWN


def _notes(case: _Case) -> tuple[str, ...]:
    """List what else the evidence says, for the reader who looks for the cause."""
    phase, statuses = case.phase, case.completion_log.statuses
    orchestrator_expected = (
        case.progress.orchestrator_expected if case.progress.orchestrator_expected is not None else phase.expected
    )
    notes = []
    if not case.missing and case.progress.trigger is None:
        unregistered = names(case.phase.expected - case.progress.completed)
        notes.append(
            f"not registered in the progress document: {unregistered}"
            if unregistered
            else f"all {len(phase.expected)} are registered in the progress document"
        )
    if surplus := names(orchestrator_expected - phase.expected):
        notes.append(f"the orchestrator also waits for {surplus}, which {phase.name} does not expect")
    if lacking := names(phase.expected - orchestrator_expected):
        notes.append(f"the orchestrator does not wait for {lacking}, which {phase.name} expects")
    for unexpected in case.unexpected:
        nearest = phase.nearest(unexpected)
        notes.append(f"{unexpected} is not expected" + (f"; the nearest expected name is {nearest}" if nearest else ""))
    if failed := names(p for p in case.missing if statuses.get(p) == Status.FAILED):
        notes.append(f"reported failure: {failed}")
    if case.completion_log.triggered and case.progress.trigger is None:
        notes.append("the completion log says that `_triggered` was set once")
    return tuple(notes)


def names(processors: Iterable[str]) -> str:
    """List names in their order; empty where there are none."""
    return ", ".join(sorted(processors))


def duration_text(duration: timedelta) -> str:
    """Say a duration as people do: "34 min", "5 h 02 min", "3 d 04 h"; what is less is dropped."""
    total = max(0, int(duration.total_seconds() // 60))
    days, hours, rest = total // 1440, total // 60 % 24, total % 60
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"
