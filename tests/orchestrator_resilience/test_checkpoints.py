"""Checkpoints, their logger and the sinks."""

import io
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import (
    CheckpointLogger,
    ConfigurationError,
    DeliveryError,
    InvalidMessageError,
    Phase,
    load_phase,
)
from orchestrator_resilience.checkpoints import (
    Checkpoint,
    CheckpointKind,
    DeliveryOutcome,
    Severity,
    Sink,
    hash_of_names,
    json_line,
    whole_list,
)
from orchestrator_resilience.plain import one_line, plain
from orchestrator_resilience.sinks import default_sink, json_lines, stdlib_logging, terminal_lines
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope
from tests.proof.inputs import check_lines, few, fuzzed, odd, values

FIVE = [
    "p2_bigdataball_pbp",
    "p2_nbacom_boxscores",
    "p2_nbacom_gamebook_pdf",
    "p2_odds_game_lines",
    "p2_odds_player_props",
]
NOW = datetime(2026, 2, 10, 7, 0, tzinfo=UTC)
WHOSE = "(p2_nbacom_boxscores 2026-02-09)"


@pytest.fixture
def checkpoints(phase: Phase, sink: RecordingSink) -> CheckpointLogger:
    return CheckpointLogger(phase, sink, clock=SimulatedClock(NOW))


def begin(checkpoints: CheckpointLogger, **extra: Any) -> Any:
    return checkpoints.delivery(
        processor="NbacPlayerBoxscoreProcessor", game_date=date(2026, 2, 9), event_id="17", **extra
    )


def messages(sink: RecordingSink) -> list[str]:
    return [c.message for c in sink.checkpoints]


def test_the_six_lines_of_an_existing_orchestrator(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Received, what the transaction did, and the missing list."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=FIVE[:4], triggered=False)
    state = f"triggered=False missing={FIVE[4:]} completed={FIVE[:4]}"
    assert messages(sink) == [
        "CHECKPOINT_RECEIVED: p2_nbacom_boxscores 2026-02-09",
        f"CHECKPOINT_POST_TRANSACTION: should_trigger=False {state} {WHOSE}",
        f"CHECKPOINT_WAITING: missing=['p2_odds_player_props'] 4/5 complete {WHOSE}",
    ]
    assert [c.closes for c in sink.checkpoints] == [False, False, True]


def test_the_orchestrators_own_list_is_compared_when_it_is_given(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The plan's line: five of six are there, and the sixth was switched off weeks ago."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False,
            completed=FIVE,
            triggered=False,
            expected=[*FIVE, "p2_bdl_box_scores"],
        )
    assert (
        messages(sink)[-1]
        == f"CHECKPOINT_WAITING: missing=['p2_bdl_box_scores'] 5/6 complete {WHOSE}"
    )


OLD_DOCUMENTS: dict[str, tuple[dict[str, Any], list[str], bool]] = {
    "nobody": ({}, [], False),
    "as the old tracker left it": ({name: {"status": "success"} for name in FIVE}, FIVE, False),
    "times only": (dict.fromkeys(FIVE[:2], NOW), FIVE[:2], False),
    "fields of somebody's own": (
        {FIVE[0]: {}, "games": 7, "odds": {"n": 7}, FIVE[1]: True},
        FIVE[:1],
        False,
    ),
    "one that failed": (
        {FIVE[0]: {"status": "success"}, FIVE[1]: {"status": "failed"}},
        FIVE[:1],
        False,
    ),
    "our own fields": (
        {FIVE[0]: {}, "_triggered": False, "_expected": FIVE, "_mode": "x"},
        FIVE[:1],
        False,
    ),
    "set": (
        {**dict.fromkeys(FIVE, NOW), "_triggered": True, "_trigger_reason": "all_complete"},
        FIVE,
        True,
    ),
    "class names": ({"BigDataBallPbpProcessor": NOW.isoformat()}, ["p2_bigdataball_pbp"], False),
    "a flag that is none": ({FIVE[0]: NOW, "_triggered": "yes"}, FIVE[:1], False),
}


@pytest.mark.parametrize("document", OLD_DOCUMENTS)
def test_the_rest_is_read_from_the_document(
    document: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The same lines as with completed and triggered, of every form that old code has left."""
    fields, completed, triggered = OLD_DOCUMENTS[document]
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, document=fields)
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=completed, triggered=triggered)
    half = len(sink.checkpoints) // 2
    assert messages(sink)[:half] == messages(sink)[half:]
    assert [c.severity for c in sink.checkpoints[:half]] == [
        c.severity for c in sink.checkpoints[half:]
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"_partial_completion": True}, "without a reason"),
        ({"_partial_completion": True, "_trigger_reason": "tier2_timeout"}, "tier2_timeout"),
        ({"_triggered_reason": "deadline_exceeded"}, "deadline_exceeded"),
    ],
)
def test_a_flag_that_was_set_on_purpose_is_no_warning(
    fields: dict[str, Any], words: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The old code's deadline sets it without everybody, and its document says so."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False, document={FIVE[0]: True, "_triggered": True, **fields}
        )
    last = sink.checkpoints[-1]
    assert (last.kind, last.severity, last.closes) == (
        CheckpointKind.POST_TRANSACTION,
        Severity.INFO,
        True,
    )
    assert last.message.endswith(f": _triggered is set on purpose, {words} {WHOSE}")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"completed": "p2_odds_game_lines", "triggered": False},
            "completed takes a collection of names",
        ),
        (
            {"completed": FIVE, "triggered": False, "expected": "p2"},
            "expected takes a collection of names",
        ),
        ({}, "takes either document, or completed and triggered"),
        ({"document": None}, "takes either document, or completed and triggered"),
        ({"completed": FIVE}, "takes either document, or completed and triggered"),
        ({"document": {}, "triggered": False}, "takes either document, or completed and triggered"),
        (
            {"document": {}, "should_trigger": (False, False)},
            "should_trigger takes True or False, not (False, False)",
        ),
        ({"document": {}, "should_trigger": None}, "should_trigger takes True or False"),
        ({"completed": FIVE, "triggered": "no"}, "triggered takes True or False"),
    ],
)
def test_what_makes_no_sense_is_no_line_and_is_counted(
    arguments: dict[str, Any], reason: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """A line of 0/5 would be believed.

    The next line says what was wrong, and the delivery goes on.
    """
    with begin(checkpoints) as delivery:
        delivery.post_transaction(**{"should_trigger": False, **arguments})
    received, ended = sink.checkpoints
    assert (received.kind, ended.kind, ended.severity) == (
        CheckpointKind.RECEIVED,
        CheckpointKind.IGNORED,
        Severity.WARNING,
    )
    assert ended.fields["dropped"] == 1
    assert reason in ended.fields["dropped_because"]


def test_a_flag_that_is_set_on_purpose_after_the_transaction(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The deadline path: a second line of the same delivery, with a reason of its own."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=FIVE[:4], triggered=False)
        delivery.post_transaction(
            should_trigger=True, completed=FIVE[:4], triggered=True, on_purpose="deadline_exceeded"
        )
    assert sink.kinds() == [
        "RECEIVED",
        "POST_TRANSACTION",
        "WAITING",
        "POST_TRANSACTION",
        "TRIGGERED",
    ]
    last = sink.checkpoints[-1]
    assert last.message == (
        "CHECKPOINT_TRIGGERED: 4/5 complete, _triggered is set on purpose, deadline_exceeded "
        f"{WHOSE}"
    )
    assert (last.fields["outcome"], sink.checkpoints[-2].severity) == ("partial", Severity.INFO)


def test_a_reason_is_no_excuse_for_a_flag_that_is_not_set(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Nor does it make a complete date partial."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False, completed=FIVE[1:], triggered=False, on_purpose="x"
        )
        delivery.post_transaction(
            should_trigger=True, completed=FIVE, triggered=True, on_purpose="x"
        )
    assert [c.fields["outcome"] for c in sink.checkpoints if c.closes] == ["waiting", "triggered"]


SEEDS = (
    "CHECKPOINT_WAITING: missing=['p2_bdl_box_scores']",
    "CHECKPOINT_POST_TRANSACTION: should_trigger=False",
)


def test_the_plans_words_find_their_lines(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Both as they are in the plan, with nothing before or between.

    And each line names whose it is after them.
    """
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False,
            completed=FIVE,
            triggered=False,
            expected=[*FIVE, "p2_bdl_box_scores"],
        )
    found = [message for message in messages(sink) if message.startswith(SEEDS)]
    assert [message.partition(":")[0] for message in found] == [
        "CHECKPOINT_POST_TRANSACTION",
        "CHECKPOINT_WAITING",
    ]
    assert all(message.endswith(WHOSE) for message in found)


# What a delivery may do, and how it ended.
ENDINGS: dict[DeliveryOutcome, Callable[[Any], None]] = {
    DeliveryOutcome.WAITING: lambda d: d.post_transaction(
        should_trigger=False, completed=FIVE[1:], triggered=False
    ),
    DeliveryOutcome.TRIGGERED: lambda d: d.post_transaction(
        should_trigger=True, completed=FIVE, triggered=True
    ),
    DeliveryOutcome.ALREADY_TRIGGERED: lambda d: d.post_transaction(
        should_trigger=False, completed=FIVE, triggered=True
    ),
    DeliveryOutcome.STUCK: lambda d: d.post_transaction(
        should_trigger=False, completed=FIVE, triggered=False
    ),
    DeliveryOutcome.PREMATURE: lambda d: d.post_transaction(
        should_trigger=True, completed=[], triggered=True
    ),
    DeliveryOutcome.PARTIAL: lambda d: d.post_transaction(
        should_trigger=False, document={"_triggered": True, "_partial_completion": True}
    ),
    DeliveryOutcome.STARTED: lambda d: d.started(message_id="17"),
    DeliveryOutcome.NOT_STARTED: lambda d: d.not_started("Phase 3 data incomplete"),
    DeliveryOutcome.IGNORED: lambda d: d.ignored("no_data"),
    DeliveryOutcome.UNEXPECTED: lambda d: d.unexpected(),
    DeliveryOutcome.REJECTED: lambda d: d.rejected("no game_date"),
    DeliveryOutcome.FAILED: lambda d: d.failed(TimeoutError("5 s")),
    DeliveryOutcome.RETURNED_EARLY: lambda _: None,
    DeliveryOutcome.PROBED: lambda d: d.probed(None),
}


@pytest.mark.parametrize("outcome", DeliveryOutcome)
def test_the_closing_line_says_it_all(
    outcome: DeliveryOutcome, phase: Phase, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How it ended, by which revision, how long each step took; the lines are tied together.

    It reads back whole.
    """
    monkeypatch.setenv("K_REVISION", "phase2-orchestrator-00007-abc")
    with begin(CheckpointLogger(phase, sink, clock=SimulatedClock(NOW))) as delivery:
        delivery.took("read", 0.25)
        delivery.took("register", 0.5)
        delivery.took("read", 0.125)
        ENDINGS[outcome](delivery)
    *others, last = sink.checkpoints
    assert [line.closes for line in sink.checkpoints] == [False] * len(others) + [True]
    assert last.fields["outcome"] == outcome
    assert last.fields["step_ms"] == {"read": 375.0, "register": 500.0}
    assert {line.fields["revision"] for line in sink.checkpoints} == {
        "phase2-orchestrator-00007-abc"
    }
    assert [
        name
        for line in others
        for name in ("outcome", "step_ms", "expected_hash")
        if name in line.fields
    ] == []
    entries = [json.loads(json_line(line)) for line in sink.checkpoints]
    common = {"id": last.fields["delivery"], "producer": "orchestrator_resilience"}
    assert [entry["logging.googleapis.com/operation"] for entry in entries] == [
        {**common, "first": line is sink.checkpoints[0], "last": line is last}
        for line in sink.checkpoints
    ]
    assert [Checkpoint.from_json(entry) for entry in entries] == sink.checkpoints


@pytest.mark.parametrize(
    ("start", "severity", "text"),
    [
        (
            lambda d: d.started(message_id="17"),
            Severity.INFO,
            "the next phase was started by message 17",
        ),
        (lambda d: d.started(), Severity.INFO, "the next phase was started"),
        (
            lambda d: d.not_started("Phase 3 data incomplete"),
            Severity.ERROR,
            "Phase 3 data incomplete",
        ),
        (lambda d: d.not_started(TimeoutError("5 s")), Severity.ERROR, "TimeoutError: 5 s"),
    ],
)
def test_whether_the_next_phase_was_started(
    start: Callable[[Any], None],
    severity: Severity,
    text: str,
    checkpoints: CheckpointLogger,
    sink: RecordingSink,
) -> None:
    """The line closes the delivery, and says as well what the transaction did.

    Without one it is alone.
    """
    for is_decided in (True, False):
        with begin(checkpoints) as delivery:
            if is_decided:
                delivery.post_transaction(should_trigger=True, completed=FIVE, triggered=True)
            start(delivery)
        last = sink.checkpoints[-1]
        assert (last.severity, last.closes, last.text) == (
            severity,
            True,
            f"{text} {WHOSE.strip()}",
        )
        assert last.fields.get("should_trigger") is (True if is_decided else None)
        assert last.fields.get("reason") == (text if severity is Severity.ERROR else None)


def test_a_refused_start_that_is_raised_on_is_said_once(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The error that leaves the block is the one that was given as the reason.

    Another one is a failure of its own.
    """
    reason = ValueError("the gate is closed")

    def deliver(raised: Exception) -> None:
        with begin(checkpoints) as delivery:
            delivery.not_started(reason)
            raise raised

    for raised, kinds in (
        (reason, ["NOT_STARTED"]),
        (KeyError("another"), ["NOT_STARTED", "FAILED"]),
    ):
        before = len(sink.checkpoints)
        with pytest.raises(type(raised)):
            deliver(raised)
        assert sink.kinds()[before + 1 :] == kinds


def test_a_line_of_an_older_version_is_read() -> None:
    """It has none of the fields of the closing line."""
    entry = {
        "severity": "INFO",
        "message": "CHECKPOINT_WAITING: missing=['p2_bdl_box_scores']: 2026-02-09 5/6 complete",
        "time": NOW.isoformat(),
        "checkpoint": "CHECKPOINT_WAITING",
        "schema": 1,
        "closes": True,
        "missing": ["p2_bdl_box_scores"],
        "delivery": "d",
        "sequence": 3,
    }
    text = "missing=['p2_bdl_box_scores']: 2026-02-09 5/6 complete"
    fields = {"missing": ["p2_bdl_box_scores"], "delivery": "d", "sequence": 3}
    assert Checkpoint.from_json(entry) == Checkpoint(
        CheckpointKind.WAITING, Severity.INFO, NOW, text, fields, closes=True
    )


@given(st.lists(st.text(), max_size=6), st.lists(st.text(), max_size=6), st.randoms())
def test_two_lists_have_one_hash_if_they_have_the_same_names(
    one: list[str], other: list[str], rng: Any
) -> None:
    """In whatever order, and however often a name is there."""
    shuffled = rng.sample(one, len(one))
    assert hash_of_names(one) == hash_of_names([*shuffled, *one])
    assert (hash_of_names(one) == hash_of_names(other)) == (set(one) == set(other))


def test_the_hash_is_of_the_list_that_was_compared(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """So that two deployments that wait for different lists are distinguished.

    It is the same on every machine.
    """
    for expected in (None, [*FIVE[1:], "BigDataBallPbpProcessor"], [*FIVE, "p2_bdl_box_scores"]):
        with begin(checkpoints) as delivery:
            delivery.post_transaction(
                should_trigger=False, completed=[], triggered=False, expected=expected
            )
    hashes = [c.fields["expected_hash"] for c in sink.checkpoints if c.closes]
    assert hashes == ["da47321ebb99", "da47321ebb99", hash_of_names([*FIVE, "p2_bdl_box_scores"])]
    assert hashes[0] != hashes[2]


def test_a_time_that_is_none_is_counted(checkpoints: CheckpointLogger, sink: RecordingSink) -> None:
    """The closing line comes all the same, with the steps that could be read."""
    odd: Any = "0.1 s"
    with begin(checkpoints) as delivery:
        delivery.took("read", 0.001)
        delivery.took("register", odd)
        delivery.ignored("done")
    last = sink.checkpoints[-1].fields
    assert (last["step_ms"], last["dropped"]) == ({"read": 1.0}, 1)


def test_complete_and_untriggered_is_an_error_at_once(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The incident of February 2026 leaves an ERROR with the first delivery that sees it."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=FIVE, triggered=False)
    last = sink.checkpoints[-1]
    assert (last.kind, last.severity, last.closes) == (
        CheckpointKind.POST_TRANSACTION,
        Severity.ERROR,
        True,
    )
    assert last.message.startswith(
        "CHECKPOINT_POST_TRANSACTION: should_trigger=False triggered=False missing=[] "
    )
    assert last.message.endswith(
        f"completed={FIVE}: all are complete and _triggered is still unset {WHOSE}"
    )


def test_the_delivery_that_sets_the_flag_says_so(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """TRIGGERED closes it, at NOTICE; class names count as their processors."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=True,
            completed=[*FIVE[:1], "NbacTeamBoxscoreProcessor", *FIVE[2:]],
            triggered=True,
        )
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "TRIGGERED"]
    assert sink.checkpoints[-1].severity is Severity.NOTICE
    assert messages(sink)[-1] == f"CHECKPOINT_TRIGGERED: 5/5 complete, _triggered is set {WHOSE}"


def test_triggered_though_somebody_is_missing_is_a_warning(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """What counting to five did in February."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=True, completed=[*FIVE[:4], "p2_nbacom_schedule"], triggered=True
        )
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "TRIGGERED"]
    assert sink.checkpoints[1].severity is Severity.WARNING
    assert messages(sink)[1].endswith(f": _triggered is set although somebody is missing {WHOSE}")


def test_a_game_date_may_be_a_datetime(checkpoints: CheckpointLogger, sink: RecordingSink) -> None:
    """Firestore and BigQuery hand them out; the archive looks for the date."""
    with checkpoints.delivery(
        processor="p2_odds_game_lines", game_date=NOW, event_id="1"
    ) as delivery:
        delivery.ignored("done")
    assert {c.fields["game_date"] for c in sink.checkpoints} == {"2026-02-10"}


def test_a_delivery_can_be_entered_again(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """A retry within the process is closed like the first attempt."""
    delivery = begin(checkpoints)
    for _ in range(2):
        with delivery:
            pass
    assert sink.kinds() == ["RECEIVED", "IGNORED"] * 2


def test_concurrent_losses_are_said_once(phase: Phase) -> None:
    """Two threads that write at once do not both report what was lost before."""
    inside = threading.Barrier(2)
    dropped: list[int] = []

    def sink(checkpoint: Checkpoint) -> None:
        inside.wait(10)
        dropped.append(checkpoint.fields.get("dropped", 0))

    checkpoints = CheckpointLogger(phase, sink)
    checkpoints.count_dropped(3, OSError("full"))
    checkpoint = Checkpoint(CheckpointKind.IGNORED, Severity.INFO, NOW, "text", {})
    threads = [threading.Thread(target=checkpoints.write, args=(checkpoint,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(dropped) == [0, 3]
    assert checkpoints.dropped == 0


def test_without_a_stdout_nothing_is_raised(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon has none; the lines are lost, and counted."""
    monkeypatch.setattr(sys, "stdout", None)
    checkpoints = CheckpointLogger(phase)
    with begin(checkpoints):
        pass
    assert checkpoints.dropped == 2


def test_each_line_is_flushed() -> None:
    """What was left before a process is killed can be read.

    RECEIVED without a closing line is a death.
    """
    program = (
        "import os, signal\n"
        "from orchestrator_resilience import CheckpointLogger, load_phase\n"
        "with CheckpointLogger(load_phase('phase2')).delivery(processor='x', "
        "game_date='2026-02-09', event_id='1'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert [json.loads(line)["checkpoint"] for line in done.stdout.splitlines()] == [
        "CHECKPOINT_RECEIVED"
    ]


def test_unexpected_are_listed_and_never_counted(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Log what is there, not what was hoped for."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False, completed=[*FIVE[1:], "p2_nbacom_schedule"], triggered=True
        )
    post = sink.checkpoints[1].fields
    assert (post["completed"], post["missing"], post["unexpected"]) == (
        FIVE[1:],
        FIVE[:1],
        ["p2_nbacom_schedule"],
    )


def test_every_checkpoint_carries_what_is_known(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Identity, trace, order and elapsed time are on each line."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    with begin(checkpoints, correlation_id="c", delivery_attempt=2, traceparent=trace) as delivery:
        delivery.ignored("nothing to do")
    for number, checkpoint in enumerate(sink.checkpoints, 1):
        fields = dict(checkpoint.fields)
        assert fields.pop("elapsed_ms") >= 0
        assert len(fields.pop("delivery")) == 16
        assert fields == {
            "phase": "phase2",
            "game_date": "2026-02-09",
            "processor": "p2_nbacom_boxscores",
            "raw_processor": "NbacPlayerBoxscoreProcessor",
            "event_id": "17",
            "correlation_id": "c",
            "delivery_attempt": 2,
            "trace": "a" * 32,
            "span": "b" * 16,
            "sequence": number,
            **({"outcome": "ignored"} if checkpoint.closes else {}),
        }
        assert checkpoint.at == NOW


def test_what_the_block_raises_leaves_it_with_its_chains(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """FAILED names the error class and both chains of causes, and the error goes on."""

    def transact() -> None:
        try:
            try:
                raise TimeoutError("deadline of 5 s")  # noqa: TRY301 (the point is the chain)
            except TimeoutError:
                raise KeyError("begin")  # noqa: B904 (the cause is to be in __context__ alone)
        except KeyError as error:
            raise ValueError("Failed to commit transaction in 5 attempts.") from error

    with pytest.raises(ValueError, match="5 attempts"), begin(checkpoints):
        transact()
    failed = sink.checkpoints[-1]
    assert (
        failed.message
        == f"CHECKPOINT_FAILED: ValueError: Failed to commit transaction in 5 attempts. {WHOSE}"
    )
    assert failed.fields["error_class"] == "ValueError"
    assert failed.fields["causes"] == ["KeyError: 'begin'", "TimeoutError: deadline of 5 s"]
    assert failed.closes


def test_a_failed_delivery_names_its_steps(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Each failed write is listed with its own error."""
    with pytest.raises(DeliveryError), begin(checkpoints):
        raise DeliveryError(
            {"register": OSError("disk full"), "append_completion": TimeoutError("slow")}
        )
    assert sink.checkpoints[-1].fields["steps"] == ["register", "append_completion"]
    assert sink.checkpoints[-1].fields["causes"] == ["OSError: disk full", "TimeoutError: slow"]


@pytest.mark.parametrize("place", ["itself", "its cause"])
def test_an_error_whose_text_cannot_be_had_is_named(
    checkpoints: CheckpointLogger, sink: RecordingSink, place: str
) -> None:
    """FAILED is left all the same: without it a live process would look dead."""

    class Odd(Exception):  # noqa: N818 (any exception)
        def __str__(self) -> str:
            raise RuntimeError

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    error = Odd() if place == "itself" else ValueError("x")
    error.__cause__ = Odd()
    with pytest.raises((Odd, ValueError)), begin(checkpoints):
        raise error
    assert sink.checkpoints[-1].kind is CheckpointKind.FAILED
    assert sink.checkpoints[-1].fields["causes"] == ["Odd"]


def test_a_groups_members_are_causes(checkpoints: CheckpointLogger, sink: RecordingSink) -> None:
    """What ran concurrently and failed is listed one by one."""
    with pytest.raises(ExceptionGroup), begin(checkpoints):
        raise ExceptionGroup("two", [TimeoutError("x"), OSError("y")])
    assert sink.checkpoints[-1].fields["causes"] == ["TimeoutError: x", "OSError: y"]


def test_causes_that_go_round_in_a_circle_end(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Exceptions can be each other's cause."""
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    with pytest.raises(ValueError, match="one"), begin(checkpoints):
        raise one
    assert sink.checkpoints[-1].fields["causes"] == ["KeyError: 'other'"]


def test_a_delivery_that_says_nothing_is_closed_all_the_same(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The early return of the old code becomes visible."""
    with begin(checkpoints):
        pass
    last = sink.checkpoints[-1]
    assert (last.kind, last.severity, last.closes) == (
        CheckpointKind.IGNORED,
        Severity.WARNING,
        True,
    )


@pytest.mark.parametrize("status", ["no_data", "failed", "skipped"])
def test_of_what_completes_nothing_nothing_has_to_be_said(
    status: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """An early return for such a status is as it should be, and no WARNING."""
    with begin(checkpoints, status=status):
        pass
    last = sink.checkpoints[-1]
    assert (last.message, last.severity) == (
        f"CHECKPOINT_IGNORED: {status} completes nothing {WHOSE}",
        Severity.INFO,
    )
    assert last.fields["outcome"] == "ignored"


def test_an_error_that_is_swallowed_is_said_once(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """By the `except` that swallows it.

    If it is raised on, it is not said again, and another one is.
    """
    with begin(checkpoints) as delivery:
        delivery.failed(TimeoutError("5 s"))
    error, another = TimeoutError("5 s"), KeyError()

    def handle(raised: Exception) -> None:
        with begin(checkpoints) as delivery:
            delivery.failed(error)
            raise raised

    with pytest.raises(TimeoutError):
        handle(error)
    with pytest.raises(KeyError):
        handle(another)
    assert sink.kinds() == ["RECEIVED", "FAILED"] * 2 + ["RECEIVED", "FAILED", "FAILED"]
    assert sink.checkpoints[1].message == f"CHECKPOINT_FAILED: TimeoutError: 5 s {WHOSE}"
    assert sink.checkpoints[1].fields["error"] == "TimeoutError: 5 s"


EVENT = push_envelope("OddsApiPropsProcessor", "2026-02-09", NOW, message_id="17")
WRONG = push_envelope("OddsApiPropsProcessor", "2026-02-09", NOW, message_id="17", status="odd")
OTHERS = push_envelope(
    "-", "-", NOW, message_id="17", processor_name=None, job="props", ds="20260209"
)
NOBODYS = push_envelope("OddsApiPropsProcessor", "tomorrow", NOW, message_id="17")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (EVENT, "p2_odds_player_props 2026-02-09 success"),
        ({"id": "17", "data": EVENT}, "p2_odds_player_props 2026-02-09 success"),
        (
            WRONG,
            (
                "p2_odds_player_props 2026-02-09 status: 'odd' is none of success, partial, "
                "no_data, failed, skipped"
            ),
        ),
        (NOBODYS, "p2_odds_player_props game_date: Invalid RFC3339 encoded date"),
        (OTHERS, "message 17 processor_name: missing"),
        (
            {"message": {"messageId": "17", "publishTime": NOW, "data": "?"}},
            "message 17 message.data: not base64: Only base64 data is allowed",
        ),
        ({}, "an unreadable message message: missing: expected a Pub/Sub envelope with a message"),
        (None, "an unreadable message event: expected a CloudEvent or a dict, got NoneType"),
        (b"\xff", "an unreadable message event: expected a CloudEvent or a dict, got bytes"),
    ],
)
def test_each_event_is_a_delivery(
    event: object, text: str, checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Whatever of it can be read, and why not the rest.

    Whether it can be accepted is for the function to say.
    """

    @checkpoints.each_delivery
    def function(event: object, delivery: Any) -> object:
        delivery.post_transaction(should_trigger=False, document={}, expected=FIVE)
        return event

    assert function(event) is event
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "WAITING"]
    assert messages(sink)[0] == f"CHECKPOINT_RECEIVED: {text}"


def test_each_delivery_is_closed_however_the_function_ends(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """By a word of its own, by an error, or by a return without a word."""

    @checkpoints.each_delivery
    def function(event: dict[str, Any], delivery: Any) -> None:
        """Handle one event."""
        if event["id"] == "raises":
            raise KeyError
        if event["id"] == "rejects":
            delivery.rejected("no game_date")

    for way in ("returns", "rejects"):
        function({"id": way, "data": EVENT})
    with pytest.raises(KeyError):
        function({"id": "raises", "data": EVENT})
    assert function.__doc__ == "Handle one event."
    assert [c.fields["outcome"] for c in sink.checkpoints if c.closes] == [
        "returned_early",
        "rejected",
        "failed",
    ]
    assert len({c.fields["delivery"] for c in sink.checkpoints}) == 3
    rejected = sink.checkpoints[3].fields
    assert (rejected["field"], rejected["reason"]) == ("message", "no game_date")


def test_an_event_that_cannot_be_looked_at_is_delivered(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """The function gets it all the same."""

    class Odd(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            raise RuntimeError(key)

    function = checkpoints.each_delivery(lambda _, delivery: delivery.ignored("odd"))
    function(Odd())
    assert [c.message for c in sink.checkpoints][
        -1
    ] == "CHECKPOINT_IGNORED: odd (an unreadable message)"


def test_a_rejected_message_is_kept(checkpoints: CheckpointLogger, sink: RecordingSink) -> None:
    """REJECTED names the field and carries what was sent, on one line."""
    checkpoints.rejected(
        InvalidMessageError("game_date", "no date", event_id="17", raw='{"game_date":\n"x"}')
    )
    only = sink.checkpoints[0]
    assert (only.message, only.severity) == (
        'CHECKPOINT_REJECTED: game_date: no date in {"game_date":\\n"x"} (message 17)',
        Severity.ERROR,
    )
    assert only.fields["raw"] == '{"game_date":\\n"x"}'
    assert (only.fields["field"], only.fields["event_id"]) == ("game_date", "17")


def test_a_sink_that_fails_is_counted_and_said_later(phase: Phase) -> None:
    """A checkpoint never raises into its caller.

    The next line that gets through carries the loss.
    """
    written: list[Checkpoint] = []
    broken = True

    def sink(checkpoint: Checkpoint) -> None:
        if broken:
            raise BrokenPipeError
        written.append(checkpoint)

    checkpoints = CheckpointLogger(phase, sink)
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=[], triggered=False)
        assert checkpoints.dropped == 3
        broken = False
        delivery.ignored("done")
        delivery.ignored("done again")
    assert [c.fields.get("dropped") for c in written] == [3, None]
    assert checkpoints.dropped == 0


@pytest.mark.parametrize("completed", [None, 7, [None], [[]], ["a", 3]])
def test_nonsense_from_the_caller_is_counted_and_not_raised(
    checkpoints: CheckpointLogger, sink: RecordingSink, completed: Any
) -> None:
    """The delivery matters more than its log."""
    with begin(checkpoints) as delivery:
        delivery.post_transaction(should_trigger=False, completed=completed, triggered=False)
    assert sink.kinds()[0] == "RECEIVED"
    assert sink.checkpoints[-1].closes
    if completed not in (["a", 3], [None]):  # these have a text that can be shown
        assert sink.checkpoints[-1].fields["dropped"] == 1
        assert "TypeError" in sink.checkpoints[-1].fields["dropped_because"]


@pytest.mark.parametrize("processor", [None, 7, "", "x\ny", object()])
def test_any_processor_name_begins_a_delivery(
    checkpoints: CheckpointLogger, sink: RecordingSink, processor: Any
) -> None:
    """The name comes from outside."""
    with checkpoints.delivery(processor=processor, game_date="x\ny", event_id="17") as delivery:
        delivery.unexpected()
        delivery.ignored("done")
    assert [c for c in sink.checkpoints if not c.message.isprintable()] == []
    assert sink.checkpoints[-1].closes


def test_the_switch_silences_the_checkpoints(
    phase: Phase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CHECKPOINTS_ENABLED=false: no line, and everything else goes on."""
    monkeypatch.setenv("CHECKPOINTS_ENABLED", "false")
    with begin(CheckpointLogger(phase)) as delivery:
        delivery.post_transaction(should_trigger=True, completed=FIVE, triggered=True)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("CHECKPOINTS_ENABLED", "perhaps")
    with pytest.raises(ConfigurationError, match="CHECKPOINTS_ENABLED"):
        CheckpointLogger(phase)


def test_one_json_object_a_line_with_cloud_loggings_fields(
    phase: Phase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal, stdout gets what Cloud Logging parses."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "nba")
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    with begin(CheckpointLogger(phase, clock=SimulatedClock(NOW)), traceparent=trace) as delivery:
        delivery.ignored("done")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["severity"] == "INFO"
    assert first["message"] == "CHECKPOINT_RECEIVED: p2_nbacom_boxscores 2026-02-09"
    assert first["time"] == "2026-02-10T07:00:00+00:00"
    assert first["schema"] == 1
    assert first["logging.googleapis.com/trace"] == f"projects/nba/traces/{'a' * 32}"
    assert first["logging.googleapis.com/spanId"] == "b" * 16
    assert first["logging.googleapis.com/labels"] == {
        "phase": "phase2",
        "game_date": "2026-02-09",
        "processor": "p2_nbacom_boxscores",
    }
    assert first["logging.googleapis.com/insertId"] != second["logging.googleapis.com/insertId"]


def test_a_line_is_one_write(phase: Phase) -> None:
    """functions-framework parses each write as one object."""
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    with begin(CheckpointLogger(phase, json_lines(Stream()))) as delivery:
        delivery.post_transaction(should_trigger=False, completed=["a\nb" * 1000], triggered=False)
    assert len(writes) == 3
    assert all(w.endswith("\n") and w.count("\n") == 1 for w in writes)


def test_threads_do_not_mix_their_lines(phase: Phase) -> None:
    """8 threads deliver at once through one logger, on a stream that takes a text in pieces."""

    class InPieces(io.StringIO):
        def write(self, text: str) -> int:
            for start in range(0, len(text), 200):
                super().write(text[start : start + 200])
                time.sleep(0)  # another thread's turn
            return len(text)

    stream = InPieces()
    checkpoints = CheckpointLogger(phase, json_lines(stream), enabled=True)
    everybody_is_there = threading.Barrier(8)

    def deliver(thread: int) -> None:
        everybody_is_there.wait()
        for number in range(50):
            processor, event = FIVE[number % 5], f"{thread}-{number}"
            with checkpoints.delivery(
                processor=processor, game_date="2026-02-09", event_id=event
            ) as delivery:
                delivery.took(event, 1.0)
                delivery.post_transaction(
                    should_trigger=False, completed=[processor], triggered=False
                )

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(deliver, range(8)))
    deliveries: dict[str, list[tuple[Any, ...]]] = {}
    for line in map(json.loads, stream.getvalue().splitlines()):
        fields = ("checkpoint", "sequence", "event_id", "processor", "completed", "step_ms")
        deliveries.setdefault(line["delivery"], []).append(tuple(map(line.get, fields)))
    assert sorted(deliveries.values(), key=str) == sorted(
        (
            [
                ("CHECKPOINT_RECEIVED", 1, event, name, None, None),
                ("CHECKPOINT_POST_TRANSACTION", 2, event, name, [name], None),
                ("CHECKPOINT_WAITING", 3, event, name, [name], {event: 1000.0}),
            ]
            for number, name in enumerate(FIVE * 10)
            for event in (f"{thread}-{number}" for thread in range(8))
        ),
        key=str,
    )


def test_text_for_people(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets the message, coloured by severity unless NO_COLOR is set."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def printed(stream: io.StringIO) -> str:
        with begin(CheckpointLogger(phase, terminal_lines(stream), clock=SimulatedClock(NOW))):
            pass
        return stream.getvalue().splitlines()[-1]

    text = f"CHECKPOINT_IGNORED: the delivery ended without a word about its transaction {WHOSE}"
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert printed(Terminal()) == f"02-10 07:00:00Z \033[33m{text}\033[0m"
    assert printed(io.StringIO()) == f"02-10 07:00:00Z {text}"
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(Terminal()) == f"02-10 07:00:00Z {text}"


def test_the_default_sink_follows_stdout(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    """A terminal gets text, everything else JSON."""
    for is_terminal, start in ((True, "02-10"), (False, "{")):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda answer=is_terminal: answer)
        monkeypatch.setattr(sys, "stdout", stream)
        with begin(CheckpointLogger(phase, default_sink(), clock=SimulatedClock(NOW))):
            pass
        assert stream.getvalue().startswith(start)


def test_stdlib_logging_gets_json_fields(phase: Phase, caplog: pytest.LogCaptureFixture) -> None:
    """Handlers of google.cloud.logging find what they look for, and may destroy what they get."""
    logger = logging.getLogger("test.checkpoints")
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    with begin(CheckpointLogger(phase, stdlib_logging(logger)), traceparent=trace) as delivery:
        delivery.post_transaction(should_trigger=False, completed=FIVE, triggered=False)
    received, stuck = (record.__dict__ for record in caplog.records)
    assert (received["levelname"], stuck["levelname"]) == ("INFO", "ERROR")
    assert received["message"] == "CHECKPOINT_RECEIVED: p2_nbacom_boxscores 2026-02-09"
    assert received["json_fields"]["event_id"] == "17"
    assert not received["json_fields"].keys() & {"severity", "message", "time"}
    assert received["trace"] == "a" * 32
    assert received["labels"]["phase"] == "phase2"
    with begin(CheckpointLogger(phase, stdlib_logging(logger))):
        pass
    assert not hasattr(caplog.records[-1], "trace"), "the handler infers one where none is given"


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
    max_leaves=20,
)


@given(_values)
def test_any_value_becomes_one_line_of_json(value: object) -> None:
    """Odd values are shown in some form; they never break the line, the JSON or the terminal."""
    checkpoint = Checkpoint(
        CheckpointKind.IGNORED, Severity.INFO, NOW, "text", {"value": plain(value)}
    )
    line = json_line(checkpoint)
    assert line.count("\n") == 1
    assert line.isascii()
    assert Checkpoint.from_json(json.loads(line)) == checkpoint


def test_values_are_bounded() -> None:
    """A line stays far below the 256 KB of a log entry."""
    deep: list[object] = []
    for _ in range(1000):
        deep = [deep]
    assert len(json.dumps(plain(deep))) < 2000
    assert plain(10**5000) == "an integer of 16610 bits"
    assert plain(math.inf) == "inf"
    assert len(plain("x" * 10_000)) < 1100
    assert plain([list(range(1000))] * 1001) == [[*range(50)]] * 1000
    large = Checkpoint(
        CheckpointKind.IGNORED,
        Severity.INFO,
        NOW,
        "text",
        {"event_id": "1", "x": [["y" * 900] * 50] * 9},
    )
    assert len(json_line(large)) < 5000
    assert json.loads(json_line(large))["left_out"] == ["x"]
    assert json.loads(json_line(large))["event_id"] == "1"
    assert one_line("a\x1b[31m\u2028\ud800b") == "a\\x1b[31m\\u2028\\ud800b"


_named = st.sets(
    st.sampled_from([f"p2_processor_{n}" for n in range(1500)] + [*FIVE, "x" * 700, "o'clock"])
)


@few(40)
@given(_named, _named | st.just(frozenset(f"p2_processor_{n}" for n in range(1500))))
@example({f"p2_processor_{n}" for n in range(39)}, {f"p2_processor_{n}" for n in range(40)})
@example({f"p2_processor_{n}" for n in range(58)}, {f"p2_processor_{n}" for n in range(59)})
def test_however_many_are_expected_the_missing_are_said_first(
    completed: set[str], expected: frozenset[str]
) -> None:
    """Each by its name in text and fields, as far as an entry holds them.

    What is cut has its number beside it.
    """
    sink = RecordingSink()
    with begin(CheckpointLogger(load_phase("phase2"), sink)) as delivery:
        delivery.post_transaction(
            should_trigger=False, completed=completed, triggered=False, expected=expected
        )
    post = sink.checkpoints[1]
    lists = {
        "missing": expected - completed,
        "completed": expected & completed,
        "expected": expected,
    }
    for name, names in lists.items():
        assert post.fields[name] == [one_line(one) for one in sorted(names)[:1000]]
        assert post.fields.get(f"{name}_count", len(names)) == len(names)
        assert (f"{name}_count" in post.fields) == (len(names) > 1000)
        assert whole_list(post, name) in (names, None)
    missing = sorted(one_line(name, 200) for name in lists["missing"])
    assert post.text.startswith(f"should_trigger=False triggered=False missing={missing[:1000]}")
    if missing:
        assert sink.checkpoints[2].text.startswith(f"missing={missing[:1000]}")
    for checkpoint in sink.checkpoints:
        line = json_line(checkpoint)
        assert len(line) < 256_000
        read = Checkpoint.from_json(json.loads(line))
        assert all(whole_list(read, name) in (names, None) for name, names in lists.items())


def test_of_a_line_that_no_entry_holds_no_list_is_whole(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Names of 1,000 characters, and many.

    The line is left, without its lists, and still says who is missing.
    """
    names = [f"{n}{'x' * 900}" for n in range(400)]
    with begin(checkpoints) as delivery:
        delivery.post_transaction(
            should_trigger=False, completed=[], triggered=False, expected=names
        )
    line = json_line(sink.checkpoints[1])
    assert len(line) < 5_000
    read = Checkpoint.from_json(json.loads(line))
    assert [whole_list(read, name) for name in ("missing", "expected", "completed")] == [
        None,
        None,
        frozenset(),
    ]
    assert read.text.startswith("should_trigger=False triggered=False missing=['0xxx")


class Falsy(list[Any]):
    """A sink, a stream and a file that are empty: what they are is not tested by their truth."""

    def __call__(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint."""
        self.append(checkpoint)

    write = list.append

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """Be a file."""
        return False


class FalsyLogger(logging.Logger):
    """A logger that is never true, and keeps its records."""

    def __init__(self) -> None:
        super().__init__("falsy")
        self.records: list[logging.LogRecord] = []

    def __bool__(self) -> bool:
        return False

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


def test_what_is_given_is_used_whether_it_is_true_or_not(
    phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty list of a class of its own is a sink, a stream or a logger like any other."""
    itself, stream, text, logger = Falsy(), Falsy(), Falsy(), FalsyLogger()
    takers: list[Sink] = [itself, json_lines(stream), terminal_lines(text), stdlib_logging(logger)]  # type: ignore[arg-type]
    for sink in takers:
        with begin(CheckpointLogger(phase, sink)) as delivery:
            delivery.ignored("done")
    assert (len(itself), len(stream), len(text), len(logger.records)) == (2, 2, 2, 2)
    assert capsys.readouterr().out == ""


class Hostile(Mapping[str, object]):
    """A mapping that cannot be looked at, in any way."""

    def __getitem__(self, name: str) -> object:
        raise RuntimeError(name)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("as above")

    def __len__(self) -> int:
        raise RuntimeError("as above")


def test_a_value_that_cannot_be_looked_at(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Is named by its type; it neither ends a delivery as it begins nor costs its lines."""
    odd: Any = Hostile()
    with checkpoints.delivery(processor="x", game_date=odd, event_id=odd, status=odd) as delivery:
        delivery.ignored("done")
    assert sink.kinds() == ["RECEIVED", "IGNORED"]
    assert {sink.checkpoints[-1].fields[name] for name in ("game_date", "event_id", "status")} == {
        "a Hostile"
    }


def test_importing_the_logger_imports_no_cloud_library() -> None:
    """Another orchestrator can use just the checkpoints, for a dozen modules of ours."""
    program = (
        # the namespace package `google` is there from the start
        "import sys; before = set(sys.modules)\n"
        "from orchestrator_resilience import CheckpointLogger\n"
        "ours = [m for m in sys.modules if m.startswith('orchestrator_resilience')]\n"
        "assert len(ours) <= 12, ours\n"
        "from orchestrator_resilience import Orchestrator\n"
        "cloud = {'google', 'rich', 'flask', 'functions_framework', 'requests', 'grpc'}\n"
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] in cloud))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "[]\n"


SINKS: list[Callable[[], Sink]] = [json_lines, terminal_lines, stdlib_logging]


@pytest.mark.parametrize("make", SINKS)
def test_every_sink_takes_every_kind(
    make: Callable[[], Sink], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the checkpoint, each sink renders it."""
    sink = make()
    for kind in CheckpointKind:
        for severity in Severity:
            sink(Checkpoint(kind, severity, NOW, "text", {}))
    printed = capsys.readouterr().out.splitlines() + [r.getMessage() for r in caplog.records]
    assert len([line for line in printed if "CHECKPOINT_" in line]) == len(CheckpointKind) * len(
        Severity
    )


class Refusing:
    """An object that refuses whatever is asked of it."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("refused")

    __str__ = __repr__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getitem__ = (
        __format__
    ) = _refuse


class RefusingText(str):
    """A text that does."""

    __slots__ = ()
    __str__ = __repr__ = __len__ = __hash__ = __eq__ = isprintable = Refusing._refuse


class RefusingError(Exception):
    """An error that does."""

    __str__ = Refusing._refuse


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _errors_in_a_circle() -> Exception:
    first, second = ValueError("first"), RefusingError("second")
    first.__cause__, second.__context__ = second, first
    return first


_ARGUMENTS = {
    "should_trigger",
    "completed",
    "triggered",
    "document",
    "duplicate",
    "attempts",
    "expected",
    "on_purpose",
}
_OPTIONAL = {"correlation_id", "delivery_attempt", "traceparent", "status"}


class Foreign(NamedTuple):
    """What is made in the test, because Hypothesis cannot look at it."""

    make: Callable[[], Any]


def made(said: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.make() if isinstance(value, Foreign) else value for name, value in said.items()
    }


_MAKERS: list[Callable[[], Any]] = [
    *(Refusing, lambda: RefusingText("x"), RefusingError, Hostile, _circle, _errors_in_a_circle),
    *(lambda: (1 // number for number in (1, 0)), lambda: 1j, lambda: {1, "x"}, lambda: int),
]
_foreign: st.SearchStrategy[Any] = values | st.sampled_from([Foreign(make) for make in _MAKERS])
_names = st.lists(st.sampled_from([*FIVE, "x"]))
_calls: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(
        st.just("post_transaction"),
        odd(
            {"should_trigger": False, "triggered": True, "completed": FIVE},
            _foreign | _names | st.just(True),
        ).map(lambda said: {name: value for name, value in said.items() if name in _ARGUMENTS}),
    ),
    st.tuples(
        st.just("took"),
        st.fixed_dictionaries({"step": _foreign, "seconds": _foreign | st.just(0.1)}),
    ),
    st.tuples(st.just("ignored"), st.fixed_dictionaries({"reason": _foreign})),
    st.tuples(st.sampled_from(["rejected", "failed"]), st.fixed_dictionaries({"error": _foreign})),
    st.tuples(st.just("unexpected"), st.just({})),
)
_DELIVERY = {"processor": FIVE[0], "game_date": "2026-02-09", "event_id": "17"}


@fuzzed(25)
@given(
    odd({**_DELIVERY, "correlation_id": "c", "status": "success"}, _foreign).map(
        lambda said: {
            **_DELIVERY,
            **{name: said[name] for name in said.keys() & (_DELIVERY.keys() | _OPTIONAL)},
        }
    ),
    st.lists(_calls, max_size=4),
)
@example({**_DELIVERY, "processor": Foreign(lambda: RefusingText("x"))}, [])
@example({**_DELIVERY, "traceparent": Foreign(Refusing)}, [])
def test_whatever_foreign_code_says_is_left_or_counted(
    said: dict[str, Any], calls: list[tuple[str, dict[str, Any]]]
) -> None:
    """Nothing is raised, and what is left are lines of JSON."""
    sink = RecordingSink()
    checkpoints = CheckpointLogger(load_phase("phase2"), sink, enabled=True)
    with checkpoints.delivery(**made(said)) as delivery:
        for method, arguments in calls:
            getattr(delivery, method)(**made(arguments))
    checkpoints.each_delivery(lambda event, delivery: None)(made(said)["event_id"])  # noqa: ARG005 (a function of both)
    lines = check_lines("".join(json_line(one) for one in sink.checkpoints))
    dropped = checkpoints.dropped + sum(line.get("dropped", 0) for line in lines)
    assert dropped or sink.kinds()[0] == "RECEIVED"
    assert dropped or any(line["closes"] for line in lines)


def _fails(*_: object) -> Any:
    raise ValueError


# such as pandas' own
NOT_A_TIME: Any = type("NaT", (datetime,), {"date": _fails, "isoformat": _fails})
UNSEEN: Any = type("Unseen", (), {"__repr__": _fails, "__class__": property(_fails)})


ODD_USES: dict[str, tuple[dict[str, Any], Callable[[Any], None]]] = {
    "a date that is none": ({"game_date": NOT_A_TIME(2026, 2, 9)}, lambda d: d.ignored("x")),
    "a date that cannot be looked at": ({"game_date": UNSEEN()}, lambda d: d.ignored("x")),
    "a status that is a list": ({"status": ["x"]}, lambda _: None),
    "no reason": ({}, lambda d: d.ignored(None)),
    "a reason that is an error": ({}, lambda d: d.ignored(ValueError("x"))),
    "a reason that cannot be looked at": ({}, lambda d: d.ignored(UNSEEN())),
    "an imaginary time": ({}, lambda d: d.took("a", 1j)),
    "no processor": ({"processor": None, "event_id": None}, lambda d: d.unexpected()),
}


@pytest.mark.parametrize("use", ODD_USES)
def test_an_odd_value_takes_no_closing_line(
    checkpoints: CheckpointLogger, sink: RecordingSink, use: str
) -> None:
    """A delivery that ended is closed, whatever was said of it; without that it would have died."""
    known, odd_use = ODD_USES[use]
    with checkpoints.delivery(
        **{"processor": "x", "game_date": "2026-02-09", "event_id": "1", **known}
    ) as delivery:
        odd_use(delivery)
    assert [line.closes for line in sink.checkpoints] == [False, True]


def test_what_is_rejected_may_be_any_error(
    checkpoints: CheckpointLogger, sink: RecordingSink
) -> None:
    """Such as the one that an orchestrator's own parser raised."""
    errors: tuple[Any, ...] = ("no date", ValueError("no date"))
    for error in errors:
        checkpoints.rejected(error)
    texts = [
        "message: no date (an unreadable message)",
        "message: ValueError('no date') (an unreadable message)",
    ]
    assert [line.text for line in sink.checkpoints] == texts
