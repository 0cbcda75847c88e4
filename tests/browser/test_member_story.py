"""A member's first day, seen by a person: admission, a key, answers, what follows, and the end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import open_chat, photograph, sign_in

pytestmark = pytest.mark.browser

NOORS_KEY = "sk-or-v1-sandbox-noor-key-0003"
QUESTION = "CFO of a logistics firm, went silent after the price"
PATIENCE_MS = 30_000


def test_a_member_is_let_in_pays_with_their_key_and_works_with_answers(
    installation: Installation, window: BrowserContext, tmp_path: Path
) -> None:
    chat = open_chat(installation, window, "Noor")
    _say(chat, "/start")
    _sees(chat, "asked an admin to let you in")
    _approve(installation, sign_in(installation, window))
    chat.bring_to_front()
    expect(_sees(chat, "You're in")).to_contain_text("The team's key pays for your answers")
    photograph(chat, "start")
    _press(chat, "My OpenRouter key")
    _sees(chat, "Send me your OpenRouter key")
    _say(chat, NOORS_KEY)
    _sees(chat, "OpenRouter accepted this key")
    expect(chat.locator("#log")).not_to_contain_text(NOORS_KEY)

    _ask_and_go_on(installation, chat)
    _send_photo(chat, tmp_path / "screenshot.png", "What does she mean?")
    expect(_answers(chat)).to_have_count(5, timeout=PATIENCE_MS)
    _learn_and_train(chat)
    _look_at_what_is_kept_and_erase_it(chat)


# --- what the persons do --------------------------------------------------------------------------


def _ask_and_go_on(installation: Installation, chat: Page) -> None:
    _say(chat, f"/support {QUESTION}")
    answer = _sees(chat, "Draft to send")
    expect(answer).to_contain_text(QUESTION)
    photograph(chat, "answer")
    assert {call["key"] for call in installation.calls()} == {NOORS_KEY}

    answer.get_by_role("button", name="Reply").click()
    _say(chat, "She wrote back: too dear")
    follow_up = _sees(chat, "She wrote back")
    expect(follow_up).to_contain_text("Draft to send", timeout=PATIENCE_MS)
    _press(chat, "🔄 Regenerate")
    expect(_answers(chat)).to_have_count(3, timeout=PATIENCE_MS)
    _press(chat, "✂️ Shorter")
    expect(_answers(chat)).to_have_count(4, timeout=PATIENCE_MS)
    _press(chat, "📌 Save to casebook")
    _sees(chat, "Saved.")
    _press(chat, "❔ Why this model?")
    _sees(chat, "Which models answered, and why")
    photograph(chat, "why")


def _learn_and_train(chat: Page) -> None:
    _say(chat, "/learn")
    _sees(chat, "0 of 4 levels passed")
    _press(chat, "Discovery")
    _sees(chat, "level 1")
    photograph(chat, "lesson")
    _say(chat, "I would ask her what nine days cost her, and propose a call on Thursday.")
    _sees(chat, "unlocked level 2")
    _press(chat, "Next lesson")
    _sees(chat, "level 2")
    _say(chat, "/train")
    _sees(chat, "★☆☆")
    _say(chat, "I would take the fear seriously, and ask what went wrong that time.")
    _sees(chat, "XP")
    expect(chat.locator("#log .row.in").last).to_contain_text("XP", timeout=PATIENCE_MS)
    _say(chat, "/stats")
    _sees(chat, "To work on")
    photograph(chat, "stats")


def _look_at_what_is_kept_and_erase_it(chat: Page) -> None:
    for command, words in [
        ("/model", "If you asked me now"),
        ("/settings", "Your own OpenRouter key"),
        ("/memory", "What I remember about you"),
        ("/forget", "You can't undo it"),
    ]:
        _say(chat, command)
        _sees(chat, words)
    photograph(chat, "forget")
    _press(chat, "Erase everything")
    _sees(chat, "I've erased your key")


def _say(chat: Page, text: str) -> None:
    chat.get_by_role("textbox", name="Message").fill(text)
    chat.locator("#composer button[type=submit]").click()


def _press(chat: Page, label: str) -> None:
    chat.locator("#log").get_by_role("button", name=label).last.click()


def _sees(chat: Page, words: str) -> Locator:
    said = chat.locator("#log .row.in").filter(has_text=words).last
    expect(said).to_be_visible(timeout=PATIENCE_MS)
    return said


def _answers(chat: Page) -> Locator:
    return chat.locator("#log .row.in").filter(has_text="Draft to send")


def _send_photo(chat: Page, path: Path, caption: str) -> None:
    Image.new("RGB", (640, 400), "white").save(path)
    chat.locator("#file").set_input_files(path)
    _say(chat, caption)


def _approve(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/pipeline/member/")
    admin.get_by_role("link", name=re.compile("Noor")).first.click()
    admin.select_option("select[name=access]", "approved")
    admin.locator("button[name=_save]").click()
    expect(admin.locator("#result_list")).to_be_visible()
