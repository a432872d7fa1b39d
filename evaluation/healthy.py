"""What may happen to a healthy date: each scenario changes a Day, and none may raise an alarm."""

import base64
import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from evaluation.day import ALIKE, HOUR, MINUTE, UNLIKE, Day, ProcessorReport, Scenario
from evaluation.old_code import OldCode
from evaluation.world import InjectedFault, Outage
from orchestrator_resilience.stores.jsonl import append_line
from orchestrator_resilience.testing import push_envelope

_SECOND = timedelta(seconds=1)


def normal(_: Day) -> None:
    """Everybody reports at the usual time."""


def out_of_order(day: Day) -> None:
    """Anybody may be last, and messages overtake each other."""
    times = [report.at for report in day.reports.values()]
    day.rng.shuffle(times)
    for report, at in zip(day.reports.values(), times, strict=True):
        report.at, report.delays = at, [day.rng.uniform(0, 600) * _SECOND]


def duplicates(day: Day) -> None:
    """Pub/Sub delivers each message many times, and processors run again hours later."""
    for processor, report in day.reports.items():
        report.delays = [
            day.rng.uniform(0, 3600) * _SECOND for _ in range(day.rng.randint(2, 20))
        ] + [_SECOND]
        for _ in range(day.rng.randint(0, 3)):
            day.repeat(day.complete_at + day.rng.uniform(0, 20) * HOUR, processor)


def within_a_second(day: Day) -> None:
    """All five complete in the same second."""
    burst = day.complete_at
    for report in day.reports.values():
        report.at = burst + day.rng.uniform(0, 1) * _SECOND
        report.delays = [day.rng.uniform(0, 1) * _SECOND]


def flag_29_minutes_late(day: Day) -> None:
    """The last delivery comes just before anybody would be notified."""
    day.reports[day.last].delays = [day.rng.uniform(25, 29.9) * MINUTE]


def no_games(day: Day) -> None:
    """No work, and nobody reports."""
    day.games = 0
    day.reports = {}


def no_games_and_some_say_so(day: Day) -> None:
    """No work; some report that they had nothing to do, others do not report."""
    no_games(day)
    day.unexpected += [
        ProcessorReport(day.any_name(name), day.at(18 * 60), "no_data")
        for name in sorted(day.world.phase.expected)[:2]
    ]


def nothing_to_do(day: Day) -> None:
    """Everybody reports, and had nothing to do: there were no games."""
    day.games = 0
    for report in day.reports.values():
        report.status = day.rng.choice(["no_data", "skipped"])
    day.output_after = None


def backfill(day: Day) -> None:
    """Dates long past are processed again, some of them only in part."""
    for _ in range(day.rng.randint(1, 5)):
        old = day.date - timedelta(days=day.rng.randint(15, 400))
        for processor in day.rng.sample(sorted(day.reports), day.rng.randint(1, 5)):
            at = day.at(day.rng.uniform(12 * 60, 30 * 60))
            message_id = f"backfill-{old}-{processor}-{at:%H%M%S%f}"
            day.world.publish(
                at, push_envelope(day.any_name(processor), str(old), at, message_id=message_id)
            )


def unexpected_report(day: Day) -> None:
    """Processors that nobody expects, some with a name that resembles an expected one."""
    for name in day.rng.sample([*UNLIKE, *ALIKE.values()], day.rng.randint(1, 4)):
        day.unexpected.append(ProcessorReport(name, day.at(day.rng.uniform(16 * 60, 28 * 60))))


def partial_statuses(day: Day) -> None:
    """`partial` completes; a failure or a `no_data` that is run again an hour later ends well."""
    for processor, report in day.reports.items():
        report.status = day.rng.choice(["success", "partial", "failed", "no_data"])
        if report.status in {"failed", "no_data"}:
            day.repeat(report.at + day.rng.uniform(10, 90) * MINUTE, processor)


def canary_twice(day: Day) -> None:
    """The scheduler starts each run twice, at once."""
    day.world.twice.add(day.date)


def stopped(
    how: str, *operations: str, last: bool = False, retried: float = 1, attempts: int | None = None
) -> Scenario:
    """Return what stops deliveries of one message, or of the last one, at one of `operations`.

    The process `dies_at` it, or the store refuses (`refused_at`). `retried` is the share of the
    messages that come again, `attempts` how many deliveries are stopped at most. The last message
    sets the flag.
    """

    def inject(day: Day) -> ProcessorReport:
        report = day.victim(day.last if last else None)
        operation = day.rng.choice(operations) if len(operations) > 1 else operations[0]
        fault = {how: operation, "retried": day.chance(retried), "loses_race": last}
        fault |= {"attempts": day.rng.randint(1, attempts)} if attempts else {}
        report.fault = msgspec.convert(fault, InjectedFault)
        return report

    return inject


def store_hiccup(day: Day) -> None:
    """A store refuses for minutes; Pub/Sub's redeliveries get through."""
    for operation in day.rng.sample(["append", "get_all", "update_if_unchanged"], 2):
        day.victim().fault = InjectedFault(refused_at=operation, attempts=day.rng.randint(1, 6))


def source_unreadable_once(day: Day) -> None:
    """One run cannot read a source; the next can."""
    tick = day.at(18 * 60 + 15 * day.rng.randint(0, 90))
    source = day.rng.choice(["documents", "completion_log", "outcome", "work"])
    day.world.outages.append(Outage(source, tick - MINUTE, tick + 5 * MINUTE))


def late_before_the_deadline(day: Day) -> None:
    """The last one reports in the morning."""
    day.reports[day.last].at = day.deadline - day.rng.uniform(1, 240) * MINUTE


def odd_unneeded_fields(day: Day) -> None:
    """What nobody needs of a message has any value that JSON and its cousins can write."""
    odd: dict[str, Sequence[object]] = {
        "record_count": ["150", 150.0, -1, math.nan, 10**30, {}, "many"],
        "entities_changed": [[203999], "everybody", {"id": 1}, [None, [1]]],
        "execution_id": [17, "", ["run"], 3.5],
        "is_incremental": [1, "yes", []],
        "correlation_id": ["x" * 300, 5, "a\nb", "\u202e"],
        "quality": [math.inf, 10**40, _deep(60)],
    }
    for report in day.reports.values():
        names = day.rng.sample(sorted(odd), day.rng.randint(1, 4))
        report.odd = {name: day.rng.choice(odd[name]) for name in names}


def encoded_again(day: Day) -> None:
    """Publishers put a mark in front, encode twice, or write capitals and spaces."""
    ways: list[Callable[[str], bytes]] = [
        lambda body: b"\xef\xbb\xbf" + body.encode(),
        lambda body: base64.b64encode(body.encode()),
        lambda body: json.dumps(body).encode(),
        lambda body: body.replace('"success"', '" Success "').encode(),
        lambda body: f"\r\n {body} \n".encode(),
    ]
    for report in day.reports.values():
        report.written = day.rng.choice(ways)


def many_others_on_the_topic(day: Day) -> None:
    """A dozen processors that nobody expects."""
    names = [
        f"{source}{what}Processor"
        for source in ("Espn", "Bdl", "Mlb")
        for what in ("Odds", "Roster", "Log", "Pace")
    ]
    day.unexpected += [
        ProcessorReport(name, day.at(day.rng.uniform(16 * 60, 28 * 60))) for name in names
    ]


def gave_up_waiting(day: Day) -> None:
    """The old orchestrator sets the flag without everybody, on purpose.

    It leaves neither ids nor lines.
    """
    world = day.world
    for processor in day.rng.sample(sorted(day.reports), day.rng.randint(1, 3)):
        del day.reports[processor]
    day.deliver = OldCode(world.phase, world.documents, world.completion_log).deliver
    fields = {
        "_triggered": True,
        "_triggered_at": day.complete_at + HOUR,
        "_triggered_reason": "deadline_exceeded",
        "_partial_completion": True,
        "_mode": "deadline",
    }
    world.schedule.at(
        day.complete_at + HOUR, lambda: world.stores.documents.merge(world.ref(day.date), fields)
    )


def odd_document(day: Day) -> None:
    """Somebody writes into the document, once the flag is set, what is of no use there."""
    world, processor = day.world, day.rng.choice(sorted(day.reports))
    moments: list[object] = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        "noon",
        7,
        [],
        {},
        None,
    ]
    fields: dict[str, object] = {
        "_triggered_at": day.rng.choice(moments),
        processor: {
            "completed_at": day.rng.choice(moments),
            "registered_at": day.rng.choice(moments),
        },
        "_trigger_reason": day.rng.choice([None, 7, "\u202e\x1b[2J", "x" * 5000]),
        "_unexpected": day.rng.choice([[], 7, {"": None}, {f"Other{n}": n for n in range(20)}]),
        "_reports": day.rng.choice([[], "none", {processor: {"status": 7}}]),
        "_completed_count": day.rng.choice(["five", -1, math.nan]),
        "_note": _deep(200),
    }
    chosen = {name: fields[name] for name in day.rng.sample(sorted(fields), day.rng.randint(1, 5))}
    at = day.complete_at + 20 * MINUTE
    world.schedule.at(at, lambda: world.stores.documents.merge(world.ref(day.date), chosen))


def odd_lines(day: Day) -> None:
    """The checkpoint file has lines that are no checkpoints, or whose values are of odd types."""
    file, at = day.world.stores.folder / "checkpoints.jsonl", day.complete_at + HOUR
    line = {
        "severity": "INFO",
        "message": "CHECKPOINT_UNEXPECTED: ?",
        "time": at.isoformat(),
        "checkpoint": "CHECKPOINT_UNEXPECTED",
        "closes": True,
        "phase": day.world.phase.name,
        "game_date": str(day.date),
        "raw_processor": "EspnScoreboardProcessor",
    }
    odd: list[str] = [
        "[" * 10_000,
        json.dumps({**line, "time": at.replace(tzinfo=None).isoformat()}),
        json.dumps({**line, "time": "0001-01-01T00:00:00Z"}),
        json.dumps({**line, "delivery": {}, "completed": None}),
        json.dumps({**line, "sequence": [], "missing": [None, 3], "closes": "yes"}),
        json.dumps({**line, "processor": 7, "event_id": _deep(50)}),
        json.dumps(line)[:-20],
        "\x00\x1b[2J",
        json.dumps({**line, "checkpoint": "CHECKPOINT_OF_TOMORROW"}),
    ]
    for text in day.rng.sample(odd, day.rng.randint(1, 4)):
        day.world.schedule.at(at, partial(append_line, file, f"{text}\n"))


def _deep(depth: int) -> object:
    return json.loads("[" * depth + "1" + "]" * depth)


HEALTHY: dict[str, Scenario] = {
    "normal": normal,
    "out_of_order": out_of_order,
    "duplicates": duplicates,
    "within_a_second": within_a_second,
    "flag_29_minutes_late": flag_29_minutes_late,
    "no_games": no_games,
    "no_games_and_some_say_so": no_games_and_some_say_so,
    "nothing_to_do": nothing_to_do,
    "backfill": backfill,
    "unexpected_report": unexpected_report,
    "partial_statuses": partial_statuses,
    "canary_twice": canary_twice,
    # A process dies once or more, also over the message that was to set the flag; Pub/Sub's
    # redelivery gets through.
    "crashed_and_redelivered": stopped(
        "dies_at", "append", "get_all", "update_if_unchanged", attempts=5
    ),
    "crashed_at_the_flag_and_redelivered": stopped(
        "dies_at", "update_if_unchanged", attempts=5, last=True
    ),
    "store_hiccup": store_hiccup,
    "source_unreadable_once": source_unreadable_once,
    "late_before_the_deadline": late_before_the_deadline,
    "odd_unneeded_fields": odd_unneeded_fields,
    "encoded_again": encoded_again,
    "many_others_on_the_topic": many_others_on_the_topic,
    "gave_up_waiting": gave_up_waiting,
    "odd_document": odd_document,
    "odd_lines": odd_lines,
}
