"""Checkpoints in a file of JSON lines: the embedded counterpart of Cloud Logging."""

import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orchestrator_resilience.checkpoints import (
    Checkpoint,
    CheckpointKind,
    Severity,
    deliveries,
    json_line,
)
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import Lines

R = TypeVar("R")


class JsonLinesArchive:
    """A sink for checkpoints, and a CheckpointArchive.

    Each line is appended with one `write` under a lock, so the lines of several threads and
    processes do not mix. A line that a crash cut short, or that is no checkpoint, is left out alone
    when reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, checkpoint: Checkpoint) -> None:
        """Append one checkpoint; raises StoreError."""
        append_line(self.path, json_line(checkpoint))

    def read(self, game_dates: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Return the lines that concern one of these dates, oldest first; none without a file.

        The file is read in one pass, in which only the lines that are kept are parsed as a whole:
        it may have a million lines.
        """
        dates = {
            name: {day.isoformat() for day in days} for name, days in game_dates.items() if days
        }
        begin = {name: min(days) for name, days in dates.items()}
        before = dict[str, bytes]()
        # By phase and date: the lines that closed a delivery, and RECEIVED by its delivery.
        by_date: dict[tuple[str, str | None], dict[object, bytes]] = defaultdict(dict)
        cut = set[tuple[str, str | None]]()
        for line, head in self._heads():
            if head.severity == Severity.INFO and head.time < begin.get(head.phase, ""):
                before[head.phase] = line
            if not head.is_wanted(dates):
                continue
            lines_of_date = by_date[head.phase, head.day]
            if head.closes is not False:
                lines_of_date.pop(str(head.delivery), None)
                lines_of_date[line] = line
            elif head.checkpoint == CheckpointKind.RECEIVED:
                lines_of_date.setdefault(str(head.delivery), line)
            if len(lines_of_date) > _MOST_OF_A_DATE:
                del lines_of_date[next(iter(lines_of_date))]
                cut.add((head.phase, head.day))
        lines, cut_at = list[Checkpoint](), list[datetime]()
        for key, lines_of_date in by_date.items():
            # From the last line of the file to the first, whatever the clocks said.
            read = (
                _or_none(_checkpoint, lines_of_date.popitem()[1]) for _ in range(len(lines_of_date))
            )
            parsed = [c for c in read if c is not None and c.at <= until]
            lines += parsed
            cut_at += [parsed[-1].at if parsed else until] if key in cut else []
        last_before = {
            name: last
            for name, line in before.items()
            if (last := _or_none(_checkpoint, line)) is not None
        }
        return Lines(deliveries(lines, game_dates), max(cut_at, default=None), last_before)

    def _heads(self) -> "Iterator[tuple[bytes, _Head]]":
        """Yield the lines that can be read, each with its head."""
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if (head := _or_none(_head, line)) is not None:
                        yield line, head
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path}: {error}") from error


class _Head(msgspec.Struct):
    """The part of a line that says whether the line is wanted."""

    checkpoint: str
    closes: Any
    phase: str
    time: str = ""
    severity: Any = None
    game_date: Any = None
    delivery: Any = None

    @property
    def day(self) -> str | None:
        return self.game_date if isinstance(self.game_date, str) else None

    def is_wanted(self, dates: Mapping[str, Collection[str]]) -> bool:
        undated = self.day is None and self.checkpoint == CheckpointKind.REJECTED
        return self.phase in dates and (undated or self.day in dates[self.phase])


_head = msgspec.json.Decoder(_Head).decode
# unlike json, it makes each name only once for all lines
_object = msgspec.json.Decoder(dict[str, Any]).decode
# So many deliveries of a date are enough to know what became of it; the newest count most.
_MOST_OF_A_DATE = 2_000


def _checkpoint(line: str) -> Checkpoint:
    return Checkpoint.from_json(_object(line))


def _or_none(read: Callable[[str], R], line: bytes) -> R | None:
    """Read a line; None where a crash cut it short, or it is something else."""
    try:
        # an editor may put it before the first line
        return read(line.decode().removeprefix("\ufeff"))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


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
                # a process died within the last line, which must not spoil this one
                data = b"\n" + data
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    if written != len(data):
        raise StoreError(f"{path}: only {written} of {len(data)} bytes could be written")


def last_line(
    path: Path, condition: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> dict[str, Any] | None:
    """Return the last JSON object of a file of lines that meets `condition`, None without one."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    objects = (_or_none(_object, line) for line in reversed(lines))
    return next((fields for fields in objects if fields is not None and condition(fields)), None)
