"""Looks up the member behind a Telegram user, and decides whether they may use the bot."""

from __future__ import annotations

from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone
from telegram import User

from pipeline.bot import texts
from pipeline.models import Member
from pipeline.models.members import Access
from pipeline.people.admission import redeem


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who contacted the bot, and the refusal to show if they may not use it."""

    member: Member
    refusal: str = ""  # empty: access is granted
    is_new: bool = False  # first contact, waiting for approval: notify the operators


async def visitor(user: User, invite: str = "") -> Visitor:
    """Return the member behind a Telegram user; unknown users are created as members.

    A new member waits for approval, unless access is open. `invite` is the secret of the invite
    link that they opened, if any.
    """
    return await sync_to_async(_visitor)(user, invite)


def _visitor(user: User, invite: str) -> Visitor:
    is_open = settings.ACCESS == "open"
    member, is_new = Member.objects.get_or_create(
        telegram_id=user.id,
        defaults={
            "name": (user.full_name or "")[:200],
            "username": (user.username or "")[:100],
            "access": Access.APPROVED if is_open else Access.WAITING,
        },
    )
    if invite and member.access == Access.WAITING:
        redeem(invite, member, now=timezone.now())
    if member.access == Access.APPROVED:
        return Visitor(member)
    if member.access == Access.BLOCKED:
        return Visitor(member, texts.BLOCKED)
    if settings.ACCESS == "invite":
        return Visitor(member, texts.INVITE_REFUSED if invite else texts.NOT_INVITED)
    return Visitor(member, texts.WAITING if is_new else texts.STILL_WAITING, is_new)
