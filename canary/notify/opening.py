"""The channels of a canary, as its environment names them."""

from collections.abc import Mapping
from typing import Any, TextIO

from canary.domain.remembered import DEFAULT_CANARY
from canary.notify.channel import Channel, Channels
from canary.notify.log_entry import LogChannel
from canary.notify.slack import SlackChannel
from canary.settings import CanarySettings
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.settings import Settings


def open_channels(
    settings: Settings,
    canary_settings: CanarySettings,
    phases: Mapping[str, Phase],
    log: TextIO | None = None,
) -> Channels:
    """Return the log, by default stdout, and Slack where there is a webhook.

    Raises ConfigurationError where the webhook's address is none.
    """
    name = settings.service or DEFAULT_CANARY
    where: dict[str, Any] = {
        "project": settings.project,
        "page": canary_settings.page_url,
        "runbook": canary_settings.runbook_url,
        "canary": name if name != DEFAULT_CANARY else None,
    }
    channels: list[Channel] = [LogChannel(phases, **where, stream=log)]
    if canary_settings.slack_webhook_url:
        channels.append(SlackChannel(canary_settings.slack_webhook_url, phases, **where))
    return Channels(*channels, canary=name)
