"""Metrics, policies and the dashboard.

Held to the API's own types, and to the lines that the code writes.
"""

import io
import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Never

import pytest
from google.cloud.logging_v2.types import LogMetric
from google.cloud.monitoring_dashboard_v1.types import Dashboard
from google.cloud.monitoring_v3.types import AlertPolicy

from canary.domain.incident import DateMemory, NotificationKind, Situation, follow
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels, Notification, NotifyError, Warned
from canary.notify.log_entry import LogChannel
from canary.run import Outcome, Report, watch
from orchestrator_resilience import CheckpointLogger, Phase
from orchestrator_resilience.checkpoints import json_line
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope
from tests.deploy.transcripts import ANSWERS, EVERYTHING, ROOT, perform, recorded

METRICS = ROOT / "deploy" / "monitoring" / "metrics"
OWN_METRIC = "logging.googleapis.com/user/"
GOOGLES_METRICS = {
    "run.googleapis.com/request_latencies": "cloud_run_revision",
    "pubsub.googleapis.com/subscription/num_undelivered_messages": "pubsub_subscription",
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": "pubsub_subscription",
}
NAMED = {
    *("phase2-orchestrator", "phase2-canary"),
    *("nba-phase2-raw-complete-dead-letters", "nba-phase2-raw-complete-messages-phase2-canary"),
}
NOW = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)


@pytest.fixture(scope="session")
def sent() -> dict[str, str]:
    """Return the text of each metric, policy and dashboard as it is deployed, by its file."""
    steps = perform(EVERYTHING, ANSWERS["first"], steps=["metrics", "monitoring"])
    calls = [call for step in steps for call in step.calls if call.file]
    return {
        Path(call.flag("policy-from-file") or call.flag("config-from-file")).stem: call.file
        for call in calls
    }


@pytest.fixture(scope="session")
def policies(sent: dict[str, str]) -> dict[str, AlertPolicy]:
    """Return the policies, by file; an unknown field or value is an error."""
    files = (ROOT / "deploy" / "monitoring" / "policies").iterdir()
    return {path.stem: AlertPolicy.from_json(sent[path.stem]) for path in files}


@pytest.fixture(scope="session")
def dashboard(sent: dict[str, str]) -> Dashboard:
    board: Dashboard = Dashboard.from_json(sent["dashboard"])
    return board


@pytest.fixture(scope="session")
def metrics(sent: dict[str, str]) -> dict[str, LogMetric]:
    return {path.stem: LogMetric.from_json(sent[path.stem]) for path in METRICS.iterdir()}


def filters(policy: AlertPolicy) -> list[str]:
    return [
        c.condition_threshold.filter or c.condition_matched_log.filter for c in policy.conditions
    ]


def test_every_policy_says_what_to_do(policies: dict[str, AlertPolicy]) -> None:
    """It is on, notifies, has a severity, and numbered steps.

    No placeholder is left, and each series is summed up.
    """
    for policy in policies.values():
        assert (policy.enabled, len(policy.notification_channels), bool(policy.severity.value)) == (
            True,
            2,
            True,
        )
        assert (policy.documentation.mime_type, "\n1. " in policy.documentation.content) == (
            "text/markdown",
            True,
        )
        assert re.fullmatch("[0-9a-f]{16}", policy.user_labels["content"])
        assert not re.search(r"(?<!\$)\{\w+\}", AlertPolicy.to_json(policy).replace("{}", ""))
        assert policy.conditions
        assert all(condition.display_name for condition in policy.conditions)
        # Each new revision is a series of its own, and the old one's silence means nothing.
        sums = [
            a for condition in policy.conditions for a in condition.condition_threshold.aggregations
        ]
        assert all(a.per_series_aligner.value and a.cross_series_reducer.value for a in sums)


def test_metrics_and_resources_exist(
    policies: dict[str, AlertPolicy], dashboard: Dashboard, metrics: dict[str, LogMetric]
) -> None:
    """A filter on a metric names one that exists, the right resource, and only its labels."""
    charts = [
        tile.widget.xy_chart for tile in dashboard.mosaic_layout.tiles if "xy_chart" in tile.widget
    ]
    queries = [
        data.time_series_query.time_series_filter for chart in charts for data in chart.data_sets
    ]
    of_metrics = [f for policy in policies.values() for f in filters(policy) if "metric.type" in f]
    for filter_ in [*of_metrics, *(query.filter for query in queries)]:
        terms = dict(re.findall(r'([\w.]+)!?="([^"]*)"', filter_))
        resource, name = terms["resource.type"], terms["metric.type"]
        if name.startswith(OWN_METRIC):
            metric = metrics[name.removeprefix(f"{OWN_METRIC}phase2-canary_")]
            labels = {label.key for label in metric.metric_descriptor.labels}
            assert labels == metric.label_extractors.keys()
            assert {
                t.removeprefix("metric.labels.") for t in terms if t.startswith("metric.labels.")
            } <= labels
        assert resource == (
            "cloud_run_revision" if name.startswith(OWN_METRIC) else GOOGLES_METRICS[name]
        )
        named = terms.get("resource.labels.service_name") or terms.get(
            "resource.labels.subscription_id"
        )
        assert named in NAMED
    groups = {group for query in queries for group in query.aggregation.group_by_fields}
    assert groups <= {"metric.label.checkpoint", "metric.label.outcome"}


def test_the_canary_is_silent_after_45_minutes(policies: dict[str, AlertPolicy]) -> None:
    """No run, or none that could read.

    Told whether a counter of log entries writes zeros or nothing at all.
    """
    conditions = [one.condition_threshold for one in policies["canary_silent"].conditions]
    for one in conditions:
        (aggregation,) = one.aggregations
        assert aggregation.alignment_period == timedelta(minutes=45)
        assert aggregation.per_series_aligner.name == "ALIGN_SUM"
        assert (one.comparison.name, one.threshold_value) == ("COMPARISON_LT", 1)
        assert one.evaluation_missing_data.name == "EVALUATION_MISSING_DATA_ACTIVE"
        assert one.duration >= timedelta(minutes=1), (
            "else the API refuses to say what missing data means"
        )
    # By exclusion, so that every other outcome is a sign of life, the undecided as well.
    assert [re.findall(r"outcome(\W+)(\w+)", one.filter) for one in conditions] == [
        [],
        [('!="', "COULD_NOT_TELL")],
    ]
    assert Outcome.COULD_NOT_TELL.name == "COULD_NOT_TELL"


def test_slack_being_down_is_not_silence(stores: EmbeddedStores, phase: Phase) -> None:
    """A run that nobody could be told of has read everything, and counts for both conditions."""
    stores.documents.merge(DocumentRef("phase2_completion", "2026-02-09"), {"_triggered": True})
    report = watch(stores, {"phase2": phase}, Channels(Down(), canary="phase2-canary"), NOW)
    assert report.notified.to_json(), "somebody should have been told, and was not"
    assert report.run_line()["outcome"] == "PROBLEM"


class Down:
    """A channel that takes nothing."""

    name = address = "slack"

    def send(self, *_: object) -> Never:
        """Fail."""
        raise NotifyError("Slack: no answer within 10 s")

    warn = send


def test_a_message_log_that_is_no_longer_written_is_told(policies: dict[str, AlertPolicy]) -> None:
    """Of the subscription that the deployment makes, long before what waits is dropped."""
    (condition,) = policies["message_log"].conditions
    (made,) = (call for call in recorded("empty_project") if call.flag("bigquery-table"))
    assert f'subscription_id="{made.words[4]}"' in condition.condition_threshold.filter
    assert made.flag("message-retention-duration") == "7d"
    assert 0 < condition.condition_threshold.threshold_value <= timedelta(hours=1).total_seconds()


def test_log_policies_have_what_the_api_wants_of_them(policies: dict[str, AlertPolicy]) -> None:
    """One condition, a limit of notifications, and at most ten labels."""
    for name in ("canary_alert", "canary_resolved", "checkpoint_failed"):
        (condition,) = policies[name].conditions
        assert policies[name].alert_strategy.notification_rate_limit.period == timedelta(minutes=5)
        labels = condition.condition_matched_log.label_extractors
        assert 0 < len(labels) <= 10
        used = set(
            re.findall(r"\$\{log\.extracted_label\.(\w+)\}", policies[name].documentation.content)
        )
        assert used <= labels.keys()


def matches(filter_: str, entry: dict[str, Any]) -> bool:
    """Evaluate the few forms of Cloud Logging's language that are used: all terms joined by AND."""
    return all(_holds(term, entry) for term in filter_.split(" AND "))


def _holds(term: str, entry: dict[str, Any]) -> bool:
    form = re.fullmatch(r'([\w.]+)(=|:)(?:"([^"]*)"|\(("\w+"(?: OR "\w+")*)\))', term)
    assert form, f"what does {term!r} mean?"
    value: Any = entry
    for part in form[1].split("."):
        value = value.get(part) if isinstance(value, dict) else None
    wanted = [form[3]] if form[4] is None else re.findall(r'"(\w+)"', form[4])
    return value in wanted if form[2] == "=" else isinstance(value, str) and wanted[0] in value


def as_ingested(line: str, service: str) -> dict[str, Any]:
    """Return the log entry that Cloud Run makes of a line on stdout."""
    payload = json.loads(line)
    return {
        "severity": payload.pop("severity", "DEFAULT"),
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": service}},
        "jsonPayload": {
            k: v for k, v in payload.items() if not k.startswith("logging.googleapis.com/")
        },
    }


class Refusing:
    """A completion log that takes nothing."""

    def append(self, *_: object, **__: object) -> None:
        """Fail."""
        raise OSError("refused")


@pytest.fixture
def checkpoints(
    phase: Phase, orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> list[dict[str, Any]]:
    """Real checkpoints of deliveries that succeed, fail, are rejected and are ignored."""
    at = NOW - timedelta(hours=1)
    for number, name in enumerate(sorted(phase.expected)):
        orchestrator.deliver(push_envelope(name, "2026-02-09", at, message_id=f"m{number}"))
    orchestrator.deliver(push_envelope("p2_unexpected", "2026-02-09", at, message_id="s"))
    orchestrator.deliver(
        push_envelope("p2_odds_game_lines", "2026-02-09", at, message_id="n", status="no_data")
    )
    orchestrator.deliver(push_envelope("p2_odds_game_lines", "yesterday", at, message_id="r"))
    failing = Orchestrator(
        phase,
        stores.documents,
        Refusing(),  # type: ignore[arg-type]
        CheckpointLogger(phase, sink),
        SimulatedClock(NOW),
    )
    with pytest.raises(Exception, match="refused"):
        failing.deliver(push_envelope("p2_odds_game_lines", "2026-02-09", at, message_id="f"))
    return [as_ingested(json_line(c, "proj"), "phase2-orchestrator") for c in sink.checkpoints]


def found(filter_: str, entries: Iterable[dict[str, Any]], field: str) -> set[str]:
    return {entry["jsonPayload"][field] for entry in entries if matches(filter_, entry)}


def test_failed_and_rejected_deliveries_are_found(
    policies: dict[str, AlertPolicy], checkpoints: list[dict[str, Any]]
) -> None:
    """And no other checkpoint; each label is a field of one of them."""
    (filter_,) = filters(policies["checkpoint_failed"])
    assert len(found(filter_.rpartition(" AND ")[0], checkpoints, "checkpoint")) == 8
    assert found(filter_, checkpoints, "checkpoint") == {"CHECKPOINT_FAILED", "CHECKPOINT_REJECTED"}
    fields = set().union(
        *(entry["jsonPayload"] for entry in checkpoints if matches(filter_, entry))
    )
    extractors = policies["checkpoint_failed"].conditions[0].condition_matched_log.label_extractors
    assert {
        re.fullmatch(r"EXTRACT\(jsonPayload\.(\w+)\)", e)[1]  # type: ignore[index]
        for e in extractors.values()
    } <= fields


def test_every_checkpoint_is_counted_by_its_kind(
    metrics: dict[str, LogMetric], dashboard: Dashboard, checkpoints: list[dict[str, Any]]
) -> None:
    """By the metric and in the dashboard's panel."""
    panels = [
        tile.widget.logs_panel.filter
        for tile in dashboard.mosaic_layout.tiles
        if "logs_panel" in tile.widget
    ]
    for filter_ in (metrics["checkpoints"].filter, panels[0]):
        assert all(matches(filter_, entry) for entry in checkpoints)
    for extractor in metrics["checkpoints"].label_extractors.values():
        field = extractor.removeprefix("EXTRACT(jsonPayload.").removesuffix(")")
        assert all(field in entry["jsonPayload"] for entry in checkpoints)


def test_the_canarys_notifications_are_found(
    policies: dict[str, AlertPolicy], dashboard: Dashboard, phase: Phase
) -> None:
    """An alert, that it is over, and that a channel is refused are each for one policy.

    The dashboard shows alerts.
    """
    verdict = Verdict(
        phase="phase2",
        game_date=date(2026, 2, 9),
        kind=VerdictKind.SILENT,
        summary="nothing arrived",
    )
    incident = follow(
        DateMemory(), verdict, Situation(now=NOW, run="1", addresses={"log": ""})
    ).open
    assert incident is not None
    stream = io.StringIO()
    notifications = [Notification(kind, incident, verdict) for kind in NotificationKind]
    channel = LogChannel({"phase2": phase}, stream=stream)
    channel.send(notifications, NOW)
    channel.warn(Warned.CHANNEL, "a channel is refused", NOW)
    entries = [as_ingested(line, "phase2-canary") for line in stream.getvalue().splitlines()]
    kinds = {kind.value for kind in NotificationKind}
    names = ("alert", "resolved", "expired", "channel")
    (filter_,), (over,), (expired,), (refused,) = (
        filters(policies[f"canary_{name}"]) for name in names
    )
    assert found(filter_, entries, "canary_alert") == kinds - {"RESOLVED", "EXPIRED"}
    assert found(expired, entries, "canary_alert") == {"EXPIRED"}
    assert found(over, entries, "canary_alert") == {"RESOLVED"}
    assert [
        entry["jsonPayload"]["canary_channel"] for entry in entries if matches(refused, entry)
    ] == ["REFUSED"]
    panels = [
        tile.widget.logs_panel.filter
        for tile in dashboard.mosaic_layout.tiles
        if "logs_panel" in tile.widget
    ]
    assert found(panels[1], entries, "canary_alert") == kinds
    for name in ("canary_alert", "canary_resolved", "canary_expired"):
        extractors = policies[name].conditions[0].condition_matched_log.label_extractors
        assert {f"EXTRACT(jsonPayload.{label})" for label in entries[0]["jsonPayload"]} >= set(
            extractors.values()
        )


def test_every_run_is_counted_by_its_outcome(metrics: dict[str, LogMetric]) -> None:
    """By the line that each run leaves, which the deployment waits for as well."""
    verdict = Verdict(phase="phase2", game_date=date(2026, 2, 9), kind=VerdictKind.IDLE, summary="")
    line = json.dumps(Report(NOW, (verdict,)).run_line())
    assert matches(metrics["runs"].filter, as_ingested(line, "phase2-canary"))
    assert metrics["runs"].label_extractors["outcome"] == "EXTRACT(jsonPayload.outcome)"
    (label,) = metrics["runs"].metric_descriptor.labels
    assert {*Outcome.__members__} == set(re.findall(r"[A-Z_]{2,}", label.description))
    assert json.loads(line)["outcome"] == "QUIET"
    verify = (ROOT / "deploy" / "verify.sh").read_text("utf-8")
    waited = re.search(r'jsonPayload\.run=\\"(\w+)\\"', verify)
    assert waited
    assert waited[1] == json.loads(line)["run"]
    assert "value(jsonPayload.outcome,jsonPayload.message)" in verify


def test_an_unknown_field_would_be_found() -> None:
    """The types are strict."""
    with pytest.raises(Exception, match="durations"):
        AlertPolicy.from_json('{"conditions": [{"conditionAbsent": {"durations": "2700s"}}]}')
