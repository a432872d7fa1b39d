"""`canary probe`: is the orchestrator alive, or only deployed?

A marked message goes the whole way: topic, subscription, permission to invoke, import, settings,
Firestore. Where no answer comes, what can be seen from outside says why.
"""

import re
import socket
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from canary.commands.topic import Subscription, Topic
from canary.domain.verdict import names
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.probe import ATTRIBUTE, probe_data, probe_ref
from orchestrator_resilience.stores.base import DocumentStore

# To find out why there is no answer, once the wait is over.
REASON_SECONDS = 20.0
_POLL_SECONDS = 0.5
_KNOCK_SECONDS = 2.0
_SUCCESS = range(200, 300)
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class RequestLog(Protocol):
    """Where the requests to a function are logged."""

    def statuses(self, host: str, since: datetime, seconds: float) -> Collection[int]:
        """Return the HTTP statuses of the requests to `host` from `since` on, within `seconds`; raises StoreError."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of a probe: `problem` is None where the orchestrator is alive and as it should be.

    `seconds` is what it took from the publication on: until the answer, or until the reason was found.
    """

    seconds: float
    problem: str | None = None
    revision: str | None = None


def probe(
    topic: Topic,
    documents: DocumentStore,
    requests: RequestLog | None,
    phase: Phase,
    *,
    seconds: float,
    service: str | None = None,
    reason_seconds: float = REASON_SECONDS,
    note: Callable[[str], None],
) -> Probed:
    """Publish a probe and wait up to `seconds` for its answer; then find out why there is none.

    The reason is looked for until `reason_seconds` after the wait. `note` is told, before anything is
    published, who else gets the message. `service` is the Cloud Run service that should answer.
    Raises ConfigurationError where there is no such topic, StoreError where it could not be published.
    """
    subscriptions = _listed(topic)
    if told := who_else(subscriptions, service):
        note(told)
    probe_id, began, published_at = uuid.uuid4().hex, time.monotonic(), datetime.now(UTC)
    topic.publish(probe_data(), {ATTRIBUTE: probe_id})
    give_up = time.monotonic() + seconds
    unread = None
    while time.monotonic() < give_up:
        try:
            answer = documents.get_all([probe_ref(probe_id)]).get(probe_ref(probe_id))
        except StoreError as error:
            unread = str(error)
        else:
            unread = None
            if answer is not None:
                took, revision = time.monotonic() - began, answer.fields.get("revision")
                return Probed(took, what_is_wrong(answer.fields, phase, service), revision)
        time.sleep(_POLL_SECONDS)
    if unread is not None:
        problem = f"the answer could not be read: {unread}"
    else:
        problem = f"no answer{_why(subscriptions, requests, published_at, give_up + reason_seconds)}"
    return Probed(time.monotonic() - began, problem)


def who_else(subscriptions: Sequence[Subscription] | StoreError, service: str | None) -> str | None:
    """Say who gets the probe besides `service`; all of them where it is not named, None where there is nothing to say.

    `subscriptions` may be the error for which they are not known.
    """
    if isinstance(subscriptions, StoreError):
        return f"who gets the probe could not be listed: {subscriptions}"
    if service is None:
        return f"the probe goes to {names(s.name for s in subscriptions)}" if len(subscriptions) > 1 else None
    others = names(s.name for s in subscriptions if not _pushes_to(service, s.endpoint))
    return f"the probe also goes to {others}, not known to push to {service}" if others else None


def what_is_wrong(answer: Mapping[str, Any], phase: Phase, service: str | None = None) -> str | None:
    """Compare the answer with the phase and the service that it should be about; None where all is well."""
    found = answer.get("service")
    if service is not None and not found:
        return f"what answered names no service, as {service} would: older code, or not on Cloud Run"
    if service is not None and found != service:
        return f"it was the service {found} that answered, not {service}: the topic reaches another deployment"
    if answer.get("phase") != phase.name:
        return f"it was {answer.get('phase')!r} that answered, not {phase.name}: the topic, or the function's PHASE"
    waits_for = frozenset(map(str, answer.get("expected") or ()))
    surplus, lacking = names(waits_for - phase.expected), names(phase.expected - waits_for)
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

    `statuses` are those of the requests to each endpoint since the probe, None where no request is
    logged; only then it matters which endpoints are `deaf`: nothing listens there.
    """
    pushed = [s for s in subscriptions if s.endpoint]
    if not pushed:
        others = f" (only {names(s.name for s in subscriptions)}, which pushes nowhere)" if subscriptions else ""
        return f"the topic has no push subscription{others}: no function is called. Is it the trigger's topic?"
    return "; ".join(_why_not_this(s.name, str(s.endpoint), deaf, statuses) for s in pushed)


def _why_not_this(
    name: str, endpoint: str, deaf: Collection[str], statuses: Mapping[str, Collection[int]] | None
) -> str:
    where = f"{name} pushes to {endpoint}"
    if _address(endpoint) is None:
        return f"{where}, which is no address"
    if statuses is not None:
        return f"{where}, which {_why_by(statuses.get(endpoint, ()))}"
    if endpoint in deaf:
        return f"{where}, where nothing listens: the function is stopped, or ended as it started; read its log"
    return f"{where}, which listens and has not answered: it fails, or is no orchestrator that knows probes"


def _why_by(statuses: Collection[int]) -> str:
    if not statuses:
        return (
            "has had no request since that has ended: the service is gone, one request takes all this time, "
            "the subscription is behind, or Pub/Sub's service agent may not mint the token of its calls "
            "(roles/iam.serviceAccountTokenCreator, or roles/pubsub.serviceAgent)"
        )
    if refused := _REFUSED & set(statuses):
        return f"refuses ({min(refused):d}): the trigger's service account lacks roles/run.invoker on it"
    if failed := [status for status in statuses if status >= HTTPStatus.INTERNAL_SERVER_ERROR]:
        return f"answers {min(failed)}: it crashes as it starts or at each message; read its log"
    if HTTPStatus.NOT_FOUND in statuses:
        return "answers 404: there is no such service any more, or its ingress keeps Pub/Sub out"
    if HTTPStatus.TOO_MANY_REQUESTS in statuses:
        return "answers 429: no instance was available; look at its maximum of instances, and at its log"
    if others := [status for status in statuses if status not in _SUCCESS]:
        return f"answers {min(others)}: nothing that acknowledges a message; is it the orchestrator? Read its log"
    return "took the message and left no answer: other code, or another project's Firestore"


def _listed(topic: Topic) -> Sequence[Subscription] | StoreError:
    try:
        return topic.subscriptions()
    except StoreError as error:
        return error


def _why(
    subscriptions: Sequence[Subscription] | StoreError, requests: RequestLog | None, since: datetime, give_up: float
) -> str:
    if isinstance(subscriptions, StoreError):
        return f", and why could not be found out: {subscriptions}"
    found = {s.endpoint: _address(s.endpoint) for s in subscriptions if s.endpoint}
    addresses = {endpoint: address for endpoint, address in found.items() if address is not None}
    try:
        if requests is None:
            # Only here: Cloud Run's front end takes connections for whatever is behind it.
            deaf = [e for e, address in addresses.items() if not _listens(address, _left(give_up))]
            return f": {why_silent(subscriptions, deaf, None)}"
        statuses = {e: requests.statuses(address.netloc, since, _left(give_up)) for e, address in addresses.items()}
    except TimeoutError:
        return ", and why could not be found out in time"
    except StoreError as error:
        return f", and why could not be found out: {error}"
    return f": {why_silent(subscriptions, (), statuses)}"


def _left(give_up: float) -> float:
    """Return the seconds until then; raises TimeoutError where there are none."""
    left = give_up - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _address(endpoint: str) -> SplitResult | None:
    """Return the parts of an address that has a host, None for what has none or cannot be parsed."""
    try:
        parts = urlsplit(endpoint)
        _ = parts.port  # what is no port raises only here
    except ValueError:
        return None
    return parts if parts.hostname else None


def _pushes_to(service: str, endpoint: str | None) -> bool:
    """Whether an endpoint is one of the two addresses that Cloud Run gives a service."""
    address = _address(endpoint or "")
    host = address.hostname if address else None
    ending = r"-(?:[0-9]+\.[a-z0-9-]+|[a-z0-9]+-[a-z]+\.a)\.run\.app"
    return host is not None and re.fullmatch(re.escape(service) + ending, host) is not None


def _listens(address: SplitResult, seconds: float) -> bool:
    """Whether a connection is taken, soon; no request is made, because an endpoint may be anybody's."""
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), min(seconds, _KNOCK_SECONDS)).close()
    except (OSError, UnicodeError):  # the latter is for a name that no host can have
        return False
    return True
