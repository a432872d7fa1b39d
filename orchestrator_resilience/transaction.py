"""What a delivery found after its transaction, and what that amounts to: a function of values."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orchestrator_resilience.checkpoints import DeliveryOutcome, Severity
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import LIST_ITEMS, one_line
from orchestrator_resilience.progress import completed_names, read_progress

_REMARKS = {
    DeliveryOutcome.STUCK: ": all are complete and _triggered is still unset",
    DeliveryOutcome.PREMATURE: ": _triggered is set although somebody is missing",
    DeliveryOutcome.PARTIAL: ": _triggered is set",
}
# So many completed names are listed; of more, only the number is said.
_NAMES = 10
_NAME_CHARACTERS = 200


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says after the transaction of one delivery.

    `should_trigger`: this message was the one to set the flag, which is set if `triggered`.
    `expected` are the processors that the orchestrator waits for, `completed` and `missing` those
    of them that the store holds or not, and `unexpected` are others that it holds, as a surprise.
    `duplicate`: the message was taken for one, None where the code does not say. `on_purpose` is
    the reason for which the flag was set without everybody, None where nothing says that this was
    wanted.
    """

    should_trigger: bool
    triggered: bool
    expected: frozenset[str]
    completed: list[str]
    missing: list[str]
    unexpected: list[str]
    duplicate: bool | None
    on_purpose: str | None

    @property
    def text(self) -> str:
        """The state in words, those that people search for first."""
        duplicate = "" if self.duplicate is None else f" duplicate={self.duplicate}"
        state = f"should_trigger={self.should_trigger} triggered={self.triggered}{duplicate}"
        completed = f"completed={self.completed}" if len(self.completed) <= _NAMES else self.count
        return (
            f"{state} {self.missing_text} {completed}{_REMARKS.get(self.outcome, '')}{self.purpose}"
        )

    @property
    def missing_text(self) -> str:
        """Who is missing, such as "missing=['p2_bdl_box_scores']".

        All names are in it, as far as a log entry holds them.
        """
        names = [one_line(name, _NAME_CHARACTERS) for name in self.missing[:LIST_ITEMS]]
        more = len(self.missing) - len(names)
        return f"missing={names} and {more} more" if more else f"missing={names}"

    @property
    def fields(self) -> dict[str, object]:
        """The state as fields; None where there is nothing to say."""
        return {
            "should_trigger": self.should_trigger,
            "triggered": self.triggered,
            "duplicate": self.duplicate,
            "completed": self.completed,
            "missing": self.missing,
            "unexpected": self.unexpected or None,
        }

    @property
    def outcome(self) -> DeliveryOutcome:
        """How the delivery ended."""
        if not self.triggered:
            return DeliveryOutcome.WAITING if self.missing else DeliveryOutcome.STUCK
        if self.missing:
            return DeliveryOutcome.PREMATURE if self.on_purpose is None else DeliveryOutcome.PARTIAL
        return (
            DeliveryOutcome.TRIGGERED if self.should_trigger else DeliveryOutcome.ALREADY_TRIGGERED
        )

    @property
    def purpose(self) -> str:
        """Why the flag is set without everybody; empty where it was not on purpose."""
        return f" on purpose, {self.on_purpose}" if self.outcome is DeliveryOutcome.PARTIAL else ""

    @property
    def count(self) -> str:
        """How many have completed, such as "4/5 complete"."""
        return f"{len(self.completed)}/{len(self.expected)} complete"


# A complete date without the flag is an ERROR at once, a flag without everybody a WARNING.
SEVERITY = {DeliveryOutcome.STUCK: Severity.ERROR, DeliveryOutcome.PREMATURE: Severity.WARNING}


def transaction_of(
    phase: Phase,
    *,
    should_trigger: bool,
    completed: Iterable[str] | None,
    triggered: bool | None,
    document: Mapping[str, Any] | None,
    duplicate: bool | None,
    expected: Iterable[str] | None,
    on_purpose: str | None,
) -> Transaction:
    """Put together what `Delivery.post_transaction` was given.

    Raises TypeError where the arguments make no sense together.
    """
    if document is not None and completed is None and triggered is None:
        progress = read_progress(document, phase)
        phase, trigger = phase.in_mode(progress.mode), progress.trigger
        completed, triggered = completed_names(document, phase), trigger is not None
        if trigger is not None and trigger.deliberately_partial and on_purpose is None:
            on_purpose = trigger.reason or "without a reason"
    elif document is not None or completed is None or triggered is None:
        raise TypeError("post_transaction takes either document, or completed and triggered")
    waits_for = phase.expected if expected is None else _canonical("expected", expected, phase)
    held = _canonical("completed", completed, phase)
    return Transaction(
        should_trigger=_flag("should_trigger", should_trigger),
        triggered=_flag("triggered", triggered),
        expected=waits_for,
        completed=sorted(waits_for & held),
        missing=sorted(waits_for - held),
        # An optional processor, or another on the topic, is no surprise; an expected one for which
        # nobody waits is.
        unexpected=sorted(
            name for name in held - waits_for if name in phase.expected or not phase.is_known(name)
        ),
        duplicate=duplicate,
        on_purpose=on_purpose,
    )


def _flag(argument: str, value: object) -> bool:
    if not isinstance(value, bool):  # a pair, as a function may return it, would be true
        raise TypeError(f"{argument} takes True or False, not {value!r}")
    return value


def _canonical(argument: str, names: Iterable[str], phase: Phase) -> frozenset[str]:
    if isinstance(names, (str, bytes)):  # a text is a collection of its letters
        raise TypeError(f"{argument} takes a collection of names, not the text {names!r}")
    return frozenset(phase.canonical(name) or name for name in names)
