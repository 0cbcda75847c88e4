"""Throttled sign-in: which attempts count together, and the page after too many of them.

django-axes counts and locks. It counts failures of one name from one address, so that guessing a
password does not lock out its owner, who comes from another address.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

MAX_CHARACTERS = 150  # of a name; no user has a longer one
CLEANED_AT_ONCE = 500
SITE_BITS = 64  # of an IPv6 address: the rest is its owner's to choose

Address = IPv4Address | IPv6Address


class SignInHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts attempts in the database, and cleans up a bounded number of old ones each time."""

    def clean_expired_user_attempts(
        self, request: HttpRequest | None = None, credentials: dict[str, Any] | None = None
    ) -> int:
        """Delete some attempts that count no more; return how many."""
        old = AccessAttempt.objects.filter(
            attempt_time__lte=timezone.now() - settings.AXES_COOLOFF_TIME
        )
        some = list(old.order_by("attempt_time").values_list("pk", flat=True)[:CLEANED_AT_ONCE])
        return int(AccessAttempt.objects.filter(pk__in=some).delete()[0])


def name_of(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """Return the name of a sign-in attempt, cut to the longest a name can be."""
    given = (credentials or request.POST).get("username") or ""
    return str(given)[:MAX_CHARACTERS]


def address_of(request: HttpRequest) -> str | None:
    """Return where a request comes from; what a client says of itself is not asked.

    Each proxy writes behind the others whom it got the request from, so that of the list only the
    part that trusted proxies wrote can be believed: the address before them is the client's.
    """
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    if peer is None:
        return None
    for address in _hops(request):
        if not _is_trusted(peer) or address is None:
            break
        peer = address
    if isinstance(peer, IPv6Address):
        return str(ip_network((int(peer), SITE_BITS), strict=False).network_address)
    return str(peer)


def locked_out(request: Any, *_: Any) -> HttpResponse:
    """Return the page for who has to wait; it does not tell whether there is such an operator."""
    name = name_of(request, request.axes_credentials)
    attempts = AccessAttempt.objects.filter(username=name, ip_address=request.axes_ip_address)
    last = attempts.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    now = timezone.now()
    until = (last or now) + settings.AXES_COOLOFF_TIME
    wait_s = max(1, math.ceil((until - now).total_seconds()))
    context = {
        **admin.site.each_context(request),
        "title": "Please wait",
        "until": until,
        "minutes": math.ceil(wait_s / 60),
    }
    response = TemplateResponse(request, "observatory/locked_out.html", context, status=429)
    response["Retry-After"] = str(wait_s)
    response["Cache-Control"] = "no-store"
    return response.render()


def _hops(request: HttpRequest) -> Iterator[Address | None]:
    """Yield whom each proxy got the request from, the nearest first."""
    for said in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        yield _address(said)


def _address(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)
