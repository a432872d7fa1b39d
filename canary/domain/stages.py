"""The words for where something stopped: the stages of the path, their states, the causes."""

from datetime import date, datetime
from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """The stages that a completion goes through, and after REGISTERED its date, in their order.

    RECORDED and REGISTERED are of equal rank: one delivery does both, and neither proves the other.
    """

    RAN = "RAN"
    """With a `runs_query`, a run of it that began; else what comes after it. With `scheduler_jobs`,
    what is known of the job that starts it.
    """
    PUBLISHED = "PUBLISHED"
    """The message log."""
    DELIVERED = "DELIVERED"
    """A line of its delivery."""
    ACCEPTED = "ACCEPTED"
    """A line that knows its name and date."""
    RECORDED = "RECORDED"
    """Its row in the completion log."""
    REGISTERED = "REGISTERED"
    """The progress document."""
    DECIDED = "DECIDED"
    """`should_trigger=True`; `_trigger_pending`, or what `pending_field` names."""
    FLAGGED = "FLAGGED"
    """The progress document; the flag table, the trigger's row."""
    STARTED = "STARTED"
    """Where the flag starts the next phase: a `CHECKPOINT_STARTED` line."""
    OUTPUT = "OUTPUT"
    """Where the flag starts the next phase: the outcome query."""

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
    """At RAN. With a `runs_query`: it has run on earlier dates, it is late, and it has no run of
    this date, for which the query has runs of others. Or with `scheduler_jobs`: it is late and
    nowhere, each of its jobs was paused or deleted or all its attempts refused
    (`PERMISSION_DENIED`, `UNAUTHENTICATED`), and no attempt that may be for this date succeeded.
    """
    PROCESSOR_FAILED = "PROCESSOR_FAILED"
    """At RAN. Its own last report, or with a `runs_query` its last run, is a failure."""
    NO_DATA = "NO_DATA"
    """At RAN. Its own last report, or with a `runs_query` its last run, is `no_data` or `skipped`.
    """
    NOT_PUBLISHED = "NOT_PUBLISHED"
    """At PUBLISHED. With a `runs_query`: a run of it succeeded, and the message log, which keeps
    messages, has none of it, nor do lines, where they are collected.
    """
    NOT_DELIVERED = "NOT_DELIVERED"
    """At DELIVERED. With `ORCHESTRATOR_SERVICE`: all requests since a time are 401, 403, 404 or
    429; or none has come since its message; or none has failed since, and no delivery left a line
    where lines are collected, or `DEAD_LETTERS` has the message.
    """
    MESSAGE_REJECTED = "MESSAGE_REJECTED"
    """At ACCEPTED. `CHECKPOINT_REJECTED` of its message: it could not be parsed, and was
    acknowledged.
    """
    NAME_DRIFT = "NAME_DRIFT"
    """At ACCEPTED. The orchestrator has it among the unexpected; or an unexpected name resembles
    it, it reported on earlier dates, and never together with the other name.
    """
    CRASHED = "CRASHED"
    """At any stage after DELIVERED. A delivery's `CHECKPOINT_RECEIVED` ten minutes ago or more, and
    no closing line of it or of a redelivery. Or at DELIVERED: all requests since a time are 5xx
    without a line, where lines are collected, or the platform says of each that no instance was
    started.
    """
    WRITE_FAILED = "WRITE_FAILED"
    """At RECORDED, REGISTERED or DECIDED. The last line of its delivery is `CHECKPOINT_FAILED`."""
    EXPECTATION_DRIFT = "EXPECTATION_DRIFT"
    """At DECIDED, or at ACCEPTED. The delivery that completed the set, or `_expected`, waits for a
    processor that the phase does not expect; or the orchestrator's list does not have the
    processor.
    """
    SHORT_CIRCUIT = "SHORT_CIRCUIT"
    """At DECIDED. The delivery that completed the set took itself for a duplicate, found nothing
    missing in its own list, or returned without a decision.
    """
    FLAG_OVERWRITTEN = "FLAG_OVERWRITTEN"
    """At FLAGGED. A line, the trigger's row or the flag table says that the flag was set, and the
    document is there without it.
    """
    NOT_STARTED = "NOT_STARTED"
    """At FLAGGED or STARTED. A `CHECKPOINT_NOT_STARTED` line, the code's own `_trigger_pending`
    left behind, or the delivery that set the flag failed after it.
    """
    UNDETERMINED = "UNDETERMINED"
    """Of an interval. Nobody has written down why."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one stage, of a processor or (`subject` is empty) of the date.

    `source` says so, `at` (UTC) is when it happened there, `words` are what was written of it, and
    `entry` is the id of the message, row or delivery. `later` is how many deliveries said something
    of the kind afterwards. `names` are the processors that the words name, `statuses` those that
    requests were answered with (HTTP).
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
    """What can be known beside the path: of the orchestrator's list, of deliveries, flag and names.

    CHANGED_REVISION and CHANGED_LIST: the first bad line has another code than the last good one,
    or another list that it waits for. CHANGED: between the two, somebody changed a component of the
    stage. UNCHANGED: nobody did. None of them is a cause.
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
