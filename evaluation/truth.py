"""The truth of a date: what is due, and which causes the stores hold a proof of; for the score alone.

The stores are read by hand: the truth of a simulated date rests on no code of the canary's.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from canary.domain.verdict import CauseKind, VerdictKind
from evaluation.day import MINUTE, Report
from evaluation.world import MESSAGES
from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.phase import Phase

DATABASE, CHECKPOINTS = "resilience.sqlite3", "checkpoints.jsonl"


class Stored(msgspec.Struct, frozen=True, dict=True):
    """The evidence of one date in the stores of a `folder`; without lines where they are not `readable`.

    Methods that take a message say whether it is proven that a fault has `hit` it.
    """

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
        file = self.folder / CHECKPOINTS
        texts = file.read_bytes().splitlines() if self.readable and file.exists() else []
        return [line for line in map(_checkpoint, texts) if line.get("game_date") == str(self.day)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the date in the completion log, and those of the message log, each with the `file` it is in."""
        names = "row_id, event_id, processor_name, status, is_triggered, inserted_at"
        query = f"SELECT {names} FROM phase_completions WHERE game_date = ?"  # noqa: S608 (only names from here)
        files = [file for file in (DATABASE, MESSAGES) if (self.folder / file).exists()]
        rows = [(file, *row) for file in files for row in self._query(query, str(self.day), file=file)]
        return [dict(zip(("file", *names.split(", ")), row, strict=True)) for row in rows]

    @cached_property
    def document(self) -> dict[str, Any]:
        """The fields of the progress document; its times are maps with the text in `$time`."""
        query = "SELECT fields FROM documents WHERE collection = ? AND id = ?"
        rows = self._query(query, self.phase.firestore_collection, str(self.day))
        return json.loads(rows[0][0]) if rows else {}

    @property
    def registrations(self) -> dict[str, dict[str, Any]]:
        """The entries of the document that are processors', by the name that is written there."""
        return {name: value for name, value in self.document.items() if name[0] != "_" and isinstance(value, dict)}

    @property
    def reported(self) -> dict[str, set[str]]:
        """What was reported, in whichever store, by the name under which it stands there."""
        entries = [*self.registrations.items(), *self._map("_reports").items(), *self._map("_unexpected").items()]
        reports = [(name, value.get("status")) for name, value in entries]
        reports += [(row["processor_name"], row["status"]) for row in self.rows]
        statuses: dict[str, set[str]] = {}
        for name, status in reports:
            statuses.setdefault(self.phase.canonical(name) or name, set()).add(str(status))
        return statuses

    def nothing(self, _: Report) -> bool:
        """Of what leaves no evidence in any store."""
        return False

    def several_came_to_nothing(self, _: Report) -> bool:
        """Two rows of Pub/Sub's own or more, and nothing that the function left of either."""
        silent = {row["event_id"] for row in self._completions if not self._lines_of(row["event_id"])}
        return self.readable and len(silent) > 1

    def came_to_nothing(self, hit: Report) -> bool:
        """The message's row, and a sign of a later delivery: a line, or a registration."""
        rows = [_time(row["inserted_at"]) for row in self._completions if row["event_id"] == hit.message_id]
        registered = [entry["registered_at"] for entry in self.registrations.values() if entry.get("registered_at")]
        signs = [*(line["time"] for line in self.lines), *(moment["$time"] for moment in registered)]
        return self.readable and rows != [] and any(_time(sign) > min(rows) for sign in signs)

    def has_died(self, hit: Report) -> bool:
        """Deliveries of the message have begun, and none of them has ended."""
        lines = self._lines_of(hit.message_id)
        return bool(lines) and not any(line["closes"] for line in lines)

    def has_failed(self, hit: Report) -> bool:
        """The line with which the message's last delivery ended says that a write was refused."""
        return self._last_closing(hit) == CheckpointKind.FAILED

    def was_rejected(self, hit: Report) -> bool:
        """The line with which the message's last delivery ended says that it was rejected."""
        return self._last_closing(hit) == CheckpointKind.REJECTED

    def took_for_duplicate(self, _: Report) -> bool:
        """A line says that a delivery took itself for a duplicate, or had nothing to say."""
        return any(line.get("duplicate") or line["checkpoint"] == CheckpointKind.IGNORED for line in self.lines)

    def waits_for_others(self, _: Report) -> bool:
        """The orchestrator has written down another list, in the document or in the lines of what it decided."""
        decided = [line for line in self.lines if line["checkpoint"] == CheckpointKind.POST_TRANSACTION]
        lists = [*([*line["completed"], *line["missing"]] for line in decided), self.document.get("_expected")]
        return any(self.phase.expected != {*names} for names in lists if isinstance(names, list))

    def was_renamed(self, hit: Report) -> bool:
        """The new name on this date; the old one on an earlier date, and never the two together."""
        before = [self.on(self.day - timedelta(days=n)).reported for n in range(1, 5)]
        with_old_name = [hit.name in names for names in before if hit.processor in names]
        return hit.name in self.reported and with_old_name != [] and not any(with_old_name)

    def is_silent_for_days(self, hit: Report) -> bool:
        """The processor reported on none of three dates, and others on each."""
        reports = [self.on(self.day - timedelta(days=n)).reported for n in range(3)]
        return all(names and hit.processor not in names for names in reports)

    def says_that_it_failed(self, hit: Report) -> bool:
        """The processor's own report."""
        return "failed" in self.reported.get(hit.processor, ())

    def flag_was_set(self, _: Report) -> bool:
        """A line or a row says that the flag was set."""
        lines = any(line["checkpoint"] == CheckpointKind.TRIGGERED for line in self.lines)
        return lines or any(row["is_triggered"] for row in self.rows)

    @property
    def _completions(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if not row["is_triggered"]]

    def _lines_of(self, message_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event_id") == message_id]

    def _last_closing(self, hit: Report) -> str | None:
        kinds = [line["checkpoint"] for line in self._lines_of(hit.message_id) if line["closes"]]
        return kinds[-1] if kinds else None

    def _map(self, name: str) -> dict[str, Any]:
        value = self.document.get(name)
        return (
            {key: entry for key, entry in value.items() if isinstance(entry, dict)} if isinstance(value, dict) else {}
        )

    def _query(self, query: str, *values: str, file: str = DATABASE) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / file)) as connection:
            return connection.execute(query, values).fetchall()


def _checkpoint(text: bytes) -> dict[str, Any]:
    """Return a line that is a checkpoint, else nothing: a scenario may have put others there."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) and line.get("checkpoint") in set(CheckpointKind) and "closes" in line else {}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a date, for the score alone: nothing that the canary reads comes from here.

    `due` says from when (UTC) each verdict has to be given, `within` how much later at the latest, and `slack_late`
    how much later still where Slack is down; one of `optional` may not be given, because no run may lie in its
    time. Of the causes that were `injected`, all have to be named whose evidence reached a store, and no other;
    none of them may be ruled out. `counts_from` is the completion from which an UNTRIGGERED's delay is measured.
    Not `notified`: the incidents cannot be read, so that only the run's answer tells. Where the evidence leaves it
    open, one of `arguable` may be named or not. `channel` is the one that can be reached, and hears so many
    `warnings` about the other; with `repeats`, what was sent is lost, or what is wrong comes and goes. With
    `take_away`, the date is judged again without pieces of its evidence.
    """

    due: Mapping[VerdictKind, datetime] = {}
    injected: tuple[tuple[CauseKind, Callable[[Stored], bool]], ...] = ()
    counts_from: datetime | None = None
    optional: frozenset[VerdictKind] = frozenset()
    within: timedelta = 15 * MINUTE
    slack_late: timedelta = timedelta()
    notified: bool = True
    arguable: frozenset[CauseKind] = frozenset()
    channel: str = "slack"
    warnings: int = 0
    repeats: bool = False
    take_away: bool = False

    def causes(self, stored: Stored) -> frozenset[CauseKind]:
        """Return the causes whose evidence is stored."""
        return frozenset(cause for cause, is_proven in self.injected if is_proven(stored))
