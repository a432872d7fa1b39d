"""Evidence that is taken away again: the cause that is then named has to rest on what is left.

Taken away are lines, all lines of a delivery, rows, and fields of the document, one at a time. What is ruled out is
another matter: who has lost the only line of a death cannot know that there was one.
"""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from canary.domain.verdict import CauseKind
from evaluation.truth import CHECKPOINTS, DATABASE, Stored, Truth
from evaluation.world import World

_PIECES = 12
_WITHOUT_ROW = "DELETE FROM phase_completions WHERE row_id = ?"
_WITHOUT_FIELD = "UPDATE documents SET fields = json_remove(fields, ?) WHERE collection = ? AND id = ?"
# What a line proves by not being there: one that got lost cannot be told from one that was never left.
_ABSENT_LINES = frozenset({CauseKind.CRASHED, CauseKind.DELIVERY_LOST, CauseKind.NEVER_INVOKED})


class Taken(msgspec.Struct, frozen=True):
    """How many pieces were taken away, in how many a lost line looked like another cause, and what was wrong."""

    pieces: int = 0
    misled: int = 0
    flaws: tuple[str, ...] = ()


class _Piece(msgspec.Struct, frozen=True):
    """A piece of evidence: lines, or what a `statement` with its parameters takes away."""

    name: str
    lines: tuple[dict[str, Any], ...] = ()
    statement: tuple[str, tuple[str, ...]] | None = None
    file: str = DATABASE


def take_away(world: World, stored: Stored, truth: Truth, rng: random.Random) -> Taken:
    """Judge a date anew without some pieces of its evidence, one at a time."""
    pieces = list(_pieces(stored))
    chosen = rng.sample(pieces, min(len(pieces), _PIECES))
    misled, flaws = 0, list[str]()
    for piece in chosen:
        with _without(piece, stored):
            (verdict,) = world.check(stored.day).verdicts
            wrong = verdict.proven - truth.causes(stored.on(stored.day)) - truth.arguable
        if piece.lines:
            misled += bool(wrong & _ABSENT_LINES)
            wrong -= _ABSENT_LINES
        flaws += [f"without {piece.name}: {cause} was named" for cause in sorted(wrong)]
    return Taken(len(chosen), misled, tuple(flaws))


def _pieces(stored: Stored) -> Iterator[_Piece]:
    deliveries: dict[str, list[dict[str, Any]]] = {}
    for line in stored.lines:
        yield _Piece(f"{line['checkpoint']} {line['time']}", (line,))
        deliveries.setdefault(str(line.get("delivery")), []).append(line)
    for delivery, lines in deliveries.items():
        yield _Piece(f"the delivery {delivery}", tuple(lines))
    for row in stored.rows:
        yield _Piece(f"the row {row['row_id']}", statement=(_WITHOUT_ROW, (row["row_id"],)), file=row["file"])
    for name in sorted(stored.document.keys() - {"_triggered"}):  # without the flag it would be another fault
        where = f'$."{name}"', stored.phase.firestore_collection, str(stored.day)
        yield _Piece(f"the field {name}", statement=(_WITHOUT_FIELD, where))


@contextmanager
def _without(piece: _Piece, stored: Stored) -> Iterator[None]:
    """Take a piece out of the stores, and put everything back."""
    file = stored.folder / CHECKPOINTS
    text = file.read_bytes()
    with closing(sqlite3.connect(stored.folder / piece.file)) as database, closing(sqlite3.connect(":memory:")) as copy:
        database.backup(copy)
        file.write_bytes(b"".join(row for row in text.splitlines(keepends=True) if json.loads(row) not in piece.lines))
        count = 1
        if piece.statement:
            with database:
                count = database.execute(*piece.statement).rowcount
        gone = len(text.splitlines()) - len(file.read_bytes().splitlines())
        try:
            if (gone, count) != (len(piece.lines), 1):
                raise ValueError(f"{piece.name}: {gone} lines and {count} rows were taken away")
            yield
        finally:
            copy.backup(database)
            file.write_bytes(text)
