"""Addresses that cannot mean anything are refused before a page reads them.

A page that trusts its parameters must not fail on them: PostgreSQL takes no NUL, databases have a
largest number, and no one filters by 100 kB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.db import DataError
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

MAX_QUERY_LENGTH = 8_000  # characters, as sent; the longest of our own has some hundred
MAX_PATH_LENGTH = 2_000
READING = {"GET", "HEAD"}


class AddressMiddleware:
    """Answers 400, with the reason, to an address that is too long or holds what no value can."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        problem = _problem(request)
        return _refused(problem) if problem else self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for a value that only the database found to be out of its range."""
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
