"""The functions that CheckpointLogger.each_delivery decorates: where one takes its event, and where its delivery."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from orchestrator_resilience.plain import shown

R = TypeVar("R")

_DELIVERY = "delivery"
_INSTEAD = "; a block does it everywhere: with checkpoints.delivery(...) as delivery"


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a function from its signature.

    `signature` is that of its callers, who give no delivery. They give the event at the place `event_at`, or by its
    name. The function takes the delivery at `delivery_at`, or by its name, None where only by that.
    """

    signature: inspect.Signature
    event_name: str
    event_at: int
    delivery_at: int | None

    def event(self, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        """Return the event of a call; None where it has none."""
        return args[self.event_at] if len(args) > self.event_at else kwargs.get(self.event_name)

    def call(self, function: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any], delivery: object) -> R:
        """Call the function with the delivery at its place, or by its name where the arguments end before that."""
        at = self.delivery_at
        if at is None or len(args) < at:
            return function(*args, **{**kwargs, _DELIVERY: delivery})
        return function(*args[:at], delivery, *args[at:], **kwargs)


def handler_of(function: Callable[..., object]) -> Handler:
    """Read a function's signature; TypeError, with what to use instead, for one that cannot get a delivery."""
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise TypeError(f"each_delivery takes a function, below all other decorators, not {shown(function)}{_INSTEAD}")
    name, inner = function.__qualname__, inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(f"each_delivery: {name} is a generator function, whose body runs after its call{_INSTEAD}")
    signature = inspect.signature(function)
    places = [p.name for p in signature.parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD]
    callers = [place for place in places if place != _DELIVERY]
    event_at = int(callers[:1] in (["self"], ["cls"]))
    if _DELIVERY not in signature.parameters or len(callers) <= event_at:
        raise TypeError(f"each_delivery: {name} has to take an event and, by this name, `{_DELIVERY}`{_INSTEAD}")
    if not event_at and len(callers) > 1 and _is_in_a_class(function):
        raise TypeError(f"each_delivery: whether {callers[0]} of {name} is the event is not known{_INSTEAD}")
    return Handler(
        signature=signature.replace(parameters=[p for p in signature.parameters.values() if p.name != _DELIVERY]),
        event_name=callers[event_at],
        event_at=event_at,
        delivery_at=places.index(_DELIVERY) if _DELIVERY in places else None,
    )


def _is_in_a_class(function: Callable[..., object]) -> bool:
    """Whether a function, no method that is bound already, was defined in the body of a class."""
    owner = function.__qualname__.rpartition(".")[0]
    return not inspect.ismethod(function) and owner != "" and not owner.endswith("<locals>")
