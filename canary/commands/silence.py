"""`canary silence` and `canary ack`: what people say to the canary."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import click

from canary.commands.options import Day, Subject, a_date, a_duration, date_argument, options
from canary.domain.incident import ACKNOWLEDGED_FOR
from canary.domain.remembered import date_memory, month_refs
from canary.domain.silence import (
    LONGEST,
    Acknowledgement,
    Silence,
    acknowledgement_fields,
    new_silence,
    people_ref,
    read_silences,
    short_words,
    silence_fields,
)
from orchestrator_resilience.errors import ConfigurationError, ContentionError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.base import Document, DocumentStore

_ATTEMPTS = 10
_ACK = (
    "Say that an open incident is in hand: no reminders of it for "
    f"{ACKNOWLEDGED_FOR // timedelta(hours=1)} hours, unless it gets worse."
)
_by = click.option(
    "--by", envvar="USER", show_envvar=True, default="", metavar="NAME", help="Who says so."
)


@click.group()
def silence() -> None:
    """Silence dates: nobody is notified of them for a while."""


@silence.command()
@date_argument("first")
@options("data", "phase", "now", "canary", "json")
@_by
@click.option("--to", "last", type=a_date, metavar="DATE", help="The last game date.")
@click.option(
    "--for",
    "lasting",
    type=a_duration,
    metavar="TIME",
    required=True,
    help=f"How long: 90m, 12h, 3d; {LONGEST.days} days at the most.",
)
@click.option("--reason", required=True, help="Why, for those who wonder.")
def add(
    about: Subject,
    *,
    first: Day,
    last: Day | None,
    lasting: timedelta,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Notify nobody of a game date, or of those from it to another one, for a while."""
    with about.stores() as stores:
        added = add_silence(
            stores.documents,
            about.canary,
            phase=about.phase.name,
            first=about.game_date(first, about.phase),
            last=about.game_date(first if last is None else last, about.phase),
            reason=reason,
            expires_at=about.now + lasting,
            now=about.now,
            by=by,
        )
        covered = _covered(added, about.phase, stores.documents, about.canary, about.now)
    if as_json:
        click.echo(about.to_json({"silence": added, "covers": covered}))
        return
    end = about.command.to("silence", "end", added.id)
    click.echo(
        f"silence {added.id} until {added.expires_at:%Y-%m-%d %H:%M}Z {about.where}; "
        f"end it with {end}"
    )
    click.echo(f"it covers {covered}")


@silence.command("list")
@options("data", "now", "canary", "json")
def list_silences(about: Subject, *, as_json: bool) -> None:
    """List the silences that are in force."""
    with about.stores() as stores:
        ref = people_ref(about.canary)
        silences = read_silences(stores.documents.get_all([ref]).get(ref))
    in_force = [entry for entry in silences if entry.expires_at > about.now]
    if as_json:
        click.echo(about.to_json({"silences": in_force}))
        return
    lines = [f"{entry.id}  {entry.text}" for entry in in_force]
    click.echo("\n".join(lines or [f"no silence is in force {about.where}"]))


@silence.command()
@click.argument("silence_id", metavar="ID")
@options("data", "now", "canary", "json")
def end(about: Subject, *, silence_id: str, as_json: bool) -> None:
    """End a silence before its time; ID is what `list` shows."""

    def without(silences: dict[str, Silence]) -> dict[str, Silence]:
        if silence_id not in silences:
            listed = about.command.to("silence", "list")
            raise ConfigurationError(f"there is no silence {silence_id!r} to end; see {listed}")
        return {name: entry for name, entry in silences.items() if name != silence_id}

    with about.stores() as stores:
        _change_silences(stores.documents, about.canary, without, about.now)
    if as_json:
        click.echo(about.to_json({"ended": silence_id}))
    else:
        click.echo(f"silence {silence_id} is over {about.where}")


@click.command(help=_ACK)
@date_argument("game_date")
@options("data", "phase", "now", "canary", "json")
@_by
@click.option("--note", default="", help="What is being done.")
def ack(about: Subject, *, game_date: Day, by: str, note: str, as_json: bool) -> None:
    """Say that an open incident is in hand."""
    phase, day = about.phase.name, about.game_date(game_date, about.phase)
    with about.stores() as stores:
        months = stores.documents.get_all(month_refs(about.canary, phase, [day]))
        incident = date_memory(months, about.canary, phase, day).open
        if incident is None:
            raise ConfigurationError(
                f"the canary {about.canary} has no open incident of {phase} {day} {about.where}; "
                "--canary names another canary"
            )
        acknowledgement = Acknowledgement(
            phase=phase,
            game_date=day,
            at=about.now,
            opened_at=incident.opened_at,
            level=incident.level,
            by=short_words("--by", by),
            note=short_words("--note", note),
        )
        _change(
            stores.documents,
            about.canary,
            lambda document: acknowledgement_fields(document, acknowledgement),
        )
    if as_json:
        click.echo(about.to_json({"kind": incident.kind, "acknowledgement": acknowledgement}))
    else:
        click.echo(f"{phase} {day} {incident.kind} {about.where}: {acknowledgement.text}")


def add_silence(documents: DocumentStore, canary: str, *, now: datetime, **fields: Any) -> Silence:
    """Add a silence, made as `new_silence` makes it, and forget those that have expired."""
    added = new_silence(now=now, **fields)
    _change_silences(documents, canary, lambda silences: {**silences, added.id: added}, now)
    return added


def _covered(
    silence: Silence, phase: Phase, documents: DocumentStore, canary: str, now: datetime
) -> str:
    """Say which dates a silence covers, and what is wrong with them now."""
    watched = phase.recent_dates(now, phase.history_dates)
    if silence.last < watched[0]:
        return f"nothing: {phase.name} is watched from {watched[0]} on"
    months = documents.get_all(month_refs(canary, phase.name, watched))

    def wrong() -> Iterator[str]:
        for day in watched:
            incident = date_memory(months, canary, phase.name, day, now).open
            if incident is not None and silence.first <= day <= silence.last:
                yield f"{day} {incident.kind}"

    dates = (
        str(silence.first)
        if silence.first == silence.last
        else f"{silence.first} to {silence.last}"
    )
    return f"{phase.name} {dates}: {', '.join(wrong()) or 'none of them is wrong yet'}"


def _change_silences(
    documents: DocumentStore,
    canary: str,
    change: Callable[[dict[str, Silence]], dict[str, Silence]],
    now: datetime,
) -> None:
    """Change the silences that are in force."""

    def fields(document: Document | None) -> dict[str, Any]:
        return silence_fields(
            change({entry.id: entry for entry in read_silences(document) if entry.expires_at > now})
        )

    _change(documents, canary, fields)


def _change(
    documents: DocumentStore, canary: str, fields: Callable[[Document | None], dict[str, Any]]
) -> None:
    """Change what people said to a canary; of two changes at once neither is lost."""
    ref = people_ref(canary)
    for _ in range(_ATTEMPTS):
        document = documents.get_all([ref]).get(ref)
        if documents.update_if_unchanged(
            ref, fields(document), document.version if document else None
        ):
            return
    raise ContentionError(f"{ref.collection}/{ref.id} changed under each of {_ATTEMPTS} attempts")
