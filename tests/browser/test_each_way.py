"""Each operator action by mouse and by keyboard alone, at both widths, light and dark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import (
    WIDTHS,
    has_no_serious_violation,
    open_chat,
    sign_in,
    tab_to,
)

pytestmark = pytest.mark.browser

CHOSEN, OTHER = "anthropic/claude-sonnet-4.5", "openai/gpt-4.1"
COST_OF_CHANGE = re.compile("a day on the team key|Not enough traffic yet to estimate")
PATIENCE_MS = 30_000
WAYS = [
    ("mouse", "wide", "light"),
    ("mouse", "phone", "dark"),
    ("keyboard", "wide", "dark"),
    ("keyboard", "phone", "light"),
]


@dataclass(frozen=True)
class Hand:
    """What an operator has at hand: a mouse and keys to write with, or keys alone."""

    page: Page
    has_mouse: bool

    def press(self, selector: str, text: str | re.Pattern[str] = "") -> None:
        target = self._find(selector, text)
        if self.has_mouse:
            target.click()
            return
        tab_to(self.page, target)
        self.page.keyboard.press("Enter")

    def write(self, selector: str, words: str) -> None:
        target = self._find(selector)
        if self.has_mouse:
            target.click()
        else:
            tab_to(self.page, target)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(words)

    def _find(self, selector: str, text: str | re.Pattern[str] = "") -> Locator:
        found = self.page.locator(selector)
        target = (found.filter(has_text=text) if text else found).first
        expect(target).to_be_visible()
        return target


@pytest.mark.parametrize(("tool", "size", "scheme"), WAYS)
def test_an_operator_does_everything(
    installation: Installation,
    window: BrowserContext,
    tool: str,
    size: str,
    scheme: Literal["light", "dark"],
) -> None:
    _ask(installation, open_chat(installation, window))
    admin = sign_in(installation, window)
    width, height = WIDTHS[size]
    admin.set_viewport_size({"width": width, "height": height})
    admin.emulate_media(color_scheme=scheme)
    hand = Hand(admin, has_mouse=tool == "mouse")

    _choose_and_try(installation, hand)
    _change_and_undo(installation, hand)
    _look_at_charts(installation, hand)
    _remove_and_switch_off(installation, hand)
    _find_a_run_and_read_it(installation, hand)
    _run_again_and_export(installation, hand)


# --- overrides ------------------------------------------------------------------------------------


def _choose_and_try(installation: Installation, hand: Hand) -> None:
    admin = hand.page
    _open(installation, admin)
    has_no_serious_violation(admin)
    hand.press("#set-trainer")
    hand.press("button[name=sync]")
    expect(admin.get_by_text("Catalog refreshed")).to_be_visible()
    _pick(hand, "sonnet 4.5", CHOSEN)
    expect(admin.locator("#cost")).to_contain_text(COST_OF_CHANGE)
    has_no_serious_violation(admin)
    expect(admin.locator("#id_given option")).not_to_have_count(0)
    hand.press("button[name=try]")
    result = admin.frame_locator("#trial")
    expect(result.locator("main")).to_contain_text(f"Model tried: {CHOSEN}")
    expect(result.locator("article pre")).to_have_count(2)
    has_no_serious_violation(admin)
    _save(hand)


def _change_and_undo(installation: Installation, hand: Hand) -> None:
    admin = hand.page
    _open(installation, admin)
    hand.press("#set-trainer")
    expect(admin.locator("#id_model_id")).to_have_value(CHOSEN)
    _pick(hand, "gpt-4.1", OTHER)
    _save(hand)
    _open(installation, admin)
    expect(_row(admin, "trainer")).to_contain_text(OTHER)
    hand.press("#set-trainer")
    expect(admin.locator("#id_model_id")).to_have_value(OTHER)
    admin.goto(admin.url.replace("/change/", "/history/"))
    has_no_serious_violation(admin)
    hand.press("form[action*='/restore/'] button", "Restore v1")
    expect(admin.get_by_text("Restored v1.")).to_be_visible()
    _open(installation, admin)
    expect(_row(admin, "trainer")).to_contain_text(CHOSEN)


def _remove_and_switch_off(installation: Installation, hand: Hand) -> None:
    admin = hand.page
    _open(installation, admin)
    hand.press("#remove-trainer")
    expect(admin.locator("#confirm")).to_be_visible()
    has_no_serious_violation(admin)
    hand.press("#confirm")
    expect(_row(admin, "trainer")).to_contain_text("the member's own model")
    hand.press("#set-memory")
    _pick(hand, "sonnet 4.5", CHOSEN)
    _save(hand)
    _open(installation, admin)
    hand.press("#stop-all")
    expect(admin.get_by_text("Turn off all overrides?")).to_be_visible()
    hand.press("#confirm")
    expect(_row(admin, "memory")).to_contain_text("the member's own model")


def _pick(hand: Hand, words: str, model_id: str) -> None:
    admin = hand.page
    expect(admin.locator("#models")).to_contain_text("per million")
    hand.write("#id_search", words)
    choice = admin.locator(f"#models [data-model='{model_id}']")
    expect(admin.locator("#models button").first).to_have_attribute("data-model", model_id)
    if hand.has_mouse:
        choice.click()
    else:
        admin.keyboard.press("ArrowDown")
        expect(choice).to_be_focused()
        admin.keyboard.press("Enter")
    expect(admin.locator("#id_model_id")).to_have_value(model_id)


def _save(hand: Hand) -> None:
    hand.press("button[name=_save]")
    hand.page.wait_for_url(re.compile("/agentmodelconfig/$"))


# --- figures and runs -----------------------------------------------------------------------------


def _look_at_charts(installation: Installation, hand: Hand) -> None:
    _open(installation, hand.page)
    hand.press(".obs-choices a", "30 days")
    expect(hand.page).to_have_url(re.compile("range=30d"))
    hand.press(".obs-choices a", "by model")
    picture = hand.page.get_by_role("img", name=re.compile("last 30 days: .*openai"))
    expect(picture.first).to_be_visible()
    has_no_serious_violation(hand.page)


def _find_a_run_and_read_it(installation: Installation, hand: Hand) -> None:
    admin = hand.page
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/")
    has_no_serious_violation(admin)
    hand.press("a", re.compile(r"^\s*Filters"))
    hand.write("#filter-form input[name=member]", "maya")
    hand.press("#filter-form button[type=submit]")
    expect(admin).to_have_url(re.compile("member=maya"))
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)
    hand.press("#result_list .field-started a")
    expect(admin.get_by_role("heading", name="Timeline")).to_be_visible()
    has_no_serious_violation(admin)
    hand.press("a[href='#step-2-1']")
    expect(admin.locator("#step-2-1")).to_be_in_viewport()
    hand.press("#step-2-1 article summary", "Output")
    opened = admin.locator("#step-2-1 article details[open]")
    expect(opened).to_contain_text("Output")


def _run_again_and_export(installation: Installation, hand: Hand) -> None:
    admin = hand.page
    admin.goto(admin.url.partition("#")[0])
    hand.press("a", "Re-run…")
    expect(admin.locator("main")).to_contain_text("never uses a member's key")
    has_no_serious_violation(admin)
    hand.press("button")
    expect(admin.get_by_text("Your view has been logged.")).to_be_visible(timeout=PATIENCE_MS)
    expect(admin.locator("h1")).to_contain_text("Answered")
    has_no_serious_violation(admin)
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/")
    for words, name in (("CSV, one row per request", "runs.csv"), ("JSON", "runs.json")):
        with admin.expect_download() as download:
            hand.press("a", re.compile(f"^{words}$"))
        assert download.value.suggested_filename == name


# --- what the steps share -------------------------------------------------------------------------


def _ask(installation: Installation, chat: Page) -> None:
    chat.get_by_role("textbox", name="Message").fill("/support CFO who went silent on the price")
    chat.keyboard.press("Enter")
    expect(chat.locator("#wire-count")).to_have_text("3", timeout=PATIENCE_MS)
    expect(chat.locator("#calls")).not_to_contain_text("answering", timeout=PATIENCE_MS)


def _open(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/")


def _row(admin: Page, agent: str) -> Locator:
    return admin.locator(f"tr[data-agent={agent}]")
