"""Updates fetched and committed, each with its task, before the next fetch acknowledges them."""

from __future__ import annotations

import asyncio
import sys

from django.core.management import call_command
from telegram import Bot

from bench.peers.laps import serve_updates
from bench.telegram import BATCH, BOT, TOKEN
from pipeline.bot.polling import Poller
from pipeline.bot.transport import PersistingRequest
from pipeline.models import Task, TelegramUpdate
from pipeline.queue.inprocess import InProcessQueue


def main() -> None:
    """Take part in the contest on the database that the environment names."""
    call_command("migrate", verbosity=0)
    address, bot_id = sys.argv[2], int(str(BOT["id"]))
    request = PersistingRequest(bot_id, InProcessQueue("bench").add, connection_pool_size=4)
    bot = Bot(TOKEN, base_url=f"{address}/bot", get_updates_request=request)
    poller = Poller(bot, bot_id)
    expected = 0

    async def taken_in(count: int) -> None:
        nonlocal expected
        for _ in range(count // BATCH):
            await poller.fetch(0)
        expected += count
        assert await TelegramUpdate.objects.acount() == expected
        assert await Task.objects.filter(kind="message").acount() == expected

    with asyncio.Runner() as loop:
        loop.run(bot.initialize())
        serve_updates(loop, address, taken_in, "Django", "python-telegram-bot")
        loop.run(bot.shutdown())
