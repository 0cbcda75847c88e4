"""`manage.py setwebhook`: makes Telegram call this installation, or stop calling it."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from pipeline.bot.webhook import WebhookRefused, delete_webhook, set_webhook


class Command(BaseCommand):
    """Sets or deletes the webhook; pending updates are kept."""

    help = "Have Telegram deliver to TELEGRAM_WEBHOOK_URL; --delete ends that, for polling."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--delete", action="store_true", help="end it, so that runbot can poll")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.TELEGRAM_BOT_TOKEN:
            raise CommandError("TELEGRAM_BOT_TOKEN is not set: get one from @BotFather.")
        try:
            if options["delete"]:
                asyncio.run(delete_webhook())
                self.stdout.write("The webhook is deleted; runbot can poll.")
                return
            if not settings.TELEGRAM_WEBHOOK_URL:
                raise CommandError("Set TELEGRAM_WEBHOOK_URL and TELEGRAM_WEBHOOK_SECRET first.")
            info = asyncio.run(set_webhook())
        except WebhookRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Telegram delivers to {info.url}; {info.pending_update_count} wait.")
