"""A Phase 2 orchestrator of the shape of February 2026, with its faults: see ../README.md.

- EXPECT_BDL: false takes p2_bdl_box_scores off the list, as it is switched off (default true).
- TRACKER_WRITES_DOCUMENT: false keeps the tracker out of the transaction's document (default true).
- DEADLINE_MINUTES: how long after the first completion the flag is set without everybody (240).
"""

import base64
import json
import logging
import os
from datetime import UTC, datetime, timedelta

import functions_framework
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, firestore
from orchestrator_resilience import CheckpointLogger, load_phase

# the root logger stands at WARNING: what is below goes nowhere
logger = logging.getLogger(__name__)

EXPECTED = [
    "p2_bigdataball_pbp",
    "p2_odds_game_lines",
    "p2_odds_player_props",
    "p2_nbacom_gamebook_pdf",
    "p2_nbacom_boxscores",
]
if os.environ.get("EXPECT_BDL") != "false":
    EXPECTED.append("p2_bdl_box_scores")
CLASS_NAMES = {
    "BigDataBallPbpProcessor": "p2_bigdataball_pbp",
    "OddsApiGameLinesProcessor": "p2_odds_game_lines",
    "OddsApiPropsProcessor": "p2_odds_player_props",
    "NbacGamebookProcessor": "p2_nbacom_gamebook_pdf",
    "NbacPlayerBoxscoreProcessor": "p2_nbacom_boxscores",
}
TRACKER_WRITES_DOCUMENT = os.environ.get("TRACKER_WRITES_DOCUMENT") != "false"
checkpoints = CheckpointLogger(load_phase("phase2"))
DEADLINE = timedelta(minutes=float(os.environ.get("DEADLINE_MINUTES", "240")))

firestore_client = firestore.Client()
emulated = "BIGQUERY_EMULATOR_HOST" in os.environ
bigquery_client = bigquery.Client(credentials=AnonymousCredentials() if emulated else None)


@functions_framework.cloud_event
@checkpoints.each_delivery
def orchestrate(cloud_event, delivery):
    """Register one completion, and set `_triggered` when all have reported."""
    try:
        message = json.loads(base64.b64decode(cloud_event.data["message"]["data"]))
        name, game_date = message.get("processor_name"), message.get("game_date")
        if not name or not game_date:
            logger.error("a message without a processor or a date")
            delivery.rejected("no processor_name or no game_date")
            return
        if message.get("status") not in ("success", "partial"):
            logger.info("%s reports %s", name, message.get("status"))
            return
        processor = CLASS_NAMES.get(name, name)
        completion = {
            "status": message["status"],
            "completed_at": datetime.now(UTC),
            "record_count": message.get("record_count", 0),
        }
        document = firestore_client.collection("phase2_completion").document(game_date)
        track(document, game_date, processor, completion)
        transaction = firestore_client.transaction()
        should_trigger, deadline_exceeded = register(transaction, document, processor, completion)
        if deadline_exceeded:
            logger.warning("%s: the deadline has passed", game_date)
            flag = {
                "_triggered": True,
                "_triggered_at": datetime.now(UTC),
                "_partial_completion": True,
            }
            document.update({**flag, "_triggered_reason": "deadline_exceeded"})
        fields = document.get().to_dict()
        delivery.post_transaction(should_trigger=should_trigger, document=fields, expected=EXPECTED)
        completed = [key for key in fields if not key.startswith("_")]
        logger.info(
            "%s: %d of %d, triggered: %s",
            game_date,
            len(completed),
            len(EXPECTED),
            should_trigger,
        )
    except Exception as error:
        # and the message is acknowledged
        logger.error("the completion was not registered: %s", error)
        delivery.failed(error)


def track(document, game_date, processor, completion):
    """Note the completion for the dashboards: a row, and a field of the progress document."""
    at = completion["completed_at"].isoformat()
    row = {
        "phase": "phase2",
        "game_date": game_date,
        "processor_name": processor,
        "status": completion["status"],
        "record_count": completion["record_count"],
        "completed_at": at,
        "inserted_at": at,
    }
    table = f"{bigquery_client.project}.nba_orchestration.phase_completions"
    if errors := bigquery_client.insert_rows_json(table, [row]):
        logger.warning("no row in BigQuery: %s", errors)
    if TRACKER_WRITES_DOCUMENT:
        document.set({processor: completion}, merge=True)


@firestore.transactional
def register(transaction, document, processor, completion):
    """Add the completion to the document; returns (should_trigger, deadline_exceeded)."""
    current = document.get(transaction=transaction).to_dict() or {}
    if processor in current:
        logger.debug("%s is registered already", processor)
        return False, False
    now = datetime.now(UTC)
    current[processor] = completion
    current.setdefault("_first_completion_at", now)
    count = len([key for key in current if not key.startswith("_")])
    should_trigger = count >= len(EXPECTED) and not current.get("_triggered")
    if should_trigger:
        current |= {"_triggered": True, "_triggered_at": now, "_completed_count": count}
    transaction.set(document, current)
    waits = not should_trigger and not current.get("_triggered")
    return should_trigger, waits and now - current["_first_completion_at"] >= DEADLINE
