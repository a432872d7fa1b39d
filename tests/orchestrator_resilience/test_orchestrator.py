"""The timeline of one delivery, and that its order, repetition and interruption do not matter."""

import base64
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator_resilience import CheckpointLogger, Completion, DeliveryError, StoreError
from orchestrator_resilience.background import AtOnce
from orchestrator_resilience.checkpoints import Severity
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import BUNDLED_PHASES, Period, load_phase
from orchestrator_resilience.progress import (
    MAX_UNEXPECTED,
    ProcessorReport,
    Progress,
    read_progress,
    registration_fields,
)
from orchestrator_resilience.rows import CompletionRow
from orchestrator_resilience.stores.base import (
    CompletionLog,
    Document,
    DocumentRef,
    DocumentStore,
    ProcessorSummary,
    Write,
)
from orchestrator_resilience.stores.embedded import EmbeddedStores
from orchestrator_resilience.testing import RecordingSink, SimulatedClock, push_envelope

DAY = date(2026, 2, 9)
REF = DocumentRef("phase2_completion", "2026-02-09")
AT = datetime(2026, 2, 10, 6, 0, tzinfo=UTC)
PHASE = load_phase("phase2", BUNDLED_PHASES)
FIVE = sorted(PHASE.expected)


def message(processor: str, number: int, **payload: Any) -> dict[str, Any]:
    return push_envelope(
        processor, "2026-02-09", AT + timedelta(minutes=number), message_id=f"m{number}", **payload
    )


MESSAGES = [message(processor, number) for number, processor in enumerate(FIVE)]


def progress_of(stores: EmbeddedStores) -> Progress:
    document = stores.documents.get_all([REF]).get(REF)
    return read_progress(document.fields if document else {}, PHASE)


def preregister(stores: EmbeddedStores, sent: dict[str, Any]) -> None:
    """Leave what the old tracker left before the transaction."""
    completion = Completion.from_event(sent, PHASE)
    stores.documents.merge(
        REF, registration_fields(read_progress({}, PHASE), completion, completion.completed_at)
    )


def rows_of(stores: EmbeddedStores) -> dict[str, datetime | None]:
    found = [
        row for row in stores.completion_log.summarise(["phase2"], DAY, DAY) if not row.is_triggered
    ]
    assert {row.status for row in found} <= {"success"}
    return {row.processor_name: row.first_completed_at for row in found}


def flag_rows(stores: EmbeddedStores) -> list[str]:
    return [
        row.processor_name
        for row in stores.completion_log.summarise(["phase2"], DAY, DAY)
        if row.is_triggered
    ]


def test_five_deliveries_and_their_checkpoints(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """Each of the first four waits with the missing list, the fifth sets the flag."""
    for sent in MESSAGES:
        orchestrator.deliver(sent)
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "WAITING"] * 4 + [
        "RECEIVED",
        "POST_TRANSACTION",
        "TRIGGERED",
    ]
    assert [c.fields["missing"] for c in sink.checkpoints if c.kind.name == "WAITING"] == [
        FIVE[n:] for n in range(1, 5)
    ]
    trigger = progress_of(stores).trigger
    assert trigger is not None
    assert (trigger.event_id, trigger.reason) == ("m4", "all_complete")
    assert rows_of(stores) == {p: AT + timedelta(minutes=n) for n, p in enumerate(FIVE)}
    assert flag_rows(stores) == [FIVE[4]]


def test_a_preregistered_processor_is_evaluated_again(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """What the old code took for a duplicate, and returned.

    All five there, and the next delivery triggers.
    """
    for sent in MESSAGES:
        preregister(stores, sent)
    orchestrator.deliver(MESSAGES[2])
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "TRIGGERED"]
    assert sink.checkpoints[1].fields["duplicate"] is True
    assert progress_of(stores).trigger is not None


def test_four_expected_plus_an_unexpected_never_trigger(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """An unexpected processor is a name among the document's own fields and a checkpoint.

    No key, and no row.
    """
    for sent in [
        *MESSAGES[:4],
        message("p2_nbacom_schedule", 9),
        message("NbacPlayerBoxscoresProcessor", 10),
    ]:
        orchestrator.deliver(sent)
    document = stores.documents.get_all([REF])[REF]
    assert [name for name in document.fields if not name.startswith("_")] == FIVE[:4]
    assert sink.kinds()[-4:] == ["RECEIVED", "UNEXPECTED", "RECEIVED", "UNEXPECTED"]
    assert sink.checkpoints[-1].fields["nearest"] == "p2_nbacom_boxscores"
    assert rows_of(stores).keys() == set(FIVE[:4])
    progress = progress_of(stores)
    assert progress.unexpected == {"p2_nbacom_schedule", "NbacPlayerBoxscoresProcessor"}
    assert progress.trigger is None


def test_readers_that_count_are_right(orchestrator: Orchestrator, stores: EmbeddedStores) -> None:
    """Three complete, one without data, one failed, one unexpected: three keys, three names.

    A complete date: five.
    """

    def counts() -> tuple[int, int, int]:
        names = {
            row.processor_name for row in stores.completion_log.summarise(["phase2"], DAY, DAY)
        }
        fields = stores.documents.get_all([REF])[REF].fields
        return (
            len(names),
            sum(not key.startswith("_") for key in fields),
            fields["_completed_count"],
        )

    others = [
        message(FIVE[3], 20, status="no_data"),
        message(FIVE[4], 21, status="failed"),
        message("p2_other", 22),
    ]
    for sent in [*MESSAGES[:3], *others]:
        orchestrator.deliver(sent)
    assert counts() == (3, 3, 3)
    for sent in [*MESSAGES[3:], *others]:
        orchestrator.deliver(sent)
    assert counts() == (5, 5, 5)
    assert progress_of(stores).reports == {}


def test_the_first_completion_is_there_from_the_first_registration(
    orchestrator: Orchestrator, stores: EmbeddedStores
) -> None:
    """And goes back when an earlier one comes later."""
    seen = []
    for sent in (MESSAGES[3], MESSAGES[1], MESSAGES[2]):
        orchestrator.deliver(sent)
        seen.append(stores.documents.get_all([REF])[REF].fields["_first_completion_at"])
    assert seen == [AT + timedelta(minutes=3), AT + timedelta(minutes=1), AT + timedelta(minutes=1)]


@pytest.mark.parametrize(
    "name", ["__reserved__", "____", "a.b", "a`b", "a/b", "*", "x" * 128, "größe", "_triggered"]
)
def test_a_name_of_any_form_is_noted(
    orchestrator: Orchestrator, stores: EmbeddedStores, name: str
) -> None:
    """Once, whatever a document's fields may be called."""
    for number in range(2):
        orchestrator.deliver(message(name, number))
    (noted,) = progress_of(stores).unexpected
    assert name in noted
    assert progress_of(stores).trigger is None


def test_a_topic_full_of_others_does_not_fill_the_document(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """After so many names no more are noted; each still has its checkpoint."""
    for number in range(MAX_UNEXPECTED + 5):
        orchestrator.deliver(message(f"other_{number:03}", number))
    assert progress_of(stores).unexpected == {
        f"other_{number:03}" for number in range(MAX_UNEXPECTED)
    }
    assert sink.kinds()[-2:] == ["RECEIVED", "UNEXPECTED"]


@pytest.mark.parametrize("status", ["no_data", "failed", "skipped"])
def test_a_status_that_completes_nothing_is_only_recorded(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink, status: str
) -> None:
    """IGNORED says why, the document has it among the reports, and the completion log has none."""
    orchestrator.deliver(message(FIVE[0], 1, status=status))
    assert sink.kinds() == ["RECEIVED", "IGNORED"]
    report = ProcessorReport(status, AT + timedelta(minutes=1), "m1")
    assert progress_of(stores) == Progress(PHASE.expected, reports={FIVE[0]: report})
    assert rows_of(stores) == {}


def test_the_last_report_stands_until_a_success(
    orchestrator: Orchestrator, stores: EmbeddedStores
) -> None:
    """In whatever order they come.

    A registration outranks the reports, also those that come after it.
    """
    found = []
    for number, status in (
        (5, "failed"),
        (3, "no_data"),
        (7, "skipped"),
        (6, "failed"),
        (4, "success"),
        (9, "failed"),
    ):
        orchestrator.deliver(message(FIVE[0], number, status=status))
        found.append(progress_of(stores))
    assert [progress.reports.get(FIVE[0]) for progress in found] == [
        *[ProcessorReport("failed", AT + timedelta(minutes=5), "m5")] * 2,
        *[ProcessorReport("skipped", AT + timedelta(minutes=7), "m7")] * 2,
        None,
        None,
    ]
    assert found[-1].completed == {FIVE[0]}


def test_a_message_that_cannot_be_parsed_is_acknowledged(
    orchestrator: Orchestrator, stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """REJECTED names the field and keeps the text, and nothing is written."""
    bad = message(FIVE[0], 1, game_date="2026-02-30")
    orchestrator.deliver(bad)
    orchestrator.deliver("hello")
    orchestrator.deliver(
        {"message": {**bad["message"], "data": base64.b64encode(b"x" * 1_000_000).decode()}}
    )
    assert sink.kinds() == ["REJECTED"] * 3
    assert [c.fields["field"] for c in sink.checkpoints] == ["game_date", "event", "message.data"]
    assert "2026-02-30" in sink.checkpoints[0].fields["raw"]
    assert all(c.message.isprintable() and c.severity is Severity.ERROR for c in sink.checkpoints)
    assert rows_of(stores) == {}


class Watched:
    """Both stores with a `point` before and after each operation, where a test can interrupt."""

    def __init__(self, stores: EmbeddedStores, point: Callable[[str], None]) -> None:
        self._documents: DocumentStore = stores.documents
        self._log: CompletionLog = stores.completion_log
        self._point = point
        self.triggers = 0

    @contextmanager
    def _around(self, step: str) -> Iterator[None]:
        self._point(f"before {step}")
        yield
        self._point(f"after {step}")

    def get_all(self, refs: Iterable[DocumentRef]) -> dict[DocumentRef, Document]:
        """Read."""
        with self._around("get_all"):
            return self._documents.get_all(refs)

    def merge(self, ref: DocumentRef, fields: Mapping[str, Any]) -> None:
        """Merge."""
        with self._around("merge"):
            self._documents.merge(ref, fields)

    def update_if_unchanged(
        self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
    ) -> bool:
        """Compare and set, and count the flags."""
        with self._around("update_if_unchanged"):
            done = self._documents.update_if_unchanged(ref, fields, version)
            self.triggers += done and "_triggered" in fields
        return done

    def commit(self, writes: Sequence[Write]) -> bool:
        """Replace."""
        with self._around("commit"):
            return self._documents.commit(writes)

    def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
        """Append."""
        with self._around("append"):
            self._log.append(rows, now=now)

    def summarise(self, phases: Iterable[str], since: date, until: date) -> list[ProcessorSummary]:
        """Summarise."""
        return self._log.summarise(phases, since, until)

    def setup(self) -> list[str]:
        """Set up."""
        return self._log.setup()

    def missing_columns(self) -> dict[str, list[str]]:
        """Look."""
        return self._log.missing_columns()

    def view(self, phase: str) -> str:
        """Look."""
        return self._log.view(phase)


def watched_orchestrator(
    stores: EmbeddedStores, point: Callable[[str], None], sink: RecordingSink | None = None
) -> tuple[Orchestrator, Watched]:
    clock = SimulatedClock(AT + timedelta(hours=1))
    watched = Watched(stores, point)
    checkpoints = CheckpointLogger(PHASE, sink or RecordingSink(), clock=clock)
    return Orchestrator(PHASE, watched, watched, checkpoints, clock, beside=AtOnce), watched


@contextmanager
def temporary_stores() -> Iterator[EmbeddedStores]:
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedStores(Path(folder), durable=False) as stores,
    ):
        yield stores


def state(stores: EmbeddedStores) -> tuple[object, ...]:
    """Return all that must not depend on order, repetition or crashes.

    Who triggered and when may.
    """
    progress = progress_of(stores)
    registered = {
        name: (entry.completed_at, entry.event_id) for name, entry in progress.registered.items()
    }
    return (
        registered,
        progress.reports,
        progress.unexpected,
        progress.trigger is not None,
        rows_of(stores),
    )


UNEXPECTED = [message("p2_nbacom_schedule", 20), message("p2_bdl_box_scores", 21)]
RERUNS = [message(processor, 30 + n) for n, processor in enumerate(FIVE)]
REPORTS = [message(FIVE[0], 40, status="failed"), message(FIVE[1], 41, status="no_data")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(MESSAGES + UNEXPECTED + RERUNS + REPORTS), max_size=12),
    st.sets(st.sampled_from(range(5)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_order_and_repetition_do_not_matter(
    sent: list[dict[str, Any]], preregistered: set[int], random: Any
) -> None:
    """Any order, any duplicates, any processors registered before.

    One state, and at most one trigger.
    """
    states = []
    for shuffled in (False, True):
        with temporary_stores() as stores:
            for number in preregistered:
                preregister(stores, MESSAGES[number])
            orchestrator, watched = watched_orchestrator(stores, lambda _: None)
            deliveries = [*sent, *sent] if shuffled else sent
            if shuffled:
                random.shuffle(deliveries)
            for one in deliveries:
                orchestrator.deliver(one)
            complete = not progress_of(stores).missing
            completing = any(one in MESSAGES + RERUNS for one in sent)
            assert watched.triggers == (1 if complete and completing else 0)
            assert len(flag_rows(stores)) == watched.triggers
            states.append(state(stores))
    assert states[0] == states[1]


class CrashError(BaseException):
    """The process is gone: nothing catches this."""


def crash_at(step: int) -> Callable[[str], None]:
    """Return a `point` that ends the process at its nth call."""
    calls = 0

    def point(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise CrashError

    return point


@settings(max_examples=100, deadline=None)
@given(st.permutations(MESSAGES), st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_a_crash_at_every_step_and_a_redelivery_end_in_the_same_state(
    order: list[dict[str, Any]], crashes: list[int]
) -> None:
    """A message that was not acknowledged comes again, after the others or at once.

    One trigger in all.
    """
    with temporary_stores() as stores:
        triggers = 0
        waiting = list(order)
        for crash in [*crashes, 0]:
            orchestrator, watched = watched_orchestrator(stores, crash_at(crash))
            try:
                while waiting:
                    orchestrator.deliver(waiting[0])
                    waiting.pop(0)
            except CrashError:
                waiting.append(waiting.pop(0))
            triggers += watched.triggers
        assert not waiting
        assert triggers == 1
        assert state(stores) == undisturbed()


def undisturbed() -> tuple[object, ...]:
    with temporary_stores() as stores:
        orchestrator, watched = watched_orchestrator(stores, lambda _: None)
        for sent in MESSAGES:
            orchestrator.deliver(sent)
        assert watched.triggers == 1
        return state(stores)


def calls_of(sent: Sequence[dict[str, Any]]) -> list[str]:
    """Return the calls of the last of these deliveries, in their order."""
    with temporary_stores() as stores:
        points: list[str] = []
        orchestrator, _ = watched_orchestrator(stores, points.append)
        for one in sent:
            points.clear()
            orchestrator.deliver(one)
        return [point.removeprefix("before ") for point in points if point.startswith("before ")]


@pytest.mark.parametrize(
    ("sent", "calls"),
    [
        (MESSAGES[:1], ["append", "get_all", "update_if_unchanged"]),
        (MESSAGES[:4], ["append", "get_all", "update_if_unchanged"]),
        (MESSAGES, ["append", "get_all", "update_if_unchanged", "append"]),
        ([*MESSAGES[:2], MESSAGES[1]], ["append", "get_all"]),
        ([*MESSAGES, MESSAGES[4]], ["append", "get_all", "append"]),
        ([message(FIVE[0], 1, status="failed")], ["get_all", "merge"]),
        ([message("p2_other", 1), message("p2_other", 2)], ["get_all"]),
    ],
)
def test_the_remote_calls_of_a_delivery(sent: list[dict[str, Any]], calls: list[str]) -> None:
    """The row is begun first; one read and one commit; the flag's own row last.

    What is stored is not written again.
    """
    assert calls_of(sent) == calls


STEPS_OF_THE_LAST_DELIVERY = ["append_completion"] * 2 + ["register"] * 4 + ["append_trigger"] * 2


@pytest.mark.parametrize("step", range(len(STEPS_OF_THE_LAST_DELIVERY)))
def test_each_write_that_fails_is_said_and_comes_again(step: int) -> None:
    """FAILED names the step, the delivery raises, all writes were tried, a redelivery mends it."""
    with temporary_stores() as stores:
        sink = RecordingSink()
        calls = -1

        def point(_: str) -> None:
            nonlocal calls
            calls += 1
            if calls == step:
                raise StoreError(f"refused at call {step}")

        quiet, _ = watched_orchestrator(stores, lambda _: None)
        for sent in MESSAGES[:4]:
            quiet.deliver(sent)
        orchestrator, _ = watched_orchestrator(stores, point, sink)
        with pytest.raises(DeliveryError, match=f"refused at call {step}"):
            orchestrator.deliver(MESSAGES[4])
        failed = sink.checkpoints[-1]
        assert failed.kind.name == "FAILED"
        assert failed.fields["steps"] == [STEPS_OF_THE_LAST_DELIVERY[step]]
        assert failed.fields["causes"] == [f"StoreError: refused at call {step}"]
        if step < 2:
            assert progress_of(stores).trigger is not None, "the document was written all the same"
        orchestrator.deliver(MESSAGES[4])
        assert sink.checkpoints[-1].closes
        assert sink.checkpoints[-1].kind.name != "FAILED"
        assert state(stores) == undisturbed()


def test_a_document_that_never_stands_still_is_left_to_a_redelivery(stores: EmbeddedStores) -> None:
    """Bounded attempts, then an error that says so; nothing is acknowledged that was not done."""
    for sent in MESSAGES[:4]:
        watched_orchestrator(stores, lambda _: None)[0].deliver(sent)
    sink = RecordingSink()
    noise = 0

    def point(step: str) -> None:
        nonlocal noise
        if step == "before update_if_unchanged":
            noise += 1
            stores.documents.merge(REF, {"_noise": noise})

    with pytest.raises(DeliveryError, match="changed under each of 20 attempts"):
        watched_orchestrator(stores, point, sink)[0].deliver(MESSAGES[4])
    assert sink.checkpoints[-1].fields["steps"] == ["register"]


def test_the_loser_of_a_race_sees_the_flag(stores: EmbeddedStores) -> None:
    """Another delivery sets the flag between this one's read and its write.

    One trigger, said truly.
    """
    for sent in MESSAGES[:4]:
        watched_orchestrator(stores, lambda _: None)[0].deliver(sent)
    sink = RecordingSink()
    raced = False

    def point(step: str) -> None:
        nonlocal raced
        if step == "before update_if_unchanged" and not raced:
            raced = True
            watched_orchestrator(stores, lambda _: None)[0].deliver(RERUNS[4])

    orchestrator, watched = watched_orchestrator(stores, point, sink)
    orchestrator.deliver(MESSAGES[4])
    assert watched.triggers == 0
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION"]
    post = sink.checkpoints[-1].fields
    assert (post["should_trigger"], post["triggered"], post["attempts"]) == (False, True, 2)
    trigger = progress_of(stores).trigger
    assert trigger is not None
    assert trigger.event_id == "m34"


def test_a_write_whose_answer_was_lost_inside_the_client_is_known_again(
    stores: EmbeddedStores,
) -> None:
    """The client tries again, finds the document changed by its own first try, and reads again."""

    class Lossy(Watched):
        def update_if_unchanged(
            self, ref: DocumentRef, fields: Mapping[str, Any], version: str | None
        ) -> bool:
            """Write, lose the answer, and try again."""
            super().update_if_unchanged(ref, fields, version)
            return super().update_if_unchanged(ref, fields, version)

    clock, sink = SimulatedClock(AT + timedelta(hours=1)), RecordingSink()
    lossy = Lossy(stores, lambda _: None)
    orchestrator = Orchestrator(
        PHASE, lossy, lossy, CheckpointLogger(PHASE, sink, clock=clock), clock, beside=AtOnce
    )
    for sent in MESSAGES:
        orchestrator.deliver(sent)
    assert sink.kinds()[-3:] == ["RECEIVED", "POST_TRANSACTION", "TRIGGERED"]
    assert sink.checkpoints[-2].fields["duplicate"] is False
    assert (lossy.triggers, flag_rows(stores), state(stores)) == (1, [FIVE[4]], undisturbed())


def test_a_completion_log_that_hangs_holds_up_neither_registration_nor_flag(
    stores: EmbeddedStores,
) -> None:
    """They are there while it still hangs.

    Then the delivery fails by its own deadline, and a redelivery mends it.
    """
    hangs, sink = threading.Event(), RecordingSink()

    class Hanging(Watched):
        def append(self, rows: Sequence[CompletionRow], *, now: datetime) -> None:
            """Answer when the test lets it."""
            assert hangs.wait(60)
            super().append(rows, now=now)

    hanging, checkpoints = Hanging(stores, lambda _: None), CheckpointLogger(PHASE, sink)
    for sent in MESSAGES[:4]:
        watched_orchestrator(stores, lambda _: None)[0].deliver(sent)
    orchestrator = Orchestrator(
        PHASE, hanging, hanging, checkpoints, lambda: AT, append_seconds=0.2
    )
    with pytest.raises(DeliveryError, match=r"append_completion: .*; append_trigger: TimeoutError"):
        orchestrator.deliver(MESSAGES[4])
    assert (progress_of(stores).trigger is not None, flag_rows(stores)) == (True, [])
    assert sink.kinds() == ["RECEIVED", "POST_TRANSACTION", "TRIGGERED", "FAILED"]
    hangs.set()
    orchestrator.deliver(MESSAGES[4])
    assert flag_rows(stores) == [FIVE[4]]


def test_the_trigger_is_said_though_the_answer_was_lost(stores: EmbeddedStores) -> None:
    """The write got through, its answer did not.

    The redelivery finds that it was the one, and says so.
    """
    for sent in MESSAGES[:4]:
        watched_orchestrator(stores, lambda _: None)[0].deliver(sent)
    sink = RecordingSink()

    def point(step: str) -> None:
        if step == "after update_if_unchanged":
            raise StoreError("deadline exceeded")

    orchestrator, _ = watched_orchestrator(stores, point, sink)
    with pytest.raises(DeliveryError):
        orchestrator.deliver(MESSAGES[4])
    orchestrator.deliver(MESSAGES[4])
    assert sink.kinds() == ["RECEIVED", "FAILED", "RECEIVED", "POST_TRANSACTION", "TRIGGERED"]


def test_the_switch_silences_the_checkpoints_and_nothing_else(
    stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With CHECKPOINTS_ENABLED=false the orchestrator goes on working."""
    monkeypatch.setenv("CHECKPOINTS_ENABLED", "false")
    orchestrator = Orchestrator(
        PHASE, stores.documents, stores.completion_log, CheckpointLogger(PHASE)
    )
    for sent in MESSAGES:
        orchestrator.deliver(sent)
    assert progress_of(stores).trigger is not None
    assert capsys.readouterr().out == ""


def test_what_was_odd_of_a_message_is_said(orchestrator: Orchestrator, sink: RecordingSink) -> None:
    """The line with which the delivery begins names the field, and what became of it."""
    orchestrator.deliver(message(FIVE[0], 0, record_count="150", execution_id=["x"]))
    odd = ["execution_id: ['x'] left out", "record_count: '150' read as 150"]
    assert [c.fields.get("odd_fields") for c in sink.checkpoints] == [odd, None, None]
    assert sink.checkpoints[0].text == f"{FIVE[0]} 2026-02-09 success; {'; '.join(odd)}"


def test_a_processor_is_waited_for_in_its_time_only(
    stores: EmbeddedStores, sink: RecordingSink
) -> None:
    """Before its first date it is known, never registered, and holds no flag up.

    From then on it is waited for.
    """
    periods = {FIVE[4]: Period(since=DAY + timedelta(days=1))}
    phase = msgspec.structs.replace(PHASE, periods=periods)
    logger, clock = CheckpointLogger(phase, sink), SimulatedClock(AT)
    orchestrator = Orchestrator(
        phase, stores.documents, stores.completion_log, logger, clock, beside=AtOnce
    )
    for sent in [MESSAGES[4], *MESSAGES[:4]]:
        orchestrator.deliver(sent)
    waits = ["RECEIVED", "POST_TRANSACTION", "WAITING"]
    assert sink.kinds() == ["RECEIVED", "IGNORED", *waits * 3, *waits[:2], "TRIGGERED"]
    assert stores.documents.get_all([REF])[REF].fields["_expected"] == FIVE[:4]
    orchestrator.deliver(push_envelope(FIVE[0], "2026-02-10", AT, message_id="next"))
    assert sink.checkpoints[-1].fields["missing"] == FIVE[1:]


def test_the_closing_line_has_the_time_of_each_step(
    orchestrator: Orchestrator, sink: RecordingSink
) -> None:
    """In milliseconds, those of a delivery that sets the flag and of one that only reports."""
    for sent in [*MESSAGES, message(FIVE[0], 9, status="failed")]:
        orchestrator.deliver(sent)
    steps = [set(line.fields["step_ms"]) for line in sink.checkpoints if line.closes]
    registers = {"append_completion", "register"}
    assert steps == [*[registers] * 4, registers | {"append_trigger"}, {"report"}]
