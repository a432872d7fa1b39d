"""The folder of a simulated run, with its phases and its time.

It has a mark, so that the next run may empty it.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.plain import instant

_MARK = "simulation.json"
_PHASES = "phases.toml"
_MADE_BY = "canary, on simulated time; the next run of the same command empties this folder"


class SimulatedRun(NamedTuple):
    """What a run has left: the file of its phases, and the simulated time at its end.

    The time is None while the run is not over.
    """

    phases_file: Path
    now: datetime | None


@contextmanager
def simulated_folder(path: Path, phases: str) -> Iterator[None]:
    """Make the folder, or empty it if a run has made it, and write the text of its phases file.

    Raises ConfigurationError for a folder that holds anything else, and for one that another run is
    using.
    """
    with ExitStack() as until_its_end:
        try:
            # A full disk leaves an empty mark, which does not count.
            files = (
                [file for file in path.iterdir() if file.name != _MARK or file.stat().st_size]
                if path.is_dir()
                else []
            )
            if path.exists() and (not path.is_dir() or (files and _mark_of(path) is None)):
                raise ConfigurationError(
                    f"--out: {path} is there already, and is neither empty nor of an earlier run"
                )
            path.mkdir(parents=True, exist_ok=True)
            mark = until_its_end.enter_context((path / _MARK).open("a+", encoding="utf-8"))
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(mark, None)
            _empty(path)
            (path / _PHASES).write_text(phases, "utf-8")
        except BlockingIOError:
            raise ConfigurationError(f"--out: {path} is in use by another run") from None
        except OSError as error:
            raise ConfigurationError(f"--out: {path}: {error}") from error
        yield


def end_of_run(path: Path, now: datetime) -> None:
    """Note the simulated time at which the run has ended."""
    with (path / _MARK).open("r+", encoding="utf-8") as mark:
        _write(mark, now)


def read_simulated_folder(path: Path) -> SimulatedRun | None:
    """Return what a simulated run has left in a folder, None where no run has made it."""
    mark = _mark_of(path)
    return None if mark is None else SimulatedRun(path / _PHASES, instant(mark.get("now")))


def _empty(path: Path) -> None:
    for old in path.iterdir():
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        elif old.name != _MARK:
            old.unlink()


def _write(mark: TextIO, now: datetime | None) -> None:
    mark.seek(0)
    json.dump({"made_by": _MADE_BY, "now": now.isoformat() if now else None}, mark)
    mark.truncate()


def _mark_of(path: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((path / _MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return mark if isinstance(mark, dict) and mark.get("made_by") == _MADE_BY else None
