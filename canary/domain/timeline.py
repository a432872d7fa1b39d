"""The timeline of one date for a person.

It has the facts of the date's path in the order of their times, delivery by delivery.
"""

from collections.abc import Iterator, Sequence

import msgspec

from canary.domain.evidence import Unreadable
from canary.domain.path import facts_of
from canary.domain.path.dossier import Dossier
from canary.domain.path.text import VERBS, step_text
from canary.domain.silence import Silence
from canary.domain.stages import Stage, State, Step
from canary.domain.verdict import Verdict

_DEADLINE = "the deadline by which all should be complete"


class Timeline(msgspec.Struct, frozen=True):
    """A date's verdict, its entries in the order of their times, and why sources could not be read.

    An entry without a time comes first: nobody wrote it down. `silences` are those that cover the
    date.
    """

    verdict: Verdict
    entries: tuple[Step, ...]
    unreadable: tuple[str, ...]
    silences: tuple[Silence, ...] = ()


def timeline_of(verdict: Verdict, dossier: Dossier) -> Timeline:
    """Put what all sources have seen of a date in one order; a time that cannot be is none."""
    evidence, deadline = dossier.evidence, dossier.deadline
    traces = (dossier.traces.checkpoints, dossier.traces.errors, dossier.traces.runs)
    sources = (
        evidence.completion_log,
        evidence.messages,
        evidence.flag_table,
        evidence.progress,
        *traces,
    )
    late = Step(
        stage=Stage.REGISTERED,
        state=State.NOT_YET,
        source="phases.toml",
        at=deadline,
        words=_DEADLINE,
    )
    return Timeline(
        verdict=verdict,
        entries=tuple(
            sorted(
                [late, *_entries(dossier)],
                key=lambda step: (step.at is not None, step.at or deadline),
            )
        ),
        unreadable=tuple(
            dict.fromkeys(source.reason for source in sources if isinstance(source, Unreadable))
        ),
    )


def _entries(dossier: Dossier) -> Iterator[Step]:
    """Yield what was reached or refused; what several deliveries saw in a document appears once."""
    shown: set[tuple[object, ...]] = set()
    for fact in facts_of(dossier):
        state = fact.subject, fact.stage, fact.source
        is_seen = fact.state is State.REACHED and fact.stage.rank >= Stage.REGISTERED.rank
        if (fact.state is State.REACHED or fact.at is not None) and not (
            is_seen and state in shown
        ):
            yield fact.as_step()
        shown.add(state)


def by_delivery(entries: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Put what belongs to one delivery together, where its first entry is.

    What belongs to none stays alone. What a table or a document says of a processor without naming
    a message belongs to the processor's first delivery.
    """
    first: dict[str, str] = {}
    for step in entries:
        if step.subject and step.entry:
            first.setdefault(step.subject, step.entry)
    groups: dict[object, list[Step]] = {}
    for number, step in enumerate(entries):
        groups.setdefault(
            step.entry or first.get(step.subject) or step.subject or number, []
        ).append(step)
    return [tuple(group) for group in groups.values()]


def delivery_text(steps: Sequence[Step]) -> str:
    """Say in a line what came of a delivery: who, how far it came, and in whose words."""
    who = next((step.subject for step in steps if step.subject), "")
    if len(steps) == 1 and not who:
        return steps[0].words if steps[0].state is State.NOT_YET else step_text(steps[0])
    came = dict.fromkeys(
        VERBS[step.stage] for step in sorted(steps, key=_rank) if step.state is State.REACHED
    )
    words = dict.fromkeys(step.words for step in steps if step.words)
    return f"{who} " + "; ".join(part for part in (", ".join(came), *words) if part)


def _rank(step: Step) -> int:
    return step.stage.rank
