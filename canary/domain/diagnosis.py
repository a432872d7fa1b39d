"""The diagnosis: why a date has a problem.

Theory
======

A diagnosis names the causes of a verdict, each with its proof. A proof is a sentence of facts that somebody wrote
down: a checkpoint, a registration, a row, the reports of earlier dates. A cause that is merely likely is not named.

A verdict is about something: processors that are missing or not registered, or, where all are registered, the flag.
Each of them has its own cause, so a date can have several. Of the causes that are proven for one of them the first
counts, in the order of the rules: what was seen comes before what was not seen. Some causes leave something behind: the
line of a rejected message, a line of failure with the words of the store. Others show only in that something is not
there: no line, no registration. A line says itself what happened. That there is no line can have many reasons, so the
rules that conclude from it come last, and say nothing of what another rule explains.

What a rule needs. A rule is not tried where a source that it needs could not be read, or where there is no such source.
Its cause is then not reported as ruled out either, because nobody has looked.

- CHECKPOINTS: the lines of the date. The rule rests on a line.
- COLLECTED: that lines were left at all. The rule rests on there being none, and code without checkpoints leaves none.
- DOCUMENT: the progress document. Without it, every processor looks as if it were not registered.
- REQUESTS: what the platform wrote down of the requests to the function. It is there whatever code runs, or does not.
- DEAD_LETTERS: the messages that Pub/Sub has given up delivering.
- MESSAGE_LOG: rows that Pub/Sub writes by itself. Without them the orchestrator alone writes the completion log. A row
  is then a sign that the function was invoked, and for a message that never reached it there is no row. So without a
  message log, absence proves nothing.

A rule is tried without a source that only helps it. What it finds is proof all the same, but where it finds nothing its
cause is not ruled out. Nor is it where the evidence does not decide: a rejected message that names nobody may have been
anybody's.

UNDETERMINED is an answer. It says which source could not be read, or between which causes the evidence does not
decide, and which causes are ruled out. A wrong cause costs an engineer more time than to be told what is not known.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Flag, auto
from functools import cached_property, reduce
from operator import or_

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Absent, Evidence, Seen, Traces, Unreadable, value_or
from canary.domain.facts import Facts
from canary.domain.verdict import (
    Cause,
    CauseKind,
    Verdict,
    VerdictKind,
    names,
    unexpected_text,
    waits_for_too_few,
    waits_for_too_many,
)
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, concerns, whole_list
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import DeadLetter, Request

# Statuses with which Cloud Run answers in place of the function: no right, no service, no instance.
_TURNED_AWAY = {401, 403, 404, 429}
# A function is ended after 540 s at the most: a delivery that has left nothing for longer is dead.
_LIFETIME = timedelta(minutes=10)
# On how many dates in a row a processor has to be silent; two may be chance.
_SILENT_DATES = 3
# How many completions without a delivery show that the function is not invoked; a single one may have been lost.
_SEVERAL = 2
# How much of somebody's words a proof can hold.
_REASON_CHARACTERS = 400

# Verdicts by what may be wrong: a processor did not complete; it did, and is not registered; either of the two.
_NOT_COMPLETED = {VerdictKind.INCOMPLETE, VerdictKind.PREMATURE}
_NOT_REGISTERED = {VerdictKind.UNTRIGGERED, VerdictKind.STORES_DISAGREE}
_NOT_STARTED = {*_NOT_REGISTERED, VerdictKind.INCOMPLETE, VerdictKind.SILENT}
_NOT_FINISHED = {VerdictKind.UNTRIGGERED, VerdictKind.STORES_DISAGREE, VerdictKind.INCOMPLETE}


class _Need(Flag):
    """The sources that a rule may need; the theory above says what for."""

    NOTHING = 0
    CHECKPOINTS = auto()
    COLLECTED = auto()
    DOCUMENT = auto()
    REQUESTS = auto()
    DEAD_LETTERS = auto()
    MESSAGE_LOG = auto()


class _Problem(Facts, frozen=True, kw_only=True, dict=True):
    """The facts of a date with a problem, and `kind`, the verdict that has to be explained.

    `requests` are those that the function got since the date began, `dead_letters` the messages of the date that were
    given up. `lacking` are the sources that could not be read, or that there are not.
    """

    kind: VerdictKind
    requests: Sequence[Request] = ()
    dead_letters: Sequence[DeadLetter] = ()
    lacking: _Need
    concerns_all: bool = False

    @cached_property
    def concerned(self) -> frozenset[str]:
        """The processors that the verdict is about, or all, where it is asked whether anything can be ruled out."""
        if self.concerns_all:
            return self.phase.expected
        match self.kind:
            case VerdictKind.INCOMPLETE:
                return frozenset(self.overdue)
            case VerdictKind.PREMATURE:
                return frozenset(self.missing)
            case VerdictKind.SILENT:
                return self.phase.expected
            case VerdictKind.UNTRIGGERED:
                return self.unregistered
            case VerdictKind.STORES_DISAGREE:
                either = frozenset(self.completion_log.completed) ^ self.progress.completed
                return either | frozenset(self.taken_for_unexpected)
            case _:
                return frozenset()

    @property
    def waits_for_the_expected(self) -> bool:
        """Whether the orchestrator says that it waits for those whom the phase expects; code may not say anything."""
        post = self.last_decision
        said = self.progress.orchestrator_expected or (post and whole_list(post, "expected"))
        return said == self.phase.expected

    @property
    def last_line_of_a_completion(self) -> CheckpointKind | None:
        """What the last delivery left that had something to decide: of an expected processor that did complete."""
        own = (line for line in reversed(self.checkpoints) if self.processor_of(line) in self.phase.expected)
        said = ((line.kind, line.fields.get("status")) for line in own)
        return next((kind for kind, status in said if status is None or self.phase.completes(status)), None)

    def last_requests(self, statuses: Collection[int]) -> Sequence[Request]:
        """Return the last requests, if they ended with one of these statuses, from the last that did not on."""
        others = [number for number, request in enumerate(self.requests) if request.status not in statuses]
        return self.requests[others[-1] + 1 :] if others else self.requests

    def has_line_since(self, at: datetime) -> bool:
        """Whether a delivery of this date has left a line since."""
        return any(line.at >= at for line in self.checkpoints)

    def may_come_from(self, line: Checkpoint) -> bool:
        """Whether a delivery that came to grief at `line` can be why there is a problem.

        It can if it was of a processor concerned. Where all are registered and the flag is unset, it can if it was
        the delivery that should have set the flag: no other processor was registered after it.
        """
        processor = self.processor_of(line)
        if processor in self.concerned:
            return True
        only_the_flag = self.kind is VerdictKind.UNTRIGGERED and not self.unregistered
        if not only_the_flag or processor not in self.phase.expected:
            return False
        others = [entry.registered_at for name, entry in self.progress.registered.items() if name != processor]
        return all(at is None or at <= line.at for at in others)

    @cached_property
    def rejections(self) -> list[Checkpoint]:
        """The lines of rejected messages, without those of another phase: by their own words, and of nobody here."""
        rejected = (line for line in self.checkpoints if line.kind is CheckpointKind.REJECTED)
        expected = self.phase.expected
        return [line for line in rejected if line.fields.get("field") != "phase" or self.processor_of(line) in expected]

    def may_have_been_rejected(self, processors: Collection[str]) -> bool:
        """Whether a message was rejected that may have been of one of these: it names nobody, or no date."""
        return bool(self.completion_log.unattributed) or any(
            not line.fields.get("raw_processor")
            or (self.processor_of(line) in processors and self.may_be_of_another_date(line))
            for line in self.rejections
        )

    def may_be_of_another_date(self, line: Checkpoint) -> bool:
        """Whether a line without a date may as well be of another one that lacks its processor.

        That of another date can come from the deadline of the day before on; until its own deadline it may still come.
        """
        if line.fields.get("game_date") is not None:
            return False
        others = (one for one in self.history if one.game_date != self.game_date)
        return any(
            self.processor_of(line) in one.unregistered
            and concerns(line, self.phase.name, one.game_date)
            and (line.at >= self.phase.deadline(one.game_date - timedelta(days=1)) or self.now >= one.deadline)
            for one in others
        )


# What a proof is about, where it is no processor.
_FLAG, _LIST = "`_triggered`", "what the orchestrator waits for"

# The sentences that prove a cause, by what each is about; None where the evidence does not decide.
_Proofs = Mapping[str, str] | None
_Prove = Callable[[_Problem], _Proofs]


class _Rule(msgspec.Struct, frozen=True):
    """How to prove one cause, and which verdicts it can explain."""

    cause: CauseKind
    explains: Collection[VerdictKind]
    needs: _Need
    helps: _Need
    prove: _Prove


_RULES: list[_Rule] = []


def _rule(
    cause: CauseKind,
    *,
    explains: Collection[VerdictKind],
    needs: _Need = _Need.NOTHING,
    helps: _Need = _Need.NOTHING,
) -> Callable[[_Prove], _Prove]:
    """Add a rule to the table: its cause, the verdicts that it can explain, what it needs, and what else helps it."""

    def register(prove: _Prove) -> _Prove:
        _RULES.append(_Rule(cause, explains, needs, helps, prove))
        return prove

    return register


def explain(
    verdict: Verdict,
    evidence: Evidence,
    traces: Traces,
    *,
    history: Collection[Evidence],
    phase: Phase,
    now: datetime,
) -> Verdict:
    """Add its causes to a problem; `history` is the evidence of the phase's recent dates, this one included."""
    facts = [Facts(one, phase, now) for one in history]
    problem = _Problem(
        evidence=evidence,
        phase=phase,
        now=now,
        checkpoints=value_or(traces.checkpoints, ()),
        requests=value_or(traces.requests, ()),
        dead_letters=value_or(traces.dead_letters, ()),
        history=facts,
        kind=verdict.kind,
        lacking=_lacking(evidence, traces, facts, phase),
    )
    proven: dict[CauseKind, list[str]] = {}
    explained: set[str] = set()
    tried = [rule for rule in _RULES if verdict.kind in rule.explains and not rule.needs & problem.lacking]
    for rule in tried:
        proofs = rule.prove(problem)
        if new := {about: proof for about, proof in (proofs or {}).items() if about not in explained}:
            explained |= new.keys()
            proven.setdefault(rule.cause, []).extend(dict.fromkeys(new.values()))
    if not proven:
        lines = traces.checkpoints
        why = f"the checkpoints could not be read: {lines.reason}" if isinstance(lines, Unreadable) else ""
        if traces.cut_at:
            why = f"nothing was found in the lines since {_moment(traces.cut_at)}: there were too many before it"
        undetermined = Cause(CauseKind.UNDETERMINED, why or _why_undetermined(problem))
        return replace(verdict, causes=(undetermined,), ruled_out=_ruled_out(tried, problem))
    causes = tuple(Cause(kind, "; ".join(proofs)) for kind, proofs in proven.items())
    explains_all = _LIST in explained and verdict.kind is not VerdictKind.INCOMPLETE
    unexplained = "" if explains_all else names(problem.concerned - explained)
    note = f"nothing was found that explains {unexplained}"
    return replace(verdict, causes=causes, notes=(*verdict.notes, note) if unexplained else verdict.notes)


def _ruled_out(tried: Iterable[_Rule], problem: _Problem) -> tuple[CauseKind, ...]:
    """Return the causes of which each rule, tried as far as it goes, finds nothing, whichever processor it is about."""
    of_all = replace(problem, concerns_all=True)

    def is_ruled_out(cause: CauseKind) -> bool:
        own = [rule for rule in _RULES if rule.cause is cause and not rule.needs & problem.lacking]
        return all(rule.prove(of_all) == {} and not rule.helps & problem.lacking for rule in own)

    return tuple(filter(is_ruled_out, dict.fromkeys(rule.cause for rule in tried)))


def _lacking(evidence: Evidence, traces: Traces, history: Sequence[Facts], phase: Phase) -> _Need:
    """Return the sources that could not be read, or that there are not."""
    lines = traces.checkpoints
    # Code that writes down what it waits for is ours, and leaves lines.
    is_ours = any(one.progress.orchestrator_expected is not None for one in history)
    is_lacking = {
        _Need.CHECKPOINTS: isinstance(lines, Unreadable),
        _Need.COLLECTED: isinstance(lines, Unreadable) or bool(traces.cut_at) or not (value_or(lines, ()) or is_ours),
        _Need.REQUESTS: not isinstance(traces.requests, Seen),
        _Need.DEAD_LETTERS: not isinstance(traces.dead_letters, Seen),
        _Need.DOCUMENT: isinstance(evidence.progress, Unreadable),
        _Need.MESSAGE_LOG: phase.message_table is None or isinstance(evidence.messages, Unreadable),
    }
    return reduce(or_, (need for need, lacks in is_lacking.items() if lacks), _Need.NOTHING)


def _why_undetermined(problem: _Problem) -> str:
    """Say between which causes the evidence does not decide, where there are some left."""
    about_the_flag = problem.kind is VerdictKind.UNTRIGGERED
    if about_the_flag and not problem.unregistered and _Need.DOCUMENT not in problem.lacking:
        silent = "leaves no checkpoints" if not problem.checkpoints else "does not say what it waits for"
        return (
            f"all {len(problem.phase.expected)} are registered, by code that {silent}: it took the last one for a "
            "duplicate, waits for somebody else, or the flag was taken away"
        )
    if problem.may_have_been_rejected(problem.concerned):
        return "a message was rejected of which nobody can say whose, or of which date, it was: see CHECKPOINT_REJECTED"
    nobody = names(problem.without_a_delivery) if problem.kind in _NOT_REGISTERED else ""
    if nobody and _Need.MESSAGE_LOG in problem.lacking:
        return f"without a message_table it cannot be told whether the function was invoked for {nobody}"
    if nobody:
        return f"no line of {nobody}, and nothing has come since: it was lost, or the function is no longer invoked"
    if problem.kind in _NOT_STARTED and _Need.REQUESTS not in problem.lacking:
        seen = _requests_text(problem.requests) if problem.requests else "no request"
        return f"nothing was found that proves a cause; since the date began the function has had {seen}"
    if _Need.COLLECTED in problem.lacking:
        return "nothing was found, and no checkpoint of the date: what its deliveries did, nobody has written down"
    return "nothing that was looked for was found"


# The table of rules. Two rules of thumb hold for all of them:
#
# 1. The first proof wins, for each processor and for the flag. The rules are tried in the order in which they stand
#    here, those that rest on something seen before those that rest on something not seen.
# 2. Nothing that was repaired explains anything. A delivery that died and came again, a failure of a processor that has
#    been registered since, a processor that nobody misses: none of them is why the date has a problem now.


# Somebody took the flag away: it was set, and is not. A checkpoint or the flag's own row says that it was set.
@_rule(
    CauseKind.FLAG_OVERWRITTEN,
    explains={VerdictKind.UNTRIGGERED},
    needs=_Need.DOCUMENT,
    helps=_Need.COLLECTED,
)
def _flag_overwritten(problem: _Problem) -> _Proofs:
    if isinstance(problem.evidence.progress, Absent):  # nobody has taken a flag out of a document that is not there
        return None
    if line := problem.last_line(CheckpointKind.TRIGGERED):
        return {_FLAG: f"{line.kind} was left at {_moment(line.at)}, and the flag is gone"}
    if problem.row_of_the_flag:
        return {_FLAG: "the completion log has the row of the trigger, and the flag is gone"}
    return {}


# The orchestrator waits for a processor that the phase does not expect, and that has not come. Its document says what
# it waits for, or else its last line does. While others are missing too, it is what will be wrong next.
@_rule(
    CauseKind.EXPECTATION_DRIFT,
    explains={VerdictKind.UNTRIGGERED, VerdictKind.INCOMPLETE},
    helps=_Need.COLLECTED,
)
def _waits_for_too_many(problem: _Problem) -> _Proofs:
    expected, reported = _orchestrator_expected(problem)
    surplus = names((expected or frozenset()) - problem.phase.expected - reported)
    if surplus:
        return {_LIST: waits_for_too_many(surplus, problem.phase)}
    return {} if problem.waits_for_the_expected else None


# The orchestrator does not wait for a processor that the phase expects: it sets the flag too early, or never registers
# that processor. Stores that disagree are explained only where such a processor is the one that is not registered.
@_rule(
    CauseKind.EXPECTATION_DRIFT,
    explains={VerdictKind.PREMATURE, VerdictKind.STORES_DISAGREE},
    helps=_Need.COLLECTED,
)
def _waits_for_too_few(problem: _Problem) -> _Proofs:
    expected, _ = _orchestrator_expected(problem)
    nothing: _Proofs = {} if problem.waits_for_the_expected else None
    if expected is None or (problem.kind is VerdictKind.STORES_DISAGREE and problem.unregistered <= expected):
        return nothing
    left_out = names(problem.phase.expected - expected)
    return {_LIST: waits_for_too_few(left_out, problem.phase)} if left_out else nothing


# The message of a processor concerned could not be accepted; its line says what is wrong with it.
@_rule(
    CauseKind.MESSAGE_REJECTED,
    explains=_NOT_FINISHED | {VerdictKind.PREMATURE},
    needs=_Need.CHECKPOINTS,
    helps=_Need.COLLECTED,
)
def _message_rejected(problem: _Problem) -> _Proofs:
    found = {}
    for line in problem.rejections:
        processor = problem.processor_of(line)
        if processor in problem.concerned and not problem.may_be_of_another_date(line):
            whose = f"the message of {processor}"
            undated = "" if line.fields.get("game_date") else ", whose date nobody can read,"
            found[processor] = f"{whose}{undated} was rejected at {_moment(line.at)}: {_why_rejected(line)}"
    return found or (None if problem.may_have_been_rejected(problem.concerned) else {})


def _why_rejected(line: Checkpoint) -> str:
    """Return which field is wrong, and how; else what the line says."""
    field, reason = line.fields.get("field"), line.fields.get("reason")
    return one_line(f"{field}: {reason}" if field and reason else line.text, _REASON_CHARACTERS)


# A delivery began, and no delivery of that message has ended for as long as a function may live.
@_rule(
    CauseKind.CRASHED,
    explains=_NOT_FINISHED,
    needs=_Need.CHECKPOINTS | _Need.DOCUMENT,
    helps=_Need.COLLECTED,
)
def _crashed(problem: _Problem) -> _Proofs:
    found: dict[str, str] = {}
    for lines in problem.lines_by_message.values():
        # The first delivery, because one that kills the process each time comes again every ten minutes.
        deliveries = list(dict.fromkeys(line.fields.get("delivery") for line in lines))
        last = next(line for line in reversed(lines) if line.fields.get("delivery") == deliveries[0])
        is_dead = not any(line.closes for line in lines) and problem.now - last.at >= _LIFETIME
        if is_dead and problem.may_come_from(last):
            begun = f"{len(deliveries)} deliveries have begun, none has ended"
            died = f"the delivery of {problem.processor_of(last)} died after {last.kind} at {_moment(last.at)}"
            proof = f"{died}: no later line of it, {begun if deliveries[1:] else 'and no redelivery'}"
            found.setdefault(_what_it_explains(problem, last), proof)
    return found


# The last delivery of a message ended in a failure; its line has the steps, and the words of the store.
@_rule(
    CauseKind.WRITE_FAILED,
    explains=_NOT_FINISHED,
    needs=_Need.CHECKPOINTS | _Need.DOCUMENT,
    helps=_Need.COLLECTED,
)
def _write_failed(problem: _Problem) -> _Proofs:
    found: dict[str, str] = {}
    for lines in problem.lines_by_message.values():
        last = next((line for line in reversed(lines) if line.closes), None)
        if last is not None and last.kind is CheckpointKind.FAILED and problem.may_come_from(last):
            steps = names(map(str, last.fields.get("steps") or ["a step of its own"]))
            causes = last.fields.get("causes") or [last.fields.get("error", last.text)]
            failed = f"the delivery of {problem.processor_of(last)} failed in {steps} at {_moment(last.at)}"
            reason = one_line(str(causes[0]), _REASON_CHARACTERS)
            found.setdefault(_what_it_explains(problem, last), f"{failed}: {reason}")
    return found


# Pub/Sub has given up delivering the message of a processor concerned: it lies in the dead letters.
@_rule(
    CauseKind.DELIVERY_LOST,
    explains=_NOT_STARTED,
    needs=_Need.DEAD_LETTERS,
    helps=_Need.COLLECTED | _Need.MESSAGE_LOG,
)
def _given_up(problem: _Problem) -> _Proofs:
    return {
        letter.processor: f"the message of {letter.processor} lies in the dead letters since {_moment(letter.at)}"
        for letter in problem.dead_letters
        if letter.processor in problem.concerned
    }


# A missing processor says itself that it failed.
@_rule(CauseKind.PROCESSOR_FAILED, explains=_NOT_COMPLETED, helps=_Need.COLLECTED)
def _processor_failed(problem: _Problem) -> _Proofs:
    return {p: f"reported failure: {p}" for p in problem.failed}


# A missing processor reports under another name. A rename shows on two dates: before it the expected name reported
# alone, and the two names never reported on one date.
@_rule(CauseKind.NAME_DRIFT, explains=_NOT_COMPLETED, helps=_Need.COLLECTED)
def _name_drift(problem: _Problem) -> _Proofs:
    before = [one for one in problem.history if one.game_date != problem.game_date]
    found, undecided = {}, False
    for name in problem.unexpected:
        nearest = problem.phase.nearest(name)
        if nearest is None or nearest not in problem.missing:
            continue
        with_new_name = {name in one.unexpected for one in before if one.has_reported(nearest)}
        undecided |= not with_new_name
        if with_new_name == {False}:
            found[nearest] = f"{name} is not expected, and resembles {nearest}, which is missing"
    return found or (None if undecided else {})


# A processor completed under a name that the phase knows and the orchestrator does not: it has it among the unexpected.
@_rule(CauseKind.NAME_DRIFT, explains=_NOT_REGISTERED, needs=_Need.DOCUMENT, helps=_Need.COLLECTED)
def _name_unknown(problem: _Problem) -> _Proofs:
    expected, _ = _orchestrator_expected(problem)
    unknown = [p for p in problem.taken_for_unexpected if expected is None or p in expected]
    return {p: f"{p} completed under a name that is unexpected to the orchestrator" for p in unknown}


# A missing processor was switched off: it has reported nothing on several dates in a row, and others have. What was
# rejected or crashed looks the same in the stores, so the lines have to be there, or Pub/Sub's own rows.
@_rule(CauseKind.PROCESSOR_DISABLED, explains=_NOT_COMPLETED)
def _processor_disabled(problem: _Problem) -> _Proofs:
    if _Need.COLLECTED in problem.lacking and _Need.MESSAGE_LOG in problem.lacking:
        return None
    until = [one for one in problem.history if one.game_date <= problem.game_date]
    found = {p: _silence_text(p, silent) for p in problem.missing if (silent := silent_dates(p, until))}
    if found and not problem.may_have_been_rejected(found):
        return found
    # Who is silent for the first time may have been switched off as well.
    return {} if all(map(problem.has_reported, problem.missing)) else None


# The platform turns the requests of Pub/Sub away, whatever they bring, and still does: what it turned away before comes
# again by itself.
@_rule(CauseKind.NEVER_INVOKED, explains=_NOT_STARTED, needs=_Need.REQUESTS | _Need.CHECKPOINTS)
def _turned_away(problem: _Problem) -> _Proofs:
    bad = problem.last_requests(_TURNED_AWAY)
    if not bad or bad[0].at > problem.deadline:
        return {}
    if problem.has_line_since(bad[0].at):
        return None
    return dict.fromkeys(problem.concerned, f"the function was not started for {_requests_text(bad)}")


# A message came, each request since has ended in an error, and there is no line of it: the function dies as it starts.
@_rule(
    CauseKind.CRASHED,
    explains=_NOT_REGISTERED,
    needs=_Need.REQUESTS | _Need.COLLECTED | _Need.DOCUMENT | _Need.MESSAGE_LOG,
)
def _dies_as_it_starts(problem: _Problem) -> _Proofs:
    bad = problem.last_requests(range(500, 600))
    if not bad or problem.has_line_since(bad[0].at):
        return {}
    text = f"no delivery has left a line, and the function failed at {_requests_text(bad)}"
    return {p: text for p, arrival in problem.without_a_delivery.items() if arrival.visible_at <= bad[0].at}


def _requests_text(requests: Sequence[Request]) -> str:
    statuses = ", ".join(str(status) for status in sorted({request.status for request in requests}))
    first, last = _moment(requests[0].at), _moment(requests[-1].at)
    return f"{len(requests)} requests from {first} to {last}: HTTP {statuses}"


# Somebody published, and no request has come to the function since.
@_rule(
    CauseKind.NEVER_INVOKED,
    explains=_NOT_REGISTERED,
    needs=_Need.REQUESTS | _Need.DOCUMENT | _Need.MESSAGE_LOG,
)
def _no_request(problem: _Problem) -> _Proofs:
    completed = problem.completion_log.completed.items()
    unanswered = {p: arrival.visible_at for p, arrival in completed if p in problem.unregistered}
    since = min(unanswered.values(), default=problem.now)
    has_come = any(request.at >= since for request in problem.requests)
    if not unanswered or has_come or problem.now - since < problem.phase.untriggered_after:
        return {}
    text = f"{len(unanswered)} completions since {_moment(since)}, and the function has had no request"
    return dict.fromkeys(unanswered, text)


# Several completions, and for half an hour no sign of life of the function. That it has come back since does not undo
# it: what it missed is still missed.
@_rule(
    CauseKind.NEVER_INVOKED,
    explains=_NOT_REGISTERED,
    needs=_Need.COLLECTED | _Need.DOCUMENT | _Need.MESSAGE_LOG,
)
def _never_invoked(problem: _Problem) -> _Proofs:
    completed = problem.completion_log.completed.items()
    unanswered = {p: arrival.visible_at for p, arrival in completed if not problem.was_answered(p, arrival)}
    if len(unanswered) < _SEVERAL:
        return None if unanswered else {}
    since = min(unanswered.values())
    until = next(iter(problem.signs_of_life(since)), problem.now)
    missed = [p for p, at in unanswered.items() if at < until]
    if len(missed) < _SEVERAL or until - since < problem.phase.untriggered_after:
        return None
    end = f" until {_moment(until)}" if until < problem.now else ""
    nobody = f"and no delivery has left a line or a registration{end}"
    return dict.fromkeys(missed, f"{len(missed)} completions since {_moment(since)}, {nobody}")


# A message was never delivered, although the function was invoked for others after it.
@_rule(
    CauseKind.DELIVERY_LOST,
    explains=_NOT_REGISTERED,
    needs=_Need.COLLECTED | _Need.DOCUMENT | _Need.MESSAGE_LOG,
)
def _delivery_lost(problem: _Problem) -> _Proofs:
    unanswered = problem.without_a_delivery.items()
    lost = [p for p, arrival in unanswered if problem.signs_of_life(arrival.visible_at)]
    if not lost:
        return None if unanswered else {}
    if problem.may_have_been_rejected(lost):
        return None
    others = "no delivery has left a line, and later ones have"
    return dict.fromkeys(lost, f"completed according to the message log, but {others}: {names(lost)}")


# All are registered, and the last delivery decided against the flag, or left without a decision.
@_rule(
    CauseKind.SHORT_CIRCUIT,
    explains={VerdictKind.UNTRIGGERED},
    needs=_Need.COLLECTED | _Need.DOCUMENT,
)
def _short_circuit(problem: _Problem) -> _Proofs:
    if problem.unregistered or not problem.checkpoints:
        return None
    everybody = f"all {len(problem.phase.expected)} are registered in the progress document"
    post = problem.last_decision
    if post and not post.fields.get("missing") and not post.fields.get("triggered"):
        # That nothing is missing counts only from code that says what it waits for, or that it saw a duplicate.
        if post.fields.get("duplicate") is True:
            return {_FLAG: f"{everybody}, and the last delivery took itself for a duplicate and did not set the flag"}
        if post.fields.get("expected") and "missing" in post.fields:
            return {_FLAG: f"{everybody}, and the last delivery found nothing missing and did not set the flag"}
        return None
    if problem.last_line_of_a_completion is CheckpointKind.IGNORED:
        return {_FLAG: f"{everybody}, and the last delivery returned without a decision"}
    return {}


def _what_it_explains(problem: _Problem, line: Checkpoint) -> str:
    """Return the processor of a delivery that came to grief, or the flag where that processor is registered."""
    processor = problem.processor_of(line)
    return processor if processor in problem.concerned else _FLAG


def early_warnings(
    history: Collection[Evidence], phase: Phase, now: datetime, lines: Iterable[Checkpoint] = ()
) -> tuple[str, ...]:
    """Warn of what may become a problem: unexpected processors, and expected ones that report nothing any more.

    `history` is the evidence of the phase's recent dates, `lines` are checkpoints of those on which somebody is silent.
    """
    dates = sorted((Facts(one, phase, now) for one in history), key=lambda one: one.game_date)
    unexpected = {name for one in dates for name in one.unexpected}
    since = next((one.game_date for one in dates if one.unexpected), None)
    warnings = [f"not expected, since {since}: {unexpected_text(unexpected, phase)}"] if unexpected else []
    rejections = [line for line in lines if line.kind is CheckpointKind.REJECTED]
    rejected = {phase.canonical(str(line.fields.get("raw_processor"))): _why_rejected(line) for line in rejections}
    for processor in sorted(phase.expected):
        if silent := silent_dates(processor, dates):
            why = f"completed nothing since {silent[-1]}: its messages are rejected, {rejected.get(processor)}"
            warnings.append(f"{processor} has {why}" if processor in rejected else _silence_text(processor, silent))
    return tuple(warnings)


def _silence_text(processor: str, silent: Sequence[date]) -> str:
    return f"{processor} has reported nothing since {silent[-1]}, while its peers have"


def silent_dates(processor: str, history: Iterable[Facts]) -> list[date]:
    """Return since when a processor has not reported, newest first, where that is 3 dates on which others completed.

    Dates that are not over, and dates without work, on which nobody has anything to complete, are passed over.
    """
    silent: list[date] = []
    for one in sorted(history, key=lambda one: one.game_date, reverse=True):
        if processor not in one.phase.expected & one.waits_for:
            continue  # nobody waited for it then: perhaps there was no such processor
        if one.has_reported(processor):
            break
        if one.completed_at and one.evidence.work != Seen(0) and processor in one.overdue:
            silent.append(one.game_date)
    return silent if len(silent) >= _SILENT_DATES else []


def _orchestrator_expected(problem: _Problem) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return what the orchestrator waits for, None where nothing says so, and the names that are known to have come.

    A name that has come holds nothing up, even where the phase does not expect it.
    """
    progress, post = problem.progress, problem.last_decision
    reported = progress.unexpected | problem.completion_log.unexpected
    if progress.orchestrator_expected is not None or post is None:
        return progress.orchestrator_expected, reported
    completed, missing = whole_list(post, "completed"), whole_list(post, "missing")
    return (None, reported) if completed is None or missing is None else (completed | missing, reported | completed)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
