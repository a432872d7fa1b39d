"""`canary demo`: February 2026 as it happened, through the real orchestrator and the real canary.

Until February 11 the old code was in service, and went wrong in two ways:

- February 9: before its own transaction the old function called a tracker, which merged the
  processor into the same document. The transaction then took each message for a duplicate. All
  five complete, `_triggered` unset, for days.
- February 10: a restarted instance waited for `p2_bdl_box_scores`, which had been switched off.

From February 11 on the new orchestrator serves; a re-run of one processor mends February 9,
because a registration that is there already is evaluated again.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console

from canary.old_code import OldCode
from canary.rehearsal import Rehearsal, Step
from canary.run import Report
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import push_envelope

_EASTERN = ZoneInfo("America/New_York")
_FIRST, _LAST = date(2026, 2, 7), date(2026, 2, 13)
_SHORT_CIRCUITED, _DRIFTED, _NEW_CODE, _NO_GAMES = (date(2026, 2, d) for d in (9, 10, 11, 13))
_WHAT_HAPPENED = {
    date(2026, 2, 7): "a healthy date; Pub/Sub delivers one message twice",
    date(2026, 2, 8): "a healthy date",
    _SHORT_CIRCUITED: "the old code, with the six lines in it, registers all five and takes each for a duplicate",
    _DRIFTED: "an orchestrator that still waits for p2_bdl_box_scores, which was switched off weeks ago",
    _NEW_CODE: "the new orchestrator serves",
    date(2026, 2, 12): "a healthy date",
    _NO_GAMES: "no games: every processor reports no_data",
}

# When each processor reports, as minutes after midnight Eastern time of the game date: odds in the
# evening, play-by-play, game books and box scores after the last game, which is past midnight.
_USUAL = {
    "OddsApiGameLinesBatchProcessor": 18 * 60 + 4,
    "OddsApiPropsBatchProcessor": 18 * 60 + 11,
    "BigDataBallPbpProcessor": 25 * 60 + 17,
    "NbacGamebookProcessor": 25 * 60 + 33,
    "NbacPlayerBoxscoreProcessor": 25 * 60 + 41,
}


def demo(phase: Phase, folder: Path, console: Console) -> Report:
    """Replay the week in `folder`; the report is about all its dates."""
    with EmbeddedStores(folder, durable=False) as stores:
        rehearsal = Rehearsal(phase, stores, console)
        return rehearsal.run(list(_steps(rehearsal, phase)), _WHAT_HAPPENED, until=_at(_LAST, 36 * 60))


def _steps(rehearsal: Rehearsal, phase: Phase) -> Iterator[Step]:
    drifted = msgspec.structs.replace(phase, processors={**phase.processors, "p2_bdl_box_scores": ()})
    old_code = OldCode(phase, rehearsal.stores.documents, rehearsal.stores.completion_log)
    in_service: dict[date, Callable[[object], None]] = {
        _SHORT_CIRCUITED: partial(
            old_code.deliver_with_checkpoints, checkpoints=rehearsal.checkpoints(phase), decides=False
        ),
        _DRIFTED: rehearsal.orchestrator(drifted).deliver,
    }
    new_code = rehearsal.orchestrator(phase).deliver
    day = _FIRST
    while day <= _LAST:
        yield Step(_at(day, 18 * 60), partial(rehearsal.headline, f"{day:%B} {day.day}: {_WHAT_HAPPENED[day]}"))
        deliver = in_service.get(day, new_code)
        status = "no_data" if day == _NO_GAMES else "success"
        for number, (processor, minute) in enumerate(_USUAL.items(), 1):
            at = _at(day, minute)
            envelope = push_envelope(processor, str(day), at, message_id=f"{day:%m%d}0{number}", status=status)
            yield Step(at + timedelta(seconds=1), partial(deliver, envelope))
            if number == 3:  # noqa: PLR2004 (Pub/Sub delivers at least once: one message a day comes twice)
                yield Step(at + timedelta(seconds=20), partial(deliver, envelope))
        day += timedelta(days=1)
    again = _at(_NEW_CODE, 10 * 60)
    envelope = push_envelope("NbacGamebookProcessor", str(_SHORT_CIRCUITED), again, message_id="re-run")
    yield Step(again, partial(rehearsal.headline, "the game books of February 9 are run again"))
    yield Step(again, partial(new_code, envelope))


def _at(day: date, minute: int) -> datetime:
    midnight = datetime(day.year, day.month, day.day, tzinfo=_EASTERN)
    return (midnight + timedelta(minutes=minute)).astimezone(UTC)
