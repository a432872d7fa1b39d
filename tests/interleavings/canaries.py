"""Every interleaving of two canary runs over an incident's life, each of which may fail or die at every step.

As in explorer.py the real code, here `confirm_what_is_left`, `gather` and `notify`, runs again from its start with the
answers that it got so far. A life is written `bwgg`: what the verdict is in each round, a problem (b), a worse one (w),
or all is well (g). In each round both canaries run, in every order; when both have ended or died, 15 minutes pass. Some
more rounds follow in which nothing fails. Each canary is a process: what it remembers by itself is gone when it dies.

A step is written as the number of the canary and what happens to its next operation, as in explorer.py; an operation is
one on the documents, or a message to a channel. What comes late does so in its round. `tick` is the next round.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from canary.notify.channel import Channels, Notification, NotifyError
from canary.notify.incidents import confirm_what_is_left, notify
from canary.notify.memory import OwnMemory
from canary.sources import gather
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.stores.base import Document, DocumentRef
from tests.interleavings.explorer import FAILURE, Exploration, Replay, Stored
from tests.interleavings.values import Operation, Stores, Value, frozen

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
VERDICTS = {
    "b": _BAD,
    "w": replace(_BAD, impact=Impact.BLOCKED),
    "g": replace(_BAD, kind=VerdictKind.TRIGGERED, since=None),
}
Heard = Sequence[tuple[str, int]]
Subject = Callable[[Stores], Any]


class _Sending(Operation):
    """A message to a channel: its kind, and the round; what a channel heard is kept as a document."""

    __slots__ = ()

    def apply(self, value: Value) -> tuple[Value, None]:
        """Let the channel hear it."""
        ref, kind, number = self.arguments
        document = Document({"heard": (*heard(value, ref.id), (kind, number))}, "")
        return Value({**value.documents, ref: document}), None


def heard(value: Value, channel: str) -> Heard:
    """Return what a channel was told, and in which rounds."""
    document = value.documents.get(DocumentRef("told", channel))
    told: Heard = document.fields["heard"] if document else ()
    return told


class _Channel:
    address = ""

    def __init__(self, name: str, number: int, ask: Callable[[Operation], Any]) -> None:
        self.name, self._number, self._ask = name, number, ask

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Tell of the one date that there is."""
        del now
        (one,) = notifications
        try:
            self._ask(_Sending("send", (DocumentRef("told", self.name), one.kind.value, self._number)))
        except StoreError as error:
            raise NotifyError("injected") from error

    def warn(self, text: str, now: datetime) -> None:
        """Nothing that happens here."""
        raise NotImplementedError


def _as_it_is(stores: Stores) -> Stores:
    return stores


class _Unclaimed(Stores):
    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Write whatever has been written meanwhile."""
        del version
        self.merge(ref, fields)
        return True


class _Unconfirmed(Stores):
    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Give each claim back, whoever was told."""
        super().merge(ref, {"claim": None} if ref == REF else fields)


class _Unlisted(Stores):
    def update_if_unchanged(self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None) -> bool:
        """Say of the list that it was written."""
        return ref == OPEN_INCIDENTS or super().update_if_unchanged(ref, fields, version)


# The canary as it is, and some with something wrong around their documents, which have to be found.
CANARIES: dict[str, Subject] = {
    "canaries": _as_it_is,
    "unclaimed": lambda stores: _Unclaimed(stores.ask),
    "unconfirmed": lambda stores: _Unconfirmed(stores.ask),
    "unlisted": lambda stores: _Unlisted(stores.ask),
}


class Course:
    """Where one run stands: `operation` comes next, and without one it has ended, or its process is dead."""

    def __init__(self, begun: "Begun", answers: tuple[Any, ...], asked: Sequence[Operation], memory: OwnMemory) -> None:
        self.begun, self.answers, self.memory = begun, answers, memory
        self.asked = asked[: len(answers) + 1]
        self.operation = self.asked[-1] if len(self.asked) > len(answers) else None
        self.next: dict[Any, Course] = {}


class Begun(NamedTuple):
    """A run that begins: the number of its round and of its canary, and what this process remembers."""

    round: int
    number: int
    memory: Any


class State(NamedTuple):
    """What is stored, where both runs stand, and what failed.

    `faults` are left; `late` are the runs an operation of which is still on its way; `failed`: a fault befell this
    round. `calm` has what the verdicts were in the earlier rounds in which nothing failed.
    """

    round: int
    stored: Stored
    courses: tuple[Course, ...]
    faults: int
    late: tuple[Course, ...] = ()
    failed: bool = False
    calm: frozenset[str] = frozenset()


class Canaries:
    """The graph of one life; `subject` may put something wrong around the documents.

    With `strict`, a channel that was told by a run that died has to hear in any case that it is over.
    """

    def __init__(self, life: str, faults: int, subject: Subject = _as_it_is, *, strict: bool = False) -> None:
        self._life, self._failing = life + _CLOSING, len(life)
        self._most, self._subject, self._strict = faults, subject, strict
        self._run_id = ""
        self._memories: dict[Any, OwnMemory] = {}
        self._first: dict[Begun, Course] = {}
        self._stored: dict[Any, Stored] = {}
        self._frozen: dict[int, tuple[Document, Any]] = {}
        self._applied: dict[tuple[Stored, Course], tuple[Stored, Course]] = {}

    def explore(self) -> Exploration:
        """Visit every state, the nearest first, until all are visited or one violates an invariant."""
        with self._known_ids():
            start = self._start()
            parents: dict[State, tuple[State, str] | None] = {start: None}
            waiting, ends = deque([start]), 0
            while waiting:
                state = waiting.popleft()
                ended = True
                for label, after in self._successors(state):
                    ended = False
                    if after in parents:
                        continue
                    parents[after] = state, label
                    if violation := next(self._violations(after), None):
                        return Exploration(len(parents), ends, violation, tuple(_path(parents, after)))
                    waiting.append(after)
                ends += ended
            return Exploration(len(parents), ends)

    def replay(self, labels: Sequence[str]) -> Iterator[tuple[str, str, State, list[str]]]:
        """Take these steps; yield of each its label, the operation, the state after it, and what it violates."""
        with self._known_ids():
            state = self._start()
            for label in labels:
                possible = dict(self._successors(state))
                if label not in possible:
                    raise ValueError(f"{label} is impossible here; possible are {' '.join(possible)}")
                operation = None if label.endswith((">", "tick")) else state.courses[int(label[0]) - 1].operation
                state = possible[label]
                yield label, operation.name if operation else "", state, [*self._violations(state)]

    @contextmanager
    def _known_ids(self) -> Iterator[None]:
        """Give a run the same id each time that it is taken again, and let it read one source after the other."""
        with patch.object(incidents, "secrets", self), patch.object(sources, "Background", AtOnce):
            yield

    def token_hex(self, _: int) -> str:
        """Return the id of the run that is taken now, in the place of the module `secrets`."""
        return self._run_id

    def _start(self) -> State:
        courses = tuple(self._begin(0, number, OwnMemory()) for number in (0, 1))
        documents = {OPEN_INCIDENTS: Document({"canary": []}, "1")}  # as the runs before have left it
        return State(0, self._intern(Value(documents)), courses, self._most)

    def _successors(self, state: State) -> Iterator[tuple[str, State]]:
        for number, course in enumerate(state.courses):
            if course.operation is None:
                continue
            stored, answered = self._apply(state.stored, course)
            yield f"{number + 1}", _moved(state, number, answered, stored)
            if state.faults and state.round < self._failing:
                yield from self._faults(state, number, stored)
        for index, course in enumerate(state.late):
            others = state.late[:index] + state.late[index + 1 :]
            before = sum(one.begun.number == course.begun.number for one in state.late[:index])
            stored, _ = self._apply(state.stored, course)
            yield f"{course.begun.number + 1}>" + ">" * before, state._replace(stored=stored, late=others)
        if _is_over(state) and state.round + 1 < len(self._life):
            yield "tick", self._next_round(state)

    def _faults(self, state: State, number: int, stored: Stored) -> Iterator[tuple[str, State]]:
        """Yield what can go wrong with a run's next operation, after which `stored` is there."""
        course = state.courses[number]
        assert course.operation is not None
        failing = state._replace(faults=state.faults - 1, failed=True)
        failed, dead = self._answer(course, None, FAILURE), Course(course.begun, (), (), OwnMemory())
        dead = course.next.setdefault("dead", dead)
        yield f"{number + 1}-", _moved(failing, number, failed)
        yield f"{number + 1}!", _moved(failing, number, dead)
        if course.operation.writes:
            yield f"{number + 1}?", _moved(failing, number, failed, stored)
            yield f"{number + 1}+", _moved(failing, number, dead, stored)
            late = tuple(sorted((*state.late, course), key=lambda one: one.begun.number))
            yield f"{number + 1}~", _moved(failing, number, failed)._replace(late=late)

    def _next_round(self, state: State) -> State:
        """Let 15 minutes pass; who wrote a document, and when, is of no account then."""
        round_ = state.round + 1
        documents = {ref: replace(one, version="1") for ref, one in state.stored.value.documents.items()}
        courses = tuple(self._begin(round_, number, one.memory) for number, one in enumerate(state.courses))
        verdict = self._life[state.round]
        before = state.calm if verdict == "g" else state.calm - {"g"}
        calm = before if state.failed else before | {verdict}
        return State(round_, self._intern(Value(documents)), courses, state.faults, calm=calm)

    def _begin(self, round_: int, number: int, memory: OwnMemory) -> Course:
        key = (frozen(memory.told_at), memory.problems, frozen(memory.unconfirmed), frozenset(memory.warned_of))
        begun = Begun(round_, number, key)
        self._memories[key] = memory
        if begun not in self._first:
            self._first[begun] = self._taken(begun, ())
        return self._first[begun]

    def _apply(self, stored: Stored, course: Course) -> tuple[Stored, Course]:
        if (stored, course) not in self._applied:
            assert course.operation is not None
            value, answer = course.operation.apply(stored.value)
            after = stored if value is stored.value else self._intern(value)
            key = self._key(answer) if isinstance(answer, dict) else answer
            self._applied[stored, course] = after, self._answer(course, key, answer)
        return self._applied[stored, course]

    def _answer(self, course: Course, key: Any, answer: Any) -> Course:
        key = (answer is FAILURE, key)
        if key not in course.next:
            course.next[key] = self._taken(course.begun, (*course.answers, answer))
            assert course.next[key].asked[: len(course.asked)] == course.asked, "it took another way"
        return course.next[key]

    def _taken(self, begun: Begun, answers: tuple[Any, ...]) -> Course:
        """Take a run up to the operation that has no answer yet."""
        self._run_id = f"{begun.round}/{begun.number}"
        replay, known = Replay(answers), self._memories[begun.memory]
        channels = Channels(*(_Channel(name, begun.round, replay.ask) for name in CHANNELS))
        channels.memory = OwnMemory(dict(known.told_at), known.problems, dict(known.unconfirmed), set(known.warned_of))
        verdict = VERDICTS[self._life[begun.round]]
        now = NOON + begun.round * TICK + begun.number * timedelta(seconds=1)
        documents = self._subject(Stores(replay.ask))
        replay.run(lambda _: _run(documents, channels, verdict, now), None)
        course = Course(begun, answers, replay.asked, channels.memory)
        if course.operation is None and replay.error:
            raise AssertionError("a run raised") from replay.error
        return course

    def _intern(self, value: Value) -> Stored:
        return self._stored.setdefault(self._key(value.documents), Stored(value))

    def _key(self, documents: Mapping[DocumentRef, Document]) -> Any:
        """Return a hashable equal; each document is frozen once, because most stay as they are."""
        for one in documents.values():
            if id(one) not in self._frozen:
                self._frozen[id(one)] = one, frozen(one)
        return frozenset((ref, self._frozen[id(one)][1]) for ref, one in documents.items())

    def _violations(self, state: State) -> Iterator[str]:
        value, used = state.stored.value, self._most - state.faults
        for name in CHANNELS:
            told = [kind for kind, _ in heard(value, name)]
            if told and told[0] != "OPENED":
                yield f"{name} was told {told[0]} before OPENED"
            if "RESOLVED" in told and {*told[told.index("RESOLVED") :]} != {"RESOLVED"}:
                yield f"{name} was told {told}"
            if unfounded := {*told} - {"OPENED", "CHANGED", "RESOLVED"}:
                yield f"{name} was told {sorted(unfounded)}"
            if (more := len(told) - len({*told})) > used:
                yield f"{name} was told {more} times again, after {used} faults"
        if _is_over(state):
            yield from self._violations_of_a_round(state)

    def _violations_of_a_round(self, state: State) -> Iterator[str]:
        """Say what was not told at the end of a round in which nothing failed, and what is left at the very end."""
        if state.failed:
            return
        verdict, worse = self._life[state.round], self._life.find("w")
        # Whoever was told by a run that died, and by no other one, is told of the end only where the problem goes on.
        is_over = verdict == "g" and state.calm >= ({"g"} if self._strict else {"g", self._life[0]})
        for name in CHANNELS:
            told = heard(state.stored.value, name)
            kinds = {kind for kind, _ in told}
            if verdict != "g" and "OPENED" not in kinds:
                yield f"{name} was not told OPENED"
            if verdict == "w" and not any(number >= worse for _, number in told):
                yield f"{name} was not told that it is worse"
            if is_over and "OPENED" in kinds and "RESOLVED" not in kinds:
                yield f"{name} was not told RESOLVED"
        if state.round + 1 == len(self._life):
            yield from _left(state.stored.value, has_failed=state.faults < self._most)


def _run(documents: Any, channels: Channels, verdict: Verdict, now: datetime) -> None:
    """Do one run: what the function does once it has its verdict, and the reading of the documents before."""
    confirm_what_is_left(documents, channels)
    stores: Any = SimpleNamespace(documents=documents, completion_log=_NoRows(), counts=None)
    found = gather(stores, {PHASE.name: [DAY]}, {PHASE.name: PHASE}).incidents
    notify(documents, [verdict], found, channels, phases={PHASE.name: PHASE}, now=now)


class _NoRows:
    def summarise(self, *_: object) -> list[Any]:
        """Return nothing: what the verdict is has been decided."""
        return []


def _is_over(state: State) -> bool:
    """Whether all of a round has happened."""
    return not state.late and all(course.operation is None for course in state.courses)


def _moved(state: State, number: int, course: Course, stored: Stored | None = None) -> State:
    courses = (*state.courses[:number], course, *state.courses[number + 1 :])
    return state._replace(stored=stored or state.stored, courses=courses)


def _left(value: Value, *, has_failed: bool) -> Iterator[str]:
    documents = value.documents
    incident = read_incident(documents.get(REF))
    if incident is not None and (incident.claim or not incident.resolved):
        yield "the incident is left open at the end"
    if listed := open_refs(documents.get(OPEN_INCIDENTS)):
        yield f"listed as open at the end: {[ref.id for ref in listed]}"
    month = documents.get(history_ref(PHASE.name, DAY))
    if not has_failed and (month is None or DAY.isoformat() not in month.fields):
        yield "the incident is not in the history"


def _path(parents: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    labels = []
    while (step := parents[state]) is not None:
        state, label = step
        labels.append(label)
    return labels[::-1]
