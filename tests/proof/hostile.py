"""Stores with whatever anybody may have written of one date, beside a date that is stuck."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.remembered import DEFAULT_CANARY, canary_ref, month_ref
from canary.domain.silence import people_ref
from orchestrator_resilience.checkpoints import Checkpoint, concerns
from orchestrator_resilience.stores.base import (
    Attempt,
    Change,
    Changes,
    Component,
    DocumentRef,
    Lines,
    Part,
    ProcessorRun,
    ProcessorSummary,
    Request,
    ServiceError,
    ServiceErrors,
)
from tests.proof.dates import completions, registered
from tests.proof.doubles import StoresOf, plain_documents
from tests.proof.inputs import (
    AT,
    DAY,
    FIVE,
    PHASE,
    checkpoint_entries,
    date_memories,
    documents,
    or_error,
    silences,
    texts,
    times,
    values,
)

NEXT = DAY + timedelta(days=1)
DONE = AT + timedelta(days=1)
NOW = DONE + timedelta(minutes=40)
PHASES = {
    PHASE.name: replace(
        PHASE,
        work_query="@since @until",
        outcome_query="@since @until.",
        runs_query="@since @until",
        scheduler_jobs={"its own": (FIVE[0],), "everybody's": ()},
    )
}

rows = st.builds(
    ProcessorSummary,
    phase=st.just(PHASE.name),
    game_date=st.just(DAY),
    processor_name=st.sampled_from(FIVE) | texts,
    status=st.none() | st.sampled_from(["success", "failed", "no_data"]) | texts,
    last_completed_at=st.none() | times,
    first_completed_at=st.none() | times,
    first_visible_at=st.none() | times,
    is_triggered=st.sampled_from([None, False, True]),
    trigger_reason=st.none() | texts,
)


processor_runs = st.builds(
    ProcessorRun,
    processor=st.sampled_from(FIVE) | texts,
    game_date=st.sampled_from([DAY - timedelta(days=1), DAY, NEXT]),
    started_at=st.none() | times,
    finished_at=st.none() | times,
    status=st.none() | st.sampled_from(["success", "failed", "no_data", "running"]) | texts,
)

jobs = st.sampled_from(list(PHASES[PHASE.name].scheduler_jobs))
changes = st.builds(
    Change,
    times,
    st.sampled_from(Component),
    jobs | texts,
    st.sampled_from(["deployed", "changed", "deleted", "created", "paused", "resumed"]) | texts,
    texts,
    texts,
    st.none() | st.integers(-600, 600).map(lambda minutes: AT + timedelta(minutes=minutes)),
)
attempts = st.builds(
    Attempt,
    times,
    jobs | texts,
    st.sampled_from(["", "PERMISSION_DENIED", "UNAVAILABLE (URL_UNREACHABLE)"]) | texts,
)


class Evidence(msgspec.Struct, frozen=True):
    """What others have written: of DAY, and among the canary's own documents."""

    document: dict[str, Any] | None = None
    rows: list[ProcessorSummary] = msgspec.field(default_factory=list)
    lines: list[dict[str, Any]] = msgspec.field(default_factory=list)
    requests: list[Request] = msgspec.field(default_factory=list)
    errors: list[ServiceError] = msgspec.field(default_factory=list)
    processor_runs: list[ProcessorRun] = msgspec.field(default_factory=list)
    changes: list[Change] = msgspec.field(default_factory=list)
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    changes_cut_at: datetime | None = None
    looked_at: frozenset[Part] = frozenset()
    memory: Any = None
    runs: dict[str, Any] | None = None
    refusals: dict[str, Any] | None = None
    silences: dict[str, Any] | None = None


evidences = st.builds(
    Evidence,
    document=st.none() | documents,
    rows=st.lists(rows, max_size=7),
    lines=st.lists(checkpoint_entries, max_size=5),
    requests=st.lists(
        st.builds(Request, times, st.integers(-1, 999) | st.sampled_from([200, 403, 500])),
        max_size=6,
    ),
    errors=st.lists(st.builds(ServiceError, times, texts, texts), max_size=4),
    processor_runs=st.lists(processor_runs, max_size=7),
    changes=st.lists(changes, max_size=5),
    attempts=st.lists(attempts, max_size=5),
    changes_cut_at=st.none() | times,
    looked_at=st.frozensets(st.tuples(st.sampled_from(Component), jobs | texts), max_size=4),
    memory=st.none() | date_memories,
    runs=st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["at", "open", "judged_from", "unseen", "format"], values),
            "reason": texts,
        },
    ),
    refusals=st.none()
    | st.dictionaries(st.sampled_from(["log", "slack"]) | texts, values, max_size=2),
    silences=st.none() | silences,
)


class Written:
    """What is read of the stuck date: rows, checkpoints, requests, and how much work there was."""

    phase = PHASE.name

    def __init__(self, evidence: Evidence) -> None:
        stuck = ProcessorSummary(
            phase=PHASE.name,
            game_date=NEXT,
            processor_name="",
            status="success",
            last_completed_at=DONE,
            first_completed_at=DONE,
            first_visible_at=DONE,
            is_triggered=False,
            trigger_reason=None,
        )
        self._rows = [*evidence.rows, *(replace(stuck, processor_name=name) for name in FIVE)]
        read = [
            or_error(Exception, partial(Checkpoint.from_json, entry)) for entry in evidence.lines
        ]
        self._lines = [line for line in read if isinstance(line, Checkpoint)]
        self._runs = evidence.processor_runs
        self._requests = sorted(
            request for request in evidence.requests if request.at.tzinfo is not None
        )
        self._errors = sorted(error for error in evidence.errors if error.at.tzinfo is not None)
        cut_at = evidence.changes_cut_at
        self._changes = Changes(
            sorted(change for change in evidence.changes if change.at.tzinfo is not None),
            sorted(attempt for attempt in evidence.attempts if attempt.at.tzinfo is not None),
            cut_at if cut_at is None or cut_at.tzinfo is not None else None,
            evidence.looked_at,
        )

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Return the rows."""
        return [
            row
            for row in self._rows
            if row.phase in phases and row.game_date and since <= row.game_date <= until
        ]

    def read(self, wanted: Mapping[str, Collection[date]], until: datetime) -> Lines:
        """Return the lines."""
        pairs = [(name, day) for name, days in wanted.items() for day in days]
        lines = [
            line
            for line in self._lines
            if line.at <= until and any(concerns(line, *pair) for pair in pairs)
        ]
        before = {PHASE.name: self._lines[-1]} if self._lines else {}
        return Lines(sorted(lines, key=lambda line: line.at), before=before)

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return those whose time can be compared."""
        return [request for request in self._requests if since <= request.at < until]

    def errors(self, since: datetime, until: datetime) -> ServiceErrors:
        """Return those whose time can be compared."""
        return ServiceErrors([error for error in self._errors if since <= error.at < until])

    def changes(self, begun: Mapping[str, datetime], until: datetime) -> dict[str, Changes]:
        """Return those from a month before, and from two days before, in whatever words."""
        begins = min(begun.values())
        every, ended = self._changes.changes, self._changes.attempts
        found = self._changes._replace(
            changes=[
                change for change in every if begins - timedelta(days=31) <= change.at < until
            ],
            attempts=[
                attempt for attempt in ended if begins - timedelta(days=2) <= attempt.at < until
            ],
        )
        return dict.fromkeys(begun, found)

    def last_answer(self, before: datetime) -> datetime | None:
        """Return the last one that was answered."""
        answered = (one.at for one in self._requests if one.at < before and one.status // 100 == 2)
        return max(answered, default=None)

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """There was work on each date, and the next phase has written nothing yet."""
        return (
            {}
            if query.endswith(".")
            else {since + timedelta(days=n): 7 for n in range((until - since).days + 1)}
        )

    def runs(self, _: str, since: date, until: date) -> list[ProcessorRun]:
        """Return the runs."""
        return [run for run in self._runs if since <= run.game_date <= until]


def _runs(evidence: Evidence) -> dict[str, Any] | None:
    if evidence.runs is None and evidence.refusals is None:
        return None
    return {**(evidence.runs or {}), "refusals": evidence.refusals or {}}


def hostile_stores(evidence: Evidence, others: dict[DocumentRef, Any] | None = None) -> StoresOf:
    """Return stores with the evidence, the stuck date, and `others` among the documents."""
    written, stored = Written(evidence), plain_documents()
    fields = {
        DocumentRef(PHASE.firestore_collection, str(DAY)): evidence.document,
        month_ref(DEFAULT_CANARY, PHASE.name, f"{DAY:%Y-%m}"): None
        if evidence.memory is None
        else {str(DAY): evidence.memory},
        canary_ref(DEFAULT_CANARY): _runs(evidence),
        people_ref(DEFAULT_CANARY): None
        if evidence.silences is None
        else {"silences": evidence.silences},
        DocumentRef(PHASE.firestore_collection, str(NEXT)): registered(
            completions(PHASE, NEXT, DONE)
        ),
        **(others or {}),
    }
    for ref, content in fields.items():
        if content is not None:
            stored.overwrite(ref, content)
    return StoresOf(
        stored,
        written,
        checkpoints=written,
        requests=written,
        counts=written,
        service_errors=written,
        changes=written,
    )
