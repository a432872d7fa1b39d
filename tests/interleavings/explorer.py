"""Every interleaving of a few deliveries, each of which may fail or die at every step, as one graph of states.

The real `deliver` runs again from its start with the answers that the stores gave it so far; at the first operation
that has no answer yet it stops. Given the same answers it takes the same way (which is checked), so a delivery is
the list of its answers, a state is a value, and states that are equal are visited once.

A step is written as the number of the delivery and what happens to its next operation:

    1    it is done, and answered
    1-   it is refused: not done, and StoreError        (a fault, as are all below)
    1?   it is done, and the answer is lost: StoreError
    1~   StoreError, and it is done later, at `1>` (the second of two on their way: `1>>`)
    1!   the process dies before it
    1+   the process dies after it, before anything else; after the last one: before it acknowledges
    1x   the process dies before it, and the message does not come again (see `forgets`)

What raised or died comes again, at any later time, and without an end: only faults are bounded.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from tests.interleavings.invariants import violations_of_state, violations_of_step
from tests.interleavings.messages import PUBLISHED, Scenario
from tests.interleavings.values import Operation, Stores, Value, frozen

Deliver = Callable[[object], None]
Subject = Callable[[Phase, Stores, Callable[[], datetime]], Deliver]

FAILURE: Final = object()  # the answer in whose place StoreError is raised


class Suspended(BaseException):
    """A delivery has come to an operation that has no answer yet; nothing that it calls may catch this."""


class Replay:
    """One run of a delivery against its recorded `answers`: what it `asked`, and the error that ended it."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self.asked: list[Operation] = []
        self.error: BaseException | None = None
        self._answers = answers

    def run(self, deliver: Deliver, event: object) -> None:
        """Run until it ends, or asks for more than there is."""
        try:
            deliver(event)
        except (Exception, Suspended) as error:  # noqa: BLE001 (whatever is raised, the message comes again)
            self.error = error

    def ask(self, operation: Operation) -> Any:
        """Answer from the record."""
        self.asked.append(operation)
        if len(self.asked) > len(self._answers):
            raise Suspended
        answer = self._answers[len(self.asked) - 1]
        if answer is FAILURE:
            raise StoreError("injected")
        return answer


class Course:
    """Where one delivery stands; there is one object for each list of answers.

    `operation` comes next; without one it has ended, with `error` where it raised.
    """

    def __init__(self, number: int, answers: tuple[Any, ...], replay: Replay, *, again: bool = False) -> None:
        self.number = number
        self.name = str(number + 1)
        self.again = again
        self.answers = answers
        self.asked = replay.asked[: len(answers) + 1]
        self.operation = self.asked[-1] if len(self.asked) > len(answers) else None
        self.error = replay.error
        self.acknowledged = self.operation is None and replay.error is None
        self.begun = again or self.acknowledged or bool(answers)
        self.next: dict[Any, Course] = {}


class Stored:
    """What is stored; there is one object for each value."""

    def __init__(self, value: Value) -> None:
        self.value = value


class State(NamedTuple):
    """What is stored, where each delivery stands, which operations are on their way, and how many faults are left."""

    stored: Stored
    courses: tuple[Course, ...]
    late: tuple[Course, ...]
    faults: int


class Step(NamedTuple):
    """An edge of the graph."""

    label: str
    state: State
    violation: str | None


@dataclass(frozen=True, slots=True)
class Exploration:
    """The size of the graph; with a violation, of what was visited until then, and the steps that lead there."""

    states: int
    ends: int
    violation: str | None = None
    steps: tuple[str, ...] = ()


class Explorer:
    """The graph of one scenario for one orchestrator; a violation that is `tolerated` is not looked at.

    With `forgets`, Pub/Sub need not repeat a delivery that died where another one of the same message is acknowledged.
    """

    def __init__(
        self, subject: Subject, scenario: Scenario, *, tolerated: str | None = None, forgets: bool = False
    ) -> None:
        self._subject = subject
        self._scenario = scenario
        self._tolerated = tolerated
        self._forgets = forgets
        self._stored: dict[Any, Stored] = {}
        numbers = range(len(scenario.deliveries))
        self._first = [self._replay(number, ()) for number in numbers]
        self._again = [self._replay(number, (), again=True) for number in numbers]
        self._finished = [Course(number, (), Replay(())) for number in numbers]
        self._applied: dict[tuple[Stored, Course], tuple[Stored, Course]] = {}
        self._judged_steps: dict[tuple[Stored, Stored], str | None] = {}
        self._judged_states: dict[tuple[Any, ...], str | None] = {}

    def explore(self, faults: int) -> Exploration:
        """Visit every state, the nearest first, until all are visited or one violates an invariant."""
        start = self.start(faults)
        parents: dict[State, State | None] = {start: None}
        waiting, ends = deque([start]), 0
        while waiting:
            state = waiting.popleft()
            ended = True
            for step in self.steps(state):
                ended = False
                if step.violation:
                    steps = (*self._path(parents, state), step.label)
                    return Exploration(len(parents), ends, step.violation, steps)
                if step.state not in parents:
                    parents[step.state] = state
                    waiting.append(step.state)
            ends += ended
        return Exploration(len(parents), ends)

    def start(self, faults: int) -> State:
        """Return the state before anything happened."""
        return State(self._intern(Value()), tuple(self._first), (), faults)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen in a state."""
        for label, after in self._successors(state):
            yield Step(label, after, self._violation(state.stored, after))

    def replay(self, labels: Sequence[str]) -> Iterator[tuple[str, Step]]:
        """Take these steps; yield the operation of each, and the step. ValueError where one is impossible."""
        state = self.start(len(labels))
        for label in labels:
            possible = {step.label: step for step in self.steps(state)}
            if label not in possible:
                raise ValueError(f"{label} is impossible here; possible are {' '.join(possible)}")
            operation = None if ">" in label else state.courses[int(label.rstrip("-?~!+x")) - 1].operation
            yield (operation.name if operation else "comes late"), possible[label]
            state = possible[label].state

    def _successors(self, state: State) -> Iterator[tuple[str, State]]:
        for course in state.courses:
            if course.operation is None:
                continue
            stored, answered = self._apply(state.stored, course)
            yield course.name, self._moved(state, answered, stored)
            if state.faults:
                yield from self._faults(state, course, stored)
        for index, course in enumerate(state.late):
            others = state.late[:index] + state.late[index + 1 :]
            before = sum(one.number == course.number for one in state.late[:index])
            stored, _ = self._apply(state.stored, course)
            yield course.name + ">" * (before + 1), state._replace(stored=stored, late=others)

    def _faults(self, state: State, course: Course, stored: Stored) -> Iterator[tuple[str, State]]:
        """Yield what can go wrong with a delivery's next operation, after which `stored` is there."""
        name, failed, dead = course.name, self._answer(course, None, FAILURE), self._again[course.number]
        yield f"{name}-", self._moved(state, failed, fault=True)
        yield f"{name}!", self._moved(state, dead, fault=True)
        if course.operation is not None and course.operation.writes:
            late = tuple(sorted((*state.late, course), key=lambda one: one.number))
            yield f"{name}?", self._moved(state, failed, stored, fault=True)
            yield f"{name}+", self._moved(state, dead, stored, fault=True)
            yield f"{name}~", self._moved(state, failed, fault=True)._replace(late=late)
        if self._forgets and self._acknowledged_elsewhere(state, course):
            yield f"{name}x", self._moved(state, self._finished[course.number], fault=True)

    def _acknowledged_elsewhere(self, state: State, course: Course) -> bool:
        letters = self._scenario.deliveries
        return any(one.acknowledged and letters[one.number] == letters[course.number] for one in state.courses)

    def _moved(self, state: State, course: Course, stored: Stored | None = None, *, fault: bool = False) -> State:
        """Return the state after one delivery has gone on; one that raised is to come again."""
        if course.operation is None:
            course = (self._finished if course.acknowledged else self._again)[course.number]
        courses = (*state.courses[: course.number], course, *state.courses[course.number + 1 :])
        return State(stored or state.stored, courses, state.late, state.faults - fault)

    def _apply(self, stored: Stored, course: Course) -> tuple[Stored, Course]:
        """Do a delivery's next operation; return what is stored then, and the delivery with its answer."""
        if (stored, course) not in self._applied:
            assert course.operation is not None
            value, answer = course.operation.apply(stored.value)
            after = stored if value is stored.value else self._intern(value)
            self._applied[stored, course] = after, self._answer(course, frozen(answer), answer)
        return self._applied[stored, course]

    def _answer(self, course: Course, key: Any, answer: Any) -> Course:
        key = (answer is FAILURE, key)
        if key not in course.next:
            course.next[key] = self._replay(course.number, (*course.answers, answer), again=course.again)
            assert course.next[key].asked[: len(course.asked)] == course.asked, "it took another way"
        return course.next[key]

    def _replay(self, number: int, answers: tuple[Any, ...], *, again: bool = False) -> Course:
        # A time of its own for each delivery and its redelivery tells whose fields and rows are stored.
        now = PUBLISHED + timedelta(days=1, hours=again, minutes=number)
        replay = Replay(answers)
        deliver = self._subject(self._scenario.phase, Stores(replay.ask), lambda: now)
        replay.run(deliver, self._scenario.messages[number].event)
        course = Course(number, answers, replay, again=again)
        if course.operation is None and course.error and FAILURE not in answers:
            raise AssertionError("it raised although nothing had failed") from course.error
        return course

    def _intern(self, value: Value) -> Stored:
        return self._stored.setdefault(frozen(value), Stored(value))

    def _violation(self, before: Stored, after: State) -> str | None:
        step = (before, after.stored)
        if before is not after.stored and step not in self._judged_steps:
            self._judged_steps[step] = self._first_of(violations_of_step(before.value, after.stored.value))
        if violation := self._judged_steps.get(step):
            return violation
        key = (after.stored, *[course.begun + course.acknowledged for course in after.courses])
        if key not in self._judged_states:
            self._judged_states[key] = self._first_of(self._violations_of(after))
        return self._judged_states[key]

    def _violations_of(self, state: State) -> Iterator[str]:
        deliveries = list(zip(self._scenario.messages, state.courses, strict=True))
        return violations_of_state(
            state.stored.value,
            self._scenario.expected,
            begun=[message for message, course in deliveries if course.begun],
            acknowledged=[message for message, course in deliveries if course.acknowledged],
            unacknowledged=[message for message, course in deliveries if not course.acknowledged],
        )

    def _first_of(self, violations: Iterator[str]) -> str | None:
        return next((one for one in violations if one != self._tolerated), None)

    def _path(self, parents: dict[State, State | None], state: State) -> list[str]:
        """Return the labels that lead to a state."""
        labels = []
        while (parent := parents[state]) is not None:
            labels.append(next(label for label, after in self._successors(parent) if after == state))
            state = parent
        return labels[::-1]
