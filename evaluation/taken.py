"""Evidence that is taken away again: what is then said has to rest on what is left.

Each source is taken away whole, as one that cannot be read: what is said may be less exact then,
and nothing else. Rows of the completion log and fields of the document are taken away one at a
time. Single lines, and rows of the message log, are not taken away: their absence is what proves
that a process died, or that a message never came, and one that got lost looks the same as one that
was never written.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import msgspec

from canary.domain.verdict import Verdict
from evaluation.truth import DATABASE, Stored, Truth, by_subject, interval
from evaluation.world import Outage, World

_SOURCES = ("checkpoints", "completion_log", "documents", "message_log", "requests")
_PIECES = 12
_WITHOUT_ROW = "DELETE FROM phase_completions WHERE row_id = ?"
_WITHOUT_FIELD = (
    "UPDATE documents SET fields = json_remove(fields, ?) WHERE collection = ? AND id = ?"
)


class Taken(msgspec.Struct, frozen=True):
    """How many pieces were taken away, whole sources included, and what was wrong."""

    pieces: int = 0
    flaws: tuple[str, ...] = ()


class _Piece(msgspec.Struct, frozen=True):
    """A row or a field: what takes it away is a `statement` with its `values`."""

    name: str
    statement: str
    values: tuple[str, ...]


def take_away(world: World, stored: Stored, truth: Truth, rng: random.Random) -> Taken:
    """Judge a date anew without some of its evidence, one piece at a time."""
    now, flaws = world.schedule.clock.now, list[str]()
    (full,) = world.check(stored.day).verdicts
    for source in _SOURCES:
        with _unreadable(source, world):
            (verdict,) = world.check(stored.day).verdicts
        wrong = [*narrowed(full, verdict), *truth.unsound(verdict.causes, now)]
        flaws += [f"without {source}: {flaw}" for flaw in wrong]
    pieces = list(_pieces(stored))
    chosen = rng.sample(pieces, min(len(pieces), _PIECES))
    for piece in chosen:
        with _without(piece, stored):
            (verdict,) = world.check(stored.day).verdicts
            wrong_kinds = verdict.proven - truth.causes(stored.on(stored.day)) - truth.arguable
        flaws += [f"without {piece.name}: {kind} was named" for kind in sorted(wrong_kinds)]
    return Taken(len(_SOURCES) + len(chosen), tuple(flaws))


def narrowed(full: Verdict, verdict: Verdict) -> Iterator[str]:
    """Say what `verdict`, of less evidence, says beyond `full`.

    That is another kind of cause, or a shorter interval.
    """
    for kind in sorted(verdict.proven - full.proven):
        yield f"{kind} was named"
    before = list(by_subject(full.causes))
    for subject, cause in by_subject(verdict.causes):
        after, until = interval(cause)
        earlier = [interval(former) for about, former in before if about == subject]
        if earlier and not any(after <= first and last <= until for first, last in earlier):
            yield f"{subject or 'the date'}: after {cause.after} until {cause.until} is narrower"


def _pieces(stored: Stored) -> Iterator[_Piece]:
    for row in stored.rows:
        if row["file"] == DATABASE:
            yield _Piece(f"the row {row['row_id']}", _WITHOUT_ROW, (row["row_id"],))
    # without the flag it would be another fault
    for name in sorted(stored.document.keys() - {"_triggered"}):
        where = f'$."{name}"', stored.phase.firestore_collection, str(stored.day)
        yield _Piece(f"the field {name}", _WITHOUT_FIELD, where)


@contextmanager
def _unreadable(source: str, world: World) -> Iterator[None]:
    """Let a source not answer."""
    now = world.schedule.clock.now
    world.outages.append(Outage(source, now, now + timedelta(seconds=1)))
    try:
        yield
    finally:
        world.outages.pop()


@contextmanager
def _without(piece: _Piece, stored: Stored) -> Iterator[None]:
    """Take a piece out of the stores, and put it back."""
    with (
        closing(sqlite3.connect(stored.folder / DATABASE)) as database,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        database.backup(copy)
        with database:
            count = database.execute(piece.statement, piece.values).rowcount
        try:
            if count != 1:
                raise ValueError(f"{piece.name}: {count} rows were taken away")
            yield
        finally:
            copy.backup(database)
