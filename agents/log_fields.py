"""Which run, step, task and chat a log record is about, beside what its message says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NAMES = ("run", "step", "task", "chat")
_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))


def log_as(**fields: object) -> None:
    """Give these fields to all that this asyncio task logs from now on, and what it starts."""
    _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items()}})


class LogFields(logging.Filter):
    """Puts the fields on each record, unless `extra=` has given it its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = _fields.get()
        for name in NAMES:
            if name in known and not hasattr(record, name):
                setattr(record, name, known[name])
        return True
