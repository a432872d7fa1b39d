"""A phase: which processors it expects, under which names, and when it is late.

Both layers read it from one file, phases.toml, so that the list cannot differ between them.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from msgspec import Meta, Struct

from orchestrator_resilience.errors import ConfigurationError, culprit
from orchestrator_resilience.plain import shown
from orchestrator_resilience.settings import Settings

BUNDLED_PHASES = resources.files("orchestrator_resilience") / "phases.toml"

Text = Annotated[str, Meta(min_length=1, max_length=200)]
ProcessorName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,127}\Z")]
TableName = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9.:-]*\.)?[A-Za-z0-9_]{1,200}\.[A-Za-z0-9_]{1,200}\Z")]
# What Firestore takes as the id of a collection.
CollectionName = Annotated[str, Meta(pattern=r"^(?!\.{1,2}\Z)(?!__.*__\Z)[^/\s]{1,200}\Z")]
Minutes = Annotated[int, Meta(ge=0, le=7 * 24 * 60)]
Query = Annotated[str, Meta(min_length=1, max_length=20_000)]
Dates = Annotated[int, Meta(ge=1, le=31)]

_PHASES_BYTES = 1024 * 1024

# How many unknown names a phase remembers the answer for.
_REMEMBERED_NAMES = 1_000


class Period(Struct, frozen=True, kw_only=True):
    """The game dates of which a processor is expected: from `since` to `until`, both included; None for no end."""

    since: date | None = None
    until: date | None = None

    def holds(self, game_date: date) -> bool:
        """Whether a game date is one of them."""
        return (self.since is None or self.since <= game_date) and (self.until is None or game_date <= self.until)


class _Processor(Period, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The longer form of a processor in the file."""

    aliases: tuple[Text, ...] = ()


class Phase(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """One table of phases.toml, validated; the file's comments say what each field is for.

    `periods` has the `since` and `until` of those processors that have one. What is asked of a game date is asked of
    the phase `on` that date.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
    next_phase: Text
    next_phase_started_by: Text
    flag_starts_next_phase: bool = False
    message_phase: Text
    firestore_collection: CollectionName
    bigquery_table: TableName
    message_table: TableName | None = None
    flag_table: TableName | None = None
    untriggered_after_minutes: Annotated[int, Meta(ge=1, le=7 * 24 * 60)] = 30
    settle_minutes: Minutes = 2
    downstream_after_minutes: Minutes = 60
    incomplete_by: Annotated[str, Meta(pattern=r"^\+[0-9]{1,2}d ([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "+1d 12:00"
    timezone: str = "America/New_York"
    lookback_dates: Dates = 3
    history_dates: Dates = 7
    bigquery_carries_flag: bool = False
    outcome_query: Query | None = None
    work_query: Query | None = None
    outcome_counts_games: bool = False
    partial_reasons: tuple[Text, ...] = ("deadline_exceeded",)
    others: tuple[Text, ...] = ()
    processors: Annotated[Mapping[ProcessorName, tuple[Text, ...]], Meta(min_length=1)]
    optional: Mapping[ProcessorName, tuple[Text, ...]] = {}
    periods: Mapping[ProcessorName, Period] = {}

    def __post_init__(self) -> None:
        """Refuse what the field types cannot express; the text starts with the field's name."""
        self._check_names()
        self._check_times()
        for name in ("outcome_query", "work_query"):
            query = getattr(self, name)
            for parameter in ("@since", "@until"):
                if query is not None and parameter not in query:
                    raise ValueError(f"{name}: has to use {parameter}, so that it reads no more than it has to")

    def _check_names(self) -> None:
        """Refuse a name that stands for two processors, or for one and for nobody."""
        owner: dict[str, str] = {}
        for processor, aliases in [*self.processors.items(), *self.optional.items()]:
            for name in (processor, *aliases):
                if owner.setdefault(name, processor) != processor:
                    raise ValueError(f"processors: {name!r} stands for both {owner[name]} and {processor}")
        for name, period in self.periods.items():
            if period.since is not None and period.until is not None and period.until < period.since:
                raise ValueError(f"processors.{name}: until, {period.until}, is before since, {period.since}")
        for name in sorted(self.processors.keys() & self.optional.keys()):
            raise ValueError(f"optional: {name} is expected, and cannot be optional as well")
        for name in sorted(name for name in self._canonical if self._is_other(name)):
            raise ValueError(f"others: a pattern matches {name!r}, a name of {owner[name]}, which is expected")

    def _check_times(self) -> None:
        """Refuse a zone that is none, and windows in which a date could be missed."""
        try:
            ZoneInfo(self.timezone)
        except (KeyError, OSError, ValueError) as error:  # unknown; a folder of zones; not a key at all
            raise ValueError(f"timezone: {self.timezone!r} {_why_no_zone()}") from error
        if self.history_dates < self.lookback_dates:
            raise ValueError(f"history_dates: {self.history_dates} is less than lookback_dates = {self.lookback_dates}")
        days, _, _ = self._incomplete_by
        if days > self.lookback_dates - 2:
            raise ValueError(
                f"incomplete_by: {self.incomplete_by!r} is when a date leaves the window of "
                f"lookback_dates = {self.lookback_dates}: nobody would be told"
            )

    def begins(self, game_date: date) -> datetime:
        """The moment (UTC) at which a game date begins."""
        return datetime.combine(game_date, time(), ZoneInfo(self.timezone)).astimezone(UTC)

    def on(self, game_date: date) -> "Phase":
        """The phase as it is for a game date: without the processors that are not expected of it."""
        return self.without(name for name, period in self.periods.items() if not period.holds(game_date))

    def without(self, processors: Iterable[str]) -> "Phase":
        """The phase without some expected processors: known, so that nobody wonders at them, and never missing."""
        gone = self.expected.intersection(processors)
        if not gone:
            return self
        if gone not in self._without:
            kept = {name: aliases for name, aliases in self.processors.items() if name not in gone}
            known = {**self.optional, **{name: self.processors[name] for name in gone}}
            self._without[gone] = msgspec.structs.replace(self, processors=kept, optional=known)
        return self._without[gone]

    @cached_property
    def _without(self) -> dict[frozenset[str], "Phase"]:
        return {}

    @cached_property
    def expected(self) -> frozenset[str]:
        """The canonical names of the processors that have to complete."""
        return frozenset(self.processors)

    @cached_property
    def _canonical(self) -> dict[str, str]:
        return _by_name(self.processors)

    @cached_property
    def _words_of(self) -> dict[str, set[str]]:
        """The words of all names of each expected processor."""
        return {
            processor: {word for name in (processor, *aliases) for word in _words(name)}
            for processor, aliases in self.processors.items()
        }

    @cached_property
    def _optional(self) -> dict[str, str]:
        return _by_name(self.optional)

    def canonical(self, raw_name: str) -> str | None:
        """The expected processor that reports under `raw_name`, or None for an unexpected one."""
        return self._canonical.get(raw_name)

    def is_known(self, raw_name: str) -> bool:
        """Whether nobody has to wonder at a name: it is expected, optional, or one of the others on the topic."""
        return raw_name in self._canonical or raw_name in self._optional or self._is_other(raw_name)

    def _is_other(self, raw_name: str) -> bool:
        return any(fnmatchcase(raw_name, pattern) for pattern in self.others)

    def is_partial(self, reason: str | None) -> bool:
        """Whether a flag that was set for `reason` was set on purpose without everybody."""
        return reason is not None and any(fnmatchcase(reason, pattern) for pattern in self.partial_reasons)

    def nearest(self, raw_name: str) -> str | None:
        """The expected processor that an unknown name may be another name of, or None.

        Judged by words, because names of one source begin alike: each word has to be one of that processor's own names,
        and one of them has to distinguish it from the other processors. A version number says nothing.
        """
        return self._nearest(raw_name)

    @cached_property
    def _nearest(self) -> Callable[[str], str | None]:
        """What was found before is kept: each run asks again for the same names, and comparing them takes long."""
        return lru_cache(_REMEMBERED_NAMES)(self._find_nearest)

    def _find_nearest(self, raw_name: str) -> str | None:
        words = _words(raw_name)
        for processor, known in self._words_of.items():
            shared = {word for other, own in self._words_of.items() if other != processor for word in own}
            matches = [difflib.get_close_matches(word, known, n=1, cutoff=0.85) for word in words]
            if all(matches) and any(match[0] not in shared for match in matches):
                return processor
        same = [name for name in self._canonical if "".join(_words(name)) == "".join(words)]
        return self._canonical[same[0]] if same else None

    @property
    def _incomplete_by(self) -> tuple[int, int, int]:
        days, hour, minute = re.findall(r"\d+", self.incomplete_by)
        return int(days), int(hour), int(minute)

    @property
    def untriggered_after(self) -> timedelta:
        """How long a complete date may stay untriggered."""
        return timedelta(minutes=self.untriggered_after_minutes)

    @property
    def settle(self) -> timedelta:
        """How long rows must have been visible before anybody is accused."""
        return timedelta(minutes=self.settle_minutes)

    @property
    def downstream_after(self) -> timedelta:
        """How long the next phase may take to write its first row."""
        return timedelta(minutes=self.downstream_after_minutes)

    def deadline(self, game_date: date) -> datetime:
        """The moment (UTC) by which all processors of `game_date` should have completed."""
        days, hour, minute = self._incomplete_by
        local = datetime.combine(game_date + timedelta(days=days), time(hour, minute), ZoneInfo(self.timezone))
        return local.astimezone(UTC)

    def today(self, now: datetime) -> date:
        """The calendar date of `now` (aware) in the phase's time zone."""
        return now.astimezone(ZoneInfo(self.timezone)).date()

    def recent_dates(self, now: datetime, count: int) -> tuple[date, ...]:
        """The last `count` game dates, today included, oldest first."""
        today = self.today(now)
        return tuple(today - timedelta(days=n) for n in reversed(range(count)))


def _why_no_zone() -> str:
    if available_timezones():
        return "is not a time zone"
    return (
        "cannot be looked up: this machine has no time zones, and the package tzdata, which brings them along, is not "
        "installed"
    )


def _by_name(processors: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Map each name, aliases included, to the processor that it stands for."""
    return {name: processor for processor, aliases in processors.items() for name in (processor, *aliases)}


def _words(name: str) -> list[str]:
    """Split a name where a word begins, in snake case and in camel case; version numbers are left out."""
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", name)
    return [word.lower() for word in words if not re.fullmatch(r"[vV]?\d+", word)]


def load_phases(source: Traversable | None = None) -> dict[str, Phase]:
    """Read every phase of a file by name: `source`, else PHASES_FILE, else the bundled phases.toml.

    Raises ConfigurationError naming the file, the phase and the field that is wrong.
    """
    source = (Settings.from_env().phases_file or BUNDLED_PHASES) if source is None else source
    return parse_phases(read_phases(source), str(source))


def read_phases(source: Traversable) -> str:
    """Return the text of a phases file; ConfigurationError for one that cannot be read, or is too large to be one."""
    try:
        with source.open("rb") as file:
            content = file.read(_PHASES_BYTES + 1)
        if len(content) > _PHASES_BYTES:
            raise ConfigurationError(f"{source}: is over {_PHASES_BYTES} bytes, which no phases file is")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source}: cannot be read: {error}") from error


def load_phase(name: str, source: Traversable | None = None) -> Phase:
    """Read one phase; ConfigurationError when the file has none of that name."""
    return phase_of(load_phases(source), name)


def phase_of(phases: Mapping[str, Phase], name: str) -> Phase:
    """Return the phase of that name; ConfigurationError when there is none."""
    if name not in phases:
        raise ConfigurationError(f"there is no phase {name!r}; there are {sorted(phases)}")
    return phases[name]


def parse_phases(text: str, source: str) -> dict[str, Phase]:
    """Validate the text of a phases file; `source` is the name used in errors."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: {error}") from error
    if not tables:
        raise ConfigurationError(f"{source}: has no phase")
    phases = {name: _parse_phase(name, table, f"{source}: [{name}]") for name, table in tables.items()}
    owner: dict[str, str] = {}
    for name, phase in phases.items():
        other = owner.setdefault(phase.firestore_collection, name)
        if other != name:
            raise ConfigurationError(
                f"{source}: [{name}]: firestore_collection: {phase.firestore_collection!r} is that of [{other}]"
            )
    return phases


def _parse_phase(name: str, table: Any, where: str) -> Phase:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table, got {shown(table)}")
    if "name" in table:
        raise ConfigurationError(f"{where}: name: unknown field; the table's own name is the phase's name")
    if "periods" in table:
        raise ConfigurationError(f"{where}: periods: unknown field; since and until are a processor's own")
    # Each processor on its own first: msgspec does not tell which key of a mapping was wrong.
    for field in ("processors", "optional"):
        processors = table.get(field)
        for processor, aliases in processors.items() if isinstance(processors, dict) else ():
            _convert(processor, ProcessorName, f"{where}: {field}: {processor!r}")
            form = _Processor if isinstance(aliases, dict) and field == "processors" else tuple[Text, ...]
            _convert(aliases, form, f"{where}: {field}.{processor}")
    phase: Phase = _convert({**table, **_in_two(table.get("processors")), "name": name}, Phase, where)
    return phase


def _in_two(processors: Any) -> dict[str, Any]:
    """Put the aliases of the longer form where those of the shorter are, and the rest into `periods`."""
    if not isinstance(processors, dict):
        return {}
    periods = {name: one for name, one in processors.items() if isinstance(one, dict)}
    aliases = {name: one.get("aliases", ()) for name, one in periods.items()}
    return {"processors": {**processors, **aliases}, "periods": periods}


def _convert(value: Any, type_: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        field, reason = culprit(error)
        raise ConfigurationError(f"{where}: {field}: {reason}" if field else f"{where}: {reason}") from error
