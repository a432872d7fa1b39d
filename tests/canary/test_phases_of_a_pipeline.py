"""Three phases of one pipeline in examples/phases_of_a_pipeline.toml, judged in one run."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canary.domain.verdict import Impact, Verdict, VerdictKind
from canary.notify.message import CommandLine, alert
from canary.run import check_dates
from orchestrator_resilience import CheckpointLogger, ConfigurationError, Phase, load_phases
from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import parse_phases
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope

FILE = Path(__file__).parents[2] / "examples" / "phases_of_a_pipeline.toml"
DAY = date(2026, 2, 9)
DONE = datetime(2026, 2, 10, 7, 0, tzinfo=UTC)
LATER = DONE + timedelta(minutes=40)


@pytest.fixture
def phases() -> dict[str, Phase]:
    return load_phases(FILE)


class Pipeline:
    """The orchestrators of all phases on one set of stores."""

    def __init__(self, phases: dict[str, Phase], stores: EmbeddedStores) -> None:
        self.phases, self.stores, self.clock, self.sink = (
            phases,
            stores,
            SimulatedClock(DONE),
            RecordingSink(),
        )

    def deliver(self, phase: str, *names: str) -> None:
        """Deliver a success of each to the real orchestrator of a phase."""
        own = self.phases[phase]
        checkpoints = CheckpointLogger(own, self.sink, clock=self.clock)
        orchestrator = Orchestrator(
            own, self.stores.documents, self.stores.completion_log, checkpoints, self.clock
        )
        for name in names:
            orchestrator.deliver(
                push_envelope(
                    name, str(DAY), DONE, message_id=f"{phase}-{name}", phase=own.message_phase
                )
            )

    def document(self, phase: str, **fields: Any) -> None:
        """Change the progress document of a phase behind its orchestrator's back."""
        self.stores.documents.merge(
            DocumentRef(self.phases[phase].firestore_collection, str(DAY)), fields
        )

    def verdicts(self, now: datetime = LATER) -> dict[str, Verdict]:
        """Judge the date in all phases, in one run."""
        report = check_dates(self.stores, self.phases, now, {name: [DAY] for name in self.phases})
        return {verdict.phase: verdict for verdict in report.verdicts}


@pytest.fixture
def pipeline(phases: dict[str, Phase], stores: EmbeddedStores) -> Pipeline:
    return Pipeline(phases, stores)


def test_three_phases_in_one_run(pipeline: Pipeline) -> None:
    """One is complete, one was set on purpose without everybody, one waits."""
    pipeline.deliver("phase2", *pipeline.phases["phase2"].expected)
    pipeline.deliver(
        "phase3",
        "AsyncPlayerGameSummaryProcessor",
        "team_offense_game_summary",
        "upcoming_team_game_context",
    )
    pipeline.document(
        "phase3",
        _triggered=True,
        _trigger_reason="critical_plus_majority_60pct",
        _triggered_at=DONE,
    )
    pipeline.deliver("phase4", "PlayerDailyCacheProcessor")
    verdicts = pipeline.verdicts(pipeline.phases["phase4"].deadline(DAY) - timedelta(minutes=1))
    assert {name: verdict.kind.value for name, verdict in verdicts.items()} == {
        "phase2": "TRIGGERED",
        "phase3": "TRIGGERED",
        "phase4": "WAITING",
    }
    missing = "team_defense_game_summary, upcoming_player_game_context"
    assert verdicts["phase3"].summary == (
        f"3 of 5 complete, `_triggered` is set without {missing}: critical_plus_majority_60pct"
    )


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("tier2_timeout", VerdictKind.TRIGGERED),
        ("deadline_exceeded", VerdictKind.TRIGGERED),
        ("tier2_timeouts", VerdictKind.PREMATURE),
        ("critical_plus_majority_60pct", VerdictKind.PREMATURE),
        ("all_complete", VerdictKind.PREMATURE),
        (None, VerdictKind.PREMATURE),
        (7, VerdictKind.PREMATURE),
    ],
)
def test_only_the_reasons_of_the_phase_are_on_purpose(
    pipeline: Pipeline, reason: object, kind: VerdictKind
) -> None:
    """A pattern matches the whole reason; another phase's reasons are none of this one's."""
    pipeline.deliver("phase4", "player_daily_cache")
    pipeline.document("phase4", _triggered=True, _trigger_reason=reason, _triggered_at=DONE)
    assert pipeline.verdicts()["phase4"].kind is kind


def test_an_unset_flag_that_starts_the_next_phase_blocks_it(pipeline: Pipeline) -> None:
    """Impact, advice and the word on what starts the next phase depend on what the flag does."""
    for name, phase in pipeline.phases.items():
        pipeline.deliver(name, *phase.expected)
        pipeline.document(name, _triggered=False)
    verdicts = pipeline.verdicts()
    assert {name: (v.kind, v.impact) for name, v in verdicts.items()} == {
        "phase2": (VerdictKind.UNTRIGGERED, Impact.UNKNOWN),
        "phase3": (VerdictKind.UNTRIGGERED, Impact.BLOCKED),
        "phase4": (VerdictKind.UNTRIGGERED, Impact.BLOCKED),
    }
    texts = {
        name: alert([verdict], pipeline.phases[name], CommandLine(), LATER).text
        for name, verdict in verdicts.items()
    }
    assert (
        "The Pub/Sub subscription nba-phase3-analytics-sub starts it, not `_triggered`."
        in texts["phase2"]
    )
    assert "BLOCKED: `_triggered` is unset, and what sets it starts Phase 4." in texts["phase3"]
    assert "The Phase 3 orchestrator starts it, and sets `_triggered`." in texts["phase3"]
    assert "not `_triggered`" not in texts["phase3"] + texts["phase4"]


def test_known_names_are_neither_missing_nor_a_surprise(pipeline: Pipeline) -> None:
    """Those that are optional, and those that only share the topic; any other name is."""
    pipeline.deliver(
        "phase2",
        *pipeline.phases["phase2"].expected,
        "p2_bdl_box_scores",
        "EspnScoreboardProcessor",
    )
    pipeline.deliver("phase3", "MlbPitcherGameSummaryProcessor", "SomebodyElse")
    pipeline.document("phase2", BdlBoxScoresProcessor={"status": "success"})
    verdicts = pipeline.verdicts()
    assert (verdicts["phase2"].kind, verdicts["phase2"].unexpected) == (VerdictKind.TRIGGERED, ())
    late = ("upcoming_player_game_context",)
    rest = tuple(sorted(pipeline.phases["phase3"].expected - {*late}))
    assert (verdicts["phase3"].missing, verdicts["phase3"].not_yet) == (late, rest)
    assert verdicts["phase3"].unexpected == ("SomebodyElse",)
    last = {line.fields["raw_processor"]: line.kind for line in pipeline.sink.checkpoints}
    assert (
        last["p2_bdl_box_scores"],
        last["MlbPitcherGameSummaryProcessor"],
        last["SomebodyElse"],
    ) == (
        CheckpointKind.IGNORED,
        CheckpointKind.IGNORED,
        CheckpointKind.UNEXPECTED,
    )


def test_only_others_reported_is_silence(pipeline: Pipeline) -> None:
    """That somebody else uses the topic does not mean that anything has arrived."""
    pipeline.deliver("phase2", "p2_bdl_box_scores")
    verdict = pipeline.verdicts(DONE + timedelta(days=1))["phase2"]
    assert verdict.kind is VerdictKind.UNKNOWN
    assert "nothing has arrived" in verdict.summary


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('others = ["player_*"]', "others: a pattern matches 'player_composite_factors'"),
        (
            'others = ["*Cache*"]',
            "others: a pattern matches 'PlayerDailyCacheProcessor', a name of player_daily_cache",
        ),
        ("others = [7]", "others"),
        ('partial_reasons = ""', "partial_reasons"),
        ('flag_starts_next_phase = "yes"', "flag_starts_next_phase"),
        ("optional = {player_daily_cache = []}", "optional: player_daily_cache is expected"),
        (
            'optional = {another = ["PlayerDailyCacheProcessor"]}',
            "'PlayerDailyCacheProcessor' is a name of both",
        ),
        ('optional = {"no name" = []}', "optional: 'no name'"),
        ("optional = {another = 7}", "optional.another"),
    ],
)
def test_a_phase_that_contradicts_itself_is_refused(lines: str, complaint: str) -> None:
    """By the file, the phase and the field."""
    text = FILE.read_text("utf-8").replace("[phase4]\n", f"[phase4]\n{lines}\n", 1)
    if lines.startswith("partial_reasons"):
        text = text.replace(
            'partial_reasons = ["deadline_exceeded", "tier*_timeout", "max_timeout", "timeout"]\n',
            "",
        )
    if lines.startswith("others"):
        text = text.replace(
            'others = ["Mlb*", "mlb_*"]\nmessage_phase = "phase_4', 'message_phase = "phase_4'
        )
    if lines.startswith("flag_starts"):
        text = text.replace(
            'Phase 4 orchestrator"\nflag_starts_next_phase = true\n', 'Phase 4 orchestrator"\n'
        )
    with pytest.raises(ConfigurationError) as caught:
        parse_phases(text, "own.toml")
    assert str(caught.value).startswith("own.toml: [phase4]: ")
    assert complaint in str(caught.value)
