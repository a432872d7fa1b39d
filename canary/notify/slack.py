"""Tells people in Slack, through an incoming webhook: one message a run, however much there is to tell.

The webhook's address is a secret, because whoever has it can post. It is in no error, log or repr: of
what slack_sdk, urllib and the other side say only the kind is passed on, slack_sdk's log goes nowhere,
and errors are raised outside every `except`, so that none has the original as its context.
"""

import json
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from canary.domain.incident import NotificationKind
from canary.notify.channel import Notification
from canary.notify.message import CommandLine, logs_link, notification_text
from canary.notify.webhook import is_address
from orchestrator_resilience.errors import ConfigurationError, ResilienceError
from orchestrator_resilience.phase import Phase

if TYPE_CHECKING:
    from slack_sdk.webhook import WebhookClient

# Slack takes 50 blocks of 3,000 characters each, and refuses some 13,000 in all, which it documents nowhere.
_MAXIMUM_BLOCKS, _MAXIMUM_TEXT, _MAXIMUM_LINE, _MAXIMUM_IN_ALL = 49, 2_800, 120, 10_000
# slack_sdk logs the address at DEBUG; a logger outside the tree is one that no configuration can turn on.
_NOWHERE = logging.Logger("canary.notify.slack", logging.CRITICAL + 1)  # noqa: LOG001
_SLACKS_WORD = re.compile(r"[a-z_]{1,60}\Z")  # as in "no_service", "invalid_blocks"


class NotifyError(ResilienceError):
    """People could not be told; `permanent` where Slack refuses the message or the webhook itself."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class SlackChannel:
    """Posts to the webhook at `url`, within `seconds`, retries included; `project` is linked to for the logs.

    Raises ConfigurationError, which does not show it, for an address that is neither https nor on this machine.
    """

    def __init__(
        self, url: str, phases: Mapping[str, Phase], *, project: str | None = None, seconds: float = 10.0
    ) -> None:
        self._url = url.strip()  # a secret that was piped into Secret Manager ends with a line break
        if not is_address(self._url):
            raise ConfigurationError("SLACK_WEBHOOK_URL: expected https://host/path; not shown, because it is a secret")
        self._phases, self._project, self._seconds = phases, project, seconds

    def __repr__(self) -> str:
        return f"SlackChannel(url=<secret>, project={self._project!r}, seconds={self._seconds!r})"

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Post one message; raises NotifyError. What got no answer may have been posted all the same."""
        from slack_sdk.webhook import WebhookClient  # noqa: PLC0415 (only where a webhook is set)

        body = message(notifications, self._phases, self._project, now)
        client = WebhookClient(self._url, logger=_NOWHERE, retry_handlers=[])  # its own wait as long as Slack says
        give_up = time.monotonic() + self._seconds
        done: SimpleQueue[NotifyError | None] = SimpleQueue()
        # A thread, because no timeout of urllib's covers name resolution or an answer that drips.
        Thread(target=lambda: done.put(_deliver(client, body, give_up)), daemon=True).start()
        try:
            failure = done.get(timeout=self._seconds)
        except Empty:
            failure = NotifyError(f"Slack: no answer within {self._seconds:g} s")
        if failure is not None:
            raise failure


def _deliver(client: "WebhookClient", body: dict[str, Any], give_up: float) -> NotifyError | None:
    pause = 0.25
    while True:
        client.timeout = max(1, math.ceil(give_up - time.monotonic()))
        failure, again_after = _attempt(client, body)
        if failure is None or again_after is None:
            return failure
        wait = max(pause, again_after)
        if time.monotonic() + wait >= give_up:
            return failure
        time.sleep(wait)
        pause *= 2


def _attempt(client: "WebhookClient", body: dict[str, Any]) -> tuple[NotifyError | None, float | None]:
    """Return what went wrong, if anything, and the least seconds to wait before another attempt, if one may help."""
    try:
        response = client.send_dict(body)
    except Exception as error:  # noqa: BLE001 (its text may have the address, whatever it is)
        cause = getattr(error, "reason", None)
        kind = type(cause if isinstance(cause, Exception) else error).__name__
        return NotifyError(f"Slack could not be reached: {kind}"), 0.0 if isinstance(error, OSError) else None
    status, said = response.status_code, response.body.strip()
    if status == HTTPStatus.OK and said == "ok":  # a page to which a redirect led says something else
        return None, None
    word = f" {said}" if _SLACKS_WORD.match(said) and said not in client.url.lower() else ""
    passing = status in {408, 429} or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    permanent = status >= HTTPStatus.BAD_REQUEST and not passing
    failure = NotifyError(f"Slack answered {status}{word}", permanent=permanent)
    after = {name.lower(): value for name, value in response.headers.items()}.get("retry-after", "")
    return failure, (float(after) if after.isdecimal() else 0.0) if passing else None


def message(
    notifications: Sequence[Notification], phases: Mapping[str, Phase], project: str | None, now: datetime
) -> dict[str, Any]:
    """Return the webhook's JSON: what is new first, and as many dates as Slack takes; the others are counted."""
    command = CommandLine(project=project, several=len(phases) > 1)
    ordered = sorted(notifications, key=lambda n: list(NotificationKind).index(n.kind))
    blocks: list[dict[str, Any]] = []
    lines: list[str] = []
    for kind, notification in zip([None, *(n.kind for n in ordered)], ordered, strict=False):
        more = _blocks(
            notification, phases[notification.verdict.phase], command, now, headed=notification.kind is not kind
        )
        size = len(json.dumps([*blocks, *more], ensure_ascii=False))
        if blocks and (len(blocks) + len(more) > _MAXIMUM_BLOCKS - 1 or size > _MAXIMUM_IN_ALL):
            rest = len(ordered) - len(lines)
            lines.append(f"and {rest} more date{'s' * (rest > 1)}: {command.to('status')}")
            blocks.append({"type": "context", "elements": [_mrkdwn(lines[-1])]})
            break
        blocks += more
        title = notification_text(notification, phases[notification.verdict.phase], command, now).partition("\n")[0]
        lines.append(f"{notification.kind} {escaped(title, _MAXIMUM_LINE)}")
    return {"text": "\n".join(lines), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _blocks(
    notification: Notification, phase: Phase, command: CommandLine, now: datetime, *, headed: bool
) -> list[dict[str, Any]]:
    project = command.project
    text = escaped(notification_text(notification, phase, command, now), _MAXIMUM_TEXT)
    starts = escaped(f"{phase.next_phase} is started by {phase.next_phase_started_by}", 800)
    link = f" · <{logs_link(project, phase.name, notification.verdict.game_date)}|Logs Explorer>" if project else ""
    header = {"type": "header", "text": {"type": "plain_text", "text": notification.kind.value, "emoji": False}}
    return [
        *([header] if headed else []),
        {"type": "section", "text": _mrkdwn(f"```\n{text}\n```")},
        {"type": "context", "elements": [_mrkdwn(starts + link)]},
    ]


def escaped(text: str, limit: int) -> str:
    """Return `text` so that Slack shows it as it is: no link, mention or end of a code block; cut at `limit`."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")
    text = re.sub(r"@(?=channel|here|everyone)", "@\u2060", text, flags=re.IGNORECASE)
    return text if len(text) <= limit else re.sub(r"&[a-z]*\Z", "", text[: limit - 1]) + "…"


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # else Slack looks for names and addresses in it
