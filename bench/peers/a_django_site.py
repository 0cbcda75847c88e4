"""A Django site for what keeps its switches in one: SQLite, and the cache that it is told."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.management import call_command


def set_up(folder: str, cache_url: str, *apps: str, **more: Any) -> None:
    """Make the site, with its tables."""
    if cache_url.startswith("redis:"):
        cache = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": cache_url,
            "KEY_PREFIX": apps[-1],
        }
    else:
        cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{folder}/{apps[-1]}.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
    settings.configure(
        SECRET_KEY="of no use to anybody",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *apps],
        DATABASES={"default": database},
        CACHES={"default": cache},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        **more,
    )
    django.setup()
    call_command("migrate", verbosity=0)
