"""The badge in the admin's header that tells the sandbox from the real thing."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def badge(request: HttpRequest) -> list[str]:
    """Return the text and the colour of unfold's environment label."""
    if settings.SANDBOX:
        return ["Sandbox", "info"]
    return ["Development", "warning"] if settings.DEBUG else ["Production", "danger"]
