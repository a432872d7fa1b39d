"""What people read of a verdict: the text of an alert, and the word that it is over."""

from datetime import datetime
from zoneinfo import ZoneInfo

from canary.verdict import Impact, Verdict, spoken
from orchestrator_resilience.phase import Phase


def alert_text(verdict: Verdict, phase: Phase, now: datetime) -> str:
    """Return what, since when, what else is known, whether it matters, and where to look further."""
    lines = [f"{verdict.phase} {verdict.game_date}: {verdict.summary}"]
    if verdict.since is not None:
        lines.append(f"Since:    {_moment(verdict.since, phase)}, {spoken(now - verdict.since)} ago")
    if verdict.cause is not None:
        lines.append(f"Cause:    {verdict.cause.kind}: {verdict.cause.proof}")
        if verdict.cause.ruled_out:
            lines.append(f"          Ruled out: {', '.join(verdict.cause.ruled_out)}")
    lines += [f"Evidence: {note}" for note in verdict.notes if not verdict.cause or note not in verdict.cause.proof]
    lines += [
        f"Impact:   {_impact_text(verdict, phase)}",
        f"          {phase.next_phase} is started by {phase.next_phase_started_by}, not by `_triggered`.",
        f"Look:     canary check --date {verdict.game_date} --phase {verdict.phase} --json",
    ]
    return "\n".join(lines)


def over_text(before: Verdict, alerted_at: datetime, verdict: Verdict, now: datetime) -> str:
    """Return the word that what `before` said at `alerted_at` is over, as `verdict` says at `now`."""
    return (
        f"{verdict.phase} {verdict.game_date}: no longer {before.kind}, {spoken(now - alerted_at)} after the alert: "
        f"{verdict.summary}"
    )


def _moment(at: datetime, phase: Phase) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z ({at.astimezone(ZoneInfo(phase.timezone)):%H:%M %Z})"


def _impact_text(verdict: Verdict, phase: Phase) -> str:
    match verdict.impact:
        case Impact.NONE:
            return f"none: {phase.next_phase} has written its output."
        case Impact.BLOCKED:
            return f"BLOCKED: {phase.next_phase} has written nothing."
        case Impact.UNKNOWN | None:
            return f"unknown: nothing here says whether {phase.next_phase} has written its output."
