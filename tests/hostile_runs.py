"""Whole runs of the canary over hostile evidence, beside a date that is stuck.

    python -m tests.hostile_runs RUNS [SEED]

Whatever anybody has written of one date (document, rows, checkpoints, requests) or among the canary's own documents
(incident, open incidents, refused channels, silences): `check`, `watch`, `explain` and `status` end without an error,
the stuck date has the verdict that it has alone, each channel hears of it once, and no text that people read can break
a line or a terminal. Exit code: 0, or 1 with the evidence that failed.
"""

import io
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

import canary.sources
from canary.commands.terminal import make_console, print_line, print_lines, print_silences, print_timeline
from canary.domain.incident import OPEN_INCIDENTS, REFUSALS, NotificationKind, incident_ref
from canary.domain.silence import SILENCES
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels, Notification
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine, messages
from canary.notify.slack import message
from canary.run import Report, check, timeline_and_facts, watch
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.checkpoints import Checkpoint, concerns
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import Progress, registration_fields
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary, Request
from orchestrator_resilience.testing import push_envelope
from tests.hostile import AT, DAY, FIVE, PHASE, checkpoint_entries, documents, texts, times, values
from tests.interleavings.values import Stores as Documents
from tests.interleavings.values import doing

NEXT = DAY + timedelta(days=1)
DONE = AT + timedelta(days=1)
NOW = DONE + timedelta(minutes=40)
PHASES = {PHASE.name: msgspec.structs.replace(PHASE, work_query="@since @until", outcome_query="@since @until.")}
CHUNK = 5_000
# What a terminal shows takes three times as long as the rest.
_LOOKED_AT_EVERY = 10
TRIED: Counter[str] = Counter()

kinds = st.sampled_from([*VerdictKind, *NotificationKind, "OPENED", "ERROR", "LOG"]).map(str)
sent = st.lists(st.fixed_dictionaries({}, optional={"kind": kinds | values, "at": times | values}), max_size=9)
receipts = st.dictionaries(
    st.sampled_from(["log", "slack", "*"]) | texts,
    values | st.fixed_dictionaries({}, optional={"kind": kinds, "level": kinds, "causes": values, "sent": sent}),
    max_size=3,
)
claims = values | st.fixed_dictionaries({"run": texts, "at": times})
incidents = st.fixed_dictionaries(
    {},
    optional={
        "kind": kinds | values,
        "cause": values,
        "causes": values | st.lists(kinds),
        "level": kinds | values,
        "opened_at": times | values,
        "quiet_since": times | values,
        "receipts": receipts | values,
        "claim": claims,
        "resolved": values,
    },
)
rows = st.lists(
    st.builds(
        ProcessorSummary,
        phase=st.just(PHASE.name),
        game_date=st.just(DAY),
        processor_name=st.sampled_from(FIVE) | texts,
        last_status=st.none() | st.sampled_from(["success", "failed", "no_data"]) | texts,
        last_completed_at=st.none() | times,
        first_completed_at=st.none() | times,
        first_visible_at=st.none() | times,
        is_triggered=st.sampled_from([None, False, True]),
        triggered_at=st.none() | times,
        trigger_reason=st.none() | texts,
    ),
    max_size=7,
)
# A silence that somebody else wrote may silence its own date; the other one is not named in it.
silences = st.dictionaries(
    texts,
    values
    | st.fixed_dictionaries(
        {}, optional={"phase": st.just(PHASE.name) | texts, "first": st.just(str(DAY)), "last": st.just(str(DAY))}
    ).flatmap(lambda known: st.builds(lambda at, why: {**known, "expires_at": at, "reason": why}, times, texts)),
    max_size=3,
)
requests = st.lists(st.tuples(times, st.integers(-1, 999) | st.sampled_from([200, 403, 500])), max_size=6)


@dataclass(frozen=True)
class Evidence:
    """What others have written: of DAY, and among the canary's own documents."""

    document: dict[str, Any] | None
    rows: list[ProcessorSummary]
    lines: list[dict[str, Any]]
    requests: list[tuple[datetime, int]]
    incident: dict[str, Any] | None
    open_incidents: dict[str, Any] | None
    refusals: dict[str, Any] | None
    silences: dict[str, Any] | None

    @property
    def pieces(self) -> int:
        """How many things they have written."""
        documents = (self.document, self.incident, self.open_incidents, self.refusals, self.silences)
        lists = (self.rows, self.lines, self.requests)
        return sum(one is not None for one in documents) + sum(len(one) for one in lists)


evidences = st.builds(
    Evidence,
    document=st.none() | documents,
    rows=rows,
    lines=st.lists(checkpoint_entries, max_size=5),
    requests=requests,
    incident=st.none() | incidents,
    open_incidents=st.none() | st.dictionaries(st.just("canary") | texts, values | st.lists(texts), max_size=2),
    refusals=st.none() | st.dictionaries(st.sampled_from(["log", "slack"]) | texts, values, max_size=2),
    silences=st.none() | silences,
)


@dataclass
class Stores:
    """Stores of plain values, with the hostile evidence and that of the stuck date."""

    evidence: Evidence
    documents: Documents = field(default_factory=doing)
    flag_tables: None = None
    dead_letters: None = None
    phase: str = PHASE.name

    def __post_init__(self) -> None:
        """Write down everything."""
        self.completion_log: Any = self
        self.checkpoints: Any = self
        self.counts: Any = self
        self.requests_seen = [Request(at, status) for at, status in self.evidence.requests]
        self.requests: Any = _Requests(self.requests_seen)
        self._rows = [*self.evidence.rows, *_STUCK_ROWS]
        self._lines = [line for entry in self.evidence.lines if (line := _parsed(entry)) is not None]
        written = {
            DocumentRef(PHASE.firestore_collection, str(DAY)): self.evidence.document,
            incident_ref(PHASE.name, DAY): self.evidence.incident,
            OPEN_INCIDENTS: self.evidence.open_incidents,
            REFUSALS: self.evidence.refusals,
            SILENCES: self.evidence.silences,
            DocumentRef(PHASE.firestore_collection, str(NEXT)): _STUCK_DOCUMENT,
        }
        for ref, fields in written.items():
            if fields is not None:
                self.documents.overwrite(ref, fields)

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Return the rows."""
        return [row for row in self._rows if row.phase in phases and since <= row.game_date <= until]

    def read(self, phase: str, game_dates: Collection[date]) -> list[Checkpoint]:
        """Return the lines."""
        found = [line for line in self._lines if any(concerns(line, phase, day) for day in game_dates)]
        return sorted(found, key=lambda line: line.at)

    def count(self, query: str, since: date, until: date) -> dict[date, int]:
        """There was work on each date, and the next phase has written nothing yet."""
        return {} if query.endswith(".") else {since + timedelta(days=n): 7 for n in range((until - since).days + 1)}

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class _Requests:
    seen: Sequence[Request]
    phase: str = PHASE.name

    def requests(self, since: datetime, until: datetime) -> list[Request]:
        """Return those whose time can be compared."""
        timed = (one for one in self.seen if one.at.tzinfo is not None)
        return sorted(one for one in timed if since <= one.at < until)


def _parsed(entry: Mapping[str, Any]) -> Checkpoint | None:
    try:
        return Checkpoint.from_json(entry)
    except (KeyError, TypeError, ValueError):
        return None


class Heard:
    """A channel that keeps what it was told, and formats it as the real ones do."""

    address = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[Notification] = []

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep them."""
        for _, content in messages(notifications, PHASES, CommandLine(), now):
            _check_text(content.text)
        json.dumps(message(notifications, PHASES, CommandLine(project="a-project"), now), allow_nan=False)
        LogChannel(PHASES, project="a-project", stream=io.StringIO()).send(notifications, now)
        self.told += notifications

    def warn(self, text: str, now: datetime) -> None:
        """Look at the text."""
        del now
        _check_text(text)


def _check_text(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n")), text


def survives(evidence: Evidence) -> None:
    """Let the canary run over `evidence`; raises AssertionError, or whatever it should not have raised."""
    stores, heard = Stores(evidence), [Heard("log"), Heard("slack")]
    channels = Channels(*heard)
    reports = [watch(stores, PHASES, channels, NOW + n * timedelta(minutes=15)) for n in range(2)]
    # What nobody can date is evidence for every date, as is what the code has done on another one: but for causes only.
    assert _without_causes(_of(reports[0], NEXT)) == _without_causes(_ALONE)
    down = {str(name) for name in evidence.refusals or ()}
    for channel in heard:
        told = [one.kind for one in channel.told if one.verdict.game_date == NEXT]
        assert told == [NotificationKind.OPENED] or (told == [] and channel.name in down), (channel.name, told)
    TRIED.update(runs=1, pieces=evidence.pieces)
    if TRIED["runs"] % _LOOKED_AT_EVERY == 0:
        _look(stores, reports[0])


def _look(stores: Stores, report: Report) -> None:
    """Do what `status`, `check --json` and `explain` do with what was found."""
    console = make_console(120)
    with console.capture() as printed:
        print_lines(console, report.verdicts)
        print_silences(console, report.silences)
        for verdict in report.verdicts:
            print_line(console, verdict)
        for day in (DAY, NEXT):
            found, _ = timeline_and_facts(stores, PHASES[PHASE.name], day, NOW)
            msgspec.to_builtins(found)
            print_timeline(console, found, PHASE, CommandLine(), NOW)
    _check_text(printed.get())
    json.dumps(report.to_json(), allow_nan=False)
    json.dumps(report.run_line(), allow_nan=False)
    checked = check(stores, PHASES, NOW)
    assert [v.kind for v in checked.verdicts] == [_of(report, v.game_date).kind for v in checked.verdicts]


def _of(report: Report, day: date) -> Verdict:
    (verdict,) = (one for one in report.verdicts if one.game_date == day)
    return verdict


def _without_causes(verdict: Verdict) -> Verdict:
    return replace(verdict, causes=(), ruled_out=(), notes=verdict.notes[:1])


def _stuck() -> tuple[dict[str, Any], list[ProcessorSummary]]:
    """Return the document and the rows of a date whose five have completed, and whose flag is unset."""
    fields: dict[str, Any] = {}
    for number, name in enumerate(FIVE):
        completion = Completion.from_event(push_envelope(name, str(NEXT), DONE, message_id=str(number)), PHASE)
        fields |= registration_fields(Progress(PHASE.expected), completion, DONE)
    row = ProcessorSummary(
        phase=PHASE.name,
        game_date=NEXT,
        processor_name="",
        last_status="success",
        last_completed_at=DONE,
        first_completed_at=DONE,
        first_visible_at=DONE,
        is_triggered=False,
        trigger_reason=None,
    )
    return fields, [replace(row, processor_name=name) for name in FIVE]


_STUCK_DOCUMENT, _STUCK_ROWS = _stuck()
_NOBODY = Evidence(None, [], [], [], None, None, None, None)
_ALONE = _of(check(Stores(_NOBODY), PHASES, NOW), NEXT)


def main(examples: int, seed: int) -> int:
    """Let the canary run so often; return the exit code."""
    canary.sources.Background = AtOnce  # type: ignore[attr-defined]
    began = time.perf_counter()
    for chunk in count():
        if chunk * CHUNK >= examples:
            break
        try:
            _try(min(CHUNK, examples - chunk * CHUNK), seed + chunk)
        except Exception:  # noqa: BLE001 (it is shown)
            traceback.print_exc()
            print(f"seed {seed + chunk}")
            return 1
        seconds = time.perf_counter() - began
        what = f"{TRIED['runs']:,} runs over {TRIED['pieces']:,} pieces of evidence in {seconds:,.0f} s"
        print(f"{what}: no error, no date silenced; seed {seed}", flush=True)
    return 0


def _try(examples: int, seed: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(settings(hypothesis.given(evidences)(survives)))()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())))
