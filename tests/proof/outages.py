"""One outage after another at a gate between the real client libraries and their real servers.

Each time a date has been stuck for 40 minutes, and another one is well. A run and a delivery happen
during the outage; then it is over, the runs go on, and somebody sets the flag. All deadlines are
scaled down, the code's own included.
"""

import io
import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import combinations, product
from pathlib import Path
from threading import active_count
from typing import Any
from unittest.mock import patch

from google.auth.compute_engine import _metadata

import canary.memory
import canary.run
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels
from canary.notify.heartbeat import Heartbeat
from canary.notify.incidents import Notified
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine
from canary.notify.slack import SlackChannel
from canary.page.board import BOARD_DATES, board
from canary.page.render import as_html
from canary.run import overview, watch
from canary.sources import gather, read_traces
from orchestrator_resilience import CheckpointLogger, Phase, load_phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import DeliveryError
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.progress import read_progress, trigger_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive
from orchestrator_resilience.stores.firestore import FirestoreDocuments
from orchestrator_resilience.testing import push_envelope
from tests.contracts.logging_server import LoggingServer
from tests.proof.bad_servers import KINDS, call_all, threads, trusted
from tests.proof.dates import completions, registered
from tests.proof.doubles import StoresOf
from tests.proof.gate import Failure, Gate, gate
from tests.proof.listener import FakeWebhook, fake_webhook
from tests.proof.metadata import metadata_server
from tests.proof.processes import emulated
from tools.emulators import PROJECT

WELL, STUCK = date(2026, 2, 9), date(2026, 2, 10)
DONE = datetime(2026, 2, 11, 6, 41, tzinfo=UTC)
NOW = DONE + timedelta(minutes=40)
TICK = timedelta(minutes=15)

# Of 35 s to read the sources, 15 for checkpoints, 20 to remember incidents, 10 for Slack, 5 for the
# heartbeat, 20 for a row and 10 for Firestore.
SCALE = 0.25
LIMIT_SECONDS = (35 + 15 + 20 + 10 + 10 + 5) * SCALE + 3.0
DELIVERY_SECONDS = (20 + 2 * 10) * SCALE + 3.0
PAGE_SECONDS = 2 * 12 * SCALE + 3.0
SERVERS = ("firestore", "bigquery", "logging", "metadata", "slack", "heartbeat")
Outage = Mapping[str, Failure]
_REPEATS, _MORE_THREADS, _MORE_DESCRIPTORS = 50, 8, 20
_CALLS, _LATE_SECONDS, _MORE_MEGABYTES = 1_000, 2.0, 30
# A post of which the answer was lost has been read all the same, and is sent again.
_MAY_REPEAT = set(Failure) - {Failure.REFUSES}


@dataclass
class Servers:
    """The gates in front of the servers, and what behind them tells what came through."""

    gates: dict[str, Gate]
    logging: LoggingServer
    slack: FakeWebhook
    heartbeat: FakeWebhook
    project: str
    straight_log: BigQueryCompletionLog
    straight: Mapping[str, str]
    phase: Phase
    number: int = 0
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    @contextmanager
    def straight_to(self) -> Iterator[None]:
        """Let clients that are made now bypass the gates."""
        with patch.dict(os.environ, self.straight):
            yield


@contextmanager
def servers(emulated: Mapping[str, str], project: str, phase: Phase) -> Iterator[Servers]:
    """Put the gates in front of the servers, and make the tables, with the rows of both dates."""
    hosts = {"firestore": "FIRESTORE_EMULATOR_HOST", "bigquery": "BIGQUERY_EMULATOR_HOST"}
    # `emulated` may be what is patched here
    direct = {variable: emulated[variable] for variable in hosts.values()}
    with ExitStack() as stack:
        slack = stack.enter_context(fake_webhook("/services/T0/B0/secret"))
        heartbeat = stack.enter_context(fake_webhook("/ping/secret"))
        behind = {
            name: direct[variable].removeprefix("http://") for name, variable in hosts.items()
        }
        behind |= {"slack": _host(slack), "heartbeat": _host(heartbeat)}
        logging = stack.enter_context(LoggingServer(project))
        behind |= {"logging": logging.address, "metadata": stack.enter_context(metadata_server())}
        gates = {name: stack.enter_context(gate(target)) for name, target in behind.items()}
        for name, variable in hosts.items():
            prefix = "http://" if direct[variable].startswith("http://") else ""
            stack.enter_context(patch.dict(os.environ, {variable: prefix + gates[name].address}))
        stack.enter_context(_on_cloud_run(gates["metadata"].address))
        straight = BigQuery(project, emulated=True, seconds=120)
        log = BigQueryCompletionLog(straight, {phase.name: phase})
        found = Servers(gates, logging, slack, heartbeat, project, log, direct, phase)
        with found.straight_to():
            log.setup()
            for day in (WELL, STUCK):
                log.append([completion_row(one) for one in _completions(day, phase)], now=DONE)
        yield found
        straight.close()


@contextmanager
def _on_cloud_run(metadata: str) -> Iterator[None]:
    """Let Google's clients start with this metadata server, and without other credentials."""
    with tempfile.TemporaryDirectory() as empty:
        variables = {
            "GCE_METADATA_IP": metadata,
            "CLOUDSDK_CONFIG": empty,
            "GOOGLE_APPLICATION_CREDENTIALS": "",
        }
        with (
            patch.dict(os.environ, variables),
            patch.object(_metadata, "_GCE_METADATA_HOST", metadata),
        ):
            yield


def _host(webhook: FakeWebhook) -> str:
    return webhook.url.removeprefix("http://").partition("/")[0]


def _completions(day: date, phase: Phase) -> list[Completion]:
    return completions(phase, day, DONE - (STUCK - day))


def play(world: Servers, outage: Outage, *, cold: bool = False) -> list[str]:
    """Let `outage` befall a run, a look at the page, and a delivery; return what went wrong.

    Unless it is `cold`, every connection has been used before.
    """
    world.number += 1
    with scaled(), ExitStack() as stack:
        name = f"outage-{uuid.uuid4().hex[:12]}"
        with world.straight_to():
            straight = FirestoreDocuments(name, seconds=60)
            _write(straight, world.phase)
        # with the token of the metadata server
        bigquery = BigQuery(world.project, seconds=20 * SCALE)
        stack.callback(bigquery.close)
        documents = FirestoreDocuments(name, seconds=10 * SCALE)
        archive = CloudLoggingArchive(
            world.project,
            seconds=15 * SCALE,
            connect=lambda: world.logging.transport(world.gates["logging"].address),
        )
        log = BigQueryCompletionLog(bigquery, {world.phase.name: world.phase})
        stores = StoresOf(documents, log, archive, closing=[documents, archive])
        stack.callback(stores.close)
        stack.callback(straight.close)
        scenario = _Scenario(world, outage, stores, straight)
        try:
            if not cold:
                scenario.connect()
            return [*scenario.during(), *scenario.after()]
        finally:
            scenario.end()


def _write(documents: FirestoreDocuments, phase: Phase) -> None:
    """Register both dates; the one that is well has its flag."""
    for day in (WELL, STUCK):
        fields = registered(_completions(day, phase))
        if day == WELL:
            fields |= trigger_fields(read_progress(fields, phase), event_id="x", now=DONE)
        documents.merge(_ref(day, phase), fields)


def _ref(day: date, phase: Phase) -> DocumentRef:
    return DocumentRef(phase.firestore_collection, str(day))


@contextmanager
def scaled() -> Iterator[None]:
    """Scale the deadlines of a run."""
    with (
        patch.object(canary.run, "gather", _sooner(gather)),
        patch.object(canary.run, "read_traces", _sooner(read_traces)),
        patch.object(canary.memory, "MEMORY_SECONDS", canary.memory.MEMORY_SECONDS * SCALE),
    ):
        yield


def _sooner(read: Callable[..., Any]) -> Callable[..., Any]:
    def scaled(*args: Any, seconds: float, **how: Any) -> Any:
        return read(*args, seconds=seconds * SCALE, **how)

    return scaled


class _Scenario:
    def __init__(
        self, world: Servers, outage: Outage, stores: StoresOf, straight: FirestoreDocuments
    ) -> None:
        self._world, self._outage, self._stores, self._straight = world, outage, stores, straight
        gates, phase = world.gates, world.phase
        self._log = io.StringIO()
        url = f"http://{gates['slack'].address}/services/T0/B0/secret"
        slack = SlackChannel(url, {phase.name: phase}, seconds=10 * SCALE)
        self._channels = Channels(LogChannel({phase.name: phase}, stream=self._log), slack)
        self._heartbeat = Heartbeat(
            f"http://{gates['heartbeat'].address}/ping/secret", seconds=5 * SCALE
        )
        self._posted = len(world.slack.accepted)
        self._orchestrator = Orchestrator(
            phase,
            stores.documents,
            stores.completion_log,
            CheckpointLogger(phase, lambda _: None),
            append_seconds=20 * SCALE,
        )
        # Of an old date of its own, which no run looks at.
        self._arriving = WELL - timedelta(days=30 + world.number)
        self._message = push_envelope(
            min(phase.expected), str(self._arriving), DONE, message_id=str(world.number)
        )

    def _fail(self, outage: Outage) -> None:
        for name, one in self._world.gates.items():
            one.failure = outage.get(name)

    def _run(self, number: int) -> tuple[dict[date, Verdict], float]:
        began = time.monotonic()
        phases = {self._world.phase.name: self._world.phase}
        report = watch(self._stores, phases, self._channels, NOW + number * TICK)
        self._heartbeat.beat()
        return {one.game_date: one for one in report.verdicts}, time.monotonic() - began

    def during(self) -> Iterator[str]:
        """Run once, look at the page, and deliver once while the outage lasts."""
        self._fail(self._outage)
        verdicts, seconds = self._run(1)
        if seconds > LIMIT_SECONDS:
            yield f"the run took {seconds:.1f} s"
        yield from _guessed(verdicts)
        yield from self._page()
        began = time.monotonic()
        try:
            self._orchestrator.deliver(self._message)
            self._acknowledged = True
        except DeliveryError:
            self._acknowledged = False
        if time.monotonic() - began > DELIVERY_SECONDS:
            yield f"the delivery took {time.monotonic() - began:.1f} s"

    def _page(self) -> Iterator[str]:
        """Look at the page as the function draws it."""
        phases, began = {self._world.phase.name: self._world.phase}, time.monotonic()
        found = overview(self._stores, phases, NOW + TICK, BOARD_DATES, seconds=12 * SCALE)
        drawn = as_html(board(found, phases, None, CommandLine(), lambda *_: None))
        if (seconds := time.monotonic() - began) > PAGE_SECONDS:
            yield f"the page took {seconds:.1f} s"
        if not all(f'datetime="{day}"' in drawn or str(day) in drawn for day in (WELL, STUCK)):
            yield "the page does not show both dates"
        yield from _guessed({one.game_date: one for one in found.report.verdicts})

    def connect(self) -> None:
        """Open every connection, while nobody is told of anything yet."""
        with patch.object(canary.run, "notify_channels", lambda *_, **__: Notified()):
            self._run(0)

    def after(self) -> Iterator[str]:
        """Run on when the outage is over, and let somebody set the flag."""
        self._fail({})
        if not self._acknowledged:
            try:
                self._orchestrator.deliver(self._message)
            except DeliveryError as error:
                yield f"what was delivered again failed: {error}"
        verdicts, _ = self._run(2)
        if {day: one.kind for day, one in verdicts.items()}.get(
            STUCK
        ) is not VerdictKind.UNTRIGGERED:
            yield f"the next run said {verdicts[STUCK].kind}: {verdicts[STUCK].summary}"
        if verdicts[WELL].kind is not VerdictKind.TRIGGERED:
            yield f"the next run said {verdicts[WELL].kind} of the date that is well"
        yield from self._arrived()
        self._straight.merge(
            _ref(STUCK, self._world.phase), {"_triggered": True, "_triggered_at": NOW}
        )
        for number in (3, 4):
            self._run(number)
        yield from self._heard()

    def _arrived(self) -> Iterator[str]:
        """Look whether what was delivered stands in both stores."""
        ref = _ref(self._arriving, self._world.phase)
        document = self._straight.get_all([ref]).get(ref)
        fields = document.fields if document else {}
        if len(read_progress(fields, self._world.phase).registered) != 1:
            yield "a delivery that was acknowledged is not registered"
        if not self._world.straight_log.summarise(
            [self._world.phase.name], self._arriving, self._arriving
        ):
            yield "a delivery that was acknowledged has no row"

    def _heard(self) -> Iterator[str]:
        entries = [json.loads(line) for line in self._log.getvalue().splitlines()]
        alerts = [one["canary_alert"] for one in entries if one.get("game_date") == str(STUCK)]
        if alerts != ["OPENED", "RESOLVED"]:
            yield f"the log was told {alerts}"
        others = {one.get("game_date") for one in entries if "canary_alert" in one} - {str(STUCK)}
        if others:
            yield f"the log was told of {others}"
        posts = [
            one["text"]
            for one in self._world.slack.accepted[self._posted :]
            if str(STUCK) in one["text"]
        ]
        over = sum("RESOLVED" in text for text in posts)
        for kind, count in (("OPENED", len(posts) - over), ("RESOLVED", over)):
            most = 2 if kind == "OPENED" and self._outage.get("slack") in _MAY_REPEAT else 1
            if not 1 <= count <= most:
                yield f"Slack was told {kind} {count} times"

    def end(self) -> None:
        """Note what is left behind."""
        self._fail({})
        self._world.threads.append(active_count())
        self._world.descriptors.append(len([*Path("/proc/self/fd").iterdir()]))


def _guessed(verdicts: Mapping[date, Verdict]) -> Iterator[str]:
    """Say which verdict was given without having been read."""
    right = {WELL: VerdictKind.TRIGGERED, STUCK: VerdictKind.UNTRIGGERED}
    for day, kind in right.items():
        if verdicts[day].kind not in {kind, VerdictKind.UNKNOWN}:
            yield f"{verdicts[day].kind} was said of {day}: {verdicts[day].summary}"


def outages(rng: random.Random, pairs: int) -> Iterator[Outage]:
    """Yield every single one, and then pairs of two servers' failures."""
    for name, failure in product(SERVERS, Failure):
        yield {name: failure}
    every = [
        {one: here, other: there}
        for one, other in combinations(SERVERS, 2)
        for here, there in product(Failure, Failure)
    ]
    yield from rng.sample(every, min(pairs, len(every)))


def play_all(seed: int, pairs: int) -> int:
    """Play all, those of one server also for an instance that starts in it; return the failures."""
    with (
        emulated() as bigquery,
        servers(os.environ, PROJECT, load_phase("phase2", BUNDLED_PHASES)) as world,
    ):
        del bigquery
        began, wrong = time.monotonic(), 0
        for number, outage in enumerate(outages(random.Random(seed), pairs), 1):
            for cold in (False, True)[: 3 - len(outage)]:
                flaws = play(world, outage, cold=cold)
                text = (
                    " and ".join(f"{name} {failure}" for name, failure in outage.items())
                    + ", cold" * cold
                )
                print(f"{number:4} {text:50} {'; '.join(flaws) or 'as promised'}", flush=True)
                wrong += bool(flaws)
        print(
            f"{number} outages in {time.monotonic() - began:.0f} s; {wrong} not as promised",
            flush=True,
        )
        return wrong + _left_behind(world) + call_bad_servers(seed)


def call_bad_servers(seed: int) -> int:
    """Call servers that do not answer properly; return whether one was late or left something."""
    with tempfile.TemporaryDirectory() as folder, trusted(Path(folder)) as context:
        call_all(KINDS, context)
        before, figures = threads(), call_all(random.Random(seed).choices(KINDS, k=_CALLS), context)
    shown = (
        f"the longest {figures.longest:.2f} s, threads {before} to {figures.threads}, "
        f"{figures.megabytes:+.1f} MB"
    )
    print(f"{_CALLS} calls of 50 ms: {shown}", flush=True)
    # The thread of a look-up that has answered may be about to end.
    return (
        figures.longest > _LATE_SECONDS
        or figures.threads > before + 1
        or figures.megabytes > _MORE_MEGABYTES
    )


def _left_behind(world: Servers) -> int:
    """Repeat an outage of everything; return whether threads or descriptors are left behind."""
    first = len(world.threads)
    for _ in range(_REPEATS):
        play(world, dict.fromkeys(SERVERS, Failure.HANGS))
    threads, descriptors = world.threads[first:], world.descriptors[first:]
    shown = (
        f"threads {threads[4]} to {threads[-1]}, descriptors {descriptors[4]} to {descriptors[-1]}"
    )
    print(f"{_REPEATS} repeats: {shown}")
    return (
        max(threads[5:]) - threads[4] > _MORE_THREADS
        or max(descriptors[5:]) - descriptors[4] > _MORE_DESCRIPTORS
    )
