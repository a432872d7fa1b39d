"""What people heard of canaries that are killed at each step, or meet while Firestore is late.

Each life is that of two dates that have been stuck for 40 minutes: somebody sets their flags, and
then they are well. Real processes of the function run over them every 15 minutes of a simulated
time. The runs that come at once go to any of the processes, so that two of them may be threads of
one. Deadlines are scaled down, and so is how late an answer is.
"""

import json
import os
import random
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from itertools import product
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

import requests

from canary.domain.remembered import DEFAULT_CANARY, month_ref, read_date
from orchestrator_resilience import Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from tests.proof.dates import completions, registered
from tests.proof.gate import Gate
from tests.proof.listener import FakeWebhook, fake_webhook
from tests.proof.outages import SCALE
from tests.proof.processes import deaths, emulated, process
from tools.emulators import PROJECT, Server

TICK = timedelta(minutes=15)
MOST_AT_ONCE = 5
LATE_SECONDS = 6 * SCALE
_FIRST = date(2026, 2, 10)
_DAYS_BETWEEN = 10  # so that no life is among another one's history
_POST_SECONDS = 60.0
_PICKED = 0.1  # of the answers, until as many are late as are due
_DISTURBED = 0.4  # of the runs
# "2026-02-10", or "2 dates, 2026-02-09 to 02-10".
_DATES = re.compile(r"(2 dates, )?(\d{4}-\d\d-\d\d)")
# How a run ends: well, after another one that was about to tell, without what it had to read or
# write, or never.
WELL, HELD, NO_MEMORY, DIED = "well", "held", "without memory", "died"
Heard = Mapping[tuple[str, str, date], int]


class LateGate(Gate):
    """Passes on all that it gets, and as many answers late as are `due`, which `rng` picks."""

    def __init__(self, target: str, rng: random.Random) -> None:
        super().__init__(target)
        self._rng, self.due, self.late = rng, 0, 0

    def _pass(
        self,
        data: bytes,
        source: socket.socket,
        target: socket.socket,
        *,
        is_answer: bool,
        dead: threading.Event,
    ) -> None:
        if is_answer and self.due and self._rng.random() < _PICKED:
            self.due -= 1
            self.late += 1
            time.sleep(LATE_SECONDS)
        super()._pass(data, source, target, is_answer=is_answer, dead=dead)


@dataclass
class Canaries:
    """The processes, what is in front of Firestore, and what tells what came of the runs."""

    phase: Phase
    running: Sequence[Server]
    gate: LateGate
    slack: FakeWebhook
    documents: FirestoreDocuments
    completion_log: BigQueryCompletionLog
    folder: Path
    lives: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    told: Counter[int] = field(default_factory=Counter)

    def run(self, now: datetime, dies: int = 0, process: int = 0) -> str:
        """Do one run, and return how it ended."""
        headers = {"X-Now": now.isoformat(), "X-Dies": str(dies or "")}
        try:
            answer = requests.post(
                f"http://{self.running[process].address}/", headers=headers, timeout=_POST_SECONDS
            )
        except requests.RequestException:
            return DIED
        found = answer.json()
        if found.get("without_memory") or any(
            one["unreadable"] for one in found.get("verdicts", [])
        ):
            return NO_MEMORY
        if answer.status_code == HTTPStatus.OK:
            return WELL
        return HELD if "another run was about to send" in found["reason"] else str(found["reason"])

    def runs(
        self, now: datetime, rng: random.Random | None = None, count: int = 1, dies: int = 0
    ) -> list[str]:
        """Do so many runs at the same moment, the first of which dies at step `dies`."""
        drawn = [rng.randrange(len(self.running)) if rng else 0 for _ in range(count)]
        together = Barrier(count)

        def one(number: int) -> str:
            together.wait(10)
            return self.run(
                now + number * timedelta(milliseconds=7), 0 if number else dies, drawn[number]
            )

        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(one, range(count)))
        self.ended.update(answers)
        return answers

    def summary(self) -> str:
        """Return how the runs ended, and how often each thing was told to a channel."""
        return f"runs: {dict(self.ended)}, told so often: {dict(sorted(self.told.items()))}"

    def heard(self) -> Heard:
        """Count what each channel was told, by its name, the kind and the date."""
        return Counter([*self._logged(), *self._posted()])

    def _logged(self) -> Iterator[tuple[str, str, date]]:
        lines = [line for one in self.running for line in one.log.read_text("utf-8").splitlines()]
        for entry in [json.loads(line) for line in lines if '"canary_alert"' in line]:
            for day in entry["game_dates"]:
                yield "log", entry["canary_alert"], date.fromisoformat(day)

    def _posted(self) -> Iterator[tuple[str, str, date]]:
        for line in [line for one in self.slack.accepted for line in one["text"].splitlines()]:
            both, day = _found(line)
            kind = next(
                (
                    kind
                    for kind in ("RESOLVED", "CHANGED", "REMINDER")
                    if kind.lower() in line.lower()
                ),
                "OPENED",
            )
            for offset in range(1 + both):
                yield "slack", kind, day + timedelta(days=offset)


def _found(line: str) -> tuple[bool, date]:
    found = _DATES.search(line)
    assert found is not None, line
    return bool(found[1]), date.fromisoformat(found[2])


@contextmanager
def canaries(count: int, project: str, phase: Phase, folder: Path, seed: int) -> Iterator[Canaries]:
    """Run so many processes of the canary on the emulators that the environment names."""
    with ExitStack() as stack:
        slack = stack.enter_context(fake_webhook("/services/T0/B0/secret"))
        gate = LateGate(os.environ["FIRESTORE_EMULATOR_HOST"], random.Random(f"{seed}/late"))
        stack.callback(gate.close)
        variables = {
            "FIRESTORE_EMULATOR_HOST": gate.address,
            "SLACK_WEBHOOK_URL": slack.url,
            "GRPC_VERBOSITY": "NONE",
        }
        running = [
            stack.enter_context(process("canary", project, folder, variables)) for _ in range(count)
        ]
        bigquery = BigQuery(project, emulated=True, seconds=120)
        stack.callback(bigquery.close)
        log = BigQueryCompletionLog(bigquery, {phase.name: phase})
        log.setup()
        documents = FirestoreDocuments(project, seconds=60)
        stack.callback(documents.close)
        for one in running:
            one.wait_until_it_answers()
        yield Canaries(phase, running, gate, slack, documents, log, folder)


class Life:
    """Two dates that are stuck, from before the first run on them until they are forgotten."""

    def __init__(self, world: Canaries) -> None:
        self._world, self._phase = world, world.phase
        last = _FIRST + timedelta(days=_DAYS_BETWEEN * world.lives)
        world.lives += 1
        self.days = (last - timedelta(days=1), last)
        done = datetime(last.year, last.month, last.day, 6, 41, tzinfo=UTC) + timedelta(days=1)
        self.now = done + timedelta(minutes=40)
        self._begin(done)

    def _begin(self, done: datetime) -> None:
        """All five of each date complete, and nobody sets the flag."""
        for day in self.days:
            sent = completions(self._phase, day, done)
            self._world.documents.merge(self._ref(day), registered(sent))
            self._world.completion_log.append([completion_row(one) for one in sent], now=done)

    def set_flags(self) -> None:
        """Let somebody set the flags."""
        for day in self.days:
            self._world.documents.merge(
                self._ref(day), {"_triggered": True, "_triggered_at": self.now}
            )

    def pass_time(self) -> datetime:
        """Return when the next run is."""
        self.now += TICK
        return self.now - TICK

    def flaws(self, run: str, most: int) -> Iterator[str]:
        """Say which channel heard never, or over `most` times, what it should know by now."""
        kind = {"opens": "OPENED", "resolves": "RESOLVED"}.get(run)
        if kind is None:
            return
        heard = self._world.heard()
        for channel, day in product(("log", "slack"), self.days):
            count = heard.get((channel, kind, day), 0)
            self._world.told[count] += 1
            if not 1 <= count <= most:
                yield f"{day}: {channel} was told {kind} {count} times, at the most {most} expected"

    def flaws_at_the_end(self) -> Iterator[str]:
        """Say what else anybody was told, and what is still remembered as open."""
        for (channel, kind, day), count in self._world.heard().items():
            if day in self.days and kind not in {"OPENED", "RESOLVED"}:
                yield f"{day}: {channel} was told {kind} {count} times"
        for day in self.days:
            ref = month_ref(DEFAULT_CANARY, self._phase.name, f"{day:%Y-%m}")
            memory = read_date(self._world.documents.get_all([ref]).get(ref), day, self.now)
            if memory.open is not None:
                yield f"{day} is left as {memory.open}"

    def _ref(self, day: date) -> DocumentRef:
        return DocumentRef(self._phase.firestore_collection, str(day))


# A run that opens, one that finds it open, one that finds it quiet, one that resolves, and one
# after it.
RUNS = ("opens", "is open", "is quiet", "resolves", "is over")
# Those in which the process dies, in one life and in another, so that what a run leaves is there
# for the next one.
DEADLY = (("opens", "resolves"), ("is open", "is quiet", "is over"))


class Plan(NamedTuple):
    """How many runs come at once, and by run of a life the late answers and where one dies.

    A number in `dies` is that of the step at which one process of the run dies.
    """

    runs: int
    late: Mapping[str, int]
    dies: Mapping[str, int]


def plan_of(rng: random.Random, count: int, steps: int) -> Plan:
    """Draw what befalls one life."""
    late = {run: rng.choice([1, 1, 1, 2, 4]) for run in RUNS if rng.random() < _DISTURBED}
    return Plan(
        count, late, {run: rng.randint(1, steps) for run in RUNS if rng.random() < _DISTURBED}
    )


def at_once(world: Canaries, plan: Plan, rng: random.Random) -> list[str]:
    """Let so many runs come at once, and as many after those disturbed; return the flaws."""
    life, flaws = Life(world), list[str]()
    for run in RUNS:
        if run == "is quiet":
            life.set_flags()
        late = world.gate.late
        world.gate.due = plan.late.get(run, 0)
        ended = world.runs(life.pass_time(), rng, plan.runs, plan.dies.get(run, 0))
        world.gate.due = 0
        if disturbed := sum(one in {NO_MEMORY, DIED} for one in ended):
            after = world.runs(life.pass_time(), rng, plan.runs)
            flaws += (
                [f"{run}: the run after it ended {after}"]
                if plan.runs == 1 and after != [WELL]
                else []
            )
        may_be = {
            WELL,
            HELD,
            *([NO_MEMORY] if world.gate.late > late else []),
            *([DIED] if run in plan.dies else []),
        }
        if not may_be >= {*ended}:
            flaws.append(f"{run}: ended {ended}")
        flaws += life.flaws(run, 1 + disturbed)
    return [f"{plan}: {flaw}" for flaw in [*flaws, *life.flaws_at_the_end()]]


def dies_at(world: Canaries, step: int, deadly: Sequence[str]) -> tuple[bool, list[str]]:
    """Let the process of each `deadly` run of one life die at this step.

    Returns whether any did, and the flaws.
    """
    before = world.ended[DIED]
    flaws = at_once(world, Plan(1, {}, dict.fromkeys(deadly, step)), random.Random(step))
    return world.ended[DIED] > before, flaws


def watch(seed: int, lives: int) -> list[str]:
    """Let canaries die at each step and run two and five at once; return what went wrong."""
    phase = load_phase("phase2", BUNDLED_PHASES)
    rng = random.Random(f"{seed}/canaries")
    began = time.monotonic()
    flaws, last, most = list[str](), 0, MOST_AT_ONCE
    with (
        emulated(),
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        canaries(most, PROJECT, phase, Path(folder), seed) as world,
    ):
        for deadly in DEADLY:
            died, step = True, 0
            while died:
                step += 1
                died, found = dies_at(world, step, deadly)
                flaws += found
            last = max(last, step - 1)
        died_at = len(deaths(world.folder))
        print(
            f"{died_at} deaths, at each of up to {last} steps of a run; {world.summary()}",
            flush=True,
        )
        for number in range(lives):
            plan = plan_of(rng, (2, most)[number % 2], last)
            flaws += at_once(world, plan, rng)
        died_at = len(deaths(world.folder))
        print(
            f"{lives} times two or five at once: now {died_at} deaths, {world.gate.late} late "
            "answers"
        )
        print(world.summary())
    print(
        f"{time.monotonic() - began:.0f} s; not as promised: {len(flaws)}",
        *flaws,
        sep="\n",
        flush=True,
    )
    return flaws
