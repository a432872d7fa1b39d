"""Every role that is granted is needed by a call, every call has its role, and docs/deploy.md lists them all."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from google.cloud import bigquery, firestore
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from tests.deploy.conftest import EVERYTHING, FUNCTIONS, PACKAGES, ROOT, Call

# The clients' classes by the module that imports them; anything else of Google's there is nobody's client.
CLIENTS: dict[str, tuple[type, ...]] = {
    "google.cloud.bigquery": (bigquery.Client, bigquery.QueryJob),
    "google.cloud.firestore": (firestore.Client, firestore.DocumentReference, firestore.CollectionReference),
    "google.cloud.logging_v2.services.logging_service_v2": (LoggingServiceV2Client,),
    "google.cloud.pubsub_v1": (PublisherClient, SubscriberClient),
}
NO_CLIENT = {
    *("google.api_core", "google.auth", "google.cloud.firestore_v1.field_path", "google.cloud.logging_v2.types"),
    "google.cloud.firestore_v1.services.firestore.transports",
    "google.cloud.logging_v2.services.logging_service_v2.transports",
}

NOTHING = ("", "", ())
# The client's call → the permission that it needs, the role that has it, and who makes the call.
CALLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bigquery.insert_rows_json": ("bigquery.tables.updateData", "roles/bigquery.dataEditor", ("orchestrator",)),
    "bigquery.query": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),  # the store's, by the next
    "bigquery.query_and_wait": ("bigquery.tables.getData", "roles/bigquery.dataViewer", ("canary",)),
    "bigquery.get_job": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),  # of a job of its own
    "bigquery.exception": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),  # as above
    # The canary asks too, and its role to read has it as well; so does `canary setup`, whose role has more.
    "bigquery.get_table": ("bigquery.tables.get", "roles/bigquery.dataEditor", ("orchestrator",)),
    "bigquery.create_table": ("bigquery.tables.create", "roles/bigquery.dataEditor", ("resilience-deployer",)),
    "bigquery.update_table": ("bigquery.tables.update", "roles/bigquery.dataEditor", ("resilience-deployer",)),
    "bigquery.close": NOTHING,
    "firestore.get_all": ("datastore.entities.get", "roles/datastore.user", FUNCTIONS),
    "firestore.set": ("datastore.entities.update", "roles/datastore.user", FUNCTIONS),
    "firestore.update": ("datastore.entities.update", "roles/datastore.user", FUNCTIONS),
    "firestore.create": ("datastore.entities.create", "roles/datastore.user", FUNCTIONS),
    "firestore.collection": NOTHING,
    "firestore.document": NOTHING,
    "firestore.write_option": NOTHING,
    "firestore.close": NOTHING,
    "logging_service_v2.list_log_entries": ("logging.logEntries.list", "roles/logging.viewer", ("canary",)),
    "pubsub_v1.publish": ("pubsub.topics.publish", "roles/pubsub.admin", ("resilience-deployer",)),
    "pubsub_v1.list_topic_subscriptions": (
        "pubsub.topics.attachSubscription",
        "roles/pubsub.admin",
        ("resilience-deployer",),
    ),
    "pubsub_v1.get_subscription": ("pubsub.subscriptions.get", "roles/pubsub.admin", ("resilience-deployer",)),
}
# What happens without a call of the code: who, the role, and what for.
PLATFORM = {
    ("orchestrator", "roles/run.invoker"): "the pushes are made as this account",
    ("orchestrator", "roles/secretmanager.secretAccessor"): "the instance starts with the phases file mounted",
    ("canary-scheduler", "roles/run.invoker"): "the job's calls are made as this account",
    ("canary", "roles/secretmanager.secretAccessor"): "the instance starts with the secret in a variable",
    ("canary", "roles/pubsub.subscriber"): "it looks at the dead letters, over REST",
    ("Pub/Sub", "roles/pubsub.publisher"): "it puts dead letters aside",
    ("Pub/Sub", "roles/pubsub.subscriber"): "it acknowledges what it has put aside",
    ("Pub/Sub", "roles/bigquery.dataEditor"): "it writes the message log",
    ("Pub/Sub", "roles/pubsub.serviceAgent"): "it signs the deliveries",
}
# A command of the deployment → the permission and the role of the account that deploys.
COMMANDS = {
    "beta monitoring channels describe": (
        "monitoring.notificationChannels.get",
        "monitoring.notificationChannelViewer",
    ),
    "services list": ("serviceusage.services.list", "serviceusage.serviceUsageConsumer"),
    "iam service-accounts describe": ("iam.serviceAccounts.get", "iam.serviceAccountUser"),
    "projects get-iam-policy": ("resourcemanager.projects.getIamPolicy", "browser"),
    "firestore databases describe": ("datastore.databases.getMetadata", "datastore.viewer"),
    "secrets describe": ("secretmanager.secrets.get", "secretmanager.viewer"),
    "bq show": ("bigquery.datasets.get", "bigquery.metadataViewer"),
    "logging metrics": ("logging.logMetrics.update", "logging.configWriter"),
    "logging read": ("logging.logEntries.list", "logging.viewer"),
    "pubsub topics": ("pubsub.topics.setIamPolicy", "pubsub.admin"),
    "pubsub subscriptions": ("pubsub.subscriptions.setIamPolicy", "pubsub.admin"),
    "run deploy": ("run.builds.create", "run.sourceDeveloper"),
    "run deploy --service-account": ("iam.serviceAccounts.actAs", "iam.serviceAccountUser"),
    "run deploy --build-service-account": ("artifactregistry.repositories.uploadArtifacts", "run.builder"),
    "run services": ("run.services.setIamPolicy", "run.admin"),
    "scheduler jobs": ("cloudscheduler.jobs.update", "cloudscheduler.admin"),
    "monitoring policies": ("monitoring.alertPolicies.update", "monitoring.alertPolicyEditor"),
    "monitoring dashboards": ("monitoring.dashboards.update", "monitoring.dashboardEditor"),
    "canary setup": ("bigquery.tables.update", "bigquery.dataEditor"),
    # The probe publishes (pubsub.admin has that too), and looks for the answer.
    "canary probe": ("datastore.entities.get", "datastore.viewer"),
    # Not a command of a step: the build that runs them.
    "builds submit": ("logging.logEntries.create", "cloudbuild.builds.builder"),
}


class Grant(NamedTuple):
    """Who has which role on what."""

    who: str
    role: str
    on: str


def client_calls(folder: Path) -> Iterator[str]:
    """Yield each call of a client in those of the packages that a folder has, as "bigquery.query"."""
    for path in sorted(path for package in PACKAGES for path in (folder / package).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        methods = {
            name: module.rpartition(".")[2]
            for module in _google_imports(tree)
            for class_ in CLIENTS[module]
            for name, _ in inspect.getmembers(class_, callable)
            if not name.startswith("_")
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                yield f"{methods[node.func.attr]}.{node.func.attr}"


def _google_imports(tree: ast.AST) -> set[str]:
    """Return the imported modules that have clients; one that nobody has classified is an error."""
    modules = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules |= {alias.name for alias in names}
            case ast.ImportFrom(module="google.cloud", names=names):
                modules |= {f"google.cloud.{alias.name}" for alias in names}
            case ast.ImportFrom(module=str(module)):
                modules.add(module)
            case _:
                pass
    google = {m for m in modules if m.partition(".")[0] == "google" and m not in CLIENTS}
    unknown = {m for m in google if m not in NO_CLIENT and ".".join(m.split(".")[:2]) not in NO_CLIENT}
    assert not unknown, f"say in CLIENTS or NO_CLIENT what these are: {unknown}"
    return modules & CLIENTS.keys()


def granted(calls: Iterable[Call]) -> set[Grant]:
    """Return what the commands grant, by short names."""
    found = set()
    for call in calls:
        if "add-iam-policy-binding" in call.arguments:
            at = call.arguments.index("add-iam-policy-binding")
            kind = call.arguments[at - 1].removesuffix("s")
            found.add(Grant(_short(call.flag("member") or ""), call.flag("role") or "", kind))
        for role, kind, member in re.findall(r'GRANT `(.+?)` ON (\w+) `.+?` TO "(.+?)"', f"{call} {call.stdin}"):
            found.add(Grant(_short(member), role, "dataset" if kind == "SCHEMA" else "table"))
    return found


def _short(member: str) -> str:
    name = member.removeprefix("serviceAccount:").partition("@")[0]
    return "Pub/Sub" if name.startswith("service-") else name.removeprefix("phase2-")


def needed() -> dict[tuple[str, str], list[str]]:
    """Return who needs which role, and the calls that need it."""
    found: dict[tuple[str, str], list[str]] = {(who, role): [why] for (who, role), why in PLATFORM.items()}
    for call in client_calls(ROOT):
        permission, role, callers = CALLS[call]
        for who in callers:
            found.setdefault((who, role), []).append(f"{call}: {permission}")
    return found


def test_every_client_call_is_known() -> None:
    """A new one has to say which permission it needs; one that is gone takes its entry along."""
    assert set(client_calls(ROOT)) == set(CALLS)


def test_who_makes_a_call_has_its_code(staged: Mapping[str, Path]) -> None:
    """A function is said to make no call that is not in what is staged for it."""
    for name, folder in staged.items():
        assert {call for call, (*_, callers) in CALLS.items() if name in callers} <= {*client_calls(folder)}
    elsewhere = {*CALLS}.difference(*map(client_calls, staged.values()))
    assert {call.partition(".")[0] for call in elsewhere} == {"pubsub_v1"}


@pytest.fixture(scope="session")
def grants(deployed: list[Call], bootstrapped: list[Call]) -> set[Grant]:
    return {grant for grant in granted([*bootstrapped, *deployed]) if grant.who != "resilience-deployer"}


@pytest.fixture(scope="session")
def of_deployer(bootstrapped: list[Call]) -> set[str]:
    return {grant.role.removeprefix("roles/") for grant in granted(bootstrapped) if grant.who == "resilience-deployer"}


def test_roles_and_calls_agree(grants: set[Grant]) -> None:
    """No call without its role, no role without a call that needs it."""
    wanted = {pair for pair in needed() if pair[0] != "resilience-deployer"}
    assert {(grant.who, grant.role) for grant in grants} == wanted


def test_no_role_is_a_wide_one(grants: set[Grant]) -> None:
    """On the project only what cannot be granted on less."""
    assert {grant.role for grant in grants if grant.on == "project"} == {
        *("roles/bigquery.jobUser", "roles/datastore.user", "roles/logging.viewer", "roles/pubsub.serviceAgent")
    }
    assert not [grant for grant in grants if re.search(r"roles/(owner|editor|viewer)|[aA]dmin", grant.role)]


def test_the_deployers_roles_and_its_commands_agree(deployed: list[Call], of_deployer: set[str]) -> None:
    """Each command of the deployment is in the table, and each of the roles is needed by a command."""
    seen = {"builds submit"}
    for call in deployed:
        command = " ".join(a for a in call.arguments if not a.startswith("--"))
        command = command if call.program == "gcloud" else f"{call.program} {command}"
        known = [name for name in COMMANDS if command.startswith(name)]
        assert known, f"which permission does {call} need?"
        flags = [f"{name} --{flag}" for name in known for flag in ("service-account", "build-service-account")]
        seen |= {*known, *(name for name in flags if name in COMMANDS)}
    assert seen == set(COMMANDS)
    assert of_deployer == {role for _, role in COMMANDS.values()}
    assert {role for _, role, who in CALLS.values() if who == ("resilience-deployer",)} <= {
        f"roles/{role}" for role in of_deployer
    }


def test_the_deployer_cannot_make_itself_more(bootstrapped: list[Call], deployed: list[Call]) -> None:
    """It makes no account, grants nothing on the project, reads no secret, and runs code as these accounts only."""
    own = {grant for grant in granted(bootstrapped) if grant.who == "resilience-deployer"}
    forbidden = r"projectIamAdmin|securityAdmin|serviceAccount(Creator|Admin|KeyAdmin|TokenCreator)|secretAccessor"
    assert not [
        grant for grant in own if re.search(forbidden + r"|secretmanager\.admin|roles/(owner|editor)", grant.role)
    ]
    assert {grant.on for grant in own if grant.role == "roles/iam.serviceAccountUser"} == {"service-account"}
    assert {grant.on for grant in own if re.match(r"roles/(bigquery|secretmanager)", grant.role)} == {
        "dataset",
        "secret",
    }
    written = {c.arguments[-1].split("`")[3] for c in bootstrapped if "dataEditor` ON SCHEMA" in str(c)}
    assert written == {"nba_orchestration"}
    as_whom = {c.flag("service-account") for c in deployed if c.flag("service-account")}
    assert as_whom == {f"phase2-{name}@proj.iam.gserviceaccount.com" for name in FUNCTIONS}
    assert {grant.on for grant in granted(deployed)} == {"service", "topic", "subscription"}


def test_the_page_lists_exactly_these_roles(grants: set[Grant], of_deployer: set[str]) -> None:
    """Who, which role, on what; a reason stands beside each."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (\S+) \| `(roles/[\w.]+)` \| (?:the |its own )?(\w+?)s?\b.*? \| (.+) \|$", text, re.MULTILINE
    )
    assert {Grant(who, role, on) for who, role, on, _ in rows} == grants
    assert all(reason.strip() for *_, reason in rows)
    deployer = re.search(r"^The account that deploys, .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert deployer
    assert {*re.findall(r"`([\w.]+)`", deployer[0])} >= of_deployer


def test_everything_is_on_in_what_is_looked_at() -> None:
    """Else a role could be overlooked."""
    assert all(EVERYTHING.values())
    assert (ROOT / "deploy" / "message_log.sql").read_text("utf-8").count("GRANT") == 1
