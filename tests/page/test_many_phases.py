"""The page of many phases: what needs somebody, all others at a glance, each behind a link."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from canary.commands.silence import add_silence
from canary.domain.remembered import DEFAULT_CANARY
from canary.notify.message import CommandLine
from canary.page.board import MOST_WHOLE, Board, board
from canary.run import Overview, overview
from orchestrator_resilience import Phase, StoreError
from tests.page.conftest import Visit, served
from tests.page.situations import DAY, NOW, Situation, of_phases, other_documents
from tests.page.test_incident_histories import page_of

COUNT, FAULTY = 34, 5


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Situation:
    """Thirty dates of 34 phases, of which the last five have two dates that are stuck."""
    return of_phases(tmp_path_factory.mktemp("grown") / "stores", COUNT, FAULTY)


def shown(
    found: Overview,
    phases: Mapping[str, Phase],
    whole: Callable[[str], str] | None = "/?phase={}".format,
) -> Board:
    """Return the board of what was found, with a page for each phase."""
    return board(
        found, phases, None, CommandLine(several=True), lambda *_: None, page_of_phase=whole
    )


def test_it_stays_small_and_leads_to_each_phase(grown: Situation) -> None:
    """200 kB at the most, where it was 947; lanes are those of the dates that need somebody."""
    html = page_of(grown.canary(), "/")
    assert len(html.encode()) < 200_000
    assert set(re.findall(r'href="/\?phase=(\w+)"', html)) == grown.phases.keys()
    lanes = re.findall(r'role="row" id="(\w+)-([\d-]+)"', html)
    stuck = [str(DAY), str(DAY.replace(day=DAY.day - 1))]
    assert lanes == [(name, day) for name in [*grown.phases][-FAULTY:] for day in stuck]


def test_it_stays_small_where_every_phase_needs_somebody(tmp_path: Path) -> None:
    """Each has its card and its row.

    The lanes are those of the worst five, and the others' are behind their links.
    """
    html = page_of(of_phases(tmp_path / "stores", COUNT, COUNT).canary(), "/")
    assert len(html.encode()) < 200_000
    lanes = re.findall(r'role="row" id="(\w+)-[\d-]+"', html)
    assert (len(lanes), len({*lanes})) == (2 * MOST_WHOLE, MOST_WHOLE)
    assert html.count('<section class="card ') == COUNT


def test_each_phase_says_how_it_stands(grown: Situation) -> None:
    """The worst of its dates, how many need somebody, and how the month went."""
    page = shown(overview(grown.stores, grown.phases, NOW, 30, explained=14), grown.phases)
    assert [(phase.state.word, phase.needs) for phase in page.phases] == [
        *[("TRIGGERED", "")] * (COUNT - FAULTY),
        *[("UNTRIGGERED", "2 of 14 dates")] * FAULTY,
    ]
    assert page.phases[-1].month.words == "27 TRIGGERED, 2 UNTRIGGERED, 1 IDLE"


def test_a_silenced_phase_needs_nobody(tmp_path: Path) -> None:
    """It is said how many of its dates are silenced."""
    situation = of_phases(tmp_path / "stores", MOST_WHOLE + 1, 1, days=3)
    name = [*situation.phases][-1]
    documents, until = situation.stores.documents, NOW + timedelta(hours=1)
    days = {"first": DAY - timedelta(days=1), "last": DAY}
    add_silence(
        documents, DEFAULT_CANARY, now=NOW, phase=name, reason="x", expires_at=until, **days
    )
    page = shown(
        overview(situation.stores, situation.phases, NOW, 30, explained=14), situation.phases
    )
    assert (page.phases[-1].state.word, page.phases[-1].needs) == ("TRIGGERED", "2 silenced")


def test_what_cannot_be_read_is_no_reason_to_draw_it(grown: Situation) -> None:
    """Of 476 dates that nobody can judge there are cards, and no lanes."""

    def refused(*_: Any) -> NoReturn:
        raise StoreError("403: you may not look")

    hidden = other_documents(grown.stores, SimpleNamespace(get_all=refused))
    html = page_of(Situation(hidden, grown.phases).canary(), "/")
    assert f"Could not tell about {COUNT * 14} dates" in html
    assert len(html.encode()) < 200_000
    assert 'role="row" id=' not in html


@pytest.mark.parametrize("count", [1, MOST_WHOLE])
def test_a_few_phases_are_shown_whole(count: int, tmp_path: Path) -> None:
    """As they are where no phase has a page of its own, such as in a file."""
    situation = of_phases(tmp_path / "stores", count, 1, days=3)
    found = overview(situation.stores, situation.phases, NOW, 30, explained=14)
    page = shown(found, situation.phases)
    assert page == shown(found, situation.phases, None)
    assert [len(phase.lanes) for phase in page.phases] == [14] * count


def test_a_phase_has_a_page_of_its_own(grown: Situation) -> None:
    """Whole, whether it needs somebody or not, with a way back.

    A request for another is answered with those that there are.
    """
    for name, headline in (
        ("phase00", "Nothing needs you"),
        ("phase33", "2 dates can wait for the day"),
    ):
        html = page_of(grown.canary(), "/", name)
        assert f"<h1>{name}: {headline}</h1>" in html
        assert html.count(f'id="{name}-') == 14
        assert f"{name}: the last 30 dates" in html
        assert '<a href="/">All phases</a>' in html
    answer, status, *_ = grown.canary()._route("GET", "/", NOW, "phase34")
    assert status == 404
    assert "one of phase00, phase01" in str(answer)


def test_a_phase_is_one_click_away(
    situations: Callable[[str], Situation], visit: Callable[..., Visit]
) -> None:
    """From the table and back; the strip says in words what its colours are."""
    with served(situations("many_phases").canary()) as url:
        page = visit(url, java_script_enabled=False).page
        assert page.locator("[aria-label='All phases'] .badge").all_inner_texts() == [
            *["TRIGGERED"] * 5,
            *["UNTRIGGERED"] * 2,
        ]
        strip = page.get_by_role("img", name=re.compile("UNTRIGGERED")).first
        assert strip.locator("i.warn").count() == 2
        page.get_by_role("link", name="phase06", exact=True).click()
        assert page.inner_text("h1") == "phase06: 2 dates can wait for the day"
        page.click("nav a")
        assert page.url == f"{url}/"
