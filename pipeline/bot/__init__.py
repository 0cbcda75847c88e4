"""The Telegram bot: the only package that imports python-telegram-bot."""

from __future__ import annotations

import os

# Makes the library return durations as timedelta. The library reads the variable at each use, and
# without it warns whenever Telegram asks to wait.
os.environ.setdefault("PTB_TIMEDELTA", "true")
