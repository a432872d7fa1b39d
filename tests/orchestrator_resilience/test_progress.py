"""Documents and the decision."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator_resilience import Completion, Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.plain import instant, printable
from orchestrator_resilience.progress import (
    ProcessorReport,
    Progress,
    Registration,
    Trigger,
    completion_fields,
    decide,
    read_progress,
    registration_fields,
    trigger_fields,
)
from orchestrator_resilience.testing import push_envelope
from orchestrator_resilience.transaction import transaction_of
from tests.proof.inputs import documents, fuzzed, texts, values

PHASE = load_phase("phase2", BUNDLED_PHASES)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
NOW = AT + timedelta(hours=1)


def completion(processor: str, at: datetime = AT, event_id: str = "1") -> Completion:
    return Completion.from_event(
        push_envelope(processor, "2026-02-09", at, message_id=event_id), PHASE
    )


def test_four_expected_and_an_unexpected_wait() -> None:
    """Five keys are not five processors: the sets are compared."""
    four = sorted(PHASE.expected)[:4]
    fields: dict[str, dict[str, object]] = {
        processor: {} for processor in [*four, "p2_nbacom_schedule"]
    }
    progress = read_progress(fields, PHASE)
    assert not decide(progress, PHASE)
    assert progress.missing == PHASE.expected - set(four)
    assert progress.unexpected == {"p2_nbacom_schedule"}


@given(
    st.sets(st.sampled_from([*sorted(PHASE.expected), "unexpected", "p2_nbacom_schedule"])),
    st.booleans(),
)
def test_the_decision_is_about_the_expected_set_alone(keys: set[str], triggered: bool) -> None:  # noqa: FBT001
    """Complete and untriggered triggers; nothing else does."""
    progress = read_progress({**{key: {} for key in keys}, "_triggered": triggered}, PHASE)
    assert decide(progress, PHASE) is (keys >= PHASE.expected and not triggered)


def test_what_is_written_is_read_again(phase: Phase) -> None:
    """Registrations and the trigger survive the round through a document."""
    fields: dict[str, object] = {}
    for number, processor in enumerate(sorted(phase.expected)):
        sent = completion(processor, AT + timedelta(minutes=number), str(number))
        fields |= registration_fields(read_progress(fields, phase), sent, NOW)
    before = read_progress(fields, phase)
    assert before == Progress(
        expected=phase.expected,
        registered={
            p: Registration(AT + timedelta(minutes=n), str(n), NOW)
            for n, p in enumerate(sorted(phase.expected))
        },
        orchestrator_expected=phase.expected,
    )
    fields |= trigger_fields(before, event_id="4", now=AT + timedelta(hours=1))
    assert read_progress(fields, phase).trigger == Trigger(
        AT + timedelta(hours=1), "all_complete", "4"
    )
    assert (fields["_completed_count"], fields["_first_completion_at"]) == (5, AT)


def test_an_unexpected_registration_is_refused(phase: Phase) -> None:
    """Other readers count keys, so an unexpected processor must never get into the document."""
    with pytest.raises(ValueError, match="p2_nbacom_schedule"):
        registration_fields(read_progress({}, phase), completion("p2_nbacom_schedule"), NOW)


def test_documents_of_old_code_are_read(phase: Phase) -> None:
    """Class names as keys, no times, ISO text, a partial trigger, values of any kind."""
    progress = read_progress(
        {
            "NbacTeamBoxscoreProcessor": {
                "completed_at": "2026-02-10T06:41:00+00:00",
                "status": "success",
            },
            "p2_nbacom_boxscores": {"completed_at": "2026-02-10T07:41:00+00:00"},
            "p2_odds_game_lines": AT,
            "p2_games": 7,
            "updated_at": AT,
            "odds": {"games": 7},
            "p2_odds_player_props": {"completed_at": AT.replace(tzinfo=None), "event_id": 7},
            "p2_bigdataball_pbp": {"status": "failed"},
            "BigDataBallPbpProcessor": None,
            "p2_nbacom_gamebook_pdf": False,
            "p2_nbacom_schedule": {"status": "success"},
            "_completed_count": "5",
            "_triggered": True,
            "_triggered_at": "yesterday",
            "_triggered_reason": "deadline_exceeded",
            "_partial_completion": True,
            "_expected": "all",
        },
        phase,
    )
    assert progress == Progress(
        expected=phase.expected,
        registered={
            "p2_nbacom_boxscores": Registration(AT),
            "p2_odds_game_lines": Registration(AT),
            "p2_odds_player_props": Registration(AT),
        },
        reports={"p2_bigdataball_pbp": ProcessorReport("failed")},
        unexpected=frozenset({"p2_nbacom_schedule"}),
        trigger=Trigger(None, "deadline_exceeded", None, deliberately_partial=True),
        orchestrator_expected=None,
    )


@pytest.mark.parametrize("flag", [False, None, "true", 1, 0])
def test_only_true_is_triggered(phase: Phase, flag: object) -> None:
    """A flag that is anything else is unset."""
    assert read_progress({"_triggered": flag}, phase).trigger is None


def test_the_first_success_stands(phase: Phase) -> None:
    """A redelivery and a later re-run need no write; an earlier success that was overtaken does."""
    first = completion("p2_odds_game_lines", AT, "2")
    progress = read_progress(registration_fields(read_progress({}, phase), first, NOW), phase)
    assert progress.holds(first)
    assert not progress.holds(completion("p2_odds_game_lines", AT, "1"))
    assert progress.holds(completion("p2_odds_game_lines", AT, "3"))
    assert progress.holds(completion("p2_odds_game_lines", AT + timedelta(hours=1), "1"))
    assert not progress.holds(completion("p2_odds_game_lines", AT - timedelta(hours=1), "3"))
    assert not progress.holds(completion("p2_odds_player_props", AT, "4"))
    assert read_progress({"p2_odds_game_lines": {}}, phase).holds(completion("p2_odds_game_lines"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AT, AT),
        (AT.replace(tzinfo=None), AT),
        ("2026-02-10T01:41:00-05:00", AT),
        ("2026-02-10T06:41:00Z", AT),
        ("soon", None),
        (17, None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_times_are_read_in_every_form_that_documents_hold(
    value: object, expected: datetime | None
) -> None:
    """Aware, naive, text; what is no time is none."""
    assert instant(value) == expected


@pytest.mark.parametrize(
    ("status", "completes"),
    [
        *(
            (status, True)
            for status in (None, "success", "SUCCESS", " Partial ", "finished", "FINISHED")
        ),
        *(
            (status, False)
            for status in ("", "failed", "FAILED", "error", "running", "no_data", "Skipped")
        ),
        *((status, False) for status in (7, [7], {"a": 7})),
    ],
)
def test_what_a_status_means(phase: Phase, status: object, completes: bool) -> None:  # noqa: FBT001
    """Success, partial and the phase's own complete, in any case.

    All else is what the processor last said.
    """
    phase = replace(phase, completed_statuses=("Finished",))
    progress = read_progress({"p2_odds_game_lines": {"status": status}}, phase)
    assert (progress.completed == {"p2_odds_game_lines"}) is completes
    assert [report.status for report in progress.reports.values()] == (
        [] if completes else [shown_status(status)]
    )


def shown_status(status: object) -> str:
    return status.lower() if isinstance(status, str) else repr(status)


def test_a_registration_brings_the_list_up_to_date(phase: Phase) -> None:
    """A document of old code, or of another list, gets the list of what is waited for now."""
    sent = completion("p2_odds_game_lines")
    fields = registration_fields(read_progress({}, phase), sent, NOW)
    assert registration_fields(read_progress(fields, phase), sent, NOW) == {}
    drifted = read_progress({**fields, "_expected": ["p2_bdl_box_scores"]}, phase)
    assert registration_fields(drifted, sent, NOW) == {"_expected": sorted(phase.expected)}


@fuzzed(50)
@given(documents | st.dictionaries(st.sampled_from(sorted(PHASE.expected)) | texts, values))
def test_every_document_is_read(fields: dict[str, Any]) -> None:
    """What completes it sets the flag, and a line says what it holds."""
    progress = read_progress(fields, PHASE)
    assert progress.completed | progress.missing == PHASE.expected
    read_progress(printable(fields), PHASE)
    written, after = completion_fields(progress, completion("p2_bigdataball_pbp"), PHASE, NOW)
    again = read_progress({**fields, **written}, PHASE)
    assert (again.completed, again.trigger is None) == (after.completed, after.trigger is None)
    unsaid = dict.fromkeys(("completed", "triggered", "duplicate", "expected", "on_purpose"))
    line = transaction_of(PHASE, document=fields, should_trigger=False, **unsaid)
    assert (line.missing, line.triggered) == (
        sorted(progress.missing),
        progress.trigger is not None,
    )
