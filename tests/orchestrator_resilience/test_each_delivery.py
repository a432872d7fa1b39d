"""`each_delivery` over functions of every kind.

What it takes, how it passes on, what it refuses.
"""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, Phase, load_phase
from orchestrator_resilience.logger import Delivery
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.inputs import few

T = TypeVar("T")

EVENT = push_envelope(
    "OddsApiPropsProcessor", "2026-02-09", datetime(2026, 2, 10, 7, tzinfo=UTC), message_id="17"
)
RECEIVED = "CHECKPOINT_RECEIVED: p2_odds_player_props 2026-02-09 success"


@pytest.fixture
def checkpoints(phase: Phase, sink: RecordingSink) -> CheckpointLogger:
    return CheckpointLogger(phase, sink)


def in_a_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own: a test with a browser open has a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_a_coroutine_runs_inside_its_delivery(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """RECEIVED, the body, and what closes it: a return, a word of its own, an error or a cancel."""
    kinds: list[list[str]] = []

    @checkpoints.each_delivery
    async def handle(event: dict[str, Any], ending: str, delivery: Delivery) -> object:
        await asyncio.sleep(0)
        kinds.append(sink.kinds()[-1:])
        if ending == "raises":
            raise KeyError
        if ending == "waits":
            await asyncio.sleep(60)
        if ending == "says":
            delivery.ignored("done")
        return event

    async def cancelled() -> None:
        task = asyncio.create_task(handle(EVENT, "waits"))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    assert inspect.iscoroutinefunction(handle)
    assert in_a_loop(handle(EVENT, "returns")) is EVENT
    in_a_loop(handle(EVENT, "says"))
    with pytest.raises(KeyError):
        in_a_loop(handle(EVENT, "raises"))
    with pytest.raises(asyncio.CancelledError):
        in_a_loop(cancelled())
    outcomes = [line.fields["outcome"] for line in sink.checkpoints if line.closes]
    assert kinds == [["RECEIVED"]] * 4
    assert outcomes == ["returned_early", "ignored", "failed", "failed"]
    assert sink.kinds() == ["RECEIVED", "IGNORED"] * 2 + ["RECEIVED", "FAILED"] * 2


def test_deliveries_at_once_are_kept_apart(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Each coroutine closes its own."""

    @checkpoints.each_delivery
    async def handle(_: object, number: int, delivery: Delivery) -> None:
        await asyncio.sleep(0.001 * (number % 3))
        delivery.ignored(str(number))

    async def all_at_once() -> None:
        await asyncio.gather(*(handle(EVENT, number) for number in range(20)))

    in_a_loop(all_at_once())
    by_delivery = {line.fields["delivery"]: line.text for line in sink.checkpoints if line.closes}
    assert len(by_delivery) == 20
    assert sink.kinds()[:20] == ["RECEIVED"] * 20


def test_a_function_that_returns_a_coroutine_has_not_ended(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Such as another decorator over an `async def`, which does not say what it is over."""

    async def body(delivery: Delivery) -> str:
        await asyncio.sleep(0)
        delivery.ignored("done")
        return "returned"

    pending = checkpoints.each_delivery(lambda event, delivery: body(delivery))(EVENT)  # noqa: ARG005 (the event's place)
    assert sink.kinds() == ["RECEIVED"]
    assert in_a_loop(pending) == "returned"
    assert sink.kinds() == ["RECEIVED", "IGNORED"]


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Be somebody's decorator."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def _generator(event: object, delivery: Delivery) -> Iterator[object]:
    yield event, delivery


async def _async_generator(event: object, delivery: Delivery) -> AsyncIterator[object]:
    yield event, delivery


class Handlers:
    """What a class may hold, and be."""

    def __init__(self, event: object = None, delivery: object = None) -> None:
        self.seen = [(event, delivery)]

    def __call__(self, event: object, delivery: Delivery) -> None:
        """Take an event."""
        self.seen.append((event, delivery))

    def method(self, event: object, delivery: Delivery) -> object:
        """Take an event, and give it back."""
        self.seen.append((event, delivery))
        return event

    def other(this, event: object, delivery: Delivery) -> None:  # noqa: N805 (somebody may write so)
        """Be a method whose first argument has another name."""


REFUSED: dict[str, Any] = {
    "a generator function": _generator,
    "an async generator function": _async_generator,
    "a wrapped generator function": counted(_generator),
    "a context manager": contextlib.contextmanager(_generator),
    "a class": Handlers,
    "an object that can be called": Handlers(),
    "a static method's descriptor": staticmethod(lambda event, delivery: (event, delivery)),
    "a class method's descriptor": classmethod(lambda cls, event, delivery: (cls, event, delivery)),
    "a partial": functools.partial(lambda event, delivery: (event, delivery)),
    "a cached function": functools.lru_cache(lambda event, delivery: (event, delivery)),
    "a function of C": print,
    "a text": "handle",
    "nothing": None,
    "no delivery": lambda event: event,
    "gen1's, as it was": lambda event, context: (event, context),
    "a route without an event": lambda delivery: delivery,
    "no arguments": lambda: None,
    "any arguments": lambda *args, **kwargs: (args, kwargs),
    "only itself": lambda self, delivery: (self, delivery),
    "a delivery before the event": lambda delivery, event: (event, delivery),
    "a delivery before something else": lambda event, delivery, context: (event, delivery, context),
    "a delivery by place only": eval("lambda event, delivery, /: (event, delivery)"),  # noqa: S307 (of tests alone)
    "more arguments after the delivery": lambda event, delivery, *others: (event, delivery, others),
    "all arguments as the delivery": lambda event, *delivery: (event, delivery),
    "all names as the delivery": lambda event, **delivery: (event, delivery),
    "an event among all arguments": lambda *events, delivery: (events, delivery),
    "an event by name only": lambda delivery, *, event: (event, delivery),
    "a method of another habit": Handlers.other,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_delivered_to_is_refused_when_it_is_decorated(
    kind: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """With a TypeError that says what to use instead, and not at a delivery."""
    with pytest.raises(TypeError, match=r"each_delivery.*with checkpoints\.delivery"):
        checkpoints.each_delivery(REFUSED[kind])
    assert sink.kinds() == []


def test_methods_are_bound(checkpoints: CheckpointLogger, sink: RecordingSink) -> None:
    """The event is what comes after the object or the class, and a static method has neither."""
    seen: list[object] = []

    class Decorated:
        @checkpoints.each_delivery
        def method(self, event: object, delivery: Delivery) -> None:
            seen.append((self, event, type(delivery)))

        @classmethod
        @checkpoints.each_delivery
        def of_the_class(cls, event: object, delivery: Delivery) -> None:
            seen.append((cls, event, type(delivery)))

        @staticmethod
        @checkpoints.each_delivery
        def static(event: object, delivery: Delivery) -> None:
            seen.append((None, event, type(delivery)))

        @checkpoints.each_delivery
        async def coroutine(self, event: object, *, delivery: Delivery) -> None:
            seen.append((self, event, type(delivery)))

    one = Decorated()
    for call in (
        one.method,
        Decorated.of_the_class,
        one.of_the_class,
        Decorated.static,
        one.static,
    ):
        call(EVENT)
    Decorated.method(one, event=EVENT)
    in_a_loop(one.coroutine(EVENT))
    assert seen == [
        (who, EVENT, Delivery) for who in (one, Decorated, Decorated, None, None, one, one)
    ]
    handlers = Handlers()
    assert checkpoints.each_delivery(handlers.method)(EVENT) is EVENT
    assert handlers.seen[-1][0] is EVENT
    received = [
        line.message for line in sink.checkpoints if line.kind.value == "CHECKPOINT_RECEIVED"
    ]
    assert received == [RECEIVED] * 8


_KINDS = ("positional", "both", "named")
_others = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3)


@st.composite
def _functions(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the source of a function with its delivery last or by name, and a call without it."""
    names = ["event", *draw(_others)]
    first_named = draw(st.integers(1, len(names)))
    places = [*names]
    places.insert(draw(st.integers(first_named, len(names))), "delivery")
    first_named += draw(st.booleans()) and places[first_named] == "delivery"
    only_positional = draw(st.integers(0, first_named - (places[first_named - 1] == "delivery")))
    parts = (
        places[:only_positional]
        + (["/"] if only_positional else [])
        + places[only_positional:first_named]
    )
    parts += ["*", *places[first_named:]] if first_named < len(places) else []
    by_name = [name for name in names if places.index(name) >= first_named]
    may_be_named = [
        name for name in names if places.index(name) >= only_positional and name not in by_name
    ]
    by_name += may_be_named[draw(st.integers(0, len(may_be_named))) :]
    values = {name: EVENT if name == "event" else name.upper() for name in names}
    source = f"lambda {', '.join(parts)}: ({', '.join(names)}, delivery)"
    return source, [values[n] for n in names if n not in by_name], {n: values[n] for n in by_name}


@few(100)
@given(_functions())
def test_every_argument_reaches_the_parameter_that_it_is_for(
    function: tuple[str, list[Any], dict[str, Any]],
) -> None:
    """Whether they are given by place or by name, and whatever comes after them."""
    source, args, kwargs = function
    sink = RecordingSink()
    decorated = CheckpointLogger(load_phase("phase2"), sink).each_delivery(eval(source))  # noqa: S307 (made above)
    event, *others, delivery = decorated(*args, **kwargs)
    assert event is EVENT, source
    assert all(other in {"A", "B", "C"} for other in others), source
    assert isinstance(delivery, Delivery), source
    assert sink.checkpoints[0].message == RECEIVED, source
    assert "delivery" not in inspect.signature(decorated).parameters
    inspect.signature(decorated).bind(*args, **kwargs)


def test_what_lacks_its_event_fails_in_its_delivery(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """As Python has it for any function; the lines say so."""
    function = checkpoints.each_delivery(lambda event, delivery: (event, delivery))
    with pytest.raises(TypeError, match="event"):
        function()
    assert sink.kinds() == ["RECEIVED", "FAILED"]
    no_event = "event: expected a CloudEvent or a dict, got NoneType"
    assert sink.checkpoints[0].message == f"CHECKPOINT_RECEIVED: an unreadable message {no_event}"


def test_a_route_with_arguments_of_its_own_is_served(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Its first one is no message, which RECEIVED says; the view is called all the same."""
    app = flask.Flask("app")

    @app.route("/<name>/<int:number>")
    @checkpoints.each_delivery
    def view(name: str, number: int, delivery: Delivery) -> str:
        delivery.ignored("seen")
        return f"{name} {number}"

    assert app.test_client().get("/push/7").text == "push 7"
    assert [line.message for line in sink.checkpoints] == [
        (
            "CHECKPOINT_RECEIVED: an unreadable message event: expected a CloudEvent or a dict, "
            "got str"
        ),
        "CHECKPOINT_IGNORED: seen (an unreadable message)",
    ]
