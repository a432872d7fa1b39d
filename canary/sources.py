"""Reads the sources of one canary run, all at once, and ends in time whatever hangs.

One batch read of the progress documents, one of what the canary remembers, and one query a table:
the completion logs, and of each phase its message log, flag table, outcome and work. Each is read
by itself: one that cannot be read leaves the others as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from threading import Semaphore
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from canary.domain.evidence import (
    Absent,
    Evidence,
    Logged,
    Seen,
    Source,
    Traces,
    Unreadable,
    mapped,
    read_completion_log,
    value_or,
)
from canary.domain.remembered import (
    DEFAULT_CANARY,
    Documents,
    canary_ref,
    is_readable,
    month_refs,
    older_refs,
    read_runs,
)
from canary.domain.silence import people_ref
from orchestrator_resilience.background import Background, Beside, Promise
from orchestrator_resilience.checkpoints import UNDATED_DAYS, concerns
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.errors import StoreError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.plain import instant, one_line, printable
from orchestrator_resilience.progress import Progress, document_id, read_progress
from orchestrator_resilience.stores.base import (
    Changes,
    Document,
    DocumentRef,
    Flag,
    Lines,
    ProcessorRun,
    ProcessorSummary,
    ServiceErrors,
    Stores,
)

T = TypeVar("T")
_Documents = dict[DocumentRef, Document]

# A part of the time of a run, which canary/run.py adds up.
READ_SECONDS = 35.0
# The completion log is read so much further back: so a log that begins later is not taken for one
# that has lost its first rows.
EARLIER = timedelta(days=7)
CHECKPOINTS_SECONDS = 15.0
_ONE_DAY = timedelta(days=1)


class Gathered(msgspec.Struct, frozen=True):
    """The evidence by phase and then by date, and the documents of what is remembered.

    The latter include what people said.
    """

    evidence: tuple[Evidence, ...] = ()
    remembered: Documents | Unreadable = msgspec.field(default_factory=dict)


def gather(
    stores: Stores,
    game_dates: Mapping[str, Sequence[date]],
    phases: Mapping[str, Phase],
    *,
    canary: str = DEFAULT_CANARY,
    now: datetime | None = None,
    seconds: float = READ_SECONDS,
    beside: Beside | None = None,
) -> Gathered:
    """Read the evidence for `game_dates`, by phase; a source that fails is Unreadable.

    What the `canary` of this name remembers is read with it: the months of these dates, and with
    `now` (aware) older ones in which something is open. All are read `beside` each other, by
    default each in a thread of its own.
    """
    dates = [(name, day) for name, days in game_dates.items() for day in days]
    if not dates:
        return Gathered()
    window = min(day for _, day in dates), max(day for _, day in dates)
    months = [ref for name, days in game_dates.items() for ref in month_refs(canary, name, days)]
    selected_phases = {name: phases[name] for name in game_dates}
    progress = [_ref(phases[name], day) for name, day in dates]
    memory = [people_ref(canary), canary_ref(canary), *months]
    documents: dict[str, Callable[[], Any]] = {
        "progress documents": lambda: stores.documents.get_all(progress),
        "what the canary remembers": partial(_remembered, stores, memory, canary, now, [*phases]),
    }
    # The documents come first, because the other questions wait for their turn, and without the
    # documents nothing is known of any date.
    answers = _ask({**documents, **_questions(stores, selected_phases, window)}, seconds, beside)
    memory_answer = answers["what the canary remembers"]
    evidence = [_evidence(phases[name], day, answers) for name, day in dates]
    elsewhere = [
        name
        for name in game_dates
        if _is_elsewhere(
            [date_evidence for date_evidence in evidence if date_evidence.phase == name]
        )
    ]
    evidence = [
        replace(date_evidence, progress=_no_documents(selected_phases[date_evidence.phase]))
        if date_evidence.phase in elsewhere
        else date_evidence
        for date_evidence in evidence
    ]
    remembered: Documents | Unreadable = (
        memory_answer.value if isinstance(memory_answer, Seen) else memory_answer
    )
    if not isinstance(remembered, Unreadable) and not is_readable(
        remembered.get(canary_ref(canary))
    ):
        remembered = Unreadable(
            "what the canary remembers is in another format than this code reads"
        )
    return Gathered(tuple(evidence), remembered)


def _evidence(phase: Phase, day: date, answers: Mapping[str, Any]) -> Evidence:
    """Return what the answers say of one date.

    The document says in which mode the rows have to be read.
    """
    name, rows = phase.name, answers[f"completion log {phase.bigquery_table}"]
    progress = _progress(answers["progress documents"], phase, day)
    then = phase.on(day, value_or(progress, Progress(frozenset())).mode)
    return Evidence(
        phase=name,
        game_date=day,
        completion_log=_logged("completion log", rows, then, day),
        messages=_logged("message log", answers.get(f"message log {name}", Absent()), then, day),
        flag_table=_flag(answers.get(f"flag table {name}", Absent()), day),
        progress=progress,
        outcome=_count(answers.get(f"outcome {name}", Absent()), day),
        work=_count(answers.get(f"work {name}", Absent()), day),
        log_since=_first_row(rows, name),
    )


# What is asked, by the words that a message has for it.
_Questions = Mapping[str, Callable[[], Any]]


def _questions(
    stores: Stores, phases: Mapping[str, Phase], window: tuple[date, date]
) -> _Questions:
    """Return what is asked of the tables; a completion log is asked once for all its phases."""
    logs: dict[str, list[str]] = defaultdict(list)
    for name, phase in phases.items():
        logs[phase.bigquery_table].append(name)
    since, until = window
    questions: dict[str, Callable[[], Any]] = {
        f"completion log {table}": partial(
            stores.completion_log.summarise, names, since - EARLIER, until
        )
        for table, names in logs.items()
    }
    messages, flags, counts = stores.message_logs, stores.flag_tables, stores.counts
    for name, phase in phases.items():
        if messages is not None and phase.message_table is not None:
            questions[f"message log {name}"] = partial(messages.summarise, name, *window)
        if flags is not None and phase.flag_table is not None:
            questions[f"flag table {name}"] = partial(flags.read, phase.flag_table, name, *window)
        for what, query in (("outcome", phase.outcome_query), ("work", phase.work_query)):
            if counts is not None and query is not None:
                questions[f"{what} {name}"] = partial(counts.count, query, *window)
    return questions


def _remembered(
    stores: Stores,
    refs: Sequence[DocumentRef],
    canary: str,
    now: datetime | None,
    phases: Sequence[str],
) -> _Documents:
    """Read what the canary remembers, and then the older months in which something is open."""
    documents = stores.documents.get_all(refs)
    older = (
        older_refs(read_runs(documents.get(canary_ref(canary))), canary, now, phases) if now else []
    )
    further = [ref for ref in older if ref not in refs]
    return {**documents, **(stores.documents.get_all(further) if further else {})}


def read_traces(
    stores: Stores,
    problems: Sequence[tuple[str, date]],
    phases: Mapping[str, Phase],
    now: datetime,
    *,
    seconds: float = CHECKPOINTS_SECONDS,
    beside: Beside | None = None,
) -> dict[tuple[str, date], Traces]:
    """Read what the deliveries of dates with a problem have left, `beside` each other.

    A source that fails is Unreadable.
    """
    days: dict[str, list[date]] = defaultdict(list)
    for name, day in problems:
        days[name].append(day)
    questions = dict[str, Callable[[], Any]]()
    if days:
        questions["checkpoints"] = partial(stores.checkpoints.read, days, now)
    log, letters, errors = stores.requests, stores.dead_letters, stores.service_errors
    if log is not None and log.phase in days:
        since = phases[log.phase].begins(min(days[log.phase]))
        questions["requests to the orchestrator"] = partial(log.requests, since, now)
        questions["last answer before them"] = lambda: log.last_answer(since)
    if errors is not None and errors.phase in days:
        questions["errors of the orchestrator"] = partial(
            errors.errors, phases[errors.phase].begins(min(days[errors.phase])), now
        )
    if letters is not None and letters.phase in days:
        questions["dead letters"] = letters.read
    if stores.changes is not None and days:
        begun_at = {name: phases[name].begins(min(phase_days)) for name, phase_days in days.items()}
        questions["what was changed"] = partial(stores.changes.changes, begun_at, now)
    for name, phase_days in days.items():
        query, before = phases[name].runs_query, timedelta(days=phases[name].history_dates)
        if query is not None and stores.counts is not None:
            questions[f"runs {name}"] = partial(
                stores.counts.runs, query, min(phase_days) - before, max(phase_days) + _ONE_DAY
            )
    answers = _ask(questions, seconds, beside)

    def traces(name: str, day: date) -> Traces:
        begun = phases[name].begins(day)
        lines: Source[Lines] = answers["checkpoints"]
        is_logged = log is not None and log.phase == name
        requests = answers["requests to the orchestrator"] if is_logged else Absent()
        last_answer = answers["last answer before them"] if is_logged else Absent()
        failures = (
            answers["errors of the orchestrator"]
            if errors is not None and errors.phase == name
            else Absent()
        )
        given_up = (
            answers["dead letters"] if letters is not None and letters.phase == name else Absent()
        )
        return Traces(
            mapped(
                lines,
                lambda collected: [
                    line for line in collected.checkpoints if concerns(line, name, day)
                ],
            ),
            mapped(requests, lambda entries: [entry for entry in entries if entry.at >= begun]),
            mapped(
                given_up,
                lambda entries: [
                    letter for letter in entries if letter.game_date == day and letter.at <= now
                ],
            ),
            lines.value.cut_at if isinstance(lines, Seen) else None,
            _there(mapped(lines, lambda collected: collected.before.get(name))),
            _there(last_answer),
            mapped(failures, lambda logged_errors: _errors_since(logged_errors, begun)),
            mapped(
                answers.get(f"runs {name}", Absent()),
                lambda processor_runs: _runs_around(processor_runs, phases[name], day),
            ),
            mapped(
                answers.get("what was changed", Absent()),
                lambda changes_by_phase: _in_words(changes_by_phase.get(name, Changes())),
            ),
        )

    return {problem: traces(*problem) for problem in problems}


def _errors_since(logged_errors: ServiceErrors, begun: datetime) -> ServiceErrors:
    """Return the errors since a date began, in words that can be shown as they are."""
    recent = [error for error in logged_errors.errors if error.at >= begun]
    errors = [error._replace(words=printable(error.words)) for error in recent]
    return logged_errors._replace(errors=errors)


def _runs_around(runs: Sequence[ProcessorRun], phase: Phase, day: date) -> list[ProcessorRun]:
    """Return the runs for a date, for its history, and for the next date.

    Their texts can be shown as they are.
    """
    since, until = day - timedelta(days=phase.history_dates), day + _ONE_DAY
    return [
        replace(
            run, processor=printable(run.processor), status=run.status and printable(run.status)
        )
        for run in runs
        if since <= run.game_date <= until
    ]


def _in_words(phase_changes: Changes) -> Changes:
    """Return what was changed, in words that can be shown as they are."""
    changes = [
        change._replace(
            what=printable(change.what), who=printable(change.who), made=printable(change.made)
        )
        for change in phase_changes.changes
    ]
    attempts = [
        attempt._replace(failure=printable(attempt.failure)) for attempt in phase_changes.attempts
    ]
    return phase_changes._replace(changes=changes, attempts=attempts)


def _there(source: Source[T | None]) -> Source[T]:
    """Return what a source says, Absent where that is nothing."""
    return (
        Absent() if isinstance(source, Seen) and source.value is None else cast("Source[T]", source)
    )


# So many questions are asked at once; the others wait for their turn, within the time of all.
_AT_ONCE = 8


def _ask(questions: _Questions, seconds: float, beside: Beside | None) -> dict[str, Any]:
    """Ask all questions, by default each in a thread of its own.

    Each answer is Seen or Unreadable.
    """
    gate, begin, deadline = Semaphore(_AT_ONCE), beside or Background, Deadline(seconds)
    readings = {what: begin(partial(_read, ask, gate, deadline)) for what, ask in questions.items()}
    return {what: _answer(what, reading, deadline) for what, reading in readings.items()}


def _answer(
    what: str, reading: Promise[Seen[T] | Unreadable], deadline: Deadline
) -> Seen[T] | Unreadable:
    """Return the answer, once; what has not answered by then is Unreadable."""
    try:
        return reading.answer(deadline)
    except TimeoutError as error:
        return Unreadable(f"the {what}: {error}")


def _read(read: Callable[[], T], gate: Semaphore, deadline: Deadline) -> Seen[T] | Unreadable:
    # A question whose turn has not come by then is not asked: its thread would be left behind, and
    # keep others from reading.
    if not gate.acquire(timeout=deadline.left()):
        return Unreadable(f"not asked within {deadline.seconds:g} s")
    try:
        return Seen(read())
    except StoreError as error:
        return Unreadable(one_line(str(error)))
    except Exception as error:  # noqa: BLE001 (whatever a driver comes up with, the other sources still count)
        return Unreadable(one_line(f"{type(error).__name__}: {error}"))
    finally:
        gate.release()


def _logged(
    what: str, answer: Source[Sequence[ProcessorSummary]], phase: Phase, day: date
) -> Source[Logged]:
    """Return what a table says of one date, with the rows that may be of any date."""
    if not isinstance(answer, Seen):
        return answer
    phase_rows = (row for row in answer.value if row.phase == phase.name)
    rows = [
        row
        for row in phase_rows
        if row.game_date == day or (row.game_date is None and _may_concern(row, day))
    ]
    return _understood(
        f"the {what} of {day}", lambda: read_completion_log(map(_harmless, rows), phase)
    )


def _first_row(answer: Source[Sequence[ProcessorSummary]], phase: str) -> datetime | None:
    """Return when a completion log had the first row of a phase, as far as it was read.

    None where it has none.
    """
    rows = value_or(answer, ())
    return min(
        (at for row in rows if row.phase == phase and (at := instant(row.first_visible_at))),
        default=None,
    )


def _is_elsewhere(evidence: Sequence[Evidence]) -> bool:
    """Whether a phase has no document of any date, though there are rows of several dates."""
    rows = [
        date_evidence
        for date_evidence in evidence
        if value_or(date_evidence.completion_log, Logged()).completed
    ]
    return len(rows) > 1 and all(
        isinstance(date_evidence.progress, Absent) for date_evidence in evidence
    )


def _no_documents(phase: Phase) -> Unreadable:
    return Unreadable(
        f"{phase.firestore_collection} has no document of any date, "
        f"though {phase.bigquery_table} has rows of several: "
        "the collection's name is mistyped, or it is in another project or database"
    )


def _may_concern(row: ProcessorSummary, day: date) -> bool:
    """Whether a message without a date came when those of this date come."""
    at = row.last_completed_at
    return at is not None and 0 <= (at.date() - day).days < UNDATED_DAYS


def _harmless(row: ProcessorSummary) -> ProcessorSummary:
    """Return a row whose texts can be shown as they are."""
    return replace(
        row,
        processor_name=printable(row.processor_name),
        status=row.status and printable(row.status),
        trigger_reason=row.trigger_reason and printable(row.trigger_reason),
    )


def _flag(answer: Source[Mapping[date, Flag]], day: date) -> Source[Flag]:
    if not isinstance(answer, Seen):
        return answer
    flag = answer.value.get(day)
    return (
        Absent()
        if flag is None
        else Seen(replace(flag, reason=flag.reason and printable(flag.reason)))
    )


def _progress(answer: Source[_Documents], phase: Phase, day: date) -> Source[Progress]:
    if not isinstance(answer, Seen):
        return answer
    document = answer.value.get(_ref(phase, day))
    if document is None:
        return Absent()
    return _understood(
        f"the progress document of {day}",
        lambda: Seen(read_progress(printable(document.fields), phase.on(day))),
    )


def _understood(what: str, read: Callable[[], Source[T]]) -> Source[T]:
    """Return what a source says of one date; an unforeseen error concerns that date alone."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 (whatever somebody has written there, the other dates still count)
        return Unreadable(one_line(f"{what} cannot be understood: {type(error).__name__}: {error}"))


def _count(answer: Source[Mapping[date, int]], day: date) -> Source[int]:
    """Return the count of one date: 0 where the query omits it, Absent where there is no query."""
    return mapped(answer, lambda counts: counts.get(day, 0))


def _ref(phase: Phase, day: date) -> DocumentRef:
    return DocumentRef(phase.firestore_collection, document_id(day))
