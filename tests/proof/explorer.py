"""Every interleaving of a few processes that may fail or die at every step, as one graph.

The real code runs again from its start with the answers that its doubles gave it so far; at the
first operation that has no answer yet it stops. Given the same answers it takes the same way (which
is checked), so a run is the list of its answers, a state is a value, and states that are equal are
visited once.

A step is written as the number of the process and what happens to its next operation:

    1    it is done, and answered
    1-   it is refused: not done, and StoreError        (a fault, as are all below)
    1?   it is done, and the answer is lost: StoreError
    1~   StoreError, and it is done later, at `1>` (the second of two on their way: `1>>`)
    1!   the process dies before it
    1+   the process dies after it, before anything else; after the last one: before its run ends

What else can happen, the subject says: `tick`, `1x`. What a process does after a run, the subject
says as well; only faults are bounded.
"""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from orchestrator_resilience.errors import StoreError
from tests.proof.doubles import Operation, PlainStores, Value

FAILURE: Final = object()  # the answer in whose place StoreError is raised
DIED: Final = object()  # the outcome of a run whose process is dead
Ask = Callable[[Operation], Any]


class Suspended(BaseException):
    """A run has come to an operation without an answer yet; nothing it calls may catch this."""


class Run(NamedTuple):
    """One run of process `number`, or None where it is over; its hashable `kind` tells it apart."""

    number: int
    kind: Any = ""
    is_over: bool = False


class Course:
    """Where one run is, one object for each list of answers; without an `operation` it ended."""

    def __init__(
        self, run: Run, answers: tuple[Any, ...], asked: Sequence[Operation], outcome: Any
    ) -> None:
        self.run, self.answers, self.outcome = run, answers, outcome
        self.asked = asked[: len(answers) + 1]
        self.operation = self.asked[-1] if len(self.asked) > len(answers) else None
        self.name = str(run.number + 1)
        self.next: dict[Any, Course] = {}


class Stored:
    """What is stored; there is one object for each value."""

    def __init__(self, value: Value) -> None:
        self.value = value


class State(NamedTuple):
    """What is stored, where each process is, which operations are pending, how many faults.

    `era` is whatever else its subject has to know.
    """

    stored: Stored
    courses: tuple[Course, ...]
    late: tuple[Course, ...]
    faults: int
    era: Any


class Move(NamedTuple):
    """Something that is no step of a process: begins these runs, is a fault, changes the store."""

    label: str
    runs: Iterable[Run]
    is_fault: bool = False
    value: Value | None = None
    era: Any = ()


class Subject:
    """What is explored: the runs of a few processes, and what says what is wrong with a state."""

    first: Sequence[Run]
    value = Value()
    era: Any = ()

    def take(self, run: Run, ask: Ask) -> Any:
        """Take a run on doubles that ask; return its hashable outcome, returned or raised."""
        raise NotImplementedError

    def after(self, run: Run, outcome: Any) -> Run:
        """Return what the process does when a run has ended, or died."""
        raise NotImplementedError

    def moves(self, state: State) -> Iterator[Move]:
        """Yield what can happen beside the steps of the processes."""
        del state
        yield from ()

    def failed(self, era: Any) -> Any:
        """Return the era after a fault; None where nothing fails any more."""
        return era

    def view(self, state: State) -> Hashable:
        """Return what `violations_of_state` looks at beside what is stored."""
        del state
        return None

    def violations_of_state(self, value: Value, view: Any) -> Iterator[str]:
        """Yield what is wrong at one time."""
        del value, view
        yield from ()

    def violations_of_step(self, before: Value, after: Value) -> Iterator[str]:
        """Yield what is wrong with a change."""
        del before, after
        yield from ()

    def shown(self, value: Value) -> str:
        """Return what is stored, for who reads the steps."""
        return str(len(value.documents))

    def known_surroundings(self) -> AbstractContextManager[object]:
        """Return that in which runs depend on their answers alone."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class Exploration:
    """The size of the visited graph, and each violation with the shortest steps to it."""

    states: int
    ends: int
    violations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Explorer:
    """The graph of one subject, with so many faults."""

    def __init__(self, subject: Subject, faults: int) -> None:
        self._subject, self._most = subject, faults
        self._stored: dict[Any, Stored] = {}
        self._frozen: dict[int, tuple[msgspec.Struct, Any]] = {}
        self._begun: dict[Run, Course] = {}
        self._applied: dict[tuple[Stored, Course], tuple[Stored, Course]] = {}
        self._judged: dict[Any, list[str]] = {}

    def explore(self, *, tolerated: Collection[str] = (), to_the_end: bool = False) -> Exploration:
        """Visit every state, the nearest first.

        It stops at the first violation that is not `tolerated`, unless it goes `to_the_end`.
        """
        with self._subject.known_surroundings():
            start = self.start()
            parents: dict[State, State | None] = {start: None}
            waiting, ends = deque([start]), 0
            violations: dict[str, tuple[str, ...]] = {}
            while waiting and (to_the_end or not violations):
                state = waiting.popleft()
                steps = list(self._steps(state))
                ends += not steps
                for label, after in steps:
                    for violation in self._violations(state, after, is_new=after not in parents):
                        if violation not in violations and violation not in tolerated:
                            violations[violation] = (*self._path(parents, state), label)
                    if after not in parents:
                        parents[after] = state
                        waiting.append(after)
            return Exploration(len(parents), ends, violations)

    def replay(self, labels: Sequence[str]) -> Iterator[tuple[str, State, list[str]]]:
        """Take these steps; yield for each its operation, the state after it, and what is wrong.

        Raises ValueError where one is impossible.
        """
        with self._subject.known_surroundings():
            state = self.start()
            for label in labels:
                possible = dict(self._steps(state))
                if label not in possible:
                    raise ValueError(
                        f"{label} is impossible here; possible are {' '.join(possible)}"
                    )
                own = [
                    one
                    for one in state.courses
                    if one.name == label.rstrip("-?~!+") and one.operation
                ]
                after = possible[label]
                yield (
                    own[0].operation.name if own and own[0].operation else "",
                    after,
                    self._violations(state, after),
                )
                state = after

    def start(self) -> State:
        """Return the state before anything happened."""
        courses = tuple(self._begin(run) for run in self._subject.first)
        return State(self._intern(self._subject.value), courses, (), 0, self._subject.era)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        era = self._subject.failed(state.era) if state.faults < self._most else None
        for course in state.courses:
            if course.operation is not None:
                stored, answered = self._apply(state.stored, course)
                yield course.name, self._moved(state, answered, stored)
                if era is not None:
                    yield from self._faults(
                        state._replace(faults=state.faults + 1, era=era), course, stored
                    )
        for index, course in enumerate(state.late):
            others = state.late[:index] + state.late[index + 1 :]
            before = sum(other.name == course.name for other in state.late[:index])
            stored, _ = self._apply(state.stored, course)
            yield course.name + ">" * (before + 1), state._replace(stored=stored, late=others)
        for move in self._subject.moves(state):
            if not move.is_fault or era is not None:
                yield move.label, self._after(move, state)

    def _faults(self, state: State, course: Course, stored: Stored) -> Iterator[tuple[str, State]]:
        """Yield what can go wrong with a run's next operation, after which `stored` is there."""
        assert course.operation is not None
        failed = self._answer(course, FAILURE)
        dead = self._begin(self._subject.after(course.run, DIED))
        yield f"{course.name}-", self._moved(state, failed)
        yield f"{course.name}!", self._moved(state, dead)
        if course.operation.writes:
            late = tuple(sorted((*state.late, course), key=lambda other: other.run.number))
            yield f"{course.name}?", self._moved(state, failed, stored)
            yield f"{course.name}+", self._moved(state, dead, stored)
            yield f"{course.name}~", self._moved(state, failed)._replace(late=late)

    def _after(self, move: Move, state: State) -> State:
        for run in move.runs:
            state = self._moved(state, self._begin(run))
        stored = state.stored if move.value is None else self._intern(move.value)
        return state._replace(stored=stored, faults=state.faults + move.is_fault, era=move.era)

    def _moved(self, state: State, course: Course, stored: Stored | None = None) -> State:
        """Return the state after one process has gone on."""
        number = course.run.number
        courses = (*state.courses[:number], course, *state.courses[number + 1 :])
        return state._replace(stored=stored or state.stored, courses=courses)

    def _apply(self, stored: Stored, course: Course) -> tuple[Stored, Course]:
        """Do a run's next operation; return what is stored then, and the run with its answer."""
        if (stored, course) not in self._applied:
            assert course.operation is not None
            stores = PlainStores(stored.value)
            answer = getattr(stores, course.operation.name)(*course.operation.arguments)
            after = stored if stores.value is stored.value else self._intern(stores.value)
            self._applied[stored, course] = after, self._answer(course, answer)
        return self._applied[stored, course]

    def _answer(self, course: Course, answer: Any) -> Course:
        key = self._key(answer)
        if key not in course.next:
            after = self._take(course.run, (*course.answers, answer))
            assert after.asked[: len(course.asked)] == course.asked, "it took another way"
            course.next[key] = self._settled(after)
        return course.next[key]

    def _begin(self, run: Run) -> Course:
        if run not in self._begun:
            self._begun[run] = (
                Course(run, (), (), None) if run.is_over else self._settled(self._take(run, ()))
            )
        return self._begun[run]

    def _settled(self, course: Course) -> Course:
        """Let a process go on to what it does after a run that has ended."""
        return (
            course
            if course.operation
            else self._begin(self._subject.after(course.run, course.outcome))
        )

    def _take(self, run: Run, answers: tuple[Any, ...]) -> Course:
        """Take a run up to the operation that has no answer yet."""
        asked: list[Operation] = []

        def ask(operation: Operation) -> Any:
            asked.append(operation)
            if len(asked) > len(answers):
                raise Suspended
            if answers[len(asked) - 1] is FAILURE:
                raise StoreError("injected")
            return answers[len(asked) - 1]

        try:
            outcome = self._subject.take(run, ask)
        except Suspended:
            outcome = None
        except Exception as error:
            outcome = error
            if len(asked) <= len(answers) and FAILURE not in answers:
                raise AssertionError("it raised although nothing had failed") from error
        return Course(run, answers, asked, outcome)

    def _intern(self, value: Value) -> Stored:
        return self._stored.setdefault(self._key([value.documents, value.rows]), Stored(value))

    def _key(self, value: Any) -> Any:
        """Return a hashable equal; documents and rows are frozen once, as most stay as they are."""
        if isinstance(value, msgspec.Struct):
            if id(value) not in self._frozen:
                self._frozen[id(value)] = value, frozen(value)
            return self._frozen[id(value)][1]
        return frozen(value, self._key)

    def _violations(self, before: State, after: State, *, is_new: bool = True) -> list[str]:
        step, violations = (before.stored, after.stored), list[str]()
        if before.stored is not after.stored:
            if step not in self._judged:
                self._judged[step] = [
                    *self._subject.violations_of_step(before.stored.value, after.stored.value)
                ]
            violations = self._judged[step]
        if not is_new:
            return violations
        state = (after.stored, self._subject.view(after))
        if state not in self._judged:
            self._judged[state] = [*self._subject.violations_of_state(after.stored.value, state[1])]
        return violations + self._judged[state]

    def _path(self, parents: Mapping[State, State | None], state: State) -> list[str]:
        """Return the labels that lead to a state."""
        labels = []
        while (parent := parents[state]) is not None:
            labels.append(next(label for label, after in self._steps(parent) if after == state))
            state = parent
        return labels[::-1]


def frozen(value: Any, inner: Callable[[Any], Any] | None = None) -> Any:
    """Return a hashable equal of a value, the same for equal values; `inner` freezes its items."""
    inner = inner or frozen
    if isinstance(value, Mapping):
        return frozenset((key, inner(held)) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(inner(held) for held in value)
    if isinstance(value, msgspec.Struct):
        return tuple(inner(getattr(value, name)) for name in value.__struct_fields__)
    return value
