"""A checkpoint line, and the three lines of a delivery, beside what else writes lines of JSON.

Every variant writes the same fields to a text file, a line a write, and flushes each, as stdout is
used; a logger binds what is known of a delivery once, where it has that. Ours also finds out who is
missing, and makes all values harmless; the others are told, and believe it. The processor's time is
measured: nothing here waits.

- the floor: a dict of all fields made anew for each line, `orjson.dumps`, one write; nothing else.
- json: the same with the standard library's.
- structlog: a bound logger, a time stamp, and orjson as its renderer.
- python-json-logger, Google's handler (google-cloud-logging) and loguru: as their documentation
  sets them up.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, date, datetime
from functools import partial
from io import StringIO
from itertools import count
from time import monotonic, process_time
from typing import Any, NamedTuple, TextIO

import orjson
import structlog
from google.cloud.logging_v2.handlers import StructuredLogHandler
from loguru import logger as loguru_logger
from pythonjsonlogger.json import JsonFormatter

from benchmarks.measure import Bench, summary, turns
from orchestrator_resilience import CheckpointLogger, load_phase
from orchestrator_resilience.checkpoints import PRODUCER, SCHEMA
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.sinks import json_lines

PACKAGES = (
    "msgspec",
    "orjson",
    "structlog",
    "python-json-logger",
    "google-cloud-logging",
    "loguru",
)
_LINES_A_ROUND = 1500
_PHASE = load_phase("phase2", BUNDLED_PHASES)
_COMPLETED = ["p2_bigdataball_pbp", "p2_nbacom_boxscores", "p2_nbacom_gamebook_pdf"]
_MISSING = ["p2_odds_game_lines", "p2_odds_player_props"]
_REASON = "p2_nbacom_boxscores reports no_data, which completes nothing"
_KNOWN = {
    "phase": "phase2",
    "game_date": "2026-02-09",
    "processor": "p2_nbacom_boxscores",
    "raw_processor": "NbacPlayerBoxscoreProcessor",
    "event_id": "17452304958720934",
    "correlation_id": "corr-2026-02-09",
    "delivery_attempt": 1,
    "status": "success",
}
_LABELS = {name: _KNOWN[name] for name in ("phase", "game_date", "processor")}
_FLOOR = "the same dict made anew, orjson, one write: the floor"
# What no two lines share, and what Google's handler adds, empty.
_OWN = {"time", "delivery", "elapsed_ms", "expected_hash", "httpRequest"}


class Line(NamedTuple):
    """What the others are told to write."""

    kind: str
    text: str
    closes: bool = False
    fields: Mapping[str, Any] = {}


_SUBJECT = f"{_KNOWN['processor']} {_KNOWN['game_date']}"
_STATE = {"should_trigger": False, "triggered": False, "duplicate": False}
_SETS = {"missing": _MISSING, "completed": _COMPLETED}
_WORDS = " ".join(f"{name}={value}" for name, value in (_STATE | _SETS).items())
_HASH = {"expected_hash": "0" * 12}
LINE = Line(
    "CHECKPOINT_IGNORED", f"{_REASON} ({_SUBJECT})", closes=True, fields={"outcome": "ignored"}
)
LINES = (
    Line("CHECKPOINT_RECEIVED", f"{_SUBJECT} success"),
    Line("CHECKPOINT_POST_TRANSACTION", f"{_WORDS} ({_SUBJECT})", fields=_STATE | _SETS),
    Line(
        "CHECKPOINT_WAITING",
        f"missing={_MISSING} 3/5 complete ({_SUBJECT})",
        closes=True,
        fields=_STATE | _SETS | {"outcome": "waiting", **_HASH},
    ),
)

Action = Callable[[], object]
# Writes a message with its fields; `bound` is what it was given at the beginning of the delivery.
Write = Callable[[str, dict[str, Any]], object]
Bind = Callable[[Mapping[str, Any]], Write]
# Begins a delivery as one would by hand: an id, a clock, a count of lines. Its answer writes a
# line.
Begin = Callable[[], Callable[[Line], object]]


def lines(rounds: int) -> list[Bench]:
    """Measure both; raises AssertionError where the variants do not write the same."""
    check()
    with open(os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123 (as stdout is opened)
        actions, many = _actions(stream).items(), _LINES_A_ROUND
        one = turns({name: partial(_seconds, line, many) for name, (line, _) in actions}, rounds)
        three = turns(
            {name: partial(_seconds, all_, many // 3) for name, (_, all_) in actions}, rounds
        )
    return [
        summary("A checkpoint line", "µs", _FLOOR, one),
        summary("A delivery of three lines", "µs", _FLOOR, three),
    ]


def _seconds(action: Action, repeats: int) -> float:
    """Return the processor's time that an action takes, without what else the machine does."""
    began = process_time()
    for _ in range(repeats):
        action()
    return (process_time() - began) / repeats


def check() -> None:
    """Raise AssertionError where a variant's content is not ours, or the floor's fields differ."""
    ours = _written("ours")
    for name in _actions(StringIO()):
        assert list(map(_content, _written(name))) == list(map(_content, ours)), name
    assert [line.keys() for line in _written(_FLOOR)] == [line.keys() for line in ours]


def _written(name: str) -> list[dict[str, Any]]:
    stream = StringIO()
    for action in _actions(stream)[name]:
        action()
    lines = [line for line in stream.getvalue().splitlines() if "CHECKPOINT_" in line]
    return [json.loads(line) for line in lines]  # Google's handler begins with its version


def _content(line: dict[str, Any]) -> dict[str, Any]:
    """Return what a line says beside times, ids and the special fields of Cloud Logging.

    Each library puts it elsewhere in the line.
    """
    if "record" in line:  # loguru's
        record = line["record"]
        line = {
            "message": record["message"],
            "severity": record["level"]["name"],
            **record["extra"],
        }
    return {
        k: v
        for k, v in line.items()
        if k not in _OWN and not k.startswith("logging.googleapis.com/")
    }


def _actions(stream: TextIO) -> dict[str, tuple[Action, Action]]:
    """Return by variant what writes one line of an open delivery, and what a whole delivery."""
    newline = orjson.OPT_APPEND_NEWLINE
    others = {
        _FLOOR: _bare(stream, lambda entry: orjson.dumps(entry, option=newline).decode()),
        "the same with json": _bare(stream, lambda entry: json.dumps(entry) + "\n"),
        "structlog": _logged(_structlog(stream)),
        "python-json-logger": _logged(_python_json_logger(stream)),
        "Google's handler": _logged(_googles(stream)),
        "loguru": _logged(_loguru(stream)),
    }
    return {"ours": _ours(stream)} | {name: _others(begin) for name, begin in others.items()}


def _ours(stream: TextIO) -> tuple[Action, Action]:
    checkpoints = CheckpointLogger(_PHASE, json_lines(stream), enabled=True)
    known: dict[str, Any] = {
        **_KNOWN,
        "processor": _KNOWN["raw_processor"],
        "game_date": date(2026, 2, 9),
    }
    del known["phase"], known["raw_processor"]
    begin = partial(checkpoints.delivery, **known)

    def delivery() -> None:
        with begin() as one:
            one.post_transaction(
                should_trigger=False, completed=_COMPLETED, triggered=False, duplicate=False
            )

    return partial(begin().ignored, _REASON), delivery


def _others(begin: Begin) -> tuple[Action, Action]:
    def delivery() -> None:
        write = begin()
        for line in LINES:
            write(line)

    return partial(begin(), LINE), delivery


def _bare(stream: TextIO, encode: Callable[[dict[str, Any]], str]) -> Begin:
    def begin() -> Callable[[Line], object]:
        own_id, sequence, began = os.urandom(8).hex(), count(1), monotonic()

        def write(line: Line) -> None:
            number = next(sequence)
            entry = {
                "severity": "INFO",
                "message": f"{line.kind}: {line.text}",
                "time": datetime.now(UTC).isoformat(),
                "checkpoint": line.kind,
                "schema": SCHEMA,
                "closes": line.closes,
                **_KNOWN,
                **line.fields,
                "delivery": own_id,
                "sequence": number,
                "elapsed_ms": round((monotonic() - began) * 1000, 1),
                "logging.googleapis.com/insertId": f"{own_id}-{number}",
                "logging.googleapis.com/labels": _LABELS,
                "logging.googleapis.com/operation": {
                    "id": own_id,
                    "producer": PRODUCER,
                    "first": number == 1,
                    "last": line.closes,
                },
            }
            stream.write(encode(entry))
            stream.flush()

        return write

    return begin


def _logged(bind: Bind) -> Begin:
    def begin() -> Callable[[Line], object]:
        own_id, sequence, began = os.urandom(8).hex(), count(1), monotonic()
        known = {**_KNOWN, "schema": SCHEMA, "delivery": own_id}
        write = bind({**known, "logging.googleapis.com/labels": _LABELS})

        def write_line(line: Line) -> None:
            number = next(sequence)
            fields = {
                "checkpoint": line.kind,
                "closes": line.closes,
                **line.fields,
                "sequence": number,
                "elapsed_ms": round((monotonic() - began) * 1000, 1),
                "logging.googleapis.com/insertId": f"{own_id}-{number}",
                "logging.googleapis.com/operation": {
                    "id": own_id,
                    "producer": PRODUCER,
                    "first": number == 1,
                    "last": line.closes,
                },
            }
            write(f"{line.kind}: {line.text}", fields)

        return write_line

    return begin


def _structlog(stream: TextIO) -> Bind:
    def severity(
        _: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["severity"] = method.upper()
        return event

    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            severity,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: orjson.dumps(event).decode()
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return lambda bound: _keywords(logger.bind(**bound).info)


def _keywords(write: Callable[..., object]) -> Write:
    return lambda message, fields: write(message, **fields)


def _python_json_logger(stream: TextIO) -> Bind:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(message)s", rename_fields={"levelname": "severity"}, timestamp="time"
        )
    )
    log = _logger("python-json-logger", handler)
    return lambda bound: lambda message, fields: log.info(message, extra={**bound, **fields})


def _googles(stream: TextIO) -> Bind:
    log = _logger("google", StructuredLogHandler(stream=stream, project_id="local-project"))  # type: ignore[no-untyped-call]
    return lambda bound: (
        lambda message, fields: log.info(
            message, extra={"json_fields": {**bound, **fields}, "labels": _LABELS}
        )
    )


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    log = logging.getLogger(f"benchmarks.{name}")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    return log


def _loguru(stream: TextIO) -> Bind:
    loguru_logger.remove()
    loguru_logger.add(stream, serialize=True, format="{message}")
    return lambda bound: lambda message, fields: loguru_logger.bind(**bound, **fields).info(message)
