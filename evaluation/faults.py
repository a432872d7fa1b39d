"""What may go wrong with a date: each fault changes a healthy Day, and returns the Truth about it.

The Truth is for the score. What the canary reads are the stores, and nothing in them says what was done.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec
from msgspec.structs import replace

from canary.domain.verdict import CauseKind, VerdictKind
from canary.playback.schedule import ticks
from evaluation.day import ALIKE, HOUR, IN_MESSAGE_LOG_AFTER, MINUTE, UNLIKE, Day, Injected, Report, Truth
from evaluation.healthy import no_games_and_some_say_so
from evaluation.old_code import OldCode
from evaluation.stored import Stored
from evaluation.world import DELIVERED, Deliver, InjectedFault, Outage, World
from orchestrator_resilience.checkpoints import CheckpointKind
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.logger import CheckpointLogger
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.testing import push_envelope

_K, _C = VerdictKind, CauseKind
_SECOND = timedelta(seconds=1)

Fault = Callable[[Day], Truth]


# Faulty: the causes


def never_invoked(day: Day) -> Truth:
    """The permission to invoke the function is lost, before the first delivery or later; the message log has all."""
    lost = sorted(day.reports.values(), key=lambda report: report.at)[day.rng.randint(0, 3) :]
    day.world.schedule.at(lost[0].at, partial(setattr, day.world, "is_invokable", False))

    def is_stored(stored: Stored) -> bool:
        """Two rows of Pub/Sub's own or more, and nothing that the function left of either."""
        ids = [report.message_id for report in lost]
        return sum(stored.has_row(one) and not stored.lines_of(one) for one in ids) > 1 and stored.readable

    return unregistered(day, lost[0].at + IN_MESSAGE_LOG_AFTER, Injected(_C.NEVER_INVOKED, is_stored))


def delivery_lost(day: Day) -> Truth:
    """One message of five never comes; the message log has it. Of the last one nobody can tell if others would come."""
    report = day.reports[day.victim()]
    report.fault = InjectedFault(lost=True)

    def is_stored(stored: Stored) -> bool:
        """Its row, no line of it, and a sign of a later delivery."""
        at = stored.row_at(report.message_id)
        return at is not None and stored.readable and stored.has_come_since(at)

    return unregistered(day, report.at + IN_MESSAGE_LOG_AFTER, Injected(_C.DELIVERY_LOST, is_stored))


def crashed(day: Day) -> Truth:
    """The process dies over one message, after the message_log's row: once, or at each redelivery."""
    report = day.reports[day.victim()]
    report.fault = InjectedFault(dies_at=day.rng.choice(["get_all", "update_if_unchanged"]), retried=day.chance(0.5))
    return unregistered(day, report.at + DELIVERED, _crash(report))


def crashed_at_the_flag(day: Day) -> Truth:
    """The process of the last message dies as it sets the flag: all five are registered."""
    report = day.reports[day.victim(day.last)]
    report.fault = InjectedFault(dies_at="update_if_unchanged", retried=False, loses_race=True)
    return untriggered(day, _crash(report))


def crashed_before_the_row(day: Day) -> Truth:
    """The process dies over one message before it has written anything."""
    report = day.reports[day.victim()]
    report.fault = InjectedFault(dies_at="append", retried=day.chance(0.5))
    return incomplete(day, _crash(report))


def write_failed(day: Day) -> Truth:
    """Firestore refuses one processor's registration, again and again."""
    report = day.reports[day.victim()]
    report.fault = InjectedFault(refused_at=day.rng.choice(["get_all", "update_if_unchanged"]), retried=day.chance(0.8))
    return unregistered(day, report.at + DELIVERED, _failure(report))


def write_failed_at_the_flag(day: Day) -> Truth:
    """Firestore refuses the flag, again and again."""
    report = day.reports[day.victim(day.last)]
    report.fault = InjectedFault(refused_at="update_if_unchanged", loses_race=True)
    return untriggered(day, _failure(report))


def row_write_failed(day: Day) -> Truth:
    """BigQuery refuses one processor's row: the flag is set, and the stores disagree."""
    report = day.reports[day.victim()]
    report.fault = InjectedFault(refused_at="append", retried=day.chance(0.5))
    return Truth(due={_K.STORES_DISAGREE: report.at + DELIVERED + limit(day)}, injected=(_failure(report),))


def rejected(day: Day) -> Truth:
    """One processor sends what the orchestrator cannot accept, and what completes nothing in a message log either."""
    report = day.reports[day.victim()]
    report.wrong = {"status": "finished"}
    return incomplete(day, rejection(report))


def short_circuit(day: Day) -> Truth:
    """The old code, with the six lines in it, takes each for a duplicate: it returns at once, or says so."""
    deliver = partial(old_code(day.world).deliver_with_checkpoints, checkpoints=checkpoints_of(day))
    day.deliver = day.rng.choice([partial(deliver, decides=False), partial(deliver, duplicate=True)])

    def is_stored(stored: Stored) -> bool:
        """A line that says that a delivery took itself for a duplicate, or had nothing to say."""
        return any(line.get("duplicate") or line["checkpoint"] == CheckpointKind.IGNORED for line in stored.lines)

    return untriggered(day, Injected(_C.SHORT_CIRCUIT, is_stored))


def short_circuit_without_a_word(day: Day) -> Truth:
    """The same without a line, or with one that does not say why: it may as well wait for somebody else."""
    code = old_code(day.world)
    ways: list[Deliver] = [code.deliver, partial(code.deliver_with_checkpoints, checkpoints=checkpoints_of(day))]
    day.deliver = day.rng.choice(ways)
    return untriggered(day, Injected(_C.SHORT_CIRCUIT, never))


def waits_for_too_many(day: Day) -> Truth:
    """The orchestrator also waits for processors that were switched off."""
    surplus = dict.fromkeys(day.rng.sample(["p2_bdl_box_scores", "p2_espn_scoreboard", "p2_nbacom_schedule"], 2), ())
    drifted = msgspec.structs.replace(day.world.phase, processors={**day.world.phase.processors, **surplus})
    day.deliver = day.world.orchestrator_of(drifted).deliver
    return untriggered(day, _drift(day))


def waits_for_too_few(day: Day) -> Truth:
    """The orchestrator does not wait for the last one, and sets the flag without it."""
    last = day.victim(day.last)
    day.reports[last].at += day.rng.uniform(20, 300) * MINUTE
    fewer = {name: aliases for name, aliases in day.world.phase.processors.items() if name != last}
    drifted = msgspec.structs.replace(day.world.phase, processors=fewer)
    day.deliver = day.world.orchestrator_of(drifted).deliver
    day.output_after = _flag_at(day, last) + 10 * MINUTE - day.complete_at
    due = {_K.PREMATURE: _flag_at(day, last), _K.STORES_DISAGREE: day.reports[last].at + IN_MESSAGE_LOG_AFTER}
    return Truth(due=due, injected=(_drift(day),))


def renamed(day: Day) -> Truth:
    """A processor reports under a name that resembles its own."""
    processor = day.victim()
    report = day.reports[processor]
    changes: list[Callable[[str], str]] = [
        lambda name: name.replace("Processor", "sProcessor"),
        lambda name: name.replace("Processor", "V2Processor"),
        lambda name: f"{name}_v2",
        lambda name: name.replace("_", ""),
    ]
    wanted = [change(day.any_name(processor)) for change in changes for _ in range(8)]
    phase = day.world.phase
    report.name = day.rng.choice([n for n in wanted if phase.canonical(n) is None and phase.nearest(n) == processor])

    def is_stored(stored: Stored) -> bool:
        """The new name on this date; the old one on an earlier date, and never the two together."""
        before = [stored.on(earlier.date).reported for earlier in day.before]
        with_old_name = [report.name in one for one in before if processor in one]
        return report.name in stored.reported and with_old_name != [] and not any(with_old_name)

    return incomplete(day, Injected(_C.NAME_DRIFT, is_stored))


def disabled(day: Day) -> Truth:
    """A processor has been switched off: the third date on end."""
    for earlier in day.before[-2:]:
        earlier.truth = _switched_off(earlier)
    return _switched_off(day)


def _switched_off(day: Day) -> Truth:
    processor = day.victim("p2_nbacom_boxscores")
    del day.reports[processor]
    three = [day.date - timedelta(days=n) for n in range(3)]
    return incomplete(day, Injected(_C.PROCESSOR_DISABLED, lambda stored: stored.silent_on(processor, three)))


def failed(day: Day) -> Truth:
    """A processor fails, each time that it is run."""
    processor = day.victim()
    day.reports[processor].status = "failed"
    for _ in range(day.rng.randint(0, 3)):
        day.repeat(day.reports[processor].at + day.rng.uniform(10, 120) * MINUTE, processor, status="failed")
    return incomplete(day, Injected(_C.PROCESSOR_FAILED, lambda stored: "failed" in stored.reported.get(processor, ())))


def flag_overwritten(day: Day) -> Truth:
    """Somebody writes over the flag, minutes or hours after it was set."""
    after = day.rng.choice([day.rng.uniform(1, 25), day.rng.uniform(30, 1200)]) * MINUTE
    gone_at = day.complete_at + after
    day.world.schedule.at(
        gone_at, lambda: day.world.stores.documents.merge(day.world.ref(day.date), {"_triggered": False})
    )
    due = max(day.complete_at + limit(day), gone_at)
    in_time = gone_at <= day.complete_at + limit(day)
    return Truth(
        due={_K.UNTRIGGERED: due},
        injected=(Injected(_C.FLAG_OVERWRITTEN, lambda stored: stored.was_set),),
        counts_from=day.complete_at if in_time else None,
    )


# Faulty: what no cause of the list explains, or what cannot be proven


def one_is_silent(day: Day) -> Truth:
    """One processor does not report, on this date only."""
    del day.reports[day.victim()]
    return incomplete(day)


def one_is_silent_and_another_resembles_it(day: Day) -> Truth:
    """As above, and an unexpected processor that has always been there has a name that resembles the silent one's."""
    processor = day.rng.choice(sorted(ALIKE))
    del day.reports[day.victim(processor)]
    for one in (*day.before, day):
        one.unexpected.append(Report(ALIKE[processor], one.at(25 * 60)))
    return incomplete(day)


def counted_an_unexpected_one(day: Day) -> Truth:
    """Code that counts keys takes an unexpected processor for the fifth."""
    last = day.victim(day.last)
    day.reports[last].at += day.rng.uniform(20, 300) * MINUTE
    day.unexpected.append(Report(day.rng.choice(UNLIKE), day.at(17 * 60)))
    day.deliver = old_code(day.world, counts=True).deliver
    day.output_after = _flag_at(day, last) + 10 * MINUTE - day.complete_at
    return Truth(due={_K.PREMATURE: _flag_at(day, last)})


def dead_pipeline(day: Day) -> Truth:
    """There were games, and nobody reports."""
    day.reports = {}
    return Truth(due={_K.SILENT: day.deadline})


def downstream_missing(day: Day) -> Truth:
    """The flag is set, and the next phase writes nothing."""
    day.output_after = None
    return Truth(due={_K.DOWNSTREAM_MISSING: day.complete_at + DELIVERED + day.world.phase.downstream_after})


def registered_without_a_row(day: Day) -> Truth:
    """Somebody writes a registration by hand; the completion log has never heard of it."""
    # Not the last one: the next delivery finds it there.
    report = day.reports.pop(day.victim(min(day.reports, key=lambda processor: day.reports[processor].at)))
    envelope = push_envelope(report.name, str(day.date), report.at, message_id="by-hand")

    def register() -> None:
        world = day.world
        completion = Completion.from_event(envelope, world.phase)
        fields = registration_fields(read_progress({}, world.phase), completion, report.at)
        world.stores.documents.merge(world.ref(day.date), fields)

    day.world.schedule.at(report.at, register)
    return Truth(due={_K.STORES_DISAGREE: report.at + limit(day)})


# Faulty: the canary's own sources, and Slack


def completion_log_unreadable(day: Day) -> Truth:
    """BigQuery does not answer for an hour or more."""
    return _unreadable(day, "completion_log")


def documents_unreadable(day: Day) -> Truth:
    """Firestore does not answer; the incidents are in there, so only the answers of the runs tell."""
    return replace(_unreadable(day, "documents"), told=False)


def outcome_unreadable(day: Day) -> Truth:
    """Nothing says what the next phase wrote."""
    return _unreadable(day, "outcome")


def work_unreadable(day: Day) -> Truth:
    """Nothing has arrived by the deadline, and nothing says whether there was work."""
    day.reports = {}
    day.world.outages.append(Outage("work", day.at(0), day.deadline + 6 * HOUR))
    day.games = 0
    return Truth(due={_K.UNKNOWN: day.deadline}, within=30 * MINUTE)


def slack_down(day: Day) -> Truth:
    """A fault, and Slack refuses the first attempts to tell of it, or of what it has become."""
    faults = [short_circuit, waits_for_too_many, flag_overwritten, crashed_at_the_flag, crashed, write_failed]
    truth = one_of(day, *faults, never_invoked, delivery_lost)
    refuses = day.rng.choice([1, 2, 3, 6])
    at = day.rng.choice(list(truth.due.values())) - MINUTE
    day.world.schedule.at(at, partial(setattr, day.world, "slack_refuses", refuses))
    late = refuses * 15 * MINUTE  # the next run tells Slack; the log has it, so none is repeated
    return replace(truth, slack_late=late, optional=frozenset({_K.STORES_DISAGREE}))


_PROVEN_BY_CHECKPOINTS: Sequence[Fault] = (crashed, write_failed, crashed_at_the_flag, delivery_lost, never_invoked)


def checkpoints_unreadable_at_first(day: Day) -> Truth:
    """A fault that only the checkpoints prove, and they can be read ten minutes later."""
    truth = one_of(day, *_PROVEN_BY_CHECKPOINTS)
    day.world.outages.append(Outage("checkpoints", day.at(0), max(truth.due.values()) + 10 * MINUTE))
    return truth


def checkpoints_unreadable(day: Day) -> Truth:
    """A fault that only the checkpoints prove, and nobody can read them: no cause may be named."""
    truth = one_of(day, *_PROVEN_BY_CHECKPOINTS, crashed_before_the_row, row_write_failed)
    day.world.outages.append(Outage("checkpoints", day.at(0), day.at(0) + timedelta(days=9)))
    return truth


# Faulty: more than one thing in a row


def repaired_before(day: Day) -> Truth:
    """A delivery that went wrong early was repaired by a re-run; what is wrong in the end is something else."""
    ordered = sorted(day.reports, key=lambda processor: day.reports[processor].at)
    early = day.victim(ordered[0])
    operation = day.rng.choice(["get_all", "update_if_unchanged"])
    fault = day.rng.choice(
        [InjectedFault(dies_at=operation, retried=False), InjectedFault(refused_at=operation, retried=False)]
    )
    day.reports[early].fault = fault
    day.repeat(day.reports[early].at + 5 * MINUTE, early)
    return one_of(day, failed, one_is_silent, write_failed_at_the_flag, crashed_at_the_flag)


def repaired_by_halves(day: Day) -> Truth:
    """The processor that failed is run again, and the orchestrator still waits for others: one incident, not two."""
    truth = waits_for_too_many(day)
    rest = failed(day)
    missing = next(processor for processor, report in day.reports.items() if report.status == "failed")
    again = day.deadline + day.rng.uniform(20, 300) * MINUTE
    day.repeat(again, missing)
    due = {**rest.due, _K.UNTRIGGERED: again + limit(day)}
    return Truth(due=due, injected=(*truth.injected, *rest.injected), counts_from=again)


def one_is_silent_after_days_without_games(day: Day) -> Truth:
    """Silent once, after dates on which only some said that they had nothing to do."""
    for one in day.before:
        no_games_and_some_say_so(one)
    del day.reports[day.victim("p2_nbacom_boxscores")]
    return incomplete(day)


def limit(day: Day) -> timedelta:
    """Return how long a complete date may stay untriggered."""
    return day.world.phase.untriggered_after


def never(_: Stored) -> bool:
    """Of what leaves no evidence in any store."""
    return False


def _crash(report: Report) -> Injected:
    return Injected(_C.CRASHED, lambda stored: stored.has_died(report.message_id))


def _failure(report: Report) -> Injected:
    """A refused write, by the line with which the message's last delivery ended."""
    return Injected(
        _C.WRITE_FAILED, lambda stored: stored.last_closing(report.message_id) == CheckpointKind.FAILED.value
    )


def rejection(report: Report) -> Injected:
    """A rejected message, by the line with which its last delivery ended."""
    return Injected(
        _C.MESSAGE_REJECTED, lambda stored: stored.last_closing(report.message_id) == CheckpointKind.REJECTED.value
    )


def _drift(day: Day) -> Injected:
    """Another list, which the orchestrator has written down."""
    return Injected(_C.EXPECTATION_DRIFT, lambda stored: bool(stored.waits_for - {day.world.phase.expected}))


def untriggered(day: Day, *injected: Injected) -> Truth:
    """The set is complete and the flag unset: due half an hour after the last completion."""
    due = {_K.UNTRIGGERED: day.complete_at + limit(day)}
    return Truth(due=due, injected=injected, counts_from=day.complete_at)


def unregistered(day: Day, visible_at: datetime, *injected: Injected) -> Truth:
    """The completion log alone knows of a completion, since `visible_at`.

    Half an hour later the stores disagree; once the set is complete, the flag is missing as well.
    """
    truth = untriggered(day, *injected)
    gap_due = visible_at + limit(day)
    is_seen = next(ticks(gap_due - _SECOND, truth.due[_K.UNTRIGGERED] - _SECOND), None) is not None
    optional = frozenset[VerdictKind]() if is_seen else frozenset({_K.STORES_DISAGREE})
    return replace(truth, due={_K.STORES_DISAGREE: gap_due, **truth.due}, optional=optional)


def incomplete(day: Day, *injected: Injected) -> Truth:
    """A processor is missing: due at the deadline."""
    return Truth(due={_K.INCOMPLETE: day.deadline}, injected=injected)


def _flag_at(day: Day, without: str) -> datetime:
    """When code that does not wait for one processor sets the flag."""
    return max(report.at for processor, report in day.reports.items() if processor != without) + DELIVERED


def _unreadable(day: Day, source: str) -> Truth:
    """A source is down from some time after the flag was set."""
    since = day.complete_at + day.rng.uniform(100, 360) * MINUTE
    day.world.outages.append(Outage(source, since, since + day.rng.uniform(45, 300) * MINUTE))
    return Truth(due={_K.UNKNOWN: since}, within=30 * MINUTE)


def one_of(day: Day, *faults: Fault) -> Truth:
    """Let one of `faults` happen that this world can have."""
    without = WITHOUT_MESSAGE_LOG if day.world.has_message_log else WITH_MESSAGE_LOG
    return day.rng.choice([fault for fault in faults if fault.__name__ not in without])(day)


def checkpoints_of(day: Day) -> CheckpointLogger:
    """Return a logger for code that is not the orchestrator's."""
    return day.world.checkpoints_of(day.world.phase)


def old_code(world: World, *, counts: bool = False) -> OldCode:
    """Return the old orchestrator."""
    return OldCode(world.phase, world.documents, world.completion_log, counts=counts)


# Those that show only with an message log, and only without one.
WITH_MESSAGE_LOG, WITHOUT_MESSAGE_LOG = (
    {"never_invoked", "delivery_lost"},
    {"crashed_before_the_row", "row_write_failed"},
)

FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        *(never_invoked, delivery_lost, crashed, crashed_at_the_flag, crashed_before_the_row, write_failed),
        *(write_failed_at_the_flag, row_write_failed, rejected, short_circuit, short_circuit_without_a_word),
        *(waits_for_too_many, waits_for_too_few, renamed, disabled, failed, flag_overwritten, one_is_silent),
        *(one_is_silent_and_another_resembles_it, one_is_silent_after_days_without_games, counted_an_unexpected_one),
        *(dead_pipeline, downstream_missing, registered_without_a_row, repaired_before, repaired_by_halves),
        *(completion_log_unreadable, documents_unreadable, outcome_unreadable, work_unreadable, slack_down),
        *(checkpoints_unreadable_at_first, checkpoints_unreadable),
    )
}

# Two or three of these may befall one date: each takes a processor of its own, and at most one is about the code.
TOGETHER: Sequence[Fault] = (
    *(delivery_lost, crashed, crashed_before_the_row, write_failed, rejected, renamed, failed, waits_for_too_many),
)
