"""Runs the real steps of a deployment under bash, and writes down what they call and print.

ways.toml says what each deployment gives and how its project answers, gcloud.sh stands in place of
the programs, and `python -m tests.deploy.transcripts` writes all of recorded/ anew. There, a line
is a call, with a comment on what its file says and how it was answered, or something that was
printed, after a bar. Where a run is compared with another one, the lines that only this one has
begin with +, and those that only the other one has with -. In an account's name @… stands for the
project's domain.
"""

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("recorded")
PACKAGES = ("canary", "orchestrator_resilience")
WAYS = tomllib.loads(Path(__file__).with_name("ways.toml").read_text("utf-8"))
ANSWERS = WAYS["answers"]
EVERYTHING = WAYS["settings"]["everything"]
Edits = Sequence[Sequence[str]]
OWN_PHASES = """[phase2]
bigquery_table = "nba_orchestration.phase_completions"
message_table = "nba_orchestration.phase_messages"
"""


_DOMAIN = "@proj.iam.gserviceaccount.com"
_PROJECT = {"PROJECT_ID": "proj", "PROJECT_NUMBER": "123456"}
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\t": r"\t"})
_NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Call(NamedTuple):
    """A command of a step; what it reads follows <<<, `file` is the text that a flag names."""

    step: str
    words: tuple[str, ...]
    file: str = ""

    def __str__(self) -> str:
        pairs = (re.fullmatch(r"(--[\w-]+=|<<<$)?(.*)", word, re.DOTALL) for word in self.words)
        return " ".join(
            f"{pair[1] or ''}{shlex.quote(pair[2]) if pair[2] else ''}" for pair in pairs if pair
        )

    def flag(self, name: str) -> str:
        """Return the value of a flag, "" where it is not given."""
        return next(
            (word.partition("=")[2] for word in self.words if word.startswith(f"--{name}=")), ""
        )


class Step(NamedTuple):
    """What a step called, and that with its answers among what was printed: a line each."""

    name: str
    calls: list[Call]
    lines: list[str]
    failed: bool = False


def cloud_build(settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the build's steps with everything substituted.

    An unknown or unused substitution is an error, as there.
    """
    config = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text("utf-8"))
    template = Template(json.dumps(config["steps"]))
    assert settings.keys() <= config["substitutions"].keys() <= {*template.get_identifiers()}
    values = {
        name: json.dumps(value)[1:-1]
        for name, value in (_PROJECT | config["substitutions"] | dict(settings)).items()
    }
    steps: list[dict[str, Any]] = json.loads(template.substitute(values))
    return steps


def copy_checkout(folder: Path) -> None:
    """Copy what the deployment reads."""
    for name in ("deploy", *PACKAGES):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cloudbuild.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)


def perform(
    settings: Mapping[str, str],
    *tables: Mapping[str, str],
    before: Iterable[Call] = (),
    edits: Edits = (),
    steps: Collection[str] = (),
    arguments: Sequence[str] = (),
) -> list[Step]:
    """Run bootstrap.sh and the build, or some steps, until one fails, after the calls `before`.

    The tables of answers are looked at in order, then what is healthy, and last what the calls have
    made. `arguments` are further ones of what the owner runs: bootstrap.sh, or where `steps` say so
    remove.sh.
    """
    given = ",".join(f"{name}={value}" for name, value in settings.items())
    owners = [
        {"id": name, "entrypoint": "bash", "args": [f"deploy/{name}.sh", "proj", given, *arguments]}
        for name in ("bootstrap", "remove")
        if name in (steps or ["bootstrap"])
    ]
    calls, performed = [*before], list[Step]()
    fixed = [pair for table in (*tables, ANSWERS["healthy"]) for pair in table.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, edits)
        for step in (*owners, *cloud_build(settings)):
            if not steps or step["id"] in steps:
                performed.append(_run(folder, step, [*fixed, *echoes(calls)]))
                calls += performed[-1].calls
                if performed[-1].failed:
                    break
    return performed


def _prepare(folder: Path, edits: Edits) -> None:
    """Make a checkout, with what is run in place of the programs, and a temporary folder."""
    copy_checkout(folder)
    (folder / "own.toml").write_text(OWN_PHASES, "utf-8")
    for file, old, new in edits:
        text = (folder / file).read_text("utf-8")
        assert old in text, f"{file} has no {old!r}"
        (folder / file).write_text(text.replace(old, new), "utf-8")
    for directory in ("bin", "temporary", ".venv/bin"):
        (folder / directory).mkdir(parents=True)
    for program in ("bin/gcloud", "bin/bq", "bin/sleep", ".venv/bin/canary"):
        shutil.copy(Path(__file__).with_name("gcloud.sh"), folder / program)
        (folder / program).chmod(0o755)


def _run(folder: Path, step: Mapping[str, Any], answers: Iterable[tuple[str, str]]) -> Step:
    """Run a step, if it is one of bash's, and read its record."""
    command = [step["entrypoint"], *step["args"]]
    if command[0] != "bash":
        return Step(step["id"], [], [f"| {shlex.join(command)} is not run here"])
    table = [f"{pattern}\t{answer.translate(_ESCAPES)}\n" for pattern, answer in answers]
    (folder / "answers").write_text("".join(table), "utf-8")
    for name in ("record", "record.previous"):
        (folder / name).write_text("", "utf-8")
    environment = {
        **dict(pair.split("=", 1) for pair in step.get("env", ())),
        "PATH": f"{folder}/bin:{os.defpath}",
        "TMPDIR": f"{folder}/temporary",
        "STEP": step["id"],
        "RECORD": f"{folder}/record",
        "ANSWERS": f"{folder}/answers",
    }
    with (folder / "record").open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    assert not [*(folder / "temporary").glob("*/*")], "a temporary file was left"
    record = (folder / "record").read_text("utf-8")
    return _read(
        step["id"],
        re.sub(rf"{re.escape(str(folder))}/temporary/tmp\.\w+", "tmp", record),
        done.returncode,
    )


def _read(step: str, record: str, status: int) -> Step:
    """Read a record, whose every second part is a call."""
    calls, lines = [], list[str]()
    for position, part in enumerate(_NOW.sub("2026-02-10T07:15:00Z", record).split("\x1e")):
        if position % 2:
            answer, stdin, file, *words = part.split("\x1f")[:-1]
            sql = re.sub("^--.*", "", stdin, flags=re.MULTILINE)
            calls.append(
                Call(step, (*words, *(["<<<", " ".join(sql.split())] if stdin else [])), file)
            )
            lines.append(" ".join(f"{calls[-1]}{_note(calls[-1], answer)}".split()))
        else:
            lines += [f"| {line}" for line in part.splitlines()]
    return Step(step, calls, [*lines, *([f"| exit {status}"] if status else [])], bool(status))


def _note(call: Call, answer: str) -> str:
    """Return the comment on a call.

    What a reader wants to know of its file, and how it is answered.
    """
    notes = []
    if call.flag("source"):
        notes.append(" ".join(sorted({path.partition("/")[0] for path in call.file.split()})))
    elif '"displayName"' in call.file:
        made = json.loads(call.file)
        said = {
            "is": made["displayName"],
            "notifies": made.get("notificationChannels"),
            "replaces": made.get("etag"),
        }
        notes += [f"{verb} {value}" for verb, value in said.items() if value is not None]
    if answer:
        first, *others = (
            re.sub(r"\b[0-9a-f]{16}\b", "its checksum", answer).replace("\\t", " ").split("\\n")
        )
        notes.append(f"→ {first} …" if others[3:] else f"→ {' / '.join([first, *others])}")
    return f" # {', '.join(notes)}" if notes else ""


def echoes(calls: Iterable[Call]) -> Iterator[tuple[str, str]]:
    """Yield what a project answers, where a deployment compares, of what these calls made."""
    answers = dict[str, str]()
    for call in calls:
        _echo_of_access(call, answers)
        answers |= _echo_of_labels(call)
        match call.words[1:]:
            case ("pubsub", "subscriptions", "create" | "update", name, *_):
                answers |= _echo_of_fields(
                    f"* subscriptions describe {name} *=value", SUBSCRIPTION_FIELDS, call
                )
            case ("scheduler", "jobs", "create" | "update", "http", name, *_):
                answers |= _echo_of_fields(f"* jobs describe {name} *=value", JOB_FIELDS, call)
            case ("logging", "metrics", "create" | "update", name, *_):
                description = json.loads(call.file)["description"]
                answers[f"* metrics describe {name} *=value(description)"] = description
                answers[f"* metrics describe {name} *=json"] = call.file
            case ("monitoring", "policies" | "dashboards" as kind, "create" | "update", *_):
                answers.update(_echo_of_monitoring(kind, json.loads(call.file)))
            case _:
                pass
    yield from answers.items()


def _echo_of_access(call: Call, answers: dict[str, str]) -> None:
    """Add the services that are on, and who has which role."""
    match call.words[1:]:
        case ("services", "enable", *services):
            on = "* services list --format=value(config.name)"
            answers[on] = "\n".join([answers.get(on, ""), *services])
        case ("projects", "add-iam-policy-binding", *_):
            bound = "* projects get-iam-policy *"
            title = call.flag("condition").partition("title=")[2]
            answers[bound] = (
                f"{answers.get(bound, '')}{call.flag('member')},{call.flag('role')},{title}\n"
            )
        case _:
            pass


def _echo_of_labels(call: Call) -> Mapping[str, str]:
    """Return by what is known whose something is, and which version of the phases file is which."""
    labels = dict(
        pair.split("=")
        for flag in ("labels", "update-labels")
        for pair in call.flag(flag).split(",")
        if pair
    )
    match call.words[1:]:
        case ("iam", "service-accounts", "create", name, *_):
            return {
                f"* service-accounts describe {name}@* *=value(description)": call.flag(
                    "description"
                )
            }
        case ("scheduler", "jobs", "create", "http", name, *_):
            return {f"* jobs describe {name} *=value(description)*": call.flag("description")}
        case ("secrets", "create" | "update", name, *_) | (
            "pubsub",
            "topics" | "subscriptions",
            "create",
            name,
            *_,
        ):
            return {
                f"* describe {name} *=value(labels.{label})": value
                for label, value in labels.items()
            }
        case _:
            return {}


# What a project says of a subscription and of a job that were made with these flags, and how a
# flag's value is said.
SUBSCRIPTION_FIELDS = {
    "pushConfig.pushEndpoint": "push-endpoint",
    "pushConfig.oidcToken.serviceAccountEmail": "push-auth-service-account",
    "pushConfig.oidcToken.audience": "push-auth-token-audience",
    "ackDeadlineSeconds": "ack-deadline",
    "retryPolicy.minimumBackoff": "min-retry-delay",
    "retryPolicy.maximumBackoff": "max-retry-delay",
    "deadLetterPolicy.deadLetterTopic": "dead-letter-topic",
    "deadLetterPolicy.maxDeliveryAttempts": "max-delivery-attempts",
    "bigqueryConfig.table": "bigquery-table",
    "bigqueryConfig.writeMetadata": "write-metadata",
    "messageRetentionDuration": "message-retention-duration",
    "retainAckedMessages": "retain-acked-messages",
}
JOB_FIELDS = {
    "schedule": "schedule",
    "timeZone": "time-zone",
    "httpTarget.uri": "uri",
    "httpTarget.httpMethod": "http-method",
    "httpTarget.oidcToken.serviceAccountEmail": "oidc-service-account-email",
    "httpTarget.oidcToken.audience": "oidc-token-audience",
    "attemptDeadline": "attempt-deadline",
    "retryConfig.retryCount": "max-retry-attempts",
    "retryConfig.minBackoffDuration": "min-backoff",
    "retryConfig.maxBackoffDuration": "max-backoff",
}
_SAID = {"7d": "604800s"}


def _echo_of_fields(pattern: str, fields: Mapping[str, str], call: Call) -> Mapping[str, str]:
    """Return what is answered where all fields that were given are asked for, in this order."""
    given = {name: _said(call, flag) for name, flag in fields.items() if _said(call, flag)}
    return {f"{pattern}({','.join(given)})*": "\t".join(given.values())}


def _said(call: Call, flag: str) -> str:
    """Return the value of a flag as a project says it; a flag without a value is True."""
    if f"--{flag}" in call.words:
        return "True"
    value = call.flag(flag)
    topic = f"projects/proj/topics/{value}" if flag == "dead-letter-topic" and value else value
    return _SAID.get(topic, topic)


def _echo_of_monitoring(kind: str, made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    pattern = f'* {kind} list --filter=*displayName="{made["displayName"]}" --format='
    yield f"{pattern}json", json.dumps([made], indent=2, sort_keys=True)
    content = (made.get("userLabels") or made["labels"])["content"]
    yield f"{pattern}value(name)", f"projects/proj/{kind}/7"
    yield f"{pattern}value(name,userLabels.content)", f"projects/proj/{kind}/7\t{content}"
    yield f"{pattern}value(name,labels.content,etag)", f"projects/proj/{kind}/7\t{content}\tabc"


@cache
def _empty_project() -> tuple[Sequence[Step], Sequence[Step]]:
    """Return a build before the owner's part, and that part with the first deployment."""
    bare = perform(EVERYTHING, ANSWERS["bare"], steps=BUILD)
    return bare, perform(EVERYTHING, ANSWERS["first"], ANSWERS["empty"])


def _made() -> list[Call]:
    return [call for step in _empty_project()[1] for call in step.calls]


@cache
def _again() -> Sequence[Step]:
    return perform(EVERYTHING, ANSWERS["later"], before=_made())


def _removal(
    *arguments: str,
    tables: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> list[Step]:
    return perform(
        EVERYTHING | (settings or {}),
        tables or {},
        ANSWERS["made"],
        steps=["remove"],
        arguments=arguments,
    )


def _whole(title: str, steps: Iterable[Step]) -> Iterator[str]:
    """Yield the lines of a transcript."""
    yield title
    for step in steps:
        yield from ("", f"== {step.name}", *_folded(step.lines))


def _compared(variants: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how each differs from the same steps as usual, or a step whole where it is shorter."""
    for variant in variants:
        yield from ("", variant["story"])
        for step in perform(
            EVERYTHING | variant.get("settings", {}),
            variant.get("answers", {}),
            ANSWERS["later"],
            before=_made(),
            edits=variant.get("edits", ()),
            steps=variant.get("steps", BUILD),
        ):
            usual = next(other.lines for other in _again() if other.name == step.name)
            difference = [*difflib.unified_diff(usual, step.lines, n=0, lineterm="")][2:]
            different = [f"{line[0]} {line[1:]}" for line in difference if not line.startswith("@")]
            shorter = min(different, step.lines, key=len)
            yield from (f"== {step.name}", *_folded(shorter)) if different else ()


def _folded(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, broken where they are long.

    How often something is tried again is said once.
    """
    tries = re.compile(r"^(([+-] )?.*)((?:\n(?:[+-] )?sleep 10\n\1)+)$", re.MULTILINE)
    text = tries.sub(
        lambda m: f"{m[1]} # {m[3].count('sleep 10')} more after 10 s", "\n".join(lines)
    ).replace(_DOMAIN, "@…")
    fold = textwrap.TextWrapper(
        120, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
    )
    for line in text.splitlines():
        command, mark, note = line.partition(" # ")
        pieces = [line] if len(line) <= fold.width else [command, f"    # {note}" * bool(mark)]
        yield from (short for piece in pieces for short in fold.wrap(piece))


# What docs/deploy.md says to give.
(_PAGE,) = re.findall(
    r'^settings="(.*)"', (ROOT / "docs" / "deploy.md").read_text("utf-8"), re.MULTILINE
)
BUILD = [step["id"] for step in cloud_build({})]
TRANSCRIPTS: dict[str, Callable[[], Iterable[str]]] = {
    "beside": lambda: _whole(
        "The canary alone, beside somebody's orchestrator, with as little as can be given",
        perform(WAYS["settings"]["beside"], ANSWERS["first"]),
    ),
    "watching": lambda: _whole(
        "The canary alone, with memory and page of its own, beside an orchestrator that is named",
        perform(
            WAYS["settings"]["watching"],
            ANSWERS["first"],
            arguments=["user:on-call@example.com", "group:data@example.com"],
        ),
    ),
    "ours": lambda: _whole(
        "With our orchestrator and what docs/deploy.md gives; a database and tables are there",
        perform(dict(pair.split("=", 1) for pair in _PAGE.split(",")), ANSWERS["first"]),
    ),
    "empty_project": lambda: (
        *_whole(
            "A project in which there is nothing: a build before the owner's part",
            _empty_project()[0],
        ),
        "",
        *_whole("The owner's part, and the first deployment, with everything", _empty_project()[1]),
    ),
    "again": lambda: _whole("The same once more, over what is there", _again()),
    "changes": lambda: (
        "What is different where something is different than in again.txt",
        *_compared(WAYS["changes"]),
    ),
    "removal": lambda: (
        *_whole("All that was made is taken away", _removal("--yes")),
        "",
        *_whole(
            "Another canary is there, and the question is not answered",
            _removal(tables=ANSWERS["another"]),
        ),
        "",
        *_whole(
            "A list cannot be made, so that nothing is removed",
            _removal("--yes", tables=ANSWERS["hidden"]),
        ),
        "",
        *_whole(
            "A setting of the deployment is forgotten, and there is no such phase",
            _removal(
                "--yes",
                tables={"* services list * --flatten=spec.*": "MEMORY_DATABASE,canary"},
                settings={"_MEMORY_DATABASE": "", "_PHASE": "phase9"},
            ),
        ),
        "",
        *_whole("The settings have two lines", _removal(settings={"_PHASE": "phase2\n"})),
        "",
        *_whole("Nothing is there", perform(EVERYTHING, steps=["remove"])),
    ),
    "refusals": lambda: (
        "What is refused, each compared with again.txt",
        *_compared(WAYS["refusals"]),
    ),
}


def transcript(name: str) -> str:
    """Run a deployment, or several, and return what has to stand in the file."""
    return "\n".join(TRANSCRIPTS[name]()) + "\n"


def recorded(name: str) -> list[Call]:
    """Return the commands that stand in a file; those that differ, where it compares."""
    calls, step = list[Call](), ""
    text = (RECORDED / f"{name}.txt").read_text("utf-8").replace("@…", _DOMAIN)
    for line in re.sub(r"\n    ", " ", text).splitlines():
        if line.startswith("== "):
            step = line.removeprefix("== ")
        elif re.match(r"(\+ )?(gcloud|bq|canary) ", line):
            calls.append(Call(step, tuple(shlex.split(line.removeprefix("+ "), comments=True))))
    return calls


if __name__ == "__main__":
    for name in TRANSCRIPTS:
        (RECORDED / f"{name}.txt").write_text(transcript(name), "utf-8")
