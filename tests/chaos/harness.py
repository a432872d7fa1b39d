"""Instances of the orchestrator that are killed, a topic that delivers until all is acknowledged, and what is left.

Pub/Sub's emulator stops pushing to an endpoint that has failed for a while, as the real one does not. So the messages
are pulled here and posted to the instances as a push subscription posts them: 2xx acknowledges, anything else brings
the message back, after a pause. Some that are acknowledged are posted again all the same.
"""

import base64
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import msgspec
import requests
from google.api_core.exceptions import DeadlineExceeded
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from canary.domain.verdict import VerdictKind, judge
from canary.sources import gather
from orchestrator_resilience import Phase
from orchestrator_resilience.progress import document_id, read_progress
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.cloud import CloudStores
from orchestrator_resilience.stores.opening import open_stores
from tests.chaos.plan import Message, Plan
from tools.emulators import Server, free_port, server

SERVED = Path(__file__).with_name("served.py")
AT_ONCE = 8
_PULLED = 48
_POST_SECONDS = 40.0
_POSTED_AGAIN = 0.05  # of what was acknowledged


@dataclass
class Chaos:
    """What is put in the way."""

    seed: int
    instances: int = 2
    deaths: int = 16
    seconds_between_kills: float = 2.0
    kills: int = field(default=0, init=False)
    deliveries: int = field(default=0, init=False)
    answers: Counter[str] = field(default_factory=Counter, init=False)


def run(chaos: Chaos, plan: Plan, project: str, folder: Path) -> None:
    """Deliver everything of a plan, until all of it is acknowledged; raises AssertionError where that has no end."""
    rng = random.Random(chaos.seed)
    with ExitStack() as stack:
        running = [stack.enter_context(_instance(chaos, project, folder)) for _ in range(chaos.instances)]
        for one in running:
            one.wait_until_it_answers()
        topic = stack.enter_context(_topic(project))
        topic.publish(plan.messages)
        stack.enter_context(_killing(chaos, running))
        _deliver_all(chaos, topic, [one.address for one in running], len(plan.messages), rng)


@contextmanager
def _instance(chaos: Chaos, project: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("functions-framework")), "--host", "127.0.0.1", "--port", str(port)),
        *("--source", str(SERVED), "--target", "orchestrate"),
    ]
    environment = {
        "GOOGLE_CLOUD_PROJECT": project,
        "K_SERVICE": "under-chaos",
        "PYTHONPATH": str(SERVED.parents[2]),
        "CHAOS_FOLDER": str(folder),
        "CHAOS_DEATHS": str(chaos.deaths),
        "CHAOS_SEED": str(chaos.seed),
    }
    with server("chaos", port, command, environment, stop=signal.SIGKILL) as running:
        yield running


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


class _Topic:
    """A topic, and its subscription that is pulled."""

    def __init__(self, publisher: Any, subscriber: Any, project: str) -> None:
        self._publisher, self._subscriber = publisher, subscriber
        self.topic = publisher.topic_path(project, "nba-phase2-raw-complete")
        self.subscription = subscriber.subscription_path(project, "orchestrator")

    def publish(self, messages: tuple[Message, ...]) -> None:
        """Publish all, in this order."""
        sent = []
        for message in messages:
            body = {
                "processor_name": message.processor,
                "game_date": str(message.game_date),
                "status": message.status,
                "phase": "phase_2_raw",
                "record_count": 100,
            }
            sent.append(self._publisher.publish(self.topic, msgspec.json.encode(body)))
        for one in sent:
            one.result(timeout=60)

    def pull(self) -> list[Any]:
        """Return some messages, none where there are none for a second."""
        asked = {"subscription": self.subscription, "max_messages": _PULLED}
        try:
            return list(self._subscriber.pull(request=asked, timeout=1, retry=None).received_messages)
        except DeadlineExceeded:
            return []

    def acknowledge(self, ids: list[str]) -> None:
        """Have no more of these."""
        if ids:
            self._subscriber.acknowledge(request={"subscription": self.subscription, "ack_ids": ids}, timeout=30)

    def give_back(self, ids: list[str]) -> None:
        """Have these again."""
        if ids:
            asked = {"subscription": self.subscription, "ack_ids": ids, "ack_deadline_seconds": 0}
            self._subscriber.modify_ack_deadline(request=asked, timeout=30)


@contextmanager
def _topic(project: str) -> Iterator[_Topic]:
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic = _Topic(publisher, subscriber, project)
    publisher.create_topic(name=topic.topic, timeout=60)
    subscriber.create_subscription(
        request={"name": topic.subscription, "topic": topic.topic, "ack_deadline_seconds": 600}, timeout=60
    )
    with subscriber:
        yield topic
    publisher.stop()
    publisher.transport.close()


def _deliver_all(chaos: Chaos, topic: _Topic, addresses: list[str], count: int, rng: random.Random) -> None:
    acknowledged: set[str] = set()
    idle = 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while len(acknowledged) < count:
            received = topic.pull()
            idle = 0 if received else idle + 1
            assert idle < 60, f"{count - len(acknowledged)} messages are neither acknowledged nor delivered"
            rng.shuffle(received)
            drawn = [(rng.choice(addresses), rng.random() < _POSTED_AGAIN) for _ in received]
            answers = list(threads.map(lambda one, how: _deliver(chaos, one, *how), received, drawn))
            answered = list(zip(received, answers, strict=True))
            acknowledged |= {one.message.message_id for one, well in answered if well}
            topic.acknowledge([one.ack_id for one, well in answered if well])
            topic.give_back([one.ack_id for one, well in answered if not well])


_counted = Lock()


def _deliver(chaos: Chaos, received: Any, address: str, again: bool) -> bool:  # noqa: FBT001 (as it was drawn)
    """Post a message as a push subscription does, and once more though it was acknowledged; whether all of it was."""
    envelope = {
        "message": {
            "data": base64.b64encode(received.message.data).decode(),
            "messageId": received.message.message_id,
            "publishTime": received.message.publish_time.isoformat(),
            "attributes": {},
        },
        "subscription": "projects/p/subscriptions/orchestrator",
    }
    for _ in range(1 + again):
        try:
            answer = str(requests.post(f"http://{address}/", json=envelope, timeout=_POST_SECONDS).status_code)
        except requests.RequestException as error:
            answer = type(error).__name__
        with _counted:
            chaos.deliveries += 1
            chaos.answers[answer] += 1
        if answer not in {"200", "204"}:
            time.sleep(0.2)  # the process is being started again
            return False
    return True


def deaths(folder: Path) -> Counter[str]:
    """How often a process died at each step."""
    return Counter(path.read_text("utf-8") for path in folder.glob("death-*"))


def wrong(plan: Plan, phase: Phase) -> list[str]:
    """Say what is not as it has to be: in the documents, in the completion log, in the canary's verdicts."""
    stores: Any = open_stores(Settings.from_env(), {phase.name: phase})
    try:
        return [
            *_wrong_documents(plan, phase, stores),
            *_wrong_rows(plan, phase, stores),
            *_wrong_verdicts(plan, phase, stores),
        ]
    finally:
        stores.close()


def _wrong_documents(plan: Plan, phase: Phase, stores: CloudStores) -> Iterator[str]:
    refs = {day: DocumentRef(phase.firestore_collection, document_id(day)) for day in plan.completing}
    documents = stores.documents.get_all(refs.values())
    for day, ref in refs.items():
        document = documents.get(ref)
        progress = read_progress(document.fields if document else {}, phase)
        if lost := plan.completing[day] - progress.completed:
            yield f"{day}: lost in the document: {sorted(lost)}"
        if extra := progress.completed - plan.completing[day]:
            yield f"{day}: in the document, and never completed: {sorted(extra)}"
        if (progress.trigger is not None) != plan.is_complete(day, phase):
            yield f"{day}: the flag is {progress.trigger}, of {sorted(progress.completed)}"


def _wrong_rows(plan: Plan, phase: Phase, stores: CloudStores) -> Iterator[str]:
    table = phase.bigquery_table
    query = f"SELECT DISTINCT game_date, processor_name, event_id, is_triggered FROM {table}"  # noqa: S608 (ours)
    rows = stores.counts._bigquery.query(query, [])  # the distinct rows, which no store has a use for
    for day, expected in plan.completing.items():
        own = [row for row in rows if row["game_date"] == day]
        names = {row["processor_name"] for row in own}
        if lost := expected - names:
            yield f"{day}: lost in the completion log: {sorted(lost)}"
        if extra := names - expected:
            yield f"{day}: in the completion log, and never completed: {sorted(extra)}"
        flags = [row["event_id"] for row in own if row["is_triggered"]]
        if len(flags) != plan.is_complete(day, phase):
            yield f"{day}: flags in the completion log: {flags}"


def _wrong_verdicts(plan: Plan, phase: Phase, stores: CloudStores) -> Iterator[str]:
    now = datetime.now(UTC) + timedelta(hours=1)
    days = sorted(plan.completing)
    for evidence in gather(stores, {phase.name: days}, {phase.name: phase}).evidence:
        day: date = evidence.game_date
        right = VerdictKind.TRIGGERED if plan.is_complete(day, phase) else VerdictKind.INCOMPLETE
        verdict = judge(evidence, phase, now)
        if verdict.kind is not right:
            yield f"{day}: {verdict.kind} instead of {right}: {verdict.summary}"
