"""Keeps keys out of the logs: the last net under code that never puts them there.

The filter cleans the message; the formatter cleans the finished line, because a traceback is only
rendered there and quotes exception texts that the filter has not seen.
"""

from __future__ import annotations

import logging

from agents.llm.keys import scrub


class RedactingFilter(logging.Filter):
    """Replaces everything shaped like a key in a record's message."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = scrub(record.getMessage())
        record.args = None
        return True


class RedactingFormatter(logging.Formatter):
    """Replaces everything shaped like a key in the finished line, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))
