"""The tables as the path reads them: the message log, the completion log, and the flag's row.

Pub/Sub writes the message log by itself, so that it shows what was published, whatever became of
it. The orchestrator writes the completion log: a row is a sign of a delivery.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.evidence import Logged, Seen, Unreadable
from canary.domain.path.dossier import Dossier, Fact
from canary.domain.stages import CauseKind, Stage, State
from orchestrator_resilience.completion import Status
from orchestrator_resilience.progress import ProcessorReport

_MESSAGES, _ROWS, _FLAG_TABLE = "message log", "completion log", "flag table"
_PUBLISHED = Fact(stage=Stage.PUBLISHED, state=State.REACHED, source=_MESSAGES)
_RECORDED = Fact(stage=Stage.RECORDED, state=State.REACHED, source=_ROWS)


def messages(dossier: Dossier) -> Iterator[Fact]:
    """Yield PUBLISHED, and what a processor says of its run."""
    logged = dossier.messages
    for name, arrival in logged.completed.items():
        yield replace(_PUBLISHED, subject=name, at=arrival.visible_at)
    yield from _others(logged, _PUBLISHED)
    for name in unpublished(dossier):
        yield replace(_PUBLISHED, state=State.MISSED, subject=name)


def unpublished(dossier: Dossier) -> frozenset[str]:
    """Return the processors of which the message log has no message, where it would have one."""
    if not dossier.messages_are_kept or isinstance(dossier.evidence.messages, Unreadable):
        return frozenset()
    begun, logged = dossier.phase.begins(dossier.game_date), dossier.messages
    without = dossier.phase.expected - logged.reports.keys() - logged.completed.keys()
    return frozenset(
        name
        for name in without
        if dossier.is_late(name) and not dossier.may_be_nobodys(name, begun)
    )


def rows(dossier: Dossier) -> Iterator[Fact]:
    """Yield RECORDED, what a processor says of its run, and FLAGGED.

    The flag is in the row of the trigger, or in the table of an older tracker.
    """
    evidence = dossier.evidence
    for name, arrival in dossier.rows.completed.items():
        yield replace(_RECORDED, subject=name, at=arrival.visible_at)
    yield from _others(dossier.rows, _RECORDED)
    table = evidence.flag_table
    for source, flag in (
        (_ROWS, dossier.rows.flag),
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
    if any(facts.rows.completed for facts in dossier.history):
        for name in dossier.phase.expected - dossier.rows.completed.keys():
            if not dossier.is_early(name):
                yield replace(_RECORDED, state=State.MISSED, subject=name)


def output(dossier: Dossier) -> Iterator[Fact]:
    """Yield OUTPUT, as the outcome query counts it.

    Where the flag does not start the next phase, the path has no such stage.
    """
    counted = dossier.output if dossier.phase.flag_starts_next_phase else None
    if counted is not None and (counted or dossier.output_is_due):
        state = State.REACHED if counted else State.MISSED
        yield Fact(stage=Stage.OUTPUT, state=state, source="outcome query")


def _others(logged: Logged, came: Fact) -> Iterator[Fact]:
    """Yield what processors say of runs that completed nothing, and what came from others."""
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

    None where it completes something, or nobody knows the word.
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
