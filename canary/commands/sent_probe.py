"""`canary probe`: is the orchestrator alive, or only deployed?

A marked message goes the whole way: topic, subscription, permission to invoke, import, settings,
Firestore. Where no answer comes, the topic and the service's log of requests say why.
"""

import re
import socket
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from canary.commands.topic import Topic
from canary.domain.verdict import names
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line, plain
from orchestrator_resilience.probe import ATTRIBUTE, DATA, probe_ref
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore
from orchestrator_resilience.stores.cloud_logging import CloudLoggingArchive

REASON_SECONDS = 20.0  # to find out why there is no answer, once the wait is over
_POLL_SECONDS, _KNOCK_SECONDS = 0.5, 2.0
_OTHERS = {*range(200), *range(300, 500)}
# What the statuses of the requests to an endpoint mean; the first row with one of them counts.
_MEANINGS: tuple[tuple[Collection[int], str], ...] = (
    ({401, 403}, "refuses ({}): the trigger's service account lacks roles/run.invoker on it"),
    (range(500, 1000), "answers {}: it crashes as it starts or at each message; read its log"),
    ({404}, "answers {}: there is no such service any more, or its ingress keeps Pub/Sub out"),
    (
        {429},
        "answers {}: no instance was available; look at its maximum of instances, and at its log",
    ),
    (
        _OTHERS,
        "answers {}: nothing that acknowledges a message; is it the orchestrator? Read its log",
    ),
    (
        range(200, 300),
        "took the message and left no answer: other code, or another project's Firestore",
    ),
)
_NO_REQUEST = (
    "has had no request since that has ended: the service is gone, one request takes all this "
    "time, the subscription is behind, or Pub/Sub's service agent may not mint the token of its "
    "calls (roles/iam.serviceAccountTokenCreator, or roles/pubsub.serviceAgent)"
)
# where each subscription pushes to, or why that is not known
Listed = Mapping[str, str] | StoreError


class Probed(NamedTuple):
    """What came of a probe, `seconds` after it was published.

    `problem` is None where all is as it should be.
    """

    seconds: float
    problem: str | None
    revision: str | None


def send_probe(
    topic: Topic,
    documents: DocumentStore,
    requests: CloudLoggingArchive | None,
    phase: Phase,
    *,
    seconds: float,
    service: str | None = None,
    note: Callable[[str], None],
) -> Probed:
    """Publish a probe, and wait up to `seconds` for the answer of `service`.

    Where there is none, `requests` say why. `note` is called first, with who else gets the message.
    Raises ConfigurationError where there is no such topic, StoreError where nothing could be
    published.
    """
    subscriptions: Listed
    try:
        subscriptions = topic.subscriptions()
    except StoreError as error:
        subscriptions = error
    if receivers := who_else(subscriptions, service):
        note(receivers)
    ref, began, published_at = probe_ref(uuid.uuid4().hex), time.monotonic(), datetime.now(UTC)
    topic.publish(DATA, {ATTRIBUTE: ref.id})
    reason_by, revision = Deadline(seconds + REASON_SECONDS), None
    match _answer(documents, ref, Deadline(seconds)):
        case Document(fields):
            problem, revision = what_is_wrong(fields, phase, service), _said(fields.get("revision"))
        case StoreError() as unread:
            problem = f"the answer could not be read: {unread}"
        case _:
            problem = f"no answer{_why(subscriptions, requests, published_at, reason_by)}"
    return Probed(time.monotonic() - began, problem, revision)


def who_else(subscriptions: Listed, service: str | None) -> str | None:
    """Say who gets the probe besides `service`, or who gets it where no service is named.

    None where nobody else does.
    """
    if isinstance(subscriptions, StoreError):
        return f"who gets the probe could not be listed: {subscriptions}"
    if service is None:
        return f"the probe goes to {names(subscriptions)}" if len(subscriptions) > 1 else None
    # The two addresses that Cloud Run gives a service.
    own_address = re.compile(
        rf"https?://{re.escape(service)}-([0-9]+\.[a-z0-9-]+|[a-z0-9]+-[a-z]+\.a)\.run\.app(?![\w.-])"
    )
    receivers = names(
        name for name, endpoint in subscriptions.items() if not own_address.match(endpoint)
    )
    return (
        f"the probe also goes to {receivers}, not known to push to {service}" if receivers else None
    )


def what_is_wrong(
    answer: Mapping[str, Any], phase: Phase, service: str | None = None
) -> str | None:
    """Say how the answer differs from what `phase` and `service` expect, None where it does not."""
    answering, about, log = (
        _said(answer.get(name)) for name in ("service", "phase", "completion_log")
    )
    if service is not None and not answering:
        return (
            f"what answered names no service, as {service} would: older code, or not on Cloud Run"
        )
    if service is not None and answering != service:
        return (
            f"it was the service {answering} that answered, not {service}: "
            "the topic reaches another deployment"
        )
    if about != phase.name:
        return (
            f"it was {about!r} that answered, not {phase.name}: the topic, or the function's PHASE"
        )
    listed = answer.get("expected")
    expected = frozenset(map(str, listed)) if isinstance(listed, list) else frozenset()
    differences = {
        "also waits for": expected - phase.expected,
        "does not wait for": phase.expected - expected,
    }
    if differs := " and ".join(
        f"{words} {names(which)}" for words, which in differences.items() if which
    ):
        return f"the orchestrator {differs}: it was deployed with another list"
    return f"the orchestrator is alive, but {log}" if log else None


def _said(value: object) -> str | None:
    """Return what an answer says as text that breaks no line; None where it says nothing."""
    return one_line(str(plain(value))) if value else None


def meaning(statuses: Collection[int]) -> str:
    """Say why there is no answer, by the statuses of an endpoint's requests since the probe."""
    rows = ((set(row) & set(statuses), words) for row, words in _MEANINGS)
    return next((words.format(min(matching)) for matching, words in rows if matching), _NO_REQUEST)


def _answer(
    documents: DocumentStore, ref: DocumentRef, wait: Deadline
) -> Document | StoreError | None:
    """Wait for the answer; returns the error where the last attempt could not read it."""
    while True:
        answer: Document | StoreError | None
        try:
            answer = documents.get_all([ref]).get(ref)
        except StoreError as error:
            answer = error
        if isinstance(answer, Document) or wait.is_over:
            return answer
        time.sleep(_POLL_SECONDS)


def _why(
    subscriptions: Listed, requests: CloudLoggingArchive | None, since: datetime, by: Deadline
) -> str:
    if isinstance(subscriptions, StoreError):
        return f", and why could not be found out: {subscriptions}"
    pushes = {name: endpoint for name, endpoint in subscriptions.items() if endpoint}
    if not pushes:
        pull_only = f" (only {names(subscriptions)}, which pushes nowhere)" if subscriptions else ""
        return (
            f": the topic has no push subscription{pull_only}: no function is called. "
            "Is it the trigger's topic?"
        )
    try:
        why = [
            f"{name} pushes to {end}, {_why_not(end, requests, since, by)}"
            for name, end in pushes.items()
        ]
    except StoreError as error:
        return f", and why could not be found out: {error}"
    return f": {'; '.join(why)}"


def _why_not(
    endpoint: str, requests: CloudLoggingArchive | None, since: datetime, by: Deadline
) -> str:
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "which is no address"
    if requests is not None:
        return f"which {meaning(requests.statuses(parts.netloc, since, by.left()))}"
    # Only with the emulators, because Cloud Run's front end takes connections whether or not a
    # service is behind it.
    try:
        socket.create_connection((parts.hostname or "", port), _KNOCK_SECONDS).close()
    except (OSError, UnicodeError):  # the latter is for a name that no host can have
        return (
            "where nothing listens: the function is stopped, or ended as it started; read its log"
        )
    return "which listens and has not answered: it fails, or is no orchestrator that knows probes"
