"""Puts a page into HTML: one document, with its own style and nothing else.

Text from outside appears as text.
"""

import re
from datetime import date, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import markupsafe

from canary.domain.path.text import cause_text
from canary.domain.verdict import duration_text
from canary.page.board import Board
from canary.page.clock import both, with_local
from canary.page.headers import POLICY, STYLE
from canary.page.one_date import OneDate
from canary.page.past import Past

if TYPE_CHECKING:
    import jinja2

_FILES = resources.files("canary.page")
# Dates and times; no line breaks within them.
_UNBROKEN = re.compile(
    r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?Z)?|\((?:\d\d-\d\d )?\d\d:\d\d(?::\d\d)? [A-Z]{3,5}\)"
)
_TEMPLATES = {Board: "board.html", OneDate: "date.html", Past: "backtest.html"}


def as_html(
    page: Board | OneDate | Past,
    *,
    home: str | None = "/",
    anew: str = "",
    made_at: datetime | None = None,
) -> str:
    """Return the page of all dates, of one, or of a backtest.

    `home` is the address of the page of all dates, None where there is none. A file shows the
    command that makes it `anew`, where a served page has a link. `made_at` is when it was made
    (aware), where that is not the time by which it judges.
    """
    template = _environment().get_template(_TEMPLATES[type(page)])
    return template.render(
        style=STYLE, policy=POLICY, page=page, home=home, anew=anew, made_at=made_at
    )


def _both(at: datetime, timezone: str, *, seconds: bool = False) -> markupsafe.Markup:
    return _marked(both(at, ZoneInfo(timezone), seconds=seconds))


def _words(text: str, timezone: str, day: date) -> markupsafe.Markup:
    """Put local times beside the others of a text; a time without a date is of `day`."""
    return _marked(with_local(text, ZoneInfo(timezone), day))


def _marked(text: str) -> markupsafe.Markup:
    """Show text between backticks as code, and let no line break within a date or a time."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text)))
    return markupsafe.Markup(_UNBROKEN.sub(r'<span class="at">\g<0></span>', html))  # noqa: S704 (escaped)


@cache
def _environment() -> "jinja2.Environment":
    # Only here, because it is slow to import, and most commands draw no page.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (_FILES / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "both": _both,
        "lasting": duration_text,
        "words": _words,
        "cause": cause_text,
    }
    return environment
