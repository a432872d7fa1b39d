"""`canary demo` and `canary replay`: the real orchestrator and canary on simulated time."""

import shutil
from datetime import datetime
from pathlib import Path

import click

from canary.commands.options import Subject, a_file, a_path, a_time, options, out_option, program
from canary.commands.screen import WIDTH, print_screen, show_everything
from canary.commands.terminal import make_console, print_lines
from canary.notify.message import CommandLine
from canary.playback.demo import PHASES, demo_phase, play_demo
from canary.playback.folder import end_of_run, simulated_folder
from canary.playback.playback import Happening
from canary.playback.replay import play_messages
from canary.run import Outcome
from orchestrator_resilience.phase import BUNDLED_PHASES, read_phases
from orchestrator_resilience.settings import Settings


@click.command()
@out_option("demo")
@click.option("--verbose", is_flag=True, help="Everything that happens, instead of one screen.")
def demo(out: Path, *, verbose: bool) -> None:
    """Replay February 2026 through the real orchestrator and canary."""
    # One screen is as wide as the narrowest terminal that people have.
    console = make_console(
        None if verbose else min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    )
    phase, events = demo_phase(), list[Happening]()
    command = CommandLine(program(), folder=out)
    with simulated_folder(out, PHASES):
        report = play_demo(
            out, show_everything(console, phase, command) if verbose else events.append
        )
        end_of_run(out, report.now)
    if not verbose:
        print_screen(console, events, phase, command)
    print_lines(console, report.verdicts)
    commands = [command.to("explain", "2026-02-11"), command.to("status"), command.to("backtest")]
    click.echo(
        "\n  ".join(
            ["Look at any of it:", *commands, *([] if verbose else [f"{program()} demo --verbose"])]
        )
    )


@click.command()
@click.argument("file", type=a_path, shell_complete=a_file)
@options("phase")
@out_option("replay")
@click.option(
    "--until",
    type=a_time,
    metavar="TIME",
    help="The last canary run; by default past all deadlines.",
)
def replay(about: Subject, *, file: Path, out: Path, until: datetime | None) -> Outcome:
    """Play a file of Pub/Sub messages on simulated time.

    FILE has objects of JSON, one a line or in an array: push envelopes, what Pub/Sub's pull prints,
    messages with nothing around them, or CloudEvents.
    """
    console, phases_file = make_console(), Settings.from_env().phases_file or BUNDLED_PHASES
    command = CommandLine(program(), folder=out, several=about.several)
    with simulated_folder(out, read_phases(phases_file)):
        report = play_messages(
            file, about.phase, out, show_everything(console, about.phase, command), until
        )
        end_of_run(out, report.now)
    print_lines(console, report.verdicts)
    click.echo(f"Look at it again: {command.to('status', phase=about.phase.name)}")
    return report.outcome
