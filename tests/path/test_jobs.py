"""Who was not started by the scheduler, and who only seems not to have been.

The last processor of each date completes at 06:50Z of the day after it; its job starts it at
06:40Z. DAY is February 9.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from canary.domain.evidence import Seen
from canary.domain.path import where_it_stopped
from canary.domain.stages import Cause, CauseKind
from canary.domain.verdict import judge
from orchestrator_resilience.stores.base import Attempt, Change, Changes, Component
from tests.path.shown import Documents, Jobs, Messages, Rows, Runs, View, World
from tests.path.worlds import FIVE, Ending, Plan

LAST, JOB, OTHER = FIVE[4], "nightly", "by-hand"
DENIED = "PERMISSION_DENIED (Original HTTP response code number = 403)"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Return a time of February 2026."""
    return datetime(2026, 2, day, hour, minute, tzinfo=UTC)


def done(what: str, when: datetime, job: str = JOB) -> Change:
    """Return what was done to a job."""
    return Change(when, Component.JOB, job, what)


# The attempts of the nights before, of a job that has its answer at once, and of one that waits for
# its processor.
AT_ONCE, WAITED = ([Attempt(at(day, 6, minute), JOB) for day in (8, 9)] for minute in (40, 52))
PAUSED = done("paused", at(9, 20))
REFUSED = [Attempt(at(10, 6, minute), JOB, DENIED) for minute in (40, 45)]


def explained(
    changes: Sequence[Change],
    attempts: Sequence[Attempt],
    ending: Ending = Ending.NEVER_RAN,
    *,
    jobs: dict[str, tuple[str, ...]] | None = None,
    cut_at: datetime | None = None,
    view: View | None = None,
) -> tuple[Cause, str]:
    """Return the cause of the one that is missing, and what is said of its run."""
    view = replace(view or View(messages=Messages.ABSENT), jobs=Jobs.ABSENT, runs=Runs.ABSENT)
    world = World(Plan(endings=(*(Ending.HEALTHY,) * 4, ending)), view)
    log = Seen(Changes(sorted(changes), sorted(attempts), cut_at))
    phase = replace(world.phase, scheduler_jobs={JOB: (LAST,)} if jobs is None else jobs)
    verdict = where_it_stopped(
        judge(world.evidence, phase, world.now),
        world.evidence,
        replace(world.traces, changes=log),
        history=world.history,
        phase=phase,
        now=world.now,
    )
    ran = next(step for step in verdict.path if (step.subject, step.stage) == (LAST, "RAN"))
    return next(cause for cause in verdict.causes if LAST in cause.subjects), ran.words


@pytest.mark.parametrize(
    ("changes", "attempts", "words"),
    [
        ([PAUSED], AT_ONCE, "its scheduler job nightly was paused at 2026-02-09 20:00:00Z"),
        ([PAUSED], WAITED, "its scheduler job nightly was paused at 2026-02-09 20:00:00Z"),
        (
            [done("deleted", at(9, 20))],
            AT_ONCE,
            "its scheduler job nightly was deleted at 2026-02-09 20:00:00Z",
        ),
        (
            [PAUSED, done("resumed", at(10, 9))],
            AT_ONCE,
            "from 2026-02-09 20:00:00Z to 2026-02-10 09:00:00Z",
        ),
        # after now
        ([PAUSED, done("resumed", at(11, 9))], AT_ONCE, "was paused at 2026-02-09 20:00:00Z"),
        # before any attempt for the date
        ([done("paused", at(9, 7))], [], "was paused at 2026-02-09 07:00:00Z"),
        (
            [],
            [*AT_ONCE, *REFUSED],
            (
                "the last attempt of its scheduler job nightly, at 2026-02-10 06:45:00Z, "
                f"failed: {DENIED}"
            ),
        ),
        ([], REFUSED, "PERMISSION_DENIED"),
    ],
)
def test_it_was_not_started(
    changes: Sequence[Change], attempts: Sequence[Attempt], words: str
) -> None:
    """By the words of the scheduler, or of who took its job away."""
    cause, statement = explained(changes, attempts)
    assert (cause.kind, cause.until, cause.source) == (CauseKind.NOT_RUN, "RAN", "scheduler")
    assert words in cause.words
    assert words in statement


@pytest.mark.parametrize(
    ("changes", "attempts", "words"),
    [
        ([], [*AT_ONCE, Attempt(at(10, 6, 40), JOB)], "at 2026-02-10 06:40:00Z, succeeded"),
        ([], [*AT_ONCE, *REFUSED, Attempt(at(10, 12), JOB)], "succeeded"),
        (
            [],
            [*AT_ONCE, Attempt(at(10, 6, 40), JOB, "RESOURCE_EXHAUSTED (429)")],
            "RESOURCE_EXHAUSTED",
        ),
        (
            [],
            [*AT_ONCE, Attempt(at(10, 6, 40), JOB, "DEADLINE_EXCEEDED"), *REFUSED[1:]],
            "PERMISSION_DENIED",
        ),
        ([PAUSED], [*AT_ONCE, Attempt(at(9, 22), JOB)], "succeeded"),  # forced, while it was paused
        ([PAUSED], [*AT_ONCE, Attempt(at(9, 12), JOB)], "succeeded"),  # it runs each hour
        ([PAUSED], [], "was paused"),  # whether it had made an attempt before, nothing says
        ([done("paused", at(8, 20))], [], ""),  # and the processor has run since
        ([done("paused", at(10, 18))], AT_ONCE, ""),  # after the deadline
        ([done("changed", at(9, 20))], AT_ONCE, ""),
        ([], AT_ONCE, ""),
        ([], [], ""),
    ],
)
def test_it_may_have_been_started(
    changes: Sequence[Change], attempts: Sequence[Attempt], words: str
) -> None:
    """No cause is named, and what is known of its job is said."""
    cause, statement = explained(changes, attempts)
    assert cause.kind is not CauseKind.NOT_RUN
    assert words in statement
    assert bool(words) == bool(statement)


def test_one_of_several_jobs() -> None:
    """Each may have started it: what is known of one alone proves nothing."""
    both = {JOB: (LAST,), OTHER: ()}
    cause, statement = explained([PAUSED], AT_ONCE, jobs=both)
    assert (cause.kind, "was paused" in statement) == (CauseKind.UNDETERMINED, True)
    paused = [PAUSED, done("paused", at(9, 7), OTHER)]
    assert explained(paused, AT_ONCE, jobs=both)[0].kind is CauseKind.NOT_RUN
    assert explained(paused, AT_ONCE, jobs={JOB: FIVE[:4]})[1] == ""


def test_too_many_to_be_read() -> None:
    """Whether there was an attempt before the job was paused, is not known then."""
    assert explained([PAUSED], AT_ONCE, cut_at=at(9, 12))[0].kind is CauseKind.UNDETERMINED
    assert explained([PAUSED], AT_ONCE, cut_at=at(9, 5))[0].kind is CauseKind.NOT_RUN


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Ending.REPORTS_FAILED, CauseKind.PROCESSOR_FAILED),
        (Ending.REJECTED_STATUS, CauseKind.MESSAGE_REJECTED),
        (Ending.REJECTED_NAME, CauseKind.UNDETERMINED),
        (Ending.RENAMED, CauseKind.UNDETERMINED),
        (Ending.OTHER_DATE, CauseKind.UNDETERMINED),
        (Ending.DIES, CauseKind.CRASHED),
    ],
)
def test_it_was_run_by_hand(ending: Ending, kind: CauseKind) -> None:
    """Under its own name or another, or for another date: then its job is not why it is missing."""
    assert explained([PAUSED], AT_ONCE, ending)[0].kind is kind


def test_what_nobody_can_read_is_nobodys_absence() -> None:
    """Where neither document nor completion log can be read, nobody is known to be missing."""
    unread = View(documents=Documents.UNREADABLE, rows=Rows.UNREADABLE, messages=Messages.ABSENT)
    cause, statement = explained([PAUSED], AT_ONCE, view=unread)
    assert (cause.kind, statement) == (CauseKind.UNDETERMINED, "")
