"""What is no stop, and yet worth knowing: it stands beside the path."""

from collections.abc import Collection, Iterator, Sequence

from canary.domain.evidence import Seen
from canary.domain.path.known import LINES, Known, moment_of
from canary.domain.stages import Cause, CauseKind, Standing, StandingKind, moment_text
from orchestrator_resilience.checkpoints import Checkpoint, Severity
from orchestrator_resilience.plain import one_line

_NAME = 100


def standing(known: Known, causes: Collection[Cause]) -> Iterator[Standing]:
    """Yield what holds of the date beside its `causes`, and is not one of them."""
    phase = known.phase
    kinds = {cause.kind for cause in causes}
    if CauseKind.EXPECTATION_DRIFT not in kinds and (surplus := known.surplus(known.orchestrator_expected)):
        yield Standing(StandingKind.WAITS_FOR_TOO_MANY, surplus)
    if left_out := tuple(sorted(phase.expected - (known.orchestrator_expected or phase.expected))):
        yield Standing(StandingKind.WAITS_FOR_TOO_FEW, left_out)
    if CauseKind.SHORT_CIRCUIT not in kinds and (duplicates := tuple(known.first_duplicates())):
        yield Standing(StandingKind.DUPLICATES, duplicates)
    without = tuple(name for name in known.missing if not known.may_have_completed(name))
    if without and known.progress.trigger is not None:
        yield Standing(StandingKind.SET_WITHOUT, without, known.progress.trigger.reason or "")
    if CauseKind.NAME_DRIFT not in kinds:
        for name in known.unexpected:
            if (nearest := phase.nearest(name)) and nearest in known.missing:
                yield Standing(StandingKind.RESEMBLES, (name, nearest))
    yield from _changed(known, causes)


def _changed(known: Known, causes: Collection[Cause]) -> Iterator[Standing]:
    """Yield in what the first bad line of a stop differs from the last good one before it.

    What has stopped alike on earlier dates began there.
    """
    last = known.traces.last_line
    lines = [*([last.value] if isinstance(last, Seen) else []), *known.lines]
    stops = (cause for cause in causes if cause.source == LINES and cause.at and not cause.since)
    stop = min(stops, key=moment_of, default=None)
    good, bad = _around(lines, stop) if stop else (None, None)
    for kind, field in ((StandingKind.CHANGED_REVISION, "revision"), (StandingKind.CHANGED_LIST, "expected_hash")):
        was, became = (str(line.fields.get(field) or "") if line else "" for line in (good, bad))
        if good and bad and was and became and was != became:
            words = f"last good {moment_text(good.at)}, first bad {moment_text(bad.at)}"
            yield Standing(kind, (one_line(was, _NAME), one_line(became, _NAME)), words)


def _around(lines: Sequence[Checkpoint], stop: Cause) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Return the last good line before a stop, and the first bad one.

    Who waits for another list is not bad until the set is complete: there every line with that list is.
    """
    own = next((line for line in lines if line.at == stop.at), None)
    if stop.kind is CauseKind.EXPECTATION_DRIFT:
        hashed = [line for line in lines if own and line.at <= own.at and line.fields.get("expected_hash")]
        new = own.fields.get("expected_hash") if own else None
        good = [line for line in hashed if line.fields["expected_hash"] != new]
        return (good[-1], next(line for line in hashed if line.at > good[-1].at)) if good and new else (None, None)
    bad = next((line for line in lines if line is own or (line.closes and not _is_good(line))), None)
    before = [line for line in lines if bad and line.at < bad.at and _is_good(line)]
    return (before[-1] if before else None), bad


def _is_good(line: Checkpoint) -> bool:
    return line.closes and line.severity in {Severity.INFO, Severity.NOTICE}
