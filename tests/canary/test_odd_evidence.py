"""One odd value concerns its own date; the others are handled as if it were not there."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.commands import cli
from canary.domain.evidence import Logged, Seen, Source, Traces
from canary.domain.facts import Facts
from canary.domain.incident import DateMemory, NotificationKind, Situation, follow
from canary.domain.path import where_it_stopped
from canary.domain.path.dossier import Dossier
from canary.domain.slots import slot_is_due
from canary.domain.stages import Cause, CauseKind
from canary.domain.timeline import timeline_of
from canary.domain.verdict import VerdictKind, judge
from canary.domain.warnings import early_warnings
from canary.notify.channel import Channels
from canary.notify.message import LONGEST_HEADLINE, CommandLine, alert
from canary.page.board import board
from canary.page.one_date import one_date
from canary.page.remembered import Remembered
from canary.page.render import as_html
from canary.run import Overview, Report, check_dates, timeline_and_facts, watch
from orchestrator_resilience import Completion, Phase
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.progress import Progress, read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef, ProcessorSummary
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.jsonl import append_line
from orchestrator_resilience.stores.sqlite import SqliteCompletionLog
from orchestrator_resilience.testing import push_envelope
from tests.proof.doubles import RecordingChannel
from tests.proof.inputs import (
    AT,
    DAY,
    FIVE,
    PHASE,
    checkpoint_entries,
    deep,
    documents,
    evidence_of,
    logs,
)

NEXT = DAY + timedelta(days=1)
DONE = datetime(2026, 2, 11, 6, 41, tzinfo=UTC)  # of the date after
NOW = DONE + timedelta(minutes=40)
YEAR_1, YEAR_9999 = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@settings(deadline=None)  # the first one compiles what the others use
@given(documents, logs, st.lists(checkpoint_entries, max_size=4), st.integers(-900, 4000))
def test_whatever_is_noted_of_a_date_can_be_judged_and_told(
    fields: dict[str, Any], log: Source[Logged], entries: list[dict[str, Any]], minutes: int
) -> None:
    """No document, row or checkpoint ends in an error, and every moment shown is possible."""

    def parsed(entry: dict[str, Any]) -> Checkpoint | None:
        try:
            return Checkpoint.from_json(entry)
        except (KeyError, TypeError, ValueError):
            return None

    now = AT + timedelta(minutes=minutes)
    evidence = evidence_of(log, progress=Seen(read_progress(fields, PHASE)))
    traces = Traces(Seen([line for entry in entries if (line := parsed(entry)) is not None]))
    verdict = judge(evidence, PHASE, now)
    if verdict.kind.is_problem:
        verdict = where_it_stopped(
            verdict, evidence, traces, history=[evidence], phase=PHASE, now=now
        )
    early_warnings([evidence], PHASE, now)
    follow(DateMemory(), verdict, Situation(now=now, run="1", addresses={"told": ""}))
    slot_is_due(verdict, PHASE, now, None)
    assert len(alert([verdict], PHASE, CommandLine(), now).headline) <= LONGEST_HEADLINE
    found = timeline_of(verdict, Dossier(evidence, PHASE, now, traces=traces))
    assert all(entry.at is None or entry.at.year in range(2000, 2100) for entry in found.entries)
    facts, command = Facts(evidence, PHASE, now), CommandLine()
    assert "</html>" in as_html(
        one_date(found, facts, PHASE, command, now, remembered=Remembered({}, "", now))
    )
    overview = Overview(Report(now, (verdict,)), (facts,), {})
    assert "</html>" in as_html(board(overview, {"phase2": PHASE}, None, command, lambda *_: None))
    assert verdict.since is None or verdict.since <= now


@pytest.fixture
def stuck(stores: EmbeddedStores) -> EmbeddedStores:
    """All five of the next date have completed, and nobody has set the flag."""
    for number, name in enumerate(FIVE):
        completion = Completion.from_event(
            push_envelope(name, str(NEXT), DONE, message_id=str(number)), PHASE
        )
        stores.completion_log.append([completion_row(completion)], now=DONE)
        stores.documents.merge(
            ref(NEXT), registration_fields(Progress(PHASE.expected), completion, DONE)
        )
    return stores


def ref(day: date) -> DocumentRef:
    return DocumentRef(PHASE.firestore_collection, str(day))


ODD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "Go's zero time": {"_triggered": True, "_triggered_at": YEAR_1},
    "the last year": {"_triggered": True, "_triggered_at": YEAR_9999},
    "a time that is a number": {"_triggered": True, "_triggered_at": 17},
    "completed in year 1": {FIVE[0]: {"completed_at": YEAR_1, "registered_at": YEAR_1}},
    "completed in year 9999": {
        name: {"completed_at": "9999-12-31T23:59:59-14:00"} for name in FIVE
    },
    "entries of all kinds": dict(
        zip(FIVE, [None, True, "x", [1], {"status": ["success"]}], strict=True)
    ),
    "fields of other types": {
        "_expected": {"a": 1},
        "_reports": [1],
        "_unexpected": "x",
        "_triggered": "yes",
    },
    "reports of other types": {
        "_reports": {FIVE[0]: {"status": "failed", "reported_at": YEAR_1}, FIVE[1]: 7}
    },
    "very deep": {FIVE[0]: deep, "_unexpected": {"x": deep}},
    "names that nobody can print": {"\x1b[31m\n\u202e": {"status": "success"}, "": True},
}


@pytest.mark.parametrize("fields", ODD_DOCUMENTS.values(), ids=ODD_DOCUMENTS)
def test_an_odd_document_is_its_own_dates(stuck: EmbeddedStores, fields: dict[str, Any]) -> None:
    """The other date is accused and told, by every command."""
    stuck.documents.merge(ref(DAY), fields)
    told, phases = RecordingChannel(), {PHASE.name: PHASE}
    report = watch(stuck, phases, Channels(told), NOW)
    verdicts = {verdict.game_date: verdict for verdict in report.verdicts}
    alone = check_dates(stuck, phases, NOW, {PHASE.name: [NEXT]}).verdicts
    assert (verdicts[NEXT],) == alone
    assert verdicts[NEXT].kind is VerdictKind.UNTRIGGERED
    assert (NotificationKind.OPENED, NEXT) in told.told
    for day in (DAY, NEXT):
        assert timeline_and_facts(stuck, PHASE, day, NOW)[0].verdict == verdicts[day]
        assert cli.main(
            ["explain", str(day), "--data", str(stuck.folder), "--now", "2026-02-11T07:21:00Z"]
        ) in {
            0,
            1,
            3,
        }
    assert cli.main(["status", "--data", str(stuck.folder), "--now", "2026-02-11T07:21:00Z"]) == 1


ODD_ROWS: dict[str, dict[str, Any]] = {
    "no time at all": {"last_completed_at": None},
    "a time without a zone": {"first_completed_at": datetime(2026, 2, 10, 6)},  # noqa: DTZ001
    "a time that is a text": {"first_completed_at": "now", "first_visible_at": "then"},
    "year 1": {
        "first_completed_at": YEAR_1,
        "first_visible_at": YEAR_1,
        "last_completed_at": YEAR_1,
    },
    "year 9999": {"first_completed_at": YEAR_9999, "first_visible_at": YEAR_9999},
    "no status": {"status": None},
    "no name": {"processor_name": None},
    "a list for a name": {"processor_name": ["p2"]},
}


class OddLog(SqliteCompletionLog):
    """A completion log with one row of another date more."""

    odd: ProcessorSummary

    def summarise(self, *arguments: Any) -> list[ProcessorSummary]:
        """Return the odd row, too."""
        return [*super().summarise(*arguments), self.odd]


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
def test_an_odd_row_is_its_own_dates(stuck: EmbeddedStores, odd: dict[str, Any]) -> None:
    """Whatever it makes of its date, the other date has its verdict and its cause."""
    good = stuck.completion_log.summarise([PHASE.name], NEXT, NEXT)[0]
    alone = check_dates(stuck, {PHASE.name: PHASE}, NOW, {PHASE.name: [NEXT]}).verdicts
    log = OddLog(stuck.completion_log._file)
    log.odd = msgspec.structs.replace(good, game_date=DAY, **odd)
    stuck.completion_log = log
    report = check_dates(stuck, {PHASE.name: PHASE}, NOW)
    assert [verdict for verdict in report.verdicts if verdict.game_date == NEXT] == [*alone]
    assert len(report.verdicts) == PHASE.lookback_dates


def test_a_source_that_cannot_be_understood_is_named(stuck: EmbeddedStores) -> None:
    """The date is UNKNOWN, with what was odd in one line."""
    log = OddLog(stuck.completion_log._file)
    good = stuck.completion_log.summarise([PHASE.name], NEXT, NEXT)[0]
    log.odd = msgspec.structs.replace(good, game_date=DAY, processor_name=["p2\n"])
    stuck.completion_log = log
    (verdict,) = check_dates(stuck, {PHASE.name: PHASE}, NOW, {PHASE.name: [DAY]}).verdicts
    assert (verdict.kind, verdict.unreadable) == (VerdictKind.UNKNOWN, True)
    assert (
        "the completion log of 2026-02-09 cannot be understood: TypeError: unhashable type"
        in verdict.summary
    )


def test_an_odd_checkpoint_leaves_the_cause_of_its_date(
    orchestrator: Orchestrator, stores: EmbeddedStores
) -> None:
    """What its line does not say proves nothing, and the date has its problem all the same."""
    for number, name in enumerate(FIVE[:4]):
        orchestrator.deliver(push_envelope(name, str(DAY), AT, message_id=str(number)))
    odd: dict[str, Any]
    for odd in (
        {"delivery": {}},
        {"completed": None},
        {"missing": 7},
        {"event_id": []},
        {"steps": 5},
        {"closes": 1},
    ):
        for kind in ("RECEIVED", "POST_TRANSACTION", "FAILED", "REJECTED"):
            line = json.dumps(
                {
                    "checkpoint": f"CHECKPOINT_{kind}",
                    "message": "x",
                    "time": AT.isoformat(),
                    "phase": "phase2",
                    "game_date": str(DAY),
                    "processor": FIVE[4],
                    "severity": "INFO",
                    "closes": True,
                    **odd,
                }
            )
            append_line(stores.checkpoints.path, line + "\n")
    (verdict,) = check_dates(
        stores, {PHASE.name: PHASE}, PHASE.deadline(DAY), {PHASE.name: [DAY]}
    ).verdicts
    assert verdict.kind is VerdictKind.INCOMPLETE
    assert "cannot be understood" not in verdict.causes[0].words


def test_what_nobody_has_foreseen_is_undetermined(
    stuck: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    """A problem whose path cannot be made out is told, with what failed and without a cause."""
    monkeypatch.setattr("canary.run.where_it_stopped", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("canary.run.early_warnings", lambda *_: 1 / 0)
    told = RecordingChannel()
    report = watch(stuck, {phase.name: phase}, Channels(told), NOW)
    (problem,) = [verdict for verdict in report.verdicts if verdict.kind.is_problem]
    why = "its evidence cannot be understood: ZeroDivisionError: division by zero"
    assert problem.causes == (Cause(kind=CauseKind.UNDETERMINED, words=why),)
    assert report.warnings == (
        "phase2: the recent dates could not be looked over: ZeroDivisionError: division by zero",
    )
    assert told.told == [(NotificationKind.OPENED, NEXT)]
