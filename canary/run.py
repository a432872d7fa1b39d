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

# A run ends within this time: 35 s to read the sources, 15 for what the deliveries left, 20 to
# remember, 10 each for Slack and for a warning about Slack, 5 for the heartbeat. deploy/common.sh
# adds the time in which an instance starts.
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
    any more. `silences` are those that cover one of the dates. `notified` says whom the run could
    not notify, if it notifies at all.
    """

    now: datetime
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    notified: Notified = msgspec.field(default_factory=Notified)

    @property
    def outcome(self) -> Outcome:
        """PROBLEM if a date has one, else COULD_NOT_TELL if one is unreadable, or there is no date.

        Otherwise QUIET if all are quiet, and UNDECIDED if nothing says whether there was work.
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

    The facts of a date are None where its evidence is too odd to be understood.
    """

    report: Report
    facts: tuple[Facts | None, ...]
    remembered: Documents | Unreadable
    canary: str = DEFAULT_CANARY


def check_dates(
    stores: Stores,
    phases: Mapping[str, Phase],
    now: datetime,
    game_dates: Mapping[str, Sequence[date]] | None = None,
    read_at: datetime | None = None,
    *,
    canary: str = DEFAULT_CANARY,
) -> Report:
    """Judge `game_dates`, by phase, at `now`: by default each phase's look-back window.

    Nobody is notified. `read_at` is the time at which the stores are read, by default `now`; where
    `now` is earlier, the dates are judged by what was known then. `canary` is the name of the
    canary whose memory is read.
    """
    return _gather_and_judge(stores, phases, now, game_dates, read_at, canary=canary)[0]


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
    """Judge the last `days` dates of each phase, and explain the last `explained` of them.

    Nobody is notified. A source that has not answered after `seconds` is unreadable. `read_at` and
    `canary` are as in `check_dates`.
    """
    game_dates = {name: phase.recent_dates(now, days) for name, phase in phases.items()}
    recent = {name: phase.recent_dates(now, explained or days) for name, phase in phases.items()}
    report, dates, remembered = _gather_and_judge(
        stores, phases, now, game_dates, read_at, explained=recent, seconds=seconds, canary=canary
    )
    return Overview(report, tuple(judged.facts(now) for judged in dates), remembered, canary)


def watch(
    stores: Stores,
    phases: Mapping[str, Phase],
    channels: Channels,
    now: datetime,
    game_dates: Mapping[str, Sequence[date]] | None = None,
    *,
    beside: Beside | None = None,
) -> Report:
    """Check, and notify people of what is new: the run that the scheduler starts.

    An incident that was opened is followed beyond the look-back window, as far as the history
    reaches, and then closed. Nothing is raised where somebody could not be notified: `notified` in
    the report says so. Nobody is notified of an old verdict: an instance may be frozen, and thaw
    minutes later. The sources are read `beside` each other, by default each in a thread of its own.
    """
    deadline = Deadline(RUN_SECONDS)
    report, dates, remembered = _gather_and_judge(
        stores, phases, now, game_dates, canary=channels.canary, follows=True, beside=beside
    )
    complete = frozenset(
        judged.key
        for judged in dates
        if (facts := judged.facts(now)) is not None and _is_complete(facts)
    )
    runs = (
        Runs()
        if isinstance(remembered, Unreadable)
        else read_runs(remembered.get(canary_ref(channels.canary)))
    )
    away = _left_out(phases, now, runs) if game_dates is None else ""
    judgement = Judged(report.verdicts, complete, game_dates is None, away)
    notified = notify_channels(
        stores.documents, remembered, judgement, channels, phases=phases, now=now, deadline=deadline
    )
    return replace(
        report, warnings=(*report.warnings, *([away] if away else [])), notified=notified
    )


def _as_seen(evidence: Evidence, memory: DateMemory, now: datetime) -> Evidence:
    """Add when the canary itself, by `now`, has seen the set complete and the flag set."""
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
    """Say which dates were not judged while the canary was away, and are not read any more."""
    oldest = {
        name: phase.recent_dates(now, phase.history_dates)[0] for name, phase in phases.items()
    }
    gaps = [
        f"{name} {since} to {oldest[name] - timedelta(days=1)}"
        for name, since in runs.judged_from.items()
        if name in oldest and since < oldest[name]
    ]
    return (
        f"the canary was away, and does not look at these dates any more: {', '.join(gaps)}"
        if gaps
        else ""
    )


def _gather_and_judge(
    stores: Stores,
    phases: Mapping[str, Phase],
    now: datetime,
    game_dates: Mapping[str, Sequence[date]] | None,
    read_at: datetime | None = None,
    *,
    explained: Mapping[str, Collection[date]] | None = None,
    seconds: float = READ_SECONDS,
    traced: bool = False,
    canary: str = DEFAULT_CANARY,
    follows: bool = False,
    beside: Beside | None = None,
) -> "tuple[Report, list[_Date], Documents | Unreadable]":
    """Gather the evidence, judge the dates, and say where each problem stopped.

    The evidence begins before the dates that are judged, because some causes show only over several
    dates. Returns the report, the dates in the same order, and what the canary named `canary`
    remembers. What the deliveries have left is read only of dates that are not quiet, or of all
    dates if `traced`; with it they are judged once more. A run that `follows` also reads the older
    months in which it has opened an incident.
    """
    read_at = read_at or now
    history = {name: phase.recent_dates(now, phase.history_dates) for name, phase in phases.items()}
    recent = {name: phase.recent_dates(now, phase.lookback_dates) for name, phase in phases.items()}
    window = recent if game_dates is None else game_dates
    days_to_read = {name: sorted({*history[name], *days}) for name, days in window.items()}
    followed_at = now if follows else None
    gathered = gather(
        stores, days_to_read, phases, canary=canary, now=followed_at, seconds=seconds, beside=beside
    )
    documents = {} if isinstance(gathered.remembered, Unreadable) else gathered.remembered
    judged_from = (
        read_runs(documents.get(canary_ref(canary))).judged_from
        if follows and game_dates is None
        else {}
    )

    keys = [(date_evidence.phase, date_evidence.game_date) for date_evidence in gathered.evidence]
    memories = {key: date_memory(documents, canary, *key, now) for key in keys}

    def is_wanted(key: tuple[str, date]) -> bool:
        phase, day = key
        if day in window[phase] or game_dates is not None:
            return day in window[phase]
        return (
            judged_from.get(phase, window[phase][0]) <= day < window[phase][0]
            or memories[key].open is not None
        )

    evidence = [
        _as_seen(date_evidence, memories[date_evidence.phase, date_evidence.game_date], now)
        for date_evidence in gathered.evidence
    ]
    judged_dates = _judge_dates(evidence, phases, now, read_at)
    followed = {
        name: [
            judged
            for judged in judged_dates
            if judged.key[0] == name and judged.is_sound and judged.key[1] in history[name]
        ]
        for name in phases
    }
    dates = [judged for judged in judged_dates if is_wanted(judged.key)]
    problems = [
        judged.key
        for judged in dates
        if traced
        or not judged.verdict.kind.is_quiet
        or _may_have_been_refused(judged, memories[judged.key], now)
    ]
    to_explain = [
        (name, day) for name, day in problems if explained is None or day in explained[name]
    ]
    silent = [
        (name, day)
        for name, phase_dates in followed.items()
        for day in _silent_dates(phase_dates, phases[name], now)
    ]
    traced_dates = list(dict.fromkeys([*to_explain, *silent]))
    within = min(seconds, CHECKPOINTS_SECONDS)
    traces = read_traces(stores, traced_dates, phases, now, seconds=within, beside=beside)

    def lines_of(phase: str) -> list[Checkpoint]:
        of_silent = (
            _there(traces[key].checkpoints, now, read_at) for key in silent if key[0] == phase
        )
        return [line for lines in of_silent for line in value_or(lines, ())]

    warnings = tuple(
        f"{name}: {warning}"
        for name, phase_dates in followed.items()
        for warning in _warnings(phase_dates, phases[name], now, lines_of(name))
    )
    histories = _histories((judged.evidence for judged in judged_dates if judged.is_sound), phases)
    dates = [
        replace(
            judged,
            traces=traces.get(judged.key, judged.traces),
            around=histories.get(judged.key, ()),
        )
        for judged in dates
    ]
    verdicts = tuple(
        _explained(judged, now, read_at) if judged.key in to_explain else judged.verdict
        for judged in dates
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

    Returns the timeline, the facts from which it can be drawn (None where the evidence is too odd),
    and what is remembered. `read_at`, `seconds` and `canary` are as in `overview`.
    """
    report, (judged,), remembered = _gather_and_judge(
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
    facts = judged.facts(now)
    if facts is None:
        return Timeline(verdict, (), (verdict.summary,), report.silences), None, remembered
    traces = _traces_there(judged.traces, now, read_at or now)
    around = [Facts(neighbour, judged.phase, now) for neighbour in judged.around]
    timeline = timeline_of(
        verdict, Dossier(judged.evidence, judged.phase, now, traces=traces, history=around)
    )
    return replace(timeline, silences=report.silences), facts, remembered


class _Date(msgspec.Struct, frozen=True):
    """One date as it was judged, with its `phase` as it was then: without the `newcomers`.

    `is_sound` is False where the evidence was too odd to be judged. `around` is the evidence of the
    dates around it.
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


def _judge_dates(
    evidence: Sequence[Evidence], phases: Mapping[str, Phase], now: datetime, read_at: datetime
) -> list[_Date]:
    """Judge every date by what was known at `now`, and by what its phase expected then.

    Each is judged by itself: odd evidence of one date leaves the other verdicts as they are.
    """
    evidence_then = [
        known_by(date_evidence, now) if now < read_at else date_evidence
        for date_evidence in evidence
    ]
    histories = _histories(evidence_then, phases)
    return [
        _judge_date(
            date_evidence,
            phases[date_evidence.phase],
            histories[date_evidence.phase, date_evidence.game_date],
            now,
            read_at,
        )
        for date_evidence in evidence_then
    ]


def _histories(
    evidence: Iterable[Evidence], phases: Mapping[str, Phase]
) -> dict[tuple[str, date], Sequence[Evidence]]:
    """Return for each date its own evidence, and that of the `history_dates` before and after it.

    So what a date costs does not depend on the number of dates. `evidence` has the dates of a phase
    in their order.
    """
    by_phase: dict[str, list[Evidence]] = defaultdict(list)
    for date_evidence in evidence:
        by_phase[date_evidence.phase].append(date_evidence)
    return {
        (name, date_evidence.game_date): phase_evidence[
            max(number - phases[name].history_dates, 0) : number + phases[name].history_dates + 1
        ]
        for name, phase_evidence in by_phase.items()
        for number, date_evidence in enumerate(phase_evidence)
    }


def _judge_date(
    evidence: Evidence, phase: Phase, history: Sequence[Evidence], now: datetime, read_at: datetime
) -> _Date:
    try:
        newcomer_names = newcomers(evidence, phase, history)
        phase = phase.on(evidence.game_date, evidence.mode).without(newcomer_names)
        verdict = judge(evidence, phase, now)
    except Exception as error:  # noqa: BLE001 (whatever somebody has written there, the other dates are judged)
        reason = f"its evidence cannot be understood: {_described(error)}"
        odd = Verdict(
            kind=VerdictKind.UNKNOWN,
            phase=evidence.phase,
            game_date=evidence.game_date,
            summary=f"could not tell: {reason}",
            reason=reason,
            unreadable=True,
        )
        return _Date(evidence, phase, odd, is_sound=False)
    notes = (*verdict.notes, *_notes(evidence, phase, newcomer_names, now, read_at))
    return _Date(evidence, phase, replace(verdict, notes=notes), newcomer_names)


def _notes(
    evidence: Evidence,
    phase: Phase,
    newcomer_names: Collection[str],
    now: datetime,
    read_at: datetime,
) -> Iterator[str]:
    """Yield what has to be said of how a date was judged."""
    if newcomer_names:
        yield (
            f"nobody waited for {names(newcomer_names)} then: "
            "expected now, and without a report up to this date"
        )
    if now < read_at and (timeless := ", ".join(without_a_time(evidence, phase))):
        yield (
            f"judged as of {now:%Y-%m-%d %H:%M}Z, "
            f"and no time says whether this was known then: {timeless}"
        )


def _is_before(judged: _Date, begins: datetime | None) -> bool:
    """Whether a date with registrations and no row was over before the completion log began."""
    has_no_row = isinstance(judged.evidence.completion_log, Absent)
    was_over = begins is None or judged.phase.deadline(judged.evidence.game_date) < begins
    return (
        was_over
        and has_no_row
        and bool(value_or(judged.evidence.progress, Progress(frozenset())).registered)
    )


def _silent_dates(judged_dates: Sequence[_Date], phase: Phase, now: datetime) -> set[date]:
    """Return the recent dates of a phase since which one of its processors reports nothing."""
    try:
        dates = [Facts(judged.evidence, phase, now) for judged in judged_dates]
        return {day for processor in phase.expected for day in silent_dates(processor, dates)}
    except Exception:  # noqa: BLE001 (the warnings say so; the verdicts are kept)
        return set()


def _warnings(
    judged_dates: Sequence[_Date], phase: Phase, now: datetime, lines: Sequence[Checkpoint]
) -> Iterator[str]:
    """Yield the early warnings of a phase's recent dates.

    `lines` are what deliveries left on dates of silence.
    """
    with_document = [
        judged for judged in judged_dates if isinstance(judged.evidence.progress, Seen)
    ]
    if with_document and (newcomer_names := names(with_document[-1].newcomers)):
        yield (
            f"{newcomer_names} has not reported, and the orchestrator does not wait for it: "
            "give its `since`, or deploy the list"
        )
    yield from sorted({reason for judged in judged_dates for reason in judged.evidence.left_out})
    begins = with_document[-1].evidence.log_since if with_document else None
    if any(_is_before(judged, begins) for judged in with_document):
        first = f"has its first row from {begins:%Y-%m-%d %H:%M}Z" if begins else "has no row"
        yield f"{phase.bigquery_table} {first}: dates before are judged by their documents alone"
    try:
        yield from early_warnings([judged.evidence for judged in judged_dates], phase, now, lines)
    except Exception as error:  # noqa: BLE001 (a warning less; the verdicts are kept)
        yield f"the recent dates could not be looked over: {_described(error)}"


def _may_have_been_refused(judged: _Date, memory: DateMemory, now: datetime) -> bool:
    """Whether only the code's own lines can say that the next phase was not started.

    That is so while its output is not due yet. The lines also say when an open incident is over.
    """
    facts = judged.facts(now)
    return (
        facts is not None
        and facts.awaits_output
        and (memory.open is not None or not facts.output_is_due)
    )


def _explained(judged: _Date, now: datetime, read_at: datetime) -> Verdict:
    """Judge a date again with what its deliveries have left, and say where it stopped."""
    if not judged.is_sound:
        return judged.verdict
    try:
        there = _traces_there(judged.traces, now, read_at)
        heard = heard_of(
            there.checkpoints.value if isinstance(there.checkpoints, Seen) else (), judged.phase
        )
        verdict = replace(
            judge(judged.evidence, judged.phase, now, heard),
            notes=(*judged.verdict.notes, *there.left_out),
        )
        return where_it_stopped(
            verdict, judged.evidence, there, history=judged.around, phase=judged.phase, now=now
        )
    except Exception as error:  # noqa: BLE001 (the problem is reported all the same)
        words = f"its evidence cannot be understood: {_described(error)}"
        return replace(judged.verdict, causes=(Cause(kind=CauseKind.UNDETERMINED, words=words),))


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
