"""`python -m evaluation`: scores the canary on thousands of simulated dates."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from canary.commands.options import a_path, out_option, program, whole_number
from canary.commands.terminal import make_console
from canary.notify.message import CommandLine
from canary.playback.folder import simulated_folder
from canary.run import Outcome
from evaluation.evaluate import add_up, play, play_all, worlds
from evaluation.scores import print_result, print_scores, progress_bar
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase

_ANY = whole_number(0, 9_999_999)


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
        with simulated_folder(out, BUNDLED_PHASES.read_text("utf-8")):
            print_scores(console, play(phase, again, out))
        click.echo(f"Look at it: {CommandLine(program(), folder=out).to('explain', 'DATE')} --now TIME")
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


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 where every target was met, 1 where one was missed, 2 where that could not be told."""
    try:
        return int(evaluate.main(argv, standalone_mode=False))
    except (ConfigurationError, click.ClickException) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return Outcome.COULD_NOT_TELL


if __name__ == "__main__":
    sys.exit(run())
