"""Each message is written down before it is sent, and its answer after it.

For each phase a run reads what it remembers, computes, and commits in one conditional write the
receipts of what it is about to send. Only then it sends, and notes the answers. A run that loses
the commit reads and computes again. So of several runs at once only one sends, and what a run that
died may have sent is known. Where nothing can be written, people are notified all the same.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.advance import Judged, Plan, advance, oldest_open, unsettled
from canary.domain.evidence import Unreadable
from canary.domain.incident import (
    REFUSED_AGAIN_AFTER,
    RUN_IS_OVER_AFTER,
    DateMemory,
    NotificationKind,
    PostOutcome,
    Situation,
    answered,
    group_of,
)
from canary.domain.remembered import Documents, Refusal, Runs, after_a_run
from canary.domain.slots import SLOT, due_without_memory
from canary.domain.verdict import level
from canary.memory import Memory
from canary.notify.channel import Channels, Notification, NotifyError, Warned
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import DocumentStore

_ATTEMPTS, _HOUR = 3, timedelta(hours=1)
# As many dates as one message has room for.
_DATES_AT_ONCE = 24


class Notified(msgspec.Struct, frozen=True):
    """What came of notifying.

    `channels_failed` are the channels that could not be reached, with the reason. `untold` are the
    dates of which nobody was notified although somebody had to be. `without_memory` is why
    something could not be remembered, empty where everything could.
    """

    channels_failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    untold: tuple[str, ...] = ()
    without_memory: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what went wrong; empty where nothing did."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}


def notify_channels(
    store: DocumentStore,
    remembered: Documents | Unreadable,
    judged: Judged,
    channels: Channels,
    *,
    phases: Mapping[str, Phase],
    now: datetime,
    deadline: Deadline,
) -> Notified:
    """Add the verdicts to what is remembered, and send each channel what it was not sent yet.

    `remembered` are the documents as the run has read them. A run past its `deadline` neither
    commits nor sends.
    """
    memory = Memory(store, remembered, channels.canary, now, deadline)
    run = _Notifying(memory, judged, channels, phases=phases, now=now, deadline=deadline)
    for phase in run.phases():
        run.notify_of(phase)
    if judged.everything:
        run.remember_the_run()
    channels.memory.end_of_run(
        [(v.phase, v.game_date) for v in judged.verdicts if not v.kind.is_quiet], now
    )
    return Notified(run.failures, tuple(run.untold), run.without_memory)


class _Notifying:
    """One run's notifying, from what is due to what came of it."""

    def __init__(
        self,
        memory: Memory,
        judged: Judged,
        channels: Channels,
        *,
        phases: Mapping[str, Phase],
        now: datetime,
        deadline: Deadline,
    ) -> None:
        self._memory, self._judged, self._channels, self._phases = memory, judged, channels, phases
        self._deadline, self._runs, self._people = deadline, memory.runs, memory.people
        addresses = {name: channel.address for name, channel in channels.by_name.items()}
        self._refusals = {
            name: refusal
            for name, refusal in self._runs.refusals.items()
            if refusal.address == addresses.get(name)
        }
        refused = {
            name: refusal
            for name, refusal in self._refusals.items()
            if _is_left_alone(refusal, now)
        }
        self._situation = Situation(now=now, run=secrets.token_hex(8), addresses=addresses)
        self.failures = {name: refusal.reason for name, refusal in refused.items()}
        self.without_memory = memory.failure
        self.untold: list[str] = []
        self._heard: set[str] = set()
        self._gone: dict[str, Refusal] = {}
        self._open: dict[str, str] = {}
        self._judged_from: dict[str, date] = {}

    def phases(self) -> list[str]:
        """Return the phases with verdicts, and the removed ones that have something open."""
        judged = dict.fromkeys(verdict.phase for verdict in self._judged.verdicts)
        removed = [
            phase
            for phase, oldest in self._runs.open.items()
            if oldest and phase not in self._phases
        ]
        return [*judged, *(removed if self._judged.everything else ())]

    def notify_of(self, phase: str) -> None:
        """Commit what is about to be sent of a phase, send it, and note the answers."""
        plan, failed = self._plan(phase), "" if self._memory.is_readable else self._memory.failure
        try:
            for _ in range(0 if failed else _ATTEMPTS):
                if self._deadline.is_over:
                    self._leave_untold(
                        plan,
                        plan.followed,
                        f"the run has taken more than {self._deadline.seconds:g} s",
                    )
                    return
                if self._memory.commit(phase, plan.changes) or self._is_mine(phase, plan):
                    self._send(phase, plan)
                    return
                plan = self._plan(phase)
            failed = failed or self._memory.failure
        except StoreError as error:
            failed = str(error)
        if failed:
            self.without_memory = one_line(failed)
            self._send_without_memory(phase, plan)
        else:
            self._leave_untold(plan, plan.followed, "other runs were first, each time")

    def _plan(self, phase: str) -> Plan:
        situation = replace(
            self._situation, phase=self._phases.get(phase), down=tuple(self.failures)
        )
        return advance(
            phase,
            self._memory.dates(phase),
            self._judged,
            situation,
            self._people,
            ran_at=self._runs.at,
        )

    def _is_mine(self, phase: str, plan: Plan) -> bool:
        """Whether what was about to be sent is written down as this run's.

        Then the commit succeeded, and only its answer was lost or came late.
        """
        memories = self._memory.dates(phase)
        incidents = [memories[day].open for day in plan.due if day in memories]
        runs = {
            receipt.run
            for incident in incidents
            if incident
            for receipt in incident.receipts.values()
        }
        return self._situation.run in runs

    # Sending

    def _send(self, phase: str, plan: Plan) -> None:
        outcomes: dict[date, dict[str, PostOutcome]] = {day: {} for day in plan.due}
        for name in self._channels.by_name:
            days = [day for day, kinds in plan.due.items() if name in kinds]
            notifications = [
                self._notification(plan, day, plan.due[day][name], name) for day in days
            ]
            for day, outcome in self._outcomes(name, notifications).items():
                outcomes[day][name] = outcome
        noted = self._note(phase, plan, outcomes) if plan.due else {}
        after = {**plan.after, **noted}
        self._open[phase] = oldest_open({**plan.known, **after})
        if phase in self._phases:
            first = self._phases[phase].recent_dates(
                self._situation.now, self._phases[phase].lookback_dates
            )[0]
            self._judged_from[phase] = min(first, unsettled(plan) or first)
        self._leave_untold(plan, after, "no channel is known to have taken it")

    def _outcomes(
        self, name: str, notifications: Sequence[Notification]
    ) -> dict[date, PostOutcome]:
        """Send a channel its notifications, and return what came of each."""
        outcomes: dict[date, PostOutcome] = {}
        for first in range(0, len(notifications), _DATES_AT_ONCE):
            outcomes |= self._outcomes_of_a_message(
                name, notifications[first : first + _DATES_AT_ONCE]
            )
        return outcomes

    def _outcomes_of_a_message(
        self, name: str, notifications: Sequence[Notification]
    ) -> dict[date, PostOutcome]:
        now = self._situation.now
        days = [notification.verdict.game_date for notification in notifications]
        # the time may be over because the process was frozen after its commit
        if self._deadline.is_over or name in self.failures:
            return dict.fromkeys(days, PostOutcome.NOT_POSTED)
        sent, error = self._channels.send(name, notifications, now)
        heard = {notification.verdict.game_date for notification in sent}
        self._heard |= {name} if heard else set()
        if error is not None:
            self.failures[name] = _reason(error)
        if isinstance(error, NotifyError) and error.gone:
            self._gone[name] = Refusal(self._situation.addresses[name], now, self.failures[name])
        may_be = isinstance(error, NotifyError) and error.may_be_posted
        otherwise = PostOutcome.NOT_KNOWN if may_be else PostOutcome.NOT_POSTED
        outcomes = {day: PostOutcome.HEARD if day in heard else otherwise for day in days}
        posted = [
            notification.verdict
            for notification in notifications
            if outcomes[notification.verdict.game_date] is not PostOutcome.NOT_POSTED
        ]
        self._channels.memory.told |= {
            (name, verdict.phase, verdict.game_date): (now, level(verdict)) for verdict in posted
        }
        return outcomes

    def _notification(
        self, plan: Plan, day: date, kind: NotificationKind, name: str
    ) -> Notification:
        verdict, incident = plan.verdicts[day], plan.after[day].open
        assert incident is not None
        also = [
            candidate
            for other_day, candidate in plan.verdicts.items()
            if kind is NotificationKind.OPENED
            and name not in plan.due.get(other_day, {})
            and not candidate.kind.is_quiet
            and (other_incident := plan.after[other_day].open)
            and name in other_incident.receipts
            and group_of(candidate) == group_of(verdict)
        ]
        return Notification(
            kind, incident, verdict, "; ".join(self._words(plan, day, kind, name)), tuple(also)
        )

    def _words(self, plan: Plan, day: date, kind: NotificationKind, name: str) -> Iterator[str]:
        """Yield the notes beside the verdict.

        They are what people said of the incident, and which messages may not have been heard.
        """
        incident = plan.after[day].open
        situation = plan.situations[day]
        phase = plan.verdicts[day].phase
        assert incident is not None
        yield from (
            ack.text for ack in situation.acknowledgements if ack.opened_at == incident.opened_at
        )
        silences = [
            silence for silence in self._people.silences if silence.is_of(phase, day, situation.now)
        ]
        yield from (f"silenced: {silence.text}" for silence in silences)
        if self._runs.at is None and self._judged.everything and kind is NotificationKind.OPENED:
            yield "open at the first run of the canary"
        if kind.is_end and name in incident.receipts and not incident.receipts[name].began:
            yield (
                f"began {incident.opened_at:%Y-%m-%d %H:%M}Z; the message that it began may not "
                "have reached you"
            )

    def _note(
        self, phase: str, plan: Plan, outcomes: Mapping[date, Mapping[str, PostOutcome]]
    ) -> Mapping[date, DateMemory]:
        """Write down what came of the messages, and return it.

        Where it cannot be written down, the messages are remembered as perhaps heard.
        """
        failed, noted = "", dict[date, DateMemory]()
        for _ in range(_ATTEMPTS):
            try:
                self._memory.read_again(phase, outcomes)
                memories = self._memory.dates(phase)
                noted = {
                    day: answered(memories[day], mine, plan.followed[day], plan.situations[day])
                    for day, mine in outcomes.items()
                    if day in memories
                }
                if self._memory.commit(
                    phase, {day: memory for day, memory in noted.items() if memory != memories[day]}
                ):
                    return noted
                failed = self._memory.failure or failed
            except StoreError as error:
                failed = str(error)
        self.without_memory = one_line(failed) or self.without_memory
        return noted

    # Who was not notified

    def _leave_untold(self, plan: Plan, after: Mapping[date, DateMemory], reason: str) -> None:
        """Note each problem of which nobody is known to have heard, by the memory of this run."""
        for day, memory in sorted(after.items()):
            if plan.is_unheard(day, memory):
                why = "another run was about to send it" if plan.is_held(day, memory) else reason
                self.untold.append(f"{plan.verdicts[day].phase} {day}: {why}")

    def _send_without_memory(self, phase: str, plan: Plan) -> None:
        """Send what a problem's age asks for.

        Where memory can be read, it still says which kind of message is due.
        """
        note = (
            f"sent without memory, once in {SLOT // _HOUR} hours, and not when it is over: "
            f"{self.without_memory}"
        )
        own_memory = self._channels.memory
        loud = {day: v for day, v in plan.verdicts.items() if v.kind.is_problem or v.unreadable}
        for name in self._channels.by_name:
            notifications = []
            for day, verdict in loud.items():
                kind, memory = self._kind_without_memory(plan, day, name), plan.followed[day]
                if kind is not None and memory.open is not None:
                    notifications.append(Notification(kind, memory.open, verdict, note))
            self._outcomes(name, notifications)
        remembered = {(verdict_phase, day) for _, verdict_phase, day in own_memory.told}
        unknown = {
            day: memory for day, memory in plan.followed.items() if (phase, day) not in remembered
        }
        self._leave_untold(plan, unknown, "nobody knows whether anybody was notified before")

    def _kind_without_memory(self, plan: Plan, day: date, name: str) -> NotificationKind | None:
        verdict, planned = plan.verdicts[day], plan.due.get(day, {}).get(name)
        if self._memory.is_readable and (planned is None or planned.is_end):
            return None
        planned = planned if self._memory.is_readable else None
        phase, own_memory = self._phases[verdict.phase], self._channels.memory
        return due_without_memory(
            verdict, name, phase, self._situation.now, own_memory, said=planned
        )

    # The canary itself

    def remember_the_run(self) -> None:
        """Write down when the canary ran, what it did not see, and which channels are refused.

        What is new of these is also sent over the channels that work.
        """
        own_memory = self._channels.memory
        names = self._channels.by_name.keys()
        refusals: dict[str, Refusal] = {}
        is_ours: bool | None = None
        try:
            for _ in range(
                _ATTEMPTS if self._memory.is_readable and not self._deadline.is_over else 0
            ):
                after = self._after(self._memory.runs)
                refusals = {
                    name: refusal for name, refusal in after.refusals.items() if not refusal.said
                }
                if is_ours := self._memory.commit_runs(_said(after)):
                    break
        except StoreError:
            is_ours = None
        if not is_ours:
            refusals = {
                name: refusal
                for name, refusal in self._gone.items()
                if is_ours is None and name not in own_memory.warned_of
            }
        own_memory.warned_of = (own_memory.warned_of | {*self._gone}) - self._heard
        words = {name: refusal_text(name, refusal) for name, refusal in refusals.items()}
        reachable = names - {*self._gone}
        unsaid = [
            name
            for name, text in words.items()
            if reachable and not self._warn(Warned.CHANNEL, text, reachable)
        ]
        left_out = self._judged.left_out if is_ours else ""
        is_left_out_unsaid = bool(left_out) and not self._warn(
            Warned.AWAY, left_out, names - self.failures.keys()
        )
        if is_ours and (unsaid or is_left_out_unsaid):
            self._take_back(unsaid, self._runs.judged_from if is_left_out_unsaid else {})

    def _take_back(self, unsaid: Sequence[str], judged_from: Mapping[str, date]) -> None:
        """Write down that no channel took these warnings, so that the next run sends them."""
        try:
            for _ in range(_ATTEMPTS):
                runs = self._memory.runs
                refusals = {
                    name: replace(refusal, said=refusal.said and name not in unsaid)
                    for name, refusal in runs.refusals.items()
                }
                after = replace(
                    runs, refusals=refusals, judged_from={**runs.judged_from, **judged_from}
                )
                if self._memory.commit_runs(after):
                    return
        except StoreError:
            own_memory = self._channels.memory
            own_memory.warned_of -= {*unsaid}

    def _after(self, runs: Runs) -> Runs:
        """Return what is remembered of the canary after this run."""
        now = self._situation.now
        reason = next(
            (one_line(verdict.summary) for verdict in self._judged.verdicts if verdict.unreadable),
            "",
        )
        # By what is remembered now: another run may have sent the warning since this one read.
        warned = {
            name for name, refusal in runs.refusals.items() if refusal.said and name in self._gone
        }
        gone = {
            name: replace(
                refusal, said=name in warned and runs.refusals[name].address == refusal.address
            )
            for name, refusal in self._gone.items()
        }
        refusals = {**runs.refusals, **gone}
        left = refusals.keys() & self._channels.by_name.keys() - self._heard
        return replace(
            after_a_run(runs, now, reason),
            judged_from={**runs.judged_from, **self._judged_from},
            open={**runs.open, **self._open},
            refusals={name: refusals[name] for name in sorted(left)},
        )

    def _warn(self, what: Warned, text: str, names: Iterable[str]) -> bool:
        """Send a warning about the canary itself; return whether a channel took it."""
        errors = {
            name: self._channels.warn(name, what, text, self._situation.now)
            for name in sorted(names)
        }
        self.failures |= {
            name: _reason(error) for name, error in errors.items() if error is not None
        }
        return None in errors.values()


def _said(runs: Runs) -> Runs:
    return replace(
        runs,
        refusals={name: replace(refusal, said=True) for name, refusal in runs.refusals.items()},
    )


def _is_left_alone(refusal: Refusal, now: datetime) -> bool:
    """Whether a refused channel is not tried yet.

    It is tried again after REFUSED_AGAIN_AFTER, because its address may work again.
    """
    return -RUN_IS_OVER_AFTER < now - refusal.at < REFUSED_AGAIN_AFTER


def refusal_text(name: str, refusal: Refusal) -> str:
    """Say to those who are still reached that the others are not."""
    return (
        f"nobody is notified through the channel {name} any more: {refusal.reason}. Give it an "
        "address that is taken; it is then sent all that is open"
    )


def _reason(error: Exception) -> str:
    return one_line(
        str(error) if isinstance(error, NotifyError) else f"{type(error).__name__}: {error}"
    )
