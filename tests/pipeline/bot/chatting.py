"""A person in the sandbox's chat, and a bot that serves it, for tests over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings

from agents.models import AgentModelConfig
from agents.process_report import effect
from pipeline.queue.base import TIMINGS
from pipeline.worker import serve
from tests.canaries import BOT_TOKEN, SHARED_KEY
from tests.made_up_agents import ANYWAY
from tests.sandbox.serving import running_sandbox

MAYA, TOM, NOOR = 1001, 1002, 1003
OPERATOR = 1004  # the first person that a test adds
PATIENCE_S = 60.0
_message_ids = count(1)


class Chat:
    """What people type into the sandbox, and what they see."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=60, verify=False)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def say(self, person: int, text: str, reply_to: int | None = None) -> int:
        said = {"text": text, "reply_to_message_id": reply_to}
        answer = await self._http.post(f"/chat/{person}/messages", json=said)
        assert answer.is_success, answer.text
        return int(answer.json()["message_id"])

    async def send_photo(self, person: int, content: bytes, caption: str = "") -> None:
        answer = await self._http.post(
            f"/chat/{person}/messages",
            files={"photo": ("photo.png", content)},
            data={"caption": caption},
        )
        assert answer.is_success, answer.text

    async def forward(self, person: int, text: str, **message: Any) -> None:
        """Pass on what a prospect wrote, as Telegram delivers it."""
        origin = {"type": "hidden_user", "sender_user_name": "Pia Prospect", "date": 1_700_000_000}
        await self.inject(person, text=text, forward_origin=origin, **message)

    async def inject(self, person: int, **message: Any) -> None:
        """Have Telegram deliver a message that the chat page cannot write."""
        usual = {
            "message_id": 900_000 + next(_message_ids),
            "date": 1_700_000_000,
            "chat": {"id": person, "type": "private"},
            "from": {"id": person, "is_bot": False, "first_name": "Somebody"},
        }
        answer = await self.post("/telegram/updates", message=usual | message)
        assert answer.is_success, answer.text

    async def add_operator(self) -> int:
        """Return a person who has written to the bot, so that it may write to them."""
        answer = await self._http.post("/chat/people", json={"first_name": "Olga"})
        person = int(answer.json()["id"])
        await self.say(person, "/start")
        await self.sees(person, lambda replies: len(replies) > 0)
        return person

    async def messages(self, person: int) -> list[dict[str, Any]]:
        return list((await self._http.get(f"/chat/{person}/messages")).json()["messages"])

    async def messages_of_the_bot(self, person: int) -> list[dict[str, Any]]:
        return [m for m in await self.messages(person) if m["from"]["is_bot"]]

    async def replies(self, person: int) -> list[str]:
        return [m.get("text", "") for m in await self.messages_of_the_bot(person)]

    async def delete(self, person: int, message_id: int) -> None:
        """Have a message of the bot's vanish as if it had never come."""
        target = {"chat_id": person, "message_id": message_id}
        answer = await self.post(f"/telegram/bot{BOT_TOKEN}/deleteMessage", **target)
        assert answer.is_success, answer.text

    async def press(self, person: int, label: str) -> None:
        """Press the newest button of that label."""
        for message in reversed(await self.messages_of_the_bot(person)):
            for row in message.get("reply_markup", {}).get("inline_keyboard", []):
                for button in row:
                    if button["text"] == label:
                        pressed = {
                            "message_id": message["message_id"],
                            "data": button["callback_data"],
                        }
                        answer = await self.post(f"/chat/{person}/press", **pressed)
                        assert answer.is_success, answer.text
                        return
        raise AssertionError(f"{person} sees no button {label!r}")

    async def press_unseen(self, person: int, message_id: int, data: str) -> None:
        """Press as a stranger's client might: also a button that is not there."""
        query = {
            "id": str(message_id),
            "from": {"id": person, "is_bot": False, "first_name": "Somebody"},
            "message": {
                "message_id": message_id,
                "date": 1_700_000_000,
                "chat": {"id": person, "type": "private"},
            },
            "chat_instance": "1",
            "data": data,
        }
        answer = await self._http.post("/telegram/updates", json={"callback_query": query})
        assert answer.is_success, answer.text

    async def sees(self, person: int, has: Callable[[list[str]], bool]) -> list[str]:
        """Return the bot's messages as soon as they are as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not has(seen := await self.replies(person)):
            assert time.monotonic() < deadline, f"{person} still sees {seen}"
            await asyncio.sleep(0.02)
        return seen

    async def sees_text(self, person: int, text: str) -> str:
        seen = await self.sees(person, lambda replies: any(text in reply for reply in replies))
        return next(reply for reply in seen if text in reply)

    async def sees_toast(self, text: str, *, after: int = 0) -> None:
        """Wait until a press has been answered with this text, after the first `after` answers."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(text in toast for toast in (await self.toasts())[after:]):
            assert time.monotonic() < deadline, f"presses were answered {await self.toasts()}"
            await asyncio.sleep(0.02)

    async def toasts(self) -> list[str]:
        return list((await self._http.get("/telegram/toasts")).json()["toasts"])

    async def calls(self) -> list[dict[str, Any]]:
        return list((await self._http.get("/ledger")).json()["calls"])

    async def sees_calls(self, has: Callable[[list[dict[str, Any]]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not has(calls := await self.calls()):
            assert time.monotonic() < deadline, f"the ledger still has {calls}"
            await asyncio.sleep(0.02)

    async def acknowledged(self) -> list[int]:
        """Return the ids of the updates that will never be delivered again."""
        return list((await self._http.get("/telegram/acknowledged")).json()["acknowledged"])

    async def history(self, person: int) -> list[list[dict[str, Any]]]:
        """Return every state of each of the bot's messages, in the order of sending."""
        return [row["history"] for row in await self.all_sent() if row["chat_id"] == person]

    async def all_sent(self) -> list[dict[str, Any]]:
        """Return every message of the bot to anybody, with its history."""
        return list((await self._http.get("/telegram/sent")).json()["sent"])

    async def fault(self, **script: Any) -> None:
        answer = await self._http.post("/telegram/faults", json=script)
        assert answer.is_success, answer.text

    async def post(self, path: str, **json: Any) -> httpx.Response:
        return await self._http.post(path, json=json)


async def choose(agent: str, model_id: str) -> None:
    """Set an override, whether or not its model suits the agent."""
    await AgentModelConfig.objects.aupsert(agent, model_id, "ana", **ANYWAY)


async def change_in_effect() -> None:
    """Wait until the running bot has the last change of the overrides.

    A message that is sent at once may be faster: a change takes up to 0.1 s.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (rollout := await sync_to_async(effect)()).is_everywhere:
        assert time.monotonic() < deadline, rollout.sentence
        await asyncio.sleep(0.02)


class BotCase(TransactionTestCase):
    """Tests that talk to a running bot."""

    timings = TIMINGS

    @asynccontextmanager
    async def bot(self, **settings: Any) -> AsyncIterator[Chat]:
        """Run sandbox and bot until the block ends; the bot must stop cleanly."""
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, **settings) as chat:
                yield chat

    @asynccontextmanager
    async def bot_at(self, base_url: str, **settings: Any) -> AsyncIterator[Chat]:
        stopping = asyncio.Event()
        chat = Chat(base_url)
        with override_settings(**environment(base_url) | settings):
            running = asyncio.create_task(serve(stopping, timings=self.timings))
            try:
                yield chat
            finally:
                stopping.set()
                await asyncio.wait_for(running, PATIENCE_S)
                await chat.aclose()


def environment(base_url: str) -> dict[str, Any]:
    """Return the settings of a bot that knows nothing but a sandbox."""
    return {
        "TELEGRAM_BOT_TOKEN": BOT_TOKEN,
        "TELEGRAM_API_BASE_URL": f"{base_url}/telegram",
        "TELEGRAM_FILE_BASE_URL": f"{base_url}/telegram/file",
        "OPENROUTER_BASE_URL": f"{base_url}/openrouter/api/v1",
        "ANTHROPIC_BASE_URL": f"{base_url}/anthropic",
        "OPENAI_BASE_URL": f"{base_url}/openai",
        "OPENROUTER_API_KEY": SHARED_KEY,
        "OPERATOR_CHAT_ID": str(OPERATOR),
        "SHARED_KEY_FOR_MEMBERS": True,
        "ACCESS": "open",
        "DEFAULT_MODEL": "openai/gpt-5-mini",
        "DEFAULT_MODELS": {
            "openrouter": "openai/gpt-5-mini",
            "claude": "claude-haiku-4-5",
            "openai": "gpt-5-mini",
        },
        "RUNS_PER_HOUR": 100_000,
        "SHARED_DOLLARS_PER_DAY": 1_000,
        "DRAIN_SECONDS": 5,
    }
