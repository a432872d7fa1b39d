"""What is looked up in the pages, written from the code by `make reference`; a test compares.

A page has a comment `[[[cog cog.out(reference.NAME()) ]]]` in the place of each table, and one of
tools/messages.py in that of each message. What a thing means is in the docstring below it in the
code: below a member of an enum, or a field of a value.
"""

import ast
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from cogapp import Cog  # type: ignore[import-untyped]
from msgspec.structs import replace

from canary.commands.cli import canary
from canary.domain.incident import NotificationKind
from canary.domain.stages import CauseKind, Stage
from canary.domain.verdict import Impact, Verdict, VerdictKind, level
from canary.notify.message import ADVICE, anchor
from canary.run import Outcome
from canary.settings import CanarySettings
from orchestrator_resilience.checkpoints import DEFAULT_SEVERITY, CheckpointKind, DeliveryOutcome
from orchestrator_resilience.phase import NOT_IN_THE_FILE, Mode, Phase
from orchestrator_resilience.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = ("docs/messages.md", "docs/reference.md", "docs/runbook.md")
E = TypeVar("E", bound=Enum)


def write(*arguments: str) -> int:
    """Write the tables anew with `-r`, or compare them with `--check`; 0 where all is well."""
    pages = [str(ROOT / page) for page in PAGES]
    prologue = "from tools import messages, reference"
    code: int = Cog().main(["cog", "-e", "-p", prologue, *arguments, *pages])
    return code


def meanings(kind: type) -> dict[str, str]:
    """Return the docstring below each name in the bodies of a class and its bases, on one line."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith(("canary.", "orchestrator_resilience.")):
            (node,) = ast.parse(inspect.getsource(base)).body
            body = getattr(node, "body", [])
            texts |= dict(filter(None, map(_meaning, body, body[1:])))
    return texts


def _meaning(binding: ast.stmt, text: ast.stmt) -> tuple[str, str] | None:
    match binding, text:
        case (
            ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)),
            ast.Expr(ast.Constant(str(docstring))),
        ):
            return name, " ".join(docstring.split())
        case _:
            return None


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown; `head` has the names of the columns, with a bar between two."""
    ruler = "|---" * (head.count("|") + 1)
    return "\n".join([f"| {head} |", f"{ruler}|", *(f"| {' | '.join(row)} |" for row in rows), ""])


def commands() -> str:
    """Return a section for each command: what its help says."""
    return "\n".join(_command(*each) for each in every_command())


def every_command(
    name: str = "canary", command: click.Command = canary
) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its whole name, such as "canary silence add"."""
    yield name, command
    for own, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from every_command(f"{name} {own}", below)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command)
    arguments = [
        piece for parameter in command.params for piece in parameter.get_usage_pieces(context)
    ]
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = filter(None, (option.get_help_record(context) for option in options))
    rows = [(f"`{option}`", " ".join(text.split())) for option, text in records]
    usage = [f"`{' '.join([name, *arguments])}`\n"] if arguments else []
    listed = [table("option | meaning", rows)] if rows else []
    return "\n".join(
        [f"### `{name}`\n", *usage, f"{inspect.cleandoc(command.help or '')}\n", *listed]
    )


def variables() -> str:
    """Return a row for each variable that the settings read."""
    rows = []
    for settings in (Settings, CanarySettings):
        texts = dict(text.split(": ", 1) for text in meanings(settings).values())
        read = {*re.findall(r'env\.get\(\s*"(\w+)"', inspect.getsource(settings))}
        assert texts.keys() == read, f"without a docstring, or not read: {texts.keys() ^ read}"
        rows += [
            (f"`{name}`", *text.removesuffix(".").split(" Default: "))
            for name, text in texts.items()
        ]
    return table("variable | meaning | default", rows)


def extras() -> str:
    """Return a row for each extra of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    packages = project["optional-dependencies"].items()
    return table("extra | adds", [(f"`{name}`", ", ".join(added)) for name, added in packages])


def fields_of_a_phase() -> str:
    """Return a row for each field of a phase in the phases file."""
    return _fields(Phase)


def fields_of_a_mode() -> str:
    """Return a row for each field of a phase's mode."""
    return _fields(Mode)


def _fields(kind: type[msgspec.Struct]) -> str:
    texts, every = meanings(kind), msgspec.structs.fields(kind)
    in_the_file = [field for field in every if field.name not in NOT_IN_THE_FILE]
    rows = [(f"`{field.name}`", texts[field.name], _default(field)) for field in in_the_file]
    return table("field | meaning | default", rows)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, tuple):
        value = ", ".join(value)
    return f"`{json.dumps(value)}`" if value or value is False else "none"


def exit_codes() -> str:
    """Return a row for each exit code of the command."""
    return _members("exit code | means | outcome", Outcome, lambda outcome: f"`{outcome.name}`")


def checkpoints() -> str:
    """Return a row for each kind of checkpoint."""
    return _members("checkpoint | when | severity", CheckpointKind, DEFAULT_SEVERITY.__getitem__)


def delivery_outcomes() -> str:
    """Return a row for each way in which a delivery ends."""
    return _members("outcome | means", DeliveryOutcome)


def verdicts() -> str:
    """Return a row for each verdict, to which messages link, with what an alert says to do."""
    return _members("verdict | means | do", VerdictKind, _advice)


def causes() -> str:
    """Return a row for each cause, likewise."""
    return _members("cause | known by | do", CauseKind, _advice)


def _advice(kind: VerdictKind | CauseKind) -> str:
    words = {"date": "DATE", "document": "DOCUMENT", "who": "PROCESSOR", "next_phase": "Phase 3"}
    advice = "what the verdict says" if kind is CauseKind.UNDETERMINED else ADVICE[kind]
    return f'<a id="{anchor(kind)}"></a>{advice.format(**words)}'


def impacts() -> str:
    """Return a row for each impact."""
    problem = Verdict(kind=VerdictKind.INCOMPLETE, phase="", game_date=date.min, summary="")
    head = "impact | means | severity of the alert"
    return _members(head, Impact, lambda impact: level(replace(problem, impact=impact)))


def stages() -> str:
    """Return a row for each stage of the path."""

    def whose(stage: Stage) -> str:
        return "a processor" if stage.rank <= Stage.REGISTERED.rank else "the date"

    return _members("stage | who says that it was reached | of", Stage, whose)


def notifications() -> str:
    """Return a row for each kind of notification."""

    def severity(kind: NotificationKind) -> str:
        return "NOTICE" if kind.is_end else "by the impact now"

    return _members("`canary_alert` | when | severity", NotificationKind, severity)


def _members(head: str, kind: type[E], *columns: Callable[[E], str]) -> str:
    """Return a row for each member of a closed list: its value, what it means, and what else."""
    texts = meanings(kind)
    rows = [(f"`{m.value}`", texts[m.name], *(column(m) for column in columns)) for m in kind]
    return table(head, rows)


if __name__ == "__main__":
    sys.exit(write(*(sys.argv[1:] or ["-r"])))
