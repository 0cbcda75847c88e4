"""An operator on the first page chooses a model, tries it and changes it back; all see it live."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from agents.display import dollars
from tests.browser.installation import Installation
from tests.browser.pages import (
    WIDTHS,
    has_no_serious_violation,
    open_chat,
    photograph,
    sign_in,
    tab_to,
)

pytestmark = pytest.mark.browser

CHOSEN = "anthropic/claude-sonnet-4.5"
COST_OF_CHANGE = re.compile("a day on the team key|Not enough traffic yet to estimate")
SEEN_WITHIN_MS = 2_000
PATIENCE_MS = 30_000
# A process that resolves overrides and reports, as every worker does; stdin's end is its own.
RESOLVER = """
import sys
from agents.model_config import service_from_settings
from agents.process_report import ProcessReport
service = service_from_settings()
report = ProcessReport(service, "worker")
report.start()
sys.stdin.read()
report.close()
service.close()
"""


def test_a_change_is_seen_in_effect_on_all_processes_by_another_browser(
    installation: Installation, window: BrowserContext, browser: Browser
) -> None:
    admin = sign_in(installation, window)
    colleague = sign_in(installation, browser.new_context())
    with _two_more_processes(installation):
        _open(installation, colleague)
        expect(_effect(colleague)).to_contain_text("(3 of 3)", timeout=PATIENCE_MS)
        colleague.evaluate("window.notReloaded = true")

        _choose_by_mouse(installation, admin, "strategist")

        expect(_effect(colleague)).to_contain_text(
            re.compile(r"Live on all processes \(3 of 3\) · took \d"), timeout=SEEN_WITHIN_MS
        )
        expect(_row(colleague, "strategist")).to_contain_text(CHOSEN)
        expect(_row(colleague, "strategist")).to_contain_text("Override v1, set by operator")
        assert colleague.evaluate("window.notReloaded") is True


def test_a_model_is_found_tried_chosen_and_removed_by_keyboard_alone(
    installation: Installation, window: BrowserContext
) -> None:
    admin = sign_in(installation, window)
    _look_at(admin, "phone", "dark")
    _open(installation, admin)
    tab_to(admin, "#set-trainer")
    admin.keyboard.press("Enter")
    expect(admin.locator("#id_agent_name")).to_have_value("trainer")
    _wait_for_catalogue(admin)
    tab_to(admin, "#id_search")
    admin.keyboard.type("sonnet 4.5")
    expect(admin.locator("#models button").first).to_have_attribute("data-model", CHOSEN)
    admin.keyboard.press("ArrowDown")
    admin.keyboard.press("Enter")
    expect(admin.locator("#id_model_id")).to_have_value(CHOSEN)
    expect(admin.locator("#cost")).to_contain_text("$3.00 in, $15.00 out per million tokens")
    expect(admin.locator("#cost")).to_contain_text(COST_OF_CHANGE)
    has_no_serious_violation(admin)
    photograph(admin, "picker", reloads=False)
    _look_at(admin, "phone", "dark")

    _try_it(installation, window, admin)

    tab_to(admin, "button[name=_save]")
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("Applies from the next step.")).to_be_visible()
    _open(installation, admin)
    expect(_row(admin, "trainer")).to_contain_text(CHOSEN)
    tab_to(admin, "#remove-trainer")
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("stops using")).to_be_visible()
    has_no_serious_violation(admin)
    photograph(admin, "remove")
    _look_at(admin, "phone", "dark")
    tab_to(admin, "#confirm")
    admin.keyboard.press("Enter")
    expect(_row(admin, "trainer")).to_contain_text("the member's own model")
    _switch_all_off_by_keyboard(installation, admin)


def test_what_was_answered_is_on_the_first_page_with_what_it_cost(
    installation: Installation, window: BrowserContext
) -> None:
    admin, chat = sign_in(installation, window), open_chat(installation, window)
    _look_at(admin, "phone", "light")
    _choose_by_mouse(installation, admin, "strategist")
    chat.get_by_role("textbox", name="Message").fill("/support CFO who went silent on the price")
    chat.keyboard.press("Enter")
    expect(chat.locator("#wire-count")).to_have_text("3", timeout=PATIENCE_MS)
    expect(chat.locator("#calls")).not_to_contain_text("answering", timeout=PATIENCE_MS)
    paid = {call["agent"]: call["cost_usd"] for call in installation.calls()}

    _open(installation, admin)

    row = _row(admin, "strategist")
    expect(row.locator("td[data-title='Steps']")).to_have_text("1", timeout=PATIENCE_MS)
    expect(row.locator("td[data-title='Team cost']")).to_have_text(
        dollars(Decimal(str(paid["strategist"])))
    )
    expect(_row(admin, "extraction").locator("td[data-title='Member cost']")).to_have_text(
        dollars(Decimal(str(paid["extraction"])))
    )
    expect(admin.locator("[data-figure=workers]")).to_contain_text("1 bot")
    expect(admin.locator("[data-figure=p95]")).to_contain_text("1 run, last 15 min")
    canvas = admin.get_by_role("img", name=re.compile(r"Cost \(\$\).*strategist"))
    expect(canvas).to_be_visible()
    for each in ("light", "dark"):
        admin.emulate_media(color_scheme=each)
        admin.reload()
        has_no_serious_violation(admin)
    photograph(admin, "first-page")
    _look_at(admin, "phone", "light")
    admin.get_by_role("link", name="30 days").click()
    admin.get_by_role("link", name="By model").click()
    expect(
        admin.get_by_role("img", name=re.compile("30 days.*claude-sonnet-4.5")).first
    ).to_be_visible()

    admin.get_by_role("link", name="Turn off all overrides").click()
    admin.get_by_role("button", name="Turn off all").click()
    expect(_row(admin, "strategist")).to_contain_text("the member's own model")


# --- what the persons do --------------------------------------------------------------------------


def _look_at(admin: Page, size: str, scheme: Literal["light", "dark"]) -> None:
    """Go on at that width, in that light."""
    width, height = WIDTHS[size]
    admin.set_viewport_size({"width": width, "height": height})
    admin.emulate_media(color_scheme=scheme)


def _switch_all_off_by_keyboard(installation: Installation, admin: Page) -> None:
    _choose_by_mouse(installation, admin, "memory")
    _open(installation, admin)
    tab_to(admin, "#stop-all")
    admin.keyboard.press("Enter")
    expect(admin.locator("#confirm")).to_be_visible()
    tab_to(admin, "#confirm")
    admin.keyboard.press("Enter")
    expect(_row(admin, "memory")).to_contain_text("the member's own model")


def _open(installation: Installation, admin: Page) -> None:
    admin.goto(f"{installation.address}/admin/")


def _effect(admin: Page):
    return admin.locator("[data-state=overrides]")


def _row(admin: Page, agent: str):
    return admin.locator(f"tr[data-agent={agent}]")


def _wait_for_catalogue(admin: Page) -> None:
    """The bot fetches it at its start; whoever is faster asks for it."""
    expect(admin.locator("#models")).to_contain_text(re.compile("per million|catalog is empty"))
    if admin.get_by_text("The catalog is empty").count():
        admin.get_by_role("button", name="Refresh catalog").click()
        expect(admin.locator("#models")).to_contain_text("per million")


def _choose_by_mouse(installation: Installation, admin: Page, agent: str) -> None:
    _open(installation, admin)
    admin.locator(f"#set-{agent}").click()
    _wait_for_catalogue(admin)
    admin.locator("#id_search").fill("sonnet 4.5")
    admin.locator(f"#models [data-model='{CHOSEN}']").click()
    admin.locator("button[name=_save]").click()
    admin.wait_for_url(re.compile("/agentmodelconfig/$"))


def _try_it(installation: Installation, window: BrowserContext, admin: Page) -> None:
    before = len(installation.calls())
    tab_to(admin, "button[name=try]")
    admin.keyboard.press("Enter")
    result = admin.frame_locator("#trial")
    expect(result.locator("main")).to_contain_text(f"Model tried: {CHOSEN}")
    calls = installation.calls(after=before)
    assert {call["agent"] for call in calls} == {"trainer"}
    assert sorted(call["served_model"] for call in calls)[0] == CHOSEN
    assert len(calls) == 2
    with window.expect_page() as opened:
        result.locator("article").last.get_by_role("link").click()
    record = opened.value
    expect(record.locator("main")).to_contain_text(f"ran {CHOSEN} because operator tried it out")
    expect(record.locator("main")).to_contain_text("Answer")
    photograph(record, "trial")
    record.close()
    assert admin.locator("#id_model_id").input_value() == CHOSEN


@contextmanager
def _two_more_processes(installation: Installation) -> Iterator[None]:
    environment = {
        "PATH": os.environ["PATH"],  # and no setting of the tests' own
        "DJANGO_SETTINGS_MODULE": "observatory.settings",
        "DJANGO_DEBUG": "true",
        "SANDBOX": "true",
        "PORT": str(installation.port),
    }
    script = f"import django\ndjango.setup()\n{RESOLVER}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=installation.folder,
            env=environment,
            stdin=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        yield
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
