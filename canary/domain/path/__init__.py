"""The path: where a completion, or a date, stopped, and why.

Theory
======

A completion goes a fixed way: its processor RAN, the message was PUBLISHED, DELIVERED to the
function and ACCEPTED by it, then RECORDED in the completion log and REGISTERED in the document.
When all are registered, the date goes on: it is DECIDED, FLAGGED, and where the flag starts the
next phase, that is STARTED and has its OUTPUT. Each stage is a fact that somebody wrote down. Each
source is read by itself (`READINGS`). Its facts are what was reached; what was refused, and in
whose words; and what is missed: not there, although the source would have shown it.

- Of one message, what was reached or refused proves what lies before it, as far as ACCEPTED. Row
  and registration do not prove each other, nothing of the date proves a processor's stage, the
  output does not prove the flag.
- Deliveries are events and stay. Registration and flag are states: there, or undone, where somebody
  saw them there and the document, which is there, does not have them.
- It stopped after the last stage reached, at the latest at the first that was refused or missed.
  Often that is an interval, and then it is shown as one.
- A refusal belongs to the first stage after the last that was reached: one failure is not three
  causes. Of several refusals of one stage the last counts. A missed stage names its cause only
  where the stage before it was reached.
- Where nothing stopped, no cause is named. What is no stop, and yet worth knowing, is shown beside
  the path.

The answer is *sound*: the interval contains the stage at which it stopped, and nothing that was
reached is called missing. It is *monotone*: a whole source taken away only widens the interval.

UNDETERMINED is an answer: a wrong cause costs an engineer more time than none.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime

from msgspec.structs import replace

from canary.domain.evidence import Evidence, Seen, Traces, Unreadable
from canary.domain.facts import Facts
from canary.domain.path.document import DOCUMENT, document
from canary.domain.path.dossier import Dossier, Fact, Reading, moment_of
from canary.domain.path.errors import errors
from canary.domain.path.jobs import jobs
from canary.domain.path.lines import lines
from canary.domain.path.names import name_facts
from canary.domain.path.requests import dead_letters, requests
from canary.domain.path.runs import runs
from canary.domain.path.standing import standing
from canary.domain.path.tables import messages, output, rows
from canary.domain.stages import Cause, CauseKind, Stage, State
from canary.domain.verdict import Verdict, VerdictKind
from orchestrator_resilience.phase import Phase

# A new source is one module, and its place here.
READINGS: tuple[Reading, ...] = (
    *(
        runs,
        jobs,
        messages,
        rows,
        document,
        name_facts,
        lines,
        requests,
        errors,
        dead_letters,
        output,
    ),
)

_OF_PROCESSORS = tuple(stage for stage in Stage if stage.rank <= Stage.REGISTERED.rank)
_OF_THE_DATE = tuple(stage for stage in Stage if stage.rank > Stage.REGISTERED.rank)
_OF_THE_FLAG = (Stage.DECIDED, Stage.FLAGGED)
_BAD = (State.REFUSED, State.MISSED, State.UNDONE)
_STATES = (Stage.REGISTERED, Stage.FLAGGED)


def where_it_stopped(
    verdict: Verdict,
    evidence: Evidence,
    traces: Traces,
    *,
    history: Collection[Evidence],
    phase: Phase,
    now: datetime,
) -> Verdict:
    """Add the path to a verdict, and to a problem its causes.

    `history` is the evidence of the dates around it.
    """
    dossier = Dossier(
        evidence,
        phase,
        now,
        traces=traces,
        history=[Facts(neighbour, phase, now) for neighbour in history],
    )
    facts = defaultdict[str, list[Fact]](list)
    for fact in facts_of(dossier):
        facts[fact.subject].append(fact)
    was_flagged = any(
        fact.stage is Stage.FLAGGED and fact.state is State.REACHED for fact in facts[""]
    )
    goals = dict(_goals(verdict.kind, dossier, was_flagged=was_flagged))
    stops, path = list[Cause](), list[Fact]()
    for subject in (*sorted(dossier.phase.expected), ""):
        goal = goals.get(subject, Stage.REGISTERED if subject else Stage.FLAGGED)
        steps = _steps(subject, facts[subject], goal, dossier)
        path += steps.values()
        if subject in goals and (stop := _stop(subject, steps, goal, dossier)):
            stops.append(stop)
    causes = tuple(sorted(_alike(stops), key=lambda cause: cause.kind is CauseKind.UNDETERMINED))
    if not causes and verdict.kind.is_problem:
        causes = (Cause(kind=CauseKind.UNDETERMINED),)
    beside = tuple(standing(dossier, causes, path))
    return replace(
        verdict, path=tuple(fact.as_step() for fact in path), causes=causes, standing=beside
    )


def facts_of(dossier: Dossier) -> Iterator[Fact]:
    """Yield what every source says of a date."""
    for reading in READINGS:
        yield from reading(dossier)


def _goals(
    kind: VerdictKind, dossier: Dossier, *, was_flagged: bool
) -> Iterator[tuple[str, Stage]]:
    """Yield the subjects that a verdict asks about, and the stage that each should have reached.

    Nothing else in the path depends on the kind of a verdict.
    """
    is_readable = not isinstance(dossier.evidence.progress, Unreadable)
    unregistered = dossier.unregistered if is_readable else frozenset[str]()
    match kind:
        case (
            VerdictKind.INCOMPLETE
            | VerdictKind.SILENT
            | VerdictKind.PREMATURE
            | VerdictKind.UNKNOWN
        ):
            yield from dict.fromkeys(dossier.missing, Stage.REGISTERED).items()
        case VerdictKind.UNTRIGGERED:
            came = unregistered.intersection(dossier.completed_at)
            yield from dict.fromkeys(came, Stage.REGISTERED).items()
            if was_flagged or not came or dossier.is_registered:
                yield "", Stage.FLAGGED
        case VerdictKind.STORES_DISAGREE:
            recorded = dossier.completion_log.completed.keys()
            yield from dict.fromkeys(dossier.progress.completed - recorded, Stage.RECORDED).items()
            late = {name for name in recorded & unregistered if not dossier.is_early(name)}
            yield from dict.fromkeys(
                late.union(dossier.taken_for_unexpected), Stage.REGISTERED
            ).items()
        case VerdictKind.DOWNSTREAM_MISSING | VerdictKind.DOWNSTREAM_PARTIAL if (
            dossier.phase.flag_starts_next_phase
        ):
            yield "", Stage.OUTPUT


def _steps(
    subject: str, facts: Sequence[Fact], goal: Stage, dossier: Dossier
) -> Mapping[Stage, Fact]:
    """Return what is known of each stage of a subject, in the order of the path."""
    stages = (
        _OF_PROCESSORS
        if subject
        else _OF_THE_DATE
        if dossier.phase.flag_starts_next_phase
        else _OF_THE_FLAG
    )
    steps: dict[Stage, Fact] = {}
    for fact in facts:
        if fact.state is State.REACHED:
            before = [
                stage
                for stage in stages
                if stage.rank < fact.stage.rank and stage.rank <= Stage.ACCEPTED.rank
            ]
            for stage in {fact.stage, *before}.intersection(stages):
                steps.setdefault(stage, replace(fact, stage=stage))
    came = max(
        (stage.rank for stage in steps if stage.rank < goal.rank),
        default=_START if subject else _REGISTERED,
    )
    for fact in sorted(facts, key=lambda fact: fact.next_stage):
        if fact.state in _BAD:
            bad = (
                _placed(fact, _next(stages, came, goal), steps, dossier)
                if fact.next_stage
                else fact
            )
            steps[bad.stage] = _graver(steps.get(bad.stage), bad)
    # what nobody can attribute, or what proves nothing alone, supports what is missed
    for fact in facts:
        step = steps.get(fact.stage, fact)
        if fact.state is State.NOT_KNOWN and step.state in {State.MISSED, State.NOT_KNOWN}:
            words = dict.fromkeys(filter(None, (step.words, fact.words)))
            steps[fact.stage] = replace(step, words="; ".join(words))
    default = State.NOT_YET if dossier.is_early(subject) else State.NOT_KNOWN
    return {
        stage: steps.get(stage) or Fact(stage=stage, state=default, subject=subject)
        for stage in stages
    }


_START, _REGISTERED = -1, Stage.REGISTERED.rank


def _next(stages: Collection[Stage], came: int, goal: Stage) -> Stage:
    """Return the stage after the last that was reached.

    Of two stages of equal rank it is the goal, because that is the one asked about.
    """
    return (
        goal if came + 1 >= goal.rank else next(stage for stage in stages if stage.rank == came + 1)
    )


def _placed(fact: Fact, stage: Stage, steps: Mapping[Stage, Fact], dossier: Dossier) -> Fact:
    """Put a bad end at the stage after the last that was reached.

    Where no document shows how far the date came, a missed row does.
    """
    is_pending = stage is Stage.FLAGGED and dossier.progress.pending is not None
    cause = CauseKind.NOT_STARTED if stage is Stage.STARTED or is_pending else fact.cause
    if stage is not Stage.REGISTERED or isinstance(dossier.evidence.progress, Seen):
        return replace(fact, stage=stage, cause=cause)
    is_missed = Stage.RECORDED in steps and steps[Stage.RECORDED].state is State.MISSED
    return replace(
        fact,
        stage=Stage.RECORDED if is_missed else stage,
        state=fact.state if is_missed else State.NOT_KNOWN,
    )


def _graver(fact: Fact | None, bad: Fact) -> Fact:
    """Return which of two facts of one stage counts.

    What was reached counts, unless it is a state that is not there any more. Of several refusals
    the last one counts, and any refusal says more than that something is missing.
    """
    if fact is None:
        return bad
    if fact.state in {State.REACHED, State.UNDONE}:
        is_undone = bad.source == DOCUMENT and bad.state is State.MISSED and bad.stage in _STATES
        overwritten = (
            CauseKind.FLAG_OVERWRITTEN if bad.stage is Stage.FLAGGED else CauseKind.UNDETERMINED
        )
        words = "; ".join(
            filter(None, ("it was there, and is no longer in the document", bad.words))
        )
        return (
            replace(fact, state=State.UNDONE, cause=overwritten, words=words) if is_undone else fact
        )
    return max(fact, bad, key=_weight)


def _weight(fact: Fact) -> tuple[object, ...]:
    """Return the key to compare facts by.

    What a delivery says of itself says more than that a field was left behind.
    """
    is_named = fact.cause is not CauseKind.UNDETERMINED
    return fact.state is State.REFUSED, is_named, fact.source != DOCUMENT, moment_of(fact)


def _stop(subject: str, steps: Mapping[Stage, Fact], goal: Stage, dossier: Dossier) -> Cause | None:
    """Return where a subject stopped short of its goal.

    None where it did not, or where it may still come.
    """
    if steps[goal].state is State.REACHED:
        return None
    came = [
        stage
        for stage, fact in steps.items()
        if fact.state is State.REACHED and stage.rank < goal.rank
    ]
    begins_at = Stage.REGISTERED if not subject and dossier.is_registered else None
    after = came[-1] if came else begins_at
    rank = _START if after is None else after.rank
    bad = [
        fact
        for stage, fact in steps.items()
        if fact.state in _BAD and rank < stage.rank <= goal.rank
    ]
    first = min(
        bad,
        key=lambda fact: (fact.stage.rank, fact.state is not State.REFUSED, fact.stage is not goal),
        default=steps[goal],
    )
    if not bad and first.state is State.NOT_YET:
        return None
    is_proven = first.state is not State.MISSED or first.stage.rank == rank + 1
    return Cause(
        kind=first.cause if is_proven else CauseKind.UNDETERMINED,
        subjects=(subject,) if subject else (),
        after=after,
        until=first.stage if bad else None,
        between=tuple(
            stage
            for stage, fact in steps.items()
            if bad and rank < stage.rank < first.stage.rank and not fact.words
        ),
        source=first.source,
        at=first.at,
        words=first.words or steps[goal].words,
        later=first.later,
        names=first.names,
        statuses=first.statuses,
        since=_since(subject, dossier),
    )


def _alike(stops: Iterable[Cause]) -> Iterator[Cause]:
    """Yield the stops; those that are alike become one, in the words of the last of them."""
    groups = defaultdict[Cause, list[Cause]](list)
    for stop in stops:
        is_not_run = stop.until is Stage.RAN and stop.kind in {
            CauseKind.NOT_RUN,
            CauseKind.UNDETERMINED,
        }
        words = stop.words if is_not_run else ""  # since when, which differs
        groups[replace(stop, subjects=(), at=None, words=words, later=0)].append(stop)
    for alike in groups.values():
        subjects = tuple(name for stop in alike for name in stop.subjects)
        yield replace(max(alike, key=moment_of), subjects=subjects)


def _since(subject: str, dossier: Dossier) -> date | None:
    """Return the first of the dates in a row, up to this one, on which it stopped alike.

    None where that is this date. Dates that are not over are passed over, and so are dates without
    work, on which nobody has anything to complete.
    """
    since, here = None, _in_the_stores(dossier, subject)
    for facts in sorted(
        dossier.dates_before(dossier.game_date), key=lambda facts: facts.game_date, reverse=True
    ):
        if not facts.completed_at or facts.work == 0 or dossier.now < facts.deadline:
            continue
        if (subject and subject not in facts.phase.expected & facts.waits_for) or _in_the_stores(
            facts, subject
        ) != here:
            break
        since = facts.game_date
    return since


def _in_the_stores(facts: Facts, subject: str) -> tuple[object, ...]:
    """Return how far a subject has come, as far as the stores show."""
    if not subject:
        is_set = facts.progress.trigger is not None
        return facts.is_complete, is_set, is_set and (facts.output_is_partial, bool(facts.output))
    logs = (facts.messages.completed, facts.rows.completed, facts.progress.completed)
    return (*(subject in held for held in logs), facts.last_status.get(subject))
