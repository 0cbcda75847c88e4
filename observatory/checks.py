"""Deployment checks: `manage.py check --deploy` rejects settings that suit only a local machine.

Other checks are elsewhere: `settings.py` stops the process when a value is missing or never valid,
and `agents.checks` rejects a cache that processes do not share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security, deploy=True)
def check_debug(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Reject DEBUG, which shows settings and code to anyone who causes an error."""
    if not settings.DEBUG:
        return []
    return [Error("DEBUG is on.", hint="Set DJANGO_DEBUG=false.", id="observatory.E001")]


@register(Tags.security, deploy=True)
def check_sandbox(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Reject the sandbox, in which every visitor can write to the bot as any member."""
    if not settings.SANDBOX:
        return []
    return [
        Error(
            "The sandbox is on, so every visitor can write to the bot as any member.",
            hint="Set SANDBOX=false.",
            id="observatory.E002",
        )
    ]


@register(deploy=True)
def check_credentials_of_the_product(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Warn if the bot's token or the team's OpenRouter key is missing."""
    effects = {
        "TELEGRAM_BOT_TOKEN": "the bot can't start",
        "OPENROUTER_API_KEY": "overrides are inactive",
    }
    return [
        Warning(f"{name} is not set: {effect}.", id="observatory.W001")
        for name, effect in effects.items()
        if not getattr(settings, name)
    ]
