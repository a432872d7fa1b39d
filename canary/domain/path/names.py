"""Names as the path reads them.

A missing processor that reports under another one is taken for unexpected.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.path.known import Fact, Known
from canary.domain.stages import CauseKind, Stage, State

_SOURCE = "names"


def name_facts(known: Known) -> Iterator[Fact]:
    """ACCEPTED is refused to a processor that was renamed.

    A rename shows on two dates: before it the expected name reported alone, and the two never
    reported on one date. What Pub/Sub alone has seen of the new name was not refused by anybody.
    """
    before = [one for one in known.history if one.game_date != known.game_date]
    for name in (
        known.progress.unexpected
        | known.rows.unexpected
        | {known.processor_of(line) for line in known.lines}
    ):
        nearest = known.phase.nearest(name) or ""
        with_new_name = {name in one.unexpected for one in before if one.has_reported(nearest)}
        if (
            name not in known.phase.expected
            and nearest in known.missing
            and with_new_name == {False}
        ):
            came = Fact(stage=Stage.DELIVERED, state=State.REACHED, subject=nearest, source=_SOURCE)
            yield came
            words = f"{name} is not expected, and resembles it"
            refused = replace(came, stage=Stage.ACCEPTED, state=State.REFUSED)
            yield replace(refused, cause=CauseKind.NAME_DRIFT, words=words)
