"""`canary verify`: does BigQuery carry the flag, and does it agree with Firestore?

The question that the plan left open, answered from the data of the last dates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from canary.domain.evidence import Evidence, Seen, Unreadable
from canary.domain.incident import INCIDENTS
from canary.run import Outcome
from canary.sources import gather
from orchestrator_resilience.checkpoints import one_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import DocumentRef, DocumentStore, Stores
from orchestrator_resilience.stores.summary_sql import FLAG_COLUMN


class Agreement(StrEnum):
    """What the two stores say of one date's flag."""

    AGREE = "agree"
    DIFFER = "differ"
    NO_STATEMENT = "no statement"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FlagOfDate:
    """The flag of one date in both stores; None where a store could not be read, or BigQuery does not say.

    `readable` tells the two apart: whether both stores could be read.
    """

    phase: str
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


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: columns that the tables lack, the flags, and why a source could not be read.

    `setup_errors` are rights that this account lacks, and that no question here needs.
    """

    missing_columns: Mapping[str, Sequence[str]]
    flags: tuple[FlagOfDate, ...]
    reasons: tuple[str, ...]
    setup_errors: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """QUIET when BigQuery carries the flag and agrees, PROBLEM when it does not, else COULD_NOT_TELL."""
        if self._lacking or self._differing:
            return Outcome.PROBLEM
        proven = not self.reasons and any(flag.bigquery for flag in self.flags)
        return Outcome.QUIET if proven else Outcome.COULD_NOT_TELL

    @property
    def advice(self) -> str:
        """Which source of the flag the canary should use."""
        if self._without_flag:
            tables = ", ".join(self._without_flag)
            unreadable = "".join(f"; could not be read: {reason}" for reason in self.reasons)
            return f"BigQuery has no column for the flag: use Firestore ({tables} lacks {FLAG_COLUMN}){unreadable}"
        if self._lacking:
            return f"use Firestore: {'; '.join(self._lacking)}; `canary setup` adds the columns"
        if self._differing:
            return f"use Firestore: BigQuery says otherwise of {', '.join(self._differing)}"
        if self.reasons:
            return f"could not tell: {'; '.join(self.reasons)}"
        if self.outcome is not Outcome.QUIET:
            return "could not tell: on none of these dates is the flag set, so that they agree proves nothing"
        return "use Firestore; BigQuery may stand in for it: set bigquery_carries_flag = true in the phases file"

    @property
    def _without_flag(self) -> list[str]:
        return [table for table, columns in self.missing_columns.items() if FLAG_COLUMN in columns]

    @property
    def _lacking(self) -> list[str]:
        return [f"{table} lacks {', '.join(columns)}" for table, columns in self.missing_columns.items() if columns]

    @property
    def _differing(self) -> list[str]:
        return [f"{f.phase} {f.game_date}" for f in self.flags if f.agreement is Agreement.DIFFER]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bigquery_carries_the_flag": self.outcome is Outcome.QUIET,
            "advice": self.advice,
            "setup_errors": list(self.setup_errors),
            "missing_columns": {table: list(columns) for table, columns in self.missing_columns.items()},
            "dates": [
                {
                    "phase": flag.phase,
                    "game_date": flag.game_date.isoformat(),
                    "firestore": flag.firestore,
                    "bigquery": flag.bigquery,
                    "agreement": flag.agreement.value,
                }
                for flag in self.flags
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
    flags = tuple(_flag(one, _lacking_of(phases[one.phase], missing_columns)) for one in evidence)
    return Verification(missing_columns, flags, tuple(sorted(reasons)), tuple(_setup_errors(stores.documents)))


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


def _lacking_of(phase: Phase, missing_columns: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return what the phase's own table lacks; its full name begins with the project."""
    own = phase.bigquery_table
    return next((columns for name, columns in missing_columns.items() if f".{name}".endswith(f".{own}")), ())


def _flag(evidence: Evidence, lacking: Sequence[str]) -> FlagOfDate:
    progress, log = evidence.progress, evidence.completion_log
    triggered: bool | None = isinstance(progress, Seen) and progress.value.trigger is not None
    # Without a row the flag is unset, if the table could say otherwise.
    said = log.value.triggered if isinstance(log, Seen) else False
    return FlagOfDate(
        phase=evidence.phase,
        game_date=evidence.game_date,
        firestore=None if isinstance(progress, Unreadable) else triggered,
        bigquery=None if isinstance(log, Unreadable) or FLAG_COLUMN in lacking else said,
        readable=not isinstance(progress, Unreadable) and not isinstance(log, Unreadable),
    )
