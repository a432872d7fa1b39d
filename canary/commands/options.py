"""What several commands share: the options, the kinds of values that they take, and what a command is about."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click
import msgspec

from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.silence import parse_duration
from canary.notify.message import CommandLine
from canary.playback.folder import read_simulated_folder
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase, load_phases, phase_of
from orchestrator_resilience.plain import YEARS, calendar_date
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.opening import open_stores

Wrapped = Callable[[Callable[..., Any]], Callable[..., Any]]


def whole_number(least: int, most: int, unit: str = "") -> Callable[[str], int]:
    """Return what reads a number of `unit` from `least` to `most`."""

    def read(text: str | int) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", str(text)) or not least <= int(text) <= most:
            raise click.BadParameter(f"{text!r} is not a number {unit}from {least} to {most}")
        return int(text)

    return read


def a_time(text: str) -> datetime:
    """Read a time with its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time such as 2026-02-10T07:15:00Z") from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone; write {text}Z for UTC")
    if moment.year not in YEARS:
        raise click.BadParameter(f"{text!r} is in no year that can be")
    return moment.astimezone(UTC)


def a_date(text: str) -> date:
    """Read a game date."""
    day = calendar_date(text)
    if day is None or day.year not in YEARS:
        raise click.BadParameter(f"{text!r} is not a date such as 2026-02-09")
    return day


def a_duration(text: str) -> timedelta:
    """Read a duration such as 12h."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def a_path(text: str | Path) -> Path:
    """Read a path; one that the system cannot even look for is refused here."""
    try:
        Path(text).exists()
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{text}: {error}") from None
    return Path(text)


_OPTIONS: Mapping[str, Wrapped] = {
    "data": click.option("--data", type=a_path, metavar="DIR", help="The embedded stores in this folder."),
    "phase": click.option("--phase", metavar="NAME", help="Only this phase of the phases file."),
    "now": click.option("--now", type=a_time, metavar="TIME", help="Judge as of this time, 2026-02-10T07:15:00Z."),
    "canary": click.option(
        "--canary",
        envvar="CANARY_NAME",
        default=DEFAULT_CANARY,
        show_default=True,
        metavar="NAME",
        help="Whose memory: the name of its service.",
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    "ascii": click.option("--ascii", "ascii_only", is_flag=True, help="Only ASCII, and no colours."),
    "html": click.option("--html", type=a_path, metavar="FILE", help="Write a page that a browser shows."),
    "days": click.option(
        "--days",
        type=whole_number(1, 366, "of days "),
        metavar="N",
        default=7,
        show_default=True,
        help="How many dates.",
    ),
}


def options(*names: str) -> Wrapped:
    """Add the options of these names; what those of `subject` say becomes one argument, `about`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(
            data: Path | None = None,
            phase: str | None = None,
            now: datetime | None = None,
            canary: str = DEFAULT_CANARY,
            **others: Any,
        ) -> Any:
            return function(subject(data, phase, now, canary), **others)

        decorated: Callable[..., Any] = wraps(function)(command)
        for name in reversed(names):
            decorated = _OPTIONS[name](decorated)
        return decorated

    return decorate


def out_option(name: str) -> Wrapped:
    """Return `--out`, by default the folder `simulated/NAME`."""
    return click.option(
        "--out",
        type=a_path,
        metavar="DIR",
        default=Path("simulated") / name,
        show_default=True,
        help="Folder for the files; one of an earlier run is emptied.",
    )


class Subject(msgspec.Struct, frozen=True):
    """What a command is about: the phases, the time to judge by, and whose stores.

    `read_at` is the time at which the stores are read: the present, or the end of a simulated run.
    `folder` is that of the embedded stores which were named, None for those that the settings ask for;
    `simulated` tells that a simulated run has left it. `several`: there are more phases than one, so
    that a command has to say which is meant. `canary` is the name of the canary whose memory is read.
    """

    phases: Mapping[str, Phase]
    now: datetime
    read_at: datetime
    folder: Path | None
    simulated: bool
    several: bool
    canary: str = DEFAULT_CANARY

    @property
    def phase(self) -> Phase:
        """The only phase; ConfigurationError where there are several."""
        if len(self.phases) > 1:
            raise ConfigurationError(f"--phase: say which of {sorted(self.phases)} is meant")
        (phase,) = self.phases.values()
        return phase

    @property
    def command(self) -> CommandLine:
        """How a further command about the same stores is typed."""
        asked = None if self.now == self.read_at else self.now
        return CommandLine(program(), folder=self.folder, several=self.several, now=asked)

    def stores(self, *, must_exist: bool = True) -> "closing[Stores]":
        """Open the stores, as a context; to read, nothing is made where there are none."""
        if self.folder is not None:
            return closing(EmbeddedStores(self.folder, must_exist=must_exist))
        return closing(open_stores(Settings.from_env(), self.phases, must_exist=must_exist))


def subject(
    folder: Path | None, phase: str | None = None, now: datetime | None = None, canary: str = DEFAULT_CANARY
) -> Subject:
    """Return what the options are about: the folder of a simulated run brings its own phases and its time."""
    run = read_simulated_folder(folder) if folder is not None else None
    every = load_phases(run.phases_file if run else None)
    read_at = (run and run.now) or datetime.now(UTC)
    return Subject(
        phases={phase: phase_of(every, phase)} if phase else every,
        now=now or read_at,
        read_at=read_at,
        folder=folder,
        simulated=run is not None,
        several=len(every) > 1,
        canary=canary,
    )


def program() -> str:
    """Return how this command was called, so that what is printed can be pasted."""
    called = sys.argv[0]
    if called.endswith(".py"):
        return shlex.join([_from_here(sys.executable), "-m", "canary"])
    # One inside an environment may be on the path for this run only, as uvx does it.
    inside = sys.prefix != sys.base_prefix and Path(called).parent == Path(sys.prefix) / "bin"
    on_the_path = shutil.which("canary") == called and not inside
    return "canary" if on_the_path else shlex.quote(_from_here(called))


def _from_here(path: str) -> str:
    """Return the path from the current folder where it is below, else as it is."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
