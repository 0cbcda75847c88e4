"""Admission of members: approval by an operator, or an invite.

An invite's secret is shown only once, when it is created; the database stores its hash. Until it
expires, an invite admits one person, the first to open the link.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256

from django.conf import settings
from django.db import transaction

from pipeline.models import Invite, Member, Poller, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind
from pipeline.models.members import Access
from pipeline.queue.base import AddTasks

INVITE_LASTS = timedelta(days=7)
SECRET_BYTES = 16  # 128 bits: cannot be guessed
MAX_SECRET = 64  # characters; Telegram's limit for the parameter of /start


@transaction.atomic
def approve(member: Member, add_tasks: AddTasks) -> bool:
    """Approve a member and have the bot tell them; False if they were approved already."""
    was_out = Member.objects.filter(pk=member.pk).exclude(access=Access.APPROVED)
    if not was_out.update(access=Access.APPROVED):
        return False
    greet(member, add_tasks)
    return True


def greet(member: Member, add_tasks: AddTasks) -> None:
    """Queue a greeting that tells a member they are approved, if they have written to this bot.

    Nothing is queued if their latest message has had a greeting already.
    """
    last = (
        TelegramUpdate.objects.filter(
            chat_id=member.telegram_id, user_id=member.telegram_id, bot_id=_bot_id()
        )
        .order_by("-pk")
        .first()
    )
    if last is None or last.tasks.filter(kind=TaskKind.GREETING).exists():
        return
    add_tasks([Task(kind=TaskKind.GREETING, update=last)])


def invite(note: str = "", created_by: str = "", *, now: datetime) -> tuple[Invite, str]:
    """Create an invite; return it with its secret, which cannot be read again later."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    made = Invite.objects.create(
        secret_sha256=_hash(secret),
        note=note,
        created_by=created_by,
        created_at=now,
        expires_at=now + INVITE_LASTS,
    )
    return made, secret


def link_of(secret: str) -> str:
    """Return the invite link for a secret; "" while the bot's username is not known."""
    name = bot_name()
    return f"https://t.me/{name}?start={secret}" if name else ""


def bot_name() -> str:
    """Return the bot's username; "" while it is not known."""
    bot = Poller.objects.filter(bot_id=_bot_id()).first()
    return bot.username if bot else ""


@transaction.atomic
def redeem(secret: str, member: Member, *, now: datetime) -> bool:
    """Approve a member by an invite.

    Returns:
        True if the member is approved now, also if the same member used this invite before. False
        if they are blocked, or if the invite is unknown, expired or used by another person.
    """
    if member.access == Access.BLOCKED or len(secret) > MAX_SECRET:
        return False
    meant = Invite.objects.filter(secret_sha256=_hash(secret))
    # A conditional update: if two people open the link at once, only one of them is admitted.
    won = meant.filter(used_at=None, expires_at__gt=now).update(used_at=now, used_by=member)
    if not won and not meant.filter(used_by=member).exists():
        return False
    Member.objects.filter(pk=member.pk, access=Access.WAITING).update(access=Access.APPROVED)
    member.refresh_from_db()
    return member.access == Access.APPROVED


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _bot_id() -> int:
    return int(settings.TELEGRAM_BOT_TOKEN.partition(":")[0] or 0)
