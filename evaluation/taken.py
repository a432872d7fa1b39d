"""Evidence that is taken away again: the cause that is then named has to rest on what is left.

Taken away are lines, all lines of a delivery, rows, and fields of the document, one at a time. What is ruled out is
another matter: who has lost the only line of a death cannot know that there was one.
"""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from canary.domain.verdict import CauseKind
from evaluation.truth import CHECKPOINTS, DATABASE, Stored, Truth
from evaluation.world import World

_PIECES = 12
# What a line proves by not being there: one that got lost cannot be told from one that was never left.
ABSENT_LINES = frozenset({CauseKind.CRASHED, CauseKind.DELIVERY_LOST, CauseKind.NEVER_INVOKED})


class Taken(msgspec.Struct, frozen=True):
    """How many pieces were taken away, in how many a lost line looked like another cause, and what was wrong."""

    pieces: int = 0
    misled: int = 0
    flaws: tuple[str, ...] = ()


def take_away(world: World, stored: Stored, truth: Truth, rng: random.Random) -> Taken:
    """Judge a date anew without some pieces of its evidence, one at a time."""
    pieces = list(_pieces(stored))
    chosen = rng.sample(pieces, min(len(pieces), _PIECES))
    misled, flaws = 0, list[str]()
    for piece in chosen:
        with piece.taken():
            (verdict,) = world.check(stored.day).verdicts
            wrong = verdict.proven - truth.causes(stored.on(stored.day)) - truth.arguable
        if piece.is_line:
            misled += bool(wrong & ABSENT_LINES)
            wrong -= ABSENT_LINES
        flaws += [f"without {piece.name}: {cause} was named" for cause in sorted(wrong)]
    return Taken(len(chosen), misled, tuple(flaws))


class _Piece(msgspec.Struct, frozen=True):
    """A piece of evidence; it is gone for as long as `taken` is open."""

    name: str
    taken: Callable[[], AbstractContextManager[None]]
    is_line: bool = False


def _pieces(stored: Stored) -> Iterator[_Piece]:
    file, database = stored.folder / CHECKPOINTS, stored.folder / DATABASE
    deliveries: dict[str, list[dict[str, Any]]] = {}
    for line in stored.lines:
        yield _Piece(f"{line['checkpoint']} {line['time']}", partial(_without_lines, file, [line]), is_line=True)
        deliveries.setdefault(str(line.get("delivery")), []).append(line)
    for delivery, lines in deliveries.items():
        yield _Piece(f"the delivery {delivery}", partial(_without_lines, file, lines), is_line=True)
    for row in stored.rows:
        yield _Piece(f"the row {row['row_id']}", partial(_without_row, database, row["row_id"]))
    where = (stored.phase.firestore_collection, str(stored.day))
    for name in sorted(stored.document.keys() - {"_triggered"}):  # without the flag it would be another fault
        yield _Piece(f"the field {name}", partial(_without_field, database, where, name))


@contextmanager
def _without_lines(file: Path, lines: list[dict[str, Any]]) -> Iterator[None]:
    whole = file.read_bytes()
    kept = [line for line in whole.splitlines(keepends=True) if json.loads(line) not in lines]
    if len(kept) + len(lines) != len(whole.splitlines()):
        raise ValueError(f"{file}: {len(lines)} lines were to be taken away, and {len(kept)} are left")
    file.write_bytes(b"".join(kept))
    try:
        yield
    finally:
        file.write_bytes(whole)


@contextmanager
def _without_row(database: Path, row_id: str) -> Iterator[None]:
    with closing(sqlite3.connect(database)) as connection:
        query = "DELETE FROM phase_completions WHERE row_id = ? RETURNING *"
        with connection:
            (row,) = connection.execute(query, (row_id,)).fetchall()
        try:
            yield
        finally:
            with connection:
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO phase_completions VALUES ({marks})", row)  # noqa: S608 (marks only)


@contextmanager
def _without_field(database: Path, where: tuple[str, str], name: str) -> Iterator[None]:
    set_fields = "UPDATE documents SET fields = ? WHERE collection = ? AND id = ?"
    with closing(sqlite3.connect(database)) as connection:
        find = "SELECT fields FROM documents WHERE collection = ? AND id = ?"
        ((whole,),) = connection.execute(find, where).fetchall()
        less = {key: value for key, value in json.loads(whole).items() if key != name}
        try:
            with connection:
                connection.execute(set_fields, (json.dumps(less), *where))
            yield
        finally:
            with connection:
                connection.execute(set_fields, (whole, *where))
