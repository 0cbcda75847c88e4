"""The promise, seen by a person: what the operator chose is what ran, on whose key, at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import open_chat, photograph, sign_in

pytestmark = pytest.mark.browser

MESSAGE = "/support VP of Strategy at a mid-size bank, worried about switching cost"
CHOSEN = "anthropic/claude-sonnet-4.5"
SHARED_KEY = "sk-or-v1-sandbox-team-key-0001"
MAYAS_KEY = "sk-or-v1-sandbox-maya-key-0002"
# What stands where the answer will be.
STAGE = re.compile("(One moment|Reading your message|Working out a plan)…")
ANSWER_TIMEOUT_MS = 30_000


def test_an_override_set_in_the_admin_runs_from_the_next_message_on(
    installation: Installation, window: BrowserContext
) -> None:
    processes = {process.pid for process in installation.processes()}
    chat = open_chat(installation, window)
    admin = sign_in(installation, window)

    assert set(_payers(installation, chat).values()) == {MAYAS_KEY}

    _add_override(installation, admin)
    payers = _payers(installation, chat)
    assert payers.pop(("strategist", CHOSEN)) == SHARED_KEY
    assert set(payers.values()) == {MAYAS_KEY}
    assert {agent for agent, _ in payers} == {"extraction", "memory"}
    _see_the_reason(installation, admin)
    _photograph(installation, chat, admin)

    _deactivate_override(installation, admin)
    assert set(_payers(installation, chat).values()) == {MAYAS_KEY}
    assert {process.pid for process in installation.processes()} == processes


def test_a_restart_loses_no_chat_and_leaves_no_process(
    installation: Installation, window: BrowserContext
) -> None:
    chat = open_chat(installation, window)
    _payers(installation, chat)
    password, processes = installation.password(), installation.processes()

    assert installation.interrupt() == 0
    assert not [process for process in processes if process.is_running()]

    installation.start()
    assert installation.password() == password
    chat = open_chat(installation, window)
    expect(chat.locator("#log")).to_contain_text("worried about switching cost")
    assert installation.interrupt() == 0


def test_a_second_start_says_that_the_first_one_is_running(installation: Installation) -> None:
    second = installation.launch()

    said, _ = second.communicate(timeout=60)

    assert second.returncode == 1
    assert "running already" in said
    assert str(installation.port) in said


# --- what the persons do --------------------------------------------------------------------------


def _payers(installation: Installation, chat: Page) -> dict[tuple[str, str], str]:
    """Write to the bot as Maya; return which key paid, by agent and model."""
    before = len(installation.calls())
    answers = chat.locator("#log .row.in")
    known = answers.count()
    chat.get_by_role("textbox", name="Message").fill(MESSAGE)
    chat.keyboard.press("Enter")
    answer = answers.nth(known)
    expect(answer).to_contain_text(STAGE)
    expect(answer).to_contain_text("Draft", timeout=ANSWER_TIMEOUT_MS, ignore_case=True)
    # Memory runs in the background: its call comes after the answer.
    expect(chat.locator("#wire-count")).to_have_text(str(before + 3), timeout=ANSWER_TIMEOUT_MS)
    expect(chat.locator("#calls")).not_to_contain_text("answering", timeout=ANSWER_TIMEOUT_MS)
    return {
        (call["agent"], call["served_model"]): call["key"]
        for call in installation.calls(after=before)
    }


def _add_override(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/agents/agentmodelconfig/add/")
    admin.select_option("select[name=agent_name]", "strategist")
    admin.fill("input[name=model_id]", CHOSEN)
    admin.locator("button[name=_save]").click()
    expect(admin.get_by_text("Applies from the next step.")).to_be_visible()


def _deactivate_override(installation: Installation, admin: Page) -> None:
    _open_override(installation, admin)
    admin.locator("input[name=is_active]").uncheck()
    admin.locator("button[name=_save]").click()
    expect(admin.get_by_text("Applies from the next step.")).to_be_visible()
    expect(admin.locator("#result_list .field-state")).to_have_text("Off")


def _open_override(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/agents/agentmodelconfig/")
    admin.locator("#result_list").get_by_role("link", name="strategist").click()


def _see_the_reason(installation: Installation, admin: Page) -> None:
    _open_newest_run(installation, admin)
    expect(admin.locator("main")).to_contain_text(f"ran {CHOSEN} because override v1 by operator")
    expect(admin.locator("main")).to_contain_text("shared key")


def _open_newest_run(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/")
    admin.locator("#result_list .field-started a").first.click()


# --- what it looks like ---------------------------------------------------------------------------


def _photograph(installation: Installation, chat: Page, admin: Page) -> None:
    overrides = f"{installation.address}/admin/agents/agentmodelconfig/"
    photograph(chat, "chat")
    admin.goto(f"{installation.address}/admin/")
    photograph(admin, "home")
    admin.goto(overrides)
    photograph(admin, "overrides")
    _open_override(installation, admin)
    photograph(admin, "override")
    admin.goto(admin.url.replace("/change/", "/history/"))
    photograph(admin, "history")
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/")
    photograph(admin, "runs")
    _open_newest_run(installation, admin)
    photograph(admin, "run")
