"""What people read of a verdict: the text of an alert, and the word that it is over."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

from canary.domain.incident import NotificationKind
from canary.domain.verdict import CauseKind, Impact, Verdict, VerdictKind, duration_text
from canary.notify.channel import Notification
from orchestrator_resilience.phase import Phase


@dataclass(frozen=True, slots=True)
class CommandLine:
    """How the reader types the `canary` command, so that what is printed can be pasted.

    `program` is the command itself. `project` is the Google Cloud project whose stores it has to read,
    `folder` that of the embedded ones. With `several` phases it has to be told which one is meant. `now` is the time by
    which it has to judge, None for the present.
    """

    program: str = "canary"
    project: str | None = None
    folder: Path | None = None
    several: bool = False
    now: datetime | None = None

    def to(self, *arguments: object, phase: str | None = None) -> str:
        """Return the line with these arguments, about `phase`."""
        words = [*map(str, arguments)]
        words += ["--phase", phase] if phase is not None and self.several else []
        words += ["--data", str(self.folder)] if self.folder is not None else []
        words += ["--now", f"{self.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"] if self.now is not None else []
        where = f"GOOGLE_CLOUD_PROJECT={shlex.quote(self.project)} " if self.project is not None else ""
        return f"{where}{self.program} {shlex.join(words)}"


# What to do, and where; `{date}` and `{document}` are those of the verdict.
ADVICE: dict[VerdictKind | CauseKind, str] = {
    VerdictKind.IDLE: "nothing",
    VerdictKind.WAITING: "nothing",
    VerdictKind.SETTLING: "nothing",
    VerdictKind.TRIGGERED: "nothing",
    VerdictKind.UNTRIGGERED: (
        "see what the code that writes `{document}` does with a processor that is registered there already: a re-run "
        "sets the flag only where that is evaluated anew"
    ),
    VerdictKind.PREMATURE: (
        "see in `{document}` what was counted as complete; expect partial data of {date} in the next phase"
    ),
    VerdictKind.INCOMPLETE: "look at the log of the missing processor for {date}, and run it again",
    VerdictKind.SILENT: "look at the topic, the subscription and the permission to invoke the function",
    VerdictKind.DOWNSTREAM_MISSING: "look at the log of the next phase for {date}, and at its subscription",
    VerdictKind.DOWNSTREAM_PARTIAL: "see which games of {date} the next phase lacks, and run it for those",
    VerdictKind.STORES_DISAGREE: "look for `CHECKPOINT_FAILED` of that processor, and run it again for {date}",
    VerdictKind.UNKNOWN: "mend the source; this is neither an all-clear nor an accusation",
    CauseKind.FLAG_OVERWRITTEN: "find out who else writes `{document}` (Firestore's audit logs of data access)",
    CauseKind.EXPECTATION_DRIFT: "deploy the orchestrator with the list of `phases.toml`",
    CauseKind.MESSAGE_REJECTED: "mend what publishes the message, and run that processor again for {date}",
    CauseKind.CRASHED: "look at the function's own log at that time; check that its retries are on",
    CauseKind.WRITE_FAILED: (
        "mend what the line's `causes` name; check that the function's retries are on, and that no `except` of its "
        "own swallows the error"
    ),
    CauseKind.NAME_DRIFT: "add the new name to the processor's aliases in `phases.toml`, and deploy both layers",
    CauseKind.PROCESSOR_FAILED: "look at the log of the processor that failed, and run it again for {date}",
    CauseKind.PROCESSOR_DISABLED: "switch the processor on, or give it an `until` in `phases.toml`",
    CauseKind.NEVER_INVOKED: "check the function's trigger, and the permission to invoke it",
    CauseKind.DELIVERY_LOST: (
        "look at the subscription's dead letters and retries; run the processor again for {date}"
    ),
    CauseKind.SHORT_CIRCUIT: "deploy code that evaluates what is registered already",
}


def todo(verdict: Verdict, phase: Phase) -> tuple[str, ...]:
    """Return what to do, one thing a line: about the causes that are proven, else about the verdict."""
    kinds = [cause.kind for cause in verdict.causes if cause.kind in verdict.proven]
    actions = [_filled_in(ADVICE[kind], verdict, phase) for kind in kinds] or [_about(verdict, phase)]
    if verdict.kind is VerdictKind.UNTRIGGERED and phase.flag_starts_next_phase:
        start = f"see whether {phase.next_phase} was started for {verdict.game_date}; if not, start it by hand"
        actions.insert(0, start)
    if verdict.kind is VerdictKind.UNTRIGGERED and verdict.evaluates_anew:
        then = "then run" if kinds else "run"
        actions.append(f"{then} any of the {len(phase.expected)} again for {verdict.game_date}: that sets the flag")
    return tuple(action for action in actions if action)


def _about(verdict: Verdict, phase: Phase) -> str:
    """Say what to do about a verdict whose cause is not known."""
    if verdict.kind is VerdictKind.UNKNOWN and not verdict.unreadable:
        if verdict.work is None:
            return "name a `work_query` in `phases.toml`: it tells a day without games from a dead pipeline"
        return f"see which is right for {verdict.game_date}, the processors or the `work_query` in `phases.toml`"
    if verdict.kind is VerdictKind.UNTRIGGERED and verdict.evaluates_anew:
        return ""  # a re-run is enough
    return _filled_in(ADVICE[verdict.kind], verdict, phase)


def _filled_in(action: str, verdict: Verdict, phase: Phase) -> str:
    return action.format(date=verdict.game_date, document=f"{phase.firestore_collection}/{verdict.game_date}")


def how_the_next_phase_starts(phase: Phase) -> str:
    """Say what starts the next phase, and that it is, or is not, tied to the flag."""
    started = f"{phase.next_phase} is started by {phase.next_phase_started_by}"
    return f"{started}, which sets `_triggered`" if phase.flag_starts_next_phase else f"{started}, not by `_triggered`"


def alert_text(verdict: Verdict, phase: Phase, command: CommandLine, now: datetime, note: str = "") -> str:
    """Return what, since when, what else is known, whether it matters, and where to look further."""
    lines = [f"{verdict.phase} {verdict.game_date}: {verdict.summary}"]
    if verdict.since is not None:
        lines.append(f"Since:    {_moment(verdict.since, phase)}, {duration_text(now - verdict.since)} ago")
    lines += [f"Cause:    {cause.kind}: {cause.proof}" for cause in verdict.causes]
    if verdict.ruled_out:
        lines.append(f"          Ruled out: {', '.join(verdict.ruled_out)}")
    said = " ".join(cause.proof for cause in verdict.causes)
    lines += [f"Evidence: {note}" for note in verdict.notes if note not in said]
    lines += [
        f"Impact:   {_impact_text(verdict, phase)}",
        f"          {how_the_next_phase_starts(phase)}.",
        *_labelled("To do:", todo(verdict, phase)),
        *([f"Note:     {note}"] if note else []),
        f"Look:     {command.to('explain', verdict.game_date, phase=verdict.phase)}",
    ]
    return "\n".join(lines)


def _labelled(label: str, texts: Sequence[str]) -> list[str]:
    """Put a label before the first of several lines, and the others below its text."""
    return [f"{label if number == 0 else '':9} {text}" for number, text in enumerate(texts)]


def notification_text(notification: Notification, phase: Phase | None, command: CommandLine, now: datetime) -> str:
    """Return the alert, or the word that it is over and how long it took.

    There is no `phase` where it is over because the phases file has it no more.
    """
    verdict, incident = notification.verdict, notification.incident
    if notification.kind is not NotificationKind.RESOLVED and phase is not None:
        return alert_text(verdict, phase, command, now, notification.note)
    is_over = f"it was {incident.kind}" if verdict.kind is VerdictKind.UNKNOWN else f"no longer {incident.kind}"
    after = duration_text(now - incident.opened_at)
    return f"{verdict.phase} {verdict.game_date}: {is_over}, {after} after the alert: {verdict.summary}"


def shortened(text: str, limit: int) -> str:
    """Cut what is over `limit` characters out of the middle: how an alert begins and ends says most."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit // 2], text[-(limit // 3) :]
    return f"{head}… ({len(text) - len(head) - len(tail)} characters left out here) …{tail}"


def logs_link(project: str, phase: str, game_date: date) -> str:
    """Return the address of the date's checkpoints in Logs Explorer, which without times shows the last hour only."""
    query = f'labels.phase="{phase}" AND labels.game_date="{game_date}" AND jsonPayload.checkpoint:"CHECKPOINT_"'
    since, until = game_date - timedelta(days=1), game_date + timedelta(days=8)
    times = f"startTime={since}T00:00:00Z;endTime={until}T00:00:00Z"
    return f"https://console.cloud.google.com/logs/query;query={quote(query, '')};{times}?project={quote(project, '')}"


def _moment(at: datetime, phase: Phase) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z ({at.astimezone(ZoneInfo(phase.timezone)):%H:%M %Z})"


def _impact_text(verdict: Verdict, phase: Phase) -> str:
    has = f"{phase.next_phase} {_output_text(verdict, phase)}"
    match verdict.impact:
        case Impact.BLOCKED if verdict.output is None:
            return f"BLOCKED: `_triggered` is unset, and what sets it starts {phase.next_phase}."
        case Impact.NONE | Impact.PARTIAL | Impact.BLOCKED:
            return f"{verdict.impact}: {has}."
        case Impact.UNKNOWN | None if verdict.output is not None:
            return f"unknown yet: {has}, and still has time."
        case Impact.UNKNOWN | None:
            return f"unknown: nothing here says whether {phase.next_phase} has written its output."


def _output_text(verdict: Verdict, phase: Phase) -> str:
    """Say what the next phase has, in games where both queries count them."""
    if phase.outcome_counts_games and verdict.work is not None:
        return f"has {verdict.output} of {verdict.work} games"
    games = f" for {verdict.work} games" if verdict.work is not None else ""
    return f"has written {verdict.output} rows{games}"
