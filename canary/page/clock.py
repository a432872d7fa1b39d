"""Times as people read them: Z, as in logs and commands, and beside it the phase's local time."""

import re
from datetime import UTC, date, datetime, tzinfo

# A time as the canary writes it, with or without its date, or from one to another.
_TIME = re.compile(
    r"\b(?:(\d{4}-\d\d-\d\d)[ T])?(?:(\d\d:\d\d) to )?(\d\d:\d\d(?::\d\d)?)Z(?! \(\d)"
)


def both(at: datetime, zone: tzinfo, *, seconds: bool = False) -> str:
    """Say a moment (aware) as "2026-02-12 03:04Z (02-11 22:04 EST)".

    The local date is left out where it is the same.
    """
    utc = at.astimezone(UTC)
    return with_local(
        f"{utc:%Y-%m-%d %H:%M:%S}Z" if seconds else f"{utc:%Y-%m-%d %H:%M}Z", zone, utc.date()
    )


def with_local(text: str, zone: tzinfo, day: date) -> str:
    """Put the local time beside each time of a text that has none yet.

    A time without a date is of `day`.
    """

    def local(match: re.Match[str]) -> str:
        written, start, end = match.groups()
        try:
            times = [_local(written or str(day), clock, zone) for clock in (start, end) if clock]
        except (ValueError, OverflowError):  # it only looks like a time
            return match[0]
        clocks = " to ".join(
            f"{at:%H:%M:%S}" if len(end) > len("00:00") else f"{at:%H:%M}" for at in times
        )
        local_date = f"{times[0]:%m-%d} " if written and str(times[0].date()) != written else ""
        return f"{match[0]} ({local_date}{clocks} {times[-1]:%Z})"

    return _TIME.sub(local, text)


def _local(day: str, clock: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}Z").astimezone(zone)
