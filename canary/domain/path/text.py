"""The path, its stops and what is known beside it, in words.

They are the same for the alert, the terminal and the page.
"""

from collections import Counter

from canary.domain.stages import (
    Cause,
    CauseKind,
    Stage,
    Standing,
    StandingKind,
    State,
    Step,
    moment_text,
)
from canary.domain.verdict import Verdict, names
from orchestrator_resilience.plain import one_line

_WORDS = 300
VERBS = {
    Stage.RAN: "run",
    Stage.PUBLISHED: "published",
    Stage.DELIVERED: "delivered",
    Stage.ACCEPTED: "accepted",
    Stage.RECORDED: "in the completion log",
    Stage.REGISTERED: "registered",
    Stage.DECIDED: "decided",
    Stage.FLAGGED: "`_triggered`",
    Stage.STARTED: "next phase started",
    Stage.OUTPUT: "output",
}
# A state as a short word, and the tone in which it is shown.
MARKS = {
    State.REACHED: ("yes", "good"),
    State.REFUSED: ("refused", "bad"),
    State.MISSED: ("missed", "bad"),
    State.UNDONE: ("undone", "bad"),
    State.NOT_YET: ("not yet", "quiet"),
    State.NOT_KNOWN: ("not known", "unknown"),
}
IN_SHORT = {
    CauseKind.NOT_RUN: "a processor has not run",
    CauseKind.PROCESSOR_FAILED: "a processor failed",
    CauseKind.NO_DATA: "a processor had no data",
    CauseKind.NOT_PUBLISHED: "a processor ran and published nothing",
    CauseKind.NOT_DELIVERED: "the function was not started",
    CauseKind.MESSAGE_REJECTED: "a message was rejected",
    CauseKind.NAME_DRIFT: "a processor has another name",
    CauseKind.CRASHED: "a delivery crashed",
    CauseKind.WRITE_FAILED: "a write failed",
    CauseKind.EXPECTATION_DRIFT: "the orchestrator has another list",
    CauseKind.SHORT_CIRCUIT: "the last delivery did not decide",
    CauseKind.FLAG_OVERWRITTEN: "the flag was set, and is gone",
    CauseKind.NOT_STARTED: "{next_phase} was not started",
}


def path_text(verdict: Verdict) -> str:
    """Say how far the processors and the date have come, stage by stage, up to the first "no".

    A stage that all have come through is left out if the stages around it say so too. That somebody
    ran is always left out.
    """
    parts = list[str]()
    for stage in Stage:
        steps = [step for step in verdict.path if step.stage is stage]
        count = Counter(step.state for step in steps)
        known_steps = [
            step
            for step in steps
            if step.state not in {State.NOT_KNOWN, State.NOT_YET} or step.words
        ]
        if not known_steps or (
            stage is Stage.RAN and not (count[State.REFUSED] or count[State.MISSED])
        ):
            continue
        if not known_steps[0].subject:
            word = (
                "no"
                if known_steps[0].state in {State.REFUSED, State.MISSED}
                else MARKS[known_steps[0].state][0]
            )
            words = (
                f", {known_steps[0].words}"
                if known_steps[0].state is not State.REACHED and known_steps[0].words
                else ""
            )
            parts.append(f"{VERBS[stage]}: {word}{words}")
            if known_steps[0].state in {State.REFUSED, State.MISSED, State.UNDONE}:
                break
        elif count[State.REACHED] < len(steps) or stage not in _UNSAID:
            remainder = "".join(
                f", {count[state]} {MARKS[state][0]}" for state in _COUNTED if count[state]
            )
            parts.append(f"{VERBS[stage]} {count[State.REACHED]} of {len(steps)}{remainder}")
    return " · ".join(parts)


# What goes without saying where all have come that far; and what is counted beside those that have.
_UNSAID, _COUNTED = {Stage.RAN, Stage.ACCEPTED, Stage.RECORDED}, (State.UNDONE, State.NOT_KNOWN)


def cause_text(cause: Cause) -> str:
    """Say where it stopped, after the cause's name.

    The text has the stages between which it stopped, who stopped, in whose words, and since which
    date.
    """
    parts = [_between(cause), names(cause.subjects), one_line(cause.proof, _WORDS)]
    if cause.between and not cause.words:
        parts.append(f"nothing is known of {', '.join(cause.between)}")
    later = f", and {cause.later} later" if cause.later else ""
    since = f"; the same since {cause.since}" if cause.since else ""
    return ": ".join(filter(None, parts)) + later + since


def _between(cause: Cause) -> str:
    """Say at which stage it stopped, or between which."""
    if cause.until is None:
        return f"after {cause.after}" if cause.after else "nothing says where it stopped"
    if cause.after and not cause.between:
        return f"at {cause.until}"
    return (
        f"after {cause.after}, at {cause.until} at the latest"
        if cause.after
        else f"at {cause.until} at the latest"
    )


def short_text(cause: Cause, phase: str) -> str:
    """Say a cause in a few words."""
    if cause.names:
        return f"the orchestrator waits for {names(cause.names)}"
    if cause.kind is CauseKind.UNDETERMINED:
        return f"stopped by {cause.until}, cause unknown" if cause.until else "cause unknown"
    return IN_SHORT[cause.kind].format(next_phase=phase)


def standing_text(standing: Standing, phase: str, *, with_who: bool = False) -> str:
    """Say what is known beside the path of a date of `phase`; `with_who` says who changed it."""
    who = names(standing.subjects)
    match standing.kind:
        case StandingKind.WAITS_FOR_TOO_MANY:
            return f"the orchestrator also waits for {who}, which {phase} does not expect"
        case StandingKind.WAITS_FOR_TOO_FEW:
            return f"the orchestrator does not wait for {who}, which {phase} expects"
        case StandingKind.DUPLICATES:
            return f"taken for a duplicate at its first delivery: {who}"
        case StandingKind.SET_WITHOUT:
            return f"`_triggered` was set without {who}" + (
                f": {one_line(standing.words, _WORDS)}" if standing.words else ""
            )
        case StandingKind.RESEMBLES:
            return f"{standing.subjects[0]} resembles {standing.subjects[1]}, which is missing"
        case StandingKind.CHANGED_REVISION:
            was, became = standing.subjects
            return f"changed before: the revision, from {was} to {became} ({standing.words})"
        case StandingKind.CHANGED_LIST:
            return f"changed before: the list that it waits for ({standing.words})"
        case StandingKind.CHANGED:
            component, name, what, *revisions = standing.subjects
            by = f" by {standing.who}" if with_who and standing.who else ""
            at = f"{moment_text(standing.at)} " if standing.at else ""
            revision = "".join(f" as `{revision}`" for revision in revisions)
            return (
                f"changed before: {at}{component} `{name}` {what}{revision}{by}, {standing.words}"
            )
        case StandingKind.UNCHANGED:
            return f"no change to {', '.join(standing.subjects)} {standing.words}"


def step_text(step: Step) -> str:
    """Say what is known of one stage, and who says so."""
    words = f", {one_line(step.words, _WORDS)}" if step.words else ""
    at = f", {moment_text(step.at)}" if step.at else ""
    return f"{VERBS[step.stage]}: {MARKS[step.state][0]}{words}" + (
        f" ({step.source}{at})" if step.source else ""
    )
