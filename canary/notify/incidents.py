"""What is news is written down, then sent, and then what came of it is written down.

For each phase a run reads what it remembers, computes, and commits in one conditional write the receipts of what it is
about to send. Only then it sends, and notes the answers. Who loses the commit reads and computes again. So of several
runs at once one sends, and what a run that died may have sent is known. Where nothing can be written, people are
notified all the same.
"""

import secrets
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import Unreadable
from canary.domain.incident import (
    REMIND_EVERY,
    RUN_IS_OVER_AFTER,
    DateMemory,
    Incident,
    NotificationKind,
    Outcome,
    Receipt,
    Situation,
    acknowledged,
    answered,
    became_a_problem_at,
    closed,
    due,
    expire,
    follow,
    group_of,
    held,
    is_stretch,
    knows,
    sending,
    slot_is_due,
)
from canary.domain.memory import (
    Documents,
    Refusal,
    Runs,
    after_a_run,
    canary_ref,
    month_fields,
    month_ref,
    read_date,
    read_month,
    read_runs,
    runs_fields,
)
from canary.domain.path.text import path_text
from canary.domain.silence import PEOPLE, read_acknowledgements, read_silences
from canary.domain.verdict import Verdict, VerdictKind, level
from canary.notify.channel import Channels, Notification, NotifyError
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore

# For all that a run writes; what takes longer is done without memory.
_SECONDS = 20.0
_ATTEMPTS = 3
# As many dates as one message has room for.
_DATES_AT_ONCE = 24
_PATH_CHARACTERS = 200


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


class Judged(msgspec.Struct, frozen=True):
    """What a run has judged: the verdicts, and the dates whose set is complete.

    `everything`: it looked at all that it follows, so that what is missing is looked at no longer. `left_out` are the
    dates that nobody judged while the canary was away, in a word to people; empty where there are none.
    """

    verdicts: Sequence[Verdict]
    complete: frozenset[tuple[str, date]] = frozenset()
    everything: bool = True
    left_out: str = ""


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
    run = _Notifying(store, remembered, judged, channels, phases=phases, now=now, deadline=deadline)
    for phase in run.phases():
        run.notify_of(phase)
    if judged.everything:
        run.remember_the_run()
    run.remember_by_itself()
    return Notified(run.failures, tuple(run.untold), run.failure)


class _Plan(msgspec.Struct):
    """What a run makes of one phase: what was `known`, `followed` by the verdicts, and `after` what will be sent.

    `due` are the messages, by date and channel; `verdicts` has a verdict for each of those dates.
    """

    known: dict[date, DateMemory]
    followed: dict[date, DateMemory]
    after: dict[date, DateMemory]
    due: dict[date, dict[str, NotificationKind]]
    verdicts: dict[date, Verdict]

    @property
    def changes(self) -> dict[date, DateMemory]:
        return {day: memory for day, memory in self.after.items() if memory != self.known[day]}


class _Notifying:
    """One run's notifying, from what is due to what came of it."""

    def __init__(
        self,
        store: DocumentStore,
        remembered: Documents | Unreadable,
        judged: Judged,
        channels: Channels,
        *,
        phases: Mapping[str, Phase],
        now: datetime,
        deadline: Deadline,
    ) -> None:
        self._store, self._judged, self._channels, self._phases = store, judged, channels, phases
        self._run, self._deadline = deadline, Deadline(min(_SECONDS, deadline.left()))
        self._is_readable = not isinstance(remembered, Unreadable)
        self._documents: dict[DocumentRef, Document] = {} if isinstance(remembered, Unreadable) else {**remembered}
        self.failure = remembered.reason if isinstance(remembered, Unreadable) else ""
        self._ref, people = canary_ref(channels.canary), self._documents.get(PEOPLE)
        self._runs = read_runs(self._documents.get(self._ref))
        self._silences, self._acknowledgements = read_silences(people), read_acknowledgements(people)
        names = channels.by_name
        self._refusals = {
            name: kept
            for name, kept in self._runs.refusals.items()
            if name in names and kept.address == names[name].address
        }
        refused = {name: one for name, one in self._refusals.items() if _is_left_alone(one, now)}
        self.failures = {name: one.reason for name, one in refused.items()}
        self.untold: list[str] = []
        self._heard: set[str] = set()
        self._gone: dict[str, Refusal] = {}
        self._open: dict[str, str] = {}
        addresses = {name: channel.address for name, channel in names.items()}
        self._situation = Situation(now=now, run=secrets.token_hex(8), addresses=addresses, refused=tuple(refused))

    def phases(self) -> list[str]:
        """Return the phases that have verdicts, and those that were removed and have something open."""
        judged = dict.fromkeys(verdict.phase for verdict in self._judged.verdicts)
        removed = [phase for phase, oldest in self._runs.open.items() if oldest and phase not in self._phases]
        return [*judged, *(removed if self._judged.everything else ())]

    def notify_of(self, phase: str) -> None:
        """Commit what is about to be sent of a phase, send it, and note the answers."""
        verdicts = {v.game_date: v for v in self._judged.verdicts if v.phase == phase}
        if not self._is_readable:
            self._without_memory(phase, {}, verdicts)
            return
        failed, plan = "", self._plan(phase, verdicts)
        for _ in range(_ATTEMPTS):
            if self._run.is_over:
                self._leave_untold_what_is_due(plan, f"the run has taken more than {self._run.seconds:g} s")
                return
            if not plan.changes:
                self._send(phase, plan)
                return
            is_done, failed = self._commit(phase, plan.changes)
            if is_done:
                self._send(phase, plan)
                return
            if not self._read_again(phase):
                break
            if self._is_mine(phase, plan):  # only the answer was lost, or the write came late
                self._send(phase, plan)
                return
            plan = self._plan(phase, verdicts)
        if failed:
            self.failure = failed
            self._without_memory(phase, plan.followed, verdicts)
        else:
            self._leave_untold_what_is_due(plan, "other runs were first, each time")

    # What is due

    def _plan(self, phase: str, verdicts: Mapping[date, Verdict]) -> _Plan:
        known = {day: memory for ref in self._months(phase) for day, memory in self._read(ref).items()}
        known |= {day: self._known(phase, day) for day in verdicts}
        followed, shown = dict(known), dict(verdicts)
        for day, verdict in verdicts.items():
            is_complete = (phase, day) in self._judged.complete
            followed[day] = follow(known[day], verdict, self._of(phase, day), is_complete=is_complete)
        for day in [day for day, memory in known.items() if memory.open and day not in verdicts]:
            if self._judged.everything:
                followed[day] = expire(known[day], self._of(phase, day))
                shown[day] = self._no_longer_watched(phase, day, followed[day])
        groups = self._groups(followed, shown)
        after, due_now = {}, dict[date, dict[str, NotificationKind]]()
        for day, memory in sorted(followed.items()):
            after[day] = memory
            if day not in shown or memory.open is None:
                continue
            situation = replace(
                self._of(phase, day),
                gone=day not in verdicts,
                group_at=groups.get(group_of(shown[day]), {}),
                stretch=[name for name in self._channels.by_name if self._knows_a_stretch(followed, name)],
            )
            kinds = {
                name: kind for name in self._channels.by_name if (kind := due(memory, name, shown[day], situation))
            }
            if kinds:
                due_now[day] = kinds
                why = one_line(path_text(shown[day]) or shown[day].summary, _PATH_CHARACTERS)
                after[day] = sending(memory, kinds, shown[day], why, situation)
            else:
                after[day] = closed(memory, situation)
        self._open[phase] = min((f"{day:%Y-%m}" for day, memory in after.items() if memory.open), default="")
        return _Plan(known, followed, after, due_now, shown)

    def _of(self, phase: str, day: date) -> Situation:
        """Return what holds for one date: what people said of it, and which channels are not tried."""
        now = self._situation.now
        acknowledgements = [one for one in self._acknowledgements if (one.phase, one.game_date) == (phase, day)]
        return replace(
            self._situation,
            phase=self._phases.get(phase),
            down=tuple(self.failures),
            silenced=any(silence.is_of(phase, day, now) for silence in self._silences),
            acknowledgements=tuple(acknowledgements),
        )

    def _groups(
        self, followed: Mapping[date, DateMemory], verdicts: Mapping[date, Verdict]
    ) -> dict[Hashable, dict[str, datetime]]:
        """Return when each channel was last sent something of each group of dates."""
        groups: dict[Hashable, dict[str, datetime]] = {}
        for day, memory in followed.items():
            receipts = memory.open.receipts if memory.open and day in verdicts else {}
            for name, receipt in receipts.items():
                last = groups.setdefault(group_of(verdicts[day]), {})
                last[name] = max(receipt.at, last.get(name, receipt.at))
        return groups

    def _knows_a_stretch(self, followed: Mapping[date, DateMemory], name: str) -> bool:
        now = self._situation.now
        return any(is_stretch(one, name, now) for memory in followed.values() for one in memory.incidents)

    def _no_longer_watched(self, phase: str, day: date, memory: DateMemory) -> Verdict:
        """Return the verdict of a date that no run looks at any more: as it was seen last."""
        is_kept = phase in self._phases
        why = "it is older than the dates that are read" if is_kept else f"{phase} is not in the phases file any more"
        kind = memory.open.kind if memory.open else VerdictKind.UNKNOWN
        seen = f"; last seen {kind} at {self._runs.at:%Y-%m-%d %H:%M}Z" if self._runs.at else ""
        summary = f"no longer watched: {why}{seen}"
        return Verdict(kind=VerdictKind.UNKNOWN, phase=phase, game_date=day, summary=summary)

    # Documents

    def _months(self, phase: str) -> list[DocumentRef]:
        prefix = month_ref(self._channels.canary, phase, "").id
        refs = [ref for ref in self._documents if ref.collection == self._ref.collection and ref.id.startswith(prefix)]
        return sorted(refs)

    def _read(self, ref: DocumentRef) -> dict[date, DateMemory]:
        return read_month(self._documents.get(ref), self._situation.now)

    def _known(self, phase: str, day: date) -> DateMemory:
        ref = month_ref(self._channels.canary, phase, f"{day:%Y-%m}")
        return read_date(self._documents.get(ref), day, self._situation.now)

    def _writes(
        self, phase: str, changes: Mapping[date, DateMemory]
    ) -> list[tuple[DocumentRef, Mapping[str, Any], str | None]]:
        months: dict[DocumentRef, dict[date, DateMemory]] = {}
        for day, memory in changes.items():
            months.setdefault(month_ref(self._channels.canary, phase, f"{day:%Y-%m}"), {})[day] = memory
        return [
            (ref, month_fields(self._documents.get(ref), dates), self._version(ref)) for ref, dates in months.items()
        ]

    def _version(self, ref: DocumentRef) -> str | None:
        return self._documents[ref].version if ref in self._documents else None

    def _commit(self, phase: str, changes: Mapping[date, DateMemory]) -> tuple[bool, str]:
        """Write what has changed unless another run was first; returns whether it was done, and why nobody knows."""
        try:
            return self._within_time.commit(self._writes(phase, changes)), ""
        except StoreError as error:
            return False, _reason(error)

    def _read_again(self, phase: str) -> bool:
        days = [verdict.game_date for verdict in self._judged.verdicts if verdict.phase == phase]
        months = [month_ref(self._channels.canary, phase, f"{day:%Y-%m}") for day in days]
        refs = [*{*self._months(phase), *months}]
        try:
            found = self._within_time.get_all(refs)
        except StoreError as error:
            self.failure = _reason(error)
            return False
        self._documents = {ref: one for ref, one in self._documents.items() if ref not in refs} | found
        return True

    @property
    def _within_time(self) -> DocumentStore:
        """The store, as long as there is time."""
        if self._deadline.is_over:
            raise StoreError(f"memory could not be written within {self._deadline.seconds:g} s")
        return self._store

    def _is_mine(self, phase: str, plan: _Plan) -> bool:
        """Whether what was about to be sent is written down as this run's."""
        known = [self._known(phase, day).open for day in plan.due]
        return any(
            one.run == self._situation.run for incident in known if incident for one in incident.receipts.values()
        )

    # Sending

    def _send(self, phase: str, plan: _Plan) -> None:
        outcomes: dict[date, dict[str, Outcome]] = {day: {} for day in plan.due}
        for name in self._channels.by_name:
            wanted = [
                self._notification(plan, day, kinds[name], name) for day, kinds in plan.due.items() if name in kinds
            ]
            for some in _batches(wanted):
                for day, outcome in self._outcomes(name, some).items():
                    outcomes[day][name] = outcome
        for day in plan.after:
            self._note_untold(phase, plan, day, outcomes.get(day, {}))
        if plan.due:
            self._note(phase, plan, outcomes)

    def _outcomes(self, name: str, wanted: Sequence[Notification]) -> dict[date, Outcome]:
        days = [one.verdict.game_date for one in wanted]
        if self._run.is_over or name in self.failures:  # also if it was frozen since it committed
            return dict.fromkeys(days, Outcome.NOT_POSTED)
        sent, error = self._channels.send(name, wanted, self._situation.now)
        heard = {one.verdict.game_date for one in sent}
        self._heard |= {name} if heard else set()
        if error is not None:
            self.failures[name] = _reason(error)
        if isinstance(error, NotifyError) and error.gone:
            self._gone[name] = Refusal(self._situation.addresses[name], self._situation.now, self.failures[name])
        may_be = isinstance(error, NotifyError) and error.may_be_posted
        otherwise = Outcome.NOT_KNOWN if may_be else Outcome.NOT_POSTED
        outcomes = {day: Outcome.HEARD if day in heard else otherwise for day in days}
        own, phase = self._channels.memory, wanted[0].verdict.phase
        posted = [day for day, outcome in outcomes.items() if outcome is not Outcome.NOT_POSTED]
        own.told_at |= {(name, phase, day): self._situation.now for day in posted}
        return outcomes

    def _notification(self, plan: _Plan, day: date, kind: NotificationKind, name: str) -> Notification:
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
        note = "; ".join(self._words(plan, day, kind, name, incident))
        return Notification(kind, incident, verdict, note, tuple(also))

    def _words(self, plan: _Plan, day: date, kind: NotificationKind, name: str, incident: Incident) -> Iterator[str]:
        """Yield what has to be said beside the verdict: what people said of it, and what may not have been heard."""
        now, phase = self._situation.now, plan.verdicts[day].phase
        yield from (one.text for one in self._of(phase, day).acknowledgements if one.opened_at == incident.opened_at)
        yield from (f"silenced: {one.text}" for one in self._silences if one.is_of(phase, day, now))
        if self._runs.at is None and self._judged.everything and kind is NotificationKind.OPENED:
            yield "how things stand at the first run of the canary"
        receipt: Receipt | None = incident.receipts.get(name)
        if kind.is_end and receipt is not None and not receipt.began:
            yield f"began {incident.opened_at:%Y-%m-%d %H:%M}Z; the message that it began may not have reached you"

    def _note(self, phase: str, plan: _Plan, outcomes: Mapping[date, Mapping[str, Outcome]]) -> None:
        """Write down what came of the messages; where that fails, they may have been heard."""
        failed = ""
        for _ in range(_ATTEMPTS):
            before = self.failure
            if not self._read_again(phase):
                failed, self.failure = self.failure, before
                continue
            now_known = {day: self._known(phase, day) for day in outcomes}
            noted = {
                day: answered(now_known[day], mine, plan.followed[day], self._of(phase, day))
                for day, mine in outcomes.items()
            }
            changes = {day: memory for day, memory in noted.items() if memory != now_known[day]}
            is_done, failed = self._commit(phase, changes) if changes else (True, "")
            if is_done:
                still_open = [day for day, memory in {**plan.after, **noted}.items() if memory.open]
                self._open[phase] = min((f"{day:%Y-%m}" for day in still_open), default="")
                return
        self.failure = failed or self.failure

    # Who was not notified

    def _leave_untold_what_is_due(self, plan: _Plan, reason: str) -> None:
        for day in plan.due:
            if plan.verdicts[day].kind.is_problem and not self._is_known(plan, day):
                self._leave_untold(plan.verdicts[day], reason)

    def _note_untold(self, phase: str, plan: _Plan, day: date, outcomes: Mapping[str, Outcome]) -> None:
        """Note a date of which nobody was notified: no channel took it, or another run was about to send it."""
        verdict, situation = plan.verdicts.get(day), self._of(phase, day)
        if verdict is None or verdict.kind.is_quiet or self._is_known(plan, day):
            return
        if {*outcomes.values()} == {Outcome.NOT_POSTED}:
            self._leave_untold(verdict, "no channel took it")
        elif not outcomes and any(held(plan.known[day], name, situation) for name in self._channels.by_name):
            self._leave_untold(verdict, "another run was about to send it")  # and may have died

    def _is_known(self, plan: _Plan, day: date) -> bool:
        """Whether a channel had heard of the incident before this run."""
        memory, situation = plan.followed[day], self._situation
        return any(
            knows(memory, name, situation) and not held(memory, name, situation) for name in self._channels.by_name
        )

    def _leave_untold(self, verdict: Verdict, reason: str) -> None:
        self.untold.append(f"{verdict.phase} {verdict.game_date}: {reason}")

    # Without memory

    def _without_memory(self, phase: str, known: Mapping[date, DateMemory], verdicts: Mapping[date, Verdict]) -> None:
        """Send what a problem's age asks for; what is remembered says which kind it is, where it can be read."""
        note = f"sent without memory, once in 4 hours, and not when it is over: {self.failure}"
        wanted: dict[str, list[Notification]] = {}
        for day, verdict in verdicts.items():
            if self._run.is_over or not (verdict.kind.is_problem or verdict.unreadable):
                continue
            memory = known.get(day) or follow(DateMemory(), verdict, self._of(phase, day))
            for name, kind in self._kinds_without_memory(phase, verdict, memory).items():
                incident = memory.open or Incident(
                    kind=verdict.kind, level=level(verdict), opened_at=self._situation.now
                )
                wanted.setdefault(name, []).append(Notification(kind, incident, verdict, note))
        own = self._channels.memory
        for name, every in wanted.items():
            for some in _batches(every):
                self._outcomes(name, some)
        for day, verdict in verdicts.items():
            is_known = any((name, phase, day) in own.told_at for name in self._channels.by_name)
            is_silenced = self._is_readable and self._of(phase, day).silenced
            if verdict.kind.is_problem and not is_known and not is_silenced:
                self._leave_untold(verdict, "nobody knows whether anybody was notified before")

    def _kinds_without_memory(self, phase: str, verdict: Verdict, memory: DateMemory) -> dict[str, NotificationKind]:
        own, situation, day = self._channels.memory, self._of(phase, verdict.game_date), verdict.game_date
        if situation.silenced and self._is_readable:
            return {}
        first = own.first_seen.get((phase, day), own.unseen_before(situation.now))
        kinds = {}
        for name in self._channels.by_name:
            last = own.told_at.get((name, phase, day))
            is_held = memory.open is not None and acknowledged(memory.open, name, situation) is not None
            if (
                name in self.failures
                or is_held
                or not slot_is_due(verdict, self._phases[phase], situation.now, last, first)
            ):
                continue
            is_old = situation.now - became_a_problem_at(verdict, self._phases[phase]) >= REMIND_EVERY
            is_again = (
                knows(memory, name, situation)
                or last is not None
                or (first is None and verdict.since is not None and is_old)
            )
            kinds[name] = NotificationKind.REMINDER if is_again else NotificationKind.OPENED
        return kinds

    # The canary itself

    def remember_the_run(self) -> None:
        """Keep when the canary ran, what it did not see, and which channels are refused; say what is new of these."""
        new = {name: one for name, one in self._gone.items() if name not in self._refusals}
        is_ours: bool | None = None
        for _ in range(_ATTEMPTS if self._is_readable and not self._run.is_over else 0):
            after = self._after(self._runs)
            try:
                is_ours = self._within_time.commit([(self._ref, runs_fields(after), self._version(self._ref))])
                if is_ours:
                    break
                self._documents |= self._within_time.get_all([self._ref])
            except StoreError:
                is_ours = None
                break
            self._runs = read_runs(self._documents.get(self._ref))
            new = {name: one for name, one in new.items() if name not in self._runs.refusals}
        own = self._channels.memory
        for name, refusal in new.items():
            if is_ours or (is_ours is None and name not in own.warned_of):
                self._warn(
                    refusal_text(name, refusal), [other for other in self._channels.by_name if other not in self._gone]
                )
        if self._judged.left_out and is_ours:
            self._warn(self._judged.left_out, [name for name in self._channels.by_name if name not in self.failures])
        own.warned_of = (own.warned_of | {*self._gone}) - self._heard

    def _after(self, runs: Runs) -> Runs:
        verdicts, now = self._judged.verdicts, self._situation.now
        reason = next((one_line(verdict.summary) for verdict in verdicts if verdict.unreadable), "")
        first = {name: phase.recent_dates(now, phase.lookback_dates)[0] for name, phase in self._phases.items()}
        kept = {
            name: one
            for name, one in {**runs.refusals, **self._gone}.items()
            if name not in self._heard and name in self._channels.by_name
        }
        return replace(
            after_a_run(runs, now, reason),
            judged_from={**runs.judged_from, **first},
            open={**runs.open, **self._open},
            refusals=kept,
        )

    def remember_by_itself(self) -> None:
        """Keep in the process what it saw, for when nothing can be remembered."""
        own, now = self._channels.memory, self._situation.now
        loud = [(v.phase, v.game_date) for v in self._judged.verdicts if not v.kind.is_quiet]
        own.first_seen = {key: own.first_seen.get(key, own.unseen_before(now)) for key in loud}
        own.told_at = {key: at for key, at in own.told_at.items() if key[1:] in own.first_seen}
        own.ran_at = now

    def _warn(self, text: str, names: Iterable[str]) -> None:
        for name in names:
            if (error := self._channels.warn(name, text, self._situation.now)) is not None:
                self.failures[name] = _reason(error)


def _batches(notifications: Sequence[Notification]) -> list[Sequence[Notification]]:
    starts = range(0, len(notifications), _DATES_AT_ONCE)
    return [notifications[first : first + _DATES_AT_ONCE] for first in starts]


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
    is_ours = isinstance(error, (NotifyError, StoreError))
    return one_line(str(error) if is_ours else f"{type(error).__name__}: {error}")
