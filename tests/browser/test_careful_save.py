"""A typo in a model's id: refused, with what is wrong and what to do, and saved with consent."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import photograph, sign_in, tab_to

pytestmark = pytest.mark.browser

TYPO, RIGHT = "openai/gpt-99", "openai/gpt-5-mini"


def test_a_typo_is_refused_and_the_right_model_is_saved(
    installation: Installation, window: BrowserContext
) -> None:
    admin = sign_in(installation, window)
    _fill(installation, admin, TYPO)
    expect(admin.locator("#id_accept_unfit")).to_be_hidden()
    admin.get_by_role("button", name="Save", exact=True).click()

    expect(admin.get_by_text("OpenRouter has no model with this ID").first).to_be_visible()
    expect(admin.get_by_label("Use this model anyway")).to_be_visible()
    photograph(admin, "override-refused", reloads=False)
    admin.fill("#id_model_id", RIGHT)
    admin.get_by_role("button", name="Save", exact=True).click()

    expect(admin.locator("#result_list")).to_contain_text(RIGHT)
    expect(admin.locator("#result_list")).to_contain_text("Live")


def test_with_the_keyboard_alone_it_is_saved_with_consent_and_a_reason(
    installation: Installation, window: BrowserContext
) -> None:
    admin = sign_in(installation, window)
    _fill(installation, admin, TYPO)
    admin.keyboard.press("Enter")
    expect(admin.get_by_label("Use this model anyway")).to_be_visible()
    tab_to(admin, "#id_accept_unfit")
    admin.keyboard.press("Space")
    tab_to(admin, "#id_reason")
    admin.keyboard.type("It is announced for tomorrow")
    admin.keyboard.press("Enter")

    expect(admin.locator("#result_list")).to_contain_text("Live, unfit")
    photograph(admin, "override-unfit")


def _fill(installation: Installation, admin: Page, model_id: str) -> None:
    admin.goto(f"{installation.address}/admin/agents/agentmodelconfig/add/?agent_name=trainer")
    admin.fill("#id_model_id", model_id)
    admin.locator("#id_model_id").focus()
