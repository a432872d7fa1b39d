"""The reference page says what the code takes and gives, no less and no more."""

import ast
import re
import tomllib

import msgspec

from canary.run import Outcome
from orchestrator_resilience.checkpoints import DEFAULT_SEVERITY, CheckpointKind, DeliveryOutcome
from orchestrator_resilience.phase import Phase
from tests.docs.markdown import (
    PAGES,
    ROOT,
    first_cells,
    inline_code,
    rows,
    sections,
    shell_commands,
)

REFERENCE = sections("docs/reference.md")


def test_every_command_and_option_is_there(command_help: dict[str, set[str]]) -> None:
    """What `--help` lists is in the command's section, and the section lists nothing else."""
    described = {
        name: {option.split()[0] for option in first_cells(text)}
        for name, text in REFERENCE.items()
        if name.partition(" ")[0] == "canary"
    }
    assert described == command_help


def test_commands_that_are_mentioned_exist(command_help: dict[str, set[str]]) -> None:
    """A `canary …` in the prose or in a block names a command, and options that it has, in full."""
    written = [
        *(code for page in PAGES for code in inline_code(page)),
        *(command for _, command in shell_commands()),
    ]
    quoted = [code for code in written if re.match(r"canary [a-z]", code)]
    assert len(quoted) > 20
    for code in quoted:
        known = [command for command in command_help if f"{code} ".startswith(f"{command} ")]
        command = max(known, key=len)
        assert command != "canary", code
        assert set(re.findall(r"--[a-z-]+", code)) <= command_help[command], code


def test_every_environment_variable_is_there() -> None:
    """What the settings read, and nothing else."""
    read = set()
    for path in (
        *ROOT.glob("orchestrator_resilience/settings.py"),
        *ROOT.glob("canary/settings.py"),
    ):
        constants = (
            n.value
            for n in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(n, ast.Constant)
        )
        read |= {value for value in constants if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", str(value))}
    assert set(first_cells(REFERENCE["Environment variables"])) == read


# The table's own name, and what the processors say of themselves.
_NOT_IN_THE_FILE = {"name", "periods"}


def test_every_field_of_a_phase_is_there() -> None:
    """With its default, in the order of the code."""
    described = {row[0].strip("`"): row[-1] for row in rows(REFERENCE["The phases file"])}
    fields = {
        field.name: field
        for field in msgspec.structs.fields(Phase)
        if field.name not in _NOT_IN_THE_FILE
    }
    assert described.keys() == fields.keys()
    for name, field in fields.items():
        assert described[name].lower() == _default(field).lower(), name


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return ", ".join(value) or "none" if isinstance(value, (tuple, dict)) else str(value)


def test_every_kind_of_checkpoint_is_there() -> None:
    """With its usual severity."""
    described = {row[0].strip("`"): row[1] for row in rows(REFERENCE["Checkpoints"])}
    assert described == {kind.value: DEFAULT_SEVERITY[kind].value for kind in CheckpointKind}


def test_every_outcome_of_a_delivery_is_there() -> None:
    """In the order of the code."""
    (text,) = (row[1] for row in rows(REFERENCE["The closing line"]) if row[0] == "`outcome`")
    assert re.findall(r"`(\w+)`", text) == [outcome.value for outcome in DeliveryOutcome]


def test_every_exit_code_is_there() -> None:
    """With its outcome; the runbook has the same codes."""
    described = [(row[0], row[1].strip("`")) for row in rows(REFERENCE["Commands"])]
    assert described == [(str(outcome.value), outcome.name) for outcome in Outcome]
    assert [row[0] for row in rows(sections("docs/runbook.md")["Exit codes"])] == [
        code for code, _ in described
    ]


def test_every_extra_is_there() -> None:
    """Those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(first_cells(REFERENCE["Extras"])) == project["optional-dependencies"].keys()
