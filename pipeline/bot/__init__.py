"""The bot: the only room that knows python-telegram-bot."""

from __future__ import annotations

import os

# Times as timedelta, read at each use; without it the library warns whenever Telegram asks to wait.
os.environ.setdefault("PTB_TIMEDELTA", "true")
