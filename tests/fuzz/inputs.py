"""What the targets are fed: values as JSON, Firestore and foreign code have them, and valid bytes with some changed."""

import base64
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.hostile import odd_times, times

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

# What breaks lines, terminals, parsers, numbers and HTML.
TOKENS = [
    *(b"\x1b[31m", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", "\u202e\u2028".encode(), b"\\ud800", b"<script>"),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b"\\", b":", b",", b"=", b"#", b"$", b"null", b"true", b"NaN", b"1e999"),
    *(b"-1", b"9" * 5000, b"0001-01-01", b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00+14:00", b"{}", b'""'),
    *(b"[" * 700, b"[" * 2000, b'{"a":' * 700, b"a." * 2000),
]
STRANGE = ["", "\x1b[31m", "a\nb", "\u202ex", "\ud800", "x" * 2000, "Infinity", "<script>", "`x`", "9" * 5000, "__x__"]
texts = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(STRANGE)
_numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63), 10**400, 1e308, 150.0])


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists and maps of `scalars`, a few of them, and now and then a deep one."""
    inner = st.recursive(
        scalars, lambda one: st.lists(one, max_size=4) | st.dictionaries(texts, one, max_size=4), max_leaves=8
    )
    return st.one_of(inner, inner, inner, st.builds(_deep, st.sampled_from([20, 400, 700]), scalars))


def _deep(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = [value]
    return value


json_values = nested(st.none() | st.booleans() | _numbers | texts)
"""What JSON can say, as Python reads it."""

stored_values = nested(st.none() | st.booleans() | _numbers | texts | times | odd_times | st.binary(max_size=8))
"""What a document can hold."""


def odd(known: dict[str, Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return `known` with some fields replaced, some left out, and some added."""
    replaced = st.dictionaries(st.sampled_from(sorted(known)) | texts, values, max_size=4)
    gone = st.sets(st.sampled_from(sorted(known)), max_size=2)
    return st.builds(lambda new, less: {k: v for k, v in {**known, **new}.items() if k not in less}, replaced, gone)


# Changes of valid bytes: where (a share of the whole), how, and with what.
Edit = tuple[int, str, bytes]
_edits: st.SearchStrategy[Edit] = st.tuples(
    st.integers(0, 9999),
    st.sampled_from(["insert", "replace", "delete", "cut", "repeat", "flip"]),
    st.sampled_from(TOKENS) | st.binary(max_size=6),
)


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return one of `seeds` with a few changes, or any bytes."""
    changed = st.builds(_changed, st.sampled_from(seeds), st.lists(_edits, max_size=5))
    return st.one_of(changed, changed, changed, st.binary(max_size=200))


def mutated_text(seeds: Sequence[str]) -> st.SearchStrategy[str]:
    """Do the same with texts; what is no UTF-8 becomes lone surrogates, as in arguments and file names."""
    return mutated([seed.encode() for seed in seeds]).map(lambda found: found.decode("utf-8", "surrogateescape"))


def _changed(seed: bytes, edits: Sequence[Edit]) -> bytes:
    for place, how, piece in edits:
        at = place * len(seed) // 10_000
        seed = seed[:at] + _HOW[how](seed[at:], piece)
    return seed


_HOW: dict[str, Callable[[bytes, bytes], bytes]] = {
    "insert": lambda rest, piece: piece + rest,
    "replace": lambda rest, piece: piece + rest[len(piece) :],
    "delete": lambda rest, piece: rest[len(piece) + 1 :],
    "cut": lambda _, piece: piece,
    "repeat": lambda rest, piece: rest[: 8 * len(piece)] + rest,
    "flip": lambda rest, piece: bytes(byte ^ (1 << len(piece) % 8) for byte in rest[:1]) + rest[1:],
}


# The corpus: JSON that people can read; what JSON has not is a map of one key.


def to_json(value: Any) -> Any:
    """Return an input as JSON can hold it."""
    match value:
        case bytes():
            return {"$ascii": value.decode()} if value.isascii() else {"$base64": base64.b64encode(value).decode()}
        case datetime():
            return {"$time": value.isoformat()}
        case dict():
            return {name: to_json(one) for name, one in value.items()}
        case list() | tuple():
            return [to_json(one) for one in value]
        case _:
            return value


def from_json(value: Any) -> Any:
    """Return the input that `to_json` was given."""
    match value:
        case {"$base64": str() as text} if len(value) == 1:
            return base64.b64decode(text)
        case {"$ascii": str() as text} if len(value) == 1:
            return text.encode()
        case {"$time": str() as text} if len(value) == 1:
            return datetime.fromisoformat(text)
        case dict():
            return {name: from_json(one) for name, one in value.items()}
        case list():
            return [from_json(one) for one in value]
        case _:
            return value


def is_json(text: str) -> Any:
    """Read JSON as strict as RFC 8259: without NaN and Infinity; raises ValueError."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


Check = Callable[[Any], None]


@dataclass(frozen=True)
class Target:
    """One entry: what it is fed, and the check that raises AssertionError where its promise does not hold.

    What the check needs is there for as long as what `opened` returns is.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    opened: Callable[[], AbstractContextManager[Check]]


def pure(name: str, inputs: st.SearchStrategy[Any], check: Check) -> Target:
    """Return a target that needs nothing."""
    return Target(name, inputs, lambda: nullcontext(check))


def or_error(kind: type[E], act: Callable[[], T]) -> T | E:
    """Return what an entry answers, or the error of this kind with which it refuses."""
    try:
        return act()
    except kind as error:
        return error


# What is promised of every text.


def check_text(text: str) -> None:
    """Hold a text of people's to what breaks no line and no terminal."""
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)


def check_lines(printed: str) -> list[dict[str, Any]]:
    """Hold what goes to a log to one object of JSON a line, with a message for people; returns the objects."""
    assert printed == "" or printed.endswith("\n"), ascii(printed[-200:])
    assert printed.isascii(), ascii(printed)
    entries = [is_json(line) for line in printed.splitlines()]
    for entry in entries:
        check_text(entry["message"])
    return entries
