"""The bot's process: polls Telegram, answers, alerts, and closes everything it opened."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings
from telegram import Bot, BotCommand
from telegram.error import InvalidToken, NetworkError, TelegramError
from telegram.ext import Application, ApplicationBuilder

from agents.llm.keys import fingerprint, scrub
from agents.model_config import OverridesUnknown
from pipeline.bot.handlers import COMMANDS, add_handlers
from pipeline.bot.handlers.support import Support
from pipeline.bot.lanes import LaneProcessor
from pipeline.engine import Engine
from pipeline.models.runs import Source
from pipeline.records import close_interrupted

logger = logging.getLogger(__name__)

ALLOWED_UPDATES = ["message"]
BotApplication: TypeAlias = "Application[Any, Any, Any, Any, Any, Any]"


class BotRefused(Exception):
    """The bot cannot start; the message says why and what to do."""


async def run_bot(*, take_over: bool = False) -> None:
    """Poll until SIGTERM or SIGINT; raises as `serve`."""
    stopping = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopping.set)
    await serve(stopping, take_over=take_over)


async def serve(stopping: asyncio.Event, *, take_over: bool = False) -> None:
    """Poll until told to stop, then finish within DRAIN_SECONDS and close everything.

    Raises:
        BotRefused: no token, a refused token, or another installation's webhook is set.
    """
    if not settings.TELEGRAM_BOT_TOKEN:
        raise BotRefused(
            "TELEGRAM_BOT_TOKEN is not set: get one from @BotFather, or use SANDBOX=true."
        )
    interrupted = await sync_to_async(close_interrupted)(Source.TELEGRAM)
    if interrupted:
        logger.warning("%s runs were interrupted by the last stop", interrupted)
    alerts = Alerts()
    async with Engine("bot", alerts.post) as engine:
        await _announce(engine)
        lanes = LaneProcessor()
        application = _application(engine, alerts, lanes)
        async with _started(application, stopping, take_over=take_over):
            alerts.use(application.bot)
            await stopping.wait()
            logger.info("stopping: no new messages are taken")
            if application.updater is not None and application.updater.running:
                await application.updater.stop()
            await lanes.drain(settings.DRAIN_SECONDS)
            await alerts.drain()
    logger.info("stopped")


class Alerts:
    """Tells the operators' chat, or at least the log."""

    def __init__(self) -> None:
        self._bot: Bot | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def use(self, bot: Bot) -> None:
        """Send alerts by this bot from now on."""
        self._bot = bot

    def post(self, text: str) -> None:
        """Alert; returns at once."""
        logger.error("alert: %s", text)
        if self._bot is not None and settings.OPERATOR_CHAT_ID:
            task = asyncio.get_running_loop().create_task(self._send(self._bot, text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def drain(self) -> None:
        """Wait for alerts that are being sent."""
        await asyncio.gather(*self._sending)

    async def _send(self, bot: Bot, text: str) -> None:
        try:
            await bot.send_message(settings.OPERATOR_CHAT_ID, f"🔔 {scrub(text)[:4000]}")
        except TelegramError as error:
            logger.warning("the operators' chat could not be told: %s", error)


async def _announce(engine: Engine) -> None:
    """Say in two lines whether overrides are in effect, and on whose key."""
    try:
        overrides = await engine.model_config.get_all()
        version = (await engine.model_config.choose("")).reading.version
        known = f"{len(overrides)} active, {version}"
    except OverridesUnknown:
        known = "not read yet, the database does not answer"
    if settings.OPENROUTER_API_KEY:
        key = fingerprint(settings.OPENROUTER_API_KEY)
        logger.info("overrides: enabled (%s)", known)
        logger.info("overrides: paid by the shared key %s", key)
    else:
        logger.warning("overrides: disabled, OPENROUTER_API_KEY is not set (%s)", known)
        logger.warning("overrides: every agent uses the member's own provider")


def _application(engine: Engine, alerts: Alerts, lanes: LaneProcessor) -> BotApplication:
    application = (
        ApplicationBuilder()
        .token(settings.TELEGRAM_BOT_TOKEN)
        .base_url(f"{settings.TELEGRAM_API_BASE_URL}/bot")
        .base_file_url(f"{settings.TELEGRAM_FILE_BASE_URL}/bot")
        .concurrent_updates(lanes)
        # One connection for getUpdates can be torn and then hold the pool for ever.
        .get_updates_connection_pool_size(4)
        .build()
    )
    add_handlers(application, Support(engine, alerts.post))
    application.add_error_handler(_log_error)
    return application


@asynccontextmanager
async def _started(
    application: BotApplication, stopping: asyncio.Event, *, take_over: bool
) -> AsyncIterator[None]:
    """Connect, poll, and take everything down again."""
    try:
        if not await _reachable(application, stopping):
            yield
            return
        webhook = await application.bot.get_webhook_info()
        if webhook.url and not take_over:
            raise BotRefused(
                "This token has a webhook, so another installation answers this bot. "
                "Polling would remove it: start with --take-over if that is what you want."
            )
        await application.bot.set_my_commands([BotCommand(*command) for command in COMMANDS])
        if application.updater is None:
            raise AssertionError("the builder makes an updater")
        await application.updater.start_polling(
            allowed_updates=ALLOWED_UPDATES, bootstrap_retries=-1, error_callback=_log_polling
        )
        await application.start()
        logger.info("polling as @%s", application.bot.username)
        yield
    finally:
        if application.running:
            await application.stop()
        await application.shutdown()
        # An application whose start failed half-way shuts nothing down; its connections are open.
        await application.bot.shutdown()


async def _reachable(application: BotApplication, stopping: asyncio.Event) -> bool:
    """Wait until Telegram answers; False when the process was stopped meanwhile."""
    connecting = asyncio.create_task(_connect(application))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({connecting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not connecting.done():
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        return False
    await connecting
    return True


async def _connect(application: BotApplication) -> None:
    async for attempt in stamina.retry_context(
        on=NetworkError, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
    ):
        with attempt:
            if attempt.num == 2:
                logger.warning("Telegram does not answer at %s yet", settings.TELEGRAM_API_BASE_URL)
            try:
                await application.initialize()
            except InvalidToken:
                raise BotRefused("Telegram refused TELEGRAM_BOT_TOKEN: check it.") from None


def _log_polling(error: TelegramError) -> None:
    logger.warning("polling: %s", scrub(str(error)))


async def _log_error(update: object, context: object) -> None:
    logger.error("an update could not be handled", exc_info=getattr(context, "error", None))
