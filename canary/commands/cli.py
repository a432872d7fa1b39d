"""The `canary` command."""

import argparse
import json
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from canary.commands.verify import verify
from canary.domain.silence import SILENCES, add_silence, end_silence, parse_duration, read_silences
from canary.domain.verdict import duration_text
from canary.notify.message import CommandLine
from canary.run import Outcome, Report, check, timeline
from canary.simulation.folder import SimulatedFolder, end_of_run, read_simulated_folder, simulated_folder
from orchestrator_resilience.checkpoints import one_line
from orchestrator_resilience.completion import YEARS
from orchestrator_resilience.errors import ConfigurationError, ResilienceError, StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase, load_phase, load_phases
from orchestrator_resilience.probe import MAX_AGE
from orchestrator_resilience.progress import instant
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.stores.jsonl import append_line, last_line
from orchestrator_resilience.stores.opening import open_stores

try:
    from canary.commands.screen import WIDTH, print_screen, show_everything
    from canary.commands.terminal import make_console, print_alert, print_flags, print_line, print_table, print_timeline
    from canary.simulation.demo import PHASES, demo, demo_phase
    from canary.simulation.playback import Event
    from canary.simulation.replay import replay
except ModuleNotFoundError as error:
    if error.name != "rich":
        raise
    print("canary: one more package is needed: pip install 'orchestrator-resilience[cli]'", file=sys.stderr)
    sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 quiet, 1 a problem, 2 could not tell, 3 undecided."""
    arguments = _parser().parse_args(argv)
    try:
        outcome: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ResilienceError as error:
        print(f"canary: {error}", file=sys.stderr)
        return Outcome.COULD_NOT_TELL
    except BrokenPipeError:
        # The reader went away (`canary status | head`): nothing more can be said, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Outcome.COULD_NOT_TELL
    except KeyboardInterrupt:
        print("canary: interrupted", file=sys.stderr)
        return Outcome.COULD_NOT_TELL
    except Exception:  # noqa: BLE001 (Python's own exit code for a crash is 1, which here accuses somebody)
        traceback.print_exc()
        return Outcome.COULD_NOT_TELL
    return outcome


def _check(arguments: argparse.Namespace) -> Outcome:
    settings = Settings.from_env()
    if not settings.canary_enabled:
        print("canary: switched off by CANARY_ENABLED", file=sys.stderr)
        return Outcome.QUIET
    phases = _phases(arguments)
    wanted = {name: sorted(set(arguments.date)) for name in phases} if arguments.date else None
    with closing(_stores(arguments.data, settings, phases)) as stores:
        report = check(stores, phases, _now(arguments), wanted)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        console = make_console()
        for verdict in report.verdicts:
            if verdict.kind.is_problem:
                print_alert(console, verdict, phases[verdict.phase], _command(arguments, phases), report.now)
            else:
                print_line(console, verdict)
        for warning in report.warnings:
            console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if isinstance(stores, EmbeddedStores) and not arguments.dry_run:
        _record(report, stores)
    return report.outcome


def _record(report: Report, stores: EmbeddedStores) -> None:
    """Leave the line by which `canary status` knows of the run; that it cannot must not hide the report."""
    try:
        if stores.folder.is_dir():
            append_line(stores.runs_path, json.dumps(report.run_line()) + "\n")
    except StoreError as error:
        print(f"canary: the run could not be recorded: {error}", file=sys.stderr)


def _status(arguments: argparse.Namespace) -> Outcome:
    phases, now = _phases(arguments), _now(arguments)
    wanted = {name: phase.recent_dates(now, arguments.days) for name, phase in phases.items()}
    with closing(_stores(arguments.data, Settings.from_env(), phases)) as stores:
        report = check(stores, phases, now, wanted)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
        return report.outcome
    console = make_console()
    print_table(console, report.verdicts, phases)
    for verdict in report.verdicts:
        if not verdict.kind.is_quiet:
            print_line(console, verdict)
    if (folder := _folder(arguments)) is not None:
        console.print(f"as of {now:%Y-%m-%d %H:%M}Z, in the simulated run of {folder.path}")
    elif isinstance(stores, EmbeddedStores):
        console.print(f"last canary run: {_last_run(stores, now)}")
    return report.outcome


def _last_run(stores: EmbeddedStores, now: datetime) -> str:
    line = last_line(stores.runs_path)
    at = instant(line.get("now")) if line else None
    return f"{at.isoformat()}, {duration_text(now - at)} ago" if at else "none recorded here"


def _explain(arguments: argparse.Namespace) -> Outcome:
    phase, now = _one_phase(arguments), _now(arguments)
    with closing(_stores(arguments.data, Settings.from_env(), {phase.name: phase})) as stores:
        told = timeline(stores, phase, arguments.game_date, now)
    if arguments.json:
        print(json.dumps(msgspec.to_builtins(told), indent=2))
    else:
        print_timeline(make_console(), told, phase, _command(arguments, {phase.name: phase}), now)
    return Report(now, (told.verdict,)).outcome


def _silence_add(arguments: argparse.Namespace) -> Outcome:
    phase, now = _one_phase(arguments), _now(arguments)
    with closing(_stores(arguments.data, Settings.from_env(), {phase.name: phase}, must_exist=False)) as stores:
        silence = add_silence(
            stores.documents,
            phase=phase.name,
            first=arguments.date,
            last=arguments.to or arguments.date,
            reason=arguments.reason,
            expires_at=now + arguments.lasting,
            now=now,
        )
    print(
        f"silence {silence.id} until {silence.expires_at:%Y-%m-%d %H:%M}Z; end it with canary silence end {silence.id}"
    )
    return Outcome.QUIET


def _silence_list(arguments: argparse.Namespace) -> Outcome:
    now = _now(arguments)
    with closing(_stores(arguments.data, Settings.from_env(), _phases(arguments))) as stores:
        silences = read_silences(stores.documents.get_all([SILENCES]).get(SILENCES))
    in_force = [silence for silence in silences if silence.expires_at > now]
    for silence in in_force:
        dates = str(silence.first) if silence.first == silence.last else f"{silence.first} to {silence.last}"
        until = f"{silence.expires_at:%Y-%m-%d %H:%M}Z"
        print(f"{silence.id}  {silence.phase} {dates}, until {until}: {one_line(silence.reason)}")
    if not in_force:
        print("no silence is in force")
    return Outcome.QUIET


def _silence_end(arguments: argparse.Namespace) -> Outcome:
    with closing(_stores(arguments.data, Settings.from_env(), _phases(arguments))) as stores:
        end_silence(stores.documents, arguments.id, _now(arguments))
    print(f"silence {arguments.id} is over")
    return Outcome.QUIET


def _setup(arguments: argparse.Namespace) -> Outcome:
    phases = _phases(arguments)
    with closing(_stores(arguments.data, Settings.from_env(), phases, must_exist=False)) as stores:
        for done in stores.completion_log.setup():
            print(done)
    return Outcome.QUIET


def _verify(arguments: argparse.Namespace) -> Outcome:
    phases, now = _phases(arguments), _now(arguments)
    wanted = {name: phase.recent_dates(now, arguments.days) for name, phase in phases.items()}
    with closing(_stores(arguments.data, Settings.from_env(), phases)) as stores:
        verification = verify(stores, phases, wanted)
    if arguments.json:
        print(json.dumps(verification.to_json(), indent=2))
        return verification.outcome
    console = make_console()
    print_flags(console, verification)
    console.print(verification.advice, soft_wrap=True)
    return verification.outcome


def _probe(arguments: argparse.Namespace) -> Outcome:
    settings, phase = Settings.from_env(), _one_phase(arguments)
    if settings.project is None:
        raise ConfigurationError("GOOGLE_CLOUD_PROJECT is not set: without a project there is no topic to probe")
    try:
        # Only here, because nothing else publishes.
        from canary.commands.probe import probe  # noqa: PLC0415
        from canary.commands.topic import Topic  # noqa: PLC0415
        from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'orchestrator-resilience[cloud,cli,probe]'"
        ) from error
    requests = None if settings.bigquery_emulated else CloudLoggingArchive(settings.project)
    with closing(open_stores(settings, {phase.name: phase})) as stores:
        topic = Topic(settings.project, arguments.topic)
        probed = probe(
            topic,
            stores.documents,
            requests,
            phase,
            seconds=arguments.timeout,
            service=arguments.service,
            note=lambda text: print(f"note: {text}", file=sys.stderr, flush=True),
        )
    if probed.problem is None:
        who = f"the orchestrator of {phase.name}" + (f" ({probed.revision})" if probed.revision else "")
        print(f"alive: {topic.name} reaches {who}, which answered in {probed.seconds:.1f} s")
        return Outcome.QUIET
    print(f"canary: not alive after {probed.seconds:.0f} s: {probed.problem}", file=sys.stderr)
    return Outcome.PROBLEM


def _demo(arguments: argparse.Namespace) -> Outcome:
    # One screen is as wide as the narrowest terminal that people have.
    console = make_console(None if arguments.verbose else min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns))
    phase, events = demo_phase(), list[Event]()
    with simulated_folder(arguments.out, PHASES) as folder:
        look_further = CommandLine(_program(), folder=folder.path)
        report = demo(
            folder.path, show_everything(console, phase, look_further) if arguments.verbose else events.append
        )
        end_of_run(folder, report.now)
    if not arguments.verbose:
        print_screen(console, events, phase, look_further)
    print_table(console, report.verdicts, {phase.name: phase})
    print("Look at any of it:")
    print(f"  {look_further.to('explain', '2026-02-11')}")
    print(f"  {look_further.to('status')}")
    if not arguments.verbose:
        print(f"  {_program()} demo --verbose")
    return Outcome.QUIET


def _replay(arguments: argparse.Namespace) -> Outcome:
    phase = _one_phase(arguments)
    source = Settings.from_env().phases_file or BUNDLED_PHASES
    with simulated_folder(arguments.out, source.read_text("utf-8")) as folder:
        command = CommandLine(_program(), folder=folder.path, several=len(load_phases()) > 1)
        console = make_console()
        show = show_everything(console, phase, command)
        report = replay(arguments.file, phase, folder.path, show, arguments.until)
        end_of_run(folder, report.now)
    print_table(console, report.verdicts, {phase.name: phase})
    print(f"Look at it again: {command.to('status', phase=phase.name)}")
    return report.outcome


def _simulate(arguments: argparse.Namespace) -> Outcome:
    # Only here, because no other command needs the scenarios and their pool of processes.
    from canary.commands.scores import print_result, print_scores, progress_bar  # noqa: PLC0415
    from canary.simulation.evaluate import add_up, play, play_all, worlds  # noqa: PLC0415

    phase, console = load_phase("phase2", BUNDLED_PHASES), make_console()
    if arguments.again:
        with simulated_folder(arguments.out, BUNDLED_PHASES.read_text("utf-8")) as folder:
            print_scores(console, play(phase, arguments.again, folder.path))
        print(f"Look at it: {CommandLine(_program(), folder=folder.path).to('explain', 'DATE')} --now TIME")
        return Outcome.QUIET
    names = list(worlds(arguments.seed, arguments.healthy_days, arguments.faulty_days))
    scores = []
    bar, advance = progress_bar(console, arguments.healthy_days + arguments.faulty_days)
    with bar:
        for played in play_all(phase, names, arguments.jobs):
            scores += played
            advance(len(played))
    result = add_up(scores)
    print_result(console, result)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    if any(target.met is None for target in result.targets):
        return Outcome.COULD_NOT_TELL
    return Outcome.QUIET if all(target.met for target in result.targets) else Outcome.PROBLEM


def _folder(arguments: argparse.Namespace) -> SimulatedFolder | None:
    """Return the folder of a simulated run where the command is about one."""
    return read_simulated_folder(getattr(arguments, "data", None))


def _now(arguments: argparse.Namespace) -> datetime:
    """Return the time to judge by: in the folder of a simulated run, that of its end."""
    folder = _folder(arguments)
    return arguments.now or (folder and folder.now) or datetime.now(UTC)


def _phases(arguments: argparse.Namespace) -> dict[str, Phase]:
    """Return the phases that are meant: in the folder of a simulated run, of its own file."""
    folder = _folder(arguments)
    source = folder.phases_file if folder else None
    name = getattr(arguments, "phase", None)
    return {name: load_phase(name, source)} if name else load_phases(source)


def _one_phase(arguments: argparse.Namespace) -> Phase:
    phases = _phases(arguments)
    if len(phases) > 1:
        raise ConfigurationError(f"--phase: say which of {sorted(phases)} is meant")
    (phase,) = phases.values()
    return phase


def _command(arguments: argparse.Namespace, phases: Mapping[str, Phase]) -> CommandLine:
    """Return how a further command about the same stores is typed."""
    return CommandLine(_program(), folder=arguments.data, several=len(phases) > 1 or bool(arguments.phase))


def _program() -> str:
    """Return how this command was called, so that what is printed can be pasted."""
    program = sys.argv[0]
    if program.endswith(".py"):
        return shlex.join([_relative(sys.executable), "-m", "canary"])
    return "canary" if shutil.which("canary") == program else shlex.quote(_relative(program))


def _relative(path: str) -> str:
    """Return the path from here where it is below, else as it is."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _stores(folder: Path | None, settings: Settings, phases: Mapping[str, Phase], *, must_exist: bool = True) -> Stores:
    """Open the stores that the command is about; to read, nothing is made where there are none."""
    if folder is not None:
        return EmbeddedStores(folder, must_exist=must_exist)
    return open_stores(settings, phases, must_exist=must_exist)


class _Version(argparse.Action):
    """Looks the version up when it is asked for: what was never installed has none."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        # Only here, because it is slow to import.
        from importlib import metadata  # noqa: PLC0415

        try:
            print(f"canary {metadata.version('orchestrator-resilience')}")
        except metadata.PackageNotFoundError:
            parser.exit(Outcome.COULD_NOT_TELL, "canary: it is not installed, so it has no version\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="canary",
        description="Tells when the work is done and nobody noticed.",
        epilog="Exit code: 0 quiet, 1 a problem, 2 could not tell (or the command could not run), 3 undecided.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the installed version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], Outcome], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        return command

    check_ = add("check", _check, "one run over the look-back window, as the scheduler starts it")
    status = add("status", _status, "a table of the recent dates")
    explain = add("explain", _explain, "the timeline of one game date: what happened when, the verdict, the cause")
    explain.add_argument("game_date", type=_date, metavar="DATE", help="the game date, 2026-02-09")
    silence = commands.add_parser("silence", help="dates of which nobody is told for a while")
    silences = silence.add_subparsers(metavar="COMMAND", required=True)

    def add_silence_command(
        name: str, run: Callable[[argparse.Namespace], Outcome], summary: str
    ) -> argparse.ArgumentParser:
        command = silences.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        command.add_argument("--data", type=Path, metavar="DIR", help="the embedded stores in this folder")
        command.add_argument("--now", type=_moment, metavar="TIME", help="as of this time, 2026-02-10T07:15:00Z")
        return command

    silence_add = add_silence_command("add", _silence_add, "tell nobody of a game date, or of several, for a while")
    silence_add.add_argument("--phase", help="the phase that is meant")
    silence_add.add_argument("--date", type=_date, required=True, help="the game date, or the first of several")
    silence_add.add_argument("--to", type=_date, metavar="DATE", help="the last game date")
    silence_add.add_argument("--for", type=_duration, required=True, dest="lasting", metavar="TIME", help="12h, 3d")
    silence_add.add_argument("--reason", required=True, help="why, for those who wonder")
    add_silence_command("list", _silence_list, "the silences that are in force")
    silence_end = add_silence_command("end", _silence_end, "end a silence before its time")
    silence_end.add_argument("id", metavar="ID", help="as listed")
    setup = add("setup", _setup, "make the completion log's table, or add the columns that it lacks")
    verify_ = add("verify", _verify, "does BigQuery carry the flag, and agree with Firestore?")
    for command in (check_, status, explain, setup, verify_):
        command.add_argument("--data", type=Path, metavar="DIR", help="the embedded stores in this folder")
        command.add_argument("--phase", help="only this phase of the phases file")
    for reading in (check_, status, explain, verify_):
        reading.add_argument("--now", type=_moment, metavar="TIME", help="judge as of this time, 2026-02-10T07:15:00Z")
        reading.add_argument("--json", action="store_true", help="print JSON")
    check_.add_argument("--date", type=_date, action="append", help="only this game date (may be given again)")
    check_.add_argument("--dry-run", action="store_true", help="only print: leave no record of the run")
    for table in (status, verify_):
        table.add_argument(
            "--days", type=_whole(1, 366, "of days "), default=7, metavar="N", help="how many dates (default 7)"
        )

    probe_ = add("probe", _probe, "a marked message the whole way: is the orchestrator alive, or only deployed?")
    probe_.add_argument("--topic", required=True, help="the topic of the orchestrator's trigger")
    probe_.add_argument("--phase", help="the phase that the orchestrator serves")
    probe_.add_argument("--service", metavar="NAME", help="the Cloud Run service that should answer")
    probe_.add_argument(
        "--timeout",
        type=_whole(1, int(MAX_AGE.total_seconds()), "of seconds "),  # a later probe is not answered
        default=60,
        metavar="SECONDS",
        help="how long to wait for the answer, up to 600 (default 60); the reason for a silence takes up to 20 more",
    )
    _add_simulated(add)
    return parser


def _add_simulated(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that play on simulated time."""
    demo_ = add("demo", _demo, "replay February 2026 through the real orchestrator and canary")
    replay_ = add("replay", _replay, "send a file of Pub/Sub messages through the real orchestrator and canary")
    replay_.add_argument("file", type=Path, metavar="FILE", help="JSON lines, each with a `message`")
    replay_.add_argument("--phase", help="the phase that the messages are for")
    replay_.add_argument("--until", type=_moment, metavar="TIME", help="last canary run (default: past all deadlines)")
    demo_.add_argument("--verbose", action="store_true", help="everything that happens, instead of one screen")

    simulate = add("simulate", _simulate, "thousands of simulated dates, healthy and faulty, and the score")
    simulate.add_argument("--healthy-days", type=_whole(0, 9_999_999), default=1000, metavar="N", help="default 1000")
    simulate.add_argument("--faulty-days", type=_whole(0, 9_999_999), default=200, metavar="N", help="default 200")
    simulate.add_argument(
        "--seed", type=_whole(0, 9_999_999), default=1, metavar="N", help="other numbers, other variants (default 1)"
    )
    simulate.add_argument("--jobs", type=_whole(0, 9_999_999), metavar="N", help="processes (default: one a core)")
    simulate.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file as JSON, too")
    simulate.add_argument("--again", metavar="WORLD", help="play only this world, as SEED/FAULT/NUMBER")
    for command, name in ((demo_, "demo"), (replay_, "replay"), (simulate, "world")):
        default = Path("simulated") / name
        what = f"folder for the files, emptied if it is of an earlier run (default {default})"
        command.add_argument("--out", type=Path, metavar="DIR", default=default, help=what)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and moment.year in YEARS:
            return moment.astimezone(UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-02-10T07:15:00Z") from None
    problem = "is in no year that can be" if moment.tzinfo else f"has no time zone; write {text}Z for UTC"
    raise argparse.ArgumentTypeError(f"{text!r} {problem}")


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year not in YEARS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-02-09")
    return day


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(least: int, most: int, unit: str = "") -> Callable[[str], int]:
    """Return what reads a number of `unit` from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {unit}from {least} to {most}")
        return int(text)

    return read
