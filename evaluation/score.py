"""What the canary said of each date, held against the truth."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from canary.domain.incident import REMIND_EVERY, NotificationKind
from canary.domain.stages import CauseKind, Stage, Standing
from canary.domain.verdict import Level, VerdictKind
from evaluation.reported import GUILTY, INNOCENT, NO_MODULE
from evaluation.taken import Taken
from evaluation.truth import Truth, by_subject, is_exact
from evaluation.world import SentMessage, Statement, World

# A reminder comes at the first run after its interval; while a date is SETTLING, half an hour,
# nobody is reminded.
_REMINDER_SLACK = timedelta(minutes=50)
# What is, or has become, a warning waits for the hour of the deadline, twelve hours after the last
# at the least.
_WARNING_PAUSE = timedelta(hours=37)
_MANY = 7
_A_DAY = timedelta(days=1)
MESSAGES_A_DAY = 8
# The scenario of the healthy dates before a faulty one.
LEAD_IN = "lead-in"


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated date.

    `flaws` are the promises that were broken, in words; `seed` makes the same world again. Delays
    are in seconds: `delay` from when the first verdict was due, `completion_delay` from the fifth
    completion to the word UNTRIGGERED in the log, `reset` from the repair to RESOLVED. `causes` are
    those whose evidence was stored, `named` those that any run found: one that is found later is
    sent with the next reminder, unless the repair comes first. `misplaced` says what was wrong with
    what was said of where it stopped. `intervals` is their number before the repair, one for each
    subject, and `exact` that of the exact ones. `taken` is how many pieces of evidence were taken
    away. `most_in_a_day` are the messages of the channel that got most of them within 24 hours.
    `stages`, `words` and `changed` are from what was said last before the repair: at which stages
    it stopped at the latest, in whose words, and whether the change behind it is named; None where
    there is none, or nobody could look.
    """

    scenario: str
    seed: str
    game_date: date
    healthy: bool
    flaws: tuple[str, ...]
    alarmed: bool
    detected: bool = False
    delay: float | None = None
    completion_delay: float | None = None
    reset: float | None = None
    causes: tuple[CauseKind, ...] = ()
    named: tuple[CauseKind, ...] = ()
    misplaced: tuple[str, ...] = ()
    intervals: int = 0
    exact: int = 0
    taken: int = 0
    most_in_a_day: int = 0
    stages: tuple[Stage, ...] = ()
    words: str = ""
    changed: bool | None = None
    notifications: Mapping[NotificationKind, int] = {}

    @property
    def is_explained(self) -> bool:
        """Whether all stages and causes were right, and no other named.

        One too few or too many is as wrong as none.
        """
        return self.named == self.causes and not self.misplaced


def score_healthy(world: World, day: date, scenario: str, seed: str) -> Score:
    """Score a date of which nothing may be said: no notification, and no run finds a problem."""
    problems = [j for j in world.judged.get(day, []) if j.verdict.is_problem]
    flaws = [f"{j.verdict} at {j.at:%m-%d %H:%M}" for j in problems]
    flaws += [
        f"{channel} was sent {t.notification} {t.verdict} at {t.at:%m-%d %H:%M}"
        for channel in world.sent
        for t in world.heard(channel, day)
    ]
    return Score(
        scenario=scenario,
        seed=seed,
        game_date=day,
        healthy=True,
        flaws=tuple(flaws),
        alarmed=bool(flaws),
    )


class Repair(msgspec.Struct, frozen=True):
    """When a date was repaired, and the causes whose evidence was stored by then."""

    at: datetime
    causes: frozenset[CauseKind]
    taken: Taken


def score_fault(
    world: World, day: date, scenario: str, seed: str, truth: Truth, *, repair: Repair
) -> Score:
    """Score a faulty date: each verdict that is due, in its time, and no other."""
    heard, logged = world.heard(truth.channel, day), world.heard("log", day)
    judged = [j for j in world.judged.get(day, []) if not j.verdict.is_quiet]
    news = _news(heard) if truth.notified else [(j.at, j.verdict) for j in judged]
    late, flaws = _timing(news, replace(truth, within=truth.within + truth.slack_late)), []
    if truth.notified:
        flaws += [f"log: {flaw}" for flaw in _timing(_news(logged), truth)]
    earliest = min(truth.due.values())
    # Where a source comes and goes it may not be known before.
    early = [j for j in judged if j.at < earliest and (j.verdict.is_problem or not truth.repeats)]
    flaws += [f"{j.verdict} at {j.at:%m-%d %H:%M}, before it was due" for j in early[:1]]
    kinds = frozenset(cause.kind for j in judged for cause in j.causes) - {CauseKind.UNDETERMINED}
    named = kinds.union(*(notice.causes for notice in heard))
    before = [j for j in judged if j.at < repair.at]
    misplaced = tuple(_misplaced(before, truth))
    last = [cause for _, cause in by_subject(before[-1].causes if before else ())]
    flaws += [f"{cause} was named" for cause in sorted(named - repair.causes - truth.arguable)]
    flaws += misplaced
    if truth.notified:  # else without memory: by the clock, and not when it is over
        flaws += _repeats(heard) if truth.repeats else _message_flaws(heard, judged, truth.ends)
    flaws += _channel_flaws(world, day, truth)
    explained = world.explained.get(day)
    words = "; ".join(cause.words for cause in explained.causes if cause.words) if explained else ""
    if truth.words and repair.causes and not _is_in(truth, words, world):
        flaws.append(f"not in its words: {words}")
    beside = explained.standing if explained else ()
    flaws += [
        f"an innocent change was named: {change.words}"
        for change in beside
        if change.who == INNOCENT
    ]
    most_in_a_day = max(_most_in_a_day(world.heard(channel, day)) for channel in world.sent)
    flaws += [f"{most_in_a_day} messages in 24 hours"] if most_in_a_day > MESSAGES_A_DAY else []
    first = min((at for at, _ in news), default=None)
    accused = min((t.at for t in logged if t.verdict is VerdictKind.UNTRIGGERED), default=None)
    over = [t.at for t in heard if t.notification is NotificationKind.RESOLVED]
    return Score(
        scenario=scenario,
        seed=seed,
        game_date=day,
        healthy=False,
        flaws=(*late, *flaws, *repair.taken.flaws),
        alarmed=bool(news),
        detected=not late,
        delay=(first - earliest).total_seconds() if first else None,
        completion_delay=(accused - truth.counts_from).total_seconds()
        if accused and truth.counts_from
        else None,
        reset=(over[-1] - repair.at).total_seconds() if over else None,
        causes=tuple(sorted(repair.causes - truth.arguable)),
        named=tuple(sorted(named - truth.arguable)),
        misplaced=misplaced,
        intervals=len(last),
        exact=sum(map(is_exact, last)),
        taken=repair.taken.pieces,
        most_in_a_day=most_in_a_day,
        stages=tuple(sorted({cause.until for cause in explained.causes if cause.until}))
        if explained
        else (),
        words=words,
        changed=_names_guilty(world, beside),
        notifications={
            kind: sum(t.notification is kind for t in heard) for kind in NotificationKind
        },
    )


def _is_in(truth: Truth, words: str, world: World) -> bool:
    """Whether the cause is given in the words that were written of it.

    Nobody has the words of errors that are not kept.
    """
    return truth.words in words or (truth.words == NO_MODULE and world.service_errors is None)


def _names_guilty(world: World, beside: Iterable[Standing]) -> bool | None:
    """Whether what was changed just before is named beside the cause."""
    guilty = [change.at for change in world.platform.changes_made if change.who == GUILTY]
    return any(change.at in guilty for change in beside) if guilty and world.changes else None


def _misplaced(judged: list[Statement], truth: Truth) -> list[str]:
    """Say each thing once that was wrong with what was said of where it stopped."""
    causes = [cause for j in judged for cause in j.causes]
    unsound = dict.fromkeys(flaw for j in judged for flaw in truth.unsound(j.causes, j.at))
    return [*unsound, *truth.unmentioned(causes)]


def _channel_flaws(world: World, day: date, truth: Truth) -> list[str]:
    """Say what is wrong with what was said to, or of, a channel that cannot be reached."""
    flaws = (
        [f"{len(world.warned)} words about a channel"]
        if len(world.warned) != truth.warnings
        else []
    )
    return (
        [*flaws, "slack was notified"]
        if truth.channel != "slack" and world.heard("slack", day)
        else flaws
    )


def _news(heard: list[SentMessage]) -> list[tuple[datetime, VerdictKind]]:
    return [
        (t.at, t.verdict)
        for t in heard
        if t.notification in {NotificationKind.OPENED, NotificationKind.CHANGED}
    ]


def _repeats(heard: list[SentMessage]) -> list[str]:
    """Say what is wrong with messages that may repeat.

    The first opens, and the last says that it is over.
    """
    kinds = [t.notification for t in heard]
    is_whole = kinds[:1] == [NotificationKind.OPENED] and kinds[-1:] == [NotificationKind.RESOLVED]
    return [] if is_whole else [f"sent {', '.join(kinds) or 'nothing'}"]


def _most_in_a_day(heard: list[SentMessage]) -> int:
    return max(
        (sum(timedelta() <= last.at - t.at < _A_DAY for t in heard) for last in heard), default=0
    )


def _timing(news: list[tuple[datetime, VerdictKind]], truth: Truth) -> list[str]:
    """Say which verdict was not given in its time, and which was not due at all."""
    flaws = []
    for kind, due in truth.due.items():
        at = min((at for at, verdict in news if verdict is kind), default=None)
        if (at is None and kind not in truth.optional) or (
            at is not None and not due <= at <= due + truth.within
        ):
            when = f"{at:%m-%d %H:%M}" if at else "never"
            flaws.append(f"{kind} was due {due:%m-%d %H:%M:%S}, and sent {when}")
    return flaws + [f"{kind} was sent" for _, kind in news if kind not in truth.due]


def _message_flaws(
    heard: list[SentMessage], judged: list[Statement], ends: NotificationKind
) -> list[str]:
    """One opening, one end, reminders at their interval only, and no change that is none."""
    counted = {kind: sum(t.notification is kind for t in heard) for kind in NotificationKind}
    flaws = [
        f"{counted[kind]} x {kind}"
        for kind in (NotificationKind.OPENED, ends)
        if counted[kind] != 1
    ]
    states = [
        (t.verdict, tuple(sorted(t.causes)), t.level)
        for t in heard
        if t.notification in {NotificationKind.OPENED, NotificationKind.CHANGED}
    ]
    flaws += [
        f"sent again: {', '.join(map(str, state))}"
        for n, state in enumerate(states)
        if state in states[:n]
    ]
    for number, (before, after) in enumerate(pairwise(heard)):
        pause = after.at - before.at
        if (
            sum(after.at - t.at < timedelta(days=1) + REMIND_EVERY for t in heard[: number + 1])
            >= _MANY
        ):
            continue  # so many in a day that a reminder has to wait
        is_warning = any(j.level is Level.WARNING for j in judged if j.at <= after.at)
        longest = _WARNING_PAUSE if is_warning else REMIND_EVERY + _REMINDER_SLACK
        if after.notification is NotificationKind.REMINDER and not REMIND_EVERY <= pause <= longest:
            flaws.append(f"a reminder after {pause}")
        if pause > longest:
            flaws.append(f"no word for {pause}")
    return flaws
