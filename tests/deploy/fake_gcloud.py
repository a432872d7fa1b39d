"""A fake gcloud and bq: it records each call, remembers what was made, and answers from that.

A folder is its state. calls.jsonl has the calls, made.json what there is by now. answers.json has answers that a test
prescribes, by a part of the command: null lets the first such command fail. A deployment makes a hundred calls, and
starting Python for each would take long: the programs on the PATH are bash scripts that ask the test's own process.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread
from typing import Any

SUBSCRIPTION = "projects/proj/subscriptions/eventarc-of-orchestrator"
# The request is the number of its fields, then the fields, each ended by a NUL. The answer's first line is the exit
# status, the rest is printed.
PROGRAM = r"""#!/usr/bin/env bash
if [[ -p /dev/stdin ]]; then input=$(cat); fi
exec 3<>"/dev/tcp/127.0.0.1/$FAKE_GCLOUD"
printf '%s\0' "$(($# + 4))" "$STEP" "$PWD" "$input" "${0##*/}" "$@" >&3
read -r status <&3 || exit 70
cat <&3
exit "$status"
"""


@contextmanager
def answering(state: Path) -> Iterator[int]:
    """Answer calls by the state in a folder until the block ends; yields the port, for $FAKE_GCLOUD."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            step, folder, stdin, program, *arguments = self._fields()
            status, printed = _answer(state, step, Path(folder), stdin, [program, *arguments])
            self.wfile.write(f"{status}\n{printed}".encode())

        def _fields(self) -> list[str]:
            received = b""
            while received.count(b"\0") <= int(received.partition(b"\0")[0] or 1):
                received += self.request.recv(65536) or _gone()
            return received.decode().split("\0")[1:-1]

    # One call after another, as the steps make them, so that the state has one writer.
    with TCPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _gone() -> bytes:
    raise ConnectionError("the program ended in the middle of its call")


def _answer(state: Path, step: str, folder: Path, stdin: str, command: list[str]) -> tuple[int, str]:
    """Record and answer one call; returns its exit status and what it prints."""
    program, *arguments = command
    flags = dict(a.removeprefix("--").partition("=")[::2] for a in arguments if a.startswith("--"))
    words = [a for a in arguments if not a.startswith("--")]
    files = {name: (folder / value).read_text("utf-8") for name, value in flags.items() if name.endswith("from-file")}
    stdin = stdin if program == "bq" and words == ["query"] else ""
    with (state / "calls.jsonl").open("a", encoding="utf-8") as calls:
        call = {"program": program, "arguments": arguments, "files": files, "stdin": stdin, "step": step}
        call["uploaded"] = sorted(files_of(folder / flags["source"])) if "source" in flags else []
        calls.write(json.dumps(call) + "\n")
    answers = json.loads((state / "answers.json").read_text("utf-8"))
    for part, answer in answers.items():
        if part in " ".join(command):
            if answer is None:
                del answers[part]
                (state / "answers.json").write_text(json.dumps(answers), "utf-8")
                return 1, ""
            return 0, f"{answer}\n"
    if program != "gcloud":
        return 0, ""
    made = json.loads((state / "made.json").read_text("utf-8"))
    status, answer = _gcloud(words, flags, files, made)
    (state / "made.json").write_text(json.dumps(made), "utf-8")
    return status, f"{answer}\n"


def files_of(folder: Path) -> set[str]:
    """Return the paths of a folder's files, from the folder on."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _gcloud(words: list[str], flags: dict[str, str], files: dict[str, str], made: dict[str, Any]) -> tuple[int, str]:
    group, verb, name = _parts(words)
    key = f"{group} {name}"
    match verb:
        case "list":
            return 0, _listed(group, flags, made)
        case "describe":
            return _described(group, key, flags.get("format", ""), made)
        case "get-iam-policy":
            wanted = flags["filter"].removeprefix("bindings.role=")
            bound = [member for of, role, member in made.get("bindings", []) if (of, role) == (key, wanted)]
            return 0, "\n".join(bound)
        case "read":
            line = "QUIET\tCANARY_RUN: phase2 2026-02-09 IDLE, phase2 2026-02-10 WAITING"
            return 0, line if made.get("ran") else ""
        case _:
            content = json.loads(next(iter(files.values()), "null"))
            return _changed(verb, key, {**flags, "content": content}, made)


def _changed(verb: str, key: str, new: dict[str, Any], made: dict[str, Any]) -> tuple[int, str]:
    match verb:
        case "add-iam-policy-binding" | "remove-iam-policy-binding":
            binding = [key, new["role"], new["member"]]
            others = [b for b in made.get("bindings", []) if b != binding]
            made["bindings"] = [*others, *([binding] if verb.startswith("add") else [])]
        case "create" if key in made:
            return 1, "ALREADY_EXISTS"
        case "create":
            made[f"{key}/{len(made)}" if key.endswith(" ") else key] = new  # what has no name is given one
        case "deploy":
            pinned = made.get(key, {}).get("pinned", False) and "serve-all-traffic-latest-revision" not in new
            made[key] = {**new, "pinned": pinned}
            if "trigger-topic" in new:
                made.setdefault(f"pubsub subscriptions {SUBSCRIPTION}", {})
        case "update" if key not in made:
            return 1, "NOT_FOUND"
        case "update":
            made[key].update(new)
        case "run":
            made["ran"] = key in made
        case _:
            return 2, f"the fake gcloud does not know what {verb} does to {key}"
    return 0, ""


def _parts(words: list[str]) -> tuple[str, str, str]:
    words = words[1:] if words[0] in {"alpha", "beta"} else words
    if words[:2] == ["scheduler", "jobs"] and words[3:4] == ["http"]:
        words = [*words[:3], *words[4:]]
    depth = 1 if words[0] in {"functions", "projects", "secrets", "logging"} and words[1] != "metrics" else 2
    name = words[depth + 1] if len(words) > depth + 1 else ""
    if words[0] == "iam":
        name = name.partition("@")[0]  # made by its id, and known by its address
    return " ".join(words[:depth]), words[depth], name


def _listed(group: str, flags: dict[str, str], made: dict[str, Any]) -> str:
    if group == "functions":
        name = flags["filter"].removeprefix("name~/functions/").removesuffix("$")
        secrets = made.get(f"functions {name}", {}).get("set-secrets", "")
        return ";".join(secret.partition("=")[0] for secret in secrets.split(","))
    title = flags["filter"].split('"')[1]
    if flags["format"] == "json":
        found = {k: one["content"] for k, one in made.items() if k.startswith(f"{group} ")}
        policies = [{**one, "name": name} for name, one in found.items() if one["displayName"] == title]
        return json.dumps(policies, indent=2, sort_keys=True)
    lines = []
    for key, one in made.items():
        if key.startswith(f"{group} ") and one["content"]["displayName"] == title:
            labels = one["content"].get("userLabels") or one["content"]["labels"]
            fields = {
                "name": key.removeprefix(f"{group} "),
                "userLabels.content": labels["content"],
                "labels.content": labels["content"],
                "etag": "abc",
                "enabled": str(one["content"].get("enabled")),
            }
            wanted = flags["format"].removeprefix("value(").removesuffix(")").split(",")
            lines.append("\t".join(fields[field] for field in wanted))
    return "\n".join(lines)


def _described(group: str, key: str, wanted: str, made: dict[str, Any]) -> tuple[int, str]:
    if group == "monitoring channels":
        return 0, "True"
    if group == "projects":
        return 0, "123456"
    if group == "eventarc triggers":
        return 0, SUBSCRIPTION
    if key not in made:
        return 1, "NOT_FOUND"
    one = made[key]
    fields = {
        "state": "ENABLED" if group == "scheduler jobs" else "ACTIVE",
        "topic": f"projects/proj/topics/{one.get('topic')}",
        "deadLetterPolicy.deadLetterTopic": f"projects/proj/topics/{one.get('dead-letter-topic')}",
        "bigqueryConfig.state": "ACTIVE",
        "serviceConfig.allTrafficOnLatestRevision": str(not one.get("pinned", False)),
        "serviceConfig.uri": "https://canary-abc.a.run.app",
        "eventTrigger.trigger": "projects/proj/locations/us-central1/triggers/phase2-orchestrator-123",
        "eventTrigger.pubsubTopic": f"projects/proj/topics/{one.get('trigger-topic')}",
        "eventTrigger.retryPolicy": "RETRY_POLICY_RETRY" if "retry" in one else "RETRY_POLICY_DO_NOT_RETRY",
        "eventTrigger.serviceAccountEmail": one.get("trigger-service-account", "default@developer"),
        "httpTarget.oidcToken.serviceAccountEmail": one.get("oidc-service-account-email", ""),
        "httpTarget.oidcToken.audience": one.get("oidc-token-audience", ""),
        "none": "",
    }
    return 0, fields[wanted.removeprefix("value(").removesuffix(")")]
