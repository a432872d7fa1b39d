"""Every message that a person can get, as the code writes it: for docs/messages.md.

Those of incidents are the demo's: February 2026 through the real orchestrator and canary. What the
demo does not have is made with the same code on stores of its own.
"""

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

from canary.domain.incident import NotificationKind
from canary.domain.remembered import Refusal
from canary.domain.silence import Acknowledgement, new_silence
from canary.domain.verdict import Level
from canary.notify.channel import Channels, Notification, Warned
from canary.notify.heartbeat import Heartbeat
from canary.notify.incidents import refusal_text
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine
from canary.notify.slack import message
from canary.playback.demo import BLOCKED, demo_phase, play_demo, track
from canary.playback.playback import Happening
from canary.run import watch
from orchestrator_resilience.completion import Completion
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.stores.base import DocumentStore
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope

PHASES = {"phase2": demo_phase()}
WHERE: Mapping[str, str] = {
    "project": "my-project",
    "page": "https://canary.example.com",
    "runbook": "https://docs.example.com/runbook.md",
}
NOW = datetime(2026, 2, 12, 7, 45, tzinfo=UTC)
POLICIES = Path(__file__).parents[1] / "deploy" / "monitoring" / "policies"
# What deploy/common.sh puts into a policy, as the settings have it by default.
NAMES = {
    "canary": "phase2-canary",
    "orchestrator": "phase2-orchestrator",
    "region": "us-central1",
    "push": "nba-phase2-raw-complete-to-phase2-orchestrator",
    "dead_letters": "nba-phase2-raw-complete-dead-letters",
    "message_log": "nba-phase2-raw-complete-messages",
}


def quoted(text: str) -> str:
    """Return a text as a block of the page."""
    return f"```text\n{text.rstrip()}\n```\n"


def logged(write: Callable[[LogChannel], object]) -> list[dict[str, Any]]:
    """Return the log entries that the log channel writes."""
    stream = io.StringIO()
    write(LogChannel(PHASES, **WHERE, stream=stream))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@cache
def events() -> tuple[Happening, ...]:
    """Return all that happens in the demo."""
    happened: list[Happening] = []
    with tempfile.TemporaryDirectory() as folder:
        play_demo(Path(folder), happened.append)
    return tuple(happened)


def notification(kind: NotificationKind) -> tuple[datetime, Notification]:
    """Return the last notification of a kind about the blocked date, and when it was sent."""
    sent = [(at, what) for at, what in events() if isinstance(what, Notification)]
    own = [(at, what) for at, what in sent if what.verdict.game_date == BLOCKED]
    return [(at, what) for at, what in own if what.kind is kind][-1]


def entry(kind: NotificationKind) -> dict[str, Any]:
    """Return the log entry of a kind; nothing of the demo expires."""
    if kind is NotificationKind.EXPIRED:
        (written,) = (one for one in absence() if one.get("canary_alert") == kind)
        return written
    at, sent = notification(kind)
    (written,) = logged(lambda channel: channel.send([sent], at))
    return written


@cache
def absence() -> tuple[dict[str, Any], ...]:
    """Return what the log gets from a run that is the first for two months."""
    with stuck() as stores:
        watch(stores, PHASES, Channels(LogChannel(PHASES, stream=io.StringIO())), NOW)
        later = NOW + timedelta(days=60)
        return tuple(logged(lambda channel: watch(stores, PHASES, Channels(channel), later)))


def log(kind: str) -> str:
    """Quote what the log entry of a kind says."""
    return quoted(str(entry(NotificationKind(kind))["message"]))


def slack(kind: str) -> str:
    """Quote a post in Slack of a kind: what a phone shows, and what stands below it."""
    at, sent = notification(NotificationKind(kind))
    post = message([sent], PHASES, CommandLine(**cast("Any", WHERE)), at)
    lines = [post["text"]]
    for fault in post["attachments"]:
        for block in fault["blocks"]:
            texts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
            lines += ["", *(text["text"] for text in texts if text)]
    # Of a block of code in this one, the first would be the end.
    return quoted(re.sub(r"```\n?(.*?)\n?```", r"`\1`", "\n".join(lines)))


def headlines() -> str:
    """Return a row for each kind: its first line, which a phone shows, and its severity."""
    rows = ["| `canary_alert` | severity | first line |", "|---|---|---|"]
    for kind in NotificationKind:
        written = entry(kind)
        rows.append(f"| `{kind}` | `{written['severity']}` | {written['headline']} |")
    return "\n".join(rows) + "\n"


class Refusing:
    """Documents that can be read, and not written."""

    def __init__(self, documents: DocumentStore) -> None:
        self.get_all = documents.get_all

    def commit(self, _: Sequence[object]) -> bool:
        """Refuse."""
        raise StoreError("Firestore: PermissionDenied: 403")


@contextmanager
def stuck() -> Iterator[EmbeddedStores]:
    """Make stores in which all have completed for one date, and the flag is unset."""
    phase = PHASES["phase2"]
    with tempfile.TemporaryDirectory() as folder, EmbeddedStores(Path(folder)) as stores:
        for number, name in enumerate(sorted(phase.expected)):
            at = NOW - timedelta(minutes=42 - number)
            event = push_envelope(name, str(BLOCKED), at, message_id=str(number))
            completion = Completion.from_event(event, phase)
            track(completion, phase, stores.documents, stores.completion_log, at)
        yield stores


def note(sent: Sequence[dict[str, Any]]) -> str:
    """Return the note of the alert about the date that is stuck."""
    (text,) = {one["message"] for one in sent if str(BLOCKED) in one.get("game_dates", ())}
    (found,) = re.findall(r"^Note: +(.*)$", text, re.MULTILINE)
    return str(found)


def notes() -> str:
    """Return a row for each note that an alert may have, and what it means."""
    with stuck() as stores:
        first = logged(lambda channel: watch(stores, PHASES, Channels(channel), NOW))
        stores.documents = cast("Any", Refusing(stores.documents))
        without = logged(lambda channel: watch(stores, PHASES, Channels(channel, canary="x"), NOW))
    ack = Acknowledgement(
        phase="phase2",
        game_date=BLOCKED,
        at=NOW,
        opened_at=NOW,
        level=Level.ERROR,
        by="ada",
        note="deploying the list",
    )
    silence = new_silence(
        phase="phase2",
        first=BLOCKED,
        last=BLOCKED,
        reason="maintenance",
        expires_at=NOW + timedelta(hours=12),
        now=NOW,
        by="ada",
    )
    rows = (
        (note(first), "nobody remembers what you have heard: each open problem is said once, anew"),
        (ack.text, "somebody has it in hand; no reminder comes for a while"),
        (f"silenced: {silence.text}", "of a date that is over, or whose silence has just ended"),
        (note(without), "the canary cannot write down what it sends: mend that store first"),
    )
    lines = ["| note | means |", "|---|---|", *(f"| {text} | {means} |" for text, means in rows)]
    return "\n".join(lines) + "\n"


def word(what: str) -> str:
    """Quote what is said of the canary itself, in the log; Slack has what follows the colon."""
    kind, written = Warned(what), list[dict[str, Any]]()
    match kind:
        case Warned.TEST:
            written = logged(lambda channel: Channels(channel).test(NOW))
        case Warned.CHANNEL:
            refusal = Refusal("", NOW, "Slack answered 404 no_service")
            text = refusal_text("slack", refusal)
            written = logged(lambda channel: channel.warn(kind, text, NOW))
        case Warned.AWAY:
            written = [*absence()]
    (text,) = (one["message"] for one in written if one["message"].startswith(f"CANARY_{what}:"))
    return quoted(text)


def heartbeat() -> str:
    """Quote the line of a heartbeat that was not heard: nothing listens on this port."""
    return quoted(f"CANARY_HEARTBEAT: {Heartbeat('http://127.0.0.1:1/beat').beat()}")


def mails() -> str:
    """Return the mail of each alert policy, about the blocked date where it has one."""
    parts = []
    for file in sorted(POLICIES.glob("*.json")):
        text = file.read_text("utf-8")
        for name, value in NAMES.items():
            text = re.sub(rf"(?<!\$)\{{{name}\}}", value, text)
        policy = json.loads(text)
        parts += [f"### {policy['displayName']}", "", quoted(_filled_in(file.stem, policy))]
    return "\n".join(parts)


def _filled_in(name: str, policy: Mapping[str, Any]) -> str:
    """Put into a mail what Monitoring takes from the log entry; else the field's name stands."""
    kinds = {
        "canary_alert": NotificationKind.CHANGED,
        "canary_resolved": NotificationKind.RESOLVED,
        "canary_expired": NotificationKind.EXPIRED,
    }
    fields = entry(kinds[name]) if name in kinds else {}
    return re.sub(
        r"\$\{log\.extracted_label\.(\w+)\}",
        lambda label: str(fields.get(label[1], label[1].upper())),
        policy["documentation"]["content"],
    )
