"""The words of errors: of which request or delivery they are, and what they prove."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from canary.domain.evidence import Seen, Source, Unreadable, value_or
from canary.domain.stages import Cause, CauseKind, Stage, State
from canary.domain.verdict import Verdict
from orchestrator_resilience.checkpoints import Checkpoint
from orchestrator_resilience.stores.base import Request, ServiceError, ServiceErrors
from tests.path.shown import Errors, Lines, Messages, Requests, Side, View, World
from tests.path.survey import explained
from tests.path.worlds import (
    FIVE,
    HOUR,
    MINUTE,
    NO_INSTANCE,
    NO_MEMORY,
    NO_MODULE,
    NO_START,
    SECOND,
    Code,
    Ending,
    Outage,
    Plan,
)

SILENT = Plan(outage=Outage(503, 0), code=Code.SILENT, attempts=1)
MISSING = Outage(503, 3)
UNTRACED = View(errors=Errors.UNTRACED, dead_letters=Side.ABSENT)
CRASHED = (CauseKind.CRASHED, Stage.PUBLISHED, Stage.DELIVERED)
NOT_KNOWN = (CauseKind.UNDETERMINED, Stage.PUBLISHED, Stage.RECORDED)
Stop = tuple[CauseKind, Stage | None, Stage | None]


def world_of(
    plan: Plan,
    view: View = UNTRACED,
    *,
    errors: Source[ServiceErrors] | None = None,
    requests: Sequence[Request] | None = None,
    lines: Sequence[Checkpoint] | None = None,
) -> World:
    """Return a world with these errors, requests or lines, where they are given."""
    world = World(plan, view)
    traces = world.traces
    traces = traces if errors is None else replace(traces, errors=errors)
    traces = traces if requests is None else replace(traces, requests=Seen(requests))
    vars(world)["traces"] = traces if lines is None else replace(traces, checkpoints=Seen(lines))
    return world


def errors_of(world: World) -> list[ServiceError]:
    return list(value_or(world.traces.errors, ServiceErrors()).errors)


def requests_of(world: World) -> list[Request]:
    return [*value_or(world.traces.requests, list[Request]())]


def written(*errors: ServiceError) -> Seen[ServiceErrors]:
    return Seen(ServiceErrors(sorted(errors)))


def stop(verdict: Verdict) -> tuple[Stop, str]:
    """Return the only cause that all have, and its words."""
    (cause,) = verdict.causes
    return _stop(cause), cause.words


def _stop(cause: Cause) -> Stop:
    return cause.kind, cause.after, cause.until


@pytest.mark.parametrize("errors", [Errors.WHOLE, Errors.UNTRACED])
def test_the_words_of_a_crash(errors: Errors) -> None:
    """The service's own words are those of the cause, by trace and by time.

    All requests failed, and left no line.
    """
    world = World(Plan(outage=MISSING), replace(UNTRACED, errors=errors))
    outcome, words = stop(explained(world))
    assert outcome == CRASHED
    assert words.startswith("HTTP 503 for all ")
    assert words.endswith(f": {NO_MODULE}")


@pytest.mark.parametrize("errors", [Errors.EMPTY, Errors.ABSENT, Errors.UNREADABLE])
def test_without_errors_the_cause_stands(errors: Errors) -> None:
    """They add words, where the lines prove the same without them."""
    outcome, words = stop(explained(World(Plan(outage=MISSING), replace(UNTRACED, errors=errors))))
    assert outcome == CRASHED
    assert NO_MODULE not in words


def test_no_instance_was_started_for_any_request() -> None:
    """Without lines, the platform's words on each request prove that none was delivered."""
    outcome, words = stop(explained(world_of(SILENT)))
    assert outcome == CRASHED
    assert words.endswith(f": {NO_MODULE}")


@pytest.mark.parametrize("errors", [Errors.EMPTY, Errors.ABSENT, Errors.UNREADABLE])
def test_what_failed_without_a_line_may_have_been_delivered(errors: Errors) -> None:
    """Without the platform's words it is not known how far a request came."""
    outcome, words = stop(explained(world_of(SILENT, replace(UNTRACED, errors=errors))))
    assert outcome == NOT_KNOWN
    assert words.endswith("; no line says how far they came")


def test_one_request_of_which_the_platform_says_nothing() -> None:
    """It may have reached an instance that ran: of none is it said that nothing was delivered."""
    errors = errors_of(world_of(SILENT))
    starts = [error for error in errors if error.failed_to_start]
    outcome, words = stop(
        explained(world_of(SILENT, errors=written(*(e for e in errors if e != starts[2]))))
    )
    assert outcome == NOT_KNOWN
    assert words.endswith(f": {NO_MODULE}; no line says how far they came")


def test_one_start_is_not_two_requests() -> None:
    """Of two requests of the same moment, one may have been under way in another instance."""
    world = world_of(SILENT)
    requests = requests_of(world)
    twice = world_of(
        SILENT, requests=[*requests, requests[-1]._replace(at=requests[-1].at + SECOND, trace="")]
    )
    assert stop(explained(twice))[0] == NOT_KNOWN


def test_what_was_handled_since() -> None:
    """A request that was answered, or a row, shows that instances ran.

    Nothing is refused then, and no error is cited.
    """
    world = world_of(SILENT)
    requests = requests_of(world)
    answered = world_of(SILENT, requests=[*requests, Request(requests[-1].at + MINUTE, 200)])
    assert stop(explained(answered)) == (NOT_KNOWN, "")


def test_a_log_that_has_never_shown_an_answer() -> None:
    """Where the 2xx may be left out, failed requests prove nothing of the others."""
    view = replace(UNTRACED, requests=Requests.WITHOUT_2XX)
    assert stop(explained(world_of(SILENT, view)))[0] == NOT_KNOWN


@pytest.mark.parametrize(
    ("later", "is_cited"),
    [
        (-2 * SECOND, False),
        (-SECOND, True),
        (timedelta(0), True),
        (65 * SECOND, True),
        (66 * SECOND, False),
        (HOUR, False),
        (-HOUR, False),
    ],
)
def test_the_time_of_an_error(later: timedelta, *, is_cited: bool) -> None:
    """An error is cited from a second before a request came to five after it ended.

    What came before the stop, or long after it, is not cited.
    """
    plan = Plan(outage=MISSING, attempts=1)
    took = [r._replace(took=MINUTE, trace="") for r in requests_of(world_of(plan))]
    (*_, last) = took
    error = ServiceError(last.at + later, "OSError: read-only")
    verdict = explained(world_of(plan, requests=took, errors=written(error)))
    assert ("OSError: read-only" in verdict.causes[0].words) == is_cited


@pytest.mark.parametrize(("trace", "is_cited"), [("mine", True), ("", True), ("another's", False)])
def test_the_trace_of_an_error(trace: str, *, is_cited: bool) -> None:
    """What was written in the trace of another request is not cited, however near it is."""
    plan = Plan(outage=MISSING, attempts=1)
    requests = [r._replace(trace="mine") for r in requests_of(world_of(plan))]
    error = ServiceError(requests[-1].at, "OSError: read-only", trace)
    verdict = explained(world_of(plan, requests=requests, errors=written(error)))
    assert ("OSError: read-only" in verdict.causes[0].words) == is_cited


def test_the_last_words_of_the_service_count() -> None:
    """They count before the platform's, and the last request's before an earlier one's."""
    plan = Plan(outage=MISSING, attempts=1)
    first, last = (request.at for request in requests_of(world_of(plan))[-2:])
    errors = written(
        ServiceError(first, "KeyError: 'first'"),
        ServiceError(last, "KeyError: 'last'"),
        ServiceError(last + SECOND, "Container called exit(1).", "", True),
    )
    assert stop(explained(world_of(plan, errors=errors)))[1].endswith(": KeyError: 'last'")


def test_what_was_turned_away_has_reached_no_code() -> None:
    """Beside a 429 are the platform's words alone, whatever the service writes at that time."""
    plan = Plan(outage=Outage(429, 3), attempts=1)
    world = world_of(plan)
    errors = [ServiceError(request.at, "KeyError: 'own'") for request in requests_of(world)]
    outcome, words = stop(explained(world_of(plan, errors=written(*errors, *errors_of(world)))))
    assert outcome == (CauseKind.NOT_DELIVERED, Stage.PUBLISHED, Stage.DELIVERED)
    assert words.endswith(f": {NO_INSTANCE}")


def test_too_many_errors() -> None:
    """Where those of the time were cut off, that is said in their place."""
    plan = Plan(outage=MISSING)
    cut_at = requests_of(world_of(plan))[-1].at + MINUTE
    words = stop(explained(world_of(plan, errors=Seen(ServiceErrors((), cut_at)))))[1]
    assert words.endswith(
        f": the service's errors before {cut_at:%Y-%m-%d %H:%M:%S}Z were too many to be read"
    )


@pytest.mark.parametrize(("trace", "is_cited"), [("t", True), ("", False), ("another's", False)])
@pytest.mark.parametrize("is_of_request", [True, False])
def test_why_a_delivery_died(trace: str, *, is_of_request: bool, is_cited: bool) -> None:
    """It is said by what was written in its trace, or of the request that has it.

    By the time alone nobody can tell.
    """
    plan = Plan(endings=(Ending.HEALTHY,) * 4 + (Ending.DIES,), attempts=1)
    plain = world_of(plan)
    lines = [
        replace(line, fields={**line.fields, "trace": "t"})
        for line in value_or(plain.traces.checkpoints, ())
    ]
    (failed,) = (request for request in requests_of(plain) if request.status == 503)
    requests = [
        *(r for r in requests_of(plain) if r != failed),
        failed._replace(trace=trace if is_of_request else ""),
    ]
    error = ServiceError(failed.at, NO_MEMORY, "" if is_of_request else trace, True)
    (cause,) = explained(
        world_of(plan, lines=lines, requests=sorted(requests), errors=written(error))
    ).causes
    assert cause.kind is CauseKind.CRASHED
    assert cause.words == "begun and not ended, no line after RECEIVED" + (
        f": {NO_MEMORY}" if is_cited else ""
    )


@pytest.mark.parametrize(
    ("late", "is_cited"), [(SECOND, True), (4 * MINUTE, True), (6 * MINUTE, False)]
)
def test_a_failed_start_without_a_log_of_requests(late: timedelta, *, is_cited: bool) -> None:
    """It supports what is missed, and names no cause.

    A message came, and no line since.
    """
    plan = Plan(endings=(Ending.HEALTHY,) * 4 + (Ending.DIES_AT_START,), attempts=1)
    view = replace(UNTRACED, requests=Requests.ABSENT)
    (message,) = (
        m for m in World(plan, view).happened.messages if m.ending is Ending.DIES_AT_START
    )
    error = ServiceError(message.at + late, NO_START, "", True, True)
    outcome, words = stop(explained(world_of(plan, view, errors=written(error))))
    assert outcome == (CauseKind.UNDETERMINED, Stage.PUBLISHED, Stage.DELIVERED)
    assert ("the platform said: " + NO_START in words) == is_cited


@pytest.mark.parametrize("messages", [Messages.ABSENT, Messages.UNREADABLE])
def test_a_failed_start_beside_which_no_message_is_known(messages: Messages) -> None:
    """It may be of anything, and is not cited."""
    plan = Plan(endings=(Ending.HEALTHY,) * 4 + (Ending.DIES_AT_START,), attempts=1)
    view = replace(UNTRACED, requests=Requests.ABSENT, messages=messages)
    assert NO_START not in " ".join(cause.words for cause in explained(World(plan, view)).causes)


def test_nothing_is_refused_by_an_error_alone() -> None:
    """Without requests and lines, errors prove nothing of any processor."""
    view = replace(UNTRACED, requests=Requests.ABSENT, lines=Lines.NEVER)
    verdict = explained(World(SILENT, view))
    refused = {step.stage for step in verdict.path if step.state in {State.REFUSED, State.MISSED}}
    assert Stage.DELIVERED not in refused
    assert {cause.kind for cause in verdict.causes} == {CauseKind.UNDETERMINED}
    assert {name for cause in verdict.causes for name in cause.subjects} == set(FIVE)


def test_what_could_not_be_read_is_said_once() -> None:
    """The sources that one right opens are named together."""
    denied = Unreadable("Cloud Logging: PermissionDenied: 403")
    traces = replace(
        World(SILENT, View()).traces, checkpoints=denied, requests=denied, errors=denied
    )
    names = "the checkpoints and the requests to the service and the service's errors"
    assert traces.left_out == [f"explained without {names}: Cloud Logging: PermissionDenied: 403"]
