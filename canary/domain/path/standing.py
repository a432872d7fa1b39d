"""What is no stop, and yet worth knowing: it is shown beside the path."""

from collections.abc import Collection, Iterator

from canary.domain.path.changed import changed
from canary.domain.path.dossier import Dossier, Fact
from canary.domain.stages import Cause, CauseKind, Standing, StandingKind


def standing(
    dossier: Dossier, causes: Collection[Cause], path: Collection[Fact]
) -> Iterator[Standing]:
    """Yield what holds of the date beside its `causes`, and is not one of them."""
    phase = dossier.phase
    kinds = {cause.kind for cause in causes}
    if CauseKind.EXPECTATION_DRIFT not in kinds and (
        surplus := dossier.surplus(dossier.orchestrator_expected)
    ):
        yield Standing(StandingKind.WAITS_FOR_TOO_MANY, surplus)
    if left_out := tuple(
        sorted(phase.expected - (dossier.orchestrator_expected or phase.expected))
    ):
        yield Standing(StandingKind.WAITS_FOR_TOO_FEW, left_out)
    if CauseKind.SHORT_CIRCUIT not in kinds and (duplicates := tuple(dossier.first_duplicates())):
        yield Standing(StandingKind.DUPLICATES, duplicates)
    without = tuple(name for name in dossier.missing if not dossier.may_have_completed(name))
    if without and dossier.progress.trigger is not None:
        yield Standing(StandingKind.SET_WITHOUT, without, dossier.progress.trigger.reason or "")
    if CauseKind.NAME_DRIFT not in kinds:
        for name in dossier.unexpected:
            if (nearest := phase.nearest(name)) and nearest in dossier.missing:
                yield Standing(StandingKind.RESEMBLES, (name, nearest))
    yield from changed(dossier, causes, path)
