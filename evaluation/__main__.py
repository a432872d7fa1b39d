"""`python -m evaluation`: scores the canary on thousands of simulated dates."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from canary.commands.options import a_path, out_option, program, whole_number
from canary.commands.terminal import make_console
from canary.notify.message import CommandLine
from canary.playback.folder import simulated_folder
from canary.run import Outcome
from evaluation.play import play, play_all, read_in_turn, worlds
from evaluation.results import Result, Spread, add_up
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase

_ANY = whole_number(0, 9_999_999)
_SHOWN_FLAWS = 20
_WORDS = {True: ("met", "green"), False: ("NOT MET", "bold red"), None: ("not measured", "yellow")}
_HEADINGS = (
    "fault",
    "dates",
    "detected",
    "median",
    "longest",
    "explained",
    "95 % bound",
    "undetermined",
    "exact",
)
_GROUP_HEADINGS = ("group", "dates", "notified after", "stage", "exact", "words", "change named")


@click.command()
@click.option(
    "--healthy-days", type=_ANY, metavar="N", default=1000, show_default=True, help="Healthy dates."
)
@click.option(
    "--faulty-days",
    type=_ANY,
    metavar="N",
    default=200,
    show_default=True,
    help="Dates with a fault or two.",
)
@click.option(
    "--seed",
    type=_ANY,
    metavar="N",
    default=1,
    show_default=True,
    help="Other numbers, other variants.",
)
@click.option("--jobs", type=_ANY, metavar="N", help="Processes; by default one a core.")
@click.option(
    "--json",
    "result_file",
    type=a_path,
    metavar="FILE",
    help="Write the result to this file as JSON, too.",
)
@click.option(
    "--again",
    metavar="WORLD",
    help="Play only this world, as SEED/FAULT/NUMBER, and keep its files.",
)
@out_option("world")
def evaluate(
    *,
    healthy_days: int,
    faulty_days: int,
    seed: int,
    jobs: int | None,
    result_file: Path | None,
    again: str | None,
    out: Path,
) -> Outcome:
    """Score the canary on thousands of simulated dates."""
    phase, console = load_phase("phase2", BUNDLED_PHASES), make_console()
    if again:
        read_in_turn()
        with simulated_folder(out, BUNDLED_PHASES.read_text("utf-8")):
            for score in play(phase, again, out):
                events = ", ".join(
                    f"{count} {kind}" for kind, count in score.notifications.items() if count
                )
                summary = f"{', '.join(score.named) or 'no cause'}, sent {events or 'nothing'}"
                flaws = "; ".join(score.flaws) or "as it should be"
                console.print(
                    f"{score.game_date} {score.scenario}: {summary}: {flaws}", soft_wrap=True
                )
        click.echo(
            f"Look at it: {CommandLine(program(), folder=out).to('explain', 'DATE')} --now TIME"
        )
        return Outcome.QUIET
    names, began = list(worlds(seed, healthy_days, faulty_days)), time.monotonic()
    played = track(
        play_all(phase, names, jobs),
        "simulated worlds",
        total=len(names),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    result = add_up(score for scores in played for score in scores)
    _print_result(console, result, time.monotonic() - began)
    if result_file:
        try:
            result_file.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        except OSError as error:
            raise ConfigurationError(f"--json: {result_file}: {error}") from error
    if any(target.met is None for target in result.targets):
        return Outcome.COULD_NOT_TELL
    return Outcome.QUIET if all(target.met for target in result.targets) else Outcome.PROBLEM


def _print_result(console: Console, result: Result, seconds: float) -> None:
    """Print the faults, the targets, and the flaws that were found first."""
    kinds = f"{len(result.healthy)} kinds of healthy dates, {len(result.faults)} of faulty ones"
    console.print(
        f"{result.healthy_days} healthy dates, {result.faulty_days} faulty ones "
        f"in {seconds:.0f} s; {kinds}"
    )
    table = Table(*_HEADINGS, box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for name, fault in result.faults.items():
        shares = map(_percent, (fault.explained, fault.at_least, fault.undetermined, fault.exact))
        table.add_row(
            name, str(fault.dates), str(fault.detected), *_delays(fault.minutes_to_detect), *shares
        )
    console.print(table)
    groups = Table(*_GROUP_HEADINGS, box=box.SIMPLE_HEAD)
    for name, group in result.groups.items():
        after = " and ".join(_delays(group.minutes_to_detect))
        row = (
            str(group.dates),
            after,
            group.stages,
            _percent(group.exact),
            group.words,
            _percent(group.changed),
        )
        groups.add_row(name, *row)
    if result.groups:
        console.print(groups)
    detect, reset = (
        " and ".join(_delays(spread))
        for spread in (result.minutes_to_detect, result.minutes_to_reset)
    )
    console.print(
        f"precision {result.precision:.1%}, recall {result.recall:.1%}, "
        f"to detect {detect}, to reset {reset}\n"
        f"where it stopped: {_percent(result.exact) or 'no'} exact, "
        f"{result.wrong_causes} dates with a wrong cause; "
        f"{result.taken} pieces of evidence taken away\n",
        soft_wrap=True,
    )
    for target in result.targets:
        word, style = _WORDS[target.met]
        console.print(Text(f"{word:12} {target.what}: {target.seen}", style=style))
    for where, flaws in list(result.flaws.items())[:_SHOWN_FLAWS]:
        console.print(f"  {where}: {'; '.join(flaws)}", soft_wrap=True)
    if result.flaws:
        world = next(iter(result.flaws)).rsplit(" ", 1)[0]
        console.print(
            f"play one again: python -m evaluation --again {world!r} --out DIR", soft_wrap=True
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _delays(spread: Spread) -> tuple[str, str]:
    return (f"{spread[0]:.1f} min", f"{spread[1]:.1f} min") if spread else ("", "")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 where every target was met.

    It returns 1 where one was missed, and 2 where nobody can say.
    """
    try:
        return int(evaluate.main(argv, standalone_mode=False))
    except (ConfigurationError, click.ClickException) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return Outcome.COULD_NOT_TELL


if __name__ == "__main__":
    sys.exit(run())
