"""Early warnings: what may become a problem, seen over the recent dates of a phase."""

from collections.abc import Collection, Iterable
from datetime import date, datetime

from canary.domain.evidence import Evidence, Seen
from canary.domain.facts import Facts
from canary.domain.path.dossier import heard_of
from canary.domain.path.lines import why_rejected
from canary.domain.verdict import unexpected_text
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind
from orchestrator_resilience.phase import Phase

# On how many dates in a row a processor has to be silent; two may be chance.
_SILENT_DATES = 3


def early_warnings(
    history: Collection[Evidence], phase: Phase, now: datetime, lines: Collection[Checkpoint] = ()
) -> tuple[str, ...]:
    """Warn of what may become a problem.

    That is unexpected processors, and expected ones that report nothing any more. `history` is the
    evidence of the phase's recent dates, `lines` are checkpoints of those on which somebody is
    silent.
    """
    dates = sorted(
        (Facts(evidence, phase, now) for evidence in history), key=lambda facts: facts.game_date
    )
    unexpected = {name for facts in dates for name in facts.unexpected}
    since = next((facts.game_date for facts in dates if facts.unexpected), None)
    warnings = (
        [f"not expected, since {since}: {unexpected_text(unexpected, phase)}"] if unexpected else []
    )
    rejections = [line for line in lines if line.kind is CheckpointKind.REJECTED]
    why = dict.fromkeys(heard_of(lines, phase).processors, "its deliveries come to nothing")
    for line in rejections:
        name = phase.canonical(str(line.fields.get("raw_processor"))) or ""
        why[name] = f"its messages are rejected, {why_rejected(line)}"
    for processor in sorted(phase.expected):
        if silent := silent_dates(processor, dates):
            nothing = f"{processor} has reported nothing since {silent[-1]}, while its peers have"
            unfinished = (
                f"{processor} has completed nothing since {silent[-1]}: {why.get(processor)}"
            )
            warnings.append(unfinished if processor in why else nothing)
    return tuple(warnings)


def silent_dates(processor: str, history: Iterable[Facts]) -> list[date]:
    """Return the dates on which a processor has not reported, newest first; none if under three.

    Only dates count on which others completed. Dates that are not over are passed over, and so are
    dates without work, on which nobody has anything to complete.
    """
    silent: list[date] = []
    for facts in sorted(history, key=lambda facts: facts.game_date, reverse=True):
        if processor not in facts.phase.expected & facts.waits_for:
            continue  # nobody waited for it then: perhaps there was no such processor
        if facts.has_reported(processor):
            break
        if facts.completed_at and facts.evidence.work != Seen(0) and processor in facts.overdue:
            silent.append(facts.game_date)
    return silent if len(silent) >= _SILENT_DATES else []
