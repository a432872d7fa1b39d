"""`make local`: what it prints can be typed and has an effect, and nothing remains of it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.test_tables import declared
from tests.tables import REAL_COLUMNS
from tools.local import EXAMPLE

ROOT = Path(__file__).parents[2]


@contextmanager
def local(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run it under a shell, as make does; yield that shell and what is printed in the end."""
    printed = folder / "printed.txt"
    with printed.open("wb") as output:
        command = ["sh", "-c", f'"{sys.executable}" -m tools.local; exit $?']
        temporary = folder / "temporary"
        temporary.mkdir()
        environment = {**os.environ, "TMPDIR": str(temporary)}
        make = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    try:
        eventually(lambda: "Ctrl-C stops all" in printed.read_text() or make.poll() is not None)
        yield make, printed.read_text()
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
            make.wait(30)


def eventually(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) == 0


@pytest.mark.usefixtures("emulated")
def test_what_is_printed_can_be_seen_at_once(tmp_path: Path) -> None:
    """Ours sets the flag and the example does not, and everything ends with a killed shell."""

    def typed(way: str, printed: str, folder: Path) -> str:
        """Type what is printed for both ways and then for this one; return what that printed."""
        lines = printed.splitlines()
        begin = next(n for n, line in enumerate(lines) if line.startswith(f"# {way}:"))
        end = next(n for n, line in enumerate(lines) if n > begin and not line)
        commands = [line for line in lines if re.match(r"export \w+_EMULATOR_HOST=", line)] + lines[
            begin:end
        ]
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        script = "\n".join(command.replace("curl ", "true ") for command in commands)
        done = subprocess.run(
            ["bash", "-c", script],  # noqa: S607
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    with local(tmp_path) as (make, printed):
        ours, beside = typed("with-ours", printed, tmp_path), typed("beside", printed, tmp_path)
        assert re.search(r"^phase2 \S+ [^A-Z]*5⚑.* TRIGGERED$", ours, re.MULTILINE), ours
        assert "alive: projects/with-ours/topics/" in ours
        assert "CHECKPOINT_TRIGGERED: 5/5 complete" in ours
        assert "all 5 processors completed" in beside
        assert re.search(
            r"CHECKPOINT_WAITING: missing=\['p2_bdl_box_scores'\] 5/6 complete", beside
        ), beside
        addresses = re.findall(r"127\.0\.0\.1:\d+", printed)
        assert len(addresses) == 5
        assert all(listens(one) for one in addresses)
        make.kill()
        make.wait()
        eventually(lambda: not any(listens(one) for one in addresses))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(tmp_path: Path, sign: signal.Signals) -> None:
    """Whether it can still do something about it or not."""
    with local(tmp_path) as (make, printed):
        addresses = re.findall(r"127\.0\.0\.1:\d+", printed)
        assert all(listens(one) for one in addresses)
        assert [*(tmp_path / "temporary").iterdir()]
        os.killpg(make.pid, sign)
        make.wait()
        eventually(lambda: not any(listens(one) for one in addresses))
        eventually(lambda: not [*(tmp_path / "temporary").iterdir()])


def test_the_examples_table_is_the_one_that_there_was() -> None:
    """The twelve columns, and none that `canary setup` adds."""
    assert declared((EXAMPLE / "phase_completions.sql").read_text("utf-8")) == [*REAL_COLUMNS]
