"""Google's own word on the commands.

Its linter takes each, its filters and formats give what is compared.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.transcripts import ROOT, TRANSCRIPTS, recorded
from tests.docs.markdown import PAGES

InsideGcloud = Callable[..., Any]
WRONG = {
    "gcloud pubsub topics create",
    "gcloud run deploy f --retries",
    "gcloud alpha monitoring policy list",
}
# Left to itself the linter makes gcloud's tree of commands anew for each.
LINT = """
import sys
from googlecloudsdk import gcloud_main
cli = gcloud_main.CreateCLI([])
gcloud_main.CreateCLI = lambda _: cli
cli.Execute(["meta", "lint-gcloud-commands", f"--commands-file={sys.argv[1]}"])
"""
PRINT = """
import json, sys
from googlecloudsdk.core.resource import resource_filter, resource_printer
for filter, format, items in json.loads(sys.argv[1]):
    chosen = resource_filter.Compile(filter).Evaluate
    resource_printer.Print([item for item in items if chosen(item)], format)
    print("--", flush=True)
"""


@pytest.fixture(scope="module")
def inside_gcloud(gcloud: str) -> InsideGcloud:
    """Return what runs Python code with gcloud's own libraries: code, then its argument."""
    info = [gcloud, "info", "--format=value(installation.sdk_root,basic.python_location)"]
    root, python = (
        subprocess.run(info, capture_output=True, text=True, check=True).stdout.strip().split("\t")
    )

    def run(code: str, argument: str) -> str:
        environment = {"PYTHONPATH": f"{root}/lib:{root}/lib/third_party"}
        command = [python, "-c", code, argument]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def quoted(text: str) -> Iterator[str]:
    """Yield the commands of a text: those that begin a line of code, and those quoted whole."""
    unescaped = text.replace("\\n", "\n")
    blocks = "".join(
        re.findall(r"^ *```\w*\n(.*?)^ *```$", unescaped, re.DOTALL | re.MULTILINE)
    ).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines()]
    settings = dict(re.findall(r'^(\w+)="(.*)"$', unescaped, re.MULTILINE))
    for command in (*lines, *re.findall(r"`(gcloud [^`]+)`", unescaped)):
        if command.startswith("gcloud "):
            alone = command.split(" | ")[0].split("   #")[0]
            yield re.sub(
                r"\{(\w+)\}", r"\1", re.sub(r"\$(\w+)", lambda name: settings[name[1]], alone)
            )


def proposed(scripts: Iterable[Path]) -> Iterator[str]:
    """Yield the commands that the scripts print."""
    for script in scripts:
        for command in re.findall(
            r'^ +(?:echo )?"(gcloud .*)"(?: >&2)?$', script.read_text("utf-8"), re.MULTILINE
        ):
            yield command.replace(" $how", " --location=nam5 --type=firestore-native").replace(
                "$", ""
            )


def test_every_command_is_one_that_gcloud_takes(
    inside_gcloud: InsideGcloud, tmp_path: Path
) -> None:
    """Those of the transcripts, of the pages, of the policies' texts, and those that are proposed.

    Not a wrong one.
    """
    run = {
        str(call) for name in TRANSCRIPTS for call in recorded(name) if call.words[0] == "gcloud"
    }
    texts = [*PAGES, *(ROOT / "deploy" / "monitoring" / "policies").iterdir()]
    read = {command for text in texts for command in quoted(text.read_text("utf-8"))}
    printed = {*proposed((ROOT / "deploy").glob("*.sh"))}
    assert (len(run) > 100, len(read) >= 5, len(printed) >= 4) == (True, True, True)
    # Generally available since the end of 2025; an older gcloud knows the same command as alpha,
    # and each has that one.
    wanted = [
        re.sub("^gcloud monitoring pol", "gcloud alpha monitoring pol", c)
        for c in run | read | printed | WRONG
    ]
    file = tmp_path / "commands.json"
    file.write_text(
        json.dumps([{"command_string": command} for command in sorted(wanted)]), "utf-8"
    )
    answers = json.loads(inside_gcloud(LINT, str(file)))
    assert len(answers) == len(wanted), "a command was not looked at"
    assert {
        a["command_string"]: a["error_message"] for a in answers if not a["success"]
    }.keys() == WRONG


CANARY = "phase2-canary"
LOCATION = "cloud.googleapis.com/location"
OURS = {"managed_by": "orchestrator-resilience", "canary": CANARY, LOCATION: "us-central1"}
NAMES = {
    "phase2-canary": OURS,
    "phase2-orchestrator": {"goog-managed-by": "cloudfunctions"},
    "phase2-canary-2": {},
    "other": {**OURS, LOCATION: "us-east1"},
}
SERVICES = [{"metadata": {"name": name, "labels": labels}} for name, labels in NAMES.items()]
# What --flatten makes of two variables, the second of which is a secret.
VARIABLES = [
    {
        "metadata": {"name": "phase2-canary"},
        "spec": {"template": {"spec": {"containers": [{"env": variable}]}}},
    }
    for variable in (
        {"name": "PHASE", "value": "phase3"},
        {"name": "SLACK_WEBHOOK_URL", "valueFrom": {}},
    )
]
TOPIC = "projects/proj/topics/nba-phase2-raw-complete"
SUBSCRIPTIONS = [
    {
        "name": f"projects/proj/subscriptions/{name}",
        "topic": topic,
        "pushConfig": push,
        "labels": labels,
    }
    for name, topic, push, labels in (
        ("pulls", TOPIC, {}, {"canary": "phase2-canary-2"}),
        ("theirs", TOPIC, {"pushEndpoint": "https://theirs"}, {}),
        (
            "other",
            f"{TOPIC}-2",
            {"pushEndpoint": "https://phase2-orchestrator-abc.a.run.app"},
            {"canary": CANARY},
        ),
    )
]
# What --flatten makes of two bindings.
MEMBERS = [
    {"bindings": {"members": "serviceAccount:a@b", "role": "roles/c"}},
    {
        "bindings": {
            "members": "serviceAccount:a@b",
            "role": "roles/d",
            "condition": {"title": "canary"},
        }
    },
]
POLICIES = [
    json.loads(path.read_text("utf-8"))
    for path in (ROOT / "deploy" / "monitoring" / "policies").iterdir()
]
# The lists that a deployment asks for, in order, over these, print what the scripts compare.
LISTS = {"run": SERVICES, "pubsub": SUBSCRIPTIONS, "projects": MEMBERS}
PRINTED = [
    "serviceAccount:a@b,roles/c,\nserviceAccount:a@b,roles/d,canary",
    CANARY,
    "nobody",
    "phase2-canary,us-central1\nother,us-east1",
    "PHASE,phase3\nSLACK_WEBHOOK_URL,",
    *(
        "",
        "",
    ),  # the variables of an orchestrator that is not there, and how many instances it may have
    "nba-phase2-raw-complete-2",
    "theirs",
    "other",
]


def test_gcloud_finds_and_prints_what_is_compared(inside_gcloud: InsideGcloud) -> None:
    """Its filters take no other service or subscription.

    A policy has one field a line, quoted as in a file.
    """
    asked = [
        (
            call.flag("filter"),
            call.flag("format"),
            VARIABLES if "env" in call.flag("flatten") else LISTS[call.words[1]],
        )
        for call in recorded("ours")
        if call.step in {"preflight", "orchestrator"}
        and {"list", "get-iam-policy"} & {*call.words[:4]}
        and call.words[1] in LISTS
    ]
    printed = inside_gcloud(PRINT, json.dumps([*asked, ("", "json", POLICIES)])).split("--\n")
    assert [part.strip() for part in printed[:-1]] == [
        *PRINTED,
        json.dumps(POLICIES, indent=2, sort_keys=True),
    ]
