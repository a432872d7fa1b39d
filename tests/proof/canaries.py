"""Canary runs over an incident's life, in every order: the subject and its invariants.

What is taken is `gather` and `notify`. A life is written `bwgg`: what the verdict is in each round,
a problem (b), a worse one (w), or all is well (g); `3bg` is one with three canaries instead of two,
`bg+` one in which somebody acknowledges at any moment, `bg-` one in which somebody silences the
date at any moment, for that round. In each round every canary runs; when all have ended or died,
`tick`: 15 minutes pass. Some more rounds follow in which nothing fails. Each canary is a process:
what it remembers by itself is gone when it dies. One that freezes neither commits nor sends once it
thaws, so that it is one that died. An operation is one on the documents, or a message to a channel;
of one that fails nobody knows whether it was posted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from canary import sources
from canary.domain.advance import Judged
from canary.domain.incident import NotificationKind
from canary.domain.remembered import DEFAULT_CANARY, month_ref, read_date
from canary.domain.silence import (
    Acknowledgement,
    Silence,
    acknowledgement_fields,
    people_ref,
    read_silences,
    silence_fields,
)
from canary.domain.slots import OwnMemory
from canary.domain.verdict import Impact, Level, Verdict, VerdictKind
from canary.notify import incidents
from canary.notify.channel import Channels, NotifyError
from canary.notify.incidents import notify_channels
from canary.sources import gather
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.stores.base import Document, DocumentRef
from tests.proof.doubles import Operation, PlainStores, RecordingChannel, StoresOf, Value, Watched
from tests.proof.explorer import DIED, Ask, Move, Run, State, Subject, frozen

PHASE = load_phase("phase2", BUNDLED_PHASES)
PEOPLE = people_ref(DEFAULT_CANARY)
DAY = date(2026, 2, 9)
REF = month_ref(DEFAULT_CANARY, PHASE.name, "2026-02")
NOON = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
TICK = timedelta(minutes=15)
CHANNELS: Final = ("log", "slack")
# As many as it takes to note that all is well, to say so, and to say so again after a lost answer.
_CLOSING = "ggg"
_BAD = Verdict(
    kind=VerdictKind.UNTRIGGERED,
    phase=PHASE.name,
    game_date=DAY,
    summary="",
    since=NOON - timedelta(minutes=40),
)
_VERDICTS = {
    "b": _BAD,
    "w": replace(_BAD, impact=Impact.BLOCKED),
    "g": replace(_BAD, kind=VerdictKind.TRIGGERED, since=None),
}
# What a channel was told, in which round, and whether with a word that the beginning may not have
# been heard.
Heard = Sequence[tuple[str, int, bool]]
_ACKNOWLEDGED = Acknowledgement(
    phase=PHASE.name, game_date=DAY, at=NOON, opened_at=NOON, level=Level.CRITICAL, by="somebody"
)


class Era(NamedTuple):
    """A round: whether a fault befell it, and the verdicts of earlier rounds without a fault."""

    round: int = 0
    has_failed: bool = False
    calm: frozenset[str] = frozenset()


class View(NamedTuple):
    """The era, how many faults there were, and whether all of the round has happened."""

    era: Era
    faults: int
    is_over: bool


class Canaries(Subject):
    """Some canaries over one life."""

    era = Era()

    def __init__(self, life: str) -> None:
        count, life = (int(life[0]), life[1:]) if life[0].isdigit() else (2, life)
        self._says, life = life[len(life.rstrip("+-")) :], life.rstrip("+-")
        self._life, self._failing = life + _CLOSING, len(life)
        self._memories: dict[Any, OwnMemory] = {}
        self._empty = self._remembered(OwnMemory())
        self.first = [Run(number, (0, self._empty)) for number in range(count)]
        self._run_id = ""

    def documents(self, stores: Any) -> Any:
        """Return the documents of a run."""
        return stores

    def take(self, run: Run, ask: Ask) -> Any:
        """Read the documents and act on the verdict as the function does; return the memory."""
        round_, memory = run.kind
        self._run_id = f"{round_}/{run.number}"
        channels = Channels(*(_channel(name, round_, ask) for name in CHANNELS))
        own = self._memories[memory]
        channels.memory = OwnMemory(
            dict(own.told), dict(own.first_seen), own.ran_at, set(own.warned_of)
        )
        now = NOON + round_ * TICK + run.number * timedelta(seconds=1)
        documents = self.documents(Watched(PlainStores(), lambda operation, _: ask(operation)))
        stores: Any = StoresOf(documents, SimpleNamespace(summarise=lambda *_: []))
        phases = {PHASE.name: PHASE}
        remembered = gather(stores, {PHASE.name: [DAY]}, phases, now=now).remembered
        judged = Judged([_VERDICTS[self._life[round_]]])
        notify_channels(
            documents, remembered, judged, channels, phases=phases, now=now, deadline=Deadline(60)
        )
        return self._remembered(channels.memory)

    def after(self, run: Run, outcome: Any) -> Run:
        """Nothing until the next round."""
        assert not isinstance(outcome, Exception), outcome
        round_, _ = run.kind
        return Run(run.number, (round_, self._empty if outcome is DIED else outcome), is_over=True)

    def moves(self, state: State) -> Iterator[Move]:
        """Let 15 minutes pass; who wrote a document, and when, is of no account then."""
        era: Era = state.era
        stored = state.stored.value.documents
        if self._says and PEOPLE not in stored:
            said = Document(_said(era.round)[self._says], "1")
            yield Move("say", (), value=Value({**stored, PEOPLE: said}), era=era)
        if not _is_over(state) or era.round + 1 == len(self._life):
            return
        documents = {
            ref: replace(one, version="1") for ref, one in state.stored.value.documents.items()
        }
        runs = [
            Run(course.run.number, (era.round + 1, course.run.kind[1])) for course in state.courses
        ]
        verdict = self._life[era.round]
        before = era.calm if verdict == "g" else era.calm - {"g"}
        calm = before if era.has_failed else before | {verdict}
        yield Move("tick", runs, value=Value(documents), era=Era(era.round + 1, calm=calm))

    def failed(self, era: Any) -> Any:
        """Note a fault of this round; in the closing ones there is none."""
        return Era(era.round, has_failed=True, calm=era.calm) if era.round < self._failing else None

    def known_surroundings(self) -> ExitStack:
        """Give a retaken run the same id, and let it read one source after the other."""
        with ExitStack() as stack:
            ids = SimpleNamespace(token_hex=lambda _: self._run_id)
            stack.enter_context(patch.object(incidents, "secrets", ids))
            stack.enter_context(patch.object(sources, "Background", AtOnce))
            return stack.pop_all()

    def view(self, state: State) -> View:
        """Return how far it is."""
        return View(state.era, state.faults, _is_over(state))

    def violations_of_step(self, before: Value, after: Value) -> Iterator[str]:
        """What people say is never written by a run."""
        if PEOPLE in before.documents and after.fields(PEOPLE) != before.fields(PEOPLE):
            yield "what somebody said is lost"

    def violations_of_state(self, value: Value, view: Any) -> Iterator[str]:
        """Each channel hears each thing once and in order, and once more at most for each fault."""
        for name in CHANNELS:
            heard_here = heard(value, name)
            told = [kind for kind, _, _ in heard_here]
            if (
                told
                and told[0] != "OPENED"
                and not (told[0] == "RESOLVED" and heard_here[0][2] and view.faults)
            ):
                yield f"{name} was told {told[0]} before OPENED"
            if "RESOLVED" in told and {*told[told.index("RESOLVED") :]} != {"RESOLVED"}:
                yield f"{name} was told {told}"
            if unfounded := {*told} - {"OPENED", "CHANGED", "RESOLVED"}:
                yield f"{name} was told {sorted(unfounded)}"
            if (more := len(told) - len({*told})) > view.faults:
                yield f"{name} was told {more} times again, after {view.faults} faults"
        if view.is_over and not view.era.has_failed:
            for name in CHANNELS:
                yield from self._violations_of_a_round(name, value, view.era)
            if view.era.round + 1 == len(self._life):
                yield from _left(value, NOON + view.era.round * TICK, view.faults)

    def _violations_of_a_round(self, name: str, value: Value, era: Era) -> Iterator[str]:
        """Say what a channel was not told at the end of a round in which nothing failed.

        Of what was sent without memory nobody knows, so that its end is not promised.
        """
        told, now = heard(value, name), NOON + era.round * TICK
        silences = read_silences(value.documents.get(PEOPLE))
        is_silenced = any(silence.covers(_BAD, now) for silence in silences)
        is_remembered = bool(read_date(value.documents.get(REF), DAY, now).incidents)
        verdict = self._life[era.round]
        worse = self._life.find("w")
        kinds = {kind for kind, _, _ in told}
        if verdict != "g" and "OPENED" not in kinds and not is_silenced:
            yield f"{name} was not told OPENED"
        if verdict == "w" and not any(number >= worse for _, number, _ in told) and not is_silenced:
            yield f"{name} was not told that it is worse"
        if (
            verdict == "g"
            and "g" in era.calm
            and is_remembered
            and "OPENED" in kinds
            and "RESOLVED" not in kinds
        ):
            yield f"{name} was not told RESOLVED"

    def shown(self, value: Value) -> str:
        """Return what each channel has heard."""
        return str({name: " ".join(kind for kind, *_ in heard(value, name)) for name in CHANNELS})

    def _remembered(self, memory: OwnMemory) -> Any:
        key = (
            frozen(memory.told),
            frozen(memory.first_seen),
            memory.ran_at,
            frozenset(memory.warned_of),
        )
        self._memories.setdefault(key, memory)
        return key


def _said(round_: int) -> dict[str, dict[str, Any]]:
    """Return what somebody may say in a round: an acknowledgement, or a silence for it."""
    ends = NOON + (round_ + 1) * TICK - timedelta(seconds=1)
    silence = Silence(
        id="1", phase=PHASE.name, first=DAY, last=DAY, reason="a reason", expires_at=ends
    )
    return {"+": acknowledgement_fields(None, _ACKNOWLEDGED), "-": silence_fields({"1": silence})}


def heard(value: Value, channel: str) -> Heard:
    """Return what a channel was told, and in which rounds."""
    told: Heard = value.fields(DocumentRef("told", channel)).get("heard", ())
    return told


def _channel(name: str, round_: int, ask: Ask) -> Any:
    """Return a channel; what it heard, and in which round, is kept as a document."""

    def watch(operation: Operation, _: Callable[[], Any]) -> None:
        ((notification,), _now) = operation.arguments
        try:
            sent = (
                notification.kind.value,
                round_,
                "may not have reached you" in notification.note,
            )
            ask(Operation("hear", (DocumentRef("told", name), sent)))
        except StoreError as error:
            raise NotifyError("injected", may_be_posted=True) from error

    return Watched(RecordingChannel(name), watch, ["send"])


def _is_over(state: State) -> bool:
    return not state.late and all(course.run.is_over for course in state.courses)


def _left(value: Value, now: datetime, faults: int) -> Iterator[str]:
    """Say what is left at the end, and where the history is not what was sent.

    Without memory nothing can be noted.
    """
    memory = read_date(value.documents.get(REF), DAY, now)
    if memory.open is not None:
        yield "the incident is left open at the end"
    events = [event for incident in memory.incidents for event in incident.events]
    for name, kind in product(CHANNELS, NotificationKind):
        noted = sum(event.what == kind and name in event.to for event in events)
        unknown = sum(event.what == kind and name in event.unanswered for event in events)
        count = sum(told == kind for told, _, _ in heard(value, name))
        if not noted <= count <= noted + unknown + faults:
            yield f"the history is not what {name} was sent of {kind}"


class Unversioned(Canaries):
    """Wrong: writes whatever has been written meanwhile."""

    def documents(self, stores: Any) -> Any:
        """Return documents that compare no versions."""

        def watch(operation: Operation, _: Callable[[], Any]) -> bool:
            for ref, fields, _version in operation.arguments[0]:
                stores.overwrite(ref, fields)
            return True

        return Watched(stores, watch, ["commit"])


class Unnoted(Canaries):
    """Wrong: writes no receipts before it sends, but says so."""

    def documents(self, stores: Any) -> Any:
        """Return documents whose first commit of a run never happens."""
        committed = list[Operation]()

        def watch(operation: Operation, do: Callable[[], Any]) -> Any:
            committed.append(operation)
            return len(committed) == 1 or do()

        return Watched(stores, watch, ["commit"])
