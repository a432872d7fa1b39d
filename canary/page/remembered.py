"""What the canary remembers, as the pages show it.

That is when it ran, what was sent to whom, and who has it in hand.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import msgspec
from msgspec.structs import replace

from canary.domain.clocks import believed
from canary.domain.evidence import Unreadable
from canary.domain.incident import (
    ACKNOWLEDGED,
    ACKNOWLEDGED_FOR,
    RUN_EVERY,
    DateMemory,
    Event,
    Incident,
    NotificationKind,
    with_acknowledgements,
)
from canary.domain.remembered import (
    Documents,
    Runs,
    Unseen,
    after_a_run,
    canary_ref,
    date_memory,
    read_runs,
)
from canary.domain.silence import people_ref, read_acknowledgements

_REMINDER = NotificationKind.REMINDER


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an incident.

    `what` it was, `of` which verdict, to or by `whom`, and `why`.
    """

    at: datetime
    what: str
    of: str = ""
    whom: str = ""
    why: str = ""


class IncidentHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What people were notified of by now about one incident: `lines`, the oldest first.

    It is still open where it has no `over_at` (UTC). `heard` are the channels that were sent
    something, `acknowledged_by` is who has it in hand.
    """

    incident: Incident
    over_at: datetime | None
    heard: tuple[str, ...]
    acknowledged_by: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def short(self) -> tuple[Line, ...]:
        """The last news, the reminders, and the last acknowledgement."""
        last = {
            line.what if line.what in {_REMINDER, ACKNOWLEDGED} else "": line for line in self.lines
        }
        return tuple(sorted(last.values(), key=lambda line: line.at))


class Remembered:
    """What the canary of this name remembers by `now`.

    `documents` are what was read of its memory, or why it could not be read. `ran_at` is when the
    canary last ran by another record, for where it remembers no run.
    """

    def __init__(
        self,
        documents: Documents | Unreadable,
        canary: str,
        now: datetime,
        ran_at: datetime | None = None,
    ) -> None:
        self.unreadable = documents if isinstance(documents, Unreadable) else None
        self._documents = {} if isinstance(documents, Unreadable) else documents
        self._canary, self._now = canary, now
        self._acknowledgements = read_acknowledgements(self._documents.get(people_ref(canary)))
        self.runs = _runs_by(now, read_runs(self._documents.get(canary_ref(canary))), ran_at)

    @property
    def away(self) -> timedelta | None:
        """For how long the canary has not run although it should have.

        None where it has run, and where no run is known.
        """
        lasted = self._now - (self.runs.at or self._now)
        return lasted if lasted > 2 * RUN_EVERY else None

    def of(self, phase: str, day: date) -> DateMemory:
        """Return what is remembered of a date."""
        return date_memory(self._documents, self._canary, phase, day, self._now)

    def histories(self, phase: str, day: date) -> tuple[IncidentHistory, ...]:
        """Return the history of each incident of a date, the oldest incident first."""
        acknowledgements = [
            acknowledgement
            for acknowledgement in self._acknowledgements
            if (acknowledgement.phase, acknowledgement.game_date) == (phase, day)
        ]
        begun = (
            incident
            for incident in self.of(phase, day).incidents
            if incident.opened_at <= self._now
        )
        return tuple(
            _history_of(with_acknowledgements(incident, acknowledgements), self._now)
            for incident in begun
        )


def _runs_by(now: datetime, runs: Runs, ran_at: datetime | None) -> Runs:
    """Return the runs by `now`; the time since the last is one that nobody has seen, unless short.

    With a `now` in the past it is not known which of the later runs came first, so that nothing is
    said of the last one.
    """
    at = believed(runs.at, now)
    unseen = tuple(
        Unseen(interval.since, min(interval.until, now), interval.why)
        for interval in runs.unseen
        if interval.since < now
    )
    by_now = replace(runs, at=at or ran_at, reason=runs.reason if at else "", unseen=unseen)
    return replace(by_now, unseen=after_a_run(by_now, now, "").unseen)


def _history_of(incident: Incident, now: datetime) -> IncidentHistory:
    ended = incident.over_at or (
        incident.quiet_since if incident.quiet_twice or incident.expired else None
    )
    events = [event for event in incident.events if event.at <= now]
    lines = [
        *(_line(event, now) for event in events),
        *(line for line in _reminders(incident) if line.at <= now),
    ]
    return IncidentHistory(
        incident=incident,
        over_at=ended if ended and ended <= now else None,
        heard=tuple(sorted({name for event in events for name in event.to})),
        acknowledged_by=tuple(
            dict.fromkeys(event.by or "somebody" for event in events if event.what == ACKNOWLEDGED)
        ),
        lines=tuple(sorted(lines, key=lambda line: line.at)),
    )


def _line(event: Event, now: datetime) -> Line:
    if event.what == ACKNOWLEDGED:
        over = "" if now - event.at < ACKNOWLEDGED_FOR else ", which holds no longer"
        return Line(
            at=event.at, what=event.what, whom=f"by {event.by or 'somebody'}{over}", why=event.why
        )
    to = [*event.to, *(f"{name} (no answer)" for name in event.unanswered)]
    of = " ".join(filter(None, (event.verdict, ", ".join(event.causes))))
    return Line(
        at=event.at,
        what=event.what,
        of=of,
        whom=f"sent to {', '.join(to) or 'nobody'}",
        why=event.why,
    )


def _reminders(incident: Incident) -> Iterator[Line]:
    """Yield a line for the reminders, which are counted; at the last of them."""
    counts = [
        f"{count} to {name}" for name, count in sorted(incident.reminders.items()) if count > 0
    ]
    if counts and incident.reminded_at:
        yield Line(at=incident.reminded_at, what=_REMINDER, whom=f"the last of {', '.join(counts)}")
