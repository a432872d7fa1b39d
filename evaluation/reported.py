"""What really went wrong with this pipeline, by the groups of its own write-ups.

Each function leaves what such a failure leaves in stores and logs. Where a change brought it about,
that change, by `GUILTY`, is in the audit log before it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial

import msgspec

from evaluation.day import BOX_SCORES, HOUR, MINUTE, Day, ProcessorReport
from evaluation.injected import duplicates_only, longer_list, no_permission
from evaluation.old_code import OldCode
from evaluation.world import DELIVERED, TOO_MANY
from orchestrator_resilience.stores.base import Attempt, Change, Component, ProcessorRun

# Whose account made the change after which it failed.
GUILTY, INNOCENT = "deploy-bot", "somebody"
NO_MODULE = "ModuleNotFoundError: No module named 'yaml'"
GATE = "the gate refused: Phase 3 data incomplete, 61% of 80%"
DENIED = "PERMISSION_DENIED"
JOB, SERVICE = "phase2-night", "orchestrator"
_SERVICE = (Component.SERVICE, SERVICE)
RUNS_QUERY = "runs @since @until"
# Those that run after the games, by one job.
NIGHT = (BOX_SCORES, "p2_bigdataball_pbp", "p2_nbacom_gamebook_pdf")


def gate_refuses(day: Day) -> None:
    """The flag starts Phase 3, is set, and a gate behind it refuses: the code says so in a line."""
    _start_by_the_flag(day)
    lines, code = day.world.checkpoints_of(day.world.phase), _old_code(day)

    def deliver(event: object) -> None:
        code.deliver_and_start(event, lines, lambda delivery: delivery.not_started(GATE))

    day.deliver = deliver


def start_is_left_pending(day: Day) -> None:
    """The flag is set, and the call that starts Phase 3 fails without a line.

    It leaves nothing but "pending".
    """
    _start_by_the_flag(day)
    lines, code = day.world.checkpoints_of(day.world.phase), _old_code(day)
    pending = {"_trigger_pending": True, "_trigger_reason": "publish failed: 504 Deadline Exceeded"}

    def deliver(event: object) -> None:
        code.deliver_and_start(event, lines, fields=pending)

    day.deliver = deliver


def package_is_missing(day: Day) -> ProcessorReport:
    """A deployment lacks a package.

    No instance starts from then on, and no delivery leaves a line.
    """
    first = _one_of_the_first(day)
    at = _change(day, first.at, _SERVICE, "deployed", "orchestrator-00012-abc")
    day.world.schedule.at(at, partial(setattr, day.world, "cannot_start", NO_MODULE))
    return first


def publishes_nothing(day: Day) -> ProcessorReport:
    """A processor runs to its good end, and publishes on no topic that anybody listens to."""
    for each in (*day.before, day):
        _note_runs(each, each.reports.values())
    return day.silence()


def job_is_paused(day: Day) -> ProcessorReport:
    """Somebody pauses the scheduler job that starts those of the night; nothing runs."""
    _by_the_job(day)
    silent = [day.silence(name) for name in NIGHT]
    first = min(silent, key=lambda report: report.at)
    _change(day, min(first.at, day.at(24 * 60)), (Component.JOB, JOB), "paused")
    return first


def job_is_refused(day: Day) -> ProcessorReport:
    """The job of the night's processors may not start them any more: each attempt is refused."""
    _by_the_job(day)
    silent = [day.silence(name) for name in NIGHT]
    for hour in range(3):
        day.world.platform.attempts.append(Attempt(day.at((24 + hour) * 60 + 15), JOB, DENIED))
    return min(silent, key=lambda report: report.at)


def old_code_is_deployed(day: Day) -> None:
    """A deployment brings back the tracker that writes before the transaction."""
    _change(day, day.at(16 * 60), _SERVICE, "deployed", "orchestrator-00012-abc")
    duplicates_only(day)


def wrong_list_is_deployed(day: Day) -> None:
    """A deployment brings a list with others on it."""
    _change(day, day.at(16 * 60), _SERVICE, "deployed", "orchestrator-00012-abc")
    longer_list(day)


def some_games_only(day: Day) -> None:
    """The next phase writes some of the games, and stops."""
    day.world.phase = msgspec.structs.replace(day.world.phase, outcome_counts_games=True)
    day.games = max(day.games, 2)
    day.world.games_written[day.date] = day.rng.randint(1, day.games - 1)


def right_is_lost(day: Day) -> ProcessorReport:
    """Somebody takes the right to invoke the function away."""
    first = no_permission(day)
    _change(day, first.at, _SERVICE, "permissions changed")
    return first


def no_instance(day: Day) -> ProcessorReport:
    """The platform has no instance for the function from some message on."""
    day.world.turned_away_with = TOO_MANY
    return no_permission(day)


def _start_by_the_flag(day: Day) -> None:
    day.world.phase = msgspec.structs.replace(day.world.phase, flag_starts_next_phase=True)
    day.output_after = None


def _old_code(day: Day) -> OldCode:
    return OldCode(day.world.phase, day.world.documents, day.world.completion_log)


def _one_of_the_first(day: Day) -> ProcessorReport:
    return sorted(day.reports.values(), key=lambda report: report.at)[day.rng.randint(0, 3)]


def _change(
    day: Day, before: datetime, part: tuple[Component, str], what: str, revision: str = ""
) -> datetime:
    """Let somebody change a component after it was last seen to work, and before a moment."""
    earlier = [
        report.at + DELIVERED for each in (*day.before, day) for report in each.reports.values()
    ]
    since = max((at for at in earlier if at < before), default=before - HOUR)
    at = before - (before - since) * day.rng.uniform(0.05, 0.95)
    day.world.platform.changes_made.append(Change(at, *part, what, GUILTY, revision))
    return at


def _by_the_job(day: Day) -> None:
    """Let a scheduler job start those of the night, on this date and on those before."""
    day.world.phase = msgspec.structs.replace(day.world.phase, scheduler_jobs={JOB: NIGHT})
    for each in day.before:
        day.world.platform.attempts.append(Attempt(each.at(24 * 60 + 15), JOB))


def _note_runs(day: Day, reports: Collection[ProcessorReport]) -> None:
    """Note the runs of a date in the pipeline's own table."""
    day.world.phase = msgspec.structs.replace(day.world.phase, runs_query=RUNS_QUERY)
    day.world.runs += [
        ProcessorRun(
            processor=report.name,
            game_date=day.date,
            started_at=report.at - 4 * MINUTE,
            finished_at=report.at - timedelta(seconds=1),
            status="success",
        )
        for report in reports
    ]
