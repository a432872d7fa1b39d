"""What the stores hold of a date, read by hand: the truth of a simulated date rests on no code of the canary's."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.phase import Phase

DATABASE, CHECKPOINTS = "resilience.sqlite3", "checkpoints.jsonl"


class Stored(msgspec.Struct, frozen=True, dict=True):
    """The evidence of one date in the stores of a `folder`; without lines where they are not `readable`."""

    folder: Path
    phase: Phase
    day: date
    readable: bool = True

    def on(self, day: date) -> "Stored":
        """Return what is stored of another date."""
        return Stored(self.folder, self.phase, day, self.readable)

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The checkpoints of the date, in the order in which they were left."""
        return [line for line in self._all_lines if line.get("game_date") == str(self.day)]

    @cached_property
    def undated(self) -> list[dict[str, Any]]:
        """The checkpoints that name no date."""
        return [line for line in self._all_lines if not line.get("game_date")]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the date in the completion log, the message log's among them."""
        names = "row_id, event_id, processor_name, status, is_triggered, inserted_at"
        query = f"SELECT {names} FROM phase_completions WHERE game_date = ?"  # noqa: S608 (only names from here)
        return [dict(zip(names.split(", "), row, strict=True)) for row in self._query(query, str(self.day))]

    @cached_property
    def document(self) -> dict[str, Any]:
        """The fields of the progress document; its times are maps with the text in `$time`."""
        found = self._query(
            "SELECT fields FROM documents WHERE collection = ? AND id = ?",
            self.phase.firestore_collection,
            str(self.day),
        )
        return json.loads(found[0][0]) if found else {}

    def lines_of(self, message_id: str) -> list[dict[str, Any]]:
        """Return the lines of the deliveries of one message."""
        return [line for line in self.lines if line.get("event_id") == message_id]

    def has_row(self, message_id: str) -> bool:
        """Whether the completion of one message has a row."""
        return self.row_at(message_id) is not None

    def row_at(self, message_id: str) -> datetime | None:
        """Return when the row of one message got there."""
        found = [row for row in self.rows if row["event_id"] == message_id and not row["is_triggered"]]
        return min((datetime.fromisoformat(row["inserted_at"]) for row in found), default=None)

    def has_died(self, message_id: str) -> bool:
        """Whether deliveries of a message have begun, and none of them has ended."""
        lines = self.lines_of(message_id)
        return bool(lines) and not any(line["closes"] for line in lines)

    def last_closing(self, message_id: str) -> str | None:
        """Return the kind of the line with which the last delivery of a message ended."""
        closing_lines = [line["checkpoint"] for line in self.lines_of(message_id) if line["closes"]]
        return closing_lines[-1] if closing_lines else None

    def has_come_since(self, at: datetime) -> bool:
        """Whether a later delivery has left a line, or a registration, on the date."""
        registered = [entry["registered_at"] for entry in self.registrations.values() if entry.get("registered_at")]
        times = [*(line["time"] for line in self.lines), *(moment["$time"] for moment in registered)]
        return any(datetime.fromisoformat(moment) > at for moment in times)

    @property
    def registrations(self) -> dict[str, dict[str, Any]]:
        """The entries of the document that are processors', by the name that is written there."""
        return {name: value for name, value in self.document.items() if name[0] != "_" and isinstance(value, dict)}

    @property
    def reported(self) -> dict[str, set[str]]:
        """What was reported, in whichever store, by the name under which it stands there."""
        entries = [*self.registrations.items(), *self._map("_reports").items(), *self._map("_unexpected").items()]
        found: dict[str, set[str]] = {}
        for name, status in [
            *((name, value.get("status")) for name, value in entries),
            *((row["processor_name"], row["status"]) for row in self.rows),
        ]:
            found.setdefault(self.phase.canonical(name) or name, set()).add(str(status))
        return found

    @property
    def waits_for(self) -> set[frozenset[str]]:
        """What the orchestrator says that it waits for: in the document, and in the lines of what it decided."""
        decided = [line for line in self.lines if line["checkpoint"] == CheckpointKind.POST_TRANSACTION]
        lists = [[*line["completed"], *line["missing"]] for line in decided]
        return {frozenset(one) for one in (*lists, self.document.get("_expected")) if isinstance(one, list)}

    @property
    def was_set(self) -> bool:
        """Whether a line or a row says that the flag was set."""
        return any(line["checkpoint"] == CheckpointKind.TRIGGERED for line in self.lines) or any(
            row["is_triggered"] for row in self.rows
        )

    def silent_on(self, processor: str, days: Iterable[date]) -> bool:
        """Whether a processor reported on none of `days`, and others completed on each."""
        reports = [self.on(day).reported for day in days]
        return all(processor not in one and one for one in reports)

    def _map(self, name: str) -> dict[str, Any]:
        value = self.document.get(name)
        return {key: one for key, one in value.items() if isinstance(one, dict)} if isinstance(value, dict) else {}

    @cached_property
    def _all_lines(self) -> list[dict[str, Any]]:
        file = self.folder / CHECKPOINTS
        if not self.readable or not file.exists():
            return []
        return [line for text in file.read_bytes().splitlines() if (line := _object(text)) is not None]

    def _query(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / DATABASE)) as connection:
            return connection.execute(query, values).fetchall()


def _object(text: bytes) -> dict[str, Any] | None:
    """Return a line that is a checkpoint; a scenario may have put others there."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(found, dict) and found.get("checkpoint") in set(CheckpointKind) and "closes" in found
    return found if is_one else None
