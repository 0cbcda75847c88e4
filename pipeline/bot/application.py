"""The bot's process: polls Telegram, answers, alerts, and closes everything it opened."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any, TypeAlias

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from telegram import BotCommand, LinkPreviewOptions
from telegram.error import InvalidToken
from telegram.ext import Application, ApplicationBuilder, Defaults

from agents.llm.keys import fingerprint
from agents.model_config import OverridesUnknown
from pipeline.bot.alerts import Alerts
from pipeline.bot.handlers import COMMANDS, add_handlers
from pipeline.bot.handlers.support import Support
from pipeline.bot.lanes import GRACE_S, RunningUpdates
from pipeline.bot.patience import wait_before_next
from pipeline.bot.polling import Poller
from pipeline.engine import Engine
from pipeline.models.runs import Source
from pipeline.records import close_interrupted

logger = logging.getLogger(__name__)

FAREWELL_S = 1.0  # of DRAIN_SECONDS, at most a quarter: to tell members whose answer is given up
BotApplication: TypeAlias = "Application[Any, Any, Any, Any, Any, Any]"


class BotRefused(Exception):
    """The bot cannot start or go on; the message says why and what to do."""


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
    process = _Process(take_over=take_over)
    try:
        if await _unless(stopping, process.start()):
            await _unless(stopping, process.poller.poll())
    except InvalidToken:
        raise BotRefused("Telegram refused TELEGRAM_BOT_TOKEN: check it.") from None
    finally:
        logger.info("stopping: no new messages are taken")
        await process.finish(within_s=settings.DRAIN_SECONDS)
        logger.info("stopped")


class _Process:
    """What a bot's process consists of, from its start to its end."""

    def __init__(self, *, take_over: bool) -> None:
        self._take_over = take_over
        self._alerts = Alerts()
        self._engine = Engine("bot", self._alerts.post)
        self._updates = RunningUpdates()
        self._application = _application(self._engine, self._alerts, self._updates)
        self.poller = Poller(self._application.bot, self._application.update_queue)

    async def start(self) -> None:
        """Connect, however long it takes, and begin to answer.

        Raises:
            BotRefused: another installation's webhook is set.
            InvalidToken: Telegram does not know the token.
        """
        self._engine.start()
        await _announce(self._engine)
        await self._connect()
        self._alerts.use(self._application.bot)
        # Here the token is known to be good, and no run of this process can have begun.
        await _close_interrupted()
        await self._application.start()
        logger.info("polling as @%s", self._application.bot.username)

    async def finish(self, within_s: float) -> None:
        """Answer what was taken, then close everything; one deadline for all of it."""
        ends_at = time.monotonic() + within_s
        farewell_at = ends_at - min(FAREWELL_S, within_s / 4)
        await _until(farewell_at, self.poller.acknowledge())
        handled = asyncio.create_task(self._handle_the_rest())
        await asyncio.wait({handled}, timeout=_left(farewell_at))
        await self._engine.end_background(_left(farewell_at))
        await self._updates.end(until=ends_at)
        await asyncio.wait({handled}, timeout=GRACE_S)
        await _until(ends_at, self._alerts.drain())
        await self._application.shutdown()
        # An application whose start failed half-way shuts nothing down; its connections are open.
        await self._application.bot.shutdown()
        await self._engine.close(_left(ends_at))

    async def _handle_the_rest(self) -> None:
        if self._application.running:
            await self._application.stop()

    async def _connect(self) -> None:
        """Reach Telegram and fetch a first time."""
        bot = self._application.bot
        async for attempt in stamina.retry_context(
            on=wait_before_next, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
        ):
            with attempt:
                if attempt.num == 2:
                    logger.warning(
                        "Telegram does not answer at %s yet", settings.TELEGRAM_API_BASE_URL
                    )
                await self._application.initialize()
                if (await bot.get_webhook_info()).url:
                    await self._remove_webhook()
                await bot.set_my_commands([BotCommand(*command) for command in COMMANDS])
                await self.poller.fetch(0)

    async def _remove_webhook(self) -> None:
        if not self._take_over:
            raise BotRefused(
                "This token has a webhook, so another installation answers this bot. "
                "Polling would remove it: start with --take-over if that is what you want."
            )
        await self._application.bot.delete_webhook()


def _application(engine: Engine, alerts: Alerts, updates: RunningUpdates) -> BotApplication:
    application = (
        ApplicationBuilder()
        .token(settings.TELEGRAM_BOT_TOKEN)
        .base_url(f"{settings.TELEGRAM_API_BASE_URL}/bot")
        .base_file_url(f"{settings.TELEGRAM_FILE_BASE_URL}/bot")
        .defaults(Defaults(link_preview_options=LinkPreviewOptions(is_disabled=True)))
        .concurrent_updates(updates)
        .updater(None)
        # One connection for getUpdates can be torn and then hold the pool for ever.
        .get_updates_connection_pool_size(4)
        .build()
    )
    add_handlers(application, Support(engine, alerts.post))
    application.add_error_handler(_log_error)
    return application


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


async def _close_interrupted() -> None:
    try:
        interrupted = await sync_to_async(close_interrupted)(Source.TELEGRAM)
    except DatabaseError as error:
        logger.error("interrupted runs stay open until the next start: %s", error)  # noqa: TRY400
        return
    if interrupted:
        logger.warning("%s runs were interrupted by the last stop", interrupted)


async def _log_error(update: object, context: object) -> None:
    logger.error("an update could not be handled", exc_info=getattr(context, "error", None))


# --- time ---------------------------------------------------------------------------------------


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False when the process was told to stop before its end."""
    working = asyncio.create_task(work)
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        stopped.cancel()
        working.cancel()
        await asyncio.wait({working}, timeout=GRACE_S)


async def _until(ends_at: float, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; what is not done by then is given up."""
    working = asyncio.create_task(work)
    await asyncio.wait({working}, timeout=_left(ends_at))
    working.cancel()
    await asyncio.wait({working}, timeout=GRACE_S)


def _left(ends_at: float) -> float:
    return max(0.0, ends_at - time.monotonic())
