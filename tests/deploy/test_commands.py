"""The deployment's commands: their form by gcloud's own word, and what they do to a project."""

import inspect
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from canary.commands.cli import main as canary
from canary.notify.heartbeat import Heartbeat
from canary.notify.memory import Memory
from canary.notify.slack import SlackChannel
from canary.sources import CHECKPOINTS_SECONDS, READ_SECONDS
from orchestrator_resilience.phase import load_phases
from tests.deploy.conftest import (
    BARE,
    BESIDE,
    CHANNEL,
    EVERYTHING,
    FUNCTIONS,
    OF_THE_OWNER,
    PACKAGES,
    ROOT,
    THEIRS,
    Call,
    Deployment,
    InsideGcloud,
    new_deployment,
    steps,
)
from tests.docs.markdown import PAGES

CHANGING = {"create", "update", "deploy", "add-iam-policy-binding", "add", "mk", "query", "enable"}
OWN_ACCOUNT = "{}@proj.iam.gserviceaccount.com"
SILENT = "phase2-canary: silent or unreadable for 45 minutes"


def lint(inside_gcloud: InsideGcloud, commands: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the complaints of gcloud's linter by command."""
    # Generally available since the end of 2025; an older gcloud knows the same command as alpha, and each has that one.
    wanted = sorted({command.replace("gcloud monitoring pol", "gcloud alpha monitoring pol") for command in commands})
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
    return [str(c) for c in calls if CHANGING & set(c.arguments[:5])]


def test_every_command_is_one_that_gcloud_takes(
    inside_gcloud: InsideGcloud, deployed: list[Call], deployment: Deployment, tmp_path: Path
) -> None:
    """Those that make, those that update, those with everything off, those of the first day, those of the texts."""
    off = deployment
    calls = [*deployed, *off.calls(), *off.run({**BARE, "_NOTIFICATION_CHANNELS": "none"})]
    assert off.failed is None, off.output
    change_everything(off)
    calls += off.run(BARE)
    assert off.failed is None, off.output
    commands = [str(call) for call in calls if call.program == "gcloud"]
    assert {"create", "update", "describe", "list", "deploy", "run"} <= {w for c in commands for w in c.split()}
    texts = [*PAGES, *(ROOT / "deploy" / "monitoring" / "policies").iterdir()]
    quoted = [command for text in texts for command in _commands_of(text.read_text("utf-8"))]
    assert len(quoted) >= 5
    scripts = "\n".join(script.read_text("utf-8") for script in (ROOT / "deploy").glob("*.sh"))
    proposed = re.findall(r'^ +(?:echo )?"(gcloud .*)"(?: >&2)?$', scripts, re.MULTILINE)
    assert len(proposed) >= 4
    quoted += [
        command.replace(" $how", " --location=nam5 --type=firestore-native").replace("$", "") for command in proposed
    ]
    assert lint(inside_gcloud, [*commands, *quoted], tmp_path) == {}


def _commands_of(text: str) -> list[str]:
    """Return the commands that begin a line of a block of code, or are quoted as a whole."""
    unescaped = text.replace("\\n", "\n")
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```$", unescaped, re.DOTALL | re.MULTILINE)
    blocks = [line for block in fenced for line in _lines(block)]
    inline = re.findall(r"`(gcloud [^`]+)`", unescaped)
    found = [line.split(" | ")[0].split("   #")[0] for line in (*blocks, *inline) if line.startswith("gcloud ")]
    settings = dict(re.findall(r'^(\w+)="(.*)"$', unescaped, re.MULTILINE))
    found = [re.sub(r"\$(\w+)", lambda name: settings[name[1]], command) for command in found]
    return [re.sub(r"\{(\w+)\}", r"\1", command) for command in found]


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.replace("\\\n", " ").splitlines()]


def change_everything(deployment: Deployment) -> None:
    """Let each kind of thing that is compared differ from what was deployed."""
    deployment.change("deploy/monitoring/dashboard.json", '"columns": 12', '"columns": 24')
    deployment.change("deploy/monitoring/metrics/canary_runs.json", "Runs", "All runs")
    deployment.change("deploy/monitoring/policies/canary_silent.json", "CRITICAL", "ERROR")
    deployment.change("deploy/canary.sh", "--max-backoff=60s", "--max-backoff=50s")
    deployment.change("deploy/orchestrator.sh", "--max-delivery-attempts=100", "--max-delivery-attempts=50")


def test_the_linter_would_find_a_mistake(inside_gcloud: InsideGcloud, tmp_path: Path) -> None:
    """A flag that there is not, a value that is none, a command that is missing its name."""
    wrong = ["gcloud pubsub topics create", "gcloud run deploy f --retries", "gcloud monitoring policy list"]
    assert len(lint(inside_gcloud, [*wrong, "gcloud pubsub topics create t"], tmp_path)) == 3


def test_the_steps_come_in_order() -> None:
    """Nothing is changed before the settings and the tests are good; the probe has the last word."""
    order = [step["id"] for step in steps(ROOT / "cloudbuild.yaml", {})]
    assert order[:3] == ["preflight", "test", "table"]
    assert order[-2:] == ["verify", "probe"]


def test_the_build_installs_by_hash() -> None:
    """Of all that fetches packages, the step of the tests leaves out what does so without."""
    (step,) = (s for s in steps(ROOT / "cloudbuild.yaml", {}) if s["id"] == "test")
    left_out = re.findall(r"--ignore=(\S+)", step["env"][0])
    fetching = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^from tests.environments import .*\bfetch\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert fetching
    assert [name for name in fetching if not name.startswith(tuple(left_out))] == []
    assert all((ROOT / name).exists() for name in left_out)


def test_the_commands_of_the_canary(deployed: list[Call]) -> None:
    """The table before anything that writes to it, and a probe that only this orchestrator answers."""
    first, last = (c for c in deployed if c.program == "canary")
    assert first.arguments == ("setup",)
    topic, phase, service = ("nba-phase2-raw-complete", "phase2", "phase2-orchestrator")
    asked = ("--topic", topic, "--phase", phase, "--service", service, "--timeout", "180")
    assert last.arguments == ("probe", *asked)


@pytest.mark.parametrize("file", ["orchestrator_resilience/phases.toml", "examples/phases_of_a_pipeline.toml"])
def test_the_phases_file_is_read_as_the_code_reads_it(deployment: Deployment, tmp_path: Path, file: str) -> None:
    """The tables of the phase, and the datasets of all."""
    (tmp_path / "own.toml").write_text((ROOT / file).read_text("utf-8").replace("# message_table", "message_table"))
    phases = load_phases(tmp_path / "own.toml")
    environment = [
        "GOOGLE_CLOUD_PROJECT=p",
        "PROJECT_NUMBER=1",
        "ORCHESTRATOR=o",
        "CANARY=c",
        "TOPIC=t",
        "PHASE=phase2",
    ]
    environment += [f"PHASES_FILE={tmp_path / 'own.toml'}", "DATASETS=games"]
    show = 'source deploy/common.sh; echo "$TABLE|$MESSAGE_TABLE|$(echo $READ_DATASETS)"'
    with_path = {**dict(one.split("=", 1) for one in environment), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", show],  # noqa: S607 (as in the build)
        cwd=deployment.folder,
        env=with_path,
        capture_output=True,
        text=True,
        check=True,
    )
    named = {t for p in phases.values() for t in (p.bigquery_table, p.message_table, p.flag_table) if t}
    datasets = sorted({"games", *(table.rpartition(".")[0] for table in named)})
    phase = phases["phase2"]
    assert done.stdout.strip() == f"{phase.bigquery_table}|{phase.message_table or ''}|{' '.join(datasets)}"


def test_the_table_step_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of a step, empty ones among them, are ones that the command takes."""
    (env,) = (s["env"] for s in steps(ROOT / "cloudbuild.yaml", {}) if s["id"] == "table")
    for one in env:
        name, _, value = one.partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    assert canary(["setup", "--data", str(tmp_path / "stores")]) == 0


def test_the_functions_are_deployed_as_they_have_to_be(deployed: list[Call]) -> None:
    """As their own accounts, capped, on the newest Python that pip installs for, never public, with what is mounted."""
    orchestrator, canary_ = (c for c in deployed if c.arguments[:2] == ("run", "deploy"))
    for call in (orchestrator, canary_):
        assert "--no-allow-unauthenticated" in call.arguments
        assert (call.flag("base-image"), call.flag("concurrency")) == ("python313", "1")
        assert call.flag("service-account") == f"{call.arguments[2]}@proj.iam.gserviceaccount.com"
        assert call.flag("labels") == "managed_by=orchestrator-resilience"
    both = "PHASES_FILE=/phases/phases.toml,BIGQUERY_LOCATION=US"
    assert orchestrator.flag("set-env-vars") == (
        f"GOOGLE_CLOUD_PROJECT=proj,FIRESTORE_DATABASE=scores,PHASE=phase2,{both}"
    )
    watched = "PHASE=phase2,ORCHESTRATOR_SERVICE=phase2-orchestrator,DEAD_LETTERS=nba-phase2-raw-complete-dead-letters"
    own = f"{watched},PAGE_URL=https://canary.example.com,{both}"
    assert canary_.flag("set-env-vars") == f"GOOGLE_CLOUD_PROJECT=proj,FIRESTORE_DATABASE=scores,{own}"
    phases = "/phases/phases.toml=phase2-canary-phases:latest"
    assert orchestrator.flag("set-secrets") == phases
    assert canary_.flag("set-secrets") == (
        f"SLACK_WEBHOOK_URL=slack-webhook:latest,HEARTBEAT_URL=heartbeat:latest,{phases}"
    )
    assert [c.flag("max-instances") for c in (orchestrator, canary_)] == ["20", "3"]


def test_nobody_gets_in_without_a_name(made: Deployment, tmp_path: Path) -> None:
    """A service is deployed closed, only the accounts that call it are let in, and no command reads a secret."""
    beside = new_deployment(tmp_path, {**BARE, **BESIDE}, THEIRS)
    beside.run({**BARE, **BESIDE})
    assert beside.failed is None, beside.output
    assert callers_of(beside) == {"phase2-canary": {"phase2-canary-scheduler"}}
    assert callers_of(made) == {**callers_of(beside), "phase2-orchestrator": {"phase2-orchestrator"}}
    calls = [*made.calls(), *beside.calls()]
    open_to_all = r"--allow-unauthenticated|--no-invoker-iam-check|\ballUsers|\ballAuthenticatedUsers|versions access"
    assert [str(c) for c in calls if re.search(open_to_all, f"{c} {c.stdin}")] == []
    pushes = [c for c in calls if c.flag("push-endpoint")]
    assert {c.flag("push-auth-service-account") for c in pushes} == {OWN_ACCOUNT.format("phase2-orchestrator")}


def callers_of(deployment: Deployment) -> dict[str, set[str]]:
    """Return who may call each service that was deployed, where it was deployed closed."""
    calls = deployment.calls()
    deployed = [
        c for c in calls if c.arguments[:2] == ("run", "deploy") and "--no-allow-unauthenticated" in c.arguments
    ]
    let_in = [(c.arguments[3], c.flag("member") or "") for c in calls if c.flag("role") == "roles/run.invoker"]
    assert {name for name, _ in let_in} == {c.arguments[2] for c in deployed}
    found: dict[str, set[str]] = {name: set() for name, _ in let_in}
    for name, member in let_in:
        account = re.fullmatch(f"serviceAccount:{OWN_ACCOUNT.format('(.*)')}", member)
        found[name].add(account[1] if account else member)
    return found


def test_one_timeout_for_a_run(deployed: list[Call]) -> None:
    """The function, the scheduler, and the parts of a run, as the code bounds them, with time to start."""
    (canary_,) = (c for c in deployed if c.arguments[:3] == ("run", "deploy", "phase2-canary"))
    (job,) = (c for c in deployed if c.arguments[:3] == ("scheduler", "jobs", "create"))
    seconds = float(canary_.flag("timeout") or 0)
    assert job.flag("attempt-deadline") == f"{seconds:g}s"
    slack, beat = (inspect.signature(c).parameters["seconds"].default for c in (SlackChannel, Heartbeat))
    parts = [READ_SECONDS, CHECKPOINTS_SECONDS, Memory({}, {})._deadline.seconds, 2 * slack, beat]  # type: ignore[arg-type]
    assert sum(parts) + 25 == seconds
    # Four attempts and their pauses are over before the next quarter of an hour.
    assert 4 * seconds + 10 + 20 + 40 < 15 * 60


def test_the_job_calls_the_canary(deployed: list[Call]) -> None:
    """Every 15 minutes, with a token for its address."""
    (job,) = (c for c in deployed if c.arguments[:3] == ("scheduler", "jobs", "create"))
    assert job.flag("schedule") == "*/15 * * * *"
    assert job.flag("oidc-token-audience") == job.flag("uri") == "https://phase2-canary-abc.a.run.app"


def test_the_subscription_is_this_projects_own(deployed: list[Call]) -> None:
    """It pushes as the orchestrator's account, waits for it, puts aside what fails, and can deliver a night again."""
    (push,) = (c for c in deployed if "create" in c.arguments and c.flag("push-endpoint"))
    assert push.arguments[:4] == ("pubsub", "subscriptions", "create", "nba-phase2-raw-complete-to-phase2-orchestrator")
    url = "https://phase2-orchestrator-abc.a.run.app"
    assert push.flag("push-endpoint") == push.flag("push-auth-token-audience") == url
    assert push.flag("push-auth-service-account") == "phase2-orchestrator@proj.iam.gserviceaccount.com"
    assert (push.flag("ack-deadline"), push.flag("message-retention-duration")) == ("600", "7d")
    assert push.flag("dead-letter-topic") == "nba-phase2-raw-complete-dead-letters"
    assert "--retain-acked-messages" in push.arguments


def test_beside_an_orchestrator_nothing_of_its_is_touched(tmp_path: Path) -> None:
    """Table, topic and function are not named by any command that changes something; what is not seen is said."""
    theirs = ("run services their-orchestrator", "pubsub topics nba-phase2-raw-complete", *THEIRS)
    alone = new_deployment(tmp_path, {**BARE, **BESIDE}, theirs)
    with alone.made() as made:
        before = {name: made[name] for name in theirs}
    alone.run({**BARE, **BESIDE})
    assert alone.failed is None, alone.output
    with alone.made() as made:
        assert {name: made[name] for name in theirs} == before
        granted = [b for b in made["bindings"] if b[0].startswith(("bq", "pubsub", "run"))]
    assert {(on, role) for on, role, _ in granted} == {
        ("bq nba_orchestration", "roles/bigquery.dataViewer"),
        ("bq nba_orchestration", "roles/bigquery.metadataViewer"),
        ("run services phase2-canary", "roles/run.invoker"),
    }
    words = [
        changed
        for changed in changes(alone.calls())
        if re.search(r"topic|phase_completions|orchestrator\b(?!-)", changed)
    ]
    assert not [w for w in words if "run deploy phase2-canary" not in w and "service-accounts create" not in w], words
    assert "canary" not in {call.program for call in alone.calls()}
    for step in ("verify", "probe"):
        assert "NOT SEEN" in "".join(alone.said[step]), step
    titles = [
        json.loads(text)["displayName"] for c in alone.calls() for text in c.files.values() if "policies" in c.arguments
    ]
    assert titles
    assert all(title.startswith("phase2-canary: ") for title in titles)


def test_whose_orchestrator_it_is_has_to_be_said(deployment: Deployment) -> None:
    """A default would make a second one on the same topic, which hides the fault of the first."""
    assert deployment.run({"_NOTIFICATION_CHANNELS": CHANNEL}) == []
    assert "_ORCHESTRATOR is empty" in deployment.output


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_somebody_else_is_refused(deployment: Deployment, name: str) -> None:
    """By name, before anything is changed, whatever made it."""
    with deployment.made() as made:
        made[f"run services phase2-{name}"] = {"label": {"goog-managed-by": "cloudfunctions"}}
    assert changes(deployment.run(BARE)) == []
    assert refusals(deployment) == [
        f"a free name: the function phase2-{name} is there, and this project has not made it"
    ]


def test_another_orchestrator_on_the_topic_is_refused(deployment: Deployment) -> None:
    """Each subscription that pushes from it is named, until somebody says that it is none."""
    with deployment.made() as made:
        made["pubsub subscriptions eventarc-7"] = {
            "topic": "nba-phase2-raw-complete",
            "push-endpoint": "https://theirs",
        }
        made["pubsub subscriptions elsewhere"] = {"topic": "other", "push-endpoint": "https://theirs"}
    assert changes(deployment.run(BARE)) == []
    (refused,) = refusals(deployment)
    assert refused.startswith("a word about eventarc-7, which pushes from nba-phase2-raw-complete too")
    deployment.run({**BARE, "_OTHER_SUBSCRIPTIONS": "nba-phase3-analytics-sub eventarc-7"})
    assert deployment.failed is None, deployment.output


def refusals(deployment: Deployment) -> list[str]:
    """Return what the preflight lacks; each has a command or a word of help."""
    assert deployment.failed == "preflight"
    found = re.findall(r"^MISSING: (.*)\n  \S", deployment.output, re.MULTILINE)
    assert len(found) == deployment.output.count("MISSING: ")
    return found


def test_an_empty_project_is_enough(tmp_path: Path) -> None:
    """Without the owner's part everything is named at once and nothing is changed; after it, nothing is missing."""
    empty = new_deployment(tmp_path, None, OF_THE_OWNER)
    assert changes(empty.run(EVERYTHING)) == []
    kinds = {" ".join(one.split()[:2]) for one in refusals(empty)}
    assert kinds == {
        *("the service", "the account", "the role", "a Firestore", "the dataset", "the table"),
        "own.toml, as",
    }
    assert {one.split()[2] for one in refusals(empty) if one.startswith("the service")} >= {"run", "firestore"}
    empty.bootstrap(EVERYTHING)
    empty.run(EVERYTHING)
    assert empty.failed is None, empty.output


def test_tables_may_name_their_project(tmp_path: Path) -> None:
    """As in the phases file, so for bq, for the rights, and for Pub/Sub."""
    named = new_deployment(tmp_path, None, OF_THE_OWNER)
    named.change(EVERYTHING["_PHASES_FILE"], '"nba_orchestration.', '"proj.nba_orchestration.')
    named.bootstrap(EVERYTHING)
    calls = named.run(EVERYTHING)
    assert named.failed is None, named.output
    assert [c.flag("bigquery-table") for c in calls if c.flag("bigquery-table")] == [
        "proj.nba_orchestration.phase_messages"
    ]


GONE = {
    "a Firestore database (default) in native mode: it is DATASTORE_MODE; _FIRESTORE_DATABASE may name another": (
        "firestore databases (default)"
    ),
    "the dataset nba_orchestration": "bq nba_orchestration",
    "the table nba_orchestration.phase_completions": "bq nba_orchestration.phase_completions",
    "the account phase2-canary@proj.iam.gserviceaccount.com": "iam service-accounts phase2-canary",
}


@pytest.mark.parametrize("what", GONE)
def test_what_is_missing_is_named(deployment: Deployment, what: str) -> None:
    """That and nothing else, before anything is changed."""
    with deployment.made() as made:
        if "DATASTORE" in what:
            made[GONE[what]]["type"] = "datastore-mode"
        else:
            del made[GONE[what]]
    assert changes(deployment.run(BARE)) == []
    assert refusals(deployment) == [what]


def test_a_role_that_is_missing_is_named(deployment: Deployment) -> None:
    """Each that the bootstrap gives on the project, by itself."""
    with deployment.made() as made:
        on_project = [b for b in made["bindings"] if b[0] == "projects proj"]
        made["bindings"] = [b for b in made["bindings"] if b[0] != "projects proj"]
    deployment.run(BARE)
    assert refusals(deployment) == [
        f"the role {role.removeprefix('roles/')} of {member.removeprefix('serviceAccount:')}"
        for _, role, member in on_project
    ]
    assert len(on_project) >= 15


def test_a_service_that_is_off_is_named(deployment: Deployment) -> None:
    """With the command that switches it on."""
    with deployment.made() as made:
        made["services"].remove("cloudscheduler.googleapis.com")
    deployment.run(BARE)
    assert refusals(deployment) == ["the service cloudscheduler"]
    assert "\n  gcloud services enable cloudscheduler.googleapis.com\n" in deployment.output


def test_a_dataset_that_is_elsewhere_is_named(running: Deployment) -> None:
    """A query runs in one place only."""
    running.run({**EVERYTHING, "_BIGQUERY_LOCATION": "EU"})
    assert set(refusals(running)) == {
        f"the dataset {name} in EU: it is elsewhere" for name in ("nba_orchestration", "games")
    }


def test_secrets_that_are_missing_or_old_are_named(running: Deployment) -> None:
    """And a phases file that is not the one that is mounted, without reading it."""
    with running.made() as made:
        del made["secrets slack-webhook"]
    running.change("own.toml", "[phase2]", "[phase2]\n# changed")
    assert changes(running.run(EVERYTHING)) == []
    assert refusals(running) == [
        *("the secret slack-webhook", "own.toml, as it is here, in the secret phase2-canary-phases")
    ]
    with running.made() as made:
        made["secrets slack-webhook"] = {}
    again = running.bootstrap(EVERYTHING)
    assert [c.arguments[:3] for c in again if "add" in c.arguments] == [("secrets", "versions", "add")]
    running.run(EVERYTHING)
    assert running.failed is None, running.output


def test_the_bootstrap_refuses_a_substitution_that_there_is_not(deployment: Deployment) -> None:
    """A typing error would leave the default in place."""
    with pytest.raises(AssertionError, match=r"cloudbuild\.yaml has no substitution _REGIO"):
        deployment.bootstrap({**BARE, "_REGIO": "us-east1"})


def test_iam_is_given_time(tmp_path: Path) -> None:
    """A new account is not known everywhere at once: its binding is tried again."""
    slow = new_deployment(tmp_path, None)
    slow.answers["projects add-iam-policy-binding"] = None
    slow.bootstrap(BARE)
    tries = [str(c) for c in slow.calls() if c.arguments[:2] == ("projects", "add-iam-policy-binding")]
    assert tries[0] == tries[1]
    assert len({*tries}) == len(tries) - 1


def test_a_second_run_changes_nothing(running: Deployment) -> None:
    """But for new revisions of the functions: whatever is queued, open or being watched is not disturbed."""
    bindings = running.bootstrap(EVERYTHING)
    assert not [c for c in changes(bindings) if not re.search("iam-policy-binding| query | enable |identity", c)]
    before = running.state()
    again = running.run(EVERYTHING)
    assert running.failed is None, running.output
    assert running.state() == before
    changed = [c for c in changes(again) if "add-iam-policy-binding" not in c]
    assert [c.split()[:3] for c in changed] == [["gcloud", "run", "deploy"]] * 2


def test_a_third_run_changes_what_differs(running: Deployment) -> None:
    """Another topic: its own subscriptions; what is queued on the old one is neither moved nor thrown away."""
    before = running.state()
    calls = running.run({**EVERYTHING, "_TOPIC": "other"})
    assert running.failed is None, running.output
    names = {"other", "other-dead-letters", "other-to-phase2-orchestrator", "other-messages"}
    created = {c.arguments[3] for c in calls if c.arguments[0] == "pubsub" and "create" in c.arguments}
    assert created == names
    assert {k: v for k, v in running.state().items() if k in before and k.startswith("pubsub")} == {
        k: v for k, v in before.items() if k.startswith("pubsub")
    }
    assert "WARNING: nba-phase2-raw-complete-to-phase2-orchestrator still pushes" in running.output


def test_what_has_changed_is_updated(running: Deployment) -> None:
    """One of each kind, and only that."""
    change_everything(running)
    calls = running.run(EVERYTHING)
    assert running.failed is None, running.output
    updated = [c for c in calls if "update" in c.arguments]
    assert [c.step for c in updated] == ["metrics", "orchestrator", "canary", "monitoring", "monitoring"]
    # By its etag, so that what somebody else has changed meanwhile is not overwritten unseen.
    assert json.loads(updated[-1].files["config-from-file"])["etag"] == "abc"


def test_nobody_to_notify_is_refused_before_anything_is_changed(deployment: Deployment) -> None:
    """An alert that reaches nobody is no watch."""
    assert changes(deployment.run({**BARE, "_NOTIFICATION_CHANNELS": ""})) == []
    (refused,) = refusals(deployment)
    assert "nobody would learn that the canary is silent" in refused


KEPT = {"_SLACK_SECRET": "SLACK_WEBHOOK_URL", "_HEARTBEAT_SECRET": "HEARTBEAT_URL", "_PAGE_URL": "PAGE_URL"}


@pytest.mark.parametrize("substitution", KEPT)
def test_nothing_is_lost_by_not_being_named(running: Deployment, substitution: str) -> None:
    """A later build with the defaults would silence it; `none` says that this is meant."""
    assert changes(running.run({**EVERYTHING, substitution: ""})) == []
    assert refusals(running) == [f"{substitution}: phase2-canary has {KEPT[substitution]}, and would lose it"]


@pytest.mark.parametrize(("given", "deployed"), [("https://canary.example.com", True), ("none", False)])
def test_the_address_of_the_page_is_deployed(running: Deployment, given: str, deployed: bool) -> None:  # noqa: FBT001
    """Each deployment sets all variables anew: one that was given by hand would be gone with the next."""
    calls = running.run({**EVERYTHING, "_PAGE_URL": given})
    assert running.failed is None, running.output
    (canary_,) = (c for c in calls if c.step == "canary" and "deploy" in c.arguments)
    (variables,) = filter(None, [canary_.flag("set-env-vars")])
    assert [one for one in variables.split(",") if one.startswith("PAGE_URL=")] == [f"PAGE_URL={given}"] * deployed


def test_a_secret_is_taken_away_on_purpose(running: Deployment) -> None:
    """That one only."""
    calls = running.run({**EVERYTHING, "_SLACK_SECRET": "none"})
    assert running.failed is None, running.output
    (canary_,) = (c for c in calls if c.step == "canary" and "deploy" in c.arguments)
    secrets = "HEARTBEAT_URL=heartbeat:latest,/phases/phases.toml=phase2-canary-phases:latest"
    assert canary_.flag("set-secrets") == secrets


def test_what_secrets_there_are_has_to_be_known(running: Deployment) -> None:
    """A project that does not answer is not one without secrets."""
    running.answers["run services list"] = None
    assert changes(running.run({**EVERYTHING, "_SLACK_SECRET": ""})) == []
    assert running.failed == "preflight"


def test_the_channels_of_the_page_arrive(deployment: Deployment) -> None:
    """In --substitutions a comma is gcloud's, so the names stand between spaces."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (given,) = re.findall(r'^settings="(.*)"', text, re.MULTILINE)
    values = dict(one.split("=", 1) for one in given.split(","))
    calls = deployment.run(values)
    assert deployment.failed is None, deployment.output
    (policy, *_) = (json.loads(c.files["policy-from-file"]) for c in calls if "policy-from-file" in c.files)
    assert len(policy["notificationChannels"]) == 2
    assert all(re.fullmatch(r"projects/[\w-]+/notificationChannels/\d+", c) for c in policy["notificationChannels"])


def test_everything_off(deployment: Deployment) -> None:
    """No Slack, no message log, and nobody to notify, with a warning; an earlier deployment's secret is taken away."""
    calls = deployment.run({**BARE, "_NOTIFICATION_CHANNELS": "none"})
    assert deployment.failed is None, deployment.output
    assert "WARNING: _NOTIFICATION_CHANNELS=none" in deployment.output
    created = [json.loads(c.files["policy-from-file"]) for c in calls if "policy-from-file" in c.files]
    assert created
    assert not any(policy["notificationChannels"] for policy in created)
    assert not [c for c in calls if c.step == "message-log" or c.arguments[:1] == ("secrets",)]
    assert not [policy for policy in created if "messages" in policy["displayName"]]
    assert any("--clear-secrets" in c.arguments for c in calls)


def test_a_channel_that_is_off_is_refused(deployment: Deployment) -> None:
    """Before anything is changed."""
    deployment.answers["channels describe"] = "False"
    assert changes(deployment.run(BARE)) == []
    assert refusals(deployment) == [f"the notification channel {CHANNEL}, or it is off"]


PUSH = "nba-phase2-raw-complete-to-phase2-orchestrator"
BROKEN = {
    "phase2-orchestrator: its caller may invoke it": ("orchestrator.sh", 'may_invoke "$ORCH', 'true "$ORCH'),
    f"{PUSH} calls as the orchestrator's account": (
        "orchestrator.sh",
        '--push-auth-service-account="$ORCHESTRATOR_ACCOUNT"',
        "",
    ),
    f"{PUSH} waits as long as a delivery may take": ("orchestrator.sh", "--ack-deadline=600", "--ack-deadline=10"),
    "what it cannot take is kept": ("orchestrator.sh", '--dead-letter-topic="$DEAD_LETTERS"', ""),
    "phase2-canary: its caller may invoke it": ("canary.sh", "may_invoke", "true"),
    "its job calls as the scheduler": ("canary.sh", '--oidc-service-account-email="$SCHEDULER_ACCOUNT"', ""),
}


def test_a_deployment_that_forgets_something_fails(deployment: Deployment) -> None:
    """It says all that does not hold, and that the rest does."""
    for file, old, new in BROKEN.values():
        deployment.change(f"deploy/{file}", old, new)
    deployment.run(BARE)
    assert deployment.failed == "verify"
    assert complaints(deployment) == [*BROKEN]
    assert "ok: phase2-canary: its latest revision is ready" in deployment.output


def complaints(deployment: Deployment) -> list[str]:
    return re.findall(r"^FAILED: (.*?): expected", deployment.output, re.MULTILINE)


UNHEALTHY = {
    "phase2-orchestrator: its latest revision is ready": (
        "describe phase2-orchestrator --region=us-central1 --format=value(status.latestReadyRevisionName)",
        "revision-1",
    ),
    "phase2-canary: its latest revision is ready": (
        "describe phase2-canary --region=us-central1 --format=value(status.latest",
        "",
    ),
    "phase2-orchestrator: the public may not": (
        "get-iam-policy phase2-orchestrator",
        "serviceAccount:phase2-orchestrator@proj.iam.gserviceaccount.com\nallAuthenticatedUsers",
    ),
    f"{PUSH} is on": (f"subscriptions describe {PUSH} --format=value(state)", "RESOURCE_ERROR"),
    "phase2-canary: the public may not": ("get-iam-policy phase2-canary", "serviceAccount:somebody\nallUsers"),
    "phase2-canary: who calls is asked who they are": (
        "describe phase2-canary --region=us-central1 --format=value(metadata.annotations",
        "true",
    ),
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
    assert {*complaints(running)} == {
        *UNHEALTHY,
        *("phase2-canary: its caller may invoke it", "the run could read its sources"),
    }


def test_a_deployment_takes_the_traffic_back(running: Deployment) -> None:
    """After a rollback to an earlier revision the next deployment would else serve nothing."""
    with running.made() as made:
        for name in FUNCTIONS:
            made[f"run services phase2-{name}"]["pinned"] = True
    running.run(EVERYTHING, "verify")
    assert complaints(running) == [f"phase2-{name}: all traffic goes to the latest revision" for name in FUNCTIONS]
    running.run(EVERYTHING)
    assert running.failed is None, running.output


def test_a_policy_that_was_edited_is_named(running: Deployment) -> None:
    """The edit keeps the label, so the next deployment leaves it alone; the mending that is proposed works."""
    with running.made() as made:
        policies = {one["content"]["displayName"]: one["content"] for k, one in made.items() if " policies " in k}
        silenced, changed = policies["phase2-canary: a game date needs somebody"], policies[SILENT]
        silenced["notificationChannels"] = []
        changed["conditions"][0]["conditionThreshold"]["evaluationMissingData"] = "EVALUATION_MISSING_DATA_INACTIVE"
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


def test_gcloud_finds_what_the_preflight_asks_for(inside_gcloud: InsideGcloud, made: Deployment) -> None:
    """Its filters take no other service or subscription; its formats print what is compared."""
    code = (
        "import json, sys; from googlecloudsdk.core.resource import resource_printer as printer, resource_filter;"
        "chosen = resource_filter.Compile(sys.argv[1]).Evaluate;"
        "printer.Print([f for f in json.loads(sys.argv[3]) if chosen(f)], sys.argv[2])"
    )
    lists = [
        c
        for c in made.calls()
        if c.step in {"preflight", "orchestrator"} and "list" in c.arguments and c.flag("filter")
    ]
    services = [
        {
            "metadata": {"name": name, "labels": labels},
            "spec": {"template": {"spec": {"containers": [{"env": [{"name": "A"}, {"name": name}]}]}}},
        }
        for name, labels in {
            "phase2-canary": {"managed_by": "orchestrator-resilience"},
            "phase2-orchestrator": {"goog-managed-by": "cloudfunctions"},
            "phase2-canary-2": {},
        }.items()
    ]
    topic = "projects/proj/topics/nba-phase2-raw-complete"
    url = "https://phase2-orchestrator-abc.a.run.app"
    subscriptions = [
        {"name": f"projects/proj/subscriptions/{name}", "topic": of, "pushConfig": push}
        for name, of, push in (
            ("pulls", topic, {}),
            ("theirs", topic, {"pushEndpoint": "https://theirs"}),
            ("other", f"{topic}-2", {"pushEndpoint": url}),
        )
    ]
    printed = []
    for call in lists:
        items = services if call.arguments[0] == "run" else subscriptions
        done = inside_gcloud(code, call.flag("filter") or "", call.flag("format") or "", json.dumps(items))
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed == ["orchestrator-resilience", "nobody", "A;phase2-canary", "theirs", "other"]


def test_gcloud_prints_the_policy_as_it_is_compared(inside_gcloud: InsideGcloud, deployed: list[Call]) -> None:
    """A member and a role a line."""
    (call,) = (c for c in deployed if c.arguments[:2] == ("projects", "get-iam-policy"))
    code = (
        "import json, sys; from googlecloudsdk.core.resource import resource_printer as printer;"
        "printer.Print(json.loads(sys.argv[2]), sys.argv[1])"
    )
    flat = [{"bindings": {"members": "serviceAccount:a@b", "role": "roles/c"}}]  # what --flatten makes of it
    printed = inside_gcloud(code, call.flag("format") or "", json.dumps(flat))
    assert printed.stdout.strip() == "serviceAccount:a@b,roles/c", printed.stderr


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
    deployment.run(BARE)
    assert deployment.failed is None, deployment.output


def test_two_policies_of_one_name_are_not_guessed_between(running: Deployment) -> None:
    """The deployment says which name it is."""
    running.answers["policies list"] = "one\tabc\ntwo\tabc"
    running.run(EVERYTHING, "monitoring")
    assert running.failed == "monitoring"
    assert "there are several named 'phase2-canary: a game date needs somebody'" in running.output


def test_scripts_stop_at_the_first_failure() -> None:
    """Each says so itself, or by what it reads."""
    for script in (ROOT / "deploy").glob("*.sh"):
        text = script.read_text("utf-8")
        assert "\nset -euo pipefail\n" in text or "\nsource deploy/common.sh\n" in text, script


def test_variables_are_settings(deployed: list[Call]) -> None:
    """No function is given a variable that the code does not read."""
    text = "".join((ROOT / package / "settings.py").read_text("utf-8") for package in PACKAGES)
    for call in deployed:
        given = [call.flag("set-env-vars"), call.flag("set-secrets")]
        for name in (pair.partition("=")[0] for value in given if value for pair in value.split(",")):
            assert name.startswith("/") or f'"{name}"' in text
