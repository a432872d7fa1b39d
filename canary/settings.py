"""The canary's own part of the environment, read in one place.

What it shares is the library's Settings.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.settings import read_switch


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """What the environment says to the canary alone, as in the library's Settings."""

    enabled: bool
    """CANARY_ENABLED: `false` silences the canary. Default: `true`."""
    slack_webhook_url: str | None = field(repr=False)
    """SLACK_WEBHOOK_URL: A secret: the incoming webhook to which the canary posts. Default: no
    Slack.
    """
    heartbeat_url: str | None = field(repr=False)
    """HEARTBEAT_URL: A secret: an address outside this project that is asked for after each run
    that could read its sources. What listens there raises the alarm when it hears nothing. Default:
    no heartbeat.
    """
    page_url: str | None = None
    """PAGE_URL: The address under which people reach the canary's page; notifications link to the
    date there. Default: no link.
    """
    runbook_url: str | None = None
    """RUNBOOK_URL: The address of `docs/runbook.md` where people read it; notifications link to the
    place of their cause there. Default: no link.
    """
    page_of: str | None = None
    """PAGE_OF: The name of a canary, which is that of its service: this function is then that
    canary's page, and only reads. It runs nothing, notifies nobody, and refuses to start beside
    `SLACK_WEBHOOK_URL` or `HEARTBEAT_URL`. Default: a canary of its own.
    """

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "CanarySettings":
        """Read `env`, the process's own by default.

        ConfigurationError, by name, for what makes no sense.
        """
        env = os.environ if env is None else env
        page_of = env.get("PAGE_OF", "").strip() or None
        for name in ("SLACK_WEBHOOK_URL", "HEARTBEAT_URL"):
            if page_of and env.get(name):
                raise ConfigurationError(
                    f"{name}: PAGE_OF is set, and such a page notifies nobody; "
                    "take one of them away"
                )
        return cls(
            enabled=read_switch("CANARY_ENABLED", env.get("CANARY_ENABLED", "")),
            slack_webhook_url=env.get("SLACK_WEBHOOK_URL") or None,
            heartbeat_url=env.get("HEARTBEAT_URL") or None,
            page_url=_read_address("PAGE_URL", env.get("PAGE_URL", "")),
            runbook_url=_read_address("RUNBOOK_URL", env.get("RUNBOOK_URL", "")),
            page_of=page_of,
        )


def _read_address(name: str, text: str) -> str | None:
    """Read what paths can be put behind: a host, and nothing that would end a link.

    A text that is no such address is not shown: it may be a secret in the wrong variable.
    """
    address = text.strip().rstrip("/")
    if address and not re.fullmatch(r"https?://[\w.:/~-]{1,200}", address, re.ASCII):
        raise ConfigurationError(
            f"{name}: expected an address such as https://canary.example.com; "
            "not shown, because it may be a secret's"
        )
    return address or None
