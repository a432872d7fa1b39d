"""`canary check`, `status` and `explain`: what the canary says of the dates."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from canary.commands.lanes import print_board
from canary.commands.options import Day, Subject, date_argument, options
from canary.commands.terminal import (
    make_console,
    print_alert,
    print_lines,
    print_silences,
    print_timeline,
    wrapped,
)
from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.verdict import duration_text
from canary.notify.message import by_fault
from canary.page.board import BOARD_DATES, MONTH_DATES, board
from canary.page.one_date import one_date
from canary.page.remembered import Remembered
from canary.page.render import as_html
from canary.run import Outcome, Report, check_dates, overview, timeline_and_facts
from canary.settings import CanarySettings
from orchestrator_resilience.errors import ConfigurationError, StoreError
from orchestrator_resilience.plain import instant
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.jsonl import append_line, last_line


@click.command()
@date_argument("dates", "[DATE]...", nargs=-1)
@options("data", "phase", "now", "json", "ascii")
@click.option("--dry-run", is_flag=True, help="Only print: leave no record of the run.")
def check(
    about: Subject, *, dates: Sequence[Day], as_json: bool, ascii_only: bool, dry_run: bool
) -> Outcome:
    """Judge the recent dates once, as the scheduler does, or those that are named; notify nobody.

    Dates of one fault are one alert. A run with an earlier --now leaves no record.
    """
    if not CanarySettings.from_env().enabled:
        click.echo("canary: switched off by CANARY_ENABLED", err=True)
        return Outcome.QUIET
    days = {
        name: sorted({about.game_date(day, phase) for day in dates})
        for name, phase in about.phases.items()
    }
    with about.stores() as stores:
        report = check_dates(
            stores, about.phases, about.now, days if dates else None, about.read_at
        )
    if as_json:
        click.echo(about.to_json(report.to_json()))
    else:
        _print_report(report, about, make_console(ascii_only=ascii_only))
    # A run that judges an earlier time is not the last one.
    if isinstance(stores, EmbeddedStores) and not dry_run and about.now >= about.read_at:
        _record(report, stores)
    return report.outcome


@click.command()
@options("data", "phase", "now", "json", "ascii", "html", "days", "canary")
def status(
    about: Subject, *, as_json: bool, ascii_only: bool, html: Path | None, days: int
) -> Outcome:
    """Show the recent dates as a picture, or write them as a page.

    The picture has a row a date: what arrived when, what the next phase has, and the verdict.
    In fewer than 64 columns it is a list. The page has 14 dates, and the figures of 30.
    """
    dates, explained = (days, None) if html is None else (MONTH_DATES, BOARD_DATES)
    with about.stores() as stores:
        recent = overview(
            stores,
            about.phases,
            about.now,
            dates,
            about.read_at,
            explained=explained,
            canary=about.canary,
        )
    report = recent.report
    if html is not None:  # a date links to its place on this page: there is no other page
        ran_at = _last_run(about, stores)
        shown = board(
            recent, about.phases, ran_at, about.command, lambda phase, day: f"#{phase}-{day}"
        )
        anew = about.command.to("status", "--html", html, *_whose(about))
        write_page(html, as_html(shown, home=None, anew=anew, made_at=datetime.now(UTC)))
    elif as_json:
        click.echo(about.to_json(report.to_json()))
    else:
        console = make_console(ascii_only=ascii_only)
        print_board(
            console, board(recent, about.phases, None, about.command, lambda *_: None, dates=days)
        )
        print_lines(console, [verdict for verdict in report.verdicts if not verdict.kind.is_quiet])
        print_silences(console, report.silences)
        where = f"in the simulated run of {about.folder}" if about.simulated else about.where
        console.print(
            wrapped(f"as of {about.now:%Y-%m-%d %H:%M}Z, {where}", console.width), soft_wrap=True
        )
        # on Google Cloud the log says it
        if not about.simulated and isinstance(stores, EmbeddedStores):
            ran_at = _last_run(about, stores)
            ago = (
                f"{ran_at.isoformat()}, {duration_text(about.now - ran_at)} ago"
                if ran_at
                else "none recorded here"
            )
            console.print(f"last canary run: {ago}")
    return report.outcome


@click.command()
@date_argument("game_date")
@options("data", "phase", "now", "json", "ascii", "html", "canary")
def explain(
    about: Subject, *, game_date: Day, as_json: bool, ascii_only: bool, html: Path | None
) -> Outcome:
    """Show what happened on one game date, why, and what to do.

    The timeline has what every source saw, with a line for each delivery.
    """
    with about.stores() as stores:
        day = about.game_date(game_date, about.phase)
        timeline, facts, documents = timeline_and_facts(
            stores, about.phase, day, about.now, about.read_at, canary=about.canary
        )
    if html is not None:
        remembered = Remembered(documents, about.canary, about.now)
        anew = about.command.to(
            "explain", day, "--html", html, *_whose(about), phase=about.phase.name
        )
        shown = one_date(
            timeline, facts, about.phase, about.command, about.now, remembered=remembered
        )
        write_page(html, as_html(shown, home=None, anew=anew, made_at=datetime.now(UTC)))
    elif as_json:
        click.echo(about.to_json(msgspec.to_builtins(timeline)))
    else:
        print_timeline(
            make_console(ascii_only=ascii_only), timeline, about.phase, about.command, about.now
        )
    return Report(about.now, (timeline.verdict,)).outcome


def _whose(about: Subject) -> list[str]:
    return [] if about.canary == DEFAULT_CANARY else ["--canary", about.canary]


def write_page(path: Path, text: str) -> None:
    """Write a page into a file, and say so."""
    try:
        path.write_text(text, "utf-8", "replace")  # a folder may have a name that is no UTF-8
    except OSError as error:
        raise ConfigurationError(f"--html: {error}") from error
    click.echo(f"wrote {path}")


def _print_report(report: Report, about: Subject, console: Console) -> None:
    for is_problem, verdicts in groupby(report.verdicts, lambda v: v.kind.is_problem):
        if is_problem:
            for group in by_fault(list(verdicts)):
                print_alert(console, group, about.phases[group[0].phase], about.command, report.now)
        else:
            print_lines(console, list(verdicts))
    print_silences(console, report.silences)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def _record(report: Report, stores: EmbeddedStores) -> None:
    """Leave the line by which `canary status` knows of the run.

    Where that fails, the report is printed all the same.
    """
    try:
        if stores.folder.is_dir():
            append_line(stores.runs_path, json.dumps(report.run_line()) + "\n")
    except (OSError, StoreError) as error:
        print(f"canary: the run could not be recorded: {error}", file=sys.stderr)


def _last_run(about: Subject, stores: Stores) -> datetime | None:
    """Return when the embedded stores' canary last ran, by the time that is asked about."""
    if not isinstance(stores, EmbeddedStores):
        return None

    def is_by_now(run: Mapping[str, Any]) -> bool:
        at = instant(run.get("now"))
        return at is not None and at <= about.now

    line = last_line(stores.runs_path, is_by_now)
    return instant(line.get("now")) if line else None
