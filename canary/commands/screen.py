"""What a simulated run shows: one screen of the demo, or everything as it happens."""

from collections.abc import Sequence
from datetime import date, datetime

from rich.console import Console
from rich.text import Text

from canary.commands.terminal import print_line, print_notifications
from canary.domain.incident import NotificationKind
from canary.domain.verdict import Impact, Verdict
from canary.notify.channel import Notification
from canary.notify.message import CommandLine
from canary.playback import demo
from canary.playback.playback import Happening, Show
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.sinks import terminal_lines

WIDTH = 80


def show_everything(console: Console, phase: Phase, command: CommandLine) -> Show:
    """Return what prints each event as it happens."""
    line, phases = terminal_lines(), {phase.name: phase}

    def show(event: Happening) -> None:
        match event:
            case _, str() as headline:
                console.rule(headline, align="left")
            case _, Checkpoint() as checkpoint:
                line(checkpoint)
            case at, Notification() as notification:
                print_notifications(console, [notification], phases, command, at)
            case at, Verdict() as verdict:
                print_line(console, verdict, at)

    return show


def print_screen(
    console: Console, events: Sequence[Happening], phase: Phase, command: CommandLine
) -> None:
    """Print the demo's one screen: a healthy date, two problems with their alerts, the end."""

    def show(day: date, impact: Impact | None = None) -> None:
        console.rule(f"{day:%B} {day.day}: {demo.WHAT_HAPPENED[day]}", align="left")
        for line in _checkpoints_of_the_last(events, day):
            text = f"{line.at:%H:%M:%S}Z {line.message}"
            console.print(Text(text, style="dim"), no_wrap=True, overflow="ellipsis")
        alerts = [
            (at, n)
            for at, n in _notifications(events, day)
            if impact and n.verdict.impact is impact
        ]
        for at, alert in alerts[:1]:
            print_notifications(console, [alert], {phase.name: phase}, command, at)

    console.print(
        "February 2026 on simulated time, through the real orchestrator and canary. Each\n"
        "night five processors report done; then the orchestrator sets `_triggered`."
    )
    show(demo.HEALTHY)
    show(demo.SHORT_CIRCUITED, Impact.NONE)
    show(demo.BLOCKED, Impact.BLOCKED)
    end, code = f"{demo.NEW_CODE:%B} {demo.NEW_CODE.day}", demo.WHAT_HAPPENED[demo.NEW_CODE]
    console.rule(f"{end}: {code}, and one re-run mends a date", align="left")
    for day in demo.DATES:
        for at, notification in _notifications(events, day):
            if notification.kind is NotificationKind.RESOLVED:
                console.print(
                    f"{at:%H:%M:%S}Z RESOLVED {day}: {notification.verdict.summary}", style="green"
                )


def _checkpoints_of_the_last(events: Sequence[Happening], day: date) -> list[Checkpoint]:
    """Return the lines of the delivery with which the date was complete."""
    until = demo.at_minute(day, demo.NEXT_PHASE_WRITES)
    lines = [what for at, what in events if isinstance(what, Checkpoint) and at < until]
    of_day = [line for line in lines if line.fields["game_date"] == str(day)]
    return [line for line in of_day if line.fields["delivery"] == of_day[-1].fields["delivery"]]


def _notifications(events: Sequence[Happening], day: date) -> list[tuple[datetime, Notification]]:
    return [
        (at, what)
        for at, what in events
        if isinstance(what, Notification) and what.verdict.game_date == day
    ]
