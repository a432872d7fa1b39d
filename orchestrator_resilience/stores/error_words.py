"""The one line of a log entry that says what went wrong: of a stack trace, the last exception."""

import re
from collections.abc import Mapping

from orchestrator_resilience.plain import cut_line

CHARACTERS = 200
# Where structured logging puts a stack trace or a message, the one that says most first.
_FIELDS = ("stack_trace", "exception", "exc_info", "traceback", "message", "msg", "event", "error")
_DEPTH = 4
_HEADER = "Traceback (most recent call last):"
# What Python draws in front of the lines of an exception group.
_GROUP = re.compile(r"^ *[|+] ")


def error_words(payload: object) -> str:
    """Return the last line of the exception in a text or a JSON payload, else of what it says.

    It is empty where the payload says nothing, is harmless, and has at most 200 characters.
    """
    return cut_line(_last_line(_text(payload, _DEPTH)), CHARACTERS)


def _text(payload: object, depth: int) -> str:
    """Return the text of a payload, or the first text of its fields that say something."""
    if isinstance(payload, str):
        return payload
    if not isinstance(payload, Mapping) or not depth:
        return ""
    texts = (_text(payload[name], depth - 1) for name in _FIELDS if name in payload)
    return next((text for text in texts if text.strip()), "")


def _last_line(text: str) -> str:
    """Return the line of the last exception: the first after its frames, which are indented."""
    lines = [_GROUP.sub("", line) for line in text.splitlines() if line.strip()]
    headers = [number for number, line in enumerate(lines) if line.strip().endswith(_HEADER)]
    after = lines[headers[-1] + 1 :] if headers else []
    unindented = [line for line in after or lines if not line[:1].isspace()]
    if after and unindented:
        return unindented[0].strip()
    return (unindented or lines or [""])[-1].strip()
