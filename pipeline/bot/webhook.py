"""Set and delete the bot's webhook; without a webhook, a poller fetches the updates."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.utils import timezone
from telegram import Bot, WebhookInfo
from telegram.error import TelegramError

from pipeline.bot.intake import ALLOWED_UPDATES
from pipeline.bot.refusals import ODD_ANSWERS, not_the_bot_api
from pipeline.models import Poller

AT_ONCE = 40  # parallel connections from Telegram; it delivers each chat's updates one by one


class WebhookRefused(Exception):
    """Telegram did not set or delete the webhook; the message says why."""


async def set_webhook() -> WebhookInfo:
    """Have updates delivered to TELEGRAM_WEBHOOK_URL, and return the webhook's status.

    Pending updates are kept.

    Raises:
        WebhookRefused: Telegram cannot be reached or refuses.
    """
    try:
        async with _bot() as bot:
            await bot.set_webhook(
                settings.TELEGRAM_WEBHOOK_URL,
                secret_token=settings.TELEGRAM_WEBHOOK_SECRET,
                allowed_updates=ALLOWED_UPDATES,
                max_connections=AT_ONCE,
            )
            await sync_to_async(_remember)(bot.id, bot.username)
            return await bot.get_webhook_info()
    except TelegramError as error:
        raise WebhookRefused(f"Telegram set no webhook: {error}") from None
    except ODD_ANSWERS as error:
        raise WebhookRefused(not_the_bot_api(error)) from error


async def delete_webhook() -> None:
    """Delete the webhook, so that updates wait for a poller; pending updates are kept.

    Raises:
        WebhookRefused: Telegram cannot be reached or refuses.
    """
    try:
        async with _bot() as bot:
            await bot.delete_webhook(drop_pending_updates=False)
    except TelegramError as error:
        raise WebhookRefused(f"Telegram deleted no webhook: {error}") from None
    except ODD_ANSWERS as error:
        raise WebhookRefused(not_the_bot_api(error)) from error


def _remember(bot_id: int, username: str) -> None:
    """Store the bot's username: invite links need it, and with a webhook no poller stores it."""
    known = {"username": username}
    try:
        Poller.objects.update_or_create(
            bot_id=bot_id, defaults=known, create_defaults={**known, "heard_at": timezone.now()}
        )
    finally:
        connection.close()  # belongs to this worker thread, so nothing else can close it


def _bot() -> Bot:
    return Bot(
        settings.TELEGRAM_BOT_TOKEN,
        base_url=f"{settings.TELEGRAM_API_BASE_URL}/bot",
        base_file_url=f"{settings.TELEGRAM_FILE_BASE_URL}/bot",
    )
