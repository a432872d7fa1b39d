"""`make screenshot`: the picture of the page that README and docs show, of simulated dates."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.page.conftest import served
from tests.page.situations import several_dates


def main(target: str) -> None:
    """Write the upper part of the page into a file."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(several_dates(Path(folder) / "stores").canary()) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
        page.goto(url)
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
