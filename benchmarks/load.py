"""`make load`: the orchestrator function under load, 8 deliveries at once for ten minutes.

Firestore is Google's emulator. BigQuery is a server here that says yes to every row: the emulator takes a megabyte of
memory for each, and grows slower with all of them, and it is the function that is looked at.

    python -m benchmarks.load [--seconds N] [--json FILE]

Every quarter of a minute a line: deliveries a second, how long they took, and the memory, threads and open files of the
function's process. Exit code: 0, or 1 where a delivery was not acknowledged, or where memory, threads or files grew
from the first half to the second. The seconds are reported and never judged: they are this machine's.
"""

import argparse
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles

import msgspec
import requests

from benchmarks.measure import machine
from orchestrator_resilience import load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.rows import OPTIONAL_COLUMNS
from orchestrator_resilience.testing import push_envelope
from tools.emulators import PROJECT, Server, emulators
from tools.functions import orchestrator_function

AT_ONCE = 8
_SLICE_SECONDS = 15.0
# Memory settles: what a process may have more in the second half, in MB.
_GROWTH = 10.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What was seen in one slice of time: milliseconds a delivery, megabytes, threads and files of the process."""

    second: float
    rate: float
    p50: float
    p99: float
    longest: float
    failed: int
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
        self._failed = 0
        self._five = sorted(load_phase("phase2", BUNDLED_PHASES).expected)

    def deliver_until(self, end: float) -> None:
        with requests.Session() as session:
            while time.monotonic() < end:
                self._deliver(session)

    def _deliver(self, session: requests.Session) -> None:
        number = next(self._numbers)
        day = date(2026, 2, 9) - timedelta(days=number // 5 % 1000)
        event = push_envelope(self._five[number % 5], str(day), datetime.now(UTC), message_id=str(number))
        began = time.monotonic()
        answer = session.post(f"http://{self._address}/", json=event, timeout=120)
        with self._lock:
            self._taken.append(time.monotonic() - began)
            self._failed += not answer.ok  # any 2xx acknowledges

    def taken(self) -> tuple[list[float], int]:
        """Return the seconds of each delivery since this was last asked, and how many failed."""
        with self._lock:
            found, self._taken = (self._taken, self._failed), []
            self._failed = 0
        return found


def measure(seconds: float, slice_seconds: float = _SLICE_SECONDS) -> list[Slice]:
    """Put the load on, and return its slices, which are printed as they come."""
    with emulators(["firestore"]) as environment, _agreeing_bigquery() as address:
        settings = {**environment, "BIGQUERY_EMULATOR_HOST": address}
        with orchestrator_function(settings) as running, ThreadPoolExecutor(AT_ONCE) as threads:
            load, began = _Load(running.address), time.monotonic()
            delivering = [threads.submit(load.deliver_until, began + seconds) for _ in range(AT_ONCE)]
            found: list[Slice] = []
            for number in range(1, round(seconds / slice_seconds) + 1):
                time.sleep(max(0.0, began + number * slice_seconds - time.monotonic()))
                found.append(_slice(load, running, number * slice_seconds, slice_seconds))
                print(found[-1], flush=True)
            for one in delivering:
                one.result()
    return found


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
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _slice(load: _Load, running: Server, second: float, seconds: float) -> Slice:
    taken, failed = load.taken()
    spread = [1000 * one for one in quantiles(taken, n=100)] if len(taken) > 1 else [0.0] * 99
    pid = _child(running.process.pid)
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return Slice(
        second=round(second),
        rate=round(len(taken) / seconds, 1),
        p50=round(spread[49]),
        p99=round(spread[98]),
        longest=round(1000 * max(taken, default=0)),
        failed=failed,
        memory=round(_number(status, "VmRSS:") / 1024, 1),
        threads=_number(status, "Threads:"),
        files=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 (as numbers)
    )


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()[0])


def _number(status: str, name: str) -> int:
    return int(status.partition(name)[2].split()[0])


def wrong(slices: list[Slice]) -> list[str]:
    """Say what failed, and what grew from the first half to the second."""
    half = len(slices) // 2
    first, second = slices[:half], slices[half:]
    failed = sum(one.failed for one in slices)
    found = [f"{failed} deliveries were not acknowledged"] if failed else []
    for name, more in (("memory", _GROWTH), ("threads", 2), ("files", 4)):
        before, after = (median(getattr(one, name) for one in part) for part in (first, second))
        if after > before + more:
            found.append(f"{name} grew from {before:g} to {after:g}")
    return found


def main() -> int:
    """Measure, report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, metavar="N", help="for how long (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if options.seconds < 2 * _SLICE_SECONDS:
        parser.error(f"--seconds: at least {2 * _SLICE_SECONDS:g}")
    about = machine()
    print(about)
    slices = measure(options.seconds)
    found = wrong(slices)
    rate = median(one.rate for one in slices)
    half, most = median(one.p50 for one in slices), median(one.p99 for one in slices)
    print(f"{rate:g} deliveries a second: half of them took {half:g} ms, 99 of 100 {most:g} ms, and the longest")
    print(f"{max(one.longest for one in slices):g} ms; memory {slices[0].memory:g} to {slices[-1].memory:g} MB")
    print(*found, sep="\n")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": about, "slices": slices})))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
