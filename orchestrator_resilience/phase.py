"""A phase: which processors it expects, under which names, and when it is late.

Both layers read it from one file, phases.toml, so that the list cannot differ between them.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
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

# What an error shows in place of a regular expression: an example of what matches it.
_EXAMPLES = {
    (_PROCESSOR := r"^[A-Za-z][A-Za-z0-9_]{0,127}\Z"): "p2_odds_game_lines",
    (
        _TABLE := r"^([a-z][a-z0-9.:-]*\.)?[A-Za-z0-9_]{1,200}\.[A-Za-z0-9_]{1,200}\Z"
    ): "dataset.table",
    (_PHASE := r"^[a-z][a-z0-9_]{0,63}\Z"): "phase2",
    # What Firestore takes as the id of a collection.
    (_COLLECTION := r"^(?!\.{1,2}\Z)(?!__.*__\Z)[^/\s]{1,200}\Z"): "phase2_completion",
    (_LOCAL_TIME := r"^\+[0-9]{1,2}d ([01][0-9]|2[0-3]):[0-5][0-9]\Z"): "+1d 12:00",
}
Text = Annotated[str, Meta(min_length=1, max_length=200)]
ProcessorName = Annotated[str, Meta(pattern=_PROCESSOR)]
TableName = Annotated[str, Meta(pattern=_TABLE)]
CollectionName = Annotated[str, Meta(pattern=_COLLECTION)]
LocalTime = Annotated[str, Meta(pattern=_LOCAL_TIME)]
# A number of processors, or a share of all of them.
Enough = Annotated[int, Meta(ge=1)] | Annotated[float, Meta(gt=0, le=1)]
Minutes = Annotated[int, Meta(ge=0, le=7 * 24 * 60)]
Query = Annotated[str, Meta(min_length=1, max_length=20_000)]
Dates = Annotated[int, Meta(ge=1, le=31)]

_PHASES_BYTES = 1024 * 1024

# For so many unknown names a phase remembers the nearest.
_REMEMBERED_NAMES = 1_000


# A status that completes a processor, whatever the phase adds to them.
COMPLETING_STATUSES = ("success", "partial")
# The reason with which this project's orchestrator sets a flag without everybody, where `enough`
# allows it.
ENOUGH_COMPLETE = "enough_complete"


class Period(Struct, frozen=True, kw_only=True):
    """The game dates of which something is expected: `since` to `until`, both included.

    None is no end. `incomplete_by` is when a processor of these dates is late, None where that is
    not its own.
    """

    since: date | None = None
    """The first game date, of a phase that of the season: a date before it is `IDLE`, and the
    orchestrator waits for nobody.
    """
    until: date | None = None
    """The last game date, likewise."""
    incomplete_by: LocalTime | None = None

    def __post_init__(self) -> None:
        """Refuse an end before the beginning."""
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ValueError(f"until, {self.until}, is before since, {self.since}")

    def holds(self, game_date: date) -> bool:
        """Whether a game date is one of them."""
        return (self.since is None or self.since <= game_date) and (
            self.until is None or game_date <= self.until
        )


class _Processor(Period, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The longer form of a processor in the file."""

    aliases: tuple[Text, ...] = ()


class Mode(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a phase is like while the progress document names this mode in `_mode`.

    A field that is None is as in the phase. `critical` and `enough` are always the mode's own.
    """

    processors: Annotated[tuple[ProcessorName, ...], Meta(min_length=1)] | None = None
    """Whom it waits for, of the phase's expected and optional processors; the others are known, and
    not missing.
    """
    incomplete_by: LocalTime | None = None
    """Its deadline."""
    partial_reasons: tuple[Text, ...] | None = None
    """Its reasons for a flag without everybody."""
    critical: tuple[ProcessorName, ...] = ()
    """Its own, as in the phase."""
    enough: Enough | None = None
    """Its own, as in the phase. Without it, all of its processors are needed."""

    def without(self, processors: Collection[str]) -> "Mode":
        """The mode without some of its processors."""
        remaining = self.processors and tuple(
            name for name in self.processors if name not in processors
        )
        return msgspec.structs.replace(self, processors=remaining)


class Phase(Period, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """One table of phases.toml, validated.

    `since` and `until` are the phase's season. `periods` has what is a processor's own of `since`,
    `until` and `incomplete_by`. What is asked of a game date is asked of the phase `on` that date.
    """

    name: Annotated[str, Meta(pattern=_PHASE)]
    next_phase: Text
    """What the flag is about, as the alerts name it."""
    next_phase_started_by: Text
    """What really starts the next phase; every alert says so."""
    flag_starts_next_phase: bool = False
    """The orchestrator itself starts the next phase, and sets the flag afterwards: an unset flag
    then means `BLOCKED`.
    """
    message_phase: Text
    """The value of `phase` in the messages."""
    firestore_collection: CollectionName
    """The collection of the progress documents; not `.`, `..` or `__x__`, and without `/`, as
    Firestore has it.
    """
    bigquery_table: TableName
    """The completion log, as `dataset.table` or `project.dataset.table`; a view is enough to read.
    """
    message_table: TableName | None = None
    """The message log, named likewise: the table that a Pub/Sub BigQuery subscription on the same
    topic fills. Its `data` is BYTES, STRING or JSON.
    """
    flag_table: TableName | None = None
    """A table, named likewise, that says of each phase and date whether the flag is set (`phase`,
    `game_date`, `is_triggered`; if it has them, `triggered_at` and `trigger_reason`). `canary
    verify` finds it.
    """
    untriggered_after_minutes: Annotated[int, Meta(ge=1, le=7 * 24 * 60)] = 30
    """How long a complete date may stay untriggered."""
    settle_minutes: Minutes = 2
    """How long its rows must have been visible as well."""
    downstream_after_minutes: Minutes = 60
    """How long the next phase may take to write its first row."""
    incomplete_by: LocalTime = "+1d 12:00"
    """The deadline: days after the game date, and the time of day. A processor may have its own."""
    timezone: str = "America/New_York"
    """The time zone of the deadline and of "today"."""
    lookback_dates: Dates = 3
    """The dates that open incidents, today included."""
    history_dates: Dates = 7
    """The dates that are read, for causes that show over several."""
    bigquery_carries_flag: bool = False
    """The flag in BigQuery is used when Firestore cannot be read; set it when `canary verify` says
    so. Set in the completion log or in the `flag_table`, it is taken as set, and the alert says
    where they contradict each other. A date of which neither says anything is `UNKNOWN`.
    """
    outcome_query: Query | None = None
    """The rows that the next phase wrote: whether a problem matters."""
    work_query: Query | None = None
    """The games that there were: a day without games, or a dead pipeline."""
    runs_query: Query | None = None
    """The runs of the processors, a row each: `processor` STRING (any of its names; runs of others
    are ignored, and show that the table is written), `game_date` DATE, `started_at` and
    `finished_at` TIMESTAMP, `status` STRING; the last three may be NULL. Read for dates with a
    problem and the `history_dates` before: who has not run, has failed, or has published nothing.
    """
    scheduler_jobs: Mapping[Text, tuple[ProcessorName, ...]] = {}
    """A table: the jobs of Cloud Scheduler that start the processors, each with those that it
    starts; `[]` is all of them. A missing processor that was not started, because its jobs are
    paused, deleted or refused, is `NOT_RUN`.
    """
    topic: Text | None = None
    """The topic of the messages: what was changed of it is looked for."""
    subscription: Text | None = None
    """The subscription that brings the messages to the orchestrator, likewise."""
    outcome_counts_games: bool = False
    """Both queries count games: 7 of 11 games is then `DOWNSTREAM_PARTIAL`, and every impact says
    "7 of 11 games".
    """
    partial_reasons: tuple[Text, ...] = ("deadline_exceeded",)
    """Patterns of reasons (`*` stands for anything) for which a flag without everybody was set on
    purpose: `TRIGGERED` with a note.
    """
    completed_statuses: tuple[Text, ...] = COMPLETING_STATUSES
    """More statuses that complete a processor, beside `success` and `partial`, in messages, rows
    and documents. Capitals mean nothing, and every other status completes nothing.
    """
    critical: tuple[ProcessorName, ...] = ()
    """Processors that have to be among those that are `enough`."""
    enough: Enough | None = None
    """How many of the expected processors make the set complete: a number, or a share of all of
    them (`0.6`).
    """
    modes: Mapping[str, Mode] = {}
    """A table for each mode that the progress document may name in `_mode`."""
    pending_field: Text = "_trigger_pending"
    """The field of the progress document in which the code says that it has decided to start the
    next phase, and has not seen it started. Its time is in the same name with `_at`.
    """
    succeeded_field: Text = "_trigger_succeeded"
    """The field in which the code says that this went well; it is shown, and proves nothing."""
    others: tuple[Text, ...] = ()
    """Patterns of names that share the topic: neither expected nor a surprise."""
    processors: Annotated[Mapping[ProcessorName, tuple[Text, ...]], Meta(min_length=1)]
    """A table: each expected processor with its aliases. `name = {aliases = […], since =
    2026-03-01, until = 2026-06-30}` is expected of those game dates alone, both included, and `name
    = {incomplete_by = "+0d 11:00"}` has a deadline of its own.
    """
    optional: Mapping[ProcessorName, tuple[Text, ...]] = {}
    """A table of names with their aliases: processors that are known and never missing."""
    periods: Mapping[ProcessorName, Period] = {}

    def __post_init__(self) -> None:
        """Refuse what the field types cannot express; the text starts with the field's name."""
        super().__post_init__()
        self._check_names()
        self._check_times()
        for name in ("outcome_query", "work_query", "runs_query"):
            query = getattr(self, name)
            for parameter in ("@since", "@until"):
                if query is not None and parameter not in query:
                    raise ValueError(
                        f"{name}: has to use {parameter}, so that it reads no more than it has to"
                    )

    def _check_names(self) -> None:
        """Refuse a name that is of two processors, or of one and of nobody."""
        owner: dict[str, str] = {}
        for processor, aliases in [*self.processors.items(), *self.optional.items()]:
            for name in (processor, *aliases):
                if owner.setdefault(name, processor) != processor:
                    raise ValueError(
                        f"processors: {name!r} is a name of both {owner[name]} and {processor}"
                    )
        for name in sorted(self.processors.keys() & self.optional.keys()):
            raise ValueError(f"optional: {name} is expected, and cannot be optional as well")
        started = {name for names in self.scheduler_jobs.values() for name in names}
        for name in sorted(started - self.processors.keys() - self.optional.keys()):
            raise ValueError(
                f"scheduler_jobs: {name} is neither an expected processor nor an optional one"
            )
        for name in sorted(name for name in self._canonical if self._is_other(name)):
            raise ValueError(
                f"others: a pattern matches {name!r}, a name of {owner[name]}, which is expected"
            )

    def _check_times(self) -> None:
        """Refuse a zone that is none, and windows in which a date could be missed."""
        try:
            ZoneInfo(self.timezone)
        except (
            KeyError,
            OSError,
            ValueError,
        ) as error:  # unknown, a folder, no key at all
            raise ValueError(
                f"timezone: {self.timezone!r} {_why_no_zone(self.timezone)}"
            ) from error
        if self.history_dates < self.lookback_dates:
            raise ValueError(
                f"history_dates: {self.history_dates} is less than lookback_dates = "
                f"{self.lookback_dates}"
            )
        deadlines: dict[str, str | None] = {"incomplete_by": self.incomplete_by}
        deadlines |= {
            f"processors.{name}: incomplete_by": period.incomplete_by
            for name, period in self.periods.items()
        }
        deadlines |= {
            f"modes.{name}: incomplete_by": mode.incomplete_by for name, mode in self.modes.items()
        }
        for field, deadline in deadlines.items():
            if deadline is not None and _days_and_time(deadline)[0] > self.lookback_dates - 2:
                raise ValueError(
                    f"{field}: {deadline!r} is when a date leaves the window of lookback_dates = "
                    f"{self.lookback_dates}: nobody would be notified"
                )

    def begins(self, game_date: date) -> datetime:
        """The moment (UTC) at which a game date begins."""
        return datetime.combine(game_date, time(), ZoneInfo(self.timezone)).astimezone(UTC)

    def on(self, game_date: date, mode: str | None = None) -> "Phase":
        """The phase for a game date: in its `mode`, without processors not expected then."""
        season = {} if self.holds(game_date) else self.processors
        gone = [name for name, period in self.periods.items() if not period.holds(game_date)]
        return self.in_mode(mode).without([*season, *gone])

    def in_mode(self, mode: str | None) -> "Phase":
        """The phase as it is in a mode; as it is where it has no such mode."""
        return self._in_modes.get(mode, self)

    @cached_property
    def _in_modes(self) -> dict[str | None, "Phase"]:
        return {name: self._in_mode(mode) for name, mode in self.modes.items()}

    def _in_mode(self, mode: Mode) -> "Phase":
        aliases_of = {**self.optional, **self.processors}
        names = self.processors.keys() if mode.processors is None else mode.processors
        return msgspec.structs.replace(
            self,
            processors={name: aliases_of[name] for name in names},
            optional={name: aliases for name, aliases in aliases_of.items() if name not in names},
            incomplete_by=mode.incomplete_by or self.incomplete_by,
            partial_reasons=self.partial_reasons
            if mode.partial_reasons is None
            else mode.partial_reasons,
            critical=mode.critical,
            enough=mode.enough,
        )

    def without(self, processors: Iterable[str]) -> "Phase":
        """The phase without some expected processors, which are then optional and never missing."""
        gone = self.expected.intersection(processors)
        if not gone:
            return self
        if gone not in self._without:
            remaining = {
                name: aliases for name, aliases in self.processors.items() if name not in gone
            }
            optional = {**self.optional, **{name: self.processors[name] for name in gone}}
            modes = {name: mode.without(gone) for name, mode in self.modes.items()}
            self._without[gone] = msgspec.structs.replace(
                self, processors=remaining, optional=optional, modes=modes
            )
        return self._without[gone]

    @cached_property
    def _without(self) -> dict[frozenset[str], "Phase"]:
        return {}

    @cached_property
    def expected(self) -> frozenset[str]:
        """The canonical names of the processors that have to complete."""
        return frozenset(self.processors)

    @cached_property
    def needed(self) -> int:
        """How many expected processors have to complete: all, or as many as `enough` says."""
        everybody = len(self.expected)
        if isinstance(self.enough, float):
            # 0.6 of 5 is 3, whatever a float makes of it
            return math.ceil(self.enough * everybody - 1e-9)
        return everybody if self.enough is None else min(self.enough, everybody)

    def is_complete(self, processors: Collection[str]) -> bool:
        """Whether these are enough: as many expected ones as needed, and all critical ones."""
        completed = self.expected.intersection(processors)
        return len(completed) >= self.needed and completed.issuperset(
            self.expected.intersection(self.critical)
        )

    @cached_property
    def _completed_statuses(self) -> frozenset[str]:
        return frozenset(
            status.strip().lower() for status in (*COMPLETING_STATUSES, *self.completed_statuses)
        )

    def completes(self, status: object) -> bool:
        """Whether a processor with this status has done its work; case does not matter."""
        return isinstance(status, str) and status.strip().lower() in self._completed_statuses

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
        """Whether a name is expected, optional, or one of the others on the topic."""
        return raw_name in self._canonical or raw_name in self._optional or self._is_other(raw_name)

    def _is_other(self, raw_name: str) -> bool:
        return any(fnmatchcase(raw_name, pattern) for pattern in self.others)

    def is_partial(self, reason: str | None) -> bool:
        """Whether a flag that was set for `reason` was set on purpose without everybody."""
        patterns = (*self.partial_reasons, ENOUGH_COMPLETE)
        return reason is not None and any(fnmatchcase(reason, pattern) for pattern in patterns)

    def nearest(self, raw_name: str) -> str | None:
        """The expected processor that an unknown name may be another name of, or None.

        Judged by words, because names of one source begin alike: each word has to be one of that
        processor's own names, and one of them has to distinguish it from the other processors. A
        version number says nothing.
        """
        return self._nearest(raw_name)

    @cached_property
    def _nearest(self) -> Callable[[str], str | None]:
        """The same with a memory, because each run asks for the same names and it takes long."""
        return lru_cache(_REMEMBERED_NAMES)(self._find_nearest)

    def _find_nearest(self, raw_name: str) -> str | None:
        words = _words(raw_name)
        for processor, own_words in self._words_of.items():
            shared = {
                word
                for name, name_words in self._words_of.items()
                if name != processor
                for word in name_words
            }
            matches = [
                difflib.get_close_matches(word, own_words, n=1, cutoff=0.85) for word in words
            ]
            if all(matches) and any(match[0] not in shared for match in matches):
                return processor
        same = [name for name in self._canonical if "".join(_words(name)) == "".join(words)]
        return self._canonical[same[0]] if same else None

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

    def deadline(self, game_date: date, processor: str | None = None) -> datetime:
        """The moment (UTC) by which `processor`, or else all, should have completed a game date."""
        incomplete_by = self.periods.get(processor or "", self).incomplete_by
        days, hour, minute = _days_and_time(incomplete_by or self.incomplete_by)
        local = datetime.combine(
            game_date + timedelta(days=days), time(hour, minute), ZoneInfo(self.timezone)
        )
        return local.astimezone(UTC)

    def today(self, now: datetime) -> date:
        """The calendar date of `now` (aware) in the phase's time zone."""
        return now.astimezone(ZoneInfo(self.timezone)).date()

    def recent_dates(self, now: datetime, count: int) -> tuple[date, ...]:
        """The last `count` game dates, today included, oldest first."""
        today = self.today(now)
        return tuple(today - timedelta(days=n) for n in reversed(range(count)))


def _days_and_time(local: str) -> tuple[int, int, int]:
    """Read "+1d 12:00": days after the game date, hour and minute."""
    days, hour, minute = re.findall(r"\d+", local)
    return int(days), int(hour), int(minute)


def _why_no_zone(name: str) -> str:
    if zones := available_timezones():
        return "is not a time zone" + _did_you_mean(name, zones)
    return (
        "cannot be looked up: this machine has no time zones, and the package tzdata, which brings "
        "them along, is not installed"
    )


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    """Ask whether one of `names` was meant, where one is like it; else empty."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _by_name(processors: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Map each name, aliases included, to its processor."""
    return {
        name: processor
        for processor, aliases in processors.items()
        for name in (processor, *aliases)
    }


def _words(name: str) -> list[str]:
    """Split a name into words, in snake case and in camel case, without version numbers."""
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", name)
    return [word.lower() for word in words if not re.fullmatch(r"[vV]?\d+", word)]


def load_phases(source: Traversable | None = None) -> dict[str, Phase]:
    """Read every phase of a file by name: `source`, else PHASES_FILE, else the bundled phases.toml.

    Raises ConfigurationError naming the file, the phase and the field that is wrong.
    """
    source = (Settings.from_env().phases_file or BUNDLED_PHASES) if source is None else source
    return parse_phases(read_phases(source), str(source))


def read_phases(source: Traversable) -> str:
    """Return the text of a phases file.

    Raises ConfigurationError where it cannot be read, or is too large to be one.
    """
    try:
        with source.open("rb") as file:
            content = file.read(_PHASES_BYTES + 1)
        if len(content) > _PHASES_BYTES:
            raise ConfigurationError(
                f"{source}: is over {_PHASES_BYTES} bytes, which no phases file is"
            )
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source}: cannot be read: {error}") from error


def load_phase(name: str, source: Traversable | None = None) -> Phase:
    """Read one phase; ConfigurationError when the file has none of that name."""
    return phase_of(load_phases(source), name)


def phase_of(phases: Mapping[str, Phase], name: str) -> Phase:
    """Return the phase of that name; ConfigurationError when there is none."""
    if name not in phases:
        raise ConfigurationError(
            f"there is no phase {name!r}; there are {sorted(phases)}{_did_you_mean(name, phases)}"
        )
    return phases[name]


def parse_phases(text: str, source: str) -> dict[str, Phase]:
    """Validate the text of a phases file; `source` is the name used in errors."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: {error}") from error
    if not tables:
        raise ConfigurationError(f"{source}: has no phase")
    phases = {
        name: _parse_phase(name, table, f"{source}: [{name}]") for name, table in tables.items()
    }
    owner: dict[str, str] = {}
    for name, phase in phases.items():
        holder = owner.setdefault(phase.firestore_collection, name)
        if holder != name:
            raise ConfigurationError(
                f"{source}: [{name}]: firestore_collection: {phase.firestore_collection!r} is that "
                f"of [{holder}]"
            )
    return phases


def _parse_phase(name: str, table: Any, where: str) -> Phase:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table, got {shown(table)}")
    for field, why in NOT_IN_THE_FILE.items():
        if field in table:
            raise ConfigurationError(f"{where}: {field}: unknown field; {why}")
    # Each processor and each mode on its own first: msgspec does not tell which key of a mapping
    # was wrong.
    for field, of_all in _FORMS.items():
        items = table.get(field)
        for key, value in items.items() if isinstance(items, dict) else ():
            if field != "modes":
                _convert(key, ProcessorName, f"{where}: {field}: {key!r}")
            form = _Processor if isinstance(value, dict) and field == "processors" else of_all
            _convert(value, form, f"{where}: {field}.{key}")
    phase: Phase = _convert(
        {**table, **_in_two(table.get("processors")), "name": name}, Phase, where
    )
    _check_rule(phase, where)
    for mode, definition in phase.modes.items():
        _check_known(
            definition.processors or (),
            {**phase.processors, **phase.optional},
            f"{where}: modes.{mode}: processors",
        )
        _check_rule(phase.in_mode(mode), f"{where}: modes.{mode}")
    return phase


# Fields that the file says in another way.
NOT_IN_THE_FILE = {
    "name": "the table's own name is the phase's name",
    "periods": "since, until and incomplete_by are a processor's own",
}
# What the keys of these fields are.
_FORMS: dict[str, Any] = {
    "processors": tuple[Text, ...],
    "optional": tuple[Text, ...],
    "modes": Mode,
}


def _check_rule(phase: Phase, where: str) -> None:
    """Refuse a rule of `critical` and `enough` that says nothing, or that no date can fulfil."""
    _check_known(phase.critical, phase.processors, f"{where}: critical")
    if phase.critical and phase.enough is None:
        raise ConfigurationError(
            f"{where}: critical: says nothing without `enough`, how many there have to be in all"
        )
    if isinstance(phase.enough, int) and phase.enough > len(phase.processors):
        raise ConfigurationError(
            f"{where}: enough: {phase.enough} is more than {len(phase.processors)}, the number of "
            "processors"
        )


def _check_known(names: Iterable[str], allowed: Collection[str], where: str) -> None:
    for name in names:
        if name not in allowed:
            raise ConfigurationError(
                f"{where}: {name!r} is none of the phase's{_did_you_mean(name, allowed)}"
            )


def _in_two(processors: Any) -> dict[str, Any]:
    """Split processors of the longer form into their aliases and their `periods`."""
    if not isinstance(processors, dict):
        return {}
    periods = {name: entry for name, entry in processors.items() if isinstance(entry, dict)}
    aliases = {name: entry.get("aliases", ()) for name, entry in periods.items()}
    return {"processors": {**processors, **aliases}, "periods": periods}


def _convert(value: Any, type_: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        field, reason = culprit(error)
        for pattern, example in _EXAMPLES.items():
            reason = reason.replace(f"matching regex {pattern!r}", f"such as {example!r}")
        if "unknown field" in reason:
            names = [
                struct_field.name
                for struct_field in msgspec.structs.fields(type_)
                if struct_field.name not in NOT_IN_THE_FILE
            ]
            reason = f"unknown field{_did_you_mean(field, names)}"
        raise ConfigurationError(
            f"{where}: {field}: {reason}" if field else f"{where}: {reason}"
        ) from error
