"""`make screenshot`: a Slack message as its webhook gets it, drawn the way that Slack draws one.

Not Slack's own.
"""

import html
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from canary.domain.incident import Incident, NotificationKind
from canary.domain.verdict import level
from canary.notify.channel import Notification
from canary.notify.message import CommandLine
from canary.notify.slack import message
from canary.run import check_dates
from tests.page.situations import NOW, Situation, several_dates

_STYLE = """body { font: 15px/1.46 Lato, "Helvetica Neue", Arial, sans-serif; color: #1d1c1d;
  margin: 20px; width: 760px
}
.fault { border-left: 4px solid; border-radius: 2px; padding: 2px 0 2px 12px; margin: 10px 0 }
h3 { font-size: 18px; margin: 6px 0 } p { margin: 6px 0; white-space: pre-wrap }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 24px }
code, pre { font: 12px/1.5 Menlo, Consolas, monospace; background: #f6f6f6;
  border: 1px solid #ddd; border-radius: 3px }
code { color: #c01343; padding: 1px 3px } pre { padding: 8px; margin: 4px 0; white-space: pre-wrap }
a { color: #1264a3 }"""
_MARKS = (
    (r"```\n?(.*?)\n?```", r"<pre>\1</pre>"),
    (r"`([^`\n]+)`", r"<code>\1</code>"),
    (r"\*([^*\n]+)\*", r"<b>\1</b>"),
    (r"&lt;(https?://[^|]+)\|([^&]+)&gt;", r'<a href="\1">\2</a>'),
)


def drawn(body: dict[str, Any]) -> str:
    """Return the message as a page."""
    faults = "".join(
        (
            '<div class="fault" style="border-color: '
            f'{fault.get("color", "#ddd")}">{"".join(_blocks(fault))}</div>'
        )
        for fault in body["attachments"]
    )
    head = f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>"
    return f"{head}<p><b>{html.escape(body['text'])}</b></p>{faults}"


def _blocks(fault: dict[str, Any]) -> Iterator[str]:
    for block in fault["blocks"]:
        if block["type"] == "header":
            yield f"<h3>{html.escape(block['text']['text'])}</h3>"
        elif "fields" in block:
            fields = "".join(f"<p>{_marked(text)}</p>" for text in block["fields"])
            yield f'<div class="fields">{fields}</div>'
        else:
            yield "".join(
                f"<p>{_marked(one)}</p>"
                for one in [block.get("text"), *block.get("elements", [])]
                if one
            )


def _marked(text: dict[str, Any]) -> str:
    shown = str(text["text"]).replace("<", "&lt;").replace(">", "&gt;")
    for pattern, by in _MARKS:
        shown = re.sub(pattern, by, shown, flags=re.DOTALL)
    return shown


def posted(situation: Situation) -> dict[str, Any]:
    """Return what is posted of a situation's problems."""
    verdicts = [
        one
        for one in check_dates(situation.stores, situation.phases, NOW).verdicts
        if one.kind.is_problem
    ]
    kind = NotificationKind.OPENED
    notifications = [
        Notification(kind, Incident(kind=one.kind, level=level(one), opened_at=NOW), one)
        for one in verdicts
    ]
    where = CommandLine(
        project="my-project",
        page="https://canary.example.com",
        runbook="https://docs.example.com/runbook.md",
        several=len(situation.phases) > 1,
    )
    return message(notifications, situation.phases, where, NOW)


def main(target: str) -> None:
    """Write the picture into a file."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        text = drawn(posted(several_dates(Path(folder) / "stores")))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 800, "height": 400}, color_scheme="light")
        page.set_content(text)
        page.screenshot(path=target, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
