"""What the pages say of the canary itself, of what was sent, and of time: nothing of the future."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from canary.domain.evidence import Unreadable
from canary.domain.incident import DateMemory, Event, Incident
from canary.domain.remembered import (
    DEFAULT_CANARY,
    canary_ref,
    month_fields,
    month_ref,
)
from canary.domain.silence import Acknowledgement, acknowledgement_fields, people_ref
from canary.domain.timeline import Timeline
from canary.domain.verdict import Level, VerdictKind
from canary.function import Canary
from canary.notify.message import CommandLine
from canary.page.board import Board, board
from canary.page.clock import both, with_local
from canary.page.one_date import OneDate, one_date
from canary.page.remembered import Remembered
from canary.page.render import as_html
from canary.run import overview, timeline_and_facts
from orchestrator_resilience.stores.base import Document
from tests.page.situations import DAY, NOW, SITUATIONS, Situation, World
from tests.proof.doubles import RecordingChannel

EASTERN = ZoneInfo("America/New_York")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


# Times


def test_a_moment_is_shown_as_z_and_by_the_local_clocks() -> None:
    """With the local date where it is another one."""
    assert both(NOW, EASTERN) == "2026-02-12 07:45Z (02:45 EST)"
    assert (
        both(NOW - 5 * HOUR, EASTERN, seconds=True) == "2026-02-12 02:45:00Z (02-11 21:45:00 EST)"
    )
    assert (
        both(datetime(2026, 7, 1, 12, tzinfo=EASTERN), EASTERN) == "2026-07-01 16:00Z (12:00 EDT)"
    )


@pytest.mark.parametrize(
    ("text", "shown_text"),
    [
        ("until 2026-02-12 19:45Z: noon", "until 2026-02-12 19:45Z (14:45 EST): noon"),
        ("(document, 2026-02-12T06:41:01Z)", "(document, 2026-02-12T06:41:01Z (01:41:01 EST))"),
        ("ran from 05:40 to 05:52Z", "ran from 05:40 to 05:52Z (00:40 to 00:52 EST)"),
        ("2026-02-12 06:41:00Z (01:41 EST), 1 h ago", "2026-02-12 06:41:00Z (01:41 EST), 1 h ago"),
        ("at 99:99Z or 2026-02-31 06:41Z", "at 99:99Z or 2026-02-31 06:41Z"),
        ("12:00 games", "12:00 games"),
    ],
)
def test_the_local_time_is_beside_each_time_of_a_text(text: str, shown_text: str) -> None:
    """Once, and beside what is one."""
    assert with_local(text, EASTERN, DAY) == shown_text


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_time_is_shown_both_ways(tmp_path: Path, name: str) -> None:
    """Outside of commands and of the JSON."""
    canary = SITUATIONS[name](tmp_path / "stores").canary()
    for path in ("/", f"/dates/{DAY}"):
        html = re.sub(r"<(pre|svg|style)\b.*?</\1>", "", page_of(canary, path), flags=re.DOTALL)
        text = re.sub(r"<[^>]+>", "", html)
        assert re.findall(r"\d\d:\d\d(?::\d\d)?Z(?! \((?:\d\d-\d\d )?\d\d:\d\d)", text) == []


def page_of(canary: Canary, path: str, phase: str | None = None, now: datetime = NOW) -> str:
    body, status, *_ = canary._route("GET", path, now, phase)
    assert status == 200
    return str(body)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.replace("<div", " <div")))


# Whether anybody is watching


def shown(
    situation: Situation, now: datetime = NOW, ran_at: datetime | None = None, **kept: Any
) -> Board:
    """Return the board; what is `kept` is in the canary's own document instead."""
    found = overview(situation.stores, situation.phases, now, 30, explained=14)
    if kept and not isinstance(found.remembered, Unreadable):
        ref = canary_ref(DEFAULT_CANARY)
        found = replace(found, remembered={**found.remembered, ref: Document(kept, "1")})
    return board(
        found, situation.phases, ran_at, CommandLine(), lambda phase, day: f"/{phase}/{day}"
    )


@pytest.mark.parametrize(
    ("minutes", "state"),
    [(0, "Nothing"), (30, "Nothing"), (31, "The canary has not run for 31 min")],
)
def test_two_periods_without_a_run_need_somebody(tmp_path: Path, minutes: int, state: str) -> None:
    """One that comes late does not."""
    page = shown(SITUATIONS["all_well"](tmp_path / "stores"), NOW + minutes * MINUTE)
    assert page.state.word.startswith(state)
    assert (page.state.tone == "good") is (minutes < 31)


def test_what_else_needs_somebody_is_said_besides(tmp_path: Path) -> None:
    """After that nobody is watching, and what could wait by then needs nobody first."""
    page = shown(SITUATIONS["several_dates"](tmp_path / "stores"), NOW + HOUR)
    assert (page.state.word, page.state.tone) == (
        "The canary has not run for 1 h 00 min; 1 date needs somebody, 2 can wait",
        "bad",
    )
    silenced = shown(SITUATIONS["silenced"](tmp_path / "other"), NOW + HOUR)
    assert silenced.state.word == "The canary has not run for 1 h 00 min"


def test_the_time_that_nobody_has_seen_is_counted_up_to_now(tmp_path: Path) -> None:
    """Not only from the next run on; and where the last run could not tell, since that one."""
    situation = SITUATIONS["not_running"](tmp_path / "stores")
    assert shown(situation).phases[0].month.blind == timedelta(days=3)
    assert shown(situation, at=NOW - 20 * MINUTE).phases[0].month.blind == timedelta()
    assert shown(situation, at=NOW - 20 * MINUTE, reason="403").phases[0].month.blind == 20 * MINUTE
    before = {"since": NOW - 9 * HOUR, "until": NOW - 8 * HOUR, "why": "no run"}
    assert shown(situation, at=NOW - HOUR, unseen=[before]).phases[0].month.blind == 2 * HOUR


@pytest.mark.parametrize(
    "kept",
    [
        {"format": 1},
        {"at": "soon"},
        {"at": NOW + timedelta(days=2), "reason": "403"},
        {"at": None, "unseen": "no", "refusals": 7},
    ],
    ids=["empty", "damaged", "of the future", "odd"],
)
def test_without_a_record_of_runs_nothing_is_claimed(tmp_path: Path, kept: dict[str, Any]) -> None:
    """Neither that it has run, nor that it has not."""
    page = shown(SITUATIONS["all_well"](tmp_path / "stores"), **kept)
    assert (page.away, page.runs.at, page.phases[0].month.blind) == (None, None, timedelta())
    assert page.state.word == "Nothing needs you"
    assert "Nothing here says when the canary last ran" in as_html(page)


@pytest.mark.parametrize("name", ["empty", "unreadable"])
def test_who_only_looks_does_not_know(tmp_path: Path, name: str) -> None:
    """A folder in which no canary ran, and one whose memory does not answer."""
    page = shown(SITUATIONS[name](tmp_path / "stores"))
    assert page.away is None
    assert "Nobody is watching" not in as_html(page)
    assert "Nobody was sent" not in as_html(page)


def test_another_record_tells_where_nothing_is_remembered(tmp_path: Path) -> None:
    """A look by hand does not hide that nobody is watching."""
    assert shown(SITUATIONS["empty"](tmp_path / "s"), ran_at=NOW - HOUR).away == HOUR
    assert shown(SITUATIONS["not_running"](tmp_path / "o"), ran_at=NOW).away == timedelta(days=3)


def test_who_looks_back_does_not_count_what_came_later(tmp_path: Path) -> None:
    """Of a time that nobody saw, only what was before."""
    later = {"since": NOW - HOUR, "until": NOW + 9 * HOUR, "why": "no run"}
    after = {"since": NOW + HOUR, "until": NOW + 2 * HOUR, "why": "no run"}
    situation = SITUATIONS["all_well"](tmp_path / "s")
    assert shown(situation, at=NOW + 9 * HOUR, unseen=[later, after]).phases[0].month.blind == HOUR


# What was sent


def lines_of(
    memory: DateMemory | str, now: datetime = NOW, *acknowledged: Acknowledgement
) -> list[str]:
    """Return what was sent of DAY, a line each."""
    month, people = month_ref(DEFAULT_CANARY, "phase2", f"{DAY:%Y-%m}"), people_ref(DEFAULT_CANARY)
    kept = {str(DAY): memory} if isinstance(memory, str) else month_fields(None, {DAY: memory})
    documents = {month: Document(kept, "1")}
    for one in acknowledged:
        documents[people] = Document(acknowledgement_fields(documents.get(people), one), "1")
    histories = Remembered(documents, DEFAULT_CANARY, now).histories("phase2", DAY)
    return [f"{line.what} {line.of} {line.whom}" for history in histories for line in history.lines]


OPENED_AT = NOW - 5 * HOUR
OPEN = Incident(
    kind=VerdictKind.UNTRIGGERED,
    level=Level.ERROR,
    opened_at=OPENED_AT,
    events=(
        Event(
            what="OPENED",
            at=OPENED_AT,
            to=("log",),
            unanswered=("slack",),
            verdict=VerdictKind.UNTRIGGERED,
        ),
        Event(
            what="CHANGED",
            at=OPENED_AT + 2 * HOUR,
            to=("log", "slack"),
            verdict=VerdictKind.PREMATURE,
        ),
    ),
    reminders={"log": 2, "slack": 0},
    reminded_at=OPENED_AT + 4 * HOUR,
)


def acknowledgement(
    at: datetime, by: str = "alice", opened_at: datetime = OPENED_AT
) -> Acknowledgement:
    return Acknowledgement(
        phase="phase2", game_date=DAY, at=at, opened_at=opened_at, level=Level.ERROR, by=by
    )


def test_what_was_sent_is_shown_with_when_and_to_whom() -> None:
    """Also what nobody answered, and an acknowledgement that no run has noted yet."""
    memory = DateMemory(incidents=(OPEN,))
    said = acknowledgement(OPENED_AT + 3 * HOUR)
    assert lines_of(memory, NOW, said) == [
        "OPENED UNTRIGGERED sent to log, slack (no answer)",
        "CHANGED PREMATURE sent to log, slack",
        "ACKNOWLEDGED  by alice",
        "REMINDER  the last of 2 to log",
    ]
    other = acknowledgement(OPENED_AT + HOUR, opened_at=OPENED_AT - HOUR)
    assert "ACKNOWLEDGED  by alice" not in lines_of(memory, NOW, other)
    assert "ACKNOWLEDGED  by alice, which holds no longer" in lines_of(
        memory, NOW + timedelta(days=2), said
    )


def test_what_comes_later_is_not_shown() -> None:
    """Neither a message, nor an acknowledgement, nor a reminder, nor an end."""
    memory, said = DateMemory(incidents=(OPEN,)), acknowledgement(OPENED_AT + 3 * HOUR)
    assert lines_of(memory, OPENED_AT + HOUR, said) == [
        "OPENED UNTRIGGERED sent to log, slack (no answer)"
    ]
    assert (
        lines_of(DateMemory(incidents=(replace(OPEN, over_at=NOW),)), OPENED_AT - HOUR, said) == []
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"incidents": [{"kind": "x"}, 7]}', '{"incidents": 3}']
)
def test_damaged_memory_tells_nothing(text: str) -> None:
    """And ends in no error."""
    assert lines_of(text) == []


def test_the_pages_tell_it(tmp_path: Path) -> None:
    """In short on the board, whole on the page of the date.

    Acknowledged, silenced, over and expired.
    """
    canary = SITUATIONS["many"](tmp_path / "stores").canary()
    text = text_of(page_of(canary, "/"))
    assert "2026-02-11 23:45Z (18:45 EST) ACKNOWLEDGED by alice" in text
    assert "REMINDER the last of 2 to log" in text
    assert "slack; acknowledged by bob" in text
    of_date = {
        number: text_of(page_of(canary, f"/dates/{DAY - timedelta(days=number)}"))
        for number in (1, 2, 4, 16)
    }
    assert "ACKNOWLEDGED by alice I am at it" in of_date[1]
    assert f"canary ack {DAY - timedelta(days=1)}" in of_date[1]
    assert f"canary silence add {DAY - timedelta(days=1)} --for 12h" in of_date[1]
    assert "INCOMPLETE, RESOLVED 2026-02-12 07:15Z (02:15 EST)" in of_date[2]
    assert "RESOLVED" in of_date[2]
    assert "Silenced: phase2 2026-02-07, until 2026-02-12 19:45Z (14:45 EST)" in of_date[4]
    assert "OPENED INCOMPLETE sent to slack, log (no answer)" in of_date[16]
    assert "REMINDER the last of 12 to slack" in of_date[16]
    assert "ACKNOWLEDGED by bob, which holds no longer tomorrow" in of_date[16]
    assert "EXPIRED INCOMPLETE sent to slack" in of_date[16]


def test_nothing_was_sent_is_only_said_by_who_ran(tmp_path: Path) -> None:
    """Of a date that is silenced, with the reason."""
    world = World(tmp_path / "stores")
    world.play(DAY, drifted=True, output=False)
    assert "Nothing here says what was sent." in page_of(world.situation.canary(), f"/dates/{DAY}")
    assert "Nobody was sent" not in page_of(world.situation.canary(), "/")
    world.silence(DAY)
    world.watch(RecordingChannel())
    assert "Nobody was sent anything: it is silenced." in page_of(world.situation.canary(), "/")
    assert "Nobody was sent anything: it is silenced." in page_of(
        world.situation.canary(), f"/dates/{DAY}"
    )


def test_what_was_sent_could_not_be_read(tmp_path: Path) -> None:
    """It is said, with the reason."""
    text = text_of(page_of(SITUATIONS["unreadable"](tmp_path / "stores").canary(), f"/dates/{DAY}"))
    assert "What was sent could not be read: PermissionDenied" in text


def test_the_page_of_a_date_says_that_nobody_is_watching(tmp_path: Path) -> None:
    """And since when."""
    text = text_of(
        page_of(SITUATIONS["not_running"](tmp_path / "stores").canary(), f"/dates/{DAY}")
    )
    assert (
        "Nobody is watching: the canary has not run for 3 d 00 h, since 2026-02-09 07:45Z "
        "(02:45 EST)."
    ) in text


def test_the_dates_of_one_fault_are_listed_with_their_pages(tmp_path: Path) -> None:
    """One by one; with several phases the link says which is meant."""
    situation = SITUATIONS["several_dates"](tmp_path / "stores")
    (fault,) = shown(situation).faults
    assert [(one.date.day, one.badge.tone, one.history is not None) for one in fault.dates] == [
        (9, "warn", True),
        (10, "warn", True),
        (11, "bad", True),
    ]
    phases = {**situation.phases, "phase9": replace(situation.phases["phase2"], name="phase9")}
    several = page_of(Situation(situation.stores, phases).canary(), "/")
    assert "phase9 3 dates, 2026-02-09 to 02-11" in text_of(several)
    for number in range(3):
        day = DAY - timedelta(days=number)
        assert (
            f'href="/dates/{day}"'
            in page_of(situation.canary(), "/").partition("the last 14 dates")[0]
        )
        assert f'href="/dates/{day}?phase=phase2"' in several.partition("the last 14 dates")[0]


# Nothing of the future


def looked_at(world: World, day: date, now: datetime) -> tuple[Timeline, OneDate]:
    timeline, facts, found = timeline_and_facts(world.stores, world.phase, day, now)
    remembered = Remembered(found, DEFAULT_CANARY, now)
    return timeline, one_date(
        timeline, facts, world.phase, CommandLine(), now, remembered=remembered
    )


def test_the_deadline_that_is_still_to_come_is_no_idle_time(tmp_path: Path) -> None:
    """What is counted ends now."""
    world = World(tmp_path / "stores")
    world.play(DAY)
    timeline, page = looked_at(world, DAY, NOW)
    last = page.moments[-1]
    assert (last.at, last.still_to_come, last.idle) == (
        world.phase.deadline(DAY),
        True,
        "1 h 03 min",
    )
    assert "nothing for 1 h 03 min, until now" in as_html(page)
    assert "still to come" in as_html(page)
    _, later = looked_at(world, DAY, world.phase.deadline(DAY) + HOUR)
    assert (later.moments[-1].still_to_come, later.moments[-1].idle) == (False, "10 h 18 min")
    ahead = replace(
        timeline.entries[-1], at=NOW + HOUR, state=timeline.entries[0].state, words="of tomorrow"
    )
    odd = replace(timeline, entries=(*timeline.entries[:-1], ahead))
    remembered = Remembered({}, DEFAULT_CANARY, NOW)
    drawn = one_date(odd, None, world.phase, CommandLine(), NOW, remembered=remembered)
    assert all(moment.at is None or moment.at <= NOW for moment in drawn.moments)


def test_the_picture_of_a_date_ends_now(tmp_path: Path) -> None:
    """A grace that goes on is no stretch in which nothing happened."""
    world = World(tmp_path / "stores")
    world.play(DAY, drifted=True)
    world.phase = replace(world.phase, untriggered_after_minutes=600)
    _, page = looked_at(world, DAY, NOW - HOUR)
    assert page.picture is not None
    assert [fold.text for fold in page.picture.axis.folds()] == ["7 h 05 min"]
    flag = [*page.picture.rows()][-1]
    assert flag.grace is not None
    assert flag.grace.x + flag.grace.width <= (page.picture.now or 0) + 0.01


def test_what_has_no_time_stands_no_later_than_now(tmp_path: Path) -> None:
    """Not at a deadline that is still to come."""
    world = World(tmp_path / "stores")
    world.write(DAY, {"p2_odds_game_lines": {"status": "success"}, "_triggered": True})
    (lane,) = [one for one in shown(world.situation).phases[0].lanes if one.date == DAY]
    assert lane.now is not None
    assert [(mark.kind, mark.x <= lane.now) for mark in lane.marks] == [("unknown", True)]
    assert lane.flag is not None
    assert lane.flag.x <= lane.now


def test_with_several_phases_a_card_says_which_is_meant(tmp_path: Path) -> None:
    """Of one date as well."""
    situation = SITUATIONS["blocked"](tmp_path / "stores")
    phases = {**situation.phases, "phase9": replace(situation.phases["phase2"], name="phase9")}
    cards = text_of(
        page_of(Situation(situation.stores, phases).canary(), "/").partition("the last 14 dates")[0]
    )
    assert "phase2 2026-02-11" in cards
    assert "phase9 2026-02-11" in cards
