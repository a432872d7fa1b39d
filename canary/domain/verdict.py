"""The verdict: what has to be said about one (phase, game date).

The rules in the order in which they are tried; the first that applies decides:

    the flag is set, and not by another mode while this one's set is incomplete
        PREMATURE           a processor has not completed, the flag was not meant to be
                            partial, and there was work
        DOWNSTREAM_MISSING  the next phase has had its time and has written nothing, and there
                            was work
        DOWNSTREAM_PARTIAL  the same, and it has written some of the games only, where both
                            are counted in games
        STORES_DISAGREE     one store has lacked a completion of the other for too long
        TRIGGERED           otherwise
    the flag is unset, and all have completed, or as many as the phase's own rule asks for
        UNTRIGGERED         30 minutes ago, and the rows have settled
        STORES_DISAGREE     as above
        SETTLING            otherwise
    the flag is unset, and the set is incomplete
        IDLE                there was no work, and nobody failed all the same
        STORES_DISAGREE     as above, and no deadline of those that are missing has passed
        WAITING             no deadline of those that are missing has passed
        INCOMPLETE          something has arrived, or others still have time; and there was
                            work, where nothing arrived
        SILENT              nothing has arrived, and there was work

The one invariant: **what could not be read is neither an all-clear nor an accusation.** Without the
completion log, or the progress document for which BigQuery does not stand in, a date is UNKNOWN;
without the outcome or the work query, where the verdict would rest on it. It is held, over all
evidence, by test_what_cannot_be_read_is_neither_an_all_clear_nor_an_accusation in
tests/canary/test_verdict.py.

UNKNOWN is also given where, at the deadline, nothing has arrived and no source says whether there
was work, or one says that there was none and a processor failed.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Absent, Evidence, Seen, Unreadable
from canary.domain.facts import NOTHING_HEARD, Facts, Heard
from canary.domain.stages import Cause, CauseKind, Standing, Step
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.progress import ALL_COMPLETE, Progress, Registration, Trigger

# How many unexpected names one sentence can hold.
_SHOWN = 4
# How many names of whatever kind, and how much of one: they may come from outside.
_LISTED, _NAME_CHARACTERS = 24, 128
_REASON_CHARACTERS = 200


class VerdictKind(StrEnum):
    """Every verdict there is."""

    IDLE = "IDLE"
    """No work: there were no games, or every processor reports `no_data` or `skipped` and no query
    counts games; or nobody is expected of the date.
    """
    WAITING = "WAITING"
    """Not complete, and before the deadline (`incomplete_by`) of all that are missing."""
    SETTLING = "SETTLING"
    """Complete and untriggered for less than 30 minutes, or its rows are less than 2 minutes old.
    """
    TRIGGERED = "TRIGGERED"
    """`_triggered` is set. The summary says so where it was set on purpose although a processor is
    missing.
    """
    UNTRIGGERED = "UNTRIGGERED"
    """Complete, and `_triggered` unset for 30 minutes or more."""
    PREMATURE = "PREMATURE"
    """`_triggered` is set though a processor is missing."""
    INCOMPLETE = "INCOMPLETE"
    """A processor is still missing at its deadline; the summary has what it last said."""
    SILENT = "SILENT"
    """There was work, and nothing at all arrived by the deadline."""
    DOWNSTREAM_MISSING = "DOWNSTREAM_MISSING"
    """Triggered an hour ago or more, and the next phase has written nothing."""
    DOWNSTREAM_PARTIAL = "DOWNSTREAM_PARTIAL"
    """The same, and the next phase has some of the games only; where `outcome_counts_games`."""
    STORES_DISAGREE = "STORES_DISAGREE"
    """For 30 minutes or more one store has a completion that the other has not; at once where the
    orchestrator does not wait for that processor. What was registered before the completion log had
    its first row does not count.
    """
    UNKNOWN = "UNKNOWN"
    """A source could not be read or understood; or nothing arrived and no source says whether there
    was work, or one says that there was none and a processor failed.
    """

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has to do anything."""
        return self in _QUIET

    @property
    def is_problem(self) -> bool:
        """Whether something is wrong, as opposed to quiet or unknown."""
        return not self.is_quiet and self is not VerdictKind.UNKNOWN

    @property
    def is_of_the_output(self) -> bool:
        """Whether nothing is wrong but the next phase's output."""
        return self in {VerdictKind.DOWNSTREAM_MISSING, VerdictKind.DOWNSTREAM_PARTIAL}


_QUIET = {VerdictKind.IDLE, VerdictKind.WAITING, VerdictKind.SETTLING, VerdictKind.TRIGGERED}


class Impact(StrEnum):
    """Whether the next phase has its output in spite of the problem."""

    NONE = "NONE"
    """The next phase has its rows in spite of the problem, or there were no games."""
    PARTIAL = "PARTIAL"
    """It has had its time, and has some of the games only; where `outcome_counts_games`."""
    BLOCKED = "BLOCKED"
    """It was due an hour ago or more, counted from the flag, the complete set or the deadline, and
    has nothing; or the flag starts it, and is unset.
    """
    UNKNOWN = "UNKNOWN"
    """It still has time, or no `outcome_query` says what it has written."""


class Level(StrEnum):
    """How bad a problem is, in the words of Cloud Logging."""

    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


def badness(how_bad: Level) -> int:
    """Return a number that is higher for what is worse."""
    return list(Level).index(how_bad)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about one (phase, game date).

    `summary` is one sentence, `reason` why it is UNKNOWN. `since` (UTC) is when the state began,
    where that is known: the moment of completion for SETTLING and UNTRIGGERED, the deadline for
    what is late. `completed`, `missing` and `not_yet` are expected processors, the last those that
    are not late yet where others are. `unexpected` are other names. `triggered` is None where the
    flag could not be read, `impact` is None unless there is a problem. `notes` are further facts.
    `path`, `causes` and `standing` are added to what is not quiet: what is known of each stage of
    each processor and of the date, where that stopped, and what is known beside it.

    `evaluates_anew` is whether this project's orchestrator wrote the document: there, each delivery
    is evaluated, also of a processor that is registered already. `unreadable` separates the two
    kinds of UNKNOWN: true where a source could not be read, false where every source answered, and
    nobody can say whether there was work. `output` is the number of rows that the next phase wrote,
    or of games where `outcome_counts_games`; `work` is the number of games. Each is None where no
    source says so.
    """

    kind: VerdictKind
    phase: str
    game_date: date
    summary: str
    since: datetime | None = None
    completed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    not_yet: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    triggered: bool | None = None
    impact: Impact | None = None
    notes: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    path: tuple[Step, ...] = ()
    standing: tuple[Standing, ...] = ()
    evaluates_anew: bool = False
    reason: str = ""
    unreadable: bool = False
    output: int | None = None
    work: int | None = None

    @property
    def proven(self) -> frozenset[CauseKind]:
        """The causes that are proven; empty where they are UNDETERMINED."""
        return frozenset(cause.kind for cause in self.causes) - {CauseKind.UNDETERMINED}


def level(verdict: Verdict) -> Level:
    """Return how bad it is: a warning without harm, critical with it, an error if nobody knows."""
    match verdict.impact:
        case Impact.NONE:
            return Level.WARNING
        case Impact.PARTIAL | Impact.BLOCKED:
            return Level.CRITICAL
        case Impact.UNKNOWN | None:
            return Level.ERROR


def judge(evidence: Evidence, phase: Phase, now: datetime, heard: Heard = NOTHING_HEARD) -> Verdict:
    """Judge one (phase, game_date) at `now` (aware) by the rules above.

    `heard` is what the lines of its deliveries say, where they were read.
    """
    phase = phase.on(evidence.game_date, evidence.mode)
    if not phase.expected:
        nobody = "no processor is expected on this date"
        return Verdict(
            kind=VerdictKind.IDLE, phase=phase.name, game_date=evidence.game_date, summary=nobody
        )
    log, progress = evidence.completion_log, evidence.progress
    unreadable = [source.reason for source in (log, progress) if isinstance(source, Unreadable)]
    in_bigquery, seen_at = (
        any(flag.is_set for flag in evidence.flags.values()),
        evidence.flag_seen_at,
    )
    if isinstance(progress, Absent) and (in_bigquery or seen_at):
        # It may have been removed, or be in another database: it does not say that the flag is
        # unset.
        verdict = judge(
            replace(evidence, progress=_progress_from(evidence, phase, now)), phase, now, heard
        )
        origin = (
            "the flag is BigQuery's"
            if in_bigquery
            else f"the canary saw it with the flag by {seen_at:%Y-%m-%d %H:%M}Z"
        )
        note = f"there is no {phase.firestore_collection}/{evidence.game_date}: {origin}"
        return replace(verdict, notes=(*verdict.notes, note))
    if (
        phase.bigquery_carries_flag
        and not isinstance(log, Unreadable)
        and isinstance(progress, Unreadable)
    ):
        if evidence.flags:
            verdict = judge(
                replace(evidence, progress=_progress_from(evidence, phase, now)), phase, now, heard
            )
            note = (
                f"Firestore could not be read ({progress.reason}): the flag is BigQuery's"
                f"{_contradiction(evidence)}"
            )
            return replace(verdict, notes=(*verdict.notes, note))
        unreadable.append(
            "BigQuery cannot stand in for it: no row of the date says anything of the flag"
        )
    if unreadable:
        return Verdict(
            kind=VerdictKind.UNKNOWN,
            phase=phase.name,
            game_date=evidence.game_date,
            summary=f"could not tell: {'; '.join(unreadable)}",
            reason="; ".join(unreadable),
            notes=tuple(evidence.left_out),
            unreadable=True,
        )
    facts = Facts(evidence, phase, now, heard)
    trigger = facts.progress.trigger
    if trigger is not None and (facts.is_complete or not facts.set_in_another_mode):
        return _judge_triggered(facts, trigger)
    return _judge_complete(facts) if facts.is_complete else _judge_incomplete(facts)


def _progress_from(evidence: Evidence, phase: Phase, now: datetime) -> Seen[Progress]:
    """Return what a document that is not there would say.

    The flag is set where a table, or the canary itself, saw it set.
    """
    triggers = [
        Trigger(flag.at, flag.reason, deliberately_partial=phase.is_partial(flag.reason))
        for flag in evidence.flags.values()
        if flag.is_set
    ]
    if isinstance(evidence.progress, Absent) and evidence.flag_seen_at is not None:
        # Who was missing then is in a document that is gone: nobody is accused of that now.
        triggers.append(Trigger(evidence.flag_seen_at, None, deliberately_partial=True))
    completed = Facts(evidence, phase, now).completion_log.completed
    registered = {name: Registration(arrival.completed_at) for name, arrival in completed.items()}
    return Seen(Progress(phase.expected, registered, trigger=triggers[0] if triggers else None))


def _contradiction(evidence: Evidence) -> str:
    """Say which table has the flag set and which unset; empty where they agree."""
    by_state = {flag.is_set: table for table, flag in evidence.flags.items()}
    return (
        f"; {by_state[True]} has it set, {by_state[False]} unset: it is taken as set"
        if len(by_state) > 1
        else ""
    )


def _judge_triggered(facts: Facts, trigger: Trigger) -> Verdict:
    missing = _with_status(facts, facts.missing)
    # Code that says ALL_COMPLETE all the same counted, and took others for those missing.
    by_its_rule = facts.is_complete and trigger.reason != ALL_COMPLETE
    on_purpose = trigger.deliberately_partial or facts.set_in_another_mode or by_its_rule
    is_missing = not all(map(facts.may_have_completed, facts.missing))
    if is_missing and not on_purpose and not facts.had_no_work:
        summary = f"`_triggered` is set, but these have not completed: {missing}"
        return _verdict(facts, VerdictKind.PREMATURE, summary, trigger.at)
    if verdict := _judge_output(facts, trigger):
        return verdict
    if disagreement := _disagreement(facts):
        return _verdict(facts, VerdictKind.STORES_DISAGREE, disagreement)
    summary = f"{_completed_of_expected(facts)}, `_triggered` is set"
    if missing:
        reason = one_line(trigger.reason or "no reason given", _REASON_CHARACTERS)
        summary += f" without {missing}: {reason}"
    return _verdict(facts, VerdictKind.TRIGGERED, summary, trigger.at)


def _judge_output(facts: Facts, trigger: Trigger) -> Verdict | None:
    """Judge what the next phase has made of the flag.

    None where nothing is wrong, or it is too early to tell.
    """
    outcome, work, next_phase = facts.evidence.outcome, facts.evidence.work, facts.phase.next_phase
    if facts.start_was_refused and not facts.output and not facts.had_no_work:
        why = one_line(facts.heard.not_started, _REASON_CHARACTERS)
        summary = f"`_triggered` is set, but {next_phase} was not started: {why}"
        return _verdict(facts, VerdictKind.DOWNSTREAM_MISSING, summary, trigger.at)
    if not facts.output_is_due:
        return None
    if isinstance(outcome, Unreadable):
        return _unknown(facts, f"the output of {next_phase}: {outcome.reason}")
    if facts.output_is_partial:
        summary = (
            f"`_triggered` is set, but {next_phase} has only {facts.output} of {facts.work} games"
        )
        return _verdict(facts, VerdictKind.DOWNSTREAM_PARTIAL, summary, trigger.at)
    if outcome != Seen(0) or facts.had_no_work:
        return None
    if isinstance(work, Unreadable):
        return _unknown(facts, f"how much work there was: {work.reason}")
    summary = f"`_triggered` is set, but {next_phase} has written nothing"
    return _verdict(facts, VerdictKind.DOWNSTREAM_MISSING, summary, trigger.at)


def _judge_complete(facts: Facts) -> Verdict:
    """Apply the rule that the canary is made for.

    The set has been complete for 30 minutes, and the flag is unset.
    """
    age = facts.now - facts.complete_at
    when = (
        "at a time that nobody wrote down"
        if None in facts.completed_at.values()
        else f"{duration_text(age)} ago"
    )
    completed, everybody = len(facts.completed_at), len(facts.phase.expected)
    who = "the only processor" if everybody == 1 else f"all {everybody} processors"
    who = f"{completed} of {everybody} processors, which is enough," if facts.missing else who
    summary = f"{who} completed {when}, `_triggered` is still unset"
    if facts.start_was_refused:
        why = one_line(facts.heard.not_started, _REASON_CHARACTERS)
        summary = f"{summary}: {facts.phase.next_phase} was not started: {why}"
        return _verdict(facts, VerdictKind.UNTRIGGERED, summary, facts.complete_at)
    if age >= facts.phase.untriggered_after and facts.has_settled:
        return _verdict(facts, VerdictKind.UNTRIGGERED, summary, facts.complete_at)
    # an incident that is open already does not end by the set being complete
    if disagreement := _disagreement(facts):
        return _verdict(facts, VerdictKind.STORES_DISAGREE, disagreement)
    return _verdict(facts, VerdictKind.SETTLING, summary, facts.complete_at)


def _judge_incomplete(facts: Facts) -> Verdict:
    if facts.had_no_work and not (facts.work == 0 and facts.failed):
        who = "there was" if facts.work == 0 else "every processor reports that it had"
        completed = (
            f"; completed all the same: {names(facts.completed_at)}" if facts.completed_at else ""
        )
        return _verdict(facts, VerdictKind.IDLE, f"{who} no work to do{completed}")
    # On a day without games nobody has anything to be late with; without a work query, the others
    # have yet to say so.
    may_be_idle = (
        facts.overdue != facts.missing and not facts.work and facts.report_no_work(facts.overdue)
    )
    return (
        _judge_late(facts, facts.overdue)
        if facts.overdue and not may_be_idle
        else _judge_waiting(facts)
    )


def _judge_waiting(facts: Facts) -> Verdict:
    if disagreement := _disagreement(facts):
        return _verdict(facts, VerdictKind.STORES_DISAGREE, disagreement)
    waiting = f", waiting for {_with_status(facts, facts.missing)}" if facts.completed_at else ""
    first = min((at for at in facts.completed_at.values() if at), default=None)
    return _verdict(facts, VerdictKind.WAITING, _completed_of_expected(facts) + waiting, first)


def _judge_late(facts: Facts, overdue: list[str]) -> Verdict:
    since = min(facts.phase.deadline(facts.game_date, name) for name in overdue)
    late, work = f"{duration_text(facts.now - since)} past the deadline", facts.evidence.work
    if isinstance(work, Unreadable):
        return _unknown(facts, f"how much work there was: {work.reason}")
    if work == Seen(0):
        reason = f"the work query says that there was no work, but failed: {names(facts.failed)}"
        return _unknown(facts, reason, unreadable=False)
    has_arrived = bool(
        facts.last_status or facts.unexpected or facts.completed_at or facts.heard.processors
    )
    if isinstance(work, Absent) and not has_arrived:
        reason = (
            f"nothing has arrived, {late}, and without a `work_query` nothing says whether there "
            "was work to do"
        )
        return _unknown(facts, reason, unreadable=False)
    kind, summary = VerdictKind.INCOMPLETE, f"not completed, {late}: {_with_status(facts, overdue)}"
    if not has_arrived and overdue == facts.missing:
        kind, summary = (
            VerdictKind.SILENT,
            f"nothing has arrived, {late}, although there was work to do ({facts.work})",
        )
    not_yet = tuple(name for name in facts.missing if name not in overdue)
    return replace(_verdict(facts, kind, summary, since), missing=tuple(overdue), not_yet=not_yet)


def _disagreement(facts: Facts) -> str | None:
    """Say which completions one store has and the other lacks, although it had the time for them.

    The time counts from when the first of the two stores took it up, not from when the message was
    published: messages may come late. A processor that the orchestrator does not wait for needs no
    time: it will never be registered. Two kinds of processors are excused: one that came after a
    flag that was set on purpose without everybody, and one whose later run completed nothing, and
    is in the document instead; that run takes nothing back. Nothing is said of what was registered
    before the completion log had its first row.
    """
    recorded, registered, reports = (
        facts.completion_log.completed,
        facts.progress.registered,
        facts.progress.reports,
    )
    log_since = facts.evidence.log_since or facts.now

    def is_excused(processor: str) -> bool:
        at, trigger, report = (
            recorded[processor].completed_at,
            facts.progress.trigger,
            reports.get(processor),
        )
        if report is not None and not facts.phase.completes(report.status):
            return (report.at or facts.now) >= at
        return (
            trigger is not None and trigger.deliberately_partial and (trigger.at or facts.now) <= at
        )

    def is_due(processor: str, visible_at: datetime) -> bool:
        return not is_excused(processor) and (
            processor not in facts.waits_for or facts.had_time(visible_at)
        )

    seen_at = {
        p: e.registered_at or e.completed_at or facts.deadline for p, e in registered.items()
    }
    parts = {
        "in the completion log, but not in the progress document": [
            p for p, row in recorded.items() if p not in registered and is_due(p, row.visible_at)
        ],
        "in the progress document, but not in the completion log": [
            p
            for p, at in seen_at.items()
            if p not in recorded and at >= log_since and facts.had_time(at)
        ],
        "completed, but the orchestrator took it for unexpected": facts.taken_for_unexpected,
    }
    return "; ".join(f"{what}: {names(who)}" for what, who in parts.items() if who) or None


def _with_status(facts: Facts, processors: Iterable[str]) -> str:
    """List processors, and what each last said of its run."""
    statuses = facts.last_status
    return names(f"{name} ({statuses[name]})" if name in statuses else name for name in processors)


def _completed_of_expected(facts: Facts) -> str:
    return f"{len(facts.completed_at)} of {len(facts.phase.expected)} complete"


def _verdict(
    facts: Facts, kind: VerdictKind, summary: str, since: datetime | None = None
) -> Verdict:
    return Verdict(
        kind=kind,
        phase=facts.phase.name,
        game_date=facts.game_date,
        summary=summary,
        since=since if since is None or since <= facts.now else None,
        completed=tuple(facts.completed_at),
        missing=tuple(facts.missing),
        unexpected=tuple(facts.unexpected),
        triggered=facts.progress.trigger is not None,
        impact=_impact(facts) if kind.is_problem else None,
        notes=tuple(_notes(facts)),
        output=facts.output,
        work=facts.work,
        # No other code writes down there what it waits for.
        evaluates_anew=facts.progress.orchestrator_expected is not None,
    )


def _unknown(facts: Facts, reason: str, *, unreadable: bool = True) -> Verdict:
    verdict = _verdict(facts, VerdictKind.UNKNOWN, f"could not tell: {reason}")
    return replace(verdict, reason=reason, unreadable=unreadable)


def _impact(facts: Facts) -> Impact:
    """Say whether the next phase ran.

    That it wrote nothing counts only once it was due, and where there were games.
    """
    if facts.work == 0:
        return Impact.NONE
    match facts.evidence.outcome:
        case Seen(0):
            return (
                Impact.BLOCKED if facts.output_is_due or facts.start_was_refused else Impact.UNKNOWN
            )
        case Seen() if facts.output_is_partial:
            return Impact.PARTIAL if facts.output_is_due else Impact.UNKNOWN
        case Seen():
            return Impact.NONE
        case Absent() | Unreadable():
            # Where the flag starts the next phase, an unset one says itself that it was not
            # started.
            unset = facts.progress.trigger is None and facts.phase.flag_starts_next_phase
            if facts.start_was_refused:
                return Impact.BLOCKED
            return (
                Impact.BLOCKED
                if unset and (facts.is_complete or facts.output_is_due)
                else Impact.UNKNOWN
            )


def _notes(facts: Facts) -> Iterator[str]:
    """Yield what else the evidence says, and the path does not."""
    phase = facts.phase
    if isinstance(facts.evidence.progress, Absent) and facts.completed_at:
        yield f"there is no {phase.firestore_collection}/{facts.game_date}"
    if facts.unexpected:
        yield f"not expected: {unexpected_text(facts.unexpected, phase)}"
    if again := [
        p
        for p in facts.completed_at
        if p in facts.last_status and not phase.completes(facts.last_status[p])
    ]:
        yield f"ran again after it had completed: {_with_status(facts, again)}"
    if facts.work and facts.report_no_work(phase.expected):
        yield f"every processor reports that it had no work, and the work query counts {facts.work}"
    yield from facts.evidence.left_out


# Words that others use as well


def unexpected_text(unexpected: Collection[str], phase: Phase) -> str:
    """List unexpected names, first those that resemble an expected one, and count the rest."""
    ranked = sorted(
        ((phase.nearest(name), name) for name in unexpected),
        key=lambda pair: (pair[0] is None, pair[1]),
    )
    short = [(nearest, one_line(name, _NAME_CHARACTERS)) for nearest, name in ranked[:_SHOWN]]
    shown = [f"{name} (resembles {nearest})" if nearest else name for nearest, name in short]
    more = f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
    return ", ".join(shown) + more


def names(processors: Iterable[str]) -> str:
    """List names in their order, and count those that would be too many; empty without any."""
    ordered = sorted(processors)
    shown = ", ".join(one_line(name, _NAME_CHARACTERS) for name in ordered[:_LISTED])
    return f"{shown} and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else shown


def duration_text(duration: timedelta) -> str:
    """Say a duration as people do: "34 min", "5 h 02 min", "3 d 04 h"; what is less is dropped."""
    total = max(0, int(duration.total_seconds() // 60))
    days, hours, minutes = total // 1440, total // 60 % 24, total % 60
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def count_text(count: int | None, what: str) -> str:
    """Say a number of things: 1 date, 2 dates."""
    return f"{count} {what}{'s' * (count != 1)}"
