"""Channels whose address is refused for good: remembered, so that they are told of once and not tried in each run."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from canary.domain.documents import from_fields
from canary.domain.incident import CLAIM_EXPIRES_AFTER, REMIND_EVERY
from canary.notify.channel import Channel
from orchestrator_resilience.plain import printable
from orchestrator_resilience.stores.base import Document


class Refusal(msgspec.Struct, frozen=True):
    """That an address was refused: which, when last (UTC), and the channel's words for it."""

    address: str
    at: datetime
    reason: str


def read_refusals(document: Document | None, channels: Mapping[str, Channel]) -> dict[str, Refusal]:
    """Return the refusals by the channel's name; one of another address than the channel's is over."""
    fields = document.fields if document else {}
    refusals = {name: from_fields(Refusal, printable(fields.get(name))) for name in channels}
    return {name: kept for name, kept in refusals.items() if kept and kept.address == channels[name].address}


def is_left_alone(refusal: Refusal, now: datetime) -> bool:
    """Whether the channel is not tried yet: it is every four hours, in case the address is taken again."""
    return -CLAIM_EXPIRES_AFTER < now - refusal.at < REMIND_EVERY


def refusal_text(name: str, refusal: Refusal) -> str:
    """Say to those who are still reached that the others are not."""
    return (
        f"nobody is told through the channel {name} any more: {refusal.reason}. Give it an address that is taken; "
        "it is then told how things stand"
    )
