"""A pipeline's own checks, each of which returns (passed, metrics, message).

One of them asks the canary.
"""

from contextlib import closing
from datetime import UTC, datetime
from canary.run import Outcome, check
from orchestrator_resilience import load_phases
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores


def check_orchestrator_health():
    """Pass where every recent date could be judged and is well.

    The message says of each other one what is wrong.
    """
    with closing(
        open_stores(Settings.from_env(), phases := load_phases(), must_exist=True)
    ) as stores:
        report = check(stores, phases, datetime.now(UTC))
    wrong = "; ".join(
        f"{v.phase} {v.game_date} {v.kind}: {v.summary}"
        for v in report.verdicts
        if not v.kind.is_quiet
    )
    return (
        report.outcome is Outcome.QUIET,
        {f"{v.phase} {v.game_date}": v.kind.value for v in report.verdicts},
        wrong,
    )


CHECKS = [check_orchestrator_health]  # beside those that are there already
