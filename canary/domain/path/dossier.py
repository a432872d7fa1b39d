"""The dossier of a date, which the readings of its sources take, and the facts that they yield."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Protocol

from canary.domain.evidence import Logged, Seen, Traces, Unreadable, value_or
from canary.domain.facts import Facts, Heard
from canary.domain.stages import Cause, CauseKind, Step
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, concerns, whole_list
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Changes, Request, ServiceErrors

# A function is ended after 540 s at the most: a delivery that has left nothing for longer is dead.
LIFETIME = timedelta(minutes=10)
ANSWERED, FAILED = range(200, 300), range(500, 600)
# The source of what lines say.
LINES = "checkpoint"
# How much of somebody's words one fact can hold.
WORDS = 400


class Fact(Step, frozen=True, kw_only=True):
    """What one source says of a stage, and the `cause` that follows from a refusal or an absence.

    Where it is `next_stage`, it is about the first stage after the last that was reached, whichever
    that is: a line of failure says that a delivery ended, and the stores say how far it had come.
    """

    cause: CauseKind = CauseKind.UNDETERMINED
    next_stage: bool = False

    def as_step(self) -> Step:
        """Return what people are shown of it."""
        return Step(**{name: getattr(self, name) for name in Step.__struct_fields__})


class Reading(Protocol):
    """How one source is read.

    A new source is one module with a function like this, and a place in the path's list.
    """

    def __call__(self, dossier: "Dossier") -> Iterable[Fact]:
        """Yield what the source says was reached, refused or undone, and what is missed.

        Its silence proves that something is missed if its own time is up, if it has shown entries
        of the same kind before and of every delivery since that is known from elsewhere, and if
        nothing that it has and nobody can attribute may be of this processor.
        """


class Dossier(Facts, frozen=True, dict=True, kw_only=True):
    """The facts of one date, what its deliveries have left, and the facts of the dates around it.

    The `history` includes this date.
    """

    traces: Traces
    history: Sequence[Facts] = ()

    @property
    def is_registered(self) -> bool:
        """Whether as many are registered as the phase's own rule asks for."""
        return self.phase.is_complete(self.progress.registered)

    @cached_property
    def lines(self) -> Sequence[Checkpoint]:
        """The lines of the date, oldest first."""
        return value_or(self.traces.checkpoints, ())

    @cached_property
    def requests(self) -> Sequence[Request]:
        """The requests to the service since the date began, oldest first."""
        return value_or(self.traces.requests, ())

    @cached_property
    def errors(self) -> ServiceErrors:
        """The errors of the service and of the platform since the date began, oldest first."""
        return value_or(self.traces.errors, ServiceErrors())

    @cached_property
    def changes(self) -> Changes:
        """What was changed of the phase's components, and its jobs' attempts, oldest first."""
        source = value_or(self.traces.changes, Changes())
        changes = [change for change in source.changes if change.at <= self.now]
        return source._replace(
            changes=changes,
            attempts=[attempt for attempt in source.attempts if attempt.at <= self.now],
        )

    @cached_property
    def bad_requests(self) -> Sequence[Request]:
        """The requests since the last one that was answered, oldest first."""
        answered = [
            number for number, request in enumerate(self.requests) if request.status in ANSWERED
        ]
        return self.requests[answered[-1] + 1 if answered else 0 :]

    def dates_before(self, day: date) -> list[Facts]:
        """Return the dates of the history before a date."""
        return [facts for facts in self.history if facts.game_date < day]

    def processor_of(self, line: Checkpoint) -> str:
        """Return the processor of a line, or its raw name.

        An orchestrator that does not expect a processor writes no other name down.
        """
        return processor_of(line, self.phase)

    @cached_property
    def deliveries(self) -> list[list[Checkpoint]]:
        """The lines of each delivery of an expected processor, by when it left its last line."""
        by_delivery: dict[object, list[Checkpoint]] = {}
        for number, line in enumerate(self.lines):
            if self.processor_of(line) in self.phase.expected:
                by_delivery.setdefault(line.fields.get("delivery") or number, []).append(line)
        return sorted(by_delivery.values(), key=lambda lines: lines[-1].at)

    def completing(self) -> Iterator[list[Checkpoint]]:
        """Yield the deliveries that had something to decide: their message says "completed"."""
        for lines in self.deliveries:
            status, kind = lines[-1].fields.get("status"), lines[-1].kind
            if (
                status is None or self.phase.completes(status)
            ) and kind is not CheckpointKind.REJECTED:
                yield lines

    def is_dead(self, lines: Sequence[Checkpoint]) -> bool:
        """Whether a delivery has left nothing for longer than it can have lived.

        It is not dead where another delivery of the same message has ended.
        """
        if lines[-1].kind is not CheckpointKind.RECEIVED or self.now - lines[-1].at < LIFETIME:
            return False
        message = lines[-1].fields.get("event_id")
        siblings = (
            line
            for line in self.lines
            if message is not None and line.fields.get("event_id") == message
        )
        return not any(line.closes for line in siblings) and self._has_ends(
            self.processor_of(lines[-1])
        )

    def _has_ends(self, name: str) -> bool:
        """Whether the other processors handled since the first line have a line of their end."""
        ended = {self.processor_of(line) for line in self.lines if line.closes} | {name}
        return all(
            processor in ended
            for processor, at in self.handled_at.items()
            if at >= self.lines[0].at
        )

    @cached_property
    def unattributed(self) -> list[datetime]:
        """The times of what came, where nobody can say from whom, or of which date."""
        lines = (line for line in self.lines if line.kind is CheckpointKind.REJECTED)
        rejected = [
            line.at
            for line in lines
            if not line.fields.get("raw_processor") or self.may_be_of_another(line)
        ]
        return [*self.completion_log.unattributed, *rejected]

    @cached_property
    def messages_are_kept(self) -> bool:
        """Whether the message log has shown messages, and has those of all that were handled."""
        logs = (value_or(facts.evidence.messages, Logged()) for facts in self.history)
        return (
            any(log.completed for log in logs)
            and self.handled_at.keys() <= self.messages.completed.keys()
        )

    def may_be_nobodys(self, name: str, since: datetime) -> bool:
        """Whether what came since, and nobody can attribute, may be of a processor.

        What came under an unexpected name may be, too.
        """
        return self.may_have_another_name(name) or any(at >= since for at in self.unattributed)

    def may_have_another_name(self, name: str) -> bool:
        """Whether a processor may be one of the unexpected names.

        A name that has reported of the same date as the processor is not the processor's.
        """
        beside = [facts.unexpected for facts in self.history if facts.has_reported(name)]
        lines = (line for line in self.lines if line.kind is CheckpointKind.UNEXPECTED)
        strange = {*self.unexpected, *map(self.processor_of, lines)} - self.phase.expected
        return not strange <= set[str]().union(*beside)

    def none_failed_since(self, since: datetime) -> bool:
        """Whether the log of requests is kept, and the function has failed none since then."""
        return self.shows_answers(since) and not any(
            request.at >= since and request.status in FAILED for request in self.requests
        )

    def shows_answers(self, since: datetime) -> bool:
        """Whether the log of requests had one that was answered before then.

        Some people leave those out of it.
        """
        before = any(request.status in ANSWERED and request.at < since for request in self.requests)
        return isinstance(self.traces.requests, Seen) and (
            before or isinstance(self.traces.last_answer, Seen)
        )

    def was_handled(self, since: datetime) -> bool:
        """Whether a delivery has come to a good end since, by the lines or the stores."""
        ended = [
            line.at for line in self.lines if line.closes and line.kind is not CheckpointKind.FAILED
        ]
        return any(at >= since for at in (*ended, *self.handled_at.values()))

    def came_since(self, name: str, since: datetime) -> bool:
        """Whether a processor's message came while all requests were bad.

        It did not come before that, nor only after the deadline.
        """
        arrival = self.messages.completed.get(name)
        if arrival is None:
            may_have_come = (
                self.is_late(name) and not self.messages_are_kept and not self.unattributed
            )
            return may_have_come and since < self.deadline and not self.may_have_another_name(name)
        return not any(
            request.status in ANSWERED and arrival.visible_at <= request.at < since
            for request in self.requests
        )

    def is_nowhere(self, name: str) -> bool:
        """Whether a store could be read, and none has a processor."""
        evidence = self.evidence
        is_readable = isinstance(evidence.progress, Seen) or not isinstance(
            evidence.completion_log, Unreadable
        )
        return (
            is_readable and name not in self.progress.registered and name not in self.rows.completed
        )

    def is_early(self, name: str) -> bool:
        """Whether a processor may still come."""
        arrival = self.completion_log.completed.get(name)
        return name in self.unregistered and (
            not self.is_late(name) if arrival is None else not self.had_time(arrival.visible_at)
        )

    def may_be_of_another(self, line: Checkpoint) -> bool:
        """Whether a line without a date may be of another date, which lacks its processor.

        A line of that date can come from the deadline of the day before on. Until the date's own
        deadline its processor may still come.
        """
        if line.fields.get("game_date") is not None:
            return False
        neighbours = (facts for facts in self.history if facts.game_date != self.game_date)
        return any(
            self.processor_of(line) in facts.unregistered
            and concerns(line, self.phase.name, facts.game_date)
            and (
                line.at >= self.phase.deadline(facts.game_date - timedelta(days=1))
                or self.now >= facts.deadline
            )
            for facts in neighbours
        )

    @cached_property
    def orchestrator_expected(self) -> frozenset[str] | None:
        """What the orchestrator says that it waits for, in its document or in its last line.

        None where it does not say so.
        """
        expected = self.progress.orchestrator_expected
        for line in reversed(self.lines):
            completed, missing = whole_list(line, "completed"), whole_list(line, "missing")
            if expected is None and completed is not None and missing is not None:
                expected = completed | missing
        return expected

    def why_unexpected(self, name: str) -> tuple[CauseKind, str]:
        """Return why the orchestrator took an expected processor for unexpected.

        That is its list, or the processor's name.
        """
        expected = self.orchestrator_expected
        if expected is None:
            return CauseKind.UNDETERMINED, "taken for unexpected"
        if name not in expected:
            return CauseKind.EXPECTATION_DRIFT, "the orchestrator's list does not have it"
        return CauseKind.NAME_DRIFT, "taken for unexpected, by its name"

    def first_duplicates(self) -> Iterator[str]:
        """Yield the processors whose first delivery took itself for a duplicate."""
        heard: set[str] = set()
        for lines in self.completing():
            name = self.processor_of(lines[-1])
            if name not in heard and any(line.fields.get("duplicate") is True for line in lines):
                yield name
            heard.add(name)

    def surplus(
        self, waits_for: Collection[str] | None, held: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Return the names that code waits for, and that are not expected and have not come."""
        came = {*held, *self.progress.unexpected, *self.completion_log.unexpected}
        return tuple(sorted({*(waits_for or ())} - self.phase.expected - came))


def moment_of(statement: Step | Cause) -> float:
    """Return when something was said, as a number to sort by; what has no time comes first."""
    return statement.at.timestamp() if statement.at else 0.0


def processor_of(line: Checkpoint, phase: Phase) -> str:
    """Return the processor of a line, or its raw name where the phase has no other for it."""
    raw = str(line.fields.get("processor") or line.fields.get("raw_processor") or "")
    return phase.canonical(raw) or raw


def heard_of(lines: Collection[Checkpoint], phase: Phase) -> Heard:
    """Return what the lines of a date say that a verdict depends on."""
    named = (processor_of(line, phase) for line in lines if "game_date" in line.fields)
    processors = phase.expected.intersection(named)
    refused = refused_start(lines)
    return Heard(processors, why_not_started(refused) if refused else "")


def refused_start(lines: Collection[Checkpoint]) -> Checkpoint | None:
    """Return the last line that says that the next phase was not started.

    None where another line says that it was.
    """
    started = any(line.kind is CheckpointKind.STARTED for line in lines)
    refused = [line for line in lines if line.kind is CheckpointKind.NOT_STARTED]
    return None if started else max(refused, key=lambda line: line.at, default=None)


def why_not_started(line: Checkpoint) -> str:
    """Return why the next phase was not started, in the words of the code."""
    return one_line(str(line.fields.get("reason") or line.text), WORDS)
