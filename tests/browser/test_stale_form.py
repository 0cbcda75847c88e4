"""Two operators at one page: whoever saves second is told, keeps what they typed, and decides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import WIDTHS, has_no_serious_violation, sign_in

pytestmark = pytest.mark.browser

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [(size, scheme) for size in WIDTHS for scheme in SCHEMES]


def test_a_form_that_was_overtaken_is_refused_and_keeps_what_was_typed(
    installation: Installation, window: BrowserContext, browser: Browser
) -> None:
    first = sign_in(installation, window)
    second = sign_in(installation, browser.new_context())
    address = _first_page_of_the_playbook(installation, first)
    for number, (size, scheme) in enumerate(LOOKS):
        width, height = WIDTHS[size]
        first.set_viewport_size({"width": width, "height": height})
        first.emulate_media(color_scheme=scheme)
        first.goto(address)
        second.goto(address)
        first.locator("#id_title").fill(f"Mine {number}")
        second.locator("#id_text").fill(f"Theirs {number}")
        second.locator("button[name=_continue]").click()
        expect(second.get_by_text("was changed successfully")).to_be_visible()

        first.locator("button[name=_continue]").click()

        alert = first.locator("#stale")
        expect(alert).to_contain_text("changed while you had this form open")
        expect(alert).to_contain_text(f"Theirs {number}")
        expect(alert).to_contain_text("operator, ")
        assert first.locator("#id_title").input_value() == f"Mine {number}"
        assert first.locator("#id_text").input_value() == f"Theirs {number}"
        has_no_serious_violation(first)
        _photograph(first, f"stale-{size}-{scheme}")
        assert first.evaluate("document.documentElement.scrollWidth") <= width

        first.locator("button[name=_continue]").click()
        expect(first.get_by_text("was changed successfully")).to_be_visible()
        assert first.locator("#id_text").input_value() == f"Theirs {number}"
    second.context.close()


def _first_page_of_the_playbook(installation: Installation, admin: Page) -> str:
    admin.goto(f"{installation.address}/admin/pipeline/playbookpage/")
    link = admin.locator("#result_list tbody a").first
    return f"{installation.address}{link.get_attribute('href')}"


def _photograph(admin: Page, name: str) -> None:
    folder = Path(os.environ["OBSERVATORY_SUITE_DIR"]) / "screenshots"
    folder.mkdir(exist_ok=True)
    admin.screenshot(path=folder / f"{name}.png")
