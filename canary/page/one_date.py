"""What the page of one date shows: the picture of its deliveries, the causes, and the timeline."""

import json
from collections.abc import Iterator
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

import msgspec

from canary.domain.facts import Facts
from canary.domain.timeline import Timeline, TimelineEntry, by_delivery, delivery_text
from canary.domain.verdict import Cause, CauseKind, Verdict, duration_text
from canary.notify.message import CommandLine, Link, Message, alert, todo
from canary.page.axis import FoldedAxis, Mark, Span, Tick, merged, span
from canary.page.board import Badge, badge
from orchestrator_resilience.phase import Phase

_IDLE_MINUTES = 45


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One processor, or the flag: what happened to it, from left to right."""

    name: str
    badge: Badge
    marks: tuple[Mark, ...]
    pending: Span | None = None
    grace: Span | None = None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline; `idle` says how long nothing had happened before, where that was long."""

    at: datetime | None
    local: str
    seen_by: str
    what: str
    more: tuple[str, ...]
    idle: str


class OneDate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page of a date."""

    now: datetime
    phase: Phase
    verdict: Verdict
    badge: Badge
    message: Message | None
    actions: tuple[str, ...]
    causes: tuple[Cause, ...]
    ruled_out: tuple[CauseKind, ...]
    links: tuple[Link, ...]
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    folds: tuple[Span, ...]
    marked_now: float | None
    moments: tuple[Moment, ...]
    silences: tuple[str, ...]
    unreadable: tuple[str, ...]
    zone: str
    json: str


def one_date(found: Timeline, facts: Facts | None, phase: Phase, command: CommandLine, now: datetime) -> OneDate:
    """Put together what is shown of a date; without `facts`, which were too odd, there is no picture."""
    verdict, zone = found.verdict, ZoneInfo(phase.timezone)
    needs_somebody = not verdict.kind.is_quiet
    message = alert([verdict], phase, command, now) if needs_somebody else None
    picture = _Picture(facts, zone, verdict) if facts is not None else None
    return OneDate(
        now=now,
        phase=phase,
        verdict=verdict,
        badge=badge(verdict),
        message=message,
        actions=todo(verdict, phase) if needs_somebody else (),
        causes=verdict.causes,
        ruled_out=verdict.ruled_out,
        links=tuple(link for link in command.links(verdict.phase, verdict.game_date) if "/dates/" not in link.url),
        rows=tuple(picture.rows()) if picture else (),
        ticks=picture.axis.ticks() if picture else (),
        folds=picture.axis.folds() if picture else (),
        marked_now=picture.now if picture else None,
        moments=tuple(_moments(found, zone)),
        silences=tuple(silence.text for silence in found.silences),
        unreadable=found.unreadable,
        zone=now.astimezone(zone).tzname() or phase.timezone,
        json=json.dumps(msgspec.to_builtins(found), indent=1, ensure_ascii=False),
    )


class _Picture:
    """The rows of a date on one axis: a processor each, those that only the orchestrator waits for, and the flag."""

    def __init__(self, facts: Facts, zone: tzinfo, verdict: Verdict) -> None:
        self._facts, self._zone = facts, zone
        self._document_is_known = verdict.triggered is not None
        trigger = facts.progress.trigger
        self._flag_at = trigger.at if trigger else None
        self._waits = bool(facts.completed_at) and trigger is None and self._document_is_known
        moments = [at for processor in facts.phase.expected for at, _, _ in self._of(processor)]
        moments += [self._flag_at] if self._flag_at else []
        moments += [facts.now] if self._waits else []
        if facts.completed_at and not facts.missing:
            moments += [facts.complete_at, facts.complete_at + facts.phase.untriggered_after]
        self.axis = FoldedAxis(moments, zone)
        self.now = self.axis.x(facts.now) if self._waits else None

    def rows(self) -> Iterator[Row]:
        """Yield the rows, in the order in which they completed."""
        facts = self._facts
        latest = facts.now
        for name in sorted(facts.phase.expected, key=lambda name: (facts.completed_at.get(name) or latest, name)):
            yield self._processor(name)
        for name in sorted((facts.progress.orchestrator_expected or frozenset()) - facts.phase.expected):
            reported = name in facts.unexpected
            word = Badge("unexpected", "warn") if reported else Badge("not expected", "bad")
            yield Row(name=name, badge=word, marks=(), pending=None if reported else self._pending(None))
        yield self._flag()

    def _processor(self, name: str) -> Row:
        facts = self._facts
        marks = merged(Mark(self.axis.x(at), kind, text) for at, kind, text in self._of(name))
        if name in facts.completed_at:
            missing = name in facts.unregistered and self._document_is_known
            return Row(
                name=name, badge=Badge("not registered", "bad") if missing else Badge("complete", "good"), marks=marks
            )
        status = facts.last_status.get(name)
        word = Badge(f"last said {status}", "bad") if status else Badge("missing", "unknown")
        return Row(name=name, badge=word, marks=marks, pending=self._pending(None))

    def _flag(self) -> Row:
        facts = self._facts
        trigger = facts.progress.trigger
        is_complete = bool(facts.completed_at) and not facts.missing
        after = facts.phase.untriggered_after
        grace = span(self.axis.x, facts.complete_at, facts.complete_at + after) if is_complete else None
        if not self._document_is_known:
            return Row(name="_triggered", badge=Badge("not known", "unknown"), marks=(), grace=grace)
        if trigger is None:
            pending = self._pending(facts.complete_at) if is_complete else None
            return Row(
                name="_triggered",
                badge=Badge("unset", "bad" if is_complete else "quiet"),
                marks=(),
                pending=pending,
                grace=grace,
            )
        marks: tuple[Mark, ...] = ()
        if trigger.at is not None:
            marks = (Mark(self.axis.x(trigger.at), "ok", f"set {trigger.at.astimezone(self._zone):%m-%d %H:%M:%S}"),)
        return Row(name="_triggered", badge=Badge("set", "good"), marks=marks, grace=grace)

    def _of(self, processor: str) -> Iterator[tuple[datetime, str, str]]:
        """Yield what is known of a processor's report: when it completed, had its row, was registered, or failed."""
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
                yield at, "ok", f"{what} {at.astimezone(self._zone):%m-%d %H:%M:%S}"
        if report is not None and report.at is not None:
            yield report.at, "failed", f"reported {report.status} {report.at.astimezone(self._zone):%m-%d %H:%M:%S}"

    def _pending(self, since: datetime | None) -> Span | None:
        start = 0.0 if since is None else self.axis.x(since)
        return Span(start, round(self.axis.x(self._facts.now) - start, 2)) if self._waits else None


def _moments(found: Timeline, zone: tzinfo) -> Iterator[Moment]:
    before: datetime | None = None
    for group in by_delivery(found.entries):
        first = group[0]
        idle = first.at - before if first.at and before else None
        is_long = idle is not None and idle.total_seconds() >= 60 * _IDLE_MINUTES
        yield Moment(
            at=first.at,
            local=f"{first.at.astimezone(zone):%m-%d %H:%M:%S}" if first.at else "not noted",
            seen_by=", ".join(dict.fromkeys(entry.seen_by for entry in group)),
            what=delivery_text(group),
            more=tuple(_line(entry, zone) for entry in group) if len(group) > 1 else (),
            idle=duration_text(idle) if idle is not None and is_long else "",
        )
        before = max([at for entry in group if (at := entry.at)], default=before)


def _line(entry: TimelineEntry, zone: tzinfo) -> str:
    at = f"{entry.at.astimezone(zone):%H:%M:%S}" if entry.at else "not noted"
    return f"{at} {entry.seen_by}: {entry.what}"
