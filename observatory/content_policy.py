"""What our pages may load and run: the policy of every page that does not send its own.

Pages with texts of members and models have a stricter policy of their own
(`pipeline.admin.text_pages`).
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
# The admin's theme evaluates expressions in attributes of its own templates (Alpine), which is
# 'unsafe-eval', and sets style elements and attributes. No script in a page and no handler in an
# attribute runs, so what got into a page unescaped would do nothing; `tests/browser` looks at both.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class ContentPolicyMiddleware:
    """Adds the policy where a view has set none."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers.setdefault(HEADER, POLICY)
        return response
