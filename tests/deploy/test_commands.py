"""The deployment's commands: their form by gcloud's own word, and what they do to a project."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from canary.cli import main as canary
from orchestrator_resilience.phase import load_phase
from tests.deploy.conftest import CHANNEL, EVERYTHING, ROOT, Call, Deployment, new_deployment, steps

ONLY_CHANNEL = {"_NOTIFICATION_CHANNELS": CHANNEL}
CHANGING = {"create", "update", "deploy"}


def lint(gcloud: str, commands: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the complaints of gcloud's linter by command."""
    wanted = sorted(set(commands))
    file = folder / "commands.json"
    file.write_text(json.dumps([{"command_string": command} for command in wanted]), "utf-8")
    done = subprocess.run(
        [gcloud, "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(wanted), "a command was not looked at"
    return {one["command_string"]: one["error_message"] for one in answers if not one["success"]}


def changes(calls: Iterable[Call]) -> list[str]:
    return [str(c) for c in calls if c.program == "gcloud" and CHANGING & set(c.arguments[:4])]


def test_every_command_is_one_that_gcloud_takes(gcloud: str, deployed: list[Call], tmp_path: Path) -> None:
    """Those that make, those that update, those with everything off, those of the first day, those of the texts."""
    (tmp_path / "off").mkdir()
    off = new_deployment(tmp_path / "off")
    calls = [*deployed, *off.bootstrap(), *off.run({"_NOTIFICATION_CHANNELS": "none"})]
    assert off.failed is None, off.output
    off.change("deploy/monitoring/dashboard.json", '"columns": 12', '"columns": 24')
    calls += off.run(EVERYTHING)
    assert off.failed is None, off.output
    commands = [str(call) for call in calls if call.program == "gcloud"]
    assert {"create", "update", "describe", "list", "deploy", "run"} <= {w for c in commands for w in c.split()}
    texts = [ROOT / "README.md", *(ROOT / "deploy" / "monitoring" / "policies").iterdir()]
    quoted = [command for text in texts for command in _commands_of(text.read_text("utf-8"))]
    assert len(quoted) >= 5
    assert lint(gcloud, [*commands, *quoted], tmp_path) == {}


def _commands_of(text: str) -> list[str]:
    """Return the commands that begin a line of a block of code, or are quoted as a whole."""
    unescaped = text.replace("\\n", "\n")
    blocks = [line for block in re.findall(r"```\n(.*?)```", unescaped, re.DOTALL) for line in _lines(block)]
    inline = re.findall(r"`(gcloud [^`]+)`", unescaped)
    found = [line.split(" | ")[0].split("   #")[0] for line in (*blocks, *inline) if line.startswith("gcloud ")]
    return [re.sub(r"\{(\w+)\}", r"\1", command) for command in found]


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.replace("\\\n", " ").splitlines()]


def test_the_linter_would_find_a_mistake(gcloud: str, tmp_path: Path) -> None:
    """A flag that there is not, a value that is none, a command that is missing its name."""
    wrong = ["gcloud pubsub topics create", "gcloud functions deploy f --retries", "gcloud monitoring policies list"]
    assert len(lint(gcloud, [*wrong, "gcloud pubsub topics create t"], tmp_path)) == 3


def test_the_steps_come_in_order() -> None:
    """Nothing is changed before the settings and the tests are good; the probe has the last word."""
    order = [step["id"] for step in steps(ROOT / "cloudbuild.yaml", {})]
    assert order[:3] == ["preflight", "test", "table"]
    assert order[-2:] == ["verify", "probe"]
    commands = {step["id"]: [step["entrypoint"], *step["args"]] for step in steps(ROOT / "cloudbuild.yaml", {})}
    assert commands["table"] == [".venv/bin/canary", "setup"]
    assert commands["probe"][1:] == ["probe", "--topic", "nba-phase2-raw-complete", "--timeout", "180"]


def test_substitutions_agree_with_the_code(phase_table: str) -> None:
    """The table that is granted on is the one that is written to."""
    (table,) = (s["env"] for s in steps(ROOT / "cloudbuild.yaml", {}) if s["id"] == "table")
    assert f"TABLE={phase_table}" in table
    assert f"CANARY_DATASETS={phase_table.partition('.')[0]}" in table


@pytest.fixture
def phase_table() -> str:
    return load_phase("phase2").bigquery_table


def test_the_table_step_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of a step, empty ones among them, are ones that the command takes."""
    (env,) = (s["env"] for s in steps(ROOT / "cloudbuild.yaml", {}) if s["id"] == "table")
    for one in env:
        name, _, value = one.partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    assert canary(["setup", "--data", str(tmp_path / "stores")]) == 0


def test_the_functions_are_deployed_as_they_have_to_be(deployed: list[Call]) -> None:
    """Retries, the trigger's account and place, a source that is declared, and no public access."""
    orchestrator, canary_ = (c for c in deployed if c.arguments[:2] == ("functions", "deploy"))
    for call in (orchestrator, canary_):
        assert "--gen2" in call.arguments
        assert (call.flag("source"), call.flag("runtime")) == (".", "python311")
    assert "--retry" in orchestrator.arguments
    assert orchestrator.flag("trigger-topic") == "nba-phase2-raw-complete"
    assert orchestrator.flag("trigger-location") == "us-central1"
    assert orchestrator.flag("trigger-service-account") == "phase2-orchestrator@proj.iam.gserviceaccount.com"
    assert orchestrator.flag("run-service-account") == "phase2-orchestrator@proj.iam.gserviceaccount.com"
    assert orchestrator.flag("timeout") == "540s"
    assert orchestrator.flag("set-env-vars") == (
        "GOOGLE_CLOUD_PROJECT=proj,PHASE=phase2,PHASES_FILE=orchestrator_resilience/own.toml,BIGQUERY_LOCATION=US"
    )
    assert "--no-allow-unauthenticated" in canary_.arguments
    assert canary_.flag("run-service-account") == "phase2-canary@proj.iam.gserviceaccount.com"
    assert canary_.flag("set-secrets") == "SLACK_WEBHOOK_URL=slack-webhook:latest,HEARTBEAT_URL=heartbeat:latest"
    job = next(c for c in deployed if c.arguments[:3] == ("scheduler", "jobs", "create"))
    assert job.flag("schedule") == "*/15 * * * *"
    assert job.flag("oidc-token-audience") == job.flag("uri") == "https://canary-abc.a.run.app"


def test_a_second_run_changes_nothing(running: Deployment) -> None:
    """Policies and the dashboard, which an update disturbs, are touched only when they have changed."""
    policies = len(list((ROOT / "deploy" / "monitoring" / "policies").iterdir()))
    again = running.run(EVERYTHING)
    assert running.failed is None, running.output
    assert not [command for command in changes(again) if " create " in command]
    assert {call.step for call in again if "update" in call.arguments} == {
        *("dead-letters", "metrics", "scheduler", "witness")
    }

    # Another channel is news for each policy, another column for the dashboard: by its etag, so that what somebody
    # else has changed meanwhile is not overwritten unseen.
    running.change("deploy/monitoring/dashboard.json", '"columns": 12', '"columns": 24')
    changed = running.run({**EVERYTHING, **ONLY_CHANNEL})
    updates = [call for call in changed if call.step == "monitoring" and "update" in call.arguments]
    updated = [json.loads(content) for call in updates for content in call.files.values()]
    assert [one.get("notificationChannels") for one in updated] == [*[[CHANNEL]] * policies, None]
    assert updated[-1]["etag"] == "abc"


def test_nobody_to_notify_is_refused_before_anything_is_changed(deployment: Deployment) -> None:
    """An alert that reaches nobody is no watch."""
    assert deployment.run({}) == []
    assert deployment.failed == "preflight"
    assert "nobody would learn" in deployment.output


def test_a_witness_that_nobody_would_read_is_refused(deployment: Deployment) -> None:
    """The phases file has to name the table, else the canary goes on without it."""
    assert deployment.run({**ONLY_CHANNEL, "_WITNESS_TABLE": EVERYTHING["_WITNESS_TABLE"]}) == []
    assert deployment.failed == "preflight"
    assert "no phase of orchestrator_resilience/phases.toml has it as its witness_table" in deployment.output


def test_everything_off(deployment: Deployment) -> None:
    """No Slack, no witness, and nobody to notify, with a warning; an earlier deployment's secret is taken away."""
    calls = deployment.run({"_NOTIFICATION_CHANNELS": "none"})
    assert deployment.failed is None, deployment.output
    assert "WARNING: _NOTIFICATION_CHANNELS=none" in deployment.output
    created = [json.loads(c.files["policy-from-file"]) for c in calls if "policy-from-file" in c.files]
    assert created
    assert not any(policy["notificationChannels"] for policy in created)
    assert not [c for c in calls if "witness" in " ".join(c.arguments) or c.arguments[:1] == ("secrets",)]
    assert any("--clear-secrets" in c.arguments for c in calls)


def test_a_channel_that_is_off_is_refused(deployment: Deployment) -> None:
    """Before anything is changed."""
    deployment.answers["channels describe"] = "False"
    assert changes(deployment.run(ONLY_CHANNEL)) == []
    assert deployment.failed == "preflight"


BROKEN = {
    "its trigger retries": ("orchestrator.sh", " --retry \\", " \\"),
    "its trigger calls as the orchestrator": (
        "orchestrator.sh",
        '--trigger-service-account="$ORCHESTRATOR_ACCOUNT"',
        "",
    ),
    "its trigger may invoke it": ("orchestrator.sh", "gcloud run services add-iam-policy-binding", "true"),
    "what it cannot take is kept": ("dead_letters.sh", "gcloud pubsub subscriptions update", "true"),
    "the scheduler may invoke it": ("canary.sh", "gcloud run services add-iam-policy-binding", "true"),
    "its job calls as the scheduler": ("scheduler.sh", '--oidc-service-account-email="$SCHEDULER_ACCOUNT"', ""),
}


def test_a_deployment_that_forgets_something_fails(deployment: Deployment) -> None:
    """It says all that does not hold, and that the rest does."""
    for file, old, new in BROKEN.values():
        deployment.change(f"deploy/{file}", old, new)
    deployment.run(ONLY_CHANNEL)
    assert deployment.failed == "verify"
    assert complaints(deployment) == [*BROKEN]
    assert "ok: the canary is up" in deployment.output


def complaints(deployment: Deployment) -> list[str]:
    return re.findall(r"^FAILED: (.*?): expected", deployment.output, re.MULTILINE)


UNHEALTHY = {
    "the orchestrator is up": ("functions describe phase2-orchestrator --region=us-central1 --format=value(state)", ""),
    "the public may not": ("get-iam-policy phase2-canary", "serviceAccount:somebody\nallUsers"),
    "its job is on": ("jobs describe phase2-canary --location=us-central1 --format=value(state)", "PAUSED"),
    "the policy 'phase2-canary: silent or blind for 45 minutes' is on": (
        'list --filter=displayName="phase2-canary: silent or blind for 45 minutes" --format=value(enabled)',
        "False",
    ),
    "the witness writes": ("value(bigqueryConfig.state)", "PERMISSION_DENIED"),
    "the scheduler's call has started a run": ("logging read", ""),
}


def test_a_project_in_which_something_is_wrong_fails(running: Deployment) -> None:
    """Though every command went through."""
    running.answers = {**dict(UNHEALTHY.values())}
    running.run(EVERYTHING, "verify")
    assert running.failed == "verify"
    assert {*complaints(running)} == {*UNHEALTHY, "the scheduler may invoke it", "the run could read its sources"}


@pytest.mark.parametrize(
    "said",
    [
        "CANARY_RUN failed: StoreError: Firestore: PermissionDenied, it says",
        "CANARY_RUN: phase2 2026-02-09 UNKNOWN, phase2 2026-02-10 UNKNOWN",
    ],
)
def test_a_canary_that_cannot_read_its_sources_fails_the_deployment(running: Deployment, said: str) -> None:
    """Whether the run crashed or not, it watches nothing."""
    running.answers["logging read"] = said
    running.run(EVERYTHING, "verify")
    assert (running.failed, complaints(running)) == ("verify", ["the run could read its sources"])
    assert f"found '{said}'" in running.output


def test_dates_of_which_nothing_is_known_are_a_warning(running: Deployment) -> None:
    """A new project has some; today's is still waited for."""
    running.answers["logging read"] = "CANARY_RUN: phase2 2026-02-09 UNKNOWN, phase2 2026-02-10 WAITING"
    running.run(EVERYTHING, "verify")
    assert running.failed is None, running.output
    assert "WARNING: CANARY_RUN: phase2 2026-02-09 UNKNOWN" in running.output


def test_a_metric_that_monitoring_does_not_know_yet_is_waited_for(deployment: Deployment) -> None:
    """A policy on a new log-based metric is refused at first."""
    deployment.answers["policies create"] = None
    deployment.run(ONLY_CHANNEL)
    assert deployment.failed is None, deployment.output


def test_two_policies_of_one_name_are_not_guessed_between(running: Deployment) -> None:
    """The deployment says which name it is."""
    running.answers["policies list"] = "one\tabc\ntwo\tabc"
    running.run(EVERYTHING, "monitoring")
    assert running.failed == "monitoring"
    assert "there are several named 'phase2-canary: a game date needs somebody'" in running.output


def test_scripts_stop_at_the_first_failure() -> None:
    """Each that is run on its own says so; render.sh is read by those."""
    for script in (ROOT / "deploy").glob("*.sh"):
        assert script.name == "render.sh" or "\nset -euo pipefail\n" in script.read_text("utf-8"), script


def test_variables_are_settings(deployed: list[Call]) -> None:
    """No function is given a variable that the code does not read."""
    text = (ROOT / "orchestrator_resilience" / "settings.py").read_text("utf-8")
    for call in deployed:
        given = [call.flag("set-env-vars"), call.flag("set-secrets")]
        for name in (pair.partition("=")[0] for value in given if value for pair in value.split(",")):
            assert f'"{name}"' in text
