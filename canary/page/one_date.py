"""What the page of one date shows: the picture of its deliveries, the causes, and the timeline."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from canary.domain.facts import Facts
from canary.domain.path.text import MARKS, step_text
from canary.domain.stages import State, Step
from canary.domain.timeline import Timeline, by_delivery, delivery_text
from canary.domain.verdict import Verdict, duration_text, names
from canary.notify.message import CommandLine, Message, alert
from canary.page.axis import IDLE, FoldedAxis, Mark, Span, merged_marks, span
from canary.page.board import Badge, badge
from canary.page.clock import both
from canary.page.remembered import IncidentHistory, Remembered
from orchestrator_resilience.phase import Phase


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One processor, or the flag: what happened to it, from left to right."""

    name: str
    badge: Badge
    marks: tuple[Mark, ...] = ()
    pending: Span | None = None
    grace: Span | None = None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline; `at` is None where nobody noted the time.

    `still_to_come` is true where that is later than now. `idle` says for how long nothing had
    happened before, and is empty where that was short.
    """

    at: datetime | None
    seen_by: str
    what: str
    more: tuple[str, ...]
    idle: str
    still_to_come: bool


class PathRow(msgspec.Struct, frozen=True):
    """How far a processor came: for each stage its name, a badge, and a text with its source."""

    who: str
    cells: tuple[tuple[str, Badge, str], ...]


class OneDate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page of a date.

    It has no `message` where nobody is needed, and no `picture` where the evidence was too odd.
    `histories` are what was sent of each of its incidents, and `remembered` is all that the canary
    remembers.
    """

    now: datetime
    phase: Phase
    timeline: Timeline
    badge: Badge
    message: Message | None
    picture: "Picture | None"
    path: tuple[PathRow, ...]
    moments: tuple[Moment, ...]
    remembered: Remembered
    histories: tuple[IncidentHistory, ...]
    forgotten: int
    zone: str
    json: str


def one_date(
    timeline: Timeline,
    facts: Facts | None,
    phase: Phase,
    command: CommandLine,
    now: datetime,
    *,
    remembered: Remembered,
) -> OneDate:
    """Put together what is shown of a date.

    `facts` is None where the evidence was too odd; the page then has no picture.
    """
    verdict, zone = timeline.verdict, ZoneInfo(phase.timezone)
    command = replace(command, page=None)  # the page does not lead to itself
    return OneDate(
        now=now,
        phase=phase,
        timeline=timeline,
        badge=badge(verdict),
        message=None
        if verdict.kind.is_quiet
        else alert([verdict], phase, command, now, with_who=True),
        picture=Picture(facts, zone, verdict) if facts is not None else None,
        path=tuple(path_rows(verdict)),
        moments=tuple(_moments(timeline, now)),
        remembered=remembered,
        histories=remembered.histories(phase.name, verdict.game_date),
        forgotten=remembered.of(phase.name, verdict.game_date).forgotten,
        zone=now.astimezone(zone).tzname() or phase.timezone,
        json=json.dumps(msgspec.to_builtins(timeline), indent=1, ensure_ascii=False),
    )


class Picture:
    """The rows of a date on one axis: a row for each processor, and one for the flag.

    Processors for which only the orchestrator waits have a row as well.
    """

    def __init__(self, facts: Facts, zone: tzinfo, verdict: Verdict) -> None:
        self._facts, self._zone = facts, zone
        self._document_is_known = verdict.triggered is not None
        trigger = facts.progress.trigger
        self._waits = bool(facts.completed_at) and trigger is None and self._document_is_known
        moments = [at for processor in facts.phase.expected for at, _, _ in self._of(processor)]
        moments += [trigger.at] if trigger and trigger.at else []
        moments += [facts.now] if self._waits else []
        if facts.completed_at and facts.is_complete:
            moments += [facts.complete_at, self._grace_end]
        self.axis = FoldedAxis(moments, zone)
        self.now = self.axis.x(facts.now) if self._waits else None

    @property
    def _grace_end(self) -> datetime:
        """The end of the grace, or now where that is earlier.

        So no time to come is drawn, or counted as idle.
        """
        return min(self._facts.complete_at + self._facts.phase.untriggered_after, self._facts.now)

    def rows(self) -> Iterator[Row]:
        """Yield the rows, in the order in which they completed."""
        facts = self._facts
        for name in sorted(
            facts.phase.expected, key=lambda name: (facts.completed_at.get(name) or facts.now, name)
        ):
            yield self._processor(name)
        for name in sorted(
            (facts.progress.orchestrator_expected or frozenset()) - facts.phase.expected
        ):
            reported = name in facts.unexpected
            word = Badge("unexpected", "warn") if reported else Badge("not expected", "bad")
            yield Row(name=name, badge=word, pending=None if reported else self._pending(None))
        yield self._flag()

    def _processor(self, name: str) -> Row:
        facts = self._facts
        marks = merged_marks(Mark(self.axis.x(at), kind, text) for at, kind, text in self._of(name))
        if name in facts.completed_at:
            missing = name in facts.unregistered and self._document_is_known
            return Row(
                name=name,
                badge=Badge("not registered", "bad") if missing else Badge("complete", "good"),
                marks=marks,
            )
        status = facts.last_status.get(name)
        word = Badge(f"last said {status}", "bad") if status else Badge("missing", "unknown")
        return Row(name=name, badge=word, marks=marks, pending=self._pending(None))

    def _flag(self) -> Row:
        facts = self._facts
        trigger = facts.progress.trigger if self._document_is_known else None
        is_complete = bool(facts.completed_at) and facts.is_complete
        if not self._document_is_known:
            word = Badge("not known", "unknown")
        elif trigger is None:
            word = Badge("unset", "bad" if is_complete else "quiet")
        else:
            word = Badge("set", "good")
        at = trigger.at if trigger else None
        mark = (
            Mark(self.axis.x(at), "ok", f"set {both(at, self._zone, seconds=True)}") if at else None
        )
        return Row(
            name="_triggered",
            badge=word,
            marks=(mark,) if mark else (),
            pending=self._pending(facts.complete_at) if is_complete else None,
            grace=span(self.axis.x, facts.complete_at, self._grace_end) if is_complete else None,
        )

    def _of(self, processor: str) -> Iterator[tuple[datetime, str, str]]:
        """Yield when a processor completed, had its row, was registered, or reported a failure."""
        facts = self._facts
        arrival = facts.completion_log.completed.get(processor)
        entry = facts.progress.registered.get(processor)
        report = facts.progress.reports.get(processor)
        times = {
            "completed": facts.completed_at.get(processor),
            "has its row": arrival.visible_at if arrival else None,
            "registered": entry.registered_at if entry else None,
        }
        for what, at in times.items():
            if at is not None:
                yield at, "ok", f"{what} {both(at, self._zone, seconds=True)}"
        if report is not None and report.at is not None:
            yield (
                report.at,
                "failed",
                f"reported {report.status} {both(report.at, self._zone, seconds=True)}",
            )

    def _pending(self, since: datetime | None) -> Span | None:
        start = 0.0 if since is None else self.axis.x(since)
        return Span(start, round(self.axis.x(self._facts.now) - start, 2)) if self._waits else None


def _moments(timeline: Timeline, now: datetime) -> Iterator[Moment]:
    """Yield the timeline by its deliveries.

    An entry later than `now` is left out, unless it is marked as still to come.
    """
    before: datetime | None = None
    entries = [
        entry
        for entry in timeline.entries
        if entry.at is None or entry.at <= now or entry.state is State.NOT_YET
    ]
    for group in by_delivery(entries):
        first = group[0]
        idle = min(first.at, now) - before if first.at and before else timedelta()
        yield Moment(
            at=first.at,
            seen_by=", ".join(dict.fromkeys(entry.source for entry in group)),
            what=delivery_text(group),
            more=tuple(map(_line, group)) if len(group) > 1 else (),
            idle=duration_text(idle) if idle >= IDLE else "",
            still_to_come=first.at is not None and first.at > now,
        )
        before = max([at for entry in group if (at := entry.at)], default=before)


def _line(entry: Step) -> str:
    return step_text(entry) if entry.at else f"at a time that nobody noted, {step_text(entry)}"


def path_rows(verdict: Verdict) -> Iterator[PathRow]:
    """Yield the path of each processor, equal ones in one row, and then that of the date."""
    groups: dict[tuple[object, ...], list[tuple[Step, ...]]] = {}
    for subject in dict.fromkeys(step.subject for step in verdict.path):
        steps = tuple(step for step in verdict.path if step.subject == subject)
        alike = tuple((step.stage, step.state, step.source) for step in steps)
        groups.setdefault(alike, []).append(steps)
    for group in groups.values():
        who = names(steps[0].subject for steps in group if steps[0].subject) or "the date"
        yield PathRow(
            who,
            tuple((step.stage, Badge(*MARKS[step.state]), step_text(step)) for step in group[0]),
        )
