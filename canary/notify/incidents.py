"""Each notification reaches each channel once: claimed in its incident's document before it is sent, confirmed after.

The incidents are documents beside the progress documents, one for each (phase, game date), and each stands alone. Where
they cannot be read or written, people are told all the same, without memory.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from canary.domain.documents import to_fields
from canary.domain.history import history_fields, history_ref
from canary.domain.incident import (
    OPEN_INCIDENTS,
    REFUSALS,
    RUN_EVERY,
    Incident,
    NotificationKind,
    Run,
    Step,
    advance,
    delivered,
    dismiss,
    incident_ref,
    kind_without_memory,
    read_incident,
)
from canary.domain.silence import SILENCES, read_silences
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels, Notification, NotifyError
from canary.notify.memory import Memory
from canary.notify.refusals import Refusal, is_left_alone, read_refusals, refusal_text
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.stores.base import DocumentRef, DocumentStore

T = TypeVar("T")
R = TypeVar("R")


class Notified(msgspec.Struct, frozen=True):
    """What came of notifying.

    `channels_failed` are the channels that could not be reached, with the reason. `untold` are the dates of which
    nobody was told although somebody had to be. `without_memory` is why something could not be remembered, if so.
    """

    channels_failed: Mapping[str, str] = msgspec.field(default_factory=dict)
    untold: tuple[str, ...] = ()
    without_memory: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what is worth a word; empty where all went well."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}


def notify(
    memory: Memory,
    verdicts: Sequence[Verdict],
    channels: Channels,
    *,
    phases: Mapping[str, Phase],
    now: datetime,
    follow_up: bool = True,
) -> Notified:
    """Take `verdicts` into the incidents as they were read, and tell each channel what it does not know yet.

    A silenced date is left as it is, unless it is well again. A date that another run has changed meanwhile is left to
    that run. With `follow_up`, open incidents of which there is no verdict are closed: their date is no longer watched.
    A run that is past its time sends nothing.
    """
    work = _Notifying(memory, channels, phases, now)
    memory.fetch([ref for v in verdicts if not v.kind.is_quiet and (ref := _ref(v)) not in memory.incidents])
    decisions = [*work.of_verdicts(verdicts), *(work.of_dates_no_longer_watched(verdicts) if follow_up else ())]
    work.list_open_incidents(verdicts)
    for first in range(0, len(decisions), _DATES_AT_ONCE):  # people hear of the first before the last is claimed
        work.decide_and_send(decisions[first : first + _DATES_AT_ONCE])
    work.write_history()
    channels.memory.problems = (now, frozenset((v.phase, v.game_date) for v in verdicts if v.kind.is_problem))
    return Notified(work.failures, tuple(work.untold), memory.failure)


def confirm_what_is_left(documents: DocumentStore, channels: Channels) -> None:
    """Write down what an earlier run of this process sent and could not write down, unless others have gone on."""
    waiting = dict(channels.memory.unconfirmed)  # as it is now: another run of this process may be at it as well
    try:
        for ref, document in (documents.get_all([*waiting]) if waiting else {}).items():
            run, fields = waiting[ref]
            known = read_incident(document)
            if known is not None and known.claim is not None and known.claim.run == run:
                documents.merge(ref, fields)
        for ref in waiting:
            channels.memory.unconfirmed.pop(ref, None)
    except StoreError:
        return  # until the next run; as long those dates are left alone


# Dates that are claimed, told and confirmed together, as many as one message has room for; and writes at once.
_DATES_AT_ONCE, _WRITES_AT_ONCE = 24, 8

_Decision = Callable[[], "_Task | None"]


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has to send of one date, by channel; `claimed` unless it is sent without memory."""

    verdict: Verdict
    incident: Incident
    due: Mapping[str, NotificationKind]
    run: Run
    note: str = ""
    claimed: bool = True

    @property
    def ref(self) -> DocumentRef:
        return _ref(self.verdict)


class _Notifying:
    """One run's notifying, from what is due to what came of it."""

    def __init__(self, memory: Memory, channels: Channels, phases: Mapping[str, Phase], now: datetime) -> None:
        self.memory, self._channels, self._phases = memory, channels, phases
        self._silences = read_silences(memory.incidents.get(SILENCES))
        self._refusals = read_refusals(memory.incidents.get(REFUSALS), channels.by_name)
        self.failures = {name: one.reason for name, one in self._refusals.items() if is_left_alone(one, now)}
        self.untold: list[str] = []
        self._run = Run(now=now, id=secrets.token_hex(8), channels=tuple(channels.by_name), down=tuple(self.failures))
        self._gone: set[DocumentRef] = set()
        self._over: dict[tuple[str, date], Incident] = {}

    def of_verdicts(self, verdicts: Iterable[Verdict]) -> Iterator[_Decision]:
        """Yield what decides about each of these dates, and claims what has to be sent."""
        for verdict in verdicts:
            if not self._is_silenced(verdict):
                yield partial(self._guarded, self._task, verdict)

    def of_dates_no_longer_watched(self, verdicts: Iterable[Verdict]) -> Iterator[_Decision]:
        """Yield what decides about open incidents of which there is no verdict any more."""
        watched = {_ref(verdict) for verdict in verdicts}
        gone = [ref for ref in self.memory.open_incidents(self._channels.canary) if ref not in watched]
        self.memory.fetch(gone)
        self._gone = {*gone} - self.memory.unread
        for ref in gone:
            yield partial(self._guarded, self._dismissal, _no_longer_watched(ref, self._phases))

    def decide_and_send(self, decisions: Sequence[_Decision]) -> None:
        """Claim what is due, send it over each channel, and remember what was sent."""
        tasks = [task for task in _each(lambda decide: decide(), decisions) if task is not None]
        told: dict[DocumentRef, dict[str, NotificationKind]] = {task.ref: {} for task in tasks}
        errors: dict[str, Exception | None] = {}
        for name in self._run.channels:
            wanted = [Notification(t.due[name], t.incident, t.verdict, t.note) for t in tasks if name in t.due]
            is_late = self.memory.run.is_over  # also if it was frozen since it claimed them
            sent, errors[name] = (
                self._channels.send(name, wanted, self._run.now) if wanted and not is_late else ((), None)
            )
            for one in sent:
                told[_ref(one.verdict)][name] = one.kind
        _each(lambda task: self._settle(task, told[task.ref]), tasks)
        self.failures |= {name: _reason(error) for name, error in errors.items() if error is not None}
        heard = {name for kinds in told.values() for name in kinds}
        self._take_refusals(
            {name for name, error in errors.items() if isinstance(error, NotifyError) and error.gone}, heard
        )
        # What did not answer now is not waited for again: the next run tells it.
        self._run = replace(self._run, down=tuple(self.failures))

    def list_open_incidents(self, verdicts: Iterable[Verdict]) -> None:
        """Keep the list of the open incidents, by which a run finds them; before any is opened, so that none is lost.

        What this run closes is still in it, and a later run takes it out.
        """
        canary, failure = self._channels.canary, self.memory.failure
        quiet = {_ref(verdict) for verdict in verdicts if verdict.kind.is_quiet}
        wanted = [_ref(v) for v in verdicts if not v.kind.is_quiet and not self._is_silenced(v)]

        def changed() -> Mapping[str, Any]:
            before = self.memory.open_incidents(canary)
            after = [ref for ref in before if not self._is_over(ref, quiet)]
            after += [ref for ref in wanted if ref not in after]
            # Without a list the next run reads all of them.
            is_known = after == before and OPEN_INCIDENTS in self.memory.incidents
            return {} if is_known else {canary: [ref.id for ref in after]}

        self.memory.revise(OPEN_INCIDENTS, changed)
        if not wanted:
            self.memory.failure = failure  # nothing is lost

    def write_history(self) -> None:
        """Keep what is over, a document a month; that it cannot be kept holds up nobody."""
        months: dict[DocumentRef, dict[str, Any]] = {}
        for (phase, day), incident in self._over.items():
            months.setdefault(history_ref(phase, day), {}).update(history_fields(day, incident))
        for ref, fields in months.items():
            self.memory.merge(ref, fields)

    def _is_over(self, ref: DocumentRef, quiet: Collection[DocumentRef]) -> bool:
        known = self.memory.known(ref)
        return known.resolved if known is not None else ref in quiet or ref in self._gone

    def _note_the_end(self, verdict: Verdict, incident: Incident) -> None:
        if incident.resolved:
            self._over[verdict.phase, verdict.game_date] = incident

    def _guarded(self, decide: Callable[[Verdict], _Task | None], verdict: Verdict) -> _Task | None:
        """Decide about one date; whatever is odd about it, the others are told."""
        if self.memory.run.is_over and verdict.kind.is_problem:
            self._leave_untold(verdict, f"the run has taken more than {self.memory.run.seconds:g} s")
        if self.memory.run.is_over:
            return None
        try:
            return decide(verdict)
        except Exception as error:  # noqa: BLE001 (see above)
            self._leave_untold(verdict, _reason(error))
            return None

    def _is_silenced(self, verdict: Verdict) -> bool:
        return not verdict.kind.is_quiet and any(one.covers(verdict, self._run.now) for one in self._silences)

    def _task(self, verdict: Verdict) -> _Task | None:
        ref = _ref(verdict)
        if not self.memory.is_readable or ref in self.memory.unread:
            return self._without_memory(verdict, self._run.channels)
        if ref in self._channels.memory.unconfirmed:
            return None  # people were told; that is written down before the next run
        return self._claimed(verdict, self._run, advance(self.memory.known(ref), verdict, self._run))

    def _dismissal(self, verdict: Verdict) -> _Task | None:
        ref, up = _ref(verdict), tuple(name for name in self._run.channels if name not in self._run.down)
        run, known = replace(self._run, channels=up), self.memory.known(ref)  # nobody waits for one that is refused
        return None if known is None or known.resolved else self._claimed(verdict, run, dismiss(known, verdict, run))

    def _claimed(self, verdict: Verdict, run: Run, step: Step) -> _Task | None:
        ref = _ref(verdict)
        known, incident = self.memory.known(ref), step.incident
        if step.held and incident is not None and verdict.kind.is_problem and not incident.is_known_to(run.channels):
            self._leave_untold(verdict, "another run was about to tell of it")  # and may have died
        if step.held or incident is None or incident == known:
            return None
        try:
            if not self.memory.remember(ref, incident):
                return None
        except StoreError as error:
            self.memory.failure = _reason(error)
            return self._without_memory(verdict, step.due) if step.due else None
        self._note_the_end(verdict, incident)
        return _Task(verdict=verdict, incident=incident, due=step.due, run=run) if step.due else None

    def _without_memory(self, verdict: Verdict, names: Iterable[str]) -> _Task | None:
        """Return what has to be told of a problem by its age alone."""
        own, now = self._channels.memory, self._run.now
        incident = advance(None, verdict, self._run).incident
        if incident is None or not verdict.kind.is_problem:
            return None
        last = {name: own.told_at.get((name, verdict.phase, verdict.game_date)) for name in names}
        is_new = _is_new(verdict, own.problems, now)
        phase = self._phases[verdict.phase]
        kinds = {name: kind_without_memory(verdict, phase, now, at, is_new=is_new) for name, at in last.items()}
        due = {name: kind for name, kind in kinds.items() if kind is not None}
        if not due and not any(last.values()):
            self._leave_untold(verdict, "nobody knows whether anybody was told before")
        note = f"told without memory, once in 4 hours, and not when it is over: {self.memory.failure}"
        return _Task(verdict=verdict, incident=incident, due=due, run=self._run, note=note, claimed=False)

    def _settle(self, task: _Task, told: Mapping[str, NotificationKind]) -> None:
        """Remember whom a date was told, or give back the claim."""
        verdict, own = task.verdict, self._channels.memory
        after = delivered(task.incident, verdict, told, task.run)
        own.told_at |= {(name, verdict.phase, verdict.game_date): self._run.now for name in told}
        if task.due and not told and {*task.due, *self._run.down} >= {*self._run.channels}:
            self._leave_untold(verdict, "no channel took it")
        if task.claimed:
            self._note_the_end(verdict, after)
            fields = to_fields(after) if told else {"claim": None}
            if not self.memory.confirm(task.ref, fields) and told:
                own.unconfirmed[task.ref] = (self._run.id, fields)
        elif told and self.memory.is_readable:
            self.memory.merge(task.ref, to_fields(after))

    def _take_refusals(self, gone: set[str], heard: set[str]) -> None:
        """Remember which addresses are refused for good, and tell of new ones through the channels that are left."""
        refused = {
            name: Refusal(self._channels.by_name[name].address, self._run.now, self.failures[name]) for name in gone
        }
        changed = {name: to_fields(refused[name]) for name in gone} | dict.fromkeys(heard & self._refusals.keys())
        own = self._channels.memory
        is_ours = self.memory.replace(REFUSALS, changed) if changed else False
        for name, refusal in refused.items():
            is_news = is_ours if is_ours is not None else name not in own.warned_of
            if is_news and name not in self._refusals:
                self._warn(refusal_text(name, refusal), [other for other in self._run.channels if other not in gone])
        own.warned_of = (own.warned_of | gone) - heard

    def _warn(self, text: str, names: Iterable[str]) -> None:
        for name in names:
            if (error := self._channels.warn(name, text, self._run.now)) is not None:
                self.failures[name] = _reason(error)

    def _leave_untold(self, verdict: Verdict, reason: str) -> None:
        self.untold.append(f"{verdict.phase} {verdict.game_date}: {reason}")


def _each(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do something with each, so many at once; a few are done one after the other."""
    if len(items) <= _WRITES_AT_ONCE:
        return [act(one) for one in items]
    with ThreadPoolExecutor(_WRITES_AT_ONCE) as threads:
        return list(threads.map(act, items))


def _no_longer_watched(ref: DocumentRef, phases: Mapping[str, Phase]) -> Verdict:
    """Return the verdict of a date that no run looks at any more."""
    phase, _, day = ref.id.rpartition(":")
    why = (
        "it is older than the dates that are read" if phase in phases else f"{phase} is not in the phases file any more"
    )
    return Verdict(
        kind=VerdictKind.UNKNOWN, phase=phase, game_date=date.fromisoformat(day), summary=f"no longer watched: {why}"
    )


def _is_new(verdict: Verdict, before: tuple[datetime, frozenset[tuple[str, date]]] | None, now: datetime) -> bool:
    """Whether the run before, if this process did it, has not seen the problem yet."""
    return (
        before is not None and now - before[0] < RUN_EVERY * 1.5 and (verdict.phase, verdict.game_date) not in before[1]
    )


def _reason(error: Exception) -> str:
    known = isinstance(error, (NotifyError, StoreError))
    return one_line(str(error) if known else f"{type(error).__name__}: {error}")


def _ref(verdict: Verdict) -> DocumentRef:
    return incident_ref(verdict.phase, verdict.game_date)
