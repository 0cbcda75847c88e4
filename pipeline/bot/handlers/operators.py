"""What operators do in Telegram: link their admin account, and undo a change of an override."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.utils import timezone
from telegram import CallbackQuery, InlineKeyboardMarkup, Message, Update
from telegram.constants import ChatType
from telegram.error import BadRequest, Forbidden

from agents.override_changes import UNDO_PRESS, UNDONE_FREELY, undo_as
from pipeline.bot import texts
from pipeline.bot.presses import answer
from pipeline.bot.static_reply import StaticReply
from pipeline.bot.update_context import Callback, UpdateContext
from pipeline.journal.records import NotifyOperators
from pipeline.models import Member
from pipeline.people import operator_links

logger = logging.getLogger(__name__)

LINK = "link"
MAX_VERSION_DIGITS = 18
MAY_UNDO = "agents.change_agentmodelconfig"


def link_or(otherwise: Callback, alert: NotifyOperators) -> Callback:
    """Return a handler callback for /link that links a valid code's account to the sender.

    A sender need not be a member. Without a valid code, `otherwise` handles the message. A code
    that others may have read is made invalid.
    """

    async def link(update: Update, context: UpdateContext) -> None:
        message, user = update.effective_message, update.effective_user
        words = (message.text or "").split(maxsplit=1) if message is not None else []
        code, now = words[1] if len(words) > 1 else "", timezone.now()
        account = await sync_to_async(operator_links.account_of)(code, now=now)
        if message is None or user is None or not account:
            await otherwise(update, context)
            return
        context.was_handled = True
        # Also as an anonymous admin, or as a channel.
        if message.chat.type != ChatType.PRIVATE or message.sender_chat is not None or user.is_bot:
            void = partial(operator_links.void, code, now=now)
            await context.outbox.say(StaticReply(texts.CODE_SHOWN, also=void))
            return
        redeem = partial(operator_links.redeem, code, user.id, now=now)
        await context.outbox.say(StaticReply(texts.LINKED.format(account=account), also=redeem))
        alert(
            f"The admin account {account} is now linked to the Telegram account {user.id} "
            f"({user.full_name}). If that isn't right, remove it under Telegram links in the admin."
        )

    return link


async def refuse_code(context: UpdateContext, member: Member) -> StaticReply:
    """Return the reply to an invalid code, which says where to make a new one."""
    return StaticReply(texts.CODE_NOT_VALID)


async def press_undo(update: Update, context: UpdateContext) -> None:
    """Undo the change that a button names, if it is still the last one of its agent.

    The permission checked is that of the admin account linked to the person who presses.
    """
    query = update.callback_query
    if query is None:
        return
    context.was_handled = True
    said = await sync_to_async(_undo)(query.data or "", query.from_user.id)
    await answer(query, said.text, must_confirm=not said.is_undone)
    if said.is_over:
        await _remove_button(query)


@dataclass(frozen=True, slots=True)
class _Said:
    """The answer to a press, and whether the button has nothing left to do."""

    text: str
    is_undone: bool = False
    is_over: bool = False


def _undo(press: str, telegram_id: int) -> _Said:
    number, _, agent = press.removeprefix(UNDO_PRESS).partition(":")
    operator = operator_links.operator_of(telegram_id)
    if operator is None:
        return _Said(texts.UNDO_NOT_LINKED)
    if not operator.has_perm(MAY_UNDO):
        return _Said(texts.UNDO_NOT_ALLOWED.format(account=operator.get_username()))
    if not number.isdecimal() or len(number) > MAX_VERSION_DIGITS:
        return _Said(texts.OLD_BUTTON, is_over=True)
    version = int(number)
    try:
        result = undo_as(operator, agent, version, within=UNDONE_FREELY, where=" in Telegram")
    except ValidationError as error:  # the agent is gone, or SQL set an invalid state
        return _Said(texts.UNDO_INVALID.format(why=" ".join(error.messages)))
    if result.is_undone:
        said = texts.UNDONE.format(agent=agent, version=version)
        return _Said(said, is_undone=True, is_over=True)
    if result.last is None:
        return _Said(texts.OLD_BUTTON, is_over=True)
    if result.is_too_old:
        return _Said(texts.UNDO_TOO_OLD, is_over=True)
    # The same press may come again: its task is repeated if the process dies after the undo.
    line = texts.UNDONE_BEFORE if result.was_undone_before(version) else texts.CHANGED_SINCE
    last = result.last
    said = line.format(agent=agent, version=version, now=last.version, by=last.by)
    return _Said(said, is_over=True)


async def _remove_button(query: CallbackQuery) -> None:
    """Remove the pressed button from its message; the others stay."""
    if not isinstance(query.message, Message):  # too old: Telegram no longer provides the message
        return
    shown = query.message.reply_markup
    rows = [
        [button for button in row if button.callback_data != query.data]
        for row in (shown.inline_keyboard if shown is not None else ())
    ]
    left = [row for row in rows if row]
    try:
        await query.edit_message_reply_markup(InlineKeyboardMarkup(left) if left else None)
    except (BadRequest, Forbidden) as error:  # removed by an earlier press, or the chat is gone
        logger.info("an Undo button could not be removed: %s", error)
