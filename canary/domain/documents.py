"""How the canary's own values are stored in documents: field by field, and times as times.

What is damaged there is left out alone: an entry of a list or of a map, a field that has a default.
A value that lacks what it needs is none.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from orchestrator_resilience.plain import calendar_date, instant

T = TypeVar("T", bound=msgspec.Struct)
_shape_of = lru_cache(inspect.type_info)


def to_fields(value: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that hold a value."""
    fields: dict[str, Any] = msgspec.to_builtins(
        value, builtin_types=(datetime,), order="deterministic"
    )
    return fields


def from_fields(kind: type[T], fields: object) -> T | None:
    """Read the fields that hold a value of a kind; None where they make none."""
    value: T | None = _read(_shape_of(kind), fields)
    return value


def _read(shape: inspect.Type, stored: Any) -> Any:
    """Return the value that is stored, None where it has not this shape."""
    match shape:
        case inspect.StructType():
            return _struct(shape, stored)
        case inspect.DictType():
            entries = stored.items() if isinstance(stored, Mapping) else ()
            values = {str(name): _read(shape.value_type, entry) for name, entry in entries}
            return {name: value for name, value in values.items() if value is not None}
        case inspect.VarTupleType() | inspect.FrozenSetType():
            items = (
                [_read(shape.item_type, item) for item in stored]
                if isinstance(stored, (list, tuple))
                else []
            )
            make = tuple if isinstance(shape, inspect.VarTupleType) else frozenset
            return make(item for item in items if item is not None)
        case inspect.UnionType():  # of something and None
            return _read(shape.types[0], stored)
        case inspect.EnumType():
            return next((member for member in shape.cls if member.value == stored), None)
        case inspect.DateTimeType():  # a store's own may be of a class of its own
            return instant(stored)
        case inspect.DateType():
            return calendar_date(stored)
        case inspect.BoolType():
            return stored is True
        case inspect.IntType():
            return (
                stored
                if isinstance(stored, int) and not isinstance(stored, bool) and 0 <= stored < 2**31
                else None
            )
        case _:
            return str(stored)


def _struct(shape: inspect.StructType, fields: object) -> Any:
    if not isinstance(fields, Mapping):
        return None
    there = [
        field for field in shape.fields if field.required or fields.get(field.name) is not None
    ]
    values = {field.name: _read(field.type, fields.get(field.name)) for field in there}
    try:
        return shape.cls(**{name: value for name, value in values.items() if value is not None})
    except (TypeError, ValueError):  # it lacks a field, or refuses what is in one
        return None
