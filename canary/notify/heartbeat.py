"""The heartbeat: a dead-man's switch outside the cloud project, told after each run that could tell.

What listens there (healthchecks and the like) rings when it has heard nothing for a while: the one
alarm that does not depend on this project's own Monitoring.
"""

import urllib.request
from http.client import HTTPException

from canary.notify.webhook import is_address
from orchestrator_resilience.errors import ConfigurationError, ResilienceError


class HeartbeatError(ResilienceError):
    """The heartbeat was not heard; the text has no address."""


class Heartbeat:
    """Asks for the page at `url`, a secret, for up to `seconds`; ConfigurationError for what is no address."""

    def __init__(self, url: str, *, seconds: float = 5.0) -> None:
        self._url = url.strip()
        if not is_address(self._url):
            raise ConfigurationError("HEARTBEAT_URL: expected https://host/path; not shown, because it is a secret")
        self._seconds = seconds

    def beat(self) -> None:
        """Tell that a run has ended well; raises HeartbeatError for every answer that is not 2xx."""
        failure = self._failure()
        if failure is not None:  # outside every `except`, so that no traceback shows the address
            raise HeartbeatError(f"the heartbeat was not heard: {failure}")

    def _failure(self) -> str | None:
        try:
            # urllib raises HTTPError for what is not 2xx.
            with urllib.request.urlopen(self._url, timeout=self._seconds):  # noqa: S310 (see is_address)
                return None
        except urllib.request.HTTPError as error:
            error.close()
            return f"HTTP {error.code}"
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None)  # urllib wraps what the socket said
            return type(reason if isinstance(reason, Exception) else error).__name__
