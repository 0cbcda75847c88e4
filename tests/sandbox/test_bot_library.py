"""python-telegram-bot, the library that the bot is built on, works against the sandbox."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import httpx
import pytest
import telegram
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, Update
from telegram.ext import Application, CommandHandler

from tests.sandbox.calling import MAYA, TOKEN, Json, block, png, press, say, sent

KEYBOARD = InlineKeyboardMarkup([[InlineKeyboardButton("Shorter", callback_data="shorter")]])


def as_bot(sandbox: httpx.Client, story: Callable[[Bot], Awaitable[None]]) -> None:
    """Run a story with an initialised bot."""

    async def run() -> None:
        base = str(sandbox.base_url).rstrip("/")
        bot = Bot(TOKEN, base_url=f"{base}/telegram/bot", base_file_url=f"{base}/telegram/file/bot")
        async with bot:
            await story(bot)

    asyncio.run(run())


def test_it_sends_and_edits_and_sees_what_is_not_modified(sandbox: httpx.Client) -> None:
    async def story(bot: Bot) -> None:
        assert bot.username == "observatory_sandbox_bot"
        entities = [MessageEntity(MessageEntity.BOLD, 0, 4)]
        message = await bot.send_message(
            MAYA, "Bold move", entities=entities, reply_markup=KEYBOARD
        )
        assert message.entities[0].type == "bold"
        edited = await message.edit_text("Done")
        assert isinstance(edited, telegram.Message)
        assert (edited.text, edited.reply_markup) == ("Done", None)
        with pytest.raises(telegram.error.BadRequest, match="Message is not modified"):
            await message.edit_text("Done")
        assert await message.delete()

    as_bot(sandbox, story)


@pytest.mark.filterwarnings("ignore::telegram.warnings.PTBDeprecationWarning")
def test_it_maps_every_error_to_its_own_exception(sandbox: httpx.Client) -> None:
    flood = {"method": "sendMessage", "error_code": 429, "retry_after": 7}
    sandbox.post("/telegram/faults", json=flood)

    async def story(bot: Bot) -> None:
        with pytest.raises(telegram.error.RetryAfter) as held:
            await bot.send_message(MAYA, "x")
        assert held.value._retry_after.total_seconds() == 7
        with pytest.raises(telegram.error.BadRequest, match="Chat not found"):
            await bot.send_message(4242, "x")
        block(sandbox)
        with pytest.raises(telegram.error.Forbidden, match="blocked by the user"):
            await bot.send_message(MAYA, "x")

    as_bot(sandbox, story)


def test_it_receives_a_photo_and_downloads_it(sandbox: httpx.Client) -> None:
    picture = png(40, 30)
    files = {"photo": ("org.png", picture, "image/png")}
    sandbox.post(f"/chat/{MAYA}/messages", files=files, data={"caption": "/support this chart"})

    async def story(bot: Bot) -> None:
        (update,) = await bot.get_updates()
        message = update.message
        assert message is not None
        assert (message.photo[-1].width, message.photo[-1].height) == (40, 30)
        assert message.caption_entities[0].type == "bot_command"
        file = await message.photo[-1].get_file()
        assert bytes(await file.download_as_bytearray()) == picture

    as_bot(sandbox, story)


def test_it_sends_photos_and_documents(sandbox: httpx.Client) -> None:
    async def story(bot: Bot) -> None:
        photo = await bot.send_photo(MAYA, io.BytesIO(png(40, 30)), caption="A chart")
        again = await bot.send_photo(MAYA, photo.photo[-1].file_id)
        document = await bot.send_document(MAYA, io.BytesIO(b"All of it"), filename="answer.md")
        assert photo.caption == "A chart"
        assert again.photo[-1].file_unique_id == photo.photo[-1].file_unique_id
        assert document.document is not None
        assert document.document.file_name == "answer.md"

    as_bot(sandbox, story)


def test_it_sets_commands_and_knows_of_no_webhook(sandbox: httpx.Client) -> None:
    async def story(bot: Bot) -> None:
        assert await bot.set_my_commands([("help", "What I can do")])
        assert (await bot.get_webhook_info()).url == ""

    as_bot(sandbox, story)


def test_a_polling_application_answers_a_command_and_a_button(sandbox: httpx.Client) -> None:
    async def answer_support(update: Update, context: object) -> None:
        assert update.message is not None
        await update.message.reply_text("Here is a plan", reply_markup=KEYBOARD, do_quote=True)

    async def answer_button(update: Update, context: object) -> None:
        assert update.callback_query is not None
        await update.callback_query.answer("Shortening")
        await update.callback_query.edit_message_text("A short plan")

    async def run() -> None:
        base = str(sandbox.base_url).rstrip("/")
        application = Application.builder().token(TOKEN).base_url(f"{base}/telegram/bot").build()
        application.add_handler(CommandHandler("support", answer_support))
        application.add_handler(telegram.ext.CallbackQueryHandler(answer_button))
        async with application:
            assert application.updater is not None
            await application.start()
            await application.updater.start_polling(poll_interval=0, timeout=1)
            say(sandbox, "/support a VP")
            plan = await text_of_answer("Here is a plan")
            press(sandbox, plan["message_id"], "shorter")
            await text_of_answer("A short plan")
            await application.updater.stop()
            await application.stop()

    async def text_of_answer(text: str) -> Json:
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.01)
                for row in sent(sandbox):
                    if row["history"][-1]["text"] == text:
                        return row

    asyncio.run(run())
    assert sandbox.get("/telegram/acknowledged").json()["acknowledged"] == [1, 2]
