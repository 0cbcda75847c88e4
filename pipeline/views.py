"""The Telegram webhook: an update is stored with its task, and only then acknowledged."""

from __future__ import annotations

import hmac
import json
import logging
from hashlib import sha256

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from agents.llm.secrets import scrub
from pipeline.bot.intake import Json, store
from pipeline.queue.backends import add_tasks

logger = logging.getLogger(__name__)

MAX_BYTES = 1_000_000  # Telegram's own updates are far smaller
RETRY_AFTER_S = 5
_MOST_ID = 2**62
_KEPT = 10_000  # stored characters of an unreadable body


# Telegram sends no cookie and no CSRF token: the secret in a header authenticates it.
@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Receive one update; https://core.telegram.org/bots/api#setwebhook.

    Responds with 403 without the secret, 413 if the body is too long, and 503 while the database
    is down; Telegram then sends the update again. An unreadable body is stored as a dead letter and
    acknowledged, because otherwise Telegram would send it forever.
    """
    if not settings.TELEGRAM_WEBHOOK_SECRET:
        raise Http404
    if not _knows_the_secret(request):
        logger.warning("the webhook was called without its secret")
        return HttpResponse(status=403)
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
        return HttpResponse(status=413)
    bot_id = int(settings.TELEGRAM_BOT_TOKEN.partition(":")[0])
    try:
        store(bot_id, [_update_in(request.body)], add_tasks)
    except DatabaseError as error:
        logger.error("an update cannot be stored: %s", scrub(str(error)))  # noqa: TRY400 - no bug
        return HttpResponse(status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
    return HttpResponse(status=200)


def _knows_the_secret(request: HttpRequest) -> bool:
    said = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    return hmac.compare_digest(
        said.encode("utf-8", "replace"), settings.TELEGRAM_WEBHOOK_SECRET.encode()
    )


def _update_in(body: bytes) -> Json:
    """Return the update in a body; an unreadable body becomes an update that is a dead letter."""
    try:
        update = json.loads(body)
        is_one = isinstance(update, dict) and type(update["update_id"]) is int
        if is_one and abs(update["update_id"]) < _MOST_ID:
            return dict(update)
    except (ValueError, KeyError, RecursionError):
        pass
    # The same body gets the same id, so it is stored once; Telegram uses no negative ids.
    return {
        "update_id": -int.from_bytes(sha256(body).digest()[:7]),
        "": body.decode("utf-8", "replace")[:_KEPT],
    }
