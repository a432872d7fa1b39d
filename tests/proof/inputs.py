"""What others may hand over, as Hypothesis generates it: bytes, texts, values, stored documents.

`fuzzed` takes a few inputs in `make test`, and many in the long forms, which choose a profile of
Hypothesis. What is found becomes an `@example` of the test that failed. The `check_` functions are
what is promised of every text.
"""

import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, TypeVar

import flask
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from canary.domain.evidence import Absent, Arrival, Evidence, Logged, Seen, Source, Unreadable
from canary.domain.incident import NotificationKind
from canary.domain.verdict import VerdictKind
from orchestrator_resilience.checkpoints import CheckpointKind, Severity
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.progress import ProcessorReport
from orchestrator_resilience.stores.base import Flag
from orchestrator_resilience.testing import push_envelope

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)
DAY = date(2026, 2, 9)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)


def few(number: int) -> settings:
    """Return the settings of a test with so many inputs in `make test`, and more in `make fuzz`."""
    return settings(
        max_examples=number * settings().max_examples // 100,
        derandomize=settings.get_current_profile_name() != "long",
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def fuzzed(number: int) -> Callable[[Callable[..., None]], Any]:
    """Mark a `@given` test as one of `make fuzz`; the quicker it is, the more inputs it takes."""
    ignored = pytest.mark.filterwarnings("ignore:Generating overly large repr")
    return lambda test: ignored(pytest.mark.fuzz(few(number)(test)))


# What breaks lines, terminals, parsers, numbers and HTML.
TOKENS = [
    b"\x1b[31m",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "\u202e\u2028".encode(),
    b"\\ud800",
    b"<script>",
    *(char.encode() for char in "{}[]\"'\\:,=#$"),
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"0001-01-01",
    b"9999-12-31T23:59:59Z",
    b"0001-01-01T00:00:00+14:00",
    b"{}",
    b'""',
    *(b"[" * 700, b"[" * 2000, b'{"a":' * 700, b"a." * 2000),
]
STRANGE = [
    "",
    "\x1b[31m",
    "a\nb",
    "\u202ex",
    "\ud800",
    "x" * 2000,
    "Infinity",
    "<script>",
    "`x`",
    "9" * 5000,
    "__x__",
]
texts = st.text(st.characters(codec=None), max_size=12) | st.sampled_from([*STRANGE, *FIVE])
odd_times = st.sampled_from(
    [
        datetime(1, 1, 1, tzinfo=UTC),  # what Go writes for no time
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),  # before year 1 in UTC
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 10, 6, 41),  # noqa: DTZ001 (naive)
        AT + timedelta(days=365),
    ]
)
times = odd_times | st.integers(-600, 600).map(lambda minutes: AT + timedelta(minutes=minutes))
time_texts = st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2026-02-10T06:41:00", "2026-02-10"]
)
_numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63), 10**400, 1e308, 150.0])


def _deep(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists and maps of `scalars`, a few of them, and now and then a deep one."""
    inner = st.recursive(
        scalars,
        lambda one: st.lists(one, max_size=4) | st.dictionaries(texts, one, max_size=4),
        max_leaves=8,
    )
    return st.one_of(
        inner, inner, inner, st.builds(_deep, st.sampled_from([20, 400, 700]), scalars)
    )


json_values = _nested(st.none() | st.booleans() | _numbers | texts | time_texts)
"""What JSON can say, as Python reads it."""

values = _nested(
    st.none() | st.booleans() | _numbers | texts | time_texts | times | st.binary(max_size=8)
)
"""What a document can hold."""


def odd(known: dict[str, Any], others: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return `known` with some fields replaced, some left out, and some added."""
    replaced = st.dictionaries(st.sampled_from(sorted(known)) | texts, others, max_size=4)
    gone = st.sets(st.sampled_from(sorted(known)), max_size=2)
    return st.builds(
        lambda new, less: {k: v for k, v in {**known, **new}.items() if k not in less},
        replaced,
        gone,
    )


# Changes of valid bytes: where (a share of the whole), how, and with what.
_edits = st.tuples(
    st.integers(0, 9999),
    st.sampled_from(["insert", "replace", "delete", "cut", "repeat", "flip"]),
    st.sampled_from(TOKENS) | st.binary(max_size=6),
)


def mutated(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Return one of `seeds` with a few changes, or any bytes."""
    changed = st.builds(_changed, st.sampled_from(seeds), st.lists(_edits, max_size=5))
    return st.one_of(changed, changed, changed, st.binary(max_size=200))


def mutated_text(*seeds: str) -> st.SearchStrategy[str]:
    """Mutate a text; what is no UTF-8 becomes lone surrogates, as in arguments and file names."""
    return mutated(*[seed.encode() for seed in seeds]).map(
        lambda found: found.decode("utf-8", "surrogateescape")
    )


def _changed(seed: bytes, edits: Sequence[tuple[int, str, bytes]]) -> bytes:
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


def or_error(kind: type[E], act: Callable[[], T]) -> T | E:
    """Return what `act` answers, or the error of this kind with which it refuses."""
    try:
        return act()
    except kind as error:
        return error


def check_text(text: str) -> None:
    """Hold a text of people's to what breaks no line and no terminal."""
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)


def check_lines(printed: str) -> list[dict[str, Any]]:
    """Return the objects of a log, each a line of strict JSON with a message for people."""
    assert printed == "" or printed.endswith("\n"), ascii(printed[-200:])
    assert printed.isascii(), ascii(printed)
    entries = [json.loads(line, parse_constant=pytest.fail) for line in printed.splitlines()]
    for entry in entries:
        check_text(entry["message"])
    return entries


# What stores hold of one date that nobody of this project wrote: whatever it is, the other dates
# are judged as if it were not there.

deep = _deep(300, [])
_entry = st.fixed_dictionaries(
    {},
    optional={
        "completed_at": values,
        "registered_at": values,
        "event_id": values,
        "status": values,
    },
)
_own = [
    "_triggered",
    "_triggered_at",
    "_trigger_reason",
    "_trigger_event_id",
    "_expected",
    "_partial_completion",
]
_own += ["_reports", "_unexpected", "_completed_count", "_first_completion_at"]
documents = st.dictionaries(
    st.sampled_from([*FIVE, *_own, "p2_unexpected", "_triggered_reason", "_mode"]) | texts,
    _entry | values | st.just(True) | st.lists(st.sampled_from(FIVE)) | st.just(deep),
    max_size=10,
)
"""The fields of a progress document."""

reports = st.builds(
    ProcessorReport, texts | st.sampled_from(["failed", "no_data", "success"]), st.none() | times
)
_arrival = st.builds(Arrival, times, times)
logs: st.SearchStrategy[Source[Logged]] = st.one_of(
    st.just(Absent()),
    st.just(Unreadable("refused")),
    st.builds(
        Logged,
        completed=st.dictionaries(st.sampled_from(FIVE), _arrival),
        reports=st.dictionaries(st.sampled_from(FIVE), reports),
        unexpected=st.frozensets(texts, max_size=3),
        flag=st.none() | st.builds(Flag, st.booleans(), st.none() | times, st.none() | texts),
        unattributed=st.lists(times, max_size=2).map(tuple),
    ).map(Seen),
)
"""What the completion log may say of a date."""

_fields = [
    "phase",
    "game_date",
    "processor",
    "raw_processor",
    "event_id",
    "delivery",
    "sequence",
    "completed",
    "missing",
    "expected",
    "triggered",
    "should_trigger",
    "duplicate",
    "steps",
    "causes",
    "field",
    "reason",
    "raw",
    "closes",
    *("time", "checkpoint", "severity", "message"),
]


def checkpoint_entry(**fields: Any) -> dict[str, Any]:
    """Return a line as the library leaves it, with some fields replaced."""
    return {
        "severity": Severity.INFO.value,
        "message": "CHECKPOINT_RECEIVED: x",
        "time": AT.isoformat(),
        "checkpoint": CheckpointKind.RECEIVED.value,
        "closes": False,
        "phase": "phase2",
        "game_date": str(DAY),
        "processor": FIVE[0],
        "event_id": "1",
        "delivery": "d1",
        "sequence": 1,
        **fields,
    }


checkpoint_entries = st.builds(
    lambda kind, odd: checkpoint_entry(**{"checkpoint": kind, **odd}),
    st.sampled_from([kind.value for kind in CheckpointKind]),
    st.dictionaries(
        st.sampled_from(_fields),
        json_values | st.just({}),
        max_size=4,
    ),
)
"""Lines of the archive, as objects of JSON."""


def evidence_of(log: Source[Logged], **others: Any) -> Evidence:
    """Return one date's evidence."""
    return Evidence(
        phase="phase2", game_date=DAY, completion_log=log, **{"progress": Absent(), **others}
    )


kinds = st.sampled_from([*VerdictKind, *NotificationKind, "OPENED", "ERROR", "LOG"]).map(str)
sent = st.lists(
    st.fixed_dictionaries({}, optional={"kind": kinds | values, "at": times | values}), max_size=9
)
_receipt = st.fixed_dictionaries(
    {},
    optional={
        "verdicts": st.lists(kinds, max_size=2),
        "level": kinds,
        "sent": kinds,
        "at": times | values,
        "run": texts,
        "heard": values,
        "began": values,
        "address": texts | st.just(""),
    },
)
receipts = st.dictionaries(
    st.sampled_from(["log", "slack", "*"]) | texts, values | _receipt, max_size=3
)
_event = st.fixed_dictionaries(
    {}, optional={"what": kinds, "at": times, "to": values, "why": texts, "by": texts}
)
incidents = st.fixed_dictionaries(
    {},
    optional={
        "kind": kinds | values,
        "causes": values | st.lists(kinds),
        "level": kinds | values,
        "opened_at": times | values,
        "quiet_since": times | values,
        "receipts": receipts | values,
        **dict.fromkeys(["silenced", "returned", "expired", "reminders", "ended"], values),
        "over_at": st.none() | times | values,
        "events": values | st.lists(_event | values, max_size=3),
    },
)
"""The fields of an incident."""
_date = st.fixed_dictionaries(
    {},
    optional={
        "verdict": kinds | values,
        "complete_at": times | values,
        "away_since": times | values,
        "incidents": values | st.lists(incidents | values, max_size=3),
        "forgotten": values,
        "sent": values
        | st.dictionaries(st.sampled_from(["log", "slack"]), sent | values, max_size=2),
    },
)
date_memories = (_date | values).map(lambda value: json.dumps(value, default=str)) | values
"""What is remembered of a date: a text of JSON, or anything."""

# One that somebody else wrote may silence its own date; the other one is not named in it.
silences = st.dictionaries(
    texts,
    values
    | st.fixed_dictionaries(
        {},
        optional={
            "phase": st.just(PHASE.name) | texts,
            "first": st.just(str(DAY)),
            "last": st.just(str(DAY)),
        },
    ).flatmap(
        lambda known: st.builds(
            lambda at, why: {**known, "expires_at": at, "reason": why}, times, texts
        )
    ),
    max_size=3,
)
"""The silences among what people said."""


ENVELOPE = push_envelope(
    FIVE[0], str(DAY), AT, message_id="17", entities_changed=["a"], is_incremental=True
)


def asked(
    method: str,
    body: bytes = b"",
    path: bytes = b"/",
    query: bytes = b"",
    headers: dict[str, bytes] | None = None,
) -> flask.Request:
    """Return a request as a WSGI server hands it over, its texts as Latin-1 without line breaks."""
    environ: dict[str, Any] = {
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "REQUEST_METHOD": method,
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    for name, value in (headers or {"content-length": b"%d" % len(body)}).items():
        prefix = "" if name == "content-length" else "HTTP_"
        environ[prefix + name.upper().replace("-", "_")] = value.translate(None, b"\r\n\0").decode(
            "latin-1"
        )
    return flask.Request(environ)
