"""Messages: the shapes that are taken, and the bad input that is refused by name."""

import base64
import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator_resilience import (
    CheckpointLogger,
    Completion,
    InvalidMessageError,
    Phase,
    Status,
    load_phase,
)
from orchestrator_resilience.checkpoints import json_line
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.probe import ATTRIBUTE, probe_of
from orchestrator_resilience.progress import Progress, read_progress, registration_fields
from orchestrator_resilience.rows import completion_row
from orchestrator_resilience.stores.bigquery import _json_row
from orchestrator_resilience.testing import RecordingSink, push_envelope
from tests.proof.inputs import (
    AT,
    ENVELOPE,
    check_lines,
    check_text,
    fuzzed,
    json_values,
    mutated,
    odd,
    or_error,
)

PUBLISHED = datetime(2026, 2, 10, 6, 41, tzinfo=UTC)
PHASE = load_phase("phase2", BUNDLED_PHASES)


class Event:
    """A CloudEvent as `cloudevents` makes it: attributes by `get`, data as an attribute."""

    def __init__(self, data: Any, **attributes: object) -> None:
        self.data = data
        self._attributes = attributes

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self._attributes.get(key, default)


def envelope(data: object, /, **message: object) -> dict[str, Any]:
    """Return a push envelope around `data`: bytes and text as they are, anything else as JSON."""
    raw = (
        data
        if isinstance(data, bytes)
        else data.encode()
        if isinstance(data, str)
        else json.dumps(data).encode()
    )
    return {
        "message": {
            "data": base64.b64encode(raw).decode(),
            "messageId": "17",
            "publishTime": "2026-02-10T06:41:00Z",
            **message,
        }
    }


def payload(**fields: object) -> dict[str, object]:
    """Return a good message with some fields replaced."""
    return {
        "processor_name": "OddsApiPropsBatchProcessor",
        "game_date": "2026-02-09",
        "status": "success",
        **fields,
    }


def test_every_field_of_a_message(phase: Phase) -> None:
    """What a processor really sends becomes a Completion.

    Fields that nobody reads are tolerated.
    """
    sent = push_envelope(
        "OddsApiPropsBatchProcessor",
        "2026-02-09",
        PUBLISHED,
        message_id="17",
        output_table="odds_api_player_points_props",
        is_incremental=True,
        entities_changed=["LAL", "BOS"],
    )
    sent["deliveryAttempt"] = 3
    sent["message"]["attributes"] = {
        "googclient_traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    }
    assert Completion.from_event(sent, phase) == Completion(
        phase="phase2",
        game_date=date(2026, 2, 9),
        processor="p2_odds_player_props",
        raw_processor="OddsApiPropsBatchProcessor",
        status=Status.SUCCESS,
        completed_at=PUBLISHED,
        event_id="17",
        correlation_id="corr-2026-02-09",
        execution_id="exec-17",
        record_count=100,
        is_incremental=True,
        entities_changed=("LAL", "BOS"),
        delivery_attempt=3,
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )


def test_the_three_shapes_are_one_completion(phase: Phase) -> None:
    """A CloudEvent, its plain-dict form, the push envelope and the decoded payload agree."""
    inner = envelope(payload())
    expected = Completion.from_event(inner, phase)
    assert (
        Completion.from_event(Event(inner, id="17", time="2026-02-10T06:41:00Z"), phase) == expected
    )
    assert (
        Completion.from_event({"id": "17", "type": "messagePublished", "data": inner}, phase)
        == expected
    )
    decoded = {"data": payload(), "messageId": "17", "publishTime": PUBLISHED}
    assert Completion.from_event({"message": decoded}, phase) == expected


def test_the_events_own_attributes_fill_in(phase: Phase) -> None:
    """Id, time and trace of the CloudEvent are used where the message has none."""
    inner = envelope(payload())
    del inner["message"]["messageId"], inner["message"]["publishTime"]
    trace = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    completion = Completion.from_event(
        Event(inner, id="18", time="2026-02-10T07:00:00Z", traceparent=trace), phase
    )
    assert (completion.event_id, completion.completed_at, completion.traceparent) == (
        "18",
        PUBLISHED + timedelta(minutes=19),
        trace,
    )


@pytest.mark.parametrize("text", ["2026-02-10T01:41:00-05:00", "2026-02-10T06:41:00.000000000Z"])
def test_publish_times_become_utc(phase: Phase, text: str) -> None:
    """Offsets and nanoseconds are understood."""
    assert (
        Completion.from_event(envelope(payload(), publishTime=text), phase).completed_at
        == PUBLISHED
    )


def test_only_success_and_partial_complete(phase: Phase) -> None:
    """The other statuses are reports, not completions."""
    assert {s.value for s in Status if phase.completes(s)} == {"success", "partial"}


def test_an_unexpected_is_no_error(phase: Phase) -> None:
    """Who is not expected is kept under the name that was sent."""
    completion = Completion.from_event(
        envelope(payload(processor_name="p2_nbacom_schedule")), phase
    )
    assert (completion.processor, completion.raw_processor) == (None, "p2_nbacom_schedule")


GOOD = envelope(payload())
BAD: dict[str, tuple[object, str]] = {
    "no mapping": (17, "event"),
    "nothing": (None, "event"),
    "empty": ({}, "message"),
    "message is text": ({"message": "hello"}, "message"),
    "event without data": (Event(None), "message"),
    "no data": (
        {"message": {"messageId": "1", "publishTime": "2026-02-10T06:41:00Z"}},
        "message.data",
    ),
    "data is a number": (envelope("", data=7), "message.data"),
    "not base64": (envelope("", data="%%%"), "message.data"),
    "base64 cut short": (envelope("", data="YWJjZ"), "message.data"),
    "not ASCII": (envelope("", data="é"), "message.data"),
    "not UTF-8": (envelope(b"\xff\xfe{}"), "message.data"),
    "not JSON": (envelope("processor done"), "message.data"),
    "JSON cut short": (envelope('{"processor_name": "p2'), "message.data"),
    "NaN": (envelope('{"processor_name": NaN}'), "processor_name"),
    "lone surrogate": (
        envelope('{"processor_name": "\\ud800", "game_date": "2026-02-09"}'),
        "processor_name",
    ),
    "nested too deeply": (envelope('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"), "message.data"),
    "a list": (envelope([1]), "message.data"),
    "null": (envelope("null"), "message.data"),
    "one megabyte": (envelope(payload(note="x" * 1_000_000)), "message.data"),
    "no id": (envelope(payload(), messageId=""), "message.messageId"),
    "id with a line break": (envelope(payload(), messageId="1\n2"), "message.messageId"),
    "no publish time": (envelope(payload(), publishTime=None), "message.publishTime"),
    "publish time without a zone": (
        envelope(payload(), publishTime="2026-02-10T06:41:00"),
        "message.publishTime",
    ),
    "publish time is a word": (envelope(payload(), publishTime="now"), "message.publishTime"),
    "publish time of year 1": (
        envelope(payload(), publishTime="0001-01-01T00:00:00Z"),
        "message.publishTime",
    ),
    "publish time is a lone surrogate": (
        envelope(payload(), publishTime="\ud800"),
        "message.publishTime",
    ),
    "processor missing": (
        envelope({"game_date": "2026-02-09", "status": "success"}),
        "processor_name",
    ),
    "processor is null": (envelope(payload(processor_name=None)), "processor_name"),
    "processor is empty": (envelope(payload(processor_name="")), "processor_name"),
    "processor is a number": (envelope(payload(processor_name=7)), "processor_name"),
    "processor is long": (envelope(payload(processor_name="p" * 129)), "processor_name"),
    "line break in a name": (
        envelope(payload(processor_name="p2\nCHECKPOINT_TRIGGERED")),
        "processor_name",
    ),
    "escape in a name": (envelope(payload(processor_name="p2\x1b[31m")), "processor_name"),
    "line separator in a name": (envelope(payload(processor_name="p2\u2028x")), "processor_name"),
    "right-to-left override": (envelope(payload(processor_name="p2\u202ex")), "processor_name"),
    "date missing": (envelope({"processor_name": "p", "status": "success"}), "game_date"),
    "February 30": (envelope(payload(game_date="2026-02-30")), "game_date"),
    "date the other way round": (envelope(payload(game_date="03/10/2026")), "game_date"),
    "date with a time of day": (envelope(payload(game_date="2026-02-09T19:30:00Z")), "game_date"),
    "date at midnight elsewhere": (
        envelope(payload(game_date="2026-02-09T00:00:00-05:00")),
        "game_date",
    ),
    "date without dashes": (envelope(payload(game_date="20260209")), "game_date"),
    "date is a number": (envelope(payload(game_date=20260209)), "game_date"),
    "date of year 9999": (envelope(payload(game_date="9999-12-31")), "game_date"),
    "date of year 1": (envelope(payload(game_date="0001-01-01")), "game_date"),
    "date five years ago": (envelope(payload(game_date="2021-02-09")), "game_date"),
    "date a year ahead": (envelope(payload(game_date="2027-02-09")), "game_date"),
    "status missing": (envelope({"processor_name": "p", "game_date": "2026-02-09"}), "status"),
    "status unknown": (envelope(payload(status="finished")), "status"),
    "another phase": (envelope(payload(phase="phase_3_analytics")), "phase"),
}


@pytest.mark.parametrize(("event", "field"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(phase: Phase, event: object, field: str) -> None:
    """Every bad message raises InvalidMessageError with the culprit, its text bounded."""
    with pytest.raises(InvalidMessageError) as caught:
        Completion.from_event(event, phase)
    assert caught.value.field == field
    assert caught.value.permanent
    assert len(caught.value.raw) <= 500


def test_what_was_sent_is_kept(phase: Phase) -> None:
    """The error carries the message's id and its decoded text."""
    with pytest.raises(InvalidMessageError) as caught:
        Completion.from_event(envelope(payload(game_date="2026-02-30")), phase)
    assert caught.value.event_id == "17"
    assert json.loads(caught.value.raw) == payload(game_date="2026-02-30")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


TWICE = base64.b64encode(json.dumps(payload()).encode())
NEEDED = (
    '"processor_name": "OddsApiPropsBatchProcessor", "game_date": "2026-02-09", "status": "success"'
)


@pytest.mark.parametrize(
    "sent",
    [
        envelope(b"\xef\xbb\xbf" + json.dumps(payload()).encode()),
        envelope(TWICE),
        envelope(base64.encodebytes(TWICE)),
        envelope(json.dumps(json.dumps(payload()))),
        envelope(json.dumps("\ufeff" + json.dumps(payload()))),
        envelope("", data=json.dumps(payload())),
        envelope("", data=payload()),
        envelope(payload(processor_name=" OddsApiPropsBatchProcessor\n")),
        envelope(payload(status="SUCCESS")),
        envelope(payload(status=" Success ")),
        envelope(payload(phase="Phase_2_raw ")),
        envelope(payload(game_date=" 2026-02-09 ")),
        envelope(payload(game_date="2026-02-09T00:00:00")),
        envelope(payload(game_date="2026-02-09 00:00:00.000")),
        envelope(payload(game_date="2026-02-09T00:00:00Z")),
        envelope(payload(game_date="2026-02-09 00:00:00+00:00")),
        envelope("", data=payload(game_date=date(2026, 2, 9))),
        envelope("", data=payload(game_date=datetime(2026, 2, 9))),  # noqa: DTZ001 (as a publisher may have it)
        envelope('{"status": "failed", ' + NEEDED + "}"),
        envelope(
            '{"note": NaN, "more": [Infinity, -Infinity, ' + "9" * 5000 + "], " + NEEDED + "}"
        ),
        envelope(payload(note="\ud800", more=[10**30])),
        envelope(payload(execution_id="")),
        envelope(payload(), messageId=17),
        envelope(payload(), messageId="", message_id="17"),
        envelope(payload(), attributes={"a": 1}),
        envelope(payload(), attributes="x"),
        {**envelope(payload()), "deliveryAttempt": "often"},
    ],
)
def test_what_can_mean_one_thing_only_is_taken(phase: Phase, sent: object) -> None:
    """A mark, another layer, spaces, another case, midnight, a number that JSON has not.

    The same completion.
    """
    assert Completion.from_event(sent, phase) == Completion.from_event(envelope(payload()), phase)


@pytest.mark.parametrize(
    ("field", "sent", "read", "odd"),
    [
        ("record_count", "150", 150, "record_count: '150' read as 150"),
        ("record_count", 150.0, 150, "record_count: 150.0 read as 150"),
        ("record_count", 2**63 - 1, 2**63 - 1, None),
        ("record_count", -1, None, "record_count: -1 left out"),
        ("record_count", 2**63, None, "record_count: 9223372036854775808 left out"),
        ("record_count", math.nan, None, "record_count: nan left out"),
        ("record_count", True, None, "record_count: True left out"),
        ("record_count", "many", None, "record_count: 'many' left out"),
        ("execution_id", 17, "17", "execution_id: 17 read as '17'"),
        ("execution_id", [7], None, "execution_id: [7] left out"),
        ("correlation_id", "a\r\nb", None, "correlation_id: 'a\\r\\nb' left out"),
        ("is_incremental", 1, True, "is_incremental: 1 read as True"),
        ("is_incremental", "False", False, "is_incremental: 'False' read as False"),
        ("is_incremental", 2, None, "is_incremental: 2 left out"),
        (
            "entities_changed",
            [203999],
            ("203999",),
            "entities_changed: [203999] read as ('203999',)",
        ),
        ("entities_changed", "LAL", ("LAL",), "entities_changed: 'LAL' read as ('LAL',)"),
        ("entities_changed", [], (), None),
        ("entities_changed", {"a": 1}, (), "entities_changed: {'a': 1} left out"),
    ],
)
def test_what_nobody_needs_is_read_or_left_out(
    phase: Phase, field: str, sent: object, read: object, odd: str | None
) -> None:
    """The completion has what an odd field plainly means, or nothing, and says so."""
    found = Completion.from_event(envelope(payload(**{field: sent})), phase)
    assert (getattr(found, field), found.odd_fields) == (read, (odd,) if odd else ())


def test_a_phase_that_is_no_text_says_nothing(phase: Phase) -> None:
    """It is taken for a message of this phase, and the completion says so."""
    assert Completion.from_event(envelope(payload(phase=2)), phase).odd_fields == (
        "phase: 2 left out",
    )


DAY = date(2026, 2, 9)


@pytest.mark.parametrize(
    ("sent", "whose"),
    [
        (payload(game_date=None), ("OddsApiPropsBatchProcessor", None)),
        (payload(game_date="03/10/2026"), ("OddsApiPropsBatchProcessor", None)),
        (payload(status="finished"), ("OddsApiPropsBatchProcessor", DAY)),
        (payload(processor_name="p2\n\x1bx"), (None, DAY)),
        (json.dumps(json.dumps(payload(status=None))), ("OddsApiPropsBatchProcessor", DAY)),
        (json.dumps(payload())[:-4], ("OddsApiPropsBatchProcessor", DAY)),
        (json.dumps(payload())[:70], ("OddsApiPropsBatchProcessor", None)),
        ('{"x": ' + "[" * 50_000 + ", " + NEEDED, ("OddsApiPropsBatchProcessor", DAY)),
        (payload(phase="phase_3_analytics"), ("OddsApiPropsBatchProcessor", DAY)),
    ],
)
def test_a_rejected_message_says_whose_it_is(
    phase: Phase, sent: object, whose: tuple[str | None, date | None]
) -> None:
    """The name and the date are read as far as each can be."""
    with pytest.raises(InvalidMessageError) as caught:
        Completion.from_event(envelope(sent), phase)
    assert (caught.value.processor, caught.value.game_date) == whose


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "processor_name": st.text() | _json,
            "game_date": st.dates().map(str) | _json,
            "status": st.sampled_from([*Status]) | _json,
            "record_count": _json,
            "phase": _json,
            "execution_id": st.text() | _json,
        },
    )
)
def test_any_json_is_a_completion_or_an_invalid_message(fields: dict[str, object]) -> None:
    """Parsing never ends in another way, and what it lets through prints on one line."""
    try:
        completion = Completion.from_event(envelope(fields), PHASE)
    except InvalidMessageError:
        return
    assert completion.raw_processor.isprintable()
    assert 2000 <= completion.game_date.year < 2100


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "record_count",
                "execution_id",
                "correlation_id",
                "is_incremental",
                "entities_changed",
                "note",
            ]
        ),
        _json | st.integers(10**17, 10**30) | st.text("0123456789.-", max_size=30),
    ),
    st.fixed_dictionaries({}, optional={"attributes": _json, "orderingKey": _json}),
)
def test_no_completion_is_lost_for_a_field_that_nobody_needs(
    fields: dict[str, object], around: dict[str, object]
) -> None:
    """Whatever is in it: all else is as it was, and what is kept can be stored and printed."""
    found = Completion.from_event(envelope(payload(**fields), **around), PHASE)
    assert (found.processor, found.game_date, found.status) == (
        "p2_odds_player_props",
        DAY,
        Status.SUCCESS,
    )
    assert found.record_count is None or 0 <= found.record_count < 2**63
    texts = [found.execution_id, found.correlation_id, *found.entities_changed, *found.odd_fields]
    assert all(text is None or text.isprintable() for text in texts)


_BODY = base64.b64decode(ENVELOPE["message"]["data"])
_bodies = mutated(
    _BODY,
    b"\xef\xbb\xbf" + _BODY,
    json.dumps(_BODY.decode()).encode(),
    base64.b64encode(_BODY),
    b'{"processor_name": "x", "game_date": "2026-02-09T00:00:00Z", "status": "no_data"}',
)
_data = st.one_of(
    _bodies.map(lambda body: base64.b64encode(body).decode()),
    _bodies.map(lambda body: body.decode("utf-8", "surrogateescape")),
)
_message = odd(
    {**ENVELOPE["message"], "message_id": "17", "publish_time": AT.isoformat()}, json_values
)
_messages = st.one_of(
    st.builds(lambda data: {**ENVELOPE["message"], "data": data}, _data),
    _message,
    _message.map(lambda message: {**message, "attributes": {ATTRIBUTE: "0" * 32}}),
    json_values,
)
_pushes = st.builds(
    lambda around, message: {**around, "message": message},
    odd({"message": {}, "subscription": "s", "deliveryAttempt": 2}, json_values),
    _messages,
)
_events = st.builds(
    lambda push, others: {**others, "data": push}, _pushes, odd({"id": "1"}, json_values)
)
_FIELDS = {"processor_name", "game_date", "status", "phase", "event", "message"}
_FIELDS |= {"message.messageId", "message.publishTime", "message.data"}


@fuzzed(50)
@given(_pushes | _events | json_values | st.binary())
@example({"message": {"attributes": {ATTRIBUTE: "0" * 32}, "publishTime": "\ud800"}})
def test_whatever_is_delivered_is_a_probe_or_a_completion_or_refused(event: object) -> None:
    """A completion can be stored, and is the same when it comes again.

    A refusal names the field, in one line.
    """
    if (probe := probe_of(event)) is not None:
        assert probe.is_stale(AT) in {False, True}
        return
    sent = or_error(InvalidMessageError, lambda: Completion.from_event(event, PHASE))
    if isinstance(sent, InvalidMessageError):
        sink = RecordingSink()
        CheckpointLogger(PHASE, sink, enabled=True).rejected(sent)
        assert sent.field in _FIELDS
        assert len(sent.raw) <= 500
        assert [line["checkpoint"] for line in check_lines(json_line(sink.checkpoints[0]))] == [
            "CHECKPOINT_REJECTED"
        ]
        return
    for text in (sent.raw_processor, sent.event_id, *sent.odd_fields):
        check_text(text)
    json.dumps(_json_row(completion_row(sent), AT), allow_nan=False)
    if sent.processor is not None:
        fields = registration_fields(Progress(PHASE.expected), sent, AT)
        assert sent.processor in PHASE.expected
        assert read_progress(fields, PHASE).holds(sent)
    assert Completion.from_event(event, PHASE) == sent
