"""What people say to the canary: silences, and acknowledgements.

A silence is of dates of a phase of which nobody is notified for a while, with an author, a reason
and an end. An acknowledgement says that somebody has an incident in hand. All of them are in one
document, which a run reads with what it remembers, and which no run writes.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from canary.domain.clocks import CLOCKS_DIFFER
from canary.domain.documents import from_fields, to_fields
from canary.domain.verdict import Level, Verdict
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.plain import one_line, printable
from orchestrator_resilience.stores.base import Document, DocumentRef

LONGEST = timedelta(days=31)
MOST_ACKNOWLEDGEMENTS = MOST_SILENCES = 200
_LONGEST_WORDS = 300


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """The game dates `first` to `last` (both included) of a phase, until `expires_at` (UTC).

    `by` is who made it, `reason` why.
    """

    id: str
    phase: str
    first: date
    last: date
    reason: str
    expires_at: datetime
    by: str = ""

    def covers(self, verdict: Verdict, now: datetime) -> bool:
        """Whether nobody is notified of `verdict` at `now` (aware)."""
        return self.is_of(verdict.phase, verdict.game_date, now)

    def is_of(self, phase: str, game_date: date, now: datetime) -> bool:
        """Whether it is in force for a date.

        A silence that ends later than any can is not believed yet.
        """
        same = self.phase == phase and self.first <= game_date <= self.last
        return same and now < self.expires_at <= now + LONGEST + CLOCKS_DIFFER

    @property
    def text(self) -> str:
        """Say in one line what is silenced, until when, and why."""
        dates = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        by = f" (by {one_line(self.by)})" if self.by else ""
        until = f"until {self.expires_at:%Y-%m-%d %H:%M}Z"
        return f"{self.phase} {dates}, {until}: {one_line(self.reason)}{by}"


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """That somebody (`by`) has an incident in hand since `at` (UTC), with a `note`.

    `opened_at` and `level` are the incident's as it was seen: it holds reminders only while both
    still fit.
    """

    phase: str
    game_date: date
    at: datetime
    opened_at: datetime
    level: Level
    by: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """Say in one line who has it in hand, and since when."""
        note = f": {one_line(self.note)}" if self.note else ""
        return (
            f"acknowledged by {one_line(self.by) or 'somebody'} at {self.at:%Y-%m-%d %H:%M}Z{note}"
        )


def people_ref(canary: str) -> DocumentRef:
    """Return the address of what people said to the canary of this name."""
    return DocumentRef("canary_people", quote(canary, safe=""))


class People(msgspec.Struct, frozen=True):
    """All that people said: silences, by their ends, and acknowledgements, the oldest first."""

    silences: tuple[Silence, ...] = ()
    acknowledgements: tuple[Acknowledgement, ...] = ()


def read_people(document: Document | None) -> People:
    """Read all that people said."""
    return People(read_silences(document), read_acknowledgements(document))


def read_silences(document: Document | None) -> tuple[Silence, ...]:
    """Read the silences of the document, by their ends; what cannot be read silences nothing."""
    entries = document.fields.get("silences") if document else None
    silences = (
        _read(str(name), fields)
        for name, fields in (entries if isinstance(entries, Mapping) else {}).items()
    )
    return tuple(
        sorted((silence for silence in silences if silence), key=lambda silence: silence.expires_at)
    )


def read_acknowledgements(document: Document | None) -> tuple[Acknowledgement, ...]:
    """Read the acknowledgements of the document, the oldest first.

    What cannot be read acknowledges nothing.
    """
    entries = document.fields.get("acknowledgements") if document else None
    acknowledgements = [
        from_fields(Acknowledgement, printable(entry))
        for entry in (entries if isinstance(entries, (list, tuple)) else ())
    ]
    return tuple(sorted((ack for ack in acknowledgements if ack), key=lambda ack: ack.at))


def acknowledgement_fields(document: Document | None, added: Acknowledgement) -> dict[str, Any]:
    """Return the document's field for the acknowledgements with one more.

    Beyond 200 the oldest are dropped.
    """
    acknowledgements = (*read_acknowledgements(document), added)[-MOST_ACKNOWLEDGEMENTS:]
    return {"acknowledgements": [to_fields(ack) for ack in acknowledgements]}


def short_words(option: str, text: str) -> str:
    """Return what somebody says, without blanks around it.

    Raises ConfigurationError where it is too long to keep.
    """
    if len(text) > _LONGEST_WORDS:
        raise ConfigurationError(
            f"{option}: {_LONGEST_WORDS} characters at the most, and this has {len(text)}"
        )
    return text.strip()


def new_silence(
    *,
    phase: str,
    first: date,
    last: date,
    reason: str,
    expires_at: datetime,
    now: datetime,
    by: str = "",
) -> Silence:
    """Return a new silence; raises ConfigurationError for one that makes no sense."""
    if last < first:
        raise ConfigurationError(f"--to: {last} is before {first}")
    if not short_words("--reason", reason):
        raise ConfigurationError("--reason: say why, for those who wonder at the silence")
    if not now < expires_at <= now + LONGEST:
        raise ConfigurationError(f"--for: a silence lasts up to {LONGEST.days} days")
    return Silence(
        id=secrets.token_hex(4),
        phase=phase,
        first=first,
        last=last,
        reason=short_words("--reason", reason),
        expires_at=expires_at,
        by=short_words("--by", by),
    )


def silence_fields(silences: Mapping[str, Silence]) -> dict[str, Any]:
    """Return the document's field for `silences`, by id: they replace what was there.

    Raises ConfigurationError for too many.
    """
    if len(silences) > MOST_SILENCES:
        raise ConfigurationError(
            f"{MOST_SILENCES} silences are in force: end some, or let one cover more dates"
        )
    by_id = {name: to_fields(silence) for name, silence in silences.items()}
    return {
        "silences": {
            name: {k: v for k, v in fields.items() if k != "id"} for name, fields in by_id.items()
        }
    }


def parse_duration(text: str) -> timedelta:
    """Read "90m", "12h" or "3d"; raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90m, 12h or 3d")
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]
    return int(match[1]) * unit


def _read(name: str, fields: object) -> Silence | None:
    if not isinstance(fields, Mapping):
        return None
    return from_fields(Silence, {**printable(fields), "id": printable(name)})
