"""Links between operators' admin accounts and their Telegram accounts, made by one-time codes.

A signed-in operator makes a code in the admin and sends it to the bot. The database stores the
code's hash. What a linked operator may do is decided by the account's permissions at each press.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q

from pipeline.models import OperatorLink

CODE_LASTS = timedelta(minutes=10)
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 32, without those that look alike
CODE_LENGTH = 12  # 60 bits: cannot be guessed within ten minutes
GROUP = 4  # letters between two dashes


class CodeNotValid(Exception):
    """The code has been used, or replaced by a new one, since it was looked up."""


def make_code(user_id: int, *, now: datetime) -> str:
    """Return a new code for this account; an earlier code is no longer valid."""
    code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
    OperatorLink.objects.update_or_create(
        user_id=user_id,
        defaults={"code_sha256": _hash(code), "code_expires_at": now + CODE_LASTS},
    )
    return "-".join(code[i : i + GROUP] for i in range(0, CODE_LENGTH, GROUP))


def account_of(code: str, *, now: datetime) -> str:
    """Return the username of the account that a valid code links; "" if the code is not valid."""
    link = _valid(code, now).select_related("user").first()
    return link.user.get_username() if link is not None else ""


@transaction.atomic
def redeem(code: str, telegram_id: int, *, now: datetime) -> None:
    """Link a Telegram account to the code's account, and remove its earlier link.

    Raises:
        CodeNotValid: the code is not valid any more.
    """
    concerned = Q(code_sha256=_hash(code)) | Q(telegram_id=telegram_id)
    # All in one order: two operators may swap their accounts.
    list(OperatorLink.objects.filter(concerned).order_by("pk").select_for_update())
    link = _valid(code, now).first()
    if link is None:
        raise CodeNotValid
    unlink_telegram(telegram_id)
    OperatorLink.objects.filter(pk=link.pk).update(
        telegram_id=telegram_id, linked_at=now, code_sha256="", code_expires_at=None
    )
    _log(link, "Linked to Telegram.")


def void(code: str, *, now: datetime) -> bool:
    """Make a code invalid, because others may have read it; return whether it was valid."""
    return bool(_valid(code, now).update(code_sha256="", code_expires_at=None))


@transaction.atomic
def unlink(user_id: int) -> bool:
    """Remove the link and the code of an account; return whether it was linked."""
    link = OperatorLink.objects.filter(user_id=user_id).select_for_update().first()
    if link is None:
        return False
    OperatorLink.objects.filter(pk=link.pk).update(
        telegram_id=None, linked_at=None, code_sha256="", code_expires_at=None
    )
    if link.telegram_id is not None:
        _log(link, "Unlinked from Telegram.")
    return link.telegram_id is not None


def unlink_telegram(telegram_id: int) -> None:
    """Remove the link of a Telegram account, if it has one."""
    links = OperatorLink.objects.filter(telegram_id=telegram_id)
    for link in links:
        _log(link, "Unlinked from Telegram.")
    links.update(telegram_id=None, linked_at=None)


def operator_of(telegram_id: int) -> Any:
    """Return the active staff account that a Telegram account is linked to; None without one."""
    staff = get_user_model().objects.filter(is_active=True, is_staff=True)
    return staff.filter(telegram_link__telegram_id=telegram_id).first()


def _valid(code: str, now: datetime) -> Any:
    return OperatorLink.objects.filter(
        code_sha256=_hash(code),
        code_expires_at__gt=now,
        user__is_active=True,
        user__is_staff=True,
    ).order_by()


def _hash(code: str) -> str:
    """Hash a code as typed: dashes, spaces and lowercase letters make no difference."""
    letters = "".join(char for char in code.upper() if char.isalnum())
    return sha256(letters.encode()).hexdigest()


def _log(link: OperatorLink, line: str) -> None:
    LogEntry.objects.log_actions(
        user_id=link.user_id, queryset=[link], action_flag=CHANGE, change_message=line
    )
