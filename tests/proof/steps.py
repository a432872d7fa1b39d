"""One run over one date, as canary/notify/incidents.py takes it, without its documents."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from msgspec.structs import replace

from canary.domain.incident import (
    DateMemory,
    NotificationKind,
    PostOutcome,
    Situation,
    answered,
    closed,
    due,
    expire,
    follow,
    sending,
)
from canary.domain.verdict import Verdict, VerdictKind
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase

START = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
CHANNELS = ("log", "slack")
AT = Situation(
    now=START,
    run="1",
    addresses=dict.fromkeys(CHANNELS, ""),
    phase=load_phase("phase2", BUNDLED_PHASES),
)
_GONE = Verdict(
    kind=VerdictKind.UNKNOWN, phase="phase2", game_date=date(2026, 2, 9), summary="a summary"
)


def step(
    memory: DateMemory,
    seen: Verdict | None,
    situation: Situation,
    outcomes: Mapping[str, PostOutcome] | None = None,
) -> tuple[DateMemory, dict[str, NotificationKind]]:
    """Take one run, `seen` None once its date is past; return the memory and what was heard."""
    followed = expire(memory, situation) if seen is None else follow(memory, seen, situation)
    shown = seen or _GONE
    receipts = followed.open.receipts if followed.open else {}
    situation = replace(
        situation, gone=seen is None, group_at={name: one.at for name, one in receipts.items()}
    )
    kinds = {
        name: kind
        for name in situation.addresses
        if (kind := due(followed, name, shown, situation))
    }
    if not kinds:
        return closed(followed, situation), {}
    became = {name: (outcomes or {}).get(name, PostOutcome.HEARD) for name in kinds}
    after = answered(sending(followed, kinds, shown, "", situation), became, followed, situation)
    return after, {name: kind for name, kind in kinds.items() if became[name] is PostOutcome.HEARD}
