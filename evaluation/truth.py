"""The truth of a date: what is due, where it really stopped, and which causes are proven.

A cause is proven where the stores hold a proof of it. They are read by hand: the truth of a
simulated date rests on no code of the canary's.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from canary.domain.facts import TAKEN_UP_AFTER
from canary.domain.incident import NotificationKind
from canary.domain.stages import Cause, CauseKind, Stage
from canary.domain.verdict import VerdictKind
from canary.playback.schedule import TICK, ticks
from evaluation.day import IN_MESSAGE_LOG_AFTER, MINUTE, ProcessorReport
from evaluation.world import MESSAGES
from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Request

DATABASE, CHECKPOINTS = "resilience.sqlite3", "checkpoints.jsonl"
# The subject of what is about the date, and about no processor.
THE_DATE = ""
# With these statuses the platform turns a request away, and says, with it or one above, that the
# function failed.
_FORBIDDEN, _TOO_MANY, _FAILED = 403, 429, 500
# The ranks of where nothing is known to have been reached, or to be missing.
_START, _OPEN = -1, len(Stage)


class Stored(msgspec.Struct, frozen=True, dict=True):
    """The evidence of one date in the stores of a `folder`; its lines only if they are `readable`.

    `requests` are those that the service ever got, None where nobody writes them down. The
    platform's log of changes, and of its scheduler's attempts, can be read where it
    `shows_changes`. Methods that take a message say whether it is proven that a fault has `hit` it.
    """

    folder: Path
    phase: Phase
    day: date
    readable: bool = True
    requests: Sequence[Request] | None = None
    shows_changes: bool = False

    def on(self, day: date) -> "Stored":
        """Return what is stored of another date."""
        return Stored(
            self.folder, self.phase, day, self.readable, self.requests, self.shows_changes
        )

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The checkpoints of the date, in the order in which they were left."""
        return [line for line in self._all_lines if line.get("game_date") == str(self.day)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the date in the completion log and the message log, each with its `file`."""
        names = "row_id, event_id, processor_name, status, is_triggered, inserted_at"
        query = f"SELECT {names} FROM phase_completions WHERE game_date = ?"  # noqa: S608 (only names from here)
        files = [file for file in (DATABASE, MESSAGES) if (self.folder / file).exists()]
        rows = [
            (file, *row) for file in files for row in self._query(query, str(self.day), file=file)
        ]
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
        return {
            name: value
            for name, value in self.document.items()
            if name[0] != "_" and isinstance(value, dict)
        }

    @property
    def reported(self) -> dict[str, set[str]]:
        """What was reported, in whichever store, by the name that is written there."""
        entries = [
            *self.registrations.items(),
            *self._map("_reports").items(),
            *self._map("_unexpected").items(),
        ]
        reports = [(name, value.get("status")) for name, value in entries]
        reports += [(row["processor_name"], row["status"]) for row in self.rows]
        reports += [
            (line["raw_processor"], line.get("status"))
            for line in self.lines
            if line.get("raw_processor")
        ]
        statuses: dict[str, set[str]] = {}
        for name, status in reports:
            statuses.setdefault(self.phase.canonical(name) or name, set()).add(str(status))
        return statuses

    def nothing(self, _: ProcessorReport) -> bool:
        """Of what leaves no evidence in any store."""
        return False

    def never_came(self, hit: ProcessorReport) -> bool:
        """The message log has the message, and no line does, while lines of others are collected.

        A function that dies as it starts leaves no line either, but it leaves a request that
        failed.
        """
        statuses = self._statuses_since(hit)
        if statuses is None or any(status >= _FAILED for status in statuses):
            return False
        is_published = any(
            row["file"] == MESSAGES and row["event_id"] == hit.message_id for row in self.rows
        )
        return is_published and (
            not statuses or (self._all_lines != [] and not self._lines_of(hit.message_id))
        )

    def was_turned_away(self, hit: ProcessorReport) -> bool:
        """All requests since the message were turned away."""
        return self._statuses_since(hit) in ({_FORBIDDEN}, {_TOO_MANY})

    def could_not_start(self, hit: ProcessorReport) -> bool:
        """All requests since the message failed, and they are this phase's.

        They are if its message log has messages, or nothing else has come.
        """
        statuses = self._statuses_since(hit) or set()
        is_its_own = any(row["file"] == MESSAGES for row in self.rows) or not self.rows
        return statuses != set() and min(statuses) >= _FAILED and is_its_own

    def was_not_started(self, _: ProcessorReport) -> bool:
        """The platform says that its scheduler did not start it, or could not."""
        return self.shows_changes

    def published_nothing(self, _: ProcessorReport) -> bool:
        """The processor ran, and sent nothing.

        The message log has other messages of the date, and lines are collected.
        """
        return any(row["file"] == MESSAGES for row in self.rows) and self._all_lines != []

    def has_died(self, hit: ProcessorReport) -> bool:
        """Deliveries of the message have begun, and none of them has ended."""
        lines = self._lines_of(hit.message_id)
        return bool(lines) and not any(line["closes"] for line in lines)

    def has_failed(self, hit: ProcessorReport) -> bool:
        """The line with which the message's last delivery ended says that a write was refused."""
        return self._last_closing(hit) == CheckpointKind.FAILED

    def was_rejected(self, hit: ProcessorReport) -> bool:
        """The line with which the message's last delivery ended says that it was rejected."""
        return self._last_closing(hit) == CheckpointKind.REJECTED

    def took_for_duplicate(self, _: ProcessorReport) -> bool:
        """A line says that a delivery took itself for a duplicate, or had nothing to say."""
        return any(
            line.get("duplicate") or line["checkpoint"] == CheckpointKind.IGNORED
            for line in self.lines
        )

    def waits_for_others(self, _: ProcessorReport) -> bool:
        """The orchestrator wrote down another list, in the document or in a decision's lines."""
        decided = [
            line for line in self.lines if line["checkpoint"] == CheckpointKind.POST_TRANSACTION
        ]
        lists = [
            *([*line["completed"], *line["missing"]] for line in decided),
            self.document.get("_expected"),
        ]
        return any(self.phase.expected != {*names} for names in lists if isinstance(names, list))

    def was_renamed(self, hit: ProcessorReport) -> bool:
        """The new name on this date; the old one on an earlier date, and never the two together."""
        before = [self.on(self.day - timedelta(days=n)).reported for n in range(1, 5)]
        with_old_name = [hit.name in names for names in before if hit.processor in names]
        return hit.name in self.reported and with_old_name != [] and not any(with_old_name)

    def was_refused(self, _: ProcessorReport) -> bool:
        """A line says that the next phase was not started."""
        return any(line["checkpoint"] == CheckpointKind.NOT_STARTED for line in self.lines)

    def is_pending(self, _: ProcessorReport) -> bool:
        """The code says in the document that it is about to start the next phase."""
        return self.document.get("_trigger_pending") is True

    def says_so(self, hit: ProcessorReport) -> bool:
        """The processor's own report, in a store or a line, has a status that is no success."""
        lines = {
            str(line.get("status")) for line in self.lines if line.get("processor") == hit.processor
        }
        return hit.status in lines | self.reported.get(hit.processor, set())

    def flag_was_set(self, _: ProcessorReport) -> bool:
        """A line or a row says that the flag was set, and the document is there without it."""
        lines = any(line["checkpoint"] == CheckpointKind.TRIGGERED for line in self.lines)
        was_set = lines or any(row["is_triggered"] for row in self.rows)
        return was_set and self.document != {} and not self.document.get("_triggered")

    def _statuses_since(self, hit: ProcessorReport) -> set[int] | None:
        """What requests got from a message on until its time was up, and a run could see them.

        Later ones prove less.
        """
        due = hit.at + IN_MESSAGE_LOG_AFTER + TAKEN_UP_AFTER
        until = next(ticks(due, due + TICK))
        return (
            None
            if self.requests is None
            else {request.status for request in self.requests if hit.at <= request.at < until}
        )

    @cached_property
    def _all_lines(self) -> list[dict[str, Any]]:
        """The checkpoints of all dates."""
        file = self.folder / CHECKPOINTS
        texts = file.read_bytes().splitlines() if self.readable and file.exists() else []
        return [line for line in map(_checkpoint, texts) if line]

    def _lines_of(self, message_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event_id") == message_id]

    def _last_closing(self, hit: ProcessorReport) -> str | None:
        kinds = [line["checkpoint"] for line in self._lines_of(hit.message_id) if line["closes"]]
        return kinds[-1] if kinds else None

    def _map(self, name: str) -> dict[str, Any]:
        value = self.document.get(name)
        return (
            {key: entry for key, entry in value.items() if isinstance(entry, dict)}
            if isinstance(value, dict)
            else {}
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
    return (
        line
        if isinstance(line, dict)
        and line.get("checkpoint") in set(CheckpointKind)
        and "closes" in line
        else {}
    )


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Where an injected fault really stopped its `subjects`, from `since` (UTC) on.

    The subjects are processors, or THE_DATE. `stage` is the first stage that they did not get past.
    `cause` is why, UNDETERMINED where nobody can say; `is_stored` is whether the stores hold a
    proof of it.
    """

    stage: Stage
    subjects: frozenset[str]
    since: datetime
    cause: CauseKind = CauseKind.UNDETERMINED
    is_stored: Callable[[Stored], bool] = lambda _: False

    def is_within(self, cause: Cause) -> bool:
        """Whether the interval of `cause` contains the stage.

        Of two stages of equal rank neither proves the other.
        """
        starts_before = cause.after is None or (
            cause.after.rank <= self.stage.rank and cause.after is not self.stage
        )
        return starts_before and (cause.until is None or self.stage.rank <= cause.until.rank)


def interval(cause: Cause) -> tuple[int, int]:
    """Return the ranks between which it stopped.

    It stopped after the first, and at the second at the latest.
    """
    after = _START if cause.after is None else cause.after.rank
    return after, _OPEN if cause.until is None else cause.until.rank


def is_exact(cause: Cause) -> bool:
    """Whether the interval holds a single stage."""
    after, until = interval(cause)
    return until - after <= 1


def by_subject(causes: Iterable[Cause]) -> Iterator[tuple[str, Cause]]:
    """Yield each cause for each of its subjects."""
    return ((subject, cause) for cause in causes for subject in cause.subjects or (THE_DATE,))


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a date, for the score alone: the canary reads nothing of it.

    `due` says from when (UTC) each verdict has to be given, `within` how much later at the latest,
    and `slack_late` how much later still where Slack is down; one of `optional` may not be given,
    because no run may lie in its time. Of the causes of its `stops`, all have to be named whose
    evidence reached a store, and no other; what is said of where it stopped has to contain the
    stage. `counts_from` is the completion from which an UNTRIGGERED's delay is measured. `notified`
    is false where memory cannot be read, so that people hear by the clock only. Where the evidence
    leaves it open, one of `arguable` may be named or not. `channel` is the one that can be reached,
    `warnings` how many it hears about the other. With `repeats`, what was sent is lost, or what is
    wrong comes and goes; `ends` is what is said at last. With `take_away`, the date is judged again
    without pieces of its evidence. Where the cause is proven, `words` have to be in what is sent of
    it.
    """

    due: Mapping[VerdictKind, datetime] = {}
    stops: tuple[Stop, ...] = ()
    counts_from: datetime | None = None
    optional: frozenset[VerdictKind] = frozenset()
    within: timedelta = 15 * MINUTE
    slack_late: timedelta = timedelta()
    notified: bool = True
    arguable: frozenset[CauseKind] = frozenset()
    channel: str = "slack"
    warnings: int = 0
    repeats: bool = False
    ends: NotificationKind = NotificationKind.RESOLVED
    take_away: bool = False
    words: str = ""

    def causes(self, stored: Stored) -> frozenset[CauseKind]:
        """Return the causes whose evidence is stored."""
        return frozenset(stop.cause for stop in self.stops if stop.is_stored(stored))

    def unsound(self, causes: Iterable[Cause], at: datetime) -> list[str]:
        """Say which of the `causes` that were named at `at` do not fit where and why it stopped.

        A cause that is open at both ends, and names no kind, says nothing.
        """
        return [
            f"{subject or 'the date'}: {cause.kind} after {cause.after} until {cause.until}"
            for subject, cause in by_subject(causes)
            if not self._fits(subject, cause, at)
        ]

    def _fits(self, subject: str, cause: Cause, at: datetime) -> bool:
        stops = [stop for stop in self.stops if subject in stop.subjects and stop.since <= at]
        if not stops and cause.until is None:
            return cause.kind is CauseKind.UNDETERMINED
        kinds = {CauseKind.UNDETERMINED, *self.arguable}
        return any(stop.is_within(cause) and cause.kind in kinds | {stop.cause} for stop in stops)

    def unmentioned(self, causes: Iterable[Cause]) -> list[str]:
        """Say of which subjects that stopped none of `causes` is, where a problem was due."""
        if not any(kind.is_problem for kind in self.due):
            return []
        mentioned = {subject for subject, cause in by_subject(causes) if cause.until is not None}
        stopped = frozenset[str]().union(*(stop.subjects for stop in self.stops))
        return [
            f"{subject or 'the date'}: nothing said where it stopped"
            for subject in sorted(stopped - mentioned)
        ]
