"""Checkpoints in a file of JSON lines: the embedded counterpart of Cloud Logging."""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, concerns, json_line
from orchestrator_resilience.errors import StoreError


class JsonLinesArchive:
    """A sink for checkpoints, and a CheckpointArchive.

    Each line is appended with one `write` under a lock, so the lines of several threads and
    processes do not mix. A line that a crash cut short, or that is no checkpoint, is left out alone when reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, checkpoint: Checkpoint) -> None:
        """Append one checkpoint; raises StoreError."""
        append_line(self.path, json_line(checkpoint))

    def read(self, phase: str, game_dates: Collection[date]) -> list[Checkpoint]:
        """Return the checkpoints that concern one of these dates, oldest first; none where there is no file.

        The file is read line by line, and only what can concern one is parsed: it may have a million lines.
        """
        wanted = [CheckpointKind.REJECTED.value.encode(), *(day.isoformat().encode() for day in game_dates)]
        try:
            with self.path.open("rb") as file:
                lines = (line for line in file if any(one in line for one in wanted))
                found = (parsed for line in lines if (parsed := _parsed(line)) is not None)
                kept = [c for c in found if any(concerns(c, phase, day) for day in game_dates)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.path}: {error}") from error
        return sorted(kept, key=lambda c: c.at)


def append_line(path: Path, line: str) -> None:
    """Append `line` (with its line break) in one write; raises StoreError."""
    data = line.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the file is closed
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data  # somebody died in the middle of a line, which must not take this one with it
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    if written != len(data):
        raise StoreError(f"{path}: only {written} of {len(data)} bytes could be written")


def last_line(path: Path, wanted: Callable[[Mapping[str, Any]], bool] = lambda _: True) -> dict[str, Any] | None:
    """Return the last whole JSON object of a file of lines that is `wanted`, or None where there is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    objects = (_object(line) for line in reversed(lines))
    return next((found for found in objects if found is not None and wanted(found)), None)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parsed(line: bytes) -> Checkpoint | None:
    found = _object(line)
    try:
        return Checkpoint.from_json(found) if found is not None else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
