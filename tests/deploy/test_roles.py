"""Each role is needed by a call, each call has its role, and docs/roles.md lists them all."""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from google.cloud import bigquery, firestore
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient  # type: ignore[import-untyped]

from tests.deploy.conftest import FUNCTIONS
from tests.deploy.transcripts import EVERYTHING, PACKAGES, ROOT, Call, recorded

# The clients' classes by the module that imports them; anything else of Google's there is nobody's
# client.
CLIENTS: dict[str, tuple[type, ...]] = {
    "google.cloud.bigquery": (bigquery.Client, bigquery.QueryJob),
    "google.cloud.firestore": (
        *(
            firestore.Client,
            firestore.DocumentReference,
            firestore.CollectionReference,
            firestore.WriteBatch,
        ),
    ),
    "google.cloud.logging_v2.services.logging_service_v2": (LoggingServiceV2Client,),
    "google.cloud.pubsub_v1": (PublisherClient, SubscriberClient),
}
NO_CLIENT = {
    *(
        "google.api_core",
        "google.auth",
        "google.cloud.firestore_v1.field_path",
        "google.cloud.logging_v2.types",
    ),
    "google.cloud.audit.audit_log_pb2",
    "google.protobuf",
    "google.cloud.firestore_v1.services.firestore.transports",
    "google.cloud.logging_v2.services.logging_service_v2.transports",
}

NOTHING = ("", "", ())
# The client's call → the permission that it needs, the role that has it, and who makes the call.
CALLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bigquery.insert_rows_json": (
        "bigquery.tables.updateData",
        "roles/bigquery.dataEditor",
        ("orchestrator",),
    ),
    # the store's, by the next
    "bigquery.query": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),
    "bigquery.query_and_wait": (
        "bigquery.tables.getData",
        "roles/bigquery.dataViewer",
        ("canary",),
    ),
    # of a job of its own
    "bigquery.get_job": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),
    # as above
    "bigquery.exception": ("bigquery.jobs.create", "roles/bigquery.jobUser", ("canary",)),
    # The canary asks too, and its role to read has it as well; so does `canary setup`, whose role
    # has more.
    "bigquery.get_table": ("bigquery.tables.get", "roles/bigquery.dataEditor", ("orchestrator",)),
    "bigquery.create_table": (
        "bigquery.tables.create",
        "roles/bigquery.dataEditor",
        ("resilience-deployer",),
    ),
    "bigquery.update_table": (
        "bigquery.tables.update",
        "roles/bigquery.dataEditor",
        ("resilience-deployer",),
    ),
    "bigquery.close": NOTHING,
    "firestore.get_all": ("datastore.entities.get", "roles/datastore.user", FUNCTIONS),
    "firestore.set": ("datastore.entities.update", "roles/datastore.user", FUNCTIONS),
    "firestore.update": ("datastore.entities.update", "roles/datastore.user", FUNCTIONS),
    "firestore.create": ("datastore.entities.create", "roles/datastore.user", FUNCTIONS),
    "firestore.commit": ("datastore.entities.update", "roles/datastore.user", FUNCTIONS),
    "firestore.batch": NOTHING,
    "firestore.collection": NOTHING,
    "firestore.document": NOTHING,
    "firestore.write_option": NOTHING,
    "firestore.close": NOTHING,
    "logging_service_v2.list_log_entries": (
        "logging.logEntries.list",
        "roles/logging.viewer",
        ("canary",),
    ),
    "pubsub_v1.publish": ("pubsub.topics.publish", "roles/pubsub.admin", ("resilience-deployer",)),
    "pubsub_v1.list_topic_subscriptions": (
        "pubsub.topics.attachSubscription",
        "roles/pubsub.admin",
        ("resilience-deployer",),
    ),
    "pubsub_v1.get_subscription": (
        "pubsub.subscriptions.get",
        "roles/pubsub.admin",
        ("resilience-deployer",),
    ),
}
# What happens without a call of the code: who, the role, and what for.
PLATFORM = {
    ("orchestrator", "roles/run.invoker"): "the pushes are made as this account",
    (
        "orchestrator",
        "roles/secretmanager.secretAccessor",
    ): "the instance starts with the phases file mounted",
    ("canary-scheduler", "roles/run.invoker"): "the job's calls are made as this account",
    (
        "canary",
        "roles/secretmanager.secretAccessor",
    ): "the instance starts with the secret in a variable",
    ("canary", "roles/pubsub.subscriber"): "it looks at the dead letters, over REST",
    ("Pub/Sub", "roles/pubsub.publisher"): "it puts dead letters aside",
    ("Pub/Sub", "roles/pubsub.subscriber"): "it acknowledges what it has put aside",
    ("Pub/Sub", "roles/bigquery.dataEditor"): "it writes the message log",
    ("Pub/Sub", "roles/pubsub.serviceAgent"): "it signs the deliveries",
}
# The page is the canary's code, which then only reads; and a canary with a database of its own
# reads the pipeline's.
READERS = {
    ("canary", "roles/datastore.viewer"): "firestore.get_all",
    ("page", "roles/datastore.viewer"): "firestore.get_all",
    ("page", "roles/bigquery.jobUser"): "bigquery.query",
    ("page", "roles/bigquery.dataViewer"): "bigquery.query_and_wait",
    ("page", "roles/logging.viewer"): "logging_service_v2.list_log_entries",
    # the instance starts with the phases file mounted
    ("page", "roles/secretmanager.secretAccessor"): "",
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
    "run deploy --build-service-account": (
        "artifactregistry.repositories.uploadArtifacts",
        "run.builder",
    ),
    "run services": ("run.services.setIamPolicy", "run.admin"),
    "scheduler jobs": ("cloudscheduler.jobs.update", "cloudscheduler.admin"),
    "monitoring policies": ("monitoring.alertPolicies.update", "monitoring.alertPolicyEditor"),
    "monitoring dashboards": ("monitoring.dashboards.update", "monitoring.dashboardEditor"),
    "canary setup": ("bigquery.tables.update", "bigquery.dataEditor"),
    # The probe publishes (pubsub.admin has that too), and looks for the answer.
    "canary probe": ("datastore.entities.get", "datastore.viewer"),
    # Not a command of a step: the build that runs them.
    "builds submit": ("logging.logEntries.create", "run.builder"),
}


class Grant(NamedTuple):
    """Who has which role on what."""

    who: str
    role: str
    on: str


METHODS = {
    module: {name for client in classes for name in dir(client) if not name.startswith("_")}
    for module, classes in CLIENTS.items()
}


def client_calls(folder: Path) -> set[str]:
    """Return each call of a client in the packages of a folder, as "bigquery.query"."""
    paths = [path for package in PACKAGES for path in (folder / package).rglob("*.py")]
    return {call for path in paths for call in _calls_of(path.read_text("utf-8"))}


@cache
def _calls_of(module: str) -> set[str]:
    nodes = [*ast.walk(ast.parse(module))]
    called = {
        node.func.attr
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    clients = {name for node in nodes for name in _google_imports(node)} & CLIENTS.keys()
    return {
        f"{client.rpartition('.')[2]}.{method}"
        for client in clients
        for method in called & METHODS[client]
    }


def _google_imports(node: ast.AST) -> set[str]:
    """Return the modules of Google's that are imported.

    One that nobody has classified is an error.
    """
    match node:
        case ast.Import(names=names):
            modules = {alias.name for alias in names}
        case ast.ImportFrom(module="google.cloud", names=names):
            modules = {f"google.cloud.{alias.name}" for alias in names}
        case ast.ImportFrom(module=str(module)):
            modules = {module}
        case _:
            modules = set()
    google = {module for module in modules if module.partition(".")[0] == "google"}
    unknown = {
        m
        for m in google - CLIENTS.keys() - NO_CLIENT
        if ".".join(m.split(".")[:2]) not in NO_CLIENT
    }
    assert not unknown, f"say in CLIENTS or NO_CLIENT what these are: {unknown}"
    return google


def granted(calls: Iterable[Call]) -> set[Grant]:
    """Return what the commands grant, by short names."""
    found = set()
    for call in calls:
        if "add-iam-policy-binding" in call.words:
            kind = call.words[call.words.index("add-iam-policy-binding") - 1].removesuffix("s")
            kind = "database" if "databases" in call.flag("condition") else kind
            found.add(Grant(_short(call.flag("member")), call.flag("role"), kind))
        for role, kind, member in re.findall(r'GRANT `(.+?)` ON (\w+) `.+?` TO "(.+?)"', str(call)):
            found.add(Grant(_short(member), role, "dataset" if kind == "SCHEMA" else "table"))
    return found


def _short(member: str) -> str:
    name = member.removeprefix("serviceAccount:").partition("@")[0]
    return "Pub/Sub" if name.startswith("service-") else name.removeprefix("phase2-")


def test_every_client_call_is_known() -> None:
    """A new one has to say which permission it needs; one that is gone takes its entry along."""
    assert client_calls(ROOT) == CALLS.keys()


def test_who_makes_a_call_has_its_code(staged: Mapping[str, Path]) -> None:
    """A function is said to make no call that is not in what is staged for it."""
    for name, folder in staged.items():
        assert {call for call, (*_, callers) in CALLS.items() if name in callers} <= client_calls(
            folder
        )
    elsewhere = {*CALLS}.difference(*map(client_calls, staged.values()))
    assert {call.partition(".")[0] for call in elsewhere} == {"pubsub_v1"}


BOOTSTRAPPED = [call for call in recorded("empty_project") if call.step == "bootstrap"]
DEPLOYED = [call for call in recorded("empty_project") if call.step != "bootstrap"]
GRANTS = {
    grant for grant in granted([*BOOTSTRAPPED, *DEPLOYED]) if grant.who != "resilience-deployer"
}
OF_DEPLOYER = {grant for grant in granted(BOOTSTRAPPED) if grant.who == "resilience-deployer"}
DEPLOYERS_ROLES = {grant.role.removeprefix("roles/") for grant in OF_DEPLOYER}


def test_roles_and_calls_agree() -> None:
    """No call without its role, no role without a call that needs it."""
    needed = {
        (who, role)
        for _, role, callers in CALLS.values()
        for who in callers
        if who != "resilience-deployer"
    }
    assert {
        (grant.who, grant.role) for grant in GRANTS
    } == needed | PLATFORM.keys() | READERS.keys()
    assert {call for call in READERS.values() if call} <= CALLS.keys()


def test_no_role_is_a_wide_one() -> None:
    """On the project only what cannot be granted on less."""
    assert {grant.role for grant in GRANTS if grant.on == "project"} == {
        *(
            "roles/bigquery.jobUser",
            "roles/datastore.user",
            "roles/datastore.viewer",
            "roles/logging.viewer",
        ),
        "roles/pubsub.serviceAgent",
    }
    # Where it has a database of its own, the canary writes nothing else, and the page nothing at
    # all.
    writes = {(grant.who, grant.on) for grant in GRANTS if grant.role == "roles/datastore.user"}
    assert writes == {("orchestrator", "project"), ("canary", "database")}
    assert not [
        grant for grant in GRANTS if re.search(r"roles/(owner|editor|viewer)|[aA]dmin", grant.role)
    ]


def test_the_deployers_roles_and_its_commands_agree() -> None:
    """Each command of the deployment is in the table, and each role is needed by a command."""
    seen = {"builds submit"}
    for call in DEPLOYED:
        command = " ".join(word for word in call.words if not word.startswith("--")).removeprefix(
            "gcloud "
        )
        known = [name for name in COMMANDS if command.startswith(name)]
        assert known, f"which permission does {call} need?"
        flags = [
            f"{name} --{flag}"
            for name in known
            for flag in ("service-account", "build-service-account")
        ]
        seen |= {*known, *(name for name in flags if name in COMMANDS)}
    assert seen == set(COMMANDS)
    assert {role for _, role in COMMANDS.values()} == DEPLOYERS_ROLES
    assert {role for _, role, who in CALLS.values() if who == ("resilience-deployer",)} <= {
        f"roles/{role}" for role in DEPLOYERS_ROLES
    }


def test_the_deployer_cannot_make_itself_more() -> None:
    """It makes no account, grants nothing on the project, reads no secret, is no other account."""
    forbidden = (
        r"projectIamAdmin|securityAdmin|secretAccessor"
        r"|serviceAccount(Creator|Admin|KeyAdmin|TokenCreator)"
    )
    assert not [
        grant
        for grant in OF_DEPLOYER
        if re.search(forbidden + r"|secretmanager\.admin|roles/(owner|editor)", grant.role)
    ]
    assert {grant.on for grant in OF_DEPLOYER if grant.role == "roles/iam.serviceAccountUser"} == {
        "service-account"
    }
    assert {
        grant.on for grant in OF_DEPLOYER if re.match(r"roles/(bigquery|secretmanager)", grant.role)
    } == {
        "dataset",
        "secret",
    }
    written = {c.words[-1].split("`")[3] for c in BOOTSTRAPPED if "dataEditor` ON SCHEMA" in str(c)}
    assert written == {"nba_orchestration"}
    as_whom = {c.flag("service-account") for c in DEPLOYED if c.flag("service-account")}
    assert as_whom == {
        f"phase2-{name}@proj.iam.gserviceaccount.com" for name in (*FUNCTIONS, "page")
    }
    assert {grant.on for grant in granted(DEPLOYED)} == {"service", "topic", "subscription"}


def test_the_page_lists_exactly_these_roles() -> None:
    """Who, which role, on what; a reason stands beside each."""
    text = (ROOT / "docs" / "roles.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (\S+) \| `(roles/[\w.]+)` \| (?:the |its own )?(\w+?)s?\b.*? \| (.+) \|$",
        text,
        re.MULTILINE,
    )
    assert {Grant(who, role, on) for who, role, on, _ in rows} == GRANTS
    assert all(reason.strip() for *_, reason in rows)
    deployer = re.search(r"^The account that deploys, .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert deployer
    assert {*re.findall(r"`([\w.]+)`", deployer[0])} >= DEPLOYERS_ROLES


def test_everything_is_on_in_what_is_looked_at() -> None:
    """Else a role could be overlooked."""
    assert all(EVERYTHING.values())
    assert (ROOT / "deploy" / "message_log.sql").read_text("utf-8").count("GRANT") == 1
