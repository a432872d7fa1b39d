"""Two canary runs over an incident's life, in every order: the subject, its invariants, and two that are wrong.

What is taken is `confirm_what_is_left`, `gather` and `notify`. A life is written `bwgg`: what the verdict is in each
round, a problem (b), a worse one (w), or all is well (g). In each round both canaries run; when both have ended or
died, `tick`: 15 minutes pass. Some more rounds follow in which nothing fails. Each canary is a process: what it
remembers by itself is gone when it dies. An operation is one on the documents, or a message to a channel.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from canary import sources
from canary.domain.history import history_ref
from canary.domain.incident import OPEN_INCIDENTS, incident_ref, open_refs, read_incident
from canary.domain.verdict import Impact, Verdict, VerdictKind
from canary.notify import incidents
from canary.notify.channel import Channels, NotifyError
from canary.notify.incidents import confirm_what_is_left, notify
from canary.notify.memory import Memory, OwnMemory
from canary.sources import gather
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.stores.base import Document, DocumentRef
from tests.proof.doubles import Operation, PlainStores, RecordingChannel, StoresOf, Value, Watched
from tests.proof.explorer import DIED, Ask, Move, Run, State, Subject, frozen

PHASE = load_phase("phase2", BUNDLED_PHASES)
DAY = date(2026, 2, 9)
REF = incident_ref(PHASE.name, DAY)
NOON = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
TICK = timedelta(minutes=15)
CHANNELS: Final = ("log", "slack")
# As many as it takes to note that all is well, to say so, and to take it off the list.
_CLOSING = "ggg"
_BAD = Verdict(
    kind=VerdictKind.UNTRIGGERED, phase=PHASE.name, game_date=DAY, summary="", since=NOON - timedelta(minutes=40)
)
_VERDICTS = {
    "b": _BAD,
    "w": replace(_BAD, impact=Impact.BLOCKED),
    "g": replace(_BAD, kind=VerdictKind.TRIGGERED, since=None),
}
Heard = Sequence[tuple[str, int]]


class Era(NamedTuple):
    """A round; whether a fault befell it; what the verdicts were in the earlier rounds in which nothing failed."""

    round: int = 0
    has_failed: bool = False
    calm: frozenset[str] = frozenset()


class View(NamedTuple):
    """The era, how many faults there were, and whether all of the round has happened."""

    era: Era
    faults: int
    is_over: bool


class Canaries(Subject):
    """Two canaries over one life. With `strict`, who was told by a run that died has to hear in any case of the end."""

    era = Era()
    value = Value({OPEN_INCIDENTS: Document({"canary": []}, "1")})  # as the runs before have left it

    def __init__(self, life: str, *, strict: bool = False) -> None:
        self._life, self._failing, self._strict = life + _CLOSING, len(life), strict
        self._memories: dict[Any, OwnMemory] = {}
        self._empty = self._remembered(OwnMemory())
        self.first = [Run(number, (0, self._empty)) for number in (0, 1)]
        self._run_id = ""

    def documents(self, stores: Any) -> Any:
        """Return the documents of a run."""
        return stores

    def take(self, run: Run, ask: Ask) -> Any:
        """Read the documents, and do what the function does once it has its verdict; return what is remembered."""
        round_, memory = run.kind
        self._run_id = f"{round_}/{run.number}"
        channels = Channels(*(_channel(name, round_, ask) for name in CHANNELS))
        own = self._memories[memory]
        channels.memory = OwnMemory(dict(own.told_at), own.problems, dict(own.unconfirmed), set(own.warned_of))
        now = NOON + round_ * TICK + run.number * timedelta(seconds=1)
        documents = self.documents(Watched(PlainStores(), lambda operation, _: ask(operation)))
        confirm_what_is_left(documents, channels)
        stores: Any = StoresOf(documents, SimpleNamespace(summarise=lambda *_: []))
        read = gather(stores, {PHASE.name: [DAY]}, {PHASE.name: PHASE}).incidents
        memory_ = Memory(documents, read, Deadline(60))
        notify(memory_, [_VERDICTS[self._life[round_]]], channels, phases={PHASE.name: PHASE}, now=now)
        return self._remembered(channels.memory)

    def after(self, run: Run, outcome: Any) -> Run:
        """Nothing until the next round."""
        assert not isinstance(outcome, Exception), outcome
        round_, _ = run.kind
        return Run(run.number, (round_, self._empty if outcome is DIED else outcome), is_over=True)

    def moves(self, state: State) -> Iterator[Move]:
        """Let 15 minutes pass; who wrote a document, and when, is of no account then."""
        era: Era = state.era
        if not _is_over(state) or era.round + 1 == len(self._life):
            return
        documents = {ref: replace(one, version="1") for ref, one in state.stored.value.documents.items()}
        runs = [Run(course.run.number, (era.round + 1, course.run.kind[1])) for course in state.courses]
        verdict = self._life[era.round]
        before = era.calm if verdict == "g" else era.calm - {"g"}
        calm = before if era.has_failed else before | {verdict}
        yield Move("tick", runs, value=Value(documents), era=Era(era.round + 1, calm=calm))

    def failed(self, era: Any) -> Any:
        """Note a fault of this round; in the closing ones there is none."""
        return Era(era.round, has_failed=True, calm=era.calm) if era.round < self._failing else None

    def known_surroundings(self) -> ExitStack:
        """Give a run the same id each time that it is taken again, and let it read one source after the other."""
        with ExitStack() as stack:
            ids = SimpleNamespace(token_hex=lambda _: self._run_id)
            stack.enter_context(patch.object(incidents, "secrets", ids))
            stack.enter_context(patch.object(sources, "Background", AtOnce))
            return stack.pop_all()

    def view(self, state: State) -> View:
        """Return how far it is."""
        return View(state.era, state.faults, _is_over(state))

    def violations_of_state(self, value: Value, view: Any) -> Iterator[str]:
        """Each channel hears each thing once, in its order, and once more at the most for each fault."""
        for name in CHANNELS:
            told = [kind for kind, _ in heard(value, name)]
            if told and told[0] != "OPENED":
                yield f"{name} was told {told[0]} before OPENED"
            if "RESOLVED" in told and {*told[told.index("RESOLVED") :]} != {"RESOLVED"}:
                yield f"{name} was told {told}"
            if unfounded := {*told} - {"OPENED", "CHANGED", "RESOLVED"}:
                yield f"{name} was told {sorted(unfounded)}"
            if (more := len(told) - len({*told})) > view.faults:
                yield f"{name} was told {more} times again, after {view.faults} faults"
        if view.is_over and not view.era.has_failed:
            for name in CHANNELS:
                yield from self._violations_of_a_round(name, heard(value, name), view.era)
            if view.era.round + 1 == len(self._life):
                yield from _left(value, has_failed=view.faults > 0)

    def _violations_of_a_round(self, name: str, told: Heard, era: Era) -> Iterator[str]:
        """Say what a channel was not told at the end of a round in which nothing failed."""
        verdict, worse, kinds = self._life[era.round], self._life.find("w"), {kind for kind, _ in told}
        # Who was told by a run that died, and by no other one, is told of the end only where the problem goes on.
        is_over = verdict == "g" and era.calm >= ({"g"} if self._strict else {"g", self._life[0]})
        if verdict != "g" and "OPENED" not in kinds:
            yield f"{name} was not told OPENED"
        if verdict == "w" and not any(number >= worse for _, number in told):
            yield f"{name} was not told that it is worse"
        if is_over and "OPENED" in kinds and "RESOLVED" not in kinds:
            yield f"{name} was not told RESOLVED"

    def shown(self, value: Value) -> str:
        """Return what each channel has heard."""
        return str({name: " ".join(kind for kind, _ in heard(value, name)) for name in CHANNELS})

    def _remembered(self, memory: OwnMemory) -> Any:
        key = (frozen(memory.told_at), memory.problems, frozen(memory.unconfirmed), frozenset(memory.warned_of))
        self._memories.setdefault(key, memory)
        return key


def heard(value: Value, channel: str) -> Heard:
    """Return what a channel was told, and in which rounds."""
    told: Heard = value.fields(DocumentRef("told", channel)).get("heard", ())
    return told


def _channel(name: str, round_: int, ask: Ask) -> Any:
    """Return a channel; what it heard, and in which round, is kept as a document."""

    def watch(operation: Operation, _: Callable[[], Any]) -> None:
        ((notification,), _now) = operation.arguments
        try:
            ask(Operation("hear", (DocumentRef("told", name), (notification.kind.value, round_))))
        except StoreError as error:
            raise NotifyError("injected") from error

    return Watched(RecordingChannel(name), watch, ["send"])


def _is_over(state: State) -> bool:
    return not state.late and all(course.run.is_over for course in state.courses)


def _left(value: Value, *, has_failed: bool) -> Iterator[str]:
    documents = value.documents
    incident = read_incident(documents.get(REF))
    if incident is not None and (incident.claim or not incident.resolved):
        yield "the incident is left open at the end"
    if listed := open_refs(documents.get(OPEN_INCIDENTS)):
        yield f"listed as open at the end: {[ref.id for ref in listed]}"
    if not has_failed and DAY.isoformat() not in value.fields(history_ref(PHASE.name, DAY)):
        yield "the incident is not in the history"


class Unclaimed(Canaries):
    """Wrong: writes whatever has been written meanwhile."""

    def documents(self, stores: Any) -> Any:
        """Return documents that compare no versions."""

        def watch(operation: Operation, _: Callable[[], Any]) -> bool:
            ref, fields, _version = operation.arguments
            stores.merge(ref, fields)
            return True

        return Watched(stores, watch, ["update_if_unchanged"])


class Unlisted(Canaries):
    """Wrong: says of the list of open incidents that it was written."""

    def documents(self, stores: Any) -> Any:
        """Return documents that never write it."""

        def watch(operation: Operation, do: Callable[[], Any]) -> Any:
            return operation.arguments[0] == OPEN_INCIDENTS or do()

        return Watched(stores, watch, ["update_if_unchanged"])
