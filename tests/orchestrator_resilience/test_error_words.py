"""The one line of an error that says what went wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator_resilience.stores.error_words import CHARACTERS, error_words
from tests.proof.inputs import fuzzed, json_values, texts

FRAMES = (
    'Traceback (most recent call last):\n  File "main.py", line 3, in <module>\n    import yaml\n'
)
NO_MODULE = "ModuleNotFoundError: No module named 'yaml'"
CHAINED = (
    "KeyError: 'a'\n\n"
    f"During handling of the above exception, another exception occurred:\n\n{FRAMES}"
)
GROUP = (
    "  + Exception Group Traceback (most recent call last):\n  |   File x\n"
    "  | ExceptionGroup: two (1 sub-exception)\n"
    "  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n"
    "    |   File y\n"
    "    | ValueError: one\n    +------------------------------------\n"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{FRAMES}{NO_MODULE}\n", NO_MODULE),
        (f"[ERROR] Exception in worker process\n{FRAMES}{NO_MODULE}\n\n", NO_MODULE),
        (f"{FRAMES}{CHAINED}{NO_MODULE}", NO_MODULE),
        (
            f"{FRAMES}PermissionDenied: 403 denied [links {{\n  url: x\n}}\n]",
            "PermissionDenied: 403 denied [links {",
        ),
        (GROUP, "ValueError: one"),
        (
            "Error: no topic\n    at publish (index.js:1)\n    at main (index.js:9)",
            "Error: no topic",
        ),
        ("Exception: a\n\tat x\nCaused by: b\n\tat y", "Caused by: b"),
        (FRAMES, "import yaml"),
        ("    import yaml\n", "import yaml"),
        (
            "Memory limit of 256 MiB exceeded with 260 MiB used.",
            "Memory limit of 256 MiB exceeded with 260 MiB used.",
        ),
        ("\r\n \u2028\n", ""),
    ],
)
def test_the_line_of_the_exception(text: str, words: str) -> None:
    """Of several exceptions the last one, whatever its message has in further lines.

    Else the last line of the text.
    """
    assert error_words(text) == words


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"message": "it failed", "stack_trace": f"{FRAMES}{NO_MODULE}"}, NO_MODULE),
        ({"message": "it failed", "exc_info": True}, "it failed"),
        ({"event": "failed", "exception": [{"exc_type": "KeyError"}]}, "failed"),
        ({"error": {"code": 7, "message": "denied"}}, "denied"),
        ({"error": {"error": {"error": {"error": {"message": "too deep"}}}}}, ""),
        ({"code": 7}, ""),
        (None, ""),
        ([FRAMES], ""),
    ],
)
def test_a_payload_of_fields(payload: Any, words: str) -> None:
    """The stack trace says more than the message; where no field has a text, nothing is said."""
    assert error_words(payload) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("E: \x1b[31mred\x00\u202eevil", "E: \\x1b[31mred\\x00\\u202eevil"),
        ("E: " + "x" * 1_000_000, "E: " + "x" * 196 + "…"),
        ("x" * 200, "x" * 200),
        ("\u202e" * 300, "\\u202e" * 33 + "\\…"),
    ],
)
def test_harmless_and_short(text: str, words: str) -> None:
    """What would break a line or a terminal, or turn it round, is escaped; what is long is cut."""
    assert error_words(text) == words


@fuzzed(50)
@given(
    json_values
    | texts
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["message", "error", "stack_trace"], json_values)
    )
)
def test_whatever_is_written_there(payload: Any) -> None:
    """One line that can be shown, or none."""
    words = error_words(payload)
    assert len(words) <= CHARACTERS
    assert words.isprintable()
