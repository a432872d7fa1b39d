"""The tables as the path reads them.

The message log, and the completion log with the row of the flag.

Pub/Sub writes the message log by itself, so that it shows what was published, whatever became of
it. The orchestrator writes the completion log: a row is a sign of a delivery.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.evidence import Logged, Seen, Unreadable
from canary.domain.path.known import Fact, Known
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.completion import Status
from orchestrator_resilience.progress import ProcessorReport

_MESSAGES, _ROWS, _FLAG_TABLE = "message log", "completion log", "flag table"
_PUBLISHED = Fact(stage=Stage.PUBLISHED, state=State.REACHED, source=_MESSAGES)
_RECORDED = Fact(stage=Stage.RECORDED, state=State.REACHED, source=_ROWS)


def messages(known: Known) -> Iterator[Fact]:
    """PUBLISHED, and what a processor says of its run."""
    logged = known.messages
    for name, arrival in logged.completed.items():
        yield replace(_PUBLISHED, subject=name, at=arrival.visible_at)
    yield from _others(logged, _PUBLISHED)
    for name in unpublished(known):
        yield replace(_PUBLISHED, state=State.MISSED, subject=name)


def unpublished(known: Known) -> frozenset[str]:
    """Return the processors of which the message log has no message, where it would have one."""
    if not known.messages_are_kept or isinstance(known.evidence.messages, Unreadable):
        return frozenset()
    begun, logged = known.phase.begins(known.game_date), known.messages
    without = known.phase.expected - logged.reports.keys() - logged.completed.keys()
    return frozenset(
        name for name in without if known.is_late(name) and not known.may_be_nobodys(name, begun)
    )


def rows(known: Known) -> Iterator[Fact]:
    """RECORDED, what a processor says of its run, and FLAGGED by the row of the trigger or a tracker's table."""
    evidence = known.evidence
    for name, arrival in known.rows.completed.items():
        yield replace(_RECORDED, subject=name, at=arrival.visible_at)
    yield from _others(known.rows, _RECORDED)
    table = evidence.flag_table
    for source, flag in (
        (_ROWS, known.rows.flag),
        (_FLAG_TABLE, table.value if isinstance(table, Seen) else None),
    ):
        if flag is not None and flag.is_set:
            yield Fact(
                stage=Stage.FLAGGED,
                state=State.REACHED,
                source=source,
                at=flag.at,
                words=flag.reason or "",
            )
    if isinstance(evidence.completion_log, Unreadable):
        return
    if any(one.rows.completed for one in known.history):
        for name in known.phase.expected - known.rows.completed.keys():
            if not known.is_early(name):
                yield replace(_RECORDED, state=State.MISSED, subject=name)


def output(known: Known) -> Iterator[Fact]:
    """OUTPUT, as the outcome query counts it.

    Where the flag does not start the next phase, it is no stage of it.
    """
    counted = known.output if known.phase.flag_starts_next_phase else None
    if counted is not None and (counted or known.output_is_due):
        state = State.REACHED if counted else State.MISSED
        yield Fact(stage=Stage.OUTPUT, state=state, source="outcome query")


def _others(logged: Logged, came: Fact) -> Iterator[Fact]:
    """Yield what processors say of runs that completed nothing, and what came of others, or of nobody."""
    for name, report in logged.reports.items():
        if name in logged.completed:
            continue
        if cause := cause_of(report.status):
            yield refused_run(name, came.source, report, cause)
        else:  # a word that nobody knows
            yield replace(
                came,
                stage=Stage.PUBLISHED,
                subject=name,
                at=report.at,
                words=f"reported {report.status}",
            )
    for name in sorted(logged.unexpected):
        yield replace(came, subject=name, words="not expected")
    for at in logged.unattributed:
        yield replace(came, at=at, words="its processor or its date cannot be read")


_NO_RESULT: dict[str, CauseKind] = {
    Status.FAILED: CauseKind.PROCESSOR_FAILED,
    Status.NO_DATA: CauseKind.NO_DATA,
    Status.SKIPPED: CauseKind.NO_DATA,
}


def cause_of(status: object) -> CauseKind | None:
    """Return why a run with this status completes nothing.

    None where it does, or nobody knows the word.
    """
    return _NO_RESULT.get(str(status).strip().lower())


def refused_run(name: str, source: str, report: ProcessorReport, cause: CauseKind) -> Fact:
    """Return the fact that a processor itself says that it has nothing to give."""
    return Fact(
        stage=Stage.RAN,
        state=State.REFUSED,
        subject=name,
        source=source,
        at=report.at,
        entry=report.event_id or "",
        words=f"reported {report.status}",
        cause=cause,
    )
