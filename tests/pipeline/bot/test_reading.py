"""What counts as the member's words and pictures."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from pipeline.models import PipelineRun
from tests.pipeline.bot.chatting import MAYA, BotCase, Chat
from tests.pipeline.bot.relay import Relay
from tests.pipeline.bot.test_conversation import PIXEL
from tests.sandbox.serving import running_sandbox


def _answered(times: int, seen: list[str]) -> bool:
    return sum("Draft to send" in text for text in seen) == times


async def inject(chat: Chat, **content: Any) -> None:
    """Send what the sandbox's page cannot."""
    person = {"id": MAYA, "first_name": "Maya"}
    await chat.post(
        "/telegram/updates",
        message={
            "message_id": 900,
            "date": int(time.time()),
            "chat": person | {"type": "private"},
            "from": person | {"is_bot": False},
            **content,
        },
    )


async def uploaded(chat: Chat) -> dict[str, Any]:
    """Return a photo that the sandbox has, once the bot has answered it."""
    await chat.send_photo(MAYA, PIXEL)
    await chat.sees_text(MAYA, "Draft to send")
    photo: dict[str, Any] = (await chat.messages(MAYA))[0]["photo"][-1]
    return photo


class WordsTests(BotCase):
    async def test_all_words_after_the_command_count_whatever_separates_them(self):
        cases = {
            "/support\nCFO of a logistics firm": "CFO of a logistics firm",
            "/support\nCFO": "CFO",
            "/support@observatory_sandbox_bot  CFO\nof two firms": "CFO\nof two firms",
        }
        async with self.bot() as chat:
            for number, (said, words) in enumerate(cases.items(), start=1):
                await chat.say(MAYA, said)
                await chat.sees(
                    MAYA,
                    partial(_answered, number),
                )
                run = await PipelineRun.objects.select_related("user_message").alatest("started_at")
                with self.subTest(said=said):
                    assert run.user_message is not None
                    assert run.user_message.text == words

    async def test_a_command_in_a_caption_is_not_part_of_the_words(self):
        async with self.bot() as chat:
            await chat.send_photo(MAYA, PIXEL, "/support what now?")
            await chat.sees_text(MAYA, "Draft to send")

        run = await PipelineRun.objects.select_related("user_message").aget()
        assert run.user_message is not None
        assert run.user_message.text == "what now?"


class PictureTests(BotCase):
    async def test_a_picture_sent_as_a_file_is_read_like_a_photo(self):
        async with self.bot() as chat:
            photo = await uploaded(chat)
            await inject(chat, document=photo | {"mime_type": "image/png"})
            await chat.sees(MAYA, lambda seen: len(seen) == 2 and "Draft to send" in seen[1])

        assert await PipelineRun.objects.filter(pipeline="support_photo").acount() == 2

    async def test_of_an_album_the_first_picture_is_read_and_the_member_told_once(self):
        async with self.bot() as chat:
            photo = await uploaded(chat)
            for _ in range(3):
                await inject(chat, photo=[photo], media_group_id="album")
            await chat.sees_text(MAYA, "one picture at a time")
            await chat.say(MAYA, "the message after the album")
            seen = await chat.sees(
                MAYA, lambda seen: sum("Draft to send" in text for text in seen) == 3
            )

        assert sum("one picture at a time" in text for text in seen) == 1
        assert await PipelineRun.objects.filter(pipeline="support_photo").acount() == 2


class PreviewTests(BotCase):
    async def test_no_message_of_the_bot_previews_a_link(self):
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                telegram = f"{relay.url}/telegram"
                async with self.bot_at(base_url, TELEGRAM_API_BASE_URL=telegram) as chat:
                    await chat.say(MAYA, "see https://example.com")
                    await chat.sees_text(MAYA, "Draft to send")

        shown = [f for method, f in relay.calls if method in ("sendMessage", "editMessageText")]
        assert len(shown) >= 2
        assert all('"is_disabled": true' in f.get("link_preview_options", "") for f in shown)
