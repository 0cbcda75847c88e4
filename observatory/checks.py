"""System checks of a deployment: `manage.py check --deploy` refuses what is fit for one desk only.

`settings.py` stops the process when a value is missing or can never be right, `agents.checks`
refuses a cache that processes do not share. What is right on one's own machine only is refused
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security, deploy=True)
def check_debug(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Refuse DEBUG, which shows settings and code to anyone who causes an error."""
    if not settings.DEBUG:
        return []
    return [Error("DEBUG is on.", hint="Set DJANGO_DEBUG=false.", id="observatory.E001")]


@register(Tags.security, deploy=True)
def check_sandbox(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Refuse the sandbox, where anybody can write as anybody."""
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
    """Point out what nothing works without."""
    effects = {
        "TELEGRAM_BOT_TOKEN": "the bot can't start",
        "OPENROUTER_API_KEY": "overrides are inactive",
    }
    return [
        Warning(f"{name} is not set: {effect}.", id="observatory.W001")
        for name, effect in effects.items()
        if not getattr(settings, name)
    ]
