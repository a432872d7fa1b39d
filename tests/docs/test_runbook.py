"""The runbook has every verdict, cause, impact and notification that a person may meet."""

import re
from datetime import date

import pytest

from canary.domain.incident import NotificationKind
from canary.domain.stages import CauseKind
from canary.domain.verdict import Impact, VerdictKind
from canary.notify.message import ADVICE, CommandLine
from tests.docs.markdown import first_cells, rows, sections, text_of

RUNBOOK = sections("docs/runbook.md")
DAY = date(2026, 2, 9)


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("Verdicts", [*VerdictKind]),
        ("Impact", [*Impact]),
        ("Notifications", [*NotificationKind]),
    ],
)
def test_each_table_has_every_kind(heading: str, kinds: list[str]) -> None:
    """In the order of the code."""
    assert first_cells(RUNBOOK[heading]) == [str(kind) for kind in kinds]


def test_it_says_the_same_as_the_alerts() -> None:
    """Each verdict and cause is in its table, with the advice that the alert gives."""
    advised = {
        re.sub(r"<a .*?</a>|`", "", row[0]): row[-1]
        for table in ("Verdicts", "Causes")
        for row in rows(RUNBOOK[table])
    }
    for kind in (*VerdictKind, *CauseKind):
        if kind is not CauseKind.UNDETERMINED:
            words = {
                "date": "DATE",
                "document": "DOCUMENT",
                "who": "PROCESSOR",
                "next_phase": "Phase 3",
            }
            assert advised[kind] == ADVICE[kind].format(**words)


def test_each_has_a_place_that_a_message_can_lead_to() -> None:
    """By the name in the link, once."""
    places = re.findall(r'<a id="(.+?)"></a>', text_of("docs/runbook.md"))
    assert sorted(places) == sorted(
        str(kind).lower().replace("_", "-") for kind in (*VerdictKind, *CauseKind)
    )
    command = CommandLine(runbook="https://docs.example/runbook.md")
    addresses = [command.links("phase2", DAY, kind)[-1].url for kind in (*VerdictKind, *CauseKind)]
    assert sorted(address.partition("#")[2] for address in addresses) == sorted(places)


def test_every_cause_is_there_once() -> None:
    """UNDETERMINED is last, because it is what is left."""
    causes = first_cells(RUNBOOK["Causes"])
    named = [name for name in causes if name.isupper() and "CHECKPOINT" not in name]
    assert sorted(named) == sorted(CauseKind)
    assert named[-1] == CauseKind.UNDETERMINED
