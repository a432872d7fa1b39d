"""Silences: dates of a phase of which nobody is told for a while, with a reason and an end.

All of them are in one document, so that a run reads them with its one batch read.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from canary.domain.verdict import Verdict
from orchestrator_resilience.errors import ConfigurationError, ContentionError
from orchestrator_resilience.progress import instant
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore

SILENCES = DocumentRef("canary_silences", "all")
LONGEST = timedelta(days=31)
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The game dates `first` to `last` (both included) of a phase, until `expires_at`."""

    id: str
    phase: str
    first: date
    last: date
    reason: str
    expires_at: datetime

    def covers(self, verdict: Verdict, now: datetime) -> bool:
        """Whether nobody is told of `verdict`."""
        same = self.phase == verdict.phase and self.first <= verdict.game_date <= self.last
        return same and now < self.expires_at


def read_silences(document: Document | None) -> tuple[Silence, ...]:
    """Read the document, by their ends; what cannot be read silences nothing."""
    found = (_read(name, fields) for name, fields in (document.fields if document else {}).items())
    return tuple(sorted((silence for silence in found if silence), key=lambda silence: silence.expires_at))


def add_silence(
    documents: DocumentStore, *, phase: str, first: date, last: date, reason: str, expires_at: datetime, now: datetime
) -> Silence:
    """Add a silence and forget those that have expired; raises ConfigurationError for one that makes no sense."""
    if last < first:
        raise ConfigurationError(f"--to: {last} is before {first}")
    if not reason.strip():
        raise ConfigurationError("--reason: say why, for those who wonder at the silence")
    if not now < expires_at <= now + LONGEST:
        raise ConfigurationError(f"--for: a silence lasts up to {LONGEST.days} days")
    silence = Silence(
        id=secrets.token_hex(4), phase=phase, first=first, last=last, reason=reason.strip(), expires_at=expires_at
    )
    _change(documents, lambda kept: {**kept, silence.id: silence}, now)
    return silence


def end_silence(documents: DocumentStore, silence_id: str, now: datetime) -> None:
    """End a silence before its time; raises ConfigurationError when there is none of that id."""

    def without(kept: dict[str, Silence]) -> dict[str, Silence]:
        if silence_id not in kept:
            raise ConfigurationError(f"there is no silence {silence_id!r} to end; see canary silence list")
        return {name: silence for name, silence in kept.items() if name != silence_id}

    _change(documents, without, now)


def parse_duration(text: str) -> timedelta:
    """Read "90m", "12h" or "3d"; raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90m, 12h or 3d")
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]
    return int(match[1]) * unit


def _change(
    documents: DocumentStore, change: Callable[[dict[str, Silence]], dict[str, Silence]], now: datetime
) -> None:
    """Compare and set the whole document, so that of two people who change it neither loses."""
    for _ in range(_ATTEMPTS):
        document = documents.get_all([SILENCES]).get(SILENCES)
        kept = {silence.id: silence for silence in read_silences(document) if silence.expires_at > now}
        wanted = change(kept)
        gone = dict.fromkeys((document.fields if document else {}).keys() - wanted.keys())
        fields = {**gone, **{name: _fields(silence) for name, silence in wanted.items()}}
        if documents.update_if_unchanged(SILENCES, fields, document.version if document else None):
            return
    raise ContentionError(f"{SILENCES.collection}/{SILENCES.id} changed under each of {_ATTEMPTS} attempts")


def _fields(silence: Silence) -> dict[str, Any]:
    return {
        "phase": silence.phase,
        "first": silence.first.isoformat(),
        "last": silence.last.isoformat(),
        "reason": silence.reason,
        "expires_at": silence.expires_at,
    }


def _read(name: str, fields: object) -> Silence | None:
    if not isinstance(fields, Mapping):  # an ended one is None: documents have no way to lose a field
        return None
    expires_at = instant(fields.get("expires_at"))
    try:
        first, last = date.fromisoformat(str(fields.get("first"))), date.fromisoformat(str(fields.get("last")))
    except ValueError:
        return None
    if expires_at is None:
        return None
    return Silence(
        id=name,
        phase=str(fields.get("phase")),
        first=first,
        last=last,
        reason=str(fields.get("reason")),
        expires_at=expires_at,
    )
