"""`canary demo`, `replay` and `simulate`: the real orchestrator and the real canary on simulated time."""

import shutil
from datetime import datetime
from pathlib import Path

import click
import msgspec

from canary.commands.options import a_path, a_time, out_option, phase_option, program, subject, whole_number
from canary.commands.screen import WIDTH, print_screen, show_everything
from canary.commands.terminal import make_console, print_table
from canary.notify.message import CommandLine
from canary.run import Outcome
from canary.simulation.demo import PHASES, demo_phase
from canary.simulation.demo import demo as play_demo
from canary.simulation.folder import end_of_run, simulated_folder
from canary.simulation.playback import Event
from canary.simulation.replay import replay as play_messages
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.settings import Settings

_ANY = whole_number(0, 9_999_999)


@click.command()
@out_option("demo")
@click.option("--verbose", is_flag=True, help="Everything that happens, instead of one screen.")
def demo(out: Path, *, verbose: bool) -> Outcome:
    """Replay February 2026 through the real orchestrator and canary."""
    # One screen is as wide as the narrowest terminal that people have.
    console = make_console(None if verbose else min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns))
    phase, events = demo_phase(), list[Event]()
    with simulated_folder(out, PHASES) as folder:
        command = CommandLine(program(), folder=folder.path)
        report = play_demo(folder.path, show_everything(console, phase, command) if verbose else events.append)
        end_of_run(folder, report.now)
    if not verbose:
        print_screen(console, events, phase, command)
    print_table(console, report.verdicts)
    commands = [command.to("explain", "2026-02-11"), command.to("status")]
    click.echo("\n  ".join(["Look at any of it:", *commands, *([] if verbose else [f"{program()} demo --verbose"])]))
    return Outcome.QUIET


@click.command()
@click.argument("file", type=a_path)
@phase_option
@out_option("replay")
@click.option("--until", type=a_time, metavar="TIME", help="The last canary run; by default past all deadlines.")
def replay(file: Path, phase: str | None, out: Path, until: datetime | None) -> Outcome:
    """Play a file of Pub/Sub messages on simulated time.

    FILE has objects of JSON, one a line or in an array: the `message` as Pub/Sub delivers or pulls it.
    """
    about = subject(None, phase)
    console, phases_file = make_console(), Settings.from_env().phases_file or BUNDLED_PHASES
    with simulated_folder(out, phases_file.read_text("utf-8")) as folder:
        command = CommandLine(program(), folder=folder.path, several=about.several)
        report = play_messages(file, about.phase, folder.path, show_everything(console, about.phase, command), until)
        end_of_run(folder, report.now)
    print_table(console, report.verdicts)
    click.echo(f"Look at it again: {command.to('status', phase=about.phase.name)}")
    return report.outcome


@click.command()
@click.option("--healthy-days", type=_ANY, metavar="N", default=1000, show_default=True, help="Healthy dates.")
@click.option(
    "--faulty-days", type=_ANY, metavar="N", default=200, show_default=True, help="Dates with a fault or two."
)
@click.option("--seed", type=_ANY, metavar="N", default=1, show_default=True, help="Other numbers, other variants.")
@click.option("--jobs", type=_ANY, metavar="N", help="Processes; by default one a core.")
@click.option("--json", "result_file", type=a_path, metavar="FILE", help="Write the result to this file as JSON, too.")
@click.option("--again", metavar="WORLD", help="Play only this world, as SEED/FAULT/NUMBER, and keep its files.")
@out_option("world")
def simulate(
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
    # Only here, because no other command needs the scenarios and their pool of processes.
    from canary.commands.scores import print_result, print_scores, progress_bar  # noqa: PLC0415
    from canary.simulation.evaluate import add_up, play, play_all, worlds  # noqa: PLC0415

    phase, console = load_phase("phase2", BUNDLED_PHASES), make_console()
    if again:
        with simulated_folder(out, BUNDLED_PHASES.read_text("utf-8")) as folder:
            print_scores(console, play(phase, again, folder.path))
        click.echo(f"Look at it: {CommandLine(program(), folder=folder.path).to('explain', 'DATE')} --now TIME")
        return Outcome.QUIET
    names = list(worlds(seed, healthy_days, faulty_days))
    scores = []
    bar, advance = progress_bar(console, healthy_days + faulty_days)
    with bar:
        for played in play_all(phase, names, jobs):
            scores += played
            advance(len(played))
    result = add_up(scores)
    print_result(console, result)
    if result_file:
        try:
            result_file.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        except OSError as error:
            raise ConfigurationError(f"--json: {result_file}: {error}") from error
    if any(target.met is None for target in result.targets):
        return Outcome.COULD_NOT_TELL
    return Outcome.QUIET if all(target.met for target in result.targets) else Outcome.PROBLEM
