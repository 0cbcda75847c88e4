"""Loopback stand-ins for Telegram's Bot API, OpenRouter, Anthropic and OpenAI, with a chat page.

The module `app.py` assembles them.
"""

from __future__ import annotations
