"""What people and their browsers give: the phases file, variables, arguments, files of messages, requests, the page."""

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import flask
from hypothesis import strategies as st

import canary.sources
from canary.commands.cli import main
from canary.domain.history import RUNS, history_ref
from canary.domain.incident import REFUSALS
from canary.function import Canary
from canary.notify.channel import Channels
from canary.notify.heartbeat import Heartbeat
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine
from canary.notify.slack import SlackChannel
from canary.page.board import board
from canary.page.one_date import one_date
from canary.page.render import board_page, date_page
from canary.playback.replay import _read
from canary.run import overview, timeline_and_facts
from canary.settings import CanarySettings
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import ConfigurationError, InvalidMessageError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phases
from orchestrator_resilience.settings import Settings
from tests.fuzz.deliveries import ENVELOPE, environ_of
from tests.fuzz.inputs import (
    Check,
    Target,
    check_lines,
    check_text,
    mutated,
    mutated_text,
    or_error,
    pure,
    stored_values,
    texts,
)
from tests.hostile import DAY, PHASE, documents
from tests.hostile_runs import NOW, PHASES, Evidence, Stores, incidents, silences

# The phases file

_LONG = """
[phase2]
next_phase = "Phase 3"
next_phase_started_by = "x"
message_phase = "phase_2_raw"
firestore_collection = "phase2_completion"
bigquery_table = "p.nba_orchestration.phase_completions"
incomplete_by = "+1d 12:00"
timezone = "America/New_York"
partial_reasons = ["critical_plus_majority_*"]
others = ["p2_x_*"]
outcome_query = "SELECT @since, @until"
[phase2.processors]
p2_a = ["A"]
p2_b = { aliases = ["B"], since = 2026-02-01, until = 2026-03-01 }
[phase2.optional]
p2_c = []
"""


@contextmanager
def _phases_file() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        yield lambda data: _phases(Path(folder) / "phases.toml", data)


def _phases(file: Path, data: bytes) -> None:
    """A file is taken, and then can be used; or refused with its name."""
    file.write_bytes(data)
    phases = or_error(ConfigurationError, lambda: load_phases(file))
    if isinstance(phases, ConfigurationError):
        assert str(phases).startswith(f"{file}: ")
        return
    for phase in phases.values():
        assert phase.on(DAY).expected <= phase.expected
        assert phase.begins(DAY) < phase.deadline(DAY)
        assert phase.recent_dates(NOW, phase.history_dates)[-1] == phase.today(NOW)
        assert all(phase.canonical(name) == name and phase.is_known(name) for name in phase.expected)
        assert phase.nearest("P2Odd\x1b") in {None, *phase.expected}


# Variables

_VARIABLES = {
    "CHECKPOINTS_ENABLED": "false",
    "CANARY_ENABLED": "true",
    "PHASES_FILE": "phases.toml",
    "RESILIENCE_DATA_DIR": "data",
    "PHASE": "phase2",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/SECRET",
    "HEARTBEAT_URL": "https://hc-ping.com/SECRET",
    "PAGE_URL": "https://canary.example.com",
}


def _variables(env: dict[str, str]) -> None:
    """What makes no sense is refused by its name; an address that is a secret is not shown."""
    settings = Settings.from_env(env)
    readers: dict[str, Callable[[], object]] = {
        "CHECKPOINTS_ENABLED": lambda: settings.checkpoints_enabled,
        "": lambda: CanarySettings.from_env(env),
        "SLACK_WEBHOOK_URL": lambda: SlackChannel(env["SLACK_WEBHOOK_URL"], PHASES),
        "HEARTBEAT_URL": lambda: Heartbeat(env["HEARTBEAT_URL"]),
    }
    for variable, read in readers.items():
        error = or_error(ConfigurationError, read)
        if isinstance(error, ConfigurationError):
            assert str(error).startswith(tuple(f"{name}: " for name in env if variable in {"", name})), error
            assert str(error).isprintable(), ascii(str(error))
            assert not (variable.endswith("URL") and "SECRET" in str(error))


_environments = st.fixed_dictionaries(
    {name: mutated_text([value]).map(lambda text: text.replace("\0", "")) for name, value in _VARIABLES.items()}
)

# Arguments

_TIME = "2026-02-10T07:15:00Z"
_COMMANDS = [
    ["check", "--data", "data", "--now", _TIME, "2026-02-09"],
    ["check", "--data", "data", "--json", "--dry-run"],
    ["status", "--data", "data", "--days", "9", "--ascii"],
    ["status", "--data", "data", "--html", "page.html"],
    ["explain", "2026-02-11", "--data", "data", "--phase", "phase2"],
    ["silence", "add", "2026-02-11", "--data", "data", "--for", "12h", "--reason", "x", "--to", "2026-02-12"],
    ["silence", "list", "--data", "data"],
    ["silence", "end", "0", "--data", "data"],
    ["verify", "--data", "data", "--days", "5"],
    ["replay", "messages.jsonl", "--out", "replayed", "--until", "2026-02-10T09:00:00Z"],
    ["--version"],
]
_words = {
    word: st.just(word) | mutated_text([word]).map(lambda text: text.replace("\0", ""))
    for line in _COMMANDS
    for word in line
}
_line = st.sampled_from(_COMMANDS).flatmap(
    lambda line: st.tuples(*(_words[word] if number else st.just(word) for number, word in enumerate(line))).map(list)
)


@contextmanager
def _command() -> Iterator[Check]:
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        stack.enter_context(chdir(folder))
        stack.enter_context(patch.object(canary.sources, "Background", AtOnce))
        stack.enter_context(patch.dict(os.environ, {"COLUMNS": "100"}))
        Path("messages.jsonl").write_text(json.dumps(ENVELOPE) + "\n", "utf-8")
        with redirect_stdout(io.StringIO()):
            assert main(["replay", "messages.jsonl", "--out", "data"]) in {0, 1, 3}
        yield _typed


def _typed(words: list[str]) -> None:
    """An exit code that the command has, no stack trace, and text that breaks no terminal."""
    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told):
        code = main(words)
    assert code in {0, 1, 2, 3}
    assert "Traceback" not in told.getvalue(), told.getvalue()
    check_text(told.getvalue())
    if all(word.isprintable() for word in words):  # a path is shown as it was typed, to be typed again
        check_text(printed.getvalue())


# A file of messages


@contextmanager
def _messages() -> Iterator[Check]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "messages.jsonl"

        def check(data: bytes) -> None:
            """What is no message is refused with its place; the others are the orchestrator's to judge."""
            file.write_bytes(data)
            found = or_error(ConfigurationError, lambda: _read(file))
            if isinstance(found, ConfigurationError):
                assert str(found).startswith(str(file))
                assert str(found).isprintable(), ascii(str(found))
                return
            for at, event in found:
                assert at.tzinfo is not None
                with suppress(InvalidMessageError):
                    Completion.from_event(event, PHASE)

        yield check


_ONE = json.dumps(ENVELOPE)
_files = mutated(
    [
        f"{_ONE}\n{json.dumps(ENVELOPE['message'])}\n".encode(),
        json.dumps([ENVELOPE, {"data": ENVELOPE}], indent=1).encode(),
        json.dumps({"id": "1", "time": _TIME, "data": ENVELOPE}).encode(),
    ]
)

# Requests to the canary, and its page


@contextmanager
def _at_once(check: Check) -> Iterator[Check]:
    with patch.object(canary.sources, "Background", AtOnce):
        yield check


def _stores(given: dict[str, Any]) -> Stores:
    stores = Stores(Evidence(given["document"], [], [], [], given["incident"], None, None, given["silences"]))
    for ref, name in ((RUNS, "runs"), (history_ref(PHASE.name, DAY), "history"), (REFUSALS, "refusals")):
        stores.documents.overwrite(ref, given[name])
    return stores


def _asked(given: dict[str, Any]) -> None:
    """Answered as HTTP has it, in JSON or as a page; what is printed are lines of JSON."""
    printed, told = io.StringIO(), io.StringIO()
    channels = Channels(LogChannel(PHASES, stream=told))
    asked = Canary(_stores(given["stored"]), PHASES, channels, None)
    with redirect_stdout(printed):
        answer, status, *_ = asked.answer(flask.Request(environ_of({**given, "body": b""})))
    assert status in {200, 404, 405, 503}
    check_lines(printed.getvalue())
    check_lines(told.getvalue())
    if isinstance(answer, str):
        _page(answer)
    else:
        json.dumps(answer, allow_nan=False)


def _shown(given: dict[str, Any]) -> None:
    """The pages hold what the templates have, and everything else as text."""
    stores, command = _stores(given), CommandLine(project="p")
    found = overview(stores, PHASES, NOW, 30, diagnosed=14)
    _page(board_page(board(found, PHASES, None, command, lambda *_: None)))
    for day in (DAY, DAY + timedelta(days=1)):
        timeline, facts = timeline_and_facts(stores, PHASES[PHASE.name], day, NOW)
        _page(date_page(one_date(timeline, facts, PHASES[PHASE.name], command, NOW)))


_TAGS = {
    tag
    for file in Path(canary.__path__[0], "page").glob("*.html")
    for tag in re.findall(r"<(\w+)", file.read_text("utf-8"))
}


class _Page(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Hold an element to the templates, and its attributes to what runs nothing."""
        assert tag in _TAGS - {"script"}, tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name not in {"href", "src"} or (value or "").startswith(("/", "#", "https://", "data:")), value
            check_text(value or "")


def _page(html: str) -> None:
    check_text(html)
    assert html.count("<script") == 0
    _Page().feed(html)


_past = st.dictionaries(st.sampled_from([str(DAY), "expires_at"]) | texts, incidents | stored_values, max_size=3)
_unseen = st.lists(
    st.fixed_dictionaries({}, optional={"since": stored_values, "until": stored_values, "why": texts}), max_size=2
)
_refused = st.dictionaries(
    st.sampled_from(["log", "slack"]),
    st.fixed_dictionaries({"address": st.just(""), "at": st.just(NOW), "reason": texts}) | stored_values,
)
_stored = st.fixed_dictionaries(
    {
        "document": documents,
        "incident": incidents,
        "silences": silences,
        "refusals": _refused,
        "runs": st.dictionaries(
            texts,
            st.fixed_dictionaries({}, optional={"at": st.just(NOW), "reason": texts, "unseen": _unseen})
            | stored_values,
            max_size=2,
        ),
        "history": _past,
    }
)
_asking = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "GET", "GET", "POST", "PUT", "<x>"]),
        "path": mutated([b"/", b"/status", b"/dates/2026-02-09", b"/dates/20260209"]),
        "query": mutated([b"phase=phase2", b"", b"phase=%00%ff&phase=x"]),
        "stored": _stored,
    }
)

TARGETS = [
    Target("phases file", mutated([BUNDLED_PHASES.read_bytes(), _LONG.encode()]), _phases_file),
    pure("variables", _environments, _variables),
    Target("arguments", _line, _command),
    Target("file of messages", _files, _messages),
    Target("request to the canary", _asking, lambda: _at_once(_asked)),
    Target("page", _stored, lambda: _at_once(_shown)),
]
