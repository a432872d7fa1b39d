"""Debian's Chromium over the page of the real function.

Where there is none, skipped with the reason.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from canary.function import Canary
from tests.page.situations import NOW, SITUATIONS, Situation


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("REQUIRE_EMULATORS"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of a browser, and what went wrong in it.

    `said` on the console, `asked` for from elsewhere.
    """

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Return what opens a page; a request to anywhere but this machine is noted."""
    contexts = []

    def opened(url: str, **options: Any) -> Visit:
        context = browser.new_context(**options)
        contexts.append(context)
        found = Visit(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(url)
        return found

    yield opened
    for context in contexts:
        context.close()


@contextmanager
def served(canary: Canary, now: datetime = NOW) -> Iterator[str]:
    """Serve what the function answers at a fixed time; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            phase = parse_qs(parts.query).get("phase", [None])[0]
            body, status, *headers = canary._route("GET", parts.path, now, phase)
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(str(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def situations(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Situation]:
    """Return what makes a situation, once."""
    made: dict[str, Situation] = {}

    def situation(name: str) -> Situation:
        if name not in made:
            made[name] = SITUATIONS[name](tmp_path_factory.mktemp(name) / Path("stores"))
        return made[name]

    return situation
