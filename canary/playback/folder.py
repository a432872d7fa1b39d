"""The folder of a simulated run: marked, so that the next run may empty it; it knows its phases and its time."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.plain import instant

_MARK = "simulation.json"
_PHASES = "phases.toml"
_MADE_BY = "canary, on simulated time; the next run of the same command empties this folder"


class SimulatedFolder(msgspec.Struct, frozen=True):
    """Where a run keeps its files; `now` is the simulated time at its end, None while it is not over."""

    path: Path
    now: datetime | None = None

    @property
    def phases_file(self) -> Path:
        """The phases of the run."""
        return self.path / _PHASES


@contextmanager
def simulated_folder(path: Path, phases: str) -> Iterator[SimulatedFolder]:
    """Make the folder, or empty it if it is one of ours, and keep the text of its phases file there.

    Raises ConfigurationError for a folder that holds anything else, and for one that another run is using.
    """
    folder = SimulatedFolder(path)
    with closing(_opened_mark(path)) as mark:
        try:
            _write(mark, folder)
            _empty(path)
            folder.phases_file.write_text(phases, "utf-8")
        except OSError as error:
            raise ConfigurationError(f"--out: {path}: {error}") from error
        yield folder


def end_of_run(folder: SimulatedFolder, now: datetime) -> None:
    """Note the simulated time at which the run has ended."""
    with (folder.path / _MARK).open("r+", encoding="utf-8") as mark:
        _write(mark, SimulatedFolder(folder.path, now))


def read_simulated_folder(path: Path | None) -> SimulatedFolder | None:
    """Return what a simulated run has left in a folder, None where that is not one of ours."""
    mark = _mark_of(path) if path is not None else None
    return SimulatedFolder(path, instant(mark.get("now"))) if path is not None and mark is not None else None


def _opened_mark(path: Path) -> TextIO:
    """Open the mark of a folder that may be emptied, for this run alone until it is closed."""
    try:
        if path.exists() and (not path.is_dir() or (any(path.iterdir()) and _mark_of(path) is None)):
            raise ConfigurationError(f"--out: {path} is there already, and is neither empty nor of an earlier run")
        path.mkdir(parents=True, exist_ok=True)
        mark = (path / _MARK).open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out: {path}: {error}") from error
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.close()
        raise ConfigurationError(f"--out: {path} is in use by another run") from None
    return mark


def _empty(path: Path) -> None:
    for old in path.iterdir():
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        elif old.name != _MARK:
            old.unlink()


def _write(mark: TextIO, folder: SimulatedFolder) -> None:
    mark.seek(0)
    mark.truncate()
    json.dump({"made_by": _MADE_BY, "now": folder.now.isoformat() if folder.now else None}, mark)
    mark.flush()


def _mark_of(path: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((path / _MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return mark if isinstance(mark, dict) and mark.get("made_by") == _MADE_BY else None
