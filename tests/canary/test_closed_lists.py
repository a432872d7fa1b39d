"""Every member of a closed list has each of its texts, so that every channel can send it."""

import importlib
import io
import json
import pkgutil
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import pytest

import canary
import orchestrator_resilience
from canary.commands.lanes import STYLES
from canary.commands.terminal import make_console, print_notifications, print_timeline
from canary.domain.incident import Incident, NotificationKind
from canary.domain.path.text import MARKS, standing_text, step_text
from canary.domain.remembered import DEFAULT_CANARY
from canary.domain.stages import Cause, CauseKind, Stage, Standing, StandingKind, State, Step
from canary.domain.timeline import Timeline
from canary.domain.verdict import Impact, Verdict, VerdictKind, level
from canary.notify.channel import Notification, Warned
from canary.notify.log_entry import LogChannel
from canary.notify.message import SIGNS, CommandLine
from canary.notify.slack import COLOURS, message
from canary.page.board import badge, board
from canary.page.one_date import one_date
from canary.page.remembered import Remembered
from canary.page.render import as_html
from canary.run import Overview, Report
from orchestrator_resilience import Phase
from orchestrator_resilience.checkpoints import DeliveryOutcome
from tests.docs.markdown import text_of

DAY = date(2026, 2, 9)
NOW = datetime(2026, 2, 10, 7, 15, tzinfo=UTC)
COMMAND = CommandLine(
    project="my-project", page="https://page.example", runbook="https://docs.example/runbook.md"
)

# The tables that leave members of a closed list out, and what is said of those instead.
NOT_IN_IT: dict[str, set[str]] = {
    "IN_SHORT": {"UNDETERMINED"},  # by which stage it stopped
    "ADVICE": {"UNDETERMINED"},  # the advice of its stage, or of the verdict
    "BY_STAGE": {*Stage} - {"RAN", "PUBLISHED", "DELIVERED"},  # the advice of the verdict
    "SIGNS": {"OPENED", "CHANGED", "REMINDER"},  # the sign of how bad it is now
    "_COMPONENTS": {"OUTPUT"},  # it is the next phase's
    "_NO_RESULT": {"success", "partial"},  # they are a result
    "SEVERITY": {*DeliveryOutcome} - {"stuck", "premature"},  # the severity of its kind
    "_REMARKS": {*DeliveryOutcome} - {"stuck", "premature", "partial"},  # they need none
    "_COLOURS": {"INFO"},  # no colour
}


def test_every_table_has_every_member() -> None:
    """Each dict by a closed list is whole, or is above with what stands in for the rest."""
    left_out: dict[str, set[str]] = {}
    for package in (canary, orchestrator_resilience):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            module = importlib.import_module(found.name)
            for name, table in vars(module).items():
                lists = (
                    {type(key) for key in table if isinstance(key, StrEnum)}
                    if isinstance(table, dict)
                    else ()
                )
                missing = {
                    member.value for members in lists for member in members if member not in table
                }
                if missing:
                    left_out[name] = missing
    assert left_out == NOT_IN_IT


# Each channel returns what it makes of notifications, as one text.
Send = Callable[[list[Notification], Mapping[str, Phase]], str]


def to_the_log(notifications: list[Notification], phases: Mapping[str, Phase]) -> str:
    stream = io.StringIO()
    LogChannel(phases, project="my-project", stream=stream).send(notifications, NOW)
    return str([json.loads(line) for line in stream.getvalue().splitlines()])


def to_slack(notifications: list[Notification], phases: Mapping[str, Phase]) -> str:
    return str(message(notifications, phases, COMMAND, NOW))


def to_the_terminal(notifications: list[Notification], phases: Mapping[str, Phase]) -> str:
    console = make_console(width=200)
    with console.capture() as printed:
        print_notifications(console, notifications, phases, COMMAND, NOW)
        for one in notifications:
            print_timeline(console, Timeline(one.verdict, (), ()), phases["phase2"], COMMAND, NOW)
    return printed.get()


def to_the_page(notifications: list[Notification], phases: Mapping[str, Phase]) -> str:
    verdicts = tuple(one.verdict for one in notifications)
    found = Overview(Report(NOW, verdicts), (None,) * len(verdicts), {})
    pages = [as_html(board(found, phases, NOW, COMMAND, lambda _, day: f"/dates/{day}"))]
    for verdict in verdicts:
        remembered, timeline = Remembered({}, DEFAULT_CANARY, NOW), Timeline(verdict, (), ())
        date_page = one_date(timeline, None, phases["phase2"], COMMAND, NOW, remembered=remembered)
        pages.append(as_html(date_page))
    return "".join(pages)


CHANNELS: list[Send] = [to_the_log, to_slack, to_the_terminal, to_the_page]
EVERYWHERE = pytest.mark.parametrize("send", CHANNELS)


# How many names a standing fact has: the revisions before and after, the parts of a change.
NAMED = dict.fromkeys(StandingKind, 3) | {StandingKind.CHANGED_REVISION: 2}


def notification(
    kind: VerdictKind = VerdictKind.UNTRIGGERED,
    of: NotificationKind = NotificationKind.OPENED,
    *,
    cause: CauseKind = CauseKind.NOT_RUN,
    impact: Impact = Impact.UNKNOWN,
) -> Notification:
    """Return a notification of a date whose path, causes and standing facts have one of each."""
    verdict = Verdict(
        kind=kind,
        phase="phase2",
        game_date=DAY,
        summary="a summary",
        impact=impact,
        missing=("p2_bigdataball_pbp",),
        causes=(Cause(kind=cause, subjects=("p2_bigdataball_pbp",), until=Stage.DECIDED),),
        path=tuple(Step(stage=stage, state=state) for stage in Stage for state in State),
        standing=tuple(
            Standing(fact, ("one", "two", "three")[: NAMED[fact]]) for fact in StandingKind
        ),
    )
    return Notification(
        of, Incident(kind=kind, level=level(verdict), opened_at=NOW - timedelta(hours=1)), verdict
    )


@EVERYWHERE
@pytest.mark.parametrize("cause", CauseKind)
def test_every_channel_sends_a_date_of_each_cause(
    send: Send, cause: CauseKind, phase: Phase
) -> None:
    """With the cause's name in it."""
    assert cause in send([notification(cause=cause)], {"phase2": phase})


@EVERYWHERE
@pytest.mark.parametrize("kind", VerdictKind)
def test_every_channel_sends_a_date_of_each_verdict(
    send: Send, kind: VerdictKind, phase: Phase
) -> None:
    """With the verdict's name in it."""
    assert kind in send([notification(kind)], {"phase2": phase})


@EVERYWHERE
@pytest.mark.parametrize("of", NotificationKind)
def test_every_channel_sends_each_kind_of_notification(
    send: Send, of: NotificationKind, phase: Phase
) -> None:
    """About its date."""
    assert str(DAY) in send([notification(of=of)], {"phase2": phase})


@EVERYWHERE
@pytest.mark.parametrize("impact", Impact)
def test_every_channel_sends_a_date_of_each_impact(
    send: Send, impact: Impact, phase: Phase
) -> None:
    """How bad it is by that has a sign, a colour and a tone."""
    sent = notification(impact=impact)
    assert "a summary" in send([sent], {"phase2": phase})
    assert COLOURS[SIGNS[level(sent.verdict)]]
    assert badge(sent.verdict).tone in STYLES


@pytest.mark.parametrize("what", Warned)
def test_every_channel_has_each_word_of_the_canary_itself(what: Warned, phase: Phase) -> None:
    """A log entry has a severity, and the name by which it is found."""
    stream = io.StringIO()
    LogChannel({"phase2": phase}, stream=stream).warn(what, "a word", NOW)
    entry = json.loads(stream.getvalue())
    assert (entry["message"], bool(entry["severity"])) == (f"CANARY_{what}: a word", True)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("state", State)
def test_each_state_of_each_stage_has_words_and_a_tone(stage: Stage, state: State) -> None:
    """The terminal has a style for the tone, and the page a class."""
    word, tone = MARKS[state]
    assert step_text(Step(stage=stage, state=state)).endswith(f": {word}")
    assert (tone in STYLES, f".{tone} {{" in text_of("canary/page/page.css")) == (True, True)


@pytest.mark.parametrize("kind", StandingKind)
def test_each_standing_fact_has_words(kind: StandingKind) -> None:
    """It says whom it is about; a list that was another one is of nobody."""
    said = standing_text(Standing(kind, ("one", "two", "three")[: NAMED[kind]], "words"), "phase2")
    assert ("one" in said) == (kind is not StandingKind.CHANGED_LIST), said
