"""What every story in the browser does: open the chat, sign in, and take pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.installation import Installation

MAX_TABS = 80  # until the keyboard has come to what it looks for
WIDTHS = {"wide": (1440, 900), "phone": (390, 844)}


def open_chat(installation: Installation, window: BrowserContext, name: str = "Maya") -> Page:
    """Open the chat page as one of its people."""
    chat = window.new_page()
    chat.goto(f"{installation.address}/sandbox/")
    chat.get_by_role("button", name=re.compile(name)).first.click()
    return chat


def sign_in(installation: Installation, window: BrowserContext) -> Page:
    """Open the admin as its operator."""
    admin = window.new_page()
    admin.goto(f"{installation.address}/admin/")
    admin.fill("input[name=username]", "operator")
    admin.fill("input[name=password]", installation.password())
    admin.locator("button[type=submit]").click()
    expect(admin.get_by_role("link", name="Overrides").first).to_be_visible()
    return admin


def photograph(page: Page, name: str, *, reloads: bool = True) -> None:
    """Keep pictures of a page, wide and narrow, light and dark, beside the suite's log."""
    folder = Path(os.environ["OBSERVATORY_SUITE_DIR"]) / "screenshots"
    folder.mkdir(exist_ok=True)
    for size, (width, height) in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if reloads:
                page.reload()  # the admin's theme looks at the scheme when it loads
            page.wait_for_timeout(300)  # transitions of the theme
            page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            f"{page.url} is wider than {width} px"
        )
    page.set_viewport_size({"width": WIDTHS["wide"][0], "height": WIDTHS["wide"][1]})


def tab_to(page: Page, target: str | Locator) -> None:
    """Come to an element by the tabulator key alone, and see that it shows where one is."""
    element = page.locator(target).first if isinstance(target, str) else target
    expect(element).to_be_visible()
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            outline = element.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none" or "result_list" in str(target) or _is_field(element)
            return
    raise AssertionError(f"the keyboard does not come to {target}")


def _is_field(element: Locator) -> bool:
    """Tell whether it is one to write in, where the caret shows where one is."""
    return bool(element.evaluate("element => element.matches('input, textarea')"))


def has_no_serious_violation(page: Page) -> None:
    page.wait_for_load_state("load")  # a text can be there before its stylesheet is
    # Colours that are on their way are nobody's to read.
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:5])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], serious
