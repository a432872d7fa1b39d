"""Silences: what they cover, how they end, and how they are refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canary.commands import cli
from canary.commands.silence import add_silence
from canary.domain.incident import NotificationKind
from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.silence import Silence, parse_duration, people_ref, read_silences, silence_fields
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels
from canary.run import watch
from orchestrator_resilience import Phase
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import Document
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import SimulatedClock, push_envelope
from tests.proof.doubles import RecordingChannel
from tests.proof.inputs import AT, fuzzed, odd, silences, texts, values

PEOPLE = people_ref(DEFAULT_CANARY)
DAY = date(2026, 2, 9)
NOON = datetime(2026, 2, 10, 17, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WANTED = {"phase2": [DAY]}


@pytest.fixture
def late(orchestrator: Orchestrator, phase: Phase, clock: SimulatedClock) -> Orchestrator:
    """February 9 lacks its fifth processor; returns the orchestrator."""
    clock.now = datetime(2026, 2, 9, 23, tzinfo=UTC)
    for number, name in enumerate(sorted(phase.expected)[:4]):
        orchestrator.deliver(push_envelope(name, str(DAY), clock.now, message_id=str(number)))
    return orchestrator


def silence(
    stores: EmbeddedStores, lasting: timedelta, day: date = DAY, phase: str = "phase2"
) -> None:
    add_silence(
        stores.documents,
        DEFAULT_CANARY,
        phase=phase,
        first=day,
        last=day,
        reason="planned",
        expires_at=NOON + lasting,
        now=NOON,
    )


@pytest.mark.usefixtures("late")
def test_nobody_is_told_until_it_expires(stores: EmbeddedStores, phase: Phase) -> None:
    """A problem that outlasts its silence is told then."""
    silence(stores, HOUR)
    recorder = RecordingChannel()
    watch(stores, {"phase2": phase}, Channels(recorder), NOON, WANTED)
    watch(stores, {"phase2": phase}, Channels(recorder), NOON + HOUR - timedelta(seconds=1), WANTED)
    assert recorder.kinds == []
    watch(stores, {"phase2": phase}, Channels(recorder), NOON + HOUR, WANTED)
    assert recorder.kinds == [NotificationKind.OPENED]


@pytest.mark.usefixtures("late")
def test_other_dates_and_phases_are_told(stores: EmbeddedStores, phase: Phase) -> None:
    """A silence is about what it names."""
    silence(stores, HOUR, DAY - timedelta(days=1))
    silence(stores, HOUR, phase="phase3")
    recorder = RecordingChannel()
    watch(stores, {"phase2": phase}, Channels(recorder), NOON, WANTED)
    assert recorder.kinds == [NotificationKind.OPENED]


def test_that_it_is_over_is_told_in_spite_of_a_silence(
    stores: EmbeddedStores, phase: Phase, late: Orchestrator, clock: SimulatedClock
) -> None:
    """Who was told of the beginning is told of the end; no reminders in between."""
    recorder = RecordingChannel()
    watch(stores, {"phase2": phase}, Channels(recorder), NOON, WANTED)
    silence(stores, 9 * HOUR)
    watch(stores, {"phase2": phase}, Channels(recorder), NOON + 5 * HOUR, WANTED)
    clock.now = NOON + 6 * HOUR
    late.deliver(push_envelope(sorted(phase.expected)[4], str(DAY), clock.now, message_id="last"))
    for hours in (7, 8):
        watch(stores, {"phase2": phase}, Channels(recorder), NOON + hours * HOUR, WANTED)
    assert recorder.kinds == [NotificationKind.OPENED, NotificationKind.RESOLVED]


@pytest.mark.usefixtures("late")
def test_a_silence_is_shown_wherever_its_date_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """check, status and explain show it, as text and as JSON, where it covers a date shown."""
    data = ["--data", str(tmp_path / "stores"), "--now", "2026-02-10T17:00:00Z"]
    add = [
        "silence",
        "add",
        *data,
        str(DAY),
        "--for",
        "3d",
        "--reason",
        "All-Star\u202e\x1bbreak",
        "--by",
        "ada",
    ]
    assert cli.main(add) == 0
    silence_id = capsys.readouterr().out.split()[1]
    line = (
        "silenced: phase2 2026-02-09, until 2026-02-13 17:00Z: All-Star\\u202e\\x1bbreak (by ada)"
    )
    fields = {
        "id": silence_id,
        "phase": "phase2",
        "first": "2026-02-09",
        "last": "2026-02-09",
        "reason": "All-Star\\u202e\\x1bbreak",
        "expires_at": "2026-02-13T17:00:00Z",
        "by": "ada",
    }
    for command in (["check", "--dry-run"], ["status"], ["explain", str(DAY)]):
        cli.main([*command, *data])
        assert line in capsys.readouterr().out.splitlines()
        cli.main([*command, *data, "--json"])
        assert json.loads(capsys.readouterr().out)["silences"] == [fields]
    for command in (["status", "--days", "1"], ["explain", "2026-02-10"]):
        cli.main([*command, *data])
        assert "silenced" not in capsys.readouterr().out
        cli.main([*command, *data, "--json"])
        assert json.loads(capsys.readouterr().out)["silences"] == []


def test_people_who_add_at_once_lose_nothing(stores: EmbeddedStores) -> None:
    """Each silence stays."""
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda n: silence(stores, HOUR, DAY + timedelta(days=n)), range(5)))
    found = read_silences(stores.documents.get_all([PEOPLE])[PEOPLE])
    assert sorted(s.first for s in found) == [DAY + timedelta(days=n) for n in range(5)]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Added, listed, ended; an expired one is not listed."""
    data = ["--data", str(tmp_path), "--now", "2026-02-10T17:00:00Z"]
    where = f"in folder {tmp_path}"
    assert cli.main(["setup", "--data", str(tmp_path)]) == 0
    add = ["silence", "add", *data, "2026-02-09"]
    capsys.readouterr()
    assert cli.main([*add, "--to", "2026-02-11", "--for", "3d", "--reason", "All-Star\nbreak"]) == 0
    said = capsys.readouterr().out.splitlines()
    silence_id = said[0].split()[1]
    assert said[0].startswith(f"silence {silence_id} until 2026-02-13 17:00Z {where}; end it with ")
    assert said[1:] == ["it covers phase2 2026-02-09 to 2026-02-11: none of them is wrong yet"]
    assert cli.main([*add, "--for", "90m", "--reason", "short"]) == 0
    capsys.readouterr()
    assert (
        cli.main(["silence", "list", "--data", str(tmp_path), "--now", "2026-02-10T19:00:00Z"]) == 0
    )
    assert capsys.readouterr().out == (
        f"{silence_id}  phase2 2026-02-09 to 2026-02-11, until 2026-02-13 17:00Z: "
        "All-Star\\nbreak\n"
    )
    capsys.readouterr()
    assert cli.main(["silence", "end", silence_id, *data]) == 0
    assert capsys.readouterr().out == f"silence {silence_id} is over {where}\n"
    assert cli.main(["silence", "end", silence_id, *data]) == 2
    assert f"there is no silence '{silence_id}' to end" in capsys.readouterr().err
    assert (
        cli.main(["silence", "list", "--data", str(tmp_path), "--now", "2026-02-10T19:00:00Z"]) == 0
    )
    assert capsys.readouterr().out == f"no silence is in force {where}\n"


def test_the_command_in_json(stores: EmbeddedStores, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says, and of which stores."""
    stores.documents.merge(PEOPLE, {})
    data = ["--data", str(stores.folder), "--now", "2026-02-10T17:00:00Z", "--json"]
    store = {"folder": str(stores.folder)}

    def answer(*arguments: str) -> dict[str, Any]:
        assert cli.main([*arguments, *data]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert found.pop("store") == store
        return found

    added = answer("silence", "add", "2026-02-09", "--for", "1h", "--reason", "x", "--by", "ada")
    assert added["silence"]["expires_at"] == "2026-02-10T18:00:00Z"
    assert added["covers"] == "phase2 2026-02-09: none of them is wrong yet"
    assert answer("silence", "list") == {"silences": [added["silence"]]}
    assert answer("silence", "end", added["silence"]["id"]) == {"ended": added["silence"]["id"]}
    assert answer("silence", "list") == {"silences": []}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--for", "12h", "--reason", " "], "--reason: say why"),
        (["--for", "32d", "--reason", "x"], "--for: a silence lasts up to 31 days"),
        (
            ["--for", "1h", "--reason", "x", "--to", "2026-02-08"],
            "--to: 2026-02-08 is before 2026-02-09",
        ),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name of its option."""
    assert cli.main(["silence", "add", "--data", str(tmp_path), "2026-02-09", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_an_end_is_mandatory(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no silence for ever."""
    assert cli.main(["silence", "add", "2026-02-09", "--reason", "x"]) == 2
    assert "--for" in capsys.readouterr().err
    for text in ("0h", "12", "h", "-3d", "1w", ""):
        with pytest.raises(ValueError, match="is no duration"):
            parse_duration(text)


def test_what_cannot_be_read_silences_nothing(stores: EmbeddedStores) -> None:
    """A damaged entry is left out, the others count."""
    silence(stores, HOUR)
    stores.documents.merge(
        PEOPLE, {"silences": {"a": 7, "b": {"first": "soon"}, "c": {"first": "2026-02-09"}}}
    )
    assert len(read_silences(stores.documents.get_all([PEOPLE])[PEOPLE])) == 1


def test_an_end_that_no_silence_can_have(phase: Phase) -> None:
    """One that somebody wrote into the far future silences nothing."""
    now = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
    verdict = Verdict(
        kind=VerdictKind.UNTRIGGERED, phase=phase.name, game_date=date(2026, 2, 9), summary=""
    )
    ends = [now + timedelta(days=31), now + timedelta(days=365), datetime(2099, 12, 31, tzinfo=UTC)]
    day = verdict.game_date
    silences = [
        Silence(id="1", phase=phase.name, first=day, last=day, reason="x", expires_at=end)
        for end in ends
    ]
    assert [one.covers(verdict, now) for one in silences] == [True, False, False]


_SILENCE = {
    "first": "2026-02-09",
    "last": "2026-02-09",
    "phase": "phase2",
    "reason": "x",
    "expires_at": AT,
}


@fuzzed(50)
@given(silences | st.dictionaries(texts, odd(_SILENCE, values), max_size=3))
@example({"\x1f": _SILENCE})
def test_whatever_is_written_a_silence_is_one_line(fields: dict[str, object]) -> None:
    """Those that are kept are read again as the same."""
    read = read_silences(Document({"silences": fields}, "1"))
    assert all(f"{one.id} {one.text} {one.reason} {one.phase}".isprintable() for one in read), (
        ascii(read)
    )
    written = silence_fields({one.id: one for one in read})
    assert {one.id: one for one in read_silences(Document(written, "2"))} == {
        one.id: one for one in read
    }


def test_the_commands_read_the_memory_of_the_canary_that_is_deployed() -> None:
    """Unless another one is named."""
    substitutions = (Path(__file__).parents[2] / "cloudbuild.yaml").read_text("utf-8")
    assert f"\n  _CANARY: {DEFAULT_CANARY}\n" in substitutions
