"""Metrics, policies and the dashboard: held to the API's own types, and to the lines that the code writes."""

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

from canary.domain.incident import NotificationKind, Run, advance
from canary.domain.verdict import Verdict, VerdictKind
from canary.notify.channel import Channels, Notification, NotifyError
from canary.notify.log_entry import LogChannel
from canary.run import Outcome, Report, watch
from orchestrator_resilience import CheckpointLogger, Phase
from orchestrator_resilience.checkpoints import json_line
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.stores.base import DocumentRef
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope
from tests.deploy.conftest import ROOT, Call

METRICS = ROOT / "deploy" / "monitoring" / "metrics"
GOOGLES_METRICS = {
    "run.googleapis.com/request_latencies": "cloud_run_revision",
    "pubsub.googleapis.com/subscription/num_undelivered_messages": "pubsub_subscription",
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": "pubsub_subscription",
}
NOW = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)


@pytest.fixture(scope="session")
def policies(deployed: list[Call]) -> dict[str, AlertPolicy]:
    """Return the policies as they were deployed, by file; an unknown field or value is an error."""
    found = {}
    for call in deployed:
        if call.arguments[:3] == ("monitoring", "policies", "create"):
            text = call.files["policy-from-file"]
            found[Path(call.flag("policy-from-file") or "").stem] = AlertPolicy.from_json(text)
    return found


@pytest.fixture(scope="session")
def dashboard(deployed: list[Call]) -> Dashboard:
    (call,) = (c for c in deployed if c.arguments[:3] == ("monitoring", "dashboards", "create"))
    found: Dashboard = Dashboard.from_json(call.files["config-from-file"])
    return found


@pytest.fixture(scope="session")
def metrics(deployed: list[Call]) -> dict[str, LogMetric]:
    calls = [c for c in deployed if c.arguments[:3] == ("logging", "metrics", "create")]
    return {c.arguments[3]: LogMetric.from_json(c.files["config-from-file"]) for c in calls}


def filters(policy: AlertPolicy) -> list[str]:
    return [c.condition_threshold.filter or c.condition_matched_log.filter for c in policy.conditions]


def test_every_policy_says_what_to_do(policies: dict[str, AlertPolicy]) -> None:
    """It is on, notifies, has a severity, and numbered steps; no placeholder is left."""
    assert policies.keys() == {
        *("canary_alert", "canary_channel", "canary_resolved", "canary_silent"),
        *("checkpoint_failed", "dead_letters", "near_timeout", "message_log"),
    }
    for policy in policies.values():
        assert policy.enabled
        assert policy.severity.value
        assert len(policy.notification_channels) == 2
        assert policy.conditions
        assert all(condition.display_name for condition in policy.conditions)
        assert "\n1. " in policy.documentation.content
        assert policy.documentation.mime_type == "text/markdown"
        assert re.fullmatch("[0-9a-f]{16}", policy.user_labels["content"])
        assert not re.search(r"(?<!\$)\{\w+\}", AlertPolicy.to_json(policy).replace("{}", ""))


def test_metrics_and_resources_exist(
    policies: dict[str, AlertPolicy], dashboard: Dashboard, metrics: dict[str, LogMetric]
) -> None:
    """A filter on a metric names one of Google's or one of ours, the right resource, and only labels that it has."""
    assert metrics.keys() == {path.stem for path in METRICS.iterdir()}
    charts = [tile.widget.xy_chart for tile in dashboard.mosaic_layout.tiles if "xy_chart" in tile.widget]
    queries = [data.time_series_query.time_series_filter for chart in charts for data in chart.data_sets]
    of_metrics = [f for policy in policies.values() for f in filters(policy) if "metric.type" in f]
    for one in [*of_metrics, *(query.filter for query in queries)]:
        terms = dict(re.findall(r'([\w.]+)!?="([^"]*)"', one))
        name = terms["metric.type"]
        if name.startswith("logging.googleapis.com/user/"):
            metric = metrics[name.removeprefix("logging.googleapis.com/user/")]
            labels = {label.key for label in metric.metric_descriptor.labels}
            assert labels == set(metric.label_extractors)
            assert {t.removeprefix("metric.labels.") for t in terms if t.startswith("metric.labels.")} <= labels
            assert terms["resource.type"] == "cloud_run_revision"
        else:
            assert terms["resource.type"] == GOOGLES_METRICS[name]
        named = terms.get("resource.labels.service_name") or terms.get("resource.labels.subscription_id")
        assert named in {
            *("phase2-orchestrator", "phase2-canary"),
            *("nba-phase2-raw-complete-dead-letters", "nba-phase2-raw-complete-messages"),
        }
    for query in queries:
        for group in query.aggregation.group_by_fields:
            assert group in {"metric.label.checkpoint", "metric.label.outcome"}


def test_conditions_on_metrics_are_sums_over_all_revisions(policies: dict[str, AlertPolicy]) -> None:
    """Each new revision is a series of its own, and the old one's silence means nothing."""
    for policy in policies.values():
        for condition in policy.conditions:
            for aggregation in condition.condition_threshold.aggregations:
                assert aggregation.per_series_aligner.value
                assert aggregation.cross_series_reducer.value


def test_the_canary_is_silent_after_45_minutes(policies: dict[str, AlertPolicy]) -> None:
    """No run, or none that could read: told whether a counter of log entries writes zeros or nothing at all."""
    conditions = [one.condition_threshold for one in policies["canary_silent"].conditions]
    for one in conditions:
        (aggregation,) = one.aggregations
        assert aggregation.alignment_period == timedelta(minutes=45)
        assert aggregation.per_series_aligner.name == "ALIGN_SUM"
        assert (one.comparison.name, one.threshold_value) == ("COMPARISON_LT", 1)
        assert one.evaluation_missing_data.name == "EVALUATION_MISSING_DATA_ACTIVE"
        assert one.duration >= timedelta(minutes=1), "else the API refuses to say what missing data means"
    # By exclusion, so that every other outcome is a sign of life, the undecided as well.
    assert [re.findall(r"outcome(\W+)(\w+)", one.filter) for one in conditions] == [[], [('!="', "COULD_NOT_TELL")]]
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


def test_a_message_log_that_is_no_longer_written_is_told(
    policies: dict[str, AlertPolicy], deployed: list[Call]
) -> None:
    """Of the subscription that the deployment makes, long before what waits is dropped."""
    (condition,) = policies["message_log"].conditions
    (made,) = (c for c in deployed if "create" in c.arguments and c.flag("bigquery-table"))
    assert f'subscription_id="{made.arguments[3]}"' in condition.condition_threshold.filter
    assert made.flag("message-retention-duration") == "7d"
    assert 0 < condition.condition_threshold.threshold_value <= timedelta(hours=1).total_seconds()


def test_log_policies_have_what_the_api_wants_of_them(policies: dict[str, AlertPolicy]) -> None:
    """One condition, a limit of notifications, and at most ten labels."""
    for name in ("canary_alert", "canary_resolved", "checkpoint_failed"):
        (condition,) = policies[name].conditions
        assert policies[name].alert_strategy.notification_rate_limit.period == timedelta(minutes=5)
        labels = condition.condition_matched_log.label_extractors
        assert 0 < len(labels) <= 10
        used = set(re.findall(r"\$\{log\.extracted_label\.(\w+)\}", policies[name].documentation.content))
        assert used <= labels.keys()


def matches(filter_: str, entry: dict[str, Any]) -> bool:
    """Evaluate the few forms of Cloud Logging's language that are used: all terms joined by AND."""
    for term in re.split(r" AND ", filter_):
        found = re.fullmatch(r'([\w.]+)(=|:)(?:"([^"]*)"|\(("\w+"(?: OR "\w+")*)\))', term)
        assert found, f"what does {term!r} mean?"
        value: Any = entry
        for part in found[1].split("."):
            value = value.get(part) if isinstance(value, dict) else None
        wanted = [found[3]] if found[3] is not None else re.findall(r'"(\w+)"', found[4])
        if found[2] == "=" and value not in wanted:
            return False
        if found[2] == ":" and not (isinstance(value, str) and wanted[0] in value):
            return False
    return True


def as_ingested(line: str, service: str) -> dict[str, Any]:
    """Return the log entry that Cloud Run makes of a line on stdout."""
    payload = json.loads(line)
    return {
        "severity": payload.pop("severity", "DEFAULT"),
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": service}},
        "jsonPayload": {k: v for k, v in payload.items() if not k.startswith("logging.googleapis.com/")},
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
    orchestrator.deliver(push_envelope("p2_odds_game_lines", "2026-02-09", at, message_id="n", status="no_data"))
    orchestrator.deliver(push_envelope("p2_odds_game_lines", "yesterday", at, message_id="r"))
    failing = Orchestrator(phase, stores.documents, Refusing(), CheckpointLogger(phase, sink), SimulatedClock(NOW))  # type: ignore[arg-type]
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
    assert (
        len(
            found(
                filter_.replace('=("CHECKPOINT_FAILED" OR "CHECKPOINT_REJECTED")', ':"CHECK"'),
                checkpoints,
                "checkpoint",
            )
        )
        == 8
    )
    assert found(filter_, checkpoints, "checkpoint") == {"CHECKPOINT_FAILED", "CHECKPOINT_REJECTED"}
    fields = set().union(*(entry["jsonPayload"] for entry in checkpoints if matches(filter_, entry)))
    extractors = policies["checkpoint_failed"].conditions[0].condition_matched_log.label_extractors
    assert {re.fullmatch(r"EXTRACT\(jsonPayload\.(\w+)\)", e)[1] for e in extractors.values()} <= fields  # type: ignore[index]


def test_every_checkpoint_is_counted_by_its_kind(
    metrics: dict[str, LogMetric], dashboard: Dashboard, checkpoints: list[dict[str, Any]]
) -> None:
    """By the metric and in the dashboard's panel."""
    panels = [tile.widget.logs_panel.filter for tile in dashboard.mosaic_layout.tiles if "logs_panel" in tile.widget]
    for filter_ in (metrics["checkpoints"].filter, panels[0]):
        assert all(matches(filter_, entry) for entry in checkpoints)
    for extractor in metrics["checkpoints"].label_extractors.values():
        field = extractor.removeprefix("EXTRACT(jsonPayload.").removesuffix(")")
        assert all(field in entry["jsonPayload"] for entry in checkpoints)


def test_the_canarys_notifications_are_found(
    policies: dict[str, AlertPolicy], dashboard: Dashboard, phase: Phase
) -> None:
    """An alert, that it is over, and that a channel is refused are each for one policy; the dashboard shows alerts."""
    verdict = Verdict(phase="phase2", game_date=date(2026, 2, 9), kind=VerdictKind.SILENT, summary="nothing arrived")
    step = advance(None, verdict, Run(now=NOW, id="1", channels=["log"]))
    assert step.incident is not None
    stream = io.StringIO()
    notifications = [Notification(kind, step.incident, verdict) for kind in NotificationKind]
    channel = LogChannel({"phase2": phase}, stream=stream)
    channel.send(notifications, NOW)
    channel.warn("a channel is refused", NOW)
    entries = [as_ingested(line, "phase2-canary") for line in stream.getvalue().splitlines()]
    kinds = {kind.value for kind in NotificationKind}
    (filter_,), (over,), (refused,) = (filters(policies[f"canary_{name}"]) for name in ("alert", "resolved", "channel"))
    assert found(filter_, entries, "canary_alert") == kinds - {"RESOLVED"}
    assert found(over, entries, "canary_alert") == {"RESOLVED"}
    assert [entry["jsonPayload"]["canary_channel"] for entry in entries if matches(refused, entry)] == ["REFUSED"]
    panels = [tile.widget.logs_panel.filter for tile in dashboard.mosaic_layout.tiles if "logs_panel" in tile.widget]
    assert found(panels[1], entries, "canary_alert") == kinds
    for name in ("canary_alert", "canary_resolved"):
        extractors = policies[name].conditions[0].condition_matched_log.label_extractors
        assert {f"EXTRACT(jsonPayload.{label})" for label in entries[0]["jsonPayload"]} >= set(extractors.values())


def test_every_run_is_counted_by_its_outcome(metrics: dict[str, LogMetric]) -> None:
    """By the line that each run leaves, which the deployment waits for as well."""
    verdict = Verdict(phase="phase2", game_date=date(2026, 2, 9), kind=VerdictKind.IDLE, summary="")
    line = json.dumps(Report(NOW, (verdict,)).run_line())
    assert matches(metrics["canary_runs"].filter, as_ingested(line, "phase2-canary"))
    assert metrics["canary_runs"].label_extractors["outcome"] == "EXTRACT(jsonPayload.outcome)"
    (label,) = metrics["canary_runs"].metric_descriptor.labels
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
