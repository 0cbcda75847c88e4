"""Rejects URLs with impossible values before a view reads them.

Views trust their parameters, so a bad one must not make them fail: PostgreSQL accepts no NUL,
databases have a largest integer, and no filter needs 100 kB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.db import DataError
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

MAX_QUERY_LENGTH = 8_000  # characters, before decoding; the project's own have a few hundred
MAX_PATH_LENGTH = 2_000
READING = {"GET", "HEAD"}


class AddressMiddleware:
    """Answers 400 with the reason if a URL is too long or contains an impossible value."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        problem = _problem(request)
        return _refused(problem) if problem else self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return a 400 if a read failed because a value is out of range; else None."""
        if request.method in READING and isinstance(exception, DataError | OverflowError):
            logger.warning("%s: %s", request.path, type(exception).__name__)
            return _refused("a value in it is out of range.")
        return None


def _problem(request: HttpRequest) -> str:
    query = request.META.get("QUERY_STRING", "")
    if len(query) > MAX_QUERY_LENGTH:
        return f"the part after the question mark is longer than {MAX_QUERY_LENGTH:,} characters."
    if len(request.path_info) > MAX_PATH_LENGTH:
        return f"it is longer than {MAX_PATH_LENGTH:,} characters."
    if "\0" in request.path_info or b"\0" in unquote_to_bytes(query):
        return "it contains a NUL character."
    return ""


def _refused(problem: str) -> HttpResponse:
    return HttpResponse(
        f"This address can't be opened: {problem}\n",
        status=400,
        content_type="text/plain; charset=utf-8",
    )
