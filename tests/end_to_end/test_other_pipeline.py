"""docs/other_pipelines.md, from an empty folder to the first alert, works as printed."""

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.cloud import bigquery, firestore

from orchestrator_resilience.stores.bigquery import BigQuery
from tests.docs.markdown import ROOT, blocks, commands_of

PAGE = "docs/other_pipelines.md"
PROJECT = "my-project"
COMPLETE = {"extract-orders": "OK", "load-prices": "OK"}


def commands() -> list[str]:
    """Return what the page prints to be typed."""
    return [command for block in blocks(PAGE, "sh") for command in commands_of(block.text)]


def installed(command: str) -> str:
    """Return what replaces the command that installs: this environment under the new names."""
    assert command.startswith(
        "python3 -m venv .venv && .venv/bin/pip install 'orchestrator-resilience[cloud,cli] @ "
    )
    run = f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} {{}} "$@"\n'
    files = {"python": run.format("-P"), "canary": run.format("-P -m canary")}
    made = [
        f"printf %s {shlex.quote('#!/bin/sh' + chr(10) + text)} > .venv/bin/{name}"
        for name, text in files.items()
    ]
    return "\n".join(["mkdir -p .venv/bin", *made, "chmod +x .venv/bin/*"])


@dataclass
class Followed:
    """What the last command returned and printed."""

    code: int
    output: str
    errors: str


def follow(folder: Path, emulated: Mapping[str, str], project: str) -> Followed:
    """Type every command in an empty folder, in one shell."""
    install, *others, last = (command.replace(PROJECT, project) for command in commands())
    begun = "--- the last command\n"
    script = "\n".join(
        ["set -e", installed(install), *others, "set +e", f"printf %s {shlex.quote(begun)}", last]
    )
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **{name: emulated[name] for name in ("FIRESTORE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")},
        "COLUMNS": "160",
    }
    line = ["bash", "-c", script]
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    before, mark, output = done.stdout.partition(begun)
    assert mark, f"{before}{done.stderr}"
    return Followed(done.returncode, output, done.stderr)


@pytest.fixture
def done(emulated: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Point the clients at the emulators; return when every job ended, in the pipeline's time."""
    for name, value in emulated.items():
        monkeypatch.setenv(name, value)
    return datetime.now(ZoneInfo("Europe/Berlin")) - timedelta(minutes=40)


def make_pipeline(project: str, done: datetime, states: Mapping[str, str], **flag: Any) -> None:
    """Make somebody else's table and documents."""
    access = BigQuery(project, emulated=True)
    access.client.create_dataset("etl")
    schema = [
        bigquery.SchemaField(name, "STRING") for name in ("job", "ds", "state", "started", "ended")
    ]
    access.client.create_table(bigquery.Table(f"{project}.etl.job_runs", schema=schema))
    tried = [
        ("extract-orders", "ERROR", done - timedelta(minutes=20)),
        *((*one, done) for one in states.items()),
    ]
    rows: list[dict[str, Any]] = [
        {
            "job": job,
            "ds": f"{done:%Y%m%d}",
            "state": state,
            "started": None,
            "ended": f"{at:%Y-%m-%d %H:%M:%S}",
        }
        for job, state, at in tried
    ]
    # One is running, and one has no date that there is.
    rows += [{**rows[0], "state": "RUNNING", "ended": None}, {**rows[0], "ds": "none"}]
    assert access.client.insert_rows_json(f"{project}.etl.job_runs", rows) == []
    access.close()
    client = firestore.Client(project=project)
    progress = {job: {"status": state, "completed_at": done} for job, state in states.items()}
    client.collection("nightly_runs").document(f"{done:%Y-%m-%d}").set({**progress, **flag})
    client.close()  # type: ignore[no-untyped-call]


def test_the_first_alert_of_somebody_elses_pipeline(
    tmp_path: Path, emulated: dict[str, str], done: datetime
) -> None:
    """Fewer than 15 commands lead to the alert: the unset flag, since when, and what was seen."""
    assert len(commands()) < 15
    make_pipeline(PROJECT, done, COMPLETE)
    found = follow(tmp_path, emulated, PROJECT)
    assert (found.code, found.errors) == (1, "")
    assert f" · {done:%Y-%m-%d} · UNTRIGGERED · " in found.output
    assert "all 2 processors completed 40 min ago, `_triggered` is still unset" in found.output
    assert (
        "published 2 of 2 · delivered 2 of 2 · registered 2 of 2 · `_triggered`: no" in found.output
    )


@pytest.mark.parametrize(
    ("last", "flag"),
    [("OK", {"_triggered": True}), ("ERROR", {})],
    ids=["the flag is set", "somebody has failed"],
)
def test_other_dates_of_theirs(
    tmp_path: Path, emulated: dict[str, str], done: datetime, last: str, flag: dict[str, Any]
) -> None:
    """That are not stuck: no alert of an unset flag."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    make_pipeline(project, done, {**COMPLETE, "load-prices": last}, **flag)
    said = {
        "OK": "TRIGGERED: 2 of 2 complete, `_triggered` is set",
        "ERROR": "WAITING: 1 of 2 complete, waiting for prices (error)",
    }
    assert f"nightly {done:%Y-%m-%d} {said[last]}" in follow(tmp_path, emulated, project).output
