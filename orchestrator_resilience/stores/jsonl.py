"""Checkpoints in a file of JSON lines: the embedded counterpart of Cloud Logging."""

import fcntl
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec

from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, concerns, in_order, json_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import Lines


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

    def read(self, wanted: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Return the lines that concern one of these dates, oldest first; none where there is no file.

        In one pass, in which only what is kept is parsed: the file may have a million lines.
        """
        dates = {day.isoformat().encode() for days in wanted.values() for day in days}
        kept: dict[bytes, dict[bytes, bytes]] = defaultdict(dict)  # what closed a delivery, or RECEIVED by its delivery
        cut = set[bytes]()
        try:
            with self.path.open("rb") as file:
                for line in file:
                    day = _said(_GAME_DATE, line)
                    if day not in dates and (day or _REJECTED not in line):
                        continue
                    own, delivery = kept[day], _said(_DELIVERY, line)
                    if _CLOSES.search(line):
                        own.pop(delivery, None)
                        own[line] = line
                    elif delivery:
                        own.setdefault(delivery, line)
                    if len(own) > _MOST_OF_A_DATE:
                        del own[next(iter(own))]
                        cut.add(day)
        except FileNotFoundError:
            return Lines()
        except OSError as error:
            raise StoreError(f"{self.path}: {error}") from error
        lines, cut_at = list[Checkpoint](), list[datetime]()
        for day, own in kept.items():
            parsed = [c for _ in range(len(own)) if (c := _parsed(own.popitem()[1])) is not None and c.at <= until]
            lines += [c for c in parsed if any(concerns(c, name, at) for name, days in wanted.items() for at in days)]
            cut_at += [min(c.at for c in parsed)] if day in cut and parsed else []
        return Lines(sorted(lines, key=in_order), max(cut_at, default=None))


# What tells of a line, without parsing it, whether it is wanted; in a text, a quotation mark has a backslash before it.
_GAME_DATE, _DELIVERY = (re.compile(rb'"%b": ?"([^"]+)"' % name) for name in (b"game_date", b"delivery"))
_CLOSES = re.compile(rb'"closes": ?true')
_REJECTED = CheckpointKind.REJECTED.value.encode()
# So many deliveries of a date are enough to know what became of it; the newest count most.
_MOST_OF_A_DATE = 2_000


def _said(field: re.Pattern[bytes], line: bytes) -> bytes:
    found = field.search(line)
    return found[1] if found else b""


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
        found = msgspec.json.decode(line)  # unlike json, it makes each name once, whatever number of lines has it
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parsed(line: bytes) -> Checkpoint | None:
    found = _object(line)
    try:
        return Checkpoint.from_json(found) if found is not None else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
