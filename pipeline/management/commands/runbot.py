"""`manage.py runbot`: the bot's process."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pipeline.bot.application import BotRefused
from pipeline.worker import run_bot


class Command(BaseCommand):
    """Polls Telegram and answers until it is told to stop."""

    help = "Run the bot until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--take-over",
            action="store_true",
            help="poll although a webhook is set, and so remove the webhook",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(run_bot(take_over=options["take_over"]))
        except BotRefused as error:
            raise CommandError(str(error)) from None
