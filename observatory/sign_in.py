"""Sign-in throttling: how failed attempts are grouped, and the lockout page.

django-axes counts failures per username and address and locks out that pair. So guessing an
operator's password does not lock out the operator, who signs in from another address.
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

MAX_CHARACTERS = 150  # of a username; Django allows no longer one
CLEANED_AT_ONCE = 500
SITE_BITS = 64  # of an IPv6 address: its owner can choose the remaining bits

Address = IPv4Address | IPv6Address


class SignInHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts attempts in the database, and deletes a bounded number of expired ones each time."""

    def clean_expired_user_attempts(
        self, request: HttpRequest | None = None, credentials: dict[str, Any] | None = None
    ) -> int:
        """Delete at most `CLEANED_AT_ONCE` expired attempts; return how many were deleted."""
        old = AccessAttempt.objects.filter(
            attempt_time__lte=timezone.now() - settings.AXES_COOLOFF_TIME
        )
        some = list(old.order_by("attempt_time").values_list("pk", flat=True)[:CLEANED_AT_ONCE])
        return int(AccessAttempt.objects.filter(pk__in=some).delete()[0])


def name_of(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """Return the username of a sign-in attempt, cut to `MAX_CHARACTERS`; "" if it has none."""
    given = (credentials or request.POST).get("username") or ""
    return str(given)[:MAX_CHARACTERS]


def address_of(request: HttpRequest) -> str | None:
    """Return the client's address, for IPv6 its /64 network; None if the peer's is unreadable.

    Each proxy appends to X-Forwarded-For the address that it got the request from. A client can
    forge the entries before those, so the list is read from its end, and the first address that is
    not a trusted proxy is the client's.
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
    """Return the lockout page (429); it does not reveal whether the username exists."""
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
    """Yield the addresses in X-Forwarded-For, nearest proxy's first; None for an invalid one."""
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
