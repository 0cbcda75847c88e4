"""System checks of the resolver's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from agents import revision

_PER_PROCESS = {
    "django.core.cache.backends.locmem.LocMemCache",
    "django.core.cache.backends.dummy.DummyCache",
}


@register
def check_override_cache(**kwargs: Any) -> list[CheckMessage]:
    """Report a cache that processes do not share: an error, or a warning in debug mode."""
    backend = settings.CACHES[revision.CACHE_ALIAS]["BACKEND"]
    if backend not in _PER_PROCESS:
        return []
    kind = Warning if settings.DEBUG else Error
    return [
        kind(
            "Each process has its own cache of overrides: the bot would see changes from the"
            f" admin up to {settings.OVERRIDE_TTL_SECONDS} s late.",
            hint="Set CACHE_URL to file:///folder (one machine) or redis://host:port/number.",
            id="agents.E001",
        )
    ]
