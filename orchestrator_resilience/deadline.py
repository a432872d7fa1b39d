"""How long something may take."""

import time


class Deadline:
    """The moment, `seconds` after it was made, by which something has to have ended.

    It goes by the monotonic clock, because the wall clock may be set meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, 0.0 where there are none."""
        return max(0.0, self._at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.left() <= 0
