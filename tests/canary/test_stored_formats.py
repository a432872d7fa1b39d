"""What an earlier version has stored is read: a copy of each format, in tests/canary/stored/.

A copy is never changed. Where the current one is no longer what is written, the format has changed:
it gets a new number (`FORMAT`, `SCHEMA`), and a new copy beside the old one.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canary.domain.incident import (
    DateMemory,
    Event,
    Incident,
    NotificationKind,
    Receipt,
    Sent,
)
from canary.domain.remembered import (
    FORMAT,
    Refusal,
    Runs,
    Unseen,
    is_readable,
    month_fields,
    read_month,
    read_runs,
    runs_fields,
)
from canary.domain.silence import (
    Acknowledgement,
    Silence,
    acknowledgement_fields,
    read_people,
    silence_fields,
)
from canary.domain.stages import CauseKind
from canary.domain.verdict import Level, VerdictKind
from orchestrator_resilience.checkpoints import (
    SCHEMA,
    Checkpoint,
    CheckpointKind,
    Severity,
    json_line,
)
from orchestrator_resilience.stores.base import Document

STORED = Path(__file__).with_name("stored")
DAY = date(2026, 2, 11)
AT = datetime(2026, 2, 12, 7, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)

RUNS = Runs(
    at=AT,
    reason="connection refused",
    judged_from={"phase2": DAY},
    open={"phase2": "2026-02"},
    refusals={"slack": Refusal("1a2b3c4d", AT, "Slack answered 404 no_service", said=True)},
    unseen=(Unseen(AT - HOUR, AT, "it did not run"),),
)
INCIDENT = Incident(
    kind=VerdictKind.UNTRIGGERED,
    level=Level.CRITICAL,
    opened_at=AT,
    causes=frozenset({CauseKind.EXPECTATION_DRIFT}),
    reminders={"slack": 2},
    reminded_at=AT + 8 * HOUR,
    events=(
        Event(
            what=NotificationKind.OPENED,
            at=AT,
            to=("slack",),
            unanswered=("log",),
            verdict=VerdictKind.UNTRIGGERED,
            causes=(CauseKind.EXPECTATION_DRIFT,),
            why="decided: no",
        ),
    ),
    receipts={
        "slack": Receipt(
            address="1a2b3c4d",
            verdicts=frozenset({VerdictKind.UNTRIGGERED}),
            level=Level.CRITICAL,
            sent=NotificationKind.REMINDER,
            at=AT + 8 * HOUR,
            heard=True,
            began=True,
        )
    },
)
MONTH = {
    DAY: DateMemory(
        verdict=VerdictKind.UNTRIGGERED,
        since=AT,
        complete_at=AT - HOUR,
        incidents=(INCIDENT,),
        sent={"slack": (Sent(NotificationKind.REMINDER, AT + 8 * HOUR),)},
    )
}
SILENCE = Silence(
    id="a1b2c3",
    phase="phase2",
    first=DAY,
    last=DAY,
    reason="maintenance",
    expires_at=AT + 12 * HOUR,
    by="ada",
)
ACKNOWLEDGEMENT = Acknowledgement(
    phase="phase2",
    game_date=DAY,
    at=AT,
    opened_at=AT,
    level=Level.CRITICAL,
    by="ada",
    note="deploying the list",
)
CHECKPOINT = Checkpoint(
    kind=CheckpointKind.WAITING,
    severity=Severity.INFO,
    at=AT,
    text="missing=['p2_odds_game_lines'] 4/5 complete",
    fields={
        "phase": "phase2",
        "game_date": "2026-02-11",
        "delivery": "0a1b2c3d",
        "sequence": 3,
        "outcome": "waiting",
    },
    closes=True,
)


def copy(name: str) -> Any:
    """Return a copy as it is in its file; a time is an object there."""
    return json.loads((STORED / name).read_text("utf-8"))


def stored(name: str) -> Document:
    """Return a copy as a store has it: its times are times."""
    text = (STORED / name).read_text("utf-8")
    return Document(json.loads(text, object_hook=_time_or_object), "1")


def as_copy(fields: object) -> Any:
    """Return what is written as its copy has it."""
    return json.loads(json.dumps(fields, default=lambda at: {"time": at.isoformat()}))


def _time_or_object(made: dict[str, Any]) -> Any:
    return datetime.fromisoformat(made["time"]) if made.keys() == {"time"} else made


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_what_a_canary_remembers_of_itself(number: int) -> None:
    """Its own document has the number of the format, for the months as well."""
    document = stored(f"canary_{number}.json")
    assert document.fields["format"] == number
    assert (is_readable(document), read_runs(document)) == (True, RUNS)


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_what_a_canary_remembers_of_a_month(number: int) -> None:
    """Each date is a text of JSON."""
    assert read_month(stored(f"month_{number}.json")) == MONTH


def test_what_people_said() -> None:
    """Without a number, which is the first format."""
    people = read_people(stored("people_1.json"))
    assert (people.silences, people.acknowledgements) == ((SILENCE,), (ACKNOWLEDGEMENT,))


@pytest.mark.parametrize("number", range(1, SCHEMA + 1))
def test_a_checkpoint(number: int) -> None:
    """Each line has the number."""
    line = copy(f"checkpoint_{number}.json")
    assert line["schema"] == number
    assert Checkpoint.from_json(line) == CHECKPOINT


def test_the_newest_copies_are_what_is_written() -> None:
    """Else the format has changed, and needs a number of its own."""
    said = silence_fields({SILENCE.id: SILENCE}) | acknowledgement_fields(None, ACKNOWLEDGEMENT)
    written = {
        f"canary_{FORMAT}.json": as_copy(runs_fields(RUNS)),
        f"month_{FORMAT}.json": as_copy(month_fields(None, MONTH)),
        "people_1.json": as_copy(said),
        f"checkpoint_{SCHEMA}.json": json.loads(json_line(CHECKPOINT)),
    }
    assert {name: copy(name) for name in written} == written
