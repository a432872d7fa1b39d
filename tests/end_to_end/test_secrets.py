"""The addresses of Slack and of the heartbeat are in nothing that is written, whatever fails.

Each has a marked value, and all that comes out is searched: answers, both outputs, the logs of
every library, errors with what is behind them, and every byte of the stores.
"""

import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import flask
import pytest
import requests

from canary.commands import cli
from canary.function import Canary, _served, start
from canary.notify.channel import Channels
from canary.notify.heartbeat import Heartbeat
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from canary.settings import CanarySettings
from orchestrator_resilience import ConfigurationError, Phase
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from tests.page.situations import other_documents
from tests.proof.listener import OK, Answer, FakeWebhook, fake_webhook
from tools.emulators import free_port
from tools.functions import canary_function

MARK = "MARKEDsecret"
PATH = f"/services/{MARK}/{MARK}"
ECHO = f"there is no {PATH}"
ASKED = [
    ("POST", "/"),
    ("POST", "/"),
    ("GET", "/"),
    ("GET", "/status"),
    ("GET", "/dates/2026-02-09"),
    ("PUT", "/"),
    ("GET", "/x"),
]
ANSWERS: dict[str, Answer] = {
    "takes it": OK,
    "forbids it": (403, {}, ECHO),
    "knows no such address": (404, {"Content-Type": f"text/{MARK}"}, ECHO),
    "knows it, in a word": (404, {}, f"no_{MARK.lower()}_here"),
    "has none any more": (410, {}, MARK.lower()),
    "redirects": (302, {"Location": PATH}, ""),
    "redirects to what is no address": (302, {"Location": f"gopher://{MARK}"}, ""),
    "breaks": (500, {"Retry-After": "3600"}, ECHO),
    "talks garbage": (200, {"Content-Type": f"text/plain; charset={MARK}"}, "\x00{"),
}


@pytest.fixture
def webhook() -> Iterator[FakeWebhook]:
    with fake_webhook(PATH) as webhook:
        yield webhook


@pytest.fixture
def stuck(tmp_path: Path, phase: Phase) -> Iterator[EmbeddedStores]:
    """Return stores in which a date is told of as soon as somebody looks."""
    with closing(EmbeddedStores(tmp_path / "stores", durable=False)) as stores:
        today = phase.today(datetime.now(UTC))
        stores.documents.merge(DocumentRef("phase2_completion", str(today)), {"_triggered": True})
        yield stores


Ask = Callable[..., str]


@pytest.fixture
def ask(
    stuck: EmbeddedStores,
    phase: Phase,
    tmp_path: Path,
    capfd: Any,
    caplog: pytest.LogCaptureFixture,
) -> Ask:
    """Return what asks a canary for everything and two runs, and returns all that it wrote."""

    def asked(address: str, stores: Any = stuck) -> str:
        caplog.set_level(logging.DEBUG)
        phases = {phase.name: phase}
        channels = Channels(LogChannel(phases), SlackChannel(address, phases, seconds=0.15))
        canary = Canary(stores, phases, channels, Heartbeat(address, seconds=0.15))
        handler, answers = _served(canary.answer), []
        for method, path in ASKED:
            with flask.Flask("canary").test_request_context(path, method=method):
                response = cast("flask.Response", handler(flask.request))
                answers.append(
                    f"{response.status}\n{response.headers}\n{response.get_data(as_text=True)}"
                )
        written = [
            path.read_bytes().decode(errors="replace")
            for path in tmp_path.rglob("*")
            if path.is_file()
        ]
        found = "\n".join(
            [
                *answers,
                *capfd.readouterr(),
                caplog.text,
                *written,
                repr(canary),
                str(channels.by_name),
            ]
        )
        assert "CANARY_RUN" in found
        return found.lower()

    return asked


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_is_answered(webhook: FakeWebhook, ask: Ask, answer: Answer) -> None:
    """Slack and the heartbeat answer the same, and the address is nowhere."""
    webhook.script = [answer]
    found = ask(webhook.url)
    assert MARK.lower() not in found
    assert "canary_alert opened" in found
    assert {*webhook.paths} == {PATH}


@pytest.mark.parametrize(
    "how", ["hangs", "drips", "refuses", "speaks no TLS", "has no name", "has an odd name"]
)
def test_without_an_answer(webhook: FakeWebhook, ask: Ask, how: str) -> None:
    """As above."""
    webhook.hangs, webhook.drips = how == "hangs", how == "drips"
    address = {
        "refuses": f"http://127.0.0.1:{free_port()}{PATH}",
        "speaks no TLS": webhook.url.replace("http:", "https:"),
        "has no name": f"https://{MARK}.invalid{PATH}",
        "has an odd name": f"https://{MARK}..invalid{PATH}",
    }.get(how, webhook.url)
    found = ask(address)
    assert MARK.lower() not in found
    assert "slack could not be reached" in found or "slack: no answer within" in found
    # a status of 200 is all that it waits for
    assert ("the heartbeat was not heard" in found) == (how != "drips")


@pytest.mark.parametrize("error", [StoreError("refused"), RuntimeError("a fault of our own")])
def test_where_a_store_cannot_be_read(
    webhook: FakeWebhook, ask: Ask, stuck: EmbeddedStores, error: Exception
) -> None:
    """Neither is in the reason nor in the stack trace."""

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    broken = SimpleNamespace(get_all=fails, merge=fails, get=fails, compare_and_set=fails)
    assert MARK.lower() not in ask(webhook.url, other_documents(stuck, broken))


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize("variable", ["SLACK_WEBHOOK_URL", "HEARTBEAT_URL", "PAGE_URL"])
@pytest.mark.parametrize(
    "value", [f"hooks.slack.com{PATH}", f"//{MARK}@h", f"ftp://h/{MARK}", f"[{MARK}", MARK]
)
def test_a_secret_that_is_no_address(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function does not start and names the variable, and no error behind it has the value."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(tmp_path / "stores"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: expected ") as caught:
        start()
    assert MARK not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("command", [["check"], ["verify"], ["setup"], ["probe", "--topic", "t"]])
def test_a_key_in_the_place_of_its_path_is_not_shown(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Google's libraries say that there is no such file, with its name."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv(
        "GOOGLE_APPLICATION_CREDENTIALS", f' {{"type": "service_account", "private_key": "{MARK}"}}'
    )
    assert cli.main(command) == 2
    said = "".join(capfd.readouterr())
    assert (
        "GOOGLE_APPLICATION_CREDENTIALS: expected the path of a key, not the key; not shown" in said
    )
    assert MARK not in said


def test_the_settings_do_not_show_them() -> None:
    """Neither as a text nor inside of something else."""
    settings = CanarySettings.from_env(
        {"SLACK_WEBHOOK_URL": f"https://h{PATH}", "HEARTBEAT_URL": f"https://h{PATH}"}
    )
    assert MARK not in f"{settings} {settings!r} {[settings]} {vars(CanarySettings)}"


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize(
    "command", [["check"], ["status", "--json"], ["explain", "2026-02-09"], ["--help"], ["oops"]]
)
def test_the_command_does_not_show_them(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """A shell in which they are set, for something else, is no reason to print them."""
    monkeypatch.setenv("RESILIENCE_DATA_DIR", str(tmp_path / "stores"))
    for value in (f"https://h{PATH}", MARK):
        monkeypatch.setenv("SLACK_WEBHOOK_URL", value)
        monkeypatch.setenv("HEARTBEAT_URL", value)
        cli.main(command)
        assert MARK not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("stuck")
def test_the_process_does_not_write_them(webhook: FakeWebhook, tmp_path: Path) -> None:
    """functions-framework and gunicorn write none in a run, without stores, or in a bad start."""
    webhook.script = [ANSWERS["knows no such address"]]
    folder = {"RESILIENCE_DATA_DIR": str(tmp_path / "stores")}
    with canary_function(
        {**folder, "SLACK_WEBHOOK_URL": webhook.url, "HEARTBEAT_URL": webhook.url}
    ) as running:
        asked = [
            requests.request(method, f"http://{running.address}{path}", timeout=60)
            for method, path in ASKED
        ]
        log = running.log.read_text()
    assert "CANARY_HEARTBEAT: the heartbeat was not heard: HTTP 404" in log
    assert MARK not in log + "".join(f"{one.headers}{one.text}" for one in asked)
    cloud = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key.json"}
    with canary_function(
        {**cloud, "SLACK_WEBHOOK_URL": webhook.url, "HEARTBEAT_URL": webhook.url}
    ) as running:
        asked = [
            requests.request(method, f"http://{running.address}{path}", timeout=60)
            for method, path in ASKED
        ]
        log = running.log.read_text()
    assert asked[0].status_code == 503
    assert MARK not in log + "".join(f"{one.headers}{one.text}" for one in asked)
    program = "from canary.function import start; start()"
    environment = {**os.environ, **folder, "SLACK_WEBHOOK_URL": f"hooks.slack.com{PATH}"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "SLACK_WEBHOOK_URL: expected https://host/path; not shown" in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_no_answer_has_a_stack_trace(
    stuck: EmbeddedStores, phase: Phase, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fault of our own is a 503 with its reason as JSON; where it is goes to the log alone."""

    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a fault of our own")

    handler: Callable[..., Any] = _served(
        Canary(stuck, {phase.name: phase}, Channels(), None).answer
    )
    request = SimpleNamespace(method="GET", path="/status", args=SimpleNamespace(get=fails))
    with flask.Flask("canary").test_request_context("/status"):
        response = handler(request)
    assert (response.status_code, response.get_json()) == (
        503,
        {
            "run": "CANARY_RUN",
            "outcome": "COULD_NOT_TELL",
            "reason": "ZeroDivisionError: a fault of our own",
        },
    )
    assert "test_secrets.py" in json.loads(capfd.readouterr().out)["stack_trace"]
