"""Values from outside made plain.

Texts become one line, times and dates become possible ones, and JSON has a bounded size.
"""

import math
import reprlib
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, overload

# Dates and times outside these years are mistakes, and arithmetic on the last ones overflows.
YEARS = range(2000, 2100)
TEXT_CHARACTERS = 1000
# More items than a phase has processors; nested lists are only shown, and never read again.
LIST_ITEMS, _ITEMS = 1000, 50
_DEPTH = 4
# Unlike repr, it is bounded in length and depth.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 200


def instant(value: object) -> datetime | None:
    """Read a time as stores and old documents hold it: aware, naive (taken as UTC), or ISO text.

    Returns None for what is no time, or has an impossible year: Go writes year 1 for none.
    """
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(at, datetime) or at.year not in YEARS:
            return None
        at = datetime.combine(at.date(), at.timetz())  # Firestore's times are of a class of its own
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def calendar_date(text: object) -> date | None:
    """Read a date in ISO text, such as 2026-02-09; None for what is none."""
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def one_line(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """Escape what would break the line or the terminal, and cut what is over `limit` characters."""
    if len(text) <= limit and text.isprintable():  # as nearly all are
        return text
    return printable(text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)")


def cut_line(text: str, limit: int) -> str:
    """Escape the same, and cut what is over `limit` characters, those of the escapes included."""
    words = printable(text[: limit + 1])
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


@overload
def printable(value: str) -> str: ...
@overload
def printable(value: Mapping[str, Any]) -> dict[str, Any]: ...
@overload
def printable(value: object) -> object: ...
def printable(value: object) -> object:
    """Escape in every text of a value what would break a line or a terminal, or change its order.

    Nothing is cut, so that the value can be used as data: this is where text from outside is made
    harmless, once.
    """
    match value:
        case str():
            if value.isprintable():
                return sys.intern(value)  # thousands of lines name the same processors
            return "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value
            )
        case Mapping():
            return {printable(str(name)): printable(item) for name, item in value.items()}
        case list() | tuple():
            return [printable(item) for item in value]
        case _:
            return value


def plain(value: Any, depth: int = 0) -> Any:
    """Turn any value into one that JSON can hold, bounded in length and depth; never raises."""
    kind = type(value)  # nearly all values are of one of these, and a line has many
    if kind is str and len(value) <= TEXT_CHARACTERS and value.isprintable():
        return value
    if kind is bool or value is None:
        return value
    try:
        return _plain(value, depth)
    except Exception:  # noqa: BLE001 (the class of a value may be anybody's)
        return f"a {kind.__name__}"


def _plain(value: object, depth: int) -> Any:
    match value:
        case list() | tuple() | set() | frozenset() if depth < _DEPTH:
            return [plain(v, depth + 1) for v in islice(value, _ITEMS if depth else LIST_ITEMS)]
        case str():
            return one_line(str(value))
        case int():
            return value if value.bit_length() < 64 else f"an integer of {value.bit_length()} bits"  # noqa: PLR2004 (INT64)
        case float():
            return value if math.isfinite(value) else repr(value)
        case date():
            return value.isoformat()
        case Mapping() if depth < _DEPTH:
            return {one_line(str(k)): plain(v, depth + 1) for k, v in islice(value.items(), _ITEMS)}
        case _:
            return one_line(_REPR.repr(value))


def shown(value: object) -> str:
    """Return any value as one printable line of bounded length, or its type if it has no text."""
    try:
        return _REPR.repr(value)
    except Exception:  # noqa: BLE001 (a number of too many digits, an object whose repr fails)
        return f"a value of type {type(value).__name__}"
