"""The Slack channel against a real HTTP server: its message, its retries, its secret."""

import html
import logging
import re
import socket
import struct
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.domain.incident import Incident, NotificationKind
from canary.domain.stages import Cause, CauseKind, Stage
from canary.domain.verdict import Impact, Verdict, VerdictKind, level
from canary.notify.channel import Notification, NotifyError, Warned
from canary.notify.heartbeat import Heartbeat
from canary.notify.message import CommandLine, logs_link
from canary.notify.slack import SlackChannel, escaped, message
from orchestrator_resilience import Phase
from orchestrator_resilience.errors import ConfigurationError, ResilienceError
from tests.proof import inputs
from tests.proof.bad_servers import POINTS, Manner
from tests.proof.inputs import fuzzed, mutated, or_error
from tests.proof.listener import (
    OK,
    Answer,
    FakeWebhook,
    QuietHandler,
    RawAnswers,
    fake_webhook,
    http_answer,
    listening,
)
from tools.emulators import free_port

DAY = date(2026, 2, 9)
NOW = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
SECRET = "T0SECRET/B0SECRET/xSECRETx"  # noqa: S105 (that it goes nowhere is what is tested)

PATH = f"/services/{SECRET}"


@pytest.fixture
def slack() -> Iterator[FakeWebhook]:
    with fake_webhook(PATH) as slack:
        yield slack


def notification(
    day: date = DAY,
    kind: NotificationKind = NotificationKind.OPENED,
    summary: str = "a summary",
    causes: tuple[Cause, ...] = (),
) -> Notification:
    verdict = Verdict(
        kind=VerdictKind.UNTRIGGERED,
        phase="phase2",
        game_date=day,
        summary=summary,
        impact=Impact.BLOCKED,
        causes=causes,
        output=0,
        work=14,
    )
    incident = Incident(
        kind=verdict.kind,
        causes=frozenset(),
        level=level(verdict),
        opened_at=NOW - timedelta(hours=1),
    )
    return Notification(kind, incident, verdict)


def many(count: int, summary: str = "a summary") -> list[Notification]:
    return [notification(DAY - timedelta(days=n), summary=summary) for n in range(count)]


def failure(url: str, phase: Phase, seconds: float = 10.0) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        SlackChannel(url, {"phase2": phase}, project="nba", seconds=seconds).send(
            [notification()], NOW
        )
    return caught.value


def blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of all faults."""
    return [block for fault in body["attachments"] for block in fault["blocks"]]


def shown_in(body: dict[str, Any]) -> Iterator[str]:
    """Yield every text that is shown, in its order."""
    for block in blocks(body):
        one = [block["text"]] if "text" in block else block.get("fields") or block["elements"]
        for part in one:
            yield part["text"] if isinstance(part["text"], str) else part["text"]["text"]


def texts(body: dict[str, Any]) -> list[str]:
    return [*shown_in(body)]


def headers(body: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in blocks(body) if block["type"] == "header"]


def links(body: dict[str, Any]) -> list[tuple[str, str]]:
    found = [re.findall(r"<([^|>]+)\|([^>]+)>", text) for text in texts(body)]
    return [(label, html.unescape(address)) for own in found for address, label in own]


DRIFT = Cause(
    kind=CauseKind.EXPECTATION_DRIFT,
    after=Stage.REGISTERED,
    until=Stage.DECIDED,
    source="document",
    words="waits for p2_bdl_box_scores",
    names=("p2_bdl_box_scores",),
)
EMBEDDED = CommandLine()


def test_a_message_as_people_know_it(slack: FakeWebhook, phase: Phase) -> None:
    """A headline, and beside a colour what to do now, fields, commands and plain links."""
    channel = SlackChannel(
        slack.url,
        {"phase2": phase},
        project="nba",
        page="https://canary.example",
        runbook="https://docs.example/runbook.md",
    )
    channel.send([notification(causes=(DRIFT,))], NOW)
    (body,) = slack.posts
    headline = (
        "✖ CRITICAL · 2026-02-09 · UNTRIGGERED · Phase 3 has 0 of 14 games · the orchestrator "
        "waits for {}"
    )
    headline = headline.format("p2_bdl_box_scores")
    assert body["text"] == headline
    assert [fault["color"] for fault in body["attachments"]] == ["#b3261e"]
    assert [block["type"] for block in blocks(body)] == ["section", "section", "section"]
    assert texts(body) == [
        (
            "*Do now:* see why Phase 3 did not run for 2026-02-09\n"
            "```\nGOOGLE_CLOUD_PROJECT=nba canary explain 2026-02-09\n```\n"
            "*Then:* deploy the orchestrator with the list of `phases.toml`"
        ),
        "*What*\na summary",
        (
            "*Impact*\nBLOCKED: Phase 3 has 0 of 14 games. The Pub/Sub subscription "
            "nba-phase3-analytics-sub starts "
            "it, not `_triggered`."
        ),
        "*Cause*\nEXPECTATION_DRIFT at DECIDED: waits for p2_bdl_box_scores (document)",
        texts(body)[-1],
    ]
    assert texts(body)[-1].splitlines()[:2] == [
        "*Ack:* `GOOGLE_CLOUD_PROJECT=nba canary ack 2026-02-09`",
        (
            "*Silence:* `GOOGLE_CLOUD_PROJECT=nba canary silence add 2026-02-09 --for 12h "
            "--reason 'in hand'`"
        ),
    ]
    assert links(body) == [
        ("See 2026-02-09", "https://canary.example/dates/2026-02-09"),
        ("Logs Explorer", logs_link("nba", "phase2", DAY)),
        ("Runbook: EXPECTATION_DRIFT", "https://docs.example/runbook.md#expectation-drift"),
    ]


def test_several_dates_of_one_fault_are_one_section(phase: Phase) -> None:
    """It names all of them; other faults, and what is over, are told apart, what is new first."""
    before = DAY - timedelta(days=1)
    told = [
        notification(kind=NotificationKind.RESOLVED),
        notification(before, causes=(DRIFT,)),
        notification(causes=(DRIFT,)),
        notification(DAY + timedelta(days=1)),
    ]
    body = message(told, {"phase2": phase}, EMBEDDED, NOW)
    assert headers(body) == [
        (
            "✖ CRITICAL · 2 dates, 2026-02-08 to 02-09 · UNTRIGGERED · Phase 3 has 0 of 14 games · "
            "the orchestrator waits for p2_bdl_box_scores"
        ),
        "✖ CRITICAL · 2026-02-10 · UNTRIGGERED · Phase 3 has 0 of 14 games · cause unknown",
        "✓ RESOLVED · 2026-02-09 · no longer UNTRIGGERED · 1 h 00 min after the alert · a summary",
    ]
    assert texts(body)[2].startswith(
        "*Dates*\n2026-02-08 UNTRIGGERED: Phase 3 has 0 of 14 games; a summary\n2026-02-09"
    )
    assert body["text"].splitlines() == headers(body)
    assert [fault["color"] for fault in body["attachments"]] == ["#b3261e", "#b3261e", "#1e8e3e"]


def test_without_a_project_or_a_page_there_is_no_link(phase: Phase) -> None:
    """The embedded stores have no Logs Explorer."""
    assert links(message([notification()], {"phase2": phase}, EMBEDDED, NOW)) == []


def test_the_link_to_the_logs() -> None:
    """It asks for the checkpoints of that date, at the time that they are from."""
    link = logs_link("nba", "phase2", DAY)
    assert not set(link) & set(' "<>|')
    assert unquote(link) == (
        'https://console.cloud.google.com/logs/query;query=labels.phase="phase2" AND '
        'labels.game_date="2026-02-09"'
        ' AND jsonPayload.checkpoint:"CHECKPOINT_"'
        ";startTime=2026-02-08T00:00:00Z;endTime=2026-02-17T00:00:00Z?project=nba"
    )


@pytest.mark.parametrize("project", ["nba", None])
@pytest.mark.parametrize(
    "summary", ["short", "x" * 9_000, "&" * 9_000, "<!channel>" * 900, "`" * 9_000, "é\n" * 9_000]
)
def test_a_message_stays_within_slacks_limits(
    phase: Phase, summary: str, project: str | None
) -> None:
    """Of however many dates and long texts, what does not fit is counted and no date is lost."""
    body = message(many(60, summary), {"phase2": phase}, CommandLine(project=project), NOW)
    shown = headers(body)
    assert len(blocks(body)) <= 50
    assert all(len(fault["blocks"]) <= 5 for fault in body["attachments"])
    assert all(0 < len(header) <= 150 for header in shown)
    assert all(0 < len(text) < 3_000 for text in texts(body))
    assert sum(map(len, texts(body))) < 12_000
    assert 0 < len(body["text"]) < 3_000
    assert len(shown) >= 1
    command = "GOOGLE_CLOUD_PROJECT=nba canary status" if project else "canary status"
    assert texts(body)[-1] == f"and {60 - len(shown)} more dates: {command}"
    assert body["text"].endswith(texts(body)[-1])


def test_one_very_long_text_is_cut_and_sent(slack: FakeWebhook, phase: Phase) -> None:
    """How it begins and ends is what counts, and nothing says that dates are missing."""
    SlackChannel(slack.url, {"phase2": phase}).send([notification(summary="y" * 50_000)], NOW)
    (body,) = slack.posts
    assert texts(body)[1].startswith("*What*\nyyy")
    assert "y… (49500 characters left out here) …y" in texts(body)[1]
    assert "more date" not in body["text"]


def test_what_comes_from_outside_is_shown_and_not_obeyed(phase: Phase) -> None:
    """No mention, no link, no code block."""
    hostile = (
        "<!channel> <!here> <@U1> <https://evil.example|x> & @channel @Here @everyone ```\n*bold* "
        "````"
    )
    over = notification(kind=NotificationKind.RESOLVED, summary=hostile)
    body = message([notification(summary=hostile), over], {"phase2": phase}, EMBEDDED, NOW)
    for text in (texts(body)[2], texts(body)[-2]):
        assert not set(text) & set("<>")
        assert not any(mention in text.lower() for mention in ("@channel", "@here", "@everyone"))
        assert "&lt;!channel&gt; &lt;!here&gt; &lt;@U1&gt; " in text
        assert "```" not in text
    assert not set(body["text"]) & set("<>")
    assert all(one["verbatim"] for block in blocks(body) for one in block.get("fields", []))


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_cut_leaves_no_half_of_an_escape(limit: int) -> None:
    """Slack would show the half as it stands."""
    cut = escaped("a&<b" * 9, limit)
    assert len(cut) <= limit
    assert cut.endswith("…")
    assert "&" not in cut.replace("&amp;", "").replace("&lt;", "")


def test_too_many_requests_are_waited_out(slack: FakeWebhook, phase: Phase) -> None:
    """For as long as Slack says."""
    slack.script = [(429, {"Retry-After": "1"}, "rate_limited"), OK]
    SlackChannel(slack.url, {"phase2": phase}).send([notification()], NOW)
    assert len(slack.posts) == 2
    assert slack.times[1] - slack.times[0] >= 1.0


@pytest.mark.parametrize("retry_after", ["3600", "9" * 5_000])
def test_a_longer_wait_than_the_budget_fails_at_once(
    slack: FakeWebhook, phase: Phase, retry_after: str
) -> None:
    """The next run will try again, so the address is not given up."""
    slack.script = [(429, {"Retry-After": retry_after}, "rate_limited")]
    started = time.monotonic()
    error = failure(slack.url, phase, seconds=2.0)
    assert time.monotonic() - started < 1.5
    assert (str(error), error.gone, len(slack.posts)) == (
        "Slack answered 429 rate_limited",
        False,
        1,
    )


@pytest.mark.parametrize(
    "headers", [{}, {"Retry-After": "-1"}, {"Retry-After": "nan"}, {"Retry-After": "soon"}]
)
def test_without_a_usable_time_to_wait_it_backs_off(
    slack: FakeWebhook, phase: Phase, headers: dict[str, str]
) -> None:
    """A little longer each time."""
    slack.script = [(429, headers, ""), OK]
    SlackChannel(slack.url, {"phase2": phase}).send([notification()], NOW)
    assert slack.times[1] - slack.times[0] >= 0.25


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_slack_may_have_taken_is_posted_once(
    slack: FakeWebhook, phase: Phase, status: int
) -> None:
    """The next run tries again: nothing is wrong with the address."""
    slack.script = [(status, {"Retry-After": "0"}, "<html>Bad gateway</html>"), OK]
    error = failure(slack.url, phase)
    assert (str(error), error.gone, len(slack.posts)) == (f"Slack answered {status}", False, 1)


@pytest.mark.parametrize("manner", [Manner.CLOSES, Manner.RESETS])
@pytest.mark.parametrize(
    "point", ["the answer", "a header", "a body with a length", "a body in chunks"]
)
def test_a_connection_that_ends_after_the_post_is_posted_to_once(
    phase: Phase, point: str, manner: Manner
) -> None:
    """It may have been taken, which holds for an answer that is cut short as well."""
    posted = 0

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 (the name that the server calls)
            nonlocal posted
            posted += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(POINTS[point][0] + b"ok" * ("body" in point and "chunks" not in point))
            if manner is Manner.RESETS:
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )

    with listening(Handler) as address:
        error = failure(f"{address}{PATH}", phase)
    assert (error.gone, posted) == (False, 1)


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "invalid_blocks"), (403, "action_prohibited"), (404, "no_service"), (410, "x_archived")],
)
def test_a_refusal_is_not_tried_again(
    slack: FakeWebhook, phase: Phase, status: int, word: str
) -> None:
    """It fails at once, with Slack's own word for it."""
    slack.script = [(status, {}, word)]
    error = failure(slack.url, phase)
    assert (str(error), error.gone, len(slack.posts)) == (
        f"Slack answered {status} {word}",
        status != 400,
        1,
    )
    assert isinstance(error, ResilienceError)


def test_a_redirect_is_no_delivery(slack: FakeWebhook, phase: Phase) -> None:
    """It is not followed: what it leads to says ok to whoever asks, and nobody was told."""
    slack.script = [(302, {"Location": "/signin"}, ""), OK]
    error = failure(slack.url, phase)
    assert (str(error), slack.paths) == ("Slack answered 302", [PATH])


def test_another_page_is_no_delivery(slack: FakeWebhook, phase: Phase) -> None:
    """That of a proxy at which one has to sign in answers 200 as well."""
    page: Answer = (200, {}, "<html>Sign in</html>")
    slack.script = [page]
    error = failure(slack.url, phase)
    assert (str(error), len(slack.posts)) == ("Slack answered 200", 1)


def test_a_refused_connection_is_retried_within_the_budget(phase: Phase) -> None:
    """Then it fails, and not for ever."""
    started = time.monotonic()
    error = failure(f"http://127.0.0.1:{free_port()}{PATH}", phase, seconds=1.0)
    assert 0.5 < time.monotonic() - started < 1.5
    assert str(error) == "Slack could not be reached: ConnectionRefusedError"


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_a_server_that_hangs_does_not_hold_up_the_run(
    slack: FakeWebhook, phase: Phase, how: str
) -> None:
    """Neither one that says nothing, nor one whose every byte comes in time."""
    setattr(slack, how, True)
    started = time.monotonic()
    error = failure(slack.url, phase, seconds=0.5)
    assert time.monotonic() - started < 1.0
    assert str(error) == "Slack: no answer within 0.5 s"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        (404, {}, f"there is no {PATH}"),
        (500, {}, SECRET),
        (429, {"Retry-After": SECRET}, SECRET),
        (302, {"Location": PATH}, ""),
        (307, {"Location": f"ftp://x/{SECRET}"}, ""),
        (302, {"Location": f"gopher://x/{SECRET}"}, ""),
        (200, {"Content-Type": f"text/plain; charset={SECRET}"}, "ok"),
        (400, {"Content-Type": f"text/plain; charset={SECRET}"}, "no"),
        None,
    ],
)
def test_the_address_is_a_secret(
    slack: FakeWebhook,
    phase: Phase,
    answer: Answer | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever Slack answers and however much is logged, it is in no error, log, repr or output."""

    def whole_chain(error: NotifyError | None) -> str:
        """Return all that a log could take from an error, with the locals of our own functions."""
        if error is None:
            return ""
        assert (error.__cause__, error.__context__) == (None, None)
        assert error.__traceback__ is not None
        own = traceback.TracebackException(
            type(error), error, error.__traceback__.tb_next, capture_locals=True
        )
        return "".join(
            [repr(error), repr(vars(error)), *own.format(), *traceback.format_exception(error)]
        )

    caplog.set_level(logging.DEBUG)
    url = slack.url if answer else f"http://127.0.0.1:{free_port()}{PATH}"
    slack.script = [answer or OK]
    channel = SlackChannel(url, {"phase2": phase}, seconds=0.4)
    error: NotifyError | None = None
    try:
        channel.send([notification()], NOW)
    except NotifyError as caught:
        error = caught
    assert (error is None) == (answer is not None and answer[0] == 200)
    output = "".join(capfd.readouterr())
    for text in (repr(channel), str(channel), whole_chain(error), caplog.text, output):
        assert "secret/" not in text.lower()
        assert url not in text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "SECRET",
        "https://",
        "https:///SECRET",
        "https://SECRET",
        "https://SECRET/",
        "ftp://hooks/SECRET",
        "http://hooks.slack.com/SECRET",
        "http://127.0.0.1.evil/SECRET",
        "https://[SECRET/x",
        "https://[SECRET]/x",
        "https://h:SECRET/x",
        "https://h:99999/SECRET",
        "https://h/SE CRET",
        "https://h/SECRET\r\nX: y",
        *("https://h/SECRETé", "file:///SECRET"),
    ],
)
def test_a_bad_address_is_refused_and_not_shown(url: str, phase: Phase) -> None:
    """The error names the variable and what was expected."""
    with pytest.raises(ConfigurationError) as caught:
        SlackChannel(url, {"phase2": phase})
    assert (
        str(caught.value)
        == "SLACK_WEBHOOK_URL: expected https://host/path; not shown, because it is a secret"
    )
    assert caught.value.__context__ is None


def test_a_line_break_after_the_address_does_no_harm(slack: FakeWebhook, phase: Phase) -> None:
    """Secrets are often piped in with one."""
    SlackChannel(slack.url + "\n", {"phase2": phase}).send([notification()], NOW)
    assert len(slack.posts) == 1


@fuzzed(12)
@given(
    mutated(
        http_answer("ok"),
        http_answer("invalid_token", "403 Forbidden"),
        http_answer("rate_limited", "429 Too Many Requests", "Retry-After: 30"),
        http_answer("no_service T0SECRET/B0SECRET", "404 Not Found"),
        http_answer("", "302 Found", "Location: /services/T0SECRET/B0SECRETx"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html;"
        b"charset=x\r\n\r\n2\r\nok\r\n0\r\n"
        b"\r\n",
    )
)
def test_whatever_is_answered_a_failure_is_one_line_without_the_address(
    raw: RawAnswers, answer: bytes
) -> None:
    """Slack's, and the heartbeat's; what is no answer of success is a failure."""
    raw.answers = [answer]
    url = f"http://{raw.host}/services/T0SECRET/B0SECRET"
    error = or_error(
        NotifyError, lambda: SlackChannel(url, {}, seconds=0.2).warn(Warned.CHANNEL, "a word", NOW)
    )
    if error is None:
        assert b"ok" in answer
    else:
        assert str(error).isprintable(), ascii(str(error))
        assert "t0secret/b0secret" not in "".join(traceback.format_exception(error)).lower()
        assert raw.host not in str(error)
    failure = Heartbeat(url, seconds=0.2).beat()
    assert b"2" in answer if failure is None else raw.host not in failure


@fuzzed(50)
@given(
    st.lists(
        inputs.texts
        | st.sampled_from(["&", "<", ">", "`", "```", "@", "@channel", "HERE", "x" * 9])
    ).map("".join)
)
def test_no_text_is_a_link_a_mention_or_the_end_of_a_code_block(text: str) -> None:
    """It is cut at the limit, and in the middle of no entity."""
    shown = escaped(text, 40)
    assert len(shown) <= 40
    assert not any(
        piece in shown for piece in ("<", ">", "```", "@channel", "@here", "@everyone")
    ), ascii(shown)
    assert all(part.startswith(("amp;", "lt;", "gt;")) for part in shown.split("&")[1:]), ascii(
        shown
    )
