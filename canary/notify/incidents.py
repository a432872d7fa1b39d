"""What is news is written down, then sent, and then what came of it is written down.

For each phase a run reads what it remembers, computes, and commits in one conditional write the receipts of what it is
about to send. Only then it sends, and notes the answers. Who loses the commit reads and computes again. So of several
runs at once one sends, and what a run that died may have sent is known. Where nothing can be written, people are
notified all the same.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.advance import Judged, Plan, advance, oldest_open
from canary.domain.evidence import Unreadable
from canary.domain.incident import (
    REMIND_EVERY,
    RUN_IS_OVER_AFTER,
    NotificationKind,
    Outcome,
    Situation,
    answered,
    group_of,
)
from canary.domain.remembered import Documents, Refusal, Runs, after_a_run
from canary.domain.slots import due_without_memory
from canary.domain.verdict import Verdict
from canary.memory import Memory
from canary.notify.channel import Channels, Notification, NotifyError
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import DocumentStore

# For all that a run writes; what takes longer is done without memory.
_SECONDS = 20.0
_ATTEMPTS = 3
# As many dates as one message has room for.
_DATES_AT_ONCE = 24


class Notified(msgspec.Struct, frozen=True):
    """What came of notifying.

    `channels_failed` are the channels that could not be reached, with the reason. `untold` are the dates of which
    nobody was notified although somebody had to be. `without_memory` is why something could not be remembered, if so.
    """

    channels_failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    untold: tuple[str, ...] = ()
    without_memory: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what is worth a word; empty where all went well."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}


def notify(
    store: DocumentStore,
    remembered: Documents | Unreadable,
    judged: Judged,
    channels: Channels,
    *,
    phases: Mapping[str, Phase],
    now: datetime,
    deadline: Deadline,
) -> Notified:
    """Take the verdicts into what is remembered, and send each channel what it does not know yet.

    `remembered` are the documents as the run has read them. A run past its `deadline` neither commits nor sends.
    """
    memory = Memory(store, remembered, channels.canary, now, Deadline(min(_SECONDS, deadline.left())))
    run = _Notifying(memory, judged, channels, phases=phases, now=now, deadline=deadline)
    for phase in run.phases():
        run.notify_of(phase)
    if judged.everything:
        run.remember_the_run()
    channels.memory.end_of_run([(v.phase, v.game_date) for v in judged.verdicts if not v.kind.is_quiet], now)
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
            name: refusal for name, refusal in self._runs.refusals.items() if refusal.address == addresses.get(name)
        }
        refused = {name: refusal for name, refusal in self._refusals.items() if _is_left_alone(refusal, now)}
        self._situation = Situation(now=now, run=secrets.token_hex(8), addresses=addresses, refused=tuple(refused))
        self.failures = {name: refusal.reason for name, refusal in refused.items()}
        self.without_memory = memory.failure
        self.untold: list[str] = []
        self._heard: set[str] = set()
        self._gone: dict[str, Refusal] = {}
        self._open: dict[str, str] = {}

    def phases(self) -> list[str]:
        """Return the phases that have verdicts, and those that were removed and have something open."""
        judged = dict.fromkeys(verdict.phase for verdict in self._judged.verdicts)
        removed = [phase for phase, oldest in self._runs.open.items() if oldest and phase not in self._phases]
        return [*judged, *(removed if self._judged.everything else ())]

    def notify_of(self, phase: str) -> None:
        """Commit what is about to be sent of a phase, send it, and note the answers."""
        plan, failed = self._plan(phase), "" if self._memory.is_readable else self._memory.failure
        try:
            for _ in range(0 if failed else _ATTEMPTS):
                if self._deadline.is_over:
                    self._leave_untold_what_is_due(plan, f"the run has taken more than {self._deadline.seconds:g} s")
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
            self._send_without_memory(plan)
        else:
            self._leave_untold_what_is_due(plan, "other runs were first, each time")

    def _plan(self, phase: str) -> Plan:
        situation = replace(self._situation, phase=self._phases.get(phase), down=tuple(self.failures))
        plan = advance(phase, self._memory.dates(phase), self._judged, situation, self._people, ran_at=self._runs.at)
        self._open[phase] = oldest_open({**plan.known, **plan.after})
        return plan

    def _is_mine(self, phase: str, plan: Plan) -> bool:
        """Whether what was about to be sent is written down as this run's: only the answer was lost, or came late."""
        known = self._memory.dates(phase)
        incidents = [known[day].open for day in plan.due if day in known]
        runs = {receipt.run for incident in incidents if incident for receipt in incident.receipts.values()}
        return self._situation.run in runs

    # Sending

    def _send(self, phase: str, plan: Plan) -> None:
        outcomes: dict[date, dict[str, Outcome]] = {day: {} for day in plan.due}
        for name in self._channels.by_name:
            days = [day for day, kinds in plan.due.items() if name in kinds]
            wanted = [self._notification(plan, day, plan.due[day][name], name) for day in days]
            for day, outcome in self._outcomes(name, wanted).items():
                outcomes[day][name] = outcome
        for day, verdict in plan.verdicts.items():
            self._note_untold(plan, day, verdict, {*outcomes.get(day, {}).values()})
        if plan.due:
            self._note(phase, plan, outcomes)

    def _outcomes(self, name: str, wanted: Sequence[Notification]) -> dict[date, Outcome]:
        """Send a channel what it is due, and return what came of it."""
        outcomes: dict[date, Outcome] = {}
        for first in range(0, len(wanted), _DATES_AT_ONCE):
            outcomes |= self._outcomes_of_a_message(name, wanted[first : first + _DATES_AT_ONCE])
        return outcomes

    def _outcomes_of_a_message(self, name: str, wanted: Sequence[Notification]) -> dict[date, Outcome]:
        now, days = self._situation.now, [notification.verdict.game_date for notification in wanted]
        if self._deadline.is_over or name in self.failures:  # also if it was frozen since it committed
            return dict.fromkeys(days, Outcome.NOT_POSTED)
        sent, error = self._channels.send(name, wanted, now)
        heard = {notification.verdict.game_date for notification in sent}
        self._heard |= {name} if heard else set()
        if error is not None:
            self.failures[name] = _reason(error)
        if isinstance(error, NotifyError) and error.gone:
            self._gone[name] = Refusal(self._situation.addresses[name], now, self.failures[name])
        may_be = isinstance(error, NotifyError) and error.may_be_posted
        otherwise = Outcome.NOT_KNOWN if may_be else Outcome.NOT_POSTED
        outcomes = {day: Outcome.HEARD if day in heard else otherwise for day in days}
        posted = [day for day, outcome in outcomes.items() if outcome is not Outcome.NOT_POSTED]
        self._channels.memory.told_at |= {(name, wanted[0].verdict.phase, day): now for day in posted}
        return outcomes

    def _notification(self, plan: Plan, day: date, kind: NotificationKind, name: str) -> Notification:
        verdict, incident = plan.verdicts[day], plan.after[day].open
        assert incident is not None
        also = [
            other
            for other_day, other in plan.verdicts.items()
            if kind is NotificationKind.OPENED
            and other_day not in plan.due
            and not other.kind.is_quiet
            and (other_incident := plan.after[other_day].open)
            and name in other_incident.receipts
            and group_of(other) == group_of(verdict)
        ]
        return Notification(kind, incident, verdict, "; ".join(self._words(plan, day, kind, name)), tuple(also))

    def _words(self, plan: Plan, day: date, kind: NotificationKind, name: str) -> Iterator[str]:
        """Yield what has to be said beside the verdict: what people said of it, and what may not have been heard."""
        incident, situation, phase = plan.after[day].open, plan.situations[day], plan.verdicts[day].phase
        assert incident is not None
        yield from (ack.text for ack in situation.acknowledgements if ack.opened_at == incident.opened_at)
        silences = [silence for silence in self._people.silences if silence.is_of(phase, day, situation.now)]
        yield from (f"silenced: {silence.text}" for silence in silences)
        if self._runs.at is None and self._judged.everything and kind is NotificationKind.OPENED:
            yield "how things stand at the first run of the canary"
        if kind.is_end and name in incident.receipts and not incident.receipts[name].began:
            yield f"began {incident.opened_at:%Y-%m-%d %H:%M}Z; the message that it began may not have reached you"

    def _note(self, phase: str, plan: Plan, outcomes: Mapping[date, Mapping[str, Outcome]]) -> None:
        """Write down what came of the messages; where that fails, they may have been heard."""
        failed = ""
        for _ in range(_ATTEMPTS):
            try:
                self._memory.read_again(phase, outcomes)
                known = self._memory.dates(phase)
                noted = {
                    day: answered(known[day], mine, plan.followed[day], plan.situations[day])
                    for day, mine in outcomes.items()
                    if day in known
                }
                changes = {day: memory for day, memory in noted.items() if memory != known[day]}
                if self._memory.commit(phase, changes):
                    self._open[phase] = oldest_open({**plan.known, **plan.after, **noted})
                    return
                failed = self._memory.failure or failed
            except StoreError as error:
                failed = str(error)
        self.without_memory = one_line(failed) or self.without_memory

    # Who was not notified

    def _leave_untold_what_is_due(self, plan: Plan, reason: str) -> None:
        for day in plan.due:
            if plan.verdicts[day].kind.is_problem and not plan.has_heard(day):
                self._leave_untold(plan.verdicts[day], reason)

    def _note_untold(self, plan: Plan, day: date, verdict: Verdict, outcomes: set[Outcome]) -> None:
        """Note a date of which nobody was notified: no channel took it, or another run was about to send it."""
        if verdict.kind.is_quiet or plan.has_heard(day):
            return
        if outcomes == {Outcome.NOT_POSTED}:
            self._leave_untold(verdict, "no channel took it")
        elif not outcomes and plan.is_held(day):
            self._leave_untold(verdict, "another run was about to send it")  # and may have died

    def _leave_untold(self, verdict: Verdict, reason: str) -> None:
        self.untold.append(f"{verdict.phase} {verdict.game_date}: {reason}")

    def _send_without_memory(self, plan: Plan) -> None:
        """Send what a problem's age asks for; what is remembered says which kind it is, where it can be read."""
        note = f"sent without memory, once in 4 hours, and not when it is over: {self.without_memory}"
        own = self._channels.memory
        loud = {day: v for day, v in plan.verdicts.items() if v.kind.is_problem or v.unreadable}
        for name in self._channels.by_name:
            wanted = []
            for day, verdict in loud.items():
                kind, memory = self._kind_without_memory(plan, day, name), plan.followed[day]
                if kind is not None and memory.open is not None:
                    wanted.append(Notification(kind, memory.open, verdict, note))
            self._outcomes(name, wanted)
        for day, verdict in loud.items():
            is_known = any((name, verdict.phase, day) in own.told_at for name in self._channels.by_name)
            if verdict.kind.is_problem and not (is_known or plan.has_heard(day) or plan.situations[day].silenced):
                self._leave_untold(verdict, "nobody knows whether anybody was notified before")

    def _kind_without_memory(self, plan: Plan, day: date, name: str) -> NotificationKind | None:
        verdict, said = plan.verdicts[day], plan.due.get(day, {}).get(name)
        if self._memory.is_readable and (said is None or said.is_end):
            return None
        said = said if self._memory.is_readable else None
        phase, own = self._phases[verdict.phase], self._channels.memory
        return due_without_memory(verdict, name, phase, self._situation.now, own, said=said)

    # The canary itself

    def remember_the_run(self) -> None:
        """Keep when the canary ran, what it did not see, and which channels are refused; say what is new of these."""
        new = {name: refusal for name, refusal in self._gone.items() if name not in self._refusals}
        is_ours: bool | None = None
        try:
            for _ in range(_ATTEMPTS if self._memory.is_readable and not self._deadline.is_over else 0):
                if is_ours := self._memory.commit_runs(self._after(self._memory.runs)):
                    break
                new = {name: refusal for name, refusal in new.items() if name not in self._memory.runs.refusals}
        except StoreError:
            is_ours = None
        own = self._channels.memory
        for name, refusal in new.items():
            if is_ours or (is_ours is None and name not in own.warned_of):
                self._warn(refusal_text(name, refusal), self._channels.by_name.keys() - self._gone.keys())
        if self._judged.left_out and is_ours:
            self._warn(self._judged.left_out, self._channels.by_name.keys() - self.failures.keys())
        own.warned_of = (own.warned_of | {*self._gone}) - self._heard

    def _after(self, runs: Runs) -> Runs:
        """Return what is remembered of the canary after this run."""
        now = self._situation.now
        reason = next((one_line(verdict.summary) for verdict in self._judged.verdicts if verdict.unreadable), "")
        first = {name: phase.recent_dates(now, phase.lookback_dates)[0] for name, phase in self._phases.items()}
        gone = {**runs.refusals, **self._gone}
        left = gone.keys() & self._channels.by_name.keys() - self._heard
        return replace(
            after_a_run(runs, now, reason),
            judged_from={**runs.judged_from, **first},
            open={**runs.open, **self._open},
            refusals={name: gone[name] for name in sorted(left)},
        )

    def _warn(self, text: str, names: Iterable[str]) -> None:
        for name in sorted(names):
            if (error := self._channels.warn(name, text, self._situation.now)) is not None:
                self.failures[name] = _reason(error)


def _is_left_alone(refusal: Refusal, now: datetime) -> bool:
    """Whether a refused channel is not tried yet: it is every four hours, in case the address is taken again."""
    return -RUN_IS_OVER_AFTER < now - refusal.at < REMIND_EVERY


def refusal_text(name: str, refusal: Refusal) -> str:
    """Say to those who are still reached that the others are not."""
    return (
        f"nobody is notified through the channel {name} any more: {refusal.reason}. Give it an address that is taken; "
        "it is then sent how things stand"
    )


def _reason(error: Exception) -> str:
    return one_line(str(error) if isinstance(error, NotifyError) else f"{type(error).__name__}: {error}")
