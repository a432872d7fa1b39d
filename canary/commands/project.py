"""`canary setup`, `verify`, `notify` and `probe`: what is about an installation, not a date."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from canary.commands.installation import Point, PointState
from canary.commands.options import Subject, a_path, options, whole_number
from canary.commands.terminal import make_console, print_flags
from canary.commands.verify import compare_flags
from canary.run import Outcome
from canary.settings import CanarySettings
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import load_phases
from orchestrator_resilience.probe import MAX_AGE
from orchestrator_resilience.settings import Settings


@click.command()
@options("data", "phase", "json")
def setup(about: Subject, *, as_json: bool) -> None:
    """Make the completion log's table, or add columns that it lacks.

    Doing it again changes nothing. Embedded stores are made only where --data or
    RESILIENCE_DATA_DIR names their folder, or it is there.
    """
    with about.stores(must_exist=False) as stores:
        changes = stores.completion_log.setup()
    click.echo(about.to_json({"done": changes}) if as_json else "\n".join(changes))


def _check_alone(context: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Read a phases file, and nothing else; what is wrong with it ends the command."""
    if file is not None and not context.resilient_parsing:
        click.echo(Point(PointState.HOLDS, f"{file}: {', '.join(load_phases(file))}").line)
        context.exit()


@click.command()
@click.option(
    "--phases",
    type=a_path,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_check_alone,
    help="Read this phases file alone, and end: for CI.",
)
@options("data", "phase", "now", "json", "days")
def verify(about: Subject, *, as_json: bool, days: int) -> Outcome:
    """Check an installation: what it reads, what is collected, and where the flag is.

    It only reads. Exit code 1: a point is wrong, or BigQuery may not take Firestore's place; 2: it
    could not tell.
    """
    game_dates = {name: phase.recent_dates(about.now, days) for name, phase in about.phases.items()}
    settings = Settings.from_env()
    with about.stores() as stores:
        verification = compare_flags(
            stores, about.phases, game_dates, about.now, settings=settings, store=about.where
        )
    if as_json:
        click.echo(about.to_json(verification.to_json()))
    else:
        print_flags(make_console(), verification)
    return verification.outcome


@click.command()
@click.option("--test", "is_test", is_flag=True, help="Send it; nothing else is sent by hand.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def notify(*, is_test: bool, as_json: bool) -> Outcome:
    """Send a marked message over each channel that is set, and say what each answered.

    The log is this machine's stderr here. The deployed function's own is tried by POST
    /notify-test. Exit code 1: a channel did not take it.
    """
    if not is_test:
        raise click.UsageError("--test is needed: all else is sent by the canary's own runs")
    try:
        from canary.notify.opening import open_channels  # noqa: PLC0415 (as below)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'orchestrator-resilience[cloud,cli]'"
        ) from error
    failures = open_channels(
        Settings.from_env(), CanarySettings.from_env(), load_phases(), sys.stderr
    ).test(datetime.now(UTC))
    if as_json:
        click.echo(json.dumps({"channels": failures}, indent=2))
    else:
        for name, failure in failures.items():
            click.echo(f"{name}: {failure or 'sent'}")
    return Outcome.PROBLEM if any(failures.values()) else Outcome.QUIET


@click.command()
@click.option("--topic", required=True, help="The topic of the orchestrator's trigger.")
@click.option("--service", metavar="NAME", help="The Cloud Run service that should answer.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    # a later probe is not answered
    type=whole_number(1, int(MAX_AGE.total_seconds()), "of seconds "),
    default=60,
    show_default=True,
    help="How long to wait, up to 600; to find why no answer came takes up to 20 more.",
)
@options("phase")
def probe(about: Subject, *, topic: str, service: str | None, timeout: int) -> Outcome:
    """Ask whether the orchestrator is alive, or only deployed.

    A marked message goes the whole way; where no answer comes, the reason is looked for. It needs
    GOOGLE_CLOUD_PROJECT and the extra `probe`.
    """
    settings = Settings.from_env()
    if settings.project is None:
        raise ConfigurationError(
            "GOOGLE_CLOUD_PROJECT is not set: without a project there is no topic to probe"
        )
    try:
        # Only here, because nothing else publishes.
        from canary.commands.sent_probe import send_probe  # noqa: PLC0415
        from canary.commands.topic import Topic  # noqa: PLC0415
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'orchestrator-resilience[cloud,cli,probe]'"
        ) from error
    requests = None if settings.bigquery_emulated else CloudLoggingArchive(settings.project)
    target = Topic(settings.project, topic)
    with about.stores(must_exist=False) as stores:
        probed = send_probe(
            target,
            stores.documents,
            requests,
            about.phase,
            seconds=timeout,
            service=service,
            note=lambda text: click.echo(f"note: {text}", err=True),
        )
    if probed.problem is None:
        who = f"the orchestrator of {about.phase.name}" + (
            f" ({probed.revision})" if probed.revision else ""
        )
        click.echo(f"alive: {target.name} reaches {who}, which answered in {probed.seconds:.1f} s")
        return Outcome.QUIET
    click.echo(f"canary: not alive after {probed.seconds:.0f} s: {probed.problem}", err=True)
    return Outcome.PROBLEM
