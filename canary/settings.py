"""The canary's own part of the environment, read in one place; what it shares is the library's Settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator_resilience.settings import read_switch


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """What the environment says to the canary alone.

    | variable          | meaning                                            | default      |
    |-------------------|----------------------------------------------------|--------------|
    | CANARY_ENABLED    | false silences the canary (layer 2)                | true         |
    | SLACK_WEBHOOK_URL | a secret: the incoming webhook                     | no Slack     |
    | HEARTBEAT_URL     | a secret: asked for after each run that could tell | no heartbeat |
    """

    enabled: bool
    slack_webhook_url: str | None = field(repr=False)
    heartbeat_url: str | None = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "CanarySettings":
        """Read `env`, the process's own by default; ConfigurationError when the switch is in no known position."""
        env = os.environ if env is None else env
        return cls(
            enabled=read_switch("CANARY_ENABLED", env.get("CANARY_ENABLED", "")),
            slack_webhook_url=env.get("SLACK_WEBHOOK_URL") or None,
            heartbeat_url=env.get("HEARTBEAT_URL") or None,
        )
