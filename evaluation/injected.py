"""What goes wrong with a date, as short functions that change a healthy Day.

What is right to say of it is in evaluation/faults.py. Each function returns the message that it
hits, if it hits one. A function that depends on the time at which a verdict is due takes the Truth
as well, and returns another one where it has changed.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.incident import NotificationKind
from canary.domain.remembered import DEFAULT_CANARY, month_ref
from canary.domain.silence import people_ref
from canary.domain.verdict import VerdictKind
from canary.notify.channel import NotifyError
from evaluation.day import ALIKE, BOX_SCORES, HOUR, MINUTE, UNLIKE, Day, ProcessorReport, Scenario
from evaluation.healthy import odd_lines
from evaluation.old_code import OldCode
from evaluation.truth import Truth
from evaluation.world import DELIVERED, Deliver, InjectedFault, ProcessDeathError
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.phase import Period
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.testing import push_envelope

Consequence = Callable[[Day, Truth], Truth | None]

_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)


# Deliveries


def no_permission(day: Day) -> ProcessorReport:
    """The permission to invoke the function is lost, before the first delivery or later.

    The message log has all messages.
    """
    first = sorted(day.reports.values(), key=lambda report: report.at)[day.rng.randint(0, 3)]
    day.world.schedule.at(first.at, partial(setattr, day.world, "is_invokable", False))
    return first


def lost_message(day: Day) -> ProcessorReport:
    """One message never comes."""
    report = day.victim()
    report.fault = InjectedFault(lost=True)
    return report


def repaired_early(day: Day) -> None:
    """A delivery goes wrong early, and a re-run repairs that."""
    early = day.victim(min(day.reports, key=lambda processor: day.reports[processor].at))
    operation = day.rng.choice(["get_all", "update_if_unchanged"])
    how = day.rng.choice(["dies_at", "refused_at"])
    early.fault = msgspec.convert({how: operation, "retried": False}, InjectedFault)
    day.repeat(early.at + 5 * MINUTE, early.processor)


# Messages


def wrong_fields(draw: Callable[[Day], dict[str, object]]) -> Scenario:
    """Return what lets one message have fields that the orchestrator cannot accept."""

    def inject(day: Day) -> ProcessorReport:
        report = day.victim()
        report.wrong = draw(day)
        return report

    return inject


def unknown_status_for_days(day: Day) -> ProcessorReport:
    """One processor sends what the orchestrator cannot accept, on three dates."""
    wrong: object = day.rng.choice(["finished", None, 7])
    for each in (*day.before[-2:], day):
        each.reports[BOX_SCORES].wrong = {"status": wrong}
    return day.reports[BOX_SCORES]


def cut_off_message(day: Day) -> ProcessorReport:
    """The body of one message is cut off, or in another encoding.

    Its name and date can still be read.
    """
    report = day.victim()
    report.wrong = {"status": "success"}
    ways: list[Callable[[str], bytes]] = [
        lambda body: body[: body.index('"execution_id"') - 2].encode(),
        lambda body: (body[:-1] + ", }").encode(),
        lambda body: body.replace('"success"', "success").encode(),
    ]
    report.written = day.rng.choice(ways)
    return report


# The orchestrator's code, its list and its flag


def duplicates_only(day: Day) -> None:
    """The old code, with the six lines in it, takes each message for a duplicate.

    It returns at once, or says so.
    """
    deliver = partial(
        _old_code(day).deliver_with_checkpoints,
        checkpoints=day.world.checkpoints_of(day.world.phase),
    )
    day.deliver = day.rng.choice(
        [partial(deliver, decides=False), partial(deliver, duplicate=True)]
    )


def code_without_a_word(day: Day) -> None:
    """The old code has no line, or one that does not say why there is no flag."""
    code = _old_code(day)
    quiet = partial(
        code.deliver_with_checkpoints, checkpoints=day.world.checkpoints_of(day.world.phase)
    )
    ways: list[Deliver] = [code.deliver, quiet]
    day.deliver = day.rng.choice(ways)


def longer_list(day: Day) -> None:
    """The orchestrator also waits for processors that were switched off."""
    surplus = day.rng.sample(["p2_bdl_box_scores", "p2_espn_scoreboard", "p2_nbacom_schedule"], 2)
    _wait_for(day, {**day.world.phase.processors, **dict.fromkeys(surplus, ())})


def shorter_list(day: Day) -> ProcessorReport:
    """The orchestrator does not wait for the last one, and sets the flag without it."""
    report = _come_too_late(day)
    _wait_for(
        day,
        {
            name: aliases
            for name, aliases in day.world.phase.processors.items()
            if name != report.processor
        },
    )
    return report


def counted_keys(day: Day) -> ProcessorReport:
    """Code that counts keys takes an unexpected processor for the fifth."""
    report = _come_too_late(day)
    day.unexpected.append(ProcessorReport(day.rng.choice(UNLIKE), day.at(17 * 60)))
    day.deliver = _old_code(day, counts=True).deliver
    return report


def list_that_grows(day: Day) -> ProcessorReport:
    """A sixth processor is expected from this date on, and is silent.

    The dates before are judged by five.
    """
    world, name = day.world, "p2_bdl_lineups"
    known_since = day.chance(0.5)
    periods = {name: Period(since=day.date)} if known_since else {}
    grown = msgspec.structs.replace(
        world.phase, processors={**world.phase.processors, name: ()}, periods=periods
    )
    deployed_at = day.before[0].at(11 * 60) if known_since else day.at(11 * 60)
    for what, value in (("phase", grown), ("orchestrator", world.orchestrator_of(grown))):
        world.schedule.at(deployed_at, partial(setattr, world, what, value))
    return ProcessorReport(name, day.complete_at, processor=name)


def longer_list_and_failure(day: Day) -> ProcessorReport:
    """The orchestrator waits for others, and a failed processor runs again after the deadline."""
    longer_list(day)
    failed = failure(day)
    return day.repeat(day.deadline + day.rng.uniform(20, 300) * MINUTE, failed.processor)


def overwritten_flag(day: Day, truth: Truth) -> Truth:
    """Somebody writes over the flag, minutes or hours after it was set."""
    gone_at = (
        day.complete_at
        + day.rng.choice([day.rng.uniform(1, 25), day.rng.uniform(30, 1200)]) * MINUTE
    )
    unset = partial(
        day.world.stores.documents.merge, day.world.ref(day.date), {"_triggered": False}
    )
    day.world.schedule.at(gone_at, unset)
    in_time = gone_at <= truth.due[VerdictKind.UNTRIGGERED]
    return (
        truth
        if in_time
        else replace(truth, due={VerdictKind.UNTRIGGERED: gone_at}, counts_from=None)
    )


def clock_ahead(day: Day) -> None:
    """The old tracker's clock is minutes, hours or years ahead for one processor."""
    ahead = day.rng.choice(
        [day.rng.uniform(1, 50) * MINUTE, day.rng.uniform(1, 48) * HOUR, timedelta(days=366 * 5)]
    )
    name = day.any_name(day.victim().processor)
    day.deliver = _old_code(
        day, clock=lambda c: c.completed_at + (ahead if c.raw_processor == name else timedelta())
    ).deliver


def clock_behind(day: Day, truth: Truth) -> Truth:
    """The old tracker's clock is behind, or at the year 1.

    So the set has been complete for long as soon as the row has settled.
    """
    behind = day.rng.choice([day.rng.uniform(1, 600) * MINUTE, timedelta(days=400)])
    stopped = day.chance(0.4)
    day.deliver = _old_code(
        day, clock=lambda c: _YEAR_1 if stopped else c.completed_at - behind
    ).deliver
    settled = day.complete_at if stopped else day.complete_at + day.world.phase.settle - DELIVERED
    within = truth.due[VerdictKind.UNTRIGGERED] + truth.within - settled
    return replace(truth, due={VerdictKind.UNTRIGGERED: settled}, within=within, counts_from=None)


def _old_code(day: Day, **how: Any) -> OldCode:
    return OldCode(day.world.phase, day.world.documents, day.world.completion_log, **how)


def _wait_for(day: Day, processors: Mapping[str, tuple[str, ...]]) -> None:
    drifted = msgspec.structs.replace(day.world.phase, processors=processors)
    day.deliver = day.world.orchestrator_of(drifted).deliver


def _come_too_late(day: Day) -> ProcessorReport:
    """Let the last one come after the flag, which does not wait for it, and after the output."""
    report = day.victim(day.last)
    report.at += day.rng.uniform(20, 300) * MINUTE
    day.output_after = day.complete_without(report) + 10 * MINUTE - day.complete_at
    return report


# Processors


def silence_of(processor: str | None = None, *, dates: int = 1) -> Scenario:
    """Return what silences one processor, on so many dates on end."""

    def inject(day: Day) -> ProcessorReport:
        return [each.silence(processor) for each in (*day.before, day)[-dates:]][-1]

    return inject


def silence_beside_another_name(day: Day, *, always: bool) -> ProcessorReport:
    """A processor is silent, and an unexpected one has a name like its own.

    That one has reported before, on one date or `always`.
    """
    processor = day.rng.choice(sorted(ALIKE))
    silenced = day.silence(processor)
    for each in (*(day.before if always else [day.rng.choice(day.before)]), day):
        each.unexpected.append(ProcessorReport(ALIKE[processor], each.at(25 * 60)))
    return silenced


def silence_beside_common_words(day: Day) -> ProcessorReport:
    """A processor is silent, and new names share words with it that name no processor."""
    silenced = day.silence(BOX_SCORES)
    names = [
        "NbacPlayerListProcessor",
        "BdlPlayerBoxscoresProcessor",
        "NbacTeamListProcessor",
        "BdlBoxScoresProcessor",
    ]
    for name in day.rng.sample(names, day.rng.randint(1, 4)):
        day.unexpected.append(ProcessorReport(name, day.at(day.rng.uniform(16 * 60, 28 * 60))))
    return silenced


def new_name(day: Day) -> ProcessorReport:
    """A processor reports under a name that resembles its own."""
    report, phase = day.victim(), day.world.phase
    changes: list[Callable[[str], str]] = [
        lambda name: name.replace("Processor", "sProcessor"),
        lambda name: name.replace("Processor", "V2Processor"),
        lambda name: f"{name}_v2",
        lambda name: name.replace("_", ""),
    ]
    names = [change(day.any_name(report.processor)) for change in changes for _ in range(8)]
    report.name = day.rng.choice(
        [
            name
            for name in names
            if phase.canonical(name) is None and phase.nearest(name) == report.processor
        ]
    )
    return report


def failure(day: Day) -> ProcessorReport:
    """A processor fails, each time that it is run."""
    report = day.victim()
    report.status = "failed"
    for _ in range(day.rng.randint(0, 3)):
        day.repeat(report.at + day.rng.uniform(10, 120) * MINUTE, report.processor, status="failed")
    return report


def no_data(day: Day) -> ProcessorReport:
    """A processor says that it had nothing to do, and there are games."""
    report = day.victim()
    report.status = day.rng.choice(["no_data", "skipped"])
    return report


def registration_by_hand(day: Day) -> ProcessorReport:
    """Somebody writes a registration by hand; the completion log has never heard of it."""
    # Not the last one: the next delivery finds it there.
    report = day.silence(min(day.reports, key=lambda processor: day.reports[processor].at))
    envelope = push_envelope(report.name, str(day.date), report.at, message_id="by-hand")

    def register() -> None:
        completion = Completion.from_event(envelope, day.world.phase)
        fields = registration_fields(read_progress({}, day.world.phase), completion, report.at)
        day.world.stores.documents.merge(day.world.ref(day.date), fields)

    day.world.schedule.at(report.at, register)
    return report


def no_games_in_the_schedule(day: Day) -> None:
    """The schedule has no games, and processors completed."""
    day.games = 0


def no_output(day: Day) -> None:
    """The flag is set, and the next phase writes nothing."""
    day.output_after = None


def on_each_before(scenario: Scenario, then: Scenario) -> Scenario:
    """Return what changes the dates before with one scenario, and then the date with another."""

    def inject(day: Day) -> ProcessorReport | None:
        for each in day.before:
            scenario(each)
        return then(day)

    return inject


def on_each(scenario: Scenario) -> Scenario:
    """Return what changes the date and those before it with one scenario."""
    return on_each_before(scenario, scenario)


# What others have written, and the canary's own sources


def odd_lines_of_two_dates(day: Day) -> None:
    """Lines of this date and of another one are damaged, or their values are of odd types."""
    for each in (day.rng.choice(day.before), day):
        odd_lines(each)


def odd_memory(day: Day) -> None:
    """What is remembered of the date, or what people said, is of odd types or from the future.

    It counts as nothing.
    """
    world, ahead = day.world, day.at(0) + timedelta(days=day.rng.choice([2, 400]))
    memory = {"kind": "UNTRIGGERED", "level": "ERROR", "opened_at": ahead.isoformat()}
    receipt = {
        **memory,
        "verdicts": ["UNTRIGGERED"],
        "sent": "OPENED",
        "heard": True,
        "at": ahead.isoformat(),
    }
    dates: list[Any] = [
        {"verdict": "GONE", "incidents": [{**memory, "receipts": []}]},
        {
            "incidents": [{**memory, "receipts": {"slack": receipt}}],
            "sent": {"slack": [{"kind": "OPENED", "at": 7}]},
        },
        {
            "incidents": [{"kind": ["UNTRIGGERED"], "opened_at": "yesterday", "receipts": 7}],
            "away_since": "soon",
        },
        [1, None],
    ]
    month = month_ref(DEFAULT_CANARY, world.phase.name, f"{day.date:%Y-%m}")
    text = day.rng.choice([*map(json.dumps, dates), "{", 7])
    silences: list[Mapping[str, Any]] = [
        {"1": "for ever"},
        {"1": {"until": None, "since": str(day.date)}},
        {"x": []},
    ]
    people = {"silences": day.rng.choice(silences), "acknowledgements": 7}
    ref, fields = day.rng.choice(
        [(month, {str(day.date): text}), (people_ref(DEFAULT_CANARY), people)]
    )
    world.schedule.at(day.at(0), partial(world.stores.documents.merge, ref, fields))


def outage_of(source: str) -> Scenario:
    """Return what takes a source down for an hour or more, some time after the flag was set."""

    def inject(day: Day) -> None:
        since = day.complete_at + day.rng.uniform(100, 360) * MINUTE
        day.down(source, since, since + day.rng.uniform(45, 300) * MINUTE)

    return inject


def outage_of_work(day: Day) -> None:
    """Nothing has arrived by the deadline, and nothing says whether there was work."""
    day.reports, day.games = {}, 0
    day.down("work", day.at(0), day.deadline + 6 * HOUR)


def flag_in_bigquery(day: Day) -> None:
    """BigQuery carries the flag."""
    day.world.phase = msgspec.structs.replace(day.world.phase, bigquery_carries_flag=True)


def refused_memory(operation: str) -> Consequence:
    """Return what lets Firestore refuse an `operation` of the canary's while a verdict is due."""

    def inject(day: Day, truth: Truth) -> None:
        due = day.rng.choice(list(truth.due.values()))
        day.down("documents", due - MINUTE, due + day.rng.uniform(16, 34) * MINUTE, operation)

    return inject


def removed_phase(day: Day, truth: Truth) -> Truth:
    """The phase is taken out of the file while its incident is open.

    Nobody can know then whether it is over.
    """
    at = max(truth.due.values()) + day.rng.uniform(16, 34) * MINUTE
    day.world.schedule.at(at, partial(setattr, day.world, "is_removed", True))
    return replace(truth, ends=NotificationKind.EXPIRED)


# Slack


def slack_that_refuses(day: Day, truth: Truth) -> Truth:
    """Slack refuses the first messages about a fault, or about what it has become."""
    refuses = day.rng.choice([1, 2, 3, 6])
    at = day.rng.choice(list(truth.due.values())) - MINUTE
    day.world.schedule.at(at, partial(setattr, day.world, "slack_refuses", refuses))
    # The next run notifies Slack; the log has it, so none is repeated.
    return replace(
        truth, slack_late=refuses * 15 * MINUTE, optional=frozenset({VerdictKind.STORES_DISAGREE})
    )


def slack_away_until_it_is_known(day: Day, truth: Truth) -> Truth:
    """Slack is down before there is anything to send, and comes back."""
    away = day.rng.uniform(5, 34) * MINUTE
    back = max(truth.due.values()) + away
    day.world.slack_fails = lambda now: NotifyError("Slack answered 503") if now < back else None
    return replace(truth, slack_late=away + 15 * MINUTE)


def slack_fails(why: Callable[[datetime], NotifyError | None]) -> Scenario:
    """Return what lets Slack fail whenever there is a reason `why`."""

    def inject(day: Day) -> None:
        day.world.slack_fails = why

    return inject


def death_while_notifying(day: Day) -> None:
    """The canary's process dies as it posts to Slack."""
    deaths = [ProcessDeathError()]
    day.world.slack_fails = lambda _: deaths.pop() if deaths else None
