"""`canary verify`: where in BigQuery is the flag, and does it agree with Firestore?

The question that the plan left open, answered from the data of the last dates: by the completion
log, and by every other table beside it that says of a date whether the flag is set. And does the
phase's query of runs work?
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.commands.installation import Point, PointState, points_of
from canary.domain.evidence import Evidence, Logged, Seen, Source, Unreadable
from canary.domain.remembered import MEMORY
from canary.run import Outcome
from canary.sources import gather
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.rows import FLAG_COLUMN
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import (
    ChangeLog,
    Changes,
    CountSource,
    DocumentRef,
    DocumentStore,
    FlagTables,
    Stores,
)


class Agreement(StrEnum):
    """How a table of BigQuery agrees with Firestore on the flag of a date, in order of report."""

    AGREE = "agree"
    DIFFER = "differ"
    NO_STATEMENT = "no statement"
    UNREADABLE = "unreadable"


FLAG_WORDS = {True: "set", False: "unset", None: "?"}


class FlagOfDate(msgspec.Struct, frozen=True):
    """The flag of one date in Firestore and in a table.

    None where one could not be read, or the table does not say.
    """

    game_date: date
    firestore: bool | None
    bigquery: bool | None
    agreement: Agreement


class Comparison(msgspec.Struct, frozen=True):
    """The flags of a phase by a table of BigQuery, beside Firestore's; `table` is its name."""

    phase: str
    table: str
    flags: tuple[FlagOfDate, ...]

    @property
    def carries(self) -> bool:
        """Whether the table has the flag on the dates on which Firestore has it, at least one.

        It must not have the flag on another date, and every date must be readable.
        """
        has = [flag.bigquery for flag in self.flags if flag.firestore]
        return (
            bool(has)
            and all(has)
            and not self.dates(Agreement.DIFFER)
            and not self.dates(Agreement.UNREADABLE)
        )

    def dates(self, agreement: Agreement) -> list[date]:
        """Return the dates of which that holds."""
        return [flag.game_date for flag in self.flags if flag.agreement is agreement]

    @property
    def text(self) -> str:
        """How far it agrees with Firestore, and on which dates it does not."""
        agreeing, differing, silent, unreadable = map(self.dates, Agreement)
        differences = [
            _difference(flag) for flag in self.flags if flag.agreement is Agreement.DIFFER
        ]
        parts = (
            (agreeing, f"agrees with Firestore on {len(agreeing)} of {len(self.flags)} dates"),
            (differing, f"differs on {', '.join(differences)}"),
            (silent, f"says nothing of {_dates(silent)}"),
            (unreadable, f"could not be compared on {_dates(unreadable)}"),
        )
        return ", ".join(text for days, text in parts if days)

    def dates_to_json(self) -> list[dict[str, Any]]:
        """Return plain values, a date each."""
        return [{"phase": self.phase, **msgspec.to_builtins(flag)} for flag in self.flags]


class Verified(msgspec.Struct, frozen=True):
    """What was found of one phase.

    `lacking` are the columns that its completion log lacks, `flag_tables` those beside it,
    None where there can be none. `refused` says what could not be searched or read, `runs` what the
    query of runs answers, if there is one, and what is known of the phase's components and
    scheduler jobs.
    """

    phase: Phase
    completion_log: Comparison
    lacking: Sequence[str]
    flag_tables: tuple[Comparison, ...] | None = None
    refused: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def best(self) -> Comparison | None:
        """The table that can stand in for Firestore.

        The completion log comes first, because nothing has to be set.
        """
        if self.completion_log.carries:
            return self.completion_log
        # Set in one table is set: the completion log must not say so of a date on which it is not.
        wrong = any(flag.bigquery and flag.firestore is False for flag in self.completion_log.flags)
        return (
            None
            if wrong
            else next((table for table in self.flag_tables or () if table.carries), None)
        )

    @property
    def comparisons(self) -> list[Comparison]:
        """All of them, the completion log first."""
        return [self.completion_log, *(self.flag_tables or ())]

    @property
    def answers(self) -> Iterator[str]:
        """Where else the flag is, how far that table agrees, and the lines for the phases file."""
        name = self.phase.name
        for table in self.flag_tables or ():
            in_it = table.dates(Agreement.AGREE) or table.dates(Agreement.DIFFER)
            table_words = f"the flag is in {table.table}: it" if in_it else table.table
            yield f"{name}: {table_words} {table.text}"
            lines = (
                [] if self.phase.flag_table == table.table else [f'flag_table = "{table.table}"']
            )
            lines += ["bigquery_carries_flag = true"] if self.best is table else []
            if in_it and lines and self.best is not self.completion_log:  # which needs neither
                yield f"in the phases file, under [{name}]: {' and '.join(lines)}"
        if self.flag_tables == () and not self.refused and self.best is None:
            yield f"{name}: no other table beside {self.completion_log.table} has the flag"
        yield from (f"{name}: {sentence}" for sentence in (*self.refused, *self.runs))


class Verification(msgspec.Struct, frozen=True):
    """What was found: the phases, columns that the tables lack, and why a source could not be read.

    `setup_errors` are rights that this account lacks, though `canary verify` does not need them.
    """

    phases: tuple[Verified, ...]
    missing_columns: Mapping[str, Sequence[str]]
    reasons: tuple[str, ...]
    setup_errors: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """PROBLEM if a point is wrong, COULD_NOT_TELL if nothing is readable, else by the flag."""
        if any(point.state is PointState.WRONG for point in self.points):
            return Outcome.PROBLEM
        flags = [flag for table in self.comparisons for flag in table.flags]
        if flags and all(flag.agreement is Agreement.UNREADABLE for flag in flags):
            return Outcome.COULD_NOT_TELL
        return self._of_the_flag

    @property
    def _of_the_flag(self) -> Outcome:
        """QUIET if BigQuery has the flag and agrees, PROBLEM if not, else COULD_NOT_TELL."""
        # A completion log that lacks a column is no proof by itself.
        unproven = [
            phase
            for phase in self.phases
            if phase.best is None or (phase.best is phase.completion_log and phase.lacking)
        ]
        differ = [
            table
            for phase in unproven
            for table in phase.comparisons
            if table.dates(Agreement.DIFFER)
        ]
        if differ or any(phase.lacking for phase in unproven):
            return Outcome.PROBLEM
        return Outcome.COULD_NOT_TELL if unproven or self.reasons else Outcome.QUIET

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of all phases."""
        return [table for phase in self.phases for table in phase.comparisons]

    @property
    def answers(self) -> list[str]:
        """Those of all phases."""
        return [answer for phase in self.phases for answer in phase.answers]

    @property
    def advice(self) -> str:
        """Which source of the flag the canary should use."""
        if self._of_the_flag is Outcome.QUIET:
            # What another table needs besides is in its own answer.
            by_itself = all(phase.best is phase.completion_log for phase in self.phases)
            how = (
                ": set bigquery_carries_flag = true in the phases file"
                if by_itself
                else ", as follows"
            )
            return f"use Firestore; BigQuery may stand in for it{how}"
        if without_flag := [
            table for table, columns in self.missing_columns.items() if FLAG_COLUMN in columns
        ]:
            lacks = f"{', '.join(without_flag)} lacks {FLAG_COLUMN}"
            unreadable = "".join(f"; could not be read: {reason}" for reason in self.reasons)
            return (
                "the completion log has no column for the flag: "
                f"use Firestore ({lacks}){unreadable}"
            )
        lacking = [
            f"{table} lacks {', '.join(columns)}"
            for table, columns in self.missing_columns.items()
            if columns
        ]
        if lacking:
            return f"use Firestore: {'; '.join(lacking)}; `canary setup` adds the columns"
        differing = [
            f"{table.phase} {day}"
            for table in self.comparisons
            for day in table.dates(Agreement.DIFFER)
        ]
        if differing:
            return (
                f"use Firestore: BigQuery says otherwise of {', '.join(dict.fromkeys(differing))}"
            )
        if self.reasons:
            return f"could not tell: {'; '.join(self.reasons)}"
        return (
            "could not tell: on none of these dates is the flag set, "
            "so that they agree proves nothing"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bigquery_carries_the_flag": self._of_the_flag is Outcome.QUIET,
            "points": msgspec.to_builtins(self.points),
            "advice": self.advice,
            "answers": self.answers,
            "setup_errors": self.setup_errors,
            "missing_columns": self.missing_columns,
            "dates": [day for phase in self.phases for day in phase.completion_log.dates_to_json()],
            "flag_tables": [
                {
                    "table": comparison.table,
                    "carries_the_flag": comparison.carries,
                    "dates": comparison.dates_to_json(),
                }
                for phase in self.phases
                for comparison in phase.flag_tables or ()
            ],
        }


def compare_flags(
    stores: Stores,
    phases: Mapping[str, Phase],
    game_dates: Mapping[str, Sequence[date]],
    now: datetime | None = None,
    *,
    settings: Settings | None = None,
    store: str = "",
) -> Verification:
    """Compare the flags of `game_dates`, by phase, and with `now` check the installation, too.

    `store` says in words where the stores are; the `settings` are those of the environment.
    """
    evidence = gather(stores, game_dates, phases).evidence
    reasons = {
        s.reason
        for e in evidence
        for s in (e.completion_log, e.progress)
        if isinstance(s, Unreadable)
    }
    try:
        missing_columns = stores.completion_log.missing_columns()
    except StoreError as error:
        missing_columns = {}
        reasons.add(one_line(str(error)))
    changes, log_errors = _changes(
        stores.changes, {name: phases[name].begins(max(game_dates[name])) for name in game_dates}
    )
    verified = tuple(
        replace(
            _verified(
                stores.flag_tables,
                phases[name],
                [e for e in evidence if e.phase == name],
                missing_columns,
            ),
            runs=(
                *_runs(stores.counts, phases[name], days),
                *_jobs(changes.get(name), phases[name]),
            ),
        )
        for name, days in game_dates.items()
    )
    setup_errors = (*_setup_errors(stores.documents), *log_errors)
    points = (
        tuple(points_of(stores, phases, evidence, now, settings=settings, store=store))
        if now and settings
        else ()
    )
    return Verification(verified, missing_columns, tuple(sorted(reasons)), setup_errors, points)


def _changes(
    log: ChangeLog | None, begun: Mapping[str, datetime]
) -> tuple[Mapping[str, Changes], list[str]]:
    """Return the changes of each phase, and an error where the right to read logs is missing."""
    if log is None or not begun:
        return {}, []
    try:
        return log.changes(begun, max(begun.values()) + timedelta(days=1)), []
    except StoreError as error:
        refused = (
            "set-up: this account may not read logs; the canary's own needs roles/logging.viewer "
            "to say where a completion stopped, why, and what was changed before "
            f"({one_line(str(error), 200)})"
        )
        return {}, [refused] if "PermissionDenied" in str(error) else []


def _jobs(changes: Changes | None, phase: Phase) -> Iterator[str]:
    """Yield which parts of a phase are searched for changes, and how each job ended last."""
    if changes is None:
        return
    if changes.looked_at:
        parts = sorted(f"{component} {name}" for component, name in changes.looked_at)
        yield f"changes are looked for of {', '.join(parts)}"
    for job in phase.scheduler_jobs:
        last = max((attempt for attempt in changes.attempts if attempt.job == job), default=None)
        if last is None:
            yield (
                f"scheduler job {job}: no attempt in the last days; "
                "it is paused, or has another name"
            )
        else:
            end = last.failure or "succeeded"
            yield f"scheduler job {job}: the last attempt, {last.at:%Y-%m-%d %H:%M}Z, {end}"


def _runs(counts: CountSource | None, phase: Phase, days: Sequence[date]) -> Iterator[str]:
    """Yield whether a phase's query of runs can be read, and which processors have runs.

    Nothing where a phase has no such query.
    """
    if counts is None or phase.runs_query is None:
        return
    try:
        runs = counts.runs(phase.runs_query, min(days), max(days))
    except StoreError as error:
        yield f"runs_query cannot be read: {one_line(str(error))}"
        return
    without = sorted(phase.expected - {phase.canonical(run.processor) for run in runs})
    coverage = (
        f"; it has none of {', '.join(without)}" if without else ", of each expected processor"
    )
    yield f"runs_query has {len(runs)} runs of {_dates(days)}{coverage}"


def _setup_errors(documents: DocumentStore) -> Iterator[str]:
    """Yield whether the right to write documents is missing.

    Nothing is written, because no document has the version that this write expects.
    """
    try:
        documents.update_if_unchanged(
            DocumentRef(MEMORY, "verify"), {"verify": True}, "1970-01-01T00:00:01Z"
        )
    except StoreError as error:
        if "PermissionDenied" in str(error):
            yield (
                "set-up: this account may not write Firestore; the canary's own needs "
                "roles/datastore.user to remember incidents and silences "
                f"({one_line(str(error), 200)})"
            )


def _verified(
    flag_tables: FlagTables | None,
    phase: Phase,
    evidence: Sequence[Evidence],
    missing_columns: Mapping[str, Sequence[str]],
) -> Verified:
    if flag_tables is None:
        ((table, lacking),) = missing_columns.items() or (("the completion log", ()),)
        return Verified(phase, _by_completion_log(phase, table, lacking, evidence), lacking)
    table = flag_tables.completion_table(phase.name)
    lacking = missing_columns.get(table, ())
    names = [phase.flag_table] if phase.flag_table else []
    comparisons, refused = [], []
    try:
        names += flag_tables.find(phase.name)
    except StoreError as error:
        refused.append(f"could not look for other tables beside {table}: {one_line(str(error))}")
    days = [day.game_date for day in evidence]
    for name in names:
        try:
            table_flags = flag_tables.read(name, phase.name, min(days), max(days))
        except StoreError as error:
            refused.append(f"could not read {name}: {one_line(str(error))}")
        else:
            flags = tuple(
                _flag(
                    day, None if (flag := table_flags.get(day.game_date)) is None else flag.is_set
                )
                for day in evidence
            )
            comparisons.append(Comparison(phase.name, name, flags))
    return Verified(
        phase,
        _by_completion_log(phase, table, lacking, evidence),
        lacking,
        tuple(comparisons),
        tuple(refused),
    )


def _by_completion_log(
    phase: Phase, table: str, lacking: Sequence[str], evidence: Iterable[Evidence]
) -> Comparison:
    flags = tuple(_flag(day, _of_completion_log(day.completion_log, lacking)) for day in evidence)
    return Comparison(phase.name, table, flags)


def _of_completion_log(log: Source[Logged], lacking: Sequence[str]) -> bool | Unreadable | None:
    """Return whether the completion log has the flag; without a row, it is unset.

    None where the table has no column for it.
    """
    if isinstance(log, Unreadable):
        return log
    return (
        None
        if FLAG_COLUMN in lacking
        else isinstance(log, Seen) and log.value.flag is not None and log.value.flag.is_set
    )


def _flag(evidence: Evidence, in_table: bool | Unreadable | None) -> FlagOfDate:  # noqa: FBT001 (a value)
    progress = evidence.progress
    triggered = isinstance(progress, Seen) and progress.value.trigger is not None
    if isinstance(progress, Unreadable) or isinstance(in_table, Unreadable):
        agreement = Agreement.UNREADABLE
    elif in_table is None:
        agreement = Agreement.NO_STATEMENT
    else:
        agreement = Agreement.AGREE if triggered == in_table else Agreement.DIFFER
    return FlagOfDate(
        evidence.game_date,
        firestore=None if isinstance(progress, Unreadable) else triggered,
        bigquery=None if isinstance(in_table, Unreadable) else in_table,
        agreement=agreement,
    )


def _difference(flag: FlagOfDate) -> str:
    in_firestore, in_table = FLAG_WORDS[flag.firestore], FLAG_WORDS[flag.bigquery]
    return f"{flag.game_date} ({in_firestore} in Firestore, {in_table} there)"


def _dates(days: Sequence[date]) -> str:
    """Name dates in their order, those in a row by the first and the last."""
    # In a row, a date and its number grow alike.
    in_a_row = groupby(enumerate(days), lambda numbered: numbered[1] - timedelta(days=numbered[0]))
    runs = [[day for _, day in run] for _, run in in_a_row]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
