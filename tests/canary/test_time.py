"""Clocks that change twice a year, leap days, ends of years, and clocks that jump back.

What is elapsed is elapsed, whatever a wall clock does meanwhile; a wall clock's time is that of the
phase's zone.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from canary.domain.evidence import Absent, Arrival, Evidence, Logged, Seen, Source, Traces
from canary.domain.incident import (
    QUIET_AFTER_RETURN,
    REMIND_EVERY,
    RUN_EVERY,
    DateMemory,
    NotificationKind,
)
from canary.domain.path import where_it_stopped
from canary.domain.path.dossier import Dossier
from canary.domain.remembered import Runs, after_a_run, month_fields, read_date
from canary.domain.silence import LONGEST, new_silence
from canary.domain.slots import OwnMemory, due_without_memory
from canary.domain.timeline import timeline_of
from canary.domain.verdict import Impact, Level, Verdict, VerdictKind, judge
from canary.page.axis import FoldedAxis
from canary.page.board import _axis
from orchestrator_resilience import Phase
from orchestrator_resilience.checkpoints import Checkpoint, CheckpointKind, Severity
from orchestrator_resilience.progress import ProcessorReport, Progress, Registration, Trigger
from orchestrator_resilience.stores.base import Document
from tests.proof.inputs import FIVE, PHASE
from tests.proof.steps import AT, step

ZONES = [
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",  # half an hour
    "America/Havana",  # at midnight
    "America/Sao_Paulo",  # at midnight, until 2019
    "Antarctica/Troll",  # two hours
    "Pacific/Apia",  # without the 30th of December 2011
    "Africa/Casablanca",  # back for a month that moves
    "Pacific/Kiritimati",  # UTC+14
    "Etc/GMT+12",
    "Asia/Kathmandu",
    "UTC",
]
# the changes of a zone are found once
DRAWN = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
K, N = VerdictKind, NotificationKind


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """Return the moments (UTC) at which the clocks of a zone are changed, from 2010 to 2030."""
    tz, first = ZoneInfo(zone), datetime(2010, 1, 1, tzinfo=UTC)
    days = [first + n * DAY for n in range(20 * 365)]
    return tuple(_between(tz, a, b) for a, b in pairwise(days) if _offset(tz, a) != _offset(tz, b))


def _offset(tz: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(tz).utcoffset()


def _between(tz: ZoneInfo, early: datetime, late: datetime) -> datetime:
    while late - early > MINUTE:
        middle = early + (late - early) // 2
        early, late = (
            (middle, late) if _offset(tz, middle) == _offset(tz, early) else (early, middle)
        )
    return late


class Place(NamedTuple):
    """A phase in a zone, and a moment (UTC) at which something happens there."""

    phase: Phase
    at: datetime

    @property
    def tz(self) -> ZoneInfo:
        """The zone."""
        return ZoneInfo(self.phase.timezone)


@st.composite
def places(draw: st.DrawFn) -> Place:
    """Draw a zone, a deadline, and a moment near changed clocks or an end of year or February."""
    zone = draw(st.sampled_from(ZONES))
    ends = st.builds(
        lambda year, end: datetime(year, end[0], end[1], tzinfo=UTC),
        st.sampled_from([2023, 2024, 2025, 2026, 2028, 2096]),
        st.sampled_from([(2, 28), (3, 1), (12, 31), (1, 1)]),
    )
    leap = st.sampled_from([datetime(year, 2, 29, tzinfo=UTC) for year in (2000, 2024, 2028, 2096)])
    special = [ends, leap, *([st.sampled_from(changes(zone))] * 3 if changes(zone) else [])]
    near = draw(st.one_of(special)) + draw(st.integers(-26 * 60, 26 * 60)) * MINUTE
    by = (
        f"+{draw(st.integers(0, 3))}d "
        f"{draw(st.integers(0, 23)):02}:{draw(st.sampled_from([0, 15, 30, 59])):02}"
    )
    phase = msgspec.structs.replace(
        PHASE, timezone=zone, incomplete_by=by, lookback_dates=7, history_dates=7
    )
    return Place(phase, near)


_documents = st.sampled_from(["none", "all", "four"])


def evidence_of(
    place: Place, missing: int, document: str, spread: Sequence[int], delay: int
) -> Evidence:
    """Let all but `missing` complete up to `spread` minutes before, and their rows come later.

    A row follows its completion by `delay` seconds.
    """
    times = {
        name: place.at - minutes * MINUTE
        for name, minutes in zip(FIVE[missing:], [0, *spread], strict=False)
    }
    visible = timedelta(seconds=delay)
    log = Logged(
        {name: Arrival(at, at + visible) for name, at in times.items()},
        {name: ProcessorReport("success", at) for name, at in times.items()},
    )
    held = dict(list(times.items())[: {"none": 0, "all": 5, "four": 4}[document]])
    registered = {name: Registration(at, name, at + visible) for name, at in held.items()}
    progress: Source[Progress] = (
        Absent() if document == "none" else Seen(Progress(PHASE.expected, registered))
    )
    day = place.at.astimezone(place.tz).date()
    return Evidence(phase="phase2", game_date=day, completion_log=Seen(log), progress=progress)


evidences = st.tuples(
    places(),
    st.sampled_from([0, 0, 1]),
    _documents,
    st.lists(st.integers(0, 20 * 60), min_size=4, max_size=4),
    st.integers(0, 90),
)


@settings(DRAWN, max_examples=150)
@given(evidences, st.lists(st.integers(0, 4 * 24 * 60), min_size=2, max_size=8), st.integers(0, 14))
def test_a_stuck_date_is_accused_after_elapsed_time_and_stays_accused(
    drawn: tuple[Any, ...], later: list[int], offset: int
) -> None:
    """A stuck date is accused after 30 to 45 minutes whatever the clocks do, and stays accused."""
    # How bad a verdict is, while the evidence stays the same.
    rank = {K.WAITING: 0, K.SETTLING: 0, K.STORES_DISAGREE: 1, K.INCOMPLETE: 2, K.UNTRIGGERED: 2}
    place, evidence = drawn[0], evidence_of(*drawn)
    phase, done = place.phase, place.at
    assert isinstance(evidence.completion_log, Seen)
    is_complete = len(evidence.completion_log.value.completed) == len(FIVE)
    due = done + 30 * MINUTE if is_complete else phase.deadline(evidence.game_date)
    late = K.UNTRIGGERED if is_complete else K.INCOMPLETE
    shown_by = max(row.visible_at for row in evidence.completion_log.value.completed.values())
    moments = sorted(
        {done + minutes * MINUTE for minutes in later} | {due - MINUTE / 60, due, due + 4 * DAY}
    )
    kinds = {now: judge(evidence, phase, now).kind for now in moments if now >= shown_by}
    assert {now: kind is late for now, kind in kinds.items()} == {now: now >= due for now in kinds}
    ranks = [rank[kind] for kind in kinds.values()]
    assert ranks == sorted(ranks)
    if is_complete:
        runs = (done + offset * MINUTE + n * RUN_EVERY for n in range(5))
        told = next(now for now in runs if judge(evidence, phase, now).kind is K.UNTRIGGERED)
        assert 30 * MINUTE <= told - done < 45 * MINUTE


@settings(DRAWN, max_examples=100)
@given(places(), st.lists(st.integers(-60, 5 * 24 * 60), min_size=1, max_size=8))
def test_every_wait_ends_at_its_moment_and_for_good(place: Place, minutes: list[int]) -> None:
    """The wait for the next phase takes an elapsed hour, that for a report ends at the deadline."""
    phase, day = place.phase, place.at.astimezone(place.tz).date()
    trigger = Trigger(place.at, "all_complete", "1")
    registered = {name: Registration(place.at, name, place.at) for name in FIVE}
    log = Logged({name: Arrival(place.at, place.at) for name in FIVE})
    done = Evidence(
        phase="phase2",
        game_date=day,
        completion_log=Seen(log),
        progress=Seen(Progress(PHASE.expected, registered, trigger=trigger)),
        outcome=Seen(0),
    )
    silent = Evidence(
        phase="phase2", game_date=day, completion_log=Absent(), progress=Absent(), work=Seen(7)
    )
    for evidence, due, before, after in (
        (done, place.at + HOUR, K.TRIGGERED, K.DOWNSTREAM_MISSING),
        (silent, phase.deadline(day), K.WAITING, K.SILENT),
    ):
        moments = {due - MINUTE / 60, due, *(place.at + n * MINUTE for n in minutes)}
        kinds = {
            now: judge(evidence, phase, now).kind
            for now in moments
            if now >= place.at or evidence is silent
        }
        assert kinds == {now: after if now >= due else before for now in kinds}


@settings(DRAWN, max_examples=100)
@given(evidences, st.integers(0, 60))
def test_a_clock_that_jumped_back_accuses_nobody(drawn: tuple[Any, ...], back: int) -> None:
    """By up to an hour, before which the last completion has not happened yet."""
    place, evidence = drawn[0], evidence_of(*drawn)
    now = place.at - back * MINUTE
    is_late = now >= place.phase.deadline(evidence.game_date)
    incomplete = {K.INCOMPLETE} if is_late else {K.WAITING, K.STORES_DISAGREE}
    assert judge(evidence, place.phase, now).kind in (
        incomplete if drawn[1] else {K.SETTLING, K.STORES_DISAGREE}
    )


def moved(evidence: Evidence, tz: Any) -> Evidence:
    """Return the same evidence, with all times as the clocks of a zone show them."""
    assert isinstance(evidence.completion_log, Seen)
    log = evidence.completion_log.value
    arrivals = {
        n: Arrival(a.completed_at.astimezone(tz), a.visible_at.astimezone(tz))
        for n, a in log.completed.items()
    }
    reports = {
        n: ProcessorReport(r.status, r.at and r.at.astimezone(tz)) for n, r in log.reports.items()
    }
    progress = evidence.progress
    if isinstance(progress, Seen):
        registered = {
            name: replace(
                one,
                completed_at=_in(one.completed_at, tz),
                registered_at=_in(one.registered_at, tz),
            )
            for name, one in progress.value.registered.items()
        }
        progress = Seen(replace(progress.value, registered=registered))
    return replace(
        evidence,
        completion_log=Seen(replace(log, completed=arrivals, reports=reports)),
        progress=progress,
    )


def _in(at: datetime | None, tz: Any) -> datetime | None:
    return at and at.astimezone(tz)


@settings(DRAWN, max_examples=150)
@given(evidences, st.integers(-60, 3 * 24 * 60), st.sampled_from([*ZONES, 14, -12, 5.75]))
def test_whose_clock_a_time_was_read_from_does_not_matter(
    drawn: tuple[Any, ...], minutes: int, zone: Any
) -> None:
    """Verdict, causes and timeline are the same with any offset, and a repeated hour is two."""
    tz = ZoneInfo(zone) if isinstance(zone, str) else timezone(timedelta(hours=zone))
    place, evidence = drawn[0], evidence_of(*drawn)
    phase, now = place.phase, place.at + minutes * MINUTE
    lines = [
        Checkpoint(
            kind=CheckpointKind.RECEIVED,
            severity=Severity.INFO,
            text="x",
            at=place.at - n * MINUTE,
            fields={"processor": name},
        )
        for n, name in enumerate(FIVE)
    ]

    written = [{**line.to_json(), "time": line.at.astimezone(tz).isoformat()} for line in lines]

    def said(one: Evidence, seen: Traces, at: datetime) -> tuple[Verdict, list[Any]]:
        verdict = judge(one, phase, at)
        if verdict.kind.is_problem:
            verdict = where_it_stopped(verdict, one, seen, history=[one], phase=phase, now=at)
        entries = timeline_of(verdict, Dossier(one, phase, at, traces=seen)).entries
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries if entry.at)
        return verdict, sorted(
            (one.at, one.stage, one.subject, one.words) for one in entries if one.at
        )

    elsewhere = Traces(Seen([Checkpoint.from_json(line) for line in written]))
    there = said(moved(evidence, tz), elsewhere, now.astimezone(tz))
    assert there == said(evidence, Traces(Seen(lines)), now)


@settings(DRAWN, max_examples=300)
@given(places())
def test_a_deadline_is_a_time_that_the_clocks_show(place: Place) -> None:
    """In a skipped hour it comes as much later, and in a repeated one it is the first of both."""

    def jumps(tz: ZoneInfo, at: datetime) -> set[timedelta]:
        """Return by how much the clocks are put forward in the day before a moment."""
        nows = [at.astimezone(UTC) - n * HOUR / 2 for n in range(60)]
        return {
            (_offset(tz, late) or timedelta()) - (_offset(tz, early) or timedelta())
            for late, early in pairwise(nows)
        }

    phase, tz = place.phase, place.tz
    day = place.at.astimezone(tz).date()
    days, hour, minute = (
        int(part) for part in phase.incomplete_by[1:].replace("d ", ":").split(":")
    )
    wanted = datetime.combine(day, datetime.min.time()) + timedelta(
        days=days, hours=hour, minutes=minute
    )
    deadline = phase.deadline(day)
    shown = deadline.astimezone(tz)
    assert deadline.tzinfo is UTC
    assert shown.replace(tzinfo=None, fold=0) - wanted in {timedelta(), *jumps(tz, shown)}
    assert shown.fold == 0
    assert phase.deadline(day - DAY) <= deadline <= phase.deadline(day + DAY)


@settings(DRAWN, max_examples=200)
@given(places(), st.integers(1, 31))
def test_recent_dates_follow_each_other_up_to_today(place: Place, count: int) -> None:
    """Each once, and the last is what the calendar on the wall shows."""
    dates = place.phase.recent_dates(place.at, count)
    assert {late - early for early, late in pairwise(dates)} <= {DAY}
    assert (len(dates), dates[-1]) == (count, place.at.astimezone(place.tz).date())


@settings(DRAWN, max_examples=200)
@given(places(), st.lists(st.integers(-6 * 60, 60 * 60), min_size=1, max_size=8))
def test_the_pictures_hold_every_moment_in_its_order(place: Place, minutes: list[int]) -> None:
    """A lane shows the wall's hours, of which two may overlap; a folded one shows elapsed time."""
    day = place.at.astimezone(place.tz).date()
    axis = _axis(place.phase, day)
    moments = sorted({place.at + n * MINUTE for n in minutes})
    assert axis.end > axis.start
    assert axis.holds(place.phase.deadline(day))
    assert all(0 <= axis.x(at) <= 100 for at in moments)
    assert [tick.label for tick in axis.ticks(6 * HOUR)][:2] in (
        ["12:00", "18:00"],
        ["00:00", "06:00"],
    )
    walls = sorted(moments, key=lambda at: at.astimezone(place.tz).replace(tzinfo=None))
    assert [axis.x(at) for at in walls] == sorted(axis.x(at) for at in walls)
    folded = FoldedAxis(moments, place.tz)
    places_ = [folded.x(at) for at in moments]
    assert places_ == sorted(set(places_))
    assert all(0 <= x <= 100 for x in places_)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("", "2026-03-08 16:00:00+00:00\n"),
        (
            "sys.modules['tzdata'] = None",
            (
                "[phase2]: timezone: 'America/New_York' cannot be looked up: this machine has "
                "no time zones, and the "
                "package tzdata, which brings them along, is not installed\n"
            ),
        ),
    ],
)
def test_a_machine_without_time_zones(without: str, said: str) -> None:
    """The package tzdata supplies the zones, and where it is missing too, the error says so."""
    program = f"""
import sys
{without}
from orchestrator_resilience import ConfigurationError, load_phases
try:
    print(load_phases()["phase2"].deadline(__import__("datetime").date(2026, 3, 7)))
except ConfigurationError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.rpartition("phases.toml: ")[2], done.stderr) == (said, "")


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-cli.txt", "requirements-dev.txt"]
)
def test_time_zones_are_installed_wherever_this_is(file: str) -> None:
    """By hash, as everything."""
    pinned = (Path(__file__).parents[2] / file).read_text("utf-8")
    assert re.search(r"^tzdata==\d+\.\d+(\.\d+)? \\$", pinned, re.MULTILINE)


def verdict(kind: VerdictKind) -> Verdict:
    impact = Impact.UNKNOWN if kind.is_problem else None
    return Verdict(
        kind=kind, phase="phase2", game_date=date(2026, 2, 9), summary="x", impact=impact
    )


@settings(DRAWN, max_examples=150)
@given(
    places(),
    st.lists(st.sampled_from([0, 0, 0, 0, 1, 4, 6, 20, 59]), min_size=20, max_size=60),
    st.data(),
)
def test_a_clock_that_jumps_back_tells_nothing_twice_and_loses_nothing(
    place: Place, jumps: list[int], data: st.DataObject
) -> None:
    """A jump of up to an hour before any run repeats no message, and every end is notified of."""
    ends = data.draw(st.integers(1, len(jumps)))
    real, behind = place.at, timedelta()
    memory = DateMemory()
    heard: list[tuple[datetime, NotificationKind]] = []
    for number, back in enumerate([*jumps, *[0] * (QUIET_AFTER_RETURN // RUN_EVERY + 1)]):
        real, behind = real + RUN_EVERY, behind + back * MINUTE
        one = verdict(K.UNTRIGGERED if number < ends else K.TRIGGERED)
        memory, sent = step(memory, one, replace(AT, now=real - behind, run=str(number)))
        heard += [(real, kind) for kind in {*sent.values()}]
        memory = read_date(
            Document(month_fields(None, {one.game_date: memory}), "1"), one.game_date
        )
    kinds = [kind for _, kind in heard]
    assert kinds == [N.OPENED, *[N.REMINDER] * (len(kinds) - 2), N.RESOLVED]
    assert all(
        late - early >= REMIND_EVERY
        for (early, _), (late, kind) in pairwise(heard)
        if kind is N.REMINDER
    )
    assert memory.incidents[-1].ended is N.RESOLVED


@settings(DRAWN, max_examples=100)
@given(places(), st.integers(0, 14))
def test_reminders_come_every_four_hours_that_pass(place: Place, offset: int) -> None:
    """With memory and without, also in the night in which the wall's hours are 23 or 25."""
    since, phase = place.at - 31 * MINUTE, place.phase
    nows = [place.at + offset * MINUTE + n * RUN_EVERY for n in range(100)]
    one, memory, own = replace(verdict(K.UNTRIGGERED), since=since), DateMemory(), OwnMemory()
    heard: dict[str, list[datetime]] = {"memory": [], "none": []}
    for number, now in enumerate(nows):
        memory, sent = step(memory, one, replace(AT, now=now, run=str(number)))
        heard["memory"] += [now] if sent else []
        if due_without_memory(one, "log", phase, now, own, said=None):
            own.told["log", phase.name, one.game_date] = now, Level.ERROR
            heard["none"].append(now)
        own.end_of_run([(phase.name, one.game_date)], now)
    assert {late - early for early, late in pairwise(heard["memory"])} == {REMIND_EVERY}
    assert {late - early for early, late in pairwise(heard["none"][1:])} == {REMIND_EVERY}
    assert heard["none"][1] - heard["none"][0] <= REMIND_EVERY


@settings(DRAWN, max_examples=150)
@given(
    places(),
    st.integers(1, LONGEST // MINUTE),
    st.lists(st.integers(-60, 40 * 24 * 60), max_size=6),
)
def test_a_silence_ends_when_it_ends(place: Place, lasts: int, minutes: list[int]) -> None:
    """It ends after the elapsed time that was asked for, though a clock is an hour behind."""
    day = place.at.astimezone(place.tz).date()
    until = place.at + lasts * MINUTE
    silence = new_silence(
        phase="phase2", first=day, last=day, reason="x", expires_at=until, now=place.at
    )
    one = replace(verdict(K.UNTRIGGERED), game_date=day)
    nows = {until - MINUTE / 60, until, *(place.at + n * MINUTE for n in minutes)}
    assert {now: silence.covers(one, now) for now in nows} == {now: now < until for now in nows}


@settings(DRAWN, max_examples=150)
@given(places(), st.lists(st.sampled_from([-20, -1, 0, 15, 15, 15, 120]), min_size=1, max_size=12))
def test_what_nobody_saw_is_not_forgotten_by_a_clock_that_jumps(
    place: Place, steps: list[int]
) -> None:
    """Two runs at once are a jump as well, for the one written last may have begun first."""
    runs, now = after_a_run(Runs(at=place.at - 3 * HOUR), place.at, ""), place.at
    gap = runs.unseen[0]
    for minutes in steps:
        now += minutes * MINUTE
        runs = after_a_run(runs, now, "")
        assert runs.at == now
        assert runs.unseen[0].since == gap.since
        assert runs.unseen[0].until >= gap.until
