"""docs/other_pipelines.md: its handlers' lines are right, and its table has all columns."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator_resilience.stores.table_sql import REQUIRED_COLUMNS
from tests.docs.markdown import ROOT, blocks, commands_of, rows, text_of

PAGE = "docs/other_pipelines.md"
# What the handlers take for granted: their pipeline, whose progress document is `document`, and
# what comes to them.
PRELUDE = """
import asyncio, base64, json, os
from contextlib import ExitStack
from datetime import date
import flask
from flask import request
from orchestrator_resilience import CheckpointLogger, load_phase

checkpoints = CheckpointLogger(load_phase("nightly"))
app, document = flask.Flask("app"), {"_triggered": False}

def encoded(body):
    return base64.b64encode(json.dumps(body).encode()).decode()

def message(job, state="OK"):
    body = {"job": job, "ds": "20260209", "state": state}
    return {"messageId": f"id of {job}", "data": encoded(body)}

def event(job, state="OK"):
    body = {"processor_name": job, "game_date": "2026-02-09", "status": state}
    envelope = {"messageId": f"id of {job}", "publishTime": "2026-02-10T01:00:00Z"}
    return {"message": {**envelope, "data": encoded(body)}}

def registered(*messages):
    for one in messages:
        body = json.loads(base64.b64decode(one["data"]))
        job, state = body.get("job") or body["processor_name"], body.get("state") or body["status"]
        if state == "LOCKED":
            raise TimeoutError("the document is locked")
        if state == "GONE":
            flask.abort(410)
        document[job] = {"status": state}
    should_trigger = len(document) == 3 and not document["_triggered"]
    document["_triggered"] = document["_triggered"] or should_trigger
    return {"should_trigger": should_trigger, "document": document}
"""
# How each handler gets two messages, the second of which may complete the set; and what it calls.
DRIVERS = {
    "async def handle(": """
async def register(message):
    await asyncio.sleep(0)
    return registered(message)
async def both():
    await handle(message("extract-orders"))
    await handle(message("PriceLoader", STATE))
asyncio.run(both())
""",
    "class Orchestrator:": """
Orchestrator.register = lambda self, event: registered(event["message"])
orchestrator = Orchestrator()
orchestrator.handle(event("extract-orders"))
orchestrator.handle(event("PriceLoader", STATE))
""",
    '@app.post("/push")': """
register = lambda push: registered(push["message"])
posts = [{"message": message("extract-orders")}, {"message": message("PriceLoader", STATE)}]
answers = [app.test_client().post("/push", json=post).status_code for post in posts]
assert answers == [204, {"LOCKED": 500, "GONE": 410}.get(STATE, 204)], answers
""",
    "def handle_all(": """
register_all = lambda messages: registered(*messages).values()
handle_all([message("extract-orders"), message("PriceLoader", STATE)])
""",
}
ORDERS, PRICES = "(orders 2026-02-09)", "(prices 2026-02-09)"
FIRST = [
    "RECEIVED: orders 2026-02-09 OK",
    (
        "POST_TRANSACTION: should_trigger=False triggered=False missing=['prices'] "
        f"completed=['orders'] {ORDERS}"
    ),
    f"WAITING: missing=['prices'] 1/2 complete {ORDERS}",
]
BOTH = "missing=[] completed=['orders', 'prices']"
SECOND = [
    "RECEIVED: prices 2026-02-09 OK",
    f"POST_TRANSACTION: should_trigger=True triggered=True {BOTH} {PRICES}",
    f"TRIGGERED: 2/2 complete, _triggered is set {PRICES}",
]
LOCKED = "FAILED: TimeoutError: the document is locked"


def handlers() -> list[str]:
    """Return what is defined, the block's parts; the first makes the delivery for the others."""
    (block,) = blocks(PAGE, "python")
    return block.text.strip().split("\n\n\n")


def lines_of(handler: str, state: str, folder: Path) -> tuple[list[str], list[dict[str, Any]], str]:
    """Let a handler take two messages in its own process; return its lines and its stderr."""
    delivery_of, *others = handlers()
    (code,) = (one for one in others if one.startswith(handler))
    (phases,) = (
        c for block in blocks(PAGE, "sh") for c in commands_of(block.text) if "phases.toml <<" in c
    )
    (folder / "phases.toml").write_text("\n".join(phases.splitlines()[1:-1]), "utf-8")
    script = folder / "handler.py"
    script.write_text(
        "\n".join([PRELUDE, delivery_of, code, f"STATE = {state!r}", DRIVERS[handler]]), "utf-8"
    )
    env = {"PYTHONPATH": str(ROOT), "PHASES_FILE": str(folder / "phases.toml")}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["message"].removeprefix("CHECKPOINT_") for line in lines], lines, done.stderr


def test_each_handler_of_the_page_is_tested() -> None:
    """And no other."""
    assert [next(d for d in DRIVERS if one.startswith(d)) for one in handlers()[1:]] == list(
        DRIVERS
    )


@pytest.mark.parametrize("handler", [name for name in DRIVERS if "_all" not in name])
def test_a_handler_of_one_message(handler: str, tmp_path: Path) -> None:
    """It leaves RECEIVED, what the transaction found, and how it ended, ERROR if it failed."""
    said, lines, errors = lines_of(handler, "OK", tmp_path)
    # each_delivery has the status in the words of its own messages.
    assert [one.replace(" success", " OK") for one in said] == FIRST + SECOND, errors
    assert [line["event_id"] for line in lines] == ["id of extract-orders"] * 3 + [
        "id of PriceLoader"
    ] * 3
    assert len({line["delivery"] for line in lines}) == 2
    assert errors == ""


@pytest.mark.parametrize("handler", [name for name in DRIVERS if "_all" not in name])
def test_a_handler_that_fails(handler: str, tmp_path: Path) -> None:
    """The delivery is closed by what was raised, and the error goes on to whoever called."""
    said, _, errors = lines_of(handler, "LOCKED", tmp_path)
    assert said[:3] == [
        one.replace(" OK", said[0][len("RECEIVED: orders 2026-02-09") :]) for one in FIRST
    ]
    assert said[3].startswith("RECEIVED: prices 2026-02-09 ")
    assert said[4:] == [f"{LOCKED} {PRICES}"]
    assert "TimeoutError: the document is locked" in errors


def test_a_view_that_aborts(tmp_path: Path) -> None:
    """Which is an error to whoever waits for the message, and so to the delivery."""
    said, _, errors = lines_of('@app.post("/push")', "GONE", tmp_path)
    assert said[4].startswith("FAILED: Gone: 410 Gone: "), errors


def test_a_batch(tmp_path: Path) -> None:
    """Each message is a delivery of its own, and one of them has set the flag."""
    said, lines, errors = lines_of("def handle_all(", "OK", tmp_path)
    assert said == [
        FIRST[0],
        SECOND[0],
        f"POST_TRANSACTION: should_trigger=False triggered=True {BOTH} {ORDERS}",
        *SECOND[1:],
    ], errors
    assert [line["delivery"] for line in lines if line.get("closes")] == [
        lines[0]["delivery"],
        lines[1]["delivery"],
    ]
    assert {line["severity"] for line in lines} == {"INFO", "NOTICE"}


def test_a_batch_that_fails(tmp_path: Path) -> None:
    """Nothing of it was registered, and each delivery says so."""
    said, lines, errors = lines_of("def handle_all(", "LOCKED", tmp_path)
    assert said == [
        FIRST[0],
        "RECEIVED: prices 2026-02-09 LOCKED",
        f"{LOCKED} {PRICES}",
        f"{LOCKED} {ORDERS}",
    ]
    assert [line["outcome"] for line in lines[2:]] == ["failed"] * 2
    assert "TimeoutError: the document is locked" in errors


def test_the_columns_are_those_that_are_read() -> None:
    """By their names and types."""
    cells = [cell for cell, _ in rows(text_of(PAGE))]
    assert {
        name: cell.split()[-1] for cell in cells for name in re.findall(r"`(\w+)`", cell)
    } == REQUIRED_COLUMNS


def test_the_page_is_short() -> None:
    """At most 85 lines, of which its examples are half."""
    assert len(text_of(PAGE).splitlines()) <= 85
