"""One canary run: gather the evidence, judge each date, say where the problems stopped, report."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from canary.domain.advance import Judged
from canary.domain.clocks import believed_checkpoints, believed_runs, known_by, without_a_time
from canary.domain.evidence import (
    Absent,
    Evidence,
    Seen,
    Source,
    Traces,
    Unreadable,
    mapped,
    value_or,
)
from canary.domain.facts import Facts, newcomers
from canary.domain.incident import DateMemory
from canary.domain.path import where_it_stopped
from canary.domain.path.dossier import Dossier, heard_of
from canary.domain.remembered import (
    DEFAULT_CANARY,
    Documents,
    Runs,
    canary_ref,
    date_memory,
    read_runs,
)
from canary.domain.silence import Silence, people_ref, read_silences
from canary.domain.stages import Cause, CauseKind
from canary.domain.timeline import Timeline, timeline_of
from canary.domain.verdict import Verdict, VerdictKind, judge, names
from canary.domain.warnings import early_warnings, silent_dates
from canary.notify.channel import Channels
from canary.notify.incidents import Notified, notify_channels
from canary.sources import CHECKPOINTS_SECONDS, READ_SECONDS, gather, read_traces
from orchestrator_resilience.background import Beside
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import one_line
from orchestrator_resilience.progress import Progress
from orchestrator_resilience.stores.base import Stores

# All that a run does ends by then: 35 s to read the sources, 15 for what the deliveries left, 20 to
# remember, 10 each for Slack and for a word about it, 5 for the heartbeat. deploy/common.sh adds
# what an instance takes to start.
RUN_SECONDS = 95.0


class Outcome(IntEnum):
    """How a run ended; the number is the command's exit code."""

    QUIET = 0
    """Nothing is wrong."""
    PROBLEM = 1
    """At least one date has a problem."""
    COULD_NOT_TELL = 2
    """A source could not be read, or the command could not run."""
    UNDECIDED = 3
    """Nothing has arrived, and without a `work_query` nothing says whether it should have."""


class Report(msgspec.Struct, frozen=True):
    """The verdicts of one run at `now`, by phase and then by date, oldest first.

    `warnings` are early warnings: of unexpected processors, and of processors that report nothing
    any more. `silences` are those that cover one of the dates. `notified` is what came of
    notifying, where the run does that.
    """

    now: datetime
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    notified: Notified = msgspec.field(default_factory=Notified)

    @property
    def outcome(self) -> Outcome:
        """A problem outweighs what could not be told, and no verdict at all tells nothing.

        UNDECIDED: everything could be read, and nothing says whether there was work.
        """
        if any(v.kind.is_problem for v in self.verdicts):
            return Outcome.PROBLEM
        if not self.verdicts or any(v.unreadable for v in self.verdicts):
            return Outcome.COULD_NOT_TELL
        return Outcome.QUIET if all(v.kind.is_quiet for v in self.verdicts) else Outcome.UNDECIDED

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the verdicts whole, with ISO times in UTC."""
        return {
            "run": "CANARY_RUN",
            "now": self.now.isoformat(),
            "outcome": self.outcome.name,
            "verdicts": msgspec.to_builtins(self.verdicts),
            "warnings": list(self.warnings),
            "silences": msgspec.to_builtins(self.silences),
            **self.notified.to_json(),
        }

    def run_line(self) -> dict[str, Any]:
        """Return the line that proves that the canary is alive: one word a date."""
        dates = [
            {"phase": v.phase, "game_date": v.game_date.isoformat(), "verdict": v.kind}
            for v in self.verdicts
        ]
        line = {
            "run": "CANARY_RUN",
            "now": self.now.isoformat(),
            "outcome": self.outcome.name,
            "dates": dates,
        }
        line |= {"silences": [silence.text for silence in self.silences]} if self.silences else {}
        return {**line, **self.notified.to_json()}


class Overview(msgspec.Struct, frozen=True):
    """What is known of many dates: their report, and in the same order the `facts` of each.

    None for an odd one.
    """

    report: Report
    facts: tuple[Facts | None, ...]
    remembered: Documents | Unreadable
    canary: str = DEFAULT_CANARY


def check(
    stores: Stores,
    phases: Mapping[str, Phase],
    now: datetime,
    wanted: Mapping[str, Sequence[date]] | None = None,
    read_at: datetime | None = None,
    *,
    canary: str = DEFAULT_CANARY,
) -> Report:
    """Judge `wanted`, game dates by phase, at `now`: by default each phase's look-back window.

    Tells nobody.

    `read_at` is the time at which this reads the stores, by default `now`; where `now` is earlier,
    the dates are judged by what was known then. What is remembered is that of the `canary` of this
    name.
    """
    return _run(stores, phases, now, wanted, read_at, canary=canary)[0]


def overview(
    stores: Stores,
    phases: Mapping[str, Phase],
    now: datetime,
    days: int,
    read_at: datetime | None = None,
    *,
    explained: int | None = None,
    seconds: float = READ_SECONDS,
    canary: str = DEFAULT_CANARY,
) -> Overview:
    """Judge the last `days` dates of each phase, and find the causes for the last `explained` of them. Tells nobody.

    What has not answered after `seconds` is unreadable. `read_at` is as in `check`. What is
    remembered is that of the `canary` of this name.
    """
    wanted = {name: phase.recent_dates(now, days) for name, phase in phases.items()}
    recent = {name: phase.recent_dates(now, explained or days) for name, phase in phases.items()}
    report, dates, remembered = _run(
        stores, phases, now, wanted, read_at, explained=recent, seconds=seconds, canary=canary
    )
    return Overview(report, tuple(one.facts(now) for one in dates), remembered, canary)


def watch(
    stores: Stores,
    phases: Mapping[str, Phase],
    channels: Channels,
    now: datetime,
    wanted: Mapping[str, Sequence[date]] | None = None,
    *,
    beside: Beside | None = None,
) -> Report:
    """Check, and tell people what they do not know yet: the run that the scheduler starts.

    An incident that was opened is followed beyond the look-back window, as far as the history
    reaches, and then closed. Nothing is raised where somebody could not be told: `notified` in the
    report says so. What was judged long ago is not told: an instance may be frozen, and thaw
    minutes later. The sources are read `beside` each other, by default each in a thread of its own.
    """
    deadline = Deadline(RUN_SECONDS)
    report, dates, remembered = _run(
        stores, phases, now, wanted, canary=channels.canary, follows=True, beside=beside
    )
    complete = frozenset(
        one.key for one in dates if (facts := one.facts(now)) is not None and _is_complete(facts)
    )
    runs = (
        Runs()
        if isinstance(remembered, Unreadable)
        else read_runs(remembered.get(canary_ref(channels.canary)))
    )
    away = _left_out(phases, now, runs) if wanted is None else ""
    judged = Judged(report.verdicts, complete, wanted is None, away)
    notified = notify_channels(
        stores.documents, remembered, judged, channels, phases=phases, now=now, deadline=deadline
    )
    return replace(
        report, warnings=(*report.warnings, *([away] if away else [])), notified=notified
    )


def _as_seen(evidence: Evidence, memory: DateMemory, now: datetime) -> Evidence:
    """Add what the canary itself has seen of a date by `now`.

    That the set was complete, and the flag set.
    """
    complete_at, flag_at = (
        at if at and at <= now else None for at in (memory.complete_at, memory.flag_at)
    )
    return replace(evidence, complete_seen_at=complete_at, flag_seen_at=flag_at)


def _is_complete(facts: Facts) -> bool:
    """Whether the set is complete; what is too odd to say is not."""
    try:
        return facts.is_complete
    except Exception:  # noqa: BLE001 (whatever somebody has written there)
        return False


def _left_out(phases: Mapping[str, Phase], now: datetime, runs: Runs) -> str:
    """Say which dates are older than what is read, and were not judged since the canary was away."""
    oldest = {
        name: phase.recent_dates(now, phase.history_dates)[0] for name, phase in phases.items()
    }
    said = [
        f"{name} {since} to {oldest[name] - timedelta(days=1)}"
        for name, since in runs.judged_from.items()
        if name in oldest and since < oldest[name]
    ]
    return (
        f"the canary was away, and does not look at these dates any more: {', '.join(said)}"
        if said
        else ""
    )


def _run(
    stores: Stores,
    phases: Mapping[str, Phase],
    now: datetime,
    wanted: Mapping[str, Sequence[date]] | None,
    read_at: datetime | None = None,
    *,
    explained: Mapping[str, Collection[date]] | None = None,
    seconds: float = READ_SECONDS,
    traced: bool = False,
    canary: str = DEFAULT_CANARY,
    follows: bool = False,
    beside: Beside | None = None,
) -> "tuple[Report, list[_Date], Documents | Unreadable]":
    """Gather further back than is judged, because some causes show only over several dates.

    Returns the report, and in the same order the dates, and what the `canary` of this name
    remembers. What the deliveries have left is read of dates that are not quiet only, unless all
    are `traced`; with it they are judged once more. One that `follows` reads as well what it has
    opened in older months.
    """
    read_at = read_at or now
    history = {name: phase.recent_dates(now, phase.history_dates) for name, phase in phases.items()}
    recent = {name: phase.recent_dates(now, phase.lookback_dates) for name, phase in phases.items()}
    window = recent if wanted is None else wanted
    every = {name: sorted({*history[name], *days}) for name, days in window.items()}
    followed_at = now if follows else None
    gathered = gather(
        stores, every, phases, canary=canary, now=followed_at, seconds=seconds, beside=beside
    )
    documents = {} if isinstance(gathered.remembered, Unreadable) else gathered.remembered
    judged_from = (
        read_runs(documents.get(canary_ref(canary))).judged_from
        if follows and wanted is None
        else {}
    )

    keys = [(one.phase, one.game_date) for one in gathered.evidence]
    memories = {key: date_memory(documents, canary, *key, now) for key in keys}

    def is_wanted(key: tuple[str, date]) -> bool:
        phase, day = key
        if day in window[phase] or wanted is not None:
            return day in window[phase]
        return (
            judged_from.get(phase, window[phase][0]) <= day < window[phase][0]
            or memories[key].open is not None
        )

    evidence = [_as_seen(one, memories[one.phase, one.game_date], now) for one in gathered.evidence]
    every_date = _judged(evidence, phases, now, read_at)
    followed = {
        name: [
            one
            for one in every_date
            if one.key[0] == name and one.is_sound and one.key[1] in history[name]
        ]
        for name in phases
    }
    dates = [one for one in every_date if is_wanted(one.key)]
    problems = [
        one.key
        for one in dates
        if traced
        or not one.verdict.kind.is_quiet
        or _may_have_been_refused(one, memories[one.key], now)
    ]
    asked = [(name, day) for name, day in problems if explained is None or day in explained[name]]
    silent = [
        (name, day)
        for name, own in followed.items()
        for day in _silent_dates(own, phases[name], now)
    ]
    traced_dates = list(dict.fromkeys([*asked, *silent]))
    within = min(seconds, CHECKPOINTS_SECONDS)
    traces = read_traces(stores, traced_dates, phases, now, seconds=within, beside=beside)

    def lines_of(phase: str) -> list[Checkpoint]:
        of_silent = (
            _there(traces[key].checkpoints, now, read_at) for key in silent if key[0] == phase
        )
        return [line for lines in of_silent for line in value_or(lines, ())]

    warnings = tuple(
        f"{name}: {warning}"
        for name, own in followed.items()
        for warning in _warnings(own, phases[name], now, lines_of(name))
    )
    histories = _histories((one.evidence for one in every_date if one.is_sound), phases)
    dates = [
        replace(one, traces=traces.get(one.key, one.traces), around=histories.get(one.key, ()))
        for one in dates
    ]
    verdicts = tuple(
        _explained(one, now, read_at) if one.key in asked else one.verdict for one in dates
    )
    silences = read_silences(documents.get(people_ref(canary)))
    covering = tuple(
        silence for silence in silences if any(silence.covers(v, now) for v in verdicts)
    )
    return Report(now, verdicts, warnings, covering), dates, gathered.remembered


def timeline_and_facts(
    stores: Stores,
    phase: Phase,
    day: date,
    now: datetime,
    read_at: datetime | None = None,
    *,
    seconds: float = READ_SECONDS,
    canary: str = DEFAULT_CANARY,
) -> tuple[Timeline, Facts | None, Documents | Unreadable]:
    """Judge one date, say where it stopped, and put together what every source saw of it.

    Returns the timeline, the facts from which it can be drawn, None where they are too odd, and
    what is remembered. `read_at`, `seconds` and `canary` are as in `overview`.
    """
    report, (own,), remembered = _run(
        stores,
        {phase.name: phase},
        now,
        {phase.name: [day]},
        read_at,
        seconds=seconds,
        traced=True,
        canary=canary,
    )
    (verdict,) = report.verdicts
    facts = own.facts(now)
    if facts is None:
        return Timeline(verdict, (), (verdict.summary,), report.silences), None, remembered
    traces = _traces_there(own.traces, now, read_at or now)
    around = [Facts(one, own.phase, now) for one in own.around]
    timeline = timeline_of(
        verdict, Dossier(own.evidence, own.phase, now, traces=traces, history=around)
    )
    return replace(timeline, silences=report.silences), facts, remembered


class _Date(msgspec.Struct, frozen=True):
    """One date as it was judged, by its `phase` as it was then: without `newcomers`.

    `is_sound` tells that nothing of its evidence was too odd to be judged by; `around` is that of
    the dates around it.
    """

    evidence: Evidence
    phase: Phase
    verdict: Verdict
    newcomers: frozenset[str] = frozenset()
    is_sound: bool = True
    traces: Traces = Traces()
    around: Sequence[Evidence] = ()

    @property
    def key(self) -> tuple[str, date]:
        """The name of its phase, and the game date."""
        return self.verdict.phase, self.verdict.game_date

    def facts(self, now: datetime) -> Facts | None:
        """Return what follows from its evidence; None where that is too odd."""
        return Facts(self.evidence, self.phase, now) if self.is_sound else None


def _judged(
    evidence: Sequence[Evidence], phases: Mapping[str, Phase], now: datetime, read_at: datetime
) -> list[_Date]:
    """Judge every date by what was known at `now`, and by what its phase expected then.

    Each stands alone.
    """
    known = [known_by(one, now) if now < read_at else one for one in evidence]
    histories = _histories(known, phases)
    return [
        _judge_one(one, phases[one.phase], histories[one.phase, one.game_date], now, read_at)
        for one in known
    ]


def _histories(
    evidence: Iterable[Evidence], phases: Mapping[str, Phase]
) -> dict[tuple[str, date], Sequence[Evidence]]:
    """Return for each date the evidence around it.

    `history_dates` before it and as many after it, and its own.

    So what a date costs does not depend on how many there are. `evidence` has the dates of a phase
    in their order.
    """
    by_phase: dict[str, list[Evidence]] = defaultdict(list)
    for one in evidence:
        by_phase[one.phase].append(one)
    return {
        (name, one.game_date): own[
            max(number - phases[name].history_dates, 0) : number + phases[name].history_dates + 1
        ]
        for name, own in by_phase.items()
        for number, one in enumerate(own)
    }


def _judge_one(
    evidence: Evidence, phase: Phase, history: Sequence[Evidence], now: datetime, read_at: datetime
) -> _Date:
    try:
        new = newcomers(evidence, phase, history)
        phase = phase.on(evidence.game_date, evidence.mode).without(new)
        verdict = judge(evidence, phase, now)
    except Exception as error:  # noqa: BLE001 (whatever somebody has written there, the other dates are judged)
        odd = Verdict(
            kind=VerdictKind.UNKNOWN,
            phase=evidence.phase,
            game_date=evidence.game_date,
            summary=f"could not tell: {(reason := f'its evidence cannot be understood: {_described(error)}')}",
            reason=reason,
            unreadable=True,
        )
        return _Date(evidence, phase, odd, is_sound=False)
    notes = (*verdict.notes, *_notes(evidence, phase, new, now, read_at))
    return _Date(evidence, phase, replace(verdict, notes=notes), new)


def _notes(
    evidence: Evidence, phase: Phase, new: Collection[str], now: datetime, read_at: datetime
) -> Iterator[str]:
    """Yield what has to be said of how a date was judged."""
    if new:
        yield f"nobody waited for {names(new)} then: expected now, and without a report up to this date"
    if now < read_at and (timeless := ", ".join(without_a_time(evidence, phase))):
        yield f"judged as of {now:%Y-%m-%d %H:%M}Z, and no time says whether this was known then: {timeless}"


def _is_before(one: _Date, begins: datetime | None) -> bool:
    """Whether a date with registrations, and without a row, was over before the completion log had its first one."""
    has_no_row = isinstance(one.evidence.completion_log, Absent)
    was_over = begins is None or one.phase.deadline(one.evidence.game_date) < begins
    return (
        was_over
        and has_no_row
        and bool(value_or(one.evidence.progress, Progress(frozenset())).registered)
    )


def _silent_dates(own: Sequence[_Date], phase: Phase, now: datetime) -> set[date]:
    """Return the recent dates of a phase since which one of its processors reports nothing."""
    try:
        dates = [Facts(one.evidence, phase, now) for one in own]
        return {day for processor in phase.expected for day in silent_dates(processor, dates)}
    except Exception:  # noqa: BLE001 (the warnings say so; the verdicts stand)
        return set()


def _warnings(
    own: Sequence[_Date], phase: Phase, now: datetime, lines: Sequence[Checkpoint]
) -> Iterator[str]:
    """Yield the early warnings of a phase's recent dates.

    `lines` are what deliveries left on dates of silence.
    """
    with_document = [one for one in own if isinstance(one.evidence.progress, Seen)]
    if with_document and (new := names(with_document[-1].newcomers)):
        yield f"{new} has not reported, and the orchestrator does not wait for it: give its `since`, or deploy the list"
    yield from sorted({reason for one in own for reason in one.evidence.left_out})
    begins = with_document[-1].evidence.log_since if with_document else None
    if any(_is_before(one, begins) for one in with_document):
        first = f"has its first row from {begins:%Y-%m-%d %H:%M}Z" if begins else "has no row"
        yield f"{phase.bigquery_table} {first}: dates before are judged by their documents alone"
    try:
        yield from early_warnings([one.evidence for one in own], phase, now, lines)
    except Exception as error:  # noqa: BLE001 (a warning less; the verdicts stand)
        yield f"the recent dates could not be looked over: {_described(error)}"


def _may_have_been_refused(one: _Date, memory: DateMemory, now: datetime) -> bool:
    """Whether only the code's own lines can tell that the next phase was not started.

    Its output is not due yet.

    Of what is open they tell as well when it is over.
    """
    facts = one.facts(now)
    return (
        facts is not None
        and facts.awaits_output
        and (memory.open is not None or not facts.output_is_due)
    )


def _explained(one: _Date, now: datetime, read_at: datetime) -> Verdict:
    """Judge a date again with what its deliveries have left, and say where it stopped."""
    if not one.is_sound:
        return one.verdict
    try:
        there = _traces_there(one.traces, now, read_at)
        heard = heard_of(
            there.checkpoints.value if isinstance(there.checkpoints, Seen) else (), one.phase
        )
        verdict = replace(
            judge(one.evidence, one.phase, now, heard), notes=(*one.verdict.notes, *there.left_out)
        )
        return where_it_stopped(
            verdict, one.evidence, there, history=one.around, phase=one.phase, now=now
        )
    except Exception as error:  # noqa: BLE001 (the problem is told all the same)
        words = f"its evidence cannot be understood: {_described(error)}"
        return replace(one.verdict, causes=(Cause(kind=CauseKind.UNDETERMINED, words=words),))


def _there(
    checkpoints: Source[Sequence[Checkpoint]], now: datetime, read_at: datetime
) -> Source[Sequence[Checkpoint]]:
    """Return the lines that were there at `now`."""
    return mapped(checkpoints, lambda lines: believed_checkpoints(lines, now, read_at))


def _traces_there(traces: Traces, now: datetime, read_at: datetime) -> Traces:
    """Return what there was at `now` of what the deliveries and the processors have left."""
    there = _there(traces.checkpoints, now, read_at)
    return replace(
        traces,
        checkpoints=there,
        runs=mapped(traces.runs, lambda runs: believed_runs(runs, now, read_at)),
    )


def _described(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)
