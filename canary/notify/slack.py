"""Notifies people in Slack, through an incoming webhook, with one post a run."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from canary.domain.verdict import count_text
from canary.notify.channel import Notification, NotifyError, Warned
from canary.notify.message import (
    LONGEST_HEADLINE,
    CommandLine,
    Message,
    messages_by_fault,
    shortened,
)
from canary.notify.webhook import Webhook
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.http_calls import Answer, NoAnswer
from orchestrator_resilience.phase import Phase

# Slack takes 50 blocks of 3,000 characters each. It also refuses messages of some 13,000 characters
# in all, which its documentation does not say. A fault is four blocks; one more counts what is left
# out.
_MAXIMUM_FAULTS, _MAXIMUM_TEXT, _MAXIMUM_IN_ALL = 12, 2_800, 10_000
# The bar beside a fault, by its sign: green when it is over, grey when it is watched no longer.
COLOURS = {"✖": "#b3261e", "▲": "#e8710a", "△": "#f2c744", "✓": "#1e8e3e", "…": "#80868b"}
_MAXIMUM_FIELDS, _MAXIMUM_FIELD = 10, 600
_PAUSE_SECONDS = 0.5
# Slack's answers for an address that does not exist any more, whatever is posted to it.
_GONE = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_SLACKS_WORD = re.compile(r"[a-z_]{1,60}\Z")  # as in "no_service", "invalid_blocks"


class SlackChannel:
    """Posts to the webhook at `url`, within `seconds`, retries included.

    `project` is the project of the links to the logs, `page` and `runbook` are the addresses at
    which people reach them, and `canary` is the canary's own name, where it is not the usual one.

    Raises ConfigurationError, which does not show the address, where it is neither https nor on
    this machine.
    """

    name = "slack"

    def __init__(
        self,
        url: str,
        phases: Mapping[str, Phase],
        *,
        project: str | None = None,
        page: str | None = None,
        runbook: str | None = None,
        canary: str | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._webhook = Webhook("SLACK_WEBHOOK_URL", url)
        self.address = self._webhook.fingerprint
        self._phases, self._seconds = phases, seconds
        self._command = CommandLine(
            project=project, several=len(phases) > 1, page=page, runbook=runbook, canary=canary
        )

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Post one message; raises NotifyError.

        A post that got no answer may have been made all the same.
        """
        self._post(message(notifications, self._phases, self._command, now))

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (Slack has the time)
        """Post a warning about the canary itself; raises NotifyError."""
        self._post(
            {"text": escaped(text, _MAXIMUM_TEXT), "unfurl_links": False, "unfurl_media": False}
        )

    def _post(self, body: dict[str, Any]) -> None:
        """Post until Slack may have taken it, or another attempt cannot help or has no time."""
        deadline = Deadline(self._seconds)
        while (
            failure := self._failure(self._webhook.request(deadline, body), deadline)
        ) is not None:
            if failure.again_after is None or failure.again_after >= deadline.left():
                raise failure
            time.sleep(failure.again_after)

    def _failure(self, answer: Answer | NoAnswer, deadline: Deadline) -> NotifyError | None:
        if isinstance(answer, NoAnswer):
            if deadline.is_over:
                return NotifyError(
                    f"Slack: no answer within {self._seconds:g} s",
                    may_be_posted=answer.may_be_posted,
                )
            again_after = None if answer.may_be_posted else _PAUSE_SECONDS
            words = f"Slack could not be reached: {answer.kind}"
            return NotifyError(words, again_after=again_after, may_be_posted=answer.may_be_posted)
        # a proxy's own page says something else
        if answer.status == HTTPStatus.OK and answer.text == "ok":
            return None
        # Slack's own word for the reason, unless it is part of the secret address.
        is_word = _SLACKS_WORD.match(answer.text) and not self._webhook.is_quoted_in(answer.text)
        reason = f"Slack answered {answer.status}" + (f" {answer.text}" if is_word else "")
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotifyError(reason, again_after=max(answer.retry_after, _PAUSE_SECONDS))
        return NotifyError(reason, gone=answer.status in _GONE)


def message(
    notifications: Sequence[Notification],
    phases: Mapping[str, Phase],
    command: CommandLine,
    now: datetime,
) -> dict[str, Any]:
    """Return the webhook's JSON: as many faults as Slack takes, and a count of the dates left out.

    The text above has the first line of each fault, and is what a phone shows. Each fault is an
    attachment, which has a coloured bar beside it:
    https://docs.slack.dev/messaging/formatting-message-text#attachments.
    """
    attachments: list[dict[str, Any]] = []
    lines: list[str] = []
    faults = messages_by_fault(notifications, phases, command, now)
    for number, (_, content) in enumerate(faults):
        header = [{"type": "header", "text": _plain(escaped(content.headline, LONGEST_HEADLINE))}]
        more = {
            "color": COLOURS[content.sign],
            "blocks": [*(header if len(faults) > 1 else []), *_blocks(content)],
        }
        size = len(json.dumps([*attachments, more], ensure_ascii=False))
        if attachments and (len(attachments) == _MAXIMUM_FAULTS or size > _MAXIMUM_IN_ALL):
            left_out = sum(len(group) for group, _ in faults[number:])
            lines.append(f"and {count_text(left_out, 'more date')}: {command.to('status')}")
            attachments.append({"blocks": [{"type": "context", "elements": [_mrkdwn(lines[-1])]}]})
            break
        attachments.append(more)
        lines.append(escaped(content.headline, LONGEST_HEADLINE))
    return {
        "text": "\n".join(lines),
        "attachments": attachments,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _blocks(content: Message) -> list[dict[str, Any]]:
    """Return one fault as Slack's blocks: what to do, fields, commands, and links.

    With its header they are five at the most, because an attachment shows only five at once.
    """
    now, later = content.actions[:1], content.actions[1:]
    first = [f"*Do now:* {escaped(action, _MAXIMUM_FIELD)}" for action in now]
    code = [f"```\n{escaped(content.command, _MAXIMUM_FIELD)}\n```"] if content.command else []
    then = [f"*Then:* {escaped(action, _MAXIMUM_FIELD)}" for action in later]
    fields = [
        _mrkdwn(f"*{label}*\n{escaped(shortened(text, _MAXIMUM_FIELD), _MAXIMUM_FIELD)}")
        for label, text in content.facts[:_MAXIMUM_FIELDS]
    ]
    in_hand = [
        f"*{label}:* `{escaped(line, _MAXIMUM_FIELD)}`"
        for label, commands in content.in_hand
        for line in commands.split("\n")
    ]
    links = [
        f"<{escaped(link.url, _MAXIMUM_TEXT)}|{escaped(link.label, _MAXIMUM_FIELD)}>"
        for link in content.links
    ]
    below = [*in_hand, *([" · ".join(links)] if links else [])]
    return [
        {"type": "section", "text": _mrkdwn("\n".join([*first, *code, *then]))},
        {"type": "section", "fields": fields},
        *([{"type": "section", "text": _mrkdwn("\n".join(below))}] if below else []),
    ]


def escaped(text: str, limit: int) -> str:
    """Return `text`, cut at `limit`, so that Slack shows it as it is.

    It makes no link, mention or end of a code block of it.
    """
    text = (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")
    )
    text = re.sub(r"@(?=channel|here|everyone)", "@\u2060", text, flags=re.IGNORECASE)
    return text if len(text) <= limit else re.sub(r"&[a-z]*\Z", "", text[: limit - 1]) + "…"


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    # without `verbatim` Slack looks for names and addresses in it
    return {"type": "mrkdwn", "text": text, "verbatim": True}
