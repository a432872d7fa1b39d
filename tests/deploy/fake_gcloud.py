"""A fake gcloud and bq: it records each call, remembers what was made, and answers from that.

A folder is its state. calls.jsonl has the calls, made.json what there is by now. answers.json has answers that a test
prescribes, by a part of the command: null lets the first such command fail. A deployment makes a hundred calls, and
starting Python for each would take long: the programs on the PATH are bash scripts that ask the test's own process.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread
from typing import Any

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
    files = {name: (folder / value).read_text("utf-8") for name, value in flags.items() if name.endswith("-file")}
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
    if program == "canary":
        return 0, ""
    made = json.loads((state / "made.json").read_text("utf-8"))
    if program == "bq":
        status, answer = _bq(words, flags, f"{words[-1]} {stdin}", made)
    else:
        status, answer = _gcloud(words, flags, files, made)
    (state / "made.json").write_text(json.dumps(made), "utf-8")
    return status, f"{answer}\n"


def files_of(folder: Path) -> set[str]:
    """Return the paths of a folder's files, from the folder on."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _bq(words: list[str], flags: dict[str, str], sql: str, made: dict[str, Any]) -> tuple[int, str]:
    match words[0]:
        case "show":
            key = f"bq {words[1].removeprefix('proj:')}"
            return (0, json.dumps(made[key], separators=(",", ":"))) if key in made else (2, "Not found")
        case "mk":
            made[f"bq {words[1].removeprefix('proj:')}"] = {"location": flags.get("location", "US")}
        case _:
            made.update({f"bq {table}": {} for table in re.findall(r"TABLE IF NOT EXISTS `(?:proj\.)?(.+?)`", sql)})
            granted = re.findall(r'GRANT `(.+?)` ON \w+ `(.+?)` TO "(.+?)"', sql)
            made["bindings"] = [*made.get("bindings", []), *([f"bq {on}", role, who] for role, on, who in granted)]
    return 0, ""


def _gcloud(words: list[str], flags: dict[str, str], files: dict[str, str], made: dict[str, Any]) -> tuple[int, str]:
    group, verb, name = _parts(words)
    name = flags.get("database", name) if group == "firestore databases" else name
    key = f"{group} {name}"
    match verb:
        case "list":
            return 0, _listed(group, flags, made)
        case "describe":
            return _described(group, key, flags.get("format", ""), made)
        case "get-iam-policy":
            return 0, _policy(key, flags, made)
        case "read":
            line = "QUIET\tCANARY_RUN: phase2 2026-02-09 IDLE, phase2 2026-02-10 WAITING"
            return 0, line if made.get("ran") else ""
        case _:
            content = json.loads(next((text for flag, text in files.items() if flag != "data-file"), "null"))
            return _changed(verb, key, words, {**flags, "content": content}, made)


def _policy(key: str, flags: dict[str, str], made: dict[str, Any]) -> str:
    bound = [(role, member) for of, role, member in made.get("bindings", []) if of == key]
    if "filter" not in flags:
        return "\n".join(f"{member},{role}" for role, member in bound)
    return "\n".join(member for role, member in bound if role == flags["filter"].removeprefix("bindings.role="))


def _changed(verb: str, key: str, words: list[str], new: dict[str, Any], made: dict[str, Any]) -> tuple[int, str]:
    labels = dict(one.split("=") for one in (new.get("labels") or new.get("update-labels") or "").split(",") if one)
    match verb:
        case "add-iam-policy-binding":
            binding = [key, new["role"], new["member"]]
            made["bindings"] = [*(b for b in made.get("bindings", []) if b != binding), binding]
        case "create" if key in made and not key.endswith(" "):
            return 1, "ALREADY_EXISTS"
        case "create":
            made[f"{key}/{len(made)}" if key.endswith(" ") else key] = {**new, "label": labels}
        case "deploy":
            new = {flag: value for flag, value in new.items() if flag != "source"}
            made[key] = {**new, "label": labels, "pinned": made.get(key, {}).get("pinned", False)}
        case "enable":
            made["services"] = words[2:]
        case "add" | "identity":
            pass
        case _ if key in made:
            _change(verb, made[key], {**new, "label": {**made[key].get("label", {}), **labels}}, made)
        case _:
            return 1, f"NOT_FOUND, or the fake gcloud does not know what {verb} does to {key}"
    return 0, ""


def _change(verb: str, one: dict[str, Any], new: dict[str, Any], made: dict[str, Any]) -> None:
    match verb:
        case "update":
            one.update(new)
        case "update-traffic":
            one["pinned"] = "to-latest" not in new
        case "run":
            made["ran"] = True
        case _:
            raise NotImplementedError(verb)


def _parts(words: list[str]) -> tuple[str, str, str]:
    words = words[1:] if words[0] in {"alpha", "beta"} else words
    if words[:2] == ["scheduler", "jobs"] and words[3:4] == ["http"]:
        words = [*words[:3], *words[4:]]
    if words[:2] == ["run", "deploy"]:
        words = ["run", "services", *words[1:]]
    if words[:2] == ["secrets", "versions"]:
        words = ["secrets", *words[2:]]
    depth = 1 if words[0] in {"projects", "secrets", "services", "logging"} and words[1] != "metrics" else 2
    name = words[depth + 1] if len(words) > depth + 1 else ""
    if words[0] == "iam":
        name = name.partition("@")[0]  # made by its id, and known by its address
    return " ".join(words[:depth]), words[depth], name


def _listed(group: str, flags: dict[str, str], made: dict[str, Any]) -> str:
    match group:
        case "services":
            return "\n".join(made.get("services", []))
        case "run services":
            return _service(made.get(f"run services {flags['filter'].partition('=')[2]}"), flags["format"])
        case "pubsub subscriptions":
            return "\n".join(name for name, one in _of(group, made) if _pushes(one, flags["filter"]))
        case _:
            return _titled(group, flags, made)


def _titled(group: str, flags: dict[str, str], made: dict[str, Any]) -> str:
    title = flags["filter"].split('"')[1]
    if flags["format"] == "json":
        found = [{**one["content"], "name": name} for name, one in _of(group, made)]
        return json.dumps([one for one in found if one["displayName"] == title], indent=2, sort_keys=True)
    lines = []
    for name, one in _of(group, made):
        if one["content"]["displayName"] == title:
            label = (one["content"].get("userLabels") or one["content"]["labels"])["content"]
            fields = {"name": name, "userLabels.content": label, "labels.content": label, "etag": "abc"}
            fields["enabled"] = str(one["content"].get("enabled"))
            wanted = flags["format"].removeprefix("value(").removesuffix(")").split(",")
            lines.append("\t".join(fields[field] for field in wanted))
    return "\n".join(lines)


def _of(group: str, made: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(key.removeprefix(f"{group} "), one) for key, one in made.items() if key.startswith(f"{group} ")]


def _service(one: dict[str, Any] | None, wanted: str) -> str:
    if one is None:
        return ""
    if "labels" in wanted:
        return str(one.get("label", {}).get("managed_by", "nobody"))
    pairs = f"{one.get('set-env-vars', '')},{one.get('set-secrets', '')}"
    return ";".join(pair.partition("=")[0] for pair in pairs.split(","))


def _pushes(one: dict[str, Any], filter_: str) -> bool:
    topic = f"projects/proj/topics/{one.get('topic')}"
    if filter_.startswith("topic="):
        return "push-endpoint" in one and filter_.split(maxsplit=1)[0] == f"topic={topic}"
    endpoint, other = re.fullmatch(r"pushConfig.pushEndpoint=(\S+) AND -topic=(\S+)", filter_).groups()  # type: ignore[union-attr]
    return one.get("push-endpoint") == endpoint and topic != other


def _described(group: str, key: str, wanted: str, made: dict[str, Any]) -> tuple[int, str]:
    if group == "monitoring channels":
        return 0, "True"
    if group == "projects":
        return 0, "123456"
    if key not in made:
        return 1, "NOT_FOUND"
    one = made[key]
    fields = {
        "state": "ENABLED" if group == "scheduler jobs" else "ACTIVE",
        "type": one.get("type", "").upper().replace("-", "_"),
        "topic": f"projects/proj/topics/{one.get('topic')}",
        "description": one.get("description") or (one.get("content") or {}).get("description"),
        "labels.content": one.get("label", {}).get("content", ""),
        "ackDeadlineSeconds": one.get("ack-deadline"),
        "pushConfig.pushEndpoint": one.get("push-endpoint"),
        "pushConfig.oidcToken.serviceAccountEmail": one.get("push-auth-service-account", ""),
        "deadLetterPolicy.deadLetterTopic": f"projects/proj/topics/{one.get('dead-letter-topic')}",
        "bigqueryConfig.state": "ACTIVE",
        "status.url": f"https://{key.rsplit(maxsplit=1)[-1]}-abc.a.run.app",
        "status.latestCreatedRevisionName": "revision-2",
        "status.latestReadyRevisionName": "revision-2",
        "spec.traffic[0].latestRevision,spec.traffic[0].percent": "\t100" if one.get("pinned") else "True\t100",
        "httpTarget.oidcToken.serviceAccountEmail": one.get("oidc-service-account-email", ""),
        "httpTarget.oidcToken.audience": one.get("oidc-token-audience", ""),
        "metadata.annotations['run.googleapis.com/invoker-iam-disabled']": "",
        "none": "",
    }
    return 0, str(fields[wanted.removeprefix("value(").removesuffix(")")])
