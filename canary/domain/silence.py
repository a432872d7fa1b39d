"""Silences: dates of a phase of which nobody is told for a while, with a reason and an end.

All of them are in one document, so that a run reads them with its one batch read.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from canary.domain.documents import from_fields, to_fields
from canary.domain.verdict import Verdict
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.plain import one_line, printable
from orchestrator_resilience.stores.base import Document, DocumentRef

SILENCES = DocumentRef("canary_silences", "all")
LONGEST = timedelta(days=31)
# By so much the clock of who made a silence may be ahead.
_CLOCKS_DIFFER = timedelta(hours=1)


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """The game dates `first` to `last` (both included) of a phase, until `expires_at`."""

    id: str
    phase: str
    first: date
    last: date
    reason: str
    expires_at: datetime

    def covers(self, verdict: Verdict, now: datetime) -> bool:
        """Whether nobody is told of `verdict`; a silence that ends later than one can is none."""
        same = self.phase == verdict.phase and self.first <= verdict.game_date <= self.last
        return same and now < self.expires_at <= now + LONGEST + _CLOCKS_DIFFER

    @property
    def text(self) -> str:
        """Say in one line what is silenced, until when, and why."""
        dates = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.phase} {dates}, until {self.expires_at:%Y-%m-%d %H:%M}Z: {one_line(self.reason)}"


def read_silences(document: Document | None) -> tuple[Silence, ...]:
    """Read the document, by their ends; what cannot be read silences nothing."""
    found = (_read(name, fields) for name, fields in (document.fields if document else {}).items())
    return tuple(sorted((silence for silence in found if silence), key=lambda silence: silence.expires_at))


def new_silence(*, phase: str, first: date, last: date, reason: str, expires_at: datetime, now: datetime) -> Silence:
    """Return a new silence; raises ConfigurationError for one that makes no sense."""
    if last < first:
        raise ConfigurationError(f"--to: {last} is before {first}")
    if not reason.strip():
        raise ConfigurationError("--reason: say why, for those who wonder at the silence")
    if not now < expires_at <= now + LONGEST:
        raise ConfigurationError(f"--for: a silence lasts up to {LONGEST.days} days")
    return Silence(
        id=secrets.token_hex(4), phase=phase, first=first, last=last, reason=reason.strip(), expires_at=expires_at
    )


def silence_fields(document: Document | None, wanted: Mapping[str, Silence]) -> dict[str, Any]:
    """Return the document's fields for the silences `wanted`, by id; what it holds besides becomes None."""
    gone = dict.fromkeys((document.fields if document else {}).keys() - wanted.keys())
    kept = {name: to_fields(silence) for name, silence in wanted.items()}
    return {**gone, **{name: {k: v for k, v in fields.items() if k != "id"} for name, fields in kept.items()}}


def parse_duration(text: str) -> timedelta:
    """Read "90m", "12h" or "3d"; raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90m, 12h or 3d")
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]
    return int(match[1]) * unit


def _read(name: str, fields: object) -> Silence | None:
    if not isinstance(fields, Mapping):  # an ended one is None: documents have no way to lose a field
        return None
    return from_fields(Silence, {**printable(fields), "id": printable(name)})
