"""What a store may hold that nobody of this project wrote, as Hypothesis generates it: documents, rows, checkpoints.

Each is one date's: whatever it is, the other dates are judged as if it were not there.
"""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from canary.domain.evidence import Absent, Arrival, Evidence, Flag, Logged, Seen, Source, Unreadable
from orchestrator_resilience.checkpoints import CheckpointKind, Severity
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase
from orchestrator_resilience.progress import Report

PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)
DAY = date(2026, 2, 9)
AT = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)

texts = st.text(max_size=12) | st.sampled_from(["", "\x1b[31m", "a\nb", "\u202ex", "x" * 2000, *FIVE, "Infinity"])
odd_times = st.sampled_from(
    [
        datetime(1, 1, 1, tzinfo=UTC),  # what Go writes for no time
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),  # before year 1 in UTC
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 10, 6, 41),  # noqa: DTZ001 (naive)
        AT + timedelta(days=365),
    ]
)
times = odd_times | st.integers(-600, 600).map(lambda minutes: AT + timedelta(minutes=minutes))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | texts
    | times
    | st.sampled_from(["0001-01-01T00:00:00Z", "2026-02-10T06:41:00", "2026-02-10", "now"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
deep: Any = []
for _ in range(300):
    deep = [deep]

_entry = st.fixed_dictionaries(
    {}, optional={"completed_at": values, "registered_at": values, "event_id": values, "status": values}
)
_own = ["_triggered", "_triggered_at", "_trigger_reason", "_trigger_event_id", "_expected", "_partial_completion"]
_own += ["_reports", "_unexpected", "_completed_count", "_first_completion_at"]
documents = st.dictionaries(
    st.sampled_from([*FIVE, *_own, "p2_unexpected", "_triggered_reason", "_mode"]) | texts,
    _entry | values | st.just(True) | st.lists(st.sampled_from(FIVE)) | st.just(deep),
    max_size=10,
)
"""The fields of a progress document."""

reports = st.builds(Report, texts | st.sampled_from(["failed", "no_data", "success"]), st.none() | times)
_arrival = st.builds(Arrival, times, times)
logs: st.SearchStrategy[Source[Logged]] = st.one_of(
    st.just(Absent()),
    st.just(Unreadable("refused")),
    st.builds(
        Logged,
        completed=st.dictionaries(st.sampled_from(FIVE), _arrival),
        reports=st.dictionaries(st.sampled_from(FIVE), reports),
        unexpected=st.frozensets(texts, max_size=3),
        flag=st.none() | st.builds(Flag, st.booleans(), st.none() | times),
        flag_table=st.none() | st.builds(Flag, st.booleans(), st.none() | times, st.none() | texts),
    ).map(Seen),
)
"""What the completion log may say of a date."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_fields = [
    *("phase", "game_date", "processor", "raw_processor", "event_id", "delivery", "sequence", "completed", "missing"),
    *("expected", "triggered", "should_trigger", "duplicate", "steps", "causes", "field", "reason", "raw", "closes"),
    *("time", "checkpoint", "severity", "message"),
]


def checkpoint_entry(**fields: Any) -> dict[str, Any]:
    """Return a line as the library leaves it, with some fields replaced."""
    return {
        "severity": Severity.INFO.value,
        "message": "CHECKPOINT_RECEIVED: x",
        "time": AT.isoformat(),
        "checkpoint": CheckpointKind.RECEIVED.value,
        "closes": False,
        "phase": "phase2",
        "game_date": str(DAY),
        "processor": FIVE[0],
        "event_id": "1",
        "delivery": "d1",
        "sequence": 1,
        **fields,
    }


checkpoint_entries = st.builds(
    lambda kind, odd: checkpoint_entry(**{"checkpoint": kind, **odd}),
    st.sampled_from([kind.value for kind in CheckpointKind]),
    st.dictionaries(
        st.sampled_from(_fields),
        json_values | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2026-02-10T06:41:00", {}]),
        max_size=4,
    ),
)
"""Lines of the archive, as objects of JSON."""


def evidence_of(log: Source[Logged], **others: Any) -> Evidence:
    """Return one date's evidence."""
    return Evidence(phase="phase2", game_date=DAY, completion_log=log, **{"progress": Absent(), **others})
