"""An address to post to that is a secret, because anyone who has it can post there.

It is in no error, log or repr.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.http_calls import Answer, NoAnswer, call

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Webhook:
    """The secret address `url`.

    `fingerprint` is a few digits of a hash: enough to see that it is another address, and too few
    to check a guess. Raises ConfigurationError where `url` is no address: it names `variable` and
    does not show the address.
    """

    def __init__(self, variable: str, url: str) -> None:
        # a secret that was piped into Secret Manager ends with a line break
        self._url = url.strip()
        if not _is_address(self._url):
            raise ConfigurationError(
                f"{variable}: expected https://host/path; not shown, because it is a secret"
            )
        self.fingerprint = hashlib.sha256(self._url.encode()).hexdigest()[:8]

    def is_quoted_in(self, text: str) -> bool:
        """Whether `text` (lower case) is part of the address, or has a word of its path in it."""
        _, _, path = self._url.lower().partition("://")[2].partition("/")
        return text in self._url.lower() or any(
            word in text for word in re.findall(r"[a-z]{4,}", path)
        )

    def request(
        self, deadline: Deadline, body: Mapping[str, Any] | None = None
    ) -> Answer | NoAnswer:
        """Post `body` as JSON, or get the page where it is None, by `deadline` at the latest."""
        return call(self._url, deadline, body)


def _is_address(url: str) -> bool:
    """Whether `url` is one to post to: https, or http on this machine, with a host and a path."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        printable = url.isascii() and url.isprintable() and " " not in url
        return (
            safe and printable and bool(parts.hostname) and len(parts.path) > 1 and parts.port != 0
        )
    except ValueError:  # an impossible port, or an impossible address in brackets
        return False
