"""One HTTP request to an address that is a secret, because whoever has it can post there.

The address is in no error, log or repr: of what urllib says only the kind of the error is passed on. This is urllib
and no client such as slack_sdk, because that one logs the address, shows it in its errors, and bounds neither name
resolution nor an answer that drips: its logger, retries, errors and timeout all had to be worked around.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

from orchestrator_resilience.background import Background
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import ConfigurationError

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_JSON = {"Content-Type": "application/json;charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered once redirects had been followed.

    `text` is empty where nothing was posted; it may quote the address. `retry_after` is in seconds, 0.0 where the
    answer does not say.
    """

    status: int
    text: str = field(repr=False)
    retry_after: float


class NoAnswer(msgspec.Struct, frozen=True):
    """Why there was none: the name of the error's class; `may_pass` where another attempt may help."""

    kind: str
    may_pass: bool


class Webhook:
    """The address `url`; ConfigurationError, which names `variable` and shows no address, for what is none."""

    def __init__(self, variable: str, url: str) -> None:
        self._url = url.strip()  # a secret that was piped into Secret Manager ends with a line break
        if not _is_address(self._url):
            raise ConfigurationError(f"{variable}: expected https://host/path; not shown, because it is a secret")

    def __repr__(self) -> str:
        return "Webhook(<secret>)"

    @property
    def fingerprint(self) -> str:
        """A few digits of a hash: enough to tell that it is another address, and too few to check a guess."""
        return hashlib.sha256(self._url.encode()).hexdigest()[:8]

    def is_quoted_in(self, text: str) -> bool:
        """Whether `text`, in lower case, is part of the address, or has a word of its path in it."""
        _, _, path = self._url.lower().partition("://")[2].partition("/")
        return text in self._url.lower() or any(word in text for word in re.findall(r"[a-z]{4,}", path))

    def request(self, deadline: Deadline, body: Mapping[str, Any] | None = None) -> Answer | NoAnswer:
        """Post `body` as JSON, or get the page where there is none; a TimeoutError once `deadline` is over.

        What got no answer may have been posted all the same.
        """
        # A thread, because no timeout of urllib's covers name resolution or an answer that drips. Where the deadline
        # ends first, urllib's own timeout a second later only ends the thread.
        request = Background(lambda: self._request(body, deadline.left() + 1))
        try:
            return request.answer(deadline)
        except TimeoutError:
            return NoAnswer(TimeoutError.__name__, may_pass=True)

    def _request(self, body: Mapping[str, Any] | None, seconds: float) -> Answer | NoAnswer:
        data = None if body is None else json.dumps(body).encode()
        try:
            with _opened(Request(self._url, data, _JSON if data else {}), seconds) as response:  # noqa: S310 (see _is_address)
                text = response.read().decode(response.headers.get_content_charset() or "utf-8") if data else ""
                after = response.headers.get("Retry-After", "")
                return Answer(response.status or 0, text.strip(), float(after) if after.isdecimal() else 0.0)
        except Exception as error:  # noqa: BLE001 (its text may have the address, whatever it is)
            reason = getattr(error, "reason", None)  # urllib wraps what the socket said
            kind = type(reason if isinstance(reason, Exception) else error).__name__
            return NoAnswer(kind, may_pass=isinstance(error, OSError))


def _opened(request: Request, seconds: float) -> HTTPResponse | HTTPError:
    try:
        response: HTTPResponse = urlopen(request, timeout=seconds)  # noqa: S310 (see _is_address)
    except HTTPError as error:  # an answer like others, only not 2xx
        return error
    return response


def _is_address(url: str) -> bool:
    """Whether `url` is one to post to: https, or http on this machine, with a host and a path."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        printable = url.isascii() and url.isprintable() and " " not in url
        return safe and printable and bool(parts.hostname) and len(parts.path) > 1 and parts.port != 0
    except ValueError:  # a port or an address in brackets that is none
        return False
