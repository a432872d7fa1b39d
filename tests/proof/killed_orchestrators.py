"""Instances of the orchestrator that are killed, and messages until all are acknowledged.

Each instance has as many threads as it is deployed with, and as many deliveries at once. Messages
are posted as a push subscription posts them: 2xx acknowledges, anything else brings the message
back, after a pause. Some that are acknowledged are posted again all the same. The draws are the
seed's; which deliveries meet is the machine's.
"""

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import requests

from canary.domain.verdict import VerdictKind, judge
from canary.sources import gather
from orchestrator_resilience import Phase, load_phase
from orchestrator_resilience.phase import BUNDLED_PHASES, COMPLETING_STATUSES
from orchestrator_resilience.progress import document_id, read_progress
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.bigquery import BigQueryCompletionLog
from orchestrator_resilience.stores.opening import open_stores
from orchestrator_resilience.testing import push_envelope
from tests.proof.processes import deaths, emulated, process
from tools.emulators import PROJECT, Server
from tools.functions import THREADS

_OPERATIONS = ("get_all", "merge", "update_if_unchanged", "append")
STEPS = [f"{when} {operation}" for operation in _OPERATIONS for when in ("before", "after")]
_LAST_DATE = date(2026, 2, 9)
_COMPLETE = 0.8  # of the dates
_UNEXPECTED = ("p2_bdl_box_scores", "P2Unheard", "p3_player_game_summary")
_NOT_COMPLETING = ("no_data", "failed", "skipped")
_PULLED, _POST_SECONDS = 48, 40.0
_POSTED_AGAIN = 0.05  # of what was acknowledged


class Message(NamedTuple):
    """One message that is published."""

    processor: str
    game_date: date
    status: str


class Plan(NamedTuple):
    """The messages that are published, and the expected processors of each date that complete."""

    messages: Sequence[Message]
    completing: Mapping[date, frozenset[str]]

    def is_complete(self, day: date, phase: Phase) -> bool:
        """Whether the flag has to be set."""
        return self.completing[day] == phase.expected


def plan_of(rng: random.Random, phase: Phase, dates: int, messages: int) -> Plan:
    """Draw a plan: four of five dates complete, the other messages completing nothing."""
    days = [_LAST_DATE - timedelta(days=n) for n in range(dates)]
    five = sorted(phase.expected)
    completing = {
        day: frozenset(
            five if rng.random() < _COMPLETE else rng.sample(five, rng.randint(1, len(five) - 1))
        )
        for day in days
    }
    sent = [
        Message(_name(rng, phase, name), day, "success")
        for day in days
        for name in sorted(completing[day])
    ]
    sent += [
        _other(rng, phase, day, sorted(completing[day]))
        for day in rng.choices(days, k=messages - len(sent))
    ]
    rng.shuffle(sent)
    return Plan(sent, completing)


def _name(rng: random.Random, phase: Phase, processor: str) -> str:
    return rng.choice([processor, *phase.processors[processor]])


def _other(rng: random.Random, phase: Phase, day: date, completing: Sequence[str]) -> Message:
    kind = rng.random()
    if kind < 0.6:  # a re-run
        return Message(
            _name(rng, phase, rng.choice(completing)), day, rng.choice(COMPLETING_STATUSES)
        )
    if kind < 0.9:  # anybody may report that it did not complete
        return Message(
            _name(rng, phase, rng.choice(sorted(phase.expected))), day, rng.choice(_NOT_COMPLETING)
        )
    return Message(rng.choice(_UNEXPECTED), day, "success")


@dataclass
class Chaos:
    """What is put in the way, and what came of it."""

    seed: int
    instances: int = 2
    deaths: int = 16
    seconds_between_kills: float = 2.0
    kills: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def run(chaos: Chaos, plan: Plan, project: str, folder: Path) -> None:
    """Deliver everything of a plan, until all of it is acknowledged.

    Raises AssertionError where that has no end.
    """
    rng, now, steps = random.Random(chaos.seed), datetime.now(UTC), cycle(STEPS)
    waiting = [
        push_envelope(
            one.processor, str(one.game_date), now, message_id=str(number), status=one.status
        )
        for number, one in enumerate(plan.messages)
    ]
    dying = chaos.deaths / len(waiting)
    with ExitStack() as stack:
        running = [
            stack.enter_context(process("orchestrator", project, folder))
            for _ in range(chaos.instances)
        ]
        for one in running:
            one.wait_until_it_answers()
        stack.enter_context(_killing(chaos, running))
        threads = stack.enter_context(ThreadPoolExecutor(THREADS * chaos.instances))
        while waiting:
            assert chaos.answers.total() < 3 * len(plan.messages) + 500, (
                f"{len(waiting)} messages are never acknowledged"
            )
            rng.shuffle(waiting)
            pulled, waiting = waiting[:_PULLED], waiting[_PULLED:]
            drawn = [
                (
                    rng.choice(running).address,
                    next(steps) if rng.random() < dying else "",
                    rng.random() < _POSTED_AGAIN,
                )
                for _ in pulled
            ]
            answers = list(threads.map(_deliver, pulled, drawn))
            chaos.answers.update(answer for each in answers for answer in each)
            waiting += [
                one for one, each in zip(pulled, answers, strict=True) if {*each} != {"204"}
            ]


def _deliver(envelope: Mapping[str, Any], drawn: tuple[str, str, bool]) -> list[str]:
    """Post as a push subscription does, once more after a success; return the answers."""
    address, dies, again = drawn
    answers = list[str]()
    while not answers or (again and answers == ["204"]):
        try:
            headers = {"X-Dies": dies} if dies else {}
            answer = requests.post(
                f"http://{address}/", json=envelope, headers=headers, timeout=_POST_SECONDS
            )
            answers.append(str(answer.status_code))
        except requests.RequestException as error:
            answers.append(type(error).__name__)
            time.sleep(0.2)  # the process is being started again
    return answers


@contextmanager
def _killing(chaos: Chaos, running: list[Server]) -> Iterator[None]:
    """Kill the process of an instance now and then; its parent starts another."""
    rng, over = random.Random(f"{chaos.seed}/kills"), Event()

    def kill() -> None:
        while not over.wait(rng.uniform(0.5, 1.5) * chaos.seconds_between_kills):
            parent = rng.choice(running).process.pid
            for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text("utf-8").split():
                with suppress(ProcessLookupError):  # its own death was quicker
                    os.kill(int(pid), signal.SIGKILL)
                    chaos.kills += 1

    thread = Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wrong(plan: Plan, phase: Phase) -> list[str]:
    """Say what is wrong in the documents, in the completion log and in the canary's verdicts."""
    stores: Any = open_stores(Settings.from_env(), {phase.name: phase})
    try:
        return [
            *_wrong_documents(plan, phase, stores),
            *_wrong_rows(plan, phase, stores),
            *_wrong_verdicts(plan, phase, stores),
        ]
    finally:
        stores.close()


def _wrong_documents(plan: Plan, phase: Phase, stores: Any) -> Iterator[str]:
    refs = {
        day: DocumentRef(phase.firestore_collection, document_id(day)) for day in plan.completing
    }
    documents = stores.documents.get_all(refs.values())
    for day, ref in refs.items():
        progress = read_progress(documents[ref].fields if ref in documents else {}, phase)
        yield from _differences(day, "the document", plan.completing[day], progress.completed)
        if (progress.trigger is not None) != plan.is_complete(day, phase):
            yield f"{day}: the flag is {progress.trigger}, of {sorted(progress.completed)}"


def _wrong_rows(plan: Plan, phase: Phase, stores: Any) -> Iterator[str]:
    table = phase.bigquery_table
    query = f"SELECT DISTINCT game_date, processor_name, event_id, is_triggered FROM {table}"  # noqa: S608 (ours)
    # the distinct rows, which no store has a use for
    rows = stores.counts._bigquery.query(query, [])
    for day, expected in plan.completing.items():
        own = [row for row in rows if row["game_date"] == day]
        yield from _differences(
            day, "the completion log", expected, {row["processor_name"] for row in own}
        )
        flags = [row["event_id"] for row in own if row["is_triggered"]]
        if len(flags) != plan.is_complete(day, phase):
            yield f"{day}: flags in the completion log: {flags}"


def _differences(
    day: date, place: str, expected: frozenset[str], names: set[str] | frozenset[str]
) -> Iterator[str]:
    if lost := expected - names:
        yield f"{day}: lost in {place}: {sorted(lost)}"
    if extra := names - expected:
        yield f"{day}: in {place}, and never completed: {sorted(extra)}"


def _wrong_verdicts(plan: Plan, phase: Phase, stores: Any) -> Iterator[str]:
    now = datetime.now(UTC) + timedelta(hours=1)
    for evidence in gather(
        stores, {phase.name: sorted(plan.completing)}, {phase.name: phase}
    ).evidence:
        right = (
            VerdictKind.TRIGGERED
            if plan.is_complete(evidence.game_date, phase)
            else VerdictKind.INCOMPLETE
        )
        verdict = judge(evidence, phase, now)
        if verdict.kind is not right:
            yield f"{evidence.game_date}: {verdict.kind} instead of {right}: {verdict.summary}"


def deliver(seed: int, dates: int, messages: int) -> list[str]:
    """Deliver a plan's messages; return what is lost, there twice or unfounded at the end."""
    phase = load_phase("phase2", BUNDLED_PHASES)
    plan = plan_of(random.Random(seed), phase, dates, messages)
    chaos, began = Chaos(seed, instances=3, deaths=200, seconds_between_kills=4.0), time.monotonic()
    with emulated() as bigquery, tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        BigQueryCompletionLog(bigquery, {phase.name: phase}).setup()
        run(chaos, plan, PROJECT, Path(folder))
        flaws, died = wrong(plan, phase), Counter(deaths(Path(folder)))
    complete = sum(plan.is_complete(day, phase) for day in plan.completing)
    print(
        f"{messages} messages, {chaos.answers.total()} deliveries, {time.monotonic() - began:.0f} s"
    )
    print(f"answers: {dict(chaos.answers)}")
    print(
        f"deaths at a step: {died.total()}, at random: {chaos.kills}; {dict(sorted(died.items()))}"
    )
    print(
        f"{complete} complete dates of {dates}; wrong: {len(flaws)}", *flaws, sep="\n", flush=True
    )
    return flaws
