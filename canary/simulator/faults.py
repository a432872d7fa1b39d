"""What may go wrong with a date: each fault changes a healthy Day, and returns the Truth about it.

The Truth is for the score. What the canary reads are the stores, and nothing in them says what was done.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from canary.old_code import OldCode
from canary.simulator.day import ALIKE, HOUR, MINUTE, UNLIKE, Day, Report, Truth
from canary.simulator.world import Deliver, Fate, Outage, World
from canary.timeline import ticks
from canary.verdict import CauseKind, VerdictKind
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import read_progress, registration_fields
from orchestrator_resilience.testing import push_envelope

_K, _C = VerdictKind, CauseKind
_SECOND = timedelta(seconds=1)

Fault = Callable[[Day], Truth]


# Faulty: the causes


def never_invoked(day: Day) -> Truth:
    """The permission to invoke the function is gone; another witness has the completions."""
    day.independent_witness = True
    day.world.timeline.at(day.at(12 * 60), partial(setattr, day.world, "invokable", False))
    return _unregistered(day, min(report.at for report in day.reports.values()), _C.NEVER_INVOKED)


def delivery_lost(day: Day) -> Truth:
    """One message of five never comes; another witness has it."""
    day.independent_witness = True
    report = day.reports[day.victim()]
    report.fate = Fate(lost=True)
    return _unregistered(day, report.at, _C.DELIVERY_LOST)


def crashed(day: Day) -> Truth:
    """The process dies over one message, after the witness's row: once, or at each redelivery."""
    report = day.reports[day.victim()]
    report.fate = Fate(dies_at=day.rng.choice(["get_all", "merge"]), retried=day.rng.random() < 0.5)  # noqa: PLR2004
    return _unregistered(day, report.at, _C.CRASHED)


def crashed_at_the_flag(day: Day) -> Truth:
    """The process of the last message dies as it sets the flag: all five are registered."""
    day.reports[day.victim(day.last)].fate = Fate(dies_at="update_if_unchanged", retried=False)
    return _untriggered(day, _C.CRASHED)


def crashed_before_the_witness(day: Day) -> Truth:
    """The process dies over one message before it has written anything."""
    day.independent_witness = False
    day.reports[day.victim()].fate = Fate(dies_at="append", retried=day.rng.random() < 0.5)  # noqa: PLR2004
    return _incomplete(day, _C.CRASHED)


def write_failed(day: Day) -> Truth:
    """Firestore refuses one processor's registration, again and again."""
    report = day.reports[day.victim()]
    report.fate = Fate(refused_at=day.rng.choice(["get_all", "merge"]), retried=day.rng.random() < 0.8)  # noqa: PLR2004
    return _unregistered(day, report.at, _C.WRITE_FAILED)


def write_failed_at_the_flag(day: Day) -> Truth:
    """Firestore refuses the flag, again and again."""
    day.reports[day.victim(day.last)].fate = Fate(refused_at="update_if_unchanged")
    return _untriggered(day, _C.WRITE_FAILED)


def witness_write_failed(day: Day) -> Truth:
    """BigQuery refuses one processor's row: the flag is set, and the stores disagree."""
    day.independent_witness = False
    report = day.reports[day.victim()]
    report.fate = Fate(refused_at="append", retried=day.rng.random() < 0.5)  # noqa: PLR2004
    return Truth(due={_K.WITNESS_GAP: report.at + _SECOND + _limit(day)}, causes=frozenset({_C.WRITE_FAILED}))


def short_circuit(day: Day) -> Truth:
    """The old code registers all and takes each for a duplicate: without a line, or with the six lines in it."""
    code, checkpoints = _old_code(day.world), day.world.checkpoints_of(day.world.phase)
    with_lines = partial(code.deliver_with_checkpoints, checkpoints=checkpoints)
    ways: list[Deliver] = [code.deliver, with_lines, partial(with_lines, decides=False)]
    day.deliver = day.rng.choice(ways)
    return _untriggered(day, _C.SHORT_CIRCUIT)


def waits_for_too_many(day: Day) -> Truth:
    """The orchestrator also waits for processors that were switched off."""
    surplus = dict.fromkeys(day.rng.sample(["p2_bdl_box_scores", "p2_espn_scoreboard", "p2_nbacom_schedule"], 2), ())
    drifted = msgspec.structs.replace(day.world.phase, processors={**day.world.phase.processors, **surplus})
    day.deliver = day.world.orchestrator_of(drifted).deliver
    return _untriggered(day, _C.EXPECTATION_DRIFT)


def waits_for_too_few(day: Day) -> Truth:
    """The orchestrator does not wait for the last one, and sets the flag without it."""
    last = day.victim(day.last)
    day.reports[last].at += day.rng.uniform(20, 300) * MINUTE
    fewer = {name: aliases for name, aliases in day.world.phase.processors.items() if name != last}
    drifted = msgspec.structs.replace(day.world.phase, processors=fewer)
    day.deliver = day.world.orchestrator_of(drifted).deliver
    day.output_after = _flag_at(day, last) + 10 * MINUTE - day.complete_at
    due = {_K.PREMATURE: _flag_at(day, last), _K.WITNESS_GAP: day.reports[last].at + 2 * _SECOND}
    return Truth(due=due, causes=frozenset({_C.EXPECTATION_DRIFT}))


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
    return _incomplete(day, _C.NAME_DRIFT)


def disabled(day: Day) -> Truth:
    """A processor has been switched off: the third date on end (the bank's lead-in has the first two)."""
    del day.reports[day.victim("p2_nbacom_boxscores")]
    return _incomplete(day, _C.PROCESSOR_DISABLED)


def failed(day: Day) -> Truth:
    """A processor fails, each time that it is run."""
    processor = day.victim()
    day.reports[processor].status = "failed"
    for _ in range(day.rng.randint(0, 3)):
        day.repeat(day.reports[processor].at + day.rng.uniform(10, 120) * MINUTE, processor, status="failed")
    return _incomplete(day, _C.PROCESSOR_FAILED)


def flag_overwritten(day: Day) -> Truth:
    """Somebody writes over the flag, minutes or hours after it was set."""
    after = day.rng.choice([day.rng.uniform(1, 25), day.rng.uniform(30, 1200)]) * MINUTE
    gone_at = day.complete_at + after
    day.world.timeline.at(
        gone_at, lambda: day.world.stores.documents.merge(day.world.ref(day.date), {"_triggered": False})
    )
    due = max(day.complete_at + _limit(day), gone_at)
    causes = frozenset({_C.FLAG_OVERWRITTEN})
    return Truth(due={_K.UNTRIGGERED: due}, causes=causes, counts_from=due - _limit(day))


# Faulty: what no cause of the list explains, or what cannot be proven


def one_is_silent(day: Day) -> Truth:
    """One processor does not report, on this date only."""
    del day.reports[day.victim()]
    return _incomplete(day, _C.UNDETERMINED)


def one_is_silent_and_a_stranger_resembles_it(day: Day) -> Truth:
    """As above, and a stranger that has always been there has a name that resembles the silent one's."""
    processor = day.rng.choice(sorted(ALIKE))
    del day.reports[day.victim(processor)]
    day.strangers.append(Report(ALIKE[processor], day.at(25 * 60)))
    return _incomplete(day, _C.UNDETERMINED)


def counted_a_stranger(day: Day) -> Truth:
    """Code that counts keys takes a stranger for the fifth."""
    last = day.victim(day.last)
    day.reports[last].at += day.rng.uniform(20, 300) * MINUTE
    day.strangers.append(Report(day.rng.choice(UNLIKE), day.at(17 * 60)))
    day.deliver = _old_code(day.world, counts=True).deliver
    day.output_after = _flag_at(day, last) + 10 * MINUTE - day.complete_at
    return Truth(due={_K.PREMATURE: _flag_at(day, last)})


def dead_pipeline(day: Day) -> Truth:
    """There were games, and nobody reports."""
    day.reports = {}
    return Truth(due={_K.SILENT: day.deadline})


def downstream_missing(day: Day) -> Truth:
    """The flag is set, and the next phase writes nothing."""
    day.output_after = None
    return Truth(due={_K.DOWNSTREAM_MISSING: day.complete_at + _SECOND + day.world.phase.downstream_after})


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

    day.world.timeline.at(report.at, register)
    return Truth(due={_K.WITNESS_GAP: report.at + _limit(day)})


# Faulty: the canary's own sources, and Slack


def completion_log_unreadable(day: Day) -> Truth:
    """BigQuery does not answer for an hour or more."""
    return _unreadable(day, "completion_log")


def documents_unreadable(day: Day) -> Truth:
    """Firestore does not answer; the ledger is in there, so only the answers of the runs tell."""
    return replace(_unreadable(day, "documents"), told=False)


def outcome_unreadable(day: Day) -> Truth:
    """Nothing says what the next phase wrote."""
    return _unreadable(day, "outcome")


def work_unreadable(day: Day) -> Truth:
    """Nothing has arrived by the deadline, and nothing says whether there was work."""
    day.reports = {}
    day.world.outages.append(Outage("work", day.at(0), day.deadline + 6 * HOUR))
    day.games = 0
    return Truth(due={_K.UNKNOWN: day.deadline}, within=30 * MINUTE, causes=frozenset())


def slack_down(day: Day) -> Truth:
    """A fault, and Slack refuses the first attempts to tell of it."""
    truth = day.rng.choice([short_circuit, waits_for_too_many, flag_overwritten, crashed_at_the_flag])(day)
    refuses = day.rng.choice([1, 2, 3, 5])
    at = truth.due[_K.UNTRIGGERED] - MINUTE
    day.world.timeline.at(at, partial(setattr, day.world, "slack_refuses", refuses))
    return replace(truth, within=truth.within + refuses // 3 * 15 * MINUTE + 2 * MINUTE)


def checkpoints_unreadable_at_first(day: Day) -> Truth:
    """A fault that only the checkpoints prove, and they can be read ten minutes later."""
    truth = day.rng.choice([crashed, write_failed, delivery_lost, never_invoked, crashed_at_the_flag])(day)
    day.world.outages.append(Outage("checkpoints", day.at(0), max(truth.due.values()) + 10 * MINUTE))
    return truth


def checkpoints_unreadable(day: Day) -> Truth:
    """A fault that only the checkpoints prove, and nobody can read them: no cause may be named."""
    truth = day.rng.choice([crashed, write_failed, delivery_lost, never_invoked, crashed_at_the_flag])(day)
    day.world.outages.append(Outage("checkpoints", day.at(0), day.at(0) + timedelta(days=9)))
    return replace(truth, causes=frozenset({_C.UNDETERMINED}))


def _limit(day: Day) -> timedelta:
    return day.world.phase.untriggered_after


def _untriggered(day: Day, cause: CauseKind) -> Truth:
    """The set is complete and the flag unset: due half an hour after the last completion."""
    due = {_K.UNTRIGGERED: day.complete_at + _limit(day)}
    return Truth(due=due, causes=frozenset({cause}), counts_from=day.complete_at)


def _unregistered(day: Day, at: datetime, cause: CauseKind) -> Truth:
    """The completion log alone knows of a completion published `at`.

    Half an hour later the stores disagree; once the set is complete, the flag is missing as well.
    """
    truth = _untriggered(day, cause)
    visible_at = at + (2 if day.independent_witness else 1) * _SECOND
    gap_due = visible_at + _limit(day)
    if next(ticks(gap_due - _SECOND, truth.due[_K.UNTRIGGERED] - _SECOND), None) is None:
        return truth  # no run lies between the two
    return replace(truth, due={_K.WITNESS_GAP: gap_due, **truth.due})


def _incomplete(day: Day, cause: CauseKind) -> Truth:
    return Truth(due={_K.INCOMPLETE: day.deadline}, causes=frozenset({cause}))


def _flag_at(day: Day, without: str) -> datetime:
    """When code that does not wait for one processor sets the flag."""
    return max(report.at for processor, report in day.reports.items() if processor != without) + _SECOND


def _unreadable(day: Day, source: str) -> Truth:
    """A source is down from some time after the flag was set."""
    since = day.complete_at + day.rng.uniform(100, 360) * MINUTE
    day.world.outages.append(Outage(source, since, since + day.rng.uniform(45, 300) * MINUTE))
    return Truth(due={_K.UNKNOWN: since}, within=30 * MINUTE, causes=frozenset())


def _old_code(world: World, *, counts: bool = False) -> OldCode:
    return OldCode(world.phase, world.documents, world.completion_log, counts=counts)


FAULTY: dict[str, Fault] = {
    scenario.__name__: scenario
    for scenario in (
        *(never_invoked, delivery_lost, crashed, crashed_at_the_flag, crashed_before_the_witness, write_failed),
        *(write_failed_at_the_flag, witness_write_failed, short_circuit, waits_for_too_many, waits_for_too_few),
        *(renamed, disabled, failed, flag_overwritten, one_is_silent, one_is_silent_and_a_stranger_resembles_it),
        *(counted_a_stranger, dead_pipeline, downstream_missing, registered_without_a_row),
        *(completion_log_unreadable, documents_unreadable, outcome_unreadable, work_unreadable, slack_down),
        *(checkpoints_unreadable_at_first, checkpoints_unreadable),
    )
}

# Two of these may befall one date: each takes a processor of its own, and at most one is about the code.
PAIRABLE: Sequence[Fault] = (
    *(delivery_lost, crashed, crashed_before_the_witness, write_failed, renamed, failed, waits_for_too_many),
)
