"""The `canary` command: its subcommands, and what becomes of their errors."""

import io
import os
import sqlite3
import sys
import traceback
from collections.abc import Sequence

from canary.run import Outcome
from orchestrator_resilience.errors import ConfigurationError, ResilienceError
from orchestrator_resilience.plain import printable

try:
    import click
    from click.shell_completion import shell_complete

    from canary.commands.backtest import backtest
    from canary.commands.check import check, explain, status
    from canary.commands.history import history
    from canary.commands.project import notify, probe, setup, verify
    from canary.commands.silence import ack, silence
    from canary.commands.simulated import demo, replay
except ModuleNotFoundError as missing:
    if missing.name not in {"click", "rich"}:
        raise
    print("canary: more is needed: pip install 'orchestrator-resilience[cli]'", file=sys.stderr)
    sys.exit(2)


# The variable with which a shell asks for its script, and then how a command goes on.
_COMPLETION = "_CANARY_COMPLETE"


def _show_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 (click's own)
    # The latter is true while a shell asks how a command goes on.
    if not is_asked or context.resilient_parsing:
        return
    # Only here, because it is slow to import.
    from importlib import metadata  # noqa: PLC0415

    try:
        click.echo(f"canary {metadata.version('orchestrator-resilience')}")
    except metadata.PackageNotFoundError:
        click.echo("canary: it is not installed, so it has no version", err=True)
        context.exit(Outcome.COULD_NOT_TELL)
    context.exit()


def _show(error: click.ClickException) -> None:
    """Show what is wrong with the arguments, in which there may be anything."""
    usage = io.StringIO()
    error.show(usage)
    click.echo("\n".join(map(printable, usage.getvalue().rstrip("\n").split("\n"))), err=True)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit code: 0 quiet, 1 a problem, 2 could not tell (or the command could not run), "
    "3 undecided.\n\n"
    "A DATE is such as 2026-02-09, or today, or yesterday.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the installed version.",
)
def canary() -> None:
    """Notifies people when the work is done and nobody noticed."""


for command in (
    check,
    status,
    explain,
    history,
    backtest,
    silence,
    ack,
    setup,
    verify,
    notify,
    probe,
    demo,
    replay,
):
    canary.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 quiet, 1 a problem, 2 could not tell, 3 undecided."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal that cannot show a frame shows the alert all the same
        sys.stdout.reconfigure(errors="replace")
    try:
        outcome = _invoke([*(sys.argv[1:] if argv is None else argv)])
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except BrokenPipeError:
        _complain("")  # the reader went away (`canary status | head`)
    # The last two: a full disk, a file that is no database.
    except (ResilienceError, OSError, sqlite3.Error) as error:
        _complain(f"canary: {printable(str(error))}\n")
    except KeyboardInterrupt:
        _complain("canary: interrupted\n")
    except Exception:  # noqa: BLE001 (Python's own exit code for a crash is 1, which here accuses somebody)
        traceback.print_exc()
    else:
        return outcome
    return Outcome.COULD_NOT_TELL


def _invoke(argv: list[str]) -> int:
    """Run one command, or answer a shell that asks how a command may go on."""
    if instruction := os.environ.get(_COMPLETION):
        if shell_complete(canary, {}, "canary", _COMPLETION, instruction):
            raise ConfigurationError(
                f"{_COMPLETION}: expected bash_source, zsh_source or fish_source, "
                f"got {instruction!r}"
            )
        return Outcome.QUIET
    # Not click's own `main`, which exits with 1 where a reader went away: that would accuse
    # somebody.
    with canary.make_context("canary", argv) as context:
        return canary.invoke(context) or Outcome.QUIET  # a command that judges nothing returns None


def _complain(text: str) -> None:
    """Say why the command could not run, as far as anything can be written."""
    for stream, words in ((sys.stdout, ""), (sys.stderr, text)):
        try:
            print(words, end="", file=stream, flush=True)
        except OSError:
            # Python would try again at exit, fail again, and end with a code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
