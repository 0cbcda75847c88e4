"""python-telegram-bot as it comes, its updates in memory; with `reply` it answers each."""

from __future__ import annotations

import asyncio
import sys

from laps import Counter, serve_updates
from telegram import Update
from telegram.ext import ApplicationBuilder, ContextTypes, MessageHandler, filters

address, token, does = sys.argv[1:]
handled = Counter()


async def handle(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    if does == "reply":
        await update.message.reply_text("an answer")
    handled.add()


application = ApplicationBuilder().token(token).base_url(f"{address}/bot").build()
application.add_handler(MessageHandler(filters.TEXT, handle))


async def start() -> None:
    await application.initialize()
    await application.start()
    await application.updater.start_polling()


async def stop() -> None:
    await application.updater.stop()
    await application.stop()
    await application.shutdown()


with asyncio.Runner() as loop:
    loop.run(start())
    serve_updates(loop, address, handled.more, "python-telegram-bot")
    loop.run(stop())
