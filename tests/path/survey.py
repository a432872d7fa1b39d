"""What has to hold of the path in every world, and the count of how it does.

Sound: the interval of each cause has the stage at which its subject really stopped; no stage that
was reached is shown as refused or missed, and none as reached or undone that was not. On time: no
cause is given before its time is up, nor of what is healthy. Right: a cause that is named is the
true one. Monotone: without one source, each interval is as wide or wider, and no other cause is
named. Cited: no error is cited that has nothing to do with a request that failed.

These cannot be known from the stores, and are counted by themselves:

- SAMPLED: of sampled lines, the closing one may be lost, and a delivery that came to its end seems
  to have died. This does not hold where a completion in the stores has no closing line, which
  shows that lines are lost.
- SWITCHED_OFF: lines are no longer left, and no delivery since is known from elsewhere: as if none
  had come.
- FILTERED: a message of another `phase`, or that is no JSON, is in no message log, and no line of
  it can be read: as if nobody had published it.
- NOT_KEPT: runs are no longer written down, and no completion of the date is known: as if nobody
  had run.
- DIED_UNSEEN: runs are written down when they have ended: one that died is as if it had not begun.
- UNPUBLISHED: all requests since some time are turned away, and neither the message log nor a line
  says whether this one's message was among them, was delivered before, or was never published.
- GIVEN_UP: a dead letter says that Pub/Sub gave up. Only a line or a request shows whether the
  message was never delivered, or failed or died each time.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from canary.domain.evidence import Seen, value_or
from canary.domain.path import where_it_stopped
from canary.domain.stages import Cause, CauseKind, Stage, State
from canary.domain.verdict import Verdict, judge
from tests.path.shown import TAKEN, UNRELATED, Lines, Messages, Runs, Side, World, without, world_of
from tests.path.worlds import DAY, FIVE, Code, Ending, Truth

_STAGES = list(Stage)
# What a processor has behind it when nothing of it is under way.
_THROUGH = {Stage.RECORDED, Stage.REGISTERED}
_SHOWN = 4


class Undecidable(StrEnum):
    """What cannot be known from these stores; the docstring of the module says why."""

    SAMPLED = "sampled lines"
    SWITCHED_OFF = "lines switched off"
    FILTERED = "filtered by the message log"
    NOT_KEPT = "runs switched off"
    DIED_UNSEEN = "a run that died, in a table of those that have ended"
    UNPUBLISHED = "an outage without a message log"
    GIVEN_UP = "a dead letter alone"


class Flaw(msgspec.Struct, frozen=True):
    """What does not hold: of which property, in which words, and whether that can be helped."""

    name: str
    text: str
    undecidable: Undecidable | None = None


def explained(world: World) -> Verdict:
    """Return the verdict with where it stopped, as a run of the canary has it."""
    verdict = judge(world.evidence, world.phase, world.now)
    if verdict.kind.is_quiet:
        return verdict
    return where_it_stopped(
        verdict,
        world.evidence,
        world.traces,
        history=world.history,
        phase=world.phase,
        now=world.now,
    )


def undecidable(world: World, subject: str) -> Undecidable | None:
    """Return why nobody can tell from the stores what became of a subject.

    None where the stores show it.
    """
    view, plan, truth = world.view, world.plan, world.truth(subject)
    ending = plan.endings[FIVE.index(subject)] if subject else Ending.HEALTHY
    is_seen = not world.without_a_line
    if view.lines is Lines.SAMPLED and is_seen and plan.code is not Code.SILENT:
        return Undecidable.SAMPLED
    if view.lines in {Lines.OFF_BEFORE, Lines.OFF_WITHIN} and is_seen:
        return Undecidable.SWITCHED_OFF
    if view.runs is Runs.OFF_BEFORE and subject and not world.has_completion:
        return Undecidable.NOT_KEPT
    if view.runs is Runs.ENDED and ending is Ending.DIES_RUNNING:
        return Undecidable.DIED_UNSEEN
    has_line = world.has_line_of(subject)
    has_messages = view.messages in {Messages.COLLECTED, Messages.SINCE_THE_DATE}
    if ending in {Ending.REJECTED_PHASE, Ending.REJECTED_WHOLE} and not has_line:
        return Undecidable.FILTERED
    if subject and plan.outage and not (has_messages or has_line or truth.stage is Stage.DELIVERED):
        return Undecidable.UNPUBLISHED
    is_given_up = any(letter.processor == subject for letter in world.happened.dead_letters)
    is_told = has_line and Stage.DELIVERED in truth.reached
    if (
        is_given_up
        and view.dead_letters is Side.THERE
        and CauseKind.NOT_DELIVERED not in truth.kinds
        and not is_told
    ):
        return Undecidable.GIVEN_UP
    return None


def _next(truth: Truth) -> Stage | None:
    """Return where a subject stopped, or where it is on its way to.

    None where it has reached everything.
    """
    if truth.stage is not None:
        return truth.stage
    return next((stage for stage in _STAGES if stage not in truth.reached), None)


def _subjects(cause: Cause) -> tuple[str, ...]:
    return cause.subjects or ("",)


def _interval(cause: Cause) -> str:
    return f"{cause.kind} after {cause.after}, until {cause.until}"


def unsound(world: World, verdict: Verdict) -> Iterator[Flaw]:
    """Yield the intervals without the true stage, and the stages that are shown wrongly."""
    for cause in verdict.causes:
        for subject in _subjects(cause):
            truth = world.truth(subject)
            real, why = _next(truth), undecidable(world, subject)
            interval = f"{subject or 'the date'}: {_interval(cause)}"
            if cause.after is not None and not _is_before(cause.after, real, truth):
                yield Flaw("sound", f"{interval}, and it is {real}: too late", why)
            if cause.until is not None and (real is None or real.rank > cause.until.rank):
                yield Flaw("sound", f"{interval}, and it is {real}: too early", why)
    for step in verdict.path:
        truth = world.truth(step.subject)
        is_reached = step.stage in truth.reached
        shown = f"is shown {step.state} ({step.source}: {step.words})"
        step_text = f"{step.subject or 'the date'}: {step.stage} {shown}"
        is_wrong = {
            State.REACHED: not is_reached,
            State.REFUSED: is_reached and step.stage not in truth.undone,
            State.MISSED: is_reached and step.stage not in truth.undone,
            State.UNDONE: step.stage not in truth.undone,
        }
        if is_wrong.get(step.state):
            yield Flaw(
                "sound",
                f"{step_text}, and was {'' if is_reached else 'not '}reached",
                undecidable(world, step.subject),
            )


def _is_before(after: Stage, real: Stage | None, truth: Truth) -> bool:
    """Whether `after` can be the last stage reached.

    A stage of equal rank can be, if it was reached, also if it is undone.
    """
    if real is None or after.rank < real.rank:
        return True
    return after.rank == real.rank and after in truth.reached


def kinds_of(world: World, subject: str) -> frozenset[CauseKind]:
    """Return the causes that may be named for a subject.

    Where no registration can be read, a delivery that fails when it decides may be named for its
    processor.
    """
    truth = world.truth(subject)
    is_unread = not isinstance(world.evidence.progress, Seen)
    is_through = bool(subject) and truth.stage is None and truth.reached >= _THROUGH
    return truth.kinds | (world.truth("").kinds if is_through and is_unread else frozenset())


def untimely(world: World, verdict: Verdict) -> Iterator[Flaw]:
    """Yield the causes of what is healthy, or under way."""
    for cause in verdict.causes:
        for subject in _subjects(cause):
            truth, why = world.truth(subject), undecidable(world, subject)
            interval = f"{subject or 'the date'}: {_interval(cause)}"
            is_late = cause.kind is CauseKind.UNDETERMINED and world.now >= world.phase.deadline(
                DAY
            )
            is_under_way = bool(subject) and not (truth.reached >= _THROUGH or is_late)
            if truth.stage is None and is_under_way:
                yield Flaw("on time", f"{interval}, and it is under way", why)
            elif (
                cause.kind is not CauseKind.UNDETERMINED
                and truth.stage is None
                and not kinds_of(world, subject)
            ):
                yield Flaw("on time", f"{interval}, and it is healthy", why)
            elif not truth.is_up:
                yield Flaw("on time", f"{interval}, and its time is not up", why)


def wrong(world: World, verdict: Verdict) -> Iterator[Flaw]:
    """Yield the causes that are not the true ones."""
    for cause in verdict.causes:
        for subject in _subjects(cause):
            truth = world.truth(subject)
            if cause.kind is not CauseKind.UNDETERMINED and cause.kind not in kinds_of(
                world, subject
            ):
                real = f"{'/'.join(sorted(truth.kinds)) or 'no cause'} at {truth.stage}"
                interval = f"{_interval(cause)} ({cause.source}: {cause.words})"
                text = f"{subject or 'the date'}: {interval}, and it is {real}"
                yield Flaw("right", text, undecidable(world, subject))


def miscited(world: World, verdict: Verdict) -> Iterator[Flaw]:
    """Yield the words of errors that are about no request, where a log has those that failed."""
    words = [*(cause.words for cause in verdict.causes), *(step.words for step in verdict.path)]
    for text in words if value_or(world.traces.requests, []) else ():
        if UNRELATED in text:
            yield Flaw("cited", f"{text}, and no request was of it")


def narrower(world: World, verdict: Verdict, source: str) -> Iterator[Flaw]:
    """Yield what is narrower without a source than with it, and causes that only then are named."""
    less = without(world, source)
    after = {subject: cause for cause in explained(less).causes for subject in _subjects(cause)}
    before = {subject: cause for cause in verdict.causes for subject in _subjects(cause)}
    for subject in sorted(after.keys() & before.keys()):
        full, partial = before[subject], after[subject]
        intervals = (
            f"{subject or 'the date'}: {_interval(full)}; without {source} {_interval(partial)}"
        )
        why = undecidable(world, subject) or undecidable(less, subject)
        if source in {"messages", "lines"} and world.has_nameless:
            continue  # only they say that there is a message of nobody, which may be anybody's
        if partial.after is not None and (
            full.after is None or partial.after.rank > full.after.rank
        ):
            yield Flaw("monotone", f"{intervals}: after is later", why)
        if partial.until is not None and (
            full.until is None or partial.until.rank < full.until.rank
        ):
            yield Flaw("monotone", f"{intervals}: until is earlier", why)
        kinds = kinds_of(world, subject)
        is_named = partial.kind is not CauseKind.UNDETERMINED and partial.kind != full.kind
        if is_named and (full.kind is CauseKind.UNDETERMINED or partial.kind not in kinds):
            named = f"named without it ({partial.source}: {partial.words})"
            yield Flaw("monotone", f"{intervals}: {named}", why)


def is_exact(cause: Cause) -> bool:
    """Whether an interval is one stage.

    Without a `runs_query`, nobody can tell RAN from PUBLISHED.
    """
    if cause.until is None:
        return False
    first = cause.after.rank if cause.after else Stage.RAN.rank
    return cause.until.rank - first <= 1


class Tally:
    """Counts worlds, causes and flaws, and keeps the shortest worlds of each flaw."""

    def __init__(self) -> None:
        self.worlds = self.problems = self.named = self.wrong = 0
        self.intervals = self.exact = self.whole = self.whole_exact = 0
        self.undecidable: Counter[str] = Counter()
        self.flaws: dict[str, list[tuple[Flaw, World]]] = defaultdict(list)

    def add(self, world: World, *, monotone: bool = True) -> None:
        """Look at one world."""
        self.worlds += 1
        try:
            self._add(world, monotone=monotone)
        except Exception as error:  # noqa: BLE001 (the other worlds still count)
            self.flaws["answers"].append(
                (Flaw("answers", f"{type(error).__name__}: {error}"), world)
            )

    def _add(self, world: World, *, monotone: bool) -> None:
        verdict = explained(world)
        self.problems += bool(verdict.causes)
        for cause in verdict.causes:
            number = len(_subjects(cause))
            self.intervals += number
            self.exact += number * is_exact(cause)
            self.whole += number * world.is_whole
            self.whole_exact += number * (world.is_whole and is_exact(cause))
            self.named += number * (cause.kind is not CauseKind.UNDETERMINED)
        flaws = [
            *unsound(world, verdict),
            *untimely(world, verdict),
            *wrong(world, verdict),
            *miscited(world, verdict),
        ]
        if monotone:
            flaws += narrower(world, verdict, list(TAKEN)[self.worlds % len(TAKEN)])
        for flaw in flaws:
            self.wrong += flaw.name == "right"
            if flaw.undecidable:
                self.undecidable[f"{flaw.name}: {flaw.undecidable}"] += 1
            else:
                self.flaws[flaw.name].append((flaw, world))

    def take(self, tally: "Tally") -> None:
        """Add what another one has counted."""
        for name in (
            "worlds",
            "problems",
            "named",
            "wrong",
            "intervals",
            "exact",
            "whole",
            "whole_exact",
        ):
            setattr(self, name, getattr(self, name) + getattr(tally, name))
        self.undecidable += tally.undecidable
        for name, flaws in tally.flaws.items():
            self.flaws[name] += flaws

    def text(self, shown: int = _SHOWN) -> str:
        """Say what was counted, and the shortest worlds of each kind of flaw."""
        share = f"{self.wrong} of {self.named} causes wrong ({self.wrong / max(self.named, 1):.2%})"
        exact = (
            f"{self.exact} of {self.intervals} intervals exact "
            f"({self.exact / max(self.intervals, 1):.1%}), "
            f"with every source {self.whole_exact} of {self.whole} "
            f"({self.whole_exact / max(self.whole, 1):.1%})"
        )
        rows = [f"{self.worlds} worlds, {self.problems} with a cause; {share}; {exact}"]
        rows += [
            f"  undecidable: {what}: {number}" for what, number in sorted(self.undecidable.items())
        ]
        for name, flaws in self.flaws.items():
            rows.append(
                f"{name}: {len(flaws)} flaws in {len({id(world) for _, world in flaws})} worlds"
            )
            for what, own in sorted(_alike(flaws).items(), key=lambda item: -len(item[1]))[:shown]:
                flaw, world = min(own, key=lambda pair: len(str(pair[1])))
                rows.append(f"  {len(own)} x {what}\n    {flaw.text}\n    {world}")
        return "\n".join(rows)


def _alike(flaws: list[tuple[Flaw, World]]) -> dict[str, list[tuple[Flaw, World]]]:
    """Put together the flaws that differ in their processor only."""
    by_text: dict[str, list[tuple[Flaw, World]]] = defaultdict(list)
    for flaw, world in flaws:
        text = flaw.text.partition(" (")[0] + flaw.text.rpartition(")")[2]
        for name in FIVE:
            text = text.replace(name, "one")
        by_text[text].append((flaw, world))
    return by_text


def survey(number: int, seed: int, *, monotone: bool = True) -> Tally:
    """Look at many worlds, those of a seed."""
    tally, choose = Tally(), random.Random(seed).choice
    for _ in range(number):
        tally.add(world_of(choose), monotone=monotone)
    return tally


# How many worlds are looked at before what was found is printed.
_ROUND = 1_000


def walk(first: int, number: int) -> int:
    """Look at many worlds, round by round, and print what was found.

    Returns 1 where something does not hold.
    """
    total = Tally()
    for walked in range(0, number, _ROUND):
        total.take(survey(min(_ROUND, number - walked), first + walked))
        print(f"{total.worlds} worlds, {total.wrong} of {total.named} causes wrong", flush=True)
    print(total.text(shown=40))
    return int(bool(total.flaws) or total.wrong > total.named / 100)
