"""A canary's life: runs of `watch` on documents that are plain values, with drawn verdicts.

A spell is what is wrong with a date from one time to another; outside of it the date is TRIGGERED.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from canary import run as run_module
from canary import sources
from canary.domain.documents import to_fields
from canary.domain.evidence import Traces
from canary.domain.incident import DateMemory, NotificationKind
from canary.domain.remembered import (
    DEFAULT_CANARY,
    Runs,
    canary_ref,
    month_ref,
    read_date,
    read_runs,
)
from canary.domain.silence import Acknowledgement, Silence, people_ref, silence_fields
from canary.domain.verdict import Impact, Verdict, VerdictKind
from canary.function import _answer
from canary.notify.channel import Channels, Notification, Warned
from canary.run import Report
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import BUNDLED_PHASES, Phase, load_phase
from tests.proof.doubles import Operation, PlainStores, StoresOf, Watched

PHASE = load_phase("phase2", BUNDLED_PHASES)
TICK, HOUR, DAYS = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


class Spell(NamedTuple):
    """What is said of a date `since` a time, `until` another."""

    day: date
    since: datetime
    until: datetime
    kind: VerdictKind = VerdictKind.UNTRIGGERED
    more: Mapping[str, Any] = {}


def at(text: str) -> datetime:
    """Read a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class People:
    """A channel that keeps what it was sent; `fails` says at each time with which error, if any."""

    address = ""

    def __init__(
        self, name: str, fails: Callable[[datetime], BaseException | None] = lambda _: None
    ) -> None:
        self.name, self.fails = name, fails
        self.heard: list[tuple[datetime, Notification]] = []
        self.words: list[str] = []

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Keep it, or fail; what may have been posted is kept all the same."""
        error = self.fails(now)
        if error is None or getattr(error, "may_be_posted", False):
            self.heard += [(now, notification) for notification in notifications]
        if error is not None:
            raise error

    def warn(self, what: Warned, text: str, now: datetime) -> None:  # noqa: ARG002 (the text has it)
        """Keep the word, or fail."""
        if (error := self.fails(now)) is not None:
            raise error
        self.words.append(text)

    def kinds(self, day: date, phase: str = PHASE.name) -> list[NotificationKind]:
        """Return what it heard of a date."""
        return [kind for _, kind in self.when(day, phase)]

    def when(self, day: date, phase: str = PHASE.name) -> list[tuple[datetime, NotificationKind]]:
        """Return when it heard what of a date."""
        own = [
            (now, one)
            for now, one in self.heard
            if (one.verdict.phase, one.verdict.game_date) == (phase, day)
        ]
        return [(now, one.kind) for now, one in own]


class Life:
    """The runs of one canary; `fault` says how an operation on the documents fails, if it does."""

    def __init__(
        self, spells: Iterable[Spell], *people: People, phases: Iterable[Phase] = (PHASE,)
    ) -> None:
        self.spells, self.people = list(spells), people or (People("log"), People("slack"))
        self.phases = {phase.name: phase for phase in phases}
        self.stores = PlainStores()
        self.fault: Callable[[Operation], str] = lambda _: ""
        self.operations: list[Operation] = []
        self.channels = Channels(*self.people)
        self.report: Report | None = None

    def run(self, now: datetime) -> int:
        """Run once; return what the scheduler is answered."""
        self.operations = []
        documents: Any = Watched(self.stores, self._stored, ["get_all", "commit"])
        stores: Any = StoresOf(documents, SimpleNamespace(summarise=lambda *_: []))

        def judged(evidence: Any, phase: Phase, *_: object) -> Any:
            return run_module._Date(
                evidence, phase, self.verdict(phase.name, evidence.game_date, now)
            )

        with ExitStack() as stack:
            stack.enter_context(patch.object(sources, "Background", AtOnce))
            for name, instead in {
                "_judge_date": judged,
                "_explained": lambda one, *_: one.verdict,
                "read_traces": lambda _, dates, *__, **___: dict.fromkeys(dates, Traces()),
                "_warnings": lambda *_: (),
                "_silent_dates": lambda *_: set(),
            }.items():
                stack.enter_context(patch.object(run_module, name, instead))
            self.report = run_module.watch(stores, self.phases, self.channels, now)
        return _answer(self.report)[1]

    def runs(self, start: datetime, end: datetime, every: timedelta = TICK) -> list[int]:
        """Run from one time up to another, `every` so often; return the answers."""
        return [self.run(start + number * every) for number in range((end - start) // every)]

    def verdict(self, phase: str, day: date, now: datetime) -> Verdict:
        """Return what is said of a date at a time."""
        spells = [
            spell for spell in self.spells if spell.day == day and spell.since <= now < spell.until
        ]
        kind, more = (spells[0].kind, spells[0].more) if spells else (VerdictKind.TRIGGERED, {})
        fields = {"impact": Impact.UNKNOWN} if kind.is_problem else {}
        return Verdict(
            kind=kind, phase=phase, game_date=day, summary="a summary", **{**fields, **more}
        )

    def die(self) -> None:
        """Begin another process."""
        self.channels = Channels(*self.people)

    def memory(self, day: date, phase: str = PHASE.name) -> DateMemory:
        """Return what is remembered of a date."""
        ref = month_ref(DEFAULT_CANARY, phase, f"{day:%Y-%m}")
        return read_date(self.stores.value.documents.get(ref), day)

    def of_itself(self) -> Runs:
        """Return what is remembered of the canary."""
        return read_runs(self.stores.value.documents.get(canary_ref(DEFAULT_CANARY)))

    def overwrite_own(self, fields: Mapping[str, Any]) -> None:
        """Put something else into the canary's own document."""
        self.stores.overwrite(canary_ref(DEFAULT_CANARY), fields)

    def say(
        self, silences: Iterable[Silence] = (), acknowledgements: Iterable[Acknowledgement] = ()
    ) -> None:
        """Let people say this."""
        fields = silence_fields({silence.id: silence for silence in silences})
        fields["acknowledgements"] = [to_fields(one) for one in acknowledgements]
        self.stores.overwrite(people_ref(DEFAULT_CANARY), fields)

    def acknowledgement(self, day: date, now: datetime) -> Acknowledgement:
        """Return what `canary ack` would write."""
        incident = self.memory(day).open
        assert incident is not None
        return Acknowledgement(
            phase=PHASE.name,
            game_date=day,
            at=now,
            opened_at=incident.opened_at,
            level=incident.level,
            by="ada",
        )

    def _stored(self, operation: Operation, act: Callable[[], Any]) -> Any:
        self.operations.append(operation)
        match self.fault(operation):
            case "before":
                raise StoreError("503")
            case "another's":
                return False
            case _:
                return act()


def silence(first: date, last: date, until: datetime) -> Silence:
    """Return a silence of some dates."""
    return Silence(
        id="1",
        phase=PHASE.name,
        first=first,
        last=last,
        reason="a reason",
        expires_at=until,
        by="bob",
    )
