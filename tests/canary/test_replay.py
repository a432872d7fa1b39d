"""`canary replay`: a file of messages in, verdicts out."""

import json
import re
from base64 import b64decode
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.commands import cli
from canary.playback.replay import _read
from orchestrator_resilience import Completion, ConfigurationError, InvalidMessageError, Phase
from orchestrator_resilience.testing import push_envelope
from tests.proof.inputs import ENVELOPE, PHASE, fuzzed, mutated, or_error

EXAMPLE = Path(__file__).parents[2] / "examples" / "messages.jsonl"
DONE = datetime.fromisoformat("2026-02-10T06:41:00Z")


_keys = st.sampled_from(["message", "data", "publishTime", "messageId", "time"])
_scalars = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([DONE.isoformat(), "\ud800"])
)


def verdicts(printed: str) -> dict[str, str]:
    return dict(re.findall(r"^phase2 (\S+) ([A-Z_]+): ", printed, re.MULTILINE))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_shipped_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A renamed class, a failure that is mended late, an impossible date, unexpected, a day off."""

    def alerts(printed: str) -> list[tuple[str, ...]]:
        return re.findall(r"─ (\w+) (.{17}) ─+╮\n│ \S \w+ · (\S+) · ", printed)

    assert cli.main(["replay", str(EXAMPLE), "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr().out
    assert alerts(printed) == [
        ("OPENED", "2026-01-22 17:00Z", "2026-01-21"),
        ("OPENED", "2026-01-23 17:00Z", "2026-01-22"),
        ("RESOLVED", "2026-01-23 18:30Z", "2026-01-22"),
    ]
    assert verdicts(printed) == {
        "2026-01-20": "TRIGGERED",
        "2026-01-21": "INCOMPLETE",
        "2026-01-22": "TRIGGERED",
        "2026-01-23": "IDLE",
    }
    assert "CHECKPOINT_REJECTED: game_date: Invalid RFC3339 encoded date in" in printed
    assert "the nearest expected name is p2_nbacom_boxscores" in printed


def write(path: Path, messages: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(m) + "\n" for m in messages))
    return path


def five(phase: Phase, day: str, at: datetime = DONE) -> list[dict[str, Any]]:
    return [
        push_envelope(p, day, at + timedelta(seconds=n), message_id=f"{day}{n}")
        for n, p in enumerate(sorted(phase.expected))
    ]


def test_messages_are_delivered_in_the_order_of_their_publish_times(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pulled file is in no order; a healthy one exits with 0."""
    file = write(
        tmp_path / "m.jsonl", [*reversed(five(phase, "2026-02-09")), *five(phase, "2026-02-09")]
    )
    assert cli.main(["replay", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.index(" 1/5 ") < printed.index(" 4/5 ")
    assert printed.count("CHECKPOINT_TRIGGERED") == 2, (
        "the message that set the flag says so each time it comes"
    )


def test_pulled_messages_are_taken_as_they_are(tmp_path: Path, phase: Phase) -> None:
    """`gcloud pubsub subscriptions pull --format=json` puts an ackId around the same message."""
    pulled = [
        {"ackId": "x", "message": m["message"], "deliveryAttempt": 1}
        for m in five(phase, "2026-02-09")
    ]
    assert cli.main(["replay", str(write(tmp_path / "m.jsonl", pulled))]) == 0


@pytest.mark.parametrize(
    "form", ["array", "array of one line", "messages alone", "CloudEvents", "delivered and decoded"]
)
def test_other_forms_of_a_file(tmp_path: Path, phase: Phase, form: str) -> None:
    """The output of `gcloud … pull --format=json`, bare messages and events can be replayed."""
    sent = five(phase, "2026-02-09")
    pulled = [{"ackId": "x", "message": m["message"]} for m in sent]
    alone = [m["message"] for m in sent]
    around = {"specversion": "1.0", "time": DONE.isoformat()}
    events = [
        {**around, "data": {"message": {**message, "publishTime": None}}} for message in alone
    ]
    decoded = [
        {**m, "publish_time": DONE.isoformat(), "data": json.loads(b64decode(m["data"]))}
        for m in alone
    ]
    text = {
        "array": json.dumps(pulled, indent=2),
        "array of one line": json.dumps(pulled),
        "messages alone": "\n".join(map(json.dumps, alone)),
        "CloudEvents": "\n".join(map(json.dumps, events)),
        "delivered and decoded": json.dumps(decoded),
    }[form]
    (tmp_path / "m.json").write_text(text)
    assert cli.main(["replay", str(tmp_path / "m.json")]) == 0


_ONE = json.dumps(ENVELOPE)
_files = mutated(
    f"{_ONE}\n{json.dumps(ENVELOPE['message'])}\n".encode(),
    json.dumps([ENVELOPE, {"data": ENVELOPE}], indent=1).encode(),
    json.dumps({"id": "1", "time": "2026-02-10T07:15:00Z", "data": ENVELOPE}).encode(),
)
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(_keys, inner), max_leaves=8
)


@fuzzed(25)
@given(_files | _json.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_messages_or_a_complaint(tmp_path: Path, data: bytes) -> None:
    """Each of its messages has a time and is the orchestrator's to judge, or the line is named."""
    file = tmp_path / "m.json"
    file.write_bytes(data)
    messages = or_error(ConfigurationError, lambda: _read(file))
    if isinstance(messages, ConfigurationError):
        assert str(messages).startswith(str(file))
        assert str(messages).isprintable(), ascii(str(messages))
        return
    for at, event in messages:
        assert at.tzinfo is not None
        or_error(InvalidMessageError, partial(Completion.from_event, event, PHASE))


@pytest.mark.parametrize(
    "command", ["check --data", "status --data", "demo --out", "replay --out x", "replay"]
)
def test_a_path_that_cannot_be_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the system's reason, and without a traceback."""
    assert cli.main([*command.split(), "x" * 300]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_until_ends_it_early(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its deadline a date that lacks somebody is only waiting."""
    file = write(tmp_path / "m.jsonl", five(phase, "2026-02-09")[:4])
    assert cli.main(["replay", str(file), "--until", "2026-02-10T16:45:00Z"]) == 0
    assert verdicts(capsys.readouterr().out) == {"2026-02-09": "WAITING"}
    assert cli.main(["replay", str(file)]) == 1
    assert verdicts(capsys.readouterr().out) == {"2026-02-09": "INCOMPLETE"}


def test_a_date_far_in_the_future_is_not_orchestrator_expected(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error in one date does not make the playback last for years."""
    file = write(tmp_path / "m.jsonl", [*five(phase, "2026-02-09"), *five(phase, "2026-12-09")[:1]])
    assert cli.main(["replay", str(file)]) == 0
    assert verdicts(capsys.readouterr().out) == {"2026-02-09": "TRIGGERED", "2026-12-09": "WAITING"}


def test_a_backfill_of_an_old_date_is_judged_at_the_end(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in no look-back window, and in the table all the same."""
    file = write(tmp_path / "m.jsonl", five(phase, "2026-01-09")[:4])
    assert cli.main(["replay", str(file)]) == 1
    assert verdicts(capsys.readouterr().out) == {"2026-01-09": "INCOMPLETE"}


def test_nothing_happens_after_until(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is published later is not delivered, and before everything there is nothing to say."""
    file = write(tmp_path / "m.jsonl", five(phase, "2026-02-09"))
    assert cli.main(["replay", str(file), "--until", "2026-02-10T06:41:02Z"]) == 0
    printed = capsys.readouterr().out
    assert (printed.count("CHECKPOINT_RECEIVED"), verdicts(printed)) == (
        3,
        {"2026-02-09": "WAITING"},
    )


def test_messages_of_one_moment_stay_in_their_order(
    tmp_path: Path, phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the file."""
    names = sorted(phase.expected)
    same = [push_envelope(name, "2026-02-09", DONE, message_id=name) for name in names]
    assert cli.main(["replay", str(write(tmp_path / "m.jsonl", same))]) == 0
    assert re.findall(r"RECEIVED: (\S+)", capsys.readouterr().out) == names


def test_other_spellings_of_a_file_of_lines(tmp_path: Path, phase: Phase) -> None:
    """A byte order mark, CRLF, and line separators inside a JSON string."""
    lines = [
        json.dumps({**m, "note": "a\u2028b\x85c"}, ensure_ascii=False)
        for m in five(phase, "2026-02-09")
    ]
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert cli.main(["replay", str(tmp_path / "m.jsonl")]) == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "has no message"),
        ("{", "m.jsonl:1: not JSON"),
        ("\n[1]", "m.jsonl:2: message: missing"),
        ('{"message": 1}', "m.jsonl:1: message: missing"),
        (
            '{"message": {"data": ""}}',
            "m.jsonl:1: message.publishTime: not a time that can be: None",
        ),
        (
            '{"message": {"publishTime": "soon"}}',
            "m.jsonl:1: message.publishTime: not a time that can be: 'soon'",
        ),
        (
            '{"message": {"publishTime": "9999-12-31T23:59:59Z"}}',
            "m.jsonl:1: message.publishTime: not a time that",
        ),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused_by_its_line(
    tmp_path: Path, content: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is delivered."""
    file = tmp_path / "m.jsonl"
    file.write_text(content, errors="surrogateescape")
    assert cli.main(["replay", str(file)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the system's reason."""
    assert cli.main(["replay", str(tmp_path / "m.jsonl")]) == 2
    assert "m.jsonl: cannot be read" in capsys.readouterr().err


def test_of_several_phases_one_is_chosen(
    tmp_path: Path,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Messages do not say which table of phases.toml they are for."""
    from orchestrator_resilience.phase import BUNDLED_PHASES  # noqa: PLC0415 (used by this test alone)

    text = BUNDLED_PHASES.read_text("utf-8")
    (tmp_path / "own.toml").write_text(text + text.replace("phase2", "phase3"))
    monkeypatch.setenv("PHASES_FILE", str(tmp_path / "own.toml"))
    file = write(tmp_path / "m.jsonl", five(phase, "2026-02-09"))
    assert cli.main(["replay", str(file)]) == 2
    assert "--phase: say which of ['phase2', 'phase3']" in capsys.readouterr().err
    assert cli.main(["replay", str(file), "--phase", "phase3"]) == 0
