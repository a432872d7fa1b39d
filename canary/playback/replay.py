"""`canary replay`: messages of the user's own through the real orchestrator and the real canary."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from canary.playback.playback import Playback, Show
from canary.playback.schedule import TICK
from canary.run import Report
from orchestrator_resilience.completion import Completion, push_envelope_of
from orchestrator_resilience.errors import ConfigurationError, InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import instant
from orchestrator_resilience.stores.embedded import EmbeddedStores

_Message = tuple[datetime, Mapping[str, Any]]
_EXPECTED = "message: missing: expected {'message': {'data': …, 'publishTime': …}}"


def play_messages(
    file: Path, phase: Phase, folder: Path, show: Show, until: datetime | None
) -> Report:
    """Deliver each message of `file` at its publish time, in that order.

    `file` has objects of JSON, one a line or in an array: the `message` as Pub/Sub delivers or
    pulls it, the message alone, or a CloudEvent. Raises ConfigurationError naming the line that is
    no such object; a message that is one but cannot be parsed is the orchestrator's to reject. The
    game dates of the file are judged, up to `until`: by default past their deadlines.
    """
    messages = _read(file)
    dates = _dates(messages, phase)
    with EmbeddedStores(folder, durable=False) as stores:
        playback = Playback(phase, stores, show)
        deliver = playback.orchestrator(phase).deliver
        steps = [(at, partial(deliver, envelope)) for at, envelope in messages]
        return playback.run(steps, dates, until or _end(messages, dates, phase))


def _read(file: Path) -> list[_Message]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error
    messages = [_parse(item, where) for item, where in _items(text, str(file))]
    if not messages:
        raise ConfigurationError(f"{file}: has no message")
    return messages


def _items(text: str, file: str) -> list[tuple[object, str]]:
    """Return the objects of JSON in a file, one a line or in arrays, and where each of them is."""
    lines = text.split("\n")  # not splitlines: JSON may hold other line separators
    try:
        values = [
            (_json(line, f"{file}:{number}"), f"{file}:{number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    except ConfigurationError:
        try:
            # one value over several lines, as `gcloud … --format=json` prints it
            values = [(json.loads(text), file)]
        except (ValueError, RecursionError):
            values = []
        if not values:
            raise
    return [
        (item, where)
        for value, where in values
        for item in (value if isinstance(value, list) else [value])
    ]


def _json(line: str, where: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not JSON: {error}") from error


def _parse(item: object, where: str) -> _Message:
    """Return when a message was published, and what the orchestrator takes for its delivery."""
    event = {"message": item} if isinstance(item, dict) and _is_bare(item) else item
    try:
        envelope, attributes = push_envelope_of(event)
    except InvalidMessageError as error:
        raise ConfigurationError(f"{where}: {_EXPECTED}") from error
    message = envelope["message"]
    text = message.get("publishTime") or message.get("publish_time") or attributes.get("time")
    published_at = instant(text)
    if published_at is None:
        raise ConfigurationError(f"{where}: message.publishTime: not a time that can be: {text!r}")
    return published_at, cast("Mapping[str, Any]", event)


def _is_bare(item: Mapping[str, Any]) -> bool:
    """Whether an object is a message itself, with nothing around it."""
    around = "message" in item or (isinstance(item.get("data"), dict) and "message" in item["data"])
    return not around and ("publishTime" in item or "publish_time" in item)


def _dates(messages: list[_Message], phase: Phase) -> set[date]:
    """Return the game dates of the messages; their publish dates where none can be parsed."""
    dates = set()
    for _, envelope in messages:
        try:
            dates.add(Completion.from_event(envelope, phase).game_date)
        except InvalidMessageError:
            continue
    return dates or {phase.today(at) for at, _ in messages}


def _end(messages: list[_Message], dates: set[date], phase: Phase) -> datetime:
    """Return when everything that a canary would say has been said."""
    last = max(at for at, _ in messages)
    # a date far in the future is not waited for
    watched = last + timedelta(days=phase.lookback_dates)
    last_word = min(phase.deadline(max(dates)), watched)
    return max(last + phase.untriggered_after, last_word) + TICK
