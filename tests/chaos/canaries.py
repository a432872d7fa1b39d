"""Canaries that are killed at each step, and several at once while Firestore answers late; and what people heard.

Each life is that of two dates that have been stuck for 40 minutes: somebody sets their flags, and then they are well.
Real processes of the function run over them every 15 minutes of a simulated time. The runs that come at once go to any
of the processes, so that two of them may be threads of one. Deadlines are scaled down, and so is how late an answer is.
"""

import json
import os
import random
import re
import signal
import socket
import sys
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
from typing import Any

import requests

from canary.domain.incident import OPEN_INCIDENTS, incident_ref, open_refs, read_incident
from orchestrator_resilience import Phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import Progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import push_envelope
from tests.gate import Gate
from tests.listener import FakeWebhook, fake_webhook
from tests.outages.harness import SCALE
from tools.emulators import Server, free_port, server

SERVED = Path(__file__).with_name("served_canary.py")
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
# How a run ends: well, after another one that was about to tell, without what it had to read or write, or never.
WELL, HELD, NO_MEMORY, DIED = "well", "held", "without memory", "died"
Heard = Mapping[tuple[str, str, date], int]


class LateGate(Gate):
    """Passes on all that it gets, and as many answers late as are `due`, which `rng` picks."""

    def __init__(self, target: str, rng: random.Random) -> None:
        super().__init__(target)
        self._rng, self.due, self.late = rng, 0, 0

    def _pass(
        self, data: bytes, source: socket.socket, target: socket.socket, *, is_answer: bool, dead: threading.Event
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
        headers = {"X-Now": now.isoformat(), "X-Dies": str(dies)}
        try:
            answer = requests.post(f"http://{self.running[process].address}/", headers=headers, timeout=_POST_SECONDS)
        except requests.RequestException:
            return DIED
        found = answer.json()
        if found.get("without_memory") or any(one["unreadable"] for one in found.get("verdicts", [])):
            return NO_MEMORY
        if answer.status_code == HTTPStatus.OK:
            return WELL
        return HELD if "another run was about to tell" in found["reason"] else str(found["reason"])

    def runs(self, now: datetime, rng: random.Random | None = None, count: int = 1, dies: int = 0) -> list[str]:
        """Do so many runs that begin at the same moment, the first of which dies at the step `dies` of its process."""
        drawn = [rng.randrange(len(self.running)) if rng else 0 for _ in range(count)]
        together = Barrier(count)

        def one(number: int) -> str:
            together.wait(10)
            return self.run(now + number * timedelta(milliseconds=7), 0 if number else dies, drawn[number])

        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(one, range(count)))
        self.ended.update(answers)
        return answers

    def deaths(self) -> list[str]:
        """Return the steps at which processes died, with their numbers."""
        return [path.read_text("utf-8") for path in self.folder.glob("death-*")]

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
                (kind for kind in ("RESOLVED", "CHANGED", "REMINDER") if kind.lower() in line.lower()), "OPENED"
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
        environment = {
            "GOOGLE_CLOUD_PROJECT": project,
            "FIRESTORE_EMULATOR_HOST": gate.address,
            "K_SERVICE": "canary",
            "SLACK_WEBHOOK_URL": slack.url,
            "PYTHONPATH": str(SERVED.parents[2]),
            "CANARY_DEATHS": str(folder),
            "GRPC_VERBOSITY": "NONE",
        }
        running = [stack.enter_context(_process(environment)) for _ in range(count)]
        bigquery = BigQuery(project, emulated=True, seconds=120)
        stack.callback(bigquery.close)
        log = BigQueryCompletionLog(bigquery, {phase.name: phase})
        log.setup()
        documents = FirestoreDocuments(project, seconds=60)
        stack.callback(documents.close)
        for one in running:
            one.wait_until_it_answers()
        yield Canaries(phase, running, gate, slack, documents, log, folder)


@contextmanager
def _process(environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("functions-framework")), "--host", "127.0.0.1", "--port", str(port)),
        *("--source", str(SERVED), "--target", "canary"),
    ]
    with server("canary", port, command, environment, stop=signal.SIGKILL) as running:
        yield running


class Life:
    """Two dates that are stuck, from before the first run on them until they are well and forgotten."""

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
        rows = []
        for day in self.days:
            fields: dict[str, Any] = {}
            for number, name in enumerate(sorted(self._phase.expected)):
                event = push_envelope(name, str(day), done, message_id=f"{day}-{number}")
                completion = Completion.from_event(event, self._phase)
                fields |= registration_fields(Progress(self._phase.expected), completion, done)
                rows.append(completion_row(completion))
            self._world.documents.merge(self._ref(day), fields)
        self._world.completion_log.append(rows, now=done)

    def set_flags(self) -> None:
        """Let somebody set the flags."""
        for day in self.days:
            self._world.documents.merge(self._ref(day), {"_triggered": True, "_triggered_at": self.now})

    def pass_time(self) -> datetime:
        """Return when the next run is."""
        self.now += TICK
        return self.now - TICK

    def flaws(self, run: str, most: int) -> Iterator[str]:
        """Say which channel was told never, or more often than `most`, what it has to know after this run."""
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
        refs = [incident_ref(self._phase.name, day) for day in self.days]
        documents = self._world.documents.get_all([OPEN_INCIDENTS, *refs])
        for ref in refs:
            incident = read_incident(documents.get(ref))
            if incident is None or not incident.resolved or incident.claim:
                yield f"{ref.id} is left as {incident}"
        if listed := set(open_refs(documents.get(OPEN_INCIDENTS))) & {*refs}:
            yield f"listed as open: {sorted(ref.id for ref in listed)}"

    def _ref(self, day: date) -> DocumentRef:
        return DocumentRef(self._phase.firestore_collection, str(day))


# A run that opens, one that finds it open, one that finds it quiet, one that resolves, and one after it.
RUNS = ("opens", "is open", "is quiet", "resolves", "is over")
# Those in which the process dies, in one life and in another, so that what a run leaves is there for the next one.
DEADLY = (("opens", "resolves"), ("is open", "is quiet", "is over"))


def dies_at(world: Canaries, step: int, deadly: Sequence[str]) -> tuple[bool, list[str]]:
    """Let the process of each `deadly` run die at this step; whether any did, and what was not as promised."""
    life, flaws, died = Life(world), list[str](), False
    for run in RUNS:
        if run == "is quiet":
            life.set_flags()
        is_dead = world.runs(life.pass_time(), dies=step if run in deadly else 0) == [DIED]
        if is_dead and world.runs(life.pass_time()) != [WELL]:
            flaws.append("the run after it did not end well")
        flaws += life.flaws(run, 1 + is_dead)
        died |= is_dead
    return died, [f"step {step} of {deadly}: {flaw}" for flaw in [*flaws, *life.flaws_at_the_end()]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many runs come at once; by run of a life, how many answers are late, and at which step one process dies."""

    count: int
    late: Mapping[str, int]
    dies: Mapping[str, int]


def plan_of(rng: random.Random, count: int, steps: int) -> Plan:
    """Draw what befalls one life."""
    late = {run: rng.choice([1, 1, 1, 2, 4]) for run in RUNS if rng.random() < _DISTURBED}
    return Plan(count, late, {run: rng.randint(1, steps) for run in RUNS if rng.random() < _DISTURBED})


def at_once(world: Canaries, plan: Plan, rng: random.Random) -> list[str]:
    """Let so many runs come at once, and after those that were disturbed as many that are not; return the flaws."""
    life, flaws = Life(world), list[str]()
    for run in RUNS:
        if run == "is quiet":
            life.set_flags()
        late = world.gate.late
        world.gate.due = plan.late.get(run, 0)
        ended = world.runs(life.pass_time(), rng, plan.count, plan.dies.get(run, 0))
        world.gate.due = 0
        if disturbed := sum(one in {NO_MEMORY, DIED} for one in ended):
            world.runs(life.pass_time(), rng, plan.count)
        may_be = {WELL, HELD, *([NO_MEMORY] if world.gate.late > late else []), *([DIED] if run in plan.dies else [])}
        if not may_be >= {*ended}:
            flaws.append(f"{run}: ended {ended}")
        flaws += life.flaws(run, 1 + disturbed)
    return [f"{plan}: {flaw}" for flaw in [*flaws, *life.flaws_at_the_end()]]
