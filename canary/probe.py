"""`canary probe`: is the orchestrator alive, or only deployed?

A marked message goes the whole way: topic, subscription, permission to invoke, import, settings,
Firestore. Where no answer comes, what can be seen from outside says why.
"""

import socket
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from canary.topic import Subscription, Topic
from canary.verdict import names
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.probe import ATTRIBUTE, probe_data, probe_ref
from orchestrator_resilience.stores.base import DocumentStore

_POLL_SECONDS = 0.5
_KNOCK_SECONDS = 5.0
_REFUSED = {401, 403}
_SERVER_ERROR = 500


class RequestLog(Protocol):
    """Where the requests to a function are logged."""

    def statuses(self, host: str, since: datetime) -> Collection[int]:
        """Return the HTTP statuses of the requests to `host` from `since` on; raises StoreError."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of a probe: `problem` is None where the orchestrator is alive and as it should be."""

    seconds: float
    problem: str | None = None


def probe(topic: Topic, documents: DocumentStore, requests: RequestLog | None, phase: Phase, seconds: float) -> Probed:
    """Publish a probe and wait up to `seconds` for its answer; then find out why there is none.

    Raises ConfigurationError where there is no such topic, StoreError where it could not be published.
    """
    probe_id, began, published_at = uuid.uuid4().hex, time.monotonic(), datetime.now(UTC)
    topic.publish(probe_data(), {ATTRIBUTE: probe_id})
    unread = None
    while (elapsed := time.monotonic() - began) < seconds:
        try:
            answer = documents.get_all([probe_ref(probe_id)]).get(probe_ref(probe_id))
        except StoreError as error:
            unread = str(error)
        else:
            unread = None
            if answer is not None:
                return Probed(elapsed, what_is_wrong(answer.fields, phase))
        time.sleep(_POLL_SECONDS)
    if unread is not None:
        return Probed(elapsed, f"the answer could not be read: {unread}")
    return Probed(elapsed, _why(topic, requests, published_at))


def what_is_wrong(answer: Mapping[str, Any], phase: Phase) -> str | None:
    """Compare the answer with the phase that it should be about; None where all is well."""
    if answer.get("phase") != phase.name:
        return f"it was {answer.get('phase')!r} that answered, not {phase.name}: the topic, or the function's PHASE"
    awaited = frozenset(map(str, answer.get("expected") or ()))
    surplus, lacking = names(awaited - phase.expected), names(phase.expected - awaited)
    if surplus or lacking:
        told = [f"also waits for {surplus}"] * bool(surplus) + [f"does not wait for {lacking}"] * bool(lacking)
        return f"the orchestrator {' and '.join(told)}: it was deployed with another list"
    if wrong := answer.get("completion_log"):
        return f"the orchestrator is alive, but {wrong}"
    return None


def why_silent(
    subscriptions: Sequence[Subscription], deaf: Collection[str], statuses: Mapping[str, Collection[int]] | None
) -> str:
    """Say why nobody answered.

    `deaf` are the endpoints at which nothing listens; `statuses` are those of the requests to each
    endpoint since the probe, None where nothing tells.
    """
    pushed = [s for s in subscriptions if s.endpoint]
    if not pushed:
        others = f" (only {names(s.name for s in subscriptions)}, which pushes nowhere)" if subscriptions else ""
        return f"the topic has no push subscription{others}: no function is called. Is it the trigger's topic?"
    return "; ".join(_why_not_this(s, str(s.endpoint) in deaf, (statuses or {}).get(str(s.endpoint))) for s in pushed)


def _why_not_this(subscription: Subscription, is_deaf: bool, statuses: Collection[int] | None) -> str:  # noqa: FBT001
    where = f"{subscription.name} pushes to {subscription.endpoint}"
    if is_deaf:
        return f"{where}, where nothing listens: the function is stopped, or ended as it started; read its log"
    if statuses is None:
        return f"{where}, which listens and has not answered: it fails, or is no orchestrator that knows probes"
    if not statuses:
        return f"{where}, which has had no request since: look at the subscription"
    if refused := _REFUSED & set(statuses):
        return f"{where}, which refuses ({min(refused)}): the trigger's service account lacks roles/run.invoker on it"
    if failed := [status for status in statuses if status >= _SERVER_ERROR]:
        return f"{where}, which answers {min(failed)}: it crashes as it starts or at each message; read its log"
    return f"{where}, which took the message and left no answer: other code, or another project's Firestore"


def _why(topic: Topic, requests: RequestLog | None, since: datetime) -> str:
    try:
        subscriptions = topic.subscriptions()
        endpoints = [s.endpoint for s in subscriptions if s.endpoint]
        deaf = [endpoint for endpoint in endpoints if not _listens(endpoint)]
        hosts = {endpoint: urlsplit(endpoint).netloc for endpoint in endpoints}
        statuses = {e: requests.statuses(host, since) for e, host in hosts.items()} if requests else None
    except StoreError as error:
        return f"no answer, and why could not be found out: {error}"
    return f"no answer: {why_silent(subscriptions, deaf, statuses)}"


def _listens(endpoint: str) -> bool:
    """Whether a connection is taken; no request is made, because an endpoint may be anybody's."""
    parts = urlsplit(endpoint)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, _KNOCK_SECONDS).close()
    except OSError:
        return False
    return True
