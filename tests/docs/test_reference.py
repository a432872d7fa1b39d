"""What is looked up in the pages is what the code says; what they mention of a command is there."""

import re

import pytest

from tests.docs.markdown import PAGES, inline_code, shell_commands
from tools import reference


def test_the_tables_are_those_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """As `make reference` writes them."""
    code = reference.write("--check", "--diff")
    assert code == 0, capsys.readouterr()


def test_commands_that_are_mentioned_exist() -> None:
    """A `canary …` in the prose or in a block names a command, and options that it has, in full."""
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in reference.every_command()
    }
    prose = [code for page in PAGES for code in inline_code(page)]
    written = [*prose, *(command for _, command in shell_commands())]
    quoted = [code for code in written if re.match(r"canary [a-z]", code)]
    assert len(quoted) > 20
    for code in quoted:
        command = max((name for name in options if f"{code} ".startswith(f"{name} ")), key=len)
        assert command != "canary", code
        assert set(re.findall(r"--[a-z-]+", code)) <= options[command], code
