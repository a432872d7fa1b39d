"""What an installation is made of, point by point: what holds, what is wrong, what is not there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from canary.domain.evidence import (
    Evidence,
    Logged,
    Seen,
    Source,
    Traces,
    Unreadable,
    mapped,
    value_or,
)
from canary.settings import CanarySettings
from canary.sources import read_traces
from orchestrator_resilience.errors import ConfigurationError, StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import Stores

T = TypeVar("T")


class PointState(StrEnum):
    """Whether a point holds.

    ABSENT: it is not there, and need not be. UNKNOWN: it could not be read.
    """

    HOLDS = "HOLDS"
    WRONG = "WRONG"
    ABSENT = "ABSENT"
    UNKNOWN = "UNKNOWN"

    @property
    def sign(self) -> str:
        """The character that is shown for it."""
        return {
            PointState.HOLDS: "✓",
            PointState.WRONG: "✗",
            PointState.ABSENT: "-",
            PointState.UNKNOWN: "?",
        }[self]


class Point(msgspec.Struct, frozen=True):
    """One point of an installation, in words."""

    state: PointState
    text: str

    @property
    def line(self) -> str:
        """The point in one line."""
        return f"{self.state.sign} {self.text}"


def points_of(
    stores: Stores,
    phases: Mapping[str, Phase],
    evidence: Sequence[Evidence],
    now: datetime,
    *,
    settings: Settings,
    store: str,
) -> Iterator[Point]:
    """Yield the points of an installation, by the `evidence` of some dates; it only reads.

    `store` says in words where the stores are.
    """
    file = settings.phases_file or "the bundled one"
    yield Point(PointState.HOLDS, f"phases file: {file}, with {', '.join(phases)}")
    location = (
        f", BigQuery location {settings.bigquery_location or 'that of the datasets'}"
        if settings.project
        else ""
    )
    yield Point(PointState.HOLDS, f"stores: {store}{location}")
    keys = [(date_evidence.phase, date_evidence.game_date) for date_evidence in evidence]
    traces = read_traces(stores, keys, phases, now)
    for name, phase in phases.items():
        phase_evidence = [
            date_evidence for date_evidence in evidence if date_evidence.phase == name
        ]
        phase_traces = [traces[name, date_evidence.game_date] for date_evidence in phase_evidence]
        points = [
            *_of_tables(stores, phase, phase_evidence),
            *_of_the_path(stores, phase, phase_traces),
        ]
        yield from (Point(point.state, f"{name}: {point.text}") for point in points)
    yield _of_the_webhook(settings, phases)


def _of_tables(stores: Stores, phase: Phase, evidence: Sequence[Evidence]) -> Iterator[Point]:
    """Yield what can be read of a phase's tables and documents."""
    try:
        view = stores.completion_log.view(phase.name)
    except StoreError:
        view = ""  # which says no more than that the table cannot be read
    logs: list[Source[Logged]] = [date_evidence.completion_log for date_evidence in evidence]
    rows = _first_unreadable(logs)
    if view:
        yield Point(
            PointState.WRONG,
            f"completion log {phase.bigquery_table} lacks columns. This view would do:\n{view}",
        )
    elif rows:
        yield Point(PointState.UNKNOWN, f"completion log {phase.bigquery_table}: {rows}")
    else:
        completed = [log.completed for log in _seen(logs)]
        yield _counted(f"completion log {phase.bigquery_table}: rows of", completed, len(evidence))
    documents = [date_evidence.progress for date_evidence in evidence]
    unreadable = _first_unreadable(documents)
    if unreadable:
        yield Point(PointState.UNKNOWN, f"collection {phase.firestore_collection}: {unreadable}")
    else:
        many = [[document] for document in _seen(documents)]
        yield _counted(
            f"collection {phase.firestore_collection}: documents of", many, len(evidence)
        )
    yield _optional(
        "message_table",
        phase.message_table,
        [date_evidence.messages for date_evidence in evidence],
        "what was published",
    )
    yield _optional(
        "flag_table",
        phase.flag_table,
        [date_evidence.flag_table for date_evidence in evidence],
        "what an older tracker wrote of the flag",
    )
    yield _optional(
        "outcome_query",
        phase.outcome_query,
        [date_evidence.outcome for date_evidence in evidence],
        "whether a problem matters",
    )
    yield _optional(
        "work_query",
        phase.work_query,
        [date_evidence.work for date_evidence in evidence],
        "a day without games",
    )


def _of_the_path(stores: Stores, phase: Phase, traces: Sequence[Traces]) -> Iterator[Point]:
    """Yield whether each source of the path is collecting."""
    lines = [mapped(date_traces.checkpoints, len) for date_traces in traces]
    yield _collected(
        "checkpoints", lines, "lines", "the orchestrator leaves none, or they are not collected"
    )
    named = stores.requests is not None and stores.requests.phase == phase.name
    if not named:
        yield Point(
            PointState.ABSENT,
            "requests and errors of the service: ORCHESTRATOR_SERVICE does not name it",
        )
    else:
        requests = [mapped(date_traces.requests, len) for date_traces in traces]
        yield _collected(
            "requests to the service", requests, "requests", "none has come, or its log is excluded"
        )
        failure = _first_unreadable([date_traces.errors for date_traces in traces])
        text = f"errors of the service: {failure or 'can be read'}"
        yield Point(PointState.UNKNOWN if failure else PointState.HOLDS, text)
    letters = _first_unreadable([date_traces.dead_letters for date_traces in traces])
    if stores.dead_letters is not None and stores.dead_letters.phase == phase.name:
        yield Point(
            PointState.UNKNOWN if letters else PointState.HOLDS,
            f"dead letters: {letters or 'can be read'}",
        )
    else:
        yield Point(
            PointState.ABSENT, "dead letters: DEAD_LETTERS does not name their subscription"
        )


def _of_the_webhook(settings: Settings, phases: Mapping[str, Phase]) -> Point:
    """Return whether SLACK_WEBHOOK_URL has the form of an address; nothing is sent."""
    try:
        # Only here, because it needs packages that the command alone does not.
        from canary.notify.opening import open_channels  # noqa: PLC0415

        canary_settings = CanarySettings.from_env()
        open_channels(settings, canary_settings, phases)
    except ModuleNotFoundError as error:
        return Point(
            PointState.UNKNOWN,
            f"SLACK_WEBHOOK_URL: {error.name} is not installed: the extra cloud has it",
        )
    except ConfigurationError as error:
        return Point(PointState.WRONG, str(error))
    if canary_settings.slack_webhook_url is None:
        return Point(
            PointState.ABSENT,
            "SLACK_WEBHOOK_URL is not set here: `canary notify --test` tries each channel",
        )
    return Point(
        PointState.HOLDS,
        "SLACK_WEBHOOK_URL has the form of an address: `canary notify --test` tries it",
    )


def _optional(field: str, named: str | None, sources: Sequence[Source[T]], content: str) -> Point:
    """Return whether the source that a phase may name in `field` can be read."""
    if named is None:
        return Point(PointState.ABSENT, f"{field}: none, so {content} is not known")
    unreadable = _first_unreadable(sources)
    return Point(
        PointState.UNKNOWN if unreadable else PointState.HOLDS,
        f"{field}: {unreadable or 'can be read'}",
    )


def _collected(what: str, sources: Sequence[Source[int]], unit: str, why_none: str) -> Point:
    """Return of how many dates a log has entries; a log without any is no fault by itself."""
    if unreadable := _first_unreadable(sources):
        return Point(PointState.UNKNOWN, f"{what}: {unreadable}")
    point = _counted(
        f"{what}: {unit} of", [value_or(source, 0) for source in sources], len(sources)
    )
    return (
        point
        if point.state is PointState.HOLDS
        else Point(PointState.ABSENT, f"{point.text}: {why_none}")
    )


def _counted(what: str, entries: Collection[object], dates: int) -> Point:
    many = sum(map(bool, entries))
    return Point(PointState.HOLDS if many else PointState.ABSENT, f"{what} {many} of {dates} dates")


def _first_unreadable(sources: Sequence[Source[T]]) -> str:
    """Return why the first unreadable source could not be read; empty where all could."""
    return next(
        (one_line(source.reason) for source in sources if isinstance(source, Unreadable)), ""
    )


def _seen(sources: Sequence[Source[T]]) -> list[T]:
    return [source.value for source in sources if isinstance(source, Seen)]
