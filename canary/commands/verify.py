"""`canary verify`: does BigQuery carry the flag, and does it agree with Firestore?

The question that the plan left open, answered from the data of the last dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from canary.domain.evidence import Evidence, Seen, Unreadable
from canary.run import Outcome
from canary.sources import gather
from orchestrator_resilience.checkpoints import one_line
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Stores


class Agreement(StrEnum):
    """What the two stores say of one date's flag."""

    AGREE = "agree"
    DIFFER = "differ"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FlagOfDate:
    """The flag of one date in both stores; None where a store could not be read."""

    phase: str
    game_date: date
    firestore: bool | None
    bigquery: bool | None

    @property
    def agreement(self) -> Agreement:
        """Whether both say the same."""
        if self.firestore is None or self.bigquery is None:
            return Agreement.UNREADABLE
        return Agreement.AGREE if self.firestore == self.bigquery else Agreement.DIFFER


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: columns that the tables lack, the flags, and why a source could not be read."""

    missing_columns: Mapping[str, Sequence[str]]
    flags: tuple[FlagOfDate, ...]
    reasons: tuple[str, ...]

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
        if self._lacking:
            return f"use Firestore: {'; '.join(self._lacking)}; `canary setup` adds the columns"
        if self._differing:
            return f"use Firestore: BigQuery says otherwise of {', '.join(self._differing)}"
        if self.reasons:
            return f"could not tell: {'; '.join(self.reasons)}"
        if self.outcome is not Outcome.QUIET:
            return "could not tell: on none of these dates is the flag set, so that they agree proves nothing"
        return "use Firestore; BigQuery may take its place for it: set bigquery_carries_flag = true in the phases file"

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
    return Verification(missing_columns, tuple(_flag(one) for one in evidence), tuple(sorted(reasons)))


def _flag(evidence: Evidence) -> FlagOfDate:
    progress, completion_log = evidence.progress, evidence.completion_log
    return FlagOfDate(
        phase=evidence.phase,
        game_date=evidence.game_date,
        firestore=None
        if isinstance(progress, Unreadable)
        else isinstance(progress, Seen) and progress.value.trigger is not None,
        bigquery=None
        if isinstance(completion_log, Unreadable)
        else isinstance(completion_log, Seen) and completion_log.value.triggered,
    )
