"""What a deployment calls and prints, whole, against the committed transcripts.

And what has to be true of these.
"""

import inspect
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from canary.commands.cli import main as canary
from canary.domain.incident import RUN_IS_OVER_AFTER
from canary.memory import MEMORY_SECONDS
from canary.notify.heartbeat import Heartbeat
from canary.notify.slack import SlackChannel
from canary.run import RUN_SECONDS
from canary.sources import CHECKPOINTS_SECONDS, READ_SECONDS
from orchestrator_resilience.phase import load_phases
from tests.deploy.transcripts import (
    PACKAGES,
    RECORDED,
    ROOT,
    TRANSCRIPTS,
    Call,
    cloud_build,
    recorded,
    transcript,
)

# A command that is none of these changes something.
LOOKS = {"describe", "list", "show", "get-iam-policy", "read"}
# What only removal takes away.
DELETES = {"delete", "remove-iam-policy-binding", "REVOKE"}
PUBLIC = (
    r"--allow-unauthenticated|--no-invoker-iam-check|\ballUsers|\ballAuthenticatedUsers"
    r"|versions access"
)


def changes(name: str) -> list[Call]:
    return [call for call in recorded(name) if not LOOKS & {*call.words}]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_deployment_is_what_its_transcript_says(name: str) -> None:
    """Every call in order, what was answered and printed.

    `python -m tests.deploy.transcripts` writes them anew.
    """
    assert transcript(name) == (RECORDED / f"{name}.txt").read_text("utf-8")


def test_each_transcript_is_of_a_way() -> None:
    """One that nothing makes any more is to be deleted."""
    assert {path.stem for path in RECORDED.iterdir()} == TRANSCRIPTS.keys()


def test_beside_an_orchestrator_nothing_of_its_is_touched() -> None:
    """No command that changes something names its table, topic or function, but for readers."""
    changing = [str(call) for call in changes("beside")]
    assert any("run deploy phase2-canary" in command for command in changing)
    named = [
        c for c in changing if re.search(r"nba|topic|orchestrator(?!-resilience|_resilience)", c)
    ]
    grants = re.findall(r"GRANT `(.+?)` ON (.+?) TO", "\n".join(named))
    assert grants == [
        (f"roles/bigquery.{role}", "SCHEMA `nba_orchestration`")
        for role in ("dataViewer", "metadataViewer")
    ]
    assert len(named) == len(grants)


def test_a_second_deployment_makes_and_changes_nothing() -> None:
    """But for new revisions, what may be granted again, and a run of the job."""
    again = (
        r"bq .*(GRANT|IF NOT EXISTS)"
        r"|.*(services enable|identity create|add-iam-policy-binding|run deploy"
    )
    harmless = re.compile(
        rf"{again}|update-traffic|jobs run|jobs (create|delete) .*notify-test)|canary (setup|probe)"
    )
    assert [str(call) for call in changes("again") if not harmless.match(str(call))] == []


def test_nobody_gets_in_without_a_name() -> None:
    """A service is deployed closed, lets its caller in alone, and no command reads a secret."""
    calls = [call for name in TRANSCRIPTS for call in recorded(name)]
    assert [str(call) for call in calls if re.search(PUBLIC, str(call))] == []
    deployed = {call.words[3] for call in calls if call.words[1:3] == ("run", "deploy")}
    assert deployed == {"phase2-canary", "phase2-orchestrator", "phase2-page"}
    assert {
        (c.words[4], c.flag("member")) for c in calls if c.flag("role") == "roles/run.invoker"
    } == {
        (name, f"serviceAccount:{account}@proj.iam.gserviceaccount.com")
        for name, account in (
            ("phase2-canary", "phase2-canary-scheduler"),
            ("phase2-orchestrator", "phase2-orchestrator"),
        )
    }


def test_one_timeout_for_a_run() -> None:
    """The function, the scheduler, and the parts of a run as the code bounds them."""
    calls = recorded("ours")
    (deadline,) = filter(None, (call.flag("attempt-deadline") for call in calls))
    (timeout,) = (
        call.flag("timeout")
        for call in calls
        if call.words[1:4] == ("run", "deploy", "phase2-canary")
    )
    seconds = float(timeout)
    assert deadline == f"{seconds:g}s"
    slack, beat = (
        inspect.signature(c).parameters["seconds"].default for c in (SlackChannel, Heartbeat)
    )
    remembers = MEMORY_SECONDS
    parts = [READ_SECONDS, CHECKPOINTS_SECONDS, remembers, 2 * slack, beat]
    assert sum(parts) == RUN_SECONDS == seconds - 25
    # The last attempt begins when the receipt of a run that died is old, and all three and their
    # pauses are over before the next quarter of an hour.
    (job,) = (
        call
        for call in calls
        if call.words[1:4] == ("scheduler", "jobs", "create") and call.flag("max-backoff")
    )
    flags = ("max-retry-attempts", "min-backoff", "max-backoff")
    attempts, shortest, longest = (int(job.flag(flag).removesuffix("s")) for flag in flags)
    assert (attempts, longest) == (2, 2 * shortest)
    assert RUN_IS_OVER_AFTER.total_seconds() < shortest + longest
    assert 3 * seconds + shortest + longest < 15 * 60


def test_variables_are_settings() -> None:
    """No function is given a variable that the code does not read."""
    text = "".join((ROOT / package / "settings.py").read_text("utf-8") for package in PACKAGES)
    given = [
        call.flag(flag)
        for call in recorded("empty_project")
        for flag in ("set-env-vars", "set-secrets")
    ]
    names = {pair.partition("=")[0] for value in given for pair in value.split(",") if pair}
    assert {name for name in names if f'"{name}"' not in text} == {"/phases/phases.toml", "THREADS"}


def test_a_phases_file_is_mounted_as_the_version_that_it_is() -> None:
    """Never the latest: a new file would be live before its code, and stay after a rollback."""
    mounted = [
        version
        for name in TRANSCRIPTS
        for call in recorded(name)
        for version in re.findall(
            r"phases\.toml=phase2-canary-phases:(\w+)", call.flag("set-secrets")
        )
    ]
    assert {*mounted} == {"1", "2"}


def test_only_removal_takes_away() -> None:
    """No deployment deletes or revokes anything, but for its own test job."""
    own = re.compile(r".*notify-test")
    calls = [
        (name, call) for name in TRANSCRIPTS for call in recorded(name) if DELETES & {*call.words}
    ]
    assert {name for name, call in calls if not own.match(str(call))} == {"removal"}


def test_removal_takes_away_what_a_deployment_has_made() -> None:
    """Each kind of thing that is made is deleted, but for what holds what was written.

    Each grant is revoked.
    """
    made, removed = recorded("empty_project"), recorded("removal")
    stays = {("beta", "services", "identity"), ("firestore", "databases")}
    stays |= {("storage", "buckets")}  # which goes by another command
    assert any(call.words[1:3] == ("storage", "rm") for call in removed)
    assert _kinds(made, "create") - stays | {("run", "services")} == _kinds(removed, "delete")
    granted = {grant for grant in _grants(made, "GRANT", "TO") if "gcp-sa-pubsub" not in grant[2]}
    assert granted == _grants(removed, "REVOKE", "FROM")
    # What was granted on something that is deleted is gone with it.
    secrets = {binding for binding in _bindings(made, "add") if "secretmanager" in binding[2]}
    assert {binding for binding in secrets if binding[0] != "phase2-canary-phases"} <= _bindings(
        removed, "remove"
    )


def _kinds(calls: Iterable[Call], verb: str) -> set[tuple[str, ...]]:
    """Return the groups of commands that make or delete something: ("pubsub", "topics")."""
    return {
        call.words[1 : call.words.index(verb)]
        for call in calls
        if call.words[0] == "gcloud" and verb in call.words
    }


def _grants(calls: Iterable[Call], verb: str, to: str) -> set[tuple[str, str, str]]:
    found = (
        re.findall(rf'{verb} `(.+?)` ON (\w+ `.+?`) {to} "(.+?)"', str(call)) for call in calls
    )
    return {grant for grants in found for grant in grants}


def _bindings(calls: Iterable[Call], verb: str) -> set[tuple[str, str, str]]:
    return {
        (call.words[3], call.flag("member"), call.flag("role"))
        for call in calls
        if f"{verb}-iam-policy-binding" in call.words
    }


def test_the_build_installs_by_hash() -> None:
    """Of all that fetches packages, the step of the tests leaves out what does so without."""
    (step,) = (s for s in cloud_build({}) if s["id"] == "test")
    left_out = re.findall(r"--ignore=(\S+)", step["env"][0])
    importing = re.compile(r"^from tests.environments import .*\bfetch\b", re.MULTILINE)
    tests = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if importing.search(path.read_text("utf-8"))
    ]
    assert tests
    assert all(path.relative_to(ROOT).as_posix().startswith(tuple(left_out)) for path in tests)
    assert all((ROOT / name).exists() for name in left_out)


@pytest.mark.parametrize(
    "file", ["orchestrator_resilience/phases.toml", "examples/phases_of_a_pipeline.toml"]
)
def test_the_phases_file_is_read_as_the_code_reads_it(tmp_path: Path, file: str) -> None:
    """The tables of the phase, and the datasets of all."""
    own = tmp_path / "own.toml"
    own.write_text((ROOT / file).read_text("utf-8").replace("# message_table", "message_table"))
    (step,) = (
        step["env"] for step in cloud_build({"_ORCHESTRATOR": "x"}) if step["id"] == "preflight"
    )
    given = {"PHASES_FILE": str(own), "DATASETS": "games", "PATH": "/usr/bin:/bin"}
    environment = {**dict(variable.split("=", 1) for variable in step), **given}
    script = 'source deploy/common.sh; echo "$TABLE|$MESSAGE_TABLE|$(echo $READ_DATASETS)"'
    command = ["bash", "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    phases = load_phases(own)
    named = {
        t for p in phases.values() for t in (p.bigquery_table, p.message_table, p.flag_table) if t
    }
    datasets = sorted({"games", *(table.rpartition(".")[0] for table in named)})
    phase = phases["phase2"]
    assert (
        done.stdout.strip()
        == f"{phase.bigquery_table}|{phase.message_table or ''}|{' '.join(datasets)}"
    )


def test_the_table_step_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of a step, empty ones among them, are ones that the command takes."""
    (environment,) = (step["env"] for step in cloud_build({}) if step["id"] == "table")
    for variable in environment:
        monkeypatch.setenv(*variable.split("=", 1))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    assert canary(["setup", "--data", str(tmp_path / "stores")]) == 0


def test_scripts_stop_at_the_first_failure() -> None:
    """Each says so itself, or by what it reads."""
    for script in (ROOT / "deploy").glob("*.sh"):
        assert re.search(
            r"\n(set -euo pipefail|source deploy/common.sh)\n", script.read_text("utf-8")
        ), script
