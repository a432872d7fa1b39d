"""What people read of a problem: one content, which each channel puts into its own format.

A message is about one fault, on however many dates. Its first line is what a phone shows: how bad
it is, which dates, the verdict, whether it matters, and why. Then comes what to do now, and then
everything else.
"""

import shlex
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

from canary.domain.incident import NotificationKind, group_of
from canary.domain.path.text import cause_text, path_text, short_text, standing_text
from canary.domain.stages import Cause, CauseKind, Stage
from canary.domain.verdict import (
    Impact,
    Level,
    Verdict,
    VerdictKind,
    badness,
    count_text,
    duration_text,
    level,
    names,
)
from canary.notify.channel import Notification
from orchestrator_resilience.phase import Phase

# Slack's header takes so many characters, and its preview shows no more.
LONGEST_HEADLINE = 150
# The first character of a message says how bad it is, or that it is over.
SIGNS: dict[str, str] = {
    Level.CRITICAL: "✖",
    Level.ERROR: "▲",
    Level.WARNING: "△",
    NotificationKind.RESOLVED: "✓",
    NotificationKind.EXPIRED: "…",
}
_LISTED_DATES, _NAMED_DATES = 7, 3


class CommandLine(msgspec.Struct, frozen=True):
    """How the reader types `canary`, so that commands can be pasted, and where the page is.

    `program` is the command itself. `project` is the Google Cloud project whose stores it has to
    read, `folder` that of the embedded ones. With `several` phases a command has to name the phase.
    `now` is the time by which it has to judge, None for the present. `page` and `runbook` are the
    addresses of the page and of the runbook, None where people cannot reach them. `canary` is the
    name of the canary whose memory is meant, None for the usual one.
    """

    program: str = "canary"
    project: str | None = None
    folder: Path | None = None
    several: bool = False
    now: datetime | None = None
    page: str | None = None
    runbook: str | None = None
    canary: str | None = None

    def to(self, *arguments: object, phase: str | None = None) -> str:
        """Return the line with these arguments, about `phase`."""
        words = [*map(str, arguments)]
        words += ["--phase", phase] if phase is not None and self.several else []
        words += ["--data", str(self.folder)] if self.folder is not None else []
        words += (
            ["--now", f"{self.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
            if self.now is not None
            else []
        )
        where = (
            f"GOOGLE_CLOUD_PROJECT={shlex.quote(self.project)} " if self.project is not None else ""
        )
        return f"{where}{self.program} {shlex.join(words)}"

    def in_hand(self, phase: str, days: Sequence[date]) -> tuple[tuple[str, str], ...]:
        """Return the commands that say that dates are in hand, and that silence them, by label."""
        whose = ["--canary", self.canary] if self.canary is not None else []
        acks = [self.to("ack", day, *whose, phase=phase) for day in sorted(days)[-_NAMED_DATES:]]
        last = ["--to", max(days)] if len(days) > 1 else []
        silence = (
            "silence",
            "add",
            min(days),
            *last,
            "--for",
            "12h",
            "--reason",
            "in hand",
            *whose,
        )
        return ("Ack", "\n".join(acks)), ("Silence", self.to(*silence, phase=phase))

    def links(self, phase: str, game_date: date, about: str | None = None) -> tuple["Link", ...]:
        """Return the links to a date's page and logs, and to what the runbook says `about` it.

        `about` is a cause or a verdict.
        """
        path = date_path(phase, game_date, several=self.several)
        page = [Link(f"See {game_date}", self.page + path)] if self.page is not None else []
        logs = (
            [Link("Logs Explorer", logs_link(self.project, phase, game_date))]
            if self.project is not None
            else []
        )
        place = f"{self.runbook}#{anchor(about)}" if self.runbook and about else None
        runbook = [Link(f"Runbook: {about}", place)] if place else []
        return (*page, *logs, *runbook)


class Link(msgspec.Struct, frozen=True):
    """An address, and what is there."""

    label: str
    url: str


def anchor(about: str) -> str:
    """Return the place of a cause or a verdict in the runbook."""
    return about.lower().replace("_", "-")


def date_path(phase: str, game_date: date, *, several: bool) -> str:
    """Return the path of a date's page; with `several` phases it names the phase."""
    return f"/dates/{game_date}" + (f"?phase={phase}" if several else "")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one fault, or its end, is notified as: the same for every channel.

    The first line is made of how bad it is, which dates, the verdict, whether it matters, and why.
    `actions` are what to do, the first of them now. `command` shows more. `in_hand` are the
    commands with which people say that they work on it, by their labels. `facts` are labels with
    their texts; a text may have several lines. `sign` and `severity` say how bad it is.
    """

    sign: str
    severity: str
    dates: str
    verdict: str
    impact: str
    why: str
    facts: tuple[tuple[str, str], ...]
    actions: tuple[str, ...] = ()
    command: str = ""
    in_hand: tuple[tuple[str, str], ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def headline(self) -> str:
        """The first line, which a phone shows; where it is too long, its last part is cut."""
        head = f"{self.sign} {self.severity} · {self.dates} · {self.verdict} · {self.impact} · "
        return (head + clipped(self.why, LONGEST_HEADLINE - len(head)))[:LONGEST_HEADLINE]

    @property
    def text(self) -> str:
        """The message as lines of text."""
        now, later = self.actions[:1], self.actions[1:]
        command = (self.command,) if self.command else ()
        lines = [
            self.headline,
            *_labelled("Do now", now),
            *_labelled("Look", command),
            *_labelled("Then", later),
        ]
        for label, text in (*self.facts, *self.in_hand):
            lines += _labelled(label, text.split("\n"))
        return "\n".join([*lines, *(f"{link.label}: {link.url}" for link in self.links)])


# What to do where no cause is known, by the latest stage at which it may have stopped.
BY_STAGE: dict[Stage, str] = {
    Stage.RAN: "look at the log of {who} for {date}, and run it again",
    Stage.PUBLISHED: "look at the log of {who} for {date}: it published nothing here; run it again",
    Stage.DELIVERED: (
        "look at the log of {who} for {date}, then at the subscription, the permission to invoke "
        "the function, and its own log"
    ),
}

# What to do where requests were turned away, by how they were answered.
BY_STATUS: dict[int, str] = {
    401: (
        "let the subscription sign its requests (`--push-auth-service-account`); then run {who} "
        "again for {date}"
    ),
    403: (
        "give the subscription's account `roles/run.invoker` on the service; then run {who} again "
        "for {date}"
    ),
    404: (
        "see whether the service is there, under the subscription's address; then run {who} again "
        "for {date}"
    ),
    429: (
        "no instance was free: raise the service's maximum, or see what keeps them; then run {who} "
        "again for {date}"
    ),
}

# What to do, and where; `{date}` and `{document}` are those of the verdict, `{who}` the processors
# that stopped.
ADVICE: dict[VerdictKind | CauseKind, str] = {
    VerdictKind.IDLE: "nothing",
    VerdictKind.WAITING: "nothing",
    VerdictKind.SETTLING: "nothing",
    VerdictKind.TRIGGERED: "nothing",
    VerdictKind.UNTRIGGERED: (
        "see what the code that writes `{document}` does with a processor that is registered there "
        "already: a re-run sets the flag only where that is evaluated anew"
    ),
    VerdictKind.PREMATURE: (
        "see in `{document}` what was counted as complete; expect partial data of {date} in the "
        "next phase"
    ),
    VerdictKind.INCOMPLETE: "look at the log of {who} for {date}, and run it again",
    VerdictKind.SILENT: (
        "look at the topic, the subscription and the permission to invoke the function"
    ),
    VerdictKind.DOWNSTREAM_MISSING: (
        "look at the log of the next phase for {date}, and at its subscription"
    ),
    VerdictKind.DOWNSTREAM_PARTIAL: (
        "see which games of {date} the next phase lacks, and run it for those"
    ),
    VerdictKind.STORES_DISAGREE: (
        "look for `CHECKPOINT_FAILED` of {who}, and run it again for {date}"
    ),
    VerdictKind.UNKNOWN: "mend the source; this is neither an all-clear nor an accusation",
    CauseKind.NOT_RUN: (
        "look at what starts {who}, as a paused scheduler job, and run it for {date}"
    ),
    CauseKind.PROCESSOR_FAILED: "look at the log of {who} for {date}, and run it again",
    CauseKind.NO_DATA: "see whether {who} should have had data for {date}; if so, run it again",
    CauseKind.NOT_PUBLISHED: (
        "look at the log of {who} for {date}: it ran and published nothing here; run it again"
    ),
    CauseKind.NOT_DELIVERED: (
        "check the subscription and its dead letters; then run {who} again for {date}"
    ),
    CauseKind.MESSAGE_REJECTED: (
        "mend what publishes the message of {who}, and run it again for {date}"
    ),
    CauseKind.NAME_DRIFT: (
        "add the new name of {who} to its aliases in `phases.toml`, and deploy both layers"
    ),
    CauseKind.CRASHED: "look at the function's own log at that time; check that its retries are on",
    CauseKind.WRITE_FAILED: (
        "mend what the words of the failure name; check that the function's retries are on, and "
        "that no `except` of its own swallows the error"
    ),
    CauseKind.EXPECTATION_DRIFT: "deploy the orchestrator with the list of `phases.toml`",
    CauseKind.SHORT_CIRCUIT: "deploy code that evaluates what is registered already",
    CauseKind.FLAG_OVERWRITTEN: (
        "find out who else writes `{document}` (Firestore's audit logs of data access)"
    ),
    CauseKind.NOT_STARTED: (
        "mend what the words of the refusal name, and start {next_phase} for {date}"
    ),
}


def _todo(verdict: Verdict, phase: Phase, about: str, harmed: str) -> tuple[str, ...]:
    """Return what to do, one action a line, the first of them now.

    The actions are about the proven causes, or about the verdict where no cause is proven. `about`
    are the dates of the fault, `harmed` those of them that are as bad as this one.
    """
    proven = [cause for cause in verdict.causes if cause.kind in verdict.proven]
    actions = [
        _filled_in(_advice(cause), verdict, phase, about, names(cause.subjects)) for cause in proven
    ]
    actions = actions or [_about(verdict, phase, about)]
    if verdict.kind is VerdictKind.UNTRIGGERED and verdict.evaluates_anew:
        who = "its processor" if len(phase.expected) == 1 else f"any of the {len(phase.expected)}"
        actions.append(f"run {who} again for {about}: that sets the flag")
    return tuple(action for action in (_at_once(verdict, phase, harmed), *actions) if action)


def _advice(cause: Cause) -> str:
    """Return what to do about a cause; for a request that was turned away, by its status."""
    return next(
        (BY_STATUS[status] for status in cause.statuses if status in BY_STATUS), ADVICE[cause.kind]
    )


def _at_once(verdict: Verdict, phase: Phase, about: str) -> str:
    """Say what cannot wait, or that everything can; empty where neither is known.

    To mend the flag does not bring what the next phase lacks.
    """
    if verdict.impact is Impact.NONE:
        return f"nothing tonight: {_impact(verdict, phase)}, the rest can wait"
    if verdict.kind is not VerdictKind.UNTRIGGERED:
        return ""
    if phase.flag_starts_next_phase:
        return f"see whether {phase.next_phase} was started for {about}; if not, start it by hand"
    if verdict.impact in {Impact.BLOCKED, Impact.PARTIAL}:
        return f"see why {phase.next_phase} did not run for {about}"
    return ""


def _about(verdict: Verdict, phase: Phase, about: str) -> str:
    """Say what to do about a verdict whose cause is not known."""
    if verdict.kind is VerdictKind.UNKNOWN and not verdict.unreadable:
        if verdict.work is None:
            return (
                "name a `work_query` in `phases.toml`: with it a day without games is not taken "
                "for a dead pipeline"
            )
        return (
            f"see which is right for {about}, the processors or the `work_query` in `phases.toml`"
        )
    if verdict.kind is VerdictKind.UNTRIGGERED and verdict.evaluates_anew:
        return ""  # a re-run is enough
    first = verdict.causes[0] if verdict.causes else None
    who = names(first.subjects if first and first.subjects else verdict.missing)
    by_stage = BY_STAGE.get(first.until) if first and first.until else None
    return _filled_in(by_stage or ADVICE[verdict.kind], verdict, phase, about, who)


def _filled_in(action: str, verdict: Verdict, phase: Phase, about: str, who: str) -> str:
    document = f"{phase.firestore_collection}/{verdict.game_date}"
    return action.format(date=about, document=document, who=who, next_phase=phase.next_phase)


def how_the_next_phase_starts(phase: Phase) -> str:
    """Say what starts the next phase, and whether that also sets the flag."""
    starter = phase.next_phase_started_by[0].upper() + phase.next_phase_started_by[1:]
    return f"{starter} starts it" + (
        ", and sets `_triggered`" if phase.flag_starts_next_phase else ", not `_triggered`"
    )


# Faults: what several dates have in common


def by_fault(verdicts: Sequence[Verdict]) -> list[tuple[Verdict, ...]]:
    """Put the dates of one fault together, in the order in which each fault comes first."""
    groups: dict[Hashable, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(group_of(verdict), []).append(verdict)
    return [
        tuple(sorted(group, key=lambda verdict: verdict.game_date)) for group in groups.values()
    ]


def messages_by_fault(
    notifications: Sequence[Notification],
    phases: Mapping[str, Phase],
    command: CommandLine,
    now: datetime,
) -> list[tuple[tuple[Notification, ...], Message]]:
    """Return one message for each fault that people have to be notified of.

    The newest kinds of news come first, and of each kind the worst.
    """
    groups: dict[Hashable, list[Notification]] = {}
    for notification in notifications:
        what = (
            (notification.verdict.phase, notification.incident.kind, notification.verdict.kind)
            if notification.kind.is_end
            else group_of(notification.verdict)
        )
        groups.setdefault((notification.kind, notification.note, what), []).append(notification)
    news = list(NotificationKind)
    ordered = sorted(
        groups.values(), key=lambda group: (news.index(group[0].kind), -badness(severity(group)))
    )
    return [(tuple(group), _notification(group, phases, command, now)) for group in ordered]


def severity(group: Sequence[Notification]) -> Level:
    """Return how bad a group is now; where its verdict is quiet, how bad it was."""
    levels = (
        notification.incident.level
        if notification.verdict.kind.is_quiet
        else level(notification.verdict)
        for notification in group
    )
    also = (level(verdict) for notification in group for verdict in notification.also)
    return max([*levels, *also], key=badness)


def verdicts_of(group: Sequence[Notification]) -> list[Verdict]:
    """Return the verdicts of all dates of a group, also of those that were sent before."""
    verdicts = [
        verdict for notification in group for verdict in (notification.verdict, *notification.also)
    ]
    return list({verdict.game_date: verdict for verdict in reversed(verdicts)}.values())


def _notification(
    group: Sequence[Notification], phases: Mapping[str, Phase], command: CommandLine, now: datetime
) -> Message:
    """Return the alert, or the message that it is over and how long it took.

    The phase may be gone from the phases file; that is then why it is over.
    """
    first, phase = group[0], phases.get(group[0].verdict.phase)
    if first.kind.is_end or phase is None:
        return _over(group, phase, command, now)
    again = {NotificationKind.CHANGED: "changed", NotificationKind.REMINDER: "reminder"}.get(
        first.kind, ""
    )
    also = {verdict.game_date: verdict for notification in group for verdict in notification.also}
    verdicts = [
        *(
            also | {notification.verdict.game_date: notification.verdict for notification in group}
        ).values()
    ]
    verdicts.sort(key=lambda verdict: verdict.game_date)
    return alert(verdicts, phase, command, now, again=again, note=first.note)


def _over(
    group: Sequence[Notification], phase: Phase | None, command: CommandLine, now: datetime
) -> Message:
    verdicts, first = [notification.verdict for notification in group], group[0]
    verdict, incident = verdicts[-1], group[-1].incident
    is_expired = group[-1].kind is NotificationKind.EXPIRED
    is_over = (
        f"it was {incident.kind}"
        if verdict.kind is VerdictKind.UNKNOWN
        else f"no longer {incident.kind}"
    )
    if is_expired:
        is_over = f"still {incident.kind} when last seen"
    after = duration_text(now - min(notification.incident.opened_at for notification in group))
    facts = [
        (str(notification.verdict.game_date), notification.verdict.summary)
        for notification in group
    ]
    facts += [(phase.next_phase, f"{how_the_next_phase_starts(phase)}.")] if phase else []
    facts += [("Note", group[-1].note)] if group[-1].note else []
    shown = (
        command.to("status")
        if len(group) > 1
        else command.to("explain", verdict.game_date, phase=verdict.phase)
    )
    return Message(
        sign=SIGNS[first.kind if first.kind.is_end else severity(group)],
        severity=group[-1].kind,
        dates=_dates(verdicts, named=command.several),
        verdict=is_over,
        impact=f"{after} after the alert",
        why=verdict.summary,
        facts=tuple(facts),
        command=shown,
        links=command.links(verdict.phase, verdict.game_date),
    )


def alert(
    verdicts: Sequence[Verdict],
    phase: Phase,
    command: CommandLine,
    now: datetime,
    *,
    again: str = "",
    note: str = "",
    with_who: bool = False,
) -> Message:
    """Return the alert of one fault: the worst of its dates in full, and the others in a list.

    `again` is "reminder" or "changed" where people were notified of it before. The people who
    changed something are named only `with_who`.
    """
    worst = max(verdicts, key=lambda verdict: (badness(level(verdict)), verdict.game_date))
    alike = [verdict for verdict in verdicts if _impact(verdict, phase) == _impact(worst, phase)]
    there = f" on {_dates(alike, named=False)}" if len(alike) < len(verdicts) else ""
    how_bad = level(worst)
    about = _dates(verdicts, named=False)
    harmed = _dates(
        [verdict for verdict in verdicts if verdict.impact is worst.impact], named=False
    )
    first = next((cause.kind for cause in worst.causes if cause.kind in worst.proven), worst.kind)
    return Message(
        sign=SIGNS[how_bad],
        severity=f"{how_bad}, {again}" if again else how_bad,
        dates=_dates(verdicts, named=command.several),
        verdict=_kind(worst),
        impact=_impact(worst, phase) + there,
        why=_why(worst, phase),
        facts=tuple(_facts(verdicts, worst, phase, now, note, with_who=with_who)),
        actions=_todo(worst, phase, about, harmed),
        command=command.to("explain", worst.game_date, phase=worst.phase),
        in_hand=command.in_hand(worst.phase, [verdict.game_date for verdict in verdicts]),
        links=command.links(worst.phase, worst.game_date, first),
    )


# The first line


def _dates(verdicts: Sequence[Verdict], *, named: bool) -> str:
    days = sorted(verdict.game_date for verdict in verdicts)
    is_whole = (days[-1] - days[0]).days == len(days) - 1
    if len(days) == 1:
        span = str(days[0])
    elif is_whole:
        span = f"{len(days)} dates, {days[0]} to {days[-1]:%m-%d}"
    elif len(days) <= _NAMED_DATES:
        span = ", ".join([str(days[0]), *(f"{day:%m-%d}" for day in days[1:])])
    else:
        span = f"{len(days)} dates between {days[0]} and {days[-1]:%m-%d}"
    return f"{verdicts[0].phase} {span}" if named else span


def _kind(verdict: Verdict) -> str:
    """Say what is wrong, and with which processor where it is one."""
    if verdict.kind not in {VerdictKind.INCOMPLETE, VerdictKind.PREMATURE} or not verdict.missing:
        return verdict.kind
    everybody = len(verdict.completed) + len(verdict.missing) + len(verdict.not_yet)
    who = (
        verdict.missing[0]
        if len(verdict.missing) == 1
        else f"{len(verdict.missing)} of {everybody}"
    )
    return f"{verdict.kind} without {who}"


def _impact(verdict: Verdict, phase: Phase) -> str:
    if verdict.impact is Impact.NONE:
        return f"{phase.next_phase} has its output" if verdict.work != 0 else "there were no games"
    if verdict.output is not None:
        return f"{phase.next_phase} has {output_text(verdict, phase)}"
    return (
        f"{phase.next_phase} not started" if verdict.impact is Impact.BLOCKED else "impact unknown"
    )


def _why(verdict: Verdict, phase: Phase) -> str:
    """Say the first cause in a few words, and how many more there are."""
    if verdict.kind is VerdictKind.UNKNOWN:
        return verdict.reason
    if not verdict.causes:
        return "cause unknown"
    proven = [cause for cause in verdict.causes if cause.kind in verdict.proven] or verdict.causes
    more = len(verdict.causes) - 1
    return short_text(proven[0], phase.next_phase) + (f", and {more} more" if more else "")


# The facts below it


def _facts(
    verdicts: Sequence[Verdict],
    worst: Verdict,
    phase: Phase,
    now: datetime,
    note: str,
    *,
    with_who: bool,
) -> Iterator[tuple[str, str]]:
    """Yield what is the matter, since when, whether it matters, why, and what else is known."""
    if len(verdicts) > 1:
        shown = verdicts[-_LISTED_DATES:]
        listed = [
            f"{verdict.game_date} {verdict.kind}: {_impact(verdict, phase)}; {verdict.summary}"
            for verdict in shown
        ]
        more = (
            [f"and {len(verdicts) - _LISTED_DATES} more"] if len(verdicts) > _LISTED_DATES else []
        )
        yield "Dates", "\n".join([*listed, *more])
    else:
        yield "What", worst.summary
    since = min((verdict.since for verdict in verdicts if verdict.since is not None), default=None)
    if since is not None:
        local = since.astimezone(ZoneInfo(phase.timezone))
        yield (
            "Since",
            f"{since:%Y-%m-%d %H:%M:%S}Z ({local:%H:%M %Z}), {duration_text(now - since)} ago",
        )
    yield "Impact", f"{_impact_text(worst, phase)} {how_the_next_phase_starts(phase)}."
    texts = {
        "Path": [path_text(verdict) for verdict in verdicts],
        "Cause": [
            f"{cause.kind} {cause_text(cause)}" for verdict in verdicts for cause in verdict.causes
        ],
        "Beside": [
            standing_text(beside, phase.name, with_who=with_who)
            for verdict in verdicts
            for beside in verdict.standing
        ],
        "Evidence": [note for verdict in verdicts for note in verdict.notes],
    }
    for label, lines in texts.items():
        if shown_once := "\n".join(text for text in dict.fromkeys(lines) if text):
            yield label, shown_once
    if note:
        yield "Note", note


def _labelled(label: str, texts: Sequence[str]) -> list[str]:
    """Put a label before the first of several lines, and the others below its text."""
    return [f"{label + ':' if number == 0 else '':9} {text}" for number, text in enumerate(texts)]


def clipped(text: str, limit: int) -> str:
    """Cut the end off what is over `limit` characters."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def shortened(text: str, limit: int) -> str:
    """Cut what is over `limit` characters out of the middle of a text.

    The beginning and the end of an alert say most.
    """
    if len(text) <= limit:
        return text
    head, tail = text[: limit // 2], text[-(limit // 3) :]
    return f"{head}… ({len(text) - len(head) - len(tail)} characters left out here) …{tail}"


def logs_link(project: str, phase: str, game_date: date) -> str:
    """Return the address of the date's checkpoints in Logs Explorer.

    It has times, because without them Logs Explorer shows the last hour only.
    """
    query = (
        f'labels.phase="{phase}" AND labels.game_date="{game_date}" AND '
        'jsonPayload.checkpoint:"CHECKPOINT_"'
    )
    since, until = game_date - timedelta(days=1), game_date + timedelta(days=8)
    times = f"startTime={since}T00:00:00Z;endTime={until}T00:00:00Z"
    address = "https://console.cloud.google.com/logs/query"
    return f"{address};query={quote(query, '')};{times}?project={quote(project, '')}"


def _impact_text(verdict: Verdict, phase: Phase) -> str:
    has = f"{phase.next_phase} has {output_text(verdict, phase)}"
    match verdict.impact:
        case Impact.NONE if verdict.work == 0:
            return "NONE: there were no games."
        case Impact.BLOCKED if verdict.output is None:
            return f"BLOCKED: `_triggered` is unset, and what sets it starts {phase.next_phase}."
        case Impact.NONE | Impact.PARTIAL | Impact.BLOCKED:
            return f"{verdict.impact}: {has}."
        case Impact.UNKNOWN | None if verdict.output is not None:
            return f"unknown yet: {has}, and still has time."
        case Impact.UNKNOWN | None:
            return f"unknown: nothing here says whether {phase.next_phase} has written its output."


def output_text(verdict: Verdict, phase: Phase) -> str:
    """Say how much the next phase has, in games where its query counts games, else in rows."""
    if verdict.work is not None and (phase.outcome_counts_games or verdict.output == 0):
        return f"{verdict.output} of {count_text(verdict.work, 'game')}"
    games = f" for {count_text(verdict.work, 'game')}" if verdict.work is not None else ""
    return f"{count_text(verdict.output, 'row')}{games}"
