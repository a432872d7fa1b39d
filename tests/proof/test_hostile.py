"""Whole runs of the canary over what anybody may have written; the long form is `make hostile`."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

import canary.sources
from canary.commands.terminal import (
    make_console,
    print_line,
    print_lines,
    print_silences,
    print_timeline,
)
from canary.domain.incident import NotificationKind
from canary.domain.verdict import Verdict
from canary.notify.channel import Channels, Notification
from canary.notify.log_entry import LogChannel
from canary.notify.message import CommandLine, messages_by_fault
from canary.notify.slack import message
from canary.run import Report, check_dates, timeline_and_facts, watch
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.stores.base import Attempt, Request, ServiceError
from tests.proof.doubles import RecordingChannel, StoresOf
from tests.proof.hostile import NEXT, NOW, PHASES, Evidence, evidences, hostile_stores
from tests.proof.inputs import AT, DAY, PHASE, check_text, few


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.sources, "Background", AtOnce)


@pytest.fixture
def alone() -> Verdict:
    """What is said of the stuck date where nothing else is written."""
    return _without_causes(check_dates(hostile_stores(Evidence()), PHASES, NOW), NEXT)


class FormattingChannel(RecordingChannel):
    """Formats what it keeps, as the real ones do."""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Look at each text."""
        for _, content in messages_by_fault(notifications, PHASES, CommandLine(), now):
            check_text(content.text)
        json.dumps(
            message(notifications, PHASES, CommandLine(project="a-project"), now), allow_nan=False
        )
        LogChannel(PHASES, project="a-project", stream=io.StringIO()).send(notifications, now)
        super().send(notifications, now)


# When an error was written that is beside a request without an answer.
WRITTEN = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)


@few(150)
@given(evidence=evidences, number=st.integers(0, 9))
@example(evidence=Evidence(attempts=[Attempt(AT, "its own", "\x1b")]), number=9)
@example(
    evidence=Evidence(
        requests=[
            Request(datetime.min.replace(tzinfo=UTC), 200, timedelta(0), ""),
            Request(WRITTEN, 0, timedelta(330), ""),
        ],
        errors=[ServiceError(WRITTEN, "\x0bê\x05", is_platform=True)],
    ),
    number=9,
)
def test_whatever_others_have_written(alone: Verdict, evidence: Evidence, number: int) -> None:
    """check, watch, explain and status have no error, and each channel hears of the date once."""
    stores = hostile_stores(evidence)
    channels = [FormattingChannel("log"), FormattingChannel("slack")]
    both = Channels(*channels)
    reports = [watch(stores, PHASES, both, NOW + n * timedelta(minutes=15)) for n in range(2)]
    # What nobody can date is evidence for every date, as is what the code has done on another one:
    # but for causes only.
    assert _without_causes(reports[0], NEXT) == alone
    refused = {str(name) for name in evidence.refusals or ()}
    for channel in channels:
        check_text("\n".join(channel.warnings))
        kinds = [kind for kind, day in channel.told if day == NEXT]
        assert kinds == [NotificationKind.OPENED] or (kinds == [] and channel.name in refused), (
            channel.name,
            kinds,
        )
    if number == 9:  # it takes three times as long as the rest
        _look(stores, reports[0])


def _look(stores: StoresOf, report: Report) -> None:
    """Do what `status`, `check --json` and `explain` do with what was found."""
    console = make_console(120)
    with console.capture() as printed:
        print_lines(console, report.verdicts)
        print_silences(console, report.silences)
        for verdict in report.verdicts:
            print_line(console, verdict)
        for day in (DAY, NEXT):
            timeline, *_ = timeline_and_facts(stores, PHASES[PHASE.name], day, NOW)
            msgspec.to_builtins(timeline)
            print_timeline(console, timeline, PHASE, CommandLine(), NOW)
    check_text(printed.get())
    json.dumps(report.to_json(), allow_nan=False)
    json.dumps(report.run_line(), allow_nan=False)
    kinds = {verdict.game_date: verdict.kind for verdict in report.verdicts}
    assert all(
        verdict.kind == kinds[verdict.game_date]
        for verdict in check_dates(stores, PHASES, NOW).verdicts
    )


def _without_causes(report: Report, day: object) -> Verdict:
    (verdict,) = (one for one in report.verdicts if one.game_date == day)
    return replace(verdict, causes=(), path=(), standing=(), notes=verdict.notes[:1])
