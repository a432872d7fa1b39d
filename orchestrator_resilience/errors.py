"""Every error this package raises, and the one that tells where validation failed.

ResilienceError
├── ConfigurationError      phases.toml or an environment variable is wrong; names it
├── InvalidMessageError     a message that no redelivery can mend; names the field
├── StoreError              a store could not be read or written
│   └── ContentionError     others kept changing a document; a redelivery will do
└── DeliveryError           a delivery was not stored completely and has to come again
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import msgspec


class ResilienceError(Exception):
    """The root of this package's errors.

    `permanent` is true where trying again with the same input cannot help.
    """

    permanent = False


class ConfigurationError(ResilienceError):
    """A setting or a file of settings is wrong; the text names the culprit."""

    permanent = True


class InvalidMessageError(ResilienceError):
    """A message that can never be parsed.

    `field` is the culprit ("game_date", "message.publishTime"), `reason` says what is wrong with
    it. `event_id` is the message's id where it could be read; `raw` is the message as far as it
    could be decoded, so that anyone who logs the error can keep what was sent. `processor` and
    `game_date` are what the message says of itself, where that much can be read.
    """

    permanent = True

    def __init__(
        self, field: str, reason: str, *, event_id: str | None = None, raw: str = ""
    ) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.event_id = event_id
        self.raw = raw
        self.processor: str | None = None
        self.game_date: date | None = None


class StoreError(ResilienceError):
    """A store could not be read or written; `__cause__` is the driver's own error."""


class ContentionError(StoreError):
    """A document changed under every one of the bounded attempts to update it."""


class DeliveryError(ResilienceError):
    """At least one write of a delivery failed: it must not be acknowledged.

    `failures` maps each failed step to the error it ended with, in the order they happened.
    """

    def __init__(self, failures: dict[str, Exception]) -> None:
        super().__init__(
            "; ".join(f"{step}: {type(e).__name__}: {e}" for step, e in failures.items())
        )
        self.failures = failures


# What a client may raise where something else than its server answers.
ODD_ANSWER = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def store_errors(store: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn a driver's errors of these kinds into StoreErrors that name the store."""
    try:
        yield
    except kinds as error:
        raise StoreError(f"{store}: {type(error).__name__}: {error}") from error


def culprit(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's text into (field, reason).

    The field is empty when the value as a whole is wrong.
    """
    reason, _, path = str(error).partition(" - at `$")
    if path:
        return path.rstrip("`").lstrip("."), reason
    named = re.search(r"field `(.+)`", reason)
    return (named[1] if named else ""), reason
