"""Loopback stand-ins for Telegram's Bot API, OpenRouter, Anthropic and OpenAI, with a chat page: see `app.py`."""

from __future__ import annotations
