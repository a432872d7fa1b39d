"""The page as values and as text.

Where things are, what it weighs, and what it does when a source hangs.
"""

import io
import json
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import flask
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import canary.sources
from canary import function
from canary.commands import cli
from canary.domain.remembered import DEFAULT_CANARY, canary_ref, month_ref
from canary.function import Canary
from canary.notify.channel import Channels
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine
from canary.page.axis import Axis, FoldedAxis, Mark, Tick, merged_marks
from canary.page.board import board
from canary.page.headers import HEADERS
from canary.page.one_date import one_date
from canary.page.remembered import Remembered
from canary.page.render import as_html
from canary.run import overview, timeline_and_facts
from orchestrator_resilience.background import AtOnce
from tests.page.situations import DAY, NOW, SITUATIONS, Situation, other_documents
from tests.proof import hostile, inputs
from tests.proof.doubles import StoresOf
from tests.proof.inputs import (
    PHASE,
    asked,
    check_lines,
    check_text,
    date_memories,
    documents,
    fuzzed,
    mutated,
    silences,
    texts,
    values,
)

EASTERN = ZoneInfo("America/New_York")
NOON = datetime(2026, 2, 11, 12)  # noqa: DTZ001 (as a clock on the wall shows it)


def test_an_axis_shows_the_clocks_of_its_zone() -> None:
    """From its start to its end, and what lies outside at its edge."""
    axis = Axis(NOON, NOON + timedelta(hours=30), EASTERN)
    midnight = datetime(2026, 2, 12, 5, tzinfo=UTC)
    assert (axis.x(midnight), axis.holds(midnight)) == (40.0, True)
    assert (axis.x(midnight - timedelta(days=9)), axis.x(midnight + timedelta(days=9))) == (
        0.0,
        100.0,
    )
    assert not axis.holds(midnight + timedelta(days=9))
    assert axis.ticks(timedelta(hours=12)) == (
        Tick(0.0, "12:00", "17:00Z"),
        Tick(40.0, "00:00", "05:00Z"),
        Tick(80.0, "12:00", "17:00Z"),
    )


def test_marks_that_lie_on_each_other_are_one() -> None:
    """It shows what is not known first, then the worst, and says all of them."""
    near = [
        Mark(10.0, "ok", "a"),
        Mark(10.4, "failed", "b"),
        Mark(10.8, "unknown", "c"),
        Mark(20.0, "ok", "d"),
    ]
    assert merged_marks(reversed(near)) == (
        Mark(10.4, "unknown", "a; b; c", 3),
        Mark(20.0, "ok", "d"),
    )
    assert merged_marks(near[:2])[0].kind == "failed"


def test_idle_stretches_are_folded() -> None:
    """Hours in which nothing happened take little room, and are labelled."""
    early = datetime(2026, 2, 11, 23, 4, tzinfo=UTC)
    late = early + timedelta(hours=7)
    axis = FoldedAxis([late, early, late + timedelta(minutes=24)], EASTERN)
    (fold,) = axis.folds()
    assert (fold.text, fold.width < 25) == ("7 h 00 min", True)
    assert (axis.x(early), axis.x(late), axis.x(late + timedelta(minutes=24))) == (
        2.0,
        fold.x + fold.width,
        98.0,
    )
    assert (axis.x(early - timedelta(days=1)), axis.x(late + timedelta(days=1))) == (2.0, 98.0)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_a_folded_axis_keeps_the_order(minutes: list[int]) -> None:
    """Whatever happened, later is never to the left."""
    moments = [NOW + timedelta(minutes=number) for number in minutes]
    axis = FoldedAxis(moments, UTC)
    places = [axis.x(at) for at in sorted(moments)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize("name", SITUATIONS)
def test_14_dates_take_little_room_and_little_time(tmp_path: Path, name: str) -> None:
    """100 kB at the most, and half a second beyond the sources."""
    canary = SITUATIONS[name](tmp_path / "stores").canary()
    canary._route("GET", "/", NOW)
    started = time.process_time()
    body, status, headers = canary._route("GET", "/", NOW)  # type: ignore[misc]
    assert (status, headers) == (200, HEADERS)
    assert time.process_time() - started < 0.5
    assert len(str(body).encode()) < 100_000


def test_an_instance_that_draws_no_page_does_not_import_it() -> None:
    """Which is most of them: they are started for a run."""
    program = "import canary.function, sys; print(*sorted(m for m in sys.modules if '.page' in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "canary.page canary.page.headers\n"


def test_the_policy_allows_its_own_style_and_nothing_else() -> None:
    """No script, no frame, no form, and nothing from outside."""
    assert HEADERS["Content-Security-Policy"].split("; ")[0] == "default-src 'none'"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_source_that_hangs_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page comes in time, says what did not answer, and shows what the others say."""
    situation = SITUATIONS["blocked"](tmp_path / "stores")
    monkeypatch.setattr(function, "_PAGE_SECONDS", 0.5)

    def hang(*_: Any) -> Any:
        time.sleep(3)

    stores = other_documents(situation.stores, SimpleNamespace(get_all=hang))
    started = time.monotonic()
    body, status, _ = Situation(stores, situation.phases).canary()._route("GET", "/", NOW)  # type: ignore[misc]
    assert time.monotonic() - started < 2
    assert status == 200
    assert "the progress documents: no answer within 0.5 s" in body
    assert "p2_nbacom_boxscores completed 2026-02-12 06:41Z (01:41 EST)" in body


@pytest.mark.parametrize(
    ("path", "status"), [("/dates/soon", 404), ("/dates/0001-01-01", 404), ("/pages", 404)]
)
def test_what_is_no_page_is_an_error(tmp_path: Path, path: str, status: int) -> None:
    """By a reason."""
    assert SITUATIONS["empty"](tmp_path / "s").canary()._route("GET", path, NOW)[1] == status


def test_the_command_writes_both_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into one file each; the exit code says what was found."""
    SITUATIONS["untriggered"](tmp_path / "stores")
    board_file, date_file = tmp_path / "board.html", tmp_path / "date.html"
    common = ["--data", str(tmp_path / "stores"), "--now", NOW.isoformat()]
    assert cli.main(["status", "--html", str(board_file), *common]) == 1
    assert cli.main(["explain", str(DAY), "--html", str(date_file), *common]) == 1
    assert capsys.readouterr().out == f"wrote {board_file}\nwrote {date_file}\n"
    assert f'href="#phase2-{DAY}"' in board_file.read_text()
    for file, words in ((board_file, "status"), (date_file, f"explain {DAY}")):
        text = file.read_text()
        assert '<a href="">' not in text
        same = f"--data {tmp_path / 'stores'} --now 2026-02-12T07:45:00Z"
        assert f"{words} --html {file} {same}</code> makes it again" in text
        assert re.search(r"Made <time.*, as of <time.*>2026-02-12 07:45Z", text)
    assert "EXPECTATION_DRIFT" in date_file.read_text()
    assert cli.main(["status", "--html", str(tmp_path), *common]) == 2
    assert "canary: --html: " in capsys.readouterr().err


_optional: dict[str, st.SearchStrategy[Any]] = {"since": values, "until": values, "why": texts}
_unseen = st.lists(st.fixed_dictionaries({}, optional=_optional), max_size=2)
_refusal = st.fixed_dictionaries(
    {"address": st.just(""), "at": st.just(hostile.NOW), "reason": texts}
)
_run = st.fixed_dictionaries(
    {}, optional={"at": st.just(hostile.NOW), "reason": texts, "unseen": _unseen}
)
_stored = st.builds(
    hostile.hostile_stores,
    st.builds(
        hostile.Evidence,
        document=documents,
        memory=date_memories,
        silences=silences,
        refusals=st.dictionaries(st.sampled_from(["log", "slack"]), _refusal | values),
    ),
    st.fixed_dictionaries(
        {
            canary_ref(DEFAULT_CANARY): _run,
            month_ref(DEFAULT_CANARY, PHASE.name, f"{inputs.DAY:%Y-%m}"): st.dictionaries(
                st.sampled_from([str(inputs.DAY), "2026-02-30"]) | texts, date_memories, max_size=3
            ),
        }
    ),
)
_TAGS = {
    tag
    for file in Path(canary.__path__[0], "page").glob("*.html")
    for tag in re.findall(r"<(\w+)", file.read_text("utf-8"))
}


class Held(HTMLParser):
    """A page whose elements are those of the templates, with attributes that run nothing."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        assert tag in _TAGS - {"script"}, tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            # an empty one leads to the page itself
            leads = (value or "/").startswith(("/", "#", "https://", "data:"))
            assert name not in {"href", "src"} or leads, value
            check_text(value or "")


def check_page(html: str) -> None:
    check_text(html)
    assert html.count("<script") == 0
    Held().feed(html)


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@pytest.mark.usefixtures("_one_thread")
@fuzzed(6)
@given(
    st.builds(
        asked,
        st.sampled_from(["GET", "GET", "GET", "POST", "PUT", "<x>"]),
        path=mutated(b"/", b"/status", b"/dates/2026-02-09", b"/dates/20260209"),
        query=mutated(b"phase=phase2", b"", b"phase=%00%ff&phase=x"),
    ),
    _stored,
)
def test_whatever_is_asked_is_answered_as_http_has_it(
    request_: flask.Request, stores: StoresOf
) -> None:
    """In JSON or as a page; what is printed are lines of JSON."""
    printed, log = io.StringIO(), io.StringIO()
    channels = Channels(LogChannel(hostile.PHASES, stream=log))
    with redirect_stdout(printed):
        answer, status, *_ = Canary(stores, hostile.PHASES, channels, None).answer(request_)
    assert status in {200, 404, 405, 503}
    check_lines(printed.getvalue())
    check_lines(log.getvalue())
    if isinstance(answer, str):
        check_page(answer)
    else:
        json.dumps(answer, allow_nan=False)


@pytest.mark.usefixtures("_one_thread")
@fuzzed(4)
@given(_stored)
@example(
    hostile.hostile_stores(
        hostile.Evidence(), {canary_ref(DEFAULT_CANARY): {"at": hostile.NOW, "reason": "\x1f"}}
    )
)
def test_whatever_is_stored_is_text_on_the_pages(stores: StoresOf) -> None:
    """They hold the elements that the templates have, and everything else as text."""
    phases, command, now = hostile.PHASES, CommandLine(project="p"), hostile.NOW
    seen = overview(stores, phases, now, 30, explained=14)
    check_page(as_html(board(seen, phases, None, command, lambda *_: None)))
    for day in (inputs.DAY, hostile.NEXT):
        timeline, facts, found = timeline_and_facts(stores, phases[PHASE.name], day, now)
        remembered = Remembered(found, DEFAULT_CANARY, now)
        shown = one_date(timeline, facts, phases[PHASE.name], command, now, remembered=remembered)
        check_page(as_html(shown))
