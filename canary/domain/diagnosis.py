"""Why: an ordered table of rules over the evidence and the checkpoints of one date.

The first rule that finds its proof names the cause. A rule that needs a source that could not be
read, or that the phase does not have, is not tried, and not counted as ruled out either: where
proof is missing the cause is UNDETERMINED, never a guess.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Flag, auto
from functools import cached_property

from canary.domain.evidence import Arrival, Evidence, Logged, Seen, Source, Unreadable, value_or
from canary.domain.verdict import Cause, CauseKind, Verdict, VerdictKind, names
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind
from orchestrator_resilience.completion import Status
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress

# A function is ended after 540 s at the most: a delivery that has said nothing for longer is dead.
_LIFETIME = timedelta(minutes=10)
_SILENT_DATES = 3
# A single completion without a delivery may have been lost on its own.
_SEVERAL = 2


class _Need(Flag):
    """What a rule cannot do without."""

    NOTHING = 0
    CHECKPOINTS = auto()
    DOCUMENT = auto()
    MESSAGE_LOG = auto()
    """A message log: what the function has written itself does not prove that it was not invoked."""


@dataclass(frozen=True)
class _Scene:
    """What the rules look at; `history` is the evidence of the recent dates, this one included."""

    verdict: Verdict
    phase: Phase
    now: datetime
    completion_log: Logged
    progress: Progress
    checkpoints: Sequence[Checkpoint]
    history: Mapping[date, Evidence]

    @cached_property
    def unregistered(self) -> frozenset[str]:
        """Expected processors that the progress document lacks."""
        return self.phase.expected - self.progress.completed

    @cached_property
    def concerned(self) -> frozenset[str]:
        """The processors that the verdict is about: what befell others, and was repaired, explains nothing."""
        match self.verdict.kind:
            case VerdictKind.INCOMPLETE | VerdictKind.PREMATURE:
                return frozenset(self.verdict.missing)
            case VerdictKind.UNTRIGGERED:
                return self.unregistered
            case VerdictKind.STORES_DISAGREE:
                return frozenset(self.completion_log.completed) ^ self.progress.completed
            case _:
                return frozenset()

    def explains(self, processor: str, line: Checkpoint) -> bool:
        """Whether what befell a delivery at `line` can be the reason: of somebody concerned, or on the way to the flag.

        Where all are registered, only a delivery after which nobody was registered any more was to set the flag.
        """
        if processor in self.concerned:
            return True
        if (
            self.verdict.kind is not VerdictKind.UNTRIGGERED
            or self.unregistered
            or processor not in self.phase.expected
        ):
            return False
        others = [entry.registered_at for name, entry in self.progress.registered.items() if name != processor]
        return all(at is None or at <= line.at for at in others)

    @cached_property
    def events(self) -> dict[str, list[Checkpoint]]:
        """The checkpoints by message, each message's lines oldest first."""
        found: dict[str, list[Checkpoint]] = {}
        for checkpoint in self.checkpoints:
            found.setdefault(str(checkpoint.fields.get("event_id")), []).append(checkpoint)
        return found

    def processor(self, line: Checkpoint) -> str:
        """Whose line it is; one of an orchestrator that waits for others may have the raw name only."""
        raw = str(line.fields.get("processor") or line.fields.get("raw_processor"))
        return self.phase.canonical(raw) or raw

    def last(self, kind: CheckpointKind) -> Checkpoint | None:
        """The last line of a kind."""
        return next((line for line in reversed(self.checkpoints) if line.kind is kind), None)

    def first_line_since(self, processor: str, arrival: Arrival) -> datetime | None:
        """When a delivery of a processor's success, or of a later report, left its first line."""
        own = (line.at for line in self.checkpoints if self.processor(line) == processor)
        return next((at for at in own if at >= arrival.completed_at), None)

    def signs_of_life(self, since: datetime) -> list[datetime]:
        """When the function has left something after `since`: a line here, a registration of any date."""
        registered = [
            entry.registered_at
            for evidence in self.history.values()
            for entry in _progress(evidence, self.phase).registered.values()
        ]
        times = [*(line.at for line in self.checkpoints), *(at for at in registered if at is not None)]
        return sorted(at for at in times if at > since)

    @cached_property
    def unanswered(self) -> dict[str, Arrival]:
        """Completions in the log, unregistered, of whose delivery there is no line."""
        return {
            processor: arrival
            for processor, arrival in self.completion_log.completed.items()
            if processor in self.unregistered and self.first_line_since(processor, arrival) is None
        }


Rule = Callable[[_Scene], str | None]


def explain(
    verdict: Verdict,
    evidence: Evidence,
    checkpoints: Source[Sequence[Checkpoint]],
    *,
    history: Collection[Evidence],
    phase: Phase,
    now: datetime,
) -> Cause:
    """Name the cause of a problem; `history` is the evidence of the phase's recent dates."""
    scene = _Scene(
        verdict=verdict,
        phase=phase,
        now=now,
        completion_log=_completion_log(evidence),
        progress=_progress(evidence, phase),
        checkpoints=value_or(checkpoints, ()),
        history={e.game_date: e for e in history},
    )
    lacking = _Need.NOTHING
    lacking |= _Need.CHECKPOINTS if isinstance(checkpoints, Unreadable) else _Need.NOTHING
    lacking |= _Need.DOCUMENT if isinstance(evidence.progress, Unreadable) else _Need.NOTHING
    lacking |= _Need.MESSAGE_LOG if phase.message_table is None else _Need.NOTHING
    ruled_out = []
    for kind, verdicts, needs, helps, rule in _RULES:
        if verdict.kind not in verdicts or needs & lacking:
            continue
        if proof := rule(scene):
            return Cause(kind, proof)
        if not helps & lacking:
            ruled_out.append(kind)
    if isinstance(checkpoints, Unreadable):
        return Cause(
            CauseKind.UNDETERMINED, f"the checkpoints could not be read: {checkpoints.reason}", tuple(ruled_out)
        )
    return Cause(CauseKind.UNDETERMINED, _what_is_left(scene, lacking), tuple(ruled_out))


def drift(history: Collection[Evidence], phase: Phase, now: datetime) -> tuple[str, ...]:
    """Warn early, of an unexpected processor's first date, a processor that has fallen silent."""
    dates = {e.game_date: e for e in history}
    warnings = []
    first: dict[str, date] = {}
    for day in sorted(dates):
        for unexpected in _completion_log(dates[day]).unexpected:
            first.setdefault(unexpected, day)
    for unexpected, day in sorted(first.items()):
        nearest = phase.nearest(unexpected)
        hint = f"; the nearest expected name is {nearest}" if nearest else ""
        warnings.append(f"{unexpected} has been reporting since {day}, and is not expected{hint}")
    silences = {processor: _silent_since(processor, dates, phase, now) for processor in sorted(phase.expected)}
    warnings += [f"{p} has reported nothing since {day}, while its peers have" for p, day in silences.items() if day]
    return tuple(warnings)


def _completion_log(evidence: Evidence) -> Logged:
    return value_or(evidence.completion_log, Logged())


def _progress(evidence: Evidence, phase: Phase) -> Progress:
    return value_or(evidence.progress, Progress(phase.expected))


def _silent_since(processor: str, history: Mapping[date, Evidence], phase: Phase, now: datetime) -> date | None:
    """Return the first of at least 3 dates in a row on which peers completed and `processor` did not report.

    Dates that are not over, and dates without work, on which peers have nothing to complete, say nothing.
    """
    silent: list[date] = []
    for day in sorted(history, reverse=True):
        evidence = history[day]
        completion_log, progress = _completion_log(evidence), _progress(evidence, phase)
        if processor in completion_log.statuses or processor in progress.completed:
            break
        worked = bool(completion_log.completed or progress.completed) and evidence.work != Seen(0)
        if worked and now >= phase.deadline(day):
            silent.append(day)
    return silent[-1] if len(silent) >= _SILENT_DATES else None


def _flag_overwritten(scene: _Scene) -> str | None:
    if line := scene.last(CheckpointKind.TRIGGERED):
        return f"{line.kind} was left at {_moment(line.at)}, and the flag is gone"
    if scene.completion_log.triggered:
        return "the completion log has the row of the trigger, and the flag is gone"
    return None


def _expectation_drift(scene: _Scene) -> str | None:
    orchestrator_expected, post = scene.progress.orchestrator_expected, scene.last(CheckpointKind.POST_TRANSACTION)
    there = scene.progress.unexpected | scene.completion_log.unexpected
    if orchestrator_expected is None and post is not None:
        completed = frozenset(map(str, post.fields.get("completed", ())))
        orchestrator_expected, there = (
            completed | frozenset(map(str, post.fields.get("missing", ()))),
            there | completed,
        )
    if orchestrator_expected is None:
        return None
    # One that is there already holds nothing up.
    surplus, lacking = (
        names(orchestrator_expected - scene.phase.expected - there),
        names(scene.phase.expected - orchestrator_expected),
    )
    if surplus and scene.verdict.kind is VerdictKind.UNTRIGGERED:
        return f"the orchestrator also waits for {surplus}, which {scene.phase.name} does not expect"
    left_out = scene.verdict.kind is VerdictKind.STORES_DISAGREE and not orchestrator_expected.issuperset(
        scene.unregistered
    )
    if lacking and (scene.verdict.kind is VerdictKind.PREMATURE or left_out):
        return f"the orchestrator does not wait for {lacking}, which {scene.phase.name} expects"
    return None


def _message_rejected(scene: _Scene) -> str | None:
    for line in reversed(scene.checkpoints):
        if line.kind is CheckpointKind.REJECTED and scene.processor(line) in scene.concerned:
            reason = f"{line.fields.get('field')}: {line.fields.get('reason')}"
            return f"the message of {scene.processor(line)} was rejected at {_moment(line.at)}: {reason}"
    return None


def _crashed(scene: _Scene) -> str | None:
    for lines in scene.events.values():
        # The first delivery, because one that kills the process each time comes again every ten minutes.
        deliveries = list(dict.fromkeys(line.fields.get("delivery") for line in lines))
        last = next(line for line in reversed(lines) if line.fields.get("delivery") == deliveries[0])
        dead = not any(line.closes for line in lines) and scene.now - last.at >= _LIFETIME
        if dead and scene.explains(scene.processor(last), last):
            again = (
                f"{len(deliveries)} deliveries have begun, none has ended" if deliveries[1:] else "and no redelivery"
            )
            died = f"the delivery of {scene.processor(last)} died after {last.kind} at {_moment(last.at)}"
            return f"{died}: no later line of it, {again}"
    return None


def _write_failed(scene: _Scene) -> str | None:
    for lines in scene.events.values():
        last = next((line for line in reversed(lines) if line.closes), None)
        if last is None or last.kind is not CheckpointKind.FAILED or not scene.explains(scene.processor(last), last):
            continue
        steps = names(map(str, last.fields.get("steps") or ["a step of its own"]))
        causes = last.fields.get("causes") or [last.text]
        return f"the delivery of {scene.processor(last)} failed in {steps} at {_moment(last.at)}: {causes[0]}"
    return None


def _name_drift(scene: _Scene) -> str | None:
    """A rename shows on two dates: before it the expected name reported alone, and never did both."""
    before = [_completion_log(e) for day, e in scene.history.items() if day != scene.verdict.game_date]
    for unexpected in scene.verdict.unexpected:
        nearest = scene.phase.nearest(unexpected)
        alone = any(nearest in w.statuses and unexpected not in w.unexpected for w in before)
        both = any(nearest in w.statuses and unexpected in w.unexpected for w in before)
        if nearest in scene.verdict.missing and alone and not both:
            return f"{unexpected} is not expected; the nearest expected name is {nearest}, which is missing"
    return None


def _processor_failed(scene: _Scene) -> str | None:
    failed = names(p for p in scene.verdict.missing if scene.completion_log.statuses.get(p) == Status.FAILED)
    return f"reported failure: {failed}" if failed else None


def _processor_disabled(scene: _Scene) -> str | None:
    until = {day: evidence for day, evidence in scene.history.items() if day <= scene.verdict.game_date}
    for processor in scene.verdict.missing:
        if since := _silent_since(processor, until, scene.phase, scene.now):
            return f"{processor} has reported nothing since {since}, while its peers have"
    return None


def _never_invoked(scene: _Scene) -> str | None:
    """Several completions, and for half an hour no sign of life; that it has come back does not undo it."""
    limit = scene.phase.untriggered_after

    def was_answered(processor: str, arrival: Arrival) -> bool:
        entry = scene.progress.registered.get(processor)
        # Old code noted no time at which it registered, and leaves no lines.
        registered_at = (entry.registered_at or arrival.visible_at) if entry else None
        times = [scene.first_line_since(processor, arrival), registered_at]
        return any(at is not None and at - arrival.visible_at < limit for at in times)

    waiting = {p: a for p, a in scene.completion_log.completed.items() if not was_answered(p, a)}
    if len(waiting) < _SEVERAL:
        return None
    since = min(arrival.visible_at for arrival in waiting.values())
    until = next(iter(scene.signs_of_life(since)), scene.now)
    missed = sum(arrival.visible_at < until for arrival in waiting.values())
    if missed < _SEVERAL or until - since < limit:
        return None
    end = f" until {_moment(until)}" if until < scene.now else ""
    return f"{missed} completions since {_moment(since)}, and no delivery has left a line or a registration{end}"


def _delivery_lost(scene: _Scene) -> str | None:
    lost = names(p for p, arrival in scene.unanswered.items() if scene.signs_of_life(arrival.visible_at))
    return (
        f"completed according to the message log, but no delivery has left a line, and later ones have: {lost}"
        if lost
        else None
    )


def _short_circuit(scene: _Scene) -> str | None:
    if scene.unregistered or not scene.checkpoints:
        return None
    everybody = f"all {len(scene.phase.expected)} are registered in the progress document"
    post, last = scene.last(CheckpointKind.POST_TRANSACTION), scene.checkpoints[-1]
    if post and not post.fields.get("missing") and not post.fields.get("triggered"):
        # That nothing is missing counts only from somebody who says what it waits for, or that it saw a duplicate.
        if post.fields.get("duplicate") is True:
            return f"{everybody}, and the last delivery took itself for a duplicate and did not set the flag"
        if post.fields.get("expected"):
            return f"{everybody}, and the last delivery found nothing missing and did not set the flag"
    if last.kind is CheckpointKind.IGNORED:
        return f"{everybody}, and the last delivery returned without a decision"
    return None


def _what_is_left(scene: _Scene, lacking: _Need) -> str:
    """Say between what could not be decided."""
    about_the_flag = scene.verdict.kind is VerdictKind.UNTRIGGERED
    if about_the_flag and not scene.unregistered and _Need.DOCUMENT not in lacking:
        silent = "leaves no checkpoints" if not scene.checkpoints else "does not say what it waits for"
        return (
            f"all {len(scene.phase.expected)} are registered, by code that {silent}: it took the last one for a "
            "duplicate, waits for somebody else, or the flag was taken away"
        )
    nobody = names(scene.unanswered) if about_the_flag or scene.verdict.kind is VerdictKind.STORES_DISAGREE else ""
    if nobody and _Need.MESSAGE_LOG in lacking:
        return f"without a message_table it cannot be told whether the function was invoked for {nobody}"
    if nobody:
        return f"no line of {nobody}, and nothing has come since: it was lost, or the function is no longer invoked"
    return "nothing that was looked for was found"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


_K, _C = VerdictKind, CauseKind
_UNFINISHED = {_K.UNTRIGGERED, _K.INCOMPLETE, _K.STORES_DISAGREE}
_UNREGISTERED = {_K.UNTRIGGERED, _K.STORES_DISAGREE}
_MISSING = {_K.INCOMPLETE, _K.PREMATURE}
_DELIVERIES = _Need.CHECKPOINTS | _Need.DOCUMENT | _Need.MESSAGE_LOG

# Cause, verdicts that it can explain, what it needs, what else helps, the rule. The order matters: what was seen to
# happen comes before what follows from something not having been seen.
_RULES: tuple[tuple[CauseKind, Collection[VerdictKind], _Need, _Need, Rule], ...] = (
    (_C.FLAG_OVERWRITTEN, {_K.UNTRIGGERED}, _Need.DOCUMENT, _Need.CHECKPOINTS, _flag_overwritten),
    (
        _C.EXPECTATION_DRIFT,
        {_K.UNTRIGGERED, _K.PREMATURE, _K.STORES_DISAGREE},
        _Need.NOTHING,
        _Need.CHECKPOINTS,
        _expectation_drift,
    ),
    (_C.MESSAGE_REJECTED, _UNFINISHED, _Need.CHECKPOINTS, _Need.NOTHING, _message_rejected),
    (_C.CRASHED, _UNFINISHED, _Need.CHECKPOINTS | _Need.DOCUMENT, _Need.NOTHING, _crashed),
    (_C.WRITE_FAILED, _UNFINISHED, _Need.CHECKPOINTS | _Need.DOCUMENT, _Need.NOTHING, _write_failed),
    (_C.PROCESSOR_FAILED, _MISSING, _Need.NOTHING, _Need.NOTHING, _processor_failed),
    (_C.NAME_DRIFT, _MISSING, _Need.NOTHING, _Need.NOTHING, _name_drift),
    (_C.PROCESSOR_DISABLED, _MISSING, _Need.CHECKPOINTS, _Need.NOTHING, _processor_disabled),
    (_C.NEVER_INVOKED, _UNREGISTERED, _DELIVERIES, _Need.NOTHING, _never_invoked),
    (_C.DELIVERY_LOST, _UNREGISTERED, _DELIVERIES, _Need.NOTHING, _delivery_lost),
    (_C.SHORT_CIRCUIT, {_K.UNTRIGGERED}, _Need.CHECKPOINTS | _Need.DOCUMENT, _Need.NOTHING, _short_circuit),
)
