"""Runs of the canary whose Slack and heartbeat do not answer as they should."""

import io
import ssl
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from canary.domain.verdict import VerdictKind
from canary.notify.channel import Channels
from canary.notify.heartbeat import Heartbeat
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from canary.run import watch
from orchestrator_resilience import Phase
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.progress import Progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope
from tests.proof.bad_servers import Kind, Manner, bad_server, megabytes, threads, trusted
from tests.proof.listener import fake_webhook

DAY, DONE = date(2026, 2, 9), datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
TICK = timedelta(minutes=15)
BAD = [
    Kind("http", "a header", Manner.DRIPS),
    Kind("http", "interim answers", Manner.NEVER_ENDS),
    Kind("https", "a TLS handshake", Manner.DRIPS),
    Kind("http", "a body without one", Manner.NEVER_ENDS),
    Kind("http", "the body of a redirect", Manner.NEVER_ENDS),
    Kind("https", "the answer", Manner.RESETS),
    Kind("https", "the answer", Manner.IS_SILENT, reads=False),
]


@pytest.fixture(scope="module")
def ssl_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    with trusted(tmp_path_factory.mktemp("certificate")) as context:
        yield context


@pytest.fixture
def stuck(stores: EmbeddedStores, phase: Phase) -> EmbeddedStores:
    """Complete one date, and set no flag."""
    for processor in sorted(phase.expected):
        completion = Completion.from_event(
            push_envelope(processor, str(DAY), DONE, message_id=processor), phase
        )
        fields = registration_fields(Progress(phase.expected), completion, DONE)
        stores.documents.merge(DocumentRef(phase.firestore_collection, str(DAY)), fields)
        stores.completion_log.append([completion_row(completion)], now=DONE)
    return stores


@pytest.mark.parametrize("kind", BAD, ids=str)
def test_the_sources_are_read_whatever_slack_and_heartbeat_do(
    stuck: EmbeddedStores, phase: Phase, kind: Kind, ssl_context: ssl.SSLContext
) -> None:
    """The twelfth run reads its sources as the first did, and threads and memory do not grow."""
    runs = 12
    phases, log, verdicts = {phase.name: phase}, io.StringIO(), []
    threads_before, megabytes_before = threads(), megabytes()
    with bad_server(kind, ssl_context) as slack, bad_server(kind, ssl_context) as switch:
        channels = Channels(
            LogChannel(phases, stream=log), SlackChannel(f"{slack}/services/x", phases, seconds=0.1)
        )
        for number in range(runs + 1):
            report = watch(stuck, phases, channels, DONE + timedelta(hours=1) + number * TICK)
            verdicts += [one.kind for one in report.verdicts if one.game_date == DAY]
            # A channel whose answers are all lost may have heard them: it is sent the same three
            # times at the most.
            assert "slack" in report.notified.channels_failed or number >= 3
            Heartbeat(f"{switch}/ping/x", seconds=0.1).beat()
            assert threads() <= threads_before
    assert verdicts == [VerdictKind.UNTRIGGERED] * (runs + 1)
    assert megabytes() - megabytes_before < 30
    assert '"canary_alert": "OPENED"' in log.getvalue()


def test_one_post_a_run(stuck: EmbeddedStores, phase: Phase) -> None:
    """However much there is to tell, where Slack takes it and says that it has not."""
    phases = {phase.name: phase}
    with fake_webhook("/services/x") as slack:
        slack.script = [(502, {}, "<html>Bad gateway</html>")]
        channels = Channels(
            LogChannel(phases, stream=io.StringIO()), SlackChannel(slack.url, phases)
        )
        for number in range(1, 4):
            watch(stuck, phases, channels, DONE + timedelta(hours=1) + number * TICK)
            assert len(slack.posts) == number
