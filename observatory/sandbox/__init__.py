"""Loopback stand-ins for the Telegram Bot API and for OpenRouter, with a chat page; `app.py` is the way in."""

from __future__ import annotations
