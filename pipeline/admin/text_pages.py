"""Pages that show what members and models wrote: they extend none of the theme's templates.

They load no script at all, and their policy allows none; a page with a button may post to us.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template.response import TemplateResponse

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action "
)


def may_read_texts(request: HttpRequest) -> bool:
    """Tell whether this operator may read what members and models wrote."""
    return request.user.has_perm("pipeline.view_texts")


def text_page(
    request: HttpRequest, template: str, context: dict[str, Any], *, has_button: bool = False
) -> TemplateResponse:
    """Return a page that may show texts, with a policy under which nothing in them can run."""
    response = TemplateResponse(request, template, context)
    response["Content-Security-Policy"] = _POLICY + ("'self'" if has_button else "'none'")
    return response
