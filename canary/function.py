"""The canary over HTTP: what Cloud Scheduler calls every 15 minutes.

`POST /` is a run: it reads the sources, judges each date, and notifies people of what is new.
`GET /status` judges the recent dates and notifies nobody, and `POST /notify-test` sends a marked
message over each channel. All three answer with JSON: 200 when everything could be read and sent,
whatever the verdicts are, and 503 with the reason when not. `GET /` and `GET /dates/DATE` answer
with the page that people look at, 200 as long as there is something to show. A run leaves a
CANARY_RUN line on stdout, and requests HEARTBEAT_URL if it answers 200. With PAGE_OF, the name of
another canary, this is a page of that canary: it answers to GET alone, and writes nothing.
"""

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any

import flask
import functions_framework
import msgspec
from flask.typing import ResponseReturnValue

from canary.domain.remembered import DEFAULT_CANARY
from canary.notify.channel import Channels
from canary.notify.heartbeat import Heartbeat
from canary.notify.log_entry import write_entry
from canary.notify.message import CommandLine, date_path
from canary.notify.opening import open_channels
from canary.page.headers import HEADERS
from canary.run import Outcome, Report, check_dates, overview, timeline_and_facts, watch
from canary.settings import CanarySettings
from orchestrator_resilience.phase import Phase, load_phases
from orchestrator_resilience.plain import YEARS, calendar_date, one_line
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.opening import open_stores

_Json = tuple[dict[str, Any], int]
Reply = _Json | tuple[dict[str, Any] | str, int, Mapping[str, str]]
# A reader waits less long for a page than the scheduler does for a run.
_PAGE_SECONDS = 12.0
# How many characters of a path or a method an answer repeats.
_SHOWN_CHARACTERS = 100
Handler = Callable[[flask.Request], ResponseReturnValue]


def start() -> Handler:
    """Read the environment, and return the handler that functions-framework serves.

    Raises ConfigurationError, which names the variable or the field, so that an instance with a
    missing variable, a bad switch or a bad phases file does not start.
    """
    settings, canary_settings = Settings.from_env(), CanarySettings.from_env()
    phases = load_phases()
    stores = open_stores(settings, phases, must_exist=True)
    if not canary_settings.enabled:
        return _served(lambda _: ({"outcome": "SWITCHED_OFF", "reason": "CANARY_ENABLED"}, 200))
    channels = (
        Channels(canary=canary_settings.page_of)
        if canary_settings.page_of
        else open_channels(settings, canary_settings, phases)
    )
    heartbeat = Heartbeat(canary_settings.heartbeat_url) if canary_settings.heartbeat_url else None
    named = None if channels.canary == DEFAULT_CANARY else channels.canary
    command = CommandLine(project=settings.project, several=len(phases) > 1, canary=named)
    return _served(
        Canary(
            stores, phases, channels, heartbeat, command, canary_settings.page_of is not None
        ).answer
    )


def _served(answer: Callable[[flask.Request], Reply]) -> Handler:
    """Return a function that gives this answer.

    Functions-framework takes neither a method nor a lambda.
    """

    @functions_framework.http
    def canary(request: flask.Request) -> ResponseReturnValue:
        response = flask.make_response(answer(request))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return canary


class Canary(msgspec.Struct, frozen=True):
    """What is kept between requests; the stores' clients are made at the first use.

    One that `only_reads` is the page of the canary that its channels name, and has no channel.
    """

    stores: Stores
    phases: Mapping[str, Phase]
    channels: Channels
    heartbeat: Heartbeat | None
    command: CommandLine = msgspec.field(default_factory=CommandLine)
    only_reads: bool = False

    def answer(self, request: flask.Request) -> Reply:
        """Answer one request, with 503 and the reason whatever goes wrong.

        The scheduler then tries again.
        """
        try:
            return self._route(
                request.method, request.path, datetime.now(UTC), request.args.get("phase")
            )
        except Exception as error:  # noqa: BLE001 (nothing may end as a page of HTML that nobody reads)
            return _failure(error)

    def _route(self, method: str, path: str, now: datetime, phase: str | None = None) -> Reply:
        handlers = self._handlers(path, phase)
        if not handlers:
            paths = (
                "/",
                "/status",
                *([] if self.only_reads else ["/notify-test"]),
                "/dates/2026-02-09",
            )
            reason = (
                f"there is no {one_line(path, _SHOWN_CHARACTERS)}; "
                f"there are {', '.join(paths[:-1])} and {paths[-1]}, "
                f"with ?phase= and one of {', '.join(self.phases)}"
            )
            return {"reason": reason}, 404
        if self.only_reads:
            handlers = {name: handler for name, handler in handlers.items() if name == "GET"}
        # The answer to HEAD loses its body later.
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else [])])
            why = (
                f": this is a page of {self.channels.canary}, which only reads"
                if self.only_reads
                else ""
            )
            reason = f"{one_line(method, _SHOWN_CHARACTERS)} is not what {path} takes{why}"
            return {"reason": reason}, 405, {"Allow": allowed}
        return handler(now)

    def _handlers(self, path: str, phase: str | None) -> Mapping[str, Callable[[datetime], Reply]]:
        """Return the handlers of a path by method; none where there is no such path or phase."""
        if phase and phase not in self.phases:
            return {}
        match path.strip("/").split("/"):
            case [""]:
                return {"GET": lambda now: self._board(phase, now), "POST": self._run}
            case ["notify-test"]:
                return {"POST": self._notify_test}
            case ["status"]:
                return {"GET": self._status}
            case ["dates", text] if (day := calendar_date(text)) and day.year in YEARS:
                name = phase or next(iter(self.phases))
                return {"GET": lambda now: self._date(self.phases[name], day, now)}
            case _:
                return {}

    def _board(self, phase: str | None, now: datetime) -> Reply:
        """Answer with all dates, of one phase or of all; a source that hangs is left out."""
        # Only here and below, because an instance that is started for a run draws no page.
        from canary.page.board import BOARD_DATES, MONTH_DATES, board  # noqa: PLC0415
        from canary.page.render import as_html  # noqa: PLC0415

        phases = {phase: self.phases[phase]} if phase else self.phases
        recent = overview(
            self.stores,
            phases,
            now,
            MONTH_DATES,
            explained=BOARD_DATES,
            seconds=_PAGE_SECONDS,
            canary=self.channels.canary,
        )
        several = len(self.phases) > 1
        shown = board(
            recent,
            phases,
            None,
            self.command,
            lambda name, day: date_path(name, day, several=several),
            page_of_phase=lambda name: f"/?phase={name}",
        )
        return as_html(shown), 200, HEADERS

    def _date(self, phase: Phase, day: date, now: datetime) -> Reply:
        from canary.page.one_date import one_date  # noqa: PLC0415 (as above)
        from canary.page.remembered import Remembered  # noqa: PLC0415
        from canary.page.render import as_html  # noqa: PLC0415

        canary = self.channels.canary
        timeline, facts, documents = timeline_and_facts(
            self.stores, phase, day, now, seconds=_PAGE_SECONDS, canary=canary
        )
        shown = one_date(
            timeline, facts, phase, self.command, now, remembered=Remembered(documents, canary, now)
        )
        return as_html(shown), 200, HEADERS

    def _run(self, now: datetime) -> _Json:
        report = watch(self.stores, self.phases, self.channels, now)
        _log(report)
        answer = _answer(report)
        # A heartbeat that nobody received does not change the run.
        if (
            self.heartbeat is not None
            and answer[1] == HTTPStatus.OK
            and (failure := self.heartbeat.beat())
        ):
            write_entry({"severity": "WARNING", "message": f"CANARY_HEARTBEAT: {failure}"})
        return answer

    def _notify_test(self, now: datetime) -> _Json:
        """Answer with the failure of each channel, and log it: the deployment reads that line."""
        failures = self.channels.test(now)
        are_all_sent = not any(failures.values())
        words = "; ".join(f"{name}: {failure or 'sent'}" for name, failure in failures.items())
        line = {
            "message": f"CANARY_NOTIFY_TEST: {words}",
            "run": "CANARY_NOTIFY_TEST",
            "all_sent": are_all_sent,
        }
        write_entry({"severity": "INFO" if are_all_sent else "ERROR", **line})
        return {
            "channels": failures,
            "reason": "" if are_all_sent else words,
        }, 200 if are_all_sent else 503

    def _status(self, now: datetime) -> _Json:
        game_dates = {
            name: phase.recent_dates(now, phase.history_dates)
            for name, phase in self.phases.items()
        }
        return _answer(
            check_dates(self.stores, self.phases, now, game_dates, canary=self.channels.canary)
        )


def _answer(report: Report) -> _Json:
    reasons = sorted({v.summary for v in report.verdicts if v.unreadable})
    reasons += [f"nobody was notified of {incident}" for incident in report.notified.untold]
    return {**report.to_json(), "reason": "; ".join(reasons)}, 503 if reasons else 200


def _failure(error: Exception) -> Reply:
    """Log an error with its stack trace, and return the answer to the request that it ended."""
    reason = f"{type(error).__name__}: {error}"
    answer = {"run": "CANARY_RUN", "outcome": "COULD_NOT_TELL", "reason": reason}
    entry = {"severity": "ERROR", "message": f"CANARY_RUN failed: {reason}", **answer}
    with suppress(OSError, ValueError):  # where nothing can be printed, the answer says it alone
        write_entry({**entry, "stack_trace": traceback.format_exc()})
    return answer, 503


def _log(report: Report) -> None:
    """Leave one JSON line on stdout, for Cloud Logging: the proof that the canary is alive."""
    line = report.run_line()
    words = ", ".join(
        f"{entry['phase']} {entry['game_date']} {entry['verdict']}" for entry in line["dates"]
    )
    # Not an error when there is a problem: the alert is an entry of its own, once, and this line
    # comes each run.
    is_whole = report.outcome is not Outcome.COULD_NOT_TELL and not report.notified.to_json()
    severity = "INFO" if is_whole else "WARNING"
    write_entry({"severity": severity, "message": f"CANARY_RUN: {words}", **line})
