"""One pipeline on simulated time.

It has Pub/Sub, the function's process, the stores, the canary, and its people. The orchestrator and
the canary are the real ones, on the embedded stores. What is made up is what surrounds them:
deliveries that are lost, late or repeated, processes that die, stores and Slack that refuse.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from threading import Barrier, get_ident
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.incident import NotificationKind
from canary.domain.stages import Cause, CauseKind
from canary.domain.verdict import Level, Verdict, VerdictKind, level
from canary.notify.channel import Channels, Notification, NotifyError, Warned
from canary.playback.schedule import Schedule, ticks
from canary.run import Report, check_dates, watch
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import DeliveryError, StoreError
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import document_id
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import (
    Attempt,
    Change,
    ChangeLog,
    Changes,
    DeadLetters,
    DocumentRef,
    ErrorLog,
    ProcessorRun,
    ProcessorSummary,
    Request,
    RequestLog,
    ServiceError,
    ServiceErrors,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.sqlite import SqliteCompletionLog, SqliteFile

# Pub/Sub's retries of a function deployed with --retry: from 10 s, doubling, up to 600 s.
_FIRST_BACKOFF, _LAST_BACKOFF = 10, 600
# What the platform answers for the function: it did, it may not be invoked, it failed.
_NO_CONTENT, _FORBIDDEN, TOO_MANY, _UNAVAILABLE = 204, 403, 429, 503
# For which one of two canaries waits for the other.
_BOTH_SECONDS = 30.0
# As deploy/canary.sh has it: what answers 503 is tried again after these.
_SCHEDULER_BACKOFFS = (timedelta(seconds=10), timedelta(seconds=20), timedelta(seconds=40))

# From one run to the next.
_MINUTES = 15

# How long a delivery takes where nothing holds it up.
DELIVERED = timedelta(seconds=1)

# What the simulated phases ask; which query is meant is all that the simulated source looks at.
OUTCOME_QUERY, WORK_QUERY = "outcome @since @until", "work @since @until"


# The file in which the message log is kept: a table like the completion log's.
MESSAGES = "messages.sqlite3"

# What the next phase writes of a date, in rows.
_ROWS = 363
# What the platform says of a request for which no instance was started, and of one for which there
# was none.
_NO_START, NO_INSTANCE = "The instance was not started.", "There was no available instance."

Deliver = Callable[[object], None]


class ProcessDeathError(BaseException):
    """The process is gone: nothing catches this, and nothing is written any more."""


class InjectedFault(msgspec.Struct, frozen=True, kw_only=True):
    """What befalls the deliveries of one message, until the date is mended.

    The first `attempts` deliveries die or are refused at a store operation (`append`, `get_all`,
    `update_if_unchanged`); unless `retried`, there is no second one. One that `loses_race` finds
    the document changed at its first commit, and merges its registration before it comes to the
    flag.
    """

    lost: bool = False
    dies_at: str | None = None
    refused_at: str | None = None
    attempts: int = 1_000_000
    retried: bool = True
    loses_race: bool = False


class Outage(msgspec.Struct, frozen=True):
    """A source of the canary that does not answer from `since` until before `until`.

    With an `operation`, only that one fails. One that `flaps` fails in each second run only.
    """

    source: str
    since: datetime
    until: datetime
    operation: str | None = None
    flaps: bool = False

    def is_on(self, now: datetime) -> bool:
        """Whether it does not answer at `now`."""
        return self.since <= now < self.until and (is_second_run(now) or not self.flaps)


class SentMessage(msgspec.Struct, frozen=True):
    """One notification that reached people."""

    at: datetime
    game_date: date
    notification: NotificationKind
    verdict: VerdictKind
    causes: frozenset[CauseKind]
    level: Level


class Statement(msgspec.Struct, frozen=True):
    """What the canary says of a date from `at` until it says something else.

    Of its causes only where it stopped is kept.
    """

    at: datetime
    verdict: VerdictKind
    causes: tuple[Cause, ...]
    level: Level = Level.ERROR


@dataclass
class World:
    """A phase on stores of its own, and what came of it: `sent` (by channel), `warned`, `judged`.

    Of a date that is `flickering`, only one run of each hour finds output; for a date in
    `games_written` the next phase has only that many games. `slack_fails` says at each message
    whether Slack does. The canary does not follow a phase that `is_removed` from its file. Where
    the service `cannot_start`, it says so at each request. `explained` is what was last said of a
    date while it was broken.
    """

    phase: Phase
    stores: EmbeddedStores
    schedule: Schedule
    work: dict[date, int] = field(default_factory=dict)
    output: set[date] = field(default_factory=set)
    outages: list[Outage] = field(default_factory=list)
    flickering: set[date] = field(default_factory=set)
    slack_refuses: int = 0
    slack_fails: Callable[[datetime], BaseException | None] = lambda _: None
    warned: list[str] = field(default_factory=list)
    is_removed: bool = False
    games_written: dict[date, int] = field(default_factory=dict)
    is_invokable: bool = True
    turned_away_with: int = _FORBIDDEN
    cannot_start: str = ""
    mended: bool = False
    requests: "Requests | None" = None
    dead_letters: DeadLetters | None = None
    service_errors: ErrorLog | None = None
    changes: ChangeLog | None = None
    unattributed: list[ProcessorSummary] = field(default_factory=list)
    runs: list[ProcessorRun] = field(default_factory=list)
    twice: set[date] = field(default_factory=set)
    sent: dict[str, list[SentMessage]] = field(default_factory=lambda: {"log": [], "slack": []})
    judged: dict[date, list[Statement]] = field(default_factory=dict)
    explained: dict[date, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Wire the orchestrator and the canary."""
        self.platform = Platform(self)
        self._fault = InjectedFault()
        self._alive = True
        self._both: Barrier | None = None
        self._have_read: set[int] = set()
        self.messages = SqliteCompletionLog(
            SqliteFile(self.stores.folder / MESSAGES, durable=False)
        )
        self.documents: Any = _Guarded(self.stores.documents, self._befall)
        self.completion_log: Any = _Guarded(self.stores.completion_log, self._befall)
        self.orchestrator = self.orchestrator_of(self.phase)
        self._seen = _CanaryStores(self)
        self._channels = self._new_channels()

    def _new_channels(self) -> Channels:
        takers = {"log": self._log, "slack": self._post}
        return Channels(
            *(_People(name, self.phase.name, take, self.warned) for name, take in takers.items())
        )

    def orchestrator_of(self, phase: Phase) -> Orchestrator:
        """Return a real orchestrator that waits for `phase`."""
        return Orchestrator(
            phase,
            self.documents,
            self.completion_log,
            self.checkpoints_of(phase),
            self.schedule.clock,
            beside=AtOnce,
        )

    def checkpoints_of(self, phase: Phase) -> CheckpointLogger:
        """Return a logger whose lines end with the process."""
        return CheckpointLogger(phase, self._leave, enabled=True, clock=self.schedule.clock)

    def publish(
        self,
        at: datetime,
        envelope: Mapping[str, Any],
        *,
        delays: Sequence[timedelta] = (DELIVERED,),
        fault: InjectedFault | None = None,
        deliver: Deliver | None = None,
    ) -> None:
        """Plan the publication of a message, and its deliveries: one for each of `delays`."""
        fault = fault or InjectedFault()
        for delay in () if fault.lost else delays:
            self.schedule.at(at + delay, partial(self._attempt, envelope, fault, deliver, 1))

    @property
    def has_message_log(self) -> bool:
        """Whether Pub/Sub writes every message down by itself, without the orchestrator."""
        return self.phase.message_table is not None

    def message_log(
        self,
        at: datetime,
        envelope: Mapping[str, Any],
        wrong: Mapping[str, object],
        *,
        unreadable: bool,
    ) -> None:
        """Plan the row of a message in the message log, which has every message.

        Of a message whose fields are `wrong`, so that it has no name or date, or whose body is
        `unreadable`, the row has the time alone.
        """
        row = completion_row(Completion.from_event(envelope, self.phase))
        row = replace(row, status=str(wrong.get("status", row.status) or ""))
        if unreadable or not {"processor_name", "game_date"}.isdisjoint(wrong):
            self.schedule.at(at, lambda: self.unattributed.append(_unattributed(row.phase, at)))
        else:
            self.schedule.at(at, lambda: self.messages.append([row], now=at))

    def ref(self, day: date) -> DocumentRef:
        """The address of a date's progress document."""
        return DocumentRef(self.phase.firestore_collection, document_id(day))

    def run_every_quarter_hour(self, first: datetime, until: datetime) -> None:
        """Play simulated time up to `until`, with a canary run each quarter hour after `first`."""
        for tick in ticks(first, until):
            self.schedule.play(tick)
            self._run()
        self.schedule.play(until)

    @property
    def has_heard_the_end(self) -> bool:
        """Whether Slack was notified of each incident that it is over."""
        last = {message.game_date: message.notification for message in self.sent["slack"]}
        return all(notification is NotificationKind.RESOLVED for notification in last.values())

    def heard(self, channel: str, day: date) -> list[SentMessage]:
        """Return what a channel was sent of a date."""
        return [message for message in self.sent[channel] if message.game_date == day]

    def check(self, *days: date) -> Report:
        """Judge `days` now, by the stores as the canary reaches them; notifies nobody."""
        return check_dates(
            self._seen,
            {self.phase.name: self.phase},
            self.schedule.clock.now,
            {self.phase.name: days},
        )

    def is_down(self, source: str, operation: str | None = None) -> bool:
        """Whether a source of the canary, or an operation of it, does not answer now."""
        now = self.schedule.clock.now
        outages = (
            o for o in self.outages if o.source == source and o.operation in {None, operation}
        )
        return any(o.is_on(now) for o in outages)

    def wait_for_the_other(self) -> None:
        """Where two canaries run at once, let both have read the memory before either goes on."""
        if self._both is not None and get_ident() not in self._have_read:
            self._have_read.add(get_ident())
            self._both.wait()

    def _attempt(
        self,
        envelope: Mapping[str, Any],
        fault: InjectedFault,
        deliver: Deliver | None,
        number: int,
    ) -> None:
        """Deliver a message once; plan the next attempt where this one fails."""
        status = self.turned_away_with
        if self.cannot_start and not self.mended:
            status = _UNAVAILABLE
            self.platform.fails(self.cannot_start)
            self.platform.fails(_NO_START, is_platform=True, failed_to_start=True)
        elif not self.is_invokable:
            if status == TOO_MANY:
                self.platform.fails(NO_INSTANCE, is_platform=True)
        else:
            spared = self.mended or number > fault.attempts
            self._fault, self._alive = InjectedFault() if spared else fault, True
            try:
                (self.orchestrator.deliver if deliver is None or self.mended else deliver)(envelope)
                status = _NO_CONTENT
            except (DeliveryError, ProcessDeathError):
                status = _UNAVAILABLE
            finally:
                self._fault, self._alive = InjectedFault(), True
        if self.requests is not None:
            self.requests.received.append(
                Request(self.schedule.clock.now, status, trace=self.platform.trace)
            )
        self.platform.number += 1
        if fault.retried and status != _NO_CONTENT:
            backoff = timedelta(
                seconds=min(_FIRST_BACKOFF * 2 ** min(number - 1, 10), _LAST_BACKOFF)
            )
            self.schedule.at(
                self.schedule.clock.now + backoff,
                partial(self._attempt, envelope, fault, deliver, number + 1),
            )

    def _befall(self, operation: str) -> bool | None:
        if operation == "update_if_unchanged" and self._fault.loses_race:
            self._fault = replace(self._fault, loses_race=False)
            return False
        if operation == self._fault.dies_at:
            self._alive = False
            raise ProcessDeathError
        if operation == self._fault.refused_at:
            raise StoreError(f"{operation}: ServiceUnavailable: 503 try again later")
        return None

    def _leave(self, checkpoint: Checkpoint) -> None:
        if self._alive:
            self.stores.checkpoints(checkpoint)

    def _run(self, attempt: int = 0) -> None:
        """Run the canary as the scheduler does: what fails is tried again."""
        now = self.schedule.clock.now
        if self.twice & set(self.phase.recent_dates(now, self.phase.lookback_dates)):
            self._both = None if self.is_down("documents") else Barrier(2, timeout=_BOTH_SECONDS)
            self._have_read.clear()
            with ThreadPoolExecutor(1) as pool:
                second = pool.submit(self._watch, now)
                answered = self._watch(now) and second.result()
            self._both = None
        else:
            answered = self._watch(now)
        if not answered and attempt < len(_SCHEDULER_BACKOFFS):
            self.schedule.at(
                self.schedule.clock.now + _SCHEDULER_BACKOFFS[attempt],
                lambda: self._run(attempt + 1),
            )

    def _watch(self, now: datetime) -> bool:
        """Run the canary once; False where the function would answer 503."""
        watched = _another(self.phase) if self.is_removed else self.phase
        try:
            report = watch(self._seen, {watched.name: watched}, self._channels, now)
        except ProcessDeathError:
            self._channels = self._new_channels()  # another process, which remembers nothing
            return False
        for verdict in () if self.is_removed else report.verdicts:
            self._note(verdict, now)
        return not report.notified.untold and not any(
            verdict.unreadable for verdict in report.verdicts
        )

    def _note(self, verdict: Verdict, now: datetime) -> None:
        if verdict.kind.is_problem and not self.mended:
            self.explained[verdict.game_date] = verdict
        judgements = self.judged.setdefault(verdict.game_date, [])
        causes = (
            Cause(kind=c.kind, subjects=c.subjects, after=c.after, until=c.until)
            for c in verdict.causes
        )
        judgement = Statement(now, verdict.kind, tuple(causes), level(verdict))
        if not judgements or replace(judgements[-1], at=now) != judgement:
            judgements.append(judgement)

    def _log(self, messages: list[SentMessage]) -> None:
        self.sent["log"] += messages

    def _post(self, messages: list[SentMessage]) -> None:
        if self.slack_refuses:
            self.slack_refuses -= 1
            raise NotifyError("Slack answered 503")
        if failure := self.slack_fails(self.schedule.clock.now):
            raise failure
        self.sent["slack"] += messages


def _unattributed(phase: str, at: datetime) -> ProcessorSummary:
    """Return what the message log says of a message at `at` that nobody can attribute."""
    return ProcessorSummary(
        phase=phase,
        game_date=None,
        processor_name="",
        status=None,
        last_completed_at=at,
        first_completed_at=None,
        first_visible_at=None,
        is_triggered=None,
    )


def _another(phase: Phase) -> Phase:
    """Return a phase that has nothing to do with this one, and nothing to say.

    It is there because a phases file is never empty.
    """
    return msgspec.structs.replace(
        phase, name="another", firestore_collection="another", outcome_query=None, work_query=None
    )


def is_second_run(now: datetime) -> bool:
    """Whether it is each second of the runs, those at a quarter past and a quarter to."""
    return now.minute // _MINUTES % 2 == 1


class _People(msgspec.Struct):
    """Those who are reached through one channel, which may raise."""

    name: str
    phase: str
    take: Callable[[list[SentMessage]], None]
    warned: list[str]
    address: str = ""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Hand them over as the score wants them."""
        self.take(
            [
                SentMessage(
                    now,
                    n.verdict.game_date,
                    n.kind,
                    n.verdict.kind,
                    n.verdict.proven,
                    level(n.verdict),
                )
                for n in notifications
                if n.verdict.phase == self.phase
            ]
        )

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (a channel's method)
        """Take a word about another channel."""
        self.warned.append(text)


@dataclass
class Requests:
    """The request log of the service: what was `received`, with the status that each got."""

    world: World
    received: list[Request] = field(default_factory=list)

    @property
    def phase(self) -> str:
        """The phase of the orchestrator."""
        return self.world.phase.name

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return the requests from `since` to before `until`."""
        if self.world.is_down("requests"):
            raise StoreError("requests: DeadlineExceeded: 504")
        return [request for request in self.received if since <= request.at < until]

    def last_answer(self, before: datetime) -> datetime | None:
        """Return when one was last answered with 2xx."""
        earlier = self.requests(datetime.min.replace(tzinfo=UTC), before)
        return max(
            (request.at for request in earlier if request.status == _NO_CONTENT), default=None
        )


@dataclass
class Platform:
    """What else the platform, and the service on it, write down: errors, and changes."""

    world: World
    errors_left: list[ServiceError] = field(default_factory=list)
    changes_made: list[Change] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    number: int = 0

    @property
    def phase(self) -> str:
        """The phase of the orchestrator."""
        return self.world.phase.name

    @property
    def trace(self) -> str:
        """The trace of the request that is under way."""
        return f"trace-{self.number}"

    def fails(
        self, words: str, *, is_platform: bool = False, failed_to_start: bool = False
    ) -> None:
        """Leave an error of the request that is under way."""
        error = ServiceError(
            self.world.schedule.clock.now, words, self.trace, is_platform, failed_to_start
        )
        self.errors_left.append(error)

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        """Return the errors from `since` to before `until`."""
        if self.world.is_down("errors"):
            raise StoreError("errors: DeadlineExceeded: 504")
        return ServiceErrors([error for error in self.errors_left if since <= error.at < until])

    def changes(self, begun: Mapping[str, datetime], until: datetime) -> dict[str, Changes]:
        """Return what was changed before `until`."""
        if self.world.is_down("changes"):
            raise StoreError("changes: DeadlineExceeded: 504")
        changes = sorted(change for change in self.changes_made if change.at < until)
        attempts = sorted(attempt for attempt in self.attempts if attempt.at < until)
        return dict.fromkeys(
            begun,
            Changes(changes, attempts, looked_at=frozenset(change[1:3] for change in changes)),
        )


class _Guarded:
    """A store that asks first, may be answered for, and says when it has read."""

    def __init__(
        self,
        store: object,
        ask: Callable[[str], bool | None],
        has_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._ask = ask
        self._has_read = has_read

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            answer = self._ask(name)
            answer = operation(*args, **kwargs) if answer is None else answer
            if answer is not None and not isinstance(answer, bool):
                self._has_read()
            return answer

        return guarded


class _CanaryStores:
    """The stores as the canary reaches them: a source that is down refuses."""

    def __init__(self, world: World) -> None:
        self._world = world

        def guarded(source: str) -> Any:
            def ask(operation: str) -> None:
                if world.is_down(source, operation):
                    raise StoreError(f"{source}: DeadlineExceeded: 504")

            has_read = world.wait_for_the_other if source == "documents" else lambda: None
            return _Guarded(getattr(world.stores, source), ask, has_read)

        self.documents = guarded("documents")
        self.completion_log = guarded("completion_log")
        self.checkpoints = guarded("checkpoints")
        self.counts = self.message_logs = self
        self.flag_tables = None

    def summarise(self, phase: str, since: date, until: date) -> list[ProcessorSummary]:
        """Answer what the message log says."""
        if self._world.is_down("message_log"):
            raise StoreError("message_log: DeadlineExceeded: 504")
        return [*self._world.messages.summarise([phase], since, until), *self._world.unattributed]

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """Answer the phase's queries: the output of the next phase, or the games."""
        world = self._world
        if world.is_down("outcome" if query == OUTCOME_QUERY else "work"):
            raise StoreError("BigQuery: DeadlineExceeded: 504")
        days = (since + timedelta(days=n) for n in range((until - since).days + 1))
        if query == OUTCOME_QUERY:
            # Once in a while it is there; away for one run alone, it is only being written anew.
            hidden = world.flickering if world.schedule.clock.now.minute >= _MINUTES else set()
            return {
                day: world.games_written.get(day, _ROWS)
                for day in days
                if day in world.output - hidden
            }
        return {day: world.work[day] for day in days if day in world.work}

    def runs(self, _: str, since: date, until: date) -> list[ProcessorRun]:
        """Answer who has run."""
        if self._world.is_down("runs"):
            raise StoreError("BigQuery: DeadlineExceeded: 504")
        return [run for run in self._world.runs if since <= run.game_date <= until]

    @property
    def requests(self) -> RequestLog | None:
        """What the platform has written down of the requests to the orchestrator."""
        return self._world.requests

    @property
    def service_errors(self) -> ErrorLog | None:
        """What the service and the platform have written down of its errors."""
        return self._world.service_errors

    @property
    def changes(self) -> ChangeLog | None:
        """What the platform has written down of who changed what."""
        return self._world.changes

    @property
    def dead_letters(self) -> DeadLetters | None:
        """What could not be delivered."""
        return self._world.dead_letters

    def close(self) -> None:
        """Leave the stores to the world."""
