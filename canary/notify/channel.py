"""What people are notified of, a way to reach them, and all the ways that a canary has."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from canary.domain.incident import Incident, NotificationKind
from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.slots import OwnMemory
from canary.domain.verdict import Verdict
from orchestrator_resilience.errors import ResilienceError


class NotifyError(ResilienceError):
    """Nobody could be notified over this channel.

    `gone` is true where the channel refuses the address itself, whatever the message: it stays
    refused until somebody mends the address. `again_after` is the least number of seconds before
    another attempt may help, None where none does. `may_be_posted` is true where only the answer
    may have been lost.
    """

    def __init__(
        self,
        reason: str,
        *,
        gone: bool = False,
        again_after: float | None = None,
        may_be_posted: bool = False,
    ) -> None:
        super().__init__(reason)
        self.gone = gone
        self.may_be_posted = may_be_posted
        self.again_after = again_after


class Warned(StrEnum):
    """What people are warned of about the canary itself.

    CHANNEL: a channel is refused. AWAY: the canary had not run for a while. TEST: this is only a
    test.
    """

    CHANNEL = "CHANNEL"
    AWAY = "AWAY"
    TEST = "TEST"


class Notification(msgspec.Struct, frozen=True):
    """What a channel is sent about an incident: its kind, the incident, the verdict, and a `note`.

    `also` are the verdicts of the other dates of its group, of which the channel was notified
    before.
    """

    kind: NotificationKind
    incident: Incident
    verdict: Verdict
    note: str = ""
    also: tuple[Verdict, ...] = ()


class Channel(Protocol):
    """A way to reach people.

    `name` is the key of its receipts. `address` differs where another address was given, and does
    not show it.
    """

    name: str
    address: str

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Send all of `notifications`, in one message where the channel has messages.

        Raises when they could not be sent.
        """

    def warn(self, what: Warned, text: str, now: datetime) -> None:
        """Send a word about the canary itself; raises when it could not be sent."""


class Channels:
    """The channels of a canary, by name.

    `canary` is the canary's own name, under which it finds the incidents that it opened. One object
    is kept for as long as the process lives, and with it the process's own memory.
    """

    def __init__(self, *channels: Channel, canary: str = DEFAULT_CANARY) -> None:
        self.by_name = {channel.name: channel for channel in channels}
        self.canary = canary
        self.memory = OwnMemory()

    def send(
        self, name: str, notifications: Sequence[Notification], now: datetime
    ) -> tuple[Sequence[Notification], Exception | None]:
        """Send over one channel; return what was sent, and the failure of what was not.

        Where the channel itself did not fail, one of the notifications is odd: each is then tried
        by itself.
        """
        try:
            self.by_name[name].send(notifications, now)
        except Exception as error:  # noqa: BLE001 (whatever it is, the other channels and dates are notified)
            if isinstance(error, (NotifyError, OSError)) or len(notifications) == 1:
                return [], error
            each = [self.send(name, [notification], now) for notification in notifications]
            return [notification for sent, _ in each for notification in sent], next(
                (failure for _, failure in each if failure), None
            )
        return notifications, None

    def test(self, now: datetime) -> dict[str, str]:
        """Send a marked message over each channel.

        Return by name why it could not be sent; the reason is empty where it was sent.
        """
        text = (
            f"TEST · this channel of the canary {self.canary} works: nothing is wrong, and nobody "
            "has to do anything"
        )
        return {name: str(self.warn(name, Warned.TEST, text, now) or "") for name in self.by_name}

    def warn(self, name: str, what: Warned, text: str, now: datetime) -> Exception | None:
        """Send a warning about the canary itself over one channel; return the failure."""
        try:
            self.by_name[name].warn(what, text, now)
        except Exception as error:  # noqa: BLE001 (as above)
            return error
        return None
