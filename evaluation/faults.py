"""The table of the faults: what happens to a date, and what is right to say of it.

A row says what is injected (evaluation/injected.py), from when each verdict is due, at which stage
it stops whom, and by what of the stores the cause is proven. The truth of a date is made from its
row when the fault is injected. It is for the score: what the canary reads are the stores, and
nothing in them says what was done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial

import msgspec
from msgspec.structs import replace

from canary.domain.facts import TAKEN_UP_AFTER
from canary.domain.stages import CauseKind, Stage
from canary.domain.verdict import VerdictKind
from canary.notify.channel import NotifyError
from canary.playback.schedule import ticks
from evaluation import healthy, injected, reported
from evaluation.day import (
    BOX_SCORES,
    HOUR,
    IN_MESSAGE_LOG_AFTER,
    MINUTE,
    Day,
    ProcessorReport,
    Scenario,
)
from evaluation.truth import THE_DATE, Stop, Stored, Truth
from evaluation.world import DELIVERED, is_second_run

_K, _C, _S = VerdictKind, CauseKind, Stage
_Proof = Callable[[Stored, ProcessorReport], bool]
_Stops = Callable[[Day, ProcessorReport], tuple[Stop, ...]]
# None where a verdict is not due in that world.
_Due = Mapping[VerdictKind, Callable[[Day, ProcessorReport], datetime | None]]
_SECOND, _QUARTER = timedelta(seconds=1), 15 * MINUTE


class FaultRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table.

    `injects` changes the day, and returns the message that it hits. `due` says when each verdict is
    due, `stops` where the date or its processors really stop, both by the day and that message.
    `one_of` names faults of which one happens as well; its truth becomes the row's, but for a `due`
    that the row has itself. `consequence` is injected last. Otherwise the truth is `like` this one.
    `dates` is on how many dates in a row the fault shows, `message_log` whether only in worlds with
    a message log, or only in worlds without one. `group` is that of the pipeline's own write-ups.
    """

    injects: Scenario = lambda _: None
    due: _Due = {}
    stops: _Stops = lambda *_: ()
    one_of: tuple[str, ...] = ()
    consequence: injected.Consequence = lambda *_: None
    like: Truth = Truth()
    dates: int = 1
    message_log: bool | None = None
    group: str = ""

    def can_be(self, *, message_log: bool) -> bool:
        """Whether a world with or without a message log can have this fault."""
        return self.message_log in {None, message_log}


def inject(name: str, day: Day) -> dict[date, Truth]:
    """Let the fault `name` happen to a healthy date.

    Return the truth of that date, and of earlier ones that the fault hits.
    """
    fault = FAULTS[name]
    hit = fault.injects(day) or ProcessorReport("nobody", day.complete_at)
    earlier = day.before[len(day.before) + 1 - fault.dates :]
    truths = {
        each.date: _truth(fault, each, each.reports.get(hit.processor, hit)) for each in earlier
    }
    truth = _truth(fault, day, hit)
    if fault.one_of:
        possible = [
            candidate
            for candidate in fault.one_of
            if FAULTS[candidate].can_be(message_log=day.world.has_message_log)
        ]
        drawn = inject(day.rng.choice(possible), day)[day.date]
        facts = {name: getattr(drawn, name) for name in ("due", "stops", "counts_from", "optional")}
        truth = replace(fault.like, **facts | ({"due": truth.due} if fault.due else {}))
    return truths | {day.date: fault.consequence(day, truth) or truth}


def _truth(fault: FaultRow, day: Day, hit: ProcessorReport) -> Truth:
    due = {kind: at for kind, when in fault.due.items() if (at := when(day, hit))}
    gap, late = due.get(_K.STORES_DISAGREE), due.get(_K.UNTRIGGERED)
    is_seen = not gap or not late or next(ticks(gap - _SECOND, late - _SECOND), None) is not None
    return replace(
        fault.like,
        due=due,
        stops=fault.stops(day, hit),
        counts_from=late - day.limit if late else None,
        optional=frozenset() if is_seen else frozenset({_K.STORES_DISAGREE}),
    )


# Whom a fault stops, and where; it has no proof where nobody can say why.


def _the_date(*_: object) -> Iterable[str]:
    return [THE_DATE]


def _is_first(day: Day, hit: ProcessorReport) -> bool:
    return hit.at <= min(report.at for report in day.reports.values())


def _by_night(*_: object) -> Iterable[str]:
    return reported.NIGHT


def _all_since(day: Day, hit: ProcessorReport) -> Iterable[str]:
    return [name for name, report in day.reports.items() if report.at >= hit.at]


def _everybody(day: Day, _: ProcessorReport) -> Iterable[str]:
    return day.world.phase.expected


def _stops(
    stage: Stage,
    cause: CauseKind = CauseKind.UNDETERMINED,
    proof: _Proof = Stored.nothing,
    *,
    whom: Callable[[Day, ProcessorReport], Iterable[str]] = lambda _, hit: [hit.processor],
) -> _Stops:
    """Return what stops processors, by default the one whose message is hit.

    A processor stops when its message was to come, and by the deadline at the latest; where no
    message is hit, the date stops once it is complete.
    """

    def stops(day: Day, hit: ProcessorReport) -> tuple[Stop, ...]:
        subjects = frozenset(whom(day, hit))
        since = hit.at if THE_DATE in subjects else min(hit.at, day.deadline)
        return (
            Stop(
                stage=stage,
                subjects=subjects,
                since=since,
                cause=cause,
                is_stored=lambda stored: proof(stored, hit),
            ),
        )

    return stops


_SILENCE = _stops(_S.RAN)
_REJECTION = _stops(_S.ACCEPTED, _C.MESSAGE_REJECTED, Stored.was_rejected)
_LONGER_LIST = _stops(_S.DECIDED, _C.EXPECTATION_DRIFT, Stored.waits_for_others, whom=_the_date)
_FAILURE = _stops(_S.RAN, _C.PROCESSOR_FAILED, Stored.says_so)
_NOT_LET_IN = _stops(_S.DELIVERED, _C.NOT_DELIVERED, Stored.was_turned_away, whom=_all_since)
_NOT_STARTED = _stops(_S.RAN, _C.NOT_RUN, Stored.was_not_started, whom=_by_night)
_NO_FLAG = _stops(_S.DECIDED, whom=_the_date)

# From when each verdict is due, by the day and the message that was hit. A completion of which the
# completion log alone knows is a gap in half an hour; once the set is complete, the flag is missing
# as well.
_INCOMPLETE: _Due = {_K.INCOMPLETE: lambda day, _: day.deadline}
_UNTRIGGERED: _Due = {_K.UNTRIGGERED: lambda day, _: day.complete_at + day.limit}
_GAP: _Due = {_K.STORES_DISAGREE: lambda _, hit: hit.at + DELIVERED + TAKEN_UP_AFTER}
_UNREGISTERED: _Due = {**_GAP, **_UNTRIGGERED}
_UNDELIVERED: _Due = {
    _K.STORES_DISAGREE: lambda _, hit: hit.at + IN_MESSAGE_LOG_AFTER + TAKEN_UP_AFTER,
    **_UNTRIGGERED,
}
# Before the deadline, only the message log shows what is not delivered.
_TURNED_AWAY: _Due = {
    _K.INCOMPLETE: lambda day, hit: (
        None if day.world.has_message_log or _is_first(day, hit) else day.deadline
    ),
    _K.SILENT: lambda day, hit: (
        None if day.world.has_message_log or not _is_first(day, hit) else day.deadline
    ),
    **{
        kind: lambda day, hit, when=when: when(day, hit) if day.world.has_message_log else None  # type: ignore[misc]
        for kind, when in _UNDELIVERED.items()
    },
}
_BY_HAND: _Due = {_K.STORES_DISAGREE: lambda _, hit: hit.at + TAKEN_UP_AFTER}
_PREMATURE: _Due = {_K.PREMATURE: lambda day, hit: day.complete_without(hit)}
_PREMATURE_GAP: _Due = {
    **_PREMATURE,
    _K.STORES_DISAGREE: lambda _, hit: hit.at + IN_MESSAGE_LOG_AFTER,
}
_INCOMPLETE_FIRST: _Due = {**_INCOMPLETE, _K.UNTRIGGERED: lambda day, hit: hit.at + day.limit}
_SILENT: _Due = {_K.SILENT: lambda day, _: day.deadline}
_NO_OUTPUT: _Due = {
    _K.DOWNSTREAM_MISSING: lambda day, _: (
        day.complete_at + DELIVERED + day.world.phase.downstream_after
    )
}
_UNREADABLE: _Due = {_K.UNKNOWN: lambda day, _: day.world.outages[-1].since}
_UNKNOWN: _Due = {_K.UNKNOWN: lambda day, _: day.deadline}

_REFUSED_START: _Due = {_K.DOWNSTREAM_MISSING: lambda day, _: day.complete_at + DELIVERED}
_LEFT_PENDING: _Due = {
    _K.DOWNSTREAM_MISSING: lambda day, _: day.complete_at + day.world.phase.downstream_after
}
_SOME_GAMES: _Due = {
    _K.DOWNSTREAM_PARTIAL: lambda day, _: (
        day.complete_at + DELIVERED + day.world.phase.downstream_after
    )
}
_REGISTERING = ("get_all", "update_if_unchanged")
_AWAY = partial(NotifyError, "Slack answered 503")
_SEEN_TWICE = Truth(within=30 * MINUTE)
_CODE = ("short_circuit", "waits_for_too_many", "flag_overwritten")
_SIMPLE = (*_CODE, "failed", "one_is_silent")
_ANY = (*_CODE, "crashed", "write_failed", "failed", "rejected", "renamed", "one_is_silent")
_BY_CHECKPOINTS = (
    "crashed",
    "write_failed",
    "crashed_at_the_flag",
    "delivery_lost",
    "never_invoked",
)

FAULTS: dict[str, FaultRow] = {
    # One message, or each from one on. Only a log of requests proves that the function was not
    # started.
    "never_invoked": FaultRow(
        injects=injected.no_permission,
        due=_UNDELIVERED,
        stops=_stops(
            _S.DELIVERED,
            _C.NOT_DELIVERED,
            Stored.was_turned_away,
            whom=_all_since,
        ),
        message_log=True,
    ),
    "delivery_lost": FaultRow(
        injects=injected.lost_message,
        due=_UNDELIVERED,
        stops=_stops(_S.DELIVERED, _C.NOT_DELIVERED, Stored.never_came),
        message_log=True,
    ),
    "crashed": FaultRow(
        injects=healthy.stopped("dies_at", *_REGISTERING, retried=0.5),
        due=_UNREGISTERED,
        stops=_stops(_S.REGISTERED, _C.CRASHED, Stored.has_died),
    ),
    "crashed_at_the_flag": FaultRow(
        injects=healthy.stopped("dies_at", "update_if_unchanged", retried=0, last=True),
        due=_UNTRIGGERED,
        stops=_stops(_S.DECIDED, _C.CRASHED, Stored.has_died, whom=_the_date),
    ),
    "crashed_before_the_row": FaultRow(
        injects=healthy.stopped("dies_at", "append", retried=0.5),
        due=_INCOMPLETE,
        stops=_stops(_S.RECORDED, _C.CRASHED, Stored.has_died),
        message_log=False,
    ),
    "write_failed": FaultRow(
        injects=healthy.stopped("refused_at", *_REGISTERING, retried=0.8),
        due=_UNREGISTERED,
        stops=_stops(_S.REGISTERED, _C.WRITE_FAILED, Stored.has_failed),
    ),
    "write_failed_at_the_flag": FaultRow(
        injects=healthy.stopped("refused_at", "update_if_unchanged", last=True),
        due=_UNTRIGGERED,
        stops=_stops(_S.DECIDED, _C.WRITE_FAILED, Stored.has_failed, whom=_the_date),
    ),
    "row_write_failed": FaultRow(
        injects=healthy.stopped("refused_at", "append", retried=0.5),
        due=_GAP,
        stops=_stops(_S.RECORDED, _C.WRITE_FAILED, Stored.has_failed),
        message_log=False,
    ),
    "rejected": FaultRow(
        injects=injected.wrong_fields(lambda _: {"status": "finished"}),
        due=_INCOMPLETE,
        stops=_REJECTION,
    ),
    # The orchestrator's code, its list and its flag.
    "short_circuit": FaultRow(
        injects=injected.duplicates_only,
        due=_UNTRIGGERED,
        stops=_stops(_S.DECIDED, _C.SHORT_CIRCUIT, Stored.took_for_duplicate, whom=_the_date),
    ),
    "no_flag_without_a_word": FaultRow(  # a short circuit and a longer list leave the same
        injects=injected.code_without_a_word, due=_UNTRIGGERED, stops=_NO_FLAG
    ),
    "waits_for_too_many": FaultRow(
        injects=injected.longer_list,
        due=_UNTRIGGERED,
        stops=_LONGER_LIST,
    ),
    "waits_for_too_few": FaultRow(
        injects=injected.shorter_list,
        due=_PREMATURE_GAP,
        stops=_stops(_S.ACCEPTED, _C.EXPECTATION_DRIFT, Stored.waits_for_others),
    ),
    "renamed": FaultRow(
        injects=injected.new_name,
        due=_INCOMPLETE,
        stops=_stops(_S.ACCEPTED, _C.NAME_DRIFT, Stored.was_renamed),
    ),
    "disabled": FaultRow(
        injects=injected.silence_of(BOX_SCORES, dates=3),
        due=_INCOMPLETE,
        stops=_SILENCE,
        dates=3,
    ),
    "failed": FaultRow(
        injects=injected.failure,
        due=_INCOMPLETE,
        stops=_FAILURE,
    ),
    "no_data": FaultRow(
        injects=injected.no_data, due=_INCOMPLETE, stops=_stops(_S.RAN, _C.NO_DATA, Stored.says_so)
    ),
    "flag_overwritten": FaultRow(
        due=_UNTRIGGERED,
        stops=_stops(_S.FLAGGED, _C.FLAG_OVERWRITTEN, Stored.flag_was_set, whom=_the_date),
        consequence=injected.overwritten_flag,
    ),
    # What no cause of the list explains, or what cannot be proven. A flag that was set too early
    # stops nobody, and what Phase 3 does with it is no stage of this phase, whose flag does not
    # start it.
    "one_is_silent": FaultRow(injects=injected.silence_of(), due=_INCOMPLETE, stops=_SILENCE),
    "one_is_silent_and_another_resembles_it": FaultRow(
        injects=partial(injected.silence_beside_another_name, always=True),
        due=_INCOMPLETE,
        stops=_SILENCE,
    ),
    "one_is_silent_after_days_without_games": FaultRow(
        injects=injected.on_each_before(
            healthy.no_games_and_some_say_so, injected.silence_of(BOX_SCORES)
        ),
        due=_INCOMPLETE,
        stops=_SILENCE,
    ),
    "counted_an_unexpected_one": FaultRow(injects=injected.counted_keys, due=_PREMATURE),
    "dead_pipeline": FaultRow(
        injects=lambda day: day.reports.clear(), due=_SILENT, stops=_stops(_S.RAN, whom=_everybody)
    ),
    "downstream_missing": FaultRow(injects=injected.no_output, due=_NO_OUTPUT),
    "registered_without_a_row": FaultRow(
        injects=injected.registration_by_hand, due=_BY_HAND, stops=_stops(_S.RECORDED)
    ),
    # More than one thing in a row: what was repaired is no cause, and a problem that becomes
    # another is one incident.
    "repaired_before": FaultRow(
        injects=injected.repaired_early,
        one_of=("failed", "one_is_silent", "write_failed_at_the_flag", "crashed_at_the_flag"),
    ),
    "repaired_by_halves": FaultRow(
        injects=injected.longer_list_and_failure,
        due=_INCOMPLETE_FIRST,
        stops=lambda day, hit: (
            *_FAILURE(day, day.reports[hit.processor]),
            *_LONGER_LIST(day, hit),
        ),
    ),
    # The canary's own sources, and Slack. The incidents are in the documents: only the answers of
    # the runs show it.
    "completion_log_unreadable": FaultRow(
        injects=injected.outage_of("completion_log"), due=_UNREADABLE, like=_SEEN_TWICE
    ),
    "documents_unreadable": FaultRow(
        injects=injected.outage_of("documents"),
        due=_UNREADABLE,
        like=replace(_SEEN_TWICE, notified=False),
    ),
    "outcome_unreadable": FaultRow(
        injects=injected.outage_of("outcome"), due=_UNREADABLE, like=_SEEN_TWICE
    ),
    "work_unreadable": FaultRow(
        injects=injected.outage_of_work,
        due=_UNKNOWN,
        stops=_stops(_S.RAN, whom=_everybody),
        like=_SEEN_TWICE,
    ),
    "slack_down": FaultRow(
        one_of=(
            *_CODE,
            "crashed_at_the_flag",
            "crashed",
            "write_failed",
            "never_invoked",
            "delivery_lost",
        ),
        consequence=injected.slack_that_refuses,
    ),
    "checkpoints_unreadable_at_first": FaultRow(
        one_of=_BY_CHECKPOINTS,
        consequence=lambda day, truth: day.down(
            "checkpoints", day.at(0), max(truth.due.values()) + 10 * MINUTE
        ),
    ),
    "checkpoints_unreadable": FaultRow(
        injects=lambda day: day.down("checkpoints", day.at(0), day.at(0) + 9 * 24 * HOUR),
        one_of=(*_BY_CHECKPOINTS, "crashed_before_the_row", "row_write_failed"),
    ),
    # From the bug reports of other monitors: a fault, and beside it something odd that must not
    # matter. Other people's clocks: the flag is missing all the same.
    "clock_ahead": FaultRow(injects=injected.clock_ahead, due=_UNTRIGGERED, stops=_NO_FLAG),
    "clock_behind": FaultRow(due=_UNTRIGGERED, stops=_NO_FLAG, consequence=injected.clock_behind),
    # What others have written, on a date beside.
    "odd_document_beside": FaultRow(
        injects=lambda day: healthy.odd_document(day.rng.choice(day.before)), one_of=_ANY
    ),
    "odd_lines_beside": FaultRow(injects=injected.odd_lines_of_two_dates, one_of=_ANY),
    "given_up_beside": FaultRow(
        injects=lambda day: healthy.gave_up_waiting(day.before[-1]), one_of=_ANY
    ),
    "odd_incident": FaultRow(injects=injected.odd_memory, one_of=_ANY),
    # Messages. One that was rejected without a date may be of any date that lacks it.
    "odd_unneeded_fields_beside": FaultRow(
        injects=injected.on_each(
            lambda day: day.rng.choice([healthy.odd_unneeded_fields, healthy.encoded_again])(day)
        ),
        one_of=_ANY,
    ),
    "undated_rejection": FaultRow(
        injects=injected.wrong_fields(
            lambda day: {
                "game_date": day.rng.choice(
                    [None, f"{day.date:%m/%d/%Y}", "yesterday", 20260210, f"{day.date}T25:00"]
                )
            }
        ),
        due=_INCOMPLETE,
        stops=_stops(_S.ACCEPTED, _C.MESSAGE_REJECTED),
        like=Truth(arguable=frozenset({_C.MESSAGE_REJECTED})),
    ),
    "rejection_of_nobody": FaultRow(
        injects=injected.wrong_fields(
            lambda day: {"processor_name": day.rng.choice([None, 17, ""]), "game_date": None}
        ),
        due=_INCOMPLETE,
        stops=_stops(_S.ACCEPTED, _C.MESSAGE_REJECTED),
    ),
    "cut_off_message": FaultRow(
        injects=injected.cut_off_message, due=_INCOMPLETE, stops=_REJECTION
    ),
    "rejected_for_days": FaultRow(  # and not switched off
        injects=injected.unknown_status_for_days,
        due=_INCOMPLETE,
        stops=_REJECTION,
        dates=3,
    ),
    # Names, lists and what there was to do. A rename on the first date of all may as well be
    # another processor.
    "many_others_on_the_topic_beside": FaultRow(
        injects=injected.on_each(healthy.many_others_on_the_topic), one_of=_ANY
    ),
    "renamed_without_history": FaultRow(
        injects=injected.on_each_before(healthy.no_games, injected.new_name),
        due=_INCOMPLETE,
        stops=_stops(_S.ACCEPTED, _C.NAME_DRIFT),
    ),
    "renamed_to_one_that_was_there": FaultRow(
        injects=partial(injected.silence_beside_another_name, always=False),
        due=_INCOMPLETE,
        stops=_SILENCE,
    ),
    "common_words": FaultRow(
        injects=injected.silence_beside_common_words, due=_INCOMPLETE, stops=_SILENCE
    ),
    "list_grows": FaultRow(injects=injected.list_that_grows, due=_INCOMPLETE, stops=_SILENCE),
    # UNKNOWN, never IDLE, and without reminders
    "work_query_contradicted": FaultRow(
        injects=injected.no_games_in_the_schedule,
        one_of=("failed",),
        due=_UNKNOWN,
        like=replace(_SEEN_TWICE, repeats=True),
    ),
    "evidence_taken_away": FaultRow(
        one_of=(
            *(
                *_ANY,
                "delivery_lost",
                "never_invoked",
                "crashed_before_the_row",
                "crashed_at_the_flag",
            ),
            *("write_failed_at_the_flag", "row_write_failed", "waits_for_too_few"),
        ),
        like=Truth(take_away=True),
    ),
    # Notifying, and what it depends on. Anyone who did not hear of the beginning does not hear of
    # the end.
    "slack_refused_for_good": FaultRow(
        injects=injected.slack_fails(lambda _: NotifyError("Slack answered 404", gone=True)),
        one_of=_ANY,
        like=Truth(channel="log", warnings=1),
    ),
    "slack_away_until_it_is_over": FaultRow(
        injects=injected.slack_fails(lambda _: _AWAY()), one_of=_SIMPLE, like=Truth(channel="log")
    ),
    "slack_away": FaultRow(one_of=_SIMPLE, consequence=injected.slack_away_until_it_is_known),
    "slack_flaps": FaultRow(
        injects=injected.slack_fails(lambda now: _AWAY() if is_second_run(now) else None),
        one_of=_SIMPLE,
        like=Truth(slack_late=_QUARTER, repeats=True),
    ),
    "canary_dies_while_notifying": FaultRow(  # the next run notifies, the log perhaps twice
        injects=injected.death_while_notifying, one_of=_SIMPLE, like=Truth(slack_late=_QUARTER)
    ),
    "memory_refused": FaultRow(  # people are notified without memory, and of other dates as well
        one_of=_SIMPLE, consequence=injected.refused_memory("commit"), like=Truth(repeats=True)
    ),
    "told_without_memory": FaultRow(  # by the problem's age alone
        injects=injected.flag_in_bigquery,
        one_of=("short_circuit", "waits_for_too_many"),
        consequence=lambda day, truth: day.down(
            "documents",
            truth.due[_K.UNTRIGGERED] - 20 * MINUTE,
            truth.due[_K.UNTRIGGERED] + day.rng.uniform(16, 34) * MINUTE,
        ),
        like=Truth(repeats=True),
    ),
    # what cannot be read is sent one run later, and an UNTRIGGERED an hour after completion
    "source_flaps": FaultRow(
        injects=lambda day: day.down(
            day.rng.choice(["completion_log", "documents", "outcome", "checkpoints"]),
            day.at(0),
            day.deadline + 6 * HOUR,
            flaps=True,
        ),
        one_of=_SIMPLE,
        consequence=lambda _, truth: replace(truth, counts_from=None),
        like=Truth(within=30 * MINUTE, repeats=True),
    ),
    "output_flickers": FaultRow(
        injects=lambda day: day.world.flickering.add(day.date),
        due=_NO_OUTPUT,
        like=Truth(within=60 * MINUTE, repeats=True),
    ),
    "phase_removed": FaultRow(one_of=_SIMPLE, consequence=injected.removed_phase),
    # What the pipeline's own write-ups report, by their groups.
    "gate_refuses": FaultRow(
        injects=reported.gate_refuses,
        due=_REFUSED_START,
        stops=_stops(_S.STARTED, _C.NOT_STARTED, Stored.was_refused, whom=_the_date),
        like=Truth(words=reported.GATE),
        group="the next phase is refused behind the flag",
    ),
    "start_is_left_pending": FaultRow(
        injects=reported.start_is_left_pending,
        due=_LEFT_PENDING,
        stops=_stops(_S.STARTED, _C.NOT_STARTED, Stored.is_pending, whom=_the_date),
        like=Truth(words="publish failed: 504"),
        group="the next phase is refused behind the flag",
    ),
    "package_is_missing": FaultRow(
        injects=reported.package_is_missing,
        due=_TURNED_AWAY,
        stops=_stops(_S.DELIVERED, _C.CRASHED, Stored.could_not_start, whom=_all_since),
        like=Truth(words=reported.NO_MODULE),
        group="the function does not start",
    ),
    "publishes_nothing": FaultRow(
        injects=reported.publishes_nothing,
        due=_INCOMPLETE,
        stops=_stops(_S.PUBLISHED, _C.NOT_PUBLISHED, Stored.published_nothing),
        like=Truth(words="success"),
        group="a completion is not published",
    ),
    "job_is_paused": FaultRow(
        injects=reported.job_is_paused,
        due=_INCOMPLETE,
        stops=_NOT_STARTED,
        like=Truth(words="paused"),
        group="the upstream does not start",
    ),
    "job_is_refused": FaultRow(
        injects=reported.job_is_refused,
        due=_INCOMPLETE,
        stops=_NOT_STARTED,
        like=Truth(words=reported.DENIED),
        group="the upstream does not start",
    ),
    "old_code_is_deployed": FaultRow(
        injects=reported.old_code_is_deployed,
        due=_UNTRIGGERED,
        stops=_stops(_S.DECIDED, _C.SHORT_CIRCUIT, Stored.took_for_duplicate, whom=_the_date),
        group="the tracker writes before the transaction",
    ),
    "wrong_list_is_deployed": FaultRow(
        injects=reported.wrong_list_is_deployed,
        due=_UNTRIGGERED,
        stops=_LONGER_LIST,
        like=Truth(words="waits for"),
        group="a wrong list, or a wrong name",
    ),
    "wrong_name": FaultRow(
        injects=injected.new_name,
        due=_INCOMPLETE,
        stops=_stops(_S.ACCEPTED, _C.NAME_DRIFT, Stored.was_renamed),
        group="a wrong list, or a wrong name",
    ),
    "some_games_only": FaultRow(
        injects=reported.some_games_only, due=_SOME_GAMES, group="some games only"
    ),
    "right_is_lost": FaultRow(
        injects=reported.right_is_lost,
        due=_TURNED_AWAY,
        stops=_NOT_LET_IN,
        like=Truth(words="403"),
        group="no right, or no instance",
    ),
    "no_instance": FaultRow(
        injects=reported.no_instance,
        due=_TURNED_AWAY,
        stops=_NOT_LET_IN,
        like=Truth(words="429"),
        group="no right, or no instance",
    ),
    "flag_is_set_too_early": FaultRow(
        injects=injected.counted_keys, due=_PREMATURE, group="the flag is set too early"
    ),
}

# Two or three of these may befall one date: each takes a processor of its own, and at most one is
# about the code.
TOGETHER: Sequence[str] = (
    *(
        "delivery_lost",
        "crashed",
        "crashed_before_the_row",
        "write_failed",
        "rejected",
        "renamed",
        "failed",
    ),
    "waits_for_too_many",
)
