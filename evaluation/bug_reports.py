"""Scenarios from the bug reports of other monitors: a fault, and beside it something odd that must not matter.

Each draws the fault and the oddity at random. What is right is told of the date itself, and the dates before it, which
are healthy unless it says otherwise, must raise no alarm.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.incident import incident_ref
from canary.domain.silence import SILENCES
from canary.domain.verdict import CauseKind, VerdictKind
from canary.notify.channel import NotifyError
from evaluation.day import ALIKE, HOUR, MINUTE, Day, Injected, Report, Truth
from evaluation.faults import (
    Fault,
    crashed,
    crashed_at_the_flag,
    crashed_before_the_row,
    delivery_lost,
    failed,
    flag_overwritten,
    incomplete,
    never,
    never_invoked,
    one_is_silent,
    one_of,
    rejected,
    rejection,
    renamed,
    row_write_failed,
    short_circuit,
    untriggered,
    waits_for_too_few,
    waits_for_too_many,
    write_failed,
    write_failed_at_the_flag,
)
from evaluation.healthy import (
    encoded_again,
    gave_up_waiting,
    many_others_on_the_topic,
    no_games,
    odd_document,
    odd_lines,
    odd_unneeded_fields,
)
from evaluation.old_code import OldCode
from evaluation.world import DELIVERED, Deliver, Outage, ProcessDeathError, is_second_run
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.phase import Period

_K, _C = VerdictKind, CauseKind

_OF_THE_CODE: Sequence[Fault] = (short_circuit, waits_for_too_many, flag_overwritten)
_ANY: Sequence[Fault] = (*_OF_THE_CODE, crashed, write_failed, failed, rejected, renamed, one_is_silent)
_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)


# Other people's clocks


def clock_ahead(day: Day) -> Truth:
    """The old tracker's clock is minutes, hours or years ahead for one processor: the flag is missing all the same."""
    ahead = day.rng.choice([day.rng.uniform(1, 50) * MINUTE, day.rng.uniform(1, 48) * HOUR, timedelta(days=366 * 5)])
    victim = day.any_name(day.victim()), ahead
    return _by_its_own_clock(day, lambda c: c.completed_at + (ahead if c.raw_processor == victim[0] else timedelta()))


def clock_behind(day: Day) -> Truth:
    """The old tracker's clock is behind, or at the year 1: complete for long already as soon as the row has settled."""
    behind = day.rng.choice([day.rng.uniform(1, 600) * MINUTE, timedelta(days=400)])
    stopped = day.chance(0.4)
    truth = _by_its_own_clock(day, lambda c: _YEAR_1 if stopped else c.completed_at - behind)
    settled = day.complete_at if stopped else day.complete_at + day.world.phase.settle - DELIVERED
    within = truth.due[_K.UNTRIGGERED] + truth.within - settled
    return replace(truth, due={_K.UNTRIGGERED: settled}, within=within, counts_from=None)


def _by_its_own_clock(day: Day, clock: Callable[[Completion], datetime]) -> Truth:
    world = day.world
    day.deliver = OldCode(world.phase, world.documents, world.completion_log, clock=clock).deliver
    return untriggered(day, Injected(_C.SHORT_CIRCUIT, never))


# What others have written, on a date beside


def odd_document_beside(day: Day) -> Truth:
    """The document of another date has a time of the year 1, or fields of any type."""
    odd_document(day.rng.choice(day.before))
    return one_of(day, *_ANY)


def odd_lines_beside(day: Day) -> Truth:
    """Lines of this date and of another one are cut off, nested deep, without a zone, or of other types."""
    for one in (day.rng.choice(day.before), day):
        odd_lines(one)
    return one_of(day, *_ANY)


def given_up_beside(day: Day) -> Truth:
    """The old orchestrator stopped waiting on the date before, and said so; it left neither ids nor lines."""
    gave_up_waiting(day.before[-1])
    return one_of(day, *_ANY)


def odd_incident(day: Day) -> Truth:
    """The incident's document, or that of the silences, is of other types, or from the future: it is none."""
    world, ahead = day.world, day.at(0) + timedelta(days=day.rng.choice([2, 400]))
    known = {"kind": "UNTRIGGERED", "causes": [], "level": "ERROR", "opened_at": ahead, "resolved": False}
    incidents: list[Mapping[str, Any]] = [
        {**known, "claim": {"run": "1", "at": ahead}, "receipts": []},
        {**known, "receipts": {"slack": {**known, "sent": [{"kind": "OPENED", "at": ahead}]}}},
        {"kind": ["UNTRIGGERED"], "opened_at": "yesterday", "receipts": 7, "claim": "mine"},
        {"kind": "GONE", "level": None, "opened_at": day.at(0), "receipts": {"slack": None}},
    ]
    silences: list[Mapping[str, Any]] = [{"1": "for ever"}, {"1": {"until": None, "since": str(day.date)}}, {"x": []}]
    ref, written = day.rng.choice(
        [
            (incident_ref(world.phase.name, day.date), day.rng.choice(incidents)),
            (SILENCES, day.rng.choice(silences)),
        ]
    )
    world.schedule.at(day.at(0), partial(world.stores.documents.merge, ref, written))
    return one_of(day, *_ANY)


# Messages


def odd_unneeded_fields_beside(day: Day) -> Truth:
    """Fields that nobody needs have any value, and some publishers encode twice: nothing is lost for it."""
    for one in (*day.before, day):
        day.rng.choice([odd_unneeded_fields, encoded_again])(one)
    return one_of(day, *_ANY)


def undated_rejection(day: Day) -> Truth:
    """The date of one message cannot be read: its rejection may be anybody's who lacks it, and is never ruled out."""
    report = day.reports[day.victim()]
    value: object = day.rng.choice([None, f"{day.date:%m/%d/%Y}", "yesterday", 20260210, f"{day.date}T25:00"])
    report.wrong = {"game_date": value}
    return replace(incomplete(day, Injected(_C.MESSAGE_REJECTED, never)), arguable=frozenset({_C.MESSAGE_REJECTED}))


def rejection_of_nobody(day: Day) -> Truth:
    """One message names neither processor nor date."""
    report = day.reports[day.victim()]
    report.wrong = {"processor_name": day.rng.choice([None, 17, ""]), "game_date": None}
    return incomplete(day, Injected(_C.MESSAGE_REJECTED, never))


def cut_off_message(day: Day) -> Truth:
    """The body of one message is cut off, or in another encoding; its name and date can still be read."""
    report = day.reports[day.victim()]
    report.wrong = {"status": "success"}  # the message log cannot read it either
    ways: list[Callable[[str], bytes]] = [
        lambda body: body[: body.index('"execution_id"') - 2].encode(),
        lambda body: (body[:-1] + ", }").encode(),
        lambda body: body.replace('"success"', "success").encode(),
    ]
    report.written = day.rng.choice(ways)
    return incomplete(day, rejection(report))


def rejected_for_days(day: Day) -> Truth:
    """The same processor is rejected on three dates: it is not switched off."""
    wrong: object = day.rng.choice(["finished", None, 7])

    def reject(one: Day) -> Truth:
        report = one.reports[one.victim("p2_nbacom_boxscores")]
        report.wrong = {"status": wrong}
        return incomplete(one, rejection(report))

    for earlier in day.before[-2:]:
        earlier.truth = reject(earlier)
    return reject(day)


# Names, lists and what there was to do


def many_others_on_the_topic_beside(day: Day) -> Truth:
    """A dozen other processors share the topic, on each date."""
    for one in (*day.before, day):
        many_others_on_the_topic(one)
    return one_of(day, *_ANY)


def renamed_without_history(day: Day) -> Truth:
    """A rename on the first date of all: it may as well be another processor, so it is neither proven nor ruled out."""
    for one in day.before:
        no_games(one)
    return replace(renamed(day), injected=(Injected(_C.NAME_DRIFT, never),))


def renamed_to_one_that_was_there(day: Day) -> Truth:
    """A processor is silent, and a name like its own has come on one of the dates before: they are two."""
    processor = day.rng.choice(sorted(ALIKE))
    del day.reports[day.victim(processor)]
    for one in (day.rng.choice(day.before), day):
        one.unexpected.append(Report(ALIKE[processor], one.at(25 * 60)))
    return incomplete(day)


def drift_without_a_word(day: Day) -> Truth:
    """Old code waits for somebody else, and does not say so: its list is neither proven wrong nor ruled out."""
    world = day.world
    code = OldCode(world.phase, world.documents, world.completion_log)
    quiet = partial(code.deliver_with_checkpoints, checkpoints=world.checkpoints_of(world.phase))
    ways: list[Deliver] = [code.deliver, quiet]
    day.deliver = day.rng.choice(ways)
    return untriggered(day, Injected(_C.EXPECTATION_DRIFT, never), Injected(_C.SHORT_CIRCUIT, never))


def list_grows(day: Day) -> Truth:
    """A sixth processor is expected from this date on, and is silent; the dates before are judged by five."""
    world, new = day.world, "p2_bdl_lineups"
    known_since = day.chance(0.5)
    grown = msgspec.structs.replace(
        world.phase,
        processors={**world.phase.processors, new: ()},
        periods={new: Period(since=day.date)} if known_since else {},
    )
    deployed_at = day.before[0].at(11 * 60) if known_since else day.at(11 * 60)
    for what, value in (("phase", grown), ("orchestrator", world.orchestrator_of(grown))):
        world.schedule.at(deployed_at, partial(setattr, world, what, value))
    return incomplete(day)


def common_words(day: Day) -> Truth:
    """A processor is silent, and new names share words with it that name no processor: none is its new name."""
    del day.reports[day.victim("p2_nbacom_boxscores")]
    names = ["NbacPlayerListProcessor", "BdlPlayerBoxscoresProcessor", "NbacTeamListProcessor", "BdlBoxScoresProcessor"]
    for name in day.rng.sample(names, day.rng.randint(1, 4)):
        day.unexpected.append(Report(name, day.at(day.rng.uniform(16 * 60, 28 * 60))))
    return incomplete(day)


def work_query_contradicted(day: Day) -> Truth:
    """The schedule has no games, and processors completed, and another one failed: it is not known, never idle."""
    day.games = 0
    truth = one_of(day, failed, one_is_silent)
    # Of what is not known nobody is reminded.
    return Truth(due={_K.UNKNOWN: truth.due[_K.INCOMPLETE]}, within=30 * MINUTE, repeats=True)


def evidence_taken_away(day: Day) -> Truth:
    """The date is judged again without each piece of its evidence, and no cause rests on what is gone."""
    faults = (*_ANY, delivery_lost, never_invoked, crashed_before_the_row, crashed_at_the_flag)
    return replace(one_of(day, *faults, write_failed_at_the_flag, row_write_failed, waits_for_too_few), take_away=True)


# Notifying, and what it depends on


def slack_refused_for_good(day: Day) -> Truth:
    """The webhook was revoked: the log has all, and one word that Slack has not."""
    day.world.slack_fails = lambda _: NotifyError("Slack answered 404", permanent=True, gone=True)
    return replace(one_of(day, *_ANY), channel="log", warnings=1)


def slack_away_until_it_is_over(day: Day) -> Truth:
    """Slack is down the whole time: who never heard that it begins does not hear that it is over."""
    day.world.slack_fails = lambda _: NotifyError("Slack answered 503")
    return replace(one_of(day, *_OF_THE_CODE, failed, one_is_silent), channel="log")


def slack_away(day: Day) -> Truth:
    """Slack is down before there is anything to tell, and learns how things stand once it is back."""
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    away = day.rng.uniform(5, 34) * MINUTE
    back = max(truth.due.values()) + away
    day.world.slack_fails = lambda now: NotifyError("Slack answered 503") if now < back else None
    return replace(truth, slack_late=away + 15 * MINUTE)


def slack_flaps(day: Day) -> Truth:
    """Slack refuses in every second run."""
    day.world.slack_fails = lambda now: NotifyError("Slack answered 503") if is_second_run(now) else None
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    return replace(truth, slack_late=15 * MINUTE, repeats=True)


def canary_dies_while_notifying(day: Day) -> Truth:
    """The canary's process dies as it posts to Slack: the next run tells, the log perhaps twice."""
    deaths = [ProcessDeathError()]
    day.world.slack_fails = lambda _: deaths.pop() if deaths else None
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    return replace(truth, slack_late=15 * MINUTE)


def claim_refused(day: Day) -> Truth:
    """Firestore refuses to write claims: people are told without memory, and of other dates as well."""
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    _refuse(day, truth, "update_if_unchanged")
    return replace(truth, repeats=True)


def confirmation_refused(day: Day) -> Truth:
    """Firestore refuses to write down what was sent: it is not sent again for that."""
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    _refuse(day, truth, "merge")
    return truth


def _refuse(day: Day, truth: Truth, operation: str) -> None:
    due = day.rng.choice(list(truth.due.values()))
    until = due + day.rng.uniform(16, 34) * MINUTE
    day.world.outages.append(Outage("documents", due - MINUTE, until, operation))


def told_without_memory(day: Day) -> Truth:
    """Firestore cannot be read, and BigQuery carries the flag: people are told by the problem's age alone."""
    world = day.world
    world.phase = msgspec.structs.replace(world.phase, bigquery_carries_flag=True)
    truth = one_of(day, short_circuit, waits_for_too_many)
    due = truth.due[_K.UNTRIGGERED]
    world.outages.append(Outage("documents", due - 20 * MINUTE, due + day.rng.uniform(16, 34) * MINUTE))
    return replace(truth, repeats=True)


def source_flaps(day: Day) -> Truth:
    """A source cannot be read in every second run: the problem is told, and nobody hears of each change."""
    source = day.rng.choice(["completion_log", "documents", "outcome", "checkpoints"])
    day.world.outages.append(Outage(source, day.at(0), day.deadline + 6 * HOUR, flaps=True))
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    # What cannot be read is told one run later, and so an UNTRIGGERED an hour after completion.
    return replace(truth, within=truth.within + 15 * MINUTE, counts_from=None, repeats=True)


def output_flickers(day: Day) -> Truth:
    """The next phase's table is being rebuilt, and empty in every second run."""
    day.world.flickering.add(day.date)
    due = day.complete_at + DELIVERED + day.world.phase.downstream_after
    return Truth(due={_K.DOWNSTREAM_MISSING: due}, within=30 * MINUTE, repeats=True)


def phase_removed(day: Day) -> Truth:
    """The phase is taken out of the file while its incident is open: people are told that it is no longer watched."""
    truth = one_of(day, *_OF_THE_CODE, failed, one_is_silent)
    at = max(truth.due.values()) + day.rng.uniform(16, 34) * MINUTE
    day.world.schedule.at(at, partial(setattr, day.world, "is_removed", True))
    return truth


BUG_REPORTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        *(clock_ahead, clock_behind, odd_document_beside, odd_lines_beside, given_up_beside, odd_incident),
        *(odd_unneeded_fields_beside, undated_rejection, rejection_of_nobody, cut_off_message, rejected_for_days),
        *(many_others_on_the_topic_beside, renamed_without_history, renamed_to_one_that_was_there),
        *(common_words, drift_without_a_word, list_grows, work_query_contradicted, evidence_taken_away),
        *(
            slack_refused_for_good,
            slack_away_until_it_is_over,
            slack_away,
            slack_flaps,
            canary_dies_while_notifying,
            claim_refused,
        ),
        *(confirmation_refused, told_without_memory, source_flaps, output_flickers, phase_removed),
    )
}
