"""`canary history`: what was sent of each incident, when, to whom, and why."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import click
import msgspec

from canary.commands.options import Day, Subject, date_argument, options
from canary.domain.incident import DateMemory, Event, Incident
from canary.domain.remembered import date_memory, month_refs
from orchestrator_resilience.phase import Phase

_DATES = 30


@click.command()
@date_argument("game_date", "[DATE]", required=False)
@options("data", "phase", "now", "json", "canary")
def history(about: Subject, *, game_date: Day | None, as_json: bool) -> None:
    """Show the incidents of one date, or of the last 30 dates.

    Each with what was sent, to whom and why, and how it ended.
    """
    with about.stores() as stores:
        days = {name: _days(phase, about, game_date) for name, phase in about.phases.items()}
        refs = [
            ref
            for name, phase_days in days.items()
            for ref in month_refs(about.canary, name, phase_days)
        ]
        documents = stores.documents.get_all(refs)
        remembered = [
            (name, day, memory)
            for name, phase_days in days.items()
            for day in phase_days
            if (memory := date_memory(documents, about.canary, name, day, about.now)).incidents
        ]
    if as_json:
        click.echo(about.to_json({"dates": [_fields(*entry) for entry in remembered]}))
        return
    lines = [line for name, day, memory in remembered for line in _lines(name, day, memory)]
    click.echo("\n".join(lines or [f"no incident is remembered {about.where}"]))


def _days(phase: Phase, about: Subject, day: Day | None) -> tuple[date, ...]:
    return phase.recent_dates(about.now, _DATES) if day is None else (about.game_date(day, phase),)


def _fields(phase: str, day: date, memory: DateMemory) -> Mapping[str, Any]:
    stored = [msgspec.to_builtins(incident, order="deterministic") for incident in memory.incidents]
    incidents = [
        {name: value for name, value in fields.items() if name != "receipts"} for fields in stored
    ]
    return {
        "phase": phase,
        "game_date": day.isoformat(),
        "incidents": incidents,
        "forgotten": memory.forgotten,
    }


def _lines(phase: str, day: date, memory: DateMemory) -> Iterator[str]:
    if memory.forgotten:
        yield f"{phase} {day}: {_earlier(memory.forgotten)} not kept"
    for incident in memory.incidents:
        yield f"{phase} {day} {incident.kind}, {_state(incident)}"
        yield from (f"  {event.at:%Y-%m-%d %H:%M}Z {_words(event)}" for event in incident.events)
        if incident.reminders and incident.reminded_at:
            counts = ", ".join(
                f"{count} to {name}" for name, count in sorted(incident.reminders.items())
            )
            yield f"  reminders: {counts}, the last at {incident.reminded_at:%Y-%m-%d %H:%M}Z"


def _earlier(number: int) -> str:
    return "an earlier incident is" if number == 1 else f"{number} earlier incidents are"


def _state(incident: Incident) -> str:
    if incident.over_at:
        return f"{incident.ended} {incident.over_at:%Y-%m-%d %H:%M}Z"
    return f"quiet since {incident.quiet_since:%Y-%m-%d %H:%M}Z" if incident.quiet_twice else "open"


def _words(event: Event) -> str:
    if event.by or event.verdict is None:
        return f"{event.what} by {event.by or 'somebody'}" + (f": {event.why}" if event.why else "")
    to = [*event.to, *(f"{name} (no answer)" for name in event.unanswered)]
    causes = f" {', '.join(event.causes)}" if event.causes else ""
    return f"{event.what} {event.verdict}{causes} to {', '.join(to) or 'nobody'}: {event.why}"
