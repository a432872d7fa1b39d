"""Healthy weeks of the live pipeline, with all that its code writes, notify nobody."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from canary.domain.verdict import Verdict, VerdictKind
from canary.run import check_dates
from orchestrator_resilience import load_phases
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.sqlite import SqliteCounts

FILE = Path(__file__).parents[2] / "examples" / "phases_of_a_pipeline.toml"
DAYS = [date(2026, 3, day) for day in range(9, 16)]
QUARTER = timedelta(minutes=15)
QUERIES = {
    "outcome_query": (
        "SELECT game_date, n FROM work.output WHERE game_date BETWEEN @since AND @until"
    ),
    "work_query": "SELECT game_date, n FROM work.games WHERE game_date BETWEEN @since AND @until",
}
P3, P4 = "phase3", "phase4"
OF_THE_NIGHT = (
    "team_defense_game_summary",
    "team_offense_game_summary",
    "player_game_summary",
    "upcoming_team_game_context",
)
UPCOMING = "upcoming_player_game_context"
CRITICAL = {"player_game_summary", UPCOMING}


def eastern(day: date, hour: int, minute: int = 0) -> datetime:
    """Return a moment of a day in New York, in UTC; the hours go on past midnight."""
    at = datetime.combine(
        day + timedelta(days=hour // 24), time(hour % 24, minute), ZoneInfo("America/New_York")
    )
    return at.astimezone(UTC)


class Pipeline:
    """Three phases on the embedded stores, with what the pipeline's own code writes."""

    def __init__(self, stores: EmbeddedStores) -> None:
        self.phases = {
            name: msgspec.structs.replace(phase, **QUERIES)
            for name, phase in load_phases(FILE).items()
        }
        self.stores = stores
        self.documents: dict[DocumentRef, dict[str, Any]] = {}
        self.came = 0
        stores.counts = SqliteCounts(stores.folder / "datasets")
        (stores.folder / "datasets").mkdir(parents=True)
        with (
            closing(sqlite3.connect(stores.folder / "datasets" / "work.sqlite3")) as tables,
            tables,
        ):
            for table in ("games", "output"):
                tables.execute(f"CREATE TABLE {table} (game_date TEXT, n INTEGER)")
                tables.executemany(
                    f"INSERT INTO {table} VALUES (?, 7)",  # noqa: S608
                    [(str(day),) for day in DAYS],
                )

    def arrive(
        self, phase: str, day: date, name: str, at: datetime, mode: str | None = None
    ) -> None:
        """Write one success as the code does: row, entry, counts, and the flag by its own rule."""
        ref = DocumentRef(self.phases[phase].firestore_collection, str(day))
        fields = self.documents.setdefault(ref, {})
        self.came += 1
        row = CompletionRow(
            row_id=str(self.came),
            phase=phase,
            game_date=day,
            processor_name=name,
            status="success",
            completed_at=at,
            event_id=None,
        )
        self.stores.completion_log.append([row], now=at + timedelta(seconds=2))
        if name in fields:  # taken for a duplicate
            return
        entry = {"completed_at": at, "status": "success", "record_count": 9, "entities_changed": []}
        fields |= {name: entry, "_last_update": at, **({"_mode": mode} if mode else {})}
        done = {name for name in fields if not name.startswith("_")}
        fields["_completed_count"] = len(done)
        if (reason := self._reason(phase, done, mode, at, fields)) and not fields.get("_triggered"):
            fields |= {
                "_trigger_pending": True,
                "_trigger_pending_at": at,
                "_trigger_reason": reason,
            }
            fields |= {"_triggered": True, "_triggered_at": at, "_trigger_succeeded": True}
        self.stores.documents.merge(ref, fields)

    def _reason(
        self, phase: str, done: set[str], mode: str | None, at: datetime, fields: dict[str, Any]
    ) -> str | None:
        needed = 1 if mode in {"same_day", "tomorrow"} else 5
        first = fields.setdefault("_first_completion_at", at)
        if len(done) >= needed:
            return "all_complete"
        if phase == P3 and done >= CRITICAL and len(done) >= 3:
            return f"critical_plus_majority_{len(done) * 20}pct"
        late = phase == P4 and len(done) >= 4 and at - first > timedelta(hours=1)
        return "tier2_timeout" if late else None

    def verdicts(self, now: datetime) -> Iterator[Verdict]:
        """Judge the dates that a run judges; those before the week are nobody's."""
        report = check_dates(self.stores, self.phases, now)
        yield from (verdict for verdict in report.verdicts if verdict.game_date in DAYS)


Event = tuple[datetime, Callable[[], None]]


def week(pipeline: Pipeline, *, morning: str | None, last_of_phase4: bool) -> list[Event]:
    """Return what happens in a week: a `morning` run in that mode, and that of the next night."""
    events: list[Event] = []

    def arrives(phase: str, day: date, name: str, at: datetime, mode: str | None = None) -> None:
        events.append((at, lambda: pipeline.arrive(phase, day, name, at, mode)))

    for day in DAYS:
        for n, name in enumerate(("p2_odds_game_lines", "p2_odds_player_props")):
            arrives("phase2", day, name, eastern(day, 11, n))
        for n, name in enumerate(
            ("p2_nbacom_boxscores", "p2_nbacom_gamebook_pdf", "p2_bigdataball_pbp")
        ):
            arrives("phase2", day, name, eastern(day, 29, 30 + 4 * n))
        if morning == "tomorrow":
            arrives(P3, day, UPCOMING, eastern(day - timedelta(days=1), 17), morning)
        elif morning:
            arrives(P3, day, UPCOMING, eastern(day, 6, 30), morning)
        for n, name in enumerate(OF_THE_NIGHT if morning else (*OF_THE_NIGHT, UPCOMING)):
            arrives(P3, day, name, eastern(day, 30, 10 + 3 * n), "overnight")
        for n, name in enumerate(sorted(pipeline.phases[P4].expected)):
            if n < 4 or last_of_phase4:
                arrives(P4, day, name, eastern(day, 9) + timedelta(minutes=21 * n))
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize(
    ("morning", "last_of_phase4"),
    [("same_day", True), ("tomorrow", True), ("same_day", False), (None, True)],
)
def test_a_healthy_week_is_quiet(
    stores: EmbeddedStores,
    morning: str | None,
    last_of_phase4: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    """No mode of a phase notifies, nor does a flag that was set on purpose without everybody."""
    pipeline = Pipeline(stores)
    if morning is None:  # then nobody needs the players before the night's run
        pipeline.phases[P3] = msgspec.structs.replace(pipeline.phases[P3], periods={})
    events = week(pipeline, morning=morning, last_of_phase4=last_of_phase4)
    now = eastern(DAYS[0], 0)
    while now < eastern(DAYS[-1], 36):
        while events and events[0][0] <= now:
            events.pop(0)[1]()
        bad = [
            (str(v.game_date), v.phase, v.kind.value, v.summary)
            for v in pipeline.verdicts(now)
            if not v.kind.is_quiet
        ]
        assert not bad, now
        now += QUARTER
    assert {v.kind for v in pipeline.verdicts(now) if v.game_date == DAYS[-1]} == {
        VerdictKind.TRIGGERED
    }


@pytest.mark.parametrize("unset", [0, 3])
def test_a_flag_that_was_not_set_is_told_within_45_minutes(
    stores: EmbeddedStores, unset: int
) -> None:
    """By the phase's own rule: three of five with both critical ones, and all."""
    pipeline, day = Pipeline(stores), DAYS[3]
    names = [*OF_THE_NIGHT[unset and 2 :], UPCOMING]
    for n, name in enumerate(names):
        pipeline.arrive(P3, day, name, eastern(day, 30, n), "overnight")
    ref = DocumentRef(pipeline.phases[P3].firestore_collection, str(day))
    stores.documents.merge(ref, {"_triggered": False})
    (verdict,) = check_dates(stores, pipeline.phases, eastern(day, 30, 34), {P3: [day]}).verdicts
    assert (verdict.kind, len(verdict.completed)) == (VerdictKind.UNTRIGGERED, len(names))


def test_counting_is_still_premature(stores: EmbeddedStores) -> None:
    """Three of five and two unexpected ones made five, and the reason says that all were there."""
    pipeline, day = Pipeline(stores), DAYS[3]
    for name in (
        "player_game_summary",
        UPCOMING,
        "team_offense_game_summary",
        "somebody",
        "somebody_else",
    ):
        pipeline.arrive(P3, day, name, eastern(day, 30), "overnight")
    ref = DocumentRef(pipeline.phases[P3].firestore_collection, str(day))
    stores.documents.merge(ref, {"_trigger_reason": "all_complete"})
    (verdict,) = check_dates(stores, pipeline.phases, eastern(day, 31), {P3: [day]}).verdicts
    assert verdict.kind is VerdictKind.PREMATURE
    assert verdict.missing == ("team_defense_game_summary", "upcoming_team_game_context")


def test_the_flag_of_the_morning_does_not_excuse_the_night(stores: EmbeddedStores) -> None:
    """What the night's run lacks at its deadline is reported though the morning set the flag."""
    pipeline, day = Pipeline(stores), DAYS[3]
    pipeline.arrive(P3, day, UPCOMING, eastern(day, 6, 30), "same_day")
    pipeline.arrive(P3, day, "team_offense_game_summary", eastern(day, 30), "overnight")
    kinds = [
        check_dates(stores, pipeline.phases, eastern(day, hour), {P3: [day]}).verdicts[0].kind
        for hour in (35, 37)
    ]
    assert kinds == [VerdictKind.WAITING, VerdictKind.INCOMPLETE]


def test_what_is_needed_before_the_games_is_told_before_them(stores: EmbeddedStores) -> None:
    """The morning's run and the odds are each missed at their own deadline, and nobody else is."""
    pipeline, day = Pipeline(stores), DAYS[3]
    wanted = {name: [day] for name in pipeline.phases}
    early, late = (
        check_dates(stores, pipeline.phases, eastern(day, *at), wanted).verdicts
        for at in ((11, 0), (18, 45))
    )
    assert {verdict.kind for verdict in early} == {VerdictKind.WAITING}
    assert {verdict.phase: verdict.missing for verdict in late} == {
        "phase2": ("p2_odds_game_lines", "p2_odds_player_props"),
        P3: (UPCOMING,),
        P4: tuple(sorted(pipeline.phases[P4].expected)),
    }
