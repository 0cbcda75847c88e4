"""`manage.py runworker`: one of any number of processes that work on queued tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from pipeline.bot.application import BotRefused
from pipeline.worker import run_worker


class Command(BaseCommand):
    """Works on the queue until it is told to stop."""

    help = "Work on the queue until SIGTERM or Ctrl-C; needs QUEUE=procrastinate."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(run_worker())
        except BotRefused as error:
            raise CommandError(str(error)) from None
