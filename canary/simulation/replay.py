"""`canary replay`: messages of the user's own through the real orchestrator and the real canary."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from canary.run import Report
from canary.simulation.playback import Playback, Show, Step
from canary.simulation.schedule import TICK
from orchestrator_resilience.completion import YEARS, Completion
from orchestrator_resilience.errors import ConfigurationError, InvalidMessageError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.progress import instant
from orchestrator_resilience.stores.embedded import EmbeddedStores


def replay(file: Path, phase: Phase, folder: Path, show: Show, until: datetime | None) -> Report:
    """Deliver each message of `file` at its publish time, in that order.

    `file` has one JSON object a line, with the `message` as Pub/Sub delivers or pulls it. Raises
    ConfigurationError naming the line that is no such object; a message that is one but cannot be
    parsed is the orchestrator's to reject. The game dates of the file are judged, up to `until`: by
    default past their deadlines.
    """
    messages = _read(file)
    dates = _dates(messages, phase)
    with EmbeddedStores(folder, durable=False) as stores:
        playback = Playback(phase, stores, show)
        deliver = playback.orchestrator(phase).deliver
        steps = [Step(at, partial(deliver, envelope)) for at, envelope in messages]
        return playback.run(steps, dates, until or _end(messages, dates, phase))


def _read(file: Path) -> list[tuple[datetime, Mapping[str, Any]]]:
    try:
        lines = file.read_text("utf-8-sig").split("\n")  # not splitlines: JSON may hold other line separators
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error
    messages = [_parse(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not messages:
        raise ConfigurationError(f"{file}: has no message")
    return messages


def _parse(line: str, where: str) -> tuple[datetime, Mapping[str, Any]]:
    try:
        envelope = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not JSON: {error}") from error
    message = envelope.get("message") if isinstance(envelope, dict) else None
    if not isinstance(message, dict):
        raise ConfigurationError(f"{where}: message: missing: expected {{'message': {{'data': …, 'publishTime': …}}}}")
    text = message.get("publishTime", message.get("publish_time"))
    published_at = instant(text)
    if published_at is None or published_at.year not in YEARS:
        raise ConfigurationError(f"{where}: message.publishTime: not a time that can be: {text!r}")
    return published_at, envelope


def _dates(messages: list[tuple[datetime, Mapping[str, Any]]], phase: Phase) -> set[date]:
    """Return the game dates that the messages are about; their publish dates where none can be parsed."""
    dates = set()
    for _, envelope in messages:
        try:
            dates.add(Completion.from_event(envelope, phase).game_date)
        except InvalidMessageError:
            continue
    return dates or {phase.today(at) for at, _ in messages}


def _end(messages: list[tuple[datetime, Mapping[str, Any]]], dates: set[date], phase: Phase) -> datetime:
    """Return when everything that a canary would say has been said."""
    last = max(at for at, _ in messages)
    watched = last + timedelta(days=phase.lookback_dates)  # a date far in the future is not waited for
    said = min(phase.deadline(max(dates)), watched)
    return max(last + phase.untriggered_after, said) + TICK
