"""What a canary remembers, and in which documents: see docs/architecture.md.

Memory belongs to one canary, by its name. There is a document for each phase and month, in which each date is one field
with a text of JSON, because Firestore writes and reads that ten times as fast as nested maps; and one document for the
canary itself. What is damaged is left out alone. The first format is number 1; another one is not read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.documents import from_fields, to_fields
from canary.domain.incident import RUN_EVERY, DateMemory, believed_memory
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
# A phase that was removed is looked for in so many months.
_MONTHS = 4
Documents = Mapping[DocumentRef, Document]


class Refusal(msgspec.Struct, frozen=True):
    """That an address was refused for good: which, when last (UTC), and the channel's words for it."""

    address: str
    at: datetime
    reason: str


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

    `at` is when it ran last, and `reason` what it could not tell then. `judged_from` is the first date that it had
    judged, and `open` the oldest month with something open, empty where nothing is, for each phase that it ever
    followed. `refusals` are by the name of the channel. `unseen` are the times that it did not see, 200 at the most.
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
        return sum((one.until - max(one.since, since) for one in self.unseen if one.until > since), timedelta())


def after_a_run(runs: Runs, now: datetime, reason: str) -> Runs:
    """Return what has to be remembered after a run at `now`, with the `reason` why it could not tell, if it could not.

    Runs that did not come leave a time that nobody saw, and so does a run that could not tell.
    """
    before, reason = runs.at, reason[:_REASON_CHARACTERS]
    if before is None or before > now:
        return replace(runs, at=now, reason=reason)  # of two runs at once, the first may be the last to end
    why = "no run" if now - before > 2 * RUN_EVERY else runs.reason
    unseen = [one for one in runs.unseen if now - one.until < timedelta(days=30)]
    if why:
        goes_on = bool(unseen) and (unseen[-1].until, unseen[-1].why) == (before, why)
        since = unseen.pop().since if goes_on else before
        unseen.append(Unseen(since, now, why))
    return replace(runs, at=now, reason=reason, unseen=tuple(unseen[-MOST_UNSEEN:]))


def canary_ref(canary: str) -> DocumentRef:
    """Return the address of a canary's own document."""
    return DocumentRef(MEMORY, canary.replace("/", "_") or DEFAULT_CANARY)


def month_ref(canary: str, phase: str, month: str) -> DocumentRef:
    """Return the address of what a canary remembers of a phase in a month, such as 2026-02."""
    return DocumentRef(MEMORY, f"{canary_ref(canary).id}:{phase}:{month}")


def month_refs(canary: str, phase: str, days: Iterable[date]) -> list[DocumentRef]:
    """Return the addresses of the months of some dates."""
    return [month_ref(canary, phase, month) for month in sorted({f"{day:%Y-%m}" for day in days})]


def months_of(documents: Documents, canary: str, phase: str) -> list[DocumentRef]:
    """Return the addresses of the months of a phase that were read, the oldest first."""
    prefix = month_ref(canary, phase, "").id
    return sorted(ref for ref in documents if ref.collection == MEMORY and ref.id.startswith(prefix))


def older_refs(runs: Runs, canary: str, now: datetime, phases: Iterable[str]) -> list[DocumentRef]:
    """Return the months in which something is open: all up to this one of a phase that was removed."""
    refs = []
    for phase, oldest in runs.open.items():
        months = [oldest] if phase in phases else [*_months(now)]
        refs += [month_ref(canary, phase, month) for month in months if oldest and month >= oldest]
    return refs


def _months(now: datetime) -> Iterator[str]:
    first = now.date().replace(day=1)
    for _ in range(_MONTHS):
        yield f"{first:%Y-%m}"
        first = (first - timedelta(days=1)).replace(day=1)


def read_runs(document: Document | None) -> Runs:
    """Read a canary's own document; what is odd in it is left out. Without one it has never run."""
    return from_fields(Runs, printable(document.fields) if document else {}) or Runs()


def is_readable(document: Document | None) -> bool:
    """Whether a canary's own document is of the format that this code reads."""
    number = document.fields.get("format") if document else None
    return not isinstance(number, int) or number == FORMAT


def read_date(document: Document | None, game_date: date, now: datetime | None = None) -> DateMemory:
    """Read what is remembered of a date in its month; with `now` (aware), as far as it can be believed then."""
    text = document.fields.get(game_date.isoformat()) if document else None
    try:
        fields = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        fields = None
    memory = from_fields(DateMemory, printable(fields)) or DateMemory()
    return memory if now is None else believed_memory(memory, now)


def read_month(document: Document | None, now: datetime | None = None) -> dict[date, DateMemory]:
    """Read all dates of a month, the oldest first."""
    days = sorted(day for name in (document.fields if document else {}) if (day := calendar_date(name)))
    return {day: read_date(document, day, now) for day in days}


def month_fields(document: Document | None, dates: Mapping[date, DateMemory]) -> dict[str, Any]:
    """Return the whole document of a month, with `dates` in it as they are now."""
    changed = {day.isoformat(): _text(memory) for day, memory in dates.items()}
    fields = {**(document.fields if document else {}), **changed}
    size = sum(len(str(value)) for value in fields.values())
    for name in sorted(fields):  # the oldest dates lose the words first
        if size > MOST_BYTES and (short := _without_words(fields[name])):
            size += len(short) - len(str(fields[name]))
            fields[name] = short
    return fields


def _text(memory: DateMemory) -> str:
    fields = msgspec.to_builtins(memory, order="deterministic")
    return json.dumps(fields, separators=(",", ":"))


def _without_words(text: object) -> str | None:
    """Return a date without what its events say in words; None where it cannot be read."""
    try:
        memory = from_fields(DateMemory, json.loads(text)) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        memory = None
    if memory is None:
        return None
    incidents = [
        replace(one, events=tuple(replace(event, why="", causes=()) for event in one.events))
        for one in memory.incidents
    ]
    return _text(replace(memory, incidents=tuple(incidents)))


def runs_fields(runs: Runs) -> dict[str, Any]:
    """Return the whole document of a canary."""
    return to_fields(runs)
