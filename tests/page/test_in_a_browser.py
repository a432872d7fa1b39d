"""The page in a real browser.

What is shown, how it is drawn, and that it needs nothing and nobody else.
"""

import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe

from canary.notify.slack import SlackChannel
from tests.page.conftest import Visit, served
from tests.page.situations import DAY, MINUTES, NOW, SITUATIONS, Situation, World
from tests.proof.listener import fake_webhook

Open = Callable[..., Visit]
Make = Callable[[str], Situation]
WIDTHS = {390: 844, 1280: 900}
EASTERN = ZoneInfo("America/New_York")
FIRST_LOOK = {
    "all_well": "Nothing needs you",
    "untriggered": "1 date can wait for the day",
    "blocked": "1 date needs somebody",
    "unreadable": "Could not tell about 14 dates",
    "several_dates": "1 date needs somebody, 2 can wait",
    "silenced": "What is wrong is silenced",
    "empty": "Nothing has arrived yet",
    "not_running": "The canary has not run for 3 d 00 h",
    "many": "2 dates need somebody, 1 can wait",
    "many_phases": "4 dates can wait for the day",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_is_shown_and_can_be_read_by_anybody(
    situations: Make, visit: Open, name: str, width: int, scheme: str
) -> None:
    """The headline says it; it fits the width.

    Axe-core, the console and the network have nothing to say.
    """
    with served(situations(name).canary()) as url:
        for path in ("/", f"/dates/{DAY}"):
            seen = visit(
                url + path, viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme
            )
            if path == "/":
                assert seen.page.inner_text("h1") == FIRST_LOOK[name]
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            violations = Axe().run(seen.page).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []
            assert seen.said == []
            assert [asked for asked in seen.asked if not asked.startswith((url, "data:"))] == []


@pytest.mark.parametrize("name", ["blocked", "several_dates"])
def test_an_open_incident_leads_to_its_cause_in_one_click(
    situations: Make, visit: Open, name: str
) -> None:
    """From the page; without JavaScript, as everything here."""
    with served(situations(name).canary()) as url:
        page = visit(url, java_script_enabled=False).page
        assert "Phase 3 has 0 of 14 games" in page.inner_text(".card .impact")
        page.click(f".card a:has-text('{DAY}')")
        assert page.url == f"{url}/dates/{DAY}"
        assert "EXPECTATION_DRIFT" in page.inner_text("#causes")
        assert "p2_bdl_box_scores" in page.inner_text("#causes")


def test_the_slack_message_leads_to_the_cause_in_one_click(tmp_path: Any, visit: Open) -> None:
    """By the first of its links."""
    world = World(tmp_path / "stores")
    world.play(DAY, drifted=True, output=False)
    with served(world.situation.canary()) as url, fake_webhook("/services/x") as slack:
        world.watch(SlackChannel(slack.url, world.situation.phases, page=url), NOW)
        (posted,) = slack.posts
        (first, *_) = re.findall(
            r"<([^|>]+)\|", posted["attachments"][0]["blocks"][-1]["text"]["text"]
        )
        assert "EXPECTATION_DRIFT" in visit(first).page.inner_text("#causes")


def centre(page: Any, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    return float(box["x"] + box["width"] / 2)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_picture_agrees_with_the_data(situations: Make, visit: Open, width: int) -> None:
    """The marks are where their times are, between the labels of noon and the next evening."""
    with served(situations("blocked").canary()) as url:
        page = visit(url, viewport={"width": width, "height": 900}).page
        row = f"#phase2-{DAY}"
        lane = page.locator(f"{row} svg.lane").bounding_box()
        assert lane is not None

        def hours(selector: str) -> float:
            return 12 + 30 * (centre(page, f"{row} {selector}") - lane["x"]) / lane["width"]

        first, *_, last = sorted(MINUTES.values())
        noted = [mark.text_content() or "" for mark in page.locator(f"{row} .mark title").all()]
        local = [re.findall(r"\((\d\d:\d\d) EST\)", text) for text in noted]
        assert local == [["18:04", "18:11"], ["01:17", "01:33", "01:41"]]
        assert re.findall(r"\d\d:\d\dZ", noted[0]) == ["23:04Z", "23:11Z"]
        assert hours(".mark circle") == pytest.approx((first + 3.5) / 60, abs=0.1)
        assert hours(".complete") == pytest.approx(last / 60, abs=0.1)
        assert hours(".grace") == pytest.approx((last + 15) / 60, abs=0.1)
        assert hours(".now line") == pytest.approx(
            24 + NOW.astimezone(EASTERN).hour + 0.75, abs=0.1
        )
        assert hours(".deadline") == pytest.approx(36, abs=0.1)
        pending = page.locator(f"{row} .pending").bounding_box()
        assert pending is not None
        assert 12 + 30 * (pending["x"] + pending["width"] - lane["x"]) / lane[
            "width"
        ] == pytest.approx(26.75, abs=0.15)


@pytest.mark.parametrize("width", [*WIDTHS, 1000])
def test_labels_stand_100_pixels_apart(situations: Make, visit: Open, width: int) -> None:
    """On both pages; those for which there is no room are not shown."""
    with served(situations("blocked").canary()) as url:
        for path in ("/", f"/dates/{DAY}"):
            page = visit(url + path, viewport={"width": width, "height": 900}).page
            lane = page.locator("svg.axis").bounding_box()
            assert lane is not None
            labels = [
                one for one in page.locator(".axis text:not(.fold, .z)").all() if one.is_visible()
            ]
            places = [
                float((one.get_attribute("x") or "").rstrip("%")) / 100 * lane["width"]
                for one in labels
            ]
            assert len(places) >= 2
            assert all(right - left >= 100 for left, right in pairwise(places)), places


def test_hostile_names_appear_as_text(tmp_path: Any, visit: Open) -> None:
    """Neither a tag, nor an attribute, nor a link comes of them."""
    world = World(tmp_path / "stores")
    world.play(DAY)
    evil = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"
    document = {
        evil: {"status": "success"},
        "_unexpected": {evil: {"status": "success", "reported_at": NOW}},
    }
    world.write(DAY, document)
    with served(world.situation.canary()) as url:
        for path in ("/", f"/dates/{DAY}"):
            seen = visit(url + path)
            assert "onerror=alert(1)" in seen.page.inner_text("body")
            assert seen.page.locator("img, script, iframe, [onerror]").count() == 0
            assert seen.said == []


def test_the_page_can_be_used_by_keyboard(situations: Make, visit: Open) -> None:
    """After the link that makes it again comes the date that needs somebody; focus is visible."""
    with served(situations("blocked").canary()) as url:
        page = visit(url).page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "make it again"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == str(DAY)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/dates/{DAY}")


@pytest.mark.parametrize("path", ["/", f"/dates/{DAY}?phase=phase2"])
def test_a_link_makes_the_page_anew(situations: Make, visit: Open, path: str) -> None:
    """It leads to where one is, of the same date and phase."""
    with served(situations("blocked").canary()) as url:
        seen = visit(url + path)
        asked = len(seen.asked)
        seen.page.click("header a:has-text('make it again')")
        seen.page.wait_for_load_state()
        assert [one for one in seen.asked[asked:] if not one.startswith("data:")] == [url + path]
        assert "Made 2026-02-12 07:45Z (02:45 EST)." in seen.page.inner_text("header")


def test_the_history_can_be_read_on_a_phone(situations: Make, visit: Open) -> None:
    """Nothing of it has to be moved sideways, and each value says what it is."""
    with served(situations("many").canary()) as url:
        page = visit(url, viewport={"width": 390, "height": 844}).page
        inside = """element => element.getBoundingClientRect().right <= 390
            && element.scrollWidth <= element.clientWidth + 1"""
        assert page.locator(".past:not(.head)").count() == 6
        assert all(one.evaluate(inside) for one in page.locator(".past:not(.head)").all())
        label = "one => getComputedStyle(one, '::before').content"
        assert page.locator(".past [data-label=Notified]").first.evaluate(label) in {
            '"Notified: "',
            '"Notified" ": "',
        }


def test_a_date_of_changed_clocks(tmp_path: Any, visit: Open) -> None:
    """The hours of the wall clock are always at the same place."""
    world = World(tmp_path / "stores")
    changed = datetime(2026, 3, 7, tzinfo=EASTERN).date()
    world.play(changed)
    world.play(changed.replace(day=5))
    now = datetime(2026, 3, 8, 18, tzinfo=EASTERN)
    with served(world.situation.canary(), now) as url:
        page = visit(url).page
        deadlines = [
            centre(page, f"#phase2-{day} .deadline") for day in (changed, changed.replace(day=5))
        ]
        assert deadlines[0] == pytest.approx(deadlines[1], abs=0.5)
