"""What a canary remembers, and in which documents: see docs/architecture.md.

Memory belongs to one canary, by its name. There is a document for each phase and month, in which
each date is one field with a text of JSON, because Firestore writes and reads that ten times as
fast as nested maps; and one document for the canary itself. What is damaged is left out alone. The
first format is number 1; another one is not read.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from canary.domain.documents import from_fields, to_fields
from canary.domain.incident import RUN_EVERY, DateMemory, Event, believed_memory
from orchestrator_resilience.plain import calendar_date, printable
from orchestrator_resilience.stores.base import Document, DocumentRef

MEMORY = "canary_memory"
# A canary without another name; cloudbuild.yaml calls its service so.
DEFAULT_CANARY = "phase2-canary"
FORMAT = 1
MOST_UNSEEN = 200
# Firestore takes 1 MiB a document; this is read and written in less than a tenth of a second.
MOST_BYTES = 240_000
_REASON_CHARACTERS = 200
# So many months before this one are looked at where nobody knows, and at the most.
_MONTHS, _MOST_MONTHS = 3, 24
Documents = Mapping[DocumentRef, Document]


class Refusal(msgspec.Struct, frozen=True):
    """That an address was refused for good: when last (UTC), and in which words.

    `said` is whether the other channels were notified of it.
    """

    address: str
    at: datetime
    reason: str
    said: bool = False


class Unseen(msgspec.Struct, frozen=True):
    """A time in which the canary did not see, from one run to another, and why."""

    since: datetime
    until: datetime
    why: str

    def __post_init__(self) -> None:
        """Refuse one that ends before it begins."""
        if self.until < self.since:
            raise ValueError("it ends before it begins")


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a canary itself.

    `at` is when it ran last, and `reason` why it could not tell then, empty where it could.
    `judged_from` is the first date that still has to be judged, and `open` the oldest month with
    something open, empty where nothing is, for each phase that it ever followed. `refusals` are by
    the name of the channel. `unseen` are the times that it did not see, 200 at the most.
    """

    format: int = FORMAT
    at: datetime | None = None
    reason: str = ""
    judged_from: Mapping[str, date] = msgspec.field(default_factory=dict)
    open: Mapping[str, str] = msgspec.field(default_factory=dict)
    refusals: Mapping[str, Refusal] = msgspec.field(default_factory=dict)
    unseen: tuple[Unseen, ...] = ()

    def unseen_since(self, since: datetime) -> timedelta:
        """Return how long it did not see, from `since` on."""
        return sum(
            (gap.until - max(gap.since, since) for gap in self.unseen if gap.until > since),
            timedelta(),
        )


def after_a_run(runs: Runs, now: datetime, reason: str) -> Runs:
    """Return what has to be remembered after a run at `now`.

    `reason` is why the run could not tell, empty where it could. Runs that did not come leave a
    time that nobody saw, and so does a run that could not tell.
    """
    before, reason = runs.at, reason[:_REASON_CHARACTERS]
    if before is None or before > now:
        # of two runs at once, the first may be the last to end
        return replace(runs, at=now, reason=reason)
    why = "no run" if now - before > 2 * RUN_EVERY else runs.reason
    unseen = [gap for gap in runs.unseen if now - gap.until < timedelta(days=30)]
    if why:
        goes_on = bool(unseen) and (unseen[-1].until, unseen[-1].why) == (before, why)
        since = unseen.pop().since if goes_on else before
        unseen.append(Unseen(since, now, why))
    return replace(runs, at=now, reason=reason, unseen=tuple(unseen[-MOST_UNSEEN:]))


def canary_ref(canary: str) -> DocumentRef:
    """Return the address of a canary's own document."""
    return DocumentRef(MEMORY, quote(canary, safe=""))


def month_ref(canary: str, phase: str, month: str) -> DocumentRef:
    """Return the address of what a canary remembers of a phase in a month, such as 2026-02."""
    return DocumentRef(MEMORY, f"{canary_ref(canary).id}:{phase}:{month}")


def month_refs(canary: str, phase: str, days: Iterable[date]) -> list[DocumentRef]:
    """Return the addresses of the months of some dates."""
    return [month_ref(canary, phase, month) for month in sorted({f"{day:%Y-%m}" for day in days})]


def months_of(documents: Documents, canary: str, phase: str) -> list[DocumentRef]:
    """Return the addresses of the months of a phase that were read, the oldest first."""
    prefix = month_ref(canary, phase, "").id
    return sorted(
        ref for ref in documents if ref.collection == MEMORY and ref.id.startswith(prefix)
    )


def older_refs(runs: Runs, canary: str, now: datetime, phases: Iterable[str]) -> list[DocumentRef]:
    """Return the addresses of the months from the oldest with something open up to this one.

    Where that is not known of a phase, as before the first run, they are the last four.
    """
    this = now.year * 12 + now.month - 1
    refs = []
    for phase in dict.fromkeys([*phases, *runs.open]):
        oldest = runs.open.get(phase, "?")
        day = calendar_date(f"{oldest}-01")
        first = max(day.year * 12 + day.month - 1, this - _MOST_MONTHS) if day else this - _MONTHS
        months = range(first, this + 1) if oldest else ()
        refs += [
            month_ref(canary, phase, f"{month // 12:04}-{month % 12 + 1:02}") for month in months
        ]
    return refs


def read_runs(document: Document | None) -> Runs:
    """Read a canary's own document; what is odd in it is left out. Without one it has never run."""
    return from_fields(Runs, printable(document.fields) if document else {}) or Runs()


def is_readable(document: Document | None) -> bool:
    """Whether a canary's own document is of the format that this code reads."""
    number = document.fields.get("format") if document else None
    return not isinstance(number, int) or number == FORMAT


def read_date(
    document: Document | None, game_date: date, now: datetime | None = None
) -> DateMemory:
    """Read what is remembered of a date in its month.

    With `now` (aware), as far as it can be believed then.
    """
    memory = _read(document.fields.get(game_date.isoformat()) if document else None) or DateMemory()
    return memory if now is None else believed_memory(memory, now)


def date_memory(
    documents: Documents, canary: str, phase: str, game_date: date, now: datetime | None = None
) -> DateMemory:
    """Return what is remembered of a date of a phase among the documents that were read.

    `now` is as in `read_date`.
    """
    (ref,) = month_refs(canary, phase, [game_date])
    return read_date(documents.get(ref), game_date, now)


def _read(text: object) -> DateMemory | None:
    """Read the text of a date; None where it is damaged."""
    try:
        fields = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        fields = None
    return from_fields(DateMemory, printable(fields))


def read_month(document: Document | None, now: datetime | None = None) -> dict[date, DateMemory]:
    """Read all dates of a month, the oldest first."""
    days = sorted(
        day for name in (document.fields if document else {}) if (day := calendar_date(name))
    )
    return {day: read_date(document, day, now) for day in days}


def month_fields(document: Document | None, dates: Mapping[date, DateMemory]) -> dict[str, Any]:
    """Return the whole document of a month, with `dates` in it as they are now.

    Where it grows too large, the oldest dates lose the words of their events first, then what lies
    between the first and the last event of each incident.
    """
    changed = {day.isoformat(): _text(memory) for day, memory in dates.items()}
    fields = {**(document.fields if document else {}), **changed}
    size = sum(len(str(value)) for value in fields.values())
    for shorter in (_without_words, _ends_of):
        for name in sorted(fields):
            if size > MOST_BYTES and (memory := _read(fields[name])):
                incidents = tuple(
                    replace(incident, events=shorter(incident.events))
                    for incident in memory.incidents
                )
                text = _text(replace(memory, incidents=incidents))
                size += len(text) - len(str(fields[name]))
                fields[name] = text
    return fields


def _text(memory: DateMemory) -> str:
    fields = msgspec.to_builtins(memory, order="deterministic")
    return json.dumps(fields, separators=(",", ":"))


def _without_words(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return tuple(replace(event, why="", causes=()) for event in events)


def _ends_of(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return events if len(events) <= 2 else (events[0], events[-1])  # noqa: PLR2004 (two)


def runs_fields(runs: Runs) -> dict[str, Any]:
    """Return the whole document of a canary."""
    return to_fields(runs)
