"""Tells people of incidents, each notice once: claimed in the ledger before it is sent, confirmed after.

The ledger is a collection of documents beside the progress documents, one for each (phase, game date).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from canary.incidents import Incident, NoticeKind, advance, from_fields, to_fields
from canary.silences import SILENCES, read_silences
from canary.verdict import Verdict
from orchestrator_resilience.stores.base import Document, DocumentRef, DocumentStore

LEDGER = "canary_incidents"

Ledger = Mapping[DocumentRef, Document]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell: what of the incident, how it stands once this was told, and the verdict behind it."""

    kind: NoticeKind
    incident: Incident
    verdict: Verdict


class Notifiers:
    """Several ways to reach people: each is tried, and the first failure is raised after the last."""

    def __init__(self, *notifiers: "Notifier") -> None:
        self._notifiers = notifiers

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """Send by every way."""
        failures = []
        for notifier in self._notifiers:
            try:
                notifier.send(notices, now)
            except Exception as error:  # noqa: BLE001 (raised below, once the others have been tried)
                failures.append(error)
        if failures:
            raise failures[0]


class Notifier(Protocol):
    """A way to reach people."""

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """Tell all of `notices`, in one message where there is one; raises when they could not be told."""


def ledger_ref(phase: str, game_date: date) -> DocumentRef:
    """The address of an incident."""
    return DocumentRef(LEDGER, f"{phase}:{game_date.isoformat()}")


def known_incident(ledger: Ledger, phase: str, game_date: date) -> Incident | None:
    """What the ledger remembers of a date."""
    document = ledger.get(ledger_ref(phase, game_date))
    return from_fields(document.fields) if document else None


def tell(
    documents: DocumentStore, verdicts: Sequence[Verdict], ledger: Ledger, notifier: Notifier, now: datetime
) -> list[Notice]:
    """Take `verdicts` into the ledger as it was read, and send what follows; returns what was sent.

    A silenced date is left as it is, unless it is well again. A date that another run has changed
    meanwhile is left to that run. Raises what the stores or the notifier raise; what was claimed and
    not sent is sent by a later run.
    """
    notices = []
    silences = read_silences(ledger.get(SILENCES))
    for verdict in verdicts:
        if not verdict.kind.is_quiet and any(silence.covers(verdict, now) for silence in silences):
            continue
        known = known_incident(ledger, verdict.phase, verdict.game_date)
        step = advance(known, verdict, now)
        if step.incident is None or step.incident == known:
            continue
        ref = ledger_ref(verdict.phase, verdict.game_date)
        document = ledger.get(ref)
        won = documents.update_if_unchanged(ref, to_fields(step.incident), document.version if document else None)
        if won and step.notice is not None and step.delivered is not None:
            notices.append(Notice(step.notice, step.delivered, verdict))
    if not notices:
        return []
    try:
        notifier.send(notices, now)
    except Exception:
        for notice in notices:  # give the claims back, so that the next attempt need not wait until they expire
            documents.merge(_ref(notice), {"claimed_at": None})
        raise
    for notice in notices:
        documents.merge(_ref(notice), to_fields(notice.incident))
    return notices


def _ref(notice: Notice) -> DocumentRef:
    return ledger_ref(notice.verdict.phase, notice.verdict.game_date)
