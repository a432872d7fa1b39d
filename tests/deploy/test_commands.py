"""The deployment's commands: their form by gcloud's own word, and what they do to a project."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from canary.commands.cli import main as canary
from orchestrator_resilience.phase import load_phase
from tests.deploy.conftest import CHANNEL, EVERYTHING, PACKAGES, ROOT, Call, Deployment, InsideGcloud, steps
from tests.docs.markdown import PAGES

ONLY_CHANNEL = {"_NOTIFICATION_CHANNELS": CHANNEL}
CHANGING = {"create", "update", "deploy"}
SILENT = "phase2-canary: silent or unreadable for 45 minutes"


def lint(inside_gcloud: InsideGcloud, commands: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the complaints of gcloud's linter by command."""
    wanted = sorted(set(commands))
    file = folder / "commands.json"
    file.write_text(json.dumps([{"command_string": command} for command in wanted]), "utf-8")
    # Left to itself the linter makes gcloud's tree of commands anew for each.
    code = (
        "import sys; from googlecloudsdk import gcloud_main; cli = gcloud_main.CreateCLI([]);"
        "gcloud_main.CreateCLI = lambda _: cli;"
        "cli.Execute(['meta', 'lint-gcloud-commands', f'--commands-file={sys.argv[1]}'])"
    )
    done = inside_gcloud(code, str(file))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == len(wanted), "a command was not looked at"
    return {one["command_string"]: one["error_message"] for one in answers if not one["success"]}


def changes(calls: Iterable[Call]) -> list[str]:
    return [str(c) for c in calls if c.program == "gcloud" and CHANGING & set(c.arguments[:4])]


def test_every_command_is_one_that_gcloud_takes(
    inside_gcloud: InsideGcloud, deployed: list[Call], deployment: Deployment, tmp_path: Path
) -> None:
    """Those that make, those that update, those with everything off, those of the first day, those of the texts."""
    off = deployment
    calls = [*deployed, *off.calls(), *off.run({"_NOTIFICATION_CHANNELS": "none"})]
    assert off.failed is None, off.output
    off.change("deploy/monitoring/dashboard.json", '"columns": 12', '"columns": 24')
    calls += off.run(EVERYTHING)
    assert off.failed is None, off.output
    commands = [str(call) for call in calls if call.program == "gcloud"]
    assert {"create", "update", "describe", "list", "deploy", "run"} <= {w for c in commands for w in c.split()}
    texts = [*PAGES, *(ROOT / "deploy" / "monitoring" / "policies").iterdir()]
    quoted = [command for text in texts for command in _commands_of(text.read_text("utf-8"))]
    assert len(quoted) >= 5
    scripts = "\n".join(script.read_text("utf-8") for script in (ROOT / "deploy").glob("*.sh"))
    quoted += (proposed := re.findall(r'echo "(gcloud .*)" >&2', scripts))
    assert proposed
    assert lint(inside_gcloud, [*commands, *quoted], tmp_path) == {}


def _commands_of(text: str) -> list[str]:
    """Return the commands that begin a line of a block of code, or are quoted as a whole."""
    unescaped = text.replace("\\n", "\n")
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```$", unescaped, re.DOTALL | re.MULTILINE)
    blocks = [line for block in fenced for line in _lines(block)]
    inline = re.findall(r"`(gcloud [^`]+)`", unescaped)
    found = [line.split(" | ")[0].split("   #")[0] for line in (*blocks, *inline) if line.startswith("gcloud ")]
    return [re.sub(r"\{(\w+)\}", r"\1", command) for command in found]


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.replace("\\\n", " ").splitlines()]


def test_the_linter_would_find_a_mistake(inside_gcloud: InsideGcloud, tmp_path: Path) -> None:
    """A flag that there is not, a value that is none, a command that is missing its name."""
    wrong = ["gcloud pubsub topics create", "gcloud functions deploy f --retries", "gcloud monitoring policies list"]
    assert len(lint(inside_gcloud, [*wrong, "gcloud pubsub topics create t"], tmp_path)) == 3


def test_the_steps_come_in_order() -> None:
    """Nothing is changed before the settings and the tests are good; the probe has the last word."""
    order = [step["id"] for step in steps(ROOT / "cloudbuild.yaml", {})]
    assert order[:3] == ["preflight", "test", "table"]
    assert order[-2:] == ["verify", "probe"]
    commands = {step["id"]: [step["entrypoint"], *step["args"]] for step in steps(ROOT / "cloudbuild.yaml", {})}
    assert commands["table"] == [".venv/bin/canary", "setup"]
    probe = ["--topic", "nba-phase2-raw-complete", "--phase", "phase2", "--service", "phase2-orchestrator"]
    assert commands["probe"][1:] == ["probe", *probe, "--timeout", "180"]


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
    """Retries, the trigger's account and place, and no public access."""
    orchestrator, canary_ = (c for c in deployed if c.arguments[:2] == ("functions", "deploy"))
    for call in (orchestrator, canary_):
        assert "--gen2" in call.arguments
        assert call.flag("runtime") == "python311"
        assert "--serve-all-traffic-latest-revision" in call.arguments
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
        *("dead-letters", "metrics", "scheduler", "message-log")
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


def test_a_message_log_that_nobody_would_read_is_refused(deployment: Deployment) -> None:
    """The phases file has to name the table, else the canary goes on without it."""
    assert deployment.run({**ONLY_CHANNEL, "_MESSAGE_TABLE": EVERYTHING["_MESSAGE_TABLE"]}) == []
    assert deployment.failed == "preflight"
    assert "no phase of orchestrator_resilience/phases.toml has it as its message_table" in deployment.output
    # As a whole, and to the letter.
    assert deployment.run({**EVERYTHING, "_MESSAGE_TABLE": "nba_orchestration.phase.messages"}) == []
    assert deployment.failed == "preflight"


def test_a_message_log_that_nobody_would_write_is_refused(deployment: Deployment) -> None:
    """A canary that waits for a table that is not there could never tell."""
    assert deployment.run({**EVERYTHING, "_MESSAGE_TABLE": ""}) == []
    assert deployment.failed == "preflight"
    assert "own.toml has the message_table nba_orchestration.phase_messages: nobody would write" in deployment.output


SECRETS = {"_SLACK_SECRET": "SLACK_WEBHOOK_URL", "_HEARTBEAT_SECRET": "HEARTBEAT_URL"}


@pytest.mark.parametrize("substitution", SECRETS)
def test_a_secret_is_not_lost_by_not_being_named(running: Deployment, substitution: str) -> None:
    """A later build with the defaults would silence it; `none` says that this is meant."""
    assert changes(running.run({**EVERYTHING, substitution: ""})) == []
    assert running.failed == "preflight"
    assert f"{substitution} is empty, and phase2-canary has the secret {SECRETS[substitution]}" in running.output


def test_a_secret_is_taken_away_on_purpose(running: Deployment) -> None:
    """That one only."""
    calls = running.run({**EVERYTHING, "_SLACK_SECRET": "none"})
    assert running.failed is None, running.output
    (canary_,) = (c for c in calls if c.step == "canary" and "deploy" in c.arguments)
    assert canary_.flag("set-secrets") == "HEARTBEAT_URL=heartbeat:latest"
    assert [c.arguments[2] for c in calls if c.arguments[:1] == ("secrets",)] == ["heartbeat"]


def test_what_secrets_there_are_has_to_be_known(running: Deployment) -> None:
    """A project that does not answer is not one without secrets."""
    running.answers["functions list"] = None
    assert changes(running.run({**EVERYTHING, "_SLACK_SECRET": ""})) == []
    assert running.failed == "preflight"


def test_the_channels_of_the_page_arrive(deployment: Deployment) -> None:
    """In --substitutions a comma is gcloud's, so the names stand between spaces."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (given,) = re.findall(r'^gcloud builds submit .*--substitutions="(.*)"', text, re.MULTILINE)
    calls = deployment.run(dict(one.split("=", 1) for one in given.split(",")))
    assert deployment.failed is None, deployment.output
    (policy, *_) = (json.loads(c.files["policy-from-file"]) for c in calls if "policy-from-file" in c.files)
    assert len(policy["notificationChannels"]) == 2
    assert all(re.fullmatch(r"projects/[\w-]+/notificationChannels/\d+", c) for c in policy["notificationChannels"])


def test_everything_off(deployment: Deployment) -> None:
    """No Slack, no message log, and nobody to notify, with a warning; an earlier deployment's secret is taken away."""
    calls = deployment.run({"_NOTIFICATION_CHANNELS": "none"})
    assert deployment.failed is None, deployment.output
    assert "WARNING: _NOTIFICATION_CHANNELS=none" in deployment.output
    created = [json.loads(c.files["policy-from-file"]) for c in calls if "policy-from-file" in c.files]
    assert created
    assert not any(policy["notificationChannels"] for policy in created)
    assert not [c for c in calls if c.step == "message-log" or c.arguments[:1] == ("secrets",)]
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
    "Pub/Sub may call as the trigger's account (else run deploy/bootstrap.sh)": (
        "bootstrap.sh",
        'on_project "service-$number',
        'true "service-$number',
    ),
    "what it cannot take is kept": ("dead_letters.sh", "gcloud pubsub subscriptions update", "true"),
    "the scheduler may invoke it": ("canary.sh", "gcloud run services add-iam-policy-binding", "true"),
    "its job calls as the scheduler": ("scheduler.sh", '--oidc-service-account-email="$SCHEDULER_ACCOUNT"', ""),
}


def test_a_deployment_that_forgets_something_fails(deployment: Deployment) -> None:
    """It says all that does not hold, and that the rest does."""
    for file, old, new in BROKEN.values():
        deployment.change(f"deploy/{file}", old, new)
    with deployment.made() as made:
        made.clear()
    deployment.bootstrap()
    deployment.run(ONLY_CHANNEL)
    assert deployment.failed == "verify"
    assert complaints(deployment) == [*BROKEN]
    assert "ok: the canary is up" in deployment.output


def complaints(deployment: Deployment) -> list[str]:
    return re.findall(r"^FAILED: (.*?): expected", deployment.output, re.MULTILINE)


UNHEALTHY = {
    "the orchestrator is up": ("functions describe phase2-orchestrator --region=us-central1 --format=value(state)", ""),
    "the public may not invoke the orchestrator": (
        "get-iam-policy phase2-orchestrator",
        "serviceAccount:phase2-orchestrator@proj.iam.gserviceaccount.com\nallAuthenticatedUsers",
    ),
    "Pub/Sub may call as the trigger's account (else run deploy/bootstrap.sh)": ("projects get-iam-policy proj", ""),
    "the public may not invoke the canary": ("get-iam-policy phase2-canary", "serviceAccount:somebody\nallUsers"),
    "its job is on": ("jobs describe phase2-canary --location=us-central1 --format=value(state)", "PAUSED"),
    f"the policy '{SILENT}' is on": (
        f'list --filter=displayName="{SILENT}" --format=value(enabled)',
        "False",
    ),
    "the message log listens to the topic": (
        "phase2-raw-complete-messages --format=value(topic)",
        "_deleted-topic_",
    ),
    "the message log writes": ("value(bigqueryConfig.state)", "PERMISSION_DENIED"),
    "the scheduler's call has started a run": ("logging read", ""),
}


def test_a_project_in_which_something_is_wrong_fails(running: Deployment) -> None:
    """Though every command went through."""
    running.answers = {**dict(UNHEALTHY.values())}
    running.run(EVERYTHING, "verify")
    assert running.failed == "verify"
    assert {*complaints(running)} == {*UNHEALTHY, "the scheduler may invoke it", "the run could read its sources"}


def test_a_deployment_takes_the_traffic_back(running: Deployment) -> None:
    """After a rollback to an earlier revision the next deployment would else serve nothing."""
    names = ("orchestrator", "canary")
    with running.made() as made:
        for name in names:
            made[f"functions phase2-{name}"]["pinned"] = True
    running.run(EVERYTHING, "verify")
    assert complaints(running) == [f"all traffic goes to the latest {name}" for name in names]
    running.run(EVERYTHING)
    assert running.failed is None, running.output


def test_a_policy_that_was_edited_is_named(running: Deployment) -> None:
    """The edit keeps the label, so the next deployment leaves it alone; the mending that is proposed works."""
    with running.made() as made:
        policies = {one["content"]["displayName"]: one["content"] for k, one in made.items() if " policies " in k}
        silenced, changed = policies["phase2-canary: a game date needs somebody"], policies[SILENT]
        silenced["notificationChannels"] = []
        changed["conditions"][0]["conditionAbsent"]["filter"] += ' AND metric.labels.outcome="NEVER"'
    running.run(EVERYTHING)
    assert running.failed == "verify"
    directory = "deploy/monitoring/policies"
    assert complaints(running) == [
        f"the policy '{silenced['displayName']}' watches and notifies as {directory}/canary_alert.json says",
        f"the policy '{changed['displayName']}' watches and notifies as {directory}/canary_silent.json says",
    ]
    mending = re.findall(
        r"^gcloud .* policies update (\S+) --update-user-labels=(\w+)=(\w+)$", running.output, re.MULTILINE
    )
    assert len(mending) == 2
    with running.made() as made:
        for name, label, value in mending:
            made[f"monitoring policies {name}"]["content"]["userLabels"][label] = value
    running.run(EVERYTHING)
    assert running.failed is None, running.output


def test_policies_are_compared_in_the_form_that_gcloud_prints(inside_gcloud: InsideGcloud, made: Deployment) -> None:
    """One field a line, quoted as in a file."""
    content = json.loads((made.folder / "made.json").read_text("utf-8"))
    policies = [one["content"] for key, one in content.items() if " policies " in key]
    code = (
        "import json, sys; from googlecloudsdk.core.resource import resource_printer as printer;"
        "printer.Print(json.loads(sys.argv[1]), 'json')"
    )
    printed = inside_gcloud(code, json.dumps(policies))
    assert printed.stdout.strip() == json.dumps(policies, indent=2, sort_keys=True), printed.stderr


def test_gcloud_takes_the_folders_for_sources(inside_gcloud: InsideGcloud, staged: Mapping[str, Path]) -> None:
    """By the check of its own that comes before anything is uploaded; the repository itself does not pass it."""
    code = (
        "import sys; from googlecloudsdk.command_lib.functions import source_util;"
        "source_util.ValidateDirectoryHasRequiredRuntimeFiles(sys.argv[1], 'python311')"
    )
    for folder in staged.values():
        accepted = inside_gcloud(code, str(folder))
        assert accepted.returncode == 0, accepted.stderr
    assert "does not have file [main.py]" in inside_gcloud(code, str(ROOT)).stderr


def test_gcloud_finds_the_secrets_of_the_canary(inside_gcloud: InsideGcloud, deployed: list[Call]) -> None:
    """The filter takes no other function, the format prints the variables."""
    (call,) = (c for c in deployed if c.arguments[:2] == ("functions", "list"))
    code = (
        "import json, sys; from googlecloudsdk.core.resource import resource_printer as printer, resource_filter;"
        "chosen = resource_filter.Compile(sys.argv[1]).Evaluate;"
        "printer.Print([f for f in json.loads(sys.argv[3]) if chosen(f)], sys.argv[2])"
    )
    functions = [
        {
            "name": f"projects/proj/locations/us-central1/functions/{name}",
            "serviceConfig": {"secretEnvironmentVariables": [{"key": key, "secret": "s"} for key in keys]},
        }
        for name, keys in {"phase2-canary": ("A", "B"), "phase2-canary-2": ("C",), "my-phase2-canary": ("D",)}.items()
    ]
    printed = inside_gcloud(code, call.flag("filter") or "", call.flag("format") or "", json.dumps(functions))
    assert printed.stdout.strip() == "A;B", printed.stderr


@pytest.mark.parametrize(
    "said",
    [
        "COULD_NOT_TELL\tCANARY_RUN failed: StoreError: Firestore: PermissionDenied, it says",
        "COULD_NOT_TELL\tCANARY_RUN: phase2 2026-02-09 UNKNOWN, phase2 2026-02-10 WAITING",
    ],
)
def test_a_canary_that_cannot_read_its_sources_fails_the_deployment(running: Deployment, said: str) -> None:
    """Whether the run crashed or not, it watches nothing."""
    running.answers["logging read"] = said
    running.run(EVERYTHING, "verify")
    assert (running.failed, complaints(running)) == ("verify", ["the run could read its sources"])
    assert f"found '{said}'" in running.output


def test_dates_of_which_nothing_is_known_are_a_warning(running: Deployment) -> None:
    """A new project may have nothing else: the run has read everything all the same."""
    running.answers["logging read"] = "UNDECIDED\tCANARY_RUN: phase2 2026-02-09 UNKNOWN, phase2 2026-02-10 UNKNOWN"
    running.run(EVERYTHING, "verify")
    assert running.failed is None, running.output
    assert "WARNING: UNDECIDED\tCANARY_RUN: phase2 2026-02-09 UNKNOWN" in running.output


@pytest.mark.parametrize("outcome", ["QUIET", "PROBLEM"])
def test_a_run_that_could_tell_is_no_warning(running: Deployment, outcome: str) -> None:
    """Whatever it told."""
    running.answers["logging read"] = f"{outcome}\tCANARY_RUN: phase2 2026-02-10 WAITING"
    running.run(EVERYTHING, "verify")
    assert running.failed is None, running.output
    assert "WARNING" not in running.output


def test_a_policy_on_a_metric_that_monitoring_does_not_know_yet_is_tried_again(deployment: Deployment) -> None:
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
    """Each that is run on its own says so; the others are read by those."""
    for script in (ROOT / "deploy").glob("*.sh"):
        assert script.name in {"render.sh", "function.sh"} or "\nset -euo pipefail\n" in script.read_text("utf-8"), (
            script
        )


def test_variables_are_settings(deployed: list[Call]) -> None:
    """No function is given a variable that the code does not read."""
    text = "".join((ROOT / package / "settings.py").read_text("utf-8") for package in PACKAGES)
    for call in deployed:
        given = [call.flag("set-env-vars"), call.flag("set-secrets")]
        for name in (pair.partition("=")[0] for value in given if value for pair in value.split(",")):
            assert f'"{name}"' in text
