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


@pytest.mark.parametrize("width", [1440, 390])
def test_a_change_is_seen_to_go_live_and_undone_without_a_reload(
    installation: Installation, window: BrowserContext, width: int
) -> None:
    admin = sign_in(installation, window)
    admin.set_viewport_size({"width": width, "height": 900})
    _fill(installation, admin, RIGHT)
    admin.keyboard.press("Enter")
    state = admin.locator("#override-state")
    expect(state).to_contain_text("Live on all processes (1 of 1)")
    expect(state).to_contain_text(f"trainer: {RIGHT} instead of the default model")
    photograph(admin, f"override-saved-{width}", reloads=False)
    admin.set_viewport_size({"width": width, "height": 900})

    state.get_by_role("button", name="Undo v1 of trainer").click()
    expect(admin.get_by_text("Undone: trainer is as it was before v1.").first).to_be_visible()
    expect(state).to_contain_text(f"trainer: the default model instead of {RIGHT}")
    expect(state).to_contain_text("Live on all processes (1 of 1)")

    tab_to(admin, state.get_by_role("button", name="Undo v2 of trainer"))
    admin.keyboard.press("Enter")
    expect(state).to_contain_text(f"trainer: {RIGHT} instead of the default model")
