"""`make load`: the orchestrator function under load, as it is deployed.

The function has a core of its own, gunicorn with as many threads as deploy/ gives it, and as many
deliveries in flight; all else runs on the other cores. Firestore is Google's emulator. BigQuery is
a server here that says yes to every row: the emulator takes a megabyte of memory for each, and
grows slower with all of them, and it is the function that is looked at. Once the stores answer as
fast as they do here, and once each call to one takes 50 ms longer.

    python -m benchmarks.load [--seconds N] [--json FILE] [--before COMMIT]

Every quarter of a minute a line: deliveries a second, how long they took, how much of the
function's core one used, and the memory, threads and open files of its processes. Exit code: 0, or
1 where a delivery was not acknowledged, or where memory, threads or files grew from the first half
to the second. The seconds are reported and never judged: they are this machine's.
"""

import argparse
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from statistics import median, quantiles

import msgspec
import requests
from rich.console import Console

from benchmarks.measure import Bench, Row, before_and_after, machine
from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.rows import OPTIONAL_COLUMNS
from orchestrator_resilience.testing import push_envelope
from tools.emulators import PROJECT, emulators
from tools.functions import THREADS, orchestrator_function

# How many seconds are added to each call to a store.
SETTINGS = {"the stores as they are here": 0.0, "50 ms added to each call": 0.05}
_SLICE_SECONDS = 15.0
# Memory settles: what a process may have more in the second half, in MB.
_GROWTH = 10.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What was seen in one slice of time: deliveries a second, and milliseconds that one took.

    `failed` were not acknowledged. `processor` is how much of the function's core one used, in
    milliseconds; memory, in MB, threads and files are those of the function's processes.
    """

    second: float
    rate: float
    p50: float
    p99: float
    longest: float
    failed: int
    processor: float
    memory: float
    threads: int
    files: int


class _Load:
    """Threads that deliver one completion after another until the time is over."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._taken: list[float] = []
        self._failed, self._since = 0, time.monotonic()
        self._five = sorted(load_phase("phase2", BUNDLED_PHASES).expected)

    def deliver_until(self, end: float) -> None:
        with requests.Session() as session:
            while time.monotonic() < end:
                self._deliver(session)

    def _deliver(self, session: requests.Session) -> None:
        number = next(self._numbers)
        day = date(2026, 2, 9) - timedelta(days=number // 5 % 1000)
        event = push_envelope(
            self._five[number % 5], str(day), datetime.now(UTC), message_id=str(number)
        )
        began = time.monotonic()
        answer = session.post(f"http://{self._address}/", json=event, timeout=120)
        with self._lock:
            self._taken.append(time.monotonic() - began)
            self._failed += not answer.ok  # any 2xx acknowledges

    def taken(self) -> tuple[list[float], int, float]:
        """Return each delivery's seconds since the last call, the failures, and the time since."""
        now = time.monotonic()
        with self._lock:
            found = self._taken, self._failed, now - self._since
            self._taken, self._failed, self._since = [], 0, now
        return found


def measure(
    seconds: float, added: float = 0.0, slice_seconds: float = _SLICE_SECONDS
) -> list[Slice]:
    """Put the load on for so many `seconds`, and return its slices, which are printed as they come.

    Each call to a store takes the `added` seconds longer.
    """
    core, *others = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stack.enter_context(_on(others or [core]))
        environment = stack.enter_context(emulators(["firestore"]))
        firestore = stack.enter_context(_later(environment["FIRESTORE_EMULATOR_HOST"], added))
        bigquery = stack.enter_context(_later(stack.enter_context(_agreeing_bigquery()), added))
        environment |= {"FIRESTORE_EMULATOR_HOST": firestore}
        environment |= {"BIGQUERY_EMULATOR_HOST": f"http://{bigquery}"}
        with _on([core]):
            running = stack.enter_context(orchestrator_function(environment))
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))
        load, began = _Load(running.address), time.monotonic()
        delivering = [threads.submit(load.deliver_until, began + seconds) for _ in range(THREADS)]
        slices, processes = list[Slice](), _Processes(running.process.pid)
        count = round(seconds / slice_seconds)
        for number in range(1, count + 1):
            time.sleep(max(0.0, began + number * slice_seconds - time.monotonic()))
            if number == count:
                wait(delivering)
            slices.append(_slice(load, processes, time.monotonic() - began))
            print(slices[-1], flush=True)
        for thread in delivering:
            thread.result()
    return slices


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Keep this process, and those that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    yield
    os.sched_setaffinity(0, before)


@contextmanager
def _later(target: str, seconds: float) -> Iterator[str]:
    """Stand in front of `target`, "HOST:PORT", and bring it each request so many seconds later."""
    if not seconds:
        yield target
        return
    host, _, port = target.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    here, there = listener.accept()[0], socket.create_connection((host, int(port)))
                    for source, sink, late in ((here, there, seconds), (there, here, 0.0)):
                        threading.Thread(
                            target=_carry, args=(source, sink, late), daemon=True
                        ).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _carry(source: socket.socket, sink: socket.socket, late: float) -> None:
    """Send on what comes, so many seconds later, and in the meantime take what comes next."""
    waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def send() -> None:
        with suppress(OSError):
            while (item := waiting.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                sink.sendall(item[1])
            sink.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=send, daemon=True).start()
    with source, suppress(OSError):
        while data := source.recv(65536):
            waiting.put((time.monotonic() + late, data))
    waiting.put((0.0, b""))


@contextmanager
def _agreeing_bigquery() -> Iterator[str]:
    """Serve a table that has every column, and takes every row."""
    fields = [{"name": name, "type": kind} for name, kind in OPTIONAL_COLUMNS.items()]
    table = {"projectId": PROJECT, "datasetId": "nba_orchestration", "tableId": "phase_completions"}
    answer = msgspec.json.encode({"tableReference": table, "schema": {"fields": fields}})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Processes:
    """The processes of a function: gunicorn's own, and its worker."""

    def __init__(self, parent: int) -> None:
        self._parent, self._used = parent, 0.0

    @property
    def _pids(self) -> list[int]:
        """Asked for each time: gunicorn listens before it has its worker."""
        children = Path(f"/proc/{self._parent}/task/{self._parent}/children").read_text("utf-8")
        return [self._parent, *map(int, children.split())]

    def used(self) -> float:
        """Return the seconds of a processor used since the last call, or since the start."""
        before, self._used = self._used, self._seconds()
        return self._used - before

    def _seconds(self) -> float:
        texts = (Path(f"/proc/{pid}/stat").read_text("utf-8") for pid in self._pids)
        # After the name, in brackets, user and system time are the 12th and 13th field.
        fields = [text.rpartition(")")[2].split()[11:13] for text in texts]
        return sum(int(user) + int(system) for user, system in fields) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Return their memory; what they share counts once."""
        return self._sum("smaps_rollup", "Pss:") / 1024

    def threads(self) -> int:
        """Return how many threads they have."""
        return self._sum("status", "Threads:")

    def files(self) -> int:
        """Return how many files they have open."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._pids)  # noqa: PTH208 (as numbers)

    def _sum(self, file: str, name: str) -> int:
        texts = (Path(f"/proc/{pid}/{file}").read_text("utf-8") for pid in self._pids)
        return sum(int(text.partition(name)[2].split()[0]) for text in texts)


def _slice(load: _Load, processes: _Processes, second: float) -> Slice:
    taken, failed, seconds = load.taken()
    spread = [1000 * one for one in quantiles(taken, n=100)] if len(taken) > 1 else [0.0] * 99
    return Slice(
        second=round(second),
        rate=round(len(taken) / seconds, 1),
        p50=round(spread[49], 1),
        p99=round(spread[98], 1),
        longest=round(1000 * max(taken, default=0)),
        failed=failed,
        processor=round(1000 * processes.used() / max(len(taken), 1), 2),
        memory=round(processes.megabytes(), 1),
        threads=processes.threads(),
        files=processes.files(),
    )


def wrong(slices: Sequence[Slice]) -> list[str]:
    """Say what failed, and what grew from the first half to the second."""
    half = len(slices) // 2
    first, second = slices[:half], slices[half:]
    failed = sum(one.failed for one in slices)
    found = [f"{failed} deliveries were not acknowledged"] if failed else []
    # Each delivery in flight has a thread that comes and goes.
    for name, more in (("memory", _GROWTH), ("threads", THREADS), ("files", 4)):
        before, after = (median(getattr(one, name) for one in part) for part in (first, second))
        if after > before + more:
            found.append(f"{name} grew from {before:g} to {after:g}")
    return found


_FIGURES = {
    "rate": ("Deliveries", "a second"),
    "p50": ("Half of the deliveries took", "ms"),
    "p99": ("99 of 100 took", "ms"),
    "longest": ("The longest of a slice took", "ms"),
    "processor": ("A delivery used of the function's core", "ms"),
    "memory": ("Memory of the function's processes", "MB"),
}


def benches(slices: Mapping[str, Sequence[Slice]]) -> list[Bench]:
    """Summarise the slices of each setting: a comparison for each figure."""
    floor = next(iter(slices))
    return [
        Bench(
            title,
            unit,
            floor,
            [_row(name, [getattr(one, field) for one in own]) for name, own in slices.items()],
        )
        for field, (title, unit) in _FIGURES.items()
    ]


def _row(name: str, values: Sequence[float]) -> Row:
    return Row(name, *quantiles(values, n=4, method="inclusive"))


def main() -> int:
    """Measure, report, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.load", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--seconds", type=float, default=600, metavar="N", help="in all (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--before", metavar="COMMIT", help="in turns with this commit")
    options = parser.parse_args()
    if options.before:
        amounts = {"--seconds": options.seconds}
        return before_and_after(options.before, "benchmarks.load", amounts, options.json)
    each = options.seconds / len(SETTINGS)
    if each < 2 * _SLICE_SECONDS:
        parser.error(f"--seconds: at least {2 * _SLICE_SECONDS * len(SETTINGS):g}")
    console, about = Console(width=None if sys.stdout.isatty() else 100), {"machine": machine()}
    console.print(about)
    slices = {name: measure(each, added) for name, added in SETTINGS.items()}
    for bench in (figures := benches(slices)):
        console.print(bench.table(), "")
    flaws = [f"{name}: {flaw}" for name, own in slices.items() for flaw in wrong(own)]
    print(*flaws, sep="\n")
    if options.json:
        found = {**about, "slices": slices, "benches": figures}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return int(bool(flaws))


if __name__ == "__main__":
    sys.exit(main())
