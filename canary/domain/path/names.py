"""Names as the path reads them.

A missing processor that reports under another name is taken for unexpected.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from canary.domain.path.dossier import Dossier, Fact
from canary.domain.stages import CauseKind, Stage, State

_SOURCE = "names"


def name_facts(dossier: Dossier) -> Iterator[Fact]:
    """Yield that ACCEPTED is refused to a processor that was renamed.

    A rename shows on two dates: before it the expected name reported alone, and the two never
    reported on one date. A new name that Pub/Sub alone has seen was refused by nobody.
    """
    before = [facts for facts in dossier.history if facts.game_date != dossier.game_date]
    for name in (
        dossier.progress.unexpected
        | dossier.rows.unexpected
        | {dossier.processor_of(line) for line in dossier.lines}
    ):
        nearest = dossier.phase.nearest(name) or ""
        with_new_name = {
            name in facts.unexpected for facts in before if facts.has_reported(nearest)
        }
        if (
            name not in dossier.phase.expected
            and nearest in dossier.missing
            and with_new_name == {False}
        ):
            came = Fact(stage=Stage.DELIVERED, state=State.REACHED, subject=nearest, source=_SOURCE)
            yield came
            words = f"{name} is not expected, and resembles it"
            refused = replace(came, stage=Stage.ACCEPTED, state=State.REFUSED)
            yield replace(refused, cause=CauseKind.NAME_DRIFT, words=words)
