"""The words in which is said where something stopped.

The stages of the path, what is known of each, and the causes.
"""

from datetime import date, datetime
from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """The stages that a completion goes through, and after REGISTERED its date, in their order.

    RECORDED and REGISTERED are of equal rank: one delivery does both, and neither proves the other.
    """

    RAN = "RAN"
    PUBLISHED = "PUBLISHED"
    DELIVERED = "DELIVERED"
    ACCEPTED = "ACCEPTED"
    RECORDED = "RECORDED"
    REGISTERED = "REGISTERED"
    DECIDED = "DECIDED"
    FLAGGED = "FLAGGED"
    STARTED = "STARTED"
    OUTPUT = "OUTPUT"

    @property
    def rank(self) -> int:
        """How far it is along the path, from 0 on."""
        return _RANKS[self]


_RANKS = {
    stage: place - (place >= list(Stage).index(Stage.REGISTERED))
    for place, stage in enumerate(Stage)
}


class State(StrEnum):
    """What is known of a stage.

    MISSED: it is not there, and that counts. UNDONE: it was there and is not. NOT_YET: its time is
    not up. NOT_KNOWN: nobody looked, it could not be read, or that it is not there does not count.
    """

    REACHED = "REACHED"
    REFUSED = "REFUSED"
    MISSED = "MISSED"
    UNDONE = "UNDONE"
    NOT_YET = "NOT_YET"
    NOT_KNOWN = "NOT_KNOWN"


class CauseKind(StrEnum):
    """Every cause there is."""

    NOT_RUN = "NOT_RUN"
    PROCESSOR_FAILED = "PROCESSOR_FAILED"
    NO_DATA = "NO_DATA"
    NOT_PUBLISHED = "NOT_PUBLISHED"
    NOT_DELIVERED = "NOT_DELIVERED"
    MESSAGE_REJECTED = "MESSAGE_REJECTED"
    NAME_DRIFT = "NAME_DRIFT"
    CRASHED = "CRASHED"
    WRITE_FAILED = "WRITE_FAILED"
    EXPECTATION_DRIFT = "EXPECTATION_DRIFT"
    SHORT_CIRCUIT = "SHORT_CIRCUIT"
    FLAG_OVERWRITTEN = "FLAG_OVERWRITTEN"
    NOT_STARTED = "NOT_STARTED"
    UNDETERMINED = "UNDETERMINED"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one stage, of a processor or (`subject` is empty) of the date.

    `source` says so, `at` (UTC) is when it happened there, `words` are what was written of it, and
    `entry` is the id of the message, row or delivery. So many deliveries said something of the kind
    `later`. `names` are those of whom the words are, `statuses` those that requests were answered
    with (HTTP).
    """

    stage: Stage
    state: State
    subject: str = ""
    source: str = ""
    at: datetime | None = None
    words: str = ""
    entry: str = ""
    later: int = 0
    names: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


def moment_text(at: datetime) -> str:
    """Say a time (UTC) to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Where it stopped, and why.

    It stopped after the stage `after` (None: nobody knows of any that was reached), and at the
    latest at `until` (None: nobody knows of any that was not); `between` are the stages of which
    nothing is known. `subjects` are the processors that stopped alike, none where it is the date.
    `kind` is UNDETERMINED where nobody wrote down why. `source`, `at` (UTC), `words`, `later`,
    `names` and `statuses` are those of the refusal that counts, `since` the first of the dates in a
    row on which it stopped alike.
    """

    kind: CauseKind
    subjects: tuple[str, ...] = ()
    after: Stage | None = None
    until: Stage | None = None
    between: tuple[Stage, ...] = ()
    source: str = ""
    at: datetime | None = None
    words: str = ""
    later: int = 0
    names: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    since: date | None = None

    @property
    def proof(self) -> str:
        """In whose words, who says so, and when (UTC); empty where nobody says anything."""
        at = [moment_text(self.at)] if self.at else []
        where = f"({', '.join([self.source, *at])})" if self.source else ""
        return " ".join(part for part in (self.words, where) if part)


class StandingKind(StrEnum):
    """What can be known beside the path.

    Of the orchestrator's list, of first deliveries, of the flag, of names.

    CHANGED_REVISION and CHANGED_LIST: between the last line that was good and the first that was
    not, the code was another, or the list that it waits for. CHANGED: between the two, somebody
    changed a component of the stage; and UNCHANGED, nobody did. That is no cause.
    """

    WAITS_FOR_TOO_MANY = "WAITS_FOR_TOO_MANY"
    WAITS_FOR_TOO_FEW = "WAITS_FOR_TOO_FEW"
    DUPLICATES = "DUPLICATES"
    SET_WITHOUT = "SET_WITHOUT"
    RESEMBLES = "RESEMBLES"
    CHANGED_REVISION = "CHANGED_REVISION"
    CHANGED_LIST = "CHANGED_LIST"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"


class Standing(msgspec.Struct, frozen=True):
    """A fact that is no stop: about whom, and in whose words.

    A change has a time (UTC), and `who` made it.
    """

    kind: StandingKind
    subjects: tuple[str, ...] = ()
    words: str = ""
    at: datetime | None = None
    who: str = ""
