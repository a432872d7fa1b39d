"""`canary silence`: dates of which nobody is notified for a while."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import click

from canary.commands.options import Subject, a_date, a_duration, options
from canary.domain.silence import SILENCES, Silence, new_silence, read_silences, silence_fields
from orchestrator_resilience.errors import ConfigurationError, ContentionError
from orchestrator_resilience.stores.base import DocumentStore

_ATTEMPTS = 10


@click.group()
def silence() -> None:
    """Silence dates: nobody is notified of them for a while."""


@silence.command()
@click.argument("first", type=a_date, metavar="DATE")
@options("data", "phase", "now")
@click.option("--to", "last", type=a_date, metavar="DATE", help="The last game date.")
@click.option(
    "--for",
    "lasting",
    type=a_duration,
    metavar="TIME",
    required=True,
    help="How long: 90m, 12h, 3d; 31 days at the most.",
)
@click.option("--reason", required=True, help="Why, for those who wonder.")
def add(about: Subject, *, first: date, last: date | None, lasting: timedelta, reason: str) -> None:
    """Notify nobody of a game date, or of those from it to another one, for a while."""
    with about.stores(must_exist=False) as stores:
        new = add_silence(
            stores.documents,
            phase=about.phase.name,
            first=first,
            last=last or first,
            reason=reason,
            expires_at=about.now + lasting,
            now=about.now,
        )
    end = about.command.to("silence", "end", new.id)
    click.echo(f"silence {new.id} until {new.expires_at:%Y-%m-%d %H:%M}Z; end it with {end}")


@silence.command("list")
@options("data", "now")
def list_silences(about: Subject) -> None:
    """List the silences that are in force."""
    with about.stores() as stores:
        silences = read_silences(stores.documents.get_all([SILENCES]).get(SILENCES))
    in_force = [f"{one.id}  {one.text}" for one in silences if one.expires_at > about.now]
    click.echo("\n".join(in_force or ["no silence is in force"]))


@silence.command()
@click.argument("silence_id", metavar="ID")
@options("data", "now")
def end(about: Subject, *, silence_id: str) -> None:
    """End a silence before its time; ID is what `list` shows."""

    def without(kept: dict[str, Silence]) -> dict[str, Silence]:
        if silence_id not in kept:
            listed = about.command.to("silence", "list")
            raise ConfigurationError(f"there is no silence {silence_id!r} to end; see {listed}")
        return {name: one for name, one in kept.items() if name != silence_id}

    with about.stores() as stores:
        _change(stores.documents, without, about.now)
    click.echo(f"silence {silence_id} is over")


def add_silence(documents: DocumentStore, *, now: datetime, **wanted: Any) -> Silence:
    """Add a silence, made as `new_silence` makes it, and forget those that have expired."""
    new = new_silence(now=now, **wanted)
    _change(documents, lambda kept: {**kept, new.id: new}, now)
    return new


def _change(
    documents: DocumentStore, change: Callable[[dict[str, Silence]], dict[str, Silence]], now: datetime
) -> None:
    """Change the silences that are in force; of two people who do so at once neither loses."""
    for _ in range(_ATTEMPTS):
        document = documents.get_all([SILENCES]).get(SILENCES)
        kept = {one.id: one for one in read_silences(document) if one.expires_at > now}
        fields = silence_fields(document, change(kept))
        if documents.update_if_unchanged(SILENCES, fields, document.version if document else None):
            return
    raise ContentionError(f"{SILENCES.collection}/{SILENCES.id} changed under each of {_ATTEMPTS} attempts")
