"""What is kept of the past: incidents that are over, and the times in which the canary did not see.

A document holds a month of a phase, so that a page reads two of them for 30 dates. Who wants them gone can have
Firestore delete them by `expires_at`, 90 days after the month.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from canary.domain.incident import RUN_EVERY, Incident, Incidents, from_fields, known_incident, to_fields
from orchestrator_resilience.plain import instant, printable
from orchestrator_resilience.stores.base import Document, DocumentRef

HISTORY = "canary_history"
# When each canary ran last, and when it did not see.
RUNS = DocumentRef(HISTORY, "runs")
KEPT_FOR = timedelta(days=90)
_REMEMBERED = timedelta(days=30)
_EXPIRES = "expires_at"


def history_ref(phase: str, game_date: date) -> DocumentRef:
    """Return the address of the month of a date."""
    return DocumentRef(HISTORY, f"{phase}:{game_date:%Y-%m}")


def history_fields(game_date: date, incident: Incident) -> dict[str, Any]:
    """Return what is merged into the month of a date when its incident is over."""
    next_month = (game_date.replace(day=28) + timedelta(days=4)).replace(day=1)
    told = {name: value for name, value in to_fields(incident).items() if name not in {"receipts", "claim"}}
    return {game_date.isoformat(): told, _EXPIRES: datetime.combine(next_month, time(), UTC) + KEPT_FOR}


def past_incidents(documents: Incidents, phase: str, dates: Iterable[date]) -> dict[date, Incident]:
    """Return the incidents of some dates: those that go on, and those that are over; an odd one is left out."""
    found: dict[date, Incident] = {}
    for day in dates:
        month = documents.get(history_ref(phase, day))
        kept = month.fields.get(day.isoformat()) if month else None
        incident = known_incident(documents, phase, day) or (from_fields(kept) if isinstance(kept, Mapping) else None)
        if incident is not None:
            found[day] = incident
    return found


class Unseen(msgspec.Struct, frozen=True):
    """A time in which the canary did not see, from one run to another, and why."""

    since: datetime
    until: datetime
    why: str


class Runs(msgspec.Struct, frozen=True):
    """When a canary ran last, what it could not tell then, and the times of the last 30 days that it did not see."""

    at: datetime | None = None
    reason: str = ""
    unseen: tuple[Unseen, ...] = ()

    def unseen_since(self, since: datetime) -> timedelta:
        """Return how long it did not see, from `since` on."""
        return sum((one.until - max(one.since, since) for one in self.unseen if one.until > since), timedelta())


def after_a_run(known: Runs, now: datetime, reason: str) -> Runs:
    """Return what has to be remembered after a run at `now`, with the `reason` why it could not tell, if it could not.

    Runs that did not come leave a time that nobody saw, and so does a run that could not tell.
    """
    before = known.at
    if before is None or before > now:
        return Runs(now, reason, known.unseen)  # of two runs at once, the one that began first may be the last to end
    is_late = now - before > 2 * RUN_EVERY
    why = "no run" if is_late else known.reason
    recent = [one for one in known.unseen if now - one.until < _REMEMBERED]
    return Runs(now, reason, tuple(_joined([*recent, Unseen(before, now, why)] if why else recent)))


def _joined(unseen: Sequence[Unseen]) -> Iterator[Unseen]:
    """Join what follows each other without a break, for the same reason."""
    last: Unseen | None = None
    for one in unseen:
        if last is not None and (last.until, last.why) == (one.since, one.why):
            last = Unseen(last.since, one.until, last.why)
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def runs_fields(runs: Runs) -> dict[str, Any]:
    """Return what is kept of a canary's runs, under its name."""
    unseen = [{"since": one.since, "until": one.until, "why": one.why} for one in runs.unseen]
    return {"at": runs.at, "reason": runs.reason, "unseen": unseen}


def read_runs(document: Document | None, canary: str | None = None) -> Runs:
    """Return what is kept of a canary's runs, by default of the one that ran last; what is odd is left out."""
    fields = document.fields if document else {}
    found = [_runs(kept) for name, kept in fields.items() if canary is None or name == canary]
    return max((one for one in found if one.at), key=lambda one: str(one.at), default=Runs())


def _runs(kept: object) -> Runs:
    if not isinstance(kept, Mapping):
        return Runs()
    listed = kept.get("unseen")
    unseen = [_unseen(one) for one in listed] if isinstance(listed, list) else []
    return Runs(instant(kept.get("at")), printable(str(kept.get("reason") or "")), tuple(one for one in unseen if one))


def _unseen(kept: object) -> Unseen | None:
    if not isinstance(kept, Mapping):
        return None
    since, until = instant(kept.get("since")), instant(kept.get("until"))
    return Unseen(since, until, printable(str(kept.get("why")))) if since and until and since <= until else None
