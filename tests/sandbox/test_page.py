"""The chat page in a real browser: live, keyboard-friendly, and deaf to markup in texts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, expect, sync_playwright

from tests.sandbox.calling import MAYA, bot, complete, png, say, send

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
EXAMPLE = "/support VP of Strategy at a mid-size bank, worried about switching cost"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, sandbox: httpx.Client) -> Iterator[Page]:
    """Open the page; whatever it writes to the console as an error fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(str(sandbox.base_url))
    yield page
    context.close()
    assert errors == []


def a_conversation(sandbox: httpx.Client) -> None:
    bot(sandbox, "setMyCommands", commands=[{"command": "support", "description": "Advice"}])
    say(sandbox, EXAMPLE)
    text = "Bold, a link, code, hidden"
    entities = [
        {"type": "bold", "offset": 0, "length": 4},
        {"type": "text_link", "offset": 6, "length": 6, "url": "https://example.com/"},
        {"type": "pre", "offset": 14, "length": 4},
        {"type": "spoiler", "offset": 20, "length": 6},
    ]
    keyboard = {"inline_keyboard": [[{"text": "Shorter", "callback_data": "shorter"}]]}
    send(sandbox, text, entities=entities, reply_markup=keyboard)
    sandbox.post(f"/chat/{MAYA}/messages", files={"photo": ("a.png", png(80, 60))})
    send(sandbox, "I see `a chart`", reply_parameters={"message_id": 3})
    say(sandbox, "Thanks, https://example.com/ helps", reply_to_message_id=4)
    complete(sandbox, "openai/gpt-4.1", headers={"x-observatory-agent": "strategist"})
    complete(sandbox, "sandbox/no-credit", key="sk-or-v1-another-key-bb21")
    complete(sandbox, "sandbox/other-model")


def test_an_example_is_one_click_away_and_reaches_the_bot(
    page: Page, sandbox: httpx.Client
) -> None:
    page.get_by_role("button", name=EXAMPLE).click()

    expect(page.locator(".row.out .body")).to_have_text(EXAMPLE)
    expect(page.get_by_text("What can this bot do?")).to_be_hidden()
    assert bot(sandbox, "getUpdates")["result"][0]["message"]["text"] == EXAMPLE


def test_enter_sends_and_shift_enter_breaks_the_line(page: Page) -> None:
    field = page.get_by_role("textbox", name="Message")
    field.fill("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    field.press("Enter")

    expect(page.locator(".row.out .body")).to_have_text("one\ntwo")
    expect(field).to_have_value("")


def test_an_edit_changes_the_message_in_place(page: Page, sandbox: httpx.Client) -> None:
    message = send(sandbox, "Working…")
    row = page.locator(f"#message-{message['message_id']}")
    expect(row).to_contain_text("Working…")

    target = {"chat_id": MAYA, "message_id": message["message_id"]}
    bot(sandbox, "editMessageText", **target, text="Done")

    expect(row.locator(".body")).to_have_text("Done")
    expect(row.locator("time")).to_contain_text("edited")
    expect(page.locator(".row")).to_have_count(1)


def test_markup_in_texts_is_shown_and_not_obeyed(page: Page, sandbox: httpx.Client) -> None:
    attack = '<img src=x onerror="document.title=1"> <b>x</b> javascript:alert(1)'
    link = {"type": "text_link", "offset": 0, "length": 4, "url": "javascript:alert(1)"}
    say(sandbox, attack)
    send(sandbox, "link " + attack, entities=[link])

    expect(page.locator(".row.out .body")).to_have_text(attack)
    expect(page.locator(".row.in .body")).to_have_text("link " + attack)
    assert page.locator(".row img, .row b, .row a").count() == 0
    assert "Sandbox" in page.title()


def test_the_command_menu_is_driven_by_the_keyboard(page: Page, sandbox: httpx.Client) -> None:
    commands = [
        {"command": "help", "description": "What I can do"},
        {"command": "support", "description": "Advice"},
    ]
    bot(sandbox, "setMyCommands", commands=commands)
    expect(page.get_by_role("button", name="Commands")).to_be_visible()
    field = page.get_by_role("textbox", name="Message")

    field.press_sequentially("/")
    expect(page.get_by_role("option")).to_have_count(2)
    field.press("ArrowDown")
    field.press("Enter")

    expect(field).to_have_value("/support ")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_a_command_that_is_typed_out_is_sent_by_enter(page: Page, sandbox: httpx.Client) -> None:
    commands = [{"command": "help", "description": "What I can do"}]
    bot(sandbox, "setMyCommands", commands=commands)
    expect(page.get_by_role("button", name="Commands")).to_be_visible()
    field = page.get_by_role("textbox", name="Message")

    field.press_sequentially("/help")
    expect(page.get_by_role("option")).to_have_count(1)
    field.press("Enter")

    expect(page.locator(".row.out .body")).to_have_text("/help")
    expect(field).to_have_value("")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_a_pressed_button_shows_the_bots_answer(page: Page, sandbox: httpx.Client) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Shorter", "callback_data": "shorter"}]]}
    send(sandbox, reply_markup=keyboard)
    page.get_by_role("button", name="Shorter").click()
    query = bot(sandbox, "getUpdates", timeout=5)["result"][0]["callback_query"]

    bot(sandbox, "answerCallbackQuery", callback_query_id=query["id"], text="Shortening")

    expect(page.get_by_role("status").filter(has_text="Shortening")).to_be_visible()


def test_a_photo_is_previewed_and_sent_with_its_caption(page: Page) -> None:
    files = FilePayload(name="org.png", mimeType="image/png", buffer=png(80, 60))
    page.set_input_files("#file", files)
    expect(page.get_by_alt_text("The photo you are about to send")).to_be_visible()
    page.get_by_role("textbox", name="Message").fill("Their org chart")
    page.get_by_role("button", name="Send").click()

    picture = page.get_by_alt_text("Photo: Their org chart")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 80


def test_a_reply_quotes_the_message_it_answers(page: Page, sandbox: httpx.Client) -> None:
    send(sandbox, "Who decides?")
    page.get_by_role("button", name="Reply to this message").click()
    field = page.get_by_role("textbox", name="Message")
    field.fill("The CFO")
    field.press("Enter")

    expect(page.locator(".row.out .answered")).to_contain_text("Who decides?")


def test_the_wire_shows_live_who_paid_and_never_a_key(page: Page, sandbox: httpx.Client) -> None:
    key = "sk-or-v1-0123456789abcdef77c1"

    complete(sandbox, "openai/gpt-4.1", key=key, headers={"x-observatory-agent": "strategist"})

    call = page.locator(".call")
    expect(call).to_contain_text("strategist")
    expect(call).to_contain_text("openai/gpt-4.1")
    expect(call).to_contain_text("…77c1")
    expect(call).to_contain_text("200")
    expect(page.locator("#payers")).to_contain_text("paid 1 call")
    assert key not in page.content()


def test_each_person_has_a_chat_and_new_ones_can_come(page: Page, sandbox: httpx.Client) -> None:
    say(sandbox, "From Maya")
    expect(page.get_by_text("From Maya")).to_be_visible()

    page.get_by_role("button", name="Tom Brandt").click()
    expect(page.get_by_text("From Maya")).to_be_hidden()
    page.get_by_role("button", name="+ Add a person").click()
    page.get_by_label("First name").fill("Ada")
    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_role("button", name="Ada")).to_have_attribute("aria-current", "true")


def test_blocking_takes_the_input_away_until_it_is_taken_back(page: Page) -> None:
    page.get_by_role("button", name="Block the bot", exact=True).click()
    expect(page.get_by_role("textbox", name="Message")).to_be_hidden()

    page.get_by_role("button", name="Unblock the bot").click()

    expect(page.get_by_role("textbox", name="Message")).to_be_visible()


def test_new_messages_follow_unless_the_reader_has_scrolled_up(
    page: Page, sandbox: httpx.Client
) -> None:
    sandbox.post("/telegram/limits", json={"on": False})
    for n in range(40):
        send(sandbox, f"Message {n}")
    expect(page.get_by_text("Message 39")).to_be_in_viewport()

    page.locator("#scroll").evaluate("element => { element.scrollTop = 0; }")
    expect(page.get_by_role("button", name="To the newest message")).to_be_visible()
    send(sandbox, "Unseen")
    expect(page.get_by_text("Unseen")).not_to_be_in_viewport()
    page.get_by_role("button", name="To the newest message").click()

    expect(page.get_by_text("Unseen")).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_page_is_accessible_and_fits(
    browser: Browser, sandbox: httpx.Client, scheme: str, width: int, height: int
) -> None:
    a_conversation(sandbox)
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(str(sandbox.base_url))
    expect(page.locator(".row")).to_have_count(5)

    violations = [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]

    assert violations == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
