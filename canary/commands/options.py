"""What several commands share: options, the types of their values, what a command is about."""

import json
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
from click.shell_completion import CompletionItem

from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.silence import parse_duration
from canary.notify.message import CommandLine
from canary.playback.folder import read_simulated_folder
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase, load_phases, phase_of
from orchestrator_resilience.plain import YEARS, calendar_date, printable
from orchestrator_resilience.settings import DEFAULT_DATABASE, Settings
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.opening import open_stores

Wrapped = Callable[[Callable[..., Any]], Callable[..., Any]]
Day = date | timedelta  # a game date, or how far it is back from today
_DAYS_BACK: Mapping[str, Day] = {"today": timedelta(0), "yesterday": timedelta(1)}


def whole_number(least: int, most: int, unit: str = "") -> Callable[[str], int]:
    """Return a function that reads a number of `unit` from `least` to `most`."""

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


def a_date(text: str) -> Day:
    """Read a game date; `today` and `yesterday` as days back from today.

    Which date is today depends on the time zone of the phase.
    """
    day = _DAYS_BACK.get(text, calendar_date(text))
    if day is None or (isinstance(day, date) and day.year not in YEARS):
        raise click.BadParameter(f"{text!r} is not a date such as 2026-02-09, today or yesterday")
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


def _completed_as(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    return lambda _context, _parameter, begun: [CompletionItem(begun, type=kind)]


a_folder, a_file = _completed_as("dir"), _completed_as("file")


def a_word_for_a_date(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[str]:
    """Propose the words that stand for a date."""
    return [word for word in _DAYS_BACK if word.startswith(begun)]


def days_option(default: int) -> Wrapped:
    """Return `--days`, how many dates a command is about."""
    return click.option(
        "--days",
        type=whole_number(1, 366, "of days "),
        metavar="N",
        default=default,
        show_default=True,
        help="How many dates, up to 366.",
    )


_OPTIONS: Mapping[str, Wrapped] = {
    "data": click.option(
        "--data",
        type=a_path,
        metavar="DIR",
        shell_complete=a_folder,
        help="The embedded stores in this folder.",
    ),
    "phase": click.option(
        "--phase",
        metavar="NAME",
        help="Only this phase; a command about one date needs it where there are several.",
    ),
    "now": click.option(
        "--now",
        type=a_time,
        metavar="TIME",
        help="Judge as of this time, such as 2026-02-10T07:15:00Z.",
    ),
    "canary": click.option(
        "--canary",
        envvar="CANARY_NAME",
        default=DEFAULT_CANARY,
        show_default=True,
        show_envvar=True,
        metavar="NAME",
        help="Whose memory: the name of its service.",
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    "ascii": click.option(
        "--ascii", "ascii_only", is_flag=True, help="Only ASCII, and no colours."
    ),
    "html": click.option(
        "--html",
        type=a_path,
        metavar="FILE",
        shell_complete=a_file,
        help="Write a page for a browser into this file instead.",
    ),
    "days": days_option(7),
}


def options(*names: str) -> Wrapped:
    """Add the options of these names; what those of `subject` say becomes one argument, `about`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(
            data: Path | None = None,
            phase: str | None = None,
            now: datetime | None = None,
            canary: str = DEFAULT_CANARY,
            **arguments: Any,
        ) -> Any:
            return function(subject(data, phase, now, canary), **arguments)

        decorated: Callable[..., Any] = wraps(function)(command)
        for name in reversed(names):
            decorated = _OPTIONS[name](decorated)
        return decorated

    return decorate


def date_argument(name: str, metavar: str = "DATE", **how: Any) -> Wrapped:
    """Return the argument of a game date, or of several."""
    return click.argument(
        name, type=a_date, metavar=metavar, shell_complete=a_word_for_a_date, **how
    )


def out_option(name: str) -> Wrapped:
    """Return `--out`, by default the folder `simulated/NAME`."""
    return click.option(
        "--out",
        type=a_path,
        metavar="DIR",
        shell_complete=a_folder,
        default=Path("simulated") / name,
        show_default=True,
        help="Folder for the files; one of an earlier run is emptied.",
    )


class Subject(msgspec.Struct, frozen=True):
    """What a command is about: the phases, the time to judge by, and whose stores.

    `read_at` is the time at which the stores are read: the present, or the end of a simulated run.
    `folder` is that of the embedded stores which were named, None for those that the settings ask
    for; `simulated`: a simulated run has left it. `several`: there are more phases than
    one, so that a command has to say which is meant. `canary` is the name of the canary whose
    memory is read.
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
        earlier = None if self.now == self.read_at else self.now
        return CommandLine(program(), folder=self.folder, several=self.several, now=earlier)

    @property
    def store(self) -> Mapping[str, str]:
        """Where the stores are: a folder, or a project with those of its Firestore databases.

        A database without a name of its own is left out.
        """
        settings = Settings.from_env()
        if self.folder is not None or settings.project is None:
            return {"folder": printable(str(self.folder or settings.data_dir))}
        database = settings.firestore_database
        named = {
            "database": database if database != DEFAULT_DATABASE else None,
            "memory": settings.memory_database,
        }
        return {"project": settings.project} | {kind: name for kind, name in named.items() if name}

    @property
    def where(self) -> str:
        """Say the same, for an answer: in project my-project, database scores."""
        return "in " + ", ".join(f"{kind} {name}" for kind, name in self.store.items())

    def to_json(self, fields: Mapping[str, Any]) -> str:
        """Return an answer as JSON: what it says, and of which stores."""
        return json.dumps(msgspec.to_builtins({"store": self.store, **fields}), indent=2)

    def game_date(self, day: Day, phase: Phase) -> date:
        """The game date that is meant, of a phase."""
        return phase.today(self.now) - day if isinstance(day, timedelta) else day

    def stores(self, *, must_exist: bool = True) -> "closing[Stores]":
        """Open the stores, as a context.

        They are made only where they need not exist, and their place was named. Raises
        ConfigurationError where nothing names them, and there are none in this folder.
        """
        if self.folder is not None:
            return closing(EmbeddedStores(self.folder, must_exist=must_exist))
        settings = Settings.from_env()
        opened = open_stores(settings, self.phases, must_exist=must_exist)
        may_be_made = not must_exist and (settings.data_dir_is_named or settings.data_dir.is_dir())
        if isinstance(opened, EmbeddedStores) and not may_be_made and not opened.are_there:
            raise ConfigurationError("no stores here: set GOOGLE_CLOUD_PROJECT or give --data")
        return closing(opened)


def subject(
    folder: Path | None,
    phase: str | None = None,
    now: datetime | None = None,
    canary: str = DEFAULT_CANARY,
) -> Subject:
    """Return what the options are about.

    The folder of a simulated run has its own phases and its own time.
    """
    run = read_simulated_folder(folder) if folder is not None else None
    all_phases = load_phases(run.phases_file if run else None)
    read_at = (run and run.now) or datetime.now(UTC)
    return Subject(
        phases={phase: phase_of(all_phases, phase)} if phase else all_phases,
        now=now or read_at,
        read_at=read_at,
        folder=folder,
        simulated=run is not None,
        several=len(all_phases) > 1,
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
