"""A pipeline's checks, each returns (passed, metrics, message); one of them asks the canary."""

from contextlib import closing
from datetime import UTC, datetime
from canary.run import Outcome, check_dates
from orchestrator_resilience import load_phases
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores


def check_orchestrator_health():
    """Pass where every recent date is healthy; the message says of each other one what is wrong."""
    with closing(open_stores(Settings.from_env(), phases := load_phases(), must_exist=True)) as db:
        report = check_dates(db, phases, datetime.now(UTC))
    wrong = [v for v in report.verdicts if not v.kind.is_quiet]
    said = [f"{v.phase} {v.game_date} {v.kind}: {v.summary}" for v in wrong]
    kinds = {
        f"{verdict.phase} {verdict.game_date}": verdict.kind.value for verdict in report.verdicts
    }
    return report.outcome is Outcome.QUIET, kinds, "; ".join(said)


CHECKS = [check_orchestrator_health]  # beside those that are there already
