"""An installation of the product, and a browser to use it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.installation import Installation
from tests.conftest import CHROMIUM_NAMES

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    installation.start()
    try:
        yield installation
    finally:
        installation.kill()


@pytest.fixture
def browser() -> Iterator[Browser]:
    executable = next(path for name in CHROMIUM_NAMES if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser) -> BrowserContext:
    window = browser.new_context(viewport={"width": 1440, "height": 900})
    window.set_default_timeout(15_000)
    return window
