"""aiogram as it comes, its updates in memory; with `reply` it answers each."""

from __future__ import annotations

import asyncio
import sys

from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import Message
from laps import Counter, serve_updates

address, token, does = sys.argv[1:]
handled, dispatcher = Counter(), Dispatcher()


@dispatcher.message()
async def handle(message: Message) -> None:
    if does == "reply":
        await message.answer("an answer")
    handled.add()


async def start() -> asyncio.Task[None]:
    bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(address)))
    return asyncio.create_task(dispatcher.start_polling(bot, handle_signals=False))


async def stop(polling: asyncio.Task[None]) -> None:
    await dispatcher.stop_polling()
    await polling


with asyncio.Runner() as loop:
    task = loop.run(start())
    serve_updates(loop, address, handled.more, "aiogram")
    loop.run(stop(task))
