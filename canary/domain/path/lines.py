"""The checkpoints as the path reads them.

How each delivery ended, and what the one that completed the set decided.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path.errors import why_died
from canary.domain.path.known import (
    ANSWERED,
    LIFETIME,
    LINES,
    WORDS,
    Fact,
    Known,
    refused_start,
    why_not_started,
)
from canary.domain.path.tables import cause_of
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity, whole_list
from orchestrator_resilience.plain import one_line

# The steps of a delivery in which nothing failed but its row.
_ROW_ALONE = ["append_completion"]


def lines(known: Known) -> Iterator[Fact]:
    """DELIVERED and ACCEPTED by the lines of each delivery, and what their absence proves.

    Then what was decided.
    """
    for delivery in known.deliveries:
        yield from _of_delivery(known, delivery)
    yield from _without_a_line(known)
    yield from _decision(known)
    if refused := refused_start(known.lines):
        # Some code sets the flag only once it has started the next phase.
        said = replace(
            _fact(refused), next_stage=True, state=State.REFUSED, words=why_not_started(refused)
        )
        yield replace(said, cause=CauseKind.NOT_STARTED)


def _of_delivery(known: Known, delivery: Sequence[Checkpoint]) -> Iterator[Fact]:
    last, status = delivery[-1], delivery[-1].fields.get("status")
    name = known.processor_of(last)
    came = replace(_fact(last), subject=name)
    refused = replace(came, stage=Stage.ACCEPTED, state=State.REFUSED)
    if last.kind is CheckpointKind.REJECTED:
        if not known.may_be_of_another(last):
            yield came
            yield replace(refused, cause=CauseKind.MESSAGE_REJECTED, words=why_rejected(last))
    elif cause := cause_of(status):
        yield replace(refused, stage=Stage.RAN, cause=cause, words=f"reported {status}")
    elif last.kind is CheckpointKind.UNEXPECTED:
        yield came
        drift, words = known.why_unexpected(name)
        yield replace(refused, cause=drift, words=words)
    else:
        # A line with the raw name alone was left before anybody looked whose it is.
        is_known = last.fields.get("processor") or last.kind is not CheckpointKind.RECEIVED
        yield replace(
            came, stage=Stage.ACCEPTED if is_known else Stage.DELIVERED, words=last.message
        )
        for line in delivery:
            yield from _seen(line)
        if end := _bad_end(known, delivery):
            yield replace(end, subject=name)


def _seen(line: Checkpoint) -> Iterator[Fact]:
    """Yield what a delivery saw in the document, and did there."""
    said = _fact(line)
    for held in line.fields.get("completed", ()):
        yield replace(said, stage=Stage.REGISTERED, subject=held)
    if line.fields.get("should_trigger") is True:
        yield replace(said, stage=Stage.DECIDED)
    if line.fields.get("triggered") is True:
        yield replace(said, stage=Stage.FLAGGED)
    if line.kind is CheckpointKind.STARTED:
        yield replace(said, stage=Stage.STARTED, words=one_line(line.text, WORDS))


def _bad_end(known: Known, delivery: Sequence[Checkpoint]) -> Fact | None:
    """Return how a delivery failed, or that it died; None where it did neither."""
    last = delivery[-1]
    end = replace(_fact(last), next_stage=True)
    if last.kind is CheckpointKind.FAILED:
        steps = last.fields.get("steps") or []
        causes = last.fields.get("causes") or [last.fields.get("error", last.text)]
        where = f" in {', '.join(steps)}" if steps else ""
        words = f"failed{where}: {one_line(str(causes[0]), WORDS)}"
        if steps == _ROW_ALONE:
            end = replace(end, stage=Stage.RECORDED, next_stage=False)
        return replace(end, state=State.REFUSED, cause=CauseKind.WRITE_FAILED, words=words)
    if known.is_dead(delivery):
        said = f"begun and not ended, no line after {last.kind.removeprefix('CHECKPOINT_')}"
        words = ": ".join(filter(None, (said, why_died(known, last))))
        return replace(end, state=State.MISSED, cause=CauseKind.CRASHED, words=words)
    return None


def why_rejected(line: Checkpoint) -> str:
    """Return which field is wrong, and how; else what the line says."""
    field, reason = line.fields.get("field"), line.fields.get("reason")
    return one_line(f"{field}: {reason}" if field and reason else line.text, WORDS)


def are_collected(known: Known, since: datetime) -> bool:
    """Whether a delivery since then would have left a line that can be read.

    A line of the ordinary kind was left before; whatever was handled or answered since has one; and
    none was cut off.
    """
    last = known.traces.last_line
    before = [*known.lines, *([last.value] if isinstance(last, Seen) else [])]
    shown = [line.at for line in before if line.at < since and line.severity is Severity.INFO]
    if (
        not shown
        or not isinstance(known.traces.checkpoints, Seen)
        or (known.traces.cut_at or since) > since
    ):
        return False
    ended = {known.processor_of(line) for line in known.lines if line.closes}
    has_all = all(at < max(shown) or name in ended for name, at in known.handled_at.items())
    answered = any(one.at >= since and one.status in ANSWERED for one in known.requests)
    return has_all and (not answered or any(line.at >= since for line in known.lines))


def _without_a_line(known: Known) -> Iterator[Fact]:
    """DELIVERED is missed where lines are collected, there is none, and none of nobody may be this one's.

    A function that dies as it starts leaves none either: that it was not started, only a log of
    requests proves in which none has failed since.
    """
    published = known.messages.completed
    begun = known.phase.begins(known.game_date)
    for name in known.phase.expected:
        arrival = published.get(name)
        since = begun if arrival is None else arrival.visible_at
        is_due = known.is_late(name) if arrival is None else known.had_time(since)
        first = begun if arrival is None else arrival.completed_at
        own = any(known.processor_of(line) == name and line.at >= first for line in known.lines)
        if (
            is_due
            and not own
            and are_collected(known, since)
            and not known.may_be_nobodys(name, since)
        ):
            yield Fact(
                stage=Stage.DELIVERED,
                state=State.MISSED,
                subject=name,
                source=LINES,
                words="no delivery has left a line, and others have",
                cause=CauseKind.NOT_DELIVERED
                if known.none_failed_since(since)
                else CauseKind.UNDETERMINED,
            )


def _decision(known: Known) -> Iterator[Fact]:
    """What was decided when all had come.

    The first delivery counts that found the set complete, later ones only tell.

    Where it took itself for a duplicate, and another did not, that one says more; that it failed or
    died counts before what took itself for a duplicate since.
    """
    if not known.is_registered:
        return
    found = [delivery for delivery in known.completing() if _saw_all(known, delivery)]
    ends = [delivery[-1] for delivery in found]
    decisions = [
        line
        for line in ends
        if "should_trigger" in line.fields or line.kind is CheckpointKind.IGNORED
    ]
    if any(line.fields.get("unreadable_fields") for line in decisions):
        return
    bad = [
        end for own in found if _concerns_the_date(known, own[-1]) and (end := _bad_end(known, own))
    ]
    chosen = next((line for line in decisions if _is_of_its_own(line)), None)
    if known.progress.trigger is not None or (bad and chosen is None):
        yield from bad[:1]
        return
    chosen = chosen or next(iter(decisions), None)
    if chosen is None:
        return
    if refused := _why_not(known, chosen):
        yield replace(refused, later=sum(line.at > chosen.at for line in decisions))


def _concerns_the_date(known: Known, line: Checkpoint) -> bool:
    """Whether a delivery that came to a bad end can be why the date stopped.

    Not by a row that was not written.

    Once the flag is set, only the code that set it can have failed to start the next phase.
    """
    steps, trigger = set(line.fields.get("steps") or ()), known.progress.trigger
    if trigger is None or trigger.at is None:
        return trigger is None and steps != {*_ROW_ALONE}
    if trigger.event_id is not None:
        return not steps and line.fields.get("event_id") == trigger.event_id
    # Old code does not say which delivery set it: one that says so itself, else one that may have
    # been under way then.
    ends = (own[-1].fields for own in known.deliveries)
    says_so = any(
        end.get("should_trigger") is True and end.get("triggered") is True for end in ends
    )
    return not steps and not says_so and trigger.at <= line.at < trigger.at + LIFETIME


def _is_of_its_own(line: Checkpoint) -> bool:
    return line.kind is not CheckpointKind.IGNORED and line.fields.get("duplicate") is not True


def _saw_all(known: Known, delivery: Sequence[Checkpoint]) -> bool:
    """Whether all were registered when a delivery ended.

    By its own words, by its time, or because it was the last.
    """
    held = next(
        (held for line in delivery if (held := whole_list(line, "completed")) is not None), None
    )
    if held is not None:
        return known.phase.is_complete(held)
    times = known.registered_at
    last = max(times, key=lambda name: times[name], default=None)
    return last is not None and (
        delivery[-1].at >= times[last] or known.processor_of(delivery[-1]) == last
    )


def _why_not(known: Known, line: Checkpoint) -> Fact | None:
    """Return why a delivery that found all registered did not set the flag.

    None where its line does not say.
    """
    fields = line.fields
    if fields.get("triggered") or fields.get("should_trigger"):
        return None
    completed, missing = whole_list(line, "completed"), whole_list(line, "missing")
    waits_for = None if completed is None or missing is None else completed | missing
    refused = replace(
        _fact(line), stage=Stage.DECIDED, state=State.REFUSED, cause=CauseKind.SHORT_CIRCUIT
    )
    if surplus := known.surplus(waits_for, completed or frozenset()):
        words = f"waits for {', '.join(surplus)}"
        return replace(refused, cause=CauseKind.EXPECTATION_DRIFT, words=words, names=surplus)
    if fields.get("duplicate") is True:
        return replace(
            refused, words="the delivery took itself for a duplicate: should_trigger=False"
        )
    if line.kind is CheckpointKind.IGNORED:
        return replace(refused, words="the delivery returned without a decision")
    # That nothing is missing counts only from code that says what it waits for.
    if fields.get("expected") and missing == frozenset():
        return replace(refused, words="the delivery found nothing missing: should_trigger=False")
    return None


def _fact(line: Checkpoint) -> Fact:
    """Return the fact that a delivery came, by its line."""
    entry = str(line.fields.get("event_id") or line.fields.get("delivery") or "")
    return Fact(stage=Stage.DELIVERED, state=State.REACHED, source=LINES, at=line.at, entry=entry)
