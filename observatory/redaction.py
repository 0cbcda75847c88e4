"""Removes API keys from logs and from the admin, as a safety net: other code never puts them there.

The filter cleans a record's message. The formatter cleans the finished line, because tracebacks are
rendered only there and quote exception texts that the filter has not seen. The middleware cleans
what operators type into fields and searches before a view sees it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.http import escape_leading_slashes

from agents.llm.secrets import scrub
from agents.log_fields import NAMES

KEPT_FIELDS = frozenset({"csrfmiddlewaretoken"})  # random, so it may look like a key
TAKEN_OUT = (
    "What looked like an API key was taken out of: {fields}. Keys belong into the settings, or "
    "into their owner's chat with the bot."
)


class RedactingFilter(logging.Filter):
    """Replaces everything that looks like a key in a record's message."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = scrub(record.getMessage())
        record.args = None
        return True


class RedactingFormatter(logging.Formatter):
    """Replaces everything that looks like a key in the finished line, including its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


class RedactingJsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with everything that looks like a key replaced."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: str(getattr(record, name)) for name in NAMES if hasattr(record, name)}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        cleaned = {name: scrub(text) for name, text in said.items()}
        return json.dumps(cleaned, ensure_ascii=False)


class RedactingMiddleware:
    """Removes keys from paths, queries and forms sent to the admin, except from password fields."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._admin = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(self._admin):
            if scrub(request.path) != request.path:
                return HttpResponseRedirect(self._admin)  # the admin would quote it in a message
            query, _ = _cleaned(request.GET)
            if query is not None:
                # Redirect, so that the key is neither in the page nor in its URL.
                address = f"{escape_leading_slashes(request.path)}?{query.urlencode()}"
                return HttpResponseRedirect(address)
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Clean a posted form and warn; done here because the warning needs the session."""
        if request.method != "POST" or not request.path.startswith(self._admin):
            return
        form, fields = _cleaned(request.POST)
        if form is not None:
            request.POST = form  # type: ignore[assignment]
            warning = TAKEN_OUT.format(fields=", ".join(scrub(field) for field in fields))
            messages.warning(request, warning, fail_silently=True)


def _cleaned(sent: QueryDict) -> tuple[QueryDict | None, list[str]]:
    """Return a copy of `sent` without keys and the fields that had keys; (None, []) if none had."""
    fields = [
        name
        for name, values in sent.lists()
        if name not in KEPT_FIELDS
        and "password" not in name
        and (_typed(name) != name or any(_typed(value) != value for value in values))
    ]
    if not fields:
        return None, []
    cleaned = QueryDict(mutable=True, encoding=sent.encoding)
    for name, values in sent.lists():
        kept = [_typed(value) for value in values] if name in fields else values
        cleaned.setlist(_typed(name) if name in fields else name, kept)
    cleaned._mutable = False
    return cleaned, fields


def _typed(value: str) -> str:
    return scrub(value, alone=True)
