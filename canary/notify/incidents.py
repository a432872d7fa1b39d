"""Each notification reaches people once: claimed in its incident's document before it is sent, confirmed after.

The incidents are documents beside the progress documents, one for each (phase, game date).
"""

from collections.abc import Sequence
from datetime import datetime

from canary.domain.incident import Incidents, advance, incident_ref, known_incident, to_fields
from canary.domain.silence import SILENCES, read_silences
from canary.domain.verdict import Verdict
from canary.notify.channel import Channel, Notification
from orchestrator_resilience.stores.base import DocumentRef, DocumentStore


def notify(
    documents: DocumentStore, verdicts: Sequence[Verdict], incidents: Incidents, channel: Channel, now: datetime
) -> list[Notification]:
    """Take `verdicts` into the incidents as they were read, and send what follows; returns what was sent.

    A silenced date is left as it is, unless it is well again. A date that another run has changed
    meanwhile is left to that run. Raises what the stores or the channel raise; what was claimed and
    not sent is sent by a later run.
    """
    silences = read_silences(incidents.get(SILENCES))
    due = [v for v in verdicts if v.kind.is_quiet or not any(silence.covers(v, now) for silence in silences)]
    claimed = [n for n in (_claim(documents, verdict, incidents, now) for verdict in due) if n is not None]
    if claimed:
        _send(documents, claimed, channel, now)
    return claimed


def _claim(documents: DocumentStore, verdict: Verdict, incidents: Incidents, now: datetime) -> Notification | None:
    """Remember what follows from `verdict`; returns what is to be sent, None too where another run was first."""
    ref = _ref(verdict)
    known, document = known_incident(incidents, verdict.phase, verdict.game_date), incidents.get(ref)
    step = advance(known, verdict, now)
    if step.incident is None or step.incident == known:
        return None
    won = documents.update_if_unchanged(ref, to_fields(step.incident), document.version if document else None)
    if not won or step.notification is None or step.delivered is None:
        return None
    return Notification(step.notification, step.delivered, verdict)


def _send(documents: DocumentStore, claimed: Sequence[Notification], channel: Channel, now: datetime) -> None:
    try:
        channel.send(claimed, now)
    except Exception:
        for notification in claimed:  # so that the next attempt need not wait until the claims expire
            documents.merge(_ref(notification.verdict), {"claimed_at": None})
        raise
    for notification in claimed:
        documents.merge(_ref(notification.verdict), to_fields(notification.incident))


def _ref(verdict: Verdict) -> DocumentRef:
    return incident_ref(verdict.phase, verdict.game_date)
