"""Where checkpoints go: JSON lines for Cloud Logging, text for people, or stdlib logging."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from orchestrator_resilience.checkpoints import Checkpoint, Severity, Sink, json_line
from orchestrator_resilience.settings import Settings

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.NOTICE: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}
_COLOURS = {Severity.NOTICE: "\033[32m", Severity.WARNING: "\033[33m", Severity.ERROR: "\033[31m"}


def json_lines(stream: TextIO | None = None) -> Sink:
    """One JSON object a line, with Cloud Logging's special fields, on `stream` (default stdout)."""
    project = Settings.from_env().project
    return _writer(stream, lambda checkpoint, _: json_line(checkpoint, project))


def terminal_lines(stream: TextIO | None = None) -> Sink:
    """One line of text a checkpoint, coloured in a terminal where NO_COLOR is unset."""
    colours = Settings.from_env().colours
    return _writer(
        stream,
        lambda checkpoint, target: _for_people(checkpoint, coloured=colours and target.isatty()),
    )


def default_sink() -> Sink:
    """Text for people where stdout is a terminal, JSON lines everywhere else."""
    for_people = sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()
    return terminal_lines() if for_people else json_lines()


def stdlib_logging(logger: logging.Logger | None = None) -> Sink:
    """Log through stdlib logging, for programs that have set up google.cloud.logging already.

    Its handlers read `json_fields` and the like. The logger's own level is set to INFO where it has
    none, because the root logger drops INFO unless somebody said otherwise.
    """
    target = logging.getLogger("orchestrator_resilience") if logger is None else logger
    if target.level == logging.NOTSET:
        target.setLevel(logging.INFO)
    project = Settings.from_env().project

    def log(checkpoint: Checkpoint) -> None:
        # A new dict each time, because Google's handler deletes its reserved keys from it.
        entry = checkpoint.to_json(project)
        special = {"labels": entry.pop("logging.googleapis.com/labels")}
        # without the key the handler looks for a trace itself; with None it would not
        if "trace" in checkpoint.fields:
            special["trace"] = entry.pop("logging.googleapis.com/trace")
            special["span_id"] = entry.pop("logging.googleapis.com/spanId")
        for reserved in ("severity", "message", "time", "logging.googleapis.com/insertId"):
            del entry[reserved]
        target.log(
            _LEVELS[checkpoint.severity],
            "%s",
            checkpoint.message,
            extra={"json_fields": entry, **special},
        )

    return log


def _writer(stream: TextIO | None, render: Callable[[Checkpoint, TextIO], str]) -> Sink:
    """Write each checkpoint with a single `write`, so that the lines of threads do not mix."""
    lock = threading.RLock()  # a signal handler may write while its own thread is in here

    def write(checkpoint: Checkpoint) -> None:
        # Looked up each time: functions-framework replaces sys.stdout after the imports.
        target = sys.stdout if stream is None else stream
        line = render(checkpoint, target)
        with lock:
            target.write(line)
            target.flush()

    return write


def _for_people(checkpoint: Checkpoint, *, coloured: bool) -> str:
    time = f"{checkpoint.at:%m-%d %H:%M:%S}Z"
    colour = _COLOURS.get(checkpoint.severity)
    if colour is None or not coloured:
        return f"{time} {checkpoint.message}\n"
    return f"{time} {colour}{checkpoint.message}\033[0m\n"
