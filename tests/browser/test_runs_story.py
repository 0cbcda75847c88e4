"""An operator finds a run, sees what took how long and reruns it, by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.installation import Installation
from tests.browser.pages import (
    has_no_serious_violation,
    open_chat,
    photograph,
    sign_in,
    tab_to,
)

pytestmark = pytest.mark.browser

MESSAGE = "/support VP of Strategy at a mid-size bank, worried about switching cost"
CHOSEN = "anthropic/claude-sonnet-4.5"
OTHER = "google/gemini-2.5-flash"
SHARED_KEY = "sk-or-v1-sandbox-team-key-0001"
PATIENCE_MS = 30_000


def test_a_run_is_found_read_and_run_again(
    installation: Installation, window: BrowserContext
) -> None:
    chat, admin = open_chat(installation, window), sign_in(installation, window)
    _override(installation, admin, "strategist", CHOSEN)
    _ask(chat, 1)
    _ask(chat, 2)

    _filter_by_mouse(installation, admin)
    _open_and_read(admin)
    _go_on_by_keyboard(installation, admin)
    _run_again(installation, admin)
    _export(installation, admin)


def _override(installation: Installation, admin: Page, agent: str, model_id: str) -> None:
    admin.goto(f"{installation.address}/admin/agents/agentmodelconfig/add/")
    admin.select_option("select[name=agent_name]", agent)
    admin.fill("input[name=model_id]", model_id)
    admin.locator("button[name=_save]").click()
    expect(admin.get_by_text("Applies from the next step.")).to_be_visible()


def _ask(chat: Page, times: int) -> None:
    chat.get_by_role("textbox", name="Message").fill(MESSAGE)
    chat.keyboard.press("Enter")
    expect(chat.locator("#wire-count")).to_have_text(str(3 * times), timeout=PATIENCE_MS)
    expect(chat.locator("#calls")).not_to_contain_text("answering", timeout=PATIENCE_MS)


# --- the list -------------------------------------------------------------------------------------


def _filter_by_mouse(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/")
    rows = admin.locator("#result_list tbody tr")
    expect(rows).to_have_count(2)
    photograph(admin, "runs-list")
    has_no_serious_violation(admin)
    admin.locator("a").filter(has_text=re.compile(r"^\s*Filters")).click()
    expect(admin.locator("#filter-form")).to_be_visible()
    photograph(admin, "runs-filters", reloads=False)
    admin.select_option("#filter-form select[name=model]", CHOSEN, force=True)
    admin.select_option("#filter-form select[name=agent]", "strategist", force=True)
    admin.fill("#filter-form input[name=member]", "maya")
    admin.get_by_role("button", name="Apply Filters").click()
    expect(admin).to_have_url(re.compile("agent=strategist"))
    expect(rows).to_have_count(2)
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/?agent=memory&model={CHOSEN}")
    expect(admin.locator("body")).to_contain_text("No matches")
    admin.go_back()
    expect(rows).to_have_count(2)


def _open_and_read(admin: Page) -> None:
    admin.locator("#result_list .field-started a").first.click()
    expect(admin.get_by_role("heading", name="Timeline")).to_be_visible()
    bars = admin.locator(".waterfall rect")
    expect(bars).to_have_count(6)
    boxes = [bars.nth(number).bounding_box() for number in range(6)]
    ends = [(box["x"], box["x"] + box["width"]) for box in boxes if box is not None]
    steps = ends[::2]
    assert steps[0][1] <= steps[1][0] + 2
    assert all(
        step[0] - 2 <= call[0] and call[1] <= step[1] + 2
        for step, call in zip(steps, ends[1::2], strict=True)
    )
    admin.get_by_role("link", name=re.compile("^strategist")).first.click()
    expect(admin).to_have_url(re.compile("#step-2-1$"))
    expect(admin.locator("#step-2-1")).to_be_in_viewport()
    expect(admin.locator("#step-2-1 .decision")).to_contain_text(f"ran {CHOSEN} because override")
    photograph(admin, "run-step")
    admin.goto(admin.url.partition("#")[0])
    photograph(admin, "run-page")
    has_no_serious_violation(admin)


def _go_on_by_keyboard(installation: Installation, admin: Page) -> None:
    """Come from the list to a step of a run, and open what the model was told, without a mouse."""
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/?model={CHOSEN}")
    tab_to(admin, "#result_list .field-started a")
    admin.keyboard.press("Enter")
    expect(admin.get_by_role("heading", name="Timeline")).to_be_visible()
    tab_to(admin, "a[href='#step-3-1']")
    admin.keyboard.press("Enter")
    expect(admin.locator("#step-3-1")).to_be_in_viewport()
    tab_to(admin, "#step-3-1 article summary")
    admin.keyboard.press("Enter")
    expect(admin.locator("#step-3-1 article details").first).to_have_attribute("open", "")
    admin.keyboard.press("Shift+Tab")


def _run_again(installation: Installation, admin: Page) -> None:
    before = len(installation.calls())
    page = admin.url.partition("#")[0]
    _override(installation, admin, "extraction", OTHER)
    admin.goto(page)
    admin.get_by_role("link", name="Re-run…").click()
    expect(admin.locator("table")).to_contain_text(OTHER)
    expect(admin.locator("main")).to_contain_text("never uses a member's key")
    photograph(admin, "run-again")
    has_no_serious_violation(admin)
    tab_to(admin, "button")
    admin.keyboard.press("Enter")
    expect(admin.locator("h1")).to_contain_text("original vs re-run")
    # It renews itself until all steps, the one in the background too, have ended.
    expect(admin.get_by_text("Your view has been logged.")).to_be_visible(timeout=PATIENCE_MS)
    expect(admin.locator("h1")).to_contain_text("Answered")
    calls = installation.calls(after=before)
    assert {call["key"] for call in calls} == {SHARED_KEY}
    assert len(calls) == 3
    expect(admin.locator("main")).to_contain_text(f"ran {OTHER} because override")
    sides = admin.locator(".sides article")
    first, second = (sides.nth(number).bounding_box() for number in range(2))
    assert first is not None
    assert second is not None
    assert first["x"] + first["width"] <= second["x"]
    photograph(admin, "beside")
    has_no_serious_violation(admin)


def _export(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/pipeline/pipelinerun/?source__exact=again")
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)
    with admin.expect_download() as download:
        admin.get_by_role("link", name="CSV, one row per request").click()
    assert download.value.suggested_filename == "runs.csv"
    assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == 4
    admin.goto(f"{installation.address}/admin/pipeline/textsread/")
    expect(admin.locator("#result_list")).to_contain_text("Comparison with a re-run")
    photograph(admin, "readings")
