"""Whole lives of incidents, run by run: what people hear when something else happens as well."""

import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
from msgspec.structs import replace

from canary.domain.incident import NotificationKind
from canary.domain.remembered import DEFAULT_CANARY, month_ref
from canary.domain.stages import Cause, CauseKind
from canary.domain.verdict import Impact, VerdictKind
from canary.notify.channel import Channels, NotifyError
from canary.notify.log_entry import LogChannel
from tests.proof.doubles import Operation
from tests.proof.lives import DAYS, HOUR, PHASE, TICK, Life, People, Spell, at, silence

DAY, BEFORE = date(2026, 2, 9), date(2026, 2, 8)
START = at("2026-02-10 17:00")
NEVER = at("2027-01-01 00:00")
K = VerdictKind
OPENED = NotificationKind.OPENED
CHANGED = NotificationKind.CHANGED
REMINDER = NotificationKind.REMINDER
RESOLVED, EXPIRED = NotificationKind.RESOLVED, NotificationKind.EXPIRED
BLOCKED, HARMLESS = {"impact": Impact.BLOCKED}, {"impact": Impact.NONE}
CRASHED = {"causes": (Cause(kind=CauseKind.CRASHED),)}
PHASE3 = replace(PHASE, name="phase3")


def until(
    end: datetime, error: BaseException, since: datetime = START
) -> Callable[[datetime], BaseException | None]:
    return lambda now: error if since <= now < end else None


# What is new


def test_what_begins_again_late_in_a_noisy_day_is_sent_at_once() -> None:
    """Reminders and changes leave room for it."""
    spells = [
        Spell(DAY, START, START + HOUR / 2, K.INCOMPLETE, HARMLESS),
        Spell(DAY, START + HOUR / 2, START + HOUR),
        Spell(DAY, START + HOUR, START + 14 * HOUR, more=BLOCKED),
        Spell(DAY, START + 14 * HOUR, START + 18.5 * HOUR, K.PREMATURE, BLOCKED),
        Spell(DAY, START + 19.5 * HOUR, NEVER, more=BLOCKED),
    ]
    life = Life(spells)
    assert {*life.runs(START, START + 26 * HOUR)} == {200}
    assert (START + 19.5 * HOUR, OPENED) in life.people[0].when(DAY)
    counted = [now for now, kind in life.people[0].when(DAY) if not kind.is_end]
    assert all(sum(now - DAYS < other <= now for other in counted) <= 8 for now in counted)


def test_answers_that_get_lost_use_nothing_up() -> None:
    """OPENED three times at the most; what is worse afterwards is sent."""
    lost = NotifyError("no answer", may_be_posted=True)
    slack = People("slack", until(START + 2 * HOUR, lost))
    life = Life(
        [Spell(DAY, START, START + 2 * HOUR), Spell(DAY, START + 2 * HOUR, NEVER, more=BLOCKED)],
        slack,
    )
    life.runs(START, START + 3 * HOUR)
    assert slack.kinds(DAY) == [OPENED, OPENED, OPENED, CHANGED]


def test_a_warning_among_errors_has_its_own_reminders() -> None:
    """In the hour of the deadline, each day."""
    others = [
        Spell(BEFORE, START, NEVER, more=CRASHED),
        Spell(DAY, START, NEVER, more={**CRASHED, **HARMLESS}),
    ]
    for spells in (others, others[1:]):
        life = Life(spells)
        life.runs(START, START + 2 * DAYS)
        assert life.people[0].when(DAY) == [(START, OPENED), (START + DAYS, REMINDER)]


def test_what_opens_lists_its_group() -> None:
    """The group has dates whose reminder is due, or which another channel is sent in that run."""
    slack = People("slack", until(START + TICK, OSError("no route")))
    log = People("log")
    spells = [
        Spell(BEFORE, START, NEVER, more=CRASHED),
        Spell(DAY, START + 4 * HOUR, NEVER, more=CRASHED),
    ]
    Life(spells, log, slack).runs(START, START + 5 * HOUR)
    for channel in (log, slack):
        (opening,) = (one for now, one in channel.heard if now == START + 4 * HOUR)
        assert (opening.verdict.game_date, [verdict.game_date for verdict in opening.also]) == (
            DAY,
            [BEFORE],
        )


def test_an_entry_has_the_fields_of_the_worst_date_of_its_headline() -> None:
    """Which may be one that was sent before."""
    stream = io.StringIO()
    worse = {**CRASHED, **BLOCKED, "output": 0, "work": 14}
    spells = [
        Spell(BEFORE, START, NEVER, more=worse),
        Spell(DAY, START + HOUR, NEVER, more={**CRASHED, **HARMLESS}),
    ]
    life = Life(spells)
    life.channels = Channels(LogChannel({"phase2": PHASE}, stream=stream))
    life.runs(START, START + 2 * HOUR)
    entry = [json.loads(line) for line in stream.getvalue().splitlines()][-1]
    assert (entry["severity"], entry["impact"], entry["game_date"]) == (
        "CRITICAL",
        "BLOCKED",
        str(BEFORE),
    )
    assert entry["game_dates"] == [str(BEFORE), str(DAY)]
    assert entry["headline"].startswith("✖ CRITICAL · 2 dates, 2026-02-08 to 02-09")


def test_a_passing_fault_is_no_stretch_of_days() -> None:
    """A date of which no source could be read says nothing of one that nobody can decide."""
    unreadable, undecided = {"unreadable": True, "reason": "503"}, {"unreadable": False}
    blind = Spell(BEFORE, START - DAYS, START - DAYS + 2 * HOUR, K.UNKNOWN, unreadable)
    life = Life([blind, Spell(DAY, START, NEVER, K.UNKNOWN, undecided)])
    life.runs(START - DAYS, START + HOUR)
    assert life.people[0].kinds(BEFORE) == [OPENED, RESOLVED]
    assert life.people[0].when(DAY) == [(START + TICK, OPENED)]


def test_output_that_is_away_holds_back_nothing_else() -> None:
    """UNTRIGGERED is wrong whatever the output."""
    there, away = {"output": 300, "work": 14}, {"output": 0, "work": 14, **BLOCKED}
    life = Life(
        [Spell(DAY, START - HOUR, START, K.TRIGGERED, there), Spell(DAY, START, NEVER, more=away)]
    )
    life.runs(START - HOUR, START + TICK)
    assert life.people[0].when(DAY) == [(START, OPENED)]


# Who was not notified


def test_nobody_reached_is_never_answered_200() -> None:
    """It is 503 where the channel refuses, was down for another phase, or another run died."""
    gone = People("slack", lambda _: NotifyError("404", gone=True))
    assert {*Life([Spell(DAY, START, NEVER)], gone).runs(START, START + 5 * HOUR)} == {503}

    down = People("slack", until(START + 5 * HOUR, OSError("no route"), START + 4 * HOUR))
    spells = [Spell(DAY, START + 4 * HOUR, NEVER)]
    life = Life([Spell(BEFORE, START, NEVER), *spells], down, phases=[PHASE, PHASE3])
    assert {*life.runs(START, START + 4 * HOUR)} == {200}
    assert {*life.runs(START + 4 * HOUR, START + 5 * HOUR)} == {503}
    assert life.run(START + 5 * HOUR) == 200

    dies = People("slack", lambda now: KeyboardInterrupt() if now == START else OSError("no route"))
    life = Life([Spell(DAY, START, NEVER)], dies)
    with pytest.raises(KeyboardInterrupt):
        life.run(START)
    life.die()
    assert {*life.runs(START + TICK, START + 3 * HOUR)} == {503}


def test_the_last_try_of_the_scheduler_sends_what_a_death_has_held_up() -> None:
    """Two minutes after the death its receipt is another run's, after six it is nobody's."""
    slack = People("slack", lambda now: KeyboardInterrupt() if now == START else None)
    life = Life([Spell(DAY, START, NEVER)], slack)
    with pytest.raises(KeyboardInterrupt):
        life.run(START)
    life.die()
    assert life.run(START + timedelta(minutes=2)) == 503
    assert slack.heard == []
    assert life.run(START + timedelta(minutes=6)) == 200
    assert [notification.kind for _, notification in slack.heard] == [NotificationKind.OPENED]


def test_what_other_runs_hold_is_not_answered_200() -> None:
    """Three commits lost, and nobody known to have heard."""
    month = month_ref(DEFAULT_CANARY, "phase2", "2026-02")
    life = Life([Spell(DAY, START, NEVER)])
    life.fault = lambda one: (
        "another's" if one.name == "commit" and one.arguments[0][0][0] == month else ""
    )
    assert life.run(START) == 503


def test_a_refusal_is_said_until_somebody_takes_it() -> None:
    """The other channel was down in that very run; then once."""
    slack = People("slack", lambda _: NotifyError("404", gone=True))
    log = People("log", until(START + TICK, OSError("no route")))
    Life([Spell(DAY, START, NEVER)], log, slack).runs(START, START + 6 * HOUR)
    assert len(log.words) == 1


# Absence


def _on_return(*spells: Spell) -> tuple[Life, datetime]:
    """Return a canary that ran on Friday evening, and when it is back on Monday."""
    life = Life(spells)
    life.runs(at("2026-02-06 20:00"), at("2026-02-06 23:00"))
    return life, at("2026-02-09 17:00")


FRIDAY = date(2026, 2, 6)
BACK = at("2026-02-09 17:00")


@pytest.mark.parametrize("kind", [K.WAITING, K.SETTLING, K.UNKNOWN])
def test_a_date_that_is_quiet_in_the_first_runs_back_is_judged_again(kind: VerdictKind) -> None:
    """It may get stuck yet; and the first run back is not the only one that looks."""
    life, back = _on_return(
        Spell(FRIDAY, at("2026-02-06 00:00"), BACK + 2 * TICK, kind), Spell(FRIDAY, BACK, NEVER)
    )
    life.runs(back, back + HOUR)
    assert (back + 2 * TICK, OPENED) in life.people[0].when(FRIDAY) or life.people[0].kinds(FRIDAY)[
        0
    ] is OPENED


def test_a_first_run_back_that_could_not_write_is_not_the_last_to_look() -> None:
    """503 then, and the next one notifies."""
    month = month_ref(DEFAULT_CANARY, "phase2", "2026-02")

    def fails(how: str) -> Callable[[Operation], str]:
        return lambda one: how if one.name == "commit" and one.arguments[0][0][0] == month else ""

    for how in ("before", "another's"):
        life, back = _on_return(Spell(FRIDAY, BACK - 2 * DAYS, NEVER))
        life.fault = fails(how)
        life.die()
        assert life.run(back) == 503
        life.fault = fails("")
        assert life.run(back + TICK) == 200
        assert OPENED in life.people[0].kinds(FRIDAY)


def test_a_phase_that_was_away_is_looked_at_from_then_on() -> None:
    """It was taken out of the file for days, and a date got stuck meanwhile."""
    stuck = Spell(FRIDAY, BACK - 2 * DAYS, NEVER)
    life = Life([stuck], phases=[PHASE, PHASE3])
    life.runs(at("2026-02-06 20:00"), at("2026-02-06 21:00"))
    del life.phases["phase2"]
    life.runs(at("2026-02-06 21:00"), BACK, 4 * HOUR)
    life.phases["phase2"] = PHASE
    life.run(BACK)
    assert life.people[0].when(FRIDAY) == [(BACK, OPENED)]


def test_what_is_left_out_is_said_until_somebody_takes_it() -> None:
    """All channels are down in the first run back after a month."""
    down = [
        People(name, until(START + 30 * DAYS + TICK, OSError("no route")))
        for name in ("log", "slack")
    ]
    life = Life([], *down)
    life.run(START - HOUR)
    life.runs(START + 30 * DAYS, START + 30 * DAYS + HOUR)
    assert [len(channel.words) for channel in down] == [1, 1]
    assert (
        "does not look at these dates any more: phase2 2026-02-08 to 2026-03-05" in down[0].words[0]
    )


# The end


def test_every_month_with_something_open_is_read() -> None:
    """Two dates of two months, and a canary that was away for weeks: both have expired."""
    january, february = date(2026, 1, 31), date(2026, 2, 3)
    life = Life(
        [
            Spell(january, at("2026-02-01 18:00"), NEVER),
            Spell(february, at("2026-02-04 18:00"), NEVER),
        ]
    )
    life.runs(at("2026-02-01 17:00"), at("2026-02-04 20:00"))
    life.runs(at("2026-03-25 12:00"), at("2026-03-25 13:00"))
    assert [life.people[0].kinds(day)[-1] for day in (january, february)] == [EXPIRED, EXPIRED]
    assert life.of_itself().open == {"phase2": ""}


@pytest.mark.parametrize("damage", [{"open": "x"}, {"open": {"phase2": 7}}, None])
def test_damage_of_the_canarys_own_document_loses_no_end(damage: dict[str, object] | None) -> None:
    """The months in which something may be open are read then."""
    january, ends = date(2026, 1, 31), at("2026-02-21 18:00")
    life = Life([Spell(january, at("2026-02-01 18:00"), NEVER)])
    life.runs(at("2026-02-01 17:00"), at("2026-02-01 20:00"))
    life.say([silence(january, january, ends)])
    life.runs(at("2026-02-13 12:00"), at("2026-02-13 13:00"))
    own = {"format": 1, "at": at("2026-02-13 13:00")}
    life.overwrite_own({} if damage is None else {**own, **damage})
    life.runs(at("2026-02-13 13:00"), ends + HOUR, HOUR)
    assert life.people[0].when(january)[-1] == (ends, EXPIRED)


def test_a_date_that_is_looked_at_again_goes_on() -> None:
    """A channel that heard that it expired hears that it is open again, and all hear the end."""
    slack = People("slack", until(START + 6 * HOUR, OSError("no route"), START + HOUR))
    log, recovers = People("log"), START + 5 * HOUR
    life = Life([Spell(DAY, START, recovers)], log, slack, phases=[PHASE, PHASE3])
    life.runs(START, START + HOUR)
    del life.phases["phase2"]
    life.runs(START + HOUR, START + 2 * HOUR)
    life.phases["phase2"] = PHASE
    life.runs(START + 2 * HOUR, START + 20 * HOUR)
    assert log.kinds(DAY) == [OPENED, EXPIRED, OPENED, RESOLVED]
    assert slack.kinds(DAY) == [OPENED, RESOLVED]
    assert [incident.ended for incident in life.memory(DAY).incidents] == [EXPIRED, RESOLVED]


@pytest.mark.parametrize("then", [K.TRIGGERED, K.UNKNOWN])
def test_what_was_quiet_once_is_not_over(then: VerdictKind) -> None:
    """It leaves the dates that are read before it was seen again, or nobody could see it since."""
    spells = [
        Spell(DAY, START, START + HOUR),
        Spell(DAY, START + HOUR + TICK, NEVER, then, {"unreadable": True}),
    ]
    life = Life(spells, phases=[PHASE, PHASE3])
    life.runs(START, START + HOUR + TICK)
    if then is K.UNKNOWN:
        life.runs(START + HOUR + TICK, START + 7 * DAYS, HOUR)
    else:
        del life.phases["phase2"]
        life.run(START + HOUR + TICK)
    assert life.people[0].kinds(DAY)[-1] is EXPIRED


def test_expired_says_when_it_was_last_seen() -> None:
    """Not when the canary last ran: since then it may have been blind, or the date was silenced."""
    blind = [
        Spell(DAY, START, START + 2 * DAYS),
        Spell(DAY, START + 2 * DAYS, NEVER, K.UNKNOWN, {"unreadable": True}),
    ]
    life = Life(blind)
    life.runs(START, START + 8 * DAYS, HOUR)
    (word,) = (one.verdict.summary for _, one in life.people[0].heard if one.kind is EXPIRED)
    assert "last seen UNTRIGGERED before 2026-02-12 17:00Z, UNKNOWN since then" in word
    life = Life([Spell(DAY, START, NEVER)])
    life.run(START)
    life.say([silence(DAY, DAY, START + 10 * DAYS)])
    life.runs(START + HOUR, START + 11 * DAYS, HOUR)
    (word,) = (one.verdict.summary for _, one in life.people[0].heard if one.kind is EXPIRED)
    assert "last seen UNTRIGGERED at 2026-02-16 0" in word


def test_what_was_silenced_to_its_end_is_said_to_every_channel() -> None:
    """Also to one that is down in the run in which the silence ends."""
    ends = START + 10 * DAYS
    slack, log = People("slack", until(ends + HOUR, OSError("no route"), ends)), People("log")
    life = Life([Spell(DAY, START, NEVER)], log, slack)
    life.say([silence(DAY, DAY, ends)])
    life.runs(START, ends + 3 * HOUR, HOUR)
    assert (log.kinds(DAY), slack.kinds(DAY)) == ([EXPIRED], [EXPIRED])


def test_a_channel_that_is_down_does_not_make_the_others_flap() -> None:
    """What came back within a day has to be quiet for eight hours before any channel hears that."""
    flapping = [
        Spell(DAY, START + number * HOUR, START + number * HOUR + TICK) for number in range(8)
    ]
    slack, log = People("slack", until(NEVER, OSError("no route"), START + TICK)), People("log")
    Life(flapping, log, slack).runs(START, START + 8 * HOUR)
    assert log.kinds(DAY)[:3] == [OPENED, RESOLVED, OPENED]
    assert RESOLVED not in log.kinds(DAY)[3:]


# Acknowledgements


def test_an_acknowledgement_that_has_ended_stays_so() -> None:
    """It got worse: the first reminder after that does not bring it back."""
    life = Life([Spell(DAY, START, START + HOUR, K.INCOMPLETE), Spell(DAY, START + HOUR, NEVER)])
    life.runs(START, START + 2 * TICK)
    life.say(acknowledgements=[life.acknowledgement(DAY, START + TICK)])
    life.runs(START + 2 * TICK, START + 14 * HOUR)
    assert life.people[0].kinds(DAY) == [OPENED, CHANGED, REMINDER, REMINDER, REMINDER]


def test_many_acknowledgements_are_noted_once() -> None:
    """A run in which nothing changed writes one document; one from the future is none."""
    life = Life([Spell(DAY, START, NEVER)])
    life.run(START)
    first = life.acknowledgement(DAY, START)
    many = [
        replace(first, at=START + timedelta(minutes=number), by=f"p{number}")
        for number in range(1, 15)
    ]
    life.say(acknowledgements=[*many, replace(first, at=START + 300 * DAYS, by="later")])
    life.run(START + TICK)
    for number in (2, 3):
        life.run(START + number * TICK)
        assert [operation.name for operation in life.operations] == ["get_all", "get_all", "commit"]
    incident = life.memory(DAY).open
    assert incident is not None
    assert incident.events[0].what == OPENED
    assert "later" not in {event.by for event in incident.events}


# Without memory


def test_one_run_that_could_read_nothing_says_nothing() -> None:
    """Its process saw all well a quarter of an hour before; 04:00 begins a slot of the clock."""
    four = at("2026-02-11 04:00")
    blind = Spell(DAY, four, four + TICK, K.UNKNOWN, {"unreadable": True})
    life = Life([blind])
    life.runs(four - HOUR, four)
    life.fault = lambda _: "before"
    life.run(four)
    life.fault = lambda _: ""
    life.runs(four + TICK, four + HOUR)
    assert life.people[0].heard == []


def test_passing_faults_of_the_store_do_not_add_messages() -> None:
    """What the process sent within four hours is not sent again where memory cannot be written."""
    life = Life([Spell(DAY, START, NEVER, more={"since": START - 2 * HOUR})])
    life.runs(START, START + HOUR)
    life.fault = lambda one: "before" if one.name == "commit" else ""
    life.runs(START + HOUR, START + 3 * HOUR)
    assert life.people[0].kinds(DAY) == [OPENED]
