"""Why: an ordered table of rules over the evidence and the checkpoints of one date.

The first rule that finds its proof names the cause. A rule that needs a source that could not be
read is not tried, and not counted as ruled out either: where proof is missing the cause is
UNDETERMINED, never a guess.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cached_property

from canary.evidence import Evidence, Source, Unreadable, Witness, value_or
from canary.verdict import Cause, CauseKind, Verdict, VerdictKind, names
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind
from orchestrator_resilience.completion import Status
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import Progress

# A function is ended after 540 s at the most: a delivery that has said nothing for longer is dead.
_LIFETIME = timedelta(minutes=10)
_SILENT_DATES = 3
# A single completion without a delivery may have been lost on its own.
_SEVERAL = 2


class _Trail(Enum):
    """What the checkpoints are to a rule."""

    UNUSED = "unused"
    HELPS = "helps"
    NEEDED = "needed"


@dataclass(frozen=True)
class _Scene:
    """What the rules look at."""

    verdict: Verdict
    phase: Phase
    now: datetime
    witness: Witness
    progress: Progress
    trail: Sequence[Checkpoint] | None
    history: Mapping[date, Witness]

    @cached_property
    def unregistered(self) -> frozenset[str]:
        """Expected processors that the progress document lacks."""
        return self.phase.expected - self.progress.completed

    @cached_property
    def events(self) -> dict[str, list[Checkpoint]]:
        """The trail by message, each message's lines oldest first."""
        found: dict[str, list[Checkpoint]] = {}
        for checkpoint in self.trail or ():
            found.setdefault(str(checkpoint.fields.get("event_id")), []).append(checkpoint)
        return found

    @cached_property
    def died(self) -> dict[str, list[Checkpoint]]:
        """By processor, the lines of the first delivery of a message of which no delivery has ended.

        The first, because one that kills the process each time is delivered again every ten minutes.
        """
        found = {}
        for lines in self.events.values():
            first = [line for line in lines if line.fields.get("delivery") == lines[0].fields.get("delivery")]
            if not any(line.closes for line in lines) and self.now - first[-1].at >= _LIFETIME:
                found[self.processor(first[-1])] = first
        return found

    @cached_property
    def failed(self) -> dict[str, Checkpoint]:
        """By processor, the FAILED with which a message has ended for good or for now."""
        found = {}
        for lines in self.events.values():
            closing = [line for line in lines if line.closes]
            if closing and closing[-1].kind is CheckpointKind.FAILED:
                found[self.processor(closing[-1])] = closing[-1]
        return found

    @cached_property
    def received(self) -> frozenset[str]:
        """Processors of which some delivery left a line."""
        return frozenset(self.processor(line) for line in self.trail or ())

    def processor(self, line: Checkpoint) -> str:
        """Whose line it is; one of an orchestrator that waits for others may have the raw name only."""
        raw = str(line.fields.get("processor") or line.fields.get("raw_processor"))
        return self.phase.canonical(raw) or raw

    def last(self, kind: CheckpointKind) -> Checkpoint | None:
        """The last line of a kind."""
        return next((line for line in reversed(self.trail or ()) if line.kind is kind), None)


Rule = Callable[[_Scene], str | None]


def explain(
    verdict: Verdict,
    evidence: Evidence,
    trail: Source[Sequence[Checkpoint]],
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
        witness=value_or(evidence.witness, Witness()),
        progress=value_or(evidence.progress, Progress(phase.expected)),
        trail=None if isinstance(trail, Unreadable) else value_or(trail, ()),
        history={e.game_date: value_or(e.witness, Witness()) for e in history},
    )
    ruled_out = []
    for kind, verdicts, use, rule in _RULES:
        if verdict.kind not in verdicts or (use is _Trail.NEEDED and scene.trail is None):
            continue
        if proof := rule(scene):
            return Cause(kind, proof)
        if use is _Trail.UNUSED or scene.trail is not None:
            ruled_out.append(kind)
    if isinstance(trail, Unreadable):
        return Cause(CauseKind.UNDETERMINED, f"the checkpoints could not be read: {trail.reason}", tuple(ruled_out))
    return Cause(CauseKind.UNDETERMINED, "nothing that was looked for was found", tuple(ruled_out))


def drift(history: Collection[Evidence], phase: Phase) -> tuple[str, ...]:
    """Warn of what has not bitten yet: a stranger's first date, a processor that has fallen silent."""
    witnesses = {e.game_date: value_or(e.witness, Witness()) for e in history}
    warnings = []
    first: dict[str, date] = {}
    for day in sorted(witnesses):
        for stranger in witnesses[day].strangers:
            first.setdefault(stranger, day)
    for stranger, day in sorted(first.items()):
        nearest = phase.nearest(stranger)
        hint = f"; the nearest expected name is {nearest}" if nearest else ""
        warnings.append(f"{stranger} has been reporting since {day}, and is not expected{hint}")
    silences = {processor: _silent_since(processor, witnesses, phase) for processor in sorted(phase.expected)}
    warnings += [f"{p} has reported nothing since {day}, while its peers have" for p, day in silences.items() if day]
    return tuple(warnings)


def _silent_since(processor: str, witnesses: Mapping[date, Witness], phase: Phase) -> date | None:
    """Return the first of at least 3 dates on end on which the peers reported and `processor` did not."""
    silent: list[date] = []
    for day in sorted(witnesses, reverse=True):
        heard = witnesses[day].statuses.keys() & phase.expected
        if processor in heard:
            break
        if heard:
            silent.append(day)
    return silent[-1] if len(silent) >= _SILENT_DATES else None


def _flag_overwritten(scene: _Scene) -> str | None:
    if line := scene.last(CheckpointKind.TRIGGERED):
        return f"{line.kind} was left at {line.at:%Y-%m-%d %H:%M:%S}Z, and the flag is gone"
    if scene.witness.triggered:
        return "the completion log has the row of the trigger, and the flag is gone"
    return None


def _expectation_drift(scene: _Scene) -> str | None:
    waited_for = scene.progress.announced
    if waited_for is None and (line := scene.last(CheckpointKind.POST_TRANSACTION)):
        waited_for = frozenset(map(str, [*line.fields.get("completed", ()), *line.fields.get("missing", ())]))
    if waited_for is None:
        return None
    surplus, lacking = names(waited_for - scene.phase.expected), names(scene.phase.expected - waited_for)
    if surplus and scene.verdict.kind is VerdictKind.UNTRIGGERED:
        return f"the orchestrator also waits for {surplus}, which {scene.phase.name} does not expect"
    left_out = scene.verdict.kind is VerdictKind.WITNESS_GAP and not waited_for.issuperset(scene.unregistered)
    if lacking and (scene.verdict.kind is VerdictKind.PREMATURE or left_out):
        return f"the orchestrator does not wait for {lacking}, which {scene.phase.name} expects"
    return None


def _crashed(scene: _Scene) -> str | None:
    for processor, lines in sorted(scene.died.items()):
        # A processor that is registered died on the way to the flag: then the set has to be complete.
        if processor in scene.unregistered or (processor in scene.phase.expected and not scene.verdict.missing):
            begun = {line.fields.get("delivery") for line in scene.events[str(lines[0].fields.get("event_id"))]}
            again = f"{len(begun)} deliveries have begun, none has ended" if len(begun) > 1 else "and no redelivery"
            last = lines[-1]
            return (
                f"the delivery of {processor} died after {last.kind} at {last.at:%Y-%m-%d %H:%M:%S}Z: "
                f"no later line of it, {again}"
            )
    return None


def _write_failed(scene: _Scene) -> str | None:
    for processor, line in sorted(scene.failed.items()):
        if processor in scene.phase.expected:
            steps = names(map(str, line.fields.get("steps") or ["a step of its own"]))
            causes = line.fields.get("causes") or [line.text]
            return f"the delivery of {processor} failed in {steps} at {line.at:%Y-%m-%d %H:%M:%S}Z: {causes[0]}"
    return None


def _name_drift(scene: _Scene) -> str | None:
    for stranger in scene.verdict.unexpected:
        nearest = scene.phase.nearest(stranger)
        # Where both have reported on one date they are two, however much their names resemble each other.
        two = any(stranger in w.strangers and nearest in w.statuses for w in scene.history.values())
        if nearest in scene.verdict.missing and not two:
            return f"{stranger} is not expected; the nearest expected name is {nearest}, which is missing"
    return None


def _processor_failed(scene: _Scene) -> str | None:
    failed = names(p for p in scene.verdict.missing if scene.witness.statuses.get(p) == Status.FAILED)
    return f"reported failure: {failed}" if failed else None


def _processor_disabled(scene: _Scene) -> str | None:
    until = {day: witness for day, witness in scene.history.items() if day <= scene.verdict.game_date}
    for processor in scene.verdict.missing:
        if since := _silent_since(processor, until, scene.phase):
            return f"{processor} has reported nothing since {since}, while its peers have"
    return None


def _never_invoked(scene: _Scene) -> str | None:
    waiting = scene.witness.completed
    if scene.trail:  # deliveries that have begun at last do not undo that there were none before
        begun = scene.trail[0].at
        waiting = {p: row for p, row in waiting.items() if begun - row.visible_at >= scene.phase.untriggered_after}
        until = f"no delivery left a line until {begun:%Y-%m-%d %H:%M:%S}Z"
    else:
        until = "no delivery has left a line or a registration"
    by_code_without_lines = not scene.trail and (scene.progress.registered or scene.progress.trigger)
    if len(waiting) < _SEVERAL or by_code_without_lines:
        return None
    return f"{len(waiting)} completions are in the completion log, and {until}"


def _delivery_lost(scene: _Scene) -> str | None:
    lost = names((scene.witness.completed.keys() & scene.unregistered) - scene.received)
    if lost and scene.trail:
        return f"completed according to the completion log, but no delivery has left a line: {lost}"
    return None


def _short_circuit(scene: _Scene) -> str | None:
    if scene.unregistered:
        return None
    everybody = f"all {len(scene.phase.expected)} are registered in the progress document"
    if not scene.trail:
        # Code that leaves no checkpoints also does not write down what it waits for.
        return (
            f"{everybody}, by code that leaves no checkpoints, and nothing set the flag"
            if (scene.progress.announced is None)
            else None
        )
    post = scene.last(CheckpointKind.POST_TRANSACTION)
    if post and not post.fields.get("missing") and not post.fields.get("triggered"):
        return f"{everybody}, and the last delivery found nothing missing and did not set the flag"
    ignored = scene.last(CheckpointKind.IGNORED)
    if ignored and ignored == scene.trail[-1]:
        return f"{everybody}, and the last delivery returned without a decision"
    return None


_K, _C = VerdictKind, CauseKind
_ABSENT_FLAG = {_K.UNTRIGGERED, _K.INCOMPLETE}
_UNFINISHED = {_K.UNTRIGGERED, _K.INCOMPLETE, _K.WITNESS_GAP}
_MISSING = {_K.INCOMPLETE, _K.PREMATURE}

# Cause, verdicts that it can explain, what the checkpoints are to it, the rule. The order matters: what was seen
# to happen comes before what follows from something not having been seen.
_RULES: tuple[tuple[CauseKind, Collection[VerdictKind], _Trail, Rule], ...] = (
    (_C.FLAG_OVERWRITTEN, _ABSENT_FLAG, _Trail.HELPS, _flag_overwritten),
    (_C.EXPECTATION_DRIFT, {_K.UNTRIGGERED, _K.PREMATURE, _K.WITNESS_GAP}, _Trail.HELPS, _expectation_drift),
    (_C.CRASHED, _UNFINISHED, _Trail.NEEDED, _crashed),
    (_C.WRITE_FAILED, _UNFINISHED, _Trail.NEEDED, _write_failed),
    (_C.NAME_DRIFT, _MISSING, _Trail.UNUSED, _name_drift),
    (_C.PROCESSOR_FAILED, _MISSING, _Trail.UNUSED, _processor_failed),
    (_C.PROCESSOR_DISABLED, _MISSING, _Trail.UNUSED, _processor_disabled),
    (_C.NEVER_INVOKED, _UNFINISHED, _Trail.NEEDED, _never_invoked),
    (_C.DELIVERY_LOST, _UNFINISHED, _Trail.NEEDED, _delivery_lost),
    (_C.SHORT_CIRCUIT, {_K.UNTRIGGERED}, _Trail.NEEDED, _short_circuit),
)
