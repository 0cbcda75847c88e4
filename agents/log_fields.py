"""Context fields of log records: the run, step, task and chat that a record is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NAMES = ("run", "step", "task", "chat")
_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))


def log_as(**fields: object) -> None:
    """Add these fields to all later log records of this asyncio task and of tasks it starts."""
    _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items()}})


class LogFields(logging.Filter):
    """Logging filter that adds the fields to each record, unless `extra=` has set them."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = _fields.get()
        for name in NAMES:
            if name in known and not hasattr(record, name):
                setattr(record, name, known[name])
        return True
