"""The truth of a date, and what is said of it held against that: on values made by hand."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from canary.domain.stages import Cause, CauseKind, Stage
from canary.domain.verdict import Verdict, VerdictKind
from canary.playback.schedule import Schedule
from evaluation.day import ProcessorReport
from evaluation.results import add_up
from evaluation.score import Repair, Score, score_fault
from evaluation.taken import Taken, narrowed
from evaluation.truth import THE_DATE, Stop, Stored, Truth, is_exact
from evaluation.world import MESSAGES, Statement, World
from orchestrator_resilience import Phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef, Request
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.sqlite import SqliteCompletionLog, SqliteFile
from orchestrator_resilience.testing import push_envelope

DAY, NIGHT = date(2026, 2, 9), datetime(2026, 2, 10, 6, tzinfo=UTC)
MISSING, OTHER = "p2_nbacom_boxscores", "p2_odds_game_lines"
UNDETERMINED, CRASHED, FAILED = CauseKind.UNDETERMINED, CauseKind.CRASHED, CauseKind.WRITE_FAILED


def stop(
    stage: Stage, cause: CauseKind = UNDETERMINED, subject: str = MISSING, since: datetime = NIGHT
) -> Stop:
    return Stop(stage=stage, subjects=frozenset({subject}), since=since, cause=cause)


def said(
    after: Stage | None,
    until: Stage | None,
    kind: CauseKind = UNDETERMINED,
    subjects: tuple[str, ...] = (MISSING,),
) -> Cause:
    return Cause(kind=kind, subjects=subjects, after=after, until=until)


@pytest.mark.parametrize(
    ("after", "until", "stage", "is_within"),
    [
        (None, None, Stage.RAN, True),
        (None, Stage.REGISTERED, Stage.RAN, True),
        (Stage.PUBLISHED, Stage.REGISTERED, Stage.ACCEPTED, True),
        (Stage.PUBLISHED, Stage.DELIVERED, Stage.ACCEPTED, False),
        (Stage.ACCEPTED, None, Stage.ACCEPTED, False),
        (Stage.RECORDED, Stage.REGISTERED, Stage.REGISTERED, True),
        (Stage.RECORDED, Stage.REGISTERED, Stage.RECORDED, False),
        (Stage.REGISTERED, Stage.RECORDED, Stage.RECORDED, True),
    ],
)
def test_an_interval_contains_a_stage(
    after: Stage | None, until: Stage | None, stage: Stage, *, is_within: bool
) -> None:
    """It begins after the last stage reached, and ends with the first one missed.

    Row and registration do not prove each other.
    """
    assert stop(stage).is_within(said(after, until)) is is_within


@pytest.mark.parametrize(
    ("after", "until", "exact"),
    [
        (None, Stage.RAN, True),
        (Stage.DELIVERED, Stage.ACCEPTED, True),
        (Stage.RECORDED, Stage.REGISTERED, True),
        (Stage.ACCEPTED, Stage.REGISTERED, True),
        (None, Stage.PUBLISHED, False),
        (Stage.REGISTERED, None, False),
    ],
)
def test_an_exact_interval_holds_one_stage(
    after: Stage | None, until: Stage | None, *, exact: bool
) -> None:
    """As far as its ends are known."""
    assert is_exact(said(after, until)) is exact


@pytest.mark.parametrize(
    ("cause", "fits"),
    [
        (said(Stage.ACCEPTED, Stage.REGISTERED, CRASHED), True),
        (said(None, Stage.REGISTERED), True),
        (said(None, None), True),
        (said(None, Stage.DELIVERED), False),
        (said(Stage.ACCEPTED, Stage.REGISTERED, FAILED), False),
        (said(None, Stage.REGISTERED, subjects=(OTHER,)), False),
        (said(None, None, subjects=(OTHER,)), True),
        (said(Stage.REGISTERED, Stage.FLAGGED, subjects=()), False),
    ],
    ids=[
        *("exact", "wide", "nothing", "too early", "another cause", "another processor"),
        *("nothing of another", "the date"),
    ],
)
def test_what_is_said_fits_who_stopped_where(cause: Cause, *, fits: bool) -> None:
    """Who did not stop may be named only where nothing is said of it."""
    truth = Truth(stops=(stop(Stage.REGISTERED, CRASHED),))
    assert (truth.unsound([cause], NIGHT) == []) is fits


def test_nobody_has_stopped_before_the_message_was_to_come() -> None:
    """Before that it may only be said that nothing is known."""
    truth, early = Truth(stops=(stop(Stage.RAN),)), NIGHT - timedelta(minutes=1)
    assert truth.unsound([said(None, Stage.PUBLISHED)], early) == [
        f"{MISSING}: UNDETERMINED after None until PUBLISHED"
    ]
    assert (
        truth.unsound([said(None, None)], early)
        == truth.unsound([said(None, Stage.PUBLISHED)], NIGHT)
        == []
    )


def test_who_stopped_has_to_be_mentioned() -> None:
    """Every subject that stopped has to be mentioned, unless nobody knows of any work."""
    stops = (stop(Stage.RAN), stop(Stage.DECIDED, subject=THE_DATE))
    truth = Truth(due={VerdictKind.UNTRIGGERED: NIGHT}, stops=stops)
    assert truth.unmentioned([said(None, Stage.REGISTERED)]) == [
        "the date: nothing said where it stopped"
    ]
    assert (
        truth.unmentioned(
            [said(None, Stage.REGISTERED), said(Stage.REGISTERED, Stage.DECIDED, subjects=())]
        )
        == []
    )
    assert Truth(due={VerdictKind.UNKNOWN: NIGHT}, stops=stops).unmentioned([]) == []


@pytest.mark.parametrize(
    ("before", "after", "flaws"),
    [
        (
            said(Stage.ACCEPTED, Stage.REGISTERED, CRASHED),
            said(Stage.PUBLISHED, Stage.REGISTERED),
            [],
        ),
        (said(Stage.PUBLISHED, Stage.REGISTERED), said(Stage.PUBLISHED, None), []),
        (
            said(Stage.PUBLISHED, Stage.REGISTERED),
            said(Stage.PUBLISHED, Stage.DELIVERED, CauseKind.NOT_DELIVERED),
            ["NOT_DELIVERED was named", f"{MISSING}: after PUBLISHED until DELIVERED is narrower"],
        ),
    ],
    ids=["wider", "open", "narrower"],
)
def test_less_evidence_says_less(before: Cause, after: Cause, flaws: list[str]) -> None:
    """An interval may widen, and a cause may be known no longer."""
    verdict = {
        cause: Verdict(
            kind=VerdictKind.INCOMPLETE, phase="phase2", game_date=DAY, summary="", causes=(cause,)
        )
        for cause in (before, after)
    }
    assert list(narrowed(verdict[before], verdict[after])) == flaws


def test_a_message_that_never_came_is_proven_by_three_logs(phase: Phase, tmp_path: Path) -> None:
    """The message log has it, only others have lines, and no request since has failed."""
    hit = ProcessorReport(MISSING, NIGHT, processor=MISSING, message_id="7")
    messages = SqliteCompletionLog(SqliteFile(tmp_path / MESSAGES, durable=False))
    envelope = push_envelope(MISSING, str(DAY), NIGHT, message_id="7")
    stored = Stored(tmp_path, phase, DAY, requests=[Request(NIGHT, 204)])
    line = {
        "checkpoint": "CHECKPOINT_RECEIVED",
        "closes": False,
        "game_date": "2026-02-08",
        "event_id": "6",
    }
    with EmbeddedStores(tmp_path):
        (tmp_path / "checkpoints.jsonl").write_text(f"{json.dumps(line)}\n")
        assert not stored.never_came(hit)
        messages.append([completion_row(Completion.from_event(envelope, phase))], now=NIGHT)
        assert stored.on(DAY).never_came(hit)
        assert not Stored(
            tmp_path, phase, DAY, readable=False, requests=stored.requests
        ).never_came(hit)
        assert not Stored(tmp_path, phase, DAY, requests=[Request(NIGHT, 503)]).never_came(hit)
        assert not Stored(tmp_path, phase, DAY).never_came(hit)
        (tmp_path / "checkpoints.jsonl").write_text(
            f"{json.dumps(line | {'game_date': str(DAY), 'event_id': '7'})}\n"
        )
        assert not stored.on(DAY).never_came(hit)


def test_a_flag_was_taken_away_from_a_document_that_is_there(phase: Phase, tmp_path: Path) -> None:
    """A line says that it was set; that the document is gone says nothing."""
    line = {"checkpoint": "CHECKPOINT_TRIGGERED", "closes": True, "game_date": str(DAY)}
    (tmp_path / "checkpoints.jsonl").write_text(f"{json.dumps(line)}\n")
    stored, hit = Stored(tmp_path, phase, DAY), ProcessorReport("nobody", NIGHT)
    with EmbeddedStores(tmp_path) as stores:
        stores.completion_log.setup()
        answers = [stored.on(DAY).flag_was_set(hit)]
        for is_set in (False, True):
            stores.documents.merge(
                DocumentRef(phase.firestore_collection, str(DAY)), {"_triggered": is_set}
            )
            answers.append(stored.on(DAY).flag_was_set(hit))
    assert answers == [False, True, False]


@pytest.mark.parametrize(
    ("cause", "misplaced", "exact"),
    [
        (said(Stage.DELIVERED, Stage.ACCEPTED), (), 1),
        (said(None, Stage.REGISTERED), (), 0),
        (said(None, Stage.DELIVERED), (f"{MISSING}: UNDETERMINED after None until DELIVERED",), 0),
        (said(None, None), (f"{MISSING}: nothing said where it stopped",), 0),
    ],
    ids=["exact", "wide", "unsound", "silent"],
)
def test_a_date_is_scored_by_where_it_stopped(
    phase: Phase, tmp_path: Path, cause: Cause, misplaced: tuple[str, ...], exact: int
) -> None:
    """What was said after the repair does not count."""
    truth = Truth(due={VerdictKind.INCOMPLETE: NIGHT}, stops=(stop(Stage.ACCEPTED),))
    with EmbeddedStores(tmp_path) as stores:
        world = World(phase, stores, Schedule(NIGHT))
        repaired = NIGHT + timedelta(hours=2)
        world.judged[DAY] = [
            Statement(NIGHT, VerdictKind.INCOMPLETE, (cause,)),
            Statement(repaired, VerdictKind.INCOMPLETE, (said(Stage.ACCEPTED, Stage.DECIDED),)),
        ]
        score = score_fault(
            world,
            DAY,
            "rejected",
            "1",
            truth,
            repair=Repair(repaired, causes=frozenset(), taken=Taken()),
        )
    assert (score.misplaced, score.intervals, score.exact) == (misplaced, 1, exact)
    assert score.is_explained is (misplaced == ())


def test_the_share_of_exact_intervals() -> None:
    """Over all dates; of no interval there is no share."""
    score = Score(
        scenario="any",
        seed="1",
        game_date=DAY,
        healthy=False,
        flaws=(),
        alarmed=True,
        intervals=2,
        exact=1,
    )
    none = Score(
        scenario="none",
        seed="2",
        game_date=DAY,
        healthy=False,
        flaws=(),
        alarmed=True,
        named=(CRASHED,),
    )
    result = add_up([score, none])
    assert (result.exact, result.faults["any"].exact, result.faults["none"].exact) == (
        0.5,
        0.5,
        None,
    )
    assert result.wrong_causes == 1
