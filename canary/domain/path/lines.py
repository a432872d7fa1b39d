"""The checkpoints as the path reads them.

They show how each delivery ended, and what the one that completed the set decided.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path.dossier import (
    ANSWERED,
    LIFETIME,
    LINES,
    WORDS,
    Dossier,
    Fact,
    refused_start,
    why_not_started,
)
from canary.domain.path.errors import why_died
from canary.domain.path.tables import cause_of
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity, whole_list
from orchestrator_resilience.plain import one_line

# The steps of a delivery in which nothing failed but its row.
_ROW_ALONE = ["append_completion"]


def lines(dossier: Dossier) -> Iterator[Fact]:
    """Yield DELIVERED and ACCEPTED by the lines of each delivery, and what their absence proves.

    Then yield what was decided.
    """
    for delivery in dossier.deliveries:
        yield from _of_delivery(dossier, delivery)
    yield from _without_a_line(dossier)
    yield from _decision(dossier)
    if refused := refused_start(dossier.lines):
        # Some code sets the flag only once it has started the next phase.
        refusal = replace(
            _fact(refused), next_stage=True, state=State.REFUSED, words=why_not_started(refused)
        )
        yield replace(refusal, cause=CauseKind.NOT_STARTED)


def _of_delivery(dossier: Dossier, delivery: Sequence[Checkpoint]) -> Iterator[Fact]:
    last, status = delivery[-1], delivery[-1].fields.get("status")
    name = dossier.processor_of(last)
    came = replace(_fact(last), subject=name)
    refused = replace(came, stage=Stage.ACCEPTED, state=State.REFUSED)
    if last.kind is CheckpointKind.REJECTED:
        if not dossier.may_be_of_another(last):
            yield came
            yield replace(refused, cause=CauseKind.MESSAGE_REJECTED, words=why_rejected(last))
    elif cause := cause_of(status):
        yield replace(refused, stage=Stage.RAN, cause=cause, words=f"reported {status}")
    elif last.kind is CheckpointKind.UNEXPECTED:
        yield came
        drift, words = dossier.why_unexpected(name)
        yield replace(refused, cause=drift, words=words)
    else:
        # A line with the raw name alone was left before anybody looked whose it is.
        is_known = last.fields.get("processor") or last.kind is not CheckpointKind.RECEIVED
        yield replace(
            came, stage=Stage.ACCEPTED if is_known else Stage.DELIVERED, words=last.message
        )
        for line in delivery:
            yield from _seen(line)
        if end := _bad_end(dossier, delivery):
            yield replace(end, subject=name)


def _seen(line: Checkpoint) -> Iterator[Fact]:
    """Yield what a delivery saw in the document, and did there."""
    fact = _fact(line)
    for held in line.fields.get("completed", ()):
        yield replace(fact, stage=Stage.REGISTERED, subject=held)
    if line.fields.get("should_trigger") is True:
        yield replace(fact, stage=Stage.DECIDED)
    if line.fields.get("triggered") is True:
        yield replace(fact, stage=Stage.FLAGGED)
    if line.kind is CheckpointKind.STARTED:
        yield replace(fact, stage=Stage.STARTED, words=one_line(line.text, WORDS))


def _bad_end(dossier: Dossier, delivery: Sequence[Checkpoint]) -> Fact | None:
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
    if dossier.is_dead(delivery):
        ending = f"begun and not ended, no line after {last.kind.removeprefix('CHECKPOINT_')}"
        words = ": ".join(filter(None, (ending, why_died(dossier, last))))
        return replace(end, state=State.MISSED, cause=CauseKind.CRASHED, words=words)
    return None


def why_rejected(line: Checkpoint) -> str:
    """Return which field is wrong, and how; else what the line says."""
    field, reason = line.fields.get("field"), line.fields.get("reason")
    return one_line(f"{field}: {reason}" if field and reason else line.text, WORDS)


def are_collected(dossier: Dossier, since: datetime) -> bool:
    """Whether a delivery since then would have left a line that can be read.

    A line of the ordinary kind was left before; whatever was handled or answered since has one; and
    none was cut off.
    """
    last = dossier.traces.last_line
    before = [*dossier.lines, *([last.value] if isinstance(last, Seen) else [])]
    shown = [line.at for line in before if line.at < since and line.severity is Severity.INFO]
    if (
        not shown
        or not isinstance(dossier.traces.checkpoints, Seen)
        or (dossier.traces.cut_at or since) > since
    ):
        return False
    ended = {dossier.processor_of(line) for line in dossier.lines if line.closes}
    has_all = all(at < max(shown) or name in ended for name, at in dossier.handled_at.items())
    answered = any(
        request.at >= since and request.status in ANSWERED for request in dossier.requests
    )
    return has_all and (not answered or any(line.at >= since for line in dossier.lines))


def _without_a_line(dossier: Dossier) -> Iterator[Fact]:
    """Yield that DELIVERED is missed of a processor without a line.

    It is missed where lines are collected, and no line that nobody can attribute may be its own. A
    function that dies as it starts leaves no line either. That it was not started is proven only by
    a log of requests in which none has failed since.
    """
    published = dossier.messages.completed
    begun = dossier.phase.begins(dossier.game_date)
    for name in dossier.phase.expected:
        arrival = published.get(name)
        since = begun if arrival is None else arrival.visible_at
        is_due = dossier.is_late(name) if arrival is None else dossier.had_time(since)
        first = begun if arrival is None else arrival.completed_at
        has_line = any(
            dossier.processor_of(line) == name and line.at >= first for line in dossier.lines
        )
        if (
            is_due
            and not has_line
            and are_collected(dossier, since)
            and not dossier.may_be_nobodys(name, since)
        ):
            yield Fact(
                stage=Stage.DELIVERED,
                state=State.MISSED,
                subject=name,
                source=LINES,
                words="no delivery has left a line, and others have",
                cause=CauseKind.NOT_DELIVERED
                if dossier.none_failed_since(since)
                else CauseKind.UNDETERMINED,
            )


def _decision(dossier: Dossier) -> Iterator[Fact]:
    """Yield what was decided when all had come.

    The first delivery that found the set complete counts; of later ones only the number is said. If
    it took itself for a duplicate and another one did not, that one says more. A delivery that
    failed or died counts before one that took itself for a duplicate afterwards.
    """
    if not dossier.is_registered:
        return
    deliveries = [delivery for delivery in dossier.completing() if _saw_all(dossier, delivery)]
    ends = [delivery[-1] for delivery in deliveries]
    decisions = [
        line
        for line in ends
        if "should_trigger" in line.fields or line.kind is CheckpointKind.IGNORED
    ]
    if any(line.fields.get("unreadable_fields") for line in decisions):
        return
    bad = [
        end
        for delivery in deliveries
        if _concerns_the_date(dossier, delivery[-1]) and (end := _bad_end(dossier, delivery))
    ]
    chosen = next((line for line in decisions if _is_of_its_own(line)), None)
    if dossier.progress.trigger is not None or (bad and chosen is None):
        yield from bad[:1]
        return
    chosen = chosen or next(iter(decisions), None)
    if chosen is None:
        return
    if refused := _why_not(dossier, chosen):
        yield replace(refused, later=sum(line.at > chosen.at for line in decisions))


def _concerns_the_date(dossier: Dossier, line: Checkpoint) -> bool:
    """Whether a delivery that came to a bad end can be why the date stopped.

    A row that was not written is no reason. Once the flag is set, only the code that set it can
    have failed to start the next phase.
    """
    steps, trigger = set(line.fields.get("steps") or ()), dossier.progress.trigger
    if trigger is None or trigger.at is None:
        return trigger is None and steps != {*_ROW_ALONE}
    if trigger.event_id is not None:
        return not steps and line.fields.get("event_id") == trigger.event_id
    # Old code does not say which delivery set it: one that says so itself, else one that may have
    # been under way then.
    ends = (delivery[-1].fields for delivery in dossier.deliveries)
    says_so = any(
        end.get("should_trigger") is True and end.get("triggered") is True for end in ends
    )
    return not steps and not says_so and trigger.at <= line.at < trigger.at + LIFETIME


def _is_of_its_own(line: Checkpoint) -> bool:
    return line.kind is not CheckpointKind.IGNORED and line.fields.get("duplicate") is not True


def _saw_all(dossier: Dossier, delivery: Sequence[Checkpoint]) -> bool:
    """Whether all were registered when a delivery ended.

    That is so by its own words, by its time, or because it was the last.
    """
    held = next(
        (held for line in delivery if (held := whole_list(line, "completed")) is not None), None
    )
    if held is not None:
        return dossier.phase.is_complete(held)
    times = dossier.registered_at
    last = max(times, key=lambda name: times[name], default=None)
    return last is not None and (
        delivery[-1].at >= times[last] or dossier.processor_of(delivery[-1]) == last
    )


def _why_not(dossier: Dossier, line: Checkpoint) -> Fact | None:
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
    if surplus := dossier.surplus(waits_for, completed or frozenset()):
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
