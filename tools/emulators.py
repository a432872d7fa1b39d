"""Starts Firestore's, Pub/Sub's and BigQuery's emulators on free ports, and stops them.

Firestore and Pub/Sub are Google's own, from the Google Cloud CLI, and need Java 17 or later;
BigQuery is `bqemulator`, from the development requirements.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = "local-project"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class EmulatorError(Exception):
    """An emulator is not installed, or did not start; the text says which, and how to get it."""


@dataclass(frozen=True)
class Server:
    """A running server process, its port, and the file with what it prints."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def wait_until_it_answers(self) -> None:
        """Return once it accepts connections.

        Raises EmulatorError, with what it printed, when it does not.
        """
        give_up = time.monotonic() + _START_SECONDS
        while not self._accepts():
            if self.process.poll() is not None:
                raise EmulatorError(
                    f"{self.name} ended with {self.process.returncode}:\n{self._tail()}"
                )
            if time.monotonic() > give_up:
                raise EmulatorError(
                    f"{self.name} did not answer within {_START_SECONDS:g} s:\n{self._tail()}"
                )
            time.sleep(0.05)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _tail(self) -> str:
        return self.log.read_bytes()[-2000:].decode(errors="replace")


@contextmanager
def emulators(
    names: Sequence[str] = ("firestore", "pubsub", "bigquery"),
) -> Iterator[dict[str, str]]:
    """Run the named emulators; yields the environment variables by which clients find them."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in names}
        # All at once: Java takes its time.
        running = [
            stack.enter_context(server(name, port, _command(name, port)))
            for name, port in ports.items()
        ]
        environment = {"GOOGLE_CLOUD_PROJECT": PROJECT}
        for one in running:
            one.wait_until_it_answers()
            scheme = "http://" if one.name == "bigquery" else ""
            environment[f"{one.name.upper()}_EMULATOR_HOST"] = scheme + one.address
        yield environment


@contextmanager
def server(
    name: str,
    port: int,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stop: signal.Signals = signal.SIGTERM,
    folders: Sequence[str] = (),
) -> Iterator[Server]:
    """Run a server in a process group of its own, which gets `stop` at the end.

    Where this process is killed, `folders` go with the server's own; else they are whoever's made
    them.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        log = Path(folder) / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (this project's own commands)
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # What it puts away for a while, as DuckDB does with what is too large for memory,
                # goes with the folder.
                env={**os.environ, "TMPDIR": folder, **(environment or {})},
                cwd=folder,
                start_new_session=True,
            )
        with _ended_with_this_one(process, [folder, *folders]):
            try:
                yield Server(name, port, process, log)
            finally:
                _stop(process, stop)


@contextmanager
def _ended_with_this_one(
    process: subprocess.Popen[bytes], folders: Sequence[str]
) -> Iterator[None]:
    """Kill a process group and remove its folders when this process ends, however it ends.

    A pipe to a shell is closed then.
    """
    kill = [
        "sh",
        "-c",
        'read -r _; kill -s KILL -- "-$0"; rm -rf -- "$@"',
        str(process.pid),
        *folders,
    ]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(kill, stdin=pipe, stderr=quiet, start_new_session=True) as watch:  # noqa: S603
        try:
            yield
        finally:
            # before the pipe is closed, because the id may be another process's by then
            watch.kill()


def _command(name: str, port: int) -> list[str]:
    if name == "bigquery":
        program = (
            "import duckdb_extensions, bqemulator.cli as c; "
            "duckdb_extensions.import_extension('spatial'); c.main()"
        )
        arguments = [
            "start",
            "--rest-port",
            str(port),
            "--grpc-port",
            str(free_port()),
            "--log-level",
            "warning",
        ]
        return [sys.executable, "-c", program, *arguments]
    java = shutil.which("java")
    if java is None:
        raise EmulatorError(
            f"the {name} emulator needs Java 17 or later, and there is no java on the PATH"
        )
    folder = _sdk_root() / "platform"
    if name == "firestore":
        jar = _found(folder / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar", name)
        main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
        return [
            java,
            "-Duser.language=en",
            "-cp",
            str(jar),
            main,
            "--host=127.0.0.1",
            f"--port={port}",
        ]
    script = _found(folder / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator", name)
    return [str(script), "--host=127.0.0.1", f"--port={port}"]


def _sdk_root() -> Path:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise EmulatorError(
            "the emulators come with the Google Cloud CLI, and there is no gcloud on the PATH"
        )
    done = subprocess.run(  # noqa: S603 (as above)
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not done.stdout.strip():
        raise EmulatorError(f"gcloud does not say where it is installed: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def _found(path: Path, name: str) -> Path:
    if not path.exists():
        raise EmulatorError(
            f"the {name} emulator is not installed: gcloud components install {_component(name)} "
            f"(or apt-get install google-cloud-cli-{name}-emulator)"
        )
    return path


def _component(name: str) -> str:
    return {"firestore": "cloud-firestore-emulator", "pubsub": "pubsub-emulator"}[name]


def _stop(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    for sign in (first, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
