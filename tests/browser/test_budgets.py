"""A budget that is too small: the member reads why, the operator sees it and raises the cap."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import (
    has_no_serious_violation,
    open_chat,
    photograph,
    sign_in,
)

pytestmark = pytest.mark.browser

QUESTION = "CFO of a logistics firm, went silent after the price"
PATIENCE_MS = 30_000


def test_a_request_that_does_not_fit_is_refused_and_sent_once_the_cap_is_raised(
    installation: Installation, window: BrowserContext
) -> None:
    admin = sign_in(installation, window)
    admin.goto(f"{installation.address}/admin/pipeline/budget/")
    expect(admin.locator("#result_list")).to_contain_text("Each member, $20.00 a day")
    admin.goto(f"{installation.address}/admin/pipeline/budget/add/")
    photograph(admin, "budget-new")
    admin.select_option("#id_scope", "agent")
    admin.fill("#id_name", "strategist")
    admin.fill("#id_cap_usd", "0.001")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator("#result_list")).to_contain_text("One agent: strategist, $0.001 a day")

    chat = open_chat(installation, window, "Tom")
    _ask(chat)
    refused = chat.locator("#log .row.in", has_text="This request may cost up to $")
    expect(refused).to_contain_text("An admin can raise it.", timeout=PATIENCE_MS)

    admin.goto(f"{installation.address}/admin/pipeline/budget/")
    expect(admin.locator("#result_list")).to_contain_text("of $20.00 spent")
    photograph(admin, "budgets")
    has_no_serious_violation(admin)
    admin.get_by_role("link", name="One agent: strategist").click()
    expect(admin.get_by_text("1 refused")).to_be_visible()
    photograph(admin, "budget")
    has_no_serious_violation(admin)
    admin.fill("#id_cap_usd", "5")
    admin.get_by_role("button", name="Save", exact=True).click()

    chat.bring_to_front()
    chat.get_by_role("button", name="Try again").last.click()
    answer = chat.locator("#log .row.in", has_text="Draft to send")
    expect(answer).to_be_visible(timeout=PATIENCE_MS)


def _ask(chat: Page) -> None:
    chat.get_by_role("textbox", name="Message").fill(QUESTION)
    chat.locator("#composer button[type=submit]").click()
