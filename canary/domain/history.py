"""What is kept of the past: incidents that are over, and the times in which the canary did not see.

A document holds a month of a phase, so that a page reads two of them for 30 dates. Who wants them gone can have
Firestore delete them by `expires_at`, 90 days after the month.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from canary.domain.documents import from_fields, to_fields
from canary.domain.incident import RUN_EVERY, Incident, Incidents, incident_ref, read_incident
from orchestrator_resilience.plain import printable
from orchestrator_resilience.stores.base import Document, DocumentRef

HISTORY = "canary_history"
# When each canary ran last, and when it did not see.
RUNS = DocumentRef(HISTORY, "runs")
KEPT_FOR = timedelta(days=90)
_REMEMBERED = timedelta(days=30)


def history_ref(phase: str, game_date: date) -> DocumentRef:
    """Return the address of the month of a date."""
    return DocumentRef(HISTORY, f"{phase}:{game_date:%Y-%m}")


def history_fields(game_date: date, incident: Incident) -> dict[str, Any]:
    """Return what is merged into the month of a date when its incident is over."""
    next_month = (game_date.replace(day=28) + timedelta(days=4)).replace(day=1)
    told = {name: value for name, value in to_fields(incident).items() if name not in {"receipts", "claim"}}
    return {game_date.isoformat(): told, "expires_at": datetime.combine(next_month, time(), UTC) + KEPT_FOR}


def past_incidents(documents: Incidents, phase: str, dates: Iterable[date]) -> dict[date, Incident]:
    """Return the incidents of some dates: those that go on, and those that are over; an odd one is left out."""
    found: dict[date, Incident] = {}
    for day in dates:
        month = documents.get(history_ref(phase, day))
        kept = month.fields.get(day.isoformat()) if month else None
        incident = read_incident(documents.get(incident_ref(phase, day))) or from_fields(Incident, kept)
        if incident is not None:
            found[day] = incident
    return found


class Unseen(msgspec.Struct, frozen=True):
    """A time in which the canary did not see, from one run to another, and why."""

    since: datetime
    until: datetime
    why: str

    def __post_init__(self) -> None:
        """Refuse one that ends before it begins."""
        if self.until < self.since:
            raise ValueError("it ends before it begins")


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
    why = "no run" if now - before > 2 * RUN_EVERY else known.reason
    unseen = [one for one in known.unseen if now - one.until < _REMEMBERED]
    if why:
        goes_on = bool(unseen) and (unseen[-1].until, unseen[-1].why) == (before, why)
        since = unseen.pop().since if goes_on else before
        unseen.append(Unseen(since, now, why))
    return Runs(now, reason, tuple(unseen))


def read_runs(document: Document | None, canary: str | None = None) -> Runs:
    """Return what is kept of a canary's runs, by default of the one that ran last; what is odd is left out."""
    fields = document.fields if document else {}
    kept = [fields.get(canary)] if canary is not None else fields.values()
    every = [from_fields(Runs, printable(runs)) for runs in kept]
    return max((runs for runs in every if runs and runs.at), key=lambda runs: str(runs.at), default=Runs())
