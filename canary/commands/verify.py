"""`canary verify`: where in BigQuery is the flag, and does it agree with Firestore?

The question that the plan left open, answered from the data of the last dates: by the completion log, and by every
other table beside it that says of a date whether the flag is set.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from canary.domain.evidence import Evidence, Seen, Unreadable
from canary.domain.incident import INCIDENTS
from canary.run import Outcome
from canary.sources import gather
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.rows import FLAG_COLUMN
from orchestrator_resilience.stores.base import DocumentRef, DocumentStore, FlagTables, Stores


class Agreement(StrEnum):
    """What Firestore and a table of BigQuery say of one date's flag."""

    AGREE = "agree"
    DIFFER = "differ"
    NO_STATEMENT = "no statement"
    UNREADABLE = "unreadable"


class FlagOfDate(msgspec.Struct, frozen=True):
    """The flag of one date in Firestore and in a table; None where one could not be read, or the table does not say.

    `readable` tells the two apart: whether both could be read.
    """

    game_date: date
    firestore: bool | None
    bigquery: bool | None
    readable: bool

    @property
    def agreement(self) -> Agreement:
        """Whether both say the same."""
        if not self.readable:
            return Agreement.UNREADABLE
        if self.bigquery is None:
            return Agreement.NO_STATEMENT
        return Agreement.AGREE if self.firestore == self.bigquery else Agreement.DIFFER


class Comparison(msgspec.Struct, frozen=True):
    """The flags of a phase by a table of BigQuery, beside Firestore's; `table` is its name."""

    phase: str
    table: str
    flags: tuple[FlagOfDate, ...]

    @property
    def carries(self) -> bool:
        """Whether the table has the flag on every date on which Firestore has it, at least one, and on no other."""
        has = [flag.bigquery for flag in self.flags if flag.firestore]
        compared = all(flag.readable for flag in self.flags)
        return compared and bool(has) and all(has) and not self.dates(Agreement.DIFFER)

    def dates(self, agreement: Agreement) -> list[date]:
        """Return the dates of which that holds."""
        return [flag.game_date for flag in self.flags if flag.agreement is agreement]

    @property
    def text(self) -> str:
        """How far it agrees with Firestore, and on which dates it does not."""
        parts = []
        if agreeing := self.dates(Agreement.AGREE):
            parts.append(f"agrees with Firestore on {len(agreeing)} of {len(self.flags)} dates")
        if differing := [flag for flag in self.flags if flag.agreement is Agreement.DIFFER]:
            parts.append(f"differs on {', '.join(map(_difference, differing))}")
        if silent := self.dates(Agreement.NO_STATEMENT):
            parts.append(f"says nothing of {_dates(silent)}")
        if unreadable := self.dates(Agreement.UNREADABLE):
            parts.append(f"could not be compared on {_dates(unreadable)}")
        return ", ".join(parts)

    def dates_to_json(self) -> list[dict[str, Any]]:
        """Return plain values, a date each."""
        return [
            {
                "phase": self.phase,
                "game_date": flag.game_date.isoformat(),
                "firestore": flag.firestore,
                "bigquery": flag.bigquery,
                "agreement": flag.agreement.value,
            }
            for flag in self.flags
        ]


class Verified(msgspec.Struct, frozen=True):
    """What was found of one phase.

    `lacking` are the columns that its completion log lacks, `others` the flag tables beside it, None where there can be
    none. `flag_table` is the one that the phases file names. `refused` says what could not be searched or read.
    """

    completion_log: Comparison
    lacking: Sequence[str]
    others: tuple[Comparison, ...] | None = None
    flag_table: str | None = None
    refused: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        """The phase's name."""
        return self.completion_log.phase

    @property
    def best(self) -> Comparison | None:
        """The table that can stand in for Firestore; the completion log comes first, because nothing has to be set."""
        if self.completion_log.carries:
            return self.completion_log
        # Set in one table is set: the completion log must not say so of a date on which it is not.
        wrong = any(flag.bigquery and flag.firestore is False for flag in self.completion_log.flags)
        return None if wrong else next((one for one in self.others or () if one.carries), None)

    @property
    def is_proven(self) -> bool:
        """Whether BigQuery carries the flag; a completion log that lacks a column is no proof by itself."""
        return self.best is not None and (self.best is not self.completion_log or not self.lacking)

    @property
    def is_wrong(self) -> bool:
        """Whether something is to be mended, or not to be relied on."""
        return bool(self.lacking) or any(one.dates(Agreement.DIFFER) for one in self.comparisons)

    @property
    def comparisons(self) -> list[Comparison]:
        """All of them, the completion log first."""
        return [self.completion_log, *(self.others or ())]

    @property
    def answers(self) -> list[str]:
        """Where else the flag is, how far that table agrees, and what to put into the phases file for it."""
        found = [answer for other in self.others or () for answer in self._answer(other)]
        if self.others == () and not self.refused and self.best is None:
            found.append(f"{self.phase}: no other table beside {self.completion_log.table} has the flag")
        return [*found, *(f"{self.phase}: {sentence}" for sentence in self.refused)]

    def _answer(self, other: Comparison) -> Iterator[str]:
        said = other.dates(Agreement.AGREE) or other.dates(Agreement.DIFFER)
        yield f"{self.phase}: {'the flag is in ' if said else ''}{other.table}{': it' if said else ''} {other.text}"
        if said and (lines := self._lines(other)):
            yield f"in the phases file, under [{self.phase}]: {' and '.join(lines)}"

    def _lines(self, other: Comparison) -> list[str]:
        """Return what the phases file lacks for this table; nothing where the completion log does without."""
        if self.best is self.completion_log:
            return []
        lines = [] if self.flag_table == other.table else [f'flag_table = "{other.table}"']
        return [*lines, "bigquery_carries_flag = true"] if self.best is other else lines


class Verification(msgspec.Struct, frozen=True):
    """What was found: the phases, columns that the tables lack, and why a source could not be read.

    `setup_errors` are rights that this account lacks, and that no question here needs.
    """

    phases: tuple[Verified, ...]
    missing_columns: Mapping[str, Sequence[str]]
    reasons: tuple[str, ...]
    setup_errors: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """QUIET when BigQuery carries the flag and agrees, PROBLEM when it does not, else COULD_NOT_TELL."""
        unproven = [phase for phase in self.phases if not phase.is_proven]
        if any(phase.is_wrong for phase in unproven):
            return Outcome.PROBLEM
        return Outcome.COULD_NOT_TELL if unproven or self.reasons else Outcome.QUIET

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of all phases."""
        return [one for phase in self.phases for one in phase.comparisons]

    @property
    def lines(self) -> list[str]:
        """Everything that is to be said."""
        return [self.advice, *(answer for phase in self.phases for answer in phase.answers), *self.setup_errors]

    @property
    def advice(self) -> str:
        """Which source of the flag the canary should use."""
        if self.outcome is Outcome.QUIET:
            # What another table needs besides stands in its own answer.
            by_itself = all(phase.best is phase.completion_log for phase in self.phases)
            how = ": set bigquery_carries_flag = true in the phases file" if by_itself else ", as follows"
            return f"use Firestore; BigQuery may stand in for it{how}"
        if self._without_flag:
            lacks = f"{', '.join(self._without_flag)} lacks {FLAG_COLUMN}"
            unreadable = "".join(f"; could not be read: {reason}" for reason in self.reasons)
            return f"the completion log has no column for the flag: use Firestore ({lacks}){unreadable}"
        if self._lacking:
            return f"use Firestore: {'; '.join(self._lacking)}; `canary setup` adds the columns"
        if self._differing:
            return f"use Firestore: BigQuery says otherwise of {', '.join(self._differing)}"
        if self.reasons:
            return f"could not tell: {'; '.join(self.reasons)}"
        return "could not tell: on none of these dates is the flag set, so that they agree proves nothing"

    @property
    def _without_flag(self) -> list[str]:
        return [table for table, columns in self.missing_columns.items() if FLAG_COLUMN in columns]

    @property
    def _lacking(self) -> list[str]:
        return [f"{table} lacks {', '.join(columns)}" for table, columns in self.missing_columns.items() if columns]

    @property
    def _differing(self) -> list[str]:
        differing = (f"{one.phase} {day}" for one in self.comparisons for day in one.dates(Agreement.DIFFER))
        return list(dict.fromkeys(differing))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bigquery_carries_the_flag": self.outcome is Outcome.QUIET,
            "advice": self.advice,
            "answers": [answer for phase in self.phases for answer in phase.answers],
            "setup_errors": list(self.setup_errors),
            "missing_columns": {table: list(columns) for table, columns in self.missing_columns.items()},
            "dates": [day for phase in self.phases for day in phase.completion_log.dates_to_json()],
            "flag_tables": [
                {"table": other.table, "carries_the_flag": other.carries, "dates": other.dates_to_json()}
                for phase in self.phases
                for other in phase.others or ()
            ],
        }


def verify(stores: Stores, phases: Mapping[str, Phase], wanted: Mapping[str, Sequence[date]]) -> Verification:
    """Compare the flags of `wanted`, game dates by phase."""
    evidence = gather(stores, wanted, phases).evidence
    reasons = {s.reason for e in evidence for s in (e.completion_log, e.progress) if isinstance(s, Unreadable)}
    try:
        missing_columns = stores.completion_log.missing_columns()
    except StoreError as error:
        missing_columns = {}
        reasons.add(one_line(str(error)))
    verified = tuple(
        _verified(stores.flag_tables, phases[name], [e for e in evidence if e.phase == name], missing_columns)
        for name in wanted
    )
    return Verification(verified, missing_columns, tuple(sorted(reasons)), tuple(_setup_errors(stores.documents)))


def _setup_errors(documents: DocumentStore) -> Iterator[str]:
    """Yield whether the right to write documents is missing; nothing is written: no document is as old as that."""
    try:
        documents.update_if_unchanged(DocumentRef(INCIDENTS, "verify"), {"verify": True}, "1970-01-01T00:00:01Z")
    except StoreError as error:
        if "PermissionDenied" in str(error):
            yield (
                "set-up: this account may not write Firestore; the canary's own needs roles/datastore.user "
                f"to remember incidents and silences ({one_line(str(error), 200)})"
            )


def _verified(
    flag_tables: FlagTables | None,
    phase: Phase,
    evidence: Sequence[Evidence],
    missing_columns: Mapping[str, Sequence[str]],
) -> Verified:
    if flag_tables is None:
        ((table, lacking),) = missing_columns.items() or (("the completion log", ()),)
        return Verified(_by_completion_log(phase, table, lacking, evidence), lacking)
    table = flag_tables.completion_table(phase.name)
    lacking = missing_columns.get(table, ())
    own = _by_completion_log(phase, table, lacking, evidence)
    names = [phase.flag_table] if phase.flag_table else []
    others, refused = [], []
    try:
        names += flag_tables.find(phase.name)
    except StoreError as error:
        refused.append(f"could not look for other tables beside {table}: {one_line(str(error))}")
    for name in names:
        try:
            others.append(_by_flag_table(flag_tables, name, phase, evidence))
        except StoreError as error:
            refused.append(f"could not read {name}: {one_line(str(error))}")
    return Verified(own, lacking, tuple(others), phase.flag_table, tuple(refused))


def _by_completion_log(phase: Phase, table: str, lacking: Sequence[str], evidence: Iterable[Evidence]) -> Comparison:
    return Comparison(phase.name, table, tuple(_of_completion_log(one, lacking) for one in evidence))


def _of_completion_log(evidence: Evidence, lacking: Sequence[str]) -> FlagOfDate:
    log = evidence.completion_log
    # Without a row the flag is unset, if the table could say otherwise.
    said = log.value.triggered if isinstance(log, Seen) else False
    unreadable = isinstance(log, Unreadable)
    return _flag(evidence, None if unreadable or FLAG_COLUMN in lacking else said, readable=not unreadable)


def _by_flag_table(flag_tables: FlagTables, table: str, phase: Phase, evidence: Sequence[Evidence]) -> Comparison:
    days = [one.game_date for one in evidence]
    said = flag_tables.read(table, phase.name, min(days), max(days))
    return Comparison(phase.name, table, tuple(_flag(one, said.get(one.game_date)) for one in evidence))


def _flag(evidence: Evidence, said: bool | None, *, readable: bool = True) -> FlagOfDate:  # noqa: FBT001 (a value)
    progress = evidence.progress
    if isinstance(progress, Unreadable):
        return FlagOfDate(evidence.game_date, None, said, readable=False)
    triggered = isinstance(progress, Seen) and progress.value.trigger is not None
    return FlagOfDate(evidence.game_date, triggered, said, readable=readable)


def _difference(flag: FlagOfDate) -> str:
    word = {True: "set", False: "unset"}
    return f"{flag.game_date} ({word[bool(flag.firestore)]} in Firestore, {word[bool(flag.bigquery)]} there)"


def _dates(days: Sequence[date]) -> str:
    """Name dates in their order, those in a row by the first and the last."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
