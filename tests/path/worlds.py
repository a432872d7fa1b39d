"""True worlds: what really happened to the completions of a few dates, on a simulated clock.

A `Plan` says how each of the five completions of DAY fares, and how the date does once all of them
are registered. `play` lets it happen, one thing after the other: messages are published, delivered,
redelivered and run again; each delivery leaves its lines by the real library, its row, its
registration, its request. What is true is written down beside it, by nothing but what happened.
What the stores show of it is drawn elsewhere (shown.py), and nothing here knows how the path reads
it.
"""

import heapq
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.stages import CauseKind, Stage
from orchestrator_resilience import CheckpointLogger, Phase, load_phase
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import DeliveryError, InvalidMessageError, StoreError
from orchestrator_resilience.logger import Delivery
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import (
    Progress,
    decide,
    read_progress,
    registration_fields,
    report_fields,
    trigger_fields,
)
from orchestrator_resilience.stores.base import DeadLetter, Request, ServiceError
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope

BUNDLED = load_phase("phase2", BUNDLED_PHASES)
FIVE = tuple(sorted(BUNDLED.expected))
DAY = date(2026, 2, 9)
ONE_DAY, HOUR, MINUTE, SECOND = (
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
)
DATES = (DAY - 2 * ONE_DAY, DAY - ONE_DAY, DAY, DAY + ONE_DAY)
# The name of a processor that shares the topic, and the one of an expected processor after it was
# renamed.
OTHER, SURPLUS = "p1_schedule_scraper", "p2_bdl_box_scores"
LIFETIME = timedelta(minutes=10)
# What the service and the platform write of a request that is not answered.
NO_MODULE, STORE_FAILED = (
    "ModuleNotFoundError: No module named 'yaml'",
    "StoreError: firestore: PERMISSION_DENIED",
)
NO_START, NO_INSTANCE = "The instance was not started.", "There was no available instance."
NO_MEMORY = "Memory limit of 256 MiB exceeded."
_FOR_EVER = datetime(2027, 1, 1, tzinfo=UTC)


class Ending(StrEnum):
    """How a completion fares; the comment says at which stage it stops."""

    HEALTHY = "healthy"
    SLOW = "slow"  # healthy, and its delivery takes minutes
    LATE = "late"  # healthy, and published long after the deadline
    REPORTS_FAILED = "reports failed"  # RAN
    REPORTS_NO_DATA = "reports no_data"
    REPORTS_SKIPPED = "reports skipped"
    FAILS_SILENTLY = "fails, and reports nothing"
    NEVER_RAN = "never ran"
    RETRIED = "healthy, after a run that failed"
    NOT_PUBLISHED = "not published"  # PUBLISHED
    DIES_RUNNING = "dies while it runs"
    OTHER_DATE = "published under the next date"
    FORBIDDEN = "403"  # DELIVERED
    NOT_FOUND = "404"
    TOO_MANY = "429"
    UNAUTHORISED = "401"
    DIES_AT_START = "503, no line"
    REJECTED_STATUS = "rejected: its status"  # ACCEPTED
    REJECTED_PHASE = "rejected: its phase"
    REJECTED_NAME = "rejected: names nobody"
    REJECTED_DATE = "rejected: no date"
    REJECTED_WHOLE = "rejected: no JSON"
    RENAMED = "renamed"
    RESEMBLING = "renamed, and resembles"
    NOT_WAITED_FOR = "taken for unexpected"
    DIES = "dies"  # RECORDED, REGISTERED
    DIES_RECORDED = "dies after its row"
    DIES_REGISTERED = "dies after its registration, before its row"
    ROW_FAILS = "append_completion fails"
    REGISTER_FAILS = "register fails"
    BOTH_FAIL = "both fail"
    REGISTRATION_LOST = "registration overwritten"


class DateEnding(StrEnum):
    """How the date fares once all are registered; the comment says at which stage it stops."""

    HEALTHY = "healthy"
    DUPLICATE = "takes the last for a duplicate"  # DECIDED
    RETURNS_EARLY = "returns early"
    STUCK = "nothing missing, no flag"
    WAITS_FOR_OTHER = "waits for another list"
    DECISION_FAILS = "the completing delivery fails"
    DIES = "the completing delivery dies"
    FLAG_FAILS = "the flag fails"  # FLAGGED
    FLAG_OVERWRITTEN = "flag overwritten"
    DOCUMENT_REWRITTEN = "document rewritten"  # all registrations and the flag
    PENDING = "pending, no flag"
    FLAG_THEN_FAILS = "flagged, and the delivery fails"  # STARTED
    PENDING_FLAGGED = "pending left with the flag"
    REFUSED = "flagged, and a gate refuses"
    NO_OUTPUT = "no output"  # OUTPUT


class Code(StrEnum):
    """Whose orchestrator it is, and whether it leaves lines at all."""

    OURS = "ours"
    THEIRS = "theirs, with lines"
    SILENT = "theirs, without lines"


class Outage(msgspec.Struct, frozen=True):
    """All requests from the `first` completion of the date on end with `status`.

    With status 0 none arrives at all.
    """

    status: int
    first: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen on DAY; on the other dates too where it is an `old` fault."""

    endings: tuple[Ending, ...] = (Ending.HEALTHY,) * 5
    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    date_ending: DateEnding = DateEnding.HEALTHY
    outage: Outage | None = None
    code: Code = Code.OURS
    old: bool = False
    flag_starts: bool = False
    names_pending: bool = False
    attempts: int = 2
    reruns: tuple[int, ...] = ()
    others: bool = False
    nameless: bool = False
    gap: int = 20
    evening: bool = False

    def __str__(self) -> str:
        """Say what is not healthy about it, shortly."""
        odd = [
            f"{name}: {ending}"
            for name, ending in zip(FIVE, self.endings, strict=True)
            if ending is not Ending.HEALTHY
        ]
        odd += [f"date: {self.date_ending}"] if self.date_ending is not DateEnding.HEALTHY else []
        odd += (
            [f"all {self.outage.status or 'lost'} from no. {self.outage.first} on"]
            if self.outage
            else []
        )
        odd += [
            f"{self.code}, every {self.gap} min, {self.attempts} attempts",
            f"order {self.order}",
        ]
        odd += [
            name
            for name in ("old", "flag_starts", "names_pending", "others", "nameless")
            if getattr(self, name)
        ]
        return "; ".join(odd + ([f"re-runs of {self.reruns}"] if self.reruns else []))


class Message(msgspec.Struct, frozen=True):
    """A message as it is on the topic.

    `processor` is the one that really sent it, None where it is none of this phase's.
    """

    at: datetime
    id: str
    day: date
    processor: str | None
    ending: Ending
    envelope: Mapping[str, Any]
    name: str
    dated: date | None
    status: str
    phase: str = "phase_2_raw"
    rerun: bool = False


class Row(msgspec.Struct, frozen=True):
    """A row of the completion log; one of the flag where `is_flag`."""

    visible_at: datetime
    completed_at: datetime
    name: str
    day: date
    is_flag: bool = False


class Run(msgspec.Struct, frozen=True):
    """A run of a processor under a name, for the date that it says; one that died has no end."""

    name: str
    day: date
    began: datetime
    ended: datetime | None
    status: str


class Start(msgspec.Struct, frozen=True):
    """When a scheduler's job starts a processor for a date, and it has ended.

    A job whose start `never` was has been paused.
    """

    at: datetime
    ended: datetime
    processor: str
    day: date
    never: bool


class Event(msgspec.Struct, frozen=True):
    """A stage of a processor, or (`subject` is empty) of a date, was reached, stopped or undone."""

    at: datetime
    day: date
    subject: str
    stage: Stage
    kinds: frozenset[CauseKind] | None = None  # of a stop: which causes may be named
    undone: bool = False


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of one subject at a moment.

    `reached` are the stages that it ever reached, `undone` those of them that are no more. `stage`
    is where it stopped, None where it did not, or its time is not up, and `kinds` are the causes
    that may be named for it.
    """

    reached: frozenset[Stage] = frozenset()
    undone: frozenset[Stage] = frozenset()
    stage: Stage | None = None
    kinds: frozenset[CauseKind] = frozenset()
    is_up: bool = True


class Happened:
    """Everything that happened, in the order of time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock = SimulatedClock(datetime(2026, 2, 1, tzinfo=UTC))
        self.sink = RecordingSink()
        self.phase = phase_of(plan)
        self.messages: list[Message] = []
        self.rows: list[Row] = []
        self.runs: list[Run] = []
        self.starts: list[Start] = []
        self.requests: list[Request] = []
        self.errors: list[ServiceError] = []
        self.dead_letters: list[DeadLetter] = []
        self.events: list[Event] = []
        self.documents: dict[date, dict[str, Any]] = {}
        self.snapshots: dict[date, list[tuple[datetime, dict[str, Any]]]] = {
            day: [] for day in DATES
        }
        self.output: dict[date, datetime] = {}
        self.published: dict[str, datetime] = {}

    @property
    def lines(self) -> list[Checkpoint]:
        """The lines, by when they were left."""
        return sorted(self.sink.checkpoints, key=lambda line: line.at)

    def document(self, day: date, now: datetime) -> dict[str, Any] | None:
        """Return the document as it was at a moment; None where there was none."""
        return next((fields for at, fields in reversed(self.snapshots[day]) if at <= now), None)

    def truth(self, subject: str, now: datetime) -> Truth:
        """Return what is true of a processor of DAY, or (an empty subject) of DAY, at a moment."""
        events = [
            event
            for event in self.events
            if event.subject == subject and event.day == DAY and event.at <= now
        ]
        reached: set[Stage] = set()
        undone: set[Stage] = set()
        stops: dict[Stage, Event] = {}
        for event in sorted(events, key=lambda event: event.at):
            if event.undone:
                undone.add(event.stage)
                stops[event.stage] = event
            elif event.kinds is None:
                reached.add(event.stage)
                undone.discard(event.stage)
                stops.pop(event.stage, None)
            elif event.stage not in reached:  # and not a redelivery of what was further before
                stops.setdefault(event.stage, event)
        states = {"reached": frozenset(reached), "undone": frozenset(undone)}
        if stops:
            last = max((stage.rank for stage in reached - undone), default=-1)
            further = [stage for stage in stops if stage.rank >= last] or [*stops]
            stage = min(further, key=list(Stage).index)
            is_answered = stops[stage].kinds != only(CauseKind.CRASHED) or stage is Stage.DELIVERED
            is_up = is_answered or now - stops[stage].at >= LIFETIME
            return Truth(
                **states, stage=stage, kinds=stops[stage].kinds or frozenset(), is_up=is_up
            )
        if subject and Stage.PUBLISHED not in reached and now >= self.phase.deadline(DAY):
            if Stage.RAN not in reached:
                return Truth(**states, stage=Stage.RAN, kinds=only(CauseKind.NOT_RUN))  # type: ignore[arg-type]
            is_silent = self.plan.endings[FIVE.index(subject)] is Ending.NOT_PUBLISHED
            kinds = only(CauseKind.NOT_PUBLISHED) if is_silent else NOTHING
            return Truth(**states, stage=Stage.PUBLISHED, kinds=kinds)  # type: ignore[arg-type]
        return Truth(**states)  # type: ignore[arg-type]


def phase_of(plan: Plan) -> Phase:
    """Return the phase as phases.toml has it in this world.

    Which sources there are is said elsewhere.
    """
    return replace(
        BUNDLED, flag_starts_next_phase=plan.flag_starts, others=("p1_*",) if plan.others else ()
    )


_STATUSES = {
    Ending.FORBIDDEN: 403,
    Ending.NOT_FOUND: 404,
    Ending.TOO_MANY: 429,
    Ending.UNAUTHORISED: 401,
}
_REPORTS = {
    Ending.REPORTS_FAILED: "failed",
    Ending.REPORTS_NO_DATA: "no_data",
    Ending.REPORTS_SKIPPED: "skipped",
}
_NO_MESSAGE = {Ending.NEVER_RAN, Ending.NOT_PUBLISHED, Ending.FAILS_SILENTLY, Ending.DIES_RUNNING}
_FAILS = {**_REPORTS, Ending.FAILS_SILENTLY: "failed"}
_REJECTED: dict[Ending, dict[str, Any]] = {
    Ending.REJECTED_STATUS: {"status": "done"},
    Ending.REJECTED_PHASE: {"phase": "phase_2"},
    Ending.REJECTED_NAME: {"processor_name": None},
    Ending.REJECTED_DATE: {"game_date": "09/02/2026"},
    Ending.REJECTED_WHOLE: {},
}
_RENAMED = {Ending.RENAMED: "p2_the_new_one", Ending.RESEMBLING: "{}_v2"}
_ALIVE = (Ending.HEALTHY, Ending.SLOW, Ending.LATE, Ending.RETRIED)
NOTHING: frozenset[CauseKind] = frozenset()


_UNDECIDED = {
    DateEnding.DUPLICATE: CauseKind.SHORT_CIRCUIT,
    DateEnding.RETURNS_EARLY: CauseKind.SHORT_CIRCUIT,
    DateEnding.STUCK: CauseKind.SHORT_CIRCUIT,
    DateEnding.DECISION_FAILS: CauseKind.WRITE_FAILED,
    DateEnding.DIES: CauseKind.CRASHED,
}


_OF_THE_NEXT_PHASE = {DateEnding.FLAG_THEN_FAILS, DateEnding.PENDING_FLAGGED, DateEnding.NO_OUTPUT}
_NEVER_OURS = {
    *(
        DateEnding.DUPLICATE,
        DateEnding.RETURNS_EARLY,
        DateEnding.STUCK,
        DateEnding.FLAG_FAILS,
        DateEnding.PENDING,
    ),
    *(DateEnding.PENDING_FLAGGED, DateEnding.FLAG_THEN_FAILS),
}


def _pending(at: datetime) -> dict[str, Any]:
    return {"_trigger_pending": True, "_trigger_pending_at": at, "_trigger_reason": "all_complete"}


def only(*kinds: CauseKind) -> frozenset[CauseKind]:
    """Return the causes that may be named."""
    return frozenset(kinds)


class _Job(msgspec.Struct, frozen=True):
    """A delivery that has left its first line, and what it works on."""

    message: Message
    completion: Completion
    delivery: Delivery
    phase: Phase
    attempt: int

    @property
    def day(self) -> date:
        """The date that the message says it is of."""
        return self.completion.game_date


class _Player:
    """Lets the plan happen, one event of the heap after the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.happened = plan, Happened(plan)
        self._heap: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._number = count()
        left_out = [
            name
            for name, ending in zip(FIVE, plan.endings, strict=True)
            if ending is Ending.NOT_WAITED_FOR
        ]
        processors = {
            name: names for name, names in BUNDLED.processors.items() if name not in left_out
        }
        # What the orchestrator reads its list from; the canary reads another one where the plan
        # says so.
        self.healthy_list = self.happened.phase
        self.list = (
            replace(self.happened.phase, processors=processors) if left_out else self.healthy_list
        )
        if plan.date_ending is DateEnding.WAITS_FOR_OTHER:
            self.list = replace(self.list, processors={**self.list.processors, SURPLUS: ()})
        silent = plan.code is Code.SILENT
        self.logger, self.healthy_logger = (
            CheckpointLogger(
                phase, self.happened.sink, enabled=not silent, clock=self.happened.clock
            )
            for phase in (self.list, self.healthy_list)
        )
        self.outage_since = _FOR_EVER

    def play(self) -> Happened:
        for day in DATES:
            self._publish(day)
        while self._heap:
            at, _, action = heapq.heappop(self._heap)
            self.happened.clock.now = at
            action(at)
        return self.happened

    def later(self, at: datetime, action: Callable[[datetime], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._number), action))

    def is_faulty(self, day: date) -> bool:
        return day == DAY or (self.plan.old and day < DAY)

    def _publish(self, day: date) -> None:
        start = datetime(
            day.year, day.month, day.day, 22 if self.plan.evening else 29 - 24, 30, tzinfo=UTC
        )
        start += timedelta(0) if self.plan.evening else ONE_DAY
        if not self.plan.flag_starts:  # something else does, whatever becomes of the flag
            self._has_output(day, start + 6 * HOUR)
        for place, number in enumerate(self.plan.order):
            ending = self.plan.endings[number] if self.is_faulty(day) else Ending.HEALTHY
            # it would be there under the date, from the day before
            if ending is Ending.OTHER_DATE and day != DAY:
                ending = Ending.HEALTHY
            at = (
                start
                + place * self.plan.gap * MINUTE
                + (9 * HOUR if ending is Ending.LATE else timedelta(0))
            )
            first = min(DATES) if self.plan.old else DAY
            if self.plan.outage and day == first and place == self.plan.outage.first:
                self.outage_since = at
            self._run(day, FIVE[number], ending, at, "1")
            if number in self.plan.reruns and ending in _ALIVE:
                self._run(day, FIVE[number], Ending.HEALTHY, at + 7 * HOUR + number * MINUTE, "2")
        if self.plan.others:
            self._noise(day, start + 7 * MINUTE, {}, OTHER)
        if self.plan.nameless and day == DAY:
            self._noise(day, start + 17 * MINUTE, {"processor_name": None}, "")

    def _noise(self, day: date, at: datetime, payload: Mapping[str, Any], name: str) -> None:
        """Publish a message that is nobody's here."""
        envelope = push_envelope(
            name, str(day), at, message_id=f"{day}-{name or 'nameless'}", **payload
        )
        ending = Ending.HEALTHY if name else Ending.REJECTED_NAME
        message = Message(
            at, f"{day}-{name or 'nameless'}", day, None, ending, envelope, name, day, "success"
        )
        self.happened.runs.append(Run(name or OTHER, day, at - MINUTE, at - SECOND, "success"))
        self._onto_the_topic(message)

    def _run(self, day: date, name: str, ending: Ending, at: datetime, run: str) -> None:
        """Let a processor run, and publish what it has to say."""
        if run == "1":  # the others are run again by hand
            start = Start(at - 4 * MINUTE, at + MINUTE, name, day, never=ending is Ending.NEVER_RAN)
            self.happened.starts.append(start)
        alias, dated = (
            _RENAMED.get(ending, "{}").format(name),
            day + ONE_DAY if ending is Ending.OTHER_DATE else day,
        )
        if ending is Ending.RETRIED:
            self._note_run(
                Ending.FAILS_SILENTLY,
                day,
                name,
                Run(name, day, at - 40 * MINUTE, at - 37 * MINUTE, "failed"),
            )
        if ending is not Ending.NEVER_RAN:
            ended = None if ending is Ending.DIES_RUNNING else at - SECOND
            status = "running" if ended is None else _FAILS.get(ending, "success")
            self._note_run(ending, day, name, Run(alias, dated, at - 3 * MINUTE, ended, status))
        if ending in _NO_MESSAGE:
            return
        payload = _REJECTED.get(ending, {})
        status = payload.get("status") or _REPORTS.get(ending, "success")
        identity = f"{day}-{name}-{run}"
        envelope = push_envelope(
            alias, str(dated), at, message_id=identity, **{"status": status, **payload}
        )
        if ending is Ending.REJECTED_WHOLE:
            envelope["message"]["data"] = "bm8gSlNPTg=="
        message = Message(
            at=at,
            id=identity,
            day=day,
            processor=name,
            ending=ending,
            envelope=envelope,
            name="" if ending in {Ending.REJECTED_NAME, Ending.REJECTED_WHOLE} else alias,
            dated=None if ending in {Ending.REJECTED_DATE, Ending.REJECTED_WHOLE} else dated,
            status=status,
            phase=payload.get("phase", "phase_2_raw"),
            rerun=run != "1",
        )
        if ending not in _REPORTS and ending is not Ending.OTHER_DATE:
            self.reached(at, day, name, Stage.PUBLISHED)
        self._onto_the_topic(message)

    def _note_run(self, ending: Ending, day: date, name: str, run: Run) -> None:
        """Note a run, and what is true of it: one that failed has run, and yet not."""
        self.happened.runs.append(run)
        self.reached(run.began, day, name, Stage.RAN)
        if run.ended and ending in _FAILS:
            kind = CauseKind.PROCESSOR_FAILED if run.status == "failed" else CauseKind.NO_DATA
            self.undone(run.ended, day, name, Stage.RAN, only(kind))

    def _onto_the_topic(self, message: Message) -> None:
        self.happened.messages.append(message)
        self.later(message.at + 2 * SECOND, lambda at: self._deliver(message, at, 1))

    # What is true

    def reached(self, at: datetime, day: date, subject: str, stage: Stage) -> None:
        self.happened.events.append(Event(at, day, subject, stage))

    def stops(
        self, at: datetime, message: Message, stage: Stage, kinds: frozenset[CauseKind]
    ) -> None:
        """Note where a message's processor stops, unless it was further, or only reports."""
        if (
            message.processor is None
            or message.rerun
            or (message.ending in _REPORTS and stage is not Stage.RAN)
        ):
            return
        if message.ending in _RENAMED:  # which is wrong too, and would be next
            kinds |= {CauseKind.NAME_DRIFT}
        if message.ending is not Ending.OTHER_DATE:
            self.happened.events.append(Event(at, message.day, message.processor, stage, kinds))

    def stops_date(
        self, at: datetime, day: date, stage: Stage, kinds: frozenset[CauseKind]
    ) -> None:
        self.happened.events.append(Event(at, day, "", stage, kinds))

    def undone(
        self, at: datetime, day: date, subject: str, stage: Stage, kinds: frozenset[CauseKind]
    ) -> None:
        self.happened.events.append(Event(at, day, subject, stage, kinds, undone=True))

    def _went_through(self, at: datetime, message: Message, stage: Stage) -> None:
        of_another = message.ending in _REPORTS or message.ending is Ending.OTHER_DATE
        if message.processor is not None and not of_another:
            self.reached(at, message.day, message.processor, stage)

    # A delivery

    def _deliver(self, message: Message, at: datetime, attempt: int) -> None:
        """Bring a message to the orchestrator.

        A message that is not acknowledged comes again, and at last is given up.
        """
        outage = self.plan.outage
        status = _STATUSES.get(message.ending, 0)
        if outage and at >= self.outage_since:
            if not outage.status:
                self.stops(at, message, Stage.DELIVERED, only(CauseKind.NOT_DELIVERED))
                return
            status = outage.status
        if message.ending is Ending.DIES_AT_START and not status:
            status = 503
        if status:
            kind = CauseKind.CRASHED if status >= 500 else CauseKind.NOT_DELIVERED
            self.stops(at, message, Stage.DELIVERED, only(kind))
            if status >= 500:
                self._fails(at, NO_MODULE)
                self._fails(at, NO_START, is_platform=True, failed_to_start=True)
            elif status == 429:
                self._fails(at, NO_INSTANCE, is_platform=True)
            self._answer(message, at + SECOND, attempt, status)
            return
        self._went_through(at, message, Stage.DELIVERED)
        self._begin(message, at, attempt)

    def _fails(
        self, at: datetime, words: str, *, is_platform: bool = False, failed_to_start: bool = False
    ) -> None:
        """Leave an error in the trace of the next request that is answered."""
        trace = self._next_trace
        self.happened.errors.append(ServiceError(at, words, trace, is_platform, failed_to_start))

    @property
    def _next_trace(self) -> str:
        return f"trace {len(self.happened.requests)}"

    def _answer(self, message: Message, at: datetime, attempt: int, status: int) -> None:
        self.happened.requests.append(Request(at, status, trace=self._next_trace))
        if 200 <= status < 300:
            return
        if attempt < self.plan.attempts:
            self.later(
                at + 10 * attempt * MINUTE, lambda later: self._deliver(message, later, attempt + 1)
            )
        elif message.name and message.dated:
            name = BUNDLED.canonical(message.name)
            if name is not None:
                self.happened.dead_letters.append(DeadLetter(name, message.dated, at + MINUTE))

    def _begin(self, message: Message, at: datetime, attempt: int) -> None:
        # On a date before the list was changed, the orchestrator read the one that is right.
        is_faulty = (
            self.is_faulty(message.dated or message.day) or message.at.date() > DAY + ONE_DAY
        )
        phase, logger = (
            (self.list, self.logger) if is_faulty else (self.healthy_list, self.healthy_logger)
        )
        try:
            completion = Completion.from_event(message.envelope, phase)
        except InvalidMessageError as error:
            logger.rejected(error)
            self.stops(at, message, Stage.ACCEPTED, only(CauseKind.MESSAGE_REJECTED))
            self._answer(message, at, attempt, 200)
            return
        if completion.processor is not None:
            self._went_through(at, message, Stage.ACCEPTED)
        delivery = logger.delivery_of(completion).__enter__()
        duration = 4 * MINUTE if message.ending is Ending.SLOW else 3 * SECOND
        job = _Job(message, completion, delivery, phase, attempt)
        self.later(at + duration, lambda end: self._work(job, end))

    def _work(self, job: "_Job", at: datetime) -> None:
        """Do what a delivery does between its first line and its last, and answer its request."""
        message, completion, delivery, phase = job.message, job.completion, job.delivery, job.phase
        status = 200
        if completion.processor is None and phase.is_known(completion.raw_processor):
            delivery.ignored(
                f"{completion.raw_processor} is known, and {phase.name} does not wait for it"
            )
        elif completion.processor is None or not phase.completes(completion.status):
            self._write(job.day, at, report_fields(self._progress(job), completion))
            if completion.processor is None:
                delivery.unexpected()
                kinds = only(CauseKind.NAME_DRIFT)
                if message.ending is Ending.NOT_WAITED_FOR:
                    kinds = only(CauseKind.NAME_DRIFT, CauseKind.EXPECTATION_DRIFT)
                self.stops(at, message, Stage.ACCEPTED, kinds)
            else:
                delivery.ignored(
                    f"{completion.processor} reports {completion.status}, which completes nothing"
                )
        else:
            status = self._complete(job, at)
        if status:
            if status >= 500:
                self._fails(at, STORE_FAILED)
            self._answer(message, at, job.attempt, status)
        else:  # it has died: the platform answers, and the message comes again
            self.later(at + 5 * MINUTE, lambda end: self._out_of_memory(job, end))

    def _out_of_memory(self, job: "_Job", at: datetime) -> None:
        self._fails(at, NO_MEMORY, is_platform=True)
        self._answer(job.message, at, job.attempt, 503)

    def _progress(self, job: "_Job") -> Progress:
        return read_progress(self.happened.documents.get(job.day, {}), job.phase)

    def _write(self, day: date, at: datetime, fields: Mapping[str, Any]) -> None:
        """Merge fields into a document, as the stores do: map by map for one level."""
        document = dict(self.happened.documents.get(day, {}))
        for name, value in fields.items():
            entry = document.get(name)
            is_map = isinstance(entry, dict) and isinstance(value, dict) and name.startswith("_")
            document[name] = {**entry, **value} if is_map and isinstance(entry, dict) else value
        self._put(day, at, document)

    def _put(self, day: date, at: datetime, document: dict[str, Any]) -> None:
        self.happened.documents[day] = document
        if day in self.happened.snapshots:
            self.happened.snapshots[day].append((at, document))

    def _append(self, job: "_Job", at: datetime) -> None:
        name = job.completion.processor or job.completion.raw_processor
        self.happened.rows.append(Row(at, job.completion.completed_at, name, job.day))
        self._went_through(at, job.message, Stage.RECORDED)

    def _register(self, job: "_Job", at: datetime) -> None:
        fields = registration_fields(self._progress(job), job.completion, at)
        if self.plan.code is not Code.OURS:
            keys = ("completed_at", "status", "record_count")
            fields = {
                name: {key: value[key] for key in keys}
                for name, value in fields.items()
                if not name.startswith("_")
            }
        self._write(job.day, at, fields)
        self._went_through(at, job.message, Stage.REGISTERED)

    def _complete(self, job: "_Job", at: datetime) -> int:
        """Do the work of a completion.

        Returns the status of the request, 0 where the process dies.
        """
        ending, message, before = job.message.ending, job.message, self._progress(job)
        if ending in {Ending.DIES, Ending.DIES_RECORDED, Ending.DIES_REGISTERED}:
            self._die(job, before, at)
            return 0
        failures: dict[str, Exception] = {}
        if ending in {Ending.ROW_FAILS, Ending.BOTH_FAIL}:
            failures["append_completion"] = StoreError("completion log: quota exceeded")
            self.stops(at, message, Stage.RECORDED, only(CauseKind.WRITE_FAILED))
        else:
            self._append(job, at)
        if ending in {Ending.REGISTER_FAILS, Ending.BOTH_FAIL}:
            failures["register"] = StoreError("firestore: PERMISSION_DENIED")
            self.stops(at, message, Stage.REGISTERED, only(CauseKind.WRITE_FAILED))
            return self._end(job.delivery, failures)
        self._register(job, at)
        if ending is Ending.REGISTRATION_LOST and not message.rerun:
            self.later(at + MINUTE, lambda later: self._lose(job, later))
        return self._decide(job, before, at, failures)

    def _die(self, job: "_Job", before: Progress, at: datetime) -> None:
        ending, message = job.message.ending, job.message
        if ending is Ending.DIES_RECORDED:
            self._append(job, at)
        if ending is Ending.DIES_REGISTERED:
            self._register(job, at)
        stage = Stage.RECORDED if ending is Ending.DIES_REGISTERED else Stage.REGISTERED
        self.stops(at, message, stage, only(CauseKind.CRASHED))
        if (
            ending is Ending.DIES_REGISTERED
            and not self._progress(job).missing
            and not before.trigger
        ):
            self.stops_date(at, job.day, Stage.DECIDED, only(CauseKind.CRASHED))

    def _lose(self, job: "_Job", at: datetime) -> None:
        """Somebody writes the document back as it was before a registration."""
        document, name = self.happened.documents[job.day], job.completion.processor
        if "_triggered" in document or name is None or job.message.processor is None:
            return
        self._put(job.day, at, {key: value for key, value in document.items() if key != name})
        self.undone(
            at, job.day, job.message.processor, Stage.REGISTERED, only(CauseKind.FLAG_OVERWRITTEN)
        )

    def _decide(
        self, job: "_Job", before: Progress, at: datetime, failures: dict[str, Exception]
    ) -> int:
        """Decide, now that the processor is registered, and set the flag.

        Returns the status of the request.
        """
        after, day = self._progress(job), job.day
        ending = self.plan.date_ending if self.is_faulty(day) else DateEnding.HEALTHY
        is_again = job.completion.processor in before.registered
        is_fifth = before.registered.keys() < BUNDLED.expected <= after.registered.keys()

        def post(*, should_trigger: bool, triggered: bool, duplicate: bool = is_again) -> None:
            # Ours says what it waits for in the document only.
            says_whom = ending is DateEnding.WAITS_FOR_OTHER and self.plan.code is not Code.OURS
            job.delivery.post_transaction(
                should_trigger=should_trigger,
                triggered=triggered,
                duplicate=duplicate,
                completed=sorted(after.registered),
                expected=sorted(job.phase.expected) if says_whom else None,
            )

        if ending is DateEnding.WAITS_FOR_OTHER and is_fifth:
            self.stops_date(at, day, Stage.DECIDED, only(CauseKind.EXPECTATION_DRIFT))
        if not decide(after, job.phase):
            takes_for_one = is_again or (
                ending is DateEnding.DUPLICATE and self.plan.code is not Code.OURS
            )
            post(should_trigger=False, triggered=after.trigger is not None, duplicate=takes_for_one)
            return self._end(job.delivery, failures)
        ending = self._possible(ending)
        if ending in _UNDECIDED:
            if not is_again:  # what a re-run or a redelivery does is no news
                self.stops_date(at, day, Stage.DECIDED, only(_UNDECIDED[ending]))
            return self._does_not_decide(ending, job.delivery, failures, post)
        self.reached(at, day, "", Stage.DECIDED)
        if ending is DateEnding.FLAG_FAILS:
            self.stops_date(at, day, Stage.FLAGGED, only(CauseKind.WRITE_FAILED))
            post(should_trigger=True, triggered=False)
            return self._end(job.delivery, failures | {"": StoreError("firestore: ABORTED")})
        if ending is DateEnding.PENDING:
            self._write(day, at, _pending(at))
            self.stops_date(at, day, Stage.FLAGGED, only(CauseKind.NOT_STARTED))
            post(should_trigger=True, triggered=False)
            return self._end(job.delivery, failures)
        self._flag(job, after, ending, at)
        post(should_trigger=True, triggered=True)
        self._start(ending, job.delivery, failures)
        return self._end(job.delivery, failures)

    def _start(
        self, ending: DateEnding, delivery: Delivery, failures: dict[str, Exception]
    ) -> None:
        """Start the next phase, or fail at it; some code says what became of that."""
        if ending is DateEnding.FLAG_THEN_FAILS:
            failures[""] = StoreError("pubsub: 404 topic not found")
        elif ending is DateEnding.REFUSED:
            delivery.not_started("the coverage is below the gate")
        elif (
            self.plan.flag_starts
            and self.plan.names_pending
            and ending is not DateEnding.PENDING_FLAGGED
        ):
            delivery.started(message_id="17")

    def _possible(self, ending: DateEnding) -> DateEnding:
        """Return the ending, or the healthy one where this code cannot have it."""
        ours = {
            DateEnding.DUPLICATE,
            DateEnding.RETURNS_EARLY,
            DateEnding.STUCK,
            DateEnding.FLAG_FAILS,
            DateEnding.PENDING,
        }
        ours |= {DateEnding.PENDING_FLAGGED, DateEnding.FLAG_THEN_FAILS, DateEnding.REFUSED}
        later = {
            DateEnding.FLAG_THEN_FAILS,
            DateEnding.PENDING_FLAGGED,
            DateEnding.REFUSED,
            DateEnding.NO_OUTPUT,
        }
        is_impossible = (self.plan.code is Code.OURS and ending in ours) or (
            ending in later and not self.plan.flag_starts
        )
        return DateEnding.HEALTHY if is_impossible else ending

    def _does_not_decide(
        self,
        ending: DateEnding,
        delivery: Delivery,
        failures: dict[str, Exception],
        post: Callable[..., None],
    ) -> int:
        match ending:
            case DateEnding.DUPLICATE:
                post(should_trigger=False, triggered=False, duplicate=True)
            case DateEnding.STUCK:
                post(should_trigger=False, triggered=False)
            case DateEnding.DECISION_FAILS:
                failures["register" if self.plan.code is Code.OURS else ""] = StoreError(
                    "firestore: ABORTED"
                )
            case DateEnding.DIES:
                return 0
            case _:
                pass
        return self._end(delivery, failures)

    def _flag(self, job: "_Job", after: Progress, ending: DateEnding, at: datetime) -> None:
        """Set the flag, with its row, and whatever becomes of it."""
        day, completion = job.day, job.completion
        fields = trigger_fields(after, event_id=completion.event_id, now=at)
        says_so = self.plan.names_pending or ending is DateEnding.PENDING_FLAGGED
        if self.plan.code is not Code.OURS and says_so:
            fields |= _pending(at)
            if ending is not DateEnding.PENDING_FLAGGED:
                fields |= {"_trigger_succeeded": True}
        self._write(day, at, fields)
        self.reached(at, day, "", Stage.FLAGGED)
        if self.plan.code is Code.OURS:
            name = completion.processor or ""
            self.happened.rows.append(Row(at, at, name, day, is_flag=True))
        if ending in {DateEnding.FLAG_OVERWRITTEN, DateEnding.DOCUMENT_REWRITTEN}:
            self.later(at + 9 * MINUTE, lambda later: self._overwrite(day, later, ending))
        if not self.plan.flag_starts:
            return
        if ending in {DateEnding.FLAG_THEN_FAILS, DateEnding.PENDING_FLAGGED, DateEnding.REFUSED}:
            self.stops_date(at, day, Stage.STARTED, only(CauseKind.NOT_STARTED))
            return
        if ending is DateEnding.NO_OUTPUT:
            self.reached(at, day, "", Stage.STARTED)
            self.stops_date(at, day, Stage.OUTPUT, NOTHING)
            return
        self._has_output(day, at + 20 * MINUTE)

    def _has_output(self, day: date, at: datetime) -> None:
        self.happened.output.setdefault(day, at)
        self.reached(at - 19 * MINUTE, day, "", Stage.STARTED)
        self.reached(at, day, "", Stage.OUTPUT)

    def _overwrite(self, day: date, at: datetime, ending: DateEnding) -> None:
        """Let somebody write the document anew, without the flag, or without anything in it."""
        document = self.happened.documents[day]
        if "_triggered" not in document:
            return
        keeps_all = ending is DateEnding.FLAG_OVERWRITTEN
        fields = {
            name: value
            for name, value in document.items()
            if keeps_all and not name.startswith("_t")
        }
        self._put(day, at, fields or {"_mode": "repaired"})
        kinds = only(CauseKind.FLAG_OVERWRITTEN)
        self.undone(at, day, "", Stage.FLAGGED, kinds)
        for name in FIVE if not keeps_all else ():
            self.undone(at, day, name, Stage.REGISTERED, kinds)

    def _end(self, delivery: Delivery, failures: dict[str, Exception]) -> int:
        """Leave the block of a delivery; return the status of its request.

        An exception that no step of ours raised goes on as it is.
        """
        error = failures.get("") or (DeliveryError(failures) if failures else None)
        delivery.__exit__(type(error) if error else None, error, None)
        return 500 if error else 200


def play(plan: Plan) -> Happened:
    """Let a plan happen."""
    return _Player(plan).play()
